//! The observations of `doctor`: API server, Redis and workers, read concurrently. IO, reading only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use tokio::time::timeout;

use super::super::cluster::{FleetReading, REQUEST_TIMEOUT, discover, read};
use super::DoctorArgs;
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::contextforge::{Access, ContextForge};
use crate::diagnosis::{
    ClusterObservations, ContextForgeObservations, ContextForgeReading, HASH_LABEL, ImagelessPod, Observations,
    PluginObservations, PluginPod, ReadError, RedisObservations, sets_plugins_file,
};
use crate::poll::compliance;
use crate::publish::keys::{LockHolder, OwnerId};
use crate::registry;
use crate::run::ready::default_owner;
use crate::workers::discovery::{self, ServiceSource};
use crate::{publish, workers};

/// Reads everything. Returns also what was checked, in a few words. Fails if the files of the workers' settings cannot
/// be used.
pub(super) async fn observe(args: DoctorArgs) -> anyhow::Result<(Observations, String)> {
    let DoctorArgs {
        scope, workers, redis, redis_owner_id: owner, polls, contextforge, contextforge_rate, fleet, ..
    } = args;
    let scope = scope.scope();
    let fixed = || workers.worker_endpoint.clone();
    let mut time = ReferenceClock::default();
    let (cluster, services, plugins, endpoints, owner) = match fleet.connect() {
        Err(error) => (Err(format!("{error:#}")), Vec::new(), Vec::new(), fixed(), owner),
        Ok(connected) => {
            time = connected.time.clone();
            let list = registry::list(&connected.client, &scope);
            let list = read("list", "mcpgateways.mcpgateway.io", None, list);
            let (registry, reading) = tokio::join!(list, connected.read_fleet());
            let registry = registry.map(Option::unwrap_or_default);
            let owner = match owner {
                // Without the objects doctor does not sample polls, and an unreachable API server is not asked again.
                None if registry.is_ok() => {
                    let owner = default_owner(&connected.client, &reading.namespace, &connected.lease);
                    timeout(REQUEST_TIMEOUT, owner).await.ok().and_then(Result::ok)
                }
                given => given,
            };
            let (services, plugins) = read_services(&connected.client, &workers.worker_service).await;
            // A Service that cannot be listed cannot be watched either.
            let readable = services.iter().all(|(_, addresses)| addresses.is_ok());
            let discovered = if readable { discover(connected.client.clone(), &workers).await } else { None };
            let FleetReading { namespace, fleet, lease } = reading;
            let lease_name = format!("{namespace}/{}", connected.lease);
            let imageless_pods = find_imageless_pods(&connected.client, &namespace).await;
            let cluster = ClusterObservations { registry, lease_name, lease, fleet, imageless_pods };
            (Ok(cluster), services, plugins, discovered.unwrap_or_else(fixed), owner)
        }
    };
    let registry = cluster.as_ref().ok().and_then(|cluster| cluster.registry.as_ref().ok());
    let sample = registry.map(compliance::sample).unwrap_or_default();
    let (names, sampled): (Vec<_>, Vec<_>) = sample.into_iter().map(|(name, poll)| (name.to_string(), poll)).unzip();
    let snapshot = Arc::new(registry.cloned().unwrap_or_default());
    let collector = workers.collector();
    // How recent entries must be depends on --classification-interval, which is not a flag of doctor.
    let probe = || workers::probe(&collector, &endpoints, &snapshot, Duration::MAX, &time);
    let probe = OptionFuture::from((!workers.sources().is_empty()).then(probe));
    let inspection = OptionFuture::from(redis.access().map(|access| publish::inspect(access, &sampled)));
    let contextforge = ask_contextforge(contextforge.access(), contextforge_rate.contextforge_requests_per_minute);
    let (workers, redis, contextforge) = tokio::join!(probe, inspection, contextforge);
    let workers = workers.transpose()?;
    let redis = redis.map(|inspection| {
        let publish::RedisInspection { traces, lock, published } = inspection?;
        let lock = holder(lock.as_deref(), owner.as_ref());
        Ok(RedisObservations { lock, published, traces, names, now: clock::now() })
    });
    let checked = format!(
        "{} gateways, {} endpoints, {}{}",
        registry.map_or(0, |registry| registry.gateways().len()),
        workers.as_ref().map_or(0, Vec::len),
        if redis.is_some() { "Redis" } else { "no Redis" },
        if matches!(contextforge, ContextForgeReading::NotAsked) { "" } else { ", ContextForge" }
    );
    let intervals = polls.intervals();
    Ok((Observations { cluster, redis, workers, services, plugins, intervals, contextforge }, checked))
}

