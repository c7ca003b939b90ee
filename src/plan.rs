//! How often each server is to be refreshed, within a budget: `docs/refresh-plan.md`. Pure and deterministic.
//!
//! In: for each server its tier, how long it has not been used, and the bound that its objects set; the previous plan.
//! Out: a [`Plan`], an interval for each classified server. A poll in this module is a refresh (`tool_discovery`).
//!
//! For a given number of polls, calls meet the least stale lists if each server is polled in proportion to the square
//! root of its rate of use. The time since the last use estimates the inverse of that rate, and needs no counting. So
//! the interval is `I × √(idle / reference)`, with the greatest reference that the budget allows.
//!
//! # How often a plan changes
//! Intervals move on a ladder (I, 2I, 4I, … and the longest interval), and a rung changes only as far as the exact
//! interval is 20 % past the threshold. A rung that has changed changes back only when the ratio of idle time and
//! reference has changed by 1.2⁴, more than two-fold. The reference moves on its own ladder, in steps of 2^(1/4): down
//! when the budget does not suffice, and up when 99 % of it suffice for a step; 99 % suffice where it moves to. With n
//! = `⌈log2(longest / I)⌉` (6 by default):
//!
//! - Rungs change n + 1 times at most for each use of a server, while the reference stays: down once, and up at
//!   1.44 × 4, 1.44 × 16, … times the reference. A server that is never used changes n times at most, however long it
//!   is idle. One whose idle time keeps within a factor of 2, or below I, changes once at most.
//! - While no server is used and the registry stays as it is, the reference never falls. While idle times grow at most
//!   G-fold, it grows less than 1.2⁴ × 2^(1/4) × G-fold, because more would not have fitted the budget before. So a
//!   rung changes at most 2.24 + 2 × log(G) / log(1.2⁴) times: twice in an hour of a fleet that has been idle for a
//!   day, and four times while the idle times double.
//! - Servers that have all been idle for the same time, as after an installation, do not change their rungs.
//!
//! A changed rung needs a status write, so these limits also hold for status writes.

mod ladder;

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::classify::PerServer;
use crate::model::{PlannedInterval, ServerUrl, Tier, UnixTime};
use ladder::Ladder;
pub use ladder::{Reference, Rung};

/// The greatest share by which an interval is shortened, so that the servers of a rung are not all due at once.
const SPREAD: f32 = 0.1;

/// The share of the budget that is left free when the reference is moved.
const MARGIN: f64 = 0.01;

/// The share of uniform polling that a plan may use: above 0 and at most 1 (`--refresh-budget`).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Budget(f64);

impl Budget {
    /// The budget of this share; `None` unless it is above 0 and at most 1.
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share <= 1.0).then_some(Self(share))
    }

    /// The share of uniform polling.
    pub const fn share(self) -> f64 {
        self.0
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(0.33)
    }
}

/// The settings of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlanSettings {
    interval: Duration,
    longest: Duration,
    /// The share of uniform polling that may be planned.
    pub budget: Budget,
}

impl PlanSettings {
    /// `interval`: of hot servers (`--hot-poll-interval`), at least a second. `longest`: of any server, at least
    /// `interval`. Both are at most [`PlannedInterval::LONGEST`]. What is outside counts as the nearest value.
    pub fn new(interval: Duration, longest: Duration, budget: Budget) -> Self {
        let interval = interval.clamp(Duration::from_secs(1), PlannedInterval::LONGEST);
        Self { interval, longest: longest.clamp(interval, PlannedInterval::LONGEST), budget }
    }

    /// The interval of hot servers, which is the shortest one.
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// The longest interval.
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// The interval of a rung without a bound, before it is shortened by the hash of a URL.
    pub fn interval_of_rung(&self, rung: Rung) -> Duration {
        let times = 1_u32.checked_shl(rung.doublings().into()).unwrap_or(u32::MAX);
        self.interval.saturating_mul(times).min(self.longest)
    }

    /// The rung of an interval that was planned with these settings.
    pub fn rung(&self, interval: Duration) -> Rung {
        Rung::reaching(self.multiple(interval.min(self.longest)))
    }

    /// How often the shortest interval fits in an hour.
    fn per_hour(&self) -> f64 {
        3600.0 / self.interval.as_secs_f64()
    }

    fn multiple(&self, duration: Duration) -> f64 {
        duration.as_secs_f64() / self.interval.as_secs_f64()
    }

    /// The interval at which a server is polled so many times in the shortest interval.
    fn interval_of(&self, polls: f64, bound: Duration) -> Duration {
        let most = bound.min(self.longest).max(self.interval);
        let exact = Duration::try_from_secs_f64(self.interval.as_secs_f64() / polls);
        exact.map_or(most, |interval| interval.clamp(self.interval, most))
    }

    fn ladder(&self, bound: Option<Duration>) -> Ladder {
        Ladder::up_to(self.multiple(bound.unwrap_or(self.longest).min(self.longest)))
    }
}

