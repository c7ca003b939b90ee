//! Why Redis could not be used, by what a person has to do about it. Pure.
//!
//! Redis' own words are shown as far as they cannot hold a secret. Some servers repeat the arguments of a refused
//! command, and one of those is a password: only known phrases of an answer to the login count. The words of an answer to
//! another command are kept, without arguments and without URLs. [`super::redis_error`] reads the answers.

use std::fmt;

/// How much of an operating system's or TLS library's text is shown.
pub(super) const SHOWN_CHARS: usize = 200;

/// Why Redis could not be used. No text in it contains a password or the user info of a URL. As a string: a stable word
/// for conditions and logs.
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr, thiserror::Error)]
pub enum Error {
    /// The file of `--redis-password-file` could not be read.
    #[error("the file of --redis-password-file cannot be read: {0}")]
    PasswordFileUnreadable(std::io::ErrorKind),
    /// The file of `--redis-ca-file` could not be read, or holds no certificate.
    #[error("the file of --redis-ca-file cannot be read as PEM certificates")]
    CaFileUnreadable,
    /// The files of `--redis-client-cert-file` and `--redis-client-key-file` could not be read, or do not belong
    /// together.
    #[error(
        "the files of --redis-client-cert-file and --redis-client-key-file cannot be read as a PEM certificate and its \
         private key"
    )]
    ClientIdentityUnreadable,
    /// There is no connection, or it broke.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// There was no answer in time; the call may have taken effect.
    #[error("Redis did not answer in time: looking up its name, connecting, or a command")]
    TimedOut,
    /// User name or password are wrong or missing.
    #[error("Redis refused the login: check --redis-username and --redis-password-file")]
    LoginRefused,
    /// The user lacks a permission.
    #[error("permission denied: the ACL of Redis does not allow this user {0}")]
    NoPermission(Denied),
    /// The database that the URL names does not exist.
    #[error("Redis refused SELECT {number}: it has no database {number}; correct the number in --redis-url")]
    NoSuchDatabase {
        /// The number of the database.
        number: i64,
    },
    /// `DENIED`: the server is in protected mode.
    #[error("DENIED: Redis is in protected mode and takes no connections from other hosts: give it a password")]
    ProtectedMode,
    /// The server has as many clients as it may have.
    #[error("max number of clients reached: raise maxclients of Redis, or find the clients that hold connections")]
    TooManyClients,
    /// A Redis Cluster: the readers do not support it, and the keys are in different slots.
    #[error("this is a Redis Cluster, which the gateways cannot read: use a standalone Redis or Valkey")]
    ClusterRefused,
    /// A Sentinel's own port.
    #[error("this is a Redis Sentinel, which holds no keys: use the address of the Redis that it monitors")]
    SentinelRefused,
    /// Too old for the commands that the scripts use.
    #[error("Redis {found} is too old: use 6.2 or later, or Valkey")]
    TooOld {
        /// The version that it reports.
        found: String,
    },
    /// `OOM`: the memory limit is reached, and nothing may be evicted.
    #[error("Redis is out of memory: raise maxmemory, or let it evict other keys")]
    OutOfMemory,
    /// `READONLY`: a replica, or a primary that was demoted.
    #[error("this Redis is a read-only replica: use the address of the primary")]
    ReadOnly,
    /// `LOADING`: it has just started.
    #[error("Redis is still loading its data")]
    Loading,
    /// `MISCONF`: it cannot save, and refuses writes because of that.
    #[error("Redis refuses writes because it cannot save to disk: see its own log")]
    CannotSave,
    /// `NOREPLICAS`: too few replicas are connected for a write.
    #[error("NOREPLICAS: Redis refuses writes because too few replicas are connected (min-replicas-to-write)")]
    NotEnoughReplicas,
    /// `MASTERDOWN`: a replica that has lost its primary.
    #[error("MASTERDOWN: this Redis is a replica that has lost its primary")]
    PrimaryDown,
    /// Renamed or switched off.
    #[error("Redis does not know the command {command}: it was renamed or switched off, or Redis is older than 6.2")]
    UnknownCommand {
        /// The command as we sent it.
        command: String,
    },
    /// Any other error code.
    #[error("Redis refused a command with the error code {code}{said}")]
    Refused {
        /// The code: the first word of Redis' answer.
        code: String,
        /// The other words.
        said: Said,
    },
    /// The staged sets are incomplete: lost, evicted, or expired. Nothing was published.
    #[error("a part of the staged publication is missing; nothing was published")]
    StagingLost,
    /// An answer that our scripts never give.
    #[error("Redis gave an unexpected answer")]
    UnexpectedReply,
}

