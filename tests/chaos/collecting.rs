//! docs/contract.md#w1, docs/contract.md#w5, docs/contract.md#w6: workers that fail, lie, hang and flood. They demote
//! nobody and delay nobody else.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::puppet::{Puppet, Way};
use crate::row::Row;
use crate::support::fleet::{Fleet, Tiers};
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};

const INTERVAL: Duration = Duration::from_secs(2);

/// Four workers and forty servers, of which eight may be hot. Only the first worker uses `s00` to `s03`, most recently
/// of all. Only the second uses `s04` to `s07`. All except the first use twelve more, a little earlier, so that these
/// overtake the servers of a worker that does not answer.
struct Scene {
    fleet: Fleet,
    bad: Puppet,
    good: [Puppet; 3],
    elsewhere: Puppet,
}

const BAD: [(&str, f64); 4] = [("s00", 0.1), ("s01", 0.2), ("s02", 0.3), ("s03", 0.4)];
const GOOD: [(&str, f64); 4] = [("s04", 0.5), ("s05", 0.6), ("s06", 0.7), ("s07", 0.8)];
const CHASING: [(&str, f64); 12] = [
    ("s08", 2.0),
    ("s09", 2.0),
    ("s10", 2.0),
    ("s11", 2.0),
    ("s12", 2.1),
    ("s13", 2.1),
    ("s14", 2.1),
    ("s15", 2.1),
    ("s16", 2.2),
    ("s17", 2.2),
    ("s18", 2.2),
    ("s19", 2.2),
];

fn urls(names: &[(&str, f64)]) -> BTreeSet<String> {
    names.iter().map(|(name, _)| format!("http://{name}.example/mcp")).collect()
}

