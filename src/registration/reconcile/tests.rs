//! A small model of `ContextForge` with its traps, the twelve situations, and the properties.

use proptest::prelude::*;

use super::*;
use crate::api::v1alpha1::registration::RegistrationSpec;
use crate::model::{ServerUrl, UnixTime};
use crate::registration::desired::{Credentials, DesiredGateway, SecretText};
use crate::registration::wanted::{SecretVersion, SourceName};

const USER: &str = "operator@example.com";

/// Entries, what they really send, and creates that take effect later.
#[derive(Default)]
struct ContextForge {
    seconds: u64,
    next_id: u64,
    entries: Vec<Stored>,
    late: Vec<(u64, Stored)>,
}

#[derive(Clone)]
struct Stored {
    entry: Entry,
    credentials: Credentials,
}

/// How the next call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Works,
    /// The server does not answer: nothing happens.
    Upstream,
    /// The answer is lost: nothing has happened, or it has, or it will in so many seconds.
    LostBefore,
    LostAfter,
    LostLate(u64),
}

fn creator(object: &RegistrationObject) -> Creator {
    Creator { owner: OwnerId::parse("fleet-a").unwrap(), object: object.name.clone(), uid: object.uid.clone() }
}

impl ContextForge {
    fn list(&self) -> Vec<Entry> {
        self.entries.iter().map(|stored| stored.entry.clone()).collect()
    }

    fn get(&mut self, id: &GatewayId) -> Option<&mut Stored> {
        self.entries.iter_mut().find(|stored| stored.entry.id == *id)
    }

    fn only(&mut self) -> &mut Stored {
        assert_eq!(self.entries.len(), 1);
        &mut self.entries[0]
    }

    fn pass(&mut self, seconds: u64) {
        self.seconds += seconds;
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition(|(time, _)| *time <= self.seconds);
        self.late = late;
        for (_, stored) in due {
            self.insert(stored);
        }
    }

    fn insert(&mut self, mut stored: Stored) {
        // The slug is not checked again after the connection.
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let now = UnixTime::from_seconds(self.seconds as f64);
        stored.entry.created_at = now;
        self.entries.push(stored);
    }

    fn made(&mut self, gateway: &DesiredGateway, user_agent: &str, user: &str) -> Stored {
        self.next_id += 1;
        let mut stored = Stored {
            credentials: Credentials::None,
            entry: Entry {
                id: GatewayId::parse(&format!("id{}", self.next_id)).unwrap(),
                name: String::new(),
                slug: String::new(),
                url: String::new(),
                description: String::new(),
                transport: String::new(),
                tags: Vec::new(),
                visibility: String::new(),
                team_id: None,
                enabled: true,
                reachable: true,
                lifecycle: Lifecycle::Active,
                auth_type: None,
                passthrough_headers: None,
                ca_certificate: String::new(),
                owner_email: Some(user.to_owned()),
                created_by: Some(user.to_owned()),
                created_user_agent: Some(user_agent.to_owned()),
                version: 0,
                tools: Some(1),
                last_error: None,
                created_at: None,
            },
        };
        apply(&mut stored, gateway);
        stored
    }

