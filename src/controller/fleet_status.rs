//! What the loop's state says of the fleet: its status, gauges, and the report of a cycle. Pure, part of
//! [`LeaderState`].

use std::collections::BTreeMap;
use std::time::Duration;

use super::decision::{Decision, HoldReason};
use super::effects::{Effect, Moment, PublicationProgress};
use super::report::{CycleReport, EndpointsReport};
use super::state::{LeaderState, Turn};
use crate::api::v1alpha1::{
    ObjectCounts, PublicationState, PublicationStatus, RedisLockState, RedisLockStatus, ServerCounts,
};
use crate::classify::PerServer;
use crate::fleet::{FleetState, count, time};
use crate::model::{Problem, TakeoverDecision, Tier};
use crate::plan::{Plan, PlanSettings};
use crate::publish::{LockState, NotWritten};
use crate::registry::{Registration, RegistrySnapshot};
use crate::status::writer::WriteReport;

impl LeaderState {
    /// Makes the fleet's status, and asks for it to be written if it says something new.
    pub(super) fn update_fleet_status(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        self.make_fleet_status(now);
        self.write_fleet_status(effects);
    }

    pub(super) fn make_fleet_status(&mut self, now: Moment) {
        // Before the first turn nothing is known yet: what the former leader wrote stands.
        let Some(coverage) = &self.coverage else { return };
        let state = FleetState {
            generation: self.seen.fleet.generation(),
            suspend: self.seen.fleet.suspend() == Some(true),
            identity: self.seen.token.identity(),
            since: self.seen.token.since(),
            term: self.seen.token.term(),
            objects: self.objects(),
            loss: self.loss_detector.loss(),
            servers: self.servers(),
            gap: coverage.gap,
            endpoints: coverage.known,
            silent: &coverage.silent,
            sole_reporter: self.sole_reporter.as_ref().filter(|_| self.classification.is_some()),
            unregistered: &self.unregistered,
            identity_conflicts: &self.identity_conflicts,
            polling: &self.polling,
            plan: self.plan_in_force(),
            intervals: self.settings.polls,
            publication: self.publication_status(now),
            publication_stalled: self.publication.error().is_some_and(needs_a_person),
            redis_lock: lock_status(self.seen.redis.then_some(&self.seen.lock)),
            redis_error: self.redis_error(),
            compliance: self.compliance,
            skewed: self.skewed.as_deref(),
            problems: &self.seen.problems,
            mirror: self.seen.mirror.as_ref(),
        };
        let next = state.status(self.fleet_status.as_ref(), now.time);
        if self.fleet_status.as_ref() != Some(&next) {
            self.fleet_status = Some(next);
            self.fleet_status_written = false;
        }
    }

    /// How many servers the plan in force has on each rung, by the interval of the rung.
    pub(super) fn rungs(&self) -> BTreeMap<Duration, i64> {
        let Some((plan, settings)) = self.plan_in_force() else { return BTreeMap::new() };
        let servers = plan.servers_by_rung().into_iter();
        servers.map(|(rung, servers)| (settings.interval_of_rung(rung), count(servers))).collect()
    }

    /// The refresh plan of the last classification, and its settings.
    fn plan_in_force(&self) -> Option<(&Plan, PlanSettings)> {
        self.plan.as_ref().filter(|_| self.classification.is_some()).zip(self.settings.refresh_plan)
    }

    /// Asks for the status to be written, one write at a time.
    pub(super) fn write_fleet_status(&mut self, effects: &mut Vec<Effect>) {
        if self.fleet_status_written || self.fleet_write_running {
            return;
        }
        if let (Some(status), Some(_)) = (&self.fleet_status, &self.coverage) {
            (self.fleet_status_written, self.fleet_write_running) = (true, true);
            effects.push(Effect::WriteFleetStatus(Box::new(status.clone())));
        }
    }

