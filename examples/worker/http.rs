//! What one worker serves: the usage report for the operator, and `/control` to change the simulation.
//!
//! Input: HTTP requests and the clock. Output: reports as JSON, and one line of text for each order. A client that
//! already has the current report gets 304, without building rows or text.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use flate2::Compression;
use flate2::write::GzEncoder;
use mcpgateway_operator::clock;
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use super::conditional;
use super::meter::Meter;
use super::query::Query;
use super::report::milliseconds;
use super::traffic::Traffic;

/// The path of the report.
pub const USAGE_PATH: &str = "/mcpgateway/usage";

/// How all workers of this process answer.
pub struct Manner {
    /// Whether an answer has an `ETag`.
    pub etag: bool,
    /// Whether a client may get gzip.
    pub gzip: bool,
    /// How long each answer takes.
    pub delay: Duration,
    /// When this process started, and for how many seconds before that there was traffic. For the initial rows of
    /// workers with their own servers.
    pub filled: Option<(f64, f64)>,
    pub meter: Arc<Meter>,
}

/// One simulated worker, shared by its listener and the timer.
#[derive(Clone)]
pub struct Worker {
    traffic: Arc<Mutex<Traffic>>,
    /// How many seconds the clock of its reports is ahead.
    ahead: Arc<Mutex<f64>>,
    manner: Arc<Manner>,
}

impl Worker {
    /// Wraps it for sharing.
    pub fn new(traffic: Traffic, manner: Arc<Manner>) -> Self {
        Self { traffic: Arc::new(Mutex::new(traffic)), ahead: Arc::default(), manner }
    }

    /// Advances the traffic to now.
    pub fn tick(&self) {
        self.traffic().advance(unix_now());
    }

    /// Replaces it by a new process with the same initial rows, if any. Traffic continues, unless it was paused.
    pub fn restart(&self) {
        let mut traffic = self.traffic();
        let (ids, paused) = (new_ids(traffic.processes()), traffic.paused());
        traffic.reset(&ids);
        if let Some((began, history)) = self.manner.filled {
            traffic.fill(began, history);
        }
        if !paused {
            traffic.resume(unix_now());
        }
    }

    /// Stops the simulated traffic.
    pub fn pause(&self) {
        self.traffic().pause(unix_now());
    }

    /// Resumes the simulated traffic.
    pub fn resume(&self) {
        self.traffic().resume(unix_now());
    }

