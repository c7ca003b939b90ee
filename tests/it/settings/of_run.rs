//! The flags of `run`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use mcpgateway_operator::cli;
use mcpgateway_operator::config::variable;

use super::process::{Case, Expected, check, rule, run};
use super::rows::{ROWS, Row, TestValue};

/// Whether the error repeats the value: not if it may be a secret, and not if it looks like one.
fn is_repeated(row: &Row, value: &str) -> bool {
    let looks_secret = value.contains("//") || value.contains(['@', '?']) || value.contains(char::is_control);
    // Only the invalid one of several values is repeated.
    let several = row.repeatable && value.contains(',');
    !row.secret && !looks_secret && !several && value.len() < 50
}

/// The cases of one value: as a flag and as a variable.
fn value_cases(row: &Row, what: &str, value: &str, bad: bool) -> [Case; 2] {
    [false, true].map(|by_variable| {
        let mut command = run();
        let name = if by_variable { variable(row.flag) } else { row.flag.to_owned() };
        if by_variable {
            command.env(&name, value);
        } else {
            command.args([row.flag, value]);
        }
        command.args(row.beside);
        let expected = if bad {
            let mut parts = vec![format!("'{name}'"), rule("run", row.flag)];
            parts.extend(is_repeated(row, value).then(|| format!("'{value}'")));
            Expected::Refused(parts)
        } else {
            Expected::Accepted
        };
        let value: String = value.chars().take(40).collect();
        Case { name: format!("{name} {what} {value:?}"), command, expected }
    })
}

fn row_cases(row: &Row) -> Vec<Case> {
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
        .flat_map(|(what, values)| values.iter().map(move |value| (what, value)))
        .flat_map(|(what, value)| match value {
            TestValue::Bad(value) => value_cases(row, what, value, true),
            TestValue::BadLong(start) => value_cases(row, what, &format!("{start}{}", "9".repeat(120_000)), true),
            TestValue::Good(value) => value_cases(row, what, value, false),
        })
        .chain(good.iter().flat_map(|value| value_cases(row, "good", value, false)))
        .collect();
    // At the end, and before another flag.
    for after in [&[][..], &["--hot-fraction=0.2"]] {
        let mut command = run();
        command.arg(flag).args(after.iter().filter(|other| !other.starts_with(flag)));
        let expected = Expected::Refused(vec![format!("'{flag}'"), rule("run", flag)]);
        cases.push(Case { name: format!("{flag} without its value {after:?}"), command, expected });
    }
    let mut command = run();
    command.args([*flag, good[0], *flag, good[0]]).args(row.beside);
    let expected =
        if *repeatable { Expected::Accepted } else { Expected::Refused(vec![format!("'{flag}'"), "once".to_owned()]) };
    cases.push(Case { name: format!("{flag} twice"), command, expected });
    let mut command = run();
    command.env(variable(flag), OsStr::from_bytes(b"bad\xff\n")).args(row.beside);
    cases.push(Case {
        name: format!("{flag} not UTF-8"),
        command,
        // The name of a file can be any bytes.
        expected: if row.any_bytes {
            Expected::Accepted
        } else {
            Expected::Refused(vec![variable(flag), rule("run", flag)])
        },
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
            let expected = Expected::Refused(vec![format!("'{named}'"), (*part).to_owned()]);
            cases.push(Case { name: format!("{flags:?} by variable: {by_variable}"), command, expected });
        }
    }
    cases
}

#[test]
fn x2_every_setting_of_run_is_accepted_or_refused_in_one_line() {
    let command = cli::command();
    let arguments = command.find_subcommand("run").unwrap().get_arguments();
    let mut flags: Vec<String> =
        arguments.filter(|arg| arg.get_id() != "help").map(|arg| format!("--{}", arg.get_long().unwrap())).collect();
    let mut in_table: Vec<&str> = ROWS.iter().map(|row| row.flag).collect();
    flags.sort();
    in_table.sort_unstable();
    assert_eq!(in_table, flags, "the table of settings and the flags of run differ");
    check(ROWS.iter().flat_map(row_cases).collect());
}
