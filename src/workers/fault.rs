//! Why a request brought no report, in words that say what to do. Pure.

use super::report::ReportError;
use crate::model::causes;

/// Why an endpoint gave no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RequestError {
    #[error("no connection ({0}); check address, network policy and TLS settings")]
    Connect(String),
    #[error("no whole answer within --worker-timeout")]
    TimedOut,
    #[error("HTTP status {0}; {hint}", hint = hint(*.0))]
    Status(u16),
    #[error("the answer is no application/json; check --worker-path and what listens at this address")]
    ContentType,
    #[error("the report is larger than --max-report-bytes")]
    TooLarge,
    #[error("the answer is compressed otherwise than with gzip; send it plain or with gzip")]
    Encoding,
    #[error("the answer broke off ({0})")]
    Body(String),
    #[error("not asked: the collection took a whole interval; raise --worker-concurrency or lower --worker-timeout")]
    NotAsked,
    #[error("{0}")]
    Credentials(String),
    #[error(transparent)]
    Report(#[from] ReportError),
}

const fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => "redirects are not followed; give the final address",
        401 | 403 => "check --worker-token-file and the client certificate",
        404 => "check --worker-path, and that the worker has the usage endpoint switched on",
        429 => "the worker limits requests; let the operator's through",
        _ => "see the worker's log",
    }
}

impl RequestError {
    /// The label of the metric and the field of the log line.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Connect(_) => "Connect",
            Self::TimedOut => "Timeout",
            Self::Status(_) => "Status",
            Self::ContentType => "NotJson",
            Self::TooLarge => "TooLarge",
            Self::Encoding => "Encoding",
            Self::Body(_) => "Body",
            Self::NotAsked => "NotAsked",
            Self::Credentials(_) => "Credentials",
            Self::Report(error) => error.reason(),
        }
    }

    /// The HTTP status, if that is what was wrong.
    pub const fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(*status),
            _ => None,
        }
    }
}

/// The causes of an error in words, without the URL, whose query may hold a secret.
pub(super) fn detail(error: reqwest::Error) -> String {
    causes(&error.without_url())
}
