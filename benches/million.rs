//! What the pure parts of a cycle cost for 10,000, 100,000 and 1,000,000 servers, in time and memory, and what one edit
//! costs (`docs/scale.md`): `cargo bench --bench million`. It takes about a minute and 2 GB.
//!
//! Each server has one object, with a URL of 60 bytes, an id of 32 hex digits and the status that the operator itself
//! would have written. Three workers report a third of the servers each. Nine of ten servers have been used, at times
//! and with counts from a fixed seed. One thread, without IO; times are those of its processor, so that what else runs
//! counts little.
//!
//! *Budget*: how much more one of a million servers may cost than one of ten thousand, in one run. A server of a large
//! fleet costs more even where the work is the same: its data are not in the caches of the processor, and the allocator
//! returns large pieces of memory to the system, which has to clear their pages when they are needed again.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark panics on errors, prints its figures and reads the clock"
)]

#[path = "../examples/worker/random.rs"]
#[expect(dead_code, reason = "shared with the example worker, which uses more of it")]
mod random;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arcstr::ArcStr;
use cap::Cap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use mcpgateway_operator::classify::memory::{Inheritance, MemorySettings, UsageMemory};
use mcpgateway_operator::classify::{
    Answer, Classification, Collection, EndpointAnswer, Params, PerServer, ProcessReport, RankingInput, Report, Row,
    classify,
};
use mcpgateway_operator::model::{EndpointId, Monotonic, ObjectName, PlannedInterval, Term, Tier, UnixTime, WorkerId};
use mcpgateway_operator::plan::{Plan, PlanInput, PlanSettings, idle, plan};
use mcpgateway_operator::publish::Publication;
use mcpgateway_operator::registry::{GatewayRecord, RegistrySnapshot};
use mcpgateway_operator::status::{self, PlanContext, Registrations, Settled, StatusPlan, Tiers};
use random::Random;
use serde_json::{Value, json};
use tikv_jemallocator::Jemalloc;

/// That of the program, and it counts the bytes that are in use.
#[global_allocator]
static ALLOCATOR: Cap<Jemalloc> = Cap::new(Jemalloc, usize::MAX);

const SIZES: [usize; 3] = [10_000, 100_000, 1_000_000];
const WORKERS: usize = 3;
const NOW: f64 = 1_763_800_100.5;
const DAY: f64 = 86_400.0;

/// The bytes for each server by which the requests and limits of the chart were chosen: 0.5 KiB.
const MOST_BYTES: f64 = 0.5 * 1024.0;

type Records = BTreeMap<ObjectName, Arc<GatewayRecord>>;
type Intervals = Arc<PerServer<Option<PlannedInterval>>>;

/// A fleet at rest: classified, planned, published, and with all statuses written.
struct Fleet {
    registry: RegistrySnapshot,
    memory: UsageMemory,
    inputs: Arc<PerServer<RankingInput>>,
    classification: Classification,
    plan: Plan,
    intervals: Intervals,
}

