//! The words of the program, as types. Pure.
//!
//! Raw input (JSON, YAML, Redis replies, Kubernetes objects) is parsed once, at the edge, into these newtypes; nothing
//! further in ever sees an unchecked string. Each type states its shape, its unit and where the rule comes from.

mod causes;
mod fleet_event;
mod optional_gauge;
mod problem;
mod time;
mod url;

use std::fmt;
use std::sync::Arc;

pub use causes::causes;
pub use fleet_event::FleetEvent;
pub use optional_gauge::OptionalGauge;
pub use problem::Problem;
pub use time::{Monotonic, UnixTime};
pub use url::{
    CREDENTIAL_QUERY_PATTERN, MAX_CHARS as URL_MAX_CHARS, PRINTABLE_PATTERN, SHAPE_PATTERN, ServerUrl,
    USER_INFO_PATTERN, UrlError,
};

/// How often gateways should poll a server: hot at the full rate, cold at a third of it. Absent (`Option::None`)
/// means *not classified*, which readers treat as the full rate. SPEC section 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Among the most recently used share of the fleet.
    Hot,
    /// Everything else that is registered and was asked about.
    Cold,
}

impl Tier {
    /// The spelling in `status.tier` of an object: `Hot` or `Cold`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "Hot",
            Self::Cold => "Cold",
        }
    }

    /// Reads the spelling of [`Tier::as_str`]; anything else is no tier.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Hot" => Some(Self::Hot),
            "Cold" => Some(Self::Cold),
            _ => None,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The fencing token: a number below 2,000,000,000 that grows with every change of leader.
///
/// It is `leaseTransitions` of the Lease, `status.term` of an object and the Redis key `…:term`. Whatever lies
/// outside the range, or is no number, counts as absent wherever it is found (SPEC section 4), so that no tampered
/// value can push the fleet out of the range of an int32.
///
/// The last number of the range may be written and is never counted. Were it counted, a store that holds it (tampered
/// with, or led there by a value just below) would refuse every later term for good, because there is none above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u32);

impl Term {
    /// The first number that is not counted where it is found.
    pub const LIMIT: u32 = 1_999_999_999;
    /// The lowest term.
    pub const FIRST: Self = Self(1);

    /// The term of a number that was found somewhere, if it counts as one.
    #[must_use]
    pub fn new(number: i64) -> Option<Self> {
        let number = u32::try_from(number).ok()?;
        (1..Self::LIMIT).contains(&number).then_some(Self(number))
    }

    /// The number itself, as an int32 for Kubernetes fields.
    #[must_use]
    pub fn get(self) -> i32 {
        i32::try_from(self.0).unwrap_or(i32::MAX)
    }

    /// The term after the highest of these: what an acquisition writes (SPEC section 5). After the last one it starts
    /// again from 1, which no store refuses, because the last one counts nowhere.
    #[must_use]
    pub fn after(known: impl IntoIterator<Item = Option<Self>>) -> Self {
        match known.into_iter().flatten().max() {
            Some(Self(highest)) if highest < Self::LIMIT => Self(highest + 1),
            _ => Self::FIRST,
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id under which gateway workers know a server: 1 to 64 of letters, digits, `.`, `_`, `-`. SPEC section 1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GatewayId(Arc<str>);

impl GatewayId {
    /// Checks the shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        fits.then(|| Self(text.into()))
    }

    /// The id as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The id of one worker process: made by it after fork, new at each start (SPEC section 2), 1 to 128 printable
/// ASCII characters. A UUID by contract; nothing here depends on that.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(Arc<str>);

impl WorkerId {
    /// Checks the shape.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }
}

/// An address that answers for one or more workers: its URL without query and user info, which is all that is ever
/// shown or compared.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndpointId(Arc<str>);

impl EndpointId {
    /// Of a URL that has already lost its query and user info.
    #[must_use]
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
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ObjectName {
    /// Puts both together.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_end_below_two_thousand_million() {
        assert_eq!(Term::new(0), None);
        assert_eq!(Term::new(-1), None);
        assert_eq!(Term::new(1), Some(Term::FIRST));
        assert_eq!(Term::new(1_999_999_998).map(Term::get), Some(1_999_999_998));
        for beyond in [1_999_999_999, 2_000_000_000, 2_147_483_647, 1_000_000_000_000_000] {
            assert_eq!(Term::new(beyond), None, "{beyond}");
        }
    }

    #[test]
    fn after_the_last_term_comes_the_first_which_the_last_does_not_refuse() {
        let last = Term::after([Term::new(1_999_999_998)]);
        assert_eq!(last.get(), 1_999_999_999);
        assert_eq!(Term::new(last.get().into()), None, "it counts nowhere");
        assert_eq!(Term::after([Some(last)]), Term::FIRST);
    }

    #[test]
    fn the_next_term_is_above_every_known_one() {
        assert_eq!(Term::after([]), Term::FIRST);
        assert_eq!(Term::after([None, None]), Term::FIRST);
        assert_eq!(Term::after([Term::new(3), None, Term::new(7)]).get(), 8);
    }

    #[test]
    fn gateway_ids_are_short_and_plain() {
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
