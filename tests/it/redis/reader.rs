//! Poll decisions against a real Redis: the answers, the stamps, and that a poll is due after every failure.

use super::*;
use mcpgateway_operator::model::{GatewayId, Tier};
use mcpgateway_operator::poll::{Intervals, Poll, PollDecision, PollReason, PollType};
use mcpgateway_operator::publish::{Completed, PollMetrics, Polls};

/// For `http://test:8080` and for the same with `gw-123`: the test vectors of the contract.
pub(super) const HEALTH: &str = "mcpgateway:server_poll_state:febf57fe2f3341dea99b19a7aab921af:last_health";
pub(super) const DISCOVERY: &str = "mcpgateway:server_poll_state:498961e7135c32c183676508be3018a9:last_tool_discovery";

pub(super) fn polls(server: &RedisServer) -> Polls {
    Polls::new(Some(access(&server.url())), Intervals::default(), PollMetrics::default())
}

pub(super) fn poll(url: &str, gateway: Option<&str>, kind: PollType) -> Poll {
    Poll { url: ServerUrl::parse(url).unwrap(), gateway: gateway.and_then(GatewayId::parse), kind }
}

pub(super) fn health() -> Poll {
    poll("http://test:8080", None, PollType::Health)
}

pub(super) fn discovery() -> Poll {
    poll("http://test:8080", Some("gw-123"), PollType::ToolDiscovery)
}

pub(super) async fn due(polls: &Polls, poll: &Poll) -> PollDecision {
    let (decision, error) = polls.due(poll).await;
    assert_eq!(error, None);
    decision
}

/// The reason of a failure, after which the poll must be due.
async fn failure(polls: &Polls, poll: &Poll) -> &'static str {
    let (decision, error) = polls.due(poll).await;
    assert_eq!(decision, PollDecision::FAILED);
    assert!(decision.due);
    error.expect("an error").into()
}

pub(super) async fn stamp(redis: &mut MultiplexedConnection, key: &str, ago: f64) {
    let (): () = redis.set(key, (clock::now().seconds() - ago).to_string()).await.unwrap();
}

#[tokio::test]
async fn a_server_is_due_until_it_was_polled_and_again_after_its_interval() {
    let server = RedisServer::start(&[]);
    let (polls, mut redis) = (polls(&server), server.connection().await);
    assert_eq!(due(&polls, &health()).await.reason, PollReason::Unclassified);
    let (): () = redis.sadd(HOT, "http://test:8080").await.unwrap();
    assert_eq!(due(&polls, &health()).await.reason, PollReason::NeverPolled);

    let before = clock::now();
    let stored = polls.completed(&health()).await.unwrap();
    assert_eq!(stored, Completed { tier: Some(Tier::Hot), expiry: Some(Duration::from_secs(600)), ttl: None });
    let decision = due(&polls, &health()).await;
    assert_eq!((decision.reason, decision.tier), (PollReason::NotYetDue, Some(Tier::Hot)));
    let last = decision.last_poll.unwrap();
    assert!(last >= before && last <= clock::now());
    assert_eq!(decision.next_due, Some(last.after(Duration::from_secs(300))));
    // Another gateway and another type have their own schedules.
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::NeverPolled);

    for (tier, interval) in [(HOT, 300.0), (COLD, 900.0)] {
        let (): () = redis.del(&[HOT, COLD]).await.unwrap();
        let (): () = redis.sadd(tier, "http://test:8080").await.unwrap();
        stamp(&mut redis, HEALTH, interval - 30.0).await;
        assert_eq!(due(&polls, &health()).await.reason, PollReason::NotYetDue, "{tier}");
        stamp(&mut redis, HEALTH, interval).await;
        assert_eq!(due(&polls, &health()).await.reason, PollReason::IntervalElapsed, "{tier}");
        stamp(&mut redis, HEALTH, -30.0).await;
        assert_eq!(due(&polls, &health()).await.reason, PollReason::NotYetDue, "{tier}");
        stamp(&mut redis, HEALTH, -90.0).await;
        assert_eq!(due(&polls, &health()).await.reason, PollReason::BadStamp, "{tier}");
    }
}

