//! The mirror (`--mirror-namespace`): a real API server, the real operator, and a stand-in for `ContextForge`, which
//! the release cannot be made to answer with an empty list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use mcpgateway_operator::api::v1alpha1::{McpGateway, MirrorStatus};
use mcpgateway_operator::clock;
use mcpgateway_operator::leadership::LeadershipToken;
use mcpgateway_operator::model::{GatewayId, ServerUrl, Term, Tier};
use mcpgateway_operator::registrar::mirror::{Metrics, Mirror, MirrorReport};
use mcpgateway_operator::registration::mirror::{Change, MirrorPlan, MirroredObject, MirroredSpec};
use serde_json::{Value, json};

use super::support::cluster::{Cluster, cluster};
use super::support::contextforge::{ContextForge, id};
use super::support::fleet::{Fleet, used_as};
use super::support::operator::Operator;
use super::support::{SOON, eventually};

const MIRRORED: &str = "mcpgateway.io/mirrored=true";
const TERM: &str = "mcpgateway.io/term";

/// A fleet with a mirror.
struct Mirrored {
    fleet: Fleet,
    contextforge: ContextForge,
    objects: Api<McpGateway>,
    namespace: String,
    operator: Operator,
    _token: tempfile::NamedTempFile,
}

impl Mirrored {
    async fn new(test: &str, gateways: std::ops::Range<u32>) -> Self {
        let fleet = Fleet::new(test, 1).await;
        let namespace = fleet.cluster.namespace(&format!("{test}-m")).await;
        let objects: Api<McpGateway> = Api::namespaced(fleet.client.clone(), &namespace);
        // Without the label: it is never touched, and it speaks for its gateway.
        let plain = with_id("plain", &id(1));
        objects.create(&PostParams::default(), &plain).await.unwrap();
        let contextforge = ContextForge::default();
        gateways.for_each(|number| contextforge.register(number));
        let url = contextforge.start().await;
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "planted-token").unwrap();
        let flags = ["--watch-namespace", &namespace, "--mirror-namespace", &namespace, "--contextforge-url", &url];
        let more = ["--contextforge-resync", "5s", "--contextforge-requests-per-minute", "1200"];
        let redis = fleet.redis.url();
        let file = token.path().display().to_string();
        let rest = ["--contextforge-token-file", &file, "--redis-url", &redis];
        let operator = fleet.operator_with(&[&flags[..], &more[..], &rest[..]].concat());
        Self { fleet, contextforge, objects, namespace, operator, _token: token }
    }

    async fn all(&self) -> BTreeMap<String, McpGateway> {
        let found = self.objects.list(&ListParams::default().labels(MIRRORED)).await.unwrap();
        found.items.into_iter().map(|object| (object.spec.gateway_id.clone().unwrap_or_default(), object)).collect()
    }

    async fn ids(&self) -> BTreeSet<String> {
        self.all().await.into_keys().collect()
    }

    async fn until(&self, what: &str, numbers: impl Iterator<Item = u32>) {
        let expected: BTreeSet<String> = numbers.map(id).collect();
        eventually(what, SOON, || async { (self.ids().await == expected).then_some(()) }).await;
    }

    async fn status(&self, what: &str, is: impl Fn(&MirrorStatus) -> bool) -> MirrorStatus {
        eventually(what, SOON, || async { self.fleet.status().await.mirror.filter(|status| is(status)) }).await
    }
}

