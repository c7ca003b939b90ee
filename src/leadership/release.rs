//! Stepping down: first the token ends, then writes in flight finish, then the Lease is released. IO, part of
//! [`super::LeaderElector`].

use std::time::Duration;

use tracing::info;

use super::client::{LeaseError, REQUEST_TIMEOUT};
use super::decision::LossReason;
use super::token::LeadershipToken;
use super::{LeaderElector, Operation, record};
use crate::clock;
use crate::model::FleetEvent;

/// How long to wait for writes in flight (docs/contract.md#leadership).
const DRAIN_LIMIT: Duration = Duration::from_millis(500);
/// How often to check for them.
const DRAIN_STEP: Duration = Duration::from_millis(5);

impl LeaderElector {
    /// Stops leading; the task goes on as a standby.
    pub(super) async fn step_down(&mut self, reason: LossReason) {
        let Some(token) = self.token.take() else { return };
        token.end();
        self.metrics.changed(None, format!("{reason:?}"));
        self.term_refused = false;
        // The next read shows whether a pending new term was written. The outcome of a renewal does not matter now.
        self.pending = self.pending.take().filter(|attempt| attempt.reason.is_some());
        let writes_left = drain(&token).await;
        let (identity, term) = (token.identity(), token.term());
        info!(term = term.get(), ?reason, writes_left, "stepped down");
        self.publish_event(FleetEvent::normal("SteppedDown", format!("{identity} led at term {term}: {reason}")));
        self.publish_standby();
        if reason == LossReason::Deadline {
            // The other replicas may have a better connection, so they may try first.
            self.release().await;
            self.acquire_not_before = clock::monotonic().after(self.settings.timing.retry_period);
        }
    }

    /// Steps down and releases the Lease at the end of the task.
    pub(super) async fn shut_down(&mut self) {
        self.client.ignore_stop();
        self.watch.close();
        self.step_down(LossReason::Stopping).await;
        self.release().await;
    }

    /// Clears the holder if this process holds the Lease or may hold it, so that the next leader need not wait for its
    /// expiry. Takes no longer than one request, and is not repeated: a Lease that is not released expires.
    async fn release(&mut self) {
        let begun = clock::monotonic();
        let left = || REQUEST_TIMEOUT.saturating_sub(clock::monotonic().since(begun));
        let mut read_first = self.pending.take().is_some();
        for _ in 0..2 {
            if read_first && let Err(error) = self.get(left()).await {
                return self.log_failure(Operation::Release, &error);
            }
            let Some(read) = self.lease() else { return };
            if record::holder(read) != Some(&*self.settings.identity) {
                return;
            }
            match self.client.update(&record::release(read, clock::now()), left()).await {
                Ok(lease) => {
                    self.observe(Some(lease));
                    return info!("released the Lease");
                }
                // A late renewal of ours was executed, or someone edited the Lease.
                Err(LeaseError::Conflict) => read_first = true,
                Err(error) => return self.log_failure(Operation::Release, &error),
            }
        }
    }
}

/// Waits for the writes in flight, up to the limit. Returns how many have not finished: their callers drop the
/// connections, and the stores refuse them as soon as there is a higher term.
async fn drain(token: &LeadershipToken) -> usize {
    let begun = clock::monotonic();
    while token.writes_in_flight() > 0 && clock::monotonic().since(begun) < DRAIN_LIMIT {
        tokio::time::sleep(DRAIN_STEP).await;
    }
    token.writes_in_flight()
}
