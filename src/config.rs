//! The settings of `run`: from flags to the settings of each module.
//!
//! clap checks each value by its [`rule`] (see `args`). This module checks the settings against each other. Every error
//! is one line that names the flag and what is allowed, and none repeats a secret.

mod args;
mod bad_setting;
mod doctor;
pub(crate) mod domain_values;
mod polls;
mod redis;
pub(crate) mod rule;
mod selector;
pub(crate) mod values;

use crate::classify::{Params, memory};
use crate::controller;
use crate::http_client::{FlagFile, Tls};
use crate::leadership::LeaseTiming;
use crate::poll::Intervals;
use crate::registry::Scope;
use crate::workers;
use crate::workers::discovery::{Scheme, Sources};
use args::condition;
use values::format_duration;

pub use args::{ElectionArgs, LogFormat, RankingArgs, RunArgs, WorkerArgs, heading};
pub use bad_setting::{BadSetting, BadSettings, ENV_PREFIX, variable};
pub use doctor::DoctorSettings;
pub use polls::{Api, ApiArgs, PollIntervalArgs, PollSettings};
pub use redis::{Redis, RedisAccessArgs, RedisArgs};
pub use rule::{allowed, flag_name};
pub use values::Listen;

/// The settings of `run`. Nothing in them depends on the cluster.
#[derive(Debug)]
pub struct Config {
    /// Which objects to watch.
    pub scope: Scope,
    /// The settings of the leader loop.
    pub controller: controller::ControllerSettings,
    /// Where to find workers.
    pub sources: Sources,
    /// How to collect usage reports.
    pub workers: workers::CollectorSettings,
    /// The path of the usage report at the endpoints of a Service.
    pub worker_path: String,
    /// Where to publish; `None` to write statuses only.
    pub redis: Option<Redis>,
    /// How to elect the leader.
    pub election: Election,
    /// Where to serve `/metrics`.
    pub metrics: Listen,
    /// Where to serve `/livez` and `/readyz`.
    pub health: Listen,
    /// The poll intervals of the tiers.
    pub polls: Intervals,
    /// How to serve the HTTP API.
    pub api: Api,
    /// Format and filter directives of the log.
    pub log: (LogFormat, String),
}

/// Leader election, before the namespace is known.
#[derive(Clone, Debug)]
pub struct Election {
    /// The timing, checked.
    pub timing: LeaseTiming,
    /// The name of the Lease.
    pub name: String,
    /// The namespace of the Lease; `None`: the namespace of the cluster's configuration.
    pub namespace: Option<String>,
}

impl TryFrom<RunArgs> for Config {
    type Error = BadSettings;

    fn try_from(args: RunArgs) -> Result<Self, BadSettings> {
        let conflicts = conflicts(&args);
        if !conflicts.is_empty() {
            return Err(BadSettings(conflicts));
        }
        let RunArgs {
            watch_namespace,
            watch_selector,
            classification_interval,
            ranking: ranking_args,
            usage_window,
            status_usage_interval,
            workers,
            redis,
            polls,
            election,
            metrics_bind_address,
            health_probe_bind_address,
            api,
            log_format,
            log_level,
        } = args;
        let memory = memory::MemorySettings {
            interval: classification_interval,
            quorum: workers.worker_quorum,
            window: usage_window,
        };
        let worker_path = workers.worker_path.clone();
        let sources = sources(&workers);
        Ok(Self {
            scope: Scope::new(watch_namespace, watch_selector),
            controller: controller::ControllerSettings {
                ranking: ranking(&ranking_args),
                memory,
                polls: polls::intervals(polls),
                status_usage_interval,
            },
            sources,
            workers: worker_settings(workers),
            worker_path,
            redis: redis.settings(),
            election: election_settings(election),
            polls: polls::intervals(polls),
            api: polls::api(api),
            metrics: metrics_bind_address,
            health: health_probe_bind_address,
            log: (log_format, log_level),
        })
    }
}

/// The parameters of the ranking.
pub fn ranking(args: &RankingArgs) -> Params {
    let RankingArgs { hot_fraction, min_hot, recency_resolution } = *args;
    Params { hot_fraction, min_hot, recency_resolution }
}

