//! Whether another operator uses our owner id. Pure.
//!
//! A cluster that was cloned from a backup has the uid of the original's namespace `kube-system`, and so the same
//! default owner id. Each of the two takes the other for a former leader of its own release and raises its term,
//! endlessly. But a former leader has lost its Lease: whoever is displaced by its own owner id while its own Lease
//! stands has met another operator. See `docs/contract.md#the-redis-lock`.

use crate::leadership::LeadershipToken;

/// After so many displacements this process yields. One may come from a hand that edited the lock.
const MOST: u8 = 2;

/// How often this process has lost the lock to its own owner id while its Lease stood.
#[derive(Debug, Default)]
pub(super) struct Displacements {
    /// The token that held the lock until somebody with our owner id took it at a higher term.
    suspected: Option<LeadershipToken>,
    confirmed: u8,
}

impl Displacements {
    /// The lock, which this token held, is our owner id's at a higher term.
    pub(super) fn suspect(&mut self, token: &LeadershipToken) {
        self.suspected = Some(token.clone());
    }

    /// Whether a call with this token is not to be made, because another operator uses our owner id.
    pub(super) fn yields(&mut self, token: &LeadershipToken) -> bool {
        if let Some(before) = self.suspected.take_if(|before| before.term() != token.term()) {
            // The leadership went on at a higher term, so the API server has said that the Lease is still ours.
            self.confirmed = self.confirmed.saturating_add(u8::from(token.is_same_leadership(&before)));
        }
        self.confirmed >= MOST
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{Monotonic, Term};

    const FAR: Monotonic = Monotonic::at(Duration::from_secs(1_000_000));

    fn term(number: i64) -> Term {
        Term::new(number).unwrap()
    }

    #[test]
    fn whoever_is_displaced_twice_while_its_lease_stands_yields_for_good() {
        let mut seen = Displacements::default();
        let first = LeadershipToken::for_tests(term(3), FAR);
        assert!(!seen.yields(&first));
        seen.suspect(&first);
        assert!(!seen.yields(&first), "the Lease has not been checked yet");
        let second = first.raised_for_tests(term(5), FAR);
        assert!(!seen.yields(&second));
        seen.suspect(&second);
        let third = second.raised_for_tests(term(7), FAR);
        assert!(seen.yields(&third));
        assert!(seen.yields(&LeadershipToken::for_tests(term(9), FAR)), "a new leadership, too");
    }

    #[test]
    fn a_leader_that_lost_its_lease_was_displaced_by_its_own_release() {
        let mut seen = Displacements::default();
        for number in [3, 5, 7, 9] {
            let token = LeadershipToken::for_tests(term(number), FAR);
            assert!(!seen.yields(&token));
            seen.suspect(&token);
        }
    }
}
