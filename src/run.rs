//! `run`: creates the clients, connects the modules, and supervises their tasks. Shell.
//!
//! One `JoinSet` holds every task. If any of them ends, the process ends, so that no half of an operator is left running.
//! SIGTERM and SIGINT stop the election, which ends leadership, waits for writes in flight, and releases the Lease. A second
//! signal does not wait.

mod api;
mod limits;
pub(crate) mod ready;
mod supervise;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::{FutureExt, TryFutureExt};
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{self, Config, RunArgs};
use crate::controller::{self, Controller, ProblemReceivers};
use crate::fleet::object::{self, FleetObject, FleetWriter};
use crate::leadership::{self, LeaderElector};
use crate::model::Problem;
use crate::permissions::Home;
use crate::publish::{LockReports, LockState, Retention, Store};
use crate::server::{self, Readiness};
use crate::status::writer::StatusWriter;
use crate::workers::UsageCollector;
use crate::workers::discovery::{self, Source};
use crate::{events, permissions, publish, registry, status, telemetry, workers};
use supervise::{Role, Tasks, signals};

/// Term refusals that wait for the election; one is as good as many.
const REFUSALS: usize = 4;
/// Events that wait to be written.
const EVENTS: usize = 16;

/// Runs the operator until a signal, or until it fails. `unknown`: environment variables with the prefix of settings that name
/// no setting.
///
/// # Errors
/// On invalid settings, on listeners that cannot be opened, and when a task ends or fails.
pub fn run(args: RunArgs, unknown: &[String]) -> anyhow::Result<()> {
    let config = Config::try_from(args)?;
    telemetry::init(config.log.0, &config.log.1)?;
    for name in unknown {
        warn!(name, "unknown environment variable: no setting has this name");
    }
    info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(operate(config));
    // Calls that are still in flight are dropped with their connections.
    runtime.shutdown_background();
    done
}

/// The metrics of all modules, registered before any of them runs.
struct AllMetrics {
    registry: registry::Metrics,
    permissions: permissions::Metrics,
    workers: workers::Metrics,
    leadership: leadership::Metrics,
    publish: publish::Metrics,
    polls: publish::PollMetrics,
    statuses: status::writer::Metrics,
    controller: controller::Metrics,
}

impl AllMetrics {
    fn register() -> (Self, Registry) {
        let mut root = telemetry::registry();
        let ours = root.sub_registry_with_prefix(telemetry::PREFIX);
        let all = Self {
            registry: registry::Metrics::register(ours),
            permissions: permissions::Metrics::register(ours),
            workers: workers::Metrics::register(ours),
            leadership: leadership::Metrics::register(ours),
            publish: publish::Metrics::register(ours),
            polls: publish::PollMetrics::register(ours),
            statuses: status::writer::Metrics::register(ours),
            controller: controller::Metrics::register(ours),
        };
        (all, root)
    }
}

