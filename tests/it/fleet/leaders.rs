//! Two replicas: one leads, the other takes over, and the lock never lapses.

use std::time::Instant;

use super::*;

async fn two(test: &str) -> (Fleet, Operator, Operator) {
    let fleet = Fleet::new(test, 1).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("a", 10.0)]);
    let first = fleet.operator();
    fleet.settled().await;
    let second = fleet.operator();
    second.ready().await;
    (fleet, first, second)
}

/// Waits until the lock is held at a term, and says whether it was ever free or foreign meanwhile.
async fn lock_passes_to(fleet: &Fleet, term: u32) {
    let mut connection = fleet.redis.connection().await;
    let begun = Instant::now();
    loop {
        let lock: Option<String> = connection.get(key("leader")).await.unwrap();
        let lock = lock.expect("the lock is never free");
        assert!(lock.starts_with("mcpgateway-operator/"), "the lock is never another's: {lock}");
        if lock.ends_with(&format!("/{term}")) {
            return;
        }
        assert!(begun.elapsed() < SOON, "the lock stays with {lock}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_killed_leader_is_followed_by_the_other_with_a_higher_term_and_no_gap_in_the_lock() {
    let (fleet, mut first, second) = two("killed").await;
    let before = fleet.settled().await;
    let begun = Instant::now();
    first.kill();
    lock_passes_to(&fleet, 2).await;
    println!("a killed leader was followed after {:?} (lease 3 s)", begun.elapsed());
    second.cycles(2).await;
    assert_eq!(fleet.settled().await, before, "nobody moved");
    assert_eq!(second.metric("mcpgateway_operator_term").await.to_string(), "2");
}

/// The Events that `kubectl describe mcpfleet` shows, as `reason: note`.
async fn events(fleet: &Fleet) -> Vec<String> {
    let api: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let all = api.list(&ListParams::default()).await.expect("events").items;
    let uid = fleet.fleet_object().await.and_then(|fleet| fleet.metadata.uid);
    let of_fleet = all
        .into_iter()
        .filter(|event| event.regarding.as_ref().is_some_and(|object| object.uid.is_some() && object.uid == uid));
    of_fleet.map(|event| format!("{}: {}", event.reason.unwrap_or_default(), event.note.unwrap_or_default())).collect()
}

async fn event(fleet: &Fleet, wanted: &[&str]) {
    eventually(&format!("an Event that says {wanted:?}"), SOON, || async {
        let found = events(fleet).await;
        found.iter().any(|text| wanted.iter().all(|part| text.contains(part))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_fleet_object_shows_events_of_leadership_and_of_the_redis_lock() {
    let (fleet, mut first, mut second) = two("events").await;
    event(&fleet, &["BecameLeader", "at term 1: there was no Lease"]).await;
    first.stop().await;
    event(&fleet, &["BecameLeader", "at term 2: the Lease was free"]).await;
    let third = fleet.operator();
    third.ready().await;
    second.kill();
    event(&fleet, &["BecameLeader", "at term 3: its holder had not renewed the Lease in time"]).await;
    let mut redis = fleet.redis.connection().await;
    let _: () = redis.set(key("term"), 8).await.unwrap();
    event(&fleet, &["TermRaised", "raised its term to 9: a store refused term 3"]).await;
    let _: () = redis.set(key("leader"), "classifier_5").await.unwrap();
    event(&fleet, &["RedisLockHeldByAnother", "classifier_5"]).await;
    event(&fleet, &["RedisLockTaken", "taken over from classifier_5, which published nothing"]).await;
    fleet.settled().await;
    let described = fleet.cluster.kubectl_ok(&["describe", "mcpfleet", "mcpgateway-operator", "-n", &fleet.namespace]);
    println!("{described}");
    assert!(described.contains("RedisLockTaken"), "{described}");
}

#[tokio::test]
async fn a_leader_that_is_asked_to_stop_hands_over_at_once_and_ends_well() {
    let (fleet, mut first, _second) = two("stopped").await;
    let begun = Instant::now();
    let stopping = first.stop();
    let (status, ()) = tokio::join!(stopping, lock_passes_to(&fleet, 2));
    println!("a stopped leader was followed after {:?}", begun.elapsed());
    assert!(status.success(), "{status}");
    assert!(first.log().contains("stopped"));
}

#[tokio::test]
async fn a_follower_is_ready_and_says_nothing_of_the_fleet() {
    let (_fleet, first, second) = two("follower").await;
    assert_eq!(second.get("/readyz").await.0, 200);
    let (_, metrics) = second.get("/metrics").await;
    assert!(metrics.contains("mcpgateway_operator_leader 0"), "{metrics}");
    for family in ["servers{", "objects{", "endpoints{", "redis_lock_held 1", "last_publication_timestamp_seconds 1"] {
        assert!(!metrics.contains(&format!("mcpgateway_operator_{family}")), "{family} in:\n{metrics}");
    }
    assert_eq!(first.metric("mcpgateway_operator_leader").await.to_string(), "1");
}

#[tokio::test]
async fn a_replica_is_not_ready_before_redis_has_answered_and_says_so() {
    let mut fleet = Fleet::new("unready", 1).await;
    fleet.redis.kill();
    let operator = fleet.operator();
    let awaited = eventually("only Redis is awaited", SOON, || async {
        let (code, text) = operator.get("/readyz").await;
        (code == 503 && text.matches(';').count() == 0).then_some(text)
    })
    .await;
    assert_eq!(awaited, "not ready: Redis has not answered yet\n");
    assert_eq!(operator.get("/livez").await.0, 200);
    fleet.redis.restart();
    operator.ready().await;
    fleet.redis.kill();
    operator.cycles(1).await;
    assert_eq!(operator.get("/readyz").await.0, 200, "later faults outside do not change it");
}

#[tokio::test]
async fn a_frozen_leader_that_wakes_writes_nothing_more() {
    let (fleet, first, second) = two("frozen").await;
    first.signal("STOP");
    lock_passes_to(&fleet, 2).await;
    fleet.workers[0].report(vec![used("d", 0.0)]);
    eventually("the new leader publishes", SOON, || async {
        fleet.sets().await.hot.contains("http://d.example/mcp").then_some(())
    })
    .await;
    first.signal("CONT");
    eventually("it has noticed", SOON, || async { first.log().contains("standing by").then_some(()) }).await;
    second.cycles(2).await;
    let tiers = fleet.settled().await;
    assert_eq!(tiers.hot, BTreeSet::from(["http://d.example/mcp".to_owned()]));
    assert!(fleet.all().await.iter().all(|object| object.status.as_ref().unwrap().term <= Some(2)));
    assert!(fleet.redis_text("leader").await.unwrap().ends_with("/2"));
}