impl Default for PlanSettings {
    fn default() -> Self {
        Self::new(Duration::from_mins(5), Duration::from_hours(4), Budget::default())
    }
}

/// What a plan is made from, for one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanInput {
    /// Its tier. A server without one is not classified: it is not planned, and polled at the full rate.
    pub tier: Option<Tier>,
    /// The longest interval that its objects allow (`spec.polling.maxInterval`). A bound below the shortest interval
    /// counts as that.
    pub bound: Option<Duration>,
    /// How long it has not been used, see [`idle`].
    pub idle: Duration,
    /// Whether it may have been used later than is known. Its interval then does not become longer.
    pub late: bool,
}

/// How long a server has not been used: the time since its last use, or else since the beginning of its observation
/// without a gap. A time in the future counts as now.
pub fn idle(last_used: Option<UnixTime>, observed_since: UnixTime, now: UnixTime) -> Duration {
    now.since(last_used.unwrap_or(observed_since))
}

/// What is planned for one server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// In milliseconds, rounded up.
    interval: u32,
    /// Its place on the ladder. The interval is up to 10 % shorter than that of the rung, by a hash of the URL.
    pub rung: Rung,
    /// The factor by which the server is polled more often than at the interval of its rung.
    haste: f32,
}

impl Planned {
    fn new(interval: Duration, rung: Rung, haste: f32) -> Self {
        let millis = interval.as_nanos().div_ceil(1_000_000);
        Self { interval: u32::try_from(millis).unwrap_or(u32::MAX), rung, haste }
    }

    /// The time between two polls, to a millisecond: never shorter than the interval of hot servers, and never longer
    /// than the longest one or the server's bound.
    pub const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval as u64)
    }

    /// The interval as it is published, rounded up to whole seconds: readers ignore an interval below that of hot
    /// servers.
    pub fn published(&self) -> PlannedInterval {
        PlannedInterval::rounded_up(self.interval())
    }
}

/// Whether the budget suffices.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum BudgetFit {
    /// The planned polls are within the budget. What is left of it is not spent.
    #[default]
    Kept,
    /// It does not suffice for hot and unclassified servers at the full rate and all others at their longest
    /// intervals. That is what is planned.
    TooSmall {
        /// The least share of uniform polling that suffices.
        least: f64,
    },
}

/// An interval for each classified server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    servers: PerServer<Option<Planned>>,
    reference: Option<Reference>,
    /// Whether the budget suffices.
    pub fit: BudgetFit,
    /// Planned polls an hour, with those of unclassified servers.
    pub polls_per_hour: f64,
    /// Polls an hour if every server were polled at the interval of hot servers.
    pub uniform_polls_per_hour: f64,
}

impl Plan {
    /// The previous plan as a new leader knows it, from the intervals in the statuses.
    pub fn inherit(intervals: &PerServer<Option<Duration>>, settings: &PlanSettings) -> Self {
        let mut servers: PerServer<Option<Planned>> = PerServer::of(intervals.servers());
        for (planned, (server, interval)) in servers.values_mut().iter_mut().zip(intervals.iter()) {
            let with = |interval| Planned::new(interval, settings.rung(interval), haste(server));
            *planned = interval.map(with);
        }
        Self { servers, ..Self::default() }
    }

    /// What is planned for each server; `None` for those that are not classified.
    pub const fn servers(&self) -> &PerServer<Option<Planned>> {
        &self.servers
    }

    /// The intervals as they are published.
    pub fn published(&self) -> PerServer<Option<PlannedInterval>> {
        self.servers.map(|planned| planned.as_ref().map(Planned::published))
    }

    /// How many servers are on each rung that has any.
    pub fn servers_by_rung(&self) -> BTreeMap<Rung, usize> {
        let mut servers = BTreeMap::new();
        self.servers.values().iter().flatten().for_each(|planned| *servers.entry(planned.rung).or_default() += 1);
        servers
    }

    /// Plans one cold server again, with another bound. The reference stays; only [`plan`] fits a plan to the budget.
    pub fn adjust(&mut self, place: usize, input: &PlanInput, settings: &PlanSettings) {
        let planned = self.servers.get_mut(place);
        let (Some(Some(planned)), Some(reference)) = (planned, self.reference) else { return };
        if input.tier != Some(Tier::Cold) {
            return;
        }
        let before = settings.interval.as_secs_f64() / planned.interval().as_secs_f64();
        let candidate = Candidate::new(input, Some(planned.rung), planned.haste, settings);
        let scale = 1.0 / reference.multiple();
        let (adjusted, polls) = candidate.planned(settings.ladder(input.bound), scale, input.bound, settings);
        *planned = adjusted;
        self.polls_per_hour += (polls - before) * settings.per_hour();
    }

    /// The idle time at which a server is polled at the shortest interval. Longer than any server's if all are.
    pub const fn reference(&self) -> Option<Reference> {
        self.reference
    }
}

