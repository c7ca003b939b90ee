//! Which call brings the entry of an object to what it should be, and what to say of it. Pure: what is wanted, known
//! and listed goes in; at most one call comes out, and its answer goes in again.
//!
//! A round begins with a list. [`Context::decide`] is asked for each object until it returns no call. In a round an
//! object gets at most one create, two updates (`ContextForge` may lose the first one) and one switch, so a foreign
//! writer who fights us is not answered more often than that.
//!
//! A create may take effect long after the process that sent it has ended. So it is recorded before it is sent
//! ([`RegistrationState::Creating`]), and after an unknown outcome, or the record of another leader, nothing is created
//! until a list that began [`SETTLED_AFTER`] later has shown no entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::desired::Field;
use super::observed::Observed;
use super::ownership::{Creator, OwnerId};
use super::wanted::{KnownEntry, RegistrationObject, Unusable, Wanted};
use crate::api::v1alpha1::registration::Visibility;
use crate::contextforge::call_error::{CallError, scrubbed};
use crate::contextforge::entry::{Entry, Lifecycle};
use crate::model::{GatewayId, Monotonic, ObjectName, ObjectUid, ServerUrl, Term};

/// After this time, a create has taken effect or never will: its time-out (35 s) and 5 s.
pub const SETTLED_AFTER: Duration = Duration::from_secs(40);
/// Updates of an object in a round.
const MOST_UPDATES: u8 = 2;

/// A request that changes something, or asks for one entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Creates the entry of the object.
    Create,
    /// Sets all fields of the entry.
    Update(GatewayId),
    /// Enables or disables the entry.
    SetEnabled(GatewayId, bool),
    /// Deletes the entry.
    Delete(GatewayId),
    /// Asks whether the entry exists: that the list does not have it proves nothing.
    Get(GatewayId),
}

impl Call {
    /// Its name in metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update(_) => "update",
            Self::SetEnabled(..) => "set_enabled",
            Self::Delete(_) => "delete",
            Self::Get(_) => "get",
        }
    }
}

/// The result of a call that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The entry after a create or an update, or the one that was asked for.
    Entry(Box<Entry>),
    /// The entry was enabled, disabled or deleted.
    Done,
}

/// The outcome for one object, from which its status is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationOutcome {
    /// The state.
    pub state: RegistrationState,
    /// Its entry.
    pub entry: SeenEntry,
    /// The foreign change that was found in this round.
    pub drift: Option<Drift>,
}

/// What was seen of the entry of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeenEntry {
    /// It was not looked at: the status keeps what it says.
    Unseen,
    /// The object has no entry.
    None,
    /// The entry.
    Entry(RegisteredEntry),
}

/// The state of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationState {
    /// An entry is about to be created: this has to be in the status before the call is made.
    Creating,
    /// A create of unknown outcome is waited for.
    Waiting,
    /// `ContextForge` connects, or calls follow.
    Pending,
    /// The entry is as it should be.
    Registered,
    /// The entry is disabled, as it should be.
    Disabled,
    /// The entry is not as it should be.
    Failed(RegistrationError),
    /// There is no entry left: the finalizer may go.
    Gone,
}

/// Why an entry is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationError {
    /// A call failed.
    Call(CallError),
    /// The spec cannot be followed.
    Unusable(Unusable),
    /// `ContextForge` accepts the update and keeps these parts.
    NotApplied(Vec<Field>),
    /// The entry of `spec.gatewayId` is not taken over.
    Adoption(AdoptionRefusal),
}

/// Why an entry is not taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdoptionRefusal {
    /// The token sees no such entry.
    Missing,
    /// It was created for this object, which is still there.
    OtherObject(ObjectName),
    /// Another object speaks for it.
    SpokenFor,
    /// It is not ours, and the namespace may not take over such entries.
    NotOurs,
}

/// A foreign change that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Drift {
    /// The entry was edited.
    Edited,
    /// The entry was disabled.
    Switched,
    /// The entry was deleted.
    Deleted,
}

/// The entry of an object, for its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredEntry {
    /// What the next round compares.
    pub known: KnownEntry,
    /// The URL as stored, unless it holds a credential.
    pub url: Option<String>,
    /// The number of tools, if the release says it.
    pub tools: Option<usize>,
    /// Whether `ContextForge` reaches the server.
    pub reachable: bool,
    /// Why `ContextForge` does not reach it, cut and scrubbed.
    pub last_error: Option<String>,
}

/// The next call for an object, and the outcome if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The call.
    pub call: Option<Call>,
    /// The outcome.
    pub outcome: RegistrationOutcome,
}

