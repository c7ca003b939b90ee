//! Which of the planned writes are made in this turn, and in which order. No IO.
//!
//! Every turn plans again whatever is not written yet, so failing writes come up again and again. They must not become
//! a load (`docs/contract.md#p6`), nor hold up the writes that would succeed:
//! - A write that failed in an earlier turn comes after all others, the longest untried first, and not before half an
//!   interval has passed.
//! - After many failures in a row, a namespace is skipped for the rest of the turn; after many more, everything is.
//!   These few attempts a turn show when the cause is gone, and then all writes are made.
//! - No write is begun after an interval, because the next collection and publication are due.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::StatusChange;
use crate::model::{Monotonic, ObjectName};

/// Failures in a row after which a namespace is skipped: as many as there are writes in flight.
const MAX_FAILURES_IN_NAMESPACE: usize = super::CONCURRENCY;
/// Failures in a row, over all namespaces, after which everything is skipped.
const MAX_FAILURES: usize = 4 * super::CONCURRENCY;

/// Intervals without a failure after which writing counts as recovered, even if no failed write has succeeded since:
/// the objects may not be planned any more.
const RECOVERY_INTERVALS: u32 = 3;

/// The writes that failed in earlier turns and are still planned, each with its last attempt.
#[derive(Debug, Default)]
pub(super) struct FailedWrites {
    attempts: HashMap<ObjectName, Attempt>,
    last_failure: Option<Monotonic>,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    at: Monotonic,
    failure: Failure,
}

/// What is known of a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The API server did not store it.
    NotStored,
    /// There was no answer: the API server may have stored it.
    Unanswered,
}

/// The writes of one turn.
pub(super) struct WriteQueue<'a> {
    failed_writes: &'a mut FailedWrites,
    changes: VecDeque<StatusChange>,
    begun: Monotonic,
    interval: Duration,
    failures_in_a_row: usize,
    failures_by_namespace: HashMap<Arc<str>, usize>,
    /// Whether a write has succeeded that had failed before: in this turn, or unnoticed in an earlier one.
    recovered: bool,
    /// The number of writes left for later turns.
    pub(super) left: usize,
}

impl<'a> WriteQueue<'a> {
    pub(super) fn new(
        failed_writes: &'a mut FailedWrites,
        changes: Vec<StatusChange>,
        interval: Duration,
        begun: Monotonic,
    ) -> Self {
        let planned = changes.len();
        let mut queue = VecDeque::with_capacity(planned);
        let mut repeated = Vec::new();
        let mut attempts = HashMap::new();
        for change in changes {
            match failed_writes.attempts.remove(&change.name) {
                None => queue.push_back(change),
                Some(attempt) => {
                    attempts.insert(change.name.clone(), attempt);
                    if begun.since(attempt.at) >= interval / 2 {
                        repeated.push((attempt.at, change));
                    }
                }
            }
        }
        // The others are not planned any more. Where there was no answer, the watch has most likely shown since that
        // the status is stored.
        let recovered = failed_writes.attempts.values().any(|attempt| attempt.failure == Failure::Unanswered);
        failed_writes.attempts = attempts;
        repeated.sort_by_key(|(at, _)| *at);
        queue.extend(repeated.into_iter().map(|(_, change)| change));
        Self {
            failed_writes,
            left: planned - queue.len(),
            changes: queue,
            begun,
            interval,
            failures_in_a_row: 0,
            failures_by_namespace: HashMap::new(),
            recovered,
        }
    }

    /// The next write to begin; `None` when there is none left in this turn.
    pub(super) fn next(&mut self, now: Monotonic) -> Option<StatusChange> {
        if now.since(self.begun) >= self.interval || self.failures_in_a_row >= MAX_FAILURES {
            self.clear();
        }
        while let Some(change) = self.changes.pop_front() {
            let failures = self.failures_by_namespace.get(&change.name.namespace).copied().unwrap_or_default();
            if failures < MAX_FAILURES_IN_NAMESPACE {
                return Some(change);
            }
            self.left += 1;
        }
        None
    }

    /// Leaves all remaining writes for later turns.
    pub(super) fn clear(&mut self) {
        self.left += self.changes.len();
        self.changes.clear();
    }

    /// The API server stored the write, or has a newer version of the object: it accepts writes.
    pub(super) fn accepted(&mut self, name: &ObjectName) {
        self.recovered |= self.failed_writes.attempts.remove(name).is_some();
        self.failures_in_a_row = 0;
        self.failures_by_namespace.remove(&name.namespace);
    }

    /// The write failed.
    pub(super) fn failed(&mut self, name: &ObjectName, failure: Failure, now: Monotonic) {
        self.failed_writes.attempts.insert(name.clone(), Attempt { at: now, failure });
        self.failed_writes.last_failure = Some(now);
        self.failures_in_a_row += 1;
        *self.failures_by_namespace.entry(name.namespace.clone()).or_default() += 1;
    }

