//! How gateway processes change their own polling, as their usage reports say (`docs/contract.md#polling`). Pure.

use std::collections::VecDeque;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::VariantArray;

use super::{EndpointId, Monotonic};

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 200;
/// The fewest events of which a share is shown.
const FEWEST: u64 = 50;
/// The time in which calls count.
const HOUR: Duration = Duration::from_hours(1);

/// Whether a change is at work. The worst of several is the greatest.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema, strum::IntoStaticStr,
)]
pub enum PollingState {
    /// At work.
    Active,
    /// Not enabled in the settings.
    Off,
    /// Configured, but the gateway's release has another form: the process polls as that release does.
    Unsupported,
}

/// What a process may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum PollingChange {
    /// It refreshes a hot server as often as an unclassified one.
    HotAtFullRate,
    /// It refreshes a cold server at its planned interval.
    RefreshPlan,
    /// It checks the health of cold servers at an interval of their own.
    ColdHealth,
}

impl PollingChange {
    const fn name(self) -> &'static str {
        match self {
            Self::HotAtFullRate => "hot servers at the full rate",
            Self::RefreshPlan => "refreshes by the refresh plan",
            Self::ColdHealth => "health checks of cold servers",
        }
    }
}

/// What one process reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessPolling {
    hot_at_full_rate: Option<PollingState>,
    hot_at_full_rate_reason: Option<String>,
    refresh_plan: Option<PollingState>,
    refresh_plan_reason: Option<String>,
    cold_health: Option<PollingState>,
    cold_health_reason: Option<String>,
    health_checks_run: u64,
    health_checks_skipped: u64,
    refreshes_skipped: u64,
    calls: u64,
    calls_on_old_lists: u64,
}

impl ProcessPolling {
    /// The JSON object of a report; `None` if it does not have the form of the contract.
    pub fn parse(json: &str) -> Option<Self> {
        // serde also takes an array for a struct.
        let polling: Self = json.starts_with('{').then(|| serde_json::from_str(json).ok())??;
        let is_printable =
            |reason: &str| reason.len() <= LONGEST_REASON && reason.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let mut reasons = PollingChange::VARIANTS.iter().filter_map(|change| polling.change(*change).1);
        reasons.all(is_printable).then_some(polling)
    }

    /// Whether a change is at work, if it reports that.
    pub fn state(&self, change: PollingChange) -> Option<PollingState> {
        self.change(change).0
    }

    /// The state of a change, and why it is unsupported, in printable ASCII.
    fn change(&self, change: PollingChange) -> (Option<PollingState>, Option<&str>) {
        let (state, reason) = match change {
            PollingChange::HotAtFullRate => (self.hot_at_full_rate, &self.hot_at_full_rate_reason),
            PollingChange::RefreshPlan => (self.refresh_plan, &self.refresh_plan_reason),
            PollingChange::ColdHealth => (self.cold_health, &self.cold_health_reason),
        };
        (state, reason.as_deref())
    }

    /// What the gateway's release does not support, each with the reason.
    pub fn unsupported(&self) -> impl Iterator<Item = String> {
        PollingChange::VARIANTS.iter().filter_map(|change| match (change.name(), self.change(*change)) {
            (name, (Some(PollingState::Unsupported), Some(reason))) => Some(format!("{name}: {reason}")),
            (name, (Some(PollingState::Unsupported), None)) => Some(name.to_owned()),
            _ => None,
        })
    }

    /// What it has counted since it started.
    pub const fn counts(&self) -> PollingCounts {
        let due = self.health_checks_run.saturating_add(self.health_checks_skipped);
        PollingCounts {
            health_checks_skipped: Share { part: self.health_checks_skipped, all: due },
            calls_on_old_lists: Share { part: self.calls_on_old_lists, all: self.calls },
            refreshes_skipped: self.refreshes_skipped,
        }
    }
}

