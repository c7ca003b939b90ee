//! Decides which servers are hot (`docs/contract.md#ranking`). Pure and deterministic: the same input gives the same
//! bytes.
//!
//! In: the merged usage of each server of the registry, whether the server must not be demoted for lack of data, and
//! the time. Out: a [`Classification`], which [`crate::publish`] writes to Redis and [`crate::status`] to the objects.
//! [`memory`] keeps what stays true between cycles, and decides which servers are held; the ranking itself has no
//! state.

mod collection;
pub mod memory;
mod per_server;
mod rank;
mod usage;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::api::conditions::Reason;
use crate::model::{ServerUrl, Tier, UnixTime};
pub use collection::{Answer, Collection, EndpointAnswer, IdentityConflict, IdentityField, ProcessReport, Report, Row};
pub use per_server::PerServer;
pub use usage::{RankingInput, ServerUsage};

/// The settings of a classification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// The share of the fleet that may be hot, from 0 to 1 (`--hot-fraction`).
    pub hot_fraction: f64,
    /// At least this many may be hot, if there are that many (`--min-hot`).
    pub min_hot: usize,
    /// The share of the fleet that objects may pin, from 0 to 1 (`--max-pinned`).
    pub max_pinned: f64,
    /// The step in which times are compared; zero is exact (`--recency-resolution`). The default of `run` is its
    /// interval.
    pub recency_resolution: Duration,
}

impl Default for Params {
    fn default() -> Self {
        Self { hot_fraction: 0.20, min_hot: 0, max_pinned: 0.1, recency_resolution: Duration::ZERO }
    }
}

impl Params {
    /// How many of N unique servers may be hot: `floor(hot_fraction × N)`, raised to `min(min_hot, N)`.
    ///
    /// The product is computed in binary floating point, like in ContextForge. The nearest float to 0.2 is slightly
    /// above one fifth, so `floor(0.2 × 5)` is 1 (a test checks every N up to 100,000).
    pub fn hot_cap(&self, servers: usize) -> usize {
        share(self.hot_fraction, servers).max(self.min_hot).min(servers)
    }

    /// How many of N unique servers may be pinned: `floor(max_pinned × N)`, and at least one unless `max_pinned` is 0.
    pub fn pin_cap(&self, servers: usize) -> usize {
        share(self.max_pinned, servers).max((self.max_pinned > 0.0).into())
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "servers are counted in thousands, and the fraction is checked to lie in 0..=1"
)]
fn share(fraction: f64, servers: usize) -> usize {
    (fraction * servers as f64).floor() as usize
}

/// The tier of a server and the reason for it, which the `Classified` condition of its objects states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The tier.
    pub tier: Tier,
    /// Why it has this tier.
    pub reason: PlacementReason,
    /// 1-based place among the eligible servers; `None` if it was never used.
    pub rank: Option<NonZeroU32>,
}

/// Why a server has its tier: the reasons of the `Classified` condition (`docs/contract.md#conditions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::VariantArray)]
pub enum PlacementReason {
    /// Hot: among the first `hot_cap` eligible servers.
    AboveCut,
    /// Hot: an endpoint that reported its use does not report at present, so it is not demoted.
    Held,
    /// Hot: an object pins it, beside the cap.
    Pinned,
    /// Cold: other servers were used more recently.
    BelowCut,
    /// Cold: no worker has ever reported a use.
    NeverUsed,
    /// Cold: there are too few servers for any to be hot.
    CapIsZero,
}

impl PlacementReason {
    /// The reason of the `Classified` condition.
    pub const fn condition_reason(self) -> Reason {
        match self {
            Self::AboveCut => Reason::AboveCut,
            Self::Held => Reason::Held,
            Self::Pinned => Reason::Pinned,
            Self::BelowCut => Reason::BelowCut,
            Self::NeverUsed => Reason::NeverUsed,
            Self::CapIsZero => Reason::CapIsZero,
        }
    }
}

impl PerServer<Option<Placement>> {
    /// The servers that are placed in a tier, in registry order.
    pub fn in_tier(&self, tier: Tier) -> impl Iterator<Item = &ServerUrl> {
        let is_there = move |placement: &Option<Placement>| placement.is_some_and(|placement| placement.tier == tier);
        self.iter().filter_map(move |(server, placement)| is_there(placement).then_some(server))
    }
}

/// The figures of a classification, with the names and in the order of the Redis key `…:metadata`
/// (`docs/contract.md#redis-keys`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Unique URLs in the input.
    pub total_servers: usize,
    /// The most that may be hot, except for pinned and held ones.
    pub hot_cap: usize,
    /// How many are hot, including pinned and held ones.
    pub hot_actual: usize,
    /// How many were ever used.
    pub eligible_count: usize,
    /// When this was decided; serialized as Unix seconds.
    #[serde(serialize_with = "serialize_seconds", deserialize_with = "deserialize_seconds")]
    pub timestamp: UnixTime,
    /// Why fewer servers are eligible than may be hot; the text is a contract.
    pub underutilized_reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn serialize_seconds<S: serde::Serializer>(time: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.seconds())
}

