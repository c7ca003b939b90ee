//! The one pass over a body, as it arrives: what stands where in a report. Pure.
//!
//! In: pieces of UTF-8 text. Out: the entries with their rows resolved, times still by the endpoint's clock. What concerns the
//! report as a whole (clocks, completeness, ids) is decided by the caller at the end, because JSON knows no order of fields.
//!
//! A piece is taken as far as it holds whole *units*: a field of the body or of an entry, or a row. A unit that does not end within
//! [`LONGEST_UNIT`] is passed over without being held. A fault of the shape does not end the pass: the rest is only passed
//! over, because what stands there may say that the report is of another version, or no JSON at all.

use super::fields::{BodyField, EntryField, FOLD_AT, Field, Header, RawEntry, misshapen, says, time};
use super::json::{Halt, Scan, Word};
use super::row::{BadRow, RawRow, Skipped, count, text};
use super::rows::{Ended, Rows};
use super::skip::{Level, Skip};
use super::unregistered::Unregistered;
use super::{API_VERSION, KIND, ReportError};
use crate::classify::Row;
use crate::model::WorkerId;
use crate::registry::RegistrySnapshot;

/// What is held of a body at the most, while a unit is not whole.
pub(super) const LONGEST_UNIT: usize = 64 * 1024;
/// The most rows that are kept of one report: 6.4 MB, so that a hostile endpoint costs no more than P7 allows.
pub(super) const MOST_ROWS: usize = 200_000;
/// The most worker processes that one endpoint may speak for.
pub(super) const MOST_WORKERS: usize = 10_000;
/// A report as read.
pub(super) struct Body {
    pub generated_at: f64,
    pub expected_workers: u64,
    pub entries: Vec<Entry>,
    pub skipped: Skipped,
    pub unregistered: Unregistered,
}

/// One of its `workers`.
pub(super) struct Entry {
    pub id: WorkerId,
    pub observed_at: f64,
    pub rows: Vec<Row>,
}

/// The pass, between two pieces.
pub(super) struct Pass<'r> {
    registry: &'r RegistrySnapshot,
    state: State,
    header: Header,
    entry: RawEntry,
    entries: Vec<Entry>,
    kept_rows: usize,
    skipped: Skipped,
    unregistered: Unregistered,
    /// The first fault of the shape; what follows it is only passed over.
    fault: Option<ReportError>,
}

/// Where the pass is.
enum State {
    /// Before the body.
    Start,
    /// In the body; `first`: before its first field.
    Body { first: bool },
    /// In the list of workers.
    Workers { first: bool },
    /// In one of them.
    Entry { first: bool },
    /// In its list of servers.
    Servers { first: bool },
    /// In something that is passed over, and where the pass is then.
    Skip(Skip, Then),
    /// Behind the body, where only blanks may stand.
    End,
}

/// What follows something that was passed over.
#[derive(Clone, Copy)]
enum Then {
    Body,
    Entry,
    Servers,
    End,
}

/// How a step ends without having taken a unit.
enum Stop {
    More,
    NotJson,
    Refused(ReportError),
}

impl From<Halt> for Stop {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::More => Self::More,
            Halt::Bad => Self::NotJson,
        }
    }
}

impl<'r> Pass<'r> {
    /// Rows are resolved by this registry.
    pub fn new(registry: &'r RegistrySnapshot) -> Self {
        Self {
            registry,
            state: State::Start,
            header: Header::default(),
            entry: RawEntry::default(),
            entries: Vec::new(),
            kept_rows: 0,
            skipped: Skipped::default(),
            unregistered: Unregistered::default(),
            fault: None,
        }
    }

