//! What the API server says: objects, Lease, the facts that the leader writes. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Finding, some};
use crate::model::UnixTime;
use crate::registry::{Registration, RegistrySnapshot};

/// Clocks of this machine and of the leader may differ.
const CLOCKS: Duration = Duration::from_secs(30);

/// What was read, or why not.
#[derive(Debug)]
pub struct Cluster {
    /// The objects.
    pub registry: Result<RegistrySnapshot, Unread>,
    /// The Lease, as `namespace/name`.
    pub lease_name: String,
    /// `None` if there is none.
    pub lease: Result<Option<Seat>, Unread>,
    /// The facts of the status ConfigMap; `None` if there is none.
    pub facts: Result<Option<BTreeMap<String, String>>, Unread>,
    /// When it was read.
    pub now: UnixTime,
}

/// The Lease.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Who leads; `None` if it was released.
    pub holder: Option<String>,
    /// When it was last renewed, by the holder's clock.
    pub renewed: Option<UnixTime>,
    /// How long others wait for it.
    pub duration: Duration,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is no such resource.
    NotFound,
    /// Whoever runs this may not: verb and resource.
    Forbidden(String),
    /// No cluster, or no answer.
    Failed(String),
}

pub(super) fn judge(cluster: &Cluster, redis: bool) -> Vec<Finding> {
    let Cluster { registry, lease_name, lease, facts, now } = cluster;
    if let Err(Unread::Failed(why)) = registry {
        let what = format!("the API server cannot be asked: {why}");
        return vec![Finding::problem("NoCluster", what, "set KUBECONFIG to a cluster that answers")];
    }
    let mut found = Vec::new();
    match registry {
        Ok(registry) => found.extend(of_objects(registry)),
        Err(Unread::NotFound) => found.push(Finding::problem(
            "CrdMissing",
            "the CRD mcpgateways.mcpgateway.io is not installed",
            "install it: mcpgateway-operator crd | kubectl apply --server-side -f -",
        )),
        Err(unread) => found.push(unreadable(unread)),
    }
    match lease {
        Ok(seat) => found.extend(of_lease(lease_name, seat.as_ref(), *now)),
        Err(unread) => found.push(unreadable(unread)),
    }
    match facts {
        Ok(Some(facts)) => found.extend(of_facts(facts, redis)),
        // Without a leader there is nobody to write any.
        Ok(None) if found.iter().any(|finding| finding.finding == "NoLeader") => {}
        Ok(None) => found.push(Finding::problem(
            "NoFacts",
            format!("there is no status ConfigMap beside the Lease {lease_name}"),
            "see the operator's log, and grant it get, create and update on configmaps there",
        )),
        Err(unread) => found.push(unreadable(unread)),
    }
    found.dedup();
    found
}

pub(super) fn unreadable(unread: &Unread) -> Finding {
    match unread {
        Unread::NotFound => {
            Finding::problem("NotServed", "the API server does not know a resource", "is it Kubernetes?")
        }
        Unread::Forbidden(what) => Finding::problem(
            "MayNotLook",
            format!("whoever runs doctor may not {what}"),
            "grant it, or run doctor as the operator: in its pod, or with its kubeconfig",
        ),
        Unread::Failed(why) => Finding::problem("NoAnswer", why.clone(), "see whether the API server is well"),
    }
}

fn of_objects(registry: &RegistrySnapshot) -> Option<Finding> {
    if registry.gateways().is_empty() {
        let advice = "apply manifests; mcpgateway-operator import makes them of a running ContextForge";
        return Some(Finding::problem("NoGateways", "there is no McpGateway in the watched namespaces", advice));
    }
    let refused = registry.gateways().iter().filter_map(|gateway| match gateway.registration {
        Registration::Refused(refusal) => Some(format!("{} ({})", gateway.record.name, refusal.reason().as_str())),
        Registration::Registered { .. } | Registration::Disabled => None,
    });
    let refused: Vec<String> = refused.collect();
    let advice = "see the message of the condition Accepted: kubectl describe mcpgateway";
    (!refused.is_empty()).then(|| Finding::problem("Refused", format!("not accepted: {}", some(&refused)), advice))
}

