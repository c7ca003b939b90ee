//! The scripts and their answers. Pure: [`super::connection`] sends them.
//!
//! A script is the only way in which this program writes a key that readers see, and every script begins with
//! `scripts/fence.lua`: a write without it would bypass the fence.

use std::sync::OnceLock;

use redis::Value;

use super::NotWritten;
use super::error::Error;
use super::foreign_holder::{ForeignHolder, OtherHolder};
use super::keys::{LockHolder, OwnerId};
use super::publication::Publication;
use crate::model::Term;

/// A script behind the fence; `T` is what it answers when the fence lets it pass.
#[derive(Debug)]
pub(super) struct Script<T> {
    text: &'static str,
    hash: OnceLock<String>,
    /// Reads the name of the answer and what follows Redis' time.
    read: fn(&[u8], &[Value]) -> Result<T, Error>,
}

macro_rules! behind_the_fence {
    ($file:literal, $read:path) => {
        Script {
            text: concat!(include_str!("scripts/fence.lua"), include_str!(concat!("scripts/", $file))),
            hash: OnceLock::new(),
            read: $read,
        }
    };
}

/// Makes a staged publication visible. Answers whether that took the lock from a foreign holder.
pub(super) static PUBLISH: Script<bool> = behind_the_fence!("publish.lua", displaced);
/// Applies a difference. Answers the same; `None` if Redis does not hold the base of the difference.
pub(super) static CHANGE: Script<Option<bool>> = behind_the_fence!("change.lua", displaced_unless_other_base);
/// Renews the lock and, if asked to, the publication.
pub(super) static RENEW: Script<StoredKeys> = behind_the_fence!("renew.lua", stored_keys);
/// Takes the publication out of Redis.
pub(super) static WITHDRAW: Script<()> = behind_the_fence!("withdraw.lua", withdrawn);

/// The answer of a script that passed the fence and found that it must not write.
const BASE: &[u8] = b"Base";

/// One call of a script, without the moment after which it must do nothing: that is known when it is sent.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) text: &'static str,
    pub(super) hash: &'static str,
    pub(super) keys: Vec<String>,
    /// `ARGV[2]` and following.
    pub(super) args: Vec<Vec<u8>>,
}

impl<T> Script<T> {
    pub(super) fn call(&'static self, keys: Vec<String>, args: Vec<Vec<u8>>) -> Call {
        let hash = self.hash.get_or_init(|| redis::Script::new(self.text).get_hash().to_owned());
        Call { text: self.text, hash, keys, args }
    }

    /// Reads an answer, and whether the lock is ours after it.
    pub(super) fn answer(&self, reply: &[Value], owner: &OwnerId) -> Result<(T, bool), NotWritten> {
        let [Value::BulkString(name), Value::Int(_), values @ ..] = reply else {
            return Err(Error::UnexpectedReply.into());
        };
        match (name.as_slice(), values) {
            (b"TooLate", []) => Err(NotWritten::TooLate),
            (b"Fenced", [Value::Int(by)]) => {
                Err(Term::new(*by).map_or(NotWritten::Failed(Error::UnexpectedReply), |by| NotWritten::Fenced { by }))
            }
            (b"NotHeld", [Value::BulkString(kind), Value::BulkString(value), Value::Int(publishes)]) => {
                let kind = String::from_utf8_lossy(kind).into_owned();
                Err(match LockHolder::parse(&kind, value, owner) {
                    LockHolder::OtherRelease(owner) => NotWritten::NotHeld(OtherHolder::Release(owner)),
                    LockHolder::Foreign(_) => {
                        let holder = ForeignHolder { kind, value: value.clone(), publishes: *publishes == 1 };
                        NotWritten::NotHeld(OtherHolder::Program(holder))
                    }
                    LockHolder::Nobody | LockHolder::Ours { .. } => Error::UnexpectedReply.into(),
                })
            }
            (name, values) => Ok(((self.read)(name, values)?, name != BASE)),
        }
    }
}

impl Call {
    /// The command that runs it: by its hash, or with its text, which Redis then remembers.
    pub(super) fn command(&self, by_hash: bool, not_after: i64) -> redis::Cmd {
        let (name, script) = if by_hash { ("EVALSHA", self.hash) } else { ("EVAL", self.text) };
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(not_after).arg(&self.args);
        command
    }
}

/// Redis' time in an answer, in microseconds.
pub(super) fn time_of(reply: &[Value]) -> Option<i64> {
    match reply {
        [_, Value::Int(time), ..] => Some(*time),
        _ => None,
    }
}

/// The four keys of a publication, as a renewal found them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKeys {
    /// The bytes of the metadata; `None` if the key is absent or of a wrong type.
    pub metadata: Option<Vec<u8>>,
    /// The bytes of the timestamp; `None` likewise.
    pub timestamp: Option<Vec<u8>>,
    /// Members of the hot set, 0 if the key is absent; `None` if it is of a wrong type.
    pub hot: Option<usize>,
    /// Members of the cold set, likewise.
    pub cold: Option<usize>,
    /// Whether any of the four keys exists, of whatever type.
    pub any: bool,
}

impl StoredKeys {
    /// Whether they are as this publication left them.
    pub(super) fn are(&self, publication: &Publication) -> bool {
        let Self { metadata, timestamp, hot, cold, any: _ } = self;
        metadata.as_deref() == Some(publication.metadata().as_bytes())
            && timestamp.as_deref() == Some(publication.timestamp().as_bytes())
            && *hot == Some(publication.hot().len())
            && *cold == Some(publication.cold().len())
    }
}

fn displaced(name: &[u8], values: &[Value]) -> Result<bool, Error> {
    match (name, values) {
        (b"Published", [Value::Int(displaced)]) => Ok(*displaced == 1),
        (b"Staging", []) => Err(Error::StagingLost),
        _ => Err(Error::UnexpectedReply),
    }
}

fn displaced_unless_other_base(name: &[u8], values: &[Value]) -> Result<Option<bool>, Error> {
    if name == BASE { Ok(None) } else { displaced(name, values).map(Some) }
}

fn withdrawn(name: &[u8], values: &[Value]) -> Result<(), Error> {
    if (name, values) == (b"Withdrawn", &[]) { Ok(()) } else { Err(Error::UnexpectedReply) }
}

fn stored_keys(name: &[u8], values: &[Value]) -> Result<StoredKeys, Error> {
    let (b"Renewed", [metadata, timestamp, Value::Int(hot), Value::Int(cold), Value::Int(any)]) = (name, values) else {
        return Err(Error::UnexpectedReply);
    };
    // The script answers -1 for a key of a wrong type.
    let members = |count: &i64| usize::try_from(*count).ok();
    let (metadata, timestamp) = (text(metadata)?, text(timestamp)?);
    Ok(StoredKeys { metadata, timestamp, hot: members(hot), cold: members(cold), any: *any == 1 })
}

fn text(value: &Value) -> Result<Option<Vec<u8>>, Error> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes.clone())),
        _ => Err(Error::UnexpectedReply),
    }
}
