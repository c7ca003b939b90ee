//! What can be wrong with Redis, told apart by what the reader of the log has to do. Pure.
//!
//! In: errors of the client. Out: [`Error`]. No text of a server is passed on but its error code: some servers repeat
//! the arguments of a refused command, and one of those is a password.

use redis::{ErrorKind, RedisError};

/// As much of an operating system's or TLS library's text as is ever shown.
const SHOWN_CHARS: usize = 200;

/// Why Redis could not be used. No text in it contains a password or the user info of a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `--redis-url` does not name a Redis. The text is not repeated.
    #[error("--redis-url is no Redis URL: use redis://HOST:PORT/DB or rediss://HOST:PORT/DB")]
    BadUrl,
    /// `--redis-key-prefix` cannot start a key.
    #[error("--redis-key-prefix: use 1 to 200 printable ASCII characters without blanks")]
    BadPrefix,
    /// The file of `--redis-password-file` could not be read.
    #[error("the file of --redis-password-file cannot be read: {0}")]
    PasswordFile(std::io::ErrorKind),
    /// The file of `--redis-ca-file` could not be read, or holds no certificate.
    #[error("the file of --redis-ca-file cannot be read as PEM certificates")]
    CaFile,
    /// No connection, or it broke.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time; whether the call took effect is not known.
    #[error("Redis did not answer in time")]
    TimedOut,
    /// User name or password are wrong or missing.
    #[error("Redis refused the login: check --redis-username and --redis-password-file")]
    Auth,
    /// The user may not do what is needed.
    #[error("Redis' ACL does not allow this user a command or key that is needed")]
    NoPermission,
    /// A Redis Cluster: the readers know none, and the keys lie in different slots.
    #[error("this is a Redis Cluster, which the gateways cannot read: use a standalone Redis or Valkey")]
    ClusterRefused,
    /// A Sentinel's own port.
    #[error("this is a Redis Sentinel, which holds no keys: use the address of the Redis that it watches")]
    SentinelRefused,
    /// Too old for what the scripts use.
    #[error("Redis {found} is too old: use 6.2 or later, or Valkey")]
    TooOld {
        /// The version that it reports.
        found: String,
    },
    /// `OOM`: no room, and nothing may be evicted.
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
    /// Any other error code.
    #[error("Redis refused a command with the error code {code}")]
    Refused {
        /// The code: the first word of Redis' answer.
        code: String,
    },
    /// What was staged is not there in full: lost, evicted, or expired. Nothing was published.
    #[error("a part of the staged publication is gone; nothing was published")]
    StagingLost,
    /// An answer of a shape that our own scripts never give.
    #[error("Redis gave an answer of an unexpected shape")]
    UnexpectedReply,
}

impl Error {
    /// A stable word for conditions, events and metric labels.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BadUrl => "BadUrl",
            Self::BadPrefix => "BadPrefix",
            Self::PasswordFile(_) => "PasswordFileUnreadable",
            Self::CaFile => "CaFileUnreadable",
            Self::Unreachable(_) => "Unreachable",
            Self::TimedOut => "TimedOut",
            Self::Auth => "LoginRefused",
            Self::NoPermission => "NoPermission",
            Self::ClusterRefused => "ClusterRefused",
            Self::SentinelRefused => "SentinelRefused",
            Self::TooOld { .. } => "TooOld",
            Self::OutOfMemory => "OutOfMemory",
            Self::ReadOnly => "ReadOnly",
            Self::Loading => "Loading",
            Self::CannotSave => "CannotSave",
            Self::Refused { .. } => "Refused",
            Self::StagingLost => "StagingLost",
            Self::UnexpectedReply => "UnexpectedReply",
        }
    }

    /// Whether it lasts until a person changes something; the others may pass by themselves.
    #[must_use]
    pub const fn needs_a_person(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable(_) | Self::TimedOut | Self::Loading | Self::StagingLost | Self::UnexpectedReply
        )
    }

    /// Whether the connection may be used again. One that is silent may stay so; a demoted primary's name may by now
    /// lead to its successor; a refused login deserves another look at the password file.
    pub(super) const fn spares_connection(&self) -> bool {
        matches!(
            self,
            Self::NoPermission
                | Self::OutOfMemory
                | Self::Loading
                | Self::CannotSave
                | Self::Refused { .. }
                | Self::StagingLost
        )
    }

    /// A command met a key of another type.
    pub(super) fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Refused { code } if code == "WRONGTYPE")
    }

    /// By the code of an answer of Redis, such as `OOM`.
    fn from_code(code: &str) -> Self {
        match code {
            "NOAUTH" | "WRONGPASS" => Self::Auth,
            "NOPERM" => Self::NoPermission,
            "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" | "TRYAGAIN" => Self::ClusterRefused,
            "OOM" => Self::OutOfMemory,
            "READONLY" => Self::ReadOnly,
            "LOADING" => Self::Loading,
            "MISCONF" => Self::CannotSave,
            other => {
                let plain = |c: &char| c.is_ascii_uppercase() || *c == '_';
                Self::Refused { code: other.chars().filter(plain).take(20).collect() }
            }
        }
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Auth,
            ErrorKind::Io | ErrorKind::Client | ErrorKind::InvalidClientConfig => {
                // The texts of the operating system and of the TLS library, which know neither URL nor password.
                let clean = |c: char| if c.is_control() { ' ' } else { c };
                Self::Unreachable(error.to_string().chars().take(SHOWN_CHARS).map(clean).collect())
            }
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::UnexpectedReply,
            // The first of a pipeline's errors stands for all: the rest are its consequences.
            _ => match error.clone().into_server_errors().as_deref() {
                Some([(_, first), ..]) => Self::from_code(first.code()),
                _ => Self::from_code(error.code().unwrap_or_default()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_advice() {
        assert_eq!(Error::from_code("OOM"), Error::OutOfMemory);
        assert_eq!(Error::from_code("MOVED"), Error::ClusterRefused);
        assert_eq!(Error::from_code("NOAUTH"), Error::Auth);
        let odd = Error::from_code("WEIRD\r\nplanted-password");
        assert_eq!(odd, Error::Refused { code: "WEIRD".into() });
        assert_eq!(odd.reason(), "Refused");
    }

    #[test]
    fn a_refused_command_does_not_bring_its_arguments_along() {
        let repeated = redis::make_extension_error("ERR".into(), Some("unknown command AUTH planted".into()));
        let error = Error::from(repeated);
        assert!(!format!("{error} {error:?}").contains("planted"));
    }
}
