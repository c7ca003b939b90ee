//! Real requests with the operator's token: one for each of its rights, and a sample of forbidden ones.

use axum::http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

use super::REQUEST;
use super::table::{Places, Right};
use crate::support::fleet::Fleet;

/// Status code and body.
type Answer = (u16, String);

async fn send(client: &Client, method: Method, path: &str, body: &Value) -> Answer {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("content-type", kind).body(body).unwrap();
    let answer = tokio::time::timeout(REQUEST, client.request_text(request)).await.expect("an answer in time");
    match answer {
        Ok(text) => (200, text),
        Err(kube::Error::Api(status)) => (status.code, status.message),
        Err(error) => panic!("{path}: {error}"),
    }
}

/// The uid of the `FlowSchema` that the API server assigns to a GET.
pub async fn flow_schema(client: &Client, path: String) -> String {
    let request = Request::get(path).body(kube::client::Body::empty()).unwrap();
    let answer = tokio::time::timeout(REQUEST, client.send(request)).await.expect("an answer in time").unwrap();
    assert_eq!(answer.status(), 200);
    answer.headers()["x-kubernetes-pf-flowschema-uid"].to_str().unwrap().to_owned()
}

/// The path of a resource, in a namespace or without one.
fn path(group: &str, version: &str, namespace: Option<&str>, resource: &str, name: Option<&str>) -> String {
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let (resource, sub) = resource.split_once('/').map_or((resource, None), |(resource, sub)| (resource, Some(sub)));
    let name = name.map(|name| format!("/{name}")).unwrap_or_default();
    let sub = sub.map(|sub| format!("/{sub}")).unwrap_or_default();
    format!("{root}{namespace}/{resource}{name}{sub}")
}

fn version(group: &str) -> &'static str {
    if group == "mcpgateway.io" { "v1alpha1" } else { "v1" }
}

/// Writes the term of a status as the operator writes the status: with a patch for `mcpgateways`, and with an update
/// for `mcpgatewayfleets`.
pub async fn write_term(client: &Client, resource: &str, namespace: &str, name: &str, term: i32) -> Answer {
    let path = |resource: &str| path("mcpgateway.io", "v1alpha1", Some(namespace), resource, Some(name));
    let status = path(&format!("{resource}/status"));
    if resource == "mcpgateways" {
        return send(client, Method::PATCH, &status, &json!({"status": {"term": term}})).await;
    }
    let (_, found) = send(client, Method::GET, &path(resource), &Value::Null).await;
    let mut object: Value = serde_json::from_str(&found).expect("an object");
    object["status"]["term"] = term.into();
    send(client, Method::PUT, &status, &object).await
}

fn event(namespace: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "used", "namespace": namespace},
        "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "mcpgateway-operator",
        "reportingInstance": "test",
        "action": "Test", "reason": "Test", "type": "Normal", "note": "a right is used",
        "regarding": {
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGatewayFleet", "name": "used", "namespace": namespace,
        },
    })
}

/// Uses each right once, which must succeed. Returns how many there are.
pub async fn use_all(client: &Client, places: &Places, rights: &[Right]) -> usize {
    for right in rights {
        let answer = use_one(client, places, right).await;
        assert!((200..300).contains(&answer.0), "{right:?}: {answer:?}");
    }
    rights.len()
}

