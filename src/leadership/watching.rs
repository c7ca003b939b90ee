//! A standby's watch of the Lease, so that a released one is taken at once. IO.
//!
//! It is a hint and nothing else: whatever it misses, the regular reads find. It needs `watch` on the Lease; without
//! it a standby is slower, not wrong.

use std::time::Duration;

use futures::stream::{BoxStream, StreamExt};
use futures::{TryStreamExt, stream};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{WatchEvent, WatchParams};
use kube::{Api, Client};

use super::calls::CallError;
use super::metrics::Metrics;
use crate::model::Monotonic;

/// What the API server is asked to end a watch after; the client gives up on it no sooner.
const LONGEST_SECONDS: u32 = 240;
/// The longest pause before a watch that failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// The Lease as it is now.
    Lease(Box<Lease>),
    /// It was deleted.
    Deleted,
    /// Nothing new.
    Nothing,
    /// The watch has ended; in order, or for a reason.
    Ended(Option<CallError>),
}

/// The watch, open or not.
pub(super) struct LeaseWatch {
    api: Api<Lease>,
    namespace: String,
    name: String,
    metrics: Metrics,
    stream: Option<BoxStream<'static, kube::Result<WatchEvent<Lease>>>>,
    shortest_pause: Duration,
    pause: Duration,
    not_before: Option<Monotonic>,
}

impl LeaseWatch {
    pub(super) fn new(client: Client, namespace: &str, name: &str, pause: Duration, metrics: Metrics) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            metrics,
            stream: None,
            shortest_pause: pause,
            pause,
            not_before: None,
        }
    }

    /// Opens it after this resource version, unless it is open or has failed just now. The request itself is made
    /// by [`Self::next`].
    pub(super) fn ensure_open(&mut self, version: &str, now: Monotonic) {
        if self.stream.is_some() || self.not_before.is_some_and(|not_before| now < not_before) {
            return;
        }
        let params = WatchParams::default().fields(&format!("metadata.name={}", self.name)).timeout(LONGEST_SECONDS);
        let (api, version) = (self.api.clone(), version.to_owned());
        let opened = async move { api.watch(&params, &version).await };
        self.stream = Some(stream::once(opened).try_flatten().boxed());
        self.not_before = Some(now.after(self.pause));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    pub(super) const fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Waits for the next event; for ever while it is closed. May be dropped at any time.
    pub(super) async fn next(&mut self) -> Heard {
        let Some(stream) = &mut self.stream else { return std::future::pending().await };
        let heard = match stream.next().await {
            Some(Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease))) => Heard::Lease(Box::new(lease)),
            Some(Ok(WatchEvent::Deleted(_))) => Heard::Deleted,
            Some(Ok(WatchEvent::Bookmark(_))) => Heard::Nothing,
            Some(Ok(WatchEvent::Error(status))) => Heard::Ended(Some(self.failure(kube::Error::Api(status)))),
            Some(Err(error)) => Heard::Ended(Some(self.failure(error))),
            None => Heard::Ended(None),
        };
        match &heard {
            Heard::Ended(reason) => {
                self.metrics.called("watch", reason.as_ref().map_or("Ok", CallError::reason));
                self.stream = None;
            }
            _ => self.pause = self.shortest_pause,
        }
        heard
    }

    fn failure(&self, error: kube::Error) -> CallError {
        CallError::new("watch", &self.namespace, error)
    }
}
