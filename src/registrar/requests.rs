//! Sends one request to `ContextForge`. IO: `ContextForge`, through [`crate::contextforge`].

use std::sync::Arc;

use tracing::debug;

use super::metrics::Metrics;
use crate::contextforge::call_error::CallError;
use crate::contextforge::entry::Entry;
use crate::contextforge::{Access, ContextForge, EntryList};
use crate::model::GatewayId;
use crate::registration::desired::DesiredGateway;
use crate::registration::ownership::Creator;
use crate::registration::reconcile::{Answer, Call};

/// Lists all entries. The files are read each time, so a renewed token is used from the next round on.
pub(super) async fn list(access: &Access, metrics: &Metrics) -> Result<(Arc<ContextForge>, EntryList), CallError> {
    let listed = async {
        let opened = ContextForge::open(access).await;
        let contextforge = opened.map_err(|error| CallError::Unreachable(error.to_string()))?;
        let entries = contextforge.list().await?;
        Ok((Arc::new(contextforge), entries))
    };
    let listed = listed.await;
    metrics.request("list", listed.as_ref().err());
    listed
}

/// Asks whether there is an entry that the list does not have.
pub(super) async fn ask(contextforge: &ContextForge, id: &GatewayId, metrics: &Metrics) -> Result<Entry, CallError> {
    let answer = contextforge.get(id).await;
    metrics.request("get", answer.as_ref().err());
    answer
}

/// Makes a call for an object. `gateway`: what the entry should be, for creates and updates.
pub(super) async fn call(
    contextforge: &ContextForge,
    call: &Call,
    gateway: Option<&DesiredGateway>,
    creator: &Creator,
    metrics: &Metrics,
) -> Result<Answer, CallError> {
    let entry = |entry| Answer::Entry(Box::new(entry));
    let answer = match (call, gateway) {
        (Call::Create, Some(gateway)) => contextforge.create(gateway, creator).await.map(entry),
        (Call::Update(id), Some(gateway)) => contextforge.update(id, gateway).await.map(entry),
        // Not reached: these calls always have one.
        (Call::Create | Call::Update(_), None) => Err(CallError::Unreachable("nothing to send".to_owned())),
        (Call::SetEnabled(id, enabled), _) => contextforge.set_enabled(id, *enabled).await.map(|()| Answer::Done),
        (Call::Delete(id), _) => contextforge.delete(id).await.map(|()| Answer::Done),
        (Call::Get(id), _) => contextforge.get(id).await.map(entry),
    };
    let error = answer.as_ref().err();
    metrics.request(call.name(), error);
    debug!(object = %creator.object, call = call.name(), error = error.map(display), "called ContextForge");
    answer
}
