//! Servers that a report says are used and that are not registered. Pure.

use super::first::First;
use crate::classify::Collection;
use crate::model::ServerUrl;

/// The first [`Collection::UNREGISTERED`] of them in byte order. Without query, because a worker may store a secret
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unregistered(First<ServerUrl, { Collection::UNREGISTERED }>);

impl Unregistered {
    /// Adds a URL as a worker stores it, unless it has user info or is not the URL of a server.
    pub(super) fn note(&mut self, url: &str) {
        let shown = before_query(url);
        let late = self.0.last_of_full().is_some_and(|last| last.expose() <= shown);
        if !late && let Ok(server) = ServerUrl::parse(shown) {
            self.0.add(server);
        }
    }

    /// Adds those of another report.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.0.extend(&other.0);
    }

    /// In order.
    pub fn into_list(self) -> Box<[ServerUrl]> {
        self.0.into_list()
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
