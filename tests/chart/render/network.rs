//! Services and network policies.

use serde_json::{Value, json};

use super::selects;
use crate::helm::{list, render, render_file};

/// The ports of a rule.
fn ports(rule: &Value) -> Vec<u64> {
    list(&rule["ports"]).iter().map(|port| port["port"].as_u64().unwrap()).collect()
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_service_points_to_served_ports() {
    let api = json!({"api": {"enabled": true, "token": {"existingSecret": "api"}}});
    for (values, names) in [(json!({}), vec!["metrics"]), (api, vec!["metrics", "api"])] {
        let rendered = render(&values);
        let service = &rendered.one("Service")["spec"];
        let labels = &rendered.pod()["metadata"]["labels"];
        assert!(selects(&service["selector"], labels));
        let container = list(&rendered.pod()["spec"]["containers"][0]["ports"]);
        let found: Vec<&Value> = list(&service["ports"]).iter().map(|port| &port["name"]).collect();
        assert_eq!(found, names);
        for port in list(&service["ports"]) {
            assert!(container.iter().any(|own| own["name"] == port["targetPort"]), "{port}");
        }
    }
    let none = render(&json!({"metrics": {"enabled": false}}));
    assert!(none.all("Service").is_empty());
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_policy_admits_the_peers_of_the_values() {
    assert!(render(&json!({})).all("NetworkPolicy").is_empty());
    let open = render(&json!({"networkPolicy": {"enabled": true}}));
    let policy = &open.one("NetworkPolicy")["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress"]));
    let ingress = list(&policy["ingress"]);
    assert_eq!(ingress.iter().map(ports).collect::<Vec<_>>(), [[8080], [8081]]);
    assert!(policy.get("egress").is_none());
    // The same rules let the doctor reach Redis.
    for labels in [&open.pod()["metadata"]["labels"], &open.one("Pod")["metadata"]["labels"]] {
        assert!(selects(&policy["podSelector"]["matchLabels"], labels));
    }

    let closed = render_file("ci/everything-values.yaml");
    let policy = &closed.named("NetworkPolicy", "mcpgateway-operator-tiers")["spec"];
    let ingress = list(&policy["ingress"]);
    assert_eq!(ingress.iter().map(ports).collect::<Vec<_>>(), [[9080], [9082], [9081]]);
    assert_eq!(ingress[0]["from"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "monitoring");
    assert_eq!(ingress[1]["from"][0]["podSelector"]["matchLabels"]["app"], "gateway");
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_policy_allows_the_egress_that_the_operator_needs() {
    let egress = |values: Value| {
        let rendered = render(&values);
        let policy = &rendered.one("NetworkPolicy")["spec"];
        assert_eq!(policy["policyTypes"], json!(["Ingress", "Egress"]));
        list(&policy["egress"]).to_vec()
    };
    let rules = egress(json!({"networkPolicy": {"enabled": true, "egress": {"enabled": true}}}));
    assert_eq!(rules.iter().map(ports).collect::<Vec<_>>(), [vec![53, 53], vec![443, 6443], vec![6379], vec![]]);
    let peer = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}});
    assert_eq!(rules[3]["to"], json!([peer]));
    let rules = egress(json!({
        "contextForge": {"url": "https://contextforge.gateways", "tokenSecret": {"name": "contextforge"}},
        "networkPolicy": {"enabled": true, "egress": {"enabled": true}},
    }));
    assert_eq!((ports(&rules[4]), rules[4].get("to")), (vec![4444], None));
    // Without Redis and Services there must be no rule: an empty one would allow everything.
    let rules = egress(json!({
        "redis": {"url": ""}, "workers": {"services": [], "endpoints": ["http://10.0.0.7:9180/"]},
        "networkPolicy": {"enabled": true, "egress": {"enabled": true}},
    }));
    assert_eq!(rules.iter().map(ports).collect::<Vec<_>>(), [vec![53, 53], vec![443, 6443]]);
    assert!(rules.iter().all(|rule| !rule.as_object().unwrap().is_empty()));
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_policy_of_redis_admits_the_operator() {
    let rendered = render_file("examples/contextforge-values.yaml");
    let policy = rendered.one("NetworkPolicy");
    assert_eq!(policy["metadata"]["namespace"], "gateways");
    let spec = &policy["spec"];
    assert_eq!(spec["podSelector"]["matchLabels"], json!({"app": "contextforge-mcp-stack-redis"}));
    assert_eq!(spec["policyTypes"], json!(["Ingress"]));
    let rules = list(&spec["ingress"]);
    assert_eq!(rules.len(), 1);
    let from = &rules[0]["from"];
    // One peer with both selectors: pods of the release, in its namespace.
    assert_eq!(list(from).len(), 1);
    assert_eq!(from[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], "mcpgateway-system");
    for labels in [&rendered.pod()["metadata"]["labels"], &rendered.one("Pod")["metadata"]["labels"]] {
        assert!(selects(&from[0]["podSelector"]["matchLabels"], labels));
    }
    assert_eq!(ports(&rules[0]), [6379]);
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn lease_renewals_have_their_own_flow_schema() {
    assert!(render(&json!({})).all("FlowSchema").is_empty());
    let rendered = render(&json!({"flowSchema": {"enabled": true}}));
    let spec = &rendered.one("FlowSchema")["spec"];
    assert_eq!(spec["priorityLevelConfiguration"]["name"], "leader-election");
    // Before `service-accounts`, which also matches.
    assert!(spec["matchingPrecedence"].as_u64().unwrap() < 9000);
    let rule = &spec["rules"][0];
    let group = json!({"name": "system:serviceaccounts:mcpgateway-system"});
    assert_eq!(rule["subjects"], json!([{"kind": "Group", "group": group}]));
    assert_eq!(rule["resourceRules"][0]["resources"], json!(["leases"]));
    assert_eq!(rule["resourceRules"][0]["namespaces"], json!(["mcpgateway-system"]));
}