    fn call(&mut self, object: &RegistrationObject, call: &Call, fate: Fate) -> Result<Answer, CallError> {
        let gateway = match &object.wanted {
            Wanted::Registered { gateway, .. } => Some(gateway.as_ref().clone()),
            _ => None,
        };
        let upstream = || Err(CallError::UpstreamUnreachable(String::new()));
        let done = match (call, fate) {
            (_, Fate::LostBefore) => Err(CallError::TimedOut),
            (Call::Create | Call::Update(_), Fate::Upstream) => upstream(),
            (Call::Create, fate) => {
                let gateway = gateway.unwrap();
                if self.entries.iter().any(|stored| stored.entry.name == gateway.name) {
                    return Err(CallError::NameConflict);
                }
                let stored = self.made(&gateway, &creator(object).to_string(), USER);
                if let Fate::LostLate(seconds) = fate {
                    self.late.push((self.seconds + seconds, stored));
                    return Err(CallError::TimedOut);
                }
                self.insert(stored.clone());
                Ok(Answer::Entry(Box::new(self.entries.last().unwrap().entry.clone())))
            }
            (Call::Update(id), _) => match self.get(id) {
                None => Err(CallError::Forbidden { owner: false }),
                Some(stored) if stored.entry.owner_email.as_deref() != Some(USER) => {
                    Err(CallError::Forbidden { owner: true })
                }
                Some(stored) => {
                    let gateway = gateway.unwrap();
                    if stored.entry.url == gateway.stored_url() {
                        apply(stored, &gateway);
                    } else {
                        // Other tools: only the tags survive, but the version rises, and the next one works.
                        stored.entry.url = gateway.stored_url();
                        stored.entry.tags = gateway.tags;
                        stored.entry.version += 1;
                    }
                    Ok(Answer::Entry(Box::new(stored.entry.clone())))
                }
            },
            (Call::SetEnabled(id, enabled), _) => match self.get(id) {
                None => Err(CallError::Rejected("unknown".into())),
                Some(stored) => {
                    stored.entry.enabled = *enabled;
                    Ok(Answer::Done)
                }
            },
            (Call::Delete(id), _) => {
                let before = self.entries.len();
                self.entries.retain(|stored| stored.entry.id != *id);
                if self.entries.len() < before { Ok(Answer::Done) } else { Err(CallError::NotFound) }
            }
            (Call::Get(id), _) => {
                let found = self.get(id).map(|stored| Answer::Entry(Box::new(stored.entry.clone())));
                found.ok_or(CallError::NotFound)
            }
        };
        if fate == Fate::LostAfter { Err(CallError::TimedOut) } else { done }
    }
}

fn apply(stored: &mut Stored, gateway: &DesiredGateway) {
    let Stored { entry, credentials } = stored;
    entry.name.clone_from(&gateway.name);
    entry.url = gateway.stored_url();
    entry.description.clone_from(&gateway.description);
    gateway.transport_name().clone_into(&mut entry.transport);
    entry.tags.clone_from(&gateway.tags);
    gateway.visibility_name().clone_into(&mut entry.visibility);
    entry.passthrough_headers = Some(gateway.passthrough_headers.clone());
    entry.auth_type = gateway.credentials.auth_type().map(str::to_owned);
    entry.version += 1;
    credentials.clone_from(&gateway.credentials);
}

/// A leader, its objects, and their statuses.
struct World {
    contextforge: ContextForge,
    objects: Vec<RegistrationObject>,
    progress: Vec<Progress>,
    term: i64,
    /// All calls, without lists.
    calls: Vec<Call>,
    outcomes: Vec<Option<RegistrationOutcome>>,
}

fn secret(version: u32) -> (Credentials, Option<SecretVersion>) {
    let resource_version = version.to_string().into();
    let version = (version > 0).then(|| SecretVersion { uid: "s".into(), resource_version });
    let credentials = version.as_ref().map_or(Credentials::None, |version| {
        Credentials::Bearer(SecretText::new(format!("planted-{}", version.resource_version)))
    });
    (credentials, version)
}

fn object(name: &str, secret_version: u32) -> RegistrationObject {
    let (credentials, version) = secret(secret_version);
    let name = ObjectName::new("team", name);
    let url = ServerUrl::parse(&format!("http://{}/mcp", name.name)).unwrap();
    let gateway = DesiredGateway::new(&RegistrationSpec::default(), &name, url, credentials, String::new());
    RegistrationObject {
        uid: format!("uid-{}", name.name).as_str().into(),
        name,
        wanted: Wanted::Registered { gateway: Box::new(gateway), credentials: version, enabled: true },
        adopt: None,
        may_adopt_foreign: false,
        known: None,
        create_started: None,
    }
}

impl World {
    fn new(objects: Vec<RegistrationObject>) -> Self {
        let count = objects.len();
        Self {
            contextforge: ContextForge::default(),
            objects,
            progress: vec![Progress::default(); count],
            term: 1,
            calls: Vec::new(),
            outcomes: vec![None; count],
        }
    }

    fn gateway(&mut self, index: usize) -> &mut DesiredGateway {
        match &mut self.objects[index].wanted {
            Wanted::Registered { gateway, .. } => gateway,
            _ => panic!("not registered"),
        }
    }

    fn wanted(&mut self, index: usize, change: impl FnOnce(&mut Option<SecretVersion>, &mut bool)) {
        if let Wanted::Registered { credentials, enabled, .. } = &mut self.objects[index].wanted {
            change(credentials, enabled);
        }
    }

    fn rotate(&mut self, index: usize, version: u32) {
        let (credentials, version) = secret(version);
        self.gateway(index).credentials = credentials;
        self.wanted(index, |stored, _| *stored = version);
    }

