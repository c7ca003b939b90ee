//! Leader election with a Kubernetes Lease: one task acquires, renews and releases it, and publishes who leads. IO (the
//! API server).
//!
//! Input: [`ElectorDependencies`]. Output: [`Leadership`] on a `watch` channel. A leader's [`LeadershipToken`] is the
//! proof that calls which write require. This module writes to nothing but the Lease (docs/contract.md#leadership).
//!
//! The decisions are pure ([`decision`], [`terms`], [`record`]). This module reads the monotonic clock and passes the
//! time down. The wall clock only fills the times in the Lease, which are for display.

mod acquire;
mod client;
pub mod decision;
mod metrics;
pub(crate) mod record;
mod release;
pub mod terms;
mod token;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::acquire::Attempt;
use self::client::{LeaseChange, LeaseClient, LeaseError, LeaseWatch, REQUEST_TIMEOUT};
pub use self::decision::LeaseTiming;
use self::decision::{AcquireReason, Action, ObservedLease, ReplicaState};
pub use self::metrics::Metrics;
use self::terms::SeenTerms;
pub use self::token::{LeadershipToken, WritePermit};
use crate::clock;
use crate::model::{FleetEvent, Monotonic, Problem, Term};
use crate::registry::RegistrySnapshot;

/// A failure that has not occurred for this long is logged again.
const LOG_NEW_AFTER: Duration = Duration::from_secs(30);
/// A failure that keeps occurring is logged again after this time.
const LOG_STANDING_EVERY: Duration = Duration::from_mins(10);

/// The settings of the election, checked when the command line is read.
#[derive(Clone, Debug)]
pub struct ElectionSettings {
    /// `holderIdentity`: `<pod>_<random per start>`. Must differ from that of every other process, including earlier
    /// processes of the same pod.
    pub identity: Arc<str>,
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// The timing.
    pub timing: LeaseTiming,
}

/// Who leads, as far as this process knows.
#[derive(Clone, Debug)]
pub enum Leadership {
    /// Another process, or none.
    Standby {
        /// The holder of the Lease, if it has been read and has one.
        leader: Option<Arc<str>>,
    },
    /// This process, until the token expires or ends; that may already have happened when this is read.
    Leading(LeadershipToken),
}

/// A store refused a write because of its term: Redis with `Fenced`, or the API server with 422 by the rule on
/// `status.term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRefusal {
    /// The refused term. Nothing happens if it is not the present one.
    pub of: Term,
    /// The stored term, if it is known.
    pub by: Option<Term>,
}

/// Reads the term stored in Redis; `None` if Redis is unreachable or not configured. Abandoned after 300 ms.
pub type ReadRedisTerm = Box<dyn Fn() -> BoxFuture<'static, Option<Term>> + Send + Sync>;

/// What the elector depends on.
pub struct ElectorDependencies {
    /// A client that does not retry on its own (`kube::Config::default_retry` off): validity is counted from when the
    /// request was sent, which a hidden retry would postpone.
    pub client: Client,
    /// Read before each acquisition.
    pub redis_term: ReadRedisTerm,
    /// The registry, for the terms in its statuses; `None` until it has been read.
    pub registry: watch::Receiver<Option<Arc<RegistrySnapshot>>>,
    /// Refused terms, on a small bounded channel. A writer that finds it full may drop its refusal: one is enough.
    pub refusals: mpsc::Receiver<TermRefusal>,
    /// Why this process cannot write the fleet object while it leads, if so: the Lease says it instead.
    pub fleet_problem: watch::Receiver<Option<Problem>>,
    /// Receives the Events to publish. An Event that finds the channel full is dropped.
    pub events: mpsc::Sender<FleetEvent>,
    /// When cancelled, the task releases the Lease and ends.
    pub stop: CancellationToken,
}

/// The election task.
pub struct LeaderElector {
    settings: ElectionSettings,
    client: LeaseClient,
    deps: ElectorDependencies,
    published: watch::Sender<Leadership>,
    metrics: Metrics,
    watch: LeaseWatch,
    observed: Option<ObservedLease>,
    seen_terms: SeenTerms,
    /// While this process leads.
    token: Option<LeadershipToken>,
    /// A write with unknown outcome.
    pending: Option<Attempt>,
    next_call: Monotonic,
    acquire_not_before: Monotonic,
    /// A store refuses the present term.
    term_refused: bool,
    raise_not_before: Monotonic,
    /// When each failure last occurred, and when it was last logged.
    failures: HashMap<(Operation, &'static str), (Monotonic, Monotonic)>,
}

/// What a request is made for; appears in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Acquire,
    Raise,
    Read,
    Release,
    Renew,
    Watch,
}

impl LeaderElector {
    /// Creates the task and the channel on which it publishes. Nothing happens before [`Self::run`].
    pub fn new(
        settings: ElectionSettings,
        deps: ElectorDependencies,
        metrics: Metrics,
    ) -> (Self, watch::Receiver<Leadership>) {
        let (published, leadership) = watch::channel(Leadership::Standby { leader: None });
        let now = clock::monotonic();
        let elector = Self {
            client: LeaseClient::new(&settings, &deps, metrics.clone()),
            watch: LeaseWatch::new(settings.timing.retry_period),
            settings,
            deps,
            published,
            metrics,
            observed: None,
            seen_terms: SeenTerms::default(),
            token: None,
            pending: None,
            next_call: now,
            acquire_not_before: now,
            term_refused: false,
            raise_not_before: now,
            failures: HashMap::new(),
        };
        (elector, leadership)
    }

