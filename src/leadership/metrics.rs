//! The metrics of leadership. The registry that they are registered with carries the prefix (SPEC section 8).

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::model::Term;

/// Handles; clones count into the same metrics.
#[derive(Clone, Debug)]
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
    change: &'static str,
}

impl Metrics {
    /// Registers `leader`, `term`, `lease_calls_total{call,outcome}` and `leadership_changes_total{change}`.
    ///
    /// `call` is a verb (`get`, `create`, `update`, `watch`), `outcome` is `Ok` or a reason of a failed call, `change`
    /// is `Acquired`, `Raised` or the reason why leadership ended: all of them from fixed lists.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            leader: Gauge::default(),
            term: Gauge::default(),
            calls: Family::default(),
            changes: Family::default(),
        };
        registry.register("leader", "1 while this replica leads", metrics.leader.clone());
        registry.register("term", "The term at which this replica leads; 0 while it does not", metrics.term.clone());
        registry.register("lease_calls", "Requests to the API server about the Lease", metrics.calls.clone());
        registry.register("leadership_changes", "Beginnings and ends of leadership", metrics.changes.clone());
        metrics
    }

    pub(super) fn leads(&self, term: Option<Term>) {
        self.leader.set(i64::from(term.is_some()));
        self.term.set(term.map_or(0, |term| i64::from(term.get())));
    }

    pub(super) fn called(&self, call: &'static str, outcome: &'static str) {
        self.calls.get_or_create(&CallLabels { call, outcome }).inc();
    }

    pub(super) fn changed(&self, change: &'static str) {
        self.changes.get_or_create(&ChangeLabels { change }).inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn a_leader_exports_its_term_and_a_follower_none() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.leads(Some(Term::FIRST));
        metrics.called("update", "Ok");
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in ["leader 1\n", "term 1\n", "lease_calls_total{call=\"update\",outcome=\"Ok\"} 1\n"] {
            assert!(text.contains(line), "{line:?} missing in {text}");
        }
        metrics.leads(None);
        text.clear();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("leader 0\n") && text.contains("term 0\n"), "{text}");
    }
}
