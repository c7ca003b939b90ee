//! The whole registry at one instant, sorted and indexed. Pure: built from records, shared as an `Arc`.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::gateways::{Gateways, Position};
use super::record::{GatewayRecord, RefusalReason, Spec};
use crate::classify::{Params, PerServer, RankingInput};
use crate::model::{GatewayId, ObjectName, ServerUrl, Term};

/// Whether an object is part of the registry.
#[derive(Clone, Debug, PartialEq)]
pub enum Registration {
    /// It is.
    Registered {
        /// The place of its server in [`RegistrySnapshot::servers`].
        place: u32,
        /// Whether it asks for more than its tier: a pin, a bound or a refresh. Most objects do not, and need not be
        /// looked at for that.
        asks: bool,
    },
    /// It is accepted, but switched off.
    Disabled,
    /// It is not accepted.
    Refused(RefusalReason),
}

impl Registration {
    /// The place of the registered server in [`RegistrySnapshot::servers`].
    pub const fn place(&self) -> Option<u32> {
        match self {
            Self::Registered { place, .. } => Some(*place),
            Self::Disabled | Self::Refused(_) => None,
        }
    }
}

/// An object of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    pub record: Arc<GatewayRecord>,
    pub registration: Registration,
    /// The revision of the registry in which more than its status last changed.
    pub revision: u64,
}

/// All objects in order of namespace, then name, with the look-ups that resolve the rows of reports. A clone is cheap.
#[derive(Clone, Debug, Default)]
pub struct RegistrySnapshot {
    revision: u64,
    gateways: Gateways,
    index: Arc<Index>,
}

/// The servers and the look-ups. Snapshots share them as long as no object registers another server or id.
#[derive(Debug, Default)]
struct Index {
    servers: Arc<[ServerUrl]>,
    /// The number of registered objects.
    registered: usize,
    hasher: RandomState,
    /// Places in `servers`, by URL.
    by_url: HashTable<u32>,
    /// The objects that keep their gateway ids, by id. Every row of every report is looked up here before its text is
    /// checked.
    by_id: HashTable<Position>,
}

impl Index {
    /// URLs and ids are looked up by their bytes.
    fn hash(&self, text: &[u8]) -> u64 {
        self.hasher.hash_one(text)
    }

    fn by_url(&self, url: &str) -> Option<u32> {
        let is_it = |place: &u32| self.servers[*place as usize].expose() == url;
        self.by_url.find(self.hash(url.as_bytes()), is_it).copied()
    }

    /// The object that keeps an id. `gateways`: those of which this is the index.
    fn by_id<'a>(&self, id: &[u8], gateways: &'a Gateways) -> Option<&'a Gateway> {
        let has_it = |gateway: &Gateway| {
            gateway.record.gateway_id().is_some_and(|known| known.with_text(|known| known.as_bytes() == id))
        };
        let found = self.by_id.find(self.hash(id), |position| gateways.at(*position).is_some_and(has_it));
        found.and_then(|position| gateways.at(*position))
    }
}

/// How much a version of an object changes the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing but its status.
    #[default]
    Status,
    /// Something else, but neither its server nor its id.
    Settings,
    /// Its server or its id, or whether it has one.
    Identity,
}

impl Change {
    /// From one version of an object to another.
    fn between(old: &GatewayRecord, new: &GatewayRecord) -> Self {
        if new.identity() != old.identity() {
            Self::Identity
        } else if new.differs_beyond_status(old) {
            Self::Settings
        } else {
            Self::Status
        }
    }
}

impl RegistrySnapshot {
    /// Builds it from the objects. `revision` grows when more than statuses change.
    pub fn build(objects: &BTreeMap<ObjectName, Arc<GatewayRecord>>, revision: u64) -> Self {
        let mut snapshot = Self { revision, ..Self::default() };
        snapshot.gateways = Gateways::from_sorted(objects.values().cloned(), revision);
        snapshot.index_again();
        snapshot
    }

