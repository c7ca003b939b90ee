//! Adds and removes the finalizer of registrations. IO: the API server.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tracing::{debug, warn};

use crate::api::v1alpha1::McpGateway;
use crate::api::{FIELD_MANAGER, REGISTRATION_FINALIZER};
use crate::clock;
use crate::leadership::LeadershipToken;
use crate::model::{Monotonic, ObjectName, ObjectUid, ResourceVersion};
use crate::registration::objects::FinalizerChange;
use crate::registry::GatewayRecord;

/// The longest that one change may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Changes in flight at once.
const CONCURRENCY: usize = 16;
/// Between two attempts for one version of an object.
const RETRY: Duration = Duration::from_secs(30);

/// Which changes were tried a moment ago, and how many are in flight.
pub(super) struct Finalizers {
    client: Client,
    tried: HashMap<ObjectName, (ResourceVersion, Monotonic)>,
    in_flight: usize,
}

impl Finalizers {
    pub(super) fn new(client: Client) -> Self {
        Self { client, tried: HashMap::new(), in_flight: 0 }
    }

    /// The change of an object, which [`Self::ended`] must follow; `None` if it was tried for this version of the
    /// object a moment ago, or while too many others are in flight.
    pub(super) fn change(
        &mut self,
        record: &GatewayRecord,
        change: FinalizerChange,
        token: &LeadershipToken,
    ) -> Option<impl Future<Output = ()> + Send + 'static + use<>> {
        if self.in_flight >= CONCURRENCY {
            return None;
        }
        let now = clock::monotonic();
        self.tried.retain(|_, (_, at)| now.since(*at) < RETRY);
        if self.tried.get(&record.name).is_some_and(|(version, _)| *version == record.resource_version) {
            return None;
        }
        let permit = token.begin_write(now)?;
        self.in_flight += 1;
        self.tried.insert(record.name.clone(), (record.resource_version.clone(), now));
        let api: Api<McpGateway> = Api::namespaced(self.client.clone(), &record.name.namespace);
        let (name, uid) = (record.name.clone(), record.uid.clone());
        Some(async move {
            let write = patch(&api, &name.name, &uid, change);
            match tokio::time::timeout(TIMEOUT.min(permit.remaining), write).await {
                Ok(Ok(())) => debug!(object = %name, ?change, "changed the finalizer"),
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {}
                Ok(Err(error)) => warn!(object = %name, %error, "cannot change the finalizer; will retry"),
                Err(_) => warn!(object = %name, "cannot change the finalizer: no answer in time; will retry"),
            }
        })
    }

    /// A change has ended.
    pub(super) const fn ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }
}

/// Changes one element of a list that others write too, so the patch is based on the version that was read.
async fn patch(api: &Api<McpGateway>, name: &str, uid: &ObjectUid, change: FinalizerChange) -> Result<(), kube::Error> {
    let Some(found) = api.get_metadata_opt(name).await? else { return Ok(()) };
    let mut finalizers = found.metadata.finalizers.unwrap_or_default();
    let is_there = finalizers.iter().any(|finalizer| finalizer == REGISTRATION_FINALIZER);
    if found.metadata.uid.as_deref().map(ObjectUid::from).as_ref() != Some(uid)
        || is_there == (change == FinalizerChange::Add)
    {
        return Ok(());
    }
    match change {
        FinalizerChange::Add => finalizers.push(REGISTRATION_FINALIZER.to_owned()),
        FinalizerChange::Remove => finalizers.retain(|finalizer| finalizer != REGISTRATION_FINALIZER),
    }
    let metadata = json!({"resourceVersion": found.metadata.resource_version, "finalizers": finalizers});
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    api.patch_metadata(name, &params, &Patch::Merge(json!({"metadata": metadata}))).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Term;

    #[tokio::test]
    async fn few_finalizers_are_changed_at_once() {
        let kube_url = "http://127.0.0.1:1".parse().unwrap();
        let mut finalizers = Finalizers::new(Client::try_from(kube::Config::new(kube_url)).unwrap());
        let token = LeadershipToken::for_tests(Term::FIRST, clock::monotonic().after(Duration::from_mins(1)));
        let begun = |finalizers: &mut Finalizers| {
            let change = |number: usize| {
                let metadata = json!({"namespace": "a", "name": format!("b{number}"), "resourceVersion": "1"});
                let metadata = serde_json::from_value(metadata).unwrap();
                let record = GatewayRecord::from_parts(&metadata, &json!({}), &json!({})).unwrap();
                finalizers.change(&record, FinalizerChange::Add, &token).is_some()
            };
            (0..100).map(change).filter(|begun| *begun).count()
        };
        assert_eq!(begun(&mut finalizers), 16);
        assert_eq!(begun(&mut finalizers), 0);
    }
}
