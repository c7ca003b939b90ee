//! Watches the `McpGateway` objects and keeps what the operator needs of them. IO: the API server, reading only.
//!
//! Out: the latest [`RegistrySnapshot`] on a `watch` channel, `None` until all objects have been listed, so that
//! nothing acts on half a list; and the problem while the objects cannot be read, in which case the snapshot is from
//! before it. A burst of events makes one snapshot ([`SETTLE`]). A change of statuses alone, which the operator's own
//! writes mostly are, makes a snapshot with the same revision, which triggers no turn.

mod gateways;
mod list_and_watch;
pub mod loss;
mod record;
mod retrying_watch;
mod snapshot;
mod watch_health;
mod watched_object;

use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arcstr::ArcStr;
use futures::TryStreamExt;
use futures::future::OptionFuture;
use kube::Client;
use kube::api::{Api, WatchParams};
use kube::runtime::watcher::Event;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::model::{ObjectName, Problem, registered};
pub use gateways::Gateways;
pub use record::{GatewayRecord, RefreshRequest, RefusalReason};
pub(crate) use record::{ObservedStatus, RequestedRegistration, Spec, StatusTime, StatusUsage};
pub use snapshot::{Change, RegistrySnapshot};
pub(crate) use snapshot::{Gateway, Registration};
use watch_health::WatchHealth;
use watched_object::WatchedObject;

/// How long the events of a burst are gathered before a snapshot is made: too short to be noticed, and long enough that
/// ten thousand status writes do not make ten thousand snapshots.
pub const SETTLE: Duration = Duration::from_millis(50);

/// The time-out of a watch; a dead connection is noticed 5 s later (`docs/contract.md#faults`: within 65 s).
const WATCH_TIMEOUT_SECONDS: u32 = 55;

/// Objects in one page of a list. While a page is parsed, memory holds its text twice, and its records: some megabytes.
/// For 100,000 objects with statuses, an API server took 55 s in pages of 100, 24 s of 500 and 21 s of 1,000.
const PAGE_SIZE: u32 = 500;

/// Which objects belong to the fleet.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Namespaces to watch, sorted; all of them if empty (`--watch-namespace`).
    pub namespaces: Vec<String>,
    /// Label selector (`--watch-selector`).
    pub selector: Option<String>,
}

impl Scope {
    /// The scope that the flags give. Namespaces may be repeated; a blank selector is none.
    pub fn new(mut namespaces: Vec<String>, selector: Option<String>) -> Self {
        namespaces.sort();
        namespaces.dedup();
        Self { namespaces, selector: selector.filter(|text| !text.trim().is_empty()) }
    }

