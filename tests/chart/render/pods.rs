//! The pods of the operator and of the doctor.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::selects;
use crate::helm::{FILES, Rendered, list, render, render_file, strings, text};

/// The specs of both kinds of pods.
fn pods(rendered: &Rendered) -> [&Value; 2] {
    [&rendered.pod()["spec"], &rendered.one("Pod")["spec"]]
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn pods_are_restricted() {
    for file in FILES {
        for pod in pods(&render_file(file)) {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{file}");
            assert_eq!(security["runAsUser"], 65532, "{file}");
            assert_eq!(security["seccompProfile"], json!({"type": "RuntimeDefault"}), "{file}");
            let container = &pod["containers"][0]["securityContext"];
            assert_eq!(container["allowPrivilegeEscalation"], false, "{file}");
            assert_eq!(container["readOnlyRootFilesystem"], true, "{file}");
            assert_eq!(container["capabilities"], json!({"drop": ["ALL"]}), "{file}");
            assert_eq!(pod["enableServiceLinks"], false, "{file}");
            for field in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod.get(field).is_none(), "{file}: {field}");
            }
            assert_eq!(list(&pod["containers"]).len(), 1, "{file}");
        }
    }
}

/// OpenShift assigns each namespace a range of ids and refuses others.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_cluster_can_assign_the_ids() {
    let rendered = render(&json!({"podSecurityContext": {"runAsUser": null, "runAsGroup": null, "fsGroup": null}}));
    for pod in pods(&rendered) {
        assert_eq!(pod["securityContext"], json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}));
    }
    let recreated = render(&json!({"strategy": {"type": "Recreate", "rollingUpdate": null}}));
    assert_eq!(recreated.one("Deployment")["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn two_replicas_are_spread_and_one_may_be_evicted() {
    let rendered = render(&json!({}));
    let deployment = &rendered.one("Deployment")["spec"];
    assert_eq!(deployment["replicas"], 2);
    assert_eq!(deployment["strategy"]["rollingUpdate"], json!({"maxSurge": 1, "maxUnavailable": 0}));
    let labels = &rendered.pod()["metadata"]["labels"];
    assert!(selects(&deployment["selector"]["matchLabels"], labels));
    let spread = list(&rendered.pod()["spec"]["topologySpreadConstraints"]);
    let keys: Vec<&str> = spread.iter().map(|constraint| text(&constraint["topologyKey"])).collect();
    assert_eq!(keys, ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]);
    for constraint in spread {
        assert!(selects(&constraint["labelSelector"]["matchLabels"], labels), "{constraint}");
    }
    let budget = &rendered.one("PodDisruptionBudget")["spec"];
    assert_eq!(budget["maxUnavailable"], 1);
    assert!(selects(&budget["selector"]["matchLabels"], labels));
    // A custom labelSelector is kept.
    let own = json!({"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}});
    let rendered = render(&json!({"topologySpreadConstraints": [own]}));
    assert_eq!(rendered.pod()["spec"]["topologySpreadConstraints"], json!([own]));
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn probes_use_the_served_port() {
    for (values, port) in [(json!({}), 8081), (json!({"health": {"port": 9000}}), 9000)] {
        let rendered = render(&values);
        let container = &rendered.pod()["spec"]["containers"][0];
        for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "health"}));
        }
        let ports = list(&container["ports"]);
        assert!(ports.contains(&json!({"name": "health", "containerPort": port})), "{ports:?}");
        assert!(rendered.arguments().contains(&format!("--health-probe-bind-address=:{port}")));
        assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError");
    }
}

