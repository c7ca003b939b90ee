//! The whole registry at one instant, sorted and indexed. Pure: built from records, shared as an `Arc`.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::gateways::Gateways;
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
    /// The same by id. Every row of every report is looked up here before its text is checked.
    by_id: HashTable<(GatewayId, u32)>,
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

    fn by_id(&self, id: &[u8]) -> Option<u32> {
        let is_it = |(known, _): &(GatewayId, u32)| known.with_text(|known| known.as_bytes() == id);
        self.by_id.find(self.hash(id), is_it).map(|(_, place)| *place)
    }
}

/// The hash by which an id is looked up in [`Index`].
fn hash_of_id(hasher: &RandomState, id: &GatewayId) -> u64 {
    id.with_text(|text| hasher.hash_one(text.as_bytes()))
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
        let owners = owners_of_ids(&self.gateways, &index);
        index.by_id.reserve(owners.len(), |(id, _)| hash_of_id(&index.hasher, id));
        let mut registrations = Vec::with_capacity(count);
        let mut servers: Vec<ServerUrl> = Vec::with_capacity(count);
        for Gateway { record, .. } in &self.gateways {
            registrations.push(match &record.spec {
                Spec::Disabled { .. } => Registration::Disabled,
                Spec::Refused(refusal) => Registration::Refused(*refusal),
                Spec::Enabled { url, id: Some(id), .. }
                    if owner_of(id, &owners, &index).is_some_and(|owner| owner != url) =>
                {
                    Registration::Refused(RefusalReason::DuplicateGatewayId)
                }
                Spec::Enabled { url, id, .. } => {
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
                    if let Some(id) = id {
                        let hash = hash_of_id(&index.hasher, id);
                        let hasher = |(id, _): &(GatewayId, u32)| hash_of_id(&index.hasher, id);
                        index
                            .by_id
                            .entry(hash, |(known, _)| known == id, hasher)
                            .or_insert_with(|| (id.clone(), place));
                    }
                    index.registered += 1;
                    Registration::Registered { place, asks: record.asks() }
                }
            });
        }
        drop(owners);
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
        self.index.by_id(id)
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

/// What gives an object its gateway id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OwnerRank {
    /// The operator registered it.
    Registered,
    /// Its spec says so.
    Declared,
}

/// The enabled objects that keep their gateway ids, each with its rank, id and URL.
type Owners<'a> = HashTable<(OwnerRank, &'a GatewayId, &'a ServerUrl, &'a GatewayRecord)>;

/// The object that keeps each gateway id: one for which the operator registered it, else the oldest enabled object (by
/// creation time, then namespace and name).
fn owners_of_ids<'a>(gateways: &'a Gateways, index: &Index) -> Owners<'a> {
    let mut owners = Owners::new();
    for Gateway { record, .. } in gateways {
        let Spec::Enabled { url, id: Some(id), registered, .. } = &record.spec else { continue };
        let rank = if *registered { OwnerRank::Registered } else { OwnerRank::Declared };
        let hash = |id: &GatewayId| hash_of_id(&index.hasher, id);
        let owner = owners.entry(hash(id), |(_, known, ..)| *known == id, |(_, id, ..)| hash(id));
        let mut owner = owner.or_insert((rank, id, url, &**record));
        let (kept_by, .., other) = *owner.get();
        if (rank, record.created, &record.name) < (kept_by, other.created, &other.name) {
            *owner.get_mut() = (rank, id, url, &**record);
        }
    }
    owners
}

/// The URL of the object that keeps an id.
fn owner_of<'a>(id: &GatewayId, owners: &Owners<'a>, index: &Index) -> Option<&'a ServerUrl> {
    owners.find(hash_of_id(&index.hasher, id), |(_, known, ..)| *known == id).map(|(_, _, url, _)| *url)
}

#[cfg(test)]
mod tests;
