//! The rules for values that other rooms read: worker endpoints, Redis, TLS names, selectors, log filters.
//!
//! What is allowed is said in those rooms' own words where they have them, so that a refusal here and an error there agree.

use reqwest::Url;
use rustls::pki_types::ServerName;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use super::rule::Rule;
use super::selector;
use crate::model::{GatewayId, ServerUrl, UrlError};
use crate::poll::PollType;
use crate::publish::RedisUrl;
use crate::publish::keys::{Keys, OwnerId};
use crate::workers::discovery::{EndpointUrl, ServiceSource, SourceError};

/// The longest URL that is worth asking: servers take no longer request line.
const MAX_URL_BYTES: usize = 4096;

/// The words of a room's error, as what is allowed: its message says `use …`.
fn words(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    text.split_once("use ").map_or_else(|| text.clone(), |(_, allowed)| allowed.to_owned())
}

/// A URL that reports usage; its query may hold a token.
pub(super) fn endpoint() -> Rule<EndpointUrl> {
    Rule::of(format!("{}; at most {MAX_URL_BYTES} bytes", words(&SourceError::Url)), |text| {
        let other = |error: &SourceError| (*error != SourceError::Url).then(|| error.to_string());
        let found: EndpointUrl = text.parse().map_err(|error| other(&error))?;
        (text.len() <= MAX_URL_BYTES && found.url().port() != Some(0)).then_some(found).ok_or(None)
    })
    .secret()
}

/// A Service whose addresses report usage.
pub(super) fn service() -> Rule<ServiceSource> {
    Rule::of(words(&SourceError::Service), |text| {
        let other = |error: &SourceError| (*error != SourceError::Service).then(|| words(error));
        text.parse().map_err(|error| other(&error))
    })
}

/// The path of a report. Without a query, which would be asked for as part of the path.
pub(super) fn path() -> Rule<String> {
    Rule::of("a path that begins with /, at most 1000 printable characters, without blanks, ? and #", |text| {
        let fits = |b: u8| b.is_ascii_graphic() && b != b'?' && b != b'#';
        let fits = text.starts_with('/') && text.len() <= 1000 && text.bytes().all(fits);
        fits.then(|| text.to_owned()).ok_or(None)
    })
}

/// A name that a certificate can carry.
pub(super) fn server_name() -> Rule<String> {
    Rule::of("a DNS name or an IP address", |text| {
        ServerName::try_from(text).map(|_| text.to_owned()).map_err(|_| None)
    })
}

/// A label selector; the empty one is none.
pub(crate) fn label_selector() -> Rule<String> {
    Rule::of("a label selector, like team=search,tier in (a,b),!old; an empty one selects all", |text| {
        selector::check(text).map(|()| text.to_owned()).map_err(|reason| Some(reason.to_owned()))
    })
}

/// What to log. `EnvFilter` alone would take a mistyped level for the name of a module, and log nothing.
pub(super) fn log_filter() -> Rule<String> {
    Rule::of("error, warn, info, debug or trace, or directives like info,kube=debug", |text| {
        let level = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphabetic()) && part.parse::<LevelFilter>().is_ok()
        };
        let directive = |part: &str| part.contains(['=', '[']) || level(part.trim());
        let fits = !text.is_empty() && text.len() <= 1000 && text.split(',').all(directive);
        (fits && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned()).ok_or(None)
    })
}

/// The URL of Redis; it may hold a password.
pub(super) fn redis_url() -> Rule<RedisUrl> {
    Rule::of("redis://HOST:PORT/DB or rediss://HOST:PORT/DB", |text| {
        RedisUrl::parse(text).filter(|_| text.len() <= MAX_URL_BYTES).ok_or(None)
    })
    .secret()
}

/// A user of Redis. Not repeated: who mixes up the flags may have put the password here.
pub(super) fn redis_username() -> Rule<String> {
    Rule::of("1 to 200 characters without blanks", |text| {
        let fits = (1..=200).contains(&text.chars().count());
        (fits && !text.contains(|c: char| c.is_whitespace() || c.is_control())).then(|| text.to_owned()).ok_or(None)
    })
    .secret()
}

/// What all keys start with. Braces would be a hash tag, which the readers do not know.
pub(super) fn key_prefix() -> Rule<Keys> {
    Rule::of("1 to 200 printable ASCII characters without blanks and braces", |text| {
        Keys::new(text).filter(|_| !text.contains(['{', '}'])).ok_or(None)
    })
}

/// Our name in the lock.
pub(crate) fn owner_id() -> Rule<OwnerId> {
    let allowed = format!("1 to {} printable ASCII characters without blanks", OwnerId::MAX_CHARS);
    Rule::of(allowed, |text| OwnerId::parse(text).ok_or(None))
}

/// The URL of a server as it is registered; a credential may stand in it by mistake.
pub(crate) fn server_url() -> Rule<ServerUrl> {
    Rule::of(words(&UrlError::Invalid), |text| {
        ServerUrl::parse(text).map_err(|error| (error == UrlError::Credential).then(|| error.to_string()))
    })
    .secret()
}

/// Where a program is that is asked over HTTP. Without user info and query, where a credential may stand by mistake.
pub(crate) fn base_url() -> Rule<Url> {
    Rule::of("an http:// or https:// URL without user name, query and fragment", |text| {
        let url = Url::parse(text).map_err(|_| None)?;
        let web = matches!(url.scheme(), "http" | "https") && url.has_host() && url.port() != Some(0);
        let bare = url.username().is_empty() && url.password().is_none() && !text.contains(['?', '#', '@']);
        (web && bare && text.len() <= MAX_URL_BYTES && !text.contains(char::is_whitespace)).then_some(url).ok_or(None)
    })
    .secret()
}

/// What is polled.
pub(crate) fn poll_type() -> Rule<PollType> {
    let names = PollType::ALL.map(PollType::as_str);
    Rule::of(names.join(" or "), |text| PollType::parse(text).ok_or(None))
}

/// The id of a gateway in its worker's reports.
pub(crate) fn gateway_id() -> Rule<GatewayId> {
    Rule::of("1 to 64 letters, digits, '.', '_' and '-'", |text| GatewayId::parse(text).ok_or(None))
}
