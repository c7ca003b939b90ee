//! Values and flags: each flag of `run` has a value, each such value has the operator's default, and the operator
//! accepts the rendered flags.

use std::collections::BTreeMap;

use serde_json::json;

use super::helm::{FILES, render, render_file, strings};
use crate::support::cluster::{root, said};
use crate::support::operator::binary;

/// The flags of `run` with their defaults, from docs/settings.md.
fn documented() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(root().join("docs/settings.md")).unwrap();
    flags_of(&page, "`run`").expect("a section about run")
}

/// The flags of a command; `None` if the page does not have the command.
fn flags_of(page: &str, command: &str) -> Option<BTreeMap<String, String>> {
    let part = page.split("\n## ").find(|part| part.starts_with(command))?;
    let rows = part.lines().filter(|line| line.starts_with("| `-"));
    let flags = rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        // Some flags have a short form first.
        let flag = cells[0].split_once("`--").unwrap().1.split([' ', '`']).next().unwrap();
        (format!("--{flag}"), cells[2].trim().trim_matches('`').to_owned())
    });
    Some(flags.collect())
}

/// Flags with their values.
fn values_of(arguments: &[String]) -> BTreeMap<String, String> {
    let pairs = arguments.iter().filter_map(|argument| argument.split_once('='));
    pairs.map(|(flag, value)| (flag.to_owned(), value.to_owned())).collect()
}

/// Runs `run` with these arguments. It finds no cluster and ends.
fn run(arguments: &[String]) -> std::process::Output {
    let mut command = binary();
    command.env("KUBECONFIG", "/nonexistent").env_remove("KUBERNETES_SERVICE_HOST");
    // Otherwise it would open its listeners first.
    let listener = |argument: &&String| !argument.contains("-bind-address=");
    command.args(arguments.iter().filter(listener)).args(["--metrics-bind-address=0", "--health-probe-bind-address=0"]);
    if arguments.iter().any(|argument| argument.starts_with("--api-bind-address=")) {
        command.arg("--api-bind-address=127.0.0.1:0");
    }
    command.output().expect("the operator runs")
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn each_flag_of_run_is_set_by_a_value() {
    let flags = documented();
    assert!(flags.len() > 35, "{flags:?}");
    let mut rendered = values_of(&render_file("ci/everything-values.yaml").arguments());
    rendered.extend(values_of(&render_file("ci/namespaces-values.yaml").arguments()));
    for flag in flags.keys() {
        assert!(rendered.contains_key(flag), "no value of the chart sets {flag}");
    }
    for flag in rendered.keys() {
        assert!(flags.contains_key(flag), "the chart sets {flag}, which does not exist");
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_defaults_are_those_of_the_operator() {
    let flags = documented();
    let same = |one: &str, other: &str| {
        let numbers = one.parse::<f64>().ok().zip(other.parse::<f64>().ok());
        one == other || numbers.is_some_and(|(one, other)| (one - other).abs() < 1e-9)
    };
    let rendered = values_of(&render(&json!({})).arguments());
    assert!(rendered.len() > 18, "{rendered:?}");
    for (flag, value) in &rendered {
        let default = &flags[flag];
        // Values that every release sets for itself.
        let own = ["--worker-service", "--redis-url", "--leader-elect-resource-namespace"].contains(&flag.as_str());
        assert!(own || same(value, default), "{flag}: {value} in the chart, {default} by default");
    }
}

/// The default of the flag follows the interval, so an empty value must not set the flag. 0s must.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_recency_resolution_is_passed_only_if_it_is_set() {
    for (value, expected) in [(json!({}), None), (json!({"recencyResolution": "0s"}), Some("0s"))] {
        let rendered = values_of(&render(&json!({"classification": value})).arguments());
        assert_eq!(rendered.get("--recency-resolution").map(String::as_str), expected, "{value}");
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_operator_accepts_the_rendered_flags() {
    for file in FILES {
        let output = run(&render_file(file).arguments());
        assert!(output.status.code() == Some(1) && said(&output).contains("no cluster"), "{file}: {}", said(&output));
    }
    // Flags that it does not accept are distinguished.
    let mut arguments = render(&json!({})).arguments();
    arguments.push("--hot-fraction=2".to_owned());
    assert_eq!(run(&arguments).status.code(), Some(2));
}

/// Only that: tests/it/doctor.rs covers the findings.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_doctor_accepts_the_rendered_flags() {
    let page = std::fs::read_to_string(root().join("docs/settings.md")).unwrap();
    let flags = flags_of(&page, "`doctor`").expect("a section about doctor");
    for file in FILES {
        let rendered = render_file(file);
        let arguments = strings(&rendered.one("Pod")["spec"]["containers"][0]["args"]);
        for flag in values_of(&arguments).keys() {
            assert!(flags.contains_key(flag), "{file}: the doctor has no flag {flag}");
        }
        // Secrets are not mounted here, and the doctor reads those for the workers first.
        let unread = |argument: &&String| argument.starts_with("--worker-") && argument.contains("-file=");
        let arguments = arguments.iter().filter(|argument| !unread(argument));
        let mut command = binary();
        let output =
            command.env("KUBECONFIG", "/nonexistent").env_remove("KUBERNETES_SERVICE_HOST").args(arguments).output();
        let output = output.expect("the operator runs");
        assert_eq!(output.status.code(), Some(1), "{file}: {}", said(&output));
        assert!(said(&output).contains("no cluster"), "{file}: {}", said(&output));
    }
}