    fn new_leader(&mut self) {
        self.term += 1;
        self.progress.fill(Progress::default());
    }

    fn context(&self) -> Context {
        Context {
            owner: OwnerId::parse("fleet-a").unwrap(),
            user: Some(USER.to_owned()),
            term: Term::new(self.term).unwrap(),
            living: Arc::new(self.objects.iter().map(|object| object.name.clone()).collect()),
            claims: claims(self.objects.iter()),
        }
    }

    /// A round. `fate` decides of each call, and whether the leader dies after it, before the answer is in a status.
    fn round(&mut self, mut fate: impl FnMut() -> (Fate, bool)) -> usize {
        let context = self.context();
        let now = |world: &Self| Monotonic::at(Duration::from_secs(world.contextforge.seconds));
        let mut observed = Observed::new(self.contextforge.list(), now(self));
        let before = self.calls.len();
        self.progress.iter_mut().for_each(Progress::begin_round);
        for index in 0..self.objects.len() {
            loop {
                let at = now(self);
                let object = self.objects[index].clone();
                let Decision { call, outcome } = context.decide(&object, &observed, &mut self.progress[index], at);
                let shown = format!("{outcome:?} {:?}", self.progress[index]);
                assert!(!shown.contains("planted"), "{shown}");
                if let Some(call) = call {
                    self.allowed(&object, &call);
                    let (fate, dies) = fate();
                    let answer = self.contextforge.call(&object, &call, fate);
                    let lost = answer == Err(CallError::TimedOut);
                    self.calls.push(call.clone());
                    assert!(self.calls.len() - before < 8 * self.objects.len(), "a round ends: {:?}", self.calls);
                    // A broken connection is noticed at once, a time-out after 35 s, and anything may be in between.
                    self.contextforge.pass(if lost && !dies { self.contextforge.seconds % 36 } else { 1 });
                    if dies {
                        self.new_leader();
                        return self.calls.len() - before;
                    }
                    let at = now(self);
                    context.answered(&object, &call, answer, &mut observed, &mut self.progress[index], at);
                    continue;
                }
                let creating = outcome.state == RegistrationState::Creating;
                self.write(index, outcome);
                if !creating {
                    break;
                }
            }
        }
        self.calls.len() - before
    }

    /// Never a call for an entry that is neither ours nor adopted by its id.
    fn allowed(&mut self, object: &RegistrationObject, call: &Call) {
        let (Call::Update(id) | Call::SetEnabled(id, _) | Call::Delete(id)) = call else { return };
        let Some(stored) = self.contextforge.get(id) else { return };
        let made_for = stored.entry.created_user_agent.as_deref().and_then(Creator::parse);
        let own = made_for.is_some_and(|made| made.owner == creator(object).owner && made.object == object.name);
        assert!(own || object.adopt.as_ref() == Some(id), "{call:?} for {}", object.name);
    }

    fn write(&mut self, index: usize, outcome: RegistrationOutcome) {
        let object = &mut self.objects[index];
        match &outcome.entry {
            SeenEntry::Unseen => {}
            SeenEntry::None => object.known = None,
            SeenEntry::Entry(entry) => {
                object.known = Some(entry.known.clone());
                object.create_started = None;
            }
        }
        if outcome.state == RegistrationState::Creating {
            object.create_started = Term::new(self.term);
        }
        self.outcomes[index] = Some(outcome);
    }

    fn quiet_round(&mut self) -> Vec<Call> {
        let before = self.calls.len();
        self.round(|| (Fate::Works, false));
        self.contextforge.pass(60);
        self.calls[before..].to_vec()
    }

    fn outcome(&self, index: usize) -> &RegistrationOutcome {
        self.outcomes[index].as_ref().unwrap()
    }

    fn state(&self, index: usize) -> &RegistrationState {
        &self.outcome(index).state
    }
}

fn registered_one(secret_version: u32) -> (World, GatewayId) {
    let mut world = World::new(vec![object("a", secret_version)]);
    assert_eq!(world.quiet_round(), [Call::Create]);
    assert_eq!(*world.state(0), RegistrationState::Registered);
    assert_eq!(world.quiet_round(), [], "in step");
    let id = world.contextforge.only().entry.id.clone();
    (world, id)
}

