//! The listener: the usage report for the operator, and `/control` for whoever plays with the fleet.
//!
//! In: HTTP requests and the clock. Out: reports as JSON, one line of text for each order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mcpgateway_operator::clock;
use serde_json::json;
use uuid::Uuid;

use super::query::Query;
use super::traffic::Traffic;

/// Where the report is served.
pub const USAGE_PATH: &str = "/mcpgateway/usage";

/// The simulated worker, shared by the listener and the tick.
#[derive(Clone)]
pub struct Worker(Arc<Mutex<Traffic>>);

impl Worker {
    /// Shares it.
    pub fn new(traffic: Traffic) -> Self {
        Self(Arc::new(Mutex::new(traffic)))
    }

    /// Lets the traffic go on until now.
    pub fn tick(&self) {
        self.traffic().advance(unix_now());
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clock of this machine, in Unix seconds.
pub fn unix_now() -> f64 {
    clock::now().seconds()
}

/// Ids of processes that start now.
pub fn new_ids(processes: usize) -> Vec<Uuid> {
    (0..processes).map(|_| Uuid::new_v4()).collect()
}

/// Everything that is served.
pub fn router(worker: Worker) -> Router {
    let control = Router::new()
        .route("/pin", post(pin))
        .route("/stop", post(stop))
        .route("/use", post(set_use))
        .route("/reset", post(reset))
        .route("/pause", post(pause))
        .route("/resume", post(resume))
        .route("/state", get(state))
        .fallback(no_such_order);
    Router::new().route(USAGE_PATH, get(usage)).nest("/control", control).with_state(worker)
}

/// What an order came to: a line for the caller, or what was wrong with it.
type Outcome = Result<String, (StatusCode, String)>;

async fn usage(State(worker): State<Worker>) -> Response {
    let mut traffic = worker.traffic();
    let mut report = traffic.report(unix_now());
    // Taken last: the rows were true a moment before the answer.
    report.generated_at = report.generated_at.max(super::report::milliseconds(unix_now()));
    match serde_json::to_string(&report) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
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
    worker.traffic().pause(unix_now());
    answer(Ok("simulated traffic is paused".into()))
}

async fn resume(State(worker): State<Worker>) -> Response {
    worker.traffic().resume(unix_now());
    answer(Ok("simulated traffic goes on".into()))
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
    let known = "POST pin, stop, use, reset, pause, resume; GET state";
    answer(Err((StatusCode::NOT_FOUND, format!("no such order; under /control there are: {known}"))))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn unknown(error: anyhow::Error) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, error.to_string())
}

fn answer(outcome: Outcome) -> Response {
    let (status, line) = outcome.map_or_else(|refused| refused, |line| (StatusCode::OK, line));
    (status, format!("{line}\n")).into_response()
}
