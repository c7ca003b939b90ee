//! The proof that this process leads. The calls that write (to Redis, to a status, to the fleet's status) take a
//! `&LeadershipToken`; its fields are private and only [`crate::leadership`] makes one, so writing without leadership does
//! not compile:
//!
//! ```compile_fail
//! use mcpgateway_operator::leadership::LeadershipToken;
//! let forged = LeadershipToken { term: mcpgateway_operator::model::Term::FIRST };
//! ```
//!
//! A token is one process's leadership at one term, until it stops believing (SPEC section 0). It is not a lock:
//! it can end between a check and a write. What makes that harmless is the term, which the stores check themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{Monotonic, Term, UnixTime};

/// Leadership at one term; see the module's text. Clones speak of the same leadership and end together.
#[derive(Clone, Debug)]
pub struct LeadershipToken {
    term: Term,
    identity: Arc<str>,
    since: UnixTime,
    belief: Arc<Belief>,
}

/// Until when this process may believe that it leads, shared by all clones of a token.
#[derive(Debug)]
struct Belief {
    /// Nanoseconds of the monotonic clock; 0 once it is over for good.
    until: AtomicU64,
    /// Held by every write in flight; its count is how [`LeadershipToken::writes_in_flight`] knows.
    in_flight: Arc<()>,
}

/// Held for the length of one write. Stepping down waits for these before it releases the Lease.
#[derive(Debug)]
pub struct WritePermit {
    /// What was left of the token when the write began: the longest that it may take.
    pub remaining: Duration,
    _in_flight: Arc<()>,
}

impl LeadershipToken {
    /// Only for [`crate::leadership`], after the API server has accepted this term.
    pub(super) fn granted(term: Term, identity: Arc<str>, since: UnixTime, until: Monotonic) -> Self {
        let belief = Belief { until: AtomicU64::new(until.nanos()), in_flight: Arc::new(()) };
        Self { term, identity, since, belief: Arc::new(belief) }
    }

    /// A token that nobody granted, for the tests of the rooms that require one. Behind the feature `test-support`,
    /// which only this package's dev-dependency on itself turns on: no build of the program contains it.
    #[cfg(feature = "test-support")]
    #[doc(hidden)]
    #[must_use]
    pub fn for_tests(term: Term, until: Monotonic) -> Self {
        Self::granted(term, "test_0".into(), UnixTime::EPOCH, until)
    }

    /// Ends it as stepping down does, for the same tests.
    #[cfg(feature = "test-support")]
    #[doc(hidden)]
    pub fn end_for_tests(&self) {
        self.end();
    }

    /// Moves the end of belief after a renewal; a token that has ended stays ended.
    pub(super) fn extend(&self, until: Monotonic) {
        let later = |old: u64| (old != 0).then(|| old.max(until.nanos()));
        // An Err only says that it had ended.
        let _ = self.belief.until.fetch_update(Ordering::SeqCst, Ordering::SeqCst, later);
    }

    /// Stops believing, for all clones, for good. The first step of stepping down.
    pub(super) fn end(&self) {
        self.belief.until.store(0, Ordering::SeqCst);
    }

    /// Writes that have begun and not ended.
    pub(super) fn writes_in_flight(&self) -> usize {
        Arc::strong_count(&self.belief.in_flight).saturating_sub(1)
    }

    /// The term: the fencing token of every write.
    #[must_use]
    pub const fn term(&self) -> Term {
        self.term
    }

    /// `holderIdentity` of the Lease: `<pod>_<random per start>`.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// When this leadership began, for people.
    #[must_use]
    pub const fn since(&self) -> UnixTime {
        self.since
    }

    /// What is left of it at this reading of the monotonic clock; `None` once it is over.
    #[must_use]
    pub fn remaining(&self, now: Monotonic) -> Option<Duration> {
        let left = self.belief.until.load(Ordering::SeqCst).checked_sub(now.nanos())?;
        (left > 0).then(|| Duration::from_nanos(left))
    }

    /// Begins a write: the permission for it, if the token still holds.
    #[must_use]
    pub fn begin_write(&self, now: Monotonic) -> Option<WritePermit> {
        // Counted before it is checked: stepping down ends belief first and counts second, so no write slips between.
        let in_flight = Arc::clone(&self.belief.in_flight);
        let remaining = self.remaining(now)?;
        Some(WritePermit { remaining, _in_flight: in_flight })
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
    fn it_ends_by_its_own_clock() {
        let token = token(10);
        assert_eq!(token.remaining(at(7)), Some(Duration::from_secs(3)));
        assert_eq!(token.remaining(at(10)), None);
        assert!(token.begin_write(at(11)).is_none());
    }

    #[test]
    fn a_renewal_moves_the_end_forward_only() {
        let token = token(10);
        token.extend(at(15));
        token.extend(at(12));
        assert_eq!(token.remaining(at(14)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn once_ended_no_late_renewal_revives_it() {
        let token = token(10);
        let clone = token.clone();
        token.end();
        token.extend(at(99));
        assert_eq!(clone.remaining(at(1)), None);
    }

    #[test]
    fn writes_in_flight_are_counted_until_they_end() {
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
