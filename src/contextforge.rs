//! Lists the gateways of a running ContextForge over its REST API. IO: knows that API and two files, and nothing else.
//!
//! In: its URL, and a token. Out: every [`Row`] of `GET /v1/gateways`, page after page, and what the token can see.
//! Only for the command line (`import`): the operator itself never calls ContextForge. Bounded in size, pages and time;
//! follows no redirect. Must not let the token, or the query of a URL, into an error.

mod error;
pub mod manifests;
mod page;
pub mod scope;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, Response, Url};

use crate::http_client::{FlagFile, Tls, body};
pub use error::Error;
pub use page::Row;
use page::{Page, read_page};
use scope::Scope;

/// The list. The path without a version is deprecated: releases with `LEGACY_API_ENABLED=false` do not serve it.
const LIST: &str = "/v1/gateways";
/// The same, of releases and proxies that do not serve the versioned path.
const UNVERSIONED_LIST: &str = "/gateways";
/// Rows requested per page: below the default maximum of releases 1.0.7 to 1.1.0 (`PAGINATION_MAX_PAGE_SIZE`, 500).
const PAGE: usize = 100;
/// More than any fleet has.
const MOST_PAGES: usize = 2_000;
/// Size of one page. A hundred rows with certificates and descriptions fit many times.
const MOST_BYTES: usize = 16 << 20;
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time for all pages.
const WHOLE_LIMIT: Duration = Duration::from_mins(5);

/// How to reach a ContextForge.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its base URL: scheme, host, port, and the root path if it has one.
    pub url: Url,
    /// File with a bearer token.
    pub token_file: PathBuf,
    /// The only CAs trusted, in PEM; the system's if not given.
    pub ca_file: Option<PathBuf>,
    /// Time for one page, from connecting to its last byte.
    pub timeout: Duration,
}

/// The gateways that the token can see.
#[derive(Clone, Debug)]
pub struct Listing {
    /// In the order of the API; each id once.
    pub rows: Vec<Row>,
    /// What the token can see, according to its claims.
    pub scope: Scope,
}

/// Lists all gateways, including disabled ones.
///
/// # Errors
/// Why not all of them could be listed. A part is never returned.
pub async fn gateways(access: &Access) -> Result<Listing, Error> {
    tokio::time::timeout(WHOLE_LIMIT, all_pages(access)).await.unwrap_or(Err(Error::TimedOut))
}

async fn all_pages(access: &Access) -> Result<Listing, Error> {
    let token = FlagFile { flag: "--token-file", path: access.token_file.clone() }.bearer_token().await?;
    let tls = Tls { ca: FlagFile::given("--ca-file", access.ca_file.clone()), ..Tls::default() };
    let client =
        tls.client(&tls.read().await?, |client| client.connect_timeout(CONNECT_LIMIT).timeout(access.timeout))?;
    let authorization = token.header()?;
    let (mut rows, mut cursors) = (Vec::<Row>::new(), Vec::<String>::new());
    let mut ids = std::collections::HashSet::new();
    let mut list = LIST;
    loop {
        let page = async |list, cursor| get(&client, page_url(&access.url, list, cursor), &authorization).await;
        let response = match page(list, cursors.last()).await {
            Err(Error::Status(404)) if list == LIST && cursors.is_empty() => {
                list = UNVERSIONED_LIST;
                page(list, None).await?
            }
            other => other?,
        };
        let Page { rows: page, next } = read_page(&read_body(response).await?, PAGE)?;
        // Pages shift when gateways come and go meanwhile, so a gateway may appear twice.
        rows.extend(page.into_iter().filter(|row| row.id.is_empty() || ids.insert(row.id.clone())));
        let Some(next) = next else { break };
        if cursors.contains(&next) || cursors.len() >= MOST_PAGES {
            return Err(Error::EndlessPages);
        }
        cursors.push(next);
    }
    Ok(Listing { rows, scope: Scope::of(token.expose()) })
}

/// One page, as of releases 1.0.7 to 1.1.0: without `include_inactive` disabled gateways are left out, and without
/// `include_pagination` the answer does not say whether there are more pages.
fn page_url(base: &Url, list: &str, cursor: Option<&String>) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{list}", base.path().trim_end_matches('/')));
    let limit = PAGE.to_string();
    let mut query = url.query_pairs_mut();
    query.clear().extend_pairs([("include_inactive", "true"), ("include_pagination", "true"), ("limit", &limit)]);
    query.extend_pairs(cursor.map(|cursor| ("cursor", cursor)));
    drop(query);
    url
}

async fn get(client: &Client, url: Url, authorization: &HeaderValue) -> Result<Response, Error> {
    let request = client.get(url).header(ACCEPT, "application/json").header(AUTHORIZATION, authorization.clone());
    let response = request.send().await.map_err(Error::of_request)?;
    match response.status().as_u16() {
        200 => Ok(response),
        other => Err(Error::Status(other)),
    }
}

async fn read_body(response: Response) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let append = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    body::read(response, MOST_BYTES, append).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
