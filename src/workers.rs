//! Collecting usage: asks every endpoint which servers its workers used. IO: knows the workers and their files, and
//! nothing else.
//!
//! In: the endpoints that [`discovery`] found, the registry. Out: one [`Collection`], with an answer for each endpoint,
//! be it that there was none; what to make of silence is decided in [`crate::classify::memory`]. Whatever one endpoint
//! does costs the others nothing: requests run side by side, each with its own time-out and limit, and the whole
//! collection ends after one interval. Must not log a URL's query, a token or anything of a body.

mod client;
pub mod discovery;
mod metrics;
pub mod report;
mod request;
mod standing;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, stream};
use tokio::sync::Mutex;

use crate::classify::{Answer, Collection};
use crate::clock;
use crate::model::{EndpointId, Monotonic};
use crate::registry::RegistrySnapshot;
use client::{Connection, Connector};
pub use client::{CredentialError, Credentials};
use discovery::Endpoint;
pub use metrics::Metrics;
use report::Parsed;
use request::{Limits, RequestError};
use standing::{Changes, Standing};

/// The settings of collecting; defaults as in SPEC sections 2 and 7.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests at one time (`--worker-concurrency`).
    pub concurrency: NonZeroUsize,
    /// For one request, from connecting to the last byte (`--worker-timeout`).
    pub timeout: Duration,
    /// Of one body, decoded (`--max-report-bytes`).
    pub max_report_bytes: usize,
    /// Token, certificates, names.
    pub credentials: Credentials,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: NonZeroUsize::MIN.saturating_add(63),
            timeout: Duration::from_secs(5),
            max_report_bytes: 128 * 1024 * 1024,
            credentials: Credentials::default(),
        }
    }
}

type Outcome = Result<Parsed, RequestError>;

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
}

impl UsageCollector {
    /// Files are read at each collection, not here: a Secret that is mounted late is no reason to end.
    ///
    /// # Errors
    /// [`CredentialError::HalfIdentity`] and [`CredentialError::ServerName`], if the settings contradict themselves.
    pub fn new(settings: Settings, metrics: Metrics) -> Result<Self, CredentialError> {
        let Settings { concurrency, timeout, max_report_bytes, credentials } = settings;
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
                let requests = memory.order(endpoints).into_iter().map(|index| {
                    let endpoint = &endpoints[index];
                    let timing = (memory.offset(&endpoint.id), interval);
                    let asked = self.ask(&connection, endpoint, registry, timing, begun);
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
        self.settle(&mut memory, endpoints, outcomes)
    }

    /// This replica no longer leads: what it exported of the fleet is no longer known. Call it when a mandate ends.
    pub fn forget(&self) {
        self.metrics.forget();
    }

    /// Asks one endpoint, unless the interval since `begun` is over; if it ends meanwhile, the request ends too.
    async fn ask(
        &self,
        connection: &Connection,
        endpoint: &Endpoint,
        registry: &Arc<RegistrySnapshot>,
        (offset, interval): (f64, Duration),
        begun: Monotonic,
    ) -> Outcome {
        let asked = clock::monotonic();
        let left = interval.saturating_sub(asked.since(begun));
        if left.is_zero() {
            return Err(RequestError::NotAsked);
        }
        let limits = Limits { timeout: self.limits.timeout.min(left), ..self.limits };
        let outcome = request::ask(connection, endpoint, limits, registry, (offset, interval)).await;
        self.metrics.took(clock::monotonic().since(asked));
        outcome
    }

    /// Counts, says what is new, and remembers what the next collection needs.
    fn settle(&self, memory: &mut Memory, endpoints: &[Endpoint], outcomes: Vec<Outcome>) -> Collection {
        let mut before = std::mem::take(&mut memory.endpoints);
        let mut changes = Changes::default();
        let mut processes = HashSet::new();
        let mut collection = Collection { answers: Vec::with_capacity(endpoints.len()) };
        for (endpoint, outcome) in endpoints.iter().zip(outcomes) {
            let mut known = before.remove(&endpoint.id).unwrap_or_default();
            let standing = Standing::of(&outcome, &known.standing);
            self.metrics.asked(standing.outcome());
            if let Ok(Parsed { report, offset, skipped, .. }) = &outcome {
                known.offset = *offset;
                processes.extend(report.processes.iter().map(|process| process.id.clone()));
                for (reason, rows) in skipped.iter() {
                    self.metrics.skipped(reason.reason(), rows);
                }
            }
            changes.note(&endpoint.id, &known.standing, &standing, outcome.as_ref().err());
            known.standing = standing;
            memory.endpoints.insert(endpoint.id.clone(), known);
            let report = outcome.ok().map(|parsed| parsed.report);
            collection.answers.push(Answer { endpoint: endpoint.id.clone(), report });
        }
        changes.log();
        self.metrics.workers(processes.len());
        collection
    }
}

impl Memory {
    /// The places of the endpoints in the order in which they are asked.
    fn order(&self, endpoints: &[Endpoint]) -> Vec<usize> {
        let resume = self.resume.as_ref();
        let first = resume.and_then(|id| endpoints.iter().position(|endpoint| endpoint.id == *id)).unwrap_or(0);
        (first..endpoints.len()).chain(0..first).collect()
    }

    /// Seconds added to the times of this endpoint so far.
    fn offset(&self, endpoint: &EndpointId) -> f64 {
        self.endpoints.get(endpoint).map_or(0.0, |known| known.offset)
    }

    /// The first endpoint, in the order asked, that did not get its turn.
    fn first_not_asked(&self, endpoints: &[Endpoint], outcomes: &[Outcome]) -> Option<EndpointId> {
        let missed = |index: &usize| matches!(outcomes[*index], Err(RequestError::NotAsked));
        self.order(endpoints).into_iter().find(missed).map(|index| endpoints[index].id.clone())
    }
}

#[cfg(test)]
mod tests;
