//! A simulated gateway worker: reports made-up usage of a fleet.
//!
//! Input: manifests, a seed, and orders under `/control`. Output: the usage report that the operator collects, over
//! HTTP, or one report on stdout. With it you can try out the operator, and simulate faults, without any MCP server.

mod conditional;
mod crowd;
mod fleet;
mod http;
mod meter;
mod popularity;
mod process;
mod query;
mod random;
mod report;
mod traffic;

use std::future::{Future, pending};
use std::io::{Write, stdout};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use uuid::{Builder, Uuid};

use self::crowd::Crowd;
use self::fleet::Parts;
use self::http::{Manner, Worker};
use self::random::Random;
use self::traffic::{Shape, Traffic};

/// Time limit for requests in flight after a signal.
const GRACE: Duration = Duration::from_secs(1);

/// Reports simulated usage of a fleet of MCP servers, like a gateway worker.
///
/// Serves the usage report at /mcpgateway/usage, with an ETag, and with gzip on request. You can change the usage while
/// it runs: POST /control/pin?name=NAMESPACE/NAME, /control/stop?name=…, /control/use?name=…&ago=SECONDS&count=N,
/// /control/reset, /control/pause, /control/resume, /control/clock?ahead=SECONDS; GET /control/state shows the
/// settings.
///
/// With --workers it simulates many gateways, each at its own address. With --overseer it accepts orders for them: POST
/// /workers/leave?first=K&count=N makes workers refuse connections, /workers/come?first=K&count=N lets them answer
/// again as new processes, /workers/pause, /workers/resume; GET /workers/state counts requests and bytes.
#[derive(Parser)]
#[command(name = "worker")]
struct Arguments {
    /// Address to listen on; with port 0 the system chooses one, and the first line of output shows it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Files or folders with the manifests of the fleet (YAML or JSON)
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    fleet: Vec<PathBuf>,

    /// Seed of all random numbers; workers with the same seed agree on which servers are popular
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Number of this worker in its fleet; workers with different numbers have different traffic
    #[arg(long, value_name = "K", default_value_t = 0)]
    worker_index: u64,

    /// Number of workers, with numbers from --worker-index on, at consecutive addresses from --listen on, all at its
    /// port
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: u32,

    /// Address of a listener for orders to all workers
    #[arg(long, value_name = "ADDRESS")]
    overseer: Option<SocketAddr>,

    /// Worker processes in the report of each worker
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    processes: u16,

    /// Give each worker this many servers of its own, and a row for each from the start, instead of simulating the
    /// traffic before the start
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rows: Option<u32>,

    /// Requests per second to each worker, over all its processes
    #[arg(long, value_name = "REQ_PER_S", default_value_t = 5.0, value_parser = not_negative)]
    rate: f64,

    /// Exponent of Zipf's law: with 0 all servers are equally popular, with more the first ones are more popular
    #[arg(long, value_name = "X", default_value_t = 1.1, value_parser = not_negative)]
    exponent: f64,

    /// Seconds of traffic before the start; 0 starts with an empty report
    #[arg(long, value_name = "SECONDS", default_value_t = 3600.0, value_parser = not_negative)]
    history: f64,

    /// Seconds that each answer takes
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = not_negative)]
    delay: f64,

    /// Answer without an ETag, so that every report is sent in full
    #[arg(long)]
    no_etag: bool,

    /// Never compress
    #[arg(long)]
    no_gzip: bool,

    /// Print one report and exit, instead of listening; worker ids are then derived from the seed
    #[arg(long)]
    print: bool,

    /// Print the report of this time instead of now, so that the same arguments give the same bytes
    #[arg(long, value_name = "UNIX_SECONDS", requires = "print", value_parser = not_negative)]
    print_at: Option<f64>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let servers = fleet::read(&arguments.fleet)?;
    let rows = arguments.rows.map(|rows| rows as usize);
    let parts = Parts::new(servers, rows, arguments.seed, arguments.exponent);
    if arguments.print { print(&arguments, parts) } else { serve(&arguments, parts).await }
}

