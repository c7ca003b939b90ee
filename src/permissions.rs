//! Checks the operator's permissions with the API server, before the first turn and then once an interval. IO: the API
//! server; writes nothing.
//!
//! A missing permission is logged once, with verb and resource, when it goes missing. `/readyz` names it before the replica
//! is ready, and the log before the call that needs it, which may only come at the next start.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::Client;
use kube::api::{Api, PostParams};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::model::{Problem, ProblemReason};

/// The longest that one check may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Between two rounds of checks, until everything has been allowed once.
const FIRST_ROUNDS: Duration = Duration::from_secs(2);

/// One verb on one resource, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    namespace: Option<String>,
    name: Option<String>,
    /// Without it the replica works with restrictions.
    optional: bool,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, resource, subresource, namespace, name, optional: _ } = self;
        write!(f, "{verb} {resource}")?;
        if let Some(subresource) = subresource {
            write!(f, "/{subresource}")?;
        }
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        if let Some(name) = name {
            write!(f, " {name}")?;
        }
        match namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None if *resource == "namespaces" => Ok(()),
            None => write!(f, " in all namespaces"),
        }
    }
}

/// The operator's own objects.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// The namespace of Lease and fleet object.
    pub namespace: &'a str,
    /// The name of both.
    pub lease: &'a str,
    /// Whether the owner id in Redis is derived from the cluster's id, which the next start reads again.
    pub owner_of_cluster: bool,
}

/// The permissions that an operator with these settings needs: the objects of its registry and their statuses, its Lease and
/// fleet object, and the EndpointSlices of the worker Services. Events are optional.
pub fn needed(watched: &[String], home: &Home<'_>, service_namespaces: &[String]) -> Vec<Permission> {
    let permission = |verb, group, resource, subresource, namespace: Option<&str>, name: Option<&str>| Permission {
        verb,
        group,
        resource,
        subresource,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        optional: false,
    };
    let scopes: Vec<Option<&str>> = if watched.is_empty() {
        vec![None]
    } else {
        watched.iter().map(|namespace| Some(namespace.as_str())).collect()
    };
    let mut all = Vec::new();
    for scope in scopes.clone() {
        for verb in ["list", "watch"] {
            all.push(permission(verb, "mcpgateway.io", "mcpgateways", None, scope, None));
        }
        all.push(permission("patch", "mcpgateway.io", "mcpgateways", Some("status"), scope, None));
    }
    let Home { namespace, lease, owner_of_cluster } = *home;
    let mut own = |group, resource, subresource, verbs: &[&'static str]| {
        for verb in verbs {
            // Authorization does not know the name of an object that is being created.
            let name = (*verb != "create").then_some(lease);
            all.push(permission(verb, group, resource, subresource, Some(namespace), name));
        }
    };
    // Without watch a standby only polls, and a handover takes a retry period longer.
    own("coordination.k8s.io", "leases", None, &["create", "get", "update", "watch"]);
    own("mcpgateway.io", "mcpgatewayfleets", None, &["create", "get", "list", "watch"]);
    own("mcpgateway.io", "mcpgatewayfleets", Some("status"), &["update"]);
    for namespace in service_namespaces {
        for verb in ["list", "watch"] {
            all.push(permission(verb, "discovery.k8s.io", "endpointslices", None, Some(namespace), None));
        }
    }
    let mut namespaces = scopes;
    if !namespaces.contains(&None) && !namespaces.contains(&Some(namespace)) {
        namespaces.push(Some(namespace));
    }
    for namespace in namespaces {
        for verb in ["create", "patch"] {
            let events = permission(verb, "events.k8s.io", "events", None, namespace, None);
            all.push(Permission { optional: true, ..events });
        }
    }
    if owner_of_cluster {
        let cluster_id = permission("get", "", "namespaces", None, None, Some("kube-system"));
        all.push(Permission { optional: true, ..cluster_id });
    }
    all
}

/// `permissions_missing`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    missing: Gauge,
}

impl Metrics {
    /// Adds it to a registry that carries the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("permissions_missing", "Verbs on resources that this replica lacks", metrics.missing.clone());
        metrics
    }
}

