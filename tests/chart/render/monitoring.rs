//! The objects for Prometheus and Grafana.

use serde_json::{Value, json};

use super::selects;
use crate::helm::{chart, list, render, render_file, text};

#[test]
#[ignore = "needs Helm: make chart-test"]
fn a_monitor_scrapes_an_existing_port() {
    let rendered = render_file("ci/everything-values.yaml");
    let monitor = rendered.one("ServiceMonitor");
    assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
    let service = rendered.one("Service");
    assert!(selects(&monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]));
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert!(list(&service["spec"]["ports"]).iter().any(|port| port["name"] == endpoint["port"]));
    assert_eq!((text(&endpoint["interval"]), text(&endpoint["scrapeTimeout"])), ("15s", "10s"));
    assert_eq!(endpoint["relabelings"][0]["action"], "labeldrop");
    assert_eq!(endpoint["metricRelabelings"][0]["action"], "drop");

    let rendered = render(&json!({"service": {"enabled": false}, "metrics": {"podMonitor": {"enabled": true}}}));
    let monitor = &rendered.one("PodMonitor")["spec"];
    assert!(selects(&monitor["selector"]["matchLabels"], &rendered.pod()["metadata"]["labels"]));
    let ports = list(&rendered.pod()["spec"]["containers"][0]["ports"]);
    assert!(ports.iter().any(|port| port["name"] == monitor["podMetricsEndpoints"][0]["port"]));
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn alerts_and_dashboard_equal_the_files() {
    let rendered = render_file("ci/everything-values.yaml");
    let alerts = std::fs::read_to_string(chart().join("files/alerts.yaml")).unwrap();
    let alerts: Value = serde_saphyr::from_str(&alerts).unwrap();
    let rule = rendered.one("PrometheusRule");
    assert_eq!(rule["spec"], alerts);
    assert!(!list(&rule["spec"]["groups"]).is_empty());
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");

    let elsewhere = render(&json!({"metrics": {"rules": {"enabled": true, "runbookUrl": "https://wiki/runbooks"}}}));
    let rule = elsewhere.one("PrometheusRule")["spec"].to_string();
    assert!(rule.contains("https://wiki/runbooks#mcpgateway") && !rule.contains("docs/runbooks.md"), "{rule}");

    let dashboard = std::fs::read_to_string(chart().join("files/dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let map = rendered.one("ConfigMap");
    let data = map["data"].as_object().unwrap();
    assert_eq!(data.len(), 1);
    let shown: Value = serde_json::from_str(text(data.values().next().unwrap())).unwrap();
    assert_eq!(shown, dashboard);
    assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
    assert_eq!(map["metadata"]["namespace"], "monitoring");
    assert_eq!(map["metadata"]["annotations"]["grafana_folder"], "MCP");

    let plain = render(&json!({}));
    for kind in ["PrometheusRule", "ConfigMap", "ServiceMonitor", "PodMonitor"] {
        assert!(plain.all(kind).is_empty(), "{kind}");
    }
}
