//! `docs/operations.md` lists every reason, metric, and field and condition of a fleet, and no others.

use std::collections::BTreeSet;

use mcpgateway_operator::api::conditions::{FleetConditionType, Reason};
use mcpgateway_operator::api::v1alpha1::FleetStatus;
use serde_json::json;
use strum::VariantArray;

use crate::support::api_proxy::{ApiProxy, Fault};
use crate::support::cluster::root;
use crate::support::contextforge::ContextForge;
use crate::support::fleet::{Fleet, used};
use crate::support::operator::{Operator, binary};
use crate::support::worker::Row;
use crate::support::{SOON, eventually};

/// The name in backticks at the start of each row of the table below a heading, without the labels of a metric.
fn rows(heading: &str) -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = rest.split("\n## ").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    let all: Vec<String> = names.map(str::to_owned).collect();
    let unique: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(unique.len(), all.len(), "{heading} has the same row twice");
    unique
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_operations_page_lists_every_reason_and_no_other() {
    assert_eq!(rows("Conditions of an object"), set(Reason::VARIANTS.iter().map(Into::into)));
}

#[test]
fn the_operations_page_lists_every_field_and_condition_of_a_fleet_and_no_other() {
    let schema = serde_json::to_value(schemars::schema_for!(FleetStatus)).unwrap();
    let mut names: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    assert!(names.len() > 8, "{names:?}");
    names.extend(FleetConditionType::VARIANTS.iter().map(ToString::to_string));
    assert_eq!(rows("The fleet object"), names);
}

/// The metrics that an operator serves, by the names that queries use and without the prefix.
async fn served(operator: &Operator) -> BTreeSet<String> {
    let (_, text) = operator.get("/metrics").await;
    let names = text.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(name.strip_prefix("mcpgateway_operator_").unwrap_or(name).to_owned())
    });
    names.collect()
}

/// A metric with labels is served once it has a value, so this operator meets everything that is counted.
#[tokio::test]
async fn the_operations_page_lists_every_metric_that_is_served_and_no_other() {
    let fleet = Fleet::new("operations", 1).await;
    for name in ["a", "b", "c"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    // One that cannot be registered in ContextForge, for registrations.
    fleet.create("d", "http://d.example/mcp").await;
    fleet.edit("d", json!({"registration": {}})).await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "token").unwrap();
    // A server that is not registered, for worker_rows_skipped_total.
    // One whose id is registered for another server, for worker_identity_conflicts_total.
    let in_conflict = Row { url: Some("http://b.example/mcp".to_owned()), ..used("a", 5.0) };
    fleet.workers[0].report(vec![used("a", 5.0), used("unknown", 5.0), in_conflict]);
    // A process that says whether it follows the refresh plan, for refresh_plan_processes.
    fleet.workers[0].say_of_polling(json!({"refreshPlan": "Active"}));
    // A gateway that polls at another interval, for obeyed.
    let mut poll = binary();
    poll.args(["poll", "completed", "--url", "http://a.example/mcp", "--gateway-id", "id-a"]);
    poll.args(["--type", "tool_discovery", "--redis-url", &fleet.redis.url(), "--hot-poll-interval", "60s"]);
    assert!(poll.output().unwrap().status.success());
    let proxy = ApiProxy::start(fleet.cluster.client().await).await;
    let (kubeconfig, redis) = (proxy.kubeconfig(), fleet.redis.url());
    let flags = ["--redis-url", &redis, "--worker-service", "a/b", "--api-bind-address", "127.0.0.1:0"];
    // A refresh plan, for planned_refreshes_per_hour.
    let flags = [&flags[..], &["--refresh-plan", "usage"]].concat();
    // A gateway to mirror, for mirror_operations_total.
    let contextforge = ContextForge::default();
    contextforge.register(1);
    let (contextforge, token) = (contextforge.start().await, token.path().display().to_string());
    let flags = [&flags[..], &["--contextforge-url", &contextforge, "--contextforge-token-file", &token]].concat();
    let flags = [&flags[..], &["--mirror-namespace", &fleet.namespace]].concat();
    let operator = fleet.operator_as(kubeconfig.path(), &flags);
    // A poll decision, for poll_decisions_total.
    let address = operator.address("serving /v1").await;
    let url = format!("http://{address}/v1/polls/due?url=http://a.example/mcp&type=health");
    assert_eq!(reqwest::get(url).await.unwrap().status(), 200);
    fleet.settled().await;
    // EndpointSlices that cannot be read any more, for worker_discovery_failures_total.
    proxy.fault_on("endpointslices", Fault::Missing);

    let documented = rows("Metrics");
    let served = eventually("every documented metric is served", SOON, || async {
        let served = served(&operator).await;
        let missing: Vec<&String> = documented.difference(&served).collect();
        println!("not served yet: {missing:?}");
        missing.is_empty().then_some(served)
    })
    .await;
    assert_eq!(served, documented);
}

/// Go's parser of the text format refuses `OpenMetrics`, and some scrapers send no header.
#[tokio::test]
async fn the_metrics_are_served_in_the_format_that_accept_asks_for() {
    let fleet = Fleet::new("formats", 1).await;
    let operator = fleet.operator();
    let url = format!("http://{}/metrics", operator.address("serving /metrics").await);
    let (text, open_metrics) = ("text/plain; version=0.0.4", "application/openmetrics-text; version=1.0.0");
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
        application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let [no_header, any] = [None, Some("*/*")];
    for (accept, kind) in [
        (no_header, text),
        (any, text),
        (Some("text/plain;version=0.0.4;q=1,*/*;q=0.1"), text),
        (Some("application/json"), text),
        (Some("application/openmetrics-text"), open_metrics),
        (Some(prometheus), open_metrics),
    ] {
        let mut request = reqwest::Client::new().get(&url);
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        let answer = request.send().await.unwrap();
        let served = answer.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(served, format!("{kind}; charset=utf-8"), "{accept:?}");
        let body = answer.text().await.unwrap();
        assert_eq!(body.ends_with("\n# EOF\n"), kind == open_metrics, "{accept:?}");
        let counter = if kind == text { "process_cpu_seconds_total" } else { "process_cpu_seconds" };
        assert!(body.contains(&format!("# TYPE {counter} counter\n")), "{body}");
        assert!(body.contains("\nprocess_cpu_seconds_total "), "{body}");
    }
}
