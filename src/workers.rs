//! Collects usage reports from every endpoint. IO: knows the workers and the files of their credentials, and nothing
//! else.
//!
//! In: the endpoints that [`discovery`] found, the registry. Out: one [`Collection`] with an answer for each endpoint,
//! also for those that failed; what a missing report means is decided in [`crate::classify::memory`]. One endpoint
//! costs the others nothing: requests run side by side, each with its own time-out and limit, and the whole collection
//! ends after one interval. Endpoints that failed last time are asked last, so a hundred that hang do not keep the
//! others waiting. Must not log the query of a URL, a token or any part of a body.

pub mod discovery;
mod endpoint_log;
mod metrics;
mod probe;
pub mod report;
mod request;
pub mod request_error;
pub mod verdict;
mod worker_clock;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;

use crate::classify::{Answer, Collection, EndpointAnswer};
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::http_client::{FlagFile, Tls};
use crate::model::polling::{FleetPolling, PollingCounts, ProcessPolling};
use crate::model::{EndpointId, Monotonic, WorkerId};
use crate::registry::RegistrySnapshot;
use discovery::Endpoint;
use endpoint_log::{EndpointState, StateChanges};
pub use metrics::Metrics;
pub(crate) use probe::SECOND_REQUEST;
pub use probe::probe;
use report::{IdentityConflicts, Parsed, Reader, Timing, Unregistered};
use request::{Connection, KeptClient, UsageResponse};
use request_error::RequestError;
use worker_clock::WorkerClock;

/// The requests of a collection are spread over this time. The first answers wait for the last, so it adds to the age
/// of what a status says (docs/contract.md#budgets: 250 ms for everything).
const SPREAD: Duration = Duration::from_millis(100);

/// A report is requested in full after so many confirmations that it still holds: a server that always says so may be
/// one that no longer knows.
const MOST_CONFIRMATIONS: u32 = 10;

/// The settings of collecting (docs/contract.md#the-usage-report has the defaults).
#[derive(Clone, Debug)]
pub struct CollectorSettings {
    /// Requests at one time (`--worker-concurrency`).
    pub concurrency: NonZeroUsize,
    /// For one request, from connecting to the last byte (`--worker-timeout`).
    pub timeout: Duration,
    /// Largest body, as sent and as decoded (`--max-report-bytes`).
    pub max_report_bytes: usize,
    /// A bearer token for every endpoint (`--worker-token-file`).
    pub token: Option<FlagFile>,
    /// How the collector identifies itself, and which workers it trusts.
    pub tls: Tls,
}

type RequestResult = Result<UsageResponse, RequestError>;

/// Collects usage reports. One for each process: it keeps connections, and what it knows about endpoints.
pub struct UsageCollector {
    settings: CollectorSettings,
    /// The most connections, in use or kept for the next collection.
    connections: usize,
    metrics: Metrics,
    /// Told what the clocks of the workers show.
    reference: ReferenceClock,
    memory: Mutex<CollectorMemory>,
}

/// What is kept from one collection to the next.
#[derive(Default)]
struct CollectorMemory {
    client: KeptClient,
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
    clock: WorkerClock,
    state: EndpointState,
    /// Its last good report.
    last: Option<LastReport>,
}

impl EndpointMemory {
    /// Refuses a report whose clock stands still or was just set. Removes the times from before it was set back.
    fn check_clock(&mut self, mut response: UsageResponse) -> RequestResult {
        if let UsageResponse::Report { parsed, received, .. } = &mut response {
            let offset = parsed.report.offset;
            self.offset = offset;
            self.clock.check(parsed.generated_at, *received, offset)?;
            if let Some(set_back) = self.clock.set_back() {
                parsed.report.forget_before(set_back.shifted(offset));
            }
        }
        Ok(response)
    }
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
    /// How often it was confirmed without its body.
    confirmations: u32,
    processes: Box<[WorkerId]>,
    unregistered: Unregistered,
    identity_conflicts: IdentityConflicts,
    polling: Vec<(WorkerId, ProcessPolling)>,
}

/// What the requests of one collection share.
struct Round<'a> {
    connection: Connection,
    registry: &'a RegistrySnapshot,
    interval: Duration,
    began: Monotonic,
}

