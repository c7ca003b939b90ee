use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::*;
use crate::api::v1alpha1::registration::RegistrationStatus;
use crate::classify::{Classification, Params, Row, classify};
use crate::registration::outcome::{ObjectRegistration, Outcomes, RegisteredCondition};
use crate::registry::Change;

const NOW: f64 = 1_763_800_100.5;

/// A registry of one namespace.
struct World {
    objects: BTreeMap<ObjectName, (Value, i64)>,
    usage: HashMap<ServerUrl, ServerUsage>,
    context: PlanContext,
}

fn at(seconds: f64) -> UnixTime {
    UnixTime::from_seconds(seconds).unwrap()
}

fn classified(
    classification: &Classification,
    inputs: &PerServer<RankingInput>,
    intervals: &PerServer<Option<PlannedInterval>>,
) -> Tiers {
    Tiers::Classified {
        placements: Arc::clone(classification.placements()),
        inputs: Arc::new(inputs.clone()),
        intervals: Arc::new(intervals.clone()),
        answers: None,
    }
}

fn url(name: &str) -> ServerUrl {
    ServerUrl::parse(&format!("http://{name}")).unwrap()
}

impl World {
    /// Ten servers, two of them used.
    fn new() -> Self {
        let object = |n: usize| {
            (ObjectName::new("team", &format!("s{n}")), (json!({"spec": {"url": format!("http://s{n}")}}), 1))
        };
        let mut world = Self {
            objects: (0..10).map(object).collect(),
            usage: HashMap::new(),
            context: PlanContext {
                term: Term::FIRST,
                now: at(NOW),
                usage_interval: Duration::from_mins(10),
                registrations: Registrations::NotConfigured,
                answered_revision: 1,
            },
        };
        world.used("s1", 10.0);
        world.used("s2", 20.0);
        world
    }

    fn used(&mut self, server: &str, ago: f64) {
        let now = self.context.now.seconds();
        self.usage.entry(url(server)).or_default().merge(&ServerUsage::from(&Row::new(
            0,
            Some(at(now - ago)),
            1,
            0,
            5,
        )));
    }

    fn spec(&mut self, name: &str, spec: Value) {
        let (data, generation) = self.objects.get_mut(&ObjectName::new("team", name)).unwrap();
        data["spec"] = spec;
        *generation += 1;
    }

    fn status(&self, name: &str) -> &Value {
        &self.objects[&ObjectName::new("team", name)].0["status"]
    }

    fn snapshot(&self) -> RegistrySnapshot {
        let record = |(name, (data, generation)): (&ObjectName, &(Value, i64))| {
            let metadata: ObjectMeta = serde_json::from_value(json!({
                "namespace": &*name.namespace, "name": &*name.name, "resourceVersion": "7",
                "generation": generation, "uid": "u",
            }))
            .unwrap();
            (name.clone(), Arc::new(GatewayRecord::from_object(&metadata, data).unwrap()))
        };
        RegistrySnapshot::build(&self.objects.iter().map(record).collect(), 1)
    }

    fn classify(&self) -> (Classification, PerServer<RankingInput>) {
        let mut inputs: PerServer<RankingInput> = PerServer::of(self.snapshot().servers());
        let servers = Arc::clone(inputs.servers());
        for (input, server) in inputs.values_mut().iter_mut().zip(servers.iter()) {
            input.usage = self.usage.get(server).copied().unwrap_or_default();
        }
        self.snapshot().pin(&mut inputs, &Params::default());
        (classify(&inputs, self.context.now, &Params::default()), inputs)
    }

    /// Plans, applies the plan like the API server would, and returns it.
    fn turn(&mut self, tiers: Tiers) -> Vec<StatusChange> {
        let changes: Vec<_> = plan(&self.snapshot(), tiers, self.context.clone(), None).changes().collect();
        for change in &changes {
            self.objects.get_mut(&change.name).unwrap().0["status"] = json!(change.status);
        }
        changes
    }

    fn classified(&mut self) -> Vec<StatusChange> {
        let (classification, inputs) = self.classify();
        self.turn(classified(&classification, &inputs, &PerServer::default()))
    }

