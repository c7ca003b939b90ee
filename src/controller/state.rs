//! The leader's loop as a state machine. Pure: an [`Event`] and the time go in, [`Effect`]s come out.
//!
//! At most one turn is under way. A turn decides, publishes, writes statuses, in this order ([`Step`]); what happens
//! meanwhile is remembered and leads to the next turn, for which status writes are cut short. Nothing is retried in
//! here: the next turn is the retry. The emergency brake is the exception to the order: it withdraws the publication at
//! once, whatever the turn is doing.

use std::sync::Arc;
use std::time::Duration;

use super::ControllerSettings;
use super::bounds::Bounds;
use super::decision::Decision;
use super::effects::{Cause, Effect, Event, Moment, PublicationProgress};
use super::first_uses::FirstUses;
use super::inherited::{inherited, inherited_plan, stated_loss};
use super::refresh_requests::RefreshRequests;
use super::usage_events::UsageEvents;
use crate::api::conditions::MOST_GATEWAYS_GONE;
use crate::api::v1alpha1::{FleetStatus, MirrorStatus};
use crate::classify::memory::{Coverage, SoleReporter, UsageMemory};
use crate::classify::{Classification, IdentityConflict, PerServer, RankingInput};
use crate::fleet::object::{FleetObject, FleetWrite};
use crate::fleet::{Problems, clocks_text, loss_text};
use crate::leadership::LeadershipToken;
use crate::model::clocks::ClockSkew;
use crate::model::polling::{FleetPolling, LastHour};
use crate::model::{FleetEvent, Monotonic, PlannedInterval, Problem, ServerUrl, UnixTime};
use crate::plan::Plan;
use crate::poll::compliance::Compliance;
use crate::publish::{LockState, StoredPublication};
use crate::registration::outcome::Outcomes;
use crate::registry::RegistrySnapshot;
use crate::registry::loss::{LossChange, LossDetector};
use crate::status::Settled;

/// Between two turns for changes, and before a turn stops writing statuses for the next one: at most four a second.
pub(super) const DEBOUNCE: Duration = Duration::from_millis(250);

/// How long the first turn may wait for the first collection: a quick one makes two writes of each new object one, and
/// an edit is still answered within a second.
const FIRST_TURN: Duration = Duration::from_millis(500);

/// How long a registry of new servers only, as after an installation, waits for a collection that may measure them:
/// about as long as it takes to register a fleet, and not for the rest of an interval.
const FIRST_FILL: Duration = Duration::from_secs(5);

/// The reference time was moved if it differs from the monotonic clock by this much. Less is rounding.
const MOVED_SECONDS: f64 = 0.01;

/// Everything that one leadership knows.
#[expect(clippy::struct_excessive_bools, reason = "each says whether one call is under way or one turn is due")]
pub(super) struct LeaderState {
    pub(super) settings: ControllerSettings,
    pub(super) seen: Seen,
    pub(super) memory: UsageMemory,
    /// Servers that workers use and no object registers.
    pub(super) unregistered: Box<[ServerUrl]>,
    /// Ids and names that are registered for other servers than workers report them for.
    pub(super) identity_conflicts: Box<[IdentityConflict]>,
    /// How the gateway processes poll.
    pub(super) polling: FleetPolling,
    /// The calls that they report.
    calls: LastHour,
    /// How much of the usage the last turn knew; `None` before the first turn.
    pub(super) coverage: Option<Coverage>,
    /// Whether the last turn saw servers, all of them too new to be ranked.
    pub(super) only_new_servers: bool,
    /// The endpoint on which most hot servers hang, by the last cycle.
    pub(super) sole_reporter: Option<SoleReporter>,
    pub(super) usage_events: UsageEvents,
    /// Whether most of the registry has gone at once.
    pub(super) loss_detector: LossDetector,

    /// Whether more may be known of the use of servers than at the last classification.
    pub(super) usage_changed: bool,
    /// The places of the servers that were pinned then.
    pub(super) pinned: Vec<usize>,
    /// The last classification, unless it was given up or withdrawn.
    pub(super) classification: Option<Classification>,
    /// The refresh plan of that classification; before the first one, that of the predecessor from the statuses. Only
    /// with `--refresh-plan usage`.
    pub(super) plan: Option<Plan>,
    /// The bounds that it respects.
    pub(super) bounds: Bounds,
    pub(super) first_uses: FirstUses,
    pub(super) refresh_requests: RefreshRequests,
    /// The published intervals of that classification: those of the plan, of bounds and of refresh requests.
    pub(super) intervals: Arc<PerServer<Option<PlannedInterval>>>,
    pub(super) publication: PublicationProgress,
    /// By the last turn.
    pub(super) decision: Option<Decision>,
    /// Three intervals after the last publication, by whatever leader: it is not kept alive for longer.
    pub(super) patience_ends: Monotonic,
    /// The clocks that differ from the reference time; `None` before the first collection.
    pub(super) skewed: Option<Vec<ClockSkew>>,
    /// Of the last publication, whichever leader made it.
    pub(super) timestamp: Option<UnixTime>,

