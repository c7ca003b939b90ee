//! Checks the operator's permissions with the API server, before the first turn and then once an interval. IO: the API
//! server; writes nothing.
//!
//! A missing permission is logged once, with verb and resource, when it goes missing. `/readyz` names it before the
//! replica is ready, and the log before the call that needs it, which may only come at the next start.

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

use crate::model::{Problem, ProblemReason, registered};

/// The longest that one check may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Between two rounds of checks, until everything has been allowed once.
const FIRST_ROUNDS: Duration = Duration::from_secs(2);

/// One verb on one resource, in one namespace or in all.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Permission {
    attributes: ResourceAttributes,
    /// Without it the replica works with restrictions.
    optional: bool,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ResourceAttributes { verb, group, resource, subresource, namespace, name, .. } = &self.attributes;
        let part = |prefix: &str, part: &Option<String>| match part {
            Some(part) if !part.is_empty() => format!("{prefix}{part}"),
            _ => String::new(),
        };
        write!(f, "{}{}{}", part("", verb), part(" ", resource), part("/", subresource))?;
        write!(f, "{}{}{}", part(".", group), part(" ", name), part(" in namespace ", namespace))?;
        if namespace.is_none() && resource.as_deref() != Some("namespaces") {
            f.write_str(" in all namespaces")?;
        }
        Ok(())
    }
}

/// The permissions that an operator with these settings needs: the objects of its registry and their statuses, its
/// Lease and fleet object, and the EndpointSlices of the worker Services. Events are optional, and so are the id of the
/// cluster, which only the next start reads again, the finalizer of registrations, and the mirror. Secrets of
/// registrations are not listed: where they may not be read, the conditions of the objects say so.
///
/// `home` is the namespace of Lease and fleet object, `lease` the name of both. `owner_of_cluster`: whether an owner id
/// is derived from the cluster's id. `registered`: whose objects may be registered, if any; those of every watched
/// namespace if empty. `mirror`: where mirrored objects are written, if anywhere.
pub(crate) fn needed(
    watched: &[String],
    home: &str,
    lease: &str,
    owner_of_cluster: bool,
    service_namespaces: &[String],
    registered: Option<&[String]>,
    mirror: Option<&str>,
) -> Vec<Permission> {
    let mut all = Vec::new();
    let mut add = |group: &str, resource: &str, namespace: Option<&str>, name: Option<&str>, verbs: &[&str]| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        all.extend(verbs.iter().map(|verb| Permission {
            attributes: ResourceAttributes {
                verb: Some((*verb).to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
                namespace: namespace.map(str::to_owned),
                // Authorization does not know the name of an object that is being created.
                name: name.filter(|_| *verb != "create").map(str::to_owned),
                ..ResourceAttributes::default()
            },
            optional: matches!(
                (resource, subresource, *verb),
                ("events" | "namespaces", ..) | ("mcpgateways", "", "get" | "create" | "patch" | "delete")
            ),
        }));
    };
    let mut namespaces: Vec<Option<&str>> = watched.iter().map(|namespace| Some(namespace.as_str())).collect();
    if namespaces.is_empty() {
        namespaces.push(None);
    }
    for namespace in &namespaces {
        add("mcpgateway.io", "mcpgateways", *namespace, None, &["list", "watch"]);
        add("mcpgateway.io", "mcpgateways/status", *namespace, None, &["patch"]);
    }
    if let Some(mirror) = mirror {
        add("mcpgateway.io", "mcpgateways", Some(mirror), None, &["create", "patch", "delete"]);
    }
    if let Some(registered) = registered {
        let listed = registered.iter().map(|namespace| Some(namespace.as_str()));
        let registered = if registered.is_empty() { namespaces.clone() } else { listed.collect() };
        for namespace in registered {
            add("mcpgateway.io", "mcpgateways", namespace, None, &["get", "patch"]);
        }
    }
    // Without watch a standby only polls, and a handover takes a retry period longer.
    add("coordination.k8s.io", "leases", Some(home), Some(lease), &["create", "get", "update", "watch"]);
    add("mcpgateway.io", "mcpgatewayfleets", Some(home), Some(lease), &["create", "get", "list", "watch"]);
    add("mcpgateway.io", "mcpgatewayfleets/status", Some(home), Some(lease), &["update"]);
    for namespace in service_namespaces {
        add("discovery.k8s.io", "endpointslices", Some(namespace), None, &["list", "watch"]);
    }
    if !namespaces.contains(&None) && !namespaces.contains(&Some(home)) {
        namespaces.push(Some(home));
    }
    for namespace in namespaces {
        add("events.k8s.io", "events", namespace, None, &["create", "patch"]);
    }
    if owner_of_cluster {
        add("", "namespaces", None, Some("kube-system"), &["get"]);
    }
    all
}

