//! What a leader does about Redis in a turn and between turns. IO, part of [`Reign`].
//!
//! In: what was classified, and what the keeper of the lock tells. Out: a publication, or why there is none, which the
//! facts of the fleet show.

use std::sync::Arc;

use tracing::{debug, info, warn};

use super::reign::{Cause, Reign};
use super::{Redis, words};
use crate::classify::Classification;
use crate::leadership::TermRefusal;
use crate::model::{FleetEvent, Term, UnixTime};
use crate::publish::foreign_holder::TakeoverDecision;
use crate::publish::{LockState, NotWritten, Publication, Published, ReadBack, Retention};

impl Reign<'_> {
    /// Publishes, unless a signal brought no other sets than those that stand there.
    pub(super) async fn publish(&mut self, cause: Cause, found: Classification) {
        let before = self.classification.replace(found);
        let Some(found) = &self.classification else { return };
        let same = before.is_some_and(|old| old.has_the_sets_of(found));
        if cause == Cause::Signal && same && matches!(self.publication, Some(Ok(_))) {
            return;
        }
        self.published_at = found.metadata.timestamp;
        let Some(redis) = &self.controller.outputs.redis else { return };
        let outcome = match Publication::new(found) {
            Ok(publication) => redis.store.publish(&self.token, &Arc::new(publication)).await,
            Err(error) => return warn!(%error, "a publication could not be encoded"),
        };
        if outcome.is_ok() {
            self.retain(Retention::All);
        }
        self.note(outcome);
    }

    /// Leaves what was published as it is, but for its end; makes it anew if Redis has lost it.
    pub(super) async fn keep_alive(&mut self, until: UnixTime) {
        self.retain(Retention::Until(until));
        let (Some(redis), Some(found)) = (&self.controller.outputs.redis, &self.classification) else { return };
        if matches!(self.publication, Some(Ok(_))) {
            return;
        }
        let Ok(publication) = Publication::new(found) else { return };
        let outcome = redis.store.publish_again(&self.token, &Arc::new(publication), until).await;
        self.note(outcome);
    }

    fn note(&mut self, outcome: Result<Published, NotWritten>) {
        match &outcome {
            Ok(Published { displaced: Some(holder) }) => {
                warn!(holder, "took over the redis lock from another program that published nothing");
                let note = format!("taken over from {holder}, which published nothing");
                self.announce(FleetEvent::normal("RedisLockTaken", note));
            }
            Err(NotWritten::Fenced { by }) => self.refused(Some(*by)),
            _ => {}
        }
        let label = |outcome: &Result<Published, NotWritten>| outcome.as_ref().err().map(NotWritten::label);
        if self.publication.as_ref().map(label) != Some(label(&outcome)) {
            match &outcome {
                Ok(_) => info!("publishing"),
                Err(refusal) => warn!(outcome = refusal.label(), detail = words::refusal(refusal), "not published"),
            }
        }
        self.publication = Some(outcome);
    }

    /// A tenth of what was published is read back in each cycle. Says whether it is to be published anew.
    pub(super) async fn read_back(&mut self) -> bool {
        let Some(redis) = &self.controller.outputs.redis else { return false };
        if !matches!(self.publication, Some(Ok(_))) {
            return false;
        }
        match redis.store.read_back().await {
            Ok(ReadBack::Different) => {
                self.publication = None;
                true
            }
            Ok(ReadBack::AsPublished | ReadBack::NoBase) => false,
            Err(error) => {
                debug!(reason = error.reason(), "reading back failed");
                false
            }
        }
    }

    pub(super) fn retain(&self, retention: Retention) {
        if let Some(Redis { retention: sender, .. }) = &self.controller.outputs.redis {
            sender.send_if_modified(|old| std::mem::replace(old, retention) != retention);
        }
    }

    pub(super) fn announce(&self, notice: FleetEvent) {
        // The log has it in any case.
        let _ = self.controller.outputs.notices.try_send(notice);
    }

    /// A store knows a higher term: the election looks at its Lease. One report is as good as many.
    pub(super) fn refused(&self, by: Option<Term>) {
        let of = self.token.term();
        let seen = self.controller.inputs.registry.borrow().as_ref().and_then(|all| all.highest_term(i64::MAX));
        let _ =
            self.controller.outputs.refusals.try_send(TermRefusal { of, by: by.max(seen.filter(|seen| *seen > of)) });
    }

    /// Says whether this is the moment to publish what could not be published before.
    pub(super) async fn lock_changed(&mut self, state: &LockState) -> bool {
        if let LockState::Fenced { by, .. } = state {
            self.refused(Some(*by));
        }
        self.facts.redis_lock(&words::lock(Some(state)));
        self.controller.outputs.fleet.write(&self.token, self.facts.clone()).await;
        let refused = self.publication.as_ref().is_some_and(Result::is_err);
        match state {
            LockState::Foreign { .. } | LockState::OtherRelease { .. } => {
                self.announce(FleetEvent::warning("RedisLockHeldByAnother", words::lock(Some(state))));
            }
            _ => {}
        }
        match state {
            LockState::Held => refused,
            LockState::Foreign { takeover: TakeoverDecision::Take, .. } => {
                // What we published is not what stands there any more, whatever came of it.
                self.publication = None;
                true
            }
            _ => false,
        }
    }
}
