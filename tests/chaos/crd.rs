//! docs/contract.md#k5: the CRD is missing, older than the operator, or removed and added again.

use std::time::{Duration, Instant};

use mcpgateway_operator::api;

use crate::row::{NAMES, Row, SETTLED};
use crate::support::api_proxy::{ApiProxy, Fault};
use crate::support::cluster::Cluster;
use crate::support::fleet::{Fleet, used};
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};

/// The CRD is cluster-wide, so these rows use a cluster of their own.
fn cluster_of_its_own(name: &str) -> &'static Cluster {
    Box::leak(Box::new(Cluster::start(name)))
}

/// Installs the CRD of a release without `status.term`.
fn install_older_crd(cluster: &Cluster) {
    let mut crd = serde_json::to_value(api::gateway_crd()).unwrap();
    let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema.as_object_mut().unwrap().remove("x-kubernetes-validations").expect("the term rule");
    schema["properties"]["status"]["properties"].as_object_mut().unwrap().remove("term").expect("the term");
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(&file, crd.to_string()).unwrap();
    let fleets = crate::support::cluster::root().join("crds/mcpgatewayfleets.yaml").display().to_string();
    cluster.kubectl_ok(&["apply", "--server-side", "-f", &file.path().display().to_string(), "-f", &fleets]);
    cluster.crd_is_served();
}

