//! The description of the API compared with the API of a running operator: every path, method and status in it occurs,
//! nothing else does, and every answer has the described shape.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::{Answer, Setting, TOKEN, bare, completed, escaped, get, post, request, send, url};
use crate::support::api_proxy::{ApiProxy, Fault};
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};

/// The answers seen, to be compared with the description.
struct Seen {
    document: Value,
    /// `GET /path 200`.
    all: BTreeSet<String>,
}

impl Seen {
    /// Records an answer, after comparing it with its description.
    fn note(&mut self, method: &str, path: &str, status: u16, answer: &Answer) {
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        self.all.insert(format!("{method} {path} {status}"));
        let described = &self.document["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
        assert!(described.is_object(), "{method} {path} {status} is not described");
        let Some(content) = described["content"].as_object() else {
            assert_eq!(answer.text, "");
            return;
        };
        let (kind, content) = content.iter().next().expect("a content type");
        assert_eq!(answer.headers["content-type"], kind.as_str(), "{answer:?}");
        fits(&self.document, &content["schema"], &answer.json());
    }
}

/// Checks a value against a schema, for the keywords that ours use.
fn fits(document: &Value, schema: &Value, value: &Value) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("no {reference}"));
        return fits(document, target, value);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let wanted = if value.is_null() { "null" } else { "" };
        let one = any.iter().find(|one| one["type"].as_str().unwrap_or_default() == wanted).expect("an alternative");
        return fits(document, one, value);
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => panic!("no type: {schema}"),
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() && types.contains(&"integer") => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.contains(&found), "{value} is none of {types:?}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{value} is none of {allowed:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        fits(document, &schema["items"], item);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let value = value.as_object().expect("an object");
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.contains_key(name), "{name} is missing in {value:?}");
    }
    for (name, value) in value {
        fits(document, properties.get(name).unwrap_or_else(|| panic!("{name} is not described")), value);
    }
}

/// Everything that the document describes, as `GET /path 200`.
fn described(document: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            for status in operation["responses"].as_object().expect("responses").keys() {
                all.insert(format!("{} {path} {status}", method.to_uppercase()));
            }
        }
    }
    all
}

const READS: [&str; 3] = ["/v1/classification", "/v1/polls/due", "/v1/fleet"];
const COMPLETED: &str = "/v1/polls/completed";
const CHANGED: &str = "/v1/polls/changed";

/// Errors of the client.
async fn refusals(seen: &mut Seen, operator: &Operator) {
    let long = "x".repeat(8193);
    for path in READS {
        seen.note("GET", path, 400, &get(operator, &format!("{path}?unknown=1")).await);
        seen.note("GET", path, 414, &get(operator, &format!("{path}?url={long}")).await);
        seen.note("GET", path, 401, &send(bare(operator, Method::GET, path).await).await);
    }
    for path in [COMPLETED, CHANGED] {
        seen.note("POST", path, 400, &post(operator, path, &json!({})).await);
        let with_query = request(operator, Method::POST, &format!("{path}?url=http://h")).await;
        let with_query = with_query.header("content-type", "application/json").body("{}");
        seen.note("POST", path, 400, &send(with_query).await);
        let long_query = request(operator, Method::POST, &format!("{path}?{long}")).await;
        seen.note("POST", path, 414, &send(long_query).await);
        seen.note("POST", path, 401, &send(bare(operator, Method::POST, path).await).await);
        seen.note("POST", path, 413, &post(operator, path, &json!({"url": long})).await);
        let text = request(operator, Method::POST, path).await.header("content-type", "text/plain").body("{}");
        seen.note("POST", path, 415, &send(text).await);
        seen.note("POST", path, 408, &too_slow(operator, path).await);
    }
}

/// A request whose body never arrives.
async fn too_slow(operator: &Operator, path: &str) -> Answer {
    let mut stream = TcpStream::connect(operator.address("serving /v1").await).await.expect("a connection");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert("content-type", "application/problem+json".parse().expect("a value"));
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    Answer { status, headers, text: body.to_owned() }
}

