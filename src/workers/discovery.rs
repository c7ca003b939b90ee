//! Finds the endpoints: those given as URLs, and every address behind the given Services. IO: knows the EndpointSlices
//! of the API server and nothing else; writes nothing.
//!
//! Out: the latest list on a `watch` channel, `None` until every Service has been read in full, so that half a fleet is
//! never taken for the whole. What the flags mean is in [`source`], what a slice means in [`slices`]; both are pure.

mod slices;
mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::{StreamExt, stream};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Client, ResourceExt};
use reqwest::Url;
use tokio::sync::watch;
use tracing::{info, warn};

use super::metrics::Metrics;
use crate::kube_error;
use crate::model::EndpointId;
use slices::{SliceError, addresses, one_family_per_pod};
pub use source::{Port, Scheme, ServiceSource, SourceError, Sources};

/// A dead connection is noticed 5 s after this (docs/contract.md#faults: within 65 s), if the client has a read
/// time-out.
const WATCH_TIMEOUT_SECONDS: u32 = 55;

/// The label with which Kubernetes links a slice to its Service.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// One address that reports usage. Printed without query and user info.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// What is shown and compared.
    pub id: EndpointId,
    /// The URL to request. Its query may hold a secret.
    pub url: Url,
}

impl Endpoint {
    /// The endpoint at a URL. Its id is the URL without query and user info.
    pub fn new(url: Url) -> Self {
        let authority = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        Self { id: EndpointId::new(&format!("{}://{authority}{}", url.scheme(), url.path())), url }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.id)
    }
}

/// How many addresses of a slice may be those of workers.
pub fn usable_addresses(slice: &EndpointSlice) -> usize {
    slices::usable(slice).0.len()
}

/// The known endpoints in order of their ids, or `None` while some Service has not been read.
pub type Endpoints = Option<Arc<[Endpoint]>>;

/// Watches until it is dropped, or until all receivers are gone. Errors of a watch are logged, counted and retried with
/// backoff, forever: a Service that cannot be read is never taken for empty.
///
/// `path`: `--worker-path`, which is appended to the addresses of Services. Fixed URLs are complete.
pub async fn run(
    client: Client,
    sources: Sources,
    path: String,
    endpoints: watch::Sender<Endpoints>,
    metrics: Metrics,
) {
    let (mut services, mut events) = (Vec::new(), stream::SelectAll::new());
    for (index, source) in sources.services.into_iter().enumerate() {
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &source.namespace);
        let config = watcher::Config::default()
            .labels(&format!("{SERVICE_LABEL}={}", source.name))
            .timeout(WATCH_TIMEOUT_SECONDS);
        let (store, writer) = reflector::store();
        let watch = watch_objects(api, config).default_backoff();
        let watch = watch.modify(|slice| slice.managed_fields_mut().clear()).reflect(writer);
        events.push(watch.map(move |event| (index, event)).boxed());
        services.push(Service { source, store, is_read: false, failing: None, slice_error: None });
    }
    publish(&endpoints, &sources.endpoints, &mut services, &path, &metrics);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = endpoints.closed() => return,
        };
        match event {
            Some((_, Ok(Event::Init | Event::InitApply(_)))) => {}
            Some((index, Ok(_))) => {
                services[index].note_success();
                publish(&endpoints, &sources.endpoints, &mut services, &path, &metrics);
            }
            Some((index, Err(error))) => services[index].log_failure(&error, &metrics),
            // No Service to watch: the fixed list is complete. If the task ended, that would look like a failure.
            None => return endpoints.closed().await,
        }
    }
}

/// Publishes all endpoints, each once. Wakes the receivers only if the list changed.
fn publish(
    sender: &watch::Sender<Endpoints>,
    fixed: &[Endpoint],
    services: &mut [Service],
    path: &str,
    metrics: &Metrics,
) {
    let urls: Vec<Option<Vec<Url>>> = services.iter_mut().map(|service| service.urls(path, metrics)).collect();
    let found: Endpoints = urls.into_iter().collect::<Option<Vec<_>>>().map(|urls| {
        let endpoints = urls.into_iter().flatten().map(Endpoint::new);
        // The fixed ones come last, so that an address that was also given as a URL keeps its query.
        let all = endpoints.chain(fixed.iter().cloned()).map(|endpoint| (endpoint.id.clone(), endpoint));
        all.collect::<BTreeMap<_, _>>().into_values().collect()
    });
    sender.send_if_modified(|endpoints| {
        let changed = *endpoints != found;
        if let (true, Some(found)) = (changed, &found) {
            info!(endpoints = found.len(), "worker endpoints known");
        }
        *endpoints = found;
        changed
    });
}

/// A watched Service.
struct Service {
    source: ServiceSource,
    /// Its slices.
    store: Store<EndpointSlice>,
    /// They have been read in full once.
    is_read: bool,
    /// Why the watch fails, as logged last.
    failing: Option<&'static str>,
    /// Why a slice cannot be used, as logged last.
    slice_error: Option<SliceError>,
}

impl Service {
    fn note_success(&mut self) {
        self.is_read = true;
        if self.failing.take().is_some() {
            info!(service = %self.source, "reading the EndpointSlices recovered");
        }
    }

    /// The URLs of its endpoints; `None` until the slices have been read. Logs once that the slices do not have the
    /// port that the flag names, or have addresses that are not used.
    fn urls(&mut self, path: &str, metrics: &Metrics) -> Option<Vec<Url>> {
        if !self.is_read {
            return None;
        }
        let (mut urls, mut slice_error) = (Vec::new(), None);
        for slice in self.store.state() {
            let (found, error) = addresses(&slice, &self.source, path);
            urls.extend(found);
            slice_error = slice_error.max(error);
        }
        if let Some(error) = slice_error.filter(|error| self.slice_error != Some(*error)) {
            let reason = error.into();
            metrics.discovery.get_or_create(&[("reason", reason)]).inc();
            warn!(service = %self.source, reason, hint = %error, "some endpoints of the worker Service are not used");
        }
        self.slice_error = slice_error;
        Some(one_family_per_pod(urls))
    }

    /// Counts each failure of a watch. Logs it once, until the watch recovers or fails for another reason.
    fn log_failure(&mut self, error: &watcher::Error, metrics: &Metrics) {
        let reason = reason(error);
        metrics.discovery.get_or_create(&[("reason", reason)]).inc();
        if self.failing.replace(reason) != Some(reason) {
            warn!(service = %self.source, reason, error = %describe(error, &self.source),
                "reading the EndpointSlices failed, will retry");
        }
    }
}

fn reason(error: &watcher::Error) -> &'static str {
    match (kube_error::answer(error), error) {
        (Some(status), _) if status.is_forbidden() => "Forbidden",
        (_, watcher::Error::InitialListFailed(_)) => "ListFailed",
        _ => "WatchFailed",
    }
}

/// Describes an error of the watch, with what to do where that is known.
fn describe(error: &watcher::Error, source: &ServiceSource) -> String {
    match kube_error::answer(error) {
        Some(status) if status.is_forbidden() => format!(
            "forbidden: grant get, list and watch on endpointslices.discovery.k8s.io in namespace {} to the operator",
            source.namespace
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
