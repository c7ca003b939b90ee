//! Installs, upgrades, rolls back, uninstalls and reinstalls the chart on a real API server. No pods run here.

use std::path::Path;
use std::process::Output;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::helm::{FILES, NAMESPACE, RELEASE, chart, file, helm, least_and, render_file, template, text};
use super::render::CRDS;
use super::usage_plugin::GATEWAYS;
use crate::support::cluster::{Cluster, root, said};

/// The control plane of these tests, which use it one at a time.
pub struct Server(pub Cluster);

impl Server {
    /// Waits for its turn. There is neither a release nor a CRD then.
    pub fn in_turn() -> MutexGuard<'static, Self> {
        static SERVER: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(Server::start()));
        // A failed test leaves its objects behind. The next one removes them.
        let server = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        for namespace in [NAMESPACE, "team-a"] {
            let mut list = helm();
            let list =
                list.env("KUBECONFIG", server.0.kubeconfig()).args(["list", "--short", "--namespace", namespace]);
            let releases = String::from_utf8(list.output().unwrap().stdout).unwrap();
            for release in releases.split_whitespace() {
                let mut uninstall = helm();
                uninstall.env("KUBECONFIG", server.0.kubeconfig()).args([
                    "uninstall",
                    release,
                    "--namespace",
                    namespace,
                ]);
                assert!(uninstall.output().unwrap().status.success());
            }
        }
        server.0.kubectl_ok(&["delete", "crd", "--all"]);
        server
    }

    fn start() -> Self {
        let server = Self(Cluster::start("chart-install"));
        for namespace in ["gateways", "more-gateways", "team-a", "team-b", "monitoring", NAMESPACE] {
            server.0.kubectl_ok(&["create", "namespace", namespace]);
        }
        // Warns about pods of a Deployment, and refuses created pods.
        let levels = ["enforce", "warn"].map(|mode| format!("pod-security.kubernetes.io/{mode}=restricted"));
        server.0.kubectl_ok(&["label", "namespace", NAMESPACE, &levels[0], &levels[1]]);
        server
    }

    fn helm(&self, arguments: &[&str]) -> Output {
        let mut command = helm();
        command.env("KUBECONFIG", self.0.kubeconfig()).args(arguments).args(["--namespace", NAMESPACE]);
        command.output().expect("helm runs")
    }

    pub fn helm_ok(&self, arguments: &[&str]) -> String {
        let output = self.helm(arguments);
        assert!(output.status.success(), "helm {arguments:?}: {}", said(&output));
        // The API server's warnings are printed to standard error.
        let errors = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(!errors.contains("warning"), "{errors}");
        String::from_utf8(output.stdout).expect("text")
    }

    pub fn install(&self, release: &str, chart: &Path, values: &Value) -> String {
        let values = file(&least_and(values));
        let (chart, values) = (chart.display().to_string(), values.path().display().to_string());
        self.helm_ok(&["upgrade", "--install", release, &chart, "--values", &values])
    }

    fn crd(&self, name: &str) -> Option<Value> {
        let output = self.0.kubectl(&["get", "crd", name, "-o", "json"]).output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The description of a field, by which a test recognizes a changed schema.
    fn description(&self) -> String {
        let crd = self.crd(CRDS[0]).expect("the CRD");
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        text(&schema["properties"]["spec"]["description"]).to_owned()
    }
}

