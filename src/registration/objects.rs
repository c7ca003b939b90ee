//! The objects of the registry that ask for a registration, with what the settings of the operator and their Secrets
//! make of it. Pure.

use std::collections::BTreeSet;

use arcstr::ArcStr;

use super::credentials::{FoundSource, Resolved, resolve, sources};
use super::desired::DesiredGateway;
use super::outcome::known_entry;
use super::rounds::RegistryObject;
use super::wanted::{RegistrationObject, SourceName, Unusable, Wanted};
use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::registration::DeletionPolicy;
use crate::model::{ObjectName, Term};
use crate::registry::{GatewayRecord, RegistrySnapshot, RequestedRegistration, Spec};

/// What may be registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Whose objects may be registered; those of every namespace if empty (`--registration-namespace`).
    pub namespaces: Vec<String>,
    /// Headers that may be passed on, in lower case (`--registration-allow-header`).
    pub headers: Vec<String>,
    /// Whose objects may adopt entries of others (`--adoption-namespace`).
    pub adoption_namespaces: Vec<String>,
}

impl Limits {
    pub(super) fn allow_namespace(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|allowed| allowed == namespace)
    }
}

/// A change of the finalizer of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalizerChange {
    /// Adds it.
    Add,
    /// Removes it.
    Remove,
}

/// What the finalizer of an object needs. `gone`: whether the entry of the deleted object is gone.
pub fn finalizer_change(record: &GatewayRecord, limits: &Limits, gone: bool) -> Option<FinalizerChange> {
    let deletes = |requested: &RequestedRegistration| requested.spec.deletion_policy == DeletionPolicy::Delete;
    // A mirrored object registers nothing, so there is nothing to delete with it.
    let requested = record.registration().filter(|_| !record.mirrored);
    let wanted = requested.is_some_and(deletes) && limits.allow_namespace(&record.name.namespace);
    match (wanted, record.finalizer, record.deleting) {
        (true, false, false) => Some(FinalizerChange::Add),
        // A spec that is refused for now does not say that the entry should stay.
        (false, true, false) if matches!(record.spec, Spec::Refused(_)) => None,
        (false, true, _) => Some(FinalizerChange::Remove),
        (true, true, true) if gone => Some(FinalizerChange::Remove),
        _ => None,
    }
}

/// The Secrets and `ConfigMap`s that objects refer to, with their namespace.
pub fn referenced_sources<'a>(
    snapshot: &'a RegistrySnapshot,
    limits: &'a Limits,
) -> impl Iterator<Item = (&'a ArcStr, SourceName)> {
    let requested = asking(snapshot).filter(|(record, _)| limits.allow_namespace(&record.name.namespace));
    requested.flat_map(|(record, requested)| {
        sources(&requested.spec).into_iter().map(|source| (&record.name.namespace, source))
    })
}

fn asking(snapshot: &RegistrySnapshot) -> impl Iterator<Item = (&GatewayRecord, &RequestedRegistration)> {
    // A mirrored object registers nothing, whatever somebody writes into it.
    let records = snapshot.gateways().iter().map(|gateway| &*gateway.record).filter(|record| !record.mirrored);
    records.filter_map(|record| Some((record, record.registration()?)))
}

/// The objects to reconcile, sorted by age. `find` looks up a Secret or ConfigMap of a namespace; an object for which
/// it has nothing yet is left out.
pub fn registry_objects(
    snapshot: &RegistrySnapshot,
    limits: &Limits,
    find: &dyn Fn(&str, &SourceName) -> Option<FoundSource>,
) -> Vec<RegistryObject> {
    let object = |(record, requested)| registry_object(record, requested, limits, find);
    let mut objects: Vec<RegistryObject> = asking(snapshot).filter_map(object).collect();
    objects.sort_by(|one, two| (one.created, &one.object.name).cmp(&(two.created, &two.object.name)));
    objects
}

/// The names of all objects.
pub fn living(snapshot: &RegistrySnapshot) -> BTreeSet<ObjectName> {
    snapshot.gateways().iter().map(|gateway| gateway.record.name.clone()).collect()
}

