//! Whether a server is to be polled now: SPEC section 6. Pure and deterministic.
//!
//! In: the server's tier, what stands in Redis for its last completed poll, the time, the two intervals. Out: a
//! [`PollDecision`] with its reason. Whatever is not known is *due*: a poll too many costs a request, a server that is
//! wrongly passed over is starved. [`crate::publish::Polls`] reads what goes in here from Redis; this room must not.
//!
//! The rule is the one by which ContextForge's workers decide, so that both may share a fleet and its stamps:
//! ```
//! use mcpgateway_operator::model::{Tier, UnixTime};
//! use mcpgateway_operator::poll::{Intervals, Reason, Stamp, decide};
//!
//! let intervals = Intervals::default(); // hot: 5 minutes, cold: 15
//! let now = UnixTime::from_seconds(1_763_800_000.0).ok_or("a time")?;
//! let ten_minutes_ago = Stamp::read(b"1763799400");
//!
//! assert!(decide(Some(Tier::Hot), ten_minutes_ago, now, &intervals).due);
//! let cold = decide(Some(Tier::Cold), ten_minutes_ago, now, &intervals);
//! assert_eq!((cold.due, cold.reason), (false, Reason::NotYetDue));
//! assert_eq!(cold.next_due.map(|time| time.to_string()).as_deref(), Some("2025-11-22T08:31:40Z"));
//! // Without a tier everything is due.
//! assert_eq!(decide(None, ten_minutes_ago, now, &intervals).reason, Reason::Unclassified);
//! # Ok::<(), &str>(())
//! ```

pub mod compliance;

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::{GatewayId, ServerUrl, Tier, UnixTime};
use crate::publish::keys::PollType;

/// How far ahead of the asker's clock a stamp may be, in seconds: another process wrote it with a clock of its own.
const AHEAD: f64 = 60.0;
/// The longest stamp, in bytes, that can be one: no time has more digits.
pub const MAX_STAMP_BYTES: usize = 64;

/// How long after its last completed poll a server is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// Of a hot server (`--hot-poll-interval`, 5 minutes by default).
    pub hot: Duration,
    /// Of a cold one (`--cold-poll-interval`, three times the hot one by default).
    pub cold: Duration,
}

impl Intervals {
    /// `cold` defaults to three times `hot`, which is what ContextForge has built in.
    #[must_use]
    pub fn new(hot: Duration, cold: Option<Duration>) -> Self {
        Self { hot, cold: cold.unwrap_or_else(|| hot.saturating_mul(3)) }
    }

    /// The interval of a tier.
    #[must_use]
    pub const fn of(&self, tier: Tier) -> Duration {
        match tier {
            Tier::Hot => self.hot,
            Tier::Cold => self.cold,
        }
    }

    /// How long a stamp is kept: twice the interval of the tier; of the cold one if there is none.
    #[must_use]
    pub fn expiry(&self, tier: Option<Tier>) -> Duration {
        self.of(tier.unwrap_or(Tier::Cold)).saturating_mul(2)
    }
}

impl Default for Intervals {
    fn default() -> Self {
        Self::new(Duration::from_mins(5), None)
    }
}

/// Which poll is asked about: a server, perhaps as one gateway among several, and what is polled of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The server, byte for byte as it is registered.
    pub url: ServerUrl,
    /// The gateway; several that share a URL are polled on their own schedules.
    pub gateway: Option<GatewayId>,
    /// What is polled.
    pub kind: PollType,
}

/// What stands in Redis for the last completed poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// Nothing.
    Absent,
    /// A number: Unix seconds, whether they make sense or not.
    At(UnixTime),
    /// Something else.
    Unreadable,
}

impl Stamp {
    /// Reads a value: a decimal number of Unix seconds with or without a fraction, as this program and Python's
    /// `str(time.time())` write it. White space around it does not count, as for Python's `float`.
    #[must_use]
    pub fn read(value: &[u8]) -> Self {
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_STAMP_BYTES);
        let seconds = text.and_then(|text| text.trim().parse().ok());
        seconds.and_then(UnixTime::from_seconds).map_or(Self::Unreadable, Self::At)
    }

    /// The value that says that a poll was completed now.
    #[must_use]
    pub fn write(now: UnixTime) -> String {
        // Rust never writes a float with an exponent, and the shortest text that reads back as the same number.
        now.seconds().to_string()
    }
}

