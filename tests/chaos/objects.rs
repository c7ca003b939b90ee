//! docs/contract.md#k1 to docs/contract.md#k4, docs/contract.md#k9: watches that lie or break, objects that are
//! replaced, statuses that others write, a registry that is deleted by accident.

use std::time::{Duration, Instant};

use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::proxy::{Mode, Proxy};
use crate::row::{NAMES, Row, SETTLED};
use crate::support::api_proxy::{ApiProxy, Fault};
use crate::support::fleet::{Tiers, used};
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};

const OBJECTS: &str = "/mcpgateways";

async fn behind_api_proxy(row: &Row) -> (ApiProxy, Operator) {
    let api = ApiProxy::start(row.fleet.client.clone()).await;
    let kubeconfig = api.kubeconfig();
    let operator = row.fleet.operator_as(kubeconfig.path(), &["--redis-url", &row.fleet.redis.url()]);
    row.fleet.settled().await;
    (api, operator)
}

/// Waits until an object has a tier.
async fn has_tier(row: &Row, name: &str, limit: Duration) -> Duration {
    let begun = Instant::now();
    eventually(&format!("{name} has a tier"), limit, || async { row.fleet.get(name).await.status?.tier }).await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k1_a_list_from_an_older_state_reverts_no_status() {
    let row = Row::begin("K1", "list and watch from an older state, as after a restart of the API server").await;
    let (api, mut operator) = behind_api_proxy(&row).await;
    let older = row.fleet.objects.list(&ListParams::default()).await.unwrap();
    let older = serde_json::to_vec(&older).unwrap();
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED).await;
    row.fleet.edit("d", json!({"enabled": false})).await;
    eventually("d is disabled", SOON, || async { row.fleet.get("d").await.status?.tier.is_none().then_some(()) }).await;
    let before = row.fleet.objects.list(&ListParams::default()).await.unwrap();

    // A new process that sees only the older state.
    api.fault_on(OBJECTS, Fault::Replay(older.into()));
    operator.stop().await;
    let kubeconfig = api.kubeconfig();
    operator = row.fleet.operator_as(kubeconfig.path(), &["--redis-url", &row.fleet.redis.url()]);
    eventually("it leads and has tried to write", SOON, || async {
        let conflicts = operator.metric("mcpgateway_operator_status_writes_total{outcome=\"conflict\"}").await;
        (conflicts > 0.0).then_some(())
    })
    .await;
    operator.cycles(2).await;
    let after = row.fleet.objects.list(&ListParams::default()).await.unwrap();
    for (old, new) in before.items.iter().zip(&after.items) {
        assert_eq!(old.metadata.resource_version, new.metadata.resource_version, "{:?} was written", new.metadata.name);
    }
    api.fault(Fault::Gone);
    api.fault(Fault::None);
    row.fleet.edit("d", json!({"enabled": true})).await;
    row.shows_hot(["b", "c"], Duration::from_secs(90)).await;
    row.end("nothing was written from the older state; conflicts only").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k2_broken_expired_and_silent_watches_are_noticed() {
    let row = Row::begin("K2", "watch closed after each event; 410; silent (dead TCP)").await;
    let (api, operator) = behind_api_proxy(&row).await;
    let mut took = Vec::new();
    for (number, fault) in [Fault::Broken, Fault::Gone, Fault::Silent].into_iter().enumerate() {
        let silent = matches!(fault, Fault::Silent);
        // The watch is open and delivers events.
        let seen = format!("seen-{number}");
        row.fleet.create(&seen, &format!("http://{seen}.example/mcp")).await;
        has_tier(&row, &seen, Duration::from_secs(60)).await;
        api.fault_on(OBJECTS, fault);
        let name = format!("new-{number}");
        row.fleet.create(&name, &format!("http://{name}.example/mcp")).await;
        if silent {
            // The read timeout notices a dead connection, and the operator lists again.
            took.push(has_tier(&row, &name, Duration::from_secs(75)).await);
            assert!(took[number] < Duration::from_secs(65 + 7), "{took:?}");
        } else {
            // Starting a watch again has a backoff.
            took.push(has_tier(&row, &name, Duration::from_secs(60)).await);
        }
        api.fault(Fault::None);
    }
    row.fleet.settled().await;
    drop(operator);
    row.end(&format!("P2: noticed after {took:.1?}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k3_nothing_decided_for_an_object_is_written_to_its_successor() {
    let row = Row::begin(
        "K3",
        "object deleted and created again under its name, also with a write in flight; namespace terminating",
    )
    .await;
    let (api, operator) = behind_api_proxy(&row).await;
    for round in 0..5 {
        // A write to `j` is in flight while `j` is replaced by another object of that name.
        let late = api.late().len();
        api.fault_on("/j/status", Fault::Hold);
        row.use_servers([["j", "b"], ["c", "d"]][round % 2]);
        eventually("the write is in flight", SOON, || async { (api.held() > 0).then_some(()) }).await;
        row.fleet.delete("j").await;
        let made = row.fleet.create("j", &format!("http://j{round}.example/mcp")).await;
        api.fault(Fault::None);
        eventually("the write has arrived", SOON, || async { (api.late().len() > late).then_some(()) }).await;
        let codes = &api.late()[late..];
        assert!(codes.iter().all(|code| *code == 409 || *code == 404), "{codes:?}");
        has_tier(&row, "j", SETTLED).await;
        let now = row.fleet.get("j").await;
        assert_eq!(now.metadata.uid, made.metadata.uid);
    }
    // Deleted during a publication.
    let proxy = Proxy::start(row.fleet.redis.port()).await;
    drop(operator);
    let operator = row.fleet.operator_with(&["--redis-url", &proxy.url()]);
    row.fleet.settled().await;
    proxy.mode(Mode::HoldRequests);
    row.use_servers(["a", "b"]);
    eventually("a publication is in flight", SOON, || async { (proxy.held() > 0).then_some(()) }).await;
    row.fleet.delete("a").await;
    proxy.mode(Mode::Pass);
    eventually("the server has left the sets", SETTLED, || async {
        let sets = row.fleet.sets().await;
        (!sets.hot.contains("http://a.example/mcp") && !sets.cold.contains("http://a.example/mcp")).then_some(())
    })
    .await;
    row.fleet.create("a", "http://a.example/mcp").await;
    row.fleet.settled().await;
    // The namespace is deleted with everything in it: nothing panics, and nothing is retried for ever.
    row.observer.expect_sets(false);
    row.fleet.cluster.kubectl_ok(&["delete", "namespace", &row.fleet.namespace, "--wait=false"]);
    for name in NAMES {
        row.fleet.objects.delete(name, &DeleteParams::default()).await.ok();
    }
    operator.cycles(2).await;
    row.end("the new object's status holds only what was decided for it; 409 or 404 for the late write").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k9_a_registry_deleted_by_accident_has_the_same_tiers_again_at_once() {
    let row = Row::begin("K9", "all ten objects deleted with `kubectl delete --all`, and applied again; 3 times").await;
    let (_first, _second) = row.two().await;
    let (fleet, mut worst) = (&row.fleet, Duration::ZERO);
    for _ in 0..3 {
        let before = fleet.settled().await;
        fleet.cluster.kubectl_ok(&["delete", "mcpgw", "--all", "-n", &fleet.namespace, "--wait=false"]);
        eventually("the sets are empty, and the fleet says why", SETTLED, || async {
            let said = fleet.condition("RegistryStable").await.starts_with("False/MostGatewaysGone: 10 of 10 ");
            (said && fleet.sets().await == Tiers::default()).then_some(())
        })
        .await;
        for name in NAMES {
            fleet.create(name, &format!("http://{name}.example/mcp")).await;
        }
        let begun = Instant::now();
        eventually("the same tiers", SETTLED, || async { (fleet.settled().await == before).then_some(()) }).await;
        worst = worst.max(begun.elapsed());
        eventually("it is over", SETTLED, || async {
            fleet.condition("RegistryStable").await.starts_with("True/Stable").then_some(())
        })
        .await;
    }
    row.end(&format!("the sets followed; RegistryStable=False meanwhile; the same tiers after at most {worst:.1?}"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k4_foreign_status_writes_are_refused_or_reverted_and_never_stuck() {
    let row =
        Row::begin("K4", "status edited, dropped, replaced, restored with an older term, a higher term, 2147483647")
            .await;
    let (_first, _second) = row.two().await;
    let objects = &row.fleet.objects;
    let status = |status: Value| {
        let patch = Patch::Merge(json!({"status": status}));
        async move { objects.patch_status("a", &PatchParams::default(), &patch).await }
    };
    let fleet = &row.fleet;
    let tier = |wanted: &'static str| async move {
        eventually(&format!("a is {wanted} again"), SETTLED + Duration::from_secs(12), || async {
            let status = fleet.get("a").await.status?;
            (format!("{:?}", status.tier?) == wanted).then_some(status.term)
        })
        .await
    };
    row.use_servers(["a", "b"]);
    row.shows_hot(["a", "b"], SETTLED).await;
    let term = row.term().await;

    status(json!({"tier": "Cold", "rank": 900})).await.unwrap();
    tier("Hot").await;
    // Dropped, or at a lower term: refused.
    for refused in [json!(null), json!({"term": null}), json!({"term": term - 1})] {
        let answer = status(refused.clone()).await;
        assert!(matches!(&answer, Err(kube::Error::Api(status)) if status.code == 422), "{refused}: {answer:?}");
    }
    let mut bare = row.fleet.get("a").await;
    bare.status = None;
    let answer = objects.replace_status("a", &PostParams::default(), &bare).await;
    assert!(answer.is_err(), "a PUT without a status is refused");
    // Planted terms, near and far above ours.
    for (higher, cold) in [(term + 5, true), (1_500_000_000, true), (2_147_483_647, true), (2_000_000_000, false)] {
        row.observer.statuses_are_edited();
        status(json!({"term": higher, "tier": if cold { "Cold" } else { "Hot" }})).await.unwrap();
        tier("Hot").await;
        row.observer.statuses_are_edited();
        // The status can be written again: another server becomes hot in its place, and back.
        row.use_servers(["c", "d"]);
        row.shows_hot(["c", "d"], SETTLED + Duration::from_secs(12)).await;
        row.use_servers(["a", "b"]);
        row.shows_hot(["a", "b"], SETTLED).await;
        let term = row.fleet.get("a").await.status.and_then(|status| status.term);
        assert_eq!(term, Some(row.term().await), "after a term of {higher}");
    }
    // The whole registry is restored from a backup, which drops the statuses.
    let all = row.fleet.all().await;
    for object in &all {
        row.fleet.delete(object.metadata.name.as_deref().unwrap()).await;
    }
    for name in NAMES {
        row.fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    row.fleet.workers[0].report(vec![used("a", 1.0), used("b", 1.0)]);
    row.shows_hot(["a", "b"], SETTLED).await;
    row.end("refused where the term rule applies, otherwise reverted; the term was raised where necessary").await;
}