    pub(super) turn: Option<Turn>,
    /// What the statuses say, if the last turn has left nothing to write.
    pub(super) settled: Option<Settled>,
    pub(super) withdrawing: bool,
    collecting: bool,
    cycle_began: Monotonic,
    /// A collection ended during a turn: the next turn is its cycle.
    pub(super) cycle_is_due: bool,
    /// Something changed: another turn is due.
    pub(super) change_is_due: bool,
    /// The brake was pulled or released: the next turn does not wait.
    pub(super) urgent: bool,
    pub(super) last_turn_ended: Monotonic,
    /// The revision of the registry that the last turn saw.
    pub(super) revision: u64,
    /// The revision up to which a turn has attempted all statuses.
    pub(super) answered_revision: u64,
    next_cycle: Monotonic,
    /// A cycle was brought forward for new servers and has not collected yet.
    filling: bool,

    pub(super) cycles_to_compliance: u32,
    pub(super) looks_for_stamps: u32,
    /// What was found last; `None` before the first look.
    pub(super) compliance: Option<Compliance>,
    /// The status that was made last, and whether the fleet object has it.
    pub(super) fleet_status: Option<FleetStatus>,
    pub(super) fleet_status_written: bool,
    pub(super) fleet_write_running: bool,
    /// Why the fleet object cannot be written.
    pub(super) fleet_problem: Option<Problem>,
    /// When this leadership began.
    pub(super) began: Monotonic,
    last_step: Moment,
    ended: bool,
}

pub(super) struct Turn {
    pub(super) cause: Cause,
    pub(super) began: Monotonic,
    pub(super) decision: Decision,
    pub(super) registry: Arc<RegistrySnapshot>,
    /// What is known of each server.
    pub(super) fleet: Arc<PerServer<RankingInput>>,
    pub(super) step: Step,
    /// What is settled once its status plan is written; `None` before that is made.
    pub(super) settles: Option<Settled>,
}

/// What a turn waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The answer of Redis to a publication or withdrawal.
    Redis,
    /// The status writes.
    Statuses {
        /// Since then.
        since: Monotonic,
        /// Whether they were stopped, because another turn is due.
        stopped: bool,
    },
}

/// What the loop last saw of its surroundings.
pub(super) struct Seen {
    pub(super) token: LeadershipToken,
    /// Whether there is a Redis to publish to.
    pub(super) redis: bool,
    /// Whether anybody reads the reports of cycles.
    pub(super) cycles_are_read: bool,
    pub(super) registry: Arc<RegistrySnapshot>,
    pub(super) fleet: FleetObject,
    pub(super) problems: Problems,
    pub(super) lock: LockState,
    /// Whether the worker endpoints have been discovered.
    pub(super) discovered: bool,
    /// The outcomes of registrations; `None` if nothing is registered (`--contextforge-url`).
    pub(super) registrations: Option<Arc<Outcomes>>,
    /// What there is to say of mirrored objects.
    pub(super) mirror: Option<MirrorStatus>,
}

