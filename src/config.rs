//! The settings of `run`: from flags to the settings of each module.
//!
//! clap checks each value by its [`rule`] (see `args`). This module checks the settings against each other. Every error
//! is one line that names the flag and what is allowed, and none repeats a secret.

mod args;
mod bad_setting;
mod doctor;
pub(crate) mod domain_values;
mod polls;
pub(crate) mod rule;
mod selector;
pub(crate) mod values;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo};

use crate::classify::{Params, memory};
use crate::controller;
use crate::poll::Intervals;
use crate::publish::keys::OwnerId;
use crate::publish::{RedisAccess, RedisSettings, TakeoverPolicy};
use crate::registry::Scope;
use crate::workers::discovery::{Scheme, Source};
use crate::workers::{self, Credentials};
use args::condition;
use values::format_duration;

pub use args::{ElectionArgs, LogFormat, RankingArgs, RedisAccessArgs, RedisArgs, RunArgs, WorkerArgs, heading};
pub use bad_setting::{BadSetting, BadSettings, ENV_PREFIX, variable};
pub use doctor::DoctorSettings;
pub use polls::{Api, ApiArgs, PollIntervalArgs, PollSettings};
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
    pub sources: Vec<Source>,
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

/// How to elect, before the namespace is known.
#[derive(Clone, Debug)]
pub struct Election {
    /// See [`crate::leadership::ElectionSettings`].
    pub lease_duration: Duration,
    /// See [`crate::leadership::ElectionSettings`].
    pub renew_deadline: Duration,
    /// See [`crate::leadership::ElectionSettings`].
    pub retry_period: Duration,
    /// Of the Lease.
    pub name: String,
    /// Of the Lease; that of the cluster's configuration if `None`.
    pub namespace: Option<String>,
}

/// Where to publish, before the owner is known.
#[derive(Clone, Debug)]
pub struct Redis {
    url: Secret,
    username: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    key_prefix: String,
    takeover: TakeoverPolicy,
    /// The owner id, if it was given.
    pub owner: Option<OwnerId>,
}

impl Redis {
    /// How to get at it, and what all keys start with.
    #[must_use]
    pub fn access(&self) -> (RedisAccess, &str) {
        let Self { url, username, password_file, ca_file, key_prefix, .. } = self;
        let (username, password_file, ca_file) = (username.clone(), password_file.clone(), ca_file.clone());
        (RedisAccess { url: url.0.clone(), username, password_file, ca_file }, key_prefix.as_str())
    }

    /// The whole settings, for this owner and these times.
    #[must_use]
    pub fn settings(&self, owner: OwnerId, interval: Duration, lease_duration: Duration) -> RedisSettings {
        let Self { url, username, password_file, ca_file, key_prefix, takeover, owner: _ } = self.clone();
        let url = url.0;
        RedisSettings { url, username, password_file, ca_file, key_prefix, owner, takeover, interval, lease_duration }
    }
}

