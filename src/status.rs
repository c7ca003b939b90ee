//! What the objects should say, and the smallest set of writes that makes them say it. The plan is pure; the writing
//! is in [`writer`], the facts of the whole fleet are in [`fleet`]. SPEC section 1.
//!
//! A fleet whose tiers stand still costs no writes: a status is written when it says something new, and what moves all
//! the time (rank, usage, messages) only rides along.

mod conditions;
mod counts;
pub mod writer;

use std::borrow::Cow;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::api::v1alpha1::{McpGatewayStatus, TierName, UsageStatus};
use crate::classify::{Classification, PerServer, Placement, RankingInput, ServerUsage};
use crate::model::{ObjectName, ServerUrl, Term, Tier, UnixTime};
use crate::registry::{Gateway, GatewayRecord, ObservedStatus, ObservedUsage, Registration, RegistrySnapshot};
pub use conditions::{Said, State, reason_of};
pub use counts::FleetCounts;

/// What there is to say of the registered servers in this turn.
#[derive(Clone, Copy, Debug)]
pub enum Tiers<'a> {
    /// They were classified from what was known; servers that have no place are too new.
    Classified(&'a Classification, &'a PerServer<RankingInput>),
    /// Nothing is known anew: tiers stay as they were said last, of the same generation.
    Kept,
    /// The last publication was given up: no server has a tier.
    GivenUp,
    /// The fleet is suspended: no server has a tier.
    Suspended,
}

/// The context of a plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanContext {
    /// Of the leader that writes.
    pub term: Term,
    /// The time of the turn.
    pub now: UnixTime,
    /// How often a status is written when nothing but the usage moved; zero is never (`--status-usage-interval`).
    pub usage_interval: Duration,
}

/// One status to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusChange {
    /// Of which object.
    pub name: ObjectName,
    /// Its uid, for the Event.
    pub uid: std::sync::Arc<str>,
    /// What the change was decided on; the API server refuses it if the object has moved on.
    pub resource_version: std::sync::Arc<str>,
    /// The whole new status.
    pub status: McpGatewayStatus,
    /// Set if acceptance changes: then there is an Event.
    pub accepted: Option<(ConditionStatus, Reason)>,
    /// The tier before and after, if it changes.
    pub moved: Option<(Option<Tier>, Option<Tier>)>,
}

/// The statuses that must change, in registry order. Pure.
#[must_use]
pub fn plan(snapshot: &RegistrySnapshot, tiers: Tiers<'_>, context: &PlanContext) -> Vec<StatusChange> {
    let found = match tiers {
        Tiers::Classified(classification, known) => {
            let servers = snapshot.servers();
            Found::Classified(classification.places().on(servers), known.on(servers))
        }
        Tiers::Kept => Found::Kept,
        Tiers::GivenUp => Found::Without(State::UsageIncomplete),
        Tiers::Suspended => Found::Without(State::Suspended),
    };
    let place = |server: &ServerUrl| snapshot.by_url(server.expose()).map_or(usize::MAX, |place| place as usize);
    snapshot.gateways().iter().filter_map(|gateway| change(gateway, &found, place, context)).collect()
}

/// [`Tiers`], on the list of the registry.
enum Found<'a> {
    Classified(Cow<'a, PerServer<Option<Placement>>>, Cow<'a, PerServer<RankingInput>>),
    Kept,
    /// No server has a tier, and why.
    Without(State),
}

/// What one object should say; compared with what it says.
#[derive(Debug)]
struct Wanted {
    state: State,
    tier: Option<Tier>,
    rank: Option<i64>,
    usage: Option<ObservedUsage>,
}

impl Wanted {
    fn without_tier(state: State) -> Self {
        Self { state, tier: None, rank: None, usage: None }
    }
}

fn change(
    gateway: &Gateway,
    found: &Found<'_>,
    place: impl Fn(&ServerUrl) -> usize,
    context: &PlanContext,
) -> Option<StatusChange> {
    let Gateway { record, registration } = gateway;
    let wanted = match registration {
        Registration::Refused(refusal) => Wanted::without_tier(State::Refused(*refusal)),
        Registration::Disabled => Wanted::without_tier(State::Disabled),
        Registration::Registered(server) => registered(record, found, || place(server), context.now)?,
    };
    let news = says_something_new(record, &wanted) || usage_is_due(&record.status, &wanted, context);
    news.then(|| write(record, &wanted, context))
}

