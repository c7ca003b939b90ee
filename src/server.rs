//! The HTTP listeners: metrics, health, and the API for gateways ([`api`]). They change nothing, except that the API
//! records completed polls.

pub mod api;
mod exposition;
mod listener;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::fleet::object::FleetObject;
use crate::model::Problem;
use crate::registry;
pub(crate) use listener::{listen, serve_on_thread};

/// What must happen once before this replica is ready, and why it has not. See docs/contract.md#command-line.
#[derive(Clone)]
pub(crate) struct Readiness {
    pub(crate) registry: registry::Receiver,
    pub(crate) registry_problem: watch::Receiver<Option<Problem>>,
    pub(crate) fleet: watch::Receiver<FleetObject>,
    pub(crate) fleet_problem: watch::Receiver<Option<Problem>>,
    /// Whether every permission that is not optional was granted once.
    pub(crate) allowed: watch::Receiver<bool>,
    pub(crate) permissions_problem: watch::Receiver<Option<Problem>>,
    /// Whether Redis has answered once, or there is none.
    pub(crate) redis: watch::Receiver<bool>,
}

impl Readiness {
    /// What this replica still waits for; empty when ready.
    fn awaited(&self) -> Vec<String> {
        let problem = |problem: &watch::Receiver<Option<Problem>>| problem.borrow().clone();
        let all = [
            (self.registry.borrow().is_some(), "the registry has not been read yet", problem(&self.registry_problem)),
            (
                self.fleet.borrow().suspend().is_some(),
                "the McpGatewayFleet has not been read yet",
                problem(&self.fleet_problem),
            ),
            (
                *self.allowed.borrow(),
                "permissions are missing or have not been checked yet",
                problem(&self.permissions_problem),
            ),
            (*self.redis.borrow(), "Redis has not answered yet", None),
        ];
        let awaited = all.into_iter().filter(|(is_met, ..)| !is_met);
        awaited
            .map(|(_, text, problem)| match problem {
                None => text.to_owned(),
                Some(problem) => format!("{text} ({}: {})", problem.reason, problem.message()),
            })
            .collect()
    }
}

/// `/metrics`.
pub(crate) fn metrics(registry: Registry) -> Router {
    Router::new().route("/metrics", get(show_metrics)).with_state(Arc::new(registry))
}

/// `/livez` and `/readyz`.
///
/// Live means that the process answers: a restart would not repair a fault outside of it. Ready means that it was able
/// to work once. Later faults outside do not change that; otherwise all replicas would leave a Service at once.
pub(crate) fn health(readiness: Readiness) -> Router {
    Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(show_readiness)).with_state(readiness)
}

async fn show_metrics(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Response {
    let format = exposition::Format::accepted(&headers);
    match format.write(&registry) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn show_readiness(State(readiness): State<Readiness>) -> Response {
    let awaited = readiness.awaited();
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
        let (snapshots, registry) = watch::channel(None);
        let (objects, fleet) = watch::channel(FleetObject::Unread);
        let (problem, permissions_problem) = watch::channel(None);
        let (allowing, allowed) = watch::channel(false);
        let [registry_problem, fleet_problem] = [watch::channel(None).1, watch::channel(None).1];
        let redis = watch::channel(true).1;
        let readiness =
            Readiness { registry, registry_problem, fleet, fleet_problem, allowed, permissions_problem, redis };
        assert_eq!(readiness.awaited().len(), 3);
        snapshots.send_replace(Some(Arc::default()));
        assert_eq!(readiness.awaited()[0], "the McpGatewayFleet has not been read yet");
        objects.send_replace(FleetObject::Absent);
        assert_eq!(readiness.awaited(), ["permissions are missing or have not been checked yet"]);
        let missing = Problem::new(crate::model::ProblemReason::PermissionsMissing, "grant to the operator: list b");
        problem.send_replace(Some(missing));
        assert!(readiness.awaited()[0].ends_with("(PermissionsMissing: grant to the operator: list b)"));
        allowing.send_replace(true);
        assert!(readiness.awaited().is_empty());
    }
}
