//! Simulates polling by a refresh plan, and measures the plan for 100,000 servers.
//!
//! `cargo bench --bench plan`. Calls are independent of each other and come from a fixed seed, so each run prints the
//! same tables. They fall on one half of the servers by Zipf's law; the other half is never used. Each minute the fleet
//! is classified by exact recency, the plan is made, and every server that is due is polled: the decisions are those of
//! the library. Four ways to poll see the same calls:
//!
//! - *uniform*: every server at the hot interval of 5 minutes.
//! - *tiers*: hot servers, a fifth, at the hot interval, and all others at three times that.
//! - *plan*: the refresh plan with its default settings.
//! - *oracle*: knows the rate of each server, and polls in proportion to its square root under the same budget.
//!
//! The figures are the share of the polls of *uniform*, the mean age of a list at a call in minutes, and the share of
//! the calls that met a list older than twice the hot interval. After four days (the first one is left out), all
//! popularity moves to the servers that were never used.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark panics on errors, prints its figures and reads the clock"
)]

#[path = "../examples/worker/random.rs"]
mod random;
#[path = "shared/zipf.rs"]
mod zipf;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mcpgateway_operator::classify::{Params, PerServer, RankingInput, classify};
use mcpgateway_operator::model::{ServerUrl, Tier, UnixTime};
use mcpgateway_operator::plan::{Plan, PlanInput, PlanSettings, idle, plan};
use mcpgateway_operator::poll::{Intervals, Stamp, decide};
use random::Random;
use zipf::Zipf;

const BEGIN: f64 = 1_763_800_000.0;
/// Cycles and ticks: classification, plan and polls.
const MINUTE: f64 = 60.0;
const MINUTES_A_DAY: usize = 24 * 60;
/// Measured after the first day, and before popularity moves.
const DAYS: usize = 4;
/// Minutes after popularity has moved.
const SHIFTED: usize = 90;
/// Of these, the plan has so many to find out.
const SETTLING: usize = 30;
const NAMES: [&str; 4] = ["uniform", "tiers", "plan", "oracle"];
// The places of these in every list.
const UNIFORM: usize = 0;
const TIERS: usize = 1;
const PLAN: usize = 2;
const ORACLE: usize = 3;

/// The distribution of the calls.
#[derive(Clone, Copy)]
struct Load {
    servers: usize,
    /// The exponent of Zipf's law.
    exponent: f64,
    /// The mean number of calls per server and minute.
    calls: f64,
}

/// The source of calls. Their servers are numbered by popularity.
struct Traffic {
    random: Random,
    popularity: Zipf,
    /// Mean seconds between two calls.
    mean: f64,
    next: f64,
}

/// One way to poll.
#[derive(Clone, Default)]
struct Policy {
    intervals: Vec<Duration>,
    last_polls: Vec<f64>,
    polls: usize,
    /// Calls of the measured days, of the last hour before popularity moves, and of the time after that was noticed.
    days: Calls,
    before: Calls,
    after: Calls,
    settled: Calls,
}

/// Sums over calls.
#[derive(Clone, Copy, Default)]
struct Calls {
    count: usize,
    age: f64,
    old: usize,
    /// The logarithms of the intervals of the called servers, as multiples of the hot one.
    doublings: f64,
}

/// How often the plan changed in the measured days.
#[derive(Default)]
struct Changes {
    rungs: usize,
    tiers: usize,
    /// Rungs of servers whose tier stayed.
    alone: usize,
    reference: usize,
}

