//! The listener for what gateways ask: opened with the others, served as soon as there is a client of the API server.

use std::sync::Arc;

use anyhow::Context;
use futures::TryFutureExt;
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::supervise::{Role, Tasks};
use crate::config::Config;
use crate::controller::CycleReport;
use crate::publish::{PollMetrics, Polls};
use crate::registry;
use crate::server::api::{self, Api, FleetView};

/// What the answers are made from.
pub(super) struct Sources {
    /// Of the API server; it does not retry on its own.
    pub client: Client,
    /// Where the Lease and the fleet's facts are.
    pub namespace: String,
    pub registry: registry::Receiver,
    pub cycles: watch::Receiver<Option<Arc<CycleReport>>>,
    pub metrics: PollMetrics,
}

/// Opens the listener, so that a taken port is told at once; `None` if nothing is to be served.
pub(super) async fn bind(config: &Config) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = config.api.listen.0 else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| format!("--api-bind-address {address}"))?;
    let token = config.api.token_file.is_some();
    info!(address = %listener.local_addr()?, token, "serving /v1 and /openapi.json");
    Ok(Some(listener))
}

/// Serves on it. Redis and the registry may come later: until then a poll is due, and the rest is answered 503.
pub(super) fn start(
    tasks: &mut Tasks,
    listener: TcpListener,
    config: &Config,
    sources: Sources,
    stop: &CancellationToken,
) {
    let Sources { client, namespace, registry, cycles, metrics } = sources;
    let access = config.redis.as_ref().map(|redis| redis.access.clone());
    let polls = Polls::new(access, config.polls, metrics);
    let fleet = FleetView::new(client, &namespace, &config.election.name, cycles);
    let api = Api::new(polls, registry, fleet, config.api.token_file.clone());
    let served = api::serve(listener, api, stop.clone().cancelled_owned());
    tasks.add_fallible("api", Role::Drained, served.map_err(Into::into));
}