/// What this process has done for an object. It outlives rounds, and ends with the leadership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    news: News,
    /// Since when a create may still take effect: one of unknown outcome, or one that this process knows nothing of.
    unsettled_since: Option<Monotonic>,
    /// It has announced a create. A record of one without this is of another leader, or of an object that was away.
    announced: bool,
    /// An update had an unknown outcome: the next version may be ours.
    unsure_of_version: bool,
    round: RoundProgress,
}

/// What this process knows of an entry, which is newer than the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
enum News {
    /// Nothing beyond the status.
    #[default]
    None,
    /// The entry is gone.
    Gone,
    /// The entry, as the last call left it.
    Known(KnownEntry),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct RoundProgress {
    created: bool,
    switched: bool,
    updates: u8,
    drift: Option<Drift>,
    error: Option<CallError>,
}

impl Progress {
    /// Begins a round.
    pub fn begin_round(&mut self) {
        self.round = RoundProgress::default();
    }

    /// Whether a call of this round has failed.
    pub const fn has_failed(&self) -> bool {
        self.round.error.is_some()
    }

    /// Since when a create may still take effect.
    pub const fn unsettled_since(&self) -> Option<Monotonic> {
        self.unsettled_since
    }

    fn known<'a>(&'a self, object: &'a RegistrationObject) -> Option<&'a KnownEntry> {
        match &self.news {
            News::None => object.known.as_ref(),
            News::Gone => None,
            News::Known(known) => Some(known),
        }
    }
}

/// What is the same for all objects of a round.
#[derive(Clone, Debug)]
pub struct Context {
    /// The owner id of this installation.
    pub owner: OwnerId,
    /// The user of the token, if known: entries that others made are never ours.
    pub user: Option<String>,
    /// The term of this leader.
    pub term: Term,
    /// All objects there are, also without a registration.
    pub living: Arc<BTreeSet<ObjectName>>,
    /// Which object speaks for an id: [`claims`].
    pub claims: BTreeMap<GatewayId, Claim>,
}

/// The object that speaks for an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// `metadata.uid`.
    pub uid: ObjectUid,
    /// Whether its status names the entry; else its `spec.gatewayId` does, which anybody can write.
    pub registered: bool,
}

/// Which object speaks for an id. A registered entry goes before `spec.gatewayId`, and of several objects the first one
/// keeps it: they are sorted by age.
pub fn claims<'a>(objects: impl Iterator<Item = &'a RegistrationObject> + Clone) -> BTreeMap<GatewayId, Claim> {
    let known = objects.clone().filter_map(|object| Some((&object.known.as_ref()?.id, &object.uid, true)));
    let adopting = objects.filter_map(|object| Some((object.adopt.as_ref()?, &object.uid, false)));
    let mut claims = BTreeMap::new();
    for (id, uid, registered) in known.chain(adopting) {
        claims.entry(id.clone()).or_insert_with(|| Claim { uid: uid.clone(), registered });
    }
    claims
}

enum Found<'a> {
    Entry(&'a Entry),
    /// It has to be asked for.
    Unlisted(GatewayId),
    Nothing,
    Refused(AdoptionRefusal),
}

impl Context {
    /// The next call for an object.
    pub fn decide(
        &self,
        object: &RegistrationObject,
        observed: &Observed,
        progress: &mut Progress,
        now: Monotonic,
    ) -> Decision {
        if let (Some(started), None) = (object.create_started, progress.known(object))
            && (started != self.term || !progress.announced)
        {
            progress.unsettled_since.get_or_insert(now);
        }
        let found = self.find(object, observed, progress);
        let failed = |error| (None, RegistrationState::Failed(error));
        let error = progress.round.error.clone().map(RegistrationError::Call);
        let (call, state) = match (&found, error) {
            (_, Some(error)) => failed(error),
            (Found::Refused(_), None) if matches!(object.wanted, Wanted::Deleted) => (None, RegistrationState::Gone),
            (Found::Refused(refusal), None) => failed(RegistrationError::Adoption(refusal.clone())),
            (Found::Unlisted(id), None) => (Some(Call::Get(id.clone())), RegistrationState::Pending),
            (Found::Nothing, None) => self.without_entry(object, observed, progress),
            (Found::Entry(entry), None) => self.with_entry(object, entry, observed, progress),
        };
        let entry = match found {
            Found::Entry(entry) => SeenEntry::Entry(registered(entry, object, progress)),
            Found::Unlisted(_) | Found::Refused(_) => SeenEntry::Unseen,
            Found::Nothing => SeenEntry::None,
        };
        Decision { call, outcome: RegistrationOutcome { state, entry, drift: progress.round.drift } }
    }