fn main() {
    // Cargo's test runner calls every target; this one runs with `cargo bench` only.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let began = Instant::now();
    println!("polls as a share of uniform / minutes of age at a call / calls on a list older than two hot intervals\n");
    println!("| servers | traffic  | call/m | {} |", NAMES.map(|name| format!("{name:<22}")).join(" | "));
    println!("|--------:|----------|-------:|{}", format!("{}|", "-".repeat(24)).repeat(NAMES.len()));
    let (mut changed, mut shifted, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    let thousand = [0.006, 0.06, 0.6].into_iter().flat_map(|calls| [0.8, 1.1, 1.5].map(|z| (1_000, z, calls)));
    let more = [0.8, 1.1, 1.5].map(|z| (10_000, z, 0.06));
    for (servers, exponent, calls) in thousand.chain(more) {
        let load = Load { servers, exponent, calls };
        let (policies, changes) = run(load);
        let name = format!("| {servers:>7} | Zipf {exponent} | {calls:>6} |");
        let all = policies[UNIFORM].polls as f64;
        let figures = policies.iter().map(|policy| {
            let Calls { count, .. } = policy.days;
            let old = 100.0 * policy.days.old as f64 / count as f64;
            format!(" {:.3} / {:>5.2} / {old:>4.1} % |", policy.polls as f64 / all, policy.days.mean_age())
        });
        println!("{name}{}", figures.collect::<String>());
        let a_server_and_hour = (servers * (DAYS - 1) * 24) as f64;
        let [tiers, rungs, alone] = [changes.tiers, changes.rungs, changes.alone].map(|n| n as f64 / a_server_and_hour);
        let reference = changes.reference as f64 / ((DAYS - 1) * 24) as f64;
        changed.push(format!("{name} {tiers:>5.2} | {rungs:>5.2} | {alone:>5.2} | {reference:>9.1} |"));
        let policy = &policies[PLAN];
        let spans = [policy.before, policy.after, policy.settled];
        let spans = spans.map(|calls| format!(" {:>5.2} I, {:>5.1} min |", calls.mean_interval(), calls.mean_age()));
        shifted.push(format!("{name}{}", spans.concat()));
        if (servers, calls) == (1_000, 0.06) {
            broken.extend(check(&policies).into_iter().map(|what| format!("Zipf {exponent}: {what}")));
        }
    }
    println!(
        "\nchanges an hour: of tiers and rungs for each server, of rungs without the tier, and of the reference\n"
    );
    println!("| servers | traffic  | call/m | tiers | rungs | alone | reference |");
    println!("|--------:|----------|-------:|------:|------:|------:|----------:|\n{}", changed.join("\n"));
    println!("\nthe plan as popularity moves to other servers: mean interval and age at a call\n");
    println!("| servers | traffic  | call/m | the hour before    | {SETTLING} minutes after   | the hour after that |");
    println!("|--------:|----------|-------:|-------------------:|-------------------:|-------------------:|");
    println!("{}", shifted.join("\n"));
    measure();
    println!("\n{DAYS} days each, the first one left out; {:.0} s", began.elapsed().as_secs_f64());
    assert!(broken.is_empty(), "promises not kept: {broken:#?}");
    println!("kept for 1,000 servers at 0.06 calls a minute: with a mean age at most 2 % above that of two tiers,");
    println!(
        "at least 28 % fewer polls and no more calls on old lists; {SETTLING} minutes after a shift, intervals at"
    );
    println!("a call are at most one rung longer");
}

/// The promises for 1,000 servers at 0.06 calls a minute that are not kept.
fn check(policies: &[Policy]) -> Vec<String> {
    let (tiers, plan) = (&policies[TIERS], &policies[PLAN]);
    let fewer = 1.0 - plan.polls as f64 / tiers.polls as f64;
    let older = plan.days.mean_age() / tiers.days.mean_age() - 1.0;
    let rungs =
        (plan.settled.doublings / plan.settled.count as f64) - (plan.before.doublings / plan.before.count as f64);
    [
        (fewer >= 0.28, format!("{:.1} % fewer polls than two tiers", 100.0 * fewer)),
        (older <= 0.02, format!("lists are {:.1} % older at a call than with two tiers", 100.0 * older)),
        (plan.days.old <= tiers.days.old, format!("{} old lists, {} with tiers", plan.days.old, tiers.days.old)),
        (rungs <= 1.0, format!("{rungs:.1} rungs longer after a shift")),
    ]
    .into_iter()
    .filter_map(|(kept, what)| (!kept).then_some(what))
    .collect()
}

/// The four ways to poll, and how the plan changed.
fn run(load: Load) -> (Vec<Policy>, Changes) {
    let Load { servers, .. } = load;
    let settings = PlanSettings::default();
    let hot = settings.interval();
    let tiers = Intervals::new(hot, None);
    let mut traffic = Traffic::new(load);
    // The order of the URLs must not follow popularity.
    let url = |n: usize| format!("https://server-{:06}.mcp.example.com/mcp", n.wrapping_mul(7_919) % servers);
    let urls: Arc<[ServerUrl]> = (0..servers).map(|n| ServerUrl::parse(&url(n)).unwrap()).collect();
    let mut ranking: PerServer<RankingInput> = PerServer::of(&urls);
    let mut inputs: PerServer<PlanInput> = PerServer::of(&urls);
    let mut planned = Plan::default();
    // At first, the servers are polled in different minutes.
    let last_polls = (0..servers).map(|n| BEGIN - MINUTE * (n % 5) as f64).collect();
    let policy = Policy { intervals: vec![hot; servers], last_polls, ..Policy::default() };
    let mut policies = vec![policy; NAMES.len()];
    policies[ORACLE].intervals = oracle(&traffic.rates(servers), &settings);
    let (mut changes, mut moved) = (Changes::default(), vec![false; servers]);
    let began = UnixTime::from_seconds(BEGIN).unwrap();

    let (first, shift) = (MINUTES_A_DAY, DAYS * MINUTES_A_DAY);
    for minute in 0..shift + SHIFTED {
        let measured = (first..shift).contains(&minute);
        let seconds = BEGIN + MINUTE * minute as f64;
        let now = UnixTime::from_seconds(seconds).unwrap();

        let found = classify(&ranking, now, &Params::default());
        let placed = found.placements().values().iter().zip(ranking.values());
        let intervals = &mut policies[TIERS].intervals;
        let columns = inputs.values_mut().iter_mut().zip(&mut moved).zip(intervals);
        for (((input, moved), interval), (placement, known)) in columns.zip(placed) {
            let tier = placement.map(|placement| placement.tier);
            *moved = tier != input.tier;
            *interval = tier.map_or(hot, |tier| tiers.of(tier));
            *input = PlanInput { tier, idle: idle(known.usage.last_used, began, now), ..PlanInput::default() };
        }
        let next = plan(&inputs, &planned, &settings);
        if measured {
            changes.count(&planned, &next, &moved);
        }
        planned = next;
        for (interval, planned) in policies[PLAN].intervals.iter_mut().zip(planned.servers().values()) {
            *interval = planned.map_or(hot, |planned| planned.interval());
        }

        policies.iter_mut().for_each(|policy| policy.poll(now, measured));
        for (place, time) in traffic.advance(seconds + MINUTE) {
            // Half of the servers are never used, until popularity moves to them.
            let server = if minute < shift { place } else { place + servers / 2 };
            let usage = &mut ranking.values_mut()[server].usage;
            usage.last_used = UnixTime::from_seconds(time);
            usage.use_count += 1;
            policies.iter_mut().for_each(|policy| policy.call(server, time, minute, hot));
        }
    }
    (policies, changes)
}

impl Policy {
    /// Polls every server that is due.
    fn poll(&mut self, now: UnixTime, measured: bool) {
        for (interval, last) in self.intervals.iter().zip(&mut self.last_polls) {
            let stamp = UnixTime::from_seconds(*last).map_or(Stamp::Absent, Stamp::At);
            let intervals = Intervals::new(*interval, Some(*interval));
            if decide(Some(Tier::Cold), None, stamp, now, &intervals).due {
                *last = now.seconds();
                self.polls += usize::from(measured);
            }
        }
    }

    fn call(&mut self, server: usize, time: f64, minute: usize, hot: Duration) {
        let shift = DAYS * MINUTES_A_DAY;
        let age = time - self.last_polls[server];
        let doublings = (self.intervals[server].as_secs_f64() / hot.as_secs_f64()).log2();
        let call = Calls { count: 1, age, old: usize::from(age > 2.0 * hot.as_secs_f64()), doublings };
        for (calls, span) in [
            (&mut self.days, MINUTES_A_DAY..shift),
            (&mut self.before, shift - 60..shift),
            (&mut self.after, shift..shift + SETTLING),
            (&mut self.settled, shift + SETTLING..shift + SHIFTED),
        ] {
            if span.contains(&minute) {
                calls.add(call);
            }
        }
    }
}

impl Calls {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.age += other.age;
        self.old += other.old;
        self.doublings += other.doublings;
    }

    /// In minutes.
    fn mean_age(&self) -> f64 {
        self.age / self.count as f64 / 60.0
    }

    /// The geometric mean, as a multiple of the hot interval.
    fn mean_interval(&self) -> f64 {
        (self.doublings / self.count as f64).exp2()
    }
}

