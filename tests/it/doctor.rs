//! `doctor` on broken installations, each a real one: API server, Redis, operator, and listeners that answer like a
//! worker without the adapter.

use std::path::Path;
use std::process::Output;

use mcpgateway_operator::api::v1alpha1::PublicationState;
use mcpgateway_operator::poll::compliance::NonComplianceReason;
use redis::AsyncCommands;
use serde_json::{Value, json};
use strum::VariantArray;

use crate::support::cluster::{Cluster, root, said};
use crate::support::fleet::{Fleet, key, used};
use crate::support::operator::{Operator, binary};
use crate::support::redis::{RedisServer, free_port};
use crate::support::worker::Row;
use crate::support::{SOON, eventually};

/// The key of ContextForge's leader election.
const SERVICE_LEADER: &str = "gateway_service_leader";

/// The answer of doctor, with its exit code.
#[derive(Clone)]
struct Verdict {
    code: Option<i32>,
    findings: Vec<Value>,
    all: String,
}

impl Verdict {
    /// The text of a problem, if it was found.
    fn problem(&self, finding: &str) -> Option<String> {
        let found = self.findings.iter().find(|found| found["finding"] == finding && found["level"] == "problem")?;
        assert_eq!(self.code, Some(1), "{}", self.all);
        Some(format!("{}; {}", found["what"].as_str().unwrap(), found["advice"].as_str().unwrap()))
    }

    /// The same, if it is the only problem.
    fn only_problem(&self, finding: &str) -> Option<String> {
        let problems = self.findings.iter().filter(|found| found["level"] == "problem").count();
        self.problem(finding).filter(|_| problems == 1)
    }

    /// The same; fails if it was not found.
    fn among(&self, finding: &str) -> String {
        self.problem(finding).unwrap_or_else(|| panic!("{finding} is not among: {}", self.all))
    }
}

/// Runs doctor until the verdict is as expected: on a busy machine the fleet itself may have problems for a moment.
async fn until<T>(what: &str, kubeconfig: &Path, flags: &[&str], expected: impl Fn(&Verdict) -> Option<T>) -> T {
    eventually(what, SOON, || async {
        let verdict = doctor(kubeconfig, flags).await;
        let found = expected(&verdict);
        if found.is_none() {
            eprintln!("not {what}: {}", verdict.all);
        }
        found
    })
    .await
}

async fn run(kubeconfig: &Path, flags: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(binary());
    command.env("KUBECONFIG", kubeconfig).arg("doctor").args(flags).kill_on_drop(true);
    command.output().await.unwrap()
}

async fn doctor(kubeconfig: &Path, flags: &[&str]) -> Verdict {
    let output = run(kubeconfig, &[flags, &["-o", "json"]].concat()).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    assert!(output.stderr.is_empty() && !said(&output).contains("planted"), "{}", said(&output));
    assert_eq!(answer["healthy"], output.status.success(), "{answer:#}");
    let findings = answer["findings"].as_array().unwrap().clone();
    Verdict { code: output.status.code(), findings, all: format!("{answer:#}") }
}

/// A fleet of five servers whose operator has published.
struct Healthy {
    fleet: Fleet,
    operator: Operator,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

fn url(name: &str) -> String {
    format!("http://{name}.example/mcp")
}

impl Healthy {
    async fn start(test: &str) -> Self {
        let fleet = Fleet::new(test, 1).await;
        for name in NAMES {
            fleet.create(name, &url(name)).await;
        }
        fleet.workers[0].report(vec![used("a", 5.0), used("b", 50.0)]);
        let operator = fleet.operator();
        fleet.settled().await;
        eventually("the fleet object of a healthy fleet", SOON, || async {
            let [usage, ready] = [fleet.condition("UsageComplete").await, fleet.condition("Ready").await];
            (usage.starts_with("True/") && ready.starts_with("True/")).then_some(())
        })
        .await;
        Self { fleet, operator }
    }

