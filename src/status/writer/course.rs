//! Which of the planned writes are made in this turn, and when to stop. Pure but for its place.
//!
//! Every turn plans anew whatever is not written yet, so writes that fail come up again and again. What keeps them from
//! becoming a load (P6), and from holding up those that would succeed, is decided here:
//! - what failed in an earlier turn comes after all else, the longest untried first, and not before half an interval has
//!   passed;
//! - a namespace in which many in a row have failed is left alone for the rest of the turn, and so is everything when
//!   many more have: a few tries a turn tell that the cause is gone, and then all of them are made;
//! - no write is begun after an interval: the next collection and publication are due.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::StatusChange;
use crate::model::{Monotonic, ObjectName};

/// Failures in a row after which a namespace is left alone: as many as are under way at once.
const HOPELESS_NAMESPACE: usize = super::CONCURRENCY;
/// The same over all namespaces.
const HOPELESS: usize = 4 * super::CONCURRENCY;

/// Intervals without a failure after which it is over, also if nothing that had failed was written: it may not be planned
/// any more.
const QUIET: u32 = 3;

/// What failed in earlier turns and is still planned, with the time of the last try.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    tried: HashMap<ObjectName, Monotonic>,
    failed_last: Option<Monotonic>,
}

/// The writes of one turn.
pub(super) struct Course<'a> {
    backlog: &'a mut Backlog,
    queue: VecDeque<StatusChange>,
    begun: Monotonic,
    interval: Duration,
    failed_in_a_row: usize,
    failed_in_namespace: HashMap<Arc<str>, usize>,
    /// Whether something was written that had failed before.
    recovered: bool,
    /// How many were left for later turns.
    pub(super) left: usize,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        backlog: &'a mut Backlog,
        changes: Vec<StatusChange>,
        interval: Duration,
        begun: Monotonic,
    ) -> Self {
        let planned = changes.len();
        let mut fresh = VecDeque::with_capacity(planned);
        let mut again = Vec::new();
        let mut still = HashMap::new();
        for change in changes {
            match backlog.tried.remove(&change.name) {
                None => fresh.push_back(change),
                Some(tried) => {
                    still.insert(change.name.clone(), tried);
                    if begun.since(tried) >= interval / 2 {
                        again.push((tried, change));
                    }
                }
            }
        }
        // What is not planned any more has been written, or has another reason not to be.
        backlog.tried = still;
        again.sort_by_key(|(tried, _)| *tried);
        fresh.extend(again.into_iter().map(|(_, change)| change));
        let left = planned - fresh.len();
        let failed_in_namespace = HashMap::new();
        Self { backlog, queue: fresh, begun, interval, failed_in_a_row: 0, failed_in_namespace, recovered: false, left }
    }

    /// The next write to begin; `None` when no further one is to be begun.
    pub(super) fn next(&mut self, now: Monotonic) -> Option<StatusChange> {
        while let Some(change) = self.queue.pop_front() {
            let in_namespace = self.failed_in_namespace.get(&change.name.namespace).copied().unwrap_or_default();
            let over = now.since(self.begun) >= self.interval || self.failed_in_a_row >= HOPELESS;
            if !over && in_namespace < HOPELESS_NAMESPACE {
                return Some(change);
            }
            self.left += 1;
        }
        None
    }

    /// Written, or overtaken by a newer version: the API server takes our writes.
    pub(super) fn taken(&mut self, name: &ObjectName) {
        self.recovered |= self.backlog.tried.remove(name).is_some();
        self.failed_in_a_row = 0;
        self.failed_in_namespace.remove(&name.namespace);
    }

    /// Whether what stood in the way of earlier writes does so no more. A turn in which what had failed was not planned
    /// tells nothing.
    pub(super) fn is_over(&self, now: Monotonic) -> bool {
        let Backlog { tried, failed_last } = &*self.backlog;
        let quiet = failed_last.is_none_or(|last| now.since(last) >= self.interval * QUIET);
        tried.is_empty() && (self.recovered || quiet)
    }

    /// Not written.
    pub(super) fn failed(&mut self, name: &ObjectName, now: Monotonic) {
        self.backlog.tried.insert(name.clone(), now);
        self.backlog.failed_last = Some(now);
        self.failed_in_a_row += 1;
        *self.failed_in_namespace.entry(name.namespace.clone()).or_default() += 1;
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
            uid: "u".into(),
            resource_version: "1".into(),
            status: McpGatewayStatus::default(),
            accepted: None,
            moved: None,
        };
        (0..count).map(change).collect()
    }

    /// A turn in which the writes of some namespaces fail; what was tried, and what was left.
    fn turn(backlog: &mut Backlog, changes: Vec<StatusChange>, now: u64, fails: &[&str]) -> (Vec<ObjectName>, usize) {
        let mut course = Course::new(backlog, changes, INTERVAL, at(now));
        let mut tried = Vec::new();
        while let Some(change) = course.next(at(now)) {
            if fails.contains(&&*change.name.namespace) {
                course.failed(&change.name, at(now));
            } else {
                course.taken(&change.name);
            }
            tried.push(change.name);
        }
        (tried, course.left)
    }

    #[test]
    fn a_few_tries_a_turn_and_all_of_them_once_one_is_taken() {
        let mut backlog = Backlog::default();
        for round in 0..3 {
            let (tried, left) = turn(&mut backlog, changes("a", 1_000), 60 * round, &["a"]);
            assert_eq!((tried.len(), left), (HOPELESS_NAMESPACE, 1_000 - HOPELESS_NAMESPACE));
        }
        let (tried, left) = turn(&mut backlog, changes("a", 1_000), 180, &[]);
        assert_eq!((tried.len(), left), (1_000, 0));
        assert!(backlog.tried.is_empty());
    }

    #[test]
    fn what_fails_holds_up_nothing_else() {
        let mut backlog = Backlog::default();
        let all = || [changes("bad", 500), changes("good", 500)].concat();
        let (tried, _) = turn(&mut backlog, all(), 0, &["bad"]);
        assert_eq!(tried.iter().filter(|name| &*name.namespace == "good").count(), 500);
        // In the next turn the rest of them and then the old ones, which have had their turn.
        let (tried, _) = turn(&mut backlog, changes("bad", 500), 60, &["bad"]);
        assert_eq!(&*tried[0].name, format!("{HOPELESS_NAMESPACE:05}").as_str());
        // Many namespaces do not add up to a load.
        let many: Vec<String> = (0..100).map(|number| format!("n{number:03}")).collect();
        let names: Vec<&str> = many.iter().map(String::as_str).collect();
        let everything = names.iter().flat_map(|namespace| changes(namespace, 3)).collect();
        assert_eq!(turn(&mut Backlog::default(), everything, 0, &names).0.len(), HOPELESS);
    }

    #[test]
    fn it_is_over_when_what_failed_is_written_or_has_not_failed_for_long() {
        let mut backlog = Backlog::default();
        turn(&mut backlog, changes("a", 3), 0, &["a"]);
        assert!(!Course::new(&mut backlog, changes("b", 3), INTERVAL, at(60)).is_over(at(60)), "it was not planned");
        assert!(Course::new(&mut backlog, vec![], INTERVAL, at(180)).is_over(at(180)));
        turn(&mut backlog, changes("a", 3), 240, &["a"]);
        let mut course = Course::new(&mut backlog, changes("a", 3), INTERVAL, at(300));
        for written in 1..=3 {
            let change = course.next(at(300)).unwrap();
            course.taken(&change.name);
            assert_eq!(course.is_over(at(300)), written == 3);
        }
    }

    #[test]
    fn a_try_a_cycle_however_often_the_registry_changes_and_none_after_an_interval() {
        let mut backlog = Backlog::default();
        turn(&mut backlog, changes("a", 3), 0, &["a"]);
        assert_eq!(turn(&mut backlog, changes("a", 3), 1, &["a"]), (vec![], 3));
        assert_eq!(turn(&mut backlog, changes("a", 3), 31, &["a"]).0.len(), 3);
        let mut course = Course::new(&mut backlog, changes("b", 3), INTERVAL, at(100));
        assert!(course.next(at(159)).is_some() && course.next(at(160)).is_none());
        assert_eq!(course.left, 2);
    }
}
