//! The type that the API server's answers are parsed into: a record, and the metadata that the watch itself needs. No
//! IO.
//!
//! Unused fields are skipped while an object is parsed and never stored, above all `managedFields`, which is several
//! times as large as the rest. So a page of a list takes little more memory than its records.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::GatewayRecord;
use crate::api::v1alpha1::McpGateway;
use crate::api::{MIRRORED, REFRESH_REQUESTED};

/// One object. It parses whatever its spec or status contain, because one that did not would end the watch.
#[derive(Clone, Debug, Resource)]
#[resource(inherit = McpGateway)]
pub(super) struct WatchedObject {
    metadata: ObjectMeta,
    /// `None` if it has no name or namespace, which no API server returns.
    pub(super) record: Option<GatewayRecord>,
}

impl<'de> Deserialize<'de> for WatchedObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Fields { metadata, spec, status } = Fields::deserialize(deserializer)?;
        let Metadata { name, namespace, uid, resource_version, generation, creation_timestamp, .. } = metadata;
        let Metadata { annotations, labels, finalizers, deletion_timestamp, .. } = metadata;
        let request = annotations.refresh_requested;
        let metadata = ObjectMeta {
            name,
            namespace,
            uid,
            resource_version,
            generation,
            creation_timestamp,
            annotations: request.map(|value| [(REFRESH_REQUESTED.to_owned(), value)].into()),
            labels: labels.mirrored.map(|value| [(MIRRORED.to_owned(), value)].into()),
            finalizers,
            deletion_timestamp,
            ..ObjectMeta::default()
        };
        let record = GatewayRecord::from_parts(&metadata, &spec, &status);
        Ok(Self { metadata, record })
    }
}

#[derive(Deserialize)]
struct Fields {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

/// The metadata that is used.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    annotations: Annotations,
    labels: Labels,
    finalizers: Option<Vec<String>>,
    deletion_timestamp: Option<Time>,
}

/// The annotation that is used: [`REFRESH_REQUESTED`].
#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "mcpgateway.io/refresh-requested")]
    refresh_requested: Option<String>,
}

/// The label that is used: [`MIRRORED`].
#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "mcpgateway.io/mirrored")]
    mirrored: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::UnixTime;
    use crate::registry::Spec;

    fn parse(object: &Value) -> WatchedObject {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    #[test]
    fn the_record_is_that_of_the_whole_object() {
        let object = json!({
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway",
            "metadata": {
                "name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 3,
                "creationTimestamp": "2025-11-22T08:00:00Z", "labels": {"a": "b", "mcpgateway.io/mirrored": "true"},
                "finalizers": ["a/b", "mcpgateway.io/registration"], "deletionTimestamp": "2025-11-22T09:00:00Z",
                "ownerReferences": null,
                "annotations": {"a": "b", "mcpgateway.io/refresh-requested": "2025-11-22T08:00:00.5Z"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {"f:url": {}}}}],
            },
            "spec": {"url": "https://h/mcp", "gatewayId": "g", "registration": {"name": "r"}},
            "status": {"tier": "Hot", "term": 4, "observedGeneration": 3},
        });
        let found = parse(&object);
        let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
        assert_eq!(found.record, GatewayRecord::from_object(&metadata, &object));
        assert!(matches!(found.record, Some(GatewayRecord { spec: Spec::Enabled { .. }, generation: 3, .. })));
        assert_eq!(found.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(found.meta().managed_fields, None);
        let record = found.record.unwrap();
        assert!(record.finalizer && record.deleting && record.mirrored && record.registration().is_some());
        let request = record.refresh_request().unwrap();
        assert_eq!(request.time.map(UnixTime::seconds), Some(1_763_798_400.5));
    }

    #[test]
    fn an_unusable_spec_or_status_does_not_end_the_watch() {
        for (spec, status) in [
            (json!(null), json!(null)),
            (json!({"url": 7}), json!({"conditions": "none"})),
            (json!([1]), json!("text")),
        ] {
            let found = parse(&json!({"metadata": {"name": "n", "namespace": "ns"}, "spec": spec, "status": status}));
            assert!(matches!(found.record, Some(GatewayRecord { spec: Spec::Refused(_), .. })), "{spec}");
        }
        assert!(parse(&json!({})).record.is_none());
    }

    #[test]
    fn an_event_is_read_whatever_the_order_of_its_fields() {
        let object =
            json!({"metadata": {"name": "n", "namespace": "ns", "resourceVersion": "7"}, "spec": {"url": "https://h"}});
        for text in [
            format!(r#"{{"type": "ADDED", "object": {object}}}"#),
            format!(r#"{{"object": {object}, "type": "ADDED"}}"#),
        ] {
            let event: kube::core::WatchEvent<WatchedObject> = serde_json::from_str(&text).unwrap();
            assert!(matches!(event, kube::core::WatchEvent::Added(WatchedObject { record: Some(_), .. })));
        }
    }
}