    /// Takes the answer of a call.
    pub fn answered(
        &self,
        object: &RegistrationObject,
        call: &Call,
        answer: Result<Answer, CallError>,
        observed: &mut Observed,
        progress: &mut Progress,
        now: Monotonic,
    ) {
        let round = &mut progress.round;
        match call {
            Call::Create => round.created = true,
            Call::Update(_) => round.updates += 1,
            Call::SetEnabled(..) => round.switched = true,
            Call::Delete(_) | Call::Get(_) => {}
        }
        let answer = match (call, answer) {
            // Whoever owns the slug gets the answer while it is pending.
            (Call::Create, Ok(Answer::Entry(entry))) if self.creator(&entry) != Some(self.creator_of(object)) => {
                Err(CallError::NameConflict)
            }
            (_, answer) => answer,
        };
        match (call, answer) {
            (Call::Create, Ok(Answer::Entry(entry))) => {
                progress.unsettled_since = None;
                progress.news = News::Known(KnownEntry {
                    id: entry.id.clone(),
                    version: Some(entry.version),
                    credentials: object.credentials().cloned(),
                    enabled: entry.enabled,
                });
                observed.insert(*entry);
            }
            (Call::Update(id), Ok(Answer::Entry(entry))) => {
                let known = progress.known(object).filter(|known| known.id == *id);
                // The first update after a change of credentials may have lost them.
                let kept = known.and_then(|known| known.credentials.as_ref()) == object.credentials();
                let certain = progress.round.updates >= MOST_UPDATES
                    || (kept && known.is_some_and(|known| is_ours(known, observed, progress)));
                let credentials = object.credentials().filter(|_| certain).cloned();
                let version = Some(entry.version);
                let enabled = known.map_or(entry.enabled, |known| known.enabled);
                progress.news = News::Known(KnownEntry { id: id.clone(), version, credentials, enabled });
                progress.unsure_of_version = false;
                observed.insert(*entry);
            }
            (Call::SetEnabled(id, enabled), Ok(_)) => {
                if let Some(entry) = observed.entries.get_mut(id) {
                    entry.enabled = *enabled;
                }
                if let Some(known) = progress.known(object).filter(|known| known.id == *id) {
                    progress.news = News::Known(KnownEntry { enabled: *enabled, ..known.clone() });
                }
            }
            (Call::Get(id), Ok(Answer::Entry(entry))) => observed.asked(id, Some(*entry)),
            (Call::Delete(id), Ok(_) | Err(CallError::NotFound)) => {
                observed.remove(id);
            }
            (Call::Get(id), Err(CallError::NotFound)) => observed.asked(id, None),
            (_, Err(error)) => {
                let error = match (call, error) {
                    // Releases do not say why.
                    (Call::Update(id), CallError::Server(500)) if Self::url_is_taken(object, id, observed) => {
                        CallError::UrlConflict
                    }
                    (_, error) => error,
                };
                match call {
                    Call::Create if error.outcome_is_unknown() => progress.unsettled_since = Some(now),
                    Call::Create => progress.unsettled_since = None,
                    Call::Update(_) if error.outcome_is_unknown() => progress.unsure_of_version = true,
                    _ => {}
                }
                progress.round.error = Some(error);
            }
            // No call has such an answer.
            (_, Ok(_)) => progress.round.error = Some(CallError::Unreadable(200)),
        }
    }

    fn url_is_taken(object: &RegistrationObject, id: &GatewayId, observed: &Observed) -> bool {
        let Wanted::Registered { gateway, .. } = &object.wanted else { return false };
        let url = gateway.stored_url();
        observed.entries.values().any(|entry| entry.id != *id && entry.url == url)
    }

    /// For whom the entry of an object is created.
    pub fn creator_of(&self, object: &RegistrationObject) -> Creator {
        Creator { owner: self.owner.clone(), object: object.name.clone(), uid: object.uid.clone() }
    }

    /// For which object this installation created an entry.
    pub(super) fn creator(&self, entry: &Entry) -> Option<Creator> {
        let creator = Creator::parse(entry.created_user_agent.as_deref()?)?;
        // The owner may have changed: each start of ContextForge gives entries without a team to the administrator.
        let made_by = entry.created_by.as_ref().or(entry.owner_email.as_ref());
        let own_user = self.user.is_none() || self.user.as_ref() == made_by;
        (own_user && creator.owner == self.owner).then_some(creator)
    }