    /// Runs until the process stops. Then the token ends, writes in flight get half a second to finish, and the Lease
    /// is released.
    pub async fn run(mut self) {
        while !self.deps.stop.is_cancelled() {
            let now = clock::monotonic();
            match self.next_action(now) {
                Action::Wait { until } => self.wait(until, now).await,
                Action::Read => self.read().await,
                Action::Acquire(AcquireReason::TermRefused) => self.raise_term().await,
                Action::Acquire(reason) => self.acquire(reason).await,
                Action::Renew => self.renew().await,
                Action::StepDown(reason) => self.step_down(reason).await,
            }
        }
        self.shut_down().await;
    }

    fn next_action(&self, now: Monotonic) -> Action {
        let replica = ReplicaState {
            identity: &self.settings.identity,
            leads_until: self.token.as_ref().map(LeadershipToken::valid_until),
            raise_at: self.term_refused.then_some(self.raise_not_before),
            pending: self.pending.is_some(),
            next_call: self.next_call,
            acquire_not_before: self.acquire_not_before,
        };
        decision::next_action(self.observed.as_ref(), &replica, now, &self.settings.timing)
    }

    async fn wait(&mut self, until: Monotonic, now: Monotonic) {
        // Only a Lease with another holder needs a watch: any other is being acquired.
        if self.token.is_none()
            && self.pending.is_none()
            && let Some(lease) = self.lease()
            && record::holder(lease).is_some()
            && let Some(version) = lease.metadata.resource_version.clone()
        {
            self.watch.ensure_open(&self.client, &version, now);
        }
        tokio::select! {
            biased;
            () = self.deps.stop.cancelled() => {}
            Some(refusal) = self.deps.refusals.recv() => self.handle_refusal(refusal),
            change = self.watch.next() => self.handle_watched(change),
            () = tokio::time::sleep(until.since(now)) => {}
        }
    }

    fn handle_watched(&mut self, change: Option<LeaseChange>) {
        match change {
            Some(Ok(lease)) => {
                self.observe(lease);
            }
            Some(Err(error)) => {
                self.metrics.requested("watch", Some(&error));
                self.log_failure(Operation::Watch, &error);
            }
            None => self.metrics.requested("watch", None),
        }
    }

    /// Remembers the stored term. The term is raised only if the present one was refused.
    fn handle_refusal(&mut self, refusal: TermRefusal) {
        self.seen_terms.observe_refusal(refusal.by);
        self.term_refused |= self.token.as_ref().is_some_and(|token| token.term() == refusal.of);
    }

    /// A standby's read: the first one, the regular ones, and the one after a lost response.
    async fn read(&mut self) {
        let sent = clock::monotonic();
        match self.get(REQUEST_TIMEOUT).await {
            // The watch did not report this change, so its connection may be dead.
            Ok(true) => self.watch.close(),
            Ok(false) => {}
            Err(error) => {
                self.next_call = sent.after(jittered(self.settings.timing.retry_period));
                self.log_failure(Operation::Read, &error);
            }
        }
    }

    /// Takes note of the present Lease, however it was read. Returns whether it has changed.
    fn observe(&mut self, lease: Option<Lease>) -> bool {
        let now = clock::monotonic();
        let changed = match &mut self.observed {
            Some(observed) => observed.update(lease, now),
            none => {
                *none = Some(ObservedLease::new(lease, now));
                true
            }
        };
        self.seen_terms.observe_lease(self.observed.as_ref().and_then(ObservedLease::term));
        if self.token.is_none() {
            self.next_call = now.after(jittered(self.settings.timing.retry_period));
            self.publish_standby();
        }
        changed
    }

    fn lease(&self) -> Option<&Lease> {
        self.observed.as_ref().and_then(ObservedLease::lease)
    }

    fn publish_standby(&self) {
        let holder = self.observed.as_ref().and_then(ObservedLease::holder);
        let holder = holder.filter(|holder| *holder != &*self.settings.identity);
        let changed = self.published.send_if_modified(|leadership| {
            if matches!(leadership, Leadership::Standby { leader } if leader.as_deref() == holder) {
                return false;
            }
            *leadership = Leadership::Standby { leader: holder.map(Arc::from) };
            true
        });
        if changed && let Some(leader) = holder {
            info!(leader, "another replica leads");
        }
    }

    /// Publishes an Event, unless the channel is full: the log has the same information.
    fn publish_event(&self, event: FleetEvent) {
        let _ = self.deps.events.try_send(event);
    }

    fn log_failure(&mut self, operation: Operation, error: &LeaseError) {
        if matches!(error, LeaseError::Stopped) {
            return;
        }
        let (now, reason) = (clock::monotonic(), error.reason());
        let recent = self.failures.get(&(operation, reason)).filter(|(occurred, logged)| {
            now.since(*occurred) < LOG_NEW_AFTER && now.since(*logged) < LOG_STANDING_EVERY
        });
        let (repeated, logged) = (recent.is_some(), recent.map_or(now, |(_, logged)| *logged));
        self.failures.insert((operation, reason), (now, logged));
        match (operation, error) {
            _ if repeated => debug!(?operation, reason, %error, "Lease request failed again"),
            (Operation::Acquire, LeaseError::Conflict) => info!("another replica acquired the Lease first"),
            (Operation::Release, _) => warn!(reason, %error, "the Lease was not released, and will expire"),
            _ => warn!(?operation, reason, %error, "Lease request failed; will retry"),
        }
    }
}

/// The period plus up to 20 %, so that standbys do not send their requests at the same time.
fn jittered(period: Duration) -> Duration {
    period.mul_f64(1.0 + 0.2 * fastrand::f64())
}
