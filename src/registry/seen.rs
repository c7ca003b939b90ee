//! An `McpGateway` as the watch shows it: its record, and the metadata that the watch itself goes by. Makes no calls.
//!
//! Projected while it is read, object by object. What nobody here asks for is skipped and never becomes a tree, above all
//! `managedFields`, which is several times as large as the rest; a page of a list is then about as large as what is kept
//! of it.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::GatewayRecord;
use crate::api::v1alpha1::McpGateway;

/// One object. Never fails to parse for what its spec or status hold: a typed watch would end at the first that does.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    metadata: ObjectMeta,
    /// `None` if it has no name or namespace, which no API server returns.
    pub(super) record: Option<GatewayRecord>,
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { metadata, spec, status } = Wire::deserialize(deserializer)?;
        let Metadata { name, namespace, uid, resource_version, generation, creation_timestamp } = metadata;
        let metadata = ObjectMeta {
            name,
            namespace,
            uid,
            resource_version,
            generation,
            creation_timestamp,
            ..ObjectMeta::default()
        };
        let record = GatewayRecord::of_parts(&metadata, &spec, &status);
        Ok(Self { metadata, record })
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// What is used of the metadata.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
}

/// The same resource as the typed one.
impl Resource for Seen {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        McpGateway::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        McpGateway::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        McpGateway::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        McpGateway::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Spec;

    fn seen(object: &Value) -> Seen {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn an_object_is_projected_as_from_the_whole_tree() {
        let object = json!({
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway",
            "metadata": {
                "name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2025-11-22T08:00:00Z", "labels": {"a": "b"}, "ownerReferences": null,
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {"f:url": {}}}}],
            },
            "spec": {"url": "https://h/mcp", "gatewayId": "g"},
            "status": {"tier": "Hot", "term": 4, "observedGeneration": 3},
        });
        let found = seen(&object);
        let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
        assert_eq!(found.record, GatewayRecord::project(&metadata, &object));
        assert!(matches!(found.record, Some(GatewayRecord { spec: Spec::Enabled { .. }, generation: 3, .. })));
        assert_eq!(found.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(found.meta().managed_fields, None);
    }

    #[test]
    fn what_does_not_parse_ends_no_watch() {
        for (spec, status) in [
            (json!(null), json!(null)),
            (json!({"url": 7}), json!({"conditions": "none"})),
            (json!([1]), json!("text")),
        ] {
            let found = seen(&json!({"metadata": {"name": "n", "namespace": "ns"}, "spec": spec, "status": status}));
            assert!(matches!(found.record, Some(GatewayRecord { spec: Spec::Refused(_), .. })), "{spec}");
        }
        assert!(seen(&json!({})).record.is_none());
    }

    #[test]
    fn an_event_is_read_whatever_the_order_of_its_fields() {
        let object =
            json!({"metadata": {"name": "n", "namespace": "ns", "resourceVersion": "7"}, "spec": {"url": "https://h"}});
        for text in [
            format!(r#"{{"type": "ADDED", "object": {object}}}"#),
            format!(r#"{{"object": {object}, "type": "ADDED"}}"#),
        ] {
            let event: kube::core::WatchEvent<Seen> = serde_json::from_str(&text).unwrap();
            assert!(matches!(event, kube::core::WatchEvent::Added(Seen { record: Some(_), .. })));
        }
    }
}
