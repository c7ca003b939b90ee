//! The registry: a watch of the `McpGateway` objects, projected to what the operator needs of them. IO: knows the API
//! server and nothing else; writes nothing.
//!
//! Out: the latest [`RegistrySnapshot`] on a `watch` channel, `None` until the objects have been read in full, so that
//! nobody acts on half a list. Bursts of events make one snapshot ([`SETTLE`]); a change of statuses alone, our own
//! writes mostly, makes a snapshot of the same revision, which wakes nobody.

mod record;
mod seen;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, future, stream};
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use crate::model::ObjectName;
pub use record::{GatewayRecord, ObservedCondition, ObservedStatus, ObservedUsage, Refusal, Spec};
use seen::Seen;
pub use snapshot::{Gateway, RegistrySnapshot, Standing};

/// How long a burst of events is gathered before a snapshot is made: far below what anybody notices, and enough that
/// ten thousand of our own status writes do not make ten thousand snapshots.
pub const SETTLE: Duration = Duration::from_millis(50);

/// A dead connection is noticed after this and 5 s (FAULTS K2: within 65 s).
const WATCH_TIMEOUT_SECONDS: u32 = 55;

/// Objects in one page of a list. Its text is held while it is read, twice over, and its records beside it.
const PAGE_SIZE: u32 = 100;

/// Which objects belong to the fleet.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Namespaces to watch; all of them if empty (`--watch-namespace`).
    pub namespaces: Vec<String>,
    /// Label selector (`--watch-selector`).
    pub selector: Option<String>,
}

/// `registry_watch_failures_total`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    watch_failures: Counter,
}

impl Metrics {
    /// Adds it to a registry that carries the prefix.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("registry_watch_failures", "Failed reads of the registry", metrics.watch_failures.clone());
        metrics
    }
}

/// The receiving end of [`run`].
pub type Receiver = watch::Receiver<Option<Arc<RegistrySnapshot>>>;

