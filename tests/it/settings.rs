//! FAULTS row X2: every setting without its value, twice, empty, negative, zero, huge, in a wrong unit, unknown, and against
//! another; on the real binary, as a flag and as an environment variable.
//!
//! Each flag has one row in [`rows`], which says of each case whether it is bad or fine. A flag without a row, and a row without
//! a flag, fail the test.

mod rows;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Output};
use std::sync::Mutex;

use mcpgateway_operator::cli;
use mcpgateway_operator::config::{allowed, flag_of, variable};

use self::rows::{ROWS, Row, Say};
use crate::support::operator::binary;

/// No line that is meant for a person is longer.
const LONGEST_LINE: usize = 600;

/// `run` with everything that it needs, as variables, so that a flag may be given as well. It never gets beyond looking for
/// its cluster, which ends it with exit code 1.
fn run() -> Command {
    let mut command = binary();
    command.arg("run").env("KUBECONFIG", "/nonexistent/kubeconfig").env_remove("KUBERNETES_SERVICE_HOST");
    command.env("MCPGW_METRICS_BIND_ADDRESS", "0").env("MCPGW_HEALTH_PROBE_BIND_ADDRESS", "0");
    command.env("MCPGW_WORKER_SERVICE", "gateways/base").env("MCPGW_LOG_LEVEL", "error");
    command
}

/// What one case has to come to.
enum Want {
    /// Exit code 2, nothing on standard output, one line on standard error with all of these and no `planted`.
    Refused(Vec<String>),
    /// The settings are taken.
    Taken,
}

/// One process.
struct Case {
    name: String,
    command: Command,
    want: Want,
}

impl Case {
    fn wrong(mut self) -> Option<String> {
        let output = match self.command.output() {
            Ok(output) => output,
            Err(error) => return Some(format!("{}: {error}", self.name)),
        };
        let (out, err) = texts(&output);
        let fault = match &self.want {
            Want::Taken => {
                let taken = output.status.code() == Some(1) && err.contains("no cluster");
                (!taken).then(|| "should be taken".to_owned())
            }
            Want::Refused(parts) => refused(&output, &out, &err, parts),
        };
        fault.map(|fault| format!("{}: {fault}\n    exit {:?}: {out}{}", self.name, output.status.code(), head(&err)))
    }
}

