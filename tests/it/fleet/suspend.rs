//! The emergency brake on real servers: `spec.suspend` of the fleet object.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mcpgateway_operator::api::v1alpha1::PublicationState;
use redis::AsyncCommands;

use crate::support::fleet::{Fleet, key, used};
use crate::support::{SOON, eventually};

const ROUNDS: usize = 20;
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What a gateway that reads every 10 ms in one command finds: nothing, or a whole publication.
struct Reader {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(usize, Vec<String>)>,
}

impl Reader {
    async fn start(fleet: &Fleet) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut redis = fleet.redis.connection().await;
        let ended = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let (mut reads, mut broken) = (0, Vec::new());
            let mut pause = tokio::time::interval(Duration::from_millis(10));
            while !ended.load(Ordering::SeqCst) {
                pause.tick().await;
                let mut all = redis::pipe();
                all.atomic().scard(key("hot")).scard(key("cold"));
                all.exists(key("metadata")).exists(key("timestamp")).get(key("leader"));
                let found: (usize, usize, bool, bool, Option<String>) = all.query_async(&mut redis).await.unwrap();
                let whole = matches!(found, (1, 5, true, true, _));
                let nothing = matches!(found, (0, 0, false, false, _));
                let held = found.4.as_deref().is_some_and(|holder| holder.starts_with("mcpgateway-operator/"));
                if !(whole || nothing) || !held {
                    broken.push(format!("{found:?}"));
                }
                reads += 1;
            }
            (reads, broken)
        });
        Self { stop, task }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let (reads, broken) = self.task.await.unwrap();
        assert!(broken.is_empty(), "{} of {reads} reads found something else: {broken:?}", broken.len());
        reads
    }
}

async fn fleet(test: &str) -> Fleet {
    let fleet = Fleet::new(test, 2).await;
    for name in NAMES {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("a", 5.0), used("b", 50.0)]);
    fleet
}

/// Waits until Redis holds nothing, and then until no status has a tier; how long both took.
async fn until_suspended(fleet: &Fleet) -> (Duration, Duration) {
    let begun = Instant::now();
    let mut redis = fleet.redis.connection().await;
    let keys = ["hot", "cold", "metadata", "timestamp"].map(key);
    eventually("nothing is published", SOON, || {
        let (mut redis, keys) = (redis.clone(), keys.clone());
        async move { (redis.exists::<_, usize>(&keys[..]).await.unwrap() == 0).then_some(()) }
    })
    .await;
    let withdrawn = begun.elapsed();
    eventually("no status has a tier", SOON, || async {
        let tierless = |object: &mcpgateway_operator::api::v1alpha1::McpGateway| {
            let status = object.status.as_ref().expect("a status");
            let classified = status.conditions.iter().find(|condition| condition.type_ == "Classified");
            status.tier.is_none() && classified.is_some_and(|classified| classified.reason == "Suspended")
        };
        fleet.all().await.iter().all(tierless).then_some(())
    })
    .await;
    let _: bool = redis.exists(key("leader")).await.unwrap();
    (withdrawn, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn suspending_removes_everything_within_two_seconds_and_resuming_brings_it_back_in_twenty_rounds() {
    let fleet = fleet("suspend").await;
    let operator = fleet.operator();
    let before = fleet.settled().await;
    let reader = Reader::start(&fleet).await;
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        fleet.suspend(true).await;
        let (withdrawn, statuses) = until_suspended(&fleet).await;
        assert!(withdrawn < Duration::from_secs(2), "round {round}: the sets were there for {withdrawn:?}");
        eventually("the fleet's status says so", SOON, || async {
            (fleet.status().await.publication.state == PublicationState::Suspended).then_some(())
        })
        .await;
        assert!(fleet.condition("Ready").await.starts_with("True/Suspended"));
        assert!(fleet.condition("Suspended").await.starts_with("True/SuspendedBySpec"));
        let begun = Instant::now();
        fleet.suspend(false).await;
        let after = fleet.settled().await;
        assert_eq!(after, before, "round {round}");
        times.push((withdrawn, statuses, begun.elapsed()));
    }
    let reads = reader.end().await;
    let median = |pick: fn(&(Duration, Duration, Duration)) -> Duration| {
        let mut all: Vec<Duration> = times.iter().map(pick).collect();
        all.sort_unstable();
        (all[ROUNDS / 2], all[ROUNDS - 1])
    };
    println!(
        "{ROUNDS} rounds, {reads} reads: sets gone after {:?} (median, worst), tiers gone after {:?}, back after {:?}",
        median(|times| times.0),
        median(|times| times.1),
        median(|times| times.2)
    );
    assert!((operator.metric("mcpgateway_operator_fleet_suspended").await).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_stays_suspended_when_its_leader_is_killed() {
    let fleet = fleet("suspend-killed").await;
    let mut first = fleet.operator();
    let before = fleet.settled().await;
    let second = fleet.operator();
    second.ready().await;
    fleet.suspend(true).await;
    until_suspended(&fleet).await;
    let reader = Reader::start(&fleet).await;
    first.kill();
    eventually("another leads", SOON, || async { (fleet.status().await.term? == 2).then_some(()) }).await;
    second.cycles(3).await;
    until_suspended(&fleet).await;
    assert!((second.metric("mcpgateway_operator_fleet_suspended").await - 1.0).abs() < 0.5);
    assert_eq!(fleet.status().await.publication.state, PublicationState::Suspended);
    assert!(reader.end().await > 100);
    // The usage that the statuses kept, and what the workers report, bring the same tiers back.
    fleet.suspend(false).await;
    assert_eq!(fleet.settled().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_restored_by_hand_while_suspended_is_removed_again() {
    let fleet = fleet("suspend-restored").await;
    let _operator = fleet.operator();
    fleet.settled().await;
    fleet.suspend(true).await;
    until_suspended(&fleet).await;
    let mut redis = fleet.redis.connection().await;
    let _: () = redis.sadd(key("hot"), "http://a.example/mcp").await.unwrap();
    until_suspended(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_object_that_is_deleted_comes_back_and_one_that_is_edited_is_restored() {
    let fleet = fleet("suspend-deleted").await;
    let _operator = fleet.operator();
    fleet.settled().await;
    eventually("a status", SOON, || async { fleet.status().await.term }).await;
    fleet.fleet_objects().delete("mcpgateway-operator", &kube::api::DeleteParams::default()).await.unwrap();
    eventually("it is created again, with its status", SOON, || async { fleet.status().await.term }).await;
    let patch = serde_json::json!({"status": {"servers": {"total": 99}}});
    let params = kube::api::PatchParams::default();
    fleet.fleet_objects().patch_status("mcpgateway-operator", &params, &kube::api::Patch::Merge(&patch)).await.unwrap();
    eventually("the status is restored", SOON, || async { (fleet.status().await.servers.total == 6).then_some(()) })
        .await;
    // A lower term is refused by the API server.
    let patch = serde_json::json!({"status": {"term": 0}});
    let refused = fleet
        .fleet_objects()
        .patch_status("mcpgateway-operator", &params, &kube::api::Patch::Merge(&patch))
        .await
        .unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.code == 422));
}
