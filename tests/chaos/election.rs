//! docs/contract.md#l2, docs/contract.md#l3, docs/contract.md#l6, docs/contract.md#l8: wrong clocks, an edited Lease,
//! simultaneous candidates, two releases on one Redis.

use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, DeleteParams, PostParams};
use mcpgateway_operator::api::v1alpha1::RedisLockState;
use mcpgateway_operator::leadership::decision::{Action, ObservedLease, ReplicaState, next_action};
use mcpgateway_operator::leadership::{
    ElectionSettings, ElectorDependencies, LeaderElector, Leadership, LeaseTiming, Metrics,
};
use mcpgateway_operator::model::Monotonic;
use prometheus_client::registry::Registry;
use redis::AsyncCommands;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::row::{Row, SETTLED, SETTLED_AFTER_LEASE};
use crate::support::cluster::cluster;
use crate::support::fleet::{Fleet, key, used};
use crate::support::{SOON, eventually};

const TIMING: LeaseTiming = LeaseTiming {
    lease_duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};

/// `kubectl patch` on the Lease.
fn patch(row: &Row, patch: &str) {
    let namespace = &row.fleet.namespace;
    let call = ["patch", "lease", "mcpgateway-operator", "-n", namespace, "--type=merge", "-p", patch];
    row.fleet.cluster.kubectl_ok(&call);
}

/// The holder's times are years off, in both directions, and step: on real processes, by editing what it wrote. Clocks
/// with a wrong rate are simulated with the rule itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l2_a_wrong_clock_takes_no_lease_from_a_live_leader() {
    let row =
        Row::begin("L2", "times in the Lease an hour off and stepping (edited); a clock at 1.4x (simulated)").await;
    let (first, _second) = row.two().await;
    let term = row.term().await;
    for time in ["2020-01-01T00:00:00.000000Z", "2126-01-01T00:00:00.000000Z", "2026-11-22T00:00:00.000000Z"] {
        for _ in 0..5 {
            patch(&row, &format!(r#"{{"spec":{{"renewTime":"{time}","acquireTime":"{time}"}}}}"#));
            first.cycles(1).await;
        }
        assert_eq!(row.term().await, term, "nobody took the Lease");
    }
    for (leader, standby) in [(1.4, 1.0), (1.0, 1.4), (1.0 / 1.4, 1.0), (1.0, 1.0 / 1.4)] {
        let (believed, taken) = simulated(leader, standby);
        assert!(
            believed <= taken,
            "rates {leader} and {standby}: leadership ended after {believed:.1} s, taken after {taken:.1} s"
        );
    }
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED).await;
    row.end("no takeover from a live leader; leadership ends before the Lease can be taken").await;
}

