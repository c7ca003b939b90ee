//! The keeper of the Redis lock: while this process leads, nobody else classifies. IO.
//!
//! In: the token, and what the loop wants kept alive. Out: the [`LockState`], and a notification when Redis does not
//! hold what it should. A ContextForge worker that finds the lock free takes it and deletes the publication, so the
//! lock must be held without a gap; hence a task, a connection and a period of its own. See
//! `docs/contract.md#the-redis-lock`.
//!
//! It must not: publish or withdraw (that is the loop's, which is notified), or take the lock from another program
//! (that needs a publication; the keeper decides when it may be done, see [`super::foreign_holder`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::foreign_holder::ForeignHolderHistory;
use super::publication::Publication;
use super::script::StoredKeys;
use super::store::Store;
use super::{NotWritten, locked};
use crate::clock;
use crate::leadership::LeadershipToken;
use crate::model::{Monotonic, TakeoverDecision, Term};

/// What to keep alive besides the lock. Set by the loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Retention {
    /// Nothing: there is no publication, or it was given up.
    LockOnly,
    /// The publication, as long as this process leads.
    All,
    /// The publication, but never beyond this moment: it is only kept alive because there is no newer one.
    Until(Monotonic),
    /// Nothing, and nothing may be published: the fleet is suspended. A renewal that finds any of its keys (a
    /// publication that was delayed in the network, or was restored) notifies [`LockReports::differs`].
    Withdrawn,
}

impl Retention {
    /// The new expiry of the publication at a renewal; `None` leaves it to expire. `full` is that of a new publication.
    pub fn expiry(self, now: Monotonic, full: Duration) -> Option<Duration> {
        match self {
            Self::LockOnly | Self::Withdrawn => None,
            Self::All => Some(full),
            // An expiry of zero would delete it at once; it expires by itself.
            Self::Until(end) => Some(end.since(now).min(full)).filter(|left| !left.is_zero()),
        }
    }
}

/// What is known about the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// This process does not lead.
    Off,
    /// It has just begun to lead.
    Unknown,
    /// The lock is ours.
    Held,
    /// Redis refuses our term. Leadership has to check its Lease (`docs/contract.md#terms`).
    Fenced {
        /// Our term, the one that was refused.
        ours: Term,
        /// The term that refused it.
        by: Term,
    },
    /// Another program holds the lock, or its key is of a wrong type.
    Foreign {
        /// The value of the lock, cleaned for display.
        holder: String,
        /// What is done about it.
        takeover: TakeoverDecision,
    },
    /// Another release of this operator holds it: two releases publish under one prefix.
    OtherRelease {
        /// Its owner id, cleaned for display.
        holder: String,
    },
    /// This process has yielded to another operator with the same owner id, until it is restarted.
    Yielded {
        /// That owner id.
        owner: String,
    },
    /// Redis did not answer as it should.
    Unreachable {
        /// An [`Error`](super::Error) as a string, or `TooLate`.
        reason: &'static str,
        /// What it means.
        message: String,
    },
}

/// Where the keeper reports to.
#[derive(Debug)]
pub struct LockReports {
    /// The latest state.
    pub state: watch::Sender<LockState>,
    /// Notified when Redis does not hold what it should: publish in full, or withdraw again, at once.
    pub differs: Arc<Notify>,
}

