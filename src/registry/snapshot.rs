//! The whole registry at one instant, sorted and indexed. Pure: built from records, shared as an `Arc`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::record::{GatewayRecord, RefusalReason, Spec};
use crate::classify::{Params, PerServer, RankingInput};
use crate::model::{GatewayId, ObjectName, ServerUrl, Term};

/// Whether an object is part of the registry.
#[derive(Clone, Debug, PartialEq)]
pub enum Registration {
    /// It is, with this server.
    Registered {
        url: ServerUrl,
        /// The server's place in [`RegistrySnapshot::servers`].
        place: u32,
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

#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    pub record: Arc<GatewayRecord>,
    pub registration: Registration,
}

/// All objects in order of namespace, then name, with the look-ups that resolve the rows of reports.
#[derive(Clone, Debug, Default)]
pub struct RegistrySnapshot {
    revision: u64,
    gateways: Vec<Gateway>,
    index: Arc<Index>,
}

/// The servers and the look-ups. All snapshots of one revision share them, because the operator's own status writes
/// make a new snapshot in nearly every cycle.
#[derive(Debug, Default)]
struct Index {
    servers: Arc<[ServerUrl]>,
    /// Places in `servers`.
    by_url: HashMap<ServerUrl, u32, RandomState>,
    /// By the bytes of the id, because every row of every report is looked up here before its text is checked.
    by_id: HashMap<Box<[u8]>, u32, RandomState>,
}

impl RegistrySnapshot {
    /// Builds it from the objects. `revision` grows when more than statuses change.
    pub fn build(objects: &BTreeMap<ObjectName, Arc<GatewayRecord>>, revision: u64) -> Self {
        Self::from_sorted(&objects.values().collect::<Vec<_>>(), revision)
    }

    /// The same from records in order of namespace, then name.
    pub(super) fn from_sorted(records: &[&Arc<GatewayRecord>], revision: u64) -> Self {
        let owners = owners_of_ids(records);
        // Allocated in their final size: a map that grows holds its old table and a new one of twice the size.
        let mut gateways = Vec::with_capacity(records.len());
        let mut by_url = HashMap::with_capacity_and_hasher(records.len(), RandomState::default());
        let mut by_id = HashMap::with_capacity_and_hasher(owners.len(), RandomState::default());
        let mut servers = Vec::with_capacity(records.len());
        for &record in records {
            let registration = match &record.spec {
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
                    Registration::Registered { url: url.clone(), place }
                }
            };
            gateways.push(Gateway { record: Arc::clone(record), registration });
        }
        Self { revision, gateways, index: Arc::new(Index { servers: servers.into(), by_url, by_id }) }
    }

    /// The snapshot of these records, sorted, after this one. If nothing but statuses has changed, it has the same
    /// revision and shares the list of servers, so that columns need not be moved to another list.
    pub(super) fn updated(&self, records: &[&Arc<GatewayRecord>]) -> Self {
        let pairs = || self.gateways.iter().zip(records);
        if self.gateways.len() != records.len() || pairs().any(|(old, new)| new.differs_beyond_status(&old.record)) {
            return Self::from_sorted(records, self.revision + 1);
        }
        let gateways = pairs().map(|(old, new)| Gateway { record: Arc::clone(new), ..old.clone() }).collect();
        Self { revision: self.revision, gateways, index: Arc::clone(&self.index) }
    }

    /// Grows when more than statuses change, which makes the leader look again.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// All objects, in order.
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// The unique servers of the registry, in the order of the first object of each.
    pub fn servers(&self) -> &Arc<[ServerUrl]> {
        &self.index.servers
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
        let order = |gateway: &Gateway| {
            let other = &gateway.record.name;
            (&*other.namespace, &*other.name).cmp(&(namespace, name))
        };
        let index = self.gateways.binary_search_by(order).ok()?;
        self.gateways[index].registration.place()
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
fn owners_of_ids<'a>(records: &[&'a Arc<GatewayRecord>]) -> HashMap<&'a GatewayId, Owner<'a>> {
    let mut owners = HashMap::new();
    for record in records {
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
