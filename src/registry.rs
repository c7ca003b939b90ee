//! The registry: a watch of the `McpGateway` objects, projected to what the operator needs of them. IO: knows the API
//! server and nothing else; writes nothing.
//!
//! Out: the latest [`RegistrySnapshot`] on a `watch` channel, `None` until the objects have been read in full, so that
//! nobody acts on half a list. Bursts of events make one snapshot ([`SETTLE`]); a change of statuses alone, our own
//! writes mostly, makes a snapshot of the same revision, which wakes nobody. And beside it why it cannot be read at
//! present, if that is so: the snapshot is then as old as that.

mod health;
mod listing;
mod record;
mod seen;
mod snapshot;
mod watching;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, future, stream};
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

use crate::model::{ObjectName, Problem};
use health::Health;
pub use listing::list;
pub use record::{GatewayRecord, ObservedCondition, ObservedStatus, ObservedUsage, RefusalReason, Spec};
use seen::Seen;
pub use snapshot::{Gateway, Registration, RegistrySnapshot};

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

impl Scope {
    /// As flags give it: a blank selector is none.
    #[must_use]
    pub fn new(namespaces: Vec<String>, selector: Option<String>) -> Self {
        Self { namespaces, selector: selector.filter(|text| !text.trim().is_empty()) }
    }

    /// Where its objects are: one for each namespace, or one for the whole cluster.
    fn apis(&self, client: Client) -> Vec<Api<Seen>> {
        match &self.namespaces[..] {
            [] => vec![Api::all(client)],
            some => some.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect(),
        }
    }
}

/// `registry_watch_failures_total` and `registry_up_to_date`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    watch_failures: Counter,
    up_to_date: Gauge,
}

impl Metrics {
    /// Adds them to a registry that carries the prefix.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("registry_watch_failures", "Failed reads of the registry", metrics.watch_failures.clone());
        let help = "Whether the registry is read: 1, or 0 while changes of objects are not seen";
        registry.register("registry_up_to_date", help, metrics.up_to_date.clone());
        metrics
    }
}

/// The receiving end of [`run`].
pub type Receiver = watch::Receiver<Option<Arc<RegistrySnapshot>>>;

/// What [`run`] tells.
pub struct Outputs {
    /// The objects, once they were read in full.
    pub snapshots: watch::Sender<Option<Arc<RegistrySnapshot>>>,
    /// Why they cannot be read at present: the snapshot is that of before then.
    pub problem: watch::Sender<Option<Problem>>,
}

/// Watches until the receivers are gone. Errors of the watch are counted, told when they begin, and retried with a pause,
/// for ever: a registry that cannot be read is never taken for an empty one.
///
/// What a removed CRD means: the API server deletes every object, and the watch tells of each; those are gone. Objects
/// whose end was not told before the watch broke stay, until a list can be had again.
pub async fn run(client: Client, scope: Scope, outputs: Outputs, metrics: Metrics) {
    let Outputs { snapshots, problem } = outputs;
    let watches = scope.apis(client);
    let mut health = Health::new(watches.len(), problem, metrics);
    let mut projection = Projection::new(&scope.namespaces);
    let config = watcher::Config { label_selector: scope.selector, ..watcher::Config::default() }
        .page_size(PAGE_SIZE)
        .timeout(WATCH_TIMEOUT_SECONDS);
    let events = watches.into_iter().enumerate().map(|(index, api)| {
        let heard = watching::watched(api, config.clone());
        heard.map(move |event| (index, event)).boxed()
    });
    let mut events = stream::select_all(events);
    let mut due: Option<Instant> = None;
    loop {
        let settling = health.settling();
        tokio::select! {
            event = events.next() => match event {
                Some((index, Ok(event))) => {
                    health.heard(index, &event);
                    if projection.apply(index, event) {
                        due.get_or_insert_with(|| Instant::now() + SETTLE);
                    }
                }
                Some((index, Err(error))) => health.failed(index, watching::problem(&error)),
                None => return,
            },
            () = at(settling) => health.settled(),
            () = at(due) => {
                due = None;
                let snapshot = projection.snapshot();
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

/// Waits for a moment; for ever if there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => future::pending().await,
    }
}

/// The objects as the watches have shown them so far.
struct Projection {
    objects: BTreeMap<ObjectName, Arc<GatewayRecord>>,
    revision: u64,
    parts: Vec<Part>,
    /// The snapshot that was shown last.
    latest: Option<Arc<RegistrySnapshot>>,
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
        Self { objects: BTreeMap::new(), revision: 0, parts, latest: None }
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

    fn snapshot(&mut self) -> Arc<RegistrySnapshot> {
        let snapshot = match &self.latest {
            Some(latest) if latest.revision() == self.revision => latest.with_statuses_of(&self.objects),
            _ => RegistrySnapshot::build(&self.objects, self.revision),
        };
        let snapshot = Arc::new(snapshot);
        self.latest = Some(Arc::clone(&snapshot));
        snapshot
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

    fn names(projection: &mut Projection) -> Vec<String> {
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
        assert_eq!(names(&mut projection), ["a/three", "a/two", "b/one"]);
        list(&mut projection, 1, &[]);
        assert_eq!(names(&mut projection), ["a/three", "a/two"]);

        let mut whole = Projection::new(&[]);
        list(&mut whole, 0, &[("a", "one"), ("b", "one")]);
        list(&mut whole, 0, &[("b", "two")]);
        assert_eq!(names(&mut whole), ["b/two"]);
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
        assert!(Arc::ptr_eq(before.servers(), after.servers()) && after.by_url("https://one.example") == Some(0));

        projection.apply(0, Event::Delete(seen("a", "one", "3", "Cold")));
        assert!(names(&mut projection).is_empty());
    }
}
