//! The parts of an `McpGateway` that the operator needs, in a compact form. Pure.
//!
//! Spec and status are parsed separately and leniently: a spec that does not parse makes a refused object instead of a
//! broken watch, and a status that does not parse counts as never written.

use std::num::NonZeroU32;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use serde::Deserialize;
use serde_json::Value;
use strum::VariantArray;

use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::api::v1alpha1::registration::{RegistrationSpec, RegistrationStatus};
use crate::api::v1alpha1::{McpGatewaySpec, McpGatewayStatus, PollingSpec, PollingStatus, UsageStatus};
use crate::api::{MIRRORED, REFRESH_REQUESTED, REGISTRATION_FINALIZER};
use crate::classify::ServerUsage;
use crate::model::{
    GatewayId, ObjectName, ObjectUid, PlannedInterval, ResourceVersion, ServerUrl, Term, Tier, UnixTime, UrlError,
};
use crate::registration::desired::stored_url;

/// One object.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayRecord {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.uid`.
    pub uid: ObjectUid,
    /// `metadata.resourceVersion`: the version that a status write is based on.
    pub resource_version: ResourceVersion,
    pub(crate) generation: i64,
    /// `metadata.creationTimestamp`, in Unix seconds.
    pub created: i64,
    pub(crate) spec: Spec,
    /// The refresh request in its annotation. Boxed, because it is rare.
    pub(crate) refresh_request: Option<Box<RefreshRequest>>,
    /// What it asks to be registered. Boxed, because few fleets have it.
    pub(crate) registration: Option<Box<RequestedRegistration>>,
    /// Whether the finalizer of registrations is on it.
    pub(crate) finalizer: bool,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    /// Whether it mirrors a gateway that was registered by hand.
    pub(crate) mirrored: bool,
    pub(crate) status: ObservedStatus,
}

/// `spec.registration` of an object whose spec is usable.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestedRegistration {
    pub spec: RegistrationSpec,
    /// `spec.url`.
    pub url: ServerUrl,
    /// `spec.gatewayId`: the entry to take over.
    pub adopt: Option<GatewayId>,
    /// `spec.enabled`.
    pub enabled: bool,
}

/// A request to refresh a server (`docs/contract.md#refresh-requests`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshRequest {
    /// The value of the annotation.
    pub value: Box<str>,
    /// When the refresh was requested: an earlier refresh does not count. `None` if the value is not a time.
    pub time: Option<UnixTime>,
}

impl RefreshRequest {
    fn parse(value: &str) -> Self {
        let time = Some(value).filter(|value| value.len() <= LONGEST_TIME).and_then(|value| value.parse().ok());
        Self { value: value.into(), time: time.map(|time: jiff::Timestamp| time.into()) }
    }
}

/// The longest text that is parsed as a time, in bytes.
const LONGEST_TIME: usize = 64;

/// A spec, checked like the CRD does, for objects that are older than its rules.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Spec {
    /// It asks for a place in the registry.
    Enabled {
        /// As gateways store it.
        url: ServerUrl,
        /// The id under which workers know it: that of the spec, or of the entry that the operator registered.
        id: Option<GatewayId>,
        /// Whether the operator registered that id.
        registered: bool,
        /// Whether it asks for its server to be pinned.
        pinned: bool,
        /// The longest refresh interval that it asks for.
        max_interval: Option<WholeSeconds>,
    },
    /// It is usable, but switched off.
    Disabled {
        /// As gateways store it.
        url: ServerUrl,
        /// The id under which workers would know it.
        id: Option<GatewayId>,
    },
    /// It is not usable.
    Refused(RefusalReason),
}

/// See [`GatewayRecord::identity`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity<'a> {
    created: i64,
    /// Its server and id, whether the operator registered that id, and whether the object is enabled.
    spec: Result<(&'a ServerUrl, Option<&'a GatewayId>, bool, bool), RefusalReason>,
}

/// Why an object is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The URL does not have the required shape, or the spec does not parse.
    InvalidUrl,
    /// The URL contains a credential.
    CredentialInUrl,
    /// An older object has the same id for another URL.
    DuplicateGatewayId,
}

