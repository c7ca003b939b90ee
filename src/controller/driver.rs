//! Performs what [`super::state`] asks for, and reports back what came of it. IO: everything through the adapters.
//!
//! It decides nothing. Calls that take time run side by side as futures of this task; each ends with an [`Event`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, OptionFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::decision::Decision;
use super::effects::{Cause, Effect, Event, Moment, PublicationProgress};
use super::state::{LeaderState, Seen};
use super::{Controller, Inputs, Redis};
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::fleet::{Problems, clocks_text};
use crate::leadership::{Leadership, LeadershipToken};
use crate::model::clocks::ClockSkew;
use crate::model::{FleetEvent, Problem};
use crate::poll::compliance::Compliance;
use crate::publish::{LockState, ReadBack};
use crate::status::writer::WriteReport;

/// How long calls that are under way may go on when leadership has ended.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// One leadership: its state, and the calls that are under way.
pub(super) struct Driver<'a> {
    controller: &'a mut Controller,
    state: LeaderState,
    running: FuturesUnordered<BoxFuture<'static, Option<Event>>>,
    /// Stops the status writes of the present turn.
    stop_writing: CancellationToken,
}

impl<'a> Driver<'a> {
    /// Reads what the former leader left, and starts.
    pub(super) async fn begin(controller: &'a mut Controller, token: LeadershipToken) -> Self {
        let stored = match &controller.outputs.redis {
            None => None,
            Some(redis) => match redis.store.stored().await {
                Ok(stored) => Some(stored),
                Err(error) => {
                    let reason = <&str>::from(error);
                    warn!(reason, "cannot read what Redis holds; the statuses alone tell which servers were hot");
                    None
                }
            },
        };
        let Inputs { registry, endpoints, fleet, problems, registrations, mirror, leadership: _ } =
            &mut controller.inputs;
        let redis = controller.outputs.redis.as_mut();
        let seen = Seen {
            token,
            redis: redis.is_some(),
            cycles_are_read: !controller.outputs.cycles.is_closed(),
            registry: registry.borrow_and_update().clone().unwrap_or_default(),
            fleet: fleet.borrow_and_update().clone(),
            problems: problems.current(),
            lock: redis.map_or(LockState::Off, |redis| redis.lock.borrow_and_update().clone()),
            discovered: endpoints.borrow_and_update().is_some(),
            registrations: registrations.as_mut().map(|outcomes| Arc::clone(&outcomes.borrow_and_update())),
            mirror: mirror.as_mut().and_then(|mirror| mirror.borrow_and_update().clone()),
        };
        info!(term = %seen.token.term(), objects = seen.registry.gateways().len(), "leading");
        controller.reference.settle_exactly(clock::monotonic());
        let now = moment(&controller.reference);
        controller.outputs.fleet_problem.send_replace(None);
        let state = LeaderState::new(controller.settings, seen, stored, now);
        Self { controller, state, running: FuturesUnordered::new(), stop_writing: CancellationToken::new() }
    }

    /// Runs until leadership ends.
    pub(super) async fn run(mut self) {
        let mut event = Event::Timer;
        loop {
            let ended = matches!(event, Event::LeadershipEnded);
            for effect in self.state.step(event, moment(&self.controller.reference)) {
                self.perform(effect);
            }
            if ended {
                break;
            }
            event = self.next().await;
        }
        let drained = async { while self.running.next().await.is_some() {} };
        // What takes longer is dropped with its connection: the stores refuse it once there is a higher term.
        let _ = tokio::time::timeout(DRAIN_LIMIT, drained).await;
    }

