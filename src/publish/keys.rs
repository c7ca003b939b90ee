//! The contract with the readers, in one file: every Redis key, every expiry, every encoding (SPEC section 4). Pure.
//!
//! In: the prefix, the owner, the interval and the Lease's duration. Out: names, values and durations. ContextForge's
//! workers read the same keys and are not ours to change: a byte that differs here is a publication nobody sees, or
//! one that they purge. Nothing in this file talks to Redis.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::model::{GatewayId, ServerUrl, Term};

/// What every lock value of this program starts with, whatever the release.
const LOCK_FAMILY: &str = "mcpgateway-operator/";

/// As much of a stranger's lock value as is ever shown.
const SHOWN_CHARS: usize = 120;

/// Names one release of the operator in the lock: `--redis-owner-id`, by default
/// `<uid of namespace kube-system>/<lease namespace>/<lease name>`. 1 to 300 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerId(Arc<str>);

impl OwnerId {
    /// The longest.
    pub const MAX_CHARS: usize = 300;

    /// Checks the shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX_CHARS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// Everything of our lock's value but the term.
    #[must_use]
    pub fn lock_prefix(&self) -> String {
        format!("{LOCK_FAMILY}{}/", self.0)
    }

    /// The value of the lock when this owner holds it at that term.
    #[must_use]
    pub fn lock_value(&self, term: Term) -> String {
        format!("{}{term}", self.lock_prefix())
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Who holds the lock, told from the type and value of its key. The texts in it are cleaned for showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockHolder {
    /// There is no such key.
    Nobody,
    /// Our own release; without a term if what stands in its place is none (then it counts as lower than any).
    Ours {
        /// The term at which the lock was taken.
        term: Option<Term>,
    },
    /// Another release of this operator: its lock is never taken, under any policy.
    OtherRelease(String),
    /// Some other program, or a key of a wrong type.
    Foreign(String),
}

impl LockHolder {
    /// Reads the lock: `kind` is what Redis' `TYPE` says, `value` counts only for a string.
    ///
    /// The term is what follows the last slash, because an owner contains slashes: `a/5` at term 7 is no `a`.
    #[must_use]
    pub fn parse(kind: &str, value: &[u8], owner: &OwnerId) -> Self {
        match kind {
            "none" => return Self::Nobody,
            "string" => {}
            _ => return Self::Foreign(Self::shown(kind, value)),
        }
        let text = String::from_utf8_lossy(value);
        let Some(rest) = text.strip_prefix(LOCK_FAMILY) else {
            return Self::Foreign(Self::shown(kind, value));
        };
        match rest.rsplit_once('/') {
            Some((name, term)) if name == &*owner.0 => Self::Ours { term: parse_term(term.as_bytes()) },
            Some((name, _)) => Self::OtherRelease(shown(name.as_bytes())),
            None => Self::OtherRelease(shown(rest.as_bytes())),
        }
    }
}

impl LockHolder {
    /// A foreign lock, fit to be shown.
    pub(super) fn shown(kind: &str, value: &[u8]) -> String {
        match kind {
            "string" => shown(value),
            other => format!("a key of type {}", shown(other.as_bytes())),
        }
    }
}

/// A stranger's text, made fit for a log line: bounded, and without anything that could end the line.
fn shown(value: &[u8]) -> String {
    let clean = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    String::from_utf8_lossy(value).chars().take(SHOWN_CHARS).map(clean).collect()
}

/// Reads a term as Redis holds it: decimal digits without sign, blanks or leading zero. Anything else is absent.
///
/// As strict as the scripts (`scripts/fence.lua`), or this program and Redis would disagree about who is fenced.
#[must_use]
pub fn parse_term(value: &[u8]) -> Option<Term> {
    let text = std::str::from_utf8(value).ok()?;
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') && text.len() <= 10;
    plain.then(|| text.parse().ok()).flatten().and_then(Term::new)
}

/// What is polled; the end of a poll-state key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PollType {
    /// `health`.
    Health,
    /// `tool_discovery`.
    ToolDiscovery,
}

impl PollType {
    /// All of them: the readers know no other.
    pub const ALL: [Self; 2] = [Self::Health, Self::ToolDiscovery];

