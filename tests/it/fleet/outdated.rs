//! What people see of a fleet object that is old, because nobody writes it or because its leader cannot.

use std::path::Path;

use k8s_openapi::api::coordination::v1::Lease;

use super::*;
use crate::support::cluster::said;
use crate::support::operator::binary;

const WRITTEN: &str = "mcpgateway_operator_fleet_status_written";
const NAME: &str = "mcpgateway-operator";

fn leases(fleet: &Fleet) -> Api<Lease> {
    Api::namespaced(fleet.client.clone(), &fleet.namespace)
}

/// `status` as text, whose exit code is 0.
fn status(fleet: &Fleet, kubeconfig: &Path) -> String {
    let mut command = binary();
    let output = command.args(["status", "-n", &fleet.namespace]).env("KUBECONFIG", kubeconfig).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

/// The reasons why it is old, from `status --output json`.
fn outdated(fleet: &Fleet) -> Vec<String> {
    let mut command = binary();
    command.args(["status", "-n", &fleet.namespace, "-o", "json"]).env("KUBECONFIG", fleet.cluster.kubeconfig());
    let answer: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let reason = |outdated: &Value| outdated["reason"].as_str().unwrap().to_owned();
    answer["outdated"].as_array().unwrap().iter().map(reason).collect()
}

#[tokio::test]
async fn status_compares_the_fleet_object_with_the_lease() {
    let fleet = Fleet::new("outdated", 1).await;
    fleet.create("a", "http://a.example/mcp").await;
    fleet.workers[0].report(vec![used("a", 1.0)]);
    let mut operator = fleet.operator();
    fleet.settled().await;
    eventually("the fleet object is written", SOON, || async { fleet.status().await.leader }).await;
    let text = status(&fleet, fleet.cluster.kubeconfig());
    assert!(!text.contains("Outdated:") && text.contains("\nLease:           Held by "), "{text}");
    assert!(outdated(&fleet).is_empty());
    // Someone who may not read the Lease.
    let (reader, namespace) = (format!("{}-reader", fleet.namespace), fleet.namespace.as_str());
    let (role, user) = (format!("--role={reader}"), format!("--user={reader}"));
    let right = ["--verb=get", "--resource=mcpgatewayfleets.mcpgateway.io"];
    fleet.cluster.kubectl_ok(&[&["-n", namespace, "create", "role", &reader], &right[..]].concat());
    fleet.cluster.kubectl_ok(&["-n", namespace, "create", "rolebinding", &reader, &role, &user]);
    let text = status(&fleet, fleet.cluster.kubeconfig_as(&reader).path());
    let forbidden = "Lease:           unknown, and so is whether this is old: not allowed to get leases";
    assert!(text.contains(forbidden) && text.contains("\nServers:         1 "), "{text}");
    // The leader hangs: the spec is changed, and nobody acts on it.
    operator.signal("STOP");
    fleet.suspend(true).await;
    assert_eq!(outdated(&fleet), ["SpecNotObserved"]);
    // It is killed, and its Lease expires.
    operator.kill();
    let patch = |spec: Value| {
        let (leases, patch) = (leases(&fleet), Patch::Merge(json!({"spec": spec})));
        async move { leases.patch(NAME, &PatchParams::default(), &patch).await.expect("patched") }
    };
    patch(json!({"renewTime": "2026-01-01T00:00:00.000000Z"})).await;
    assert_eq!(outdated(&fleet), ["NoLeader"]);
    let text = status(&fleet, fleet.cluster.kubeconfig());
    let expired = "has not been renewed since 2026-01-01T00:00:00Z; this is what the last leader saw";
    assert!(text.starts_with("Outdated: ") && text.contains(expired), "{text}");
    // A successor has not written the object.
    let now = clock::now().to_string().replace('Z', ".000000Z");
    patch(json!({"holderIdentity": "another_1", "renewTime": now})).await;
    assert_eq!(outdated(&fleet), ["OtherLeader", "SpecNotObserved"]);
    let text = status(&fleet, fleet.cluster.kubeconfig());
    assert!(text.contains("wrote this, and another_1 holds the Lease"), "{text}");
}

/// Rights on everything that the operator needs, and `verb` on the status of the fleet object.
fn rights(verb: &str) -> Value {
    let all = ["*"];
    let objects = ["mcpgateways", "mcpgateways/status", "mcpgatewayfleets"];
    json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": all},
        {"apiGroups": ["events.k8s.io", ""], "resources": ["events"], "verbs": all},
        {"apiGroups": ["mcpgateway.io"], "resources": objects, "verbs": all},
        {"apiGroups": ["mcpgateway.io"], "resources": ["mcpgatewayfleets/status"], "verbs": [verb]},
    ])
}

