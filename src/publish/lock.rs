//! The keeper of the Redis lock: while this process leads, nobody else classifies. IO.
//!
//! In: the mandate, and what the loop wants kept alive. Out: the [`LockState`], and a signal when what is in Redis is
//! not what was published. A ContextForge worker that finds the lock free takes it and deletes the publication, so
//! the lock must be held without a gap; hence a task, a connection and a period of its own.
//!
//! It must not: publish (a difference is reported to the loop, which has the classification), or take the lock from
//! another program (that needs a publication in hand).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::keys::LockHolder;
use super::script::Found;
use super::store::Store;
use super::{Expiry, RenewOutcome};
use crate::clock;
use crate::leadership::Mandate;
use crate::model::{Term, UnixTime};

/// What is to be kept alive beside the lock. Set by the loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Retention {
    /// Nothing: there is no publication, or it was given up.
    LockOnly,
    /// The publication, as long as this process leads.
    All,
    /// The publication, but never beyond this time: it is only kept alive for lack of a newer one.
    Until(UnixTime),
}

impl Retention {
    /// What a renewal at `now` asks of Redis; `full` is the expiry of a fresh publication.
    #[must_use]
    pub fn expiry(self, now: UnixTime, full: Duration) -> Expiry {
        match self {
            Self::LockOnly => Expiry::LockOnly,
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
    /// Rung when what is in Redis differs from what was published: publish in full, at once.
    pub differs: Arc<Notify>,
}

/// Keeps the lock while there is a mandate: renews at once when one begins, then once in a renewal period. Ends when
/// the sender of the mandate is gone.
///
/// Faults do not make it faster: it asks again at the next period (P6).
pub async fn keep(
    store: Arc<Store>,
    mut mandates: watch::Receiver<Option<Mandate>>,
    retention: watch::Receiver<Retention>,
    reports: LockReports,
) {
    let mut term = None;
    loop {
        let mandate = mandates.borrow_and_update().clone();
        let Some(mandate) = mandate else {
            term = None;
            reports.enter(LockState::Off);
            store.metrics.forget();
            match mandates.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        if term.replace(mandate.term()) != Some(mandate.term()) {
            reports.enter(LockState::Unknown);
        }
        let kept = *retention.borrow();
        let state = check(&store, &mandate, kept, &reports.differs).await;
        store.metrics.lock_held(state == LockState::Held);
        reports.enter(state);
        if let Ok(Err(_)) = tokio::time::timeout(store.expiries().renewal_period, mandates.changed()).await {
            reports.enter(LockState::Off);
            return;
        }
    }
}

/// Renews once, and compares what was found.
async fn check(store: &Store, mandate: &Mandate, kept: Retention, differs: &Notify) -> LockState {
    let expiry = kept.expiry(clock::now(), store.expiries().publication);
    let before = store.expected();
    match store.renew(mandate, expiry).await {
        RenewOutcome::Renewed(found) => {
            if kept != Retention::LockOnly && is_different(before.as_ref(), store.expected().as_ref(), &found) {
                tracing::warn!(term = %mandate.term(), "redis: what is stored is not what was published");
                differs.notify_one();
            }
            LockState::Held
        }
        RenewOutcome::Fenced { by } => LockState::Fenced { ours: mandate.term(), by },
        RenewOutcome::NotHeld { holder: LockHolder::OtherRelease(holder) } => LockState::OtherRelease { holder },
        RenewOutcome::NotHeld { holder: LockHolder::Foreign(holder) } => LockState::Foreign { holder },
        // The script never calls these two somebody else's.
        RenewOutcome::NotHeld { holder: LockHolder::Nobody | LockHolder::Ours { .. } } => LockState::Unknown,
        RenewOutcome::TooLate => LockState::Unreachable { reason: "TooLate" },
        RenewOutcome::MandateOver => LockState::Off,
        RenewOutcome::Failed(error) => LockState::Unreachable { reason: error.reason() },
    }
}

/// Whether Redis holds something else than what was published. Nothing is said if a publication went on meanwhile:
/// the renewal may have seen the state before it.
fn is_different(before: Option<&Arc<Found>>, after: Option<&Arc<Found>>, found: &Found) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => Arc::ptr_eq(before, after) && **after != *found,
        _ => false,
    }
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
            Self::Foreign { holder } => {
                tracing::warn!(holder, "redis lock: held by another program, publishing waits");
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

    fn at(seconds: f64) -> UnixTime {
        UnixTime::from_seconds(seconds).unwrap()
    }

    #[test]
    fn a_publication_kept_alive_ends_at_its_time() {
        let full = Duration::from_secs(120);
        assert_eq!(Retention::All.expiry(at(0.0), full), Expiry::All(full));
        assert_eq!(Retention::LockOnly.expiry(at(0.0), full), Expiry::LockOnly);
        let until = Retention::Until(at(180.0));
        assert_eq!(until.expiry(at(10.0), full), Expiry::All(full));
        assert_eq!(until.expiry(at(150.0), full), Expiry::All(Duration::from_secs(30)));
        assert_eq!(until.expiry(at(180.0), full), Expiry::LockOnly);
        assert_eq!(until.expiry(at(500.0), full), Expiry::LockOnly);
    }

    #[test]
    fn a_difference_is_reported_unless_a_publication_went_on() {
        let ours = Arc::new(Found { metadata: Some(b"m".into()), timestamp: None, hot: Some(1), cold: Some(2) });
        let purged = Found { metadata: None, timestamp: None, hot: Some(0), cold: Some(0) };
        assert!(is_different(Some(&ours), Some(&ours), &purged));
        assert!(!is_different(Some(&ours), Some(&ours), &ours));
        assert!(!is_different(Some(&ours), Some(&Arc::new(purged.clone())), &purged));
        assert!(!is_different(None, Some(&ours), &purged));
        assert!(!is_different(Some(&ours), None, &purged));
    }
}