/// A text that `Debug` does not print.
#[derive(Clone)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl TryFrom<RunArgs> for Config {
    type Error = BadSettings;

    fn try_from(args: RunArgs) -> Result<Self, BadSettings> {
        let conflicts = conflicts(&args);
        if !conflicts.is_empty() {
            return Err(BadSettings(conflicts));
        }
        let RunArgs {
            mut watch_namespace,
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
        // A namespace given twice would be watched twice.
        watch_namespace.sort();
        watch_namespace.dedup();
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
            redis: redis_settings(redis),
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
#[must_use]
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
    conflicts.extend(redis_conflicts(&args.redis.access));
    conflicts.extend(polls::interval_conflict(args.polls));
    conflicts.extend(polls::api_conflict(&args.api));
    conflicts.extend(of_election(&args.election));
    conflicts
}

/// One error for each of these flags that is set although its condition is not met.
fn unmet(condition: &str, flags: &[(&str, bool)]) -> impl Iterator<Item = BadSetting> {
    flags.iter().filter(|(_, is_set)| *is_set).map(move |(flag, _)| BadSetting::new(flag, condition))
}

fn worker_conflicts(args: &WorkerArgs) -> Vec<BadSetting> {
    let sources = sources(args);
    if args.worker_endpoint.is_empty() && args.worker_service.is_empty() {
        return vec![BadSetting::new("--worker-service", condition::ENDPOINTS)];
    }
    let mut conflicts = Vec::new();
    if let Err(error) = Source::check(&sources) {
        conflicts.push(BadSetting::new("--worker-endpoint", error.to_string()));
    }
    let (ca, name) = (args.worker_ca_file.is_some(), args.worker_tls_server_name.is_some());
    let (cert, key) = (args.worker_client_cert_file.is_some(), args.worker_client_key_file.is_some());
    conflicts.extend(unmet(condition::KEY, &[("--worker-client-cert-file", cert && !key)]));
    conflicts.extend(unmet(condition::CERT, &[("--worker-client-key-file", key && !cert)]));
    // These flags would have no effect, and the user expects TLS.
    if !sources.iter().any(uses_tls) {
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

fn redis_conflicts(args: &RedisAccessArgs) -> Vec<BadSetting> {
    let (username, ca_file) = (args.redis_username.is_some(), args.redis_ca_file.is_some());
    let password_file = args.redis_password_file.is_some();
    let Some(info) = args.redis_url.as_deref().and_then(|url| url.into_connection_info().ok()) else {
        let flags =
            [("--redis-username", username), ("--redis-password-file", password_file), ("--redis-ca-file", ca_file)];
        return unmet(condition::REDIS, &flags).collect();
    };
    let has_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    let mut conflicts: Vec<BadSetting> =
        unmet(condition::REDIS_TLS, &[("--redis-ca-file", ca_file && !has_tls)]).collect();
    // Without a password the Redis client ignores the user name and silently logs in as the default user.
    let login = info.redis_settings();
    if login.password().is_none() && !password_file {
        let flags = [("--redis-username", username), ("--redis-url", !username && login.username().is_some())];
        conflicts.extend(unmet(condition::PASSWORD, &flags));
    }
    conflicts
}

fn redis_settings(args: RedisArgs) -> Option<Redis> {
    let RedisArgs { access, redis_owner_id: owner, redis_lock_takeover } = args;
    let (access, key_prefix) = redis_access(access);
    let RedisAccess { url, username, password_file, ca_file } = access?;
    let (url, takeover) = (Secret(url), redis_lock_takeover);
    Some(Redis { url, username, password_file, ca_file, key_prefix, takeover, owner })
}

/// How to get at Redis, if there is one, and the prefix of its keys.
fn redis_access(args: RedisAccessArgs) -> (Option<RedisAccess>, String) {
    let RedisAccessArgs {
        redis_url,
        redis_username: username,
        redis_password_file: password_file,
        redis_ca_file: ca_file,
        redis_key_prefix,
    } = args;
    let access = redis_url.map(|url| RedisAccess { url, username, password_file, ca_file });
    (access, redis_key_prefix)
}

fn of_election(args: &ElectionArgs) -> Vec<BadSetting> {
    let (deadline, retry) = (args.leader_elect_renew_deadline, args.leader_elect_retry_period);
    let mut wrong = Vec::new();
    if deadline >= args.leader_elect_lease_duration {
        let bad = BadSetting::new("--leader-elect-renew-deadline", format!("use {}", condition::DEADLINE));
        wrong.push(bad.given(&format_duration(deadline)));
    }
    // As client-go asks: with its jitter a retry must still fit before the deadline.
    if retry.mul_f64(1.2) >= deadline {
        let bad = BadSetting::new("--leader-elect-retry-period", format!("use {}", condition::RETRY));
        wrong.push(bad.given(&format_duration(retry)));
    }
    wrong
}

fn election_settings(args: ElectionArgs) -> Election {
    let ElectionArgs {
        leader_elect_lease_duration: lease_duration,
        leader_elect_renew_deadline: renew_deadline,
        leader_elect_retry_period: retry_period,
        leader_elect_resource_name: name,
        leader_elect_resource_namespace: namespace,
    } = args;
    Election { lease_duration, renew_deadline, retry_period, name, namespace }
}

#[cfg(test)]
mod tests;
