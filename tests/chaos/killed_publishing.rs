//! docs/contract.md#x7: the leader is killed at each step of a publication with a refresh plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcpgateway_operator::model::ServerUrl;
use mcpgateway_operator::poll::{Intervals, Poll, PollType};
use mcpgateway_operator::publish::keys::Keys;
use mcpgateway_operator::publish::{PollMetrics, Polls, RedisAccess, RedisUrl};
use redis::AsyncCommands;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::proxy::Proxy;
use crate::row::{NAMES, Row, SETTLED_AFTER_LEASE};
use crate::support::fleet::key;
use crate::support::operator::Operator;
use crate::support::steps::Steps;
use crate::support::{SOON, eventually};

const ROUNDS: usize = 25;
const PAIRS: [[&str; 2]; 4] = [["b", "c"], ["d", "e"], ["f", "g"], ["h", "i"]];
/// The hot interval. The longest one is 16 times as long.
const HOT: Duration = Duration::from_secs(1);
const PLAN: [&str; 8] = [
    "--refresh-plan",
    "usage",
    "--hot-poll-interval",
    "1s",
    "--longest-refresh-interval",
    "16s",
    "--refresh-budget",
    "0.4",
];

/// A gateway that polls whatever is due.
struct Gateway {
    stop: watch::Sender<bool>,
    task: JoinHandle<(usize, Duration)>,
}

impl Gateway {
    fn start(redis: &str) -> Self {
        let access = RedisAccess::new(RedisUrl::parse(redis).unwrap(), Keys::default());
        let polls = Polls::new(Some(access), Intervals::new(HOT, None), PollMetrics::default());
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let poll = |name| {
                let url = ServerUrl::parse(&format!("http://{name}.example/mcp")).unwrap();
                Poll { url, gateway: None, kind: PollType::ToolDiscovery }
            };
            // The last poll of each server, and the longest interval that was in force since then.
            let mut servers = NAMES.map(|name| (poll(name), Instant::now(), HOT));
            let (mut count, mut latest) = (0, Duration::ZERO);
            while !*stopped.borrow() {
                for (poll, last, longest) in &mut servers {
                    let (decision, _) = polls.due(poll).await;
                    *longest = decision.interval.map_or(*longest, |interval| interval.max(*longest));
                    latest = latest.max(last.elapsed().saturating_sub(*longest));
                    if decision.due {
                        polls.completed(poll).await.ok();
                        (*last, *longest) = (Instant::now(), HOT);
                        count += 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            (count, latest)
        });
        Self { stop, task }
    }

    /// The number of polls, and how long after its interval the latest one came.
    async fn end(self) -> (usize, Duration) {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}

/// A fleet with a plan, whose leaders are killed while they publish.
struct Scene {
    row: Row,
    steps: Arc<Steps>,
    redis: Proxy,
}

impl Scene {
    /// Starts it with a leader that has published for the last pair, and a gateway that polls by that.
    async fn begin(id: &'static str, done: &'static str) -> (Self, Operator, Gateway) {
        let row = Row::begin(id, done).await;
        let steps = Arc::new(Steps::default());
        let redis = Proxy::counting(row.fleet.redis.port(), Arc::clone(&steps)).await;
        let scene = Self { row, steps, redis };
        let leader = scene.operator();
        scene.row.use_servers(PAIRS[3]);
        scene.shows(PAIRS[3]).await;
        let gateway = Gateway::start(&scene.row.fleet.redis.url());
        (scene, leader, gateway)
    }

    fn operator(&self) -> Operator {
        self.row.fleet.operator_with(&[&PLAN[..], &["--redis-url", &self.redis.url()]].concat())
    }

    /// Waits until both stores show these servers hot, and the same plan for all others.
    async fn shows(&self, pair: [&str; 2]) -> Duration {
        let begun = Instant::now();
        self.row.shows_hot(pair, SETTLED_AFTER_LEASE).await;
        eventually("both stores show the same plan", SETTLED_AFTER_LEASE, || async {
            let mut redis = self.row.fleet.redis.connection().await;
            let published: BTreeMap<String, u64> = redis.hgetall(key("intervals")).await.ok()?;
            let stated = self.row.fleet.all().await.into_iter().filter_map(|object| {
                let interval = Duration::from(object.status?.polling?.interval?);
                Some((object.spec.url, interval.as_secs()))
            });
            let cold = |url: &String| !pair.iter().any(|name| *url == format!("http://{name}.example/mcp"));
            let stated: BTreeMap<_, _> = stated.filter(|(url, _)| cold(url)).collect();
            (published == stated && stated.len() == NAMES.len() - pair.len()).then_some(())
        })
        .await;
        begun.elapsed()
    }

    /// Kills this leader when the step after those that are allowed is in flight. That step still arrives. Returns the
    /// next leader.
    async fn kill(&self, mut leader: Operator) -> Operator {
        eventually("the process is at the point", SOON, || async { self.steps.stuck().then_some(()) }).await;
        leader.kill();
        self.steps.free();
        self.operator()
    }

    async fn end(self, gateway: Gateway, worst: Duration, steps: usize) {
        let (polls, latest) = gateway.end().await;
        assert!(polls > 10 * ROUNDS, "the gateway hardly polled: {polls}");
        assert!(latest <= 3 * HOT, "a server was polled {latest:?} after its interval");
        self.row
            .end(&format!(
                "P2, P3, P9: sets and plan always of one publication; recovered at most {worst:.1?} after each kill; \
                 {polls} polls, the latest {latest:.1?} after its interval; {ROUNDS} points of {steps} steps"
            ))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x7_killed_at_each_step_of_a_full_publication_with_a_plan() {
    let text = "a new leader killed at each step of its first publication, with a plan";
    let (scene, mut leader, gateway) = Scene::begin("X7.1", text).await;
    let (mut worst, mut all) = (Duration::ZERO, 0);
    for round in 0..=ROUNDS {
        let pair = PAIRS[round % 4];
        // If its predecessor had published and written everything, it was started a moment ago, and ends at any signal.
        leader.ready().await;
        assert!(leader.stop().await.success());
        scene.row.use_servers(pair);
        let begun = scene.steps.taken();
        if round == 0 {
            // A whole one, to count its steps.
            leader = scene.operator();
            scene.shows(pair).await;
            all = scene.steps.taken() - begun;
            continue;
        }
        scene.steps.allow((round - 1) * all / ROUNDS);
        leader = scene.operator();
        leader = scene.kill(leader).await;
        worst = worst.max(scene.shows(pair).await);
    }
    scene.end(gateway, worst, all).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn x7_killed_at_each_step_of_a_changed_publication_with_a_plan() {
    let text = "the leader killed at each step of a cycle that changes tiers and plan";
    let (scene, mut leader, gateway) = Scene::begin("X7.2", text).await;
    let (mut worst, mut all) = (Duration::ZERO, 0);
    for round in 0..=ROUNDS {
        let pair = PAIRS[round % 4];
        leader.cycles(1).await;
        scene.row.use_servers(pair);
        if round == 0 {
            let begun = scene.steps.taken();
            scene.shows(pair).await;
            all = scene.steps.taken() - begun;
            continue;
        }
        scene.steps.allow((round - 1) % all);
        leader = scene.kill(leader).await;
        worst = worst.max(scene.shows(pair).await);
    }
    scene.end(gateway, worst, all).await;
}
