//! A stand-in for a gateway worker: reports the use of a fleet that it makes up.
//!
//! In: manifests, a seed, and orders under `/control`. Out: the usage report that the operator collects, over HTTP, or
//! one report on stdout. With it the operator can be tried out, and faults acted, without a single MCP server.

mod fleet;
mod http;
mod popularity;
mod process;
mod query;
mod random;
mod report;
mod traffic;

use std::future::{Future, pending};
use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::{Builder, Uuid};

use self::random::Random;
use self::traffic::{Shape, Traffic};

/// How long requests in flight may take to end after a signal.
const GRACE: Duration = Duration::from_secs(1);

/// Reports believable use of a fleet of MCP servers, as a gateway worker would.
///
/// Serves the usage report at /mcpgateway/usage. While it runs, the use can be changed: POST
/// /control/pin?name=NAMESPACE/NAME, /control/stop?name=…, /control/use?name=…&ago=SECONDS&count=N, /control/reset,
/// /control/pause, /control/resume; GET /control/state shows what is set.
#[derive(Parser)]
#[command(name = "worker")]
struct Arguments {
    /// Address to listen on; with port 0 the system picks one, and the first line of output says which
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Files or folders with the manifests of the fleet (YAML or JSON)
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    fleet: Vec<PathBuf>,

    /// Seed of everything that is random; workers with the same seed agree on which servers are popular
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Number of this worker in its fleet; workers with different numbers have traffic of their own
    #[arg(long, value_name = "K", default_value_t = 0)]
    worker_index: u64,

    /// Worker processes that this one speaks for
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    processes: u16,

    /// Requests per second, over all its processes
    #[arg(long, value_name = "REQ_PER_S", default_value_t = 5.0, value_parser = not_negative)]
    rate: f64,

    /// Exponent of Zipf's law: 0 makes all servers equally popular, more makes the first ones more so
    #[arg(long, value_name = "X", default_value_t = 1.1, value_parser = not_negative)]
    exponent: f64,

    /// Seconds of traffic to simulate before the start; 0 starts with an empty report
    #[arg(long, value_name = "SECONDS", default_value_t = 3600.0, value_parser = not_negative)]
    history: f64,

    /// Print one report and exit, instead of listening; worker ids then follow from the seed
    #[arg(long)]
    print: bool,

    /// Print the report of this instant instead of now: the same arguments then give the same bytes
    #[arg(long, value_name = "UNIX_SECONDS", requires = "print", value_parser = not_negative)]
    print_at: Option<f64>,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let servers = fleet::read(&arguments.fleet)?;
    let Arguments { seed, worker_index, processes, rate, exponent, .. } = arguments;
    let shape = Shape { seed, worker_index, rate, exponent };
    let now = arguments.print_at.unwrap_or_else(http::unix_now);
    let ids = if arguments.print { seeded_ids(&arguments) } else { http::new_ids(processes.into()) };
    let mut traffic = Traffic::new(servers, shape, &ids, now - arguments.history);
    traffic.advance(now);
    if arguments.print { print(&mut traffic, now) } else { serve(arguments.listen, traffic).await }
}

fn print(traffic: &mut Traffic, now: f64) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&traffic.report(now))?;
    text.push('\n');
    stdout().lock().write_all(text.as_bytes()).context("cannot print the report")
}

async fn serve(address: SocketAddr, traffic: Traffic) -> Result<()> {
    let terminated = signals()?;
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("--listen: cannot listen on {address}"))?;
    let worker = http::Worker::new(traffic);
    {
        let mut out = stdout().lock();
        writeln!(out, "listening on http://{}{}", listener.local_addr()?, http::USAGE_PATH)?;
        out.flush()?;
    }
    let listening = axum::serve(listener, http::router(worker.clone())).with_graceful_shutdown(terminated);
    let overdue = async {
        signals()?.await;
        sleep(GRACE).await;
        anyhow::Ok(())
    };
    tokio::select! {
        ended = listening => ended.context("the listener failed"),
        overdue = overdue => overdue,
        () = tick(worker) => Ok(()),
    }
}

/// Keeps up with the clock, so that a report after a long silence need not make up for all of it.
async fn tick(worker: http::Worker) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        worker.tick();
    }
}

/// Ends at SIGTERM or SIGINT. They are caught from this call on, before the first line of output invites anybody to
/// send one.
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
