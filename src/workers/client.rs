//! The HTTP client of the collector and its credentials: token, CA, client certificate. IO: reads files, opens no
//! connection.
//!
//! The files are read before each collection, so a rotated Secret is used at once. The client keeps its open
//! connections as long as the content of the TLS files is the same. Must never log a token, or keep it outside of the
//! header.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::HeaderValue;
use rustls::pki_types::ServerName;
use tokio::sync::Mutex;

use crate::http_client::{ClientError, FlagFile, Tls, TlsContent};

/// How long an unused connection is kept: longer than the usual interval, so that the next cycle finds it.
const KEEP_ALIVE: Duration = Duration::from_mins(3);

/// How the collector identifies itself, and which workers it trusts.
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
    /// The name that certificates must carry instead of the requested address (`--worker-tls-server-name`). It is
    /// checked and not sent: requests go to the addresses of the endpoints.
    pub tls_server_name: Option<String>,
}

/// Why the credentials cannot be used. Names the flag and the file, never the content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file, or what it holds.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Only one of the two files of a client certificate is given.
    #[error("--worker-client-cert-file and --worker-client-key-file go together; give both or none")]
    HalfIdentity,
    /// Not a name that a certificate could carry.
    #[error("--worker-tls-server-name: use a DNS name or an IP address")]
    ServerName,
}

/// A client and the header that it sends, for one collection.
#[derive(Clone)]
pub(super) struct Connection {
    pub client: Client,
    pub authorization: Option<HeaderValue>,
    /// Whether connections are kept for the next collection.
    pub keep_alive: bool,
}

/// Makes connections. Keeps the client as long as its files stay the same.
pub(super) struct Connector {
    token: Option<FlagFile>,
    tls: Tls,
    current: Mutex<Option<(TlsContent, Client)>>,
}

impl Connector {
    /// Checks what can be checked without reading a file.
    pub fn new(credentials: Credentials) -> Result<Self, CredentialError> {
        let Credentials { token_file, ca_file, client_cert_file, client_key_file, tls_server_name } = credentials;
        let certificate = FlagFile::given("--worker-client-cert-file", client_cert_file);
        let key = FlagFile::given("--worker-client-key-file", client_key_file);
        if certificate.is_some() != key.is_some() {
            return Err(CredentialError::HalfIdentity);
        }
        let server_name = tls_server_name.map(ServerName::try_from).transpose();
        let tls = Tls {
            ca: FlagFile::given("--worker-ca-file", ca_file),
            identity: certificate.zip(key),
            server_name: server_name.map_err(|_| CredentialError::ServerName)?,
        };
        Ok(Self { token: FlagFile::given("--worker-token-file", token_file), tls, current: Mutex::new(None) })
    }

    /// Reads the files, and makes a new client if they changed.
    pub async fn connection(&self) -> Result<Connection, ClientError> {
        let authorization = match &self.token {
            Some(file) => Some(file.bearer_token().await?.header()?),
            None => None,
        };
        let content = self.tls.read().await?;
        let mut current = self.current.lock().await;
        let client = match &*current {
            Some((known, client)) if *known == content => client.clone(),
            _ => {
                let keep =
                    |client: reqwest::ClientBuilder| client.pool_idle_timeout(KEEP_ALIVE).pool_max_idle_per_host(1);
                let client = self.tls.client(&content, keep)?;
                *current = Some((content, client.clone()));
                client
            }
        };
        Ok(Connection { client, authorization, keep_alive: true })
    }
}
