//! Rules for values whose types belong to other modules: worker endpoints, Redis, TLS names, selectors, log filters.

use reqwest::Url;
use rustls::pki_types::ServerName;
use strum::VariantArray;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::rule::Rule;
use super::selector;
use crate::model::{GatewayId, ServerUrl, URL_MAX_CHARS, UrlError};
use crate::poll::PollType;
use crate::publish::keys::{Keys, OwnerId};
use crate::publish::{RedisUrl, TakeoverPolicy};
use crate::registration;
use crate::workers::discovery::{Endpoint, ServiceSource, SourceError};

/// The longest URL of a worker, a Redis or a ContextForge; web servers accept no longer request line.
const MAX_URL_BYTES: usize = 4096;

/// The URL of a usage report. Its query may hold a token.
pub(super) fn endpoint() -> Rule<Endpoint> {
    let allowed = format!(
        "an http:// or https:// URL with a host, such as http://10.0.0.7:4444/mcpgateway/usage; \
         at most {MAX_URL_BYTES} bytes"
    );
    Rule::new(allowed, |text| {
        let endpoint: Endpoint = text.parse().map_err(|error| match error {
            SourceError::UserInfo => Some(error.to_string()),
            _ => None,
        })?;
        (text.len() <= MAX_URL_BYTES && endpoint.url.port() != Some(0)).then_some(endpoint).ok_or(None)
    })
    .secret()
}

/// A Service whose endpoints report usage.
pub(super) fn service() -> Rule<ServiceSource> {
    Rule::new("[http://|https://]NAMESPACE/NAME[:PORT], such as https://gateways/mcp-gateway:http", |text| {
        text.parse().map_err(|error| match error {
            SourceError::Port => Some(error.to_string()),
            _ => None,
        })
    })
}

/// The path of a usage report. No query: it would be requested as part of the path.
pub(super) fn path() -> Rule<String> {
    Rule::matching("a path that begins with /, at most 1000 printable characters without blanks, ? and #", |text| {
        let is_path_byte = |b: u8| b.is_ascii_graphic() && b != b'?' && b != b'#';
        text.starts_with('/') && text.len() <= 1000 && text.bytes().all(is_path_byte)
    })
}

/// A name that a certificate can carry.
pub(super) fn server_name() -> Rule<ServerName<'static>> {
    Rule::new("a DNS name or an IP address", |text| ServerName::try_from(text.to_owned()).map_err(|_| None))
}

/// A label selector.
pub(crate) fn label_selector() -> Rule<String> {
    Rule::matching(
        "a label selector, such as team=search,tier in (a,b),!old; an empty one selects everything",
        selector::is_valid,
    )
}

/// A log level, or filter directives. `EnvFilter` alone would read a misspelled level as the name of a module, and
/// nothing would be logged.
pub(super) fn log_filter() -> Rule<String> {
    Rule::matching("error, warn, info, debug or trace, or directives such as info,kube=debug", |text| {
        let is_level =
            |part: &str| part.bytes().all(|b| b.is_ascii_alphabetic()) && part.parse::<LevelFilter>().is_ok();
        let is_directive = |part: &str| !part.is_empty() && (part.contains(['=', '[']) || is_level(part.trim()));
        text.len() <= 1000 && text.split(',').all(is_directive) && EnvFilter::try_new(text).is_ok()
    })
}

/// How long a list is valid, by its server. [`crate::poll::Intervals::ttl`] says what becomes of the number.
pub(crate) fn ttl_seconds() -> Rule<f64> {
    Rule::new("a number of seconds", |text| text.parse().ok().filter(|seconds: &f64| seconds.is_finite()).ok_or(None))
}

/// The URL of Redis. It may hold a password.
pub(super) fn redis_url() -> Rule<RedisUrl> {
    Rule::new("redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH?db=DB", |text| {
        if text.len() > MAX_URL_BYTES {
            return Err(None);
        }
        RedisUrl::parse(text).map_err(|why| Some(why.to_string()))
    })
    .secret()
}

/// A user name in Redis. It counts as secret because a password may be given here by mistake.
pub(super) fn redis_username() -> Rule<String> {
    Rule::matching("1 to 200 characters without blanks", |text| {
        (1..=200).contains(&text.chars().count()) && !text.contains(|c: char| c.is_whitespace() || c.is_control())
    })
    .secret()
}

/// The prefix of all keys. Braces would be a hash tag, which the readers do not know.
pub(super) fn key_prefix() -> Rule<Keys> {
    Rule::new("1 to 200 printable ASCII characters without blanks and braces", |text| {
        Keys::new(text).filter(|_| !text.contains(['{', '}'])).ok_or(None)
    })
}

/// The owner part of the lock's value.
pub(crate) fn owner_id() -> Rule<OwnerId> {
    let allowed = format!("1 to {} printable ASCII characters without blanks", OwnerId::MAX_CHARS);
    Rule::new(allowed, |text| OwnerId::parse(text).ok_or(None))
}

/// The owner part of the User-Agent of registered entries.
pub(super) fn registration_owner() -> Rule<registration::ownership::OwnerId> {
    let allowed = "1 to 100 letters, digits, '.', '_', '/' and '-'";
    Rule::new(allowed, |text| registration::ownership::OwnerId::parse(text).ok_or(None))
}

/// The name of an HTTP header.
pub(super) fn header_name() -> Rule<String> {
    Rule::matching("1 to 64 letters, digits and '-'", |text| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// What to do about a lock that another program holds.
pub(super) fn takeover_policy() -> Rule<TakeoverPolicy> {
    Rule::new("never or idle", |text| match text {
        "never" => Ok(TakeoverPolicy::Never),
        "idle" => Ok(TakeoverPolicy::Idle),
        _ => Err(None),
    })
}

/// The URL of an upstream server. A credential may be given in it by mistake.
pub(crate) fn server_url() -> Rule<ServerUrl> {
    let allowed = format!(
        "an http:// or https:// URL with a host, at most {URL_MAX_CHARS} printable characters without blanks and #"
    );
    Rule::new(allowed, |text| {
        ServerUrl::parse(text).map_err(|error| match error {
            UrlError::Credential => Some(error.to_string()),
            UrlError::Invalid => None,
        })
    })
    .secret()
}

/// The base URL of a program with an HTTP API. No user name and no query, which may hold a credential.
pub(crate) fn base_url() -> Rule<Url> {
    Rule::new("an http:// or https:// URL without user name, query and fragment", |text| {
        let url = Url::parse(text).map_err(|_| None)?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.has_host() && url.port() != Some(0);
        let is_bare = !text.contains(['?', '#', '@']) && !text.contains(char::is_whitespace);
        (is_web && is_bare && text.len() <= MAX_URL_BYTES).then_some(url).ok_or(None)
    })
    .secret()
}

/// The kind of a poll.
pub(crate) fn poll_type() -> Rule<PollType> {
    let allowed = PollType::VARIANTS.iter().map(<&str>::from).collect::<Vec<_>>().join(" or ");
    Rule::new(allowed, |text| text.parse().map_err(|_| None))
}

/// The id of a gateway.
pub(crate) fn gateway_id() -> Rule<GatewayId> {
    Rule::new("1 to 64 letters, digits, '.', '_' and '-'", |text| GatewayId::parse(text).ok_or(None))
}
