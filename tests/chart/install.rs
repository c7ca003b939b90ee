//! Installs, upgrades, rolls back, uninstalls and reinstalls the chart on a real API server. No pods run here.

use std::path::Path;
use std::process::Output;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::helm::{FILES, NAMESPACE, RELEASE, chart, file, helm, least_and, render_file, template, text};
use crate::support::cluster::{Cluster, root, said};

/// The control plane of these tests, which take turns.
struct Server(Cluster);

impl Server {
    /// Waits for its turn and starts without a release and without the CRD.
    fn in_turn() -> MutexGuard<'static, Self> {
        static SERVER: LazyLock<Mutex<Server>> = LazyLock::new(|| Mutex::new(Server::start()));
        // Cleans up after a failed test.
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

    fn helm_ok(&self, arguments: &[&str]) -> String {
        let output = self.helm(arguments);
        assert!(output.status.success(), "helm {arguments:?}: {}", said(&output));
        // Helm prints warnings of the API server on standard error.
        let message = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(!message.contains("warning"), "{message}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn install(&self, release: &str, chart: &Path, values: &Value) -> String {
        let values = file(&least_and(values));
        let (chart, values) = (chart.display().to_string(), values.path().display().to_string());
        self.helm_ok(&["upgrade", "--install", release, &chart, "--values", &values])
    }

    fn crd(&self) -> Option<Value> {
        let output = self.0.kubectl(&["get", "crd", "mcpgateways.mcpgateway.io", "-o", "json"]).output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The description of a field, by which a test recognizes a changed schema.
    fn description(&self) -> String {
        let crd = self.crd().expect("the CRD");
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        text(&schema["properties"]["spec"]["description"]).to_owned()
    }
}

/// A copy of the chart with one text of the CRD replaced.
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
fn the_crd_is_installed_upgraded_and_outlives_the_release() {
    let server = Server::in_turn();
    let cluster = &server.0;
    server.install(RELEASE, &chart(), &json!({}));
    cluster.crd_is_served();
    let object = json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway",
        "metadata": {"name": "kept", "namespace": "default"}, "spec": {"url": "http://kept.example/mcp"},
    });
    cluster.kubectl_ok(&["apply", "-f", &file(&object).path().display().to_string()]);
    let uid = cluster.kubectl_ok(&["get", "mcpgateway", "kept", "-o", "jsonpath={.metadata.uid}"]);

    // Helm never upgrades a chart's crds/ folder. This CRD is a template, so it follows the upgrade.
    let before = server.description();
    let other = changed_chart(&before, "Changed by an upgrade.");
    server.install(RELEASE, &other.path().join("mcpgateway-operator"), &json!({}));
    assert_eq!(server.description(), "Changed by an upgrade.");
    server.helm_ok(&["rollback", RELEASE, "1"]);
    assert_eq!(server.description(), before);

    let message = server.helm_ok(&["uninstall", RELEASE]);
    assert!(message.contains("mcpgateways.mcpgateway.io"), "{message}");
    let still = cluster.kubectl_ok(&["get", "mcpgateway", "kept", "-o", "jsonpath={.metadata.uid}"]);
    assert_eq!(still, uid);
    let left =
        cluster.kubectl_ok(&["get", "clusterroles,clusterrolebindings,validatingadmissionpolicies", "-o", "name"]);
    assert!(!left.contains(RELEASE), "{left}");

    // The same release adopts it again. Without keep, the CRD is deleted, and the objects with it.
    server.install(RELEASE, &chart(), &json!({"crds": {"keep": false}}));
    assert_eq!(cluster.kubectl_ok(&["get", "mcpgateway", "kept", "-o", "jsonpath={.metadata.uid}"]), uid);
    server.helm_ok(&["uninstall", RELEASE, "--wait"]);
    assert!(server.crd().is_none());
}

/// An installation over a CRD that was applied by hand fails with a hint, and works with the documented option.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn a_crd_that_was_applied_by_hand_is_adopted_on_request() {
    let server = Server::in_turn();
    server.0.install_crd();
    let values = file(&least_and(&json!({})));
    let (chart, values) = (chart().display().to_string(), values.path().display().to_string());
    let install = ["install", RELEASE, &chart, "--values", &values];
    let output = server.helm(&install);
    assert!(!output.status.success() && said(&output).contains("invalid ownership metadata"), "{}", said(&output));
    server.helm_ok(&[&install[..], &["--take-ownership"]].concat());
    let labels = &server.crd().expect("the CRD")["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm");
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn two_releases_live_beside_each_other() {
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
fn the_notes_say_what_to_do_next() {
    let server = Server::in_turn();
    let notes = |values: Value| {
        let said = server.install(RELEASE, &chart(), &values);
        said.split_once("NOTES:").expect("notes").1.to_owned()
    };
    let usual = notes(json!({"watch": {"namespaces": ["team-a"]}}));
    let parts =
        ["rollout status deployment/mcpgateway-operator", "helm -n mcpgateway-system test", "namespace: team-a"];
    for part in parts {
        assert!(usual.contains(part), "{part}: {usual}");
    }
    assert!(usual.contains("leaves the CRD") && !usual.contains("NOTE:"), "{usual}");
    let bare = notes(json!({"redis": {"url": ""}, "crds": {"enabled": false, "keep": false}}));
    assert_eq!(bare.matches("NOTE:").count(), 2, "{bare}");
    assert!(bare.contains("namespace: default") && !bare.contains("leaves the CRD"), "{bare}");
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
        server.0.kubectl_ok(&["delete", "--wait=false", "-f", &path]);
        server.0.kubectl_ok(&["wait", "--for=delete", "-f", &path, "--timeout=30s"]);
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
