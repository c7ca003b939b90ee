//! Events on objects whose entry somebody else had changed. IO: the API server.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};
use tracing::{debug, info};

use crate::api::v1alpha1::McpGateway;
use crate::registration::reconcile::Drift;
use crate::registration::rounds::FoundDrift;

/// The longest that one Event may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Logs the drift and records an Event.
pub(super) async fn record(recorder: &Recorder, FoundDrift { object, uid, drift }: &FoundDrift) {
    let note = match drift {
        Drift::Edited => "The entry in ContextForge was changed by somebody else: the operator changed it back",
        Drift::Switched => "The entry in ContextForge was switched off by somebody else: the operator switched it on",
        Drift::Deleted => "The entry in ContextForge was deleted by somebody else: the operator registers it again",
    };
    info!(%object, "{note}");
    let reference = ObjectReference {
        api_version: Some(McpGateway::api_version(&()).into_owned()),
        kind: Some(McpGateway::kind(&()).into_owned()),
        namespace: Some(object.namespace.to_string()),
        name: Some(object.name.to_string()),
        uid: Some(uid.to_string()),
        ..ObjectReference::default()
    };
    let event = Event {
        type_: EventType::Warning,
        reason: "DriftCorrected".to_owned(),
        note: Some(note.to_owned()),
        action: "Register".to_owned(),
        secondary: None,
    };
    if !matches!(tokio::time::timeout(TIMEOUT, recorder.publish(&event, &reference)).await, Ok(Ok(()))) {
        debug!(%object, "an Event was not stored");
    }
}
