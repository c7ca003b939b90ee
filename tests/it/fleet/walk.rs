//! The line walks: objects, use, ranking, Redis, status; and stands still when nothing moves.

use std::process::Command;

use mcpgateway_operator::api::v1alpha1::McpGateway;
use mcpgateway_operator::api::v1alpha1::PublicationState;

use super::*;
use crate::support::operator::binary;

/// A small generator of numbers, so that a failing fleet can be made again.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Sixty objects with random URLs, and three workers that each report on some of them.
async fn sixty(numbers: &mut Numbers) -> Fleet {
    let fleet = Fleet::new("sixty", 3).await;
    for n in 0..60 {
        let path = ["mcp", "sse", "v1/mcp?region=eu&monkey=1"][usize::try_from(numbers.below(3)).unwrap()];
        let url = format!("https://h{}.example.com:{}/{path}", numbers.below(1 << 20), 8000 + numbers.below(1000));
        fleet.create(&format!("s{n:02}"), &url).await;
    }
    for worker in &fleet.workers {
        let mut rows = Vec::new();
        for n in 0..60 {
            if numbers.below(3) == 0 {
                let ago = f64::from(u32::try_from(numbers.below(5000)).unwrap());
                rows.push(Row {
                    active: numbers.below(4),
                    use_count: numbers.below(100),
                    ..used(&format!("s{n:02}"), ago)
                });
            }
        }
        worker.report(rows);
    }
    fleet
}

/// What `classify` says of the objects as `kubectl` shows them and the reports as the workers give them.
fn classified_offline(fleet: &Fleet) -> Tiers {
    let folder = tempfile::tempdir().unwrap();
    let list = fleet.cluster.kubectl_ok(&["get", "mcpgateways", "-n", &fleet.namespace, "-o", "json"]);
    std::fs::write(folder.path().join("fleet.json"), list).unwrap();
    let reports = folder.path().join("usage");
    std::fs::create_dir(&reports).unwrap();
    for (n, worker) in fleet.workers.iter().enumerate() {
        std::fs::write(reports.join(format!("{n}.json")), worker.saved().to_string()).unwrap();
    }
    let mut command: Command = binary();
    command.arg("classify").arg("-f").arg(folder.path().join("fleet.json")).arg("--usage").arg(&reports);
    let output = command.args(["-o", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let set = |name: &str| serde_json::from_value(found[name].clone()).unwrap();
    Tiers { hot: set("hot"), cold: set("cold") }
}

fn versions(objects: &[McpGateway]) -> Vec<(String, String)> {
    let version = |object: &McpGateway| {
        (object.metadata.name.clone().unwrap(), object.metadata.resource_version.clone().unwrap())
    };
    objects.iter().map(version).collect()
}

#[tokio::test]
async fn statuses_sets_and_classify_agree_on_sixty_random_objects_and_then_nothing_is_written() {
    let fleet = sixty(&mut Numbers(7)).await;
    let operator = fleet.operator();
    let tiers = fleet.settled().await;
    assert_eq!(tiers.hot.len(), 12, "a fifth of sixty");
    assert_eq!(tiers, classified_offline(&fleet));

    let before = versions(&fleet.all().await);
    operator.cycles(5).await;
    assert_eq!(versions(&fleet.all().await), before, "a fleet that stands still costs no status writes");

    // A server that nobody used becomes the most recently used one.
    let cold = fleet.all().await.into_iter().find(|object| tiers.cold.contains(&object.spec.url)).unwrap();
    let name = cold.metadata.name.unwrap();
    let begun = std::time::Instant::now();
    fleet.workers[0].report(vec![used(&name, 0.0)]);
    eventually("the change is visible in the sets and in the status", SOON, || async {
        let visible =
            fleet.sets().await.hot.contains(&cold.spec.url) && fleet.statuses().await.hot.contains(&cold.spec.url);
        visible.then_some(())
    })
    .await;
    println!("a change of usage was visible everywhere after {:?} (interval 2 s)", begun.elapsed());
}

#[tokio::test]
async fn the_published_metadata_timestamp_and_expiries_are_those_of_the_contract() {
    let fleet = Fleet::new("contract", 1).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("c", 10.0)]);
    let _operator = fleet.operator();
    let tiers = fleet.settled().await;
    assert_eq!(tiers.hot, BTreeSet::from(["http://c.example/mcp".to_owned()]));

    let metadata = fleet.redis_text("metadata").await.unwrap();
    assert!(metadata.starts_with(r#"{"total_servers":5,"hot_cap":1,"hot_actual":1,"eligible_count":1,"timestamp":"#));
    assert!(metadata.ends_with(r#","underutilized_reason":null}"#), "{metadata}");
    let timestamp: f64 = fleet.redis_text("timestamp").await.unwrap().parse().unwrap();
    assert!((clock::now().seconds() - timestamp).abs() < 30.0);
    let owner = format!("/{}/mcpgateway-operator/1", fleet.namespace);
    let lock = fleet.redis_text("leader").await.unwrap();
    assert!(lock.starts_with("mcpgateway-operator/") && lock.ends_with(&owner), "{lock}");
    let mut connection = fleet.redis.connection().await;
    for name in ["hot", "cold", "metadata", "timestamp"] {
        let left: i64 = connection.pttl(key(name)).await.unwrap();
        assert!((1..=4000).contains(&left), "{name} expires in {left} ms of 2 intervals");
    }
    let left: i64 = connection.pttl(key("leader")).await.unwrap();
    assert!((4001..=13_000).contains(&left), "the lock expires in {left} ms of lease + 10 s");
    assert_eq!(connection.ttl::<_, i64>(key("term")).await.unwrap(), -1);
}

#[tokio::test]
async fn without_redis_statuses_are_written_alone() {
    let mut fleet = Fleet::new("no-redis", 1).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("b", 10.0)]);
    fleet.redis.kill();
    let operator = fleet.operator_with(&[]);
    eventually("every status has a tier", SOON, || async {
        let tiers = fleet.statuses().await;
        (tiers.hot.len() == 1 && tiers.cold.len() == 4).then_some(())
    })
    .await;
    operator.ready().await;
    let status =
        eventually("a status", SOON, || async { Some(fleet.status().await).filter(|status| status.term.is_some()) })
            .await;
    assert_eq!(status.publication.state, PublicationState::StatusesOnly);
}

#[tokio::test]
async fn statuses_go_on_while_redis_is_away_and_the_sets_come_back_with_it() {
    let mut fleet = Fleet::new("redis-away", 1).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("b", 10.0)]);
    let _operator = fleet.operator();
    fleet.settled().await;
    fleet.redis.kill();
    fleet.workers[0].report(vec![used("d", 0.0)]);
    eventually("the status follows without Redis", SOON, || async {
        fleet.statuses().await.hot.contains("http://d.example/mcp").then_some(())
    })
    .await;
    fleet.redis.restart();
    let tiers = fleet.settled().await;
    assert_eq!(tiers.hot, BTreeSet::from(["http://d.example/mcp".to_owned()]));
}

