//! Fields of rows that name another registered server than the one the row counts for. Pure.

use std::collections::BTreeMap;

use super::first::First;
use crate::classify::{Collection, IdentityConflict, IdentityField};
use crate::registry::RegistrySnapshot;

/// How many there are, and the first [`Collection::IDENTITY_CONFLICTS`] of them in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityConflicts {
    named: First<IdentityConflict, { Collection::IDENTITY_CONFLICTS }>,
    counts: BTreeMap<IdentityField, u64>,
}

impl IdentityConflicts {
    /// Adds one, by the places of the two servers in the registry.
    pub(super) fn note(
        &mut self,
        field: IdentityField,
        value: &str,
        named: u32,
        counted: u32,
        registry: &RegistrySnapshot,
    ) {
        *self.counts.entry(field).or_default() += 1;
        let [named, counted] = [named, counted].map(|place| registry.servers().get(place as usize));
        if let (Some(named), Some(counted)) = (named, counted) {
            let (named, counted) = (named.clone(), counted.clone());
            self.add(IdentityConflict { field, value: value.into(), named, counted });
        }
    }

    /// Adds those of another report, without their number.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.named.extend(&other.named);
    }

    pub(crate) fn add(&mut self, conflict: IdentityConflict) {
        self.named.add(conflict);
    }

    /// The first one.
    pub fn first(&self) -> Option<&IdentityConflict> {
        self.named.first()
    }

    /// How many there were, by field.
    pub fn counts(&self) -> impl Iterator<Item = (IdentityField, u64)> {
        self.counts.iter().map(|(field, count)| (*field, *count))
    }

    /// In order.
    pub fn into_list(self) -> Box<[IdentityConflict]> {
        self.named.into_list()
    }
}
