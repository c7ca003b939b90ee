//! The proof that this process leads. Pure.
//!
//! Every call that writes to Redis or to a status takes a `&LeadershipToken`. Its fields are private and only
//! [`crate::leadership`] creates one, so code that writes without leadership does not compile:
//!
//! ```compile_fail
//! use mcpgateway_operator::leadership::LeadershipToken;
//! let forged = LeadershipToken { term: mcpgateway_operator::model::Term::FIRST };
//! ```
//!
//! A token is not a lock: it can expire between a check and a write. That is harmless because the stores compare the
//! term of every write themselves (docs/contract.md#terms).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{Monotonic, Term, UnixTime};

/// This process's leadership at one term. Clones share their validity: they expire and end together.
#[derive(Clone, Debug)]
pub struct LeadershipToken {
    term: Term,
    leadership: Arc<Origin>,
    validity: Arc<Validity>,
}

/// Shared by all tokens of one leadership, whatever their term.
#[derive(Debug)]
struct Origin {
    identity: Arc<str>,
    since: UnixTime,
}

/// Shared by all clones of one token.
#[derive(Debug)]
struct Validity {
    /// When the token expires, in nanoseconds of the monotonic clock; 0 once it has ended for good.
    until: AtomicU64,
    /// Cloned into every [`WritePermit`], so its reference count counts the writes in flight.
    in_flight: Arc<()>,
}

/// Held for the duration of one write. Stepping down waits for all permits before it releases the Lease.
#[derive(Debug)]
pub struct WritePermit {
    /// How long the token was still valid when the write began: the longest that the write may take.
    pub remaining: Duration,
    _in_flight: Arc<()>,
}

impl LeadershipToken {
    /// Starts a leadership, after the API server has accepted the term.
    pub(super) fn granted(term: Term, identity: Arc<str>, since: UnixTime, until: Monotonic) -> Self {
        Self::with_origin(term, Arc::new(Origin { identity, since }), until)
    }

    /// Continues this leadership at a higher term, after the API server has accepted it. The old token ends.
    pub(super) fn raised(&self, term: Term, until: Monotonic) -> Self {
        self.end();
        Self::with_origin(term, Arc::clone(&self.leadership), until)
    }

    fn with_origin(term: Term, leadership: Arc<Origin>, until: Monotonic) -> Self {
        let validity = Validity { until: AtomicU64::new(until.nanos()), in_flight: Arc::new(()) };
        Self { term, leadership, validity: Arc::new(validity) }
    }

    /// Extends the validity after a renewal. A token that has ended or expired is not revived.
    pub(super) fn extend(&self, until: Monotonic, now: Monotonic) {
        let later = |old: u64| (now.nanos() < old).then(|| old.max(until.nanos()));
        // An Err only means that the token is over.
        let _ = self.validity.until.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// When the token expires unless it is renewed.
    pub(super) fn valid_until(&self) -> Monotonic {
        Monotonic::at(Duration::from_nanos(self.validity.until.load(Ordering::SeqCst)))
    }

    /// Ends the token for good, and all its clones. This is the first step of stepping down.
    pub(super) fn end(&self) {
        self.validity.until.store(0, Ordering::SeqCst);
    }

    /// The number of writes that have begun and not finished.
    pub(super) fn writes_in_flight(&self) -> usize {
        Arc::strong_count(&self.validity.in_flight).saturating_sub(1)
    }

    /// The term: the fencing token of every write.
    pub const fn term(&self) -> Term {
        self.term
    }

    /// The Lease's `holderIdentity`: `<pod>_<random per start>`.
    pub fn identity(&self) -> &str {
        &self.leadership.identity
    }

    /// When this leadership began, by the wall clock. For display only: use [`Self::is_same_leadership`] to compare.
    pub fn since(&self) -> UnixTime {
        self.leadership.since
    }

    /// Whether both tokens belong to one uninterrupted leadership of this process. Raising the term in place continues
    /// a leadership; stepping down ends it, and acquiring the Lease again starts another.
    pub fn is_same_leadership(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.leadership, &other.leadership)
    }

    /// How long the token is still valid at this reading of the monotonic clock; `None` if it has expired or ended.
    pub fn remaining(&self, now: Monotonic) -> Option<Duration> {
        let left = self.valid_until().since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Starts a write; `None` if the token has expired or ended.
    pub fn begin_write(&self, now: Monotonic) -> Option<WritePermit> {
        // Count the write before checking. Stepping down ends the token first and counts second, so it sees every write
        // that passed the check.
        let in_flight = Arc::clone(&self.validity.in_flight);
        let remaining = self.remaining(now)?;
        Some(WritePermit { remaining, _in_flight: in_flight })
    }
}

/// Tokens without leadership, for tests. The feature `test-support` is enabled only by this package's dev-dependency on
/// itself, so no build of the program contains these functions.
#[cfg(feature = "test-support")]
#[doc(hidden)]
impl LeadershipToken {
    pub fn for_tests(term: Term, until: Monotonic) -> Self {
        Self::granted(term, "test_0".into(), UnixTime::EPOCH, until)
    }

    pub fn raised_for_tests(&self, term: Term, until: Monotonic) -> Self {
        self.raised(term, until)
    }

    pub fn end_for_tests(&self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::at(Duration::from_secs(seconds))
    }

    fn token(until: u64) -> LeadershipToken {
        LeadershipToken::granted(Term::FIRST, "pod_1".into(), UnixTime::EPOCH, at(until))
    }

    #[test]
    fn a_token_expires_by_the_monotonic_clock() {
        let token = token(10);
        assert_eq!(token.remaining(at(7)), Some(Duration::from_secs(3)));
        assert_eq!(token.remaining(at(10)), None);
        assert!(token.begin_write(at(11)).is_none());
    }

    #[test]
    fn a_renewal_never_shortens_the_validity() {
        let token = token(10);
        token.extend(at(15), at(9));
        token.extend(at(12), at(9));
        assert_eq!(token.remaining(at(14)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_late_renewal_does_not_revive_an_expired_token() {
        let token = token(10);
        token.extend(at(99), at(10));
        assert_eq!(token.remaining(at(10)), None);
    }

    #[test]
    fn a_late_renewal_does_not_revive_an_ended_token() {
        let token = token(10);
        let clone = token.clone();
        token.end();
        token.extend(at(99), at(1));
        assert_eq!(clone.remaining(at(1)), None);
    }

    #[test]
    fn a_raise_ends_the_old_token_and_continues_the_leadership() {
        let old = token(10);
        let raised = old.raised(Term::new(9).unwrap(), at(12));
        assert_eq!((old.remaining(at(1)), raised.remaining(at(11))), (None, Some(Duration::from_secs(1))));
        assert!(old.is_same_leadership(&raised) && raised.clone().is_same_leadership(&old));
        // The same identity, term and time do not make it the same leadership.
        assert!(!old.is_same_leadership(&token(10)));
    }

    #[test]
    fn writes_in_flight_are_counted_until_they_finish() {
        let token = token(10);
        let write = token.begin_write(at(1)).unwrap();
        token.end();
        assert_eq!(token.writes_in_flight(), 1);
        assert!(token.begin_write(at(1)).is_none());
        assert_eq!(token.writes_in_flight(), 1);
        drop(write);
        assert_eq!(token.writes_in_flight(), 0);
    }
}
