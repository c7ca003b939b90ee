//! Why one object has its tier, or none, and what would change that: the answer of `explain`. Pure and deterministic.
//!
//! In: [`Signs`], that is the objects as the API server has them, and what the Lease, the fleet's facts and Redis say. Out: an
//! [`Explanation`], for a person (`explanation::table`) or a program (JSON). Statuses are written when they say something new, so the
//! numbers in them may be older than those the leader ranks by; the explanation says of when they are. It never holds the URL of a
//! refused object, which may carry a credential.

mod advice;
mod cut;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::api::conditions::{ConditionType, Reason};
use crate::classify::{Metadata, ServerUsage};
use crate::model::{GatewayId, ObjectName, ServerUrl, Tier, UnixTime};
use crate::poll::PollDecision;
use crate::publish::keys::PollType;
use crate::registry::{Gateway, Registration, RegistrySnapshot, Spec};
pub use cut::CutOff;
pub use table::table;

/// What is known, each as far as it could be found out.
#[derive(Clone, Copy, Debug)]
pub struct Signs<'a> {
    /// The objects.
    pub registry: &'a RegistrySnapshot,
    /// Whether these are all of the fleet: what counts or compares them is left out otherwise.
    pub whole: bool,
    /// Who leads.
    pub leader: &'a Leader,
    /// The facts of the fleet; `None` if there are none, or if they could not be read.
    pub facts: Option<&'a BTreeMap<String, String>>,
    /// What Redis says.
    pub redis: &'a Redis,
}

/// Who leads the fleet, told from its Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// Somebody who renews it.
    Leads(String),
    /// Its holder has not renewed it in time.
    Late {
        /// The holder.
        holder: String,
        /// When it was renewed last.
        renewed: UnixTime,
    },
    /// It is free, or there is none.
    Nobody,
    /// It could not be read, and why.
    Unknown(String),
}

/// What Redis says of the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Redis {
    /// Nobody asked it: `--redis-url` was not given.
    NotAsked,
    /// It did not answer, and why.
    Failed(String),
    /// It answered.
    Said {
        /// The facts of the publication that stands there; `None` if nothing is published.
        published: Option<Metadata>,
        /// Of each type the decision about the next poll.
        polls: Vec<Poll>,
    },
}

/// When one type of poll is due.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Poll {
    /// What is polled.
    #[serde(rename = "type", serialize_with = "word")]
    pub kind: PollType,
    /// Whether the last poll is that of the gateway id; else that of the URL.
    pub by_gateway_id: bool,
    /// When it is due.
    #[serde(flatten)]
    pub decision: PollDecision,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn word<S: serde::Serializer>(kind: &PollType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
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
    /// Since when.
    pub tier_since: Option<String>,
    /// A reason of the conditions: that of `Classified`, or why it is not accepted, or `Pending`.
    pub reason: &'static str,
    /// What that means.
    pub meaning: &'static str,
    /// Placement among the servers that were ever used, as when last written.
    pub rank: Option<i64>,
    /// The fleet that it is ranked in.
    pub fleet: Fleet,
    /// The last hot one, behind which the cold ones begin.
    pub cut_off: Option<CutOff>,
    /// Its use, as when last written.
    pub usage: Option<Usage>,
    /// What would make it hot, or keep it so; or what to do.
    pub next: String,
    /// Other objects of the same server, which share its tier.
    pub same_server: Vec<String>,
    /// The object that keeps the gateway id, if another does.
    pub id_kept_by: Option<String>,
    /// When each type of poll is due; empty if Redis was not asked.
    pub polls: Vec<Poll>,
    /// Who leads.
    pub leader: String,
    /// What else is to be known.
    pub notes: Vec<String>,
}

/// The fleet in numbers, by what is published in Redis, else by the statuses; each `None` where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fleet {
    /// Unique servers.
    pub servers: Option<usize>,
    /// How many of them may be hot.
    pub hot_cap: Option<usize>,
    /// How many are.
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

