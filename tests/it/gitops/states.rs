//! The object in every state of the table in `docs/contract.md#conditions`, and in transitions between two states.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use mcpgateway_operator::api::conditions::Reason;
use mcpgateway_operator::api::v1alpha1::McpGateway;
use mcpgateway_operator::api::v1alpha1::registration::{DeletionPolicy, RegistrationSpec, RegistrationStatus};
use mcpgateway_operator::api::{REGISTRATION_FINALIZER, gateway_crd};
use mcpgateway_operator::classify::{Params, PerServer, RankingInput, ServerUsage, classify};
use mcpgateway_operator::model::{ObjectName, ServerUrl, Term, UnixTime};
use mcpgateway_operator::registration::outcome::{ObjectRegistration, Outcomes, RegisteredCondition};
use mcpgateway_operator::registry::{GatewayRecord, RefreshRequest, RegistrySnapshot};
use mcpgateway_operator::status::{PlanContext, Registrations, Tiers, plan};
use serde_json::{Value, json};

use crate::drift::same;
use crate::support::cluster::cluster;

const FOLDER: &str = "tests/gitops/states";
const NOW: f64 = 1_763_800_100.0;

/// A new object as the API server returns it: with the default status of the CRD.
fn created(name: &str, spec: &Value) -> Value {
    let status =
        json!(gateway_crd()).pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status/default").cloned();
    let mut spec = spec.clone();
    if spec.get("enabled").is_none() {
        spec["enabled"] = true.into();
    }
    json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway",
        "metadata": {
            "namespace": "team", "name": name, "uid": format!("uid-of-{name}"), "generation": 1, "resourceVersion": "7",
            "creationTimestamp": "2025-11-22T08:00:00Z",
        },
        "spec": spec, "status": status.expect("the CRD has a default status"),
    })
}

fn server(name: &str) -> Value {
    json!({"url": format!("https://{name}.example.com/mcp")})
}

/// A registry and its usage.
#[derive(Default)]
struct Fleet {
    objects: Vec<Value>,
    /// The most recently used first; the others were never used.
    used: Vec<&'static str>,
    /// Held hot, whatever their rank.
    held: Vec<&'static str>,
    /// Too new to be classified.
    new: Vec<&'static str>,
    /// A refresh request of the object that is looked at.
    answered: Option<&'static str>,
    /// The reason of its condition `Registered`; nothing is registered without one.
    registered: Option<Reason>,
}

impl Fleet {
    fn of(names: &[&str]) -> Self {
        Self { objects: names.iter().map(|name| created(name, &server(name))).collect(), ..Self::default() }
    }

    /// An object after its classification, or after a turn without one.
    fn after(&self, unclassified: Option<Tiers>, name: &str) -> Value {
        let now = UnixTime::from_seconds(NOW).unwrap();
        let records: BTreeMap<_, _> = self.objects.iter().map(record).collect();
        let snapshot = RegistrySnapshot::build(&records, 1);
        let url = |name: &&str| ServerUrl::parse(server(name)["url"].as_str().unwrap()).unwrap();
        let mut inputs: PerServer<RankingInput> = PerServer::of(snapshot.servers());
        let place = |name: &&str| snapshot.by_url(url(name).expose()).unwrap() as usize;
        for (rank, name) in self.used.iter().enumerate() {
            let ago = Duration::from_secs(10 * (rank as u64 + 1));
            let last_used = UnixTime::from_seconds(NOW - ago.as_secs_f64()).unwrap();
            inputs.get_mut(place(name)).unwrap().usage =
                ServerUsage { last_used: Some(last_used), active: 1, idle: 2, use_count: 30 };
        }
        self.held.iter().for_each(|name| inputs.get_mut(place(name)).unwrap().held = true);
        self.new.iter().for_each(|name| inputs.get_mut(place(name)).unwrap().new = true);
        snapshot.pin(&mut inputs, &Params::default());
        let classification = classify(&inputs, now, &Params::default());
        let answers = self.answered.iter().map(|value| {
            let request = RefreshRequest { value: (*value).into(), time: UnixTime::from_seconds(NOW) };
            (ObjectName::new("team", name), request)
        });
        let answers: HashMap<_, _> = answers.collect();
        let tiers = unclassified.unwrap_or_else(|| Tiers::Classified {
            placements: Arc::clone(classification.placements()),
            inputs: Arc::new(inputs),
            intervals: Arc::default(),
            answers: Some(Arc::new(answers)),
        });
        let outcomes = self.registered.map(|reason| outcomes(&format!("uid-of-{name}"), reason));
        let context = PlanContext {
            term: Term::FIRST,
            now,
            usage_interval: Duration::from_mins(10),
            registrations: outcomes
                .map_or(Registrations::NotConfigured, |outcomes| Registrations::Known(Arc::new(outcomes))),
            answered_revision: 1,
        };
        let change = plan(&snapshot, tiers, context, None).changes().find(|change| &*change.name.name == name);
        let mut object = self.objects.iter().find(|object| object["metadata"]["name"] == name).unwrap().clone();
        object["status"] = json!(change.expect("a change of its status").status);
        object
    }
}

