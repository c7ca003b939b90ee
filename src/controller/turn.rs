//! The steps of a turn: decide, publish, write statuses, report. Pure, part of [`LeaderState`].

use std::sync::Arc;
use std::time::Duration;

use super::bounds::Bounds;
use super::decision::Decision;
use super::effects::{Cause, Effect, Moment, PublicationProgress};
use super::state::{DEBOUNCE, LeaderState, Step, Turn};
use crate::classify::memory::{UsageGap, View};
use crate::classify::{Classification, Params, PerServer, Placement, RankingInput, classify};
use crate::model::clocks::TOLERATED_SKEW_SECONDS;
use crate::model::{Monotonic, PlannedInterval, Term, Tier, UnixTime};
use crate::plan::{self, Plan, PlanInput, PlanSettings};
use crate::poll::Intervals;
use crate::publish::{Publication, Retention};
use crate::status::writer::WriteReport;
use crate::status::{self, PlanContext, Registrations, Tiers};

impl LeaderState {
    /// Decides for the whole fleet, and begins the first step.
    pub(super) fn begin_turn(&mut self, cause: Cause, began: Monotonic, now: Moment, effects: &mut Vec<Effect>) {
        (self.change_is_due, self.urgent) = (false, false);
        self.watch_the_size(now, effects);
        let registry = Arc::clone(&self.seen.registry);
        let View { mut fleet, coverage } = self.memory.view(registry.servers(), now.monotonic, now.time);
        let pinned = registry.pin(&mut fleet, &self.settings.ranking);
        let decision = Decision::of(self.seen.fleet.suspend(), coverage.gap, self.patience_ends, now.monotonic);
        self.revision = registry.revision();
        self.decision = Some(decision);
        self.coverage = Some(coverage);
        self.only_new_servers = !fleet.values().is_empty() && fleet.values().iter().all(|server| server.new);
        let fleet = Arc::new(fleet);
        self.turn = Some(Turn {
            cause,
            began,
            decision,
            registry,
            fleet: Arc::clone(&fleet),
            step: Step::Redis,
            settles: None,
        });
        let waits = match decision {
            Decision::Classify => self.classify(&fleet, pinned, cause, now, effects),
            Decision::KeepAlive { until, .. } => self.keep_alive(until, effects),
            Decision::GiveUp { .. } => {
                effects.push(Effect::Retain(Retention::LockOnly));
                self.drop_classification();
                self.memory.observation_failed();
                false
            }
            Decision::Suspend => {
                self.withdraw(effects);
                self.withdrawing
            }
        };
        if !waits {
            self.write_statuses(now, effects);
        }
    }

    /// Classifies, and publishes unless Redis holds the same sets already. Returns whether the turn waits for Redis.
    /// `pinned`: the places of the pinned servers.
    fn classify(
        &mut self,
        fleet: &PerServer<RankingInput>,
        pinned: Vec<usize>,
        cause: Cause,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let timestamp = self.timestamp(now.time);
        // What is known of the use of servers changes with collections. Until one brings something new, they rank as
        // they did.
        let changed = std::mem::replace(&mut self.usage_changed, false) || self.pinned != pinned;
        self.pinned = pinned;
        let last = self.classification.as_ref().filter(|_| !changed);
        let next = last.filter(|last| Arc::ptr_eq(last.placements().servers(), fleet.servers())).cloned();
        let ranked = next.is_none();
        let mut next = next.unwrap_or_else(|| classify_at_latest_use(fleet, now.time, &self.settings.ranking));
        next.metadata.timestamp = timestamp;
        if ranked {
            self.memory.note(&next);
        }
        if cause == Cause::Cycle {
            self.sole_reporter = self.memory.sole_reporter(&next, self.sole_reporter.as_ref(), now.monotonic);
        }
        if self.settings.refresh_plan.is_some() && ranked {
            let none = Plan::default();
            self.first_uses.follow(fleet, self.plan.as_ref().unwrap_or(&none), now.time);
        }
        let keeps_reference = cause == Cause::Change && !ranked;
        let settings = self.settings.refresh_plan;
        let plan = settings.map(|settings| self.plan_refreshes(&next, fleet, keeps_reference, now, &settings));
        self.refresh_requests.follow(&self.seen.registry, now.time);
        let intervals = self.intervals(&next, plan.as_ref());
        let same_sets = self.classification.as_ref().is_some_and(|before| before.has_the_sets_of(&next));
        let same = same_sets && *self.intervals == intervals;
        (self.plan, self.intervals) = (plan, Arc::new(intervals));
        let next = self.classification.insert(next);
        if cause == Cause::Change && same && self.publication == PublicationProgress::Published {
            return false;
        }
        self.patience_ends = now.monotonic.after(self.settings.memory.interval * 3);
        if self.seen.redis {
            match publication(next, &self.intervals) {
                Some(publication) => effects.push(Effect::Publish(publication, None)),
                None => return false,
            }
        }
        self.seen.redis
    }