/// What gateway processes count. What is not reported is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PollingCounts {
    /// The health checks that were left out, because the server is cold and was checked well a short time ago, of those
    /// that the release would have made.
    pub health_checks_skipped: Share,
    /// The tool calls that met a list older than twice the hot interval, of all whose list has a known age.
    pub calls_on_old_lists: Share,
    /// The refreshes that the cold tier's interval would have brought, and that the refresh plan left out.
    pub refreshes_skipped: u64,
}

impl PollingCounts {
    /// Adds others.
    pub const fn add(&mut self, other: Self) {
        self.health_checks_skipped.add(other.health_checks_skipped);
        self.calls_on_old_lists.add(other.calls_on_old_lists);
        self.refreshes_skipped = self.refreshes_skipped.saturating_add(other.refreshes_skipped);
    }

    /// What has been added since `earlier`.
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            health_checks_skipped: self.health_checks_skipped.since(earlier.health_checks_skipped),
            calls_on_old_lists: self.calls_on_old_lists.since(earlier.calls_on_old_lists),
            refreshes_skipped: self.refreshes_skipped.saturating_sub(earlier.refreshes_skipped),
        }
    }
}

/// A part of a whole, both counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many belong to the part.
    pub part: u64,
    /// How many there are in total.
    pub all: u64,
}

impl Share {
    /// How many do not belong to the part.
    pub const fn rest(self) -> u64 {
        self.all.saturating_sub(self.part)
    }

    const fn add(&mut self, other: Self) {
        self.part = self.part.saturating_add(other.part);
        self.all = self.all.saturating_add(other.all);
    }

    const fn since(self, earlier: Self) -> Self {
        Self { part: self.part.saturating_sub(earlier.part), all: self.all.saturating_sub(earlier.all) }
    }

    /// In percent, to the nearest ten; `None` while there are too few. What was shown before stays until it is ten
    /// points off, so that it seldom changes.
    pub fn percent(self, before: Option<i64>) -> Option<i64> {
        #[expect(clippy::cast_precision_loss, reason = "only the first digit is kept")]
        let tenths = self.part.min(self.all) as f64 / self.all as f64 * 10.0;
        #[expect(clippy::cast_possible_truncation, reason = "at most ten")]
        let [down, nearest, up] = [tenths.floor(), tenths.round(), tenths.ceil()].map(|tenths| tenths as i64 * 10);
        let kept = before.filter(|before| [down, up].contains(before));
        (self.all >= FEWEST).then(|| kept.unwrap_or(nearest))
    }
}

/// What was counted within the last hour.
#[derive(Debug, Default)]
pub struct LastHour(VecDeque<(Monotonic, Share)>);

impl LastHour {
    /// Adds what was counted now. Returns the sum of the last hour.
    pub fn add(&mut self, now: Monotonic, counted: Share) -> Share {
        self.0.push_back((now, counted));
        while self.0.front().is_some_and(|(at, _)| now.since(*at) >= HOUR) {
            self.0.pop_front();
        }
        let mut sum = Share::default();
        self.0.iter().for_each(|(_, counted)| sum.add(*counted));
        sum
    }
}

/// What the processes of the fleet report about their polling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetPolling {
    /// The polling object of each process that reports one, with its endpoint.
    pub processes: Vec<(EndpointId, ProcessPolling)>,
    /// What they have counted: in one collection; or, in the leader's state, since it began to lead, and of calls in
    /// the last hour.
    pub counts: PollingCounts,
}

impl FleetPolling {
    /// The states of a change in the processes that report it. The state of all is the greatest.
    pub fn states(&self, change: PollingChange) -> impl Iterator<Item = PollingState> {
        self.processes.iter().filter_map(move |(_, polling)| polling.state(change))
    }

