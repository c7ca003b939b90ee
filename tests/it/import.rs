//! `import` against a server that pages and limits what a token sees as releases 1.0.7 to 1.1.0 do.
//! `integrations/contextforge/dev/import-try` tests the release itself.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri, header};
use axum::routing::any;
use serde_json::{Value, json};

use crate::support::cluster::{cluster, root, said};
use crate::support::operator::binary;

/// `{"teams":null,"is_admin":true}` between two parts that are not used.
const ADMIN: &str = "h.eyJ0ZWFtcyI6bnVsbCwiaXNfYWRtaW4iOnRydWV9.s";
/// `{"teams":["t"]}`.
const TEAM: &str = "h.eyJ0ZWFtcyI6WyJ0Il19.s";

const LIST: &str = "/root/v1/gateways";
const UNVERSIONED_LIST: &str = "/root/gateways";

/// What the server answers.
#[derive(Clone)]
enum Answer {
    /// These rows as the releases do, at most this many per page, at [`LIST`].
    Rows(Vec<Value>, usize),
    /// The same where only the path without a version is served.
    UnversionedRows(Vec<Value>, usize),
    /// This status, content type and body.
    Fixed(u16, &'static str, String),
    /// The same page over and over.
    Endless,
    /// Never.
    Nothing,
}

/// The path and the query of a request.
type Asked = (String, BTreeMap<String, String>);

/// A server for one test, and what it was asked.
struct Fake {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Fake {
    async fn start(answer: Answer) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let app = Router::new().fallback(any(serve)).with_state((answer, Arc::clone(&asked)));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, asked, server }
    }
}

impl Fake {
    /// The paths and cursors of all requests.
    fn pages(&self) -> Vec<(String, String)> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(path, query)| (path.clone(), query.get("cursor").cloned().unwrap_or_default())).collect()
    }
}

fn owned((path, cursor): (&str, &str)) -> (String, String) {
    (path.to_owned(), cursor.to_owned())
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Shared = (Answer, Arc<Mutex<Vec<Asked>>>);

async fn serve(State((answer, asked)): State<Shared>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let url = reqwest::Url::parse(&format!("http://h{uri}")).unwrap();
    let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    asked.lock().unwrap().push((uri.path().to_owned(), query.clone()));
    let reply = |status: u16, kind: &str, body: String| {
        let answer = Response::builder().status(status).header(header::CONTENT_TYPE, kind);
        let answer = if status == 302 { answer.header(header::LOCATION, "/elsewhere") } else { answer };
        answer.body(Body::from(body)).unwrap()
    };
    let json = |value: Value| reply(200, "application/json", value.to_string());
    match answer {
        Answer::Fixed(status, kind, body) => reply(status, kind, body),
        Answer::Endless => json(json!({"gateways": [gateway(1)], "nextCursor": "again"})),
        Answer::Nothing => std::future::pending().await,
        Answer::Rows(..) if uri.path() != LIST => reply(404, "application/json", "{}".into()),
        Answer::UnversionedRows(..) if uri.path() != UNVERSIONED_LIST => reply(404, "application/json", "{}".into()),
        Answer::Rows(..) | Answer::UnversionedRows(..)
            if !headers[header::AUTHORIZATION].to_str().unwrap().starts_with("Bearer h.ey") =>
        {
            reply(401, "application/json", "{\"detail\":\"planted\"}".into())
        }
        Answer::Rows(rows, most) | Answer::UnversionedRows(rows, most) => {
            let inactive = query.get("include_inactive").is_some_and(|value| value == "true");
            let shown: Vec<&Value> = rows.iter().filter(|row| inactive || row["enabled"] == true).collect();
            let from: usize = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
            let limit = query.get("limit").map_or(50, |limit| limit.parse::<usize>().unwrap()).min(most);
            let page = &shown[from..shown.len().min(from + limit)];
            let next = (from + limit < shown.len()).then(|| (from + limit).to_string());
            if query.get("include_pagination").is_some_and(|value| value == "true") {
                json(json!({"gateways": page, "nextCursor": next}))
            } else {
                json(json!(page))
            }
        }
    }
}

/// A row with more fields than `import` reads, one of them a secret.
fn gateway(number: u32) -> Value {
    json!({
        "id": format!("{number:032x}"), "name": format!("Server {}", number % 40),
        "url": format!("http://localhost:9000/s{number}/mcp{}", if number.is_multiple_of(2) { "/" } else { "" }),
        "enabled": !number.is_multiple_of(7), "reachable": true, "status": "active", "transport": "STREAMABLEHTTP",
        "createdAt": format!("2026-11-01T00:{:02}:{:02}.5Z", number / 60, number % 60), "authType": null,
        "authValue": "planted", "capabilities": {"tools": {}}, "tags": [],
    })
}

async fn import(url: &str, token: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{token}\n")).unwrap();
    let mut command = tokio::process::Command::from(binary());
    command.args(["import", "--from", "contextforge", url, "--token-file"]).arg(&file).args(more);
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.expect("it ends").unwrap();
    assert!(!said(&output).contains("planted") && !said(&output).contains(token), "{}", said(&output));
    output
}

/// Specs by name.
fn specs(yaml: &[u8]) -> BTreeMap<String, Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(yaml).unwrap()).unwrap();
    let named =
        |document: &Value| (document["metadata"]["name"].as_str().unwrap().to_owned(), document["spec"].clone());
    documents.iter().map(named).collect()
}