/// The registration of one object.
fn outcomes(uid: &str, reason: Reason) -> Outcomes {
    let status = match reason {
        Reason::Pending | Reason::Rejected => RegistrationStatus::default(),
        _ => RegistrationStatus {
            id: Some("0123456789abcdef0123456789abcdef".to_owned()),
            url: Some("https://gateway.example.com/mcp".to_owned()),
            version: Some(1),
            tools: Some(4),
            reachable: Some(true),
            ..RegistrationStatus::default()
        },
    };
    let registration = ObjectRegistration { generation: 1, condition: RegisteredCondition::new(reason), status };
    [(uid.into(), registration)].into()
}

fn record(object: &Value) -> (ObjectName, Arc<GatewayRecord>) {
    let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
    let record = GatewayRecord::from_object(&metadata, object).unwrap();
    (record.name.clone(), Arc::new(record))
}

/// An object after an edit that the operator has not seen yet.
fn edited(mut object: Value, spec: &Value) -> Value {
    object["metadata"]["generation"] = 2.into();
    for (field, value) in spec.as_object().unwrap() {
        object["spec"][field] = value.clone();
    }
    object
}

/// An object whose deletion waits for a foreign finalizer.
pub(super) fn deleted(mut object: Value) -> Value {
    object["metadata"]["deletionTimestamp"] = "2025-11-22T08:30:00Z".into();
    object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    object["metadata"]["finalizers"] = json!(["example.com/somebody-elses"]);
    object
}

/// The only object of a fleet.
fn alone(spec: &Value) -> Value {
    let fleet = Fleet { objects: vec![created("gateway", spec)], ..Fleet::default() };
    fleet.after(None, "gateway")
}

