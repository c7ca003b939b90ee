//! What stands in Redis of the polls that gateways have done, and who holds the lock. IO, reading only, one round trip.
//!
//! In: at the most [`MOST`] polls. Out: [`Traces`], to be judged in [`crate::poll::compliance`]; for `doctor` also [`Seen`].

use std::time::Duration;

use redis::Value;

use super::connection::Link;
use super::error::Error;
use super::keys::Keys;
use super::settings::RedisAccess;
use super::store::{CALL_LIMIT, Store};
use crate::model::Tier;
use crate::poll::compliance::{MOST, SERVICE_LEADER, Trace, Traces};
use crate::poll::{MAX_STAMP_BYTES, Poll, Stamp};

/// What `doctor` wants to know of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Of the polls asked about.
    pub traces: Traces,
    /// The value of the lock; `None` if nobody holds it. A stranger's text.
    pub lock: Option<String>,
    /// Whether a publication stands there.
    pub published: bool,
}

impl Store {
    /// Looks at these polls.
    ///
    /// # Errors
    /// Why Redis did not say.
    pub async fn traces(&self, polls: &[Poll]) -> Result<Traces, Error> {
        traces(&self.main, &self.keys, polls).await
    }
}

/// Looks at a Redis that this process does nothing else with.
///
/// # Errors
/// Why Redis did not say.
pub async fn look(access: RedisAccess, key_prefix: &str, polls: &[Poll]) -> Result<Seen, Error> {
    access.parsed()?;
    let keys = Keys::new(key_prefix).ok_or(Error::BadPrefix)?;
    let link = Link::new(access);
    let mut view = redis::pipe();
    view.cmd("TYPE").arg(&keys.lock).exists(&keys.timestamp);
    let (kind, published): (String, bool) = link.view(CALL_LIMIT, &view).await?;
    let lock = match kind.as_str() {
        "none" => None,
        "string" => {
            let value: Vec<u8> = link.query(CALL_LIMIT, redis::cmd("GETRANGE").arg(&keys.lock).arg(0).arg(511)).await?;
            Some(String::from_utf8_lossy(&value).into_owned())
        }
        other => Some(format!("a key of type {other}")),
    };
    Ok(Seen { traces: traces(&link, &keys, polls).await?, lock, published })
}

async fn traces(link: &Link, keys: &Keys, polls: &[Poll]) -> Result<Traces, Error> {
    let mut view = redis::pipe();
    view.exists(SERVICE_LEADER);
    let polls = &polls[..polls.len().min(MOST)];
    for poll in polls {
        let key = keys.poll_state(&poll.url, poll.gateway.as_ref(), poll.kind);
        for set in [&keys.hot, &keys.cold] {
            view.sismember(set, poll.url.expose());
        }
        view.pttl(&key).getrange(&key, 0, isize::try_from(MAX_STAMP_BYTES).unwrap_or(isize::MAX));
    }
    let mut answers = link.view::<Vec<Value>>(CALL_LIMIT, &view).await?.into_iter();
    let mut next = || answers.next().ok_or(Error::UnexpectedReply);
    let service_leader = number(&next()?)? > 0;
    let mut traces = Vec::with_capacity(polls.len());
    for _ in polls {
        let (hot, cold, left, value) = (number(&next()?)?, number(&next()?)?, number(&next()?)?, next()?);
        let Value::BulkString(value) = value else { return Err(Error::UnexpectedReply) };
        let tier = if hot > 0 { Some(Tier::Hot) } else { (cold > 0).then_some(Tier::Cold) };
        // What `PTTL` says: -2 of a key that is not there, -1 of one that does not end.
        let (stamp, left) = match u64::try_from(left) {
            Ok(left) => (Stamp::read(&value), Some(Duration::from_millis(left))),
            Err(_) if left == -1 => (Stamp::read(&value), None),
            Err(_) => (Stamp::Absent, None),
        };
        traces.push(Trace { tier, stamp, left });
    }
    Ok(Traces { service_leader, traces })
}

fn number(value: &Value) -> Result<i64, Error> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Boolean(truth) => Ok(i64::from(*truth)),
        _ => Err(Error::UnexpectedReply),
    }
}
