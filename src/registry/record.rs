//! One `McpGateway` as the operator keeps it: what it needs of the object, in a compact form. Pure.
//!
//! Spec and status are read each on their own and leniently: a spec that does not parse makes a refused object, not a
//! broken watch; a status that does not parse counts as never written.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::Deserialize;
use serde_json::Value;

use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::api::v1alpha1::{McpGatewaySpec, McpGatewayStatus, TierName, UsageStatus};
use crate::model::{GatewayId, ObjectName, ServerUrl, Term, Tier, UnixTime, UrlError};

/// The projection of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayRecord {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.uid`: tells an object from a later one of the same name.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`: what a status write is decided on.
    pub resource_version: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// `metadata.creationTimestamp`, in Unix seconds.
    pub created: i64,
    /// What the spec asks for.
    pub spec: Spec,
    /// What the status says.
    pub status: ObservedStatus,
}

/// A spec, checked as the CRD does (for objects older than its rules).
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// Wants to be in the registry.
    Enabled {
        /// The server.
        url: ServerUrl,
        /// The id under which workers know it.
        id: Option<GatewayId>,
    },
    /// Usable, but switched off.
    Disabled,
    /// Not usable as it is.
    Refused(RefusalReason),
}

/// Why an object is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The URL has another shape, or the spec does not parse at all.
    InvalidUrl,
    /// A credential in the URL.
    CredentialInUrl,
    /// An older object has the same id for another URL.
    DuplicateGatewayId,
}

impl RefusalReason {
    /// The reason of the conditions.
    #[must_use]
    pub const fn reason(self) -> Reason {
        match self {
            Self::InvalidUrl => Reason::InvalidUrl,
            Self::CredentialInUrl => Reason::CredentialInUrl,
            Self::DuplicateGatewayId => Reason::DuplicateGatewayId,
        }
    }
}

/// What is compared and kept of a status; see [`McpGatewayStatus`] for the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedStatus {
    /// Of the spec it speaks of.
    pub observed_generation: Option<i64>,
    /// The tier.
    pub tier: Option<Tier>,
    /// When it last changed, in Unix seconds.
    pub tier_transition: Option<i64>,
    /// The rank, as when last written.
    pub rank: Option<i64>,
    /// The usage, as when last written.
    pub usage: Option<ObservedUsage>,
    /// The conditions that are ours, in the order of [`ConditionType::ALL`].
    pub conditions: [Option<ObservedCondition>; 4],
    /// Whether there are conditions that are not ours, or ours twice over; a write removes them.
    pub strangers: bool,
    /// The term of its writer; `None` also for a number that is no term.
    pub term: Option<Term>,
}

/// `status.usage`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ObservedUsage {
    /// Unix seconds.
    pub last_used: Option<i64>,
    /// Sessions with a request in flight.
    pub active: i64,
    /// Open sessions without one.
    pub idle: i64,
    /// Requests.
    pub use_count: i64,
    /// Unix seconds.
    pub observed: Option<i64>,
}

/// One condition, without its message, which is never compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObservedCondition {
    /// `status`; `None` for a value that Kubernetes does not know.
    pub status: Option<ConditionStatus>,
    /// `reason`; `None` for one that is not ours.
    pub reason: Option<Reason>,
    /// `observedGeneration`.
    pub observed_generation: Option<i64>,
    /// `lastTransitionTime`, in Unix seconds.
    pub transition: i64,
}

impl ObservedStatus {
    /// The condition of this type, if there is one.
    #[must_use]
    pub fn condition(&self, kind: ConditionType) -> Option<&ObservedCondition> {
        ConditionType::ALL.iter().position(|known| *known == kind).and_then(|index| self.conditions[index].as_ref())
    }
}

impl GatewayRecord {
    /// Its `spec.gatewayId`, if it is enabled and has one.
    #[must_use]
    pub const fn gateway_id(&self) -> Option<&GatewayId> {
        match &self.spec {
            Spec::Enabled { id, .. } => id.as_ref(),
            Spec::Disabled | Spec::Refused(_) => None,
        }
    }

    /// Projects an object; `None` if it has no name or namespace, which no API server returns.
    ///
    /// `data` is the object without its metadata: `{"spec": …, "status": …}`.
    #[must_use]
    pub fn project(metadata: &ObjectMeta, data: &Value) -> Option<Self> {
        Self::of_parts(metadata, &data["spec"], &data["status"])
    }

