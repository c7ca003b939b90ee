//! The loop's state machine under a clock that the test sets: the order of events that real servers reach only now and
//! then.

mod plan_changes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::ControllerSettings;
use super::effects::{Effect, Event, Moment, PublicationProgress};
use super::state::{LeaderState, Seen};
use crate::api::v1alpha1::{McpGatewayFleet, McpGatewayFleetSpec, PublicationState};
use crate::classify::memory::MemorySettings;
use crate::classify::{Answer, Collection, EndpointAnswer, Params, ProcessReport, Report, Row};
use crate::fleet::Problems;
use crate::fleet::object::{FleetObject, FleetWrite};
use crate::leadership::LeadershipToken;
use crate::model::clocks::{ClockName, ClockSkew};
use crate::model::polling::{FleetPolling, PollingCounts, PollingState, ProcessPolling, Share};
use crate::model::{EndpointId, Monotonic, TakeoverDecision, Term, Tier, UnixTime, WorkerId};
use crate::plan::PlanSettings;
use crate::poll::compliance::{Trace, Traces};
use crate::poll::{Intervals, LastPoll, Stamp};
use crate::publish::{Error, LockState, NotWritten, Published, Retention};
use crate::registry::{GatewayRecord, RegistrySnapshot};
use crate::status::writer::WriteReport;

const INTERVAL: Duration = Duration::from_secs(60);
const WRITTEN: WriteReport = WriteReport { written: 1, overtaken: 0, fenced: 0, failed: 0, left: 0 };

/// A registry with these servers; each revision is another one to the loop.
fn registry(names: &[&str], revision: u64) -> Arc<RegistrySnapshot> {
    let records = names.iter().map(|name| record(name, &Value::Null));
    Arc::new(RegistrySnapshot::build(&records.map(|record| (record.name.clone(), record)).collect(), revision))
}

/// The object of a server with this status.
fn record(name: &str, status: &Value) -> Arc<GatewayRecord> {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("default".to_owned()),
        uid: Some(format!("uid-{name}")),
        resource_version: Some("1".to_owned()),
        generation: Some(1),
        ..ObjectMeta::default()
    };
    let spec = json!({"url": format!("http://{name}.example/mcp")});
    Arc::new(GatewayRecord::from_parts(&metadata, &spec, status).unwrap())
}

/// The same registry with these objects changed: (name, `spec.polling`, annotation, `status.polling`).
fn asking(names: &[&str], revision: u64, asks: &[(&str, Value, Option<&str>, Value)]) -> Arc<RegistrySnapshot> {
    let mut objects: BTreeMap<_, _> = registry(names, revision)
        .gateways()
        .iter()
        .map(|gateway| (gateway.record.name.clone(), Arc::clone(&gateway.record)))
        .collect();
    for (name, spec, annotation, status) in asks {
        let mut metadata = json!({"name": name, "namespace": "default", "uid": format!("uid-{name}"),
            "resourceVersion": "1", "generation": 1});
        if let Some(value) = annotation {
            metadata["annotations"] = json!({"mcpgateway.io/refresh-requested": value});
        }
        let mut data = json!({"spec": {"url": format!("http://{name}.example/mcp")}, "status": {}});
        for (part, polling) in [("spec", spec), ("status", status)] {
            if !polling.is_null() {
                data[part]["polling"] = polling.clone();
            }
        }
        let record = GatewayRecord::from_object(&serde_json::from_value(metadata).unwrap(), &data).unwrap();
        objects.insert(record.name.clone(), Arc::new(record));
    }
    Arc::new(RegistrySnapshot::build(&objects, revision))
}

fn fleet(suspend: bool, generation: i64) -> FleetObject {
    let metadata = ObjectMeta { name: Some("fleet".to_owned()), generation: Some(generation), ..ObjectMeta::default() };
    FleetObject::Read(Arc::new(McpGatewayFleet { metadata, spec: McpGatewayFleetSpec { suspend }, status: None }))
}

/// A leader, and the time.
struct Leader {
    state: LeaderState,
    now: f64,
    /// How far the reference time was moved.
    moved: f64,
    registry: Arc<RegistrySnapshot>,
}

impl Leader {
    fn new(fleet: FleetObject, names: &[&str]) -> Self {
        let settings = ControllerSettings {
            ranking: Params { min_hot: 1, ..Params::default() },
            memory: MemorySettings { interval: INTERVAL, quorum: 0.5, window: Duration::ZERO },
            polls: Intervals::new(Duration::from_secs(300), None),
            refresh_plan: None,
            status_usage_interval: Duration::from_secs(600),
        };
        let registry = registry(names, 1);
        let seen = Seen {
            token: token(1),
            redis: true,
            cycles_are_read: true,
            registry: Arc::clone(&registry),
            fleet,
            problems: Problems::default(),
            lock: LockState::Held,
            discovered: true,
            registrations: None,
            mirror: None,
        };
        Self { state: LeaderState::new(settings, seen, None, moment(0.0)), now: 0.0, moved: 0.0, registry }
    }

    /// One that has classified, published and written once, and is idle again at the time of its first cycle's end.
    fn settled() -> Self {
        let mut leader = Self::new(fleet(false, 1), &["a", "b"]);
        assert_eq!(leader.step(Event::Timer), ["Collect"]);
        assert_eq!(leader.collected("a"), ["Publish"]);
        assert_eq!(leader.published(), ["Retain", "LogPublication", "WriteStatuses"]);
        let end = leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        assert_eq!(end, ["ReportTurn", "ReportGauges", "WriteFleetStatus", "ShowCycle", "ReadBack", "ReadPollTraces"]);
        assert_eq!(leader.step(Event::FleetStatusWritten(Term::FIRST, FleetWrite::Written)), NOTHING);
        leader
    }

    /// The names of the effects of an event.
    fn step(&mut self, event: Event) -> Vec<String> {
        self.effects(event).iter().map(name).collect()
    }

    fn effects(&mut self, event: Event) -> Vec<Effect> {
        let now = moment(self.now);
        self.state.step(event, Moment { time: now.time.shifted(self.moved), ..now })
    }

    /// Moves the clock to the next deadline of the loop, and says so.
    fn wait(&mut self) -> Vec<String> {
        let deadline = self.state.deadline().expect("it waits for something");
        self.now = Duration::from_nanos(deadline.nanos()).as_secs_f64() - 1_000.0;
        self.step(Event::Timer)
    }

    /// A collection ends, in which the only endpoint has reported a use of this server just now.
    fn collected(&mut self, used: &str) -> Vec<String> {
        self.collected_uses(&[(used, self.now, 1)])
    }

    /// A collection ends, in which the only endpoint has reported these servers, with last use and use count.
    fn collected_uses(&mut self, uses: &[(&str, f64, u64)]) -> Vec<String> {
        self.collected_effects(uses).iter().map(name).collect()
    }

