//! The flags of the other subcommands.

use mcpgateway_operator::cli;
use mcpgateway_operator::config::flag_name;

use super::process::{Case, Expected, check, rule};
use super::rows::{ROWS, TestValue};
use crate::support::operator::binary;

const CLASSIFY: &[&str] = &["classify", "-f", "examples/fleet", "--usage", "examples/usage"];

/// The flags of `classify`, `status` and `explain`, each with values that it refuses.
const OWN: &[(&[&str], &str, &[&str])] = &[
    (&["classify", "--usage", "u"], "--filename", &[""]),
    (&["classify", "-f", "f"], "--usage", &[""]),
    (CLASSIFY, "--hot-fraction", &["", "-1", "2", "1e999", "20%", "half"]),
    (CLASSIFY, "--min-hot", &["", "-1", "99999999999999999999", "1Mi", "all"]),
    (CLASSIFY, "--max-pinned", &["", "-1", "2", "1e999", "10%", "some"]),
    (CLASSIFY, "--recency-resolution", &["", "-5s", "99999h", "5 parsecs", "60"]),
    (CLASSIFY, "--output", &["", "-1", "yaml", "Json"]),
    (&["status"], "--output", &["", "-1", "yaml"]),
    (&["status"], "--leader-elect-resource-name", &["", "-1", "Upper", "a/b"]),
    (&["status"], "--leader-elect-resource-namespace", &["", "-1", "Upper", "a.b"]),
    (&["status"], "--kubeconfig", &[""]),
    (&["status"], "--context", &["", "a\nb"]),
    (&["explain"], "--namespace", &["", "-1", "Upper", "a.b"]),
    (&["explain"], "--output", &["", "-1", "yaml"]),
    (&["explain"], "--kubeconfig", &[""]),
    (&["explain"], "--context", &["", "a\nb"]),
    (&["explain"], "--watch-namespace", &["", "-1", "Upper"]),
    (&["explain"], "--watch-selector", &["a=b=c", "=x"]),
    (&["explain"], "--redis-url", &["", "-1", "http://:planted@h", "planted"]),
    (&["explain"], "--redis-username", &["", "planted planted"]),
    (&["explain"], "--redis-password-file", &[""]),
    (&["explain"], "--redis-ca-file", &[""]),
    (&["explain"], "--redis-client-cert-file", &[""]),
    (&["explain"], "--redis-client-key-file", &[""]),
    (&["explain"], "--redis-key-prefix", &["", "a b", "{a}"]),
    (&["explain"], "--hot-poll-interval", &["", "0", "-5s", "60"]),
    (&["explain"], "--cold-poll-interval", &["", "0", "-5s", "60"]),
    (&["explain"], "--longest-refresh-interval", &["", "0", "-5s", "60"]),
    (&["explain"], "--contextforge-url", &["", "-1", "planted", "https://u:planted@h", "http://h?planted"]),
    (&["explain"], "--contextforge-token-file", &[""]),
    (&["explain"], "--contextforge-ca-file", &[""]),
    (&["explain"], "--leader-elect-resource-name", &["", "-1", "Upper", "a/b"]),
    (&["explain"], "--leader-elect-resource-namespace", &["", "-1", "Upper", "a.b"]),
];

