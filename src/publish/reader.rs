//! Poll decisions from Redis: whether a server is due for a poll, and recording that it was polled
//! (`docs/contract.md#poll-decisions`). IO.
//!
//! Every failure makes a poll due. The only keys written are the stamps and, beside them, how long a list is valid.
//! Their names hold a hash of the URL and never the URL. This module must not use the registry: whether a server is
//! registered is for its callers to check.

use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use redis::{FromRedisValue, Pipeline, Value};
use tracing::{info, warn};

use super::connection::{Freshness, Link};
use super::error::Error;
use super::keys::millis;
use super::locked;
use super::settings::RedisAccess;
use super::store::CALL_LIMIT;
use crate::classify::Metadata;
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::model::{GatewayId, Monotonic, PlannedInterval, ServerUrl, Tier, registered};
use crate::poll::{Intervals, LastPoll, MAX_STAMP_BYTES, MAX_TTL_BYTES, Poll, PollDecision, PollType, Stamp, decide};

/// Many times the size of the longest metadata that this program or ContextForge writes.
const MAX_METADATA_BYTES: usize = 4096;

/// By how much a stamp may expire too early before its expiry is extended, so that milliseconds cause no write.
const STAMP_TOLERANCE: Duration = Duration::from_secs(1);

/// The shortest time between two log lines about failures of Redis.
const LOG_PERIOD: Duration = Duration::from_secs(1);

/// How long a connection is used before the name is resolved again.
const GREATEST_AGE: Duration = Duration::from_secs(10);

/// `poll_decisions_total{type,decision}`. The decision is its reason; `NotYetDue` and `ListStillValid` are polls saved.
/// Clones share the same metric.
#[derive(Clone, Debug, Default)]
pub struct PollMetrics(Family<[(&'static str, &'static str); 2], Counter>);

impl PollMetrics {
    /// Registers the metric. To be called once.
    pub fn register(registry: &mut Registry) -> Self {
        Self(registered(registry, "poll_decisions", "Poll decisions, by type and reason"))
    }
}

/// How a completed poll was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The tier of the server.
    pub tier: Option<Tier>,
    /// How long the stamp is kept; `None` without Redis, where nothing is recorded.
    pub expiry: Option<Duration>,
    /// How long its list counts as valid; `None` if that was not recorded.
    pub ttl: Option<Duration>,
}

/// Decides from Redis whether polls are due, and records completed ones.
///
/// It connects at the first call, keeps its connection, and answers within a second whatever Redis does:
/// ```
/// use mcpgateway_operator::model::{GatewayId, ServerUrl};
/// use mcpgateway_operator::poll::{Intervals, Poll, PollReason, PollType};
/// use mcpgateway_operator::publish::keys::Keys;
/// use mcpgateway_operator::publish::{PollMetrics, Polls, RedisAccess, RedisUrl};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// // Nothing listens on this port.
/// let url = RedisUrl::parse("redis://127.0.0.1:1")?;
/// let access = RedisAccess::new(url, Keys::default());
/// let polls = Polls::new(Some(access), Intervals::default(), PollMetrics::default());
/// let poll = Poll {
///     url: ServerUrl::parse("https://mcp.example.com/mcp")?,
///     gateway: GatewayId::parse("e6b7c0ffee"),
///     kind: PollType::ToolDiscovery,
/// };
/// let (decision, error) = polls.due(&poll).await;
/// assert!(decision.due, "without an answer every poll is due");
/// assert_eq!((decision.reason, error.is_some()), (PollReason::Error, true));
/// // … poll the server, and when that has succeeded:
/// let stored = polls.completed(&poll).await;
/// assert!(stored.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Polls {
    /// `None` without Redis.
    link: Option<Link>,
    intervals: Intervals,
    metrics: PollMetrics,
    /// The reason of the failure that was last logged, `None` for a recovery, and when.
    last_logged: Mutex<Option<(Option<&'static str>, Monotonic)>>,
}

impl Polls {
    /// Without Redis (`None`) every poll is due. Connects to nothing yet.
    pub fn new(access: Option<RedisAccess>, intervals: Intervals, metrics: PollMetrics) -> Self {
        let link = access.map(|access| Link::new(access, Freshness::new(GREATEST_AGE), ReferenceClock::default()));
        Self { link, intervals, metrics, last_logged: Mutex::default() }
    }

    /// Whether there is a Redis.
    pub const fn has_store(&self) -> bool {
        self.link.is_some()
    }

    /// The tier of a server; `None` if it is in neither set, or without Redis.
    ///
    /// # Errors
    /// Why Redis did not answer.
    pub async fn tier(&self, url: &ServerUrl) -> Result<Option<Tier>, Error> {
        let Some(link) = &self.link else { return Ok(None) };
        let found = link.query_all(CALL_LIMIT, &membership(link, url)).await.map(|(hot, cold)| tier(hot, cold));
        self.log(found.as_ref().err());
        found
    }