    /// Writes stamps as ContextForge does, with its interval in seconds.
    async fn stamp(&self, interval: u64) {
        let mut redis = self.fleet.redis.connection().await;
        let (): () = redis.set(SERVICE_LEADER, "planted").await.unwrap();
        for name in NAMES {
            let mut command = binary();
            command.args(["poll", "completed", "--url", &url(name), "--gateway-id", &format!("id-{name}")]);
            command.args(["--type", "tool_discovery", "--redis-url", &self.fleet.redis.url()]);
            let output = command.args(["--hot-poll-interval", &format!("{interval}s")]).output().unwrap();
            assert!(output.status.success(), "{}", said(&output));
        }
    }

    async fn doctor(&self, more: &[&str]) -> Verdict {
        self.ask(&self.fleet.workers[0].url(), more, "an answer", |verdict| Some(verdict.clone())).await
    }

    async fn ask<T>(&self, endpoint: &str, more: &[&str], what: &str, expected: impl Fn(&Verdict) -> Option<T>) -> T {
        let (namespace, redis) = (self.fleet.namespace.as_str(), self.fleet.redis.url());
        let base =
            ["-n", namespace, "--watch-namespace", namespace, "--redis-url", &redis, "--worker-endpoint", endpoint];
        until(what, self.fleet.cluster.kubeconfig(), &[&base, more].concat(), expected).await
    }

    /// The text of its only problem.
    async fn only(&self, more: &[&str], finding: &str) -> String {
        self.only_of(&self.fleet.workers[0].url(), more, finding).await
    }

    /// The same with this worker endpoint.
    async fn only_of(&self, endpoint: &str, more: &[&str], finding: &str) -> String {
        self.ask(endpoint, more, finding, |verdict| verdict.only_problem(finding)).await
    }

    /// The text of one of its problems.
    async fn among(&self, more: &[&str], finding: &str) -> String {
        self.ask(&self.fleet.workers[0].url(), more, finding, |verdict| verdict.problem(finding)).await
    }

    async fn healthy(&self, more: &[&str]) {
        let healthy = |verdict: &Verdict| (verdict.code == Some(0) && verdict.findings.is_empty()).then_some(());
        self.ask(&self.fleet.workers[0].url(), more, "healthy", healthy).await;
    }
}

/// A listener that answers every request with this.
async fn answering(
    status: &'static str,
    kind: &'static str,
    body: &'static str,
) -> (String, tokio::task::JoinHandle<()>) {
    use axum::http::header::CONTENT_TYPE;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcpgateway/usage", listener.local_addr().unwrap());
    let status: u16 = status.parse().unwrap();
    let answer =
        move || std::future::ready((axum::http::StatusCode::from_u16(status).unwrap(), [(CONTENT_TYPE, kind)], body));
    let server =
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap() });
    (url, server)
}

#[tokio::test]
async fn problems_of_gateways_are_found_in_redis() {
    let healthy = Healthy::start("doctor-redis").await;
    let text = healthy.only(&[], "NoContextForge").await;
    assert!(text.contains("CACHE_TYPE=redis") && text.contains("REDIS_URL"), "{text}");

    let mut redis = healthy.fleet.redis.connection().await;
    let (): () = redis.set(SERVICE_LEADER, "planted").await.unwrap();
    let text = healthy.only(&[], "NoStamps").await;
    assert!(text.contains("HOT_COLD_CLASSIFICATION_ENABLED") && text.contains("spec.gatewayId"), "{text}");

    healthy.stamp(60).await;
    let text = healthy.only(&[], "OtherInterval").await;
    assert!(text.contains("60s, and not 300s") && text.contains("GATEWAY_AUTO_REFRESH_INTERVAL"), "{text}");
    healthy.healthy(&["--hot-poll-interval", "60s"]).await;
    let text = healthy.only(&["--hot-poll-interval", "60s", "--cold-poll-interval", "100s"], "ColdIsThrice").await;
    assert!(text.contains("--cold-poll-interval"), "{text}");

    healthy.stamp(300).await;
    healthy.healthy(&[]).await;

    // An object whose URL is not the one that is polled, so that it has no stamp.
    healthy.fleet.edit("e", json!({"url": "http://e.example/mcp/"})).await;
    healthy.fleet.settled().await;
    let text = healthy.only(&[], "NotPolled").await;
    assert!(text.contains(&format!("{}/e;", healthy.fleet.namespace)) && text.contains("import"), "{text}");
}

