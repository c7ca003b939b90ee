//! An object with `spec.registration`, and what is wanted and known of its entry. Pure.

use std::fmt;
use std::sync::Arc;

use super::desired::DesiredGateway;
use crate::model::{GatewayId, ObjectName, ObjectUid, Term};

/// One version of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretVersion {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`.
    pub resource_version: Arc<str>,
}

/// An object with `spec.registration`, or one that is being deleted and has the finalizer.
#[derive(Clone, Debug)]
pub struct RegistrationObject {
    /// Namespace and name.
    pub name: ObjectName,
    /// `metadata.uid`.
    pub uid: ObjectUid,
    /// What is wanted of its entry.
    pub wanted: Wanted,
    /// `spec.gatewayId`: the entry to take over.
    pub adopt: Option<GatewayId>,
    /// Whether its namespace may take over entries that are not ours (`--adoption-namespace`).
    pub may_adopt_foreign: bool,
    /// The entry, according to its status.
    pub known: Option<KnownEntry>,
    /// The term of the leader that was about to create an entry, according to its status.
    pub create_started: Option<Term>,
}

/// The desired state of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// It should exist with this content.
    Registered {
        /// The content.
        gateway: Box<DesiredGateway>,
        /// The version of the Secret with its credentials.
        credentials: Option<SecretVersion>,
        /// Whether `ContextForge` should use it.
        enabled: bool,
    },
    /// It stays as it is, because the spec cannot be followed.
    Unusable(Unusable),
    /// It should be deleted.
    Deleted,
}

/// Why a spec cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// There is no such Secret or ConfigMap.
    SourceMissing(SourceName),
    /// The Secret or ConfigMap does not have this key.
    KeyMissing(SourceName, String),
    /// The operator may not read it.
    SourceDenied(SourceName),
    /// The Secret does not have the label [`crate::api::REGISTRATION_SECRET`].
    NotLabelled(SourceName),
    /// Its values may not be sent to this origin: [`crate::api::ALLOWED_ORIGINS`] does not list it.
    OriginNotAllowed(SourceName, String),
    /// The value of this key cannot be sent.
    BadValue(SourceName, String),
    /// The operator may not register objects of this namespace (`--registration-namespace`).
    NamespaceNotAllowed,
    /// This header may not be passed on (`--registration-allow-header`).
    HeaderNotAllowed(String),
    /// The object does not have the finalizer that `deletionPolicy: Delete` needs.
    FinalizerMissing,
}

/// A Secret or ConfigMap in the namespace of the object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceName {
    /// A Secret.
    Secret(String),
    /// A ConfigMap.
    ConfigMap(String),
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(name) => write!(f, "Secret {name}"),
            Self::ConfigMap(name) => write!(f, "ConfigMap {name}"),
        }
    }
}

/// What is known of the entry of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KnownEntry {
    /// Its id.
    pub id: GatewayId,
    /// Its version after our last change; `None` if that is not known.
    pub version: Option<i64>,
    /// The Secret whose values it has.
    pub credentials: Option<SecretVersion>,
    /// Whether the operator last left it enabled.
    pub enabled: bool,
}

impl RegistrationObject {
    /// The version of the Secret that its entry should have.
    pub(super) fn credentials(&self) -> Option<&SecretVersion> {
        match &self.wanted {
            Wanted::Registered { credentials, .. } => credentials.as_ref(),
            Wanted::Unusable(_) | Wanted::Deleted => None,
        }
    }

    /// All values that must not be shown.
    pub(super) fn secrets(&self) -> Vec<&str> {
        match &self.wanted {
            Wanted::Registered { gateway, .. } => gateway.credentials.secrets(),
            Wanted::Unusable(_) | Wanted::Deleted => Vec::new(),
        }
    }
}
