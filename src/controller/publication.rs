//! What becomes of a publication: the answers of Redis, the lock, and whether gateways poll by it. Pure, part of
//! [`LeaderState`].

use std::sync::Arc;

use super::decision::Decision;
use super::effects::{Effect, Moment, PublicationProgress};
use super::state::{LeaderState, Step};
use crate::leadership::TermRefusal;
use crate::model::{FleetEvent, TakeoverDecision, Term};
use crate::poll::compliance::{self, Compliance, Traces};
use crate::publish::{LockState, NotWritten, Published, Retention};
use crate::registry::RegistrySnapshot;

/// Cycles between two looks at whether gateways poll by what is published, and the number of looks, one in each cycle,
/// that may find no stamps before gateways must have left some.
const COMPLIANCE_CYCLES: u32 = 10;

impl LeaderState {
    pub(super) fn lock_changed(&mut self, state: LockState, now: Moment, effects: &mut Vec<Effect>) {
        let before = std::mem::replace(&mut self.seen.lock, state);
        match &self.seen.lock {
            LockState::Fenced { ours, by } => self.report_refusal(*ours, Some(*by), effects),
            // After an outage the name may lead to another Redis: only a new publication shows what it holds.
            LockState::Held
                if matches!(before, LockState::Unreachable { .. })
                    && self.publication == PublicationProgress::Published =>
            {
                self.publication = PublicationProgress::BaseUnknown;
                self.change_is_due = true;
            }
            LockState::Held => self.change_is_due |= self.publication.error().is_some(),
            // Whatever became of our publication, it is not what Redis holds now.
            LockState::Foreign { takeover: TakeoverDecision::Take, .. } => {
                self.publication = PublicationProgress::BaseUnknown;
                self.change_is_due = true;
            }
            _ => {}
        }
        self.update_fleet_status(now, effects);
        if let Some(note) = super::fleet_status::lock_text(&self.seen.lock) {
            effects.push(Effect::Emit(FleetEvent::warning("RedisLockHeldByAnother", note)));
        }
    }

    pub(super) fn published(
        &mut self,
        term: Term,
        result: Result<Published, NotWritten>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let progress = match result {
            Ok(Published { displaced }) => {
                if let Some(holder) = displaced {
                    let note = format!("taken over from {holder}, which published nothing");
                    effects.push(Effect::Emit(FleetEvent::normal("RedisLockTaken", note)));
                }
                if self.decision == Some(Decision::Classify) {
                    effects.push(Effect::Retain(Retention::All));
                }
                PublicationProgress::Published
            }
            Err(error) => PublicationProgress::NotPublished(error),
        };
        self.set_publication(term, progress, effects);
        if self.urgent {
            // The brake was pulled or released meanwhile: what would be written now is out of date.
            self.abandon_turn(now);
        } else {
            self.write_statuses(now, effects);
        }
    }

    pub(super) fn withdrawn(
        &mut self,
        term: Term,
        result: Result<(), NotWritten>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        self.withdrawing = false;
        let progress = match result {
            Ok(()) => PublicationProgress::Withdrawn,
            Err(error) => PublicationProgress::NotWithdrawn(error),
        };
        self.set_publication(term, progress, effects);
        match self.turn.as_ref().map(|turn| turn.step) {
            Some(Step::Redis) if self.urgent => self.abandon_turn(now),
            Some(Step::Redis) => self.write_statuses(now, effects),
            // The turn that was under way when the brake was pulled still waits for its status writes to stop.
            Some(Step::Statuses { .. }) | None => self.update_fleet_status(now, effects),
        }
    }

    fn set_publication(&mut self, term: Term, progress: PublicationProgress, effects: &mut Vec<Effect>) {
        if let Some(NotWritten::Fenced { by }) = progress.error() {
            self.report_refusal(term, Some(*by), effects);
        }
        let news = |progress: &PublicationProgress| (progress.label(), progress.error().map(<&'static str>::from));
        if news(&self.publication) != news(&progress) {
            effects.push(Effect::LogPublication(progress.clone()));
        }
        self.publication = progress;
    }

    /// Nothing is classified any more.
    pub(super) fn drop_classification(&mut self) {
        (self.classification, self.plan) = (None, None);
        self.intervals = Arc::default();
    }

    /// Asks for the publication to be removed, unless that is under way or done.
    pub(super) fn withdraw(&mut self, effects: &mut Vec<Effect>) {
        self.drop_classification();
        effects.push(Effect::Retain(Retention::Withdrawn));
        if self.seen.redis && !self.withdrawing && self.publication != PublicationProgress::Withdrawn {
            self.withdrawing = true;
            effects.push(Effect::Withdraw);
        }
    }

    /// Reports to the election that a store refused the term `of`, because it knows a higher one.
    pub(super) fn report_refusal(&self, of: Term, by: Option<Term>, effects: &mut Vec<Effect>) {
        let seen = self.seen.registry.highest_term(i64::MAX).filter(|seen| *seen > of);
        effects.push(Effect::ReportRefusal(TermRefusal { of, by: by.max(seen) }));
    }

    /// After a cycle: whether Redis still holds what was published, and now and then whether gateways poll by it.
    /// `registry`: that of the turn.
    pub(super) fn check_publication(&mut self, registry: Arc<RegistrySnapshot>, effects: &mut Vec<Effect>) {
        if self.publication != PublicationProgress::Published {
            return;
        }
        effects.push(Effect::ReadBack(registry));
        if self.cycles_to_compliance > 0 {
            self.cycles_to_compliance -= 1;
        } else {
            let polls = compliance::sample(&self.seen.registry).into_iter().map(|(_, poll)| poll).collect();
            effects.push(Effect::ReadPollTraces(polls));
        }
    }

    pub(super) fn judge_compliance(&mut self, traces: &Traces, now: Moment, effects: &mut Vec<Effect>) {
        let found = traces.judge(&self.settings.polls, now.time);
        let waits = self.compliance.is_none_or(Compliance::is_unknown);
        let found = if waits && self.looks_for_stamps < COMPLIANCE_CYCLES { found.at_first() } else { found };
        // Without gateways there is nothing to look for.
        self.looks_for_stamps = self.looks_for_stamps.saturating_add((found != Compliance::NoGateways).into());
        self.cycles_to_compliance = if found.is_unknown() { 0 } else { COMPLIANCE_CYCLES - 1 };
        let changed = self.compliance.replace(found) != Some(found);
        effects.push(Effect::ReportCompliance { compliance: found, changed });
        self.update_fleet_status(now, effects);
    }
}

impl PublicationProgress {
    /// Why the last try failed.
    pub(super) const fn error(&self) -> Option<&NotWritten> {
        match self {
            Self::NotPublished(error) | Self::NotWithdrawn(error) => Some(error),
            Self::NeverTried | Self::BaseUnknown | Self::Published | Self::Withdrawn => None,
        }
    }

    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::NeverTried | Self::BaseUnknown => "unknown",
            Self::Published => "published",
            Self::Withdrawn => "withdrawn",
            Self::NotPublished(error) | Self::NotWithdrawn(error) => error.label(),
        }
    }
}
