//! Which objects mirror the entries of `ContextForge` that no other object speaks for. Pure: entries and objects in,
//! changes of objects out.
//!
//! The name of a mirrored object ends in digits of the hash of the id, and by them it belongs to its entry, whatever
//! somebody writes into its spec. The operator keeps `url`, `gatewayId`, `enabled` and the absence of `registration`;
//! `polling` belongs to people.
//!
//! Absence from a list proves nothing, so an object goes only when the request for its id has found no entry. If many
//! are absent at once, none is deleted: see [`MirrorPlan::held`].

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;

use super::objects::Limits;
use super::observed::Observed;
use super::reconcile::Context;
use crate::api::v1alpha1::registration::RegistrationStatus;
use crate::contextforge::call_error::scrubbed;
use crate::contextforge::entry::{Entry, Lifecycle};
use crate::model::label::{hash_digits, label, label_with_hash};
use crate::model::{GatewayId, ObjectUid, ResourceVersion, ServerUrl, UrlError};
use crate::registry::{GatewayRecord, RegistrySnapshot, Spec};

/// Digits of the hash in a name: among 10,000 ids, two have the same ones with a probability of less than 1 in 10,000.
const DIGITS: usize = 10;
/// This many objects may be deleted in a round, even if they are most of them.
const FEW: usize = 5;
/// The number of gateways without an object that are named.
const EXAMPLES: usize = 5;

/// An object in the mirror namespace with the label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirroredObject {
    /// `metadata.name`.
    pub name: ArcStr,
    /// `metadata.uid`.
    pub uid: ObjectUid,
    /// `metadata.resourceVersion`.
    pub resource_version: ResourceVersion,
    /// `spec.url`; `None` if it is not one that an object of the operator has.
    pub url: Option<ServerUrl>,
    /// `spec.gatewayId`.
    pub id: Option<GatewayId>,
    /// `spec.enabled`.
    pub enabled: bool,
    /// Whether there is a `spec.registration`.
    pub registration: bool,
}

/// What the operator keeps in the spec of a mirrored object, beside the absence of `registration`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirroredSpec {
    /// The URL as stored.
    pub url: ServerUrl,
    /// The id.
    pub id: GatewayId,
    /// Whether `ContextForge` uses it.
    pub enabled: bool,
}

/// The objects of a round.
#[derive(Clone, Debug, Default)]
pub struct MirrorObjects {
    /// The mirrored ones, in the order of their names.
    pub mirrored: Vec<MirroredObject>,
    /// The names of the others in the mirror namespace, which are never touched.
    pub other_names: BTreeSet<ArcStr>,
    /// The ids that objects which are not mirrored speak for, by `spec.gatewayId` or `status.registration.id`: those in
    /// the mirror namespace, and those in namespaces whose objects may be registered.
    pub spoken_for: BTreeSet<GatewayId>,
}

/// A change of an object in the mirror namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Creates it.
    Create {
        /// `metadata.name`.
        name: ArcStr,
        /// The spec that it should have.
        spec: MirroredSpec,
    },
    /// Sets the fields of its spec.
    Update {
        /// The present version.
        object: MirroredObject,
        /// The spec that it should have.
        spec: MirroredSpec,
    },
    /// Deletes it.
    Delete(MirroredObject),
}

/// A gateway without an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotMirrored {
    /// Its name in `ContextForge`, scrubbed.
    pub name: String,
    /// The reason.
    pub why: NotMirroredReason,
}

/// Why a gateway is not mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotMirroredReason {
    /// The URL is not one that an object may have.
    Url(UrlError),
    /// Another object has the name.
    NameTaken,
}

impl std::fmt::Display for NotMirrored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let why = match self.why {
            NotMirroredReason::Url(UrlError::Credential) => "a credential in the URL",
            NotMirroredReason::Url(UrlError::Invalid) => "a URL that no object may have",
            NotMirroredReason::NameTaken => "another object has its name",
        };
        write!(f, "{}: {why}", self.name)
    }
}

/// The changes and requests of one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorPlan {
    /// Deletions first, creates last.
    pub changes: Vec<Change>,
    /// Entries that are not in the list and may exist: only the request for the id shows it. Their objects stay until
    /// then; [`Observed::asked`] takes the answer, for another plan.
    pub asks: Vec<GatewayId>,
    /// Gateways without an object, by name.
    pub not_mirrored: Vec<NotMirrored>,
    /// The number of objects that would be deleted, if it is more than half and more than five: then none is deleted.
    /// Objects that yield to another one do not count.
    pub held: Option<usize>,
}

impl MirrorPlan {
    /// Up to five of the gateways that are not mirrored.
    pub fn examples(&self) -> impl Iterator<Item = String> {
        self.not_mirrored.iter().take(EXAMPLES).map(ToString::to_string)
    }
}

