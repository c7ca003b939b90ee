//! Collecting usage: asks every endpoint which servers its workers used. IO: knows the workers and their files, and
//! nothing else.
//!
//! In: the endpoints that [`discovery`] found, the registry. Out: one [`Collection`], with an answer for each endpoint,
//! be it that there was none; what to make of silence is decided in [`crate::classify::memory`]. Whatever one endpoint
//! does costs the others nothing: requests run side by side, each with its own time-out and limit, and the whole
//! collection ends after one interval. Endpoints that failed last time are asked last, so that a hundred that hang do
//! not keep the others waiting for a place. Must not log a URL's query, a token or anything of a body.

mod body;
mod client;
pub mod discovery;
mod fault;
mod metrics;
mod probe;
pub mod report;
mod request;
mod schedule;
mod standing;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use reqwest::header::HeaderValue;
use tokio::sync::Mutex;

use crate::classify::{self, Answer, Collection, EndpointAnswer};
use crate::clock;
use crate::model::{EndpointId, Monotonic, ServerUrl, WorkerId};
use crate::registry::RegistrySnapshot;
use client::{Connection, Connector};
pub use client::{CredentialError, Credentials};
use discovery::Endpoint;
use fault::RequestError;
pub use metrics::Metrics;
pub use probe::probe;
use report::{Parsed, Unregistered};
use request::{Fetched, Limits};
use standing::{Changes, Standing};

/// The settings of collecting; defaults as in SPEC sections 2 and 7.
#[derive(Clone, Debug)]
pub struct CollectorSettings {
    /// Requests at one time (`--worker-concurrency`).
    pub concurrency: NonZeroUsize,
    /// For one request, from connecting to the last byte (`--worker-timeout`).
    pub timeout: Duration,
    /// Of one body, decoded (`--max-report-bytes`).
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

type Outcome = Result<Fetched, RequestError>;

/// Asks endpoints for their usage reports. One for each process; it keeps connections, and what it knows of endpoints.
pub struct UsageCollector {
    concurrency: usize,
    /// How many connections there may be, asked just now or kept for the next time.
    connections: usize,
    limits: Limits,
    connector: Connector,
    metrics: Metrics,
    memory: Mutex<Memory>,
}

/// What is known from one collection to the next.
#[derive(Default)]
struct Memory {
    endpoints: HashMap<EndpointId, Known>,
    /// The first endpoint that was not asked for lack of time: the next collection begins with it, or the same ones
    /// would be left out each time.
    resume: Option<EndpointId>,
}

/// Of one endpoint.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Seconds added to its times.
    offset: f64,
    standing: Standing,
    /// Its last report, if it was good.
    last: Option<LastReport>,
}

/// What is kept of a report, beside what the collection is told.
#[derive(Clone, Debug)]
struct LastReport {
    /// By which it can be asked whether it still holds.
    tag: Option<HeaderValue>,
    /// Of the registry that its rows were resolved by: with another one they might mean another thing.
    revision: u64,
    /// When it was last known to hold.
    held: Monotonic,
    processes: Box<[WorkerId]>,
    unregistered: Box<[ServerUrl]>,
}

impl UsageCollector {
    /// Files are read at each collection, not here: a Secret that is mounted late is no reason to end.
    ///
    /// # Errors
    /// [`CredentialError::HalfIdentity`] and [`CredentialError::ServerName`], if the settings contradict themselves.
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

    /// Never has more connections than this: then fewer are asked at once, and with more endpoints than that none is kept
    /// for the next time.
    #[must_use]
    pub fn with_connections(mut self, connections: NonZeroUsize) -> Self {
        self.connections = connections.get();
        self.concurrency = self.concurrency.min(self.connections);
        self
    }

    /// Asks all of them, side by side; each has its answer in the result, in the order given.
    ///
    /// Ends after one `interval` at the latest: endpoints that did not get their turn have no report then. Dropping the
    /// future ends all requests and leaves nothing behind.
    pub async fn collect(
        &self,
        endpoints: &[Endpoint],
        registry: &Arc<RegistrySnapshot>,
        interval: Duration,
    ) -> Collection {
        let begun = clock::monotonic();
        let mut memory = self.memory.lock().await;
        let mut outcomes: Vec<Outcome> = endpoints.iter().map(|_| Err(RequestError::NotAsked)).collect();
        match self.connector.connection().await {
            Ok(mut connection) => {
                connection.kept = endpoints.len() <= self.connections;
                let order = memory.order(endpoints);
                let starts = schedule::starts(order.len(), interval);
                let requests = order.into_iter().zip(starts).map(|(index, start)| {
                    let endpoint = &endpoints[index];
                    let known = memory.endpoints.get(&endpoint.id);
                    let tag = known.and_then(|known| known.tag(registry));
                    let timing = (known.map_or(0.0, |known| known.offset), interval);
                    let asked = self.ask(&connection, endpoint, registry, timing, tag, begun, start);
                    asked.map(move |outcome| (index, outcome))
                });
                let mut answers = stream::iter(requests).buffer_unordered(self.concurrency);
                while let Some((index, outcome)) = answers.next().await {
                    outcomes[index] = outcome;
                }
            }
            Err(error) => {
                let error = RequestError::Credentials(error.to_string());
                outcomes.fill_with(|| Err(error.clone()));
            }
        }
        memory.resume = memory.first_not_asked(endpoints, &outcomes);
        self.settle(&mut memory, endpoints, outcomes, registry.revision())
    }

