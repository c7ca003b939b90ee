//! Why a request brought no report, with what to do. Pure.

use super::report::ReportError;

/// Why an endpoint gave no report. As a string: the label of the metric and the field of the log line.
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr, thiserror::Error)]
pub enum RequestError {
    /// No connection, or no TLS session; the causes.
    #[error("no connection ({0}); check address, network policy and TLS settings")]
    Connect(String),
    /// Not everything arrived in time.
    #[strum(serialize = "Timeout")]
    #[error("no complete answer within --worker-timeout")]
    TimedOut,
    /// An HTTP status other than 200.
    #[error("HTTP status {0}; {hint}", hint = hint(*.0))]
    Status(u16),
    /// A `Content-Type` other than JSON.
    #[strum(serialize = "NotJson")]
    #[error("the answer is not application/json; check --worker-path and what listens at this address")]
    ContentType,
    /// More bytes than allowed.
    #[error("the report is larger than --max-report-bytes")]
    TooLarge,
    /// A `Content-Encoding` other than gzip.
    #[error("the answer has an encoding other than gzip; send it plain or with gzip")]
    Encoding,
    /// The connection broke, or the gzip; the causes.
    #[error("the answer broke off ({0})")]
    Body(String),
    /// The interval was over before the request began.
    #[error("not asked: the collection took a whole interval; raise --worker-concurrency or lower --worker-timeout")]
    NotAsked,
    /// `generatedAt` is the same as before.
    #[error("generatedAt stands still: the report is an old copy; check for a cache or a file behind this address")]
    Frozen,
    /// The clock is off, and did not advance as ours did since the last report.
    #[error("the worker's clock was set, or is off and not confirmed by a second report; check NTP on its node")]
    ClockUnconfirmed,
    /// The files of the credentials cannot be used; why.
    #[error("{0}")]
    Credentials(String),
    /// The report is refused.
    #[strum(transparent)]
    #[error(transparent)]
    Report(#[from] ReportError),
}

const fn hint(status: u16) -> &'static str {
    match status {
        300..=399 => "redirects are not followed; give the final address",
        401 | 403 => "check --worker-token-file and the client certificate",
        404 => "check --worker-path, and that the usage endpoint of the worker is switched on",
        429 => "the worker limits requests; exempt the operator's",
        _ => "see the worker's log",
    }
}