    /// Unsupported settings by endpoint, sorted, without duplicates.
    pub fn unsupported(&self) -> Vec<String> {
        let lines = self.processes.iter();
        let lines =
            lines.flat_map(|(endpoint, polling)| polling.unsupported().map(move |what| format!("{endpoint}: {what}")));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        lines.dedup();
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_either_form_is_read_and_anything_else_is_ignored() {
        let full = r#"{"hotAtFullRate": "Active", "coldHealth": "Unsupported", "coldHealthReason": "other parameters",
            "refreshPlan": "Off", "refreshesSkipped": 5, "calls": 40, "callsOnOldLists": 4,
            "healthChecksRun": 3, "healthChecksSkipped": 9, "later": [1]}"#;
        let polling = ProcessPolling::parse(full).unwrap();
        let states = [PollingChange::HotAtFullRate, PollingChange::RefreshPlan].map(|change| polling.state(change));
        assert_eq!(states, [Some(PollingState::Active), Some(PollingState::Off)]);
        assert_eq!(polling.unsupported().collect::<Vec<_>>(), ["health checks of cold servers: other parameters"]);
        let counts = PollingCounts {
            health_checks_skipped: Share { part: 9, all: 12 },
            calls_on_old_lists: Share { part: 4, all: 40 },
            refreshes_skipped: 5,
        };
        assert_eq!(polling.counts(), counts);
        assert_eq!(ProcessPolling::parse("{}"), Some(ProcessPolling::default()));
        let long = format!(r#"{{"refreshPlanReason": "{}"}}"#, "x".repeat(201));
        for bad in [
            "null",
            "[]",
            "7",
            r#"{"coldHealth": "Maybe"}"#,
            r#"{"refreshPlan": "Maybe"}"#,
            r#"{"healthChecksRun": -1}"#,
            r#"{"calls": 1.5}"#,
            &long,
            r#"{"hotAtFullRateReason": "a\nb"}"#,
        ] {
            assert_eq!(ProcessPolling::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_is_known_from_fifty_on_and_moves_in_tens() {
        let percent = |part, all| Share { part, all }.percent(None);
        assert_eq!(percent(39, 49), None);
        assert_eq!(percent(40, 50), Some(80));
        assert_eq!([percent(62, 100), percent(64, 100), percent(66, 100)], [Some(60), Some(60), Some(70)]);
        assert_eq!((percent(0, 100), percent(100, 100), percent(200, 100)), (Some(0), Some(100), Some(100)));
    }

    #[test]
    fn a_share_that_was_shown_stays_until_it_is_ten_points_off() {
        let percent = |part, before| Share { part, all: 100 }.percent(Some(before));
        assert_eq!([51, 55, 60, 69].map(|part| percent(part, 60)), [Some(60); 4]);
        assert_eq!([50, 49, 70, 74, 76].map(|part| percent(part, 60)), [50, 50, 70, 70, 80].map(Some));
        assert_eq!(Share { part: 1, all: 2 }.percent(Some(60)), None);
    }

    #[test]
    fn calls_count_for_an_hour() {
        let mut calls = LastHour::default();
        let mut add = |minutes, part| {
            let sum = calls.add(Monotonic::at(Duration::from_mins(minutes)), Share { part, all: 10 });
            (sum.part, sum.all)
        };
        assert_eq!([add(0, 1), add(30, 2), add(59, 0)], [(1, 10), (3, 20), (3, 30)]);
        assert_eq!([add(60, 0), add(90, 5)], [(2, 30), (5, 30)]);
    }

    #[test]
    fn the_states_of_the_fleet_are_known_and_each_fault_is_listed_once() {
        let process = |endpoint: &str, json| (EndpointId::new(endpoint), ProcessPolling::parse(json).unwrap());
        let bad = r#"{"refreshPlan": "Unsupported", "refreshPlanReason": "replaced"}"#;
        let processes = vec![
            process("http://b", bad),
            process("http://b", bad),
            process("http://a", r#"{"refreshPlan": "Active"}"#),
            process("http://c", "{}"),
        ];
        let fleet = FleetPolling { processes, ..FleetPolling::default() };
        assert_eq!(fleet.states(PollingChange::RefreshPlan).max(), Some(PollingState::Unsupported));
        assert_eq!(fleet.states(PollingChange::RefreshPlan).count(), 3);
        assert_eq!(fleet.states(PollingChange::ColdHealth).max(), None);
        assert_eq!(fleet.unsupported(), ["http://b: refreshes by the refresh plan: replaced"]);
    }
}
