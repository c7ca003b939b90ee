//! `doctor` and `explain` with a `ContextForge`, on a real API server.

use std::io::Write;
use std::process::Output;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, Uri};
use axum::routing::any;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::cluster::{cluster, said};
use crate::support::operator::binary;

/// An entry of somebody else, with more secrets than its URL.
fn row() -> Value {
    json!({
        "id": "a1", "name": "By hand", "url": "http://h.example/mcp?x=planted", "enabled": true, "version": 4,
        "transport": "SSE", "tags": [], "visibility": "public", "passthroughHeaders": [], "toolCount": 3,
        "ownerEmail": "hand@example.com", "authType": "bearer", "authToken": "planted", "authValue": "planted",
    })
}

/// Lists one entry, and allows 50 requests in a minute.
async fn stand_in() -> String {
    async fn serve(uri: Uri) -> Response<Body> {
        let answer = Response::builder().header("x-ratelimit-limit", "50");
        let body = match uri.path() {
            "/v1/gateways" => json!({"gateways": [row()], "nextCursor": null}),
            "/v1/gateways/a1" => row(),
            _ => return answer.status(404).body(Body::from(r#"{"detail":"Gateway not found"}"#)).unwrap(),
        };
        answer.body(Body::from(body.to_string())).unwrap()
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(serve))).await.unwrap() });
    url
}

/// Two objects: one has the entry `a1`, the other one that does not exist.
async fn objects() -> String {
    let namespace = cluster().namespace("registration-commands").await;
    for (name, id) in [("github", "a1"), ("gone", "b2")] {
        let object = json!({
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"url": format!("http://{name}.example/mcp"), "registration": {"name": "By hand", "description": "New"}},
        });
        let mut file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        file.write_all(object.to_string().as_bytes()).unwrap();
        cluster().kubectl_ok(&["apply", "-f", &file.path().display().to_string()]);
        let condition = json!({
            "type": "Registered", "status": "False", "reason": "NotOwner", "message": "m", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        let status = json!({"status": {"registration": {"id": id, "version": 2}, "conditions": [condition]}});
        let patch = ["patch", "mcpgateway", name, "-n", &namespace, "--subresource=status", "--type=merge", "-p"];
        cluster().kubectl_ok(&[&patch[..], &[&status.to_string()]].concat());
    }
    namespace
}

fn run(arguments: &[&str], url: &str, token: &std::path::Path) -> Output {
    let mut command = binary();
    command.env("KUBECONFIG", cluster().kubeconfig()).args(arguments);
    command.args(["--contextforge-url", url, "--contextforge-token-file"]).arg(token);
    let output = command.output().unwrap();
    assert!(!said(&output).contains("planted"), "{}", said(&output));
    output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_explain_compare_objects_with_their_entries() {
    let (url, namespace) = (stand_in().await, objects().await);
    let claims = json!({"user": {"email": "op@example.com"}, "exp": 1, "scopes": {"permissions": ["gateways.read"]}});
    let mut token = tempfile::NamedTempFile::new().unwrap();
    write!(token, "h.{}.planted", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string())).unwrap();

    let doctor = ["doctor", "-n", &namespace, "--watch-namespace", &namespace, "-o", "json"];
    let output = run(&doctor, &url, token.path());
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    assert!(answer["checked"].as_str().unwrap().ends_with(", ContextForge"), "{answer}");
    let what = |finding: &str| {
        let found = answer["findings"].as_array().unwrap().iter().find(|found| found["finding"] == finding);
        found.unwrap_or_else(|| panic!("no {finding}: {answer}"))["what"].as_str().unwrap().to_owned()
    };
    for (finding, part) in [
        ("RegistrationFailing", format!("{namespace}/github (NotOwner)")),
        ("TokenExpired", "1970-01-01".to_owned()),
        ("PermissionLacking", "gateways.create, gateways.update, gateways.delete".to_owned()),
        ("EntryOfAnother", format!("{namespace}/github (hand@example.com)")),
        ("EntryNotSeen", format!("{namespace}/gone (id b2)")),
        ("RateTooHigh", "is 60; ContextForge allows 50".to_owned()),
    ] {
        assert!(what(finding).contains(&part), "{}", what(finding));
    }

    let explain = |name: &str, more: &[&str]| {
        let object = format!("{namespace}/{name}");
        let base =
            ["explain", &object, "--watch-namespace", &namespace, "--leader-elect-resource-namespace", &namespace];
        let output = run(&[&base[..], more].concat(), &url, token.path());
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown: Value = serde_json::from_str(&explain("github", &["-o", "json"])).unwrap();
    let registration = &shown["registration"];
    assert_eq!((&registration["reason"], &registration["entry"]["version"]), (&json!("NotOwner"), &json!(4)));
    let fields = registration["fields"].as_array().unwrap().iter().filter(|field| field["differs"] == true);
    let differing: Vec<&str> = fields.map(|field| field["field"].as_str().unwrap()).collect();
    assert_eq!(differing, ["url", "description", "transport", "authType"]);
    let text = explain("github", &[]);
    assert!(text.contains("NotOwner: entry a1, version 4, 3 tools"), "{text}");
    assert!(text.lines().any(|line| line.contains("! transport") && line.contains("STREAMABLEHTTP  ")), "{text}");
    assert!(explain("gone", &[]).contains("the token sees no entry with the id b2"));
}
