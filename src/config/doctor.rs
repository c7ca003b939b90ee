//! The settings of `doctor`: those of `run` that say where things are, with the same checks.

use super::args::WorkerArgs;
use super::bad_setting::BadSettings;
use super::polls::{PollIntervalArgs, interval_conflict, intervals};
use super::redis::RedisAccessArgs;
use crate::poll::Intervals;
use crate::publish::RedisAccess;
use crate::workers;
use crate::workers::discovery::Sources;

/// The settings of `doctor`.
#[derive(Debug)]
pub struct DoctorSettings {
    /// Where to find workers; empty if they are not to be checked.
    pub sources: Sources,
    /// The path of the usage report at the endpoints of a Service.
    pub worker_path: String,
    /// How to collect usage reports.
    pub workers: workers::CollectorSettings,
    /// How to connect to Redis; `None` without `--redis-url`.
    pub access: Option<RedisAccess>,
    /// The poll intervals of the tiers.
    pub intervals: Intervals,
}

impl DoctorSettings {
    /// Checks the settings against each other.
    ///
    /// # Errors
    /// All conflicts.
    pub fn new(workers: WorkerArgs, redis: RedisAccessArgs, polls: PollIntervalArgs) -> Result<Self, BadSettings> {
        let sources = super::sources(&workers);
        // Without workers, the other flags about them are not used.
        let mut conflicts = if sources.is_empty() { Vec::new() } else { super::worker_conflicts(&workers) };
        conflicts.extend(redis.conflicts());
        conflicts.extend(interval_conflict(polls));
        if !conflicts.is_empty() {
            return Err(BadSettings(conflicts));
        }
        let access = redis.settings();
        let worker_path = workers.worker_path.clone();
        let workers = super::worker_settings(workers);
        Ok(Self { sources, worker_path, workers, access, intervals: intervals(polls) })
    }
}
