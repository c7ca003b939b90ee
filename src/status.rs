//! Plans the statuses of the `McpGateway` objects: the smallest set of writes that makes them up to date
//! (`docs/contract.md#status-writes`). The plan is pure; [`writer`] makes the writes.
//!
//! A fleet whose tiers do not change causes no writes. A status is written when a condition, the tier or the observed
//! generation changes; rank, usage and messages, which change all the time, are only written along with it.

mod conditions;
mod registration;
pub(crate) mod writer;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::api::v1alpha1::{McpGatewayStatus, PollingStatus, UsageStatus};
use crate::classify::{PerServer, Placement, RankingInput, ServerUsage};
use crate::model::{ObjectName, PlannedInterval, ResourceVersion, ServerUrl, Term, Tier, UnixTime};
use crate::registry::{
    Gateway, GatewayRecord, ObservedStatus, RefreshRequest, Registration, RegistrySnapshot, StatusTime, StatusUsage,
};
pub use conditions::TargetCondition;
use conditions::{ConditionsOf, ObjectState};
use registration::RegistrationTarget;
pub use registration::Registrations;

/// The tiers of the registered servers in this turn.
#[derive(Clone, Debug)]
pub enum Tiers {
    /// The servers were classified.
    Classified {
        /// A server without a placement is too new.
        placements: Arc<PerServer<Option<Placement>>>,
        /// From which they were classified.
        inputs: Arc<PerServer<RankingInput>>,
        /// The planned intervals.
        intervals: Arc<PerServer<Option<PlannedInterval>>>,
        /// The refresh requests that gateways find; `None` where nothing is published.
        answers: Option<Arc<HashMap<ObjectName, RefreshRequest>>>,
    },
    /// There is no new classification: a tier stays as it is, if the spec has not changed since.
    Kept,
    /// The last publication was given up: no server has a tier.
    GivenUp,
    /// The fleet is suspended: no server has a tier.
    Suspended,
}

impl Tiers {
    /// The same for another list of servers.
    fn on(self, servers: &Arc<[ServerUrl]>) -> Self {
        match self {
            Self::Classified { placements, inputs, intervals, answers } => Self::Classified {
                placements: moved(placements, servers),
                inputs: moved(inputs, servers),
                intervals: moved(intervals, servers),
                answers,
            },
            other => other,
        }
    }
}

/// What the last plan was made from, if nothing of it is left to write: what has not changed since needs no new look.
#[derive(Clone, Debug)]
pub struct Settled {
    registry: Arc<RegistrySnapshot>,
    tiers: Tiers,
    registrations: Registrations,
    /// Whether usage or rank of an object may differ from what its status states.
    usage_is_pending: bool,
}

impl Settled {
    /// Whether what is said of an unchanged object is the same as well. What it asks for may be answered at any time.
    fn says_the_same(&self, Gateway { registration, .. }: &Gateway, tiers: &Tiers) -> bool {
        let Registration::Registered { place, asks } = *registration else { return true };
        let place = place as usize;
        match (&self.tiers, tiers) {
            (
                Tiers::Classified { placements: placed, intervals: planned, .. },
                Tiers::Classified { placements, intervals, .. },
            ) => !asks && placed.get(place) == placements.get(place) && planned.get(place) == intervals.get(place),
            (before, now) => std::mem::discriminant(before) == std::mem::discriminant(now),
        }
    }

    /// Whether all statuses state the usage that these tiers were decided by: servers that were not ranked again have
    /// the same one.
    fn states_the_usage_of(&self, tiers: &Tiers) -> bool {
        match (&self.tiers, tiers) {
            (Tiers::Classified { placements: placed, .. }, Tiers::Classified { placements, .. }) => {
                !self.usage_is_pending && Arc::ptr_eq(placed, placements)
            }
            _ => false,
        }
    }
}

fn moved<T: Clone + Default>(column: Arc<PerServer<T>>, servers: &Arc<[ServerUrl]>) -> Arc<PerServer<T>> {
    if Arc::ptr_eq(column.servers(), servers) { column } else { Arc::new(column.on(servers).into_owned()) }
}

/// The context of a plan.
#[derive(Clone, Debug)]
pub struct PlanContext {
    /// The term of the leader that writes.
    pub term: Term,
    /// The time of the turn.
    pub now: UnixTime,
    /// How often a status is written when only the usage has changed; zero is never (`--status-usage-interval`).
    pub usage_interval: Duration,
    /// What is known of the registrations in `ContextForge`.
    pub registrations: Registrations,
    /// The revision of the registry up to which all objects had their turn. Later changes are written first.
    pub answered_revision: u64,
}

