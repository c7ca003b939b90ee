//! One process of the program and what it must do with its settings.

use std::process::{Command, Output};
use std::sync::Mutex;

use mcpgateway_operator::cli;
use mcpgateway_operator::config::{allowed, flag_name};

use crate::support::operator::binary;

/// The longest line that the program prints about a setting, in characters.
const MAX_LINE_CHARS: usize = 600;

/// A `run` command with everything that it needs, as variables, so that a test can add flags. With valid settings it
/// looks for its cluster, finds none, and exits with code 1.
pub(super) fn run() -> Command {
    let mut command = binary();
    command.arg("run").env("KUBECONFIG", "/nonexistent/kubeconfig").env_remove("KUBERNETES_SERVICE_HOST");
    command.env("MCPGW_METRICS_BIND_ADDRESS", "0").env("MCPGW_HEALTH_PROBE_BIND_ADDRESS", "0");
    command.env("MCPGW_WORKER_SERVICE", "gateways/base").env("MCPGW_LOG_LEVEL", "error");
    command
}

/// The expected result of one case.
pub(super) enum Expected {
    /// Exit code 2, nothing on standard output, and one line on standard error with all of these parts and no
    /// `planted`.
    Refused(Vec<String>),
    /// The settings are accepted.
    Accepted,
}

/// One process.
pub(super) struct Case {
    pub name: String,
    pub command: Command,
    pub expected: Expected,
}

impl Case {
    /// A command line that is refused with a line that has this part.
    pub(super) fn refused(words: &[&str], part: &str) -> Self {
        let mut command = binary();
        command.args(words);
        Self { name: format!("{words:?}"), command, expected: Expected::Refused(vec![part.to_owned()]) }
    }

    fn failure(mut self) -> Option<String> {
        let output = match self.command.output() {
            Ok(output) => output,
            Err(error) => return Some(format!("{}: {error}", self.name)),
        };
        let (out, err) = texts(&output);
        let failure = match &self.expected {
            Expected::Accepted => {
                let accepted = output.status.code() == Some(1) && err.contains("no cluster");
                (!accepted).then(|| "should be accepted".to_owned())
            }
            Expected::Refused(parts) => refused(&output, &out, &err, parts),
        };
        failure.map(|failure| {
            format!("{}: {failure}\n    exit {:?}: {out}{}", self.name, output.status.code(), head(&err))
        })
    }
}

fn refused(output: &Output, out: &str, err: &str, parts: &[String]) -> Option<String> {
    if output.status.code() != Some(2) {
        return Some("should exit with code 2".to_owned());
    }
    if !out.is_empty() || err.lines().count() != 1 || !err.ends_with('\n') || err.chars().count() > MAX_LINE_CHARS {
        return Some("should print one short line on standard error".to_owned());
    }
    if err.contains("planted") || err.trim_end().chars().any(char::is_control) {
        return Some("prints a secret or a control character".to_owned());
    }
    parts.iter().find(|part| !err.contains(*part)).map(|part| format!("should print: {part}"))
}

pub(super) fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn head(text: &str) -> String {
    text.chars().take(MAX_LINE_CHARS).collect()
}

/// Runs all cases, eight at a time, and reports every failure.
pub(super) fn check(cases: Vec<Case>) {
    let (queue, failures) = (Mutex::new(cases), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().pop() else { return };
                    let failure = case.failure();
                    failures.lock().unwrap().extend(failure);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}

/// What a flag of a subcommand such as `run` or `poll due` allows, from the definitions that the program parses by.
pub(super) fn rule(subcommand: &str, flag: &str) -> String {
    let command = cli::command();
    let subcommands = cli::subcommands(&command);
    let (_, subcommand) = subcommands.iter().find(|(name, _)| name == subcommand).unwrap();
    let arg = subcommand.get_arguments().find(|arg| flag_name(arg) == flag);
    allowed(arg.unwrap_or_else(|| panic!("no flag {flag}"))).unwrap()
}
