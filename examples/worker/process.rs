//! What one gateway process knows of its own sessions. Pure: every call is told the time.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::fleet::Server;
use super::report::{Row, WorkerEntry, milliseconds};

/// How many sessions a process keeps open to one server at the most.
const POOL_SIZE: usize = 16;
/// After so many seconds without a request a session is closed.
const IDLE_SECONDS: f64 = 300.0;

/// One gateway process.
pub struct Process {
    id: Uuid,
    uses: BTreeMap<usize, Use>,
}

/// Its use of one server.
#[derive(Default)]
struct Use {
    last_used: f64,
    count: u64,
    /// Of each session: when its latest request ends.
    busy_until: Vec<f64>,
}

impl Process {
    /// A process that has just started.
    pub const fn new(id: Uuid) -> Self {
        Self { id, uses: BTreeMap::new() }
    }

    /// A request to this server begins now and takes so many seconds.
    pub fn request(&mut self, server: usize, now: f64, seconds: f64) {
        let used = self.count_request(server, now);
        used.busy_until.retain(|end| end + IDLE_SECONDS > now);
        let free = used.busy_until.iter().position(|end| *end <= now);
        // A full pool shares its sessions: requests of one session may overlap.
        let shared = (used.busy_until.len() >= POOL_SIZE).then_some(0);
        let usable = free.or(shared).and_then(|session| used.busy_until.get_mut(session));
        match usable {
            Some(end) => *end = end.max(now + seconds),
            None => used.busy_until.push(now + seconds),
        }
    }

    /// A server that is in use all the time: one more request began now.
    pub fn touch(&mut self, server: usize, now: f64) {
        self.count_request(server, now);
    }

    /// Sets what is known of a server; its sessions are gone.
    pub fn set(&mut self, server: usize, last_used: f64, count: u64) {
        self.uses.insert(server, Use { last_used, count, busy_until: Vec::new() });
    }

    /// Forgets a server.
    pub fn forget(&mut self, server: usize) {
        self.uses.remove(&server);
    }

    /// Until when it reports the same, if no request comes: until a request ends, or an idle session is closed.
    pub fn unchanged_until(&self, now: f64) -> f64 {
        // A clock that was set back: what is reported moves with it.
        if self.uses.values().any(|used| used.last_used > now) {
            return now;
        }
        let ends = self.uses.values().flat_map(|used| &used.busy_until);
        let changes = ends.flat_map(|end| [*end, end + IDLE_SECONDS]);
        changes.filter(|change| *change > now).fold(f64::INFINITY, f64::min)
    }

    /// What it reports. `busy` tells which servers have a request in flight at every instant.
    pub fn entry<'a>(&self, servers: &'a [Arc<Server>], now: f64, busy: impl Fn(usize) -> bool) -> WorkerEntry<'a> {
        let row = |(index, used): (&usize, &Use)| {
            let server = servers.get(*index)?;
            let active = used.busy_until.iter().filter(|end| **end > now).count();
            let idle = used.busy_until.iter().filter(|end| **end <= now && **end + IDLE_SECONDS > now).count();
            Some(Row {
                gateway_id: server.gateway_id.as_deref(),
                url: &server.url,
                // A clock that was set back must not put a use into the future.
                last_used: milliseconds(used.last_used.min(now)),
                active: if busy(*index) { active.max(1) } else { active },
                idle,
                use_count: used.count,
            })
        };
        WorkerEntry {
            id: self.id.to_string(),
            observed_at: milliseconds(now),
            servers: self.uses.iter().filter_map(row).collect(),
        }
    }

    fn count_request(&mut self, server: usize, now: f64) -> &mut Use {
        let used = self.uses.entry(server).or_default();
        used.last_used = used.last_used.max(now);
        used.count += 1;
        used
    }
}
