//! Listeners without a host serve IPv4 and IPv6, so that the defaults suit a cluster of either family.

use crate::support::fleet::Fleet;
use crate::support::operator::Operator;

async fn status(address: &str, path: &str) -> Option<u16> {
    Some(reqwest::get(format!("http://{address}{path}")).await.ok()?.status().as_u16())
}

#[tokio::test]
async fn a_listener_without_a_host_serves_both_families() {
    let fleet = Fleet::new("families", 1).await;
    let arguments = [
        "run",
        "--watch-namespace",
        &fleet.namespace,
        "--leader-elect-resource-namespace",
        &fleet.namespace,
        "--metrics-bind-address=:0",
        "--health-probe-bind-address=0.0.0.0:0",
        "--api-bind-address=[::1]:0",
        "--worker-endpoint",
        &fleet.workers[0].url(),
    ];
    let operator = Operator::start_with(fleet.cluster.kubeconfig(), &arguments.map(str::to_owned));
    for (served, path, families) in [
        ("serving /metrics", "/metrics", [Some(200), Some(200)]),
        ("serving /livez", "/livez", [Some(200), None]),
        ("serving /v1", "/openapi.json", [None, Some(200)]),
    ] {
        let address = operator.address(served).await;
        let port = address.rsplit_once(':').unwrap().1;
        let answers = [status(&format!("127.0.0.1:{port}"), path).await, status(&format!("[::1]:{port}"), path).await];
        assert_eq!(answers, families, "{address}{path}");
    }
}
