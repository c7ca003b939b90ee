//! What stays true between cycles: who was used when, which processes live, who is silent. Pure; owned by the leader's
//! loop, fed with what [`crate::workers`] collected. SPEC section 2, *What is remembered* and *What is missing*.
//!
//! In: one [`Collection`] a cycle. Out: a [`View`], from which [`super::classify`] works, or the reason why there is too
//! little to classify from. Missing data never makes a server cold: that is decided here and nowhere else.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Classification, Collection, ProcessReport, Report, Row, ServerUsage, UsageTable};
use crate::model::{EndpointId, Monotonic, ServerUrl, UnixTime, WorkerId};

/// The settings of remembering.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Of the cycles: the unit of all patience (`--classification-interval`).
    pub interval: Duration,
    /// The share of the known endpoints that must be heard (`--worker-quorum`), from 0 to 1.
    pub quorum: f64,
    /// Uses older than this are forgotten; zero is never (`--usage-window`).
    pub window: Duration,
}

impl Settings {
    /// An endpoint is silent when its last complete good report is older than this.
    fn patience(&self) -> Duration {
        self.interval * 2
    }

    /// For so long a silent endpoint demotes nobody.
    fn hold(&self) -> Duration {
        self.interval * 3
    }
}

/// What a new leader finds: in the statuses, and in Redis.
#[derive(Clone, Debug, Default)]
pub struct Inheritance {
    /// The latest uses that the statuses remember.
    pub last_used: Vec<(ServerUrl, UnixTime)>,
    /// What a status or the stored hot set calls hot.
    pub hot: HashSet<ServerUrl>,
}

/// Everything that is remembered; see the module's text.
#[derive(Debug)]
pub struct UsageMemory {
    settings: Settings,
    last_used: HashMap<ServerUrl, UnixTime>,
    /// Servers about which a collection has asked that began after they appeared.
    asked: HashSet<ServerUrl>,
    /// `None` until the endpoints have been discovered.
    endpoints: Option<HashMap<EndpointId, Endpoint>>,
    /// For rows without a time: the count seen last, and when it was seen to rise.
    counts: HashMap<(WorkerId, ServerUrl), (u64, Option<UnixTime>)>,
    /// Hot in the last classification, whoever made it.
    hot: HashSet<ServerUrl>,
    /// Until when nothing of `hot` is demoted, because this leader has not heard everybody yet.
    newcomer_until: Option<Monotonic>,
}

/// What is known of one endpoint.
#[derive(Debug)]
struct Endpoint {
    known_since: Monotonic,
    last_complete: Option<Monotonic>,
    /// Whether the latest collection brought a complete report.
    current: bool,
    processes: Vec<ProcessReport>,
}

/// Why there is too little to classify from. The cycle then keeps the last publication alive instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The endpoints of the workers have not been discovered yet.
    Discovery,
    /// There is no endpoint to ask.
    Endpoints,
    /// Fewer endpoints are heard than the quorum asks for.
    Quorum,
    /// No server has any use, reported or remembered.
    Use,
}

impl Missing {
    /// For metrics and the fleet's status.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Discovery => "EndpointsNotDiscovered",
            Self::Endpoints => "NoEndpoints",
            Self::Quorum => "QuorumMissed",
            Self::Use => "NoUseKnown",
        }
    }
}

/// What a classification works from.
#[derive(Debug)]
pub struct View {
    /// The servers of the registry that were asked about, in its order.
    pub servers: Vec<ServerUrl>,
    /// The merged use.
    pub usage: UsageTable,
    /// Hot servers that must not be demoted now.
    pub held: HashSet<ServerUrl>,
    /// Set if there is too little to classify from.
    pub missing: Option<Missing>,
    /// How many endpoints are known.
    pub known: usize,
    /// Those of them that are silent, sorted.
    pub silent: Vec<EndpointId>,
}

impl UsageMemory {
    /// The memory of a leader that has just begun.
    ///
    /// It demotes nothing that it inherits as hot until every known endpoint has answered it, or two intervals have
    /// passed (SPEC section 5).
    #[must_use]
    pub fn inherit(settings: Settings, inheritance: Inheritance, now: Monotonic) -> Self {
        let Inheritance { last_used, hot } = inheritance;
        let mut memory = Self {
            settings,
            last_used: HashMap::new(),
            asked: HashSet::new(),
            endpoints: None,
            counts: HashMap::new(),
            hot,
            newcomer_until: Some(now.after(settings.patience())),
        };
        for (server, time) in last_used {
            memory.remember(&server, time);
        }
        memory
    }

