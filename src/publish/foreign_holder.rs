//! When a lock that is another program's may be taken. Pure.
//!
//! In: what each check of the lock found, with the time. Out: a [`TakeoverDecision`]. It must not know Redis, and it must not
//! displace another release of this operator: that is never asked here.
//!
//! The rival that is meant is a `ContextForge` worker whose classifier holds the lock and classifies nothing (1.0.0 and
//! later): it renews its lock for ever and deletes whatever is published. One that does publish keeps the lock.

use std::time::Duration;

use crate::model::Monotonic;

/// What is done about a foreign lock: `--redis-lock-takeover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeoverPolicy {
    /// It is left alone.
    Never,
    /// It is taken from a holder that publishes nothing.
    Idle,
}

/// A foreign lock, as a check found it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForeignHolder {
    /// The type of the key, as Redis says it.
    pub kind: String,
    /// The start of its value; empty if the key is no string.
    pub value: Vec<u8>,
    /// Whether there is a timestamp that counts: a string with an expiry that this process did not write.
    pub publishes: bool,
}

/// Who holds a lock that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OtherHolder {
    /// Another release of this operator, by its owner id, cleaned for display. Its lock is never taken.
    Release(String),
    /// Another program, or the key has a wrong type.
    Program(ForeignHolder),
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TakeoverDecision {
    /// The setting says never.
    LeaveIt,
    /// It publishes, or has not been idle for long enough.
    Wait,
    /// It may be taken, with a publication in hand.
    Take,
}

/// How long a holder that we displaced is known again.
const REMEMBERED: Duration = Duration::from_hours(1);
/// The most of them that are remembered; a fleet has a handful of workers.
const MOST_REMEMBERED: usize = 64;

/// What one process has seen of foreign holders.
#[derive(Clone, Debug)]
pub struct ForeignHolderHistory {
    takeover: TakeoverPolicy,
    interval: Duration,
    renewal_period: Duration,
    /// Whether the last check that was answered found the lock in our hands.
    was_ours: bool,
    /// The foreign holding that is being watched.
    spell: Option<Spell>,
    displaced: Vec<(Vec<u8>, Monotonic)>,
}

/// A foreign holding, from the check that found it.
#[derive(Clone, Copy, Debug)]
struct Spell {
    /// How long it must be idle.
    patience: Duration,
    /// Since which check no timestamp was found; `None` while there is one.
    idle_since: Option<Monotonic>,
}

impl ForeignHolderHistory {
    /// Nothing seen yet.
    #[must_use]
    pub const fn new(takeover: TakeoverPolicy, interval: Duration, renewal_period: Duration) -> Self {
        Self { takeover, interval, renewal_period, was_ours: false, spell: None, displaced: Vec::new() }
    }

    /// A token begins: what was seen under another one does not count. Who was displaced does.
    pub fn begin(&mut self) {
        (self.was_ours, self.spell) = (false, None);
    }

    /// A check found the lock ours.
    pub fn ours(&mut self) {
        (self.was_ours, self.spell) = (true, None);
    }

    /// A check was not answered, or found another release: being idle must be seen at *every* check.
    pub fn unseen(&mut self) {
        if let Some(spell) = &mut self.spell {
            spell.idle_since = None;
        }
    }

    /// A check found a foreign holder.
    pub fn foreign(&mut self, rival: &ForeignHolder, now: Monotonic) -> TakeoverDecision {
        // Lost between two checks: the new holder has most likely just purged, and need not be waited for so long.
        let patience = if self.was_ours { self.renewal_period } else { self.interval };
        self.was_ours = false;
        let spell = self.spell.get_or_insert(Spell { patience, idle_since: Some(now) });
        if rival.publishes {
            *spell = Spell { patience: self.interval, idle_since: None };
        } else {
            spell.idle_since.get_or_insert(now);
        }
        let Spell { patience, idle_since } = *spell;
        let known = rival.kind == "string"
            && self.displaced.iter().any(|(value, at)| *value == rival.value && now.since(*at) < REMEMBERED);
        match self.takeover {
            TakeoverPolicy::Never => TakeoverDecision::LeaveIt,
            TakeoverPolicy::Idle if rival.publishes => TakeoverDecision::Wait,
            TakeoverPolicy::Idle if known => TakeoverDecision::Take,
            TakeoverPolicy::Idle if idle_since.is_some_and(|since| now.since(since) >= patience) => {
                TakeoverDecision::Take
            }
            TakeoverPolicy::Idle => TakeoverDecision::Wait,
        }
    }

