use serde_json::json;

use super::*;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::registration::RegistrationSpec;
use crate::model::{GatewayId, ObjectUid, ServerUrl};
use crate::registration::desired::Credentials;
use crate::registration::outcome::known_entry;
use crate::registration::wanted::KnownEntry;

const RESYNC: u64 = 300;

/// A leader, the registry and a `ContextForge` that always accepts.
struct World {
    rounds: Rounds,
    seconds: f64,
    objects: BTreeMap<ObjectUid, RegistryObject>,
    entries: Vec<Entry>,
    /// What was sent, with its time.
    sent: Vec<(f64, String)>,
    lists_fail: bool,
    creates_fail: bool,
    /// `ContextForge` accepts updates and keeps the description.
    updates_are_lost: bool,
    /// How long a create takes.
    create_seconds: f64,
    /// How long a list takes.
    list_seconds: f64,
}

fn object(name: &str, used: Option<f64>) -> RegistryObject {
    let name = ObjectName::new("team", name);
    let url = ServerUrl::parse(&format!("http://{}/mcp", name.name)).unwrap();
    let gateway = DesiredGateway::new(&RegistrationSpec::default(), &name, url, Credentials::None, String::new());
    let object = RegistrationObject {
        uid: format!("uid-{}", name.name).as_str().into(),
        name,
        wanted: Wanted::Registered { gateway: Box::new(gateway), credentials: None, enabled: true },
        adopt: None,
        may_adopt_foreign: false,
        known: None,
        create_started: None,
    };
    RegistryObject { object, generation: 1, status: None, last_used: used.and_then(UnixTime::from_seconds), created: 7 }
}

fn at(seconds: f64) -> Monotonic {
    Monotonic::at(Duration::from_secs_f64(seconds))
}

fn time(seconds: f64) -> UnixTime {
    UnixTime::from_seconds(1_763_800_000.0 + seconds).unwrap()
}

impl World {
    fn new(objects: impl IntoIterator<Item = RegistryObject>) -> Self {
        let owner = OwnerId::parse("fleet-a").unwrap();
        let mut world = Self {
            rounds: Rounds::new(owner, Term::FIRST, Duration::from_secs(RESYNC), 60, at(1.0)),
            seconds: 1.0,
            objects: objects.into_iter().map(|object| (object.object.uid.clone(), object)).collect(),
            entries: Vec::new(),
            sent: Vec::new(),
            lists_fail: false,
            creates_fail: false,
            updates_are_lost: false,
            create_seconds: 0.0,
            list_seconds: 0.0,
        };
        world.set_objects();
        world
    }

    fn set_objects(&mut self) {
        let objects: Vec<_> = self.objects.values().cloned().collect();
        let living = objects.iter().map(|object| object.object.name.clone()).collect();
        self.rounds.set_objects(objects, Arc::new(living));
    }

    /// What the leader's loop and the watch do: outcomes become statuses.
    fn write_statuses(&mut self) {
        let Some(outcomes) = self.rounds.take_outcomes() else { return };
        for (uid, outcome) in outcomes {
            let object = self.objects.get_mut(&uid).unwrap();
            object.object.known = known_entry(&outcome.status, outcome.condition.reason != Reason::Disabled);
            let started = outcome.status.create_started.as_ref();
            object.object.create_started = started.and_then(|started| Term::new(i64::from(started.term)));
            object.status = Some(outcome.status);
        }
        self.set_objects();
    }

