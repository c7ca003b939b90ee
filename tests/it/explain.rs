//! `explain` and the kubectl plugin, on a real API server with the real kubectl.

use std::os::unix::fs::symlink;
use std::process::{Command, Output, Stdio};

use mcpgateway_operator::api::v1alpha1::PublicationState;
use serde_json::{Value, json};

use crate::support::cluster::{cluster, said};
use crate::support::fleet::{Fleet, condition, used};
use crate::support::operator::binary;
use crate::support::{SOON, eventually};

fn explain(fleet: &Fleet, more: &[&str]) -> Output {
    let mut command = binary();
    command.env("KUBECONFIG", fleet.cluster.kubeconfig()).arg("explain");
    command.args(["--watch-namespace", &fleet.namespace, "--leader-elect-resource-namespace", &fleet.namespace]);
    command.args(more).output().unwrap()
}

fn explanation(fleet: &Fleet, more: &[&str]) -> Value {
    let output = explain(fleet, &[more, &["-o", "json"]].concat());
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Ten servers, of which three are used, and an operator that has classified them.
async fn fleet(test: &str) -> (Fleet, crate::support::operator::Operator) {
    let fleet = Fleet::new(test, 1).await;
    for n in 0..10 {
        fleet.create(&format!("s{n}"), &format!("http://s{n}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("s0", 10.0), used("s1", 20.0), used("s2", 30.0)]);
    let operator = fleet.operator();
    fleet.settled().await;
    (fleet, operator)
}

#[tokio::test]
async fn explain_shows_rank_cut_off_use_and_the_next_polls() {
    let (fleet, _operator) = fleet("explain").await;
    let name = format!("{}/s2", fleet.namespace);
    let redis = fleet.redis.url();
    let found = explanation(&fleet, &[&name, "--redis-url", &redis]);
    assert_eq!(
        (found["tier"].as_str(), found["reason"].as_str(), found["rank"].as_i64()),
        (Some("Cold"), Some("BelowCut"), Some(3))
    );
    assert_eq!(found["cutOff"]["object"], json!(format!("{}/s1", fleet.namespace)));
    assert_eq!(found["fleet"], json!({"servers": 10, "hotCap": 2, "hot": 2, "everUsed": 3}));
    assert_eq!((found["usage"]["active"].as_i64(), found["usage"]["useCount"].as_i64()), (Some(1), Some(5)));
    assert_eq!(found["polls"][0]["reason"], "NeverPolled");
    assert!(found["next"].as_str().unwrap().contains("/s1, the last hot one"), "{found}");
    assert_eq!(found["notes"], json!([]));
    let leader = found["leader"].as_str().unwrap();
    let holder =
        ["get", "lease", "mcpgateway-operator", "-n", &fleet.namespace, "-o", "jsonpath={.spec.holderIdentity}"];
    assert_eq!(leader, fleet.cluster.kubectl_ok(&holder));

    // A completed poll of this gateway is found by its id, and the next one is due after its interval.
    let mut completed = binary();
    completed.args([
        "poll",
        "completed",
        "--url",
        "http://s2.example/mcp",
        "--type",
        "health",
        "--gateway-id",
        "id-s2",
    ]);
    assert!(completed.args(["--redis-url", &redis]).output().unwrap().status.success());
    let found = explanation(&fleet, &[&name, "--redis-url", &redis]);
    let health = &found["polls"][0];
    assert_eq!((health["type"].as_str(), health["due"].as_bool()), (Some("health"), Some(false)), "{found}");
    assert_eq!((health["byGatewayId"].as_bool(), health["reason"].as_str()), (Some(true), Some("NotYetDue")));
    let table = said(&explain(&fleet, &[&name, "--redis-url", &redis]));
    for title in ["Object:", "Server:", "Tier:", "Cut-off:", "Usage:", "To become hot:", "Next health:", "Leader:"] {
        assert!(table.contains(title), "{title} is missing in:\n{table}");
    }
}

#[tokio::test]
async fn explain_shows_the_planned_refresh_and_when_it_is_due() {
    let fleet = Fleet::new("explain-plan", 1).await;
    for n in 0..10 {
        fleet.create(&format!("s{n}"), &format!("http://s{n}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("s0", 10.0), used("s1", 20.0), used("s2", 864_000.0)]);
    let redis = fleet.redis.url();
    let _operator = fleet.operator_with(&["--redis-url", &redis, "--refresh-plan", "usage"]);
    fleet.settled().await;
    let name = format!("{}/s2", fleet.namespace);
    let mut completed = binary();
    completed.args(["poll", "completed", "--url", "http://s2.example/mcp", "--type", "tool_discovery"]);
    assert!(completed.args(["--redis-url", &redis]).output().unwrap().status.success());
    let found = eventually("the fleet object has the plan", SOON, || async {
        let found = explanation(&fleet, &[&name, "--redis-url", &redis]);
        found["refresh"]["lastRung"].is_u64().then_some(found)
    })
    .await;
    let refresh = &found["refresh"];
    assert_eq!((&refresh["lastRung"], &refresh["reason"]), (&json!(6), &json!("LongestInterval")), "{found}");
    assert!(refresh["idleSeconds"].as_u64().unwrap() >= 863_990, "{found}");
    let interval = refresh["intervalSeconds"].as_u64().unwrap();
    assert!((12_960..=14_400).contains(&interval), "{found}");
    let poll = &found["polls"][1];
    assert_eq!((&poll["type"], &poll["due"]), (&json!("tool_discovery"), &json!(false)), "{found}");
    assert_eq!((&poll["planned"], &poll["intervalSeconds"]), (&json!(true), &json!(interval)));
    assert!(poll["lastPoll"].is_string() && poll["nextDue"].is_string(), "{found}");
    let hot = explanation(&fleet, &[&format!("{}/s0", fleet.namespace)]);
    assert_eq!((&hot["refresh"]["reason"], &hot["refresh"]["rung"]), (&json!("Hot"), &json!(0)), "{hot}");
    let table = said(&explain(&fleet, &[&name, "--redis-url", &redis]));
    for part in ["Idle:", "Refreshed:", "rung 6 of 6 (LongestInterval", "by the refresh plan"] {
        assert!(table.contains(part), "{part} is missing in:\n{table}");
    }
}

#[tokio::test]
async fn explain_names_the_owner_of_an_id_and_objects_of_the_same_server() {
    let (fleet, _operator) = fleet("explain-ids").await;
    fleet.create("twin", "http://s0.example/mcp").await;
    fleet.create("second", "http://second.example/mcp").await;
    fleet.edit("second", json!({"gatewayId": "id-s1"})).await;
    eventually("it is refused", SOON, || async {
        (condition(&fleet.get("second").await, "Accepted") == "False/DuplicateGatewayId").then_some(())
    })
    .await;
    let namespace = &fleet.namespace;
    let found = explanation(&fleet, &[&format!("{namespace}/second")]);
    assert_eq!(
        (found["reason"].as_str(), found["idKeptBy"].as_str()),
        (Some("DuplicateGatewayId"), Some(&*format!("{namespace}/s1")))
    );
    let found = explanation(&fleet, &["twin", "-n", namespace]);
    assert_eq!(found["sameServer"], json!([format!("{namespace}/s0")]));
}

#[tokio::test]
async fn an_object_that_cannot_be_explained_says_what_to_do() {
    let cluster = cluster();
    let fleet = Fleet::new("explain-not", 0).await;
    let namespace = fleet.namespace.clone();
    fleet.create("there", "http://there.example/mcp").await;
    let failed = |output: &Output, parts: &[&str]| {
        let text = said(output);
        assert_eq!((output.status.code(), text.trim_end().lines().count()), (Some(1), 1), "{text}");
        parts.iter().for_each(|part| assert!(text.contains(part), "{part} is missing in {text}"));
    };
    failed(&explain(&fleet, &[&format!("{namespace}/nowhere")]), &["no McpGateway nowhere", "kubectl get mcpgateways"]);
    failed(
        &explain(&fleet, &["default/there"]),
        &["no McpGateway there in namespace default", &format!("there is {namespace}/there")],
    );
    // No replica has ever led here.
    let found = explanation(&fleet, &[&format!("{namespace}/there")]);
    assert_eq!(found["reason"], "Pending");
    assert!(found["leader"].as_str().unwrap().starts_with("nobody"), "{found}");

    let stranger = cluster.kubeconfig_as("explain-stranger");
    let mut command = binary();
    command.env("KUBECONFIG", stranger.path()).args(["explain", &format!("{namespace}/there")]);
    failed(&command.output().unwrap(), &["not allowed to get mcpgateways", "kubectl auth can-i"]);

    // A user who may read only this namespace gets this object explained, and what is left out.
    let role = format!("explain-{namespace}");
    cluster.kubectl_ok(&[
        "create",
        "role",
        &role,
        "-n",
        &namespace,
        "--verb=get,list",
        "--resource=mcpgateways.mcpgateway.io",
    ]);
    cluster.kubectl_ok(&["create", "rolebinding", &role, "-n", &namespace, "--role", &role, "--user", &role]);
    let reader = cluster.kubeconfig_as(&role);
    let mut command = binary();
    command.env("KUBECONFIG", reader.path()).args(["explain", &format!("{namespace}/there"), "-o", "json"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(found["notes"].to_string().contains("ask for list"), "{found}");
    assert!(found["leader"].as_str().unwrap().contains("not allowed"), "{found}");
}

#[tokio::test]
async fn kubectl_finds_the_plugin_and_gives_it_cluster_and_namespace() {
    let (fleet, _operator) = fleet("plugin").await;
    let folder = tempfile::tempdir().unwrap();
    symlink(env!("CARGO_BIN_EXE_mcpgateway-operator"), folder.path().join("kubectl-mcpgw")).unwrap();
    // A kubeconfig with two contexts, of which the current one has no server.
    let raw = fleet.cluster.kubectl_ok(&["config", "view", "--raw", "-o", "json"]);
    let mut config: Value = serde_json::from_str(&raw).unwrap();
    let mut own = config["contexts"][0].clone();
    own["name"] = "own".into();
    own["context"]["namespace"] = fleet.namespace.as_str().into();
    let mut nowhere = own.clone();
    nowhere["name"] = "nowhere".into();
    nowhere["context"]["cluster"] = "nowhere".into();
    config["contexts"] = json!([own, nowhere]);
    config["current-context"] = "nowhere".into();
    let clusters = config["clusters"].as_array_mut().unwrap();
    clusters.push(json!({"name": "nowhere", "cluster": {"server": "https://127.0.0.1:1"}}));
    let file = folder.path().join("config");
    std::fs::write(&file, config.to_string()).unwrap();
    let file = file.display().to_string();
    let mcpgw = |arguments: &[&str]| {
        let kubectl = fleet.cluster.kubectl(&[]).get_program().to_owned();
        let mut command = Command::new(kubectl);
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).env_remove("KUBECONFIG").arg("mcpgw").args(arguments).stdin(Stdio::null());
        command.output().unwrap()
    };
    let context = ["--kubeconfig", &file, "--context", "own"];
    eventually("the fleet's status", SOON, || async {
        (fleet.status().await.publication.state == PublicationState::Published).then_some(())
    })
    .await;

    let output = mcpgw(&[&["status"], &context[..]].concat());
    let text = said(&output);
    assert!(output.status.success() && text.starts_with("Leader:") && text.contains("Published"), "{text}");
    let output = mcpgw(&[&["status", "-n", "default"], &context[..]].concat());
    assert!(!output.status.success() && said(&output).contains("in namespace default"), "{}", said(&output));
    let output = mcpgw(&[&["status", "-o", "json"], &context[..]].concat());
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["publication"]["state"], "Published", "{status}");
    // By the namespace of the context, by -n, and with it.
    for named in [
        &["s0"][..],
        &["s0", "-n", &fleet.namespace],
        &["s0", "--namespace", &fleet.namespace],
        &[&format!("{}/s0", fleet.namespace)],
    ] {
        let output = mcpgw(&[&["explain"], named, &context[..]].concat());
        let text = said(&output);
        assert!(output.status.success() && text.contains(&format!("{}/s0", fleet.namespace)), "{named:?}: {text}");
    }
    let output = mcpgw(&["explain", "s0", "--kubeconfig", &file, "--context", "unknown"]);
    assert!(!output.status.success() && said(&output).contains("kubectl config get-contexts"), "{}", said(&output));
    let help = said(&mcpgw(&["explain", "--help"]));
    assert!(help.contains("Usage: kubectl mcpgw explain") && !help.contains("Usage: mcpgateway-operator"), "{help}");
    let wrong = mcpgw(&["explain", "a/b/c"]);
    assert_eq!(wrong.status.code(), Some(2), "kubectl becomes the plugin; {}", said(&wrong));
    let all = said(&mcpgw(&[]));
    assert!(all.contains("kubectl mcpgw") && all.contains("explain") && !all.contains("classify"), "{all}");
}
