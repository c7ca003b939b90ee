//! The time of one leader: from the token to its end. IO: everything through the adapters, in named steps.
//!
//! Its memory of the fleet's use begins with what the statuses and the stored hot set say, and ends with it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, OptionFuture};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::cycle::Decision;
use super::obeying::Obedience;
use super::picture::Picture;
use super::{Controller, Inputs};
use crate::classify::memory::{Inheritance, UsageMemory, View};
use crate::classify::{Classification, Collection, PerServer, classify};
use crate::clock;
use crate::leadership::{Leadership, LeadershipToken};
use crate::model::{ServerUrl, Tier, UnixTime};
use crate::publish::{LockState, PublishOutcome, Retention};
use crate::registry::RegistrySnapshot;
use crate::status::fleet::Facts;
use crate::status::writer::WriteReport;
use crate::status::{self, PlanContext, Tiers};

/// Between two turns for changes of the registry: at most four a second.
const DEBOUNCE: Duration = Duration::from_millis(250);

/// How long the first turn may wait for the first collection; an edit is still answered within a second.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// How long a registry that holds new servers alone, as after an installation, waits for a collection that may measure them:
/// as long as it takes to register a fleet, and not for the rest of an interval.
const FIRST_FILL: Duration = Duration::from_secs(5);

/// A collection, and the servers as they were when it began.
type Collected = (Collection, Arc<[ServerUrl]>);

/// One leader's time; see the module's text.
pub(super) struct Reign<'a> {
    pub(super) controller: &'a mut Controller,
    pub(super) token: LeadershipToken,
    memory: UsageMemory,
    /// The timestamp of the last publication, whoever made it; from it the three intervals of keeping alive count.
    pub(super) published_at: UnixTime,
    pub(super) classification: Option<Classification>,
    /// What stands in Redis by the last outcome; `None` before the first.
    pub(super) publication: Option<PublishOutcome>,
    /// The revision of the registry that the last turn saw.
    revision: u64,
    /// Whether the last turn saw servers, all of them too new to be ranked.
    all_new: bool,
    /// What the last turn said of the endpoints and the tiers, kept for when only the lock changes.
    pub(super) facts: Facts,
    /// What was last said of how complete the picture of the use is.
    pub(super) picture: Picture,
    /// Whether gateways obey, as far as it has been looked at.
    pub(super) obedience: Obedience,
    /// Servers that the workers use and nobody has registered.
    pub(super) unregistered: Box<[ServerUrl]>,
}

/// Why a turn is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The interval: a collection has just ended, or there was nothing to ask.
    Cycle,
    /// The registry changed, or Redis lost what was published.
    Signal,
}

impl<'a> Reign<'a> {
    /// Begins with what others left: the statuses, and what is stored in Redis.
    pub(super) async fn begin(controller: &'a mut Controller, token: LeadershipToken) -> Self {
        let snapshot = controller.inputs.registry.borrow_and_update().clone().unwrap_or_default();
        let stored = match &controller.outputs.redis {
            None => None,
            Some(redis) => match redis.store.stored().await {
                Ok(stored) => Some(stored),
                Err(error) => {
                    warn!(reason = error.reason(), "what is stored in Redis could not be read; the statuses must do");
                    None
                }
            },
        };
        let mut inheritance = inherited(&snapshot);
        let mut published_at = token.since();
        if let Some(stored) = stored {
            // One that has outlived its time, or comes from the future, is not to be kept alive; patience begins anew.
            let limit = controller.settings.memory.interval * 3;
            let alive = |time: &UnixTime| *time <= token.since() && token.since().since(*time) < limit;
            published_at = stored.timestamp.filter(alive).unwrap_or(published_at);
            let hot = inheritance.hot.values_mut().iter_mut().zip(snapshot.servers().iter());
            hot.for_each(|(hot, server)| *hot |= stored.hot.contains(server));
        }
        let hot = inheritance.hot.values().iter().filter(|hot| **hot).count();
        info!(term = %token.term(), objects = snapshot.gateways().len(), hot, "leading");
        let memory = UsageMemory::inherit(controller.settings.memory, inheritance, clock::monotonic());
        let mut facts = Facts::default();
        facts.leader(&token);
        facts.obeyed(match controller.outputs.redis {
            Some(_) => "unknown: not looked at yet",
            None => "Off: no Redis is configured",
        });
        controller.outputs.fleet.forget();
        Self {
            controller,
            token,
            memory,
            published_at,
            classification: None,
            publication: None,
            revision: 0,
            all_new: false,
            facts,
            picture: Picture::default(),
            obedience: Obedience::default(),
            unregistered: Box::default(),
        }
    }

