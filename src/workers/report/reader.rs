//! Reads a report as it arrives. Pure.
//!
//! A report is cut into *units*: a row, or a field of the report or of an entry. `serde_json` reads a unit when all of
//! it has arrived. A unit longer than [`LONGEST_UNIT`] is passed over as it arrives, so neither the body nor a tree of
//! it is ever stored.
//!
//! JSON fields have no order, so what concerns the whole report (clocks, completeness, ids) is judged at the end. For
//! the same reason a fault of the shape does not end the reading: what follows may say that the report has another
//! version, or is not JSON.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::json::{Cursor, Stop, blanks};
use super::row::{self, BadRow, DifferentUrl, Skipped, count, number, text};
use super::skip::Skip;
use super::unregistered::Unregistered;
use super::{API_VERSION, IdentityConflicts, KIND, LATEST_SECONDS, Parsed, ReportError, Timing};
use crate::classify::{ProcessReport, Report, Row};
use crate::model::clocks::TOLERATED_SKEW_SECONDS;
use crate::model::polling::ProcessPolling;
use crate::model::{UnixTime, WorkerId};
use crate::registry::RegistrySnapshot;

/// The longest unit that is read, in bytes.
pub(super) const LONGEST_UNIT: usize = 64 * 1024;
/// The most rows that are kept of one report: 6.4 MB (docs/contract.md#budgets).
pub(crate) const MOST_ROWS: usize = 200_000;
/// The most worker processes in one report.
pub(crate) const MOST_WORKERS: usize = 10_000;
/// The rows of an entry are folded at this number, and then whenever they have doubled.
const FOLD_AT: usize = 32_768;

/// The fields of the report, as far as they are there.
#[derive(Default)]
struct Header {
    is_object: bool,
    /// Whether it is the one that this reader knows. Also `true` if it is repeated, which is a fault of the shape.
    api_version: Option<bool>,
    /// The same.
    kind: Option<bool>,
    generated_at: Option<UnixTime>,
    expected_workers: Option<u64>,
    has_workers: bool,
}

/// The fields of the entry that is being read.
#[derive(Default)]
struct Entry {
    id: Option<WorkerId>,
    observed_at: Option<UnixTime>,
    polling: Option<ProcessPolling>,
    has_servers: bool,
    rows: Vec<Row>,
    fold_at: usize,
}

/// What the next unit is in.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Start,
    Body,
    Workers,
    Entry,
    Servers,
    End,
}

/// Reads a report as it arrives.
pub struct Reader<'r> {
    registry: &'r RegistrySnapshot,
    /// What was not taken yet: the start of a unit.
    pub(super) unread: Vec<u8>,
    /// It is looked at again at this length, so that many small pieces do not each cost a look at all of it.
    look_at: usize,
    /// Bytes taken.
    taken: u64,
    place: Place,
    /// The next unit is the first one in this place.
    first: bool,
    /// What is being passed over, before the next unit.
    skip: Option<Skip>,
    header: Header,
    entry: Entry,
    /// The entries before. Their times are by the endpoint's clock.
    processes: Vec<ProcessReport>,
    /// The polling objects of those entries.
    polling: Vec<(WorkerId, ProcessPolling)>,
    /// The rows of the entries before.
    kept_rows: usize,
    /// The first fault of the shape.
    fault: Option<ReportError>,
    skipped: Skipped,
    unregistered: Unregistered,
    identity_conflicts: IdentityConflicts,
    /// `None`: they are not collected.
    different_urls: Option<BTreeMap<u32, DifferentUrl>>,
}

impl<'r> Reader<'r> {
    /// Rows are resolved with this registry.
    pub fn new(registry: &'r RegistrySnapshot) -> Self {
        Self {
            registry,
            unread: Vec::new(),
            look_at: 0,
            taken: 0,
            place: Place::Start,
            first: true,
            skip: None,
            header: Header::default(),
            entry: Entry::default(),
            processes: Vec::new(),
            polling: Vec::new(),
            kept_rows: 0,
            fault: None,
            skipped: Skipped::default(),
            unregistered: Unregistered::default(),
            identity_conflicts: IdentityConflicts::default(),
            different_urls: None,
        }
    }

