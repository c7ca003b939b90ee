//! Findings from Redis: the lock, the publication, and the poll stamps of gateways. Pure.

use super::{Finding, some};
use crate::model::UnixTime;
use crate::poll::Intervals;
use crate::poll::compliance::{Compliance, NonComplianceReason, Traces};
use crate::publish::Error;
use crate::publish::keys::LockHolder;

/// What was read from Redis.
#[derive(Debug)]
pub struct RedisObservations {
    /// The holder of the lock. If the owner id of the operator is not known, a lock of any release counts as ours.
    pub lock: LockHolder,
    pub published: bool,
    /// The poll stamps of the objects in `names`.
    pub traces: Traces,
    /// The sampled objects, as `namespace/name`, in the order of the traces.
    pub names: Vec<String>,
    pub now: UnixTime,
}

pub(super) fn judge(
    redis: Option<&Result<RedisObservations, Error>>,
    intervals: &Intervals,
    suspended: bool,
) -> Vec<Finding> {
    let RedisObservations { lock, published, traces, names, now } = match redis {
        None => {
            let what = "without --redis-url doctor cannot see what gateways read and do";
            return vec![Finding::note("NoRedis", what, "give doctor the --redis-… flags of the operator")];
        }
        Some(Err(error)) => {
            let (finding, advice) = match error {
                Error::NoPermission(_) => ("RedisDenied", "give the user of doctor the ACL in docs/security.md"),
                Error::LoginRefused => {
                    ("RedisUnreachable", "check --redis-url, --redis-username, --redis-password-file")
                }
                error if error.is_answer() => ("RedisRefused", "do what the message says, and read the log of Redis"),
                _ => ("RedisUnreachable", "check --redis-url, the network policy, and the --redis-… files"),
            };
            return vec![Finding::problem(finding, format!("{}: {error}", <&str>::from(error)), advice)];
        }
        Some(Ok(observations)) => observations,
    };
    let mut findings: Vec<Finding> = judge_lock(lock).into_iter().collect();
    if !published && !suspended {
        let advice =
            "fix the findings about operator and workers; until then gateways poll every server at the full rate";
        findings.push(Finding::problem("NothingPublished", "there is no classification in Redis", advice));
    }
    findings.extend(judge_traces(traces, names, intervals, *now));
    findings
}

fn judge_lock(lock: &LockHolder) -> Option<Finding> {
    let (finding, what, advice) = match lock {
        LockHolder::Ours { .. } => return None,
        LockHolder::Nobody => (
            "LockFree",
            "the lock of the classification is free".to_owned(),
            "check that the operator runs and reaches this Redis; otherwise a ContextForge \
             worker takes the lock and deletes what is published",
        ),
        LockHolder::OtherRelease(owner) => (
            "LockHeldByAnotherRelease",
            format!("another release of this operator holds the lock: {owner}"),
            "give one of the releases its own Redis database or --redis-key-prefix",
        ),
        LockHolder::Foreign(holder) => (
            "LockHeldByAnother",
            format!("another program holds the lock of the classification: {holder}"),
            "leave --redis-lock-takeover at idle and wait for one interval; if the other program \
             publishes, stop one of the two",
        ),
    };
    Some(Finding::problem(finding, what, advice))
}

fn judge_traces(traces: &Traces, names: &[String], intervals: &Intervals, now: UnixTime) -> Option<Finding> {
    let reason = match traces.judge(intervals, now) {
        Compliance::No(reason) => reason,
        Compliance::NoGateways | Compliance::NoStampsYet => return None,
        Compliance::Yes => return judge_unpolled(traces, names),
    };
    let (mut what, mut advice) = (reason.message().to_owned(), reason.advice().to_owned());
    match reason {
        NonComplianceReason::OtherInterval => {
            let theirs = traces.interval_in_use(intervals, now).unwrap_or_default().as_secs();
            let ours = intervals.hot.as_secs();
            what = format!("{what}: {theirs}s, and not {ours}s");
            advice = format!("{advice}: GATEWAY_AUTO_REFRESH_INTERVAL={theirs} is --hot-poll-interval {theirs}s");
        }
        NonComplianceReason::NoStamps => {
            advice = format!("{advice}; a ContextForge that has just started writes stamps within an interval");
        }
        NonComplianceReason::NoContextForge | NonComplianceReason::ColdIsThrice | NonComplianceReason::BadStamps => {}
    }
    Some(Finding::problem(reason.into(), what, advice))
}

/// Some gateways are polled and others are not.
fn judge_unpolled(traces: &Traces, names: &[String]) -> Option<Finding> {
    let missing = traces.traces.iter().zip(names).filter(|(trace, _)| !trace.is_stamped());
    let missing: Vec<String> = missing.map(|(_, name)| name.clone()).collect();
    let what = format!("no gateway polls {}", some(&missing));
    let advice = "compare spec.url and spec.gatewayId with what ContextForge stores (import prints them), and check \
                  that it reaches the server; a new server is polled within an interval";
    (!missing.is_empty()).then(|| Finding::problem("NotPolled", what, advice))
}