/// Adds `permissions_missing` to a registry that carries the prefix.
pub(crate) fn register(registry: &mut Registry) -> Gauge {
    registered(registry, "permissions_missing", "Verbs on resources that this replica lacks")
}

/// Checks forever: soon again until everything has been allowed once, then every `interval`. Each permission is logged
/// once when it goes missing, and once when it is granted again. `allowed`: whether everything that is not optional has
/// been allowed once. `problem`: the permissions that are missing at present.
pub(crate) async fn keep_checking(
    client: Client,
    needed: Vec<Permission>,
    interval: Duration,
    allowed: watch::Sender<bool>,
    problem: watch::Sender<Option<Problem>>,
    missing_gauge: Gauge,
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
                missing_gauge.set(i64::try_from(found.len()).unwrap_or(i64::MAX));
                let all_allowed = found.iter().all(|permission| permission.optional);
                allowed.send_if_modified(|before| all_allowed && !std::mem::replace(before, true));
                let names: Vec<String> = found.iter().map(ToString::to_string).collect();
                let all = format!("grant to the operator: {}", names.join("; "));
                let next = (!found.is_empty()).then(|| Problem::new(ProblemReason::PermissionsMissing, all));
                problem.send_if_modified(|before| std::mem::replace(before, next.clone()) != next);
                before = found;
            }
            Err(error) => {
                if Problem::replace(&mut failing, Some(no_answer(&error))) {
                    warn!(%error, "cannot check the permissions; will retry");
                }
            }
        }
        let before_ready = !*allowed.borrow();
        sleep(if before_ready { FIRST_ROUNDS } else { interval.max(FIRST_ROUNDS) }).await;
    }
}

/// The problem of a call that failed. Two errors are the same problem if they have the same status code.
pub(crate) fn no_answer(error: &kube::Error) -> Problem {
    let code = if let kube::Error::Api(status) = error { status.code } else { 0 };
    Problem::new(ProblemReason::ServerError, error.to_string()).about(code.to_string())
}

/// Checks each of them, and returns those that are missing.
async fn missing(client: &Client, needed: &[Permission]) -> Result<Vec<Permission>, kube::Error> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for permission in needed {
        let resource_attributes = Some(permission.attributes.clone());
        let spec = SelfSubjectAccessReviewSpec { resource_attributes, non_resource_attributes: None };
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

    #[test]
    fn a_permission_is_shown_as_what_to_grant() {
        let all = needed(&[], "ops", "mcpgateway-operator", true, &["gateways".to_owned()], None, None);
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
        let all = needed(&["a".to_owned(), "b".to_owned()], "ops", "mcpgateway-operator", false, &[], Some(&[]), None);
        assert!(all.iter().all(|permission| permission.attributes.namespace.is_some()));
    }

    /// The finalizer is for registrations alone, and without it everything else works.
    #[test]
    fn registration_needs_the_finalizer_only_where_objects_may_be_registered() {
        let watched = ["a".to_owned(), "b".to_owned()];
        let optional = |registered: Option<&[String]>| {
            let all = needed(&watched, "ops", "mcpgateway-operator", false, &[], registered, None);
            let optional =
                all.into_iter().filter(|one| one.optional && one.attributes.group.as_deref() != Some("events.k8s.io"));
            optional.map(|one| one.to_string()).collect::<Vec<_>>()
        };
        let of = |namespace: &str| {
            ["get", "patch"].map(|verb| format!("{verb} mcpgateways.mcpgateway.io in namespace {namespace}"))
        };
        assert_eq!(optional(None), Vec::<String>::new());
        assert_eq!(optional(Some(&[])), [of("a"), of("b")].concat());
        assert_eq!(optional(Some(&watched[1..])), of("b"));
    }

    #[test]
    fn the_mirror_needs_more_in_its_namespace_only() {
        let watched = ["a".to_owned(), "b".to_owned()];
        let of = |mirror: Option<&str>| needed(&watched, "ops", "mcpgateway-operator", false, &[], None, mirror);
        let plain = of(None);
        let more = of(Some("b")).into_iter().filter(|one| !plain.contains(one));
        let expected =
            ["create", "patch", "delete"].map(|verb| format!("{verb} mcpgateways.mcpgateway.io in namespace b"));
        assert_eq!(more.map(|one| one.to_string()).collect::<Vec<_>>(), expected);
    }
}
