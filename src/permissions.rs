//! What this operator may do, asked of the API server before the first turn. IO: the API server; writes nothing.
//!
//! A missing permission is named with verb and resource while the replica is not ready yet, instead of turning up as a
//! failed cycle later (SPEC section 7: `/readyz`).

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::Client;
use kube::api::{Api, PostParams};

/// The longest that one question may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One verb on one resource, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: Option<&'static str>,
    namespace: Option<String>,
    name: Option<String>,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verb, group, resource, subresource, namespace, name } = self;
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
            None => write!(f, " in all namespaces"),
        }
    }
}

/// Where the operator keeps what is its own.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// Of Lease and ConfigMap.
    pub namespace: &'a str,
    /// The name of the Lease.
    pub lease: &'a str,
    /// The name of the ConfigMap with the facts of the fleet.
    pub facts: &'a str,
}

/// What an operator with these settings needs: the objects of its registry and their statuses, its Lease and status
/// ConfigMap, and the EndpointSlices of the worker Services.
#[must_use]
pub fn needed(watched: &[String], home: &Home<'_>, service_namespaces: &[String]) -> Vec<Permission> {
    let permission = |verb, group, resource, subresource, namespace: Option<&str>, name: Option<&str>| Permission {
        verb,
        group,
        resource,
        subresource,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
    };
    let scopes: Vec<Option<&str>> = if watched.is_empty() {
        vec![None]
    } else {
        watched.iter().map(|namespace| Some(namespace.as_str())).collect()
    };
    let mut all = Vec::new();
    for scope in scopes {
        for verb in ["list", "watch"] {
            all.push(permission(verb, "mcpgateway.io", "mcpgateways", None, scope, None));
        }
        all.push(permission("patch", "mcpgateway.io", "mcpgateways", Some("status"), scope, None));
    }
    let Home { namespace, lease, facts } = *home;
    for (group, resource, name) in [("coordination.k8s.io", "leases", lease), ("", "configmaps", facts)] {
        all.push(permission("create", group, resource, None, Some(namespace), None));
        for verb in ["get", "update"] {
            all.push(permission(verb, group, resource, None, Some(namespace), Some(name)));
        }
    }
    // Without it a standby only polls, and a hand-over takes a retry period longer.
    all.push(permission("watch", "coordination.k8s.io", "leases", None, Some(namespace), Some(lease)));
    for namespace in service_namespaces {
        for verb in ["list", "watch"] {
            all.push(permission(verb, "discovery.k8s.io", "endpointslices", None, Some(namespace), None));
        }
    }
    all
}

/// Asks for each of them; the answer lists those that are missing.
///
/// # Errors
/// If the API server does not answer the question.
pub async fn missing(client: &Client, needed: &[Permission]) -> Result<Vec<Permission>, kube::Error> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let mut missing = Vec::new();
    for permission in needed {
        let Permission { verb, group, resource, subresource, namespace, name } = permission.clone();
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

    const HOME: Home<'_> = Home { namespace: "ops", lease: "mcpgateway-operator", facts: "mcpgateway-operator-status" };

    #[test]
    fn each_permission_reads_as_what_to_grant() {
        let all = needed(&[], &HOME, &["gateways".to_owned()]);
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert!(texts.contains(&"patch mcpgateways/status.mcpgateway.io in all namespaces".to_owned()));
        assert!(texts.contains(&"update configmaps mcpgateway-operator-status in namespace ops".to_owned()));
        assert!(texts.contains(&"list endpointslices.discovery.k8s.io in namespace gateways".to_owned()));
    }

    #[test]
    fn with_listed_namespaces_nothing_is_asked_of_the_whole_cluster() {
        let all = needed(&["a".to_owned(), "b".to_owned()], &HOME, &[]);
        assert!(all.iter().all(|permission| permission.namespace.is_some()));
    }
}
