//! What stays true between cycles: when each server was used last, which processes live, which endpoints are silent
//! (`docs/contract.md#what-is-remembered`). Pure; owned by the leader's loop, fed with what [`crate::workers`]
//! collects.
//!
//! In: one [`Collection`] a cycle. Out: a [`View`], from which [`super::classify`] works, or the reason why there is
//! too little to classify from. Missing data never makes a server cold, and this module is where that is decided.

mod by_list;
mod dating;
mod departed;
mod endpoint;
mod sole_reporter;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use super::{
    Answer, Classification, Collection, EndpointAnswer, PerServer, ProcessReport, RankingInput, Report, ServerUsage,
};
use crate::model::{EndpointId, Monotonic, ServerUrl, Tier, UnixTime, WorkerId};
use by_list::ByList;
use departed::Departed;
use endpoint::Endpoint;
pub use sole_reporter::SoleReporter;

/// How long servers that have left the registry are remembered without `--usage-window`.
const DAY: Duration = Duration::from_hours(24);

/// The settings of the memory.
#[derive(Clone, Copy, Debug)]
pub struct MemorySettings {
    /// The time between two collections (`--classification-interval`).
    pub interval: Duration,
    /// The share of the known endpoints that must report, from 0 to 1 (`--worker-quorum`).
    pub quorum: f64,
    /// Uses older than this are forgotten; zero keeps them for ever (`--usage-window`).
    pub window: Duration,
}

impl MemorySettings {
    /// An endpoint is silent when its last complete report is older than this.
    fn patience(&self) -> Duration {
        self.interval * 2
    }

    /// How long a server that has left the registry is remembered.
    const fn memory_of_departed(&self) -> Duration {
        if self.window.is_zero() { DAY } else { self.window }
    }

    /// How long a silent endpoint keeps its servers from being demoted.
    fn hold(&self) -> Duration {
        self.interval * 3
    }
}

/// What a new leader finds in the statuses and in Redis.
#[derive(Clone, Debug, Default)]
pub struct Inheritance {
    /// The latest uses that the statuses remember.
    pub last_used: PerServer<Option<UnixTime>>,
    /// Whether a status or the stored hot set calls the server hot.
    pub hot: PerServer<bool>,
    /// Since when the statuses state the tier that they state.
    pub observed_since: PerServer<Option<UnixTime>>,
}

/// The memory of a leader.
#[derive(Debug)]
pub struct UsageMemory {
    settings: MemorySettings,
    /// The latest use of each server that was ever reported.
    last_used: PerServer<Option<UnixTime>>,
    /// Whether the last collection has asked about the server.
    asked: PerServer<bool>,
    /// Since when each server has been asked about without a gap; `None` before the first collection with it.
    observed_since: PerServer<Option<UnixTime>>,
    /// Those that have left the registry since an earlier collection.
    departed: Departed,
    /// `None` until the endpoints have been discovered.
    endpoints: Option<HashMap<EndpointId, Endpoint>>,
    /// Hot in the last classification, whichever leader made it.
    hot: PerServer<bool>,
    /// Until then nothing in `hot` is demoted, because not every endpoint has reported to this leader yet.
    inherited_until: Option<Monotonic>,
}

/// Why there is too little to classify from. The cycle then keeps the last publication alive instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageGap {
    /// The endpoints of the workers have not been discovered yet.
    Discovery,
    /// There is no endpoint to ask.
    Endpoints,
    /// Fewer endpoints report than the quorum asks for.
    Quorum,
    /// No use of any server is reported or remembered.
    Use,
}

impl UsageGap {
    /// For metrics and the fleet's status.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Discovery => "EndpointsNotDiscovered",
            Self::Endpoints => "NoEndpoints",
            Self::Quorum => "QuorumMissed",
            Self::Use => "NoUseKnown",
        }
    }

    /// What it means, or what to do about it.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Discovery => "the EndpointSlices of the worker Services could not be read; see the log",
            Self::Endpoints => "no worker endpoint is known; check --worker-service and the Service's selector",
            Self::Quorum => "fewer endpoints report than --worker-quorum asks for; see the log for their errors",
            Self::Use => "no worker has reported the use of a registered server yet",
        }
    }
}

