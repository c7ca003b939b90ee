//! The domain types that all modules share. Pure.
//!
//! Raw input (JSON, YAML, Redis replies, Kubernetes objects) is parsed once, at the edge, into these newtypes; inner
//! modules never see an unchecked string.

pub mod clocks;
mod fleet_event;
mod id_text;
pub(crate) mod label;
mod optional_gauge;
mod planned_interval;
pub mod polling;
mod problem;
pub(crate) mod query_names;
mod resource_version;
mod time;
mod url;

use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use arcstr::ArcStr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use fleet_event::FleetEvent;
use id_text::IdText;
pub use optional_gauge::{OptionalGauge, registered};
pub use planned_interval::PlannedInterval;
pub use problem::{Problem, ProblemReason};
pub use resource_version::ResourceVersion;
pub use time::{Monotonic, UnixTime};
pub use url::{MAX_CHARS as URL_MAX_CHARS, PRINTABLE_PATTERN, SHAPE_PATTERN, ServerUrl, USER_INFO_PATTERN, UrlError};

/// Hot: among the most recently used share of the fleet, polled at the full rate. Cold: polled at a third of it.
/// Absent: not classified, polled at the full rate.
// The CRD shows this text as the description of `status.tier`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema, strum::Display, strum::IntoStaticStr,
)]
pub enum Tier {
    /// Polled at the full rate.
    Hot,
    /// Polled at a third of the full rate.
    Cold,
}

/// When the lock of another program is taken over.
// The CRD shows this text as the description of `status.redisLock.takeover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
pub enum TakeoverDecision {
    /// Leave the lock alone: the policy says never.
    #[serde(rename = "Never")]
    LeaveIt,
    /// Wait: the holder publishes, or has not been idle for long enough.
    #[serde(rename = "WhenIdle")]
    Wait,
    /// Take the lock with the next publication.
    #[serde(rename = "WithNextPublication")]
    Take,
}

/// The fencing token: a number below 2,000,000,000 that grows with every change of leader (`docs/contract.md#terms`).
///
/// It is `leaseTransitions` of the Lease, `status.term` of an object and the Redis key `…:term`. A value outside of the
/// range, or one that is not a number, counts as absent wherever it is found, so that no tampered value can push the
/// fleet out of the range of an int32.
///
/// The last number of the range may be written but counts as absent too. Otherwise a store that holds it (by tampering,
/// or after a value just below it) would refuse every later term for ever, because there is none above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(NonZeroU32);

impl Term {
    /// The first number that counts as absent.
    pub const LIMIT: u32 = 1_999_999_999;
    /// The lowest term.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The term with this number, if it is valid.
    pub fn new(number: i64) -> Option<Self> {
        let number = u32::try_from(number).ok().filter(|number| *number < Self::LIMIT)?;
        NonZeroU32::new(number).map(Self)
    }

    /// The number, as an int32 for Kubernetes fields.
    pub fn get(self) -> i32 {
        i32::try_from(self.0.get()).unwrap_or(i32::MAX)
    }

    /// The term after the highest of these, which an acquisition of the Lease writes. After the last term it starts
    /// again from 1, which no store refuses because the last term counts as absent.
    pub fn after(known: impl IntoIterator<Item = Option<Self>>) -> Self {
        match known.into_iter().flatten().max() {
            Some(Self(highest)) if highest.get() < Self::LIMIT => Self(highest.saturating_add(1)),
            _ => Self::FIRST,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id under which gateway workers know a server: 1 to 64 letters, digits, `.`, `_` or `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GatewayId(IdText);

impl GatewayId {
    /// Checks the shape.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        fits.then(|| Self(IdText::new(text)))
    }

    /// The id as written.
    pub fn text(&self) -> Cow<'_, str> {
        self.0.text()
    }

    /// Calls a function with the id as written, which is not allocated.
    pub(crate) fn with_text<T>(&self, call: impl FnOnce(&str) -> T) -> T {
        self.0.with_text(call)
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `metadata.uid` of an object: differs from that of a later object with the same name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectUid(IdText);

impl From<&str> for ObjectUid {
    fn from(text: &str) -> Self {
        Self(IdText::new(text))
    }
}

impl fmt::Display for ObjectUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of one worker process, which the process makes after its fork and anew at each start: 1 to 128 printable
/// ASCII characters. By contract a UUID, but nothing depends on that (`docs/contract.md#the-usage-report`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// Checks the shape.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// The id as the process reports it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An address that answers for one or more workers: its URL without query and user info, which are never shown or
/// compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointId(Arc<str>);

impl EndpointId {
    /// The id for a URL whose query and user info have been removed.
    pub fn new(url: &str) -> Self {
        Self(url.into())
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Namespace and name of a Kubernetes object. Orders by namespace, then name: the order of the registry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectName {
    /// The namespace.
    pub namespace: ArcStr,
    /// The name.
    pub name: ArcStr,
}

impl ObjectName {
    /// The name of an object.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An error and its causes, outermost first, each once; on one line, and at most 300 characters, because a library's
/// error may contain text from outside. The caller removes what may hold a secret, such as the URL of a request.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    causes.join(": ").chars().filter(|char| !char.is_control()).take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_below_two_thousand_million() {
        assert_eq!(Term::new(0), None);
        assert_eq!(Term::new(-1), None);
        assert_eq!(Term::new(1), Some(Term::FIRST));
        assert_eq!(Term::new(1_999_999_998).map(Term::get), Some(1_999_999_998));
        for beyond in [1_999_999_999, 2_000_000_000, 2_147_483_647, 1_000_000_000_000_000] {
            assert_eq!(Term::new(beyond), None, "{beyond}");
        }
    }

    #[test]
    fn the_last_term_is_followed_by_the_first_and_does_not_refuse_it() {
        let last = Term::after([Term::new(1_999_999_998)]);
        assert_eq!(last.get(), 1_999_999_999);
        assert_eq!(Term::new(last.get().into()), None, "it counts as absent");
        assert_eq!(Term::after([Some(last)]), Term::FIRST);
    }

    #[test]
    fn the_next_term_is_above_every_known_one() {
        assert_eq!(Term::after([]), Term::FIRST);
        assert_eq!(Term::after([None, None]), Term::FIRST);
        assert_eq!(Term::after([Term::new(3), None, Term::new(7)]).get(), 8);
    }

    #[test]
    fn gateway_ids_are_checked() {
        assert!(GatewayId::parse("e6b7c0ffee").is_some());
        assert!(GatewayId::parse("a.b_c-D9").is_some());
        for bad in ["", "has space", "slash/", "ümlaut", &"x".repeat(65)] {
            assert!(GatewayId::parse(bad).is_none(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn objects_sort_by_namespace_then_name() {
        let mut names = [ObjectName::new("b", "a"), ObjectName::new("a", "z"), ObjectName::new("a", "b")];
        names.sort();
        assert_eq!(names.map(|n| n.to_string()), ["a/b", "a/z", "b/a"]);
    }
}
