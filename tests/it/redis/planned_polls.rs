//! Poll decisions under a refresh plan, against a real Redis.

use mcpgateway_operator::model::Tier;
use mcpgateway_operator::poll::{Intervals, Poll, PollReason, PollType};
use mcpgateway_operator::publish::{Completed, PollMetrics, Polls};

use super::reader::{DISCOVERY, HEALTH, discovery, due, health, poll, polls, stamp};
use super::*;

const URL: &str = "http://test:8080";

/// Makes the server a member of this set, or of none, with this value in the plan.
async fn place(redis: &mut MultiplexedConnection, set: Option<&str>, value: Option<&str>) {
    let (): () = redis.del(&[HOT, COLD, INTERVALS]).await.unwrap();
    if let Some(set) = set {
        let (): () = redis.sadd(set, URL).await.unwrap();
    }
    if let Some(value) = value {
        let (): () = redis.hset(INTERVALS, URL, value).await.unwrap();
    }
}

#[tokio::test]
async fn a_planned_interval_decides_when_a_tool_discovery_is_due() {
    let server = RedisServer::start(&[]);
    let (polls, mut redis) = (polls(&server), server.connection().await);
    let before = |ago: i64| format!("3600,{}", clock::now().whole_seconds() - ago);
    for (set, value, age, expected) in [
        // Longer than the cold interval of 900 s, shorter, and the hot interval of 300 s.
        (Some(COLD), "3600", 3_500.0, PollReason::NotYetDue),
        (Some(COLD), "3600", 3_601.0, PollReason::IntervalElapsed),
        (Some(COLD), "600", 500.0, PollReason::NotYetDue),
        (Some(COLD), "600", 601.0, PollReason::IntervalElapsed),
        (Some(COLD), "300", 301.0, PollReason::IntervalElapsed),
        // A refresh was requested.
        (Some(COLD), &before(100), 200.0, PollReason::RefreshRequested),
        (Some(COLD), &before(300), 200.0, PollReason::NotYetDue),
        // Stamps from other clocks.
        (Some(COLD), "3600", -30.0, PollReason::NotYetDue),
        (Some(COLD), "3600", -90.0, PollReason::BadStamp),
        // A server in neither set is unclassified.
        (None, "3600", 10.0, PollReason::Unclassified),
        (None, &before(100), 200.0, PollReason::Unclassified),
        // A hot server is hot.
        (Some(HOT), "3600", 301.0, PollReason::IntervalElapsed),
        (Some(HOT), &before(100), 200.0, PollReason::NotYetDue),
        // What does not count: below the hot interval, or no value.
        (Some(COLD), "299", 500.0, PollReason::NotYetDue),
        (Some(COLD), "299", 901.0, PollReason::IntervalElapsed),
        (Some(COLD), "soon", 901.0, PollReason::IntervalElapsed),
        (Some(COLD), "3600,", 901.0, PollReason::IntervalElapsed),
        (Some(COLD), "2592001", 901.0, PollReason::IntervalElapsed),
        (None, "soon", 10.0, PollReason::Unclassified),
    ] {
        place(&mut redis, set, Some(value)).await;
        stamp(&mut redis, DISCOVERY, age).await;
        let decision = due(&polls, &discovery()).await;
        assert_eq!(decision.reason, expected, "{set:?} {value} {age}");
        let counts = set == Some(COLD) && !["299", "soon", "3600,", "2592001"].contains(&value);
        assert_eq!(decision.planned, counts, "{set:?} {value} {age}");
    }
    place(&mut redis, Some(COLD), Some("3600")).await;
    let decision = due(&polls, &discovery()).await;
    assert_eq!((decision.tier, decision.interval), (Some(Tier::Cold), Some(Duration::from_secs(3_600))));
    // A server in both sets, which no publication has, is hot.
    let (): () = redis.sadd(HOT, URL).await.unwrap();
    let decision = due(&polls, &discovery()).await;
    assert_eq!((decision.tier, decision.planned), (Some(Tier::Hot), false));
    let (): () = redis.srem(HOT, URL).await.unwrap();
    let (): () = redis.del(DISCOVERY).await.unwrap();
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::NeverPolled);
    // Health checks are not concerned.
    stamp(&mut redis, HEALTH, 901.0).await;
    let decision = due(&polls, &health()).await;
    assert_eq!((decision.reason, decision.planned), (PollReason::IntervalElapsed, false));
}

#[tokio::test]
async fn a_plan_that_cannot_be_read_leaves_the_answer_as_without_one() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let rules = |missing| ["on", ">planted-pw", "~mcpgateway:*", "+@all", missing];
    for missing in ["-hget", "-pttl", "-info"] {
        let user = &missing[1..];
        let _: () =
            redis::cmd("ACL").arg("SETUSER").arg(user).arg(&rules(missing)).query_async(&mut redis).await.unwrap();
        let url = format!("redis://{user}:planted-pw@127.0.0.1:{}", server.port());
        let polls = Polls::new(Some(access(&url)), Intervals::default(), PollMetrics::default());
        place(&mut redis, Some(COLD), Some("3600")).await;
        if missing == "-info" {
            // This user may read plans, but here is none.
            let _: () = redis.del(INTERVALS).await.unwrap();
            let _: () = redis.set(INTERVALS, "3600").await.unwrap();
        }
        stamp(&mut redis, DISCOVERY, 901.0).await;
        let decision = due(&polls, &discovery()).await;
        assert_eq!((decision.reason, decision.planned), (PollReason::IntervalElapsed, false), "{missing}");
        let stored = polls.completed(&discovery()).await.unwrap();
        assert_eq!(
            stored,
            Completed { tier: Some(Tier::Cold), expiry: Some(Duration::from_secs(1_800)), ttl: None },
            "{missing}"
        );
        assert_eq!(due(&polls, &discovery()).await.reason, PollReason::NotYetDue, "{missing}");
    }
}

