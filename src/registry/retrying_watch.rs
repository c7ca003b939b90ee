//! A watch that never ends: after a failure it pauses, then lists and watches again. IO: the API server.
//!
//! After every failure all objects are listed again: a watch that resumes does not show that it works again, and one
//! that resumes from an expired version never will. Until the list is complete, the objects read before remain valid.
//!
//! kube's `StreamBackoff` does not fit: it starts again from the shortest pause at every `Init`, which precedes every
//! list, and its pauses cannot depend on whether the list succeeded.

use std::time::Duration;

use kube::api::{Api, WatchParams};
use kube::runtime::watcher::{self, Event};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::list_and_watch::{Attempt, End};
use super::watched_object::WatchedObject;
use crate::kube_error;
use crate::model::{Problem, ProblemReason};

/// The pause after the first failure; it doubles with each further one.
const MIN_PAUSE: Duration = Duration::from_millis(800);
/// The longest pause while lists fail: an attempt costs one request.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause while lists succeed and watches fail: an attempt costs a whole list.
const MAX_PAUSE_AFTER_LIST: Duration = Duration::from_secs(30);
/// How long a working watch lasts before everything is listed again. For about a second after the CRD is replaced,
/// watches still return objects in the schema of the former CRD, without new fields. A watch that resumes does not
/// return those versions of the objects again.
const RELIST_AFTER: Duration = Duration::from_mins(30);
/// The next failure of a watch that has lasted this long counts as a first one.
const STABLE_AFTER: Duration = Duration::from_mins(1);

pub(super) type WatchResult = Result<Event<WatchedObject>, watcher::Error>;

/// Lists and watches until the receiver is gone. Sends each result with the number of the watch.
pub(super) async fn watch(
    index: usize,
    api: Api<WatchedObject>,
    params: WatchParams,
    results: mpsc::Sender<(usize, WatchResult)>,
) {
    let mut pause = Duration::ZERO;
    loop {
        let begun = Instant::now();
        let mut attempt = Attempt::new(index, &api, &params, &results);
        let ended = timeout_at(begun + jittered(RELIST_AFTER), attempt.run()).await;
        match ended {
            // It is time to list again.
            Err(_) => {}
            Ok(End::Failed(error)) => {
                if results.send((index, Err(error))).await.is_err() {
                    return;
                }
                pause = next_pause(pause, begun.elapsed(), attempt.listed());
                sleep(jittered(pause)).await;
            }
            Ok(End::ReceiverGone) => return,
        }
    }
}

/// The pause after an attempt. `previous`: the pause before it. `listed`: whether its list was complete.
fn next_pause(previous: Duration, lasted: Duration, listed: bool) -> Duration {
    if lasted >= STABLE_AFTER || previous.is_zero() {
        return MIN_PAUSE;
    }
    (previous * 2).min(if listed { MAX_PAUSE_AFTER_LIST } else { MAX_PAUSE })
}

/// Up to a fifth less, so that replicas do not retry in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - 0.2 * fastrand::f64())
}

/// What a failure means and what to do about it. `None` for an expired version, which is normal: everything is listed
/// again.
pub(super) fn problem(error: &watcher::Error) -> Option<Problem> {
    let resource = "mcpgateways.mcpgateway.io";
    match kube_error::answer(error) {
        Some(status) if status.code == 400 => {
            let advice = "the API server rejects the request: check --watch-selector";
            Some(Problem::new(ProblemReason::BadRequest, advice).saying(status.message.clone()))
        }
        Some(status) if status.code == 403 => {
            let verb = if matches!(error, watcher::Error::InitialListFailed(_)) { "list" } else { "watch" };
            kube_error::watch_problem(error, resource).map(|problem| problem.about(verb))
        }
        _ => kube_error::watch_problem(error, resource),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::StreamExt;
    use hyper::http::{Request, Response, StatusCode};
    use kube::Client;
    use kube::client::Body;
    use serde_json::json;
    use tokio::task::JoinSet;

    use super::*;

    /// An API server with one object, which streams lists or only knows pages. Its watches have no events. It counts
    /// the lists.
    fn quiet_api_server(streams: bool, lists: Arc<AtomicUsize>) -> Client {
        let service = tower::service_fn(move |request: Request<Body>| {
            let lists = Arc::clone(&lists);
            async move {
                let query = request.uri().query().unwrap_or_default().to_owned();
                let object = json!({"kind": "McpGateway", "apiVersion": "mcpgateway.io/v1alpha1", "spec": {},
                    "metadata": {"namespace": "a", "name": "b", "resourceVersion": "6", "uid": "u"}});
                let end = json!({"kind": "McpGateway", "apiVersion": "mcpgateway.io/v1alpha1", "metadata":
                    {"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}}});
                let mut answer = Response::new(axum::body::Body::empty());
                if query.contains("sendInitialEvents=true") {
                    assert!(query.ends_with("&resourceVersion="), "not older than the request: {query}");
                    if streams {
                        lists.fetch_add(1, Ordering::Relaxed);
                        let [first, last] = [("ADDED", object), ("BOOKMARK", end)]
                            .map(|(kind, object)| format!("{}\n", json!({"type": kind, "object": object})));
                        let begin = futures::stream::iter([Ok::<_, Infallible>((first + &last).into_bytes())]);
                        *answer.body_mut() = axum::body::Body::from_stream(begin.chain(futures::stream::pending()));
                    } else {
                        *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
                    }
                } else if query.contains("watch=true") {
                    std::future::pending::<()>().await;
                } else {
                    lists.fetch_add(1, Ordering::Relaxed);
                    let list = json!({"kind": "McpGatewayList", "apiVersion": "mcpgateway.io/v1alpha1",
                        "metadata": {"resourceVersion": "7"}, "items": [object]});
                    *answer.body_mut() = axum::body::Body::from(serde_json::to_vec(&list).unwrap());
                }
                Ok::<_, Infallible>(answer)
            }
        });
        Client::new(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn objects_are_listed_again_although_the_watch_works() {
        for streams in [true, false] {
            let lists = Arc::new(AtomicUsize::new(0));
            let (sender, mut results) = mpsc::channel(16);
            let api = Api::all(quiet_api_server(streams, Arc::clone(&lists)));
            let mut watching = JoinSet::new();
            watching.spawn(watch(0, api, WatchParams::default().timeout(55), sender));
            let begun = Instant::now();
            let mut objects = 0;
            while lists.load(Ordering::Relaxed) < 3 {
                objects += usize::from(matches!(results.recv().await.unwrap().1.unwrap(), Event::InitApply(_)));
            }
            let hours = begun.elapsed().as_secs_f64() / 3_600.0;
            assert!((0.8..=1.01).contains(&hours), "two more lists after {hours} h");
            assert!(objects >= 2, "{objects} in two lists");
        }
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_start_again_after_a_stable_watch() {
        let mut pause = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..7 {
            pause = next_pause(pause, Duration::from_millis(3), false);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
        assert_eq!(next_pause(Duration::from_secs(20), Duration::ZERO, true), MAX_PAUSE_AFTER_LIST);
        assert_eq!(next_pause(pause, STABLE_AFTER, false), MIN_PAUSE);
        assert!(jittered(pause) <= pause && jittered(pause) >= pause * 4 / 5);
    }

    #[test]
    fn the_problem_says_what_to_do_about_a_missing_crd_or_verb() {
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