    fn answer(&mut self, request: Request) {
        let sent = self.seconds;
        if matches!(request, Request::Call { call: Call::Create, .. }) {
            self.seconds += self.create_seconds;
        }
        if request == Request::List {
            self.seconds += self.list_seconds;
        }
        let now = at(self.seconds);
        match request {
            Request::List => {
                self.sent.push((self.seconds, "list".to_owned()));
                let failed = || Err(CallError::Unreachable("refused".to_owned()));
                let answer = if self.lists_fail { failed() } else { Ok(self.entries.clone()) };
                self.rounds.listed(answer, now, time(self.seconds));
            }
            Request::Ask(id) => {
                self.sent.push((self.seconds, format!("ask {id}")));
                let answer = if self.lists_fail { Err(CallError::TimedOut) } else { Err(CallError::NotFound) };
                let says_something = self.rounds.asked(&id, answer, now);
                assert_eq!(says_something, !self.lists_fail);
            }
            Request::Call { uid, call, gateway, creator } => {
                self.sent.push((sent, format!("{} {}", call.name(), creator.object.name)));
                let answer = match &call {
                    Call::Create if self.creates_fail && &*creator.object.name != "good" => {
                        Err(CallError::UpstreamUnreachable("refused".to_owned()))
                    }
                    Call::Create | Call::Update(_) => {
                        let mut entry = entry(&gateway.unwrap(), &creator);
                        if let Call::Update(id) = &call {
                            let index = self.entries.iter().position(|old| old.id == *id).unwrap();
                            let old = self.entries.remove(index);
                            (entry.id, entry.version) = (old.id, old.version + 1);
                            if self.updates_are_lost {
                                entry.description = old.description;
                            }
                        }
                        self.entries.push(entry.clone());
                        Ok(Answer::Entry(Box::new(entry)))
                    }
                    Call::Get(_) => Err(CallError::NotFound),
                    other => panic!("{other:?}"),
                };
                self.rounds.answered(&uid, &call, answer, now);
            }
        }
    }

    /// Goes on for so many seconds; each answer comes at once, and outcomes are in the statuses a moment later.
    fn run(&mut self, seconds: f64) {
        let end = self.seconds + seconds;
        while self.seconds < end {
            match self.rounds.next(at(self.seconds), time(self.seconds)) {
                Next::Send(request) => self.answer(request),
                Next::WaitForAnswer => panic!("every request was answered"),
                Next::Wait(until) => {
                    let next = self.seconds + until.since(at(self.seconds)).as_secs_f64().max(0.01);
                    let next = if self.rounds.outcomes_changed { next.min(self.seconds + 0.3) } else { next };
                    self.seconds = next.min(end);
                    self.write_statuses();
                }
            }
        }
    }

    /// How often an object that appears now is created within 20 s.
    fn creates_of_a_new_object(&mut self) -> usize {
        let good = object("good", None);
        self.objects.insert(good.object.uid.clone(), good);
        self.set_objects();
        self.run(20.0);
        self.count("create good")
    }

    fn count(&self, what: &str) -> usize {
        self.sent.iter().filter(|(_, sent)| sent.starts_with(what)).count()
    }

    fn reasons(&self) -> BTreeSet<String> {
        let shown = self.rounds.tracked.values().filter_map(|tracked| tracked.shown.as_ref());
        shown.map(|shown| shown.condition.reason.to_string()).collect()
    }
}

fn entry(gateway: &DesiredGateway, creator: &Creator) -> Entry {
    Entry::read(&json!({
        "id": format!("id-{}", creator.object.name), "name": gateway.name, "url": gateway.stored_url(),
        "description": gateway.description, "transport": gateway.transport_name(), "tags": gateway.tags,
        "visibility": gateway.visibility_name(), "enabled": true, "reachable": true, "version": 1,
        "passthroughHeaders": gateway.passthrough_headers, "createdUserAgent": creator.to_string(),
    }))
    .unwrap()
}

#[test]
fn a_fleet_is_filled_at_the_constant_rate_and_then_costs_one_request_a_round() {
    let mut world = World::new((0..40).map(|n| object(&format!("s{n:02}"), None)));
    world.run(60.0);
    assert_eq!((world.count("create"), world.entries.len()), (40, 40));
    assert!(world.count("list") <= 2, "{:?}", world.sent);
    assert_eq!(world.reasons(), ["Registered".to_owned()].into());
    let (creates, lists) = (world.count("create"), world.count("list"));
    world.run(5.0 * 300.0);
    assert_eq!((world.count("create"), world.sent.len() - creates - lists), (40, 5), "{:?}", world.sent);
}

#[test]
fn what_was_used_most_recently_is_registered_first() {
    let mut world = World::new([object("a", None), object("b", Some(5.0)), object("c", Some(9.0)), object("d", None)]);
    world.run(30.0);
    let creates: Vec<_> = world.sent.iter().filter(|(_, sent)| sent != "list").map(|(_, sent)| &sent[..]).collect();
    assert_eq!(creates, ["create c", "create b", "create a", "create d"]);
}