/// The statuses that must change, in the order in which to write them. Each is made when its write begins, so a plan
/// for a large fleet needs little memory.
#[derive(Clone, Debug)]
pub struct StatusPlan {
    tiers: Tiers,
    context: PlanContext,
    due: Vec<Gateway>,
    /// Whether usage or rank of an object that is not due may differ from what its status states.
    usage_is_pending: bool,
}

/// One status to write.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusChange {
    /// The object.
    pub name: ObjectName,
    /// The version that the change is based on; the API server refuses the write if the object has changed since.
    pub resource_version: ResourceVersion,
    /// The whole new status.
    pub status: McpGatewayStatus,
    /// The conditions that change in a way that needs an Event.
    pub announced: Vec<TargetCondition>,
    /// The tier before and after, if it changes.
    pub moved: Option<(Option<Tier>, Option<Tier>)>,
}

/// The statuses that must change. Pure.
///
/// With `settled`, objects about which nothing has changed since cost little: only their usage is compared, and only if
/// servers were ranked again or some status does not state it yet.
///
/// Written first is what people wait for: the objects that they have just changed, latest first, then hot servers, then
/// changes of a tier. Otherwise the order is that of the registry.
pub fn plan(snapshot: &RegistrySnapshot, tiers: Tiers, context: PlanContext, settled: Option<&Settled>) -> StatusPlan {
    let tiers = tiers.on(snapshot.servers());
    let mut plan = StatusPlan { tiers, context, due: Vec::new(), usage_is_pending: false };
    let settled = settled.filter(|settled| {
        Arc::ptr_eq(settled.registry.servers(), snapshot.servers())
            && settled.registrations.is_same_as(&plan.context.registrations)
    });
    let mut due: Vec<(Urgency, Gateway)> = Vec::new();
    let mut usage_is_pending = false;
    let mut look_at = |gateway: &Gateway| {
        let target = plan.target(gateway);
        let record = &*gateway.record;
        let usage_differs = usage_differs(&record.status, target.usage, target.rank);
        if differs(record, &target) || (usage_differs && usage_is_due(&record.status, &plan.context)) {
            due.push((plan.urgency(gateway, &target), gateway.clone()));
        } else {
            usage_is_pending |= usage_differs;
        }
    };
    match settled {
        None => snapshot.gateways().iter().for_each(look_at),
        Some(settled) => {
            let usage_is_stated = settled.states_the_usage_of(&plan.tiers);
            let compares_usage = !usage_is_stated && !plan.context.usage_interval.is_zero();
            let may_be_due = |gateway: &Gateway, shared: bool| {
                !shared
                    || !settled.says_the_same(gateway, &plan.tiers)
                    || (compares_usage && plan.usage_may_differ(gateway))
            };
            for (piece, shared) in snapshot.gateways().pieces_beside(settled.registry.gateways()) {
                piece.iter().filter(|gateway| may_be_due(gateway, shared)).for_each(&mut look_at);
            }
            usage_is_pending |= !usage_is_stated && !compares_usage;
        }
    }
    plan.usage_is_pending = usage_is_pending;
    // The sort is stable.
    due.sort_by_key(|(urgency, _)| *urgency);
    plan.due = due.into_iter().map(|(_, gateway)| gateway).collect();
    plan
}

/// Which statuses are written first, the least one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// More than its status has changed, in this revision.
    Changed(Reverse<u64>),
    Hot,
    Moved,
    Other,
}

impl StatusPlan {
    /// The objects whose statuses are to be written, in this order.
    pub fn due(&self) -> &[Gateway] {
        &self.due
    }

    /// The status of one of these objects.
    pub fn change(&self, gateway: &Gateway) -> StatusChange {
        status_change(&gateway.record, &self.target(gateway), &self.context)
    }

    /// All of them, in this order.
    pub fn changes(&self) -> impl Iterator<Item = StatusChange> {
        self.due.iter().map(|gateway| self.change(gateway))
    }

    /// For the plan after this one, if all of it is written. `registry`: from which it was made.
    pub fn settled(&self, registry: &Arc<RegistrySnapshot>) -> Settled {
        let mut tiers = self.tiers.clone();
        if let Tiers::Classified { inputs, .. } = &mut tiers {
            // It is large, and not compared.
            *inputs = Arc::default();
        }
        let (registry, registrations) = (Arc::clone(registry), self.context.registrations.clone());
        Settled { registry, tiers, registrations, usage_is_pending: self.usage_is_pending }
    }

    /// Whether usage or rank may differ from what the status states. Cheaper than making the whole target.
    fn usage_may_differ(&self, Gateway { record, registration, .. }: &Gateway) -> bool {
        let (Some(place), Tiers::Classified { placements, inputs, .. }) = (registration.place(), &self.tiers) else {
            return true;
        };
        let place = place as usize;
        let Some(placement) = placements.get(place).copied().flatten() else { return true };
        let usage = stated_usage(inputs.get(place), self.context.now);
        usage_differs(&record.status, usage, placement.rank.map(NonZeroU32::get))
    }

