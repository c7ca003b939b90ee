//! Objects that are older than the rules of the CRD, and some that nothing can read: one bad object stops nothing.

use kube::api::{ApiResource, DynamicObject};

use super::*;

/// The CRD without any rule, as an older or a hand-made one might be.
fn crd_without_rules() -> Value {
    let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "mcpgateways.mcpgateway.io"},
        "spec": {
            "group": "mcpgateway.io", "scope": "Namespaced",
            "names": {"plural": "mcpgateways", "singular": "mcpgateway", "kind": "McpGateway"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": anything},
            }],
        },
    })
}

fn apply(cluster: &Cluster, file: &std::path::Path) {
    cluster.kubectl_ok(&["apply", "--server-side", "--force-conflicts", "-f", &file.display().to_string()]);
    cluster.crds_are_served(&["mcpgateways"]);
}

#[tokio::test]
async fn objects_older_than_the_rules_are_refused_one_by_one_and_stop_nothing() {
    // The CRD is the cluster's, so this test has one of its own.
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start("older")));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crd.json");
    std::fs::write(&file, crd_without_rules().to_string()).unwrap();
    apply(cluster, &file);
    apply(cluster, &crate::support::cluster::root().join("crds/mcpgatewayfleets.yaml"));
    let fleet = Fleet::on(cluster, "older", 1).await;
    let any: Api<DynamicObject> =
        Api::namespaced_with(fleet.client.clone(), &fleet.namespace, &ApiResource::erase::<McpGateway>(&()));
    let odd = [
        ("number", json!({"url": 5})),
        ("list", json!(["url"])),
        ("nothing", Value::Null),
        ("credential", json!({"url": "https://h/?token=planted"})),
        ("odd-id", json!({"url": "https://odd.example/", "gatewayId": {"a": 1}})),
    ];
    for (name, spec) in odd {
        let object = serde_json::from_value(json!({
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "metadata": {"name": name}, "spec": spec,
        }));
        any.create(&PostParams::default(), &object.unwrap()).await.unwrap();
    }
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("c", 10.0)]);
    let operator = fleet.operator();
    let reason = |name: &'static str| {
        let any = any.clone();
        async move {
            let object = any.get(name).await.unwrap();
            let conditions = object.data["status"]["conditions"].as_array()?.clone();
            conditions.iter().find(|c| c["type"] == "Accepted")?["reason"].as_str().map(str::to_owned)
        }
    };
    for (name, expected) in [
        ("number", "InvalidUrl"),
        ("list", "InvalidUrl"),
        ("nothing", "InvalidUrl"),
        ("odd-id", "InvalidUrl"),
        ("credential", "CredentialInUrl"),
        ("c", "Valid"),
    ] {
        eventually(&format!("{name} is {expected}"), SOON, || async {
            (reason(name).await? == expected).then_some(())
        })
        .await;
    }
    eventually("the good ones are published", SOON, || async {
        (fleet.sets().await.hot == BTreeSet::from(["http://c.example/mcp".to_owned()])).then_some(())
    })
    .await;

    // With the rules installed over them, the good ones go on, and the bad ones are not written again and again.
    apply(cluster, &crate::support::cluster::root().join("crds"));
    fleet.create("f", "http://f.example/mcp").await;
    eventually("a new object is classified", SOON, || async {
        fleet.sets().await.cold.contains("http://f.example/mcp").then_some(())
    })
    .await;
    let failed = operator.metric("mcpgateway_operator_status_writes_total{outcome=\"refused\"}").await;
    operator.cycles(2).await;
    let later = operator.metric("mcpgateway_operator_status_writes_total{outcome=\"refused\"}").await;
    assert!((failed - later).abs() < 0.5);
    assert!(!operator.log().contains("planted") && !operator.get("/metrics").await.1.contains("planted"));
}
