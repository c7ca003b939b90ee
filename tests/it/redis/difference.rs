//! Sending only what changed, on a base that the script verifies; and reading back.

use prometheus_client::registry::Registry;

use super::*;

/// A store, and its metrics.
pub(super) struct Counted {
    pub(super) store: Store,
    registry: Registry,
}

impl Counted {
    pub(super) fn at(server: &RedisServer) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        Self { store: Store::new(settings(&server.url()), ReferenceClock::default(), metrics), registry }
    }

    /// The number of publications of this kind with this outcome.
    pub(super) fn count(&self, kind: &str, outcome: &str) -> usize {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let name = format!("redis_publishes_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
    }
}

#[tokio::test]
async fn only_what_changed_is_sent() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    let rounds = [(100, 0), (100, 3), (100, 3), (90, 3), (120, 50), (0, 0), (4, 0), (100, 0)];
    for (round, (total, first_hot)) in rounds.into_iter().enumerate() {
        let publication = fleet("a", total, first_hot);
        assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED, "round {round}");
        assert_published(&mut redis, &publication, 1).await;
    }
    let counts = ["full", "difference", "unchanged"].map(|kind| counted.count(kind, "published"));
    assert_eq!(counts, [1, 6, 1]);
}

#[tokio::test]
async fn a_large_difference_is_staged_instead() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    assert_eq!(counted.store.publish(&token, &fleet("a", 10, 0), None).await, PUBLISHED);
    let many = fleet("a", 6_000, 0);
    assert_eq!(counted.store.publish(&token, &many, None).await, PUBLISHED);
    assert_published(&mut redis, &many, 1).await;
    let moved = fleet("a", 6_000, 1_200);
    // Moves 2,400 servers.
    assert_eq!(counted.store.publish(&token, &moved, None).await, PUBLISHED);
    assert_published(&mut redis, &moved, 1).await;
    assert_eq!([counted.count("full", "published"), counted.count("difference", "published")], [2, 1]);
}

/// Whatever was changed in Redis, the difference is not applied to it: everything is published at once.
#[tokio::test]
async fn a_changed_base_leads_to_a_full_publication() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    let (stray, member) = ("https://stray.example/", "https://mcp-50.example.com/a");
    let moved = "https://mcp-1.example.com/a";
    let tampering: [Vec<redis::Cmd>; 8] = [
        vec![redis::Cmd::sadd(HOT, stray)],
        vec![redis::Cmd::srem(COLD, member)],
        vec![redis::Cmd::del(COLD)],
        vec![redis::Cmd::set(METADATA, "{}")],
        vec![redis::Cmd::del(HOT), redis::Cmd::set(HOT, "a string")],
        // The server that leaves the hot set is gone already, and another is in its place.
        vec![redis::Cmd::srem(HOT, moved), redis::Cmd::sadd(HOT, stray)],
        vec![redis::cmd("FLUSHALL")],
        vec![redis::Cmd::del(METADATA), redis::Cmd::rpush(METADATA, "x")],
    ];
    let count = tampering.len();
    for commands in tampering {
        assert_eq!(counted.store.publish(&token, &fleet("a", 100, 0), None).await, PUBLISHED);
        for command in &commands {
            command.exec_async(&mut redis).await.unwrap();
        }
        let next = fleet("a", 100, 2);
        assert_eq!(counted.store.publish(&token, &next, None).await, PUBLISHED);
        assert_published(&mut redis, &next, 1).await;
    }
    assert_eq!([counted.count("difference", "base"), counted.count("full", "published")], [count, 1 + count]);
}

#[tokio::test]
async fn an_unknown_outcome_leads_to_a_full_publication() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    assert_eq!(counted.store.publish(&token, &fleet("a", 100, 0), None).await, PUBLISHED);
    server.suspend();
    let lost = counted.store.publish(&token, &fleet("a", 100, 1), None).await;
    assert_eq!(lost, Err(NotWritten::Failed(Error::TimedOut)));
    server.resume();
    let last = fleet("a", 100, 2);
    assert_eq!(counted.store.publish(&token, &last, None).await, PUBLISHED);
    assert_published(&mut redis, &last, 1).await;
    assert_eq!([counted.count("full", "published"), counted.count("difference", "timed_out")], [2, 0]);
}