impl LeaderState {
    /// The state of a leader that has just begun. It remembers what the statuses say, and what Redis holds if that was
    /// read.
    pub(super) fn new(
        settings: ControllerSettings,
        seen: Seen,
        stored: Option<StoredPublication>,
        now: Moment,
    ) -> Self {
        let mut inheritance = inherited(&seen.registry, now.time);
        let patience = settings.memory.interval * 3;
        let timestamp = stored.as_ref().and_then(|stored| stored.timestamp);
        let mut patience_ends = now.monotonic.after(patience);
        if let Some(stored) = stored {
            // A publication that has outlived its time, or comes from the future, is not kept alive: patience starts
            // anew.
            let alive = stored.timestamp.filter(|time| *time <= now.time).map(|time| now.time.since(time));
            if let Some(left) = alive.and_then(|age| patience.checked_sub(age)).filter(|left| !left.is_zero()) {
                patience_ends = now.monotonic.after(left);
            }
            let hot = inheritance.hot.values_mut().iter_mut().zip(seen.registry.servers().iter());
            hot.for_each(|(hot, server)| *hot |= stored.hot.contains(server));
        }
        // What was there before is not a change that somebody waits for.
        let answered_revision = seen.registry.revision();
        let first_uses = FirstUses::new(inheritance.last_used.clone());
        let plan = settings.refresh_plan.map(|settings| inherited_plan(&seen.registry, &settings));
        let loss = seen.fleet.status().and_then(stated_loss);
        let registered = seen.registry.registered_objects();
        let loss_detector = LossDetector::new(settings.memory.interval, registered, loss, now.time);
        Self {
            settings,
            urgent: seen.fleet.suspend() == Some(true),
            fleet_status: seen.fleet.status().cloned(),
            seen,
            memory: UsageMemory::inherit(settings.memory, inheritance, now.monotonic),
            unregistered: Box::default(),
            identity_conflicts: Box::default(),
            polling: FleetPolling::default(),
            calls: LastHour::default(),
            coverage: None,
            only_new_servers: false,
            sole_reporter: None,
            usage_events: UsageEvents::default(),
            loss_detector,
            usage_changed: true,
            pinned: Vec::new(),
            classification: None,
            plan,
            bounds: Bounds::default(),
            first_uses,
            refresh_requests: RefreshRequests::default(),
            intervals: Arc::default(),
            publication: PublicationProgress::NeverTried,
            timestamp,
            decision: None,
            patience_ends,
            skewed: None,
            turn: None,
            settled: None,
            withdrawing: false,
            collecting: false,
            cycle_began: now.monotonic,
            cycle_is_due: false,
            change_is_due: true,
            last_turn_ended: now.monotonic.after(FIRST_TURN),
            revision: 0,
            answered_revision,
            next_cycle: now.monotonic,
            filling: false,
            cycles_to_compliance: 0,
            looks_for_stamps: 0,
            compliance: None,
            fleet_status_written: false,
            fleet_write_running: false,
            fleet_problem: None,
            began: now.monotonic,
            last_step: now,
            ended: false,
        }
    }

    /// When [`Event::Timer`] is due next.
    pub(super) fn deadline(&self) -> Option<Monotonic> {
        let cycle = (!self.collecting).then_some(self.next_cycle);
        let change = (self.change_is_due && self.turn.is_none() && !self.withdrawing)
            .then(|| self.last_turn_ended.after(DEBOUNCE));
        [cycle, change, self.end_of_status_writes()].into_iter().flatten().min()
    }

    /// Takes in an event. Once leadership has ended, nothing has an effect any more.
    pub(super) fn step(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.follow_the_reference(now);
        if !self.ended {
            self.take_in(event, now, &mut effects);
            self.begin_what_is_due(now, &mut effects);
        }
        effects
    }

    /// Moves what is remembered when the reference time was moved: the uses are as long ago as before.
    fn follow_the_reference(&mut self, now: Moment) {
        let last = std::mem::replace(&mut self.last_step, now);
        let moved = now.time.seconds() - last.time_at(now.monotonic).seconds();
        if moved.abs() > MOVED_SECONDS {
            self.memory.shift(moved);
            self.usage_changed = true;
        }
    }

    fn take_in(&mut self, event: Event, now: Moment, effects: &mut Vec<Effect>) {
        match event {
            Event::Timer => {}
            Event::RegistryChanged(registry) => {
                self.change_is_due |= registry.revision() != self.revision;
                self.seen.registry = registry;
                self.watch_the_size(now, effects);
            }
            Event::EndpointsDiscovered => {
                if !std::mem::replace(&mut self.seen.discovered, true) {
                    self.next_cycle = now.monotonic;
                }
            }
            Event::FleetObjectChanged(fleet) => self.fleet_object_changed(fleet, now, effects),
            Event::ProblemsChanged(problems) => {
                self.seen.problems = problems;
                self.update_fleet_status(now, effects);
            }
            Event::RegistrationsChanged(outcomes) => {
                self.seen.registrations = Some(outcomes);
                self.change_is_due = true;
            }
            Event::MirrorChanged(mirror) => {
                self.seen.mirror = mirror;
                self.update_fleet_status(now, effects);
            }
            Event::LockChanged(state) => self.lock_changed(state, now, effects),
            Event::StoreDiffers => {
                self.publication = PublicationProgress::BaseUnknown;
                self.change_is_due = true;
            }
            Event::TermRaised(token) => {
                self.seen.token = token;
                effects.push(Effect::HoldLock);
                self.publication = PublicationProgress::BaseUnknown;
                self.update_fleet_status(now, effects);
            }
            Event::Collected(mut collection, servers, skewed) => {
                let changed = clocks_text(self.skewed.as_deref().unwrap_or_default()) != clocks_text(&skewed);
                if changed {
                    effects.push(Effect::LogClocks(skewed.clone()));
                }
                self.skewed = Some(skewed);
                (self.collecting, self.filling) = (false, false);
                self.unregistered = std::mem::take(&mut collection.unregistered);
                self.identity_conflicts = std::mem::take(&mut collection.identity_conflicts);
                self.polling.processes = std::mem::take(&mut collection.polling.processes);
                let counts = collection.polling.counts;
                self.polling.counts.add(counts);
                self.polling.counts.calls_on_old_lists = self.calls.add(now.monotonic, counts.calls_on_old_lists);
                self.usage_changed |= self.memory.absorb(collection, &servers, now.monotonic, now.time);
                self.cycle_is_due = true;
            }
            Event::Published(term, result) => self.published(term, result, now, effects),
            Event::Withdrawn(term, result) => self.withdrawn(term, result, now, effects),
            Event::StatusesWritten(term, report) => self.statuses_written(term, report, now, effects),
            Event::FleetStatusWritten(term, result) => {
                self.fleet_write_running = false;
                let written = result == FleetWrite::Written;
                match result {
                    FleetWrite::Written => {
                        self.fleet_object_writable(None, effects);
                        // Unless another one was made meanwhile, which is written now.
                        self.write_fleet_status(effects);
                    }
                    FleetWrite::Fenced => self.report_refusal(term, None, effects),
                    FleetWrite::Failed(problem) => self.fleet_object_writable(Some(problem), effects),
                    FleetWrite::LeadershipOver => {}
                }
                self.fleet_status_written &= written;
            }
            Event::PollTracesRead(traces) => self.judge_compliance(&traces, now, effects),
            Event::LeadershipEnded => {
                self.ended = true;
                effects.push(Effect::StopWritingStatuses);
            }
        }
    }