    fn collected_effects(&mut self, uses: &[(&str, f64, u64)]) -> Vec<Effect> {
        let servers = Arc::clone(self.registry.servers());
        let rows = uses.iter().map(|(name, at, count)| {
            let place = self.registry.by_url(&format!("http://{name}.example/mcp")).expect("registered");
            Row::new(place, Some(time(*at).shifted(self.moved)), 0, 0, *count)
        });
        let process = ProcessReport {
            id: WorkerId::parse("w").unwrap(),
            observed_at: time(self.now).shifted(self.moved),
            servers: Arc::clone(&servers),
            rows: rows.collect(),
        };
        let report = Report { complete: true, offset: 0.0, processes: vec![process] };
        let answers = vec![EndpointAnswer { endpoint: EndpointId::new("http://w"), answer: Answer::Report(report) }];
        self.effects(Event::Collected(Collection { answers, ..Collection::default() }, servers, Vec::new()))
    }

    fn published(&mut self) -> Vec<String> {
        self.step(Event::Published(Term::FIRST, Ok(Published::default())))
    }

    fn suspend(&mut self, suspend: bool) -> Vec<String> {
        let generation = self.state.seen.fleet.generation().unwrap_or_default() + 1;
        let mut effects = self.step(Event::FleetObjectChanged(fleet(suspend, generation)));
        // The status always follows the generation; here it is of no interest.
        effects.retain(|effect| effect != "WriteFleetStatus");
        effects
    }

    fn status(&self) -> &crate::api::v1alpha1::FleetStatus {
        self.state.fleet_status.as_ref().expect("a status")
    }

    fn condition(&self, kind: &str) -> (&str, &str) {
        let found = self.status().conditions.iter().find(|condition| condition.type_ == kind).expect("a condition");
        (&found.status, &found.reason)
    }
}

const NOTHING: [&str; 0] = [];

fn name(effect: &Effect) -> String {
    let text = format!("{effect:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

fn time(seconds: f64) -> UnixTime {
    UnixTime::from_seconds(1e9 + seconds).unwrap()
}

fn moment(seconds: f64) -> Moment {
    Moment { monotonic: Monotonic::at(Duration::from_secs_f64(1_000.0 + seconds)), time: time(seconds) }
}

fn token(term: i64) -> LeadershipToken {
    LeadershipToken::for_tests(Term::new(term).unwrap(), Monotonic::at(Duration::from_secs(1_000_000)))
}

fn not_held() -> NotWritten {
    use crate::publish::ForeignHolder;
    let holder = ForeignHolder { kind: "string".to_owned(), value: b"classifier_1".to_vec(), publishes: true };
    NotWritten::Foreign(holder)
}

#[test]
fn a_cycle_collects_publishes_writes_and_reports() {
    let mut leader = Leader::settled();
    assert_eq!(leader.condition("Ready"), ("True", "Ready"));
    assert_eq!((leader.status().servers.hot, leader.status().servers.cold), (1, 1));
    assert_eq!(leader.wait(), ["Collect"]);
    assert!((leader.now - 60.0).abs() < 0.001, "the next cycle is one interval later: {}", leader.now);
}

#[test]
fn gateways_get_ten_cycles_to_leave_their_first_stamps_and_are_looked_at_in_each() {
    let mut leader = Leader::settled();
    let trace = |stamp| Trace {
        tier: Some(Tier::Hot),
        last: LastPoll { stamp, ttl: None },
        left: Some(Duration::from_secs(600)),
        planned: None,
    };
    let traces = |stamp| Traces { contextforge: true, traces: vec![trace(stamp)] };
    let cycle = |leader: &mut Leader| {
        assert_eq!(leader.wait(), ["Collect"]);
        leader.collected("a");
        leader.published();
        let end = leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        end.contains(&"ReadPollTraces".to_owned())
    };
    // The first objects may be registered late, as those of a mirror are.
    leader.step(Event::PollTracesRead(Traces { contextforge: true, traces: Vec::new() }));
    assert_eq!(leader.condition("Obeyed"), ("Unknown", "NoGateways"));
    assert!(cycle(&mut leader), "it looks again in the next cycle");
    for _ in 0..10 {
        leader.step(Event::PollTracesRead(traces(Stamp::Absent)));
        assert_eq!(leader.condition("Obeyed"), ("Unknown", "NoStampsYet"));
        assert!(cycle(&mut leader), "it looks again in the next cycle");
    }
    leader.step(Event::PollTracesRead(traces(Stamp::Absent)));
    assert_eq!(leader.condition("Obeyed"), ("False", "NoStamps"));
    for _ in 0..9 {
        assert!(!cycle(&mut leader));
    }
    assert!(cycle(&mut leader));
    leader.step(Event::PollTracesRead(traces(Stamp::At(time(leader.now)))));
    assert_eq!(leader.condition("Obeyed").0, "True");
}

#[test]
fn an_edit_during_a_collection_gets_a_turn_of_its_own_before_the_collection_ends() {
    let mut leader = Leader::settled();
    leader.wait();
    leader.registry = registry(&["a"], 2);
    assert_eq!(leader.step(Event::RegistryChanged(Arc::clone(&leader.registry))), ["Publish"]);
    leader.published();
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.collected("a"), ["Publish"], "the collection's own cycle follows");
}

#[test]
fn an_edit_between_two_collections_changes_no_tier_of_servers_that_are_equally_recent() {
    let mut leader = Leader::new(fleet(false, 1), &["a", "b"]);
    leader.state.settings.ranking.recency_resolution = INTERVAL;
    let hot = |leader: &Leader| {
        let classification = leader.state.classification.as_ref().expect("a classification");
        let hot: Vec<&str> = classification.hot().map(crate::model::ServerUrl::expose).collect();
        (hot.join(" "), classification.metadata.timestamp)
    };
    leader.step(Event::Timer);
    leader.collected_uses(&[("a", -20.0, 100), ("b", -1.0, 5)]);
    assert_eq!(hot(&leader), ("http://a.example/mcp".to_owned(), time(0.0)), "the use count decides");
    leader.published();
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    // The use of `a` is now more than an interval ago, that of `b` is not.
    leader.now = 45.0;
    leader.registry = registry(&["a", "b", "c"], 2);
    leader.step(Event::RegistryChanged(Arc::clone(&leader.registry)));
    assert_eq!(hot(&leader), ("http://a.example/mcp".to_owned(), time(45.0)), "nothing was used since");
}

#[test]
fn edits_in_a_row_wait_for_the_debounce_and_make_one_turn() {
    let mut leader = Leader::settled();
    for revision in 2..5 {
        leader.now += 0.01;
        leader.registry = registry(&["a"], revision);
        assert_eq!(leader.step(Event::RegistryChanged(Arc::clone(&leader.registry))), NOTHING);
    }
    assert_eq!(leader.wait(), ["Publish"]);
    assert!((leader.now - 0.25).abs() < 0.001, "{}", leader.now);
}

#[test]
fn a_status_of_our_own_in_the_registry_is_no_change() {
    let mut leader = Leader::settled();
    assert_eq!(leader.step(Event::RegistryChanged(registry(&["a", "b"], 1))), NOTHING);
    assert_eq!(leader.wait(), ["Collect"], "nothing is due before the next cycle");
}

#[test]
fn a_lock_lost_during_a_publication_costs_the_publication_only() {
    let mut leader = Leader::settled();
    leader.wait();
    assert_eq!(leader.collected("b"), ["Publish"]);
    let foreign = LockState::Foreign { holder: "classifier_1".to_owned(), takeover: TakeoverDecision::Wait };
    assert!(leader.step(Event::LockChanged(foreign)).contains(&"Emit".to_owned()));
    let effects = leader.step(Event::Published(Term::FIRST, Err(not_held())));
    assert_eq!(effects, ["LogPublication", "WriteStatuses"], "statuses go on without Redis");
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.condition("Published"), ("False", "LockHeldByAnother"));
    assert_eq!(leader.condition("Ready"), ("False", "LockHeldByAnother"));
    // As soon as the lock is ours again, the publication is repeated.
    leader.now += 1.0;
    assert!(leader.step(Event::LockChanged(LockState::Held)).contains(&"Publish".to_owned()));
}