    /// The time of a publication. It never goes back: the reference times of two leaders differ by up to a second. A
    /// stored time that is farther ahead is of a clock that was off.
    fn timestamp(&mut self, now: UnixTime) -> UnixTime {
        let last = self.timestamp.filter(|last| last.seconds() - now.seconds() <= TOLERATED_SKEW_SECONDS);
        let timestamp = last.map_or(now, |last| last.max(now));
        self.timestamp = Some(timestamp);
        timestamp
    }

    /// The refresh plan of a classification, made from the previous plan. With `keeps_reference`, only servers whose
    /// bounds have changed are planned again, so that an edit costs little in a large fleet.
    fn plan_refreshes(
        &mut self,
        next: &Classification,
        fleet: &PerServer<RankingInput>,
        keeps_reference: bool,
        now: Moment,
        settings: &PlanSettings,
    ) -> Plan {
        let observed_since = self.memory.observed_since(fleet.servers());
        let bounds = Bounds::of(&self.seen.registry);
        let before = std::mem::replace(&mut self.bounds, bounds);
        let mut previous = self.plan.take().unwrap_or_default();
        if keeps_reference && Arc::ptr_eq(previous.servers().servers(), fleet.servers()) {
            for place in self.bounds.changed_since(&before) {
                let (Some(placement), Some(input)) = (next.placements().get(place), fleet.get(place)) else { continue };
                let since = observed_since.get(place).copied().flatten();
                let input = plan_input(*placement, input, since, now.time);
                previous.adjust(place, &PlanInput { bound: self.bounds.get(place), ..input }, settings);
            }
            return previous;
        }
        let inputs = plan_inputs(&self.bounds, next, fleet, &observed_since, now.time);
        plan::plan(&inputs, &previous, settings)
    }

    /// The intervals to publish and to show: those of the plan, which respects the bounds of objects. Without a plan,
    /// only cold servers have one whose objects set a bound below the cold interval or request a refresh.
    fn intervals(&self, next: &Classification, plan: Option<&Plan>) -> PerServer<Option<PlannedInterval>> {
        let servers = next.placements().servers();
        let Intervals { hot, cold, .. } = self.settings.polls;
        let by_tier = PlannedInterval::rounded_up(cold);
        let mut intervals = plan.map(Plan::published).unwrap_or_default();
        self.first_uses.add_to(&mut intervals, hot);
        for (record, place) in self.seen.registry.asking() {
            let bound = record.max_interval().filter(|bound| plan.is_none() && *bound < cold && hot < cold);
            let asked = self.refresh_requests.moment(record);
            let placement = next.placements().get(place).copied().flatten();
            if (bound.is_none() && asked.is_none()) || placement.is_none_or(|placement| placement.tier == Tier::Hot) {
                continue;
            }
            if intervals.values().is_empty() {
                intervals = PerServer::of(servers);
            }
            let Some(slot) = intervals.get_mut(place) else { continue };
            let before = slot.unwrap_or(by_tier);
            let interval = bound.map_or_else(|| before.interval(), |bound| before.interval().min(bound.max(hot)));
            let moment = before.polled_before().max(asked);
            let planned = PlannedInterval::rounded_up(interval);
            *slot = Some(moment.map_or(planned, |moment| planned.due_if_polled_before(moment)));
        }
        intervals
    }

