//! A classification as it is written to Redis, byte for byte. Pure.
//!
//! In: a [`Classification`]. Out: a [`Publication`], which [`super::Store::publish`] sends.

use std::sync::Arc;

use crate::classify::{Classification, PerServer, Placement};
use crate::model::{PlannedInterval, ServerUrl, Tier};

/// One classification, encoded as in `docs/contract.md#redis-keys`. Hot and cold are disjoint and without duplicates,
/// because only [`crate::classify::classify`] makes a [`Classification`].
#[derive(Clone, Debug, PartialEq)]
pub struct Publication {
    /// Compact JSON with the keys of `docs/contract.md#ranking`, in that order.
    pub metadata: String,
    /// Unix seconds as a decimal number.
    pub timestamp: String,
    /// The sizes of the stored sets and of the plan.
    pub sizes: Sizes,
    /// Those of the classification.
    placements: Arc<PerServer<Option<Placement>>>,
    /// The refresh plan, also of servers that are not cold.
    plan: Arc<PerServer<Option<PlannedInterval>>>,
}

/// How many members a publication has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Hot servers.
    pub hot: usize,
    /// Cold servers.
    pub cold: usize,
    /// Cold servers with a planned interval.
    pub planned: usize,
}

/// The keys that are read back, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ScannedKey {
    #[default]
    Hot,
    Cold,
    Intervals,
}

/// Where a publication has a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Hot,
    Cold(Option<PlannedInterval>),
}

impl Place {
    const fn of(placement: Placement, planned: Option<PlannedInterval>) -> Self {
        match placement.tier {
            Tier::Hot => Self::Hot,
            Tier::Cold => Self::Cold(planned),
        }
    }

    const fn tier(self) -> Tier {
        match self {
            Self::Hot => Tier::Hot,
            Self::Cold(_) => Tier::Cold,
        }
    }

    const fn planned(self) -> Option<PlannedInterval> {
        match self {
            Self::Hot => None,
            Self::Cold(planned) => planned,
        }
    }
}

impl Publication {
    /// Encodes a classification and the refresh plan of its cold servers. Intervals of other servers are left out.
    /// Without any there is no plan, and no key of it.
    ///
    /// # Errors
    /// Those of the JSON encoder; none can happen with this type.
    pub fn new(
        classification: &Classification,
        plan: &Arc<PerServer<Option<PlannedInterval>>>,
    ) -> Result<Self, serde_json::Error> {
        let metadata = &classification.metadata;
        let placements = Arc::clone(classification.placements());
        let plan = if Arc::ptr_eq(plan.servers(), placements.servers()) {
            Arc::clone(plan)
        } else {
            Arc::new(plan.on(placements.servers()).into_owned())
        };
        // Rust never writes a float with an exponent: readers only need to parse digits and a dot.
        let timestamp = metadata.timestamp.seconds().to_string();
        let metadata = serde_json::to_string(metadata)?;
        let sizes = Sizes { hot: classification.hot().len(), cold: classification.cold_count(), planned: 0 };
        let mut publication = Self { metadata, timestamp, sizes, placements, plan };
        publication.sizes.planned = publication.plan().count();
        Ok(publication)
    }

    /// The servers among which it has its members.
    pub fn servers(&self) -> &Arc<[ServerUrl]> {
        self.placements.servers()
    }

    /// The hot servers; the members are their exact URLs.
    pub fn hot(&self) -> impl Iterator<Item = &ServerUrl> {
        self.placements.in_tier(Tier::Hot)
    }

    /// The cold servers; the members are their exact URLs.
    pub fn cold(&self) -> impl Iterator<Item = &ServerUrl> {
        self.placements.in_tier(Tier::Cold)
    }

    /// The planned intervals; only cold servers have one.
    pub fn plan(&self) -> impl Iterator<Item = (&ServerUrl, PlannedInterval)> {
        let places = self.servers().iter().zip(self.places());
        places.filter_map(|(server, place)| Some((server, place?.planned()?)))
    }

    /// Where it has each server.
    fn places(&self) -> impl Iterator<Item = Option<Place>> {
        let known = self.placements.values().iter().zip(self.plan.values());
        known.map(|(placement, planned)| placement.map(|placement| Place::of(placement, *planned)))
    }

