//! The HTTP client and what it proves itself with: token, CA, client certificate. IO: reads files, opens nothing.
//!
//! The files are read before each collection, so that a rotated Secret is used at once; the client, with its open
//! connections, is made anew only when their content is another one. Must never log or keep more of a token than the
//! header that carries it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Client, redirect};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Mutex;
use tracing::debug;

use verifier::NamedVerifier;

mod verifier;

/// How long an unused connection is kept: above the usual interval, so that the next cycle finds it.
const KEEP_ALIVE: Duration = Duration::from_mins(3);

/// What the collector proves itself with, and whom it trusts.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// A bearer token for every endpoint (`--worker-token-file`).
    pub token_file: Option<PathBuf>,
    /// The only CAs trusted, in PEM (`--worker-ca-file`); the system's if not given.
    pub ca_file: Option<PathBuf>,
    /// A client certificate chain, in PEM (`--worker-client-cert-file`).
    pub client_cert_file: Option<PathBuf>,
    /// Its private key, in PEM (`--worker-client-key-file`).
    pub client_key_file: Option<PathBuf>,
    /// The name that certificates must carry instead of the address asked (`--worker-tls-server-name`). It is only
    /// checked, not sent: endpoints are asked at their own addresses.
    pub tls_server_name: Option<String>,
}

/// Why there is nothing to prove oneself with. Names the flag and the file, never the content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file cannot be read.
    #[error("{flag}: {} cannot be read ({kind}); check that the Secret is mounted there", path.display())]
    Unreadable {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        kind: std::io::ErrorKind,
    },
    /// A file does not hold what it should.
    #[error("{flag}: {} does not hold {wanted}", path.display())]
    Content {
        /// The flag that names the file.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// One of the two files of a client certificate is not given.
    #[error("--worker-client-cert-file and --worker-client-key-file go together; give both or none")]
    HalfIdentity,
    /// The key is not the one of the certificate, or of an unknown kind.
    #[error("--worker-client-key-file is not the key of --worker-client-cert-file; issue both together")]
    Identity,
    /// Not a name that a certificate could carry.
    #[error("--worker-tls-server-name: use a DNS name or an IP address")]
    ServerName,
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

impl CredentialError {
    /// For logs; the metric counts all of them as `Credentials`.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "FileUnreadable",
            Self::Content { .. } => "FileContent",
            Self::HalfIdentity => "HalfIdentity",
            Self::Identity => "IdentityMismatch",
            Self::ServerName => "InvalidServerName",
            Self::Client(_) => "Client",
        }
    }
}

/// A client and the header it sends, good for one collection.
#[derive(Clone)]
pub(super) struct Connection {
    pub client: Client,
    pub authorization: Option<HeaderValue>,
    /// Whether connections are kept for the next collection.
    pub kept: bool,
}

/// Makes connections; keeps the client as long as its files stay the same.
pub(super) struct Connector {
    credentials: Credentials,
    server_name: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
    current: Mutex<Option<(Material, Client)>>,
}

/// What the TLS files hold.
#[derive(PartialEq)]
struct Material {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Connector {
    /// Checks what can be checked without reading a file.
    pub fn new(credentials: Credentials) -> Result<Self, CredentialError> {
        if credentials.client_cert_file.is_some() != credentials.client_key_file.is_some() {
            return Err(CredentialError::HalfIdentity);
        }
        let server_name = credentials.tls_server_name.clone().map(ServerName::try_from).transpose();
        Ok(Self {
            server_name: server_name.map_err(|_| CredentialError::ServerName)?,
            credentials,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            current: Mutex::new(None),
        })
    }

    /// Reads the files, and makes the client anew if they changed.
    pub async fn connection(&self) -> Result<Connection, CredentialError> {
        let authorization = self.authorization().await?;
        let material = self.material().await?;
        let mut current = self.current.lock().await;
        let client = match &*current {
            Some((known, client)) if *known == material => client.clone(),
            _ => {
                let client = self.client(&material)?;
                *current = Some((material, client.clone()));
                client
            }
        };
        Ok(Connection { client, authorization, kept: true })
    }

