//! The metrics of collecting (docs/contract.md#metrics). Labels are reasons from fixed lists: never an address, never a
//! URL.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::polling::PollingCounts;
use crate::model::{OptionalGauge, registered};

/// Seconds. The last one is above the default time-out.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// One counter for each value of one label.
type Counters = Family<[(&'static str, &'static str); 1], Counter>;

/// Shared by the collector and the discovery.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) reports: Counters,
    pub(super) duration: Histogram,
    pub(super) skipped: Counters,
    pub(super) conflicts: Counters,
    pub(super) workers: OptionalGauge<i64>,
    pub(super) discovery: Counters,
    health_checks: Counters,
    calls: Counters,
    refreshes_skipped: Counter,
}

impl Metrics {
    /// Adds them to a registry that carries the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let duration = Histogram::new(BUCKETS);
        let help = "From the request for a usage report to its last byte, or to its failure";
        registry.register("worker_request_duration_seconds", help, duration.clone());
        let conflicts = "Rows whose id or name is registered for another server than the row counts for, by field";
        let discovery = "Failed reads of the EndpointSlices of worker Services";
        let health_checks = "Health checks of servers that gateway processes report, by result: made or skipped";
        let calls = "Tool calls that gateway processes report, by list: older than twice the hot interval, or recent";
        let skipped =
            "Refreshes at the cold tier's interval that gateway processes left out because of the refresh plan";
        Self {
            reports: registered(registry, "worker_reports", "Usage reports asked for, by what came of it"),
            duration,
            skipped: registered(registry, "worker_rows_skipped", "Rows of usage reports that were left out"),
            conflicts: registered(registry, "worker_identity_conflicts", conflicts),
            workers: registered(registry, "workers", "Worker processes in the last reports"),
            discovery: registered(registry, "worker_discovery_failures", discovery),
            health_checks: registered(registry, "gateway_health_checks", health_checks),
            calls: registered(registry, "gateway_calls", calls),
            refreshes_skipped: registered(registry, "gateway_refreshes_skipped", skipped),
        }
    }

    /// Adds what gateway processes have reported since the collection before.
    pub(super) fn count_polling(&self, counts: PollingCounts) {
        let PollingCounts { health_checks_skipped: checks, calls_on_old_lists: calls, refreshes_skipped } = counts;
        for (result, count) in [("run", checks.rest()), ("skipped", checks.part)] {
            self.health_checks.get_or_create(&[("result", result)]).inc_by(count);
        }
        for (list, count) in [("old", calls.part), ("recent", calls.rest())] {
            self.calls.get_or_create(&[("list", list)]).inc_by(count);
        }
        self.refreshes_skipped.inc_by(refreshes_skipped);
    }
}
