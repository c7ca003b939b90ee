//! Findings from the API server: the McpGateway objects, the Lease, and the status of the fleet. Pure.

use std::fmt;

use super::{Finding, ImagelessPod, Outdated, pods, some};
use crate::api::conditions::{ENDPOINTS_SILENT, FleetConditionType};
use crate::api::v1alpha1::{FleetStatus, McpGatewayFleet, PublicationState, RedisLockState};
use crate::classify::memory::UsageGap;
use crate::leadership::record::{LeaseFacts, LeaseView};
use crate::registry::{Registration, RegistrySnapshot};

/// What was read from the API server, or why it could not be read.
#[derive(Debug)]
pub struct ClusterObservations {
    pub registry: Result<RegistrySnapshot, ReadError>,
    /// The Lease, as `namespace/name`.
    pub lease_name: String,
    pub lease: Result<LeaseFacts, ReadError>,
    /// The fleet object; `None` if there is none.
    pub fleet: Result<Option<McpGatewayFleet>, ReadError>,
    /// The operator's pods that wait for their image.
    pub imageless_pods: Result<Vec<ImagelessPod>, ReadError>,
}

/// Why something could not be read from the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The API server does not serve this resource.
    NotServed(&'static str),
    /// The user may not send this request, like `get leases.coordination.k8s.io -n gateways`.
    Forbidden(String),
    /// No fleet object was selected, and these namespaces have one.
    SeveralFleets(String),
    /// There was no usable answer, and why.
    Failed(String),
}

impl ReadError {
    /// The finding of doctor, what was found, and what to do.
    fn describe(&self) -> (&'static str, String, String) {
        match self {
            Self::NotServed(resource) if resource.ends_with(".mcpgateway.io") => (
                "CrdMissing",
                format!("the CRD {resource} is not installed"),
                "install it: mcpgateway-operator crd | kubectl apply --server-side -f -".to_owned(),
            ),
            Self::NotServed(resource) => (
                "NotServed",
                format!("the API server does not serve {resource}"),
                "check that KUBECONFIG points to a Kubernetes cluster".to_owned(),
            ),
            Self::Forbidden(request) => (
                "MayNotLook",
                format!("not allowed to {request}"),
                format!("grant that permission (kubectl auth can-i {request}), or use the operator's credentials"),
            ),
            Self::SeveralFleets(namespaces) => (
                "NoFleet",
                format!("there are several fleets, in the namespaces {namespaces}"),
                "choose one with --leader-elect-resource-namespace".to_owned(),
            ),
            Self::Failed(why) => ("NoAnswer", why.clone(), "check the health of the API server".to_owned()),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, what, advice) = self.describe();
        write!(f, "{what}: {advice}")
    }
}

impl std::error::Error for ReadError {}

pub(super) fn judge(cluster: &Result<ClusterObservations, String>, redis: bool) -> Vec<Finding> {
    let ClusterObservations { registry, lease_name, lease, fleet, imageless_pods } = match cluster {
        Err(why) | Ok(ClusterObservations { registry: Err(ReadError::Failed(why)), .. }) => {
            let advice = "set KUBECONFIG or --kubeconfig to a cluster that answers";
            let what = format!("there is no answer from an API server: {why}");
            return vec![Finding::problem("NoCluster", what, advice)];
        }
        Ok(cluster) => cluster,
    };
    let mut findings = Vec::new();
    match registry {
        Ok(registry) => findings.extend(judge_objects(registry)),
        Err(error) => findings.push(unreadable(error)),
    }
    let no_leader = lease.as_ref().ok().and_then(|lease| judge_lease(lease_name, &lease.view));
    let leads = no_leader.is_none();
    findings.extend(no_leader.or_else(|| lease.as_ref().err().map(unreadable)));
    findings.extend(pods::judge(imageless_pods, !leads));
    match fleet {
        Err(error) => findings.push(unreadable(error)),
        Ok(Some(fleet)) => {
            findings.extend(lease.as_ref().ok().into_iter().flat_map(|lease| judge_age(fleet, lease_name, lease)));
            findings.extend(judge_fleet(fleet, leads, redis));
        }
        // Only a leader creates the object.
        Ok(None) if !leads => {}
        Ok(None) => findings.push(Finding::problem(
            "NoFleet",
            format!("there is no McpGatewayFleet beside the Lease {lease_name}"),
            "read the operator's log, and grant it get, create and update on mcpgatewayfleets in that namespace",
        )),
    }
    findings.dedup();
    findings
}

