//! Whether a server is due for a poll: `docs/contract.md#poll-decisions`. Pure and deterministic.
//!
//! In: the server's tier and its interval in a refresh plan, the stamp of its last completed poll and how long the list
//! of that poll is valid, the time, the settings. Out: a [`PollDecision`].
//! Whatever is unknown is *due*: one poll too many costs a request, but a server that is skipped by mistake is starved.
//! [`crate::publish::Polls`] reads the input from Redis; this module must not.
//!
//! ContextForge's workers decide by the same rule, so that both may share a fleet and its stamps:
//! ```
//! use mcpgateway_operator::model::{PlannedInterval, Tier, UnixTime};
//! use mcpgateway_operator::poll::{Intervals, LastPoll, PollReason, Stamp, decide};
//!
//! let intervals = Intervals::default(); // hot: 5 minutes, cold: 15
//! let now = UnixTime::from_seconds(1_763_800_000.0).ok_or("a time")?;
//! let ten_minutes_ago = Stamp::read(b"1763799400");
//!
//! assert!(decide(Some(Tier::Hot), None, ten_minutes_ago, now, &intervals).due);
//! let cold = decide(Some(Tier::Cold), None, ten_minutes_ago, now, &intervals);
//! assert_eq!((cold.due, cold.reason), (false, PollReason::NotYetDue));
//! assert_eq!(cold.next_due.map(|time| time.to_string()).as_deref(), Some("2025-11-22T08:31:40Z"));
//! // A planned interval decides instead of the tier's.
//! assert!(decide(Some(Tier::Cold), PlannedInterval::parse(b"600"), ten_minutes_ago, now, &intervals).due);
//! // The server has said that its list is valid for an hour.
//! let listed = LastPoll::read(b"1763799400", b"3600,1763799400");
//! assert_eq!(decide(Some(Tier::Hot), None, listed, now, &intervals).reason, PollReason::ListStillValid);
//! // Without a tier every poll is due.
//! assert_eq!(decide(None, None, ten_minutes_ago, now, &intervals).reason, PollReason::Unclassified);
//! # Ok::<(), &str>(())
//! ```

pub mod compliance;

use std::time::Duration;

use serde::{Serialize, Serializer};
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::model::{GatewayId, PlannedInterval, ServerUrl, Tier, UnixTime};

/// How far in the future a stamp may be, in seconds: another process wrote it, by its own clock.
const MAX_AHEAD: f64 = 60.0;
/// The longest value that can be a stamp, in bytes: no time has more digits.
pub const MAX_STAMP_BYTES: usize = 64;
/// The longest value that says how long a list is valid, in bytes: the seconds, a comma, and a stamp.
pub const MAX_TTL_BYTES: usize = PlannedInterval::MAX_BYTES + 1 + MAX_STAMP_BYTES;

/// How long after its last completed poll a server is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// For a hot server (`--hot-poll-interval`, 5 minutes by default).
    pub hot: Duration,
    /// For a cold one (`--cold-poll-interval`, three times the hot one by default).
    pub cold: Duration,
    /// How long a list counts as valid at most, whatever its server says (`--longest-refresh-interval`, 4 hours by
    /// default).
    pub longest: Duration,
}

impl Intervals {
    /// `cold` defaults to three times `hot`, as is built into ContextForge; `longest` is 4 hours.
    pub fn new(hot: Duration, cold: Option<Duration>) -> Self {
        Self { hot, cold: cold.unwrap_or_else(|| hot.saturating_mul(3)), longest: Duration::from_hours(4) }
    }

    /// The interval for a tier.
    pub const fn of(&self, tier: Tier) -> Duration {
        match tier {
            Tier::Hot => self.hot,
            Tier::Cold => self.cold,
        }
    }

    /// The planned interval, if it decides: of a cold server, and not shorter than the hot interval.
    pub fn in_force(&self, tier: Option<Tier>, planned: Option<PlannedInterval>) -> Option<PlannedInterval> {
        planned.filter(|planned| tier == Some(Tier::Cold) && planned.interval() >= self.hot)
    }

    /// How long a stamp is kept: twice the interval for the tier, or for cold if there is none; twice the planned
    /// interval in force or the time that the list is valid, if one of them is longer.
    pub fn expiry(&self, tier: Option<Tier>, planned: Option<PlannedInterval>, ttl: Option<Duration>) -> Duration {
        let planned = self.in_force(tier, planned).map(PlannedInterval::interval);
        let by_tier = self.of(tier.unwrap_or(Tier::Cold));
        by_tier.max(planned.unwrap_or_default()).max(ttl.unwrap_or_default()).saturating_mul(2)
    }

