//! docs/contract.md#x1: the operator is killed at each of thirty points of its life, or frozen for a long time.

use std::sync::Arc;
use std::time::Duration;

use crate::proxy::Proxy;
use crate::row::{Row, SETTLED, SETTLED_AFTER_LEASE};
use crate::support::api_proxy::ApiProxy;
use crate::support::steps::Steps;
use crate::support::{SOON, eventually};

const PAIRS: [[&str; 2]; 4] = [["b", "c"], ["d", "e"], ["f", "g"], ["h", "i"]];

/// Kills a replica at every other of thirty points, spread over its start and a cycle in which tiers change. Each point
/// is a request to the API server or to Redis that is in flight.
async fn killed(id: &'static str, half: usize) {
    let row =
        Row::begin(id, "killed with a request in flight, at 15 of 30 points from its start to the end of a cycle")
            .await;
    let steps = Arc::new(Steps::default());
    let api = ApiProxy::counting(row.fleet.client.clone(), Arc::clone(&steps)).await;
    let redis = Proxy::counting(row.fleet.redis.port(), Arc::clone(&steps)).await;
    let kubeconfig = api.kubeconfig();
    let owner = format!("chaos/{}", row.fleet.namespace);
    let flags = ["--redis-url", &redis.url(), "--redis-owner-id", &owner];
    let straight_url = row.fleet.redis.url();
    let straight = ["--redis-url", &straight_url, "--redis-owner-id", &owner];
    // One complete run, to count its steps.
    let mut whole = row.fleet.operator_as(kubeconfig.path(), &flags);
    row.fleet.settled().await;
    row.use_servers(PAIRS[3]);
    row.shows_hot(PAIRS[3], SETTLED).await;
    let all = steps.taken();
    whole.stop().await;

    let mut points = Vec::new();
    let mut worst = Duration::ZERO;
    for round in 0..15 {
        let point = all * (2 * round + half + 1) / 31;
        row.use_servers(PAIRS[round % 4]);
        steps.allow(point);
        let mut doomed = row.fleet.operator_as(kubeconfig.path(), &flags);
        eventually("the process is at the point", SOON, || async { steps.stuck().then_some(()) }).await;
        doomed.kill();
        points.push(point);
        // Requests in flight to Redis may still arrive.
        steps.free();
        let mut next = row.fleet.operator_with(&straight);
        let limit = SETTLED_AFTER_LEASE + Duration::from_secs(2);
        worst = worst.max(row.shows_hot(PAIRS[round % 4], limit).await);
        next.stop().await;
    }
    assert!(points.windows(2).all(|pair| pair[0] < pair[1]), "the points are not spread: {points:?}");
    row.end(&format!("P2, P9: recovered at most {worst:.1?} after each restart; points {points:?} of {all}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x1_killed_at_each_of_thirty_points_the_odd_ones() {
    killed("X1.1", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x1_killed_at_each_of_thirty_points_the_even_ones() {
    killed("X1.2", 1).await;
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x1_frozen_for_thirty_seconds_as_the_leader() {
    let row = Row::begin("X1.3", "leader frozen for 30 s").await;
    let (first, second) = row.two().await;
    let term = row.term().await;
    first.signal("STOP");
    row.use_servers(PAIRS[0]);
    let taken = row.taken_over(term).await;
    // The fault itself lasts this long.
    tokio::time::sleep(LONG.saturating_sub(taken)).await;
    first.signal("CONT");
    eventually("it stands by", SOON, || async {
        (first.metric("mcpgateway_operator_leader").await < 1.0).then_some(())
    })
    .await;
    row.use_servers(PAIRS[1]);
    row.shows_hot(PAIRS[1], SETTLED).await;
    second.cycles(2).await;
    row.end(&format!("P1, P2: takeover after {taken:.1?}; after it woke, it was a standby")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x1_frozen_for_thirty_seconds_as_the_standby() {
    let row = Row::begin("X1.4", "standby frozen for 30 s, and needed right after").await;
    let (mut first, second) = row.two().await;
    let term = row.term().await;
    second.signal("STOP");
    tokio::time::sleep(LONG).await;
    row.use_servers(PAIRS[0]);
    row.shows_hot(PAIRS[0], SETTLED).await;
    assert_eq!(row.term().await, term, "the leader is the same");
    second.signal("CONT");
    first.kill();
    row.use_servers(PAIRS[1]);
    let taken = row.taken_over(term).await;
    row.shows_hot(PAIRS[1], SETTLED_AFTER_LEASE).await;
    row.end(&format!(
        "P1, P5: the leader continued alone; the standby took over {taken:.1?} after the leader was killed"
    ))
    .await;
}