    fn later(&mut self, seconds: f64) {
        self.context.now = self.context.now.shifted(seconds);
    }
}

fn event(kind: ConditionType, status: ConditionStatus, reason: Reason) -> TargetCondition {
    TargetCondition { kind, status, reason, message: reason.message().into() }
}

fn names(changes: &[StatusChange]) -> Vec<&str> {
    changes.iter().map(|change| &*change.name.name).collect()
}

fn reason<'a>(status: &'a Value, kind: &str) -> &'a str {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|c| c["type"] == kind).map_or("–", |c| c["reason"].as_str().unwrap())
}

#[test]
fn the_first_classification_writes_every_object_and_the_next_none() {
    let mut world = World::new();
    assert_eq!(world.classified().len(), 10);
    assert_eq!((world.status("s1")["tier"].as_str(), world.status("s1")["rank"].as_i64()), (Some("Hot"), Some(1)));
    assert_eq!(
        (world.status("s3")["tier"].as_str(), reason(world.status("s3"), "Classified")),
        (Some("Cold"), "NeverUsed")
    );
    assert_eq!(world.status("s3").get("usage"), None);
    for _ in 0..5 {
        world.later(60.0);
        assert_eq!(world.classified(), []);
    }
}

#[test]
fn changed_objects_are_written_first_then_hot_servers_then_moves() {
    let mut world = World::new();
    let first = ["s1", "s2", "s0", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
    assert_eq!(names(&world.classified()), first, "hot servers first");
    // One server moves up, one down, and two objects have changed.
    world.later(60.0);
    world.used("s5", 0.0);
    let (classification, inputs) = world.classify();
    let mut snapshot = world.snapshot();
    for (name, revision) in [("s8", 2), ("s6", 3)] {
        let old = &snapshot.gateways().get("team", name).unwrap().record;
        let mut changed = (**old).clone();
        changed.finalizer = true;
        snapshot.apply(Arc::new(changed));
        snapshot.complete(Change::Settings);
        assert_eq!(snapshot.revision(), revision);
    }
    let context = PlanContext { term: Term::new(2).unwrap(), ..world.context.clone() };
    let tiers = classified(&classification, &inputs, &PerServer::default());
    let given_up = plan(&snapshot, Tiers::GivenUp, context.clone(), None);
    assert_eq!(
        given_up.due().iter().map(|gateway| &*gateway.record.name.name).collect::<Vec<_>>(),
        ["s6", "s8", "s0", "s1", "s2", "s3", "s4", "s5", "s7", "s9"],
        "all of them move"
    );
    let moved = plan(&snapshot, tiers, context, None);
    assert_eq!(names(&moved.changes().collect::<Vec<_>>()), ["s5", "s2"]);
}

#[test]
fn a_plan_from_what_is_settled_is_the_whole_plan() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut world = World::new();
    // Several pieces of the registry.
    world.objects = (0..700)
        .map(|n| (ObjectName::new("team", &format!("s{n:03}")), (json!({"spec": {"url": format!("http://s{n}")}}), 1)))
        .collect();
    let (mut written, mut looked_at) = (0, 0);
    for _ in 0..60 {
        // As for a change, or as in a cycle.
        world.context.usage_interval = if random.bool() { Duration::ZERO } else { Duration::from_mins(10) };
        world.classified();
        let (classification, inputs) = world.classify();
        let before = Arc::new(world.snapshot());
        let tiers = classified(&classification, &inputs, &PerServer::default());
        let whole = plan(&before, tiers.clone(), world.context.clone(), None);
        assert_eq!(whole.due(), [], "everything is written");
        let settled = whole.settled(&before);
        // Some servers are used, some objects are edited, and somebody else writes some statuses.
        let uses = random.usize(..3);
        for _ in 0..uses {
            world.used(&format!("s{}", random.usize(..700)), random.f64());
        }
        world.later(random.f64() * 300.0);
        let (classification, inputs) = world.classify();
        // Without a use, they are not ranked again.
        let ranked = || classified(&classification, &inputs, &PerServer::default());
        let tiers = if uses == 0 { tiers } else { ranked() };
        let tiers = random_tiers(&mut random).unwrap_or(tiers);
        let mut after = RegistrySnapshot::clone(&before);
        let mut change = Change::Status;
        for _ in 0..random.usize(..4) {
            let name = format!("s{:03}", random.usize(..700));
            let mut record = (*after.gateways().get("team", &name).unwrap().record).clone();
            match random.u8(..3) {
                0 => record.status.tier = None,
                1 => record.status.foreign = true,
                _ => record.generation += 1,
            }
            record.resource_version = "8".into();
            change = change.max(after.apply(Arc::new(record)));
        }
        after.complete(change);
        let of = |plan: &StatusPlan| plan.due().to_vec();
        let whole = plan(&after, tiers.clone(), world.context.clone(), None);
        let quick = plan(&after, tiers, world.context.clone(), Some(&settled));
        assert_eq!(of(&quick), of(&whole));
        let shared = after.gateways().pieces_beside(before.gateways()).filter(|(_, shared)| *shared);
        (written, looked_at) = (written + of(&whole).len(), looked_at + shared.count());
    }
    assert!(written > 60 && looked_at > 20, "{written} statuses, {looked_at} pieces left out");
}

