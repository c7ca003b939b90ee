//! The whole registry at one instant, sorted and indexed. Pure: built from records, shared as an `Arc`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::gateways::Gateways;
use super::record::{GatewayRecord, RefusalReason, Spec};
use crate::classify::{Params, PerServer, RankingInput};
use crate::model::{GatewayId, ObjectName, ServerUrl, Term};

/// Whether an object is part of the registry.
#[derive(Clone, Debug, PartialEq)]
pub enum Registration {
    /// It is, with the server at this place in [`RegistrySnapshot::servers`].
    Registered(u32),
    /// It is accepted, but switched off.
    Disabled,
    /// It is not accepted.
    Refused(RefusalReason),
}

impl Registration {
    /// The place of the registered server in [`RegistrySnapshot::servers`].
    pub const fn place(&self) -> Option<u32> {
        match self {
            Self::Registered(place) => Some(*place),
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
    /// Places in `servers`.
    by_url: HashMap<ServerUrl, u32, RandomState>,
    /// By the bytes of the id, because every row of every report is looked up here before its text is checked.
    by_id: HashMap<Box<[u8]>, u32, RandomState>,
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
    pub(crate) fn apply(&mut self, record: Arc<GatewayRecord>) -> Change {
        let before = self.gateways.get(&record.name.namespace, &record.name.name);
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
    pub(crate) fn complete(&mut self, change: Change) {
        self.revision += u64::from(change > Change::Status);
        if change == Change::Identity {
            self.index_again();
        }
    }

    /// Decides which objects are registered, and makes the look-ups. The list of servers stays the same one if it does
    /// not change, so that columns need not be moved to another list.
    fn index_again(&mut self) {
        let owners = owners_of_ids(&self.gateways);
        // Allocated in their final size: a map that grows holds its old table and a new one of twice the size.
        let count = self.gateways.len();
        let mut registrations = Vec::with_capacity(count);
        let mut by_url = HashMap::with_capacity_and_hasher(count, RandomState::default());
        let mut by_id = HashMap::with_capacity_and_hasher(owners.len(), RandomState::default());
        let mut servers = Vec::with_capacity(count);
        let mut registered = 0;
        for Gateway { record, .. } in &self.gateways {
            registrations.push(match &record.spec {
                Spec::Disabled { .. } => Registration::Disabled,
                Spec::Refused(refusal) => Registration::Refused(*refusal),
                Spec::Enabled { url, id: Some(id), .. } if owners.get(id).is_some_and(|(.., owner)| *owner != url) => {
                    Registration::Refused(RefusalReason::DuplicateGatewayId)
                }
                Spec::Enabled { url, id, .. } => {
                    let next = u32::try_from(servers.len()).unwrap_or(u32::MAX);
                    let place = *by_url.entry(url.clone()).or_insert(next);
                    if place == next {
                        servers.push(url.clone());
                    }
                    if let Some(id) = id {
                        by_id.insert(id.as_str().as_bytes().into(), place);
                    }
                    registered += 1;
                    Registration::Registered(place)
                }
            });
        }
        self.gateways.register(registrations);
        let before = &self.index.servers;
        let servers = if **before == *servers { Arc::clone(before) } else { servers.into() };
        self.index = Arc::new(Index { servers, registered, by_url, by_id });
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

    /// Marks the pinned servers in `inputs`, a column for the servers of this snapshot. If more pins are requested than
    /// allowed, the oldest objects (by creation time, then namespace and name) keep theirs.
    pub fn pin(&self, inputs: &mut PerServer<RankingInput>, params: &Params) {
        let mut asking: Vec<_> = self.registered().filter(|(record, _)| record.asks_for_a_pin()).collect();
        // The sort is stable: objects of the same age stay in order of namespace, then name.
        asking.sort_by_key(|(record, _)| record.created);
        let mut left = params.pin_cap(self.servers().len());
        for (_, place) in asking {
            if let Some(input) = inputs.get_mut(place).filter(|input| left > 0 && !input.pinned) {
                input.pinned = true;
                left -= 1;
            }
        }
    }

    /// The place in [`RegistrySnapshot::servers`] of the server with exactly this URL.
    pub fn by_url(&self, url: &str) -> Option<u32> {
        self.index.by_url.get(url).copied()
    }

    /// The place of the server of the registered object with this `gatewayId`, in UTF-8.
    pub fn by_id(&self, id: &[u8]) -> Option<u32> {
        self.index.by_id.get(id).copied()
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

/// Rank, creation time, name and URL of an object that owns a gateway id. The least one keeps it.
type Owner<'a> = (OwnerRank, i64, &'a ObjectName, &'a ServerUrl);

/// What gives an object its gateway id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OwnerRank {
    /// The operator registered it.
    Registered,
    /// Its spec says so.
    Declared,
}

/// The object that keeps each gateway id: one for which the operator registered it, else the oldest enabled object (by
/// creation time, then namespace and name).
fn owners_of_ids(gateways: &Gateways) -> HashMap<&GatewayId, Owner<'_>, RandomState> {
    let mut owners = HashMap::default();
    for Gateway { record, .. } in gateways {
        let Spec::Enabled { url, id: Some(id), registered, .. } = &record.spec else { continue };
        let rank = if *registered { OwnerRank::Registered } else { OwnerRank::Declared };
        let candidate = (rank, record.created, &record.name, url);
        let owner = owners.entry(id).or_insert(candidate);
        *owner = candidate.min(*owner);
    }
    owners
}

#[cfg(test)]
mod tests;
