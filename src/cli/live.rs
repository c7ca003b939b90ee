//! The live fleet as the leader sees it in one cycle: the objects, the endpoints, and what the workers report. IO,
//! reading only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kube::Client;

use super::cluster::{ClusterArgs, discover, read};
use super::print_to_stderr;
use crate::classify::{Answer, EndpointAnswer, ProcessReport, Report};
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::config::{BadSetting, ScopeArgs, WorkerArgs, condition, heading};
use crate::model::{EndpointId, UnixTime, WorkerId};
use crate::registry::{self, RegistrySnapshot, Scope};
use crate::workers::{Metrics, SECOND_REQUEST, UsageCollector};

/// Where the objects and the workers are.
#[derive(Debug, Args)]
pub(crate) struct LiveArgs {
    #[command(flatten, next_help_heading = heading::OBJECTS)]
    scope: ScopeArgs,
    #[command(flatten, next_help_heading = heading::WORKERS)]
    workers: WorkerArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

impl LiveArgs {
    /// What is wrong with these settings, if the live fleet is to be read.
    pub(super) fn conflicts(&self) -> Vec<BadSetting> {
        let missing = self.workers.sources().is_empty();
        let missing = missing.then(|| BadSetting::new("--worker-service", condition::ENDPOINTS));
        missing.into_iter().chain(self.workers.conflicts()).collect()
    }
}

/// A connection to the fleet.
pub(super) struct LiveFleet {
    scope: Scope,
    workers: WorkerArgs,
    /// `None` if nothing is read from the cluster.
    client: Option<Client>,
    /// The objects, if they are not read from the cluster.
    registry: Option<Arc<RegistrySnapshot>>,
    time: ReferenceClock,
    collector: UsageCollector,
    interval: Duration,
}

/// The results of one cycle.
pub(super) struct Cycle {
    pub registry: Arc<RegistrySnapshot>,
    /// The reports of all endpoints, merged.
    pub report: Report,
    /// The endpoints that have sent no complete report.
    pub incomplete: Vec<EndpointId>,
    /// When all reports had arrived.
    pub now: UnixTime,
}

impl Cycle {
    /// Prints a warning for each endpoint whose report is missing or partial.
    pub fn warn(&self) {
        for endpoint in &self.incomplete {
            print_to_stderr(&format!("warning: no complete report from {endpoint}; doctor says why"));
        }
    }
}

impl LiveFleet {
    /// Sends no request yet, but needs the runtime. `objects`: used instead of those of the cluster. `interval`: the
    /// time between two cycles.
    pub fn new(args: LiveArgs, objects: Option<RegistrySnapshot>, interval: Duration) -> anyhow::Result<Self> {
        let LiveArgs { scope, workers, cluster } = args;
        let needs_cluster = objects.is_none() || !workers.worker_service.is_empty();
        let (client, time) = match needs_cluster.then(|| cluster.connect()).transpose()? {
            Some((client, time, _)) => (Some(client), time),
            None => (None, ReferenceClock::default()),
        };
        let metrics = Metrics::register(&mut prometheus_client::registry::Registry::default());
        let collector = UsageCollector::new(workers.collector(), workers.worker_concurrency, time.clone(), metrics);
        let (scope, registry) = (scope.scope(), objects.map(Arc::new));
        Ok(Self { scope, workers, client, registry, time, collector, interval })
    }

    /// The first cycle. The clock of a worker that is off is accepted with the second report, so if any endpoint has
    /// sent no complete report, all are requested again.
    pub async fn first_cycle(&self) -> anyhow::Result<Cycle> {
        let cycle = self.cycle().await?;
        if cycle.incomplete.is_empty() {
            return Ok(cycle);
        }
        tokio::time::sleep(SECOND_REQUEST).await;
        self.cycle().await
    }

    /// Reads the objects, and requests a full report from each endpoint.
    pub async fn cycle(&self) -> anyhow::Result<Cycle> {
        let registry = match (&self.registry, &self.client) {
            (Some(registry), _) => Arc::clone(registry),
            (None, Some(client)) => {
                let list = registry::list(client, &self.scope);
                Arc::new(read("list", "mcpgateways.mcpgateway.io", None, list).await?.unwrap_or_default())
            }
            (None, None) => Arc::default(),
        };
        let endpoints = match &self.client {
            Some(client) => discover(client.clone(), &self.workers).await.context(
                "the EndpointSlices of --worker-service cannot be read: the user needs the verbs list and watch for \
                 endpointslices.discovery.k8s.io in the namespaces of the Services",
            )?,
            None => self.workers.worker_endpoint.clone(),
        };
        // Without an ETag, no worker answers that its report is unchanged.
        self.collector.forget().await;
        self.time.settle(clock::monotonic());
        let collection = self.collector.collect(&endpoints, &registry, self.interval).await;
        let now = self.time.at(clock::monotonic()).unwrap_or_else(clock::now);
        let mut incomplete = Vec::new();
        let reports = collection.answers.into_iter().filter_map(|EndpointAnswer { endpoint, answer }| {
            let report = if let Answer::Report(report) = answer { Some(report) } else { None };
            if !report.as_ref().is_some_and(|report| report.complete) {
                incomplete.push(endpoint);
            }
            report
        });
        let mut report = merged(reports);
        report.complete &= incomplete.is_empty();
        Ok(Cycle { registry, report, incomplete, now })
    }
}

/// Merges reports into one. If a process is in several, its newest entry counts.
pub(super) fn merged(reports: impl IntoIterator<Item = Report>) -> Report {
    let mut merged = Report { complete: true, ..Report::default() };
    let mut processes: BTreeMap<WorkerId, ProcessReport> = BTreeMap::new();
    for report in reports {
        merged.complete &= report.complete;
        for process in report.processes {
            let known = processes.get(&process.id);
            if known.is_none_or(|known| known.observed_at < process.observed_at) {
                processes.insert(process.id.clone(), process);
            }
        }
    }
    merged.processes = processes.into_values().collect();
    merged
}