    /// Runs until the token ends.
    pub(super) async fn run(mut self) {
        let mut ticks = interval(self.controller.settings.memory.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut collecting: OptionFuture<BoxFuture<'static, Collected>> = None.into();
        let mut busy = false;
        let mut began = Instant::now();
        // What the registry holds already is worth a turn before anybody was asked (refusals, edited objects), but a
        // first collection that is quick makes two writes of each new object one.
        let mut looked = Instant::now() + FIRST_LOOK;
        let mut look_again = true;
        let mut filling = false;
        let mut lock = self.controller.outputs.redis.as_ref().map(|redis| redis.lock.clone());
        let differs = self.controller.outputs.redis.as_ref().map(|redis| Arc::clone(&redis.differs));
        loop {
            let Inputs { registry, endpoints, leadership } = &mut self.controller.inputs;
            let undiscovered = endpoints.borrow().is_none();
            tokio::select! {
                changed = leadership.changed() => {
                    let now = leadership.borrow_and_update().clone();
                    match now {
                        Leadership::Leading(token) if changed.is_ok() && token.since() == self.token.since() => self.raised(token),
                        _ => return,
                    }
                }
                Some((collection, servers)) = &mut collecting => {
                    (collecting, busy, filling) = (None.into(), false, false);
                    self.unregistered.clone_from(&collection.unregistered);
                    self.memory.absorb(collection, &servers, clock::monotonic(), clock::now());
                    self.turn(Cause::Cycle, began).await;
                    (looked, look_again) = (Instant::now(), self.read_back().await);
                    self.look_whether_obeyed().await;
                }
                _ = ticks.tick(), if !busy => {
                    began = Instant::now();
                    match self.collect() {
                        Some(collection) => (collecting, busy) = (Some(collection).into(), true),
                        None => self.turn(Cause::Cycle, began).await,
                    }
                }
                Ok(()) = registry.changed() => {
                    let revision = registry.borrow_and_update().as_ref().map(|snapshot| snapshot.revision());
                    look_again |= revision != Some(self.revision);
                }
                Ok(()) = endpoints.changed(), if undiscovered => ticks.reset_immediately(),
                () = sleep_until(looked + DEBOUNCE), if look_again => {
                    self.turn(Cause::Signal, Instant::now()).await;
                    (looked, look_again) = (Instant::now(), false);
                }
                () = rung(differs.as_deref()) => {
                    self.publication = None;
                    look_again = true;
                }
                Some(state) = next_state(lock.as_mut()) => look_again |= self.lock_changed(&state).await,
            }
            if self.all_new && !filling && !busy {
                filling = true;
                ticks.reset_after(FIRST_FILL.min(self.controller.settings.memory.interval));
            }
        }
    }

    /// Begins to ask the workers; `None` if nobody is known to ask.
    fn collect(&self) -> Option<BoxFuture<'static, Collected>> {
        let Inputs { registry, endpoints, .. } = &self.controller.inputs;
        let endpoints = endpoints.borrow().clone()?;
        let snapshot = registry.borrow().clone()?;
        let collector = Arc::clone(&self.controller.outputs.collector);
        let interval = self.controller.settings.memory.interval;
        let collected = async move {
            let collection = collector.collect(&endpoints, &snapshot, interval).await;
            (collection, Arc::clone(snapshot.servers()))
        };
        Some(collected.boxed())
    }

    /// Our term was too low for a store, and has been raised in place: everything else stays.
    fn raised(&mut self, token: LeadershipToken) {
        info!(term = %token.term(), "term raised");
        if let Some(redis) = &self.controller.outputs.redis {
            redis.tokens.send_replace(Some(token.clone()));
        }
        self.token = token;
        self.publication = None;
        self.facts.leader(&self.token);
    }

    /// One turn: view, decide, classify, publish, write, tell.
    async fn turn(&mut self, cause: Cause, began: Instant) {
        let Some(snapshot) = self.controller.inputs.registry.borrow().clone() else { return };
        let now = clock::now();
        let interval = self.controller.settings.memory.interval;
        let view = self.memory.view(snapshot.servers(), clock::monotonic(), now);
        let decision = Decision::of(view.gap, self.published_at, interval, now);
        self.revision = snapshot.revision();
        self.all_new = !view.fleet.values().is_empty() && view.fleet.values().iter().all(|known| known.new);

        match decision {
            Decision::Classify => {
                let ranking = &self.controller.settings.ranking;
                let found = classify(&view.fleet, now, ranking);
                self.memory.note(&found);
                self.publish(cause, found).await;
            }
            Decision::KeepAlive { until, .. } => self.keep_alive(until).await,
            Decision::GiveUp { .. } => {
                self.retain(Retention::LockOnly);
                self.classification = None;
            }
        }
        let written = self.write(&snapshot, decision, &view, now).await;
        self.tell(cause, &snapshot, decision, &view).await;
        let outcome = self.count(cause, decision, written, began);
        if cause == Cause::Cycle {
            self.show(outcome, decision, &view, written, began.elapsed());
        }
    }

    async fn write(&self, snapshot: &RegistrySnapshot, decision: Decision, view: &View, now: UnixTime) -> WriteReport {
        let tiers = match (decision, &self.classification) {
            (Decision::GiveUp { .. }, _) => Tiers::GivenUp,
            (Decision::Classify, Some(classification)) => Tiers::Classified(classification, &view.fleet),
            (Decision::Classify | Decision::KeepAlive { .. }, _) => Tiers::Kept,
        };
        let usage_interval = self.controller.settings.status_usage_interval;
        let context = PlanContext { term: self.token.term(), now, usage_interval };
        let changes = status::plan(snapshot, tiers, &context);
        let report = self.controller.outputs.statuses.apply(&self.token, changes, &CancellationToken::new()).await;
        if report.fenced > 0 {
            self.refused(None);
        }
        report
    }
}

/// What the statuses remember: uses, and who was hot.
fn inherited(snapshot: &RegistrySnapshot) -> Inheritance {
    let servers = snapshot.servers();
    let (mut last_used, mut hot) = (PerServer::of(servers), PerServer::of(servers));
    for (record, place) in snapshot.registered() {
        let (Some(last_used), Some(hot)) = (last_used.get_mut(place), hot.get_mut(place)) else { continue };
        *last_used = record.remembered_use().max(*last_used);
        *hot |= record.status.tier == Some(Tier::Hot) && record.status.observed_generation == Some(record.generation);
    }
    Inheritance { last_used, hot }
}

async fn rung(bell: Option<&tokio::sync::Notify>) {
    match bell {
        Some(bell) => bell.notified().await,
        None => std::future::pending().await,
    }
}

async fn next_state(lock: Option<&mut tokio::sync::watch::Receiver<LockState>>) -> Option<LockState> {
    match lock {
        Some(lock) => match lock.changed().await {
            Ok(()) => Some(lock.borrow_and_update().clone()),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