async fn operate(config: Config) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut tasks = Tasks::default();
    tasks.add_fallible("signals", Role::AtOnce, signals(stop.clone()));
    let (metrics, root) = AllMetrics::register();
    let readiness = serve(&mut tasks, &config, root, &stop).await?;
    let asked = api::bind(&config).await?;

    // One client for reading, one for writing, and one for the Lease: a slow list must not delay a renewal.
    let cluster = cluster_config().await?;
    let (reading, writing, electing) = (client(&cluster)?, client(&cluster)?, client(&cluster)?);
    let namespace = config.election.namespace.clone().unwrap_or_else(|| cluster.default_namespace.clone());
    let (snapshots, registry) = watch::channel(None);
    let (cycles, last_cycle) = watch::channel(None);
    match asked {
        Some(listener) => {
            let (client, namespace) = (reading.clone(), namespace.clone());
            let (registry, metrics) = (registry.clone(), metrics.polls);
            let sources = api::Sources { client, namespace, registry, cycles: last_cycle, metrics };
            api::start(&mut tasks, listener, &config, sources, &stop);
        }
        // Without the API nobody reads the last cycle, and it is not kept.
        None => drop(last_cycle),
    }
    let opened = tokio::select! {
        store = open_store(&config, &reading, &namespace, metrics.publish.clone()) => Some(store?),
        () = stop.cancelled() => None,
    };
    let Some(store) = opened else { return Ok(()) };

    let interval = config.controller.memory.interval;
    let (problem, registry_problem) = watch::channel(None);
    let watching = registry::run(reading.clone(), config.scope.clone(), snapshots, problem, metrics.registry.clone());
    tasks.add("registry", Role::Forever, watching);
    let needed = permissions_needed(&config, &namespace);
    let (allowing, allowed) = watch::channel(false);
    let (problem, permissions_problem) = watch::channel(None);
    let reports = permissions::Reports { allowed: allowing, problem };
    let checking = permissions::keep_checking(reading.clone(), needed, interval, reports, metrics.permissions.clone());
    tasks.add("permissions", Role::Forever, checking);
    let (fleet, fleet_problem) = watch_fleet(&mut tasks, reading.clone(), &namespace, &config.election.name);
    let requirements = ready::Requirements {
        registry: registry.clone(),
        registry_problem: registry_problem.clone(),
        fleet: fleet.clone(),
        fleet_problem,
        allowed,
        permissions_problem: permissions_problem.clone(),
        store: store.clone(),
    };
    tasks.add("readiness", Role::Once, ready::get_ready(requirements, readiness));
    let (found, endpoints) = watch::channel(None);
    let discovering =
        discovery::run(reading, config.sources.clone(), config.worker_path.clone(), found, metrics.workers.clone());
    tasks.add("discovery", Role::Forever, discovering);

    let settings = leadership_settings(&config.election, &namespace);
    info!(identity = &*settings.identity, namespace, lease = settings.name, "standing for election");
    let instance = Some(settings.identity.to_string());
    let recorder =
        Recorder::new(writing.clone(), Reporter { controller: crate::api::FIELD_MANAGER.to_owned(), instance });
    let recorder = Arc::new(recorder);
    let (fleet_events, queue) = mpsc::channel(EVENTS);
    let writing_events =
        events::run(writing.clone(), recorder.clone(), namespace.clone(), settings.name.clone(), queue);
    tasks.add("events", Role::Forever, writing_events);
    let (refusals, refused) = mpsc::channel(REFUSALS);
    let term_store = store.clone();
    let redis_term = move || {
        let store = term_store.clone();
        async move { store?.term().await.ok().flatten() }.boxed()
    };
    let dependencies = leadership::ElectorDependencies {
        client: electing,
        redis_term: Box::new(redis_term),
        registry: registry.clone(),
        refusals: refused,
        events: fleet_events.clone(),
        stop: stop.clone(),
    };
    let (elector, leadership) = LeaderElector::new(settings, dependencies, metrics.leadership.clone());
    tasks.add("election", Role::Last, elect(elector, registry.clone(), stop.clone()));

    let (problem, writing_problem) = watch::channel(None);
    let problems = ProblemReceivers {
        registry: registry_problem,
        permissions: permissions_problem,
        status_writes: writing_problem,
    };
    let outputs = controller::Outputs {
        collector: Arc::new(collector(&config, metrics.workers.clone())?),
        statuses: Arc::new(StatusWriter::new(writing.clone(), interval, recorder, problem, metrics.statuses.clone())),
        fleet: FleetWriter::new(writing, &namespace, &config.election.name),
        redis: store.map(|store| keep_lock(&mut tasks, store)),
        events: fleet_events,
        refusals,
        cycles,
    };
    let inputs = controller::Inputs { registry, endpoints, leadership, fleet, problems };
    let metrics = metrics.controller.clone();
    let controller = Controller { settings: config.controller, inputs, outputs, metrics };
    tasks.add("controller", Role::Forever, controller.run());
    tasks.supervise(&stop).await
}

/// Starts watching the fleet object, which has the name of the Lease.
fn watch_fleet(
    tasks: &mut Tasks,
    client: Client,
    namespace: &str,
    name: &str,
) -> (watch::Receiver<FleetObject>, watch::Receiver<Option<Problem>>) {
    let (sender, fleet) = watch::channel(FleetObject::Unread);
    let (failure, problem) = watch::channel(None);
    let watching = object::watch(client, namespace.to_owned(), name.to_owned(), sender, failure);
    tasks.add("fleet object", Role::Forever, watching);
    (fleet, problem)
}

