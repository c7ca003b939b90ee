//! What the HTTP clients of the adapters share: TLS files, bearer tokens, and bodies of bounded size. IO: reads the
//! files that it is given, and the answers of servers that others choose.
//!
//! In: paths of files, with the flags that name them. Out: a client that sends a token nowhere else (no redirects, no
//! proxy), or an error that names the flag and the file. Must not log, or keep a token or a key outside of what carries
//! it.

pub mod body;
mod verifier;

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::{OptionFuture, try_join};
use reqwest::header::{HeaderValue, InvalidHeaderValue};
use reqwest::{Client, ClientBuilder, redirect};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::model::causes;
use verifier::FixedNameVerifier;

/// Why a client cannot be made. Names the flag and the file, never the content.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file cannot be read.
    #[error("{}: {} cannot be read ({kind}); check that it is there and readable", file.flag, file.path.display())]
    Unreadable {
        /// The file.
        file: FlagFile,
        /// The error of the operating system.
        kind: std::io::ErrorKind,
    },
    /// A file has the wrong content.
    #[error("{}: {} does not hold {expected}", file.flag, file.path.display())]
    Content {
        /// The file.
        file: FlagFile,
        /// What it should hold.
        expected: &'static str,
    },
    /// The private key does not belong to the client certificate.
    #[error("{key_flag} is not the key of {certificate_flag}; issue both together")]
    Identity {
        /// The flag of the certificate.
        certificate_flag: &'static str,
        /// The flag of the key.
        key_flag: &'static str,
    },
    /// TLS or the HTTP client cannot be set up.
    #[error("the HTTP client cannot be made: {0}")]
    Client(String),
}

/// A file, and the flag that names it.
#[derive(Clone, Debug)]
pub struct FlagFile {
    /// Such as `--worker-ca-file`.
    pub flag: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

impl FlagFile {
    /// The file of a flag, if the flag is given.
    pub fn given(flag: &'static str, path: Option<PathBuf>) -> Option<Self> {
        path.map(|path| Self { flag, path })
    }

    /// Reads it as a bearer token: one word, with blanks and line breaks around it.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`] and [`ClientError::Content`].
    pub async fn bearer_token(&self) -> Result<BearerToken, ClientError> {
        let bytes = self.read().await?;
        let token = std::str::from_utf8(&bytes).unwrap_or_default().trim();
        // A blank inside would make two words of one, which no server accepts.
        let usable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        usable.then(|| BearerToken(token.to_owned())).ok_or_else(|| self.content("one token"))
    }

    async fn read(&self) -> Result<Vec<u8>, ClientError> {
        let unreadable = |error: std::io::Error| ClientError::Unreadable { file: self.clone(), kind: error.kind() };
        tokio::fs::read(&self.path).await.map_err(unreadable)
    }

    fn content(&self, expected: &'static str) -> ClientError {
        ClientError::Content { file: self.clone(), expected }
    }

    fn certificates(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientError> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
        certificates.ok_or_else(|| self.content("certificates in PEM"))
    }
}

/// A bearer token. No `Debug`: it is a secret.
pub struct BearerToken(String);

impl BearerToken {
    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The value of the `Authorization` header, marked as sensitive.
    ///
    /// # Errors
    /// [`ClientError::Client`]. Does not happen for a token that was read from a file.
    pub fn header(&self) -> Result<HeaderValue, ClientError> {
        bearer_header(&self.0).map_err(|error| failed(&error))
    }
}

/// The value of the `Authorization` header for a token, marked as sensitive.
pub(crate) fn bearer_header(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// Which servers are trusted, and how the client identifies itself.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The only CAs trusted, in PEM; the system's if `None`.
    pub ca: Option<FlagFile>,
    /// A client certificate chain and its private key, in PEM.
    pub identity: Option<(FlagFile, FlagFile)>,
    /// The name that certificates must carry, instead of the host of the URL. It is checked and not sent.
    pub server_name: Option<ServerName<'static>>,
}

/// The content of the TLS files. As long as it is equal, a client can be kept.
#[derive(PartialEq, Eq)]
pub struct TlsContent {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`ClientError::Unreadable`].
    pub async fn read(&self) -> Result<TlsContent, ClientError> {
        let ca = OptionFuture::from(self.ca.as_ref().map(FlagFile::read)).await.transpose()?;
        let identity = self.identity.as_ref().map(|(certificate, key)| try_join(certificate.read(), key.read()));
        Ok(TlsContent { ca, identity: OptionFuture::from(identity).await.transpose()? })
    }

    /// Makes a client with this content of the files.
    ///
    /// # Errors
    /// [`ClientError::Content`], [`ClientError::Identity`] and [`ClientError::Client`].
    pub fn client(
        &self,
        content: &TlsContent,
        configure: impl FnOnce(ClientBuilder) -> ClientBuilder,
    ) -> Result<Client, ClientError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| failed(&error))?;
        let verifier: Option<Arc<dyn ServerCertVerifier>> = match (&self.ca, &content.ca) {
            (Some(file), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(file.certificates(pem)?);
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
                Some(verifier.map_err(|_| file.content("a CA certificate in PEM"))?)
            }
            // Without any CA in the system, plain HTTP still works, and TLS fails at the server with a reason.
            _ => rustls_platform_verifier::Verifier::new(provider).ok().map(|verifier| Arc::new(verifier) as _),
        };
        let builder = match (verifier, self.server_name.clone()) {
            (Some(inner), Some(name)) => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(FixedNameVerifier { inner, name }))
            }
            (Some(verifier), None) => builder.dangerous().with_custom_certificate_verifier(verifier),
            (None, _) => builder.with_root_certificates(RootCertStore::empty()),
        };
        let tls = match (&self.identity, &content.identity) {
            (Some((certificate_file, key_file)), Some((certificate, key))) => {
                let chain = certificate_file.certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| key_file.content("a private key in PEM"))?;
                let (certificate_flag, key_flag) = (certificate_file.flag, key_file.flag);
                let mismatch = |_| ClientError::Identity { certificate_flag, key_flag };
                builder.with_client_auth_cert(chain, key).map_err(mismatch)?
            }
            _ => builder.with_no_client_auth(),
        };
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("mcpgateway-operator/", env!("CARGO_PKG_VERSION")))
            // A redirect, or a proxy from the environment, would be sent the token.
            .redirect(redirect::Policy::none())
            .no_proxy();
        configure(builder).build().map_err(|error| failed(&error))
    }
}

fn failed(error: &dyn std::error::Error) -> ClientError {
    ClientError::Client(error.to_string())
}

/// An error of a request and its causes, without the URL, whose query may hold a secret.
pub fn describe(error: reqwest::Error) -> String {
    causes(&error.without_url())
}