    /// How long a list counts as valid if its server reports this many seconds: whole seconds, rounded down, at most
    /// [`Self::longest`]. `None` for less than a second, and for a negative number, as MCP has it for `ttlMs`.
    pub fn ttl(&self, seconds: f64) -> Option<Duration> {
        let said =
            Duration::try_from_secs_f64(seconds).unwrap_or(if seconds > 0.0 { Duration::MAX } else { Duration::ZERO });
        let whole = Duration::from_secs(said.min(self.longest).as_secs());
        (!whole.is_zero()).then_some(whole)
    }
}

impl Default for Intervals {
    fn default() -> Self {
        Self::new(Duration::from_mins(5), None)
    }
}

/// What is polled of a server. The end of the key of its stamp. Gateways know no other types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum PollType {
    /// `health`.
    Health,
    /// `tool_discovery`.
    ToolDiscovery,
}

/// A poll: a server, perhaps as one gateway among several, and what is polled of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The server, byte for byte as it is registered.
    pub url: ServerUrl,
    /// The gateway id; gateways that share a URL are polled on their own schedules.
    pub gateway: Option<GatewayId>,
    /// What is polled.
    pub kind: PollType,
}

/// What Redis holds for the last completed poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Nothing.
    Absent,
    /// A number: Unix seconds, plausible or not.
    At(UnixTime),
    /// Something else.
    Unreadable,
}

impl Stamp {
    /// Parses a value: a decimal number of Unix seconds with or without a fraction, as this program and Python's
    /// `str(time.time())` write it. White space around it is ignored, as by Python's `float`.
    pub fn read(value: &[u8]) -> Self {
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_STAMP_BYTES);
        let seconds = text.and_then(|text| text.trim().parse().ok());
        seconds.and_then(UnixTime::from_seconds).map_or(Self::Unreadable, Self::At)
    }

    /// The value for a poll that was completed now.
    pub fn write(now: UnixTime) -> String {
        // Rust writes floats without an exponent, and with the fewest digits that parse as the same number.
        now.seconds().to_string()
    }
}

/// What Redis holds for the last completed poll, and for the list that it has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastPoll {
    /// When the poll was completed.
    pub stamp: Stamp,
    /// How long the list is valid from then on, by its server; `None` if that is not known.
    pub ttl: Option<Duration>,
}

impl LastPoll {
    /// Parses the value of the stamp, and the value `SECONDS,STAMP` of the key beside it. The latter counts only if it
    /// names this stamp, so that any later poll makes it void.
    pub fn read(stamp: &[u8], ttl: &[u8]) -> Self {
        let comma = ttl.iter().position(|byte| *byte == b',');
        let (seconds, of) = comma.map_or((ttl, &b""[..]), |comma| (&ttl[..comma], &ttl[comma + 1..]));
        let ttl = PlannedInterval::parse(seconds).filter(|_| of == stamp && !of.is_empty());
        Self { stamp: Stamp::read(stamp), ttl: ttl.map(PlannedInterval::interval) }
    }

    /// The value of the key beside a stamp with this value.
    pub fn write_ttl(ttl: Duration, stamp: &str) -> String {
        format!("{},{stamp}", PlannedInterval::new(ttl))
    }
}

impl From<Stamp> for LastPoll {
    fn from(stamp: Stamp) -> Self {
        Self { stamp, ttl: None }
    }
}

/// Why a poll is due or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, Serialize, VariantArray)]
pub enum PollReason {
    /// Due: there is no Redis.
    NoStore,
    /// Due: the server is in neither set.
    Unclassified,
    /// Due: no completed poll is recorded.
    NeverPolled,
    /// Due: the stamp is not a time, not after 1970, or more than a minute in the future.
    BadStamp,
    /// Due: the interval has passed.
    IntervalElapsed,
    /// Due: a refresh was requested, or the server was used, after the last poll.
    RefreshRequested,
    /// Not due: the interval has not passed yet.
    NotYetDue,
    /// Not due: the server has reported that its list is valid for longer than the interval.
    ListStillValid,
    /// Due: Redis failed.
    Error,
}

impl PollReason {
    /// Whether a poll is due: for every reason except [`PollReason::NotYetDue`] and [`PollReason::ListStillValid`].
    pub const fn is_due(self) -> bool {
        !matches!(self, Self::NotYetDue | Self::ListStillValid)
    }
}

