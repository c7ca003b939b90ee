//! The admission policy that holds the operator's status writes against the Lease, on the real API server.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::*;

/// A fleet whose operator is a user of its own, under the policy.
struct Guarded {
    fleet: Fleet,
    kubeconfig: tempfile::NamedTempFile,
}

impl Guarded {
    async fn new(test: &str) -> Self {
        let fleet = Fleet::new(test, 1).await;
        let user = format!("system:serviceaccount:{}:operator", fleet.namespace);
        let kubeconfig = fleet.cluster.kubeconfig_as(&user);
        let binding =
            ["create", "clusterrolebinding", &fleet.namespace, "--clusterrole=cluster-admin", "--user", &user];
        fleet.cluster.kubectl_ok(&binding);
        Self { fleet, kubeconfig }
    }

    fn install(&self) {
        self.fleet.cluster.install_admission_policy(&self.fleet.namespace, None);
    }

    fn operator(&self) -> Operator {
        self.fleet.operator_as(self.kubeconfig.path(), &["--redis-url", &self.fleet.redis.url()])
    }

    async fn lease(&self) -> Option<Lease> {
        let api: Api<Lease> = Api::namespaced(self.fleet.client.clone(), &self.fleet.namespace);
        api.get_opt("mcpgateway-operator").await.unwrap()
    }

    async fn transitions(&self) -> i32 {
        self.lease().await.and_then(|lease| lease.spec?.lease_transitions).unwrap_or_default()
    }

