//! The shape of an `McpGatewayFleet`: the emergency brake and the observed state of one operator release. See
//! `docs/contract.md#the-fleet-object`.
//!
//! [`FleetStatus`] is the one type for the state of the fleet: the leader's loop makes it, the API server stores it,
//! and every command and HTTP endpoint reads it. The doc comments are what `kubectl explain` prints.
#![expect(clippy::doc_markdown, reason = "`kubectl explain` prints these comments as they are")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::core::Duration;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::conditions::FleetConditionType;
use crate::api::rules;
use crate::model::TakeoverDecision;
use crate::model::polling::PollingState;

/// What a person decides for a whole fleet. The operator creates the object and never writes its spec afterwards.
//
// Not in the category `mcpgateway`: kubectl reads `mcpgateway` as the category first, and then refuses a name
// (`kubectl get mcpgateway NAME`), because two kinds are in it.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "mcpgateway.io",
    version = "v1alpha1",
    kind = "McpGatewayFleet",
    plural = "mcpgatewayfleets",
    shortname = "mcpfleet",
    namespaced,
    status = "FleetStatus",
    doc = "McpGatewayFleet shows the state of one release of the operator and of the gateways it works for, and has \
        an emergency brake. The leader creates it beside its Lease, under the same name. To stop the operator \
        from influencing any gateway, set spec.suspend to true.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the operator does what the spec asks for"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready or not"),
    printcolumn(name = "Servers", type_ = "integer", json_path = ".status.servers.total",
        description = "Registered upstream servers"),
    printcolumn(name = "Hot", type_ = "integer", json_path = ".status.servers.hot"),
    printcolumn(name = "Cold", type_ = "integer", json_path = ".status.servers.cold"),
    printcolumn(name = "Endpoints", type_ = "string", json_path = ".status.endpoints.summary",
        description = "Worker endpoints that answered, of those that are known"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader.identity", priority = 1),
    printcolumn(name = "Term", type_ = "integer", json_path = ".status.term", priority = 1,
        description = "Grows with every change of leader"),
    printcolumn(name = "Obeyed", type_ = "string", json_path = ".status.conditions[?(@.type==\"Obeyed\")].status",
        priority = 1, description = "Whether gateways poll by what is published"),
    validation = rules::term_never_falls()
)]
#[serde(rename_all = "camelCase")]
pub struct McpGatewayFleetSpec {
    /// The emergency brake. When true, the operator removes its publication from Redis and the tiers from all
    /// McpGateway statuses, and classifies nothing: gateways poll every server at the full rate. It keeps the Redis
    /// lock, so that no other program publishes instead. When false again, everything returns with the next cycle.
    #[serde(default)]
    pub suspend: bool,
}

/// The state of the fleet as its leader last saw it. Written only when it says something new. Only the operator writes
/// it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FleetStatus {
    /// The generation of the spec that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The term of the leader that wrote this. The API server refuses a status whose term is lower than the stored one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub term: Option<i32>,

    /// The replica that leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<LeaderStatus>,

    /// McpGateway objects in the watched namespaces.
    #[serde(default)]
    pub objects: ObjectCounts,

    /// Only while more than half of the registered objects are gone that were there an interval earlier, for a day at
    /// most: what was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_loss: Option<RegistryLossStatus>,

    /// Upstream servers of the registry, by tier.
    #[serde(default)]
    pub servers: ServerCounts,

    /// The worker endpoints that report usage.
    #[serde(default)]
    pub endpoints: EndpointsStatus,

    /// What gateways find in Redis.
    #[serde(default)]
    pub publication: PublicationStatus,

    /// Who holds the Redis lock of the classification.
    #[serde(default)]
    pub redis_lock: RedisLockStatus,

    /// Whether gateways poll by what is published.
    #[serde(default)]
    pub gateways: GatewaysStatus,

    /// Only while a refresh plan is in force (--refresh-plan usage): how often gateways refresh tools by it, and
    /// whether it keeps its budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_plan: Option<RefreshPlanStatus>,

    /// Only with --mirror-namespace, once ContextForge has answered: the objects that mirror its gateways.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorStatus>,

    /// Servers that workers use although no McpGateway registers them: up to 20 URLs, without query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub unregistered: Vec<String>,

    /// Ids and names of McpGateway objects that workers report for another registered server than the object's: up to
    /// 20 lines. Such use counts for the server whose exact URL is reported. An object with a wrong spec.gatewayId is
    /// to be corrected or removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub identity_conflicts: Vec<String>,

    /// Ready: the operator does what the spec asks for. UsageComplete: every worker endpoint reports. Published:
    /// gateways find the current classification in Redis. Obeyed: gateways poll by it. RegistryRead: the McpGateway
    /// objects can be read. RegistryStable: most of them have not gone at once. Permitted: the operator has every
    /// permission that it needs. StatusesWritten: McpGateway statuses can be written. ClocksAgree: the clocks agree
    /// within five seconds. Suspended: the emergency brake is on. Stalled, only where true: a person must act.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl FleetStatus {
    /// The condition of this type, if the leader wrote one.
    pub fn condition(&self, kind: FleetConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == kind.as_ref())
    }

    /// Whether the condition of this type is `True`.
    pub fn is_true(&self, kind: FleetConditionType) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == "True")
    }

    /// The condition of this type, if its status is `False`.
    pub fn failed(&self, kind: FleetConditionType) -> Option<&Condition> {
        self.condition(kind).filter(|condition| condition.status == "False")
    }
}

