//! Servers that have left the registry, and may come back: their objects were deleted by accident, disabled for a
//! while, or moved. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::classify::ServerUsage;
use crate::model::{Monotonic, ServerUrl};

/// So many are remembered, or as many as the largest registry had.
const KEPT: usize = 10_000;

/// The usage of servers when they left the registry.
#[derive(Debug, Default)]
pub(super) struct Departed {
    servers: HashMap<ServerUrl, Departure, RandomState>,
    /// The size of the largest registry so far.
    largest: usize,
}

#[derive(Debug)]
struct Departure {
    usage: ServerUsage,
    left: Monotonic,
}

impl Departed {
    /// The usage of a server that has left.
    pub fn get(&self, server: &ServerUrl) -> Option<&ServerUsage> {
        self.servers.get(server).map(|departure| &departure.usage)
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Forgets those that are in the registry again.
    pub fn returned(&mut self, registry: &Arc<[ServerUrl]>) {
        self.largest = self.largest.max(registry.len());
        if !self.is_empty() {
            for server in registry.iter() {
                self.servers.remove(server);
            }
        }
    }

    /// Takes in servers that have left.
    pub fn left<'a>(&mut self, servers: impl Iterator<Item = (&'a ServerUrl, ServerUsage)>, now: Monotonic) {
        self.servers.extend(servers.map(|(server, usage)| (server.clone(), Departure { usage, left: now })));
        let Some(excess @ 1..) = self.servers.len().checked_sub(self.largest.max(KEPT)) else { return };
        // Those that left first, and of them those that were used the longest time ago.
        let mut oldest: Vec<_> = self.servers.iter().map(|(server, departure)| (departure, server.clone())).collect();
        oldest.select_nth_unstable_by_key(excess - 1, |(Departure { usage, left }, _)| (*left, usage.last_used));
        let oldest: Vec<ServerUrl> = oldest.into_iter().take(excess).map(|(_, server)| server).collect();
        for server in &oldest {
            self.servers.remove(server);
        }
    }

    /// Forgets those that left longer ago than this.
    pub fn forget(&mut self, age: Duration, now: Monotonic) {
        self.servers.retain(|_, departure| now.since(departure.left) <= age);
    }

    /// The reference time was moved by so many seconds.
    pub fn shift(&mut self, seconds: f64) {
        for used in self.servers.values_mut().filter_map(|departure| departure.usage.last_used.as_mut()) {
            *used = used.shifted(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixTime;

    fn url(n: usize) -> ServerUrl {
        ServerUrl::parse(&format!("http://s{n}/")).unwrap()
    }

    #[test]
    fn the_longest_gone_and_least_used_are_forgotten_beyond_the_bound() {
        let mut departed = Departed::default();
        let urls: Vec<ServerUrl> = (0..KEPT + 3).map(url).collect();
        let used = |n: usize| ServerUsage {
            last_used: UnixTime::from_seconds(u32::try_from(n).unwrap().into()),
            ..ServerUsage::default()
        };
        let leave = |departed: &mut Departed, places: std::ops::Range<usize>, second| {
            let now = Monotonic::at(Duration::from_secs(second));
            departed.left(places.map(|n| (&urls[n], used(n))), now);
        };
        leave(&mut departed, 10..KEPT, 2);
        leave(&mut departed, 0..10, 1);
        assert_eq!(departed.servers.len(), KEPT);
        leave(&mut departed, KEPT..KEPT + 3, 3);
        assert_eq!(departed.servers.len(), KEPT);
        let gone: Vec<usize> = (0..urls.len()).filter(|n| departed.get(&urls[*n]).is_none()).collect();
        assert_eq!(gone, [0, 1, 2]);
        // A registry that was larger than the bound may be remembered as a whole.
        departed.returned(&urls.clone().into());
        assert!(departed.is_empty());
        leave(&mut departed, 0..urls.len(), 4);
        assert_eq!(departed.servers.len(), urls.len());
    }
}
