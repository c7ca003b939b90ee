//! Why the API server does not store a status, as a [`Problem`] that stays the same while the cause does. No IO.

use kube::core::response::Status;

use super::write_queue::Failure;
use super::{FENCES, WriteOutcome};
use crate::kube_error;
use crate::model::{Problem, ProblemReason};

/// What an error of the API server says about the write.
pub(super) fn outcome_of(status: &Status) -> WriteOutcome {
    match status.code {
        404 => WriteOutcome::Gone,
        409 => WriteOutcome::Conflict,
        422 if FENCES.iter().any(|words| status.message.contains(words)) => WriteOutcome::Fenced,
        400..=428 => WriteOutcome::Refused(problem(status)),
        _ => WriteOutcome::Failed(problem(status)),
    }
}

/// What such an error means, and what to do about it.
fn problem(status: &Status) -> Problem {
    let Status { code, message, .. } = status;
    let code_text = code.to_string();
    if let Some(problem) = kube_error::admission(status, "mcpgateways/status") {
        return problem;
    }
    let (reason, subject, advice) = if *code == 403 {
        (ProblemReason::Forbidden, "", "grant patch on mcpgateways/status.mcpgateway.io to the operator")
    } else if *code == 422 {
        let advice =
            "an object breaks the rules of the CRD, so the API server rejects its status: see the log for its name";
        (ProblemReason::Invalid, "", advice)
    } else if *code == 413 || message.contains("too large") {
        (ProblemReason::TooLarge, "", "an object is so large that its status does not fit: make it smaller")
    } else {
        let advice = "the API server answered with an error: see the log for its message";
        (ProblemReason::ServerError, code_text.as_str(), advice)
    };
    Problem::new(reason, advice).about(subject).saying(format!("{code} {message}"))
}

/// Whether the API server may have stored the write nevertheless.
pub(super) const fn failure(problem: &Problem) -> Failure {
    match problem.reason {
        ProblemReason::TimedOut | ProblemReason::Unreachable => Failure::Unanswered,
        _ => Failure::NotStored,
    }
}

/// The stored status came back without its term.
pub(super) fn term_dropped() -> Problem {
    Problem::new(
        ProblemReason::TermDropped,
        "the CRD is older than this operator and drops status.term, so the API server cannot refuse a former leader: \
         kubectl apply --server-side -f crds/ of this release",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, message: &str) -> Status {
        Status { code, message: message.to_owned(), ..Status::default() }
    }

    #[test]
    fn errors_of_the_api_server_are_distinguished() {
        let fenced =
            "McpGateway.mcpgateway.io \"a\" is invalid: <nil>: Invalid value: status.term must not fall or be dropped";
        let cases = [
            (refusal(409, "the object has been modified"), "conflict"),
            (refusal(404, ""), "gone"),
            (refusal(422, fenced), "fenced"),
            (refusal(422, "denied request: status.term must not be below leaseTransitions"), "fenced"),
            (refusal(422, "status.rank: Invalid value"), "refused"),
            (refusal(403, ""), "refused"),
            (refusal(429, ""), "failed"),
            (refusal(503, ""), "failed"),
        ];
        for (status, outcome) in cases {
            assert_eq!(outcome_of(&status).into_str(), outcome, "{}", status.code);
        }
    }

    #[test]
    fn the_webhook_or_policy_that_refuses_is_named() {
        let cases = [
            (refusal(403, "admission webhook \"deny.example\" denied the request: no"), "WebhookDenied deny.example"),
            (
                refusal(500, "Internal error occurred: failed calling webhook \"slow.example\": failed to call"),
                "WebhookFailed slow.example",
            ),
            (refusal(422, "x is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b'"), "PolicyDenied p"),
            (refusal(403, "User \"u\" cannot patch resource"), "Forbidden "),
            (refusal(500, "etcdserver: request is too large"), "TooLarge "),
            (refusal(422, "McpGateway.mcpgateway.io \"a\" is invalid: spec.url: Invalid value"), "Invalid "),
            (refusal(503, "later"), "ServerError 503"),
        ];
        for (status, reason) in cases {
            let found = problem(&status);
            assert_eq!(format!("{} {}", found.reason, found.subject), reason);
        }
    }
}
