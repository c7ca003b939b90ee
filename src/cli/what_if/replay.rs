//! Replays usage reports for several refresh plans at once, and estimates the refreshes and list ages of each. Pure:
//! the decisions are those of the leader.
//!
//! A report does not have the time of each call. So the age of a list at a call is estimated: the polls of a server
//! with the interval T are independent of its calls, so the age is T/2 on average, and more than two hot intervals with
//! the probability 1 - 2I/T.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::super::classify::{START, memory};
use crate::classify::memory::UsageMemory;
use crate::classify::{Answer, Collection, EndpointAnswer, Params, PerServer, RankingInput, Report};
use crate::controller::{Bounds, classify_at_latest_use, inherited, plan_inputs};
use crate::model::{EndpointId, Tier, UnixTime, WorkerId};
use crate::plan::{BudgetFit, Plan, PlanInput, PlanSettings, plan};
use crate::poll::Intervals;
use crate::registry::RegistrySnapshot;

/// The replay of the reports of one fleet.
pub(super) struct Replay {
    ranking: Params,
    hot_interval: f64,
    tiers: Intervals,
    memory: UsageMemory,
    registry: RegistrySnapshot,
    /// The last report of each process: count and time of the last use, by the place of the server.
    counted: HashMap<WorkerId, Counts>,
    /// Full rate, tiers, and then the plans.
    policies: Vec<Policy>,
    first: Option<UnixTime>,
    cycles: usize,
    calls: f64,
    last: Option<(PerServer<RankingInput>, UnixTime, [usize; 2])>,
}

type Counts = HashMap<usize, (u64, f64)>;

/// What decides how often servers are refreshed.
enum Rule {
    Uniform,
    Tiers,
    Plan {
        settings: PlanSettings,
        plan: Plan,
        /// The least share of uniform polling that would have sufficed, if the budget did not.
        least: Option<f64>,
    },
}

/// One polling policy.
struct Policy {
    rule: Rule,
    /// Seconds, for each server.
    intervals: Vec<f64>,
    /// The sum over all cycles of the refreshes an hour.
    refreshes: f64,
    ages: Ages,
}

/// Sums over calls.
#[derive(Clone, Copy, Default)]
struct Ages {
    calls: f64,
    age: f64,
    old: f64,
}

/// Where the numbers of calls come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum CallsFrom {
    /// The increases of the counts from one report of a process to the next.
    Increases,
    /// The counts of processes since they started.
    Counts,
    /// One over the time since the last use of each server.
    LastUses,
}

/// The figures of a policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    pub refreshes_per_hour: f64,
    /// The share of the refreshes of uniform polling.
    pub share: f64,
    /// The mean age of a list at a call.
    pub mean_age_seconds: f64,
    /// The share of the calls on a list older than two hot intervals.
    pub old_calls_share: f64,
    /// The increase of refreshes since an earlier run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_percent: Option<f64>,
}

/// The figures of one plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlanFigures {
    pub budget: f64,
    pub longest_interval_seconds: f64,
    #[serde(flatten)]
    pub figures: Figures,
    /// The least budget that suffices, if this one did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least_budget: Option<f64>,
    /// After the last report.
    pub rungs: Vec<RungFigures>,
    /// Seconds by URL after the last report, as published. Only if there is one plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intervals: Option<BTreeMap<String, u64>>,
}

/// The servers on one rung.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RungFigures {
    /// Before it is shortened by up to 10 %.
    pub interval_seconds: f64,
    pub servers: usize,
}

/// The result of the replay.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Outcome {
    /// RFC 3339, as the next one.
    pub first_report: String,
    pub last_report: String,
    pub cycles: usize,
    pub servers: usize,
    pub hot: usize,
    pub ever_used: usize,
    pub hot_interval_seconds: f64,
    pub calls_from: CallsFrom,
    /// Absent if they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<f64>,
    pub uniform: Figures,
    pub tiers: Figures,
    pub plans: Vec<PlanFigures>,
}

