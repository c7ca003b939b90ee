//! The signs of `explain`, gathered: the objects, the Lease, the facts, Redis. IO, reading only. What cannot be found out becomes
//! a sign of that; only without the object itself there is nothing to explain.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::Status;

use super::super::cluster::{Cluster, ClusterArgs};
use crate::api::v1alpha1::McpGateway;
use crate::clock;
use crate::config::{BadSetting, PollSettings};
use crate::explanation::{Explanation, Leader, Poll, Redis, Signs, explain};
use crate::leadership::record;
use crate::model::{GatewayId, ObjectName, ServerUrl, UnixTime};
use crate::poll::{self, Reason};
use crate::publish::keys::PollType;
use crate::publish::{PollMetrics, Polls};
use crate::registry::{self, GatewayRecord, RegistrySnapshot, Scope, Spec};

/// What is asked about, and where to look.
pub(super) struct Asked {
    /// Of the object; that of the context if `None`.
    pub(super) namespace: Option<String>,
    /// Of the object.
    pub(super) name: String,
    /// The fleet.
    pub(super) scope: Scope,
    /// Name of the Lease.
    pub(super) lease: String,
    /// Of the Lease, if it was given.
    pub(super) lease_namespace: Option<String>,
}

/// Looks everywhere, and explains.
pub(super) async fn gather(asked: Asked, cluster: &ClusterArgs, settings: PollSettings) -> anyhow::Result<Explanation> {
    let PollSettings { access, key_prefix, intervals } = settings;
    let polls = Polls::open(access, &key_prefix, intervals, PollMetrics::default());
    let polls = polls.map_err(|error| BadSetting::redis(&error))?;
    let cluster = cluster.connect().await?;
    let Asked { namespace, name, scope, lease, lease_namespace } = asked;
    let name = ObjectName::new(namespace.as_deref().unwrap_or(&cluster.namespace), &name);
    let (registry, whole) = objects(&cluster, &name, &scope).await?;
    let (facts, why) = match cluster.facts(lease_namespace.as_deref(), &lease).await {
        Ok(found) => (Some(found), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let place = facts.as_ref().map(|found| found.namespace.clone()).or(lease_namespace);
    let leader = match (place, why) {
        (Some(namespace), _) => leader(&cluster, &namespace, &lease).await,
        (None, Some(why)) => Leader::Unknown(why),
        (None, None) => Leader::Nobody,
    };
    let redis = match registry.gateways().iter().find(|gateway| gateway.record.name == name) {
        Some(gateway) => redis(&polls, &gateway.record.spec).await,
        None => Redis::NotAsked,
    };
    let facts = facts.map(|found| found.facts);
    let signs = Signs {
        registry: &registry,
        whole,
        leader: &leader,
        facts: facts.as_ref().map(crate::status::fleet::Facts::as_map),
        redis: &redis,
    };
    explain(&name, &signs).with_context(|| outside(&name, &scope))
}

fn outside(name: &ObjectName, Scope { namespaces, selector }: &Scope) -> String {
    let selector = selector.as_deref().unwrap_or("none");
    format!(
        "McpGateway {}/{} is outside of what is watched (--watch-namespace {}, --watch-selector {selector}): no operator of that fleet classifies it",
        name.namespace,
        name.name,
        if namespaces.is_empty() { "all".to_owned() } else { namespaces.join(",") }
    )
}

/// The objects of the fleet, and whether these are all; as many as may be read, but always the one that is asked about.
async fn objects(cluster: &Cluster, name: &ObjectName, scope: &Scope) -> anyhow::Result<(RegistrySnapshot, bool)> {
    let asked = one(cluster, name).await?;
    let own = Scope { namespaces: vec![name.namespace.to_string()], selector: scope.selector.clone() };
    for (scope, whole) in [(scope, true), (&own, scope.namespaces == own.namespaces)] {
        match registry::list(&cluster.client, scope).await {
            Ok(registry) => {
                return if asked.is_some() { Ok((registry, whole)) } else { Err(missing(name, &registry)) };
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => {}
            Err(error) => return Err(error).context("listing the McpGateways"),
        }
    }
    let Some(asked) = asked else { return Err(missing(name, &RegistrySnapshot::default())) };
    let objects = BTreeMap::from([(asked.name.clone(), Arc::new(asked))]);
    Ok((RegistrySnapshot::build(&objects, 1), false))
}

/// The object itself; read as it is, because a typed one ends at the first field that is not as it should be.
async fn one(cluster: &Cluster, name: &ObjectName) -> anyhow::Result<Option<GatewayRecord>> {
    let resource = ApiResource::erase::<McpGateway>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &name.namespace, &resource);
    match api.get(&name.name).await {
        Ok(object) => Ok(GatewayRecord::from_object(&object.metadata, &object.data)),
        Err(kube::Error::Api(status)) if status.is_not_found() && of_an_object(&status) => Ok(None),
        Err(kube::Error::Api(status)) if status.code == 404 => bail!(
            "this cluster knows no McpGateway: install the CRD (mcpgateway-operator crd | kubectl apply --server-side -f -), or choose another cluster with --context"
        ),
        Err(kube::Error::Api(status)) if status.is_forbidden() => bail!(
            "not allowed to get mcpgateways in namespace {0}: ask for the role view there (kubectl auth can-i get mcpgateways.mcpgateway.io -n {0})",
            name.namespace
        ),
        Err(kube::Error::Api(status)) if status.code == 401 => {
            bail!("the API server does not know who asks: log in again, or choose another --context")
        }
        Err(error) => Err(error).context("asking the API server (see kubectl cluster-info)"),
    }
}

/// Whether it is the object that is not there; else it is the resource.
fn of_an_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}

/// There is no such object: where there is one of that name, if anywhere.
fn missing(name: &ObjectName, registry: &RegistrySnapshot) -> anyhow::Error {
    let ObjectName { namespace, name } = name;
    let elsewhere: Vec<String> = registry
        .gateways()
        .iter()
        .map(|gateway| &gateway.record.name)
        .filter(|other| other.name == *name)
        .map(|other| format!("{}/{}", other.namespace, other.name))
        .collect();
    let near = if elsewhere.is_empty() {
        format!("kubectl get mcpgateways -n {namespace} lists those that are there")
    } else {
        format!("there is {}", elsewhere.join(", "))
    };
    anyhow!("no McpGateway {name} in namespace {namespace}: {near}")
}

/// Who leads. A person is told by the clock; the replicas themselves go by what they have seen.
async fn leader(cluster: &Cluster, namespace: &str, name: &str) -> Leader {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let lease = match api.get_opt(name).await {
        Ok(found) => found.unwrap_or_default(),
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            return Leader::Unknown(format!("not allowed to get Lease {name} in namespace {namespace}"));
        }
        Err(_) => return Leader::Unknown(format!("Lease {name} in namespace {namespace} could not be read")),
    };
    let Some(holder) = record::holder(&lease).map(str::to_owned) else { return Leader::Nobody };
    let renewed = record::renewed(&lease).unwrap_or(UnixTime::EPOCH);
    let limit = record::duration(&lease).unwrap_or(record::USUAL_DURATION);
    if clock::now().since(renewed) > limit { Leader::Late { holder, renewed } } else { Leader::Leads(holder) }
}

