//! The leader's loop: collect on the interval, decide for the whole fleet, publish, write what changed. When the
//! registry or the fleet object changes, it decides again at once, with the usage at hand.
//!
//! The loop is a state machine. [`state`] is pure: an event and the time go in, effects come out. [`driver`] waits for
//! events and performs effects. Neighbouring tasks are joined by `watch` channels ([`Inputs`]), which hold the latest
//! value: each turn works from everything, so a change that is missed loses nothing.

mod bounds;
mod decision;
mod driver;
mod effects;
mod first_uses;
mod fleet_status;
mod inherited;
mod metrics;
mod publication;
mod refresh_requests;
mod report;
mod state;
mod turn;
mod usage_events;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tracing::info;

use crate::api::v1alpha1::MirrorStatus;
use crate::classify::{Params, memory};
use crate::clock::reference::ReferenceClock;
use crate::fleet::object::{FleetObject, FleetWriter};
use crate::leadership::{Leadership, LeadershipToken, TermRefusal};
use crate::model::{FleetEvent, Problem};
use crate::plan::PlanSettings;
use crate::poll::Intervals;
use crate::publish::{LockState, Retention, Store};
use crate::registration::outcome::Outcomes;
use crate::registry;
use crate::status::writer::StatusWriter;
use crate::workers::UsageCollector;
use crate::workers::discovery::Endpoints;
pub(crate) use bounds::Bounds;
use driver::Driver;
pub use driver::ProblemReceivers;
pub(crate) use inherited::inherited;
pub use metrics::Metrics;
pub use report::CycleReport;
pub(crate) use turn::{classify_at_latest_use, plan_inputs};

#[derive(Clone, Copy, Debug)]
pub struct ControllerSettings {
    pub ranking: Params,
    /// What to remember; its interval is that of the loop.
    pub memory: memory::MemorySettings,
    /// How often gateways should poll: with it their stamps in Redis tell whether they do.
    pub polls: Intervals,
    /// How to plan the refreshes of cold servers; `None` if their tier decides.
    pub refresh_plan: Option<PlanSettings>,
    /// How often a status is written when only its usage has changed.
    pub status_usage_interval: Duration,
}

/// What the loop follows.
pub struct Inputs {
    pub registry: registry::Receiver,
    pub endpoints: watch::Receiver<Endpoints>,
    pub leadership: watch::Receiver<Leadership>,
    pub fleet: watch::Receiver<FleetObject>,
    /// Failures of other tasks.
    pub problems: ProblemReceivers,
    /// The outcomes of registrations; `None` if nothing is registered (`--contextforge-url`).
    pub registrations: Option<watch::Receiver<Arc<Outcomes>>>,
    /// What the registrar says of mirrored objects; `None` without `--mirror-namespace`.
    pub mirror: Option<watch::Receiver<Option<MirrorStatus>>>,
}

/// What the loop acts with.
pub struct Outputs {
    pub collector: Arc<UsageCollector>,
    pub statuses: Arc<StatusWriter>,
    pub fleet: FleetWriter,
    /// Why the fleet object cannot be written, if so, for the Lease.
    pub fleet_problem: watch::Sender<Option<Problem>>,
    /// `None` without `--redis-url`.
    pub redis: Option<Redis>,
    /// Events for the fleet object; one that finds the queue full is dropped.
    pub events: mpsc::Sender<FleetEvent>,
    /// Tells the election that a store refused the term.
    pub refusals: mpsc::Sender<TermRefusal>,
    /// The last cycle, for whoever asks; `None` while this process does not lead.
    pub cycles: watch::Sender<Option<Arc<CycleReport>>>,
}

/// The Redis side of the loop: the store, and the keeper of its lock.
#[derive(Clone)]
pub struct Redis {
    pub store: Arc<Store>,
    /// Gives the keeper the token under which it holds the lock.
    pub tokens: watch::Sender<Option<LeadershipToken>>,
    /// Tells the keeper what to keep alive.
    pub retention: watch::Sender<Retention>,
    pub lock: watch::Receiver<LockState>,
    /// Notified by the keeper when Redis does not hold what it should.
    pub differs: Arc<Notify>,
}

pub struct Controller {
    pub settings: ControllerSettings,
    pub inputs: Inputs,
    pub outputs: Outputs,
    pub metrics: Metrics,
    /// The time in which uses are dated and ranked.
    pub reference: ReferenceClock,
}

impl Controller {
    /// Leads whenever this process has the token. Returns when the election has ended.
    pub async fn run(mut self) {
        loop {
            let leadership = self.inputs.leadership.borrow_and_update().clone();
            if let Leadership::Leading(token) = leadership {
                self.hold_lock(Some(token.clone()));
                Driver::begin(&mut self, token).await.run().await;
                info!("standing by");
                self.hold_lock(None);
                self.outputs.cycles.send_replace(None);
                self.metrics.stand_by();
                self.outputs.collector.forget().await;
            } else if self.inputs.leadership.changed().await.is_err() {
                return;
            }
        }
    }

    /// Has the keeper hold the Redis lock under this token, or not at all.
    fn hold_lock(&self, token: Option<LeadershipToken>) {
        if let Some(redis) = &self.outputs.redis {
            // A new leader keeps alive what Redis holds until it knows how old that is.
            redis.retention.send_replace(Retention::All);
            redis.tokens.send_replace(token);
        }
    }
}

#[cfg(test)]
mod tests;