impl Replay {
    /// `begin`: the time of the first report. `earliest`: the earliest time in the reports. A process has run since
    /// then, so a server without a known use has been idle since then. If its status states a tier, it has been idle
    /// since it got that tier, as for a leader.
    pub fn new(
        registry: RegistrySnapshot,
        begin: UnixTime,
        earliest: UnixTime,
        ranking: Params,
        tiers: Intervals,
        plans: &[PlanSettings],
    ) -> Self {
        let mut inheritance = inherited(&registry, begin);
        // Nothing is held.
        inheritance.hot = PerServer::default();
        inheritance.observed_since.values_mut().iter_mut().for_each(|since| {
            since.get_or_insert(earliest);
        });
        let plans = plans.iter().map(|&settings| Rule::Plan { settings, plan: Plan::default(), least: None });
        let policies = [Rule::Uniform, Rule::Tiers].into_iter().chain(plans).map(Policy::new).collect();
        let (hot_interval, memory) = (tiers.hot.as_secs_f64(), memory(inheritance));
        let (counted, first, last) = (HashMap::new(), None, None);
        Self { ranking, hot_interval, tiers, memory, registry, counted, policies, first, cycles: 0, calls: 0.0, last }
    }

    /// Adds the merged reports of one cycle, and makes the plans of that cycle. Nothing is planned before the
    /// first use of a server is known.
    pub fn absorb(&mut self, report: Report, now: UnixTime) {
        self.count_calls(&report);
        let first = *self.first.get_or_insert(now);
        let monotonic = START.after(now.since(first));
        let servers = self.registry.servers();
        let answers = vec![EndpointAnswer { endpoint: EndpointId::new("reports"), answer: Answer::Report(report) }];
        self.memory.absorb(Collection { answers, ..Collection::default() }, servers, monotonic, now);
        let mut view = self.memory.view(servers, monotonic, now);
        self.registry.pin(&mut view.fleet, &self.ranking);
        if view.coverage.gap.is_some() {
            return;
        }
        let found = classify_at_latest_use(&view.fleet, now, &self.ranking);
        let inputs =
            plan_inputs(&Bounds::of(&self.registry), &found, &view.fleet, &self.memory.observed_since(servers), now);
        for policy in &mut self.policies {
            policy.intervals = policy.rule.intervals(&inputs, &self.tiers);
            policy.refreshes += policy.intervals.iter().map(|interval| 3600.0 / interval).sum::<f64>();
        }
        self.cycles += 1;
        let counts = [found.metadata.hot_actual, found.metadata.eligible_count];
        self.last = Some((view.fleet, now, counts));
    }

    /// Adds the calls since the report before, at the intervals since then. The first report of a process is where
    /// counting starts.
    fn count_calls(&mut self, report: &Report) {
        for process in &report.processes {
            let mut counts = Counts::new();
            for row in &process.rows {
                let (count, used) = counts.entry(row.server()).or_default();
                *count = count.saturating_add(row.use_count());
                *used = used.max(row.last_used().map_or(0.0, UnixTime::seconds));
            }
            let before = self.counted.insert(process.id.clone(), counts.clone());
            let Some(before) = before.filter(|_| self.cycles > 0) else { continue };
            for (server, (count, used)) in counts {
                let (count_before, used_before) = before.get(&server).copied().unwrap_or_default();
                let added = count.saturating_sub(count_before).max(u64::from(used > used_before));
                self.calls += number(added);
                self.policies.iter_mut().for_each(|policy| policy.call(server, number(added), self.hot_interval));
            }
        }
    }

    /// The figures; `None` if no use of a server is known, so that nothing is planned.
    pub fn outcome(mut self) -> Option<Outcome> {
        let (fleet, now, [hot, ever_used]) = self.last.take()?;
        let mut calls_from = CallsFrom::Increases;
        if self.calls == 0.0 {
            let counted: f64 = fleet.values().iter().map(|input| number(input.usage.use_count)).sum();
            calls_from = if counted > 0.0 { CallsFrom::Counts } else { CallsFrom::LastUses };
            for (server, input) in fleet.values().iter().enumerate() {
                let rate = |used: UnixTime| 1.0 / now.since(used).as_secs_f64().max(self.hot_interval);
                let calls = match calls_from {
                    CallsFrom::LastUses => input.usage.last_used.map_or(0.0, rate),
                    CallsFrom::Counts | CallsFrom::Increases => number(input.usage.use_count),
                };
                self.policies.iter_mut().for_each(|policy| policy.call(server, calls, self.hot_interval));
            }
            self.calls = counted;
        }
        let cycles = number(self.cycles as u64);
        let all = self.policies.first().map_or(0.0, |uniform| uniform.refreshes);
        let figures = |policy: &Policy| {
            let Ages { calls, age, old } = policy.ages;
            Figures {
                refreshes_per_hour: rounded(policy.refreshes / cycles, 100.0),
                share: rounded(policy.refreshes / all, 10_000.0),
                mean_age_seconds: rounded(age / calls, 1.0),
                old_calls_share: rounded(old / calls, 10_000.0),
                change_percent: None,
            }
        };
        let [uniform, tiers] = [0, 1].map(|place| self.policies.get(place).map(figures));
        let plans = self.policies.get(2..).unwrap_or_default();
        let is_only = plans.len() == 1;
        let plans = plans.iter().filter_map(|policy| {
            let Rule::Plan { settings, plan, least } = &policy.rule else { return None };
            Some(PlanFigures {
                budget: settings.budget.share(),
                longest_interval_seconds: settings.longest().as_secs_f64(),
                figures: figures(policy),
                // Rounded up, so that it suffices.
                least_budget: least.map(|least| (least * 100.0).ceil() / 100.0),
                rungs: rungs(plan, settings),
                intervals: is_only.then(|| intervals(plan)),
            })
        });
        Some(Outcome {
            first_report: self.first?.to_string(),
            last_report: now.to_string(),
            cycles: self.cycles,
            servers: fleet.servers().len(),
            hot,
            ever_used,
            hot_interval_seconds: self.hot_interval,
            calls_from,
            calls: (calls_from != CallsFrom::LastUses).then_some(self.calls),
            uniform: uniform?,
            tiers: tiers?,
            plans: plans.collect(),
        })
    }
}

