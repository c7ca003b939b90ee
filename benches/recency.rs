//! Simulates the effect of `--recency-resolution`: how many tiers change in a cycle, and how useful the hot set is.
//!
//! `cargo bench --bench recency`. Requests are independent of each other and come from a fixed seed, so each run prints
//! the same tables. The fleet is classified every minute, once for each resolution. There are four figures:
//!
//! - *moved*: the share of the servers whose tier has changed within a minute. Each is a status write, a change in
//!   Redis and a poller that changes its interval.
//! - *missed*: the share of the most recently used fifth, by exact times, that is not hot.
//! - *served*: the share of the next minute's requests that go to a hot server, which is the purpose of being hot. The
//!   last column is the best possible share: the fifth with the most requests is hot.
//! - *shifted*: the same during the ten minutes after all popularity has moved to other servers, in the middle of the
//!   order.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark panics on errors, prints its figures and reads the clock"
)]

#[path = "../examples/worker/random.rs"]
#[expect(dead_code, reason = "shared with the example worker, which uses more of it")]
mod random;
#[path = "shared/zipf.rs"]
#[expect(dead_code, reason = "shared with the benchmark of plans, which uses more of it")]
mod zipf;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mcpgateway_operator::classify::{Params, PerServer, RankingInput, Row, classify};
use mcpgateway_operator::model::{ServerUrl, Tier, UnixTime};
use random::Random;
use zipf::Zipf;

/// Seconds of `--recency-resolution`; 0 is exact.
const RESOLUTIONS: [u64; 7] = [0, 1, 10, 60, 300, 900, 3_600];
const INTERVAL: f64 = 60.0;
/// Cycles before the measurement.
const WARM_UP: usize = 60;
/// Measured cycles.
const CYCLES: usize = 40;
/// Cycles after the shift.
const SHIFTED: usize = 10;
/// The mean duration of a request.
const REQUEST_SECONDS: f64 = 0.8;
/// The start time.
const BEGIN: f64 = 1_763_800_000.0;

/// The distribution of the requests.
#[derive(Clone, Copy)]
struct Load {
    servers: usize,
    /// The exponent of Zipf's law; 0 is uniform.
    exponent: f64,
    /// The mean number of requests per server and minute.
    requests: f64,
}

/// The usage of each server, and the source of requests.
struct Traffic {
    load: Load,
    random: Random,
    popularity: Zipf,
    urls: Arc<[ServerUrl]>,
    last_used: Vec<f64>,
    use_count: Vec<u64>,
    /// The server and the end of each request that may still be in flight.
    in_flight: Vec<(usize, f64)>,
    next: f64,
    /// By how many places popularity has moved.
    shift: usize,
}

/// The last classification with one resolution, and the sums over all cycles.
#[derive(Default)]
struct Outcome {
    hot: Vec<bool>,
    moved: usize,
    missed: usize,
    served: usize,
    shifted: usize,
}

/// The number of requests, and how many of them the best hot set would have served.
#[derive(Default)]
struct Requests {
    measured: usize,
    best: usize,
    shifted: usize,
}

fn main() {
    // Cargo's test runner calls every target; this one runs with `cargo bench` only.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let began = Instant::now();
    let mut tables: [Vec<String>; 4] = Default::default();
    for servers in [1_000, 10_000] {
        for requests in [0.06, 0.6, 6.0] {
            for exponent in [0.0, 0.8, 1.1] {
                let load = Load { servers, exponent, requests };
                let (outcomes, requested) = run(load);
                let share = |count: usize, of: usize| format!(" {:>6.2} % |", 100.0 * count as f64 / of as f64);
                let line = |figure: fn(&Outcome) -> usize, of: usize| {
                    let shares: String = outcomes.iter().map(|outcome| share(figure(outcome), of)).collect();
                    format!("| {servers:>7} | {:<8} | {requests:>5} |{shares}", name(exponent))
                };
                let hot = Params::default().hot_cap(servers) * CYCLES;
                tables[0].push(line(|outcome| outcome.moved, servers * CYCLES));
                tables[1].push(line(|outcome| outcome.missed, hot));
                let Requests { measured, best, shifted } = requested;
                tables[2].push(line(|outcome| outcome.served, measured) + &share(best, measured));
                tables[3].push(line(|outcome| outcome.shifted, shifted));
            }
        }
    }
    let column = |seconds: &u64| format!(" {:>8} |", format!("{seconds}s"));
    let columns: String = RESOLUTIONS.iter().map(column).collect();
    let rule = "-".repeat(10);
    for (title, more, table) in [
        ("moved: share of all tiers that change in a cycle", "", &tables[0]),
        ("missed: share of the most recently used fifth that is not hot", "", &tables[1]),
        ("served: share of the next minute's requests that go to hot servers", "     best |", &tables[2]),
        ("shifted: the same in the ten minutes after all popularity has moved to other servers", "", &tables[3]),
    ] {
        println!("\n{title}\n\n| servers | traffic  | req/m |{columns}{more}");
        let rules = RESOLUTIONS.len() + usize::from(!more.is_empty());
        println!("|--------:|----------|------:|{}", format!("{}:|", &rule[1..]).repeat(rules));
        println!("{}", table.join("\n"));
    }
    println!("\n{CYCLES} cycles of 60 s each after {WARM_UP} others; {:.1} s", began.elapsed().as_secs_f64());
}

