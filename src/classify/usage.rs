//! What is known of the use of each server, merged over all workers. Pure.

use std::collections::HashMap;

use crate::model::{ServerUrl, UnixTime};

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

    /// A use that is remembered, though the process that saw it may have ended.
    #[must_use]
    pub fn remembered(last_used: UnixTime) -> Self {
        Self::of_row(last_used, 0, 0, 0)
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

/// Use by server. Servers without an entry were never used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageTable(HashMap<ServerUrl, ServerUsage>);

impl UsageTable {
    /// Merges one observation into the server's entry.
    pub fn add(&mut self, server: &ServerUrl, usage: &ServerUsage) {
        if let Some(entry) = self.0.get_mut(server.expose()) {
            entry.merge(usage);
        } else {
            self.0.insert(server.clone(), *usage);
        }
    }

    /// The use of a server; the default (never used) if there is no entry.
    #[must_use]
    pub fn get(&self, server: &ServerUrl) -> ServerUsage {
        self.0.get(server).copied().unwrap_or_default()
    }

    /// Forgets uses before a time; sessions stay.
    pub fn forget_before(&mut self, time: UnixTime) {
        for usage in self.0.values_mut() {
            usage.last_used = usage.last_used.filter(|used| *used >= time);
        }
    }

    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerUrl, &ServerUsage)> {
        self.0.iter()
    }
}
