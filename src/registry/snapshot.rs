//! The whole registry at one instant, sorted and indexed. Pure: built from records, shared as an `Arc`.

mod ids;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::record::{GatewayRecord, RefusalReason, Spec};
use crate::model::{GatewayId, ObjectName, ServerUrl, Term};
use ids::Ids;

/// What an object is to the registry.
#[derive(Clone, Debug, PartialEq)]
pub enum Registration {
    /// Part of it, with this server.
    Registered(ServerUrl),
    /// Accepted, but switched off.
    Disabled,
    /// Not accepted.
    Refused(RefusalReason),
}

/// One object and its registration.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// The object.
    pub record: Arc<GatewayRecord>,
    /// What it is to the registry.
    pub registration: Registration,
}

/// All objects in order of namespace, then name, with the look-ups that resolving reports needs.
#[derive(Clone, Debug, Default)]
pub struct RegistrySnapshot {
    revision: u64,
    gateways: Vec<Gateway>,
    index: Arc<Index>,
}

/// The servers and the look-ups, which all snapshots of one revision share: our own status writes make a new snapshot in nearly
/// every cycle.
#[derive(Debug, Default)]
struct Index {
    servers: Arc<[ServerUrl]>,
    /// Places in `servers`.
    by_url: HashMap<ServerUrl, u32, RandomState>,
    by_id: Ids,
}

impl RegistrySnapshot {
    /// Builds it from the objects. `revision` grows when the registry changes in more than statuses.
    #[must_use]
    pub fn build(objects: &BTreeMap<ObjectName, Arc<GatewayRecord>>, revision: u64) -> Self {
        let owners = owners_of_ids(objects.values());
        // In the size they will have: a map that grows holds the old table beside the new one, twice as large.
        let mut gateways = Vec::with_capacity(objects.len());
        let mut by_url = HashMap::with_capacity_and_hasher(objects.len(), RandomState::default());
        let mut by_id = Ids::with_capacity(owners.len());
        let mut servers = Vec::with_capacity(objects.len());
        for record in objects.values() {
            let registration = match &record.spec {
                Spec::Disabled => Registration::Disabled,
                Spec::Refused(refusal) => Registration::Refused(*refusal),
                Spec::Enabled { url, id: Some(id) } if owners.get(id).is_some_and(|owner| owner.url != url) => {
                    Registration::Refused(RefusalReason::DuplicateGatewayId)
                }
                Spec::Enabled { url, id } => {
                    let next = u32::try_from(servers.len()).unwrap_or(u32::MAX);
                    let place = *by_url.entry(url.clone()).or_insert(next);
                    if place == next {
                        servers.push(url.clone());
                    }
                    if let Some(id) = id {
                        by_id.insert(id, place);
                    }
                    Registration::Registered(url.clone())
                }
            };
            gateways.push(Gateway { record: Arc::clone(record), registration });
        }
        Self { revision, gateways, index: Arc::new(Index { servers: servers.into(), by_url, by_id }) }
    }

    /// The same registry with its objects as they are now, of which nothing but statuses has changed: the servers stay the very
    /// same list, so that what is known by their places needs not be moved.
    #[must_use]
    pub(super) fn with_statuses_of(&self, objects: &BTreeMap<ObjectName, Arc<GatewayRecord>>) -> Self {
        let renewed = |(gateway, record): (&Gateway, &Arc<GatewayRecord>)| Gateway {
            record: Arc::clone(record),
            registration: gateway.registration.clone(),
        };
        let gateways = self.gateways.iter().zip(objects.values()).map(renewed).collect();
        Self { revision: self.revision, gateways, index: Arc::clone(&self.index) }
    }

    /// Grows when the registry changes in more than statuses; the loop looks again when it does.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// All objects, in order.
    #[must_use]
    pub fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    /// The unique servers of the registry, in its order.
    #[must_use]
    pub fn servers(&self) -> &Arc<[ServerUrl]> {
        &self.index.servers
    }

    /// The registered objects, each with the place of its server in [`RegistrySnapshot::servers`].
    pub fn registered(&self) -> impl Iterator<Item = (&GatewayRecord, usize)> {
        self.gateways.iter().filter_map(|gateway| match &gateway.registration {
            Registration::Registered(server) => Some((&*gateway.record, self.by_url(server.expose())? as usize)),
            Registration::Disabled | Registration::Refused(_) => None,
        })
    }

    /// The place in [`RegistrySnapshot::servers`] of the server with exactly this URL.
    #[must_use]
    pub fn by_url(&self, url: &str) -> Option<u32> {
        self.index.by_url.get(url).copied()
    }

    /// The same of the server of the registered gateway with this id, as UTF-8.
    #[must_use]
    pub fn by_id(&self, id: &[u8]) -> Option<u32> {
        self.index.by_id.get(id)
    }

    /// The same of the server of the registered object `namespace/name`.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<u32> {
        let (namespace, name) = name.split_once('/')?;
        let place = |gateway: &Gateway| {
            let found = &gateway.record.name;
            (&*found.namespace, &*found.name).cmp(&(namespace, name))
        };
        let index = self.gateways.binary_search_by(place).ok()?;
        match &self.gateways[index].registration {
            Registration::Registered(url) => self.by_url(url.expose()),
            Registration::Disabled | Registration::Refused(_) => None,
        }
    }

    /// The highest term that a status carries, not counting those above `limit` (tampering, an odd restore; SPEC
    /// section 5).
    #[must_use]
    pub fn highest_term(&self, limit: i64) -> Option<Term> {
        let terms = self.gateways.iter().filter_map(|gateway| gateway.record.status.term);
        terms.filter(|term| i64::from(term.get()) <= limit).max()
    }
}

struct Owner<'a> {
    age: (i64, &'a ObjectName),
    url: &'a ServerUrl,
}

/// For each gateway id the oldest enabled object that has it (creation time, then namespace and name).
fn owners_of_ids<'a>(records: impl Iterator<Item = &'a Arc<GatewayRecord>>) -> HashMap<&'a GatewayId, Owner<'a>> {
    let mut owners: HashMap<&GatewayId, Owner<'_>> = HashMap::new();
    for record in records {
        let Spec::Enabled { url, id: Some(id) } = &record.spec else { continue };
        let candidate = Owner { age: (record.created, &record.name), url };
        let owner = owners.entry(id).or_insert_with(|| Owner { ..candidate });
        if candidate.age < owner.age {
            *owner = candidate;
        }
    }
    owners
}

#[cfg(test)]
mod tests;