/// Whether a poll is due, and why. The answer of `poll due -o json` and of `GET /v1/polls/due`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PollDecision {
    /// Whether to poll now.
    pub due: bool,
    /// Why, or why not.
    pub reason: PollReason,
    /// Its tier, if it is known.
    #[serde(serialize_with = "serialize_tier")]
    pub tier: Option<Tier>,
    /// The interval that decides, in an answer in whole seconds: of the tier, planned, or how long the list is valid;
    /// `None` if the server is not classified.
    #[serde(rename = "intervalSeconds", serialize_with = "serialize_seconds")]
    pub interval: Option<Duration>,
    /// Whether the interval is that of a refresh plan.
    pub planned: bool,
    /// When the last poll was completed; `None` if that is unknown or not plausible.
    #[serde(serialize_with = "serialize_time")]
    pub last_poll: Option<UnixTime>,
    /// When the next poll is due, or was; `None` if it is due for another reason than time.
    #[serde(serialize_with = "serialize_time_rounded_up")]
    pub next_due: Option<UnixTime>,
}

impl PollDecision {
    /// There is no Redis: every poll is due.
    pub const NO_STORE: Self = Self::without_interval(PollReason::NoStore);
    /// Redis failed: due.
    pub const FAILED: Self = Self::without_interval(PollReason::Error);

    const fn without_interval(reason: PollReason) -> Self {
        let due = reason.is_due();
        Self { due, reason, tier: None, interval: None, planned: false, last_poll: None, next_due: None }
    }
}

/// The decision of `docs/contract.md#poll-decisions`. `tier` is `None` for a server that is in neither set. `planned`
/// is what a refresh plan says. It concerns tool discovery only, and so does the ttl of `last` (a [`Stamp`] has none):
/// for other polls both are `None`.
pub fn decide(
    tier: Option<Tier>,
    planned: Option<PlannedInterval>,
    last: impl Into<LastPoll>,
    now: UnixTime,
    intervals: &Intervals,
) -> PollDecision {
    let LastPoll { stamp, ttl } = last.into();
    let planned = intervals.in_force(tier, planned);
    let by_tier = tier.map(|tier| intervals.of(tier));
    let Some(interval) = planned.map(PlannedInterval::interval).or(by_tier) else {
        return PollDecision::without_interval(PollReason::Unclassified);
    };
    let ttl = ttl.map(|ttl| ttl.min(intervals.longest)).filter(|ttl| *ttl > interval);
    let interval = ttl.unwrap_or(interval);
    let decision = |reason: PollReason, last_poll, next_due| {
        let (due, interval, planned) = (reason.is_due(), Some(interval), planned.is_some() && ttl.is_none());
        PollDecision { due, reason, tier, interval, planned, last_poll, next_due }
    };
    let last = match stamp {
        Stamp::Absent => return decision(PollReason::NeverPolled, None, None),
        Stamp::At(last) if is_plausible(last, now) => last,
        Stamp::At(_) | Stamp::Unreadable => return decision(PollReason::BadStamp, None, None),
    };
    let next_due = Some(last.after(interval));
    // In floating point, as in ContextForge: both must decide the same at the exact edge, too.
    if now.seconds() - last.seconds() >= interval.as_secs_f64() {
        decision(PollReason::IntervalElapsed, Some(last), next_due)
    } else if planned.and_then(PlannedInterval::polled_before).is_some_and(|moment| last < moment) {
        decision(PollReason::RefreshRequested, Some(last), None)
    } else {
        let reason = if ttl.is_some() { PollReason::ListStillValid } else { PollReason::NotYetDue };
        decision(reason, Some(last), next_due)
    }
}

/// Whether a stamp can be the time of a completed poll.
fn is_plausible(stamp: UnixTime, now: UnixTime) -> bool {
    stamp.seconds() > 0.0 && stamp.seconds() <= now.seconds() + MAX_AHEAD
}

/// The spelling of a tier in Redis' keys and in answers; in a status it begins with a capital.
pub const fn tier_word(tier: Tier) -> &'static str {
    match tier {
        Tier::Hot => "hot",
        Tier::Cold => "cold",
    }
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde passes references to the fields")]
fn serialize_tier<S: Serializer>(tier: &Option<Tier>, serializer: S) -> Result<S::Ok, S::Error> {
    tier.map(tier_word).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde passes references to the fields")]
fn serialize_seconds<S: Serializer>(interval: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    interval.map(|interval| interval.as_secs()).serialize(serializer)
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde passes references to the fields")]
fn serialize_time<S: Serializer>(time: &Option<UnixTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

#[expect(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde passes references to the fields")]
fn serialize_time_rounded_up<S: Serializer>(time: &Option<UnixTime>, serializer: S) -> Result<S::Ok, S::Error> {
    serialize_time(&time.map(UnixTime::rounded_up), serializer)
}

#[cfg(test)]
mod tests;