pub(super) fn unreadable(error: &ReadError) -> Finding {
    let (finding, what, advice) = error.describe();
    Finding::problem(finding, what, advice)
}

fn judge_objects(registry: &RegistrySnapshot) -> Option<Finding> {
    if registry.gateways().is_empty() {
        let advice = "apply manifests; mcpgateway-operator import prints those of a running ContextForge";
        return Some(Finding::problem("NoGateways", "there is no McpGateway in the watched namespaces", advice));
    }
    let refused = registry.gateways().iter().filter_map(|gateway| match gateway.registration {
        Registration::Refused(reason) => Some(format!("{} ({})", gateway.record.name, reason.reason())),
        Registration::Registered { .. } | Registration::Disabled => None,
    });
    let refused: Vec<String> = refused.collect();
    let advice = "read the message of the condition Accepted: kubectl describe mcpgateway";
    (!refused.is_empty()).then(|| Finding::problem("Refused", format!("not accepted: {}", some(&refused)), advice))
}

/// Why nobody leads, if nobody does. `name`: of the Lease.
pub(super) fn no_leader(name: &str, lease: &LeaseView) -> Option<String> {
    Some(match lease {
        LeaseView::Held(_) => return None,
        LeaseView::Missing => format!("there is no Lease {name}: no replica has ever led there"),
        LeaseView::Free => format!("no replica holds the Lease {name}"),
        LeaseView::Expired { holder, renewed: Some(renewed) } => {
            format!("{holder} holds the Lease {name}, which has not been renewed since {renewed}")
        }
        LeaseView::Expired { holder, renewed: None } => format!("{holder} holds the Lease {name} and never renewed it"),
    })
}

fn judge_lease(name: &str, lease: &LeaseView) -> Option<Finding> {
    let what = no_leader(name, lease)?;
    let advice = "check that the operator runs, and read its log; or correct --leader-elect-resource-name and \
                  --leader-elect-resource-namespace";
    Some(Finding::problem("NoLeader", what, advice))
}

/// Whether what the fleet object shows is old. That nobody leads is another finding.
fn judge_age(fleet: &McpGatewayFleet, lease_name: &str, lease: &LeaseFacts) -> Vec<Finding> {
    let finding = |outdated: Outdated| match outdated {
        Outdated::NoLeader(_) => None,
        Outdated::NotWritten(_) => {
            let advice = "do what it says; the findings about the fleet may be old";
            Some(Finding::problem("FleetNotWritten", outdated.message(), advice))
        }
        Outdated::OtherLeader { .. } | Outdated::LowerTerm { .. } | Outdated::SpecNotObserved { .. } => {
            let advice = "run doctor again after an interval, and then read the operator's log; the findings about \
                          the fleet may be old";
            Some(Finding::problem("FleetOutdated", outdated.message(), advice))
        }
    };
    Outdated::of(fleet, lease_name, lease).into_iter().filter_map(finding).collect()
}