#[tokio::test]
async fn a_fleet_object_that_cannot_be_written_is_visible_everywhere() {
    let fleet = Fleet::new("unwritten", 1).await;
    let (user, namespace) = (fleet.namespace.clone(), fleet.namespace.as_str());
    let grant = |verb: &str| {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": user, "namespace": namespace}, "rules": rights(verb)});
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(&file, role.to_string()).unwrap();
        fleet.cluster.kubectl_ok(&["apply", "-f", &file.path().display().to_string()]);
    };
    grant("update");
    let (role, of) = (format!("--role={user}"), format!("--user={user}"));
    fleet.cluster.kubectl_ok(&["-n", namespace, "create", "rolebinding", &user, &role, &of]);
    let kubeconfig = fleet.cluster.kubeconfig_as(&user);
    fleet.create("a", "http://a.example/mcp").await;
    fleet.workers[0].report(vec![used("a", 1.0)]);
    let redis = fleet.redis.url();
    let flags = ["--redis-url", &redis, "--redis-owner-id", namespace, "--api-bind-address", "127.0.0.1:0"];
    let operator = fleet.operator_as(kubeconfig.path(), &flags);
    fleet.settled().await;
    operator.cycles(1).await;
    assert!((operator.metric(WRITTEN).await - 1.0).abs() < 0.1);

    grant("get");
    fleet.create("b", "http://b.example/mcp").await;
    eventually("the metric says it", SOON, || async {
        let (_, metrics) = operator.get("/metrics").await;
        metrics.lines().any(|line| line == format!("{WRITTEN} 0")).then_some(())
    })
    .await;
    let said_by_lease = || async {
        let annotations = leases(&fleet).get(NAME).await.expect("a Lease").metadata.annotations.unwrap_or_default();
        annotations.get("mcpgateway.io/fleet-not-written").cloned()
    };
    let why = eventually("the Lease says it", SOON, said_by_lease).await;
    assert!(why.starts_with("Forbidden: grant "), "{why}");
    assert_eq!(outdated(&fleet), ["NotWritten"]);
    let text = status(&fleet, fleet.cluster.kubeconfig());
    let expected = "Outdated:        the leader cannot write the McpGatewayFleet: Forbidden: grant ";
    assert!(text.starts_with(expected), "{text}");
    let mut doctor = binary();
    doctor.args(["doctor", "-n", namespace, "--watch-namespace", namespace]);
    let found = doctor.env("KUBECONFIG", fleet.cluster.kubeconfig()).output().unwrap();
    assert!(!found.status.success() && said(&found).contains("FleetNotWritten"), "{}", said(&found));
    assert_eq!(operator.log().matches("cannot write the status of the McpGatewayFleet").count(), 1, "once");
    eventually("an Event", SOON, || async {
        let events = fleet.cluster.kubectl_ok(&["describe", "mcpfleet", "-n", namespace]);
        events.contains("FleetNotWritten").then_some(())
    })
    .await;
    assert_eq!(operator.get("/readyz").await.0, 200, "no reason to be replaced");
    // The HTTP API has the present state from the leader.
    let url = format!("http://{}/v1/fleet", operator.address("serving /v1").await);
    eventually("the API says it", SOON, || async {
        let answer: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        let said = answer["lastCycle"]["fleetNotWritten"].as_str()?.starts_with("Forbidden");
        (said && answer["fleet"]["objects"]["total"] == 2).then_some(())
    })
    .await;
    assert_eq!(fleet.status().await.objects.total, 1, "the object is old");

    grant("update");
    eventually("it is written again", SOON, || async {
        (fleet.status().await.objects.total == 2 && said_by_lease().await.is_none()).then_some(())
    })
    .await;
    operator.cycles(2).await;
    assert!((operator.metric(WRITTEN).await - 1.0).abs() < 0.1);
    assert!(outdated(&fleet).is_empty() && operator.log().contains("McpGatewayFleet recovered"));
}