/// Lists the entries, and asks for the rate. Both requests count for the rate of the operator's account.
async fn ask_contextforge(access: Option<Access>, requests_per_minute: u32) -> ContextForgeReading {
    let Some(access) = access else { return ContextForgeReading::NotAsked };
    let contextforge = match ContextForge::open(&access).await {
        Ok(contextforge) => contextforge,
        Err(error) => return ContextForgeReading::NoAccess(error.to_string()),
    };
    let entries = contextforge.list().await.map(|list| list.entries);
    let allowed_rate = if entries.is_ok() { contextforge.allowed_rate().await } else { None };
    ContextForgeReading::Asked(ContextForgeObservations {
        entries,
        user: contextforge.user,
        validity: contextforge.validity,
        allowed_rate,
        requests_per_minute,
        now: clock::now(),
    })
}

/// The operator's pods in the namespace of its Lease, by the labels of the chart.
async fn find_imageless_pods(client: &Client, namespace: &str) -> Result<Vec<ImagelessPod>, ReadError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let labels = "app.kubernetes.io/name=mcpgateway-operator,app.kubernetes.io/component=operator";
    let pods = read("list", "pods", Some(namespace), api.list(&ListParams::default().labels(labels))).await?;
    Ok(pods.iter().flatten().filter_map(ImagelessPod::of).collect())
}

/// The number of addresses of each Service, and the pods behind those of the chart's plugin.
async fn read_services(
    client: &Client,
    services: &[ServiceSource],
) -> (Vec<(String, Result<usize, ReadError>)>, Vec<PluginObservations>) {
    let (mut counts, mut plugins) = (Vec::new(), Vec::new());
    for ServiceSource { namespace, name, .. } in services {
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let params = ListParams::default().labels(&format!("{}={name}", discovery::SERVICE_LABEL));
        let resource = "endpointslices.discovery.k8s.io";
        let slices = read("list", resource, Some(namespace), api.list(&params)).await;
        let slices = slices.map(|slices| slices.map(|list| list.items).unwrap_or_default());
        if let Ok(slices) = &slices {
            plugins.extend(read_pods(client, namespace, slices).await);
        }
        let count = slices.map(|slices| slices.iter().map(discovery::usable_addresses).sum());
        counts.push((format!("{namespace}/{name}"), count));
    }
    (counts, plugins)
}

/// The pods behind these slices of one Service, if it is that of the chart's plugin.
async fn read_pods(client: &Client, namespace: &str, slices: &[EndpointSlice]) -> Option<PluginObservations> {
    let hash = slices.iter().find_map(|slice| slice.labels().get(HASH_LABEL))?;
    let mut ports = slices.iter().flat_map(|slice| slice.ports.iter().flatten());
    let port = ports.find_map(|port| port.port).unwrap_or_default();
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let targets = endpoints.filter_map(|endpoint| endpoint.target_ref.as_ref());
    let behind: Vec<&str> = targets.filter_map(|target| target.name.as_deref()).collect();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = read("list", "pods", Some(namespace), pods.list(&ListParams::default())).await.map(|pods| {
        let pods = pods.iter().flatten().filter(|pod| behind.contains(&pod.name_any().as_str()));
        pods.map(|pod| PluginPod::of(pod, hash)).collect::<Vec<_>>()
    });
    let mut hidden_files = Vec::new();
    let config_maps: BTreeSet<&String> = pods.iter().flatten().flat_map(|pod| &pod.config_maps).collect();
    for name in config_maps {
        let config_map: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        // One that cannot be read is not among the findings: who may list pods usually may read it.
        let found = read("get", "configmaps", Some(namespace), config_map.get(name)).await.ok().flatten();
        if found.is_some_and(|found| sets_plugins_file(found.data.unwrap_or_default().keys())) {
            hidden_files.push(format!("{namespace}/{name}"));
        }
    }
    Some(PluginObservations { port, pods, hidden_files })
}

fn holder(lock: Option<&str>, owner: Option<&OwnerId>) -> LockHolder {
    let Some(lock) = lock else { return LockHolder::Nobody };
    let unknown = || OwnerId::parse("(unknown)");
    let Some(parsed) = owner.cloned().or_else(unknown) else { return LockHolder::Foreign(lock.to_owned()) };
    match LockHolder::parse("string", lock.as_bytes(), &parsed) {
        // Without the owner id, the lock of any release may be ours.
        LockHolder::OtherRelease(_) if owner.is_none() => LockHolder::Ours { term: None },
        holder => holder,
    }
}
