//! The scripts and what they answer. Pure: [`super::connection`] sends them.
//!
//! A script is the only way in which this program writes a key that readers see, and every script starts with
//! `scripts/fence.lua`: a write that goes around it would go around the fence.

use std::sync::LazyLock;

use redis::{Script, Value};

use super::error::Error;
use super::foreign_holder::ForeignHolder;
use super::keys::{LockHolder, OwnerId};
use super::publication::Publication;
use crate::model::Term;

static PUBLISH: LazyLock<Source> =
    LazyLock::new(|| Source::new(concat!(include_str!("scripts/fence.lua"), include_str!("scripts/publish.lua"))));
static CHANGE: LazyLock<Source> =
    LazyLock::new(|| Source::new(concat!(include_str!("scripts/fence.lua"), include_str!("scripts/change.lua"))));
static RENEW: LazyLock<Source> =
    LazyLock::new(|| Source::new(concat!(include_str!("scripts/fence.lua"), include_str!("scripts/renew.lua"))));
static WITHDRAW: LazyLock<Source> =
    LazyLock::new(|| Source::new(concat!(include_str!("scripts/fence.lua"), include_str!("scripts/withdraw.lua"))));

/// A script's text, and the hash by which Redis knows it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) text: &'static str,
    pub(super) hash: String,
}

impl Source {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }
}

/// One call of a script, without the moment after which it must do nothing: that is known at sending.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) source: &'static Source,
    pub(super) keys: Vec<String>,
    /// `ARGV[2]` and following.
    pub(super) args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn publish(keys: Vec<String>, args: Vec<Vec<u8>>) -> Self {
        Self { source: &PUBLISH, keys, args }
    }

    pub(super) fn change(keys: Vec<String>, args: Vec<Vec<u8>>) -> Self {
        Self { source: &CHANGE, keys, args }
    }

    pub(super) fn renew(keys: Vec<String>, args: Vec<Vec<u8>>) -> Self {
        Self { source: &RENEW, keys, args }
    }

    pub(super) fn withdraw(keys: Vec<String>, args: Vec<Vec<u8>>) -> Self {
        Self { source: &WITHDRAW, keys, args }
    }

    /// The command that runs it: by its hash, or with its text, which Redis then remembers.
    pub(super) fn command(&self, by_hash: bool, not_after: i64) -> redis::Cmd {
        let (name, script) = if by_hash { ("EVALSHA", &*self.source.hash) } else { ("EVAL", self.source.text) };
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(not_after).arg(&self.args);
        command
    }
}

/// What the renewal found in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The bytes of the metadata; `None` if there are none or the key has a wrong type.
    pub metadata: Option<Vec<u8>>,
    /// The bytes of the timestamp; `None` likewise.
    pub timestamp: Option<Vec<u8>>,
    /// Members of the hot set, 0 if there is no such key; `None` if the key has a wrong type.
    pub hot: Option<usize>,
    /// Members of the cold set, likewise.
    pub cold: Option<usize>,
    /// Whether any of the four keys exists, of whatever type.
    pub any: bool,
}

impl Found {
    /// Whether this is what is found as long as nobody touches this publication.
    pub(super) fn is(&self, publication: &Publication) -> bool {
        let Self { metadata, timestamp, hot, cold, any: _ } = self;
        metadata.as_deref() == Some(publication.metadata().as_bytes())
            && timestamp.as_deref() == Some(publication.timestamp().as_bytes())
            && *hot == Some(publication.hot().len())
            && *cold == Some(publication.cold().len())
    }
}

/// The verdict of a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Published {
        /// Whether a foreign holder has lost the lock.
        displaced: bool,
    },
    Renewed(Found),
    Withdrawn,
    TooLate,
    Fenced(Option<Term>),
    NotHeld(LockHolder, ForeignHolder),
    /// What stands there is not the base of the difference.
    Base,
    StagingLost,
}

/// Redis' time in an answer, in microseconds.
pub(super) fn time_of(reply: &[Value]) -> Option<i64> {
    match reply {
        [_, Value::Int(time), ..] => Some(*time),
        _ => None,
    }
}

/// Reads an answer.
pub(super) fn verdict(reply: &[Value], owner: &OwnerId) -> Result<Verdict, Error> {
    let [Value::BulkString(name), Value::Int(_), rest @ ..] = reply else { return Err(Error::UnexpectedReply) };
    match (name.as_slice(), rest) {
        (b"Published", [Value::Int(displaced)]) => Ok(Verdict::Published { displaced: *displaced == 1 }),
        (b"TooLate", []) => Ok(Verdict::TooLate),
        (b"Base", []) => Ok(Verdict::Base),
        (b"Staging", []) => Ok(Verdict::StagingLost),
        (b"Fenced", [Value::Int(by)]) => Ok(Verdict::Fenced(Term::new(*by))),
        (b"NotHeld", [Value::BulkString(kind), Value::BulkString(value), Value::Int(publishes)]) => {
            let kind = String::from_utf8_lossy(kind).into_owned();
            let holder = LockHolder::parse(&kind, value, owner);
            Ok(Verdict::NotHeld(holder, ForeignHolder { kind, value: value.clone(), publishes: *publishes == 1 }))
        }
        (b"Withdrawn", []) => Ok(Verdict::Withdrawn),
        (b"Renewed", [metadata, timestamp, hot, cold, Value::Int(any)]) => Ok(Verdict::Renewed(Found {
            metadata: text(metadata)?,
            timestamp: text(timestamp)?,
            hot: members(hot)?,
            cold: members(cold)?,
            any: *any == 1,
        })),
        _ => Err(Error::UnexpectedReply),
    }
}

fn text(value: &Value) -> Result<Option<Vec<u8>>, Error> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes.clone())),
        _ => Err(Error::UnexpectedReply),
    }
}

/// The script says −1 for a key of a wrong type.
fn members(value: &Value) -> Result<Option<usize>, Error> {
    match value {
        Value::Int(count) => Ok(usize::try_from(*count).ok()),
        _ => Err(Error::UnexpectedReply),
    }
}
