//! The contract with the readers, in one file: every Redis key, expiry and encoding (`docs/contract.md#redis-keys`).
//! Pure.
//!
//! ContextForge's workers read the same keys and cannot be changed from here: with one byte different, nobody sees the
//! publication, or they purge it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::model::{GatewayId, ServerUrl, Term};
use crate::poll::PollType;

/// The key of ContextForge's leader election, independent of our prefix: its health check holds it wherever
/// `CACHE_TYPE=redis`.
pub const CONTEXTFORGE_LEADER: &str = "gateway_service_leader";

/// The start of every lock value of this program, whatever the release.
const LOCK_FAMILY: &str = "mcpgateway-operator/";

/// How much of another program's lock value is shown.
const SHOWN_CHARS: usize = 120;

/// Names one release of the operator in the lock: `--redis-owner-id`, by default
/// `<uid of namespace kube-system>/<lease namespace>/<lease name>`. 1 to 300 printable ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerId(Arc<str>);

impl OwnerId {
    /// The maximum length.
    pub const MAX_CHARS: usize = 300;

    /// Checks the characters and the length.
    pub fn parse(text: &str) -> Option<Self> {
        is_graphic(text, Self::MAX_CHARS).then(|| Self(text.into()))
    }

    /// The value of our lock without the term, which `scripts/fence.lua` adds.
    pub fn lock_prefix(&self) -> String {
        format!("{LOCK_FAMILY}{}/", self.0)
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Whether a text has 1 to `most` characters, all of them printable ASCII.
fn is_graphic(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Who holds the lock, by the type and value of its key. The texts in it are cleaned for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockHolder {
    /// There is no such key.
    Nobody,
    /// Our own release. A term that cannot be parsed is `None` and counts as lower than any.
    Ours {
        /// The term at which the lock was taken.
        term: Option<Term>,
    },
    /// Another release of this operator: its lock is never taken, under any policy.
    OtherRelease(String),
    /// Another program, or a key of a wrong type.
    Foreign(String),
}

impl LockHolder {
    /// Parses the lock: `kind` is what Redis' `TYPE` answers, `value` counts only for a string.
    ///
    /// The term is what follows the last slash, because an owner contains slashes: `a/5` at term 7 is no `a`.
    pub fn parse(kind: &str, value: &[u8], owner: &OwnerId) -> Self {
        if kind == "none" {
            return Self::Nobody;
        }
        let text = String::from_utf8_lossy(value);
        match text.strip_prefix(LOCK_FAMILY).filter(|_| kind == "string") {
            None => Self::Foreign(shown(kind, value)),
            Some(rest) => match rest.rsplit_once('/') {
                Some((name, term)) if name == &*owner.0 => Self::Ours { term: parse_term(term.as_bytes()) },
                Some((name, _)) => Self::OtherRelease(cleaned(name.as_bytes())),
                None => Self::OtherRelease(cleaned(rest.as_bytes())),
            },
        }
    }
}

/// A foreign lock, cleaned for display.
pub(super) fn shown(kind: &str, value: &[u8]) -> String {
    match kind {
        "string" => cleaned(value),
        other => format!("a key of type {}", cleaned(other.as_bytes())),
    }
}

/// Another program's text, made fit for a log line: bounded, and without anything that could end the line.
fn cleaned(value: &[u8]) -> String {
    let clean = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    String::from_utf8_lossy(value).chars().take(SHOWN_CHARS).map(clean).collect()
}

/// Parses a term as Redis holds it: decimal digits without sign, blanks or leading zero. Anything else counts as
/// absent. As strict as `scripts/fence.lua`, or this program and Redis would disagree about who is fenced.
pub fn parse_term(value: &[u8]) -> Option<Term> {
    let text = std::str::from_utf8(value).ok()?;
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0') && text.len() <= 10;
    plain.then(|| text.parse().ok()).flatten().and_then(Term::new)
}

/// The names of all keys under one prefix.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
    /// A set of URLs.
    pub hot: String,
    /// A set of URLs.
    pub cold: String,
    /// The metadata of the classification, as compact JSON.
    pub metadata: String,
    /// When it was made: Unix seconds as a decimal number.
    pub timestamp: String,
    /// A hash: the URL of a cold server, and its [`PlannedInterval`](crate::model::PlannedInterval). Exists only with a
    /// refresh plan, a bound below the cold interval, or a refresh request.
    pub intervals: String,
    /// The lock that keeps other classifiers out.
    pub lock: String,
    /// The highest term that has held the lock. The readers do not know this key.
    pub term: String,
}

impl Keys {
    /// ContextForge's prefix, which its workers have built in.
    pub const DEFAULT_PREFIX: &str = "mcpgateway";

    /// The keys under this prefix: 1 to 200 printable ASCII characters, else `None`.
    pub fn new(prefix: &str) -> Option<Self> {
        is_graphic(prefix, 200).then(|| Self::under(prefix))
    }

    fn under(prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}:server_classification:{name}");
        Self {
            prefix: prefix.to_owned(),
            hot: key("hot"),
            cold: key("cold"),
            metadata: key("metadata"),
            timestamp: key("timestamp"),
            intervals: key("intervals"),
            lock: key("leader"),
            term: key("term"),
        }
    }

    /// What all of them begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Hot, cold and intervals of a full publication before it is visible. `random` differs each time, so that a late
    /// call of an earlier publication cannot add to them.
    pub fn staging(&self, term: Term, random: &str) -> [String; 3] {
        let staged = |key| format!("{}:server_classification:staging:{term}:{random}:{key}", self.prefix);
        ["hot", "cold", "intervals"].map(staged)
    }

    /// The stamp of the last completed poll of this server. The key holds a hash of the URL, never the URL.
    pub fn poll_state(&self, url: &ServerUrl, gateway: Option<&GatewayId>, poll: PollType) -> String {
        self.state(url, gateway, "last", poll)
    }

    /// How long the list of the last completed poll is valid.
    pub fn poll_ttl(&self, url: &ServerUrl, gateway: Option<&GatewayId>, poll: PollType) -> String {
        self.state(url, gateway, "ttl", poll)
    }

    fn state(&self, url: &ServerUrl, gateway: Option<&GatewayId>, what: &str, poll: PollType) -> String {
        let mut hash = Sha256::new();
        hash.update(url.expose());
        if let Some(gateway) = gateway {
            hash.update([0]);
            hash.update(&*gateway.text());
        }
        let hash = first_half(hash);
        format!("{}:server_poll_state:{hash:032x}:{what}_{}", self.prefix, <&str>::from(poll))
    }
}

/// The first 16 bytes of a hash as a number, the most significant one first.
pub(crate) fn first_half(hash: Sha256) -> u128 {
    hash.finalize().iter().take(16).fold(0, |number, &byte| (number << 8) | u128::from(byte))
}

impl Default for Keys {
    fn default() -> Self {
        Self::under(Self::DEFAULT_PREFIX)
    }
}

/// How long keys live in Redis, all derived from the interval and the Lease's duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiries {
    /// Of hot, cold, metadata, timestamp and intervals: two intervals.
    pub publication: Duration,
    /// Of the lock: three intervals, or the Lease's duration and 10 s if that is longer. A successor must find it held:
    /// a gap would let another classifier in.
    pub lock: Duration,
    /// Of staged keys, renewed by each call that adds to them: one interval.
    pub staging: Duration,
    /// How often they are renewed: a sixth of the interval, from 1 s to 10 s.
    pub renewal_period: Duration,
}

impl Expiries {
    pub(super) fn new(interval: Duration, lease_duration: Duration) -> Self {
        let (second, ten_seconds) = (Duration::from_secs(1), Duration::from_secs(10));
        Self {
            publication: interval.saturating_mul(2),
            lock: interval.saturating_mul(3).max(lease_duration.saturating_add(ten_seconds)),
            staging: interval,
            renewal_period: (interval / 6).clamp(second, ten_seconds),
        }
    }
}

/// A duration as Redis takes it: whole milliseconds, rounded down, at most a hundred years, because Redis refuses an
/// expiry that overflows its clock.
pub(super) fn millis(duration: Duration) -> u64 {
    const HUNDRED_YEARS: u64 = 100 * 366 * 86_400_000;
    u64::try_from(duration.as_millis()).unwrap_or(HUNDRED_YEARS).min(HUNDRED_YEARS)
}

#[cfg(test)]
mod tests;
