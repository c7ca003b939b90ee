//! Collects usage reports from every endpoint. IO: knows the workers and the files of their credentials, and nothing
//! else.
//!
//! In: the endpoints that [`discovery`] found, the registry. Out: one [`Collection`] with an answer for each endpoint,
//! also for those that failed; what a missing report means is decided in [`crate::classify::memory`]. One endpoint
//! costs the others nothing: requests run side by side, each with its own time-out and limit, and the whole collection
//! ends after one interval. Endpoints that failed last time are asked last, so a hundred that hang do not keep the
//! others waiting. Must not log the query of a URL, a token or any part of a body.

mod client;
pub mod discovery;
mod endpoint_log;
mod metrics;
mod probe;
pub mod report;
mod request;
pub mod request_error;
mod schedule;
pub mod verdict;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;

use crate::classify::{self, Answer, Collection, EndpointAnswer};
use crate::clock;
use crate::model::{EndpointId, Monotonic, WorkerId};
use crate::registry::RegistrySnapshot;
use client::{Connection, Connector};
pub use client::{CredentialError, Credentials};
use discovery::Endpoint;
use endpoint_log::{EndpointState, StateChanges};
pub use metrics::Metrics;
pub use probe::probe;
use report::{Parsed, Reader, Timing, Unregistered};
use request::{Limits, UsageResponse};
use request_error::RequestError;

/// The settings of collecting (docs/contract.md#the-usage-report has the defaults).
#[derive(Clone, Debug)]
pub struct CollectorSettings {
    /// Requests at one time (`--worker-concurrency`).
    pub concurrency: NonZeroUsize,
    /// For one request, from connecting to the last byte (`--worker-timeout`).
    pub timeout: Duration,
    /// Largest body, as sent and as decoded (`--max-report-bytes`).
    pub max_report_bytes: usize,
    /// Token, certificates, names.
    pub credentials: Credentials,
}

impl Default for CollectorSettings {
    fn default() -> Self {
        Self {
            concurrency: NonZeroUsize::MIN.saturating_add(63),
            timeout: Duration::from_secs(5),
            max_report_bytes: 128 * 1024 * 1024,
            credentials: Credentials::default(),
        }
    }
}

type RequestResult = Result<UsageResponse, RequestError>;

/// Collects usage reports. One for each process: it keeps connections, and what it knows about endpoints.
pub struct UsageCollector {
    concurrency: usize,
    /// The most connections, in use or kept for the next collection.
    connections: usize,
    limits: Limits,
    connector: Connector,
    metrics: Metrics,
    memory: Mutex<CollectorMemory>,
}

/// What is kept from one collection to the next.
#[derive(Default)]
struct CollectorMemory {
    endpoints: HashMap<EndpointId, EndpointMemory>,
    /// The first endpoint that there was no time for. The next collection starts there, or the same ones would be left
    /// out each time.
    resume: Option<EndpointId>,
}

/// What is kept about one endpoint.
#[derive(Clone, Debug, Default)]
struct EndpointMemory {
    /// Seconds added to its times.
    offset: f64,
    state: EndpointState,
    /// Its last good report.
    last: Option<LastReport>,
}

/// What is kept of a report, beside what the collection contains.
#[derive(Clone, Debug)]
struct LastReport {
    /// To ask whether the report still holds.
    etag: Option<HeaderValue>,
    /// The registry that its rows were resolved with. With another one they might be for other servers.
    revision: u64,
    /// When the endpoint last sent or confirmed it.
    confirmed: Monotonic,
    processes: Box<[WorkerId]>,
    unregistered: Unregistered,
}

/// What the requests of one collection share.
struct Round<'a> {
    connection: Connection,
    registry: &'a RegistrySnapshot,
    interval: Duration,
    began: Monotonic,
}