impl Changes {
    fn count(&mut self, before: &Plan, after: &Plan, moved: &[bool]) {
        self.reference += usize::from(before.reference() != after.reference());
        let rungs = before.servers().values().iter().zip(after.servers().values());
        for ((before, after), moved) in rungs.zip(moved) {
            let rung = before.map(|before| before.rung) != after.map(|after| after.rung);
            self.rungs += usize::from(rung);
            self.tiers += usize::from(*moved);
            self.alone += usize::from(rung && !moved);
        }
    }
}

impl Traffic {
    fn new(load: Load) -> Self {
        let Load { servers, exponent, calls } = load;
        let random = Random::new(1, &[servers as u64, exponent.to_bits(), calls.to_bits()]);
        let popularity = Zipf::new(servers / 2, exponent);
        Self { random, popularity, mean: MINUTE / (calls * servers as f64), next: BEGIN }
    }

    /// The calls until then: their servers and times.
    fn advance(&mut self, until: f64) -> Vec<(usize, f64)> {
        let mut calls = Vec::new();
        while self.next < until {
            calls.push((self.popularity.draw(&mut self.random), self.next));
            self.next += self.random.waiting_time(self.mean);
        }
        calls
    }

    /// Relative rates of use.
    fn rates(&self, servers: usize) -> Vec<f64> {
        let mut rates = self.popularity.weights();
        rates.resize(servers, 0.0);
        rates
    }
}

