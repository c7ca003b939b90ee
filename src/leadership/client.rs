//! The API server's requests for one Lease: each has a time-out, is counted, and is abandoned when the process stops.
//! IO; it decides nothing.

use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{PostParams, WatchEvent, WatchParams};
use kube::core::Status;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use super::{ElectionSettings, ElectorDependencies};
use crate::model::Monotonic;

/// The longest that one request may take (docs/contract.md#leadership).
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the API server keeps a watch open.
const WATCH_SECONDS: u32 = 240;
/// The longest pause between two attempts to watch.
const MAX_PAUSE: Duration = Duration::from_mins(1);

#[derive(Debug, Error)]
pub(super) enum LeaseError {
    /// 409, or a 404 to a PUT: the Lease has changed since it was read.
    #[error("the Lease has changed since it was read")]
    Conflict,
    #[error("needs {verb} on leases.coordination.k8s.io in namespace {namespace}: {message}")]
    Forbidden { verb: &'static str, namespace: String, message: String },
    /// Any other status. After a 4xx nothing was done; a 5xx may come from a proxy, and the request may have been
    /// executed.
    #[error("the API server answered {code}: {message}")]
    Answered { code: u16, message: String },
    /// No response in time. The request may have been executed, or may still be.
    #[error("no answer from the API server within {limit:?}")]
    TimedOut { limit: Duration },
    /// No connection, or no readable response. The request may have been executed.
    #[error("the API server could not be reached: {0}")]
    Transport(#[source] kube::Error),
    /// The process is stopping. The request may have been executed.
    #[error("abandoned because the process is stopping")]
    Stopped,
}

impl LeaseError {
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Forbidden { .. } => "Forbidden",
            Self::Answered { code: 429, .. } => "Throttled",
            Self::Answered { code: 400..=499, .. } => "Rejected",
            Self::Answered { .. } => "ServerFault",
            Self::TimedOut { .. } => "TimedOut",
            Self::Transport(_) => "Transport",
            Self::Stopped => "Stopped",
        }
    }

    /// Whether the API server may have executed the request, or may still do so.
    pub(super) const fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Conflict | Self::Forbidden { .. } | Self::Answered { code: 400..=499, .. } => false,
            Self::Answered { .. } | Self::TimedOut { .. } | Self::Transport(_) | Self::Stopped => true,
        }
    }

    fn new(verb: &'static str, namespace: &str, error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Transport(error) };
        let Status { code, message, .. } = *status;
        match code {
            409 => Self::Conflict,
            404 if verb == "update" => Self::Conflict,
            403 => Self::Forbidden { verb, namespace: namespace.to_owned(), message },
            _ => Self::Answered { code, message },
        }
    }
}

/// A change of the watched Lease; `None` means that it was deleted.
pub(super) type LeaseChange = Result<Option<Lease>, LeaseError>;

pub(super) struct LeaseClient {
    api: Api<Lease>,
    namespace: String,
    name: String,
    stop: CancellationToken,
    metrics: Metrics,
}

impl LeaseClient {
    pub(super) fn new(settings: &ElectionSettings, deps: &ElectorDependencies, metrics: Metrics) -> Self {
        let (namespace, name) = (settings.namespace.clone(), settings.name.clone());
        let api = Api::namespaced(deps.client.clone(), &namespace);
        Self { api, namespace, name, stop: deps.stop.clone(), metrics }
    }

    /// Allows requests while the process is stopping: for the release.
    pub(super) fn ignore_stop(&mut self) {
        self.stop = CancellationToken::new();
    }

    /// GET; `None` if the Lease does not exist.
    pub(super) async fn get(&self, limit: Duration) -> Result<Option<Lease>, LeaseError> {
        self.request("get", limit, self.api.get_opt(&self.name)).await
    }

    pub(super) async fn update(&self, lease: &Lease, limit: Duration) -> Result<Lease, LeaseError> {
        self.request("update", limit, self.api.replace(&self.name, &PostParams::default(), lease)).await
    }

    pub(super) async fn create(&self, lease: &Lease, limit: Duration) -> Result<Lease, LeaseError> {
        self.request("create", limit, self.api.create(&PostParams::default(), lease)).await
    }

