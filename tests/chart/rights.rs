//! The permission table, on a real API server with the token of the chart's ServiceAccount: each right that the chart
//! grants is used, and there is no other.

mod requests;
mod sweep;
mod table;

use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};

use self::table::Places;
use crate::helm::{RELEASE, Rendered, chart, file, helm, template_as};
use crate::support::cluster::{Cluster, said};
use crate::support::fleet::{Fleet, used};
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};

/// The status ConfigMap of a release of this name.
const FACTS: &str = "mcpgateway-operator-status";

/// A release on a control plane of its own, with a fleet in one of the watched namespaces.
struct Installed {
    fleet: Fleet,
    places: Places,
    kubeconfig: tempfile::NamedTempFile,
    rendered: Rendered,
}

impl Installed {
    /// `listed`: with `watch.namespaces` and an owner id, so that no cluster-wide right is needed.
    async fn new(name: &str, listed: bool) -> Self {
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(name)));
        cluster.install_crd();
        let fleet = Fleet::on(cluster, "fleet", 1).await;
        let places = Places {
            home: cluster.namespace("home").await,
            watched: vec![fleet.namespace.clone(), cluster.namespace("watched").await],
            workers: cluster.namespace("workers").await,
            other: cluster.namespace("other").await,
            listed,
        };
        let mut values = json!({
            "crds": {"enabled": false},
            "workers": {"services": [format!("{}/usage:usage", places.workers)], "endpoints": [fleet.workers[0].url()]},
            "redis": {"url": fleet.redis.url()},
            "classification": {"interval": "2s"},
            "leaderElection": {"leaseDuration": "3s", "renewDeadline": "2s", "retryPeriod": "400ms"},
            "bindAddress": "127.0.0.1",
            "flowSchema": {"enabled": true},
        });
        if listed {
            values["watch"] = json!({"namespaces": places.watched});
            values["redis"]["ownerId"] = "rights".into();
        }
        let values = file(&values);
        let mut install = helm();
        install.env("KUBECONFIG", cluster.kubeconfig()).args(["install", RELEASE, "--namespace", &places.home]);
        let output = install.arg("--values").arg(values.path()).arg(chart()).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let rendered = Rendered::of(&template_as(RELEASE, &places.home, values.path()));
        let token = cluster.kubectl_ok(&["-n", &places.home, "create", "token", RELEASE]);
        let kubeconfig = with_token(cluster, token.trim());
        Self { fleet, places, kubeconfig, rendered }
    }

    /// Starts a replica with exactly the arguments of the chart's pods, except for the ports.
    fn operator(&self) -> Operator {
        let mut arguments = self.rendered.arguments();
        for argument in &mut arguments {
            if argument.contains("-bind-address=") {
                let flag = argument.split_once('=').unwrap().0.to_owned();
                *argument = format!("{flag}=127.0.0.1:0");
            }
        }
        Operator::start_with(self.kubeconfig.path(), &arguments)
    }

    async fn client(&self) -> Client {
        Client::try_from(self.fleet.cluster.config_of(self.kubeconfig.path()).await).unwrap()
    }

    /// A replica leads, publishes, writes statuses and reports no missing right.
    async fn the_operator_works(&self) {
        let fleet = &self.fleet;
        for name in ["a", "b", "c", "d", "e"] {
            fleet.create(name, &format!("http://{name}.example/mcp")).await;
        }
        fleet.workers[0].report(vec![used("c", 10.0)]);
        let mut operator = self.operator();
        operator.ready().await;
        let tiers = fleet.settled().await;
        assert!(tiers.hot.contains("http://c.example/mcp") && tiers.cold.len() == 4, "{tiers:?}");
        operator.cycles(2).await;
        assert_eq!(operator.metric("mcpgateway_operator_permissions_missing").await.to_string(), "0");
        let home = &self.places.home;
        eventually("an Event on the Lease", SOON, || async {
            let events = fleet.cluster.kubectl_ok(&["-n", home, "get", "events.events.k8s.io", "-o", "name"]);
            (!events.trim().is_empty()).then_some(())
        })
        .await;
        let facts = fleet.cluster.kubectl_ok(&["-n", home, "get", "configmap", FACTS, "-o", "json"]);
        let facts: Value = serde_json::from_str(&facts).unwrap();
        assert_eq!(facts["data"]["permissions"], "Fine");
        let log = operator.log();
        assert!(!log.to_lowercase().contains("forbidden") && !log.contains("not allowed"), "{log}");
        assert!(operator.stop().await.success());
    }

    /// A user who may edit a namespace may edit its objects, and only the operator may write their status. The
    /// controller that aggregates roles does not run here, so the roles themselves are bound.
    fn the_roles_for_people_do_not_reach_a_status(&self) {
        let (cluster, namespace) = (self.fleet.cluster, self.fleet.namespace.as_str());
        for role in ["view", "edit"] {
            let named = format!("--clusterrole={}-{RELEASE}-{role}", self.places.home);
            cluster.kubectl_ok(&["-n", namespace, "create", "rolebinding", role, &named, &format!("--user={role}")]);
        }
        let can = |user: &str, verb: &str, sub: &str| {
            let (user, sub) = (format!("--as={user}"), format!("--subresource={sub}"));
            let asked = ["-n", namespace, "auth", "can-i", verb, "mcpgateways.mcpgateway.io", &user, &sub];
            let output = cluster.kubectl(&asked).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim() == "yes"
        };
        for verb in ["get", "list", "watch"] {
            assert!(can("view", verb, ""), "view: {verb}");
        }
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            assert!(!can("view", verb, ""), "view: {verb}");
            assert!(can("edit", verb, ""), "edit: {verb}");
        }
        for user in ["view", "edit"] {
            for verb in ["get", "update", "patch"] {
                assert!(!can(user, verb, "status"), "{user}: {verb} status");
            }
        }
    }

    /// The API server assigns requests about the Lease, and no others, to the chart's `FlowSchema`.
    async fn renewals_have_a_queue_of_their_own(&self, client: &Client) {
        let (cluster, home) = (self.fleet.cluster, &self.places.home);
        let name = format!("{home}-{RELEASE}");
        let uid = cluster.kubectl_ok(&["get", "flowschema", &name, "-o", "jsonpath={.metadata.uid}"]);
        let (lease, facts) = (format!("leases/{RELEASE}"), format!("configmaps/{FACTS}"));
        let of_lease =
            || requests::flow_schema(client, format!("/apis/coordination.k8s.io/v1/namespaces/{home}/{lease}"));
        eventually("the FlowSchema counts", SOON, || async { (of_lease().await == uid).then_some(()) }).await;
        assert_ne!(requests::flow_schema(client, format!("/api/v1/namespaces/{home}/{facts}")).await, uid);
    }

    /// The rendered admission policy is in force: the write of a stale leader is refused.
    async fn a_stale_leader_is_refused(&self, client: &Client) {
        let cluster = self.fleet.cluster;
        let raise = r#"{"spec":{"leaseTransitions":7}}"#;
        cluster.kubectl_ok(&["-n", &self.places.home, "patch", "lease", RELEASE, "--type=merge", "-p", raise]);
        let write = |term: i32| requests::patch_status(client, &self.fleet.namespace, "a", json!({"term": term}));
        eventually("the policy is in force", SOON, || async {
            let (code, message) = write(6).await;
            assert!([200, 422].contains(&code), "{code} {message}");
            (code == 422 && message.contains("must not be below leaseTransitions of the Lease")).then_some(())
        })
        .await;
        assert_eq!(write(7).await.0, 200);
    }
}

