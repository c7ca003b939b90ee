//! One row of a report. Pure.
//!
//! In: the JSON of a row. Out: a [`Row`] for a server of the registry, or why the row is skipped. `serde_json` reads a
//! row with the right types at once. It fails any other row without saying which rule that breaks, so the fields of
//! such a row are judged one by one.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::different_urls::DifferentUrls;
use super::json::{Cursor, Stop, string};
use super::{LATEST_SECONDS, ReportError, Unregistered};
use crate::classify::Row;
use crate::model::UnixTime;
use crate::registry::RegistrySnapshot;

/// Counts above this are not exact in the JSON numbers of most languages.
const LARGEST_COUNT: u64 = 1 << 53;

/// Why a row is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRow {
    /// A number that no float can hold, such as 1e999.
    #[error("a number is not finite")]
    NotFinite,
    /// A count below 0.
    #[error("a count is negative")]
    Negative,
    /// A count with a fraction.
    #[error("a count is not an integer")]
    NotInteger,
    /// A count above 2^53.
    #[error("a count is above 2^53")]
    TooLarge,
    /// A string where a number is expected, or the other way round, or a string that is not Unicode.
    #[error("a field has a value of the wrong type")]
    WrongType,
    /// The same field twice, so the value is ambiguous.
    #[error("a field is repeated in a row")]
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

    /// The label of the metric and the field of the log line.
    pub const fn reason(self) -> &'static str {
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

/// How many rows of a report were skipped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skipped([u64; BadRow::ALL.len()]);

impl Skipped {
    /// How many for this reason.
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

/// A row whose fields have the right types, as nearly all have.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlainRow<'a> {
    #[serde(borrow)]
    gateway_id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    url: Option<Text<'a>>,
    last_used: Option<f64>,
    active: Option<u64>,
    idle: Option<u64>,
    use_count: Option<u64>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Any row, as names and values in JSON.
struct RawRow<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for RawRow<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = RawRow<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawRow<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(RawRow(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

impl<'a> RawRow<'a> {
    /// The values of a field, the last one first.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a RawValue> {
        self.0.iter().rev().filter(move |(key, _)| string(key.get()).as_deref() == Some(name)).map(|(_, value)| *value)
    }

    /// The row with its types, or the rule that it breaks.
    fn judge(&self) -> Result<PlainRow<'a>, BadRow> {
        const FIELDS: [&str; 7] = ["gatewayId", "name", "url", "lastUsed", "active", "idle", "useCount"];
        if FIELDS.iter().any(|name| self.values(name).count() > 1) {
            return Err(BadRow::RepeatedField);
        }
        let [gateway_id, name, url, last_used, active, idle, use_count] = FIELDS.map(|name| self.values(name).next());
        let last_used = number(last_used)?;
        let [active, idle, use_count] = [count(active)?, count(idle)?, count(use_count)?].map(Some);
        let [gateway_id, name, url] = [text(gateway_id)?, text(name)?, text(url)?].map(|text| text.map(Text));
        Ok(PlainRow { gateway_id, name, url, last_used, active, idle, use_count })
    }
}

/// A row as read: its time, and the rest of it or the rule that it breaks.
pub(super) struct ReadRow<'a> {
    last_used: Result<Option<f64>, BadRow>,
    row: Result<PlainRow<'a>, BadRow>,
}

impl<'a> ReadRow<'a> {
    /// Reads the row at the cursor.
    pub fn read(cursor: &mut Cursor<'a>) -> Result<Self, Stop> {
        if let Some(row) = cursor.value_if::<PlainRow<'_>>() {
            return Ok(Self { last_used: Ok(row.last_used), row: Ok(row) });
        }
        let raw = cursor.value::<RawRow<'_>>()?;
        Ok(Self { last_used: number(raw.values("lastUsed").next()), row: raw.judge() })
    }

    /// The row, for its server in the registry: the one with this id, else with this name, else with exactly this URL.
    /// A server that is known by id or name counts under its registered URL, because a worker may store the URL with a
    /// secret added to the query.
    ///
    /// The outer error fails the report, the inner one skips the row. A server that is used and not registered is
    /// noted.
    pub fn resolve(
        self,
        registry: &RegistrySnapshot,
        unregistered: &mut Unregistered,
        different_urls: Option<&mut DifferentUrls>,
    ) -> Result<Result<Row, BadRow>, ReportError> {
        let last_used = match self.last_used {
            Ok(Some(seconds)) if seconds > LATEST_SECONDS => return Err(ReportError::TimesInMilliseconds),
            Ok(seconds) => seconds.and_then(UnixTime::from_seconds),
            Err(bad) => return Ok(Err(bad)),
        };
        let PlainRow { gateway_id, name, url, active, idle, use_count, .. } = match self.row {
            Ok(row) => row,
            Err(bad) => return Ok(Err(bad)),
        };
        let [active, idle, use_count] = [active, idle, use_count].map(Option::unwrap_or_default);
        if active.max(idle).max(use_count) > LARGEST_COUNT {
            return Ok(Err(BadRow::TooLarge));
        }
        let [gateway_id, name, url] = [&gateway_id, &name, &url].map(|text| text.as_ref().map(|text| &*text.0));
        let by_id = gateway_id.and_then(|id| registry.by_id(id.as_bytes()));
        if let (Some(different_urls), Some(place), Some(id), Some(url)) = (different_urls, by_id, gateway_id, url)
            && let Some(registered) = registry.servers().get(place as usize)
        {
            different_urls.note(place, id, url, registered);
        }
        let place = by_id.or_else(|| registry.by_name(name?)).or_else(|| registry.by_url(url?));
        let row = Row::new(place.unwrap_or(u32::MAX), last_used, active, idle, use_count);
        if let (None, Some(url), true) = (place, url, row.says_used()) {
            unregistered.note(url);
        }
        Ok(place.map(|_| row).ok_or(BadRow::UnknownServer))
    }
}

/// The JSON of a field; `None` for null, because many serialisers write an absent value so.
fn present(field: Option<&RawValue>) -> Option<&str> {
    field.map(RawValue::get).filter(|json| *json != "null")
}

/// A finite number.
pub(super) fn number(field: Option<&RawValue>) -> Result<Option<f64>, BadRow> {
    let Some(json) = present(field) else { return Ok(None) };
    // JSON numbers are a part of what the standard library reads, and the only values that begin so.
    let number = json.starts_with(|first: char| first == '-' || first.is_ascii_digit()).then(|| json.parse::<f64>());
    match number {
        Some(Ok(number)) if number.is_finite() => Ok(Some(number)),
        Some(_) => Err(BadRow::NotFinite),
        None => Err(BadRow::WrongType),
    }
}

/// A count; absent is 0. `55.0` and `1e3` are integers too: some languages write them so.
pub(super) fn count(field: Option<&RawValue>) -> Result<u64, BadRow> {
    let count = match present(field).map(str::parse) {
        Some(Ok(count)) => count,
        _ => match number(field)?.unwrap_or_default() {
            negative if negative < 0.0 => return Err(BadRow::Negative),
            fractional if fractional.fract() != 0.0 => return Err(BadRow::NotInteger),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, then refused")]
            whole => whole as u64,
        },
    };
    if count <= LARGEST_COUNT { Ok(count) } else { Err(BadRow::TooLarge) }
}

/// A string.
pub(super) fn text(field: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, BadRow> {
    present(field).map(|json| string(json).ok_or(BadRow::WrongType)).transpose()
}
