//! Why a call of `ContextForge` failed. Pure: status and body of an answer in, a typed error out.
//!
//! The texts of the releases (1.0.7 to 1.1.0) are matched here and nowhere else;
//! `integrations/contextforge/dev/registration-try` holds them against the running release.

use std::time::Duration;

use serde_json::Value;

/// The longest text that is repeated from an answer, in characters.
const TEXT_CHARS: usize = 200;
/// `ContextForge` always says how long; a proxy may not.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// A longer one is a mistake of a proxy: `ContextForge` locks out for 15 minutes.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Why a call failed. No secret, and no query of a URL, is in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr, thiserror::Error)]
#[strum(serialize_all = "snake_case")]
pub enum CallError {
    /// No connection: nothing was sent.
    #[error("no connection to ContextForge ({0})")]
    Unreachable(String),
    /// No whole answer: the outcome is unknown.
    #[error("ContextForge did not answer")]
    TimedOut,
    /// 401.
    #[error("ContextForge does not accept the token")]
    Unauthorized,
    /// 403.
    #[error("{}", if *owner { "another user owns the entry" } else { "the token lacks a permission" })]
    Forbidden {
        /// The entry belongs to another user; else the token lacks a permission.
        owner: bool,
    },
    /// Another gateway has the slug of the name.
    #[error("another gateway has this name")]
    NameConflict,
    /// Another gateway has the URL and the credentials.
    #[error("another gateway has this URL")]
    UrlConflict,
    /// A tool would have the name of an existing one.
    #[error("a tool would have the name of an existing one")]
    ToolNameConflict,
    /// `ContextForge` cannot connect to the server.
    #[error("ContextForge does not reach the server ({0})")]
    UpstreamUnreachable(String),
    /// The server does not accept the credentials.
    #[error("the server does not accept the credentials")]
    UpstreamUnauthorized,
    /// It refuses the content; with its own words, cut and scrubbed.
    #[error("ContextForge refuses it: {0}")]
    Rejected(String),
    /// 429.
    #[error("ContextForge limits requests for {} s", retry_after.as_secs())]
    RateLimited {
        /// No request may be sent before.
        retry_after: Duration,
    },
    /// There is no such entry that the token can see, by the words of `ContextForge` itself. A 404 of something else is
    /// [`Self::Unreadable`].
    #[error("there is no such entry")]
    NotFound,
    /// Another HTTP status from 500 on: of `ContextForge` or of a proxy, so the outcome is unknown.
    #[error("the answer has HTTP status {0}")]
    Server(u16),
    /// The answer is not one of this API.
    #[error("this is not the API of a ContextForge (HTTP status {0})")]
    Unreadable(u16),
}

impl CallError {
    /// Whether the call may have been carried out.
    pub const fn outcome_is_unknown(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Server(_) | Self::Unreadable(_))
    }

    /// How long no request may be sent, after a 429.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The error of an answer that is not a success. `secrets`: what was sent and must not be repeated.
    pub fn of_answer(status: u16, retry_after: Option<&str>, body: &[u8], secrets: &[&str]) -> Self {
        let words = words(body);
        let says = |text: &str| words.as_deref().is_some_and(|words| words.contains(text));
        let repeated =
            || words.as_deref().map_or_else(|| format!("HTTP status {status}"), |text| scrubbed(text, secrets));
        match status {
            401 => Self::Unauthorized,
            403 if says("Only the owner") => Self::Forbidden { owner: true },
            403 if says("Public-only tokens") || says("Access issue") => Self::Rejected(repeated()),
            403 => Self::Forbidden { owner: false },
            400 | 404 if says("Gateway not found") || says("Resource not found") => Self::NotFound,
            409 if says("Gateway name already exists") || says("gateway with this name") => Self::NameConflict,
            409 if says("Gateway already exists") || says("gateway with this URL") => Self::UrlConflict,
            409 if says("tool") => Self::ToolNameConflict,
            400 | 409 | 413 | 422 => Self::Rejected(repeated()),
            429 => {
                let seconds = retry_after.and_then(|text| text.trim().parse().ok());
                let retry_after = seconds.map_or(RETRY_AFTER, Duration::from_secs).min(LONGEST_RETRY_AFTER);
                Self::RateLimited { retry_after }
            }
            502 if says("invalid credential") => Self::Rejected(repeated()),
            502 if ["HTTP 401", "HTTP 403", "401 Unauthorized", "403 Forbidden"].into_iter().any(says) => {
                Self::UpstreamUnauthorized
            }
            502 if words.is_some() => Self::UpstreamUnreachable(repeated()),
            500.. => Self::Server(status),
            _ => Self::Unreadable(status),
        }
    }

    /// The same of a request for one entry. To all but administrators, a missing entry is one that they may not see;
    /// the answer is also that to a token that may not read, which cannot list either.
    pub fn of_read(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        match Self::of_answer(status, retry_after, body, &[]) {
            Self::Forbidden { owner: false } if words(body).as_deref() == Some("Access denied") => Self::NotFound,
            other => other,
        }
    }
}

