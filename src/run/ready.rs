//! What must succeed once before this replica is ready, and is waited for until it does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::Api;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::publish::Store;
use crate::publish::keys::OwnerId;
use crate::server::Readiness;
use crate::{config, permissions, registry};

/// Between two tries.
const START_RETRY: Duration = Duration::from_secs(2);

/// `<uid of namespace kube-system>/<lease namespace>/<lease name>` (SPEC section 4), which tells apart what shares a
/// Redis by mistake. Waits for the API server; a refusal is final.
pub(super) async fn default_owner(client: &Client, namespace: &str, lease: &str) -> anyhow::Result<OwnerId> {
    let api: Api<Namespace> = Api::all(client.clone());
    loop {
        match api.get("kube-system").await {
            Ok(found) => {
                let text = format!("{}/{namespace}/{lease}", found.metadata.uid.unwrap_or_default());
                return OwnerId::parse(&text).context("the default of --redis-owner-id");
            }
            Err(kube::Error::Api(refusal)) if refusal.is_forbidden() => {
                return Err(config::BadSetting::owner_needed().into());
            }
            Err(error) => warn!(%error, "the API server does not answer yet"),
        }
        tokio::time::sleep(START_RETRY).await;
    }
}

/// Waits for what `/readyz` speaks of, and tells each obstacle once.
pub(super) async fn get_ready(
    client: Client,
    needed: Vec<permissions::Permission>,
    store: Option<Arc<Store>>,
    mut registry: registry::Receiver,
    readiness: watch::Sender<Readiness>,
) {
    let read = async {
        // An Err says that the registry's task has ended, which ends the process.
        if registry.wait_for(Option::is_some).await.is_ok() {
            readiness.send_modify(|readiness| readiness.registry = true);
        }
    };
    let allowed = async {
        let mut told = Vec::new();
        loop {
            match permissions::missing(&client, &needed).await {
                Ok(missing) if missing.is_empty() => break,
                Ok(missing) => {
                    for permission in missing.iter().filter(|permission| !told.contains(*permission)) {
                        warn!(%permission, "not allowed: grant it to the operator's service account");
                    }
                    told = missing;
                }
                Err(error) => warn!(%error, "the permissions could not be checked"),
            }
            tokio::time::sleep(START_RETRY).await;
        }
        readiness.send_modify(|readiness| readiness.permissions = true);
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
    tokio::join!(read, allowed, pinged);
    info!("ready");
}