fn name(exponent: f64) -> String {
    if exponent == 0.0 { "uniform".into() } else { format!("Zipf {exponent}") }
}

/// The outcomes, one for each resolution.
fn run(load: Load) -> (Vec<Outcome>, Requests) {
    let mut traffic = Traffic::new(load);
    let mut now = BEGIN + INTERVAL * WARM_UP as f64;
    traffic.advance(now);
    let mut outcomes: Vec<Outcome> = RESOLUTIONS.iter().map(|_| Outcome::default()).collect();
    let cap = Params::default().hot_cap(load.servers);
    let mut requests = Requests::default();
    // One more cycle, for the first measured one to differ from.
    for cycle in 0..=CYCLES + SHIFTED {
        let usage = traffic.usage(now);
        let found: Vec<Vec<bool>> = RESOLUTIONS.iter().map(|seconds| Traffic::hot(&usage, now, *seconds)).collect();
        now += INTERVAL;
        let shifted = cycle > CYCLES;
        traffic.shift = if shifted { load.servers / 2 } else { 0 };
        let coming = traffic.advance(now);
        let exact = found[0].clone();
        for (outcome, hot) in outcomes.iter_mut().zip(found) {
            let served = coming.iter().filter(|server| hot[**server]).count();
            if shifted {
                outcome.shifted += served;
            } else if cycle > 0 {
                outcome.moved += hot.iter().zip(&outcome.hot).filter(|(new, old)| new != old).count();
                outcome.missed += exact.iter().zip(&hot).filter(|(exact, hot)| **exact && !**hot).count();
                outcome.served += served;
            }
            outcome.hot = hot;
        }
        if shifted {
            requests.shifted += coming.len();
        } else if cycle > 0 {
            requests.measured += coming.len();
            // The servers are in the order of their popularity.
            requests.best += coming.iter().filter(|server| **server < cap).count();
        }
    }
    (outcomes, requests)
}

impl Traffic {
    fn new(load: Load) -> Self {
        let Load { servers, exponent, requests } = load;
        // The order of the URLs, which breaks ties, must not follow popularity.
        let url = |n: usize| format!("https://server-{:06}.mcp.example.com/mcp", n.wrapping_mul(7_919) % servers);
        Self {
            load,
            random: Random::new(1, &[servers as u64, exponent.to_bits(), requests.to_bits()]),
            popularity: Zipf::new(servers, exponent),
            urls: (0..servers).map(|n| ServerUrl::parse(&url(n)).unwrap()).collect(),
            last_used: vec![0.0; servers],
            use_count: vec![0; servers],
            in_flight: Vec::new(),
            next: BEGIN,
            shift: 0,
        }
    }

    /// Makes the requests until now. Returns their servers.
    fn advance(&mut self, now: f64) -> Vec<usize> {
        let mut asked = Vec::new();
        let mean = INTERVAL / (self.load.requests * self.load.servers as f64);
        while self.next <= now {
            let place = self.popularity.draw(&mut self.random);
            let server = (place + self.shift) % self.load.servers;
            self.last_used[server] = self.next;
            self.use_count[server] += 1;
            self.in_flight.push((server, self.next + self.random.waiting_time(REQUEST_SECONDS)));
            asked.push(server);
            self.next += self.random.waiting_time(mean);
        }
        self.in_flight.retain(|(_, end)| *end > now);
        asked
    }

    /// The merged usage.
    fn usage(&self, now: f64) -> PerServer<RankingInput> {
        let mut active = vec![0; self.urls.len()];
        self.in_flight.iter().filter(|(_, end)| *end > now).for_each(|(server, _)| active[*server] += 1);
        let mut inputs: PerServer<RankingInput> = PerServer::of(&self.urls);
        for (index, input) in inputs.values_mut().iter_mut().enumerate() {
            let last_used = UnixTime::from_seconds(self.last_used[index]).unwrap();
            input.usage = (&Row::new(0, Some(last_used), active[index], 0, self.use_count[index])).into();
        }
        inputs
    }

    /// Whether each server is hot.
    fn hot(inputs: &PerServer<RankingInput>, now: f64, resolution: u64) -> Vec<bool> {
        let params = Params { recency_resolution: Duration::from_secs(resolution), ..Params::default() };
        let now = UnixTime::from_seconds(now).unwrap();
        let found = classify(inputs, now, &params);
        found
            .placements()
            .values()
            .iter()
            .map(|placement| placement.is_some_and(|placed| placed.tier == Tier::Hot))
            .collect()
    }
}
