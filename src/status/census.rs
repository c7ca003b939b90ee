//! The fleet, counted once a turn: for the facts that people read and for the gauges. Pure.

use crate::classify::PerServer;
use crate::model::Tier;
use crate::registry::{RegistrySnapshot, Standing};

/// How many there are of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// All objects.
    pub objects: usize,
    /// Those of them that are switched off.
    pub disabled: usize,
    /// Those of them that are not accepted.
    pub refused: usize,
    /// Registered servers that are hot.
    pub hot: usize,
    /// Registered servers that are cold.
    pub cold: usize,
    /// Registered servers without a tier.
    pub unclassified: usize,
}

impl Census {
    /// Counts a registry whose servers have these tiers.
    #[must_use]
    pub fn take(snapshot: &RegistrySnapshot, tiers: &PerServer<Option<Tier>>) -> Self {
        let mut census = Self { objects: snapshot.gateways().len(), ..Self::default() };
        for gateway in snapshot.gateways() {
            match gateway.standing {
                Standing::Registered(_) => {}
                Standing::Disabled => census.disabled += 1,
                Standing::Refused(_) => census.refused += 1,
            }
        }
        for tier in tiers.values() {
            match tier {
                Some(Tier::Hot) => census.hot += 1,
                Some(Tier::Cold) => census.cold += 1,
                None => census.unclassified += 1,
            }
        }
        census
    }

    /// Unique servers of the registry.
    #[must_use]
    pub const fn servers(&self) -> usize {
        self.hot + self.cold + self.unclassified
    }
}
