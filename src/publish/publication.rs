//! What is written to Redis, in its final bytes. Pure.
//!
//! In: a [`Classification`]. Out: a [`Publication`], which [`super::Store::publish`] sends. It decides nothing: who is
//! hot was decided in [`crate::classify`].

use crate::classify::Classification;
use crate::model::ServerUrl;

/// One classification, encoded as SPEC section 4 says: hot and cold are disjoint and without repetition, because
/// only [`crate::classify::classify`] makes a [`Classification`].
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    hot: Vec<ServerUrl>,
    cold: Vec<ServerUrl>,
    metadata: String,
    timestamp: String,
}

impl Publication {
    /// Encodes a classification.
    ///
    /// # Errors
    /// Those of the JSON encoder; none is known to happen with this type.
    pub fn new(classification: &Classification) -> Result<Self, serde_json::Error> {
        let metadata = &classification.metadata;
        Ok(Self {
            hot: classification.hot.clone(),
            cold: classification.cold.clone(),
            metadata: serde_json::to_string(metadata)?,
            // Rust never writes a float with an exponent; a reader that parses digits and a dot is enough.
            timestamp: metadata.timestamp.seconds().to_string(),
        })
    }

    /// The hot servers; each is a member as its exact URL.
    #[must_use]
    pub fn hot(&self) -> &[ServerUrl] {
        &self.hot
    }

    /// The cold servers; each is a member as its exact URL.
    #[must_use]
    pub fn cold(&self) -> &[ServerUrl] {
        &self.cold
    }

    /// Compact JSON with the keys of SPEC section 3 in that order.
    #[must_use]
    pub fn metadata(&self) -> &str {
        &self.metadata
    }

    /// Unix seconds as a decimal number.
    #[must_use]
    pub fn timestamp(&self) -> &str {
        &self.timestamp
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::classify::{Params, UsageTable, classify};
    use crate::model::UnixTime;

    fn publication(urls: &[&str], seconds: f64) -> Publication {
        let servers: Vec<ServerUrl> = urls.iter().map(|url| ServerUrl::parse(url).unwrap()).collect();
        let now = UnixTime::from_seconds(seconds).unwrap();
        let params = Params::default();
        Publication::new(&classify(&servers, &UsageTable::default(), &HashSet::new(), now, &params)).unwrap()
    }

    #[test]
    fn metadata_is_compact_json_in_the_order_of_the_contract() {
        let publication = publication(&["http://a", "http://b"], 1_763_800_100.25);
        assert_eq!(
            publication.metadata(),
            r#"{"total_servers":2,"hot_cap":0,"hot_actual":0,"eligible_count":0,"timestamp":1763800100.25,"underutilized_reason":null}"#
        );
        assert_eq!(publication.timestamp(), "1763800100.25");
    }

    #[test]
    fn the_reason_for_few_hot_servers_is_in_it() {
        let urls: Vec<String> = (0..5).map(|n| format!("http://s{n}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let metadata = publication(&urls, 7.0).metadata().to_owned();
        let ending = r#""underutilized_reason":"Only 0 servers have pooled sessions, below hot_cap=1"}"#;
        assert!(metadata.ends_with(ending), "{metadata}");
    }

    #[test]
    fn members_are_the_exact_urls() {
        let publication = publication(&["https://h/p?team=a%20b", "http://[::1]:80/"], 1.0);
        let cold: Vec<&str> = publication.cold().iter().map(ServerUrl::expose).collect();
        assert_eq!(cold, ["https://h/p?team=a%20b", "http://[::1]:80/"]);
        assert!(publication.hot().is_empty());
        assert_eq!(publication.timestamp(), "1");
    }

    #[test]
    fn nothing_registered_is_two_empty_sets() {
        let publication = publication(&[], 1.5);
        assert!(publication.hot().is_empty() && publication.cold().is_empty());
        assert!(publication.metadata().starts_with(r#"{"total_servers":0,"#));
    }
}