fn states() -> BTreeMap<&'static str, Value> {
    let ten = ["gateway", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let place = |used: &[&'static str], held: &[&'static str]| {
        let fleet = Fleet { used: used.to_vec(), held: held.to_vec(), ..Fleet::of(&ten) };
        fleet.after(None, "gateway")
    };
    let hot = place(&["gateway", "b"], &[]);
    // The first of the objects that ask for a pin gets the only one of ten servers.
    let pinned = |names: &[&str], before: usize| {
        let mut fleet = Fleet { used: vec!["b", "c"], ..Fleet::of(names) };
        for (place, object) in fleet.objects.iter_mut().enumerate().take(before + 1) {
            object["spec"]["polling"] = json!({"tier": "Hot"});
            object["metadata"]["creationTimestamp"] = format!("2025-11-22T08:00:0{}Z", before - place).into();
        }
        fleet.after(None, "gateway")
    };
    let refresh = |mut object: Value, value: &str| {
        object["metadata"]["annotations"] = json!({"mcpgateway.io/refresh-requested": value});
        object
    };
    let mut asking = Fleet { used: vec!["b"], ..Fleet::of(&ten) };
    asking.objects[0] = refresh(asking.objects[0].clone(), "tomorrow");
    let invalid_request = asking.after(None, "gateway");
    asking.objects[0] = refresh(asking.objects[0].clone(), "2025-11-22T08:28:20Z");
    asking.answered = Some("2025-11-22T08:28:20Z");
    let answered = asking.after(None, "gateway");
    let new_server = Fleet { used: vec!["b"], new: vec!["gateway"], ..Fleet::of(&ten) };
    let mut duplicate = Fleet::of(&ten);
    for (object, id, time) in [(1, "one-id", "2025-11-22T07:00:00Z"), (0, "one-id", "2025-11-22T08:00:00Z")] {
        duplicate.objects[object]["spec"]["gatewayId"] = id.into();
        duplicate.objects[object]["metadata"]["creationTimestamp"] = time.into();
    }
    let duplicate = duplicate.after(None, "gateway");
    let credential = alone(&json!({"url": "https://gateway.example.com/mcp?api_key=0123456789"}));
    let disabled = alone(&json!({"url": "https://gateway.example.com/mcp", "enabled": false}));
    let registration = |before: Option<&Value>, reason: Option<Reason>| {
        let mut fleet = Fleet { used: vec!["gateway", "b"], registered: reason, ..Fleet::of(&ten) };
        let spec = RegistrationSpec { deletion_policy: DeletionPolicy::Delete, ..RegistrationSpec::default() };
        fleet.objects[0]["spec"]["registration"] = json!(spec);
        fleet.objects[0]["metadata"]["finalizers"] = json!([REGISTRATION_FINALIZER]);
        if let Some(before) = before {
            fleet.objects[0] = before.clone();
        }
        fleet.after(None, "gateway")
    };
    let registered = registration(None, Some(Reason::Registered));
    let mut registered_then_deleted = deleted(registered.clone());
    registered_then_deleted["metadata"]["finalizers"] = json!([REGISTRATION_FINALIZER]);
    let new = created("gateway", &server("gateway"));
    let other_url = json!({"url": "https://elsewhere.example.com/mcp"});
    [
        ("created", new.clone()),
        ("above-cut", hot.clone()),
        ("pinned", pinned(&ten, 0)),
        ("too-many-pinned", pinned(&ten, 1)),
        ("classified-then-asked-to-refresh", refresh(hot.clone(), "2025-11-22T08:28:20Z")),
        ("refresh-answered", answered),
        ("invalid-refresh-request", invalid_request),
        ("classified-then-pinned", edited(hot.clone(), &json!({"polling": {"tier": "Hot", "maxInterval": "1h"}}))),
        ("held", place(&["b", "c", "gateway"], &["gateway"])),
        ("below-cut", place(&["b", "c", "gateway"], &[])),
        ("never-used", place(&["b", "c"], &[])),
        ("cap-is-zero", alone(&server("gateway"))),
        ("awaiting-usage", new_server.after(None, "gateway")),
        ("usage-incomplete", Fleet::of(&ten).after(Some(Tiers::GivenUp), "gateway")),
        ("suspended", Fleet::of(&ten).after(Some(Tiers::Suspended), "gateway")),
        ("disabled", disabled.clone()),
        ("credential-in-url", credential.clone()),
        ("invalid-url", alone(&json!({"url": "gateway.example.com"}))),
        ("duplicate-gateway-id", duplicate.clone()),
        ("classified-then-edited", edited(hot.clone(), &other_url)),
        ("classified-then-disabled", edited(hot.clone(), &json!({"enabled": false}))),
        ("disabled-then-enabled", edited(disabled.clone(), &json!({"enabled": true}))),
        ("refused-then-mended", edited(credential.clone(), &other_url)),
        ("registration-pending", registration(None, Some(Reason::Pending))),
        ("registration-rejected", registration(None, Some(Reason::Rejected))),
        ("registration-not-configured", registration(None, None)),
        ("registered-then-unreachable", registration(Some(&registered), Some(Reason::ContextForgeUnreachable))),
        ("registered-then-edited", edited(registered.clone(), &other_url)),
        ("registered", registered),
        ("registered-then-deleted", registered_then_deleted),
        ("created-then-deleted", deleted(new)),
        ("classified-then-deleted", deleted(hot)),
        ("disabled-then-deleted", deleted(disabled)),
        ("refused-then-deleted", deleted(credential)),
    ]
    .into()
}

