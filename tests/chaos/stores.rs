//! docs/contract.md#r2, docs/contract.md#r4: somebody else holds the lock, and Redis refuses.

use std::time::Duration;

use redis::AsyncCommands;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::proxy::Proxy;
use crate::row::{Row, SETTLED};
use crate::support::fleet::key;
use crate::support::redis::RedisServer;
use crate::support::{SOON, eventually};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r2_a_lost_or_broken_lock_is_recovered_as_the_policy_allows() {
    let row = Row::begin("R2", "lock deleted; taken by a program that purges; of a wrong type; without expiry").await;
    // Under load the leader may change. That is not a fault here.
    let (first, second) = row.two().await;
    let taken = || async {
        let name = "mcpgateway_operator_redis_lock_takeovers_total";
        (first.metric(name).await + second.metric(name).await).to_string()
    };
    let mut redis = row.fleet.redis.connection().await;
    row.observer.expect_lock(false);
    row.observer.expect_sets(false);
    let _: () = redis.del(key("leader")).await.unwrap();
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED).await;
    let _: () = redis.persist(key("leader")).await.unwrap();
    eventually("the lock has an expiry again", SOON, || async {
        let mut redis = row.fleet.redis.connection().await;
        redis.pttl::<_, i64>(key("leader")).await.ok().filter(|left| *left > 0)
    })
    .await;
    assert_eq!(taken().await, "0");

    // Taken between two checks, with a purge, as ContextForge does: recovered after one renewal period.
    let _: () = redis.set(key("leader"), "classifier_1").await.unwrap();
    let _: () = redis.del(&[key("hot"), key("cold"), key("metadata"), key("timestamp")]).await.unwrap();
    row.use_servers(["d", "e"]);
    row.shows_hot(["d", "e"], SETTLED).await;
    assert_eq!(taken().await, "1");
    // The same holder again: recovered at the next check.
    let _: () = redis.set(key("leader"), "classifier_1").await.unwrap();
    row.use_servers(["f", "g"]);
    row.shows_hot(["f", "g"], SETTLED).await;
    assert_eq!(taken().await, "2");
    let _: () = redis.del(key("leader")).await.unwrap();
    let _: () = redis.rpush(key("leader"), "x").await.unwrap();
    row.use_servers(["h", "i"]);
    row.shows_hot(["h", "i"], SETTLED).await;
    assert_eq!(taken().await, "3");

    // A holder that publishes keeps the lock, and we write nothing meanwhile.
    let publish = |stamp: &'static str| {
        let mut redis = redis.clone();
        async move {
            let _: () = redis.set(key("leader"), "classifier_9").await.unwrap();
            let _: () = redis.set_ex(key("timestamp"), stamp, 600).await.unwrap();
        }
    };
    publish("1700000000.5").await;
    row.use_servers(["b", "c"]);
    let cycles = || async {
        let name = "mcpgateway_operator_cycle_duration_seconds_count";
        first.metric(name).await + second.metric(name).await
    };
    let begun = cycles().await;
    eventually("five cycles", SOON, || async { (cycles().await >= begun + 5.0).then_some(()) }).await;
    assert_eq!(redis.get::<_, String>(key("leader")).await.unwrap(), "classifier_9");
    assert_eq!(redis.get::<_, String>(key("timestamp")).await.unwrap(), "1700000000.5");
    assert!(row.fleet.status().await.redis_lock.holder.unwrap_or_default().starts_with("classifier_9"));
    // Without its publication the holder is idle, and loses the lock after an interval.
    let _: () = redis.del(key("timestamp")).await.unwrap();
    row.shows_hot(["b", "c"], SETTLED + Duration::from_secs(3)).await;
    row.end(
        "taken only from an idle holder: after one period if the lock was ours, at once if the holder is known, \
         else after one interval",
    )
    .await;
}