    fn objects(&self) -> ObjectCounts {
        let mut counts = ObjectCounts::default();
        for gateway in self.seen.registry.gateways() {
            counts.total += 1;
            match gateway.registration {
                Registration::Registered { .. } => {}
                Registration::Disabled => counts.disabled += 1,
                Registration::Refused(_) => counts.refused += 1,
            }
        }
        counts
    }

    fn servers(&self) -> ServerCounts {
        // A new leader that has not classified yet shows what its predecessor said, as long as that is kept.
        let tiers = match (&self.classification, self.decision) {
            (Some(last), _) => {
                last.placements().on(self.seen.registry.servers()).map(|place| place.map(|place| place.tier))
            }
            (None, Some(Decision::KeepAlive { .. })) => stated(&self.seen.registry),
            (None, _) => PerServer::of(self.seen.registry.servers()),
        };
        let mut counts = ServerCounts::default();
        for tier in tiers.values() {
            counts.total += 1;
            match tier {
                Some(Tier::Hot) => counts.hot += 1,
                Some(Tier::Cold) => counts.cold += 1,
                None => counts.unclassified += 1,
            }
        }
        counts
    }

    fn publication_status(&self, now: Moment) -> PublicationStatus {
        let (state, reason) = match (self.decision, &self.publication) {
            _ if self.seen.fleet.suspend() == Some(true) => match &self.publication {
                PublicationProgress::NotWithdrawn(error) => (PublicationState::Suspending, Some(error.into())),
                progress if self.seen.redis && *progress != PublicationProgress::Withdrawn => {
                    (PublicationState::Suspending, None)
                }
                _ => (PublicationState::Suspended, None),
            },
            _ if !self.seen.redis => (PublicationState::StatusesOnly, None),
            (Some(Decision::GiveUp { reason }), _) => (PublicationState::GivenUp, Some(reason.into_str())),
            (Some(Decision::KeepAlive { reason, .. }), _) => (PublicationState::KeptAlive, Some(reason.into_str())),
            // What cannot be renewed may be in a store that nobody reads any more.
            (_, PublicationProgress::Published) => match &self.seen.lock {
                LockState::Unreachable { reason, .. } => (PublicationState::NotPublished, Some(*reason)),
                _ => (PublicationState::Published, None),
            },
            // It is about to be published again: until then the last state stands.
            (_, PublicationProgress::BaseUnknown) => {
                return self.fleet_status.as_ref().map(|last| last.publication.clone()).unwrap_or_default();
            }
            (_, PublicationProgress::NotPublished(error)) => (PublicationState::NotPublished, Some(error.into())),
            _ => (PublicationState::Pending, None),
        };
        let until = match self.decision {
            Some(Decision::KeepAlive { until, .. }) if state == PublicationState::KeptAlive => {
                Some(time(now.time_at(until)))
            }
            _ => None,
        };
        PublicationStatus { state, reason: reason.map(str::to_owned), until }
    }

    /// What Redis said last, if it fails; why this leader yields, if it does.
    fn redis_error(&self) -> Option<String> {
        self.publication.error().and_then(NotWritten::redis_error).or_else(|| match &self.seen.lock {
            LockState::Unreachable { message, .. } => Some(message.clone()),
            LockState::Yielded { owner } => Some(yielded_text(owner)),
            _ => None,
        })
    }

    pub(super) fn cycle_report(
        &self,
        turn: &Turn,
        outcome: &'static str,
        statuses: WriteReport,
        took: Duration,
        now: Moment,
    ) -> CycleReport {
        let (reason, until) = match turn.decision {
            Decision::Classify | Decision::Suspend => (None, None),
            Decision::KeepAlive { reason, until } => (Some(reason), Some(until)),
            Decision::GiveUp { reason } => (Some(reason), None),
        };
        let last = self.classification.as_ref();
        let silent = self.coverage.as_ref().map(|coverage| coverage.silent.as_slice()).unwrap_or_default();
        CycleReport {
            ended_at: now.time.to_string(),
            duration_seconds: took.as_secs_f64(),
            outcome,
            missing: reason.map(HoldReason::into_str),
            kept_until: until.map(|until| now.time_at(until).to_string()),
            fleet_not_written: self.fleet_problem.as_ref().map(Problem::text),
            endpoints: EndpointsReport {
                known: self.coverage.as_ref().map_or(0, |coverage| coverage.known),
                silent: silent.iter().map(|silent| silent.endpoint.to_string()).collect(),
            },
            statuses,
            hot: last.map(|last| last.hot().cloned().collect()).unwrap_or_default(),
            cold: last.map(|last| last.cold().cloned().collect()).unwrap_or_default(),
            metadata: last.map(|last| last.metadata.clone()),
            fleet: self.fleet_status.clone().unwrap_or_default(),
        }
    }
}