/// When the lock is checked again after it was taken from a foreign holder, whose purge may still arrive, or after a
/// withdrawal, when a publication sent before it may. A call does nothing once a second has passed since it was sent.
const CHECKS_SOON: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Keeps the lock while there is a token: renews at once when one begins, then once in a renewal period. Ends when
/// the sender of the token is dropped.
///
/// Failures do not make it faster: the next period is the retry.
pub async fn keep(
    store: Arc<Store>,
    mut tokens: watch::Receiver<Option<LeadershipToken>>,
    retention: watch::Receiver<Retention>,
    reports: LockReports,
) {
    let mut term = None;
    let mut soon: Vec<Monotonic> = Vec::new();
    loop {
        let token = tokens.borrow_and_update().clone();
        let Some(token) = token else {
            term = None;
            reports.enter(LockState::Off);
            store.metrics.forget();
            match tokens.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        let before = term.replace(token.term());
        if before != Some(token.term()) {
            reports.enter(LockState::Unknown);
        }
        if before.is_none() {
            locked(&store.foreign).begin();
        }
        let retained = *retention.borrow();
        let state = check(&store, &token, retained, &reports.differs).await;
        store.metrics.lock_held.set(Some(i64::from(state == LockState::Held)));
        reports.enter(state);

        let checked = clock::monotonic();
        soon.retain(|at| *at > checked);
        let period = store.expiries.renewal_period;
        let pause = soon.iter().map(|at| at.since(checked)).min().map_or(period, |pause| pause.min(period));
        tokio::select! {
            changed = tokens.changed() => if changed.is_err() {
                reports.enter(LockState::Off);
                return;
            },
            () = store.check_soon.notified() => soon = CHECKS_SOON.map(|wait| clock::monotonic().after(wait)).into(),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn check(store: &Store, token: &LeadershipToken, retained: Retention, differs: &Notify) -> LockState {
    let expiry = retained.expiry(clock::monotonic(), store.expiries.publication);
    let before = store.base();
    let renewed = store.renew(token, expiry).await;
    let found = match renewed {
        Ok(found) => found,
        Err(refusal) => return LockState::without_lock(refusal, token.term(), &mut locked(&store.foreign)),
    };
    locked(&store.foreign).ours();
    let after = store.base();
    match retained {
        // With a base, a publication was sent since: the fleet has just been resumed.
        Retention::Withdrawn if found.any && before.is_none() && after.is_none() => {
            tracing::warn!(term = %token.term(), "redis: a withdrawn publication is stored again");
            differs.notify_one();
        }
        Retention::LockOnly | Retention::Withdrawn => {}
        Retention::All | Retention::Until(_) => {
            if let Some(base) = different_from(before, after, &found) {
                tracing::warn!(term = %token.term(), "redis: what is stored is not what was published");
                store.forget_base_if(&base);
                differs.notify_one();
            }
        }
    }
    LockState::Held
}

/// The publication that Redis does not hold, though it should. `None` if another one was sent meanwhile: the renewal
/// may have seen the state before it.
fn different_from(
    before: Option<Arc<Publication>>,
    after: Option<Arc<Publication>>,
    found: &StoredKeys,
) -> Option<Arc<Publication>> {
    let (before, after) = (before?, after?);
    (Arc::ptr_eq(&before, &after) && !found.are(&after)).then_some(after)
}

impl LockReports {
    /// Publishes a state, and logs it if it is new. The states change at most once a renewal period, so this is at
    /// most one line a second.
    fn enter(&self, state: LockState) {
        self.state.send_if_modified(|old| {
            let entered = *old != state;
            if entered {
                state.log();
                *old = state;
            }
            entered
        });
    }
}

impl LockState {
    fn without_lock(refusal: NotWritten, ours: Term, foreign: &mut ForeignHolderHistory) -> Self {
        if !matches!(refusal, NotWritten::Foreign(_)) {
            foreign.unseen();
        }
        match refusal {
            NotWritten::Fenced { by } => Self::Fenced { ours, by },
            NotWritten::OtherRelease(holder) => Self::OtherRelease { holder },
            NotWritten::Yielded(owner) => Self::Yielded { owner: owner.to_string() },
            NotWritten::Foreign(holder) => {
                let takeover = foreign.foreign(&holder, clock::monotonic());
                Self::Foreign { holder: holder.to_string(), takeover }
            }
            NotWritten::TooLate => {
                Self::Unreachable { reason: "TooLate", message: "a call reached Redis too late".to_owned() }
            }
            NotWritten::LeadershipOver => Self::Off,
            NotWritten::Failed(error) => Self::Unreachable { message: error.to_string(), reason: error.into() },
        }
    }

    fn log(&self) {
        match self {
            Self::Off => tracing::info!("redis lock: not renewed any more, this replica does not lead"),
            Self::Unknown => tracing::debug!("redis lock: requested"),
            Self::Held => tracing::info!("redis lock: held"),
            Self::Fenced { ours, by } => {
                tracing::warn!(%ours, %by, "redis lock: our term is refused, checking the Lease");
            }
            Self::Foreign { holder, takeover } => {
                tracing::warn!(
                    holder,
                    ?takeover,
                    "redis lock: held by another program, nothing is published meanwhile"
                );
            }
            Self::OtherRelease { holder } => {
                tracing::error!(
                    holder,
                    "redis lock: held by another release of this operator, use another Redis or key prefix for one of \
                     them"
                );
            }
            Self::Yielded { owner } => {
                tracing::error!(
                    owner,
                    "redis lock: displaced twice by its own owner id while its Lease stood, so another operator uses \
                     the same id, as after a cluster was cloned; yielding until this process is restarted; give one \
                     of the two another --redis-owner-id and --redis-key-prefix"
                );
            }
            Self::Unreachable { reason, message } => {
                tracing::warn!(
                    reason,
                    error = message,
                    "redis lock: Redis fails, will retry; statuses are written without it"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Params, PerServer, classify};
    use crate::model::UnixTime;

    fn at(seconds: f64) -> Monotonic {
        Monotonic::at(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn a_publication_that_is_kept_alive_expires_at_its_time() {
        let full = Duration::from_secs(120);
        assert_eq!(Retention::All.expiry(at(0.0), full), Some(full));
        assert_eq!(Retention::LockOnly.expiry(at(0.0), full), None);
        assert_eq!(Retention::Withdrawn.expiry(at(0.0), full), None);
        let until = Retention::Until(at(180.0));
        assert_eq!(until.expiry(at(10.0), full), Some(full));
        assert_eq!(until.expiry(at(150.0), full), Some(Duration::from_secs(30)));
        assert_eq!(until.expiry(at(180.0), full), None);
        assert_eq!(until.expiry(at(500.0), full), None);
    }

    #[test]
    fn a_difference_is_reported_unless_another_publication_was_sent() {
        let classified = classify(&PerServer::default(), UnixTime::from_seconds(7.0).unwrap(), &Params::default());
        let publication = || Some(Arc::new(Publication::new(&classified, &Arc::default()).unwrap()));
        let (ours, other) = (publication(), publication());
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let metadata = ours.as_ref().and_then(|ours| text(&ours.metadata));
        let (hot, cold, planned) = (Some(0), Some(0), Some(0));
        let as_published = StoredKeys { metadata, timestamp: text("7"), hot, cold, planned, any: true };
        let purged = StoredKeys { metadata: None, timestamp: None, any: false, ..as_published.clone() };
        let with_plan = StoredKeys { planned: Some(1), ..as_published.clone() };
        assert!(different_from(ours.clone(), ours.clone(), &with_plan).is_some(), "a plan that was not published");
        assert!(different_from(ours.clone(), ours.clone(), &purged).is_some());
        assert!(different_from(ours.clone(), ours.clone(), &as_published).is_none());
        assert!(different_from(ours.clone(), other, &purged).is_none());
        assert!(different_from(None, ours.clone(), &purged).is_none());
        assert!(different_from(ours, None, &purged).is_none());
    }
}
