//! The command line: parsing, dispatch and exit codes. See docs/contract.md#command-line.
//!
//! Exit codes: 0 done, 1 failed, 2 bad usage with one line that names the flag, its value and what is allowed. The exit
//! code of `poll due` is its answer: 0 due, 1 not due. `plan --fail-above` exits with 3.

mod args;
mod classify;
mod cluster;
mod doctor;
mod explain;
mod fleet;
mod import;
mod live;
mod manifests;
mod poll;
mod record;
mod usage_error;
mod what_if;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches};

use crate::config::{self, BadSetting, BadSettings, ENV_PREFIX};

pub use args::Cli;
pub(crate) use args::Command;
use args::{ClassifyArgs, Output, StatusArgs};

/// The name of the binary when kubectl runs it as the plugin `kubectl mcpgw`.
const PLUGIN: &str = "kubectl-mcpgw";

/// Parses the command line of this process, runs the subcommand, and returns the exit code.
pub fn main() -> ExitCode {
    let words = with_cluster_flags_last(std::env::args_os().collect());
    let definition = if words.first().is_some_and(|name| is_plugin(name)) { plugin_command() } else { command() };
    let parsed = definition.clone().try_get_matches_from(&words);
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?.command, matches)));
    let (command, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage_error::report(&error, &definition, &words),
    };
    let unknown = unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()));
    run(command, &unknown).unwrap_or_else(|error| {
        let BadSettings(bad) = match error.downcast() {
            Ok(bad) => bad,
            Err(error) => {
                print_to_stderr(&format!("error: {error:#}"));
                return ExitCode::FAILURE;
            }
        };
        // A setting may be missing because its variable is misspelled.
        unknown.iter().for_each(|name| print_to_stderr(&format!("warning: unknown environment variable {name}")));
        bad.into_iter().for_each(|bad| print_to_stderr(&format!("error: {}", with_source(bad, &matches))));
        ExitCode::from(2)
    })
}

/// Runs a subcommand. `unknown`: see [`unknown_variables`].
fn run(command: Command, unknown: &[String]) -> anyhow::Result<ExitCode> {
    let (text, code) = match command {
        Command::Run(args) => return crate::run::run(*args, unknown).map(|()| ExitCode::SUCCESS),
        Command::Poll(command) => return poll::poll(&command),
        Command::Doctor(args) => doctor::doctor(*args)?,
        Command::Plan(args) => what_if::what_if(*args)?,
        Command::Record(args) => return record::record(*args).map(|()| ExitCode::SUCCESS),
        Command::Crd => (crate::api::crds_yaml(), ExitCode::SUCCESS),
        Command::Classify(args) => (classify::classify(&args)?, ExitCode::SUCCESS),
        Command::Status(args) => (fleet::status(args)?, ExitCode::SUCCESS),
        Command::Explain(args) => (explain::explain(*args)?, ExitCode::SUCCESS),
        Command::Import(args) => (import::import(*args)?, ExitCode::SUCCESS),
    };
    print(&text)?;
    Ok(code)
}

/// Moves the flags that select a cluster from before the subcommand to after it. kubectl accepts them in both places.
fn with_cluster_flags_last(mut words: Vec<OsString>) -> Vec<OsString> {
    let mut subcommand = 1;
    while let Some(word) = words.get(subcommand).and_then(|word| word.to_str()) {
        let (flag, value) = word.split_once('=').map_or((word, None), |(flag, value)| (flag, Some(value)));
        subcommand += match flag {
            "--kubeconfig" | "--context" | "--namespace" | "-n" => 1 + usize::from(value.is_none()),
            _ if flag.starts_with("-n") => 1,
            _ => break,
        };
    }
    if words.get(subcommand).is_some_and(|word| !word.to_string_lossy().starts_with('-')) {
        words[1..=subcommand].rotate_right(1);
    }
    words
}

/// Whether kubectl runs the program as its plugin.
fn is_plugin(name: &std::ffi::OsStr) -> bool {
    std::path::Path::new(name).file_stem().is_some_and(|stem| stem == PLUGIN)
}

/// The definition of the command line. The help of each flag says what is allowed.
pub fn command() -> clap::Command {
    with_allowed_values(Cli::command())
}

/// The definition of the kubectl plugin: the same program, with the subcommands for users of a cluster.
fn plugin_command() -> clap::Command {
    let program = command();
    let subcommands = ["status", "explain"].into_iter().filter_map(|name| program.find_subcommand(name).cloned());
    clap::Command::new(PLUGIN)
        .bin_name("kubectl mcpgw")
        .display_name("kubectl mcpgw")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Shows the status of a fleet of MCP gateways, and explains the tiers of its servers")
        .max_term_width(100)
        .arg_required_else_help(true)
        .subcommand_required(true)
        // The examples call the program by its other name.
        .subcommands(subcommands.map(|subcommand| subcommand.after_help(None::<&str>)))
}

