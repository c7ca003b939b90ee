//! docs/contract.md#r1, docs/contract.md#r3, docs/contract.md#r7: Redis loses its memory, or holds what nobody
//! published.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, Cmd};

use crate::proxy::Proxy;
use crate::row::{Row, SETTLED};
use crate::support::fleet::key;
use crate::support::redis::RedisServer;
use crate::support::{SOON, eventually};

const REPEATED: usize = 10;

/// The servers in use after a fault: different ones each time, so that an old publication does not look like a new one.
fn names(round: usize) -> [&'static str; 2] {
    [["b", "c"], ["d", "e"], ["f", "g"], ["h", "i"]][round % 4]
}

async fn run(redis: &mut MultiplexedConnection, commands: &[&[&str]]) {
    for command in commands {
        redis::cmd(command[0])
            .arg(&command[1..])
            .exec_async(redis)
            .await
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r1_flushall_and_script_flush_ten_times() {
    let row = Row::begin("R1.1", "FLUSHALL; SCRIPT FLUSH; each 10 times").await;
    let _operators = row.two().await;
    let mut redis = row.fleet.redis.connection().await;
    let mut worst = Duration::ZERO;
    for round in 0..REPEATED {
        // The lock is free until the next renewal. Nobody else wants it here.
        row.observer.redis_forgets();
        row.observer.expect_lock(false);
        run(&mut redis, &[&["FLUSHALL"]]).await;
        let before = names(round + 3);
        row.use_servers(names(round));
        worst = worst.max(row.shows_hot(names(round), SETTLED).await);
        let term: i32 = redis.get(key("term")).await.unwrap();
        assert_eq!(term, row.term().await, "the fence is rebuilt");
        row.observer.expect_lock(true);
        run(&mut redis, &[&["SCRIPT", "FLUSH"]]).await;
        row.use_servers(before);
        worst = worst.max(row.shows_hot(before, SETTLED).await);
    }
    row.end(&format!("P2: recovered after at most {worst:.1?}; the fence was rebuilt")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r1_restarts_empty_and_with_an_old_snapshot_ten_times() {
    let mut row = Row::begin("R1.2", "Redis restarts empty; with an old snapshot; each 10 times").await;
    let (_first, _second) = row.two().await;
    let mut worst = Duration::ZERO;
    for round in 0..REPEATED {
        for snapshot in [true, false] {
            if snapshot {
                run(&mut row.fleet.redis.connection().await, &[&["SAVE"]]).await;
                // Publications from here on are lost.
                row.use_servers(names(round + 1));
                row.shows_hot(names(round + 1), SETTLED).await;
            } else {
                std::fs::remove_file(row.fleet.redis.folder().join("dump.rdb")).ok();
            }
            row.observer.expect_lock(false);
            // Forgotten only once nothing more can be published to the old memory.
            row.fleet.redis.kill();
            row.observer.redis_forgets();
            row.fleet.redis.restart();
            row.use_servers(names(round + 2));
            worst = worst.max(row.shows_hot(names(round + 2), SETTLED).await);
            row.observer.redis_forgets();
            row.observer.expect_lock(true);
        }
    }
    row.end(&format!("P2: recovered after at most {worst:.1?}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r3_keys_of_wrong_types_garbage_strays_and_missing_members_are_repaired() {
    let row = Row::begin(
        "R3.1",
        "sets, term, lock, metadata, timestamp of a wrong type, garbage, huge; stray and missing members",
    )
    .await;
    let (_first, _second) = row.two().await;
    let mut redis = row.fleet.redis.connection().await;
    let long = "9".repeat(1 << 20);
    let [hot, cold, metadata, timestamp, term, lock] =
        ["hot", "cold", "metadata", "timestamp", "term", "leader"].map(key);
    let stray = "https://stray.example/";
    let faults: Vec<Vec<Cmd>> = vec![
        vec![Cmd::del(&hot), Cmd::set(&hot, "x")],
        vec![Cmd::del(&cold), Cmd::rpush(&cold, "x")],
        vec![Cmd::del(&metadata), Cmd::sadd(&metadata, "x")],
        vec![Cmd::del(&timestamp), Cmd::hset(&timestamp, "x", "y")],
        vec![Cmd::set(&metadata, "{not json")],
        vec![Cmd::set(&timestamp, "nan")],
        vec![Cmd::set(&metadata, &long)],
        vec![Cmd::set(&term, "nan")],
        vec![Cmd::set(&term, "0x10")],
        vec![Cmd::set(&term, "1000000000000000")],
        vec![Cmd::set(&term, &long)],
        vec![Cmd::del(&term), Cmd::sadd(&term, "x")],
        vec![Cmd::del(&term)],
        vec![Cmd::sadd(&hot, stray)],
        vec![Cmd::sadd(&cold, stray)],
        vec![Cmd::srem(&cold, "http://j.example/mcp")],
        vec![Cmd::del(&hot)],
        vec![Cmd::smove(&hot, &cold, "http://b.example/mcp")],
        // Our lock, with a term that is not a term.
        vec![Cmd::set(
            &lock,
            format!("{}{}", row.fleet.redis_text("leader").await.unwrap().rsplit_once('/').unwrap().0, "/garbage"),
        )],
    ];
    let mut worst = Duration::ZERO;
    row.observer.expect_sets(false);
    let count = faults.len();
    for (round, commands) in faults.into_iter().enumerate() {
        row.use_servers(names(0));
        row.shows_hot(names(0), SETTLED).await;
        if round + 1 == count {
            row.observer.redis_forgets();
        }
        for command in &commands {
            command.exec_async(&mut redis).await.unwrap();
        }
        eventually("the fault is repaired", SOON, || async {
            let mut redis = row.fleet.redis.connection().await;
            let term: String = redis.get(key("term")).await.ok()?;
            let metadata: String = redis.get(key("metadata")).await.ok()?;
            let facts: serde_json::Value = serde_json::from_str(&metadata).ok()?;
            (term == row.term().await.to_string() && facts["total_servers"] == 10).then_some(())
        })
        .await;
        worst = worst.max(row.shows_hot(names(0), SETTLED).await);
    }
    row.end(&format!("P1 at all times; P2: each of {count} faults repaired after at most {worst:.1?}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r3_a_member_swapped_by_hand_is_found_within_ten_cycles() {
    let row = Row::begin("R3.2", "one member of a set swapped for another").await;
    for n in 0..190 {
        row.fleet.create(&format!("n{n:03}"), &format!("http://n{n:03}.example/mcp")).await;
    }
    let operator = row.fleet.operator();
    row.fleet.settled().await;
    let mut redis = row.fleet.redis.connection().await;
    row.observer.expect_sets(false);
    let mut worst = Duration::ZERO;
    for member in ["http://n003.example/mcp", "http://n101.example/mcp", "http://j.example/mcp"] {
        let moved: (i64, i64) = redis::pipe()
            .atomic()
            .srem(key("cold"), member)
            .sadd(key("cold"), format!("{member}/swapped"))
            .query_async(&mut redis)
            .await
            .unwrap();
        assert_eq!(moved, (1, 1));
        let begun = std::time::Instant::now();
        eventually("the swap is undone", Duration::from_secs(2 * 11 + 5), || async {
            row.fleet.sets().await.cold.contains(member).then_some(())
        })
        .await;
        worst = worst.max(begun.elapsed());
    }
    row.fleet.settled().await;
    drop(operator);
    row.end(&format!("P2: undone after at most {worst:.1?} (limit: ten cycles of 2 s)")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r7_a_failover_that_loses_the_last_writes_is_recovered_from() {
    let row = Row::begin("R7", "failover to a replica that lacks the last writes, and a change of leader").await;
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &row.fleet.redis.port().to_string()]);
    let proxy = Proxy::start(row.fleet.redis.port()).await;
    let mut first = row.fleet.operator_with(&["--redis-url", &proxy.url()]);
    row.fleet.settled().await;
    let second = row.fleet.operator_with(&["--redis-url", &proxy.url()]);
    second.ready().await;
    let mut copy = replica.connection().await;
    eventually("the replica has a copy", SOON, || async {
        replica.connection().await.get::<_, Option<String>>(key("term")).await.ok()?
    })
    .await;
    // The replica stops following. The failover loses what is written from here on, a new leader's term included.
    run(&mut copy, &[&["REPLICAOF", "NO", "ONE"]]).await;
    first.stop().await;
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED).await;
    let old: i32 = copy.get(key("term")).await.unwrap();
    assert!(old < row.term().await);
    proxy.redirect(replica.port());
    row.use_servers(["d", "e"]);
    eventually("the new primary has the publication and the fence", SETTLED, || async {
        let mut copy = replica.connection().await;
        let hot: Vec<String> = copy.smembers(key("hot")).await.ok()?;
        let term: i32 = copy.get(key("term")).await.ok()?;
        (hot.contains(&"http://d.example/mcp".to_owned()) && term == row.term().await).then_some(())
    })
    .await;
    drop(second);
    row.end("P2; the fence was rebuilt at the current term").await;
}
