//! The fence in Rust (`tests/support/fence.rs`), which the model of the protocol runs, against the fence in Lua, which
//! decides: every combination of what Redis may hold with what a caller may pass.

use mcpgateway_operator::publish::keys::{LockHolder, parse_term};

use self::fence::{Caller, FenceState, Verdict, check};
use super::*;

#[path = "../../support/fence.rs"]
mod fence;

const OURS: &str = "5";

/// The content of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Content {
    Absent,
    Text(&'static str),
    /// A string without expiry; the others have one.
    Lasting(&'static str),
    List,
}

impl Content {
    const fn text(self) -> Option<&'static str> {
        match self {
            Self::Text(text) | Self::Lasting(text) => Some(text),
            Self::Absent | Self::List => None,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::Text(_) | Self::Lasting(_) => "string",
            Self::List => "list",
        }
    }

    fn write(self, key: &str, pipeline: &mut redis::Pipeline) {
        match self {
            Self::Absent => &mut *pipeline,
            Self::Text(text) => pipeline.set_ex(key, text, 100),
            Self::Lasting(text) => pipeline.set(key, text),
            Self::List => pipeline.rpush(key, "x"),
        };
    }
}

const LOCKS: [Content; 9] = [
    Content::Absent,
    Content::Text("mcpgateway-operator/uid/ns/name/4"),
    Content::Text("mcpgateway-operator/uid/ns/name/5"),
    Content::Text("mcpgateway-operator/uid/ns/name/6"),
    Content::Text("mcpgateway-operator/uid/ns/name/nan"),
    Content::Text("mcpgateway-operator/another/1"),
    Content::Text("classifier_1"),
    Content::Lasting("classifier_1"),
    Content::List,
];
const TERMS: [Content; 6] = [
    Content::Absent,
    Content::Lasting("4"),
    Content::Lasting("5"),
    Content::Lasting("6"),
    Content::Lasting("1999999999"),
    Content::List,
];
const TIMESTAMPS: [Content; 5] =
    [Content::Absent, Content::Text("100.5"), Content::Text("our own"), Content::Lasting("100.5"), Content::List];
/// Type and value of the foreign lock that the caller may displace.
const DISPLACED: [(&str, &str); 4] =
    [("", ""), ("string", "classifier_1"), ("list", ""), ("string", "mcpgateway-operator/another/1")];

#[tokio::test]
async fn the_fence_in_lua_decides_like_the_fence_in_rust() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let text = concat!(
        include_str!("../../../src/publish/scripts/fence.lua"),
        include_str!("../../../src/publish/scripts/renew.lua")
    );
    let script: String = redis::cmd("SCRIPT").arg("LOAD").arg(text).query_async(&mut redis).await.unwrap();
    let owner = OwnerId::parse("uid/ns/name").unwrap();
    let (mut cases, mut passed, mut displaced) = (0, 0, 0);
    for (lock, stored) in LOCKS.into_iter().flat_map(|lock| TERMS.map(|term| (lock, term))) {
        for (timestamp, displace) in TIMESTAMPS.into_iter().flat_map(|stamp| DISPLACED.map(|lock| (stamp, lock))) {
            for (has_held, late) in [(false, false), (true, false), (true, true)] {
                let mut pipeline = redis::pipe();
                pipeline.atomic().cmd("FLUSHDB").ignore();
                for (key, content) in [(LOCK, lock), (TERM, stored), (TIMESTAMP, timestamp)] {
                    content.write(key, &mut pipeline);
                }
                pipeline.exec_async(&mut redis).await.unwrap();
                let before = dump(&mut redis).await;

                let publishes = timestamp == Content::Text("100.5");
                let exact = lock.kind() == displace.0 && lock.text().unwrap_or_default() == displace.1;
                let value = lock.text().unwrap_or_default().as_bytes();
                let state = FenceState {
                    now: 0,
                    lock: LockHolder::parse(lock.kind(), value, &owner),
                    term: stored.text().and_then(|text| parse_term(text.as_bytes())),
                    displaceable: exact && !publishes,
                };
                let not_after = if late { -1 } else { 0 };
                let expected = check(&state, &Caller { not_after, term: term(5), has_held });

                let mut call = redis::cmd("EVALSHA");
                call.arg(&script).arg(7).arg(&[LOCK, TERM, HOT, COLD, METADATA, TIMESTAMP, INTERVALS]);
                call.arg(if late { 1 } else { i64::MAX / 2 });
                call.arg(&[OUR_LOCK, OURS, if has_held { "1" } else { "0" }, "180000", "our own", "an older one"]);
                call.arg(&[displace.0, displace.1]).arg("0");
                let reply: Vec<redis::Value> = call.query_async(&mut redis).await.unwrap();
                let redis::Value::BulkString(verdict) = &reply[0] else { panic!("{reply:?}") };
                let number = |at: usize| match reply[at] {
                    redis::Value::Int(number) => number,
                    _ => panic!("{reply:?}"),
                };
                let found = match verdict.as_slice() {
                    b"TooLate" => Verdict::TooLate,
                    b"Fenced" => Verdict::Fenced(term(number(2))),
                    b"NotHeld" => {
                        assert_eq!(number(4) == 1, publishes, "{lock:?} {timestamp:?}");
                        Verdict::NotHeld
                    }
                    b"Renewed" => {
                        let ours: String = redis.get(LOCK).await.unwrap();
                        assert_eq!(ours, format!("{OUR_LOCK}{OURS}"));
                        assert_eq!(redis.get::<_, String>(TERM).await.unwrap(), OURS);
                        Verdict::Passed { displaces: matches!(state.lock, LockHolder::Foreign(_)) }
                    }
                    other => panic!("{}", String::from_utf8_lossy(other)),
                };
                assert_eq!(found, expected, "{lock:?} {stored:?} {timestamp:?} {displace:?} {has_held} {late}");
                if matches!(found, Verdict::Passed { .. }) {
                    passed += 1;
                    displaced += usize::from(found == Verdict::Passed { displaces: true });
                } else {
                    assert_eq!(dump(&mut redis).await, before, "a refused call changes nothing");
                }
                cases += 1;
            }
        }
    }
    println!("{cases} cases, {passed} passed, {displaced} of them by displacing a foreign holder");
    assert!(passed > 100 && displaced > 10 && cases > 2 * passed);
}