    fn urgency(&self, gateway: &Gateway, target: &Target<'_>) -> Urgency {
        if gateway.revision > self.context.answered_revision {
            Urgency::Changed(Reverse(gateway.revision))
        } else if target.tier == Some(Tier::Hot) {
            Urgency::Hot
        } else if target.tier != gateway.record.status.tier {
            Urgency::Moved
        } else {
            Urgency::Other
        }
    }

    /// What the status of an object should contain.
    fn target<'a>(&'a self, Gateway { record, registration, .. }: &'a Gateway) -> Target<'a> {
        let target = match (registration, &self.tiers) {
            (Registration::Refused(refusal), _) => Target::without_tier(ObjectState::Refused(*refusal)),
            (Registration::Disabled, _) => Target::without_tier(ObjectState::Disabled),
            (Registration::Registered { place, .. }, Tiers::Classified { placements, inputs, intervals, answers }) => {
                let place = *place as usize;
                match placements.get(place).copied().flatten() {
                    Some(placement) => {
                        let planned = intervals.get(place).copied().flatten();
                        let answer = answers.as_deref().and_then(|answers| answers.get(&record.name));
                        let target =
                            Target::classified(record, placement, planned, inputs.get(place), self.context.now);
                        Target { answer, ..target }
                    }
                    None => Target::without_tier(ObjectState::AwaitingUsage),
                }
            }
            (_, Tiers::Kept) => {
                Target::kept(record).unwrap_or_else(|| Target::without_tier(ObjectState::AwaitingUsage))
            }
            (_, Tiers::GivenUp) => Target::without_tier(ObjectState::UsageIncomplete),
            (_, Tiers::Suspended) => Target::suspended(record),
        };
        let registration = RegistrationTarget::of(record, &self.context.registrations);
        Target { registration, ..target }
    }
}

/// What the status of an object should contain.
#[derive(Debug)]
struct Target<'a> {
    state: ObjectState,
    tier: Option<Tier>,
    interval: Option<Duration>,
    /// The refresh request that it answers now. Otherwise the last answer stays.
    answer: Option<&'a RefreshRequest>,
    rank: Option<u32>,
    usage: Option<ServerUsage>,
    /// When that usage was observed, if it is the one that was written already.
    usage_observed: Option<StatusTime>,
    registration: RegistrationTarget<'a>,
}

impl<'a> Target<'a> {
    fn without_tier(state: ObjectState) -> Self {
        let registration = RegistrationTarget::default();
        let (tier, interval, answer, rank, usage) = (None, None, None, None, None);
        Self { state, tier, interval, answer, rank, usage, usage_observed: None, registration }
    }

    /// The tier stays as it was written; `None` if it was written for another spec.
    fn kept(record: &GatewayRecord) -> Option<Self> {
        let observed = &record.status;
        let classified = record.status.condition(ConditionType::Classified)?.reason?;
        let state = ObjectState::inherited(classified, record).filter(|_| record.status_is_current())?;
        Some(Self {
            tier: observed.tier,
            interval: observed.interval(),
            rank: observed.rank(),
            usage: observed.usage(),
            usage_observed: observed.usage_observed,
            ..Self::without_tier(state)
        })
    }

    /// The usage stays as it was written: a leader that takes over while the fleet is suspended ranks by it afterwards.
    fn suspended(record: &GatewayRecord) -> Self {
        let usage = record.status.usage().filter(|_| describes_registered_spec(record));
        Self { usage, usage_observed: record.status.usage_observed, ..Self::without_tier(ObjectState::Suspended) }
    }

    fn classified(
        record: &GatewayRecord,
        placement: Placement,
        planned: Option<PlannedInterval>,
        input: Option<&RankingInput>,
        now: UnixTime,
    ) -> Self {
        let Placement { tier, reason, rank } = placement;
        Self {
            state: ObjectState::classified(reason, record),
            tier: Some(tier),
            interval: planned.map(PlannedInterval::interval),
            answer: None,
            rank: rank.map(NonZeroU32::get),
            usage: stated_usage(input, now),
            usage_observed: None,
            registration: RegistrationTarget::default(),
        }
    }

    fn conditions(&'a self, record: &'a GatewayRecord) -> ConditionsOf<'a> {
        let registered = self.registration.condition.as_deref();
        ConditionsOf { state: self.state, registered, record }
    }
}

/// The usage of a server as its status states it: times are whole seconds and never in the future.
fn stated_usage(input: Option<&RankingInput>, now: UnixTime) -> Option<ServerUsage> {
    let usage = input.map(|input| input.usage).filter(|usage| *usage != ServerUsage::default())?;
    let last_used = usage.last_used.map(|time| time.min(now).timestamp().into());
    Some(ServerUsage { last_used, ..usage })
}

