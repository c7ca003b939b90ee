//! The one pass over a body: its structure, as serde visitors. Pure.
//!
//! In: the text. Out: the entries with their rows resolved, times still by the endpoint's clock. What concerns the
//! report as a whole (clocks, completeness, ids) is decided by the caller, because JSON knows no order of fields.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::row::{BadRow, RawRow, Skipped, count, number, text};
use super::{API_VERSION, KIND, LATEST_SECONDS, ReportError, RowKey};
use crate::classify::Row;
use crate::model::{ServerUrl, WorkerId};

/// A report as read.
pub(super) struct Body {
    pub generated_at: f64,
    pub expected_workers: u64,
    pub entries: Vec<Entry>,
    pub skipped: Skipped,
}

/// One of its `workers`.
pub(super) struct Entry {
    pub id: WorkerId,
    pub observed_at: f64,
    pub rows: Vec<(ServerUrl, Row)>,
}

/// Reads a whole body.
pub(super) fn body<R>(text: &str, resolve: R) -> Result<Body, ReportError>
where
    R: FnMut(&RowKey<'_>) -> Option<ServerUrl>,
{
    let mut pass = Pass { resolve, skipped: Skipped::default(), refusal: None };
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Object(BodyVisitor(&mut pass)).deserialize(&mut json).and_then(|body| json.end().map(|()| body));
    read.map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match (error.classify(), pass.refusal) {
            (Category::Data, Some(ReportError::Shape { field, .. })) => ReportError::Shape { field, line, column },
            (Category::Data, Some(refusal)) => refusal,
            (Category::Data, None) if is_of_another_version(text) => ReportError::UnknownVersion,
            (Category::Data, None) => ReportError::Shape { field: "body", line, column },
            (Category::Io | Category::Syntax | Category::Eof, _) => ReportError::NotJson { line, column },
        }
    })
}

/// Whether a body of another shape is one of another version: the fields may stand at its end.
fn is_of_another_version(text: &str) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Header<'a> {
        #[serde(borrow)]
        api_version: Option<&'a RawValue>,
        #[serde(borrow)]
        kind: Option<&'a RawValue>,
    }
    let header = serde_json::from_str::<Header<'_>>(text);
    header.is_ok_and(|Header { api_version, kind }| !(is(api_version, API_VERSION) && is(kind, KIND)))
}

fn is(value: Option<&RawValue>, wanted: &str) -> bool {
    text(value).is_ok_and(|found| found.as_deref() == Some(wanted))
}

/// What the visitors share.
struct Pass<R> {
    resolve: R,
    skipped: Skipped,
    /// Set before a visitor fails for a reason of ours.
    refusal: Option<ReportError>,
}

impl<R> Pass<R> {
    fn refuse<E: serde::de::Error>(&mut self, refusal: ReportError) -> E {
        self.refusal = Some(refusal);
        E::custom(refusal.reason())
    }

    fn misshapen<E: serde::de::Error>(&mut self, field: &'static str) -> E {
        self.refuse(ReportError::Shape { field, line: 0, column: 0 })
    }

    /// A time that must be there.
    fn time<E: serde::de::Error>(&mut self, field: &'static str, value: Option<&RawValue>) -> Result<f64, E> {
        match number(value) {
            Ok(Some(seconds)) if seconds > LATEST_SECONDS => Err(self.refuse(ReportError::TimesInMilliseconds)),
            Ok(Some(seconds)) => Ok(seconds),
            Ok(None) | Err(_) => Err(self.misshapen(field)),
        }
    }
}

/// Asks for a JSON object, and hands it to the visitor.
struct Object<V>(V);

impl<'de, V: Visitor<'de>> DeserializeSeed<'de> for Object<V> {
    type Value = V::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        deserializer.deserialize_map(self.0)
    }
}

struct BodyVisitor<'p, R>(&'p mut Pass<R>);

impl<'de, R> Visitor<'de> for BodyVisitor<'_, R>
where
    R: FnMut(&RowKey<'_>) -> Option<ServerUrl>,
{
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a usage report")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
        let Self(pass) = self;
        let (mut version, mut kind, mut generated_at, mut expected) = (None, None, None, None);
        let mut entries = None;
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "apiVersion" => set(&mut version, &mut map)?,
                "kind" => set(&mut kind, &mut map)?,
                "generatedAt" => set(&mut generated_at, &mut map)?,
                "expectedWorkers" => set(&mut expected, &mut map)?,
                "workers" if entries.is_some() => return Err(pass.misshapen("workers")),
                "workers" => entries = Some(map.next_value_seed(List { pass, item: EntryItem })?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if !is(version, API_VERSION) || !is(kind, KIND) {
            return Err(pass.refuse(ReportError::UnknownVersion));
        }
        Ok(Body {
            generated_at: pass.time("generatedAt", generated_at)?,
            expected_workers: count(expected).map_err(|_| pass.misshapen("expectedWorkers"))?,
            entries: entries.flatten().ok_or_else(|| pass.misshapen("workers"))?,
            skipped: pass.skipped,
        })
    }
}

/// Keeps a field's raw text; one that stands twice makes the body unreadable.
fn set<'de, A: MapAccess<'de>>(slot: &mut Option<&'de RawValue>, map: &mut A) -> Result<(), A::Error> {
    match slot.replace(map.next_value()?) {
        None => Ok(()),
        Some(_) => Err(A::Error::custom("repeated field")),
    }
}

struct EntryVisitor<'p, R>(&'p mut Pass<R>);