/// Compares the files of a folder with these objects, by file name without its ending.
pub(super) fn same_files(folder: &str, states: &BTreeMap<&'static str, Value>) {
    for (name, object) in states {
        same(&format!("{folder}/{name}.json"), &format!("{object:#}\n"));
    }
    let files = std::fs::read_dir(crate::support::cluster::root().join(folder)).unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = states.keys().map(|name| format!("{name}.json")).collect();
    assert_eq!(files.collect::<BTreeSet<_>>(), names);
}

#[test]
fn the_committed_objects_are_those_of_the_plan() {
    same_files(FOLDER, &states());
}

/// The reasons of the table: every row has a state.
#[test]
fn every_reason_of_the_table_is_among_the_states() {
    let reason = |object: &Value, kind: &str| {
        let conditions = object["status"]["conditions"].as_array().unwrap().clone();
        conditions.iter().find(|c| c["type"] == kind).map(|c| c["reason"].as_str().unwrap().to_owned())
    };
    let states = states();
    let of = |kind: &str| states.values().filter_map(|object| reason(object, kind)).collect::<BTreeSet<_>>();
    let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    let classified = [
        "AboveCut",
        "AwaitingUsage",
        "BelowCut",
        "CapIsZero",
        "Disabled",
        "Held",
        "NeverUsed",
        "NotAccepted",
        "Pinned",
        "Suspended",
        "UsageIncomplete",
    ];
    assert_eq!(of("Classified"), names(&classified));
    let refused = ["CredentialInUrl", "DuplicateGatewayId", "InvalidUrl"];
    assert_eq!(of("Stalled"), names(&refused));
    assert_eq!(of("Pinned"), names(&["Pinned", "TooManyPinned"]));
    let waits = ["NotConfigured", "Pending", "Rejected"];
    assert_eq!(of("Registered"), names(&[&waits[..], &["ContextForgeUnreachable", "Registered"]].concat()));
    let ready = [&refused[..], &waits[..], &["Classified", "Disabled", "Registered"]].concat();
    assert_eq!(of("Ready"), names(&ready));
}

/// A real API server stores each status unchanged, so the objects are what a GitOps tool reads there. Objects that the
/// CRD refuses, because they are older than its rules, cannot be created.
#[tokio::test]
async fn an_api_server_stores_the_statuses_of_all_states_as_they_are() {
    let cluster = cluster();
    let namespace = cluster.namespace("states").await;
    let api: Api<DynamicObject> =
        Api::namespaced_with(cluster.client().await, &namespace, &ApiResource::erase::<McpGateway>(&()));
    let mut stored = 0;
    for (name, state) in states() {
        let object = json!({
            "apiVersion": state["apiVersion"], "kind": state["kind"],
            "metadata": {"name": name}, "spec": state["spec"],
        });
        let created = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await;
        if ["credential-in-url", "invalid-url", "refused-then-deleted"].contains(&name) {
            assert_eq!(
                created.map_err(|error| matches!(error, kube::Error::Api(status) if status.code == 422)),
                Err(true)
            );
            continue;
        }
        let created = created.unwrap();
        if name.starts_with("created") {
            assert_eq!(json!(created.data["status"]), state["status"], "{name}: the default status of the CRD");
        }
        let patch = Patch::Merge(json!({"status": state["status"]}));
        let written = api.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(
            json!({"spec": written.data["spec"], "status": written.data["status"]}),
            json!({"spec": state["spec"], "status": state["status"]}),
            "{name}"
        );
        stored += 1;
    }
    assert_eq!(stored, 31);
}
