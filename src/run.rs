//! `run`: creates the clients, connects the modules, and supervises their tasks. Shell.
//!
//! One `JoinSet` holds every task. If any of them ends, the process ends, so that no half of an operator is left
//! running. SIGTERM and SIGINT stop the election, which ends leadership, waits for writes in flight, and releases the
//! Lease. A second signal does not wait.

mod limits;
pub(crate) mod ready;
mod supervise;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::classify::memory::MemorySettings;
use crate::clock::reference::ReferenceClock;
use crate::cluster_access::ClusterAccess;
use crate::config::{Listen, RunArgs};
use crate::controller::{self, Controller, ControllerSettings, ProblemReceivers};
use crate::fleet::object::{self, FleetObject, FleetWriter};
use crate::leadership::{self, LeaderElector};
use crate::publish::{LockReports, LockState, Polls, RedisAccess, RedisSettings, Retention, Store};
use crate::registrar::{Registrar, RegistrarSettings};
use crate::registration::ownership::OwnerId;
use crate::server::api::{Api, FleetView};
use crate::server::{self, Readiness};
use crate::status::writer::StatusWriter;
use crate::workers::UsageCollector;
use crate::workers::discovery;
use crate::{events, permissions, publish, registrar, registry, status, telemetry, workers};
use supervise::{Role, Tasks, signals};

/// Term refusals that wait for the election; one is as good as many.
const REFUSALS: usize = 4;
/// Events that wait to be written.
const EVENTS: usize = 16;

/// Runs the operator until a signal, or until it fails: on invalid settings, on listeners that cannot be opened, and
/// when a task ends. `unknown`: environment variables with the prefix of settings that name no setting.
pub(crate) fn run(args: RunArgs, unknown: &[String]) -> anyhow::Result<()> {
    args.check()?;
    telemetry::init(args.log_format, &args.log_level);
    for name in unknown {
        warn!(name, "unknown environment variable: no setting has this name");
    }
    info!(version = env!("CARGO_PKG_VERSION"), "starting");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let done = runtime.block_on(operate(args));
    // Calls that are still in flight are dropped with their connections.
    runtime.shutdown_background();
    done
}

