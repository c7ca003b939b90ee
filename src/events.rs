//! Events on the fleet object: what `kubectl describe mcpfleet` shows. IO: the API server.
//!
//! In: [`FleetEvent`]s of the election and of the leader's loop, on a short queue. Out: Events. It delays nothing: an
//! event that finds the queue full is dropped by its sender, and is then only in the log.

use std::sync::Arc;
use std::time::Duration;

use kube::api::Api;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource};
use tokio::sync::mpsc;
use tracing::debug;

use crate::api::v1alpha1::McpGatewayFleet;
use crate::model::FleetEvent;

/// The longest that one Event may take.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks for the fleet object.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// Publishes what comes in, until all senders are gone. `client` must not retry on its own.
pub async fn run(
    client: Client,
    recorder: Arc<Recorder>,
    namespace: String,
    fleet: String,
    mut queue: mpsc::Receiver<FleetEvent>,
) {
    let fleets: Api<McpGatewayFleet> = Api::namespaced(client, &namespace);
    while let Some(event) = queue.recv().await {
        let reason = event.reason;
        let write = async {
            // `kubectl describe` asks for the Events of this object by its uid. A new leader may still have to create
            // it.
            let object = loop {
                match fleets.get_metadata_opt(&fleet).await {
                    Ok(Some(found)) => break found.object_ref(&()),
                    Ok(None) | Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
                }
            };
            let event = Event {
                type_: if event.warning { EventType::Warning } else { EventType::Normal },
                reason: reason.to_owned(),
                note: Some(event.note.chars().take(1_000).collect()),
                action: "LeaderElection".to_owned(),
                secondary: None,
            };
            recorder.publish(&event, &object).await
        };
        if !matches!(tokio::time::timeout(WRITE_LIMIT, write).await, Ok(Ok(()))) {
            debug!(reason, "an Event could not be written");
        }
    }
}
