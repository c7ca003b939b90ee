//! Decides who leads: a task that holds, follows or takes the Kubernetes Lease, and publishes the outcome. IO.
//!
//! In: the settings, a client, the term in Redis, the registry's statuses, refusals by the stores, and a token that
//! says stop. Out: [`Leadership`] on a `watch` channel; a leader's [`LeadershipToken`] is what the writing calls ask for. It
//! must not write to anything but the Lease, and must not judge another's Lease by the times in it (SPEC section 5).
//!
//! The decisions are pure ([`lease`], [`terms`], [`record`]). Time is read here and handed down, from the clock that
//! nobody sets; the wall clock only makes the times in the Lease, which are for people.

mod acquire;
mod calls;
pub mod lease;
pub mod lease_view;
mod metrics;
pub mod record;
mod step_down;
pub mod terms;
mod token;
mod watching;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use self::calls::{CALL_LIMIT, CallError, Calls};
use self::lease::{Move, Observed, Own, Timing};
pub use self::metrics::Metrics;
use self::terms::SeenTerms;
pub use self::token::{LeadershipToken, WritePermit};
use self::watching::{Heard, LeaseWatch};
use crate::clock;
use crate::model::{FleetEvent, Monotonic, Term, UnixTime};
use crate::registry::RegistrySnapshot;

/// A cause that has not been met for so long is news again.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// A cause that stands for so long is told again.
const REPEATED: Duration = Duration::from_mins(10);

/// What to elect with; checked where the command line is read.
#[derive(Clone, Debug)]
pub struct ElectionSettings {
    /// `holderIdentity`: `<pod>_<random per start>`. Must differ from that of every other process, also of the same
    /// pod before a restart.
    pub identity: Arc<str>,
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub name: String,
    /// How long another's Lease must be seen unchanged before it is taken; 15 s.
    pub lease_duration: Duration,
    /// How long after the sending of its last good renewal a leader believes; 10 s. Less than the lease duration.
    pub renew_deadline: Duration,
    /// Between two renewals, and between two looks of a standby; 2 s. Less than the renew deadline.
    pub retry_period: Duration,
}

/// Who leads, as far as this process knows.
#[derive(Clone, Debug)]
pub enum Leadership {
    /// Not this process.
    Standby {
        /// The holder of the Lease, if there is one and it was read.
        leader: Option<Arc<str>>,
    },
    /// This process, until the token ends; it may have ended already when this is read.
    Leading(LeadershipToken),
}

/// A store refused a write because of its term: `Fenced` by Redis, or 422 by the term rule of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRefusal {
    /// The term that was refused. A refusal of an earlier term than the present one brings no change.
    pub of: Term,
    /// The term that stands there, if it is known.
    pub by: Option<Term>,
}

/// What the task works with.
pub struct Inputs<R> {
    /// A client that does not retry by itself (`kube::Config::default_retry` off): a call that is sent again behind
    /// our back is counted from the wrong moment.
    pub client: Client,
    /// Reads the term in Redis, for an acquisition; given up after 300 ms. `None`: unreachable, or no Redis.
    pub redis_term: R,
    /// The registry, for the terms in its statuses; `None` until it was read.
    pub registry: watch::Receiver<Option<Arc<RegistrySnapshot>>>,
    /// Refusals; a small bounded channel. A writer that finds it full drops its own: one is as good as many.
    pub refusals: mpsc::Receiver<TermRefusal>,
    /// What people should see of it; a short bounded channel. A notice that finds it full is dropped.
    pub notices: mpsc::Sender<FleetEvent>,
    /// Says stop: the Lease is then released, and the task ends.
    pub stop: CancellationToken,
}

