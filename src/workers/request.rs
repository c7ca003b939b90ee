//! One request to one endpoint, from the connection to the parsed report. IO.
//!
//! In: an endpoint, a connection, limits, and the tag of its last report. Out: a report, that the last one still holds, or the
//! reason why there is neither. Whatever the other side does costs at most one time-out, and no more memory than the rows that are
//! kept of a report. Must not log: the collector does, once per change.

use std::time::Duration;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use reqwest::{Response, StatusCode};

use super::body::{Body, Encoding};
use super::client::Connection;
use super::discovery::Endpoint;
use super::fault::{RequestError, detail};
use super::report::{Parsed, Timing};
use crate::clock;
use crate::registry::RegistrySnapshot;

/// A longer tag is not sent back.
const LONGEST_TAG: usize = 256;

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

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