#[tokio::test]
async fn problems_of_workers_are_found_at_their_endpoints() {
    let healthy = Healthy::start("doctor-workers").await;
    healthy.stamp(300).await;
    for (status, kind, body, finding, part) in [
        ("401", "application/json", "{}", "WorkerToken", "--worker-token-file"),
        ("403", "application/json", "{}", "WorkerToken", "same token"),
        ("404", "application/json", "planted", "WorkerNoAdapter", "usage adapter"),
        ("200", "text/html", "<html>planted", "WorkerNoAdapter", "not JSON"),
        ("500", "text/plain", "planted", "WorkerStatus", "500"),
        ("200", "application/json", "{\"planted\":1}", "WorkerFailed", "no usage report"),
    ] {
        let (endpoint, server) = answering(status, kind, body).await;
        let text = healthy.only_of(&format!("{endpoint}?token=planted"), &[], finding).await;
        assert!(text.contains(part) && text.contains(&endpoint), "{text}");
        server.abort();
    }
    let refused = format!("http://127.0.0.1:{}/usage", free_port());
    let text = healthy.only_of(&refused, &[], "WorkerRefused").await;
    assert!(text.contains("adapter listens"), "{text}");

    // A Service without endpoints, and one that may not be read.
    let service = format!("{}/none", healthy.fleet.namespace);
    let base =
        ["-n", &healthy.fleet.namespace, "--watch-namespace", &healthy.fleet.namespace, "--worker-service", &service];
    let kubeconfig = healthy.fleet.cluster.kubeconfig();
    let text = until("ServiceEmpty", kubeconfig, &base, |verdict| verdict.only_problem("ServiceEmpty")).await;
    assert!(text.contains(&service) && text.contains("selector"), "{text}");
    let nobody = healthy.fleet.cluster.kubeconfig_as("nobody-at-all");
    let verdict = doctor(nobody.path(), &base).await;
    assert!(verdict.all.contains("not allowed to list endpointslices.discovery.k8s.io"), "{}", verdict.all);
    assert!(!verdict.all.contains("ServiceEmpty"), "{}", verdict.all);

    // A queue of one connection that nobody accepts: further connections hang, as they do behind a network policy.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let full = async {
        loop {
            let connecting = tokio::net::TcpStream::connect(address);
            match tokio::time::timeout(std::time::Duration::from_millis(300), connecting).await {
                Ok(connected) => waiting.push(connected.unwrap()),
                Err(_) => return,
            }
        }
    };
    tokio::time::timeout(SOON, full).await.unwrap();
    let text =
        healthy.only_of(&format!("http://{address}/usage"), &["--worker-timeout", "500ms"], "WorkerNoConnection").await;
    assert!(text.contains("network policy"), "{text}");
    drop(waiting);

    // Rows with known ids and other URLs; one differs only in its query.
    let row = |name: &str, url: &str| Row { url: Some(url.to_owned()), ..used(name, 5.0) };
    healthy.fleet.workers[0].report(vec![
        row("a", "http://a.example/mcp/?token=planted"),
        row("b", "http://b.example/mcp?token=planted"),
        row("c", "http://c.example/mcp"),
    ]);
    let text = healthy.only(&[], "UrlDiffers").await;
    assert!(
        text.contains("http://a.example/mcp here, http://a.example/mcp/ there") && !text.contains("b.example"),
        "{text}"
    );
}

