//! The metrics of leadership (docs/contract.md#metrics). The registry adds the prefix.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::client::LeaseError;
use crate::model::{Term, registered};

/// Handles to the metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    leader: Gauge,
    term: Gauge,
    calls: Family<[(&'static str, &'static str); 2], Counter>,
    changes: Family<[(&'static str, String); 1], Counter>,
}

impl Metrics {
    /// Registers `leader`, `term`, `lease_calls_total{call,outcome}` and `leadership_changes_total{change}`.
    ///
    /// The label values come from fixed lists: `call` is a verb (`get`, `create`, `update`, `watch`), `outcome` is `Ok`
    /// or [`LeaseError::reason`], and `change` is `Acquired`, `Raised` or a [`super::decision::LossReason`].
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            leader: registered(registry, "leader", "1 while this replica leads"),
            term: registered(registry, "term", "The term at which this replica leads; 0 while it does not"),
            calls: registered(registry, "lease_calls", "Requests to the API server about the Lease"),
            changes: registered(registry, "leadership_changes", "Beginnings and ends of leadership"),
        }
    }

    pub(super) fn requested(&self, call: &'static str, error: Option<&LeaseError>) {
        let outcome = error.map_or("Ok", LeaseError::reason);
        self.calls.get_or_create(&[("call", call), ("outcome", outcome)]).inc();
    }

    /// `term`: `None` if leadership has ended.
    pub(super) fn changed(&self, term: Option<Term>, change: String) {
        self.leader.set(i64::from(term.is_some()));
        self.term.set(term.map_or(0, |term| i64::from(term.get())));
        self.changes.get_or_create(&[("change", change)]).inc();
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
