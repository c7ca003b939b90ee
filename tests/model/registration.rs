//! A model of creates in `ContextForge` (docs/contract.md#registration-in-contextforge), which has no fence: every
//! order of lists, decisions, creates that take effect late, lost answers and changes of leader, for one object.
//!
//! The decisions are the program's own ([`Context::decide`], [`Context::answered`]); the order of the steps around them
//! is a copy. Time passes in steps of 20 s. A create takes effect at once, in the next step, or never: it ends after
//! 35 s. `ContextForge` refuses a name that is taken when the request arrives, and does not look again later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcpgateway_operator::api::v1alpha1::registration::RegistrationSpec;
use mcpgateway_operator::contextforge::call_error::CallError;
use mcpgateway_operator::contextforge::entry::Entry;
use mcpgateway_operator::model::{GatewayId, Monotonic, ObjectName, ServerUrl, Term};
use mcpgateway_operator::registration::desired::{Credentials, DesiredGateway};
use mcpgateway_operator::registration::observed::Observed;
use mcpgateway_operator::registration::ownership::{Creator, OwnerId};
use mcpgateway_operator::registration::reconcile::{
    Answer, Call, Context, Decision, Progress, RegistrationState, SeenEntry,
};
use mcpgateway_operator::registration::wanted::{KnownEntry, RegistrationObject, Wanted};
use serde_json::json;
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

const LAST_STEP: u8 = 4;

/// What the object's status says, and its resourceVersion.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Status {
    term: u8,
    known: Option<u8>,
    announced: Option<u8>,
    version: u8,
}

/// An entry: its id, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Made {
    id: u8,
    time: u8,
}

/// A create that may still take effect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Flight {
    sender: usize,
    sent: u8,
    /// Whether its sender still waits.
    awaited: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leader {
    term: u8,
    progress: Progress,
    /// The status as the watch has shown it.
    seen: Status,
    list: Option<(u8, Vec<Made>)>,
    /// Decided, and not sent yet.
    call: Option<Call>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    time: u8,
    entries: Vec<Made>,
    next_id: u8,
    status: Status,
    /// The last one leads.
    leaders: Vec<Leader>,
    flights: Vec<Flight>,
    /// Changes of leader that may still happen.
    changes: u8,
    /// How often a process may be paused between its last look at its leadership and the request.
    pauses: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Watch,
    List,
    Decide,
    Send {
        leader: usize,
    },
    /// A create takes effect; whether its sender gets the answer.
    Land {
        flight: usize,
        answered: bool,
    },
    /// The sender of a create loses the connection.
    Lose {
        flight: usize,
    },
    /// Another process leads; whether the old one was paused before a request.
    Change {
        paused: bool,
    },
    Pass,
}

/// `announced`: whether a new leader respects the announcements of its predecessor. Without that, the model must break.
#[derive(Clone, Copy, Debug)]
struct Creates {
    changes: u8,
    pauses: u8,
    announced: bool,
}

fn id(number: u8) -> GatewayId {
    GatewayId::parse(&number.to_string()).expect("an id")
}

fn number(id: &GatewayId) -> u8 {
    id.text().parse().expect("an id of the model")
}

fn at(step: u8) -> Monotonic {
    Monotonic::at(Duration::from_secs(1 + 20 * u64::from(step)))
}

fn owner() -> OwnerId {
    OwnerId::parse("fleet").expect("an owner")
}

fn object(leader: &Leader) -> RegistrationObject {
    let name = ObjectName::new("team", "a");
    let url = ServerUrl::parse("http://a/mcp").expect("a URL");
    let gateway = DesiredGateway::new(&RegistrationSpec::default(), &name, url, Credentials::None, String::new());
    let known = |number: u8| KnownEntry { id: id(number), version: Some(1), credentials: None, enabled: true };
    RegistrationObject {
        name,
        uid: "uid".into(),
        wanted: Wanted::Registered { gateway: Box::new(gateway), credentials: None, enabled: true },
        adopt: None,
        may_adopt_foreign: false,
        known: leader.seen.known.map(known),
        create_started: leader.seen.announced.and_then(|term| Term::new(i64::from(term))),
    }
}

fn entry(made: &Made) -> Entry {
    static ENTRIES: Mutex<BTreeMap<(u8, u8), Entry>> = Mutex::new(BTreeMap::new());
    let mut entries = ENTRIES.lock().expect("no test panics while it holds the lock");
    entries.entry((made.id, made.time)).or_insert_with(|| parsed(made)).clone()
}

fn parsed(made: &Made) -> Entry {
    let creator = Creator { owner: owner(), object: ObjectName::new("team", "a"), uid: "uid".into() };
    Entry::read(&json!({
        "id": made.id.to_string(), "name": "team-a", "url": "http://a/mcp", "description": "",
        "transport": "STREAMABLEHTTP", "tags": [], "visibility": "public", "enabled": true, "reachable": true,
        "version": 1, "passthroughHeaders": [], "createdUserAgent": creator.to_string(),
        "createdAt": format!("2026-01-01T00:00:{:02}", made.time),
    }))
    .expect("an entry")
}