#[tokio::test]
async fn problems_of_the_operator_are_found_at_the_api_server() {
    let healthy = Healthy::start("doctor-cluster").await;
    healthy.stamp(300).await;
    healthy.healthy(&[]).await;
    let table = run(
        healthy.fleet.cluster.kubeconfig(),
        &["-n", &healthy.fleet.namespace, "--watch-namespace", &healthy.fleet.namespace],
    )
    .await;
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(table.status.success() && text.lines().count() == 3, "{text}");
    assert!(text.starts_with("note     NoWorkers") && text.contains("healthy: checked 5 gateways"), "{text}");

    // A user without permissions.
    let nobody = healthy.fleet.cluster.kubeconfig_as("nobody-at-all");
    let verdict = doctor(nobody.path(), &["-n", &healthy.fleet.namespace]).await;
    let text = verdict.among("MayNotLook");
    assert!(text.contains("not allowed to list mcpgateways.mcpgateway.io") && text.contains("grant"), "{text}");
    assert_eq!(verdict.findings.iter().filter(|found| found["finding"] == "MayNotLook").count(), 3, "{}", verdict.all);

    // Two objects with the same id.
    let mut twin = healthy.fleet.get("a").await;
    twin.metadata = kube::api::ObjectMeta { name: Some("twin".into()), ..Default::default() };
    twin.spec.url = "http://twin.example/mcp".into();
    twin.status = None;
    healthy.fleet.objects.create(&kube::api::PostParams::default(), &twin).await.unwrap();
    let text = healthy.only(&[], "Refused").await;
    assert!(text.contains("twin (DuplicateGatewayId)"), "{text}");
    healthy.fleet.delete("twin").await;

    // A leader that has not renewed its Lease for long.
    let Healthy { fleet, mut operator } = healthy;
    operator.kill();
    let patch = json!({"spec": {"renewTime": "2026-01-01T00:00:00.000000Z"}}).to_string();
    fleet.cluster.kubectl_ok(&[
        "patch",
        "lease",
        "mcpgateway-operator",
        "-n",
        &fleet.namespace,
        "--type=merge",
        "-p",
        &patch,
    ]);
    let healthy = Healthy { fleet, operator };
    let text = healthy.among(&[], "NoLeader").await;
    assert!(text.contains("has not been renewed since 2026-01-01T00:00:00Z") && text.contains("log"), "{text}");
    let text = healthy.among(&["--leader-elect-resource-name", "other"], "NoLeader").await;
    assert!(text.contains(&format!("there is no Lease {}/other", healthy.fleet.namespace)), "{text}");

    let nowhere = doctor(Path::new("/nonexistent/kubeconfig"), &[]).await;
    assert!(nowhere.only_problem("NoCluster").unwrap().contains("KUBECONFIG"), "{}", nowhere.all);
}

#[tokio::test]
async fn pods_that_wait_for_their_image() {
    let fleet = Fleet::new("doctor-image", 1).await;
    let labels = "--labels=app.kubernetes.io/name=mcpgateway-operator,app.kubernetes.io/component=operator";
    let waiting = |reason: &str, message: &str| {
        json!({"status": {"containerStatuses": [{
            "name": "operator", "image": "registry.example/mcpgateway-operator:9", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}},
        }]}})
        .to_string()
    };
    let kubectl = |words: &[&str]| fleet.cluster.kubectl_ok(&[words, &["-n", &fleet.namespace]].concat());
    let set = |pod: &str, status: &str| {
        kubectl(&["patch", "pod", pod, "--subresource=status", "--type=merge", "-p", status]);
    };
    // One is merely starting.
    for pod in ["one", "two", "three"] {
        kubectl(&["run", pod, "--image=registry.example/mcpgateway-operator:9", labels]);
    }
    set("one", &waiting("ImagePullBackOff", "Back-off pulling image: not found"));
    set("two", &waiting("ErrImagePull", "not found"));
    set("three", &waiting("ContainerCreating", ""));
    let flags = ["-n", fleet.namespace.as_str()];
    let found = |verdict: &Verdict| verdict.problem("ImageNotPulled");
    let text = until("ImageNotPulled", fleet.cluster.kubeconfig(), &flags, found).await;
    assert!(text.contains("image registry.example/mcpgateway-operator:9: one, two (ImagePullBackOff: "), "{text}");
    assert!(text.contains("not found") && text.contains("image.repository"), "{text}");
}

