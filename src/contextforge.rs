//! A running ContextForge, asked over its REST API which gateways it knows. IO: knows that API and two files, and nothing else.
//!
//! In: where it is, and a token. Out: every [`Row`] of `GET /gateways`, page after page, and what the token can see. Only for the command
//! line (`import`): the operator itself never asks ContextForge. Bounded in size, pages and time; follows no redirect. Must not
//! let the token, or a URL's query, into an error.

mod error;
pub mod manifests;
mod page;
pub mod scope;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, Url, redirect};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

pub use error::Error;
pub use page::Row;
use page::{Page, read_page};
use scope::Scope;

/// What one page is asked for: below the most that release 1.0.7 gives by default (`PAGINATION_MAX_PAGE_SIZE`, 500).
const PAGE: usize = 100;
/// More than any fleet has.
const MOST_PAGES: usize = 2_000;
/// One page: a hundred rows with certificates and descriptions fit many times.
const MOST_BYTES: usize = 16 << 20;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// All of them.
const WHOLE_LIMIT: Duration = Duration::from_mins(5);

/// Where a ContextForge is, and what it is shown.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its base: scheme, host, port, and the root path if it has one.
    pub url: Url,
    /// A file with a bearer token.
    pub token_file: PathBuf,
    /// The only CAs trusted, in PEM; the system's if not given.
    pub ca_file: Option<PathBuf>,
    /// For one page, from connecting to its last byte.
    pub timeout: Duration,
}

/// What a ContextForge knows, as far as the token shows it.
#[derive(Clone, Debug)]
pub struct Listing {
    /// In the order of the API; each id once.
    pub rows: Vec<Row>,
    /// What the token says that it can see.
    pub scope: Scope,
}

/// Asks for all gateways, disabled ones too.
///
/// # Errors
/// Why not all of them could be had; a part is never returned.
pub async fn gateways(access: &Access) -> Result<Listing, Error> {
    tokio::time::timeout(WHOLE_LIMIT, all_pages(access)).await.unwrap_or(Err(Error::TimedOut))
}

async fn all_pages(access: &Access) -> Result<Listing, Error> {
    let token = token(&access.token_file).await?;
    let client = client(access.ca_file.as_deref(), access.timeout).await?;
    let mut authorization = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::no_token(access))?;
    authorization.set_sensitive(true);
    let (mut rows, mut cursors) = (Vec::<Row>::new(), Vec::<String>::new());
    let mut ids = std::collections::HashSet::new();
    loop {
        let response = ask(&client, page_url(&access.url, cursors.last()), &authorization).await?;
        let Page { rows: found, next } = read_page(&body(response).await?, PAGE)?;
        // Pages move when gateways come and go meanwhile: one may be met twice.
        rows.extend(found.into_iter().filter(|row| row.id.is_empty() || ids.insert(row.id.clone())));
        let Some(next) = next else { break };
        if cursors.contains(&next) || cursors.len() >= MOST_PAGES {
            return Err(Error::EndlessPages);
        }
        cursors.push(next);
    }
    Ok(Listing { rows, scope: Scope::of(&token) })
}

/// `GET /gateways` of 1.0.7: without `include_inactive` the disabled ones are left out, and without `include_pagination` nothing says
/// that there are further pages.
fn page_url(base: &Url, cursor: Option<&String>) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/gateways", base.path().trim_end_matches('/')));
    let limit = PAGE.to_string();
    let mut query = url.query_pairs_mut();
    query.clear().extend_pairs([("include_inactive", "true"), ("include_pagination", "true"), ("limit", &limit)]);
    query.extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
    drop(query);
    url
}

async fn ask(client: &Client, url: Url, authorization: &HeaderValue) -> Result<Response, Error> {
    let request = client.get(url).header(ACCEPT, "application/json").header(AUTHORIZATION, authorization.clone());
    let response = request.send().await.map_err(Error::of_request)?;
    match response.status().as_u16() {
        200 => Ok(response),
        other => Err(Error::Status(other)),
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(Error::of_request)? {
        if body.len() + piece.len() > MOST_BYTES {
            return Err(Error::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

async fn token(file: &Path) -> Result<String, Error> {
    let unreadable = |error: std::io::Error| Error::File("--token-file", file.into(), error.kind());
    let bytes = tokio::fs::read(file).await.map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    // A blank inside would make two words of one, which no server takes.
    let fits = !text.is_empty() && text.len() <= 16_384 && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned()).ok_or_else(|| Error::Content("--token-file", file.into(), "one token"))
}

/// A client that trusts the CAs of the file, or else those of the system.
async fn client(ca_file: Option<&Path>, timeout: Duration) -> Result<Client, Error> {
    let failed = |error: &dyn std::error::Error| Error::Client(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| failed(&error))?;
    let builder = match verifier(ca_file, &provider).await? {
        Some(verifier) => builder.dangerous().with_custom_certificate_verifier(verifier),
        // Plain HTTP still works; TLS fails, with a reason.
        None => builder.with_root_certificates(RootCertStore::empty()),
    };
    Client::builder()
        .tls_backend_preconfigured(builder.with_no_client_auth())
        .user_agent(concat!("mcpgateway-operator/", env!("CARGO_PKG_VERSION")))
        // A redirect, or a proxy from the environment, would be sent the token.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(timeout)
        .build()
        .map_err(|error| failed(&error))
}

async fn verifier(
    ca_file: Option<&Path>,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Option<Arc<dyn ServerCertVerifier>>, Error> {
    let Some(file) = ca_file else {
        let system = rustls_platform_verifier::Verifier::new(Arc::clone(provider));
        return Ok(system.ok().map(|verifier| Arc::new(verifier) as Arc<dyn ServerCertVerifier>));
    };
    let content = || Error::Content("--ca-file", file.into(), "CA certificates in PEM");
    let pem = tokio::fs::read(file).await.map_err(|error| Error::File("--ca-file", file.into(), error.kind()))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.map_err(|_| content())?);
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    Ok(Some(built.map_err(|_| content())?))
}

#[cfg(test)]
mod tests;
