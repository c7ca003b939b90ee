#![expect(clippy::disallowed_methods, reason = "a server of a test ends with the test's runtime")]

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::Url;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::client::page_url;
use super::*;
use crate::http_client::FlagFile;

#[test]
fn a_root_path_stays_and_the_cursor_is_encoded() {
    let base = Url::parse("http://h:4444/root/").unwrap();
    let query = "include_inactive=true&include_pagination=true&limit=100";
    assert_eq!(page_url(&base, LIST, PAGE, None).as_str(), format!("http://h:4444/root/v1/gateways?{query}"));
    let next = page_url(&Url::parse("http://h").unwrap(), UNVERSIONED_LIST, PAGE, Some(&"a=&b".to_owned()));
    assert_eq!(next.as_str(), format!("http://h/gateways?{query}&cursor=a%3D%26b"));
}

#[tokio::test]
async fn a_file_without_a_token_is_named_and_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let read = || FlagFile { flag: "--token-file", path: file.clone() };
    let error = async || read().bearer_token().await.err().unwrap().to_string();
    assert!(error().await.contains("--token-file"));
    for text in ["", "\n", "planted planted", "planted\u{e9}"] {
        std::fs::write(&file, text).unwrap();
        let error = error().await;
        assert!(error.contains("--token-file") && !error.contains("planted"), "{error}");
    }
    std::fs::write(&file, " t.o.k\n").unwrap();
    assert_eq!(read().bearer_token().await.unwrap().expose(), "t.o.k");
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

/// Answers with one gateway, at `https://127.0.0.1:…`, with a certificate that this authority has signed.
async fn serve(authority: &Issuer<'static, KeyPair>) -> Url {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("https://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let body = r#"{"gateways":[{"id":"a","name":"n","url":"http://h"}],"nextCursor":null}"#;
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

#[tokio::test]
async fn only_the_given_authority_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let ((ours, ca), (_, other)) = (authority(), authority());
    let access = Access {
        url: serve(&ours).await,
        token: FlagFile { flag: "--token-file", path: file("token", "planted") },
        ca: FlagFile::given("--ca-file", Some(file("ca", &ca))),
        timeout: Duration::from_secs(30),
    };
    assert_eq!(gateways(&access).await.unwrap().rows.len(), 1);
    let other = FlagFile::given("--ca-file", Some(file("other", &other)));
    let error = gateways(&Access { ca: other, ..access }).await.unwrap_err().to_string();
    assert!(error.contains("--ca-file") && !error.contains("planted"), "{error}");
}