#[test]
fn a_lock_that_may_be_taken_is_taken_with_a_full_publication() {
    let mut leader = Leader::settled();
    leader.now = 1.0;
    let idle = LockState::Foreign { holder: "classifier_1".to_owned(), takeover: TakeoverDecision::Take };
    assert!(leader.step(Event::LockChanged(idle)).contains(&"Publish".to_owned()));
    let displaced = Ok(Published { displaced: Some("classifier_1".to_owned()) });
    assert!(leader.step(Event::Published(Term::FIRST, displaced)).contains(&"Emit".to_owned()));
}

#[test]
fn a_term_raised_between_plan_and_write_reports_the_refused_term_and_no_other() {
    let mut leader = Leader::settled();
    leader.wait();
    leader.collected("b");
    leader.published();
    assert_eq!(leader.step(Event::TermRaised(token(5)))[0], "HoldLock", "the keeper goes on at the new term");
    let fenced = WriteReport { fenced: 1, ..WriteReport::default() };
    let effects = leader.effects(Event::StatusesWritten(Term::FIRST, fenced));
    let refusal = effects.iter().find_map(|effect| match effect {
        Effect::ReportRefusal(refusal) => Some(refusal.of),
        _ => None,
    });
    assert_eq!(refusal, Some(Term::FIRST), "the new term was not refused");
    // The next cycle publishes in full and writes at the new term.
    leader.wait();
    assert_eq!(leader.collected("b"), ["Publish"]);
    assert_eq!(leader.state.seen.token.term().get(), 5);
}

#[test]
fn a_difference_in_redis_is_published_again_at_once() {
    let mut leader = Leader::settled();
    leader.now = 1.0;
    assert_eq!(leader.step(Event::StoreDiffers), ["Publish"]);
}

#[test]
fn silent_workers_keep_the_publication_alive_and_then_give_it_up() {
    let mut leader = Leader::settled();
    let mut decisions = Vec::new();
    for _ in 0..5 {
        leader.wait();
        let servers = Arc::clone(leader.registry.servers());
        let answers = vec![EndpointAnswer { endpoint: EndpointId::new("http://w"), answer: Answer::NoReport }];
        let event = Event::Collected(Collection { answers, ..Collection::default() }, servers, Vec::new());
        let retained = leader.effects(event).into_iter().find_map(|effect| match effect {
            Effect::Retain(retention) => Some(retention),
            _ => None,
        });
        decisions.push(retained);
        if retained.is_none() {
            leader.published();
        }
        leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    }
    let end = leader.state.patience_ends;
    assert_eq!(
        decisions,
        [None, None, Some(Retention::Until(end)), Some(Retention::Until(end)), Some(Retention::LockOnly)]
    );
    assert_eq!(leader.status().publication.state, PublicationState::GivenUp);
    assert_eq!(leader.condition("Ready"), ("False", "QuorumMissed"));
    assert_eq!(leader.status().servers.unclassified, 2);
}

#[test]
fn health_checks_add_up_in_the_fleet_status_and_calls_for_an_hour() {
    let mut leader = Leader::settled();
    let mut shares = Vec::new();
    leader.wait();
    for (part, all) in [(0, 30), (160, 170), (0, 60)] {
        leader.now += 1_800.0;
        let process = ProcessPolling::parse(r#"{"coldHealth": "Active"}"#).unwrap();
        let processes = vec![(EndpointId::new("http://w"), process)];
        let share = Share { part, all };
        let counts = PollingCounts { health_checks_skipped: share, calls_on_old_lists: share, refreshes_skipped: 0 };
        let polling = FleetPolling { processes, counts };
        let answers = vec![EndpointAnswer { endpoint: EndpointId::new("http://w"), answer: Answer::NoReport }];
        let servers = Arc::clone(leader.registry.servers());
        leader.step(Event::Collected(Collection { answers, polling, ..Collection::default() }, servers, Vec::new()));
        leader.published();
        leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        let gateways = &leader.status().gateways;
        assert_eq!(gateways.cold_health, Some(PollingState::Active));
        shares.push((gateways.health_checks_skipped_percent, gateways.calls_on_old_lists_percent));
    }
    assert_eq!(shares, [(None, None), (Some(80), Some(80)), (Some(60), Some(70))]);
}

#[test]
fn servers_are_ranked_again_when_a_collection_brings_something_new() {
    let mut leader = Leader::new(fleet(false, 1), &["a", "b", "c", "d", "e"]);
    leader.wait();
    leader.collected("a");
    let cycle = |leader: &mut Leader, collected: Option<&str>| {
        leader.published();
        leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        leader.wait();
        if let Some(used) = collected {
            leader.collected(used);
        } else {
            let answer = Answer::Unchanged(leader.state.settings.memory.interval);
            let answers = vec![EndpointAnswer { endpoint: EndpointId::new("http://w"), answer }];
            let servers = Arc::clone(leader.registry.servers());
            leader.step(Event::Collected(Collection { answers, ..Collection::default() }, servers, Vec::new()));
        }
        let ranked = leader.state.classification.as_ref().unwrap();
        (Arc::clone(ranked.placements()), ranked.hot().next().unwrap().expose().to_owned(), ranked.metadata.timestamp)
    };
    let (ranked, hot, time) = cycle(&mut leader, None);
    let (same, _, later) = cycle(&mut leader, None);
    assert!(Arc::ptr_eq(&ranked, &same) && later > time, "it is published at a later time");
    assert_eq!(hot, "http://a.example/mcp");
    assert_eq!(cycle(&mut leader, Some("b")).1, "http://b.example/mcp");
}

#[test]
fn a_registry_of_new_servers_only_brings_the_next_cycle_forward() {
    let mut leader = Leader::new(fleet(false, 1), &[]);
    leader.wait();
    let answers = vec![EndpointAnswer { endpoint: EndpointId::new("http://w"), answer: Answer::NoReport }];
    leader.step(Event::Collected(Collection { answers, ..Collection::default() }, Arc::default(), Vec::new()));
    leader.published();
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    leader.registry = registry(&["a", "b"], 2);
    leader.now = 10.0;
    leader.step(Event::RegistryChanged(Arc::clone(&leader.registry)));
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.wait(), ["Collect"]);
    assert!((leader.now - 15.0).abs() < 0.001, "{}", leader.now);
}

