//! Whether the registry is read at present, over all its watches; told when that changes. Part of [`super`].

use std::time::Duration;

use kube::runtime::watcher::Event;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Metrics;
use super::seen::Seen;
use crate::model::Problem;

/// A list that was read proves nothing of the watch behind it, and nothing tells that a watch has begun. One that is
/// refused is refused at once; after this it works.
const QUIET: Duration = Duration::from_secs(3);

/// How each watch fares, and what was said of that.
pub(super) struct Health {
    parts: Vec<Part>,
    said: watch::Sender<Option<Problem>>,
    metrics: Metrics,
}

#[derive(Clone, Default)]
struct Part {
    problem: Option<Problem>,
    listed: bool,
    works_at: Option<Instant>,
}

impl Health {
    pub(super) fn new(parts: usize, said: watch::Sender<Option<Problem>>, metrics: Metrics) -> Self {
        Self { parts: vec![Part::default(); parts], said, metrics }
    }

    /// Something was read.
    pub(super) fn heard(&mut self, index: usize, event: &Event<Seen>) {
        let part = &mut self.parts[index];
        match event {
            Event::Init | Event::InitApply(_) => return,
            Event::InitDone => {
                part.listed = true;
                part.works_at = part.problem.is_some().then(|| Instant::now() + QUIET);
            }
            Event::Apply(_) | Event::Delete(_) => (part.problem, part.works_at) = (None, None),
        }
        self.tell();
    }

    /// Something could not be read.
    pub(super) fn failed(&mut self, index: usize, problem: Option<Problem>) {
        self.metrics.watch_failures.inc();
        let Some(problem) = problem else { return };
        let part = &mut self.parts[index];
        part.works_at = None;
        Problem::replace(&mut part.problem, Some(problem));
        self.tell();
    }

    /// When [`Self::settled`] is to be called, if ever.
    pub(super) fn settling(&self) -> Option<Instant> {
        self.parts.iter().filter_map(|part| part.works_at).min()
    }

    /// The time has come.
    pub(super) fn settled(&mut self) {
        let now = Instant::now();
        for part in &mut self.parts {
            if part.works_at.is_some_and(|at| at <= now) {
                (part.problem, part.works_at) = (None, None);
            }
        }
        self.tell();
    }

    fn tell(&self) {
        let now = self.parts.iter().find_map(|part| part.problem.clone());
        let read = self.parts.iter().all(|part| part.listed);
        self.metrics.up_to_date.set(i64::from(read && now.is_none()));
        self.said.send_if_modified(|said| {
            let news = Problem::replace(said, now.clone());
            match (news, &now) {
                (false, _) => {}
                (true, Some(problem @ Problem { reason, detail, .. })) => {
                    let advice = problem.message();
                    warn!(
                        %reason,
                        error = detail,
                        "the registry cannot be read, and changes of objects are not seen: {advice}; trying on"
                    );
                }
                (true, None) => info!("the registry is read again"),
            }
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ProblemReason;

    #[tokio::test(start_paused = true)]
    async fn a_list_proves_nothing_of_the_watch_behind_it() {
        let (said, heard) = watch::channel(None);
        let mut health = Health::new(2, said, Metrics::default());
        let reason = || heard.borrow().as_ref().map(|problem| problem.reason);
        health.failed(1, Some(Problem::new(ProblemReason::Forbidden, "grant it").about("watch")));
        health.heard(1, &Event::InitDone);
        assert_eq!(reason(), Some(ProblemReason::Forbidden));
        health.failed(1, Some(Problem::new(ProblemReason::Forbidden, "grant it").about("watch")));
        assert_eq!(health.settling(), None);
        health.heard(1, &Event::InitDone);
        tokio::time::sleep_until(health.settling().unwrap()).await;
        health.settled();
        assert_eq!(reason(), None);
    }
}
