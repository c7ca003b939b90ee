//! Which writes the fence refuses, and that a refusal changes nothing.

use super::*;

#[tokio::test]
async fn a_stale_term_is_fenced_and_changes_nothing() {
    let server = RedisServer::start(&[]);
    let (old, new, mut redis) = (store(&server), store(&server), server.connection().await);
    assert_eq!(old.publish(&token(4), &fleet("old", 10, 0), None).await, PUBLISHED);
    let newer = fleet("new", 10, 0);
    assert_eq!(new.publish(&token(5), &newer, None).await, PUBLISHED);
    let fenced = term(5);
    assert_eq!(old.publish(&token(4), &fleet("late", 10, 0), None).await, Err(NotWritten::Fenced { by: fenced }));
    assert_eq!(old.renew(&token(4), FULL).await, Err(NotWritten::Fenced { by: fenced }));
    assert_published(&mut redis, &newer, 5).await;
    // Without the lock, the stored term still refuses; without that, the lock's own.
    let _: () = redis.del(LOCK).await.unwrap();
    assert_eq!(old.renew(&token(4), FULL).await, Err(NotWritten::Fenced { by: fenced }));
    assert!(!redis.exists::<_, bool>(LOCK).await.unwrap());
    new.renew(&token(5), FULL).await.unwrap();
    let _: () = redis.del(TERM).await.unwrap();
    assert_eq!(old.publish(&token(4), &fleet("late", 10, 0), None).await, Err(NotWritten::Fenced { by: fenced }));
}

#[tokio::test]
async fn the_second_of_two_leaders_with_one_term_loses() {
    let server = RedisServer::start(&[]);
    let (first, second, mut redis) = (store(&server), store(&server), server.connection().await);
    let ours = fleet("first", 10, 0);
    assert_eq!(first.publish(&token(7), &ours, None).await, PUBLISHED);
    let fenced = term(7);
    assert_eq!(second.publish(&token(7), &fleet("second", 10, 0), None).await, Err(NotWritten::Fenced { by: fenced }));
    assert_eq!(second.renew(&token(7), FULL).await, Err(NotWritten::Fenced { by: fenced }));
    assert_eq!(first.publish(&token(7), &ours, None).await, PUBLISHED);
    assert_published(&mut redis, &ours, 7).await;
    // With a raised term the second goes on, and the first is fenced.
    let raised = fleet("second", 10, 3);
    assert_eq!(second.publish(&token(8), &raised, None).await, PUBLISHED);
    assert_published(&mut redis, &raised, 8).await;
    assert_eq!(first.renew(&token(7), FULL).await, Err(NotWritten::Fenced { by: term(8) }));
}

#[tokio::test]
async fn two_first_calls_with_one_token_do_not_fence_each_other() {
    let server = RedisServer::start(&[]);
    let store = store(&server);
    let publication = fleet("a", 10, 0);
    for number in 1..30 {
        let token = token(number);
        let (published, renewed) = tokio::join!(store.publish(&token, &publication, None), store.renew(&token, FULL));
        assert_eq!(published, PUBLISHED);
        renewed.unwrap();
    }
}

#[tokio::test]
async fn a_value_that_is_not_a_term_counts_as_absent() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    for garbage in ["nan", "0x10", "1e9", "inf", "-1", "0", "007", "", "2000000000", "1000000000000000", " 9", "9 "] {
        let _: () = redis.flushall().await.unwrap();
        let _: () = redis.set(TERM, garbage).await.unwrap();
        let _: () = redis.set(LOCK, format!("{OUR_LOCK}{garbage}")).await.unwrap();
        let store = store(&server);
        assert_eq!(store.term().await, Ok(None), "{garbage:?}");
        let publication = fleet("a", 5, 0);
        assert_eq!(store.publish(&token(2), &publication, None).await, PUBLISHED, "{garbage:?}");
        assert_published(&mut redis, &publication, 2).await;
    }
}

#[tokio::test]
async fn another_programs_lock_is_left_alone() {
    let server = RedisServer::start(&[]);
    let (store, mut redis) = (store(&server), server.connection().await);
    for (value, refusal) in [
        ("classifier_140", held_by_program("string", "classifier_140")),
        ("", held_by_program("string", "")),
        ("mcpgateway-operator/uid/ns/other/1", held_by_release("uid/ns/other")),
        ("mcpgateway-operator/uid/ns/name/5/1", held_by_release("uid/ns/name/5")),
        ("mcpgateway-operator/uid/ns/name", held_by_release("uid/ns")),
    ] {
        let _: () = redis.flushall().await.unwrap();
        let _: () = redis.set(LOCK, value).await.unwrap();
        let before = dump(&mut redis).await;
        assert_eq!(store.publish(&token(9), &fleet("a", 10, 0), None).await, Err(refusal.clone()));
        assert_eq!(store.renew(&token(9), FULL).await, Err(refusal));
        assert_eq!(dump(&mut redis).await, before);
        assert_eq!(redis.ttl::<_, i64>(LOCK).await.unwrap(), -1, "another program's lock gets no expiry from us");
    }
    let _: () = redis.del(LOCK).await.unwrap();
    let _: () = redis.sadd(LOCK, "x").await.unwrap();
    assert_eq!(store.renew(&token(9), FULL).await, Err(held_by_program("set", "")));
}

