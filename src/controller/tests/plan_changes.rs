//! How often a refresh plan changes what is published and written, in simulations of a fleet with its loop:
//! `docs/refresh-plan.md`.

use strum::VariantArray;

use super::*;
use crate::api::conditions::ConditionType;
use crate::model::{ObjectName, PlannedInterval, ServerUrl};
use crate::plan::Rung;
use crate::status::StatusChange;

/// log2 of the longest interval of [`PlanSettings::default`] as a multiple of the hot one, rounded up.
const DOUBLINGS: usize = 6;

/// A leader, and the objects to which its statuses are written.
struct Simulation {
    leader: Leader,
    objects: BTreeMap<ObjectName, Arc<GatewayRecord>>,
    /// What each server's field of the plan in Redis is.
    published: BTreeMap<ServerUrl, PlannedInterval>,
}

/// What a cycle has changed.
#[derive(Debug, Default, PartialEq)]
struct Changed {
    /// The names of the objects whose status was written.
    statuses: Vec<String>,
    /// Fields of the plan in Redis.
    fields: usize,
}

impl Simulation {
    /// A fleet that has had its first cycle with these uses: server, and when, in seconds after the beginning.
    fn begin(servers: usize, uses: &[(usize, f64)]) -> Self {
        let names: Vec<String> = (0..servers).map(name_of).collect();
        let mut leader = Leader::new(fleet(false, 1), &names.iter().map(String::as_str).collect::<Vec<_>>());
        leader.state.settings.refresh_plan = Some(PlanSettings::default());
        leader.state.settings.status_usage_interval = Duration::ZERO;
        leader.step(Event::Timer);
        let objects = leader.registry.gateways().iter().map(|gateway| Arc::clone(&gateway.record));
        let objects = objects.map(|record| (record.name.clone(), record)).collect();
        let mut simulation = Self { leader, objects, published: BTreeMap::new() };
        let first = simulation.collected(uses);
        assert_eq!(first.statuses.len(), servers);
        simulation
    }

    /// A cycle one interval later, in which these servers were used.
    fn cycle(&mut self, uses: &[(usize, f64)]) -> Changed {
        assert_eq!(self.leader.wait(), ["Collect"]);
        self.collected(uses)
    }

    fn collected(&mut self, uses: &[(usize, f64)]) -> Changed {
        let names: Vec<String> = uses.iter().map(|(server, _)| name_of(*server)).collect();
        let rows: Vec<_> = names.iter().zip(uses).map(|(name, (_, at))| (name.as_str(), *at, 1)).collect();
        let mut changed = Changed::default();
        for effect in self.leader.collected_effects(&rows) {
            if let Effect::Publish(publication, None) = effect {
                let next: BTreeMap<_, _> =
                    publication.plan().map(|(server, planned)| (server.clone(), planned)).collect();
                let others = next.iter().filter(|&(server, planned)| self.published.get(server) != Some(planned));
                let gone = self.published.keys().filter(|&server| !next.contains_key(server)).count();
                changed.fields = others.count() + gone;
                self.published = next;
            }
        }
        let effects = self.leader.effects(Event::Published(Term::FIRST, Ok(Published::default())));
        let written = effects.into_iter().find_map(|effect| match effect {
            Effect::WriteStatuses(plan) => Some(plan),
            _ => None,
        });
        for StatusChange { name, status, .. } in written.expect("each cycle writes what there is").changes() {
            let text = name.to_string();
            let text = text.rsplit('/').next().unwrap().to_owned();
            self.objects.insert(name, record(&text, &serde_json::to_value(status).unwrap()));
            changed.statuses.push(text);
        }
        self.leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        if !changed.statuses.is_empty() {
            self.leader.registry = Arc::new(RegistrySnapshot::build(&self.objects, 1));
            self.leader.step(Event::RegistryChanged(Arc::clone(&self.leader.registry)));
        }
        changed
    }

    fn rungs(&self) -> Vec<Rung> {
        let plan = self.leader.state.plan.as_ref().expect("a plan");
        plan.servers().values().iter().map(|planned| planned.expect("classified").rung).collect()
    }
}

fn name_of(server: usize) -> String {
    format!("s{server:04}")
}

