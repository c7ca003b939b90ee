//! The rendered manifests after kustomize has changed their names.

use kube::Client;
use serde_json::json;

use super::requests::{flow_schema, write_term};
use super::with_token;
use crate::helm::{RELEASE, file, least_and, template_as};
use crate::support::cluster::{Cluster, said};
use crate::support::{SOON, eventually};

/// The admission policy and the `FlowSchema` still mean the operator, and nobody else.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Helm: make chart-test"]
async fn the_admission_policy_holds_under_a_name_prefix_of_kustomize() {
    let cluster = Cluster::start("chart-kustomize");
    cluster.install_crd();
    let home = cluster.namespace("home").await;
    let values = json!({"crds": {"enabled": false}, "flowSchema": {"enabled": true}, "workers": {"services": [],
        "endpoints": ["http://10.0.0.7:9180/mcpgateway/usage"]}});
    let rendered = template_as(RELEASE, &home, file(&least_and(&values)).path());
    assert!(rendered.status.success(), "{}", said(&rendered));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rendered.yaml"), rendered.stdout).unwrap();
    let kustomization = "resources: [rendered.yaml]\nnamePrefix: prod-\nnameSuffix: -eu\n";
    std::fs::write(folder.path().join("kustomization.yaml"), kustomization).unwrap();
    cluster.kubectl_ok(&["apply", "-k", &folder.path().display().to_string()]);

    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"leaseTransitions": 7},
        "metadata": {"name": RELEASE, "namespace": home}});
    let spec = json!({"url": "http://a.example/"});
    let object = json!({"apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "spec": spec,
        "metadata": {"name": "a", "namespace": home}});
    for object in [lease, object] {
        cluster.kubectl_ok(&["apply", "-f", &file(&object).path().display().to_string()]);
    }
    let client = async |kubeconfig: tempfile::NamedTempFile| {
        Client::try_from(cluster.config_of(kubeconfig.path()).await).unwrap()
    };
    let account = format!("prod-{RELEASE}-eu");
    let operator =
        client(with_token(&cluster, cluster.kubectl_ok(&["-n", &home, "create", "token", &account]).trim())).await;
    eventually("the policy is in force", SOON, || async {
        let (code, message) = write_term(&operator, "mcpgateways", &home, "a", 6).await;
        assert!([200, 422].contains(&code), "{code} {message}");
        (code == 422 && message.contains("must not be below leaseTransitions of the Lease")).then_some(())
    })
    .await;
    assert_eq!(write_term(&operator, "mcpgateways", &home, "a", 7).await.0, 200);

    // Not for an administrator, and for other service accounts only with the right to renew this Lease.
    let neighbour = format!("system:serviceaccount:{home}:neighbour");
    let role = format!("--role=prod-{RELEASE}-eu");
    let registry = format!("--clusterrole=prod-{home}-{RELEASE}-registry-eu");
    let user = format!("--user={neighbour}");
    cluster.kubectl_ok(&["create", "clusterrolebinding", "neighbour", &registry, &user]);
    let admin = Client::try_from(cluster.config().await).unwrap();
    let other = client(cluster.kubeconfig_as(&neighbour)).await;
    for (who, client) in [("the administrator", &admin), ("a neighbour", &other)] {
        cluster.kubectl_ok(&[
            "-n",
            &home,
            "patch",
            "lease",
            RELEASE,
            "--type=merge",
            "-p",
            r#"{"spec":{"leaseTransitions":9}}"#,
        ]);
        let (code, message) = write_term(client, "mcpgateways", &home, "a", 7).await;
        assert_eq!(code, 200, "{who}: {message}");
    }
    cluster.kubectl_ok(&["-n", &home, "create", "rolebinding", "neighbour", &role, &user]);
    eventually("whoever may renew the Lease is checked", SOON, || async {
        (write_term(&other, "mcpgateways", &home, "a", 7).await.0 == 422).then_some(())
    })
    .await;

    let uid = format!("prod-{home}-{RELEASE}-eu");
    let uid = cluster.kubectl_ok(&["get", "flowschema", &uid, "-o", "jsonpath={.metadata.uid}"]);
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{home}/leases/{RELEASE}");
    eventually("the FlowSchema is in force", SOON, || async {
        (flow_schema(&operator, path.clone()).await == uid).then_some(())
    })
    .await;
}
