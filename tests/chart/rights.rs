//! The permission table, on a real API server with the token of the chart's ServiceAccount: each right that the chart
//! grants is used, and there is no other.

mod kustomize;
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

/// A release on a control plane of its own, with a fleet in one of the watched namespaces.
struct Installed {
    fleet: Fleet,
    places: Places,
    kubeconfig: tempfile::NamedTempFile,
    rendered: Rendered,
}

impl Installed {
    /// `listed`: with `watch.namespaces` and owner ids, so that no cluster-wide right is needed, and with registration
    /// in one of these namespaces and a mirror in another.
    async fn new(name: &str, listed: bool) -> Self {
        let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start(name)));
        cluster.install_crd();
        let fleet = Fleet::on(cluster, "fleet", 1).await;
        let places = Places {
            home: cluster.namespace("home").await,
            watched: vec![
                fleet.namespace.clone(),
                cluster.namespace("watched").await,
                cluster.namespace("mirrored").await,
            ],
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
            // There is no ContextForge: the rights are used by this test.
            let namespaces = [places.registered()];
            values["contextForge"] = json!({
                "url": "http://127.0.0.1:1", "tokenSecret": {"name": "contextforge"}, "ownerId": "rights",
                "registration": {"namespaces": namespaces, "secretNamespaces": namespaces},
                "mirrorNamespace": places.mirror(),
            });
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
        eventually("an Event", SOON, || async {
            let events = fleet.cluster.kubectl_ok(&["-n", home, "get", "events.events.k8s.io", "-o", "name"]);
            (!events.trim().is_empty()).then_some(())
        })
        .await;
        let fleet_object = fleet.cluster.kubectl_ok(&["-n", home, "get", "mcpfleet", RELEASE, "-o", "json"]);
        let fleet_object: Value = serde_json::from_str(&fleet_object).unwrap();
        let conditions = fleet_object["status"]["conditions"].as_array().unwrap();
        let permitted = conditions.iter().find(|condition| condition["type"] == "Permitted").expect("Permitted");
        assert_eq!(permitted["status"], "True", "{permitted}");
        let log = operator.log();
        assert!(!log.to_lowercase().contains("forbidden") && !log.contains("permission denied"), "{log}");
        assert!(operator.stop().await.success());
    }

    /// Editors of a namespace may edit its objects and suspend its fleet, and only the operator writes a status. The
    /// controller that aggregates roles does not run here, so the roles themselves are bound.
    fn people_may_write_no_status(&self) {
        let (cluster, namespace) = (self.fleet.cluster, self.fleet.namespace.as_str());
        for role in ["view", "edit"] {
            let named = format!("--clusterrole={}-{RELEASE}-{role}", self.places.home);
            cluster.kubectl_ok(&["-n", namespace, "create", "rolebinding", role, &named, &format!("--user={role}")]);
        }
        let can = |user: &str, verb: &str, resource: &str, sub: &str| {
            let resource = format!("{resource}.mcpgateway.io");
            let (user, sub) = (format!("--as={user}"), format!("--subresource={sub}"));
            let asked = ["-n", namespace, "auth", "can-i", verb, &resource, &user, &sub];
            let output = cluster.kubectl(&asked).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim() == "yes"
        };
        for verb in ["get", "list", "watch"] {
            assert!(can("view", verb, "mcpgateways", ""), "view: {verb}");
            assert!(can("view", verb, "mcpgatewayfleets", ""), "view: {verb} fleets");
        }
        for verb in ["create", "update", "patch", "delete", "deletecollection"] {
            for resource in ["mcpgateways", "mcpgatewayfleets"] {
                assert!(!can("view", verb, resource, ""), "view: {verb} {resource}");
            }
            assert!(can("edit", verb, "mcpgateways", ""), "edit: {verb}");
            let suspends = ["update", "patch"].contains(&verb);
            assert_eq!(can("edit", verb, "mcpgatewayfleets", ""), suspends, "edit: {verb} fleets");
        }
        for user in ["view", "edit"] {
            for verb in ["get", "update", "patch"] {
                assert!(!can(user, verb, "mcpgateways", "status"), "{user}: {verb} status");
            }
            for verb in ["update", "patch"] {
                assert!(!can(user, verb, "mcpgatewayfleets", "status"), "{user}: {verb} status of fleets");
            }
        }
        assert!(can("view", "get", "mcpgatewayfleets", "status"));
        // `status` compares the fleet object with the Lease of this release, and with no other.
        let may_read = |lease: &str| {
            let lease = format!("leases.coordination.k8s.io/{lease}");
            let output = cluster.kubectl(&["-n", namespace, "auth", "can-i", "get", &lease, "--as=view"]).output();
            String::from_utf8(output.unwrap().stdout).unwrap().trim() == "yes"
        };
        assert!(may_read(RELEASE) && !may_read("another"));
    }

    /// The API server assigns requests about the Lease, and no others, to the chart's `FlowSchema`.
    async fn renewals_have_a_queue_of_their_own(&self, client: &Client) {
        let (cluster, home) = (self.fleet.cluster, &self.places.home);
        let name = format!("{home}-{RELEASE}");
        let uid = cluster.kubectl_ok(&["get", "flowschema", &name, "-o", "jsonpath={.metadata.uid}"]);
        let applied = |group: &str, resource: &str| {
            requests::flow_schema(client, format!("/apis/{group}/namespaces/{home}/{resource}/{RELEASE}"))
        };
        let to_lease = || applied("coordination.k8s.io/v1", "leases");
        eventually("the FlowSchema is in force", SOON, || async { (to_lease().await == uid).then_some(()) }).await;
        assert_ne!(applied("mcpgateway.io/v1alpha1", "mcpgatewayfleets").await, uid);
    }

    /// The rendered admission policy is in force: the write of a stale leader is refused.
    async fn a_stale_leader_is_refused(&self, client: &Client) {
        let cluster = self.fleet.cluster;
        let raise = r#"{"spec":{"leaseTransitions":7}}"#;
        cluster.kubectl_ok(&["-n", &self.places.home, "patch", "lease", RELEASE, "--type=merge", "-p", raise]);
        let objects =
            [("mcpgateways", self.fleet.namespace.as_str(), "a"), ("mcpgatewayfleets", &self.places.home, RELEASE)];
        for (resource, namespace, name) in objects {
            let write = |term: i32| requests::write_term(client, resource, namespace, name, term);
            eventually("the policy is in force", SOON, || async {
                let (code, message) = write(6).await;
                assert!([200, 422].contains(&code), "{resource}: {code} {message}");
                (code == 422 && message.contains("must not be below leaseTransitions of the Lease")).then_some(())
            })
            .await;
            assert_eq!(write(7).await.0, 200, "{resource}");
        }
    }
}

