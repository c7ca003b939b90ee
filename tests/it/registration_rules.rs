//! The rules of `spec.registration` on a real API server.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use super::support::cluster::cluster;

async fn objects(test: &str) -> Api<DynamicObject> {
    let namespace = cluster().namespace(test).await;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("mcpgateway.io", "v1alpha1", "McpGateway"));
    Api::namespaced_with(cluster().client().await, &namespace, &resource)
}

fn object(registration: &Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "metadata": {"name": "x"},
        "spec": {"url": "https://mcp.example.com/mcp", "registration": registration},
    });
    serde_json::from_value(object).unwrap()
}

/// The registration as stored, or the message of the refusal.
async fn create(objects: &Api<DynamicObject>, registration: &Value) -> Result<Value, String> {
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    match objects.create(&dry_run, &object(registration)).await {
        Ok(stored) => Ok(stored.data["spec"]["registration"].clone()),
        Err(kube::Error::Api(status)) if status.code == 422 => Err(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn an_empty_block_is_enough_and_the_defaults_are_stored() {
    let objects = objects("reg-defaults").await;
    assert_eq!(
        create(&objects, &json!({})).await.unwrap(),
        json!({"transport": "StreamableHTTP", "visibility": "public", "deletionPolicy": "Retain"})
    );
    let auth = create(&objects, &json!({"auth": {"basic": {"secretName": "s"}}})).await.unwrap();
    let basic = json!({"secretName": "s", "usernameKey": "username", "passwordKey": "password"});
    assert_eq!(auth["auth"]["basic"], basic);
    let ca = create(&objects, &json!({"ca": {"configMapName": "c"}})).await.unwrap();
    assert_eq!(ca["ca"]["key"], "ca.crt");
}

#[tokio::test]
async fn what_contextforge_would_refuse_or_drop_is_refused_here() {
    let objects = objects("reg-rules").await;
    let header = |name: &str| json!({"name": name, "key": "k"});
    let oauth = |url: &str| json!({"auth": {"oauthClientCredentials": {"secretName": "s", "tokenUrl": url}}});
    for accepted in [
        json!({"name": "GitHub_v2.1 - public"}),
        json!({"name": "n".repeat(255)}),
        json!({"description": "Issues & pull requests, 100 % of them: \"quoted\", it's plain.\nTwo lines; a = b"}),
        json!({"description": "x".repeat(8192)}),
        json!({"transport": "SSE", "tags": ["ab", "a:b.c-d", "9z"]}),
        json!({"visibility": "team", "teamId": "t1"}),
        json!({"visibility": "private"}),
        json!({"passthroughHeaders": ["X-Tenant-Id", "Authorization"]}),
        json!({"auth": {"headers": {"secretName": "s", "items": [header("X-A"), header("X_B")]}}}),
        json!({"auth": {"queryParameter": {"secretName": "s", "name": "api_key", "key": "k"}}}),
        oauth("https://issuer.example.com:8443/oauth/token?audience=x"),
        json!({"ca": {"secretName": "s", "key": "tls.crt"}, "deletionPolicy": "Delete"}),
    ] {
        let shown: String = accepted.to_string().chars().take(80).collect();
        assert!(create(&objects, &accepted).await.is_ok(), "{shown}: {:?}", create(&objects, &accepted).await);
    }
    for (refused, word) in [
        (json!({"name": ""}), "at least 1"),
        (json!({"name": "n".repeat(256)}), "255"),
        (json!({"name": " padded"}), "letters, digits"),
        (json!({"name": "padded "}), "letters, digits"),
        (json!({"name": "--"}), "letters, digits"),
        (json!({"name": "a/b"}), "letters, digits"),
        (json!({"name": "naïve"}), "letters, digits"),
        (json!({"name": "a\nb"}), "letters, digits"),
        (json!({"description": "<b>bold</b>"}), "plain text"),
        (json!({"description": "%3Cscript%3E"}), "plain text"),
        (json!({"description": "go to JavaScript:alert"}), "plain text"),
        (json!({"description": "x onload = 1"}), "plain text"),
        (json!({"description": "padded "}), "plain text"),
        (json!({"description": "x".repeat(8193)}), "8192"),
        (json!({"transport": "stdio"}), "transport"),
        (json!({"tags": ["a"]}), "tags"),
        (json!({"tags": ["Upper"]}), "tags"),
        (json!({"tags": ["under_score"]}), "tags"),
        (json!({"tags": ["ab", "ab"]}), "Duplicate"),
        (json!({"visibility": "team"}), "teamId"),
        (json!({"teamId": "t1"}), "teamId"),
        (json!({"visibility": "private", "teamId": "t1"}), "teamId"),
        (json!({"passthroughHeaders": ["X_Tenant"]}), "names of headers"),
        (json!({"passthroughHeaders": ["Host"]}), "names of headers"),
        (json!({"auth": {}}), "give one of bearer"),
        (json!({"auth": {"bearer": {"secretName": "s"}, "basic": {"secretName": "s"}}}), "give one of bearer"),
        (json!({"auth": {"bearer": {"secretName": "s", "key": ""}}}), "at least 1"),
        (json!({"auth": {"headers": {"secretName": "s", "items": []}}}), "at least 1"),
        (json!({"auth": {"headers": {"secretName": "s", "items": [header("X-A"), header("x-a")]}}}), "once"),
        (json!({"auth": {"queryParameter": {"secretName": "s", "name": "a[]", "key": "k"}}}), "name"),
        (oauth("https://user:planted@issuer.example.com/token"), "tokenUrl"),
        (oauth("ftp://issuer.example.com/token"), "tokenUrl"),
        (json!({"ca": {}}), "one of secretName"),
        (json!({"ca": {"secretName": "s", "configMapName": "c"}}), "one of secretName"),
        (json!({"deletionPolicy": "Orphan"}), "deletionPolicy"),
    ] {
        let shown: String = refused.to_string().chars().take(80).collect();
        let message = create(&objects, &refused).await.expect_err(&shown);
        assert!(message.contains(word), "{shown}: {message}");
    }
}

#[tokio::test]
async fn the_registered_name_stays_while_the_block_is_there() {
    let objects = objects("reg-rename").await;
    objects.create(&PostParams::default(), &object(&json!({"name": "github"}))).await.unwrap();
    let edit = async |registration: Value| {
        let patch = Patch::Merge(json!({"spec": {"registration": registration}}));
        match objects.patch("x", &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(edit(json!({"tags": ["one"]})).await, Ok(()));
    for renamed in [json!({"name": "gitlab"}), json!({"name": null})] {
        let message = edit(renamed).await.expect_err("refused");
        assert!(message.contains("cannot be changed"), "{message}");
    }
    // Without the block there is no name, and another one may be chosen.
    assert_eq!(edit(Value::Null).await, Ok(()));
    assert_eq!(edit(json!({"tags": []})).await, Ok(()));
    assert!(edit(json!({"name": "github"})).await.is_err());
}