#[test]
fn three_objects_take_three_calls_and_then_none() {
    let mut world = World::new(vec![object("a", 0), object("b", 1), object("c", 0)]);
    assert_eq!(world.quiet_round(), [Call::Create, Call::Create, Call::Create]);
    for _ in 0..3 {
        assert_eq!(world.quiet_round(), []);
    }
    world.new_leader();
    assert_eq!(world.quiet_round(), [], "what a new leader reads in the statuses is enough");
}

#[test]
fn an_edit_is_one_call_and_a_new_url_two() {
    let (mut world, id) = registered_one(1);
    world.gateway(0).description = "new".into();
    assert_eq!(world.quiet_round(), [Call::Update(id.clone())]);
    world.gateway(0).url = ServerUrl::parse("http://elsewhere/mcp").unwrap();
    world.gateway(0).description = "newer".into();
    assert_eq!(world.quiet_round(), [Call::Update(id.clone()), Call::Update(id)], "the first one was lost");
    assert_eq!(world.outcome(0).drift, None);
    assert_eq!(world.quiet_round(), []);
}

#[test]
fn rotated_credentials_are_sent_twice_and_removed_ones_once() {
    let (mut world, id) = registered_one(1);
    world.rotate(0, 2);
    assert_eq!(world.quiet_round(), [Call::Update(id.clone()), Call::Update(id.clone())]);
    assert_eq!(world.contextforge.only().credentials, secret(2).0);
    assert_eq!(world.quiet_round(), []);
    world.rotate(0, 0);
    assert_eq!(world.quiet_round(), [Call::Update(id)]);
    assert_eq!(world.quiet_round(), []);
}

#[test]
fn foreign_edits_are_put_right_also_those_that_cannot_be_seen() {
    let (mut world, id) = registered_one(1);
    world.contextforge.only().credentials = Credentials::None;
    world.contextforge.only().entry.version += 1;
    assert_eq!(world.quiet_round(), [Call::Update(id.clone()), Call::Update(id)]);
    assert_eq!(world.outcome(0).drift, Some(Drift::Edited));
    assert_eq!(world.contextforge.only().credentials, secret(1).0);
    assert_eq!(world.quiet_round(), []);
    assert_eq!(world.outcome(0).drift, None);
}

#[test]
fn switched_by_hand_and_by_the_spec() {
    let (mut world, id) = registered_one(0);
    world.contextforge.only().entry.enabled = false;
    assert_eq!(world.quiet_round(), [Call::SetEnabled(id.clone(), true)]);
    assert_eq!(world.outcome(0).drift, Some(Drift::Switched));
    world.wanted(0, |_, enabled| *enabled = false);
    assert_eq!(world.quiet_round(), [Call::SetEnabled(id.clone(), false)]);
    assert_eq!((world.state(0), world.outcome(0).drift), (&RegistrationState::Disabled, None));
    assert_eq!(world.quiet_round(), []);
    world.wanted(0, |_, enabled| *enabled = true);
    assert_eq!(world.quiet_round(), [Call::SetEnabled(id, true)]);
    assert_eq!(world.outcome(0).drift, None);
}

#[test]
fn deleted_by_hand_is_proven_first() {
    let (mut world, id) = registered_one(0);
    // A row that cannot be converted is missing in the list.
    let row = world.contextforge.entries.pop().unwrap();
    let context = world.context();
    let mut observed = Observed::new(world.contextforge.list(), Monotonic::at(Duration::ZERO));
    let object = world.objects[0].clone();
    let now = Monotonic::at(Duration::ZERO);
    world.progress[0].begin_round();
    let decision = context.decide(&object, &observed, &mut world.progress[0], now);
    assert_eq!((decision.call, decision.outcome.entry), (Some(Call::Get(id.clone())), SeenEntry::Unseen));
    let answer = Ok(Answer::Entry(Box::new(row.entry)));
    context.answered(&object, &Call::Get(id.clone()), answer, &mut observed, &mut world.progress[0], now);
    assert_eq!(context.decide(&object, &observed, &mut world.progress[0], now).call, None, "it is there");
    assert_eq!(world.quiet_round(), [Call::Get(id), Call::Create]);
    assert_eq!(world.outcome(0).drift, Some(Drift::Deleted));
    assert_eq!(world.quiet_round(), []);
}