/// What a classification works from.
#[derive(Debug)]
pub struct View {
    /// What is known of each server of the registry.
    pub fleet: PerServer<RankingInput>,
    /// What that rests on.
    pub coverage: Coverage,
}

/// How much of the usage is known.
#[derive(Debug)]
pub struct Coverage {
    /// Set if there is too little to classify from.
    pub gap: Option<UsageGap>,
    /// The number of known endpoints.
    pub known: usize,
    /// The silent ones among them, sorted.
    pub silent: Vec<SilentEndpoint>,
}

/// An endpoint that has never reported completely, or not for two intervals.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SilentEndpoint {
    /// The endpoint.
    pub endpoint: EndpointId,
    /// Whether it has ever reported completely to this leader.
    pub reported: bool,
    /// When it last reported completely, or else when it became known.
    pub since: UnixTime,
}

impl UsageMemory {
    /// The memory of a new leader.
    ///
    /// Nothing that it inherits as hot is demoted until every known endpoint has reported, or two intervals have passed
    /// (`docs/contract.md#leadership`).
    pub fn inherit(settings: MemorySettings, inheritance: Inheritance, now: Monotonic) -> Self {
        let Inheritance { last_used, hot, observed_since } = inheritance;
        let inherited_until = Some(now.after(settings.patience()));
        let (asked, departed) = (PerServer::default(), Departed::default());
        Self { settings, last_used, asked, observed_since, departed, endpoints: None, hot, inherited_until }
    }

    /// Takes in a collection. `registry`: the servers when it began, which its rows are resolved to. `now` and `time`
    /// are one moment, by the monotonic clock and as reference time. Returns whether servers may rank differently now;
    /// not if the collection only confirms what is known.
    pub fn absorb(
        &mut self,
        collection: Collection,
        registry: &Arc<[ServerUrl]>,
        now: Monotonic,
        time: UnixTime,
    ) -> bool {
        let changed = !self.is_confirmed_by(&collection, registry);
        let asked_before = self.follow(registry, now, time);

        let mut before = self.endpoints.take().unwrap_or_default();
        let mut endpoints = HashMap::with_capacity(collection.answers.len());
        for EndpointAnswer { endpoint: id, mut answer } in collection.answers {
            if let Answer::Report(report) = &mut answer {
                let offset = report.offset;
                report.processes.iter_mut().for_each(|process| {
                    if offset != 0.0 {
                        dating::undate(process, offset, &self.last_used);
                    }
                    let last = endpoint::find(&before, &id, &process.id);
                    let last = last.or_else(|| endpoint::find(&endpoints, &id, &process.id));
                    dating::date(process, last, &asked_before, &self.last_used);
                });
                self.remember_uses(report);
            }
            // An endpoint that is no longer known is not silent: it has ended, and its processes with it.
            let mut endpoint = before.remove(&id).unwrap_or_else(|| Endpoint::new(now, time));
            endpoint.absorb(answer, now, time);
            endpoint.drop_given_up(now, &self.settings);
            endpoints.insert(id, endpoint);
        }
        // An empty list of endpoints may be one that was lost a moment ago: it proves nothing.
        if !endpoints.is_empty() && endpoints.values().all(Endpoint::has_reported) {
            self.inherited_until = None;
        }
        self.endpoints = Some(endpoints);
        changed
    }

    /// Whether a collection says that everything is as it was: each endpoint answers that its complete report still holds, the
    /// servers are the same, and nothing is forgotten or held for a time.
    fn is_confirmed_by(&self, collection: &Collection, registry: &Arc<[ServerUrl]>) -> bool {
        let Some(known) = &self.endpoints else { return false };
        let confirms = |EndpointAnswer { endpoint, answer }: &EndpointAnswer| {
            matches!(answer, Answer::Unchanged(_)) && known.get(endpoint).is_some_and(Endpoint::is_current)
        };
        Arc::ptr_eq(self.asked.servers(), registry)
            && self.settings.window.is_zero()
            && self.inherited_until.is_none()
            && known.len() == collection.answers.len()
            && collection.answers.iter().all(confirms)
    }

