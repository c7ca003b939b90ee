//! Events on the Lease: what `kubectl describe lease` shows of leadership. IO (the API server).
//!
//! In: [`FleetEvent`]s of the election and of the loop, on a short queue. Out: Events. It holds nobody up: who finds the queue
//! full drops its notice, which then stands in the log alone. It must not write anything else.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::Api;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tracing::debug;

use crate::model::FleetEvent;

/// The longest that one Event may take.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// Publishes what comes in, until all senders are gone. `client` must not retry on its own.
pub async fn run(
    client: Client,
    recorder: Arc<Recorder>,
    namespace: String,
    lease: String,
    mut notices: mpsc::Receiver<FleetEvent>,
) {
    let leases: Api<Lease> = Api::namespaced(client, &namespace);
    while let Some(notice) = notices.recv().await {
        let reason = notice.reason;
        let write = async {
            // `kubectl describe` asks for the Events of this Lease, not of an earlier one of the same name.
            let uid = leases.get_metadata_opt(&lease).await.ok().flatten().and_then(|found| found.uid());
            let object = ObjectReference {
                api_version: Some(Lease::api_version(&()).into_owned()),
                kind: Some(Lease::kind(&()).into_owned()),
                namespace: Some(namespace.clone()),
                name: Some(lease.clone()),
                uid,
                ..ObjectReference::default()
            };
            let event = Event {
                type_: if notice.warning { EventType::Warning } else { EventType::Normal },
                reason: reason.to_owned(),
                note: Some(notice.note.chars().take(1_000).collect()),
                action: "LeaderElection".to_owned(),
                secondary: None,
            };
            recorder.publish(&event, &object).await
        };
        if !matches!(tokio::time::timeout(WRITE_LIMIT, write).await, Ok(Ok(()))) {
            debug!(reason, "an Event was lost");
        }
    }
}
