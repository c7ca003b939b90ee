//! The settings of poll decisions (`docs/contract.md#poll-decisions`): of `run`, and of `poll`, which has some of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{SECOND, together};
use super::redis::RedisAccessArgs;
use super::refusal::{BadSetting, BadSettings};
use super::values::{Listen, duration, file, listen, written};
use crate::poll::Intervals;
use crate::publish::RedisAccess;

/// The longest poll interval: Redis keeps a stamp for twice as long.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// The `--…-poll-interval` flags.
#[derive(Clone, Copy, Debug, Args)]
pub struct PollIntervalArgs {
    /// How often a hot server is due for a poll, which should be the gateways' own refresh interval
    #[arg(long, env = "MCPGW_HOT_POLL_INTERVAL", default_value = "5m", value_parser = duration(SECOND..=LONGEST), value_name = "DURATION")]
    pub hot_poll_interval: Duration,
    /// How often a cold server is due; without it three times --hot-poll-interval
    #[arg(long, env = "MCPGW_COLD_POLL_INTERVAL", value_parser = duration(SECOND..=LONGEST).and(together::COLD), value_name = "DURATION")]
    pub cold_poll_interval: Option<Duration>,
}

/// The `--api-…` flags.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// Where to serve what gateways may ask (/v1)
    #[arg(long, env = "MCPGW_API_BIND_ADDRESS", default_value = "0", value_parser = listen().and(together::PORT).and(together::TOKEN), value_name = "ADDRESS")]
    pub api_bind_address: Listen,
    /// File with the bearer token that gateways must show
    #[arg(long, env = "MCPGW_API_TOKEN_FILE", value_parser = file().and(together::API), value_name = "FILE")]
    pub api_token_file: Option<PathBuf>,
}

/// What gateways may ask, and where.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where, if anywhere.
    pub listen: Listen,
    /// The token that they must show; none is only asked for on a loopback address.
    pub token_file: Option<PathBuf>,
}

/// What `poll` needs to know.
#[derive(Debug)]
pub struct PollSettings {
    /// How to reach Redis; `None` without `--redis-url`.
    pub access: Option<RedisAccess>,
    /// How often to poll.
    pub intervals: Intervals,
}

impl PollSettings {
    /// The settings, held against each other.
    ///
    /// # Errors
    /// Everything that cannot be together.
    pub fn new(redis: RedisAccessArgs, args: PollIntervalArgs) -> Result<Self, BadSettings> {
        let mut wrong = redis.conflicts();
        wrong.extend(of_intervals(args));
        if !wrong.is_empty() {
            return Err(BadSettings(wrong));
        }
        Ok(Self { access: redis.settings(), intervals: intervals(args) })
    }
}

/// Cold servers are not polled more often than hot ones.
pub(super) fn of_intervals(args: PollIntervalArgs) -> Vec<BadSetting> {
    let PollIntervalArgs { hot_poll_interval: hot, cold_poll_interval: cold } = args;
    let low = cold
        .filter(|cold| *cold < hot)
        .map(|cold| BadSetting::new("--cold-poll-interval", format!("use {}", together::COLD)).given(&written(cold)));
    low.into_iter().collect()
}

/// Whoever reaches the listener may ask, so without a token nobody else's machine may reach it.
pub(super) fn of_api(args: &ApiArgs) -> Vec<BadSetting> {
    let ApiArgs { api_bind_address: Listen(address), api_token_file } = args;
    let wrong = match (address, api_token_file) {
        (None, Some(_)) => Some(BadSetting::new("--api-token-file", together::API)),
        (Some(address), None) if !address.ip().to_canonical().is_loopback() => {
            let bad = BadSetting::new("--api-bind-address", format!("use {}", together::TOKEN));
            Some(bad.given(&address.to_string()))
        }
        _ => None,
    };
    wrong.into_iter().collect()
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
        let Command::Run(args) = cli.command else { panic!("run was asked for") };
        Config::try_from(*args)
    }

    #[test]
    fn by_default_nothing_is_served_and_cold_is_three_times_hot() {
        let plain = config(&[]).unwrap();
        assert_eq!((plain.api.listen, plain.polls), (Listen(None), Intervals::default()));
        let own = config(&["--hot-poll-interval", "60s"]).unwrap();
        assert_eq!((own.polls.hot.as_secs(), own.polls.cold.as_secs()), (60, 180));
        let both = config(&["--hot-poll-interval", "60s", "--cold-poll-interval", "60s"]).unwrap();
        assert_eq!(both.polls.cold.as_secs(), 60);
    }

    #[test]
    fn without_a_token_only_loopback_is_served() {
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
    fn settings_that_cannot_be_together_are_refused_by_name() {
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
