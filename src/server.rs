//! The HTTP listeners: metrics, health, and the API for gateways ([`api`]). They change nothing, except that the API
//! records completed polls.

pub mod api;

use std::future::{Future, IntoFuture};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::model::Problem;

/// What must happen once before this replica is ready. See docs/contract.md#command-line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The registry has been read completely.
    pub registry: Requirement,
    /// The fleet object has been read, or is known to be absent.
    pub fleet: Requirement,
    /// The permissions have been checked, and none is missing.
    pub permissions: Requirement,
    /// Redis has answered, or there is none.
    pub redis: Requirement,
}

/// Something that has to succeed once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirement {
    /// Whether it has.
    pub met: bool,
    /// Why it has not, if known.
    pub problem: Option<Problem>,
}

impl Readiness {
    /// What this replica still waits for; empty when ready.
    pub fn awaited(&self) -> Vec<String> {
        let Self { registry, fleet, permissions, redis } = self;
        let all = [
            (registry, "the registry has not been read yet"),
            (fleet, "the McpGatewayFleet has not been read yet"),
            (permissions, "permissions are missing or have not been checked yet"),
            (redis, "Redis has not answered yet"),
        ];
        let describe = |(requirement, text): (&Requirement, &str)| match &requirement.problem {
            None => text.to_owned(),
            Some(problem) => format!("{text} ({}: {})", problem.reason, problem.message()),
        };
        all.into_iter().filter(|(requirement, _)| !requirement.met).map(describe).collect()
    }
}

/// Serves `/metrics` until `shutdown`.
///
/// # Errors
/// If the listener fails.
pub async fn metrics(
    listener: TcpListener,
    registry: Arc<Registry>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = Router::new().route("/metrics", get(show_metrics)).with_state(registry);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).into_future().await
}

/// Serves `/livez` and `/readyz` until `shutdown`.
///
/// Live means that the process answers: a restart would not repair a fault outside of it. Ready means that it was able
/// to work once. Later faults outside do not change that; otherwise all replicas would leave a Service at once.
///
/// # Errors
/// If the listener fails.
pub async fn health(
    listener: TcpListener,
    readiness: watch::Receiver<Readiness>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(show_readiness))
        .with_state(readiness);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).into_future().await
}

async fn show_metrics(State(registry): State<Arc<Registry>>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => {
            let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn show_readiness(State(readiness): State<watch::Receiver<Readiness>>) -> Response {
    let awaited = readiness.borrow().awaited();
    if awaited.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", awaited.join("; "))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_lists_what_is_awaited() {
        let mut readiness = Readiness::default();
        readiness.redis.met = true;
        assert_eq!(readiness.awaited().len(), 3);
        readiness.registry.met = true;
        assert_eq!(readiness.awaited()[0], "the McpGatewayFleet has not been read yet");
        readiness.fleet.met = true;
        assert_eq!(readiness.awaited(), ["permissions are missing or have not been checked yet"]);
        readiness.permissions.problem =
            Some(Problem::new(crate::model::ProblemReason::PermissionsMissing, "grant to the operator: list b"));
        assert!(readiness.awaited()[0].ends_with("(PermissionsMissing: grant to the operator: list b)"));
        readiness.permissions.met = true;
        assert!(readiness.awaited().is_empty());
    }
}
