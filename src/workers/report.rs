//! A usage report, from the bytes of an answer to rows of the registry: SPEC section 2. Pure.
//!
//! In: a body, a way to find the server that a row is for, the reading of our clock at the receipt. Out: a [`Report`]
//! in our time, and how many rows were left out and why. Must not: read a clock, log (a body is a stranger's text and
//! may hold secrets), or let one bad row cost the others.
//!
//! The body is read in one pass, row by row, so that no tree of it is ever held: what stays are the resolved rows.
//! Values of a row are taken as raw text first, because a JSON library fails the whole document at `1e999` where the
//! contract says that only the row is lost.

mod read;
mod row;

use std::collections::HashSet;
use std::time::Duration;

use crate::classify::{ProcessReport, Report};
use crate::model::{ServerUrl, UnixTime};
use crate::registry::RegistrySnapshot;
use read::{Body, Entry};
pub use row::{BadRow, Skipped};

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
    #[error("the body is no valid JSON (line {line}, column {column}); serve a usage report at this address")]
    NotJson {
        /// 1-based line of the body; 0 if it is not UTF-8.
        line: usize,
        /// 1-based column, in bytes.
        column: usize,
    },
    /// JSON, but not of the shape of a report.
    #[error("the body is no usage report: wrong or missing `{field}` (line {line}, column {column})")]
    Shape {
        /// The field that is wrong or missing, `body` for a structure that is.
        field: &'static str,
        /// 1-based line of the body, 0 if the fault has no place.
        line: usize,
        /// 1-based column, in bytes.
        column: usize,
    },
    /// Another `apiVersion` or `kind`, or none.
    #[error("unknown version: serve apiVersion {API_VERSION}, kind {KIND}, or update the operator")]
    UnknownVersion,
    /// One id twice: the workers made it before they forked, and would be counted as one.
    #[error("one worker id stands in the report twice; make the id in each process, after the fork")]
    DuplicateWorkerId,
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
            Self::TimesInMilliseconds => "TimesInMilliseconds",
        }
    }
}

/// What a row says of the server it is for, decoded. No `Debug`: the URL may carry a secret.
#[derive(Clone, Copy)]
pub struct RowKey<'a> {
    /// The id of the gateway.
    pub gateway_id: Option<&'a str>,
    /// `namespace/name` of the object.
    pub name: Option<&'a str>,
    /// The URL as the worker holds it.
    pub url: Option<&'a str>,
}

impl RowKey<'_> {
    /// The registered server: by id, else by name, else by exact URL. What is known by id or name counts for the
    /// canonical URL, whatever `url` says, because a worker may hold it with a secret added to the query.
    #[must_use]
    pub fn find_in(&self, registry: &RegistrySnapshot) -> Option<ServerUrl> {
        let by_id = self.gateway_id.and_then(|id| registry.by_id(id));
        let by_name = || self.name.and_then(|name| registry.by_name(name));
        let by_url = || self.url.and_then(|url| registry.by_url(url));
        by_id.or_else(by_name).or_else(by_url).cloned()
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
}

/// Reads a usage report. `resolve` names the registered server of a row, as [`RowKey::find_in`] does, or `None`.
///
/// # Errors
/// [`ReportError`] if the report as a whole cannot be used; bad and unknown rows are only counted.
pub fn parse<R>(body: &[u8], timing: &Timing, resolve: R) -> Result<Parsed, ReportError>
where
    R: FnMut(&RowKey<'_>) -> Option<ServerUrl>,
{
    let text = std::str::from_utf8(body).map_err(|_| ReportError::NotJson { line: 0, column: 0 })?;
    let Body { generated_at, expected_workers, entries, skipped } = read::body(text, resolve)?;

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
        for (_, row) in &mut rows {
            row.last_used = row.last_used.map(|used| in_our_time(used.min(ours(observed_at)), offset));
        }
        ProcessReport { id, observed_at: ours(observed_at).shifted(offset), rows }
    });
    Ok(Parsed {
        report: Report { complete: all_there && all_fresh, processes: processes.collect() },
        generated_at: ours(generated_at),
        offset,
        skipped,
    })
}

/// 0 and less mean "never used"; moved by an offset, they would become a use.
fn in_our_time(used: UnixTime, offset: f64) -> UnixTime {
    if used > UnixTime::EPOCH { used.shifted(offset) } else { used }
}

#[cfg(test)]
mod tests;
