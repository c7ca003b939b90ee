//! Withdrawing a publication: what readers see, who may do it, and what is noticed afterwards.

use super::*;

/// The keys of a publication; the last one exists with a refresh plan.
const PUBLISHED_KEYS: [&str; 5] = [HOT, COLD, METADATA, TIMESTAMP, INTERVALS];

/// How many of them exist, in one command.
async fn present(redis: &mut MultiplexedConnection) -> usize {
    redis.exists(&PUBLISHED_KEYS).await.unwrap()
}

#[tokio::test]
async fn the_publication_is_gone_and_the_lock_is_held() {
    let server = RedisServer::start(&[]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(3));
    let publication = fleet("a", 10, 0);
    assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
    let _: () = redis.expire(LOCK, 20).await.unwrap();
    assert_eq!(store.withdraw(&token).await, Ok(()));
    assert_eq!(present(&mut redis).await, 0);
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), format!("{OUR_LOCK}3"));
    assert!(redis.ttl::<_, i64>(LOCK).await.unwrap() > 120, "a withdrawal renews the lock");
    assert_eq!(redis.get::<_, String>(TERM).await.unwrap(), "3");
    // Withdrawing nothing is no error, and a renewal reports that nothing is there.
    assert_eq!(store.withdraw(&token).await, Ok(()));
    let Ok(found) = store.renew(&token, None).await else { panic!("not renewed") };
    assert!(!found.any);
    // The base is forgotten: the same publication is sent in full.
    assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
    assert_published(&mut redis, &publication, 3).await;
}

