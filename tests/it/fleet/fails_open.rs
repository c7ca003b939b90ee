//! A refresh plan fails open. Whatever ends it, a cold server with a long planned interval, refreshed a moment ago, is
//! due by its tier and then at the full rate, within two intervals of the operator and three hot ones. The command
//! line and the API of a replica that lives give the same answer.

use std::time::{Duration, Instant};

use redis::AsyncCommands;
use serde_json::Value;

use crate::support::fleet::{Fleet, key, used};
use crate::support::operator::{Operator, binary};
use crate::support::{SOON, eventually};

/// The operator's interval is 2 s, the hot one as well.
const PROMISED: Duration = Duration::from_secs(2 * 2 + 3 * 2);
const TIERS: [&str; 4] = ["--hot-poll-interval", "2s", "--api-bind-address", "127.0.0.1:0"];
const PLAN: [&str; 6] = ["--refresh-plan", "usage", "--longest-refresh-interval", "1h", "--refresh-budget", "0.4"];
/// The server that was not used for months.
const IDLE: &str = "http://e.example/mcp";

/// A fleet under a plan.
struct Planned {
    fleet: Fleet,
    operator: Operator,
}

impl Planned {
    async fn begin(test: &str, more: &[&str]) -> Self {
        let fleet = Fleet::new(test, 1).await;
        for name in ["a", "b", "c", "d", "e"] {
            fleet.create(name, &format!("http://{name}.example/mcp")).await;
        }
        let ages = [("a", 5.0), ("b", 50.0), ("c", 500.0), ("d", 5e3), ("e", 1e7)];
        fleet.workers[0].report(ages.map(|(name, ago)| used(name, ago)).into());
        let redis = fleet.redis.url();
        let operator = fleet.operator_with(&[&TIERS[..], &PLAN, more, &["--redis-url", &redis]].concat());
        let planned = Self { fleet, operator };
        planned.is_refreshed().await;
        planned
    }

    /// Waits for the plan and refreshes the server, so that it is not due for far longer than the promised time.
    async fn is_refreshed(&self) {
        let long = Some(3 * PROMISED.as_secs());
        eventually("the plan has a long interval", SOON, || async {
            let due = by_command(&self.fleet, "due");
            (due["planned"] == true && due["intervalSeconds"].as_u64() > long).then_some(())
        })
        .await;
        assert_eq!(by_command(&self.fleet, "completed")["stored"], true);
        assert_eq!(self.reasons().await, ["NotYetDue", "NotYetDue"]);
    }

    /// What the command line and the API answer.
    async fn reasons(&self) -> [String; 2] {
        let address = self.operator.address("serving /v1").await;
        let url = format!("http://{address}/v1/polls/due?url={IDLE}&type=tool_discovery");
        let text = reqwest::get(url).await.expect("an answer").text().await.expect("text");
        [by_command(&self.fleet, "due"), serde_json::from_str(&text).expect("JSON")].map(|answer| reason(&answer))
    }

    /// Waits until command line and API have this reason for a refresh, at most the promised time since then.
    async fn both_say(&self, expected: &str, begun: Instant) {
        let left = PROMISED.saturating_sub(begun.elapsed());
        eventually(expected, left, || async { (self.reasons().await == [expected; 2]).then_some(()) }).await;
        println!("{expected} after {:.1?}", begun.elapsed());
    }
}

/// The answer of `poll due` or `poll completed` about the idle server.
fn by_command(fleet: &Fleet, what: &str) -> Value {
    let asked = ["--url", IDLE, "--type", "tool_discovery", "--hot-poll-interval", "2s", "-o", "json"];
    let mut command = binary();
    let output = command.args(["poll", what, "--redis-url", &fleet.redis.url()]).args(asked).output().expect("it runs");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The reason of an answer. Only one of them does not ask for a refresh.
fn reason(answer: &Value) -> String {
    let reason = answer["reason"].as_str().expect("a reason").to_owned();
    assert_eq!(answer["due"], reason != "NotYetDue", "{answer}");
    reason
}

/// Waits until the command line has this reason for a refresh, at most the promised time since then.
async fn command_says(fleet: &Fleet, expected: &str, begun: Instant) {
    let left = PROMISED.saturating_sub(begun.elapsed());
    eventually(expected, left, || async { (reason(&by_command(fleet, "due")) == expected).then_some(()) }).await;
    println!("{expected} after {:.1?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_is_gone_for_good_leaves_every_server_due() {
    let Planned { fleet, mut operator } = Planned::begin("open-gone", &[]).await;
    operator.kill();
    command_says(&fleet, "Unclassified", Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_gone_and_then_empty_leaves_every_server_due() {
    let mut planned = Planned::begin("open-empty", &[]).await;
    planned.fleet.redis.kill();
    planned.both_say("Error", Instant::now()).await;
    planned.fleet.redis.restart();
    // Before the next publication it is unclassified, and after it was never polled.
    planned.both_say("NeverPolled", Instant::now()).await;
    planned.is_refreshed().await;
}

/// As a `ContextForge` worker does, the other holder deletes the sets, and does not know of the plan.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_lock_that_is_lost_leaves_every_server_due() {
    let planned = Planned::begin("open-lock", &["--redis-lock-takeover", "never"]).await;
    let mut redis = planned.fleet.redis.connection().await;
    let (): () = redis::pipe()
        .atomic()
        .set(key("leader"), "classifier_1")
        .del(["hot", "cold", "metadata", "timestamp"].map(key).to_vec())
        .query_async(&mut redis)
        .await
        .unwrap();
    // What is left of the plan counts for cold servers only.
    assert!(redis.exists::<_, bool>(key("intervals")).await.unwrap());
    planned.both_say("Unclassified", Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_fleet_leaves_every_server_due() {
    let planned = Planned::begin("open-suspended", &[]).await;
    planned.fleet.suspend(true).await;
    planned.both_say("Unclassified", Instant::now()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_a_plan_leaves_the_decision_to_the_tiers() {
    let mut planned = Planned::begin("open-tiers", &[]).await;
    let begun = Instant::now();
    assert!(planned.operator.stop().await.success());
    let redis = planned.fleet.redis.url();
    planned.operator = planned.fleet.operator_with(&[&TIERS[..], &["--redis-url", &redis]].concat());
    planned.both_say("IntervalElapsed", begun).await;
    let due = by_command(&planned.fleet, "due");
    assert_eq!((&due["tier"], &due["intervalSeconds"], &due["planned"]), (&"cold".into(), &6.into(), &false.into()));
    // And then the operator is gone.
    by_command(&planned.fleet, "completed");
    planned.operator.kill();
    command_says(&planned.fleet, "Unclassified", Instant::now()).await;
}