/// A socket that answers every command with the same Redis error.
async fn refusing(error: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    // One answer for each array of a request. The arguments of our commands contain no such line.
                    let commands =
                        buffer[..count].windows(2).filter(|pair| pair[0] == b'*' && pair[1].is_ascii_digit());
                    let answer = format!("-{error}\r\n").repeat(commands.count());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r4_every_refusal_of_redis_is_reported_and_recovered_from() {
    let row =
        Row::begin("R4.1", "maxmemory with noeviction (10 times), read-only replica, MISCONF, LOADING, MOVED, BUSY")
            .await;
    let proxy = Proxy::start(row.fleet.redis.port()).await;
    let operator = row.fleet.operator_with(&["--redis-url", &proxy.url()]);
    row.fleet.settled().await;
    let redis = row.fleet.redis.connection().await;
    let config = |name: &'static str, value: &'static str| {
        let mut redis = redis.clone();
        async move { redis::cmd("CONFIG").arg(&["SET", name, value]).exec_async(&mut redis).await.unwrap() }
    };
    let says = |word: &'static str| {
        let row = &row;
        async move {
            eventually(&format!("the fleet's status says {word}"), SOON, || async {
                row.fleet.status().await.redis_lock.reason.filter(|reason| reason.contains(word))
            })
            .await
        }
    };
    let mut worst = Duration::ZERO;
    for round in 0..10 {
        let names = [["b", "c"], ["d", "e"]][round % 2];
        config("maxmemory", "1").await;
        row.use_servers(names);
        operator.cycles(1).await;
        assert!(operator.log().contains("OutOfMemory"), "the log names the cause");
        config("maxmemory", "0").await;
        worst = worst.max(row.shows_hot(names, SETTLED).await);
    }

    // Saving really fails, because there is a folder of that name. Redis then refuses writes itself.
    std::fs::create_dir(row.fleet.redis.folder().join("dump.rdb")).unwrap();
    config("save", "1 1").await;
    redis::cmd("BGSAVE").exec_async(&mut redis.clone()).await.ok();
    says("CannotSave").await;
    config("save", "").await;
    config("stop-writes-on-bgsave-error", "no").await;
    row.use_servers(["f", "g"]);
    row.shows_hot(["f", "g"], SETTLED).await;

    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &row.fleet.redis.port().to_string()]);
    for (port, word) in [
        (replica.port(), "ReadOnly"),
        (refusing("LOADING Redis is loading the dataset in memory").await, "Loading"),
        (refusing("MOVED 3999 127.0.0.1:6381").await, "ClusterRefused"),
        (refusing("BUSY Redis is busy running a script").await, "Refused"),
    ] {
        proxy.redirect(port);
        says(word).await;
        let before = operator.log().lines().count();
        operator.cycles(3).await;
        let lines = operator.log().lines().skip(before).filter(|line| line.contains("WARN")).count();
        assert!(lines <= 12, "P6: {lines} warnings in three cycles");
        proxy.redirect(row.fleet.redis.port());
        row.use_servers(["h", "i"]);
        row.shows_hot(["h", "i"], SETTLED).await;
        row.use_servers(["b", "c"]);
        row.shows_hot(["b", "c"], SETTLED).await;
    }
    row.end(&format!("P3, P6, P10: named in status and log each time, right again after at most {worst:.1?}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r4_evicted_keys_are_restored() {
    let row = Row::begin("R4.2", "eviction of our keys, one by one and together").await;
    let (_first, _second) = row.two().await;
    let mut redis = row.fleet.redis.connection().await;
    row.observer.expect_sets(false);
    row.observer.expect_lock(false);
    // An eviction is a deletion of an arbitrary key, so each key is deleted in turn.
    for (round, name) in
        ["hot", "cold", "metadata", "timestamp", "leader", "term"].into_iter().cycle().take(12).enumerate()
    {
        let names = [["b", "c"], ["d", "e"]][round % 2];
        row.observer.redis_forgets();
        let _: () = redis.del(key(name)).await.unwrap();
        row.use_servers(names);
        row.shows_hot(names, SETTLED).await;
        eventually("all six keys exist", SOON, || async {
            let mut redis = row.fleet.redis.connection().await;
            let all = ["hot", "cold", "metadata", "timestamp", "leader", "term"].map(key);
            (redis.exists::<_, usize>(&all[..]).await.ok()? == 6).then_some(())
        })
        .await;
    }
    row.end("P2 each time").await;
}
