//! What Redis says: the lock, the publication, and the traces of gateways that obey. Pure.

use super::{Finding, some};
use crate::model::UnixTime;
use crate::poll::Intervals;
use crate::poll::compliance::{Compliance, NonComplianceReason, Traces};

/// What was seen, or why not.
#[derive(Debug)]
pub enum Redis {
    /// Why it could not be asked: a stable word, and a sentence that says what to do.
    Unread(&'static str, String),
    /// It answered.
    Seen {
        /// Who holds the lock.
        holder: Holder,
        /// Whether a publication stands there.
        published: bool,
        /// Of the gateways in `names`.
        traces: Traces,
        /// The objects that were looked at, in the order of the traces.
        names: Vec<String>,
        /// When it was seen.
        now: UnixTime,
    },
}

/// Who holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// The release that doctor was asked about, or, if that is not known, some release of this operator.
    Ours,
    /// Another release.
    OtherRelease(String),
    /// Another program.
    Foreign(String),
}

pub(super) fn judge(redis: Option<&Redis>, intervals: &Intervals, registry_known: bool) -> Vec<Finding> {
    let (holder, published, traces, names, now) = match redis {
        None => {
            let what = "without --redis-url nothing is known of what gateways read and do";
            return vec![Finding::note("NoRedis", what, "give doctor the --redis-… flags of the operator")];
        }
        Some(Redis::Unread(reason, why)) => {
            let advice = "check --redis-url, the network policy, and the --redis-… files";
            return vec![Finding::problem("RedisUnreachable", format!("{reason}: {why}"), advice)];
        }
        Some(Redis::Seen { holder, published, traces, names, now }) => (holder, *published, traces, names, *now),
    };
    let mut found = Vec::new();
    found.extend(of_lock(holder));
    if !published {
        let advice = "see what is said of operator and workers here; gateways poll everything at the full rate";
        found.push(Finding::problem("NothingPublished", "no classification stands in Redis", advice));
    }
    // Of no object nothing can be told.
    if registry_known {
        found.extend(of_traces(traces, names, intervals, now));
    }
    found
}

fn of_lock(holder: &Holder) -> Option<Finding> {
    match holder {
        Holder::Ours => None,
        Holder::Nobody => {
            let what = "nobody holds the lock of the classification";
            let advice = "see that the operator runs and reaches this Redis; else a ContextForge worker takes it and deletes what is published";
            Some(Finding::problem("LockFree", what, advice))
        }
        Holder::OtherRelease(who) => {
            let what = format!("another release of this operator holds the lock: {who}");
            Some(Finding::problem(
                "LockHeldByAnotherRelease",
                what,
                "give one of them a Redis database or a --redis-key-prefix of its own",
            ))
        }
        Holder::Foreign(who) => {
            let what = format!("another program holds the lock of the classification: {who}");
            let advice = "leave --redis-lock-takeover at idle and wait for one interval; if it publishes itself, end one of the two";
            Some(Finding::problem("LockHeldByAnother", what, advice))
        }
    }
}

fn of_traces(traces: &Traces, names: &[String], intervals: &Intervals, now: UnixTime) -> Vec<Finding> {
    let because = match traces.judge(intervals, now) {
        Compliance::No(because) => because,
        Compliance::Unknown(_) => return Vec::new(),
        Compliance::Yes => return not_polled(traces, names).into_iter().collect(),
    };
    let mut what = because.message().to_owned();
    let mut advice = because.advice().to_owned();
    match because {
        NonComplianceReason::OtherInterval => {
            let theirs = traces.interval_in_use(intervals, now).unwrap_or_default().as_secs();
            what = format!("{what}: {theirs}s, and not {}s", intervals.hot.as_secs());
            advice = format!("{advice}: GATEWAY_AUTO_REFRESH_INTERVAL={theirs} is --hot-poll-interval {theirs}s");
        }
        NonComplianceReason::NoStamps => {
            advice = format!("{advice}; one that has just started stamps within an interval");
        }
        NonComplianceReason::NoContextForge | NonComplianceReason::ColdIsThrice | NonComplianceReason::BadStamps => {}
    }
    vec![Finding::problem(because.reason(), what, advice)]
}

/// Some are polled and others are not.
fn not_polled(traces: &Traces, names: &[String]) -> Option<Finding> {
    let missing = traces.traces.iter().zip(names).filter(|(trace, _)| !trace.is_stamped());
    let missing: Vec<String> = missing.map(|(_, name)| name.clone()).collect();
    let what = format!("no gateway polls {}", some(&missing));
    let advice = "compare spec.url and spec.gatewayId with what ContextForge stores (import prints them), and see that it reaches the server; a new one is polled within an interval";
    (!missing.is_empty()).then(|| Finding::problem("NotPolled", what, advice))
}
