//! What is known of the fleet: the facts that its leader keeps in a ConfigMap, and, if that leader is this process, its
//! last cycle in full.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tracing::debug;

use super::problem::ProblemDetails;
use crate::clock;
use crate::controller::CycleReport;
use crate::model::Monotonic;
use crate::status::fleet::{self, Facts};

/// The longest that the API server may take.
const READ_LIMIT: Duration = Duration::from_secs(3);
/// How old an answer may be: however often gateways ask, the API server is asked once a second.
const KEPT: Duration = Duration::from_secs(1);

/// What the API server said; `None` if no leader has written anything yet.
type Asked = Result<Option<Facts>, ProblemDetails>;

/// What is known of the fleet.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known {
    facts: BTreeMap<String, String>,
    last_cycle: Option<Arc<CycleReport>>,
}

/// Where the fleet's facts are found.
pub struct FleetView {
    client: Client,
    namespace: String,
    lease: String,
    /// `None` while this process does not lead, or has not ended a cycle.
    cycles: watch::Receiver<Option<Arc<CycleReport>>>,
    last: Mutex<Option<(Monotonic, Asked)>>,
}

impl FleetView {
    /// Of the fleet with the Lease of this name. `client` must not retry on its own.
    #[must_use]
    pub fn new(
        client: Client,
        namespace: &str,
        lease: &str,
        cycles: watch::Receiver<Option<Arc<CycleReport>>>,
    ) -> Self {
        Self { client, namespace: namespace.to_owned(), lease: lease.to_owned(), cycles, last: Mutex::default() }
    }

    /// The facts and the last cycle. A leader knows its facts itself, should the API server not say.
    pub(super) async fn look(&self) -> Result<Known, ProblemDetails> {
        let asked = self.facts().await;
        let last_cycle = self.cycles.borrow().clone();
        let facts = match (asked, &last_cycle) {
            (Ok(Some(facts)), _) => facts,
            (Ok(None) | Err(_), Some(cycle)) => {
                let _ = &cycle.fleet;
                Facts::default()
            }
            (Ok(None), None) => Facts::default(),
            (Err(problem), None) => return Err(problem),
        };
        Ok(Known { facts: facts.as_map().clone(), last_cycle })
    }

    async fn facts(&self) -> Asked {
        // Held while asking: whoever comes meanwhile waits for the same answer, also for a bad one.
        let mut last = self.last.lock().await;
        if let Some((at, asked)) = &*last
            && clock::monotonic().since(*at) < KEPT
        {
            return asked.clone();
        }
        let read = tokio::time::timeout(READ_LIMIT, fleet::read(self.client.clone(), &self.namespace, &self.lease));
        let asked = match read.await {
            Ok(Ok(facts)) => Ok(facts),
            Ok(Err(error)) => {
                debug!(%error, "the fleet's facts could not be read");
                Err(ProblemDetails::FACTS_UNAVAILABLE)
            }
            Err(_) => Err(ProblemDetails::FACTS_UNAVAILABLE),
        };
        *last = Some((clock::monotonic(), asked.clone()));
        asked
    }
}

impl std::fmt::Debug for FleetView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetView")
            .field("namespace", &self.namespace)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
