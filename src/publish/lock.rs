//! The keeper of the Redis lock: while this process leads, nobody else classifies. IO.
//!
//! In: the token, and what the loop wants kept alive. Out: the [`LockState`], and a signal when what is in Redis is
//! not what was published. A ContextForge worker that finds the lock free takes it and deletes the publication, so
//! the lock must be held without a gap; hence a task, a connection and a period of its own.
//!
//! It must not: publish (a difference is reported to the loop, which has the classification), or take the lock from
//! another program (that needs a publication in hand; it says when that may be done, see [`super::rivalry`]).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::foreign_holder::TakeoverDecision;
use super::keys::LockHolder;
use super::publication::Publication;
use super::script::Found;
use super::store::{Store, locked};
use super::{Expiry, RenewOutcome};
use crate::clock;
use crate::leadership::LeadershipToken;
use crate::model::{Monotonic, Term, UnixTime};

/// What is to be kept alive beside the lock. Set by the loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Retention {
    /// Nothing: there is no publication, or it was given up.
    LockOnly,
    /// The publication, as long as this process leads.
    All,
    /// The publication, but never beyond this time: it is only kept alive for lack of a newer one.
    Until(UnixTime),
    /// Nothing, and nothing may be published: the fleet is suspended. A renewal that finds any of the four keys (a
    /// publication that was delayed in the network, or was restored) notifies [`LockReports::differs`].
    Withdrawn,
}

impl Retention {
    /// What a renewal at `now` asks of Redis; `full` is the expiry of a fresh publication.
    #[must_use]
    pub fn expiry(self, now: UnixTime, full: Duration) -> Expiry {
        match self {
            Self::LockOnly | Self::Withdrawn => Expiry::LockOnly,
            Self::All => Expiry::All(full),
            Self::Until(end) => match end.since(now) {
                // An expiry of nothing would be a deletion here and now; it runs out by itself.
                Duration::ZERO => Expiry::LockOnly,
                left => Expiry::All(left.min(full)),
            },
        }
    }
}

/// What is known of the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// This process does not lead.
    Off,
    /// It has just begun to lead.
    Unknown,
    /// The lock is ours.
    Held,
    /// Redis refuses our term. Leadership has to look at its Lease (SPEC section 5).
    Fenced {
        /// Our term, the one that was refused.
        ours: Term,
        /// The term that refused it.
        by: Option<Term>,
    },
    /// Another program has the lock, or its key is of a wrong type.
    Foreign {
        /// What stands there, fit to be shown.
        holder: String,
        /// What is done about it.
        stance: TakeoverDecision,
    },
    /// Another release of this operator has it: two releases publish under one prefix.
    OtherRelease {
        /// Its owner id, fit to be shown.
        holder: String,
    },
    /// Redis did not answer as it should.
    Unreachable {
        /// [`super::Error::reason`], or `TooLate`.
        reason: &'static str,
    },
}

/// Where the keeper reports to.
#[derive(Debug)]
pub struct LockReports {
    /// The latest state.
    pub state: watch::Sender<LockState>,
    /// Notified when what is in Redis is not what should be there: publish in full, or withdraw again, at once.
    pub differs: Arc<Notify>,
}