    /// Writes `rank` 77 and this term to an object's status, as the operator's user, on its present version: what a
    /// leader would send that was frozen between deciding and sending. Says what was answered: 200, or code and message.
    async fn write(&self, name: &str, term: Option<i32>) -> (u16, String) {
        let config = self.fleet.cluster.config_of(self.kubeconfig.path()).await;
        let api: Api<McpGateway> = Api::namespaced(Client::try_from(config).unwrap(), &self.fleet.namespace);
        let version = self.fleet.get(name).await.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version}, "status": {"rank": 77, "term": term}});
        match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => (200, String::new()),
            Err(kube::Error::Api(status)) => (status.code, status.message),
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the policy is in force, which takes the API server a moment: until an object is refused a write at
    /// the term that it has, which is below the Lease's.
    async fn in_force(&self, name: &str) {
        let below = self.fleet.get(name).await.status.and_then(|status| status.term);
        assert!(below < Some(self.transitions().await), "{below:?}");
        eventually("the policy is in force", SOON, || async {
            let (code, message) = self.write(name, below).await;
            (code != 200 && code != 409 && message.contains("leaseTransitions")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_stale_leader_is_refused_on_objects_that_its_successor_has_not_touched() {
    let guarded = Guarded::new("policy-stale").await;
    let fleet = &guarded.fleet;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("a", 10.0)]);
    let first = guarded.operator();
    fleet.settled().await;
    let second = guarded.operator();
    second.ready().await;
    let old = guarded.transitions().await;
    first.signal("STOP");
    eventually("the other leads", SOON, || async { (guarded.transitions().await > old).then_some(()) }).await;
    second.cycles(2).await;
    let term = fleet.get("c").await.status.and_then(|status| status.term);
    assert_eq!(term, Some(old), "its status says nothing new");

    // Without the policy, a write that was decided before the freeze is accepted on that object.
    assert_eq!(guarded.write("d", Some(old)).await.0, 200);
    guarded.install();
    guarded.in_force("c").await;
    let untouched = fleet.get("c").await;
    let (code, message) = guarded.write("c", Some(old)).await;
    assert_eq!(code, 422, "{message}");
    assert!(message.contains("status.term must not be below leaseTransitions of the Lease"), "{message}");
    assert_eq!(guarded.write("c", None).await.0, 422, "nor without a term");
    assert_eq!(fleet.get("c").await.metadata.resource_version, untouched.metadata.resource_version);
    assert_eq!(guarded.write("c", Some(old + 1)).await.0, 200, "the present leader's is accepted");

    // The real one wakes up and does no harm either; nobody else is kept from writing.
    first.signal("CONT");
    let patch = json!({"status": {"term": old + 1, "rank": 5}});
    fleet.objects.patch_status("e", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    fleet.edit("b", json!({"enabled": false})).await;
    eventually("what was meddled with is put right", SOON, || async {
        let ranks = fleet.all().await.into_iter().filter_map(|object| object.status?.rank);
        (!ranks.into_iter().any(|rank| rank == 77)).then_some(())
    })
    .await;
    assert_eq!(second.metric("mcpgateway_operator_status_writes_total{outcome=\"fenced\"}").await.to_string(), "0");
}

#[tokio::test]
async fn the_policy_never_stops_the_fleet() {
    let guarded = Guarded::new("policy-lease").await;
    let fleet = &guarded.fleet;
    fleet.create("a", "http://a.example/mcp").await;
    fleet.workers[0].report(vec![used("a", 10.0)]);
    let mut operator = guarded.operator();
    fleet.settled().await;
    operator.stop().await;
    operator = guarded.operator();
    eventually("the second leader", SOON, || async { (guarded.transitions().await == 2).then_some(()) }).await;
    guarded.install();
    guarded.in_force("a").await;
    let lease = |spec: &str| {
        let namespace = &fleet.namespace;
        let patch = ["patch", "lease", "mcpgateway-operator", "-n", namespace, "--type=merge", "-p", spec];
        fleet.cluster.kubectl_ok(&patch);
    };
    let tampering = [
        r#"{"spec":{"leaseTransitions":2147483647}}"#,
        r#"{"spec":{"leaseTransitions":1999999998}}"#,
        r#"{"spec":{"leaseTransitions":1999999999}}"#,
        r#"{"spec":{"leaseTransitions":null}}"#,
        r#"{"spec":null}"#,
        "delete",
    ];
    for (number, spec) in tampering.into_iter().enumerate() {
        if spec == "delete" {
            fleet.cluster.kubectl_ok(&["delete", "lease", "mcpgateway-operator", "-n", &fleet.namespace]);
        } else {
            lease(spec);
        }
        // Something to write: a new object gets its tier within the promised time.
        let name = format!("n{number}");
        fleet.create(&name, &format!("http://{name}.example/mcp")).await;
        let limit = Duration::from_secs(2 + 5 + 3 + 10);
        eventually(&format!("a tier after {spec}"), limit, || async {
            fleet.get(&name).await.status.and_then(|status| status.tier)
        })
        .await;
        fleet.settled().await;
        let (term, status) = (guarded.transitions().await, fleet.get(&name).await.status.and_then(|s| s.term));
        println!("{spec}: goes on at term {term}, status at {status:?}");
    }
    drop(operator);
}

/// One release without its Lease must not keep others from writing: the API server decides what happens without a
/// parameter before it looks at whom the policy is for.
#[tokio::test]
async fn a_policy_whose_lease_is_missing_stops_nobody() {
    let (guarded, other) = (Guarded::new("policy-none").await, Guarded::new("policy-other").await);
    guarded.install();
    // In force by the time a policy that was made after it is.
    other.fleet.create("a", "http://a.example/mcp").await;
    other.fleet.workers[0].report(vec![used("a", 10.0)]);
    let mut operator = other.operator();
    other.fleet.settled().await;
    operator.stop().await;
    operator = other.operator();
    eventually("the second leader", SOON, || async { (other.transitions().await == 2).then_some(()) }).await;
    other.install();
    other.in_force("a").await;
    other.fleet.create("b", "http://b.example/mcp").await;
    other.fleet.settled().await;
    assert_eq!(other.write("a", Some(2)).await.0, 200);
    assert_eq!(operator.metric("mcpgateway_operator_status_writes_total{outcome=\"refused\"}").await.to_string(), "0");
}
