//! Applying unchanged manifests changes nothing: neither the defaults of the CRD nor the writes of the operator and of
//! kubectl make a difference between manifests and objects. Uses the example fleet in `examples/gitops`.

use serde_json::Value;

use crate::support::cluster::{Cluster, root};
use crate::support::fleet::Fleet;
use crate::support::worker::Row;
use crate::support::{SOON, eventually};

const NAMESPACES: [&str; 2] = ["mcp-production", "mcp-staging"];

fn overlay(namespace: &str) -> String {
    root().join("examples/gitops").join(namespace.trim_start_matches("mcp-")).display().to_string()
}

/// The `McpGateway` objects of a namespace. The namespace itself is left out: a second server-side apply writes it once
/// more, because the API server adds a label and a finalizer that no manifest has.
fn gateways(cluster: &Cluster, namespace: &str) -> Vec<Value> {
    let list = cluster.kubectl_ok(&["get", "mcpgateways", "-n", namespace, "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn versions(gateways: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    gateways.iter().map(|o| (text(&o["metadata"]["name"]), text(&o["metadata"]["resourceVersion"]))).collect()
}

fn reason(object: &Value, kind: &str) -> String {
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.map_or_else(|| "absent".to_owned(), |condition| condition["reason"].as_str().unwrap().to_owned())
}

// The worker answers while kubectl runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn applying_unchanged_manifests_changes_nothing() {
    let fleet = Fleet::new("again", 1).await;
    let row = |name: &str| Row {
        id: None,
        url: Some(format!("https://{name}.example.com/mcp")),
        last_used: mcpgateway_operator::clock::now().seconds(),
        active: 1,
        use_count: 5,
    };
    fleet.workers[0].report(vec![row("wiki"), row("invoices.staging")]);
    let scopes = NAMESPACES.map(|namespace| format!("--watch-namespace={namespace}"));
    let redis = fleet.redis.url();
    // Without the usage refresh, the operator writes nothing while tiers do not change.
    let mut flags = vec!["--redis-url", &redis, "--status-usage-interval", "0s", "--min-hot", "2"];
    flags.extend(scopes.iter().map(String::as_str));
    let operator = fleet.operator_with(&flags);

    for (namespace, how) in NAMESPACES.into_iter().zip([&["apply"][..], &["apply", "--server-side"]]) {
        let folder = overlay(namespace);
        let apply = || fleet.cluster.kubectl_ok(&[how, &["-k", &folder]].concat());
        apply();
        let settled = eventually("every object is classified", SOON, || async {
            let gateways = gateways(fleet.cluster, namespace);
            let settled = ["AboveCut", "BelowCut", "NeverUsed", "Disabled"];
            gateways.iter().all(|object| settled.contains(&&*reason(object, "Classified"))).then_some(gateways)
        })
        .await;
        assert!(settled.len() >= 3, "{namespace}");

        for _ in 0..2 {
            let output = apply();
            assert!(how.len() > 1 || output.lines().all(|line| line.ends_with("unchanged")), "{output}");
        }
        operator.cycles(2).await;
        assert_eq!(versions(&gateways(fleet.cluster, namespace)), versions(&settled), "{namespace}");
        // kubectl exits with 1 if there is a difference.
        let diff = [&["diff"], &how[1..], &["-k", &folder]].concat();
        assert_eq!(fleet.cluster.kubectl_ok(&diff), "", "{namespace}");

        // A manual change is reverted.
        let url = |object: &Value| object["spec"]["url"].as_str().unwrap().to_owned();
        let patch = r#"{"spec":{"url":"https://elsewhere.example.com/mcp"}}"#;
        let by = ["patch", "mcpgateway", "wiki", "-n", namespace, "--type=merge", "-p", patch];
        fleet.cluster.kubectl_ok(&by);
        let force = if how.len() > 1 { &["--force-conflicts"][..] } else { &[] };
        fleet.cluster.kubectl_ok(&[how, force, &["-k", &folder]].concat());
        let after = gateways(fleet.cluster, namespace);
        assert_eq!(after.iter().map(url).collect::<Vec<_>>(), settled.iter().map(url).collect::<Vec<_>>());
        assert_ne!(versions(&after), versions(&settled), "{namespace}");
    }
}
