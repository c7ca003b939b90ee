//! Metrics of status writes.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::super::StatusChange;
use super::WriteOutcome;
use crate::model::{Tier, registered};

/// `status_writes_total{outcome}` and `tier_changes_total{from,to}`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    writes: Family<[(&'static str, &'static str); 1], Counter>,
    moves: Family<[(&'static str, &'static str); 2], Counter>,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        Self {
            writes: registered(registry, "status_writes", "Status writes by outcome"),
            moves: registered(registry, "tier_changes", "Tiers changed in statuses"),
        }
    }

    pub(super) fn count(&self, change: &StatusChange, outcome: &WriteOutcome) {
        self.writes.get_or_create(&[("outcome", outcome.into_str())]).inc();
        if let (WriteOutcome::Written | WriteOutcome::TermDropped, Some((from, to))) = (outcome, change.moved) {
            let word = |tier: Option<Tier>| match tier {
                Some(Tier::Hot) => "hot",
                Some(Tier::Cold) => "cold",
                None => "unclassified",
            };
            self.moves.get_or_create(&[("from", word(from)), ("to", word(to))]).inc();
        }
    }

    pub(super) fn deferred(&self, left: usize) {
        let deferred = self.writes.get_or_create(&[("outcome", "deferred")]);
        deferred.inc_by(u64::try_from(left).unwrap_or_default());
    }
}
