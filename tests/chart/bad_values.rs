//! Values that Helm refuses before it installs anything. Each refusal names the place and the cause.

use serde_json::{Value, json};

use super::helm::{file, least_and, template};
use super::usage_plugin::with_plugin;
use crate::support::cluster::said;

/// Values that the schema refuses, each with the place and the cause that the message must contain.
fn refused_by_the_schema() -> Vec<(Value, [&'static str; 2])> {
    vec![
        (json!({"replica": 3}), ["at ''", "'replica' not allowed"]),
        (json!({"redis": {"URL": "redis://r"}}), ["at '/redis'", "'URL' not allowed"]),
        (json!({"metrics": {"serviceMonitor": {"enable": true}}}), ["/metrics/serviceMonitor", "'enable' not allowed"]),
        (json!({"networkPolicy": {"egress": {"to": []}}}), ["/networkPolicy/egress", "'to' not allowed"]),
        (json!({"tolerations": [{"effects": "NoSchedule"}]}), ["/tolerations/0", "'effects' not allowed"]),
        (json!({"replicas": "two"}), ["/replicas", "'two' does not match"]),
        (json!({"replicas": -1}), ["/replicas", "minimum"]),
        (json!({"classification": {"interval": 60}}), ["/classification/interval", "want string"]),
        (json!({"classification": {"interval": "60"}}), ["/classification/interval", "(h|m|s|ms)"]),
        (json!({"classification": {"interval": "1d"}}), ["/classification/interval", "(h|m|s|ms)"]),
        (json!({"classification": {"hotFraction": 20}}), ["/classification/hotFraction", "maximum"]),
        (json!({"classification": {"hotFraction": "20%"}}), ["/classification/hotFraction", "'20%' does not match"]),
        (json!({"polls": {"refreshBudget": 0}}), ["/polls/refreshBudget", "exclusiveMinimum"]),
        (json!({"polls": {"refreshBudget": "0.0"}}), ["/polls/refreshBudget", "'0.0' does not match"]),
        (json!({"classification": {"recencyResolution": "60"}}), ["/classification/recencyResolution", "(h|m|s|ms)"]),
        (json!({"classification": {"minHot": 1.5}}), ["/classification/minHot", "got number"]),
        (json!({"workers": {"services": "gateways/usage"}}), ["/workers/services", "want array"]),
        (json!({"workers": {"services": ["usage"]}}), ["/workers/services/0", "'usage' does not match"]),
        (json!({"workers": {"services": ["a/b", "a/b"]}}), ["/workers/services", "equal"]),
        (json!({"workers": {"endpoints": ["10.0.0.7:9180"]}}), ["/workers/endpoints/0", "https?://"]),
        (json!({"workers": {"path": "usage"}}), ["/workers/path", "^/"]),
        (json!({"workers": {"concurrency": 0}}), ["/workers/concurrency", "minimum"]),
        (json!({"workers": {"maxReportBytes": "128MB"}}), ["/workers/maxReportBytes", "(Ki|Mi|Gi)"]),
        (json!({"redis": {"url": "http://redis:6379"}}), ["/redis/url", "rediss?://"]),
        // A password belongs into a Secret. Values end up in Git.
        (json!({"redis": {"url": "redis://:secret@redis:6379/0"}}), ["/redis/url", "does not match"]),
        (json!({"redis": {"lockTakeover": "always"}}), ["/redis/lockTakeover", "'idle', 'never'"]),
        (json!({"redis": {"keyPrefix": ""}}), ["/redis/keyPrefix", "does not match"]),
        (json!({"contextForge": {"url": "http://u:secret@h"}}), ["/contextForge/url", "does not match"]),
        (json!({"contextForge": {"token": "secret"}}), ["/contextForge", "'token' not allowed"]),
        (json!({"contextForge": {"requestsPerMinute": 6001}}), ["/contextForge/requestsPerMinute", "maximum"]),
        (
            json!({"contextForge": {"plugin": {"injection": {"label": "usage"}}}}),
            ["/injection/label", "'usage' does not"],
        ),
        (json!({"contextForge": {"plugin": {"pluginsFile": {"plugins": []}}}}), ["/plugin/pluginsFile", "want string"]),
        (
            json!({"contextForge": {"registration": {"secretNamespaces": ["*"]}}}),
            ["/contextForge/registration/secretNamespaces/0", "'*' does not match"],
        ),
        (
            json!({"contextForge": {"registration": {"allowHeaders": ["a b"]}}}),
            ["/contextForge/registration/allowHeaders/0", "'a b' does not match"],
        ),
        (json!({"watch": {"namespaces": ["Team_A"]}}), ["/watch/namespaces/0", "'Team_A' does not match"]),
        (json!({"logging": {"format": "xml"}}), ["/logging/format", "'text', 'json'"]),
        (json!({"metrics": {"port": 0}}), ["/metrics/port", "minimum"]),
        (json!({"health": {"port": 70000}}), ["/health/port", "maximum"]),
        (json!({"image": {"digest": "latest"}}), ["/image/digest", "sha256:"]),
        (json!({"image": {"pullPolicy": "always"}}), ["/image/pullPolicy", "'Always'"]),
        (json!({"imagePullSecrets": ["pull"]}), ["/imagePullSecrets/0", "want object"]),
        (json!({"resources": {"limits": {"memory": "256 MB"}}}), ["/resources/limits/memory", "does not match"]),
        (json!({"securityContext": {"privileged": true}}), ["/securityContext/privileged", "false"]),
        (json!({"podSecurityContext": {"runAsUser": 0}}), ["/podSecurityContext/runAsUser", "minimum"]),
        (json!({"commonLabels": {"replicas": 2}}), ["/commonLabels/replicas", "want string"]),
        (json!({"extraEnv": {"A": "b"}}), ["/extraEnv", "want array"]),
        (json!({"podDisruptionBudget": {"maxUnavailable": "half"}}), ["/podDisruptionBudget/maxUnavailable", "%"]),
        (json!({"topologySpreadConstraints": [{"maxSkew": 1}]}), ["/topologySpreadConstraints/0", "topologyKey"]),
        (json!({"service": {"type": "ExternalName"}}), ["/service/type", "'ClusterIP'"]),
        (json!({"flowSchema": {"matchingPrecedence": 0}}), ["/flowSchema/matchingPrecedence", "minimum"]),
    ]
}

/// Values that are valid alone and contradict each other, with a part of the message.
fn refused_together() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"workers": {"services": []}}), "workers.services or workers.endpoints: set at least one"),
        (
            json!({"workers": {"tls": {"serverName": "a"}}}),
            "workers.tls: needs a Service or an endpoint that begins with https://",
        ),
        (
            json!({"workers": {"services": ["https://a/b"], "tls": {"ca": {"secret": "a", "configMap": "b"}}}}),
            "workers.tls.ca: secret or configMap",
        ),
        (json!({"redis": {"urlKey": "URL", "existingSecret": "a"}}), "redis.url, redis.urlKey: set only one of them"),
        (json!({"redis": {"url": "", "urlKey": "URL"}}), "redis.urlKey: needs redis.existingSecret"),
        (json!({"redis": {"url": "", "existingSecret": "a"}}), "redis.url: required by"),
        (json!({"redis": {"username": "a"}}), "redis.username: needs a password"),
        (
            json!({"redis": {"tls": {"ca": {"secret": "a"}}}}),
            "redis.tls.ca: needs a redis.url that begins with rediss://",
        ),
        (
            json!({"redis": {"tls": {"clientCertificate": {"existingSecret": "a"}}}}),
            "redis.tls.clientCertificate: needs a redis.url that begins with rediss://",
        ),
        (
            json!({"redis": {"url": "rediss://r", "tls": {"ca": {"secret": "a", "configMap": "b"}}}}),
            "redis.tls.ca: secret or configMap",
        ),
        (json!({"contextForge": {"url": "http://h"}}), "contextForge.tokenSecret.name: required by"),
        (with_plugin(&json!({"namespace": ""})), "contextForge.plugin.namespace: set"),
        (with_plugin(&json!({"podLabels": null})), "contextForge.plugin.podLabels: set the labels"),
        (with_plugin(&json!({"pluginsFile": ""})), "contextForge.plugin.pluginsFile: pass the plugins file"),
        (with_plugin(&json!({"pluginsFile": "plugins: ["})), "contextForge.plugin.pluginsFile: is not a plugins file"),
        (
            with_plugin(&json!({"pluginsFile": "plugins: {a: b}"})),
            "contextForge.plugin.pluginsFile: is not a plugins file",
        ),
        (
            with_plugin(&json!({"pluginsFile": "plugins: [{kind: mcpgateway_usage.plugin.UsagePlugin}]"})),
            "contextForge.plugin.pluginsFile: leave out the entry of mcpgateway_usage",
        ),
        (with_plugin(&json!({"port": 65535})), "contextForge.plugin.port: must be between"),
        (
            with_plugin(&json!({"injection": {"enabled": true}})),
            "contextForge.plugin.injection: this cluster does not serve admissionregistration.k8s.io/v1",
        ),
        (
            json!({"contextForge": {"plugin": {"injection": {"enabled": true}}}}),
            "contextForge.plugin.enabled: required by contextForge.plugin.injection",
        ),
        (json!({"contextForge": {"tokenSecret": {"name": "a"}}}), "contextForge.url: required by"),
        (json!({"contextForge": {"registration": {"secretNamespaces": ["a"]}}}), "contextForge.url: required by"),
        (json!({"contextForge": {"url": "http://h", "caSecret": {"name": "a"}}}), "contextForge.caSecret: needs"),
        (
            json!({"watch": {"namespaces": ["a"]}, "contextForge": {"registration": {"namespaces": ["b"]}}}),
            "contextForge.registration.namespaces: b is not in watch.namespaces",
        ),
        (
            json!({"watch": {"selector": "a=b"}, "contextForge": {"mirrorNamespace": "b"}}),
            "contextForge.mirrorNamespace: excludes watch.selector",
        ),
        (
            json!({"watch": {"namespaces": ["a"]}, "contextForge": {"mirrorNamespace": "b"}}),
            "contextForge.mirrorNamespace: b is not in watch.namespaces",
        ),
        (
            json!({"contextForge": {"registration": {"namespaces": ["a"], "secretNamespaces": ["a", "b"]}}}),
            "no McpGateway of b may be registered",
        ),
        (
            json!({"watch": {"namespaces": ["a"]}, "contextForge": {"registration": {"adoptionNamespaces": ["b"]}}}),
            "no McpGateway of b may be registered",
        ),
        (json!({"api": {"enabled": true}}), "api.token.existingSecret: required by"),
        (json!({"health": {"port": 8080}}), "health.port, metrics.port, api.port"),
        (
            json!({"metrics": {"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}}}),
            "every sample is taken twice",
        ),
        (json!({"metrics": {"enabled": false, "podMonitor": {"enabled": true}}}), "metrics.enabled: required by"),
        (
            json!({"service": {"enabled": false}, "metrics": {"serviceMonitor": {"enabled": true}}}),
            "service.enabled: required by",
        ),
        (json!({"networkPolicy": {"redis": {"enabled": true}}}), "networkPolicy.redis.podLabels"),
    ]
}

fn refusal(values: &Value) -> String {
    let output = template(file(&least_and(values)).path());
    let message = said(&output);
    assert!(!output.status.success(), "accepted: {values}");
    assert!(output.stdout.is_empty(), "something was rendered: {values}");
    message
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_schema_names_the_place_and_the_problem() {
    let cases = refused_by_the_schema();
    assert!(cases.len() >= 20);
    for (values, parts) in cases {
        let message = refusal(&values);
        let line = message.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        let line = line.unwrap_or_else(|| panic!("{values}: no line with {parts:?} in\n{message}"));
        assert!(line.trim_start().starts_with("- at '"), "{line}");
        // One cause has one message.
        assert!(message.matches("- at '").count() <= 3, "{message}");
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn contradicting_values_are_refused_and_all_are_named() {
    for (values, part) in refused_together() {
        let message = refusal(&values);
        assert!(
            message.contains("these values contradict each other") && message.contains(part),
            "{values}:\n{message}"
        );
    }
    let message = refusal(&json!({"workers": {"services": []}, "redis": {"username": "a"}, "api": {"enabled": true}}));
    assert_eq!(message.matches("\n  - ").count(), 3, "{message}");
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn unknown_values_are_refused_at_any_depth() {
    let schema: Value =
        serde_json::from_str(include_str!("../../charts/mcpgateway-operator/values.schema.json")).unwrap();
    let mut open = Vec::new();
    look_for_open_objects(&schema, "#", &mut open);
    // Kubernetes objects, which the API server checks, and the globals of a parent chart.
    let allowed = [
        "#/definitions/kubernetesObject",
        "#/definitions/kubernetesObjects/items",
        "#/properties/extraVolumeMounts/items",
        "#/properties/extraVolumes/items",
        "#/properties/global",
    ];
    open.sort();
    assert_eq!(open, allowed);
}

fn look_for_open_objects(schema: &Value, place: &str, open: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let may_be =
                |kind: &Value| *kind == "object" || kind.as_array().is_some_and(|all| all.contains(&json!("object")));
            if fields.get("type").is_some_and(may_be) && !fields.contains_key("additionalProperties") {
                open.push(place.to_owned());
            }
            for (key, value) in fields {
                look_for_open_objects(value, &format!("{place}/{key}"), open);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                look_for_open_objects(value, &format!("{place}/{index}"), open);
            }
        }
        _ => {}
    }
}
