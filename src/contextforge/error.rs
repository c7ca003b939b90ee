//! Why the gateways of a ContextForge cannot be listed, with what to do. Pure.

use std::convert::Infallible;

use crate::http_client::body::BodyError;
use crate::http_client::{ClientError, describe};

/// Why the gateways could not be listed. Never holds a token or the query of a URL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or has the wrong content, or the client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
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
    /// The answer is not one of this API.
    #[error(
        "this is not the API of a ContextForge (the answer is {0}): give the URL that serves \
         /v1/gateways, not that of its UI or of a proxy's login page"
    )]
    NotContextForge(&'static str),
    /// A page does not say whether another follows.
    #[error(
        "this ContextForge does not say whether there are more pages; import needs a release with \
         include_pagination, 1.0.7 or newer"
    )]
    Unpaged,
    /// The pages do not end.
    #[error("ContextForge returns pages without end; see its log")]
    EndlessPages,
    /// A page is above the limit.
    #[error("a page of ContextForge's answer is larger than 16 MiB, which is the limit of import")]
    TooLarge,
}

const fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => "redirects are not followed, because they would forward the token; give the final URL",
        401 => "it does not accept the token of --token-file; make a new one, it may have expired",
        403 => {
            "the token may not list gateways; it needs the permission gateways.read, and no restriction to one server"
        }
        404 | 405 => {
            "nothing serves /v1/gateways or /gateways there; give the URL of ContextForge itself, with its root path if \
             it has one"
        }
        429 => "it limits requests; try again later",
        _ => "see its log",
    }
}

impl Error {
    /// Sorts an error of the client by what to do about it.
    pub(super) fn of_request(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            Self::TimedOut
        } else if error.is_connect() {
            Self::Connect(describe(error))
        } else {
            Self::Broken(describe(error))
        }
    }
}

impl From<BodyError<Infallible>> for Error {
    fn from(error: BodyError<Infallible>) -> Self {
        match error {
            BodyError::TooLarge => Self::TooLarge,
            BodyError::Encoding => Self::NotContextForge("compressed, but not with gzip"),
            BodyError::BrokenGzip => Self::Broken("broken gzip".to_owned()),
            BodyError::Transport(error) => Self::of_request(error),
            BodyError::Refused(never) => match never {},
        }
    }
}
