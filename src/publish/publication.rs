//! A classification as it is written to Redis, byte for byte. Pure.
//!
//! In: a [`Classification`]. Out: a [`Publication`], which [`super::Store::publish`] sends.

use crate::classify::{Classification, PerServer};
use crate::model::{ServerUrl, Tier};

/// One classification, encoded as in `docs/contract.md#redis-keys`. Hot and cold are disjoint and without duplicates,
/// because only [`crate::classify::classify`] makes a [`Classification`].
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// The hot servers; the members are their exact URLs.
    pub hot: Vec<ServerUrl>,
    /// The cold servers; the members are their exact URLs.
    pub cold: Vec<ServerUrl>,
    /// Compact JSON with the keys of `docs/contract.md#ranking`, in that order.
    pub metadata: String,
    /// Unix seconds as a decimal number.
    pub timestamp: String,
    /// Hot and cold by place, for comparing two publications.
    tiers: PerServer<Option<Tier>>,
}

impl Publication {
    /// Encodes a classification.
    ///
    /// # Errors
    /// Those of the JSON encoder; none can happen with this type.
    pub fn new(classification: &Classification) -> Result<Self, serde_json::Error> {
        let metadata = &classification.metadata;
        Ok(Self {
            hot: classification.hot().cloned().collect(),
            cold: classification.cold().cloned().collect(),
            tiers: classification.placements().map(|place| place.map(|place| place.tier)),
            metadata: serde_json::to_string(metadata)?,
            // Rust never writes a float with an exponent: readers only need to parse digits and a dot.
            timestamp: metadata.timestamp.seconds().to_string(),
        })
    }

    /// The changes from `base` to this publication; `None` if they move more than `most` servers.
    pub(super) fn since<'a>(&'a self, base: &'a Self, most: usize) -> Option<Difference<'a>> {
        let mut difference = Difference::default();
        let [promoted, demoted, new_hot, new_cold, gone_hot, gone_cold] = &mut difference.moves;
        let before = base.tiers.on(self.tiers.servers());
        for ((server, now), before) in self.tiers.iter().zip(before.values()) {
            match (before, now) {
                (Some(Tier::Cold), Some(Tier::Hot)) => promoted.push(server),
                (Some(Tier::Hot), Some(Tier::Cold)) => demoted.push(server),
                (None, Some(Tier::Hot)) => new_hot.push(server),
                (None, Some(Tier::Cold)) => new_cold.push(server),
                (_, None) | (Some(Tier::Hot), Some(Tier::Hot)) | (Some(Tier::Cold), Some(Tier::Cold)) => {}
            }
        }
        let after = self.tiers.on(base.tiers.servers());
        for ((server, before), after) in base.tiers.iter().zip(after.values()) {
            match (before, after) {
                (Some(Tier::Hot), None) => gone_hot.push(server),
                (Some(Tier::Cold), None) => gone_cold.push(server),
                (None, _) | (_, Some(_)) => {}
            }
        }
        let moved: usize = difference.moves.iter().map(Vec::len).sum();
        (moved <= most).then_some(difference)
    }
}

/// The servers that a publication moves; each is in one of the lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference<'a> {
    /// In the order in which `scripts/change.lua` takes them: cold to hot, hot to cold, into hot, into cold, out of
    /// hot, out of cold.
    pub(super) moves: [Vec<&'a ServerUrl>; 6],
}

impl Difference<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.moves.iter().all(Vec::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Params, classify};
    use crate::model::UnixTime;

    fn publication(urls: &[&str], seconds: f64) -> Publication {
        let servers = urls.iter().map(|url| ServerUrl::parse(url).unwrap()).collect();
        let now = UnixTime::from_seconds(seconds).unwrap();
        Publication::new(&classify(&PerServer::of(&servers), now, &Params::default())).unwrap()
    }

    #[test]
    fn metadata_is_compact_json_in_the_order_of_the_contract() {
        let publication = publication(&["http://a", "http://b"], 1_763_800_100.25);
        assert_eq!(
            publication.metadata,
            concat!(
                r#"{"total_servers":2,"hot_cap":0,"hot_actual":0,"eligible_count":0,"#,
                r#""timestamp":1763800100.25,"underutilized_reason":null}"#
            )
        );
        assert_eq!(publication.timestamp, "1763800100.25");
    }

    #[test]
    fn metadata_say_why_there_are_few_hot_servers() {
        let urls: Vec<String> = (0..5).map(|n| format!("http://s{n}")).collect();
        let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
        let metadata = publication(&urls, 7.0).metadata;
        let ending = r#""underutilized_reason":"Only 0 servers have pooled sessions, below hot_cap=1"}"#;
        assert!(metadata.ends_with(ending), "{metadata}");
    }

    #[test]
    fn members_are_the_exact_urls() {
        let publication = publication(&["https://h/p?team=a%20b", "http://[::1]:80/"], 1.0);
        let cold: Vec<&str> = publication.cold.iter().map(ServerUrl::expose).collect();
        assert_eq!(cold, ["https://h/p?team=a%20b", "http://[::1]:80/"]);
        assert!(publication.hot.is_empty());
        assert_eq!(publication.timestamp, "1");
    }

    #[test]
    fn a_difference_names_each_server_that_moves_once() {
        let of = |hot: &[&str], cold: &[&str]| {
            let servers: Vec<ServerUrl> = hot.iter().chain(cold).map(|url| ServerUrl::parse(url).unwrap()).collect();
            let mut tiers = PerServer::of(&servers.clone().into());
            tiers.values_mut()[..hot.len()].fill(Some(Tier::Hot));
            tiers.values_mut()[hot.len()..].fill(Some(Tier::Cold));
            let (hot, cold) = (servers[..hot.len()].to_vec(), servers[hot.len()..].to_vec());
            Publication { hot, cold, tiers, metadata: String::new(), timestamp: String::new() }
        };
        let base = of(&["http://a", "http://b", "http://g"], &["http://c", "http://d", "http://h"]);
        let next = of(&["http://c", "http://b", "http://e"], &["http://d", "http://a", "http://f"]);
        let difference = next.since(&base, 6).unwrap();
        let moves = difference.moves.map(|servers| servers.iter().map(|s| s.expose()).collect::<Vec<_>>());
        assert_eq!(
            moves,
            ["http://c", "http://a", "http://e", "http://f", "http://g", "http://h"].map(|url| vec![url])
        );
        assert_eq!(next.since(&base, 5), None, "too many to apply in one step");
        let reordered = of(&["http://b", "http://g", "http://a"], &["http://c", "http://d", "http://h"]);
        assert!(reordered.since(&base, 0).unwrap().is_empty(), "a set has no order");
        assert!(base.since(&base, 0).unwrap().is_empty());
    }

    #[test]
    fn an_empty_registry_is_two_empty_sets() {
        let publication = publication(&[], 1.5);
        assert!(publication.hot.is_empty() && publication.cold.is_empty());
        assert!(publication.metadata.starts_with(r#"{"total_servers":0,"#));
    }
}
