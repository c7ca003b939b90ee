//! Why one object has its tier, or none, and what would change that: the answer of `explain`. Pure and deterministic.
//!
//! In: [`Observations`]: the objects, the Lease, the fleet object, Redis and `ContextForge`. Out: an [`Explanation`],
//! for people ([`table()`]) or programs (JSON). A status is written when its tier or a condition changes, so its
//! numbers may be older than those that the leader ranks by; the explanation says when they were true. It never
//! contains the URL of a refused object, which may hold a credential.

mod advice;
mod refresh;
mod registration;
mod table;

use std::cmp::Reverse;

use serde::{Serialize, Serializer};

use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::{FleetStatus, McpGatewayFleet};
use crate::classify::{Metadata, ServerUsage};
use crate::leadership::record::LeaseView;
use crate::model::{ObjectName, ServerUrl, Tier, UnixTime};
use crate::poll::PollDecision;
use crate::registry::{Gateway, GatewayRecord, Registration, RegistrySnapshot, Spec, StatusTime};
pub use refresh::PlannedRefresh;
pub use registration::{EntryAnswer, RegistrationView};
pub use table::{aligned, table};

#[derive(Debug)]
pub struct Observations {
    pub now: UnixTime,
    pub registry: RegistrySnapshot,
    /// Whether these are all objects of the fleet. If not, whatever counts or compares them is left out.
    pub complete: bool,
    /// Whether a replica leads, or why that is not known.
    pub leader: Result<LeaseView, String>,
    /// The fleet object; `None` if there is none, or if it could not be read.
    pub fleet: Option<McpGatewayFleet>,
    pub redis: RedisAnswer,
    /// What `ContextForge` has for the object.
    pub entry: EntryAnswer,
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
    Answered {
        /// The metadata of the publication; `None` if nothing is published.
        published: Option<Metadata>,
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
    pub tier_since: Option<String>,
    /// The reason of the condition `Classified`, or why the object is not accepted, or `Pending`.
    pub reason: &'static str,
    pub meaning: &'static str,
    /// 1-based rank among the servers that were ever used, as last written.
    pub rank: Option<i64>,
    pub fleet: FleetNumbers,
    pub cut_off: Option<CutOff>,
    /// Its use, as last written.
    pub usage: Option<Usage>,
    /// How often the refresh plan has it refreshed; `None` without a plan.
    pub refresh: Option<PlannedRefresh>,
    /// What would make it hot or keep it hot, or what to do.
    pub next: String,
    /// Other objects of the same server, which share its tier.
    pub same_server: Vec<String>,
    /// The object that keeps the gateway id, if another does.
    pub id_kept_by: Option<String>,
    /// When each type of poll is due; empty if Redis was not asked.
    pub polls: Vec<NextPoll>,
    /// What it asks to be registered and what is there; `None` without `spec.registration`.
    pub registration: Option<RegistrationView>,
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

/// The last hot server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CutOff {
    /// Its object, as `namespace/name`; the first if there are several.
    pub object: String,
    pub url: String,
    /// Its rank, as last written.
    pub rank: Option<i64>,
    /// When it was last used, as last written.
    #[serde(serialize_with = "as_text")]
    pub last_used: Option<UnixTime>,
}

impl CutOff {
    /// Whether the last hot server was used no later than this one. If this one is cold, recency did not decide.
    fn is_no_later_than(&self, gateway: &Gateway) -> bool {
        let usage = gateway.record.status.usage();
        self.last_used.is_some() && self.last_used <= usage.and_then(|usage| usage.last_used)
    }
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
    pub use_count: u64,
    /// When these numbers were true.
    pub observed: Option<String>,
}

/// Explains one object; `None` if it is not among those observed.
pub fn explain(name: &ObjectName, observations: &Observations) -> Option<Explanation> {
    let registry = &observations.registry;
    let gateway = registry.gateways().get(&name.namespace, &name.name)?;
    let status = &gateway.record.status;
    let reason = reason(gateway);
    let url = server(gateway);
    let cut_off = if observations.complete { last_hot(registry) } else { None };
    let fleet = numbers(observations);
    Some(Explanation {
        object: name.to_string(),
        url: url.map(|url| url.expose().to_owned()),
        gateway_id: gateway.record.gateway_id().map(ToString::to_string),
        tier: status.tier.map(Into::into),
        tier_since: status.tier.and(status.tier_transition).map(time),
        reason: reason.into(),
        meaning: reason.message(),
        rank: status.rank().map(Into::into),
        next: advice::next(gateway, reason, cut_off.as_ref(), &fleet, observations),
        same_server: same_server(gateway, registry),
        id_kept_by: (reason == Reason::DuplicateGatewayId).then(|| owner_of_id(gateway, registry)).flatten(),
        polls: match &observations.redis {
            RedisAnswer::Answered { polls, .. } if url.is_some() => polls.clone(),
            _ => Vec::new(),
        },
        registration: registration::view(&gateway.record, &observations.entry),
        leader: advice::leader(&observations.leader),
        notes: advice::notes(gateway, reason, observations),
        refresh: refresh::planned(&gateway.record, reason, observations),
        usage: status.usage().map(|reported| usage(reported, status.usage_observed)),
        cut_off,
        fleet,
    })
}

/// The reason by the spec, and by the status if it is that of this spec.
fn reason(gateway: &Gateway) -> Reason {
    match gateway.registration {
        Registration::Refused(refusal) => refusal.reason(),
        Registration::Disabled => Reason::Disabled,
        Registration::Registered { .. } => reason_of_registered(&gateway.record),
    }
}

fn reason_of_registered(record: &GatewayRecord) -> Reason {
    let classified = record.status.condition(ConditionType::Classified);
    let current = classified.filter(|it| it.current);
    // These reasons are left over from an older spec, or from when another object had the id.
    let outdated = |reason: &Reason| matches!(reason, Reason::Disabled | Reason::NotAccepted);
    current.and_then(|it| it.reason).filter(|reason| !outdated(reason)).unwrap_or(Reason::Pending)
}

fn server(gateway: &Gateway) -> Option<&ServerUrl> {
    match &gateway.record.spec {
        Spec::Enabled { url, .. } => Some(url),
        Spec::Disabled { .. } | Spec::Refused(_) => None,
    }
}

/// The other registered objects of the same server; none if this one is not registered.
fn same_server(gateway: &Gateway, registry: &RegistrySnapshot) -> Vec<String> {
    let Some(place) = gateway.registration.place() else { return Vec::new() };
    let others = registry.registered().filter(|(other, at)| *at == place as usize && other.name != gateway.record.name);
    others.map(|(other, _)| other.name.to_string()).collect()
}

/// The registered object with the same gateway id. Its URL differs, or else both would be registered.
fn owner_of_id(gateway: &Gateway, registry: &RegistrySnapshot) -> Option<String> {
    let id = gateway.record.gateway_id()?;
    registry.registered().find(|(other, _)| other.gateway_id() == Some(id)).map(|(other, _)| other.name.to_string())
}

/// Each server of the registry with its first object.
fn servers(registry: &RegistrySnapshot) -> impl Iterator<Item = (&GatewayRecord, &ServerUrl)> {
    // The servers are in the order of their first objects.
    let mut servers = registry.servers().iter().enumerate().peekable();
    registry.registered().filter_map(move |(record, place)| {
        let (_, url) = servers.next_if(|(next, _)| *next == place)?;
        Some((record, url))
    })
}

/// The last in the order of the ranking, with exact times, among the servers that are hot by their own use, and not
/// held. Servers are compared by the use in their statuses, and not by rank: a use once written stays true, while ranks
/// were written at different times.
fn last_hot(registry: &RegistrySnapshot) -> Option<CutOff> {
    let above = servers(registry).filter(|(record, _)| reason_of_registered(record) == Reason::AboveCut);
    let last = above.min_by_key(|(record, url)| {
        let ServerUsage { last_used, active, use_count, .. } = record.status.usage().unwrap_or_default();
        (last_used, active, use_count, Reverse(*url))
    });
    last.map(|(record, url)| CutOff {
        object: record.name.to_string(),
        url: url.expose().to_owned(),
        rank: record.status.rank().map(Into::into),
        last_used: record.status.usage().and_then(|usage| usage.last_used),
    })
}

fn numbers(observations: &Observations) -> FleetNumbers {
    if let RedisAnswer::Answered { published: Some(metadata), .. } = &observations.redis {
        return FleetNumbers {
            servers: Some(metadata.total_servers),
            hot_cap: Some(metadata.hot_cap),
            hot: Some(metadata.hot_actual),
            ever_used: Some(metadata.eligible_count),
        };
    }
    if !observations.complete {
        return FleetNumbers::default();
    }
    let registry = &observations.registry;
    let count = |is: fn(&GatewayRecord) -> bool| Some(servers(registry).filter(|(record, _)| is(record)).count());
    FleetNumbers {
        servers: Some(registry.servers().len()),
        // The statuses do not say how many servers may be hot.
        hot_cap: None,
        hot: count(|record| record.status.tier == Some(Tier::Hot)),
        ever_used: count(|record| record.status.rank().is_some()),
    }
}

fn usage(usage: ServerUsage, observed: Option<StatusTime>) -> Usage {
    let ServerUsage { last_used, active, idle, use_count } = usage;
    Usage { last_used: last_used.map(|time| time.to_string()), active, idle, use_count, observed: observed.map(time) }
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn as_text<S: Serializer>(time: &Option<UnixTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

/// In RFC 3339.
fn time(time: StatusTime) -> String {
    time.timestamp().to_string()
}

#[cfg(test)]
mod tests;