fn with_id(name: &str, id: &str) -> McpGateway {
    let object = json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "metadata": {"name": name},
        "spec": {"url": format!("http://{name}.example/git"), "gatewayId": id},
    });
    serde_json::from_value(object).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_people_register_become_objects_and_follow() {
    let begun = Instant::now();
    let mirrored = Mirrored::new("mirror", 1..122).await;
    mirrored.until("an object for each gateway that no object speaks for", 2..122).await;
    println!("120 objects after {:?}", begun.elapsed());
    let all = mirrored.all().await;
    let first = &all[&id(2)];
    assert_eq!((first.spec.url.as_str(), first.spec.enabled), ("http://server-2.example/mcp", true));
    assert_eq!(first.metadata.annotations.as_ref().unwrap()[TERM], "1");
    // Workers know the gateway by its id.
    mirrored.fleet.workers[0].report(vec![used_as(Some(&id(2)), "http://elsewhere.example".into())]);
    eventually("each is classified", SOON, || async {
        let all = mirrored.all().await;
        all.values().all(|object| object.status.as_ref().is_some_and(|status| status.tier.is_some())).then_some(())
    })
    .await;
    assert_eq!(mirrored.all().await[&id(2)].status.as_ref().unwrap().tier, Some(Tier::Hot));

    // It follows its gateway, and what somebody else changes is put right.
    mirrored.contextforge.edit(2, "enabled", json!(false));
    mirrored.contextforge.edit(3, "url", json!("http://moved.example/mcp"));
    let name = all[&id(4)].metadata.name.as_deref().unwrap();
    let edit = json!({"spec": {"url": "http://foreign.example", "polling": {"tier": "Hot"}, "gatewayId": "foreign"}});
    mirrored.objects.patch(name, &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    eventually("all three are as they should be", SOON, || async {
        let all = mirrored.all().await;
        let fourth = all.get(&id(4))?;
        (!all[&id(2)].spec.enabled
            && all[&id(3)].spec.url == "http://moved.example/mcp"
            && fourth.spec.url == "http://server-4.example/mcp"
            && fourth.spec.polling.is_some()
            && fourth.metadata.name.as_deref() == Some(name))
        .then_some(())
    })
    .await;

    (112..122).for_each(|number| mirrored.contextforge.remove(number));
    mirrored.until("ten have gone", 2..112).await;

    // An object of a person takes over, and gives back.
    mirrored.fleet.objects.create(&PostParams::default(), &with_id("git", &id(5))).await.unwrap();
    mirrored.until("the mirrored one yields", (2..5).chain(6..112)).await;
    eventually("the other one has the gateway", SOON, || async {
        let object = mirrored.fleet.get("git").await;
        let conditions = object.status?.conditions;
        conditions.iter().any(|one| one.type_ == "Accepted" && one.status == "True").then_some(())
    })
    .await;
    mirrored.fleet.delete("git").await;
    mirrored.until("the mirrored one is back", 2..112).await;

    mirrored.contextforge.register(500);
    mirrored.contextforge.edit(500, "url", json!("http://h.example/mcp?api_key=planted"));
    let status = mirrored.status("it says what it cannot mirror", |status| status.not_mirrored == 1).await;
    assert_eq!(status.examples, ["Server 500: a credential in the URL"]);
    assert_eq!((status.objects, status.held, &status.namespace), (110, None, &mirrored.namespace));
    let plain = mirrored.objects.get("plain").await.unwrap();
    assert_eq!((plain.spec.url.as_str(), plain.metadata.generation), ("http://plain.example/git", Some(1)));
    let log = mirrored.operator.log();
    let warnings = log.lines().filter(|line| line.contains("WARN") && line.contains("mirror"));
    assert_eq!(warnings.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(!log.contains("planted"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_list_takes_nothing_away() {
    let mirrored = Mirrored::new("mirror-held", 2..22).await;
    mirrored.until("an object for each gateway", 2..22).await;
    let before = mirrored.all().await;
    mirrored.contextforge.list_nothing(true);
    let status = mirrored.status("it says that it holds", |status| status.held.is_some()).await;
    assert_eq!((status.objects, status.held), (20, Some(20)));
    let held = mirrored.operator.metric("mcpgateway_operator_mirror_held").await;
    assert_eq!(held.to_string(), "20");
    // None was even asked for: that would not change the answer.
    assert!(!mirrored.operator.log().contains("call=\"get\""));
    // What a person deletes is really gone.
    let name = before[&id(2)].metadata.name.as_deref().unwrap();
    mirrored.objects.delete(name, &DeleteParams::default()).await.unwrap();
    mirrored.status("one less is held", |status| status.held == Some(19)).await;
    mirrored.contextforge.list_nothing(false);
    mirrored.status("it follows again", |status| status.held.is_none() && status.objects == 20).await;
    let uids = |all: BTreeMap<String, McpGateway>| -> BTreeSet<_> {
        all.into_values().filter_map(|object| object.metadata.uid).collect()
    };
    let (before, after) = (uids(before), uids(mirrored.all().await));
    assert_eq!((before.intersection(&after).count(), after.len()), (19, 20));
}

/// The operator's user beside a Lease, under the policy, and the mirror of a leader with a term of its own.
struct Guarded {
    cluster: &'static Cluster,
    kubeconfig: tempfile::NamedTempFile,
    namespace: String,
}

impl Guarded {
    async fn new(test: &str, transitions: i32) -> Self {
        let cluster = cluster();
        let namespace = cluster.namespace(test).await;
        let user = format!("system:serviceaccount:{namespace}:operator");
        let kubeconfig = cluster.kubeconfig_as(&user);
        let binding = ["create", "clusterrolebinding", &namespace, "--clusterrole=cluster-admin", "--user", &user];
        cluster.kubectl_ok(&binding);
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"leaseTransitions": transitions},
            "metadata": {"name": "mcpgateway-operator", "namespace": namespace},
        });
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(&file, lease.to_string()).unwrap();
        cluster.kubectl_ok(&["apply", "-f", &file.path().display().to_string()]);
        cluster.install_admission_policy(&namespace, None);
        Self { cluster, kubeconfig, namespace }
    }

    async fn apply(&self, term: i64, change: Change) -> MirrorReport {
        let client = Client::try_from(self.cluster.config_of(self.kubeconfig.path()).await).unwrap();
        let until = clock::monotonic().after(Duration::from_secs(60));
        let token = LeadershipToken::for_tests(Term::new(term).unwrap(), until);
        Mirror::new(client, &self.namespace, Metrics::default()).apply(&token, vec![change]).await
    }

    async fn found(&self, name: &str) -> Option<MirroredObject> {
        let objects: Api<McpGateway> = Api::namespaced(self.cluster.client().await, &self.namespace);
        let object = objects.get_opt(name).await.unwrap()?;
        Some(MirroredObject {
            name: name.into(),
            uid: object.metadata.uid?.as_str().into(),
            resource_version: object.metadata.resource_version?.as_str().into(),
            url: ServerUrl::parse(&object.spec.url).ok(),
            id: GatewayId::parse(&object.spec.gateway_id?),
            enabled: object.spec.enabled,
            registration: object.spec.registration.is_some(),
        })
    }
}

fn create(name: &str) -> Change {
    Change::Create { name: name.into(), spec: spec(true) }
}

fn spec(enabled: bool) -> MirroredSpec {
    let (url, id) = (ServerUrl::parse("http://a.example/").unwrap(), GatewayId::parse("a1").unwrap());
    MirroredSpec { url, id, enabled }
}

const DONE: MirrorReport = MirrorReport { done: 1, overtaken: 0, left: 0, fenced: false };
const FENCED: MirrorReport = MirrorReport { done: 0, overtaken: 0, left: 1, fenced: true };
const OVERTAKEN: MirrorReport = MirrorReport { done: 0, overtaken: 1, left: 0, fenced: false };

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_an_old_term_changes_no_mirrored_object() {
    let guarded = Guarded::new("mirror-policy", 7).await;
    let tries = std::cell::Cell::new(0);
    eventually("the policy is in force", SOON, || async {
        tries.set(tries.get() + 1);
        (guarded.apply(6, create(&format!("try-{}", tries.get()))).await == FENCED).then_some(())
    })
    .await;
    assert_eq!(guarded.apply(7, create("a")).await, DONE);
    assert_eq!(guarded.apply(7, create("a")).await, OVERTAKEN);
    let object = guarded.found("a").await.unwrap();
    let update = |object: &MirroredObject| Change::Update { object: object.clone(), spec: spec(false) };
    assert_eq!(guarded.apply(6, update(&object)).await, FENCED);
    assert_eq!(guarded.apply(6, Change::Delete(object.clone())).await, FENCED);
    assert_eq!(guarded.found("a").await, Some(object.clone()), "untouched");

    assert_eq!(guarded.apply(8, update(&object)).await, DONE);
    let latest = guarded.found("a").await.unwrap();
    assert!(!latest.enabled);
    // The version of the plan is another one by now, or another object has the name.
    assert_eq!(guarded.apply(8, Change::Delete(object.clone())).await, OVERTAKEN);
    let other = MirroredObject { uid: "another".into(), ..latest.clone() };
    assert_eq!(guarded.apply(8, Change::Delete(other)).await, OVERTAKEN);
    assert_eq!(guarded.apply(7, Change::Delete(latest)).await, DONE);
    assert_eq!(guarded.found("a").await, None);

    // A stale leader cannot delete by the bare call either, what its successor has written; people and other objects
    // are none of the policy's business.
    assert_eq!(guarded.apply(8, create("b")).await, DONE);
    let config = guarded.cluster.config_of(guarded.kubeconfig.path()).await;
    let own: Api<DynamicObject> = Api::namespaced_with(
        Client::try_from(config).unwrap(),
        &guarded.namespace,
        &kube::api::ApiResource::erase::<McpGateway>(&()),
    );
    let annotate = |value: Value| Patch::Merge(json!({"metadata": {"annotations": {TERM: value}}}));
    for value in [json!("6"), json!("x"), Value::Null] {
        let error = own.patch("b", &PatchParams::default(), &annotate(value.clone())).await.unwrap_err();
        assert!(error.to_string().contains("must not be below leaseTransitions"), "{value}: {error}");
    }
    let plain = with_id("c", "c1");
    let people: Api<McpGateway> = Api::namespaced(guarded.cluster.client().await, &guarded.namespace);
    people.patch("b", &PatchParams::default(), &annotate(json!("6"))).await.unwrap();
    assert!(own.delete("b", &DeleteParams::default()).await.is_err());
    people.create(&PostParams::default(), &plain).await.unwrap();
    own.patch("c", &PatchParams::default(), &annotate(json!("1"))).await.unwrap();
    own.delete("c", &DeleteParams::default()).await.unwrap();
    people.delete("b", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_namespace_that_is_missing_is_a_problem_and_no_panic() {
    let client = cluster().client().await;
    let until = clock::monotonic().after(Duration::from_secs(60));
    let token = LeadershipToken::for_tests(Term::FIRST, until);
    let mut mirror = Mirror::new(client, "missing-for-the-mirror", Metrics::default());
    let changes: Vec<Change> = (0..100).map(|number| create(&format!("a-{number}"))).collect();
    assert_eq!(mirror.apply(&token, changes).await, MirrorReport { left: 100, ..MirrorReport::default() });
    let status = mirror.status(&MirrorPlan::default(), 0, 0);
    assert_eq!(status.problem.as_deref(), Some("NamespaceMissing: create the namespace of --mirror-namespace"));
}
