//! The metrics of collecting (docs/contract.md#metrics). Labels are reasons from fixed lists: never an address, never a
//! URL.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds. The last one is above the default time-out.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// A gauge that is exported only while its value is known: standbys do not know the fleet.
#[derive(Clone, Debug)]
struct KnownGauge(Arc<AtomicI64>);

impl KnownGauge {
    const UNKNOWN: i64 = -1;

    fn value(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|value| *value != Self::UNKNOWN)
    }

    fn set(&self, value: Option<usize>) {
        let value = value.map_or(Self::UNKNOWN, |value| i64::try_from(value).unwrap_or(i64::MAX));
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Default for KnownGauge {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(Self::UNKNOWN)))
    }
}

impl EncodeMetric for KnownGauge {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.value().map_or(Ok(()), |value| encoder.encode_gauge(&value))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.value().is_none()
    }
}

/// Shared by the collector and the discovery.
#[derive(Clone, Debug)]
pub struct Metrics {
    reports: Family<Outcome, Counter>,
    duration: Histogram,
    skipped: Family<Reason, Counter>,
    workers: KnownGauge,
    discovery: Family<Reason, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            reports: Family::default(),
            duration: Histogram::new(BUCKETS),
            skipped: Family::default(),
            workers: KnownGauge::default(),
            discovery: Family::default(),
        }
    }
}

impl Metrics {
    /// Adds them to a registry that carries the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { reports, duration, skipped, workers, discovery } = &metrics;
        registry.register("worker_reports", "Usage reports asked for, by what came of it", reports.clone());
        registry.register(
            "worker_request_duration_seconds",
            "From the request for a usage report to its last byte, or to its failure",
            duration.clone(),
        );
        registry.register("worker_rows_skipped", "Rows of usage reports that were left out", skipped.clone());
        registry.register("workers", "Worker processes in the last reports", workers.clone());
        registry.register(
            "worker_discovery_failures",
            "Failed reads of the EndpointSlices of worker Services",
            discovery.clone(),
        );
        metrics
    }

    /// The number of worker processes is no longer known: this replica does not lead.
    pub fn forget(&self) {
        self.workers.set(None);
    }

    pub(super) fn count_report(&self, outcome: &'static str) {
        self.reports.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn observe_request(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    pub(super) fn count_skipped(&self, reason: &'static str, rows: u64) {
        self.skipped.get_or_create(&Reason { reason }).inc_by(rows);
    }

    pub(super) fn set_workers(&self, processes: usize) {
        self.workers.set(Some(processes));
    }

    pub(super) fn count_discovery_failure(&self, reason: &'static str) {
        self.discovery.get_or_create(&Reason { reason }).inc();
    }
}
