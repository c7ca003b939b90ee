//! Measures the classification of 100,000 servers (`docs/contract.md#budgets`): `cargo bench --bench classify`.
//!
//! One core and the ranking alone: usage is merged already. Nine of ten servers have been used, at times and with
//! counts from a fixed seed. There are three cases: exact times, times in steps of a minute (with many ties, which the
//! counts and the URLs decide), and an eighth of the fleet held.
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

use std::hint::black_box;
use std::time::{Duration, Instant};

use mcpgateway_operator::classify::{Params, PerServer, RankingInput, ServerUsage, classify};
use mcpgateway_operator::model::{ServerUrl, UnixTime};
use random::Random;

const SERVERS: usize = 100_000;
const ROUNDS: usize = 21;
const NOW: f64 = 1_763_800_100.5;

fn main() {
    let mut random = Random::new(7, &[]);
    let mut inputs: PerServer<RankingInput> = PerServer::of(&(0..SERVERS).map(url).collect());
    for input in inputs.values_mut() {
        if random.below(10) > 0 {
            let ago = random.below(86_400_000) as f64 / 1e3;
            input.usage = ServerUsage {
                last_used: UnixTime::from_seconds(NOW - ago),
                active: random.below(3) as u64,
                idle: random.below(3) as u64,
                use_count: random.below(1_000) as u64,
            };
        }
    }
    let mut eighth = inputs.clone();
    eighth.values_mut().iter_mut().step_by(8).for_each(|input| input.held = true);
    let exact = Params::default();
    let coarse = Params { recency_resolution: Duration::from_mins(1), ..exact };

    println!("{SERVERS} servers, URLs of 60 bytes, nine of ten used, {ROUNDS} rounds each, one core");
    println!("{:<34} {:>10} {:>10} {:>12}", "", "median", "worst", "ns a server");
    let now = UnixTime::from_seconds(NOW).unwrap();
    for (name, params, inputs) in [
        ("exact times", &exact, &inputs),
        ("--recency-resolution 60s", &coarse, &inputs),
        ("an eighth of the fleet held", &exact, &eighth),
    ] {
        measure(name, || {
            black_box(classify(inputs, now, params));
        });
    }
    println!("budget: at most 5 ms");
}

/// 60 bytes, as in the memory budgets.
fn url(n: usize) -> ServerUrl {
    ServerUrl::parse(&format!("https://server-{n:06}.tools.example.com/team/search/mcp/v1")).unwrap()
}

fn measure(name: &str, mut once: impl FnMut()) {
    once();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            once();
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let median = times[ROUNDS / 2];
    println!("{name:<34} {median:>7.2} ms {:>7.2} ms {:>12.0}", times[ROUNDS - 1], median * 1e6 / SERVERS as f64);
}
