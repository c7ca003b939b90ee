//! Cuts a report into *units* as it arrives, and keeps what the units say. Pure.
//!
//! In: text, cut anywhere. Out: the entries with their rows, times by the endpoint's clock. A unit is a row, or a field
//! of the report or of an entry. `serde_json` reads it when all of it has arrived. A unit longer than [`LONGEST_UNIT`]
//! is passed over as it arrives, so neither the body nor a tree of it is ever stored.
//!
//! JSON fields have no order, so what concerns the whole report (clocks, completeness, ids) is left to the caller, at
//! the end. For the same reason a fault of the shape does not end the reading: what follows may say that the report has
//! another version, or is not JSON.

use serde_json::value::RawValue;

use super::different_urls::DifferentUrls;
use super::json::{Cursor, Stop, blanks};
use super::row::{BadRow, ReadRow, Skipped, count, number, text};
use super::skip::Skip;
use super::unregistered::Unregistered;
use super::{API_VERSION, KIND, LATEST_SECONDS, ReportError};
use crate::classify::Row;
use crate::model::WorkerId;
use crate::registry::RegistrySnapshot;

/// The longest unit that is read, in bytes.
pub(super) const LONGEST_UNIT: usize = 64 * 1024;
/// The most rows that are kept of one report: 6.4 MB (docs/contract.md#budgets).
pub(super) const MOST_ROWS: usize = 200_000;
/// The most worker processes in one report.
pub(super) const MOST_WORKERS: usize = 10_000;
/// The rows of an entry are folded at this number, and then whenever they have doubled.
const FOLD_AT: usize = 32_768;

/// A report, not yet judged as a whole.
#[derive(Default)]
pub(super) struct RawReport {
    pub generated_at: f64,
    pub expected_workers: u64,
    pub entries: Vec<Entry>,
    pub skipped: Skipped,
    pub unregistered: Unregistered,
    /// `None`: they are not collected.
    pub different_urls: Option<DifferentUrls>,
}

/// One of its `workers`. Its rows are resolved, and its times are by the endpoint's clock.
pub(super) struct Entry {
    pub id: WorkerId,
    pub observed_at: f64,
    pub rows: Vec<Row>,
}

/// A field that may appear once. `None`: it has not appeared.
type Once<T> = Option<Result<T, ReportError>>;

fn set<T>(field: &mut Once<T>, name: &'static str, value: Result<T, ReportError>) {
    *field = Some(if field.is_some() { Err(shape(name)) } else { value });
}

const fn shape(field: &'static str) -> ReportError {
    ReportError::Shape { field }
}

/// The fields of the report.
#[derive(Default)]
struct Header {
    /// Whether it is the one that this reader knows.
    api_version: Once<bool>,
    /// The same.
    kind: Once<bool>,
    generated_at: Once<f64>,
    expected_workers: Once<u64>,
    workers: Once<()>,
}

/// The fields of the entry that is being read.
#[derive(Default)]
struct EntryFields {
    id: Once<WorkerId>,
    observed_at: Once<f64>,
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

/// The state between two pieces of text.
pub(super) struct Framer<'r> {
    registry: &'r RegistrySnapshot,
    place: Place,
    /// The next unit is the first one in this place.
    first: bool,
    /// What is being passed over, before the next unit.
    skip: Option<Skip>,
    is_object: bool,
    header: Header,
    entry: EntryFields,
    report: RawReport,
    /// Rows of all entries but the one that is being read.
    kept_rows: usize,
    /// The first fault of the shape.
    fault: Option<ReportError>,
}

impl<'r> Framer<'r> {
    /// Rows are resolved with this registry.
    pub fn new(registry: &'r RegistrySnapshot) -> Self {
        Self {
            registry,
            place: Place::Start,
            first: true,
            skip: None,
            is_object: false,
            header: Header::default(),
            entry: EntryFields::default(),
            report: RawReport::default(),
            kept_rows: 0,
            fault: None,
        }
    }