    /// Leaves what was published as it is, except for its end; publishes it again if Redis has lost it. Returns whether
    /// the turn waits for Redis.
    fn keep_alive(&mut self, until: Monotonic, effects: &mut Vec<Effect>) -> bool {
        effects.push(Effect::Retain(Retention::Until(until)));
        let lost = self.seen.redis && self.publication != PublicationProgress::Published;
        let Some(last) = self.classification.as_ref().filter(|_| lost) else { return false };
        let Some(publication) = publication(last, &self.intervals) else { return false };
        effects.push(Effect::Publish(publication, Some(until)));
        true
    }

    /// The second step: the statuses that say something new.
    pub(super) fn write_statuses(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(turn) = &mut self.turn else { return };
        turn.step = Step::Statuses { since: now.monotonic, stopped: false };
        let tiers = match (turn.decision, &self.classification) {
            (Decision::Suspend, _) => Tiers::Suspended,
            (Decision::GiveUp { .. }, _) => Tiers::GivenUp,
            (Decision::Classify, Some(classification)) => {
                let published = self.publication == PublicationProgress::Published;
                Tiers::Classified {
                    placements: Arc::clone(classification.placements()),
                    inputs: Arc::clone(&turn.fleet),
                    intervals: Arc::clone(&self.intervals),
                    answers: published.then(|| Arc::clone(self.refresh_requests.open())),
                }
            }
            (Decision::Classify | Decision::KeepAlive { .. }, _) => Tiers::Kept,
        };
        let registrations = self.seen.registrations.clone();
        let context = PlanContext {
            term: self.seen.token.term(),
            now: now.time,
            // Usage becomes old enough to be written with time. That is left to cycles: an edit costs little.
            usage_interval: match turn.cause {
                Cause::Cycle => self.settings.status_usage_interval,
                Cause::Change => Duration::ZERO,
            },
            registrations: registrations.map_or(Registrations::NotConfigured, Registrations::Known),
            answered_revision: self.answered_revision,
        };
        let plan = status::plan(&turn.registry, tiers, context, self.settled.take().as_ref());
        turn.settles = Some(plan.settled(&turn.registry));
        let classified = turn.decision == Decision::Classify;
        effects.push(Effect::WriteStatuses(plan));
        // What is good is reported once the statuses say so, what is not at once.
        if !classified {
            self.update_fleet_status(now, effects);
        }
    }

    /// When to stop the status writes of this turn, because another turn is due; `None` if none is, or if they were
    /// stopped already.
    pub(super) fn end_of_status_writes(&self) -> Option<Monotonic> {
        match self.turn.as_ref()?.step {
            Step::Statuses { since, stopped: false } => {
                (self.change_is_due || self.cycle_is_due).then(|| since.after(DEBOUNCE))
            }
            Step::Redis | Step::Statuses { .. } => None,
        }
    }

    /// Stops them when it is time. The next turn plans again what is left, after what has changed.
    pub(super) fn stop_for_the_next_turn(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let is_time = self.end_of_status_writes().is_some_and(|end| now.monotonic >= end);
        if is_time && let Some(Turn { step: Step::Statuses { stopped, .. }, .. }) = &mut self.turn {
            *stopped = true;
            effects.push(Effect::StopWritingStatuses);
        }
    }

