//! One row of a report, value by value. Pure.
//!
//! In: the tokens of each field. Out: a [`Row`] and the key of its server, or why the row is left out. Must not fail for more than
//! its row.

use std::borrow::Cow;

use super::json::{Figure, Scan, Step, Word};
use super::unregistered::Unregistered;
use super::{LATEST_SECONDS, ReportError, RowKey};
use crate::classify::Row;
use crate::model::UnixTime;
use crate::registry::RegistrySnapshot;

/// Counts above this are not exact in the JSON numbers of most languages.
const LARGEST_COUNT: u64 = 1 << 53;

/// Why a row is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    /// A number that no float can hold, such as 1e999.
    #[error("a number is not finite")]
    NotFinite,
    /// A count below 0.
    #[error("a count is negative")]
    Negative,
    /// A count with a fraction.
    #[error("a count is no integer")]
    NotInteger,
    /// A count above 2^53.
    #[error("a count is above 2^53")]
    TooLarge,
    /// A text where a number belongs, or the other way round, or a text that is no Unicode.
    #[error("a field has a value of the wrong type")]
    WrongType,
    /// One field twice, so that nobody can tell which value holds.
    #[error("a field stands twice in a row")]
    RepeatedField,
    /// More than 64 KiB.
    #[error("a row is longer than 64 KiB")]
    TooLong,
    /// A good row for a server that is not registered.
    #[error("the server of the row is not registered")]
    UnknownServer,
}

impl BadRow {
    /// All of them, in the order of [`Skipped`].
    pub const ALL: [Self; 8] = [
        Self::NotFinite,
        Self::Negative,
        Self::NotInteger,
        Self::TooLarge,
        Self::WrongType,
        Self::RepeatedField,
        Self::TooLong,
        Self::UnknownServer,
    ];

    /// The label of the metric.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFinite => "NotFinite",
            Self::Negative => "Negative",
            Self::NotInteger => "NotInteger",
            Self::TooLarge => "TooLarge",
            Self::WrongType => "WrongType",
            Self::RepeatedField => "RepeatedField",
            Self::TooLong => "TooLong",
            Self::UnknownServer => "UnknownServer",
        }
    }
}

/// How many rows of a report were left out, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped([u64; BadRow::ALL.len()]);

impl Skipped {
    /// How many for this reason.
    #[must_use]
    pub fn count(&self, reason: BadRow) -> u64 {
        self.0[reason as usize]
    }

    /// The reasons that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (BadRow, u64)> {
        BadRow::ALL.into_iter().map(|reason| (reason, self.count(reason))).filter(|(_, count)| *count > 0)
    }

    pub(super) fn add(&mut self, reason: BadRow) {
        let count = &mut self.0[reason as usize];
        *count = count.saturating_add(1);
    }
}

/// The fields of a row that are ours.
#[derive(Clone, Copy)]
enum Field {
    GatewayId,
    Name,
    Url,
    LastUsed,
    Active,
    Idle,
    UseCount,
}

impl Field {
    const fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"gatewayId" => Self::GatewayId,
            b"name" => Self::Name,
            b"url" => Self::Url,
            b"lastUsed" => Self::LastUsed,
            b"active" => Self::Active,
            b"idle" => Self::Idle,
            b"useCount" => Self::UseCount,
            _ => return None,
        })
    }
}

/// A row, as it stands in the body.
#[derive(Default)]
pub(super) struct RawRow<'a> {
    gateway_id: Word<'a>,
    name: Word<'a>,
    url: Word<'a>,
    last_used: Figure,
    active: Figure,
    idle: Figure,
    use_count: Figure,
    /// A bit for each [`Field`].
    seen: u8,
    repeated: bool,
}

impl<'a> RawRow<'a> {
    /// Reads a row from its opening brace to its closing one.
    pub fn read(scan: &mut Scan<'a>) -> Step<Self> {
        let mut row = Self::default();
        scan.take(b'{')?;
        let mut first = true;
        while scan.item(first, b'}')? {
            first = false;
            let Some(field) = scan.key(Field::of)? else {
                scan.value()?;
                continue;
            };
            let bit = 1 << field as u8;
            row.repeated |= row.seen & bit != 0;
            row.seen |= bit;
            match field {
                Field::GatewayId => row.gateway_id = scan.word()?,
                Field::Name => row.name = scan.word()?,
                Field::Url => row.url = scan.word()?,
                Field::LastUsed => row.last_used = scan.figure()?,
                Field::Active => row.active = scan.figure()?,
                Field::Idle => row.idle = scan.figure()?,
                Field::UseCount => row.use_count = scan.figure()?,
            }
        }
        Ok(row)
    }

    /// The row itself, its server found in the registry. The outer error fails the report, the inner one the row. A server
    /// that is used and not registered is noted.
    pub fn resolved(
        &self,
        registry: &RegistrySnapshot,
        unregistered: &mut Unregistered,
    ) -> Result<Result<Row, BadRow>, ReportError> {
        let last_used = match number(self.last_used) {
            Ok(Some(seconds)) if seconds > LATEST_SECONDS => return Err(ReportError::TimesInMilliseconds),
            Ok(seconds) => seconds.and_then(UnixTime::from_seconds),
            Err(bad) => return Ok(Err(bad)),
        };
        if self.repeated {
            return Ok(Err(BadRow::RepeatedField));
        }
        let mut judge = || {
            let [active, idle, use_count] = [count(self.active)?, count(self.idle)?, count(self.use_count)?];
            let (id, name, url) = (text(self.gateway_id)?, text(self.name)?, text(self.url)?);
            let key = RowKey { gateway_id: id.as_deref(), name: name.as_deref(), url: url.as_deref() };
            let place = key.find_in(registry);
            let row = Row::new(place.unwrap_or(u32::MAX), last_used, active, idle, use_count);
            if let (None, Some(url), true) = (place, key.url(), row.says_used()) {
                unregistered.note(url);
            }
            place.map(|_| row).ok_or(BadRow::UnknownServer)
        };
        Ok(judge())
    }
}

/// A finite number.
pub(super) fn number(value: Figure) -> Result<Option<f64>, BadRow> {
    match value {
        Figure::Absent => Ok(None),
        #[expect(clippy::cast_precision_loss, reason = "as JSON numbers are floats in most languages")]
        Figure::Whole(number) => Ok(Some(number as f64)),
        Figure::Number(number) if number.is_finite() => Ok(Some(number)),
        Figure::Number(_) => Err(BadRow::NotFinite),
        Figure::Wrong => Err(BadRow::WrongType),
    }
}

/// A count; absent is 0. `55.0` and `1e3` are integers too: some languages write them so.
pub(super) fn count(value: Figure) -> Result<u64, BadRow> {
    let count = match value {
        Figure::Whole(count) => count,
        other => match number(other)?.unwrap_or_default() {
            negative if negative < 0.0 => return Err(BadRow::Negative),
            broken if broken.fract() != 0.0 => return Err(BadRow::NotInteger),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, then refused")]
            whole => whole as u64,
        },
    };
    if count <= LARGEST_COUNT { Ok(count) } else { Err(BadRow::TooLarge) }
}

/// A text, decoded, as UTF-8.
pub(super) fn text(value: Word<'_>) -> Result<Option<Cow<'_, [u8]>>, BadRow> {
    match value {
        Word::Absent => Ok(None),
        Word::Text(text) => text.decode().map(Some).ok_or(BadRow::WrongType),
        Word::Wrong => Err(BadRow::WrongType),
    }
}