/// A kubeconfig for the same cluster with only a token, as in a pod.
fn with_token(cluster: &Cluster, token: &str) -> tempfile::NamedTempFile {
    let raw = cluster.kubectl_ok(&["config", "view", "--raw", "-o", "json"]);
    let mut kubeconfig: Value = serde_json::from_str(&raw).expect("JSON");
    kubeconfig["users"][0]["user"] = json!({"token": token});
    file(&kubeconfig)
}

async fn check_rights(name: &str, listed: bool) {
    let installed = Installed::new(name, listed).await;
    installed.the_operator_works().await;
    let client = installed.client().await;
    let rights = table::rights(&installed.places);
    let used = requests::use_all(&client, &installed.places, &rights).await;
    let baseline = sweep::baseline(&installed.fleet, &installed.places).await;
    sweep::only_these_rules(&client, &installed.places, &rights, &baseline).await;
    let (asked, denied) = sweep::ask_about_everything(&client, &installed.places, &rights, &baseline).await;
    let refused = requests::refused(&client, &installed.fleet, &installed.places).await;
    installed.renewals_have_a_queue_of_their_own(&client).await;
    installed.a_stale_leader_is_refused(&client).await;
    installed.people_may_write_no_status();
    eprintln!("{name}: {used} rights used; {denied} of {asked} questions denied; {refused} requests refused");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Helm: make chart-test"]
async fn the_operator_works_with_the_rights_of_the_chart_and_has_no_others() {
    check_rights("chart-rights", false).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Helm: make chart-test"]
async fn with_listed_namespaces_it_has_no_right_outside_them() {
    check_rights("chart-listed", true).await;
}

/// The limit of one request.
const REQUEST: Duration = Duration::from_secs(20);
