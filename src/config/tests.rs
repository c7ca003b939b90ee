use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

/// The configuration of these flags, beside one worker endpoint.
fn config(flags: &[&str]) -> Result<Config, BadSetting> {
    let base = ["mcpgateway-operator", "run", "--worker-endpoint", "http://127.0.0.1:9/usage"];
    let cli = Cli::try_parse_from(base.iter().chain(flags)).unwrap();
    let Command::Run(args) = cli.command else { panic!("run was asked for") };
    Config::try_from(*args)
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = config(&[]).unwrap();
    assert_eq!(config.controller.memory.interval, Duration::from_mins(1));
    assert_eq!(config.controller.ranking, Params::default());
    assert_eq!(config.controller.status_usage_interval, Duration::from_mins(10));
    assert_eq!(config.election.lease_duration, Duration::from_secs(15));
    assert_eq!(config.election.renew_deadline, Duration::from_secs(10));
    assert_eq!(config.election.retry_period, Duration::from_secs(2));
    assert_eq!(config.workers.max_report_bytes, 128 << 20);
    assert!(config.redis.is_none());
}

#[test]
fn settings_that_cannot_be_together_are_refused_by_name() {
    let cases: &[(&[&str], &str)] = &[
        (&["--classification-interval", "0"], "--classification-interval"),
        (&["--classification-interval", "25h"], "--classification-interval"),
        (&["--usage-window", "30s"], "--usage-window"),
        (&["--status-usage-interval", "10ms"], "--status-usage-interval"),
        (&["--worker-timeout", "0"], "--worker-timeout"),
        (&["--worker-concurrency", "0"], "--worker-concurrency"),
        (&["--worker-path", "usage"], "--worker-path"),
        (&["--worker-endpoint", "ftp://h/x"], "--worker-endpoint"),
        (&["--worker-service", "no-namespace"], "--worker-service"),
        (&["--worker-client-cert-file", "/c"], "--worker-client-cert-file"),
        (&["--redis-password-file", "/p"], "--redis-password-file"),
        (&["--leader-elect-renew-deadline", "15s"], "--leader-elect-renew-deadline"),
        (&["--leader-elect-retry-period", "9s"], "--leader-elect-retry-period"),
        (&["--leader-elect-lease-duration", "1500ms"], "--leader-elect-lease-duration"),
        (&["--leader-elect-resource-name", "Upper"], "--leader-elect-resource-name"),
        (&["--watch-namespace", "a/b"], "--watch-namespace"),
        (&["--metrics-bind-address", ":9", "--health-probe-bind-address", ":9"], "--health-probe-bind-address"),
    ];
    for (flags, named) in cases {
        let error = config(flags).unwrap_err().to_string();
        assert!(error.contains(&format!("'{named}'")) && !error.contains('\n'), "{flags:?}: {error}");
    }
}

#[test]
fn an_operator_that_could_ask_nobody_does_not_start() {
    let cli = Cli::try_parse_from(["mcpgateway-operator", "run"]).unwrap();
    let Command::Run(args) = cli.command else { panic!("run was asked for") };
    let error = Config::try_from(*args).unwrap_err().to_string();
    assert!(error.contains("--worker-endpoint"), "{error}");
}

#[test]
fn no_secret_is_shown() {
    let config = config(&["--redis-url", "redis://:planted@127.0.0.1"]).unwrap();
    assert!(!format!("{config:?}").contains("planted"));
}

#[test]
fn a_refused_endpoint_is_not_repeated() {
    let error = config(&["--worker-endpoint", "https://user:planted@h/usage"]).unwrap_err().to_string();
    assert!(!error.contains("planted"), "{error}");
}
