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
    let (mandates, mandates_in) = watch::channel(None);
    let (_retention, retention_in) = watch::channel(Retention::All);
    let (state_out, mut state) = watch::channel(LockState::Off);
    let differs = Arc::new(Notify::new());
    let reports = LockReports { state: state_out, differs: Arc::clone(&differs) };
    let keeper = tokio::spawn(keep(Arc::clone(&store), mandates_in, retention_in, reports));

    let first = mandate(3);
    mandates.send(Some(first.clone())).unwrap();
    reaches(&mut state, |state| *state == LockState::Held).await;
    assert_eq!(store.publish(&first, &fleet("a", 10, 0)).await, Outcome::PUBLISHED);
    let _: () = redis.del(COLD).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), differs.notified()).await.expect("the difference is reported");
    assert_eq!(store.publish(&first, &fleet("a", 10, 0)).await, Outcome::PUBLISHED);

    let _: () = redis.set(LOCK, "classifier_1").await.unwrap();
    let foreign = LockState::Foreign { holder: "classifier_1".into(), stance: Stance::Wait };
    reaches(&mut state, |state| *state == foreign).await;
    let _: () = redis.del(LOCK).await.unwrap();
    reaches(&mut state, |state| *state == LockState::Held).await;
    let _: () = redis.set(TERM, 9).await.unwrap();
    let fenced = LockState::Fenced { ours: term(3), by: Some(term(9)) };
    reaches(&mut state, |state| *state == fenced).await;
    mandates.send(Some(mandate(10))).unwrap();
    reaches(&mut state, |state| *state == LockState::Held).await;
    server.suspend();
    reaches(&mut state, |state| *state == LockState::Unreachable { reason: "TimedOut" }).await;
    server.resume();
    reaches(&mut state, |state| *state == LockState::Held).await;
    mandates.send(None).unwrap();
    reaches(&mut state, |state| *state == LockState::Off).await;
    drop(mandates);
    keeper.await.unwrap();
}