    fn find<'a>(&self, object: &RegistrationObject, observed: &'a Observed, progress: &mut Progress) -> Found<'a> {
        let known = progress.known(object).map(|known| known.id.clone());
        let oldest = |accept: &dyn Fn(&Creator) -> bool| {
            let is_free = |entry: &&Entry| !self.is_registered_elsewhere(object, &entry.id);
            let own = observed.created_for(&object.name).filter(is_free);
            let own = own.filter(|entry| self.creator(entry).is_some_and(|creator| accept(&creator)));
            own.min_by_key(|entry| (entry.created_at, entry.id.clone()))
        };
        // A deletion is of the entry that the object has, whichever one it has asked for since.
        let keeps_own = known.is_some() && matches!(object.wanted, Wanted::Deleted);
        let adopt = object.adopt.as_ref().filter(|_| !keeps_own);
        let adopting = adopt.filter(|id| known.as_ref() != Some(id));
        let Some(id) = adopt.cloned().or(known) else {
            // Of this name, there is only this object. An entry of a former one with it is ours too.
            return oldest(&|_| true).map_or(Found::Nothing, Found::Entry);
        };
        let other = self.claims.get(&id).filter(|claim| claim.uid != object.uid);
        if other.is_some_and(|claim| claim.registered || adopting.is_some()) {
            return Found::Refused(AdoptionRefusal::SpokenFor);
        }
        match observed.entries.get(&id) {
            Some(entry) => {
                if let Some(refusal) = adopting.and_then(|_| self.adoption_refusal(object, entry)) {
                    return Found::Refused(refusal);
                }
                // Of two that were created for this object, the older stays.
                let creator = self.creator(entry).filter(|creator| *creator == self.creator_of(object));
                let oldest = creator.and_then(|own| oldest(&|creator| *creator == own));
                Found::Entry(oldest.filter(|_| adopt.is_none()).unwrap_or(entry))
            }
            None if !observed.lacks(&id) => Found::Unlisted(id),
            None if adopt.is_some() => Found::Refused(AdoptionRefusal::Missing),
            None => {
                if !matches!(object.wanted, Wanted::Deleted) {
                    progress.round.drift = Some(Drift::Deleted);
                }
                progress.news = News::Gone;
                oldest(&|_| true).map_or(Found::Nothing, Found::Entry)
            }
        }
    }

    fn is_registered_elsewhere(&self, object: &RegistrationObject, id: &GatewayId) -> bool {
        self.claims.get(id).is_some_and(|claim| claim.registered && claim.uid != object.uid)
    }

    fn adoption_refusal(&self, object: &RegistrationObject, entry: &Entry) -> Option<AdoptionRefusal> {
        match self.creator(entry) {
            Some(creator) if creator.object == object.name => None,
            Some(creator) if self.living.contains(&creator.object) => {
                Some(AdoptionRefusal::OtherObject(creator.object))
            }
            Some(creator) if creator.object.namespace == object.name.namespace => None,
            _ => (!object.may_adopt_foreign).then_some(AdoptionRefusal::NotOurs),
        }
    }

    fn without_entry(
        &self,
        object: &RegistrationObject,
        observed: &Observed,
        progress: &mut Progress,
    ) -> (Option<Call>, RegistrationState) {
        let settled = progress.unsettled_since.is_none_or(|since| observed.began() >= since.after(SETTLED_AFTER));
        let gateway = match &object.wanted {
            _ if !settled => return (None, RegistrationState::Waiting),
            Wanted::Deleted => return (None, RegistrationState::Gone),
            Wanted::Unusable(why) => {
                return (None, RegistrationState::Failed(RegistrationError::Unusable(why.clone())));
            }
            Wanted::Registered { enabled: false, .. } => return (None, RegistrationState::Disabled),
            Wanted::Registered { gateway, .. } => gateway,
        };
        let taken = |entry: &Entry| entry.name == gateway.name && entry.visibility == "public";
        if gateway.visibility == Visibility::Public && observed.entries.values().any(taken) {
            let error = RegistrationError::Call(CallError::NameConflict);
            return (None, RegistrationState::Failed(error));
        }
        progress.announced = true;
        if object.create_started != Some(self.term) {
            return (None, RegistrationState::Creating);
        }
        let call = (!progress.round.created).then_some(Call::Create);
        (call, RegistrationState::Pending)
    }

    fn with_entry(
        &self,
        object: &RegistrationObject,
        entry: &Entry,
        observed: &Observed,
        progress: &mut Progress,
    ) -> (Option<Call>, RegistrationState) {
        let id = entry.id.clone();
        let (gateway, enabled) = match &object.wanted {
            Wanted::Deleted => {
                // One that was never taken over is not ours to delete.
                let was_ours = progress.known(object).is_some_and(|known| known.id == id)
                    || self.creator(entry).is_some_and(|creator| creator.object == object.name);
                let call = was_ours.then_some(Call::Delete(id));
                let state = if was_ours { RegistrationState::Pending } else { RegistrationState::Gone };
                return (call, state);
            }
            Wanted::Unusable(why) => {
                return (None, RegistrationState::Failed(RegistrationError::Unusable(why.clone())));
            }
            Wanted::Registered { gateway, enabled, .. } => (gateway, *enabled),
        };
        if entry.lifecycle != Lifecycle::Active {
            return (None, RegistrationState::Pending);
        }
        let known = progress.known(object).filter(|known| known.id == id).cloned();
        let round = &mut progress.round;
        if !enabled {
            let call = (entry.enabled && !round.switched).then_some(Call::SetEnabled(id, false));
            return (call, RegistrationState::Disabled);
        }
        let foreign_version = known.as_ref().and_then(|known| known.version).is_some_and(|own| own != entry.version);
        let differences = gateway.differences(entry);
        // Whoever has edited it may have changed the credentials, which are masked.
        let credentials = known.as_ref().and_then(|known| known.credentials.as_ref()) != object.credentials();
        if foreign_version && !progress.unsure_of_version {
            round.drift = Some(Drift::Edited);
        }
        if foreign_version || credentials || !differences.is_empty() {
            if round.updates < MOST_UPDATES {
                return (Some(Call::Update(id)), RegistrationState::Pending);
            }
            return (None, RegistrationState::Failed(RegistrationError::NotApplied(differences)));
        }
        progress.unsure_of_version = false;
        if !entry.enabled && !round.switched {
            if known.is_some_and(|known| known.enabled) {
                round.drift = Some(Drift::Switched);
            }
            return (Some(Call::SetEnabled(id, true)), RegistrationState::Pending);
        }
        let call =
            object.known.as_ref().filter(|known| known.id == id).and_then(|_| self.twin(object, entry, observed));
        (call, RegistrationState::Registered)
    }

    /// Deletes another entry that was created for this very object, once the status names the one that stays.
    fn twin(&self, object: &RegistrationObject, entry: &Entry, observed: &Observed) -> Option<Call> {
        let own = self.creator_of(object);
        let is_own = |entry: &Entry| self.creator(entry).as_ref() == Some(&own);
        let is_free = |entry: &Entry| !self.is_registered_elsewhere(object, &entry.id);
        let mut twins = observed.created_for(&object.name).filter(|other| other.id != entry.id && is_own(other));
        twins.find(|twin| is_own(entry) && is_free(twin)).map(|twin| Call::Delete(twin.id.clone()))
    }
}