impl UsageCollector {
    /// Files are read for each collection, not here: a Secret that is mounted late is no reason to exit.
    ///
    /// # Errors
    /// [`CredentialError::HalfIdentity`] and [`CredentialError::ServerName`], if the settings contradict each other.
    pub fn new(settings: CollectorSettings, metrics: Metrics) -> Result<Self, CredentialError> {
        let CollectorSettings { concurrency, timeout, max_report_bytes, credentials } = settings;
        Ok(Self {
            concurrency: concurrency.get(),
            connections: usize::MAX,
            limits: Limits { timeout, max_report_bytes },
            connector: Connector::new(credentials)?,
            metrics,
            memory: Mutex::default(),
        })
    }

    /// Never opens more connections than this. If that is less than the concurrency, fewer requests run at one time.
    /// With more endpoints than connections, none is kept for the next collection.
    pub fn with_connections(mut self, connections: NonZeroUsize) -> Self {
        self.connections = connections.get();
        self.concurrency = self.concurrency.min(self.connections);
        self
    }

    /// Requests a report from all endpoints, side by side. The result has an answer for each, in the order given.
    ///
    /// Ends after one `interval` at the latest: endpoints that there was no time for have no report then. Dropping the
    /// future ends all requests and leaves nothing behind.
    pub async fn collect(
        &self,
        endpoints: &[Endpoint],
        registry: &Arc<RegistrySnapshot>,
        interval: Duration,
    ) -> Collection {
        let began = clock::monotonic();
        let mut memory = self.memory.lock().await;
        let mut results: Vec<RequestResult> = endpoints.iter().map(|_| Err(RequestError::NotAsked)).collect();
        match self.connector.connection().await {
            Ok(mut connection) => {
                connection.keep_alive = endpoints.len() <= self.connections;
                let round = Round { connection, registry, interval, began };
                let order = memory.order(endpoints);
                let starts = schedule::starts(order.len(), interval);
                let requests = order.into_iter().zip(starts).map(|(index, start)| {
                    let known = memory.endpoints.get(&endpoints[index].id);
                    self.request(&round, &endpoints[index], known, start).map(move |result| (index, result))
                });
                let mut running = stream::iter(requests).buffer_unordered(self.concurrency);
                while let Some((index, result)) = running.next().await {
                    results[index] = result;
                }
            }
            Err(error) => {
                let error = RequestError::Credentials(error.to_string());
                results.fill_with(|| Err(error.clone()));
            }
        }
        memory.resume = memory.first_not_asked(endpoints, &results);
        self.record(&mut memory, endpoints, results, registry.revision())
    }

    /// This replica no longer leads: stops exporting the number of workers, and forgets all reports, because the memory
    /// of the next leadership does not have them. Call it when a token ends.
    pub async fn forget(&self) {
        self.metrics.forget();
        self.memory.lock().await.endpoints.values_mut().for_each(|known| known.last = None);
    }

    /// Requests a report from one endpoint, if there is time left in the interval, and for no longer than that.
    async fn request(
        &self,
        round: &Round<'_>,
        endpoint: &Endpoint,
        known: Option<&EndpointMemory>,
        start: Duration,
    ) -> RequestResult {
        let early = start.saturating_sub(clock::monotonic().since(round.began));
        if !early.is_zero() {
            tokio::time::sleep(early).await;
        }
        let began = clock::monotonic();
        let left = round.interval.saturating_sub(began.since(round.began));
        if left.is_zero() {
            return Err(RequestError::NotAsked);
        }
        let limits = Limits { timeout: self.limits.timeout.min(left), ..self.limits };
        let offset = known.map_or(0.0, |known| known.offset);
        let timing = Timing { receipt: None, offset, interval: round.interval };
        let etag = known.and_then(|known| known.etag(round.registry));
        let reader = Reader::new(round.registry);
        let result = request::get(&round.connection, endpoint, limits, reader, timing, etag).await;
        self.metrics.observe_request(clock::monotonic().since(began));
        result
    }

