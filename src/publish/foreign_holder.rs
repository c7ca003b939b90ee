//! When a lock that another program holds may be taken. Pure.
//!
//! In: what each check of the lock found, with the time. Out: a [`TakeoverDecision`]. Another release of this operator
//! is never displaced, and so never a [`ForeignHolder`]. See `docs/contract.md#the-redis-lock`.
//!
//! The usual foreign holder is a `ContextForge` worker whose classifier holds the lock and classifies nothing (1.0.0
//! and later): it renews its lock for ever and deletes whatever is published. A holder that does publish keeps the
//! lock.

use std::fmt;
use std::time::Duration;

use super::keys;
use crate::model::{Monotonic, TakeoverDecision};

/// What to do about a foreign lock: `--redis-lock-takeover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeoverPolicy {
    /// It is left alone.
    Never,
    /// It is taken from a holder that publishes nothing.
    Idle,
}

/// A foreign lock, as a check found it. Prints cleaned for display.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ForeignHolder {
    /// The type of the key, as Redis' `TYPE` answers.
    pub kind: String,
    /// The start of its value; empty if the key is not a string.
    pub value: Vec<u8>,
    /// Whether there is a timestamp that counts: a string with an expiry that this process did not write.
    pub publishes: bool,
}

impl fmt::Display for ForeignHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&keys::shown(&self.kind, &self.value))
    }
}

/// For how long a holder that we displaced is recognized.
const REMEMBERED: Duration = Duration::from_hours(1);
/// How many of them are remembered; a fleet has a handful of workers.
const MOST_REMEMBERED: usize = 64;

/// What one process has seen of foreign holders.
#[derive(Clone, Debug)]
pub struct ForeignHolderHistory {
    policy: TakeoverPolicy,
    interval: Duration,
    renewal_period: Duration,
    /// Whether the last check that was answered found the lock ours.
    was_ours: bool,
    /// The foreign lock that is being watched.
    watched: Option<Watched>,
    displaced: Vec<(Vec<u8>, Monotonic)>,
    /// The one that may be displaced now, by the last check.
    pub(super) displaceable: Option<ForeignHolder>,
}

/// A foreign lock, from the check that found it.
#[derive(Clone, Copy, Debug)]
struct Watched {
    /// How long the holder must be idle.
    patience: Duration,
    /// The first check since which no timestamp was found; `None` while there is one.
    idle_since: Option<Monotonic>,
}

impl ForeignHolderHistory {
    /// Nothing seen yet.
    pub const fn new(policy: TakeoverPolicy, interval: Duration, renewal_period: Duration) -> Self {
        Self {
            policy,
            interval,
            renewal_period,
            was_ours: false,
            watched: None,
            displaced: Vec::new(),
            displaceable: None,
        }
    }

    /// A token begins: what was seen under an earlier one does not count, except for the holders that were displaced.
    pub fn begin(&mut self) {
        (self.was_ours, self.watched) = (false, None);
    }

    /// A check found the lock ours.
    pub fn ours(&mut self) {
        (self.was_ours, self.watched, self.displaceable) = (true, None, None);
    }

    /// A check got no answer, or found another release: a holder must be idle at *every* check.
    pub fn unseen(&mut self) {
        self.displaceable = None;
        if let Some(watched) = &mut self.watched {
            watched.idle_since = None;
        }
    }

    /// A check found a foreign holder.
    pub fn foreign(&mut self, holder: &ForeignHolder, now: Monotonic) -> TakeoverDecision {
        // Lost between two checks: the new holder has most likely just purged, and less patience is needed.
        let patience = if self.was_ours { self.renewal_period } else { self.interval };
        self.was_ours = false;
        let watched = self.watched.get_or_insert(Watched { patience, idle_since: Some(now) });
        if holder.publishes {
            *watched = Watched { patience: self.interval, idle_since: None };
        } else {
            watched.idle_since.get_or_insert(now);
        }
        let Watched { patience, idle_since } = *watched;
        let recognized = holder.kind == "string"
            && self.displaced.iter().any(|(value, at)| *value == holder.value && now.since(*at) < REMEMBERED);
        let idle_for_long = idle_since.is_some_and(|since| now.since(since) >= patience);
        let decision = match self.policy {
            TakeoverPolicy::Never => TakeoverDecision::LeaveIt,
            TakeoverPolicy::Idle if !holder.publishes && (recognized || idle_for_long) => TakeoverDecision::Take,
            TakeoverPolicy::Idle => TakeoverDecision::Wait,
        };
        self.displaceable = (decision == TakeoverDecision::Take).then(|| holder.clone());
        decision
    }