/// The replica that leads.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderStatus {
    /// The holderIdentity of the Lease: the pod, and a random part for each start.
    pub identity: String,
    /// Since when it leads.
    pub since: Time,
}

/// McpGateway objects in the watched namespaces.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectCounts {
    /// All of them.
    pub total: i64,
    /// Those whose spec.enabled is false.
    pub disabled: i64,
    /// Those that are not accepted.
    pub refused: i64,
}

impl ObjectCounts {
    /// Those in the registry.
    pub const fn registered(&self) -> i64 {
        self.total.saturating_sub(self.disabled).saturating_sub(self.refused)
    }
}

/// How much of the registry has gone at once.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistryLossStatus {
    /// How many objects were registered before.
    pub before: i64,
    /// When they began to go.
    pub since: Time,
}

/// Upstream servers of the registry, by tier.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerCounts {
    /// All of them; several McpGateway objects may share one.
    pub total: i64,
    /// Polled at the full rate.
    pub hot: i64,
    /// Polled less often.
    pub cold: i64,
    /// Without a tier: polled at the full rate.
    pub unclassified: i64,
}

/// The worker endpoints that report usage.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointsStatus {
    /// How many are known.
    pub known: i64,
    /// How many of them reported completely within the last two intervals.
    pub answered: i64,
    /// Both numbers, as "3/3".
    pub summary: String,
    /// Endpoints that are silent: up to 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub silent: Vec<SilentEndpointStatus>,
    /// The endpoint that alone reports the present use of more than half of the hot servers: they hang on what it says.
    /// Absent if there is none, or only one endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sole_reporter: Option<SoleReporterStatus>,
}

/// The endpoint on which most hot servers hang.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SoleReporterStatus {
    /// Its address, without query.
    pub endpoint: String,
    /// The share of the hot servers whose present use no other endpoint reports, in steps of ten.
    pub hot_percent: i64,
}

/// An endpoint without a complete report for more than two intervals.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SilentEndpointStatus {
    /// Its address, without query.
    pub endpoint: String,
    /// Whether it has reported to the current leader before.
    #[serde(default)]
    pub reported: bool,
    /// When it last reported completely; if it never did, since when it is known.
    pub since: Time,
}

/// The objects that mirror the gateways of ContextForge that no other object speaks for.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MirrorStatus {
    /// Their namespace.
    pub namespace: String,
    /// How many there are.
    pub objects: i64,
    /// How many gateways cannot be mirrored.
    pub not_mirrored: i64,
    /// Up to five of them by name, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5))]
    pub examples: Vec<String>,
    /// Only while more than half of the objects, and more than five, would go at once: how many. None goes until a
    /// person deletes them, or ContextForge lists their gateways again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<i64>,
    /// Only while objects cannot be changed: why, as a stable word, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What gateways find in Redis.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PublicationStatus {
    /// Pending: not tried yet. Published: the current classification. KeptAlive: an earlier one, until the given time.
    /// GivenUp: none any more. NotPublished: Redis did not take the current one. Suspending: the brake is on, and the
    /// publication is not removed yet. Suspended: removed. StatusesOnly: no Redis is configured.
    pub state: PublicationState,
    /// Why, as a stable word. Absent where the state says it all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when an earlier publication is kept alive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

