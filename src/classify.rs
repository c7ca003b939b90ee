//! Which servers are hot: SPEC section 3, exactly. Pure and deterministic: the same input gives the same bytes.
//!
//! In: the URLs of the registry, the merged use of each, the servers that must not be demoted for lack of data, the
//! time. Out: a [`Classification`], which [`crate::publish`] writes to Redis and [`crate::status`] to the objects.
//! What stays true between cycles (and who is therefore held) is decided in [`memory`]; nothing here remembers.

mod collection;
pub mod memory;
mod rank;
mod usage;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use crate::model::{ServerUrl, Tier, UnixTime};
pub use collection::{Answer, Collection, ProcessReport, Report, Row, Said};
use rank::Rank;
pub use usage::{ServerUsage, UsageTable};

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
pub struct Place {
    /// Its tier.
    pub tier: Tier,
    /// Why it has that tier.
    pub reason: PlaceReason,
    /// 1-based place among the eligible servers; `None` if it was never used.
    pub rank: Option<usize>,
}

/// Why a server has its tier; the reasons of the `Classified` condition (SPEC section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceReason {
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
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    #[serde(serialize_with = "seconds")]
    pub timestamp: UnixTime,
    /// Why fewer are hot than might be; the text is a contract.
    pub underutilized_reason: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn seconds<S: serde::Serializer>(time: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.seconds())
}

/// Hot and cold: disjoint, together the whole input.
#[derive(Clone, Debug, PartialEq)]
pub struct Classification {
    /// In rank order, the held ones last.
    pub hot: Vec<ServerUrl>,
    /// In registry order.
    pub cold: Vec<ServerUrl>,
    /// The facts that are published beside the sets.
    pub metadata: Metadata,
    places: HashMap<ServerUrl, Place>,
}

impl Classification {
    /// Where this server stands; `None` if it was not in the input.
    #[must_use]
    pub fn place(&self, server: &ServerUrl) -> Option<Place> {
        self.places.get(server).copied()
    }

    /// The tier of this server; `None` if it was not in the input.
    #[must_use]
    pub fn tier(&self, server: &ServerUrl) -> Option<Tier> {
        self.place(server).map(|place| place.tier)
    }
}

/// Classifies the fleet (SPEC section 3).
///
/// `servers`: the URLs of the registry in its order; repeated ones count once, at their first place. `usage`: entries
/// for other URLs are ignored. `held`: servers that stay hot even above the cap.
#[must_use]
pub fn classify(
    servers: &[ServerUrl],
    usage: &UsageTable,
    held: &HashSet<ServerUrl>,
    now: UnixTime,
    params: &Params,
) -> Classification {
    let mut seen = HashSet::with_capacity(servers.len());
    let unique: Vec<&ServerUrl> = servers.iter().filter(|&server| seen.insert(server)).collect();
    let hot_cap = params.hot_cap(unique.len());

    let mut eligible: Vec<Rank<'_>> = unique
        .iter()
        .filter_map(|server| Rank::of(server, &usage.get(server), now, params.recency_resolution))
        .collect();
    eligible.sort_unstable();

    let mut places = HashMap::with_capacity(unique.len());
    let mut hot = Vec::with_capacity(hot_cap);
    for (index, rank) in eligible.iter().enumerate() {
        let (tier, reason) = match index < hot_cap {
            true => (Tier::Hot, PlaceReason::AboveCut),
            false if held.contains(rank.server()) => (Tier::Hot, PlaceReason::Held),
            false if hot_cap == 0 => (Tier::Cold, PlaceReason::CapIsZero),
            false => (Tier::Cold, PlaceReason::BelowCut),
        };
        places.insert(rank.server().clone(), Place { tier, reason, rank: Some(index + 1) });
        if tier == Tier::Hot {
            hot.push(rank.server().clone());
        }
    }
    let mut cold = Vec::with_capacity(unique.len() - hot.len());
    for &server in &unique {
        let place = places.entry(server.clone()).or_insert_with(|| {
            let (tier, reason) = match held.contains(server) {
                true => (Tier::Hot, PlaceReason::Held),
                false if hot_cap == 0 => (Tier::Cold, PlaceReason::CapIsZero),
                false => (Tier::Cold, PlaceReason::NeverUsed),
            };
            Place { tier, reason, rank: None }
        });
        match (place.tier, place.rank) {
            (Tier::Cold, _) => cold.push(server.clone()),
            (Tier::Hot, None) => hot.push(server.clone()),
            (Tier::Hot, Some(_)) => {}
        }
    }

    let eligible_count = eligible.len();
    let metadata = Metadata {
        total_servers: unique.len(),
        hot_cap,
        hot_actual: hot.len(),
        eligible_count,
        timestamp: now,
        underutilized_reason: (eligible_count < hot_cap)
            .then(|| format!("Only {eligible_count} servers have pooled sessions, below hot_cap={hot_cap}")),
    };
    Classification { hot, cold, metadata, places }
}

#[cfg(test)]
mod tests;
