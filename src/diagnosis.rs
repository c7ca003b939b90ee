//! What is wrong between the operator, Redis and the gateways. Pure: observations in, findings out. `doctor` makes the
//! observations and prints the findings.
//!
//! A finding is one line: what is wrong, and what to do about it. `docs/doctor.md` has a row for each. What could not
//! be observed is a finding of its own, and nothing is concluded from it. A finding must not repeat what may hold a
//! secret: queries of URLs, tokens.

mod cluster;
mod outdated;
mod plugin;
mod pods;
mod registration;
mod store;
mod workers;

use serde::Serialize;

use crate::api::v1alpha1::McpGatewayFleet;
use crate::poll::Intervals;
use crate::publish::Error;
use crate::workers::verdict::EndpointVerdict;
pub use cluster::{ClusterObservations, ReadError};
pub use outdated::Outdated;
pub use plugin::{HASH_LABEL, PluginObservations, PluginPod, sets_plugins_file};
pub use pods::ImagelessPod;
pub use registration::{ContextForgeObservations, ContextForgeReading};
pub use store::RedisObservations;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something does not work.
    Problem,
    /// Nothing is broken, but it should be known.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the names in the JSON output")]
pub struct Finding {
    pub level: Level,
    /// A stable word, by which `docs/doctor.md` explains it.
    pub finding: &'static str,
    pub what: String,
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

/// Everything that `doctor` looks at.
#[derive(Debug)]
pub struct Observations {
    /// From the API server, or why there is no connection to one.
    pub cluster: Result<ClusterObservations, String>,
    /// From Redis, or why it cannot be read; `None` if none is configured.
    pub redis: Option<Result<RedisObservations, Error>>,
    /// From the worker endpoints; `None` if none is configured.
    pub workers: Option<Vec<EndpointVerdict>>,
    /// The number of addresses of each worker Service, by `namespace/name`.
    pub services: Vec<(String, Result<usize, ReadError>)>,
    /// From the pods behind those Services that the chart made for the plugin of `ContextForge`.
    pub plugins: Vec<PluginObservations>,
    /// How often gateways should poll.
    pub intervals: Intervals,
    /// From `ContextForge`, in which servers are registered.
    pub contextforge: ContextForgeReading,
}

/// All findings, problems first, then in the order of the data flow: objects, operator, workers, Redis,
/// gateways, registration.
pub fn judge(observations: &Observations) -> Vec<Finding> {
    let Observations { cluster, redis, workers, services, plugins, intervals, contextforge } = observations;
    let fleet = cluster.as_ref().ok().and_then(|cluster| cluster.fleet.as_ref().ok()?.as_ref());
    let suspended = fleet.is_some_and(McpGatewayFleet::is_suspended);
    let planned = fleet.and_then(|fleet| fleet.status.as_ref()).is_some_and(|status| status.refresh_plan.is_some());
    let mut findings = cluster::judge(cluster, redis.is_some());
    findings.extend(workers::judge(workers.as_deref(), services, planned));
    findings.extend(plugin::judge(plugins, workers.as_deref().unwrap_or_default()));
    findings.extend(store::judge(redis.as_ref(), intervals, suspended));
    let registry = cluster.as_ref().ok().and_then(|cluster| cluster.registry.as_ref().ok());
    findings.extend(registration::judge(registry, contextforge));
    findings.sort_by_key(|finding| finding.level);
    findings
}

/// The first few names: `a, b, c and 4 more`.
fn some(names: &[String]) -> String {
    const NAMED: usize = 5;
    let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Text from another program, on one line.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect()
}

#[cfg(test)]
mod tests;
