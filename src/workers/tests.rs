#![expect(clippy::disallowed_methods, reason = "a server of a test ends with the test's runtime")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prometheus_client::registry::Registry;
use reqwest::Url;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Notify, oneshot};

use super::*;
use crate::clock::reference::ReferenceClock;
use crate::registry::GatewayRecord;

mod bodies;
mod tls;
mod unchanged;

const MINUTE: Duration = Duration::from_mins(1);
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn registry() -> Arc<RegistrySnapshot> {
    let metadata = ObjectMeta { namespace: Some("search".into()), name: Some("web".into()), ..ObjectMeta::default() };
    let spec = json!({"spec": {"url": "https://web.example.com/mcp", "gatewayId": "id-web"}});
    let record = GatewayRecord::from_object(&metadata, &spec).unwrap();
    Arc::new(RegistrySnapshot::build(&BTreeMap::from([(record.name.clone(), Arc::new(record))]), 1))
}

fn report(id: &str) -> String {
    let now = clock::now().seconds();
    json!({
        "apiVersion": report::API_VERSION, "kind": report::KIND, "generatedAt": now,
        "workers": [{"id": id, "observedAt": now, "servers": [
            {"gatewayId": "id-web", "lastUsed": now - 10.0, "useCount": 1}, {"gatewayId": "nobody"}]}],
    })
    .to_string()
}

async fn serve(router: Router) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    endpoint(&format!("http://{address}/usage"))
}

async fn answering(response: impl IntoResponse + Clone + Send + Sync + 'static) -> Endpoint {
    serve(Router::new().route("/usage", get(|| async move { response }))).await
}

impl Answer {
    /// The report, if it is a new one.
    const fn report(&self) -> Option<&crate::classify::Report> {
        match self {
            Self::Report(report) => Some(report),
            Self::Unchanged(_) | Self::NoReport => None,
        }
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint::new(Url::parse(url).unwrap())
}

fn settings() -> CollectorSettings {
    CollectorSettings {
        concurrency: NonZeroUsize::new(64).unwrap(),
        timeout: Duration::from_secs(20),
        max_report_bytes: 128 << 20,
        token: None,
        tls: Tls::default(),
    }
}

struct Fixture {
    collector: UsageCollector,
    scrape: Registry,
}

impl Fixture {
    fn new(settings: CollectorSettings) -> Self {
        let mut scrape = Registry::default();
        let metrics = Metrics::register(&mut scrape);
        Self { collector: UsageCollector::new(settings, NonZeroUsize::MAX, ReferenceClock::default(), metrics), scrape }
    }

    async fn collect(&self, endpoints: &[Endpoint]) -> Collection {
        let collection = self.collector.collect(endpoints, &registry(), MINUTE).await;
        let ids = |ids: Vec<&EndpointId>| ids.into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(
            ids(collection.answers.iter().map(|answer| &answer.endpoint).collect()),
            ids(endpoints.iter().map(|endpoint| &endpoint.id).collect()),
            "an answer for each, in order"
        );
        collection
    }

    /// The value of a sample, such as `worker_reports_total{outcome="Complete"}`.
    fn metric(&self, sample: &str) -> Option<f64> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.scrape).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{sample} ")));
        line.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
    }

    /// Collects from one endpoint that must fail for this reason.
    async fn must_fail(&self, endpoint: Endpoint, reason: &str) {
        let collection = self.collect(&[endpoint]).await;
        assert!(collection.answers[0].answer == Answer::NoReport);
        let sample = format!("worker_reports_total{{outcome=\"{reason}\"}}");
        assert_eq!(self.metric(&sample), Some(1.0), "{reason}");
    }
}

async fn fails_with(endpoint: Endpoint, reason: &str) {
    Fixture::new(settings()).must_fail(endpoint, reason).await;
}

#[tokio::test]
async fn reports_are_collected_and_counted() {
    let fixture = Fixture::new(settings());
    let endpoints = [answering((JSON, report("w1"))).await, answering((JSON, report("w2"))).await];
    let collection = fixture.collect(&endpoints).await;
    for (answer, id) in collection.answers.iter().zip(["w1", "w2"]) {
        let report = answer.answer.report().unwrap();
        assert!(report.complete);
        assert_eq!(report.processes[0].id, crate::model::WorkerId::parse(id).unwrap());
        assert_eq!(report.processes[0].rows.len(), 1);
    }
    assert_eq!(fixture.metric("worker_reports_total{outcome=\"Complete\"}"), Some(2.0));
    assert_eq!(fixture.metric("worker_rows_skipped_total{reason=\"UnknownServer\"}"), Some(2.0));
    assert_eq!(fixture.metric("worker_request_duration_seconds_count"), Some(2.0));
    assert_eq!(fixture.metric("workers"), Some(2.0));
    fixture.collector.forget().await;
    assert_eq!(fixture.metric("workers"), None, "standbys export no fleet gauges");
}

