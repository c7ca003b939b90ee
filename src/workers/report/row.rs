//! One row of a report, value by value. Pure.
//!
//! In: the tokens of each field. Out: a [`Row`] and the key of its server, or why the row is left out. Must not fail for more than
//! its row.

use std::borrow::Cow;

use super::json::{Scan, Step, Word};
use super::number::Figure;
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

/// The fields of a row that are ours: a text or a number, and its place among those.
#[derive(Clone, Copy)]
enum Field {
    Word(usize),
    Figure(usize),
}

impl Field {
    const GATEWAY_ID: Self = Self::Word(0);
    /// `namespace/name` of the object.
    const NAME: Self = Self::Word(1);
    /// As the worker holds it.
    const URL: Self = Self::Word(2);
    const LAST_USED: Self = Self::Figure(0);
    const ACTIVE: Self = Self::Figure(1);
    const IDLE: Self = Self::Figure(2);
    const USE_COUNT: Self = Self::Figure(3);

    const fn of(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"gatewayId" => Self::GATEWAY_ID,
            b"name" => Self::NAME,
            b"url" => Self::URL,
            b"lastUsed" => Self::LAST_USED,
            b"active" => Self::ACTIVE,
            b"idle" => Self::IDLE,
            b"useCount" => Self::USE_COUNT,
            _ => return None,
        })
    }

    /// The one whose name a text seems to begin with, and how long its name is. The names differ in their first two bytes, and to
    /// compare with one of known length is quicker than to look for the end of a name.
    fn begun(text: &[u8]) -> Option<(Self, usize)> {
        fn begins<const N: usize>(text: &[u8], name: &[u8; N], field: Field) -> Option<(Field, usize)> {
            (text.first_chunk::<N>() == Some(name)).then_some((field, N))
        }
        match text.first_chunk::<2>()? {
            b"ga" => begins(text, b"gatewayId", Self::GATEWAY_ID),
            b"na" => begins(text, b"name", Self::NAME),
            b"ur" => begins(text, b"url", Self::URL),
            b"la" => begins(text, b"lastUsed", Self::LAST_USED),
            b"ac" => begins(text, b"active", Self::ACTIVE),
            b"id" => begins(text, b"idle", Self::IDLE),
            b"us" => begins(text, b"useCount", Self::USE_COUNT),
            _ => None,
        }
    }

    /// A bit of its own.
    const fn bit(self) -> u8 {
        match self {
            Self::Word(place) => 1 << place,
            Self::Figure(place) => 1 << (3 + place),
        }
    }
}

/// A row, as it stands in the body.
#[derive(Clone, Copy, Default)]
pub(super) struct RawRow<'a> {
    words: [Word<'a>; 3],
    figures: [Figure; 4],
    /// A bit for each [`Field`].
    seen: u8,
    repeated: bool,
}

impl<'a> RawRow<'a> {
    /// Reads a row from its opening brace to its closing one, into an empty one: it is too large to be handed over.
    pub fn read(&mut self, scan: &mut Scan<'a>) -> Step<()> {
        let row = self;
        scan.take(b'{')?;
        let mut first = true;
        while scan.item(first, b'}')? {
            first = false;
            let Some(field) = scan.usual_key(Field::begun, Field::of)? else {
                scan.value()?;
                continue;
            };
            row.repeated |= row.seen & field.bit() != 0;
            row.seen |= field.bit();
            match field {
                Field::Word(place) => row.words[place] = scan.word()?,
                Field::Figure(place) => row.figures[place] = scan.figure()?,
            }
        }
        Ok(())
    }

    /// The place of its server by its `gatewayId`, if that is one of the registry: most of what a row costs, and what
    /// [`RawRow::resolved`] wants to know.
    pub fn place_by_id(&self, registry: &RegistrySnapshot) -> Option<u32> {
        text(self.words[0]).ok().flatten().and_then(|id| registry.by_id(&id))
    }

    /// The row itself, its server found in the registry. The outer error fails the report, the inner one the row. A server
    /// that is used and not registered is noted.
    pub fn resolved(
        &self,
        by_id: Option<u32>,
        registry: &RegistrySnapshot,
        unregistered: &mut Unregistered,
    ) -> Result<Result<Row, BadRow>, ReportError> {
        let [gateway_id, name, url] = self.words;
        let [last_used, active, idle, use_count] = self.figures;
        let last_used = match number(last_used) {
            Ok(Some(seconds)) if seconds > LATEST_SECONDS => return Err(ReportError::TimesInMilliseconds),
            Ok(seconds) => seconds.and_then(UnixTime::from_seconds),
            Err(bad) => return Ok(Err(bad)),
        };
        if self.repeated {
            return Ok(Err(BadRow::RepeatedField));
        }
        let mut judge = || {
            let [active, idle, use_count] = [count(active)?, count(idle)?, count(use_count)?];
            let (_, name, url) = (text(gateway_id)?, text(name)?, text(url)?);
            let key = RowKey { by_id, name: name.as_deref(), url: url.as_deref() };
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
