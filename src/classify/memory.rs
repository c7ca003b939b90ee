//! What stays true between cycles: who was used when, which processes live, who is silent. Pure; owned by the leader's
//! loop, fed with what [`crate::workers`] collected. SPEC section 2, *What is remembered* and *What is missing*.
//!
//! In: one [`Collection`] a cycle. Out: a [`View`], from which [`super::classify`] works, or the reason why there is too
//! little to classify from. Missing data never makes a server cold: that is decided here and nowhere else.

mod endpoint;
mod merge;
mod risen;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Answer, Classification, Collection, PerServer, ProcessReport, RankingInput, Report, Row, Said, ServerUsage,
};
use crate::model::{EndpointId, Monotonic, ServerUrl, Tier, UnixTime, WorkerId};
use endpoint::Endpoint;
use merge::{ByList, usage_of};

/// The settings of remembering.
#[derive(Clone, Copy, Debug)]
pub struct MemorySettings {
    /// Of the cycles: the unit of all patience (`--classification-interval`).
    pub interval: Duration,
    /// The share of the known endpoints that must be heard (`--worker-quorum`), from 0 to 1.
    pub quorum: f64,
    /// Uses older than this are forgotten; zero is never (`--usage-window`).
    pub window: Duration,
}

impl MemorySettings {
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
    pub last_used: PerServer<Option<UnixTime>>,
    /// What a status or the stored hot set calls hot.
    pub hot: PerServer<bool>,
}

/// Everything that is remembered; see the module's text.
#[derive(Debug)]
pub struct UsageMemory {
    settings: MemorySettings,
    /// The latest use of each server that was ever reported.
    last_used: PerServer<Option<UnixTime>>,
    /// The servers that the last collection has asked about; `None` before the first.
    asked: Option<Arc<[ServerUrl]>>,
    /// `None` until the endpoints have been discovered.
    endpoints: Option<HashMap<EndpointId, Endpoint>>,
    /// Hot in the last classification, whoever made it.
    hot: PerServer<bool>,
    /// Until when nothing of `hot` is demoted, because this leader has not heard everybody yet.
    newcomer_until: Option<Monotonic>,
}

/// Why there is too little to classify from. The cycle then keeps the last publication alive instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGap {
    /// The endpoints of the workers have not been discovered yet.
    Discovery,
    /// There is no endpoint to ask.
    Endpoints,
    /// Fewer endpoints are heard than the quorum asks for.
    Quorum,
    /// No server has any use, reported or remembered.
    Use,
}

impl UsageGap {
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
    /// Of each server of the registry its merged use, whether it must not be demoted now, and whether nobody has been asked
    /// about it yet.
    pub fleet: PerServer<RankingInput>,
    /// Set if there is too little to classify from.
    pub missing: Option<UsageGap>,
    /// How many endpoints are known.
    pub known: usize,
    /// Those of them that are silent, sorted.
    pub silent: Vec<SilentEndpoint>,
}

