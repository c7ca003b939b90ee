//! The `McpGatewayFleet` object: watched by every replica, written by the leader. IO: the API server.
//!
//! In: the name of the Lease, which is the name of the object. Out: [`FleetObject`] on a `watch` channel, and status
//! writes. It must not write the spec after it has created the object: that belongs to people.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::api::FIELD_MANAGER;
use crate::api::v1alpha1::{FleetStatus, McpGatewayFleet, McpGatewayFleetSpec};
use crate::clock;
use crate::kube_error;
use crate::leadership::{LeadershipToken, WritePermit};
use crate::model::{Problem, ProblemReason};

const RESOURCE: &str = "mcpgatewayfleets.mcpgateway.io";

/// The longest that one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub enum FleetObject {
    /// It was never read: nothing may be published.
    #[default]
    Unread,
    /// There is none; its spec counts as the default.
    Absent,
    Read(Arc<McpGatewayFleet>),
}

impl FleetObject {
    /// Whether the emergency brake is on; `None` while that is unknown.
    pub fn suspend(&self) -> Option<bool> {
        match self {
            Self::Unread => None,
            Self::Absent => Some(false),
            Self::Read(fleet) => Some(fleet.spec.suspend),
        }
    }

    pub fn generation(&self) -> Option<i64> {
        self.read().and_then(|fleet| fleet.metadata.generation)
    }

    pub fn status(&self) -> Option<&FleetStatus> {
        self.read().and_then(|fleet| fleet.status.as_ref())
    }

    fn read(&self) -> Option<&McpGatewayFleet> {
        match self {
            Self::Unread | Self::Absent => None,
            Self::Read(fleet) => Some(fleet),
        }
    }
}

/// Watches the object forever. While it cannot be read, its last known state stands, and `failure` says why.
pub async fn watch(
    client: Client,
    namespace: String,
    name: String,
    state: watch::Sender<FleetObject>,
    failure: watch::Sender<Option<Problem>>,
) {
    let api: Api<McpGatewayFleet> = Api::namespaced(client, &namespace);
    let mut events = watcher::watch_object(api, &name).default_backoff().boxed();
    let mut failing = None;
    while let Some(event) = events.next().await {
        let problem = match event {
            Ok(object) => {
                let next = object.map_or(FleetObject::Absent, |fleet| FleetObject::Read(Arc::new(fleet)));
                state.send_replace(next);
                None
            }
            Err(error) => match kube_error::watch_problem(&error, RESOURCE) {
                Some(problem) => Some(problem),
                None => continue,
            },
        };
        if Problem::replace(&mut failing, problem) {
            if let Some(problem @ Problem { reason, detail, .. }) = &failing {
                let text = "cannot read the McpGatewayFleet, its last known state stands; will retry";
                warn!(fleet = name, %reason, error = detail, "{text}: {}", problem.message());
            } else {
                info!(fleet = name, "reading the McpGatewayFleet recovered");
            }
            failure.send_replace(failing.clone());
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FleetWrite {
    Written,
    /// A newer leader has written a higher term.
    Fenced,
    /// Not written, and why; to be tried again later.
    Failed(Problem),
    /// Not written, because too little is left of the leadership.
    LeadershipOver,
}

/// Writes the status of the fleet object, and creates the object if it is missing.
#[derive(Clone)]
pub struct FleetWriter {
    api: Api<McpGatewayFleet>,
    name: String,
}

impl FleetWriter {
    /// For the object of this name. `client` must not retry on its own.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned() }
    }

    /// Stores this status, unless it is stored already.
    pub async fn write(&self, token: &LeadershipToken, status: &FleetStatus) -> FleetWrite {
        let Some(WritePermit { remaining, .. }) = &token.begin_write(clock::monotonic()) else {
            return FleetWrite::LeadershipOver;
        };
        let write = async {
            match self.put(status).await {
                // The object changed in between: read it again, at the same term.
                Err(kube::Error::Api(conflict)) if conflict.code == 409 => self.put(status).await,
                done => done,
            }
        };
        match tokio::time::timeout(WRITE_TIMEOUT.min(*remaining), write).await {
            Ok(Ok(())) => FleetWrite::Written,
            Ok(Err(kube::Error::Api(answer)))
                if answer.code == 422 && answer.message.contains("status.term must not") =>
            {
                FleetWrite::Fenced
            }
            Ok(Err(kube::Error::Api(answer))) => {
                let permission = "get and create on mcpgatewayfleets and update on mcpgatewayfleets/status";
                FleetWrite::Failed(kube_error::refused(&answer, RESOURCE, permission))
            }
            Ok(Err(error)) => FleetWrite::Failed(kube_error::unreachable(&error)),
            Err(_) => FleetWrite::Failed(Problem::new(ProblemReason::TimedOut, "no answer in time")),
        }
    }

    async fn put(&self, status: &FleetStatus) -> Result<(), kube::Error> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let mut fleet = match self.api.get_opt(&self.name).await? {
            Some(fleet) => fleet,
            None => self.api.create(&params, &self.initial()).await?,
        };
        if fleet.status.as_ref() == Some(status) {
            return Ok(());
        }
        // The resourceVersion that came with the object makes a late write of a former leader fail.
        fleet.status = Some(status.clone());
        self.api.replace_status(&fleet.name_any(), &params, &fleet).await?;
        Ok(())
    }

    fn initial(&self) -> McpGatewayFleet {
        let labels = [("app.kubernetes.io/name", FIELD_MANAGER), ("app.kubernetes.io/managed-by", FIELD_MANAGER)];
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        };
        McpGatewayFleet { metadata, spec: McpGatewayFleetSpec::default(), status: None }
    }
}
