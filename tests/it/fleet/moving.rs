//! A failover of Redis behind a name that moves: the old primary refuses, hangs up, or works on as if nothing had
//! happened, and new connections lead to a new, empty one. See `docs/contract.md#redis-keys`.

use std::time::{Duration, Instant};

use super::*;
use crate::support::redis::RedisServer;
use crate::support::relay::Relay;
use mcpgateway_operator::api::v1alpha1::PublicationState;
use redis::aio::MultiplexedConnection;

const INTERVAL: Duration = Duration::from_secs(2);
/// The promise.
const LIMIT: Duration = INTERVAL.saturating_add(Duration::from_secs(5));
/// How long the status may say that a store holds the classification to which the name leads no more: until the next
/// renewal, a second after the last one, and the write of the status.
const UNNOTICED: Duration = Duration::from_secs(3);

/// Runs commands of one line each.
async fn run(redis: &mut MultiplexedConnection, commands: &[&str]) {
    for command in commands {
        let mut words = command.split(' ');
        let mut line = redis::cmd(words.next().expect("a command"));
        words.for_each(|word| {
            line.arg(word);
        });
        let answer: redis::RedisResult<redis::Value> = line.query_async(redis).await;
        assert!(answer.is_ok(), "{command}: {answer:?}");
    }
}

/// Lets the old primary fail with these commands, moves the name, and watches what the new one holds and what the
/// status says. `said`: what must be in the log, because Redis said it.
async fn moves(way: &str, commands: &[&str], said: &str) {
    let mut fleet = Fleet::new(&format!("moving-{way}"), 1).await;
    fleet.redis = RedisServer::start(&["--enable-debug-command", "yes", "--save", "3600 1000000"]);
    let relay = Relay::to(fleet.redis.port()).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("a", 1.0)]);
    let operator = fleet.operator_with(&["--redis-url", &relay.url()]);
    let published = fleet.settled().await;
    operator.cycles(1).await;

    let old = std::mem::replace(&mut fleet.redis, RedisServer::start(&[]));
    let mut connection = old.connection().await;
    if way == "misconf" {
        std::fs::remove_dir_all(old.folder()).expect("removed");
    }
    if way == "loading" {
        run(&mut connection, &commands[..commands.len() - 1]).await;
        // It answers when everything is loaded again.
        let last: Vec<String> = commands.last().expect("a command").split(' ').map(str::to_owned).collect();
        tokio::spawn(async move {
            let _: redis::RedisResult<redis::Value> =
                redis::cmd(&last[0]).arg(&last[1..]).query_async(&mut connection).await;
        });
    } else {
        run(&mut connection, commands).await;
    }
    // What was refused before the name moved is about to be in the status.
    let mut unnoticed = UNNOTICED;
    if !said.is_empty() {
        unnoticed = Duration::from_secs(1);
        eventually("the operator notices", SOON, || async { operator.log().contains(said).then_some(()) }).await;
    }
    relay.move_to(fleet.redis.port());
    if way == "cut" {
        relay.cut();
    }
    let moved = Instant::now();
    let mut held = None;
    while moved.elapsed() < LIMIT {
        let status = fleet.status().await;
        let sets = fleet.sets_if_any().await.unwrap_or_default();
        let at = moved.elapsed();
        if sets == published {
            held.get_or_insert(at);
        } else if status.publication.state == PublicationState::Published {
            assert!(at < unnoticed, "{way}: published to nobody after {at:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{way}: the new primary holds the sets after {held:?}");
    assert!(held.is_some(), "{way}: the new primary does not hold the sets");
    assert_eq!(fleet.sets().await, published);
    eventually("the status says so", SOON, || async {
        let held = fleet.condition("Published").await.starts_with("True/");
        held.then_some(())
    })
    .await;
    if way == "loading" {
        return;
    }
    // Nothing writes to the old one any more.
    let mut old = old.connection().await;
    let writes = async |old: &mut MultiplexedConnection| -> String {
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(old).await.expect("statistics");
        stats.lines().filter(|line| line.starts_with("cmdstat_eval")).collect()
    };
    let before = writes(&mut old).await;
    operator.cycles(2).await;
    assert_eq!(writes(&mut old).await, before, "{way}: the old primary is still in use");
}

#[tokio::test]
async fn case_16_a_moving_redis_without_enough_replicas() {
    moves("noreplicas", &["CONFIG SET min-replicas-to-write 1"], "NotEnoughReplicas").await;
}

#[tokio::test]
async fn case_16_a_moving_redis_that_became_read_only() {
    moves("readonly", &["REPLICAOF 127.0.0.1 1"], "ReadOnly").await;
}

#[tokio::test]
async fn case_16_a_moving_redis_whose_primary_is_down() {
    moves("masterdown", &["CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"], "PrimaryDown").await;
}

#[tokio::test]
async fn case_16_a_moving_redis_out_of_memory() {
    moves("oom", &["CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1"], "OutOfMemory").await;
}

#[tokio::test]
async fn case_16_a_moving_redis_that_cannot_save() {
    moves("misconf", &["BGSAVE"], "CannotSave").await;
}

#[tokio::test]
async fn case_16_a_moving_redis_that_is_loading() {
    moves(
        "loading",
        &[
            "CONFIG SET loading-process-events-interval-bytes 1024",
            "CONFIG SET key-load-delay 2000",
            "DEBUG POPULATE 20000 filler",
            "DEBUG RELOAD",
        ],
        "Loading",
    )
    .await;
}

#[tokio::test]
async fn case_16_a_moving_redis_that_splits_in_silence() {
    moves("split", &[], "").await;
}

#[tokio::test]
async fn case_16_a_moving_redis_whose_connections_are_cut() {
    moves("cut", &[], "").await;
}

/// As a cluster that was cloned from a backup: another API server's Lease, the same owner id, the same Redis.
#[tokio::test]
async fn two_releases_with_one_owner_id_do_not_fight_without_end() {
    let (original, clone) = (Fleet::new("original", 1).await, Fleet::new("clone", 1).await);
    for fleet in [&original, &clone] {
        for name in ["a", "b", "c", "d", "e"] {
            fleet.create(name, &format!("http://{name}.example/mcp")).await;
        }
        fleet.workers[0].report(vec![used("a", 1.0)]);
    }
    let flags = ["--redis-url", &original.redis.url(), "--redis-owner-id", "the-same"];
    let first = original.operator_with(&flags);
    original.settled().await;
    let second = clone.operator_with(&flags);
    let yielded = |operator: &Operator| operator.log().contains("displaced twice by its own owner id");
    eventually("one of the two yields", SOON, || async { (yielded(&first) || yielded(&second)).then_some(()) }).await;
    let (yields, holds) = if yielded(&first) { (&original, &clone) } else { (&clone, &original) };
    eventually("the status says why", SOON, || async {
        let published = yields.condition("Published").await;
        (published.starts_with("False/OwnerIdNotUnique") && published.contains("the-same")).then_some(())
    })
    .await;
    assert!(yields.condition("Stalled").await.starts_with("True/OwnerIdNotUnique"));
    eventually("the other one publishes", SOON, || async {
        holds.condition("Published").await.starts_with("True/").then_some(())
    })
    .await;
    let term = original.redis_text("term").await;
    first.cycles(3).await;
    second.cycles(3).await;
    assert_eq!(original.redis_text("term").await, term, "nobody fights");
    assert!(!(yielded(&first) && yielded(&second)), "one goes on");
    assert!(yields.status().await.servers.hot > 0, "statuses are still written");
}