#[tokio::test]
async fn the_state_of_the_fleet_is_shown_to_people_and_to_prometheus() {
    let fleet = Fleet::new("shown", 2).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("a", 3.0)]);
    let operator = fleet.operator();
    fleet.settled().await;
    operator.cycles(1).await;
    let output = binary()
        .env("KUBECONFIG", fleet.cluster.kubeconfig())
        .args(["status", "--leader-elect-resource-namespace", &fleet.namespace])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in
        ["5 (0 disabled, 0 refused)", "5 (1 hot, 4 cold, 0 unclassified)", "2 of 2 reported", "Published", "Held"]
    {
        assert!(text.contains(line), "{line:?} is missing in:\n{text}");
    }

    let (code, metrics) = operator.get("/metrics").await;
    assert_eq!(code, 200);
    for line in [
        "mcpgateway_operator_servers{tier=\"hot\"} 1",
        "mcpgateway_operator_servers{tier=\"cold\"} 4",
        "mcpgateway_operator_objects{accepted=\"true\"} 5",
        "mcpgateway_operator_endpoints{state=\"heard\"} 2",
        "mcpgateway_operator_workers 2",
        "mcpgateway_operator_leader 1",
        "mcpgateway_operator_term 1",
        "mcpgateway_operator_redis_lock_held 1",
        "mcpgateway_operator_tier_changes_total{from=\"unclassified\",to=\"hot\"} 1",
        "mcpgateway_operator_status_writes_total{outcome=\"written\"} ",
        "mcpgateway_operator_redis_publishes_total{kind=\"full\",outcome=\"published\"} ",
        "mcpgateway_operator_worker_reports_total{outcome=",
        "mcpgateway_operator_last_successful_cycle_timestamp_seconds ",
        "mcpgateway_operator_last_publication_timestamp_seconds ",
        "process_resident_memory_bytes ",
    ] {
        assert!(metrics.contains(line), "{line:?} is missing in:\n{metrics}");
    }
    assert_eq!(operator.get("/livez").await.0, 200);
}
