//! Reads usage reports (docs/contract.md#the-usage-report): from the bytes of an answer to rows of the registry. Pure.
//!
//! In: a body, the registry whose servers its rows are for, our clock at the receipt. Out: a [`Report`] in our time,
//! and how many rows were skipped and why. Must not: read a clock, log (a body may hold secrets), or let one bad row
//! cost the others.
//!
//! The body is read in one pass as it arrives ([`Reader`]): a framer cuts out each row and each field of the header,
//! and `serde_json` reads that. At most 64 KiB of text and the resolved rows are stored, never the body or a tree of
//! it.

mod different_urls;
mod framer;
mod json;
mod row;
mod skip;
mod unregistered;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::classify::{ProcessReport, Report};
use crate::model::{ServerUrl, UnixTime};
use crate::registry::RegistrySnapshot;
pub use different_urls::DifferentUrl;
use different_urls::DifferentUrls;
use framer::{Entry, Framer, LONGEST_UNIT, RawReport};
pub use row::{BadRow, Skipped};
pub use unregistered::Unregistered;

/// The `apiVersion` of a usage report.
pub const API_VERSION: &str = "usage.mcpgateway.io/v1alpha1";
/// The `kind` of a usage report.
pub const KIND: &str = "UsageReport";

/// A time above this is in milliseconds: as seconds it is in the year 5138, as milliseconds in 1973.
const LATEST_SECONDS: f64 = 1e11;
/// Clocks that differ by this much are not corrected. It is more than a slow answer adds.
const TOLERATED_SKEW_SECONDS: f64 = 5.0;

/// Why a whole report is refused. Never contains any of the body, which may hold secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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

impl ReportError {
    /// The label of the metric and the field of the log line.
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

/// How the times of a report relate to our clock, and how recent they must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Our clock when the answer began to arrive; `None` for a saved report, whose times are not corrected.
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

/// A report that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// Its rows, resolved, in our time.
    pub report: Report,
    /// `generatedAt`, by the endpoint's own clock. The `classify` command takes the newest one as the current time.
    pub generated_at: UnixTime,
    /// Seconds that were added to all times, for the [`Timing`] of the endpoint's next report.
    pub offset: f64,
    /// How many rows were skipped.
    pub skipped: Skipped,
    /// The servers of skipped rows that are used and not registered.
    pub unregistered: Unregistered,
    /// Registered servers with another URL in the report; empty unless the reader was asked to collect them.
    pub different_urls: Vec<DifferentUrl>,
}

/// Reads a report as it arrives.
pub struct Reader<'r> {
    registry: &'r RegistrySnapshot,
    framer: Framer<'r>,
    /// Text that was not taken yet: the start of a unit.
    text: String,
    /// The start of a character that the last piece has cut.
    cut: Vec<u8>,
    /// The text is looked at again at this length, so that many small pieces do not each cost a look at all of it.
    look_at: usize,
    /// Bytes taken.
    taken: u64,
}

impl<'r> Reader<'r> {
    /// Rows are resolved with this registry.
    pub fn new(registry: &'r RegistrySnapshot) -> Self {
        Self { registry, framer: Framer::new(registry), text: String::new(), cut: Vec::new(), look_at: 0, taken: 0 }
    }

    /// Also collects URLs that a worker stores differently than they are registered.
    pub fn with_different_urls(mut self) -> Self {
        self.framer.collect_different_urls();
        self
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// [`ReportError`] as soon as it is clear that the report cannot be used.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ReportError> {
        piece.chunks(LONGEST_UNIT).try_for_each(|piece| {
            let joined = if self.cut.is_empty() { Cow::Borrowed(piece) } else { [&self.cut, piece].concat().into() };
            let (text, cut) = split_utf8(&joined).ok_or(ReportError::NotJson { at: self.taken })?;
            self.text.push_str(text);
            self.cut = cut.to_vec();
            if self.text.len() < self.look_at { Ok(()) } else { self.look() }
        })
    }

    /// Judges the report as a whole, when all of the body was pushed.
    ///
    /// # Errors
    /// [`ReportError`] if it cannot be used; bad and unknown rows are only counted.
    pub fn finish(mut self, timing: &Timing) -> Result<Parsed, ReportError> {
        self.look()?;
        if !(self.cut.is_empty() && self.text.is_empty()) {
            return Err(ReportError::NotJson { at: self.taken });
        }
        let report = self.framer.finish().map_err(|error| error.at(self.taken))?;
        judge(report, timing, self.registry.servers())
    }

    /// Takes the units that are whole.
    fn look(&mut self) -> Result<(), ReportError> {
        let taken = self.framer.take(&self.text).map_err(|(error, at)| error.at(self.taken + at as u64))?;
        self.text.drain(..taken);
        self.taken += taken as u64;
        self.look_at = LONGEST_UNIT.min(self.text.len() * 2);
        Ok(())
    }
}

impl ReportError {
    /// The same, at this position if it has one.
    const fn at(self, at: u64) -> Self {
        match self {
            Self::NotJson { .. } => Self::NotJson { at },
            other => other,
        }
    }
}

/// The text in these bytes, and the start of a character at their end; `None` if they are not UTF-8.
fn split_utf8(bytes: &[u8]) -> Option<(&str, &[u8])> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some((text, &[])),
        Err(error) if error.error_len().is_some() => None,
        Err(error) => {
            let (text, cut) = bytes.split_at(error.valid_up_to());
            Some((std::str::from_utf8(text).ok()?, cut))
        }
    }
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

/// What concerns the report as a whole: ids, completeness, clocks.
fn judge(report: RawReport, timing: &Timing, servers: &Arc<[ServerUrl]>) -> Result<Parsed, ReportError> {
    let RawReport { generated_at, expected_workers, entries, skipped, unregistered, different_urls } = report;
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
        // Nothing can be observed after the answer was made. Without this limit a worker could report a use far in the
        // future, which would be remembered as the latest one for ever.
        let observed_at = observed_at.min(generated_at);
        for row in &mut rows {
            *row = row.used_at(row.last_used().map(|used| in_our_time(used.min(ours(observed_at)), offset)));
        }
        let (observed_at, servers) = (ours(observed_at).shifted(offset), Arc::clone(servers));
        ProcessReport { id, observed_at, servers, rows: rows.into_boxed_slice() }
    });
    let different_urls = different_urls.map(DifferentUrls::into_list).unwrap_or_default();
    let report = Report { complete: all_there && all_fresh, processes: processes.collect() };
    Ok(Parsed { report, generated_at: ours(generated_at), offset, skipped, unregistered, different_urls })
}

/// 0 and less mean "never used". With an offset they would become a use.
fn in_our_time(used: UnixTime, offset: f64) -> UnixTime {
    if used > UnixTime::EPOCH { used.shifted(offset) } else { used }
}

#[cfg(test)]
mod tests;