    /// Takes as many units as the piece holds; how many bytes that was. The error says where in the piece it lies.
    pub fn take(&mut self, piece: &[u8]) -> Result<usize, (ReportError, usize)> {
        let mut at = 0;
        loop {
            // Blanks between units, however many, are held by nobody.
            if !matches!(self.state, State::Skip(..)) {
                at += piece[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
            }
            if at == piece.len() {
                return Ok(at);
            }
            match self.step(&piece[at..]) {
                Ok(taken) => at += taken,
                Err(Stop::More) if piece.len() - at < LONGEST_UNIT => return Ok(at),
                Err(Stop::More) => self.pass_over_unit(),
                Err(Stop::NotJson) => return Err((ReportError::NotJson { at: 0 }, at)),
                Err(Stop::Refused(error)) => return Err((error, at)),
            }
        }
    }

    /// The report, after the last piece. `rest`: what of it was not taken.
    pub fn finish(self, rest: &[u8]) -> Result<Body, ReportError> {
        let blank = rest.iter().all(u8::is_ascii_whitespace);
        if !matches!(self.state, State::End) || !blank {
            return Err(ReportError::NotJson { at: 0 });
        }
        let (generated_at, expected_workers) = self.header.judge(self.fault)?;
        let Self { entries, skipped, unregistered, .. } = self;
        Ok(Body { generated_at, expected_workers, entries, skipped, unregistered })
    }

    /// Takes one unit, or changes the state. The piece is not empty, and begins with no blank unless something is passed over.
    fn step(&mut self, piece: &[u8]) -> Result<usize, Stop> {
        let mut scan = Scan::new(piece);
        match &mut self.state {
            State::Start => {
                if scan.peek()? == b'{' {
                    scan.take(b'{')?;
                    self.header.is_object = true;
                    self.state = State::Body { first: true };
                } else {
                    self.fault = Some(misshapen("body"));
                    self.state = State::Skip(Skip::value(), Then::End);
                }
            }
            State::Body { first } => {
                let first = *first;
                self.body_field(&mut scan, first)?;
            }
            State::Workers { first } => {
                if !scan.item(*first, b']')? {
                    self.state = State::Body { first: false };
                } else if scan.peek()? == b'{' {
                    scan.take(b'{')?;
                    self.entry = RawEntry { fold_at: FOLD_AT, ..RawEntry::default() };
                    self.state = State::Entry { first: true };
                } else {
                    self.fail("workers", Skip::value_and_rest_of(&[Level::List]), Then::Body);
                }
            }
            State::Entry { first } => {
                let first = *first;
                self.entry_field(&mut scan, first)?;
            }
            State::Servers { first } => {
                let first = *first;
                return self.rows(&mut scan, first);
            }
            State::Skip(skip, then) => {
                let (taken, ended) = skip.feed(piece).map_err(|_| Stop::NotJson)?;
                if ended {
                    self.state = match then {
                        Then::Body => State::Body { first: false },
                        Then::Entry => State::Entry { first: false },
                        Then::Servers => State::Servers { first: false },
                        Then::End => State::End,
                    };
                }
                return Ok(taken);
            }
            State::End => return Err(Stop::NotJson),
        }
        Ok(scan.at())
    }

    fn body_field(&mut self, scan: &mut Scan<'_>, first: bool) -> Result<(), Stop> {
        if !scan.item(first, b'}')? {
            self.state = State::End;
            return Ok(());
        }
        let key = scan.key(BodyField::of)?;
        let next = scan.peek()?;
        let header = &mut self.header;
        match key {
            Some(BodyField::ApiVersion) => header.api_version.set("apiVersion", Ok(says(scan.word()?, API_VERSION))),
            Some(BodyField::Kind) => header.kind.set("kind", Ok(says(scan.word()?, KIND))),
            Some(BodyField::GeneratedAt) => header.generated_at.set("generatedAt", time("generatedAt", scan.figure()?)),
            Some(BodyField::ExpectedWorkers) => {
                let value = count(scan.figure()?).map_err(|_| misshapen("expectedWorkers"));
                header.expected_workers.set("expectedWorkers", value);
            }
            Some(BodyField::Workers) if next == b'[' && header.workers.is_absent() => {
                header.workers.set("workers", Ok(()));
                scan.take(b'[')?;
                self.state = State::Workers { first: true };
                return Ok(());
            }
            other => {
                if matches!(other, Some(BodyField::Workers)) {
                    header.workers.set("workers", Err(misshapen("workers")));
                }
                self.state = State::Skip(Skip::value(), Then::Body);
                return Ok(());
            }
        }
        self.state = State::Body { first: false };
        Ok(())
    }

    fn entry_field(&mut self, scan: &mut Scan<'_>, first: bool) -> Result<(), Stop> {
        if !scan.item(first, b'}')? {
            self.state = State::Workers { first: false };
            return self.end_entry().map_err(Stop::Refused);
        }
        let key = scan.key(EntryField::of)?;
        let next = scan.peek()?;
        match key {
            Some(EntryField::Id) => {
                let id =
                    text(scan.word()?).ok().flatten().and_then(|id| WorkerId::parse(std::str::from_utf8(&id).ok()?));
                self.entry.id.set("id", id.ok_or_else(|| misshapen("id")));
            }
            Some(EntryField::ObservedAt) => {
                self.entry.observed_at.set("observedAt", time("observedAt", scan.figure()?));
            }
            Some(EntryField::Servers) => {
                let repeated = std::mem::replace(&mut self.entry.has_servers, true);
                if next == b'[' && !repeated {
                    scan.take(b'[')?;
                    self.state = State::Servers { first: true };
                    return Ok(());
                }
                if repeated || !matches!(scan.word()?, Word::Absent) {
                    self.entry.id = Field::Bad(misshapen("servers"));
                }
                if repeated {
                    self.state = State::Skip(Skip::value(), Then::Entry);
                    return Ok(());
                }
            }
            _ => {
                self.state = State::Skip(Skip::value(), Then::Entry);
                return Ok(());
            }
        }
        self.state = State::Entry { first: false };
        Ok(())
    }

    /// Takes some rows, or what else stands in the list of servers. A fault behind good rows is met again by the next step.
    fn rows(&mut self, scan: &mut Scan<'_>, first: bool) -> Result<usize, Stop> {
        let mut rows = Rows::default();
        let (taken, ended) = rows.read(scan, first);
        for (row, by_id) in rows.looked_up(self.registry) {
            self.row(row, by_id).map_err(Stop::Refused)?;
        }
        self.state = State::Servers { first: first && taken == 0 };
        match ended {
            Ended::Halt(halt) if taken == 0 => return Err(halt.into()),
            Ended::Halt(_) | Ended::Full => {}
            Ended::Long => self.skipped.add(BadRow::TooLong),
            Ended::List => self.state = State::Entry { first: false },
            Ended::Other => {
                let enclosing = [Level::List, Level::Object, Level::List];
                self.fail("servers", Skip::value_and_rest_of(&enclosing), Then::Body);
            }
        }
        Ok(taken)
    }

    /// An entry has been read to its end.
    fn end_entry(&mut self) -> Result<(), ReportError> {
        let RawEntry { id, observed_at, mut rows, .. } = std::mem::take(&mut self.entry);
        let read = id.required("id").and_then(|id| Ok((id, observed_at.required("observedAt")?)));
        match read {
            Ok((id, observed_at)) => {
                if self.entries.len() >= MOST_WORKERS {
                    return Err(ReportError::TooManyWorkers);
                }
                rows.shrink_to_fit();
                self.kept_rows += rows.len();
                self.entries.push(Entry { id, observed_at, rows });
                Ok(())
            }
            Err(ReportError::TimesInMilliseconds) => Err(ReportError::TimesInMilliseconds),
            Err(error) => {
                self.fault.get_or_insert(error);
                Ok(())
            }
        }
    }

    fn row(&mut self, row: &RawRow<'_>, by_id: Option<u32>) -> Result<(), ReportError> {
        let Self { registry, unregistered, entry, skipped, .. } = self;
        match row.resolved(by_id, registry, unregistered)? {
            Ok(row) => entry.rows.push(row),
            Err(bad) => skipped.add(bad),
        }
        if entry.rows.len() >= entry.fold_at {
            Row::fold(&mut entry.rows);
            entry.fold_at = FOLD_AT.max(entry.rows.len() * 2);
        }
        if self.kept_rows + entry.rows.len() > MOST_ROWS {
            Row::fold(&mut entry.rows);
            if self.kept_rows + entry.rows.len() > MOST_ROWS {
                return Err(ReportError::TooManyRows);
            }
        }
        Ok(())
    }

    /// The shape is wrong here: the rest of what encloses it is only passed over.
    fn fail(&mut self, field: &'static str, rest: Skip, then: Then) {
        self.fault.get_or_insert_with(|| misshapen(field));
        self.state = State::Skip(rest, then);
    }

    /// A unit is longer than is held. Nothing of it has been taken.
    fn pass_over_unit(&mut self) {
        use Level::{List, Object};
        match self.state {
            State::Servers { first } => {
                self.skipped.add(BadRow::TooLong);
                // One item, with the comma before it.
                self.state = State::Skip(Skip::item(first), Then::Servers);
            }
            State::Body { first } => self.fail("body", Skip::rest_of(&[Object], first), Then::End),
            State::Workers { first } => self.fail("workers", Skip::rest_of(&[List], first), Then::Body),
            State::Entry { first } => self.fail("workers", Skip::rest_of(&[List, Object], first), Then::Body),
            // None of these waits for more.
            State::Start | State::Skip(..) | State::End => {}
        }
    }
}