#[test]
fn few_creates_are_announced_ahead_of_time() {
    let mut world = World::new((0..40).map(|n| object(&format!("s{n:02}"), None)));
    let announced =
        |world: &World| world.objects.values().filter(|object| object.object.create_started.is_some()).count();
    for _ in 0..30 {
        world.run(1.0);
        assert!(announced(&world) <= MOST_ANNOUNCED, "{}", announced(&world));
    }
    assert!(world.count("create") > 20);
}

#[test]
fn an_edit_is_one_update_and_a_fresh_list_at_the_most() {
    let mut world = World::new([object("a", None)]);
    world.run(200.0);
    let before = world.sent.len();
    let edited = world.objects.values_mut().next().unwrap();
    edited.generation = 2;
    if let Wanted::Registered { gateway, .. } = &mut edited.object.wanted {
        gateway.tags = vec!["new".to_owned()];
    }
    world.set_objects();
    world.run(50.0);
    let sent: Vec<_> = world.sent[before..].iter().map(|(_, sent)| &sent[..]).collect();
    assert_eq!(sent, ["list", "update a"]);
    assert_eq!(world.rounds.tracked.values().next().unwrap().shown.as_ref().unwrap().generation, 2);
}

#[test]
fn a_failure_is_tried_again_with_growing_pauses() {
    let mut world = World::new([object("a", None)]);
    world.creates_fail = true;
    world.run(3_000.0);
    let times: Vec<f64> = world.sent.iter().filter(|(_, sent)| sent == "create a").map(|(time, _)| *time).collect();
    let pauses: Vec<f64> = times.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(pauses[0] < 20.0 && pauses.iter().all(|pause| *pause < 305.0), "{pauses:?}");
    assert!((8..=16).contains(&times.len()), "{times:?}");
    assert_eq!(world.reasons(), ["UpstreamUnreachable".to_owned()].into());
    world.creates_fail = false;
    world.run(301.0);
    assert_eq!(world.reasons(), ["Registered".to_owned()].into());
}

#[test]
fn a_deleted_object_whose_entry_is_gone_costs_no_further_request() {
    let mut one = object("a", None);
    one.object.wanted = Wanted::Deleted;
    one.object.known =
        Some(KnownEntry { id: GatewayId::parse("id-a").unwrap(), version: Some(1), credentials: None, enabled: true });
    let mut world = World::new([one]);
    world.run(1_000.0);
    assert_eq!(world.rounds.gone().count(), 1);
    assert_eq!((world.count("get"), world.count("list")), (1, 4), "{:?}", world.sent);
}

#[test]
fn objects_that_keep_failing_do_not_keep_others_waiting() {
    let mut world = World::new((0..2 * RESYNC).map(|number| object(&format!("a{number}"), None)));
    world.creates_fail = true;
    world.run(1_000.0);
    assert_eq!(world.creates_of_a_new_object(), 1);
}

#[test]
fn a_create_that_fails_after_more_than_a_resync_is_said_and_tried_again_later() {
    let mut world = World::new([object("a", None)]);
    (world.creates_fail, world.create_seconds) = (true, 301.0);
    world.run(1_000.0);
    assert_eq!(world.reasons(), ["UpstreamUnreachable".to_owned()].into());
    let times: Vec<f64> = world.sent.iter().filter(|(_, sent)| sent == "create a").map(|(time, _)| *time).collect();
    assert!(times[1] - times[0] > world.create_seconds + 14.0, "{times:?}");
}

#[test]
fn a_brief_interruption_is_not_shown_and_a_long_one_is() {
    let mut world = World::new([object("a", None)]);
    world.run(250.0);
    world.lists_fail = true;
    world.run(60.0);
    assert_eq!(world.reasons(), ["Registered".to_owned()].into());
    world.run(60.0);
    assert_eq!(world.reasons(), ["ContextForgeUnreachable".to_owned()].into());
    let id = GatewayId::parse("id-a").unwrap();
    assert_eq!(world.objects.values().next().unwrap().object.known.as_ref().unwrap().id, id, "it is not forgotten");
    world.lists_fail = false;
    world.run(70.0);
    assert_eq!((world.reasons(), world.count("create")), (["Registered".to_owned()].into(), 1));
}

