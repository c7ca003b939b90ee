//! The settings of `run`, checked together. Shell: from flags to what each room is given.
//!
//! Values alone are checked where they are read (in `args` and `values`); here is what they mean to each other. Every refusal is
//! one line that names the flag and what is allowed, and none repeats a secret.

mod args;
mod polls;
mod values;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use crate::classify::{Params, memory};
use crate::controller;
use crate::poll::Intervals;
use crate::publish::keys::OwnerId;
use crate::publish::{RedisAccess, RedisSettings, Takeover};
use crate::registry::Scope;
use crate::workers::discovery::{EndpointUrl, ServiceSource, Source, SourceError};
use crate::workers::{self, Credentials};

pub use args::{ElectionArgs, LogFormat, RankingArgs, RedisAccessArgs, RedisArgs, RunArgs, WorkerArgs};
pub use polls::{Api, ApiArgs, PollIntervalArgs, intervals as poll_intervals, redis_access};
pub use values::Listen;

/// A setting that cannot be: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("invalid value{} for '{flag}': {allowed}", given.as_ref().map(|given| format!(" '{given}'")).unwrap_or_default())]
pub struct BadSetting {
    flag: &'static str,
    /// What was given; `None` where it may hold a secret, or where something is missing.
    given: Option<String>,
    allowed: String,
}

impl BadSetting {
    /// A value that is not repeated, with what is allowed.
    #[must_use]
    pub fn new(flag: &'static str, allowed: impl Into<String>) -> Self {
        Self { flag, given: None, allowed: allowed.into() }
    }

    /// Redis cannot be reached with these settings, whatever its state.
    #[must_use]
    pub fn redis(error: &crate::publish::Error) -> Self {
        Self {
            flag: "--redis-url",
            given: None,
            allowed: error.to_string().replace("--redis-url is no Redis URL: ", ""),
        }
    }

    /// The owner id has no default where the namespace kube-system may not be read.
    #[must_use]
    pub fn owner_needed() -> Self {
        let allowed = "name this release, for the namespace kube-system may not be read (get namespaces kube-system)";
        Self { flag: "--redis-owner-id", given: None, allowed: allowed.to_owned() }
    }
}

fn refuse<T>(flag: &'static str, allowed: impl Into<String>) -> Result<T, BadSetting> {
    Err(BadSetting { flag, given: None, allowed: allowed.into() })
}

fn refuse_value<T>(flag: &'static str, given: impl fmt::Debug, allowed: &str) -> Result<T, BadSetting> {
    let given = format!("{given:?}").trim_matches('"').to_owned();
    Err(BadSetting { flag, given: Some(given), allowed: allowed.to_owned() })
}