#[tokio::test]
async fn one_process_behind_two_addresses_is_counted_once() {
    let fixture = Fixture::new(settings());
    fixture.collect(&[answering((JSON, report("w"))).await, answering((JSON, report("w"))).await]).await;
    assert_eq!(fixture.metric("workers"), Some(1.0));
}

#[tokio::test]
async fn without_endpoints_a_collection_is_empty() {
    assert!(Fixture::new(settings()).collect(&[]).await.answers.is_empty());
}

#[tokio::test]
async fn an_answer_that_never_comes_costs_one_time_out() {
    // Accepts connections into its backlog, and never reads.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = endpoint(&format!("http://{}/", listener.local_addr().unwrap()));
    let fixture = Fixture::new(CollectorSettings { timeout: Duration::from_millis(50), ..settings() });
    fixture.must_fail(silent, "Timeout").await;
}

#[tokio::test]
async fn an_answer_that_never_ends_costs_one_time_out() {
    let endless = futures::stream::pending::<Result<Bytes, std::io::Error>>();
    let endless = futures::stream::once(async { Ok(Bytes::from_static(b"{")) }).chain(endless);
    let body = Arc::new(std::sync::Mutex::new(Some(Body::from_stream(endless))));
    let router = Router::new()
        .route("/usage", get(move || async move { (JSON, body.lock().unwrap().take().unwrap()).into_response() }));
    let fixture = Fixture::new(CollectorSettings { timeout: Duration::from_millis(200), ..settings() });
    fixture.must_fail(serve(router).await, "Timeout").await;
}

#[tokio::test]
async fn a_slow_endpoint_does_not_hold_up_the_others() {
    let others_done = Arc::new(Notify::new());
    let seen = Arc::new(AtomicUsize::new(0));
    let waiter = Arc::clone(&others_done);
    // Answers only after all others were asked: with one request after the other, it would time out.
    let slow = serve(Router::new().route(
        "/usage",
        get(|| async move {
            waiter.notified().await;
            (JSON, report("slow"))
        }),
    ))
    .await;
    let counting = || {
        let (seen, done) = (Arc::clone(&seen), Arc::clone(&others_done));
        get(|| async move {
            if seen.fetch_add(1, Ordering::SeqCst) == 2 {
                done.notify_one();
            }
            (JSON, report("w"))
        })
    };
    let mut endpoints = vec![slow];
    for _ in 0..3 {
        endpoints.push(serve(Router::new().route("/usage", counting())).await);
    }
    let collection = Fixture::new(settings()).collect(&endpoints).await;
    assert!(collection.answers.iter().all(|answer| answer.answer.report().is_some()));
}

#[tokio::test]
async fn as_many_requests_run_at_one_time_as_allowed_and_no_more() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    // Each request is answered only when another one is there too, so one after the other they would all time out.
    let pair = Arc::new(Barrier::new(2));
    let mut endpoints = Vec::new();
    for _ in 0..6 {
        let (running, most, pair) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&pair));
        let handler = get(|| async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            pair.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
            (JSON, report("w"))
        });
        endpoints.push(serve(Router::new().route("/usage", handler)).await);
    }
    let concurrency = NonZeroUsize::new(2).unwrap();
    let collection = Fixture::new(CollectorSettings { concurrency, ..settings() }).collect(&endpoints).await;
    assert!(collection.answers.iter().all(|answer| answer.answer.report().is_some()));
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_collection_ends_after_one_interval_and_goes_on_where_it_was_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = endpoint(&format!("http://{}/", listener.local_addr().unwrap()));
    let good = answering((JSON, report("w"))).await;
    let fixture = Fixture::new(CollectorSettings { concurrency: NonZeroUsize::MIN, ..settings() });
    let endpoints = [silent, good];
    let first = fixture.collector.collect(&endpoints, &registry(), Duration::from_secs(1)).await;
    assert!(first.answers.iter().all(|answer| answer.answer.report().is_none()));
    assert_eq!(fixture.metric("worker_reports_total{outcome=\"NotAsked\"}"), Some(1.0));
    assert_eq!(fixture.metric("worker_reports_total{outcome=\"Timeout\"}"), Some(1.0), "in flight when it was cut");
    let second = fixture.collector.collect(&endpoints, &registry(), Duration::from_secs(4)).await;
    assert!(second.answers[1].answer.report().is_some(), "the one that was not asked is asked first");
}