    /// The end of the turn.
    pub(super) fn statuses_written(
        &mut self,
        term: Term,
        statuses: WriteReport,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        if statuses.fenced > 0 {
            self.report_refusal(term, None, effects);
        }
        let Some(turn) = self.turn.take() else { return };
        self.last_turn_ended = now.monotonic;
        if statuses.left == 0 {
            self.answered_revision = turn.registry.revision();
        }
        if statuses.is_complete() {
            self.settled.clone_from(&turn.settles);
        }
        let outcome = match turn.decision {
            Decision::Classify if statuses.fenced > 0 => "fenced",
            Decision::Classify if self.seen.redis && self.publication.error().is_some() => "publication_failed",
            Decision::Classify if statuses.failed > 0 => "status_failed",
            other => other.into_str(),
        };
        let took = now.monotonic.since(turn.began);
        effects.push(Effect::ReportTurn { cause: turn.cause, outcome, statuses, took });
        self.make_fleet_status(now);
        if let Some(status) = self.fleet_status.clone() {
            effects.push(Effect::ReportGauges(Box::new(status), self.fleet_problem.is_none(), self.rungs()));
        }
        self.write_fleet_status(effects);
        if turn.cause == Cause::Cycle {
            self.emit_usage_event(now, effects);
            if self.seen.cycles_are_read {
                effects.push(Effect::ShowCycle(Box::new(self.cycle_report(&turn, outcome, statuses, took, now))));
            }
            self.check_publication(turn.registry, effects);
        }
    }

    /// The turn is out of date: the next one begins at once.
    pub(super) fn abandon_turn(&mut self, now: Moment) {
        self.turn = None;
        self.last_turn_ended = now.monotonic;
    }

    fn emit_usage_event(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(coverage) = &self.coverage else { return };
        // Discovery may take a moment at the start.
        let settled = now.monotonic.since(self.began) >= self.settings.memory.interval;
        if coverage.gap == Some(UsageGap::Discovery) && !settled {
            return;
        }
        effects.extend(self.usage_events.next(coverage).map(Effect::Emit));
    }
}

/// Classifies what is known of a fleet.
pub(crate) fn classify_at_latest_use(
    fleet: &PerServer<RankingInput>,
    now: UnixTime,
    ranking: &Params,
) -> Classification {
    // Ages count from the latest use. If they counted from the current time, tiers would change without any use: with
    // each edit between two collections, and with each new leader.
    let uses = fleet.values().iter().filter(|input| !input.new).filter_map(|input| input.usage.last_used);
    let latest = uses.max().map_or(now, |latest| latest.min(now));
    classify(fleet, latest, ranking)
}

/// The input of a refresh plan, in the order of the classified servers, with the bounds of their objects.
pub(crate) fn plan_inputs(
    bounds: &Bounds,
    classification: &Classification,
    fleet: &PerServer<RankingInput>,
    observed_since: &PerServer<Option<UnixTime>>,
    now: UnixTime,
) -> PerServer<PlanInput> {
    let known = classification.placements().values().iter().zip(fleet.values()).zip(observed_since.values());
    let mut inputs: PerServer<PlanInput> = PerServer::of(fleet.servers());
    for (planned, ((placement, input), since)) in inputs.values_mut().iter_mut().zip(known) {
        *planned = plan_input(*placement, input, *since, now);
    }
    for (place, bound) in bounds.iter() {
        inputs.get_mut(place).into_iter().for_each(|input| input.bound = Some(bound));
    }
    inputs
}

/// The same for one server, without a bound.
fn plan_input(
    placement: Option<Placement>,
    input: &RankingInput,
    observed_since: Option<UnixTime>,
    now: UnixTime,
) -> PlanInput {
    let idle = plan::idle(input.usage.last_used, observed_since.unwrap_or(now), now);
    PlanInput { tier: placement.map(|placement| placement.tier), bound: None, idle, late: input.late }
}

/// The publication of a classification and its intervals.
fn publication(
    classification: &Classification,
    intervals: &Arc<PerServer<Option<PlannedInterval>>>,
) -> Option<Arc<Publication>> {
    Publication::new(classification, intervals).ok().map(Arc::new)
}
