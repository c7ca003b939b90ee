//! Gathers the signs for `doctor`: API server, Redis and workers side by side, each within its own time. IO.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use kube::{Client, Config};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::clock;
use crate::config::DoctorSettings;
use crate::diagnosis::{Cluster, Holder, Redis, Seat, Signs, Unread};
use crate::leadership::record;
use crate::poll::compliance;
use crate::publish::keys::{LockHolder, OwnerId};
use crate::registry::{self, Scope};
use crate::run::ready::default_owner;
use crate::status::fleet;
use crate::workers::discovery::{self, Endpoint, ServiceSource, Source};
use crate::{publish, workers};

/// What one question to the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Reading a registry of many pages.
const LIST: Duration = Duration::from_secs(60);

/// Where the operator is.
pub(super) struct Place {
    pub scope: Scope,
    pub lease: String,
    pub namespace: Option<String>,
    pub owner: Option<OwnerId>,
}

/// Looks at everything. Beside the signs in a few words what was looked at.
///
/// # Errors
/// If the files of the workers' settings cannot be used.
pub(super) async fn gather(settings: DoctorSettings, place: Place) -> anyhow::Result<(Signs, String)> {
    let DoctorSettings { sources, worker_path, workers: asking, access, key_prefix, intervals } = settings;
    let found = connect(place.namespace.clone()).await;
    let cluster = cluster(&found, &place).await;
    let (services, endpoints) = match &found {
        Ok((client, _)) => {
            let services = services(client, &sources).await;
            // What cannot be listed cannot be watched either.
            let known = services.iter().all(|(_, addresses)| addresses.is_ok());
            let endpoints =
                if known { endpoints(client.clone(), &sources, worker_path).await } else { fixed(&sources) };
            (services, endpoints)
        }
        Err(_) => (Vec::new(), fixed(&sources)),
    };
    let registry = cluster.registry.as_ref().ok();
    let known = Arc::new(registry.cloned().unwrap_or_default());
    let probed = async {
        // How recent entries must be depends on --classification-interval, which is not a flag of doctor.
        let verdicts = workers::probe(&asking, &endpoints, &known, Duration::MAX);
        if sources.is_empty() { Ok(None) } else { verdicts.await.map(Some) }
    };
    let looked = registry.map(compliance::sample).unwrap_or_default();
    let (names, polls): (Vec<_>, Vec<_>) = looked.into_iter().map(|(name, poll)| (name.to_string(), poll)).unzip();
    let owner = match (place.owner, &found) {
        (None, Ok((client, namespace))) if registry.is_some() => {
            let asked = timeout(ANSWER, default_owner(client, namespace, &place.lease)).await;
            asked.ok().and_then(Result::ok)
        }
        (given, _) => given,
    };
    let asked = async {
        match access {
            None => None,
            Some(access) => Some(match publish::look(access, &key_prefix, &polls).await {
                Err(error) => Redis::Unread(error.reason(), error.to_string()),
                Ok(publish::Seen { traces, lock, published }) => {
                    let holder = holder(lock.as_deref(), owner.as_ref());
                    Redis::Seen { holder, published, traces, names, now: clock::now() }
                }
            }),
        }
    };
    let (workers, redis) = tokio::join!(probed, asked);
    let workers = workers?;
    let summary = format!(
        "looked at {} gateways, {} endpoints, {}",
        registry.map_or(0, |registry| registry.gateways().len()),
        workers.as_ref().map_or(0, Vec::len),
        if redis.is_some() { "Redis" } else { "no Redis" }
    );
    Ok((Signs { cluster, redis, workers, services, intervals }, summary))
}

/// A client, and the namespace of the Lease; or why there is none.
async fn connect(namespace: Option<String>) -> Result<(Client, String), String> {
    let mut config = Config::infer().await.map_err(|error| format!("no cluster is configured ({error})"))?;
    config.default_retry = false;
    config.connect_timeout = Some(ANSWER);
    config.read_timeout = Some(ANSWER);
    let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
    Ok((Client::try_from(config).map_err(|error| error.to_string())?, namespace))
}