/// Tiers other than those of a classification, now and then.
fn random_tiers(random: &mut fastrand::Rng) -> Option<Tiers> {
    match random.u8(..6) {
        0 => Some(Tiers::Suspended),
        1 => Some(Tiers::GivenUp),
        2 => Some(Tiers::Kept),
        _ => None,
    }
}

#[test]
fn times_are_whole_seconds_and_never_in_the_future() {
    let mut world = World::new();
    world.used("s4", -3600.0);
    world.classified();
    assert_eq!(world.status("s4")["usage"]["lastUsedTime"], "2025-11-22T08:28:20Z");
    assert_eq!(world.status("s1")["usage"]["lastUsedTime"], "2025-11-22T08:28:10Z");
}

#[test]
fn only_objects_whose_tier_moves_are_written_and_transition_times_are_kept() {
    let mut world = World::new();
    world.classified();
    let before = world.status("s1").clone();
    world.later(60.0);
    world.used("s3", 0.0);
    let changes = world.classified();
    assert_eq!(names(&changes), ["s3", "s2"]);
    assert_eq!(changes[1].moved, Some((Some(Tier::Hot), Some(Tier::Cold))));
    assert_eq!(world.status("s1"), &before, "its rank moved, which is not compared");
    let (s3, later) = (world.status("s3"), "2025-11-22T08:29:20Z");
    assert_eq!(s3["tierTransitionTime"], later);
    let ready = s3["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "Ready").unwrap();
    assert_eq!(ready["lastTransitionTime"], "2025-11-22T08:28:20Z", "Ready stayed True");
}

#[test]
fn usage_alone_is_written_at_its_own_interval_and_never_with_zero() {
    let mut world = World::new();
    world.classified();
    world.later(599.0);
    world.used("s1", 1.0);
    assert_eq!(world.classified(), []);
    world.later(1.0);
    assert_eq!(names(&world.classified()), ["s1"]);
    world.context.usage_interval = Duration::ZERO;
    world.later(6000.0);
    world.used("s1", 1.0);
    assert_eq!(world.classified(), []);
}

#[test]
fn a_changed_url_loses_tier_rank_and_usage_at_once() {
    let mut world = World::new();
    world.classified();
    let (classification, inputs) = world.classify();
    world.spec("s1", json!({"url": "http://elsewhere"}));
    let changes = world.turn(classified(&classification, &inputs, &PerServer::default()));
    assert_eq!(names(&changes), ["s1"]);
    let status = world.status("s1");
    assert_eq!((status.get("tier"), status.get("rank"), status.get("usage")), (None, None, None));
    assert_eq!((reason(status, "Classified"), reason(status, "Ready")), ("AwaitingUsage", "Registered"));
    assert_eq!(status["observedGeneration"], 2);
}

#[test]
fn kept_tiers_stay_unless_the_spec_has_changed() {
    let mut world = World::new();
    world.classified();
    world.spec("s2", json!({"url": "http://elsewhere"}));
    assert_eq!(names(&world.turn(Tiers::Kept)), ["s2"]);
    assert_eq!(world.status("s2").get("tier"), None);
    assert_eq!(world.status("s1")["tier"], "Hot");
    assert_eq!(world.turn(Tiers::Kept), []);
}

#[test]
fn before_the_first_classification_new_objects_are_registered() {
    let mut world = World::new();
    assert_eq!(world.turn(Tiers::Kept).len(), 10);
    assert_eq!(reason(world.status("s1"), "Ready"), "Registered");
    assert_eq!(reason(world.status("s1"), "Classified"), "AwaitingUsage");
    assert_eq!(world.turn(Tiers::Kept), []);
}

#[test]
fn giving_up_removes_every_tier_once() {
    let mut world = World::new();
    world.classified();
    assert_eq!(world.turn(Tiers::GivenUp).len(), 10);
    assert_eq!(reason(world.status("s1"), "Classified"), "UsageIncomplete");
    assert_eq!(world.turn(Tiers::GivenUp), []);
    assert_eq!(world.turn(Tiers::Kept), []);
}

#[test]
fn suspending_removes_every_tier_once_and_resuming_brings_them_back() {
    let mut world = World::new();
    let tiers = |world: &World| (0..10).map(|n| world.status(&format!("s{n}"))["tier"].clone()).collect::<Vec<_>>();
    world.classified();
    let before = tiers(&world);
    assert_eq!(world.turn(Tiers::Suspended).len(), 10);
    let status = world.status("s1");
    assert_eq!((status.get("tier"), status.get("rank")), (None, None));
    assert!(status.get("usage").is_some(), "a leader that takes over meanwhile ranks by it");
    assert_eq!((reason(status, "Classified"), reason(status, "Ready")), ("Suspended", "Registered"));
    assert_eq!(world.turn(Tiers::Suspended), []);

    world.spec("s1", json!({"url": "http://s1", "enabled": false}));
    world.spec("s2", json!({"url": "http://elsewhere"}));
    assert_eq!(names(&world.turn(Tiers::Suspended)), ["s1", "s2"], "an edit is still acknowledged");
    assert_eq!(reason(world.status("s1"), "Classified"), "Disabled");
    assert_eq!(reason(world.status("s2"), "Classified"), "Suspended");
    assert_eq!(world.status("s2").get("usage"), None, "it was the usage of another server");

    world.spec("s1", json!({"url": "http://s1"}));
    world.spec("s2", json!({"url": "http://s2"}));
    assert_eq!(world.classified().len(), 10);
    assert_eq!(tiers(&world), before);
}

#[test]
fn disabled_and_refused_objects_are_marked_and_only_acceptance_makes_an_event() {
    let mut world = World::new();
    assert!(
        world.classified().iter().all(|change| change.announced.is_empty()),
        "no Event for new objects that are accepted"
    );
    world.spec("s1", json!({"url": "http://s1", "enabled": false}));
    world.spec("s2", json!({"url": "http://s2?token=planted"}));
    let changes = world.classified();
    let events: Vec<_> = changes.iter().map(|change| (&*change.name.name, &change.announced[..])).collect();
    let refused = [event(ConditionType::Accepted, ConditionStatus::False, Reason::CredentialInUrl)];
    assert_eq!(events[..2], [("s1", &[][..]), ("s2", &refused)]);
    assert_eq!(reason(world.status("s1"), "Ready"), "Disabled");
    assert_eq!(reason(world.status("s2"), "Stalled"), "CredentialInUrl");
    assert!(!world.status("s2").to_string().contains("planted"));

    world.spec("s2", json!({"url": "http://s2"}));
    let changes = world.classified();
    let mended = changes.iter().find(|change| &*change.name.name == "s2").unwrap();
    assert_eq!(mended.announced, [event(ConditionType::Accepted, ConditionStatus::True, Reason::Valid)]);
    assert_eq!(reason(world.status("s2"), "Stalled"), "–");
}

#[test]
fn an_object_is_told_whether_its_pin_holds_and_a_change_for_the_worse_is_an_event() {
    let mut world = World::new();
    let pinned = |name: &str| json!({"url": format!("http://{name}"), "polling": {"tier": "Hot"}});
    let pin = |world: &World, name: &str| {
        let conditions = world.status(name)["conditions"].as_array().unwrap().clone();
        let found = conditions.iter().find(|condition| condition["type"] == "Pinned");
        found.map(|found| (found["status"].as_str().unwrap().to_owned(), found["reason"].as_str().unwrap().to_owned()))
    };
    let held = || Some(("True".to_owned(), "Pinned".to_owned()));
    let refused = || Some(("False".to_owned(), "TooManyPinned".to_owned()));
    world.spec("s5", pinned("s5"));
    let first = world.classified();
    assert!(first.iter().all(|change| change.announced.is_empty()), "a pin that holds from the beginning is no Event");
    assert_eq!((pin(&world, "s5"), pin(&world, "s1")), (held(), None));
    assert_eq!((&world.status("s5")["tier"], reason(world.status("s5"), "Classified")), (&json!("Hot"), "Pinned"));
    assert_eq!(world.classified(), []);

    // One of ten may be pinned. Of one age, the first by name keeps it.
    world.spec("s4", pinned("s4"));
    let changes = world.classified();
    let too_many = [event(ConditionType::Pinned, ConditionStatus::False, Reason::TooManyPinned)];
    let events: Vec<_> = changes.iter().map(|change| (&*change.name.name, &change.announced[..])).collect();
    assert_eq!(events, [("s4", &[][..]), ("s5", &too_many)]);
    assert_eq!((pin(&world, "s4"), pin(&world, "s5")), (held(), refused()));
    assert_eq!(reason(world.status("s5"), "Classified"), "NeverUsed", "ranked as usual");
    assert_eq!(world.classified(), []);

    world.spec("s4", json!({"url": "http://s4"}));
    let changes = world.classified();
    let granted = [event(ConditionType::Pinned, ConditionStatus::True, Reason::Pinned)];
    let events: Vec<_> = changes.iter().map(|change| (&*change.name.name, &change.announced[..])).collect();
    assert_eq!(events, [("s5", &granted[..]), ("s4", &[])], "hot servers first");
    assert_eq!((pin(&world, "s4"), pin(&world, "s5")), (None, held()));
    world.turn(Tiers::Suspended);
    assert_eq!(pin(&world, "s5"), None, "no tier, no pin");
}

#[test]
fn foreign_changes_are_reverted_in_everything_that_is_compared() {
    let mut world = World::new();
    world.classified();
    let pristine = world.objects.clone();
    let tamper: [fn(&mut Value); 5] = [
        |status| *status = json!({}),
        |status| status["tier"] = json!("Cold"),
        |status| status["observedGeneration"] = json!(99),
        |status| status["conditions"][0]["status"] = json!("False"),
        |status| {
            let stranger = json!({
                "type": "Theirs", "status": "True", "reason": "R", "message": "",
                "lastTransitionTime": "2025-01-01T00:00:00Z",
            });
            status["conditions"].as_array_mut().unwrap().push(stranger);
        },
    ];
    for edit in tamper {
        world.objects = pristine.clone();
        edit(&mut world.objects.get_mut(&ObjectName::new("team", "s1")).unwrap().0["status"]);
        assert_eq!(names(&world.classified()), ["s1"]);
        assert_eq!(world.status("s1")["tier"], "Hot");
        assert_eq!(world.classified(), []);
    }
    world.objects = pristine;
    world.objects.get_mut(&ObjectName::new("team", "s1")).unwrap().0["status"]["conditions"][0]["message"] =
        json!("other");
    assert_eq!(world.classified(), [], "messages are never compared");
}

#[test]
fn every_write_has_the_term_and_the_version_it_is_based_on() {
    let mut world = World::new();
    world.context.term = Term::new(12).unwrap();
    let changes = world.classified();
    assert!(changes.iter().all(|change| change.status.term == Some(12) && change.resource_version == "7".into()));
}

#[test]
fn a_planned_interval_is_written_only_when_it_changes() {
    let mut world = World::new();
    let (classification, inputs) = world.classify();
    let known = classification.placements().values().iter();
    let mut known = known.map(|placement| placement.map(|placement| placement.tier));
    let mut idle = crate::plan::PlanInput { idle: Duration::from_hours(1), ..Default::default() };
    let inputs_of_plan = inputs.map(|_| {
        idle.tier = known.next().flatten();
        idle
    });
    let settings = crate::plan::PlanSettings::default();
    let planned = crate::plan::plan(&inputs_of_plan, &crate::plan::Plan::default(), &settings).published();
    let tiers = classified(&classification, &inputs, &planned);
    assert_eq!(world.turn(tiers.clone()).len(), 10);
    assert_eq!(world.status("s1")["polling"], json!({"interval": "300s"}), "hot");
    let seconds = planned.get(3).unwrap().unwrap().interval().as_secs();
    assert!(seconds > 300);
    assert_eq!(world.status("s3")["polling"], json!({"interval": format!("{seconds}s")}));
    world.later(60.0);
    assert_eq!(world.turn(tiers), []);
    assert_eq!(world.turn(Tiers::Kept), []);
    let without = world.turn(classified(&classification, &inputs, &PerServer::default()));
    assert_eq!(without.len(), 10);
    assert!(without.iter().all(|change| change.status.polling.is_none() && change.moved.is_none()));
}

#[test]
fn a_refresh_request_is_answered_once_it_is_published_and_the_answer_stays() {
    let mut world = World::new();
    let request = |value: &str| RefreshRequest { value: value.into(), time: Some(at(NOW).rounded_up()) };
    let answers: HashMap<_, _> = [(ObjectName::new("team", "s3"), request("2025-11-22T08:28:20Z"))].into();
    let answered = json!({
        "lastHandledRefreshRequest": "2025-11-22T08:28:20Z", "lastRefreshRequestTime": "2025-11-22T08:28:21Z",
    });
    world.classified();
    let (classification, inputs) = world.classify();
    let (inputs, answers) = (Arc::new(inputs), Arc::new(answers));
    let tiers = |answers: Option<&Arc<HashMap<_, _>>>| Tiers::Classified {
        placements: Arc::clone(classification.placements()),
        inputs: Arc::clone(&inputs),
        intervals: Arc::default(),
        answers: answers.cloned(),
    };
    assert_eq!(names(&world.turn(tiers(Some(&answers)))), ["s3"]);
    assert_eq!(world.status("s3")["polling"], answered);
    assert_eq!(world.turn(tiers(Some(&answers))), [], "the watch has not shown the answer yet, or it has");
    assert_eq!(world.turn(tiers(None)), []);
    assert_eq!(world.turn(Tiers::Suspended).len(), 10);
    assert_eq!(world.status("s3")["polling"], answered);
    world.spec("s3", json!({"url": "http://s3", "enabled": false}));
    world.classified();
    assert_eq!(world.status("s3")["polling"], answered);
}

/// An outcome of the first generation of an object whose uid is `u`.
fn outcomes(reason: Reason, status: RegistrationStatus) -> Outcomes {
    let condition = RegisteredCondition::new(reason);
    [("u".into(), ObjectRegistration { generation: 2, condition, status })].into()
}

fn condition(world: &World, kind: &str) -> (String, String) {
    let conditions = world.status("s3")["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    found.map_or_else(Default::default, |found| {
        (found["status"].as_str().unwrap().to_owned(), found["reason"].as_str().unwrap().to_owned())
    })
}