/// What a registered object should say; `None` if it should stay as it is.
fn registered(
    record: &GatewayRecord,
    found: &Found<'_>,
    place: impl FnOnce() -> usize,
    now: UnixTime,
) -> Option<Wanted> {
    match found {
        Found::Classified(places, known) => {
            let at = place();
            let Some(Placement { tier, reason, rank }) = places.get(at).copied().flatten() else {
                return Some(Wanted::without_tier(State::AwaitingUsage));
            };
            let usage = known.get(at).map(|known| known.usage).unwrap_or_default();
            Some(Wanted {
                state: State::Classified(reason),
                tier: Some(tier),
                rank: rank.map(i64::from),
                usage: usage_of(&usage, now),
            })
        }
        Found::Without(state) => Some(Wanted::without_tier(*state)),
        Found::Kept if speaks_of_this_spec(record) => None,
        Found::Kept => Some(Wanted::without_tier(State::AwaitingUsage)),
    }
}

/// Whether the status was written for the spec as it is, as of a registered object. Which URL an older one spoke of
/// is not known, so its tier cannot be kept.
fn speaks_of_this_spec(record: &GatewayRecord) -> bool {
    let ready = record.status.condition(ConditionType::Ready).and_then(|ready| ready.reason);
    record.status.observed_generation == Some(record.generation)
        && matches!(ready, Some(Reason::Classified | Reason::Registered))
}

fn says_something_new(record: &GatewayRecord, wanted: &Wanted) -> bool {
    let observed = &record.status;
    observed.observed_generation != Some(record.generation)
        || observed.tier != wanted.tier
        || wanted.state.differs(observed, record.generation)
}

/// Whether the usage has moved and was written long enough ago.
fn usage_is_due(observed: &ObservedStatus, wanted: &Wanted, context: &PlanContext) -> bool {
    let moving = |usage: Option<ObservedUsage>| usage.map(|usage| ObservedUsage { observed: None, ..usage });
    let moved = (moving(observed.usage), observed.rank) != (moving(wanted.usage), wanted.rank);
    let interval = i64::try_from(context.usage_interval.as_secs()).unwrap_or(i64::MAX);
    let written = observed.usage.and_then(|usage| usage.observed).unwrap_or_default();
    // Below a second there would be a write in every cycle: times are kept in whole seconds.
    moved && !context.usage_interval.is_zero() && context.now.whole_seconds() - written >= interval.max(1)
}

/// The usage as a status says it: whole seconds, never in the future; nothing if there was none.
fn usage_of(usage: &ServerUsage, now: UnixTime) -> Option<ObservedUsage> {
    if *usage == ServerUsage::default() {
        return None;
    }
    let ServerUsage { last_used, active, idle, use_count } = *usage;
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Some(ObservedUsage {
        last_used: last_used.map(|time| time.min(now).whole_seconds()),
        active: count(active),
        idle: count(idle),
        use_count: count(use_count),
        observed: Some(now.whole_seconds()),
    })
}

fn write(record: &GatewayRecord, wanted: &Wanted, context: &PlanContext) -> StatusChange {
    let GatewayRecord { name, uid, resource_version, generation, created: _, spec: _, status: observed } = record;
    let Wanted { state, tier, rank, usage } = wanted;
    let moved = (observed.tier != *tier).then_some((observed.tier, *tier));
    let transition = match moved {
        Some(_) => Some(context.now.whole_seconds()),
        None => observed.tier_transition,
    };
    StatusChange {
        name: name.clone(),
        uid: uid.clone(),
        resource_version: resource_version.clone(),
        status: McpGatewayStatus {
            observed_generation: Some(*generation),
            tier: tier.map(|tier| match tier {
                Tier::Hot => TierName::Hot,
                Tier::Cold => TierName::Cold,
            }),
            tier_transition_time: transition.and_then(time),
            rank: *rank,
            usage: usage.map(usage_status),
            conditions: state.conditions(observed, *generation, context.now),
            term: Some(context.term.get()),
        },
        accepted: accepted_change(observed, *state),
        moved,
    }
}

/// What an Event says: acceptance changed. That a new object is accepted is no news.
fn accepted_change(observed: &ObservedStatus, state: State) -> Option<(ConditionStatus, Reason)> {
    let before = observed.condition(ConditionType::Accepted).map(|accepted| (accepted.status, accepted.reason));
    let now = state.says(ConditionType::Accepted)?;
    let first_and_fine = before.is_none() && now.0 == ConditionStatus::True;
    (before != Some((Some(now.0), Some(now.1))) && !first_and_fine).then_some(now)
}

fn usage_status(usage: ObservedUsage) -> UsageStatus {
    let ObservedUsage { last_used, active, idle, use_count, observed } = usage;
    UsageStatus {
        last_used_time: last_used.and_then(time),
        active_sessions: active,
        idle_sessions: idle,
        use_count,
        observed_time: observed.and_then(time),
    }
}

fn time(seconds: i64) -> Option<Time> {
    jiff::Timestamp::from_second(seconds).ok().map(Time)
}

#[cfg(test)]
mod tests;
