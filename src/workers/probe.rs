//! Requests a report from each endpoint once, for `doctor`, as the collector does: with the same client, limits and
//! reader, so that both come to the same verdict. A clock that is off is believed at the second report, so such an
//! endpoint is asked twice. IO.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::discovery::Endpoint;
use super::report::{Reader, Timing};
use super::request::{Connection, UsageResponse, get};
use super::request_error::RequestError;
use super::verdict::{EndpointReport, EndpointVerdict};
use super::worker_clock::FROZEN;
use super::{CollectorSettings, EndpointMemory};
use crate::clock::reference::ReferenceClock;
use crate::http_client::ClientError;
use crate::registry::RegistrySnapshot;

/// How long after an answer by a clock that is off the endpoint is asked again: long enough to see whether the clock
/// stands still.
pub(crate) const SECOND_REQUEST: Duration = FROZEN.saturating_add(Duration::from_millis(100));
/// Requests at one time, at most.
const CONCURRENCY: usize = 16;

/// Requests a report from all of them, in the order given. `interval`: entries older than two of them make a report
/// partial. `reference`: the time that their clocks are compared with; before its first reading the wall clock.
///
/// # Errors
/// If the files of the settings cannot be used.
pub async fn probe(
    settings: &CollectorSettings,
    endpoints: &[Endpoint],
    registry: &Arc<RegistrySnapshot>,
    interval: Duration,
    reference: &ReferenceClock,
) -> Result<Vec<EndpointVerdict>, ClientError> {
    let connection = Connection::new(settings, reference, true, &mut None).await?;
    let verdicts =
        endpoints.iter().map(|endpoint| verdict(&connection, endpoint, settings.timeout, registry, interval));
    Ok(stream::iter(verdicts).buffered(settings.concurrency.get().min(CONCURRENCY)).collect().await)
}

async fn verdict(
    connection: &Connection,
    endpoint: &Endpoint,
    limit: Duration,
    registry: &RegistrySnapshot,
    interval: Duration,
) -> EndpointVerdict {
    let (connects, outcome) = match connect(endpoint, limit).await {
        Ok(()) => {
            let mut memory = EndpointMemory::default();
            let mut ask = async || {
                let reader = Reader::new(registry).with_different_urls();
                let timing = Timing { receipt: None, offset: memory.offset, interval };
                memory.check_clock(get(connection, endpoint, limit, reader, timing, None).await?)
            };
            let mut answer = ask().await;
            if matches!(answer, Err(RequestError::ClockUnconfirmed)) {
                tokio::time::sleep(SECOND_REQUEST).await;
                answer = ask().await;
            }
            (true, answer)
        }
        Err(error) => (false, Err(error)),
    };
    let report = outcome.and_then(|response| match response {
        UsageResponse::Report { parsed, .. } => {
            let polling = parsed.polling.into_iter().map(|(_, polling)| polling).collect();
            let (complete, different_urls) = (parsed.report.complete, parsed.different_urls);
            Ok(EndpointReport { complete, different_urls, polling })
        }
        // No ETag was sent.
        UsageResponse::NotModified => Err(RequestError::Status(304)),
    });
    EndpointVerdict { endpoint: endpoint.id.clone(), connects, report }
}

/// Whether anything accepts a connection: dropped packets have another remedy than a slow program.
async fn connect(endpoint: &Endpoint, limit: Duration) -> Result<(), RequestError> {
    let url = &endpoint.url;
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() != std::io::ErrorKind::TimedOut => Err(RequestError::Connect(error.to_string())),
        Ok(Err(_)) | Err(_) => Err(RequestError::TimedOut),
    }
}