/// Adds to the help of each flag what its rule allows. Leaves the environment variables out, because their names follow
/// from those of the flags.
fn with_allowed_values(command: clap::Command) -> clap::Command {
    let extend_help = |arg: clap::Arg| {
        let Some(allowed) = config::allowed(&arg) else { return arg };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        arg.help(format!("{help} [allowed: {allowed}]")).hide_env(true).hide_possible_values(true)
    };
    command.mut_args(extend_help).mut_subcommands(with_allowed_values)
}

/// The subcommands that have no subcommands of their own, by name, such as `run` and `poll due`.
pub fn subcommands(command: &clap::Command) -> Vec<(String, &clap::Command)> {
    let mut found = Vec::new();
    for subcommand in command.get_subcommands() {
        let name = subcommand.get_name();
        let inner = subcommands(subcommand);
        if inner.is_empty() {
            found.push((name.to_owned(), subcommand));
        }
        found.extend(inner.into_iter().map(|(inner_name, inner)| (format!("{name} {inner_name}"), inner)));
    }
    found
}

/// Adds to an error whether the value came from the environment, which the settings themselves do not know.
fn with_source(bad: BadSetting, matches: &ArgMatches) -> BadSetting {
    let id = bad.flag.trim_start_matches('-').replace('-', "_");
    let mut flags = matches;
    while let Some((_, inner)) = flags.subcommand() {
        flags = inner;
    }
    let source = flags.try_contains_id(&id).ok().and_then(|_| flags.value_source(&id));
    bad.set_by_variable(source == Some(clap::parser::ValueSource::EnvVariable))
}

/// Environment variables with our prefix that are not settings, without duplicates. They are probably misspelled.
fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let command = Cli::command();
    let known: Vec<String> = subcommands(&command)
        .into_iter()
        .flat_map(|(_, subcommand)| subcommand.get_arguments())
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .collect();
    let mut unknown: Vec<String> = names.filter(|name| name.starts_with(ENV_PREFIX) && !known.contains(name)).collect();
    unknown.sort();
    unknown.dedup();
    unknown
}

/// Writes the output of a subcommand to standard output. A closed pipe is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// Writes one line to standard error.
fn print_to_stderr(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn the_plugin_is_recognized_by_its_name_and_has_the_same_subcommands() {
        for (name, plugin) in
            [("kubectl-mcpgw", true), ("/usr/bin/kubectl-mcpgw", true), ("mcpgateway-operator", false), ("", false)]
        {
            assert_eq!(is_plugin(name.as_ref()), plugin, "{name}");
        }
        let (plugin, program) = (plugin_command(), command());
        plugin.clone().debug_assert();
        assert_eq!(subcommands(&plugin).len(), 2);
        for (name, subcommand) in subcommands(&plugin) {
            let same = program.find_subcommand(&name).unwrap();
            assert_eq!(same.get_about().unwrap().to_string(), subcommand.get_about().unwrap().to_string());
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
    fn classify_compares_last_used_times_exactly_by_default() {
        let resolution = |more: &[&str]| {
            let words = ["mcpgateway-operator", "classify", "-f", "fleet", "--usage", "usage"];
            let cli = Cli::try_parse_from(words.iter().chain(more)).unwrap();
            let Command::Classify(args) = cli.command else { panic!("not classify") };
            args.ranking_params().recency_resolution
        };
        assert_eq!(resolution(&[]), Duration::ZERO);
        assert_eq!(resolution(&["--recency-resolution", "60s"]), Duration::from_mins(1));
        // The help of each command states its own default.
        let command = command();
        for (name, default) in [("run", "--classification-interval by default"), ("classify", "exact by default")] {
            let subcommand = command.find_subcommand(name).unwrap();
            let mut arguments = subcommand.get_arguments();
            let help = arguments.find(|arg| arg.get_id() == "recency_resolution").unwrap().get_help().unwrap();
            assert!(help.to_string().contains(default), "{name}: {help}");
        }
    }

    #[test]
    fn misspelled_variables_are_found_without_duplicates() {
        let names = ["MCPGW_REDIS_URI", "MCPGW_REDIS_URL", "PATH", "MCPGW_REDIS_URI", "MCPGW_"].map(str::to_owned);
        assert_eq!(unknown_variables(names.into_iter()), ["MCPGW_", "MCPGW_REDIS_URI"]);
    }

    #[test]
    fn every_flag_that_takes_a_value_says_what_is_allowed() {
        let command = command();
        for (name, subcommand) in subcommands(&command) {
            for arg in subcommand.get_arguments().filter(|arg| arg.get_id() != "help") {
                let takes_value = arg.is_positional() || arg.get_action().takes_values();
                assert!(config::allowed(arg).is_some() || !takes_value, "{name} --{}", arg.get_id());
                assert!(arg.get_help().is_some(), "{name} --{}", arg.get_id());
            }
        }
    }
}
