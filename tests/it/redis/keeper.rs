//! The keeper of the lock.

use super::*;

/// Waits for a state of the lock, with a limit.
async fn reaches(state: &mut watch::Receiver<LockState>, wanted: impl FnMut(&LockState) -> bool) -> LockState {
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, state.wait_for(wanted)).await.expect("in time").unwrap().clone()
}

#[tokio::test]
async fn the_keeper_follows_the_lock() {
    let server = RedisServer::start(&[]);
    let short = RedisSettings { interval: Duration::from_secs(6), ..settings(&server.url()) };
    let store = Arc::new(Store::open(short, Metrics::default()).unwrap());
    let mut redis = server.connection().await;
    let (tokens, mandates_in) = watch::channel(None);
    let (_retention, retention_in) = watch::channel(Retention::All);
    let (state_out, mut state) = watch::channel(LockState::Off);
    let differs = Arc::new(Notify::new());
    let reports = LockReports { state: state_out, differs: Arc::clone(&differs) };
    let keeper = tokio::spawn(keep(Arc::clone(&store), mandates_in, retention_in, reports));

    let first = token(3);
    tokens.send(Some(first.clone())).unwrap();
    reaches(&mut state, |state| *state == LockState::Held).await;
    assert_eq!(store.publish(&first, &fleet("a", 10, 0)).await, PublishOutcome::PUBLISHED);
    let _: () = redis.del(COLD).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), differs.notified()).await.expect("the difference is reported");
    assert_eq!(store.publish(&first, &fleet("a", 10, 0)).await, PublishOutcome::PUBLISHED);

    let _: () = redis.set(LOCK, "classifier_1").await.unwrap();
    let foreign = LockState::Foreign { holder: "classifier_1".into(), stance: TakeoverDecision::Wait };
    reaches(&mut state, |state| *state == foreign).await;
    let _: () = redis.del(LOCK).await.unwrap();
    reaches(&mut state, |state| *state == LockState::Held).await;
    let _: () = redis.set(TERM, 9).await.unwrap();
    let fenced = LockState::Fenced { ours: term(3), by: Some(term(9)) };
    reaches(&mut state, |state| *state == fenced).await;
    tokens.send(Some(token(10))).unwrap();
    reaches(&mut state, |state| *state == LockState::Held).await;
    server.suspend();
    reaches(&mut state, |state| *state == LockState::Unreachable { reason: "TimedOut" }).await;
    server.resume();
    reaches(&mut state, |state| *state == LockState::Held).await;
    tokens.send(None).unwrap();
    reaches(&mut state, |state| *state == LockState::Off).await;
    drop(tokens);
    keeper.await.unwrap();
}
