//! The metrics of leadership (docs/contract.md#metrics). The registry adds the prefix.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::client::LeaseError;
use crate::model::Term;

/// Handles to the metrics; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    leader: Gauge,
    term: Gauge,
    calls: Family<CallLabels, Counter>,
    changes: Family<ChangeLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    change: String,
}

impl Metrics {
    /// Registers `leader`, `term`, `lease_calls_total{call,outcome}` and `leadership_changes_total{change}`.
    ///
    /// The label values come from fixed lists: `call` is a verb (`get`, `create`, `update`, `watch`), `outcome` is `Ok`
    /// or [`LeaseError::reason`], and `change` is `Acquired`, `Raised` or a [`super::decision::LossReason`].
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("leader", "1 while this replica leads", metrics.leader.clone());
        registry.register("term", "The term at which this replica leads; 0 while it does not", metrics.term.clone());
        registry.register("lease_calls", "Requests to the API server about the Lease", metrics.calls.clone());
        registry.register("leadership_changes", "Beginnings and ends of leadership", metrics.changes.clone());
        metrics
    }

    pub(super) fn requested(&self, call: &'static str, error: Option<&LeaseError>) {
        let outcome = error.map_or("Ok", LeaseError::reason);
        self.calls.get_or_create(&CallLabels { call, outcome }).inc();
    }

    /// `term`: `None` if leadership has ended.
    pub(super) fn changed(&self, term: Option<Term>, change: String) {
        self.leader.set(i64::from(term.is_some()));
        self.term.set(term.map_or(0, |term| i64::from(term.get())));
        self.changes.get_or_create(&ChangeLabels { change }).inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::super::decision::LossReason;
    use super::*;

    #[test]
    fn a_leader_exports_its_term_and_a_standby_none() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.changed(Some(Term::FIRST), "Acquired".to_owned());
        metrics.requested("update", None);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            "leader 1\n",
            "term 1\n",
            "lease_calls_total{call=\"update\",outcome=\"Ok\"} 1\n",
            "leadership_changes_total{change=\"Acquired\"} 1\n",
        ] {
            assert!(text.contains(line), "{line:?} missing in {text}");
        }
        metrics.changed(None, format!("{:?}", LossReason::Deadline));
        text.clear();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("leader 0\n") && text.contains("term 0\n"), "{text}");
        assert!(text.contains("leadership_changes_total{change=\"Deadline\"} 1\n"), "{text}");
    }
}