#[tokio::test]
async fn a_stamp_lives_for_twice_the_planned_interval() {
    let server = RedisServer::start(&[]);
    let url = as_user_of_the_page(&server, "mcpgateway-poll").await;
    let polls = Polls::new(Some(access(&url)), Intervals::default(), PollMetrics::default());
    let mut redis = server.connection().await;
    for (set, value, seconds) in [
        (Some(COLD), "14400", 28_800),
        (None, "14400", 1_800),
        (Some(COLD), "600", 1_800),
        (Some(COLD), "299", 1_800),
        (Some(HOT), "14400", 600),
    ] {
        place(&mut redis, set, Some(value)).await;
        let stored = polls.completed(&discovery()).await.unwrap();
        assert_eq!(stored.expiry, Some(Duration::from_secs(seconds)), "{set:?} {value}");
        let left: u64 = redis.ttl(DISCOVERY).await.unwrap();
        assert!((seconds - 60..=seconds).contains(&left), "{left}");
    }
    // Another writer's stamp of 1,000 s ago: what it lives before a decision, and after it.
    for (set, value, lives, after) in [
        (COLD, "14400", 800, 27_800),
        (COLD, "14400", 27_000, 27_800),
        (COLD, "14400", 27_900, 27_900),
        (COLD, "14400", -1, -1),
        // Due, or not decided by the plan.
        (COLD, "900", 800, 800),
        (HOT, "14400", 800, 800),
    ] {
        place(&mut redis, Some(set), Some(value)).await;
        stamp(&mut redis, DISCOVERY, 1_000.0).await;
        if lives > 0 {
            let _: () = redis.expire(DISCOVERY, lives).await.unwrap();
        }
        let text: String = redis.get(DISCOVERY).await.unwrap();
        due(&polls, &discovery()).await;
        let left: i64 = redis.ttl(DISCOVERY).await.unwrap();
        assert!((after - 30..=after).contains(&left), "{set} {value} {lives}: {left}");
        assert_eq!(redis.get::<_, String>(DISCOVERY).await.unwrap(), text, "a decision leaves the time as it is");
    }
    let log: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query_async(&mut redis).await.unwrap();
    assert!(log.is_empty(), "{log:?}");
}

#[tokio::test]
async fn a_decision_under_a_plan_takes_one_round_trip() {
    let server = RedisServer::start(&[]);
    let (polls, mut redis) = (polls(&server), server.connection().await);
    place(&mut redis, Some(COLD), Some("3600")).await;
    polls.completed(&discovery()).await.unwrap();
    let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut redis).await.unwrap();
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::NotYetDue);
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
    let calls =
        |command: &str| stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:"))).map(str::to_owned);
    assert!(calls("exec").is_some_and(|line| line.contains("calls=1,")), "{stats}");
    assert!(calls("hget").is_some() && calls("pexpire").is_none(), "the stamp lives long enough: {stats}");
}

/// A plan is switched on, changed and switched off while a gateway asks.
#[tokio::test]
async fn decisions_follow_the_published_plan() {
    let server = RedisServer::start(&[]);
    let (store, polls, mut redis, token) = (store(&server), polls(&server), server.connection().await, token(1));
    let every = |seconds| move |_| Some(PlannedInterval::new(Duration::from_secs(seconds)));
    let (cold, hot) = (poll_of(7), poll_of(0));
    let key = Keys::default().poll_state(&cold.url, None, PollType::ToolDiscovery);
    for (publication, expected, planned) in [
        (fleet("a", 10, 0), PollReason::IntervalElapsed, false),
        (planned_fleet("a", 10, 0, every(3_600)), PollReason::NotYetDue, true),
        (planned_fleet("a", 10, 0, every(600)), PollReason::IntervalElapsed, true),
        (planned_fleet("a", 10, 0, every(3_600)), PollReason::NotYetDue, true),
        (fleet("a", 10, 0), PollReason::IntervalElapsed, false),
    ] {
        assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
        stamp(&mut redis, &key, 1_000.0).await;
        let decision = due(&polls, &cold).await;
        assert_eq!((decision.reason, decision.planned), (expected, planned));
        let decision = due(&polls, &hot).await;
        assert_eq!((decision.tier, decision.planned), (Some(Tier::Hot), false));
    }
    // The operator is gone: the keys expire together, and every server is due.
    assert_eq!(store.publish(&token, &planned_fleet("a", 10, 0, every(3_600)), None).await, PUBLISHED);
    for published in [HOT, COLD, METADATA, TIMESTAMP, INTERVALS] {
        let _: () = redis.pexpire(published, 1).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(due(&polls, &cold).await.reason, PollReason::Unclassified);
}

/// The tool discovery of a server of [`fleet`] named `a`.
fn poll_of(number: usize) -> Poll {
    poll(&format!("https://mcp-{number}.example.com/a"), None, PollType::ToolDiscovery)
}