    /// Also collects URLs that a worker stores differently than they are registered.
    pub(crate) fn with_different_urls(mut self) -> Self {
        self.different_urls = Some(BTreeMap::new());
        self
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// [`ReportError`] as soon as it is clear that the report cannot be used.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), ReportError> {
        piece.chunks(LONGEST_UNIT).try_for_each(|piece| {
            self.unread.extend_from_slice(piece);
            if self.unread.len() < self.look_at { Ok(()) } else { self.look() }
        })
    }

    /// Judges the report as a whole, when all of the body was pushed: ids, completeness, clocks. A report of another
    /// version is called that, whatever else is wrong with it.
    ///
    /// # Errors
    /// [`ReportError`] if it cannot be used; bad and unknown rows are only counted.
    pub fn finish(mut self, timing: &Timing) -> Result<Parsed, ReportError> {
        // A number ends at what follows it.
        self.unread.push(b' ');
        self.look()?;
        if self.place != Place::End || self.skip.is_some() || !self.unread.is_empty() {
            return Err(ReportError::NotJson { at: self.taken });
        }
        let Header { is_object, api_version, kind, generated_at, expected_workers, has_workers } = self.header;
        if is_object && (api_version, kind) != (Some(true), Some(true)) {
            return Err(ReportError::UnknownVersion);
        }
        self.fault.map_or(Ok(()), Err)?;
        if !has_workers {
            return Err(shape("workers"));
        }
        let generated_at = generated_at.ok_or(shape("generatedAt"))?;

        let mut processes = self.processes;
        let mut seen = HashSet::with_capacity(processes.len());
        if !processes.iter().all(|process| seen.insert(&process.id)) {
            return Err(ReportError::DuplicateWorkerId);
        }
        let oldest_fresh = generated_at.seconds() - 2.0 * timing.interval.as_secs_f64();
        let complete = expected_workers.unwrap_or_default() <= processes.len() as u64
            && processes.iter().all(|process| process.observed_at.seconds() >= oldest_fresh);
        let offset = timing.offset_at(generated_at);
        for process in &mut processes {
            // Nothing can be observed after the answer was made. Without this limit a worker could report a use far in
            // the future, which would be remembered as the latest one for ever.
            process.observed_at = process.observed_at.min(generated_at);
            let observed_at = process.observed_at;
            let latest = observed_at.shifted(TOLERATED_SKEW_SECONDS);
            for row in &mut process.rows {
                // A use that is farther ahead is from before the worker's clock was set back: when it was is unknown.
                let used = row.last_used().filter(|used| *used <= latest);
                *row = row.used_at(used.map(|used| used.min(observed_at)));
            }
            process.shift(offset);
        }
        Ok(Parsed {
            report: Report { complete, offset, processes },
            polling: self.polling,
            generated_at,
            skipped: self.skipped,
            unregistered: self.unregistered,
            identity_conflicts: self.identity_conflicts,
            different_urls: self.different_urls.into_iter().flat_map(BTreeMap::into_values).collect(),
        })
    }

    /// Takes the units that are whole.
    fn look(&mut self) -> Result<(), ReportError> {
        let mut bytes = std::mem::take(&mut self.unread);
        let text = match std::str::from_utf8(&bytes) {
            Ok(text) => text,
            Err(error) if error.error_len().is_some() => return Err(ReportError::NotJson { at: self.taken }),
            // The last character is cut off.
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        };
        let mut at = 0;
        loop {
            if self.skip.is_none() {
                at += blanks(&text[at..]);
            }
            let rest = &text[at..];
            if rest.is_empty() {
                break;
            }
            match self.step(rest) {
                Ok(taken) => at += taken,
                Err(Stop::Incomplete) if rest.len() < LONGEST_UNIT => break,
                Err(Stop::Incomplete) => self.skip_long_unit(),
                Err(Stop::NotJson) => return Err(ReportError::NotJson { at: self.taken + at as u64 }),
                Err(Stop::Refused(error)) => return Err(error),
            }
        }
        bytes.drain(..at);
        self.taken += at as u64;
        self.look_at = LONGEST_UNIT.min(bytes.len() * 2);
        self.unread = bytes;
        Ok(())
    }

