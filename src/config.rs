//! The flags of `run`, most of which other subcommands share.
//!
//! clap checks each value by its [`rule`] (see `args`). This module checks the settings against each other. Every error
//! is one line that names the flag and what is allowed, and none repeats a secret.

mod args;
mod bad_setting;
pub(crate) mod domain_values;
mod polls;
mod redis;
mod registration;
pub(crate) mod rule;
mod selector;
pub(crate) mod values;

use std::time::Duration;

use crate::classify::Params;
use crate::http_client::{FlagFile, Tls};
use crate::leadership::LeaseTiming;
use crate::workers::CollectorSettings;
use crate::workers::discovery::{Scheme, Sources};

pub(crate) use args::{
    ElectionArgs, LogFormat, RankingArgs, RunArgs, SECOND, ScopeArgs, WorkerArgs, condition, heading,
};
pub(crate) use bad_setting::{BadSetting, BadSettings, ENV_PREFIX};
pub(crate) use polls::{LongestIntervalArgs, MAX_INTERVAL, PollIntervalArgs};
pub(crate) use redis::RedisAccessArgs;
pub(crate) use registration::{ContextForgeArgs, ContextForgeRateArgs};
pub(crate) use values::Listen;

pub use bad_setting::variable;
pub use rule::{allowed, flag_name};

impl RunArgs {
    /// The parameters of the ranking. Uses within one interval count as equally recent by default. A finer order would
    /// change tiers in each cycle, and a use is only known an interval later anyway.
    pub(crate) fn ranking_params(&self) -> Params {
        self.ranking.params(self.classification_interval)
    }

    /// Checks the settings against each other. The error has all conflicts, so that a user can fix them in one go.
    pub(crate) fn check(&self) -> Result<(), BadSettings> {
        let mut conflicts = Vec::new();
        let window = self.usage_window;
        if !window.is_zero() && window < self.classification_interval {
            let allowed = format!("0s, or {}", condition::WINDOW);
            conflicts.push(BadSetting::duration("--usage-window", &allowed, window));
        }
        let listeners = [
            ("--metrics-bind-address", self.metrics_bind_address),
            ("--health-probe-bind-address", self.health_probe_bind_address),
            ("--api-bind-address", self.api.api_bind_address),
        ];
        for (index, (flag, listener)) in listeners.iter().enumerate() {
            if let Some((other, _)) = listeners[..index].iter().find(|(_, other)| listener.collides(*other)) {
                conflicts.push(BadSetting::new(flag, format!("{}; {other} has this one", condition::PORT)));
            }
        }
        if self.workers.sources().is_empty() {
            conflicts.push(BadSetting::new("--worker-service", condition::ENDPOINTS));
        }
        conflicts.extend(self.workers.conflicts());
        conflicts.extend(self.redis.access.conflicts());
        conflicts.extend(self.polls.conflicts());
        conflicts.extend(self.refresh.conflict(self.polls.hot_poll_interval));
        conflicts.extend(self.api.conflict());
        conflicts.extend(self.registration.contextforge.conflicts());
        let unwatched = |namespace: &String| {
            let listed = &self.scope.watch_namespace;
            self.scope.watch_selector.is_some() || !(listed.is_empty() || listed.contains(namespace))
        };
        let mirror = self.registration.mirror_namespace.as_ref();
        let registers = self.registration.contextforge.contextforge_url.is_some();
        conflicts.extend(BadSetting::unmet([
            ("--mirror-namespace", mirror.is_some() && !registers, condition::CONTEXTFORGE),
            ("--mirror-namespace", registers && mirror.is_some_and(unwatched), condition::MIRROR),
        ]));
        conflicts.extend(self.election.conflicts());
        BadSettings::check(conflicts)
    }
}

impl RankingArgs {
    /// `default_resolution`: the `--recency-resolution` if the flag is not set. `run` and `classify` differ in that.
    pub(crate) fn params(self, default_resolution: Duration) -> Params {
        let Self { hot_fraction, min_hot, max_pinned, recency_resolution } = self;
        let recency_resolution = recency_resolution.unwrap_or(default_resolution);
        Params { hot_fraction, min_hot, max_pinned, recency_resolution }
    }
}

impl WorkerArgs {
    /// Where to find workers. Empty if the flags name none; then the other flags about workers have no effect.
    pub(crate) fn sources(&self) -> Sources {
        Sources { endpoints: self.worker_endpoint.clone(), services: self.worker_service.clone() }
    }

    pub(crate) fn conflicts(&self) -> Vec<BadSetting> {
        let sources = self.sources();
        if sources.is_empty() {
            return Vec::new();
        }
        let (cert, key) = (self.worker_client_cert_file.is_some(), self.worker_client_key_file.is_some());
        // Without TLS these flags would have no effect, and the user expects TLS.
        let uses_tls = self.worker_endpoint.iter().any(|endpoint| endpoint.url.scheme() == "https")
            || self.worker_service.iter().any(|service| service.scheme == Scheme::Https);
        let duplicate = sources.check().err();
        let duplicate = duplicate.map(|error| BadSetting::new("--worker-endpoint", error.to_string()));
        let unmet = BadSetting::unmet([
            ("--worker-client-cert-file", cert && !key, condition::KEY),
            ("--worker-client-key-file", key && !cert, condition::CERT),
            ("--worker-ca-file", self.worker_ca_file.is_some() && !uses_tls, condition::HTTPS),
            ("--worker-client-cert-file", cert && !uses_tls, condition::HTTPS),
            ("--worker-client-key-file", key && !uses_tls, condition::HTTPS),
            ("--worker-tls-server-name", self.worker_tls_server_name.is_some() && !uses_tls, condition::HTTPS),
        ]);
        duplicate.into_iter().chain(unmet).collect()
    }

    pub(crate) fn collector(&self) -> CollectorSettings {
        let certificate = FlagFile::given("--worker-client-cert-file", self.worker_client_cert_file.clone());
        let key = FlagFile::given("--worker-client-key-file", self.worker_client_key_file.clone());
        CollectorSettings {
            concurrency: self.worker_concurrency,
            timeout: self.worker_timeout,
            max_report_bytes: self.max_report_bytes,
            token: FlagFile::given("--worker-token-file", self.worker_token_file.clone()),
            tls: Tls {
                ca: FlagFile::given("--worker-ca-file", self.worker_ca_file.clone()),
                identity: certificate.zip(key),
                server_name: self.worker_tls_server_name.clone(),
            },
        }
    }
}

impl ElectionArgs {
    pub(crate) const fn timing(&self) -> LeaseTiming {
        LeaseTiming {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
        }
    }

    fn conflicts(&self) -> Vec<BadSetting> {
        let LeaseTiming { lease_duration, renew_deadline, retry_period } = self.timing();
        let mut conflicts = Vec::new();
        if renew_deadline >= lease_duration {
            conflicts.push(BadSetting::duration("--leader-elect-renew-deadline", condition::DEADLINE, renew_deadline));
        }
        // client-go has the same rule: a retry and its jitter must fit before the deadline.
        if retry_period.mul_f64(1.2) >= renew_deadline {
            conflicts.push(BadSetting::duration("--leader-elect-retry-period", condition::RETRY, retry_period));
        }
        conflicts
    }
}

#[cfg(test)]
mod tests;
