//! How long a server says that its list is valid, and that its lists have changed, against a real Redis.

use mcpgateway_operator::model::Tier;
use mcpgateway_operator::poll::{Intervals, PollReason, PollType};
use mcpgateway_operator::publish::{Completed, PollMetrics, Polls};

use super::reader::{DISCOVERY, HEALTH, discovery, due, health, poll, polls, stamp};
use super::*;

const TTL: &str = "mcpgateway:server_poll_state:498961e7135c32c183676508be3018a9:ttl_tool_discovery";
const URL: &str = "http://test:8080";

/// Makes the server a member of this set, or of none, with this value in the plan.
async fn place(redis: &mut MultiplexedConnection, set: Option<&str>, value: Option<&str>) {
    let (): () = redis.flushall().await.unwrap();
    if let Some(set) = set {
        let (): () = redis.sadd(set, URL).await.unwrap();
    }
    if let Some(value) = value {
        let (): () = redis.hset(INTERVALS, URL, value).await.unwrap();
    }
}

/// Writes a stamp of so many seconds ago, whose list is valid for so many.
async fn listed(redis: &mut MultiplexedConnection, ago: f64, ttl: u64) {
    stamp(redis, DISCOVERY, ago).await;
    let text: String = redis.get(DISCOVERY).await.unwrap();
    let (): () = redis.set(TTL, format!("{ttl},{text}")).await.unwrap();
}

#[tokio::test]
async fn a_valid_list_is_not_polled_whatever_tier_and_plan_say() {
    let server = RedisServer::start(&[]);
    let url = as_user_of_the_page(&server, "mcpgateway-poll").await;
    let polls = Polls::new(Some(access(&url)), Intervals::default(), PollMetrics::default());
    let mut redis = server.connection().await;
    for (set, value) in [(HOT, None), (COLD, None), (COLD, Some("1800"))] {
        place(&mut redis, Some(set), value).await;
        let stored = polls.completed_with_ttl(&discovery(), 3_600.0).await.unwrap();
        let (ttl, expiry) = (Duration::from_secs(3_600), Duration::from_secs(7_200));
        assert_eq!((stored.ttl, stored.expiry), (Some(ttl), Some(expiry)), "{set} {value:?}");
        let text: String = redis.get(DISCOVERY).await.unwrap();
        assert_eq!(redis.get::<_, String>(TTL).await.unwrap(), format!("3600,{text}"));
        for key in [DISCOVERY, TTL] {
            let left: u64 = redis.ttl(key).await.unwrap();
            assert!((7_140..=7_200).contains(&left), "{key}: {left}");
        }
        let decision = due(&polls, &discovery()).await;
        assert_eq!((decision.reason, decision.due), (PollReason::ListStillValid, false), "{set} {value:?}");
        assert_eq!((decision.interval, decision.planned), (Some(ttl), false), "{set} {value:?}");
        assert_eq!(decision.next_due, Some(decision.last_poll.unwrap().after(ttl)));

        listed(&mut redis, 3_500.0, 3_600).await;
        assert_eq!(due(&polls, &discovery()).await.reason, PollReason::ListStillValid, "{set} {value:?}");
        listed(&mut redis, 3_600.0, 3_600).await;
        assert_eq!(due(&polls, &discovery()).await.reason, PollReason::IntervalElapsed, "{set} {value:?}");
    }
    // A plan that asks for a refresh does not wait for the list; a longer interval than the ttl stays.
    let asked = format!("1800,{}", clock::now().whole_seconds() - 100);
    for (value, age, expected) in [
        (asked.as_str(), 200.0, PollReason::RefreshRequested),
        ("7200", 3_700.0, PollReason::NotYetDue),
        ("7200", 7_200.0, PollReason::IntervalElapsed),
    ] {
        place(&mut redis, Some(COLD), Some(value)).await;
        listed(&mut redis, age, 3_600).await;
        assert_eq!(due(&polls, &discovery()).await.reason, expected, "{value}");
    }
    // Without the operator's keys everything is due.
    place(&mut redis, None, None).await;
    listed(&mut redis, 10.0, 3_600).await;
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::Unclassified);
    let log: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query_async(&mut redis).await.unwrap();
    assert!(log.is_empty(), "{log:?}");
}

#[tokio::test]
async fn odd_ttls_count_as_none_or_as_the_longest_interval() {
    let server = RedisServer::start(&[]);
    let (polls, mut redis) = (polls(&server), server.connection().await);
    for (seconds, expected) in [
        (0.0, None),
        (-1.0, None),
        (f64::MIN, None),
        (0.999, None),
        (1.0, Some(1)),
        (3_600.9, Some(3_600)),
        (14_400.0, Some(14_400)),
        (14_401.0, Some(14_400)),
        (1e300, Some(14_400)),
    ] {
        place(&mut redis, Some(HOT), None).await;
        let stored = polls.completed_with_ttl(&discovery(), seconds).await.unwrap();
        let ttl = expected.map(Duration::from_secs);
        let expiry = Some(Duration::from_secs(expected.map_or(600, |ttl| (2 * ttl).max(600))));
        assert_eq!(stored, Completed { tier: Some(Tier::Hot), expiry, ttl }, "{seconds}");
        assert_eq!(redis.exists::<_, bool>(TTL).await.unwrap(), ttl.is_some(), "{seconds}");
        let expected = match expected {
            Some(3_600..) => PollReason::ListStillValid,
            _ => PollReason::NotYetDue,
        };
        assert_eq!(due(&polls, &discovery()).await.reason, expected, "{seconds}");
    }
    // A ttl from a gateway with a longer longest interval, too.
    place(&mut redis, Some(HOT), None).await;
    listed(&mut redis, 14_399.0, 86_400).await;
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::ListStillValid);
    listed(&mut redis, 14_400.0, 86_400).await;
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::IntervalElapsed);
    // A health check has no list.
    assert_eq!(polls.completed_with_ttl(&health(), 3_600.0).await.unwrap().ttl, None);
    let ttls: Vec<String> = redis.keys("*:ttl_*").await.unwrap();
    assert_eq!(ttls, [TTL]);
    stamp(&mut redis, HEALTH, 300.0).await;
    assert_eq!(due(&polls, &health()).await.reason, PollReason::IntervalElapsed);
}

