//! The McpGateway resource for its users: what the API server refuses and why, and what kubectl shows.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use k8s_openapi::api::discovery::v1::EndpointSlice;

use mcpgateway_operator::api::conditions::FleetConditionType;
use mcpgateway_operator::api::term_may_follow;

use super::*;
use crate::support::cluster::said;

/// Creates an object with this spec, with kubectl and strict validation.
fn create(fleet: &Fleet, name: &str, spec: &str) -> Output {
    let manifest = format!(
        "apiVersion: mcpgateway.io/v1alpha1\nkind: McpGateway\nmetadata: {{name: {name}, namespace: {}}}\nspec: {spec}\n",
        fleet.namespace
    );
    let mut kubectl = fleet.cluster.kubectl(&["create", "--validate=strict", "-f", "-"]);
    let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn twelve_bad_manifests_are_refused_with_advice_and_without_their_secrets() {
    let fleet = Fleet::new("bad", 0).await;
    let long = format!("{{url: \"https://h/planted{}\"}}", "x".repeat(800));
    let cases = [
        ("no-url", "{}", "spec.url: Required value"),
        ("ftp", "{url: \"ftp://planted/x\"}", "use an http:// or https:// URL with a host"),
        ("user-info", "{url: \"https://user:planted@h/x\"}", "take the user name and password out of the URL"),
        ("fragment", "{url: \"https://h/x#planted\"}", "no #fragment"),
        ("blank", "{url: \"https://h/planted b\"}", "no blanks (write %20)"),
        ("no-host", "{url: \"http:///planted\"}", "URL with a host"),
        ("long", &long, "Too long: may not be more than 767"),
        ("api-key", "{url: \"https://h/x?api_key=planted\"}", "take the API key, token or other credential out"),
        ("bad-id", "{url: \"https://h/x\", gatewayId: \"planted blank\"}", "1 to 64 letters, digits, '.', '_' and '-'"),
        ("wrong-type", "{url: 5}", "must be of type string"),
        ("null", "{url: null}", "spec.url: Required value"),
        ("unknown-field", "{url: \"https://h/x\", urll: planted}", "unknown field \"spec.urll\""),
    ];
    for (name, spec, message) in cases {
        let output = create(&fleet, name, spec);
        let text = said(&output);
        assert!(!output.status.success(), "{name} was accepted");
        assert!(text.contains(message), "{name}: {text}");
        assert!(!text.contains("planted"), "{name} repeats its value: {text}");
    }
    for (name, url) in [("harmless", "https://h/x?monkey=1&keyspace=2&design=flat"), ("port", "http://[::1]:8080/")] {
        let output = create(&fleet, name, &format!("{{url: \"{url}\"}}"));
        assert!(output.status.success(), "{name}: {}", said(&output));
    }
}

#[tokio::test]
async fn a_status_with_a_lower_term_or_none_is_refused_by_the_api_server() {
    let fleet = Fleet::new("term", 0).await;
    fleet.create("a", "http://a.example/mcp").await;
    let patch = |status: Value| {
        let patch = json!({"status": status}).to_string();
        let arguments =
            ["patch", "mcpgw", "a", "-n", &fleet.namespace, "--subresource=status", "--type=merge", "-p", &patch];
        fleet.cluster.kubectl(&arguments).output().unwrap()
    };
    assert!(patch(json!({"term": 7})).status.success());
    assert!(patch(json!({"term": 7, "tier": "Hot"})).status.success());
    for (status, what) in
        [(json!({"term": 6}), "lower"), (json!({"term": null}), "dropped"), (Value::Null, "all dropped")]
    {
        let output = patch(status);
        assert!(!output.status.success(), "{what} was accepted");
        assert!(said(&output).contains("status.term must not fall or be dropped"), "{what}: {}", said(&output));
    }
    assert!(!patch(json!({"term": 0})).status.success(), "a term is at least 1");
    assert!(patch(json!({"term": 2_147_483_647})).status.success());
    assert!(patch(json!({"term": 8})).status.success(), "a tampered term may be overwritten");
}

#[tokio::test]
async fn a_new_object_is_pending() {
    let fleet = Fleet::new("pending", 0).await;
    let object = fleet.create("a", "http://a.example/mcp").await;
    assert_eq!(condition(&object, "Ready"), "Unknown/Pending");
    let text = fleet.cluster.kubectl_ok(&["get", "mcpgw", "a", "-n", &fleet.namespace, "-o", "json"]);
    assert!(!text.contains("null"), "{text}");
}

#[tokio::test]
async fn kubectl_get_explain_select_and_wait_work() {
    let fleet = Fleet::new("kubectl", 1).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("c", 10.0)]);
    let namespace = fleet.namespace.as_str();
    // The wait begins without an operator and must not end early.
    let arguments = ["wait", "--for=condition=Ready", "mcpgateway", "--all", "-n", namespace, "--timeout=60s"];
    let mut waiting = fleet.cluster.kubectl(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(waiting.try_wait().unwrap().is_none());
    let _operator = fleet.operator();
    let waited = tokio::task::spawn_blocking(move || waiting.wait_with_output().unwrap()).await.unwrap();
    assert!(waited.status.success(), "{}", said(&waited));
    assert_eq!(said(&waited).matches("condition met").count(), 5);
    fleet.settled().await;

    let show = |more: &[&str]| fleet.cluster.kubectl_ok(&[&["get", "mcpgw", "-n", namespace], more].concat());
    let table = show(&[]);
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "TIER", "READY", "REASON", "LAST", "USED", "AGE"]);
    assert_eq!(words[1][..4], ["a", "Cold", "True", "NeverUsed"]);
    assert_eq!(words[3][..4], ["c", "Hot", "True", "AboveCut"]);
    let wide = show(&["-o", "wide"]);
    for word in ["URL", "RANK", "ACTIVE", "SINCE", "http://c.example/mcp"] {
        assert!(wide.contains(word), "{word} is missing in:\n{wide}");
    }
    assert_eq!(show(&["--field-selector", "status.tier=Hot", "-o", "name"]).trim(), "mcpgateway.mcpgateway.io/c");
    assert_eq!(show(&["--field-selector", "spec.gatewayId=id-b", "-o", "name"]).trim(), "mcpgateway.mcpgateway.io/b");
    let by_url = show(&["--field-selector", "spec.url=http://d.example/mcp", "-o", "name"]);
    assert_eq!(by_url.trim(), "mcpgateway.mcpgateway.io/d");
    let everywhere = fleet.cluster.kubectl_ok(&["get", "mcpgateway", "-A"]);
    assert!(everywhere.starts_with("NAMESPACE") && everywhere.contains(namespace));
    let explained = fleet.cluster.kubectl_ok(&["explain", "mcpgateway.spec.url"]);
    assert!(explained.contains("FIELD: url <string>") && explained.contains("server's identity"), "{explained}");
    let tier = fleet.cluster.kubectl_ok(&["explain", "mcpgateway.status.tier"]);
    let folded = tier.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(folded.contains("polled at the full rate"), "{tier}");
}