    fn ahead(&self) -> MutexGuard<'_, f64> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of this machine, in Unix seconds.
pub fn unix_now() -> f64 {
    clock::now().seconds()
}

/// Ids of new processes.
pub fn new_ids(processes: usize) -> Vec<Uuid> {
    (0..processes).map(|_| Uuid::new_v4()).collect()
}

/// All routes.
pub fn router(worker: Worker) -> Router {
    let control = Router::new()
        .route("/pin", post(pin))
        .route("/stop", post(stop))
        .route("/use", post(set_use))
        .route("/reset", post(reset))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/clock", post(set_clock))
        .route("/state", get(state))
        .fallback(no_such_order);
    Router::new().route(USAGE_PATH, get(usage)).nest("/control", control).with_state(worker)
}

/// The result of an order: a line for the caller, or why it was refused.
pub type Outcome = Result<String, (StatusCode, String)>;

async fn usage(State(worker): State<Worker>, asked: HeaderMap) -> Response {
    let manner = &worker.manner;
    let in_flight = manner.meter.begin();
    sleep(manner.delay).await;
    let gzip = manner.gzip && conditional::accepts_gzip(values(&asked, &header::ACCEPT_ENCODING));
    let mut headers = HeaderMap::new();
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    let report = {
        let now = unix_now();
        let mut traffic = worker.traffic();
        traffic.observe(now);
        if manner.etag {
            // Each content coding is a representation with its own tag.
            let tag = format!("\"{}{}\"", traffic.tag(now), if gzip { "-gzip" } else { "" });
            let known = conditional::none_match(values(&asked, &header::IF_NONE_MATCH), &tag);
            headers.extend(HeaderValue::try_from(tag).map(|tag| (header::ETAG, tag)));
            if known {
                in_flight.not_modified();
                return (StatusCode::NOT_MODIFIED, headers).into_response();
            }
        }
        let mut report = traffic.report(now);
        // Read last: the rows were correct a moment before the answer.
        report.generated_at = report.generated_at.max(milliseconds(unix_now()));
        report.shift(*worker.ahead());
        serde_json::to_vec(&report).map_err(io::Error::from)
    };
    match report.and_then(|text| if gzip { compressed(&text) } else { Ok(text) }) {
        Ok(body) => {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            if gzip {
                headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            (headers, in_flight.body(body)).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The values of a header that may be repeated. A value that is not text is ignored.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

fn compressed(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut coder = GzEncoder::new(Vec::new(), Compression::fast());
    coder.write_all(text)?;
    coder.finish()
}

async fn pin(State(worker): State<Worker>, RawQuery(query): RawQuery) -> Response {
    let order = |query: &Query| {
        let name = query.name()?;
        worker.traffic().pin(&name, unix_now()).map_err(unknown)?;
        Ok(format!("{name} is in use at every instant from now on"))
    };
    answer(order(&Query::new(query)))
}

async fn stop(State(worker): State<Worker>, RawQuery(query): RawQuery) -> Response {
    let order = |query: &Query| {
        let name = query.name()?;
        worker.traffic().stop(&name, unix_now()).map_err(unknown)?;
        Ok(format!("{name} is not used any more from now on"))
    };
    answer(order(&Query::new(query)))
}

async fn set_use(State(worker): State<Worker>, RawQuery(query): RawQuery) -> Response {
    let order = |query: &Query| {
        let (name, ago, count) = (query.name()?, query.seconds("ago")?, query.count("count")?);
        let now = unix_now();
        worker.traffic().set_use(&name, now - ago, count, now).map_err(unknown)?;
        Ok(format!("{name} was last used {ago} s ago, {count} times in all, and is not used any more"))
    };
    answer(order(&Query::new(query)))
}

async fn reset(State(worker): State<Worker>) -> Response {
    let mut traffic = worker.traffic();
    let ids = new_ids(traffic.processes());
    traffic.reset(&ids);
    answer(Ok("restarted: new worker ids, nothing used; simulated traffic stays off until POST /control/resume".into()))
}

async fn pause(State(worker): State<Worker>) -> Response {
    worker.pause();
    answer(Ok("simulated traffic is paused".into()))
}

async fn resume(State(worker): State<Worker>) -> Response {
    worker.resume();
    answer(Ok("simulated traffic goes on".into()))
}

async fn set_clock(State(worker): State<Worker>, RawQuery(query): RawQuery) -> Response {
    let order = |query: &Query| {
        let seconds = query.seconds("ahead")?;
        *worker.ahead() = seconds;
        Ok(format!("the clock is {seconds} s ahead from now on"))
    };
    answer(order(&Query::new(query)))
}

async fn state(State(worker): State<Worker>) -> Response {
    let traffic = worker.traffic();
    let (popularity, with_traffic) = traffic.popularity();
    let state = json!({
        "seed": traffic.shape.seed,
        "workerIndex": traffic.shape.worker_index,
        "processes": traffic.processes(),
        "rate": traffic.shape.rate,
        "exponent": traffic.shape.exponent,
        "paused": traffic.paused(),
        "pinned": traffic.pinned(),
        "stopped": traffic.stopped(),
        "withTraffic": with_traffic,
        "popularity": popularity,
    });
    ([(header::CONTENT_TYPE, "application/json")], format!("{state}\n")).into_response()
}

async fn no_such_order() -> Response {
    let known = "POST pin, stop, use, reset, pause, resume, clock; GET state";
    answer(Err((StatusCode::NOT_FOUND, format!("no such order; under /control there are: {known}"))))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err needs")]
pub fn unknown(error: anyhow::Error) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, error.to_string())
}

pub fn answer(outcome: Outcome) -> Response {
    let (status, line) = outcome.map_or_else(|refused| refused, |line| (StatusCode::OK, line));
    (status, format!("{line}\n")).into_response()
}
