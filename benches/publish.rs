//! What a publication of 100,000 servers costs: time, bytes on the wire, and how long another reader has to wait.
//!
//! `cargo bench --bench publish` starts a Redis of its own, on a loopback port. Redis itself counts the bytes
//! (`INFO stats`), in rounds without a reader. The stall is the longest time that a second client waited for the answer
//! to one SISMEMBER meanwhile; the first line shows it for an idle Redis. The last line is the obvious implementation,
//! which deletes and refills the sets in one transaction. The figures that count are the bytes, and the ratios within
//! one run: times differ from machine to machine.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark prints what it has measured, and ends when something is wrong"
)]

#[path = "../tests/support/redis.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod server;
#[path = "../tests/support/wall_clock.rs"]
#[expect(dead_code, reason = "shared with the tests, which use more of it")]
mod wall_clock;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mcpgateway_operator::classify::{Params, PerServer, RankingInput, classify};
use mcpgateway_operator::clock;
use mcpgateway_operator::clock::reference::ReferenceClock;
use mcpgateway_operator::leadership::LeadershipToken;
use mcpgateway_operator::model::{PlannedInterval, ServerUrl, Term, UnixTime};
use mcpgateway_operator::publish::keys::{Keys, OwnerId};
use mcpgateway_operator::publish::{
    Error, Metrics, Publication, Published, ReadBack, RedisAccess, RedisSettings, RedisUrl, Store, TakeoverPolicy,
};
use server::RedisServer;
use tokio::runtime::Runtime;

const SERVERS: usize = 100_000;
/// Rounds of each kind.
const ROUNDS: usize = 15;

/// What one kind of call has cost.
struct Cost {
    median: Duration,
    worst: Duration,
    /// To and from Redis, per round.
    bytes: (u64, u64),
    /// The longest time that the reader has waited.
    stall: Duration,
}

struct Bench {
    server: RedisServer,
    runtime: Runtime,
    store: Store,
    token: LeadershipToken,
    servers: Arc<[ServerUrl]>,
    /// Their places.
    places: HashMap<ServerUrl, u32>,
    /// Grows with each publication, as the clock does.
    round: usize,
    /// The first hot server in every second round.
    first: usize,
    /// With a refresh plan: how many of its intervals are shorter in every second round.
    plan: Option<usize>,
}

fn main() {
    // Cargo's test runner calls every target; this one is for `cargo bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut bench = Bench::start();
    println!("{SERVERS} servers, URLs of {} bytes, {ROUNDS} rounds each", bench.servers[0].expose().len());
    println!(
        "{:<34} {:>10} {:>10} {:>12} {:>12} {:>12}  budget",
        "", "median", "worst", "bytes out", "bytes in", "stall"
    );

    let idle = bench.longest_wait(|_| std::thread::sleep(Duration::from_millis(100)));
    println!("{:<34} {:>10} {:>10} {:>12} {:>12} {:>12}", "idle", "", "", "", "", shown(idle));
    bench.measure("full, into an empty Redis", None, |bench, ready| {
        bench.command(redis::cmd("FLUSHALL").arg("ASYNC"));
        bench.publish(&ready);
    });
    let moved = bench.alternating("100 moved", Some(40_000), 50);
    bench.alternating("1,000 moved", None, 500);
    bench.alternating("2,500 moved, the most at once", None, 1_250);
    let full = bench.alternating("40,000 moved: in full", None, 20_000);
    bench.measure("unchanged", Some(1_024), |bench, ready| bench.publish(&ready));
    bench.measure("renewal of the lock", None, |bench, _| {
        let renewed = bench.runtime.block_on(bench.store.renew(&bench.token, Some(Duration::from_secs(120))));
        renewed.unwrap();
    });
    bench.measure("reading back a part", None, |bench, _| {
        assert_eq!(bench.read_back(), Ok(ReadBack::AsPublished));
    });
    bench.plan = Some(1_000);
    bench.measure("1,000 planned intervals changed", Some(100_000), |bench, ready| bench.publish(&ready));
    bench.plan = Some(0);
    bench.measure("unchanged, with a plan", Some(1_024), |bench, ready| bench.publish(&ready));
    bench.measure("reading back a part, with a plan", None, |bench, _| {
        assert_eq!(bench.read_back(), Ok(ReadBack::AsPublished));
    });
    bench.measure("full, with a plan", None, |bench, ready| {
        bench.command(redis::cmd("FLUSHALL").arg("ASYNC"));
        bench.publish(&ready);
    });
    bench.plan = None;
    let naive = bench.measure("obvious: DEL, SADD, EXEC", None, |bench, ready| bench.naive(&ready));
    println!(
        "full compared with the obvious implementation: {:.2} x the time, 1/{:.0} of the stall; 100 moved: \
         1/{:.0} of the bytes of full",
        full.median.as_secs_f64() / naive.median.as_secs_f64(),
        naive.stall.as_secs_f64() / full.stall.as_secs_f64(),
        full.bytes.0 as f64 / moved.bytes.0 as f64,
    );
}