    /// Puts in a version of an object. After a change of an identity, [`RegistrySnapshot::complete`] is due.
    pub fn apply(&mut self, record: Arc<GatewayRecord>) -> Change {
        let before = self.gateways.get(&record.name.namespace, &record.name.name);
        if before.is_some_and(|old| Arc::ptr_eq(&old.record, &record)) {
            return Change::Status;
        }
        let change = before.map_or(Change::Identity, |old| Change::between(&old.record, &record));
        self.gateways.insert(record, (change > Change::Status).then_some(self.revision + 1));
        change
    }

    /// Takes an object out. Likewise.
    pub(super) fn remove(&mut self, name: &ObjectName) -> Change {
        if self.gateways.remove(name) { Change::Identity } else { Change::Status }
    }

    /// Replaces all objects by others, in order and without repetition. Likewise.
    pub(super) fn replace(&mut self, records: Vec<Arc<GatewayRecord>>) -> Change {
        let same_names = self.gateways.len() == records.len()
            && self.gateways.iter().zip(&records).all(|(old, new)| old.record.name == new.name);
        if same_names {
            return records.into_iter().map(|record| self.apply(record)).max().unwrap_or_default();
        }
        let mut gateways = Gateways::from_sorted(records, self.revision + 1);
        gateways.take_over_revisions(&self.gateways);
        self.gateways = gateways;
        Change::Identity
    }

    /// Makes it valid again after changes, and gives it the next revision unless they were all of statuses.
    pub fn complete(&mut self, change: Change) {
        self.revision += u64::from(change > Change::Status);
        if change == Change::Identity {
            self.index_again();
        }
    }

    /// Decides which objects are registered, and makes the look-ups. The list of servers stays the same one if it does
    /// not change, so that columns need not be moved to another list.
    fn index_again(&mut self) {
        // Allocated in their final size: a table that grows holds its old entries and twice the space.
        let count = self.gateways.len();
        let mut index = Index { by_url: HashTable::with_capacity(count), ..Index::default() };
        index.by_id = owners_of_ids(&self.gateways, &index.hasher);
        let mut registrations = Vec::with_capacity(count);
        let mut servers: Vec<ServerUrl> = Vec::with_capacity(count);
        for Gateway { record, .. } in &self.gateways {
            registrations.push(match &record.spec {
                Spec::Disabled { .. } => Registration::Disabled,
                Spec::Refused(refusal) => Registration::Refused(*refusal),
                Spec::Enabled { url, id: Some(id), .. }
                    if id
                        .with_text(|id| index.by_id(id.as_bytes(), &self.gateways))
                        .is_some_and(|owner| owner.record.server() != Some(url)) =>
                {
                    Registration::Refused(RefusalReason::DuplicateGatewayId)
                }
                Spec::Enabled { url, .. } => {
                    let hash = index.hash(url.expose().as_bytes());
                    let place = index.by_url.find(hash, |place| servers[*place as usize] == *url).copied();
                    let place = place.unwrap_or_else(|| {
                        let next = u32::try_from(servers.len()).unwrap_or(u32::MAX);
                        servers.push(url.clone());
                        index.by_url.insert_unique(hash, next, |place| {
                            index.hasher.hash_one(servers[*place as usize].expose().as_bytes())
                        });
                        next
                    });
                    index.registered += 1;
                    Registration::Registered { place, asks: record.asks() }
                }
            });
        }
        self.gateways.register(registrations);
        let before = &self.index.servers;
        index.servers = if **before == *servers { Arc::clone(before) } else { servers.into() };
        self.index = Arc::new(index);
    }

    /// Grows when more than statuses change, which makes the leader look again.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// All objects, in order.
    pub const fn gateways(&self) -> &Gateways {
        &self.gateways
    }

    /// The unique servers of the registry, in the order of the first object of each.
    pub fn servers(&self) -> &Arc<[ServerUrl]> {
        &self.index.servers
    }

    /// The number of registered objects.
    pub fn registered_objects(&self) -> usize {
        self.index.registered
    }