#[test]
fn without_a_fleet_object_ever_read_nothing_is_published() {
    let mut leader = Leader::new(FleetObject::Unread, &["a", "b"]);
    leader.wait();
    assert_eq!(leader.collected("a"), ["Retain", "WriteStatuses", "WriteFleetStatus"]);
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.status().publication.reason.as_deref(), Some("FleetNotRead"));
    // Read, or known to be absent: it goes on at once.
    assert!(leader.step(Event::FleetObjectChanged(FleetObject::Absent)).contains(&"Publish".to_owned()));
}

#[test]
fn suspending_an_idle_fleet_withdraws_at_once_and_then_removes_the_tiers() {
    let mut leader = Leader::settled();
    assert_eq!(leader.suspend(true), ["Retain", "Withdraw"]);
    assert_eq!(leader.condition("Ready"), ("False", "Suspending"));
    let effects = leader.effects(Event::Withdrawn(Term::FIRST, Ok(())));
    let names: Vec<String> = effects.iter().map(name).collect();
    assert_eq!(names[..2], ["LogPublication", "WriteStatuses"]);
    let Effect::WriteStatuses(plan) = &effects[1] else { panic!("{names:?}") };
    assert!(!plan.due().is_empty() && plan.changes().all(|change| change.status.tier.is_none()));
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.condition("Ready"), ("True", "Suspended"));
    assert_eq!(leader.condition("Suspended"), ("True", "SuspendedBySpec"));
    assert_eq!(leader.status().publication.state, PublicationState::Suspended);
    // Cycles go on collecting, and neither publish nor withdraw again.
    leader.wait();
    let cycle = leader.collected("b");
    assert_eq!(cycle, ["Retain", "WriteStatuses"]);
}

#[test]
fn suspending_during_a_collection_withdraws_at_once() {
    let mut leader = Leader::settled();
    leader.wait();
    assert_eq!(leader.suspend(true), ["Retain", "Withdraw"]);
    assert_eq!(leader.collected("b"), NOTHING, "its cycle waits for the turn that withdraws");
    leader.step(Event::Withdrawn(Term::FIRST, Ok(())));
    assert_eq!(leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN)).last().unwrap(), "WriteStatuses");
}

#[test]
fn suspending_during_a_publication_withdraws_as_soon_as_it_has_ended() {
    let mut leader = Leader::settled();
    leader.wait();
    leader.collected("b");
    assert_eq!(leader.suspend(true), NOTHING, "two calls must not overtake each other");
    assert_eq!(leader.published()[..2], ["Retain", "Retain"]);
    assert!(leader.state.withdrawing && leader.state.classification.is_none());
}

#[test]
fn suspending_while_statuses_are_written_stops_them_and_does_not_wait_for_them() {
    let mut leader = Leader::settled();
    leader.wait();
    leader.collected("b");
    leader.published();
    assert_eq!(leader.suspend(true), ["StopWritingStatuses", "Retain", "Withdraw"]);
    assert!(!leader.step(Event::Withdrawn(Term::FIRST, Ok(()))).contains(&"WriteStatuses".to_owned()));
    let stopped = WriteReport { left: 1, ..WriteReport::default() };
    let effects = leader.step(Event::StatusesWritten(Term::FIRST, stopped));
    assert_eq!(effects.last().unwrap(), "WriteStatuses", "the tiers are removed: {effects:?}");
    // The same if the writes end before the withdrawal.
    let mut leader = Leader::settled();
    leader.wait();
    leader.collected("b");
    leader.published();
    leader.suspend(true);
    assert!(!leader.step(Event::StatusesWritten(Term::FIRST, stopped)).contains(&"WriteStatuses".to_owned()));
    assert!(leader.step(Event::Withdrawn(Term::FIRST, Ok(()))).contains(&"WriteStatuses".to_owned()));
}

#[test]
fn status_writes_are_cut_short_when_something_changes_or_a_cycle_is_due() {
    const STOPPED: WriteReport = WriteReport { written: 1, overtaken: 0, fenced: 0, failed: 0, left: 1 };
    let mut leader = Leader::settled();
    leader.wait();
    leader.collected("b");
    leader.published();
    // It writes for a moment at least, whatever changes.
    let changed = registry(&["a", "b", "c"], 2);
    assert_eq!(leader.step(Event::RegistryChanged(Arc::clone(&changed))), NOTHING);
    assert_eq!(leader.wait(), ["StopWritingStatuses"]);
    assert_eq!(leader.step(Event::RegistryChanged(changed)), NOTHING, "once");
    leader.step(Event::StatusesWritten(Term::FIRST, STOPPED));
    assert_eq!(leader.state.answered_revision, 1, "what is left is still waited for");
    assert_eq!(leader.wait(), ["WriteStatuses"], "the change has its turn");
    // A collection that takes no longer than an interval makes its cycle begin in time.
    assert_eq!(leader.wait(), ["Collect"]);
    assert_eq!(leader.collected("b"), ["StopWritingStatuses"]);
    let next = leader.step(Event::StatusesWritten(Term::FIRST, STOPPED));
    assert!(next.contains(&"Publish".to_owned()), "{next:?}");
    leader.published();
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.state.answered_revision, 2);
}

#[test]
fn a_withdrawal_that_fails_is_repeated_when_the_lock_is_held_again_and_in_each_cycle() {
    let mut leader = Leader::settled();
    leader.suspend(true);
    let failed = Err(NotWritten::Failed(Error::TimedOut));
    leader.step(Event::Withdrawn(Term::FIRST, failed.clone()));
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.status().publication.state, PublicationState::Suspending);
    assert_eq!(leader.condition("Ready"), ("False", "Suspending"));
    leader.now += 1.0;
    assert!(leader.step(Event::LockChanged(LockState::Held)).contains(&"Withdraw".to_owned()));
    leader.step(Event::Withdrawn(Term::FIRST, failed));
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    leader.wait();
    assert!(leader.collected("a").contains(&"Withdraw".to_owned()));
}