    /// Takes in a collection. `registry`: the servers as they were when it began, to whom its rows are resolved.
    pub fn absorb(&mut self, collection: Collection, registry: &[ServerUrl], now: Monotonic) {
        self.asked = registry.iter().cloned().collect();
        self.last_used.retain(|server, _| self.asked.contains(server));

        let mut before = self.endpoints.take().unwrap_or_default();
        let mut endpoints = HashMap::with_capacity(collection.answers.len());
        for answer in collection.answers {
            let known = before.remove(&answer.endpoint);
            let mut endpoint = known.unwrap_or_else(|| Endpoint::met(now));
            endpoint.current = false;
            if let Some(report) = answer.report {
                self.learn(&report);
                endpoint.hear(report, now);
            }
            endpoints.insert(answer.endpoint, endpoint);
        }
        // An endpoint that is no longer known has ended, and with it its processes: it is not silent.
        let living: HashSet<&WorkerId> =
            endpoints.values().flat_map(|endpoint| &endpoint.processes).map(|process| &process.id).collect();
        self.counts.retain(|(process, _), _| living.contains(process));
        // Of an empty list nobody has answered: it may be one that was only just lost.
        if !endpoints.is_empty() && endpoints.values().all(|endpoint| endpoint.last_complete.is_some()) {
            self.newcomer_until = None;
        }
        self.endpoints = Some(endpoints);
    }

    /// Notes who is hot now, so that they can be held when an endpoint falls silent.
    pub fn note(&mut self, classification: &Classification) {
        self.hot = classification.hot.iter().cloned().collect();
    }

    /// What there is to classify from. `registry`: all its servers, in order.
    #[must_use]
    pub fn view(&self, registry: &[ServerUrl], now: Monotonic, wall: UnixTime) -> View {
        let servers: Vec<ServerUrl> = registry.iter().filter(|server| self.asked.contains(*server)).cloned().collect();
        let usage = self.table(now, wall);
        let known = self.endpoints.as_ref().map_or(0, HashMap::len);
        let mut silent: Vec<EndpointId> =
            self.endpoints().filter(|(_, e)| self.silent_since(e, now).is_some()).map(|(id, _)| id.clone()).collect();
        silent.sort();
        let used = servers.iter().any(|server| usage.get(server).last_used.is_some());
        let missing = if registry.is_empty() {
            None
        } else if self.endpoints.is_none() {
            Some(Missing::Discovery)
        } else if known == 0 {
            Some(Missing::Endpoints)
        } else if !self.quorate(known - silent.len(), known) {
            Some(Missing::Quorum)
        } else {
            (!used).then_some(Missing::Use)
        };
        View { held: self.held(now), servers, usage, missing, known, silent }
    }

    fn endpoints(&self) -> impl Iterator<Item = (&EndpointId, &Endpoint)> {
        self.endpoints.iter().flatten()
    }

