//! One request to one endpoint, from the connection to the parsed report. IO.
//!
//! In: an endpoint, a connection, limits. Out: a report or the reason why there is none. Whatever the other side does
//! costs at most one time-out and `max_report_bytes` of memory. Must not log: the collector does, once per change.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderMap};

use super::client::Connection;
use super::discovery::Endpoint;
use super::report::{self, Parsed, ReportError, Timing};
use crate::clock;
use crate::model::UnixTime;
use crate::registry::RegistrySnapshot;

/// Bodies above this are parsed where they hold up no other task: it is about a millisecond's work.
const PARSED_IN_PLACE: usize = 64 * 1024;
/// What is kept of an error's text.
const DETAIL_CHARS: usize = 300;

/// Why an endpoint gave no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestError {
    #[error("no connection ({0}); check address, network policy and TLS settings")]
    Connect(String),
    #[error("no whole answer within --worker-timeout")]
    TimedOut,
    #[error("HTTP status {0}; {hint}", hint = hint(*.0))]
    Status(u16),
    #[error("the answer is no application/json; check --worker-path and what listens at this address")]
    ContentType,
    #[error("the report is larger than --max-report-bytes")]
    TooLarge,
    #[error("the answer broke off ({0})")]
    Body(String),
    #[error("not asked: the collection took a whole interval; raise --worker-concurrency or lower --worker-timeout")]
    NotAsked,
    #[error("{0}")]
    Credentials(String),
    #[error(transparent)]
    Report(#[from] ReportError),
}

const fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => "redirects are not followed; give the final address",
        401 | 403 => "check --worker-token-file and the client certificate",
        404 => "check --worker-path, and that the worker has the usage endpoint switched on",
        429 => "the worker limits requests; let the operator's through",
        _ => "see the worker's log",
    }
}

impl RequestError {
    /// The label of the metric and the field of the log line.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Connect(_) => "Connect",
            Self::TimedOut => "Timeout",
            Self::Status(_) => "Status",
            Self::ContentType => "NotJson",
            Self::TooLarge => "TooLarge",
            Self::Body(_) => "Body",
            Self::NotAsked => "NotAsked",
            Self::Credentials(_) => "Credentials",
            Self::Report(error) => error.reason(),
        }
    }

    /// The HTTP status, if that is what was wrong.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(*status),
            _ => None,
        }
    }
}

/// The limits of a request.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub timeout: Duration,
    pub max_report_bytes: usize,
}

/// Asks an endpoint. `offset` and `interval`: see [`Timing`].
pub(super) async fn ask(
    connection: &Connection,
    endpoint: &Endpoint,
    limits: Limits,
    registry: &Arc<RegistrySnapshot>,
    (offset, interval): (f64, Duration),
) -> Result<Parsed, RequestError> {
    let fetched = tokio::time::timeout(limits.timeout, fetch(connection, endpoint, limits.max_report_bytes));
    let (body, receipt) = fetched.await.map_err(|_| RequestError::TimedOut)??;
    let timing = Timing { receipt: Some(receipt), offset, interval };
    if body.len() <= PARSED_IN_PLACE {
        return Ok(report::parse(&body, &timing, |key| key.find_in(registry))?);
    }
    let registry = Arc::clone(registry);
    let parsed = tokio::task::spawn_blocking(move || report::parse(&body, &timing, |key| key.find_in(&registry)));
    // Fails only when the runtime is ending.
    Ok(parsed.await.map_err(|_| RequestError::NotAsked)??)
}

/// The body, and when it began to arrive.
async fn fetch(
    Connection { client, authorization, kept }: &Connection,
    endpoint: &Endpoint,
    max_bytes: usize,
) -> Result<(Vec<u8>, UnixTime), RequestError> {
    let mut request = client.get(endpoint.url.clone()).header(ACCEPT, "application/json");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    if !kept {
        request = request.header(CONNECTION, "close");
    }
    let failed = |error: reqwest::Error| {
        if error.is_connect() { RequestError::Connect(detail(error)) } else { RequestError::Body(detail(error)) }
    };
    let mut response = request.send().await.map_err(failed)?;
    let receipt = clock::now();
    if response.status() != reqwest::StatusCode::OK {
        return Err(RequestError::Status(response.status().as_u16()));
    }
    if !is_json(response.headers()) {
        return Err(RequestError::ContentType);
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| RequestError::Body(detail(error)))? {
        if chunk.len() > max_bytes - body.len() {
            return Err(RequestError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, receipt))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// The causes of an error in words, without the URL, whose query may hold a secret.
fn detail(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    causes.join(": ").chars().filter(|char| !char.is_control()).take(DETAIL_CHARS).collect()
}
