//! Errors in the command line itself: one line on standard error that names the flag and what is allowed, and exit code
//! 2. Help and version are answers.
//!
//! clap's own messages are not used as they are: they take several lines, do not say what a rule allows, and repeat
//! words that may hold a secret.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

use super::print_to_stderr;
use crate::config::{BadSetting, allowed, flag_name};

/// How many characters of an unknown flag are printed.
const MAX_FLAG_CHARS: usize = 60;

/// Prints the help, the version or the error, and returns the exit code. `words`: the command line with the program.
pub(super) fn report(error: &Error, command: &Command, words: &[OsString]) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        _ => {
            print_to_stderr(&format!("error: {}", message(error, command, words)));
            ExitCode::from(2)
        }
    }
}

fn message(error: &Error, command: &Command, words: &[OsString]) -> String {
    let (name, subcommand) = find_subcommand(command, words);
    let argument = context(error, ContextKind::InvalidArg);
    match error.kind() {
        // The error of a rule is one line already.
        ErrorKind::ValueValidation => first_paragraph(error),
        ErrorKind::UnknownArgument => match negative_value(subcommand, words) {
            Some(bad) => bad.to_string(),
            None => {
                unexpected_argument(&argument.unwrap_or_default(), context(error, ContextKind::SuggestedArg), &name)
            }
        },
        ErrorKind::InvalidSubcommand => {
            let similar = match error.get(ContextKind::SuggestedSubcommand) {
                Some(ContextValue::Strings(names)) => names.first().map(|name| format!("; did you mean {name}?")),
                _ => None,
            };
            let names: Vec<&str> = subcommand.get_subcommands().map(Command::get_name).collect();
            format!("unrecognized subcommand: use {}{}", names.join(", "), similar.unwrap_or_default())
        }
        kind => {
            let flag = argument.and_then(|argument| find_argument(subcommand, &argument));
            match flag.and_then(|arg| Some((flag_name(arg), allowed(arg)?))) {
                Some((flag, _)) if kind == ErrorKind::ArgumentConflict => {
                    BadSetting::new(&flag, "give it only once").to_string()
                }
                Some((flag, allowed)) => format!("'{flag}' needs a value: use {allowed}"),
                None => first_paragraph(error),
            }
        }
    }
}

/// The subcommand in a command line, and the words that call it, such as `mcpgateway-operator poll due`.
fn find_subcommand<'a>(command: &'a Command, words: &[OsString]) -> (String, &'a Command) {
    let program = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let (mut name, mut found) = (program.to_owned(), command);
    for word in words.iter().skip(1) {
        let Some(inner) = found.find_subcommand(word) else { break };
        name = format!("{name} {}", inner.get_name());
        found = inner;
    }
    (name, found)
}

/// clap reads a value such as `-5s` as flags, because it is not a number. This finds the flag before it.
fn negative_value(subcommand: &Command, words: &[OsString]) -> Option<BadSetting> {
    words.windows(2).find_map(|pair| {
        let value = pair[1].to_str()?;
        let is_negative = value.strip_prefix('-')?.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let arg = find_argument(subcommand, pair[0].to_str()?).filter(|_| is_negative)?;
        Some(BadSetting::new(&flag_name(arg), format!("use {}", allowed(arg)?)).given(value))
    })
}

/// Repeats the name of an unknown flag only: any other word may be a password whose flag is missing.
fn unexpected_argument(word: &str, similar: Option<String>, subcommand: &str) -> String {
    let flag = word.split('=').next().unwrap_or_default();
    let is_flag_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !flag.starts_with('-') || flag == "-" || !flag.bytes().all(is_flag_byte) {
        return format!("unexpected argument (not shown: it may be a secret); see {subcommand} --help");
    }
    let similar = similar.map(|similar| format!("; did you mean {similar}?")).unwrap_or_default();
    let flag: String = flag.chars().take(MAX_FLAG_CHARS).collect();
    format!("unexpected argument '{flag}'{similar} (see {subcommand} --help)")
}

/// Finds the argument in a text such as `--flag <VALUE>`, `-f` or `<WORD>`.
fn find_argument<'a>(subcommand: &'a Command, text: &str) -> Option<&'a Arg> {
    let word = text.split([' ', '=']).next()?;
    subcommand.get_arguments().find(|arg| {
        let is_short = arg.get_short().is_some_and(|short| word.strip_prefix('-') == Some(short.to_string().as_str()));
        let is_positional = arg.is_positional() && word.trim_matches(['<', '>']) == flag_name(arg);
        is_short || is_positional || arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
    })
}

fn context(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// clap's message on one line, without the usage after it.
fn first_paragraph(error: &Error) -> String {
    let message = error.to_string();
    let paragraph = message.lines().take_while(|line| !line.trim().is_empty());
    let line = paragraph.map(str::trim).collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").map_or_else(|| line.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_for(words: &[&str]) -> String {
        let command = crate::cli::command();
        let words: Vec<OsString> = ["mcpgateway-operator"].iter().chain(words).map(OsString::from).collect();
        message(&command.clone().try_get_matches_from(&words).unwrap_err(), &command, &words)
    }

    #[test]
    fn each_error_is_one_line_that_says_what_to_do() {
        for (words, parts) in [
            (&["run", "--hot-fraction", "2"][..], &["'2'", "'--hot-fraction'", "a number from 0 to 1"][..]),
            (&["run", "--classification-interval", "60"], &["did you mean 60s?"]),
            (&["run", "--classification-interval", "-5s"], &["'-5s'", "'--classification-interval'", "1s to 24h"]),
            (&["run", "--redis-url"], &["'--redis-url'", "redis://"]),
            (&["run", "--min-hot", "--hot-fraction", "0.1"], &["'--min-hot'", "a whole number"]),
            (&["run", "--min-hot", "1", "--min-hot", "2"], &["'--min-hot'", "once"]),
            (&["run", "--redis-urll", "x"], &["unexpected argument '--redis-urll'", "did you mean --redis-url?"]),
            (&["run", "--log-format", "xml"], &["text or json"]),
            (&["status", "-o", "xml"], &["'--output'", "table or json"]),
            (&["classify"], &["--filename", "--usage"]),
            (&["rum"], &["did you mean run?", "classify"]),
            (&["poll", "dew"], &["unrecognized subcommand", "due, completed"]),
            (&["poll", "due", "--url"], &["'--url'", "http:// or https://"]),
            (&["poll", "due", "--urll", "x"], &["'--urll'", "did you mean --url?", "poll due --help"]),
            (&["poll", "due", "--hot-poll-interval", "-5s"], &["'-5s'", "'--hot-poll-interval'", "1s to 720h"]),
        ] {
            let line = message_for(words);
            assert!(!line.contains('\n'), "{words:?}: {line}");
            for part in parts {
                assert!(line.contains(part), "{words:?}: {line} lacks {part}");
            }
        }
    }

    #[test]
    fn a_word_without_a_flag_is_not_repeated() {
        for words in [
            &["run", "redis://:planted@h"][..],
            &["run", "--redis-username", "u", "planted"],
            &["run", "--password=planted"],
            &["planted"],
            &["run", "--", "planted"],
            &["run", "-- planted"],
            &["crd", "planted"],
            &["poll", "planted"],
            &["poll", "due", "planted"],
            &["poll", "due", "--url", "https://h/?token=planted"],
        ] {
            assert!(!message_for(words).contains("planted"), "{words:?}: {}", message_for(words));
        }
    }
}
