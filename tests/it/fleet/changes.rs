//! What changes while the operator runs: objects come, go and are edited; workers restart.

use super::*;

/// Five servers, one of them used, classified.
async fn five(test: &str) -> (Fleet, Operator) {
    let fleet = five_held(test).await;
    fleet.workers[0].release();
    fleet.workers[0].report(vec![used("a", 10.0)]);
    let operator = fleet.operator();
    fleet.settled().await;
    (fleet, operator)
}

/// Five servers, and a worker that does not answer yet.
async fn five_held(test: &str) -> Fleet {
    let fleet = Fleet::new(test, 1).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].hold();
    fleet
}

async fn waits_for_reason(fleet: &Fleet, name: &str, expected: &str) -> McpGateway {
    eventually(&format!("{name} is {expected}"), SOON, || async {
        Some(fleet.get(name).await).filter(|object| condition(object, "Classified") == expected)
    })
    .await
}

#[tokio::test]
async fn a_deleted_object_leaves_the_sets() {
    let (fleet, _operator) = five("deleted").await;
    fleet.delete("e").await;
    let begun = std::time::Instant::now();
    eventually("its URL is in no set", SOON, || async {
        let sets = fleet.sets().await;
        (!sets.cold.contains("http://e.example/mcp") && sets.cold.len() + sets.hot.len() == 4).then_some(())
    })
    .await;
    println!("a deleted object had left the sets after {:?} (interval 2 s)", begun.elapsed());
}

#[tokio::test]
async fn a_new_object_is_not_called_cold_before_a_collection_has_asked_about_it() {
    let (fleet, _operator) = five("new").await;
    let worker = &fleet.workers[0];
    // A collection is under way when the object comes: it did not ask about it.
    worker.hold();
    worker.requests(worker.asked() + 1).await;
    fleet.create("f", "http://f.example/mcp").await;
    let object = waits_for_reason(&fleet, "f", "Unknown/AwaitingUsage").await;
    assert_eq!(condition(&object, "Ready"), "True/Registered");
    let asked = worker.asked();
    worker.admit_one();
    // The next one begins only after the answer to the first has been taken in.
    worker.requests(asked + 1).await;
    assert_eq!(fleet.get("f").await.status.unwrap().tier, None);
    assert!(!fleet.sets().await.cold.contains("http://f.example/mcp"));
    worker.release();
    waits_for_reason(&fleet, "f", "True/NeverUsed").await;
    assert!(fleet.sets().await.cold.contains("http://f.example/mcp"));
}

#[tokio::test]
async fn a_fleet_that_is_registered_after_the_installation_does_not_wait_for_the_interval() {
    let fleet = Fleet::new("first", 1).await;
    fleet.workers[0].report(vec![used("a", 10.0)]);
    let (redis, worker) = (fleet.redis.url(), fleet.workers[0].url());
    let flags = ["--classification-interval", "10m", "--redis-url", &redis, "--worker-endpoint", &worker];
    let operator = Operator::start(fleet.cluster.kubeconfig(), &fleet.namespace, &flags);
    // The first cycle finds nothing registered.
    let cycles = "mcpgateway_operator_cycle_duration_seconds_count";
    eventually("a cycle", SOON, || async { (operator.metric(cycles).await >= 1.0).then_some(()) }).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    eventually("tiers", SOON, || async { (!fleet.statuses().await.cold.is_empty()).then_some(()) }).await;
}

#[tokio::test]
async fn an_edited_url_loses_its_tier_at_once() {
    let (fleet, _operator) = five("edited").await;
    fleet.workers[0].hold();
    fleet.workers[0].requests(fleet.workers[0].asked() + 1).await;
    let begun = std::time::Instant::now();
    fleet.edit("a", json!({"url": "http://elsewhere.example/mcp"})).await;
    let object = waits_for_reason(&fleet, "a", "Unknown/AwaitingUsage").await;
    println!("an edited URL had lost its tier after {:?}", begun.elapsed());
    let status = object.status.unwrap();
    assert_eq!((status.tier, status.rank, status.usage), (None, None, None));
    eventually("the old URL leaves the sets", SOON, || async {
        (!fleet.sets().await.hot.contains("http://a.example/mcp")).then_some(())
    })
    .await;
    fleet.workers[0].release();
}

