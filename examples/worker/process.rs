//! The sessions of one gateway process. Pure: every call gets the time.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::fleet::Server;
use super::report::{Row, WorkerEntry, milliseconds};

/// The maximum number of open sessions of a process to one server.
const POOL_SIZE: usize = 16;
/// Seconds without a request after which a session is closed.
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
    /// For each session, when its latest request ends.
    busy_until: Vec<f64>,
}

impl Process {
    /// A new process.
    pub const fn new(id: Uuid) -> Self {
        Self { id, uses: BTreeMap::new() }
    }

    /// A request to this server begins now and takes this many seconds.
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

    /// For a server that is always in use: another request began now.
    pub fn touch(&mut self, server: usize, now: f64) {
        self.count_request(server, now);
    }

    /// Sets the use of a server, and closes its sessions.
    pub fn set(&mut self, server: usize, last_used: f64, count: u64) {
        self.uses.insert(server, Use { last_used, count, busy_until: Vec::new() });
    }

    /// Forgets a server.
    pub fn forget(&mut self, server: usize) {
        self.uses.remove(&server);
    }

    /// Until when its report stays the same without new requests: until a request ends, or an idle session is closed.
    pub fn unchanged_until(&self, now: f64) -> f64 {
        // The clock was set back, and the report moves with it.
        if self.uses.values().any(|used| used.last_used > now) {
            return now;
        }
        let ends = self.uses.values().flat_map(|used| &used.busy_until);
        let changes = ends.flat_map(|end| [*end, end + IDLE_SECONDS]);
        changes.filter(|change| *change > now).fold(f64::INFINITY, f64::min)
    }

    /// Its rows. `busy`: which servers always have a request in flight.
    pub fn entry<'a>(&self, servers: &'a [Arc<Server>], now: f64, busy: impl Fn(usize) -> bool) -> WorkerEntry<'a> {
        let row = |(index, used): (&usize, &Use)| {
            let server = servers.get(*index)?;
            let active = used.busy_until.iter().filter(|end| **end > now).count();
            let idle = used.busy_until.iter().filter(|end| **end <= now && **end + IDLE_SECONDS > now).count();
            Some(Row {
                gateway_id: server.gateway_id.as_deref(),
                url: &server.url,
                // After the clock was set back, a use must not be in the future.
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
