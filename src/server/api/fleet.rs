//! The state of the fleet for `/v1/fleet`: the status of the fleet object, and on the leader its last cycle in full.

use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client};
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tracing::debug;

use super::problem::ProblemDetails;
use crate::api::v1alpha1::{FleetStatus, McpGatewayFleet};
use crate::clock;
use crate::controller::CycleReport;
use crate::model::Monotonic;

/// The longest that the API server may take.
const READ_LIMIT: Duration = Duration::from_secs(3);
/// How long an answer is reused: however often clients ask, the API server gets one request a second.
const REUSED_FOR: Duration = Duration::from_secs(1);

/// The stored status; `None` if no leader has written one yet.
type StoredStatus = Result<Option<FleetStatus>, ProblemDetails>;

/// The answer of `/v1/fleet`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FleetReport {
    fleet: Option<FleetStatus>,
    last_cycle: Option<Arc<CycleReport>>,
}

/// Reads the state of one fleet.
pub(crate) struct FleetView {
    api: Api<McpGatewayFleet>,
    name: String,
    /// `None` while this process does not lead or has not ended a cycle.
    cycles: watch::Receiver<Option<Arc<CycleReport>>>,
    last: Mutex<Option<(Monotonic, StoredStatus)>>,
}

impl FleetView {
    /// For the fleet object of this name. `client` must not retry on its own.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        cycles: watch::Receiver<Option<Arc<CycleReport>>>,
    ) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), cycles, last: Mutex::default() }
    }

    /// The status and the last cycle. A leader knows the status even if the API server does not answer.
    pub(super) async fn report(&self) -> Result<FleetReport, ProblemDetails> {
        let stored = self.stored().await;
        let last_cycle = self.cycles.borrow().clone();
        let fleet = match (stored, &last_cycle) {
            // What it cannot write, the leader knows better than the object.
            (_, Some(cycle)) if cycle.fleet_not_written.is_some() => Some(cycle.fleet.clone()),
            (Ok(Some(status)), _) => Some(status),
            (_, Some(cycle)) => Some(cycle.fleet.clone()),
            (stored, None) => stored?,
        };
        Ok(FleetReport { fleet, last_cycle })
    }

    async fn stored(&self) -> StoredStatus {
        // The lock is held during the request: concurrent callers wait for the same answer, also for an error.
        let mut last = self.last.lock().await;
        if let Some((at, stored)) = &*last
            && clock::monotonic().since(*at) < REUSED_FOR
        {
            return stored.clone();
        }
        let stored = match tokio::time::timeout(READ_LIMIT, self.api.get_opt(&self.name)).await {
            Ok(Ok(fleet)) => Ok(fleet.and_then(|fleet| fleet.status)),
            Ok(Err(error)) => {
                debug!(%error, "the McpGatewayFleet could not be read");
                Err(ProblemDetails::FACTS_UNAVAILABLE)
            }
            Err(_) => Err(ProblemDetails::FACTS_UNAVAILABLE),
        };
        *last = Some((clock::monotonic(), stored.clone()));
        stored
    }
}
