//! A proxy in front of the API server that can do harm, for what no API server can be made to do. It speaks plain HTTP
//! and asks the real one as its administrator; watches pass through it as they come.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::steps::Steps;

/// What is done to requests.
#[derive(Clone, Debug)]
pub enum Fault {
    None,
    /// Reads pass; writes are done, but answered 504.
    DoneBut504,
    /// Not done, never answered.
    Hang,
    /// Held, and done once the fault is another: a late message. Whoever asked may have gone meanwhile.
    Hold,
    /// Done, and answered so much later.
    Late(Duration),
    /// 429 with Retry-After 60.
    Throttled,
    /// Not done, 503.
    Refused,
    /// Not done, 409.
    Conflict,
    /// Watches end with 410 at once; the rest passes.
    Gone,
    /// Everything is answered 404; watches that are open end.
    Missing,
    /// Watches that are open say nothing any more, as on a dead connection; the rest passes.
    SilentEndpoint,
    /// Watches end after each event; the rest passes.
    Broken,
    /// Lists answer this; watches are silent; the rest passes.
    Replay(Bytes),
}

struct Shared {
    to: Client,
    /// The fault, and the part of the path for which it stands.
    fault: watch::Sender<(String, Fault)>,
    requests: Arc<AtomicUsize>,
    held: AtomicUsize,
    /// What became of requests that were held: the status code of each.
    late: Mutex<Vec<u16>>,
    steps: Arc<Steps>,
}

/// A running proxy; it ends when this is dropped.
pub struct ApiProxy {
    shared: Arc<Shared>,
    url: String,
    server: JoinHandle<()>,
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ApiProxy {
    pub async fn start(to: Client) -> Self {
        Self::counting(to, Arc::default()).await
    }

    /// The same, and each request is a step.
    pub async fn counting(to: Client, steps: Arc<Steps>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let shared = Arc::new(Shared {
            to,
            fault: watch::Sender::new((String::new(), Fault::None)),
            requests: Arc::default(),
            held: AtomicUsize::new(0),
            late: Mutex::default(),
            steps,
        });
        let app = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves");
        });
        Self { shared, url, server }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many requests have come in, for ever up to date.
    pub fn requests(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.shared.requests)
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let kubeconfig = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        });
        std::fs::write(&file, kubeconfig.to_string()).expect("written");
        file
    }

    /// From now on this is done to all requests.
    pub fn fault(&self, fault: Fault) {
        self.fault_on("", fault);
    }

    /// From now on this is done to requests whose path contains `part`.
    pub fn fault_on(&self, part: &str, fault: Fault) {
        self.shared.fault.send_replace((part.to_owned(), fault));
    }

    /// How many requests are being held.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// Status codes of the writes that were held and then let through.
    pub fn late(&self) -> Vec<u16> {
        self.shared.late.lock().expect("codes").clone()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    shared.steps.take().await;
    // Whoever asked may go away; what has arrived is done all the same, as in a real API server.
    let (sender, answered) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move { sender.send(answer(&shared, request).await).ok() });
    let answer = answered.await;
    drop(task);
    answer.unwrap_or_else(|_| StatusCode::BAD_GATEWAY.into_response())
}

async fn answer(shared: &Arc<Shared>, request: Request) -> Response {
    let mut changes = shared.fault.subscribe();
    let path = request.uri().to_string();
    let stands = |state: &(String, Fault)| if path.contains(&state.0) { state.1.clone() } else { Fault::None };
    let mut fault = stands(&changes.borrow_and_update());
    let reads = request.method() == axum::http::Method::GET;
    let watches = path.contains("watch=true") || path.contains("watch=1");
    let mut was_held = false;
    if let Fault::Hold = fault {
        was_held = true;
        shared.held.fetch_add(1, Ordering::SeqCst);
        while let Fault::Hold = fault {
            changes.changed().await.expect("the proxy is there");
            fault = stands(&changes.borrow_and_update());
        }
        shared.held.fetch_sub(1, Ordering::SeqCst);
    }
    match fault {
        Fault::Hang => std::future::pending().await,
        Fault::Throttled => return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "60")], "later").into_response(),
        Fault::Refused => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Fault::Conflict if !reads => return status(409, "Conflict"),
        Fault::Gone if watches => return status(410, "Expired"),
        Fault::Missing => return status(404, "NotFound"),
        Fault::Replay(_) if watches => {
            let silence = stream::pending::<Result<Bytes, std::io::Error>>();
            return Body::from_stream(silence).into_response();
        }
        Fault::Replay(list) if reads && path.contains("limit=") => {
            return ([("content-type", "application/json")], list).into_response();
        }
        _ => {}
    }
    let (mut parts, body) = request.into_parts();
    parts.headers.remove("host");
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
    let Ok(answer) = shared.to.send(request).await else { return StatusCode::BAD_GATEWAY.into_response() };
    if was_held && !reads {
        shared.late.lock().expect("codes").push(answer.status().as_u16());
    }
    match fault {
        Fault::DoneBut504 if !reads => StatusCode::GATEWAY_TIMEOUT.into_response(),
        Fault::Late(by) => {
            tokio::time::sleep(by).await;
            answer.map(Body::new)
        }
        Fault::Broken if watches => {
            let (parts, body) = answer.into_parts();
            let first = Body::new(body).into_data_stream().take(1);
            Response::from_parts(parts, Body::from_stream(first))
        }
        _ if watches => {
            let (parts, body) = answer.into_parts();
            let disturbs = move |state: &(String, Fault)| {
                let is = matches!(
                    state.1,
                    Fault::SilentEndpoint | Fault::Replay(_) | Fault::Gone | Fault::Missing | Fault::Broken
                );
                path.contains(&state.0) && is
            };
            let mut later = changes.clone();
            later.mark_unchanged();
            let disturbed = async move {
                loop {
                    if changes.changed().await.is_err() || disturbs(&changes.borrow_and_update()) {
                        return;
                    }
                }
            };
            let silent = async move {
                let fault = later.borrow().1.clone();
                if let Fault::SilentEndpoint = fault {
                    std::future::pending::<()>().await;
                }
            };
            let data = Body::new(body).into_data_stream().take_until(Box::pin(disturbed));
            let then = stream::once(silent).filter_map(|()| std::future::ready(None));
            Response::from_parts(parts, Body::from_stream(data.chain(then)))
        }
        _ => answer.map(Body::new),
    }
}

/// An answer of the API server's shape.
fn status(code: u16, reason: &str) -> Response {
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code,
    });
    let code = StatusCode::from_u16(code).expect("a code");
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}
