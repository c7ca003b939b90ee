//! Registers the servers of objects with `spec.registration` in `ContextForge`, while this process leads.
//!
//! [`Rounds`] decides, pure, which request comes next; this module sends it and hands in the answer. In: the registry,
//! the Secrets and `ConfigMap`s that its objects refer to, and the entries of `ContextForge`. Out: the outcome for each
//! object on a `watch` channel, which the leader's loop writes into the statuses. It writes no status itself. With
//! `--mirror-namespace`, [`mirror`] keeps objects for the entries that no object speaks for.
//!
//! `ContextForge` cannot fence. What two leaders could do to each other is in
//! `docs/contract.md#registration-in-contextforge`.

mod drift_events;
mod finalizers;
mod metrics;
pub mod mirror;
mod requests;
mod sources;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, OptionFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use kube::Client;
use kube::runtime::events::Recorder;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::api::v1alpha1::MirrorStatus;
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::contextforge::call_error::CallError;
use crate::contextforge::entry::Entry;
use crate::contextforge::{Access, ContextForge, EntryList};
use crate::fleet::object::FleetObject;
use crate::leadership::{Leadership, LeadershipToken};
use crate::model::{GatewayId, ObjectName, ObjectUid, UnixTime};
use crate::registration::mirror::{MirrorObjects, plan};
use crate::registration::objects::{Limits, finalizer_change, living, referenced_sources, registry_objects};
use crate::registration::outcome::Outcomes;
use crate::registration::ownership::OwnerId;
use crate::registration::reconcile::{Answer, Call};
use crate::registration::rounds::{Next, Request, Rounds};
use crate::registry::{self, GatewayRecord};
use finalizers::Finalizers;
pub use metrics::Metrics;
use mirror::{Mirror, MirrorReport};
use sources::Sources;

/// How long a change of objects is gathered before they are looked at.
const SETTLE: Duration = Duration::from_millis(100);

/// The settings of registration.
#[derive(Clone, Debug)]
pub struct RegistrarSettings {
    /// The `ContextForge`.
    pub access: Access,
    /// The owner id of this installation.
    pub owner: OwnerId,
    /// How often to compare all entries.
    pub resync: Duration,
    /// The constant rate of requests.
    pub requests_per_minute: u32,
    /// What may be registered.
    pub limits: Limits,
    /// Where to mirror entries that no object speaks for, if anywhere.
    pub mirror_namespace: Option<String>,
}

/// The task.
pub struct Registrar {
    /// The settings of registration.
    pub settings: RegistrarSettings,
    /// For Secrets, `ConfigMap`s and finalizers. It must not retry on its own.
    pub client: Client,
    /// The objects.
    pub registry: registry::Receiver,
    /// Nothing is sent without leadership.
    pub leadership: watch::Receiver<Leadership>,
    /// Nothing is sent while the fleet is suspended.
    pub fleet: watch::Receiver<FleetObject>,
    /// What the statuses should say.
    pub outcomes: watch::Sender<Arc<Outcomes>>,
    /// What the status of the fleet should say of the mirror.
    pub mirrored: watch::Sender<Option<MirrorStatus>>,
    /// Takes the Events on objects.
    pub recorder: Arc<Recorder>,
    /// The time of intents.
    pub reference: ReferenceClock,
    /// Counts requests.
    pub metrics: Metrics,
}

/// A call that has ended, with its result.
enum Done {
    Listed(Result<(Arc<ContextForge>, EntryList), CallError>),
    Answered { uid: ObjectUid, call: Call, answer: Result<Answer, CallError> },
    Asked(GatewayId, Result<Box<Entry>, CallError>),
    Mirrored { mirror: Box<Mirror>, status: Option<MirrorStatus>, report: MirrorReport },
    FinalizerChanged,
    EventWritten,
}

impl Registrar {
    /// Registers whenever this process leads. Returns when the election has ended.
    pub async fn run(mut self) {
        loop {
            let leadership = self.leadership.borrow_and_update().clone();
            if let Leadership::Leading(token) = leadership {
                Leader::new(&mut self, token).run().await;
                self.outcomes.send_replace(Arc::default());
                self.mirrored.send_replace(None);
                self.metrics.stand_by();
            } else if self.leadership.changed().await.is_err() {
                return;
            }
        }
    }
}

/// One leadership.
struct Leader<'a> {
    registrar: &'a mut Registrar,
    token: LeadershipToken,
    rounds: Rounds,
    connection: Option<Arc<ContextForge>>,
    sources: Sources,
    finalizers: Finalizers,
    /// The objects whose finalizer is to change, some of them once their entry is gone.
    unfinished: Vec<Arc<GatewayRecord>>,
    living: (u64, Arc<BTreeSet<ObjectName>>),
    running: FuturesUnordered<BoxFuture<'static, Done>>,
    failing: Option<CallError>,
    mirroring: Option<Mirroring>,
}