    /// One API for each namespace, or one for the whole cluster.
    fn apis(&self, client: Client) -> Vec<Api<WatchedObject>> {
        match &self.namespaces[..] {
            [] => vec![Api::all(client)],
            namespaces => namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect(),
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
    /// Registers them with a registry that adds the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let up_to_date = "Whether the registry is read: 1, or 0 while changes of objects are not seen";
        Self {
            watch_failures: registered(registry, "registry_watch_failures", "Failed reads of the registry"),
            up_to_date: registered(registry, "registry_up_to_date", up_to_date),
        }
    }
}

/// Reads all objects of the scope once, for commands.
///
/// # Errors
/// If the API server cannot be reached or denies the list.
pub async fn list(client: &Client, scope: &Scope) -> Result<RegistrySnapshot, kube::Error> {
    let mut objects = Records::new();
    for api in scope.apis(client.clone()) {
        let mut pages = pin!(list_and_watch::pages(&api, scope.selector.clone()));
        while let Some(page) = pages.try_next().await? {
            let records = page.items.into_iter().filter_map(|object| object.record);
            objects.extend(records.map(|record| (record.name.clone(), Arc::new(record))));
        }
    }
    Ok(RegistrySnapshot::build(&objects, 1))
}

/// The receiving end of [`run`].
pub type Receiver = watch::Receiver<Option<Arc<RegistrySnapshot>>>;

/// Watches until the receivers of `snapshots` are gone. Failures are counted, logged when they begin, and retried for
/// ever: a registry that cannot be read is never taken for an empty one. `problem` is why it cannot be read at present.
///
/// When the CRD is removed, the API server deletes every object and the watch reports that. Objects whose deletion was
/// not reported before the watch broke stay until the next complete list.
pub async fn run(
    client: Client,
    scope: Scope,
    snapshots: watch::Sender<Option<Arc<RegistrySnapshot>>>,
    problem: watch::Sender<Option<Problem>>,
    metrics: Metrics,
) {
    let apis = scope.apis(client);
    let mut health = WatchHealth::new(apis.len(), problem, metrics);
    let mut objects = WatchedObjects::new(&scope);
    let params =
        WatchParams { label_selector: scope.selector, ..WatchParams::default() }.timeout(WATCH_TIMEOUT_SECONDS);
    let (sender, mut results) = mpsc::channel(1);
    let mut watches = JoinSet::new();
    for (index, api) in apis.into_iter().enumerate() {
        watches.spawn(retrying_watch::watch(index, api, params.clone(), sender.clone()));
    }
    let mut snapshot_due: Option<Instant> = None;
    loop {
        let probation_end = health.probation_end().map(sleep_until);
        tokio::select! {
            result = results.recv() => match result {
                Some((index, Ok(event))) => {
                    health.succeeded(index, &event);
                    if objects.apply(index, event) {
                        snapshot_due.get_or_insert_with(|| Instant::now() + SETTLE);
                    }
                }
                Some((index, Err(error))) => health.failed(index, retrying_watch::problem(&error)),
                None => return,
            },
            Some(()) = OptionFuture::from(probation_end) => health.end_probation(),
            Some(()) = OptionFuture::from(snapshot_due.map(sleep_until)) => {
                snapshot_due = None;
                let snapshot = objects.snapshot();
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

type Records = BTreeMap<ObjectName, Arc<GatewayRecord>>;

/// The objects that the watches have shown so far.
struct WatchedObjects {
    watches: Vec<WatchList>,
    /// The objects of all watches. It is complete again once `changed` is taken.
    registry: RegistrySnapshot,
    /// What has changed since the last snapshot.
    changed: Change,
    /// The namespaces that objects were seen in. The objects share their text.
    namespaces: HashSet<ArcStr>,
}

/// The list of one watch.
#[derive(Debug)]
struct WatchList {
    /// The namespace that it covers; `None` for the whole cluster.
    namespace: Option<String>,
    /// Whether a list has been completed.
    complete: bool,
    /// The list that is being read; it replaces the old one once it is complete.
    incoming: Vec<Arc<GatewayRecord>>,
}

impl WatchedObjects {
    fn new(scope: &Scope) -> Self {
        let watch = |namespace| WatchList { namespace, complete: false, incoming: Vec::new() };
        let watches = match &scope.namespaces[..] {
            [] => vec![watch(None)],
            namespaces => namespaces.iter().cloned().map(Some).map(watch).collect(),
        };
        Self { watches, registry: RegistrySnapshot::default(), changed: Change::Identity, namespaces: HashSet::new() }
    }

    /// Takes in an event. Returns whether a new snapshot is due.
    fn apply(&mut self, index: usize, event: Event<WatchedObject>) -> bool {
        let change = match event {
            Event::Init => {
                self.watches[index].incoming = Vec::new();
                return false;
            }
            Event::InitApply(object) => {
                let record = object.record.map(|record| self.shared(record));
                self.watches[index].incoming.extend(record);
                return false;
            }
            Event::InitDone => self.listed(index),
            Event::Apply(object) => match object.record {
                Some(record) => {
                    let record = self.shared(record);
                    self.registry.apply(record)
                }
                None => return false,
            },
            Event::Delete(object) => match object.record {
                Some(record) => self.registry.remove(&record.name),
                None => return false,
            },
        };
        self.changed = self.changed.max(change);
        self.all_listed()
    }

    /// The record, which shares equal text with the version before. If nothing has changed, it is that version.
    fn shared(&mut self, mut record: GatewayRecord) -> Arc<GatewayRecord> {
        match self.registry.gateways().get(&record.name.namespace, &record.name.name) {
            Some(old) if *old.record == record => Arc::clone(&old.record),
            Some(old) => {
                record.share(&old.record);
                Arc::new(record)
            }
            None => {
                let namespace = &mut record.name.namespace;
                match self.namespaces.get(namespace) {
                    Some(known) => namespace.clone_from(known),
                    None => drop(self.namespaces.insert(namespace.clone())),
                }
                Arc::new(record)
            }
        }
    }

    /// The list of a watch is complete: it replaces what was known of its namespace.
    fn listed(&mut self, index: usize) -> Change {
        let watch = &mut self.watches[index];
        watch.complete = true;
        let mut records = std::mem::take(&mut watch.incoming);
        if let Some(namespace) = watch.namespace.as_deref() {
            let others = self.registry.gateways().iter().map(|gateway| &gateway.record);
            records.extend(others.filter(|record| &*record.name.namespace != namespace).cloned());
        }
        // The last version of an object counts.
        records.sort_by(|one, other| one.name.cmp(&other.name));
        records.dedup_by(|later, earlier| {
            let same = later.name == earlier.name;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        self.registry.replace(records)
    }

    fn all_listed(&self) -> bool {
        self.watches.iter().all(|watch| watch.complete)
    }

    fn snapshot(&mut self) -> Arc<RegistrySnapshot> {
        self.registry.complete(std::mem::take(&mut self.changed));
        Arc::new(self.registry.clone())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(namespace: &str, name: &str, version: &str, tier: &str) -> WatchedObject {
        let text = json!({
            "metadata": {"namespace": namespace, "name": name, "resourceVersion": version, "uid": "u"},
            "spec": {"url": format!("https://{name}.example")}, "status": {"tier": tier},
        });
        serde_json::from_str(&text.to_string()).unwrap()
    }

    fn list(objects: &mut WatchedObjects, index: usize, names: &[(&str, &str)]) {
        objects.apply(index, Event::Init);
        for (namespace, name) in names {
            assert!(!objects.apply(index, Event::InitApply(object(namespace, name, "1", "Hot"))), "half a list");
        }
        objects.apply(index, Event::InitDone);
    }

    fn names(objects: &mut WatchedObjects) -> Vec<String> {
        objects.snapshot().gateways().iter().map(|gateway| gateway.record.name.to_string()).collect()
    }

    #[test]
    fn a_new_list_removes_objects_from_its_own_namespace_only() {
        let scope = Scope::new(vec!["b".to_owned(), "a".to_owned()], None);
        let mut objects = WatchedObjects::new(&scope);
        list(&mut objects, 0, &[("a", "one"), ("a", "two")]);
        assert!(!objects.all_listed(), "b has not been listed");
        list(&mut objects, 1, &[("b", "one")]);
        assert!(objects.all_listed());
        list(&mut objects, 0, &[("a", "two"), ("a", "three")]);
        assert_eq!(names(&mut objects), ["a/three", "a/two", "b/one"]);
        let snapshot = objects.snapshot();
        let [three, two] = ["three", "two"].map(|name| &snapshot.gateways().get("a", name).unwrap().record.name);
        assert!(ArcStr::ptr_eq(&three.namespace, &two.namespace), "one text for all objects of a namespace");
        list(&mut objects, 1, &[]);
        assert_eq!(names(&mut objects), ["a/three", "a/two"]);

        let mut whole = WatchedObjects::new(&Scope::default());
        list(&mut whole, 0, &[("a", "one"), ("b", "one")]);
        list(&mut whole, 0, &[("b", "two")]);
        assert_eq!(names(&mut whole), ["b/two"]);
    }

    #[test]
    fn an_edit_changes_the_revision_and_what_the_object_asks_for_but_not_the_list_of_servers() {
        let mut objects = WatchedObjects::new(&Scope::default());
        list(&mut objects, 0, &[("a", "one"), ("a", "two")]);
        let before = objects.snapshot();
        assert_eq!(before.asking().count(), 0);
        let text = json!({
            "metadata": {"namespace": "a", "name": "two", "resourceVersion": "2", "uid": "u", "generation": 2},
            "spec": {"url": "https://two.example", "polling": {"maxInterval": "10m"}}, "status": {"tier": "Hot"},
        });
        objects.apply(0, Event::Apply(serde_json::from_str(&text.to_string()).unwrap()));
        let after = objects.snapshot();
        assert_eq!((before.revision(), after.revision()), (1, 2));
        assert!(Arc::ptr_eq(before.servers(), after.servers()));
        assert_eq!(after.asking().map(|(record, place)| (&*record.name.name, place)).collect::<Vec<_>>(), [("two", 1)]);
        let revisions = after.gateways().iter().map(|gateway| gateway.revision);
        assert_eq!(revisions.collect::<Vec<_>>(), [1, 2]);
        // Another server, and one less: the list changes.
        objects.apply(0, Event::Apply(object("a", "three", "3", "Hot")));
        objects.apply(0, Event::Delete(object("a", "one", "4", "Hot")));
        let last = objects.snapshot();
        let servers: Vec<_> = last.servers().iter().map(crate::model::ServerUrl::expose).collect();
        assert_eq!(servers, ["https://three.example", "https://two.example"]);
        assert_eq!(last.by_name("a/two"), Some(1));
    }

    #[test]
    fn a_new_list_changes_only_what_differs() {
        let mut objects = WatchedObjects::new(&Scope::default());
        list(&mut objects, 0, &[("a", "one"), ("a", "two")]);
        let before = objects.snapshot();
        list(&mut objects, 0, &[("a", "one"), ("a", "two")]);
        let same = objects.snapshot();
        assert_eq!(same.revision(), before.revision());
        for (old, new) in before.gateways().iter().zip(same.gateways()) {
            assert!(Arc::ptr_eq(&old.record, &new.record));
        }
        list(&mut objects, 0, &[("a", "one"), ("a", "three"), ("a", "two")]);
        let more = objects.snapshot();
        assert_eq!(more.gateways().iter().map(|gateway| gateway.revision).collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn versions_that_differ_in_status_share_the_rest() {
        let mut objects = WatchedObjects::new(&Scope::default());
        list(&mut objects, 0, &[("a", "one")]);
        let before = objects.snapshot();
        objects.apply(0, Event::Apply(object("a", "one", "2", "Cold")));
        let after = objects.snapshot();
        assert_eq!(before.revision(), after.revision());
        let [old, new] = [&before, &after].map(|snapshot| &snapshot.gateways().get("a", "one").unwrap().record);
        assert_ne!(old.status.tier, new.status.tier);
        assert!(ArcStr::ptr_eq(&old.name.name, &new.name.name));
        assert!(Arc::ptr_eq(before.servers(), after.servers()) && after.by_url("https://one.example") == Some(0));

        objects.apply(0, Event::Delete(object("a", "one", "3", "Cold")));
        assert!(names(&mut objects).is_empty());
    }
}
