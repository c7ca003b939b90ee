//! Which servers are hot: SPEC section 3, exactly. Pure and deterministic: the same input gives the same bytes.
//!
//! In: of each server of the registry its merged use, and whether it must not be demoted for lack of data; the
//! time. Out: a [`Classification`], which [`crate::publish`] writes to Redis and [`crate::status`] to the objects.
//! What stays true between cycles (and who is therefore held) is decided in [`memory`]; nothing here remembers.

mod collection;
pub mod memory;
mod per_server;
mod rank;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::model::{ServerUrl, Tier, UnixTime};
pub use collection::{Answer, Collection, ProcessReport, Report, Row, Said};
pub use per_server::PerServer;
pub use usage::{RankingInput, ServerUsage};

/// The settings of a classification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// The share of the fleet that may be hot, from 0 to 1 (`--hot-fraction`).
    pub hot_fraction: f64,
    /// At least this many may be hot, if there are so many (`--min-hot`).
    pub min_hot: usize,
    /// Times that differ by less count as one; zero is exact (`--recency-resolution`).
    pub recency_resolution: Duration,
}

impl Default for Params {
    fn default() -> Self {
        Self { hot_fraction: 0.20, min_hot: 0, recency_resolution: Duration::ZERO }
    }
}

impl Params {
    /// How many of `servers` unique servers may be hot: `floor(hot_fraction × N)`, raised to `min(min_hot, N)`.
    ///
    /// The product is taken in binary floating point, as ContextForge does: 0.2 is a little above one fifth there,
    /// so `floor(0.2 × 5)` is 1 (checked by a test for every N up to 100,000).
    #[must_use]
    pub fn hot_cap(&self, servers: usize) -> usize {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "servers are counted in thousands, and the fraction is checked to lie in 0..=1"
        )]
        let share = (self.hot_fraction * servers as f64).floor() as usize;
        share.max(self.min_hot).min(servers)
    }
}

/// Where a classified server stands, and why: what the `Classified` condition of an object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Its tier.
    pub tier: Tier,
    /// Why it has that tier.
    pub reason: PlacementReason,
    /// 1-based place among the eligible servers; `None` if it was never used.
    pub rank: Option<u32>,
}

/// Why a server has its tier; the reasons of the `Classified` condition (SPEC section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacementReason {
    /// Hot: among the first `hot_cap` of the eligible servers.
    AboveCut,
    /// Hot: somebody who knew of its use is silent, so it is not demoted.
    Held,
    /// Cold: used, but others more recently.
    BelowCut,
    /// Cold: no worker ever reported a use.
    NeverUsed,
    /// Cold: so few servers that none may be hot.
    CapIsZero,
}

/// The facts of a classification, with the names and in the order of the Redis key `…:metadata` (SPEC section 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Unique URLs in the input.
    pub total_servers: usize,
    /// How many might have been hot.
    pub hot_cap: usize,
    /// How many are, the held ones included.
    pub hot_actual: usize,
    /// How many were ever used.
    pub eligible_count: usize,
    /// When this was decided, in Unix seconds.
    #[serde(serialize_with = "seconds", deserialize_with = "of_seconds")]
    pub timestamp: UnixTime,
    /// Why fewer are hot than might be; the text is a contract.
    pub underutilized_reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn seconds<S: serde::Serializer>(time: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.seconds())
}

fn of_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixTime, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    UnixTime::from_seconds(seconds).ok_or_else(|| serde::de::Error::custom("no time"))
}

/// Hot and cold: disjoint, together the whole input.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    places: PerServer<Option<Placement>>,
    /// In rank order, the held ones last.
    hot: Box<[u32]>,
    /// In registry order.
    cold: Box<[u32]>,
    /// The facts that are published beside the sets.
    pub metadata: Metadata,
}

impl Classification {
    /// Where each server of the input stands, in registry order; `None` for those that were left out as new.
    #[must_use]
    pub const fn places(&self) -> &PerServer<Option<Placement>> {
        &self.places
    }

    /// The hot servers in rank order, the held ones last.
    #[must_use]
    pub fn hot(&self) -> impl ExactSizeIterator<Item = &ServerUrl> {
        self.servers(&self.hot)
    }

    /// The cold servers in registry order.
    #[must_use]
    pub fn cold(&self) -> impl ExactSizeIterator<Item = &ServerUrl> {
        self.servers(&self.cold)
    }

    /// Whether the sets are those of another one, in the same order.
    #[must_use]
    pub fn has_the_sets_of(&self, other: &Self) -> bool {
        if Arc::ptr_eq(self.places.servers(), other.places.servers()) {
            return self.hot == other.hot && self.cold == other.cold;
        }
        self.hot().eq(other.hot()) && self.cold().eq(other.cold())
    }

    fn servers<'a>(&'a self, places: &'a [u32]) -> impl ExactSizeIterator<Item = &'a ServerUrl> {
        places.iter().map(|place| &self.places.servers()[*place as usize])
    }
}

/// Classifies the fleet (SPEC section 3).
///
/// `known`: of each server of the registry, in its order and without repetition, what is known of it. Those held stay hot even
/// above the cap; those that are new are left out.
#[must_use]
pub fn classify(known: &PerServer<RankingInput>, now: UnixTime, params: &Params) -> Classification {
    let total_servers = known.values().iter().filter(|known| !known.new).count();
    let hot_cap = params.hot_cap(total_servers);
    let order = rank::order(known, now, params.recency_resolution);

    let mut places: PerServer<Option<Placement>> = PerServer::of(known.servers());
    let mut hot = Vec::with_capacity(hot_cap);
    for (index, (rank, &place)) in (1_u32..).zip(&order).enumerate() {
        let at = place as usize;
        let (tier, reason) = match index < hot_cap {
            true => (Tier::Hot, PlacementReason::AboveCut),
            false if known.values()[at].held => (Tier::Hot, PlacementReason::Held),
            false if hot_cap == 0 => (Tier::Cold, PlacementReason::CapIsZero),
            false => (Tier::Cold, PlacementReason::BelowCut),
        };
        places.values_mut()[at] = Some(Placement { tier, reason, rank: Some(rank) });
        if tier == Tier::Hot {
            hot.push(place);
        }
    }
    let mut cold = Vec::with_capacity(total_servers.saturating_sub(hot.len()));
    for (place, (stands, known)) in (0_u32..).zip(places.values_mut().iter_mut().zip(known.values())) {
        if known.new {
            continue;
        }
        let Placement { tier, rank, .. } = *stands.get_or_insert_with(|| {
            let (tier, reason) = match known.held {
                true => (Tier::Hot, PlacementReason::Held),
                false if hot_cap == 0 => (Tier::Cold, PlacementReason::CapIsZero),
                false => (Tier::Cold, PlacementReason::NeverUsed),
            };
            Placement { tier, reason, rank: None }
        });
        match (tier, rank) {
            (Tier::Cold, _) => cold.push(place),
            (Tier::Hot, None) => hot.push(place),
            (Tier::Hot, Some(_)) => {}
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
    Classification { places, hot: hot.into(), cold: cold.into(), metadata }
}

#[cfg(test)]
mod tests;
