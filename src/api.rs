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

/// The label, with the value `true`, of a Secret whose values may be sent to ContextForge.
pub const REGISTRATION_LABEL: &str = "mcpgateway.io/registration";
/// The annotation of such a Secret: the origins (scheme, host, port) that its values are for, with commas between them.
pub const ALLOWED_ORIGINS: &str = "mcpgateway.io/allowed-origins";

/// Who writes statuses, in `managedFields`.
pub const FIELD_MANAGER: &str = "mcpgateway-operator";
