//! The settings of poll decisions (SPEC section 6): of `run`, and of `poll`, which has some of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::RedisAccessArgs;
use super::values::{Listen, duration, listen};
use super::{BadSetting, refuse, refuse_value};
use crate::poll::Intervals;
use crate::publish::{RedisAccess, RedisSettings};

/// The longest poll interval: Redis keeps a stamp for twice as long.
const LONGEST: Duration = Duration::from_hours(30 * 24);

/// The `--…-poll-interval` flags.
#[derive(Clone, Copy, Debug, Args)]
pub struct PollIntervalArgs {
    /// How often a hot server is due for a poll; give the gateways' own refresh interval
    #[arg(long, env = "MCPGW_HOT_POLL_INTERVAL", default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub hot_poll_interval: Duration,
    /// How often a cold server is due; default: three times --hot-poll-interval
    #[arg(long, env = "MCPGW_COLD_POLL_INTERVAL", value_parser = duration, value_name = "DURATION")]
    pub cold_poll_interval: Option<Duration>,
}

/// The `--api-…` flags.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// Where to serve what gateways may ask; 0 is nowhere, and without --api-token-file it must be a loopback address
    #[arg(long, env = "MCPGW_API_BIND_ADDRESS", default_value = "0", value_parser = listen, value_name = "ADDRESS")]
    pub api_bind_address: Listen,
    /// File with the bearer token that gateways must show; read again when it changes
    #[arg(long, env = "MCPGW_API_TOKEN_FILE", value_name = "FILE")]
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

/// The intervals, held against each other.
///
/// # Errors
/// If one is out of range, or cold servers would be polled more often than hot ones.
pub fn intervals(args: &PollIntervalArgs) -> Result<Intervals, BadSetting> {
    let PollIntervalArgs { hot_poll_interval: hot, cold_poll_interval: cold } = *args;
    let range = Duration::from_secs(1)..=LONGEST;
    if !range.contains(&hot) {
        return refuse_value("--hot-poll-interval", hot, "use 1s to 720h");
    }
    if let Some(cold) = cold.filter(|cold| *cold < hot || !range.contains(cold)) {
        return refuse_value("--cold-poll-interval", cold, "use at least --hot-poll-interval, and at most 720h");
    }
    Ok(Intervals::new(hot, cold))
}

/// The listener of the API beside the other two.
pub(super) fn api(args: ApiArgs, others: [Listen; 2]) -> Result<Api, BadSetting> {
    let ApiArgs { api_bind_address: listen, api_token_file: token_file } = args;
    let Some(address) = listen.0 else {
        return match token_file {
            Some(_) => refuse("--api-token-file", "needs --api-bind-address"),
            None => Ok(Api { listen, token_file }),
        };
    };
    if token_file.is_none() && !address.ip().to_canonical().is_loopback() {
        return refuse_value(
            "--api-bind-address",
            address,
            "use a loopback address like 127.0.0.1:8082, or give --api-token-file as well",
        );
    }
    let taken = |other: &Listen| other.0.is_some_and(|other: SocketAddr| other.port() != 0 && other == address);
    if others.iter().any(taken) {
        return refuse("--api-bind-address", "use another address than --metrics- and --health-probe-bind-address");
    }
    Ok(Api { listen, token_file })
}

/// How to get at Redis, and what all keys start with; `None` without `--redis-url`.
///
/// # Errors
/// If the URL is none, or if there is none and other flags say that there should be.
pub fn redis_access(args: RedisAccessArgs) -> Result<Option<(RedisAccess, String)>, BadSetting> {
    let RedisAccessArgs {
        redis_url,
        redis_username: username,
        redis_password_file: password_file,
        redis_ca_file: ca_file,
        redis_key_prefix,
    } = args;
    let Some(url) = redis_url.filter(|url| !url.is_empty()) else {
        let stray = [
            ("--redis-username", username.is_some()),
            ("--redis-password-file", password_file.is_some()),
            ("--redis-ca-file", ca_file.is_some()),
        ];
        return match stray.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => refuse(flag, "needs --redis-url"),
            None => Ok(None),
        };
    };
    if let Err(error) = RedisSettings::check_url(&url) {
        return Err(BadSetting::redis(&error));
    }
    Ok(Some((RedisAccess { url, username, password_file, ca_file }, redis_key_prefix)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::Config;

    fn config(flags: &[&str]) -> Result<Config, BadSetting> {
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
            (&["--hot-poll-interval", "0"], "--hot-poll-interval"),
            (&["--hot-poll-interval", "999ms"], "--hot-poll-interval"),
            (&["--hot-poll-interval", "721h"], "--hot-poll-interval"),
            (&["--cold-poll-interval", "4m"], "--cold-poll-interval"),
            (&["--cold-poll-interval", "721h"], "--cold-poll-interval"),
            (&["--api-token-file", "/t"], "--api-token-file"),
            (&["--metrics-bind-address", "127.0.0.1:9", "--api-bind-address", "127.0.0.1:9"], "--api-bind-address"),
        ];
        for (flags, named) in cases {
            let error = config(flags).unwrap_err().to_string();
            assert!(error.contains(&format!("'{named}'")) && !error.contains('\n'), "{flags:?}: {error}");
        }
    }
}
