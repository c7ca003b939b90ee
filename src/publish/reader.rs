//! What a gateway asks of Redis: whether a server is to be polled now, and that it was (SPEC section 6). IO.
//!
//! In: a [`Poll`]. Out: a [`PollDecision`], made by [`crate::poll::decide`] from one view of Redis. Whatever goes wrong
//! makes a poll due. The only keys written are the stamps, whose names hold a hash of the URL and never the URL.
//! This room must not know the registry: whether a server is one of ours is for those to say who know it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use redis::Pipeline;
use tracing::{info, warn};

use super::connection::Link;
use super::error::Error;
use super::keys::{Keys, millis};
use super::settings::RedisAccess;
use super::store::CALL_LIMIT;
use crate::classify::Metadata;
use crate::clock;
use crate::model::{Monotonic, ServerUrl, Tier};
use crate::poll::{Intervals, MAX_STAMP_BYTES, Poll, PollDecision, Stamp, decide};

/// Many times the longest metadata that this program or ContextForge writes.
const MAX_METADATA_BYTES: usize = 4096;

/// Between two lines of the log about Redis' faults.
const TOLD_AT_MOST_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    r#type: &'static str,
    decision: &'static str,
}

/// `poll_decisions_total{type,decision}`; the decision is its reason, of which `NotYetDue` alone is a poll saved. Clones
/// count into the same.
#[derive(Clone, Debug, Default)]
pub struct PollMetrics {
    decisions: Family<Labels, Counter>,
}

impl PollMetrics {
    /// Makes it known to a registry that carries the prefix, once.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("poll_decisions", "Poll decisions, by type and reason", metrics.decisions.clone());
        metrics
    }
}

/// What the log has last said of Redis.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// The fault; `None` if there was none.
    fault: Option<&'static str>,
    at: Option<Monotonic>,
}

/// What became of a completed poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The tier by which its expiry was chosen.
    pub tier: Option<Tier>,
    /// How long it is remembered; `None` without Redis, where nothing is.
    pub expiry: Option<Duration>,
}

/// Decides about polls by what stands in Redis, and remembers those that were done.
///
/// It connects when it is asked, keeps its connection, and answers within a second whatever Redis does:
/// ```
/// use mcpgateway_operator::model::{GatewayId, ServerUrl};
/// use mcpgateway_operator::poll::{Intervals, Poll, Reason};
/// use mcpgateway_operator::publish::keys::PollType;
/// use mcpgateway_operator::publish::{PollMetrics, Polls, RedisAccess};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// // Nothing listens there.
/// let access = RedisAccess { url: "redis://127.0.0.1:1".to_owned(), ..RedisAccess::default() };
/// let polls = Polls::open(Some(access), "mcpgateway", Intervals::default(), PollMetrics::default())?;
/// let poll = Poll {
///     url: ServerUrl::parse("https://mcp.example.com/mcp")?,
///     gateway: GatewayId::parse("e6b7c0ffee"),
///     kind: PollType::ToolDiscovery,
/// };
/// let (decision, fault) = polls.due(&poll).await;
/// assert!(decision.due, "what is not known is polled");
/// assert_eq!((decision.reason, fault.is_some()), (Reason::Error, true));
/// // … poll the server; once that has succeeded:
/// let stored = polls.completed(&poll).await;
/// assert!(stored.is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Polls {
    keys: Keys,
    /// `None` without Redis.
    link: Option<Link>,
    intervals: Intervals,
    metrics: PollMetrics,
    told: Mutex<Told>,
}

impl Polls {
    /// Prepares to ask the Redis at `access`; `None` if there is none, and everything is due. Connects to nothing yet.
    ///
    /// # Errors
    /// [`Error::BadUrl`] or [`Error::BadPrefix`].
    pub fn open(
        access: Option<RedisAccess>,
        key_prefix: &str,
        intervals: Intervals,
        metrics: PollMetrics,
    ) -> Result<Self, Error> {
        access.as_ref().map(RedisAccess::parsed).transpose()?;
        let keys = Keys::new(key_prefix).ok_or(Error::BadPrefix)?;
        Ok(Self { keys, link: access.map(Link::new), intervals, metrics, told: Mutex::default() })
    }

    /// Whether there is a Redis to ask.
    #[must_use]
    pub const fn has_store(&self) -> bool {
        self.link.is_some()
    }

    /// The tier of a server; `None` if it is in neither set, or if there is no Redis.
    ///
    /// # Errors
    /// Why Redis did not say.
    pub async fn tier(&self, url: &ServerUrl) -> Result<Option<Tier>, Error> {
        let Some(link) = &self.link else { return Ok(None) };
        let found = link.view(CALL_LIMIT, &self.membership(url)).await.map(|(hot, cold)| tier(hot, cold));
        self.tell(found.as_ref().err());
        found
    }