#[test]
fn a_publication_that_comes_back_while_suspended_is_withdrawn_again() {
    let mut leader = Leader::settled();
    leader.suspend(true);
    leader.step(Event::Withdrawn(Term::FIRST, Ok(())));
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    leader.now += 1.0;
    assert!(leader.step(Event::StoreDiffers).contains(&"Withdraw".to_owned()));
}

#[test]
fn resuming_publishes_at_once_whatever_is_under_way() {
    // Idle.
    let mut leader = Leader::settled();
    leader.suspend(true);
    leader.step(Event::Withdrawn(Term::FIRST, Ok(())));
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.suspend(false), ["Publish"]);
    let effects = leader.effects(Event::Published(Term::FIRST, Ok(Published::default())));
    assert!(matches!(effects[0], Effect::Retain(Retention::All)), "{effects:?}");
    assert_eq!(leader.state.publication, PublicationProgress::Published);
    // During the withdrawal: first that ends, then it publishes.
    let mut leader = Leader::settled();
    leader.suspend(true);
    assert_eq!(leader.suspend(false), NOTHING);
    assert!(leader.step(Event::Withdrawn(Term::FIRST, Ok(()))).contains(&"Publish".to_owned()));
    // While the tiers are being removed.
    let mut leader = Leader::settled();
    leader.suspend(true);
    leader.step(Event::Withdrawn(Term::FIRST, Ok(())));
    assert_eq!(leader.suspend(false), ["StopWritingStatuses"]);
    assert!(leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN)).contains(&"Publish".to_owned()));
}

#[test]
fn a_leader_that_begins_suspended_withdraws_and_publishes_nothing() {
    let mut leader = Leader::new(fleet(true, 2), &["a", "b"]);
    let effects = leader.step(Event::Timer);
    assert_eq!(effects, ["Collect", "Retain", "Withdraw"]);
    assert_eq!(leader.collected("a"), NOTHING);
    leader.step(Event::Withdrawn(Term::FIRST, Ok(())));
    assert_eq!(leader.status().publication.state, PublicationState::Suspended);
}

#[test]
fn a_fleet_object_that_is_deleted_is_written_again_and_resumes() {
    let mut leader = Leader::settled();
    assert_eq!(leader.step(Event::FleetObjectChanged(FleetObject::Absent)), ["WriteFleetStatus"]);
    let mut leader = Leader::settled();
    leader.suspend(true);
    leader.step(Event::Withdrawn(Term::FIRST, Ok(())));
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert!(leader.step(Event::FleetObjectChanged(FleetObject::Absent)).contains(&"Publish".to_owned()));
}

#[test]
fn once_leadership_has_ended_nothing_is_begun_at_any_step() {
    type Begin = fn() -> Leader;
    let steps: [Begin; 5] = [
        Leader::settled,
        || {
            let mut leader = Leader::settled();
            leader.wait();
            leader
        },
        || {
            let mut leader = Leader::settled();
            leader.wait();
            leader.collected("b");
            leader
        },
        || {
            let mut leader = Leader::settled();
            leader.wait();
            leader.collected("b");
            leader.published();
            leader
        },
        || {
            let mut leader = Leader::settled();
            leader.suspend(true);
            leader
        },
    ];
    for begin in steps {
        let mut leader = begin();
        assert_eq!(leader.step(Event::LeadershipEnded), ["StopWritingStatuses"]);
        assert_eq!(leader.collected("b"), NOTHING);
        assert_eq!(leader.published(), NOTHING);
        assert_eq!(leader.step(Event::Withdrawn(Term::FIRST, Ok(()))), NOTHING);
        assert_eq!(leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN)), NOTHING);
        assert_eq!(leader.step(Event::StoreDiffers), NOTHING);
        leader.now += 1_000.0;
        assert_eq!(leader.step(Event::Timer), NOTHING);
    }
}

#[test]
fn the_fleet_status_is_written_one_at_a_time_and_again_after_a_failure() {
    let mut leader = Leader::settled();
    assert_eq!(leader.step(Event::FleetObjectChanged(FleetObject::Absent)), ["WriteFleetStatus"]);
    // Something new while it is being written waits for its end.
    assert_eq!(
        leader.step(Event::LockChanged(LockState::Unreachable { reason: "TimedOut", message: String::new() })),
        NOTHING
    );
    let written = leader.step(Event::FleetStatusWritten(Term::FIRST, FleetWrite::Written));
    assert_eq!(written, ["WriteFleetStatus"]);
    assert_eq!(leader.step(Event::FleetStatusWritten(Term::FIRST, FleetWrite::LeadershipOver)), NOTHING);
    assert_eq!(leader.step(Event::LockChanged(LockState::Held)), ["WriteFleetStatus"]);
}

#[test]
fn a_moved_reference_time_changes_no_rank_and_no_patience() {
    for moved in [3600.0, -3600.0, 120.0, -120.0] {
        let mut leader = Leader::settled();
        let hot = |leader: &Leader| leader.state.classification.as_ref().unwrap().hot().next().cloned();
        let before = hot(&leader);
        leader.moved = moved;
        // The one that was used before the move is still the latest; then the other one is.
        for (used, at) in [("a", 0.0), ("b", 90.0)] {
            assert!(leader.wait().contains(&"Collect".to_owned()));
            let _ = leader.collected_uses(&[(used, at, 1)]);
            let _ = leader.published();
            let _ = leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
            assert_eq!(hot(&leader) == before, used == "a", "{used} after {moved}");
        }
        leader.moved = 0.0;
        let patience_ends = leader.state.patience_ends;
        let _ = leader.step(Event::Timer);
        assert_eq!(leader.state.patience_ends, patience_ends);
        assert!(leader.wait().contains(&"Collect".to_owned()));
        let _ = leader.collected_uses(&[("b", 90.0, 1)]);
        assert_ne!(hot(&leader), before, "right again");
    }
}

#[test]
fn a_publication_is_never_dated_before_the_one_it_follows_unless_that_one_is_far_ahead() {
    for (stored, expected) in [(None, 0.0), (Some(-3.0), 0.0), (Some(0.4), 0.4), (Some(5.0), 5.0), (Some(5.5), 0.0)] {
        let mut leader = Leader::new(fleet(false, 1), &["a", "b"]);
        leader.state.timestamp = stored.map(time);
        assert_eq!(leader.step(Event::Timer), ["Collect"]);
        assert_eq!(leader.collected("a"), ["Publish"]);
        let classification = leader.state.classification.as_ref().unwrap();
        assert_eq!(classification.metadata.timestamp, time(expected), "after {stored:?}");
    }
}

