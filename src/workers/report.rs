//! A usage report, from the bytes of an answer to rows of the registry: SPEC section 2. Pure.
//!
//! In: a body, the registry whose servers its rows are for, the reading of our clock at the receipt. Out: a [`Report`]
//! in our time, and how many rows were left out and why. Must not: read a clock, log (a body is a stranger's text and
//! may hold secrets), or let one bad row cost the others.
//!
//! The body is read in one pass as it arrives ([`Reader`]), field by field and row by row: neither the body nor a tree of it is ever
//! held, only what is left of the last piece (64 KiB at the most) and the resolved rows. Numbers and texts are taken as
//! they stand and judged one by one, because a JSON library fails the whole document at `1e999` where the contract says
//! that only the row is lost.

mod fields;
mod json;
mod number;
mod read;
mod row;
mod rows;
mod skip;
mod unregistered;
mod utf8;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::classify::{ProcessReport, Report};
use crate::model::{ServerUrl, UnixTime};
use crate::registry::RegistrySnapshot;
use read::{Body, Entry, Pass};
pub use row::{BadRow, Skipped};
pub use unregistered::Unregistered;
use utf8::Utf8;

/// The `apiVersion` of a usage report.
pub const API_VERSION: &str = "usage.mcpgateway.io/v1alpha1";
/// The `kind` of a usage report.
pub const KIND: &str = "UsageReport";

/// A time above this is in milliseconds: as seconds it lies in the year 5138, as milliseconds in 1973.
const LATEST_SECONDS: f64 = 1e11;
/// Clocks that differ by no more are left as they are; it is above what a slow answer adds.
const TOLERATED_SKEW_SECONDS: f64 = 5.0;

/// Why a whole report is refused. Never repeats the body, which may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// Not JSON, or not UTF-8, or cut off.
    #[error("the body is no valid JSON (at byte {at}); serve a usage report at this address")]
    NotJson {
        /// How many bytes were read well, counted to the field or row that is broken.
        at: u64,
    },
    /// JSON, but not of the shape of a report.
    #[error("the body is no usage report: wrong, missing or repeated `{field}`")]
    Shape {
        /// The field that is wrong or missing, `body` for a structure that is.
        field: &'static str,
    },
    /// Another `apiVersion` or `kind`, or none.
    #[error("unknown version: serve apiVersion {API_VERSION}, kind {KIND}, or update the operator")]
    UnknownVersion,
    /// One id twice: the workers made it before they forked, and would be counted as one.
    #[error("one worker id stands in the report twice; make the id in each process, after the fork")]
    DuplicateWorkerId,
    /// More than 10,000 worker processes in one report.
    #[error("more than 10000 workers in one report; let each pod speak for its own processes only")]
    TooManyWorkers,
    /// More than 200,000 rows that name registered servers.
    #[error("more than 200000 rows in one report; split it over more endpoints")]
    TooManyRows,
    /// A time above 10^11.
    #[error("times look like milliseconds; report Unix seconds, with fractions if there are any")]
    TimesInMilliseconds,
}

impl ReportError {
    /// The label of the metric and the field of the log line.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "NotJson",
            Self::Shape { .. } => "Shape",
            Self::UnknownVersion => "UnknownVersion",
            Self::DuplicateWorkerId => "DuplicateWorkerId",
            Self::TooManyWorkers => "TooManyWorkers",
            Self::TooManyRows => "TooManyRows",
            Self::TimesInMilliseconds => "TimesInMilliseconds",
        }
    }
}

/// What a row says of the server it is for, decoded, as UTF-8. No `Debug`: the URL may carry a secret.
#[derive(Clone, Copy)]
struct RowKey<'a> {
    /// The place that its `gatewayId` has in the registry.
    by_id: Option<u32>,
    /// `namespace/name` of the object.
    name: Option<&'a [u8]>,
    /// As the worker holds it.
    url: Option<&'a [u8]>,
}

impl<'a> RowKey<'a> {
    /// The place of the registered server in [`RegistrySnapshot::servers`]: by id, else by name, else by exact URL. What is
    /// known by id or name counts for the canonical URL, whatever `url` says, because a worker may hold it with a secret added
    /// to the query.
    fn find_in(self, registry: &RegistrySnapshot) -> Option<u32> {
        let by_name = || registry.by_name(std::str::from_utf8(self.name?).ok()?);
        let by_url = || registry.by_url(self.url()?);
        self.by_id.or_else(by_name).or_else(by_url)
    }

    fn url(self) -> Option<&'a str> {
        std::str::from_utf8(self.url?).ok()
    }
}

/// Whose clock the times of a report are in, and how fresh it must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Our clock when the answer began to arrive; `None` for a saved report, whose times stay as they are.
    pub receipt: Option<UnixTime>,
    /// Seconds added to the endpoint's times so far: the `offset` of its last report, 0 at first.
    pub offset: f64,
    /// `--classification-interval`: rows older than two of them make the report partial.
    pub interval: Duration,
}

impl Timing {
    /// For a report from a file: nothing is corrected, and no row is too old.
    #[must_use]
    pub const fn saved() -> Self {
        Self { receipt: None, offset: 0.0, interval: Duration::MAX }
    }

    /// Seconds to add to the endpoint's times.
    ///
    /// The former offset stays while it is right within five seconds: were each answer's own skew added, the time of
    /// an idle server would move with the latency of every request, and ranks with it.
    fn offset_at(&self, generated_at: f64) -> f64 {
        let Some(receipt) = self.receipt else { return self.offset };
        let skew = receipt.seconds() - generated_at;
        match (skew - self.offset).abs() > TOLERATED_SKEW_SECONDS {
            false => self.offset,
            true if skew.abs() <= TOLERATED_SKEW_SECONDS => 0.0,
            true => skew,
        }
    }
}