#[tokio::test]
async fn all_pages_become_objects_that_the_api_server_accepts() {
    let rows: Vec<Value> = (0..230).map(gateway).collect();
    let fake = Fake::start(Answer::Rows(rows.clone(), 60)).await;
    let namespace = cluster().namespace("import").await;
    let output = import(&format!("{}/root/", fake.url), ADMIN, &["-n", &namespace]).await;
    assert!(output.status.success(), "{}", said(&output));
    let err = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(err.starts_with("230 of 230 gateways (33 disabled)") && err.lines().count() == 1, "{err}");
    let found = specs(&output.stdout);
    assert_eq!(found.len(), 230);
    for row in &rows {
        let spec = found.values().find(|spec| spec["gatewayId"] == row["id"]).unwrap();
        assert_eq!((&spec["url"], spec["enabled"] != false), (&row["url"], row["enabled"] == true));
    }
    assert_eq!(fake.pages(), [(LIST, ""), (LIST, "60"), (LIST, "120"), (LIST, "180")].map(owned));
    let again = import(&format!("{}/root", fake.url), ADMIN, &["-n", &namespace]).await;
    assert_eq!(output.stdout, again.stdout, "the same each time");

    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(&file, &output.stdout).unwrap();
    cluster().kubectl_ok(&["apply", "--server-side", "-f", &file.path().display().to_string()]);
    let list = cluster().kubectl_ok(&["get", "mcpgateways", "-n", &namespace, "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    let mut kept: Vec<&str> =
        list["items"].as_array().unwrap().iter().map(|o| o["spec"]["url"].as_str().unwrap()).collect();
    let mut stored: Vec<&str> = rows.iter().map(|row| row["url"].as_str().unwrap()).collect();
    kept.sort_unstable();
    stored.sort_unstable();
    assert_eq!(kept, stored);
}

#[tokio::test]
async fn the_unversioned_path_is_used_where_the_versioned_one_is_not_found() {
    let rows: Vec<Value> = (0..5).map(gateway).collect();
    let fake = Fake::start(Answer::UnversionedRows(rows, 3)).await;
    let output = import(&format!("{}/root", fake.url), ADMIN, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(specs(&output.stdout).len(), 5);
    let asked = [(LIST, ""), (UNVERSIONED_LIST, ""), (UNVERSIONED_LIST, "3")];
    assert_eq!(fake.pages(), asked.map(owned), "once, at the first page");
    // Any other refusal is the answer, because a second request would hide it.
    for status in [401, 403, 405, 500] {
        let fake = Fake::start(Answer::Fixed(status, "application/json", "{}".into())).await;
        let output = import(&format!("{}/root", fake.url), ADMIN, &[]).await;
        assert!(said(&output).contains(&status.to_string()), "{}", said(&output));
        assert_eq!(fake.pages(), [(LIST, "")].map(owned));
    }
}

#[tokio::test]
async fn refused_urls_and_a_limited_token_are_warned_about() {
    let mut rows = vec![gateway(1), gateway(2)];
    rows[1]["url"] = "https://u.example/mcp?api_key=planted".into();
    rows[1]["name"] = "Secret one".into();
    let fake = Fake::start(Answer::Rows(rows, 500)).await;
    let output = import(&format!("{}/root", fake.url), TEAM, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(specs(&output.stdout).len(), 1);
    let err = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = err.lines().collect();
    assert!(
        lines[0].starts_with("warning: ") && lines[0].contains("one team") && lines[0].contains("\"teams\": null"),
        "{err}"
    );
    assert!(lines[1].contains("gateway Secret one (id ") && lines[1].contains("https://u.example/mcp?…"), "{err}");
    assert!(lines[1].contains("auth_type query_param"), "{err}");
    assert!(lines[2].starts_with("1 of 2 gateways"), "{err}");
}

/// An empty cursor, `enabled` as a string, and an `@` in the path of a URL that is left out.
#[tokio::test]
async fn an_answer_that_a_proxy_has_rewritten_is_read() {
    let mut rows = vec![gateway(1), gateway(2), gateway(3)];
    rows[1]["enabled"] = "false".into();
    rows[2]["url"] = "https://u.example/users/@me/mcp?api_key=planted".into();
    let body = json!({"gateways": rows, "nextCursor": ""}).to_string();
    let fake = Fake::start(Answer::Fixed(200, "application/json", body)).await;
    let output = import(&fake.url, ADMIN, &[]).await;
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fake.pages().len(), 1);
    let found = specs(&output.stdout);
    let enabled: Vec<(&str, &Value)> = found.iter().map(|(name, spec)| (name.as_str(), &spec["enabled"])).collect();
    assert_eq!(enabled, [("server-1", &Value::Null), ("server-2", &json!(false))]);
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("https://u.example/users/@me/mcp?…"), "{err}");
    assert!(err.contains("2 of 3 gateways (1 disabled)"), "{err}");
}

#[tokio::test]
async fn an_error_is_one_line_with_what_to_do_and_no_manifest() {
    let page = || "<html>planted</html>".to_owned();
    for (answer, parts) in [
        (Answer::Rows(vec![gateway(1)], 500), &["404", "root path"][..]),
        (
            Answer::Fixed(401, "application/json", "{\"detail\":\"planted\"}".into()),
            &["401", "--token-file", "new one"],
        ),
        (Answer::Fixed(403, "application/json", "planted".into()), &["403", "gateways.read"]),
        (Answer::Fixed(302, "text/html", page()), &["302", "redirects are not followed"]),
        (Answer::Fixed(503, "text/html", page()), &["503", "its log"]),
        (Answer::Fixed(200, "text/html", page()), &["HTML", "not the API"]),
        (Answer::Fixed(200, "application/json", "[1]".into()), &["other things"]),
        (Answer::Fixed(200, "application/json", " ".repeat((16 << 20) + 1)), &["16 MiB"]),
        (
            Answer::Fixed(200, "application/json", r#"[{"url":"http://h","enabled":"planted"}]"#.into()),
            &["`enabled` is neither true nor false"],
        ),
        (Answer::Endless, &["without end"]),
    ] {
        let fake = Fake::start(answer).await;
        let output = import(&fake.url, ADMIN, &[]).await;
        let err = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!((output.status.code(), output.stdout.len(), err.lines().count()), (Some(1), 0, 1), "{err}");
        assert!(parts.iter().all(|part| err.contains(part)), "{parts:?}: {err}");
        assert!(fake.asked.lock().unwrap().len() <= 3);
    }
    let fake = Fake::start(Answer::Rows(vec![gateway(1)], 500)).await;
    let output = import(&format!("{}/root", fake.url), "opaque", &[]).await;
    assert!(said(&output).contains("401"), "{}", said(&output));
    let port = crate::support::redis::free_port();
    let output = import(&format!("http://127.0.0.1:{port}"), ADMIN, &[]).await;
    assert!(output.status.code() == Some(1) && said(&output).contains("refused"), "{}", said(&output));
    let readme = root().join("README.md").display().to_string();
    let output = import("https://127.0.0.1:9", ADMIN, &["--ca-file", &readme]).await;
    assert!(said(&output).contains("--ca-file") && said(&output).contains("PEM"), "{}", said(&output));
}

#[tokio::test]
async fn an_unanswered_request_times_out() {
    let fake = Fake::start(Answer::Nothing).await;
    let output = import(&fake.url, ADMIN, &["--timeout", "300ms"]).await;
    assert!(output.status.code() == Some(1) && said(&output).contains("in time"), "{}", said(&output));
}

/// Entries at the edges of what `spec.registration` can describe: the API server accepts each manifest.
#[tokio::test]
async fn registration_blocks_of_each_kind_are_accepted_by_the_api_server() {
    let header = |name: &str| json!({"key": name, "value": "*****"});
    let oauth = json!({"grant_type": "client_credentials", "token_url": "https://issuer.example:8443/t?audience=x",
        "client_id": "planted", "client_secret": "*****", "scopes": ["read:all", "a"]});
    let kinds = [
        (json!({"name": "n".repeat(255), "description": "it's \"plain\"; a & b = 100 %\n\u{2028}\u{feff}x"}), true),
        (json!({"name": "0x1F", "tags": [{"id": "a:b", "label": "x"}, "no"], "transport": "SSE"}), true),
        (
            json!({"name": "Team", "visibility": "team", "teamId": "t1", "passthroughHeaders": ["X-A", "Authorization"]}),
            true,
        ),
        (
            json!({"name": "Bearer", "authType": "bearer", "authToken": "*****", "caCertificate": "-----BEGIN\nx\n"}),
            true,
        ),
        (json!({"name": "Basic", "authType": "basic", "authUsername": "planted", "visibility": "private"}), true),
        (
            json!({"name": "Headers", "authType": "authheaders", "authHeaders": [header("X-Api_Key"), header("0")]}),
            true,
        ),
        (json!({"name": "Query", "authType": "query_param", "authQueryParamKey": "_key-1"}), true),
        (json!({"name": "Oauth", "authType": "oauth", "oauthConfig": oauth}), true),
        (json!({"name": "Grant", "authType": "oauth", "oauthConfig": {"grant_type": "authorization_code"}}), false),
        (json!({"name": "Name!"}), false),
        (json!({"name": "Markup", "description": "see <b>"}), false),
        (json!({"name": "Control", "description": "a\u{85}b"}), false),
        (json!({"name": "Tag", "tags": ["under_score"]}), false),
    ];
    let rows: Vec<Value> = (0..)
        .zip(&kinds)
        .map(|(number, (more, _))| {
            let mut row = gateway(number);
            row.as_object_mut()
                .unwrap()
                .extend(json!({"visibility": "public", "ownerEmail": "a@example.com"}).as_object().unwrap().clone());
            row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            row
        })
        .collect();
    let fake = Fake::start(Answer::Rows(rows.clone(), 500)).await;
    let namespace = cluster().namespace("import-registration").await;
    let output = import(&format!("{}/root", fake.url), ADMIN, &["-n", &namespace, "--registration"]).await;
    assert!(output.status.success(), "{}", said(&output));
    let err = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(
        err.contains("note: the operator changes only what its own user owns; the owners here: a@example.com (13)"),
        "{err}"
    );
    assert!(err.contains("note: 12 gateways pass on the default headers"), "{err}");
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(&file, &output.stdout).unwrap();
    cluster().kubectl_ok(&["apply", "--server-side", "-f", &file.path().display().to_string()]);
    let list = cluster().kubectl_ok(&["get", "mcpgateways", "-n", &namespace, "-o", "json"]);
    let list: Value = serde_json::from_str(&list).unwrap();
    for (row, (_, described)) in rows.iter().zip(&kinds) {
        let specs = list["items"].as_array().unwrap().iter().map(|object| &object["spec"]);
        let spec = specs.into_iter().find(|spec| spec["gatewayId"] == row["id"]).unwrap();
        let registration = &spec["registration"];
        let expected = (if *described { row["name"].clone() } else { Value::Null }, row["description"].clone());
        assert_eq!(registration["name"], expected.0);
        assert_eq!(registration["auth"].is_object(), *described && row["authType"].is_string(), "{spec}");
        if *described {
            assert_eq!(registration["description"], expected.1);
        }
    }
    let map =
        cluster().kubectl_ok(&["get", "configmap", "-n", &namespace, "bearer-ca", "-o", "jsonpath={.data.ca\\.crt}"]);
    assert_eq!(map, "-----BEGIN\nx\n");
}
