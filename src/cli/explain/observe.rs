//! The observations of `explain`: the objects, the fleet object, the Lease and Redis. IO, reading only. Whatever cannot
//! be read becomes part of the explanation; only the object itself must be there.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use kube::api::{Api, ApiResource, DynamicObject};
use strum::VariantArray;

use super::super::cluster::{Cluster, FleetReading, read};
use super::ExplainArgs;
use crate::api::v1alpha1::McpGateway;
use crate::clock;
use crate::contextforge::call_error::CallError;
use crate::contextforge::{Access, ContextForge};
use crate::diagnosis::ReadError;
use crate::explanation::{self, EntryAnswer, Explanation, NextPoll, Observations, RedisAnswer};
use crate::leadership::record::LeaseView;
use crate::model::{GatewayId, ObjectName, ServerUrl};
use crate::poll::{self, PollReason, PollType};
use crate::publish::{self, PollMetrics, Polls};
use crate::registry::{self, GatewayRecord, RegistrySnapshot, Scope, Spec};

const RESOURCE: &str = "mcpgateways.mcpgateway.io";

/// Explains the object; without a namespace, that in the namespace of the context.
pub(super) async fn explain(args: ExplainArgs) -> anyhow::Result<Explanation> {
    let ExplainArgs { object: (_, name), namespace, fleet, scope, redis, intervals, longest, contextforge, .. } = args;
    let scope = scope.scope();
    let polls = Polls::new(redis.access(), longest.with(intervals), PollMetrics::default());
    let cluster = fleet.connect()?;
    let name = ObjectName::new(namespace.as_deref().unwrap_or(&cluster.namespace), &name);
    let (registry, complete) = list(&cluster, &name, &scope).await?;
    let FleetReading { fleet, lease, .. } = cluster.read_fleet().await;
    let leader = match (lease.map(|lease| lease.view), &fleet) {
        // The fleet, and its Lease with it, may be in another namespace.
        (Ok(LeaseView::Missing), Err(error)) if cluster.given.is_none() => Err(error.to_string()),
        (lease, _) => lease.map_err(|error| error.to_string()),
    };
    let gateway = registry.gateways().get(&name.namespace, &name.name);
    let entry = match gateway.and_then(|gateway| gateway.record.entry_id()).zip(contextforge.access()) {
        Some((id, access)) => ask_contextforge(&access, id).await,
        None => EntryAnswer::NotAsked,
    };
    let redis = match gateway {
        Some(gateway) if polls.has_store() => {
            let answer = ask_redis(&polls, &gateway.record.spec).await;
            answer.unwrap_or_else(|error| RedisAnswer::Failed(error.to_string()))
        }
        _ => RedisAnswer::NotAsked,
    };
    let now = clock::now();
    let observations = Observations { now, registry, complete, leader, fleet: fleet.ok().flatten(), redis, entry };
    explanation::explain(&name, &observations).with_context(|| out_of_scope(&name, &scope))
}

fn out_of_scope(name: &ObjectName, Scope { namespaces, selector }: &Scope) -> String {
    format!(
        "McpGateway {}/{} is not watched (--watch-namespace {}, --watch-selector {}): no operator with these settings \
         classifies it",
        name.namespace,
        name.name,
        if namespaces.is_empty() { "all".to_owned() } else { namespaces.join(",") },
        selector.as_deref().unwrap_or("none")
    )
}

/// As many objects of the fleet as may be read, at least that of this name, and whether these are all.
async fn list(cluster: &Cluster, name: &ObjectName, scope: &Scope) -> anyhow::Result<(RegistrySnapshot, bool)> {
    let object = get(cluster, name).await?;
    let own = Scope { namespaces: vec![name.namespace.to_string()], selector: scope.selector.clone() };
    for (scope, complete) in [(scope, true), (&own, scope.namespaces == own.namespaces)] {
        match read("list", RESOURCE, None, registry::list(&cluster.client, scope)).await {
            Ok(registry) if object.is_some() => return Ok((registry.unwrap_or_default(), complete)),
            Ok(registry) => return Err(missing(name, &registry.unwrap_or_default())),
            Err(ReadError::Forbidden(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let Some(object) = object else { return Err(missing(name, &RegistrySnapshot::default())) };
    let objects = BTreeMap::from([(object.name.clone(), Arc::new(object))]);
    Ok((RegistrySnapshot::build(&objects, 1), false))
}

/// The object itself, read without its type, which would fail at the first invalid field.
async fn get(cluster: &Cluster, name: &ObjectName) -> Result<Option<GatewayRecord>, ReadError> {
    let resource = ApiResource::erase::<McpGateway>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &name.namespace, &resource);
    let object = read("get", RESOURCE, Some(&name.namespace), api.get(&name.name)).await?;
    Ok(object.and_then(|object| GatewayRecord::from_object(&object.metadata, &object.data)))
}

/// There is no such object; where there are others of that name.
fn missing(name: &ObjectName, registry: &RegistrySnapshot) -> anyhow::Error {
    let ObjectName { namespace, name } = name;
    let others = registry.gateways().iter().map(|gateway| &gateway.record.name);
    let elsewhere: Vec<String> = others.filter(|other| other.name == *name).map(ToString::to_string).collect();
    let hint = if elsewhere.is_empty() {
        format!("kubectl get mcpgateways -n {namespace} lists those that exist")
    } else {
        format!("there is {}", elsewhere.join(", "))
    };
    anyhow!("no McpGateway {name} in namespace {namespace}: {hint}")
}

async fn ask_contextforge(access: &Access, id: GatewayId) -> EntryAnswer {
    let contextforge = match ContextForge::open(access).await {
        Ok(contextforge) => contextforge,
        Err(error) => return EntryAnswer::Failed(error.to_string()),
    };
    match contextforge.get(&id).await {
        Ok(entry) => EntryAnswer::Found(Box::new(entry)),
        Err(CallError::NotFound) => EntryAnswer::Missing(id),
        Err(error) => EntryAnswer::Failed(error.to_string()),
    }
}

/// The publication, and the next polls of the server.
async fn ask_redis(polls: &Polls, spec: &Spec) -> Result<RedisAnswer, publish::Error> {
    let published = polls.metadata().await?;
    let mut next = Vec::new();
    if let Spec::Enabled { url, id, .. } = spec {
        for &kind in PollType::VARIANTS {
            next.push(next_poll(polls, url, id.as_ref(), kind).await?);
        }
    }
    Ok(RedisAnswer::Answered { published, polls: next })
}

/// When this type of poll is due: by the gateway id, or by the URL if only that was ever polled.
async fn next_poll(
    polls: &Polls,
    url: &ServerUrl,
    id: Option<&GatewayId>,
    kind: PollType,
) -> Result<NextPoll, publish::Error> {
    let due = async |gateway: Option<&GatewayId>| {
        let (decision, fault) = polls.due(&poll::Poll { url: url.clone(), gateway: gateway.cloned(), kind }).await;
        let poll = NextPoll { kind: kind.into(), by_gateway_id: gateway.is_some(), decision };
        fault.map_or(Ok(poll), Err)
    };
    let by_id = due(id).await?;
    if id.is_none() || by_id.decision.reason != PollReason::NeverPolled {
        return Ok(by_id);
    }
    let by_url = due(None).await?;
    Ok(if by_url.decision.reason == PollReason::NeverPolled { by_id } else { by_url })
}
