//! What is kept of the status of an object, in little memory: a large registry has many. Pure.

use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Deserialize;
use serde_json::Value;
use strum::VariantArray;

use super::RefreshRequest;
use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::api::v1alpha1::registration::RegistrationStatus;
use crate::api::v1alpha1::{McpGatewayStatus, PollingStatus, UsageStatus};
use crate::classify::ServerUsage;
use crate::model::{Term, Tier, UnixTime};

/// The parts of a status that are compared and kept; see [`McpGatewayStatus`] for the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ObservedStatus {
    /// Whether its `observedGeneration` is that of the object.
    pub current: bool,
    pub tier: Option<Tier>,
    /// When the tier last changed.
    pub tier_transition: Option<StatusTime>,
    interval: Option<WholeSeconds>,
    rank: Option<NonZeroU32>,
    /// The usage when it was last written.
    pub usage: StatusUsage,
    /// When the usage was observed.
    pub usage_observed: Option<StatusTime>,
    conditions: ObservedConditions,
    /// Whether it holds what the operator never writes, such as foreign or repeated conditions; a write removes it.
    pub foreign: bool,
    /// The term of its writer; `None` also for a number that is not a valid term.
    pub term: Option<Term>,
}

/// What few statuses state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answers {
    /// The refresh request that was answered last.
    pub refresh: Option<RefreshRequest>,
    /// The entry in `ContextForge`.
    pub registration: Option<RegistrationStatus>,
    /// The message of the condition `Registered`.
    pub registered: Option<Box<str>>,
}

impl ObservedStatus {
    /// Reads a status; one that does not parse counts as never written. `generation`: of the object.
    pub(super) fn parse(data: &Value, generation: i64) -> (Self, Answers) {
        let parsed = McpGatewayStatus::deserialize(data);
        let Ok(McpGatewayStatus {
            observed_generation,
            tier,
            tier_transition_time,
            polling,
            rank,
            usage,
            registration,
            conditions,
            term,
        }) = parsed
        else {
            return Default::default();
        };
        let time = |time: Time| StatusTime::new(time.0);
        let interval = polling.as_ref().and_then(|polling| polling.interval).map(Into::into);
        let whole = interval.and_then(WholeSeconds::new);
        let mut observed = Self {
            current: observed_generation == Some(generation),
            tier,
            tier_transition: tier_transition_time.and_then(time),
            interval: whole,
            rank: rank.and_then(|rank| u32::try_from(rank).ok()).and_then(NonZeroU32::new),
            usage: StatusUsage::of(usage.as_ref().map(server_usage)),
            usage_observed: usage.and_then(|usage| usage.observed_time).and_then(time),
            foreign: whole.is_none() && interval.is_some(),
            term: term.and_then(|term| Term::new(i64::from(term))),
            ..Self::default()
        };
        let mut answers = Answers { refresh: polling.and_then(answered), registration, registered: None };
        for condition in &conditions {
            let kind = condition.type_.parse::<ConditionType>();
            if kind == Ok(ConditionType::Registered) {
                answers.registered = Some(condition.message.as_str().into());
            }
            match kind {
                Ok(kind) if observed.condition(kind).is_none() => {
                    observed.conditions.set(kind, observed_condition(condition, generation));
                }
                Ok(_) | Err(_) => observed.foreign = true,
            }
        }
        (observed, answers)
    }

    /// The operator's condition of a type.
    pub fn condition(&self, kind: ConditionType) -> Option<ObservedCondition> {
        self.conditions.get(kind)
    }

    /// The planned refresh interval.
    pub fn interval(&self) -> Option<Duration> {
        self.interval.map(WholeSeconds::duration)
    }

    /// The rank when it was last written.
    pub fn rank(&self) -> Option<u32> {
        self.rank.map(NonZeroU32::get)
    }

    /// The usage when it was last written.
    pub fn usage(&self) -> Option<ServerUsage> {
        self.usage.get()
    }
}

fn answered(polling: PollingStatus) -> Option<RefreshRequest> {
    let PollingStatus { interval: _, last_handled_refresh_request, last_refresh_request_time } = polling;
    let time = last_refresh_request_time.map(|time| time.0.into());
    Some(RefreshRequest { value: last_handled_refresh_request?.into(), time })
}

fn server_usage(usage: &UsageStatus) -> ServerUsage {
    let UsageStatus { last_used_time, active_sessions, idle_sessions, use_count, observed_time: _ } = usage;
    let count = |number: i64| u64::try_from(number).unwrap_or_default();
    ServerUsage {
        last_used: last_used_time.as_ref().map(|time| time.0.into()),
        active: count(*active_sessions),
        idle: count(*idle_sessions),
        use_count: count(*use_count),
    }
}

fn observed_condition(condition: &Condition, generation: i64) -> ObservedCondition {
    let Condition { last_transition_time, message: _, observed_generation, reason, status, type_: _ } = condition;
    ObservedCondition {
        status: status.parse().ok(),
        reason: reason.parse().ok(),
        current: *observed_generation == Some(generation),
        transition: StatusTime::new(last_transition_time.0),
    }
}

/// A condition without its message, which is only compared for `Registered`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObservedCondition {
    /// `status`; `None` for an unknown value.
    pub status: Option<ConditionStatus>,
    /// `reason`; `None` for one that the operator does not write.
    pub reason: Option<Reason>,
    /// Whether its `observedGeneration` is that of the present spec.
    pub current: bool,
    /// `lastTransitionTime`.
    pub transition: Option<StatusTime>,
}

