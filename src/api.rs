//! The Kubernetes API of the operator: types, condition vocabulary and the generated CRD. Data only.

pub mod conditions;
mod crd;
mod fleet_text;
mod rules;
pub mod v1alpha1;

pub use crd::{crd_yaml, crds_yaml, fleet_crd, gateway_crd};
pub use rules::term_may_follow;

/// The annotation that asks for a refresh of a server. Its value is the time at which somebody asks, as RFC 3339.
pub const REFRESH_REQUESTED: &str = "mcpgateway.io/refresh-requested";

/// The finalizer of an object whose entry in `ContextForge` is to be deleted with it.
pub const REGISTRATION_FINALIZER: &str = "mcpgateway.io/registration";

/// The label of a Secret whose values may be sent to `ContextForge`. Its value is `true`.
pub const REGISTRATION_SECRET: &str = "mcpgateway.io/registration";

/// The annotation of such a Secret with the origins that its values are for: `scheme://host[:port]`, separated by
/// commas.
pub const ALLOWED_ORIGINS: &str = "mcpgateway.io/allowed-origins";

/// The label of an object that mirrors a gateway of `ContextForge`. Its value is `true`.
pub const MIRRORED: &str = "mcpgateway.io/mirrored";

/// The annotation of such an object with the term of the leader that wrote it last.
pub const TERM: &str = "mcpgateway.io/term";

/// Who writes statuses and mirrored objects, in `managedFields`.
pub const FIELD_MANAGER: &str = "mcpgateway-operator";
