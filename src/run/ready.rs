//! What must succeed once before this replica is ready.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::Api;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::fleet::object::FleetObject;
use crate::model::{Problem, ProblemReason};
use crate::publish::Store;
use crate::publish::keys::OwnerId;
use crate::server::Readiness;
use crate::{config, registry};

/// Between two attempts.
const START_RETRY: Duration = Duration::from_secs(2);

/// The default owner id, `<uid of namespace kube-system>/<lease namespace>/<lease name>`, which distinguishes releases that
/// share a Redis by mistake (`docs/contract.md#redis-keys`). Waits for the API server; a denied read is an error.
pub(crate) async fn default_owner(client: &Client, namespace: &str, lease: &str) -> anyhow::Result<OwnerId> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut failing = None;
    loop {
        match api.get("kube-system").await {
            Ok(found) => {
                let text = format!("{}/{namespace}/{lease}", found.metadata.uid.unwrap_or_default());
                return OwnerId::parse(&text).context("the default of --redis-owner-id");
            }
            Err(kube::Error::Api(refusal)) if refusal.is_forbidden() => {
                return Err(config::BadSetting::owner_needed().into());
            }
            Err(error) => {
                let code = if let kube::Error::Api(status) = &error { status.code } else { 0 };
                let problem = Problem::new(ProblemReason::ServerError, error.to_string()).about(code.to_string());
                if Problem::replace(&mut failing, Some(problem)) {
                    warn!(%error, "the API server does not answer yet; will retry");
                }
            }
        }
        tokio::time::sleep(START_RETRY).await;
    }
}

/// What readiness depends on.
pub(super) struct Requirements {
    /// The registry, and why it cannot be read.
    pub registry: registry::Receiver,
    pub registry_problem: watch::Receiver<Option<Problem>>,
    /// The fleet object, and why it cannot be read.
    pub fleet: watch::Receiver<FleetObject>,
    pub fleet_problem: watch::Receiver<Option<Problem>>,
    /// Whether everything was permitted once, and what is missing.
    pub allowed: watch::Receiver<bool>,
    pub permissions_problem: watch::Receiver<Option<Problem>>,
    /// Pinged once; `None` without Redis.
    pub store: Option<Arc<Store>>,
}

/// Waits for every requirement, and keeps `/readyz` up to date meanwhile. The task that meets a problem logs it.
pub(super) async fn get_ready(requirements: Requirements, readiness: watch::Sender<Readiness>) {
    let Requirements {
        mut registry,
        registry_problem,
        mut fleet,
        fleet_problem,
        mut allowed,
        permissions_problem,
        store,
    } = requirements;
    // An error below means that a task has ended, which ends the process.
    let read = async {
        if registry.wait_for(Option::is_some).await.is_ok() {
            readiness.send_modify(|readiness| readiness.registry.met = true);
        }
    };
    let fleet_read = async {
        if fleet.wait_for(|fleet| fleet.suspend().is_some()).await.is_ok() {
            readiness.send_modify(|readiness| readiness.fleet.met = true);
        }
    };
    let permitted = async {
        if allowed.wait_for(|allowed| *allowed).await.is_ok() {
            readiness.send_modify(|readiness| readiness.permissions.met = true);
        }
    };
    let pinged = async {
        let Some(store) = &store else { return };
        let mut logged = "";
        while let Err(error) = store.ping().await {
            let reason = <&str>::from(&error);
            if std::mem::replace(&mut logged, reason) != reason {
                warn!(reason, %error, "Redis is not usable yet; will retry");
            }
            tokio::time::sleep(START_RETRY).await;
        }
        readiness.send_modify(|readiness| readiness.redis.met = true);
    };
    let problems = async {
        tokio::join!(
            follow(registry_problem, |problem| readiness.send_modify(|now| now.registry.problem = problem)),
            follow(fleet_problem, |problem| readiness.send_modify(|now| now.fleet.problem = problem)),
            follow(permissions_problem, |problem| readiness.send_modify(|now| now.permissions.problem = problem)),
        );
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = async { tokio::join!(read, fleet_read, permitted, pinged) } => info!("ready"),
        () = problems => {}
    }
}

/// Passes on every change.
async fn follow(mut problem: watch::Receiver<Option<Problem>>, mut pass_on: impl FnMut(Option<Problem>)) {
    while problem.changed().await.is_ok() {
        pass_on(problem.borrow_and_update().clone());
    }
}
