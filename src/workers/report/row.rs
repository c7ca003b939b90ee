//! One row of a report, value by value. Pure.
//!
//! In: the raw JSON text of each field. Out: a [`Row`] and the key of its server, or why the row is left out. Must not
//! fail for more than its row.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{LATEST_SECONDS, ReportError};
use crate::classify::Row;
use crate::model::UnixTime;

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
    /// A good row for a server that is not registered.
    #[error("the server of the row is not registered")]
    UnknownServer,
}

impl BadRow {
    /// All of them, in the order of [`Skipped`].
    pub const ALL: [Self; 7] = [
        Self::NotFinite,
        Self::Negative,
        Self::NotInteger,
        Self::TooLarge,
        Self::WrongType,
        Self::RepeatedField,
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
    pub gateway_id: Option<&'a RawValue>,
    pub name: Option<&'a RawValue>,
    pub url: Option<&'a RawValue>,
    pub last_used: Option<&'a RawValue>,
    pub active: Option<&'a RawValue>,
    pub idle: Option<&'a RawValue>,
    pub use_count: Option<&'a RawValue>,
}

impl<'a> RawRow<'a> {
    /// The place of the field with this name; `None` if it is not one of ours.
    pub fn field(&mut self, name: &str) -> Option<&mut Option<&'a RawValue>> {
        match name {
            "gatewayId" => Some(&mut self.gateway_id),
            "name" => Some(&mut self.name),
            "url" => Some(&mut self.url),
            "lastUsed" => Some(&mut self.last_used),
            "active" => Some(&mut self.active),
            "idle" => Some(&mut self.idle),
            "useCount" => Some(&mut self.use_count),
            _ => None,
        }
    }

    /// The numbers of the row. The outer error fails the report, the inner one the row.
    pub fn values(&self) -> Result<Result<Row, BadRow>, ReportError> {
        let last_used = match number(self.last_used) {
            Ok(Some(seconds)) if seconds > LATEST_SECONDS => return Err(ReportError::TimesInMilliseconds),
            Ok(seconds) => seconds.and_then(UnixTime::from_seconds),
            Err(bad) => return Ok(Err(bad)),
        };
        let counts = || Ok([count(self.active)?, count(self.idle)?, count(self.use_count)?]);
        Ok(counts().map(|[active, idle, use_count]| Row { last_used, active, idle, use_count }))
    }
}

/// A finite number; absent and null are `None`.
pub(super) fn number(value: Option<&RawValue>) -> Result<Option<f64>, BadRow> {
    let Some(text) = given(value) else { return Ok(None) };
    // The text is valid JSON, so this tells a number from all else, such as "x", true and {}.
    if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Err(BadRow::WrongType);
    }
    let number: f64 = text.parse().map_err(|_| BadRow::WrongType)?;
    if number.is_finite() { Ok(Some(number)) } else { Err(BadRow::NotFinite) }
}

/// A count; absent and null are 0. `55.0` and `1e3` are integers too: some languages write them so.
pub(super) fn count(value: Option<&RawValue>) -> Result<u64, BadRow> {
    let Some(text) = given(value) else { return Ok(0) };
    let exact = text.parse::<u64>().ok();
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
pub(super) fn text(value: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, BadRow> {
    let Some(raw) = given(value) else { return Ok(None) };
    let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(BadRow::WrongType)?;
    if !inner.contains('\\') {
        return Ok(Some(Cow::Borrowed(inner)));
    }
    serde_json::from_str(raw).map(|text| Some(Cow::Owned(text))).map_err(|_| BadRow::WrongType)
}

/// The text of a value; absent and null are the same, because many serialisers write an absent value as null.
fn given(value: Option<&RawValue>) -> Option<&str> {
    value.map(RawValue::get).filter(|text| *text != "null")
}