    /// Takes over the list of servers that a collection has asked about. What is known of those that have left is
    /// remembered for the case that they come back; what is remembered of those that are back is known again. Returns
    /// which servers the collection before had asked about.
    fn follow(&mut self, registry: &Arc<[ServerUrl]>, now: Monotonic, time: UnixTime) -> PerServer<bool> {
        let before = Arc::clone(self.last_used.servers());
        if !Arc::ptr_eq(&before, registry) {
            let present: HashSet<&ServerUrl, RandomState> = registry.iter().collect();
            if before.iter().any(|server| !present.contains(server)) {
                let known = self.fleet(&before, now, time);
                let left = known.iter().filter(|(server, input)| {
                    !present.contains(server) && (!input.new || input.usage.last_used.is_some())
                });
                self.departed.left(left.map(|(server, input)| (server, input.usage)), now);
            }
            self.last_used = self.last_used.on(registry).into_owned();
            if !self.departed.is_empty() {
                for (server, last_used) in registry.iter().zip(self.last_used.values_mut()) {
                    *last_used = self.departed.get(server).and_then(|usage| usage.last_used).max(*last_used);
                }
            }
            self.departed.returned(registry);
            self.observed_since = self.observed_since.on(registry).into_owned();
        }
        self.observed_since.values_mut().iter_mut().for_each(|since| {
            since.get_or_insert(time);
        });
        self.departed.forget(self.settings.memory_of_departed(), now);
        std::mem::replace(&mut self.asked, PerServer::of(registry).map(|()| true))
    }

    /// The reference time was moved by so many seconds: every use is as long ago as before.
    pub fn shift(&mut self, seconds: f64) {
        let times = self.last_used.values_mut().iter_mut().chain(self.observed_since.values_mut());
        times.flatten().for_each(|time| *time = time.shifted(seconds));
        self.departed.shift(seconds);
        for process in
            self.endpoints.iter_mut().flat_map(HashMap::values_mut).flat_map(|endpoint| &mut endpoint.processes)
        {
            process.shift(seconds);
        }
    }

    /// Notes which servers are hot now, so that they can be held when an endpoint falls silent.
    pub fn note(&mut self, classification: &Classification) {
        self.hot =
            classification.placements().map(|placement| placement.is_some_and(|placed| placed.tier == Tier::Hot));
    }

