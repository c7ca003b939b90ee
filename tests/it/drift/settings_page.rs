//! Writes `docs/settings.md` from the definitions of the flags.

use std::fmt::Write;

use clap::{Arg, ArgAction, CommandFactory};
use mcpgateway_operator::cli::{Cli, subcommands};
use mcpgateway_operator::config::{allowed, flag_name};

const HEAD: &str = "\
# Settings

<!-- Written by `make generate` from the definitions of the flags (src/config/{args,polls,redis}.rs and
     src/cli/{args,cluster,doctor,explain,import,live,poll,record,what_if}.rs). Do not edit. -->

- **Flags and variables.** Every flag of `run` has an environment variable: `--redis-url` is `MCPGW_REDIS_URL`. The
  flag wins if both are given. The operator warns at start about each variable that begins with `MCPGW_` and is not a
  setting: it is probably misspelled.
- **Empty values** are refused (except for `--watch-selector`). To get the default, leave the setting out.
- **Repeatable** flags can be given several times, or once with commas: `--watch-namespace a,b`. In a variable, use
  commas: `MCPGW_WATCH_NAMESPACE=a,b`. All other flags can be given once.
- **Durations** need a unit: `500ms`, `90s`, `1h30m`. A bare number is refused, except `0`. **Sizes** are in bytes, or
  in `Ki`, `Mi`, `Gi`.
- **Files** (tokens, passwords, certificates, keys) are read when they are needed, so a rotated Secret takes effect
  without a restart, and a Secret that is not mounted yet does not keep the operator from starting. A file that cannot
  be read is reported where it is used. The files for the workers are read before each collection, those for Redis at
  each new connection, the API token at each request.
- **Invalid settings** end the program at start with exit code 2. Each is one line on standard error, with the flag or
  variable, the value (unless it may hold a secret), and what is allowed. Invalid values are reported first, one at a
  time; then all settings that conflict with each other, together.
- **Exit codes**: 0 done, 1 failed, 2 bad usage. `doctor`: 1 if it found a problem. `poll due`: 0 due (also if an
  error kept it from finding out), 1 not due, 2 bad usage. `plan`: 3 if `--fail-above` is exceeded.
";

/// The page.
pub(super) fn settings_page() -> String {
    let mut page = HEAD.to_owned();
    let cli = Cli::command();
    for (name, subcommand) in subcommands(&cli) {
        let args: Vec<&Arg> = subcommand.get_arguments().filter(|arg| allowed(arg).is_some()).collect();
        if args.is_empty() {
            continue;
        }
        let _ = write!(page, "\n## `{name}`\n");
        for heading in headings(&args) {
            let group: Vec<&Arg> = args.iter().copied().filter(|arg| arg.get_help_heading() == heading).collect();
            table(&mut page, &name, heading, &group);
        }
    }
    page
}

/// The headings, in the order of their first flags.
fn headings<'a>(args: &[&'a Arg]) -> Vec<Option<&'a str>> {
    let mut headings = Vec::new();
    for heading in args.iter().map(|arg| arg.get_help_heading()) {
        if !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    headings
}

fn table(page: &mut String, subcommand: &str, heading: Option<&str>, args: &[&Arg]) {
    if let Some(heading) = heading {
        let _ = write!(page, "\n### {heading} (`{subcommand}`)\n");
    }
    page.push_str("\n| flag | variable | default | meaning | allowed |\n|---|---|---|---|---|\n");
    for arg in args {
        let repeatable = if matches!(arg.get_action(), ArgAction::Append) { " (repeatable)" } else { "" };
        let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let value = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
        let variable = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
        // A flag without a value is false by default.
        let has_value = arg.get_action().takes_values();
        let default = arg.get_default_values().first().filter(|_| has_value);
        let default = default.map(|value| format!("`{}`", value.to_string_lossy()));
        let default = default.unwrap_or_else(|| if arg.is_required_set() { "required" } else { "" }.to_owned());
        let meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (name, allowed) = (flag_name(arg), allowed(arg).unwrap_or_default());
        let usage = if arg.is_positional() || !has_value { name } else { format!("{name} {value}") };
        let (meaning, allowed) = (cell(&meaning), cell(&allowed));
        let _ = writeln!(page, "| {short}`{usage}`{repeatable} | {variable} | {default} | {meaning} | {allowed} |");
    }
}

/// Escapes a text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('[', "\\[").replace('<', "&lt;")
}