/// The state of the publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PublicationState {
    /// Not tried yet.
    #[default]
    Pending,
    /// Gateways find the current classification.
    Published,
    /// Usage is incomplete: an earlier classification is kept alive.
    KeptAlive,
    /// Usage has been incomplete for too long: nothing is published.
    GivenUp,
    /// Redis did not take the current classification.
    NotPublished,
    /// The emergency brake is on, and the publication is not removed yet.
    Suspending,
    /// The emergency brake is on, and nothing is published.
    Suspended,
    /// No Redis is configured: tiers are in the statuses only.
    StatusesOnly,
}

/// Who holds the Redis lock of the classification.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RedisLockStatus {
    /// Unknown: not asked yet. Held: by this leader. Fenced: Redis knows a higher term. HeldByAnother: another program
    /// has it. HeldByAnotherRelease: another release of this operator has it. Unreachable: Redis does not answer.
    /// NoRedis: none is configured.
    pub state: RedisLockState,
    /// The other holder, as it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// When the lock of another program is taken over: Never, WhenIdle (it has published nothing for an interval) or
    /// WithNextPublication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover: Option<TakeoverDecision>,
    /// Why Redis could not be asked, as a stable word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether gateways poll by what is published, judged by their stamps in Redis, and the polling that their processes
/// report.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewaysStatus {
    /// True or false. Absent while it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obeyed: Option<bool>,
    /// Why, as a stable word: the reason of the condition Obeyed.
    pub reason: String,
    /// Whether hot servers are refreshed as often as unclassified ones: Active, Off (not enabled in the settings) or
    /// Unsupported by the release of the gateway. The worst of all processes that report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_at_full_rate: Option<PollingState>,
    /// Whether cold servers are refreshed at their planned intervals, where a refresh plan is in force: Active, Off
    /// (not enabled in the settings) or Unsupported by the release of the gateway. The worst of all processes that
    /// report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_plan: Option<PollingState>,
    /// How many processes report that this is active. Absent if none reports refreshPlan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_plan_followed_by: Option<i64>,
    /// How many processes report that this is off or unsupported. Absent if none reports refreshPlan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_plan_not_followed_by: Option<i64>,
    /// The share of the tool calls within the last hour whose list of tools was older than twice the hot interval, as
    /// the processes report them to this leader, in steps of ten percent. Absent below 50 calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub calls_on_old_lists_percent: Option<i64>,
    /// Whether the health of cold servers is checked at an interval of their own: Active, Off (not enabled in the
    /// settings) or Unsupported by the release of the gateway. The worst of all processes that report it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_health: Option<PollingState>,
    /// The share of the health checks that gateways have skipped since this leader began, in steps of ten percent.
    /// Absent below 50 checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub health_checks_skipped_percent: Option<i64>,
    /// What is configured and not supported, by endpoint, with the reason: up to 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub unsupported: Vec<String>,
}

/// What a refresh plan comes to. The numbers have two significant digits, so that they seldom change.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RefreshPlanStatus {
    /// The interval of hot servers, which is the shortest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_interval: Option<Duration>,
    /// The longest interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_interval: Option<Duration>,
    /// Refreshes an hour of one gateway process that polls every server by the plan. Planned, and not counted.
    pub polls_per_hour: i64,
    /// The same by the tiers alone.
    pub tiers_polls_per_hour: i64,
    /// The same if every server were refreshed as often as a hot one.
    pub uniform_polls_per_hour: i64,
    /// Whether the plan keeps the budget (--refresh-budget).
    pub budget_kept: bool,
    /// The least budget that would suffice, in percent. Only where the budget is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub least_budget_percent: Option<i64>,
}

/// The state of the Redis lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RedisLockState {
    /// Not asked yet.
    #[default]
    Unknown,
    /// Held by this leader.
    Held,
    /// Redis knows a higher term.
    Fenced,
    /// Another program has it.
    HeldByAnother,
    /// Another release of this operator has it.
    HeldByAnotherRelease,
    /// Redis does not answer as it should.
    Unreachable,
    /// No Redis is configured.
    NoRedis,
}
