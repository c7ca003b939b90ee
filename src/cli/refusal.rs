//! What is said of a command line that cannot be parsed: one line on standard error that names the flag and what is allowed, and
//! exit code 2. Help and version are answers. Must not repeat what may hold a secret.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Error};

use super::complain;
use crate::config::{BadSetting, allowed, flag_of};

/// As much of an unknown word as is repeated.
const SHOWN_CHARS: usize = 60;

/// Answers, or complains in one line. `given`: the command line, with the name of the program.
pub(super) fn refuse(error: &Error, command: &Command, given: &[OsString]) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        _ => {
            complain(&format!("error: {}", line(error, command, given)));
            ExitCode::from(2)
        }
    }
}

/// The line, without its `error: `.
fn line(error: &Error, command: &Command, given: &[OsString]) -> String {
    let (words, subcommand) = asked(command, given);
    let about = text_of(error, ContextKind::InvalidArg);
    match error.kind() {
        // What a rule has refused is a line already.
        ErrorKind::ValueValidation => first_paragraph(error),
        ErrorKind::UnknownArgument => {
            let unknown = about.unwrap_or_default();
            match negative_value(subcommand, given) {
                Some(bad) => bad.to_string(),
                None => unexpected(&unknown, text_of(error, ContextKind::SuggestedArg), &words),
            }
        }
        ErrorKind::InvalidSubcommand => {
            let near = match error.get(ContextKind::SuggestedSubcommand) {
                Some(ContextValue::Strings(names)) => names.first().map(|name| format!("; did you mean {name}?")),
                _ => None,
            };
            let names: Vec<&str> = subcommand.get_subcommands().map(Command::get_name).collect();
            format!("no such subcommand: use {}{}", names.join(", "), near.unwrap_or_default())
        }
        _ => {
            let flag = about.and_then(|about| find(subcommand, &about));
            match flag.and_then(|arg| Some((flag_of(arg), allowed(arg)?))) {
                Some((flag, _)) if error.kind() == ErrorKind::ArgumentConflict => {
                    format!("bad setting '{flag}': give it once")
                }
                Some((flag, allowed)) => format!("'{flag}' needs a value: use {allowed}"),
                None => first_paragraph(error),
            }
        }
    }
}

/// The subcommand that was asked for, and its words after those by which the program is called: of `poll due --url …` these end
/// with ` poll due`.
fn asked<'a>(command: &'a Command, given: &[OsString]) -> (String, &'a Command) {
    let program = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let (mut words, mut found) = (program.to_owned(), command);
    for word in given.iter().skip(1) {
        let Some(inner) = found.find_subcommand(word) else { break };
        words = format!("{words} {}", inner.get_name());
        found = inner;
    }
    (words, found)
}

/// `-5s` is no number, so clap takes it for flags; it is the value of the flag before it.
fn negative_value(subcommand: &Command, given: &[OsString]) -> Option<BadSetting> {
    given.windows(2).find_map(|pair| {
        let value = pair[1].to_str()?;
        let digit = value.strip_prefix('-')?.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let arg = find(subcommand, pair[0].to_str()?).filter(|_| digit)?;
        Some(BadSetting::new(&flag_of(arg), format!("use {}", allowed(arg)?)).given(value))
    })
}

/// A word that stands where none is expected. Only a flag's name is repeated: anything else may be a password that has lost
/// its flag.
fn unexpected(word: &str, near: Option<String>, words: &str) -> String {
    let name = word.split('=').next().unwrap_or_default();
    let plain = name.starts_with('-') && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !plain || name == "-" {
        return format!("a word without a flag before it (not repeated here): see {words} --help");
    }
    let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    let name: String = name.chars().take(SHOWN_CHARS).collect();
    format!("no such flag: '{name}'{near} (see {words} --help)")
}

/// The argument that a text like `--flag <VALUE>`, `-f` or `<WORD>` speaks of.
fn find<'a>(subcommand: &'a Command, text: &str) -> Option<&'a Arg> {
    let word = text.split([' ', '=']).next()?;
    subcommand.get_arguments().find(|arg| {
        let short = arg.get_short().is_some_and(|short| word.strip_prefix('-') == Some(short.to_string().as_str()));
        let named = arg.is_positional() && word.trim_matches(['<', '>']) == flag_of(arg);
        named || short || arg.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long))
    })
}

fn text_of(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// clap's message without its usage, which takes several lines, folded.
fn first_paragraph(error: &Error) -> String {
    let message = error.to_string();
    let paragraph = message.lines().take_while(|line| !line.trim().is_empty());
    let line = paragraph.map(str::trim).collect::<Vec<_>>().join(" ");
    line.strip_prefix("error: ").map_or_else(|| line.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> String {
        let command = crate::cli::command();
        let given: Vec<OsString> = ["mcpgateway-operator"].iter().chain(words).map(OsString::from).collect();
        line(&command.clone().try_get_matches_from(&given).unwrap_err(), &command, &given)
    }

    #[test]
    fn each_kind_of_mistake_is_one_line_that_says_what_to_do() {
        for (words, parts) in [
            (&["run", "--hot-fraction", "2"][..], &["'2'", "'--hot-fraction'", "a number from 0 to 1"][..]),
            (&["run", "--classification-interval", "60"], &["did you mean 60s?"]),
            (&["run", "--classification-interval", "-5s"], &["'-5s'", "'--classification-interval'", "1s to 24h"]),
            (&["run", "--redis-url"], &["'--redis-url'", "redis://"]),
            (&["run", "--min-hot", "--hot-fraction", "0.1"], &["'--min-hot'", "a whole number"]),
            (&["run", "--min-hot", "1", "--min-hot", "2"], &["'--min-hot'", "once"]),
            (&["run", "--redis-urll", "x"], &["'--redis-urll'", "did you mean --redis-url?"]),
            (&["run", "--log-format", "xml"], &["text or json"]),
            (&["status", "-o", "xml"], &["'--output'", "table or json"]),
            (&["classify"], &["--filename", "--usage"]),
            (&["rum"], &["did you mean run?", "classify"]),
            (&["poll", "dew"], &["no such subcommand", "due, completed"]),
            (&["poll", "due", "--url"], &["'--url'", "http:// or https://"]),
            (&["poll", "due", "--urll", "x"], &["'--urll'", "did you mean --url?", "poll due --help"]),
            (&["poll", "due", "--hot-poll-interval", "-5s"], &["'-5s'", "'--hot-poll-interval'", "1s to 720h"]),
        ] {
            let line = said(words);
            assert!(!line.contains('\n'), "{words:?}: {line}");
            for part in parts {
                assert!(line.contains(part), "{words:?}: {line} lacks {part}");
            }
        }
    }

    #[test]
    fn what_has_lost_its_flag_is_not_repeated() {
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
            assert!(!said(words).contains("planted"), "{words:?}: {}", said(words));
        }
    }
}
