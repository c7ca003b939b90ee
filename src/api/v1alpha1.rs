//! `mcpgateway.io/v1alpha1`: the type of an `McpGateway`, from which the CRD is generated
//! (`docs/contract.md#the-mcpgateway-resource`).
//!
//! Within v1alpha1, fields are only added. `kubectl explain` prints the doc comments of the fields, so they address the
//! person who writes a manifest.

mod fleet;
pub mod registration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;
use crate::model::query_names;
use crate::model::{PRINTABLE_PATTERN, SHAPE_PATTERN, Tier, USER_INFO_PATTERN};
pub use fleet::{
    EndpointsStatus, FleetStatus, GatewaysStatus, LeaderStatus, McpGatewayFleet, McpGatewayFleetSpec, MirrorStatus,
    ObjectCounts, PublicationState, PublicationStatus, RedisLockState, RedisLockStatus, RefreshPlanStatus,
    RegistryLossStatus, ServerCounts, SilentEndpointStatus, SoleReporterStatus,
};
use registration::{RegistrationSpec, RegistrationStatus};

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
    doc = "McpGateway registers one upstream MCP server with a fleet of MCP gateways. It deploys nothing, and the \
        operator never connects to the server. The operator ranks the registered servers by the usage that the gateway \
        workers report; the most recently used share is Hot and the rest is Cold, so that gateways may poll the cold \
        ones less often.",
    selectable = ".spec.url",
    selectable = ".spec.gatewayId",
    selectable = ".status.tier",
    printcolumn(name = "Tier", type_ = "string", json_path = ".status.tier",
        description = "Hot, Cold, or empty while not classified"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the operator has processed this object"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Classified\")].reason",
        description = "Why the server has this tier or none"),
    printcolumn(name = "Last Used", type_ = "date", json_path = ".status.usage.lastUsedTime",
        description = "When the latest request to the server began, as last written"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url", priority = 1),
    printcolumn(name = "Rank", type_ = "integer", json_path = ".status.rank", priority = 1,
        description = "Rank among the servers that were ever used"),
    printcolumn(name = "Active", type_ = "integer", json_path = ".status.usage.activeSessions", priority = 1,
        description = "Sessions with a request in flight, as last written"),
    printcolumn(name = "Since", type_ = "date", json_path = ".status.tierTransitionTime", priority = 1,
        description = "When the tier last changed"),
    printcolumn(name = "Interval", type_ = "string", json_path = ".status.polling.interval", priority = 1,
        description = "How often gateways should refresh the server, if not by its tier alone"),
    printcolumn(name = "Registered", type_ = "string", priority = 1,
        json_path = ".status.conditions[?(@.type==\"Registered\")].reason",
        description = "Whether the operator has registered the server in ContextForge, or why not"),
    printcolumn(name = "Tools", type_ = "integer", json_path = ".status.registration.tools", priority = 1,
        description = "Tools of the server in ContextForge, as last written"),
    validation = rules::term_never_falls(),
    validation = rules::registered_name_stays()
)]
#[x_kube(
    validation = rules::on_url(
        format!("self.url.matches(r'''{SHAPE_PATTERN}''')"),
        "use an http:// or https:// URL with a host, and a port of at most five digits if any",
    ),
    validation = rules::on_url(
        format!("self.url.matches('{PRINTABLE_PATTERN}') && !self.url.contains('#')"),
        "use printable ASCII characters only: no blanks (write %20) and no #fragment",
    ),
    validation = rules::on_url(
        format!("!self.url.matches('{USER_INFO_PATTERN}')"),
        "take the user name and password out of the URL and give them to the gateway as its authentication setting",
    ),
    validation = rules::on_url(
        rules::no_credential_in_query(),
        "take the API key, token or other credential out of the URL's query and give it to the gateway as its \
        authentication setting; if the parameter is no credential, add its name to spec.allowedQueryNames",
    ),
    validation = rules::on_url(
        format!("!self.url.matches('{}') && !self.url.matches('{}')", query_names::SEMICOLON, query_names::ENCODED),
        "write the query without ';' (use '&' between parameters, and %3B in a value) and without '%' in the name of a \
        parameter",
    ),
    validation = rules::gateway_id_shape()
)]
#[serde(rename_all = "camelCase")]
pub struct McpGatewaySpec {
    /// The URL of the upstream MCP server, exactly as the gateways know it: http or https, a host, at most 767
    /// printable characters, no fragment and no credentials. It is the server's identity and is published byte for
    /// byte. Its path is not treated as a secret.
    #[schemars(length(max = 767))]
    pub url: String,