/// What Redis says of the server of a spec.
async fn redis(polls: &Polls, spec: &Spec) -> Redis {
    if !polls.has_store() {
        return Redis::NotAsked;
    }
    let published = match polls.metadata().await {
        Ok(published) => published,
        Err(error) => return Redis::Failed(error.to_string()),
    };
    let mut found = Vec::new();
    if let Spec::Enabled { url, id } = spec {
        for kind in PollType::ALL {
            match next(polls, url, id.as_ref(), kind).await {
                Ok(poll) => found.push(poll),
                Err(error) => return Redis::Failed(error.to_string()),
            }
        }
    }
    Redis::Said { published, polls: found }
}

/// When this type is due: of the gateway by its id, or, if such a poll was never completed, of the URL.
async fn next(
    polls: &Polls,
    url: &ServerUrl,
    id: Option<&GatewayId>,
    kind: PollType,
) -> Result<Poll, crate::publish::Error> {
    let due = async |gateway: Option<&GatewayId>| {
        let (decision, fault) = polls.due(&poll::Poll { url: url.clone(), gateway: gateway.cloned(), kind }).await;
        let poll = Poll { kind, by_gateway_id: gateway.is_some(), decision };
        fault.map_or(Ok(poll), Err)
    };
    let by_id = due(id).await?;
    if id.is_none() || by_id.decision.reason != Reason::NeverPolled {
        return Ok(by_id);
    }
    let by_url = due(None).await?;
    Ok(if by_url.decision.reason == Reason::NeverPolled { by_id } else { by_url })
}
