//! URLs that a worker stores differently than they are registered, found by the gateway id. Pure.

use std::collections::BTreeMap;

use crate::model::{ServerUrl, UrlError};

/// The most that are kept of one report.
const MOST: usize = 1_000;

/// A registered server whose URL differs in a report beyond the query, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferentUrl {
    /// The gateway id in the report.
    pub id: String,
    /// As registered.
    pub registered: ServerUrl,
    /// As reported, without the query.
    pub reported: Result<ServerUrl, UrlError>,
}

/// The last one of each server, by its place in the registry.
#[derive(Debug, Default)]
pub(super) struct DifferentUrls(BTreeMap<u32, DifferentUrl>);

impl DifferentUrls {
    /// Compares a URL of a report with the registered one at this place.
    pub fn note(&mut self, place: u32, id: &str, url: &str, registered: &ServerUrl) {
        let url = before_query(url);
        if url != before_query(registered.expose()) && (self.0.len() < MOST || self.0.contains_key(&place)) {
            let (id, registered, reported) = (id.to_owned(), registered.clone(), ServerUrl::parse(url));
            self.0.insert(place, DifferentUrl { id, registered, reported });
        }
    }

    pub fn into_list(self) -> Vec<DifferentUrl> {
        self.0.into_values().collect()
    }
}

fn before_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}
