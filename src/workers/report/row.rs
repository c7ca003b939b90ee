//! One row of a report. Pure.
//!
//! In: the JSON of a row. Out: a [`Row`] for a server of the registry, or why the row is skipped. `serde_json` reads a
//! row with the right types at once. It fails any other row without saying which rule that breaks, so the fields of
//! such a row are judged one by one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Cursor, Stop, string};
use super::unregistered::before_query;
use super::{IdentityConflicts, LATEST_SECONDS, ReportError, Unregistered};
use crate::classify::{IdentityField, Row};
use crate::model::{ServerUrl, UnixTime, UrlError};
use crate::registry::RegistrySnapshot;

/// Counts above this are not exact in the JSON numbers of most languages.
const LARGEST_COUNT: u64 = 1 << 53;

/// The most [`DifferentUrl`]s of one report.
const MOST_DIFFERENT_URLS: usize = 1_000;

/// Why a row is skipped. As a string: the label of the metric and the field of the log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::IntoStaticStr, thiserror::Error)]
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

/// How many rows of a report were skipped, by reason.
pub type Skipped = BTreeMap<BadRow, u64>;

/// A registered server whose URL differs in a report beyond the query, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferentUrl {
    /// The gateway id in the report.
    pub id: String,
    /// As registered.
    pub registered: ServerUrl,
    /// As reported, without the query.
    pub reported: Result<ServerUrl, UrlError>,
}

/// A row whose fields have the right types, as nearly all have.
#[derive(Default, Deserialize)]
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
    /// The rule that it breaks. Only its time is known then.
    #[serde(skip)]
    bad: Option<BadRow>,
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads the row at the cursor.
pub(super) fn read<'a>(cursor: &mut Cursor<'a>) -> Result<PlainRow<'a>, Stop> {
    if let Some(row) = cursor.value_if() {
        return Ok(row);
    }
    let mut fields = Vec::new();
    cursor.take_if(b'{')?;
    while cursor.next_item(fields.is_empty(), b'}')? {
        fields.push((cursor.key()?, cursor.value()?));
    }
    Ok(judge(&fields).unwrap_or_else(|bad| {
        let last_used = number(last(&fields, "lastUsed")).unwrap_or_default();
        PlainRow { last_used, bad: Some(bad), ..PlainRow::default() }
    }))
}

type Fields<'a> = [(Cow<'a, str>, &'a RawValue)];

/// The last value of a field.
fn last<'a>(fields: &Fields<'a>, name: &str) -> Option<&'a RawValue> {
    fields.iter().rfind(|(key, _)| key == name).map(|(_, value)| *value)
}

/// The row with its types, or the rule that it breaks.
fn judge<'a>(fields: &Fields<'a>) -> Result<PlainRow<'a>, BadRow> {
    const NAMES: [&str; 7] = ["gatewayId", "name", "url", "lastUsed", "active", "idle", "useCount"];
    let [gateway_id, name, url, last_used, active, idle, use_count] = NAMES.map(|name| last(fields, name));
    let last_used = number(last_used)?;
    if NAMES.iter().any(|name| fields.iter().filter(|(key, _)| key == name).count() > 1) {
        return Err(BadRow::RepeatedField);
    }
    let [active, idle, use_count] = [count(active)?, count(idle)?, count(use_count)?].map(Some);
    let [gateway_id, name, url] = [text(gateway_id)?, text(name)?, text(url)?].map(|text| text.map(Text));
    Ok(PlainRow { gateway_id, name, url, last_used, active, idle, use_count, bad: None })
}

impl PlainRow<'_> {
    /// The row, for its server in the registry: the one with this id, else with this name, else with exactly this URL.
    /// A server that is known by id or name counts under its registered URL, because a worker may store the URL with a
    /// secret added to the query.
    ///
    /// If these name different servers, the exact URL wins, then the name: anybody may register an id that belongs to
    /// another server, but nobody takes the use of a server by registering its URL, and a name belongs to its
    /// namespace. The conflict is noted.
    ///
    /// The outer error fails the report, the inner one skips the row. A server that is used and not registered is
    /// noted.
    pub fn resolve(
        self,
        registry: &RegistrySnapshot,
        unregistered: &mut Unregistered,
        conflicts: &mut IdentityConflicts,
        different_urls: Option<&mut BTreeMap<u32, DifferentUrl>>,
    ) -> Result<Result<Row, BadRow>, ReportError> {
        let Self { gateway_id, name, url, last_used, active, idle, use_count, bad } = self;
        if last_used.is_some_and(|seconds| seconds > LATEST_SECONDS) {
            return Err(ReportError::TimesInMilliseconds);
        }
        let [active, idle, use_count] = [active, idle, use_count].map(Option::unwrap_or_default);
        let too_large = active.max(idle).max(use_count) > LARGEST_COUNT;
        if let Some(bad) = bad.or_else(|| too_large.then_some(BadRow::TooLarge)) {
            return Ok(Err(bad));
        }
        let [gateway_id, name, url] = [&gateway_id, &name, &url].map(|text| text.as_ref().map(|text| &*text.0));
        let by_id = gateway_id.and_then(|id| registry.by_id(id.as_bytes()));
        let by_name = name.and_then(|name| registry.by_name(name));
        let known = by_id.or(by_name);
        // Nearly every row has the URL that is registered for its id, and needs no second look-up then.
        let same_url = known.and_then(|place| registry.servers().get(place as usize)).map(ServerUrl::expose) == url;
        let by_url = if same_url { known } else { url.and_then(|url| registry.by_url(url)) };
        let place = by_url.or(by_name).or(by_id);
        let identities = [(IdentityField::GatewayId, gateway_id, by_id), (IdentityField::Name, name, by_name)];
        for (field, value, named) in identities {
            if let (Some(value), Some(named), Some(counted)) = (value, named, place)
                && named != counted
            {
                conflicts.note(field, value, named, counted, registry);
            }
        }
        if let (Some(different_urls), Some(place), Some(id), Some(url)) = (different_urls, by_id, gateway_id, url)
            && let Some(registered) = registry.servers().get(place as usize)
            && by_url.is_none()
            && before_query(url) != before_query(registered.expose())
            && (different_urls.len() < MOST_DIFFERENT_URLS || different_urls.contains_key(&place))
        {
            let (id, registered, reported) = (id.to_owned(), registered.clone(), ServerUrl::parse(before_query(url)));
            different_urls.insert(place, DifferentUrl { id, registered, reported });
        }
        let last_used = last_used.and_then(UnixTime::from_seconds);
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
