//! What slow clients cost an operator.

use std::time::{Duration, Instant};

use super::operator::Operator;
use super::slow_clients::{Slow, SlowClients, get_once};

/// The cost of slow clients of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The most resident memory, in bytes.
    pub resident: u64,
    /// How many more file descriptors it had open than before, at most.
    pub descriptors: usize,
    /// The slowest answer of `/livez`, on a new connection each time, and the slowest of 99 in 100.
    pub livez: Duration,
    pub livez_p99: Duration,
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
            unanswered: 0,
            opened: 0,
        };
        while begun.elapsed() < time {
            let asked = Instant::now();
            let answer = tokio::time::timeout(Duration::from_secs(5), get_once(&health, "/livez")).await;
            if answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))) {
                answers.push(asked.elapsed());
            } else {
                cost.unanswered += 1;
            }
            cost.resident = cost.resident.max(operator.resident());
            cost.descriptors = cost.descriptors.max(operator.descriptors().saturating_sub(before));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        answers.sort_unstable();
        cost.livez = answers.last().copied().unwrap_or(time);
        cost.livez_p99 = answers[answers.len() * 99 / 100..].first().copied().unwrap_or(time);
        cost.opened = clients.iter().map(SlowClients::opened).sum();
        cost
    }
}
