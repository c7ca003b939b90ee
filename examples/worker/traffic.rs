//! Simulated traffic of gateway processes to the servers of a fleet. Pure: every call gets the time.
//!
//! Input: the servers, a seed, and the advancing time. Output: a usage report for any time. Requests arrive
//! independently of each other. Their servers follow Zipf's law, over an order of popularity that all workers with one
//! seed share.

use std::sync::Arc;

use anyhow::{Context, Result};
use uuid::Uuid;

use super::fleet::Part;
use super::popularity::random_of;
use super::process::Process;
use super::random::Random;
use super::report::UsageReport;

/// The mean duration of a request.
const REQUEST_SECONDS: f64 = 0.8;

/// How far one worker's last use of a server lies behind the fleet's, on average and as a share of the history, in the
/// initial rows of workers with their own servers.
const BEHIND: f64 = 0.1;

/// Settings of the traffic.
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
    /// Always, and also by the simulated traffic.
    Pinned,
    /// Not at all.
    Stopped,
}

/// The processes of one worker, their servers and the traffic between them.
pub struct Traffic {
    pub shape: Shape,
    part: Arc<Part>,
    modes: Vec<Mode>,
    processes: Vec<Process>,
    random: Random,
    /// When the next request begins.
    next: f64,
    paused: bool,
    /// The tag of the last report, while that is unchanged.
    tag: Option<Tag>,
}

/// An entity tag, and the half-open time range in which it is valid.
struct Tag {
    text: String,
    from: f64,
    until: f64,
}

impl Traffic {
    /// New processes with these ids, without any use.
    pub fn new(part: Arc<Part>, shape: Shape, ids: &[Uuid], now: f64) -> Self {
        let mut traffic = Self {
            modes: vec![Mode::Simulated; part.servers.len()],
            processes: ids.iter().copied().map(Process::new).collect(),
            random: Random::new(shape.seed, &[1, shape.worker_index]),
            next: now,
            paused: false,
            tag: None,
            part,
            shape,
        };
        traffic.schedule(now);
        traffic
    }

    /// Advances the simulated traffic to now.
    pub fn advance(&mut self, now: f64) {
        while !self.paused && self.next <= now {
            let begin = self.next;
            self.arrive(begin);
            self.schedule(begin);
        }
    }

    /// Adds a row for each server, like a worker that has run for long. The last uses are spread evenly over the
    /// seconds before `began`, the same in every worker with this seed, and this worker's are a little earlier. The
    /// same arguments give the same rows.
    pub fn fill(&mut self, began: f64, history: f64) {
        let mut random = Random::new(self.shape.seed, &[3, self.shape.worker_index]);
        let processes = self.processes.len();
        for (index, server) in self.part.servers.iter().enumerate() {
            let of_fleet = began - history * random_of(server, self.shape.seed).fraction();
            let last_used = of_fleet - random.waiting_time(history * BEHIND);
            let (place, count) = (random.below(processes), 1 + random.below(100) as u64);
            if let Some(process) = self.processes.get_mut(place) {
                process.set(index, last_used, count);
            }
        }
        self.tag = None;
    }

    /// Advances the traffic to now, including the use of pinned servers. Call it before reporting.
    pub fn observe(&mut self, now: f64) {
        self.advance(now);
        // One process is enough to keep a pinned server in use.
        let Some(first) = self.processes.first_mut() else { return };
        for (index, _) in self.modes.iter().enumerate().filter(|(_, mode)| **mode == Mode::Pinned) {
            first.touch(index, now);
            self.tag = None;
        }
    }