async fn use_one(client: &Client, places: &Places, right: &Right) -> Answer {
    let Right { scope, group, resource, name, verb } = right;
    let version = version(group);
    let name = name.as_deref();
    // A namespace is in no namespace. Cluster-wide rights are used in a namespace with objects.
    let namespace = scope.as_deref().or_else(|| (*resource != "namespaces").then_some(places.watched[0].as_str()));
    match (*verb, *resource) {
        ("list" | "watch", _) => {
            // By name where the right is restricted to it, and in the right's whole scope.
            let selector = name.map(|name| format!("fieldSelector=metadata.name%3D{name}&")).unwrap_or_default();
            let watch = if *verb == "watch" { "watch=1&timeoutSeconds=1" } else { "limit=5" };
            let path = path(group, version, scope.as_deref(), resource, None);
            send(client, Method::GET, &format!("{path}?{selector}{watch}"), &Value::Null).await
        }
        ("get", "mcpgateways" | "secrets" | "configmaps") => {
            // Who may get an object gets 404 for one that does not exist.
            let path = path(group, version, namespace, resource, Some("none"));
            let (code, message) = send(client, Method::GET, &path, &Value::Null).await;
            if code == 404 { (200, message) } else { (code, message) }
        }
        ("get", _) => send(client, Method::GET, &path(group, version, namespace, resource, name), &Value::Null).await,
        ("patch", "mcpgateways" | "mcpgateways/status") => {
            let path = path(group, version, namespace, resource, Some("none"));
            let (code, message) = send(client, Method::PATCH, &path, &json!({})).await;
            if code == 404 { (200, message) } else { (code, message) }
        }
        ("create", "events") => {
            let body = event(namespace.unwrap());
            send(client, Method::POST, &path(group, version, namespace, resource, None), &body).await
        }
        ("patch", "events") => {
            let path = path(group, version, namespace, resource, Some("used"));
            send(
                client,
                Method::PATCH,
                &path,
                &json!({"series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:06.000000Z"}}),
            )
            .await
        }
        ("create", "mcpgateways") => {
            let api = format!("{group}/{version}");
            let spec = json!({"url": "http://used.example/"});
            let body = json!({"apiVersion": api, "kind": "McpGateway", "metadata": {"name": "used"}, "spec": spec});
            send(client, Method::POST, &path(group, version, namespace, resource, None), &body).await
        }
        ("delete", "mcpgateways") => {
            let path = path(group, version, namespace, resource, Some("used"));
            send(client, Method::DELETE, &path, &Value::Null).await
        }
        ("create", kind) => {
            let kind = if kind == "leases" { "Lease" } else { "McpGatewayFleet" };
            let api = format!("{group}/{version}");
            let body = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "used"}, "spec": {}});
            send(client, Method::POST, &path(group, version, namespace, resource, None), &body).await
        }
        ("update", _) => {
            // A subresource is read with its object: the operator has no right to read it alone.
            let object = resource.split_once('/').map_or(*resource, |(object, _)| object);
            let (_, found) =
                send(client, Method::GET, &path(group, version, namespace, object, name), &Value::Null).await;
            let body = serde_json::from_str(&found).expect("an object");
            send(client, Method::PUT, &path(group, version, namespace, resource, name), &body).await
        }
        _ => panic!("no request for {right:?}"),
    }
}