impl RefusalReason {
    /// The reason that conditions state.
    pub const fn reason(self) -> Reason {
        match self {
            Self::InvalidUrl => Reason::InvalidUrl,
            Self::CredentialInUrl => Reason::CredentialInUrl,
            Self::DuplicateGatewayId => Reason::DuplicateGatewayId,
        }
    }
}

/// The parts of a status that are compared and kept, in little memory; see [`McpGatewayStatus`] for the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ObservedStatus {
    /// Whether its `observedGeneration` is that of the object.
    pub current: bool,
    pub tier: Option<Tier>,
    /// When the tier last changed.
    pub tier_transition: Option<StatusTime>,
    /// The planned refresh interval.
    pub interval: Option<WholeSeconds>,
    /// The refresh request that was answered last.
    pub answered: Option<Box<RefreshRequest>>,
    /// The rank when it was last written.
    pub rank: Option<NonZeroU32>,
    /// The usage when it was last written.
    pub usage: StatusUsage,
    /// When the usage was observed.
    pub usage_observed: Option<StatusTime>,
    /// What it states of the registration. Boxed, because few fleets have it.
    pub registration: Option<Box<ObservedRegistration>>,
    /// The operator's conditions, by [`ConditionType`].
    pub conditions: [Option<ObservedCondition>; ConditionType::VARIANTS.len()],
    /// Whether it holds what the operator never writes, such as foreign or repeated conditions; a write removes it.
    pub foreign: bool,
    /// The term of its writer; `None` also for a number that is not a valid term.
    pub term: Option<Term>,
}

/// What a status states of the registration in `ContextForge`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ObservedRegistration {
    /// The entry.
    pub entry: Option<RegistrationStatus>,
    /// The message of the condition `Registered`.
    pub message: Option<Box<str>>,
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
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0.get() as u64)
    }
}

/// The usage that a status states. Its default stands for none, which the operator does not write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusUsage {
    last_used: Option<StatusTime>,
    active: u32,
    idle: u32,
    use_count: u64,
}

impl StatusUsage {
    /// As it is stated: times in whole seconds, and sessions up to `u32::MAX`.
    pub fn of(usage: Option<ServerUsage>) -> Self {
        let ServerUsage { last_used, active, idle, use_count } = usage.unwrap_or_default();
        let sessions = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let last_used = last_used.and_then(|time| StatusTime::new(time.timestamp()));
        Self { last_used, active: sessions(active), idle: sessions(idle), use_count }
    }

