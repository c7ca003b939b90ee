//! One watch that never gives up: it lists, watches, and begins anew after a failure and a pause. IO: the API server.
//!
//! After any failure everything is listed anew: a watch that goes on from where it was tells nobody that it works again,
//! and from a version that is gone it never does. What is known stays known meanwhile.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt};
use kube::api::Api;
use kube::runtime::watcher as watch_objects;
use kube::runtime::watcher::{self, Event};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::seen::Seen;
use crate::model::{Problem, ProblemReason};

/// The first pause after a failure; it doubles with each further one.
const SHORTEST_PAUSE: Duration = Duration::from_millis(800);
/// The longest pause while not even a list can be had: that costs one request.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause while lists can be had and watches fail: each try costs a whole list.
const LONGEST_PAUSE_OF_LISTS: Duration = Duration::from_secs(30);
/// A watch that has lasted so long has worked: the next failure is a first one.
const LASTED: Duration = Duration::from_mins(1);

/// An event, or a failure.
pub(super) type Heard = Result<Event<Seen>, watcher::Error>;

struct Attempt {
    events: Option<BoxStream<'static, Heard>>,
    begun: Instant,
    listed: bool,
    pause: Duration,
}

/// Lists and watches for ever.
pub(super) fn watched(api: Api<Seen>, config: watcher::Config) -> BoxStream<'static, Heard> {
    let first = Attempt { events: None, begun: Instant::now(), listed: false, pause: Duration::ZERO };
    let next = move |mut attempt: Attempt| {
        let (api, config) = (api.clone(), config.clone());
        async move {
            let mut events = if let Some(events) = attempt.events.take() {
                events
            } else {
                sleep(jittered(attempt.pause)).await;
                (attempt.begun, attempt.listed) = (Instant::now(), false);
                watch_objects(api, config).boxed()
            };
            let event = events.next().await?;
            match &event {
                Ok(event) => {
                    attempt.listed |= matches!(event, Event::InitDone);
                    attempt.events = Some(events);
                }
                Err(_) => attempt.pause = next_pause(attempt.pause, attempt.begun.elapsed(), attempt.listed),
            }
            Some((event, attempt))
        }
    };
    stream::unfold(first, next).boxed()
}

/// The pause after an attempt that lasted so long, and may have read a whole list.
fn next_pause(before: Duration, lasted: Duration, listed: bool) -> Duration {
    if lasted >= LASTED || before.is_zero() {
        return SHORTEST_PAUSE;
    }
    (before * 2).min(if listed { LONGEST_PAUSE_OF_LISTS } else { LONGEST_PAUSE })
}

/// Up to a fifth less, so that replicas do not ask in step.
fn jittered(pause: Duration) -> Duration {
    let [random, ..] = Uuid::new_v4().into_bytes();
    pause * (1280 - u32::from(random)) / 1280
}

/// What a failure means, with what to do where that is known; nothing for a version that is not known any more, which is
/// an everyday matter: all is listed anew.
pub(super) fn problem(error: &watcher::Error) -> Option<Problem> {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status,
        other => {
            return Some(
                Problem::new(ProblemReason::Unreachable, "the API server does not answer").saying(other.to_string()),
            );
        }
    };
    let verb = if matches!(error, watcher::Error::InitialListFailed(_)) { "list" } else { "watch" };
    let problem = match status.code {
        403 => Problem::new(
            ProblemReason::Forbidden,
            "grant get, list and watch on mcpgateways.mcpgateway.io to the operator",
        )
        .about(verb),
        404 => Problem::new(
            ProblemReason::CrdMissing,
            "the CRD mcpgateways.mcpgateway.io is not installed: kubectl apply --server-side -f crds/",
        ),
        400 => Problem::new(
            ProblemReason::BadRequest,
            "the API server does not take the request: is --watch-selector right?",
        ),
        410 => return None,
        code => {
            Problem::new(ProblemReason::ServerError, "the API server answered with an error").about(code.to_string())
        }
    };
    Some(problem.saying(status.message.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew_after_a_watch_that_lasted() {
        let mut pause = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pause = next_pause(pause, Duration::from_millis(3), false);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
        assert_eq!(next_pause(Duration::from_secs(20), Duration::ZERO, true), LONGEST_PAUSE_OF_LISTS);
        assert_eq!(next_pause(pause, LASTED, false), SHORTEST_PAUSE);
        assert!(jittered(pause) <= pause && jittered(pause) >= pause * 4 / 5);
    }

    #[test]
    fn a_missing_crd_and_a_missing_verb_are_told_with_what_to_do() {
        let status = |code| Box::new(kube::core::Status { code, ..kube::core::Status::default() });
        let missing = problem(&watcher::Error::InitialListFailed(kube::Error::Api(status(404)))).unwrap();
        assert!(missing.reason == ProblemReason::CrdMissing && missing.advice.contains("apply"));
        let listing = problem(&watcher::Error::InitialListFailed(kube::Error::Api(status(403)))).unwrap();
        let watching = problem(&watcher::Error::WatchStartFailed(kube::Error::Api(status(403)))).unwrap();
        assert_eq!(problem(&watcher::Error::WatchStartFailed(kube::Error::Api(status(410)))), None);
        assert_eq!([listing.reason, watching.reason], [ProblemReason::Forbidden; 2]);
        assert_eq!((listing.subject.as_str(), watching.subject.as_str()), ("list", "watch"));
    }
}