#[tokio::test]
async fn a_suspended_fleet_is_a_note() {
    let healthy = Healthy::start("doctor-suspended").await;
    healthy.stamp(300).await;
    let suspend = ["patch", "mcpfleet", "mcpgateway-operator", "-n", &healthy.fleet.namespace, "--type=merge"];
    healthy.fleet.cluster.kubectl_ok(&[&suspend[..], &["-p", r#"{"spec":{"suspend":true}}"#]].concat());
    let suspended = |verdict: &Verdict| {
        let [finding] = &verdict.findings[..] else { return None };
        let fits = verdict.code == Some(0) && finding["finding"] == "Suspended" && finding["level"] == "note";
        fits.then(|| finding["advice"].as_str().unwrap().to_owned())
    };
    let advice = healthy.ask(&healthy.fleet.workers[0].url(), &[], "suspended", suspended).await;
    assert!(advice.contains(&format!("kubectl patch mcpfleet mcpgateway-operator -n {}", healthy.fleet.namespace)));
}

#[tokio::test]
async fn an_operator_that_lacks_a_permission() {
    let fleet = Fleet::new("doctor-rights", 1).await;
    fleet.create("a", &url("a")).await;
    fleet.workers[0].report(vec![used("a", 5.0)]);
    // Everything that it needs, except for writing Events.
    let name = fleet.namespace.as_str();
    let rule = |group: &str, resource: &str, verbs: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    let rules = [
        rule("mcpgateway.io", "mcpgateways", &["get", "list", "watch"]),
        rule("mcpgateway.io", "mcpgateways/status", &["patch"]),
        rule("coordination.k8s.io", "leases", &["get", "list", "watch", "create", "update"]),
        rule("mcpgateway.io", "mcpgatewayfleets", &["get", "list", "watch", "create"]),
        rule("mcpgateway.io", "mcpgatewayfleets/status", &["update"]),
    ];
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name, "namespace": name}, "rules": rules});
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(&file, role.to_string()).unwrap();
    fleet.cluster.kubectl_ok(&["apply", "-f", &file.path().display().to_string()]);
    let (role, user) = (format!("--role={name}"), format!("--user={name}"));
    fleet.cluster.kubectl_ok(&["-n", name, "create", "rolebinding", name, &role, &user]);
    let kubeconfig = fleet.cluster.kubeconfig_as(name);
    let redis = fleet.redis.url();
    let operator = fleet.operator_as(kubeconfig.path(), &["--redis-url", &redis, "--redis-owner-id", "doctor"]);
    eventually("the condition of a missing permission", SOON, || async {
        fleet.condition("Permitted").await.starts_with("False/PermissionsMissing").then_some(())
    })
    .await;
    let healthy = Healthy { fleet, operator };
    let text = healthy.among(&["--redis-owner-id", "doctor"], "PermissionMissing").await;
    assert!(text.contains("events.k8s.io"), "{text}");
}

#[tokio::test]
async fn a_cluster_without_the_crd() {
    let cluster = Cluster::start("doctor");
    let verdict = doctor(cluster.kubeconfig(), &["-n", "default"]).await;
    assert!(verdict.among("CrdMissing").contains("kubectl apply"), "{}", verdict.all);
    for crd in ["mcpgateways.mcpgateway.io", "mcpgatewayfleets.mcpgateway.io"] {
        assert!(verdict.all.contains(&format!("the CRD {crd} is not installed")), "{}", verdict.all);
    }
    cluster.install_crd();
    let verdict = doctor(cluster.kubeconfig(), &["-n", "default"]).await;
    assert!(verdict.among("NoGateways").contains("import"), "{}", verdict.all);
}

