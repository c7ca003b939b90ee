//! A lock that another program holds: when it is taken, and what is checked afterwards.

use super::*;

#[tokio::test]
async fn an_idle_holder_loses_the_lock_after_an_interval_and_at_once_when_it_comes_back() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let _: () = redis.set(LOCK, "classifier_7").await.unwrap();
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    kept.decides(TakeoverDecision::Wait).await;
    let began = Instant::now();
    let publication = fleet("a", 10, 0);
    assert_eq!(kept.store.publish(&token, &publication, None).await, Err(held_by_program("string", "classifier_7")));
    kept.decides(TakeoverDecision::Take).await;
    assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), "classifier_7", "not without a publication");
    let taken = Ok(Published { displaced: Some("classifier_7".into()) });
    assert_eq!(kept.store.publish(&token, &publication, None).await, taken);
    kept.is(LockState::Held).await;

    // The checks that follow a takeover notice a purge that was in flight.
    let _: () = redis.del(&[HOT, COLD, METADATA, TIMESTAMP]).await.unwrap();
    assert!(kept.reports_difference(Duration::from_secs(5)).await, "the purge");
    assert_eq!(kept.store.publish(&token, &publication, None).await, PUBLISHED);

    // The same holder again: it is recognized, and loses the lock at the next check.
    let _: () = redis.set(LOCK, "classifier_7").await.unwrap();
    let began = Instant::now();
    kept.decides(TakeoverDecision::Take).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(kept.store.publish(&token, &publication, None).await, taken);
    kept.tokens.send(None).unwrap();
    kept.is(LockState::Off).await;
}

#[tokio::test]
async fn a_holder_that_publishes_keeps_the_lock() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let _: () = redis.set(LOCK, "classifier_7").await.unwrap();
    let _: () = redis.set_ex(TIMESTAMP, "1763800000.5", 600).await.unwrap();
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    kept.decides(TakeoverDecision::Wait).await;
    kept.state.mark_unchanged();
    // More than two intervals.
    assert!(tokio::time::timeout(Duration::from_secs(13), kept.state.changed()).await.is_err(), "it waits");
    // The script checks again: the holder may have published since the last check.
    let _: () = redis.del(TIMESTAMP).await.unwrap();
    kept.decides(TakeoverDecision::Take).await;
    let _: () = redis.set_ex(TIMESTAMP, "1763800300.5", 600).await.unwrap();
    let before = dump(&mut redis).await;
    let refused = kept.store.publish(&token, &fleet("a", 10, 0), None).await;
    let publishing = ForeignHolder { kind: "string".into(), value: "classifier_7".into(), publishes: true };
    assert_eq!(refused, Err(NotWritten::Foreign(publishing)));
    let _: () = redis.set(LOCK, "classifier_8").await.unwrap();
    let _: () = redis.del(TIMESTAMP).await.unwrap();
    let refused = kept.store.publish(&token, &fleet("a", 10, 0), None).await;
    assert_eq!(refused, Err(held_by_program("string", "classifier_8")), "another holder than the one that was checked");
    assert_ne!(dump(&mut redis).await, before);
}

#[tokio::test]
async fn the_policy_never_is_kept_and_another_release_is_never_displaced() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let _: () = redis.set(LOCK, "classifier_7").await.unwrap();
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Never, token.clone());
    kept.decides(TakeoverDecision::LeaveIt).await;
    let other = "mcpgateway-operator/other/1";
    let _: () = redis.set(LOCK, other).await.unwrap();
    kept.is(LockState::OtherRelease { holder: "other".into() }).await;
    drop(kept);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    kept.is(LockState::OtherRelease { holder: "other".into() }).await;
    kept.state.mark_unchanged();
    assert!(tokio::time::timeout(Duration::from_secs(8), kept.state.changed()).await.is_err(), "for good");
    let refused = kept.store.publish(&token, &fleet("a", 10, 0), None).await;
    assert_eq!(refused, Err(held_by_release("other")));
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), other);
}

#[tokio::test]
async fn a_lock_lost_between_two_checks_is_taken_back_after_one_period() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    kept.is(LockState::Held).await;
    let publication = fleet("a", 10, 0);
    assert_eq!(kept.store.publish(&token, &publication, None).await, PUBLISHED);
    // The holder purges everything but the timestamp, which is ours and does not count as its own. A lock of a wrong
    // type counts as foreign, too.
    let _: () = redis.del(&[HOT, COLD, METADATA, LOCK]).await.unwrap();
    let _: () = redis.rpush(LOCK, "x").await.unwrap();
    let began = Instant::now();
    kept.decides(TakeoverDecision::Take).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let taken = Ok(Published { displaced: Some("a key of type list".into()) });
    assert_eq!(kept.store.publish(&token, &publication, None).await, taken);
    assert_published_short(&mut redis, &publication).await;
}

async fn assert_published_short(redis: &mut MultiplexedConnection, publication: &Publication) {
    let hot: BTreeSet<String> = redis.smembers(HOT).await.unwrap();
    let cold: BTreeSet<String> = redis.smembers(COLD).await.unwrap();
    assert_eq!((hot, cold), (texts(publication.hot()), texts(publication.cold())));
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), format!("{OUR_LOCK}3"));
}