#[tokio::test]
async fn keys_of_a_wrong_type_are_withdrawn_too() {
    let server = RedisServer::start(&[]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(3));
    for key in PUBLISHED_KEYS {
        let _: () = redis.rpush(key, "planted").await.unwrap();
    }
    let Ok(found) = store.renew(&token, None).await else { panic!("not renewed") };
    assert!(found.any);
    assert_eq!(store.withdraw(&token).await, Ok(()));
    assert_eq!(present(&mut redis).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_a_whole_publication_or_nothing() {
    let server = RedisServer::start(&[]);
    let (store, token) = (store(&server), token(1));
    let (stop, stopped) = watch::channel(false);
    let mut redis = server.connection().await;
    let reader = tokio::spawn(async move {
        let (mut whole, mut none) = (0, 0);
        while !*stopped.borrow() {
            let (hot, cold, strings): (usize, usize, usize) = redis::pipe()
                .atomic()
                .scard(HOT)
                .scard(COLD)
                .exists(&[METADATA, TIMESTAMP])
                .query_async(&mut redis)
                .await
                .unwrap();
            match (hot, cold, strings) {
                (400, 1_600, 2) => whole += 1,
                (0, 0, 0) => none += 1,
                other => panic!("a part of a publication: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (whole, none)
    });
    for round in 0..40 {
        assert_eq!(store.publish(&token, &fleet("a", 2_000, round), None).await, PUBLISHED);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(store.withdraw(&token).await, Ok(()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stop.send(true).unwrap();
    let (whole, none) = reader.await.unwrap();
    assert!(whole > 10 && none > 10, "the reader hardly ran: {whole} whole, {none} empty");
}

#[tokio::test]
async fn a_stale_leader_withdraws_nothing() {
    let server = RedisServer::start(&[]);
    let (old, new, mut redis) = (store(&server), store(&server), server.connection().await);
    assert_eq!(old.publish(&token(4), &fleet("old", 10, 0), None).await, PUBLISHED);
    let publication = fleet("new", 10, 0);
    assert_eq!(new.publish(&token(5), &publication, None).await, PUBLISHED);
    assert_eq!(old.withdraw(&token(4)).await, Err(NotWritten::Fenced { by: term(5) }));
    // Nor does the second of two leaders with one term.
    assert_eq!(old.withdraw(&token(5)).await, Err(NotWritten::Fenced { by: term(5) }));
    assert_published(&mut redis, &publication, 5).await;
    let over = LeadershipToken::for_tests(term(6), clock::monotonic());
    assert_eq!(new.withdraw(&over).await, Err(NotWritten::LeadershipOver));
    assert_published(&mut redis, &publication, 5).await;
    // A new leader takes the lock over and withdraws what its predecessor published.
    assert_eq!(old.withdraw(&token(6)).await, Ok(()));
    assert_eq!(present(&mut redis).await, 0);
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), format!("{OUR_LOCK}6"));
}

#[tokio::test]
async fn a_foreign_holder_is_not_displaced_and_nothing_is_deleted() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token(3));
    let store = Arc::clone(&kept.store);
    kept.is(LockState::Held).await;
    assert_eq!(store.publish(&token(3), &fleet("a", 10, 0), None).await, PUBLISHED);
    let _: () = redis.set(LOCK, "classifier_7").await.unwrap();
    kept.decides(TakeoverDecision::Take).await;
    let before = dump(&mut redis).await;
    assert_eq!(store.withdraw(&token(3)).await, Err(held_by_program("string", "classifier_7")));
    assert_eq!(dump(&mut redis).await, before);
    drop(kept);
    let _: () = redis.set(LOCK, "mcpgateway-operator/other/1").await.unwrap();
    assert_eq!(store.withdraw(&token(3)).await, Err(held_by_release("other")));
    assert_eq!(present(&mut redis).await, 4);
}

/// The ACL is checked before the first write: a free lock is not taken.
#[tokio::test]
async fn a_user_without_unlink_changes_nothing() {
    let server = RedisServer::start(&[]);
    let (store, mut redis) = (store(&server), server.connection().await);
    assert_eq!(store.publish(&token(1), &fleet("a", 10, 0), None).await, PUBLISHED);
    let _: () = redis.del(LOCK).await.unwrap();
    let before = dump(&mut redis).await;
    redis::cmd("ACL").arg(&["SETUSER", "default", "-unlink"]).exec_async(&mut redis).await.unwrap();
    assert_eq!(store.withdraw(&token(2)).await, Err(no_permission("UNLINK", HOT)));
    assert_eq!(dump(&mut redis).await, before);
}

#[tokio::test]
async fn out_of_memory_a_held_publication_is_still_withdrawn() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(1));
    assert_eq!(store.publish(&token, &fleet("a", 10, 0), None).await, PUBLISHED);
    let () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).query_async(&mut redis).await.unwrap();
    assert_eq!(store.withdraw(&token).await, Ok(()));
    assert_eq!(present(&mut redis).await, 0);
}

/// Sends the publication script as a delayed packet would arrive: complete, at the same term, after the withdrawal.
async fn late_publication(redis: &mut MultiplexedConnection) {
    let text = concat!(
        include_str!("../../../src/publish/scripts/fence.lua"),
        include_str!("../../../src/publish/scripts/publish.lua")
    );
    let staged = ["hot", "cold", "intervals"].map(|key| format!("mcpgateway:server_classification:staging:3:r:{key}"));
    let _: () = redis.sadd(&staged[0], "https://hot.example/").await.unwrap();
    let _: () = redis.sadd(&staged[1], "https://cold.example/").await.unwrap();
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(redis).await.unwrap();
    let mut call = redis::cmd("EVAL");
    call.arg(text).arg(10).arg(&[LOCK, TERM, HOT, COLD, METADATA, TIMESTAMP, INTERVALS]).arg(&staged);
    call.arg((seconds + 2) * 1_000_000).arg(&[OUR_LOCK, "3", "1", "180000", "", "", "", ""]);
    call.arg(&["120000", "1", "1", "0", "{}", "1"]);
    let reply: Vec<redis::Value> = call.query_async(redis).await.unwrap();
    assert_eq!(reply[0], redis::Value::BulkString(b"Published".to_vec()));
}

#[tokio::test]
async fn a_publication_that_arrives_after_the_withdrawal_is_noticed() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    let store = Arc::clone(&kept.store);
    kept.is(LockState::Held).await;
    assert_eq!(store.publish(&token, &fleet("a", 10, 0), None).await, PUBLISHED);
    kept.retention.send_replace(Retention::Withdrawn);
    assert_eq!(store.withdraw(&token).await, Ok(()));
    assert!(!kept.reports_difference(Duration::from_secs(3)).await, "nothing is there");

    late_publication(&mut redis).await;
    assert_eq!(present(&mut redis).await, 4);
    assert!(kept.reports_difference(Duration::from_secs(5)).await, "the late publication");
    assert_eq!(store.withdraw(&token).await, Ok(()));
    assert_eq!(present(&mut redis).await, 0);
    // A single restored key is enough.
    let _: () = redis.set(TIMESTAMP, "1").await.unwrap();
    assert!(kept.reports_difference(Duration::from_secs(5)).await, "the restored timestamp");
    assert_eq!(store.withdraw(&token).await, Ok(()));
    assert!(!kept.reports_difference(Duration::from_secs(3)).await, "nothing is there");

    // Resumed: what is published now is no difference, whether the retention has followed yet or not.
    let publication = fleet("a", 10, 0);
    assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
    assert!(!kept.reports_difference(Duration::from_secs(3)).await, "it is our own");
    kept.retention.send_replace(Retention::All);
    assert!(!kept.reports_difference(Duration::from_secs(3)).await, "it is our own");
    assert_eq!(*kept.state.borrow(), LockState::Held);
    assert_eq!(present(&mut redis).await, 4);
}

/// The script sent as a delayed packet would arrive, once late and once in time.
#[tokio::test]
async fn a_withdrawal_that_arrives_late_does_nothing() {
    let server = RedisServer::start(&[]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(1));
    assert_eq!(store.publish(&token, &fleet("a", 10, 0), None).await, PUBLISHED);
    let text = concat!(
        include_str!("../../../src/publish/scripts/fence.lua"),
        include_str!("../../../src/publish/scripts/withdraw.lua")
    );
    let (seconds, _): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    for (not_after, verdict, left) in [(seconds - 1, "TooLate", 4), (seconds + 60, "Withdrawn", 0)] {
        let mut call = redis::cmd("EVAL");
        call.arg(text).arg(7).arg(&[LOCK, TERM, HOT, COLD, METADATA, TIMESTAMP, INTERVALS]);
        call.arg(not_after * 1_000_000).arg(&[OUR_LOCK, "1", "1", "180000", "", "", "", ""]);
        let reply: Vec<redis::Value> = call.query_async(&mut redis).await.unwrap();
        assert_eq!(reply[0], redis::Value::BulkString(verdict.into()));
        assert_eq!(present(&mut redis).await, left);
    }
}
