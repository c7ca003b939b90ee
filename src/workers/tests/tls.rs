//! Certificates: trusted, not trusted, for another name, and the client's own.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use rustls::pki_types::ServerName;

use super::*;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    Authority { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
}

/// A certificate for a name, and its key.
fn issue(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, &authority.issuer).unwrap(), key)
}

/// Serves one report for each connection, at `https://127.0.0.1:…/`, with a certificate for `name`.
async fn serve_tls(authority: &Authority, name: &str, client_authority: Option<&Authority>) -> Endpoint {
    let (certificate, key) = issue(authority, name);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = match client_authority {
        Some(client_authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(client_authority.der.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        }
        None => builder.unwrap().with_no_client_auth(),
    };
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let body = report("w");
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    endpoint(&format!("https://{address}/"))
}

fn file(folder: &tempfile::TempDir, name: &str, content: &str) -> FlagFile {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    FlagFile { flag: "--worker-…-file", path }
}

fn trusting(tls: Tls) -> Fixture {
    Fixture::new(CollectorSettings { tls, ..settings() })
}

async fn reports(fixture: &Fixture, endpoint: &Endpoint) -> bool {
    fixture.collect(std::slice::from_ref(endpoint)).await.answers[0].answer.report().is_some()
}

#[tokio::test]
async fn the_ca_file_is_trusted_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, others) = (authority(), authority());
    let ca_file = file(&folder, "ca.pem", &ours.pem);
    let fixture = trusting(Tls { ca: Some(ca_file.clone()), ..Tls::default() });
    let good = serve_tls(&ours, "127.0.0.1", None).await;
    let stranger = serve_tls(&others, "127.0.0.1", None).await;
    assert!(reports(&fixture, &good).await);
    assert!(!reports(&fixture, &stranger).await);
    assert!(!reports(&trusting(Tls::default()), &good).await, "the system does not know this CA");
    // A rotated CA is used from the next collection on.
    std::fs::write(ca_file.path, &others.pem).unwrap();
    assert!(reports(&fixture, &stranger).await);
    assert!(!reports(&fixture, &good).await);
}

#[tokio::test]
async fn the_tls_server_name_takes_the_place_of_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    let ca = Some(file(&folder, "ca.pem", &ours.pem));
    let named = serve_tls(&ours, "workers.example.com", None).await;
    let with_name = |name: Option<&str>| {
        let server_name = name.map(|name| ServerName::try_from(name.to_owned()).unwrap());
        trusting(Tls { ca: ca.clone(), server_name, ..Tls::default() })
    };
    assert!(reports(&with_name(Some("workers.example.com")), &named).await);
    assert!(!reports(&with_name(Some("other.example.com")), &named).await);
    assert!(!reports(&with_name(None), &named).await, "the certificate is not for the address");
    let stranger = serve_tls(&authority(), "workers.example.com", None).await;
    assert!(!reports(&with_name(Some("workers.example.com")), &stranger).await, "the name alone is not enough");
}

#[tokio::test]
async fn the_client_certificate_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    let ca = Some(file(&folder, "ca.pem", &ours.pem));
    let (certificate, key) = issue(&ours, "operator");
    let endpoint = serve_tls(&ours, "127.0.0.1", Some(&ours)).await;
    let anonymous = Tls { ca, ..Tls::default() };
    assert!(!reports(&trusting(anonymous.clone()), &endpoint).await);
    let identity = Some((file(&folder, "tls.crt", &certificate.pem()), file(&folder, "tls.key", &key.serialize_pem())));
    let identified = trusting(Tls { identity, ..anonymous });
    assert!(reports(&identified, &endpoint).await);
    // The key of another certificate, as in the middle of a rotation: this collection fails, and the next one succeeds.
    file(&folder, "tls.key", &KeyPair::generate().unwrap().serialize_pem());
    assert!(!reports(&identified, &endpoint).await);
    assert_eq!(identified.metric("worker_reports_total{outcome=\"Credentials\"}"), Some(1.0));
    file(&folder, "tls.key", &key.serialize_pem());
    assert!(reports(&identified, &endpoint).await);
}

#[tokio::test]
async fn files_without_certificates_fail_the_collection() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    let endpoint = serve_tls(&ours, "127.0.0.1", None).await;
    for (name, content) in [("empty", ""), ("text", "hello"), ("half", &ours.pem[..100])] {
        let fixture = trusting(Tls { ca: Some(file(&folder, name, content)), ..Tls::default() });
        assert!(!reports(&fixture, &endpoint).await);
        assert_eq!(fixture.metric("worker_reports_total{outcome=\"Credentials\"}"), Some(1.0), "{name}");
    }
}