#[test]
fn an_id_is_adopted_only_where_it_may_be() {
    let foreign = |world: &mut World, user_agent: &str| {
        let gateway = world.gateway(0).clone();
        let mut stored = world.contextforge.made(&gateway, user_agent, USER);
        stored.entry.description = "theirs".into();
        let id = stored.entry.id.clone();
        world.contextforge.insert(stored);
        world.objects[0].adopt = Some(id.clone());
        id
    };
    let refused = |world: &World| match world.state(0) {
        RegistrationState::Failed(RegistrationError::Adoption(refusal)) => Some(refusal.clone()),
        _ => None,
    };
    let mut world = World::new(vec![object("a", 1), object("b", 0)]);
    let id = foreign(&mut world, "curl/8");
    assert_eq!(world.quiet_round(), [Call::Create], "only that of b");
    assert_eq!(refused(&world), Some(AdoptionRefusal::NotOurs));
    world.objects[0].may_adopt_foreign = true;
    assert_eq!(world.quiet_round(), [Call::Update(id.clone()), Call::Update(id.clone())]);
    assert_eq!(world.quiet_round(), []);
    assert_eq!(
        (world.state(0), world.contextforge.entries[0].credentials.clone()),
        (&RegistrationState::Registered, secret(1).0)
    );
    // Deleted by hand, it does not come back under another id.
    world.contextforge.entries.remove(0);
    assert_eq!(world.quiet_round(), [Call::Get(id)]);
    assert_eq!(refused(&world), Some(AdoptionRefusal::Missing));

    // That of a living object, of another's status, of a former object in the namespace, and of another namespace.
    let mut world = World::new(vec![object("a", 0), object("b", 0)]);
    let id = foreign(&mut world, &creator(&object("b", 0)).to_string());
    world.objects[0].may_adopt_foreign = true;
    world.quiet_round();
    assert_eq!(refused(&world), Some(AdoptionRefusal::OtherObject(world.objects[1].name.clone())));
    assert_eq!(world.objects[1].known.as_ref().unwrap().id, id, "b gets it, although a asks for it");
    world.quiet_round();
    assert_eq!(refused(&world), Some(AdoptionRefusal::SpokenFor));
    let mut world = World::new(vec![object("a", 0)]);
    foreign(&mut world, &creator(&object("gone", 0)).to_string());
    assert_eq!(world.quiet_round().len(), 1);
    assert_eq!(*world.state(0), RegistrationState::Registered);
    let mut elsewhere = object("gone", 0);
    elsewhere.name = ObjectName::new("elsewhere", "gone");
    let mut world = World::new(vec![object("a", 0)]);
    foreign(&mut world, &creator(&elsewhere).to_string());
    world.quiet_round();
    assert_eq!(refused(&world), Some(AdoptionRefusal::NotOurs));
}

#[test]
fn an_entry_of_a_former_object_with_this_name_is_ours() {
    let (mut world, id) = registered_one(1);
    let mut again = object("a", 1);
    again.uid = "another".into();
    world.objects[0] = again;
    world.new_leader();
    assert_eq!(
        world.quiet_round(),
        [Call::Update(id.clone()), Call::Update(id)],
        "whose credentials it has is unknown"
    );
    assert_eq!(world.quiet_round(), []);
    // One of another user with the same words is not.
    let mut world = World::new(vec![object("a", 0)]);
    let mut gateway = world.gateway(0).clone();
    gateway.name = "other".into();
    let forged = world.contextforge.made(&gateway, &creator(&world.objects[0]).to_string(), "eve@example.com");
    world.contextforge.insert(forged);
    assert_eq!(world.quiet_round(), [Call::Create]);
    assert_eq!(world.contextforge.entries.len(), 2);
}

#[test]
fn a_name_that_is_taken_costs_no_call() {
    let mut world = World::new(vec![object("a", 0)]);
    let gateway = world.gateway(0).clone();
    let theirs = world.contextforge.made(&gateway, "curl/8", USER);
    world.contextforge.insert(theirs);
    assert_eq!(world.quiet_round(), []);
    let conflict = RegistrationError::Call(CallError::NameConflict);
    assert_eq!(*world.state(0), RegistrationState::Failed(conflict));
}

#[test]
fn a_server_that_is_down_is_tried_once_a_round() {
    let mut world = World::new(vec![object("a", 0)]);
    for _ in 0..3 {
        assert_eq!(world.round(|| (Fate::Upstream, false)), 1);
        assert!(matches!(
            world.state(0),
            RegistrationState::Failed(RegistrationError::Call(CallError::UpstreamUnreachable(_)))
        ));
    }
    assert_eq!(world.quiet_round(), [Call::Create]);
}