/// `leads`: whether there is a leader to write the status. `redis`: whether doctor reads Redis itself.
fn judge_fleet(fleet: &McpGatewayFleet, leads: bool, redis: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if fleet.is_suspended() {
        let what = "the fleet is suspended: nothing is classified or published, and gateways poll every server at the \
                    full rate";
        findings.push(Finding::note("Suspended", what, format!("resume it with {}", fleet.resume_command())));
    }
    let Some(status) = &fleet.status else {
        let advice = "read the operator's log, and grant it update and patch on mcpgatewayfleets/status";
        let no_status = || Finding::problem("NoFleet", "the McpGatewayFleet has no status", advice);
        findings.extend(leads.then(no_status));
        return findings;
    };
    for (kind, finding, what) in [
        (FleetConditionType::RegistryRead, "RegistryNotRead", "the operator cannot read the McpGateway objects"),
        (FleetConditionType::RegistryStable, "MostGatewaysGone", "most of the registry has gone at once"),
        (FleetConditionType::Permitted, "PermissionMissing", "the operator lacks a permission"),
        (FleetConditionType::StatusesWritten, "StatusesNotWritten", "the operator cannot write statuses"),
        (FleetConditionType::ClocksAgree, "ClockSkewed", "a clock differs from the others"),
    ] {
        if let Some(failed) = status.failed(kind) {
            findings.push(Finding::problem(finding, format!("{what}: {}", failed.reason), failed.message.clone()));
        }
    }
    if let Some(failed) = status.failed(FleetConditionType::UsageComplete) {
        let advice = usage_advice(&failed.reason);
        findings.push(if failed.reason == ENDPOINTS_SILENT {
            Finding::problem("EndpointsSilent", format!("some endpoints are silent ({})", status.endpoints), advice)
        } else {
            let what = format!("usage is too incomplete to classify: {} ({})", failed.reason, status.endpoints);
            Finding::problem("UsageIncomplete", what, advice)
        });
    }
    if !status.unregistered.is_empty() {
        let what = format!("used but not registered: {}", some(&status.unregistered));
        let advice =
            "create a McpGateway with exactly this URL, or correct spec.url or spec.gatewayId of the existing one";
        findings.push(Finding::problem("NotRegistered", what, advice));
    }
    if !status.identity_conflicts.is_empty() {
        let what = format!("rows name two registered servers: {}", some(&status.identity_conflicts));
        let advice = "correct or delete the object with the wrong spec.gatewayId: \
                      kubectl get mcpgw -A --field-selector spec.gatewayId=ID";
        findings.push(Finding::problem("IdentityConflict", what, advice));
    }
    findings.extend(judge_publication(status, redis));
    findings
}

/// What to do while nothing is classified, or endpoints are silent, for this reason.
fn usage_advice(reason: &str) -> &'static str {
    if reason == UsageGap::Use.reason() {
        "use a registered server through its gateway: nothing is classified before the first use"
    } else {
        "fix the findings about workers"
    }
}

fn judge_publication(status: &FleetStatus, redis: bool) -> Option<Finding> {
    let FleetStatus { publication, redis_lock: lock, .. } = status;
    let (what, advice) = match (publication.state, lock.state) {
        (PublicationState::Published | PublicationState::Suspending | PublicationState::Suspended, _) => return None,
        (PublicationState::StatusesOnly, _) if !redis => return None,
        (PublicationState::StatusesOnly, _) => {
            ("the operator has no Redis".to_owned(), "give the operator the same --redis-url as doctor")
        }
        (PublicationState::KeptAlive | PublicationState::GivenUp, _) => {
            let reason = publication.reason.as_deref().unwrap_or_default();
            (format!("the operator cannot classify: {publication}"), usage_advice(reason))
        }
        (_, RedisLockState::HeldByAnother | RedisLockState::HeldByAnotherRelease) => {
            (format!("the operator cannot publish: {lock}"), "read about LockHeldByAnother in docs/doctor.md")
        }
        (PublicationState::Pending, _) => {
            ("the operator has not published yet".to_owned(), "run doctor again after one interval")
        }
        (PublicationState::NotPublished, _) => (
            format!("the operator cannot publish: {publication}"),
            "read the operator's log, and fix the findings about Redis",
        ),
    };
    Some(Finding::problem("NotPublished", what, advice))
}
