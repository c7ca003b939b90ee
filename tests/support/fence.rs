//! Who may write to Redis, in Rust. Pure; the program itself leaves the decision to Redis.
//!
//! In: what a script finds when it starts, and its arguments. Out: whether it may write. `scripts/fence.lua` enforces
//! the rule inside Redis, because only there a check and the write after it are one step. This is the same rule in a
//! form that can be model-checked: `tests/model` runs it, and `tests/it/redis/reference.rs` compares the script with it
//! on a real Redis, case by case. The rule is the same for every script: publishing, applying a difference, renewing,
//! withdrawing.

use mcpgateway_operator::model::Term;
use mcpgateway_operator::publish::keys::LockHolder;

/// What a script finds in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceState {
    /// Redis' clock, in microseconds.
    pub now: i64,
    /// Who holds the lock.
    pub lock: LockHolder,
    /// The key `term`, if it is a term.
    pub term: Option<Term>,
    /// Whether the lock is exactly the foreign one that the caller may displace, and its holder still publishes
    /// nothing.
    pub displaceable: bool,
}

/// The arguments of a script that the fence judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The not-after moment: after it the call must do nothing. In microseconds of Redis' clock.
    pub not_after: i64,
    /// The caller's term.
    pub term: Term,
    /// Whether the caller's token has held the lock. If not, finding its own term means that there is a second leader.
    pub has_held: bool,
}

/// Whether a script may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No: the call came after its not-after moment.
    TooLate,
    /// No: Redis knows this term, which is higher, or is the caller's own in another process's hands.
    Fenced(Term),
    /// No: another release or another program holds the lock.
    NotHeld,
    /// Yes. Lock and term become the caller's.
    Passed {
        /// Whether that takes the lock from a foreign holder.
        displaces: bool,
    },
}

/// The rule of `docs/contract.md#the-fence`.
#[must_use]
pub fn check(state: &FenceState, caller: &Caller) -> Verdict {
    if state.now > caller.not_after {
        return Verdict::TooLate;
    }
    // The lock's own term counts like the stored one: both are written together, and one may be lost.
    let lock_term = match &state.lock {
        LockHolder::Ours { term } => *term,
        LockHolder::Nobody | LockHolder::OtherRelease(_) | LockHolder::Foreign(_) => None,
    };
    if let Some(highest) = state.term.max(lock_term)
        && (highest > caller.term || (highest == caller.term && !caller.has_held))
    {
        return Verdict::Fenced(highest);
    }
    match state.lock {
        LockHolder::Nobody | LockHolder::Ours { .. } => Verdict::Passed { displaces: false },
        LockHolder::Foreign(_) if state.displaceable => Verdict::Passed { displaces: true },
        LockHolder::Foreign(_) | LockHolder::OtherRelease(_) => Verdict::NotHeld,
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

    fn verdict(lock: LockHolder, stored: Option<Term>, has_held: bool) -> Verdict {
        let state = FenceState { now: 10, lock, term: stored, displaceable: false };
        check(&state, &Caller { not_after: 10, term: Term::after([term(4)]), has_held })
    }

    #[test]
    fn a_higher_term_refuses_and_so_does_our_own_unless_we_held_the_lock() {
        let passed = Verdict::Passed { displaces: false };
        assert_eq!(verdict(LockHolder::Nobody, None, false), passed);
        assert_eq!(verdict(LockHolder::Nobody, term(4), false), passed);
        assert_eq!(verdict(LockHolder::Nobody, term(5), true), passed);
        assert_eq!(Some(verdict(LockHolder::Nobody, term(5), false)), term(5).map(Verdict::Fenced));
        assert_eq!(Some(verdict(LockHolder::Nobody, term(6), true)), term(6).map(Verdict::Fenced));
        let lock = LockHolder::Ours { term: term(7) };
        assert_eq!(Some(verdict(lock, term(3), true)), term(7).map(Verdict::Fenced));
    }

    #[test]
    fn another_release_is_never_displaced() {
        let state = |lock| FenceState { now: 0, lock, term: None, displaceable: true };
        let caller = Caller { not_after: 0, term: Term::FIRST, has_held: false };
        assert_eq!(check(&state(LockHolder::OtherRelease("o".into())), &caller), Verdict::NotHeld);
        assert_eq!(check(&state(LockHolder::Foreign("f".into())), &caller), Verdict::Passed { displaces: true });
        assert_eq!(check(&state(LockHolder::Nobody), &Caller { not_after: -1, ..caller }), Verdict::TooLate);
    }
}