    /// Counts the results, logs what changed, and keeps what the next collection needs.
    fn record(
        &self,
        memory: &mut CollectorMemory,
        endpoints: &[Endpoint],
        results: Vec<RequestResult>,
        revision: u64,
    ) -> Collection {
        let mut before = std::mem::take(&mut memory.endpoints);
        let now = clock::monotonic();
        let mut changes = StateChanges::default();
        let mut processes = HashSet::new();
        let mut unregistered = Unregistered::default();
        let mut answers = Vec::with_capacity(endpoints.len());
        for (endpoint, result) in endpoints.iter().zip(results) {
            let mut known = before.remove(&endpoint.id).unwrap_or_default();
            let state = EndpointState::after(&result, &known.state);
            self.metrics.count_report(state.outcome(&result));
            changes.note(&endpoint.id, &known.state, &state, result.as_ref().err());
            known.state = state;
            let answered = result.is_ok();
            let answer = match result {
                Ok(UsageResponse::Report(parsed, etag)) => {
                    for (reason, rows) in &parsed.skipped {
                        self.metrics.count_skipped(reason.into(), *rows);
                    }
                    Answer::Report(known.keep(parsed, etag, revision, now))
                }
                Ok(UsageResponse::NotModified) => known.confirm(now),
                Err(_) => {
                    // After a failure the whole report is requested: by then, what was kept of it may be gone.
                    known.forget_etag();
                    Answer::NoReport
                }
            };
            if let Some(last) = &known.last {
                unregistered.extend(&last.unregistered);
                if answered {
                    processes.extend(last.processes.iter().cloned());
                }
            }
            memory.endpoints.insert(endpoint.id.clone(), known);
            answers.push(EndpointAnswer { endpoint: endpoint.id.clone(), answer });
        }
        changes.log();
        self.metrics.set_workers(processes.len());
        Collection { answers, unregistered: unregistered.into_list() }
    }
}

impl EndpointMemory {
    /// The `ETag` to send, if rows that were resolved before still mean the same.
    fn etag(&self, registry: &RegistrySnapshot) -> Option<&HeaderValue> {
        let last = self.last.as_ref().filter(|last| last.revision == registry.revision())?;
        last.etag.as_ref()
    }

    fn forget_etag(&mut self) {
        if let Some(last) = &mut self.last {
            last.etag = None;
        }
    }

    /// Keeps what the next collection needs of a report, and returns the rest.
    fn keep(&mut self, parsed: Parsed, etag: Option<HeaderValue>, revision: u64, now: Monotonic) -> classify::Report {
        let Parsed { report, offset, unregistered, .. } = parsed;
        self.offset = offset;
        let processes = report.processes.iter().map(|process| process.id.clone()).collect();
        self.last = Some(LastReport { etag, revision, confirmed: now, processes, unregistered });
        report
    }

    /// The last report still holds.
    fn confirm(&mut self, now: Monotonic) -> Answer {
        match &mut self.last {
            Some(last) => Answer::Unchanged(now.since(std::mem::replace(&mut last.confirmed, now))),
            // No ETag is sent without a report that is kept.
            None => Answer::NoReport,
        }
    }
}

impl CollectorMemory {
    /// The indices of the endpoints in the order of their requests: first those that the last collection had no time
    /// for, last those that failed.
    fn order(&self, endpoints: &[Endpoint]) -> Vec<usize> {
        let resume = self.resume.as_ref();
        let first = resume.and_then(|id| endpoints.iter().position(|endpoint| endpoint.id == *id)).unwrap_or(0);
        let mut order: Vec<usize> = (first..endpoints.len()).chain(0..first).collect();
        order.sort_by_key(|index| {
            self.endpoints.get(&endpoints[*index].id).is_some_and(|known| known.state.is_failing())
        });
        order
    }

    /// The first endpoint in this order that there was no time for.
    fn first_not_asked(&self, endpoints: &[Endpoint], results: &[RequestResult]) -> Option<EndpointId> {
        let missed = |index: &usize| matches!(results[*index], Err(RequestError::NotAsked));
        self.order(endpoints).into_iter().find(missed).map(|index| endpoints[index].id.clone())
    }
}

#[cfg(test)]
mod tests;
