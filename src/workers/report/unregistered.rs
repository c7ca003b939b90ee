//! Servers that a report says are used and that are not registered. Pure.

use std::collections::BTreeSet;

use crate::classify::Collection;
use crate::model::ServerUrl;

/// The first [`Collection::UNREGISTERED`] of them in byte order, so that the same use gives the same ones. Without
/// query, because a worker may store a secret there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unregistered(BTreeSet<ServerUrl>);

impl Unregistered {
    /// Adds a URL as a worker stores it, unless it has user info or is not the URL of a server.
    pub(super) fn note(&mut self, url: &str) {
        let shown = before_query(url);
        let full = self.0.len() >= Collection::UNREGISTERED;
        let late = full && self.0.last().is_some_and(|last| last.expose() <= shown);
        if !late && let Ok(server) = ServerUrl::parse(shown) {
            self.add(server);
        }
    }

    /// Adds those of another report.
    pub(crate) fn extend(&mut self, other: &Self) {
        other.0.iter().for_each(|server| self.add(server.clone()));
    }

    fn add(&mut self, server: ServerUrl) {
        self.0.insert(server);
        if self.0.len() > Collection::UNREGISTERED {
            self.0.pop_last();
        }
    }

    /// In order.
    pub fn into_list(self) -> Box<[ServerUrl]> {
        self.0.into_iter().collect()
    }
}

/// A URL without what may hold a secret.
pub(super) fn before_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_twenty_are_kept_without_what_may_be_secret() {
        let mut found = Unregistered::default();
        for n in (0..50).rev() {
            found.note(&format!("https://h{n:02}.example/mcp?token=planted"));
        }
        for odd in ["https://user:planted@a.example/", "planted", "", "ftp://a/", "https://a b/"] {
            found.note(odd);
        }
        let list = found.clone().into_list();
        assert_eq!(list.len(), Collection::UNREGISTERED);
        assert_eq!((list[0].expose(), list[19].expose()), ("https://h00.example/mcp", "https://h19.example/mcp"));
        found.extend(&found.clone());
        assert_eq!(found.into_list(), list);
    }
}
