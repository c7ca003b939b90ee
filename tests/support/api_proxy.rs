//! A proxy in front of the API server that injects faults which a real API server cannot be made to produce. It speaks
//! plain HTTP and forwards requests as an administrator. Watches pass through it unbuffered.

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
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::steps::Steps;

/// What the proxy does to requests.
#[derive(Clone, Debug)]
pub enum Fault {
    None,
    /// Reads pass. Writes are executed, but answered 504.
    DoneBut504,
    /// Not executed, never answered.
    Hang,
    /// Held, and executed late, when the fault changes. The client may have gone by then.
    Hold,
    /// Executed, and answered after a delay.
    Late(Duration),
    /// 429 with Retry-After 60.
    Throttled,
    /// Not executed, 503.
    Refused,
    /// Not executed, 409.
    Conflict,
    /// Watches end with 410 at once; other requests pass.
    Gone,
    /// Everything is answered 404; open watches end.
    Missing,
    /// Open watches deliver nothing any more, as on a dead connection; other requests pass.
    Silent,
    /// Watches end after each event; other requests pass.
    Broken,
    /// Lists are answered with this one, also as the first events of a watch; watches are silent; other requests pass.
    Replay(Bytes),
}

struct Shared {
    to: Client,
    /// The fault, and the part of the path that it applies to.
    fault: watch::Sender<(String, Fault)>,
    requests: Arc<AtomicUsize>,
    held: AtomicUsize,
    /// The status codes of requests that were held.
    late: Mutex<Vec<u16>>,
    steps: Arc<Steps>,
}

/// A running proxy. It ends when this is dropped.
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

    /// Starts a proxy that counts each request as a step.
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

    /// The number of requests so far, as a live counter.
    pub fn requests(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.shared.requests)
    }

    /// A kubeconfig that points to this proxy.
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

    /// Applies a fault to all requests.
    pub fn fault(&self, fault: Fault) {
        self.fault_on("", fault);
    }

    /// Applies a fault to requests whose path contains `part`.
    pub fn fault_on(&self, part: &str, fault: Fault) {
        self.shared.fault.send_replace((part.to_owned(), fault));
    }

    /// How many requests are held.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// Status codes of the writes that were held and then forwarded.
    pub fn late(&self) -> Vec<u16> {
        self.shared.late.lock().expect("codes").clone()
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    shared.steps.take().await;
    // The client may go away. A request that has arrived is executed nevertheless, as by a real API server.
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
            changes.changed().await.expect("the proxy runs");
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
        Fault::Replay(list) if watches => {
            let begins = path.contains("sendInitialEvents=true");
            let list = stream::iter(begins.then(|| Ok::<_, std::io::Error>(streamed(&list))));
            return Body::from_stream(list.chain(stream::pending())).into_response();
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
                let is =
                    matches!(state.1, Fault::Silent | Fault::Replay(_) | Fault::Gone | Fault::Missing | Fault::Broken);
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
                if let Fault::Silent = fault {
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

/// An error in the API server's format.
fn status(code: u16, reason: &str) -> Response {
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": reason, "reason": reason, "code": code,
    });
    let code = StatusCode::from_u16(code).expect("a code");
    (code, [("content-type", "application/json")], body.to_string()).into_response()
}

/// A list as the first events of a watch.
fn streamed(list: &[u8]) -> Bytes {
    let list: Value = serde_json::from_slice(list).expect("a list");
    let items = list["items"].as_array().expect("items");
    let added = items.iter().map(|object| json!({"type": "ADDED", "object": object}));
    let end = json!({"apiVersion": list["apiVersion"], "kind": "McpGateway", "metadata": {
        "resourceVersion": list["metadata"]["resourceVersion"], "annotations": {"k8s.io/initial-events-end": "true"},
    }});
    let events = added.chain([json!({"type": "BOOKMARK", "object": end})]);
    events.flat_map(|event| [event.to_string(), "\n".to_owned()]).collect::<String>().into()
}
