//! docs/contract.md#k8: somebody else's admission webhook blocks our status writes.

use std::time::{Duration, Instant};

use crate::row::{Row, SETTLED};
use crate::support::api_proxy::ApiProxy;
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};
use crate::webhook::{Verdict, Webhook};

const PAIRS: [[&str; 2]; 2] = [["a", "b"], ["c", "d"]];
/// How long each phase lasts.
const PHASE: Duration = Duration::from_secs(10);

/// Requests to the API server and to the webhook, per second.
#[derive(Debug)]
struct Rates {
    requests: f64,
    writes: f64,
}

struct Scene<'a> {
    row: &'a Row,
    api: &'a ApiProxy,
    webhook: &'a Webhook,
    operator: &'a Operator,
}

impl Scene<'_> {
    /// Changes the tiers of four servers in each cycle for a while, and counts requests.
    async fn rates(&self) -> Rates {
        let requests = self.api.requests();
        let count = || (requests.load(std::sync::atomic::Ordering::SeqCst), self.webhook.asked());
        let (begun, before) = (Instant::now(), count());
        let mut round = 0;
        while begun.elapsed() < PHASE {
            self.row.use_servers(PAIRS[round % 2]);
            self.operator.cycles(1).await;
            round += 1;
        }
        let (took, after) = (begun.elapsed().as_secs_f64(), count());
        #[expect(clippy::cast_precision_loss, reason = "some hundred")]
        let rate = |after: usize, before: usize| (after - before) as f64 / took;
        Rates { requests: rate(after.0, before.0), writes: rate(after.1, before.1) }
    }

    /// Waits until Redis shows these servers hot, whatever the statuses say.
    async fn publishes(&self, names: [&str; 2]) {
        self.row.use_servers(names);
        let wanted: Vec<String> = names.iter().map(|name| format!("http://{name}.example/mcp")).collect();
        eventually("Redis shows them hot", SOON, || async {
            self.row.fleet.sets_if_any().await?.hot.iter().eq(&wanted).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k8_a_foreign_webhook_costs_only_the_statuses_that_it_blocks() {
    let row = Row::begin(
        "K8",
        "somebody else's webhook denies our status writes, delays them by 10 s, hangs, denies some of them",
    )
    .await;
    let webhook = Webhook::install(row.fleet.client.clone(), &row.fleet.namespace).await;
    let api = ApiProxy::start(row.fleet.client.clone()).await;
    let kubeconfig = api.kubeconfig();
    let operator = row.fleet.operator_as(kubeconfig.path(), &["--redis-url", &row.fleet.redis.url()]);
    row.fleet.settled().await;
    let scene = Scene { row: &row, api: &api, webhook: &webhook, operator: &operator };
    row.use_servers(["a", "b"]);
    row.shows_hot(["a", "b"], SETTLED).await;
    eventually("the webhook is asked", SOON, || async { (webhook.asked() > 0).then_some(()) }).await;
    let term = row.term().await;
    let normal = scene.rates().await;
    let mut seen = vec![format!("normal {:.1}/s", normal.requests)];

    let faults = [
        ("denied", Verdict::Deny, "WebhookDenied: others.example.com"),
        ("delayed", Verdict::Delay(Duration::from_secs(10)), "TimedOut:"),
        ("hanging", Verdict::Delay(Duration::from_secs(3600)), "TimedOut:"),
    ];
    for (what, verdict, reason) in faults {
        let said = operator.log().matches("writing a status failed").count();
        webhook.verdict(verdict);
        let under_fault = scene.rates().await;
        assert!(under_fault.requests <= 1.1 * normal.requests + 1.0, "{what}: {under_fault:?}, normally {normal:?}");
        assert!(under_fault.writes <= 1.1 * normal.writes + 0.5, "{what}: {under_fault:?}, normally {normal:?}");
        seen.push(format!("{what} {:.1}/s", under_fault.requests));
        scene.publishes(["e", "f"]).await;
        // docs/contract.md#p10, and docs/contract.md#p6 for the log: one line, however many attempts.
        eventually("the fleet's status names it", SOON, || async {
            let condition = row.fleet.condition("StatusesWritten").await;
            condition.starts_with(&format!("False/{reason}")).then_some(())
        })
        .await;
        let log = operator.log();
        assert_eq!(log.matches("writing a status failed").count() - said, 1, "{what}: one line");
        assert!(
            operator.metric("mcpgateway_operator_status_writes_total{outcome=\"failed\"}").await > 0.0
                || what == "denied"
        );
        webhook.verdict(Verdict::Allow);
        let took = row.shows_hot(["e", "f"], SETTLED).await;
        seen.push(format!("recovered after {took:.1?}"));
        eventually("the fleet's status says so", SOON, || async {
            row.fleet.condition("StatusesWritten").await.starts_with("True/").then_some(())
        })
        .await;
    }

    // The webhook denies some objects: the others are written.
    webhook.verdict(Verdict::DenyOnly(&["a", "e"]));
    scene.publishes(["a", "b"]).await;
    eventually("the others have the tiers of Redis", SETTLED, || async {
        let statuses = row.fleet.statuses().await;
        let hot = |name: &str| statuses.hot.contains(&format!("http://{name}.example/mcp"));
        (hot("b") && !hot("f") && !hot("a") && hot("e")).then_some(())
    })
    .await;
    assert_eq!(row.term().await, term, "the Lease was kept throughout");
    webhook.remove().await;
    row.shows_hot(["a", "b"], SETTLED).await;
    row.end(&format!(
        "P6, P10: {}; one line each; Lease and Redis continued; other objects were written",
        seen.join(", ")
    ))
    .await;
}
