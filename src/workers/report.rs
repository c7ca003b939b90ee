//! Reads usage reports (docs/contract.md#the-usage-report): from the bytes of an answer to rows of the registry. Pure.
//!
//! In: a body, the registry whose servers its rows are for, our clock at the receipt. Out: a [`Report`] in our time,
//! and how many rows were skipped and why. Must not: read a clock, log (a body may hold secrets), or let one bad row
//! cost the others.
//!
//! The body is read in one pass as it arrives ([`Reader`]): at most 64 KiB of text and the resolved rows are stored.

mod first;
mod identity_conflicts;
mod json;
mod reader;
mod row;
mod skip;
mod unregistered;

use std::time::Duration;

use crate::classify::Report;
use crate::model::clocks::TOLERATED_SKEW_SECONDS;
use crate::model::polling::ProcessPolling;
use crate::model::{UnixTime, WorkerId};
use crate::registry::RegistrySnapshot;
pub use identity_conflicts::IdentityConflicts;
pub use reader::Reader;
pub(crate) use reader::{MOST_ROWS, MOST_WORKERS};
pub use row::{BadRow, DifferentUrl, Skipped};
pub use unregistered::Unregistered;

/// The `apiVersion` of a usage report.
pub const API_VERSION: &str = "usage.mcpgateway.io/v1alpha1";
/// The `kind` of a usage report.
pub const KIND: &str = "UsageReport";

/// A time above this is in milliseconds: as seconds it is in the year 5138, as milliseconds in 1973.
const LATEST_SECONDS: f64 = 1e11;

/// Why a whole report is refused. Never contains any of the body, which may hold secrets. As a string: the label of the
/// metric and the field of the log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, thiserror::Error)]
pub enum ReportError {
    /// Not JSON, or not UTF-8, or cut off.
    #[error("the body is not valid JSON (at byte {at}); serve a usage report at this address")]
    NotJson {
        /// The position of the broken field or row, in bytes.
        at: u64,
    },
    /// JSON, but not of the shape of a report.
    #[error("the body is not a usage report: wrong, missing or repeated `{field}`")]
    Shape {
        /// The field that is wrong or missing; `body` if the structure is.
        field: &'static str,
    },
    /// Another `apiVersion` or `kind`, or none.
    #[error("unknown version: serve apiVersion {API_VERSION}, kind {KIND}, or update the operator")]
    UnknownVersion,
    /// The same id twice: it was made before the fork, and its processes would be counted as one.
    #[error("a worker id is repeated in the report; make the id in each process, after the fork")]
    DuplicateWorkerId,
    /// More than 10,000 worker processes in one report.
    #[error("more than 10000 workers in one report; let each pod report its own processes only")]
    TooManyWorkers,
    /// More than 200,000 rows that name registered servers.
    #[error("more than 200000 rows in one report; split it over more endpoints")]
    TooManyRows,
    /// A time above 10^11.
    #[error("times look like milliseconds; report Unix seconds, with fractions if there are any")]
    TimesInMilliseconds,
}

/// How the times of a report relate to our clock, and how recent they must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// The reference time when the answer began to arrive; `None` for a saved report, whose times are not corrected.
    pub receipt: Option<UnixTime>,
    /// Seconds added to the endpoint's times so far: the `offset` of its last report, 0 at first.
    pub offset: f64,
    /// `--classification-interval`. An entry older than two of them makes the report partial.
    pub interval: Duration,
}

impl Timing {
    /// For a report from a file: no time is corrected, and no entry is too old.
    pub const fn saved() -> Self {
        Self { receipt: None, offset: 0.0, interval: Duration::MAX }
    }

    /// Seconds to add to the endpoint's times.
    ///
    /// The last offset is kept while it is right within five seconds. With each answer's own skew, the time of an idle
    /// server would move with the latency of every request, and the ranks with it.
    fn offset_at(&self, generated_at: UnixTime) -> f64 {
        let Some(receipt) = self.receipt else { return self.offset };
        let skew = receipt.seconds() - generated_at.seconds();
        match (skew - self.offset).abs() > TOLERATED_SKEW_SECONDS {
            false => self.offset,
            true if skew.abs() <= TOLERATED_SKEW_SECONDS => 0.0,
            true => skew,
        }
    }
}

/// A report that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// Its rows, resolved, in our time.
    pub report: Report,
    /// What the processes say of their polling.
    pub polling: Vec<(WorkerId, ProcessPolling)>,
    /// `generatedAt`, by the endpoint's own clock. The `classify` command takes the newest one as the current time.
    pub generated_at: UnixTime,
    /// How many rows were skipped.
    pub skipped: Skipped,
    /// The servers of skipped rows that are used and not registered.
    pub unregistered: Unregistered,
    /// Ids and names in rows that count for another server.
    pub identity_conflicts: IdentityConflicts,
    /// Registered servers with another URL in the report; empty unless the reader was asked to collect them.
    pub different_urls: Vec<DifferentUrl>,
}

/// Reads a usage report that has arrived in full.
///
/// # Errors
/// [`ReportError`] if the report as a whole cannot be used; bad and unknown rows are only counted.
pub fn parse(body: &[u8], timing: &Timing, registry: &RegistrySnapshot) -> Result<Parsed, ReportError> {
    let mut reader = Reader::new(registry);
    reader.push(body)?;
    reader.finish(timing)
}

#[cfg(test)]
mod tests;
