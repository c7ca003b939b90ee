//! One request to one endpoint, from the connection to the report. IO.
//!
//! In: an endpoint, a connection, limits, a reader, and the `ETag` of the last report. Out: a report, that the last one
//! still holds, or why there is neither. Whatever the other side does costs at most one time-out, and no more memory
//! than the rows that are kept of a report. Must not log: the collector does, once per change.

use std::time::Duration;

use futures::future::OptionFuture;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
};
use reqwest::{Client, Response, StatusCode};

use super::CollectorSettings;
use super::discovery::Endpoint;
use super::report::{Parsed, Reader, ReportError, Timing};
use super::request_error::RequestError;
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::http_client::body::BodyError;
use crate::http_client::{ClientError, FlagFile, TlsContent, body, describe};
use crate::model::Monotonic;

/// A longer `ETag` is not sent back.
const LONGEST_ETAG: usize = 256;

/// How long an unused connection is kept: longer than the usual interval, so that the next cycle finds it.
const KEEP_ALIVE: Duration = Duration::from_mins(3);

/// A client with its open connections. It can be used as long as the content of the TLS files is the same.
pub(super) type KeptClient = Option<(TlsContent, Client)>;

/// What the requests of one collection send, and the size of the answers.
pub(super) struct Connection {
    client: Client,
    authorization: Option<HeaderValue>,
    reference: ReferenceClock,
    /// Whether connections are kept for the next collection.
    keep_alive: bool,
    max_report_bytes: usize,
}

impl Connection {
    /// Reads the files of the settings, so that a rotated Secret is used at once, and makes a new client if they
    /// changed.
    pub async fn new(
        settings: &CollectorSettings,
        reference: &ReferenceClock,
        keep_alive: bool,
        kept: &mut KeptClient,
    ) -> Result<Self, ClientError> {
        let CollectorSettings { max_report_bytes, ref token, ref tls, .. } = *settings;
        let token = OptionFuture::from(token.as_ref().map(FlagFile::bearer_token)).await.transpose()?;
        let authorization = token.map(|token| token.header()).transpose()?;
        let content = tls.read().await?;
        let client = match kept.take_if(|(known, _)| *known == content) {
            Some((_, client)) => client,
            None => tls.client(&content, |client| client.pool_idle_timeout(KEEP_ALIVE).pool_max_idle_per_host(1))?,
        };
        *kept = Some((content, client.clone()));
        Ok(Self { client, authorization, reference: reference.clone(), keep_alive, max_report_bytes })
    }
}

/// What an endpoint answered.
#[derive(Debug)]
pub(super) enum UsageResponse {
    /// A report.
    Report {
        parsed: Box<Parsed>,
        etag: Option<HeaderValue>,
        /// When it began to arrive.
        received: Monotonic,
    },
    /// The report with the `ETag` that was sent still holds.
    NotModified,
}

/// Requests a report. `timing`: without a receipt, which is now. `etag`: of a report whose rows the reader would
/// resolve in the same way.
pub(super) async fn get(
    connection: &Connection,
    endpoint: &Endpoint,
    timeout: Duration,
    reader: Reader<'_>,
    timing: Timing,
    etag: Option<&HeaderValue>,
) -> Result<UsageResponse, RequestError> {
    let response = async {
        let response = send(connection, endpoint, etag).await?;
        let received = clock::monotonic();
        let receipt = connection.reference.at(received).unwrap_or_else(clock::now);
        let timing = Timing { receipt: Some(receipt), ..timing };
        match response.status() {
            StatusCode::NOT_MODIFIED if etag.is_some() => Ok(UsageResponse::NotModified),
            StatusCode::OK => read(response, received, connection.max_report_bytes, reader, &timing).await,
            other => Err(RequestError::Status(other.as_u16())),
        }
    };
    tokio::time::timeout(timeout, response).await.map_err(|_| RequestError::TimedOut)?
}

async fn send(
    Connection { client, authorization, keep_alive, .. }: &Connection,
    endpoint: &Endpoint,
    etag: Option<&HeaderValue>,
) -> Result<Response, RequestError> {
    let mut request =
        client.get(endpoint.url.clone()).header(ACCEPT, "application/json").header(ACCEPT_ENCODING, "gzip");
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    if let Some(etag) = etag {
        request = request.header(IF_NONE_MATCH, etag.clone());
    }
    if !keep_alive {
        request = request.header(CONNECTION, "close");
    }
    request.send().await.map_err(|error| {
        if error.is_connect() { RequestError::Connect(describe(error)) } else { RequestError::Body(describe(error)) }
    })
}

/// Reads the body as it arrives.
async fn read(
    response: Response,
    received: Monotonic,
    max_bytes: usize,
    mut reader: Reader<'_>,
    timing: &Timing,
) -> Result<UsageResponse, RequestError> {
    if !is_json(response.headers()) {
        return Err(RequestError::ContentType);
    }
    let etag = response.headers().get(ETAG).filter(|etag| etag.len() <= LONGEST_ETAG).cloned();
    body::read(response, max_bytes, |piece| reader.push(piece)).await?;
    Ok(UsageResponse::Report { parsed: Box::new(reader.finish(timing)?), etag, received })
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

impl From<BodyError<ReportError>> for RequestError {
    fn from(error: BodyError<ReportError>) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::Encoding => Self::Encoding,
            BodyError::BrokenGzip => Self::Body("broken or cut off gzip".to_owned()),
            BodyError::Transport(error) => Self::Body(describe(error)),
            BodyError::Refused(error) => Self::Report(error),
        }
    }
}