    /// The metadata of the published classification, whoever published it; `None` if there are none, if they cannot be
    /// parsed, or without Redis.
    ///
    /// # Errors
    /// Why Redis did not answer.
    pub async fn metadata(&self) -> Result<Option<Metadata>, Error> {
        let Some(link) = &self.link else { return Ok(None) };
        let mut get = redis::cmd("GETRANGE");
        get.arg(&link.keys().metadata).arg(0).arg(MAX_METADATA_BYTES);
        let text: Vec<u8> = link.query(CALL_LIMIT, &get).await?;
        Ok(serde_json::from_slice(&text).ok())
    }

    /// Whether this poll is due now, and the error if it is due because of one ([`crate::poll::PollReason::Error`]).
    pub async fn due(&self, poll: &Poll) -> (PollDecision, Option<Error>) {
        let (decision, error) = match &self.link {
            None => (PollDecision::NO_STORE, None),
            Some(link) => match self.decide(link, poll).await {
                Ok(decision) => (decision, None),
                Err(error) => (PollDecision::FAILED, Some(error)),
            },
        };
        self.log(error.as_ref());
        self.metrics.0.get_or_create(&[("type", poll.kind.into()), ("decision", decision.reason.into())]).inc();
        (decision, error)
    }

    /// Records that this poll was completed now, for twice the interval of the server's tier, or its planned interval
    /// if that is longer.
    ///
    /// # Errors
    /// Why Redis did not store it. The poll is due again at once; nothing else is lost.
    pub async fn completed(&self, poll: &Poll) -> Result<Completed, Error> {
        self.completed_with_ttl(poll, 0.0).await
    }

    /// The same for a tool discovery whose server has reported that its list is valid for this many seconds, see
    /// [`Intervals::ttl`]. It is ignored for other polls, which have no list.
    ///
    /// # Errors
    /// As for [`Self::completed`].
    pub async fn completed_with_ttl(&self, poll: &Poll, seconds: f64) -> Result<Completed, Error> {
        let Some(link) = &self.link else { return Ok(Completed { tier: None, expiry: None, ttl: None }) };
        let ttl = self.intervals.ttl(seconds).filter(|_| poll.kind == PollType::ToolDiscovery);
        let stored = self.stamp(link, poll, ttl).await;
        self.log(stored.as_ref().err());
        stored
    }

    /// Records that the server has signalled a change of its lists: a tool discovery is due, as if there had been none.
    /// Without Redis it is due anyway.
    ///
    /// # Errors
    /// Why Redis did not store it. The server stays unpolled until it is due by time.
    pub async fn changed(&self, url: &ServerUrl, gateway: Option<&GatewayId>) -> Result<(), Error> {
        let Some(link) = &self.link else { return Ok(()) };
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(link.keys().poll_state(url, gateway, PollType::ToolDiscovery));
        unlink.arg(link.keys().poll_ttl(url, gateway, PollType::ToolDiscovery));
        let done = link.query::<i64>(CALL_LIMIT, &unlink).await.map(|_| ());
        self.log(done.as_ref().err());
        done
    }

    async fn decide(&self, link: &Link, poll: &Poll) -> Result<PollDecision, Error> {
        let key = stamp_key(link, poll);
        // One transaction, so that a server that is being moved is found in one of the sets. One byte more than a stamp
        // can have shows that the value is not a stamp, however long it is.
        let mut view = membership(link, &poll.url);
        view.exists(&key).getrange(&key, 0, isize::try_from(MAX_STAMP_BYTES).unwrap_or(isize::MAX));
        let (answer, plan) = with_plan(link, poll, &view).await?;
        let (hot, cold, exists, value): (bool, bool, bool, Vec<u8>) = answer;
        let last_poll = if exists { LastPoll::read(&value, &plan.ttl) } else { Stamp::Absent.into() };
        let now = clock::now();
        let decision = decide(tier(hot, cold), plan.interval, last_poll, now, &self.intervals);
        if let (false, true, Some(interval), Some(last)) =
            (decision.due, decision.planned, decision.interval, decision.last_poll)
        {
            // Its writer may not know the plan. A stamp that expires before the server is due would make it due.
            let needed = last.after(interval.saturating_mul(2)).since(now);
            if plan.stamp_left.is_some_and(|left| left + STAMP_TOLERANCE < needed) {
                let mut extend = redis::cmd("PEXPIRE");
                extend.arg(&key).arg(millis(needed));
                // The decision does not depend on it: at worst the server is due earlier.
                let _ = link.query::<i64>(CALL_LIMIT, &extend).await;
            }
        }
        Ok(decision)
    }

