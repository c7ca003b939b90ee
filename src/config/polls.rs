//! The settings of poll decisions and of the HTTP API. See docs/contract.md#poll-decisions.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{SECOND, condition};
use super::bad_setting::{BadSetting, BadSettings};
use super::redis::RedisAccessArgs;
use super::values::{Listen, duration, file, format_duration, listen};
use crate::poll::Intervals;
use crate::publish::RedisAccess;

/// The longest poll interval. Redis keeps the time of a poll for twice as long.
const MAX_INTERVAL: Duration = Duration::from_hours(30 * 24);

/// The `--…-poll-interval` flags.
#[derive(Clone, Copy, Debug, Args)]
pub struct PollIntervalArgs {
    /// Time between two polls of a hot server; set it to the refresh interval of the gateways
    #[arg(long, env = "MCPGW_HOT_POLL_INTERVAL", default_value = "5m", value_parser = duration(SECOND..=MAX_INTERVAL),
        value_name = "DURATION")]
    pub hot_poll_interval: Duration,
    /// Time between two polls of a cold server; by default three times --hot-poll-interval
    #[arg(long, env = "MCPGW_COLD_POLL_INTERVAL", value_parser = duration(SECOND..=MAX_INTERVAL).and(condition::COLD),
        value_name = "DURATION")]
    pub cold_poll_interval: Option<Duration>,
}

/// The `--api-…` flags.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// Address that serves the HTTP API (/v1) for gateways
    #[arg(long, env = "MCPGW_API_BIND_ADDRESS", default_value = "0",
        value_parser = listen().and(condition::PORT).and(condition::TOKEN), value_name = "ADDRESS")]
    pub api_bind_address: Listen,
    /// File with the bearer token that gateways must send
    #[arg(long, env = "MCPGW_API_TOKEN_FILE", value_parser = file().and(condition::API), value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
}

/// How to serve the HTTP API.
#[derive(Clone, Debug)]
pub struct Api {
    /// The address.
    pub listen: Listen,
    /// The file with the token that gateways must send. `None` is allowed on a loopback address only.
    pub token_file: Option<PathBuf>,
}

/// The settings of `poll` and `explain`.
#[derive(Debug)]
pub struct PollSettings {
    /// How to connect to Redis; `None` without `--redis-url`.
    pub access: Option<RedisAccess>,
    /// The poll intervals of the tiers.
    pub intervals: Intervals,
}

impl PollSettings {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// All conflicts.
    pub fn new(redis: RedisAccessArgs, args: PollIntervalArgs) -> Result<Self, BadSettings> {
        let mut conflicts = redis.conflicts();
        conflicts.extend(interval_conflict(args));
        if !conflicts.is_empty() {
            return Err(BadSettings(conflicts));
        }
        Ok(Self { access: redis.settings(), intervals: intervals(args) })
    }
}

pub(super) fn interval_conflict(args: PollIntervalArgs) -> Option<BadSetting> {
    let PollIntervalArgs { hot_poll_interval: hot, cold_poll_interval: cold } = args;
    let too_short = cold.filter(|cold| *cold < hot)?;
    let bad = BadSetting::new("--cold-poll-interval", format!("use {}", condition::COLD));
    Some(bad.given(&format_duration(too_short)))
}

/// Without a token, every program that reaches the listener can use the API. So it must not be reachable from other
/// machines.
pub(super) fn api_conflict(args: &ApiArgs) -> Option<BadSetting> {
    let ApiArgs { api_bind_address: Listen(address), api_token_file } = args;
    match (address, api_token_file) {
        (None, Some(_)) => Some(BadSetting::new("--api-token-file", condition::API)),
        (Some(address), None) if !address.ip().to_canonical().is_loopback() => {
            let bad = BadSetting::new("--api-bind-address", format!("use {}", condition::TOKEN));
            Some(bad.given(&address.to_string()))
        }
        _ => None,
    }
}

pub(super) fn intervals(args: PollIntervalArgs) -> Intervals {
    Intervals::new(args.hot_poll_interval, args.cold_poll_interval)
}

pub(super) fn api(args: ApiArgs) -> Api {
    let ApiArgs { api_bind_address: listen, api_token_file: token_file } = args;
    Api { listen, token_file }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::Config;

    fn config(flags: &[&str]) -> Result<Config, BadSettings> {
        let base = ["mcpgateway-operator", "run", "--worker-endpoint", "http://127.0.0.1:9/usage"];
        let cli = Cli::try_parse_from(base.iter().chain(flags)).unwrap();
        let Command::Run(args) = cli.command else { panic!("not run") };
        Config::try_from(*args)
    }

    #[test]
    fn by_default_the_api_is_off_and_cold_is_three_times_hot() {
        let plain = config(&[]).unwrap();
        assert_eq!((plain.api.listen, plain.polls), (Listen(None), Intervals::default()));
        let own = config(&["--hot-poll-interval", "60s"]).unwrap();
        assert_eq!((own.polls.hot.as_secs(), own.polls.cold.as_secs()), (60, 180));
        let both = config(&["--hot-poll-interval", "60s", "--cold-poll-interval", "60s"]).unwrap();
        assert_eq!(both.polls.cold.as_secs(), 60);
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
        let named: Vec<_> = all.iter().map(BadSetting::flag).collect();
        assert_eq!(named, ["--api-bind-address", "--redis-username", "--cold-poll-interval", "--api-bind-address"]);
    }
}