/// All conflicts between the settings, so that a user can fix them in one go.
fn conflicts(args: &RunArgs) -> Vec<BadSetting> {
    let mut conflicts = Vec::new();
    let window = args.usage_window;
    if !window.is_zero() && window < args.classification_interval {
        let bad = BadSetting::new("--usage-window", format!("use 0s, or {}", condition::WINDOW));
        conflicts.push(bad.given(&format_duration(window)));
    }
    let listeners = [
        ("--metrics-bind-address", args.metrics_bind_address),
        ("--health-probe-bind-address", args.health_probe_bind_address),
        ("--api-bind-address", args.api.api_bind_address),
    ];
    for (index, (flag, listener)) in listeners.iter().enumerate() {
        if let Some((other, _)) = listeners[..index].iter().find(|(_, other)| listener.collides(*other)) {
            conflicts.push(BadSetting::new(flag, format!("{}; {other} has this one", condition::PORT)));
        }
    }
    conflicts.extend(worker_conflicts(&args.workers));
    conflicts.extend(args.redis.access.conflicts());
    conflicts.extend(polls::interval_conflict(args.polls));
    conflicts.extend(polls::api_conflict(&args.api));
    conflicts.extend(election_conflicts(&args.election.timing()));
    conflicts
}

/// One error for each of these flags that is set although its condition is not met.
fn unmet(condition: &str, flags: &[(&str, bool)]) -> impl Iterator<Item = BadSetting> {
    flags.iter().filter(|(_, is_set)| *is_set).map(move |(flag, _)| BadSetting::new(flag, condition))
}

fn worker_conflicts(args: &WorkerArgs) -> Vec<BadSetting> {
    let sources = sources(args);
    if sources.is_empty() {
        return vec![BadSetting::new("--worker-service", condition::ENDPOINTS)];
    }
    let mut conflicts = Vec::new();
    if let Err(error) = sources.check() {
        conflicts.push(BadSetting::new("--worker-endpoint", error.to_string()));
    }
    let (ca, name) = (args.worker_ca_file.is_some(), args.worker_tls_server_name.is_some());
    let (cert, key) = (args.worker_client_cert_file.is_some(), args.worker_client_key_file.is_some());
    conflicts.extend(unmet(condition::KEY, &[("--worker-client-cert-file", cert && !key)]));
    conflicts.extend(unmet(condition::CERT, &[("--worker-client-key-file", key && !cert)]));
    // These flags would have no effect, and the user expects TLS.
    if !uses_tls(&sources) {
        let flags = [
            ("--worker-ca-file", ca),
            ("--worker-client-cert-file", cert),
            ("--worker-client-key-file", key),
            ("--worker-tls-server-name", name),
        ];
        conflicts.extend(unmet(condition::HTTPS, &flags));
    }
    conflicts
}

fn sources(args: &WorkerArgs) -> Sources {
    Sources { endpoints: args.worker_endpoint.clone(), services: args.worker_service.clone() }
}

fn uses_tls(Sources { endpoints, services }: &Sources) -> bool {
    endpoints.iter().any(|endpoint| endpoint.url.scheme() == "https")
        || services.iter().any(|service| service.scheme == Scheme::Https)
}

fn worker_settings(args: WorkerArgs) -> workers::CollectorSettings {
    let WorkerArgs {
        worker_endpoint: _,
        worker_service: _,
        worker_path: _,
        worker_timeout: timeout,
        worker_concurrency: concurrency,
        worker_quorum: _,
        max_report_bytes,
        worker_token_file: token_file,
        worker_ca_file: ca_file,
        worker_client_cert_file: client_cert_file,
        worker_client_key_file: client_key_file,
        worker_tls_server_name: server_name,
    } = args;
    let certificate = FlagFile::given("--worker-client-cert-file", client_cert_file);
    let key = FlagFile::given("--worker-client-key-file", client_key_file);
    let ca = FlagFile::given("--worker-ca-file", ca_file);
    let token = FlagFile::given("--worker-token-file", token_file);
    let tls = Tls { ca, identity: certificate.zip(key), server_name };
    workers::CollectorSettings { concurrency, timeout, max_report_bytes, token, tls }
}

fn election_conflicts(timing: &LeaseTiming) -> Vec<BadSetting> {
    let LeaseTiming { lease_duration, renew_deadline, retry_period } = *timing;
    let mut conflicts = Vec::new();
    if renew_deadline >= lease_duration {
        let bad = BadSetting::new("--leader-elect-renew-deadline", format!("use {}", condition::DEADLINE));
        conflicts.push(bad.given(&format_duration(renew_deadline)));
    }
    // client-go has the same rule: a retry and its jitter must fit before the deadline.
    if retry_period.mul_f64(1.2) >= renew_deadline {
        let bad = BadSetting::new("--leader-elect-retry-period", format!("use {}", condition::RETRY));
        conflicts.push(bad.given(&format_duration(retry_period)));
    }
    conflicts
}

impl ElectionArgs {
    const fn timing(&self) -> LeaseTiming {
        LeaseTiming {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
        }
    }
}

fn election_settings(args: ElectionArgs) -> Election {
    let timing = args.timing();
    Election { timing, name: args.leader_elect_resource_name, namespace: args.leader_elect_resource_namespace }
}

#[cfg(test)]
mod tests;
