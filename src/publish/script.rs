//! The scripts and their answers. Pure: [`super::connection`] sends them.
//!
//! A script is the only way in which this program writes a key that readers see, and every script begins with
//! `scripts/fence.lua`: a write without it would bypass the fence.

use redis::{FromRedisValue, Value};

use super::NotWritten;
use super::error::Error;
use super::foreign_holder::ForeignHolder;
use super::keys::{LockHolder, OwnerId};
use super::publication::Publication;
use crate::model::Term;

macro_rules! behind_the_fence {
    ($file:literal) => {
        concat!(include_str!("scripts/fence.lua"), include_str!(concat!("scripts/", $file)))
    };
}

/// Makes a staged publication visible. Answers [`Answer::Published`].
pub(super) const PUBLISH: &str = behind_the_fence!("publish.lua");
/// Applies a difference. Answers [`Answer::Published`] or [`Answer::OtherBase`].
pub(super) const CHANGE: &str = behind_the_fence!("change.lua");
/// Renews the lock and, if asked to, the publication. Answers [`Answer::Renewed`].
pub(super) const RENEW: &str = behind_the_fence!("renew.lua");
/// Takes the publication out of Redis. Answers [`Answer::Withdrawn`].
pub(super) const WITHDRAW: &str = behind_the_fence!("withdraw.lua");

/// What a script answers when the fence lets it pass.
#[derive(Debug)]
pub(super) enum Answer {
    /// Readers see the publication. Whether that took the lock from a foreign holder.
    Published { displaced: bool },
    /// Redis does not hold the base of the difference, and nothing was written: neither the lock.
    OtherBase,
    /// The lock is ours.
    Renewed(StoredKeys),
    /// The publication is gone.
    Withdrawn,
}

impl Answer {
    pub(super) fn read(reply: &[Value], owner: &OwnerId) -> Result<Self, NotWritten> {
        let [Value::BulkString(name), Value::Int(_), values @ ..] = reply else {
            return Err(Error::UnexpectedReply.into());
        };
        Err(match (name.as_slice(), values) {
            (b"Published", [Value::Int(displaced)]) => return Ok(Self::Published { displaced: *displaced == 1 }),
            (b"Base", []) => return Ok(Self::OtherBase),
            (b"Renewed", values) => return Ok(Self::Renewed(StoredKeys::read(values)?)),
            (b"Withdrawn", []) => return Ok(Self::Withdrawn),
            (b"Staging", []) => Error::StagingLost.into(),
            (b"TooLate", []) => NotWritten::TooLate,
            (b"Fenced", [Value::Int(by), Value::Int(_)]) => {
                NotWritten::Fenced { by: Term::new(*by).ok_or(Error::UnexpectedReply)? }
            }
            (b"NotHeld", [Value::BulkString(kind), Value::BulkString(value), Value::Int(publishes)]) => {
                let kind = String::from_utf8_lossy(kind).into_owned();
                match LockHolder::parse(&kind, value, owner) {
                    LockHolder::OtherRelease(owner) => NotWritten::OtherRelease(owner),
                    LockHolder::Foreign(_) => {
                        NotWritten::Foreign(ForeignHolder { kind, value: value.clone(), publishes: *publishes == 1 })
                    }
                    LockHolder::Nobody | LockHolder::Ours { .. } => Error::UnexpectedReply.into(),
                }
            }
            _ => Error::UnexpectedReply.into(),
        })
    }
}

/// Whether the lock is our owner's at a term that refused ours.
pub(super) fn refused_by_our_owner(reply: &[Value]) -> bool {
    let [Value::BulkString(name), _, Value::Int(by), Value::Int(lock)] = reply else { return false };
    name == b"Fenced" && by == lock
}

/// The keys of a publication, as a renewal found them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKeys {
    /// `None` if the key is absent or of a wrong type.
    pub metadata: Option<Vec<u8>>,
    /// `None` likewise.
    pub timestamp: Option<Vec<u8>>,
    /// Members of the hot set, 0 if the key is absent; `None` if it is of a wrong type.
    pub hot: Option<usize>,
    /// Members of the cold set, likewise.
    pub cold: Option<usize>,
    /// Fields of the refresh plan, likewise.
    pub planned: Option<usize>,
    /// Whether any of the keys exists, of whatever type.
    pub any: bool,
}

impl StoredKeys {
    fn read(values: &[Value]) -> Result<Self, Error> {
        let (metadata, timestamp, hot, cold, planned, any): (_, _, i64, i64, i64, _) =
            FromRedisValue::from_redis_value(Value::Array(values.to_vec())).map_err(|_| Error::UnexpectedReply)?;
        // The script answers -1 for a key of a wrong type.
        let count = |count| usize::try_from(count).ok();
        let [hot, cold, planned] = [hot, cold, planned].map(count);
        Ok(Self { metadata, timestamp, hot, cold, planned, any })
    }

    /// Whether they are as this publication left them.
    pub(super) fn are(&self, publication: &Publication) -> bool {
        let Self { metadata, timestamp, hot, cold, planned, any: _ } = self;
        metadata.as_deref() == Some(publication.metadata.as_bytes())
            && timestamp.as_deref() == Some(publication.timestamp.as_bytes())
            && *hot == Some(publication.sizes.hot)
            && *cold == Some(publication.sizes.cold)
            && *planned == Some(publication.sizes.planned)
    }
}
