//! The identity of an upstream server: its URL, byte for byte. Pure.
//!
//! The rules are those of `spec.url` (`docs/contract.md#the-mcpgateway-resource`). The CEL rules of the CRD are built
//! from the same patterns, so the API server and this program cannot disagree.

use std::fmt;
use std::sync::LazyLock;

use arcstr::ArcStr;
use regex::Regex;
use serde::{Serialize, Serializer};

use super::query_names;

/// `http` or `https`, a host, and a port if any. User info is allowed here, because a rule with its own message refuses
/// it. The syntax is valid for RE2 (CEL) and for the `regex` crate.
pub const SHAPE_PATTERN: &str = r"^https?://([^/?#@]*@)?([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?#]|$)";

/// Printable ASCII without blanks. Fragments are refused separately, by looking for `#`.
pub const PRINTABLE_PATTERN: &str = "^[!-~]*$";

/// A user name, with or without a password, before the host.
pub const USER_INFO_PATTERN: &str = "^[^/?#]*//[^/?#]*@";

/// The longest URL, in characters: the width of ContextForge's column.
pub const MAX_CHARS: usize = 767;

/// Why a text is not the URL of a server. The messages say what to do and do not repeat the text, which may contain a
/// secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It does not have the shape that the CRD requires.
    #[error(
        "use http:// or https:// with a host, at most 767 printable characters, no blanks and no #fragment, and in the \
         query no ; and no % in a name"
    )]
    Invalid,
    /// It has a credential in the user info or in the query.
    #[error(
        "take the credential out of the URL (user info or query parameter) and give it to the gateway instead; \
         spec.allowedQueryNames is for a name that only looks like one"
    )]
    Credential,
}

static SHAPE: LazyLock<Regex> = LazyLock::new(|| compiled(SHAPE_PATTERN));
static USER_INFO: LazyLock<Regex> = LazyLock::new(|| compiled(USER_INFO_PATTERN));

#[expect(clippy::expect_used, reason = "the patterns are constants, and tests compile each")]
pub(super) fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a constant pattern compiles")
}

/// The URL of one upstream MCP server: checked, shared cheaply, compared and ordered by its bytes.
///
/// [`fmt::Display`] and [`fmt::Debug`] leave out the query, which may contain a secret that no rule recognizes.
/// [`ServerUrl::expose`] returns the exact text; its name is meant to stand out in a review.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerUrl(ArcStr);

impl ServerUrl {
    /// Checks a text against the rules of `spec.url`, without `spec.allowedQueryNames`.
    ///
    /// # Errors
    /// [`UrlError::Credential`] if it has one, else [`UrlError::Invalid`] if its shape is not allowed.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        Self::parse_vouched(text, &[])
    }

    /// The same where a person vouches for names of the query (`spec.allowedQueryNames`).
    ///
    /// # Errors
    /// As [`ServerUrl::parse`].
    pub fn parse_vouched(text: &str, vouched: &[String]) -> Result<Self, UrlError> {
        if USER_INFO.is_match(text) || query_names::has_credential(text, vouched) {
            return Err(UrlError::Credential);
        }
        if query_names::cannot_be_judged(text) {
            return Err(UrlError::Invalid);
        }
        Self::parse_published(text)
    }

    /// A URL that was published: the names of its query were judged when it was registered.
    ///
    /// # Errors
    /// [`UrlError::Credential`] if it has user info, else [`UrlError::Invalid`] if its shape is not allowed.
    pub(crate) fn parse_published(text: &str) -> Result<Self, UrlError> {
        if USER_INFO.is_match(text) {
            return Err(UrlError::Credential);
        }
        let printable = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains('#');
        if !printable || text.len() > MAX_CHARS || !SHAPE.is_match(text) {
            return Err(UrlError::Invalid);
        }
        Ok(Self(text.into()))
    }

    /// The exact text, for Redis, for the output of `classify` and for comparison with reports. Not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for ServerUrl {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('?') {
            Some((before, _)) => write!(f, "{before}?…"),
            None => f.pad(&self.0),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

/// Serialized as the exact text, for the output of `classify`.
impl Serialize for ServerUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_urls_pass_byte_for_byte() {
        for url in [
            "http://a",
            "https://mcp.example.com/mcp",
            "https://mcp.example.com:8443/a/b?x=1&monkey=1&keyspace=2",
            "http://[::1]:8080/mcp",
            "http://10.0.0.1?design=flat&author=me&tokenizer=bpe&signal=on",
            "https://a_b~c.example/%20path",
        ] {
            assert_eq!(ServerUrl::parse(url).unwrap().expose(), url);
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        let long = format!("https://h/{}", "x".repeat(760));
        for url in [
            "",
            "ftp://h/x",
            "http://",
            "https:///path",
            "http://h#frag",
            "http://h/a b",
            "http://hé/",
            "http://h:123456/",
            "mcp.example.com",
            "http://h\u{7f}",
            "http://h/\n",
            " http://h",
            &long,
        ] {
            assert_eq!(ServerUrl::parse(url), Err(UrlError::Invalid), "{url:?}");
        }
        assert!(ServerUrl::parse(&long[..MAX_CHARS]).is_ok());
    }

    #[test]
    fn credentials_are_refused_in_user_info_and_query() {
        for url in [
            "https://user:pw@h/x",
            "https://user@h",
            "https://h/?key=1",
            "https://h/?a=1&API_KEY=x",
            "https://h?apikey",
            "https://h/?x_token=1",
            "https://h/?accessToken=1",
            "https://h/?tavilyApiKey=k",
            "https://h/?my.secret=1",
            "https://h/?Authorization=b&x=1",
            "https://h/?sig=1",
            "https://h/?subscription-key=1",
        ] {
            assert_eq!(ServerUrl::parse(url), Err(UrlError::Credential), "{url:?}");
        }
    }

    #[test]
    fn printing_leaves_out_the_query() {
        let url = ServerUrl::parse("https://h/p?team=planted").unwrap();
        assert_eq!(url.to_string(), "https://h/p?…");
        assert_eq!(format!("{url:?}"), "ServerUrl(https://h/p?…)");
        assert!(!UrlError::Invalid.to_string().contains("planted"));
    }

    #[test]
    fn the_printable_pattern_matches_what_the_check_accepts() {
        let pattern = Regex::new(PRINTABLE_PATTERN).unwrap();
        for byte in 0..=127_u8 {
            let text = char::from(byte).to_string();
            // `$` of Rust's engine matches only at the very end, as RE2's does.
            assert_eq!(pattern.is_match(&text), byte.is_ascii_graphic(), "{byte}");
        }
    }
}