#[tokio::test]
async fn the_api_answers_with_exactly_the_paths_and_statuses_that_are_described() {
    let mut setting = Setting::new("api-real").await;
    let leader = setting.operator();
    setting.fleet.settled().await;
    let proxy = ApiProxy::start(setting.fleet.cluster.client().await).await;
    let kubeconfig = proxy.kubeconfig();
    let follower = setting.operator_as(kubeconfig.path());
    follower.ready().await;

    let document = send(bare(&leader, Method::GET, "/openapi.json").await).await;
    assert_eq!(document.text, mcpgateway_operator::server::api::OPENAPI_DOCUMENT);
    let mut seen = Seen { document: document.json(), all: BTreeSet::new() };
    seen.note("GET", "/openapi.json", 200, &document);

    let (a, b) = (escaped(&url("a")), escaped(&url("b")));
    for replica in [&leader, &follower] {
        for server in [&a, &b, "http://unknown.example"] {
            let answer = get(replica, &format!("/v1/classification?url={server}")).await;
            seen.note("GET", "/v1/classification", 200, &answer);
            let path = format!("/v1/polls/due?url={server}&type=tool_discovery&gatewayId=id-a");
            seen.note("GET", "/v1/polls/due", 200, &get(replica, &path).await);
        }
        for gateway in [json!("id-a"), Value::Null] {
            let poll = json!({"url": url("a"), "type": "tool_discovery", "gatewayId": gateway});
            seen.note("POST", COMPLETED, 204, &completed(replica, &poll).await);
            let server = json!({"url": url("a"), "gatewayId": gateway});
            seen.note("POST", CHANGED, 204, &post(replica, CHANGED, &server).await);
            let listed = json!({"url": url("a"), "type": "tool_discovery", "gatewayId": gateway, "ttlSeconds": 3600});
            seen.note("POST", COMPLETED, 204, &completed(replica, &listed).await);
        }
        let path = format!("/v1/polls/due?url={a}&type=tool_discovery&gatewayId=id-a");
        seen.note("GET", "/v1/polls/due", 200, &get(replica, &path).await);
        refusals(&mut seen, replica).await;
        for (method, path, allow) in [
            (Method::DELETE, "/v1/fleet", "GET,HEAD"),
            (Method::POST, "/v1/polls/due", "GET,HEAD"),
            (Method::GET, COMPLETED, "POST"),
            (Method::GET, CHANGED, "POST"),
        ] {
            let answer = send(request(replica, method, path).await).await;
            assert_eq!((answer.status, answer.reason().as_str()), (405, "MethodNotAllowed"), "{path}");
            assert_eq!(answer.headers["allow"], allow, "{path}");
        }
        for path in ["/", "/v1", "/v1/", "/v1/fleet/", "/v1/polls", "/metrics", "/readyz", "/openapi.yaml"] {
            assert_eq!(get(replica, path).await.reason(), "NotFound", "{path}");
        }
    }
    eventually("the leader has completed a cycle", SOON, || async {
        get(&leader, "/v1/fleet").await.json()["lastCycle"].is_object().then_some(())
    })
    .await;
    seen.note("GET", "/v1/fleet", 200, &get(&leader, "/v1/fleet").await);
    seen.note("GET", "/v1/fleet", 200, &get(&follower, "/v1/fleet").await);

    // Errors of the server: the API server, Redis, the token.
    proxy.fault_on("mcpgatewayfleets", Fault::Refused);
    let answer = eventually("the API server does not say", SOON, || async {
        let answer = get(&follower, "/v1/fleet").await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(answer.reason(), "FactsUnavailable");
    seen.note("GET", "/v1/fleet", 503, &answer);
    setting.fleet.redis.kill();
    let answer = get(&follower, &format!("/v1/classification?url={a}")).await;
    assert_eq!((answer.reason().as_str(), &answer.json()["fault"]), ("StoreUnavailable", &json!("Unreachable")));
    seen.note("GET", "/v1/classification", 503, &answer);
    let answer = completed(&follower, &json!({"url": url("a"), "type": "health"})).await;
    seen.note("POST", COMPLETED, 503, &answer);
    seen.note("POST", CHANGED, 503, &post(&follower, CHANGED, &json!({"url": url("a")})).await);
    let answer = get(&follower, &format!("/v1/polls/due?url={a}&type=health")).await;
    assert_eq!(
        (&answer.json()["due"], &answer.json()["reason"]),
        (&json!(true), &json!("Error")),
        "after a failure a poll is due"
    );
    seen.note("GET", "/v1/polls/due", 200, &answer);
    std::fs::remove_file(&setting.token).expect("removed");
    let answer = get(&follower, "/v1/polls/due").await;
    assert_eq!(answer.reason(), "TokenUnavailable");
    seen.note("GET", "/v1/polls/due", 503, &answer);

    assert_eq!(seen.all, described(&seen.document));
}