    /// Whether the server at a place is a member of a key; for the plan, with this interval.
    pub(super) fn has(&self, key: ScannedKey, place: u32, interval: &[u8]) -> bool {
        let place = place as usize;
        let (Some(Some(placement)), Some(planned)) = (self.placements.get(place), self.plan.get(place)) else {
            return false;
        };
        match (key, Place::of(*placement, *planned)) {
            (ScannedKey::Hot, Place::Hot) | (ScannedKey::Cold, Place::Cold(_)) => true,
            (ScannedKey::Intervals, Place::Cold(Some(planned))) => planned.to_string().as_bytes() == interval,
            _ => false,
        }
    }

    /// The same as a column.
    fn column(&self) -> PerServer<Option<Place>> {
        let mut places = self.places();
        self.placements.map(|_| places.next().flatten())
    }

    /// The changes from `base` to this publication; `None` if there are more than `most`: servers that move, and
    /// planned intervals that change.
    pub fn since<'a>(&'a self, base: &'a Self, most: usize) -> Option<Difference<'a>> {
        let mut difference = Difference::default();
        if Arc::ptr_eq(self.servers(), base.servers()) {
            for ((server, before), now) in self.servers().iter().zip(base.places()).zip(self.places()) {
                difference.add(server, before, now);
            }
        } else {
            let (before, now) = (base.column(), self.column());
            let moved = before.on(self.servers());
            for ((server, now), before) in self.servers().iter().zip(now.values()).zip(moved.values()) {
                difference.add(server, *before, *now);
            }
            let stays: PerServer<bool> = now.map(|_| true);
            let stays = stays.on(base.servers());
            for ((server, before), stays) in base.servers().iter().zip(before.values()).zip(stays.values()) {
                if !stays {
                    difference.add(server, *before, None);
                }
            }
        }
        let moved: usize = difference.moves.iter().map(Vec::len).sum();
        (moved + difference.fields.len() <= most).then_some(difference)
    }
}

/// The servers that a publication moves, each in one of the lists, and the planned intervals that it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference<'a> {
    /// In the order in which `scripts/change.lua` takes them: cold to hot, hot to cold, into hot, into cold, out of
    /// hot, out of cold.
    pub(super) moves: [Vec<&'a ServerUrl>; 6],
    pub(super) fields: Vec<ChangedField<'a>>,
}

/// A planned interval that is new, another, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChangedField<'a> {
    pub(super) server: &'a ServerUrl,
    pub(super) before: Option<PlannedInterval>,
    pub(super) now: Option<PlannedInterval>,
}