#[tokio::test]
async fn refused_and_unknown_hosts_fail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = endpoint(&format!("http://{}/", listener.local_addr().unwrap()));
    drop(listener);
    fails_with(gone, "Connect").await;
}

#[tokio::test]
async fn other_statuses_fail() {
    for status in [401, 403, 404, 429, 500, 503, 204] {
        let status = StatusCode::from_u16(status).unwrap();
        fails_with(answering((status, JSON, report("w"))).await, "Status").await;
    }
}

#[tokio::test]
async fn what_is_not_json_fails() {
    fails_with(answering(([("content-type", "text/html")], "<html>")).await, "NotJson").await;
    fails_with(answering(([("content-type", "text/plain")], report("w"))).await, "NotJson").await;
    fails_with(answering((JSON, "<html>")).await, "NotJson").await;
    fails_with(answering((JSON, "")).await, "NotJson").await;
    fails_with(answering((JSON, "{}")).await, "UnknownVersion").await;
}

#[tokio::test]
async fn a_charset_is_allowed() {
    let typed = [("content-type", "Application/JSON; charset=utf-8")];
    let collection = Fixture::new(settings()).collect(&[answering((typed, report("w"))).await]).await;
    assert!(collection.answers[0].answer.report().is_some());
}

fn token_file(token: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(token.as_bytes()).unwrap();
    file
}

fn with_token(file: &std::path::Path) -> CollectorSettings {
    CollectorSettings { token: FlagFile::given("--worker-token-file", Some(file.into())), ..settings() }
}

/// Answers only requests with this bearer token.
async fn asking_for(token: &'static str) -> Endpoint {
    let handler = move |request: Request<Body>| async move {
        let header = request.headers().get("authorization").map(|value| value.as_bytes().to_vec());
        if header == Some(format!("Bearer {token}").into_bytes()) {
            (JSON, report("w")).into_response()
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        }
    };
    serve(Router::new().route("/usage", get(handler))).await
}

#[tokio::test]
async fn the_token_is_sent_and_read_again_when_it_changes() {
    let file = token_file("old\n");
    let fixture = Fixture::new(with_token(file.path()));
    let (old, new) = (asking_for("old").await, asking_for("new").await);
    let reported =
        |collection: Collection| collection.answers.iter().map(|a| a.answer.report().is_some()).collect::<Vec<_>>();
    assert_eq!(reported(fixture.collect(&[old.clone(), new.clone()]).await), [true, false]);
    std::fs::write(file.path(), "new").unwrap();
    assert_eq!(reported(fixture.collect(&[old, new]).await), [false, true]);
}

#[tokio::test]
async fn a_missing_or_odd_token_file_fails_only_this_collection() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let fixture = Fixture::new(with_token(&path));
    let asked = asking_for("t").await;
    for content in [None, Some(""), Some(" \n"), Some("two words"), Some("line\nbreak")] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        assert!(fixture.collect(std::slice::from_ref(&asked)).await.answers[0].answer.report().is_none());
    }
    assert_eq!(fixture.metric("worker_reports_total{outcome=\"Credentials\"}"), Some(5.0));
    assert_eq!(fixture.metric("worker_reports_total{outcome=\"Status\"}"), None, "no endpoint was asked");
    std::fs::write(&path, "t").unwrap();
    assert!(fixture.collect(&[asked]).await.answers[0].answer.report().is_some());
}

#[tokio::test]
async fn redirects_are_not_followed_and_the_token_goes_nowhere_else() {
    let (asked, mut was_asked) = oneshot::channel::<()>();
    let asked = Arc::new(std::sync::Mutex::new(Some(asked)));
    let other = serve(Router::new().fallback(move || async move {
        asked.lock().unwrap().take().map(|asked| asked.send(()));
        (JSON, report("w")).into_response()
    }))
    .await;
    let to = other.url.to_string();
    let handler = || async move { Response::into_response(Redirect::temporary(&to).into_response()) };
    let redirecting = serve(Router::new().route("/usage", get(handler))).await;
    let file = token_file("planted");
    Fixture::new(with_token(file.path())).must_fail(redirecting, "Status").await;
    assert!(was_asked.try_recv().is_err(), "the other host was asked");
}