fn observed(list: &(u8, Vec<Made>)) -> Observed {
    Observed::new(list.1.iter().map(entry).collect(), at(list.0))
}

fn context(leader: &Leader) -> Context {
    Context {
        owner: owner(),
        user: None,
        term: Term::new(i64::from(leader.term)).expect("a term"),
        living: Arc::new([ObjectName::new("team", "a")].into()),
        claims: BTreeMap::new(),
    }
}

impl World {
    fn leads(&self, leader: usize) -> bool {
        leader + 1 == self.leaders.len()
    }

    /// The watch of the present leader shows the status.
    fn watch(&mut self, model: Creates) {
        let Some(leader) = self.leaders.last_mut() else { return };
        leader.seen.clone_from(&self.status);
        if !model.announced && leader.seen.announced != Some(leader.term) {
            leader.seen.announced = None;
        }
    }

    fn list(&mut self) {
        let Some(leader) = self.leaders.last_mut() else { return };
        leader.list = Some((self.time, self.entries.clone()));
        leader.progress.begin_round();
    }

    /// The present leader decides. What it says goes into the status, unless it is based on an old one.
    fn decide(&mut self) {
        let Some(leader) = self.leaders.last_mut() else { return };
        let Some(list) = &leader.list else { return };
        let (object, context) = (object(leader), context(leader));
        let Decision { call, outcome } = context.decide(&object, &observed(list), &mut leader.progress, at(self.time));
        if call.is_some() {
            leader.call = call;
            return;
        }
        let mut next = self.status.clone();
        match outcome.entry {
            SeenEntry::Entry(entry) => (next.known, next.announced) = (Some(number(&entry.known.id)), None),
            SeenEntry::None if outcome.state == RegistrationState::Creating => next.announced = Some(leader.term),
            SeenEntry::None => next.known = None,
            SeenEntry::Unseen => {}
        }
        let unchanged = (next.known, next.announced) == (self.status.known, self.status.announced);
        if !unchanged && leader.seen.version == self.status.version && leader.term >= self.status.term {
            self.status = Status { term: leader.term, version: self.status.version + 1, ..next };
        }
    }

    fn answer(&mut self, leader: usize, call: &Call, answer: Result<Answer, CallError>) {
        let Some(leader) = self.leaders.get_mut(leader) else { return };
        let Some(list) = &leader.list else { return };
        let (object, context, mut seen) = (object(leader), context(leader), observed(list));
        context.answered(&object, call, answer, &mut seen, &mut leader.progress, at(self.time));
        // What the answers have shown is a part of the list from now on.
        let known = |entry: &Entry| {
            let found = self.entries.iter().find(|made| made.id == number(&entry.id));
            found.cloned().unwrap_or_else(|| Made { id: number(&entry.id), time: 0 })
        };
        leader.list = Some((list.0, seen.entries().map(known).collect()));
    }

    fn send(&mut self, leader: usize) {
        let Some(call) = self.leaders.get_mut(leader).and_then(|leader| leader.call.take()) else { return };
        match &call {
            Call::Create if self.entries.is_empty() => {
                self.flights.push(Flight { sender: leader, sent: self.time, awaited: true });
            }
            Call::Create => self.answer(leader, &call, Err(CallError::NameConflict)),
            Call::Get(id) => {
                let found = self.entries.iter().find(|made| made.id == number(id)).map(entry);
                let answer = found.map(|entry| Answer::Entry(Box::new(entry))).ok_or(CallError::NotFound);
                self.answer(leader, &call, answer);
            }
            Call::Delete(id) => {
                self.entries.retain(|made| made.id != number(id));
                self.answer(leader, &call, Ok(Answer::Done));
            }
            Call::Update(_) | Call::SetEnabled(..) => unreachable!("nothing differs"),
        }
    }

    fn land(&mut self, flight: usize, answered: bool) {
        let Flight { sender, awaited, .. } = self.flights.remove(flight);
        let made = Made { id: self.next_id, time: self.time };
        self.next_id += 1;
        self.entries.push(made.clone());
        if awaited {
            let answer = Ok(Answer::Entry(Box::new(entry(&made))));
            self.answer(sender, &Call::Create, if answered { answer } else { Err(CallError::TimedOut) });
        }
    }

    fn lose(&mut self, flight: usize) {
        let sender = self.flights[flight].sender;
        self.flights[flight].awaited = false;
        self.answer(sender, &Call::Create, Err(CallError::TimedOut));
    }

    fn change_leader(&mut self, paused: bool, model: Creates) {
        self.changes -= 1;
        let term = u8::try_from(self.leaders.len() + 1).expect("few leaders");
        if let Some(old) = self.leaders.last_mut() {
            self.pauses -= u8::from(paused);
            old.call.take_if(|_| !paused);
        }
        self.leaders.push(Leader {
            term,
            progress: Progress::default(),
            seen: self.status.clone(),
            list: None,
            call: None,
        });
        self.watch(model);
    }