async fn cluster(found: &Result<(Client, String), String>, place: &Place) -> Cluster {
    let now = clock::now();
    let (client, namespace) = match found {
        Ok(found) => found,
        Err(why) => {
            let failed = || Unread::Failed(why.clone());
            let (registry, lease, facts) = (Err(failed()), Err(failed()), Err(failed()));
            return Cluster { registry, lease_name: place.lease.clone(), lease, facts, now };
        }
    };
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let (registry, lease, facts) = tokio::join!(
        timeout(LIST, registry::list(client, &place.scope)),
        timeout(ANSWER, leases.get_opt(&place.lease)),
        timeout(ANSWER, fleet::read(client.clone(), namespace, &place.lease)),
    );
    let on = |what: &str| format!("{what} in namespace {namespace}");
    Cluster {
        registry: read(registry, "list mcpgateways.mcpgateway.io".to_owned()),
        lease_name: format!("{namespace}/{}", place.lease),
        lease: read(lease, on("get leases.coordination.k8s.io")).map(|lease| lease.as_ref().map(seat)),
        facts: read(facts, on("get configmaps")).map(|facts| facts.map(|facts| facts.as_map().clone())),
        now,
    }
}

fn seat(lease: &Lease) -> Seat {
    let duration = record::duration(lease).unwrap_or(record::USUAL_DURATION);
    Seat { holder: record::holder(lease).map(str::to_owned), renewed: record::renewed(lease), duration }
}

fn read<T>(answer: Result<Result<T, kube::Error>, tokio::time::error::Elapsed>, verb: String) -> Result<T, Unread> {
    match answer {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Err(Unread::NotFound),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => Err(Unread::Forbidden(verb)),
        Ok(Err(error)) => Err(Unread::Failed(error.to_string())),
        Err(_) => Err(Unread::Failed(format!("no answer in time to: {verb}"))),
    }
}

/// The endpoints, as the operator finds them; those of Services that cannot be read are left out.
async fn endpoints(client: Client, sources: &[Source], path: String) -> Vec<Endpoint> {
    let (found, mut endpoints) = watch::channel(None);
    let metrics = workers::Metrics::register(&mut prometheus_client::registry::Registry::default());
    let discovering = discovery::run(client, sources.to_vec(), path, found, metrics);
    let read = async {
        let read = endpoints.wait_for(Option::is_some).await;
        read.ok().and_then(|read| read.as_ref().map(|all| all.to_vec()))
    };
    let read = tokio::select! {
        read = timeout(ANSWER, read) => read.ok().flatten(),
        () = discovering => None,
    };
    read.unwrap_or_else(|| fixed(sources))
}

fn fixed(sources: &[Source]) -> Vec<Endpoint> {
    let urls = sources.iter().flat_map(|source| match source {
        Source::Fixed(urls) => &urls[..],
        Source::Service(_) => &[],
    });
    urls.map(|url| Endpoint::new(url.url().clone())).collect()
}

/// How many addresses each Service has.
async fn services(client: &Client, sources: &[Source]) -> Vec<(String, Result<usize, Unread>)> {
    let mut found = Vec::new();
    for source in sources {
        let Source::Service(ServiceSource { namespace, name, .. }) = source else { continue };
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
        let params = ListParams::default().labels(&format!("{}={name}", discovery::SERVICE_LABEL));
        let verb = format!("list endpointslices.discovery.k8s.io in namespace {namespace}");
        let slices = read(timeout(ANSWER, api.list(&params)).await, verb);
        let addresses = |slice: &EndpointSlice| {
            slice.endpoints.iter().flatten().map(|endpoint| endpoint.addresses.len()).sum::<usize>()
        };
        found.push((format!("{namespace}/{name}"), slices.map(|slices| slices.items.iter().map(addresses).sum())));
    }
    found
}

fn holder(lock: Option<&str>, owner: Option<&OwnerId>) -> Holder {
    let Some(value) = lock else { return Holder::Nobody };
    // Without knowing who we are, any release of this operator may be ours.
    let stranger = || OwnerId::parse("(unknown)");
    let Some(asked) = owner.cloned().or_else(stranger) else { return Holder::Foreign(value.to_owned()) };
    match LockHolder::parse("string", value.as_bytes(), &asked) {
        LockHolder::Nobody => Holder::Nobody,
        LockHolder::Ours { .. } => Holder::Ours,
        LockHolder::OtherRelease(_) if owner.is_none() => Holder::Ours,
        LockHolder::OtherRelease(who) => Holder::OtherRelease(who),
        LockHolder::Foreign(who) => Holder::Foreign(who),
    }
}
