//! The keeper of the lock.

use super::*;

#[tokio::test]
async fn the_keeper_follows_the_lock() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let first = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, first.clone());
    let store = Arc::clone(&kept.store);
    kept.is(LockState::Held).await;
    assert_eq!(store.publish(&first, &fleet("a", 10, 0), None).await, PUBLISHED);
    let _: () = redis.del(COLD).await.unwrap();
    assert!(kept.reports_difference(Duration::from_secs(5)).await);
    assert_eq!(store.publish(&first, &fleet("a", 10, 0), None).await, PUBLISHED);

    let _: () = redis.set(LOCK, "classifier_1").await.unwrap();
    kept.is(LockState::Foreign { holder: "classifier_1".into(), takeover: TakeoverDecision::Wait }).await;
    let _: () = redis.del(LOCK).await.unwrap();
    kept.is(LockState::Held).await;
    let _: () = redis.set(TERM, 9).await.unwrap();
    kept.is(LockState::Fenced { ours: term(3), by: term(9) }).await;
    kept.tokens.send(Some(token(10))).unwrap();
    kept.is(LockState::Held).await;
    server.suspend();
    kept.reaches("TimedOut", |state| matches!(state, LockState::Unreachable { reason: "TimedOut", .. })).await;
    server.resume();
    kept.is(LockState::Held).await;
    kept.tokens.send(None).unwrap();
    kept.is(LockState::Off).await;
    // The keeper ends with the sender of the tokens.
    kept.tokens = watch::channel(None).0;
    tokio::time::timeout(Duration::from_secs(5), &mut kept.keeper).await.unwrap().unwrap();
}
