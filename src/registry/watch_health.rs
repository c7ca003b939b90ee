//! Whether the registry can be read at present, over all its watches. Logs and reports when that changes.

use std::time::Duration;

use kube::runtime::watcher::Event;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Metrics;
use super::watched_object::WatchedObject;
use crate::model::Problem;

/// How long a watch must not fail after its list to count as working. A complete list proves nothing about the watch,
/// and no event shows that a watch has started; but one that is refused is refused at once.
const PROBATION: Duration = Duration::from_secs(3);

/// The state of all watches, and the problem that was last reported.
pub(super) struct WatchHealth {
    watches: Vec<WatchState>,
    reported: watch::Sender<Option<Problem>>,
    metrics: Metrics,
}

#[derive(Clone, Default)]
struct WatchState {
    problem: Option<Problem>,
    listed: bool,
    /// When the problem is over, unless the watch fails before.
    recovers_at: Option<Instant>,
}

impl WatchHealth {
    pub(super) fn new(watches: usize, reported: watch::Sender<Option<Problem>>, metrics: Metrics) -> Self {
        Self { watches: vec![WatchState::default(); watches], reported, metrics }
    }

    /// A watch has brought an event.
    pub(super) fn succeeded(&mut self, index: usize, event: &Event<WatchedObject>) {
        let watch = &mut self.watches[index];
        match event {
            Event::Init | Event::InitApply(_) => return,
            Event::InitDone => {
                watch.listed = true;
                watch.recovers_at = watch.problem.is_some().then(|| Instant::now() + PROBATION);
            }
            Event::Apply(_) | Event::Delete(_) => (watch.problem, watch.recovers_at) = (None, None),
        }
        self.report();
    }

    /// A watch has failed; `None` if it is not a problem.
    pub(super) fn failed(&mut self, index: usize, problem: Option<Problem>) {
        self.metrics.watch_failures.inc();
        let Some(problem) = problem else { return };
        let watch = &mut self.watches[index];
        watch.recovers_at = None;
        watch.problem = Some(problem);
        self.report();
    }

    /// When to call [`Self::end_probation`], if ever.
    pub(super) fn probation_end(&self) -> Option<Instant> {
        self.watches.iter().filter_map(|watch| watch.recovers_at).min()
    }

    /// Marks as working each watch whose probation is over.
    pub(super) fn end_probation(&mut self) {
        let now = Instant::now();
        for watch in &mut self.watches {
            if watch.recovers_at.is_some_and(|at| at <= now) {
                (watch.problem, watch.recovers_at) = (None, None);
            }
        }
        self.report();
    }

    fn report(&self) {
        let problem = self.watches.iter().find_map(|watch| watch.problem.clone());
        let listed = self.watches.iter().all(|watch| watch.listed);
        self.metrics.up_to_date.set(i64::from(listed && problem.is_none()));
        self.reported.send_if_modified(|reported| {
            let changed = Problem::replace(reported, problem);
            match (changed, &*reported) {
                (false, _) => {}
                (true, Some(problem @ Problem { reason, detail, .. })) => {
                    let message = problem.message();
                    warn!(
                        %reason,
                        error = detail,
                        "reading the registry failed, changes of objects are not seen: {message}; will retry"
                    );
                }
                (true, None) => info!("reading the registry recovered"),
            }
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProblemReason;

    #[tokio::test(start_paused = true)]
    async fn a_list_does_not_prove_that_the_watch_works() {
        let (sender, reported) = watch::channel(None);
        let mut health = WatchHealth::new(2, sender, Metrics::default());
        let reason = || reported.borrow().as_ref().map(|problem| problem.reason);
        health.failed(1, Some(Problem::new(ProblemReason::Forbidden, "grant it").about("watch")));
        health.succeeded(1, &Event::InitDone);
        assert_eq!(reason(), Some(ProblemReason::Forbidden));
        health.failed(1, Some(Problem::new(ProblemReason::Forbidden, "grant it").about("watch")));
        assert_eq!(health.probation_end(), None);
        health.succeeded(1, &Event::InitDone);
        tokio::time::sleep_until(health.probation_end().unwrap()).await;
        health.end_probation();
        assert_eq!(reason(), None);
    }
}
