//! The metrics of publishing and of the lock (`docs/contract.md#metrics`). The registry adds the prefix.
//!
//! In: outcomes. Out: what a scrape reads. The gauges describe the fleet, so only the leader exports them: a standby's 0
//! beside the leader's 1 would make every alert ambiguous.

use std::fmt;
use std::sync::{Arc, Mutex};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::locked;
use crate::model::UnixTime;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PublishLabels {
    kind: &'static str,
    outcome: &'static str,
}

/// Exported only while this replica leads.
#[derive(Clone, Copy, Debug, Default)]
struct LeaderGauges {
    lock_held: Option<bool>,
    published: Option<UnixTime>,
}

/// Clones share the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    publishes: Family<PublishLabels, Counter>,
    takeovers: Counter,
    gauges: Arc<Mutex<LeaderGauges>>,
}

impl Metrics {
    /// Registers the metrics. To be called once.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("redis_publishes", "Publications tried, by kind and outcome", metrics.publishes.clone());
        let help = "Times the lock was taken from another program that published nothing";
        registry.register("redis_lock_takeovers", help, metrics.takeovers.clone());
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    pub(super) fn publish_tried(&self, kind: &'static str, outcome: &'static str) {
        self.publishes.get_or_create(&PublishLabels { kind, outcome }).inc();
    }

    pub(super) fn took_over(&self) {
        self.takeovers.inc();
    }

    pub(super) fn published(&self, at: UnixTime) {
        locked(&self.gauges).published = Some(at);
    }

    pub(super) fn lock_held(&self, held: bool) {
        locked(&self.gauges).lock_held = Some(held);
    }

    /// Leadership has ended: another replica exports the gauges.
    pub(super) fn forget(&self) {
        *locked(&self.gauges) = LeaderGauges::default();
    }
}

/// The gauges; the counters are registered on their own.
impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let LeaderGauges { lock_held, published } = *locked(&self.gauges);
        let mut gauge = |name: &str, help: &str, value: f64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        if let Some(held) = lock_held {
            gauge("redis_lock_held", "1 while the Redis lock is ours", if held { 1.0 } else { 0.0 })?;
        }
        if let Some(at) = published {
            gauge("last_publication_timestamp_seconds", "When Redis was last published to", at.seconds())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }

    #[test]
    fn a_standby_exports_no_gauges_of_the_fleet() {
        let mut registry = Registry::with_prefix("mcpgateway_operator");
        let metrics = Metrics::register(&mut registry);
        assert!(!scrape(&registry).contains("lock_held "));
        metrics.lock_held(true);
        metrics.published(UnixTime::from_seconds(12.5).unwrap());
        metrics.publish_tried("full", "published");
        let text = scrape(&registry);
        assert!(text.contains("mcpgateway_operator_redis_lock_held 1"), "{text}");
        assert!(text.contains("mcpgateway_operator_last_publication_timestamp_seconds 12.5"), "{text}");
        let counter = r#"mcpgateway_operator_redis_publishes_total{kind="full",outcome="published"} 1"#;
        assert!(text.contains(counter), "{text}");
        metrics.forget();
        assert!(!scrape(&registry).contains("lock_held "));
    }
}