/// A host on a network of its own: the other end of a link into a network namespace. Needs root.
struct Host {
    namespace: String,
    address: String,
}

impl Host {
    fn new() -> Self {
        let pid = std::process::id();
        let network = format!("198.18.{}", pid % 256);
        let (namespace, near, far) = (format!("mcpgw-{pid}"), format!("mg{pid}n"), format!("mg{pid}f"));
        let host = Self { namespace, address: format!("{network}.2") };
        let namespace = host.namespace.as_str();
        for command in [
            format!("netns add {namespace}"),
            format!("link add {near} type veth peer name {far} netns {namespace}"),
            format!("addr add {network}.1/30 dev {near}"),
            format!("link set {near} up"),
            format!("-n {namespace} addr add {network}.2/30 dev {far}"),
            format!("-n {namespace} link set {far} up"),
        ] {
            let output = Command::new("ip").args(command.split(' ')).output().expect("ip (iproute2)");
            assert!(output.status.success(), "ip {command}: {}", said(&output));
        }
        host
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).output();
    }
}

#[tokio::test]
async fn endpoints_behind_a_service_come_and_go_with_its_endpoint_slices() {
    let fleet = Fleet::new("slices", 0).await;
    fleet.create("a", "http://a.example/mcp").await;
    let service = format!("{}/gateway:usage", fleet.namespace);
    let operator = fleet.operator_with(&["--redis-url", &fleet.redis.url(), "--worker-service", &service]);
    let endpoints = |what: &'static str, expected: &'static str| {
        let fleet = &fleet;
        eventually(what, SOON, move || async move {
            Some(fleet.status().await).filter(|status| status.endpoints.summary == expected)
        })
    };
    let status = endpoints("no endpoint is known", "0/0").await;
    assert_eq!(status.failed(FleetConditionType::UsageComplete).expect("it is false").reason, "NoEndpoints");

    let slices: Api<EndpointSlice> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let slice = |name: &str, family: &str, address: &str, port: u16| {
        let slice = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": "gateway"}},
            "addressType": family,
            "endpoints": [{"addresses": [address], "conditions": {"ready": false}}],
            "ports": [{"name": "http", "port": 1}, {"name": "usage", "port": port}],
        }));
        let slices = slices.clone();
        async move { slices.create(&PostParams::default(), &slice.unwrap()).await }
    };
    // The API server refuses loopback addresses in a slice, but not a name that resolves to one.
    let worker = Worker::start().await;
    let port = reqwest::Url::parse(&worker.url()).unwrap().port().unwrap();
    assert!(slice("loopback", "IPv4", "127.0.0.1", port).await.is_err());
    slice("name", "FQDN", "worker.localhost", port).await.unwrap();
    let metric = "mcpgateway_operator_worker_discovery_failures_total{reason=\"Fqdn\"}";
    eventually("the name is refused", SOON, || async { (operator.metric(metric).await >= 1.0).then_some(()) }).await;
    operator.cycles(1).await;
    endpoints("the name is no endpoint", "0/0").await;
    assert_eq!(worker.asked(), 0, "the worker token went to an address that a name led to");

    // A host in a network namespace of its own, where nothing listens. The endpoint is not ready and is asked
    // nevertheless.
    let host = Host::new();
    slice("gateway-1", "IPv4", &host.address, 4444).await.unwrap();
    let status = endpoints("its endpoint is asked", "0/1").await;
    let asked = format!("http://{}:4444/mcpgateway/usage", host.address);
    assert_eq!(status.endpoints.silent[0].endpoint, asked);
    slices.delete("gateway-1", &DeleteParams::default()).await.unwrap();
    endpoints("the endpoint is forgotten", "0/0").await;
}

