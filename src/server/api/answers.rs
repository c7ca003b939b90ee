//! The handlers, one for each path.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::Api;
use super::parameters::{COMPLETED, POLL, Parameters, SERVER};
use super::problem::ProblemDetails;
use crate::model::{ServerUrl, Tier};
use crate::poll::tier_word;
use crate::registry::RegistrySnapshot;

type Answer = Result<Response, ProblemDetails>;

fn answer(value: &impl Serialize) -> Response {
    // Cannot fail: the values are plain data with string keys.
    let body = serde_json::to_vec(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Returns the tier of a server and whether it is registered. Without Redis, the tier comes from the statuses.
pub(super) async fn classification(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer {
    let snapshot = registry(&api);
    let url = Parameters::from_query(query.as_deref(), &["url"])?.server(snapshot.as_deref().ok())?;
    let snapshot = snapshot?;
    let tier = if api.polls.has_store() { api.polls.tier(&url).await? } else { tier_in_statuses(&snapshot, &url) };
    let registered = snapshot.by_url(url.expose()).is_some();
    Ok(answer(&json!({"url": url, "tier": tier.map(tier_word), "registered": registered})))
}

/// Returns whether a poll is due. If Redis fails, the poll is due.
pub(super) async fn due(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer {
    let poll = Parameters::from_query(query.as_deref(), POLL)?.poll(registry(&api).as_deref().ok())?;
    let (decision, _error) = api.polls.due(&poll).await;
    Ok(answer(&decision))
}

/// Records a completed poll. Writes nothing for a server that is not registered: otherwise a client could fill Redis.
pub(super) async fn completed(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let snapshot = registry(&api);
    let parameters = Parameters::from_body(request, COMPLETED).await?;
    let poll = parameters.poll(snapshot.as_deref().ok())?;
    let ttl = parameters.ttl_seconds(poll.kind)?;
    if snapshot?.by_url(poll.url.expose()).is_some() {
        api.polls.completed_with_ttl(&poll, ttl).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Records that a server has signalled a change of its lists, if it is registered.
pub(super) async fn changed(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let snapshot = registry(&api);
    let parameters = Parameters::from_body(request, SERVER).await?;
    let (url, gateway) = (parameters.server(snapshot.as_deref().ok())?, parameters.gateway()?);
    if snapshot?.by_url(url.expose()).is_some() {
        api.polls.changed(&url, gateway.as_ref()).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Returns the status of the fleet, and on the leader its last cycle.
pub(super) async fn fleet(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer {
    Parameters::from_query(query.as_deref(), &[])?;
    Ok(answer(&api.fleet.report().await?))
}

fn registry(api: &Api) -> Result<Arc<RegistrySnapshot>, ProblemDetails> {
    api.registry.borrow().clone().ok_or(ProblemDetails::REGISTRY_NOT_READ)
}

/// The tier of a server in the statuses of its objects.
fn tier_in_statuses(snapshot: &RegistrySnapshot, url: &ServerUrl) -> Option<Tier> {
    let place = snapshot.by_url(url.expose())?;
    snapshot.gateways().iter().find_map(|gateway| {
        let is_current = gateway.registration.place() == Some(place) && gateway.record.status_is_current();
        gateway.record.status.tier.filter(|_| is_current)
    })
}