#[test]
fn clocks_that_differ_are_a_condition_and_reported_once() {
    let skewed = |seconds| vec![ClockSkew { clock: ClockName::Redis, seconds }];
    let mut leader = Leader::settled();
    assert_eq!(leader.condition("ClocksAgree"), ("True", "ClocksAgree"));
    for (skewed, reported, condition) in [
        (skewed(120.0), true, ("False", "ClockSkewed")),
        (skewed(121.0), false, ("False", "ClockSkewed")),
        (Vec::new(), true, ("True", "ClocksAgree")),
    ] {
        let _ = leader.wait();
        let servers = Arc::clone(leader.registry.servers());
        let effects = leader.step(Event::Collected(Collection::default(), servers, skewed));
        assert_eq!(effects.contains(&"LogClocks".to_owned()), reported);
        let _ = leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        let _ = leader.step(Event::FleetStatusWritten(Term::FIRST, FleetWrite::Written));
        assert_eq!(leader.condition("ClocksAgree"), condition);
    }
}

#[test]
fn after_an_outage_of_redis_nothing_counts_as_published_before_the_next_publication() {
    let mut leader = Leader::settled();
    let unreachable = LockState::Unreachable { reason: "TimedOut", message: "Redis did not answer in time".to_owned() };
    let _ = leader.step(Event::LockChanged(unreachable));
    assert_eq!(leader.condition("Published"), ("False", "TimedOut"));
    let _ = leader.step(Event::FleetStatusWritten(Term::FIRST, FleetWrite::Written));
    let _ = leader.step(Event::LockChanged(LockState::Held));
    assert_eq!(leader.condition("Published"), ("False", "TimedOut"));
    let _ = leader.step(Event::FleetStatusWritten(Term::FIRST, FleetWrite::Written));
    assert!(leader.wait().contains(&"Publish".to_owned()));
    let _ = leader.published();
    let _ = leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.condition("Published"), ("True", "Published"));
}

/// Twelve objects, and a change of the registry to so many of them. Returns the reasons of the Events.
fn resize(leader: &mut Leader, size: usize, revision: u64) -> Vec<&'static str> {
    let names: Vec<String> = (0..size).map(|n| format!("s{n}")).collect();
    leader.registry = registry(&names.iter().map(String::as_str).collect::<Vec<_>>(), revision);
    let effects = leader.effects(Event::RegistryChanged(Arc::clone(&leader.registry)));
    let reason = |effect: &Effect| match effect {
        Effect::Emit(event) => Some(event.reason),
        _ => None,
    };
    let reasons = effects.iter().filter_map(reason).collect();
    // The turn for the change, if it began at once.
    if effects.iter().any(|effect| name(effect) == "Publish") {
        let _ = leader.published();
    }
    let _ = leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    reasons
}

#[test]
fn most_of_the_registry_gone_within_an_interval_is_a_condition_and_an_event_until_it_is_back() {
    for suspended in [false, true] {
        let mut leader = Leader::settled();
        if suspended {
            let _ = leader.suspend(true);
            let _ = leader.step(Event::Withdrawn(Term::FIRST, Ok(())));
            let _ = leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        }
        assert_eq!(resize(&mut leader, 12, 2), NOTHING);
        assert_eq!(leader.condition("RegistryStable"), ("True", "Stable"));
        leader.now += 100.0;
        assert_eq!(resize(&mut leader, 6, 3), NOTHING, "half is not most");
        leader.now += 1.0;
        assert_eq!(resize(&mut leader, 0, 4), ["MostGatewaysGone"]);
        assert_eq!(leader.condition("RegistryStable"), ("False", "MostGatewaysGone"));
        let loss = leader.status().registry_loss.clone().expect("a loss");
        assert_eq!((loss.before, UnixTime::from(loss.since.0)), (12, time(100.0)));
        let message = leader.status().failed(crate::api::conditions::FleetConditionType::RegistryStable);
        let message = &message.expect("it is false").message;
        assert!(message.starts_with("12 of 12 McpGateway objects have left the registry since 2001-"), "{message}");
        assert_eq!(leader.condition("Ready").0, "True", "nothing is held back");
        // A new leader goes on saying it, and its own first registry is no loss.
        let mut object = fleet(suspended, 1);
        if let FleetObject::Read(fleet) = &mut object {
            Arc::make_mut(fleet).status = Some(leader.status().clone());
        }
        let mut next = Leader::new(object, &[]);
        next.now = 200.0;
        assert_eq!(resize(&mut next, 0, 2), NOTHING);
        assert_eq!(next.state.loss_detector.loss().map(|loss| loss.before), Some(12));
        leader.now += 10_000.0;
        assert_eq!(resize(&mut leader, 12, 5), ["GatewaysReturned"]);
        assert_eq!(leader.condition("RegistryStable"), ("True", "Stable"));
        assert_eq!(leader.status().registry_loss, None);
    }
}

#[test]
fn a_loss_that_was_meant_is_over_after_a_day() {
    let mut leader = Leader::settled();
    let _ = resize(&mut leader, 12, 2);
    assert_eq!(resize(&mut leader, 1, 3), ["MostGatewaysGone"]);
    leader.now += 24.0 * 3600.0;
    let _ = leader.step(Event::Timer);
    let _ = leader.collected("s0");
    let _ = leader.published();
    let _ = leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    assert_eq!(leader.condition("RegistryStable"), ("True", "Stable"));
}

#[test]
fn a_fleet_object_that_cannot_be_written_is_reported_once_and_when_it_can_again() {
    use crate::model::{Problem, ProblemReason};
    let forbidden = || FleetWrite::Failed(Problem::new(ProblemReason::Forbidden, "grant it"));
    let mut leader = Leader::settled();
    for (result, reported, why) in [
        (forbidden(), true, Some("Forbidden: grant it")),
        (forbidden(), false, Some("Forbidden: grant it")),
        (FleetWrite::LeadershipOver, false, Some("Forbidden: grant it")),
        (FleetWrite::Written, true, None),
        (FleetWrite::Written, false, None),
    ] {
        let _ = leader.step(Event::FleetObjectChanged(FleetObject::Absent));
        assert!(leader.state.fleet_write_running);
        let effects = leader.step(Event::FleetStatusWritten(Term::FIRST, result.clone()));
        assert_eq!(effects.contains(&"ReportFleetWrites".to_owned()), reported, "{result:?}");
        assert_eq!(leader.state.fleet_problem.as_ref().map(Problem::text).as_deref(), why);
        let _ = leader.wait();
        let _ = leader.collected("a");
        let _ = leader.published();
        let effects = leader.effects(Event::StatusesWritten(Term::FIRST, WRITTEN));
        let gauge = effects
            .iter()
            .any(|effect| matches!(effect, Effect::ReportGauges(_, written, _) if *written == why.is_none()));
        let shown =
            |effect: &Effect| matches!(effect, Effect::ShowCycle(report) if report.fleet_not_written.as_deref() == why);
        assert!(gauge && effects.iter().any(shown), "{result:?}");
    }
}