    /// Since when each server has been observed without a gap, so that a server which was never used is known to have
    /// been idle since then; `None` for one that no collection has asked about. A leader inherits the moments since
    /// which the statuses have stated their tiers: a tier goes when too little is known for too long.
    pub fn observed_since(&self, registry: &Arc<[ServerUrl]>) -> Cow<'_, PerServer<Option<UnixTime>>> {
        self.observed_since.on(registry)
    }

    /// Too little was known for too long: observation begins again with the next collection.
    pub fn observation_failed(&mut self) {
        self.observed_since.values_mut().fill(None);
    }

    /// What there is to classify from. `registry`: all its servers, in order.
    pub fn view(&self, registry: &Arc<[ServerUrl]>, now: Monotonic, time: UnixTime) -> View {
        let fleet = self.fleet(registry, now, time);
        let known = self.endpoints.as_ref().map_or(0, HashMap::len);
        let mut silent: Vec<SilentEndpoint> =
            self.endpoints().filter_map(|(id, endpoint)| endpoint.silent(id, now, &self.settings)).collect();
        silent.sort();
        let used = fleet.values().iter().any(|input| !input.new && input.usage.last_used.is_some());
        let gap = if registry.is_empty() {
            None
        } else if self.endpoints.is_none() {
            Some(UsageGap::Discovery)
        } else if known == 0 {
            Some(UsageGap::Endpoints)
        } else if !self.is_quorum(known - silent.len(), known) {
            Some(UsageGap::Quorum)
        } else {
            (!used).then_some(UsageGap::Use)
        };
        View { fleet, coverage: Coverage { gap, known, silent } }
    }

    fn endpoints(&self) -> impl Iterator<Item = (&EndpointId, &Endpoint)> {
        self.endpoints.iter().flatten()
    }

    fn is_quorum(&self, reporting: usize, known: usize) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "endpoints are counted in thousands")]
        let (reporting, known) = (reporting as f64, known as f64);
        reporting >= self.settings.quorum * known
    }

    /// Remembers the uses in a report.
    fn remember_uses(&mut self, report: &Report) {
        let mut uses = ByList::onto(std::mem::take(&mut self.last_used));
        for process in &report.processes {
            uses.add(process, |latest, row| *latest = ServerUsage::from(row).last_used.max(*latest));
        }
        self.last_used = uses.merged(|latest, other| *latest = (*other).max(*latest));
    }

    /// The input of the ranking: for each server the counts of the live processes and the remembered time, and how it
    /// is to be treated.
    fn fleet(&self, registry: &Arc<[ServerUrl]>, now: Monotonic, time: UnixTime) -> PerServer<RankingInput> {
        // A process may be reported by two endpoints: its newer report counts.
        let mut processes: HashMap<&WorkerId, &ProcessReport> = HashMap::new();
        for (_, endpoint) in self.endpoints() {
            for process in endpoint.counted(now, &self.settings) {
                let newest = processes.entry(&process.id).or_insert(process);
                if process.observed_at > newest.observed_at {
                    *newest = process;
                }
            }
        }
        let mut inputs: ByList<RankingInput> = ByList::onto(PerServer::of(registry));
        for process in processes.values() {
            inputs.add(process, |input, row| input.usage.merge(&row.into()));
        }
        let mut fleet = inputs.merged(|input, other| input.usage.merge(&other.usage));
        let last_used = self.last_used.on(registry);
        let (asked, hot) = (self.asked.on(registry), self.hot.on(registry));
        let late = self.late(registry, now);
        let oldest = time.shifted(-self.settings.window.as_secs_f64());
        let in_window = |time: &UnixTime| self.settings.window.is_zero() || *time >= oldest;

        let marks = asked.values().iter().zip(late.values().iter().zip(hot.values()));
        let inputs = registry.iter().zip(fleet.values_mut());
        for ((server, input), (last_used, (asked, (late, hot)))) in inputs.zip(last_used.values().iter().zip(marks)) {
            // Until the next collection, a server that is back is ranked as when it left.
            let back = if *asked { None } else { self.departed.get(server) };
            let mut usage = input.usage;
            back.iter().for_each(|back| usage.merge(back));
            usage.last_used = usage.last_used.max(*last_used).filter(in_window);
            let (late, held) = (*late, *late && *hot);
            *input = RankingInput { usage, late, held, pinned: false, new: !*asked && back.is_none() };
        }
        fleet
    }

    /// Servers that may have been used later than is known. While not every endpoint has reported to a new leader,
    /// these are all of them; later, those in the last report of an endpoint that has missed a report since.
    ///
    /// They are late from the first missed report, although the endpoint counts as silent only after two intervals:
    /// from that moment on their times stand still and others would overtake them (`docs/contract.md#p4`).
    fn late(&self, registry: &Arc<[ServerUrl]>, now: Monotonic) -> PerServer<bool> {
        if self.inherited_until.is_some_and(|until| now < until) {
            return PerServer::of(registry).map(|()| true);
        }
        let mut reported: ByList<bool> = ByList::onto(PerServer::of(registry));
        let missed = self.endpoints().filter(|(_, endpoint)| endpoint.holds(now, &self.settings));
        for process in missed.flat_map(|(_, endpoint)| &endpoint.processes) {
            reported.add(process, |reported, _| *reported = true);
        }
        reported.merged(|reported, other| *reported |= other)
    }
}

#[cfg(test)]
mod tests;
