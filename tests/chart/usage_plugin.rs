//! The plugin for `ContextForge`: what the chart renders for it, what upgrades keep, and the patch of the Deployment.

use std::collections::BTreeMap;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::helm::{NAMESPACE, RELEASE, Rendered, chart, list, render, render_file, text};
use super::install::Server;
use crate::support::cluster::{root, said};

/// The Deployment, the label and the namespace of `ContextForge`'s chart.
pub const DEPLOYMENT: &str = "contextforge-mcp-stack-mcpgateway";
pub const GATEWAYS: &str = "gateways";

/// These values of the plugin on top of the required ones.
pub fn with_plugin(values: &Value) -> Value {
    let mut plugin = json!({
        "enabled": true, "namespace": GATEWAYS, "podLabels": {"app": DEPLOYMENT}, "pluginsFile": "plugins: []",
    });
    let own = plugin.as_object_mut().unwrap();
    own.extend(values.as_object().unwrap().clone());
    json!({"workers": {"services": []}, "contextForge": {"plugin": plugin}})
}

/// The ConfigMap with the plugin.
pub fn plugin(rendered: &Rendered) -> &Value {
    let all = rendered.all("ConfigMap");
    all.into_iter().find(|object| !object["binaryData"].is_null()).expect("the plugin")
}

fn plugins_file(rendered: &Rendered) -> Value {
    serde_saphyr::from_str(text(&plugin(rendered)["data"]["plugins.yaml"])).unwrap()
}

