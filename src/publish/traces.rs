//! The stamps that gateways leave of their polls, which [`crate::poll::compliance`] judges, and for `doctor` also the
//! lock. IO, reading only.

use std::time::Duration;

use redis::{FromRedisValue, Value};

use super::connection::{Freshness, Link};
use super::error::Error;
use super::keys::CONTEXTFORGE_LEADER;
use super::reader::tier;
use super::settings::RedisAccess;
use super::store::{CALL_LIMIT, Store};
use crate::clock::reference::ReferenceClock;
use crate::model::PlannedInterval;
use crate::poll::compliance::{MOST, Trace, Traces};
use crate::poll::{LastPoll, MAX_STAMP_BYTES, MAX_TTL_BYTES, Poll, Stamp};

/// What `doctor` reads of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisInspection {
    pub traces: Traces,
    /// The value of the lock; `None` if nobody holds it. Another program's text, not cleaned.
    pub lock: Option<String>,
    pub published: bool,
}

impl Store {
    /// Reads the stamps of these polls, at most [`MOST`], in one round trip.
    pub(crate) async fn traces(&self, polls: &[Poll]) -> Result<Traces, Error> {
        traces(&self.main, polls).await
    }
}

/// Reads a Redis on a connection of its own.
pub(crate) async fn inspect(access: RedisAccess, polls: &[Poll]) -> Result<RedisInspection, Error> {
    let link = Link::new(access, Freshness::new(CALL_LIMIT), ReferenceClock::default());
    let keys = link.keys();
    let mut view = redis::pipe();
    view.cmd("TYPE").arg(&keys.lock).exists(&keys.timestamp);
    let (kind, published): (String, bool) = link.query_all(CALL_LIMIT, &view).await?;
    let lock = match kind.as_str() {
        "none" => None,
        "string" => {
            let value: Vec<u8> = link.query(CALL_LIMIT, redis::cmd("GETRANGE").arg(&keys.lock).arg(0).arg(511)).await?;
            Some(String::from_utf8_lossy(&value).into_owned())
        }
        other => Some(format!("a key of type {other}")),
    };
    Ok(RedisInspection { traces: traces(&link, polls).await?, lock, published })
}

/// Whether the server is in hot, and in cold; life and value of its stamp; its planned interval; the ttl of its list.
type Row = (bool, bool, i64, Vec<u8>, Option<Vec<u8>>, Vec<u8>);

async fn traces(link: &Link, polls: &[Poll]) -> Result<Traces, Error> {
    let polls = &polls[..polls.len().min(MOST)];
    // Whatever is wrong with plan or ttl, the rest is read without them.
    match traces_with(link, polls, true).await {
        Err(error) if error.is_wrong_type() || error.is_about_the_command() => traces_with(link, polls, false).await,
        traces => traces,
    }
}

async fn traces_with(link: &Link, polls: &[Poll], plan: bool) -> Result<Traces, Error> {
    let keys = link.keys();
    let mut view = redis::pipe();
    view.exists(CONTEXTFORGE_LEADER);
    for poll in polls {
        let key = keys.poll_state(&poll.url, poll.gateway.as_ref(), poll.kind);
        let ttl_key = keys.poll_ttl(&poll.url, poll.gateway.as_ref(), poll.kind);
        for set in [&keys.hot, &keys.cold] {
            view.sismember(set, poll.url.expose());
        }
        view.pttl(&key).getrange(&key, 0, isize::try_from(MAX_STAMP_BYTES).unwrap_or(isize::MAX));
        if plan {
            view.hget(&keys.intervals, poll.url.expose());
            view.getrange(ttl_key, 0, isize::try_from(MAX_TTL_BYTES).unwrap_or(isize::MAX));
        } else {
            // Always empty, which is no planned interval and no ttl: so the answers have one form.
            view.getrange(&key, 1, 0).getrange(&key, 1, 0);
        }
    }
    let mut answers = link.query_all::<Vec<Value>>(CALL_LIMIT, &view).await?;
    let contextforge = bool::from_redis_value(answers.remove(0)).map_err(|_| Error::UnexpectedReply)?;
    let rows: Vec<Row> = FromRedisValue::from_redis_value(Value::Array(answers)).map_err(|_| Error::UnexpectedReply)?;
    let traces = rows.into_iter().map(|(hot, cold, left, value, planned, ttl)| {
        // `PTTL` answers -2 for an absent key, and -1 for one without expiry.
        let last = if left == -2 { Stamp::Absent.into() } else { LastPoll::read(&value, &ttl) };
        let planned = planned.and_then(|planned| PlannedInterval::parse(&planned));
        let left = u64::try_from(left).ok().map(Duration::from_millis);
        Trace { tier: tier(hot, cold), last, left, planned }
    });
    Ok(Traces { contextforge, traces: traces.collect() })
}