    fn quorate(&self, heard: usize, known: usize) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "endpoints are counted in thousands")]
        let (heard, known) = (heard as f64, known as f64);
        heard >= self.settings.quorum * known
    }

    fn remember(&mut self, server: &ServerUrl, time: UnixTime) {
        let entry = self.last_used.entry(server.clone()).or_insert(time);
        *entry = time.max(*entry);
    }

    /// Remembers the uses that a report speaks of.
    fn learn(&mut self, report: &Report) {
        for process in &report.processes {
            for (server, row) in &process.rows {
                let used = row.last_used.or_else(|| self.risen(process, server, row));
                if let Some(time) = used.filter(|time| *time > UnixTime::EPOCH) {
                    self.remember(server, time);
                }
            }
        }
    }

    /// For a row without a time: when its count was last seen to rise (SPEC section 2).
    ///
    /// A count that is seen for the first time says that there was a use, but not when. It stands for one now only
    /// if nothing better is known of the server; else a new leader would call everything just used.
    fn risen(&mut self, process: &ProcessReport, server: &ServerUrl, row: &Row) -> Option<UnixTime> {
        let better_known = self.last_used.contains_key(server);
        let entry = self.counts.entry((process.id.clone(), server.clone()));
        let seen_before = matches!(entry, std::collections::hash_map::Entry::Occupied(_));
        let (count, time) = entry.or_insert((0, None));
        if row.use_count > *count {
            *count = row.use_count;
            if seen_before || !better_known {
                *time = Some(process.observed_at);
            }
        }
        *time
    }

    /// The merged use: the counts of the processes that live, the times that are remembered.
    fn table(&self, now: Monotonic, wall: UnixTime) -> UsageTable {
        let mut table = UsageTable::default();
        // One process may be seen through two endpoints: the newer view of it counts.
        let mut processes: HashMap<&WorkerId, &ProcessReport> = HashMap::new();
        for (_, endpoint) in self.endpoints().filter(|(_, endpoint)| !self.given_up(endpoint, now)) {
            for process in &endpoint.processes {
                let seen = processes.entry(&process.id).or_insert(process);
                if process.observed_at > seen.observed_at {
                    *seen = process;
                }
            }
        }
        for process in processes.values() {
            for (server, row) in &process.rows {
                table.add(server, &self.usage_of(process, server, row));
            }
        }
        for (server, time) in &self.last_used {
            table.add(server, &ServerUsage::remembered(*time));
        }
        if !self.settings.window.is_zero() {
            table.forget_before(wall.shifted(-self.settings.window.as_secs_f64()));
        }
        table
    }

    fn usage_of(&self, process: &ProcessReport, server: &ServerUrl, row: &Row) -> ServerUsage {
        let Row { last_used, active, idle, use_count } = *row;
        let risen = || self.counts.get(&(process.id.clone(), server.clone())).and_then(|(_, time)| *time);
        match last_used.or_else(risen) {
            Some(time) => ServerUsage::of_row(time, active, idle, use_count),
            // Used at a time that nobody knows; the remembered one, if any, makes it eligible.
            None if use_count > 0 => ServerUsage { last_used: None, active, idle, use_count },
            None => ServerUsage::of_row(UnixTime::EPOCH, active, idle, use_count),
        }
    }

    /// Since when an endpoint is silent; `None` if it is not.
    fn silent_since(&self, endpoint: &Endpoint, now: Monotonic) -> Option<Monotonic> {
        match endpoint.last_complete {
            None => Some(endpoint.known_since),
            Some(heard) if now.since(heard) > self.settings.patience() => Some(heard.after(self.settings.patience())),
            Some(_) => None,
        }
    }

    /// Whether an endpoint has been silent for so long that its last report counts no more.
    fn given_up(&self, endpoint: &Endpoint, now: Monotonic) -> bool {
        let silent = self.silent_since(endpoint, now);
        endpoint.last_complete.is_some() && silent.is_some_and(|since| now.since(since) > self.settings.hold())
    }

    /// Hot servers that must not be demoted now: all of them while a newcomer has not heard everybody, else those
    /// that the last report of an endpoint names that has not reported since.
    ///
    /// Held from the first report that is missed, though the endpoint counts as silent only after two intervals: its
    /// uses stand still from that moment, and others would overtake them (P4). For three intervals after that.
    fn held(&self, now: Monotonic) -> HashSet<ServerUrl> {
        if self.newcomer_until.is_some_and(|until| now < until) {
            return self.hot.clone();
        }
        let missed = self.endpoints().filter(|(_, endpoint)| {
            let silent = self.silent_since(endpoint, now);
            let current = endpoint.current && silent.is_none();
            !current && silent.is_none_or(|since| now.since(since) <= self.settings.hold())
        });
        let named = missed.flat_map(|(_, endpoint)| &endpoint.processes).flat_map(|process| &process.rows);
        named.map(|(server, _)| server).filter(|server| self.hot.contains(*server)).cloned().collect()
    }
}

impl Endpoint {
    fn met(now: Monotonic) -> Self {
        Self { known_since: now, last_complete: None, current: false, processes: Vec::new() }
    }

    /// Takes in a report. A complete one replaces all that was known: a former process without an entry has ended. A
    /// partial one only adds, for those that it leaves out may live.
    fn hear(&mut self, report: Report, now: Monotonic) {
        let Report { complete, processes } = report;
        if complete {
            self.last_complete = Some(now);
            self.current = true;
            self.processes = processes;
        } else {
            self.processes.retain(|old| processes.iter().all(|new| new.id != old.id));
            self.processes.extend(processes);
        }
    }
}

#[cfg(test)]
mod tests;