    /// This replica no longer leads: what it exported of the fleet is no longer known, and the next leader's memory holds no
    /// report that could still hold. Call it when a token ends.
    pub async fn forget(&self) {
        self.metrics.forget();
        self.memory.lock().await.endpoints.values_mut().for_each(|known| known.last = None);
    }

    /// Asks one endpoint, unless the interval since `begun` is over; if it ends meanwhile, the request ends too.
    #[expect(clippy::too_many_arguments, reason = "each is one thing that a request depends on")]
    async fn ask(
        &self,
        connection: &Connection,
        endpoint: &Endpoint,
        registry: &Arc<RegistrySnapshot>,
        (offset, interval): (f64, Duration),
        tag: Option<&HeaderValue>,
        begun: Monotonic,
        start: Duration,
    ) -> Outcome {
        let early = start.saturating_sub(clock::monotonic().since(begun));
        if !early.is_zero() {
            tokio::time::sleep(early).await;
        }
        let asked = clock::monotonic();
        let left = interval.saturating_sub(asked.since(begun));
        if left.is_zero() {
            return Err(RequestError::NotAsked);
        }
        let limits = Limits { timeout: self.limits.timeout.min(left), ..self.limits };
        let outcome = request::ask(connection, endpoint, limits, registry, (offset, interval), tag).await;
        self.metrics.took(clock::monotonic().since(asked));
        outcome
    }

    /// Counts, says what is new, and remembers what the next collection needs.
    fn settle(&self, memory: &mut Memory, endpoints: &[Endpoint], outcomes: Vec<Outcome>, revision: u64) -> Collection {
        let mut before = std::mem::take(&mut memory.endpoints);
        let now = clock::monotonic();
        let mut changes = Changes::default();
        let mut processes = HashSet::new();
        let mut unregistered = Unregistered::default();
        let mut answers = Vec::with_capacity(endpoints.len());
        for (endpoint, outcome) in endpoints.iter().zip(outcomes) {
            let mut known = before.remove(&endpoint.id).unwrap_or_default();
            let standing = Standing::of(&outcome, &known.standing);
            self.metrics.asked(standing.outcome(&outcome));
            changes.note(&endpoint.id, &known.standing, &standing, outcome.as_ref().err());
            known.standing = standing;
            let answered = outcome.is_ok();
            let answer = match outcome {
                Ok(Fetched::Report(parsed, tag)) => {
                    for (reason, rows) in parsed.skipped.iter() {
                        self.metrics.skipped(reason.reason(), rows);
                    }
                    Answer::Report(known.take(parsed, tag, revision, now))
                }
                Ok(Fetched::Unchanged) => known.advance(now),
                Err(_) => {
                    // Whoever failed is asked for everything: what was kept of it may be given up by then.
                    known.forget_tag();
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
        self.metrics.workers(processes.len());
        Collection { answers, unregistered: unregistered.into_list() }
    }
}

impl Known {
    /// The tag to ask with, if rows that were resolved before still mean the same.
    fn tag(&self, registry: &RegistrySnapshot) -> Option<&HeaderValue> {
        let last = self.last.as_ref().filter(|last| last.revision == registry.revision())?;
        last.tag.as_ref()
    }

    fn forget_tag(&mut self) {
        if let Some(last) = &mut self.last {
            last.tag = None;
        }
    }

    /// Keeps what the next collection needs of a report, and hands on the rest.
    fn take(&mut self, parsed: Parsed, tag: Option<HeaderValue>, revision: u64, now: Monotonic) -> classify::Report {
        let Parsed { report, offset, unregistered, .. } = parsed;
        self.offset = offset;
        let processes = report.processes.iter().map(|process| process.id.clone()).collect();
        let unregistered = unregistered.into_list();
        self.last = Some(LastReport { tag, revision, held: now, processes, unregistered });
        report
    }

    /// The last report still holds.
    fn advance(&mut self, now: Monotonic) -> Answer {
        match &mut self.last {
            Some(last) => Answer::Unchanged(now.since(std::mem::replace(&mut last.held, now))),
            // Nobody is asked with a tag whose report is not kept.
            None => Answer::NoReport,
        }
    }
}

impl Memory {
    /// The places of the endpoints in the order in which they are asked: first those that the last collection did not come
    /// to, and those that failed it last.
    fn order(&self, endpoints: &[Endpoint]) -> Vec<usize> {
        let resume = self.resume.as_ref();
        let first = resume.and_then(|id| endpoints.iter().position(|endpoint| endpoint.id == *id)).unwrap_or(0);
        let mut order: Vec<usize> = (first..endpoints.len()).chain(0..first).collect();
        order.sort_by_key(|index| {
            self.endpoints.get(&endpoints[*index].id).is_some_and(|known| known.standing.costs_time())
        });
        order
    }

    /// The first endpoint, in the order asked, that did not get its turn.
    fn first_not_asked(&self, endpoints: &[Endpoint], outcomes: &[Outcome]) -> Option<EndpointId> {
        let missed = |index: &usize| matches!(outcomes[*index], Err(RequestError::NotAsked));
        self.order(endpoints).into_iter().find(missed).map(|index| endpoints[index].id.clone())
    }
}

#[cfg(test)]
mod tests;
