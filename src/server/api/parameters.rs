//! The parameters of a request, from its query or its JSON body.
//!
//! Out: a server or a poll, or the [`ProblemDetails`] that says what to send instead. A problem repeats nothing from
//! the request, not even the name of an unknown parameter: if a URL is not percent-encoded, a part of it looks like a
//! name.
//!
//! axum's `Query` and `Json` are not used: they decode `+` as a blank, accept malformed escapes, and report duplicate
//! and unknown parameters only as text.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::problem::ProblemDetails;
use crate::model::{GatewayId, ServerUrl};
use crate::poll::{Poll, PollType};
use crate::registry::RegistrySnapshot;

/// The time limit for a body, which fits into a few packets.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// The names of the parameters of a poll, of a completed one, and of a server.
pub(super) const POLL: &[&str] = &["url", "type", "gatewayId"];
pub(super) const COMPLETED: &[&str] = &["url", "type", "gatewayId", TTL];
pub(super) const SERVER: &[&str] = &["url", "gatewayId"];

/// The only parameter that is a number in a body.
const TTL: &str = "ttlSeconds";

/// The parameters by name, each given at most once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    /// Reads a query. Only the `allowed` parameters may be in it.
    pub(super) fn from_query(query: Option<&str>, allowed: &[&str]) -> Result<Self, ProblemDetails> {
        let mut parameters = Self::default();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode(name)?;
            if !allowed.contains(&name.as_str()) {
                return Err(ProblemDetails::UNKNOWN_PARAMETER);
            }
            parameters.add(name, percent_decode(value)?)?;
        }
        Ok(parameters)
    }

    /// Reads a JSON body. Only the `allowed` parameters may be in it. The router limits its size.
    pub(super) async fn from_body(request: Request, allowed: &[&str]) -> Result<Self, ProblemDetails> {
        Self::from_query(request.uri().query(), &[])?;
        if !is_json(request.headers()) {
            return Err(ProblemDetails::NOT_JSON);
        }
        let body = tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await;
        let body = body.map_err(|_| ProblemDetails::BODY_TOO_SLOW)?.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => ProblemDetails::BODY_TOO_LARGE,
            _ => ProblemDetails::BODY_BROKEN,
        })?;
        Self::from_json(&body, allowed)
    }

    fn from_json(body: &[u8], allowed: &[&str]) -> Result<Self, ProblemDetails> {
        let Fields(fields) = serde_json::from_slice(body).map_err(|_| ProblemDetails::BAD_BODY)?;
        let mut parameters = Self::default();
        for (name, value) in fields {
            match value {
                _ if !allowed.contains(&name.as_str()) => return Err(ProblemDetails::UNKNOWN_PARAMETER),
                Value::Null if name == "gatewayId" || name == TTL => {}
                Value::Number(value) if name == TTL => parameters.add(name, value.to_string())?,
                _ if name == TTL => return Err(ProblemDetails::INVALID_TTL),
                Value::String(value) => parameters.add(name, value)?,
                _ => return Err(ProblemDetails::BAD_BODY),
            }
        }
        Ok(parameters)
    }

    fn add(&mut self, name: String, value: String) -> Result<(), ProblemDetails> {
        self.0.insert(name, value).map_or(Ok(()), |_| Err(ProblemDetails::DUPLICATE_PARAMETER))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The server that the request is about. One that is registered is accepted as it is, whatever names its query has.
    pub(super) fn server(&self, registry: Option<&RegistrySnapshot>) -> Result<ServerUrl, ProblemDetails> {
        let text = self.get("url").ok_or(ProblemDetails::MISSING_URL)?;
        let registered = registry.and_then(|registry| registry.servers().get(registry.by_url(text)? as usize).cloned());
        Ok(registered.map_or_else(|| ServerUrl::parse(text), Ok)?)
    }

    /// The poll that the request is about.
    pub(super) fn poll(&self, registry: Option<&RegistrySnapshot>) -> Result<Poll, ProblemDetails> {
        let url = self.server(registry)?;
        let kind = self.get("type").ok_or(ProblemDetails::MISSING_TYPE)?;
        let kind = kind.parse().map_err(|_| ProblemDetails::UNKNOWN_TYPE)?;
        Ok(Poll { url, gateway: self.gateway()?, kind })
    }

    /// The id of the gateway that the request is about.
    pub(super) fn gateway(&self) -> Result<Option<GatewayId>, ProblemDetails> {
        let parse = |id: &str| GatewayId::parse(id).ok_or(ProblemDetails::INVALID_GATEWAY_ID);
        self.get("gatewayId").map(parse).transpose()
    }

    /// How long the list of a completed poll is valid, in seconds; 0 without the parameter.
    pub(super) fn ttl_seconds(&self, kind: PollType) -> Result<f64, ProblemDetails> {
        let Some(text) = self.get(TTL) else { return Ok(0.0) };
        if kind != PollType::ToolDiscovery {
            return Err(ProblemDetails::TTL_OF_HEALTH);
        }
        text.parse().map_err(|_| ProblemDetails::INVALID_TTL)
    }
}

