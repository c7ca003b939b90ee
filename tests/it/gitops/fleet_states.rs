//! The fleet object in its states (`docs/contract.md#the-fleet-object`), and in transitions between two states.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::ApiResource;
use mcpgateway_operator::api::fleet_crd;
use mcpgateway_operator::api::v1alpha1::{
    FleetStatus, McpGatewayFleet, ObjectCounts, PublicationState, PublicationStatus, RedisLockState, RedisLockStatus,
    ServerCounts,
};
use mcpgateway_operator::classify::memory::{SilentEndpoint, UsageGap};
use mcpgateway_operator::fleet::{FleetState, Problems};
use mcpgateway_operator::model::polling::FleetPolling;
use mcpgateway_operator::model::{EndpointId, Problem, ProblemReason, Term, UnixTime};
use mcpgateway_operator::poll::Intervals;
use mcpgateway_operator::poll::compliance::Compliance;
use serde_json::{Value, json};

use super::states::{deleted, same_files};
use crate::support::cluster::cluster;

const FOLDER: &str = "tests/gitops/fleet-states";

fn at(seconds: f64) -> UnixTime {
    UnixTime::from_seconds(1_763_798_400.0 + seconds).unwrap()
}

/// A new object as the API server returns it: with the default status of the CRD.
fn created() -> Value {
    let crd = json!(fleet_crd());
    let status = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status/default");
    // The API server adds the defaults of the fields.
    let status: FleetStatus = serde_json::from_value(status.cloned().expect("the CRD has a default status")).unwrap();
    json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGatewayFleet",
        "metadata": {
            "namespace": "mcpgateway-system", "name": "mcpgateway-operator", "uid": "uid-of-the-fleet", "generation": 1,
            "resourceVersion": "7", "creationTimestamp": "2025-11-22T08:00:00Z",
        },
        "spec": {"suspend": false}, "status": status,
    })
}

static NO_POLLING: LazyLock<FleetPolling> = LazyLock::new(FleetPolling::default);

/// A healthy fleet.
fn fleet(problems: &Problems) -> FleetState<'_> {
    FleetState {
        generation: Some(1),
        suspend: false,
        identity: "mcpgateway-operator-5d5ddd7dcb-h7cj8_0c1d",
        since: at(0.0),
        term: Term::FIRST,
        objects: ObjectCounts { total: 40, disabled: 1, refused: 0 },
        loss: None,
        servers: ServerCounts { total: 38, hot: 7, cold: 31, unclassified: 0 },
        gap: None,
        endpoints: 3,
        silent: &[],
        sole_reporter: None,
        unregistered: &[],
        identity_conflicts: &[],
        polling: &NO_POLLING,
        plan: None,
        intervals: Intervals::default(),
        publication: publication(PublicationState::Published, None),
        publication_stalled: false,
        redis_lock: RedisLockStatus { state: RedisLockState::Held, ..RedisLockStatus::default() },
        redis_error: None,
        compliance: Some(Compliance::Yes),
        skewed: Some(&[]),
        problems,
        mirror: None,
    }
}

/// The object with the status that the leader writes.
fn object(fleet: &FleetState<'_>) -> Value {
    let mut object = created();
    object["metadata"]["generation"] = fleet.generation.into();
    object["spec"]["suspend"] = fleet.suspend.into();
    object["status"] = json!(fleet.status(None, at(100.0)));
    object
}

