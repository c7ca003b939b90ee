//! The conditions of an `McpGatewayFleet`: their types and the reasons that are its own. Pure.
//!
//! A condition that reports a repeated failure has the failure's own reason ([`crate::model::ProblemReason`],
//! [`crate::classify::memory::UsageGap`], [`crate::publish::Error::reason`]). All reasons are listed in
//! `docs/contract.md#the-fleet-object`.

/// The `type` of a condition of an `McpGatewayFleet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetConditionType {
    /// The operator does what the spec asks for.
    Ready,
    /// Every worker endpoint reports.
    UsageComplete,
    /// Gateways find the current classification in Redis.
    Published,
    /// Gateways poll by what is published.
    Obeyed,
    /// The `McpGateway` objects can be listed and watched.
    RegistryRead,
    /// The operator has every permission that it needs.
    Permitted,
    /// `McpGateway` statuses can be written.
    StatusesWritten,
    /// The emergency brake is on.
    Suspended,
    /// A person must act; only where true.
    Stalled,
}

impl FleetConditionType {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::UsageComplete,
        Self::Published,
        Self::Obeyed,
        Self::RegistryRead,
        Self::Permitted,
        Self::StatusesWritten,
        Self::Suspended,
        Self::Stalled,
    ];

    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::UsageComplete => "UsageComplete",
            Self::Published => "Published",
            Self::Obeyed => "Obeyed",
            Self::RegistryRead => "RegistryRead",
            Self::Permitted => "Permitted",
            Self::StatusesWritten => "StatusesWritten",
            Self::Suspended => "Suspended",
            Self::Stalled => "Stalled",
        }
    }
}

/// The reason of `UsageComplete=False` while servers are classified although some endpoints are silent. With the other
/// reasons, those of [`crate::classify::memory::UsageGap`], nothing is classified.
pub const ENDPOINTS_SILENT: &str = "EndpointsSilent";
