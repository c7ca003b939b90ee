//! Why one object has its tier, or none, and what would change that: the answer of `explain`. Pure and deterministic.
//!
//! In: [`Observations`]: the objects, the Lease, the fleet object and Redis. Out: an [`Explanation`], for people
//! ([`table()`]) or programs (JSON). A status is written when its tier or a condition changes, so its numbers may be
//! older than those that the leader ranks by; the explanation says when they were true. It never contains the URL of a
//! refused object, which may hold a credential.

mod advice;
mod cut;
mod table;

use serde::Serialize;

use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::{FleetStatus, McpGatewayFleet};
use crate::classify::{Metadata, ServerUsage};
use crate::leadership::lease_view::LeaseView;
use crate::model::{GatewayId, ObjectName, ServerUrl};
use crate::poll::PollDecision;
use crate::registry::{Gateway, Registration, RegistrySnapshot, Spec};
pub use cut::CutOff;
pub use table::{aligned, table};

/// What an explanation is made from.
#[derive(Debug)]
pub struct Observations {
    /// The objects.
    pub registry: RegistrySnapshot,
    /// Whether these are all objects of the fleet. If not, whatever counts or compares them is left out.
    pub complete: bool,
    /// Whether a replica leads, or why that is not known.
    pub leader: Result<LeaseView, String>,
    /// The fleet object; `None` if there is none, or if it could not be read.
    pub fleet: Option<McpGatewayFleet>,
    /// The answer of Redis.
    pub redis: RedisAnswer,
}

impl Observations {
    fn status(&self) -> Option<&FleetStatus> {
        self.fleet.as_ref()?.status.as_ref()
    }
}

/// What Redis holds for the server.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisAnswer {
    /// `--redis-url` was not given.
    NotAsked,
    /// There was no usable answer, and why.
    Failed(String),
    /// An answer.
    Answered {
        /// The metadata of the publication; `None` if nothing is published.
        published: Option<Metadata>,
        /// The decision about the next poll of each type.
        polls: Vec<NextPoll>,
    },
}

/// When one type of poll is due.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NextPoll {
    /// What is polled, as the word for a [`crate::poll::PollType`].
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether the last poll was that of the gateway id, and not of the URL.
    pub by_gateway_id: bool,
    /// When it is due.
    #[serde(flatten)]
    pub decision: PollDecision,
}

/// Why an object has its tier, or none. Times are RFC 3339, in whole seconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `namespace/name`.
    pub object: String,
    /// The server; `None` if the object is disabled or its URL is refused.
    pub url: Option<String>,
    /// The id under which workers know it.
    pub gateway_id: Option<String>,
    /// `Hot`, `Cold`, or `None` while not classified.
    pub tier: Option<&'static str>,
    /// Since when it has this tier.
    pub tier_since: Option<String>,
    /// The reason of the condition `Classified`, or why the object is not accepted, or `Pending`.
    pub reason: &'static str,
    /// What the reason means.
    pub meaning: &'static str,
    /// 1-based rank among the servers that were ever used, as last written.
    pub rank: Option<i64>,
    /// The numbers of the fleet.
    pub fleet: FleetNumbers,
    /// The last hot server.
    pub cut_off: Option<CutOff>,
    /// Its use, as last written.
    pub usage: Option<Usage>,
    /// What would make it hot or keep it hot, or what to do.
    pub next: String,
    /// Other objects of the same server, which share its tier.
    pub same_server: Vec<String>,
    /// The object that keeps the gateway id, if another does.
    pub id_kept_by: Option<String>,
    /// When each type of poll is due; empty if Redis was not asked.
    pub polls: Vec<NextPoll>,
    /// The replica that leads.
    pub leader: String,
    /// What else to know about the object.
    pub notes: Vec<String>,
}

/// The fleet in numbers, from the publication in Redis, or else from the statuses; each `None` where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetNumbers {
    /// Unique servers.
    pub servers: Option<usize>,
    /// How many of them may be hot.
    pub hot_cap: Option<usize>,
    /// How many are hot.
    pub hot: Option<usize>,
    /// How many were ever used.
    pub ever_used: Option<usize>,
}

/// The use of the server, merged over all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// When the latest request began.
    pub last_used: Option<String>,
    /// Sessions with a request in flight.
    pub active: u64,
    /// Open sessions without one.
    pub idle: u64,
    /// Requests.
    pub use_count: u64,
    /// When these numbers were true.
    pub observed: Option<String>,
}

