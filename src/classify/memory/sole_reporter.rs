//! Whether the hot servers hang on one endpoint: a worker that claims every server as used decides the whole ranking
//! (`docs/contract.md#what-is-remembered`). Pure.

use super::UsageMemory;
use super::by_list::ByList;
use crate::classify::{Classification, PerServer, PlacementReason};
use crate::model::{EndpointId, Monotonic, Tier};

/// The endpoint that alone reports the present use of more than half of the hot servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoleReporter {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// The share of the hot servers, in steps of ten.
    pub percent: u8,
}

/// Which endpoints report a present use of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reporters {
    #[default]
    None,
    /// The one at this place.
    One(usize),
    Several,
}

impl Reporters {
    fn add(&mut self, other: Self) {
        *self = match (*self, other) {
            (Self::None, other) => other,
            (before, Self::None) => before,
            (Self::One(one), Self::One(other)) if one == other => Self::One(one),
            _ => Self::Several,
        };
    }
}

impl SoleReporter {
    /// What was shown before stands until the share has moved by ten points, so that a status which shows it is not
    /// written in each cycle.
    fn of(endpoint: EndpointId, hot: usize, of: usize, before: Option<&Self>) -> Option<Self> {
        let percent = u8::try_from(hot * 100 / of.max(1)).unwrap_or(100);
        let before = before.filter(|before| before.endpoint == endpoint && before.percent.abs_diff(percent) < 10);
        let new = || (percent > 50).then(|| Self { endpoint, percent: percent / 10 * 10 });
        before.cloned().or_else(new)
    }
}

impl UsageMemory {
    /// The endpoint without whose reports most hot servers would be older than the last of them. `before`: the last
    /// result. With a single endpoint there is nothing to compare.
    pub fn sole_reporter(
        &self,
        classification: &Classification,
        before: Option<&SoleReporter>,
        now: Monotonic,
    ) -> Option<SoleReporter> {
        let endpoints: Vec<&EndpointId> = self.endpoints().map(|(id, _)| id).collect();
        if endpoints.len() < 2 {
            return None;
        }
        let placements = classification.placements();
        let last_used = self.last_used.on(placements.servers());
        let above = placements.values().iter().zip(last_used.values());
        let above = above.filter(|(place, _)| place.is_some_and(|place| place.reason == PlacementReason::AboveCut));
        // A use is only learned an interval later: what is older by less is as recent.
        let recent = above.filter_map(|(_, used)| *used).min()?.shifted(-self.settings.interval.as_secs_f64());

        let mut reporters: ByList<Reporters> = ByList::onto(PerServer::of(placements.servers()));
        for (place, (_, endpoint)) in self.endpoints().enumerate() {
            for process in endpoint.counted(now, &self.settings) {
                reporters.add(process, |reporters, row| {
                    if row.last_used().is_some_and(|used| used >= recent) {
                        reporters.add(Reporters::One(place));
                    }
                });
            }
        }
        let reporters = reporters.merged(|all, other| all.add(*other));
        let mut hot = vec![0; endpoints.len()];
        for (reporters, place) in reporters.values().iter().zip(placements.values()) {
            if let (Reporters::One(endpoint), Some(place)) = (reporters, place)
                && place.tier == Tier::Hot
            {
                hot[*endpoint] += 1;
            }
        }
        let (most, hot) = hot.into_iter().enumerate().max_by_key(|(_, hot)| *hot)?;
        SoleReporter::of(endpoints[most].clone(), hot, classification.hot().len(), before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_wavers_is_not_shown_anew() {
        let mut shown = None;
        let shares = [50, 51, 58, 45, 41, 40, 62, 71, 72, 83].map(|hot| {
            shown = SoleReporter::of(EndpointId::new("http://a/"), hot, 100, shown.as_ref());
            shown.as_ref().map(|shown| shown.percent)
        });
        let expected = [None, Some(50), Some(50), Some(50), Some(50), None, Some(60), Some(70), Some(70), Some(80)];
        assert_eq!(shares, expected);
    }
}