#[tokio::test]
async fn a_lock_of_another_holder_and_an_unusable_redis() {
    let fleet = Fleet::new("doctor-lock", 1).await;
    for name in NAMES {
        fleet.create(name, &url(name)).await;
    }
    fleet.workers[0].report(vec![used("a", 5.0)]);
    let mut redis = fleet.redis.connection().await;
    let (): () = redis.set(key("leader"), "classifier_4711").await.unwrap();
    let operator = fleet.operator_with(&["--redis-url", &fleet.redis.url(), "--redis-lock-takeover", "never"]);
    eventually("it says that it does not publish", SOON, || async {
        (fleet.status().await.publication.state == PublicationState::NotPublished).then_some(())
    })
    .await;
    let healthy = Healthy { fleet, operator };
    let verdict = healthy.doctor(&[]).await;
    assert!(verdict.among("LockHeldByAnother").contains("classifier_4711"), "{}", verdict.all);
    assert!(verdict.among("NotPublished").contains("classifier_4711"), "{}", verdict.all);
    verdict.among("NothingPublished");

    let (): () = redis.set(key("leader"), "mcpgateway-operator/other/5").await.unwrap();
    let verdict = healthy.doctor(&[]).await;
    assert!(verdict.among("LockHeldByAnotherRelease").contains("other"), "{}", verdict.all);
    let (): () = redis.del(key("leader")).await.unwrap();
    let other = healthy.doctor(&["--redis-key-prefix", "unused"]).await;
    assert!(other.among("LockFree").contains("deletes what is published"), "{}", other.all);

    let closed = RedisServer::start(&["--requirepass", "planted"]);
    let nothing = format!("redis://127.0.0.1:{}", free_port());
    for (url, word) in [(closed.url(), "LoginRefused"), (nothing, "Unreachable")] {
        let base = ["-n", &healthy.fleet.namespace, "--watch-namespace", &healthy.fleet.namespace, "--redis-url", &url];
        let text = doctor(healthy.fleet.cluster.kubeconfig(), &base).await.among("RedisUnreachable");
        assert!(text.starts_with(word) && text.contains("--redis-url"), "{text}");
    }
}

/// The pods behind a Service of the chart, by the label that its slices have too. They do not run.
#[tokio::test(flavor = "multi_thread")]
async fn pods_without_the_plugin_are_found_by_whoever_may_list_them() {
    let cluster = crate::support::cluster::cluster();
    let namespace = cluster.namespace("doctor-plugin").await;
    let hash = "mcpgateway.io/usage-plugin-hash";
    let pod = |name: &str, env: Value, plugin: Option<&str>| {
        let volume = plugin.map(|name| json!({"name": "mcpgateway-usage-plugin", "configMap": {"name": name}}));
        let mount = json!({"name": "mcpgateway-usage-plugin", "mountPath": "/opt/mcpgateway-usage"});
        let container = json!({
            "name": "mcp-context-forge", "image": "contextforge", "env": env,
            "envFrom": [{"configMapRef": {"name": "config"}}],
            "volumeMounts": if plugin.is_some() { json!([mount]) } else { json!([]) },
        });
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"automountServiceAccountToken": false, "containers": [container],
                "volumes": volume.into_iter().collect::<Vec<_>>()},
        })
    };
    let names = ["current", "old", "bare", "other-file"];
    let endpoints = names.iter().enumerate().map(|(number, name)| {
        let target = json!({"kind": "Pod", "name": name, "namespace": namespace});
        json!({"addresses": [format!("192.0.2.{}", number + 1)], "targetRef": target})
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "usage", "labels": {"kubernetes.io/service-name": "usage", hash: "abc"}},
        "endpoints": endpoints.collect::<Vec<_>>(), "ports": [{"name": "usage", "port": 9180}],
    });
    let items = json!([
        pod("current", json!([]), Some("o-usage-plugin-abc")),
        pod("old", json!([]), Some("o-usage-plugin-abd")),
        pod("bare", json!([]), None),
        pod("other-file", json!([{"name": "PLUGINS_CONFIG_FILE", "value": "a"}]), None),
        pod("elsewhere", json!([]), None),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config"},
            "data": {"PLUGINS_CONFIG_FILE": "plugins/config.yaml"}},
        slice,
        // Somebody who may read the addresses of workers, as the operator may, and no pods.
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "workers"},
            "rules": [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"],
                "verbs": ["list", "watch"]}]},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "workers"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "workers"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "doctor-of-workers"}]},
    ]);
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).unwrap();
    cluster.kubectl_ok(&["-n", &namespace, "create", "-f", &file.path().display().to_string()]);

    let service = format!("{namespace}/usage:usage");
    let flags =
        ["-n", &namespace, "--watch-namespace", &namespace, "--worker-service", &service, "--worker-timeout", "100ms"];
    let verdict = doctor(cluster.kubeconfig(), &flags).await;
    let lines = |finding: &str| -> Vec<String> {
        let found = verdict.findings.iter().filter(|found| found["finding"] == finding);
        found.map(|found| format!("{} {} {}", found["level"], found["what"], found["advice"])).collect()
    };
    let missing = lines("PluginMissing");
    assert_eq!(missing.len(), 2, "{}", verdict.all);
    assert!(missing[0].contains(&format!("{namespace}/bare\"")) && missing[0].contains("-usage-patch"), "{missing:?}");
    let entry = "kind: mcpgateway_usage.plugin.UsagePlugin";
    assert!(missing[1].contains("/other-file") && missing[1].contains(entry), "{missing:?}");
    let outdated = lines("PluginOutdated");
    assert!(outdated.len() == 1 && outdated[0].contains("note") && outdated[0].contains("/old"), "{outdated:?}");
    let hidden = lines("PluginsFileHidden");
    assert!(hidden.len() == 1 && hidden[0].contains(&format!("{namespace}/config")), "{hidden:?}");
    assert!(!verdict.all.contains("elsewhere"), "{}", verdict.all);

    let denied = doctor(cluster.kubeconfig_as("doctor-of-workers").path(), &flags).await;
    let note = denied.findings.iter().find(|found| found["finding"] == "PodsNotChecked").expect("the note");
    assert!(note["level"] == "note" && note["what"].to_string().contains("list pods"), "{note}");
    // It goes on.
    denied.among("WorkerNoConnection");
}

