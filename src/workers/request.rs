//! One request to one endpoint, from the connection to the parsed report. IO.
//!
//! In: an endpoint, a connection, limits, and the tag of its last report. Out: a report, that the last one still holds, or the
//! reason why there is neither. Whatever the other side does costs at most one time-out, and no more memory than the rows that are
//! kept of a report. Must not log: the collector does, once per change.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use reqwest::{Response, StatusCode};

use super::body::{Body, Encoding};
use super::client::Connection;
use super::discovery::Endpoint;
use super::report::{Parsed, ReportError, Timing};
use crate::clock;
use crate::registry::RegistrySnapshot;

/// A longer tag is not sent back.
const LONGEST_TAG: usize = 256;
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
    #[error("the answer is compressed otherwise than with gzip; send it plain or with gzip")]
    Encoding,
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
            Self::Encoding => "Encoding",
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

/// What an endpoint answered.
#[derive(Debug)]
pub(super) enum Fetched {
    /// A report, and its tag.
    Report(Parsed, Option<HeaderValue>),
    /// The report with the tag that was sent still holds.
    Unchanged,
}

/// Asks an endpoint. `offset` and `interval`: see [`Timing`]. `tag`: of a report whose rows would be resolved by this registry
/// as they were.
pub(super) async fn ask(
    connection: &Connection,
    endpoint: &Endpoint,
    limits: Limits,
    registry: &RegistrySnapshot,
    (offset, interval): (f64, Duration),
    tag: Option<&HeaderValue>,
) -> Result<Fetched, RequestError> {
    let fetched = async {
        let response = send(connection, endpoint, tag).await?;
        let timing = Timing { receipt: Some(clock::now()), offset, interval };
        match response.status() {
            StatusCode::NOT_MODIFIED if tag.is_some() => Ok(Fetched::Unchanged),
            StatusCode::OK => read(response, limits.max_report_bytes, registry, &timing).await,
            other => Err(RequestError::Status(other.as_u16())),
        }
    };
    tokio::time::timeout(limits.timeout, fetched).await.map_err(|_| RequestError::TimedOut)?
}

async fn send(
    Connection { client, authorization, kept }: &Connection,
    endpoint: &Endpoint,
    tag: Option<&HeaderValue>,
) -> Result<Response, RequestError> {
    let mut request =
        client.get(endpoint.url.clone()).header(ACCEPT, "application/json").header(ACCEPT_ENCODING, "gzip");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    if let Some(tag) = tag {
        request = request.header(IF_NONE_MATCH, tag.clone());
    }
    if !kept {
        request = request.header(CONNECTION, "close");
    }
    request.send().await.map_err(|error| {
        if error.is_connect() { RequestError::Connect(detail(error)) } else { RequestError::Body(detail(error)) }
    })
}

/// Reads the body as it arrives.
async fn read(
    mut response: Response,
    max_bytes: usize,
    registry: &RegistrySnapshot,
    timing: &Timing,
) -> Result<Fetched, RequestError> {
    if !is_json(response.headers()) {
        return Err(RequestError::ContentType);
    }
    let encoding = Encoding::of(response.headers()).ok_or(RequestError::Encoding)?;
    let tag = response.headers().get(ETAG).filter(|tag| tag.len() <= LONGEST_TAG).cloned();
    let mut body = Body::new(encoding, max_bytes, registry);
    while let Some(piece) = response.chunk().await.map_err(|error| RequestError::Body(detail(error)))? {
        body.take(&piece).await?;
    }
    Ok(Fetched::Report(body.end(timing)?, tag))
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
