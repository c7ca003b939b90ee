//! Settings of the real binary, as flags and as environment variables: without a value, given twice, empty, negative,
//! zero, huge, in a wrong unit, unknown, and in conflict with another. See docs/contract.md#command-line.
//!
//! [`rows`] has one row for each flag of `run` and says which values are accepted. A flag without a row fails the test,
//! and so does a row without a flag.

mod of_others;
mod of_run;
mod process;
mod rows;

use self::process::{run, texts};
use crate::support::operator::binary;

#[test]
fn a_bad_variable_of_poll_is_named() {
    let poll = ["poll", "due", "--url", "http://h/mcp", "--type", "health"];
    for (name, value) in
        [("MCPGW_COLD_POLL_INTERVAL", "1m"), ("MCPGW_HOT_POLL_INTERVAL", "60"), ("MCPGW_REDIS_USERNAME", "planted")]
    {
        let output = binary().args(poll).env(name, value).output().unwrap();
        let (out, err) = texts(&output);
        assert_eq!((output.status.code(), out.as_str(), err.lines().count()), (Some(2), "", 1), "{err}");
        assert!(err.contains(&format!("'{name}'")) && !err.contains("planted"), "{err}");
    }
}

#[test]
fn each_conflict_is_one_line() {
    let mut command = run();
    command.args(["--usage-window", "1s", "--redis-username", "planted", "--leader-elect-renew-deadline", "1m"]);
    let output = command.env("MCPGW_WORKER_TLS_SERVER_NAME", "a.example").output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{err}");
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!((out.as_str(), lines.len()), ("", 4), "{err}");
    for named in
        ["'--usage-window'", "'--redis-username'", "'--leader-elect-renew-deadline'", "'MCPGW_WORKER_TLS_SERVER_NAME'"]
    {
        assert_eq!(lines.iter().filter(|line| line.contains(named)).count(), 1, "{named}: {err}");
    }
    assert!(lines.iter().all(|line| line.starts_with("error: ")) && !err.contains("planted"), "{err}");
}

#[test]
fn a_flag_wins_over_its_variable() {
    let mut command = run();
    let output = command.env("MCPGW_MIN_HOT", "planted").args(["--min-hot", "1"]).output().unwrap();
    assert!(texts(&output).1.contains("no cluster"), "{output:?}");
}

#[test]
fn the_log_warns_about_each_unknown_variable() {
    let mut command = run();
    command.env("MCPGW_LOG_LEVEL", "info").env("MCPGW_REDIS_URI", "redis://:planted@h").env("MCPGW_HOT", "planted");
    let output = command.output().unwrap();
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    for name in ["MCPGW_REDIS_URI", "MCPGW_HOT"] {
        let lines: Vec<&str> = err.lines().filter(|line| line.contains(name)).collect();
        assert!(matches!(lines[..], [line] if line.contains("WARN")), "{name}: {err}");
    }
    assert!(!err.contains("planted"), "{err}");
}

#[test]
fn an_unknown_variable_is_printed_with_the_missing_setting() {
    let mut command = run();
    let output = command.env_remove("MCPGW_WORKER_SERVICE").env("MCPGW_WORKER_SERVCE", "planted").output().unwrap();
    let (_, err) = texts(&output);
    assert_eq!(output.status.code(), Some(2), "{err}");
    let lines: Vec<&str> = err.lines().collect();
    assert!(
        matches!(lines[..], [warning, error]
        if warning.contains("MCPGW_WORKER_SERVCE") && error.contains("'--worker-service'")),
        "{err}"
    );
    assert!(!err.contains("planted"), "{err}");
}

#[test]
fn the_help_of_run_fits_the_terminal() {
    for columns in [80, 100] {
        let output = binary().args(["run", "--help"]).env("COLUMNS", columns.to_string()).output().unwrap();
        let (help, err) = texts(&output);
        assert!(output.status.success() && err.is_empty(), "{err}");
        let widest = help.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= columns, "{columns}: {widest}");
        for part in
            ["Objects:", "Workers:", "Ranking:", "Redis:", "Polls:", "Leadership:", "Serving:", "Logging:", "Examples:"]
        {
            assert!(help.lines().any(|line| line == part), "{part} is missing from:\n{help}");
        }
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("[allowed: a duration from 1s to 24h] [default: 60s]"), "{help}");
    }
}
