//! The command line: parse, dispatch, exit codes. Shell.
//!
//! Exit codes (SPEC section 7): 0 done, 1 failed, 2 bad usage with one line that names flag, value and what is allowed. `poll due` alone
//! answers with its exit code: 0 due, 1 not due.

mod args;
mod classify;
mod cluster;
mod doctor;
mod explain;
mod fleet;
mod import;
mod manifests;
mod page;
mod poll;
mod refusal;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::config::{self, BadSetting, BadSettings, ENV_PREFIX};

pub use args::{ClassifyArgs, Cli, Command, Output, Plugin, PluginCommand, StatusArgs};
pub use cluster::{FleetArgs, ScopeArgs};
pub use doctor::DoctorArgs;
pub use explain::ExplainArgs;
pub use import::ImportArgs;
pub use page::settings_page;
pub use poll::{PollArgs, PollCommand};

/// The name of the file by which kubectl finds `kubectl mcpgw`.
const PLUGIN: &str = "kubectl-mcpgw";

/// Runs the command line of this process, to its end.
#[must_use]
pub fn main() -> ExitCode {
    let given: Vec<_> = std::env::args_os().collect();
    let plugin = given.first().is_some_and(|name| is_plugin(name));
    let command = if plugin { explained(Plugin::command()) } else { command() };
    let parsed = command.clone().try_get_matches_from(&given);
    let parsed = parsed.and_then(|matches| {
        let asked: Command = if plugin {
            Plugin::from_arg_matches(&matches)?.command.into()
        } else {
            Cli::from_arg_matches(&matches)?.command
        };
        Ok((asked, matches))
    });
    let (asked, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refusal::refuse(&error, &command, &given),
    };
    let unknown = unknown_settings(environment());
    let done = match asked {
        Command::Run(args) => crate::run::run(*args, &unknown),
        Command::Crd => print(&crate::api::crds_yaml()),
        Command::Classify(args) => classify::classify(&args).and_then(|text| print(&text)),
        Command::Status(args) => fleet::status(args).and_then(|text| print(&text)),
        Command::Explain(args) => explain::explain(*args).and_then(|text| print(&text)),
        Command::Import(args) => import::import(*args).and_then(|text| print(&text)),
        Command::Doctor(args) => match doctor::doctor(*args) {
            Ok((text, healthy)) => match print(&text) {
                Ok(()) => return if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE },
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        },
        // The only one whose exit code is an answer beyond that.
        Command::Poll(command) => match poll::poll(*command) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let bad = match (error.downcast_ref::<BadSettings>(), error.downcast_ref::<BadSetting>()) {
                (Some(BadSettings(all)), _) => all.clone(),
                (None, Some(one)) => vec![one.clone()],
                (None, None) => {
                    complain(&format!("error: {error:#}"));
                    return ExitCode::FAILURE;
                }
            };
            // A mistyped variable may be why the setting it means is missing.
            unknown.iter().for_each(|name| complain(&format!("warning: no setting has the name {name}")));
            bad.into_iter().for_each(|bad| complain(&format!("error: {}", located(bad, &matches))));
            ExitCode::from(2)
        }
    }
}

/// Whether the program is called by the name under which kubectl finds it as a plugin.
fn is_plugin(name: &std::ffi::OsStr) -> bool {
    std::path::Path::new(name).file_stem().is_some_and(|stem| stem == PLUGIN)
}

/// The command line as it is parsed and as `--help` shows it: each flag with what its rule allows. The variables are left out
/// there, because their names follow from the flags'.
#[must_use]
pub fn command() -> clap::Command {
    explained(Cli::command())
}

fn explained(command: clap::Command) -> clap::Command {
    let explain = |arg: clap::Arg| {
        let Some(allowed) = config::allowed(&arg) else { return arg };
        let meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.help(format!("{meaning}: {allowed}")).hide_env(true).hide_possible_values(true)
    };
    command.mut_args(explain).mut_subcommands(explained)
}

/// The subcommands that do something, each with its words, like `run` and `poll due`.
#[must_use]
pub fn leaves(command: &clap::Command) -> Vec<(String, &clap::Command)> {
    let mut found = Vec::new();
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        let inner = leaves(subcommand);
        if inner.is_empty() {
            found.push((name.to_owned(), subcommand));
        }
        found.extend(inner.into_iter().map(|(words, leaf)| (format!("{name} {words}"), leaf)));
    }
    found
}

/// With where its value came from, which the settings themselves do not know.
fn located(bad: BadSetting, matches: &ArgMatches) -> BadSetting {
    let id = bad.flag().trim_start_matches('-').replace('-', "_");
    let mut flags = matches;
    while let Some((_, inner)) = flags.subcommand() {
        flags = inner;
    }
    let source = flags.try_contains_id(&id).ok().and_then(|_| flags.value_source(&id));
    bad.by_variable(source == Some(clap::parser::ValueSource::EnvVariable))
}

fn environment() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// Environment variables that look like settings and are none; most likely mistyped. Each once.
fn unknown_settings(names: impl Iterator<Item = String>) -> Vec<String> {
    let command = Cli::command();
    let known: Vec<String> = leaves(&command)
        .into_iter()
        .flat_map(|(_, leaf)| leaf.get_arguments())
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .collect();
    let mut unknown: Vec<String> = names.filter(|name| name.starts_with(ENV_PREFIX) && !known.contains(name)).collect();
    unknown.sort();
    unknown.dedup();
    unknown
}

/// Standard output, which is a contract and nothing else; a closed pipe is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// One line for a person.
fn complain(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn the_plugin_is_told_by_its_name_and_has_the_same_subcommands() {
        for (name, plugin) in
            [("kubectl-mcpgw", true), ("/usr/bin/kubectl-mcpgw", true), ("mcpgateway-operator", false), ("", false)]
        {
            assert_eq!(is_plugin(name.as_ref()), plugin, "{name}");
        }
        let (plugin, program) = (explained(Plugin::command()), command());
        plugin.clone().debug_assert();
        for (words, leaf) in leaves(&plugin) {
            let same = program.find_subcommand(&words).unwrap();
            assert_eq!(same.get_about().unwrap().to_string(), leaf.get_about().unwrap().to_string());
        }
    }

    #[test]
    fn every_setting_of_run_has_its_environment_variable() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let flags: Vec<_> = run.get_arguments().filter(|argument| argument.get_id() != "help").collect();
        assert!(flags.len() > 30);
        for flag in flags {
            let long = flag.get_long().unwrap();
            let expected = config::variable(long);
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(expected.as_str()), "--{long}");
        }
    }

    #[test]
    fn mistyped_variables_are_found_each_once() {
        let names = ["MCPGW_REDIS_URI", "MCPGW_REDIS_URL", "PATH", "MCPGW_REDIS_URI", "MCPGW_"].map(str::to_owned);
        assert_eq!(unknown_settings(names.into_iter()), ["MCPGW_", "MCPGW_REDIS_URI"]);
    }

    #[test]
    fn every_flag_that_takes_a_value_says_what_is_allowed() {
        let command = command();
        for (words, leaf) in leaves(&command) {
            for arg in leaf.get_arguments().filter(|arg| arg.get_id() != "help") {
                assert!(config::allowed(arg).is_some(), "{words} --{}", arg.get_id());
                assert!(arg.get_help().is_some(), "{words} --{}", arg.get_id());
            }
        }
    }
}
