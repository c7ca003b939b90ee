//! A gateway worker on a real socket. The test decides what it reports.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use mcpgateway_operator::clock;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A row: gateway id or URL, last use in Unix seconds, active sessions, use count.
#[derive(Clone, Debug)]
pub struct Row {
    pub id: Option<String>,
    pub url: Option<String>,
    pub last_used: f64,
    pub active: u64,
    pub use_count: u64,
}

struct Shared {
    id: Mutex<String>,
    rows: Mutex<Vec<Row>>,
    /// What it says of its polling.
    polling: Mutex<Value>,
    /// Its clock is so many seconds ahead.
    ahead: Mutex<f64>,
    /// The report that it repeats, if it does.
    frozen: Mutex<Option<Value>>,
    /// How many requests have come in.
    requests: watch::Sender<usize>,
    /// The number of the last request that is answered; later ones wait.
    admitted: watch::Sender<usize>,
}

/// A worker. It serves until this is dropped.
pub struct Worker {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    server: JoinHandle<()>,
}

impl Worker {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            id: Mutex::new(uuid::Uuid::new_v4().to_string()),
            rows: Mutex::default(),
            polling: Mutex::default(),
            ahead: Mutex::default(),
            frozen: Mutex::default(),
            requests: watch::Sender::new(0),
            admitted: watch::Sender::new(usize::MAX),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let app = Router::new().route("/mcpgateway/usage", get(report)).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("it serves");
        });
        Self { shared, address, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcpgateway/usage", self.address)
    }

    /// Sets the rows that it reports.
    pub fn report(&self, rows: Vec<Row>) {
        *self.shared.rows.lock().expect("rows") = rows;
    }

    /// Sets what it says of its polling.
    pub fn say_of_polling(&self, polling: Value) {
        *self.shared.polling.lock().expect("polling") = polling;
    }

    /// Sets its clock to so many seconds ahead of the right time. The times of its rows are by this clock already.
    pub fn step_clock(&self, ahead: f64) {
        *self.shared.ahead.lock().expect("a clock") = ahead;
    }

    /// Repeats the same report from now on, byte by byte, or answers as usual again.
    pub fn freeze(&self, frozen: bool) {
        let report = frozen.then(|| self.saved());
        *self.shared.frozen.lock().expect("a report") = report;
    }

    /// Reports under this id from now on.
    pub fn call_itself(&self, id: &str) {
        id.clone_into(&mut self.shared.id.lock().expect("id"));
    }

    /// Becomes a new process that has seen no use.
    pub fn restart(&self) {
        *self.shared.id.lock().expect("id") = uuid::Uuid::new_v4().to_string();
        self.report(Vec::new());
    }

    /// Answers no further request.
    pub fn hold(&self) {
        self.shared.admitted.send_replace(*self.shared.requests.borrow());
    }

    /// Answers one more request.
    pub fn admit_one(&self) {
        self.shared.admitted.send_modify(|admitted| *admitted += 1);
    }

    /// Answers all requests again.
    pub fn release(&self) {
        self.shared.admitted.send_replace(usize::MAX);
    }

    /// Waits until `count` requests have come in. Returns how many have.
    pub async fn requests(&self, count: usize) -> usize {
        *self.shared.requests.subscribe().wait_for(|requests| *requests >= count).await.expect("requests")
    }

    /// How many requests have come in.
    pub fn asked(&self) -> usize {
        *self.shared.requests.borrow()
    }

    /// The current report.
    pub fn saved(&self) -> Value {
        body(&self.shared)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn report(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let mut number = 0;
    shared.requests.send_modify(|requests| {
        *requests += 1;
        number = *requests;
    });
    shared.admitted.subscribe().wait_for(|admitted| *admitted >= number).await.expect("admission");
    ([(header::CONTENT_TYPE, "application/json")], body(&shared).to_string())
}

fn body(shared: &Shared) -> Value {
    if let Some(report) = &*shared.frozen.lock().expect("a report") {
        return report.clone();
    }
    let now = clock::now().seconds() + *shared.ahead.lock().expect("a clock");
    let rows = shared.rows.lock().expect("rows").clone();
    let servers = rows.into_iter().map(|Row { id, url, last_used, active, use_count }| {
        json!({"gatewayId": id, "url": url, "lastUsed": last_used, "active": active, "idle": 0, "useCount": use_count})
    });
    json!({
        "apiVersion": "usage.mcpgateway.io/v1alpha1", "kind": "UsageReport", "generatedAt": now,
        "workers": [{
            "id": *shared.id.lock().expect("id"), "observedAt": now,
            "polling": *shared.polling.lock().expect("polling"), "servers": servers.collect::<Vec<_>>(),
        }],
    })
}
