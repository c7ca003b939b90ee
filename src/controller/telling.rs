//! What a turn says of the fleet: to people (facts, Events, the log) and to Prometheus. IO, part of [`Reign`].
//!
//! In: what was found, decided and done. Out: words that stand still while nothing happens, and numbers. Must not decide anything.

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::cycle::Decision;
use super::reign::{Cause, Reign};
use super::words;
use crate::classify::PerServer;
use crate::classify::memory::{UsageGap, View};
use crate::clock;
use crate::model::Tier;
use crate::publish::PublishOutcome;
use crate::registry::RegistrySnapshot;
use crate::status::FleetCounts;
use crate::status::writer::WriteReport;

impl Reign<'_> {
    /// The facts of the fleet, for people and for Prometheus.
    pub(super) async fn tell(&mut self, cause: Cause, snapshot: &RegistrySnapshot, decision: Decision, view: &View) {
        // A new leader that has not classified yet shows what its predecessor said, as long as that is kept.
        let tiers = match (&self.classification, decision) {
            (Some(found), _) => found.placements().on(snapshot.servers()).map(|place| place.map(|place| place.tier)),
            (None, Decision::KeepAlive { .. }) => stated(snapshot),
            (None, _) => PerServer::of(snapshot.servers()),
        };
        let counts = FleetCounts::take(snapshot, &tiers);
        self.controller.metrics.registry(&counts);
        self.controller.metrics.endpoints(view.known, view.silent.len());
        self.facts.registry(&counts);
        self.facts.usage(view.gap.map(UsageGap::reason), view.known, &view.silent);
        self.facts.unregistered(&self.unregistered);
        self.tell_of_the_picture(cause, view);
        self.facts.publication(&words::publication(
            decision,
            self.controller.outputs.redis.is_some(),
            self.publication.as_ref(),
        ));
        let lock = self.controller.outputs.redis.as_ref().map(|redis| redis.lock.borrow().clone());
        self.facts.redis_lock(&words::lock(lock.as_ref()));
        self.controller.outputs.fleet.write(&self.token, self.facts.clone()).await;
    }

    /// Counts the turn, and says what became of it.
    pub(super) fn count(&self, cause: Cause, decision: Decision, written: WriteReport, began: Instant) -> &'static str {
        let WriteReport { written: count, overtaken, fenced, failed, left: _ } = written;
        let published = matches!(self.publication, None | Some(PublishOutcome::Published { .. }));
        let outcome = match decision {
            Decision::Classify if fenced > 0 => "fenced",
            Decision::Classify if !published => "publication_failed",
            Decision::Classify if failed > 0 => "status_failed",
            other => other.label(),
        };
        let took = began.elapsed();
        if count > 0 || failed > 0 {
            info!(cause = ?cause, outcome, statuses = count, overtaken, failed, ?took, "turn");
        } else {
            debug!(cause = ?cause, outcome, ?took, "turn");
        }
        if cause == Cause::Cycle {
            let successful = outcome == Decision::Classify.label();
            self.controller.metrics.cycle(outcome, took, successful.then(clock::now));
        }
        outcome
    }

    /// One line in the log and one Event when somebody falls silent or is heard again.
    fn tell_of_the_picture(&mut self, cause: Cause, view: &View) {
        // Between collections nobody has had a chance to be heard; and discovery may take its first moments.
        let settled = clock::now().since(self.token.since()) >= self.controller.settings.memory.interval;
        if cause != Cause::Cycle || (view.gap == Some(UsageGap::Discovery) && !settled) {
            return;
        }
        let Some(notice) = self.picture.changed(view) else { return };
        if notice.warning {
            warn!(reason = notice.reason, detail = notice.note, "usage of the fleet");
        } else {
            info!(reason = notice.reason, detail = notice.note, "usage of the fleet");
        }
        self.announce(notice);
    }
}

/// The tiers that the statuses state.
fn stated(snapshot: &RegistrySnapshot) -> PerServer<Option<Tier>> {
    let mut tiers: PerServer<Option<Tier>> = PerServer::of(snapshot.servers());
    for (record, place) in snapshot.registered() {
        if let Some(tier) = tiers.get_mut(place) {
            *tier = record.status.tier.or(*tier);
        }
    }
    tiers
}
