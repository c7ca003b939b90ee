//! Which term an acquisition writes. Pure.
//!
//! The stores compare terms, so a new leader's term must be above every term that they may hold. Terms are known from
//! the Lease, Redis, the statuses and refusals. A term that is too low does no harm: a store refuses it, and the leader
//! raises it (docs/contract.md#terms).

use crate::model::Term;

/// How far a status term may be above the terms in Lease and Redis and still count for an acquisition.
const MAX_STATUS_LEAD: i64 = 1_000_000;

/// The terms that this process has seen; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeenTerms {
    lease: Option<Term>,
    refusing: Option<Term>,
}

impl SeenTerms {
    /// Adds a `leaseTransitions` that was observed, or one that was sent and may be stored: no term is ever used for
    /// two acquisitions.
    ///
    /// After the last possible term, counting restarts at 1. Everything seen before is then forgotten, because it would
    /// make the first terms look stale.
    pub fn observe_lease(&mut self, term: Option<Term>) {
        let is_last = |seen: Term| Term::after([Some(seen)]) == Term::FIRST;
        if term == Some(Term::FIRST) && self.lease.is_some_and(is_last) {
            *self = Self::default();
        }
        self.lease = self.lease.max(term);
    }

    /// Adds the stored term because of which a store refused ours.
    pub fn observe_refusal(&mut self, stored: Option<Term>) {
        self.refusing = self.refusing.max(stored);
    }

    /// The term for an acquisition or a raise. `redis` is the stored term; `statuses` returns the highest `status.term`
    /// that is not above a limit.
    ///
    /// A status term far above both Lease and Redis has been tampered with or restored from elsewhere. It does not
    /// count, so that it cannot use up the numbers. A term that refused ours always counts: no write below it succeeds.
    pub fn next_term(&self, redis: Option<Term>, statuses: impl FnOnce(i64) -> Option<Term>) -> Term {
        let anchor = self.lease.max(redis);
        let limit = anchor.map_or(0, |term| i64::from(term.get())) + MAX_STATUS_LEAD;
        Term::after([anchor, statuses(limit), self.refusing])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(number: i64) -> Option<Term> {
        let term = Term::new(number);
        assert!(term.is_some(), "{number} is not a term");
        term
    }

    fn statuses(all: &[i64]) -> impl FnOnce(i64) -> Option<Term> {
        move |limit| all.iter().filter(|number| **number <= limit).filter_map(|number| Term::new(*number)).max()
    }

    fn next(lease: &[Option<Term>], redis: Option<Term>, status: &[i64]) -> i32 {
        let mut seen = SeenTerms::default();
        for term in lease {
            seen.observe_lease(*term);
        }
        seen.next_term(redis, statuses(status)).get()
    }

    #[test]
    fn the_very_first_term_is_one() {
        assert_eq!(next(&[], None, &[]), 1);
    }

    #[test]
    fn the_highest_term_of_lease_redis_and_statuses_counts() {
        assert_eq!(next(&[term(7)], term(3), &[5]), 8);
        assert_eq!(next(&[term(3)], term(7), &[5]), 8);
        assert_eq!(next(&[term(3)], term(5), &[6, 7]), 8);
    }

    #[test]
    fn a_lowered_lease_term_does_not_lower_the_next_term() {
        assert_eq!(next(&[term(9), term(2)], None, &[]), 10);
    }

    #[test]
    fn numbers_that_are_not_terms_count_as_absent() {
        assert_eq!(next(&[term(9), Term::new(2_147_483_647)], None, &[]), 10);
        assert_eq!(next(&[Term::new(2_000_000_000)], Term::new(10_i64.pow(15)), &[]), 1);
    }

    #[test]
    fn a_status_term_counts_up_to_a_million_above_lease_and_redis() {
        assert_eq!(next(&[term(5)], term(3), &[1_000_005]), 1_000_006);
        assert_eq!(next(&[term(5)], term(3), &[4, 1_000_006]), 6);
        assert_eq!(next(&[term(3)], term(5), &[1_000_006]), 6);
        assert_eq!(next(&[], None, &[1_000_000]), 1_000_001);
        assert_eq!(next(&[], None, &[1_000_001]), 1);
    }

    #[test]
    fn a_term_that_refused_ours_always_counts() {
        let mut seen = SeenTerms::default();
        seen.observe_lease(term(5));
        seen.observe_refusal(term(1_900_000_000));
        seen.observe_refusal(None);
        assert_eq!(seen.next_term(term(3), statuses(&[])).get(), 1_900_000_001);
    }

    #[test]
    fn counting_restarts_after_the_last_term() {
        let mut seen = SeenTerms::default();
        seen.observe_refusal(term(1_999_999_998));
        let mut written = Vec::new();
        for _ in 0..4 {
            // What an acquisition writes is then observed in the Lease.
            let next = seen.next_term(None, statuses(&[1_999_999_998]));
            seen.observe_lease(Some(next));
            written.push(next.get());
        }
        assert_eq!(written, [1_999_999_999, 1, 2, 3]);
    }
}