/// Whether the version in the list is that of our last change.
fn is_ours(known: &KnownEntry, observed: &Observed, progress: &Progress) -> bool {
    let listed = observed.entries.get(&known.id).map(|entry| entry.version);
    known.version.is_some() && known.version == listed && !progress.unsure_of_version
}

fn registered(entry: &Entry, object: &RegistrationObject, progress: &Progress) -> RegisteredEntry {
    let known = progress.known(object).filter(|known| known.id == entry.id);
    // Whoever wrote the object vouches for its URL.
    let vouched = || match &object.wanted {
        Wanted::Registered { gateway, .. } => Some(gateway.stored_url()).filter(|url| *url == entry.url),
        Wanted::Unusable(_) | Wanted::Deleted => None,
    };
    // The server may repeat the values that it was sent: only if they are known can they be taken out.
    let sent = known.and_then(|known| known.credentials.as_ref());
    let can_scrub = entry.auth_type.is_none() || (sent.is_some() && sent == object.credentials());
    RegisteredEntry {
        known: KnownEntry {
            id: entry.id.clone(),
            // What is not ours yet is compared again.
            version: known.and_then(|known| known.version).or(Some(entry.version)),
            credentials: known.and_then(|known| known.credentials.clone()),
            enabled: entry.enabled,
        },
        url: ServerUrl::parse(&entry.url).ok().map(|url| url.expose().to_owned()).or_else(vouched),
        tools: entry.tools,
        reachable: entry.reachable,
        last_error: entry.last_error.as_deref().filter(|_| can_scrub).map(|text| scrubbed(text, &object.secrets())),
    }
}

#[cfg(test)]
mod tests;