fn registry_object(
    record: &GatewayRecord,
    requested: &RequestedRegistration,
    limits: &Limits,
    find: &dyn Fn(&str, &SourceName) -> Option<FoundSource>,
) -> Option<RegistryObject> {
    let namespace = &*record.name.namespace;
    let status = record.registration_status();
    let deletes = requested.spec.deletion_policy == DeletionPolicy::Delete;
    let wanted = if record.deleting {
        // Without the finalizer it is gone already, as far as this operator is concerned.
        (deletes && record.finalizer && limits.allow_namespace(namespace)).then_some(Wanted::Deleted)?
    } else {
        wanted(record, requested, limits, find)?
    };
    let left_enabled = record.status.condition(ConditionType::Registered).and_then(|condition| condition.reason);
    let object = RegistrationObject {
        name: record.name.clone(),
        uid: record.uid.clone(),
        wanted,
        adopt: requested.adopt.clone(),
        may_adopt_foreign: limits.adoption_namespaces.iter().any(|allowed| allowed == namespace),
        known: status.and_then(|status| known_entry(status, left_enabled != Some(Reason::Disabled))),
        create_started: status
            .and_then(|status| status.create_started.as_ref())
            .and_then(|started| Term::new(i64::from(started.term))),
    };
    Some(RegistryObject {
        object,
        generation: record.generation,
        status: status.cloned(),
        last_used: record.remembered_use(),
        created: record.created.into(),
    })
}

fn wanted(
    record: &GatewayRecord,
    requested: &RequestedRegistration,
    limits: &Limits,
    find: &dyn Fn(&str, &SourceName) -> Option<FoundSource>,
) -> Option<Wanted> {
    let RequestedRegistration { spec, url, enabled, .. } = requested;
    let namespace = &*record.name.namespace;
    if !limits.allow_namespace(namespace) {
        return Some(Wanted::Unusable(Unusable::NamespaceNotAllowed));
    }
    let allowed = |name: &&String| limits.headers.contains(&name.to_ascii_lowercase());
    if let Some(name) = spec.passthrough_headers.iter().find(|name| !allowed(name)) {
        return Some(Wanted::Unusable(Unusable::HeaderNotAllowed(name.clone())));
    }
    if spec.deletion_policy == DeletionPolicy::Delete && !record.finalizer {
        return Some(Wanted::Unusable(Unusable::FinalizerMissing));
    }
    if sources(spec).iter().any(|source| find(namespace, source).is_none()) {
        return None;
    }
    let found = |source: &SourceName| find(namespace, source).unwrap_or(FoundSource::Missing);
    Some(match resolve(spec, url, &found) {
        Ok(Resolved { credentials, version, ca_certificate }) => {
            let gateway = DesiredGateway::new(spec, &record.name, url.clone(), credentials, ca_certificate);
            Wanted::Registered { gateway: Box::new(gateway), credentials: version, enabled: *enabled }
        }
        Err(why) => Wanted::Unusable(why),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_mirrored_object_needs_no_finalizer() {
        let record = |mirrored: &str| {
            let metadata = serde_json::from_value(json!({
                "namespace": "a", "name": "b", "uid": "u", "resourceVersion": "1",
                "labels": {"mcpgateway.io/mirrored": mirrored}, "finalizers": ["mcpgateway.io/registration"],
                "deletionTimestamp": "2026-11-01T00:00:00Z",
            }));
            let spec = json!({"url": "http://h/mcp", "registration": {"deletionPolicy": "Delete"}});
            GatewayRecord::from_parts(&metadata.unwrap(), &spec, &json!({})).unwrap()
        };
        let change = |mirrored: &str| finalizer_change(&record(mirrored), &Limits::default(), false);
        assert_eq!((change("false"), change("true")), (None, Some(FinalizerChange::Remove)));
    }

    #[test]
    fn a_refused_spec_keeps_its_finalizer() {
        let metadata = json!({
            "namespace": "a", "name": "b", "uid": "u", "resourceVersion": "1",
            "finalizers": ["mcpgateway.io/registration"],
        });
        let metadata = serde_json::from_value(metadata).unwrap();
        let change = |spec: serde_json::Value| {
            let record = GatewayRecord::from_parts(&metadata, &spec, &json!({})).unwrap();
            finalizer_change(&record, &Limits::default(), false)
        };
        assert_eq!(change(json!({"url": "http://h/?token=x", "registration": {"deletionPolicy": "Delete"}})), None);
        assert_eq!(change(json!({"url": "http://h/mcp"})), Some(FinalizerChange::Remove));
    }
}
