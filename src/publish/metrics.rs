//! The metrics of publishing and of the lock (`docs/contract.md#metrics`). The registry adds the prefix.
//!
//! The gauges describe the fleet, so only the leader exports them: a standby's 0 beside the leader's 1 would make every
//! alert ambiguous.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::model::{OptionalGauge, registered};

/// Clones share the same metrics.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    publishes: Family<[(&'static str, &'static str); 2], Counter>,
    pub(super) takeovers: Counter,
    pub(super) lock_held: OptionalGauge<i64>,
    pub(super) last_publication: OptionalGauge<f64>,
}

impl Metrics {
    /// Registers the metrics. To be called once.
    pub fn register(registry: &mut Registry) -> Self {
        let takeovers = "Times the lock was taken from another program that published nothing";
        let last_publication = "When Redis was last published to";
        Self {
            publishes: registered(registry, "redis_publishes", "Publications tried, by kind and outcome"),
            takeovers: registered(registry, "redis_lock_takeovers", takeovers),
            lock_held: registered(registry, "redis_lock_held", "1 while the Redis lock is ours"),
            last_publication: registered(registry, "last_publication_timestamp_seconds", last_publication),
        }
    }

    pub(super) fn publish_tried(&self, kind: &'static str, outcome: &'static str) {
        self.publishes.get_or_create(&[("kind", kind), ("outcome", outcome)]).inc();
    }

    /// Leadership has ended: another replica exports the gauges.
    pub(super) fn forget(&self) {
        self.lock_held.set(None);
        self.last_publication.set(None);
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
        metrics.lock_held.set(Some(1));
        metrics.last_publication.set(Some(12.5));
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
