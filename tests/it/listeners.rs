//! docs/contract.md#listeners: what slow clients cost. `make chaos` does the same with 1,000 clients for a minute each.

use std::time::Duration;

use crate::support::fleet::Fleet;
use crate::support::slow_clients::{Slow, get_once};
use crate::support::slow_cost::Cost;

/// Slow clients of each kind, on each listener.
const CLIENTS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_of_every_kind_cost_little_and_starve_nobody() {
    let fleet = Fleet::new("slow-clients", 1).await;
    let operator = fleet.operator_with(&["--api-bind-address", "127.0.0.1:0", "--log-level", "info"]);
    operator.ready().await;
    operator.cycles(2).await;
    let before = operator.resident();
    for kind in Slow::ALL {
        let cost = Cost::of(kind, CLIENTS, &operator, Duration::from_secs(3)).await;
        println!("{kind:?}: {cost:?}");
        assert!(cost.opened >= 3 * CLIENTS, "{kind:?}: {cost:?}");
        // 128 for each listener, and what the operator opens itself.
        assert!(cost.descriptors <= 3 * 128 + 20, "{kind:?}: {cost:?}");
        // The time-out of the chart's probe. A machine under load takes longer than the 100 ms of the contract, which the
        // campaign checks.
        assert!(cost.livez < Duration::from_secs(5), "{kind:?}: {cost:?}");
        assert!(cost.unanswered <= 1, "{kind:?}: {cost:?}");
        assert!(cost.resident <= before + (16 << 20), "{kind:?}: {cost:?}, {before} before");
    }
    for (served, path) in [("serving /metrics", "/metrics"), ("serving /v1", "/v1/fleet")] {
        let answer = get_once(&operator.address(served).await, path).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert!(operator.log().contains("too many connections"), "{}", operator.log());
}
