//! Whether a server is due for a poll: `docs/contract.md#poll-decisions`. Pure and deterministic.
//!
//! In: the server's tier and its interval in a refresh plan, the stamp of its last completed poll, the time, the two
//! intervals of the tiers. Out: a [`PollDecision`].
//! Whatever is unknown is *due*: one poll too many costs a request, but a server that is skipped by mistake is starved.
//! [`crate::publish::Polls`] reads the input from Redis; this module must not.
//!
//! ContextForge's workers decide by the same rule, so that both may share a fleet and its stamps:
//! ```
//! use mcpgateway_operator::model::{PlannedInterval, Tier, UnixTime};
//! use mcpgateway_operator::poll::{Intervals, PollReason, Stamp, decide};
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

/// How long after its last completed poll a server is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// For a hot server (`--hot-poll-interval`, 5 minutes by default).
    pub hot: Duration,
    /// For a cold one (`--cold-poll-interval`, three times the hot one by default).
    pub cold: Duration,
}

impl Intervals {
    /// `cold` defaults to three times `hot`, as is built into ContextForge.
    pub fn new(hot: Duration, cold: Option<Duration>) -> Self {
        Self { hot, cold: cold.unwrap_or_else(|| hot.saturating_mul(3)) }
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

    /// How long a stamp is kept: twice the interval for the tier, or for cold if there is none; with a longer planned
    /// interval in force, twice that.
    pub fn expiry(&self, tier: Option<Tier>, planned: Option<PlannedInterval>) -> Duration {
        let planned = self.in_force(tier, planned).map(PlannedInterval::interval);
        self.of(tier.unwrap_or(Tier::Cold)).max(planned.unwrap_or_default()).saturating_mul(2)
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
    /// Due: the refresh plan asks for a poll after the last one.
    RefreshRequested,
    /// Not due: the interval has not passed yet.
    NotYetDue,
    /// Due: Redis failed.
    Error,
}

impl PollReason {
    /// Whether a poll is due: for every reason except [`PollReason::NotYetDue`].
    pub const fn is_due(self) -> bool {
        !matches!(self, Self::NotYetDue)
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
    /// The interval that decides, in an answer in whole seconds; `None` if the server is not classified.
    #[serde(rename = "intervalSeconds", serialize_with = "serialize_seconds")]
    pub interval: Option<Duration>,
    /// Whether the interval is that of a refresh plan, and not the tier's.
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

/// The decision of `docs/contract.md#poll-decisions`. `tier` is `None` for a server that is in neither set. `planned` is
/// what a refresh plan says; it concerns tool discovery only, so for other polls it is `None`.
pub fn decide(
    tier: Option<Tier>,
    planned: Option<PlannedInterval>,
    stamp: Stamp,
    now: UnixTime,
    intervals: &Intervals,
) -> PollDecision {
    let planned = intervals.in_force(tier, planned);
    let by_tier = tier.map(|tier| intervals.of(tier));
    let Some(interval) = planned.map(PlannedInterval::interval).or(by_tier) else {
        return PollDecision::without_interval(PollReason::Unclassified);
    };
    let decision = |reason: PollReason, last_poll, next_due| {
        let (due, interval, planned) = (reason.is_due(), Some(interval), planned.is_some());
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
        decision(PollReason::NotYetDue, Some(last), next_due)
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

#[expect(clippy::ref_option, reason = "serde passes references to the fields")]
fn serialize_time<S: Serializer>(time: &Option<UnixTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.to_string()).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde passes references to the fields")]
fn serialize_time_rounded_up<S: Serializer>(time: &Option<UnixTime>, serializer: S) -> Result<S::Ok, S::Error> {
    serialize_time(&time.map(UnixTime::rounded_up), serializer)
}

#[cfg(test)]
mod tests;