/// Explains one object; `None` if it is not among those of the signs.
#[must_use]
pub fn explain(name: &ObjectName, signs: &Signs<'_>) -> Option<Explanation> {
    let gateway = signs.registry.gateways().iter().find(|gateway| gateway.record.name == *name)?;
    let (record, status) = (&gateway.record, &gateway.record.status);
    let reason = reason(gateway);
    let url = server(gateway);
    let cut_off = if signs.whole { cut::last_hot(signs.registry) } else { None };
    let fleet = fleet(signs);
    Some(Explanation {
        object: written(name),
        url: url.map(|url| url.expose().to_owned()),
        gateway_id: id(gateway).map(ToString::to_string),
        tier: status.tier.map(Tier::as_str),
        tier_since: status.tier.and(status.tier_transition).map(time),
        reason: reason.as_str(),
        meaning: reason.message(),
        rank: status.rank,
        next: advice::next(gateway, reason, cut_off.as_ref(), &fleet, signs),
        same_server: url.map(|url| others(gateway, url, signs.registry)).unwrap_or_default(),
        id_kept_by: (reason == Reason::DuplicateGatewayId).then(|| keeper(gateway, signs.registry)).flatten(),
        polls: match signs.redis {
            Redis::Said { polls, .. } if url.is_some() => polls.clone(),
            _ => Vec::new(),
        },
        leader: advice::leader(signs.leader),
        notes: advice::notes(gateway, record.generation, signs),
        usage: status.usage.map(|reported| usage(reported, status.usage_observed)),
        cut_off,
        fleet,
    })
}

/// What is said of an object: by its spec, and by its status as far as that speaks of this spec.
fn reason(gateway: &Gateway) -> Reason {
    match gateway.registration {
        Registration::Refused(refusal) => refusal.reason(),
        Registration::Disabled => Reason::Disabled,
        Registration::Registered { .. } => {
            let said = gateway.record.status.condition(ConditionType::Classified);
            let current = said.filter(|said| said.observed_generation == Some(gateway.record.generation));
            // What was said while it was disabled or refused is of an older spec, or of an id that is free by now.
            let of_the_registry = |reason: &Reason| !matches!(reason, Reason::Disabled | Reason::NotAccepted);
            current.and_then(|said| said.reason).filter(of_the_registry).unwrap_or(Reason::Pending)
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
    registry.gateways().iter().filter(same).map(|other| written(&other.record.name)).collect()
}

/// The registered object with the same gateway id; another URL, else both would be.
fn keeper(gateway: &Gateway, registry: &RegistrySnapshot) -> Option<String> {
    let wanted = id(gateway)?;
    let keeps =
        |other: &&Gateway| matches!(other.registration, Registration::Registered { .. }) && id(other) == Some(wanted);
    registry.gateways().iter().find(keeps).map(|other| written(&other.record.name))
}

fn fleet(signs: &Signs<'_>) -> Fleet {
    if let Redis::Said { published: Some(metadata), .. } = signs.redis {
        let Metadata { total_servers, hot_cap, hot_actual, eligible_count, timestamp: _, underutilized_reason: _ } =
            metadata;
        return Fleet {
            servers: Some(*total_servers),
            hot_cap: Some(*hot_cap),
            hot: Some(*hot_actual),
            ever_used: Some(*eligible_count),
        };
    }
    if signs.whole { cut::count(signs.registry) } else { Fleet::default() }
}

fn usage(usage: ServerUsage, observed: Option<i64>) -> Usage {
    let ServerUsage { last_used, active, idle, use_count } = usage;
    Usage { last_used: last_used.map(|time| time.to_string()), active, idle, use_count, observed: observed.map(time) }
}

/// Whole Unix seconds, as RFC 3339.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

fn written(name: &ObjectName) -> String {
    format!("{}/{}", name.namespace, name.name)
}

#[cfg(test)]
mod tests;
