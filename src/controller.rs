//! The loop. While this process leads: collect on the interval, decide for the whole fleet, publish, write what
//! changed; and at once, with the usage at hand, when the registry changes.
//!
//! In: the latest values of its neighbours on `watch` channels ([`Inputs`]); a signal only says *look again*, so each
//! turn works from everything and one that is missed loses nothing. Out: one publication, the planned statuses, the
//! facts of the fleet. There are no retries in here: the next turn is the retry.

mod cycle;
mod metrics;
mod obeying;
mod picture;
mod publishing;
mod reign;
mod report;
mod telling;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tracing::info;

use crate::classify::{Params, memory};
use crate::leadership::{Leadership, LeadershipToken, TermRefusal};
use crate::model::FleetEvent;
use crate::poll::Intervals;
use crate::publish::{LockState, Retention, Store};
use crate::registry;
use crate::status::fleet::FleetWriter;
use crate::status::writer::StatusWriter;
use crate::workers::UsageCollector;
use crate::workers::discovery::Endpoints;
pub use cycle::Decision;
pub use metrics::Metrics;
use reign::Reign;
pub use report::CycleReport;

/// The settings of the loop.
#[derive(Clone, Copy, Debug)]
pub struct ControllerSettings {
    /// Of the ranking.
    pub ranking: Params,
    /// Of remembering; its interval is that of the loop.
    pub memory: memory::MemorySettings,
    /// How often gateways should poll: by what they leave in Redis it is told whether they obey.
    pub polls: Intervals,
    /// How often a status is written when nothing but the usage moved.
    pub status_usage_interval: Duration,
}

/// What the loop looks at.
pub struct Inputs {
    /// The registry.
    pub registry: registry::Receiver,
    /// The endpoints of the workers; `None` until they have been discovered.
    pub endpoints: watch::Receiver<Endpoints>,
    /// Who leads.
    pub leadership: watch::Receiver<Leadership>,
}

/// What the loop acts with.
pub struct Outputs {
    /// Asks the workers.
    pub collector: Arc<UsageCollector>,
    /// Writes the statuses.
    pub statuses: StatusWriter,
    /// Writes the facts of the fleet.
    pub fleet: FleetWriter,
    /// Publishes; `None` without `--redis-url`.
    pub redis: Option<Redis>,
    /// What people should see on the Lease; a notice that finds the queue full is dropped.
    pub notices: mpsc::Sender<FleetEvent>,
    /// Tells the election that a store knows a higher term.
    pub refusals: mpsc::Sender<TermRefusal>,
    /// Shows the last cycle to whoever asks; `None` while this process does not lead.
    pub cycles: watch::Sender<Option<Arc<CycleReport>>>,
}

/// The Redis side of the loop: the store, and the keeper of its lock.
pub struct Redis {
    /// Where it publishes.
    pub store: Arc<Store>,
    /// Tells the keeper under which token to hold the lock.
    pub tokens: watch::Sender<Option<LeadershipToken>>,
    /// Tells the keeper what to keep alive.
    pub retention: watch::Sender<Retention>,
    /// What the keeper knows of the lock.
    pub lock: watch::Receiver<LockState>,
    /// Rung by the keeper when Redis holds something else than what was published.
    pub differs: Arc<Notify>,
}

/// The loop, before it runs.
pub struct Controller {
    settings: ControllerSettings,
    inputs: Inputs,
    outputs: Outputs,
    metrics: Metrics,
}

impl Controller {
    /// Puts the loop together. Nothing happens before [`Controller::run`].
    #[must_use]
    pub const fn new(settings: ControllerSettings, inputs: Inputs, outputs: Outputs, metrics: Metrics) -> Self {
        Self { settings, inputs, outputs, metrics }
    }

    /// Leads whenever this process has the token. Returns when the election has ended.
    pub async fn run(mut self) {
        loop {
            let leadership = self.inputs.leadership.borrow_and_update().clone();
            if let Leadership::Leading(token) = leadership {
                self.give_token(Some(token.clone()));
                Reign::begin(&mut self, token).await.run().await;
                self.give_token(None);
                self.outputs.cycles.send_replace(None);
                self.metrics.stand_by();
                self.outputs.collector.forget().await;
            } else if self.inputs.leadership.changed().await.is_err() {
                return;
            }
        }
    }

    /// The keeper holds the lock under this token, or not at all.
    fn give_token(&self, token: Option<LeadershipToken>) {
        if token.is_none() {
            info!("standing by");
        }
        if let Some(redis) = &self.outputs.redis {
            // A new leader keeps alive what stands there until it knows how old that is.
            redis.retention.send_replace(Retention::All);
            redis.tokens.send_replace(token);
        }
    }
}