#[tokio::test]
async fn a_ttl_ends_with_the_next_poll_and_what_cannot_be_read_is_none() {
    let server = RedisServer::start(&[]);
    let (polls, mut redis) = (polls(&server), server.connection().await);
    place(&mut redis, Some(HOT), None).await;
    polls.completed_with_ttl(&discovery(), 3_600.0).await.unwrap();
    polls.completed(&discovery()).await.unwrap();
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::NotYetDue, "the later poll has no ttl");
    polls.completed_with_ttl(&discovery(), 3_600.0).await.unwrap();
    // As ContextForge writes it.
    stamp(&mut redis, DISCOVERY, 301.0).await;
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::IntervalElapsed);
    let text: String = redis.get(DISCOVERY).await.unwrap();
    for bad in [format!("-1,{text}"), format!("2592001,{text}"), format!("3600,{text} "), "9".repeat(1_000_000)] {
        let (): () = redis.set(TTL, &bad).await.unwrap();
        assert_eq!(due(&polls, &discovery()).await.reason, PollReason::IntervalElapsed, "{bad:.40}");
    }
    let (): () = redis.del(TTL).await.unwrap();
    let (): () = redis.rpush(TTL, 1).await.unwrap();
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::IntervalElapsed, "a key of a wrong type");
    assert_eq!(polls.completed(&discovery()).await.unwrap().tier, Some(Tier::Hot));
    // A ttl repairs it.
    polls.completed_with_ttl(&discovery(), 3_600.0).await.unwrap();
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::ListStillValid);
    // A stamp that is lost takes the ttl with it.
    let (): () = redis.del(DISCOVERY).await.unwrap();
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::NeverPolled);
}

#[tokio::test]
async fn a_signalled_change_makes_the_next_question_due_for_one_gateway() {
    let mut server = RedisServer::start(&[]);
    let url = as_user_of_the_page(&server, "mcpgateway-poll").await;
    let polls = Polls::new(Some(access(&url)), Intervals::default(), PollMetrics::default());
    let mut redis = server.connection().await;
    place(&mut redis, Some(HOT), None).await;
    let gateways = [None, Some("gw-1"), Some("gw-2"), Some("gw-3")];
    let all = gateways.map(|gateway| poll(URL, gateway, PollType::ToolDiscovery));
    for poll in &all {
        polls.completed_with_ttl(poll, 3_600.0).await.unwrap();
    }
    polls.completed(&health()).await.unwrap();
    polls.changed(&all[2].url, all[2].gateway.as_ref()).await.unwrap();
    for (poll, changed) in all.iter().zip([false, false, true, false]) {
        let expected = if changed { PollReason::NeverPolled } else { PollReason::ListStillValid };
        assert_eq!(due(&polls, poll).await.reason, expected, "{:?}", poll.gateway);
    }
    assert_eq!(due(&polls, &health()).await.reason, PollReason::NotYetDue);
    assert_eq!(redis.keys::<_, Vec<String>>("*poll*").await.unwrap().len(), 2 * 3 + 1, "nothing of it is left");
    // Without a stamp, and with keys of a wrong type.
    polls.changed(&all[2].url, all[2].gateway.as_ref()).await.unwrap();
    for key in [DISCOVERY, TTL] {
        let (): () = redis.rpush(key, 1).await.unwrap();
    }
    polls.changed(&discovery().url, discovery().gateway.as_ref()).await.unwrap();
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::NeverPolled);
    let log: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query_async(&mut redis).await.unwrap();
    assert!(log.is_empty(), "{log:?}");
    server.kill();
    let error = polls.changed(&all[0].url, None).await.unwrap_err();
    assert_eq!(<&str>::from(error), "Unreachable");
}

#[tokio::test]
async fn a_decision_with_a_ttl_takes_one_round_trip() {
    let server = RedisServer::start(&[]);
    let (polls, mut redis) = (polls(&server), server.connection().await);
    place(&mut redis, Some(HOT), None).await;
    polls.completed_with_ttl(&discovery(), 3_600.0).await.unwrap();
    let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut redis).await.unwrap();
    assert_eq!(due(&polls, &discovery()).await.reason, PollReason::ListStillValid);
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await.unwrap();
    assert!(stats.lines().any(|line| line.starts_with("cmdstat_exec:calls=1,")), "{stats}");
    assert!(!stats.contains("cmdstat_pexpire:"), "{stats}");
}