/// Why a poll is due or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Due: there is no Redis.
    NoStore,
    /// Due: the server is in neither set.
    Unclassified,
    /// Due: no completed poll is remembered.
    NeverPolled,
    /// Due: what is remembered is no time, is not after 1970, or lies more than a minute ahead.
    BadStamp,
    /// Due: the tier's interval has passed, to the second or more.
    IntervalElapsed,
    /// Not due: the tier's interval has not passed yet.
    NotYetDue,
    /// Due: it could not be found out.
    Error,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NoStore,
        Self::Unclassified,
        Self::NeverPolled,
        Self::BadStamp,
        Self::IntervalElapsed,
        Self::NotYetDue,
        Self::Error,
    ];

    /// The spelling in answers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoStore => "NoStore",
            Self::Unclassified => "Unclassified",
            Self::NeverPolled => "NeverPolled",
            Self::BadStamp => "BadStamp",
            Self::IntervalElapsed => "IntervalElapsed",
            Self::NotYetDue => "NotYetDue",
            Self::Error => "Error",
        }
    }

    /// Whether a poll is due for this reason: for every one but [`Reason::NotYetDue`].
    #[must_use]
    pub const fn is_due(self) -> bool {
        !matches!(self, Self::NotYetDue)
    }
}

/// Whether a server is to be polled now, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollDecision {
    /// Poll it now.
    pub due: bool,
    /// Why, or why not.
    pub reason: Reason,
    /// Its tier, if it is known.
    pub tier: Option<Tier>,
    /// When the last poll was completed; `None` if that is not known, or is no time that can be believed.
    pub last_poll: Option<UnixTime>,
    /// When the next one is due, or was; `None` if it is due for another reason than the time.
    pub next_due: Option<UnixTime>,
}

impl PollDecision {
    /// There is no Redis: everything is due.
    pub const NO_STORE: Self = Self::without_times(Reason::NoStore, None);
    /// It could not be found out: due.
    pub const FAILED: Self = Self::without_times(Reason::Error, None);

    const fn without_times(reason: Reason, tier: Option<Tier>) -> Self {
        Self { due: reason.is_due(), reason, tier, last_poll: None, next_due: None }
    }
}

/// The decision of SPEC section 6. `tier` is `None` for a server that is in neither set.
#[must_use]
pub fn decide(tier: Option<Tier>, stamp: Stamp, now: UnixTime, intervals: &Intervals) -> PollDecision {
    let Some(known) = tier else { return PollDecision::without_times(Reason::Unclassified, None) };
    let last = match stamp {
        Stamp::Absent => return PollDecision::without_times(Reason::NeverPolled, tier),
        Stamp::At(last) if last.seconds() > 0.0 && last.seconds() <= now.seconds() + AHEAD => last,
        Stamp::At(_) | Stamp::Unreadable => return PollDecision::without_times(Reason::BadStamp, tier),
    };
    // In floating point, as ContextForge does it: both must come to the same answer at the very edge, too.
    let elapsed = now.seconds() - last.seconds() >= intervals.of(known).as_secs_f64();
    let reason = if elapsed { Reason::IntervalElapsed } else { Reason::NotYetDue };
    PollDecision {
        due: reason.is_due(),
        reason,
        tier,
        last_poll: Some(last),
        next_due: Some(last.after(intervals.of(known))),
    }
}

/// The spelling of a tier in Redis' keys and in answers; in a status it begins with a capital.
#[must_use]
pub const fn tier_word(tier: Tier) -> &'static str {
    match tier {
        Tier::Hot => "hot",
        Tier::Cold => "cold",
    }
}

/// The answer of `poll due -o json` and of `GET /v1/polls/due`: `{"due","reason","tier","lastPoll","nextDue"}`.
impl Serialize for PollDecision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            due: bool,
            reason: &'static str,
            tier: Option<&'static str>,
            last_poll: Option<String>,
            next_due: Option<String>,
        }
        let Self { due, reason, tier, last_poll, next_due } = *self;
        let answer = Answer {
            due,
            reason: reason.as_str(),
            tier: tier.map(tier_word),
            last_poll: last_poll.map(|time| time.to_string()),
            // Rounded up: whoever asks again at this time must not come too early.
            next_due: next_due
                .map(|time| time.shifted(if time.seconds().fract() > 0.0 { 1.0 } else { 0.0 }).to_string()),
        };
        answer.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