async fn create_all(fleet: &Fleet) {
    for name in NAMES {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
}

fn lines(operator: &Operator, words: &str) -> usize {
    operator.log().lines().filter(|line| line.contains(words)).count()
}

async fn condition_begins(fleet: &Fleet, kind: &str, start: &str) {
    eventually(&format!("the condition {kind} begins with {start}"), SOON, || async {
        fleet.condition(kind).await.starts_with(start).then_some(())
    })
    .await;
}

/// All status writes so far, whatever their outcome.
async fn writes(operator: &Operator) -> u64 {
    let (_, text) = operator.get("/metrics").await;
    let lines = text.lines().filter(|line| line.starts_with("mcpgateway_operator_status_writes_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k5_a_missing_crd_is_waited_for_and_an_older_one_is_reported() {
    let cluster = cluster_of_its_own("k5a");
    let fleet = Fleet::on(cluster, "k5a", 1).await;
    fleet.workers[0].report(vec![used("a", 10.0)]);
    let mut operator = fleet.operator();
    eventually("/readyz says what is missing and what to do", SOON, || async {
        let (code, text) = operator.get("/readyz").await;
        (code == 503 && text.contains("CrdMissing") && text.contains("kubectl apply")).then_some(())
    })
    .await;
    // The fault itself lasts this long: many attempts, one line, and the process does not end.
    tokio::time::sleep(Duration::from_secs(10)).await;
    for crd in ["mcpgateways", "mcpgatewayfleets"] {
        let missing = format!("the CRD {crd}.mcpgateway.io is not installed");
        assert_eq!(lines(&operator, &missing), 1, "one line in the log:\n{}", operator.log());
    }
    assert!(operator.metric("mcpgateway_operator_registry_watch_failures_total").await >= 3.0, "and retried");
    assert!(operator.metric("mcpgateway_operator_registry_up_to_date").await < 1.0);
    assert_eq!(operator.get("/livez").await.0, 200);
    assert!(!operator.has_ended());

    let begun = Instant::now();
    install_older_crd(cluster);
    operator.ready().await;
    let ready = begun.elapsed();
    assert!(ready < Duration::from_secs(10), "ready {ready:?} after the CRD was applied");
    let row =
        Row::begin_with("K5.1", "no CRD at the start; then one of a release without status.term; then ours", fleet)
            .await;
    create_all(&row.fleet).await;
    row.fleet.settled().await;
    condition_begins(&row.fleet, "StatusesWritten", "False/TermDropped").await;
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED).await;
    assert_eq!(lines(&operator, "TermDropped"), 1, "one line in the log:\n{}", operator.log());
    assert!(operator.metric("mcpgateway_operator_status_writes_total{outcome=\"term_dropped\"}").await > 0.0);
    // The status was stored without the term. That is no reason to write it again.
    let before = writes(&operator).await;
    operator.cycles(3).await;
    assert_eq!(writes(&operator).await, before, "the statuses are not written again and again");

    cluster.install_crd_over();
    row.use_servers(["d", "e"]);
    row.shows_hot(["d", "e"], SETTLED).await;
    let term = row.fleet.get("d").await.status.and_then(|status| status.term);
    assert_eq!(term, Some(row.term().await), "a new status has its term");
    condition_begins(&row.fleet, "StatusesWritten", "True/").await;
    row.end(&format!(
        "waited; one line and 503 with what to do; ready {ready:.1?} after the CRD; \
         TermDropped logged once, no endless writes"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k5_a_crd_removed_while_running_and_added_again() {
    let cluster = cluster_of_its_own("k5b");
    cluster.install_crd();
    let fleet = Fleet::on(cluster, "k5b", 1).await;
    let row =
        Row::begin_with("K5.2", "lists and watches answer 404; then the CRD is removed and added again", fleet).await;
    create_all(&row.fleet).await;
    let api = ApiProxy::start(row.fleet.client.clone()).await;
    let kubeconfig = api.kubeconfig();
    let operator = row.fleet.operator_as(kubeconfig.path(), &["--redis-url", &row.fleet.redis.url()]);
    row.use_servers(["a", "b"]);
    row.shows_hot(["a", "b"], SOON).await;
    let standby = row.fleet.operator();
    standby.ready().await;
    let term = row.term().await;

    // A registry that cannot be read is not empty: no object was reported as deleted.
    api.fault_on("/mcpgateways", Fault::Missing);
    condition_begins(&row.fleet, "RegistryRead", "False/CrdMissing").await;
    let sets = row.fleet.sets().await;
    operator.cycles(3).await;
    assert_eq!(row.fleet.sets().await, sets, "the publication is unchanged");
    assert_eq!(sets.hot.len() + sets.cold.len(), NAMES.len());
    assert_eq!(lines(&operator, "CrdMissing"), 1, "one line in the log");
    api.fault(Fault::None);
    condition_begins(&row.fleet, "RegistryRead", "True/").await;

    // When the CRD is removed, the API server deletes every object and sends the events: now the registry is known to
    // be empty.
    cluster.kubectl_ok(&["delete", "crd", "mcpgateways.mcpgateway.io", "--timeout=30s"]);
    eventually("two empty sets are published", SOON, || async {
        let sets = row.fleet.sets().await;
        let metadata = row.fleet.redis_text("metadata").await?;
        (sets.hot.is_empty() && sets.cold.is_empty() && metadata.contains("\"total_servers\":0")).then_some(())
    })
    .await;
    condition_begins(&row.fleet, "RegistryRead", "False/CrdMissing").await;
    for replica in [&operator, &standby] {
        eventually("each replica logs it", SOON, || async { (lines(replica, "CrdMissing") > 0).then_some(()) }).await;
        // Later faults do not change readiness.
        assert_eq!(replica.get("/readyz").await.0, 200);
    }
    let timestamp = row.fleet.redis_text("timestamp").await;
    operator.cycles(2).await;
    assert_ne!(row.fleet.redis_text("timestamp").await, timestamp, "cycles continue");

    let begun = Instant::now();
    cluster.install_crd();
    create_all(&row.fleet).await;
    row.use_servers(["c", "d"]);
    row.shows_hot(["c", "d"], SETTLED + Duration::from_secs(3)).await;
    let took = begun.elapsed();
    assert_eq!(row.term().await, term, "the same leader throughout");
    row.end(&format!(
        "unreadable: nothing new was published; really empty: two empty sets; \
         recovered {took:.1?} after the CRD was back"
    ))
    .await;
}