#[tokio::test]
async fn our_own_releases_lock_is_passed_on() {
    let server = RedisServer::start(&[]);
    let (store, mut redis) = (store(&server), server.connection().await);
    let _: () = redis.set(LOCK, format!("{OUR_LOCK}6")).await.unwrap();
    store.renew(&token(7), None).await.unwrap();
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), format!("{OUR_LOCK}7"));
    assert!(redis.ttl::<_, i64>(LOCK).await.unwrap() > 120);
    // A lock without expiry would outlive us.
    let _: () = redis.persist(LOCK).await.unwrap();
    store.renew(&token(7), None).await.unwrap();
    assert!(redis.ttl::<_, i64>(LOCK).await.unwrap() > 120);
    let _: () = redis.expire(TERM, 1000).await.unwrap();
    store.renew(&token(7), None).await.unwrap();
    assert_eq!(redis.ttl::<_, i64>(TERM).await.unwrap(), -1);
}

/// Redis hangs while calls are on their way and continues after their time-out: it reads them from its sockets then.
#[tokio::test]
async fn a_call_that_arrives_after_its_time_does_nothing() {
    let server = RedisServer::start(&[]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(1));
    let first = fleet("first", 10, 0);
    assert_eq!(store.publish(&token, &first, None).await, PUBLISHED);
    store.renew(&token, FULL).await.unwrap();
    let scripts = scripts_run(&mut redis).await;
    server.suspend();
    let began = Instant::now();
    assert_eq!(store.renew(&token, Some(Duration::from_secs(7))).await, Err(NotWritten::Failed(Error::TimedOut)));
    // The empty publication stages nothing, so the script itself is late.
    assert_eq!(store.publish(&token, &fleet("late", 0, 0), None).await, Err(NotWritten::Failed(Error::TimedOut)));
    assert!(began.elapsed() < Duration::from_millis(2500), "each call is bounded by one second");
    server.resume();
    let limit = Instant::now() + Duration::from_secs(10);
    while scripts_run(&mut redis).await < scripts + 2 {
        assert!(Instant::now() < limit, "the late calls never arrived");
    }
    assert_published(&mut redis, &first, 1).await;
    let next = fleet("next", 10, 5);
    assert_eq!(store.publish(&token, &next, None).await, PUBLISHED);
    assert_published(&mut redis, &next, 1).await;
}

async fn scripts_run(redis: &mut MultiplexedConnection) -> u64 {
    let info: String = redis::cmd("INFO").arg("commandstats").query_async(redis).await.unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
    line.split(',').next().unwrap().parse().unwrap()
}

/// The script sent as a delayed packet would arrive: complete, but late.
#[tokio::test]
async fn the_script_judges_lateness_by_redis_clock() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let text = concat!(
        include_str!("../../../src/publish/scripts/fence.lua"),
        include_str!("../../../src/publish/scripts/renew.lua")
    );
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    let now = seconds * 1_000_000 + micros;
    for (not_after, verdict) in [(now - 1, "TooLate"), (now + 60_000_000, "Renewed")] {
        let mut call = redis::cmd("EVAL");
        call.arg(text).arg(7).arg(&[LOCK, TERM, HOT, COLD, METADATA, TIMESTAMP, INTERVALS]);
        call.arg(not_after).arg(&[OUR_LOCK, "1", "0", "180000", "", "", "", "", "120000"]);
        let reply: Vec<redis::Value> = call.query_async(&mut redis).await.unwrap();
        assert_eq!(reply[0], redis::Value::BulkString(verdict.into()));
        assert_eq!(redis.exists::<_, bool>(LOCK).await.unwrap(), verdict == "Renewed");
    }
}

#[tokio::test]
async fn a_token_that_is_over_writes_nothing() {
    let server = RedisServer::start(&[]);
    let (store, mut redis) = (store(&server), server.connection().await);
    let over = LeadershipToken::for_tests(term(1), clock::monotonic());
    assert_eq!(store.publish(&over, &fleet("a", 10, 0), None).await, Err(NotWritten::LeadershipOver));
    assert_eq!(store.renew(&over, FULL).await, Err(NotWritten::LeadershipOver));
    assert_eq!(dump(&mut redis).await, Vec::new());
    // A call is also bounded by what is left of the token.
    server.suspend();
    let short = LeadershipToken::for_tests(term(1), clock::monotonic().after(Duration::from_millis(100)));
    let began = Instant::now();
    assert_eq!(store.renew(&short, FULL).await, Err(NotWritten::Failed(Error::TimedOut)));
    assert!(began.elapsed() < Duration::from_millis(700));
    server.resume();
}

/// A leader whose term was refused raises it while a renewal at the old one is still on its way. That the renewal held the
/// lock does not allow another token to use the same term.
#[tokio::test]
async fn an_answer_that_outlives_its_token_claims_no_term() {
    let server = RedisServer::start(&[]);
    let (store, mut redis) = (Arc::new(store(&server)), server.connection().await);
    let () = redis::cmd("CLIENT").arg(&["PAUSE", "60000", "WRITE"]).query_async(&mut redis).await.unwrap();
    let ending = token(5);
    let renewal = tokio::spawn({
        let (store, ending) = (Arc::clone(&store), ending.clone());
        async move { store.renew(&ending, FULL).await }
    });
    let held_up = async {
        while !info(&mut redis, "clients").await.contains("blocked_clients:1") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), held_up).await.unwrap();
    ending.end_for_tests();
    let () = redis::cmd("CLIENT").arg("UNPAUSE").query_async(&mut redis).await.unwrap();
    renewal.await.unwrap().unwrap();
    assert_eq!(store.renew(&token(5), FULL).await, Err(NotWritten::Fenced { by: term(5) }));
}

async fn info(redis: &mut MultiplexedConnection, section: &str) -> String {
    redis::cmd("INFO").arg(section).query_async(redis).await.unwrap()
}