/// An endpoint that is silent: never heard, or its last complete report is more than two intervals old.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SilentEndpoint {
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
    pub fn inherit(settings: MemorySettings, inheritance: Inheritance, now: Monotonic) -> Self {
        let Inheritance { last_used, hot } = inheritance;
        let newcomer_until = Some(now.after(settings.patience()));
        Self { settings, last_used, asked: None, endpoints: None, hot, newcomer_until }
    }

    /// Takes in a collection. `registry`: the servers as they were when it began, to whom its rows are resolved. `now` and
    /// `wall` are one moment, by the clock that patience is counted with and by the one that people read.
    pub fn absorb(&mut self, collection: Collection, registry: &Arc<[ServerUrl]>, now: Monotonic, wall: UnixTime) {
        self.asked = Some(Arc::clone(registry));
        self.last_used = self.last_used.on(registry).into_owned();

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
        self.hot = classification.places().map(|place| place.is_some_and(|place| place.tier == Tier::Hot));
    }

    /// What there is to classify from. `registry`: all its servers, in order.
    #[must_use]
    pub fn view(&self, registry: &Arc<[ServerUrl]>, now: Monotonic, wall: UnixTime) -> View {
        let fleet = self.fleet(registry, now, wall);
        let known = self.endpoints.as_ref().map_or(0, HashMap::len);
        let mut silent: Vec<SilentEndpoint> =
            self.endpoints().filter_map(|(id, endpoint)| endpoint.silent(id, now, &self.settings)).collect();
        silent.sort();
        let used = fleet.values().iter().any(|known| !known.new && known.usage.last_used.is_some());
        let missing = if registry.is_empty() {
            None
        } else if self.endpoints.is_none() {
            Some(UsageGap::Discovery)
        } else if known == 0 {
            Some(UsageGap::Endpoints)
        } else if !self.quorate(known - silent.len(), known) {
            Some(UsageGap::Quorum)
        } else {
            (!used).then_some(UsageGap::Use)
        };
        View { fleet, missing, known, silent }
    }

    fn endpoints(&self) -> impl Iterator<Item = (&EndpointId, &Endpoint)> {
        self.endpoints.iter().flatten()
    }

    fn quorate(&self, heard: usize, known: usize) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "endpoints are counted in thousands")]
        let (heard, known) = (heard as f64, known as f64);
        heard >= self.settings.quorum * known
    }

    /// Remembers the uses that a report speaks of.
    fn learn(&mut self, report: &Report) {
        let mut used: ByList<Option<UnixTime>> = ByList::new();
        let later = |known: &mut Option<UnixTime>, time: Option<UnixTime>| *known = time.max(*known);
        for process in &report.processes {
            if Arc::ptr_eq(&process.servers, self.last_used.servers()) {
                for row in &process.rows {
                    if let Some(known) = self.last_used.get_mut(row.server()) {
                        later(known, past_use(row));
                    }
                }
            } else {
                used.add(process, |known, row| later(known, past_use(row)));
            }
        }
        if used.is_empty() {
            return;
        }
        let used = used.merged(self.last_used.servers(), |known, other| later(known, *other));
        self.last_used.values_mut().iter_mut().zip(used.values()).for_each(|(known, other)| later(known, *other));
    }

    /// Of each server the merged use (the counts of the processes that live, the times that are remembered), and how it is to be
    /// treated.
    fn fleet(&self, registry: &Arc<[ServerUrl]>, now: Monotonic, wall: UnixTime) -> PerServer<RankingInput> {
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
        let mut usage: ByList<ServerUsage> = ByList::new();
        for process in processes.values() {
            usage.add(process, |sum, row| sum.merge(&usage_of(row)));
        }
        let usage = usage.merged(registry, ServerUsage::merge);
        let last_used = self.last_used.on(registry);
        let (asked, held) = (self.asked(registry), self.held(registry, now));
        let oldest = wall.shifted(-self.settings.window.as_secs_f64());
        let in_window = |time: &UnixTime| self.settings.window.is_zero() || *time >= oldest;

        let mut fleet: PerServer<RankingInput> = PerServer::of(registry);
        let told = usage.values().iter().zip(last_used.values());
        let marked = asked.values().iter().zip(held.values());
        for (known, ((usage, last_used), (asked, held))) in fleet.values_mut().iter_mut().zip(told.zip(marked)) {
            let last_used = usage.last_used.max(*last_used).filter(in_window);
            *known = RankingInput { usage: ServerUsage { last_used, ..*usage }, held: *held, new: !*asked };
        }
        fleet
    }

    /// The servers about which a collection has asked that began after they appeared.
    fn asked(&self, registry: &Arc<[ServerUrl]>) -> PerServer<bool> {
        let Some(asked) = &self.asked else { return PerServer::of(registry) };
        let mut marked = PerServer::of(asked);
        marked.values_mut().fill(true);
        marked.on(registry).into_owned()
    }

    /// Hot servers that must not be demoted now: all of them while a newcomer has not heard everybody, else those
    /// that the last report of an endpoint names that has not reported since.
    ///
    /// Held from the first report that is missed, though the endpoint counts as silent only after two intervals: its
    /// uses stand still from that moment, and others would overtake them (P4). For three intervals after that.
    fn held(&self, registry: &Arc<[ServerUrl]>, now: Monotonic) -> PerServer<bool> {
        let hot = self.hot.on(registry);
        if self.newcomer_until.is_some_and(|until| now < until) {
            return hot.into_owned();
        }
        let mut named: ByList<bool> = ByList::new();
        let missed = self.endpoints().filter(|(_, endpoint)| endpoint.holds(now, &self.settings));
        for process in missed.flat_map(|(_, endpoint)| endpoint.processes()) {
            named.add(process, |named, _| *named = true);
        }
        let mut held = named.merged(registry, |named, other| *named |= other);
        held.values_mut().iter_mut().zip(hot.values()).for_each(|(held, hot)| *held &= hot);
        held
    }
}

/// When a row says that its server was used last; nothing for "never".
fn past_use(row: &Row) -> Option<UnixTime> {
    row.last_used().filter(|time| *time > UnixTime::EPOCH)
}

#[cfg(test)]
mod tests;
