//! docs/contract.md#x5: clients that hold connections of the listeners and never finish.

use std::time::{Duration, Instant};

use crate::row::{Row, SETTLED};
use crate::support::slow_clients::Slow;
use crate::support::slow_cost::Cost;

/// Slow clients of each kind, on each listener.
const CLIENTS: usize = 1000;

/// How long each kind stays; by default a minute.
fn time() -> Duration {
    let seconds = std::env::var("CHAOS_SLOW_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x5_a_thousand_slow_clients_of_every_kind_on_every_listener() {
    let row = Row::begin("X5", "1,000 slow clients of each of twelve kinds on each listener, for a minute each").await;
    let redis = row.fleet.redis.url();
    let flags = ["--redis-url", &redis, "--api-bind-address", "127.0.0.1:0", "--log-level", "info"];
    let operator = row.fleet.operator_with(&flags);
    row.fleet.settled().await;
    operator.cycles(2).await;
    let (term, before) = (row.term().await, operator.resident());
    let (mut memory, mut slowest, mut median) = (0, Duration::ZERO, Duration::ZERO);
    let (mut starved, mut lost, mut lines) = (false, false, Vec::new());
    for kind in Slow::ALL {
        let begun = Instant::now();
        let cost = Cost::of(kind, CLIENTS, &operator, time()).await;
        lines.push(format!("{kind:?}: {cost:?}, {:.0?}", begun.elapsed()));
        println!("{}", lines.last().unwrap());
        (memory, slowest) = (memory.max(cost.resident.saturating_sub(before)), slowest.max(cost.livez_p99));
        median = median.max(cost.livez_median);
        lost |= row.term().await != term;
        starved |= cost.livez >= Duration::from_secs(1) || cost.unanswered > 0;
    }
    assert!(!lost, "the Lease was lost: {lines:#?}");
    assert!(memory <= 16 << 20, "{lines:#?}");
    assert!(!starved && slowest <= Duration::from_millis(100), "{lines:#?}");
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED).await;
    row.end(&format!(
        "P9: the Lease was kept; memory at most {} KiB higher; 99 in 100 answers of `/livez` within {} ms, half of \
         them within {} ms",
        memory >> 10,
        slowest.as_millis(),
        median.as_millis()
    ))
    .await;
}