    /// The registered objects, each with the place of its server in [`RegistrySnapshot::servers`].
    pub fn registered(&self) -> impl Iterator<Item = (&GatewayRecord, usize)> {
        self.gateways.iter().filter_map(|gateway| Some((&*gateway.record, gateway.registration.place()? as usize)))
    }

    /// Those of them that ask for a pin, a bound or a refresh.
    pub fn asking(&self) -> impl Iterator<Item = (&GatewayRecord, usize)> {
        self.gateways.iter().filter_map(|gateway| match gateway.registration {
            Registration::Registered { place, asks: true } => Some((&*gateway.record, place as usize)),
            _ => None,
        })
    }

    /// Marks the pinned servers in `inputs`, a column for the servers of this snapshot, and returns their places, in
    /// order. If more pins are requested than allowed, the oldest objects (by creation time, then namespace and name)
    /// keep theirs.
    pub fn pin(&self, inputs: &mut PerServer<RankingInput>, params: &Params) -> Vec<usize> {
        let mut asking: Vec<_> = self.asking().filter(|(record, _)| record.asks_for_a_pin()).collect();
        // The sort is stable: objects of the same age stay in order of namespace, then name.
        asking.sort_by_key(|(record, _)| record.created);
        let cap = params.pin_cap(self.servers().len());
        let mut pinned = Vec::new();
        for (_, place) in asking {
            if let Some(input) = inputs.get_mut(place).filter(|input| pinned.len() < cap && !input.pinned) {
                input.pinned = true;
                pinned.push(place);
            }
        }
        pinned.sort_unstable();
        pinned
    }

    /// The place in [`RegistrySnapshot::servers`] of the server with exactly this URL.
    pub fn by_url(&self, url: &str) -> Option<u32> {
        self.index.by_url(url)
    }

    /// The place of the server of the registered object with this `gatewayId`, in UTF-8.
    pub fn by_id(&self, id: &[u8]) -> Option<u32> {
        self.index.by_id(id, &self.gateways)?.registration.place()
    }

    /// The place of the server of the registered object `namespace/name`.
    pub fn by_name(&self, name: &str) -> Option<u32> {
        let (namespace, name) = name.split_once('/')?;
        self.gateways.get(namespace, name)?.registration.place()
    }

    /// The highest term in a status that is not above `limit`; a higher one comes from tampering or from a restored
    /// backup (`docs/contract.md#terms`).
    pub fn highest_term(&self, limit: i64) -> Option<Term> {
        let terms = self.gateways.iter().filter_map(|gateway| gateway.record.status.term);
        terms.filter(|term| i64::from(term.get()) <= limit).max()
    }
}

/// The object that keeps each gateway id: one for which the operator registered it, else the oldest enabled object (by
/// creation time, then namespace and name).
fn owners_of_ids(gateways: &Gateways, hasher: &RandomState) -> HashTable<Position> {
    // Least for the owner.
    let precedence = |record: &GatewayRecord| match &record.spec {
        Spec::Enabled { registered, .. } => (!registered, record.created),
        Spec::Disabled { .. } | Spec::Refused(_) => (true, u32::MAX),
    };
    let id_at = |position: Position| gateways.at(position)?.record.gateway_id();
    let hash = |id: &GatewayId| id.with_text(|id| hasher.hash_one(id.as_bytes()));
    let hash_at = |position: &Position| id_at(*position).map_or(0, hash);
    let ids = gateways.iter().filter(|gateway| gateway.record.gateway_id().is_some()).count();
    let mut owners: HashTable<Position> = HashTable::with_capacity(ids);
    for (position, Gateway { record, .. }) in gateways.positions() {
        let Some(id) = record.gateway_id() else { continue };
        let mut owner = owners.entry(hash(id), |owner| id_at(*owner) == Some(id), hash_at).or_insert(position);
        // The objects come in order of namespace, then name.
        if gateways.at(*owner.get()).is_some_and(|kept_by| precedence(record) < precedence(&kept_by.record)) {
            *owner.get_mut() = position;
        }
    }
    owners
}

#[cfg(test)]
mod tests;