impl Rule {
    /// The intervals of a cycle in seconds, for each server.
    fn intervals(&mut self, inputs: &PerServer<PlanInput>, tiers: &Intervals) -> Vec<f64> {
        let hot = tiers.hot.as_secs_f64();
        match self {
            Self::Uniform => vec![hot; inputs.values().len()],
            Self::Tiers => {
                let tier = |input: &PlanInput| input.tier.unwrap_or(Tier::Hot);
                inputs.values().iter().map(|input| tiers.of(tier(input)).as_secs_f64()).collect()
            }
            Self::Plan { settings, plan: planned, least: most } => {
                *planned = plan(inputs, planned, settings);
                if let BudgetFit::TooSmall { least } = planned.fit {
                    *most = Some(most.map_or(least, |before| before.max(least)));
                }
                let intervals = planned.servers().values().iter();
                intervals.map(|planned| planned.map_or(hot, |planned| planned.interval().as_secs_f64())).collect()
            }
        }
    }
}

impl Policy {
    fn new(rule: Rule) -> Self {
        Self { rule, intervals: Vec::new(), refreshes: 0.0, ages: Ages::default() }
    }

    /// Adds calls of a server.
    fn call(&mut self, server: usize, calls: f64, hot_interval: f64) {
        let Some(interval) = self.intervals.get(server) else { return };
        self.ages.calls += calls;
        self.ages.age += calls * interval / 2.0;
        self.ages.old += calls * (1.0 - 2.0 * hot_interval / interval).max(0.0);
    }
}

/// The servers by their rungs, the shortest interval first.
fn rungs(plan: &Plan, settings: &PlanSettings) -> Vec<RungFigures> {
    let rungs = plan.servers_by_rung().into_iter();
    let figures =
        |(rung, servers)| RungFigures { interval_seconds: settings.interval_of_rung(rung).as_secs_f64(), servers };
    rungs.map(figures).collect()
}