    /// Takes one unit, or enters or leaves a place. The text is not empty.
    fn step(&mut self, text: &str) -> Result<usize, Stop> {
        if let Some(skip) = &mut self.skip {
            let (taken, ended) = skip.feed(text.as_bytes())?;
            if ended {
                self.skip = None;
            }
            return Ok(taken);
        }
        let mut cursor = Cursor::new(text);
        match self.place {
            Place::Start if cursor.take_if(b'{')? => {
                self.header.is_object = true;
                self.go(Place::Body, true);
            }
            Place::Start => self.fail("body", Skip::value(), Place::End),
            Place::Body => self.body_field(&mut cursor)?,
            Place::Workers => {
                if !cursor.next_item(self.first, b']')? {
                    self.go(Place::Body, false);
                } else if cursor.take_if(b'{')? {
                    self.entry = Entry { fold_at: FOLD_AT, ..Entry::default() };
                    self.go(Place::Entry, true);
                } else {
                    self.fail("workers", Skip::value_and_rest(b"]"), Place::Body);
                }
            }
            Place::Entry => self.entry_field(&mut cursor)?,
            Place::Servers => self.row(&mut cursor)?,
            Place::End => return Err(Stop::NotJson),
        }
        Ok(cursor.at())
    }

    fn body_field(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.next_item(self.first, b'}')? {
            self.place = Place::End;
            return Ok(());
        }
        let (header, fault) = (&mut self.header, &mut self.fault);
        match &*cursor.key()? {
            "apiVersion" => {
                let known = is(cursor.value()?, API_VERSION) || header.api_version.is_some();
                set(fault, &mut header.api_version, "apiVersion", Ok(known));
            }
            "kind" => {
                let known = is(cursor.value()?, KIND) || header.kind.is_some();
                set(fault, &mut header.kind, "kind", Ok(known));
            }
            "generatedAt" => {
                set(fault, &mut header.generated_at, "generatedAt", time(cursor.value()?, "generatedAt"));
            }
            "expectedWorkers" => {
                let value = count(Some(cursor.value()?)).map_err(|_| shape("expectedWorkers"));
                set(fault, &mut header.expected_workers, "expectedWorkers", value);
            }
            "workers" if !header.has_workers && cursor.take_if(b'[')? => {
                header.has_workers = true;
                self.go(Place::Workers, true);
                return Ok(());
            }
            name => {
                if name == "workers" {
                    fault.get_or_insert(shape("workers"));
                }
                self.skip = Some(Skip::value());
            }
        }
        self.first = false;
        Ok(())
    }

    fn entry_field(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.next_item(self.first, b'}')? {
            self.go(Place::Workers, false);
            return Ok(self.end_entry()?);
        }
        let (entry, fault) = (&mut self.entry, &mut self.fault);
        match &*cursor.key()? {
            "id" => {
                let id = text(Some(cursor.value()?)).ok().flatten().and_then(|id| WorkerId::parse(&id));
                set(fault, &mut entry.id, "id", id.ok_or(shape("id")));
            }
            "observedAt" => set(fault, &mut entry.observed_at, "observedAt", time(cursor.value()?, "observedAt")),
            // An object of another form is ignored.
            "polling" => entry.polling = ProcessPolling::parse(cursor.value::<&RawValue>()?.get()),
            "servers" if !entry.has_servers && cursor.take_if(b'[')? => {
                entry.has_servers = true;
                self.go(Place::Servers, true);
                return Ok(());
            }
            name => {
                // Null is an empty list, as an absent one is.
                let is_null = cursor.peek()? == b'n';
                if name == "servers" && (std::mem::replace(&mut entry.has_servers, true) || !is_null) {
                    fault.get_or_insert(shape("servers"));
                }
                self.skip = Some(Skip::value());
            }
        }
        self.first = false;
        Ok(())
    }

