//! Acquiring the Lease, renewing it, and raising a refused term. IO, part of [`super::LeaderElector`].

use std::time::Duration;

use tracing::{info, warn};

use super::client::{LeaseError, REQUEST_TIMEOUT};
use super::decision::{AcquireReason, LossReason, ObservedLease};
use super::record::{self, LeaseRecord};
use super::{LeaderElector, Leadership, LeadershipToken, Operation};
use crate::clock;
use crate::model::{FleetEvent, Monotonic, Problem, Term, UnixTime};

/// The longest that an acquisition waits for Redis (docs/contract.md#leadership).
const REDIS_TIMEOUT: Duration = Duration::from_millis(300);
/// The shortest time between two raised terms.
const RAISE_PAUSE: Duration = Duration::from_secs(10);

/// A write that names this process as the holder.
#[derive(Clone, Copy)]
pub(super) struct Attempt {
    term: Term,
    /// `None`: it renews the present term.
    pub(super) reason: Option<AcquireReason>,
    sent: Monotonic,
    /// What it writes as `renewTime`: the Lease shows by it whether this very write was executed.
    renew_time: UnixTime,
}

impl Attempt {
    fn now(term: Term, reason: Option<AcquireReason>) -> Self {
        Self { term, reason, sent: clock::monotonic(), renew_time: clock::now() }
    }
}

impl LeaderElector {
    pub(super) async fn acquire(&mut self, reason: AcquireReason) {
        let term = self.next_term().await;
        if self.deps.stop.is_cancelled() {
            return;
        }
        let attempt = Attempt::now(term, Some(reason));
        self.acquire_not_before = attempt.sent.after(self.settings.timing.retry_period);
        if let Err(error) = self.send(attempt, REQUEST_TIMEOUT).await {
            self.log_failure(Operation::Acquire, &error);
        }
    }

    /// After a conflict, or if the last response was lost, the Lease is read first, and written if this process still
    /// holds it: someone may have edited it. That the Lease shows our identity and term does not prove that a renewal
    /// succeeded. It may be the state before it, whose expiry others have been waiting for.
    pub(super) async fn renew(&mut self) {
        self.next_call = clock::monotonic().after(self.settings.timing.retry_period);
        if self.pending.is_some() && !self.reread().await {
            return;
        }
        for _ in 0..2 {
            let Some((term, limit)) = self.term_and_time_limit() else { return };
            match self.send(Attempt::now(term, None), limit).await {
                Ok(()) => return,
                Err(LeaseError::Conflict) if self.reread().await => {}
                Err(error) => return self.log_failure(Operation::Renew, &error),
            }
        }
    }

    /// Raises a refused term in place if this process still holds the Lease at that term; otherwise steps down. Without
    /// this, a term that was computed too low would be refused for ever.
    pub(super) async fn raise_term(&mut self) {
        let Some((refused, limit)) = self.term_and_time_limit() else { return };
        self.raise_not_before = clock::monotonic().after(self.settings.timing.retry_period);
        if let Err(error) = self.get(limit).await {
            return self.log_failure(Operation::Read, &error);
        }
        if !self.term_refused {
            // The Lease shows that an earlier attempt to raise the term has succeeded.
            return;
        }
        if !self.holds_lease_at(refused) {
            return self.step_down(LossReason::Refused).await;
        }
        let term = self.next_term().await;
        let Some((_, limit)) = self.term_and_time_limit() else { return };
        warn!(refused = refused.get(), term = term.get(), "a store refused the term; raising it");
        let attempt = Attempt::now(term, Some(AcquireReason::TermRefused));
        self.raise_not_before = attempt.sent.after(RAISE_PAUSE);
        if let Err(error) = self.send(attempt, limit).await {
            self.log_failure(Operation::Raise, &error);
            if self.pending.is_some() {
                self.reread().await;
            }
        }
    }

    /// A leader's read after a conflict or a lost response. Returns whether this process still holds the Lease.
    async fn reread(&mut self) -> bool {
        let Some((_, limit)) = self.term_and_time_limit() else { return false };
        match self.get(limit).await {
            Ok(_) => self.observed.as_ref().and_then(ObservedLease::holder) == Some(&*self.settings.identity),
            Err(error) => {
                self.log_failure(Operation::Read, &error);
                false
            }
        }
    }

