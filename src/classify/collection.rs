//! What one collection brought, in the words of the classification. Data only; [`crate::workers`] makes it.

use crate::model::{EndpointId, ServerUrl, UnixTime, WorkerId};

/// What one collection brought: for each endpoint that was asked its report, or that there was none.
#[derive(Clone, Debug, Default)]
pub struct Collection {
    /// One answer for each endpoint that was known when it began.
    pub answers: Vec<Answer>,
}

/// What one endpoint said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Who.
    pub endpoint: EndpointId,
    /// Its report; `None` if the request or the report failed, which the collector has counted and logged.
    pub report: Option<Report>,
}

/// A usage report, its rows already resolved to servers of the registry and its times to our clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Whether it speaks for all processes of the endpoint, and lately.
    pub complete: bool,
    /// One entry for each worker process.
    pub processes: Vec<ProcessReport>,
}

/// The rows of one worker process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessReport {
    /// The process.
    pub id: WorkerId,
    /// When its rows were true.
    pub observed_at: UnixTime,
    /// One entry for each row; a server may have several.
    pub rows: Vec<(ServerUrl, Row)>,
}

/// What one process says of one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// When its latest request to the server began, at most `observed_at`; may be 0 or negative; `None` if not said.
    pub last_used: Option<UnixTime>,
    /// Sessions with a request in flight.
    pub active: u64,
    /// Open sessions without one.
    pub idle: u64,
    /// Requests since the process started.
    pub use_count: u64,
}
