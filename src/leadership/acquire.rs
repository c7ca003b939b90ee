//! Becoming the leader, staying it, and raising a term that was refused. IO, part of [`super::Elector`].

use std::time::Duration;

use tracing::{info, warn};

use super::calls::{CALL_LIMIT, CallError};
use super::lease::{Claim, Lost, Observed};
use super::record::{self, Record};
use super::{Attempt, Elector, Held, Leadership, LeadershipToken, Renewal};
use crate::clock;
use crate::model::{FleetEvent, Monotonic, Term, UnixTime};

/// The longest that an acquisition waits for Redis (SPEC section 5).
const REDIS_LIMIT: Duration = Duration::from_millis(300);
/// Between two raises.
const RAISE_PAUSE: Duration = Duration::from_secs(10);

impl<R, F> Elector<R>
where
    R: Fn() -> F + Send,
    F: Future<Output = Option<Term>> + Send,
{
    /// Takes the Lease at a new term; what is known of it allows that.
    pub(super) async fn acquire(&mut self, why: &'static str) {
        let term = self.next_term().await;
        if self.stop.is_cancelled() {
            return;
        }
        let at = clock::now();
        let attempt = Attempt { term, sent: clock::monotonic(), since: at, at, why };
        self.not_before = attempt.sent.after(self.timing.retry_period);
        match self.write(term, attempt.since, attempt.at, CALL_LIMIT).await {
            Ok(()) => self.lead(attempt),
            Err(error) => {
                self.doubt(attempt, &error);
                self.warn("acquire", &error);
            }
        }
    }

    /// Writes our own term back.
    ///
    /// After a conflict, and in the turn after a lost reply, the Lease is read first. It is written again if it is
    /// still ours: then someone edited something, or a renewal arrived whose reply was lost. Our identity and term
    /// alone are no proof of a renewal: they may be the state before it, which others have watched for longer.
    pub(super) async fn renew(&mut self) {
        self.next = clock::monotonic().after(self.timing.retry_period);
        if self.unanswered.is_some() && !self.reread().await {
            return;
        }
        for _ in 0..2 {
            let (Some(limit), Some(Held { token, .. })) = (self.limit(), self.held.as_ref()) else { return };
            let renewal = Renewal { sent: clock::monotonic(), at: clock::now() };
            let (term, since) = (token.term(), token.since());
            match self.write(term, since, renewal.at, limit).await {
                Ok(()) => return self.renewed(renewal.sent),
                Err(CallError::Conflict) if self.reread().await => {}
                Err(error) => {
                    self.unanswered = error.outcome_is_unknown().then_some(renewal);
                    return self.warn("renew", &error);
                }
            }
        }
    }

    /// Moves the end of belief, unless the answer came after it: then it is over, whatever the answer says.
    fn renewed(&mut self, sent: Monotonic) {
        if let Some(held) = &mut self.held
            && clock::monotonic() < held.until
        {
            held.until = held.until.max(sent.after(self.timing.renew_deadline));
            held.token.extend(held.until);
        }
    }

    /// A leader's look at the Lease after a conflict or a lost reply. Says whether it is to be written again.
    async fn reread(&mut self) -> bool {
        let Some(limit) = self.limit() else { return false };
        match self.calls.get(limit).await {
            Ok(lease) => self.see(lease),
            Err(error) => {
                self.warn("read", &error);
                return false;
            }
        };
        if self.settle() {
            return false;
        }
        let (Some(observed), Some(held)) = (&self.observed, &self.held) else { return false };
        let shows = |renewal: &Renewal| observed.lease().is_some_and(|lease| record::was_renewed_at(lease, renewal.at));
        let arrived = self.unanswered.take().filter(shows);
        if let Some(renewal) = arrived.filter(|_| observed.is(&self.settings.identity, held.token.term())) {
            self.renewed(renewal.sent);
        }
        self.observed.as_ref().and_then(Observed::holder) == Some(&*self.settings.identity)
    }

    /// Raises a refused term in place, if the Lease is still ours at that term; else steps down. Without it a term
    /// that was computed too low would be refused for ever.
    pub(super) async fn raise(&mut self) {
        let (Some(limit), Some(held)) = (self.limit(), self.held.as_ref()) else { return };
        // It is the same leadership, only at another term.
        let (refused, since, sent) = (held.token.term(), held.token.since(), clock::monotonic());
        self.raise_not_before = sent.after(self.timing.retry_period);
        match self.calls.get(limit).await {
            Ok(lease) => self.see(lease),
            Err(error) => return self.warn("read", &error),
        };
        if !self.observed.as_ref().is_some_and(|observed| observed.is(&self.settings.identity, refused)) {
            return self.step_down(Lost::Refused).await;
        }
        let term = self.next_term().await;
        let Some(limit) = self.limit() else { return };
        warn!(refused = refused.get(), term = term.get(), "a store refused our term, raising it");
        let attempt = Attempt { term, sent: clock::monotonic(), since, at: clock::now(), why: "Raised" };
        self.raise_not_before = attempt.sent.after(RAISE_PAUSE);
        match self.write(term, attempt.since, attempt.at, limit).await {
            Ok(()) => self.lead(attempt),
            Err(error) => {
                self.doubt(attempt, &error);
                self.warn("raise", &error);
                // Settles it if it is done already. Else the next renewal does: it meets a conflict, and reads.
                if self.unsettled.is_some() {
                    self.reread().await;
                }
            }
        }
    }

    /// Sends our identity with this term, on the Lease as it was last seen.
    async fn write(
        &mut self,
        term: Term,
        acquired: UnixTime,
        renewed: UnixTime,
        limit: Duration,
    ) -> Result<(), CallError> {
        let duration = self.timing.lease_duration;
        let holder = &*self.settings.identity;
        let record = Record { holder, term: Some(term), duration, acquired: Some(acquired), renewed };
        let lease = if let Some(read) = self.observed.as_ref().and_then(Observed::lease) {
            self.calls.update(&record::update(read, &record), limit).await?
        } else {
            let lease = record::create(&self.settings.namespace, &self.settings.name, &record);
            self.calls.create(&lease, limit).await?
        };
        self.see(Some(lease));
        Ok(())
    }

    /// Keeps an attempt that may have been done for the next look at the Lease. That is at once after a conflict (it
    /// may be our own earlier sending, repeated by something in between), else in step with the retry period.
    fn doubt(&mut self, attempt: Attempt, error: &CallError) {
        let conflict = matches!(error, CallError::Conflict);
        if !conflict && !error.outcome_is_unknown() {
            return;
        }
        self.unsettled = Some(attempt);
        if error.outcome_is_unknown() {
            // It may still arrive; the next attempt must not look like this one.
            self.known.lease(Some(attempt.term));
        }
        if self.held.is_none() {
            // Its events would put off the look that settles this.
            self.watch.close();
            self.next = if conflict { attempt.sent } else { attempt.sent.after(self.timing.retry_period) };
        }
    }

    /// After the Lease was read: the attempt was done if it shows our identity and its term. Says whether that made
    /// us the leader, counted from when it was sent.
    pub(super) fn settle(&mut self) -> bool {
        let Some(attempt) = self.unsettled.take() else { return false };
        let shown = self.observed.as_ref().is_some_and(|seen| seen.is(&self.settings.identity, attempt.term));
        // Found out too late, it is our own Lease after belief: taken back, at a new term.
        let done = shown && clock::monotonic() < attempt.sent.after(self.timing.renew_deadline);
        if done {
            self.lead(attempt);
        }
        done
    }

    /// The API server has accepted this term: the token begins, and one at a lower term ends.
    fn lead(&mut self, attempt: Attempt) {
        let until = attempt.sent.after(self.timing.renew_deadline);
        let raised_from = self.held.as_ref().map(|old| old.token.term());
        self.known.lease(Some(attempt.term));
        let identity = self.settings.identity.clone();
        let token = match &self.held {
            Some(old) => old.token.raised(attempt.term, until),
            None => LeadershipToken::granted(attempt.term, identity.clone(), attempt.since, until),
        };
        self.held = Some(Held { token: token.clone(), until });
        (self.unsettled, self.unanswered) = (None, None);
        self.refused = false;
        self.next = attempt.sent.after(self.timing.retry_period);
        self.watch.close();
        self.metrics.leads(Some(attempt.term));
        self.metrics.changed(if attempt.why == "Raised" { "Raised" } else { "Acquired" });
        info!(term = attempt.term.get(), reason = attempt.why, "became the leader");
        let term = attempt.term;
        self.tell(if let Some(old) = raised_from {
            FleetEvent::warning("TermRaised", format!("{identity} goes on at term {term}: {old} was refused"))
        } else {
            let came_free = Claim::in_words(attempt.why);
            FleetEvent::normal("BecameLeader", format!("{identity} leads at term {term}: {came_free}"))
        });
        self.published.send_replace(Leadership::Leading(token));
    }

    /// What is left for a leader's call; `None` once belief is over.
    fn limit(&self) -> Option<Duration> {
        let left = self.held.as_ref()?.token.remaining(clock::monotonic())?;
        Some(left.min(CALL_LIMIT))
    }

    async fn next_term(&mut self) -> Term {
        let redis = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            term = tokio::time::timeout(REDIS_LIMIT, (self.redis_term)()) => term.ok().flatten(),
        };
        let registry = self.registry.borrow().clone();
        self.known.next(redis, |limit| registry.and_then(|snapshot| snapshot.highest_term(limit)))
    }
}
