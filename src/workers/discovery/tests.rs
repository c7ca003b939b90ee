use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::*;

/// The slices of one Service at the API server.
#[derive(Clone)]
struct FakeService {
    list: Value,
    /// The events of the first watch. A later watch has none.
    events: Arc<Mutex<Option<mpsc::UnboundedReceiver<Value>>>>,
    forbidden: Arc<AtomicBool>,
}

impl FakeService {
    fn new(slices: &[Value]) -> (Self, mpsc::UnboundedSender<Value>) {
        let (sender, events) = mpsc::unbounded_channel();
        let list = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
            "metadata": {"resourceVersion": "1"}, "items": slices});
        let events = Arc::new(Mutex::new(Some(events)));
        (Self { list, events, forbidden: Arc::default() }, sender)
    }

    fn answer(&self, watching: bool) -> Response {
        if self.forbidden.load(Ordering::SeqCst) {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden",
                "code": 403, "message": "no"});
            return (StatusCode::FORBIDDEN, status.to_string()).into_response();
        }
        if !watching {
            return self.list.to_string().into_response();
        }
        let events = self.events.lock().unwrap().take();
        let lines = stream::unfold(events, |events| async {
            let Some(mut events) = events else { return std::future::pending().await };
            let event = events.recv().await?;
            Some((Ok::<_, Infallible>(Bytes::from(format!("{event}\n"))), Some(events)))
        });
        Body::from_stream(lines).into_response()
    }
}

/// An API server with one Service for each name, and a client for it.
async fn api_server(tasks: &mut JoinSet<()>, services: Vec<(&'static str, FakeService)>) -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        assert_eq!(request.uri().path(), "/apis/discovery.k8s.io/v1/namespaces/gateways/endpointslices");
        let asked = |name: &str| query.contains(&format!("service-name%3D{name}&")) || query.ends_with(name);
        let service = services.iter().find(|(name, _)| asked(name)).unwrap();
        let answer = service.1.answer(query.contains("watch=true"));
        async move { answer }
    });
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap()
}

fn slice(name: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": name, "namespace": "gateways", "resourceVersion": "2"},
        "endpoints": endpoints, "ports": [{"name": "http", "port": 4444}]})
}

fn start(
    tasks: &mut JoinSet<()>,
    client: Client,
    flags: &[&str],
) -> (watch::Receiver<Endpoints>, prometheus_client::registry::Registry) {
    let mut scrape = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut scrape);
    let mut sources = Sources::default();
    for flag in flags {
        match flag.parse() {
            Ok(service) => sources.services.push(service),
            Err(_) => sources.endpoints.push(flag.parse().unwrap()),
        }
    }
    let (sender, receiver) = watch::channel(None);
    tasks.spawn(run(client, sources, "/mcpgateway/usage".to_owned(), sender, metrics));
    (receiver, scrape)
}

async fn wait_for(receiver: &mut watch::Receiver<Endpoints>, wanted: &[&str]) {
    let ids = |endpoints: &Endpoints| -> Option<Vec<String>> {
        endpoints.as_ref().map(|list| list.iter().map(|endpoint| endpoint.id.to_string()).collect())
    };
    let found = receiver.wait_for(|endpoints| ids(endpoints).is_some_and(|ids| ids == wanted));
    let limit = tokio::time::timeout(std::time::Duration::from_secs(20), found).await;
    assert!(limit.is_ok(), "wanted {wanted:?}");
}

#[tokio::test]
async fn fixed_endpoints_are_known_at_once_and_the_task_goes_on() {
    let mut tasks = JoinSet::new();
    let client = api_server(&mut tasks, Vec::new()).await;
    let flags = ["http://b:1/usage?token=planted", "http://a:1/usage", "http://a:1/usage"];
    let (mut endpoints, _) = start(&mut tasks, client, &flags);
    wait_for(&mut endpoints, &["http://a:1/usage", "http://b:1/usage"]).await;
    let known = endpoints.borrow().clone().unwrap();
    assert_eq!(known[1].url.query(), Some("token=planted"), "is asked with its query");
    assert!(!format!("{known:?}").contains("planted"), "and shown without it");
    assert!(tasks.try_join_next().is_none(), "the end of the task would end the process");
}

#[tokio::test]
async fn slices_are_followed_as_they_come_and_go() {
    let mut tasks = JoinSet::new();
    let (service, events) = FakeService::new(&[slice("s1", &["10.0.0.2", "10.0.0.1"]), slice("s2", &["10.0.0.1"])]);
    let client = api_server(&mut tasks, vec![("mcp", service)]).await;
    let (mut endpoints, _) = start(&mut tasks, client, &["gateways/mcp", "http://a:1/usage"]);
    let at = |host: &str| format!("http://{host}:4444/mcpgateway/usage");
    let (one, two, three) = (at("10.0.0.1"), at("10.0.0.2"), at("10.0.0.3"));
    wait_for(&mut endpoints, &[&one, &two, "http://a:1/usage"]).await;
    events.send(json!({"type": "MODIFIED", "object": slice("s2", &["10.0.0.3"])})).unwrap();
    wait_for(&mut endpoints, &[&one, &two, &three, "http://a:1/usage"]).await;
    events.send(json!({"type": "DELETED", "object": slice("s1", &[])})).unwrap();
    wait_for(&mut endpoints, &[&three, "http://a:1/usage"]).await;
    events.send(json!({"type": "DELETED", "object": slice("s2", &[])})).unwrap();
    wait_for(&mut endpoints, &["http://a:1/usage"]).await;
}

#[tokio::test]
async fn nothing_is_known_until_every_service_has_been_read() {
    let mut tasks = JoinSet::new();
    let (good, _events) = FakeService::new(&[slice("s1", &["10.0.0.1"])]);
    let (refused, _events) = FakeService::new(&[]);
    refused.forbidden.store(true, Ordering::SeqCst);
    let allow = Arc::clone(&refused.forbidden);
    let client = api_server(&mut tasks, vec![("good", good), ("refused", refused)]).await;
    let (mut endpoints, scrape) = start(&mut tasks, client, &["gateways/good", "gateways/refused", "http://a:1/"]);
    // The failure has been counted, so the task has been refused and is still there.
    let refused = async {
        loop {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &scrape).unwrap();
            if text.contains("worker_discovery_failures_total{reason=\"Forbidden\"}") {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), refused).await.unwrap();
    assert!(endpoints.borrow().is_none(), "half a fleet is not the fleet");
    allow.store(false, Ordering::SeqCst);
    wait_for(&mut endpoints, &["http://10.0.0.1:4444/mcpgateway/usage", "http://a:1/"]).await;
}

#[tokio::test]
async fn a_service_without_a_usable_port_is_read_but_has_no_endpoints() {
    let mut tasks = JoinSet::new();
    let (service, _events) = FakeService::new(&[slice("s1", &["10.0.0.1"])]);
    let client = api_server(&mut tasks, vec![("mcp", service)]).await;
    let (mut endpoints, scrape) = start(&mut tasks, client, &["gateways/mcp:other"]);
    wait_for(&mut endpoints, &[]).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &scrape).unwrap();
    assert!(text.contains("worker_discovery_failures_total{reason=\"NoSuchPort\"} 1"));
}