fn of_lease(name: &str, seat: Option<&Seat>, now: UnixTime) -> Option<Finding> {
    let advice = "see that the operator runs, and its log; or correct --leader-elect-resource-name and -namespace";
    let no = |what: String| Some(Finding::problem("NoLeader", what, advice));
    let Some(Seat { holder, renewed, duration }) = seat else {
        return no(format!("there is no Lease {name}: no operator has led there yet"));
    };
    let Some(holder) = holder else { return no(format!("nobody holds the Lease {name}")) };
    let late = renewed.is_none_or(|renewed| renewed.after(*duration + CLOCKS) < now);
    let since = renewed.map_or_else(|| "ever".to_owned(), |renewed| renewed.to_string());
    late.then(|| no(format!("the Lease {name} of {holder} has not been renewed since {since}"))).flatten()
}

/// What the leader itself says. Of Redis only what cannot be seen from here.
fn of_facts(facts: &BTreeMap<String, String>, redis: bool) -> Vec<Finding> {
    let fact = |name: &str| facts.get(name).map_or("", String::as_str);
    let mut found = Vec::new();
    for (name, finding, what) in [
        ("registryWatch", "RegistryNotRead", "the operator cannot read the objects"),
        ("permissions", "PermissionMissing", "the operator lacks a permission"),
        ("statusWrites", "StatusesNotWritten", "the operator cannot write statuses"),
    ] {
        let (reason, advice) = fact(name).split_once(": ").unwrap_or_else(|| (fact(name), "see the operator's log"));
        if !matches!(reason, "" | "Fine") {
            found.push(Finding::problem(finding, format!("{what}: {reason}"), advice));
        }
    }
    let usage = fact("usage");
    if usage.starts_with("Incomplete") {
        let what = format!("the operator's picture of the use is {usage} ({})", fact("endpoints"));
        found.push(Finding::problem("UsageIncomplete", what, "see what is said of the workers here"));
    } else if usage == "Partial" {
        let what = format!("some endpoints are silent ({})", fact("endpoints"));
        found.push(Finding::problem("EndpointsSilent", what, "see what is said of the workers here"));
    }
    let unregistered = fact("unregistered");
    if !matches!(unregistered, "" | "none") {
        let urls: Vec<String> = unregistered.split(' ').map(str::to_owned).collect();
        let advice =
            "make a McpGateway with exactly this URL, or correct spec.url or spec.gatewayId of the one that is meant";
        found.push(Finding::problem("NotRegistered", format!("used and not registered: {}", some(&urls)), advice));
    }
    found.extend(of_publication(fact("publication"), fact("redisLock"), redis));
    found
}

fn of_publication(publication: &str, lock: &str, redis: bool) -> Option<Finding> {
    let (word, why) = publication.split_once(": ").unwrap_or((publication, ""));
    let problem = |what: String, advice: &str| Some(Finding::problem("NotPublished", what, advice));
    match word {
        "" | "Published" => None,
        "StatusesOnly" if !redis => None,
        "StatusesOnly" => problem("the operator has no Redis".to_owned(), "give it the same --redis-url as doctor"),
        "Pending" => problem("the operator has not published yet".to_owned(), "look again after an interval"),
        "KeptAlive" | "GivenUp" => {
            problem(format!("the operator does not classify: {why}"), "see what is said of the workers here")
        }
        _ if lock.starts_with("HeldByAnother") => {
            let (_, who) = lock.split_once(": ").unwrap_or_default();
            problem(
                format!("the operator does not publish, for another holds the Redis lock: {who}"),
                "see docs/doctor.md, LockHeldByAnother",
            )
        }
        _ => problem(format!("the operator does not publish: {why}"), "see its log, and what is said of Redis here"),
    }
}