    /// Begins a cycle or a turn whose time has come.
    fn begin_what_is_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if self.ended {
            return;
        }
        if !self.collecting && now.monotonic >= self.next_cycle {
            self.cycle_began = now.monotonic;
            self.next_cycle = now.monotonic.after(self.settings.memory.interval);
            if self.seen.discovered {
                self.collecting = true;
                effects.push(Effect::Collect);
            } else {
                self.cycle_is_due = true;
            }
        }
        self.stop_for_the_next_turn(now, effects);
        // A withdrawal that is under way must not overtake the next publication.
        if self.turn.is_none() && !self.withdrawing {
            if std::mem::take(&mut self.cycle_is_due) {
                self.begin_turn(Cause::Cycle, self.cycle_began, now, effects);
            } else if self.urgent || (self.change_is_due && now.monotonic >= self.last_turn_ended.after(DEBOUNCE)) {
                self.begin_turn(Cause::Change, now.monotonic, now, effects);
            }
        }
        if self.only_new_servers && !self.filling && !self.collecting {
            self.filling = true;
            self.next_cycle = now.monotonic.after(FIRST_FILL.min(self.settings.memory.interval));
        }
    }

    /// Says so when most of the registry has gone at once, and when it is back.
    pub(super) fn watch_the_size(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let registered = self.seen.registry.registered_objects();
        let event = match self.loss_detector.observe(registered, now.monotonic, now.time) {
            None => return,
            Some(LossChange::Began(loss)) => {
                let note = loss_text(loss, i64::try_from(registered).unwrap_or(i64::MAX));
                Some(FleetEvent::warning(MOST_GATEWAYS_GONE, note))
            }
            Some(LossChange::Returned) => {
                let note = format!("{registered} McpGateway objects are registered again");
                Some(FleetEvent::normal("GatewaysReturned", note))
            }
            Some(LossChange::Expired) => None,
        };
        effects.extend(event.map(Effect::Emit));
        self.update_fleet_status(now, effects);
    }

    /// The fleet object cannot say that it cannot be written: everything else does.
    fn fleet_object_writable(&mut self, problem: Option<Problem>, effects: &mut Vec<Effect>) {
        if Problem::replace(&mut self.fleet_problem, problem) {
            effects.push(Effect::ReportFleetWrites(self.fleet_problem.clone()));
        }
    }

    fn fleet_object_changed(&mut self, fleet: FleetObject, now: Moment, effects: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.seen.fleet, fleet);
        if before.suspend() != self.seen.fleet.suspend() {
            self.urgent = true;
            if self.turn.as_ref().is_some_and(|turn| matches!(turn.step, Step::Statuses { .. })) {
                effects.push(Effect::StopWritingStatuses);
                // A publication that is under way has to end first; the turn goes on from there.
                if self.seen.fleet.suspend() == Some(true) {
                    self.withdraw(effects);
                }
            }
        }
        let deleted = matches!(self.seen.fleet, FleetObject::Absent);
        if self.seen.fleet.status() != self.fleet_status.as_ref() && !self.fleet_write_running {
            // Another client edited it: the end of the next turn restores it.
            self.fleet_status_written = false;
        }
        if deleted || before.generation() != self.seen.fleet.generation() {
            self.fleet_status_written = false;
            self.update_fleet_status(now, effects);
        }
    }
}