/// What one size has cost.
#[derive(Default)]
struct Costs {
    /// By step, in seconds.
    times: Vec<(&'static str, f64)>,
    /// By part, in bytes.
    bytes: Vec<(&'static str, usize)>,
}

fn main() -> ExitCode {
    println!("URLs of 60 bytes, ids of 32, {WORKERS} workers that report a third of the servers each, one core\n");
    let costs = SIZES.map(measure);
    let times = |costs: &Costs| with_sum("one cycle, 1 % moved", &costs.times, &CYCLE);
    let bytes = |costs: &Costs| {
        let bytes: Vec<_> = costs.bytes.iter().map(|(name, bytes)| (*name, *bytes as f64)).collect();
        let all: Vec<_> = bytes.iter().map(|(name, _)| *name).collect();
        with_sum("all of it", &bytes, &all)
    };
    let shown = |time: f64, servers: usize| format!("{:>10.3} ms {:>5.0} ns", time * 1e3, time * 1e9 / servers as f64);
    let within = table("time, and for each server", &costs.each_ref().map(times), shown, time_budget);
    let shown = |bytes: f64, servers: usize| format!("{:>10.1} MB {:>5.0} B ", bytes / 1e6, bytes / servers as f64);
    let within = table("bytes in use", &costs.each_ref().map(bytes), shown, |_| 1.1) && within;
    let all = costs.each_ref().map(bytes).map(|parts| parts.last().map_or(0.0, |(_, bytes)| *bytes));
    let most = all.iter().zip(SIZES).map(|(bytes, servers)| bytes / servers as f64).fold(0.0, f64::max);
    let within = most <= MOST_BYTES && within;
    println!("bytes for each server: {most:.0}, at most {MOST_BYTES} as the chart says\n");
    edits();
    println!("\nat most {} MiB of this program were resident", resident_at_most() / 1024);
    if within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The steps of a cycle.
const CYCLE: [&str; 9] = [
    "absorb three reports",
    "view",
    "classify",
    "compare and note the tiers",
    "refresh plan",
    "planned intervals",
    "publication",
    "difference: 1 % moved",
    "status plan: 1 % due",
];

/// The figures, and the sum of those with these names.
fn with_sum(name: &'static str, figures: &[(&'static str, f64)], parts: &[&str]) -> Vec<(&'static str, f64)> {
    let sum = figures.iter().filter(|(name, _)| parts.contains(name)).map(|(_, figure)| figure).sum();
    figures.iter().copied().chain([(name, sum)]).collect()
}

/// How much more one of a million servers may cost than one of ten thousand.
fn time_budget(step: &str) -> f64 {
    match step {
        // It copies one piece of the registry, and the list of the pieces.
        "edit: settings of an object" => 0.5,
        // URLs and ids are looked up in random order, each in memory of its own. The others compute next to nothing:
        // most of the time goes into pages of memory.
        "registry from records"
        | "edit: another URL for an object"
        | "view"
        | "compare and note the tiers"
        | "planned intervals"
        | "publication"
        | "difference: 1 % moved" => 15.0,
        "classify" => 6.0,
        "one cycle, 1 % moved" => 5.0,
        _ => 4.0,
    }
}

/// Prints a line for each step or part. Returns whether all are within their budgets.
fn table(
    title: &str,
    columns: &[Vec<(&'static str, f64)>; 3],
    shown: impl Fn(f64, usize) -> String,
    budget: impl Fn(&str) -> f64,
) -> bool {
    println!("{title:<34}{}    ratio  budget", SIZES.map(|servers| format!("{servers:>22}")).concat());
    let mut within = true;
    for (line, (name, _)) in columns[0].iter().enumerate() {
        let values = [0, 1, 2].map(|size| columns[size][line].1);
        let cells: String = values.iter().zip(SIZES).map(|(value, servers)| shown(*value, servers)).collect();
        let ratio = values[2] / values[0] * SIZES[0] as f64 / SIZES[2] as f64;
        let most = budget(name);
        within &= ratio <= most;
        let verdict = if ratio <= most { "at most" } else { "ABOVE" };
        println!("{name:<34}{cells} {ratio:>7.2}  {verdict} {most}");
    }
    println!();
    within
}

/// Measures one size.
fn measure(servers: usize) -> Costs {
    let mut costs = Costs::default();
    let rounds = (2_000_000 / servers).clamp(5, 101);
    let before = ALLOCATOR.allocated();
    let registry = RegistrySnapshot::build(&records_with_statuses(servers), 1);
    costs.bytes.push(("registry, with its records", ALLOCATOR.allocated() - before));

    let records: Records =
        registry.gateways().iter().map(|gateway| (gateway.record.name.clone(), Arc::clone(&gateway.record))).collect();
    costs.time("registry from records", rounds, || RegistrySnapshot::build(&records, 1));
    drop(records);
    let mut edited = registry.clone();
    let mut edits =
        [("edit: settings of an object", Edit::Settings, rounds), ("edit: another URL for an object", Edit::Url, 5)];
    for (name, edit, rounds) in &mut edits {
        let mut version = 0;
        costs.time(name, *rounds, || {
            version += 1;
            edit.make(&mut edited, servers, version)
        });
    }
    drop(edited);

    let before = ALLOCATOR.allocated();
    let mut memory = observed(&registry);
    memory.absorb(collection(&registry, 0), registry.servers(), at(DAY), time(NOW));
    costs.bytes.push(("usage memory, with the reports", ALLOCATOR.allocated() - before));
    let mut collections: Vec<Collection> = (0..=rounds).map(|_| collection(&registry, 0)).collect();
    costs.time("absorb three reports", rounds, || {
        let collection = collections.pop().unwrap_or_default();
        memory.absorb(collection, registry.servers(), at(DAY), time(NOW));
    });
    drop(collections);
    let mut fleet = Fleet::settle(registry, memory, &mut costs);
    fleet.measure_steps(rounds, &mut costs);

    let publication = costs.count("publication", || fleet.publication());
    costs.time("publication", rounds, || fleet.publication());
    // One per cent of the servers move between the tiers.
    let plan = fleet.status_plan();
    assert!(plan.due().is_empty(), "{} statuses are due at rest", plan.due().len());
    costs.time("status plan: nothing due", rounds, || fleet.status_plan());
    fleet.memory.absorb(collection(&fleet.registry, 1), fleet.registry.servers(), at(DAY), time(NOW));
    fleet.turn();
    let next = fleet.publication();
    let difference = || next.since(&publication, servers);
    assert!(difference().is_some() && next.since(&publication, servers / 125).is_none());
    costs.time("difference: 1 % moved", rounds, difference);
    let due = fleet.status_plan().due().len();
    assert!((servers / 125..servers / 50).contains(&due), "{due} statuses are due");
    costs.time("status plan: 1 % due", rounds, || fleet.status_plan());
    costs
}

impl Costs {
    /// Adds the median of so many rounds, after one that is not counted.
    fn time<T>(&mut self, name: &'static str, rounds: usize, mut once: impl FnMut() -> T) {
        drop(black_box(once()));
        self.times.push((name, median(rounds, once)));
    }

    /// Adds the bytes that are in use by the result.
    fn count<T>(&mut self, name: &'static str, make: impl FnOnce() -> T) -> T {
        let before = ALLOCATOR.allocated();
        let made = make();
        self.bytes.push((name, ALLOCATOR.allocated() - before));
        made
    }
}

impl Fleet {
    /// The fleet after its first turn.
    fn settle(registry: RegistrySnapshot, memory: UsageMemory, costs: &mut Costs) -> Self {
        let inputs = costs.count("view", || view(&registry, &memory));
        let classification = costs.count("classification", || classified(&inputs));
        let first = Plan::default();
        let plan = costs.count("refresh plan", || refresh_plan(&registry, &memory, &inputs, &classification, &first));
        let intervals = costs.count("planned intervals", || intervals(&registry, &plan));
        let mut memory = memory;
        memory.note(&classification);
        Self { registry, memory, inputs, classification, plan, intervals }
    }

    /// The next turn.
    fn turn(&mut self) {
        self.inputs = view(&self.registry, &self.memory);
        self.classification = classified(&self.inputs);
        self.memory.note(&self.classification);
        self.plan = self.next_plan();
        self.intervals = intervals(&self.registry, &self.plan);
    }

    fn next_plan(&self) -> Plan {
        refresh_plan(&self.registry, &self.memory, &self.inputs, &self.classification, &self.plan)
    }

    fn publication(&self) -> Publication {
        Publication::new(&self.classification, &self.intervals).unwrap()
    }

    fn status_plan(&self) -> StatusPlan {
        self.status_plan_since(None)
    }

    fn status_plan_since(&self, settled: Option<&Settled>) -> StatusPlan {
        status_plan(&self.registry, &self.inputs, &self.classification, &self.intervals, settled)
    }

    /// The steps from the view to the intervals.
    fn measure_steps(&mut self, rounds: usize, costs: &mut Costs) {
        costs.time("view", rounds, || view(&self.registry, &self.memory));
        costs.time("classify", rounds, || classified(&self.inputs));
        let before = self.classification.clone();
        costs.time("compare and note the tiers", rounds, || {
            self.memory.note(&self.classification);
            self.classification.has_the_sets_of(&before)
        });
        costs.time("refresh plan", rounds, || self.next_plan());
        costs.time("planned intervals", rounds, || intervals(&self.registry, &self.plan));
    }
}

// --- One edit -------------------------------------------------------------------------------------------------------

/// Prints what the steps of a turn cost after the edit of one object, in a small fleet and a large one.
fn edits() {
    let [small, large] = [1_000, 100_000].map(|servers| {
        let registry = RegistrySnapshot::build(&records_with_statuses(servers), 1);
        let mut memory = observed(&registry);
        memory.absorb(collection(&registry, 0), registry.servers(), at(DAY), time(NOW));
        let mut unused = Costs::default();
        let mut fleet = Fleet::settle(registry, memory, &mut unused);
        let rounds = (2_000_000 / servers).clamp(21, 501);
        let mut costs = Costs::default();
        let plan = fleet.status_plan();
        assert!(plan.due().is_empty(), "{} statuses are due at rest", plan.due().len());
        let settled = plan.settled(&Arc::new(fleet.registry.clone()));
        let (mut version, mut registry) = (0, fleet.registry.clone());
        costs.time("registry: apply and clone", rounds, || {
            version += 1;
            fleet.registry = Edit::Settings.make(&mut registry, servers, version);
        });
        // The ranking stays, and the reference of the plan. The bound is another one, so its server is planned again.
        costs.time("view", rounds, || view(&fleet.registry, &fleet.memory));
        let idle = PlanInput { tier: Some(Tier::Cold), idle: Duration::from_hours(48), ..PlanInput::default() };
        costs.time("refresh plan", rounds, || {
            for (record, place) in fleet.registry.asking() {
                let input = PlanInput { bound: record.max_interval(), ..idle };
                fleet.plan.adjust(place, &input, &PlanSettings::default());
            }
        });
        costs.time("planned intervals", rounds, || intervals(&fleet.registry, &fleet.plan));
        fleet.intervals = intervals(&fleet.registry, &fleet.plan);
        let due = [fleet.status_plan(), fleet.status_plan_since(Some(&settled))].map(|plan| plan.due().len());
        assert_eq!(due[0], due[1]);
        costs.time("status plan", rounds, || fleet.status_plan_since(Some(&settled)));
        costs
    });
    println!("{:<34}{:>14}{:>15}{:>9}  share", "one edit, among so many servers", 1_000, 100_000, "ratio");
    let [sum_of_small, sum_of_large] =
        [&small, &large].map(|costs| costs.times.iter().map(|(_, time)| time).sum::<f64>());
    let line = |name: &str, small: f64, large: f64| {
        let (ratio, share) = (large / small, 100.0 * large / sum_of_large);
        println!("{name:<34}{:>11.3} ms{:>12.3} ms{ratio:>9.1}  {share:>3.0} %", small * 1e3, large * 1e3);
    };
    for ((name, small), (_, large)) in small.times.iter().zip(&large.times) {
        line(name, *small, *large);
    }
    line("all steps", sum_of_small, sum_of_large);
}

/// What is edited in one object.
#[derive(Clone, Copy)]
enum Edit {
    /// `spec.polling.maxInterval`.
    Settings,
    /// `spec.url`.
    Url,
}

impl Edit {
    /// Edits the object in the middle, and makes a snapshot. The object loses its status, and so it is due to be
    /// written, as after every edit.
    fn make(self, registry: &mut RegistrySnapshot, servers: usize, version: usize) -> RegistrySnapshot {
        let number = servers / 2;
        let name = object_name(number);
        let old = Arc::clone(&registry.gateways().get("default", &name).unwrap().record);
        let spec = match self {
            Self::Settings => {
                let longest = format!("{}h", 20 + version % 2);
                json!({"url": url(number), "gatewayId": id(number), "polling": {"maxInterval": longest}})
            }
            // As long as the others.
            Self::Url => json!({"url": url(number).replace("server", ["served", "server"][version % 2])}),
        };
        let mut record = record(number, 2 + version, &spec, &json!({}));
        record.share(&old);
        let change = registry.apply(Arc::new(record));
        registry.complete(change);
        registry.clone()
    }
}

// --- The steps, as the loop of the leader takes them ----------------------------------------------------------------

fn view(registry: &RegistrySnapshot, memory: &UsageMemory) -> Arc<PerServer<RankingInput>> {
    let mut view = memory.view(registry.servers(), at(DAY), time(NOW));
    registry.pin(&mut view.fleet, &params());
    Arc::new(view.fleet)
}

/// Ages count from the latest use.
fn classified(inputs: &PerServer<RankingInput>) -> Classification {
    let latest = inputs.values().iter().filter_map(|input| input.usage.last_used).max();
    classify(inputs, latest.unwrap_or_else(|| time(NOW)), &params())
}

fn refresh_plan(
    registry: &RegistrySnapshot,
    memory: &UsageMemory,
    known: &Arc<PerServer<RankingInput>>,
    classification: &Classification,
    previous: &Plan,
) -> Plan {
    let now = time(NOW);
    let since = memory.observed_since(registry.servers());
    let known = classification.placements().values().iter().zip(known.values()).zip(since.values());
    let mut inputs: PerServer<PlanInput> = PerServer::of(registry.servers());
    for (planned, ((placement, input), since)) in inputs.values_mut().iter_mut().zip(known) {
        planned.tier = placement.map(|placement| placement.tier);
        planned.late = input.late;
        planned.idle = idle(input.usage.last_used, since.unwrap_or(now), now);
    }
    for (record, place) in registry.asking() {
        let input = inputs.get_mut(place).unwrap();
        input.bound = input.bound.into_iter().chain(record.max_interval()).min();
    }
    plan(&inputs, previous, &PlanSettings::default())
}

/// Nothing asks for a refresh here, but that is looked for.
fn intervals(registry: &RegistrySnapshot, plan: &Plan) -> Intervals {
    let intervals = plan.published();
    black_box(registry.asking().count());
    Arc::new(intervals)
}

fn status_plan(
    registry: &RegistrySnapshot,
    known: &Arc<PerServer<RankingInput>>,
    classification: &Classification,
    intervals: &Intervals,
    settled: Option<&Settled>,
) -> StatusPlan {
    let tiers = Tiers::Classified {
        placements: Arc::clone(classification.placements()),
        inputs: Arc::clone(known),
        intervals: Arc::clone(intervals),
        answers: Some(Arc::default()),
    };
    let context = PlanContext {
        term: Term::FIRST,
        now: time(NOW),
        usage_interval: Duration::from_mins(10),
        registrations: Registrations::NotConfigured,
        answered_revision: registry.revision(),
    };
    status::plan(registry, tiers, context, settled)
}

/// As in a fleet with default settings.
fn params() -> Params {
    Params { recency_resolution: Duration::from_mins(1), ..Params::default() }
}

// --- The fleet ------------------------------------------------------------------------------------------------------

/// The objects with the statuses that the operator would have written.
fn records_with_statuses(servers: usize) -> Records {
    let spec = |number| json!({"url": url(number), "gatewayId": id(number)});
    let without = (0..servers).map(|number| record(number, 1, &spec(number), &Value::Null));
    let registry = RegistrySnapshot::build(&without.map(|record| (record.name.clone(), Arc::new(record))).collect(), 1);
    let mut memory = observed(&registry);
    memory.absorb(collection(&registry, 0), registry.servers(), at(DAY), time(NOW));
    let fleet = Fleet::settle(registry, memory, &mut Costs::default());
    let plan = fleet.status_plan();
    assert_eq!(plan.due().len(), servers);
    // All objects share the text of their namespace, as in the registry of the operator.
    let namespace: ArcStr = "default".into();
    let written = plan.changes().map(|change| {
        let number = change.name.name["server-".len()..].parse().unwrap();
        let status = serde_json::to_value(&change.status).unwrap();
        let mut record = record(number, 1, &spec(number), &status);
        record.name.namespace = namespace.clone();
        (record.name.clone(), Arc::new(record))
    });
    written.collect()
}

fn record(number: usize, version: usize, spec: &Value, status: &Value) -> GatewayRecord {
    let metadata = ObjectMeta {
        namespace: Some("default".to_owned()),
        name: Some(object_name(number)),
        uid: Some(format!("5b0e2c0e-3f63-4b0e-9d6a-{number:012}")),
        resource_version: Some(format!("{}", 10_000_000 + number)),
        generation: Some(i64::try_from(version).unwrap()),
        creation_timestamp: Some(Time(time(NOW - 2.0 * DAY).timestamp())),
        ..ObjectMeta::default()
    };
    GatewayRecord::from_parts(&metadata, spec, status).unwrap()
}

fn object_name(number: usize) -> String {
    format!("server-{number:06}")
}

fn url(number: usize) -> String {
    format!("https://server-{number:06}.tools.example.com/team/search/mcp/v1")
}

fn id(number: usize) -> String {
    format!("{:032x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// A memory that has observed all servers for a day, without a use.
fn observed(registry: &RegistrySnapshot) -> UsageMemory {
    let settings = MemorySettings { interval: Duration::from_mins(1), quorum: 0.5, window: Duration::ZERO };
    let mut memory = UsageMemory::inherit(settings, Inheritance::default(), at(0.0));
    memory.absorb(reports(registry, NOW - DAY, |_| None), registry.servers(), at(0.0), time(NOW - DAY));
    memory
}

/// The reports of all workers. In another `round` than 0, one in 160 cold servers has been used just now, which makes
/// as many hot ones cold.
fn collection(registry: &RegistrySnapshot, round: u64) -> Collection {
    let mut random = Random::new(7, &[]);
    let mut cold = 0;
    let rows: Vec<Option<Row>> = (0_u32..)
        .zip(registry.servers().iter())
        .map(|(place, _)| {
            let (used, ago) = (random.below(10) > 0, DAY * random.fraction());
            let counts = [3, 3, 1_000].map(|end| random.below(end) as u64);
            // The least recently used four fifths of all servers.
            cold += usize::from(ago > 0.3 * DAY);
            let moves = round > 0 && ago > 0.3 * DAY && cold % MOVING == 0;
            let ago = if moves { 1.0 } else { ago + 120.0 };
            (used || moves).then(|| Row::new(place, Some(time(NOW - ago)), counts[0], counts[1], counts[2]))
        })
        .collect();
    reports(registry, NOW, |place| rows[place])
}

/// Of the servers that were not used for 0.3 days, 0.7 of all, so many make 0.5 % of all.
const MOVING: usize = 140;

/// One report of each worker. Each names every third server.
fn reports(registry: &RegistrySnapshot, observed_at: f64, row: impl Fn(usize) -> Option<Row>) -> Collection {
    let servers = registry.servers();
    let answer = |worker: usize| {
        let process = ProcessReport {
            id: WorkerId::parse(&format!("5b0e2c0e-3f63-4b0e-9d6a-{worker:012}")).unwrap(),
            observed_at: time(observed_at),
            servers: Arc::clone(servers),
            rows: (worker..servers.len()).step_by(WORKERS).filter_map(&row).collect(),
        };
        let report = Report { complete: true, offset: 0.0, processes: vec![process] };
        let endpoint = EndpointId::new(&format!("http://worker-{worker}:4444/usage"));
        EndpointAnswer { endpoint, answer: Answer::Report(report) }
    };
    Collection { answers: (0..WORKERS).map(answer).collect(), ..Collection::default() }
}

fn time(seconds: f64) -> UnixTime {
    UnixTime::from_seconds(seconds).unwrap()
}

fn at(seconds: f64) -> Monotonic {
    Monotonic::at(Duration::from_secs_f64(seconds))
}

// --- Measuring ------------------------------------------------------------------------------------------------------

/// The median time of a round, in seconds, with the time to free its result.
fn median<T>(rounds: usize, mut once: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let begun = processor_seconds();
            drop(black_box(once()));
            processor_seconds() - begun
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[rounds / 2]
}

/// That this thread has used.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// In kB.
fn resident_at_most() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
