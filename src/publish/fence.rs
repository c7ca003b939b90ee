//! Who may write to Redis, in Rust. Pure.
//!
//! In: what a script finds when it starts, and what it was given. Out: whether it goes on. What decides is
//! `scripts/fence.lua`, inside Redis, because only there a check and the write after it are one. This is the same rule where
//! it can be reasoned about: the model of the protocol (`tests/model`) runs it, and a test on a real Redis
//! (`tests/it/redis/reference.rs`) holds the script against it, case by case.

use super::keys::LockHolder;
use crate::model::Term;

/// What a script finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scene {
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

/// What a script was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The moment after which the call must do nothing, in microseconds of Redis' clock.
    pub not_after: i64,
    /// The caller's term.
    pub term: Term,
    /// Whether the caller's token has held the lock: only then is its own term no sign of a second leader.
    pub has_held: bool,
}

/// What becomes of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It came after its time.
    TooLate,
    /// Redis knows this term, which is higher, or is the caller's own in other hands.
    Fenced(Term),
    /// The lock is somebody else's.
    NotHeld,
    /// It may write; lock and term become the caller's.
    Granted {
        /// Whether that takes the lock from a foreign holder.
        displaces: bool,
    },
}

/// The rule of SPEC section 4, "Every script".
#[must_use]
pub fn enter(scene: &Scene, caller: &Caller) -> Passage {
    if scene.now > caller.not_after {
        return Passage::TooLate;
    }
    // The lock's own term counts like the stored one: it was written with it, and is what is left if that was lost.
    let of_lock = match &scene.lock {
        LockHolder::Ours { term } => *term,
        LockHolder::Nobody | LockHolder::OtherRelease(_) | LockHolder::Foreign(_) => None,
    };
    if let Some(highest) = scene.term.max(of_lock)
        && (highest > caller.term || (highest == caller.term && !caller.has_held))
    {
        return Passage::Fenced(highest);
    }
    match scene.lock {
        LockHolder::Nobody | LockHolder::Ours { .. } => Passage::Granted { displaces: false },
        LockHolder::Foreign(_) if scene.displaceable => Passage::Granted { displaces: true },
        LockHolder::Foreign(_) | LockHolder::OtherRelease(_) => Passage::NotHeld,
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

    fn ask(lock: LockHolder, stored: Option<Term>, has_held: bool) -> Passage {
        let scene = Scene { now: 10, lock, term: stored, displaceable: false };
        enter(&scene, &Caller { not_after: 10, term: Term::after([term(4)]), has_held })
    }

    #[test]
    fn a_higher_term_refuses_and_ones_own_does_unless_it_was_held() {
        let granted = Passage::Granted { displaces: false };
        assert_eq!(ask(LockHolder::Nobody, None, false), granted);
        assert_eq!(ask(LockHolder::Nobody, term(4), false), granted);
        assert_eq!(ask(LockHolder::Nobody, term(5), true), granted);
        assert_eq!(Some(ask(LockHolder::Nobody, term(5), false)), term(5).map(Passage::Fenced));
        assert_eq!(Some(ask(LockHolder::Nobody, term(6), true)), term(6).map(Passage::Fenced));
        let lock = LockHolder::Ours { term: term(7) };
        assert_eq!(Some(ask(lock, term(3), true)), term(7).map(Passage::Fenced));
    }

    #[test]
    fn another_release_is_not_displaced_whatever_the_caller_believes() {
        let scene = |lock| Scene { now: 0, lock, term: None, displaceable: true };
        let caller = Caller { not_after: 0, term: Term::FIRST, has_held: false };
        assert_eq!(enter(&scene(LockHolder::OtherRelease("o".into())), &caller), Passage::NotHeld);
        assert_eq!(enter(&scene(LockHolder::Foreign("f".into())), &caller), Passage::Granted { displaces: true });
        assert_eq!(enter(&scene(LockHolder::Nobody), &Caller { not_after: -1, ..caller }), Passage::TooLate);
    }
}
