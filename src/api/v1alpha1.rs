//! `mcpgateway.io/v1alpha1`: the shape of an `McpGateway`, from which the CRD is generated (SPEC section 1).
//!
//! Within v1alpha1 fields are only added. The doc comments of the fields are what `kubectl explain` prints, so they
//! speak to the person who writes a manifest.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::rules;

/// An upstream MCP server that the gateways of a fleet talk to.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "mcpgateway.io",
    version = "v1alpha1",
    kind = "McpGateway",
    plural = "mcpgateways",
    shortname = "mcpgw",
    category = "mcpgateway",
    namespaced,
    status = "McpGatewayStatus",
    doc = "McpGateway registers one upstream MCP server with a fleet of MCP gateways. It deploys nothing, and the operator never connects to the server: it ranks the registered servers by what the gateway workers report to use, and calls the most recently used share Hot and the rest Cold, so that gateways may poll the cold ones less often.",
    selectable = ".spec.url",
    selectable = ".spec.gatewayId",
    selectable = ".status.tier",
    printcolumn(name = "Tier", type_ = "string", json_path = ".status.tier", description = "Hot, Cold, or empty while not classified"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the operator has taken this object in"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Classified\")].reason", description = "Why it has this tier, or none"),
    printcolumn(name = "Last Used", type_ = "date", json_path = ".status.usage.lastUsedTime", description = "When the latest request to the server began, as when last written"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url", priority = 1),
    printcolumn(name = "Rank", type_ = "integer", json_path = ".status.rank", priority = 1, description = "Place among the servers that were ever used"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.usage.activeSessions", priority = 1, description = "Sessions with a request in flight, as when last written"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.tierTransitionTime", priority = 1, description = "When the tier last changed"),
    validation = rules::term_never_falls()
)]
#[x_kube(
    validation = rules::url_shape(),
    validation = rules::url_printable(),
    validation = rules::url_without_user_info(),
    validation = rules::url_without_credential_in_query(),
    validation = rules::gateway_id_shape()
)]
#[serde(rename_all = "camelCase")]
pub struct McpGatewaySpec {
    /// The URL of the upstream MCP server, exactly as the gateways know it: http or https, a host, at most 767 printable
    /// characters, no fragment and no credentials. It is the server's identity and is published byte for byte. Its path is
    /// not treated as a secret.
    #[schemars(length(max = 767))]
    pub url: String,

    /// The id under which the gateway workers know this server (ContextForge: 32 hex digits); 1 to 64 letters, digits, '.',
    /// '_' or '-'. With it, use is counted for this object whatever URL the workers report. Without it, they are matched by
    /// URL. Of several enabled objects with one id and different URLs the oldest keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub gateway_id: Option<String>,

    /// Whether the server belongs to the registry. Set it to false to take it out without deleting the object.
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,
}

fn enabled_by_default() -> bool {
    true
}

/// What the operator last said of this server. Only the operator writes it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct McpGatewayStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Hot: among the most recently used share of the fleet, polled at the full rate. Cold: polled at a third of it.
    /// Absent: not classified, polled at the full rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<TierName>,

    /// When the tier last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier_transition_time: Option<Time>,

    /// Place among the servers that were ever used, 1 being the most recently used; as when last written. Absent when never
    /// used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<i64>,

    /// The use that the gateway workers reported, as when last written. It is refreshed with every change of this status, and
    /// otherwise only every --status-usage-interval of the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageStatus>,

    /// Accepted: the spec is usable. Classified: it has a tier. Ready: the operator has taken it in. Stalled, only where
    /// true: it cannot be taken in until somebody changes it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The term of the leader that wrote this. The API server refuses a status whose term is lower than the stored one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub term: Option<i32>,
}

/// Hot: among the most recently used share of the fleet, polled at the full rate. Cold: polled at a third of it. Absent:
/// not classified, polled at the full rate.
// The generator puts this text, not that of the field, into the CRD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
pub enum TierName {
    /// Polled at the full rate.
    Hot,
    /// Polled at a third of the full rate.
    Cold,
}

/// The use of a server, merged over all gateway workers. Whole seconds, never in the future.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageStatus {
    /// When the latest request to the server began. Absent when none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_time: Option<Time>,

    /// Sessions with a request in flight.
    #[serde(default)]
    pub active_sessions: i64,

    /// Open sessions without a request in flight.
    #[serde(default)]
    pub idle_sessions: i64,

    /// Requests since the worker processes that still live have started.
    #[serde(default)]
    pub use_count: i64,

    /// When these numbers were true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_time: Option<Time>,
}
