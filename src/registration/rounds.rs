//! Which request to `ContextForge` comes next. Pure: objects, answers and times go in; requests and outcomes come out.
//!
//! A round begins with a list, once per `--contextforge-resync`, and decides for every object. In between, an object is
//! decided for when it changes, or when a failure is tried again; the last list serves for that while it is young
//! ([`LIST_AGE`]). In step, a round is one request. All requests share one [`Rate`]. Servers that were used most
//! recently come first, and objects that failed last.

mod tracked;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::desired::DesiredGateway;
use super::observed::Observed;
use super::outcome::Outcomes;
use super::ownership::{Creator, OwnerId};
use super::rate::{Rate, Wait};
use super::reconcile::{
    Answer, Call, Context, Decision, Drift, RegistrationError, RegistrationOutcome, RegistrationState, SeenEntry,
    claims,
};
use super::wanted::{RegistrationObject, Wanted};
use crate::api::v1alpha1::registration::RegistrationStatus;
use crate::contextforge::call_error::CallError;
use crate::contextforge::entry::Entry;
use crate::model::{GatewayId, Monotonic, ObjectName, ObjectUid, Term, UnixTime};
use tracked::Tracked;

/// How long a list serves for objects that change.
const LIST_AGE: Duration = Duration::from_mins(1);
/// Objects whose create is announced in their statuses and has not ended. A new leader has to wait before it creates
/// an announced entry, so few are announced ahead of time.
const MOST_ANNOUNCED: usize = 16;
/// The same for lists.
const LIST_RETRY: Duration = Duration::from_secs(5);
/// The longest pause between two lists that fail.
const LONGEST_LIST_RETRY: Duration = Duration::from_mins(1);
/// An interruption of this length is not shown: a restart of `ContextForge` must not change every status.
const BRIEF: Duration = Duration::from_secs(30);

/// An object as the registry has it.
#[derive(Clone, Debug)]
pub struct RegistryObject {
    /// The desired state and the known entry.
    pub object: RegistrationObject,
    /// `metadata.generation`.
    pub generation: i64,
    /// Its `status.registration`.
    pub status: Option<RegistrationStatus>,
    /// When its server was last used, according to its status.
    pub last_used: Option<UnixTime>,
    /// `metadata.creationTimestamp`, in Unix seconds.
    pub created: i64,
}

/// A request to `ContextForge`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Lists all entries.
    List,
    /// Asks for an entry that is not in the list, for the mirror.
    Ask(GatewayId),
    /// Makes a call for an object.
    Call {
        /// The object.
        uid: ObjectUid,
        /// The call.
        call: Call,
        /// What the entry should be, for creates and updates.
        gateway: Option<Box<DesiredGateway>>,
        /// For which object the entry is created.
        creator: Creator,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this, and hand in its answer.
    Send(Request),
    /// Nothing before this time, unless something happens.
    Wait(Monotonic),
    /// Nothing before the answer to a request.
    WaitForAnswer,
}

/// A foreign change, for an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDrift {
    /// Of which object.
    pub object: ObjectName,
    /// Its `metadata.uid`.
    pub uid: ObjectUid,
    /// The change.
    pub drift: Drift,
}

/// The state of one leadership.
#[derive(Debug)]
pub struct Rounds {
    resync: Duration,
    context: Context,
    rate: Rate,
    tracked: BTreeMap<ObjectUid, Tracked>,
    /// The uids in the order in which they are served.
    order: Vec<ObjectUid>,
    observed: Option<Observed>,
    /// The list that is under way: when it began, and whether it begins a round.
    listing: Option<(Monotonic, bool)>,
    next_round: Monotonic,
    list_not_before: Monotonic,
    /// When the last list that succeeded came. A list of many pages takes longer than it serves.
    list_ended: Monotonic,
    list_failures: u32,
    failing_since: Option<Monotonic>,
    outcomes_changed: bool,
    drifts: Vec<FoundDrift>,
    asks: Asks,
}