/// Tries what the operator must not do. Returns how many requests were refused.
pub async fn refused(client: &Client, fleet: &Fleet, places: &Places) -> usize {
    let (home, watched, other) = (places.home.as_str(), fleet.namespace.as_str(), places.other.as_str());
    fleet.cluster.kubectl_ok(&["-n", home, "create", "secret", "generic", "planted"]);
    fleet.cluster.kubectl_ok(&["-n", home, "create", "configmap", "planted"]);
    let none = Value::Null;
    let object = json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "metadata": {"name": "x"},
        "spec": {"url": "http://x/"},
    });
    let status = json!({"status": {}});
    let spec = json!({"spec": {"enabled": false}});
    let mark = json!({"metadata": {"annotations": {"a": "b"}}});
    let suspend = json!({"spec": {"suspend": true}});
    let fleet_object = json!({"apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGatewayFleet", "metadata": {"name": "x"}, "spec": {}});
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
    let gateways = |resource, name| path("mcpgateway.io", "v1alpha1", Some(watched), resource, name);
    let fleets = |namespace, resource, name| path("mcpgateway.io", "v1alpha1", Some(namespace), resource, name);
    let own = Some("mcpgateway-operator");
    let mut all = vec![
        (Method::POST, gateways("mcpgateways", None), &object),
        (Method::PATCH, gateways("mcpgateways", Some("a")), &spec),
        (Method::DELETE, gateways("mcpgateways", Some("a")), &none),
        (Method::DELETE, gateways("mcpgateways", None), &none),
        (Method::GET, gateways("mcpgateways/status", Some("a")), &none),
        (Method::PUT, gateways("mcpgateways/status", Some("a")), &status),
        (Method::GET, path("", "v1", Some(home), "secrets", None), &none),
        (Method::GET, path("", "v1", Some(home), "secrets", Some("planted")), &none),
        (Method::GET, path("", "v1", None, "secrets", None), &none),
        (Method::GET, path("", "v1", Some(home), "configmaps", None), &none),
        (Method::GET, path("", "v1", Some(home), "configmaps", Some("planted")), &none),
        (Method::PATCH, path("", "v1", Some(home), "configmaps", Some("planted")), &mark),
        (Method::DELETE, path("", "v1", Some(home), "configmaps", Some("planted")), &none),
        (Method::POST, path("", "v1", Some(home), "configmaps", None), &map),
        (Method::PATCH, fleets(home, "mcpgatewayfleets", own), &suspend),
        (Method::PUT, fleets(home, "mcpgatewayfleets", own), &fleet_object),
        (Method::DELETE, fleets(home, "mcpgatewayfleets", own), &none),
        (Method::GET, fleets(home, "mcpgatewayfleets", None), &none),
        (Method::GET, fleets(home, "mcpgatewayfleets/status", own), &none),
        (Method::PATCH, fleets(home, "mcpgatewayfleets/status", own), &status),
        (Method::GET, fleets(home, "mcpgatewayfleets", Some("used")), &none),
        (Method::PATCH, fleets(home, "mcpgatewayfleets/status", Some("used")), &status),
        (Method::POST, fleets(watched, "mcpgatewayfleets", None), &fleet_object),
        (Method::GET, path("mcpgateway.io", "v1alpha1", None, "mcpgatewayfleets", None), &none),
        (Method::PATCH, path("coordination.k8s.io", "v1", Some(home), "leases", own), &mark),
        (Method::DELETE, path("coordination.k8s.io", "v1", Some(home), "leases", own), &none),
        (Method::PATCH, path("coordination.k8s.io", "v1", Some("kube-system"), "leases", Some("x")), &mark),
        (Method::GET, path("", "v1", Some(home), "pods", None), &none),
        (Method::GET, path("", "v1", None, "nodes", None), &none),
        (Method::GET, path("", "v1", None, "namespaces", None), &none),
        (Method::GET, path("", "v1", None, "namespaces", Some("default")), &none),
        (Method::GET, path("discovery.k8s.io", "v1", Some(other), "endpointslices", None), &none),
        (Method::GET, path("discovery.k8s.io", "v1", None, "endpointslices", None), &none),
        (Method::GET, path("events.k8s.io", "v1", Some(home), "events", None), &none),
        (
            Method::PATCH,
            path("apiextensions.k8s.io", "v1", None, "customresourcedefinitions", Some("mcpgateways.mcpgateway.io")),
            &mark,
        ),
        (Method::GET, path("rbac.authorization.k8s.io", "v1", None, "clusterroles", None), &none),
    ];
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    all.push((Method::POST, path("", "v1", Some(home), "serviceaccounts/token", Some("mcpgateway-operator")), &token));
    if places.listed {
        let registered = places.registered();
        all.push((Method::GET, path("", "v1", Some(registered), "secrets", None), &none));
        all.push((Method::GET, path("", "v1", Some(watched), "secrets", Some("none")), &none));
        all.push((Method::DELETE, path("", "v1", Some(registered), "secrets", Some("none")), &none));
        let elsewhere = |resource, name| path("mcpgateway.io", "v1alpha1", Some(other), resource, name);
        all.push((Method::GET, elsewhere("mcpgateways", None), &none));
        all.push((Method::PATCH, elsewhere("mcpgateways/status", Some("a")), &status));
        all.push((Method::GET, path("mcpgateway.io", "v1alpha1", None, "mcpgateways", None), &none));
        all.push((Method::GET, path("", "v1", None, "namespaces", Some("kube-system")), &none));
    }
    let count = all.len();
    for (method, path, body) in all {
        let answer = send(client, method.clone(), &path, body).await;
        assert_eq!(answer.0, 403, "{method} {path}: {answer:?}");
    }
    count
}
