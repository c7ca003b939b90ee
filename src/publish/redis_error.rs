//! Reads the errors of the Redis client.

use redis::{ErrorKind, RedisError, ServerError};

use super::error::{Denied, Error, SHOWN_CHARS, Said};

/// A command that was refused, by what may be shown of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusable {
    pub command: String,
    pub key: Option<String>,
}

impl Error {
    /// The answer to a command that holds no secret. `sent` says which command has this place in the pipeline.
    pub(super) fn answer(error: RedisError, sent: impl FnOnce(usize) -> Refusable) -> Self {
        match first_answer(&error) {
            Some((place, first)) => Self::refused(&first, &sent(place)),
            None => error.into(),
        }
    }

    fn refused(answer: &ServerError, sent: &Refusable) -> Self {
        let words = answer.details().unwrap_or_default();
        let Refusable { command, key } = sent.clone();
        match Self::from_words(answer.code(), words) {
            // Our own scripts say which of their commands they cannot use.
            Self::NoPermission(_) if let Some((command, key)) = needed_by_script(words) => {
                Self::NoPermission(Denied { command, key })
            }
            Self::NoPermission(_) => {
                // "No permissions to access a key", or "… to run the 'get' command".
                let about_key = words.contains("key") && !words.contains("command");
                Self::NoPermission(Denied { command, key: key.filter(|_| about_key) })
            }
            Self::UnknownCommand { .. } => {
                Self::UnknownCommand { command: needed_by_script(words).map_or(command, |(command, _)| command) }
            }
            Self::Refused { code, .. } => Self::Refused { code, said: Said::new(words) },
            error => error,
        }
    }
}

/// The first refusal in a pipeline, and its place: the others follow from it.
fn first_answer(error: &RedisError) -> Option<(usize, ServerError)> {
    error.clone().into_server_errors()?.first().cloned()
}

/// What `scripts/fence.lua` answers: `… this script needs COMMAND on KEY`.
fn needed_by_script(words: &str) -> Option<(String, Option<String>)> {
    let (command, key) = words.split_once("this script needs ")?.1.split_once(" on ")?;
    Some((command.to_owned(), Some(key.to_owned()).filter(|key| !key.is_empty())))
}

/// For answers to the login too: nothing of the text is kept.
impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::LoginRefused,
            ErrorKind::Io | ErrorKind::Client | ErrorKind::InvalidClientConfig => {
                // Texts of the operating system and of the TLS library, which know neither URL nor password.
                let clean = |c: char| if c.is_control() { ' ' } else { c };
                Self::Unreachable(error.to_string().chars().take(SHOWN_CHARS).map(clean).collect())
            }
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::UnexpectedReply,
            _ => match first_answer(&error) {
                Some((_, first)) => Self::from_words(first.code(), first.details().unwrap_or_default()),
                None => Self::from_words(error.code().unwrap_or_default(), error.detail().unwrap_or_default()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_of_a_refused_command_are_not_repeated() {
        let repeated = redis::make_extension_error("ERR".into(), Some("unknown command AUTH planted".into()));
        let error = Error::from(repeated);
        assert!(!format!("{error} {error:?}").contains("planted"));
    }

    #[test]
    fn what_redis_says_is_named_without_what_we_sent() {
        let sent = || Refusable { command: "SADD".into(), key: Some("mcpgateway:k".into()) };
        let named = |code: &str, words: &str| {
            let answer = redis::make_extension_error(code.into(), Some(words.into()));
            Error::answer(answer, |_| sent()).to_string()
        };
        for (code, words, shown) in [
            ("BUSY", "Redis is busy running a script. You can only call SCRIPT KILL.", "BUSY: Redis is busy running"),
            ("NOREPLICAS", "Not enough good replicas to write.", "NOREPLICAS"),
            ("MASTERDOWN", "Link with MASTER is down", "MASTERDOWN"),
            ("DENIED", "Redis is running in protected mode because", "DENIED"),
            ("UNBLOCKED", "force unblock from blocking operation", "UNBLOCKED: force unblock"),
            ("NOPERM", "User u has no permissions to run the 'sadd' command", "the command SADD"),
            ("NOPERM", "No permissions to access a key", "the command SADD on the key mcpgateway:k"),
            ("NOPERM", "this user has no permissions to access one of the keys used as arguments", "on the key mcpg"),
            ("NOPERM", "this script needs SET on mcpgateway:term", "the command SET on the key mcpgateway:term"),
            ("ERR", "unknown command `SADD`, with args beginning with: `planted`", "the command SADD"),
            ("ERR", "value of https://h/planted is bad", "ERR: value of … is bad"),
            ("ERR", "too long, with args beginning with: planted", "ERR: too long"),
        ] {
            let text = named(code, words);
            assert!(text.contains(shown) && !text.contains("planted"), "{code} {words}: {text}");
        }
    }
}
