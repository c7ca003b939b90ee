//! What one collection of usage reports has brought. Data only; [`crate::workers`] makes it.
//!
//! A thousand workers with a thousand rows each are a million rows, and the last ones of every live process are kept.
//! So a row takes 24 bytes: it refers to its server by the place in a list that all rows of a collection share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::polling::FleetPolling;
use crate::model::{EndpointId, ServerUrl, UnixTime, WorkerId};

/// The answers of all endpoints that were asked in one collection.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    /// One answer for each endpoint that was known when the collection began.
    pub answers: Vec<EndpointAnswer>,
    /// Servers that the workers use and no `McpGateway` registers: without query, sorted, at most
    /// [`Collection::UNREGISTERED`].
    pub unregistered: Box<[ServerUrl]>,
    /// Fields of rows that name another registered server than the one the row counts for: sorted, at most
    /// [`Collection::IDENTITY_CONFLICTS`].
    pub identity_conflicts: Box<[IdentityConflict]>,
    /// How the processes poll. The counts are those since the collection before.
    pub polling: FleetPolling,
}

impl Collection {
    /// The most unregistered servers that are listed.
    pub const UNREGISTERED: usize = 20;
    /// The most conflicts that are listed.
    pub const IDENTITY_CONFLICTS: usize = 20;
}

/// A field of a row that names a registered server, in a row that counts for another one
/// (`docs/contract.md#which-server-a-row-is-for`). It prints without the queries of URLs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdentityConflict {
    /// The field.
    pub field: IdentityField,
    /// Its value: the id or the name of a registered object.
    pub value: Box<str>,
    /// The server that the field names.
    pub named: ServerUrl,
    /// The server that the row counts for.
    pub counted: ServerUrl,
}

impl fmt::Display for IdentityConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, value, named, counted } = self;
        write!(f, "{field} {value} is registered for {named}, but workers report it for {counted}")
    }
}

/// The fields of a row that may be in an [`IdentityConflict`]. As a string: the field, and the label of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display, strum::IntoStaticStr)]
#[strum(serialize_all = "camelCase")]
pub enum IdentityField {
    /// `gatewayId`.
    GatewayId,
    /// `name`, the namespace and name of an object.
    Name,
}

/// The answer of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointAnswer {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Its answer.
    pub answer: Answer,
}

/// The kinds of answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A usage report.
    Report(Report),
    /// The last report still holds (HTTP 304); its times have advanced by this (`docs/contract.md#the-usage-report`).
    Unchanged(Duration),
    /// The request or the report failed. The collector has counted and logged that.
    NoReport,
}

/// A usage report whose rows are resolved to servers of the registry, and whose times are by our clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Whether it covers all processes of the endpoint, with recent rows.
    pub complete: bool,
    /// Seconds that were added to all its times.
    pub offset: f64,
    /// One entry for each worker process.
    pub processes: Vec<ProcessReport>,
}

impl Report {
    /// Removes the times of uses before this moment. They are by another clock; what earlier reports say of them is
    /// remembered.
    pub fn forget_before(&mut self, time: UnixTime) {
        for row in self.processes.iter_mut().flat_map(|process| &mut process.rows) {
            *row = row.used_at(row.last_used().filter(|used| *used >= time || *used <= UnixTime::EPOCH));
        }
    }
}

/// The rows of one worker process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessReport {
    /// The process.
    pub id: WorkerId,
    /// When its rows were true.
    pub observed_at: UnixTime,
    /// The servers of the registry when the process was asked: the list that [`Row::server`] is a place in.
    pub servers: Arc<[ServerUrl]>,
    /// The reported usage; a server may have several rows.
    pub rows: Box<[Row]>,
}

impl ProcessReport {
    /// The rows with their servers.
    pub fn rows(&self) -> impl Iterator<Item = (&ServerUrl, &Row)> {
        self.rows.iter().filter_map(|row| Some((self.servers.get(row.server())?, row)))
    }