/// Opens the listeners, so that a port in use is reported at once, and serves on them.
async fn serve(
    tasks: &mut Tasks,
    config: &Config,
    root: Registry,
    stop: &CancellationToken,
) -> anyhow::Result<watch::Sender<Readiness>> {
    let (sender, readiness) = watch::channel(Readiness {
        redis: server::Requirement { met: config.redis.is_none(), problem: None },
        ..Readiness::default()
    });
    if let Some(address) = config.metrics.0 {
        let listener = TcpListener::bind(address).await.with_context(|| format!("--metrics-bind-address {address}"))?;
        info!(address = %listener.local_addr()?, "serving /metrics");
        let served = server::metrics(listener, Arc::new(root), stop.clone().cancelled_owned());
        tasks.add_fallible("metrics", Role::Forever, served.map_err(Into::into));
    }
    if let Some(address) = config.health.0 {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("--health-probe-bind-address {address}"))?;
        info!(address = %listener.local_addr()?, "serving /livez and /readyz");
        let served = server::health(listener, readiness, stop.clone().cancelled_owned());
        tasks.add_fallible("health", Role::Forever, served.map_err(Into::into));
    }
    Ok(sender)
}

/// The cluster as kubectl finds it, or else that of the pod.
async fn cluster_config() -> anyhow::Result<kube::Config> {
    let infer = kube::Config::infer().await;
    infer.map_err(|error| anyhow!("no cluster: set KUBECONFIG, or run in a pod with a service account ({error})"))
}

/// A client that does not retry on its own: a write must not be repeated after leadership has ended, and the watches have
/// their own back-off.
fn client(cluster: &kube::Config) -> anyhow::Result<Client> {
    let mut config = cluster.clone();
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    // Longer than the 55 s after which watches end by themselves, so that a dead connection is noticed within 65 s.
    config.read_timeout = Some(Duration::from_mins(1));
    Client::try_from(config).context("making a client of the API server")
}

/// The store, for the given owner or the one that the cluster's id gives; `None` without a Redis URL.
async fn open_store(
    config: &Config,
    client: &Client,
    lease_namespace: &str,
    metrics: publish::Metrics,
) -> anyhow::Result<Option<Arc<Store>>> {
    let Some(redis) = &config.redis else { return Ok(None) };
    let owner = match redis.owner.clone() {
        Some(owner) => owner,
        None => ready::default_owner(client, lease_namespace, &config.election.name).await?,
    };
    let interval = config.controller.memory.interval;
    let settings = redis.settings(owner, interval, config.election.timing.lease_duration);
    info!(redis = %settings.access.url, owner = %settings.owner, "publishing to Redis");
    Ok(Some(Arc::new(Store::new(settings, metrics))))
}

fn permissions_needed(config: &Config, lease_namespace: &str) -> Vec<permissions::Permission> {
    let service = |source: &Source| match source {
        Source::Fixed(_) => None,
        Source::Service(service) => Some(service.namespace.clone()),
    };
    let services: Vec<String> = config.sources.iter().filter_map(service).collect();
    let lease = &config.election.name;
    let owner_of_cluster = config.redis.as_ref().is_some_and(|redis| redis.owner.is_none());
    let home = Home { namespace: lease_namespace, lease, owner_of_cluster };
    permissions::needed(&config.scope.namespaces, &home, &services)
}

/// A collector that asks no more workers at once than there are file descriptors for.
fn collector(config: &Config, metrics: workers::Metrics) -> anyhow::Result<UsageCollector> {
    let settings = config.workers.clone();
    let connections = limits::connections(settings.concurrency);
    Ok(UsageCollector::new(settings, metrics)?.with_connections(connections))
}

fn leadership_settings(election: &config::Election, namespace: &str) -> leadership::ElectionSettings {
    let config::Election { timing, name, namespace: _ } = election.clone();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // New at each start: a process must not take the Lease of its predecessor for its own.
    let identity = format!("{host}_{}", uuid::Uuid::new_v4().simple());
    let namespace = namespace.to_owned();
    leadership::ElectionSettings { identity: identity.into(), namespace, name, timing }
}

/// Stands for election once the registry has been read: a replica that cannot read it has nothing to lead with, and does
/// not know the terms in the statuses.
async fn elect(elector: LeaderElector, mut registry: registry::Receiver, stop: CancellationToken) {
    tokio::select! {
        read = registry.wait_for(Option::is_some) => if read.is_err() { return },
        () = stop.cancelled() => return,
    }
    elector.run().await;
}

/// Starts the keeper of the Redis lock.
fn keep_lock(tasks: &mut Tasks, store: Arc<Store>) -> controller::Redis {
    let (tokens, token) = watch::channel(None);
    let (retention, retained) = watch::channel(Retention::LockOnly);
    let (state, lock) = watch::channel(LockState::Off);
    let differs = Arc::new(Notify::new());
    let reports = LockReports { state, differs: Arc::clone(&differs) };
    tasks.add("redis lock", Role::Forever, publish::keep(Arc::clone(&store), token, retained, reports));
    controller::Redis { store, tokens, retention, lock, differs }
}
