//! Rivals: other classifiers that behave like ContextForge's. They take a free lock, renew it, and delete what is
//! published. See docs/contract.md#the-redis-lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use tokio::task::JoinHandle;

use crate::row::{Row, SETTLED, cycles_of, leader_of};
use crate::support::fleet::key;
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};
use mcpgateway_operator::api::v1alpha1::RedisLockState;
use mcpgateway_operator::model::TakeoverDecision;

/// One rival. It takes the lock only if it is free (`SET … NX EX`), renews it while it holds it, and purges at each
/// turn, as ContextForge does from 1.0.0 on.
struct Rival {
    task: JoinHandle<()>,
    won: Arc<AtomicUsize>,
    tried: Arc<AtomicUsize>,
}

impl Drop for Rival {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rival {
    /// `publishes`: it writes a timestamp that lives for two of its intervals of 300 s.
    fn start(row: &Row, every: Duration, publishes: bool) -> Self {
        let url = row.fleet.redis.url();
        let (won, tried) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counts = (Arc::clone(&won), Arc::clone(&tried));
        let task = tokio::spawn(async move {
            let client = redis::Client::open(url).unwrap();
            let mut redis = client.get_multiplexed_async_connection().await.unwrap();
            let mut ticks = tokio::time::interval(every);
            loop {
                ticks.tick().await;
                counts.1.fetch_add(1, Ordering::SeqCst);
                let taken: Option<String> = redis::cmd("SET")
                    .arg(&[key("leader"), "classifier_4711".into(), "NX".into(), "EX".into(), "600".into()])
                    .query_async(&mut redis)
                    .await
                    .unwrap();
                let holder: Option<String> = redis.get(key("leader")).await.unwrap();
                if taken.is_some() || holder.as_deref() == Some("classifier_4711") {
                    counts.0.fetch_add(1, Ordering::SeqCst);
                    let _: () = redis.expire(key("leader"), 600).await.unwrap();
                    let _: () = redis.del(&[key("hot"), key("cold"), key("metadata")]).await.unwrap();
                    if publishes {
                        let _: () = redis.set_ex(key("timestamp"), "1763800000.25", 600).await.unwrap();
                    } else {
                        let _: () = redis.del(key("timestamp")).await.unwrap();
                    }
                }
            }
        });
        Self { task, won, tried }
    }

    fn won(&self) -> usize {
        self.won.load(Ordering::SeqCst)
    }
}

/// Starts a rival that has the lock before any operator runs.
async fn incumbent(row: &Row, publishes: bool) -> Rival {
    row.observer.expect_lock(false);
    row.observer.expect_sets(false);
    let rival = Rival::start(row, Duration::from_millis(500), publishes);
    eventually("the rival has the lock", SOON, || async { (rival.won() > 0).then_some(()) }).await;
    rival
}

fn operator(row: &Row, policy: &str) -> Operator {
    row.fleet.operator_with(&["--redis-url", &row.fleet.redis.url(), "--redis-lock-takeover", policy])
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn rival_that_publishes_nothing_loses_the_lock_under_idle() {
    let row = Row::begin("Rival.1", "a live rival that publishes nothing and purges; policy idle").await;
    let rival = incumbent(&row, false).await;
    let begun = Instant::now();
    let operator = operator(&row, "idle");
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], Duration::from_secs(2 + 5 + 3 * 2)).await;
    let took = begun.elapsed();
    // The rival keeps trying, with a purge at every turn, and does not get the lock again.
    let won = rival.won();
    operator.cycles(5).await;
    assert_eq!(rival.won(), won);
    row.shows_hot(["b", "c"], SETTLED).await;
    let taken = operator.metric("mcpgateway_operator_redis_lock_takeovers_total").await;
    row.end(&format!("lost the lock {took:.1?} after the operator's start, interval 2 s; {taken} takeover(s)")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn rival_that_publishes_every_300_s_keeps_the_lock() {
    let row =
        Row::begin("Rival.2", "a rival whose publication lives for 600 s, for 40 of our intervals of 2 s; policy idle")
            .await;
    let rival = incumbent(&row, true).await;
    let operator = operator(&row, "idle");
    operator.cycles(40).await;
    assert_eq!(row.fleet.redis_text("leader").await.as_deref(), Some("classifier_4711"));
    assert_eq!(operator.metric("mcpgateway_operator_redis_lock_takeovers_total").await.to_string(), "0");
    assert!(rival.won() > 40);
    assert!(row.fleet.status().await.redis_lock.holder.unwrap_or_default().starts_with("classifier_4711"));
    row.end("the rival kept the lock throughout; statuses were written").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn rival_keeps_the_lock_for_ever_under_never() {
    let row = Row::begin("Rival.3", "a live rival that publishes nothing; policy never, for 20 intervals").await;
    let rival = incumbent(&row, false).await;
    let operator = operator(&row, "never");
    operator.cycles(20).await;
    assert_eq!(row.fleet.redis_text("leader").await.as_deref(), Some("classifier_4711"));
    assert!(rival.won() > 20);
    let lock = row.fleet.status().await.redis_lock;
    assert_eq!((lock.state, lock.takeover), (RedisLockState::HeldByAnother, Some(TakeoverDecision::LeaveIt)));
    row.end("the rival kept the lock throughout; the fleet's status says why").await;
}

/// Takes ten minutes, or `CHAOS_RIVAL_SECONDS`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn rival_that_tries_every_100_ms_never_gets_in() {
    let seconds: u64 = std::env::var("CHAOS_RIVAL_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let row = Row::begin("Rival.4", "a rival that tries every 100 ms while our leaders change").await;
    let (first, second) = row.two().await;
    let mut replicas = vec![first, second];
    let rival = Rival::start(&row, Duration::from_millis(100), false);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut changes = 0;
    while Instant::now() < end {
        cycles_of(&replicas, 10).await;
        let term = row.term().await;
        let mut leader = replicas.swap_remove(leader_of(&replicas).await);
        if changes % 2 == 0 {
            leader.stop().await;
        } else {
            leader.kill();
        }
        row.taken_over(term).await;
        replicas.push(row.fleet.operator());
        replicas[1].ready().await;
        changes += 1;
    }
    assert_eq!(rival.won(), 0);
    row.fleet.settled().await;
    let tried = rival.tried.load(Ordering::SeqCst);
    row.end(&format!("{tried} attempts in {seconds} s, none successful, over {changes} changes of leader")).await;
}