/// A copy of the chart in which `from` in the CRDs is replaced by `to`.
fn changed_chart(from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp").arg("-R").arg(chart()).arg(folder.path()).status().unwrap();
    assert!(copied.success());
    let crds = folder.path().join("mcpgateway-operator/files/crds.yaml");
    let before = std::fs::read_to_string(&crds).unwrap();
    let after = before.replacen(from, to, 1);
    assert_ne!(before, after);
    std::fs::write(&crds, after).unwrap();
    folder
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn helm_upgrades_the_crds_and_keeps_them_after_an_uninstall() {
    let server = Server::in_turn();
    let cluster = &server.0;
    server.install(RELEASE, &chart(), &json!({}));
    cluster.crd_is_served();
    let object = json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway",
        "metadata": {"name": "kept", "namespace": "default"}, "spec": {"url": "http://kept.example/mcp"},
    });
    cluster.kubectl_ok(&["apply", "-f", &file(&object).path().display().to_string()]);
    // As the leader makes it, and then suspended by a person.
    let fleet = json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGatewayFleet",
        "metadata": {"name": RELEASE, "namespace": NAMESPACE}, "spec": {"suspend": true},
    });
    cluster.kubectl_ok(&["apply", "-f", &file(&fleet).path().display().to_string()]);
    let suspended = || {
        let spec =
            ["-n", NAMESPACE, "get", "mcpfleet", RELEASE, "-o", "jsonpath={.spec.suspend} {.metadata.generation}"];
        cluster.kubectl_ok(&spec)
    };
    let uid = cluster.kubectl_ok(&["get", "mcpgateway", "kept", "-o", "jsonpath={.metadata.uid}"]);

    // Helm never upgrades a chart's crds/ folder. These CRDs are templates, so they follow the upgrade.
    let before = server.description();
    let other = changed_chart(&before, "Changed by an upgrade.");
    server.install(RELEASE, &other.path().join("mcpgateway-operator"), &json!({}));
    assert_eq!(server.description(), "Changed by an upgrade.");
    server.helm_ok(&["rollback", RELEASE, "1"]);
    assert_eq!(server.description(), before);
    assert_eq!(suspended(), "true 1", "an upgrade or a rollback released the brake");

    let message = server.helm_ok(&["uninstall", RELEASE]);
    assert!(CRDS.iter().all(|name| message.contains(name)), "{message}");
    let still = cluster.kubectl_ok(&["get", "mcpgateway", "kept", "-o", "jsonpath={.metadata.uid}"]);
    assert_eq!(still, uid);
    assert_eq!(suspended(), "true 1");
    let left =
        cluster.kubectl_ok(&["get", "clusterroles,clusterrolebindings,validatingadmissionpolicies", "-o", "name"]);
    assert!(!left.contains(RELEASE), "{left}");

    // The same release adopts them again. Without keep, the CRDs are deleted, and the objects with them.
    server.install(RELEASE, &chart(), &json!({"crds": {"keep": false}}));
    assert_eq!(cluster.kubectl_ok(&["get", "mcpgateway", "kept", "-o", "jsonpath={.metadata.uid}"]), uid);
    server.helm_ok(&["uninstall", RELEASE, "--wait"]);
    assert!(CRDS.iter().all(|name| server.crd(name).is_none()));
}