#[test]
fn a_secret_that_is_missing_leaves_the_entry_as_it_is() {
    let (mut world, id) = registered_one(1);
    let missing = Unusable::SourceMissing(SourceName::Secret("s".to_owned()));
    world.objects[0].wanted = Wanted::Unusable(missing.clone());
    assert_eq!(world.quiet_round(), []);
    assert_eq!(*world.state(0), RegistrationState::Failed(RegistrationError::Unusable(missing)));
    assert_eq!(world.objects[0].known.as_ref().unwrap().id, id);
}

#[test]
fn the_last_error_is_only_shown_while_the_values_that_were_sent_are_known() {
    let (mut world, _) = registered_one(1);
    let refused = "the server refuses planted-1";
    world.contextforge.only().entry.last_error = Some(refused.to_owned());
    let shown = |world: &mut World| {
        world.quiet_round();
        match &world.outcome(0).entry {
            SeenEntry::Entry(entry) => entry.last_error.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(shown(&mut world).as_deref(), Some("the server refuses …"));
    // The Secret is gone: its value is not known any more, and cannot be taken out.
    let registered = world.objects[0].wanted.clone();
    let missing = Unusable::SourceMissing(SourceName::Secret("s".to_owned()));
    world.objects[0].wanted = Wanted::Unusable(missing);
    assert_eq!(shown(&mut world), None);
    // The Secret has another value, and the update fails.
    world.objects[0].wanted = registered;
    world.rotate(0, 2);
    world.round(|| (Fate::Upstream, false));
    let SeenEntry::Entry(entry) = &world.outcome(0).entry else { panic!() };
    assert_eq!(entry.last_error, None);
}

#[test]
fn a_deletion_takes_the_entry_along_and_only_its_own() {
    let (mut world, id) = registered_one(0);
    world.objects[0].wanted = Wanted::Deleted;
    assert_eq!(world.quiet_round(), [Call::Delete(id)]);
    assert_eq!(*world.state(0), RegistrationState::Gone);

    // One that was never taken over stays.
    let mut world = World::new(vec![object("a", 0)]);
    let gateway = world.gateway(0).clone();
    let theirs = world.contextforge.made(&gateway, "curl/8", USER);
    world.objects[0].adopt = Some(theirs.entry.id.clone());
    world.objects[0].may_adopt_foreign = true;
    world.objects[0].wanted = Wanted::Deleted;
    world.contextforge.insert(theirs);
    assert_eq!(world.quiet_round(), []);
    assert_eq!(*world.state(0), RegistrationState::Gone);

    // A `spec.gatewayId` that cannot be followed does not save the object's own entry.
    let (mut world, id) = registered_one(0);
    world.objects[0].adopt = GatewayId::parse("missing");
    assert!(matches!(world.quiet_round()[..], [Call::Get(_)]));
    world.objects[0].wanted = Wanted::Deleted;
    assert_eq!(world.quiet_round(), [Call::Delete(id)]);
    assert_eq!(*world.state(0), RegistrationState::Gone);

    // While a create may still take effect, the finalizer stays.
    let mut world = World::new(vec![object("a", 0)]);
    world.contextforge.pass(35);
    world.round(|| (Fate::LostLate(38), false));
    world.objects[0].wanted = Wanted::Deleted;
    assert_eq!(world.quiet_round(), []);
    assert_eq!(*world.state(0), RegistrationState::Waiting);
    let id = world.contextforge.only().entry.id.clone();
    assert_eq!(world.quiet_round(), [Call::Delete(id)]);
    assert_eq!(*world.state(0), RegistrationState::Gone);
}

#[test]
fn of_two_entries_for_one_object_the_older_stays() {
    let (mut world, id) = registered_one(1);
    let gateway = world.gateway(0).clone();
    let twin = world.contextforge.made(&gateway, &creator(&world.objects[0]).to_string(), USER);
    let twin_id = twin.entry.id.clone();
    world.contextforge.insert(twin);
    // Whatever the status says.
    world.objects[0].known.as_mut().unwrap().id = twin_id.clone();
    world.new_leader();
    world.quiet_round();
    world.quiet_round();
    assert_eq!(world.contextforge.only().entry.id, id);
    assert!(world.calls.contains(&Call::Delete(twin_id)));
    assert_eq!(world.quiet_round(), []);
}

#[test]
fn a_url_of_another_entry_is_named_although_the_release_does_not() {
    let (mut world, id) = registered_one(0);
    let mut gateway = world.gateway(0).clone();
    (gateway.name, gateway.url) = ("other".into(), ServerUrl::parse("http://taken/mcp").unwrap());
    let theirs = world.contextforge.made(&gateway, "curl/8", USER);
    world.contextforge.insert(theirs);
    world.gateway(0).url = gateway.url;
    let context = world.context();
    let now = Monotonic::at(Duration::ZERO);
    let mut observed = Observed::new(world.contextforge.list(), now);
    let object = world.objects[0].clone();
    let update = Call::Update(id);
    context.answered(&object, &update, Err(CallError::Server(500)), &mut observed, &mut world.progress[0], now);
    let state = context.decide(&object, &observed, &mut world.progress[0], now).outcome.state;
    assert_eq!(state, RegistrationState::Failed(RegistrationError::Call(CallError::UrlConflict)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever answers are lost, leaders change and others do: never two entries for one object, and as soon as calls
    /// work again a few rounds bring everything in step, after which a round makes no call.
    #[test]
    fn every_state_comes_into_step_and_no_object_gets_two_entries(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(vec![object("a", 0), object("b", 1)]);
        for _ in 0..random.usize(1..14) {
            let index = random.usize(0..2);
            match random.u8(0..10) {
                0 => world.rotate(index, random.u32(0..4)),
                1 => {
                    let url = format!("http://u{}-{index}/mcp", random.u8(0..3));
                    world.gateway(index).url = ServerUrl::parse(&url).unwrap();
                }
                2 => world.gateway(index).description = format!("d{}", random.u8(0..3)),
                3 => { let on = random.bool(); world.wanted(index, |_, enabled| *enabled = on) }
                4 => world.new_leader(),
                5 if !world.contextforge.entries.is_empty() => {
                    let at = random.usize(0..world.contextforge.entries.len());
                    let stored = &mut world.contextforge.entries[at];
                    match random.u8(0..4) {
                        0 => { stored.entry.enabled = random.bool(); }
                        1 => { stored.entry.description = "theirs".into(); stored.entry.version += 1; }
                        2 => { stored.credentials = Credentials::None; stored.entry.version += 1; }
                        _ => { world.contextforge.entries.remove(at); }
                    }
                }
                _ => {}
            }
            let pause = if random.bool() { 80 } else { 8 };
            world.contextforge.pass(random.u64(0..pause));
            world.round(|| {
                let fate = match random.u8(0..10) {
                    0 => Fate::Upstream,
                    1 => Fate::LostBefore,
                    2 => Fate::LostAfter,
                    3 => Fate::LostLate(random.u64(0..39)),
                    _ => Fate::Works,
                };
                (fate, random.u8(0..12) == 0)
            });
            for object in &world.objects {
                let own = creator(object).to_string();
                let entries = &world.contextforge.entries;
                let is_own = |stored: &&Stored| stored.entry.created_user_agent.as_ref() == Some(&own);
                let count = entries.iter().filter(is_own).count();
                prop_assert!(count <= 1, "{count} entries for {}: {:?}", object.name, world.calls);
            }
        }
        for _ in 0..4 {
            world.quiet_round();
        }
        prop_assert_eq!(world.quiet_round(), []);
        for (index, object) in world.objects.iter().enumerate() {
            let Wanted::Registered { gateway, enabled, .. } = &object.wanted else { unreachable!() };
            let own = creator(object).to_string();
            let is_own = |stored: &&Stored| stored.entry.created_user_agent.as_ref() == Some(&own);
            let stored = world.contextforge.entries.iter().find(is_own);
            match (enabled, stored) {
                (true, Some(stored)) => {
                    prop_assert_eq!(gateway.differences(&stored.entry), []);
                    prop_assert_eq!(&stored.credentials, &gateway.credentials);
                    prop_assert!(stored.entry.enabled);
                    prop_assert_eq!(world.state(index), &RegistrationState::Registered);
                }
                (false, stored) => {
                    prop_assert!(stored.is_none_or(|stored| !stored.entry.enabled));
                    prop_assert_eq!(world.state(index), &RegistrationState::Disabled);
                }
                (true, None) => prop_assert!(false, "not registered: {:?}", world.state(index)),
            }
        }
    }
}
