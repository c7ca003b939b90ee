//! The requests about one Lease: each bounded, counted, given up when the process stops, and its failure told in
//! words that say what to do. IO; it decides nothing.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::core::Status;
use kube::{Api, Client};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;

/// The longest that one call may take (SPEC section 5).
pub const CALL_LIMIT: Duration = Duration::from_secs(3);

/// Why a call failed.
#[derive(Debug, Error)]
pub enum CallError {
    /// 409, or a 404 to a PUT: the Lease is another one than the one that was read.
    #[error("the Lease has changed in the meantime")]
    Conflict,
    /// 403.
    #[error("needs {verb} on leases.coordination.k8s.io in namespace {namespace}: {message}")]
    Forbidden {
        /// `get`, `create`, `update` or `watch`.
        verb: &'static str,
        /// Of the Lease.
        namespace: String,
        /// The API server's own words.
        message: String,
    },
    /// 429: the API server sends clients away; it did nothing.
    #[error("the API server is throttling requests: {message}")]
    Throttled {
        /// The API server's own words.
        message: String,
    },
    /// Another 4xx; the API server did nothing.
    #[error("refused with {code}: {message}")]
    Rejected {
        /// The HTTP status.
        code: u16,
        /// The API server's own words.
        message: String,
    },
    /// 5xx; also when it comes from something in between, so that the request may have been done all the same.
    #[error("the API server answered {code}: {message}")]
    ServerFault {
        /// The HTTP status.
        code: u16,
        /// Its own words.
        message: String,
    },
    /// No answer in time; the request may have been done, or may yet be.
    #[error("no answer from the API server within {limit:?}")]
    TimedOut {
        /// What was waited.
        limit: Duration,
    },
    /// No connection, or no answer that could be read; the request may have been done.
    #[error("the API server could not be talked to: {0}")]
    Transport(#[source] kube::Error),
    /// The process stops; the request may have been done.
    #[error("given up, because the process stops")]
    Stopped,
}

impl CallError {
    /// A stable word for logs and metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Conflict => "Conflict",
            Self::Forbidden { .. } => "Forbidden",
            Self::Throttled { .. } => "Throttled",
            Self::Rejected { .. } => "Rejected",
            Self::ServerFault { .. } => "ServerFault",
            Self::TimedOut { .. } => "TimedOut",
            Self::Transport(_) => "Transport",
            Self::Stopped => "Stopped",
        }
    }

    /// Whether the API server may have done what it was asked, or may yet do it.
    pub const fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Conflict | Self::Forbidden { .. } | Self::Throttled { .. } | Self::Rejected { .. } => false,
            Self::ServerFault { .. } | Self::TimedOut { .. } | Self::Transport(_) | Self::Stopped => true,
        }
    }

    pub(super) fn new(verb: &'static str, namespace: &str, error: kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Transport(error) };
        let Status { code, message, .. } = *status;
        match code {
            409 => Self::Conflict,
            404 if verb == "update" => Self::Conflict,
            403 => Self::Forbidden { verb, namespace: namespace.to_owned(), message },
            429 => Self::Throttled { message },
            400..=499 => Self::Rejected { code, message },
            _ => Self::ServerFault { code, message },
        }
    }
}

/// The one Lease at the API server.
pub(super) struct Calls {
    api: Api<Lease>,
    namespace: String,
    name: String,
    stop: CancellationToken,
    metrics: Metrics,
}

impl Calls {
    pub(super) fn new(client: Client, namespace: &str, name: &str, stop: CancellationToken, metrics: Metrics) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, namespace: namespace.to_owned(), name: name.to_owned(), stop, metrics }
    }

    /// From now on calls are made although the process stops: for the release.
    pub(super) fn ignore_stop(&mut self) {
        self.stop = CancellationToken::new();
    }

    /// GET; `None` if there is no Lease.
    pub(super) async fn get(&self, limit: Duration) -> Result<Option<Lease>, CallError> {
        self.bounded("get", limit, self.api.get_opt(&self.name)).await
    }

    /// PUT of an object made by [`super::record::update`].
    pub(super) async fn update(&self, lease: &Lease, limit: Duration) -> Result<Lease, CallError> {
        self.bounded("update", limit, self.api.replace(&self.name, &PostParams::default(), lease)).await
    }

    /// POST of an object made by [`super::record::create`].
    pub(super) async fn create(&self, lease: &Lease, limit: Duration) -> Result<Lease, CallError> {
        self.bounded("create", limit, self.api.create(&PostParams::default(), lease)).await
    }

    async fn bounded<T>(
        &self,
        verb: &'static str,
        limit: Duration,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, CallError> {
        let answer = tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(CallError::Stopped),
            answer = tokio::time::timeout(limit, call) => match answer {
                Ok(answer) => answer.map_err(|error| CallError::new(verb, &self.namespace, error)),
                Err(_) => Err(CallError::TimedOut { limit }),
            },
        };
        self.metrics.called(verb, answer.as_ref().err().map_or("Ok", CallError::reason));
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(verb: &'static str, code: u16) -> CallError {
        let status = Status { code, message: "words".into(), ..Status::default() };
        CallError::new(verb, "fleet", kube::Error::Api(Box::new(status)))
    }

    #[test]
    fn a_forbidden_call_names_verb_resource_and_namespace() {
        let text = answered("update", 403).to_string();
        assert!(text.contains("needs update on leases.coordination.k8s.io in namespace fleet"), "{text}");
    }

    #[test]
    fn only_an_answer_from_the_api_server_itself_says_that_nothing_was_done() {
        for code in [400, 403, 404, 409, 422, 429] {
            assert!(!answered("create", code).outcome_is_unknown(), "{code}");
        }
        for code in [500, 502, 503, 504] {
            assert!(answered("create", code).outcome_is_unknown(), "{code}");
        }
        assert!(CallError::TimedOut { limit: CALL_LIMIT }.outcome_is_unknown());
    }

    #[test]
    fn a_lease_that_is_gone_is_a_conflict_for_a_put() {
        assert_eq!(answered("update", 404).reason(), "Conflict");
        assert_eq!(answered("create", 404).reason(), "Rejected");
    }
}
