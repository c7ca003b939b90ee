//! One object in the rounds of a leader. Pure.

use std::time::Duration;

use super::{FoundDrift, RegistryObject, backed_off};
use crate::model::{Monotonic, Term, UnixTime};
use crate::registration::observed::Observed;
use crate::registration::outcome::{ObjectRegistration, registration_of};
use crate::registration::reconcile::{
    Context, Progress, RegistrationError, RegistrationOutcome, RegistrationState, SETTLED_AFTER, SeenEntry,
};
use crate::registration::wanted::RegistrationObject;

/// The first pause after a failure; it doubles with each further one, up to a resync.
const RETRY: Duration = Duration::from_secs(15);
/// Rounds that have to agree before another `reachable` is shown.
const AGREEING_ROUNDS: u8 = 3;

/// An object, what was done for it, and when it is looked at again.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says one thing about one object")]
pub(super) struct Tracked {
    pub(super) registry: RegistryObject,
    pub(super) progress: Progress,
    /// It has to be decided for.
    pub(super) due: bool,
    pub(super) in_flight: bool,
    /// The spec changed during a call.
    pub(super) restart: bool,
    /// Its create is announced, and has not ended.
    pub(super) announced: bool,
    pub(super) retry_at: Option<Monotonic>,
    /// It needs a list that began at this time or later.
    pub(super) list_from: Option<Monotonic>,
    pub(super) failures: u32,
    reachability: Reachability,
    pub(super) shown: Option<ObjectRegistration>,
    pub(super) gone: bool,
}

/// The `reachable` that is shown, and how many rounds in a row have seen another one.
#[derive(Clone, Copy, Debug, Default)]
struct Reachability {
    shown: Option<bool>,
    differing: u8,
    /// When the last list that counted began.
    list: Option<Monotonic>,
}

impl Reachability {
    fn see(&mut self, reachable: bool, list: Monotonic) -> bool {
        let new_round = self.list.replace(list) != Some(list);
        match self.shown {
            Some(shown) if shown != reachable => {
                self.differing += u8::from(new_round);
                if self.differing >= AGREEING_ROUNDS {
                    (self.shown, self.differing) = (Some(reachable), 0);
                }
            }
            _ => (self.shown, self.differing) = (Some(reachable), 0),
        }
        self.shown.unwrap_or(reachable)
    }
}

impl Tracked {
    pub(super) fn new(registry: RegistryObject) -> Self {
        let shown = registry.status.as_ref().and_then(|status| status.reachable);
        Self {
            registry,
            progress: Progress::default(),
            due: true,
            in_flight: false,
            restart: false,
            announced: false,
            retry_at: None,
            list_from: None,
            failures: 0,
            reachability: Reachability { shown, ..Reachability::default() },
            shown: None,
            gone: false,
        }
    }

    /// Whether no leader has dealt with the present spec.
    pub(super) fn is_new(&self) -> bool {
        self.registry.status.is_none()
    }

    pub(super) fn begin_round(&mut self) {
        if self.gone {
            // Only its finalizer is left.
            return;
        }
        if self.in_flight {
            self.restart = true;
            return;
        }
        self.progress.begin_round();
        (self.due, self.retry_at) = (true, None);
    }

    pub(super) fn update(&mut self, registry: RegistryObject, term: Term) {
        let (old, new) = (&self.registry.object, &registry.object);
        let spec_changed = self.registry.generation != registry.generation
            || (&old.wanted, &old.adopt, old.may_adopt_foreign) != (&new.wanted, &new.adopt, new.may_adopt_foreign);
        let announced = new.create_started == Some(term) && old.create_started != new.create_started;
        self.registry = registry;
        if spec_changed {
            self.failures = 0;
            self.begin_round();
        } else if announced {
            self.due = true;
        }
    }

    /// Nothing is to be done until something happens. Returns whether the outcome has changed.
    pub(super) fn settle(
        &mut self,
        outcome: &RegistrationOutcome,
        context: &Context,
        observed: &Observed,
        now: Monotonic,
        time: UnixTime,
        resync: Duration,
    ) -> bool {
        self.due = false;
        self.list_from = None;
        self.announced = outcome.state == RegistrationState::Creating;
        match &outcome.state {
            RegistrationState::Registered | RegistrationState::Disabled | RegistrationState::Gone => self.failures = 0,
            RegistrationState::Waiting => {
                let settled = self.progress.unsettled_since().unwrap_or(now).after(SETTLED_AFTER);
                (self.retry_at, self.list_from) = (Some(settled), Some(settled));
            }
            RegistrationState::Pending => {
                // ContextForge connects by itself: only another list shows when it has.
                let pause = backed_off(RETRY, self.failures, resync);
                self.failures += 1;
                (self.retry_at, self.list_from) = (Some(now.after(pause)), Some(now.after(pause)));
            }
            // The status comes back.
            RegistrationState::Creating => {}
            // What others keep changing is changed back once a round, after the objects that do not fail.
            RegistrationState::Failed(RegistrationError::NotApplied(_)) => self.failures += 1,
            RegistrationState::Failed(error) => {
                let limit = match error {
                    RegistrationError::Call(error) => error.retry_after(),
                    _ => None,
                };
                let pause = limit.unwrap_or_else(|| backed_off(RETRY, self.failures, resync));
                self.failures += 1;
                self.retry_at = Some(now.after(pause));
            }
        }
        self.gone = outcome.state == RegistrationState::Gone;
        let mut outcome = outcome.clone();
        if let SeenEntry::Entry(entry) = &mut outcome.entry {
            entry.reachable = self.reachability.see(entry.reachable, observed.began());
        }
        self.show(&outcome, context.term, time)
    }

    pub(super) fn show(&mut self, outcome: &RegistrationOutcome, term: Term, time: UnixTime) -> bool {
        let before = self.shown.as_ref().map(|shown| &shown.status).or(self.registry.status.as_ref());
        let next = registration_of(outcome, self.registry.generation, before, term, time);
        let changed = self.shown != next;
        self.shown = next;
        changed
    }

    pub(super) fn drift(&self, outcome: &RegistrationOutcome) -> Option<FoundDrift> {
        let RegistrationObject { name, uid, .. } = &self.registry.object;
        outcome.drift.map(|drift| FoundDrift { object: name.clone(), uid: uid.clone(), drift })
    }
}