/// The traffic of the worker with this number, up to now.
fn traffic(arguments: &Arguments, parts: &mut Parts, worker_index: u64, ids: &[Uuid], now: f64) -> Traffic {
    let Arguments { seed, rate, exponent, history, rows, .. } = *arguments;
    let shape = Shape { seed, worker_index, rate, exponent };
    let part = parts.of(worker_index);
    if rows.is_some() {
        let mut traffic = Traffic::new(part, shape, ids, now);
        traffic.fill(now, history);
        return traffic;
    }
    let mut traffic = Traffic::new(part, shape, ids, now - history);
    traffic.advance(now);
    traffic
}

fn print(arguments: &Arguments, mut parts: Parts) -> Result<()> {
    let now = arguments.print_at.unwrap_or_else(http::unix_now);
    let mut traffic = traffic(arguments, &mut parts, arguments.worker_index, &seeded_ids(arguments), now);
    traffic.observe(now);
    let mut text = serde_json::to_string_pretty(&traffic.report(now))?;
    text.push('\n');
    stdout().lock().write_all(text.as_bytes()).context("cannot print the report")
}

async fn serve(arguments: &Arguments, mut parts: Parts) -> Result<()> {
    let terminated = signals()?;
    let now = http::unix_now();
    let manner = Arc::new(Manner {
        etag: !arguments.no_etag,
        gzip: !arguments.no_gzip,
        delay: Duration::from_secs_f64(arguments.delay),
        filled: arguments.rows.map(|_| (now, arguments.history)),
        meter: Arc::default(),
    });
    let ending = CancellationToken::new();
    let crowd = Crowd::new(Arc::clone(&manner.meter), ending.clone());
    let mut address = arguments.listen;
    let mut told = Vec::new();
    for number in 0..arguments.workers {
        let ids = http::new_ids(arguments.processes.into());
        let traffic = traffic(arguments, &mut parts, arguments.worker_index + u64::from(number), &ids, now);
        address = crowd.join(address, Worker::new(traffic, Arc::clone(&manner))).await?;
        writeln!(told, "listening on http://{address}{}", http::USAGE_PATH)?;
        address.set_ip(after(address.ip()));
    }
    if let Some(address) = arguments.overseer {
        writeln!(told, "orders at http://{}/workers", crowd.oversee(address).await?)?;
    }
    {
        let mut out = stdout().lock();
        out.write_all(&told)?;
        out.flush()?;
    }
    tokio::select! {
        () = terminated => {}
        () = tick(&crowd) => {}
    }
    ending.cancel();
    tokio::select! {
        () = crowd.ended() => {}
        () = sleep(GRACE) => {}
    }
    Ok(())
}

/// The next address: on Linux all of 127.0.0.0/8 is this machine.
fn after(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits().wrapping_add(1))),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits().wrapping_add(1))),
    }
}

/// Advances the traffic regularly, so that a report after a long pause does not have to catch up.
async fn tick(crowd: &Crowd) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        crowd.tick();
    }
}

/// Waits for SIGTERM or SIGINT. They are caught from this call on, before the first line of output.
fn signals() -> Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot catch SIGINT")?;
    Ok(async move {
        let caught = tokio::select! {
            caught = terminate.recv() => caught,
            caught = interrupt.recv() => caught,
        };
        if caught.is_none() {
            pending::<()>().await;
        }
    })
}

fn seeded_ids(arguments: &Arguments) -> Vec<Uuid> {
    let id = |process: u16| {
        let mut random = Random::new(arguments.seed, &[2, arguments.worker_index, process.into()]);
        let bits = (u128::from(random.number()) << 64) | u128::from(random.number());
        Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    };
    (0..arguments.processes).map(id).collect()
}

fn not_negative(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| "a number is needed, zero or more".to_owned())
}