/// The task, before it runs.
pub struct Elector<R> {
    settings: ElectionSettings,
    timing: Timing,
    calls: Calls,
    redis_term: R,
    registry: watch::Receiver<Option<Arc<RegistrySnapshot>>>,
    refusals: mpsc::Receiver<TermRefusal>,
    notices: mpsc::Sender<FleetEvent>,
    stop: CancellationToken,
    published: watch::Sender<Leadership>,
    metrics: Metrics,
    watch: LeaseWatch,
    observed: Option<Observed>,
    known: SeenTerms,
    held: Option<Held>,
    /// An acquisition or a raise whose outcome is not known yet.
    unsettled: Option<Attempt>,
    /// The last renewal, if its outcome is not known yet.
    unanswered: Option<Renewal>,
    next: Monotonic,
    not_before: Monotonic,
    /// Whether the present term was refused and is to be raised.
    refused: bool,
    raise_not_before: Monotonic,
    logged: HashMap<(&'static str, &'static str), Logged>,
}

/// The leadership that this process believes in.
struct Held {
    token: LeadershipToken,
    until: Monotonic,
}

/// When a cause of failed calls was met last, and when it was told last.
#[derive(Clone, Copy)]
struct Logged {
    met: Monotonic,
    told: Monotonic,
}

/// A term that was sent to the Lease, and when.
#[derive(Clone, Copy)]
struct Attempt {
    term: Term,
    sent: Monotonic,
    /// Since when this process leads, if the attempt succeeds; a raise keeps it.
    since: UnixTime,
    at: UnixTime,
    why: &'static str,
}

/// A renewal that was sent: when, and the time that it wrote, by which it is known again.
#[derive(Clone, Copy)]
struct Renewal {
    sent: Monotonic,
    at: UnixTime,
}