    /// Adds seconds to all its times. 0 and less mean "never used", and stay.
    pub fn shift(&mut self, seconds: f64) {
        self.observed_at = self.observed_at.shifted(seconds);
        for row in &mut self.rows {
            let used = row.last_used().map(|used| if used > UnixTime::EPOCH { used.shifted(seconds) } else { used });
            *row = row.used_at(used);
        }
    }
}

/// What one process reports of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    server: u32,
    active: u16,
    idle: u16,
    use_count: u64,
    /// `None` if it was not reported.
    last_used: Option<UnixTime>,
}

impl Row {
    /// More sessions count as this many: a process cannot have more connections from one address to one server.
    pub const MOST_SESSIONS: u16 = u16::MAX;

    /// `server`: its place in the list that belongs to the row. `last_used`: when the latest request to it began; may
    /// be 0 or negative; `None` if not reported. `active` and `idle`: sessions with and without a request in flight;
    /// capped at [`Row::MOST_SESSIONS`]. `use_count`: requests since the process started.
    pub fn new(server: u32, last_used: Option<UnixTime>, active: u64, idle: u64, use_count: u64) -> Self {
        let sessions = |count| u16::try_from(count).unwrap_or(u16::MAX);
        Self { server, active: sessions(active), idle: sessions(idle), use_count, last_used }
    }

    /// The place of its server in [`ProcessReport::servers`].
    pub const fn server(&self) -> usize {
        self.server as usize
    }

    /// When the latest request began; `None` if not reported.
    pub const fn last_used(&self) -> Option<UnixTime> {
        self.last_used
    }

    /// Sessions with a request in flight.
    pub fn active(&self) -> u64 {
        self.active.into()
    }

    /// Open sessions without a request in flight.
    pub fn idle(&self) -> u64 {
        self.idle.into()
    }

    /// Requests since the process started.
    pub const fn use_count(&self) -> u64 {
        self.use_count
    }

    /// The same row with another time, or none.
    pub const fn used_at(self, time: Option<UnixTime>) -> Self {
        Self { last_used: time, ..self }
    }

    /// Whether the process has used the server or is using it.
    pub fn says_used(&self) -> bool {
        self.active > 0 || self.use_count > 0 || self.last_used > Some(UnixTime::EPOCH)
    }

    /// Merges rows of one process for the same server where that changes nothing. Rows with a time above 0, with one
    /// that is not, and without a time differ in meaning and stay separate, so that at most three rows remain for each
    /// server.
    pub fn fold(rows: &mut Vec<Self>) {
        fn kind(row: &Row) -> (u32, u8) {
            (row.server, row.last_used.map_or(0, |time| 1 + u8::from(time > UnixTime::EPOCH)))
        }
        rows.sort_unstable_by_key(kind);
        rows.dedup_by(|next, row| {
            let same = kind(next) == kind(row);
            if same {
                row.active = row.active.saturating_add(next.active);
                row.idle = row.idle.saturating_add(next.idle);
                row.use_count = row.use_count.saturating_add(next.use_count);
                row.last_used = row.last_used.max(next.last_used);
            }
            same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(server: u32, last_used: Option<f64>, count: u64) -> Row {
        Row::new(server, last_used.and_then(UnixTime::from_seconds), 1, 2, count)
    }

    #[test]
    fn a_row_takes_24_bytes() {
        assert_eq!(size_of::<Row>(), 24);
    }

    #[test]
    fn rows_of_one_server_are_folded_unless_their_meaning_differs() {
        let mut rows =
            vec![row(1, Some(5.0), 1), row(0, None, 7), row(1, Some(9.0), 2), row(1, None, 4), row(1, Some(0.0), 9)];
        Row::fold(&mut rows);
        let seen: Vec<_> =
            rows.iter().map(|row| (row.server(), row.last_used().map(UnixTime::seconds), row.use_count())).collect();
        assert_eq!(seen, [(0, None, 7), (1, None, 4), (1, Some(0.0), 9), (1, Some(9.0), 3)]);
        assert_eq!((rows[3].active(), rows[3].idle()), (2, 4));
    }
}
