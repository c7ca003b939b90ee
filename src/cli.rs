//! The command line: parse, dispatch, exit codes. Shell.
//!
//! Exit codes (SPEC section 7): 0 done, 1 failed, 2 bad usage with one line that names flag, value and what is allowed.

mod args;
mod classify;
mod fleet;
mod manifests;
mod poll;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

pub use args::{ClassifyArgs, Cli, Command, Output, StatusArgs};
pub use poll::{PollArgs, PollCommand};

/// The prefix of the environment variables that are flags.
const ENV_PREFIX: &str = "MCPGW_";

/// Runs the command line of this process, to its end.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let done = match cli.command {
        Command::Run(args) => crate::run::run(*args, &unknown_settings(environment())),
        Command::Crd => print(&crate::api::crd_yaml()),
        Command::Classify(args) => classify::classify(&args).and_then(|text| print(&text)),
        Command::Status(args) => fleet::status(&args).and_then(|text| print(&text)),
        // The only one whose exit code is an answer.
        Command::Poll(command) => match poll::poll(*command) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is::<crate::config::BadSetting>() { 2 } else { 1 };
            complain(&format!("error: {error:#}"));
            ExitCode::from(code)
        }
    }
}

/// Help and version are answers; everything else is one line on standard error and exit code 2.
fn refuse(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        _ => {
            complain(&one_line(&error.to_string()));
            ExitCode::from(2)
        }
    }
}

/// clap's message without its usage, which takes several lines: the first paragraph, folded.
fn one_line(message: &str) -> String {
    let paragraph = message.lines().take_while(|line| !line.trim().is_empty());
    paragraph.map(str::trim).collect::<Vec<_>>().join(" ")
}

fn environment() -> impl Iterator<Item = String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())
}

/// Environment variables that look like settings and are none; most likely mistyped.
fn unknown_settings(names: impl Iterator<Item = String>) -> Vec<String> {
    let command = Cli::command();
    let known: Vec<String> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|argument| argument.get_env()?.to_str().map(str::to_owned))
        .collect();
    let mut unknown: Vec<String> = names.filter(|name| name.starts_with(ENV_PREFIX) && !known.contains(name)).collect();
    unknown.sort();
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
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_of_run_has_its_environment_variable() {
        let command = Cli::command();
        let run = command.find_subcommand("run").unwrap();
        let flags: Vec<_> = run.get_arguments().filter(|argument| argument.get_id() != "help").collect();
        assert!(flags.len() > 30);
        for flag in flags {
            let long = flag.get_long().unwrap();
            let expected = format!("{ENV_PREFIX}{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(expected.as_str()), "--{long}");
        }
    }

    #[test]
    fn mistyped_variables_are_found() {
        let names = ["MCPGW_REDIS_URI", "MCPGW_REDIS_URL", "PATH"].map(str::to_owned);
        assert_eq!(unknown_settings(names.into_iter()), ["MCPGW_REDIS_URI"]);
    }

    #[test]
    fn a_bad_value_is_told_in_one_line_that_names_the_flag() {
        let cases = [
            (vec!["--hot-fraction", "2"], "--hot-fraction"),
            (vec!["--classification-interval", "60"], "did you mean 60s?"),
            (vec!["--worker-concurrency", "many"], "--worker-concurrency"),
            (vec!["--redis-url"], "--redis-url"),
            (vec!["--no-such-flag"], "--no-such-flag"),
            (vec!["--log-format", "xml"], "text, json"),
        ];
        for (flags, named) in cases {
            let error = Cli::try_parse_from(["mcpgateway-operator", "run"].into_iter().chain(flags)).unwrap_err();
            let line = one_line(&error.to_string());
            assert!(line.contains(named) && !line.contains('\n'), "{line}");
        }
    }
}