/// The requests for entries that are not in the list.
#[derive(Debug, Default)]
struct Asks {
    waiting: Vec<GatewayId>,
    in_flight: usize,
    /// Sent since the last list.
    sent: BTreeSet<GatewayId>,
}

impl Rounds {
    /// Begins with a list. `user`: that of the token, if known.
    pub fn new(owner: OwnerId, term: Term, resync: Duration, requests_per_minute: u32, now: Monotonic) -> Self {
        let context = Context { owner, user: None, term, living: Arc::default(), claims: BTreeMap::new() };
        Self {
            resync,
            context,
            rate: Rate::new(requests_per_minute),
            tracked: BTreeMap::new(),
            order: Vec::new(),
            observed: None,
            listing: None,
            next_round: now,
            list_not_before: now,
            list_ended: now,
            list_failures: 0,
            failing_since: None,
            outcomes_changed: false,
            drifts: Vec::new(),
            asks: Asks::default(),
        }
    }

    /// Goes on at a higher term of the same leadership.
    pub fn raise_term(&mut self, term: Term) {
        self.context.term = term;
    }

    /// The user of the token, if it says so.
    pub fn set_user(&mut self, user: Option<String>) {
        self.context.user = user;
    }

    /// Takes the objects as they are now, sorted by age, and the names of all objects that live.
    pub fn set_objects(&mut self, objects: Vec<RegistryObject>, living: Arc<BTreeSet<ObjectName>>) {
        self.context.claims = claims(objects.iter().map(|registry| &registry.object));
        self.context.living = living;
        // Those that keep failing must not use up the rate before the others.
        let fails = |uid: &ObjectUid| self.tracked.get(uid).is_some_and(|tracked| tracked.failures > 0);
        let mut order: Vec<_> =
            objects.iter().map(|registry| (fails(&registry.object.uid), registry.place())).collect();
        order.sort();
        self.order = order.into_iter().map(|(_, (.., uid))| uid).collect();
        let mut before = std::mem::take(&mut self.tracked);
        for registry in objects {
            let uid = registry.object.uid.clone();
            let tracked = match before.remove(&uid) {
                Some(mut tracked) => {
                    tracked.update(registry, self.context.term);
                    tracked
                }
                None => Tracked::new(registry),
            };
            self.tracked.insert(uid, tracked);
        }
        self.outcomes_changed |= !before.is_empty();
    }

    /// The entries to ask for, instead of those that were not asked for yet; each once after a list.
    pub fn set_asks(&mut self, ids: Vec<GatewayId>) {
        self.asks.waiting = ids.into_iter().filter(|id| !self.asks.sent.contains(id)).collect();
    }

    /// What to send or wait for.
    pub fn next(&mut self, now: Monotonic, time: UnixTime) -> Next {
        if self.listing.is_some() {
            return Next::WaitForAnswer;
        }
        for tracked in self.tracked.values_mut().filter(|tracked| tracked.retry_at.is_some_and(|at| at <= now)) {
            tracked.begin_round();
        }
        let round = now >= self.next_round;
        if round || self.needs_list(now) {
            return self.begin_list(round, now);
        }
        self.next_call(now, time)
    }

    /// Whether an object is due for which the last list is too old.
    fn needs_list(&self, now: Monotonic) -> bool {
        let Some(observed) = &self.observed else { return true };
        let old = now.since(self.list_ended) > LIST_AGE;
        // Before that time, another list would not be young enough either.
        let needs = |from: Monotonic| from <= now && observed.began() < from;
        let too_old = |tracked: &Tracked| old || tracked.list_from.is_some_and(needs);
        self.tracked.values().any(|tracked| tracked.due && !tracked.in_flight && too_old(tracked))
    }

