//! What must succeed once before this replica is ready, and is waited for until it does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::Api;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::model::{Problem, ProblemReason};
use crate::publish::Store;
use crate::publish::keys::OwnerId;
use crate::server::Readiness;
use crate::{config, registry};

/// Between two tries.
const START_RETRY: Duration = Duration::from_secs(2);

/// `<uid of namespace kube-system>/<lease namespace>/<lease name>` (SPEC section 4), which tells apart what shares a
/// Redis by mistake. Waits for the API server; a refusal is final.
pub(crate) async fn default_owner(client: &Client, namespace: &str, lease: &str) -> anyhow::Result<OwnerId> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut told = None;
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
                if Problem::replace(&mut told, Some(problem)) {
                    warn!(%error, "the API server does not answer yet; trying on");
                }
            }
        }
        tokio::time::sleep(START_RETRY).await;
    }
}

/// What readiness is made of.
pub(super) struct Awaited {
    /// The registry, and what keeps it from being read.
    pub registry: registry::Receiver,
    pub registry_problem: watch::Receiver<Option<Problem>>,
    /// Whether everything was allowed once, and what is missing.
    pub allowed: watch::Receiver<bool>,
    pub permissions_problem: watch::Receiver<Option<Problem>>,
    /// Is pinged; `None` without Redis.
    pub store: Option<Arc<Store>>,
}

/// Waits for what `/readyz` speaks of, and has it name what is in the way; each problem is told once by whoever met it.
pub(super) async fn get_ready(awaited: Awaited, readiness: watch::Sender<Readiness>) {
    let Awaited { mut registry, registry_problem, mut allowed, permissions_problem, store } = awaited;
    // An Err below says that a task has ended, which ends the process.
    let read = async {
        if registry.wait_for(Option::is_some).await.is_ok() {
            readiness.send_modify(|readiness| readiness.registry = true);
        }
    };
    let permitted = async {
        if allowed.wait_for(|allowed| *allowed).await.is_ok() {
            readiness.send_modify(|readiness| readiness.permissions = true);
        }
    };
    let pinged = async {
        let Some(store) = &store else { return };
        let mut told = "";
        while let Err(error) = store.ping().await {
            if std::mem::replace(&mut told, error.reason()) != error.reason() {
                warn!(reason = error.reason(), %error, "Redis is not usable yet");
            }
            tokio::time::sleep(START_RETRY).await;
        }
        readiness.send_modify(|readiness| readiness.redis = true);
    };
    let problems = async {
        tokio::join!(
            follow(registry_problem, |problem| readiness.send_modify(|now| now.registry_problem = problem)),
            follow(permissions_problem, |problem| readiness.send_modify(|now| now.permissions_problem = problem)),
        );
        std::future::pending::<()>().await;
    };
    tokio::select! {
        _ = async { tokio::join!(read, permitted, pinged) } => info!("ready"),
        () = problems => {}
    }
}

/// Hands on every change.
async fn follow(mut problem: watch::Receiver<Option<Problem>>, mut hand_on: impl FnMut(Option<Problem>)) {
    while problem.changed().await.is_ok() {
        hand_on(problem.borrow_and_update().clone());
    }
}
