//! What stays true between cycles: who was used when, which processes live, who is silent. Pure; owned by the leader's
//! loop, fed with what [`crate::workers`] collected. SPEC section 2, *What is remembered* and *What is missing*.
//!
//! In: one [`Collection`] a cycle. Out: a [`View`], from which [`super::classify`] works, or the reason why there is too
//! little to classify from. Missing data never makes a server cold: that is decided here and nowhere else.

mod endpoint;
mod merge;
mod risen;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Answer, Classification, Collection, ProcessReport, Report, Said, ServerUsage, UsageTable};
use crate::model::{EndpointId, Monotonic, ServerUrl, UnixTime, WorkerId};
use endpoint::Endpoint;
use merge::Merge;

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
    /// Hot in the last classification, whoever made it.
    hot: HashSet<ServerUrl>,
    /// Until when nothing of `hot` is demoted, because this leader has not heard everybody yet.
    newcomer_until: Option<Monotonic>,
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

    /// What that means, or what to do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Discovery => "the EndpointSlices of the worker Services could not be read; see the log",
            Self::Endpoints => "no worker endpoint is known; check --worker-service and the Service's selector",
            Self::Quorum => "fewer endpoints are heard than --worker-quorum asks for; see the log for their faults",
            Self::Use => "no worker has reported the use of a registered server yet",
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
    pub silent: Vec<Silent>,
}

/// An endpoint that is silent: never heard, or its last complete report is more than two intervals old.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Silent {
    /// Which.
    pub endpoint: EndpointId,
    /// Whether it was heard before, since this leader began.
    pub heard: bool,
    /// When it was heard last, or else when it was first known of.
    pub since: UnixTime,
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
            hot,
            newcomer_until: Some(now.after(settings.patience())),
        };
        for (server, time) in last_used {
            memory.remember(&server, time);
        }
        memory
    }

    /// Takes in a collection. `registry`: the servers as they were when it began, to whom its rows are resolved. `now` and
    /// `wall` are one moment, by the clock that patience is counted with and by the one that people read.
    pub fn absorb(&mut self, collection: Collection, registry: &[ServerUrl], now: Monotonic, wall: UnixTime) {
        self.asked = registry.iter().cloned().collect();
        self.last_used.retain(|server, _| self.asked.contains(server));

        let mut before = self.endpoints.take().unwrap_or_default();
        let mut endpoints = HashMap::with_capacity(collection.answers.len());
        for Answer { endpoint: id, mut said } in collection.answers {
            if let Said::Report(report) = &mut said {
                report.processes.iter_mut().for_each(|process| {
                    let known = [&before, &endpoints].map(|endpoints| endpoint::find(endpoints, &id, &process.id));
                    risen::date(process, known.into_iter().flatten().next(), &self.last_used);
                });
                self.learn(report);
            }
            // An endpoint that is no longer known has ended, and with it its processes: it is not silent.
            let mut endpoint = before.remove(&id).unwrap_or_else(|| Endpoint::met(now, wall));
            endpoint.hear(said, now, wall);
            endpoint.drop_what_counts_no_more(now, &self.settings);
            endpoints.insert(id, endpoint);
        }
        // Of an empty list nobody has answered: it may be one that was only just lost.
        if !endpoints.is_empty() && endpoints.values().all(Endpoint::was_heard) {
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
        let mut silent: Vec<Silent> =
            self.endpoints().filter_map(|(id, endpoint)| endpoint.silent(id, now, &self.settings)).collect();
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
        for (server, row) in report.processes.iter().flat_map(ProcessReport::rows) {
            if let Some(time) = row.last_used().filter(|time| *time > UnixTime::EPOCH) {
                self.remember(server, time);
            }
        }
    }

    /// The merged use: the counts of the processes that live, the times that are remembered.
    fn table(&self, now: Monotonic, wall: UnixTime) -> UsageTable {
        // One process may be seen through two endpoints: the newer view of it counts.
        let mut processes: HashMap<&WorkerId, &ProcessReport> = HashMap::new();
        for (_, endpoint) in self.endpoints().filter(|(_, endpoint)| !endpoint.given_up(now, &self.settings)) {
            for process in endpoint.processes() {
                let seen = processes.entry(&process.id).or_insert(process);
                if process.observed_at > seen.observed_at {
                    *seen = process;
                }
            }
        }
        let mut merge = Merge::default();
        for process in processes.values() {
            merge.add(process);
        }
        let mut table = merge.into_table();
        for (server, time) in &self.last_used {
            table.add(server, &ServerUsage::remembered(*time));
        }
        if !self.settings.window.is_zero() {
            table.forget_before(wall.shifted(-self.settings.window.as_secs_f64()));
        }
        table
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
        let missed = self.endpoints().filter(|(_, endpoint)| endpoint.holds(now, &self.settings));
        let named = missed.flat_map(|(_, endpoint)| endpoint.processes()).flat_map(ProcessReport::rows);
        named.map(|(server, _)| server).filter(|server| self.hot.contains(*server)).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