    async fn next(&mut self) -> Event {
        loop {
            let deadline = self.state.deadline();
            let Inputs { registry, endpoints, leadership, fleet, problems, registrations, mirror } =
                &mut self.controller.inputs;
            let redis = &mut self.controller.outputs.redis;
            let keeper = redis.as_mut().map(|Redis { lock, differs, .. }| (lock.changed(), differs.notified()));
            let (lock_changed, differs) = keeper.unzip();
            let registered = registrations.as_mut().map(watch::Receiver::changed);
            let mirrored = mirror.as_mut().map(watch::Receiver::changed);
            let timer = deadline.map(|deadline| sleep(deadline.since(clock::monotonic())));
            let event = tokio::select! {
                changed = leadership.changed() => match leadership.borrow_and_update().clone() {
                    Leadership::Leading(token)
                        if changed.is_ok() && token.is_same_leadership(&self.state.seen.token) =>
                    {
                        Some(Event::TermRaised(token))
                    }
                    _ => Some(Event::LeadershipEnded),
                },
                Ok(()) = fleet.changed() => Some(Event::FleetObjectChanged(fleet.borrow_and_update().clone())),
                Some(event) = self.running.next() => event,
                Ok(()) = registry.changed() => registry.borrow_and_update().clone().map(Event::RegistryChanged),
                Ok(()) = endpoints.changed() => {
                    endpoints.borrow_and_update().is_some().then_some(Event::EndpointsDiscovered)
                }
                Ok(()) = problems.registry.changed() => Some(Event::ProblemsChanged(problems.current())),
                Ok(()) = problems.permissions.changed() => Some(Event::ProblemsChanged(problems.current())),
                Ok(()) = problems.status_writes.changed() => Some(Event::ProblemsChanged(problems.current())),
                Some(Ok(())) = OptionFuture::from(mirrored) => {
                    let status = mirror.as_mut().and_then(|mirror| mirror.borrow_and_update().clone());
                    Some(Event::MirrorChanged(status))
                }
                Some(()) = OptionFuture::from(differs) => Some(Event::StoreDiffers),
                Some(Ok(())) = OptionFuture::from(lock_changed) => {
                    redis.as_mut().map(|redis| Event::LockChanged(redis.lock.borrow_and_update().clone()))
                }
                Some(Ok(())) = OptionFuture::from(registered) => {
                    let outcomes = registrations.as_mut().map(|outcomes| Arc::clone(&outcomes.borrow_and_update()));
                    outcomes.map(Event::RegistrationsChanged)
                }
                Some(()) = OptionFuture::from(timer) => Some(Event::Timer),
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Collect => self.collect(),
            Effect::Publish(publication, until) => self.on_redis(async move |redis: Redis, token| {
                let result = redis.store.publish(&token, &publication, until).await;
                Some(Event::Published(token.term(), result))
            }),
            Effect::Withdraw => self.on_redis(async move |redis: Redis, token| {
                Some(Event::Withdrawn(token.term(), redis.store.withdraw(&token).await))
            }),
            Effect::ReadBack(registry) => self.on_redis(async move |redis: Redis, _| {
                match redis.store.read_back(registry.servers(), |url| registry.by_url(url)).await {
                    Ok(ReadBack::Different) => Some(Event::StoreDiffers),
                    Ok(ReadBack::AsPublished | ReadBack::NoBase) => None,
                    Err(error) => {
                        debug!(reason = <&str>::from(error), "reading back the publication failed");
                        None
                    }
                }
            }),
            Effect::ReadPollTraces(polls) => self.on_redis(async move |redis: Redis, _| {
                let read = redis.store.traces(&polls).await;
                let failed = |error: &crate::publish::Error| {
                    warn!(reason = <&str>::from(error), %error, "reading poll stamps failed; will retry");
                };
                read.inspect_err(failed).ok().map(Event::PollTracesRead)
            }),
            Effect::HoldLock => {
                if let Some(redis) = &self.controller.outputs.redis {
                    redis.tokens.send_replace(Some(self.state.seen.token.clone()));
                }
            }
            Effect::Retain(retention) => {
                if let Some(redis) = &self.controller.outputs.redis {
                    redis.retention.send_if_modified(|old| std::mem::replace(old, retention) != retention);
                }
            }
            Effect::WriteStatuses(plan) => {
                self.stop_writing = CancellationToken::new();
                let statuses = Arc::clone(&self.controller.outputs.statuses);
                let (token, stop) = (self.state.seen.token.clone(), self.stop_writing.clone());
                self.start(async move {
                    let report = statuses.apply(&token, plan, &stop).await;
                    Some(Event::StatusesWritten(token.term(), report))
                });
            }
            Effect::StopWritingStatuses => self.stop_writing.cancel(),
            Effect::WriteFleetStatus(status) => {
                let writer = self.controller.outputs.fleet.clone();
                let token = self.state.seen.token.clone();
                self.start(async move {
                    let result = writer.write(&token, &status).await;
                    Some(Event::FleetStatusWritten(token.term(), result))
                });
            }
            Effect::ReportRefusal(refusal) => {
                // One report is as good as many.
                let _ = self.controller.outputs.refusals.try_send(refusal);
            }
            Effect::Emit(event) => self.emit(event),
            Effect::LogPublication(progress) => log_publication(&progress),
            Effect::ReportCompliance { compliance, changed } => self.report_compliance(compliance, changed),
            Effect::LogClocks(skewed) => log_clocks(&skewed),
            Effect::ReportFleetWrites(problem) => self.report_fleet_writes(problem),
            Effect::ReportGauges(status, written, rungs) => self.controller.metrics.fleet(&status, written, &rungs),
            Effect::ReportTurn { cause, outcome, statuses, took } => self.report_turn(cause, outcome, statuses, took),
            Effect::ShowCycle(report) => {
                self.controller.outputs.cycles.send_replace(Some(Arc::new(*report)));
            }
        }
    }

    fn start(&self, call: impl Future<Output = Option<Event>> + Send + 'static) {
        self.running.push(call.boxed());
    }

    fn on_redis<F>(&self, call: impl FnOnce(Redis, LeadershipToken) -> F)
    where
        F: Future<Output = Option<Event>> + Send + 'static,
    {
        if let Some(redis) = &self.controller.outputs.redis {
            self.start(call(redis.clone(), self.state.seen.token.clone()));
        }
    }

    fn collect(&self) {
        let Inputs { registry, endpoints, .. } = &self.controller.inputs;
        let endpoints = endpoints.borrow().clone().unwrap_or_default();
        let registry = registry.borrow().clone().unwrap_or_default();
        let collector = Arc::clone(&self.controller.outputs.collector);
        let interval = self.controller.settings.memory.interval;
        let (reference, metrics) = (self.controller.reference.clone(), self.controller.metrics.clone());
        // The times of one collection are all in one reference.
        reference.settle(clock::monotonic());
        self.start(async move {
            let collection = collector.collect(&endpoints, &registry, interval).await;
            let skews = reference.skews(clock::now(), clock::monotonic());
            metrics.clocks(&skews);
            let skewed = skews.into_iter().filter(ClockSkew::is_too_much).collect();
            Some(Event::Collected(collection, Arc::clone(registry.servers()), skewed))
        });
    }

    fn emit(&self, event: FleetEvent) {
        if event.warning {
            warn!(reason = event.reason, "{}", event.note);
        } else {
            info!(reason = event.reason, "{}", event.note);
        }
        // If the queue is full, the log has it.
        let _ = self.controller.outputs.events.try_send(event);
    }

    fn report_compliance(&self, compliance: Compliance, changed: bool) {
        self.controller.metrics.obeyed(compliance.gauge());
        if !changed {
            return;
        }
        let (reason, message) = (<&str>::from(compliance), compliance.message());
        match compliance {
            Compliance::Yes => info!("{message}"),
            Compliance::No(why) => {
                warn!(reason, "gateways do not poll by what is published: {message}: {}", why.advice());
            }
            Compliance::NoGateways | Compliance::NoStampsYet => {
                info!(reason, "it is unknown whether gateways poll by what is published: {message}");
            }
        }
    }

    fn report_fleet_writes(&self, problem: Option<Problem>) {
        if let Some(problem @ Problem { reason, detail, .. }) = &problem {
            let text = "cannot write the status of the McpGatewayFleet; will retry";
            warn!(%reason, error = detail, "{text}: {}", problem.message());
            // It may exist all the same. The log has the line already.
            let note = format!("the status cannot be written: {}", problem.text());
            let _ = self.controller.outputs.events.try_send(FleetEvent::warning("FleetNotWritten", note));
        } else {
            info!("writing the status of the McpGatewayFleet recovered");
        }
        self.controller.outputs.fleet_problem.send_replace(problem);
    }

    fn report_turn(&self, cause: Cause, outcome: &'static str, statuses: WriteReport, took: Duration) {
        let WriteReport { written, overtaken, failed, .. } = statuses;
        if written > 0 || failed > 0 {
            info!(?cause, outcome, statuses = written, overtaken, failed, ?took, "turn ended");
        } else {
            debug!(?cause, outcome, ?took, "turn ended");
        }
        if cause == Cause::Cycle {
            let successful = outcome == Decision::Classify.into_str();
            self.controller.metrics.cycle(outcome, took, successful.then(clock::now));
        }
    }
}

pub struct ProblemReceivers {
    pub registry: watch::Receiver<Option<Problem>>,
    pub permissions: watch::Receiver<Option<Problem>>,
    pub status_writes: watch::Receiver<Option<Problem>>,
}

impl ProblemReceivers {
    fn current(&mut self) -> Problems {
        Problems {
            registry: self.registry.borrow_and_update().clone(),
            permissions: self.permissions.borrow_and_update().clone(),
            status_writes: self.status_writes.borrow_and_update().clone(),
        }
    }
}

/// Before the first reading of any clock, the wall clock is used. Nothing is decided by then.
fn moment(reference: &ReferenceClock) -> Moment {
    let monotonic = clock::monotonic();
    Moment { monotonic, time: reference.at(monotonic).unwrap_or_else(clock::now) }
}

fn log_clocks(skewed: &[ClockSkew]) {
    match skewed {
        [] => info!("all clocks agree within 5 seconds"),
        skewed => warn!("{}", clocks_text(skewed)),
    }
}

fn log_publication(progress: &PublicationProgress) {
    match progress {
        PublicationProgress::Published => info!("publishing"),
        PublicationProgress::Withdrawn => info!("the publication is removed from Redis: the fleet is suspended"),
        PublicationProgress::NotPublished(error) => {
            let said = error.redis_error();
            warn!(outcome = error.label(), reason = <&str>::from(error), said, "not published; will retry");
        }
        PublicationProgress::NotWithdrawn(error) => {
            let (reason, said) = (<&str>::from(error), error.redis_error());
            warn!(outcome = error.label(), reason, said, "the publication is not removed; will retry");
        }
        PublicationProgress::NeverTried | PublicationProgress::BaseUnknown => {}
    }
}
