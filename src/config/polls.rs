//! The flags of poll decisions and of the HTTP API. See docs/contract.md#poll-decisions.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::args::{SECOND, condition};
use super::bad_setting::BadSetting;
use super::values::{Listen, budget, choice, duration, file, listen};
use crate::plan::{Budget, PlanSettings};
use crate::poll::Intervals;

/// The longest poll interval. Redis keeps the time of a poll for twice as long.
pub(crate) const MAX_INTERVAL: Duration = Duration::from_hours(30 * 24);

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct PollIntervalArgs {
    /// Time between two polls of a hot server; set it to the refresh interval of the gateways
    #[arg(long, env = "MCPGW_HOT_POLL_INTERVAL", default_value = "5m", value_parser = duration(SECOND..=MAX_INTERVAL),
        value_name = "DURATION")]
    pub(crate) hot_poll_interval: Duration,
    /// Time between two polls of a cold server; by default three times --hot-poll-interval
    #[arg(long, env = "MCPGW_COLD_POLL_INTERVAL", value_parser = duration(SECOND..=MAX_INTERVAL).and(condition::COLD),
        value_name = "DURATION")]
    pub(crate) cold_poll_interval: Option<Duration>,
}

/// What decides how often a cold server is refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RefreshPlan {
    /// Its tier.
    Tiers,
    /// A plan that follows from its use.
    Usage,
}

/// See docs/refresh-plan.md.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RefreshPlanArgs {
    /// What decides how often a cold server is refreshed: its tier, or a plan that follows from its use
    #[arg(long, env = "MCPGW_REFRESH_PLAN", default_value = "tiers", value_parser = choice::<RefreshPlan>(),
        value_name = "PLAN")]
    pub(crate) refresh_plan: RefreshPlan,
    /// Share of uniform polling (every server as often as a hot one) that a plan may use
    #[arg(long, env = "MCPGW_REFRESH_BUDGET", default_value = "0.33", value_parser = budget(), value_name = "0..1")]
    pub(crate) refresh_budget: Budget,
    #[command(flatten)]
    pub(crate) longest: LongestIntervalArgs,
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct LongestIntervalArgs {
    /// Longest refresh interval of a plan, and longest time for which a list counts as valid
    #[arg(long, env = "MCPGW_LONGEST_REFRESH_INTERVAL", default_value = "4h",
        value_parser = duration(SECOND..=MAX_INTERVAL).and(condition::LONGEST), value_name = "DURATION")]
    pub(crate) longest_refresh_interval: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    /// Address that serves the HTTP API (/v1) for gateways
    #[arg(long, env = "MCPGW_API_BIND_ADDRESS", default_value = "0",
        value_parser = listen().and(condition::PORT).and(condition::TOKEN), value_name = "ADDRESS")]
    pub(crate) api_bind_address: Listen,
    /// File with the bearer token that gateways must send
    #[arg(long, env = "MCPGW_API_TOKEN_FILE", value_parser = file().and(condition::API), value_name = "FILE")]
    pub(crate) api_token_file: Option<PathBuf>,
}

impl PollIntervalArgs {
    pub(crate) fn conflicts(self) -> Vec<BadSetting> {
        let too_short = self.cold_poll_interval.filter(|cold| *cold < self.hot_poll_interval);
        let conflict = too_short.map(|cold| BadSetting::duration("--cold-poll-interval", condition::COLD, cold));
        conflict.into_iter().collect()
    }

    pub(crate) fn intervals(self) -> Intervals {
        Intervals::new(self.hot_poll_interval, self.cold_poll_interval)
    }
}

impl LongestIntervalArgs {
    /// The intervals of poll decisions.
    pub(crate) fn with(self, polls: PollIntervalArgs) -> Intervals {
        Intervals { longest: self.longest_refresh_interval, ..polls.intervals() }
    }
}

impl RefreshPlanArgs {
    /// `hot`: `--hot-poll-interval`.
    pub(super) fn conflict(self, hot: Duration) -> Option<BadSetting> {
        let longest = self.longest.longest_refresh_interval;
        (self.refresh_plan == RefreshPlan::Usage && longest < hot)
            .then(|| BadSetting::duration("--longest-refresh-interval", condition::LONGEST, longest))
    }

    /// The settings of the plan, if there is to be one.
    pub(crate) fn settings(self, hot: Duration) -> Option<PlanSettings> {
        (self.refresh_plan == RefreshPlan::Usage)
            .then(|| PlanSettings::new(hot, self.longest.longest_refresh_interval, self.refresh_budget))
    }
}

