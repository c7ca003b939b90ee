//! The admission policy that adds the plugin to pods of `ContextForge`, on a real API server.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::helm::{NAMESPACE, RELEASE, Rendered, chart, file, helm, least_and, list, render, text};
use super::install::Server;
use super::usage_plugin::{GATEWAYS, plugin, with_plugin};
use crate::support::cluster::said;

const LABEL: &str = "mcpgateway.io/usage-plugin";
const ARCHIVE: &str = "/opt/mcpgateway-usage/mcpgateway_usage.zip";
const FILE: &str = "/opt/mcpgateway-usage/plugins.yaml";

/// How long a changed policy may take until the API server applies it.
const IN_FORCE: Duration = Duration::from_secs(30);

fn with_injection(values: &Value) -> Value {
    let mut values = values.clone();
    values["injection"]["enabled"] = true.into();
    least_and(&with_plugin(&values))
}

fn rendered(values: &Value) -> Rendered {
    let mut command = helm();
    command.args(["template", RELEASE, "--namespace", NAMESPACE]);
    command.args(["--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy", "--values"]);
    Rendered::of(&command.arg(file(&with_injection(values)).path()).arg(chart()).output().unwrap())
}

/// A pod with the label and these containers.
fn pod(containers: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "contextforge", "namespace": GATEWAYS, "labels": {LABEL: "enabled"}},
        "spec": {"automountServiceAccountToken": false, "containers": containers},
    })
}

