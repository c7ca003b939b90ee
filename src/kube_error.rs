//! What errors of the API server mean, for every adapter that watches or writes objects. No IO.

use std::fmt::Display;
use std::time::Duration;

use kube::core::Status;
use kube::runtime::watcher;

use crate::model::{Problem, ProblemReason};

/// The API server's answer to a watch, if it has answered.
pub(crate) fn answer(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Why a watch fails. `None` for an expired version, which is normal: everything is listed again.
pub(crate) fn watch_problem(error: &watcher::Error, resource: &str) -> Option<Problem> {
    match answer(error) {
        Some(status) if status.code == 410 => None,
        Some(status) => Some(refused(status, resource, &format!("get, list and watch on {resource}"))),
        None => Some(unreachable(error)),
    }
}

/// Which admission webhook or policy refuses a write to `target`, such as `mcpgateways/status`. A webhook may answer
/// with any code, 403 included: only the message says where the answer comes from.
pub(crate) fn admission(Status { code, message, .. }: &Status, target: &str) -> Option<Problem> {
    let (reason, name, advice) = if let Some(name) = quoted(message, "admission webhook \"", '"') {
        let advice = format!("this admission webhook denies the operator's writes: exempt {target} from its rules");
        (ProblemReason::WebhookDenied, name, advice)
    } else if let Some(name) = quoted(message, "calling webhook \"", '"') {
        let advice = format!("this admission webhook does not answer: repair it, or exempt {target} from its rules");
        (ProblemReason::WebhookFailed, name, advice)
    } else if let Some(name) = quoted(message, "ValidatingAdmissionPolicy '", '\'') {
        let advice = format!("this admission policy denies the operator's writes: exempt {target} from it");
        (ProblemReason::PolicyDenied, name, advice)
    } else {
        return None;
    };
    Some(Problem::new(reason, advice).about(name).saying(format!("{code} {message}")))
}

/// A write that was not answered within `limit`, or within what was left of the token.
pub(crate) fn timed_out(limit: Duration) -> Problem {
    let advice = format!(
        "no answer within {limit:?} or what was left of the token: an admission webhook that hangs \
         (kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations), or an API server under load"
    );
    Problem::new(ProblemReason::TimedOut, advice)
}

/// The text between `before` and the next quote.
fn quoted<'a>(message: &'a str, before: &str, quote: char) -> Option<&'a str> {
    message.split_once(before)?.1.split(quote).next()
}

/// Why the API server refuses a call on a resource, which needs this permission.
pub(crate) fn refused(status: &Status, resource: &str, permission: &str) -> Problem {
    if let Some(problem) = admission(status, resource) {
        return problem;
    }
    let problem = match status.code {
        403 => Problem::new(ProblemReason::Forbidden, format!("grant {permission} to the operator")),
        404 => Problem::new(
            ProblemReason::CrdMissing,
            format!("the CRD {resource} is not installed: kubectl apply --server-side -f crds/"),
        ),
        code => {
            Problem::new(ProblemReason::ServerError, "the API server answered with an error").about(code.to_string())
        }
    };
    problem.saying(status.message.clone())
}

/// There is no answer.
pub(crate) fn unreachable(error: &dyn Display) -> Problem {
    Problem::new(ProblemReason::Unreachable, "the API server does not answer").saying(error.to_string())
}