/// Decodes percent-encoding, and refuses a `%` without two hex digits, which the library leaves as it is. A plus stays
/// a plus: no valid value contains a blank.
fn percent_decode(text: &str) -> Result<String, ProblemDetails> {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit());
    if !text.split('%').skip(1).all(is_escape) {
        return Err(ProblemDetails::BAD_ENCODING);
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| ProblemDetails::BAD_ENCODING)?;
    Ok(decoded.into_owned())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// The fields of a JSON object, duplicates included. A map would hide them.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                std::iter::from_fn(|| map.next_entry().transpose()).collect::<Result<_, _>>().map(Fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Result<Poll, ProblemDetails> {
        Parameters::from_query(Some(text), POLL)?.poll(None)
    }

    fn json(text: &str) -> Result<Poll, ProblemDetails> {
        Parameters::from_json(text.as_bytes(), POLL)?.poll(None)
    }

    fn ttl(kind: &str, value: &str) -> Result<f64, ProblemDetails> {
        let body = format!(r#"{{"url": "http://h", "type": "{kind}", "ttlSeconds": {value}}}"#);
        let parameters = Parameters::from_json(body.as_bytes(), COMPLETED)?;
        parameters.ttl_seconds(parameters.poll(None)?.kind)
    }

    #[test]
    fn a_poll_is_read_from_a_query_and_from_a_body() {
        let poll = query("url=https%3A%2F%2Fh%2Fmcp%3Fa%3D1%26b%3D2&type=tool_discovery&gatewayId=gw-123").unwrap();
        assert_eq!(poll.url.expose(), "https://h/mcp?a=1&b=2");
        assert_eq!(
            (poll.kind, poll.gateway.as_ref().map(GatewayId::text).as_deref()),
            (PollType::ToolDiscovery, Some("gw-123"))
        );
        let body = r#"{"url": "https://h/mcp?a=1&b=2", "type": "tool_discovery", "gatewayId": "gw-123"}"#;
        assert_eq!(json(body), Ok(poll));
        let plain = query("&url=http://h/a+b&type=health&").unwrap();
        assert_eq!((plain.url.expose(), plain.gateway.as_ref()), ("http://h/a+b", None), "a plus is a plus");
        assert_eq!(json(r#"{"type": "health", "url": "http://h/a+b", "gatewayId": null}"#), Ok(plain));
    }

    #[test]
    fn each_error_has_its_own_reason() {
        for (text, problem) in [
            ("", ProblemDetails::MISSING_URL),
            ("url=http://h", ProblemDetails::MISSING_TYPE),
            ("url=http://h&type=tools", ProblemDetails::UNKNOWN_TYPE),
            ("url=http://h&type=", ProblemDetails::UNKNOWN_TYPE),
            ("url=http://h&type=health&gatewayId=", ProblemDetails::INVALID_GATEWAY_ID),
            ("url=http://h&type=health&gatewayId=a/b", ProblemDetails::INVALID_GATEWAY_ID),
            ("url=http://h&type=health&type=health", ProblemDetails::DUPLICATE_PARAMETER),
            ("url=http://h?a=1&b=2&type=health", ProblemDetails::UNKNOWN_PARAMETER),
            ("url=http://h&type=health&gateway_id=x", ProblemDetails::UNKNOWN_PARAMETER),
            ("url=http://h/%2&type=health", ProblemDetails::BAD_ENCODING),
            ("url=http://h/%zz&type=health", ProblemDetails::BAD_ENCODING),
            ("url=%ff&type=health", ProblemDetails::BAD_ENCODING),
            ("url=http://h/%20&type=health", crate::model::UrlError::Invalid.into()),
            ("url=https://h/%3Ftoken%3Dx&type=health", crate::model::UrlError::Credential.into()),
        ] {
            assert_eq!(query(text), Err(problem), "{text}");
        }
        for (text, problem) in [
            ("", ProblemDetails::BAD_BODY),
            ("[]", ProblemDetails::BAD_BODY),
            ("{} {}", ProblemDetails::BAD_BODY),
            (r#"{"url": 1, "type": "health"}"#, ProblemDetails::BAD_BODY),
            (r#"{"url": null, "type": "health"}"#, ProblemDetails::BAD_BODY),
            (r#"{"url": "http://h", "type": "health", "more": {}}"#, ProblemDetails::UNKNOWN_PARAMETER),
            (r#"{"url": "http://h", "url": "http://i", "type": "health"}"#, ProblemDetails::DUPLICATE_PARAMETER),
            (&format!("{}{}", "[".repeat(4000), "]".repeat(4000)), ProblemDetails::BAD_BODY),
        ] {
            assert_eq!(json(text), Err(problem), "{text}");
        }
        assert_eq!(
            Parameters::from_query(Some("type=health"), &["url"]),
            Err(ProblemDetails::UNKNOWN_PARAMETER),
            "not a parameter of this path"
        );
    }

    #[test]
    fn the_ttl_of_a_list_is_any_number_and_only_for_tool_discovery() {
        for (value, seconds) in
            [("0", 0.0), ("-1", -1.0), ("3600", 3600.0), ("1.5", 1.5), ("1e300", 1e300), ("null", 0.0)]
        {
            assert_eq!(ttl("tool_discovery", value), Ok(seconds), "{value}");
        }
        for value in [r#""3600""#, "true", "[1]", "{}"] {
            assert_eq!(ttl("tool_discovery", value), Err(ProblemDetails::INVALID_TTL), "{value}");
        }
        assert_eq!(ttl("tool_discovery", "1e999"), Err(ProblemDetails::BAD_BODY));
        assert_eq!(ttl("tool_discovery", r#"1, "ttlSeconds": 1"#), Err(ProblemDetails::DUPLICATE_PARAMETER));
        assert_eq!((ttl("health", "3600"), ttl("health", "null")), (Err(ProblemDetails::TTL_OF_HEALTH), Ok(0.0)));
        let due = query("url=http://h&type=tool_discovery&ttlSeconds=1");
        assert_eq!(due, Err(ProblemDetails::UNKNOWN_PARAMETER));
    }

    proptest! {
        #[test]
        fn encoded_text_decodes_to_itself(text in ".*") {
            let encoded = text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
            prop_assert_eq!(percent_decode(&encoded), Ok(text));
        }

        #[test]
        fn no_input_panics(text in ".*", bytes in any::<Vec<u8>>()) {
            let _ = (query(&text), Parameters::from_json(&bytes, COMPLETED));
        }
    }
}