    async fn stamp(&self, link: &Link, poll: &Poll, ttl: Option<Duration>) -> Result<Completed, Error> {
        let begun = clock::monotonic();
        let ((hot, cold), plan) = with_plan(link, poll, &membership(link, &poll.url)).await?;
        let tier = tier(hot, cold);
        // If the server changes its tier or interval between the two calls, the stamp has the expiry of the former one.
        let expiry = self.intervals.expiry(tier, plan.interval, ttl);
        let (stamp, lives) = (Stamp::write(clock::now()), millis(expiry).max(1));
        let mut writes = redis::pipe();
        if let Some(ttl) = ttl {
            // First, so that it is void if the stamp is not stored. It lives as long as the stamp, so that a stamp that
            // is kept for its sake can be recognized.
            writes.cmd("SET").arg(ttl_key(link, poll)).arg(LastPoll::write_ttl(ttl, &stamp)).arg("PX").arg(lives);
        }
        writes.cmd("SET").arg(stamp_key(link, poll)).arg(stamp).arg("PX").arg(lives);
        let left = CALL_LIMIT.saturating_sub(clock::monotonic().since(begun));
        let _: Vec<Value> = link.query_all(left, &writes).await?;
        Ok(Completed { tier, expiry: Some(expiry), ttl })
    }

    /// Logs a failure when it begins and when Redis has recovered, but at most once a second (one key of a wrong type
    /// is a failure for one server only): gateways may ask a thousand times a second.
    fn log(&self, error: Option<&Error>) {
        let now = clock::monotonic();
        let mut last = locked(&self.last_logged);
        let failure = error.map(<&str>::from);
        let too_soon = last.is_some_and(|(_, at)| now.since(at) < LOG_PERIOD);
        if last.and_then(|(failure, _)| failure) == failure || too_soon {
            return;
        }
        *last = Some((failure, now));
        if let Some(error) = error {
            warn!(reason = failure, %error, "polls: Redis failed, polls are due");
        } else {
            info!("polls: Redis has recovered");
        }
    }
}

/// What a refresh plan and the server itself say about a tool discovery.
#[derive(Default)]
struct Plan {
    interval: Option<PlannedInterval>,
    /// The remaining time to live of the poll's stamp; `None` without expiry, without stamp, or without plan.
    stamp_left: Option<Duration>,
    /// The value that says how long the list is valid; empty if there is none.
    ttl: Vec<u8>,
}

/// Runs commands that read, and reads the refresh plan and the ttl in the same round trip if they concern the poll.
///
/// If one of them cannot be read (its key is of a wrong type, the user has no permission), the answer is the one
/// without both, at the cost of a second round trip.
async fn with_plan<T: FromRedisValue>(link: &Link, poll: &Poll, view: &Pipeline) -> Result<(T, Plan), Error> {
    let begun = clock::monotonic();
    if poll.kind == PollType::ToolDiscovery {
        let mut whole = view.clone();
        whole.hget(&link.keys().intervals, poll.url.expose()).pttl(stamp_key(link, poll));
        whole.getrange(ttl_key(link, poll), 0, isize::try_from(MAX_TTL_BYTES).unwrap_or(isize::MAX));
        match link.query_all::<Vec<Value>>(CALL_LIMIT, &whole).await {
            Ok(mut answers) => {
                let plan = answers.split_off(answers.len().saturating_sub(3));
                let (value, left, ttl): (Option<Vec<u8>>, i64, Vec<u8>) = parsed(plan)?;
                // `PTTL` answers -2 for an absent key, and -1 for one without expiry.
                let stamp_left = u64::try_from(left).ok().map(Duration::from_millis);
                let interval = value.and_then(|value| PlannedInterval::parse(&value));
                return Ok((parsed(answers)?, Plan { interval, stamp_left, ttl }));
            }
            Err(error) if error.is_wrong_type() || error.is_about_the_command() => {}
            Err(error) => return Err(error),
        }
    }
    let left = CALL_LIMIT.saturating_sub(clock::monotonic().since(begun));
    Ok((link.query_all(left, view).await?, Plan::default()))
}

fn parsed<T: FromRedisValue>(answers: Vec<Value>) -> Result<T, Error> {
    FromRedisValue::from_redis_value(Value::Array(answers)).map_err(|_| Error::UnexpectedReply)
}

fn stamp_key(link: &Link, poll: &Poll) -> String {
    link.keys().poll_state(&poll.url, poll.gateway.as_ref(), poll.kind)
}

fn ttl_key(link: &Link, poll: &Poll) -> String {
    link.keys().poll_ttl(&poll.url, poll.gateway.as_ref(), poll.kind)
}

fn membership(link: &Link, url: &ServerUrl) -> Pipeline {
    let mut view = redis::pipe();
    view.atomic();
    for set in [&link.keys().hot, &link.keys().cold] {
        view.sismember(set, url.expose());
    }
    view
}

/// As ContextForge reads it: hot is checked first. No publication has a server in both.
pub(super) const fn tier(hot: bool, cold: bool) -> Option<Tier> {
    match (hot, cold) {
        (true, _) => Some(Tier::Hot),
        (false, true) => Some(Tier::Cold),
        (false, false) => None,
    }
}
