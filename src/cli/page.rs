//! `docs/settings.md`, written from the definitions of the flags. Pure text; a test holds the committed page against it.

use std::fmt::Write;

use clap::{Arg, ArgAction, CommandFactory};

use super::{Cli, leaves};
use crate::config::{allowed, flag_of};

const HEAD: &str = "\
# Settings

<!-- Written by `make generate` from the definitions of the flags (src/config/{args,polls}.rs, src/cli/{args,cluster,doctor,explain,import,poll}.rs). Do not edit. -->

- **Flag or variable.** Every flag of `run` has an environment variable: `--redis-url` is `MCPGW_REDIS_URL`. If both are given, the
  flag counts. A variable that begins with `MCPGW_` and is no setting is most likely mistyped, and is warned of at the start.
- **Empty values** are refused (but for `--watch-selector`): leave a setting out to have its default.
- **Repeatable** flags may be given several times, or once with commas: `--watch-namespace a,b`. In a variable, only the commas are
  left: `MCPGW_WATCH_NAMESPACE=a,b`. All others may be given once.
- **Durations** have a unit: `500ms`, `90s`, `1h30m`. A bare number is refused, but for `0`. **Sizes** are bytes, or `Ki`, `Mi`, `Gi`.
- **Files** (tokens, passwords, certificates, keys) are named here and read when they are needed, so a rotated Secret counts without a
  restart, and one that is not mounted yet does not keep the operator from starting: a file that cannot be read is reported where it is
  used. Those for the workers are read before each collection, those for Redis at each new connection, that of the API for each request.
- **Refusals.** Settings that cannot be end the program at the start with exit code 2 and one line each on standard error, which names
  the flag or the variable, the value (where it cannot hold a secret), and what is allowed. Values that are bad in themselves are found
  first, and one at a time; then everything that does not go together, all at once.
- **Exit codes**: 0 done, 1 failed, 2 bad usage. Of `doctor`: 1 if something is wrong. Of `poll due`: 0 due (also if that could not be found out), 1 not due, 2 bad usage.
";

/// The page.
#[must_use]
pub fn settings_page() -> String {
    let mut page = HEAD.to_owned();
    let cli = Cli::command();
    for (words, leaf) in leaves(&cli) {
        let own: Vec<&Arg> = leaf.get_arguments().filter(|arg| allowed(arg).is_some()).collect();
        if own.is_empty() {
            continue;
        }
        let _ = write!(page, "\n## `{words}`\n");
        for heading in headings(&own) {
            let group: Vec<&Arg> = own.iter().copied().filter(|arg| arg.get_help_heading() == heading).collect();
            table(&mut page, &words, heading, &group);
        }
    }
    page
}

/// In the order of their first flags.
fn headings<'a>(args: &[&'a Arg]) -> Vec<Option<&'a str>> {
    let mut found = Vec::new();
    for heading in args.iter().map(|arg| arg.get_help_heading()) {
        if !found.contains(&heading) {
            found.push(heading);
        }
    }
    found
}

fn table(page: &mut String, words: &str, heading: Option<&str>, args: &[&Arg]) {
    if let Some(heading) = heading {
        let _ = write!(page, "\n### {heading} (`{words}`)\n");
    }
    page.push_str("\n| flag | variable | default | meaning | allowed |\n|---|---|---|---|---|\n");
    for arg in args {
        let repeatable = if matches!(arg.get_action(), ArgAction::Append) { " (repeatable)" } else { "" };
        let short = arg.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
        let value = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
        let variable = arg.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
        let default = arg.get_default_values().first().map(|value| format!("`{}`", value.to_string_lossy()));
        let default = default.unwrap_or_else(|| if arg.is_required_set() { "required" } else { "" }.to_owned());
        let meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (flag, allowed) = (flag_of(arg), allowed(arg).unwrap_or_default());
        // A word without a flag is its value alone.
        let written = if arg.is_positional() { flag } else { format!("{flag} {value}") };
        let (meaning, allowed) = (cell(&meaning), cell(&allowed));
        let _ = writeln!(page, "| {short}`{written}`{repeatable} | {variable} | {default} | {meaning} | {allowed} |");
    }
}

/// Text that stays in its cell of a Markdown table, and as it is.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('[', "\\[").replace('<', "&lt;")
}
