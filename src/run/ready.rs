//! What must succeed once before this replica is ready.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::Api;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::{BadSetting, BadSettings};
use crate::model::Problem;
use crate::permissions;
use crate::publish::Store;
use crate::publish::keys::OwnerId;
use crate::server::Readiness;

/// Between two attempts.
const START_RETRY: Duration = Duration::from_secs(2);

/// The default owner id in Redis, which distinguishes releases that share one by mistake
/// (`docs/contract.md#redis-keys`).
pub(crate) async fn default_owner(client: &Client, namespace: &str, lease: &str) -> anyhow::Result<OwnerId> {
    let text = cluster_owner(client, "--redis-owner-id", namespace, lease).await?;
    OwnerId::parse(&text).context("the default of --redis-owner-id")
}

/// `<uid of namespace kube-system>/<lease namespace>/<lease name>`, the default of `flag`. Waits for the API server; a
/// denied read is an error.
pub(super) async fn cluster_owner(
    client: &Client,
    flag: &'static str,
    namespace: &str,
    lease: &str,
) -> anyhow::Result<String> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut failing = None;
    loop {
        match api.get("kube-system").await {
            Ok(found) => {
                return Ok(format!("{}/{namespace}/{lease}", found.metadata.uid.unwrap_or_default()));
            }
            Err(kube::Error::Api(refusal)) if refusal.is_forbidden() => {
                let advice = "set it to a name for this release: its default needs a permission that is missing \
                              (get namespaces kube-system)";
                return Err(BadSettings(vec![BadSetting::new(flag, advice)]).into());
            }
            Err(error) => {
                if Problem::replace(&mut failing, Some(permissions::no_answer(&error))) {
                    warn!(%error, "the API server does not answer yet; will retry");
                }
            }
        }
        tokio::time::sleep(START_RETRY).await;
    }
}

/// Pings Redis until it answers once, waits for everything else, and logs that this replica is ready.
pub(super) async fn get_ready(store: Option<Arc<Store>>, answering: watch::Sender<bool>, mut readiness: Readiness) {
    if let Some(store) = store {
        let mut logged = "";
        while let Err(error) = store.ping().await {
            let reason = <&str>::from(&error);
            if std::mem::replace(&mut logged, reason) != reason {
                warn!(reason, %error, "Redis is not usable yet; will retry");
            }
            tokio::time::sleep(START_RETRY).await;
        }
        answering.send_replace(true);
    }
    // An error means that a task has ended, which ends the process.
    let _ = readiness.registry.wait_for(Option::is_some).await;
    let _ = readiness.fleet.wait_for(|fleet| fleet.suspend().is_some()).await;
    let _ = readiness.allowed.wait_for(|allowed| *allowed).await;
    info!("ready");
}