fn refused(output: &Output, out: &str, err: &str, parts: &[String]) -> Option<String> {
    if output.status.code() != Some(2) {
        return Some("should end with exit code 2".to_owned());
    }
    if !out.is_empty() || err.lines().count() != 1 || !err.ends_with('\n') || err.chars().count() > LONGEST_LINE {
        return Some("should say one short line, on standard error".to_owned());
    }
    if err.contains("planted") || err.trim_end().chars().any(char::is_control) {
        return Some("shows a secret, or a control character".to_owned());
    }
    parts.iter().find(|part| !err.contains(*part)).map(|part| format!("should say: {part}"))
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn head(text: &str) -> String {
    text.chars().take(LONGEST_LINE).collect()
}

/// Runs all, some at a time, and fails with all that is wrong.
fn judge(cases: Vec<Case>) {
    let (queue, faults) = (Mutex::new(cases), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().pop() else { return };
                    let fault = case.wrong();
                    faults.lock().unwrap().extend(fault);
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(faults.is_empty(), "{} cases are wrong:\n{}", faults.len(), faults.join("\n"));
}

/// What is allowed for a flag of a subcommand like `run` or `poll due`, from the definitions that the program itself parses by.
fn rule(subcommand: &str, flag: &str) -> String {
    let command = cli::command();
    let leaves = cli::leaves(&command);
    let (_, leaf) = leaves.iter().find(|(words, _)| words == subcommand).unwrap();
    let arg = leaf.get_arguments().find(|arg| flag_of(arg) == flag);
    allowed(arg.unwrap_or_else(|| panic!("no flag {flag}"))).unwrap()
}

/// Whether the line repeats the value: not where it may be a secret, and not where it looks like one.
fn is_repeated(row: &Row, value: &str) -> bool {
    let strange = value.contains("//") || value.contains(['@', '?']) || value.contains(char::is_control);
    // Of several values, only the bad one is repeated.
    let several = row.repeatable && value.contains(',');
    !row.secret && !strange && !several && value.len() < 50
}

/// The cases of one value, as a flag and as a variable.
fn of_value(row: &Row, what: &str, value: &str, bad: bool) -> [Case; 2] {
    [false, true].map(|by_variable| {
        let mut command = run();
        let name = if by_variable { variable(row.flag) } else { row.flag.to_owned() };
        if by_variable {
            command.env(&name, value);
        } else {
            command.args([row.flag, value]);
        }
        command.args(row.beside);
        let want = if bad {
            let mut parts = vec![format!("'{name}'"), rule("run", row.flag)];
            parts.extend(is_repeated(row, value).then(|| format!("'{value}'")));
            Want::Refused(parts)
        } else {
            Want::Taken
        };
        let value: String = value.chars().take(40).collect();
        Case { name: format!("{name} {what} {value:?}"), command, want }
    })
}

fn cases_of(row: &Row) -> Vec<Case> {
    let Row { flag, repeatable, good, empty, negative, zero, huge, unit, unknown, against, .. } = row;
    let values = [
        ("empty", empty),
        ("negative", negative),
        ("zero", zero),
        ("huge", huge),
        ("in a wrong unit", unit),
        ("unknown", unknown),
    ];
    let mut cases: Vec<Case> = values
        .into_iter()
        .flat_map(|(what, says)| says.iter().map(move |say| (what, say)))
        .flat_map(|(what, say)| match say {
            Say::Bad(value) => of_value(row, what, value, true),
            Say::BadLong(start) => of_value(row, what, &format!("{start}{}", "9".repeat(120_000)), true),
            Say::Fine(value) => of_value(row, what, value, false),
        })
        .chain(good.iter().flat_map(|value| of_value(row, "good", value, false)))
        .collect();
    // As the last word, and before another flag.
    for after in [&[][..], &["--hot-fraction=0.2"]] {
        let mut command = run();
        command.arg(flag).args(after.iter().filter(|other| !other.starts_with(flag)));
        let want = Want::Refused(vec![format!("'{flag}'"), rule("run", flag)]);
        cases.push(Case { name: format!("{flag} without its value {after:?}"), command, want });
    }
    let mut command = run();
    command.args([*flag, good[0], *flag, good[0]]).args(row.beside);
    let want = if *repeatable { Want::Taken } else { Want::Refused(vec![format!("'{flag}'"), "once".to_owned()]) };
    cases.push(Case { name: format!("{flag} twice"), command, want });
    let mut command = run();
    command.env(variable(flag), OsStr::from_bytes(b"bad\xff\n")).args(row.beside);
    cases.push(Case {
        name: format!("{flag} not UTF-8"),
        command,
        // The name of a file may be any bytes; what is wrong with it is found where it is used.
        want: if row.any_bytes { Want::Taken } else { Want::Refused(vec![variable(flag), rule("run", flag)]) },
    });
    for (flags, part) in *against {
        for by_variable in [false, true] {
            let mut command = run();
            if by_variable {
                for pair in flags.chunks(2) {
                    command.env(variable(pair[0]), pair[1]);
                }
            } else {
                command.args(*flags);
            }
            let named = if by_variable { variable(flag) } else { (*flag).to_owned() };
            let want = Want::Refused(vec![format!("'{named}'"), (*part).to_owned()]);
            cases.push(Case { name: format!("{flags:?} by variable: {by_variable}"), command, want });
        }
    }
    cases
}

#[test]
fn x2_every_setting_of_run_is_taken_or_refused_in_one_line() {
    let command = cli::command();
    let arguments = command.find_subcommand("run").unwrap().get_arguments();
    let mut flags: Vec<String> =
        arguments.filter(|arg| arg.get_id() != "help").map(|arg| format!("--{}", arg.get_long().unwrap())).collect();
    let mut in_table: Vec<&str> = ROWS.iter().map(|row| row.flag).collect();
    flags.sort();
    in_table.sort_unstable();
    assert_eq!(in_table, flags, "the table of settings and the flags of run differ");
    judge(ROWS.iter().flat_map(cases_of).collect());
}

#[test]
fn x2_the_flags_of_the_other_subcommands_are_refused_in_one_line() {
    let classify = &["classify", "-f", "examples/fleet", "--usage", "examples/usage"][..];
    let status = &["status"][..];
    let explain = &["explain"][..];
    let own: &[(&[&str], &str, &[&str])] = &[
        (&["classify", "--usage", "u"], "--filename", &[""]),
        (&["classify", "-f", "f"], "--usage", &[""]),
        (classify, "--hot-fraction", &["", "-1", "2", "1e999", "20%", "half"]),
        (classify, "--min-hot", &["", "-1", "99999999999999999999", "1Mi", "all"]),
        (classify, "--recency-resolution", &["", "-5s", "99999h", "5 parsecs", "60"]),
        (classify, "--output", &["", "-1", "yaml", "Json"]),
        (status, "--output", &["", "-1", "yaml"]),
        (status, "--leader-elect-resource-name", &["", "-1", "Upper", "a/b"]),
        (status, "--leader-elect-resource-namespace", &["", "-1", "Upper", "a.b"]),
        (status, "--kubeconfig", &[""]),
        (status, "--context", &["", "a\nb"]),
        (explain, "--namespace", &["", "-1", "Upper", "a.b"]),
        (explain, "--output", &["", "-1", "yaml"]),
        (explain, "--kubeconfig", &[""]),
        (explain, "--context", &["", "a\nb"]),
        (explain, "--watch-namespace", &["", "-1", "Upper"]),
        (explain, "--watch-selector", &["a=b=c", "=x"]),
        (explain, "--redis-url", &["", "-1", "http://:planted@h", "planted"]),
        (explain, "--redis-username", &["", "planted planted"]),
        (explain, "--redis-password-file", &[""]),
        (explain, "--redis-ca-file", &[""]),
        (explain, "--redis-key-prefix", &["", "a b", "{a}"]),
        (explain, "--hot-poll-interval", &["", "0", "-5s", "60"]),
        (explain, "--cold-poll-interval", &["", "0", "-5s", "60"]),
        (explain, "--leader-elect-resource-name", &["", "-1", "Upper", "a/b"]),
        (explain, "--leader-elect-resource-namespace", &["", "-1", "Upper", "a.b"]),
    ];
    let poll = ["--url", "http://h/mcp", "--type", "health"];
    let due: &[(&str, &[&str])] = &[
        ("--output", &["", "-1", "yaml"]),
        ("--gateway-id", &["", "a/b", "a b", "planted@h"]),
        ("--redis-url", &["", "-1", "0", "http://:planted@h", "planted", "redis://"]),
        ("--redis-username", &["", "planted planted"]),
        ("--redis-password-file", &[""]),
        ("--redis-ca-file", &[""]),
        ("--redis-key-prefix", &["", "a b", "{a}"]),
        ("--hot-poll-interval", &["", "0", "-5s", "721h", "5 parsecs", "60", "soon"]),
        ("--cold-poll-interval", &["", "0", "-5s", "721h", "5 parsecs", "60", "soon"]),
    ];
    // `poll` has a url and a type with its flags, and takes each of these two without the other.
    let mut table: Vec<(Vec<&str>, &str, &[&str])> =
        own.iter().map(|(start, flag, values)| (start.to_vec(), *flag, *values)).collect();
    for what in ["due", "completed"] {
        let start = |given: &[&'static str]| [&["poll", what], given].concat();
        table.extend(due.iter().map(|(flag, values)| (start(&poll), *flag, *values)));
        let urls: &[&str] = &["", "-1", "planted", "ftp://planted/x", "http://h/#planted", "https://u:planted@h/"];
        table.push((start(&poll[2..]), "--url", urls));
        table.push((start(&poll[..2]), "--type", &["", "-1", "0", "Health", "tools"]));
    }
    let mut cases = Vec::new();
    for (start, flag, values) in &table {
        cases.extend(of_flag(start, flag, values));
    }
    let words: &[(&[&str], &str)] = &[
        (&["classify"], "--filename"),
        (&["classify", "-f", "f"], "--usage"),
        (&["crd", "--output", "json"], "--output"),
        (&["crd", "planted"], "crd --help"),
        (&["planted"], "classify"),
        (&["run", "--no-such-flag"], "--no-such-flag"),
        (&["run", "--redis-urll=redis://:planted@h"], "--redis-url?"),
        (&["run", "--redis-username", "u", "planted"], "run --help"),
        (&["poll", "planted"], "due, completed"),
        (&["import", "--from", "contextforge", "--token-file", "t"], "URL"),
        (&["import", "--from", "contextforge", "http://h", "--token-file", "t", "planted"], "import --help"),
        (&["explain", "a/b/c"], "use NAMESPACE/NAME"),
        (&["explain", "A/b"], "use NAMESPACE/NAME"),
        (&["explain"], "NAMESPACE/NAME"),
        (&["explain", "a/b", "-n", "c"], "--namespace"),
        (&["poll", "due", "--type", "health"], "--url"),
        (&["poll", "completed", "--url", "http://h/mcp"], "--type"),
        (&["poll", "due", "--url", "http://h/mcp", "--type", "health", "planted"], "poll due --help"),
        (&["poll", "due", "--url", "https://h/?token=planted", "--type", "health"], "take the credential out"),
        (&["poll", "due", "--url", "http://h", "--type", "health", "--redis-username", "planted"], "needs --redis-url"),
        (
            &["poll", "completed", "--url", "http://h", "--type", "health", "--cold-poll-interval", "1m"],
            "not less than --hot-poll-interval",
        ),
    ];
    for (words, part) in words {
        let mut command = binary();
        command.args(*words);
        cases.push(Case { name: format!("{words:?}"), command, want: Want::Refused(vec![(*part).to_owned()]) });
    }
    judge(cases);
    let command = cli::command();
    let apart = |words: &str| matches!(words, "run" | "import" | "doctor");
    for (words, leaf) in cli::leaves(&command).into_iter().filter(|(words, _)| !apart(words)) {
        for arg in leaf.get_arguments().filter(|arg| arg.get_id() != "help" && !arg.is_positional()) {
            let flag = format!("--{}", arg.get_long().unwrap());
            let known = table.iter().any(|(start, named, _)| subcommand(start) == words && *named == flag);
            assert!(known, "{words} {flag} is not in the table");
        }
    }
}

/// A flag of another subcommand than `run` with values that it does not take, and without one.
fn of_flag(start: &[&str], flag: &str, values: &[&str]) -> Vec<Case> {
    let words = subcommand(start);
    let case = |what: String, more: &[&str]| {
        let mut command = binary();
        command.args(start).args(more);
        let want = Want::Refused(vec![format!("'{flag}'"), rule(&words, flag)]);
        Case { name: format!("{start:?} {flag} {what}"), command, want }
    };
    let mut cases: Vec<Case> = values.iter().map(|value| case(format!("{value:?}"), &[flag, value])).collect();
    cases.push(case("without its value".to_owned(), &[flag]));
    cases
}

#[test]
fn x2_the_flags_of_import_are_refused_in_one_line() {
    let import = &["import", "--from", "contextforge", "http://h", "--token-file", "t"][..];
    let table: &[(&[&str], &str, &[&str])] = &[
        (&["import", "--token-file", "t", "http://h"], "--from", &["", "-1", "contextForge", "planted@h"]),
        (&["import", "--from", "contextforge", "http://h"], "--token-file", &[""]),
        (import, "--ca-file", &[""]),
        (import, "--timeout", &["", "0", "-5s", "6m", "5 parsecs", "60", "soon"]),
        (import, "--namespace", &["", "-1", "Upper", "a.b"]),
    ];
    let mut cases: Vec<Case> = table.iter().flat_map(|(start, flag, values)| of_flag(start, flag, values)).collect();
    let urls =
        ["planted", "ftp://planted/x", "http://h/#planted", "https://u:planted@h/", "http://h?planted", "http://:0"];
    for url in urls {
        let mut command = binary();
        command.args(["import", "--from", "contextforge", url, "--token-file", "t"]);
        let want = Want::Refused(vec!["'URL'".to_owned(), rule("import", "URL")]);
        cases.push(Case { name: format!("import {url}"), command, want });
    }
    judge(cases);
    let command = cli::command();
    for arg in command.find_subcommand("import").unwrap().get_arguments().filter(|arg| arg.get_id() != "help") {
        let flag = flag_of(arg);
        assert!(flag == "URL" || table.iter().any(|(_, named, _)| *named == flag), "{flag} is not in the table");
    }
}

/// `doctor` shares its flags with `run`, and what those refuse.
#[test]
fn x2_the_flags_of_doctor_are_refused_as_those_of_run() {
    let command = cli::command();
    let doctor = command.find_subcommand("doctor").unwrap();
    let mut cases = of_flag(&["doctor"], "--output", &["", "-1", "yaml"]);
    cases.extend(of_flag(&["doctor"], "--kubeconfig", &[""]));
    cases.extend(of_flag(&["doctor"], "--context", &["", "a\nb"]));
    let own = ["help", "output", "kubeconfig", "context"];
    for arg in doctor.get_arguments().filter(|arg| !own.contains(&arg.get_id().as_str())) {
        let flag = flag_of(arg);
        let row = ROWS.iter().find(|row| row.flag == flag).unwrap_or_else(|| panic!("{flag} is none of run"));
        let says = row.empty.iter().chain(row.unknown).chain(row.negative);
        let bad: Vec<&str> =
            says.filter_map(|say| if let Say::Bad(value) = say { Some(*value) } else { None }).collect();
        cases.extend(of_flag(&["doctor"], &flag, &bad));
    }
    for (words, part) in [
        (&["doctor", "--redis-username", "planted"][..], "needs --redis-url"),
        (&["doctor", "--cold-poll-interval", "1m"], "not less than --hot-poll-interval"),
        (&["doctor", "--worker-endpoint", "http://h/u", "--worker-ca-file", "c"], "https://"),
    ] {
        let mut command = binary();
        command.args(words);
        cases.push(Case { name: format!("{words:?}"), command, want: Want::Refused(vec![part.to_owned()]) });
    }
    judge(cases);
}

/// The subcommand at the start of a command line: the words before the first flag.
fn subcommand(start: &[&str]) -> String {
    let words: Vec<&str> = start.iter().copied().take_while(|word| !word.starts_with('-')).collect();
    words.join(" ")
}

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
fn several_errors_are_several_lines() {
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
fn a_flag_counts_before_its_variable() {
    let mut command = run();
    let output = command.env("MCPGW_MIN_HOT", "planted").args(["--min-hot", "1"]).output().unwrap();
    assert!(texts(&output).1.contains("no cluster"), "{output:?}");
}

#[test]
fn variables_without_a_setting_are_warned_of_by_name() {
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
fn a_mistyped_variable_is_told_with_the_setting_that_is_missing() {
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

/// How wide the help is at most, and what a person looks for in it.
#[test]
fn the_help_of_run_fits_its_window() {
    for columns in [80, 100] {
        let output = binary().args(["run", "--help"]).env("COLUMNS", columns.to_string()).output().unwrap();
        let (help, err) = texts(&output);
        assert!(output.status.success() && err.is_empty(), "{err}");
        let widest = help.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(widest.chars().count() <= columns, "{columns}: {widest}");
        for part in
            ["Objects:", "Workers:", "Ranking:", "Redis:", "Polls:", "Leadership:", "Serving:", "Logging:", "Examples:"]
        {
            assert!(help.lines().any(|line| line == part), "{part} is missing in:\n{help}");
        }
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("a duration from 1s to 24h [default: 60s]"), "{help}");
    }
}
