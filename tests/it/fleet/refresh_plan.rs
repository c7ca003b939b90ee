//! The refresh plan on real servers: in Redis, in the statuses, across a change of leader, and gone again.

use std::collections::{BTreeMap, BTreeSet};

use redis::AsyncCommands;

use crate::support::fleet::{Fleet, key, used};
use crate::support::{SOON, eventually};

/// A hot interval of 2 s and a longest one of 64 s.
const PLAN: [&str; 8] = [
    "--refresh-plan",
    "usage",
    "--hot-poll-interval",
    "2s",
    "--longest-refresh-interval",
    "64s",
    "--refresh-budget",
    "0.5",
];

/// Seconds since the last use of each server. They hardly change in the time of a test.
const AGES: [(&str, f64); 6] = [("a", 100.0), ("b", 300.0), ("c", 1e4), ("d", 3e5), ("e", 3e5), ("f", 1e7)];

type Intervals = BTreeMap<String, u64>;

/// The plan in Redis: seconds by URL.
async fn published(fleet: &Fleet) -> Intervals {
    fleet.redis.connection().await.hgetall(key("intervals")).await.expect("a hash")
}

/// The intervals in the statuses: seconds by URL.
async fn stated(fleet: &Fleet) -> Intervals {
    let of = |object: mcpgateway_operator::api::v1alpha1::McpGateway| {
        let interval = std::time::Duration::from(object.status?.polling?.interval?);
        Some((object.spec.url, interval.as_secs()))
    };
    fleet.all().await.into_iter().filter_map(of).collect()
}

/// Waits until the statuses of all servers show an interval, and Redis has those of the cold ones.
async fn planned(fleet: &Fleet) -> Intervals {
    eventually("statuses and Redis show the same plan", SOON, || async {
        let (published, mut stated) = (published(fleet).await, stated(fleet).await);
        let hot = fleet.sets().await.hot;
        let all = stated.len() == AGES.len() && hot.len() == 1;
        stated.retain(|url, _| !hot.contains(url));
        (all && published == stated).then_some(published)
    })
    .await
}

async fn nothing_planned(fleet: &Fleet) {
    eventually("neither Redis nor a status has a planned interval", SOON, || async {
        let exists: bool = fleet.redis.connection().await.exists(key("intervals")).await.unwrap();
        (!exists && stated(fleet).await.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_refresh_plan_outlives_a_leader_and_goes_with_suspension_and_with_the_flag() {
    let fleet = Fleet::new("refresh-plan", 1).await;
    for (name, _) in AGES {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(AGES.map(|(name, ago)| used(name, ago)).into());
    let redis = fleet.redis.url();
    let flags = [&PLAN[..], &["--redis-url", &redis]].concat();

    let mut first = fleet.operator_with(&flags);
    fleet.settled().await;
    first.cycles(3).await;
    let before = planned(&fleet).await;
    println!("{before:?}");
    let rungs: BTreeSet<u32> = before.values().map(|seconds| seconds.ilog2()).collect();
    assert!(rungs.len() >= 3 && before.len() == 5, "{before:?}");
    assert!(before["http://b.example/mcp"] < before["http://c.example/mcp"], "{before:?}");
    assert!(before["http://c.example/mcp"] < before["http://f.example/mcp"], "{before:?}");
    let ttl: i64 = fleet.redis.connection().await.ttl(key("intervals")).await.unwrap();
    assert!((1..=4).contains(&ttl), "the plan lives as long as the sets: {ttl}");

    let figures = fleet.status().await.refresh_plan.expect("the fleet object shows the plan");
    assert!(figures.budget_kept && figures.polls_per_hour <= figures.uniform_polls_per_hour / 2, "{figures:?}");
    assert_eq!((figures.uniform_polls_per_hour, figures.tiers_polls_per_hour), (11_000, 4_800));
    assert_eq!(first.metric("mcpgateway_operator_refresh_budget_kept").await.to_string(), "1");

    let second = fleet.operator_with(&flags);
    second.ready().await;
    first.kill();
    eventually("the second leads and publishes", SOON, || async {
        let lock = fleet.redis_text("leader").await.unwrap_or_default();
        lock.ends_with("/2").then_some(())
    })
    .await;
    second.cycles(3).await;
    assert_eq!(planned(&fleet).await, before);

    fleet.suspend(true).await;
    nothing_planned(&fleet).await;
    eventually("the fleet object shows no plan", SOON, || async {
        fleet.status().await.refresh_plan.is_none().then_some(())
    })
    .await;
    fleet.suspend(false).await;
    assert_eq!(planned(&fleet).await.len(), 5);

    drop(second);
    let _without = fleet.operator_with(&["--redis-url", &redis]);
    nothing_planned(&fleet).await;
    fleet.settled().await;
}