/// Where [`keep_checking`] reports to.
pub struct Reports {
    /// Whether everything that is not optional has been allowed once.
    pub allowed: watch::Sender<bool>,
    /// The permissions that are missing at present.
    pub problem: watch::Sender<Option<Problem>>,
}

/// Checks forever: soon again until everything has been allowed once, then every `interval`. Each permission is logged once
/// when it goes missing, and once when it is granted again.
pub async fn keep_checking(
    client: Client,
    needed: Vec<Permission>,
    interval: Duration,
    reports: Reports,
    metrics: Metrics,
) {
    let mut before: Vec<Permission> = Vec::new();
    let mut failing = None;
    loop {
        match missing(&client, &needed).await {
            Ok(found) => {
                if Problem::replace(&mut failing, None) {
                    info!("checking the permissions recovered");
                }
                for permission in found.iter().filter(|permission| !before.contains(*permission)) {
                    warn!(%permission, "permission denied: grant it to the operator's service account");
                }
                for permission in before.iter().filter(|permission| !found.contains(*permission)) {
                    info!(%permission, "permission granted");
                }
                metrics.missing.set(i64::try_from(found.len()).unwrap_or(i64::MAX));
                let allowed = found.iter().all(|permission| permission.optional);
                reports.allowed.send_if_modified(|before| allowed && !std::mem::replace(before, true));
                let names: Vec<String> = found.iter().map(ToString::to_string).collect();
                let all = format!("grant to the operator: {}", names.join("; "));
                let problem = (!found.is_empty()).then(|| Problem::new(ProblemReason::PermissionsMissing, all));
                reports.problem.send_if_modified(|before| {
                    let news = *before != problem;
                    before.clone_from(&problem);
                    news
                });
                before = found;
            }
            Err(error) => {
                let code = if let kube::Error::Api(status) = &error { status.code } else { 0 };
                let problem = Problem::new(ProblemReason::ServerError, error.to_string()).about(code.to_string());
                if Problem::replace(&mut failing, Some(problem)) {
                    warn!(%error, "cannot check the permissions; will retry");
                }
            }
        }
        let before_ready = !*reports.allowed.borrow();
        sleep(if before_ready { FIRST_ROUNDS } else { interval.max(FIRST_ROUNDS) }).await;
    }
}

/// Checks each of them, and returns those that are missing.
///
/// # Errors
/// If the API server does not answer a check.
pub async fn missing(client: &Client, needed: &[Permission]) -> Result<Vec<Permission>, kube::Error> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for permission in needed {
        let Permission { verb, group, resource, subresource, namespace, name, optional: _ } = permission.clone();
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: subresource.map(str::to_owned),
            namespace,
            name,
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let params = PostParams::default();
        let asked = tokio::time::timeout(TIMEOUT, api.create(&params, &review)).await;
        let answer = asked.map_err(|_| kube::Error::Service("no answer in time".into()))??;
        if !matches!(answer.status, Some(SubjectAccessReviewStatus { allowed: true, .. })) {
            missing.push(permission.clone());
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: Home<'_> = Home { namespace: "ops", lease: "mcpgateway-operator", owner_of_cluster: true };

    #[test]
    fn a_permission_is_shown_as_what_to_grant() {
        let all = needed(&[], &HOME, &["gateways".to_owned()]);
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert!(texts.contains(&"patch mcpgateways/status.mcpgateway.io in all namespaces".to_owned()));
        assert!(
            texts.contains(
                &"update mcpgatewayfleets/status.mcpgateway.io mcpgateway-operator in namespace ops".to_owned()
            )
        );
        assert!(texts.contains(&"list endpointslices.discovery.k8s.io in namespace gateways".to_owned()));
        let optional: Vec<String> = all.iter().filter(|one| one.optional).map(ToString::to_string).collect();
        let events = ["create", "patch"].map(|verb| format!("{verb} events.events.k8s.io in all namespaces"));
        assert_eq!(optional, [&events[0], &events[1], &"get namespaces kube-system".to_owned()].map(String::as_str));
    }

    #[test]
    fn with_listed_namespaces_no_permission_is_cluster_wide() {
        let home = Home { owner_of_cluster: false, ..HOME };
        let all = needed(&["a".to_owned(), "b".to_owned()], &home, &[]);
        assert!(all.iter().all(|permission| permission.namespace.is_some()));
    }
}