    /// The current report.
    pub fn report(&self, now: f64) -> UsageReport<'_> {
        let pinned = |index: usize| self.modes.get(index) == Some(&Mode::Pinned);
        let entry = |(place, process): (usize, &Process)| {
            process.entry(&self.part.servers, now, |index| place == 0 && pinned(index))
        };
        UsageReport::new(now, self.processes.iter().enumerate().map(entry).collect())
    }

    /// The entity tag of the current report. Computed only after a change.
    pub fn tag(&mut self, now: f64) -> &str {
        let known = self.tag.take().filter(|tag| tag.from <= now && now < tag.until);
        let made = || {
            let until = self.processes.iter().map(|process| process.unchanged_until(now)).fold(f64::INFINITY, f64::min);
            Tag { text: self.report(now).tag(), from: now, until }
        };
        let tag = known.unwrap_or_else(made);
        &self.tag.insert(tag).text
    }

    /// From now on this server is always in use.
    pub fn pin(&mut self, name: &str, now: f64) -> Result<()> {
        self.set_mode(name, Mode::Pinned, now).map(|_| ())
    }

    /// From now on this server is no longer used.
    pub fn stop(&mut self, name: &str, now: f64) -> Result<()> {
        self.set_mode(name, Mode::Stopped, now).map(|_| ())
    }

    /// Sets the last use and the count of this server. From now on it is no longer used.
    pub fn set_use(&mut self, name: &str, last_used: f64, count: u64, now: f64) -> Result<()> {
        let index = self.set_mode(name, Mode::Stopped, now)?;
        self.processes.iter_mut().for_each(|process| process.forget(index));
        if let Some(first) = self.processes.first_mut() {
            first.set(index, last_used, count);
        }
        self.tag = None;
        Ok(())
    }

    /// Like a restart: new processes without any use. The simulated traffic stays off, and nothing is pinned or
    /// stopped.
    pub fn reset(&mut self, ids: &[Uuid]) {
        self.processes = ids.iter().copied().map(Process::new).collect();
        self.modes.fill(Mode::Simulated);
        self.paused = true;
        self.tag = None;
    }

    /// Stops the simulated traffic; pinned servers stay in use.
    pub fn pause(&mut self, now: f64) {
        self.advance(now);
        self.paused = true;
    }

    /// Resumes the simulated traffic. Requests of the time of the pause are not made up for.
    pub fn resume(&mut self, now: f64) {
        if self.paused {
            self.paused = false;
            self.schedule(now);
        }
    }

    /// The number of processes.
    pub const fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Whether the simulated traffic is paused.
    pub const fn paused(&self) -> bool {
        self.paused
    }

    /// The names of the servers that are always in use.
    pub fn pinned(&self) -> Vec<String> {
        self.named(Mode::Pinned)
    }

    /// The names of the servers that are no longer used.
    pub fn stopped(&self) -> Vec<String> {
        self.named(Mode::Stopped)
    }

    /// The names of the enabled servers, most popular first, and how many of them get traffic.
    pub fn popularity(&self) -> (Vec<String>, usize) {
        let Part { servers, popularity } = &*self.part;
        let ordered = popularity.order().iter().filter_map(|index| servers.get(*index));
        (ordered.map(|server| server.full_name()).collect(), popularity.popular())
    }

    fn named(&self, mode: Mode) -> Vec<String> {
        let servers = self.part.servers.iter().zip(&self.modes);
        servers.filter(|(_, has)| **has == mode).map(|(server, _)| server.full_name()).collect()
    }

    fn set_mode(&mut self, name: &str, mode: Mode, now: f64) -> Result<usize> {
        self.advance(now);
        self.tag = None;
        let index = self.part.servers.iter().position(|server| server.full_name() == name);
        let index = index.with_context(|| format!("no server {name:?} in the fleet; names are NAMESPACE/NAME"))?;
        if let Some(slot) = self.modes.get_mut(index) {
            // A pinned server was in use until now.
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

    /// One request. The random numbers do not depend on the modes, so that stopping one server does not change the
    /// traffic of the others.
    fn arrive(&mut self, now: f64) {
        let index = self.part.popularity.draw(&mut self.random);
        let seconds = self.random.waiting_time(REQUEST_SECONDS);
        let place = self.random.below(self.processes.len());
        let Some(index) = index.filter(|index| self.modes.get(*index) != Some(&Mode::Stopped)) else { return };
        if let Some(process) = self.processes.get_mut(place) {
            process.request(index, now, seconds);
            self.tag = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fleet::{Parts, Server};
    use super::*;

    const NOW: f64 = 1_763_800_000.0;

    fn traffic(rows: Option<usize>, worker_index: u64) -> Traffic {
        let server = |n: usize| Server {
            namespace: "a".into(),
            name: format!("server-{n}"),
            url: format!("https://server-{n}.example"),
            gateway_id: None,
            enabled: n != 3,
        };
        let mut parts = Parts::new((0..10).map(server).collect(), rows, 1, 0.0);
        let shape = Shape { seed: 1, worker_index, rate: 1.0, exponent: 0.0 };
        let mut traffic = Traffic::new(parts.of(worker_index), shape, &[Uuid::nil()], NOW);
        traffic.pause(NOW);
        traffic
    }

    fn urls(traffic: &Traffic) -> Vec<&str> {
        traffic.part.servers.iter().map(|server| &*server.url).collect()
    }

    #[test]
    fn a_tag_lasts_until_something_else_is_reported() {
        let mut traffic = traffic(None, 0);
        let nothing = traffic.tag(NOW).to_owned();
        assert_eq!(traffic.tag(NOW + 1e6), nothing, "the two times are not part of it");
        traffic.processes[0].request(5, NOW, 2.0);
        traffic.tag = None;
        // In flight, then idle, then closed: each changes the report, without any call in between.
        let tags =
            [NOW, NOW + 1.9, NOW + 2.0, NOW + 301.9, NOW + 302.0, NOW + 1e6].map(|now| traffic.tag(now).to_owned());
        assert_eq!(tags[0], tags[1]);
        assert_ne!(tags[1], tags[2]);
        assert_eq!(tags[2], tags[3]);
        assert_ne!(tags[3], tags[4]);
        assert_eq!(tags[4], tags[5]);
        assert_eq!(traffic.tag(NOW + 1.0), tags[0], "a clock that was set back");
        assert!(tags.iter().all(|tag| tag.len() == 32 && *tag != nothing));
    }

    #[test]
    fn a_tag_says_what_a_new_one_would() {
        let mut traffic = traffic(None, 0);
        traffic.resume(NOW);
        for step in 0..500 {
            let now = NOW + f64::from(step) * 0.7;
            traffic.observe(now);
            let tag = traffic.tag(now).to_owned();
            assert_eq!(tag, traffic.report(now).tag(), "step {step}");
        }
    }

    #[test]
    fn workers_with_rows_share_the_fleet_out() {
        let first = traffic(Some(4), 0);
        let [zero, one, two] = [0, 1, 2].map(|worker| traffic(Some(4), worker));
        assert_eq!(urls(&zero), urls(&first));
        assert_eq!(urls(&zero).len(), 4);
        let mut all = [urls(&zero), urls(&one), urls(&two)].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 9, "all but the disabled one");
    }

    #[test]
    fn rows_to_begin_with_are_the_same_each_time() {
        let mut once = traffic(Some(4), 1);
        let mut again = traffic(Some(4), 1);
        once.fill(NOW, 3600.0);
        again.fill(NOW, 3600.0);
        assert_eq!(once.tag(NOW + 1.0), again.tag(NOW + 1.0));
        let report = once.report(NOW);
        assert_eq!(report.workers[0].servers.len(), 4);
        assert!(report.workers[0].servers.iter().all(|row| row.last_used <= NOW && row.use_count > 0));
    }
}