#[test]
fn a_fleet_that_is_used_as_before_changes_no_status_and_no_interval() {
    const SERVERS: usize = 3_000;
    // A tenth is used in every cycle and another tenth once in a while, the others never.
    let uses = |cycle: usize, now: f64| {
        let seldom = (SERVERS / 10..SERVERS / 5).filter(|server| server % 30 == cycle % 30);
        (0..SERVERS / 10).chain(seldom).map(|server| (server, now - 1.0)).collect::<Vec<_>>()
    };
    let all: Vec<_> = (0..SERVERS / 5).map(|server| (server, -1.0)).collect();
    let mut simulation = Simulation::begin(SERVERS, &all);
    for cycle in 1..=240 {
        let changed = simulation.cycle(&uses(cycle, simulation.leader.now + 60.0));
        assert_eq!(changed, Changed::default(), "cycle {cycle}");
    }
    assert_eq!(simulation.published.len(), SERVERS * 4 / 5);
}

/// Idle times grow at most 1.5-fold: at most 2.24 + 2 × log(1.5) / log(1.2⁴) changes of a rung.
#[test]
fn in_a_fleet_that_has_been_idle_for_days_a_server_is_written_three_times_at_most() {
    const SERVERS: usize = 1_000;
    let day = 86_400.0;
    let mut random = fastrand::Rng::with_seed(1);
    let mut uses: Vec<_> = (SERVERS / 5..SERVERS).map(|server| (server, -day * (0.5 + 60.0 * random.f64()))).collect();
    uses.extend((0..SERVERS / 5).map(|server| (server, -1.0)));
    let mut simulation = Simulation::begin(SERVERS, &uses);
    let mut writes: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..6 * 60 {
        let now = simulation.leader.now + 59.0;
        let changed = simulation.cycle(&(0..SERVERS / 5).map(|server| (server, now)).collect::<Vec<_>>());
        assert_eq!(changed.fields, changed.statuses.len());
        changed.statuses.into_iter().for_each(|server| *writes.entry(server).or_default() += 1);
    }
    let (servers, all) = (writes.len(), writes.values().sum::<usize>());
    println!("in 6 hours, {all} statuses of {servers} of {SERVERS} servers");
    assert!(writes.values().all(|writes| *writes <= 3), "{writes:?}");
    assert!(servers > 0, "nothing was tested");
}

#[test]
fn a_use_changes_a_rung_no_more_often_than_promised_while_the_reference_stays() {
    const SERVERS: usize = 100;
    let mut random = fastrand::Rng::with_seed(2);
    let mut simulation = Simulation::begin(SERVERS, &[(0, -1.0)]);
    let (mut rungs, mut reference) = (simulation.rungs(), None);
    // Since the reference moved: the uses of each server, and the changes of its rung.
    let mut spans = vec![(0_usize, 0_usize); SERVERS];
    let (mut moved, mut changes, mut longest) = (0, 0, 0);
    for _ in 0..24 * 60 {
        // Popular servers are used every few minutes, the others hardly ever.
        let now = simulation.leader.now + 60.0;
        let used = (0..SERVERS).filter(|server| random.usize(..5 * (server + 1)) == 0);
        let uses: Vec<_> = used.map(|server| (server, now - 30.0)).collect();
        let before = simulation.objects.clone();
        let changed = simulation.cycle(&uses);
        for name in &changed.statuses {
            let of = |objects: &BTreeMap<ObjectName, Arc<GatewayRecord>>| {
                let status = &objects[&ObjectName::new("default", name)].status;
                let conditions: Vec<_> = ConditionType::VARIANTS.iter().map(|kind| status.condition(*kind)).collect();
                (status.tier, status.interval(), conditions)
            };
            assert_ne!(of(&before), of(&simulation.objects), "a write says something new");
        }
        let now = simulation.leader.state.plan.as_ref().and_then(crate::plan::Plan::reference);
        if now != reference {
            (reference, moved) = (now, moved + 1);
            spans.fill((0, 0));
            rungs = simulation.rungs();
        }
        uses.iter().for_each(|(server, _)| spans[*server].0 += 1);
        let next = simulation.rungs();
        for (server, (uses, changed)) in spans.iter_mut().enumerate() {
            if next[server] != rungs[server] {
                (*changed, changes) = (*changed + 1, changes + 1);
                longest = longest.max(*changed);
            }
            assert!(*changed <= (DOUBLINGS + 1) * *uses + DOUBLINGS, "{changed} changes, {uses} uses");
        }
        rungs = next;
    }
    println!("in 24 hours, {changes} changes of rungs, at most {longest} of one server in a span of {moved}");
    assert!(changes > SERVERS && longest > 1, "nothing was tested");
}