    /// Whether writes that had failed have all succeeded since. A turn that did not plan them proves nothing, unless
    /// they were unanswered.
    pub(super) fn has_recovered(&self, now: Monotonic) -> bool {
        let FailedWrites { attempts, last_failure } = &*self.failed_writes;
        let quiet = last_failure.is_none_or(|last| now.since(last) >= self.interval * RECOVERY_INTERVALS);
        attempts.is_empty() && (self.recovered || quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1alpha1::McpGatewayStatus;

    const INTERVAL: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::at(Duration::from_secs(seconds))
    }

    fn changes(namespace: &str, count: usize) -> Vec<StatusChange> {
        let change = |number| StatusChange {
            name: ObjectName::new(namespace, &format!("{number:05}")),
            resource_version: "1".into(),
            status: McpGatewayStatus::default(),
            announced: Vec::new(),
            moved: None,
        };
        (0..count).map(change).collect()
    }

    /// A turn in which the writes of some namespaces fail. Returns which were attempted, and how many were left.
    fn turn(
        failed_writes: &mut FailedWrites,
        changes: Vec<StatusChange>,
        now: u64,
        fails: &[&str],
    ) -> (Vec<ObjectName>, usize) {
        let mut queue = WriteQueue::new(failed_writes, changes, INTERVAL, at(now));
        let mut attempted = Vec::new();
        while let Some(change) = queue.next(at(now)) {
            if fails.contains(&&*change.name.namespace) {
                queue.failed(&change.name, Failure::NotStored, at(now));
            } else {
                queue.accepted(&change.name);
            }
            attempted.push(change.name);
        }
        (attempted, queue.left)
    }

    #[test]
    fn a_few_attempts_a_turn_and_all_writes_once_one_succeeds() {
        let mut failed_writes = FailedWrites::default();
        for round in 0..3 {
            let (attempted, left) = turn(&mut failed_writes, changes("a", 1_000), 60 * round, &["a"]);
            assert_eq!((attempted.len(), left), (MAX_FAILURES_IN_NAMESPACE, 1_000 - MAX_FAILURES_IN_NAMESPACE));
        }
        let (attempted, left) = turn(&mut failed_writes, changes("a", 1_000), 180, &[]);
        assert_eq!((attempted.len(), left), (1_000, 0));
        assert!(failed_writes.attempts.is_empty());
    }

    #[test]
    fn failing_writes_hold_up_no_others() {
        let mut failed_writes = FailedWrites::default();
        let all = || [changes("bad", 500), changes("good", 500)].concat();
        let (attempted, _) = turn(&mut failed_writes, all(), 0, &["bad"]);
        assert_eq!(attempted.iter().filter(|name| &*name.namespace == "good").count(), 500);
        // The next turn begins with those that have not been attempted yet.
        let (attempted, _) = turn(&mut failed_writes, changes("bad", 500), 60, &["bad"]);
        assert_eq!(&*attempted[0].name, format!("{MAX_FAILURES_IN_NAMESPACE:05}").as_str());
        // Many failing namespaces do not add up to a load.
        let many: Vec<String> = (0..100).map(|number| format!("n{number:03}")).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        let everything = names.iter().flat_map(|namespace| changes(namespace, 3)).collect();
        assert_eq!(turn(&mut FailedWrites::default(), everything, 0, &names).0.len(), MAX_FAILURES);
    }

    #[test]
    fn it_has_recovered_when_failed_writes_succeed_or_nothing_has_failed_for_long() {
        let mut failed_writes = FailedWrites::default();
        turn(&mut failed_writes, changes("a", 3), 0, &["a"]);
        assert!(
            !WriteQueue::new(&mut failed_writes, changes("b", 3), INTERVAL, at(60)).has_recovered(at(60)),
            "it was not planned"
        );
        assert!(WriteQueue::new(&mut failed_writes, vec![], INTERVAL, at(180)).has_recovered(at(180)));
        turn(&mut failed_writes, changes("a", 3), 240, &["a"]);
        let mut queue = WriteQueue::new(&mut failed_writes, changes("a", 3), INTERVAL, at(300));
        for written in 1..=3 {
            let change = queue.next(at(300)).unwrap();
            queue.accepted(&change.name);
            assert_eq!(queue.has_recovered(at(300)), written == 3);
        }
    }

    #[test]
    fn an_unanswered_write_that_is_planned_no_more_was_stored() {
        let mut failed_writes = FailedWrites::default();
        let unanswered = changes("a", 2);
        let mut queue = WriteQueue::new(&mut failed_writes, unanswered.clone(), INTERVAL, at(0));
        for change in &unanswered {
            queue.failed(&change.name, Failure::Unanswered, at(1));
        }
        let mut recovers =
            |changes, now| WriteQueue::new(&mut failed_writes, changes, INTERVAL, at(now)).has_recovered(at(now));
        assert!(!recovers(unanswered[1..].to_vec(), 2), "one is still planned");
        assert!(recovers(vec![], 3));
    }

    #[test]
    fn failed_writes_are_attempted_once_a_cycle_and_none_after_an_interval() {
        let mut failed_writes = FailedWrites::default();
        turn(&mut failed_writes, changes("a", 3), 0, &["a"]);
        assert_eq!(turn(&mut failed_writes, changes("a", 3), 1, &["a"]), (vec![], 3));
        assert_eq!(turn(&mut failed_writes, changes("a", 3), 31, &["a"]).0.len(), 3);
        let mut queue = WriteQueue::new(&mut failed_writes, changes("b", 3), INTERVAL, at(100));
        assert!(queue.next(at(159)).is_some() && queue.next(at(160)).is_none());
        assert_eq!(queue.left, 2);
    }
}