#[test]
fn x2_the_flags_of_the_other_subcommands_are_refused_in_one_line() {
    let poll = ["--url", "http://h/mcp", "--type", "health"];
    let due: &[(&str, &[&str])] = &[
        ("--output", &["", "-1", "yaml"]),
        ("--gateway-id", &["", "a/b", "a b", "planted@h"]),
        ("--redis-url", &["", "-1", "0", "http://:planted@h", "planted", "redis://"]),
        ("--redis-username", &["", "planted planted"]),
        ("--redis-password-file", &[""]),
        ("--redis-ca-file", &[""]),
        ("--redis-client-cert-file", &[""]),
        ("--redis-client-key-file", &[""]),
        ("--redis-key-prefix", &["", "a b", "{a}"]),
        ("--hot-poll-interval", &["", "0", "-5s", "721h", "5 parsecs", "60", "soon"]),
        ("--cold-poll-interval", &["", "0", "-5s", "721h", "5 parsecs", "60", "soon"]),
        ("--longest-refresh-interval", &["", "0", "-5s", "721h", "5 parsecs", "60", "soon"]),
    ];
    let urls: &[&str] = &["", "-1", "planted", "ftp://planted/x", "http://h/#planted", "https://u:planted@h/"];
    // The flags of `poll` are tested with a url and a type, and each of these two without the other.
    let mut table: Vec<(Vec<&str>, &str, &[&str])> =
        OWN.iter().map(|(start, flag, values)| (start.to_vec(), *flag, *values)).collect();
    for what in ["due", "completed"] {
        let start = |given: &[&'static str]| [&["poll", what], given].concat();
        table.extend(due.iter().map(|(flag, values)| (start(&poll), *flag, *values)));
        table.push((start(&poll[2..]), "--url", urls));
        table.push((start(&poll[..2]), "--type", &["", "-1", "0", "Health", "tools"]));
    }
    table.push((vec!["poll", "completed"], "--ttl-seconds", &["", "nan", "60s", "soon"]));
    table.push((vec!["poll", "changed"], "--url", urls));
    let changed = due.iter().filter(|(flag, _)| !flag.ends_with("-interval"));
    table.extend(changed.map(|(flag, values)| (vec!["poll", "changed", "--url", poll[1]], *flag, *values)));
    let mut cases = Vec::new();
    for (start, flag, values) in &table {
        cases.extend(flag_cases(start, flag, values));
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
        (&["poll", "planted"], "due, completed, changed"),
        (&["import", "--from", "contextforge", "--token-file", "t"], "URL"),
        (&["import", "--from", "contextforge", "http://h", "--token-file", "t", "planted"], "import --help"),
        (&["explain", "a/b/c"], "use NAMESPACE/NAME"),
        (&["explain", "A/b"], "use NAMESPACE/NAME"),
        (&["explain"], "NAMESPACE/NAME"),
        (&["explain", "a/b", "-n", "c"], "--namespace"),
        (&["poll", "due", "--type", "health"], "--url"),
        (&["poll", "completed", "--url", "http://h/mcp"], "--type"),
        (&["poll", "changed"], "--url"),
        (&["poll", "due", "--url", "http://h/mcp", "--type", "health", "planted"], "poll due --help"),
        (&["poll", "due", "--url", "https://h/?token=planted", "--type", "health"], "take the credential out"),
        (&["poll", "due", "--url", "http://h", "--type", "health", "--redis-username", "planted"], "needs --redis-url"),
        (
            &["poll", "completed", "--url", "http://h", "--type", "health", "--cold-poll-interval", "1m"],
            "at least --hot-poll-interval",
        ),
    ];
    cases.extend(words.iter().map(|(words, part)| Case::refused(words, part)));
    check(cases);
    let command = cli::command();
    let has_own_test = |name: &str| matches!(name, "run" | "import" | "doctor" | "plan" | "record");
    for (name, subcommand) in cli::subcommands(&command).into_iter().filter(|(name, _)| !has_own_test(name)) {
        for arg in subcommand.get_arguments().filter(|arg| arg.get_id() != "help" && !arg.is_positional()) {
            let flag = format!("--{}", arg.get_long().unwrap());
            let is_in_table = table.iter().any(|(start, named, _)| subcommand_name(start) == name && *named == flag);
            assert!(is_in_table, "{name} {flag} is not in the table");
        }
    }
}

/// A flag of another subcommand than `run`, with values that it refuses and without a value.
fn flag_cases(start: &[&str], flag: &str, values: &[&str]) -> Vec<Case> {
    let name = subcommand_name(start);
    let case = |what: String, more: &[&str]| {
        let mut command = binary();
        command.args(start).args(more);
        let expected = Expected::Refused(vec![format!("'{flag}'"), rule(&name, flag)]);
        Case { name: format!("{start:?} {flag} {what}"), command, expected }
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
    let mut cases: Vec<Case> = table.iter().flat_map(|(start, flag, values)| flag_cases(start, flag, values)).collect();
    let urls =
        ["planted", "ftp://planted/x", "http://h/#planted", "https://u:planted@h/", "http://h?planted", "http://:0"];
    for url in urls {
        let mut command = binary();
        command.args(["import", "--from", "contextforge", url, "--token-file", "t"]);
        let expected = Expected::Refused(vec!["'URL'".to_owned(), rule("import", "URL")]);
        cases.push(Case { name: format!("import {url}"), command, expected });
    }
    check(cases);
    let command = cli::command();
    for arg in command.find_subcommand("import").unwrap().get_arguments().filter(|arg| arg.get_id() != "help") {
        let flag = flag_name(arg);
        let has_no_values = flag == "URL" || !arg.get_action().takes_values();
        assert!(has_no_values || table.iter().any(|(_, named, _)| *named == flag), "{flag} is not in the table");
    }
}

/// These have flags of `run`, with the same rules.
#[test]
fn x2_the_flags_of_doctor_plan_and_record_are_refused_as_those_of_run() {
    let command = cli::command();
    let plan = &["plan"][..];
    let record = &["record", "--output", "d"][..];
    let own: &[(&[&str], &str, &[&str])] = &[
        (&["doctor"], "--output", &["", "-1", "yaml"]),
        (plan, "--output", &["", "-1", "yaml"]),
        (plan, "--from", &["", "-1", "Files", "planted@h"]),
        (plan, "--filename", &[""]),
        (plan, "--usage", &[""]),
        (plan, "--refresh-budget", &["", "0", "-1", "1.1", "1e999", "20%", "0.2,2"]),
        (plan, "--longest-refresh-interval", &["", "0", "-5s", "721h", "60", "1h,60"]),
        (plan, "--compare", &[""]),
        (plan, "--fail-above", &["", "-1", "1e999", "NaN", "10%"]),
        (&["record"], "--output", &[""]),
        (record, "--cycles", &["", "0", "-1", "99999999999999999999", "all"]),
        (record, "--interval", &["", "0", "-5s", "25h", "60"]),
        (record, "--max-bytes", &["", "0", "-1", "1Kb", "17Gi"]),
        (record, "--filename", &[""]),
    ];
    let mut cases: Vec<Case> = own.iter().flat_map(|(start, flag, values)| flag_cases(start, flag, values)).collect();
    for start in [&["doctor"], plan, record] {
        let name = start[0];
        cases.extend(flag_cases(start, "--kubeconfig", &[""]));
        cases.extend(flag_cases(start, "--context", &["", "a\nb"]));
        for arg in command.find_subcommand(name).unwrap().get_arguments() {
            let flag = flag_name(arg);
            let is_own = own.iter().any(|(start, named, _)| start[0] == name && *named == flag);
            if is_own || matches!(&*flag, "--help" | "--kubeconfig" | "--context") {
                continue;
            }
            let row = ROWS.iter().find(|row| row.flag == flag).unwrap_or_else(|| panic!("{flag} is not a flag of run"));
            let values = row.empty.iter().chain(row.unknown).chain(row.negative);
            let bad: Vec<&str> =
                values.filter_map(|value| if let TestValue::Bad(text) = value { Some(*text) } else { None }).collect();
            cases.extend(flag_cases(start, &flag, &bad));
        }
    }
    let files = ["plan", "-f", "f", "--usage", "u"];
    let live = ["plan", "--from", "cluster"];
    for (words, more, part) in [
        (&["doctor"][..], &["--redis-username", "planted"][..], "needs --redis-url"),
        (&["doctor"], &["--cold-poll-interval", "1m"], "at least --hot-poll-interval"),
        (&["doctor"], &["--contextforge-url", "http://h"], "needs --contextforge-token-file"),
        (&["explain", "a/b"], &["--contextforge-token-file", "t"], "needs --contextforge-url"),
        (&["import", "--from", "contextforge", "http://h", "--token-file", "t"], &["--registration=yes"], "'yes'"),
        (&["doctor"], &["--worker-endpoint", "http://h/u", "--worker-ca-file", "c"], "https://"),
        (plan, &["--usage", "u"], "'--filename': needed without --from cluster"),
        (plan, &["-f", "f"], "'--usage': needed without --from cluster"),
        (&live, &["--worker-endpoint", "http://h/u", "-f", "f"], "'--filename': leave it out with --from cluster"),
        (&live, &[], "--worker-service"),
        (&files, &["--fail-above", "10"], "needs --compare"),
        (&files, &["--hot-poll-interval", "2h"], "'--longest-refresh-interval': use at least --hot-poll-interval"),
        (&files, &["--cold-poll-interval", "1m"], "at least --hot-poll-interval"),
        (&["record"], &[], "--output"),
        (record, &[], "--worker-service"),
        (record, &["--worker-endpoint", "http://h/u", "--worker-ca-file", "c"], "https://"),
    ] {
        cases.push(Case::refused(&[words, more].concat(), part));
    }
    check(cases);
}

/// The name of the subcommand in a command line: the words before the first flag.
fn subcommand_name(start: &[&str]) -> String {
    let words: Vec<&str> = start.iter().copied().take_while(|word| !word.starts_with('-')).collect();
    words.join(" ")
}