/// Plans a round. `observed`: `None` while `ContextForge` does not answer; then objects only yield to others.
pub fn plan(context: &Context, observed: Option<&Observed>, objects: &MirrorObjects) -> MirrorPlan {
    let Some(observed) = observed else {
        let yields = |object: &&MirroredObject| object.own_id().is_some_and(|id| objects.spoken_for.contains(id));
        let changes = objects.mirrored.iter().filter(yields).cloned().map(Change::Delete).collect();
        return MirrorPlan { changes, ..MirrorPlan::default() };
    };
    let mut plan = MirrorPlan::default();
    let mut entries: BTreeMap<String, &Entry> = BTreeMap::new();
    for entry in observed.entries() {
        if let Some(other) = entries.insert(hash_digits(&entry.id.text(), DIGITS), entry) {
            plan.not_mirrored.push(NotMirrored::new(other, NotMirroredReason::NameTaken));
        }
    }
    let (mut gone, mut updates, mut staying, mut absent) = (Vec::new(), Vec::new(), 0, 0);
    for object in &objects.mirrored {
        let entry = entries.get(object.digits()).copied();
        let id = entry.map(|entry| &entry.id).or_else(|| object.own_id());
        if entry.is_some_and(|entry| objects.speak_for(context, entry))
            || id.is_some_and(|id| objects.spoken_for.contains(id))
        {
            plan.changes.push(Change::Delete(object.clone()));
            continue;
        }
        staying += 1;
        match (entry, id) {
            (Some(entry), _) => {
                // Of two objects for one entry, which only somebody else makes, the first one stays.
                entries.remove(object.digits());
                match spec(entry) {
                    Ok(spec) if object.has(&spec) => {}
                    Ok(spec) => updates.push(Change::Update { object: object.clone(), spec }),
                    Err(error) => {
                        plan.not_mirrored.push(NotMirrored::new(entry, NotMirroredReason::Url(error)));
                        gone.push(Change::Delete(object.clone()));
                    }
                }
            }
            (None, Some(id)) if !observed.lacks(id) && !observed.has(id) => {
                absent += 1;
                plan.asks.push(id.clone());
            }
            // Proven to be gone; or its id is wrong, and its name belongs to no entry that could put it right.
            (None, _) => gone.push(Change::Delete(object.clone())),
        }
    }
    let going = gone.len() + absent;
    if going > FEW && going * 2 > staying {
        plan.held = Some(going);
        plan.asks.clear();
    } else {
        plan.changes.append(&mut gone);
    }
    plan.changes.append(&mut updates);
    for entry in entries.into_values() {
        if entry.lifecycle == Lifecycle::Deleting || objects.speak_for(context, entry) {
            continue;
        }
        let name: ArcStr = label_with_hash(&label(&entry.slug), &entry.id.text(), DIGITS).into();
        let made = match spec(entry) {
            Ok(_) if objects.other_names.contains(&name) => Err(NotMirroredReason::NameTaken),
            Ok(spec) => Ok(Change::Create { name, spec }),
            Err(error) => Err(NotMirroredReason::Url(error)),
        };
        match made {
            Ok(create) => plan.changes.push(create),
            Err(why) => plan.not_mirrored.push(NotMirrored::new(entry, why)),
        }
    }
    plan.not_mirrored.sort_by(|one, other| one.name.cmp(&other.name));
    plan
}

impl MirrorObjects {
    /// The objects as the registry has them. `namespace`: that of the mirror.
    pub fn of(snapshot: &RegistrySnapshot, namespace: &str, limits: &Limits) -> Self {
        let mut objects = Self::default();
        for record in snapshot.gateways().iter().map(|gateway| &*gateway.record) {
            let in_mirror = &*record.name.namespace == namespace;
            if in_mirror && record.mirrored {
                objects.mirrored.push(MirroredObject::of(record));
                continue;
            }
            if in_mirror {
                objects.other_names.insert(record.name.name.clone());
            }
            if in_mirror || limits.allow_namespace(&record.name.namespace) {
                let registered = record.registration().and_then(|_| record.registration_status());
                let registered = registered.and_then(RegistrationStatus::entry_id);
                objects.spoken_for.extend(record.declared_id().cloned().into_iter().chain(registered));
            }
        }
        objects
    }

    /// Whether another object speaks for an entry, or is about to: its status does not have the id yet.
    fn speak_for(&self, context: &Context, entry: &Entry) -> bool {
        let created_for = || context.creator(entry).is_some_and(|creator| context.living.contains(&creator.object));
        self.spoken_for.contains(&entry.id) || created_for()
    }
}

impl MirroredObject {
    fn of(record: &GatewayRecord) -> Self {
        let (url, enabled) = match &record.spec {
            Spec::Enabled { url, .. } => (Some(url.clone()), true),
            Spec::Disabled { url, .. } => (Some(url.clone()), false),
            Spec::Refused(_) => (None, false),
        };
        Self {
            name: record.name.name.clone(),
            uid: record.uid.clone(),
            resource_version: record.resource_version.clone(),
            url,
            id: record.declared_id().cloned(),
            enabled,
            registration: record.registration().is_some(),
        }
    }

    /// What its name says of the id of its entry.
    fn digits(&self) -> &str {
        self.name.rsplit('-').next().unwrap_or_default()
    }

    /// `spec.gatewayId`, unless somebody has changed it.
    fn own_id(&self) -> Option<&GatewayId> {
        self.id.as_ref().filter(|id| hash_digits(&id.text(), DIGITS) == self.digits())
    }

    fn has(&self, spec: &MirroredSpec) -> bool {
        let MirroredSpec { url, id, enabled } = spec;
        let own = (self.url.as_ref(), self.id.as_ref(), self.enabled, self.registration);
        own == (Some(url), Some(id), *enabled, false)
    }
}

impl NotMirrored {
    fn new(entry: &Entry, why: NotMirroredReason) -> Self {
        Self { name: scrubbed(&entry.name, &[]), why }
    }
}

fn spec(entry: &Entry) -> Result<MirroredSpec, UrlError> {
    Ok(MirroredSpec { url: ServerUrl::parse(&entry.url)?, id: entry.id.clone(), enabled: entry.enabled })
}

#[cfg(test)]
mod tests;
