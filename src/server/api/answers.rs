//! The answers, one function for each path.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::Api;
use super::asked::Asked;
use super::problem::ProblemDetails;
use crate::model::{ServerUrl, Tier};
use crate::poll::tier_word;
use crate::registry::RegistrySnapshot;

type Answer = Result<Response, ProblemDetails>;

fn answer(value: &impl Serialize) -> Response {
    // Plain data with text for names, which JSON has a form for.
    let body = serde_json::to_vec(value).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// The tier of a server, and whether it is registered. Without Redis the tier is the one in the statuses.
pub(super) async fn classification(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer {
    let url = Asked::query(query.as_deref(), &["url"])?.server()?;
    let snapshot = registry(&api)?;
    let tier = if api.polls.has_store() { api.polls.tier(&url).await? } else { stated(&snapshot, &url) };
    let registered = snapshot.by_url(url.expose()).is_some();
    Ok(answer(&json!({"url": url, "tier": tier.map(tier_word), "registered": registered})))
}

/// Whether a poll is due. It is never refused for a fault of ours: then it is due.
pub(super) async fn due(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer {
    let poll = Asked::query(query.as_deref(), &["url", "type", "gatewayId"])?.poll()?;
    let (decision, _told) = api.polls.due(&poll).await;
    Ok(answer(&decision))
}

/// Remembers a completed poll of a registered server; of another nothing is written, or anybody who may ask could fill
/// Redis.
pub(super) async fn completed(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let poll = Asked::body(request).await?.poll()?;
    if registry(&api)?.by_url(poll.url.expose()).is_some() {
        api.polls.completed(&poll).await?;
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The status of the fleet, and on the leader its last cycle.
pub(super) async fn fleet(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Answer {
    Asked::query(query.as_deref(), &[])?;
    Ok(answer(&api.fleet.report().await?))
}

fn registry(api: &Api) -> Result<Arc<RegistrySnapshot>, ProblemDetails> {
    api.registry.borrow().clone().ok_or(ProblemDetails::REGISTRY_NOT_READ)
}

/// The tier that the statuses state for a server.
fn stated(snapshot: &RegistrySnapshot, url: &ServerUrl) -> Option<Tier> {
    let place = snapshot.by_url(url.expose())?;
    snapshot.gateways().iter().find_map(|gateway| {
        let current = gateway.registration.place() == Some(place) && gateway.record.status_is_current();
        gateway.record.status.tier.filter(|_| current)
    })
}
