//! One page of `GET /v1/gateways`, and its rows as `import` needs them. Pure: bytes in, rows out.
//!
//! The fields are those of `GatewayRead` in releases 1.0.7 to 1.1.0, in camel case. A field that is absent or has
//! another type is empty.

use serde_json::Value;

use super::entry::Entry;
use super::error::Error;
use super::stored_auth::StoredAuth;

/// A gateway of ContextForge. Its strings are not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// 32 hex digits; empty if absent.
    pub id: String,
    /// The display name.
    pub name: String,
    /// As stored, without the parameter that query authentication adds. It may still hold a secret.
    pub url: String,
    /// Whether ContextForge uses it.
    pub enabled: bool,
    /// `active`, `pending` or `deleting`; empty in releases without this field.
    pub lifecycle: String,
    /// RFC 3339, as received; only compared.
    pub created: String,
    /// All that a registration sets; `None` if it cannot be read.
    pub entry: Option<Box<Entry>>,
    /// How ContextForge identifies itself to the server.
    pub auth: StoredAuth,
}

/// One page.
#[derive(Debug)]
pub(super) struct Page {
    /// Objects with a URL.
    pub rows: Vec<Value>,
    /// The cursor of the next page; `None` for the last one.
    pub next: Option<String>,
}

/// Reads a page that was requested with this limit; 0 is none.
pub(super) fn read_page(body: &[u8], limit: usize) -> Result<Page, Error> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let answer: Value = serde_json::from_slice(body).map_err(|_| {
        let html = body.trim_ascii_start().starts_with(b"<");
        Error::NotContextForge(if html { "HTML" } else { "no JSON" })
    })?;
    let (rows, next) = match &answer {
        // An older release, or a proxy that drops the query: complete if it is not full.
        Value::Array(rows) if rows.len() < limit => (rows, None),
        Value::Array(_) => return Err(Error::Unpaged),
        Value::Object(fields) => {
            let rows = fields.get("gateways").and_then(Value::as_array);
            let rows = rows.ok_or(Error::NotContextForge("JSON without gateways"))?;
            let cursors: Vec<&Value> =
                ["nextCursor", "next_cursor"].iter().filter_map(|name| fields.get(*name)).collect();
            let is_end = |cursor: &&Value| cursor.is_null() || **cursor == "";
            match cursors.iter().find(|cursor| !is_end(cursor)) {
                Some(Value::String(cursor)) => (rows, Some(cursor.clone())),
                None if !cursors.is_empty() || rows.len() < limit => (rows, None),
                _ => return Err(Error::Unpaged),
            }
        }
        _ => return Err(Error::NotContextForge("JSON of another shape")),
    };
    if !rows.iter().all(|row| row.get("url").is_some_and(Value::is_string)) {
        return Err(Error::NotContextForge("JSON of other things than gateways"));
    }
    Ok(Page { rows: rows.clone(), next })
}

/// One gateway; `None` if it does not say whether it is enabled.
pub(super) fn row(value: &Value) -> Option<Row> {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Row {
        id: text("id"),
        name: text("name"),
        url: text("url"),
        // Absent means enabled, as in the API.
        enabled: value.get("enabled").filter(|value| !value.is_null()).map_or(Some(true), boolean)?,
        lifecycle: text("status"),
        created: text("createdAt"),
        entry: Entry::read(value).map(Box::new),
        auth: StoredAuth::read(value),
    })
}

/// A boolean, also as proxies and exports write it: as a word or a number.
fn boolean(value: &Value) -> Option<bool> {
    let word = match value {
        Value::String(word) => word.trim().to_ascii_lowercase(),
        other => other.to_string(),
    };
    match word.as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_the_cursor_of_the_next() {
        let body = br#"{"gateways":[{"id":"a1","name":"n","url":"http://h/mcp","enabled":false,"status":"active",
            "createdAt":"2026-01-01T00:00:00Z","authValue":"planted"}],"nextCursor":"c"}"#;
        let page = read_page(body, 100).unwrap();
        let row = Row {
            id: "a1".into(),
            name: "n".into(),
            url: "http://h/mcp".into(),
            enabled: false,
            lifecycle: "active".into(),
            created: "2026-01-01T00:00:00Z".into(),
            entry: Entry::read(&page.rows[0]).map(Box::new),
            auth: StoredAuth::None,
        };
        let rows: Vec<Row> = page.rows.iter().filter_map(super::row).collect();
        assert_eq!((rows, page.next.as_deref()), (vec![row], Some("c")));
        for last in [&br#"{"gateways":[],"nextCursor":null}"#[..], br#"{"gateways":[]}"#, b"[]"] {
            assert!(read_page(last, 100).unwrap().next.is_none());
        }
    }

    #[test]
    fn an_empty_cursor_means_the_last_page() {
        for (cursors, next) in [
            (r#""nextCursor":"""#, None),
            (r#""next_cursor":"""#, None),
            (r#""nextCursor":"","next_cursor":null"#, None),
            (r#""nextCursor":null,"next_cursor":"c""#, Some("c")),
            (r#""nextCursor":"","next_cursor":"c""#, Some("c")),
            (r#""nextCursor":"c","next_cursor":"""#, Some("c")),
        ] {
            // Also of a full page.
            let body = format!(r#"{{"gateways":[{{"url":"http://h"}}],{cursors}}}"#);
            assert_eq!(read_page(body.as_bytes(), 1).unwrap().next.as_deref(), next, "{cursors}");
        }
        for cursor in ["7", "false", "{}", "[]"] {
            let body = format!(r#"{{"gateways":[],"nextCursor":{cursor}}}"#);
            assert!(matches!(read_page(body.as_bytes(), 100), Err(Error::Unpaged)), "{cursor}");
        }
    }

    #[test]
    fn enabled_may_be_a_word_or_a_number() {
        let enabled = |value: &str| {
            row(&serde_json::from_str(&format!(r#"{{"url":"http://h","enabled":{value}}}"#)).unwrap())
                .map(|row| row.enabled)
        };
        for value in ["true", "null", "1", r#""true""#, r#""True""#, r#""1""#, r#"" YES ""#, r#""on""#] {
            assert!(enabled(value).unwrap(), "{value}");
        }
        for value in ["false", "0", r#""false""#, r#""False""#, r#""0""#, r#""no""#, r#""OFF""#] {
            assert!(!enabled(value).unwrap(), "{value}");
        }
        for value in ["2", "0.5", r#""""#, r#""planted""#, "[]", r#"{"planted":false}"#] {
            assert_eq!(enabled(value), None, "{value}");
        }
    }

    #[test]
    fn a_list_that_may_be_incomplete_is_refused() {
        for body in [&br#"[{"url":"http://h"}]"#[..], br#"{"gateways":[{"url":"http://h"}]}"#] {
            assert!(matches!(read_page(body, 1), Err(Error::Unpaged)));
            assert!(read_page(body, 2).is_ok() && read_page(body, 0).is_ok());
        }
    }

    #[test]
    fn other_answers_are_refused_by_their_kind() {
        for (body, word) in [
            (&b" <!doctype html>"[..], "HTML"),
            (b"planted", "no JSON"),
            (b"{}", "without gateways"),
            (b"7", "another shape"),
            (br#"[{"planted":1}]"#, "other things"),
            (br#"{"gateways":[7]}"#, "other things"),
        ] {
            let error = read_page(body, 100).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("planted"), "{error}");
        }
    }
}