/// Everything that `run` needs to know before it meets the cluster.
#[derive(Debug)]
pub struct Config {
    /// Which objects to watch.
    pub scope: Scope,
    /// Of the loop.
    pub controller: controller::Settings,
    /// Who reports.
    pub sources: Vec<Source>,
    /// How to ask.
    pub workers: workers::Settings,
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

/// How to elect, before the namespace is known.
#[derive(Clone, Debug)]
pub struct Election {
    /// See [`crate::leadership::Settings`].
    pub lease_duration: Duration,
    /// See [`crate::leadership::Settings`].
    pub renew_deadline: Duration,
    /// See [`crate::leadership::Settings`].
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
    takeover: Takeover,
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

/// A text that does not show itself.
#[derive(Clone)]
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl TryFrom<RunArgs> for Config {
    type Error = BadSetting;

    fn try_from(args: RunArgs) -> Result<Self, BadSetting> {
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
        if EnvFilter::try_new(&log_level).is_err() {
            return refuse_value("--log-level", &log_level, "use error, warn, info, debug or trace");
        }
        intervals(classification_interval, usage_window, status_usage_interval)?;
        for namespace in &watch_namespace {
            label("--watch-namespace", namespace)?;
        }
        if metrics_bind_address
            .0
            .is_some_and(|address| address.port() != 0 && Some(address) == health_probe_bind_address.0)
        {
            return refuse("--health-probe-bind-address", "use another address than --metrics-bind-address");
        }
        let memory =
            memory::Settings { interval: classification_interval, quorum: workers.worker_quorum, window: usage_window };
        let worker_path = workers.worker_path.clone();
        let (sources, workers) = worker_settings(workers)?;
        Ok(Self {
            scope: Scope { namespaces: watch_namespace, selector: watch_selector.filter(|text| !text.is_empty()) },
            controller: controller::Settings { ranking: ranking(&ranking_args), memory, status_usage_interval },
            sources,
            workers,
            worker_path,
            redis: redis_settings(redis)?,
            election: election_settings(election)?,
            polls: polls::intervals(&polls)?,
            api: polls::api(api, [metrics_bind_address, health_probe_bind_address])?,
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

fn intervals(classification: Duration, window: Duration, usage: Duration) -> Result<(), BadSetting> {
    const DAY: Duration = Duration::from_hours(24);
    if !(Duration::from_secs(1)..=DAY).contains(&classification) {
        return refuse_value("--classification-interval", classification, "use 1s to 24h");
    }
    if !window.is_zero() && window < classification {
        return refuse_value("--usage-window", window, "use 0s (never forget) or at least --classification-interval");
    }
    if !usage.is_zero() && usage < Duration::from_secs(1) {
        return refuse_value("--status-usage-interval", usage, "use 0s (never) or at least 1s");
    }
    Ok(())
}

fn worker_settings(args: WorkerArgs) -> Result<(Vec<Source>, workers::Settings), BadSetting> {
    let WorkerArgs {
        worker_endpoint,
        worker_service,
        worker_path,
        worker_timeout,
        worker_concurrency,
        worker_quorum: _,
        max_report_bytes,
        worker_token_file,
        worker_ca_file,
        worker_client_cert_file,
        worker_client_key_file,
        worker_tls_server_name,
    } = args;
    if worker_endpoint.is_empty() && worker_service.is_empty() {
        return refuse("--worker-service", "say where the workers report: --worker-service or --worker-endpoint");
    }
    if !worker_path.starts_with('/') {
        return refuse_value("--worker-path", worker_path, "write a path that begins with /");
    }
    if !(Duration::from_millis(1)..=Duration::from_mins(10)).contains(&worker_timeout) {
        return refuse_value("--worker-timeout", worker_timeout, "use 1ms to 10m");
    }
    let Some(concurrency) = NonZeroUsize::new(worker_concurrency).filter(|number| number.get() <= 10_000) else {
        return refuse_value("--worker-concurrency", worker_concurrency, "use 1 to 10000");
    };
    if worker_client_cert_file.is_some() != worker_client_key_file.is_some() {
        return refuse("--worker-client-cert-file", "goes together with --worker-client-key-file");
    }
    let mut urls = Vec::new();
    for text in &worker_endpoint {
        urls.push(parsed::<EndpointUrl>("--worker-endpoint", text)?);
    }
    let mut sources = vec![Source::Fixed(urls)];
    for text in &worker_service {
        sources.push(Source::Service(parsed::<ServiceSource>("--worker-service", text)?));
    }
    Source::check(&sources).or_else(|error| refuse("--worker-endpoint", error.to_string()))?;
    let credentials = Credentials {
        token_file: worker_token_file,
        ca_file: worker_ca_file,
        client_cert_file: worker_client_cert_file,
        client_key_file: worker_client_key_file,
        tls_server_name: worker_tls_server_name,
    };
    Ok((sources, workers::Settings { concurrency, timeout: worker_timeout, max_report_bytes, credentials }))
}

fn parsed<T: FromStr<Err = SourceError>>(flag: &'static str, text: &str) -> Result<T, BadSetting> {
    text.parse().or_else(|error: SourceError| refuse(flag, error.to_string()))
}

fn redis_settings(args: RedisArgs) -> Result<Option<Redis>, BadSetting> {
    let RedisArgs { access, redis_owner_id, redis_lock_takeover } = args;
    let Some((RedisAccess { url, username, password_file, ca_file }, key_prefix)) = redis_access(access)? else {
        return Ok(None);
    };
    let owner = match &redis_owner_id {
        None => None,
        Some(text) => match OwnerId::parse(text) {
            Some(owner) => Some(owner),
            None => return refuse("--redis-owner-id", "use 1 to 200 printable characters without blanks"),
        },
    };
    let (url, takeover) = (Secret(url), redis_lock_takeover.into());
    Ok(Some(Redis { url, username, password_file, ca_file, key_prefix, takeover, owner }))
}

fn election_settings(args: ElectionArgs) -> Result<Election, BadSetting> {
    let ElectionArgs {
        leader_elect_lease_duration: lease_duration,
        leader_elect_renew_deadline: renew_deadline,
        leader_elect_retry_period: retry_period,
        leader_elect_resource_name: name,
        leader_elect_resource_namespace: namespace,
    } = args;
    // The Lease keeps whole seconds, at least one.
    if !(Duration::from_secs(1)..=Duration::from_hours(1)).contains(&lease_duration)
        || lease_duration.subsec_nanos() != 0
    {
        return refuse_value("--leader-elect-lease-duration", lease_duration, "use whole seconds from 1s to 1h");
    }
    if renew_deadline >= lease_duration {
        return refuse_value(
            "--leader-elect-renew-deadline",
            renew_deadline,
            "use less than --leader-elect-lease-duration",
        );
    }
    // As client-go asks: with its jitter a retry must still fit before the deadline.
    if retry_period.mul_f64(1.2) >= renew_deadline || retry_period < Duration::from_millis(50) {
        return refuse_value(
            "--leader-elect-retry-period",
            retry_period,
            "use at least 50ms, and less than 1/1.2 of --leader-elect-renew-deadline",
        );
    }
    let dns = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    if !(1..=240).contains(&name.len()) || !name.bytes().all(dns) {
        return refuse_value(
            "--leader-elect-resource-name",
            &name,
            "use 1 to 240 lower-case letters, digits, '-' and '.'",
        );
    }
    if let Some(namespace) = &namespace {
        label("--leader-elect-resource-namespace", namespace)?;
    }
    Ok(Election { lease_duration, renew_deadline, retry_period, name, namespace })
}

fn label(flag: &'static str, text: &str) -> Result<(), BadSetting> {
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        refuse_value(flag, text, "use the name of a namespace: 1 to 63 lower-case letters, digits and '-'")
    }
}

#[cfg(test)]
mod tests;
