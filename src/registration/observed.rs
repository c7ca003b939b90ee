//! The entries of `ContextForge`, as far as a leader has seen them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::ownership::Creator;
use crate::contextforge::entry::Entry;
use crate::model::{GatewayId, Monotonic, ObjectName};

/// The entries, as listed at the beginning of a round and changed by the answers of its calls.
#[derive(Clone, Debug)]
pub struct Observed {
    pub(super) entries: BTreeMap<GatewayId, Entry>,
    /// The entries that an operator created, by object.
    created: BTreeMap<ObjectName, BTreeSet<GatewayId>>,
    /// Proven not to exist, as far as the token can see.
    absent: BTreeSet<GatewayId>,
    /// When the request of the list was sent.
    began: Monotonic,
}

impl Observed {
    /// A list. `began`: when its request was sent.
    pub fn new(entries: Vec<Entry>, began: Monotonic) -> Self {
        let mut observed = Self { entries: BTreeMap::new(), created: BTreeMap::new(), absent: BTreeSet::new(), began };
        entries.into_iter().for_each(|entry| observed.insert(entry));
        observed
    }

    /// When the request of the list was sent.
    pub const fn began(&self) -> Monotonic {
        self.began
    }

    /// The entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Whether there is such an entry.
    pub fn has(&self, id: &GatewayId) -> bool {
        self.entries.contains_key(id)
    }

    /// Whether it is proven that there is none, as far as the token can see.
    pub fn lacks(&self, id: &GatewayId) -> bool {
        self.absent.contains(id)
    }

    /// Takes the answer to the request for one entry: the entry, or the proof that there is none.
    pub fn asked(&mut self, id: &GatewayId, found: Option<Entry>) {
        match found {
            Some(entry) => self.insert(entry),
            None => _ = self.absent.insert(id.clone()),
        }
    }

    /// Adds an entry, or replaces an older version of it.
    pub(super) fn insert(&mut self, entry: Entry) {
        if let Some(creator) = entry.created_user_agent.as_deref().and_then(Creator::parse) {
            self.created.entry(creator.object).or_default().insert(entry.id.clone());
        }
        self.entries.insert(entry.id.clone(), entry);
    }

    /// Removes an entry that is proven to be gone.
    pub(super) fn remove(&mut self, id: &GatewayId) {
        self.entries.remove(id);
        self.created.values_mut().for_each(|created| _ = created.remove(id));
        self.absent.insert(id.clone());
    }

    /// The entries that an operator created for objects of this name.
    pub(super) fn created_for(&self, object: &ObjectName) -> impl Iterator<Item = &Entry> {
        let ids = self.created.get(object).into_iter().flatten();
        ids.filter_map(|id| self.entries.get(id))
    }
}