#[tokio::test]
async fn a_completed_poll_is_stored_where_contextforge_reads_it_for_twice_the_interval_of_the_tier() {
    let server = RedisServer::start(&[]);
    let (polls, mut redis) = (polls(&server), server.connection().await);
    for (set, tier, seconds) in
        [(None, None, 1800), (Some(HOT), Some(Tier::Hot), 600), (Some(COLD), Some(Tier::Cold), 1800)]
    {
        let (): () = redis.flushall().await.unwrap();
        if let Some(set) = set {
            let (): () = redis.sadd(set, "http://test:8080").await.unwrap();
        }
        for (poll, key) in [(health(), HEALTH), (discovery(), DISCOVERY)] {
            let stored = polls.completed(&poll).await.unwrap();
            assert_eq!(stored, Completed { tier, expiry: Some(Duration::from_secs(seconds)), ttl: None });
            let text: String = redis.get(key).await.unwrap();
            let number = text.split_once('.').unwrap_or((&text, "0"));
            assert!(text.len() < 25 && number.0.len() == 10, "{text} is not a decimal number for Python");
            assert!(text.bytes().all(|b| b.is_ascii_digit() || b == b'.'), "{text}");
            let left: u64 = redis.ttl(key).await.unwrap();
            assert!((seconds - 60..=seconds).contains(&left), "{left}");
        }
        let keys: BTreeSet<String> = redis.keys("*poll*").await.unwrap();
        assert_eq!(keys, BTreeSet::from([HEALTH.to_owned(), DISCOVERY.to_owned()]));
    }
}

#[tokio::test]
async fn a_stamp_from_contextforge_is_understood() {
    let server = RedisServer::start(&[]);
    let (polls, mut redis) = (polls(&server), server.connection().await);
    let (): () = redis.sadd(COLD, "http://test:8080").await.unwrap();
    // `SET key time.time() EX int(2 * 900)`, as redis-py sends it: the shortest text of the float.
    let (): () = redis.set_ex(DISCOVERY, format!("{:.7}", clock::now().seconds()), 1800).await.unwrap();
    let decision = due(&polls, &discovery()).await;
    assert_eq!((decision.reason, decision.tier), (PollReason::NotYetDue, Some(Tier::Cold)));
}

#[tokio::test]
async fn a_server_that_moves_between_the_tiers_is_never_unclassified() {
    let server = RedisServer::start(&[]);
    let (store, token) = (store(&server), token(1));
    let (one, other) = (fleet("m", 10, 0), fleet("m", 10, 5));
    let mover = one.hot().next().unwrap().clone();
    assert!(other.cold().any(|server| *server == mover));
    assert_eq!(store.publish(&token, &one, None).await, PUBLISHED);
    let polls = polls(&server);
    let publishing = async {
        for round in 0..150 {
            let next = if round % 2 == 0 { &other } else { &one };
            assert_eq!(store.publish(&token, next, None).await, PUBLISHED);
        }
    };
    let poll = Poll { url: mover.clone(), gateway: None, kind: PollType::Health };
    let (mut hot, mut cold) = (0, 0);
    let deciding = async {
        loop {
            match due(&polls, &poll).await.tier.expect("in one of the sets") {
                Tier::Hot => hot += 1,
                Tier::Cold => cold += 1,
            }
            assert!(polls.tier(&mover).await.unwrap().is_some());
        }
    };
    tokio::select! {
        () = publishing => {}
        () = deciding => {}
    }
    assert!(hot > 0 && cold > 0, "it was not seen in both: {hot} and {cold}");
}