impl<R, F> Elector<R>
where
    R: Fn() -> F + Send,
    F: Future<Output = Option<Term>> + Send,
{
    /// Makes the task and the channel on which it publishes. Nothing happens before [`Self::run`].
    pub fn new(settings: ElectionSettings, inputs: Inputs<R>, metrics: Metrics) -> (Self, watch::Receiver<Leadership>) {
        let Inputs { client, redis_term, registry, refusals, notices, stop } = inputs;
        let (published, leadership) = watch::channel(Leadership::Standby { leader: None });
        let ElectionSettings { ref namespace, ref name, lease_duration, renew_deadline, retry_period, .. } = settings;
        let calls = Calls::new(client.clone(), namespace, name, stop.clone(), metrics.clone());
        let watch = LeaseWatch::new(client, namespace, name, retry_period, metrics.clone());
        let now = clock::monotonic();
        let elector = Self {
            timing: Timing { lease_duration, renew_deadline, retry_period },
            settings,
            calls,
            redis_term,
            registry,
            refusals,
            notices,
            stop,
            published,
            metrics,
            watch,
            observed: None,
            known: SeenTerms::default(),
            held: None,
            unsettled: None,
            unanswered: None,
            next: now,
            not_before: now,
            refused: false,
            raise_not_before: now,
            logged: HashMap::new(),
        };
        (elector, leadership)
    }

    /// Runs until the token says stop; then belief ends first, writes in flight get half a second, the Lease is
    /// released, and this returns. Nothing else ends it.
    pub async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let now = clock::monotonic();
            match self.decide(now) {
                Move::Wait { .. } if self.raise_is_due(now) => self.raise().await,
                Move::Wait { until } => self.wait(until, now).await,
                Move::Read => self.read().await,
                Move::Acquire(claim) => self.acquire(claim.reason()).await,
                Move::Renew => self.renew().await,
                Move::StepDown(lost) => self.step_down(lost).await,
            }
        }
        self.shut_down().await;
    }

    fn decide(&self, now: Monotonic) -> Move {
        let own = Own {
            identity: &self.settings.identity,
            belief: self.held.as_ref().map(|held| held.until),
            unsettled: self.unsettled.is_some(),
            next: self.next,
            not_before: self.not_before,
        };
        lease::evaluate(self.observed.as_ref(), &own, now, &self.timing)
    }

    fn raise_is_due(&self, now: Monotonic) -> bool {
        self.held.is_some() && self.refused && now >= self.raise_not_before
    }

    /// Waits for time, a refusal, the watch or the end, whichever is first. What to do then is decided anew.
    async fn wait(&mut self, until: Monotonic, now: Monotonic) {
        let leading = self.held.is_some();
        let until = if leading && self.refused { until.min(self.raise_not_before) } else { until };
        if !leading && self.unsettled.is_none() {
            self.open_watch(now);
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            Some(refusal) = self.refusals.recv() => self.note(refusal),
            heard = self.watch.next() => self.heard(heard),
            () = tokio::time::sleep(until.since(now)) => {}
        }
    }

    /// Only another's Lease is worth watching: any other is being taken.
    fn open_watch(&mut self, now: Monotonic) {
        let Some(observed) = &self.observed else { return };
        let version = observed.lease().and_then(|lease| lease.metadata.resource_version.as_deref());
        if let (Some(version), Some(_)) = (version, observed.holder()) {
            self.watch.ensure_open(version, now);
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Lease(lease) => _ = self.see(Some(*lease)),
            Heard::Deleted => _ = self.see(None),
            Heard::Nothing | Heard::Ended(None) => {}
            Heard::Ended(Some(error)) => self.warn("watch", &error),
        }
    }

    /// Remembers the refusing term for good; asks for a raise only if it is the present term that was refused.
    fn note(&mut self, refusal: TermRefusal) {
        self.known.refusing(refusal.by);
        if self.held.as_ref().is_some_and(|held| held.token.term() == refusal.of) {
            self.refused = true;
        }
    }

    /// Reads the Lease: a standby's first look, its regular one, and the one after a lost reply.
    async fn read(&mut self) {
        let sent = clock::monotonic();
        match self.calls.get(CALL_LIMIT).await {
            Ok(lease) => {
                if self.see(lease) && self.watch.is_open() {
                    // It did not tell of this change: it may hang on a dead connection.
                    self.watch.close();
                }
                self.settle();
            }
            Err(error) => {
                self.next = sent.after(jittered(self.timing.retry_period));
                self.warn("read", &error);
            }
        }
    }

    /// Takes in the Lease as it is now, whatever told of it. Says whether it is another one than before.
    fn see(&mut self, lease: Option<Lease>) -> bool {
        let now = clock::monotonic();
        let changed = match &mut self.observed {
            Some(observed) => observed.see(lease, now),
            none => {
                *none = Some(Observed::first(lease, now));
                true
            }
        };
        self.known.lease(self.observed.as_ref().and_then(Observed::term));
        if self.held.is_none() {
            self.next = now.after(jittered(self.timing.retry_period));
            self.publish_standby();
        }
        changed
    }

    /// Publishes who else leads, if that has changed.
    fn publish_standby(&self) {
        let holder = self.observed.as_ref().and_then(Observed::holder);
        let holder = holder.filter(|holder| *holder != &*self.settings.identity);
        let changed = self.published.send_if_modified(|leadership| {
            if matches!(leadership, Leadership::Standby { leader } if leader.as_deref() == holder) {
                return false;
            }
            *leadership = Leadership::Standby { leader: holder.map(Arc::from) };
            true
        });
        if changed && let Some(leader) = holder {
            info!(leader, "following another leader");
        }
    }

    fn tell(&self, notice: FleetEvent) {
        // The log has it in any case.
        let _ = self.notices.try_send(notice);
    }

    /// Logs a failed call: once for each cause, and again only after that has not been met for a while, or has stood for
    /// long.
    fn warn(&mut self, what: &'static str, error: &CallError) {
        if matches!(error, CallError::Stopped) {
            return;
        }
        let (now, reason) = (clock::monotonic(), error.reason());
        let last = self.logged.get(&(what, reason)).copied();
        let again = last.filter(|last| now.since(last.met) < FORGOTTEN && now.since(last.told) < REPEATED);
        let told = again.map_or(now, |last| last.told);
        self.logged.insert((what, reason), Logged { met: now, told });
        if again.is_some() {
            debug!(call = what, reason, %error, "a call about the Lease failed again");
        } else if what == "acquire" && matches!(error, CallError::Conflict) {
            info!("another candidate was faster");
        } else {
            warn!(call = what, reason, %error, "a call about the Lease failed; trying on");
        }
    }
}

/// A while and up to a fifth more, so that standbys do not ask in step.
fn jittered(period: Duration) -> Duration {
    let [random, ..] = Uuid::new_v4().into_bytes();
    period + period * u32::from(random) / 1280
}