fn deserialize_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixTime, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    UnixTime::from_seconds(seconds).ok_or_else(|| serde::de::Error::custom("not a finite number of seconds"))
}

/// The hot and the cold servers: disjoint, and together the whole input.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    placements: Arc<PerServer<Option<Placement>>>,
    /// Places in rank order, those without a rank last.
    hot: Box<[u32]>,
    /// The figures that are published with the sets.
    pub metadata: Metadata,
}

impl Classification {
    /// The placement of each server of the input; `None` for those that were left out as new.
    pub const fn placements(&self) -> &Arc<PerServer<Option<Placement>>> {
        &self.placements
    }

    /// The hot servers in rank order, those without a rank last.
    pub fn hot(&self) -> impl ExactSizeIterator<Item = &ServerUrl> {
        self.hot.iter().map(|place| &self.placements.servers()[*place as usize])
    }

    /// The cold servers in registry order.
    pub fn cold(&self) -> impl Iterator<Item = &ServerUrl> {
        self.placements.in_tier(Tier::Cold)
    }

    /// The number of cold servers.
    pub const fn cold_count(&self) -> usize {
        self.metadata.total_servers - self.metadata.hot_actual
    }

    /// Whether another classification has the same sets in the same order.
    pub fn has_the_sets_of(&self, other: &Self) -> bool {
        let [these, those] = [&self.placements, &other.placements];
        if !Arc::ptr_eq(these.servers(), those.servers()) {
            return self.hot().eq(other.hot()) && self.cold().eq(other.cold());
        }
        let tier = |placement: &Option<Placement>| placement.map(|placement| placement.tier);
        let same_tiers = || these.values().iter().map(tier).eq(those.values().iter().map(tier));
        Arc::ptr_eq(these, those) || (self.hot == other.hot && same_tiers())
    }
}

/// Classifies the servers. Pinned ones are hot and take no place of the cap; held ones stay hot even above it; new ones
/// are left out.
pub fn classify(inputs: &PerServer<RankingInput>, now: UnixTime, params: &Params) -> Classification {
    let total_servers = inputs.values().iter().filter(|input| !input.new).count();
    let hot_cap = params.hot_cap(total_servers);
    let order = rank::order(inputs, now, params.recency_resolution);
    let placed = |input: &RankingInput, rank: Option<NonZeroU32>, above_cut: bool| {
        let (tier, reason) = match rank {
            _ if input.pinned => (Tier::Hot, PlacementReason::Pinned),
            _ if above_cut => (Tier::Hot, PlacementReason::AboveCut),
            _ if input.held => (Tier::Hot, PlacementReason::Held),
            _ if hot_cap == 0 => (Tier::Cold, PlacementReason::CapIsZero),
            Some(_) => (Tier::Cold, PlacementReason::BelowCut),
            None => (Tier::Cold, PlacementReason::NeverUsed),
        };
        Placement { tier, reason, rank }
    };
    let mut placements: PerServer<Option<Placement>> = PerServer::of(inputs.servers());
    let mut hot = Vec::with_capacity(hot_cap);
    let mut above_cut = 0;
    for (place, rank) in order.iter().copied().zip(1..) {
        let input = &inputs.values()[place as usize];
        let is_above_cut = !input.pinned && above_cut < hot_cap;
        above_cut += usize::from(is_above_cut);
        let placement = placed(input, NonZeroU32::new(rank), is_above_cut);
        placements.values_mut()[place as usize] = Some(placement);
        if placement.tier == Tier::Hot {
            hot.push(place);
        }
    }
    for (place, (placement, input)) in (0_u32..).zip(placements.values_mut().iter_mut().zip(inputs.values())) {
        if input.new {
            continue;
        }
        let Placement { tier, rank, .. } = *placement.get_or_insert_with(|| placed(input, None, false));
        if tier == Tier::Hot && rank.is_none() {
            hot.push(place);
        }
    }

    let eligible_count = order.len();
    let metadata = Metadata {
        total_servers,
        hot_cap,
        hot_actual: hot.len(),
        eligible_count,
        timestamp: now,
        underutilized_reason: (eligible_count < hot_cap)
            .then(|| format!("Only {eligible_count} servers have pooled sessions, below hot_cap={hot_cap}")),
    };
    Classification { placements: Arc::new(placements), hot: hot.into(), metadata }
}

#[cfg(test)]
mod tests;