    fn begin_list(&mut self, round: bool, now: Monotonic) -> Next {
        if self.asks.in_flight > 0 || self.tracked.values().any(|tracked| tracked.in_flight) {
            // Its answer could be newer than the list.
            return Next::WaitForAnswer;
        }
        if now < self.list_not_before {
            return Next::Wait(self.list_not_before);
        }
        match self.rate.begin(now) {
            Ok(()) => {
                self.listing = Some((now, round));
                Next::Send(Request::List)
            }
            Err(Wait::Until(time)) => Next::Wait(time),
            Err(Wait::Answer) => Next::WaitForAnswer,
        }
    }

    /// The first call that an object needs and the rate allows. Objects that need none are settled on the way.
    fn next_call(&mut self, now: Monotonic, time: UnixTime) -> Next {
        let mut wait: Option<Next> = None;
        let mut announced = self.tracked.values().filter(|tracked| tracked.announced).count();
        let Some(observed) = &self.observed else { return Next::Wait(self.next_round) };
        for uid in &self.order {
            if wait.is_some() && announced >= MOST_ANNOUNCED {
                break;
            }
            let Some(tracked) = self.tracked.get_mut(uid).filter(|tracked| tracked.due && !tracked.in_flight) else {
                continue;
            };
            let Tracked { registry, progress, .. } = tracked;
            let Decision { call, outcome } = self.context.decide(&registry.object, observed, progress, now);
            match call {
                None if outcome.state == RegistrationState::Creating && !tracked.announced => {
                    // The rest follows when some of these have ended.
                    if announced < MOST_ANNOUNCED {
                        announced += 1;
                        self.outcomes_changed |=
                            tracked.settle(&outcome, &self.context, observed, now, time, self.resync);
                    }
                }
                None => {
                    self.outcomes_changed |= tracked.settle(&outcome, &self.context, observed, now, time, self.resync);
                    self.drifts.extend(tracked.drift(&outcome));
                }
                Some(call) if wait.is_none() => match self.rate.begin(now) {
                    Ok(()) => {
                        tracked.in_flight = true;
                        let gateway = match (&call, &registry.object.wanted) {
                            (Call::Create | Call::Update(_), Wanted::Registered { gateway, .. }) => {
                                Some(gateway.clone())
                            }
                            _ => None,
                        };
                        let creator = self.context.creator_of(&registry.object);
                        return Next::Send(Request::Call { uid: uid.clone(), call, gateway, creator });
                    }
                    Err(Wait::Until(time)) => wait = Some(Next::Wait(time)),
                    Err(Wait::Answer) => wait = Some(Next::WaitForAnswer),
                },
                Some(_) => {}
            }
        }
        wait.unwrap_or_else(|| self.next_ask(now))
    }

    /// Objects come first.
    fn next_ask(&mut self, now: Monotonic) -> Next {
        let Some(id) = self.asks.waiting.last() else {
            let retries = self.tracked.values().filter_map(|tracked| tracked.retry_at);
            return Next::Wait(retries.chain([self.next_round]).min().unwrap_or(self.next_round));
        };
        match self.rate.begin(now) {
            Ok(()) => {
                let id = id.clone();
                self.asks.waiting.pop();
                self.asks.in_flight += 1;
                self.asks.sent.insert(id.clone());
                Next::Send(Request::Ask(id))
            }
            Err(Wait::Until(time)) => Next::Wait(time),
            Err(Wait::Answer) => Next::WaitForAnswer,
        }
    }