#[tokio::test]
async fn a_disabled_object_leaves_the_registry_and_comes_back() {
    let (fleet, _operator) = five("disabled").await;
    fleet.edit("a", json!({"enabled": false})).await;
    let object = waits_for_reason(&fleet, "a", "False/Disabled").await;
    assert_eq!(
        (condition(&object, "Ready"), condition(&object, "Accepted")),
        ("True/Disabled".into(), "True/Valid".into())
    );
    assert_eq!(object.status.unwrap().tier, None);
    fleet.edit("a", json!({"enabled": true})).await;
    eventually("it is classified again", SOON, || async { fleet.get("a").await.status?.tier }).await;
}

#[tokio::test]
async fn workers_that_all_restart_with_empty_reports_demote_nobody() {
    let fleet = Fleet::new("restart", 3).await;
    for n in 0..10 {
        fleet.create(&format!("s{n}"), &format!("http://s{n}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("s3", 5.0), used("s4", 50.0)]);
    fleet.workers[1].report(vec![used("s7", 1.0)]);
    let mut operator = fleet.operator();
    let before = fleet.settled().await;
    assert_eq!(before.hot.len(), 2);
    fleet.workers.iter().for_each(Worker::restart);
    operator.cycles(4).await;
    assert_eq!(fleet.settled().await, before, "the uses that ended processes saw stay true");

    // Nor does a new leader, which knows those uses from the statuses alone.
    operator.kill();
    let successor = fleet.operator();
    successor.cycles(4).await;
    assert_eq!(fleet.settled().await, before);
}

/// The hot server of five after each of four cycles. Before each cycle both `a` and `b` are used: `a` last before even
/// ones, `b` last before odd ones, and `a` has the higher use count.
async fn hot_while_uses_alternate(fleet: &Fleet, operator: &Operator) -> Vec<String> {
    let worker = &fleet.workers[0];
    let cycles = "mcpgateway_operator_cycle_duration_seconds_count";
    let mut asked = 0;
    let mut hot = Vec::new();
    for cycle in 1..=4 {
        // The request of this cycle waits for its answer, so the uses are new when they are ranked.
        asked = worker.requests(asked + 1).await;
        let (a, b) = if cycle % 2 == 0 { (0.0, 0.01) } else { (0.01, 0.0) };
        worker.report(vec![Row { use_count: 100, ..used("a", a) }, used("b", b)]);
        let begun = operator.metric(cycles).await;
        worker.admit_one();
        eventually("the cycle ends", SOON, || async { (operator.metric(cycles).await > begun).then_some(()) }).await;
        let urls: Vec<String> = fleet.sets().await.hot.into_iter().collect();
        hot.push(urls.join(" ").replace("http://", "").replace(".example/mcp", ""));
    }
    hot
}

#[tokio::test]
async fn servers_that_are_both_used_in_every_interval_keep_their_tiers_unless_times_are_compared_exactly() {
    let (steady, exact) = futures::join!(five_held("steady"), five_held("exact"));
    let (redis, worker) = (steady.redis.url(), steady.workers[0].url());
    let flags = ["--classification-interval", "2s", "--redis-url", &redis, "--worker-endpoint", &worker];
    let operators = (Operator::start(steady.cluster.kubeconfig(), &steady.namespace, &flags), exact.operator());
    let (steady, exact) =
        futures::join!(hot_while_uses_alternate(&steady, &operators.0), hot_while_uses_alternate(&exact, &operators.1));
    assert_eq!(steady, ["a", "a", "a", "a"], "the use count decides");
    assert_eq!(exact, ["b", "a", "b", "a"], "the last use decides");
}

#[tokio::test]
async fn a_duplicate_id_is_refused_until_it_is_free() {
    let (fleet, _operator) = five("duplicate").await;
    fleet.create("z", "http://z.example/mcp").await;
    fleet.edit("z", json!({"gatewayId": "id-a"})).await;
    let object = eventually("it is refused", SOON, || async {
        Some(fleet.get("z").await).filter(|object| condition(object, "Accepted") == "False/DuplicateGatewayId")
    })
    .await;
    assert_eq!(condition(&object, "Stalled"), "True/DuplicateGatewayId");
    assert_eq!(condition(&object, "Classified"), "False/NotAccepted");
    let events = eventually("an Event tells of it", SOON, || async {
        let events = fleet.cluster.kubectl_ok(&["get", "events", "-n", &fleet.namespace, "-o", "wide"]);
        events.contains("DuplicateGatewayId").then_some(events)
    })
    .await;
    assert!(events.contains("mcpgateway/z"), "{events}");
    fleet.delete("a").await;
    eventually("it is accepted", SOON, || async {
        (condition(&fleet.get("z").await, "Accepted") == "True/Valid").then_some(())
    })
    .await;
}