/// The mirror of one leadership.
struct Mirroring {
    /// `None` while it changes objects.
    mirror: Option<Box<Mirror>>,
    /// Something has changed since the last plan.
    due: bool,
    /// That of the registry at the last plan.
    revision: u64,
    /// Rows of the last list that are no entries.
    unreadable: usize,
}

impl<'a> Leader<'a> {
    fn new(registrar: &'a mut Registrar, token: LeadershipToken) -> Self {
        let RegistrarSettings { owner, resync, requests_per_minute, .. } = &registrar.settings;
        let rounds = Rounds::new(owner.clone(), token.term(), *resync, *requests_per_minute, clock::monotonic());
        let sources = Sources::new(registrar.client.clone(), *resync);
        let finalizers = Finalizers::new(registrar.client.clone());
        let mirroring = registrar.settings.mirror_namespace.as_ref().map(|namespace| {
            let mirror = Mirror::new(registrar.client.clone(), namespace, registrar.metrics.mirror.clone());
            Mirroring { mirror: Some(Box::new(mirror)), due: true, revision: 0, unreadable: 0 }
        });
        Self {
            registrar,
            token,
            rounds,
            connection: None,
            sources,
            finalizers,
            unfinished: Vec::new(),
            living: (0, Arc::default()),
            running: FuturesUnordered::new(),
            failing: None,
            mirroring,
        }
    }

    async fn run(mut self) {
        let mut changed = true;
        loop {
            if changed {
                self.take_objects().await;
            }
            self.begin_mirroring();
            let wait = self.begin_requests();
            self.change_finalizers();
            self.report();
            let wait = wait.map(tokio::time::sleep);
            let refresh = self.sources.due().map(|due| tokio::time::sleep(due.since(clock::monotonic())));
            let Registrar { leadership, registry, fleet, .. } = &mut *self.registrar;
            changed = tokio::select! {
                change = leadership.changed() => match leadership.borrow_and_update().clone() {
                    Leadership::Leading(token) if change.is_ok() && token.is_same_leadership(&self.token) => {
                        self.rounds.raise_term(token.term());
                        self.token = token;
                        false
                    }
                    _ => return,
                },
                Ok(()) = registry.changed() => {
                    // A burst of status writes is one change.
                    tokio::time::sleep(SETTLE).await;
                    true
                }
                Ok(()) = fleet.changed() => false,
                Some(done) = self.running.next() => { self.take_in(done); false }
                Some(()) = OptionFuture::from(refresh) => true,
                Some(()) = OptionFuture::from(wait) => false,
            };
        }
    }

    /// Takes the objects as they are now, with the Secrets that they refer to.
    async fn take_objects(&mut self) {
        let Some(snapshot) = self.registrar.registry.borrow_and_update().clone() else { return };
        let limits = &self.registrar.settings.limits;
        self.sources.read(referenced_sources(&snapshot, limits), clock::monotonic()).await;
        let objects = registry_objects(&snapshot, limits, &|namespace, source| self.sources.found(namespace, source));
        if self.living.0 != snapshot.revision() {
            self.living = (snapshot.revision(), Arc::new(living(&snapshot)));
        }
        self.rounds.set_objects(objects, Arc::clone(&self.living.1));
        let records = snapshot.gateways().iter().map(|gateway| &gateway.record);
        let unfinished = records.filter(|record| finalizer_change(record, limits, true).is_some());
        self.unfinished = unfinished.cloned().collect();
    }

    fn suspended(&self) -> bool {
        self.registrar.fleet.borrow().suspend() != Some(false)
    }

    /// Plans the mirrored objects again if something has changed, and begins to change them.
    fn begin_mirroring(&mut self) {
        let suspended = self.suspended();
        let Some(mirroring) = &mut self.mirroring else { return };
        mirroring.due |= std::mem::replace(&mut mirroring.revision, self.living.0) != self.living.0;
        if !mirroring.due || suspended {
            return;
        }
        let Some(snapshot) = self.registrar.registry.borrow().clone() else { return };
        let Some(mut mirror) = mirroring.mirror.take() else { return };
        mirroring.due = false;
        let unreadable = mirroring.unreadable;
        let objects = MirrorObjects::of(&snapshot, mirror.namespace(), &self.registrar.settings.limits);
        let observed = self.rounds.observed();
        let (mut plan, listed) = (plan(self.rounds.context(), observed, &objects), observed.is_some());
        self.rounds.set_asks(std::mem::take(&mut plan.asks));
        let (token, changes) = (self.token.clone(), std::mem::take(&mut plan.changes));
        let mirrored = objects.mirrored.len();
        self.running.push(
            async move {
                let report = mirror.apply(&token, changes).await;
                let status = listed.then(|| mirror.status(&plan, mirrored, unreadable));
                Done::Mirrored { mirror, status, report }
            }
            .boxed(),
        );
    }