/// Watches until the receivers are gone. Errors of the watch are logged, counted and retried with a backoff, for ever:
/// a registry that cannot be read is never taken for an empty one.
pub async fn run(
    client: Client,
    scope: Scope,
    snapshots: watch::Sender<Option<Arc<RegistrySnapshot>>>,
    metrics: Metrics,
) {
    let mut watches: Vec<Api<Seen>> = Vec::new();
    if scope.namespaces.is_empty() {
        watches.push(Api::all(client));
    } else {
        for namespace in &scope.namespaces {
            watches.push(Api::namespaced(client.clone(), namespace));
        }
    }
    let mut projection = Projection::new(&scope.namespaces);
    let config = watcher::Config { label_selector: scope.selector, ..watcher::Config::default() }
        .page_size(PAGE_SIZE)
        .timeout(WATCH_TIMEOUT_SECONDS);
    let events = watches.into_iter().enumerate().map(|(index, api)| {
        let config = config.clone();
        // kube asks for ever from the same version when starting to watch is answered 410; then all is listed anew.
        let again = stream::repeat_with(move || {
            let events = watch_objects(api.clone(), config.clone()).default_backoff();
            events.scan(false, |over, event| {
                let was_over = std::mem::replace(over, is_gone(&event));
                future::ready((!was_over).then_some(event))
            })
        });
        again.flatten().map(move |event| (index, event)).boxed()
    });
    let mut events = stream::select_all(events);
    let mut due: Option<Instant> = None;
    loop {
        let wait = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            event = events.next() => match event {
                Some((index, Ok(event))) => {
                    if projection.apply(index, event) {
                        due.get_or_insert_with(|| Instant::now() + SETTLE);
                    }
                }
                Some((_, Err(error))) => {
                    metrics.watch_failures.inc();
                    warn!(error = %describe(&error), "reading the registry failed; trying again");
                }
                None => return,
            },
            () = wait => {
                due = None;
                let snapshot = Arc::new(projection.snapshot());
                let first = snapshots.borrow().is_none();
                if first {
                    info!(objects = snapshot.gateways().len(), servers = snapshot.servers().len(), "registry read");
                }
                if snapshots.send(Some(snapshot)).is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether the version from which to watch is not known any more.
fn is_gone<T>(event: &Result<T, watcher::Error>) -> bool {
    matches!(event, Err(watcher::Error::WatchStartFailed(kube::Error::Api(status))) if status.code == 410)
}

/// An error of the watch in words, with what to do where that is known.
fn describe(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            if status.is_forbidden() =>
        {
            "forbidden: grant get, list and watch on mcpgateways.mcpgateway.io to the operator".to_owned()
        }
        watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.is_not_found() => {
            "the CRD mcpgateways.mcpgateway.io is not installed: apply crds/mcpgateways.yaml".to_owned()
        }
        watcher::Error::InitialListFailed(kube::Error::Api(status)) if status.code == 400 => {
            format!("the API server does not take the request (is --watch-selector right?): {}", status.message)
        }
        other => other.to_string(),
    }
}

/// The objects as the watches have shown them so far.
struct Projection {
    objects: BTreeMap<ObjectName, Arc<GatewayRecord>>,
    revision: u64,
    parts: Vec<Part>,
}

/// One watch, that is one namespace or all.
struct Part {
    /// The namespace; `None` is all.
    namespace: Option<String>,
    /// Whether its list has been read in full once.
    read: bool,
    /// The list being read, which takes the place of the old one only when it is whole.
    incoming: Option<BTreeMap<ObjectName, Arc<GatewayRecord>>>,
}

impl Projection {
    fn new(namespaces: &[String]) -> Self {
        let part = |namespace| Part { namespace, read: false, incoming: None };
        let parts = match namespaces {
            [] => vec![part(None)],
            some => some.iter().cloned().map(Some).map(part).collect(),
        };
        Self { objects: BTreeMap::new(), revision: 0, parts }
    }

    /// Takes in an event; says whether there is something to show.
    fn apply(&mut self, index: usize, event: Event<Seen>) -> bool {
        match event {
            Event::Init => {
                self.parts[index].incoming = Some(BTreeMap::new());
                false
            }
            Event::InitApply(object) => {
                if let (Some(record), Some(incoming)) = (object.record, &mut self.parts[index].incoming) {
                    incoming.insert(record.name.clone(), Arc::new(record));
                }
                false
            }
            Event::InitDone => {
                let incoming = self.parts[index].incoming.take().unwrap_or_default();
                self.replace(index, incoming);
                self.read()
            }
            Event::Apply(object) => {
                if let Some(record) = object.record {
                    self.put(Arc::new(record));
                }
                self.read()
            }
            Event::Delete(object) => {
                if let Some(record) = object.record {
                    self.remove(&record.name);
                }
                self.read()
            }
        }
    }

    fn read(&self) -> bool {
        self.parts.iter().all(|part| part.read)
    }

    fn replace(&mut self, index: usize, incoming: BTreeMap<ObjectName, Arc<GatewayRecord>>) {
        let part = &mut self.parts[index];
        if !part.read {
            part.read = true;
            // Also an empty list is news the first time.
            self.revision += 1;
        }
        let shown =
            |name: &&ObjectName| part.namespace.as_deref().is_none_or(|namespace| *name.namespace == *namespace);
        let gone: Vec<ObjectName> =
            self.objects.keys().filter(shown).filter(|name| !incoming.contains_key(*name)).cloned().collect();
        gone.iter().for_each(|name| self.remove(name));
        incoming.into_values().for_each(|record| self.put(record));
    }

    fn put(&mut self, mut record: Arc<GatewayRecord>) {
        let old = self.objects.get(&record.name);
        if old.is_none_or(|old| record.differs_beyond_status(old)) {
            self.revision += 1;
            debug!(object = %record.name, "registry changed");
        }
        if let (Some(old), Some(record)) = (old, Arc::get_mut(&mut record)) {
            record.share(old);
        }
        self.objects.insert(record.name.clone(), record);
    }

    fn remove(&mut self, name: &ObjectName) {
        if self.objects.remove(name).is_some() {
            self.revision += 1;
            debug!(object = %name, "registry changed");
        }
    }

    fn snapshot(&self) -> RegistrySnapshot {
        RegistrySnapshot::build(&self.objects, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(namespace: &str, name: &str, version: &str, tier: &str) -> Seen {
        let object = json!({
            "metadata": {"namespace": namespace, "name": name, "resourceVersion": version, "uid": "u"},
            "spec": {"url": format!("https://{name}.example")}, "status": {"tier": tier},
        });
        serde_json::from_str(&object.to_string()).unwrap()
    }

    fn list(projection: &mut Projection, index: usize, objects: &[(&str, &str)]) {
        projection.apply(index, Event::Init);
        for (namespace, name) in objects {
            assert!(!projection.apply(index, Event::InitApply(seen(namespace, name, "1", "Hot"))), "half a list");
        }
        projection.apply(index, Event::InitDone);
    }

    fn names(projection: &Projection) -> Vec<String> {
        projection.snapshot().gateways().iter().map(|gateway| gateway.record.name.to_string()).collect()
    }

    #[test]
    fn a_new_list_takes_away_what_is_gone_from_its_own_namespace() {
        let mut projection = Projection::new(&["a".to_owned(), "b".to_owned()]);
        list(&mut projection, 0, &[("a", "one"), ("a", "two")]);
        assert!(!projection.read(), "b has not been read");
        list(&mut projection, 1, &[("b", "one")]);
        assert!(projection.read());
        list(&mut projection, 0, &[("a", "two"), ("a", "three")]);
        assert_eq!(names(&projection), ["a/three", "a/two", "b/one"]);
        list(&mut projection, 1, &[]);
        assert_eq!(names(&projection), ["a/three", "a/two"]);

        let mut whole = Projection::new(&[]);
        list(&mut whole, 0, &[("a", "one"), ("b", "one")]);
        list(&mut whole, 0, &[("b", "two")]);
        assert_eq!(names(&whole), ["b/two"]);
    }

    #[test]
    fn a_change_of_the_status_shares_the_rest_with_the_version_before() {
        let mut projection = Projection::new(&[]);
        list(&mut projection, 0, &[("a", "one")]);
        let before = projection.snapshot();
        projection.apply(0, Event::Apply(seen("a", "one", "2", "Cold")));
        let after = projection.snapshot();
        assert_eq!(before.revision(), after.revision());
        let [old, new] = [&before, &after].map(|snapshot| &snapshot.gateways()[0].record);
        assert_ne!(old.status.tier, new.status.tier);
        assert!(Arc::ptr_eq(&old.uid, &new.uid) && Arc::ptr_eq(&old.name.name, &new.name.name));
        assert!(std::ptr::eq(before.servers()[0].expose(), after.servers()[0].expose()));

        projection.apply(0, Event::Delete(seen("a", "one", "3", "Cold")));
        assert!(names(&projection).is_empty());
    }
}
