//! Ceasing to lead: belief ends first, then the writes in flight, then the Lease is released. IO, part of
//! [`super::Elector`].

use std::time::Duration;

use tracing::info;

use super::Elector;
use super::calls::{CALL_LIMIT, CallError};
use super::lease::{Lost, Observed};
use super::record::{self, Record};
use super::token::LeadershipToken;
use crate::clock;
use crate::model::{FleetEvent, Term};

/// How long writes in flight may take to end (SPEC section 5).
const DRAIN_LIMIT: Duration = Duration::from_millis(500);
/// Between two looks at them.
const DRAIN_STEP: Duration = Duration::from_millis(5);

impl<R, F> Elector<R>
where
    R: Fn() -> F + Send,
    F: Future<Output = Option<Term>> + Send,
{
    /// Stops leading, without ending the task.
    pub(super) async fn step_down(&mut self, lost: Lost) {
        let Some(held) = self.held.take() else { return };
        held.token.end();
        self.metrics.leads(None);
        self.metrics.changed(lost.reason());
        (self.refused, self.unanswered) = (false, None);
        let left = drain(&held.token).await;
        info!(term = held.token.term().get(), reason = lost.reason(), writes_left = left, "stepped down");
        let (identity, term) = (held.token.identity(), held.token.term());
        self.tell(FleetEvent::normal("SteppedDown", format!("{identity} led at term {term}: {}", lost.in_words())));
        self.publish_standby();
        if lost == Lost::Deadline {
            // Who cannot renew gives the others the first try: they may have a better connection.
            self.release().await;
            self.not_before = clock::monotonic().after(self.timing.retry_period);
        }
    }

    /// The end of the task.
    pub(super) async fn shut_down(&mut self) {
        self.calls.ignore_stop();
        self.watch.close();
        self.step_down(Lost::Stopping).await;
        self.release().await;
    }

    /// Empties the holder if the Lease is ours or may be, so that the next one need not wait for its end. Best
    /// effort, within the time of one call: a Lease that is not released runs out.
    pub(super) async fn release(&mut self) {
        let begun = clock::monotonic();
        let left = || CALL_LIMIT.saturating_sub(clock::monotonic().since(begun));
        let mut in_doubt = self.unsettled.take().is_some();
        for _ in 0..2 {
            if in_doubt {
                match self.calls.get(left()).await {
                    Ok(lease) => self.see(lease),
                    Err(error) => return self.warn("release", &error),
                };
            }
            let Some(read) = self.observed.as_ref().and_then(Observed::lease) else { return };
            if record::holder(read) != Some(&*self.settings.identity) {
                return;
            }
            let emptied = record::update(read, &self.emptied());
            match self.calls.update(&emptied, left()).await {
                Ok(lease) => {
                    self.see(Some(lease));
                    return info!("released the Lease");
                }
                // A renewal of ours arrived in between, or someone edited it: look again.
                Err(CallError::Conflict) => in_doubt = true,
                Err(error) => return self.warn("release", &error),
            }
        }
    }

    fn emptied(&self) -> Record<'static> {
        let duration = self.timing.lease_duration;
        Record { holder: "", term: None, duration, acquired: None, renewed: clock::now() }
    }
}

/// Waits until the writes in flight have ended, but not for long. Says how many have not: their connections are
/// dropped by their owners, and the stores refuse them once there is a higher term.
async fn drain(token: &LeadershipToken) -> usize {
    let begun = clock::monotonic();
    while token.writes_in_flight() > 0 && clock::monotonic().since(begun) < DRAIN_LIMIT {
        tokio::time::sleep(DRAIN_STEP).await;
    }
    token.writes_in_flight()
}