/// Five servers, of which `a` is hot, with a refresh plan.
fn planning() -> Leader {
    let mut leader = Leader::new(fleet(false, 1), &["a", "b", "c", "d", "e"]);
    leader.state.settings.refresh_plan = Some(PlanSettings::default());
    leader.step(Event::Timer);
    leader
}

/// The rungs of the plan, in the order of the names.
fn rungs(leader: &Leader) -> Vec<Option<u8>> {
    let plan = leader.state.plan.as_ref().expect("a plan");
    plan.servers().values().iter().map(|planned| planned.map(|planned| planned.rung.doublings())).collect()
}

const USES: [(&str, f64, u64); 4] = [("a", 0.0, 1), ("b", -600.0, 1), ("c", -36_000.0, 1), ("d", -864_000.0, 1)];

#[test]
fn the_refresh_plan_is_published_and_written_with_its_classification() {
    let mut leader = planning();
    assert_eq!(leader.collected_uses(&USES), ["Publish"]);
    let found = rungs(&leader);
    assert_eq!(found[0], Some(0), "hot");
    assert!(found[1] < found[2] && found[2] < found[3], "by the time since the last use: {found:?}");
    assert!(found[4] < found[3], "never used, and observed for a moment only: {found:?}");
    let planned = leader.state.plan.as_ref().unwrap().published();
    let effects = leader.effects(Event::Published(Term::FIRST, Ok(Published::default())));
    let statuses = effects.iter().find_map(|effect| match effect {
        Effect::WriteStatuses(plan) => Some(plan),
        _ => None,
    });
    let written = statuses.unwrap().changes().map(|change| {
        let polling = change.status.polling.as_ref().expect("an interval");
        Duration::from(polling.interval.expect("an interval"))
    });
    let planned: Vec<Duration> = planned.values().iter().map(|planned| planned.unwrap().interval()).collect();
    assert_eq!(written.collect::<Vec<_>>(), planned);
    let effects = leader.effects(Event::StatusesWritten(Term::FIRST, WRITTEN));
    let servers = effects.iter().find_map(|effect| match effect {
        Effect::ReportGauges(_, _, rungs) => Some(rungs.clone()),
        _ => None,
    });
    let mut expected = BTreeMap::new();
    for rung in found.into_iter().flatten() {
        let interval = INTERVAL * 5 * 2_u32.pow(rung.into());
        *expected.entry(interval.min(Duration::from_hours(4))).or_insert(0) += 1;
    }
    assert_eq!(servers, Some(expected));
    // A change that moves no rung publishes nothing.
    leader.now = 1.0;
    leader.registry = registry(&["a", "b", "c", "d", "e"], 2);
    assert_eq!(leader.step(Event::RegistryChanged(Arc::clone(&leader.registry))), ["WriteStatuses"]);
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    // One that moves rungs and nothing else publishes.
    let budget = PlanSettings::default().budget;
    leader.state.settings.refresh_plan = Some(PlanSettings::new(INTERVAL * 5, INTERVAL * 10, budget));
    leader.now = 2.0;
    leader.registry = registry(&["a", "b", "c", "d", "e"], 3);
    assert_eq!(leader.step(Event::RegistryChanged(Arc::clone(&leader.registry))), ["Publish"]);
}

#[test]
fn the_plan_of_a_fleet_at_rest_stays_and_ends_with_its_classification() {
    let mut leader = planning();
    leader.collected_uses(&USES);
    leader.published();
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    let first = rungs(&leader);
    for _ in 0..3 {
        assert_eq!(leader.wait(), ["Collect"]);
        leader.collected_uses(&[("a", leader.now, 1)]);
        leader.published();
        leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        assert_eq!(rungs(&leader)[..4], first[..4]);
    }
    leader.suspend(true);
    assert_eq!((&leader.state.plan, &leader.state.classification), (&None, &None));
}

#[test]
fn a_new_leader_plans_on_from_the_statuses() {
    let mut leader = planning();
    leader.collected_uses(&USES);
    let planned = leader.state.plan.as_ref().unwrap().published();
    let before = rungs(&leader);
    let objects: BTreeMap<_, _> = planned
        .iter()
        .map(|(url, planned)| {
            let name = &url.expose()["http://".len()..][..1];
            let seconds = planned.unwrap().interval().as_secs();
            let status = json!({
                "observedGeneration": 1, "tier": "Cold", "tierTransitionTime": "2001-09-09T01:46:40Z",
                "polling": {"interval": format!("{seconds}s")},
            });
            let record = record(name, &status);
            (record.name.clone(), record)
        })
        .collect();
    let registry = Arc::new(RegistrySnapshot::build(&objects, 1));
    let seen = Seen { registry: Arc::clone(&registry), ..Leader::new(fleet(false, 1), &[]).state.seen };
    let settings = ControllerSettings { refresh_plan: Some(PlanSettings::default()), ..leader.state.settings };
    let state = LeaderState::new(settings, seen, None, moment(0.0));
    let mut next = Leader { state, now: 0.0, moved: 0.0, registry };
    assert_eq!(rungs(&next), before);
    next.step(Event::Timer);
    next.now = 30.0;
    next.collected_uses(&USES);
    assert_eq!(rungs(&next), before);
    let observed_since = next.state.memory.observed_since(next.registry.servers());
    assert_eq!(observed_since.values(), [Some(time(0.0)); 5], "since the statuses have their tiers");
}

/// What the next publication has for each server, by the first letter of its host: `hot`, or its interval.
fn publication(effects: &[Effect]) -> BTreeMap<char, String> {
    let publication = effects.iter().find_map(|effect| match effect {
        Effect::Publish(publication, _) => Some(publication),
        _ => None,
    });
    let publication = publication.expect("a publication");
    let name = |server: &crate::model::ServerUrl| server.expose().chars().nth("http://".len()).expect("a host");
    let hot = publication.hot().map(|server| (name(server), "hot".to_owned()));
    hot.chain(publication.plan().map(|(server, planned)| (name(server), planned.to_string()))).collect()
}

/// The effects of a change of the registry a moment later.
fn change(leader: &mut Leader, registry: Arc<RegistrySnapshot>) -> Vec<Effect> {
    leader.now += 1.0;
    leader.registry = Arc::clone(&registry);
    leader.effects(Event::RegistryChanged(registry))
}

