//! What metrics need beside `prometheus_client`: a gauge that can be absent, and registration in one step. Pure.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeGaugeValue, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry};

/// A new metric of a registry, which carries the prefix.
pub fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// A gauge without labels that is exported only while it has a value.
///
/// Gauges about the fleet are absent on standbys: their 0 beside the leader's 1 would make every alert ambiguous.
/// Clones share the value. (A cleared `Family` does the same, but prints empty braces after the name.)
#[derive(Clone, Debug)]
pub struct OptionalGauge<N>(Arc<Mutex<Option<N>>>);

impl<N> OptionalGauge<N> {
    /// Sets the value; `None` makes the gauge absent.
    pub fn set(&self, value: Option<N>) {
        *self.value() = value;
    }

    fn value(&self) -> MutexGuard<'_, Option<N>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N> Default for OptionalGauge<N> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<N: EncodeGaugeValue> EncodeMetric for OptionalGauge<N> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.value().as_ref().map_or(Ok(()), |value| encoder.encode_gauge(value))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.value().is_none()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_gauge_without_a_value_is_absent() {
        let (held, time) = (OptionalGauge::<i64>::default(), OptionalGauge::<f64>::default());
        let mut registry = Registry::default();
        registry.register("held", "Whether it is held", held.clone());
        registry.register("time", "When", time.clone());
        let scrape = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        assert_eq!(scrape(), "# EOF\n");
        held.set(Some(0));
        time.set(Some(12.5));
        let text = scrape();
        assert!(text.contains("\nheld 0\n") && text.contains("\ntime 12.5\n"), "{text}");
        held.set(None);
        assert!(!scrape().contains("held"));
    }
}