    /// Reads the Lease, and settles a pending attempt. Returns whether the Lease has changed.
    pub(super) async fn get(&mut self, limit: Duration) -> Result<bool, LeaseError> {
        let lease = self.client.get(limit).await?;
        let changed = self.observe(lease);
        if let Some(attempt) = self.pending.take()
            && self.holds_lease_at(attempt.term)
            && self.lease().is_some_and(|lease| record::was_renewed_at(lease, attempt.renew_time))
            // Later than that, the Lease must be acquired again, at a new term.
            && clock::monotonic() < attempt.sent.after(self.settings.timing.renew_deadline)
        {
            self.succeeded(attempt);
        }
        Ok(changed)
    }

    async fn send(&mut self, attempt: Attempt, limit: Duration) -> Result<(), LeaseError> {
        let problem = self.deps.fleet_problem.borrow().as_ref().map(Problem::text);
        let record = LeaseRecord {
            holder: &self.settings.identity,
            term: attempt.term,
            duration: self.settings.timing.lease_duration,
            acquired: self.token.as_ref().map_or(attempt.renew_time, LeadershipToken::since),
            renewed: attempt.renew_time,
            fleet_not_written: problem.as_deref(),
        };
        let result = if let Some(read) = self.lease() {
            self.client.update(&record::update(read, &record), limit).await
        } else {
            let lease = record::create(&self.settings.namespace, &self.settings.name, &record);
            self.client.create(&lease, limit).await
        };
        let lease = result.inspect_err(|error| self.keep_if_pending(attempt, error))?;
        self.observe(Some(lease));
        self.succeeded(attempt);
        Ok(())
    }

    /// Keeps an attempt that may have been executed until the Lease has been read again. A conflict counts too: it may
    /// be with our own write, if something in between has sent it twice.
    fn keep_if_pending(&mut self, attempt: Attempt, error: &LeaseError) {
        let conflict = matches!(error, LeaseError::Conflict);
        if !conflict && !error.outcome_is_unknown() {
            return;
        }
        self.pending = Some(attempt);
        if !conflict {
            // The write may still be executed, so no later attempt may use this term.
            self.seen_terms.observe_lease(Some(attempt.term));
        }
        if self.token.is_none() {
            // Events of the watch would postpone the read.
            self.watch.close();
            let retry = attempt.sent.after(self.settings.timing.retry_period);
            self.next_call = if conflict { attempt.sent } else { retry };
        }
    }

    fn succeeded(&mut self, attempt: Attempt) {
        let until = attempt.sent.after(self.settings.timing.renew_deadline);
        match (attempt.reason, &self.token) {
            (Some(reason), _) => self.lead(attempt, reason, until),
            (None, Some(token)) => token.extend(until, clock::monotonic()),
            (None, None) => {}
        }
    }

    /// Starts a leadership, or continues the present one at a higher term.
    fn lead(&mut self, attempt: Attempt, reason: AcquireReason, until: Monotonic) {
        let (term, identity) = (attempt.term, &self.settings.identity);
        let (token, event) = if let Some(old) = &self.token {
            self.metrics.changed(Some(term), "Raised".to_owned());
            info!(term = term.get(), "raised the term");
            let note = format!("{identity} raised its term to {term}: a store refused term {}", old.term());
            (old.raised(term, until), FleetEvent::warning("TermRaised", note))
        } else {
            self.metrics.changed(Some(term), "Acquired".to_owned());
            info!(term = term.get(), ?reason, "became the leader");
            let note = format!("{identity} leads at term {term}: {reason}");
            let token = LeadershipToken::granted(term, identity.clone(), attempt.renew_time, until);
            (token, FleetEvent::normal("BecameLeader", note))
        };
        self.publish_event(event);
        self.seen_terms.observe_lease(Some(term));
        self.token = Some(token.clone());
        (self.pending, self.term_refused) = (None, false);
        self.next_call = attempt.sent.after(self.settings.timing.retry_period);
        self.watch.close();
        self.published.send_replace(Leadership::Leading(token));
    }

    fn holds_lease_at(&self, term: Term) -> bool {
        self.observed.as_ref().is_some_and(|observed| observed.is_held_by(&self.settings.identity, term))
    }

    /// A leader's term, and the longest that its next request may take; `None` if the token has expired.
    fn term_and_time_limit(&self) -> Option<(Term, Duration)> {
        let token = self.token.as_ref()?;
        Some((token.term(), token.remaining(clock::monotonic())?.min(REQUEST_TIMEOUT)))
    }

    async fn next_term(&mut self) -> Term {
        let redis = tokio::select! {
            biased;
            () = self.deps.stop.cancelled() => None,
            term = tokio::time::timeout(REDIS_TIMEOUT, (self.deps.redis_term)()) => term.ok().flatten(),
        };
        let registry = self.deps.registry.borrow().clone();
        self.seen_terms.next_term(redis, |limit| registry.and_then(|snapshot| snapshot.highest_term(limit)))
    }
}