    /// The same, from an object's parts; null where there is none.
    #[must_use]
    pub fn of_parts(metadata: &ObjectMeta, spec: &Value, status: &Value) -> Option<Self> {
        let name = ObjectName::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?);
        let text = |field: &Option<String>| Arc::from(field.as_deref().unwrap_or_default());
        Some(Self {
            name,
            uid: text(&metadata.uid),
            resource_version: text(&metadata.resource_version),
            generation: metadata.generation.unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
            spec: checked_spec(spec),
            status: observed_status(status),
        })
    }

    /// Shares with a former version of the object whatever text is the same, so that while both are held, in an old
    /// snapshot and a new one, a change of the status costs no second copy of the rest.
    pub fn share(&mut self, old: &Self) {
        if self.name == old.name {
            self.name = old.name.clone();
        }
        if self.uid == old.uid {
            self.uid = Arc::clone(&old.uid);
        }
        if self.spec == old.spec {
            self.spec = old.spec.clone();
        }
    }

    /// Whether a change from `old` to this one is a change of the registry, and not only of a status.
    #[must_use]
    pub fn differs_beyond_status(&self, old: &Self) -> bool {
        let Self { name, uid, resource_version: _, generation, created, spec, status: _ } = self;
        (name, uid, generation, created, spec) != (&old.name, &old.uid, &old.generation, &old.created, &old.spec)
    }

    /// The time of the latest use that the status remembers for the server of the present spec.
    #[must_use]
    pub fn remembered_use(&self) -> Option<UnixTime> {
        let current = self.status.observed_generation == Some(self.generation);
        let seconds = self.status.usage.filter(|_| current)?.last_used?;
        #[expect(clippy::cast_precision_loss, reason = "seconds of this era fit a float")]
        UnixTime::from_seconds(seconds as f64)
    }
}

fn checked_spec(data: &Value) -> Spec {
    let Ok(McpGatewaySpec { url, gateway_id, enabled }) = McpGatewaySpec::deserialize(data) else {
        return Spec::Refused(RefusalReason::InvalidUrl);
    };
    let id = gateway_id.as_deref().map(GatewayId::parse);
    match (ServerUrl::parse(&url), id) {
        (Err(UrlError::Credential), _) => Spec::Refused(RefusalReason::CredentialInUrl),
        // An id that the CRD would refuse today cannot be what workers report; the object is no use as it is.
        (Err(UrlError::Invalid), _) | (_, Some(None)) => Spec::Refused(RefusalReason::InvalidUrl),
        (Ok(_), _) if !enabled => Spec::Disabled,
        (Ok(url), id) => Spec::Enabled { url, id: id.flatten() },
    }
}

fn observed_status(data: &Value) -> ObservedStatus {
    let parsed = McpGatewayStatus::deserialize(data);
    let Ok(McpGatewayStatus { observed_generation, tier, tier_transition_time, rank, usage, conditions, term }) =
        parsed
    else {
        return ObservedStatus::default();
    };
    let mut observed = ObservedStatus {
        observed_generation,
        tier: tier.map(|tier| match tier {
            TierName::Hot => Tier::Hot,
            TierName::Cold => Tier::Cold,
        }),
        tier_transition: tier_transition_time.map(|time| time.0.as_second()),
        rank,
        usage: usage.as_ref().map(observed_usage),
        term: term.and_then(|term| Term::new(i64::from(term))),
        ..ObservedStatus::default()
    };
    for condition in &conditions {
        let index = ConditionType::ALL.iter().position(|kind| kind.as_str() == condition.type_);
        match index.map(|index| &mut observed.conditions[index]) {
            Some(slot @ None) => *slot = Some(observed_condition(condition)),
            Some(Some(_)) | None => observed.strangers = true,
        }
    }
    observed
}

fn observed_usage(usage: &UsageStatus) -> ObservedUsage {
    let UsageStatus { last_used_time, active_sessions, idle_sessions, use_count, observed_time } = usage;
    ObservedUsage {
        last_used: last_used_time.as_ref().map(|time| time.0.as_second()),
        active: *active_sessions,
        idle: *idle_sessions,
        use_count: *use_count,
        observed: observed_time.as_ref().map(|time| time.0.as_second()),
    }
}

fn observed_condition(condition: &Condition) -> ObservedCondition {
    let Condition { last_transition_time, message: _, observed_generation, reason, status, type_: _ } = condition;
    ObservedCondition {
        status: ConditionStatus::parse(status),
        reason: Reason::parse(reason),
        observed_generation: *observed_generation,
        transition: last_transition_time.0.as_second(),
    }
}