    /// The facts of the classification that is published, whoever published it; `None` if there is none, if it is none that can be
    /// read, or if there is no Redis.
    ///
    /// # Errors
    /// Why Redis did not say.
    pub async fn metadata(&self) -> Result<Option<Metadata>, Error> {
        let Some(link) = &self.link else { return Ok(None) };
        let mut get = redis::cmd("GETRANGE");
        get.arg(&self.keys.metadata).arg(0).arg(MAX_METADATA_BYTES);
        let text: Vec<u8> = link.query(CALL_LIMIT, &get).await?;
        Ok(serde_json::from_slice(&text).ok())
    }

    /// Whether this poll is due now, and the fault if it is due because of one ([`crate::poll::Reason::Error`]).
    pub async fn due(&self, poll: &Poll) -> (PollDecision, Option<Error>) {
        let (decision, fault) = match &self.link {
            None => (PollDecision::NO_STORE, None),
            Some(link) => match self.look(link, poll).await {
                Ok(decision) => (decision, None),
                Err(error) => (PollDecision::FAILED, Some(error)),
            },
        };
        self.tell(fault.as_ref());
        let labels = Labels { r#type: poll.kind.as_str(), decision: decision.reason.as_str() };
        self.metrics.decisions.get_or_create(&labels).inc();
        (decision, fault)
    }

    /// Remembers that this poll was completed now, for twice the interval of the server's tier.
    ///
    /// # Errors
    /// Why Redis did not take it. The poll will be due again at once, which is all that is lost.
    pub async fn completed(&self, poll: &Poll) -> Result<Completed, Error> {
        let Some(link) = &self.link else { return Ok(Completed { tier: None, expiry: None }) };
        let stored = self.stamp(link, poll).await;
        self.tell(stored.as_ref().err());
        stored
    }

    async fn look(&self, link: &Link, poll: &Poll) -> Result<PollDecision, Error> {
        let key = self.keys.poll_state(&poll.url, poll.gateway.as_ref(), poll.kind);
        // One view, so that a server that is just moving is found where it was or where it will be. One byte more than
        // a stamp can have shows that it is none, however long it is.
        let mut view = self.membership(&poll.url);
        view.exists(&key).getrange(&key, 0, isize::try_from(MAX_STAMP_BYTES).unwrap_or(isize::MAX));
        let (hot, cold, exists, value): (bool, bool, bool, Vec<u8>) = link.view(CALL_LIMIT, &view).await?;
        let stamp = if exists { Stamp::read(&value) } else { Stamp::Absent };
        Ok(decide(tier(hot, cold), stamp, clock::now(), &self.intervals))
    }

    async fn stamp(&self, link: &Link, poll: &Poll) -> Result<Completed, Error> {
        let begun = clock::monotonic();
        let (hot, cold) = link.view(CALL_LIMIT, &self.membership(&poll.url)).await?;
        let tier = tier(hot, cold);
        let expiry = self.intervals.expiry(tier);
        let key = self.keys.poll_state(&poll.url, poll.gateway.as_ref(), poll.kind);
        let mut set = redis::cmd("SET");
        // Between the two calls the server may change its tier: then its stamp lives as long as before that.
        set.arg(key).arg(Stamp::write(clock::now())).arg("PX").arg(millis(expiry).max(1));
        let left = CALL_LIMIT.saturating_sub(clock::monotonic().since(begun));
        let () = link.query(left, &set).await?;
        Ok(Completed { tier, expiry: Some(expiry) })
    }

    fn membership(&self, url: &ServerUrl) -> Pipeline {
        let mut view = redis::pipe();
        view.atomic();
        for set in [&self.keys.hot, &self.keys.cold] {
            view.sismember(set, url.expose());
        }
        view
    }

    /// A fault is told when it begins and when it is over, and not more than once a second if it comes and goes (one
    /// key of a wrong type is a fault for one server): gateways may ask a thousand times a second.
    fn tell(&self, fault: Option<&Error>) {
        let now = clock::monotonic();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = fault.map(Error::reason);
        let too_soon = told.at.is_some_and(|at| now.since(at) < TOLD_AT_MOST_EVERY);
        if told.fault == reason || too_soon {
            return;
        }
        *told = Told { fault: reason, at: Some(now) };
        if let Some(error) = fault {
            warn!(reason = error.reason(), %error, "polls: what Redis cannot tell is due");
        } else {
            info!("polls: Redis can be asked again");
        }
    }
}

/// As ContextForge reads it: hot is looked at first. Both is never published.
const fn tier(hot: bool, cold: bool) -> Option<Tier> {
    match (hot, cold) {
        (true, _) => Some(Tier::Hot),
        (false, true) => Some(Tier::Cold),
        (false, false) => None,
    }
}
