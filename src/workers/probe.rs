//! Asks endpoints once and says what each answered, for `doctor`: the collector keeps to itself why one gave no report. IO.
//!
//! In: settings and endpoints. Out: for each endpoint what it reports, or the fault. Bounded like a collection, and by [`MOST_BYTES`]
//! a body.

use std::time::Duration;

use futures::{StreamExt, stream};
use reqwest::header::{ACCEPT, AUTHORIZATION};
use reqwest::{Response, Url};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::{Connection, Connector, CredentialError};
use super::discovery::Endpoint;
use super::fault::detail;
use super::{CollectorSettings, request};
use crate::diagnosis::{Reported, Worker, WorkerFault, report_rows};

/// The largest body that is looked into; the rows of a larger one are left to the collector.
const MOST_BYTES: usize = 32 << 20;

/// Asks all of them, in the order given.
///
/// # Errors
/// If the files of the settings cannot be used.
pub async fn probe(settings: &CollectorSettings, endpoints: &[Endpoint]) -> Result<Vec<Worker>, CredentialError> {
    let connection = Connector::new(settings.credentials.clone())?.connection().await?;
    let most = MOST_BYTES.min(settings.max_report_bytes);
    let asked = endpoints.iter().map(|endpoint| {
        let connection = connection.clone();
        async move {
            let answer = ask(&connection, &endpoint.url, settings.timeout, most).await;
            Worker { endpoint: endpoint.id.to_string(), answer }
        }
    });
    Ok(stream::iter(asked).buffered(settings.concurrency.get().min(16)).collect().await)
}

async fn ask(connection: &Connection, url: &Url, limit: Duration, most: usize) -> Result<Vec<Reported>, WorkerFault> {
    reach(url, limit).await?;
    let asked = async {
        let mut get = connection.client.get(url.clone()).header(ACCEPT, "application/json");
        if let Some(authorization) = &connection.authorization {
            get = get.header(AUTHORIZATION, authorization.clone());
        }
        let response = get.send().await.map_err(|error| {
            WorkerFault::Other(format!("{}; check TLS and what listens at this address", detail(error)))
        })?;
        match response.status().as_u16() {
            200 if !request::is_json(response.headers()) => Err(WorkerFault::NotJson),
            200 => rows(response, most).await,
            other => Err(WorkerFault::Status(other)),
        }
    };
    let late = || WorkerFault::Other("it takes the connection and does not answer within --worker-timeout".to_owned());
    timeout(limit, asked).await.map_err(|_| late())?
}

/// Whether a connection can be had at all: what drops packets is told apart from what listens and is slow.
async fn reach(url: &Url, limit: Duration) -> Result<(), WorkerFault> {
    let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => Err(WorkerFault::NoConnection),
        Ok(Err(error)) => Err(WorkerFault::Refused(error.to_string())),
        Err(_) => Err(WorkerFault::NoConnection),
    }
}

async fn rows(mut response: Response, most: usize) -> Result<Vec<Reported>, WorkerFault> {
    let mut body = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| WorkerFault::Other(format!("the answer broke off ({})", detail(error))))?
    {
        // It reports, and what it holds is the collector's to read.
        if body.len() + piece.len() > most {
            return Ok(Vec::new());
        }
        body.extend_from_slice(&piece);
    }
    report_rows(&body).ok_or_else(|| WorkerFault::Other("its answer is JSON and no usage report".to_owned()))
}