/// Explains one object; `None` if it is not among those observed.
pub fn explain(name: &ObjectName, observations: &Observations) -> Option<Explanation> {
    let registry = &observations.registry;
    let gateway = registry.gateways().iter().find(|gateway| gateway.record.name == *name)?;
    let status = &gateway.record.status;
    let reason = reason(gateway);
    let url = server(gateway);
    let cut_off = if observations.complete { cut::last_hot(registry) } else { None };
    let fleet = numbers(observations);
    Some(Explanation {
        object: name.to_string(),
        url: url.map(|url| url.expose().to_owned()),
        gateway_id: id(gateway).map(ToString::to_string),
        tier: status.tier.map(Into::into),
        tier_since: status.tier.and(status.tier_transition).map(time),
        reason: reason.into(),
        meaning: reason.message(),
        rank: status.rank,
        next: advice::next(gateway, reason, cut_off.as_ref(), &fleet, observations),
        same_server: url.map(|url| others(gateway, url, registry)).unwrap_or_default(),
        id_kept_by: (reason == Reason::DuplicateGatewayId).then(|| owner_of_id(gateway, registry)).flatten(),
        polls: match &observations.redis {
            RedisAnswer::Answered { polls, .. } if url.is_some() => polls.clone(),
            _ => Vec::new(),
        },
        leader: advice::leader(&observations.leader),
        notes: advice::notes(gateway, reason, observations),
        usage: status.usage.map(|reported| usage(reported, status.usage_observed)),
        cut_off,
        fleet,
    })
}

/// The reason by the spec, and by the status if it is that of this spec.
fn reason(gateway: &Gateway) -> Reason {
    match gateway.registration {
        Registration::Refused(refusal) => refusal.reason(),
        Registration::Disabled => Reason::Disabled,
        Registration::Registered { .. } => {
            let classified = gateway.record.status.condition(ConditionType::Classified);
            let current = classified.filter(|it| it.observed_generation == Some(gateway.record.generation));
            // These reasons are left over from an older spec, or from when another object had the id.
            let outdated = |reason: &Reason| matches!(reason, Reason::Disabled | Reason::NotAccepted);
            current.and_then(|it| it.reason).filter(|reason| !outdated(reason)).unwrap_or(Reason::Pending)
        }
    }
}

fn server(gateway: &Gateway) -> Option<&ServerUrl> {
    match (&gateway.registration, &gateway.record.spec) {
        (Registration::Registered { url, .. }, _) | (_, Spec::Enabled { url, .. }) => Some(url),
        (Registration::Disabled | Registration::Refused(_), _) => None,
    }
}

fn id(gateway: &Gateway) -> Option<&GatewayId> {
    match &gateway.record.spec {
        Spec::Enabled { id, .. } => id.as_ref(),
        Spec::Disabled | Spec::Refused(_) => None,
    }
}

/// The other registered objects of the same server.
fn others(gateway: &Gateway, url: &ServerUrl, registry: &RegistrySnapshot) -> Vec<String> {
    let same = |other: &&Gateway| {
        matches!(&other.registration, Registration::Registered { url: its, .. } if its == url)
            && other.record.name != gateway.record.name
    };
    registry.gateways().iter().filter(same).map(|other| other.record.name.to_string()).collect()
}

/// The registered object with the same gateway id. Its URL differs, or else both would be registered.
fn owner_of_id(gateway: &Gateway, registry: &RegistrySnapshot) -> Option<String> {
    let wanted = id(gateway)?;
    let owns =
        |other: &&Gateway| matches!(other.registration, Registration::Registered { .. }) && id(other) == Some(wanted);
    registry.gateways().iter().find(owns).map(|other| other.record.name.to_string())
}

fn numbers(observations: &Observations) -> FleetNumbers {
    if let RedisAnswer::Answered { published: Some(metadata), .. } = &observations.redis {
        let Metadata { total_servers, hot_cap, hot_actual, eligible_count, timestamp: _, underutilized_reason: _ } =
            metadata;
        return FleetNumbers {
            servers: Some(*total_servers),
            hot_cap: Some(*hot_cap),
            hot: Some(*hot_actual),
            ever_used: Some(*eligible_count),
        };
    }
    if observations.complete { cut::count(&observations.registry) } else { FleetNumbers::default() }
}

fn usage(usage: ServerUsage, observed: Option<i64>) -> Usage {
    let ServerUsage { last_used, active, idle, use_count } = usage;
    Usage { last_used: last_used.map(|time| time.to_string()), active, idle, use_count, observed: observed.map(time) }
}

/// Whole Unix seconds, as RFC 3339.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests;
