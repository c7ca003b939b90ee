//! The usage of a server, merged over all workers. Pure.

use super::Row;
use crate::model::UnixTime;

/// The usage of one server. Merging is commutative and associative, so neither the order of rows nor their split over
/// workers matters: the latest time wins, counts add up (saturating).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerUsage {
    /// When the latest request began; `None` if no row had a time above 0.
    pub last_used: Option<UnixTime>,
    /// Sessions with a request in flight.
    pub active: u64,
    /// Open sessions without a request in flight.
    pub idle: u64,
    /// Requests, summed over the processes that still live.
    pub use_count: u64,
}

impl ServerUsage {
    /// Adds the usage that others report of the same server.
    pub fn merge(&mut self, other: &Self) {
        let Self { last_used, active, idle, use_count } = *other;
        self.last_used = self.last_used.max(last_used);
        self.active = self.active.saturating_add(active);
        self.idle = self.idle.saturating_add(idle);
        self.use_count = self.use_count.saturating_add(use_count);
    }
}

/// What one row contributes (`docs/contract.md#ranking`).
impl From<&Row> for ServerUsage {
    fn from(row: &Row) -> Self {
        let last_used = row.last_used();
        let used = last_used.filter(|time| *time > UnixTime::EPOCH);
        // A use at an unknown time counts; if a time is remembered, that makes the server eligible.
        if used.is_some() || (last_used.is_none() && row.use_count() > 0) {
            Self { last_used: used, active: row.active(), idle: row.idle(), use_count: row.use_count() }
        } else {
            Self { active: row.active(), ..Self::default() }
        }
    }
}

/// What is known of one server when it is ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
pub struct RankingInput {
    /// Its usage.
    pub usage: ServerUsage,
    /// It may have been used later than is known, because an endpoint is late or has not reported to this leader yet.
    pub late: bool,
    /// It stays hot, even above the cap: it is hot, and late.
    pub held: bool,
    /// It is hot beside the cap, as one of its objects asks.
    pub pinned: bool,
    /// It is left out, because no collection has asked about it yet.
    pub new: bool,
}