/// A healthy fleet, as `change` leaves it.
fn healthy(change: impl FnOnce(&mut FleetState<'_>)) -> Value {
    let problems = Problems::default();
    let mut fleet = fleet(&problems);
    change(&mut fleet);
    object(&fleet)
}

fn publication(state: PublicationState, reason: Option<&str>) -> PublicationStatus {
    PublicationStatus { state, reason: reason.map(str::to_owned), until: None }
}

fn suspended(state: PublicationState) -> Value {
    healthy(|fleet| {
        fleet.generation = Some(2);
        fleet.suspend = true;
        fleet.publication = publication(state, None);
        if state == PublicationState::Suspended {
            fleet.servers = without_tiers(fleet.servers);
        }
    })
}

fn without_tiers(servers: ServerCounts) -> ServerCounts {
    ServerCounts { hot: 0, cold: 0, unclassified: servers.total, ..servers }
}

/// An object after `spec.suspend` changed and before the operator has seen it.
fn edited(mut object: Value, suspend: bool) -> Value {
    let generation = object["metadata"]["generation"].as_i64().unwrap();
    object["metadata"]["generation"] = (generation + 1).into();
    object["spec"]["suspend"] = suspend.into();
    object
}

fn states() -> BTreeMap<&'static str, Value> {
    let ready = healthy(|_| {});
    let resting = suspended(PublicationState::Suspended);
    let silent = ["http://10.244.0.7:9180/mcpgateway/usage", "http://10.244.0.8:9180/mcpgateway/usage"]
        .map(|endpoint| SilentEndpoint { endpoint: EndpointId::new(endpoint), reported: true, since: at(50.0) });
    let given_up = |gap: UsageGap, silent: &[SilentEndpoint]| {
        let problems = Problems::default();
        let mut fleet = fleet(&problems);
        fleet.gap = Some(gap);
        fleet.silent = silent;
        fleet.publication = publication(PublicationState::GivenUp, Some(gap.reason()));
        fleet.servers = without_tiers(fleet.servers);
        object(&fleet)
    };
    let one_silent = {
        let problems = Problems::default();
        object(&FleetState { silent: &silent[..1], ..fleet(&problems) })
    };
    let permissions_missing = {
        let missing = "grant to the operator: patch mcpgateways/status.mcpgateway.io in all namespaces";
        let denied = "grant patch on mcpgateways/status to the operator's service account";
        let problems = Problems {
            permissions: Some(Problem::new(ProblemReason::PermissionsMissing, missing)),
            status_writes: Some(Problem::new(ProblemReason::Forbidden, denied)),
            registry: None,
        };
        object(&fleet(&problems))
    };
    let other_release = healthy(|fleet| {
        fleet.publication = publication(PublicationState::NotPublished, Some("LockHeldByAnotherRelease"));
        fleet.publication_stalled = true;
        fleet.redis_lock = RedisLockStatus {
            state: RedisLockState::HeldByAnotherRelease,
            holder: Some("mcpgateway-operator/another-release/7".to_owned()),
            ..RedisLockStatus::default()
        };
    });
    let unreachable = healthy(|fleet| {
        fleet.publication = publication(PublicationState::NotPublished, Some("Unreachable"));
        fleet.redis_lock = RedisLockStatus {
            state: RedisLockState::Unreachable,
            reason: Some("Unreachable".to_owned()),
            ..RedisLockStatus::default()
        };
    });
    [
        ("created", created()),
        ("ready", ready.clone()),
        ("endpoint-silent", one_silent),
        ("no-use-known", given_up(UsageGap::Use, &[])),
        ("usage-incomplete", given_up(UsageGap::Quorum, &silent)),
        ("redis-unreachable", unreachable),
        ("lock-of-another-release", other_release),
        ("permissions-missing", permissions_missing),
        ("suspending", suspended(PublicationState::Suspending)),
        ("suspended", resting.clone()),
        ("ready-then-suspended", edited(ready.clone(), true)),
        ("suspended-then-resumed", edited(resting, false)),
        ("ready-then-deleted", deleted(ready)),
    ]
    .into()
}

#[test]
fn the_committed_fleets_are_those_of_the_leader() {
    same_files(FOLDER, &states());
}

/// A real API server stores each status unchanged, so the objects are what a GitOps tool reads there.
#[tokio::test]
async fn an_api_server_stores_the_statuses_of_all_fleets_as_they_are() {
    let cluster = cluster();
    let namespace = cluster.namespace("fleet-states").await;
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client().await, &namespace, &ApiResource::erase::<McpGatewayFleet>(&()));
    for (name, state) in states() {
        let object = json!({
            "apiVersion": state["apiVersion"], "kind": state["kind"],
            "metadata": {"name": name}, "spec": state["spec"],
        });
        let mut stored = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        if name != "created" {
            stored.data["status"] = state["status"].clone();
            stored = api.replace_status(name, &PostParams::default(), &stored).await.unwrap();
        }
        assert_eq!(
            json!({"spec": stored.data["spec"], "status": stored.data["status"]}),
            json!({"spec": state["spec"], "status": state["status"]}),
            "{name}"
        );
    }
}
