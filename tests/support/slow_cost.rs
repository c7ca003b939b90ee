//! What slow clients cost an operator.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::operator::Operator;
use super::slow_clients::{Slow, SlowClients};

/// The cost of slow clients of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The most resident memory, in bytes.
    pub resident: u64,
    /// How many more file descriptors it had open than before, at most.
    pub descriptors: usize,
    /// The slowest answer of `/livez`, on a new connection each time, the slowest of 99 in 100, and of half of them.
    pub livez: Duration,
    pub livez_p99: Duration,
    pub livez_median: Duration,
    /// How many requests to `/livez` failed.
    pub unanswered: usize,
    /// How many connections the clients opened.
    pub opened: usize,
}

impl Cost {
    /// Has `count` clients do the same on each of three listeners (metrics, health, API) for some time.
    pub async fn of(kind: Slow, count: usize, operator: &Operator, time: Duration) -> Self {
        let health = operator.address("serving /livez").await;
        let api = operator.address("serving /v1").await;
        let before = operator.descriptors();
        let clients = [
            SlowClients::start(kind, count, &operator.address("serving /metrics").await, "/metrics"),
            SlowClients::start(kind, count, &health, "/livez"),
            SlowClients::start(kind, count, &api, if kind.has_body() { "/v1/polls/completed" } else { "/v1/fleet" }),
        ];
        let (begun, mut answers) = (Instant::now(), Vec::new());
        let mut cost = Self {
            resident: 0,
            descriptors: 0,
            livez: Duration::ZERO,
            livez_p99: Duration::ZERO,
            livez_median: Duration::ZERO,
            unanswered: 0,
            opened: 0,
        };
        while begun.elapsed() < time {
            let address = health.clone();
            match tokio::task::spawn_blocking(move || probe(&address)).await.expect("no panic") {
                Ok(took) => answers.push(took),
                Err(_) => cost.unanswered += 1,
            }
            cost.resident = cost.resident.max(operator.resident());
            cost.descriptors = cost.descriptors.max(operator.descriptors().saturating_sub(before));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        answers.sort_unstable();
        cost.livez = answers.last().copied().unwrap_or(time);
        cost.livez_p99 = answers[answers.len() * 99 / 100..].first().copied().unwrap_or(time);
        cost.livez_median = answers.get(answers.len() / 2).copied().unwrap_or(time);
        cost.opened = clients.iter().map(SlowClients::opened).sum();
        cost
    }
}

/// How long `/livez` takes to answer 200 on a new connection. On a thread of its own, so that the slow clients in this
/// process do not count.
fn probe(address: &str) -> std::io::Result<Duration> {
    let (asked, limit) = (Instant::now(), Some(Duration::from_secs(5)));
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(limit)?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let took = asked.elapsed();
    answer.starts_with("HTTP/1.1 200").then_some(took).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}