impl ApiArgs {
    /// Without a token, every program that reaches the listener can use the API. So it must not be reachable from other
    /// machines.
    pub(super) fn conflict(&self) -> Option<BadSetting> {
        match (self.api_bind_address.0, &self.api_token_file) {
            (None, Some(_)) => Some(BadSetting::new("--api-token-file", condition::API)),
            (Some(address), None) if !address.ip().to_canonical().is_loopback() => {
                let bad = BadSetting::new("--api-bind-address", format!("use {}", condition::TOKEN));
                Some(bad.given(&address.to_string()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BadSettings;
    use crate::config::tests::config;

    #[test]
    fn by_default_the_api_is_off_and_cold_is_three_times_hot() {
        let plain = config(&[]).unwrap();
        assert_eq!((plain.api.api_bind_address, plain.polls.intervals()), (Listen(None), Intervals::default()));
        let own = config(&["--hot-poll-interval", "60s"]).unwrap();
        assert_eq!((own.polls.intervals().hot.as_secs(), own.polls.intervals().cold.as_secs()), (60, 180));
        let both = config(&["--hot-poll-interval", "60s", "--cold-poll-interval", "60s"]).unwrap();
        assert_eq!(both.polls.intervals().cold.as_secs(), 60);
        let longest = |flags: &[&str]| {
            let config = config(flags).unwrap();
            config.refresh.longest.with(config.polls).longest.as_secs()
        };
        assert_eq!((longest(&[]), longest(&["--longest-refresh-interval", "60s"])), (14_400, 60));
    }

    #[test]
    fn a_plan_is_made_only_if_it_is_asked_for() {
        let settings = |flags: &[&str]| {
            let config = config(flags).unwrap();
            config.refresh.settings(config.polls.hot_poll_interval)
        };
        assert_eq!(settings(&[]), None);
        assert_eq!(settings(&["--refresh-plan", "usage"]), Some(PlanSettings::default()));
        let own = ["--refresh-budget", "0.5", "--longest-refresh-interval", "1h", "--hot-poll-interval", "60s"];
        let expected = PlanSettings::new(Duration::from_mins(1), Duration::from_hours(1), Budget::new(0.5).unwrap());
        assert_eq!(settings(&[&["--refresh-plan", "usage"], &own[..]].concat()), Some(expected));
        // Without a plan, the longest interval means nothing.
        assert_eq!(settings(&["--hot-poll-interval", "5h"]), None);
    }

    #[test]
    fn without_a_token_only_loopback_addresses_are_allowed() {
        for address in ["127.0.0.1:0", "127.8.8.8:9", "[::1]:9", "[::ffff:127.0.0.1]:9"] {
            assert!(config(&["--api-bind-address", address]).is_ok(), "{address}");
        }
        for address in [":8082", "0.0.0.0:0", "10.0.0.1:9", "[::]:9", "[::ffff:10.0.0.1]:9"] {
            let error = config(&["--api-bind-address", address]).unwrap_err().to_string();
            assert!(error.contains("'--api-bind-address'") && error.contains("--api-token-file"), "{error}");
            assert!(config(&["--api-bind-address", address, "--api-token-file", "/t"]).is_ok(), "{address}");
        }
    }

    #[test]
    fn conflicting_settings_are_named() {
        let cases: &[(&[&str], &str)] = &[
            (&["--cold-poll-interval", "4m"], "--cold-poll-interval"),
            (&["--hot-poll-interval", "10m", "--cold-poll-interval", "9m59s"], "--cold-poll-interval"),
            (&["--refresh-plan", "usage", "--hot-poll-interval", "5h"], "--longest-refresh-interval"),
            (&["--api-token-file", "/t"], "--api-token-file"),
            (&["--metrics-bind-address", "127.0.0.1:9", "--api-bind-address", "127.0.0.1:9"], "--api-bind-address"),
            (&["--api-bind-address", "127.0.0.1:8081"], "--api-bind-address"),
        ];
        for (flags, named) in cases {
            let error = config(flags).unwrap_err().to_string();
            assert!(error.contains(&format!("'{named}'")) && !error.contains('\n'), "{flags:?}: {error}");
        }
        let all = ["--cold-poll-interval", "4m", "--api-bind-address", ":8080", "--redis-username", "u"];
        let BadSettings(all) = config(&all).unwrap_err();
        let named: Vec<_> = all.iter().map(|bad| &bad.flag[..]).collect();
        assert_eq!(named, ["--api-bind-address", "--redis-username", "--cold-poll-interval", "--api-bind-address"]);
    }
}