#[test]
fn every_finding_has_its_row_in_the_page() {
    let folder = root().join("src/diagnosis");
    let mut code = String::new();
    for file in ["cluster.rs", "plugin.rs", "registration.rs", "store.rs", "workers.rs"] {
        code += &std::fs::read_to_string(folder.join(file)).unwrap();
    }
    let page = std::fs::read_to_string(root().join("docs/doctor.md")).unwrap();
    let word = |text: &&str| text.starts_with(char::is_uppercase) && text.chars().all(char::is_alphabetic);
    let reasons = NonComplianceReason::VARIANTS.iter().map(|reason| -> &str { reason.into() });
    let words: Vec<&str> = code.split('"').skip(1).step_by(2).filter(word).chain(reasons).collect();
    assert!(words.len() > 25, "{words:?}");
    for word in words {
        assert!(page.contains(&format!("`{word}`")), "docs/doctor.md does not explain {word}");
    }
}

/// Gives a user this line of an ACL file, without the word `user`.
async fn set_user(redis: &RedisServer, line: &str) {
    let rules: Vec<&str> = line.split(' ').collect();
    let mut connection = redis.connection().await;
    let (): () = redis::cmd("ACL").arg("SETUSER").arg(&rules).query_async(&mut connection).await.unwrap();
}

fn as_user(redis: &RedisServer, user: &str) -> String {
    format!("redis://{user}:planted@127.0.0.1:{}", redis.port())
}

/// What Redis has denied, as it logs it.
async fn denied(redis: &RedisServer) -> String {
    let mut connection = redis.connection().await;
    let log: redis::Value = redis::cmd("ACL").arg("LOG").query_async(&mut connection).await.unwrap();
    if log == redis::Value::Array(Vec::new()) { String::new() } else { format!("{log:?}") }
}