#[test]
fn reachable_changes_after_three_rounds_that_agree() {
    let mut world = World::new([object("a", None)]);
    world.run(30.0);
    let mut shown = Vec::new();
    for reachable in [false, true, false, false, false, true] {
        world.entries[0].reachable = reachable;
        world.run(300.0);
        shown.push(world.objects.values().next().unwrap().status.as_ref().unwrap().reachable.unwrap());
    }
    assert_eq!(shown, [true, true, true, true, false, false]);
}

#[test]
fn a_new_leader_waits_for_the_creates_that_were_announced() {
    let mut one = object("a", None);
    one.object.create_started = Term::new(1);
    let mut world = World::new([one]);
    world.rounds.raise_term(Term::new(2).unwrap());
    world.run(200.0);
    let create = world.sent.iter().find(|(_, sent)| sent == "create a").unwrap();
    let list = world.sent.iter().rfind(|(time, sent)| sent == "list" && *time <= create.0).unwrap();
    assert!(list.0 >= 41.0 && create.0 < 60.0, "{:?}", world.sent);
}

#[test]
fn asks_come_after_objects_at_the_same_rate_and_once_after_a_list() {
    let mut world = World::new([object("a", None)]);
    let ids = || ["x", "y"].map(|id| GatewayId::parse(id).unwrap()).to_vec();
    world.rounds.set_asks(ids());
    world.run(1.5);
    assert_eq!(world.count("ask"), 0, "only the list says what is missing");
    world.rounds.set_asks(ids());
    world.run(60.0);
    world.rounds.set_asks(ids());
    world.run(60.0);
    let order: Vec<&str> = world.sent.iter().map(|(_, sent)| &**sent).collect();
    assert_eq!(order, ["list", "create a", "ask y", "ask x"]);
    let distances = world.sent.windows(2).map(|two| two[1].0 - two[0].0);
    assert!(distances.into_iter().all(|distance| distance >= 0.99), "{:?}", world.sent);
    let observed = world.rounds.observed().unwrap();
    assert!(ids().iter().all(|id| observed.lacks(id) && !observed.has(id)));
    // The next list knows nothing of it.
    world.run(300.0);
    world.rounds.set_asks(ids());
    world.lists_fail = true;
    world.run(10.0);
    assert_eq!(world.count("ask"), 4);
    assert!(!ids().iter().any(|id| world.rounds.observed().unwrap().lacks(id)));
}

#[test]
fn an_edit_while_a_create_is_waited_for_lists_nothing() {
    let mut one = object("a", None);
    one.object.create_started = Term::new(1);
    let mut world = World::new([one]);
    world.rounds.raise_term(Term::new(2).unwrap());
    world.run(5.0);
    world.objects.values_mut().for_each(|object| object.generation = 2);
    world.set_objects();
    world.run(25.0);
    assert_eq!(world.count("list"), 1, "{:?}", world.sent);
}

#[test]
fn an_object_that_returns_is_not_created_again_while_its_create_may_take_effect() {
    let mut world = World::new([object("a", None)]);
    world.run(0.9);
    let Next::Send(Request::Call { uid, call: Call::Create, .. }) = world.rounds.next(at(3.0), time(3.0)) else {
        panic!("a create is due: {:?}", world.sent);
    };
    // The object leaves the watch with its status and comes back.
    world.rounds.set_objects(Vec::new(), Arc::default());
    world.rounds.answered(&uid, &Call::Create, Err(CallError::TimedOut), at(38.0));
    world.seconds = 38.0;
    world.set_objects();
    world.run(200.0);
    let create = world.sent.iter().find(|(_, sent)| sent == "create a").unwrap();
    assert!(create.0 >= 78.0, "{:?}", world.sent);
}

#[test]
fn objects_that_others_keep_changing_do_not_keep_others_waiting() {
    let mut world = World::new((0..200).map(|number| object(&format!("a{number}"), Some(5.0))));
    world.run(400.0);
    world.updates_are_lost = true;
    world.entries.iter_mut().for_each(|entry| entry.description = "theirs".to_owned());
    world.run(1_000.0);
    assert_eq!(world.creates_of_a_new_object(), 1);
}

#[test]
fn a_list_that_takes_long_serves_too() {
    let mut world = World::new([object("a", None)]);
    world.list_seconds = 70.0;
    world.run(300.0);
    assert_eq!(world.count("create a"), 1, "{:?}", world.sent);
}