    /// The spelling in the key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::ToolDiscovery => "tool_discovery",
        }
    }

    /// Reads the spelling of [`PollType::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

/// The names of all keys under one prefix.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
    /// A set of URLs.
    pub hot: String,
    /// A set of URLs.
    pub cold: String,
    /// The facts of the classification, as compact JSON.
    pub metadata: String,
    /// When it was decided: Unix seconds as a decimal number.
    pub timestamp: String,
    /// The lock that keeps other classifiers out.
    pub lock: String,
    /// The highest term that has held the lock. The readers do not know it.
    pub term: String,
}

impl Keys {
    /// ContextForge's prefix, which its workers have built in.
    pub const DEFAULT_PREFIX: &str = "mcpgateway";

    /// The keys under this prefix: 1 to 200 printable ASCII characters, else `None`.
    #[must_use]
    pub fn new(prefix: &str) -> Option<Self> {
        if !(1..=200).contains(&prefix.len()) || !prefix.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let key = |name: &str| format!("{prefix}:server_classification:{name}");
        Some(Self {
            prefix: prefix.to_owned(),
            hot: key("hot"),
            cold: key("cold"),
            metadata: key("metadata"),
            timestamp: key("timestamp"),
            lock: key("leader"),
            term: key("term"),
        })
    }

    /// Where a full publication is made ready. `random` differs at each, so that a late call of a former one cannot
    /// add to it.
    #[must_use]
    pub fn staging(&self, term: Term, random: &str) -> StagingKeys {
        let base = format!("{}:server_classification:staging:{term}:{random}", self.prefix);
        StagingKeys { hot: format!("{base}:hot"), cold: format!("{base}:cold") }
    }

    /// Where a poll of this server is remembered. Only a hash of the URL gets into the key.
    #[must_use]
    pub fn poll_state(&self, url: &ServerUrl, gateway: Option<&GatewayId>, poll: PollType) -> String {
        let mut hash = Sha256::new();
        hash.update(url.expose());
        if let Some(gateway) = gateway {
            hash.update([0]);
            hash.update(gateway.as_str());
        }
        let first_half = hash.finalize().iter().take(16).fold(0_u128, |number, &byte| (number << 8) | u128::from(byte));
        format!("{}:server_poll_state:{first_half:032x}:last_{}", self.prefix, poll.as_str())
    }
}

/// The two sets of a publication that nobody sees yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagingKeys {
    /// Becomes the hot set.
    pub hot: String,
    /// Becomes the cold set.
    pub cold: String,
}

/// How long things live in Redis, all derived from the interval and the Lease's duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiries {
    /// Of hot, cold, metadata and timestamp: two intervals.
    pub publication: Duration,
    /// Of the lock: three intervals, or the Lease's duration and 10 s if that is more, so that a successor finds it
    /// held: a gap would let another classifier in.
    pub lock: Duration,
    /// Of staged sets, renewed by each call that adds to them: one interval.
    pub staging: Duration,
    /// Not an expiry but its counterpart: how often they are renewed; a sixth of the interval, from 1 s to 10 s.
    pub renewal_period: Duration,
}

impl Expiries {
    /// Derives them.
    #[must_use]
    pub fn new(interval: Duration, lease_duration: Duration) -> Self {
        let (second, ten_seconds) = (Duration::from_secs(1), Duration::from_secs(10));
        Self {
            publication: interval.saturating_mul(2),
            lock: interval.saturating_mul(3).max(lease_duration.saturating_add(ten_seconds)),
            staging: interval,
            renewal_period: (interval / 6).clamp(second, ten_seconds),
        }
    }
}

/// A duration as Redis takes it: whole milliseconds, rounded down. One of a hundred years and more is cut there, because
/// Redis refuses what overflows its clock.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    const HUNDRED_YEARS: u64 = 100 * 366 * 86_400_000;
    u64::try_from(duration.as_millis()).unwrap_or(HUNDRED_YEARS).min(HUNDRED_YEARS)
}

#[cfg(test)]
mod tests;