/// Helm refuses CRDs that were applied by hand, and adopts them on request.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn crds_that_were_applied_by_hand_are_adopted_on_request() {
    let server = Server::in_turn();
    server.0.install_crd();
    let values = file(&least_and(&json!({})));
    let (chart, values) = (chart().display().to_string(), values.path().display().to_string());
    let install = ["install", RELEASE, &chart, "--values", &values];
    let output = server.helm(&install);
    assert!(!output.status.success() && said(&output).contains("invalid ownership metadata"), "{}", said(&output));
    server.helm_ok(&[&install[..], &["--take-ownership"]].concat());
    for name in CRDS {
        let labels = &server.crd(name).expect("the CRD")["metadata"]["labels"];
        assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm");
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn two_releases_can_be_installed_side_by_side() {
    let server = Server::in_turn();
    server.install(RELEASE, &chart(), &json!({}));
    server.install("second", &chart(), &json!({"crds": {"enabled": false}}));
    let third = file(&least_and(&json!({"crds": {"enabled": false}})));
    let mut command = helm();
    command.env("KUBECONFIG", server.0.kubeconfig()).args(["install", RELEASE, "--namespace", "team-a", "--values"]);
    let output = command.arg(third.path()).arg(chart()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let leases = server.0.kubectl_ok(&["get", "deployments", "-A", "-o", "jsonpath={..args}"]);
    let names = ["name=mcpgateway-operator\"", "name=second-mcpgateway-operator\""];
    assert!(names.iter().all(|name| leases.contains(name)), "{leases}");
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_notes_describe_the_next_steps() {
    let server = Server::in_turn();
    let notes = |values: Value| {
        let said = server.install(RELEASE, &chart(), &values);
        said.split_once("NOTES:").expect("notes").1.to_owned()
    };
    let image = json!({"repository": "registry.example/mcpgateway-operator"});
    let usual = notes(json!({"watch": {"namespaces": ["team-a"]}, "image": image}));
    let parts = [
        "rollout status deployment/mcpgateway-operator",
        "helm -n mcpgateway-system test",
        "namespace: team-a",
        "describe mcpfleet mcpgateway-operator",
        "patch mcpfleet mcpgateway-operator",
    ];
    for part in parts {
        assert!(usual.contains(part), "{part}: {usual}");
    }
    assert!(usual.contains("keeps the CRDs") && !usual.contains("NOTE:"), "{usual}");
    let bare = notes(json!({"redis": {"url": ""}, "crds": {"enabled": false, "keep": false}}));
    assert_eq!(bare.matches("NOTE:").count(), 3, "{bare}");
    assert!(
        bare.contains(&format!("image mcpgateway-operator:{} is in no registry", env!("CARGO_PKG_VERSION"))),
        "{bare}"
    );
    assert!(bare.contains("namespace: default") && !bare.contains("keeps the CRDs"), "{bare}");
    let plugin =
        json!({"enabled": true, "namespace": GATEWAYS, "podLabels": {"app": "x"}, "pluginsFile": "plugins: []"});
    let contextforge = json!({
        "plugin": plugin, "mirrorNamespace": "default", "url": "http://contextforge", "tokenSecret": {"name": "t"},
    });
    let adopting = notes(json!({"image": image, "contextForge": contextforge}));
    assert!(adopting.contains("get configmap mcpgateway-operator-usage-patch"), "{adopting}");
    assert!(adopting.contains("kubectl get mcpgateways -n default") && !adopting.contains("<<YAML"), "{adopting}");
}

/// Applies the manifests as GitOps does: without a warning, and without a difference the second time.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn applying_the_manifests_again_changes_nothing() {
    let server = Server::in_turn();
    // The CRDs of the Prometheus operator are not installed here. kubeconform checks those objects.
    for values in FILES {
        let rendered = render_file(values);
        let here = rendered.objects.iter().filter(|object| !text(&object["apiVersion"]).starts_with("monitoring."));
        let list = json!({"apiVersion": "v1", "kind": "List", "items": here.collect::<Vec<_>>()});
        let manifest = file(&list);
        let path = manifest.path().display().to_string();
        let apply = ["apply", "--server-side", "--field-manager=gitops", "-f", &path];
        let output = server.0.kubectl(&apply).output().unwrap();
        let message = said(&output);
        assert!(output.status.success() && !message.contains("Warning"), "{values}: {message}");
        let versions = [
            "get",
            "-f",
            &path,
            "-o",
            "jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.generation} {end}",
        ];
        let before = server.0.kubectl_ok(&versions);
        let mut diff = server.0.kubectl(&["diff", "--server-side", "--field-manager=gitops", "-f", &path]);
        let output = diff.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{values}: {}", said(&output));
        server.0.kubectl_ok(&apply);
        assert_eq!(server.0.kubectl_ok(&versions), before);
        // The API server retries what it cannot clean up of a CRD at once, at growing intervals.
        server.0.kubectl_ok(&["delete", "--timeout=5m", "-f", &path]);
    }
}

/// Creates pods from the template and from the test, in a namespace that enforces the restricted standard.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn pods_are_admitted_under_the_restricted_standard() {
    let server = Server::in_turn();
    let make = |pod: &Value| {
        let pod = file(pod);
        let path = pod.path().display().to_string();
        server.0.kubectl(&["-n", NAMESPACE, "create", "--dry-run=server", "-f", &path]).output().unwrap()
    };
    for values in FILES {
        let rendered = render_file(values);
        let mut pod = rendered.pod().clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = "operator".into();
        for pod in [&pod, rendered.one("Pod")] {
            let output = make(pod);
            assert!(output.status.success() && !said(&output).contains("Warning"), "{values}: {}", said(&output));
        }
        // The namespace does refuse an unrestricted pod.
        pod["spec"]["securityContext"] = json!({});
        assert!(said(&make(&pod)).contains("violates PodSecurity"), "{values}");
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_packaged_chart_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = helm();
    let output = command.args(["package", "--destination"]).arg(folder.path()).arg(chart()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let archive = folder.path().join("mcpgateway-operator-0.1.0.tgz");
    let mut command = helm();
    command.args(["template", RELEASE, "--namespace", NAMESPACE, "--values"]).arg(chart().join(FILES[2])).arg(&archive);
    let packed = command.output().unwrap();
    let plain = template(&chart().join(FILES[2]));
    assert!(packed.status.success() && packed.stdout == plain.stdout, "{}", said(&packed));
    // The program and its chart have one version.
    let cargo = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(cargo.contains(&format!("version = \"{}\"", env!("CARGO_PKG_VERSION"))));
    let chart = std::fs::read_to_string(chart().join("Chart.yaml")).unwrap();
    assert!(chart.contains(&format!("appVersion: {}\n", env!("CARGO_PKG_VERSION"))));
}