    /// The lock was taken from this holder.
    pub fn displaced(&mut self, rival: &ForeignHolder, now: Monotonic) {
        self.ours();
        self.displaced.retain(|(value, at)| *value != rival.value && now.since(*at) < REMEMBERED);
        if self.displaced.len() == MOST_REMEMBERED {
            self.displaced.remove(0);
        }
        if rival.kind == "string" {
            self.displaced.push((rival.value.clone(), now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);
    const PERIOD: Duration = Duration::from_secs(10);

    fn rivalry(takeover: TakeoverPolicy) -> ForeignHolderHistory {
        ForeignHolderHistory::new(takeover, INTERVAL, PERIOD)
    }

    fn rival(value: &str, publishes: bool) -> ForeignHolder {
        ForeignHolder { kind: "string".into(), value: value.into(), publishes }
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::at(Duration::from_secs(1_000 + seconds))
    }

    #[test]
    fn an_idle_holder_is_taken_from_after_one_interval() {
        let mut seen = rivalry(TakeoverPolicy::Idle);
        for second in (0..60).step_by(10) {
            assert_eq!(seen.foreign(&rival("classifier_1", false), at(second)), TakeoverDecision::Wait, "{second}");
        }
        assert_eq!(seen.foreign(&rival("classifier_1", false), at(60)), TakeoverDecision::Take);
    }

    #[test]
    fn never_is_never() {
        let mut seen = rivalry(TakeoverPolicy::Never);
        assert_eq!(seen.foreign(&rival("c", false), at(0)), TakeoverDecision::LeaveIt);
        assert_eq!(seen.foreign(&rival("c", false), at(10_000)), TakeoverDecision::LeaveIt);
    }

    #[test]
    fn one_that_publishes_keeps_it_and_one_that_stops_is_waited_for_anew() {
        let mut seen = rivalry(TakeoverPolicy::Idle);
        seen.ours();
        for second in (0..600).step_by(10) {
            assert_eq!(seen.foreign(&rival("c", true), at(second)), TakeoverDecision::Wait);
        }
        assert_eq!(seen.foreign(&rival("c", false), at(600)), TakeoverDecision::Wait);
        assert_eq!(seen.foreign(&rival("c", false), at(659)), TakeoverDecision::Wait);
        assert_eq!(seen.foreign(&rival("c", false), at(660)), TakeoverDecision::Take);
    }

    #[test]
    fn a_lock_that_was_ours_at_the_check_before_is_taken_back_after_one_period() {
        let mut seen = rivalry(TakeoverPolicy::Idle);
        seen.ours();
        assert_eq!(seen.foreign(&rival("c", false), at(0)), TakeoverDecision::Wait);
        assert_eq!(seen.foreign(&rival("c", false), at(10)), TakeoverDecision::Take);
        seen.begin();
        assert_eq!(
            seen.foreign(&rival("c", false), at(20)),
            TakeoverDecision::Wait,
            "a new token waits for the interval"
        );
        assert_eq!(seen.foreign(&rival("c", false), at(30)), TakeoverDecision::Wait);
    }

    #[test]
    fn a_check_without_an_answer_is_no_sign_of_idleness() {
        let mut seen = rivalry(TakeoverPolicy::Idle);
        seen.foreign(&rival("c", false), at(0));
        seen.unseen();
        assert_eq!(seen.foreign(&rival("c", false), at(60)), TakeoverDecision::Wait);
        assert_eq!(seen.foreign(&rival("c", false), at(120)), TakeoverDecision::Take);
    }

    #[test]
    fn who_was_displaced_within_the_hour_is_taken_from_at_once() {
        let mut seen = rivalry(TakeoverPolicy::Idle);
        seen.displaced(&rival("c", false), at(0));
        seen.begin();
        assert_eq!(seen.foreign(&rival("other", false), at(5)), TakeoverDecision::Wait);
        assert_eq!(seen.foreign(&rival("c", true), at(5)), TakeoverDecision::Wait, "unless it publishes now");
        assert_eq!(seen.foreign(&rival("c", false), at(6)), TakeoverDecision::Take);
        seen.begin();
        assert_eq!(seen.foreign(&rival("c", false), at(3_601)), TakeoverDecision::Wait);
    }
}