impl Scene {
    async fn new(test: &str) -> Self {
        let fleet = Fleet::new(test, 0).await;
        for n in 0..40 {
            fleet.create(&format!("s{n:02}"), &format!("http://s{n:02}.example/mcp")).await;
        }
        let elsewhere = Puppet::start(&[], None).await;
        let bad = Puppet::start(&BAD, Some(&elsewhere)).await;
        let with = |own: &[(&'static str, f64)]| [own, &CHASING].concat();
        let good = [
            Puppet::start(&with(&GOOD), None).await,
            Puppet::start(&with(&[]), None).await,
            Puppet::start(&with(&[]), None).await,
        ];
        Self { fleet, bad, good, elsewhere }
    }

    fn operator(&self, timeout: &str) -> Operator {
        let urls: Vec<String> = std::iter::once(&self.bad).chain(&self.good).map(Puppet::url).collect();
        let redis = self.fleet.redis.url();
        let mut all = vec!["--redis-url", &redis, "--worker-timeout", timeout];
        for url in &urls {
            all.extend(["--worker-endpoint", url.as_str()]);
        }
        self.fleet.operator_with(&all)
    }

    /// Waits until both stores show the eight most recent servers hot, and no others.
    async fn is_right(&self, limit: Duration) {
        let hot: BTreeSet<String> = urls(&BAD).union(&urls(&GOOD)).cloned().collect();
        eventually("the eight most recent are hot in both stores", limit, || async {
            let right = |tiers: &Tiers| tiers.hot == hot && tiers.cold.len() == 32;
            let sets = self.fleet.sets_if_any().await?;
            (right(&sets) && self.fleet.statuses().await == sets).then_some(())
        })
        .await;
    }

    /// Waits until the fleet's status has this reason of `UsageComplete`, and names these endpoints as silent.
    async fn shows_usage(&self, usage: &str, summary: &str, silent: &[String]) {
        eventually(&format!("{usage}: {summary}"), SOON, || async {
            let endpoints = self.fleet.status().await.endpoints;
            let named: Vec<String> = endpoints.silent.into_iter().map(|silent| silent.endpoint).collect();
            let usage = self.fleet.condition("UsageComplete").await.starts_with(usage);
            (usage && endpoints.summary == summary && named == silent).then_some(())
        })
        .await;
    }

    /// Samples the hot set until then. Returns the wanted servers that were missing from it at some moment.
    async fn missing_from_hot(&self, wanted: &BTreeSet<String>, until: Instant) -> BTreeSet<String> {
        let mut missing = BTreeSet::new();
        while Instant::now() < until {
            if let Some(sets) = self.fleet.sets_if_any().await {
                missing.extend(wanted.difference(&sets.hot).cloned());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        missing.extend(wanted.difference(&self.fleet.statuses().await.hot).cloned());
        missing
    }
}

/// A figure of `/proc/PID/status` in kB.
fn memory(operator: &Operator, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", operator.pid())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Resets the peak of the resident memory.
fn forget_peak(operator: &Operator) {
    fs::write(format!("/proc/{}/clear_refs", operator.pid()), "5").expect("it may be reset");
}

/// The longest time between two requests to a good worker since then.
fn longest_wait(scene: &Scene, since: Instant) -> Duration {
    let now = Instant::now();
    let waits = scene.good.iter().flat_map(|good| {
        let mut times: Vec<Instant> = good.asked().into_iter().filter(|time| *time >= since).collect();
        times.push(now);
        times.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    });
    waits.max().unwrap_or_default()
}

#[tokio::test]
#[ignore = "the fault campaign: make chaos"]
async fn w1_a_hostile_worker_demotes_nobody_and_delays_nobody() {
    let begun = Instant::now();
    let scene = Scene::new("chaos-w1-1").await;
    let operator = scene.operator("1s");
    scene.is_right(SOON).await;
    let wanted: BTreeSet<String> = urls(&BAD).union(&urls(&GOOD)).cloned().collect();
    let (mut worst_growth, mut worst_wait) = (0, Duration::ZERO);
    for way in Way::HOSTILE {
        forget_peak(&operator);
        let (before, since) = (memory(&operator, "VmRSS"), Instant::now());
        scene.bad.answer(way);
        let missing = scene.missing_from_hot(&wanted, since + INTERVAL * 5 / 2).await;
        assert!(missing.is_empty(), "{way:?} demoted {missing:?}\n{}", operator.log());
        let growth = memory(&operator, "VmHWM").saturating_sub(before);
        let wait = longest_wait(&scene, since);
        println!("W1 {way:?}: nobody demoted, memory +{growth} kB, longest wait of the others {wait:.2?}");
        assert!(growth < 16 * 1024, "{way:?} cost {growth} kB");
        assert!(wait < INTERVAL + Duration::from_secs(1), "{way:?} delayed the others: {wait:?}");
        (worst_growth, worst_wait) = (worst_growth.max(growth), worst_wait.max(wait));
        scene.bad.answer(Way::Well);
        scene.is_right(SOON).await;
    }
    assert!(scene.elsewhere.asked().is_empty(), "redirects were followed");
    let held = format!(
        "{} ways: nobody demoted in 2.5 intervals; memory at most +{} kB; \
         longest wait of the others {worst_wait:.2?} at an interval of 2 s",
        Way::HOSTILE.len(),
        worst_growth
    );
    Row::note("W1.1", "one of four workers hostile, in each way in turn", &held, begun);
}

#[tokio::test]
#[ignore = "the fault campaign: make chaos"]
async fn w1_after_the_hold_the_rank_decides_again() {
    let begun = Instant::now();
    let ways = [Way::Hangs, Way::Status(500), Way::Partial];
    let after = futures::future::join_all(ways.map(|way| async move {
        let scene = Scene::new("chaos-w1-2").await;
        let operator = scene.operator("1s");
        scene.is_right(SOON).await;
        let since = Instant::now();
        scene.bad.answer(way);
        // Silent two intervals after its last report, and held for three more. The last report may be an interval old.
        let missing = scene.missing_from_hot(&urls(&BAD), since + INTERVAL * 4).await;
        assert!(missing.is_empty(), "{way:?}: {missing:?}\n{}", operator.log());
        eventually("the rank decides", INTERVAL * 4, || async {
            let sets = scene.fleet.sets_if_any().await?;
            (sets.hot.is_disjoint(&urls(&BAD)) && sets.hot.len() == 8 && scene.fleet.statuses().await == sets)
                .then_some(())
        })
        .await;
        let took = since.elapsed();
        scene.shows_usage("False/EndpointsSilent", "3/4", &[scene.bad.url()]).await;
        scene.bad.answer(Way::Well);
        scene.is_right(SOON).await;
        scene.shows_usage("True/Complete", "4/4", &[]).await;
        took
    }))
    .await;
    let held = format!(
        "demoted by rank after {after:.1?} (five intervals after the last report), recovered when the worker was back"
    );
    Row::note("W1.2", "a worker silent for longer than the hold", &held, begun);
}

#[tokio::test]
#[ignore = "the fault campaign: make chaos"]
async fn w6_a_worker_slower_than_interval_and_lease_lengthens_no_cycle() {
    let begun = Instant::now();
    let scene = Scene::new("chaos-w6").await;
    // A timeout far above the interval of 2 s and the lease of 3 s.
    let operator = scene.operator("60s");
    scene.is_right(SOON).await;
    let term = operator.metric("mcpgateway_operator_term").await;
    for way in [Way::Hangs, Way::OneByteASecond] {
        let since = Instant::now();
        scene.bad.answer(way);
        operator.cycles(5).await;
        let wait = longest_wait(&scene, since);
        // A cycle that is cut short ends at the next tick, and the next one begins at once.
        assert!(wait < INTERVAL * 2 + Duration::from_secs(1), "{way:?} delayed the others: {wait:?}");
        assert!(operator.metric("mcpgateway_operator_worker_reports_total{outcome=\"Timeout\"}").await > 0.0);
        scene.bad.answer(Way::Well);
        scene.is_right(SOON).await;
    }
    assert_eq!(operator.metric("mcpgateway_operator_leader").await.total_cmp(&1.0), std::cmp::Ordering::Equal);
    assert_eq!(
        operator.metric("mcpgateway_operator_term").await.total_cmp(&term),
        std::cmp::Ordering::Equal,
        "the Lease was kept"
    );
    Row::note(
        "W6",
        "a worker slower than the interval and the lease, timeout 60 s",
        "cycles were cut short; Lease and term were kept",
        begun,
    );
}

#[tokio::test]
#[ignore = "the fault campaign: make chaos"]
async fn w5_workers_that_come_and_go_by_the_hundred_do_no_harm() {
    let begun = Instant::now();
    let fleet = Fleet::new("chaos-w5", 0).await;
    for n in 0..40 {
        fleet.create(&format!("s{n:02}"), &format!("http://s{n:02}.example/mcp")).await;
    }
    // All addresses are known from the start. Most of them refuse connections at first.
    let first = Puppet::start(&[BAD, GOOD].concat(), None).await;
    let mut later = Vec::new();
    for _ in 0..100 {
        let puppet = Puppet::start(&CHASING, None).await;
        puppet.answer(Way::Refused);
        later.push(puppet);
    }
    let redis = fleet.redis.url();
    let addresses: Vec<String> = std::iter::once(&first).chain(&later).map(Puppet::url).collect();
    let mut flags = vec!["--redis-url", redis.as_str(), "--worker-quorum", "0"];
    for url in &addresses {
        flags.extend(["--worker-endpoint", url.as_str()]);
    }
    let operator = fleet.operator_with(&flags);
    let hot: BTreeSet<String> = urls(&BAD).union(&urls(&GOOD)).cloned().collect();
    let is_right = || async {
        let sets = fleet.sets_if_any().await?;
        (sets.hot == hot && fleet.statuses().await == sets).then_some(())
    };
    eventually("the eight most recent are hot", SOON, is_right).await;
    for round in 0..3 {
        later.iter().for_each(|puppet| puppet.answer(Way::Well));
        operator.cycles(2).await;
        eventually("all workers have answered", SOON, || async {
            (operator.metric("mcpgateway_operator_workers").await > 100.0).then_some(())
        })
        .await;
        eventually("the eight most recent are hot", SOON, is_right).await;
        later.iter().for_each(|puppet| puppet.answer(Way::Refused));
        operator.cycles(2).await;
        assert_eq!(fleet.statuses().await.hot.intersection(&hot).count(), 8, "round {round}: {}", operator.log());
    }
    Row::note(
        "W5",
        "a hundred workers come and go, three times",
        "nobody was demoted; all workers were counted within a cycle",
        begun,
    );
}