#[test]
fn objects_bound_the_intervals_of_their_servers_with_a_plan_and_without() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let bound = |name, interval: &str| (name, json!({"maxInterval": interval}), None, Value::Null);
    // The cold interval is 900 s, the hot one 300 s.
    let bounds = [bound("a", "1s"), bound("b", "10m"), bound("c", "1s"), bound("d", "15m"), bound("e", "20m")];
    let expected = [('a', "hot"), ('b', "600"), ('c', "300")].map(|(name, text)| (name, text.to_owned()));
    for plan in [None, Some(PlanSettings::default())] {
        let mut leader = Leader::new(fleet(false, 1), &NAMES);
        leader.state.settings.refresh_plan = plan;
        leader.step(Event::Timer);
        leader.collected_uses(&[("a", 0.0, 1), ("b", -1e7, 1), ("c", -1e7, 1), ("d", -1e7, 1), ("e", -1e7, 1)]);
        leader.published();
        leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        let effects = change(&mut leader, asking(&NAMES, 2, &bounds));
        let found = publication(&effects);
        if plan.is_none() {
            assert_eq!(found, BTreeMap::from(expected.clone()), "the others are cold, and their tier decides");
        } else {
            let seconds = |name: char| found[&name].parse::<u64>().unwrap();
            assert!(seconds('b') <= 600 && seconds('c') == 300 && seconds('d') <= 900 && seconds('e') <= 1200);
            assert_eq!(found[&'a'], "hot");
        }
        // The statuses show what Redis has.
        let effects = leader.effects(Event::Published(Term::FIRST, Ok(Published::default())));
        let Some(Effect::WriteStatuses(statuses)) = effects.last() else { panic!("{effects:?}") };
        for change in statuses.changes() {
            let name = change.name.name.chars().next().unwrap();
            let interval = change.status.polling.as_ref().and_then(|polling| polling.interval);
            let shown = interval.map(|interval| Duration::from(interval).as_secs().to_string());
            if name != 'a' {
                assert_eq!(shown.as_ref(), found.get(&name), "{name}");
            }
        }
        leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        // Without bounds the key goes.
        if plan.is_none() {
            let effects = change(&mut leader, registry(&NAMES, 3));
            assert_eq!(publication(&effects), BTreeMap::from([('a', "hot".to_owned())]));
        }
    }
}

/// A turn after a change of the registry, in which Redis takes the publication. Returns the value of the field of `e`
/// if it is published, and the `status.polling` of `e` if its status is written.
fn turn(leader: &mut Leader, registry: Arc<RegistrySnapshot>) -> (Option<String>, Option<Value>) {
    let mut effects = change(leader, registry);
    let mut value = None;
    if effects.iter().any(|effect| matches!(effect, Effect::Publish(..))) {
        value = publication(&effects).remove(&'e');
        effects = leader.effects(Event::Published(Term::FIRST, Ok(Published::default())));
    }
    let plan = effects.iter().find_map(|effect| match effect {
        Effect::WriteStatuses(plan) => Some(plan),
        _ => None,
    });
    let status = plan.expect("a plan").changes().find(|change| &*change.name.name == "e");
    let polling = status.map(|change| json!(change.status.polling));
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    (value, polling)
}

#[test]
fn a_refresh_request_is_published_then_answered_and_never_asked_twice() {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let asks = |value: &str, status: &Value, revision| {
        asking(&NAMES, revision, &[("e", Value::Null, Some(value), status.clone())])
    };
    let settled = || {
        let mut leader = Leader::new(fleet(false, 1), &NAMES);
        leader.step(Event::Timer);
        leader.collected("a");
        leader.published();
        leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
        leader
    };
    let answer = |value: &str, time: &str| {
        let interval = "900s";
        json!({"interval": interval, "lastHandledRefreshRequest": value, "lastRefreshRequestTime": time})
    };
    // The clock of the tests begins at 2001-09-09T01:46:40Z, which is 1e9.
    let past = "2001-09-09T01:46:30.25+00:00";
    let mut leader = settled();
    let (value, polling) = turn(&mut leader, asks(past, &Value::Null, 2));
    assert_eq!(value.as_deref(), Some("900,999999991"), "the cold interval, and the time of the annotation");
    let answered = answer(past, "2001-09-09T01:46:31Z");
    assert_eq!(polling, Some(answered.clone()));
    // The status shows the answer. The field stays as it is.
    let (value, _) = turn(&mut leader, asks(past, &answered, 3));
    assert_eq!(value, None, "nothing is published for it");
    // A new leader puts the same into its first publication.
    let mut next = settled();
    let (value, polling) = turn(&mut next, asks(past, &answered, 2));
    assert_eq!(value.as_deref(), Some("900,999999991"));
    assert_eq!(polling.unwrap()["lastRefreshRequestTime"], "2001-09-09T01:46:31Z");
    // Without the annotation the field goes. The answer stays.
    let (value, polling) = turn(&mut next, asking(&NAMES, 3, &[("e", Value::Null, None, answered.clone())]));
    let mut last = answered;
    last.as_object_mut().unwrap().remove("interval");
    assert_eq!((value, polling), (None, Some(last)));

    // A time that is ahead counts as the moment at which it was first seen, whoever leads, and however often it is
    // published before it is answered.
    let ahead = "2001-09-09T01:48:00Z";
    let mut leader = settled();
    let effects = change(&mut leader, asks(ahead, &Value::Null, 2));
    assert_eq!(publication(&effects)[&'e'], "900,1000000001");
    let effects = leader.effects(Event::Published(Term::FIRST, Err(not_held())));
    let written = effects.iter().find_map(|effect| match effect {
        Effect::WriteStatuses(plan) => Some(plan.changes().find(|change| &*change.name.name == "e")),
        _ => None,
    });
    let answered = written.flatten().and_then(|change| change.status.polling?.last_handled_refresh_request);
    assert_eq!(answered, None, "Redis has not taken it");
    leader.step(Event::StatusesWritten(Term::FIRST, WRITTEN));
    let (value, polling) = turn(&mut leader, asks(ahead, &Value::Null, 3));
    assert_eq!(value.as_deref(), Some("900,1000000001"), "not the moment of this turn");
    let answered = answer(ahead, "2001-09-09T01:46:41Z");
    assert_eq!(polling, Some(answered.clone()));
    let mut next = settled();
    next.now = 90.0;
    let (value, _) = turn(&mut next, asks(ahead, &answered, 2));
    assert_eq!(value.as_deref(), Some("900,1000000001"), "although its time has come");

    // A value that is not a time changes only the condition.
    let mut leader = settled();
    let (value, polling) = turn(&mut leader, asks("now", &Value::Null, 2));
    assert_eq!((value, polling), (None, Some(Value::Null)));
}