    /// The lock was taken from this holder.
    pub fn displaced(&mut self, holder: &ForeignHolder, now: Monotonic) {
        self.ours();
        self.displaced.retain(|(value, at)| *value != holder.value && now.since(*at) < REMEMBERED);
        if self.displaced.len() == MOST_REMEMBERED {
            self.displaced.remove(0);
        }
        if holder.kind == "string" {
            self.displaced.push((holder.value.clone(), now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);
    const PERIOD: Duration = Duration::from_secs(10);

    fn history(policy: TakeoverPolicy) -> ForeignHolderHistory {
        ForeignHolderHistory::new(policy, INTERVAL, PERIOD)
    }

    fn holder(value: &str, publishes: bool) -> ForeignHolder {
        ForeignHolder { kind: "string".into(), value: value.into(), publishes }
    }

    fn at(seconds: u64) -> Monotonic {
        Monotonic::at(Duration::from_secs(1_000 + seconds))
    }

    #[test]
    fn an_idle_holder_loses_the_lock_after_one_interval() {
        let mut history = history(TakeoverPolicy::Idle);
        for second in (0..60).step_by(10) {
            assert_eq!(history.foreign(&holder("classifier_1", false), at(second)), TakeoverDecision::Wait, "{second}");
        }
        assert_eq!(history.foreign(&holder("classifier_1", false), at(60)), TakeoverDecision::Take);
    }

    #[test]
    fn the_policy_never_leaves_the_lock_alone() {
        let mut history = history(TakeoverPolicy::Never);
        assert_eq!(history.foreign(&holder("c", false), at(0)), TakeoverDecision::LeaveIt);
        assert_eq!(history.foreign(&holder("c", false), at(10_000)), TakeoverDecision::LeaveIt);
    }

    #[test]
    fn a_holder_that_publishes_keeps_the_lock_until_it_has_stopped_for_an_interval() {
        let mut history = history(TakeoverPolicy::Idle);
        history.ours();
        for second in (0..600).step_by(10) {
            assert_eq!(history.foreign(&holder("c", true), at(second)), TakeoverDecision::Wait);
        }
        assert_eq!(history.foreign(&holder("c", false), at(600)), TakeoverDecision::Wait);
        assert_eq!(history.foreign(&holder("c", false), at(659)), TakeoverDecision::Wait);
        assert_eq!(history.foreign(&holder("c", false), at(660)), TakeoverDecision::Take);
    }

    #[test]
    fn a_lock_that_was_ours_at_the_last_check_is_taken_back_after_one_period() {
        let mut history = history(TakeoverPolicy::Idle);
        history.ours();
        assert_eq!(history.foreign(&holder("c", false), at(0)), TakeoverDecision::Wait);
        assert_eq!(history.foreign(&holder("c", false), at(10)), TakeoverDecision::Take);
        history.begin();
        assert_eq!(
            history.foreign(&holder("c", false), at(20)),
            TakeoverDecision::Wait,
            "a new token waits for the interval"
        );
        assert_eq!(history.foreign(&holder("c", false), at(30)), TakeoverDecision::Wait);
    }

    #[test]
    fn a_check_without_an_answer_does_not_count_as_idle() {
        let mut history = history(TakeoverPolicy::Idle);
        history.foreign(&holder("c", false), at(0));
        history.unseen();
        assert_eq!(history.foreign(&holder("c", false), at(60)), TakeoverDecision::Wait);
        assert_eq!(history.foreign(&holder("c", false), at(120)), TakeoverDecision::Take);
    }

    #[test]
    fn a_holder_displaced_within_the_hour_loses_the_lock_at_once() {
        let mut history = history(TakeoverPolicy::Idle);
        history.displaced(&holder("c", false), at(0));
        history.begin();
        assert_eq!(history.foreign(&holder("other", false), at(5)), TakeoverDecision::Wait);
        assert_eq!(history.foreign(&holder("c", true), at(5)), TakeoverDecision::Wait, "unless it publishes now");
        assert_eq!(history.foreign(&holder("c", false), at(6)), TakeoverDecision::Take);
        history.begin();
        assert_eq!(history.foreign(&holder("c", false), at(3_601)), TakeoverDecision::Wait);
    }
}
