//! Why Redis could not be used, by what a person has to do about it. Pure.
//!
//! Of a server's text only the error code is passed on: some servers repeat the arguments of a refused command, and one
//! of those is a password.

use redis::{ErrorKind, RedisError};

/// How much of an operating system's or TLS library's text is shown.
const SHOWN_CHARS: usize = 200;

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
    /// There is no connection, or it broke.
    #[error("Redis cannot be reached: {0}")]
    Unreachable(String),
    /// There was no answer in time; the call may have taken effect.
    #[error("Redis did not answer in time")]
    TimedOut,
    /// User name or password are wrong or missing.
    #[error("Redis refused the login: check --redis-username and --redis-password-file")]
    LoginRefused,
    /// The user lacks a permission.
    #[error("permission denied: the ACL of Redis does not allow this user a command or key that is needed")]
    NoPermission,
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
    /// Any other error code.
    #[error("Redis refused a command with the error code {code}")]
    Refused {
        /// The code: the first word of Redis' answer.
        code: String,
    },
    /// The staged sets are incomplete: lost, evicted, or expired. Nothing was published.
    #[error("a part of the staged publication is missing; nothing was published")]
    StagingLost,
    /// An answer that our scripts never give.
    #[error("Redis gave an unexpected answer")]
    UnexpectedReply,
}

impl Error {
    /// Whether it lasts until a person changes something; the others may pass by themselves.
    pub const fn needs_a_person(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable(_) | Self::TimedOut | Self::Loading | Self::StagingLost | Self::UnexpectedReply
        )
    }

    /// Whether the connection can still be used. One that did not answer may never answer. The name of a demoted
    /// primary may lead to its successor by now. After a refused login the password file is read again.
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

    /// A command was used on a key of another type.
    pub(super) fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Refused { code } if code == "WRONGTYPE")
    }

    /// `code`: the error code of an answer, such as `OOM`.
    fn from_code(code: &str) -> Self {
        match code {
            "NOAUTH" | "WRONGPASS" => Self::LoginRefused,
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
            ErrorKind::AuthenticationFailed => Self::LoginRefused,
            ErrorKind::Io | ErrorKind::Client | ErrorKind::InvalidClientConfig => {
                // Texts of the operating system and of the TLS library, which know neither URL nor password.
                let clean = |c: char| if c.is_control() { ' ' } else { c };
                Self::Unreachable(error.to_string().chars().take(SHOWN_CHARS).map(clean).collect())
            }
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::UnexpectedReply,
            // The first error of a pipeline: the others follow from it.
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
    fn error_codes_become_errors() {
        assert_eq!(Error::from_code("OOM"), Error::OutOfMemory);
        assert_eq!(Error::from_code("MOVED"), Error::ClusterRefused);
        assert_eq!(Error::from_code("NOAUTH"), Error::LoginRefused);
        let odd = Error::from_code("WEIRD\r\nplanted-password");
        assert_eq!(odd, Error::Refused { code: "WEIRD".into() });
        assert_eq!(<&str>::from(odd), "Refused");
    }

    #[test]
    fn the_arguments_of_a_refused_command_are_not_repeated() {
        let repeated = redis::make_extension_error("ERR".into(), Some("unknown command AUTH planted".into()));
        let error = Error::from(repeated);
        assert!(!format!("{error} {error:?}").contains("planted"));
    }
}
