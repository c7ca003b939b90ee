//! One row of a report, value by value. Pure.
//!
//! In: the tokens of each field. Out: a [`Row`] and the key of its server, or why the row is left out. Must not fail for more than
//! its row.

use std::borrow::Cow;

use super::json::{Raw, Scan, Step, Text};
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

/// The known fields of a row, as they stand in the body.
#[derive(Default)]
pub(super) struct RawRow<'a> {
    gateway_id: Option<Raw<'a>>,
    name: Option<Raw<'a>>,
    url: Option<Raw<'a>>,
    last_used: Option<Raw<'a>>,
    active: Option<Raw<'a>>,
    idle: Option<Raw<'a>>,
    use_count: Option<Raw<'a>>,
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
            let key = scan.key()?;
            let value = scan.value()?;
            if let Some(field) = row.field(key) {
                row.repeated |= field.replace(value).is_some();
            }
        }
        Ok(row)
    }

    /// The place of the field with this name; `None` if it is not one of ours.
    fn field(&mut self, name: Text<'a>) -> Option<&mut Option<Raw<'a>>> {
        match known(&name)?.as_ref() {
            b"gatewayId" => Some(&mut self.gateway_id),
            b"name" => Some(&mut self.name),
            b"url" => Some(&mut self.url),
            b"lastUsed" => Some(&mut self.last_used),
            b"active" => Some(&mut self.active),
            b"idle" => Some(&mut self.idle),
            b"useCount" => Some(&mut self.use_count),
            _ => None,
        }
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
        Ok(self.with_counts(last_used, registry, unregistered))
    }

    fn with_counts(
        &self,
        last_used: Option<UnixTime>,
        registry: &RegistrySnapshot,
        unregistered: &mut Unregistered,
    ) -> Result<Row, BadRow> {
        let [active, idle, use_count] = [count(self.active)?, count(self.idle)?, count(self.use_count)?];
        let (id, name, url) = (text(self.gateway_id)?, text(self.name)?, text(self.url)?);
        let key = RowKey { gateway_id: id.as_deref(), name: name.as_deref(), url: url.as_deref() };
        let place = key.find_in(registry);
        let row = Row::new(place.unwrap_or(u32::MAX), last_used, active, idle, use_count);
        match (place, key.url) {
            (Some(_), _) => return Ok(row),
            (None, Some(url)) if row.says_used() => unregistered.note(url),
            (None, _) => {}
        }
        Err(BadRow::UnknownServer)
    }
}

/// The name of a field, decoded; `None` if it is no Unicode, and so none of ours.
pub(super) fn known<'a>(name: &Text<'a>) -> Option<Cow<'a, [u8]>> {
    match name.plain() {
        Some(plain) => Some(Cow::Borrowed(plain)),
        None => name.decode().map(|name| Cow::Owned(name.into_owned().into_bytes())),
    }
}

/// A finite number; absent and null are `None`, because many serialisers write an absent value as null.
pub(super) fn number(value: Option<Raw<'_>>) -> Result<Option<f64>, BadRow> {
    match value {
        None | Some(Raw::Null) => Ok(None),
        Some(Raw::Number(digits)) => {
            let number: f64 = digits.parse().map_err(|_| BadRow::WrongType)?;
            if number.is_finite() { Ok(Some(number)) } else { Err(BadRow::NotFinite) }
        }
        Some(Raw::Text(_) | Raw::Other) => Err(BadRow::WrongType),
    }
}

/// A count; absent and null are 0. `55.0` and `1e3` are integers too: some languages write them so.
pub(super) fn count(value: Option<Raw<'_>>) -> Result<u64, BadRow> {
    let exact = match value {
        Some(Raw::Number(digits)) => digits.parse::<u64>().ok(),
        _ => None,
    };
    let count = match exact {
        Some(count) => count,
        None => match number(value)?.unwrap_or_default() {
            negative if negative < 0.0 => return Err(BadRow::Negative),
            broken if broken.fract() != 0.0 => return Err(BadRow::NotInteger),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, then refused")]
            whole => whole as u64,
        },
    };
    if count <= LARGEST_COUNT { Ok(count) } else { Err(BadRow::TooLarge) }
}

/// A text, decoded; absent and null are `None`.
pub(super) fn text(value: Option<Raw<'_>>) -> Result<Option<Cow<'_, str>>, BadRow> {
    match value {
        None | Some(Raw::Null) => Ok(None),
        Some(Raw::Text(text)) => text.decode().map(Some).ok_or(BadRow::WrongType),
        Some(Raw::Number(_) | Raw::Other) => Err(BadRow::WrongType),
    }
}
