//! A stand-in for `ContextForge` that lists gateways, for what the release cannot be made to do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};

/// The gateways of a `ContextForge`.
#[derive(Clone, Default)]
pub struct ContextForge {
    rows: Arc<Mutex<BTreeMap<String, Value>>>,
    /// Whether the list comes back empty.
    empty: Arc<Mutex<bool>>,
}

impl ContextForge {
    /// Serves them. Returns its URL.
    pub async fn start(&self) -> String {
        async fn list(State(stand_in): State<ContextForge>) -> String {
            let rows: Vec<Value> = stand_in.rows.lock().expect("a lock").values().cloned().collect();
            let rows = if *stand_in.empty.lock().expect("a lock") { Vec::new() } else { rows };
            json!({"gateways": rows, "nextCursor": null}).to_string()
        }
        async fn one(State(stand_in): State<ContextForge>, Path(id): Path<String>) -> (StatusCode, String) {
            match stand_in.rows.lock().expect("a lock").get(&id) {
                Some(row) => (StatusCode::OK, row.to_string()),
                None => (StatusCode::NOT_FOUND, json!({"detail": format!("Gateway not found: {id}")}).to_string()),
            }
        }
        let app = Router::new().route("/v1/gateways", get(list)).route("/v1/gateways/{id}", get(one));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(axum::serve(listener, app.with_state(self.clone())).into_future());
        url
    }

    pub fn register(&self, number: u32) {
        let url = format!("http://server-{number}.example/mcp");
        self.rows.lock().expect("a lock").insert(
            id(number),
            json!({
                "id": id(number), "name": format!("Server {number}"), "slug": format!("server-{number}"), "url": url,
                "enabled": true, "ownerEmail": "people@example.com",
            }),
        );
    }

    pub fn edit(&self, number: u32, field: &str, value: Value) {
        self.rows.lock().expect("a lock").get_mut(&id(number)).expect("registered")[field] = value;
    }

    /// Whether the list comes back empty.
    pub fn list_nothing(&self, empty: bool) {
        *self.empty.lock().expect("a lock") = empty;
    }

    pub fn remove(&self, number: u32) {
        self.rows.lock().expect("a lock").remove(&id(number)).expect("registered");
    }
}

/// The id of a gateway.
pub fn id(number: u32) -> String {
    format!("{number:032x}")
}