/// The term rule of the CRD against the same rule in Rust, which the model of the protocol uses.
#[tokio::test]
async fn the_term_rule_of_the_crd_equals_the_rule_in_rust() {
    let fleet = Fleet::new("term-rule", 0).await;
    let terms = [
        None,
        Some(1),
        Some(2),
        Some(1_000_001),
        Some(1_000_002),
        Some(1_000_003),
        Some(1_999_999_999),
        Some(i32::MAX),
    ];
    let (mut cases, mut refused) = (0, 0);
    for (before, after) in terms.into_iter().flat_map(|before| terms.map(|after| (before, after))) {
        let name = format!("case-{cases}");
        fleet.create(&name, "http://a.example/mcp").await;
        let write = |term: Option<i32>| {
            let (objects, name) = (fleet.objects.clone(), name.clone());
            let patch = Patch::Merge(json!({"status": {"rank": 3, "term": term}}));
            async move { objects.patch_status(&name, &PatchParams::default(), &patch).await }
        };
        write(before).await.unwrap();
        let answer = write(after).await;
        assert_eq!(answer.is_ok(), term_may_follow(before, after), "{before:?} to {after:?}: {answer:?}");
        refused += usize::from(answer.is_err());
        cases += 1;
    }
    println!("{cases} cases, {refused} refused");
    assert!(refused > 10 && cases > 2 * refused);
}