const CONDITIONS: usize = ConditionType::VARIANTS.len();

/// The conditions by [`ConditionType`], in six bytes each.
#[derive(Clone, Debug, Default, PartialEq)]
struct ObservedConditions {
    /// 1 and the place in [`STATES`] of each that there is.
    states: [Option<NonZeroU8>; CONDITIONS],
    reasons: [Option<Reason>; CONDITIONS],
    transitions: [Option<StatusTime>; CONDITIONS],
}

/// `status`, and whether the condition is current.
const STATES: [(Option<ConditionStatus>, bool); 8] = [
    (None, false),
    (None, true),
    (Some(ConditionStatus::True), false),
    (Some(ConditionStatus::True), true),
    (Some(ConditionStatus::False), false),
    (Some(ConditionStatus::False), true),
    (Some(ConditionStatus::Unknown), false),
    (Some(ConditionStatus::Unknown), true),
];

impl ObservedConditions {
    fn get(&self, kind: ConditionType) -> Option<ObservedCondition> {
        let kind = kind as usize;
        let (status, current) = STATES[usize::from(self.states[kind]?.get()) - 1];
        Some(ObservedCondition { status, reason: self.reasons[kind], current, transition: self.transitions[kind] })
    }

    fn set(&mut self, kind: ConditionType, condition: ObservedCondition) {
        let kind = kind as usize;
        let ObservedCondition { status, reason, current, transition } = condition;
        let state = (1..).zip(STATES).find(|(_, state)| *state == (status, current));
        self.states[kind] = state.and_then(|(number, _)| NonZeroU8::new(number));
        self.reasons[kind] = reason;
        self.transitions[kind] = transition;
    }
}

/// An interval of 1 or more whole seconds, in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WholeSeconds(NonZeroU32);

impl WholeSeconds {
    /// The interval; `None` if it cannot be stored exactly.
    pub fn new(interval: Duration) -> Option<Self> {
        let seconds = u32::try_from(interval.as_secs()).ok().filter(|_| interval.subsec_nanos() == 0);
        seconds.and_then(NonZeroU32::new).map(Self)
    }

    /// The interval.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.get().into())
    }
}

/// The usage that a status states. Its default stands for none, which the operator does not write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusUsage {
    last_used: Option<StatusTime>,
    active: u32,
    idle: u32,
    /// A `u64` in its bytes, so that the whole is aligned like its other fields.
    use_count: [u8; 8],
}

impl StatusUsage {
    /// As it is stated: times in whole seconds, and sessions up to `u32::MAX`.
    pub fn of(usage: Option<ServerUsage>) -> Self {
        let ServerUsage { last_used, active, idle, use_count } = usage.unwrap_or_default();
        let sessions = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let last_used = last_used.and_then(|time| StatusTime::new(time.timestamp()));
        Self { last_used, active: sessions(active), idle: sessions(idle), use_count: use_count.to_ne_bytes() }
    }

    /// The usage, unless there is none.
    fn get(self) -> Option<ServerUsage> {
        let Self { last_used, active, idle, use_count } = self;
        (self != Self::default()).then(|| ServerUsage {
            last_used: last_used.map(|time| time.timestamp().into()),
            active: active.into(),
            idle: idle.into(),
            use_count: u64::from_ne_bytes(use_count),
        })
    }
}

/// A time in a status, in four bytes: whole seconds since 1970, up to the year 2106. Any other time counts as absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StatusTime(NonZeroU32);

impl StatusTime {
    fn new(time: jiff::Timestamp) -> Option<Self> {
        u32::try_from(time.as_second()).ok().and_then(NonZeroU32::new).map(Self)
    }

    /// In Unix seconds.
    pub const fn seconds(self) -> u32 {
        self.0.get()
    }

    /// The calendar time.
    pub fn timestamp(self) -> jiff::Timestamp {
        UnixTime::EPOCH.shifted(f64::from(self.seconds())).timestamp()
    }
}

#[cfg(test)]
impl ObservedStatus {
    /// The same with another planned interval.
    pub fn planned_at(&mut self, interval: Duration) {
        self.interval = WholeSeconds::new(interval);
    }

    /// The same for an older spec.
    pub fn outdate(&mut self) {
        self.current = false;
        for kind in ConditionType::VARIANTS {
            if let Some(condition) = self.condition(*kind) {
                self.conditions.set(*kind, ObservedCondition { current: false, ..condition });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::GatewayRecord;

    #[test]
    fn a_condition_is_read_as_it_was_kept() {
        let time = StatusTime::new(jiff::Timestamp::from_second(1_763_800_000).unwrap());
        let mut conditions = ObservedConditions::default();
        for kind in ConditionType::VARIANTS {
            assert_eq!(conditions.get(*kind), None);
            for (status, current) in STATES {
                for (reason, transition) in [(None, None), (Some(Reason::Pending), time)] {
                    let condition = ObservedCondition { status, reason, current, transition };
                    conditions.set(*kind, condition);
                    assert_eq!(conditions.get(*kind), Some(condition));
                }
            }
        }
    }

    #[test]
    fn a_record_takes_224_bytes_with_its_counters() {
        assert_eq!(size_of::<GatewayRecord>() + 2 * size_of::<usize>(), 224);
    }
}