    /// Begins what is due; how long to wait if nothing else happens.
    fn begin_requests(&mut self) -> Option<Duration> {
        if self.suspended() {
            return None;
        }
        loop {
            let now = clock::monotonic();
            let time = self.registrar.reference.at(now).unwrap_or_else(clock::now);
            // Only the leader begins requests.
            self.token.remaining(now)?;
            match self.rounds.next(now, time) {
                Next::Send(request) => self.send(request),
                Next::Wait(until) => return Some(until.since(now)),
                Next::WaitForAnswer => return None,
            }
        }
    }

    fn send(&mut self, request: Request) {
        let metrics = self.registrar.metrics.clone();
        let call = match request {
            Request::List => {
                let access = self.registrar.settings.access.clone();
                async move { Done::Listed(requests::list(&access, &metrics).await) }.boxed()
            }
            Request::Ask(id) => {
                let Some(contextforge) = self.connection.clone() else { return };
                async move {
                    let answer = requests::ask(&contextforge, &id, &metrics).await;
                    Done::Asked(id, answer.map(Box::new))
                }
                .boxed()
            }
            Request::Call { uid, call, gateway, creator } => {
                let Some(contextforge) = self.connection.clone() else { return };
                async move {
                    let answer = requests::call(&contextforge, &call, gateway.as_deref(), &creator, &metrics).await;
                    Done::Answered { uid, call, answer }
                }
                .boxed()
            }
        };
        self.running.push(call);
    }

    fn take_in(&mut self, done: Done) {
        let now = clock::monotonic();
        match done {
            Done::Listed(result) => {
                let time: UnixTime = self.registrar.reference.at(now).unwrap_or_else(clock::now);
                self.log(result.as_ref().err());
                let entries = result.map(|(contextforge, list)| {
                    self.rounds.set_user(contextforge.user.clone());
                    self.registrar.metrics.listed(&list);
                    if let Some(mirroring) = &mut self.mirroring {
                        (mirroring.due, mirroring.unreadable) = (true, list.unreadable);
                    }
                    self.connection = Some(contextforge);
                    list.entries
                });
                self.rounds.listed(entries, now, time);
            }
            Done::Answered { uid, call, answer } => self.rounds.answered(&uid, &call, answer, now),
            Done::Asked(id, answer) => {
                let news = self.rounds.asked(&id, answer.map(|entry| *entry), now);
                self.mirroring.iter_mut().for_each(|mirroring| mirroring.due |= news);
            }
            Done::Mirrored { mirror, status, report } => {
                if status.is_some() {
                    self.registrar
                        .mirrored
                        .send_if_modified(|shown| std::mem::replace(shown, status.clone()) != status);
                }
                if let Some(mirroring) = &mut self.mirroring {
                    mirroring.mirror = Some(mirror);
                    // What failed is planned again with the next list.
                    mirroring.due |= report.done > 0 && report.left > 0;
                }
            }
            Done::FinalizerChanged => self.finalizers.ended(),
            Done::EventWritten => {}
        }
    }

    fn log(&mut self, error: Option<&CallError>) {
        match (&self.failing, error) {
            (None, Some(error)) => warn!(%error, "cannot list the gateways of ContextForge; will retry"),
            (Some(before), Some(error)) if before != error => {
                warn!(%error, "cannot list the gateways of ContextForge; will retry");
            }
            (Some(_), None) => info!("listing the gateways of ContextForge recovered"),
            _ => {}
        }
        self.failing = error.cloned();
    }

    fn change_finalizers(&mut self) {
        let gone: BTreeSet<&ObjectName> = self.rounds.gone().collect();
        for record in &self.unfinished {
            let change = finalizer_change(record, &self.registrar.settings.limits, gone.contains(&record.name));
            let call = change.and_then(|change| self.finalizers.change(record, change, &self.token));
            self.running.extend(call.map(|call| call.map(|()| Done::FinalizerChanged).boxed()));
        }
    }

    fn report(&mut self) {
        if let Some(outcomes) = self.rounds.take_outcomes() {
            self.registrar.metrics.outcomes(&outcomes);
            self.registrar.outcomes.send_replace(Arc::new(outcomes));
        }
        for drift in self.rounds.take_drifts() {
            self.registrar.metrics.drift();
            let recorder = Arc::clone(&self.registrar.recorder);
            let event = async move { drift_events::record(&recorder, &drift).await };
            self.running.push(event.map(|()| Done::EventWritten).boxed());
        }
    }
}