#[tokio::test]
async fn keys_of_a_wrong_type_are_due_and_garbage_is_a_bad_stamp() {
    let server = RedisServer::start(&[]);
    let (polls, mut redis) = (polls(&server), server.connection().await);
    for key in [HOT, COLD] {
        let (): () = redis.flushall().await.unwrap();
        let (): () = redis.set(key, "a string").await.unwrap();
        assert_eq!(failure(&polls, &health()).await, "Refused", "{key}");
        assert_eq!(<&str>::from(polls.completed(&health()).await.unwrap_err()), "Refused", "{key}");
        assert_eq!(<&str>::from(polls.tier(&health().url).await.unwrap_err()), "Refused", "{key}");
    }
    let (): () = redis.flushall().await.unwrap();
    let (): () = redis.sadd(COLD, "http://test:8080").await.unwrap();
    let (): () = redis.rpush(HEALTH, 1).await.unwrap();
    assert_eq!(failure(&polls, &health()).await, "Refused");
    // A completed poll repairs it.
    assert!(polls.completed(&health()).await.is_ok());
    assert_eq!(due(&polls, &health()).await.reason, PollReason::NotYetDue);
    let now = clock::now().seconds();
    let huge = vec![b'9'; 1_000_000];
    for garbage in [&b""[..], b"nan", b"inf", b"0", b"-5", b"soon", b"\xff\xfe", &huge] {
        let (): () = redis.set(HEALTH, garbage).await.unwrap();
        assert_eq!(
            due(&polls, &health()).await.reason,
            PollReason::BadStamp,
            "{}",
            String::from_utf8_lossy(&garbage[..garbage.len().min(9)])
        );
    }
    // A number with more digits than a stamp can have is not truncated to one.
    let (): () = redis.set(HEALTH, format!("{now:.60}")).await.unwrap();
    assert_eq!(due(&polls, &health()).await.reason, PollReason::BadStamp);
}

#[tokio::test]
async fn a_redis_that_hangs_or_is_gone_makes_every_poll_due_within_a_second() {
    let mut server = RedisServer::start(&[]);
    let polls = polls(&server);
    let mut redis = server.connection().await;
    let (): () = redis.sadd(HOT, "http://test:8080").await.unwrap();
    polls.completed(&health()).await.unwrap();
    assert!(!due(&polls, &health()).await.due);

    server.suspend();
    let begun = Instant::now();
    let (one, other) = (health(), discovery());
    let (a, b, stored) = tokio::join!(failure(&polls, &one), failure(&polls, &other), polls.completed(&one));
    assert_eq!((a, b, stored.unwrap_err().into()), ("TimedOut", "TimedOut", "TimedOut"));
    assert!(begun.elapsed() < Duration::from_secs(10), "many at once wait no longer than one: {:?}", begun.elapsed());
    server.resume();
    crate::support::eventually("it answers again", crate::support::SOON, || async {
        (polls.due(&one).await.0.reason == PollReason::NotYetDue).then_some(())
    })
    .await;

    server.kill();
    assert_eq!(failure(&polls, &health()).await, "Unreachable");
    server.restart();
    assert_eq!(due(&polls, &health()).await.reason, PollReason::Unclassified, "it is empty after the restart");
}

#[tokio::test]
async fn a_read_only_replica_can_be_read_and_stores_no_stamp() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let (): () = redis.sadd(HOT, "http://test:8080").await.unwrap();
    // A replica of a primary that does not exist.
    let port = support::free_port().to_string();
    let (): () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(port).query_async(&mut redis).await.unwrap();
    let polls = polls(&server);
    assert_eq!(due(&polls, &health()).await.reason, PollReason::NeverPolled);
    assert_eq!(<&str>::from(polls.completed(&health()).await.unwrap_err()), "ReadOnly");
}

#[tokio::test]
async fn without_a_redis_every_poll_is_due_and_nothing_is_recorded() {
    let polls = Polls::new(None, Intervals::default(), PollMetrics::default());
    assert_eq!(due(&polls, &health()).await, PollDecision::NO_STORE);
    assert_eq!(polls.completed(&health()).await, Ok(Completed { tier: None, expiry: None, ttl: None }));
    assert_eq!(polls.tier(&health().url).await, Ok(None));
}

#[tokio::test]
async fn the_keys_have_the_prefix_and_hold_no_part_of_a_url() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let access = RedisAccess { keys: Keys::new("other").unwrap(), ..access(&server.url()) };
    let polls = Polls::new(Some(access), Intervals::default(), PollMetrics::default());
    let planted = poll("http://planted-host/planted-path?team=planted-query", Some("gw"), PollType::Health);
    polls.completed(&planted).await.unwrap();
    let keys: Vec<String> = redis.keys("*").await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(keys[0].starts_with("other:server_poll_state:") && !keys[0].contains("planted"), "{keys:?}");
    let all = dump(&mut redis).await;
    assert!(
        !all.iter().any(|(_, value)| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).contains("planted"))
    );
}