/// Whether the status was written for the present spec of a registered object. It is not known which URL an older
/// status was about, so its tier cannot be kept.
fn describes_registered_spec(record: &GatewayRecord) -> bool {
    Target::kept(record).is_some()
}

/// Whether the target differs in anything that is compared.
fn differs(record: &GatewayRecord, target: &Target<'_>) -> bool {
    !record.status_is_current()
        || record.status.tier != target.tier
        || record.status.interval() != target.interval
        || target.answer.is_some_and(|answer| record.answered_refresh() != Some(answer))
        || target.conditions(record).differ()
        || target.registration.differs(record)
}

/// Whether usage or rank are not as they were last written.
fn usage_differs(observed: &ObservedStatus, usage: Option<ServerUsage>, rank: Option<u32>) -> bool {
    (observed.usage, observed.rank()) != (StatusUsage::of(usage), rank)
}

/// Whether the usage was last written long enough ago.
fn usage_is_due(observed: &ObservedStatus, context: &PlanContext) -> bool {
    let interval = i64::try_from(context.usage_interval.as_secs()).unwrap_or(i64::MAX);
    let written = observed.usage_observed.map_or(0, |time| i64::from(time.seconds()));
    // At least a second, because times are stored in whole seconds: a shorter interval would be a write in every cycle.
    !context.usage_interval.is_zero() && context.now.whole_seconds() - written >= interval.max(1)
}

fn status_change(record: &GatewayRecord, target: &Target<'_>, context: &PlanContext) -> StatusChange {
    let GatewayRecord { name, resource_version, generation, status: observed, .. } = record;
    let Target { tier, interval, answer, rank, usage, .. } = *target;
    let answered = answer.or_else(|| record.answered_refresh());
    let moved = (observed.tier != tier).then_some((observed.tier, tier));
    let time = |time: StatusTime| Time(time.timestamp());
    let now = Time(context.now.timestamp());
    let usage_time = target.usage_observed.map_or_else(|| now.clone(), time);
    let transition = match moved {
        Some(_) => Some(now),
        None => observed.tier_transition.map(time),
    };
    StatusChange {
        name: name.clone(),
        resource_version: resource_version.clone(),
        status: McpGatewayStatus {
            observed_generation: Some(*generation),
            tier,
            tier_transition_time: transition,
            polling: polling_status(interval, answered),
            rank: rank.map(Into::into),
            usage: usage.map(|usage| usage_status(&usage, usage_time)),
            registration: target.registration.status.as_deref().cloned(),
            conditions: target.conditions(record).written(*generation, context.now),
            term: Some(context.term.get()),
        },
        announced: announced(&target.conditions(record)),
        moved,
    }
}

/// The conditions that need an Event: where it changes whether the object is accepted, pinned as it asks, registered in
/// `ContextForge`, or has a refresh request that cannot be read. What is granted at first needs none.
fn announced(conditions: &ConditionsOf<'_>) -> Vec<TargetCondition> {
    let changed = |kind: ConditionType| {
        let before = conditions.record.status.condition(kind).map(|before| (before.status, before.reason));
        let target = conditions.condition(kind)?;
        let new_and_granted = before.is_none() && target.status == ConditionStatus::True;
        let same = before == Some((Some(target.status), Some(target.reason)));
        // What is not known yet is no news.
        let unknown = target.status == ConditionStatus::Unknown && target.reason == Reason::Pending;
        (!same && !new_and_granted && !unknown).then_some(target)
    };
    [ConditionType::Accepted, ConditionType::Pinned, ConditionType::RefreshRequested, ConditionType::Registered]
        .into_iter()
        .filter_map(changed)
        .collect()
}

fn polling_status(interval: Option<Duration>, answered: Option<&RefreshRequest>) -> Option<PollingStatus> {
    let status = PollingStatus {
        interval: interval.map(Into::into),
        last_handled_refresh_request: answered.map(|answered| answered.value.to_string()),
        last_refresh_request_time: answered.and_then(|answered| answered.time).map(|time| Time(time.timestamp())),
    };
    Some(status).filter(|status| *status != PollingStatus::default())
}

fn usage_status(usage: &ServerUsage, observed: Time) -> UsageStatus {
    let ServerUsage { last_used, active, idle, use_count } = usage;
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    UsageStatus {
        last_used_time: last_used.map(|time| Time(time.timestamp())),
        active_sessions: count(*active),
        idle_sessions: count(*idle),
        use_count: count(*use_count),
        observed_time: Some(observed),
    }
}

#[cfg(test)]
mod tests;
