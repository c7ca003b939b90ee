//! The settings of `run`, checked together. Shell: from flags to what each room is given.
//!
//! One value is checked where it is read (by its [`rule`], in `args`); here is what they mean to each other. Every refusal is one
//! line that names the flag and what is allowed, and none repeats a secret.

mod args;
mod doctor;
pub(crate) mod parts;
mod polls;
mod redis;
mod refusal;
pub(crate) mod rule;
mod selector;
pub(crate) mod values;

use crate::classify::{Params, memory};
use crate::controller;
use crate::leadership::LeaseTiming;
use crate::poll::Intervals;
use crate::registry::Scope;
use crate::workers::discovery::{Scheme, Source};
use crate::workers::{self, Credentials};
use args::together;
use values::written;

pub use args::{ElectionArgs, LogFormat, RankingArgs, RunArgs, WorkerArgs, heading};
pub use doctor::DoctorSettings;
pub use polls::{Api, ApiArgs, PollIntervalArgs, PollSettings};
pub use redis::{Redis, RedisAccessArgs, RedisArgs};
pub use refusal::{BadSetting, BadSettings, ENV_PREFIX, variable};
pub use rule::{allowed, flag_of};
pub use values::Listen;

/// Everything that `run` needs to know before it meets the cluster.
#[derive(Debug)]
pub struct Config {
    /// Which objects to watch.
    pub scope: Scope,
    /// Of the loop.
    pub controller: controller::ControllerSettings,
    /// Who reports.
    pub sources: Vec<Source>,
    /// How to ask.
    pub workers: workers::CollectorSettings,
    /// The path at addresses of a Service.
    pub worker_path: String,
    /// Where to publish, if anywhere.
    pub redis: Option<Redis>,
    /// How to elect.
    pub election: Election,
    /// Where to serve metrics.
    pub metrics: Listen,
    /// Where to serve health.
    pub health: Listen,
    /// How often gateways poll.
    pub polls: Intervals,
    /// What gateways may ask, and where.
    pub api: Api,
    /// How to log.
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
        let wrong = contradictions(&args);
        if !wrong.is_empty() {
            return Err(BadSettings(wrong));
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

/// The settings of the ranking.
#[must_use]
pub fn ranking(args: &RankingArgs) -> Params {
    let RankingArgs { hot_fraction, min_hot, recency_resolution } = *args;
    Params { hot_fraction, min_hot, recency_resolution }
}

/// Everything that cannot be together; all of it, so that it is mended in one go.
fn contradictions(args: &RunArgs) -> Vec<BadSetting> {
    let mut wrong = Vec::new();
    let window = args.usage_window;
    if !window.is_zero() && window < args.classification_interval {
        let bad = BadSetting::new("--usage-window", format!("use 0s, or {}", together::WINDOW));
        wrong.push(bad.given(&written(window)));
    }
    let listeners = [
        ("--metrics-bind-address", args.metrics_bind_address),
        ("--health-probe-bind-address", args.health_probe_bind_address),
        ("--api-bind-address", args.api.api_bind_address),
    ];
    for (index, (flag, listener)) in listeners.iter().enumerate() {
        if let Some((other, _)) = listeners[..index].iter().find(|(_, other)| listener.collides(*other)) {
            wrong.push(BadSetting::new(flag, format!("{}, and {other} has this one", together::PORT)));
        }
    }
    wrong.extend(of_workers(&args.workers));
    wrong.extend(args.redis.access.conflicts());
    wrong.extend(polls::of_intervals(args.polls));
    wrong.extend(polls::of_api(&args.api));
    wrong.extend(of_election(&args.election.timing()));
    wrong
}

fn of_workers(args: &WorkerArgs) -> Vec<BadSetting> {
    let mut wrong = Vec::new();
    let sources = sources(args);
    if args.worker_endpoint.is_empty() && args.worker_service.is_empty() {
        wrong.push(BadSetting::new("--worker-service", together::ENDPOINTS));
        return wrong;
    }
    if let Err(error) = Source::check(&sources) {
        wrong.push(BadSetting::new("--worker-endpoint", error.to_string()));
    }
    match (&args.worker_client_cert_file, &args.worker_client_key_file) {
        (Some(_), None) => wrong.push(BadSetting::new("--worker-client-cert-file", together::KEY)),
        (None, Some(_)) => wrong.push(BadSetting::new("--worker-client-key-file", together::CERT)),
        _ => {}
    }
    // Who gives them believes that the workers are asked with TLS.
    if !sources.iter().any(uses_tls) {
        let stray = [
            ("--worker-ca-file", args.worker_ca_file.is_some()),
            ("--worker-client-cert-file", args.worker_client_cert_file.is_some()),
            ("--worker-client-key-file", args.worker_client_key_file.is_some()),
            ("--worker-tls-server-name", args.worker_tls_server_name.is_some()),
        ];
        wrong.extend(stray.iter().filter(|(_, given)| *given).map(|(flag, _)| BadSetting::new(flag, together::HTTPS)));
    }
    wrong
}

fn sources(args: &WorkerArgs) -> Vec<Source> {
    let fixed = Source::Fixed(args.worker_endpoint.clone());
    std::iter::once(fixed).chain(args.worker_service.iter().cloned().map(Source::Service)).collect()
}

fn uses_tls(source: &Source) -> bool {
    match source {
        Source::Fixed(urls) => urls.iter().any(|url| url.url().scheme() == Scheme::Https.as_str()),
        Source::Service(service) => service.scheme == Scheme::Https,
    }
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
        worker_tls_server_name: tls_server_name,
    } = args;
    let credentials = Credentials { token_file, ca_file, client_cert_file, client_key_file, tls_server_name };
    workers::CollectorSettings { concurrency, timeout, max_report_bytes, credentials }
}

fn of_election(timing: &LeaseTiming) -> Vec<BadSetting> {
    let LeaseTiming { lease_duration, renew_deadline, retry_period } = *timing;
    let mut wrong = Vec::new();
    if renew_deadline >= lease_duration {
        let bad = BadSetting::new("--leader-elect-renew-deadline", format!("use {}", together::DEADLINE));
        wrong.push(bad.given(&written(renew_deadline)));
    }
    // client-go has the same rule: a retry and its jitter must fit before the deadline.
    if retry_period.mul_f64(1.2) >= renew_deadline {
        let bad = BadSetting::new("--leader-elect-retry-period", format!("use {}", together::RETRY));
        wrong.push(bad.given(&written(retry_period)));
    }
    wrong
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
