//! One attempt to list all objects and to watch them from there, until something fails. IO: the API server.
//!
//! The list is streamed as the first events of the watch (`sendInitialEvents`), which an API server serves from its
//! cache while this program parses. Where the API server does not offer that, or the stream fails before the list is
//! complete, the list is read in pages.
//!
//! kube's `watcher` also streams lists, but from version 0, which may be older than what was seen before: a registry
//! could go back in time. Here, the list is at least as new as the request.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::Resource;
use kube::api::{Api, ListParams, ObjectList, WatchEvent, WatchParams};
use kube::runtime::watcher::{Error, Event};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

use super::PAGE_SIZE;
use super::retrying_watch::WatchResult;
use super::watched_object::WatchedObject;

/// A watch without any event for so much longer than its time-out has lost its connection.
const GRACE: Duration = Duration::from_secs(5);

/// The annotation of the bookmark after the last object of a streamed list.
const END_OF_LIST: &str = "k8s.io/initial-events-end";

/// How an attempt ends.
#[derive(Debug)]
pub(super) enum End {
    Failed(Error),
    /// Nobody receives events any more.
    ReceiverGone,
}

type Events = BoxStream<'static, kube::Result<WatchEvent<WatchedObject>>>;

pub(super) struct Attempt<'a> {
    index: usize,
    api: &'a Api<WatchedObject>,
    params: &'a WatchParams,
    results: &'a mpsc::Sender<(usize, WatchResult)>,
    listed: bool,
}

impl<'a> Attempt<'a> {
    /// `index`: the number of the watch, which is sent with each event. `params` have a time-out.
    pub(super) const fn new(
        index: usize,
        api: &'a Api<WatchedObject>,
        params: &'a WatchParams,
        results: &'a mpsc::Sender<(usize, WatchResult)>,
    ) -> Self {
        Self { index, api, params, results, listed: false }
    }

    /// Whether the list is complete.
    pub(super) const fn listed(&self) -> bool {
        self.listed
    }

    /// Lists and watches.
    pub(super) async fn run(&mut self) -> End {
        match self.list_and_watch().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn list_and_watch(&mut self) -> Result<Infallible, End> {
        let (mut version, mut events) = match self.stream_list().await? {
            Some((version, events)) => (version, Some(events)),
            None => (self.list_pages().await?, None),
        };
        self.listed = true;
        self.send(Event::InitDone).await?;
        loop {
            let mut events = match events.take() {
                Some(events) => events,
                None => {
                    self.start(self.params, &version).await.map_err(|error| failed(Error::WatchStartFailed(error)))?
                }
            };
            while let Some(event) = self.next(&mut events).await {
                let (object, event): (_, fn(_) -> _) = match event {
                    Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => (object, Event::Apply),
                    Ok(WatchEvent::Deleted(object)) => (object, Event::Delete),
                    Ok(WatchEvent::Bookmark(bookmark)) => {
                        version = bookmark.metadata.resource_version;
                        continue;
                    }
                    Ok(WatchEvent::Error(status)) => return Err(failed(Error::WatchError(status.boxed()))),
                    Err(error) => return Err(failed(Error::WatchFailed(error))),
                };
                version = object.meta().resource_version.clone().ok_or_else(|| failed(Error::NoResourceVersion))?;
                self.send(event(object)).await?;
            }
        }
    }

    /// Reads the list as the first events of a watch. Returns its version and the rest of the watch; `None` if that
    /// does not work, for whatever reason: if the list in pages fails too, its error is reported.
    async fn stream_list(&self) -> Result<Option<(String, Events)>, End> {
        self.send(Event::Init).await?;
        let params = self.params.clone().initial_events();
        // Without a version, the list is at least as new as the request.
        let mut events = match self.start(&params, "").await {
            Ok(events) => events,
            Err(error) => {
                debug!(%error, "the list is not streamed");
                return Ok(None);
            }
        };
        loop {
            match self.next(&mut events).await {
                Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                    self.send(Event::InitApply(object)).await?;
                }
                Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                    if bookmark.metadata.annotations.contains_key(END_OF_LIST) {
                        return Ok(Some((bookmark.metadata.resource_version, events)));
                    }
                }
                ended => {
                    debug!(event = ?ended, "the list was not streamed to its end");
                    return Ok(None);
                }
            }
        }
    }

    /// Reads the list in pages. Returns its version.
    async fn list_pages(&self) -> Result<String, End> {
        self.send(Event::Init).await?;
        let mut pages = pin!(pages(self.api, self.params.label_selector.clone()));
        let mut version = None;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| failed(Error::InitialListFailed(error)))?;
            for object in page.items {
                self.send(Event::InitApply(object)).await?;
            }
            version = page.metadata.resource_version.filter(|version| !version.is_empty());
        }
        version.ok_or_else(|| failed(Error::NoResourceVersion))
    }

    async fn start(&self, params: &WatchParams, version: &str) -> kube::Result<Events> {
        Ok(self.api.watch(params, version).await?.boxed())
    }

    /// The next event; `None` at the end of the stream, or when the connection seems to be lost.
    async fn next(&self, events: &mut Events) -> Option<kube::Result<WatchEvent<WatchedObject>>> {
        let limit = Duration::from_secs(self.params.timeout.unwrap_or_default().into()) + GRACE;
        timeout(limit, events.next()).await.unwrap_or_default()
    }

    async fn send(&self, event: Event<WatchedObject>) -> Result<(), End> {
        self.results.send((self.index, Ok(event))).await.map_err(|_| End::ReceiverGone)
    }
}

const fn failed(error: Error) -> End {
    End::Failed(error)
}

/// All objects, page by page.
pub(super) fn pages(
    api: &Api<WatchedObject>,
    selector: Option<String>,
) -> impl Stream<Item = kube::Result<ObjectList<WatchedObject>>> {
    let first = ListParams { label_selector: selector, ..ListParams::default() }.limit(PAGE_SIZE);
    stream::try_unfold(Some(first), async |params| {
        let Some(params) = params else { return Ok(None) };
        let page = api.list(&params).await?;
        let token = page.metadata.continue_.as_deref().filter(|token| !token.is_empty());
        let next = token.map(|token| params.continue_token(token));
        Ok(Some((page, next)))
    })
}
