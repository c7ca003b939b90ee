//! Why a ContextForge did not say what it knows, in words that say what to do. Pure.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::model::causes;

/// Why the gateways could not be listed. No text in it holds a token or a query.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file (its flag, its path) cannot be read.
    #[error("{0}: {path} cannot be read ({2}); name a file that is there and readable", path = .1.display())]
    File(&'static str, PathBuf, ErrorKind),
    /// A file (its flag, its path) holds something else than what is wanted.
    #[error("{0}: {path} does not hold {2}", path = .1.display())]
    Content(&'static str, PathBuf, &'static str),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
    /// No connection.
    #[error("no connection to ContextForge ({0}); check host, port, and for https the CA (--ca-file)")]
    Connect(String),
    /// The connection broke.
    #[error("the answer of ContextForge broke off ({0}); try again")]
    Broken(String),
    /// No answer, or not all of it.
    #[error(
        "ContextForge did not answer in time; check that it is up and that nothing in between drops the connection"
    )]
    TimedOut,
    /// An HTTP status other than 200.
    #[error("ContextForge answered with HTTP status {0}: {hint}", hint = hint(*.0))]
    Status(u16),
    /// Something else than what the API answers.
    #[error(
        "this is not the API of a ContextForge (the answer is {0}): give the URL that serves /gateways, not that of its UI or of a proxy's login page"
    )]
    NotContextForge(&'static str),
    /// A page without a word of what follows it.
    #[error(
        "this ContextForge does not say whether there are further pages: import needs a release with include_pagination, like 1.0.7"
    )]
    Unpaged,
    /// The same page over and over.
    #[error("ContextForge gives pages without end: see its log")]
    EndlessPages,
    /// A page beyond the limit.
    #[error("a page of ContextForge's answer is larger than 16 MiB: import takes no more")]
    TooLarge,
}

const fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => "redirects are not followed, they would carry the token along; give the final URL",
        401 => "it does not take the token of --token-file; make a new one, it may have expired",
        403 => {
            "the token may not list gateways; it needs the permission gateways.read, and no restriction to one server"
        }
        404 | 405 => {
            "nothing serves /gateways there; give the URL of ContextForge itself, with its root path if it has one"
        }
        429 => "it limits requests; try again later",
        _ => "see its log",
    }
}

impl Error {
    /// The file of the token holds none.
    pub(super) fn no_token(access: &super::Access) -> Self {
        Self::Content("--token-file", access.token_file.clone(), "one token")
    }

    /// By what the client says.
    pub(super) fn of_request(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::TimedOut
        } else if error.is_connect() {
            Self::Connect(detail(error))
        } else {
            Self::Broken(detail(error))
        }
    }
}

/// The causes of an error in words, without the URL.
fn detail(error: reqwest::Error) -> String {
    causes(&error.without_url())
}
