//! All workers gone at once: what was published is kept for the promised time, then given up, and right again within a
//! cycle of their return (`docs/contract.md#when-usage-is-incomplete`).

use std::time::{Duration, Instant};

use super::*;
use mcpgateway_operator::api::v1alpha1::PublicationState;

const INTERVAL: Duration = Duration::from_secs(2);
const WRITTEN: &str = "mcpgateway_operator_status_writes_total{outcome=\"written\"}";

async fn ten_servers(test: &str) -> Fleet {
    let fleet = Fleet::new(test, 3).await;
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("a", 1.0)]);
    fleet.workers[1].report(vec![used("b", 2.0)]);
    fleet
}

fn operator(fleet: &Fleet) -> Operator {
    fleet.operator_with(&["--redis-url", &fleet.redis.url(), "--worker-timeout", "500ms"])
}

/// Seconds since the timestamp of the publication that stands there; `None` if there is none.
async fn age_of_publication(fleet: &Fleet) -> Option<f64> {
    let stamp: f64 = fleet.redis_text("timestamp").await?.parse().ok()?;
    Some(clock::now().seconds() - stamp)
}

/// Looks until what was published is gone: it stayed as it was, and for at least three intervals.
async fn kept_and_given_up(fleet: &Fleet, published: &Tiers) {
    let mut oldest: f64 = 0.0;
    let begun = Instant::now();
    while let Some(age) = age_of_publication(fleet).await {
        if let Some(sets) = fleet.sets_if_any().await.filter(|sets| *sets != Tiers::default()) {
            assert_eq!(&sets, published);
            oldest = oldest.max(age);
        }
        assert!(begun.elapsed() < SOON, "it is never given up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let promised = (INTERVAL * 3).as_secs_f64();
    assert!(oldest > promised - 0.5 && oldest < promised + 2.0, "given up after {oldest:.1} s");
    println!("kept for {oldest:.2} s after its timestamp; promised: {promised} s");
    eventually("no object has a tier", SOON, || async { (fleet.statuses().await == Tiers::default()).then_some(()) })
        .await;
}

#[tokio::test]
async fn when_all_workers_are_gone_the_tiers_are_kept_then_given_up_once_and_come_back_within_a_cycle() {
    let fleet = ten_servers("gone").await;
    let operator = operator(&fleet);
    let published = fleet.settled().await;
    operator.cycles(1).await;
    let written = operator.metric(WRITTEN).await;
    fleet.workers.iter().for_each(Worker::hold);
    kept_and_given_up(&fleet, &published).await;
    operator.cycles(2).await;
    let writes = operator.metric(WRITTEN).await - written;
    assert!((writes - 10.0).abs() < 0.1, "each status changes once: {writes}");
    let status = fleet.status().await;
    assert!(fleet.condition("UsageComplete").await.starts_with("False/QuorumMissed"));
    assert_eq!((status.endpoints.summary.as_str(), status.endpoints.silent.len()), ("0/3", 3));
    assert_eq!(status.publication.state, PublicationState::GivenUp);
    for object in fleet.all().await {
        assert_eq!(condition(&object, "Classified"), "Unknown/UsageIncomplete");
        assert_eq!(condition(&object, "Ready"), "True/Registered");
    }
    fleet.workers.iter().for_each(Worker::release);
    let back = Instant::now();
    eventually("everything is right again", INTERVAL + Duration::from_secs(3), || async {
        (fleet.statuses().await == published && fleet.sets().await == published).then_some(())
    })
    .await;
    println!("right {:.2?} after the workers were back", back.elapsed());
    eventually("the fleet's status says so", SOON, || async {
        fleet.condition("UsageComplete").await.starts_with("True/").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_of_leader_in_between_neither_shortens_nor_lengthens_that() {
    let fleet = ten_servers("gone-leader").await;
    let mut first = operator(&fleet);
    let published = fleet.settled().await;
    let second = operator(&fleet);
    second.ready().await;
    fleet.workers.iter().for_each(Worker::hold);
    // The first has given up hope of its workers, and keeps the publication alive.
    eventually("it is kept alive", SOON, || async {
        (fleet.status().await.publication.state == PublicationState::KeptAlive).then_some(())
    })
    .await;
    first.stop().await;
    kept_and_given_up(&fleet, &published).await;
    assert!(second.metric("mcpgateway_operator_leader").await > 0.5);
    fleet.workers.iter().for_each(Worker::release);
    eventually("everything is right again", INTERVAL + Duration::from_secs(3), || async {
        (fleet.statuses().await == published && fleet.sets().await == published).then_some(())
    })
    .await;
}