/// A leader that can no longer renew, and a standby, whose clocks run at these rates. Returns after how many real
/// seconds the leader stops believing and the standby takes the Lease.
fn simulated(leader: f64, standby: f64) -> (f64, f64) {
    let lease: Lease = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "l", "uid": "u", "resourceVersion": "1"},
        "spec": {"holderIdentity": "leader", "leaseDurationSeconds": 15, "leaseTransitions": 3},
    }))
    .unwrap();
    let observed = ObservedLease::new(Some(lease), Monotonic::at(Duration::ZERO));
    let replica = |identity, leads_until| ReplicaState {
        identity,
        leads_until,
        raise_at: None,
        pending: false,
        next_call: Monotonic::at(Duration::from_secs(1_000)),
        acquire_not_before: Monotonic::at(Duration::ZERO),
    };
    let first = |rate: f64, replica: &ReplicaState<'_>, wanted: fn(&Action) -> bool| {
        (0..3_000).map(|step| f64::from(step) / 100.0).find(|true_seconds| {
            let now = Monotonic::at(Duration::from_secs_f64(true_seconds * rate));
            wanted(&next_action(Some(&observed), replica, now, &TIMING))
        })
    };
    let leads_until = Some(Monotonic::at(TIMING.renew_deadline));
    let believed = first(leader, &replica("leader", leads_until), |action| matches!(action, Action::StepDown(_)));
    let taken = first(standby, &replica("standby", None), |action| matches!(action, Action::Acquire(_)));
    (believed.expect("leadership ends"), taken.expect("the Lease is taken"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l3_the_fleet_survives_every_edit_of_the_lease() {
    let row = Row::begin(
        "L3",
        "Lease edited: holder, times, transitions 0, lowered, 2147483647; deleted, with a late renewal",
    )
    .await;
    let (_first, _second) = row.two().await;
    let leases: Api<Lease> = Api::namespaced(row.fleet.client.clone(), &row.fleet.namespace);
    let edits = [
        r#"{"spec":{"holderIdentity":""}}"#,
        r#"{"spec":{"holderIdentity":null}}"#,
        r#"{"spec":{"holderIdentity":"somebody-else_1"}}"#,
        r#"{"spec":{"renewTime":"2126-01-01T00:00:00.000000Z"}}"#,
        r#"{"spec":{"renewTime":null}}"#,
        r#"{"spec":{"leaseDurationSeconds":1}}"#,
        r#"{"spec":{"leaseTransitions":0}}"#,
        r#"{"spec":{"leaseTransitions":1}}"#,
        r#"{"spec":{"leaseTransitions":2147483647}}"#,
        r#"{"spec":{"leaseTransitions":null}}"#,
        r#"{"spec":null}"#,
        "delete",
    ];
    let count = edits.len();
    let mut worst = Duration::ZERO;
    for (round, edit) in edits.into_iter().enumerate() {
        let before = row.term().await;
        let names = [["b", "c"], ["d", "e"], ["f", "g"]][round % 3];
        if edit == "delete" {
            let dead = leases.get("mcpgateway-operator").await.unwrap();
            leases.delete("mcpgateway-operator", &DeleteParams::default()).await.unwrap();
            // A renewal of the dead leader, as the operator sends it: with resourceVersion and uid.
            let late = leases.replace("mcpgateway-operator", &PostParams::default(), &dead).await;
            assert!(matches!(&late, Err(kube::Error::Api(status)) if status.code == 409), "{late:?}");
        } else {
            patch(&row, edit);
        }
        row.use_servers(names);
        // If the edit names another holder, its lease must expire first.
        worst = worst.max(row.shows_hot(names, SETTLED_AFTER_LEASE).await);
        let after = row.term().await;
        assert!(after >= before.min(1_000), "{edit}: the term fell from {before} to {after}");
        eventually(&format!("{edit}: the fleet's status has the term"), SETTLED, || async {
            (i64::from(row.fleet.status().await.term?) == i64::from(row.term().await)).then_some(())
        })
        .await;
    }
    row.end(&format!("P1, P10; P2: recovered after at most {worst:.1?} from each of {count} edits")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l6_exactly_one_of_two_simultaneous_candidates_leads_in_a_thousand_rounds() {
    const ROUNDS: usize = 1_000;
    let row = Row::begin("L6", "two candidates acquire at the same instant, 1,000 rounds").await;
    let client = cluster().client().await;
    let leases: Api<Lease> = Api::namespaced(client.clone(), &row.fleet.namespace);
    let mut contested = 0;
    for round in 0..ROUNDS {
        let name = format!("lease-{round}");
        let stop = CancellationToken::new();
        let start = |identity: &str| {
            let settings = ElectionSettings {
                identity: identity.into(),
                namespace: row.fleet.namespace.clone(),
                name: name.clone(),
                timing: TIMING,
            };
            let dependencies = ElectorDependencies {
                client: client.clone(),
                redis_term: Box::new(|| std::future::ready(None).boxed()),
                registry: watch::channel(None).1,
                refusals: mpsc::channel(1).1,
                fleet_problem: watch::channel(None).1,
                events: mpsc::channel(1).0,
                stop: stop.clone(),
            };
            let metrics = Metrics::register(&mut Registry::default());
            let (elector, leadership) = LeaderElector::new(settings, dependencies, metrics);
            (tokio::spawn(elector.run()), leadership)
        };
        let ((a, mut a_leads), (b, mut b_leads)) = (start("a"), start("b"));
        let decided = |seen: &Leadership| match seen {
            Leadership::Leading(_) => true,
            Leadership::Standby { leader } => leader.is_some(),
        };
        let (first, second) = tokio::join!(a_leads.wait_for(decided), b_leads.wait_for(decided));
        let leads = |seen: &Leadership| matches!(seen, Leadership::Leading(_));
        let (first, second) = (leads(&first.unwrap()), leads(&second.unwrap()));
        assert!(first ^ second, "round {round}: a leads: {first}, b leads: {second}");
        let lease = leases.get(&name).await.unwrap().spec.unwrap();
        assert_eq!(lease.holder_identity.as_deref(), Some(if first { "a" } else { "b" }));
        assert_eq!(lease.lease_transitions, Some(1));
        contested += usize::from(second);
        a.abort();
        b.abort();
    }
    assert!(
        (10..ROUNDS - 10).contains(&contested),
        "one candidate always wins, so they are not simultaneous ({contested})"
    );
    row.end(&format!("exactly one leader in each round; the second candidate won {contested}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l8_a_second_release_on_the_same_redis_leaves_the_lock_alone_and_reports_it() {
    let row = Row::begin("L8", "two releases with one Redis and prefix").await;
    let (first, _second) = row.two().await;
    let other = Fleet::new("chaos-l8-other", 1).await;
    other.create("a", "http://a.example/mcp").await;
    other.workers[0].report(vec![used("a", 1.0)]);
    let stranger = other.operator_with(&["--redis-url", &row.fleet.redis.url()]);
    eventually("the second release reports it", SOON, || async {
        let lock = other.status().await.redis_lock;
        (lock.state == RedisLockState::HeldByAnotherRelease).then_some(lock.holder.unwrap_or_default())
    })
    .await;
    let lock = row.fleet.redis_text("leader").await;
    stranger.cycles(10).await;
    assert_eq!(row.fleet.redis_text("leader").await, lock, "the lock does not alternate");
    assert!(stranger.log().contains("held by another release"), "the log reports it");
    assert_eq!(stranger.metric("mcpgateway_operator_redis_lock_held").await.to_string(), "0");
    assert!(other.statuses().await.cold.len() + other.statuses().await.hot.len() == 1, "its statuses are written");
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED).await;
    assert!(first.metric("mcpgateway_operator_redis_lock_held").await > 0.0);
    // Once the first release is gone, its lock expires, and the second takes it by the rule for a free lock.
    let foreign: Option<String> = row.fleet.redis.connection().await.get(key("leader")).await.unwrap();
    assert_eq!(foreign, lock);
    row.end("the lock stayed with the first for ten cycles; status, log and metric of the second report it").await;
}
