//! Requests a report from each endpoint once, for `doctor`, as the collector does: with the same client, limits and
//! reader, so that both come to the same verdict. IO.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::CollectorSettings;
use super::discovery::Endpoint;
use super::report::{Reader, Timing};
use super::request::{Connection, UsageResponse, get};
use super::request_error::RequestError;
use super::verdict::{EndpointReport, EndpointVerdict};
use crate::clock::reference::ReferenceClock;
use crate::http_client::ClientError;
use crate::registry::RegistrySnapshot;

/// Requests at one time, at most.
const CONCURRENCY: usize = 16;

/// Requests a report from all of them, in the order given. `interval`: entries older than two of them make a report
/// partial.
///
/// # Errors
/// If the files of the settings cannot be used.
pub async fn probe(
    settings: &CollectorSettings,
    endpoints: &[Endpoint],
    registry: &Arc<RegistrySnapshot>,
    interval: Duration,
) -> Result<Vec<EndpointVerdict>, ClientError> {
    let connection = Connection::new(settings, &ReferenceClock::default(), true, &mut None).await?;
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
            let reader = Reader::new(registry).with_different_urls();
            let timing = Timing { receipt: None, offset: 0.0, interval };
            (true, get(connection, endpoint, limit, reader, timing, None).await)
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