#[test]
fn ready_includes_the_registration_and_a_contextforge_that_is_away_changes_it_not() {
    let mut world = World::new();
    let entry = RegistrationStatus { id: Some("e1".into()), version: Some(1), ..RegistrationStatus::default() };
    world.spec("s3", json!({"url": "http://s3", "registration": {}}));
    let is = |world: &World, kind: &str, status: &str, reason: &str| {
        assert_eq!(condition(world, kind), (status.to_owned(), reason.to_owned()), "{kind}");
    };
    world.classified();
    is(&world, "Registered", "False", "NotConfigured");
    is(&world, "Ready", "False", "NotConfigured");
    is(&world, "Classified", "True", "NeverUsed");

    let turn = |world: &mut World, reason, status: &RegistrationStatus| {
        let registrations = Registrations::Known(Arc::new(outcomes(reason, status.clone())));
        let before = std::mem::replace(&mut world.context.registrations, registrations);
        let changes = world.classified();
        world.context.registrations = before;
        changes.into_iter().filter(|change| &*change.name.name == "s3").collect::<Vec<_>>()
    };
    turn(&mut world, Reason::Pending, &RegistrationStatus::default());
    is(&world, "Ready", "False", "Pending");
    let events = turn(&mut world, Reason::Registered, &entry);
    assert_eq!(events[0].announced.len(), 1, "registered");
    is(&world, "Ready", "True", "Classified");
    assert_eq!(world.status("s3")["registration"]["id"], "e1");
    assert_eq!(turn(&mut world, Reason::Registered, &entry), [], "in step");

    turn(&mut world, Reason::ContextForgeUnreachable, &entry);
    is(&world, "Registered", "Unknown", "ContextForgeUnreachable");
    is(&world, "Ready", "True", "Classified");
    turn(&mut world, Reason::Rejected, &entry);
    is(&world, "Ready", "False", "Rejected");
    turn(&mut world, Reason::RateLimited, &entry);
    is(&world, "Ready", "False", "Rejected");

    // A new leader has no outcome yet, and a spec that is newer than the outcome waits for one.
    turn(&mut world, Reason::Registered, &entry);
    let none = Outcomes::new();
    world.context.registrations = Registrations::Known(Arc::new(none));
    assert_eq!(world.turn(Tiers::Kept), [], "everything stays");
    world.spec("s3", json!({"url": "http://s3", "registration": {"tags": ["ab"]}}));
    world.classified();
    is(&world, "Registered", "Unknown", "Pending");
    is(&world, "Ready", "False", "Pending");
    assert_eq!(world.status("s3")["registration"]["id"], "e1", "the entry is not forgotten");
    // Without the block, nothing remains.
    world.spec("s3", json!({"url": "http://s3"}));
    world.classified();
    assert!(world.status("s3")["registration"].is_null() && condition(&world, "Registered").0.is_empty());
    is(&world, "Ready", "True", "Classified");
}