#[tokio::test]
async fn the_acl_on_the_page_is_enough_for_run_poll_and_doctor() {
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let lines: Vec<String> =
        page.lines().filter_map(|line| Some(line.strip_prefix("user ")?.replace("PASSWORD", "planted"))).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let fleet = Fleet::new("acl", 1).await;
    for line in &lines {
        set_user(&fleet.redis, line).await;
    }
    for name in NAMES {
        fleet.create(name, &url(name)).await;
    }
    fleet.workers[0].report(vec![used("a", 5.0)]);
    let flags = ["--redis-url", &as_user(&fleet.redis, "mcpgateway-operator"), "--api-bind-address", "127.0.0.1:0"];
    let operator = fleet.operator_with(&flags);
    operator.ready().await;
    fleet.settled().await;
    // A difference, then poll decisions of the API, then what the emergency brake does.
    fleet.workers[0].report(vec![used("b", 1.0)]);
    fleet.delete("c").await;
    operator.cycles(2).await;
    let api = operator.address("serving /v1").await;
    let client = reqwest::Client::new();
    let due = client.get(format!("http://{api}/v1/polls/due?url={}&type=health", url("a")));
    let completed = client.post(format!("http://{api}/v1/polls/completed"));
    for request in [due, completed.json(&json!({"url": url("a"), "type": "health"}))] {
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }
    fleet.suspend(true).await;
    eventually("nothing is published", SOON, || async { fleet.redis_text("timestamp").await.is_none().then_some(()) })
        .await;
    fleet.suspend(false).await;
    fleet.settled().await;

    let discovery = ["--type", "tool_discovery"];
    for (what, more) in [("due", &discovery[..]), ("completed", &discovery), ("changed", &[])] {
        let mut command = binary();
        command.args(["poll", what, "--url", &url("a")]).args(more);
        let output = command.args(["--redis-url", &as_user(&fleet.redis, "mcpgateway-poll")]).output().unwrap();
        assert!(!said(&output).contains("warning") && output.status.code() == Some(0), "{}", said(&output));
    }
    let (doctor_url, worker) = (as_user(&fleet.redis, "mcpgateway-doctor"), fleet.workers[0].url());
    let namespace = fleet.namespace.as_str();
    let base =
        ["-n", namespace, "--watch-namespace", namespace, "--redis-url", &doctor_url, "--worker-endpoint", &worker];
    let verdict = doctor(fleet.cluster.kubeconfig(), &base).await;
    assert!(!verdict.all.contains("\"Redis"), "{}", verdict.all);
    assert_eq!(denied(&fleet.redis).await, "");
    assert!(!operator.log().contains("NoPermission"), "{}", operator.log());

    // Another database than 0 needs SELECT.
    for line in &lines {
        let user = line.split(' ').next().unwrap();
        let mut command = binary();
        command.args(["poll", "due", "--url", &url("a"), "--type", "health"]);
        let output = command.args(["--redis-url", &format!("{}/1", as_user(&fleet.redis, user))]).output().unwrap();
        assert!(!said(&output).contains("SELECT"), "{user}: {}", said(&output));
    }
}

#[tokio::test]
async fn case_06_a_command_or_key_that_the_acl_denies_is_named() {
    let healthy = Healthy::start("denied").await;
    let redis = &healthy.fleet.redis;
    // Enough to publish, but not the key by which ContextForge is recognized.
    let commands = "+time +evalsha +eval +type +getrange +set +pexpire +pexpireat +persist +scard +unlink +rename +pttl \
                    +sadd +srem +smismember +sscan +multi +exec +exists +sismember";
    set_user(redis, &format!("narrow on >planted resetchannels ~mcpgateway:* -@all {commands}")).await;
    set_user(
        redis,
        &format!("narrower on >planted resetchannels ~mcpgateway:* -@all {}", commands.replace("+exists ", "")),
    )
    .await;
    set_user(redis, "none on >planted -@all").await;
    for (user, named) in [
        ("narrow", "the command EXISTS on the key gateway_service_leader"),
        ("narrower", "the command EXISTS"),
        ("none", "the command TIME"),
    ] {
        let url = as_user(redis, user);
        let flags =
            ["-n", &healthy.fleet.namespace, "--watch-namespace", &healthy.fleet.namespace, "--redis-url", &url];
        let text = doctor(healthy.fleet.cluster.kubeconfig(), &flags).await.among("RedisDenied");
        assert!(text.contains(named) && text.contains("docs/security.md"), "{user}: {text}");
    }
    // The operator's own user loses a command: log and status name it.
    set_user(redis, "default -pexpireat").await;
    eventually("the status names it", SOON, || async {
        let published = healthy.fleet.condition("Published").await;
        let named =
            published.starts_with("False/NoPermission") && published.contains("the command PEXPIREAT on the key");
        named.then_some(())
    })
    .await;
    assert!(healthy.operator.log().contains("the command PEXPIREAT on the key"), "{}", healthy.operator.log());
    set_user(redis, "default +pexpireat").await;
    eventually("published again", SOON, || async {
        healthy.fleet.condition("Published").await.starts_with("True/").then_some(())
    })
    .await;
}