    fn end_entry(&mut self) -> Result<(), ReportError> {
        let Entry { id, observed_at, polling, mut rows, .. } = std::mem::take(&mut self.entry);
        let missing = if id.is_none() { "id" } else { "observedAt" };
        let (Some(id), Some(observed_at)) = (id, observed_at) else {
            self.fault.get_or_insert_with(|| shape(missing));
            return Ok(());
        };
        if self.processes.len() >= MOST_WORKERS {
            return Err(ReportError::TooManyWorkers);
        }
        rows.shrink_to_fit();
        self.kept_rows += rows.len();
        self.polling.extend(polling.map(|polling| (id.clone(), polling)));
        let servers = Arc::clone(self.registry.servers());
        self.processes.push(ProcessReport { id, observed_at, servers, rows: rows.into_boxed_slice() });
        Ok(())
    }

    fn row(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.next_item(self.first, b']')? {
            self.go(Place::Entry, false);
            return Ok(());
        }
        if cursor.peek()? != b'{' {
            self.fail("servers", Skip::value_and_rest(b"]}]"), Place::Body);
            return Ok(());
        }
        let row = row::read(cursor)?;
        self.first = false;
        let row = if cursor.at() > LONGEST_UNIT {
            Err(BadRow::TooLong)
        } else {
            let (unregistered, conflicts) = (&mut self.unregistered, &mut self.identity_conflicts);
            row.resolve(self.registry, unregistered, conflicts, self.different_urls.as_mut())?
        };
        match row {
            Ok(row) => self.keep(row)?,
            Err(bad) => *self.skipped.entry(bad).or_default() += 1,
        }
        Ok(())
    }

    fn keep(&mut self, row: Row) -> Result<(), ReportError> {
        let Entry { rows, fold_at, .. } = &mut self.entry;
        rows.push(row);
        if rows.len() >= *fold_at {
            Row::fold(rows);
            *fold_at = FOLD_AT.max(rows.len() * 2);
        }
        if self.kept_rows + rows.len() > MOST_ROWS {
            Row::fold(rows);
            if self.kept_rows + rows.len() > MOST_ROWS {
                return Err(ReportError::TooManyRows);
            }
        }
        Ok(())
    }

    fn go(&mut self, place: Place, first: bool) {
        (self.place, self.first) = (place, first);
    }

    /// The shape is wrong here: passes over this much, and continues in this place.
    fn fail(&mut self, field: &'static str, skip: Skip, then: Place) {
        self.fault.get_or_insert_with(|| shape(field));
        self.skip = Some(skip);
        self.go(then, false);
    }

    /// The next unit is too long to be read. A row is skipped; a field of the report or of an entry is a fault of the
    /// shape.
    fn skip_long_unit(&mut self) {
        match self.place {
            Place::Servers => {
                *self.skipped.entry(BadRow::TooLong).or_default() += 1;
                self.skip = Some(Skip::item(self.first));
                self.first = false;
            }
            Place::Body => self.fail("body", Skip::rest(b"}", self.first), Place::End),
            Place::Workers => self.fail("workers", Skip::rest(b"]", self.first), Place::Body),
            Place::Entry => self.fail("workers", Skip::rest(b"]}", self.first), Place::Body),
            // These have no units.
            Place::Start | Place::End => {}
        }
    }
}

const fn shape(field: &'static str) -> ReportError {
    ReportError::Shape { field }
}

/// Sets a field that may appear once.
fn set<T>(fault: &mut Option<ReportError>, field: &mut Option<T>, name: &'static str, value: Result<T, ReportError>) {
    if field.is_some() {
        fault.get_or_insert(shape(name));
    }
    match value {
        Ok(value) => *field = Some(value),
        Err(error) => _ = fault.get_or_insert(error),
    }
}

/// Whether a value is this string.
fn is(value: &RawValue, wanted: &str) -> bool {
    text(Some(value)).is_ok_and(|text| text.as_deref() == Some(wanted))
}

/// A time that may not be null.
fn time(value: &RawValue, field: &'static str) -> Result<UnixTime, ReportError> {
    match number(Some(value)) {
        Ok(Some(seconds)) if seconds > LATEST_SECONDS => Err(ReportError::TimesInMilliseconds),
        Ok(seconds) => seconds.and_then(UnixTime::from_seconds).ok_or_else(|| shape(field)),
        Err(_) => Err(shape(field)),
    }
}