/// A report that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// Its rows, resolved, in our time.
    pub report: Report,
    /// `generatedAt` as the endpoint wrote it, by its own clock. `classify` takes the newest one for its now.
    pub generated_at: UnixTime,
    /// Seconds that were added to all times; goes into the [`Timing`] of the endpoint's next report.
    pub offset: f64,
    /// The rows that were left out.
    pub skipped: Skipped,
    /// Of those, the servers that are used and not registered.
    pub unregistered: Unregistered,
}

/// Reads a usage report while it arrives.
pub struct Reader<'r> {
    registry: &'r RegistrySnapshot,
    pass: Pass<'r>,
    utf8: Utf8,
    /// What is left of the pieces so far: the beginning of a field or row.
    left: Vec<u8>,
    /// It is not looked at again before it is so long: many tiny pieces must not cost a look each.
    look_at: usize,
    /// Bytes that were taken.
    taken: u64,
}

impl<'r> Reader<'r> {
    /// Rows are resolved by this registry.
    #[must_use]
    pub fn new(registry: &'r RegistrySnapshot) -> Self {
        Self { registry, pass: Pass::new(registry), utf8: Utf8::default(), left: Vec::new(), look_at: 0, taken: 0 }
    }

    /// Takes in the next piece of the body.
    ///
    /// # Errors
    /// [`ReportError`] as soon as it is clear that the report cannot be used.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ReportError> {
        let taken = self.taken;
        self.utf8.check(piece).map_err(|_| ReportError::NotJson { at: taken })?;
        if self.left.is_empty() {
            let taken = self.take(piece)?;
            self.left.extend_from_slice(&piece[taken..]);
        } else {
            self.left.extend_from_slice(piece);
            if self.left.len() < self.look_at {
                return Ok(());
            }
            let left = std::mem::take(&mut self.left);
            let taken = self.take(&left)?;
            self.left = left;
            self.left.drain(..taken);
        }
        self.look_at = self.left.len() * 2;
        Ok(())
    }

    /// Judges the report as a whole, when the body has ended.
    ///
    /// # Errors
    /// [`ReportError`] if it cannot be used; bad and unknown rows are only counted.
    pub fn finish(mut self, timing: &Timing) -> Result<Parsed, ReportError> {
        self.utf8.end().map_err(|_| ReportError::NotJson { at: self.taken })?;
        let left = std::mem::take(&mut self.left);
        let taken = self.take(&left)?;
        let body = self.pass.finish(&left[taken..]);
        body.map_err(|error| placed(error, self.taken)).and_then(|body| judged(body, timing, self.registry.servers()))
    }

    fn take(&mut self, piece: &[u8]) -> Result<usize, ReportError> {
        let taken = self.pass.take(piece).map_err(|(error, at)| placed(error, self.taken + at as u64))?;
        self.taken += taken as u64;
        Ok(taken)
    }
}

fn placed(error: ReportError, at: u64) -> ReportError {
    match error {
        ReportError::NotJson { .. } => ReportError::NotJson { at },
        other => other,
    }
}

/// Reads a usage report that is at hand in full.
///
/// # Errors
/// [`ReportError`] if the report as a whole cannot be used; bad and unknown rows are only counted.
pub fn parse(body: &[u8], timing: &Timing, registry: &RegistrySnapshot) -> Result<Parsed, ReportError> {
    let mut reader = Reader::new(registry);
    body.chunks(read::LONGEST_UNIT).try_for_each(|piece| reader.push(piece))?;
    reader.finish(timing)
}

/// What concerns the report as a whole: ids, completeness, clocks.
fn judged(body: Body, timing: &Timing, servers: &Arc<[ServerUrl]>) -> Result<Parsed, ReportError> {
    let Body { generated_at, expected_workers, entries, skipped, unregistered } = body;
    let mut seen = HashSet::with_capacity(entries.len());
    if !entries.iter().all(|entry| seen.insert(&entry.id)) {
        return Err(ReportError::DuplicateWorkerId);
    }
    let oldest_fresh = generated_at - 2.0 * timing.interval.as_secs_f64();
    let all_there = expected_workers <= entries.len() as u64;
    let all_fresh = entries.iter().all(|entry| entry.observed_at >= oldest_fresh);

    let offset = timing.offset_at(generated_at);
    let ours = |seconds: f64| UnixTime::from_seconds(seconds).unwrap_or(UnixTime::EPOCH);
    let processes = entries.into_iter().map(|entry| {
        let Entry { id, observed_at, mut rows } = entry;
        // Nothing was seen after the answer was made. Without this limit a worker could claim a use far in the
        // future, which would be remembered as the latest one for ever.
        let observed_at = observed_at.min(generated_at);
        for row in &mut rows {
            *row = row.used_at(row.last_used().map(|used| in_our_time(used.min(ours(observed_at)), offset)));
        }
        let (observed_at, servers) = (ours(observed_at).shifted(offset), Arc::clone(servers));
        ProcessReport { id, observed_at, servers, rows: rows.into_boxed_slice() }
    });
    let report = Report { complete: all_there && all_fresh, processes: processes.collect() };
    Ok(Parsed { report, generated_at: ours(generated_at), offset, skipped, unregistered })
}

/// 0 and less mean "never used"; moved by an offset, they would become a use.
fn in_our_time(used: UnixTime, offset: f64) -> UnixTime {
    if used > UnixTime::EPOCH { used.shifted(offset) } else { used }
}

#[cfg(test)]
mod tests;