/// What an ACL does not allow. Printed as `the command GET on the key k`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Denied {
    /// Empty if it is unknown.
    pub command: String,
    /// The key; `None` if the command is not allowed on any.
    pub key: Option<String>,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.command.as_str(), &self.key) {
            ("", _) => f.write_str("a command or key that is needed"),
            (command, None) => write!(f, "the command {command}"),
            (command, Some(key)) => write!(f, "the command {command} on the key {key}"),
        }
    }
}

/// The words of a server, made fit to be shown; empty if there are none. Printed as `: words`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(String);

impl Said {
    /// Leaves out what may be an argument of ours: what follows "with args", URLs, and long words.
    pub(super) fn new(words: &str) -> Self {
        const LONGEST: usize = 40;
        let words = words.split(", with args").next().unwrap_or_default();
        let shown =
            |word: &str| word.len() <= LONGEST && !word.contains("//") && word.bytes().all(|b| b.is_ascii_graphic());
        let words: Vec<&str> =
            words.split_ascii_whitespace().map(|word| if shown(word) { word } else { "…" }).collect();
        Self(words.join(" ").chars().take(SHOWN_CHARS).collect())
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

impl Error {
    /// Whether it lasts until a person changes something; the others may pass by themselves.
    pub const fn needs_a_person(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable(_)
                | Self::TimedOut
                | Self::Loading
                | Self::PrimaryDown
                | Self::StagingLost
                | Self::UnexpectedReply
        )
    }

    /// Whether the connection can still be used. Any other error may mean "not me" or "not now": the name may lead to
    /// another server by now, which takes what this one refused. A connection that did not answer may never answer.
    /// After a refused login the password file is read again.
    pub(super) fn spares_connection(&self) -> bool {
        matches!(self, Self::NoPermission(_) | Self::UnknownCommand { .. } | Self::StagingLost) || self.is_wrong_type()
    }

    /// Whether the server has answered at all.
    pub(crate) const fn is_answer(&self) -> bool {
        !matches!(
            self,
            Self::PasswordFileUnreadable(_)
                | Self::CaFileUnreadable
                | Self::ClientIdentityUnreadable
                | Self::Unreachable(_)
                | Self::TimedOut
        )
    }

    /// A command was used on a key of another type.
    pub(super) fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "WRONGTYPE")
    }

    /// The command is denied, or the server does not know it.
    pub(super) const fn is_about_the_command(&self) -> bool {
        matches!(self, Self::NoPermission(_) | Self::UnknownCommand { .. })
    }

    /// `code`: the first word of an answer, such as `OOM`. `words`: the others, of which only known phrases count.
    pub(super) fn from_words(code: &str, words: &str) -> Self {
        match code {
            "NOAUTH" | "WRONGPASS" => Self::LoginRefused,
            "NOPERM" => Self::NoPermission(Denied::default()),
            "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" | "TRYAGAIN" => Self::ClusterRefused,
            "OOM" => Self::OutOfMemory,
            "READONLY" => Self::ReadOnly,
            "LOADING" => Self::Loading,
            "MISCONF" => Self::CannotSave,
            "NOREPLICAS" => Self::NotEnoughReplicas,
            "MASTERDOWN" => Self::PrimaryDown,
            "DENIED" => Self::ProtectedMode,
            "ERR" if words.starts_with("max number of clients") => Self::TooManyClients,
            "ERR" if words.starts_with("unknown command") || words.starts_with("unknown subcommand") => {
                Self::UnknownCommand { command: "that was sent".to_owned() }
            }
            other => {
                let plain = |c: &char| c.is_ascii_uppercase() || *c == '_';
                Self::Refused { code: other.chars().filter(plain).take(20).collect(), said: Said::default() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_become_errors() {
        assert_eq!(Error::from_words("OOM", ""), Error::OutOfMemory);
        assert_eq!(Error::from_words("MOVED", ""), Error::ClusterRefused);
        assert_eq!(Error::from_words("NOAUTH", ""), Error::LoginRefused);
        assert_eq!(Error::from_words("ERR", "max number of clients reached"), Error::TooManyClients);
        let odd = Error::from_words("WEIRD\r\nplanted-password", "planted");
        assert_eq!(odd, Error::Refused { code: "WEIRD".into(), said: Said::default() });
        assert_eq!(<&str>::from(odd), "Refused");
    }

    #[test]
    fn only_an_answer_about_the_command_keeps_the_connection() {
        for code in "NOREPLICAS MASTERDOWN OOM MISCONF LOADING READONLY CLUSTERDOWN TRYAGAIN UNBLOCKED BUSY NOAUTH \
                     DENIED MOVED EXECABORT NOPROTO NOGOODSLAVE STALE ERR"
            .split_ascii_whitespace()
        {
            assert!(!Error::from_words(code, "").spares_connection(), "{code}");
        }
        for (code, words) in [("NOPERM", ""), ("WRONGTYPE", ""), ("ERR", "unknown command 'x'")] {
            assert!(Error::from_words(code, words).spares_connection(), "{code}");
        }
    }
}