    /// The id under which the gateway workers know this server (ContextForge: 32 hex digits); 1 to 64 letters, digits,
    /// '.', '_' or '-'. If it is set, usage counts for this object whatever URL the workers report, unless that is the
    /// exact URL of another registered server; otherwise usage is matched by URL. If several enabled objects have the
    /// same id and different URLs, the oldest keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub gateway_id: Option<String>,

    /// Names of query parameters of the URL that look like those of credentials and are not, such as the code of a
    /// language in '?code=de'. Exactly as in the URL. Whoever adds a name vouches that its value may be published: it
    /// is shown to everybody who may read this object, the statuses or the Redis of the fleet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 64)))]
    pub allowed_query_names: Vec<String>,

    /// How the server of this object is polled, regardless of its use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling: Option<PollingSpec>,

    /// Whether the server belongs to the registry. Set it to false to remove the server without deleting the object.
    #[serde(default = "enabled_by_default")]
    pub enabled: bool,

    /// Present: the operator registers the server in ContextForge, and keeps the entry as it is described here. With
    /// spec.gatewayId it takes over that entry. It needs an operator with --contextforge-url, and the namespace must be
    /// one of --registration-namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationSpec>,
}

fn enabled_by_default() -> bool {
    true
}

/// How the server of an object is polled, regardless of its use.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[x_kube(validation = rules::max_interval())]
#[serde(rename_all = "camelCase")]
pub struct PollingSpec {
    /// See [`PinnedTier`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<PinnedTier>,

    /// The longest time between two refreshes of the server, such as 90s, 15m or 1h30m, from 1s to 720h: gateways
    /// should refresh it at least as often, however rarely it is used. Whole seconds count. No server is refreshed more
    /// often than a hot one. Of several objects for one server, the shortest interval counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub max_interval: Option<Duration>,
}

/// Hot: the server is pinned. It is always hot, beside the servers that are hot by their use. For a server that is
/// rarely used and important. The share of pinned servers is limited (--max-pinned of the operator); the oldest objects
/// keep their pins.
// The CRD shows this text as the description of `spec.polling.tier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PinnedTier {
    /// Always hot.
    Hot,
}

/// The observations of the operator. Only the operator writes the status.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct McpGatewayStatus {
    /// The generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Hot: among the most recently used share of the fleet, polled at the full rate. Cold: polled at a third of it.
    /// Absent: not classified, polled at the full rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,

    /// When the tier last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier_transition_time: Option<Time>,

    /// When gateways should refresh the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling: Option<PollingStatus>,

    /// The rank among the servers that were ever used, 1 being the most recently used, when the status was last
    /// written. Absent if the server was never used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<i64>,

    /// The usage that the gateway workers reported when the status was last written. It is refreshed with every change
    /// of this status, and otherwise only every --status-usage-interval of the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageStatus>,

    /// The entry in ContextForge. Absent without spec.registration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationStatus>,

    /// Accepted: the spec is usable. Classified: the server has a tier. Ready: the operator has processed the object.
    /// Stalled, which is present only when true: the object is not accepted until a person changes it. Pinned: whether
    /// the server is pinned, as spec.polling.tier asks. `RefreshRequested`, which is present only when false: the
    /// annotation mcpgateway.io/refresh-requested cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// The term of the leader that wrote this status. The API server refuses a status whose term is lower than the
    /// stored one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub term: Option<i32>,
}

/// When gateways should refresh a server.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PollingStatus {
    /// The refresh interval, in whole seconds ("1740s"). By a refresh plan, it changes when the use of the server does,
    /// in steps of about two. Absent while the tier of the server alone decides: without a refresh plan
    /// (--refresh-plan), a shorter spec.polling.maxInterval and a refresh request; and while it is not classified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,

    /// The last value of the annotation mcpgateway.io/refresh-requested that was answered: gateways find the request in
    /// Redis, or refresh the server at the full rate anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_handled_refresh_request: Option<String>,

    /// The time of that request: what it says, or when it was seen if that was earlier. A refresh before it does not
    /// count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refresh_request_time: Option<Time>,
}

/// The usage of a server, merged over all gateway workers. Times are whole seconds and never in the future.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageStatus {
    /// When the latest request to the server began. Absent if no request is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_time: Option<Time>,

    /// Sessions with a request in flight.
    #[serde(default)]
    pub active_sessions: i64,

    /// Open sessions without a request in flight.
    #[serde(default)]
    pub idle_sessions: i64,

    /// Requests since the start of the worker processes that are still running.
    #[serde(default)]
    pub use_count: i64,

    /// When this usage was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_time: Option<Time>,
}
