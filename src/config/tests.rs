use std::time::Duration;

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

/// The settings in these flags and one worker endpoint, checked. `tests/it/settings` covers single invalid values.
pub(super) fn config(flags: &[&str]) -> Result<RunArgs, BadSettings> {
    let base = ["mcpgateway-operator", "run", "--worker-endpoint", "http://127.0.0.1:9/usage"];
    let cli = Cli::try_parse_from(base.iter().chain(flags)).unwrap();
    let Command::Run(args) = cli.command else { panic!("not run") };
    args.check().map(|()| *args)
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let config = config(&[]).unwrap();
    assert_eq!(config.classification_interval, Duration::from_mins(1));
    assert_eq!(config.ranking_params(), Params { recency_resolution: Duration::from_mins(1), ..Params::default() });
    assert_eq!(config.status_usage_interval, Duration::from_mins(10));
    assert_eq!(config.election.timing().lease_duration, Duration::from_secs(15));
    assert_eq!(config.election.timing().renew_deadline, Duration::from_secs(10));
    assert_eq!(config.election.timing().retry_period, Duration::from_secs(2));
    assert_eq!(config.workers.max_report_bytes, 128 << 20);
    assert!(config.redis.access.access().is_none());
}

#[test]
fn uses_within_one_interval_are_equally_recent_unless_a_resolution_is_set() {
    for (flags, seconds) in [
        (&[][..], 60.0),
        (&["--classification-interval", "90s"], 90.0),
        (&["--classification-interval", "90s", "--recency-resolution", "5s"], 5.0),
        (&["--classification-interval", "90s", "--recency-resolution", "0s"], 0.0),
        (&["--recency-resolution", "0"], 0.0),
    ] {
        let resolution = config(flags).unwrap().ranking_params().recency_resolution;
        assert_eq!(resolution, Duration::from_secs_f64(seconds), "{flags:?}");
    }
}

#[test]
fn conflicting_settings_are_named() {
    let cases: &[(&[&str], &str)] = &[
        (&["--usage-window", "30s"], "--usage-window"),
        (&["--worker-client-cert-file", "/c", "--worker-service", "https://a/b"], "--worker-client-cert-file"),
        (&["--worker-client-key-file", "/c", "--worker-service", "https://a/b"], "--worker-client-key-file"),
        (&["--worker-ca-file", "/c"], "--worker-ca-file"),
        (&["--worker-tls-server-name", "a.b"], "--worker-tls-server-name"),
        (&["--worker-endpoint", "http://127.0.0.1:9/usage?a=1"], "--worker-endpoint"),
        (&["--redis-password-file", "/p"], "--redis-password-file"),
        (&["--redis-username", "u", "--redis-url", "redis://h"], "--redis-username"),
        (&["--redis-url", "redis://u@h"], "--redis-url"),
        (&["--redis-ca-file", "/c", "--redis-url", "redis://h"], "--redis-ca-file"),
        (&["--leader-elect-renew-deadline", "15s"], "--leader-elect-renew-deadline"),
        (&["--leader-elect-retry-period", "9s"], "--leader-elect-retry-period"),
        (&["--metrics-bind-address", ":9", "--health-probe-bind-address", ":9"], "--health-probe-bind-address"),
        (&["--health-probe-bind-address", "127.0.0.1:8080"], "--health-probe-bind-address"),
        (&["--health-probe-bind-address", "[::1]:8080"], "--health-probe-bind-address"),
    ];
    for (flags, named) in cases {
        let BadSettings(all) = config(flags).unwrap_err();
        assert_eq!(all.len(), 1, "{flags:?}: {all:?}");
        let line = all[0].to_string();
        assert!(line.contains(&format!("'{named}'")) && !line.contains('\n'), "{flags:?}: {line}");
    }
}

#[test]
fn settings_without_conflicts_are_accepted() {
    for flags in [
        &["--redis-url", "redis://u:p@h", "--redis-username", "v"][..],
        &["--redis-url", "rediss://h", "--redis-username", "v", "--redis-password-file", "/p", "--redis-ca-file", "/c"],
        &["--redis-url", "redis://h"],
        &["--worker-service", "https://a/b", "--worker-ca-file", "/c", "--worker-tls-server-name", "a.b"],
        &["--worker-service", "https://a/b", "--worker-client-cert-file", "/c", "--worker-client-key-file", "/k"],
        &["--metrics-bind-address", "127.0.0.1:9", "--health-probe-bind-address", "127.0.0.2:9"],
        &["--metrics-bind-address", "[::1]:8080", "--health-probe-bind-address", "0.0.0.0:8080"],
        &["--metrics-bind-address", "0", "--health-probe-bind-address", "0"],
        &["--usage-window", "0"],
        &["--usage-window", "60s"],
    ] {
        assert!(config(flags).is_ok(), "{flags:?}: {:?}", config(flags).err());
    }
}

#[test]
fn all_conflicts_are_reported_at_once() {
    let flags = ["--usage-window", "30s", "--redis-username", "u", "--leader-elect-renew-deadline", "1m"];
    let BadSettings(all) = config(&flags).unwrap_err();
    let named: Vec<_> = all.iter().map(|bad| &bad.flag[..]).collect();
    assert_eq!(named, ["--usage-window", "--redis-username", "--leader-elect-renew-deadline"]);
    assert_eq!(BadSettings(all).to_string().lines().count(), 3);
}

#[test]
fn a_namespace_given_twice_is_watched_once() {
    let found = config(&["--watch-namespace", "b,a", "--watch-namespace", "b"]).unwrap();
    assert_eq!(found.scope.scope().namespaces, ["a", "b"]);
}

#[test]
fn an_operator_without_workers_does_not_start() {
    let cli = Cli::try_parse_from(["mcpgateway-operator", "run"]).unwrap();
    let Command::Run(args) = cli.command else { panic!("not run") };
    let error = args.check().unwrap_err().to_string();
    assert!(error.contains("--worker-endpoint"), "{error}");
}

#[test]
fn debug_output_holds_no_secret() {
    let config = config(&["--redis-url", "redis://:planted@127.0.0.1"]).unwrap();
    assert!(!format!("{config:?}").contains("planted"));
}