/// The intervals as they are published, in seconds.
fn intervals(plan: &Plan) -> BTreeMap<String, u64> {
    let published = plan.published();
    let planned = published.iter().filter_map(|(server, planned)| Some((server, (*planned)?.interval())));
    planned.map(|(server, interval)| (server.expose().to_owned(), interval.as_secs())).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
const fn number(count: u64) -> f64 {
    count as f64
}

/// Rounded to one part of a unit.
fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::plan::Budget;
    use crate::registry::GatewayRecord;
    use crate::workers::report::{self, Timing};

    const BEGIN: f64 = 1_763_800_000.0;

    fn registry(names: &[&str]) -> RegistrySnapshot {
        let objects: BTreeMap<_, _> = names
            .iter()
            .map(|name| {
                let metadata = serde_json::from_value(json!({"namespace": "n", "name": name})).unwrap();
                let object = json!({"spec": {"url": format!("http://{name}/")}});
                let record = GatewayRecord::from_object(&metadata, &object).unwrap();
                (record.name.clone(), Arc::new(record))
            })
            .collect();
        RegistrySnapshot::build(&objects, 1)
    }

    /// Server, seconds after the beginning of its last use, and its count.
    type Rows<'a> = &'a [(&'a str, f64, u64)];

    /// The outcome for five servers and one process, whose reports come at these seconds after the beginning.
    fn outcome(cycles: &[(f64, Rows<'_>)]) -> Outcome {
        let registry = registry(&["a", "b", "c", "d", "e"]);
        let plan = PlanSettings::new(Duration::from_mins(5), Duration::from_hours(4), Budget::new(0.4).unwrap());
        let ranking = Params::default();
        let begin = UnixTime::from_seconds(BEGIN).unwrap();
        let mut replay = Replay::new(registry.clone(), begin, begin, ranking, Intervals::default(), &[plan]);
        for (seconds, rows) in cycles {
            let now = BEGIN + seconds;
            let rows: Vec<_> = rows
                .iter()
                .map(|(name, used, count)| {
                    json!({"url": format!("http://{name}/"), "lastUsed": BEGIN + used, "useCount": count})
                })
                .collect();
            let body = json!({"apiVersion": report::API_VERSION, "kind": report::KIND, "generatedAt": now,
                "workers": [{"id": "p", "observedAt": now, "servers": rows}]});
            let parsed = report::parse(body.to_string().as_bytes(), &Timing::saved(), &registry).unwrap();
            replay.absorb(parsed.report, parsed.generated_at);
        }
        replay.outcome().unwrap()
    }

    #[test]
    fn calls_are_what_was_added_and_meet_the_intervals_since_the_report_before() {
        let found = outcome(&[
            (0.0, &[("a", 0.0, 90), ("b", -600.0, 7)]),
            // Three calls of a hot server, and one of a cold one, which is hot only after it.
            (60.0, &[("a", 50.0, 93), ("b", 55.0, 8)]),
        ]);
        assert_eq!((found.calls_from, found.calls, found.cycles), (CallsFrom::Increases, Some(4.0), 2));
        let minutes = (3.0 * 2.5 + 7.5) / 4.0;
        assert!((found.tiers.mean_age_seconds - minutes * 60.0).abs() <= 0.5, "{found:?}");
        // A third of the calls at three intervals are later than two.
        assert!((found.tiers.old_calls_share - 0.25 / 3.0).abs() < 1e-4, "{found:?}");
        assert!((found.uniform.mean_age_seconds - 150.0).abs() < 1e-9 && found.uniform.old_calls_share < 1e-9);
    }

    #[test]
    fn a_use_without_a_count_is_one_call_and_a_first_report_is_none() {
        let found = outcome(&[(0.0, &[("a", 0.0, 0)]), (60.0, &[("a", 50.0, 0), ("b", 40.0, 0)])]);
        assert_eq!((found.calls_from, found.calls), (CallsFrom::Increases, Some(2.0)));
    }

    #[test]
    fn one_report_is_estimated_from_counts_and_without_them_from_last_uses() {
        let found = outcome(&[(0.0, &[("a", -5.0, 30), ("b", -9.0, 10)])]);
        assert_eq!((found.calls_from, found.calls), (CallsFrom::Counts, Some(40.0)));
        assert!((found.tiers.mean_age_seconds - 225.0).abs() < 1e-9, "{found:?}");
        // A use 15 minutes ago stands for a third of the calls that one within five minutes stands for.
        let found = outcome(&[(0.0, &[("a", -5.0, 0), ("b", -900.0, 0)])]);
        assert_eq!((found.calls_from, found.calls), (CallsFrom::LastUses, None));
        assert!((found.tiers.mean_age_seconds - 225.0).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn a_server_that_was_never_used_is_idle_since_the_first_moment_that_is_known() {
        const DAY: f64 = 86_400.0;
        let found = outcome(&[(DAY, &[("a", DAY, 1), ("b", DAY - 1800.0, 1), ("c", -30.0 * DAY, 1)])]);
        let intervals = found.plans[0].intervals.as_ref().unwrap();
        let [recent, never, long_ago] = ["b", "d", "c"].map(|name| intervals[&format!("http://{name}/")]);
        assert!(recent * 2 < never && never * 2 < long_ago, "{intervals:?}");
        assert_eq!(intervals["http://a/"], 300);
    }

    #[test]
    fn nothing_is_planned_before_the_first_use() {
        let found = outcome(&[(0.0, &[]), (60.0, &[("a", 59.0, 1)]), (120.0, &[("a", 110.0, 2)])]);
        assert_eq!((found.cycles, found.calls, found.ever_used), (2, Some(1.0), 1));
    }
}
