//! Reports that have not changed: `ETag`s, and when they are not sent.

use std::sync::Mutex;

use axum::http::header::{ETAG, IF_NONE_MATCH};

use super::*;
use crate::model::polling::Share;

/// The `If-None-Match` header of each request.
type Tags = Arc<Mutex<Vec<Option<String>>>>;

/// Serves one report with this `ETag`; fails while `broken`.
async fn tagged(tag: &'static str, broken: Arc<AtomicUsize>) -> (Endpoint, Tags) {
    let tags = Tags::default();
    let seen = Arc::clone(&tags);
    let answer = get(move |headers: HeaderMap| async move {
        let asked = headers.get(IF_NONE_MATCH).map(|tag| tag.to_str().unwrap().to_owned());
        seen.lock().unwrap().push(asked.clone());
        if broken.load(Ordering::SeqCst) > 0 {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        if asked.as_deref() == Some(tag) {
            return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
        }
        (JSON, [(ETAG, tag)], report("w1")).into_response()
    });
    (serve(Router::new().route("/usage", answer)).await, tags)
}

fn changed_registry() -> Arc<RegistrySnapshot> {
    Arc::new(RegistrySnapshot::build(&BTreeMap::new(), 2))
}

#[tokio::test]
async fn a_report_that_still_holds_is_not_sent_again() {
    let (worker, tags) = tagged("W/\"a 1\"", Arc::default()).await;
    let fixture = Fixture::new(settings());
    let worker = [worker];
    assert!(fixture.collect(&worker).await.answers[0].answer.report().is_some());
    let begun = clock::monotonic();
    for _ in 0..2 {
        let again = fixture.collect(&worker).await;
        let Answer::Unchanged(advanced) = again.answers[0].answer else { panic!("{again:?}") };
        assert!(advanced > Duration::ZERO && advanced < clock::monotonic().since(begun) + MINUTE);
    }
    assert_eq!(*tags.lock().unwrap(), [None, Some("W/\"a 1\"".into()), Some("W/\"a 1\"".into())]);
    assert_eq!(fixture.metric("worker_reports_total{outcome=\"Unchanged\"}"), Some(2.0));
    assert_eq!(fixture.metric("workers"), Some(1.0), "its processes still count");
}

#[tokio::test]
async fn the_whole_report_is_requested_when_what_was_kept_may_be_stale() {
    let broken = Arc::new(AtomicUsize::new(0));
    let (worker, tags) = tagged("\"1\"", Arc::clone(&broken)).await;
    let fixture = Fixture::new(settings());
    let worker = [worker];
    fixture.collect(&worker).await;
    // Another registry: rows may be for other servers.
    let other = fixture.collector.collect(&worker, &changed_registry(), MINUTE).await;
    assert!(other.answers[0].answer.report().is_some());
    // A failure in between: what was kept may be gone.
    broken.store(1, Ordering::SeqCst);
    fixture.collector.collect(&worker, &changed_registry(), MINUTE).await;
    broken.store(0, Ordering::SeqCst);
    let after = fixture.collector.collect(&worker, &changed_registry(), MINUTE).await;
    assert!(after.answers[0].answer.report().is_some());
    // Another leadership, whose memory is empty.
    fixture.collector.forget().await;
    let next = fixture.collector.collect(&worker, &changed_registry(), MINUTE).await;
    assert!(next.answers[0].answer.report().is_some());
    assert_eq!(*tags.lock().unwrap(), [None, None, Some("\"1\"".into()), None, None]);
}

/// Serves a report of the process `w` with this polling object.
async fn polling(said: Arc<Mutex<serde_json::Value>>) -> Endpoint {
    let answer = get(move || async move {
        let mut body: serde_json::Value = serde_json::from_str(&report("w")).unwrap();
        body["workers"][0]["polling"] = said.lock().unwrap().clone();
        (JSON, body.to_string())
    });
    serve(Router::new().route("/usage", answer)).await
}

#[tokio::test]
async fn what_processes_count_is_counted_from_their_first_report_on() {
    let polls = |run: u64, skipped: u64, calls: u64| {
        json!({
            "healthChecksRun": run, "healthChecksSkipped": skipped, "refreshesSkipped": run,
            "calls": calls, "callsOnOldLists": skipped,
        })
    };
    let said = Arc::new(Mutex::new(polls(100, 200, 300)));
    // One process behind two addresses counts once.
    let endpoints = [polling(Arc::clone(&said)).await, polling(Arc::clone(&said)).await];
    let fixture = Fixture::new(settings());
    let metrics = || {
        let names = [
            "health_checks_total{result=\"run\"}",
            "health_checks_total{result=\"skipped\"}",
            "calls_total{list=\"recent\"}",
            "calls_total{list=\"old\"}",
            "refreshes_skipped_total",
        ];
        names.map(|name| fixture.metric(&format!("gateway_{name}")).unwrap()).to_vec()
    };
    let first = fixture.collect(&endpoints).await.polling;
    assert_eq!((first.processes.len(), first.counts, metrics()), (1, PollingCounts::default(), vec![0.0; 5]));
    *said.lock().unwrap() = polls(103, 207, 320);
    let second = fixture.collect(&endpoints).await.polling;
    let counts = PollingCounts {
        health_checks_skipped: Share { part: 7, all: 10 },
        calls_on_old_lists: Share { part: 7, all: 20 },
        refreshes_skipped: 3,
    };
    assert_eq!((second.counts, metrics()), (counts, vec![3.0, 7.0, 13.0, 7.0, 3.0]));
    // The next leadership starts counting anew.
    fixture.collector.forget().await;
    *said.lock().unwrap() = polls(110, 210, 340);
    assert_eq!(fixture.collect(&endpoints).await.polling.counts, PollingCounts::default());
    assert_eq!(metrics(), vec![3.0, 7.0, 13.0, 7.0, 3.0]);
}

#[tokio::test]
async fn not_modified_without_an_etag_is_a_failure() {
    fails_with(answering(StatusCode::NOT_MODIFIED).await, "Status").await;
}

#[tokio::test]
async fn endpoints_that_failed_are_asked_last() {
    let broken = answering(StatusCode::INTERNAL_SERVER_ERROR).await;
    let good = answering((JSON, report("w"))).await;
    let fixture = Fixture::new(settings());
    let endpoints = [broken, good];
    let order = || async { fixture.collector.memory.lock().await.order(&endpoints) };
    assert_eq!(order().await, [0, 1]);
    fixture.collect(&endpoints).await;
    assert_eq!(order().await, [1, 0]);
}

#[tokio::test]
async fn used_servers_that_nobody_registered_are_named_without_their_query() {
    let row = |url: &str, count: u32| json!({"url": url, "useCount": count});
    let with = |rows: &[serde_json::Value]| {
        let now = clock::now().seconds();
        let workers = json!([{"id": "w", "observedAt": now, "servers": rows}]);
        json!({"apiVersion": report::API_VERSION, "kind": report::KIND, "generatedAt": now, "workers": workers})
    };
    let one = with(&[row("https://b.example/mcp?token=planted", 1), row("https://idle.example/", 0)]).to_string();
    let two = with(&[row("https://a.example/mcp", 1), row("https://b.example/mcp", 1)]).to_string();
    let endpoints = [answering((JSON, one)).await, answering((JSON, two)).await];
    let found = Fixture::new(settings()).collect(&endpoints).await.unregistered;
    let shown: Vec<&str> = found.iter().map(crate::model::ServerUrl::expose).collect();
    assert_eq!(shown, ["https://a.example/mcp", "https://b.example/mcp"]);
}
