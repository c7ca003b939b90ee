//! A running `ContextForge`, over its REST API. IO: knows that API and two files, and nothing else.
//!
//! [`ContextForge`] lists, creates, updates and deletes its gateways. [`gateways`] lists them for the command line
//! (`import`), also of releases that serve only the path without a version.

pub mod call_error;
mod client;
pub mod entry;
mod error;
pub mod manifests;
mod page;
pub mod scope;
mod stored_auth;

use std::time::Duration;

pub use client::{Access, CHANGE_TIMEOUT, ContextForge, EntryList};
use client::{Failure, LIST, PAGE};
pub use error::Error;
pub use page::Row;
use page::row;
use scope::Scope;
pub use stored_auth::StoredAuth;

/// The same as [`LIST`], of releases and proxies that do not serve the versioned path.
const UNVERSIONED_LIST: &str = "/gateways";
/// Time for all pages.
const WHOLE_LIMIT: Duration = Duration::from_mins(5);

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
    let contextforge = ContextForge::open(access).await?;
    let rows = match contextforge.rows(LIST, PAGE).await {
        Err(Failure::Status(404, ..)) => contextforge.rows(UNVERSIONED_LIST, PAGE).await?,
        other => other?,
    };
    let rows = rows.iter().map(row).collect::<Option<_>>();
    let rows = rows.ok_or(Error::NotContextForge("a gateway whose `enabled` is neither true nor false"))?;
    Ok(Listing { rows, scope: contextforge.scope })
}

#[cfg(test)]
mod tests;
