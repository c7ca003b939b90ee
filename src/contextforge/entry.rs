//! One gateway as `ContextForge` returns it to whoever registers servers. Pure: JSON in.
//!
//! The fields are those of `GatewayRead` in releases 1.0.7 to 1.1.0, in camel case. Credentials are masked there, and
//! none is read.

use std::fmt;

use serde_json::Value;

use crate::model::{GatewayId, UnixTime};

/// A gateway of `ContextForge`. Its strings are not checked. [`fmt::Debug`] shows nothing that may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Stays the same for the life of the entry.
    pub id: GatewayId,
    /// The display name.
    pub name: String,
    /// What the names of its tools begin with. Unique among the public ones.
    pub slug: String,
    /// As stored, without the parameter that query authentication adds. It may still hold a secret.
    pub url: String,
    /// Plain text; empty if there is none.
    pub description: String,
    /// `SSE` or `STREAMABLEHTTP`.
    pub transport: String,
    /// The normalized tags, sorted.
    pub tags: Vec<String>,
    /// `public`, `team` or `private`.
    pub visibility: String,
    /// Of the team that sees it.
    pub team_id: Option<String>,
    /// Whether `ContextForge` uses it.
    pub enabled: bool,
    /// Whether its last health checks succeeded.
    pub reachable: bool,
    /// Whether a connection has been made yet, with `GATEWAY_ASYNC_LIFECYCLE_ENABLED`; else always active.
    pub lifecycle: Lifecycle,
    /// `basic`, `bearer`, `authheaders`, `query_param` or `oauth`; `None` without credentials.
    pub auth_type: Option<String>,
    /// Headers that are passed on; `None` if the default of the installation applies.
    pub passthrough_headers: Option<Vec<String>>,
    /// Certificates in PEM; empty if there are none.
    pub ca_certificate: String,
    /// The user who may change it.
    pub owner_email: Option<String>,
    /// The user who created it.
    pub created_by: Option<String>,
    /// The User-Agent of the request that created it.
    pub created_user_agent: Option<String>,
    /// Rises with each successful update, and with nothing else.
    pub version: i64,
    /// The number of its tools; `None` after a create and an update, whose answers do not count them.
    pub tools: Option<usize>,
    /// Why the last connection failed; written by the upstream server in part.
    pub last_error: Option<String>,
    /// When it was created.
    pub created_at: Option<UnixTime>,
}

/// The state of an entry where `ContextForge` connects later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// In use.
    Active,
    /// Not connected yet. Updates are ignored, and a create with its slug returns this entry, whoever owns it.
    Pending,
    /// About to go.
    Deleting,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, name, version, enabled, .. } = self;
        let mut shown = f.debug_struct("Entry");
        shown.field("id", id).field("name", name).field("version", version).field("enabled", enabled);
        shown.finish_non_exhaustive()
    }
}

impl Entry {
    /// Reads one gateway; `None` if a field that decides is missing or of another type.
    pub fn read(value: &Value) -> Option<Self> {
        let optional = |name: &str| value[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let text = |name: &str| optional(name).unwrap_or_default();
        let strings =
            |list: &Vec<Value>| list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<String>>();
        let mut tags: Vec<String> = match value["tags"].as_array() {
            Some(tags) => {
                tags.iter().filter_map(|tag| tag["id"].as_str().or(tag.as_str())).map(str::to_owned).collect()
            }
            None => Vec::new(),
        };
        tags.sort_unstable();
        Some(Self {
            id: GatewayId::parse(value["id"].as_str()?)?,
            name: value["name"].as_str()?.to_owned(),
            slug: text("slug"),
            url: value["url"].as_str()?.to_owned(),
            description: text("description"),
            transport: text("transport").to_ascii_uppercase(),
            tags,
            visibility: text("visibility"),
            team_id: optional("teamId"),
            enabled: value["enabled"].as_bool()?,
            reachable: value["reachable"].as_bool().unwrap_or(true),
            lifecycle: match value["status"].as_str() {
                Some("pending") => Lifecycle::Pending,
                Some("deleting") => Lifecycle::Deleting,
                _ => Lifecycle::Active,
            },
            auth_type: optional("authType"),
            passthrough_headers: value["passthroughHeaders"].as_array().map(strings),
            ca_certificate: text("caCertificate"),
            owner_email: optional("ownerEmail"),
            created_by: optional("createdBy"),
            created_user_agent: optional("createdUserAgent"),
            version: value["version"].as_i64().unwrap_or(1),
            tools: value["toolCount"].as_u64().and_then(|count| usize::try_from(count).ok()),
            last_error: optional("lastError"),
            created_at: value["createdAt"].as_str().and_then(time),
        })
    }
}

/// RFC 3339; without an offset it is UTC.
fn time(text: &str) -> Option<UnixTime> {
    let parsed = text.parse::<jiff::Timestamp>().or_else(|_| format!("{text}Z").parse::<jiff::Timestamp>());
    parsed.ok().map(UnixTime::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value() -> Value {
        json!({
            "id": "a1", "name": "GitHub", "slug": "github", "url": "https://h/mcp?x=planted", "description": null,
            "transport": "STREAMABLEHTTP", "tags": [{"id": "b", "label": "B"}, {"id": "a", "label": "a"}],
            "visibility": "public", "teamId": null, "enabled": false, "reachable": true, "authType": "bearer",
            "authToken": "planted", "passthroughHeaders": ["X-A"], "ownerEmail": "op@example.com",
            "createdUserAgent": "curl/8", "version": 3, "lastError": "planted", "createdAt": "2026-11-01T00:00:01.5",
        })
    }

    #[test]
    fn a_gateway_is_read_and_shows_no_secret() {
        let entry = Entry::read(&value()).unwrap();
        assert_eq!(
            (entry.tags.as_slice(), entry.enabled, entry.version),
            (["a", "b"].map(String::from).as_slice(), false, 3)
        );
        let created: jiff::Timestamp = "2026-11-01T00:00:01.5Z".parse().unwrap();
        assert_eq!(entry.created_at, Some(created.into()));
        assert_eq!(entry.description, "");
        assert!(!format!("{entry:?}").contains("planted"));
    }

    #[test]
    fn what_does_not_say_which_where_and_whether_is_no_gateway() {
        for name in ["id", "name", "url", "enabled"] {
            let mut value = value();
            value[name] = json!([]);
            assert!(Entry::read(&value).is_none(), "{name}");
        }
        assert!(Entry::read(&json!("planted")).is_none());
    }
}