#[tokio::test]
async fn the_clock_of_an_endpoint_is_remembered_from_report_to_report() {
    // An hour behind, and off by less than five seconds more or less: the corrected time of a use does not move.
    let shifts = Arc::new(std::sync::Mutex::new(vec![0.0, 3.0, 0.0]));
    let base = clock::now().seconds() - 3600.0;
    let handler = move || async move {
        let generated = base + shifts.lock().unwrap().pop().unwrap();
        let rows = json!([{"gatewayId": "id-web", "lastUsed": base - 100.0}]);
        let body = json!({"apiVersion": report::API_VERSION, "kind": report::KIND, "generatedAt": generated,
            "workers": [{"id": "w", "observedAt": generated, "servers": rows}]});
        (JSON, body.to_string())
    };
    let endpoint = serve(Router::new().route("/usage", get(handler))).await;
    let fixture = Fixture::new(settings());
    let unconfirmed = fixture.collect(std::slice::from_ref(&endpoint)).await;
    assert!(unconfirmed.answers[0].answer.report().is_none(), "a clock that is off is believed at the second report");
    let used = |collection: Collection| {
        let report = collection.answers[0].answer.report().cloned().unwrap();
        report.processes[0].rows[0].last_used().unwrap()
    };
    let first = used(fixture.collect(std::slice::from_ref(&endpoint)).await);
    let second = used(fixture.collect(&[endpoint]).await);
    assert_eq!(first, second);
    assert!((first.seconds() - (base + 3600.0 - 100.0)).abs() < 10.0, "in our time");
}

#[tokio::test]
async fn a_worker_whose_clock_stepped_back_does_not_keep_idle_servers_hot() {
    // By the worker's clock: used ten minutes ago, set back by two minutes, and used again.
    let base = clock::now().seconds();
    let reports = std::sync::Mutex::new(vec![(-120.0, -1.0), (-120.0, -600.0), (-120.0, -600.0), (0.0, -600.0)]);
    let reports = Arc::new(reports);
    let handler = move || async move {
        let (ahead, used) = reports.lock().unwrap().pop().unwrap();
        let generated = clock::now().seconds() + ahead;
        let used = if used < -1.0 { base + used } else { generated };
        let rows = json!([{"gatewayId": "id-web", "lastUsed": used, "useCount": 3}]);
        let body = json!({"apiVersion": report::API_VERSION, "kind": report::KIND, "generatedAt": generated,
            "workers": [{"id": "w", "observedAt": generated, "servers": rows}]});
        (JSON, body.to_string())
    };
    let endpoint = serve(Router::new().route("/usage", get(handler))).await;
    let fixture = Fixture::new(settings());
    let mut seen = Vec::new();
    for _ in 0..4 {
        let collection = fixture.collect(std::slice::from_ref(&endpoint)).await;
        let report = collection.answers[0].answer.report();
        let used = report.map(|report| report.processes[0].rows[0].last_used());
        #[expect(clippy::cast_possible_truncation, reason = "minutes")]
        seen.push(used.map(|used| used.map(|used| ((used.seconds() - base) / 60.0).round() as i64)));
    }
    assert_eq!(seen, [Some(Some(-10)), None, Some(None), Some(Some(0))]);
}

#[tokio::test]
async fn endpoints_that_are_gone_are_forgotten() {
    let fixture = Fixture::new(settings());
    fixture.collect(&[answering((JSON, report("w"))).await]).await;
    fixture.collect(&[]).await;
    assert!(fixture.collector.memory.lock().await.endpoints.is_empty());
}

#[test]
fn requests_are_spread_evenly_and_the_first_does_not_wait() {
    let millis = |requests, interval| {
        starts(requests, Duration::from_millis(interval)).map(|start| start.as_millis()).collect::<Vec<_>>()
    };
    assert_eq!(millis(0, 1000), [0]);
    assert_eq!(millis(1, 1000), [0]);
    assert_eq!(millis(4, 60_000), [0, 25, 50, 75]);
    assert_eq!(millis(4, 400), [0, 10, 20, 30]);
    let many = millis(1000, 60_000);
    assert_eq!((many[999], many.windows(2).all(|pair| pair[1] - pair[0] <= 1)), (99, true));
}
