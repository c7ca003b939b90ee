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
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Client, ResourceExt};
use reqwest::Url;
use tokio::sync::watch;
use tracing::{info, warn};

use super::metrics::Metrics;
use crate::kube_error;
use crate::model::EndpointId;
use slices::{SliceError, addresses};
pub use source::{EndpointUrl, Port, Scheme, ServiceSource, Source, SourceError};

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
        Self { id: id_of(&url), url }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.id)
    }
}

fn id_of(url: &Url) -> EndpointId {
    let authority = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    EndpointId::new(&format!("{}://{authority}{}", url.scheme(), url.path()))
}

/// The known endpoints in order of their ids, or `None` while some Service has not been read.
pub type Endpoints = Option<Arc<[Endpoint]>>;

/// Watches until it is dropped, or until all receivers are gone. Errors of a watch are logged, counted and retried with
/// backoff, forever: a Service that cannot be read is never taken for empty.
///
/// `path`: `--worker-path`, which is appended to the addresses of Services. Fixed URLs are complete.
pub async fn run(
    client: Client,
    sources: Vec<Source>,
    path: String,
    endpoints: watch::Sender<Endpoints>,
    metrics: Metrics,
) {
    let mut known = KnownEndpoints::new(&sources, path);
    known.publish(&endpoints);
    let watches = known.services.iter().enumerate().map(|(index, service)| {
        let api: Api<EndpointSlice> = Api::namespaced(client.clone(), &service.source.namespace);
        let config = watcher::Config::default()
            .labels(&format!("{SERVICE_LABEL}={}", service.source.name))
            .timeout(WATCH_TIMEOUT_SECONDS);
        watch_objects(api, config).default_backoff().map(move |event| (index, event)).boxed()
    });
    let mut events = stream::select_all(watches.collect::<Vec<_>>());
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = endpoints.closed() => return,
        };
        match event {
            Some((index, Ok(event))) => {
                if known.services[index].apply(event) {
                    known.services[index].log_slice_error(&metrics);
                    known.publish(&endpoints);
                }
            }
            Some((index, Err(error))) => known.services[index].log_failure(&error, &metrics),
            // No Service to watch: the fixed list is complete. If the task ended, that would look like a failure.
            None => return endpoints.closed().await,
        }
    }
}

/// All sources, and what is known of them so far.
struct KnownEndpoints {
    fixed: BTreeMap<EndpointId, Url>,
    services: Vec<Service>,
    path: String,
}

impl KnownEndpoints {
    fn new(sources: &[Source], path: String) -> Self {
        let mut known = Self { fixed: BTreeMap::new(), services: Vec::new(), path };
        for source in sources {
            match source {
                Source::Fixed(urls) => known.fixed.extend(urls.iter().map(|url| (id_of(url.url()), url.url().clone()))),
                Source::Service(service) => known.services.push(Service::new(service.clone())),
            }
        }
        known
    }

    /// All endpoints, each once; `None` while some Service has not been read.
    fn endpoints(&self) -> Endpoints {
        let mut all = BTreeMap::new();
        for service in &self.services {
            for url in &service.read.as_ref()?.urls(&self.path) {
                all.insert(id_of(url), url.clone());
            }
        }
        // Last, so that an address that was also given as a URL keeps its query.
        all.extend(self.fixed.clone());
        Some(all.into_iter().map(|(id, url)| Endpoint { id, url }).collect())
    }

    /// Wakes the receivers only if the list changed.
    fn publish(&self, sender: &watch::Sender<Endpoints>) {
        let found = self.endpoints();
        sender.send_if_modified(|endpoints| {
            let changed = *endpoints != found;
            if let (true, Some(found)) = (changed, &found) {
                info!(endpoints = found.len(), "worker endpoints known");
            }
            *endpoints = found;
            changed
        });
    }
}

/// A watched Service.
struct Service {
    source: ServiceSource,
    /// Its slices; `None` until they have been read in full once.
    read: Option<Slices>,
    /// The list being read. It replaces the old one when it is complete.
    incoming: Slices,
    /// Why the watch fails, as logged last.
    failing: Option<&'static str>,
    /// Why a slice cannot be used, as logged last.
    slice_error: Option<SliceError>,
}

/// The base URLs of the slices of one Service, by the name of the slice.
#[derive(Default)]
struct Slices(BTreeMap<String, Result<Vec<Url>, SliceError>>);

impl Slices {
    fn urls(&self, path: &str) -> Vec<Url> {
        let bases = self.0.values().filter_map(|slice| slice.as_ref().ok()).flatten();
        // Set, not joined: a path that starts with two slashes would name another host.
        let at_path = |base: &Url| {
            let mut url = base.clone();
            url.set_path(path);
            url
        };
        bases.map(at_path).collect()
    }

    fn error(&self) -> Option<SliceError> {
        self.0.values().find_map(|slice| slice.as_ref().err().copied())
    }
}

impl Service {
    fn new(source: ServiceSource) -> Self {
        Self { source, read: None, incoming: Slices::default(), failing: None, slice_error: None }
    }

    /// Applies an event. Returns whether the list may have changed.
    fn apply(&mut self, event: Event<EndpointSlice>) -> bool {
        match event {
            Event::Init => {
                self.incoming = Slices::default();
                return false;
            }
            Event::InitApply(slice) => {
                self.incoming.0.insert(slice.name_any(), addresses(&slice, &self.source));
                return false;
            }
            Event::InitDone => self.read = Some(std::mem::take(&mut self.incoming)),
            Event::Apply(slice) => {
                if let Some(Slices(slices)) = &mut self.read {
                    slices.insert(slice.name_any(), addresses(&slice, &self.source));
                }
            }
            Event::Delete(slice) => {
                if let Some(Slices(slices)) = &mut self.read {
                    slices.remove(&slice.name_any());
                }
            }
        }
        if self.failing.take().is_some() {
            info!(service = %self.source, "reading the EndpointSlices recovered");
        }
        true
    }

    /// Logs once that the slices do not have the port that the flag names.
    fn log_slice_error(&mut self, metrics: &Metrics) {
        let slice_error = self.read.as_ref().and_then(Slices::error);
        if let Some(error) = slice_error.filter(|error| self.slice_error != Some(*error)) {
            metrics.count_discovery_failure(error.reason());
            warn!(service = %self.source, reason = error.reason(), hint = %error, "worker Service has no usable port");
        }
        self.slice_error = slice_error;
    }

    /// Counts each failure of a watch. Logs it once, until the watch recovers or fails for another reason.
    fn log_failure(&mut self, error: &watcher::Error, metrics: &Metrics) {
        let reason = reason(error);
        metrics.count_discovery_failure(reason);
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