/// The tiers that the statuses state.
fn stated(registry: &RegistrySnapshot) -> PerServer<Option<Tier>> {
    let mut tiers: PerServer<Option<Tier>> = PerServer::of(registry.servers());
    for (record, place) in registry.registered() {
        if let Some(tier) = tiers.get_mut(place) {
            *tier = record.status.tier.or(*tier);
        }
    }
    tiers
}

/// Whether a failed publication stays so until somebody changes something.
fn needs_a_person(error: &NotWritten) -> bool {
    match error {
        NotWritten::OtherRelease(_) | NotWritten::Yielded(_) => true,
        NotWritten::Failed(error) => error.needs_a_person(),
        NotWritten::Foreign(_) | NotWritten::Fenced { .. } | NotWritten::TooLate | NotWritten::LeadershipOver => false,
    }
}

/// The Redis lock as the fleet's status shows it; `None` without Redis.
fn lock_status(lock: Option<&LockState>) -> RedisLockStatus {
    let status = |state| RedisLockStatus { state, ..RedisLockStatus::default() };
    match lock {
        None => status(RedisLockState::NoRedis),
        Some(LockState::Off | LockState::Unknown) => status(RedisLockState::Unknown),
        Some(LockState::Held) => status(RedisLockState::Held),
        Some(LockState::Fenced { .. }) => status(RedisLockState::Fenced),
        Some(LockState::Foreign { holder, takeover }) => RedisLockStatus {
            holder: Some(holder.clone()),
            takeover: Some(*takeover),
            ..status(RedisLockState::HeldByAnother)
        },
        Some(LockState::OtherRelease { holder }) => {
            RedisLockStatus { holder: Some(holder.clone()), ..status(RedisLockState::HeldByAnotherRelease) }
        }
        Some(LockState::Yielded { owner }) => RedisLockStatus {
            holder: Some(owner.clone()),
            reason: Some("OwnerIdNotUnique".to_owned()),
            ..status(RedisLockState::HeldByAnotherRelease)
        },
        Some(LockState::Unreachable { reason, .. }) => {
            RedisLockStatus { reason: Some((*reason).to_owned()), ..status(RedisLockState::Unreachable) }
        }
    }
}

fn yielded_text(owner: &str) -> String {
    format!(
        "another operator uses the owner id {owner}, as after a cluster was cloned: this one yields until it is \
         restarted; give one of the two another --redis-owner-id, and a Redis or a --redis-key-prefix of its own"
    )
}

/// The lock of another holder, for an Event.
pub(super) fn lock_text(lock: &LockState) -> Option<String> {
    match lock {
        LockState::Foreign { holder, takeover } => {
            let then = match takeover {
                TakeoverDecision::LeaveIt => "it is left alone (--redis-lock-takeover=never)",
                TakeoverDecision::Wait => "it is taken over once that program has published nothing for an interval",
                TakeoverDecision::Take => "that program publishes nothing: it is taken over with the next publication",
            };
            Some(format!("{holder} holds the Redis lock; {then}"))
        }
        LockState::Yielded { owner } => Some(yielded_text(owner)),
        LockState::OtherRelease { holder } => Some(format!(
            "the release {holder} holds the Redis lock; give one of them a Redis or a --redis-key-prefix of its own"
        )),
        _ => None,
    }
}
