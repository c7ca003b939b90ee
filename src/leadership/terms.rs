//! Which term an acquisition writes. Pure.
//!
//! The stores compare terms, so a new leader's must be above everything that they may hold: the terms come from the
//! Lease, from Redis, from the statuses and from refusals. One that comes out too low does no harm: the store refuses
//! it, and it is raised (SPEC section 5).

use crate::model::Term;

/// How far a status may be above Lease and Redis and still be counted at an acquisition.
pub const STATUS_LEAD: i64 = 1_000_000;

/// The terms that one process has learnt; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeenTerms {
    lease: Option<Term>,
    refusing: Option<Term>,
}

impl SeenTerms {
    /// A `leaseTransitions` that was seen, or one that was sent and may have arrived: no number is sent twice for
    /// two acquisitions.
    ///
    /// After the last number of all, counting starts again: what was learnt before it would refuse the first.
    pub fn lease(&mut self, term: Option<Term>) {
        let last_of_all = |lease: Term| Term::after([Some(lease)]) == Term::FIRST;
        if term == Some(Term::FIRST) && self.lease.is_some_and(last_of_all) {
            *self = Self::default();
        }
        self.lease = self.lease.max(term);
    }

    /// The term by which a store refused ours.
    pub fn refusing(&mut self, term: Option<Term>) {
        self.refusing = self.refusing.max(term);
    }

    /// The term of an acquisition, or of a leader that raises its own. `redis` is the stored term, `statuses` looks up the
    /// highest `status.term` that is not above a limit.
    ///
    /// A status far above both Lease and Redis was tampered with or comes from an odd restore; it does not count, so
    /// that it cannot use up the numbers. A term that refused us counts whatever it is: below it nothing can be
    /// written.
    #[must_use]
    pub fn next(&self, redis: Option<Term>, statuses: impl FnOnce(i64) -> Option<Term>) -> Term {
        let anchor = self.lease.max(redis);
        let limit = anchor.map_or(0, |term| i64::from(term.get())) + STATUS_LEAD;
        Term::after([anchor, statuses(limit), self.refusing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(number: i64) -> Option<Term> {
        let term = Term::new(number);
        assert!(term.is_some(), "{number} is no term");
        term
    }

    fn statuses(all: &[i64]) -> impl FnOnce(i64) -> Option<Term> {
        move |limit| all.iter().filter(|number| **number <= limit).filter_map(|number| Term::new(*number)).max()
    }

    fn next(lease: &[Option<Term>], redis: Option<Term>, status: &[i64]) -> i32 {
        let mut known = SeenTerms::default();
        for seen in lease {
            known.lease(*seen);
        }
        known.next(redis, statuses(status)).get()
    }

    #[test]
    fn the_first_leader_of_all_has_term_one() {
        assert_eq!(next(&[], None, &[]), 1);
    }

    #[test]
    fn the_highest_of_lease_redis_and_statuses_counts() {
        assert_eq!(next(&[term(7)], term(3), &[5]), 8);
        assert_eq!(next(&[term(3)], term(7), &[5]), 8);
        assert_eq!(next(&[term(3)], term(5), &[6, 7]), 8);
    }

    #[test]
    fn transitions_that_were_lowered_by_hand_are_remembered() {
        assert_eq!(next(&[term(9), term(2)], None, &[]), 10);
    }

    #[test]
    fn transitions_beyond_the_terms_count_as_absent() {
        assert_eq!(next(&[term(9), Term::new(2_147_483_647)], None, &[]), 10);
        assert_eq!(next(&[Term::new(2_000_000_000)], Term::new(10_i64.pow(15)), &[]), 1);
    }

    #[test]
    fn a_status_counts_up_to_a_million_above_lease_and_redis() {
        assert_eq!(next(&[term(5)], term(3), &[1_000_005]), 1_000_006);
        assert_eq!(next(&[term(5)], term(3), &[4, 1_000_006]), 6);
        assert_eq!(next(&[term(3)], term(5), &[1_000_006]), 6);
        assert_eq!(next(&[], None, &[1_000_000]), 1_000_001);
        assert_eq!(next(&[], None, &[1_000_001]), 1);
    }

    #[test]
    fn a_refusing_term_counts_whatever_it_is() {
        let mut known = SeenTerms::default();
        known.lease(term(5));
        known.refusing(term(1_900_000_000));
        known.refusing(None);
        assert_eq!(known.next(term(3), statuses(&[])).get(), 1_900_000_001);
    }

    #[test]
    fn after_the_last_number_of_all_counting_starts_again() {
        let mut known = SeenTerms::default();
        known.refusing(term(1_999_999_998));
        let mut written = Vec::new();
        for _ in 0..4 {
            // What an acquisition writes is then seen in the Lease.
            let next = known.next(None, statuses(&[1_999_999_998]));
            known.lease(Some(next));
            written.push(next.get());
        }
        assert_eq!(written, [1_999_999_999, 1, 2, 3]);
    }
}