/// When the lock is checked again after it was taken from a foreign holder, whose purge may still arrive, or after a
/// withdrawal, when a publication sent before it may. Each call does nothing once a second has passed from its sending.
const CHECKS_SOON: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Keeps the lock while there is a token: renews at once when one begins, then once in a renewal period. Ends when
/// the sender of the token is gone.
///
/// Faults do not make it faster: it asks again at the next period (P6).
pub async fn keep(
    store: Arc<Store>,
    mut tokens: watch::Receiver<Option<LeadershipToken>>,
    retention: watch::Receiver<Retention>,
    reports: LockReports,
) {
    let mut term = None;
    let mut extra: Vec<Monotonic> = Vec::new();
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
            locked(&store.rivals).rivalry.begin();
        }
        let kept = *retention.borrow();
        let state = check(&store, &token, kept, &reports.differs).await;
        store.metrics.lock_held(state == LockState::Held);
        reports.enter(state);

        let checked = clock::monotonic();
        extra.retain(|at| *at > checked);
        let period = store.expiries().renewal_period;
        let pause = extra.iter().map(|at| at.since(checked)).min().map_or(period, |pause| pause.min(period));
        tokio::select! {
            changed = tokens.changed() => if changed.is_err() {
                reports.enter(LockState::Off);
                return;
            },
            () = store.check_soon.notified() => extra = CHECKS_SOON.map(|wait| clock::monotonic().after(wait)).into(),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Renews once, and compares what was found.
async fn check(store: &Store, token: &LeadershipToken, kept: Retention, differs: &Notify) -> LockState {
    let expiry = kept.expiry(clock::now(), store.expiries().publication);
    let before = store.base();
    let outcome = store.renew(token, expiry).await;
    let stance = store.judge(&outcome);
    match outcome {
        RenewOutcome::Renewed(found) => {
            let after = store.base();
            if kept == Retention::Withdrawn {
                // With a base a publication went out since: the fleet has just been resumed.
                if found.any && before.is_none() && after.is_none() {
                    tracing::warn!(term = %token.term(), "redis: a withdrawn publication is stored again");
                    differs.notify_one();
                }
            } else if kept != Retention::LockOnly
                && let Some(base) = different_from(before, after, &found)
            {
                tracing::warn!(term = %token.term(), "redis: what is stored is not what was published");
                store.forget_base_if(&base);
                differs.notify_one();
            }
            LockState::Held
        }
        RenewOutcome::Fenced { by } => LockState::Fenced { ours: token.term(), by },
        RenewOutcome::NotHeld { holder, rival: _ } => match holder {
            LockHolder::OtherRelease(holder) => LockState::OtherRelease { holder },
            LockHolder::Foreign(holder) => LockState::Foreign { holder, stance },
            // The script never calls these two somebody else's.
            LockHolder::Nobody | LockHolder::Ours { .. } => LockState::Unknown,
        },
        RenewOutcome::TooLate => LockState::Unreachable { reason: "TooLate" },
        RenewOutcome::LeadershipOver => LockState::Off,
        RenewOutcome::Failed(error) => LockState::Unreachable { reason: error.reason() },
    }
}

/// The publication that Redis does not hold, though it should. Nothing is said if another one went out meanwhile: the
/// renewal may have seen the state before it.
fn different_from(
    before: Option<Arc<Publication>>,
    after: Option<Arc<Publication>>,
    found: &Found,
) -> Option<Arc<Publication>> {
    let (before, after) = (before?, after?);
    (Arc::ptr_eq(&before, &after) && !found.is(&after)).then_some(after)
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
    fn log(&self) {
        match self {
            Self::Off => tracing::info!("redis lock: no longer kept, this replica does not lead"),
            Self::Unknown => tracing::debug!("redis lock: asking for it"),
            Self::Held => tracing::info!("redis lock: held"),
            Self::Fenced { ours, by } => {
                let by = by.map(Term::get);
                tracing::warn!(%ours, by, "redis lock: our term is refused, leadership checks its Lease");
            }
            Self::Foreign { holder, stance } => {
                tracing::warn!(holder, ?stance, "redis lock: held by another program, publishing waits");
            }
            Self::OtherRelease { holder } => {
                tracing::error!(
                    holder,
                    "redis lock: held by another release, give one of them its own Redis or key prefix"
                );
            }
            Self::Unreachable { reason } => {
                tracing::warn!(reason, "redis lock: Redis fails, statuses go on without it");
            }
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::classify::{Params, PerServer, classify};

    fn at(seconds: f64) -> UnixTime {
        UnixTime::from_seconds(seconds).unwrap()
    }

    #[test]
    fn a_publication_kept_alive_ends_at_its_time() {
        let full = Duration::from_secs(120);
        assert_eq!(Retention::All.expiry(at(0.0), full), Expiry::All(full));
        assert_eq!(Retention::LockOnly.expiry(at(0.0), full), Expiry::LockOnly);
        assert_eq!(Retention::Withdrawn.expiry(at(0.0), full), Expiry::LockOnly);
        let until = Retention::Until(at(180.0));
        assert_eq!(until.expiry(at(10.0), full), Expiry::All(full));
        assert_eq!(until.expiry(at(150.0), full), Expiry::All(Duration::from_secs(30)));
        assert_eq!(until.expiry(at(180.0), full), Expiry::LockOnly);
        assert_eq!(until.expiry(at(500.0), full), Expiry::LockOnly);
    }

    #[test]
    fn a_difference_is_reported_unless_a_publication_went_on() {
        let classified = classify(&PerServer::default(), at(7.0), &Params::default());
        let publication = || Some(Arc::new(Publication::new(&classified).unwrap()));
        let (ours, other) = (publication(), publication());
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let metadata = ours.as_ref().and_then(|ours| text(ours.metadata()));
        let as_published = Found { metadata, timestamp: text("7"), hot: Some(0), cold: Some(0), any: true };
        let purged = Found { metadata: None, timestamp: None, hot: Some(0), cold: Some(0), any: false };
        assert!(different_from(ours.clone(), ours.clone(), &purged).is_some());
        assert!(different_from(ours.clone(), ours.clone(), &as_published).is_none());
        assert!(different_from(ours.clone(), other, &purged).is_none());
        assert!(different_from(None, ours.clone(), &purged).is_none());
        assert!(different_from(ours, None, &purged).is_none());
    }
}
