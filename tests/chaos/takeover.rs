//! Measures docs/contract.md#p5: leaders are killed and stopped, thirty times each, while the lock is sampled.

use std::time::{Duration, Instant};

use crate::row::{Row, SETTLED_AFTER_LEASE, leader_of};
use crate::support::operator::Operator;

const ROUNDS: usize = 30;

fn figures(mut took: Vec<Duration>) -> (Duration, Duration) {
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() - 1])
}

/// Ends the leader in each round and starts a new standby. Returns how long each takeover took, and the replicas that
/// are left.
async fn rounds(row: &Row, rounds: usize, start: impl Fn() -> Operator, kill: bool) -> (Vec<Duration>, Vec<Operator>) {
    let mut replicas = vec![start()];
    replicas[0].ready().await;
    row.fleet.settled().await;
    let mut took = Vec::new();
    for _ in 0..rounds {
        replicas.push(start());
        replicas[1].ready().await;
        let mut leader = replicas.swap_remove(leader_of(&replicas).await);
        let term = row.term().await;
        let begun = Instant::now();
        if kill {
            leader.kill();
            row.taken_over(term).await;
        } else {
            let (ended, _) = tokio::join!(leader.stop(), row.taken_over(term));
            assert!(ended.success(), "{ended}");
        }
        took.push(begun.elapsed());
    }
    row.fleet.settled().await;
    (took, replicas)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn p5_thirty_leaders_killed() {
    let row = Row::begin("P5.1", "leader killed, 30 times, lease 3 s").await;
    let (took, _left) = rounds(&row, ROUNDS, || row.fleet.operator(), true).await;
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED_AFTER_LEASE).await;
    let (median, worst) = figures(took);
    assert!(worst < Duration::from_secs(3 + 2), "{worst:?}");
    row.end(&format!("takeover after {median:.2?} (median), {worst:.2?} (worst); lock never free or foreign")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn p5_leaders_killed_with_the_default_lease() {
    let row = Row::begin("P5.2", "leader killed, 3 times, default lease of 15 s").await;
    let defaults = [
        ["--leader-elect-lease-duration", "15s"],
        ["--leader-elect-renew-deadline", "10s"],
        ["--leader-elect-retry-period", "2s"],
    ];
    let start = || {
        let url = row.fleet.redis.url();
        let mut flags = vec!["--classification-interval", "2s", "--recency-resolution", "0s", "--redis-url", &url];
        flags.extend(defaults.iter().flatten());
        let worker = row.fleet.workers[0].url();
        flags.extend(["--worker-endpoint", &worker]);
        Operator::start(row.fleet.cluster.kubeconfig(), &row.fleet.namespace, &flags)
    };
    let (median, worst) = figures(rounds(&row, 3, start, true).await.0);
    assert!(worst < Duration::from_secs(15 + 2), "{worst:?}");
    row.end(&format!("takeover after {median:.2?} (median), {worst:.2?} (worst); lock never free or foreign")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn p5_thirty_leaders_stopped() {
    let row = Row::begin("P5.3", "SIGTERM to the leader, 30 times").await;
    let (took, _left) = rounds(&row, ROUNDS, || row.fleet.operator(), false).await;
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED_AFTER_LEASE).await;
    let (median, worst) = figures(took);
    assert!(worst < Duration::from_secs(1), "{worst:?}");
    row.end(&format!("handover after {median:.2?} (median), {worst:.2?} (worst); lock never free or foreign")).await;
}
