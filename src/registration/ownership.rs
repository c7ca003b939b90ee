//! Whose an entry of `ContextForge` is, by the User-Agent of the request that created it. Pure.
//!
//! `ContextForge` keeps that header verbatim, for the life of the entry (`createdUserAgent`), so an entry is recognized
//! when the answer to its create was lost, when the object was applied again, and in a rebuilt cluster. An entry that
//! another user of `ContextForge` owns is never ours, whatever its header says.

use std::fmt;
use std::sync::{Arc, LazyLock};

use regex::Regex;

use crate::model::{ObjectName, ObjectUid};

/// The longest owner id; with the longest names the header stays below the 600 characters that are known to be kept.
const OWNER_MAX_CHARS: usize = 100;

/// The name of one installation of the operator. It stays the same when the cluster is rebuilt, and differs from that
/// of every other operator at the same `ContextForge`: letters, digits, `.`, `_`, `/` and `-`, 1 to 100 of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerId(Arc<str>);

impl OwnerId {
    /// Checks the shape.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._/-".contains(&b);
        ((1..=OWNER_MAX_CHARS).contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.into()))
    }
}

/// For which object an entry was created. [`fmt::Display`] is the User-Agent of the create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creator {
    /// The installation.
    pub owner: OwnerId,
    /// The object.
    pub object: ObjectName,
    /// `metadata.uid` of the object.
    pub uid: ObjectUid,
}

impl fmt::Display for Creator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { owner: OwnerId(owner), object, uid } = self;
        let version = env!("CARGO_PKG_VERSION");
        write!(f, "mcpgateway-operator/{version} (owner={owner}; object={object}; uid={uid})")
    }
}

#[expect(clippy::unwrap_used, reason = "a constant pattern, compiled by the tests")]
static USER_AGENT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\Amcpgateway-operator/[^ ]+ \(owner=([^ ;]+); object=([^ ;/]+)/([^ ;/]+); uid=([0-9A-Za-z-]+)\)\z")
        .unwrap()
});

impl Creator {
    /// Reads a User-Agent that any version of the operator has sent; `None` for all others.
    pub fn parse(user_agent: &str) -> Option<Self> {
        let (_, [owner, namespace, name, uid]) = USER_AGENT.captures(user_agent)?.extract();
        Some(Self { owner: OwnerId::parse(owner)?, object: ObjectName::new(namespace, name), uid: uid.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn creator() -> Creator {
        Creator {
            owner: OwnerId::parse("gateways/fleet-a").unwrap(),
            object: ObjectName::new("team-a", "github.v2"),
            uid: "6f0a3a0e-7d4b-4f0e-9a55-0d6d2b1f7c11".into(),
        }
    }

    #[test]
    fn the_user_agent_names_owner_object_and_uid_and_is_read_back() {
        let text = creator().to_string();
        let rest = "(owner=gateways/fleet-a; object=team-a/github.v2; uid=6f0a3a0e-7d4b-4f0e-9a55-0d6d2b1f7c11)";
        assert_eq!(text, format!("mcpgateway-operator/{} {rest}", env!("CARGO_PKG_VERSION")));
        assert_eq!(Creator::parse(&text), Some(creator()));
        assert_eq!(Creator::parse(&format!("mcpgateway-operator/9.1.0-rc.1 {rest}")), Some(creator()));
    }

    #[test]
    fn other_user_agents_are_nobodys() {
        let text = creator().to_string();
        for other in [
            "",
            "curl/8.5.0",
            "mcpgateway-operator/0.1.0",
            &format!(" {text}"),
            &format!("{text}\n"),
            &format!("{text} (owner=x; object=a/b; uid=1)"),
            &text.replace("owner=", "owner= "),
            &text.replace("team-a/", "team-a/b/"),
            &text.replace("uid=", "uid=;"),
        ] {
            assert_eq!(Creator::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_longest_user_agent_is_kept_whole() {
        let long = Creator {
            owner: OwnerId::parse(&"o".repeat(OWNER_MAX_CHARS)).unwrap(),
            object: ObjectName::new(&"n".repeat(63), &"m".repeat(253)),
            uid: creator().uid,
        };
        assert!(long.to_string().len() <= 600, "{}", long.to_string().len());
        for bad in ["", "a b", "a;b", "a(b", "ä", &"o".repeat(OWNER_MAX_CHARS + 1)] {
            assert!(OwnerId::parse(bad).is_none(), "{bad}");
        }
    }
}