/// A kubeconfig for this cluster with only a token, as in a pod.
fn with_token(cluster: &Cluster, token: &str) -> tempfile::NamedTempFile {
    let raw = cluster.kubectl_ok(&["config", "view", "--raw", "-o", "json"]);
    let mut kubeconfig: Value = serde_json::from_str(&raw).expect("JSON");
    kubeconfig["users"][0]["user"] = json!({"token": token});
    file(&kubeconfig)
}

async fn proven(name: &str, listed: bool) {
    let installed = Installed::new(name, listed).await;
    installed.the_operator_works().await;
    let client = installed.client().await;
    let rights = table::rights(&installed.places);
    // Each right is used.
    let used = requests::use_all(&client, &installed.places, FACTS, &rights).await;
    // There is no other rule in any namespace,
    let baseline = sweep::baseline(&installed.fleet, &installed.places).await;
    sweep::only_these_rules(&client, &installed.places, &rights, &baseline).await;
    // nothing else is allowed on any resource of the API server,
    let (asked, refused) = sweep::ask_everything(&client, &installed.places, &rights, &baseline).await;
    // and real requests for a sample are refused.
    let tried = requests::refused(&client, &installed.fleet, &installed.places).await;
    installed.renewals_have_a_queue_of_their_own(&client).await;
    installed.a_stale_leader_is_refused(&client).await;
    installed.the_roles_for_people_do_not_reach_a_status();
    eprintln!("{name}: {used} rights used; {refused} of {asked} questions answered no; {tried} requests refused");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Helm: make chart-test"]
async fn the_operator_works_with_the_rights_of_the_chart_and_has_no_others() {
    proven("chart-rights", false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Helm: make chart-test"]
async fn with_listed_namespaces_it_has_no_right_outside_them() {
    proven("chart-listed", true).await;
}

/// The limit of one request.
const REQUEST: Duration = Duration::from_secs(20);