fn patch(rendered: &Rendered) -> &str {
    text(&rendered.named("ConfigMap", "mcpgateway-operator-usage-patch")["data"]["patch.yaml"])
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_plugin_is_off_by_default_and_complete_when_it_is_on() {
    assert!(!render(&json!({})).text.contains("usage-plugin"));

    let rendered = render(&with_plugin(&json!({})));
    let config_map = plugin(&rendered);
    assert_eq!((&config_map["metadata"]["namespace"], &config_map["immutable"]), (&json!(GATEWAYS), &json!(true)));
    let archive = std::fs::read(chart().join("files/mcpgateway_usage.zip")).unwrap();
    assert_eq!(STANDARD.decode(text(&config_map["binaryData"]["mcpgateway_usage.zip"])).unwrap(), archive);
    // An update of it by a tool that sends the whole object fits into the annotation that some tools write.
    assert!(rendered.text.len() < 262_144 && config_map.to_string().len() < 130_000);

    let service = rendered.named("Service", "mcpgateway-operator-usage");
    let hash = text(&service["metadata"]["labels"]["mcpgateway.io/usage-plugin-hash"]);
    assert!(text(&config_map["metadata"]["name"]).ends_with(&format!("-{hash}")), "{hash}");
    let port = json!({"name": "usage", "port": 9180, "targetPort": 9180});
    let spec = json!({
        "clusterIP": "None", "publishNotReadyAddresses": true, "selector": {"app": DEPLOYMENT}, "ports": [port],
    });
    assert_eq!(service["spec"], spec);

    let secrets = rendered.all("Secret");
    let namespaces: Vec<&str> = secrets.iter().map(|secret| text(&secret["metadata"]["namespace"])).collect();
    assert_eq!(namespaces, [NAMESPACE, GATEWAYS]);
    assert_eq!(secrets[0]["data"], secrets[1]["data"]);
    let token = STANDARD.decode(text(&secrets[0]["data"]["token"])).unwrap();
    assert!(token.len() == 48 && token.is_ascii());

    // The operator reads the report of this Service with this token, and may.
    let arguments = rendered.arguments();
    for argument in [
        "--worker-service=gateways/mcpgateway-operator-usage:usage",
        "--worker-token-file=/etc/mcpgateway-operator/workers/token",
    ] {
        assert!(arguments.contains(&argument.to_owned()), "{argument}: {arguments:?}");
    }
    let sources = &rendered.pod()["spec"]["volumes"][0]["projected"]["sources"];
    let item = json!({"key": "token", "path": "workers/token"});
    assert_eq!(*sources, json!([{"secret": {"name": "mcpgateway-operator-usage-token", "items": [item]}}]));
    let role = rendered.named("Role", "mcpgateway-system-mcpgateway-operator-workers");
    assert_eq!(role["metadata"]["namespace"], GATEWAYS);
    assert!(rendered.all("NetworkPolicy").is_empty() && rendered.all("MutatingAdmissionPolicy").is_empty());

    // ContextForge in the operator's namespace: one Secret.
    assert_eq!(render(&with_plugin(&json!({"namespace": NAMESPACE}))).all("Secret").len(), 1);
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_plugins_file_keeps_what_it_has() {
    let entry = json!({
        "name": "Usage", "kind": "mcpgateway_usage.plugin.UsagePlugin", "mode": "audit", "on_error": "ignore",
        "hooks": ["tool_pre_invoke", "prompt_post_fetch", "resource_post_fetch"], "priority": 1000,
        "config": {"port": 9180, "token_file": "/var/run/secrets/mcpgateway-usage/token"},
    });
    let empty = render(&with_plugin(&json!({})));
    assert_eq!(plugins_file(&empty), json!({"plugin_dirs": [], "plugins": [entry]}));

    let rendered = render_file("ci/plugin-values.yaml");
    let other = json!({
        "name": "Filter", "kind": "filters.Filter", "mode": "enforce", "config": {"limit": "{{ env.LIMIT }}"},
    });
    let mut own = entry;
    own["config"]["port"] = 9181.into();
    own["config"]["cold_health_interval"] = "5m".into();
    assert_eq!(plugins_file(&rendered), json!({"plugin_dirs": ["plugins/native"], "plugins": [other, own]}));
    assert!(rendered.all("Secret").is_empty());
    let pod: Value = serde_saphyr::from_str(patch(&rendered)).unwrap();
    let container = &pod["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["name"], "gateway");
    assert_eq!(container["env"][2]["value"], "/opt/mcpgateway-usage/mcpgateway_usage.zip:/app:/more");
    let secret = &pod["spec"]["template"]["spec"]["volumes"][1]["secret"];
    assert_eq!((&secret["secretName"], &secret["items"][0]["key"]), (&json!("usage"), &json!("bearer")));
}

/// Its name changes with its content, and only then: an immutable object cannot be changed in place.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_name_of_the_plugin_follows_its_content() {
    let name = |values: &Value| {
        let rendered = render(&with_plugin(values));
        let name = text(&plugin(&rendered)["metadata"]["name"]).to_owned();
        assert!(patch(&rendered).contains(&name));
        name
    };
    let first = name(&json!({}));
    assert_eq!(name(&json!({"containerName": "other", "networkPolicy": {"enabled": true}})), first);
    assert_ne!(name(&json!({"coldHealthInterval": "5m"})), first);
    assert_ne!(name(&json!({"pluginsFile": "plugins: [{name: a}]"})), first);
    let digits = first.strip_prefix("mcpgateway-operator-usage-plugin-").expect("its name");
    assert!(digits.len() == 10 && digits.chars().all(|digit| digit.is_ascii_hexdigit()), "{first}");
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_policy_opens_the_port_to_the_operator_only() {
    let rules = |values: &Value| {
        let rendered = render(&with_plugin(values));
        let policy = rendered.named("NetworkPolicy", "mcpgateway-operator-usage");
        assert_eq!(policy["metadata"]["namespace"], GATEWAYS);
        assert_eq!(policy["spec"]["podSelector"]["matchLabels"], json!({"app": DEPLOYMENT}));
        let rules = list(&policy["spec"]["ingress"]).to_vec();
        assert_eq!(rules[0]["ports"], json!([{"port": 9180}]));
        let from = &rules[0]["from"][0];
        assert_eq!(from["namespaceSelector"]["matchLabels"], json!({"kubernetes.io/metadata.name": NAMESPACE}));
        let labels = &rendered.pod()["metadata"]["labels"];
        let wanted = from["podSelector"]["matchLabels"].as_object().unwrap();
        assert!(!wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value));
        rules
    };
    // A policy that selects a pod closes its other ports too, ContextForge's own among them.
    let open = rules(&json!({"networkPolicy": {"enabled": true}}));
    let others = json!([{"port": 1, "endPort": 9179}, {"port": 9181, "endPort": 65535}]);
    assert_eq!((open.len(), &open[1]), (2, &json!({"ports": others})));
    assert_eq!(rules(&json!({"networkPolicy": {"enabled": true, "otherPorts": false}})).len(), 1);
}

/// Of each object: its uid and data.
fn objects(server: &Server, kind: &str) -> BTreeMap<String, Value> {
    let all = server.0.kubectl_ok(&["get", kind, "-A", "-o", "json", "-l", "app.kubernetes.io/component=usage-plugin"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    let pairs = list(&all["items"]).iter().map(|object| {
        let metadata = &object["metadata"];
        let name = format!("{}/{}", text(&metadata["namespace"]), text(&metadata["name"]));
        (name, json!([metadata["uid"], object["data"], object["binaryData"]]))
    });
    pairs.collect()
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn upgrades_keep_the_token_and_the_plugins_that_pods_may_mount() {
    let server = Server::in_turn();
    server.0.kubectl_ok(&["-n", GATEWAYS, "delete", "configmaps", "--all"]);
    let install = |values: &Value| server.install(RELEASE, &chart(), &with_plugin(values));
    install(&json!({}));
    let (first, tokens) = (objects(&server, "configmaps"), objects(&server, "secrets"));
    assert_eq!((first.len(), tokens.len()), (2, 2));
    install(&json!({}));
    assert_eq!(objects(&server, "configmaps"), first);
    install(&json!({"coldHealthInterval": "5m"}));
    assert_eq!(objects(&server, "secrets"), tokens);
    let second = objects(&server, "configmaps");
    let old = first.keys().find(|name| name.contains("-plugin-")).unwrap();
    assert_eq!((second.len(), &second[old]), (3, &first[old]));
    server.helm_ok(&["rollback", RELEASE, "1"]);
    assert_eq!((objects(&server, "configmaps").len(), objects(&server, "secrets")), (3, tokens));

    // Nobody changes the code in place.
    let name = old.split_once('/').unwrap().1;
    let change = r#"{"data":{"plugins.yaml":"plugins: []"}}"#;
    let mut change = server.0.kubectl(&["-n", GATEWAYS, "patch", "configmap", name, "--type=merge", "-p", change]);
    let output = change.output().unwrap();
    assert!(!output.status.success() && said(&output).contains("immutable"), "{}", said(&output));

    // Pods that mount it can start again after an uninstall, and the same release takes it back.
    server.helm_ok(&["uninstall", RELEASE]);
    assert_eq!(objects(&server, "configmaps").len(), 2);
    assert_eq!(objects(&server, "secrets").len(), 0);
    install(&json!({}));
    assert_eq!(objects(&server, "configmaps")[old], first[old]);
}

/// `ContextForge`'s Deployment, reduced to what matters here.
fn deployment() -> Value {
    let labels = json!({"app": DEPLOYMENT});
    let password = json!({"secretKeyRef": {"name": "redis", "key": "REDIS_PASSWORD"}});
    let container = json!({
        "name": "mcp-context-forge", "image": "contextforge", "securityContext": {"readOnlyRootFilesystem": true},
        "env": [
            {"name": "REDIS_PASSWORD", "valueFrom": password},
            {"name": "REDIS_URL", "value": "redis://:$(REDIS_PASSWORD)@redis:6379/0"},
        ],
        "envFrom": [{"configMapRef": {"name": "contextforge-mcp-stack-gateway-config"}}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": DEPLOYMENT, "namespace": GATEWAYS},
        "spec": {"selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]},
        }},
    })
}

/// A chart with this Deployment.
fn chart_of(deployment: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Chart.yaml"), "apiVersion: v2\nname: mcp-stack\nversion: 1.0.0\n").unwrap();
    std::fs::create_dir(folder.path().join("templates")).unwrap();
    std::fs::write(folder.path().join("templates/deployment.yaml"), deployment.to_string()).unwrap();
    folder
}

/// The pod template, with lists whose order means nothing sorted by name.
fn sorted(mut template: Value) -> Value {
    let spec = &mut template["spec"];
    for pointer in ["/volumes", "/containers/0/env", "/containers/0/volumeMounts"] {
        let items = spec.pointer_mut(pointer).unwrap().as_array_mut().unwrap();
        items.sort_by_key(|item| item["name"].to_string());
    }
    template
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_patch_adds_the_plugin_once_and_upgrades_of_contextforge_keep_it() {
    let server = Server::in_turn();
    let mut object = deployment();
    let first = chart_of(&object);
    let upgrade = |chart: &tempfile::TempDir| {
        let chart = chart.path().display().to_string();
        server.helm_ok(&["upgrade", "--install", "contextforge", &chart])
    };
    upgrade(&first);
    let read = || -> Value {
        let read = server.0.kubectl_ok(&["-n", GATEWAYS, "get", "deployment", DEPLOYMENT, "-o", "json"]);
        serde_json::from_str(&read).unwrap()
    };
    let before = read();
    let rendered = render(&with_plugin(&json!({})));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("patch.yaml");
    std::fs::write(&path, patch(&rendered)).unwrap();
    let path = path.display().to_string();
    let apply = ["-n", GATEWAYS, "patch", "deployment", DEPLOYMENT, "--patch-file", &path];
    server.0.kubectl_ok(&apply);
    let patched = read();
    let pod = &patched["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["configMap"]["name"], plugin(&rendered)["metadata"]["name"]);
    let container = &pod["containers"][0];
    for name in ["PLUGINS_ENABLED", "PLUGINS_CONFIG_FILE", "PYTHONPATH"] {
        assert!(list(&container["env"]).iter().any(|variable| variable["name"] == name), "{container}");
    }
    // Nothing that was there is gone, and the order of its variables is the same.
    let old = &before["spec"]["template"]["spec"]["containers"][0];
    assert!(list(&container["env"]).ends_with(list(&old["env"])), "{container}");
    for key in ["envFrom", "securityContext", "image"] {
        assert_eq!(container[key], old[key]);
    }
    assert!(server.0.kubectl_ok(&apply).contains("no change"));
    assert_eq!(read()["metadata"]["generation"], patched["metadata"]["generation"]);

    // The next release of ContextForge.
    object["spec"]["template"]["spec"]["containers"][0]["image"] = "contextforge:next".into();
    upgrade(&chart_of(&object));
    let mut upgraded = read()["spec"]["template"].clone();
    assert_eq!(upgraded["spec"]["containers"][0]["image"], "contextforge:next");
    upgraded["spec"]["containers"][0]["image"] = "contextforge".into();
    assert_eq!(sorted(upgraded), sorted(patched["spec"]["template"].clone()));
    server.helm_ok(&["uninstall", "contextforge"]);

    // The component does the same.
    let parts = folder.path().join("component");
    let copied = Command::new("cp").arg("-R").arg(root().join(COMPONENT)).arg(&parts).status().unwrap();
    assert!(copied.success());
    std::fs::write(folder.path().join("deployment.yaml"), deployment().to_string()).unwrap();
    let overlay = "resources: [deployment.yaml]\ncomponents: [component]\n";
    std::fs::write(folder.path().join("kustomization.yaml"), overlay).unwrap();
    server.0.kubectl_ok(&["apply", "-k", &folder.path().display().to_string()]);
    assert_eq!(sorted(read()["spec"]["template"].clone()), sorted(patched["spec"]["template"].clone()));
    server.0.kubectl_ok(&["-n", GATEWAYS, "delete", "deployment", DEPLOYMENT]);
}

const COMPONENT: &str = "integrations/contextforge/kustomize";

/// `BLESS=1` rewrites it.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_committed_patch_is_the_one_that_the_chart_renders() {
    let rendered = render(&with_plugin(&json!({})));
    let path = root().join(COMPONENT).join("patch.yaml");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, patch(&rendered)).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == patch(&rendered), "out of date: run `make generate`");
}
