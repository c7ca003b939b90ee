//! What was asked: the parameters of a query or of a body, read once into the words of the program.
//!
//! In: raw text, already bounded. Out: a server or a poll, or the [`ProblemDetails`] that says what to write instead. Nothing
//! of the text gets into a problem, not even the name of an unknown parameter: of a URL that was not percent-encoded,
//! the second half arrives as such a name.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use futures::StreamExt;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::MOST_BYTES;
use super::problem::ProblemDetails;
use crate::model::{GatewayId, ServerUrl};
use crate::poll::{Poll, PollType};

/// How long a body may take: it is one packet.
const BODY_LIMIT: Duration = Duration::from_secs(5);

/// Parameters, each given at most once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    url: Option<String>,
    kind: Option<String>,
    gateway: Option<String>,
}

impl Asked {
    /// Reads a query in which only these names may stand.
    pub(super) fn query(text: Option<&str>, allowed: &[&str]) -> Result<Self, ProblemDetails> {
        let parts = text.unwrap_or_default().split('&').filter(|part| !part.is_empty());
        let mut asked = Self::default();
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = decoded(name)?;
            if !allowed.contains(&name.as_str()) {
                return Err(ProblemDetails::UNKNOWN_PARAMETER);
            }
            asked.set(&name, decoded(value)?)?;
        }
        Ok(asked)
    }

    /// Reads a JSON body with any of the parameters.
    pub(super) async fn body(request: Request) -> Result<Self, ProblemDetails> {
        Self::query(request.uri().query(), &[])?;
        if !is_json(request.headers()) {
            return Err(ProblemDetails::NOT_JSON);
        }
        let read = tokio::time::timeout(BODY_LIMIT, bounded(request.into_body()));
        let bytes = read.await.unwrap_or(Err(ProblemDetails::BODY_TOO_SLOW))?;
        Self::json(&bytes)
    }

    fn json(bytes: &[u8]) -> Result<Self, ProblemDetails> {
        let Pairs(pairs) = serde_json::from_slice(bytes).map_err(|_| ProblemDetails::BAD_BODY)?;
        let mut asked = Self::default();
        for (name, value) in pairs {
            match value {
                Value::String(value) => asked.set(&name, value)?,
                // How many a client writes what is not there.
                Value::Null if name == "gatewayId" => {}
                _ if !["url", "type", "gatewayId"].contains(&name.as_str()) => {
                    return Err(ProblemDetails::UNKNOWN_PARAMETER);
                }
                _ => return Err(ProblemDetails::BAD_BODY),
            }
        }
        Ok(asked)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), ProblemDetails> {
        let place = match name {
            "url" => &mut self.url,
            "type" => &mut self.kind,
            "gatewayId" => &mut self.gateway,
            _ => return Err(ProblemDetails::UNKNOWN_PARAMETER),
        };
        match place.replace(value) {
            None => Ok(()),
            Some(_) => Err(ProblemDetails::DUPLICATE_PARAMETER),
        }
    }

    /// The server that was asked about.
    pub(super) fn server(&self) -> Result<ServerUrl, ProblemDetails> {
        Ok(ServerUrl::parse(self.url.as_deref().ok_or(ProblemDetails::MISSING_URL)?)?)
    }

    /// The poll that was asked about.
    pub(super) fn poll(&self) -> Result<Poll, ProblemDetails> {
        let url = self.server()?;
        let kind = PollType::parse(self.kind.as_deref().ok_or(ProblemDetails::MISSING_TYPE)?)
            .ok_or(ProblemDetails::UNKNOWN_TYPE)?;
        let known = |text: &String| GatewayId::parse(text).ok_or(ProblemDetails::INVALID_GATEWAY_ID);
        Ok(Poll { url, gateway: self.gateway.as_ref().map(known).transpose()?, kind })
    }
}

/// Undoes percent-encoding. A plus stays one: no value that is taken here has a blank in it.
fn decoded(text: &str) -> Result<String, ProblemDetails> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(ProblemDetails::BAD_ENCODING) };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| ProblemDetails::BAD_ENCODING)?);
    }
    String::from_utf8(bytes).map_err(|_| ProblemDetails::BAD_ENCODING)
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

async fn bounded(body: Body) -> Result<Vec<u8>, ProblemDetails> {
    let mut bytes = Vec::new();
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| ProblemDetails::BODY_BROKEN)?;
        if bytes.len() + part.len() > MOST_BYTES {
            return Err(ProblemDetails::BODY_TOO_LARGE);
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// A JSON object as it was written, repeated names included, which a map would hide.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: &[&str] = &["url", "type", "gatewayId"];

    fn query(text: &str) -> Result<Poll, ProblemDetails> {
        Asked::query(Some(text), ALL)?.poll()
    }

    fn json(text: &str) -> Result<Poll, ProblemDetails> {
        Asked::json(text.as_bytes())?.poll()
    }

    #[test]
    fn a_poll_is_read_from_a_query_and_from_a_body() {
        let poll = query("url=https%3A%2F%2Fh%2Fmcp%3Fa%3D1%26b%3D2&type=tool_discovery&gatewayId=gw-123").unwrap();
        assert_eq!(poll.url.expose(), "https://h/mcp?a=1&b=2");
        assert_eq!(
            (poll.kind, poll.gateway.as_ref().map(GatewayId::as_str)),
            (PollType::ToolDiscovery, Some("gw-123"))
        );
        let body = r#"{"url": "https://h/mcp?a=1&b=2", "type": "tool_discovery", "gatewayId": "gw-123"}"#;
        assert_eq!(json(body), Ok(poll));
        let plain = query("&url=http://h/a+b&type=health&").unwrap();
        assert_eq!((plain.url.expose(), plain.gateway.as_ref()), ("http://h/a+b", None), "a plus is a plus");
        assert_eq!(json(r#"{"type": "health", "url": "http://h/a+b", "gatewayId": null}"#), Ok(plain));
    }

    #[test]
    fn what_cannot_be_read_is_refused_for_its_own_reason() {
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
            Asked::query(Some("type=health"), &["url"]),
            Err(ProblemDetails::UNKNOWN_PARAMETER),
            "not asked for here"
        );
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_is_read_back(text in ".*") {
            let encoded = text.bytes().fold(String::new(), |text, byte| format!("{text}%{byte:02X}"));
            prop_assert_eq!(decoded(&encoded), Ok(text));
        }

        #[test]
        fn no_input_is_too_odd(text in ".*", bytes in any::<Vec<u8>>()) {
            let _ = (query(&text), Asked::json(&bytes));
        }
    }
}
