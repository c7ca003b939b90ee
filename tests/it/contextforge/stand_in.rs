//! What the release cannot be made to do: hanging, breaking off, limiting, and answering nonsense.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, Response};
use axum::routing::any;
use mcpgateway_operator::api::v1alpha1::registration::RegistrationSpec;
use mcpgateway_operator::contextforge::call_error::CallError;
use mcpgateway_operator::contextforge::{Access, ContextForge};
use mcpgateway_operator::http_client::FlagFile;
use mcpgateway_operator::model::{GatewayId, ObjectName, ServerUrl};
use mcpgateway_operator::registration::desired::{Credentials, DesiredGateway, SecretText};
use mcpgateway_operator::registration::ownership::{Creator, OwnerId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const ROW: &str = r#"{"id":"a1","name":"n","url":"http://h/mcp","enabled":true}"#;

/// Requests, as `METHOD path?query`.
type Asked = Arc<Mutex<Vec<String>>>;

async fn open(url: &str, timeout: Duration) -> ContextForge {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "planted-token").unwrap();
    let token = FlagFile { flag: "--contextforge-token-file", path: file.path().into() };
    let access = Access { url: url.parse().unwrap(), token, ca: None, timeout };
    ContextForge::open(&access).await.unwrap()
}

/// A server that answers every request with this, in turn; the last one again and again.
async fn answering(answers: Vec<(u16, &'static str, String)>) -> (ContextForge, Asked) {
    type Shared = (Arc<Vec<(u16, &'static str, String)>>, Asked);
    async fn serve(State((answers, asked)): State<Shared>, request: Request<Body>) -> Response<Body> {
        let mut asked = asked.lock().unwrap();
        let (status, retry_after, body) = &answers[asked.len().min(answers.len() - 1)];
        asked.push(format!("{} {}", request.method(), request.uri()));
        let answer = Response::builder().status(*status);
        let answer = if retry_after.is_empty() { answer } else { answer.header("retry-after", *retry_after) };
        answer.body(Body::from(body.clone())).unwrap()
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/root", listener.local_addr().unwrap());
    let asked = Asked::default();
    let app = Router::new().fallback(any(serve)).with_state((Arc::new(answers), Arc::clone(&asked)));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (open(&url, Duration::from_secs(30)).await, asked)
}

fn desired() -> DesiredGateway {
    let url = ServerUrl::parse("http://h/mcp?x=planted-query").unwrap();
    let credentials = Credentials::Bearer(SecretText::new("planted-word".into()));
    DesiredGateway::new(&RegistrationSpec::default(), &ObjectName::new("a", "b"), url, credentials, String::new())
}

fn creator() -> Creator {
    Creator { owner: OwnerId::parse("o").unwrap(), object: ObjectName::new("a", "b"), uid: "1".into() }
}

fn id() -> GatewayId {
    GatewayId::parse("a1").unwrap()
}

#[tokio::test]
async fn a_round_is_one_request_and_a_release_that_wants_a_limit_is_paged() {
    let list = format!(r#"{{"gateways":[{ROW},{{"id":"b","url":"http://h"}}],"nextCursor":null}}"#);
    let (client, asked) = answering(vec![(200, "", list.clone())]).await;
    let found = client.list().await.unwrap();
    assert_eq!((found.entries.len(), found.unreadable), (1, 1));
    let query = "include_inactive=true&include_pagination=true&limit=";
    assert_eq!(*asked.lock().unwrap(), [format!("GET /root/v1/gateways?{query}0")]);

    let first = list.replace("null", r#""next""#);
    let (client, asked) = answering(vec![(422, "", "{}".into()), (200, "", first), (200, "", list)]).await;
    let found = client.list().await.unwrap();
    assert_eq!((found.entries.len(), found.unreadable), (1, 1), "each once");
    let expected = ["0", "100", "100&cursor=next"].map(|end| format!("GET /root/v1/gateways?{query}{end}"));
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn the_calls_are_those_of_the_api() {
    let (client, asked) = answering(vec![(200, "", ROW.to_owned())]).await;
    client.get(&id()).await.unwrap();
    client.create(&desired(), &creator()).await.unwrap();
    client.update(&id(), &desired()).await.unwrap();
    client.set_enabled(&id(), false).await.unwrap();
    client.delete(&id()).await.unwrap();
    let expected = [
        "GET /root/v1/gateways/a1",
        "POST /root/v1/gateways",
        "PUT /root/v1/gateways/a1",
        "POST /root/v1/gateways/a1/state?activate=false",
        "DELETE /root/v1/gateways/a1",
    ];
    assert_eq!(*asked.lock().unwrap(), expected);
}

#[tokio::test]
async fn a_lockout_says_how_long_and_is_asked_once() {
    let body = r#"{"error":"Rate limit lockout","message":"Too many rate limit violations."}"#;
    let (client, asked) = answering(vec![(429, "900", body.into())]).await;
    let limited = CallError::RateLimited { retry_after: Duration::from_secs(900) };
    assert_eq!(client.list().await, Err(limited.clone()));
    assert_eq!(client.create(&desired(), &creator()).await, Err(limited));
    assert_eq!(asked.lock().unwrap().len(), 2, "no request is repeated");
}

#[tokio::test]
async fn nonsense_is_no_entry_and_no_secret_comes_back() {
    let echo =
        r#"{"detail":[{"msg":"planted-word at http://u:planted-pass@h/mcp?x=planted-query","input":"planted"}]}"#;
    for (status, body, expected) in [
        (200, "<html>planted</html>", CallError::Unreadable(200)),
        (200, "{}", CallError::Unreadable(200)),
        (301, "", CallError::Unreadable(301)),
        (404, "planted", CallError::Unreadable(404)),
        (503, "planted", CallError::Server(503)),
        (422, echo, CallError::Rejected("… at http://h/mcp?…".into())),
    ] {
        let (client, asked) = answering(vec![(status, "", body.to_owned())]).await;
        let error = client.create(&desired(), &creator()).await.unwrap_err();
        assert_eq!(error, expected, "{status} {body}");
        assert!(!format!("{error:?} {error}").contains("planted"), "{error:?}");
        assert_eq!(asked.lock().unwrap().len(), 1, "no request is repeated");
    }
    // A body that does not end is not kept.
    let (client, _) = answering(vec![(200, "", " ".repeat((16 << 20) + 1))]).await;
    assert_eq!(client.list().await, Err(CallError::Unreadable(200)));
}

/// Accepts connections; reads a request and then sends this, and nothing more for ever.
async fn hanging(sent: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(sent.as_bytes()).await;
                std::future::pending::<()>().await;
            });
        }
    });
    url
}

#[tokio::test]
async fn no_answer_and_half_an_answer_leave_the_outcome_unknown() {
    for sent in ["", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"] {
        let client = open(&hanging(sent).await, Duration::from_millis(300)).await;
        let error = client.list().await.unwrap_err();
        assert_eq!(error, CallError::TimedOut, "{sent}");
        assert!(error.outcome_is_unknown());
    }
    let port = crate::support::redis::free_port();
    let client = open(&format!("http://127.0.0.1:{port}"), Duration::from_secs(30)).await;
    let error = client.create(&desired(), &creator()).await.unwrap_err();
    assert!(matches!(&error, CallError::Unreachable(why) if why.contains("refused")), "{error:?}");
    assert!(!error.outcome_is_unknown() && !format!("{error:?}").contains("planted"));
}

#[tokio::test]
async fn a_create_outlasts_the_time_of_a_list() {
    // It answers after three times as long as a list may take.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let slow = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        tokio::time::sleep(Duration::from_millis(900)).await;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ROW}", ROW.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let client = open(&url, Duration::from_millis(300)).await;
    assert_eq!(client.create(&desired(), &creator()).await.unwrap().id, id());
    slow.await.unwrap();
}