    fn pass(&mut self) {
        self.time += 1;
        let ended = |flight: &Flight, time: u8| time > flight.sent + 1;
        while let Some(index) = self.flights.iter().position(|flight| ended(flight, self.time)) {
            if self.flights[index].awaited {
                self.lose(index);
            }
            self.flights.remove(index);
        }
    }

    fn is_awaiting(&self) -> bool {
        self.flights.iter().any(|flight| flight.awaited && self.leads(flight.sender))
    }

    /// Whether everything is in step after some rounds without further faults.
    fn settles(&self, model: Creates) -> bool {
        // Only where something has happened since: the end of a path stands for what led to it.
        if self.time < LAST_STEP {
            return true;
        }
        let mut world = self.clone();
        // What was sent takes effect as late as it can.
        for leader in 0..world.leaders.len() {
            if !world.leads(leader) {
                world.send(leader);
            }
        }
        for _ in 0..8 {
            while !world.flights.is_empty() {
                world.land(0, true);
            }
            for _ in 0..2 {
                world.pass();
            }
            world.list();
            for _ in 0..6 {
                world.watch(model);
                world.decide();
                world.send(world.leaders.len() - 1);
                while !world.flights.is_empty() {
                    world.land(0, true);
                }
            }
        }
        world.entries.len() == 1 && world.status.known == world.entries.first().map(|made| made.id)
    }
}

impl Model for Creates {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let mut world = World {
            time: 0,
            entries: Vec::new(),
            next_id: 1,
            status: Status::default(),
            leaders: Vec::new(),
            flights: Vec::new(),
            changes: self.changes + 1,
            pauses: self.pauses,
        };
        world.change_leader(false, *self);
        vec![world]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let last = world.leaders.len() - 1;
        let leader = &world.leaders[last];
        if leader.call.is_none() && !world.is_awaiting() {
            if leader.seen != world.status {
                steps.push(Step::Watch);
            }
            if leader.list.as_ref().is_none_or(|(time, made)| *time < world.time || *made != world.entries) {
                steps.push(Step::List);
            }
            if leader.list.is_some() {
                steps.push(Step::Decide);
            }
        }
        let paused = world.leaders.iter().enumerate().filter(|(_, leader)| leader.call.is_some());
        steps.extend(paused.map(|(leader, _)| Step::Send { leader }));
        for (flight, Flight { awaited, .. }) in world.flights.iter().enumerate() {
            steps.push(Step::Land { flight, answered: *awaited });
            if *awaited {
                steps.extend([Step::Land { flight, answered: false }, Step::Lose { flight }]);
            }
        }
        if world.changes > 0 {
            steps.push(Step::Change { paused: false });
            if world.pauses > 0 && leader.call.is_some() {
                steps.push(Step::Change { paused: true });
            }
        }
        if world.time < LAST_STEP {
            steps.push(Step::Pass);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        match step {
            Step::Watch => next.watch(*self),
            Step::List => next.list(),
            Step::Decide => next.decide(),
            Step::Send { leader } => next.send(leader),
            Step::Land { flight, answered } => next.land(flight, answered),
            Step::Lose { flight } => next.lose(flight),
            Step::Change { paused } => next.change_leader(paused, *self),
            Step::Pass => next.pass(),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property {
                expectation: Expectation::Always,
                name: "one entry",
                condition: |model, world| world.entries.len() <= 1 + usize::from(model.pauses > 0),
            },
            Property {
                expectation: Expectation::Always,
                name: "settles",
                condition: |model, world| world.settles(*model),
            },
            Property {
                expectation: Expectation::Sometimes,
                name: "a paused process makes a second entry",
                condition: |model, world| model.pauses == 0 || world.entries.len() == 2,
            },
            Property {
                expectation: Expectation::Sometimes,
                name: "registered by a second leader",
                condition: |_, world| world.status.known.is_some() && world.status.term > 1,
            },
        ]
    }
}

#[test]
fn no_object_gets_two_entries_and_every_order_settles() {
    let checker = Creates { changes: 2, pauses: 0, announced: true }.checker().threads(2).spawn_bfs().join();
    println!("{} states, {} steps deep", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

#[test]
fn a_process_that_was_paused_before_a_create_makes_at_most_one_more_which_goes() {
    let checker = Creates { changes: 1, pauses: 1, announced: true }.checker().threads(2).spawn_bfs().join();
    println!("{} states, {} steps deep", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

#[test]
fn without_announcements_two_leaders_create_two_entries() {
    let checker = Creates { changes: 1, pauses: 0, announced: false }
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let path = checker.discovery("one entry").expect("a violation");
    println!("without announcements: after {} steps", path.into_actions().len());
}
