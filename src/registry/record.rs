//! The parts of an `McpGateway` that the operator needs, in a compact form. Pure.
//!
//! Spec and status are parsed separately and leniently: a spec that does not parse makes a refused object instead of a
//! broken watch, and a status that does not parse counts as never written.

mod status;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use crate::api::conditions::Reason;
use crate::api::v1alpha1::registration::{RegistrationSpec, RegistrationStatus};
use crate::api::v1alpha1::{McpGatewaySpec, PollingSpec};
use crate::api::{MIRRORED, REFRESH_REQUESTED, REGISTRATION_FINALIZER};
use crate::model::{GatewayId, ObjectName, ObjectUid, PlannedInterval, ResourceVersion, ServerUrl, UnixTime, UrlError};
use crate::registration::desired::stored_url;
use status::{Answers, WholeSeconds};
pub(crate) use status::{ObservedStatus, StatusTime, StatusUsage};

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
    /// `metadata.creationTimestamp`, in Unix seconds; a time after 2106 counts as the last one before.
    pub created: u32,
    pub(crate) spec: Spec,
    /// Boxed, because few objects have any of it.
    extras: Option<Box<Extras>>,
    /// Whether the finalizer of registrations is on it.
    pub(crate) finalizer: bool,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    /// Whether it mirrors a gateway that was registered by hand.
    pub(crate) mirrored: bool,
    pub(crate) status: ObservedStatus,
}

/// What only few objects have: requests, and the answers in their statuses.
#[derive(Clone, Debug, Default, PartialEq)]
struct Extras {
    requests: Requests,
    answers: Answers,
}

/// What few objects ask for.
#[derive(Clone, Debug, Default, PartialEq)]
struct Requests {
    refresh: Option<RefreshRequest>,
    registration: Option<RequestedRegistration>,
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
    created: u32,
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

impl GatewayRecord {
    /// Its server, if the object is enabled.
    pub(super) const fn server(&self) -> Option<&ServerUrl> {
        match &self.spec {
            Spec::Enabled { url, .. } => Some(url),
            Spec::Disabled { .. } | Spec::Refused(_) => None,
        }
    }

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
        self.asks_for_a_pin() || self.max_interval().is_some() || self.refresh_request().is_some()
    }

    /// The refresh request in its annotation.
    pub(crate) fn refresh_request(&self) -> Option<&RefreshRequest> {
        self.requests()?.refresh.as_ref()
    }

    /// What it asks to be registered.
    pub(crate) fn registration(&self) -> Option<&RequestedRegistration> {
        self.requests()?.registration.as_ref()
    }

    fn requests(&self) -> Option<&Requests> {
        self.extras.as_ref().map(|extras| &extras.requests)
    }

    fn answers(&self) -> Option<&Answers> {
        self.extras.as_ref().map(|extras| &extras.answers)
    }

    /// The refresh request that the status answered last.
    pub(crate) fn answered_refresh(&self) -> Option<&RefreshRequest> {
        self.answers()?.refresh.as_ref()
    }

    /// The entry in `ContextForge` that the status states.
    pub(crate) fn registration_status(&self) -> Option<&RegistrationStatus> {
        self.answers()?.registration.as_ref()
    }

    /// The message of the condition `Registered`.
    pub(crate) fn registered_message(&self) -> Option<&str> {
        self.answers()?.registered.as_deref()
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
        let (status, answers) = ObservedStatus::parse(status, generation);
        let (spec, registration) = parse_spec(spec, answers.registration.as_ref());
        let requests = Requests { refresh: annotation.map(|value| RefreshRequest::parse(value)), registration };
        let extras = Extras { requests, answers };
        let created = metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second().max(0));
        Some(Self {
            name,
            uid: metadata.uid.as_deref().unwrap_or_default().into(),
            resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
            generation,
            created: u32::try_from(created).unwrap_or(u32::MAX),
            spec,
            extras: (extras != Extras::default()).then(|| Box::new(extras)),
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
        let registered = || self.registration_status()?.entry_id();
        self.registration()?.adopt.clone().or_else(registered)
    }

    /// Whether more than the status differs from `old`: a change of the registry.
    pub fn differs_beyond_status(&self, old: &Self) -> bool {
        let Self { name, uid, resource_version: _, generation, created, spec, extras: _, .. } = self;
        let Self { finalizer, deleting, mirrored, status: _, .. } = self;
        (name, uid, generation, created, spec) != (&old.name, &old.uid, &old.generation, &old.created, &old.spec)
            || (self.refresh_request(), self.registration()) != (old.refresh_request(), old.registration())
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
fn parse_spec(data: &Value, registered: Option<&RegistrationStatus>) -> (Spec, Option<RequestedRegistration>) {
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
    (spec, registration.map(|spec| RequestedRegistration { spec, url, adopt: own, enabled }))
}