#[expect(clippy::too_many_lines, reason = "it connects all modules, in the order in which they start")]
async fn operate(args: RunArgs) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let mut tasks = Tasks::default();
    tasks.add_fallible("signals", Role::AtOnce, signals(stop.clone()));

    // All metrics are registered before any module runs.
    let mut metrics = telemetry::registry();
    let ours = metrics.sub_registry_with_prefix(telemetry::PREFIX);
    let registry_metrics = registry::Metrics::register(ours);
    let permissions_missing = permissions::register(ours);
    let workers_metrics = workers::Metrics::register(ours);
    let leadership_metrics = leadership::Metrics::register(ours);
    let publish_metrics = publish::Metrics::register(ours);
    let poll_metrics = publish::PollMetrics::register(ours);
    let status_metrics = status::writer::Metrics::register(ours);
    let controller_metrics = controller::Metrics::register(ours);
    let registrar_metrics = registrar::Metrics::register(ours);

    let reference = ReferenceClock::default();
    let redis = args.redis.access.access();
    let (snapshots, registry) = watch::channel(None);
    let (registry_failure, registry_problem) = watch::channel(None);
    let (fleet_objects, fleet) = watch::channel(FleetObject::Unread);
    let (fleet_failure, fleet_problem) = watch::channel(None);
    let (allowing, allowed) = watch::channel(false);
    let (permissions_failure, permissions_problem) = watch::channel(None);
    let (answering, redis_answered) = watch::channel(redis.is_none());
    let readiness = Readiness {
        registry: registry.clone(),
        registry_problem: registry_problem.clone(),
        fleet: fleet.clone(),
        fleet_problem,
        allowed,
        permissions_problem: permissions_problem.clone(),
        redis: redis_answered,
    };

    let connections = limits::Connections::new();
    connections.check(args.workers.worker_concurrency);
    if let Some(listener) = bind("--metrics-bind-address", args.metrics_bind_address, "/metrics", None)? {
        let app = server::metrics(metrics);
        let serving = server::serve_on_thread("metrics", listener, app, connections.clients, stop.clone());
        tasks.add_fallible("metrics", Role::Forever, serving);
    }
    let probes = "/livez and /readyz";
    if let Some(listener) = bind("--health-probe-bind-address", args.health_probe_bind_address, probes, None)? {
        let app = server::health(readiness.clone());
        let serving = server::serve_on_thread("health", listener, app, connections.clients, stop.clone());
        tasks.add_fallible("health", Role::Forever, serving);
    }
    let has_token = Some(args.api.api_token_file.is_some());
    let api = bind("--api-bind-address", args.api.api_bind_address, "/v1 and /openapi.json", has_token)?;

    // One client for reading, one for writing, and one for the Lease: a slow list must not delay a renewal.
    let cluster = ClusterAccess::find(None, None).context("no cluster: set KUBECONFIG, or run in a pod")?;
    let cluster = cluster.read_clock(reference.clone());
    let (reading, writing, electing) = (client(&cluster)?, client(&cluster)?, client(&cluster)?);
    let registering = writing.clone();
    let lease = args.election.leader_elect_resource_name.clone();
    let namespace = args.election.leader_elect_resource_namespace.clone();
    let namespace = namespace.unwrap_or_else(|| cluster.namespace().to_owned());
    let (cycles, last_cycle) = watch::channel(None);
    if let Some(listener) = api {
        // Until Redis and the registry can be read, every poll is due and the rest is answered 503.
        let polls = Polls::new(redis.clone(), args.refresh.longest.with(args.polls), poll_metrics);
        let view = FleetView::new(reading.clone(), &namespace, &lease, last_cycle);
        let app = Api::new(polls, registry.clone(), view, args.api.api_token_file.clone()).router();
        let serving = server::serve_on_thread("api", listener, app, connections.clients, stop.clone());
        tasks.add_fallible("api", Role::Drained, serving);
    } else {
        // Without the API nobody reads the last cycle, and it is not kept.
        drop(last_cycle);
    }
    let store = match redis {
        None => None,
        Some(access) => tokio::select! {
            store = open_store(access, &args, &reading, &namespace, &reference, publish_metrics) => {
                Some(Arc::new(store?))
            }
            () = stop.cancelled() => return Ok(()),
        },
    };

    let interval = args.classification_interval;
    let scope = args.scope.scope();
    let services: Vec<String> = args.workers.worker_service.iter().map(|service| service.namespace.clone()).collect();
    let registered = args.registration.contextforge.access().map(|_| &*args.registration.registration_namespace);
    let owner_of_cluster = (store.is_some() && args.redis.redis_owner_id.is_none())
        || (registered.is_some() && args.registration.contextforge_owner_id.is_none());
    let mirror = args.registration.mirror_namespace.as_deref();
    let watched = &scope.namespaces;
    let needed = permissions::needed(watched, &namespace, &lease, owner_of_cluster, &services, registered, mirror);
    let watching = registry::run(reading.clone(), scope, snapshots, registry_failure, registry_metrics);
    tasks.add("registry", Role::Forever, watching);
    let checking = permissions::keep_checking(
        reading.clone(),
        needed,
        interval,
        allowing,
        permissions_failure,
        permissions_missing,
    );
    tasks.add("permissions", Role::Forever, checking);
    let watching = object::watch(reading.clone(), namespace.clone(), lease.clone(), fleet_objects, fleet_failure);
    tasks.add("fleet object", Role::Forever, watching);
    tasks.add("readiness", Role::Once, ready::get_ready(store.clone(), answering, readiness));
    let (found, endpoints) = watch::channel(None);
    let path = args.workers.worker_path.clone();
    let discovering = discovery::run(reading, args.workers.sources(), path, found, workers_metrics.clone());
    tasks.add("discovery", Role::Forever, discovering);

    let settings = election_settings(&args, &namespace);
    info!(identity = &*settings.identity, namespace, lease, "standing for election");
    let instance = Some(settings.identity.to_string());
    let reporter = Reporter { controller: crate::api::FIELD_MANAGER.to_owned(), instance };
    let recorder = Arc::new(Recorder::new(writing.clone(), reporter));
    let (fleet_events, queue) = mpsc::channel(EVENTS);
    let writing_events = events::run(writing.clone(), recorder.clone(), namespace.clone(), lease.clone(), queue);
    tasks.add("events", Role::Forever, writing_events);
    let (refusals, refused) = mpsc::channel(REFUSALS);
    let (fleet_problem, fleet_written) = watch::channel(None);
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
        fleet_problem: fleet_written,
        events: fleet_events.clone(),
        stop: stop.clone(),
    };
    let (elector, leadership) = LeaderElector::new(settings, dependencies, leadership_metrics);
    tasks.add("election", Role::Last, elect(elector, registry.clone(), stop.clone()));

    // No more workers are asked at once than there are file descriptors for.
    let collector =
        UsageCollector::new(args.workers.collector(), connections.workers, reference.clone(), workers_metrics);
    let (status_failure, status_writes) = watch::channel(None);
    let outputs = controller::Outputs {
        collector: Arc::new(collector),
        statuses: Arc::new(StatusWriter::new(
            writing.clone(),
            interval,
            Arc::clone(&recorder),
            status_failure,
            status_metrics,
        )),
        fleet: FleetWriter::new(writing, &namespace, &lease),
        fleet_problem,
        redis: store.map(|store| keep_lock(&mut tasks, store)),
        events: fleet_events,
        refusals,
        cycles,
    };
    let registrations = registrar_settings(&args, &registering, &namespace).await?.map(|settings| {
        let (outcomes, registrations) = watch::channel(Arc::default());
        let (mirrored, mirror) = watch::channel(None);
        let mirror = settings.mirror_namespace.is_some().then_some(mirror);
        let registrar = Registrar {
            settings,
            client: registering,
            registry: registry.clone(),
            leadership: leadership.clone(),
            fleet: fleet.clone(),
            outcomes,
            mirrored,
            recorder: Arc::clone(&recorder),
            reference: reference.clone(),
            metrics: registrar_metrics,
        };
        tasks.add("registrar", Role::Forever, registrar.run());
        (registrations, mirror)
    });
    let (registrations, mirror) = registrations.unzip();
    let mirror = mirror.flatten();
    let problems = ProblemReceivers { registry: registry_problem, permissions: permissions_problem, status_writes };
    let inputs = controller::Inputs { registry, endpoints, leadership, fleet, problems, registrations, mirror };
    let controller =
        Controller { settings: controller_settings(&args), inputs, outputs, metrics: controller_metrics, reference };
    tasks.add("controller", Role::Forever, controller.run());
    tasks.supervise(&stop).await
}

