//! Which of the planned writes are made in this turn, and in which order. No IO.
//!
//! Every turn plans again whatever is not written yet, so failing writes come up again and again. They must not become
//! a load (`docs/contract.md#p6`), nor hold up the writes that would succeed:
//! - A write that failed in an earlier turn comes after all others, the longest untried first, and not before half an
//!   interval has passed.
//! - After many failures in a row, a namespace is skipped for the rest of the turn; after many more, everything is.
//!   These few attempts a turn show when the cause is gone, and then all writes are made.
//! - No write is begun after an interval, because the next collection and publication are due.
//!
//! A turn that follows at once plans from a registry that does not show the last writes of the turn before yet. What is
//! planned for a version that was replaced a moment ago is left out: the API server would refuse it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use arcstr::ArcStr;

use crate::model::{Monotonic, ObjectName, ResourceVersion};
use crate::registry::Gateway;

/// Failures in a row after which a namespace is skipped: as many as there are writes in flight.
const MAX_FAILURES_IN_NAMESPACE: usize = super::CONCURRENCY;
/// Failures in a row, over all namespaces, after which everything is skipped.
const MAX_FAILURES: usize = 4 * super::CONCURRENCY;

/// Intervals without a failure after which writing counts as recovered, even if no failed write has succeeded since:
/// the objects may not be planned any more.
const RECOVERY_INTERVALS: u32 = 3;

/// How long a version is remembered as replaced: longer than a watch takes to show the next one, and short enough that
/// the memory stays small.
const REPLACED_FOR: Duration = Duration::from_secs(10);

/// What is remembered of the writes of earlier turns.
#[derive(Debug, Default)]
pub(super) struct WriteHistory {
    /// The last attempts that failed, of writes that are still planned.
    failed: HashMap<ObjectName, Attempt>,
    last_failure: Option<Monotonic>,
    /// The versions of objects that the API server replaced a moment ago.
    replaced: HashMap<ObjectName, (ResourceVersion, Monotonic)>,
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
    history: &'a mut WriteHistory,
    due: VecDeque<&'a Gateway>,
    begun: Monotonic,
    interval: Duration,
    failures_in_a_row: usize,
    failures_by_namespace: HashMap<ArcStr, usize>,
    /// Whether a write has succeeded that had failed before: in this turn, or unnoticed in an earlier one.
    recovered: bool,
    /// The number of writes left for later turns.
    pub(super) left: usize,
}

impl<'a> WriteQueue<'a> {
    /// `planned`: the objects whose statuses are to be written, in this order.
    pub(super) fn new(
        history: &'a mut WriteHistory,
        planned: &'a [Gateway],
        interval: Duration,
        begun: Monotonic,
    ) -> Self {
        history.replaced.retain(|_, (_, at)| begun.since(*at) < REPLACED_FOR);
        let mut due = VecDeque::with_capacity(planned.len());
        let mut repeated = Vec::new();
        let mut failed = HashMap::new();
        let mut left = 0;
        for gateway in planned {
            let name = &gateway.record.name;
            if history.replaced.get(name).is_some_and(|(version, _)| *version == gateway.record.resource_version) {
                continue;
            }
            match history.failed.remove(name) {
                None => due.push_back(gateway),
                Some(attempt) => {
                    failed.insert(name.clone(), attempt);
                    if begun.since(attempt.at) >= interval / 2 {
                        repeated.push((attempt.at, gateway));
                    } else {
                        left += 1;
                    }
                }
            }
        }
        // The others are not planned any more. Where there was no answer, the watch has most likely shown since that
        // the status is stored.
        let recovered = history.failed.values().any(|attempt| attempt.failure == Failure::Unanswered);
        history.failed = failed;
        repeated.sort_by_key(|(at, _)| *at);
        due.extend(repeated.into_iter().map(|(_, gateway)| gateway));
        Self {
            history,
            left,
            due,
            begun,
            interval,
            failures_in_a_row: 0,
            failures_by_namespace: HashMap::new(),
            recovered,
        }
    }