    /// The usage, unless there is none.
    pub fn get(self) -> Option<ServerUsage> {
        let Self { last_used, active, idle, use_count } = self;
        let last_used = last_used.map(|time| time.timestamp().into());
        let usage = ServerUsage { last_used, active: active.into(), idle: idle.into(), use_count };
        (self != Self::default()).then_some(usage)
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

/// A time in a status, in four bytes, because a large fleet has many: whole seconds since 1970, up to the year 2106.
/// Any other time counts as absent.
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

impl ObservedStatus {
    pub fn condition(&self, kind: ConditionType) -> Option<&ObservedCondition> {
        self.conditions[kind as usize].as_ref()
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

    /// The entry in `ContextForge`.
    pub fn registration(&self) -> Option<&RegistrationStatus> {
        self.registration.as_ref()?.entry.as_ref()
    }

    /// The message of the condition `Registered`.
    pub fn registered_message(&self) -> Option<&str> {
        self.registration.as_ref()?.message.as_deref()
    }
}

impl GatewayRecord {
    /// Its `spec.gatewayId`, if the object is enabled and has one.
    pub const fn gateway_id(&self) -> Option<&GatewayId> {
        match &self.spec {
            Spec::Enabled { id, .. } => id.as_ref(),
            Spec::Disabled { .. } | Spec::Refused(_) => None,
        }
    }

    /// The same, also of an object that is disabled.
    pub const fn declared_id(&self) -> Option<&GatewayId> {
        match &self.spec {
            Spec::Enabled { id, .. } | Spec::Disabled { id, .. } => id.as_ref(),
            Spec::Refused(_) => None,
        }
    }

    /// Whether the object is enabled and asks for its server to be pinned.
    pub const fn asks_for_a_pin(&self) -> bool {
        matches!(self.spec, Spec::Enabled { pinned: true, .. })
    }

    /// Whether it asks for a pin, a bound or a refresh.
    pub(super) fn asks(&self) -> bool {
        self.asks_for_a_pin() || self.max_interval().is_some() || self.refresh_request.is_some()
    }

    /// The longest refresh interval that it asks for, in whole seconds, if the object is enabled.
    pub fn max_interval(&self) -> Option<Duration> {
        match self.spec {
            Spec::Enabled { max_interval, .. } => max_interval.map(WholeSeconds::duration),
            Spec::Disabled { .. } | Spec::Refused(_) => None,
        }
    }

    /// The record of an object; `None` if it has no name or namespace, which no API server returns.
    ///
    /// `data` is the object without its metadata: `{"spec": …, "status": …}`.
    pub fn from_object(metadata: &ObjectMeta, data: &Value) -> Option<Self> {
        Self::from_parts(metadata, &data["spec"], &data["status"])
    }

    /// The same from the parts of an object; null for a missing one.
    pub fn from_parts(metadata: &ObjectMeta, spec: &Value, status: &Value) -> Option<Self> {
        let name = ObjectName::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?);
        let generation = metadata.generation.unwrap_or_default();
        let annotation = metadata.annotations.as_ref().and_then(|all| all.get(REFRESH_REQUESTED));
        let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
        let labels = metadata.labels.as_ref();
        let status = parse_status(status, generation);
        let (spec, registration) = parse_spec(spec, status.registration());
        Some(Self {
            name,
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            generation,
            created: metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            spec,
            refresh_request: annotation.map(|value| Box::new(RefreshRequest::parse(value))),
            registration,
            finalizer: finalizers.iter().any(|finalizer| finalizer == REGISTRATION_FINALIZER),
            deleting: metadata.deletion_timestamp.is_some(),
            mirrored: labels.and_then(|labels| labels.get(MIRRORED)).is_some_and(|value| value == "true"),
            status,
        })
    }

    /// Shares all equal text with a former version of the object, so that a change of the status does not copy the rest
    /// while an old and a new snapshot hold both versions.
    pub fn share(&mut self, old: &Self) {
        if self.name == old.name {
            self.name = old.name.clone();
        }
        if self.spec == old.spec {
            self.spec = old.spec.clone();
        }
    }

    /// The entry in `ContextForge` that it asks for, or that the operator has registered for it.
    pub fn entry_id(&self) -> Option<GatewayId> {
        let registered = || self.status.registration()?.entry_id();
        self.registration.as_ref()?.adopt.clone().or_else(registered)
    }

    /// Whether more than the status differs from `old`: a change of the registry.
    pub fn differs_beyond_status(&self, old: &Self) -> bool {
        let Self { name, uid, resource_version: _, generation, created, spec, refresh_request, .. } = self;
        let Self { registration, finalizer, deleting, mirrored, status: _, .. } = self;
        (name, uid, generation, created, spec) != (&old.name, &old.uid, &old.generation, &old.created, &old.spec)
            || (refresh_request, registration) != (&old.refresh_request, &old.registration)
            || (*finalizer, *deleting, *mirrored) != (old.finalizer, old.deleting, old.mirrored)
    }

    /// What decides whether it is registered, and with which server and id.
    pub(super) const fn identity(&self) -> Identity<'_> {
        let spec = match &self.spec {
            Spec::Enabled { url, id, registered, .. } => Ok((url, id.as_ref(), *registered, true)),
            Spec::Disabled { url, id } => Ok((url, id.as_ref(), false, false)),
            Spec::Refused(refusal) => Err(*refusal),
        };
        Identity { created: self.created, spec }
    }

    /// Whether the status is about the present spec.
    pub const fn status_is_current(&self) -> bool {
        self.status.current
    }

    /// Since when the server of the present spec has had the tier that the status states.
    pub fn tier_since(&self) -> Option<UnixTime> {
        self.status.tier.filter(|_| self.status_is_current())?;
        self.status.tier_transition.map(|time| time.timestamp().into())
    }

    /// The time of the latest use that the status remembers for the server of the present spec.
    pub fn remembered_use(&self) -> Option<UnixTime> {
        self.status.usage().filter(|_| self.status_is_current())?.last_used
    }
}

/// `registered`: the entry that the operator has registered for the object.
fn parse_spec(data: &Value, registered: Option<&RegistrationStatus>) -> (Spec, Option<Box<RequestedRegistration>>) {
    let refused = |reason| (Spec::Refused(reason), None);
    let parsed = McpGatewaySpec::deserialize(data);
    let Ok(McpGatewaySpec { url, gateway_id, allowed_query_names, polling, enabled, registration }) = parsed else {
        return refused(RefusalReason::InvalidUrl);
    };
    let PollingSpec { tier, max_interval } = polling.unwrap_or_default();
    let pinned = tier.is_some();
    let max_interval = max_interval.map(|interval| PlannedInterval::new(interval.into()).interval());
    let max_interval = max_interval.and_then(WholeSeconds::new);
    let id = gateway_id.as_deref().map(GatewayId::parse);
    let (url, own) = match (ServerUrl::parse_vouched(&url, &allowed_query_names), id) {
        (Err(UrlError::Credential), _) => return refused(RefusalReason::CredentialInUrl),
        // Workers cannot report an id that the CRD would refuse, so the object is not usable.
        (Err(UrlError::Invalid), _) | (_, Some(None)) => return refused(RefusalReason::InvalidUrl),
        (Ok(url), id) => (url, id.flatten()),
    };
    let id = own.clone().or_else(|| registration.as_ref().and(registered)?.entry_id());
    let stored = registration
        .as_ref()
        .and_then(|_| ServerUrl::parse_vouched(&stored_url(url.expose()), &allowed_query_names).ok());
    let stored = stored.unwrap_or_else(|| url.clone());
    let spec = if enabled {
        let registered = id.is_some() && own.is_none();
        Spec::Enabled { url: stored, id, registered, pinned, max_interval }
    } else {
        Spec::Disabled { url: stored, id }
    };
    (spec, registration.map(|spec| Box::new(RequestedRegistration { spec, url, adopt: own, enabled })))
}

fn parse_status(data: &Value, generation: i64) -> ObservedStatus {
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
        return ObservedStatus::default();
    };
    let time = |time: Time| StatusTime::new(time.0);
    let interval = polling.as_ref().and_then(|polling| polling.interval).map(Into::into);
    let whole = interval.and_then(WholeSeconds::new);
    let mut observed = ObservedStatus {
        current: observed_generation == Some(generation),
        tier,
        tier_transition: tier_transition_time.and_then(time),
        interval: whole,
        answered: polling.and_then(answered).map(Box::new),
        rank: rank.and_then(|rank| u32::try_from(rank).ok()).and_then(NonZeroU32::new),
        usage: StatusUsage::of(usage.as_ref().map(server_usage)),
        usage_observed: usage.and_then(|usage| usage.observed_time).and_then(time),
        foreign: whole.is_none() && interval.is_some(),
        term: term.and_then(|term| Term::new(i64::from(term))),
        ..ObservedStatus::default()
    };
    let mut registered_message = None;
    for condition in &conditions {
        let kind = condition.type_.parse::<ConditionType>();
        if kind == Ok(ConditionType::Registered) {
            registered_message = Some(condition.message.as_str().into());
        }
        match kind.map(|kind| &mut observed.conditions[kind as usize]) {
            Ok(slot @ None) => *slot = Some(observed_condition(condition, generation)),
            Ok(Some(_)) | Err(_) => observed.foreign = true,
        }
    }
    let stated = ObservedRegistration { entry: registration, message: registered_message };
    observed.registration = Some(stated).filter(|stated| *stated != ObservedRegistration::default()).map(Box::new);
    observed
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