fn election_settings(args: &RunArgs, namespace: &str) -> leadership::ElectionSettings {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // New at each start: a process must not take the Lease of its predecessor for its own.
    let identity = format!("{host}_{}", uuid::Uuid::new_v4().simple()).into();
    let name = args.election.leader_elect_resource_name.clone();
    leadership::ElectionSettings { identity, namespace: namespace.to_owned(), name, timing: args.election.timing() }
}

/// `None` if nothing is to be registered.
async fn registrar_settings(
    args: &RunArgs,
    client: &Client,
    lease_namespace: &str,
) -> anyhow::Result<Option<RegistrarSettings>> {
    let Some(access) = args.registration.contextforge.access() else { return Ok(None) };
    let owner = if let Some(owner) = args.registration.contextforge_owner_id.clone() {
        owner
    } else {
        let lease = &args.election.leader_elect_resource_name;
        let text = ready::cluster_owner(client, "--contextforge-owner-id", lease_namespace, lease).await?;
        OwnerId::parse(&text).context("the default of --contextforge-owner-id")?
    };
    info!(contextforge = %access.url, "registering in ContextForge");
    Ok(Some(RegistrarSettings {
        access,
        owner,
        resync: args.registration.contextforge_resync,
        requests_per_minute: args.registration.rate.contextforge_requests_per_minute,
        limits: args.registration.limits(),
        mirror_namespace: args.registration.mirror_namespace.clone(),
    }))
}

fn controller_settings(args: &RunArgs) -> ControllerSettings {
    let (interval, quorum) = (args.classification_interval, args.workers.worker_quorum);
    ControllerSettings {
        ranking: args.ranking_params(),
        memory: MemorySettings { interval, quorum, window: args.usage_window },
        polls: args.polls.intervals(),
        refresh_plan: args.refresh.settings(args.polls.hot_poll_interval),
        status_usage_interval: args.status_usage_interval,
    }
}

/// Opens a listener, so that a port in use is reported at once; `None` if it is off.
fn bind(flag: &str, Listen(address): Listen, served: &str, token: Option<bool>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = server::listen(address).with_context(|| format!("{flag} {address}"))?;
    info!(address = %listener.local_addr()?, token, "serving {served}");
    Ok(Some(listener))
}

/// A client that does not retry on its own: a write must not be repeated after leadership has ended, and the watches
/// have their own back-off.
fn client(cluster: &ClusterAccess) -> anyhow::Result<Client> {
    // Answers may take longer than the 55 s after which watches end by themselves, so that a dead connection is noticed
    // within 65 s.
    cluster.client(Duration::from_secs(5), Duration::from_mins(1))
}

/// The store, for the given owner or the one that the cluster's id gives.
async fn open_store(
    access: RedisAccess,
    args: &RunArgs,
    client: &Client,
    lease_namespace: &str,
    reference: &ReferenceClock,
    metrics: publish::Metrics,
) -> anyhow::Result<Store> {
    let owner = match args.redis.redis_owner_id.clone() {
        Some(owner) => owner,
        None => ready::default_owner(client, lease_namespace, &args.election.leader_elect_resource_name).await?,
    };
    info!(redis = %access.url, %owner, "publishing to Redis");
    let settings = RedisSettings {
        access,
        owner,
        takeover: args.redis.redis_lock_takeover,
        interval: args.classification_interval,
        lease_duration: args.election.leader_elect_lease_duration,
    };
    Ok(Store::new(settings, reference.clone(), metrics))
}

/// Stands for election once the registry has been read: a replica that cannot read it has nothing to lead with, and
/// does not know the terms in the statuses.
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