    async fn authorization(&self) -> Result<Option<HeaderValue>, CredentialError> {
        let flag = "--worker-token-file";
        let Some(path) = &self.credentials.token_file else { return Ok(None) };
        let bytes = read(flag, path).await?;
        let token = std::str::from_utf8(&bytes).unwrap_or_default().trim();
        let header = HeaderValue::from_str(&format!("Bearer {token}")).ok();
        // A blank inside would make two words of one, which no server takes.
        let header = header.filter(|_| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
        let mut header = header.ok_or_else(|| content(flag, path, "one token"))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    async fn material(&self) -> Result<Material, CredentialError> {
        let Credentials { token_file: _, ca_file, client_cert_file, client_key_file, tls_server_name: _ } =
            &self.credentials;
        let ca = match ca_file {
            Some(path) => Some(read("--worker-ca-file", path).await?),
            None => None,
        };
        let identity = match (client_cert_file, client_key_file) {
            (Some(cert), Some(key)) => {
                Some((read("--worker-client-cert-file", cert).await?, read("--worker-client-key-file", key).await?))
            }
            _ => None,
        };
        Ok(Material { ca, identity })
    }

    fn client(&self, material: &Material) -> Result<Client, CredentialError> {
        let failed = |error: &dyn std::error::Error| CredentialError::Client(error.to_string());
        let versions =
            ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| failed(&error))?;
        let builder = match self.verifier(material)? {
            Some(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
            None => builder.with_root_certificates(RootCertStore::empty()),
        };
        let tls = match &material.identity {
            Some((cert, key)) => {
                let (cert_flag, key_flag) = ("--worker-client-cert-file", "--worker-client-key-file");
                let chain = certificates(cert_flag, self.credentials.client_cert_file.as_deref(), cert)?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
                    content(
                        key_flag,
                        self.credentials.client_key_file.as_deref().unwrap_or_else(|| Path::new("")),
                        "a private key in PEM",
                    )
                })?;
                builder.with_client_auth_cert(chain, key).map_err(|_| CredentialError::Identity)?
            }
            None => builder.with_no_client_auth(),
        };
        Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("mcpgateway-operator/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the token to a host that nobody configured.
            .redirect(redirect::Policy::none())
            // Endpoints are addresses in the cluster; a proxy from the environment would be sent their token.
            .no_proxy()
            .pool_idle_timeout(KEEP_ALIVE)
            .pool_max_idle_per_host(1)
            .build()
            .map_err(|error| failed(&error))
    }

    /// Who checks certificates; `None` if nobody can be trusted, because neither a CA file is given nor the system has
    /// any CA: plain HTTP still works then, and TLS fails at the endpoint, with a reason.
    fn verifier(&self, material: &Material) -> Result<Option<Arc<dyn ServerCertVerifier>>, CredentialError> {
        let verifier: Arc<dyn ServerCertVerifier> = if let Some(ca) = &material.ca {
            let flag = "--worker-ca-file";
            let path = self.credentials.ca_file.as_deref();
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(flag, path, ca)?);
            let built =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider)).build();
            built.map_err(|_| content(flag, path.unwrap_or_else(|| Path::new("")), "a CA certificate in PEM"))?
        } else {
            match rustls_platform_verifier::Verifier::new(Arc::clone(&self.provider)) {
                Ok(verifier) => Arc::new(verifier),
                Err(error) => {
                    debug!(%error, "no CA certificates in the system; give --worker-ca-file for https endpoints");
                    return Ok(None);
                }
            }
        };
        Ok(Some(match &self.server_name {
            Some(name) => Arc::new(NamedVerifier::new(verifier, name.clone())),
            None => verifier,
        }))
    }
}

async fn read(flag: &'static str, path: &Path) -> Result<Vec<u8>, CredentialError> {
    let unreadable =
        |error: std::io::Error| CredentialError::Unreadable { flag, path: path.into(), kind: error.kind() };
    tokio::fs::read(path).await.map_err(unreadable)
}

fn content(flag: &'static str, path: &Path, wanted: &'static str) -> CredentialError {
    CredentialError::Content { flag, path: path.into(), wanted }
}

fn certificates(
    flag: &'static str,
    path: Option<&Path>,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.ok().filter(|certificates| !certificates.is_empty());
    read.ok_or_else(|| content(flag, path.unwrap_or_else(|| Path::new("")), "certificates in PEM"))
}