/// A refused publication was not written, so the base is still valid.
#[tokio::test]
async fn a_refused_difference_keeps_the_base() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis) = (Counted::at(&server), server.connection().await);
    assert_eq!(counted.store.publish(&token(1), &fleet("a", 100, 0), None).await, PUBLISHED);
    let _: () = redis.set(TERM, 9).await.unwrap();
    let fenced = Err(NotWritten::Fenced { by: term(9) });
    assert_eq!(counted.store.publish(&token(1), &fleet("a", 100, 1), None).await, fenced);
    let next = fleet("a", 100, 2);
    assert_eq!(counted.store.publish(&token(10), &next, None).await, PUBLISHED);
    assert_published(&mut redis, &next, 10).await;
    assert_eq!([counted.count("full", "published"), counted.count("difference", "published")], [1, 1]);
}

/// A user with only some of the permissions must not leave half a difference behind.
#[tokio::test]
async fn a_user_without_a_needed_command_changes_nothing() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    let before = fleet("a", 100, 0);
    assert_eq!(counted.store.publish(&token, &before, None).await, PUBLISHED);
    redis::cmd("ACL").arg(&["SETUSER", "default", "-srem"]).exec_async(&mut redis).await.unwrap();
    let refused = counted.store.publish(&token, &fleet("a", 100, 2), None).await;
    assert_eq!(refused, Err(no_permission("SREM", HOT)));
    assert_published(&mut redis, &before, 1).await;
}

#[tokio::test]
async fn a_swapped_member_is_found_within_ten_cycles() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    assert_eq!(read_back(&counted.store, &fleet("a", 1, 0)).await, Ok(ReadBack::NoBase));
    for total in [0, 1, 50, 3_000] {
        let publication = fleet("a", total, 0);
        assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED);
        for cycle in 0..25 {
            assert_eq!(
                read_back(&counted.store, &publication).await,
                Ok(ReadBack::AsPublished),
                "{total} servers, {cycle}"
            );
        }
    }
    let mut publication = fleet("a", 3_000, 0);
    assert_eq!(read_back(&counted.store, &publication).await, Ok(ReadBack::NoBase), "another list of servers");
    assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED);
    // At any position of the scan, and for any member.
    for swapped in (0..3_000).step_by(173) {
        let member = format!("https://mcp-{swapped}.example.com/a");
        let key = if swapped < 600 { HOT } else { COLD };
        assert_eq!(redis.srem::<_, _, i64>(key, &member).await.unwrap(), 1);
        let _: () = redis.sadd(key, format!("https://stray-{swapped}.example/")).await.unwrap();
        let mut cycles = 0;
        while read_back(&counted.store, &publication).await.unwrap() == ReadBack::AsPublished {
            cycles += 1;
            assert!(cycles < 10, "not found: {member}");
        }
        // The next publication is full, though nothing else changed.
        publication = fleet("a", 3_000, 0);
        assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED);
        assert_published(&mut redis, &publication, 1).await;
    }
    let _: () = redis.del(HOT).await.unwrap();
    let _: () = redis.set(HOT, "x").await.unwrap();
    let _: () = redis.del(COLD).await.unwrap();
    let _: () = redis.set(COLD, "x").await.unwrap();
    assert_eq!(read_back(&counted.store, &publication).await, Ok(ReadBack::Different), "a key of a wrong type");
}

/// The budgets that do not depend on the machine (`docs/contract.md#budgets`): what is sent does not grow with the fleet.
#[tokio::test]
async fn the_bytes_sent_are_in_proportion_to_the_change() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    let mut publish = async |first_hot: usize| {
        let publication = fleet("some-longer-path-as-servers-have-them", 20_000, first_hot);
        let before = received(&mut redis).await;
        assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED);
        received(&mut redis).await - before
    };
    let full = publish(0).await;
    // The first call of each script sends its text, too.
    publish(0).await;
    let (unchanged, moved) = (publish(0).await, publish(50).await);
    println!("full {full} bytes, unchanged {unchanged}, 100 moved {moved}");
    assert!(unchanged <= 1_024 && moved <= 40_000 && full > 1_000_000);
}

/// Bytes that Redis has received so far, including this call.
async fn received(redis: &mut MultiplexedConnection) -> usize {
    let text: String = redis::cmd("INFO").arg("stats").query_async(redis).await.unwrap();
    text.lines().find_map(|line| line.strip_prefix("total_net_input_bytes:")?.trim().parse().ok()).unwrap()
}