impl UsageCollector {
    /// Never opens more `connections` than this. If that is less than the concurrency, fewer requests run at one time.
    /// With more endpoints than connections, none is kept for the next collection.
    pub fn new(
        settings: CollectorSettings,
        connections: NonZeroUsize,
        reference: ReferenceClock,
        metrics: Metrics,
    ) -> Self {
        Self { settings, connections: connections.get(), metrics, reference, memory: Mutex::default() }
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
        let keep_alive = endpoints.len() <= self.connections;
        match Connection::new(&self.settings, &self.reference, keep_alive, &mut memory.client).await {
            Ok(connection) => {
                let round = Round { connection, registry, interval, began };
                let order = memory.order(endpoints);
                let starts = starts(order.len(), interval);
                let requests = order.into_iter().zip(starts).map(|(index, start)| {
                    let known = memory.endpoints.get(&endpoints[index].id);
                    self.request(&round, &endpoints[index], known, start).map(move |result| (index, result))
                });
                let mut running =
                    stream::iter(requests).buffer_unordered(self.settings.concurrency.get().min(self.connections));
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
        self.metrics.workers.set(None);
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
        let timeout = self.settings.timeout.min(left);
        let offset = known.map_or(0.0, |known| known.offset);
        let timing = Timing { receipt: None, offset, interval: round.interval };
        // The ETag is sent if rows that were resolved before still mean the same.
        let last = known.and_then(|known| known.last.as_ref());
        let etag = last.filter(|last| last.revision == round.registry.revision()).and_then(|last| last.etag.as_ref());
        let reader = Reader::new(round.registry);
        let result = request::get(&round.connection, endpoint, timeout, reader, timing, etag).await;
        self.metrics.duration.observe(clock::monotonic().since(began).as_secs_f64());
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
        let last_reports = before.values().filter_map(|known| known.last.as_ref());
        let counted = last_reports.flat_map(|last| &last.polling);
        let mut counted: HashMap<WorkerId, PollingCounts> =
            counted.map(|(id, polling)| (id.clone(), polling.counts())).collect();
        let mut polling = FleetPolling::default();
        let mut changes = StateChanges::default();
        let mut processes = HashSet::new();
        let mut unregistered = Unregistered::default();
        let mut conflicts = IdentityConflicts::default();
        let mut answers = Vec::with_capacity(endpoints.len());
        let mut clocks = Vec::with_capacity(endpoints.len());
        for (endpoint, result) in endpoints.iter().zip(results) {
            let mut known = before.remove(&endpoint.id).unwrap_or_default();
            let result = result.and_then(|response| known.check_clock(response));
            let state = EndpointState::after(&result, &known.state);
            self.metrics.reports.get_or_create(&[("outcome", state.outcome(&result))]).inc();
            changes.note(&endpoint.id, &known.state, &state, result.as_ref().err());
            known.state = state;
            let answered = result.is_ok();
            let answer = match result {
                Ok(UsageResponse::Report { parsed, etag, .. }) => {
                    for (reason, rows) in &parsed.skipped {
                        self.metrics.skipped.get_or_create(&[("reason", reason.into())]).inc_by(*rows);
                    }
                    for (field, rows) in parsed.identity_conflicts.counts() {
                        self.metrics.conflicts.get_or_create(&[("field", field.into())]).inc_by(rows);
                    }
                    let Parsed { report, unregistered, identity_conflicts, polling, .. } = *parsed;
                    let processes = report.processes.iter().map(|process| process.id.clone()).collect();
                    known.last = Some(LastReport {
                        etag,
                        revision,
                        confirmed: now,
                        confirmations: 0,
                        processes,
                        unregistered,
                        identity_conflicts,
                        polling,
                    });
                    Answer::Report(report)
                }
                Ok(UsageResponse::NotModified) => known.last.as_mut().map_or(Answer::NoReport, |last| {
                    last.confirmations += 1;
                    if last.confirmations >= MOST_CONFIRMATIONS {
                        last.etag = None;
                    }
                    Answer::Unchanged(now.since(std::mem::replace(&mut last.confirmed, now)))
                }),
                Err(_) => Answer::NoReport,
            };
            if let Some(last) = &mut known.last {
                unregistered.extend(&last.unregistered);
                conflicts.extend(&last.identity_conflicts);
                if answered {
                    // A process behind two endpoints counts once.
                    for (id, process) in last.polling.iter().filter(|(id, _)| !processes.contains(id)) {
                        // The first report of a process is where counting starts.
                        if let Some(earlier) = counted.remove(id) {
                            polling.counts.add(process.counts().since(earlier));
                        }
                        polling.processes.push((endpoint.id.clone(), process.clone()));
                    }
                    processes.extend(last.processes.iter().cloned());
                } else {
                    // The whole report is requested next: by then, what was kept of this one may be gone.
                    last.etag = None;
                }
            }
            if answered && let Some(offset) = known.clock.offset() {
                clocks.push((endpoint.id.clone(), offset));
            }
            memory.endpoints.insert(endpoint.id.clone(), known);
            answers.push(EndpointAnswer { endpoint: endpoint.id.clone(), answer });
        }
        self.reference.read_workers(clocks, now);
        changes.log();
        self.metrics.workers.set(i64::try_from(processes.len()).ok());
        self.metrics.count_polling(polling.counts);
        let (unregistered, identity_conflicts) = (unregistered.into_list(), conflicts.into_list());
        Collection { answers, unregistered, identity_conflicts, polling }
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

/// How long after the start of the collection each request starts, in turn. Even a new leader does not ask a thousand
/// workers at one instant, and a single one does not wait.
fn starts(requests: usize, interval: Duration) -> impl Iterator<Item = Duration> {
    let spread = SPREAD.min(interval / 10);
    let count = u32::try_from(requests).unwrap_or(u32::MAX).max(1);
    (0..count).map(move |turn| spread * turn / count)
}

#[cfg(test)]
mod tests;
