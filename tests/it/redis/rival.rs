//! A lock that another program holds: when it is taken, and what comes after.

use tokio::task::JoinHandle;

use super::*;

/// A store with an interval of six seconds, hence checks every second, and its keeper.
struct Kept {
    store: Arc<Store>,
    tokens: watch::Sender<Option<LeadershipToken>>,
    state: watch::Receiver<LockState>,
    differs: Arc<Notify>,
    _retention: watch::Sender<Retention>,
    keeper: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Kept {
    fn start(server: &RedisServer, takeover: TakeoverPolicy, token: LeadershipToken) -> Self {
        let settings = RedisSettings { interval: Duration::from_secs(6), takeover, ..settings(&server.url()) };
        let store = Arc::new(Store::open(settings, Metrics::default()).unwrap());
        let (tokens, mandates_in) = watch::channel(Some(token));
        let (retention, retention_in) = watch::channel(Retention::All);
        let (state_out, state) = watch::channel(LockState::Off);
        let differs = Arc::new(Notify::new());
        let reports = LockReports { state: state_out, differs: Arc::clone(&differs) };
        let keeper = tokio::spawn(keep(Arc::clone(&store), mandates_in, retention_in, reports));
        Self { store, tokens, state, differs, _retention: retention, keeper }
    }

    async fn reaches(&mut self, what: &str, wanted: impl FnMut(&LockState) -> bool) {
        let limit = Duration::from_secs(15);
        let waited = tokio::time::timeout(limit, self.state.wait_for(wanted)).await.map(|_| ());
        assert!(waited.is_ok(), "never {what}, but {:?}", *self.state.borrow());
    }

    async fn stance(&mut self, wanted: TakeoverDecision) {
        let is = |state: &LockState| matches!(state, LockState::Foreign { stance, .. } if *stance == wanted);
        self.reaches(&format!("{wanted:?}"), is).await;
    }
}

#[tokio::test]
async fn an_idle_holder_loses_the_lock_after_an_interval_and_at_once_when_it_comes_back() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let _: () = redis.set(LOCK, "classifier_7").await.unwrap();
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    kept.stance(TakeoverDecision::Wait).await;
    let began = Instant::now();
    let publication = fleet("a", 10, 0);
    let holder = LockHolder::Foreign("classifier_7".into());
    assert_eq!(kept.store.publish(&token, &publication).await, PublishOutcome::NotHeld { holder });
    kept.stance(TakeoverDecision::Take).await;
    assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), "classifier_7", "not without a publication in hand");
    let taken = PublishOutcome::Published { displaced: Some("classifier_7".into()) };
    assert_eq!(kept.store.publish(&token, &publication).await, taken);
    kept.reaches("held", |state| *state == LockState::Held).await;

    // A purge that was in flight is noticed by the checks that follow a take-over.
    let _: () = redis.del(&[HOT, COLD, METADATA, TIMESTAMP]).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), kept.differs.notified()).await.expect("the purge is noticed");
    assert_eq!(kept.store.publish(&token, &publication).await, PublishOutcome::PUBLISHED);

    // The same holder again: known, so taken from at the next check.
    let _: () = redis.set(LOCK, "classifier_7").await.unwrap();
    let began = Instant::now();
    kept.stance(TakeoverDecision::Take).await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(kept.store.publish(&token, &publication).await, taken);
    kept.tokens.send(None).unwrap();
    kept.reaches("off", |state| *state == LockState::Off).await;
}

#[tokio::test]
async fn a_holder_that_publishes_keeps_the_lock() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let _: () = redis.set(LOCK, "classifier_7").await.unwrap();
    let _: () = redis.set_ex(TIMESTAMP, "1763800000.5", 600).await.unwrap();
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    kept.stance(TakeoverDecision::Wait).await;
    kept.state.mark_unchanged();
    // More than two intervals.
    assert!(tokio::time::timeout(Duration::from_secs(13), kept.state.changed()).await.is_err(), "it waits");
    // The script itself looks again: between check and publication the holder may have published.
    let _: () = redis.del(TIMESTAMP).await.unwrap();
    kept.stance(TakeoverDecision::Take).await;
    let _: () = redis.set_ex(TIMESTAMP, "1763800300.5", 600).await.unwrap();
    let before = dump(&mut redis).await;
    let refused = kept.store.publish(&token, &fleet("a", 10, 0)).await;
    assert_eq!(refused, PublishOutcome::NotHeld { holder: LockHolder::Foreign("classifier_7".into()) });
    let _: () = redis.set(LOCK, "classifier_8").await.unwrap();
    let _: () = redis.del(TIMESTAMP).await.unwrap();
    let refused = kept.store.publish(&token, &fleet("a", 10, 0)).await;
    let other = LockHolder::Foreign("classifier_8".into());
    assert!(
        refused == PublishOutcome::NotHeld { holder: other },
        "another holder than the one that was judged: {refused:?}"
    );
    assert_ne!(dump(&mut redis).await, before);
}

#[tokio::test]
async fn never_is_never_and_another_release_is_never_displaced() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let _: () = redis.set(LOCK, "classifier_7").await.unwrap();
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Never, token.clone());
    kept.stance(TakeoverDecision::LeaveIt).await;
    let other = "mcpgateway-operator/other/1";
    let _: () = redis.set(LOCK, other).await.unwrap();
    kept.reaches("another release", |state| matches!(state, LockState::OtherRelease { .. })).await;
    drop(kept);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    kept.reaches("another release", |state| matches!(state, LockState::OtherRelease { .. })).await;
    kept.state.mark_unchanged();
    assert!(tokio::time::timeout(Duration::from_secs(8), kept.state.changed()).await.is_err(), "for good");
    let refused = kept.store.publish(&token, &fleet("a", 10, 0)).await;
    assert_eq!(refused, PublishOutcome::NotHeld { holder: LockHolder::OtherRelease("other".into()) });
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), other);
}

#[tokio::test]
async fn a_lock_lost_between_two_checks_is_taken_back_after_one_period() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    kept.reaches("held", |state| *state == LockState::Held).await;
    let publication = fleet("a", 10, 0);
    assert_eq!(kept.store.publish(&token, &publication).await, PublishOutcome::PUBLISHED);
    // It purges all but the timestamp, which is ours, and so says nothing of it. The key of a wrong type counts too.
    let _: () = redis.del(&[HOT, COLD, METADATA, LOCK]).await.unwrap();
    let _: () = redis.rpush(LOCK, "x").await.unwrap();
    let began = Instant::now();
    kept.stance(TakeoverDecision::Take).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let taken = PublishOutcome::Published { displaced: Some("a key of type list".into()) };
    assert_eq!(kept.store.publish(&token, &publication).await, taken);
    assert_published_short(&mut redis, &publication).await;
}

async fn assert_published_short(redis: &mut MultiplexedConnection, publication: &Publication) {
    let hot: BTreeSet<String> = redis.smembers(HOT).await.unwrap();
    let cold: BTreeSet<String> = redis.smembers(COLD).await.unwrap();
    assert_eq!((hot, cold), (texts(publication.hot()), texts(publication.cold())));
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), format!("{OUR_LOCK}3"));
}
