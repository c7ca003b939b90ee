//! Somebody else's admission webhook for statuses: a real HTTPS server on loopback that the API server calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What the webhook does to a status write.
#[derive(Clone, Debug)]
pub enum Verdict {
    Allow,
    Deny,
    /// Denies the objects with these names.
    DenyOnly(&'static [&'static str]),
    /// Allows after a delay. Waiting writes are released when the verdict changes.
    Delay(Duration),
}

struct Shared {
    verdict: watch::Sender<Verdict>,
    asked: AtomicUsize,
}

/// The webhook server and its registration.
pub struct Webhook {
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    configurations: Api<ValidatingWebhookConfiguration>,
    name: String,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Webhook {
    /// Registers it for the statuses of the McpGateway objects in this namespace.
    pub async fn install(client: Client, namespace: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let private = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/validate", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { verdict: watch::Sender::new(Verdict::Allow), asked: AtomicUsize::new(0) });
        let app = Router::new().route("/validate", post(review)).with_state(Arc::clone(&shared));
        let tls = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(tls)) };
        let server = tokio::spawn(async move { axum::serve(tls, app).await.unwrap() });
        let configuration = json!({
            "metadata": {"name": namespace},
            "webhooks": [{
                "name": "others.example.com",
                "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail", "timeoutSeconds": 30,
                "clientConfig": {"url": url, "caBundle": k8s_openapi::ByteString(certificate.pem().into_bytes())},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{
                    "apiGroups": ["mcpgateway.io"], "apiVersions": ["*"], "operations": ["UPDATE"],
                    "resources": ["mcpgateways/status"], "scope": "Namespaced",
                }],
            }],
        });
        let configurations: Api<ValidatingWebhookConfiguration> = Api::all(client);
        let configuration = serde_json::from_value(configuration).unwrap();
        configurations.create(&PostParams::default(), &configuration).await.unwrap();
        Self { shared, server, configurations, name: namespace.to_owned() }
    }

    pub fn verdict(&self, verdict: Verdict) {
        self.shared.verdict.send_replace(verdict);
    }

    /// How many writes it was asked about.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Removes the registration.
    pub async fn remove(self) {
        self.configurations.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

async fn review(State(shared): State<Arc<Shared>>, body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap();
    shared.asked.fetch_add(1, Ordering::SeqCst);
    let request = &review["request"];
    let mut verdict = shared.verdict.subscribe();
    let now = verdict.borrow_and_update().clone();
    let allowed = match now {
        Verdict::Allow => true,
        Verdict::Deny => false,
        Verdict::DenyOnly(names) => !names.contains(&request["name"].as_str().unwrap_or_default()),
        Verdict::Delay(by) => {
            tokio::time::timeout(by, verdict.changed()).await.ok();
            true
        }
    };
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": {"uid": request["uid"], "allowed": allowed, "status": {"message": "not while we look"}},
    });
    ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
}