    async fn request<T>(
        &self,
        verb: &'static str,
        limit: Duration,
        request: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, LeaseError> {
        let result = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(LeaseError::Stopped),
            result = tokio::time::timeout(limit, request) => match result {
                Ok(result) => result.map_err(|error| LeaseError::new(verb, &self.namespace, error)),
                Err(_) => Err(LeaseError::TimedOut { limit }),
            },
        };
        self.metrics.requested(verb, result.as_ref().err());
        result
    }

    /// The changes after this resourceVersion. The request is sent when the stream is polled first.
    ///
    /// kube's `watch_object` does not fit: it needs `list` on Leases, and lists again after each failure.
    pub(super) fn watch(&self, version: &str) -> BoxStream<'static, LeaseChange> {
        let fields = format!("metadata.name={}", self.name);
        let params = WatchParams::default().fields(&fields).timeout(WATCH_SECONDS);
        let (api, version, namespace) = (self.api.clone(), version.to_owned(), self.namespace.clone());
        let events = stream::once(async move { api.watch(&params, &version).await }).try_flatten();
        let changes = events.try_filter_map(|event| async move {
            match event {
                WatchEvent::Added(lease) | WatchEvent::Modified(lease) => Ok(Some(Some(lease))),
                WatchEvent::Deleted(_) => Ok(Some(None)),
                WatchEvent::Bookmark(_) => Ok(None),
                WatchEvent::Error(status) => Err(kube::Error::Api(status)),
            }
        });
        changes.map_err(move |error| LeaseError::new("watch", &namespace, error)).boxed()
    }
}

/// A standby's watch on the Lease, so that it acquires a released Lease at once. It is opened again after a pause,
/// which doubles with every attempt that reports nothing.
///
/// The watch is only a hint: the regular reads find whatever it misses. Without the permission to `watch` a standby is
/// slower, but correct.
pub(super) struct LeaseWatch {
    changes: Option<BoxStream<'static, LeaseChange>>,
    min_pause: Duration,
    pause: Duration,
    not_before: Option<Monotonic>,
}

impl LeaseWatch {
    pub(super) const fn new(min_pause: Duration) -> Self {
        Self { changes: None, min_pause, pause: min_pause, not_before: None }
    }

    /// Opens the watch after this resourceVersion, unless it is open or the pause has not passed. The request is sent
    /// by [`Self::next`].
    pub(super) fn ensure_open(&mut self, client: &LeaseClient, version: &str, now: Monotonic) {
        if self.changes.is_some() || self.not_before.is_some_and(|not_before| now < not_before) {
            return;
        }
        self.changes = Some(client.watch(version));
        self.not_before = Some(now.after(self.pause));
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    pub(super) fn close(&mut self) {
        self.changes = None;
    }

    /// The next change; pending while the watch is closed. `None` or an error means that the watch has ended. Cancel
    /// safe.
    pub(super) async fn next(&mut self) -> Option<LeaseChange> {
        let Some(changes) = &mut self.changes else { return std::future::pending().await };
        let change = changes.next().await;
        if matches!(change, Some(Ok(_))) {
            self.pause = self.min_pause;
        } else {
            self.changes = None;
        }
        change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(verb: &'static str, code: u16) -> LeaseError {
        let status = Status { code, message: "words".into(), ..Status::default() };
        LeaseError::new(verb, "fleet", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_forbidden_request_names_verb_resource_and_namespace() {
        let text = answered("update", 403).to_string();
        assert!(text.contains("needs update on leases.coordination.k8s.io in namespace fleet"), "{text}");
    }

    #[test]
    fn only_a_4xx_means_that_the_request_was_not_executed() {
        for code in [400, 403, 404, 409, 422, 429] {
            assert!(!answered("create", code).outcome_is_unknown(), "{code}");
        }
        for code in [500, 502, 503, 504] {
            assert!(answered("create", code).outcome_is_unknown(), "{code}");
        }
        assert!(LeaseError::TimedOut { limit: REQUEST_TIMEOUT }.outcome_is_unknown());
    }

    #[test]
    fn updating_a_deleted_lease_is_a_conflict() {
        assert_eq!(answered("update", 404).reason(), "Conflict");
        assert_eq!(answered("create", 404).reason(), "Rejected");
    }
}
