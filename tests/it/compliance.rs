//! Whether gateways poll by what is published, judged by the leader from the stamps in a real Redis: a fact, a metric,
//! `status`, and a log line.

use std::time::Duration;

use redis::AsyncCommands;

use crate::support::cluster::said;
use crate::support::eventually;
use crate::support::fleet::{Fleet, used};
use crate::support::operator::{Operator, binary};

const METRIC: &str = "mcpgateway_operator_obeyed";
/// Ten cycles of two seconds, many times over.
const TEN_CYCLES: Duration = Duration::from_secs(120);

fn stamp(fleet: &Fleet, interval: &str) {
    for name in ["a", "b", "c"] {
        let mut command = binary();
        let url = format!("http://{name}.example/mcp");
        command.args(["poll", "completed", "--url", &url, "--gateway-id", &format!("id-{name}"), "--type"]);
        command.args(["tool_discovery", "--redis-url", &fleet.redis.url(), "--hot-poll-interval", interval]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
}

async fn says(fleet: &Fleet, start: &str) -> String {
    eventually(&format!("the condition Obeyed begins with {start}"), TEN_CYCLES, || async {
        Some(fleet.condition("Obeyed").await).filter(|condition| condition.starts_with(start))
    })
    .await
}

async fn metric(operator: &Operator) -> Option<String> {
    let (_, text) = operator.get("/metrics").await;
    let value = |line: &str| Some(line.strip_prefix(METRIC)?.trim_start_matches("{}").trim().to_owned());
    text.lines().find_map(value)
}

#[tokio::test]
async fn the_leader_reports_whether_gateways_obey_and_why_not() {
    let fleet = Fleet::new("obeyed", 1).await;
    for name in ["a", "b", "c"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("a", 5.0)]);
    stamp(&fleet, "60s");
    let mut operator = fleet.operator();
    // The first sample is taken with the first cycle.
    let condition = says(&fleet, "False/OtherInterval").await;
    assert!(condition.contains("GATEWAY_AUTO_REFRESH_INTERVAL") && !condition.contains("60"), "{condition}");
    assert_eq!(metric(&operator).await.as_deref(), Some("0"));
    assert!(operator.log().contains("OtherInterval"));

    stamp(&fleet, "300s");
    says(&fleet, "True/").await;
    assert_eq!(metric(&operator).await.as_deref(), Some("1"));
    let status =
        binary().env("KUBECONFIG", fleet.cluster.kubeconfig()).args(["status", "-n", &fleet.namespace]).output();
    let status = said(&status.unwrap());
    assert!(status.lines().any(|line| line.starts_with("Obeyed:") && line.ends_with(" yes")), "{status}");
    assert!(operator.stop().await.success());

    // Gateways that have had no time to poll are not blamed at first.
    let mut redis = fleet.redis.connection().await;
    let stamps: Vec<String> = redis.keys("mcpgateway:server_poll_state:*").await.unwrap();
    assert_eq!(stamps.len(), 3);
    let (): () = redis.del(stamps).await.unwrap();
    let operator = fleet.operator();
    says(&fleet, "Unknown/").await;
    assert_eq!(metric(&operator).await, None);
    says(&fleet, "False/NoContextForge").await;
    assert_eq!(metric(&operator).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn without_redis_there_is_nothing_to_obey() {
    let fleet = Fleet::new("unobeyed", 1).await;
    let operator = fleet.operator_with(&[]);
    says(&fleet, "Unknown/NoRedis").await;
    assert_eq!(metric(&operator).await, None);
}