/// Plans an interval for each classified server. `previous`: the previous plan, perhaps for another registry; the
/// default if there is none.
pub fn plan(inputs: &PerServer<PlanInput>, previous: &Plan, settings: &PlanSettings) -> Plan {
    // In this function, times are multiples of the shortest interval, and polls are those in the shortest interval.
    let mut servers = previous.servers.on(inputs.servers()).into_owned();
    // The ladder of servers without a bound, then one for each server with a bound.
    let mut ladders = vec![settings.ladder(None)];
    let mut full = 0.0;
    let mut least = 0.0;
    // Each with its place and the number of its ladder.
    let mut candidates: Vec<(u32, u32, Candidate)> = Vec::with_capacity(inputs.values().len());
    for ((place, (server, input)), planned) in (0_u32..).zip(inputs.iter()).zip(servers.values_mut()) {
        let before = planned.take();
        let haste = before.map_or_else(|| haste(server), |before| before.haste);
        if input.tier != Some(Tier::Cold) {
            *planned = input.tier.map(|_| Planned::new(settings.interval, Rung::FIRST, haste));
            full += 1.0;
            continue;
        }
        let ladder = input.bound.map_or(0, |bound| {
            ladders.push(settings.ladder(Some(bound)));
            u32::try_from(ladders.len() - 1).unwrap_or_default()
        });
        let candidate = Candidate::new(input, before.map(|before| before.rung), haste, settings);
        let whole = ladders[ladder as usize];
        least += candidate.polls(whole, whole.last());
        candidates.push((place, ladder, candidate));
    }

    let uniform = f64::from(u32::try_from(inputs.values().len()).unwrap_or(u32::MAX));
    let left = settings.budget.share() * uniform - full;
    let polls = |reference: Reference| -> f64 {
        let scale = 1.0 / reference.multiple();
        let polls = |(_, ladder, candidate): &(u32, u32, Candidate)| {
            let ladder = ladders[*ladder as usize];
            candidate.polls(ladder, candidate.rung(ladder, scale))
        };
        candidates.iter().map(polls).sum()
    };
    let fits = |reference: Reference| polls(reference) <= left;
    let fits_well = |reference: Reference| polls(reference) <= left * (1.0 - MARGIN);
    let kept = previous.reference.filter(|kept| fits(*kept) && !fits_well(kept.up()));
    let reference = kept.unwrap_or_else(|| Reference::greatest(fits_well));

    let scale = 1.0 / reference.multiple();
    let mut planned_polls = full;
    for (place, ladder, candidate) in &candidates {
        let place = *place as usize;
        let bound = inputs.values()[place].bound;
        let (planned, polls) = candidate.planned(ladders[*ladder as usize], scale, bound, settings);
        planned_polls += polls;
        servers.values_mut()[place] = Some(planned);
    }
    let share = |polls: f64| if uniform > 0.0 { polls / uniform } else { 0.0 };
    let fit = if least <= left { BudgetFit::Kept } else { BudgetFit::TooSmall { least: share(full + least) } };
    let per_hour = settings.per_hour();
    Plan {
        servers,
        reference: Some(reference),
        fit,
        polls_per_hour: planned_polls * per_hour,
        uniform_polls_per_hour: uniform * per_hour,
    }
}

/// A server whose interval depends on the reference.
struct Candidate {
    idle: f64,
    haste: f32,
    before: Option<Rung>,
    /// The longest rung that may be planned. The reference does not depend on it, so that other servers do not get
    /// longer intervals because of it.
    longest: Option<Rung>,
}

impl Candidate {
    fn new(input: &PlanInput, before: Option<Rung>, haste: f32, settings: &PlanSettings) -> Self {
        // Idle times below the shortest interval count as that: no gateway polls more often.
        let idle = settings.multiple(input.idle).max(1.0);
        Self { idle, haste, before, longest: before.filter(|_| input.late) }
    }

    /// What is planned for it, and its polls in the shortest interval.
    fn planned(&self, ladder: Ladder, scale: f64, bound: Option<Duration>, settings: &PlanSettings) -> (Planned, f64) {
        let rung = self.rung(ladder, scale);
        let rung = self.longest.map_or(rung, |longest| rung.min(longest));
        let polls = self.polls(ladder, rung);
        let interval = settings.interval_of(polls, bound.unwrap_or(settings.longest));
        (Planned::new(interval, rung, self.haste), polls)
    }

    fn rung(&self, ladder: Ladder, scale: f64) -> Rung {
        ladder.rung(self.idle * scale, self.before)
    }

    /// Polls in the shortest interval, at most one.
    fn polls(&self, ladder: Ladder, rung: Rung) -> f64 {
        (f64::from(self.haste) * ladder.polls(rung)).min(1.0)
    }
}

/// A factor from 1 to 1 / (1 - [`SPREAD`]), by a hash of the URL.
fn haste(server: &ServerUrl) -> f32 {
    let [first, second, ..] = <[u8; 32]>::from(Sha256::digest(server.expose()));
    1.0 / (1.0 - SPREAD * f32::from(u16::from_be_bytes([first, second])) / f32::from(u16::MAX))
}

#[cfg(test)]
mod tests;
