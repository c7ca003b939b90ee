//! What is known of the use of each server, merged over all workers. Pure.

use crate::model::UnixTime;

/// The use of one server. Merging is commutative and associative, so neither the order of rows nor their split over
/// workers matters: the latest time wins, counts add up (saturating).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerUsage {
    /// When the latest request began; `None` if no row had a time above 0.
    pub last_used: Option<UnixTime>,
    /// Sessions with a request in flight.
    pub active: u64,
    /// Open sessions without one.
    pub idle: u64,
    /// Requests, summed over the processes that still live.
    pub use_count: u64,
}

impl ServerUsage {
    /// One row of a report. A row whose time is 0 or negative speaks of sessions only: it adds to `active` alone
    /// (SPEC section 3).
    #[must_use]
    pub fn of_row(last_used: UnixTime, active: u64, idle: u64, use_count: u64) -> Self {
        if last_used > UnixTime::EPOCH {
            Self { last_used: Some(last_used), active, idle, use_count }
        } else {
            Self { active, ..Self::default() }
        }
    }

    /// Adds another observation of the same server.
    pub fn merge(&mut self, other: &Self) {
        let Self { last_used, active, idle, use_count } = *other;
        self.last_used = self.last_used.max(last_used);
        self.active = self.active.saturating_add(active);
        self.idle = self.idle.saturating_add(idle);
        self.use_count = self.use_count.saturating_add(use_count);
    }
}

/// What a classification is told of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RankingInput {
    /// Its use.
    pub usage: ServerUsage,
    /// It stays hot, even above the cap.
    pub held: bool,
    /// It is left out: nobody has been asked about it yet.
    pub new: bool,
}