impl<'a> Difference<'a> {
    /// Adds what changes of one server.
    fn add(&mut self, server: &'a ServerUrl, before: Option<Place>, now: Option<Place>) {
        if before == now {
            return;
        }
        let [promoted, demoted, new_hot, new_cold, gone_hot, gone_cold] = &mut self.moves;
        match (before.map(Place::tier), now.map(Place::tier)) {
            (Some(Tier::Cold), Some(Tier::Hot)) => promoted.push(server),
            (Some(Tier::Hot), Some(Tier::Cold)) => demoted.push(server),
            (None, Some(Tier::Hot)) => new_hot.push(server),
            (None, Some(Tier::Cold)) => new_cold.push(server),
            (Some(Tier::Hot), None) => gone_hot.push(server),
            (Some(Tier::Cold), None) => gone_cold.push(server),
            (None, None) | (Some(Tier::Hot), Some(Tier::Hot)) | (Some(Tier::Cold), Some(Tier::Cold)) => {}
        }
        let [before, now] = [before, now].map(|place| place.and_then(Place::planned));
        if before != now {
            self.fields.push(ChangedField { server, before, now });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.moves.iter().all(Vec::is_empty) && self.fields.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::classify::{Params, RankingInput, classify};
    use crate::model::UnixTime;

    fn publication(urls: &[&str], seconds: f64) -> Publication {
        let servers = urls.iter().map(|url| ServerUrl::parse(url).unwrap()).collect();
        let now = UnixTime::from_seconds(seconds).unwrap();
        let classification = classify(&PerServer::of(&servers), now, &Params::default());
        Publication::new(&classification, &Arc::default()).unwrap()
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
        let cold: Vec<&str> = publication.cold().map(ServerUrl::expose).collect();
        assert_eq!(cold, ["https://h/p?team=a%20b", "http://[::1]:80/"]);
        assert_eq!(publication.sizes.hot, 0);
        assert_eq!(publication.timestamp, "1");
    }

    /// A publication with these servers, and for each cold one its planned interval; 0 for none.
    fn placed(hot: &[&str], cold: &[(&str, u64)]) -> Publication {
        let urls = hot.iter().map(|url| (*url, None)).chain(cold.iter().map(|(url, seconds)| (*url, Some(*seconds))));
        let servers = urls.clone().map(|(url, _)| ServerUrl::parse(url).unwrap()).collect();
        // The first ones are the hot ones, because only they were used.
        let mut known: PerServer<RankingInput> = PerServer::of(&servers);
        for input in &mut known.values_mut()[..hot.len()] {
            input.usage.last_used = UnixTime::from_seconds(1.0);
        }
        let params = Params { hot_fraction: 0.0, min_hot: hot.len(), ..Params::default() };
        let classification = classify(&known, UnixTime::from_seconds(2.0).unwrap(), &params);
        let mut plan: PerServer<Option<PlannedInterval>> = PerServer::of(&servers);
        for (planned, (_, seconds)) in plan.values_mut().iter_mut().zip(urls) {
            let seconds = seconds.filter(|seconds| *seconds > 0);
            *planned = seconds.map(|seconds| PlannedInterval::new(Duration::from_secs(seconds)));
        }
        Publication::new(&classification, &Arc::new(plan)).unwrap()
    }

    #[test]
    fn a_difference_names_each_server_that_moves_once() {
        let of = |hot: &[&str], cold: &[&str]| placed(hot, &cold.iter().map(|url| (*url, 0)).collect::<Vec<_>>());
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
    fn a_difference_names_each_planned_interval_that_changes_once() {
        let base = placed(
            &["http://hot", "http://demoted"],
            &[("http://same", 600), ("http://other", 600), ("http://promoted", 900), ("http://gone", 1200)],
        );
        let next = placed(
            &["http://hot", "http://promoted"],
            &[("http://same", 600), ("http://other", 1200), ("http://demoted", 300), ("http://new", 600)],
        );
        let changes = |next: &Publication, base: &Publication| {
            let difference = next.since(base, 100).unwrap();
            let text =
                |planned: Option<PlannedInterval>| planned.map(|planned| planned.to_string()).unwrap_or_default();
            let fields = difference.fields.iter();
            fields.map(|f| format!("{} {}>{}", f.server, text(f.before), text(f.now))).collect::<Vec<_>>()
        };
        assert_eq!(
            changes(&next, &base),
            [
                "http://promoted 900>",
                "http://other 600>1200",
                "http://demoted >300",
                "http://new >600",
                "http://gone 1200>"
            ]
        );
        assert_eq!((base.sizes.planned, next.sizes.planned), (4, 4));
        assert!(next.since(&base, 9).is_some() && next.since(&base, 8).is_none(), "4 servers move, 5 fields change");
        let off = placed(&["http://hot"], &[("http://same", 0)]);
        let on = placed(&["http://hot"], &[("http://same", 600)]);
        assert_eq!(
            (changes(&on, &off), changes(&off, &on)),
            (vec!["http://same >600".into()], vec!["http://same 600>".into()])
        );
    }

    #[test]
    fn only_cold_servers_have_a_planned_interval() {
        let servers: Arc<[ServerUrl]> = (0..5).map(|n| ServerUrl::parse(&format!("http://s{n}")).unwrap()).collect();
        let mut known: PerServer<RankingInput> = PerServer::of(&servers);
        known.get_mut(0).unwrap().usage.last_used = UnixTime::from_seconds(5.0);
        let classification = classify(&known, UnixTime::from_seconds(7.0).unwrap(), &Params::default());
        let mut plan = PerServer::of(&servers);
        plan.values_mut()[..4].fill(Some(PlannedInterval::new(Duration::from_secs(600))));
        let publication = Publication::new(&classification, &Arc::new(plan)).unwrap();
        let planned: Vec<&str> = publication.plan().map(|(server, _)| server.expose()).collect();
        assert_eq!((publication.sizes.hot, publication.sizes.planned), (1, 3));
        assert_eq!(planned, ["http://s1", "http://s2", "http://s3"]);
    }

    #[test]
    fn an_empty_registry_is_two_empty_sets() {
        let publication = publication(&[], 1.5);
        assert!(publication.sizes == Sizes::default());
        assert!(publication.metadata.starts_with(r#"{"total_servers":0,"#));
    }
}
