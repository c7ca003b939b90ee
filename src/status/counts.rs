//! Counts the fleet, once a turn, for the fleet's status and for the gauges. Pure.

use crate::classify::PerServer;
use crate::model::Tier;
use crate::registry::{Registration, RegistrySnapshot};

/// The number of objects and servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetCounts {
    /// All objects.
    pub objects: usize,
    /// Objects that are switched off.
    pub disabled: usize,
    /// Objects that are not accepted.
    pub refused: usize,
    /// Registered servers that are hot.
    pub hot: usize,
    /// Registered servers that are cold.
    pub cold: usize,
    /// Registered servers without a tier.
    pub unclassified: usize,
}

impl FleetCounts {
    /// Counts the objects of a registry, and its servers by tier.
    pub fn take(snapshot: &RegistrySnapshot, tiers: &PerServer<Option<Tier>>) -> Self {
        let mut counts = Self { objects: snapshot.gateways().len(), ..Self::default() };
        for gateway in snapshot.gateways() {
            match gateway.registration {
                Registration::Registered { .. } => {}
                Registration::Disabled => counts.disabled += 1,
                Registration::Refused(_) => counts.refused += 1,
            }
        }
        for tier in tiers.values() {
            match tier {
                Some(Tier::Hot) => counts.hot += 1,
                Some(Tier::Cold) => counts.cold += 1,
                None => counts.unclassified += 1,
            }
        }
        counts
    }

    /// The unique servers of the registry.
    pub const fn servers(&self) -> usize {
        self.hot + self.cold + self.unclassified
    }
}