impl<'de, R> Visitor<'de> for EntryVisitor<'_, R>
where
    R: FnMut(&RowKey<'_>) -> Option<ServerUrl>,
{
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a worker entry")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let Self(pass) = self;
        let (mut id, mut observed_at, mut rows) = (None, None, None);
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "id" => set(&mut id, &mut map)?,
                "observedAt" => set(&mut observed_at, &mut map)?,
                "servers" if rows.is_some() => return Err(pass.misshapen("servers")),
                "servers" => rows = Some(map.next_value_seed(List { pass, item: RowItem })?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let id = text(id).ok().flatten().and_then(|id| WorkerId::parse(&id));
        // No rows at all, or null for them, is how some serialisers write an empty list.
        let rows = rows.flatten().unwrap_or_default();
        let id = id.ok_or_else(|| pass.misshapen("id"))?;
        Ok(Entry { id, observed_at: pass.time("observedAt", observed_at)?, rows })
    }
}

struct RowVisitor<'p, R>(&'p mut Pass<R>);

impl<'de, R> Visitor<'de> for RowVisitor<'_, R>
where
    R: FnMut(&RowKey<'_>) -> Option<ServerUrl>,
{
    /// `None` if the row is left out.
    type Value = Option<(ServerUrl, Row)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self(pass) = self;
        let mut raw = RawRow::default();
        let mut repeated = false;
        while let Some(Key(key)) = map.next_key()? {
            match raw.field(&key) {
                Some(slot) => repeated |= slot.replace(map.next_value()?).is_some(),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let values = raw.values().map_err(|refusal| pass.refuse(refusal))?;
        let read = if repeated { Err(BadRow::RepeatedField) } else { values };
        let found = read.and_then(|row| {
            let (id, name, url) = (text(raw.gateway_id)?, text(raw.name)?, text(raw.url)?);
            let key = RowKey { gateway_id: id.as_deref(), name: name.as_deref(), url: url.as_deref() };
            (pass.resolve)(&key).map(|server| (server, row)).ok_or(BadRow::UnknownServer)
        });
        Ok(found.map_err(|bad| pass.skipped.add(bad)).ok())
    }
}

/// A JSON list whose items are objects of one kind; null is `None`.
struct List<'p, R, I> {
    pass: &'p mut Pass<R>,
    item: I,
}

/// How one item of a list is read: `false` at the end of the list. An item that is left out is not added.
trait Item<'de, R>: Copy {
    type Value;
    fn read<A: SeqAccess<'de>>(
        self,
        pass: &mut Pass<R>,
        list: &mut A,
        items: &mut Vec<Self::Value>,
    ) -> Result<bool, A::Error>;
}

#[derive(Clone, Copy)]
struct EntryItem;

#[derive(Clone, Copy)]
struct RowItem;

impl<'de, R> Item<'de, R> for EntryItem
where
    R: FnMut(&RowKey<'_>) -> Option<ServerUrl>,
{
    type Value = Entry;

    fn read<A: SeqAccess<'de>>(
        self,
        pass: &mut Pass<R>,
        list: &mut A,
        items: &mut Vec<Entry>,
    ) -> Result<bool, A::Error> {
        let entry = list.next_element_seed(Object(EntryVisitor(pass)))?;
        let more = entry.is_some();
        items.extend(entry);
        Ok(more)
    }
}

impl<'de, R> Item<'de, R> for RowItem
where
    R: FnMut(&RowKey<'_>) -> Option<ServerUrl>,
{
    type Value = (ServerUrl, Row);

    fn read<A: SeqAccess<'de>>(
        self,
        pass: &mut Pass<R>,
        list: &mut A,
        items: &mut Vec<Self::Value>,
    ) -> Result<bool, A::Error> {
        let row = list.next_element_seed(Object(RowVisitor(pass)))?;
        let more = row.is_some();
        items.extend(row.flatten());
        Ok(more)
    }
}

impl<'de, R, I: Item<'de, R>> DeserializeSeed<'de> for List<'_, R, I> {
    type Value = Option<Vec<I::Value>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, R, I: Item<'de, R>> Visitor<'de> for List<'_, R, I> {
    type Value = Option<Vec<I::Value>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while self.item.read(self.pass, &mut list, &mut items)? {}
        Ok(Some(items))
    }
}

/// The name of a field, borrowed from the body unless it holds escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor(PhantomData))
    }
}

struct KeyVisitor<'a>(PhantomData<&'a ()>);

impl<'de> Visitor<'de> for KeyVisitor<'de> {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Key(Cow::Borrowed(text)))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Key(Cow::Owned(text.to_owned())))
    }
}