    pub fn collect_different_urls(&mut self) {
        self.report.different_urls = Some(DifferentUrls::default());
    }

    /// Takes all whole units from the start of a text. How many bytes that was; the error comes with the position of
    /// the bad unit.
    pub fn take(&mut self, text: &str) -> Result<usize, (ReportError, usize)> {
        let mut at = 0;
        loop {
            if self.skip.is_none() {
                at += blanks(&text[at..]);
            }
            if at == text.len() {
                return Ok(at);
            }
            match self.step(&text[at..]) {
                Ok(taken) => at += taken,
                Err(Stop::Incomplete) if text.len() - at < LONGEST_UNIT => return Ok(at),
                Err(Stop::Incomplete) => self.skip_long_unit(),
                Err(Stop::NotJson) => return Err((ReportError::NotJson { at: 0 }, at)),
                Err(Stop::Refused(error)) => return Err((error, at)),
            }
        }
    }

    /// The report, when all of it was taken. A report of another version is called that, whatever else is wrong with
    /// it.
    pub fn finish(self) -> Result<RawReport, ReportError> {
        if self.place != Place::End || self.skip.is_some() {
            return Err(ReportError::NotJson { at: 0 });
        }
        let Header { api_version, kind, generated_at, expected_workers, workers } = self.header;
        match (self.fault, api_version, kind) {
            (fault, Some(Ok(true)), Some(Ok(true))) => fault.map_or(Ok(()), Err)?,
            (Some(fault), ..) if !self.is_object => return Err(fault),
            (_, Some(Err(error)), _) | (_, _, Some(Err(error))) => return Err(error),
            _ => return Err(ReportError::UnknownVersion),
        }
        workers.unwrap_or(Err(shape("workers")))?;
        let expected_workers = expected_workers.unwrap_or(Ok(0))?;
        let generated_at = generated_at.unwrap_or(Err(shape("generatedAt")))?;
        Ok(RawReport { generated_at, expected_workers, ..self.report })
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
            Place::Start if cursor.peek()? == b'{' => {
                cursor.take(b'{')?;
                self.is_object = true;
                self.enter(Place::Body);
            }
            Place::Start => self.fail("body", Skip::value(), Place::End),
            Place::Body => self.body_field(&mut cursor)?,
            Place::Workers => {
                if !cursor.next_item(self.first, b']')? {
                    self.return_to(Place::Body);
                } else if cursor.peek()? == b'{' {
                    cursor.take(b'{')?;
                    self.entry = EntryFields { fold_at: FOLD_AT, ..EntryFields::default() };
                    self.enter(Place::Entry);
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
        let header = &mut self.header;
        match &*cursor.key()? {
            "apiVersion" => set(&mut header.api_version, "apiVersion", Ok(is(cursor.value()?, API_VERSION))),
            "kind" => set(&mut header.kind, "kind", Ok(is(cursor.value()?, KIND))),
            "generatedAt" => set(&mut header.generated_at, "generatedAt", time(cursor.value()?, "generatedAt")),
            "expectedWorkers" => {
                let value = count(Some(cursor.value()?)).map_err(|_| shape("expectedWorkers"));
                set(&mut header.expected_workers, "expectedWorkers", value);
            }
            "workers" => {
                let list = header.workers.is_none() && cursor.peek()? == b'[';
                set(&mut header.workers, "workers", if list { Ok(()) } else { Err(shape("workers")) });
                if list {
                    cursor.take(b'[')?;
                    self.enter(Place::Workers);
                    return Ok(());
                }
                self.skip = Some(Skip::value());
            }
            _ => self.skip = Some(Skip::value()),
        }
        self.first = false;
        Ok(())
    }

    fn entry_field(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.next_item(self.first, b'}')? {
            self.return_to(Place::Workers);
            return Ok(self.end_entry()?);
        }
        let entry = &mut self.entry;
        match &*cursor.key()? {
            "id" => {
                let id = text(Some(cursor.value()?)).ok().flatten().and_then(|id| WorkerId::parse(&id));
                set(&mut entry.id, "id", id.ok_or(shape("id")));
            }
            "observedAt" => set(&mut entry.observed_at, "observedAt", time(cursor.value()?, "observedAt")),
            "servers" => {
                let next = cursor.peek()?;
                let repeated = std::mem::replace(&mut entry.has_servers, true);
                if next == b'[' && !repeated {
                    cursor.take(b'[')?;
                    self.enter(Place::Servers);
                    return Ok(());
                }
                // Null is an empty list, as an absent one is.
                if repeated || next != b'n' {
                    entry.id = Some(Err(shape("servers")));
                }
                self.skip = Some(Skip::value());
            }
            _ => self.skip = Some(Skip::value()),
        }
        self.first = false;
        Ok(())
    }

    fn end_entry(&mut self) -> Result<(), ReportError> {
        let EntryFields { id, observed_at, mut rows, .. } = std::mem::take(&mut self.entry);
        let id = id.unwrap_or(Err(shape("id")));
        match id.and_then(|id| Ok((id, observed_at.unwrap_or(Err(shape("observedAt")))?))) {
            Ok(_) if self.report.entries.len() >= MOST_WORKERS => return Err(ReportError::TooManyWorkers),
            Ok((id, observed_at)) => {
                rows.shrink_to_fit();
                self.kept_rows += rows.len();
                self.report.entries.push(Entry { id, observed_at, rows });
            }
            Err(ReportError::TimesInMilliseconds) => return Err(ReportError::TimesInMilliseconds),
            Err(error) => {
                self.fault.get_or_insert(error);
            }
        }
        Ok(())
    }

    fn row(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Stop> {
        if !cursor.next_item(self.first, b']')? {
            self.return_to(Place::Entry);
            return Ok(());
        }
        if cursor.peek()? != b'{' {
            self.fail("servers", Skip::value_and_rest(b"]}]"), Place::Body);
            return Ok(());
        }
        let row = ReadRow::read(cursor)?;
        self.first = false;
        let RawReport { skipped, unregistered, different_urls, .. } = &mut self.report;
        let row = if cursor.at() > LONGEST_UNIT {
            Err(BadRow::TooLong)
        } else {
            row.resolve(self.registry, unregistered, different_urls.as_mut())?
        };
        match row {
            Ok(row) => self.keep(row)?,
            Err(bad) => skipped.add(bad),
        }
        Ok(())
    }

    fn keep(&mut self, row: Row) -> Result<(), ReportError> {
        let EntryFields { rows, fold_at, .. } = &mut self.entry;
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

    fn enter(&mut self, place: Place) {
        (self.place, self.first) = (place, true);
    }

    fn return_to(&mut self, place: Place) {
        (self.place, self.first) = (place, false);
    }

    /// The shape is wrong here: passes over this much, and continues in this place.
    fn fail(&mut self, field: &'static str, skip: Skip, then: Place) {
        self.fault.get_or_insert_with(|| shape(field));
        self.skip = Some(skip);
        self.return_to(then);
    }

    /// The next unit is too long to be read. A row is skipped; a field of the report or of an entry is a fault of the
    /// shape.
    fn skip_long_unit(&mut self) {
        match self.place {
            Place::Servers => {
                self.report.skipped.add(BadRow::TooLong);
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

/// Whether a value is this string.
fn is(value: &RawValue, wanted: &str) -> bool {
    text(Some(value)).is_ok_and(|text| text.as_deref() == Some(wanted))
}

/// A time that may not be null.
fn time(value: &RawValue, field: &'static str) -> Result<f64, ReportError> {
    match number(Some(value)) {
        Ok(Some(seconds)) if seconds > LATEST_SECONDS => Err(ReportError::TimesInMilliseconds),
        Ok(Some(seconds)) => Ok(seconds),
        Ok(None) | Err(_) => Err(shape(field)),
    }
}
