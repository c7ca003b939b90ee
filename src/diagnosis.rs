//! What is wrong between operator, Redis and gateways. Pure: signs in, findings out; `doctor` gathers the signs and
//! prints the findings.
//!
//! Each finding is one line: what is so, and what to do about it. `docs/doctor.md` has a row for each. A sign that
//! could not be had is a finding of its own, and what hangs on it is not guessed at. Must not repeat what may hold a
//! secret: queries of URLs, tokens.

mod cluster;
mod store;
mod workers;

use serde::Serialize;

use crate::poll::Intervals;
use crate::workers::verdict::EndpointVerdict;
pub use cluster::{Cluster, Seat, Unread};
pub use store::{Holder, Redis};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something does not work.
    Problem,
    /// It works, and somebody may want to know.
    Note,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// A stable word, by which `docs/doctor.md` explains it.
    pub finding: &'static str,
    /// What is so.
    pub what: String,
    /// What to do.
    pub advice: String,
}

impl Finding {
    fn problem(finding: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Problem, finding, what: line(&what.into()), advice: line(&advice.into()) }
    }

    fn note(finding: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Note, ..Self::problem(finding, what, advice) }
    }
}

/// Everything that was looked at.
#[derive(Debug)]
pub struct Signs {
    /// What the API server says.
    pub cluster: Cluster,
    /// What Redis says; `None` if none is configured.
    pub redis: Option<Redis>,
    /// What the endpoints say; `None` if none is configured.
    pub workers: Option<Vec<EndpointVerdict>>,
    /// How many addresses each Service has, by `namespace/name`.
    pub services: Vec<(String, Result<usize, Unread>)>,
    /// How often gateways should poll.
    pub intervals: Intervals,
}

/// All findings, the problems first; of one kind in the order of the data flow: objects, operator, workers, Redis,
/// gateways.
#[must_use]
pub fn judge(signs: &Signs) -> Vec<Finding> {
    let Signs { cluster, redis, workers, services, intervals } = signs;
    let mut findings = cluster::judge(cluster, redis.is_some());
    findings.extend(workers::judge(workers.as_deref(), services));
    findings.extend(store::judge(redis.as_ref(), intervals, cluster.registry.is_ok()));
    findings.sort_by_key(|finding| finding.level);
    findings
}

/// Some of many, by name: `a, b, c and 4 more`.
fn some(names: &[String]) -> String {
    const NAMED: usize = 5;
    let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// A stranger's text on one line.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect()
}

#[cfg(test)]
mod tests;