#[test]
fn a_registration_is_written_while_tiers_are_kept_and_changes_none() {
    let mut world = World::new();
    world.spec("s1", json!({"url": "http://s1", "registration": {}}));
    world.classified();
    let before = world.status("s1").clone();
    let entry = RegistrationStatus { id: Some("e1".into()), ..RegistrationStatus::default() };
    world.context.registrations = Registrations::Known(Arc::new(outcomes(Reason::Registered, entry)));
    world.later(30.0);
    let changes = world.turn(Tiers::Kept);
    assert_eq!(names(&changes), ["s1"]);
    let after = world.status("s1");
    for kept in ["tier", "tierTransitionTime", "rank", "usage", "observedGeneration"] {
        assert_eq!(before[kept], after[kept], "{kept}");
    }
    assert_eq!((reason(after, "Classified"), reason(after, "Ready")), ("AboveCut", "Classified"));
}

#[test]
fn a_registration_that_fails_for_another_cause_with_the_same_reason_says_so() {
    let mut world = World::new();
    world.spec("s3", json!({"url": "http://s3", "registration": {}}));
    world.classified();
    let turn = |world: &mut World, message: &'static str, repeats: bool| {
        let condition =
            RegisteredCondition { message: message.into(), repeats, ..RegisteredCondition::new(Reason::Rejected) };
        let status = RegistrationStatus::default();
        let outcome = ObjectRegistration { generation: 2, condition, status };
        world.context.registrations = Registrations::Known(Arc::new([("u".into(), outcome)].into()));
        names(&world.turn(Tiers::Kept)).len()
    };
    assert_eq!(turn(&mut world, "There is no label: add it", false), 1);
    assert_eq!(turn(&mut world, "There is no label: add it", false), 0);
    assert_eq!(turn(&mut world, "The origin is not listed: add it", false), 1);
    // What others say may have a number in it that changes with each attempt.
    assert_eq!(turn(&mut world, "Refused (reference 17): change it", true), 0);
    assert_eq!(turn(&mut world, "Refused (reference 18): change it", true), 0);
}