/// Intervals in proportion to one over the square root of the rate, within the bounds of the plan, that use up its
/// budget.
fn oracle(rates: &[f64], settings: &PlanSettings) -> Vec<Duration> {
    let [least, most] = [settings.interval(), settings.longest()].map(|interval| interval.as_secs_f64());
    let intervals = |scale: f64| rates.iter().map(move |rate| (scale / rate.sqrt()).clamp(least, most));
    let (mut short, mut long) = (0.0_f64, 1e9);
    for _ in 0..100 {
        let middle = f64::midpoint(short, long);
        let polls: f64 = intervals(middle).map(|interval| least / interval).sum();
        if polls > settings.budget.share() * rates.len() as f64 { short = middle } else { long = middle }
    }
    intervals(long).map(Duration::from_secs_f64).collect()
}

/// Measures a plan of 100,000 servers beside the classification of the same fleet.
fn measure() {
    const SERVERS: usize = 100_000;
    const ROUNDS: usize = 21;
    let url = |n: usize| format!("https://server-{n:06}.tools.example.com/team/search/mcp/v1");
    let urls: Arc<[ServerUrl]> = (0..SERVERS).map(|n| ServerUrl::parse(&url(n)).unwrap()).collect();
    let mut random = Random::new(7, &[]);
    let now = UnixTime::from_seconds(BEGIN).unwrap();
    let began = now.shifted(-86_400.0);
    let mut ranking: PerServer<RankingInput> = PerServer::of(&urls);
    for input in ranking.values_mut() {
        let used = now.shifted(-86_400.0 * random.fraction());
        input.usage.last_used = (random.below(10) > 0).then_some(used);
    }
    let (params, settings) = (Params::default(), PlanSettings::default());
    let found = classify(&ranking, now, &params);
    let mut inputs: PerServer<PlanInput> = PerServer::of(&urls);
    let known = found.placements().values().iter().zip(ranking.values());
    for (input, (placement, known)) in inputs.values_mut().iter_mut().zip(known) {
        let tier = placement.map(|placement| placement.tier);
        *input = PlanInput { tier, idle: idle(known.usage.last_used, began, now), ..PlanInput::default() };
    }
    let previous = plan(&inputs, &Plan::default(), &settings);
    let median = |once: &dyn Fn()| {
        let mut times: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let begun = Instant::now();
                once();
                begun.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    };
    let classified = median(&|| drop(black_box(classify(&ranking, now, &params))));
    println!("\n{SERVERS} servers, URLs of 60 bytes, nine of ten used, {ROUNDS} rounds each, one core\n");
    println!("{:<34} {:>10} {:>18}", "", "median", "of classification");
    println!("{:<34} {classified:>7.2} ms", "classification");
    for (name, previous) in [("plan", &previous), ("first plan, with all hashes", &Plan::default())] {
        let time = median(&|| drop(black_box(plan(&inputs, previous, &settings))));
        println!("{name:<34} {time:>7.2} ms {:>16.1} x", time / classified);
    }
}