    /// The next write to begin; `None` when there is none left in this turn.
    pub(super) fn next(&mut self, now: Monotonic) -> Option<&'a Gateway> {
        if now.since(self.begun) >= self.interval || self.failures_in_a_row >= MAX_FAILURES {
            self.clear();
        }
        while let Some(gateway) = self.due.pop_front() {
            let namespace = &gateway.record.name.namespace;
            let failures = self.failures_by_namespace.get(namespace).copied().unwrap_or_default();
            if failures < MAX_FAILURES_IN_NAMESPACE {
                return Some(gateway);
            }
            self.left += 1;
        }
        None
    }

    /// Leaves all remaining writes for later turns.
    pub(super) fn clear(&mut self) {
        self.left += self.due.len();
        self.due.clear();
    }

    /// The API server stored the write, or has a newer version of the object: it accepts writes.
    pub(super) fn accepted(&mut self, gateway: &Gateway, now: Monotonic) {
        let name = &gateway.record.name;
        self.history.replaced.insert(name.clone(), (gateway.record.resource_version.clone(), now));
        self.recovered |= self.history.failed.remove(name).is_some();
        self.failures_in_a_row = 0;
        self.failures_by_namespace.remove(&name.namespace);
    }

    /// The write failed.
    pub(super) fn failed(&mut self, name: &ObjectName, failure: Failure, now: Monotonic) {
        self.history.failed.insert(name.clone(), Attempt { at: now, failure });
        self.history.last_failure = Some(now);
        self.failures_in_a_row += 1;
        *self.failures_by_namespace.entry(name.namespace.clone()).or_default() += 1;
    }

    /// Whether writes that had failed have all succeeded since. A turn that did not plan them proves nothing, unless
    /// they were unanswered.
    pub(super) fn has_recovered(&self, now: Monotonic) -> bool {
        let last_failure = self.history.last_failure;
        let quiet = last_failure.is_none_or(|last| now.since(last) >= self.interval * RECOVERY_INTERVALS);
        self.history.failed.is_empty() && (self.recovered || quiet)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::registry::{GatewayRecord, Registration};

    const INTERVAL: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::at(Duration::from_secs(seconds))
    }

    fn planned(namespace: &str, count: usize) -> Vec<Gateway> {
        let gateway = |number| {
            let metadata =
                json!({"namespace": namespace, "name": format!("{number:05}"), "uid": "u", "resourceVersion": "1"});
            let metadata = serde_json::from_value(metadata).unwrap();
            let record = GatewayRecord::from_object(&metadata, &json!({"spec": {"url": "http://h"}})).unwrap();
            Gateway { record: Arc::new(record), registration: Registration::Disabled, revision: 1 }
        };
        (0..count).map(gateway).collect()
    }

    /// The same objects in their next versions.
    fn written(planned: &[Gateway]) -> Vec<Gateway> {
        let next = |gateway: &Gateway| {
            let mut record = (*gateway.record).clone();
            record.resource_version = "2".into();
            Gateway { record: Arc::new(record), ..gateway.clone() }
        };
        planned.iter().map(next).collect()
    }

    /// A turn in which the writes of some namespaces fail. Returns which were attempted, and how many were left.
    fn turn(history: &mut WriteHistory, planned: &[Gateway], now: u64, fails: &[&str]) -> (Vec<ObjectName>, usize) {
        let mut queue = WriteQueue::new(history, planned, INTERVAL, at(now));
        let mut attempted = Vec::new();
        while let Some(gateway) = queue.next(at(now)) {
            let name = &gateway.record.name;
            if fails.contains(&&*name.namespace) {
                queue.failed(name, Failure::NotStored, at(now));
            } else {
                queue.accepted(gateway, at(now));
            }
            attempted.push(name.clone());
        }
        (attempted, queue.left)
    }

    #[test]
    fn a_few_attempts_a_turn_and_all_writes_once_one_succeeds() {
        let mut history = WriteHistory::default();
        for round in 0..3 {
            let (attempted, left) = turn(&mut history, &planned("a", 1_000), 60 * round, &["a"]);
            assert_eq!((attempted.len(), left), (MAX_FAILURES_IN_NAMESPACE, 1_000 - MAX_FAILURES_IN_NAMESPACE));
        }
        let (attempted, left) = turn(&mut history, &planned("a", 1_000), 180, &[]);
        assert_eq!((attempted.len(), left), (1_000, 0));
        assert!(history.failed.is_empty());
    }

    #[test]
    fn failing_writes_hold_up_no_others() {
        let mut history = WriteHistory::default();
        let all = [planned("bad", 500), planned("good", 500)].concat();
        let (attempted, _) = turn(&mut history, &all, 0, &["bad"]);
        assert_eq!(attempted.iter().filter(|name| &*name.namespace == "good").count(), 500);
        // The next turn begins with those that have not been attempted yet.
        let (attempted, _) = turn(&mut history, &planned("bad", 500), 60, &["bad"]);
        assert_eq!(&*attempted[0].name, format!("{MAX_FAILURES_IN_NAMESPACE:05}").as_str());
        // Many failing namespaces do not add up to a load.
        let many: Vec<String> = (0..100).map(|number| format!("n{number:03}")).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        let everything: Vec<_> = names.iter().flat_map(|namespace| planned(namespace, 3)).collect();
        assert_eq!(turn(&mut WriteHistory::default(), &everything, 0, &names).0.len(), MAX_FAILURES);
    }

    #[test]
    fn what_was_written_a_moment_ago_is_not_written_again() {
        let mut history = WriteHistory::default();
        let all = planned("a", 3);
        assert_eq!(turn(&mut history, &all[..2], 0, &[]).0.len(), 2);
        // The watch shows the second write, which leads to another one, but not the first.
        let stale = [all[0].clone(), written(&all)[1].clone(), all[2].clone()];
        let (attempted, left) = turn(&mut history, &stale, 1, &[]);
        assert_eq!((attempted, left), (vec![all[1].record.name.clone(), all[2].record.name.clone()], 0));
        // A watch that shows nothing for longer is broken: the write shows the truth.
        assert_eq!(turn(&mut history, &all[..1], 10, &[]).0.len(), 1);
    }

    #[test]
    fn it_has_recovered_when_failed_writes_succeed_or_nothing_has_failed_for_long() {
        let mut history = WriteHistory::default();
        turn(&mut history, &planned("a", 3), 0, &["a"]);
        assert!(
            !WriteQueue::new(&mut history, &planned("b", 3), INTERVAL, at(60)).has_recovered(at(60)),
            "it was not planned"
        );
        assert!(WriteQueue::new(&mut history, &[], INTERVAL, at(180)).has_recovered(at(180)));
        let again = planned("a", 3);
        turn(&mut history, &again, 240, &["a"]);
        let mut queue = WriteQueue::new(&mut history, &again, INTERVAL, at(300));
        for written in 1..=3 {
            let gateway = queue.next(at(300)).unwrap();
            queue.accepted(gateway, at(300));
            assert_eq!(queue.has_recovered(at(300)), written == 3);
        }
    }

    #[test]
    fn an_unanswered_write_that_is_planned_no_more_was_stored() {
        let mut history = WriteHistory::default();
        let unanswered = planned("a", 2);
        let mut queue = WriteQueue::new(&mut history, &unanswered, INTERVAL, at(0));
        for gateway in &unanswered {
            queue.failed(&gateway.record.name, Failure::Unanswered, at(1));
        }
        let mut recovers =
            |planned: &[Gateway], now| WriteQueue::new(&mut history, planned, INTERVAL, at(now)).has_recovered(at(now));
        assert!(!recovers(&unanswered[1..], 2), "one is still planned");
        assert!(recovers(&[], 3));
    }

    #[test]
    fn failed_writes_are_attempted_once_a_cycle_and_none_after_an_interval() {
        let mut history = WriteHistory::default();
        let all = planned("a", 3);
        turn(&mut history, &all, 0, &["a"]);
        assert_eq!(turn(&mut history, &all, 1, &["a"]), (vec![], 3));
        assert_eq!(turn(&mut history, &all, 31, &["a"]).0.len(), 3);
        let others = planned("b", 3);
        let mut queue = WriteQueue::new(&mut history, &others, INTERVAL, at(100));
        assert!(queue.next(at(159)).is_some() && queue.next(at(160)).is_none());
        assert_eq!(queue.left, 2);
    }
}
