//! How gateway processes change their own polling, as their usage reports say (`docs/contract.md#polling`). Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::EndpointId;

/// The longest reason, in bytes.
const LONGEST_REASON: usize = 200;
/// Below this many health checks a share of them says nothing.
const FEWEST_CHECKS: u64 = 50;

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

/// What one process reports. The reasons are printable ASCII.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessPolling {
    /// Whether it refreshes a hot server as often as an unclassified one.
    pub hot_at_full_rate: Option<PollingState>,
    /// Why that is unsupported.
    pub hot_at_full_rate_reason: Option<String>,
    /// Whether it checks the health of cold servers at an interval of their own.
    pub cold_health: Option<PollingState>,
    /// Why that is unsupported.
    pub cold_health_reason: Option<String>,
    /// The health checks since it started.
    #[serde(flatten)]
    pub health_checks: HealthChecks,
}

impl ProcessPolling {
    /// The JSON object of a report; `None` if it does not have the form of the contract.
    pub fn parse(json: &str) -> Option<Self> {
        // serde also takes an array for a struct.
        let polling: Self = json.starts_with('{').then(|| serde_json::from_str(json).ok())??;
        let is_printable = |reason: &String| {
            reason.len() <= LONGEST_REASON && reason.bytes().all(|byte| (b' '..=b'~').contains(&byte))
        };
        let mut reasons = polling.hot_at_full_rate_reason.iter().chain(&polling.cold_health_reason);
        reasons.all(is_printable).then_some(polling)
    }

    /// What the gateway's release does not support, each with the reason.
    pub fn unsupported(&self) -> impl Iterator<Item = String> {
        let hot = (self.hot_at_full_rate, "hot servers at the full rate", &self.hot_at_full_rate_reason);
        let cold = (self.cold_health, "health checks of cold servers", &self.cold_health_reason);
        [hot, cold].into_iter().filter(|(state, ..)| *state == Some(PollingState::Unsupported)).map(
            |(_, what, reason)| match reason {
                Some(reason) => format!("{what}: {reason}"),
                None => what.to_owned(),
            },
        )
    }
}

/// Health checks of upstream servers by gateway processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HealthChecks {
    /// Made.
    #[serde(rename = "healthChecksRun")]
    pub run: u64,
    /// Left out, because the server is cold and was checked well a short time ago.
    #[serde(rename = "healthChecksSkipped")]
    pub skipped: u64,
}

impl HealthChecks {
    /// Adds others.
    pub const fn add(&mut self, other: Self) {
        self.run = self.run.saturating_add(other.run);
        self.skipped = self.skipped.saturating_add(other.skipped);
    }

    /// What has been added since `earlier`.
    pub const fn since(self, earlier: Self) -> Self {
        Self { run: self.run.saturating_sub(earlier.run), skipped: self.skipped.saturating_sub(earlier.skipped) }
    }

    /// The skipped share in percent, to the nearest ten, so that it seldom changes; `None` while there are too few.
    pub fn skipped_percent(self) -> Option<i64> {
        let all = self.run.saturating_add(self.skipped);
        #[expect(clippy::cast_precision_loss, reason = "only the first digit is kept")]
        let tenths = self.skipped as f64 / all as f64 * 10.0;
        #[expect(clippy::cast_possible_truncation, reason = "at most ten")]
        (all >= FEWEST_CHECKS).then(|| tenths.round() as i64 * 10)
    }
}

/// What the processes of the fleet report about their polling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetPolling {
    /// The polling object of each process that reports one, with its endpoint.
    pub processes: Vec<(EndpointId, ProcessPolling)>,
    /// Health checks made and skipped: in one collection, or in the leader's state since it began to lead.
    pub health_checks: HealthChecks,
}

impl FleetPolling {
    /// The worst state of one of the two over all processes; `None` if no process reports it.
    pub fn worst(&self, state: fn(&ProcessPolling) -> Option<PollingState>) -> Option<PollingState> {
        self.processes.iter().filter_map(|(_, polling)| state(polling)).max()
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
            "healthChecksRun": 3, "healthChecksSkipped": 9, "later": [1]}"#;
        let polling = ProcessPolling::parse(full).unwrap();
        assert_eq!(polling.hot_at_full_rate, Some(PollingState::Active));
        assert_eq!(polling.unsupported().collect::<Vec<_>>(), ["health checks of cold servers: other parameters"]);
        assert_eq!(polling.health_checks, HealthChecks { run: 3, skipped: 9 });
        assert_eq!(ProcessPolling::parse("{}"), Some(ProcessPolling::default()));
        let long = format!(r#"{{"coldHealthReason": "{}"}}"#, "x".repeat(201));
        for bad in [
            "null",
            "[]",
            "7",
            r#"{"coldHealth": "Maybe"}"#,
            r#"{"healthChecksRun": -1}"#,
            &long,
            r#"{"hotAtFullRateReason": "a\nb"}"#,
        ] {
            assert_eq!(ProcessPolling::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_skipped_share_is_known_from_fifty_checks_on_and_moves_in_tens() {
        let percent = |run, skipped| HealthChecks { run, skipped }.skipped_percent();
        assert_eq!(percent(10, 39), None);
        assert_eq!(percent(10, 40), Some(80));
        assert_eq!([percent(38, 62), percent(36, 64), percent(34, 66)], [Some(60), Some(60), Some(70)]);
        assert_eq!((percent(100, 0), percent(0, 100)), (Some(0), Some(100)));
    }

    #[test]
    fn the_worst_state_of_the_fleet_counts_and_each_fault_is_listed_once() {
        let process = |hot_at_full_rate, reason: Option<&str>| {
            let reason = reason.map(str::to_owned);
            ProcessPolling { hot_at_full_rate, hot_at_full_rate_reason: reason, ..ProcessPolling::default() }
        };
        let bad = || process(Some(PollingState::Unsupported), Some("replaced"));
        let at = |endpoint: &str, process| (EndpointId::new(endpoint), process);
        let processes = vec![
            at("http://b", bad()),
            at("http://b", bad()),
            at("http://a", process(Some(PollingState::Active), None)),
        ];
        let fleet = FleetPolling { processes, health_checks: HealthChecks::default() };
        assert_eq!(fleet.worst(|polling| polling.hot_at_full_rate), Some(PollingState::Unsupported));
        assert_eq!(fleet.worst(|polling| polling.cold_health), None);
        assert_eq!(fleet.unsupported(), ["http://b: hot servers at the full rate: replaced"]);
    }
}