/// Every file in the arguments is mounted, for both kinds of pods.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn every_file_in_the_arguments_is_mounted() {
    const PATH: &str = "/etc/mcpgateway-operator/";
    let mut seen = BTreeSet::new();
    for file in FILES {
        for pod in pods(&render_file(file)) {
            let container = &pod["containers"][0];
            let mounts = list(&container["volumeMounts"]);
            let volumes = list(&pod["volumes"]);
            for mount in mounts {
                assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{file}: {mount}");
            }
            let credentials = volumes.iter().find(|volume| volume["name"] == "credentials");
            let sources = credentials.map(|volume| list(&volume["projected"]["sources"])).unwrap_or_default();
            let projected: BTreeSet<String> = sources
                .iter()
                .flat_map(|source| source.as_object().unwrap().values())
                .flat_map(|source| list(&source["items"]))
                .map(|item| text(&item["path"]).to_owned())
                .collect();
            for argument in strings(&container["args"]).iter().filter(|argument| argument.contains("-file=")) {
                let path = argument.split_once(&format!("={PATH}")).expect("a mounted path").1;
                assert!(projected.contains(path), "{file}: {argument} is not in {projected:?}");
                assert!(mounts.iter().any(|mount| mount["mountPath"] == PATH.trim_end_matches('/')));
                seen.insert(path.to_owned());
            }
        }
    }
    assert_eq!(seen.len(), 11, "{seen:?}");
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn no_manifest_contains_a_password() {
    // The URL may contain a password, so it comes from a Secret as an environment variable.
    let redis =
        json!({"redis": {"url": "", "existingSecret": "contextforge", "urlKey": "REDIS_URL", "passwordKey": ""}});
    let rendered = render(&redis);
    for pod in pods(&rendered) {
        let variable = &pod["containers"][0]["env"][0];
        assert_eq!(variable["name"], "MCPGW_REDIS_URL");
        assert_eq!(variable["valueFrom"]["secretKeyRef"], json!({"name": "contextforge", "key": "REDIS_URL"}));
        assert!(!strings(&pod["containers"][0]["args"]).iter().any(|argument| argument.contains("redis-url")));
        assert!(pod.get("volumes").is_none());
    }
    assert!(rendered.arguments().contains(&"--redis-key-prefix=mcpgateway".to_owned()));
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn additions_are_rendered_and_break_no_selector() {
    let rendered = render_file("ci/everything-values.yaml");
    let (pod, spec) = (rendered.pod(), &rendered.pod()["spec"]);
    let container = &spec["containers"][0];
    assert_eq!(pod["metadata"]["labels"]["sidecar"], "none");
    // Values cannot override the labels of the selector.
    assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/component"], "operator");
    assert_eq!(pod["metadata"]["annotations"]["example.com/log"], "yes");
    let deployment = &rendered.one("Deployment")["metadata"];
    assert_eq!(deployment["labels"]["tier"], "control");
    assert_eq!(deployment["annotations"]["example.com/reload"], "true");
    assert!(list(&container["env"]).contains(&json!({"name": "RUST_BACKTRACE", "value": "1"})));
    assert_eq!(container["envFrom"], json!([{"configMapRef": {"name": "proxy", "optional": true}}]));
    assert!(list(&container["volumeMounts"]).contains(&json!({"name": "scratch", "mountPath": "/scratch"})));
    assert!(list(&spec["volumes"]).contains(&json!({"name": "scratch", "emptyDir": {}})));
    assert_eq!(rendered.arguments().last().unwrap(), "--worker-endpoint=https://10.0.0.8:9180/mcpgateway/usage");
    assert_eq!(rendered.one("ServiceAccount")["metadata"]["annotations"]["example.com/role"], "tiers");
    let image =
        "registry.example:5000/mcp/operator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for pod in pods(&rendered) {
        assert_eq!(pod["containers"][0]["image"], image);
        assert_eq!(pod["containers"][0]["imagePullPolicy"], "Always");
        assert_eq!(pod["imagePullSecrets"], json!([{"name": "pull"}]));
        assert_eq!(pod["serviceAccountName"], "tiers");
        assert_eq!(pod["priorityClassName"], "system-cluster-critical");
        assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
        assert_eq!(pod["tolerations"][0]["key"], "dedicated");
    }
    assert!(spec["affinity"]["nodeAffinity"].is_object());
    let plain = render(&json!({"image": {"repository": "r/o", "tag": "v2"}}));
    assert_eq!(plain.pod()["spec"]["containers"][0]["image"], "r/o:v2");
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_doctor_has_the_flags_of_the_operator() {
    for file in FILES {
        let rendered = render_file(file);
        let doctor = rendered.one("Pod");
        assert_eq!(doctor["metadata"]["annotations"]["helm.sh/hook"], "test");
        assert_eq!(doctor["spec"]["restartPolicy"], "Never");
        let arguments = strings(&doctor["spec"]["containers"][0]["args"]);
        assert_eq!(arguments[0], "doctor");
        let of_operator = rendered.arguments();
        for argument in &arguments[1..] {
            assert!(of_operator.contains(argument), "{file}: {argument}");
        }
        let shared = [
            "--watch-",
            "--worker-",
            "--redis-",
            "--contextforge-",
            "--hot-poll",
            "--cold-poll",
            "--leader-elect-resource-",
            "--max-report",
        ];
        let own = [
            "--redis-lock-takeover=",
            "--worker-endpoint=https://10.0.0.8",
            "--contextforge-resync=",
            "--contextforge-owner-id=",
        ];
        let starts = |argument: &String, with: &[&str]| with.iter().any(|with| argument.starts_with(with));
        for argument in of_operator.iter().filter(|argument| starts(argument, &shared) && !starts(argument, &own)) {
            assert!(arguments.contains(argument), "{file}: the doctor lacks {argument}");
        }
        // No selector of the operator matches the doctor's pod.
        let selector = &rendered.one("Deployment")["spec"]["selector"]["matchLabels"];
        assert!(!selects(selector, &doctor["metadata"]["labels"]));
    }
}