/// `ContextForge`'s container with these fields.
fn container(fields: &Value) -> Value {
    let mut container = json!({"name": "mcp-context-forge", "image": "contextforge"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    container
}

/// A pod whose only container has these variables.
fn with_env(env: &Value) -> Value {
    pod(&json!([container(&json!({"env": env}))]))
}

/// What the API server makes of an object.
fn created(server: &Server, pod: &Value) -> Value {
    let object = file(pod);
    let path = object.path().display().to_string();
    let output = server.0.kubectl(&["create", "--dry-run=server", "-o", "json", "-f", &path]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether a pod has all of the plugin. It must not have a part of it.
fn is_injected(pod: &Value) -> bool {
    let spec = pod["spec"].to_string();
    let parts = [FILE, ARCHIVE, "mcpgateway-operator-usage-plugin-", "mcpgateway-operator-usage-token"];
    let found = parts.iter().filter(|part| spec.contains(**part)).count();
    assert!([0, parts.len()].contains(&found), "{spec}");
    found > 0
}

/// Waits until a pod is injected with this plugin.
fn in_force(server: &Server, plugin: &str) {
    let deadline = Instant::now() + IN_FORCE;
    loop {
        let pod = created(server, &with_env(&json!([])));
        if pod["spec"]["volumes"].to_string().contains(plugin) {
            return;
        }
        assert!(Instant::now() < deadline, "not injected: {pod}");
    }
}

/// Installs the chart with these values, and waits for the policy. Returns the name of the plugin.
fn install(server: &Server, values: &Value) -> String {
    server.install(RELEASE, &chart(), &with_injection(values));
    // The types of every expression fit.
    let status = server.0.kubectl_ok(&["get", "mutatingadmissionpolicies", "-o", "jsonpath={.items[*].status}"]);
    assert!(!status.contains("expressionWarnings"), "{status}");
    let plugin = text(&plugin(&rendered(values))["metadata"]["name"]).to_owned();
    in_force(server, &plugin);
    plugin
}

/// The value of a variable, of which there must be one.
fn value<'pod>(pod: &'pod Value, name: &str) -> &'pod str {
    let env = list(&pod["spec"]["containers"][0]["env"]);
    let found: Vec<&Value> = env.iter().filter(|variable| variable["name"] == name).collect();
    assert!(found.len() == 1 && found[0].get("valueFrom").is_none(), "{name}: {env:?}");
    text(&found[0]["value"])
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_policy_is_rendered_on_request_and_names_namespace_and_label() {
    assert!(!render(&with_plugin(&json!({}))).text.contains("MutatingAdmissionPolicy"));
    let rendered = rendered(&json!({"injection": {"label": "app=contextforge"}}));
    let spec = &rendered.one("MutatingAdmissionPolicy")["spec"];
    assert_eq!((&spec["failurePolicy"], &spec["reinvocationPolicy"]), (&json!("Ignore"), &json!("Never")));
    let matched = &spec["matchConstraints"];
    let namespace = json!({"matchLabels": {"kubernetes.io/metadata.name": GATEWAYS}});
    assert_eq!(matched["namespaceSelector"], namespace);
    assert_eq!(matched["objectSelector"], json!({"matchLabels": {"app": "contextforge"}}));
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    assert_eq!(matched["resourceRules"], json!([rule]));
    let binding = rendered.one("MutatingAdmissionPolicyBinding");
    let name = &rendered.one("MutatingAdmissionPolicy")["metadata"]["name"];
    assert_eq!(binding["spec"], json!({"policyName": name}));
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn pods_of_the_label_get_the_plugin_and_lose_nothing() {
    let server = Server::in_turn();
    let plugin = install(&server, &json!({}));

    // A pod without variables, mounts and volumes.
    let bare = created(&server, &pod(&json!([container(&json!({}))])));
    assert!(is_injected(&bare));
    let python_path = format!("{ARCHIVE}:/app");
    let env = [("PYTHONPATH", python_path.as_str()), ("PLUGINS_ENABLED", "true"), ("PLUGINS_CONFIG_FILE", FILE)];
    let env = env.map(|(name, value)| json!({"name": name, "value": value}));
    assert_eq!(list(&bare["spec"]["containers"][0]["env"]), env);
    let volumes = list(&bare["spec"]["volumes"]);
    assert_eq!(volumes[0]["configMap"]["name"], *plugin);
    assert!(volumes[0]["configMap"].get("optional").is_none());
    let secret = &volumes[1]["secret"];
    assert_eq!((&secret["secretName"], &secret["optional"]), (&json!("mcpgateway-operator-usage-token"), &json!(true)));
    let mounts = [
        json!({"name": "mcpgateway-usage-plugin", "mountPath": "/opt/mcpgateway-usage", "readOnly": true}),
        json!({"name": "mcpgateway-usage-token", "mountPath": "/var/run/secrets/mcpgateway-usage", "readOnly": true}),
    ];
    assert_eq!(list(&bare["spec"]["containers"][0]["volumeMounts"]), mounts);

    // A pod with everything, also a variable twice, and other containers around.
    let env = json!([
        {"name": "A", "value": "1"}, {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "PLUGINS_ENABLED", "value": "True"}, {"name": "PYTHONPATH", "value": "/app:$(A)/lib"},
        {"name": "A", "value": "2"},
    ]);
    let fields = json!({
        "env": env, "envFrom": [{"configMapRef": {"name": "config"}}],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    });
    let side = json!({"name": "side", "image": "side", "env": [{"name": "PYTHONPATH", "value": "/side"}]});
    let mut full = pod(&json!([side, container(&fields), {"name": "last", "image": "last"}]));
    full["spec"]["volumes"] = json!([{"name": "tmp", "emptyDir": {}}]);
    full["spec"]["initContainers"] = json!([{"name": "mcp-context-forge-init", "image": "init"}]);
    let added = created(&server, &full);
    assert!(is_injected(&added));
    // Without the label the same pod stays as it is, which shows the API server's own defaults.
    let mut plain = full.clone();
    plain["metadata"]["labels"] = json!({});
    let mut expected = created(&server, &plain);
    assert!(!is_injected(&expected));
    let container = &mut expected["spec"]["containers"][1];
    let env = container["env"].as_array_mut().unwrap();
    env[3]["value"] = format!("{ARCHIVE}:/app:$(A)/lib").into();
    env.push(json!({"name": "PLUGINS_CONFIG_FILE", "value": FILE}));
    container["volumeMounts"].as_array_mut().unwrap().extend(mounts);
    let all = expected["spec"]["volumes"].as_array_mut().unwrap();
    all.extend(volumes.to_vec());
    assert_eq!(added["spec"], expected["spec"]);

    // A second time, also of the result, gives the same.
    assert_eq!(created(&server, &full)["spec"], added["spec"]);
    let mut again = added.clone();
    again["metadata"] = full["metadata"].clone();
    again.as_object_mut().unwrap().remove("status");
    assert_eq!(created(&server, &again)["spec"], added["spec"]);
    // A pod that is really created is what the dry run showed.
    server.0.kubectl_ok(&["create", "-f", &file(&full).path().display().to_string()]);
    let real = server.0.kubectl_ok(&["-n", GATEWAYS, "get", "pod", "contextforge", "-o", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&real).unwrap()["spec"], added["spec"]);
    // Changes of a pod, such as another label, are no matter of the policy.
    server.0.kubectl_ok(&["-n", GATEWAYS, "label", "pod", "contextforge", "a=b"]);
    server.0.kubectl_ok(&["-n", GATEWAYS, "delete", "pod", "contextforge", "--now"]);

    // An empty PYTHONPATH has nothing that could follow.
    for empty in [json!({"name": "PYTHONPATH"}), json!({"name": "PYTHONPATH", "value": ""})] {
        assert_eq!(value(&created(&server, &with_env(&json!([empty]))), "PYTHONPATH"), ARCHIVE);
    }

    // The next plugin is in the pods that are created from then on.
    let next = install(&server, &json!({"coldHealthInterval": "5m"}));
    assert_ne!(next, plugin);
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn pods_that_would_lose_something_stay_as_they_are() {
    let server = Server::in_turn();
    install(&server, &json!({}));
    let reference = json!({"configMapKeyRef": {"name": "config", "key": "path"}});
    let mounted_at = |path: &str| {
        let mut pod = pod(&json!([container(&json!({"volumeMounts": [{"name": "own", "mountPath": path}]}))]));
        pod["spec"]["volumes"] = json!([{"name": "own", "emptyDir": {}}]);
        pod
    };
    let mut elsewhere = with_env(&json!([]));
    elsewhere["metadata"]["namespace"] = "team-a".into();
    let mut other_value = with_env(&json!([]));
    other_value["metadata"]["labels"][LABEL] = "disabled".into();
    let mut other_container = with_env(&json!([]));
    other_container["spec"]["containers"][0]["name"] = "gateway".into();
    let mut volume = with_env(&json!([]));
    volume["spec"]["volumes"] = json!([{"name": "mcpgateway-usage-token", "emptyDir": {}}]);
    let twice = json!([{"name": "PYTHONPATH", "value": "/a"}, {"name": "PYTHONPATH", "value": "/b"}]);
    for (why, pod) in [
        ("another namespace", elsewhere),
        ("another label", other_value),
        ("another container", other_container),
        ("a plugins file", with_env(&json!([{"name": "PLUGINS_CONFIG_FILE", "value": "plugins/config.yaml"}]))),
        (
            "a plugins file from a reference",
            with_env(&json!([{"name": "PLUGINS_CONFIG_FILE", "valueFrom": reference}])),
        ),
        ("plugins that are off", with_env(&json!([{"name": "PLUGINS_ENABLED", "value": "false"}]))),
        ("plugins from a reference", with_env(&json!([{"name": "PLUGINS_ENABLED", "valueFrom": reference}]))),
        ("PYTHONPATH from a reference", with_env(&json!([{"name": "PYTHONPATH", "valueFrom": reference}]))),
        ("PYTHONPATH twice", with_env(&twice)),
        ("a volume of this name", volume),
        ("a mount at the plugin's path", mounted_at("/opt/mcpgateway-usage")),
        ("a mount at the token's path", mounted_at("/var/run/secrets/mcpgateway-usage")),
    ] {
        assert!(!is_injected(&created(&server, &pod)), "{why}");
    }
    // Variables of other containers do not count.
    let mut side = json!({"name": "side", "image": "side"});
    side["env"] = json!([{"name": "PLUGINS_CONFIG_FILE", "value": "a"}]);
    assert!(is_injected(&created(&server, &pod(&json!([side, container(&json!({}))])))));
    assert!(is_injected(&created(&server, &mounted_at("/elsewhere"))));

    // A container of another name, and another label.
    let values = json!({"containerName": "gateway", "injection": {"label": "app=contextforge"}});
    server.install(RELEASE, &chart(), &with_injection(&values));
    let mut own = with_env(&json!([]));
    own["metadata"]["labels"] = json!({"app": "contextforge"});
    own["spec"]["containers"][0]["name"] = "gateway".into();
    let deadline = Instant::now() + IN_FORCE;
    while !is_injected(&created(&server, &own)) {
        assert!(Instant::now() < deadline, "not injected");
    }
    assert!(!is_injected(&created(&server, &with_env(&json!([])))));

    // Without the release pods are created as before.
    server.helm_ok(&["uninstall", RELEASE]);
    let deadline = Instant::now() + IN_FORCE;
    while is_injected(&created(&server, &own)) {
        assert!(Instant::now() < deadline, "still injected");
    }
}