impl Bench {
    fn start() -> Self {
        let server = RedisServer::start(&[]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let settings = RedisSettings {
            access: RedisAccess::new(RedisUrl::parse(&server.url()).unwrap(), Keys::default()),
            owner: OwnerId::parse("0d9a3b5e-4f52-4f1c-9a55-7b1c0f6f3a11/mcpgateway-system/mcpgateway-operator")
                .unwrap(),
            takeover: TakeoverPolicy::Idle,
            interval: Duration::from_secs(60),
            lease_duration: Duration::from_secs(15),
        };
        let store = Store::new(settings, ReferenceClock::default(), Metrics::default());
        let token = LeadershipToken::for_tests(Term::FIRST, clock::monotonic().after(Duration::from_secs(3_600)));
        let servers: Arc<[ServerUrl]> = (0..SERVERS)
            .map(|n| ServerUrl::parse(&format!("https://mcp-server-{n:06}.tools.example.com/some/longer/path/mcp")))
            .collect::<Result<_, _>>()
            .unwrap();
        let places = servers.iter().cloned().zip(0..).collect();
        Self { server, runtime, store, token, servers, places, round: 0, first: 0, plan: None }
    }

    fn publish(&mut self, publication: &Arc<Publication>) {
        let outcome = self.runtime.block_on(self.store.publish(&self.token, publication, None));
        assert_eq!(outcome, Ok(Published::default()));
    }

    /// Each round moves `by` servers out of the hot set and as many into it.
    fn alternating(&mut self, name: &str, budget: Option<u64>, by: usize) -> Cost {
        self.first = by;
        let cost = self.measure(name, budget, |bench, ready| bench.publish(&ready));
        self.first = 0;
        cost
    }

    fn read_back(&self) -> Result<ReadBack, Error> {
        let place_of = |url: &str| self.places.get(url).copied();
        self.runtime.block_on(self.store.read_back(&self.servers, place_of))
    }

    /// A publication in which a fifth of the servers is hot, beginning with the first one or, in every second
    /// publication, with number `self.first`.
    fn publication(&mut self) -> Arc<Publication> {
        self.round += 1;
        let first = self.round % 2 * self.first;
        let mut known: PerServer<RankingInput> = PerServer::of(&self.servers);
        for n in 0..SERVERS / 5 {
            let used = known.get_mut((first + n) % SERVERS).unwrap();
            used.usage.last_used = UnixTime::from_seconds(1_763_800_000.0);
        }
        let now = UnixTime::from_seconds(1_763_800_100.123_456 + self.round as f64).unwrap();
        let mut plan = PerServer::of(&self.servers);
        for (n, interval) in plan.values_mut().iter_mut().enumerate().filter(|_| self.plan.is_some()) {
            // Never those that move between the tiers.
            let shorter = self.round % 2 == 1 && SERVERS - n <= self.plan.unwrap_or(0);
            *interval = Some(PlannedInterval::new(Duration::from_secs(if shorter { 9_600 } else { 14_400 })));
        }
        Arc::new(Publication::new(&classify(&known, now, &Params::default()), &Arc::new(plan)).unwrap())
    }

    fn naive(&mut self, publication: &Publication) {
        let mut pipeline = redis::pipe();
        pipeline.atomic().del("naive:hot").ignore().del("naive:cold").ignore();
        for (key, servers) in
            [("naive:hot", publication.hot().collect::<Vec<_>>()), ("naive:cold", publication.cold().collect())]
        {
            for some in servers.chunks(1_000) {
                pipeline.sadd(key, some.iter().map(|server| server.expose()).collect::<Vec<_>>()).ignore();
            }
            pipeline.expire(key, 120).ignore();
        }
        let client = redis::Client::open(self.server.url()).unwrap();
        pipeline.exec(&mut client.get_connection().unwrap()).unwrap();
    }

    fn command(&self, command: &redis::Cmd) {
        let client = redis::Client::open(self.server.url()).unwrap();
        command.exec(&mut client.get_connection().unwrap()).unwrap();
    }

    /// Bytes that Redis has received and sent so far.
    fn traffic(&self) -> (u64, u64) {
        let client = redis::Client::open(self.server.url()).unwrap();
        let text: String = redis::cmd("INFO").arg("stats").query(&mut client.get_connection().unwrap()).unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap();
        (field("total_net_input_bytes:"), field("total_net_output_bytes:"))
    }

    fn measure(&mut self, name: &str, budget: Option<u64>, mut round: impl FnMut(&mut Self, Arc<Publication>)) -> Cost {
        // From here on Redis knows the scripts and holds what the round needs.
        let ready = self.publication();
        round(self, ready);
        let mut times = Vec::new();
        // The traffic of reading the traffic is subtracted.
        let (asked, before) = (self.traffic(), self.traffic());
        for _ in 0..ROUNDS {
            let ready = self.publication();
            let began = Instant::now();
            round(self, ready);
            times.push(began.elapsed());
        }
        let after = self.traffic();
        let a_round = |asked: u64, before: u64, after: u64| (after - before - (before - asked)) / ROUNDS as u64;
        let bytes = (a_round(asked.0, before.0, after.0), a_round(asked.1, before.1, after.1));
        let stall = self.longest_wait(|bench| {
            for _ in 0..ROUNDS {
                let ready = bench.publication();
                round(bench, ready);
            }
        });
        times.sort_unstable();
        let cost = Cost { median: times[ROUNDS / 2], worst: times[ROUNDS - 1], bytes, stall };
        let verdict = budget.map_or_else(String::new, |budget| {
            format!("{} {budget} bytes", if bytes.0 <= budget { "within" } else { "ABOVE" })
        });
        println!(
            "{name:<34} {:>10} {:>10} {:>12} {:>12} {:>12}  {verdict}",
            shown(cost.median),
            shown(cost.worst),
            bytes.0,
            bytes.1,
            shown(stall),
        );
        cost
    }

    /// The longest time that a second client waits for an answer during `act`.
    fn longest_wait(&mut self, act: impl FnOnce(&mut Self)) -> Duration {
        let done = Arc::new(AtomicBool::new(false));
        let (seen, url, member) = (Arc::clone(&done), self.server.url(), self.servers[7].expose().to_owned());
        let reader = std::thread::spawn(move || {
            let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
            let mut ask = redis::cmd("SISMEMBER");
            ask.arg("mcpgateway:server_classification:hot").arg(member);
            let mut longest = Duration::ZERO;
            while !seen.load(Ordering::Relaxed) {
                let began = Instant::now();
                let _: bool = ask.query(&mut connection).unwrap();
                longest = longest.max(began.elapsed());
            }
            longest
        });
        act(self);
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    }
}

fn shown(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
