//! Simulated traffic of gateway processes to the servers of a fleet. Pure: every call is told the time.
//!
//! In: the servers, a seed, and the time as it goes on. Out: a usage report for any instant. Requests arrive
//! independently of each other; which server they go to follows Zipf's law over an order of popularity that all workers
//! with one seed share.

use anyhow::{Context, Result};
use uuid::Uuid;

use super::fleet::Server;
use super::popularity::Popularity;
use super::process::Process;
use super::random::Random;
use super::report::UsageReport;

/// The mean time that a request takes.
const REQUEST_SECONDS: f64 = 0.8;

/// What shapes the traffic.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub seed: u64,
    pub worker_index: u64,
    /// Requests per second, over all processes of this worker.
    pub rate: f64,
    pub exponent: f64,
}

/// How a server is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// By the simulated traffic.
    Simulated,
    /// At every instant, and by the simulated traffic.
    Pinned,
    /// Not at all.
    Stopped,
}

/// The processes of one worker, their servers and the traffic between them.
pub struct Traffic {
    pub shape: Shape,
    servers: Vec<Server>,
    modes: Vec<Mode>,
    popularity: Popularity,
    processes: Vec<Process>,
    random: Random,
    /// When the next request begins.
    next: f64,
    paused: bool,
}

impl Traffic {
    /// Processes with these ids that start now, with no use yet.
    pub fn new(servers: Vec<Server>, shape: Shape, ids: &[Uuid], now: f64) -> Self {
        let mut traffic = Self {
            modes: vec![Mode::Simulated; servers.len()],
            popularity: Popularity::new(&servers, shape.seed, shape.exponent),
            processes: ids.iter().copied().map(Process::new).collect(),
            random: Random::new(shape.seed, &[1, shape.worker_index]),
            next: now,
            paused: false,
            servers,
            shape,
        };
        traffic.schedule(now);
        traffic
    }

    /// Lets the simulated traffic go on until now.
    pub fn advance(&mut self, now: f64) {
        while !self.paused && self.next <= now {
            let begin = self.next;
            self.arrive(begin);
            self.schedule(begin);
        }
    }

    /// What the processes report now.
    pub fn report(&mut self, now: f64) -> UsageReport<'_> {
        self.advance(now);
        let Self { servers, modes, processes, .. } = self;
        let pinned = |index: usize| modes.get(index) == Some(&Mode::Pinned);
        // One process is enough for a pinned server to be in use in the fleet.
        if let Some(first) = processes.first_mut() {
            (0..servers.len()).filter(|index| pinned(*index)).for_each(|index| first.touch(index, now));
        }
        let entry =
            |(place, process): (usize, &Process)| process.entry(servers, now, |index| place == 0 && pinned(index));
        UsageReport::new(now, processes.iter().enumerate().map(entry).collect())
    }

    /// From now on this server is in use at every instant.
    pub fn pin(&mut self, name: &str, now: f64) -> Result<()> {
        self.set_mode(name, Mode::Pinned, now).map(|_| ())
    }

    /// From now on this server is not used any more.
    pub fn stop(&mut self, name: &str, now: f64) -> Result<()> {
        self.set_mode(name, Mode::Stopped, now).map(|_| ())
    }

    /// This server was last used then, and so often; from now on it is not used any more.
    pub fn set_use(&mut self, name: &str, last_used: f64, count: u64, now: f64) -> Result<()> {
        let index = self.set_mode(name, Mode::Stopped, now)?;
        self.processes.iter_mut().for_each(|process| process.forget(index));
        if let Some(first) = self.processes.first_mut() {
            first.set(index, last_used, count);
        }
        Ok(())
    }

    /// As a restart: new processes that know of no use. The simulated traffic stays off, and nothing is pinned or stopped.
    pub fn reset(&mut self, ids: &[Uuid]) {
        self.processes = ids.iter().copied().map(Process::new).collect();
        self.modes.fill(Mode::Simulated);
        self.paused = true;
    }

    /// Stops the simulated traffic; pinned servers stay in use.
    pub fn pause(&mut self, now: f64) {
        self.advance(now);
        self.paused = true;
    }

    /// Lets the simulated traffic go on from now; what would have come during the pause never comes.
    pub fn resume(&mut self, now: f64) {
        if self.paused {
            self.paused = false;
            self.schedule(now);
        }
    }

    /// How many processes it speaks for.
    pub const fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Whether the simulated traffic stands still.
    pub const fn paused(&self) -> bool {
        self.paused
    }

    /// The names of the servers that are in use at every instant.
    pub fn pinned(&self) -> Vec<String> {
        self.named(Mode::Pinned)
    }

    /// The names of the servers that are not used any more.
    pub fn stopped(&self) -> Vec<String> {
        self.named(Mode::Stopped)
    }

    /// The names of the enabled servers, the most popular first, and how many of them get traffic at all.
    pub fn popularity(&self) -> (Vec<String>, usize) {
        let names = self.popularity.order().iter().filter_map(|index| self.servers.get(*index)).map(Server::full_name);
        (names.collect(), self.popularity.popular())
    }

    fn named(&self, mode: Mode) -> Vec<String> {
        let servers = self.servers.iter().zip(&self.modes);
        servers.filter(|(_, has)| **has == mode).map(|(server, _)| server.full_name()).collect()
    }

    fn set_mode(&mut self, name: &str, mode: Mode, now: f64) -> Result<usize> {
        self.advance(now);
        let index = self.servers.iter().position(|server| server.full_name() == name);
        let index = index.with_context(|| format!("no server {name:?} in the fleet; names are NAMESPACE/NAME"))?;
        if let Some(slot) = self.modes.get_mut(index) {
            // A pinned server was in use until this very moment.
            if *slot == Mode::Pinned
                && let Some(first) = self.processes.first_mut()
            {
                first.touch(index, now);
            }
            *slot = mode;
        }
        Ok(index)
    }

    fn schedule(&mut self, after: f64) {
        self.next = after + self.random.waiting_time(1.0 / self.shape.rate);
    }

    /// One request. The same numbers are drawn whatever the modes are, so that stopping one server leaves the traffic
    /// of the others as it was.
    fn arrive(&mut self, now: f64) {
        let index = self.popularity.draw(&mut self.random);
        let seconds = self.random.waiting_time(REQUEST_SECONDS);
        let place = self.random.below(self.processes.len());
        let Some(index) = index.filter(|index| self.modes.get(*index) != Some(&Mode::Stopped)) else { return };
        if let Some(process) = self.processes.get_mut(place) {
            process.request(index, now, seconds);
        }
    }
}