/// What an answer says in words: `message` or `detail`, and of a failed validation the messages, which do not repeat
/// what was sent as its other fields do. `None` if this is no answer of the API.
fn words(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let texts = |list: &Value, name: &str| {
        let texts: Vec<&str> = list.as_array()?.iter().filter_map(|item| item[name].as_str()).collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    texts(&answer["details"], "message")
        .or_else(|| texts(&answer["detail"], "msg"))
        .or_else(|| text(&answer["message"]))
        .or_else(|| text(&answer["detail"]))
        .or_else(|| text(&answer["detail"]["message"]))
}

/// A text of somebody else, as it may be shown: one line of printable characters, cut, without secrets and without the
/// queries of URLs.
pub fn scrubbed(text: &str, secrets: &[&str]) -> String {
    // The longest first: a shorter one may be a part of it.
    let mut hidden: Vec<&str> = secrets.iter().copied().filter(|secret| !secret.is_empty()).collect();
    hidden.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let text = hidden.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "…"));
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let shown: Vec<String> = words
        .map(|word| match word.split_once("://") {
            // User and password end at the last @ before the path, and a query may hold a key.
            Some((scheme, rest)) => {
                let (before, query) = rest.split_once(['?', '#']).map_or((rest, ""), |(before, _)| (before, "?…"));
                let host = before.split('/').next().unwrap_or_default();
                let start = host.rfind('@').map_or(0, |at| at + 1);
                format!("{scheme}://{}{query}", &before[start..])
            }
            None => word.to_owned(),
        })
        .collect();
    let shown = shown.join(" ");
    match shown.char_indices().nth(TEXT_CHARS) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str) -> CallError {
        CallError::of_answer(status, None, body.as_bytes(), &["planted"])
    }

    #[test]
    fn the_words_of_the_release_decide_what_the_status_leaves_open() {
        let message = |text: &str| format!(r#"{{"message":"{text}"}}"#);
        let detail = |text: &str| format!(r#"{{"detail":"{text}"}}"#);
        for (status, body, expected) in [
            (401, detail("Invalid token"), CallError::Unauthorized),
            (403, message("Only the owner can update this gateway"), CallError::Forbidden { owner: true }),
            (403, detail("Access denied"), CallError::Forbidden { owner: false }),
            (404, detail("Gateway not found: a1"), CallError::NotFound),
            (404, detail("Resource not found"), CallError::NotFound),
            (404, detail("Not Found"), CallError::Unreadable(404)),
            (404, "<html>".to_owned(), CallError::Unreadable(404)),
            (409, message("Gateway name already exists"), CallError::NameConflict),
            (409, message("Gateway already exists"), CallError::UrlConflict),
            (409, message("Gateway tool name conflicts with an existing tool"), CallError::ToolNameConflict),
            (
                502,
                message("Failed to initialize gateway at http://h: server responded with HTTP 401"),
                CallError::UpstreamUnauthorized,
            ),
            (502, "<html>Bad Gateway</html>".to_owned(), CallError::Server(502)),
            (500, message("Unexpected error"), CallError::Server(500)),
            (504, String::new(), CallError::Server(504)),
            (302, String::new(), CallError::Unreadable(302)),
            (400, message("Unable to process input"), CallError::Rejected("Unable to process input".into())),
        ] {
            assert_eq!(of(status, &body), expected, "{status} {body}");
        }
    }

    #[test]
    fn an_entry_that_may_not_be_read_is_missing_and_one_that_may_not_be_changed_is_not() {
        let denied = br#"{"detail":"Access denied"}"#;
        assert_eq!(CallError::of_read(403, None, denied), CallError::NotFound);
        assert_eq!(CallError::of_answer(403, None, denied, &[]), CallError::Forbidden { owner: false });
        let other = br#"{"detail":"Insufficient permissions"}"#;
        assert_eq!(CallError::of_read(403, None, other), CallError::Forbidden { owner: false });
    }

    #[test]
    fn a_failed_validation_repeats_the_messages_and_not_what_was_sent() {
        let body = r#"{"detail":[{"loc":["body","name"],"msg":"Value error, too\nlong","input":"planted"},
            {"msg":"URL https://u:p@h/x?key=planted2 planted is refused"}]}"#;
        let expected = "Value error, too long; URL https://h/x?… … is refused";
        assert_eq!(of(422, body), CallError::Rejected(expected.into()));
        let body = r#"{"message":"Validation failed","details":[{"field":"url","message":"private"}],"success":false}"#;
        assert_eq!(of(422, body), CallError::Rejected("private".into()));
        let CallError::Rejected(text) = of(422, &format!(r#"{{"detail":"{}"}}"#, "é".repeat(900))) else { panic!() };
        assert_eq!(text.chars().count(), TEXT_CHARS + 1);
    }

    #[test]
    fn a_limit_lasts_as_long_as_the_answer_says() {
        let long = (Some("4294967295"), 3_600);
        for (header, seconds) in [(Some("900"), 900), (Some(" 7 "), 7), (Some("Wed, 01 Jan"), 60), (None, 60), long] {
            let expected = CallError::RateLimited { retry_after: Duration::from_secs(seconds) };
            assert_eq!(CallError::of_answer(429, header, b"{}", &[]), expected);
        }
    }
}
