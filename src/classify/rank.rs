//! The order of the eligible servers. Pure.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

use super::ServerUsage;
use crate::model::{ServerUrl, UnixTime};

/// The place of one eligible server: smaller is hotter. Compares by recency (newest first), then `active` (most
/// first), then `use_count` (most first), then the bytes of the URL; so there are no ties, and no order of input or
/// of hashing shows through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rank<'a> {
    recency: Recency,
    active: Reverse<u64>,
    use_count: Reverse<u64>,
    server: &'a ServerUrl,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Recency {
    /// `last_used`, latest first.
    Exact(Reverse<UnixTime>),
    /// `floor((now − last_used) / D)`, youngest first: a finer order than a poller can notice makes tiers flap.
    Age(Whole),
}

/// A whole number in a float: ages of absurd times do not fit an integer.
#[derive(Debug, PartialEq)]
struct Whole(f64);

impl<'a> Rank<'a> {
    /// The rank of a server; `None` if it is not eligible, that is, was never used. Active sessions alone do not
    /// make it so.
    pub(super) fn of(server: &'a ServerUrl, usage: &ServerUsage, now: UnixTime, resolution: Duration) -> Option<Self> {
        let ServerUsage { last_used, active, idle: _, use_count } = *usage;
        let last_used = last_used.filter(|time| *time > UnixTime::EPOCH)?;
        let recency = if resolution.is_zero() {
            Recency::Exact(Reverse(last_used))
        } else {
            Recency::Age(Whole(((now.seconds() - last_used.seconds()) / resolution.as_secs_f64()).floor()))
        };
        Some(Self { recency, active: Reverse(active), use_count: Reverse(use_count), server })
    }

    /// The server that stands here.
    pub(super) fn server(&self) -> &'a ServerUrl {
        self.server
    }
}

impl Ord for Rank<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let Self { recency, active, use_count, server } = self;
        recency
            .cmp(&other.recency)
            .then_with(|| active.cmp(&other.active))
            .then_with(|| use_count.cmp(&other.use_count))
            .then_with(|| server.cmp(&other.server))
    }
}

impl PartialOrd for Rank<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Whole {}

impl Ord for Whole {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Whole {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