    /// Takes the answer to [`Request::List`].
    pub fn listed(&mut self, answer: Result<Vec<Entry>, CallError>, now: Monotonic, time: UnixTime) {
        let Some((began, round)) = self.listing.take() else { return };
        self.rate.end(now, answer.as_ref().err().and_then(CallError::retry_after));
        match answer {
            Ok(entries) => {
                self.observed = Some(Observed::new(entries, began));
                self.list_ended = now;
                self.asks = Asks::default();
                if round || self.list_failures > 0 {
                    self.next_round = began.after(self.resync);
                    // The next round fell due during a call that failed: that is said first, and tried again later.
                    let said =
                        self.tracked.values_mut().filter(|tracked| !(tracked.due && tracked.progress.has_failed()));
                    said.for_each(Tracked::begin_round);
                }
                (self.list_failures, self.failing_since) = (0, None);
            }
            Err(error) => {
                let pause = backed_off(LIST_RETRY, self.list_failures, LONGEST_LIST_RETRY);
                self.list_not_before = now.after(error.retry_after().unwrap_or(pause));
                self.list_failures += 1;
                let lasting = now.since(*self.failing_since.get_or_insert(now)) >= BRIEF;
                let outcome = RegistrationOutcome {
                    state: RegistrationState::Failed(RegistrationError::Call(error)),
                    entry: SeenEntry::Unseen,
                    drift: None,
                };
                for tracked in self.tracked.values_mut() {
                    if lasting || tracked.shown.is_none() && tracked.is_new() {
                        self.outcomes_changed |= tracked.show(&outcome, self.context.term, time);
                    }
                }
            }
        }
    }

    /// Takes the answer to a [`Request::Call`].
    pub fn answered(&mut self, uid: &ObjectUid, call: &Call, answer: Result<Answer, CallError>, now: Monotonic) {
        self.rate.end(now, answer.as_ref().err().and_then(CallError::retry_after));
        let (Some(tracked), Some(observed)) = (self.tracked.get_mut(uid), &mut self.observed) else { return };
        tracked.in_flight = false;
        let Tracked { registry, progress, .. } = tracked;
        self.context.answered(&registry.object, call, answer, observed, progress, now);
        if std::mem::take(&mut tracked.restart) {
            tracked.begin_round();
        }
    }

    /// Takes the answer to [`Request::Ask`]. Returns whether it says something.
    pub fn asked(&mut self, id: &GatewayId, answer: Result<Entry, CallError>, now: Monotonic) -> bool {
        self.rate.end(now, answer.as_ref().err().and_then(CallError::retry_after));
        self.asks.in_flight = self.asks.in_flight.saturating_sub(1);
        let found = match answer {
            Ok(entry) => Some(entry),
            Err(CallError::NotFound) => None,
            Err(_) => return false,
        };
        self.observed.as_mut().is_some_and(|observed| {
            observed.asked(id, found);
            true
        })
    }

    /// The outcomes by uid, if they have changed since they were last taken.
    pub fn take_outcomes(&mut self) -> Option<Outcomes> {
        let outcome = |(uid, tracked): (&ObjectUid, &Tracked)| Some((uid.clone(), tracked.shown.clone()?));
        std::mem::take(&mut self.outcomes_changed).then(|| self.tracked.iter().filter_map(outcome).collect())
    }

    /// What somebody else has changed, since it was last taken.
    pub fn take_drifts(&mut self) -> Vec<FoundDrift> {
        std::mem::take(&mut self.drifts)
    }

    /// The deleted objects whose entry is gone: their finalizer may go.
    pub fn gone(&self) -> impl Iterator<Item = &ObjectName> {
        self.tracked.values().filter(|tracked| tracked.gone).map(|tracked| &tracked.registry.object.name)
    }

    /// What is the same for all objects.
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// The last list, if there was one.
    pub const fn observed(&self) -> Option<&Observed> {
        self.observed.as_ref()
    }
}

impl RegistryObject {
    /// What was used most recently comes first, then what is older.
    fn place(&self) -> (bool, i64, i64, ObjectName, ObjectUid) {
        let used = self.last_used.map(UnixTime::whole_seconds);
        let RegistrationObject { name, uid, .. } = &self.object;
        (used.is_none(), -used.unwrap_or_default(), self.created, name.clone(), uid.clone())
    }
}

fn backed_off(first: Duration, failures: u32, longest: Duration) -> Duration {
    (first * 2_u32.pow(failures.min(10))).min(longest.max(first))
}

#[cfg(test)]
mod tests;
