//! The observations of `doctor`: API server, Redis and workers, read concurrently. IO, reading only.

use std::sync::Arc;
use std::time::Duration;

use futures::future::OptionFuture;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::cluster::{Cluster, FleetArgs, FleetReading, REQUEST_TIMEOUT, read};
use crate::clock;
use crate::config::DoctorSettings;
use crate::diagnosis::{ClusterObservations, Observations, ReadError, RedisObservations};
use crate::poll::compliance;
use crate::publish::keys::{LockHolder, OwnerId};
use crate::registry::{self, Scope};
use crate::run::ready::default_owner;
use crate::workers::discovery::{self, Endpoint, ServiceSource, Source};
use crate::{publish, workers};

/// Reads everything. Returns also what was checked, in a few words.
///
/// # Errors
/// If the files of the workers' settings cannot be used.
pub(super) async fn observe(
    settings: DoctorSettings,
    scope: Scope,
    fleet: FleetArgs,
    owner: Option<OwnerId>,
) -> anyhow::Result<(Observations, String)> {
    let DoctorSettings { sources, worker_path, workers: collector, access, intervals } = settings;
    let connected = fleet.connect().await;
    let (cluster, services, endpoints, owner) = match &connected {
        Err(error) => (Err(format!("{error:#}")), Vec::new(), fixed(&sources), owner),
        Ok(connected) => {
            let (registry, reading) = tokio::join!(list(&connected.client, &scope), connected.read_fleet());
            let owner = match owner {
                // Without the objects doctor does not sample polls, and an unreachable API server is not asked again.
                None if registry.is_ok() => {
                    let owner = default_owner(&connected.client, &reading.namespace, &connected.lease);
                    timeout(REQUEST_TIMEOUT, owner).await.ok().and_then(Result::ok)
                }
                given => given,
            };
            let services = count_addresses(&connected.client, &sources).await;
            // A Service that cannot be listed cannot be watched either.
            let readable = services.iter().all(|(_, addresses)| addresses.is_ok());
            let endpoints = if readable { discover(connected, &sources, worker_path).await } else { fixed(&sources) };
            let FleetReading { namespace, fleet, lease } = reading;
            let lease_name = format!("{namespace}/{}", connected.lease);
            (Ok(ClusterObservations { registry, lease_name, lease, fleet }), services, endpoints, owner)
        }
    };
    let registry = cluster.as_ref().ok().and_then(|cluster| cluster.registry.as_ref().ok());
    let sample = registry.map(compliance::sample).unwrap_or_default();
    let (names, polls): (Vec<_>, Vec<_>) = sample.into_iter().map(|(name, poll)| (name.to_string(), poll)).unzip();
    let snapshot = Arc::new(registry.cloned().unwrap_or_default());
    // How recent entries must be depends on --classification-interval, which is not a flag of doctor.
    let probe = || workers::probe(&collector, &endpoints, &snapshot, Duration::MAX);
    let probe = OptionFuture::from((!sources.is_empty()).then(probe));
    let look = OptionFuture::from(access.map(|access| publish::inspect(access, &polls)));
    let (workers, redis) = tokio::join!(probe, look);
    let workers = workers.transpose()?;
    let redis = redis.map(|seen| {
        let publish::RedisInspection { traces, lock, published } =
            seen.map_err(|error| format!("{}: {error}", <&str>::from(&error)))?;
        let lock = holder(lock.as_deref(), owner.as_ref());
        Ok(RedisObservations { lock, published, traces, names, now: clock::now() })
    });
    let checked = format!(
        "{} gateways, {} endpoints, {}",
        registry.map_or(0, |registry| registry.gateways().len()),
        workers.as_ref().map_or(0, Vec::len),
        if redis.is_some() { "Redis" } else { "no Redis" }
    );
    Ok((Observations { cluster, redis, workers, services, intervals }, checked))
}

async fn list(client: &Client, scope: &Scope) -> Result<registry::RegistrySnapshot, ReadError> {
    let registry = read("list", "mcpgateways.mcpgateway.io", None, registry::list(client, scope)).await?;
    Ok(registry.unwrap_or_default())
}

/// The endpoints as the operator discovers them.
async fn discover(cluster: &Cluster, sources: &[Source], path: String) -> Vec<Endpoint> {
    let (sender, mut endpoints) = watch::channel(None);
    let metrics = workers::Metrics::register(&mut prometheus_client::registry::Registry::default());
    let discovery = discovery::run(cluster.client.clone(), sources.to_vec(), path, sender, metrics);
    let discovered = async {
        let discovered = endpoints.wait_for(Option::is_some).await;
        discovered.ok().and_then(|all| all.as_ref().map(|all| all.to_vec()))
    };
    let discovered = tokio::select! {
        discovered = timeout(REQUEST_TIMEOUT, discovered) => discovered.ok().flatten(),
        () = discovery => None,
    };
    discovered.unwrap_or_else(|| fixed(sources))
}

/// The endpoints that are not behind a Service.
fn fixed(sources: &[Source]) -> Vec<Endpoint> {
    let urls = sources.iter().flat_map(|source| match source {
        Source::Fixed(urls) => &urls[..],
        Source::Service(_) => &[],
    });
    urls.map(|url| Endpoint::new(url.url().clone())).collect()
}

/// The number of addresses of each Service.
async fn count_addresses(client: &Client, sources: &[Source]) -> Vec<(String, Result<usize, ReadError>)> {
    let mut services = Vec::new();
    for source in sources {
        let Source::Service(ServiceSource { namespace, name, .. }) = source else { continue };
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let params = ListParams::default().labels(&format!("{}={name}", discovery::SERVICE_LABEL));
        let resource = "endpointslices.discovery.k8s.io";
        let slices = read("list", resource, Some(namespace), api.list(&params)).await;
        let addresses = |slice: EndpointSlice| {
            slice.endpoints.into_iter().flatten().map(|endpoint| endpoint.addresses.len()).sum::<usize>()
        };
        let count = slices.map(|slices| slices.into_iter().flatten().map(addresses).sum());
        services.push((format!("{namespace}/{name}"), count));
    }
    services
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
