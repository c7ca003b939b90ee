//! The settings of `doctor`: those of `run` that say where everything is, held against each other in the same way.

use super::args::WorkerArgs;
use super::polls::{PollIntervalArgs, intervals, of_intervals};
use super::redis::RedisAccessArgs;
use super::refusal::BadSettings;
use crate::poll::Intervals;
use crate::publish::RedisAccess;
use crate::workers;
use crate::workers::discovery::Source;

/// What `doctor` needs to know.
#[derive(Debug)]
pub struct DoctorSettings {
    /// Who reports; empty if the workers are not to be asked.
    pub sources: Vec<Source>,
    /// The path at addresses of a Service.
    pub worker_path: String,
    /// How to ask.
    pub workers: workers::CollectorSettings,
    /// How to reach Redis; `None` without `--redis-url`.
    pub access: Option<RedisAccess>,
    /// How often gateways should poll.
    pub intervals: Intervals,
}

impl DoctorSettings {
    /// The settings, held against each other.
    ///
    /// # Errors
    /// Everything that cannot be together.
    pub fn new(workers: WorkerArgs, redis: RedisAccessArgs, polls: PollIntervalArgs) -> Result<Self, BadSettings> {
        let asked = !(workers.worker_endpoint.is_empty() && workers.worker_service.is_empty());
        // Without any, the other flags of the workers are not used.
        let mut wrong = if asked { super::of_workers(&workers) } else { Vec::new() };
        wrong.extend(redis.conflicts());
        wrong.extend(of_intervals(polls));
        if !wrong.is_empty() {
            return Err(BadSettings(wrong));
        }
        let access = redis.settings();
        let sources = if asked { super::sources(&workers) } else { Vec::new() };
        let worker_path = workers.worker_path.clone();
        let workers = super::worker_settings(workers);
        Ok(Self { sources, worker_path, workers, access, intervals: intervals(polls) })
    }
}
