//! The flags of `run` as clap parses them, each with its environment variable, its default and its rule. [`super`]
//! checks them against each other.
//!
//! To add a flag, add a field here (or in `polls` or `redis`) and a row to the table in `tests/it/settings`. The help,
//! the errors and `docs/settings.md` follow from the field.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustls::pki_types::ServerName;

use super::domain_values::{endpoint, label_selector, log_filter, path, server_name, service};
use super::polls::{ApiArgs, PollIntervalArgs, RefreshPlanArgs};
use super::redis::RedisArgs;
use super::registration::RegistrationArgs;
use super::values::{
    Listen, bytes, choice, duration, duration_or_zero, file, fraction, listen, namespace, object_name, seconds, whole,
};
use crate::registry::Scope;
use crate::workers::discovery::{Endpoint, ServiceSource};

/// The groups of the flags, in `--help` and in `docs/settings.md`.
pub(crate) mod heading {
    pub(crate) const OBJECTS: &str = "Objects";
    pub(crate) const WORKERS: &str = "Workers";
    pub(crate) const RANKING: &str = "Ranking";
    pub(crate) const REDIS: &str = "Redis";
    pub(crate) const POLLS: &str = "Polls";
    pub(crate) const REGISTRATION: &str = "Registration";
    pub(crate) const LEADERSHIP: &str = "Leadership";
    pub(crate) const SERVING: &str = "Serving";
    pub(crate) const LOGGING: &str = "Logging";
    pub(crate) const CLUSTER: &str = "Cluster";
}

/// Conditions that involve several settings. The help of one of them and the error quote the same text.
pub(crate) mod condition {
    pub(crate) const ENDPOINTS: &str = "at least one of --worker-service and --worker-endpoint is needed";
    pub(crate) const DISTINCT: &str = "two URLs must not differ only in their query";
    pub(crate) const WINDOW: &str = "at least --classification-interval";
    pub(crate) const KEY: &str = "needs --worker-client-key-file";
    pub(crate) const CERT: &str = "needs --worker-client-cert-file";
    pub(crate) const HTTPS: &str = "needs an https:// endpoint or Service";
    pub(crate) const REDIS: &str = "needs --redis-url";
    pub(crate) const REDIS_KEY: &str = "needs --redis-client-key-file";
    pub(crate) const REDIS_CERT: &str = "needs --redis-client-cert-file";
    pub(crate) const REDIS_TLS: &str = "needs a --redis-url that begins with rediss://";
    pub(crate) const PASSWORD: &str = "a user name needs a password, in --redis-password-file or in the URL";
    pub(crate) const COLD: &str = "at least --hot-poll-interval";
    pub(crate) const LONGEST: &str = COLD;
    pub(crate) const DEADLINE: &str = "less than --leader-elect-lease-duration";
    pub(crate) const RETRY: &str = "less than --leader-elect-renew-deadline divided by 1.2";
    pub(crate) const PORT: &str = "each listener needs its own address";
    pub(crate) const TOKEN: &str = "a loopback address such as 127.0.0.1:8082 unless --api-token-file is set";
    pub(crate) const API: &str = "needs --api-bind-address";
    pub(crate) const CONTEXTFORGE: &str = "needs --contextforge-url";
    pub(crate) const CONTEXTFORGE_TOKEN: &str = "needs --contextforge-token-file";
    pub(crate) const MIRROR: &str = "must be watched, without --watch-selector";
    pub(crate) const CONTEXTFORGE_TLS: &str = "needs a --contextforge-url that begins with https://";
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(24 * 365);

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// See docs/contract.md#ranking.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RankingArgs {
    /// Share of the servers that may be hot
    #[arg(long, env = "MCPGW_HOT_FRACTION", default_value = "0.20", value_parser = fraction(), value_name = "0..1")]
    pub(crate) hot_fraction: f64,
    /// Minimum number of servers that may be hot, whatever --hot-fraction allows
    #[arg(long, env = "MCPGW_MIN_HOT", default_value = "0", value_parser = whole::<usize>(0..=1_000_000),
        value_name = "N")]
    pub(crate) min_hot: usize,
    /// Share of the servers that objects may pin (spec.polling.tier), at least one server; 0 for none
    #[arg(long, env = "MCPGW_MAX_PINNED", default_value = "0.1", value_parser = fraction(), value_name = "0..1")]
    pub(crate) max_pinned: f64,
    /// Precision of last-used times, smaller differences do not count; --classification-interval by default
    #[arg(long, env = "MCPGW_RECENCY_RESOLUTION",
        value_parser = duration_or_zero("exact", Duration::from_millis(1)..=DAY), value_name = "DURATION")]
    pub(crate) recency_resolution: Option<Duration>,
}

/// Which objects the operator watches.
#[derive(Debug, Args)]
pub(crate) struct ScopeArgs {
    /// Namespace that the operator watches; every namespace by default
    #[arg(long, env = "MCPGW_WATCH_NAMESPACE", value_delimiter = ',', value_parser = namespace(),
        value_name = "NAMESPACE")]
    pub(crate) watch_namespace: Vec<String>,
    /// Label selector of the objects that the operator watches
    #[arg(long, env = "MCPGW_WATCH_SELECTOR", value_parser = label_selector(), value_name = "SELECTOR")]
    pub(crate) watch_selector: Option<String>,
}

impl ScopeArgs {
    pub(crate) fn scope(&self) -> Scope {
        Scope::new(self.watch_namespace.clone(), self.watch_selector.clone())
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten, next_help_heading = heading::OBJECTS)]
    pub(crate) scope: ScopeArgs,
    /// How often to collect and classify
    #[arg(long, env = "MCPGW_CLASSIFICATION_INTERVAL", default_value = "60s", value_parser = duration(SECOND..=DAY),
        value_name = "DURATION", help_heading = heading::RANKING)]
    pub(crate) classification_interval: Duration,
    #[command(flatten, next_help_heading = heading::RANKING)]
    pub(crate) ranking: RankingArgs,
    /// Age at which the use of a server is forgotten
    #[arg(long, env = "MCPGW_USAGE_WINDOW", default_value = "0s",
        value_parser = duration_or_zero("never", SECOND..=YEAR).and(condition::WINDOW), value_name = "DURATION",
        help_heading = heading::RANKING)]
    pub(crate) usage_window: Duration,
    /// Shortest time between two status writes that only refresh usage
    #[arg(long, env = "MCPGW_STATUS_USAGE_INTERVAL", default_value = "10m",
        value_parser = duration_or_zero("never", SECOND..=YEAR), value_name = "DURATION",
        help_heading = heading::OBJECTS)]
    pub(crate) status_usage_interval: Duration,
    #[command(flatten, next_help_heading = heading::WORKERS)]
    pub(crate) workers: WorkerArgs,
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub(crate) redis: RedisArgs,
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub(crate) polls: PollIntervalArgs,
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub(crate) refresh: RefreshPlanArgs,
    #[command(flatten, next_help_heading = heading::REGISTRATION)]
    pub(crate) registration: RegistrationArgs,
    #[command(flatten, next_help_heading = heading::LEADERSHIP)]
    pub(crate) election: ElectionArgs,
    /// Address that serves /metrics
    #[arg(long, env = "MCPGW_METRICS_BIND_ADDRESS", default_value = ":8080", value_parser = listen(),
        value_name = "ADDRESS", help_heading = heading::SERVING)]
    pub(crate) metrics_bind_address: Listen,
    /// Address that serves /livez and /readyz
    #[arg(long, env = "MCPGW_HEALTH_PROBE_BIND_ADDRESS", default_value = ":8081",
        value_parser = listen().and(condition::PORT), value_name = "ADDRESS", help_heading = heading::SERVING)]
    pub(crate) health_probe_bind_address: Listen,
    #[command(flatten, next_help_heading = heading::SERVING)]
    pub(crate) api: ApiArgs,
    /// Format of the log
    #[arg(long, env = "MCPGW_LOG_FORMAT", default_value = "text", value_parser = choice::<LogFormat>(),
        value_name = "FORMAT", help_heading = heading::LOGGING)]
    pub(crate) log_format: LogFormat,
    /// Level of the log, or filter directives
    #[arg(long, env = "MCPGW_LOG_LEVEL", default_value = "info", value_parser = log_filter(), value_name = "LEVEL",
        help_heading = heading::LOGGING)]
    pub(crate) log_level: String,
}

/// See docs/contract.md#the-usage-report.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// URL of a usage report
    #[arg(long, env = "MCPGW_WORKER_ENDPOINT", value_delimiter = ',',
        value_parser = endpoint().and(condition::DISTINCT), value_name = "URL")]
    pub(crate) worker_endpoint: Vec<Endpoint>,
    /// Service whose endpoints report usage
    #[arg(long, env = "MCPGW_WORKER_SERVICE", value_delimiter = ',',
        value_parser = service().and(condition::ENDPOINTS), value_name = "SERVICE")]
    pub(crate) worker_service: Vec<ServiceSource>,
    /// Path of the usage report at the endpoints of a Service
    #[arg(long, env = "MCPGW_WORKER_PATH", default_value = "/mcpgateway/usage", value_parser = path(),
        value_name = "PATH")]
    pub(crate) worker_path: String,
    /// Time limit for one report, from connecting to the last byte
    #[arg(long, env = "MCPGW_WORKER_TIMEOUT", default_value = "5s",
        value_parser = duration(Duration::from_millis(1)..=Duration::from_mins(10)), value_name = "DURATION")]
    pub(crate) worker_timeout: Duration,
    /// Number of reports fetched at the same time
    #[arg(long, env = "MCPGW_WORKER_CONCURRENCY", default_value = "64",
        value_parser = whole::<NonZeroUsize>(1..=10_000), value_name = "N")]
    pub(crate) worker_concurrency: NonZeroUsize,
    /// Share of the endpoints that must report for servers to be classified
    #[arg(long, env = "MCPGW_WORKER_QUORUM", default_value = "0.5", value_parser = fraction(), value_name = "0..1")]
    pub(crate) worker_quorum: f64,
    /// Size limit for one report, decompressed
    #[arg(long, env = "MCPGW_MAX_REPORT_BYTES", default_value = "128Mi", value_parser = bytes(), value_name = "BYTES")]
    pub(crate) max_report_bytes: usize,
    /// File with the bearer token to send to workers
    #[arg(long, env = "MCPGW_WORKER_TOKEN_FILE", value_parser = file(), value_name = "FILE")]
    pub(crate) worker_token_file: Option<PathBuf>,
    /// File with the CA certificates (PEM) to trust for workers; the system's by default
    #[arg(long, env = "MCPGW_WORKER_CA_FILE", value_parser = file().and(condition::HTTPS), value_name = "FILE")]
    pub(crate) worker_ca_file: Option<PathBuf>,
    /// File with the client certificate (PEM) to present to workers
    #[arg(long, env = "MCPGW_WORKER_CLIENT_CERT_FILE", value_parser = file().and(condition::KEY).and(condition::HTTPS),
        value_name = "FILE")]
    pub(crate) worker_client_cert_file: Option<PathBuf>,
    /// File with the private key (PEM) of the client certificate
    #[arg(long, env = "MCPGW_WORKER_CLIENT_KEY_FILE", value_parser = file().and(condition::CERT).and(condition::HTTPS),
        value_name = "FILE")]
    pub(crate) worker_client_key_file: Option<PathBuf>,
    /// Name to verify in the certificates of workers; the host or address by default
    #[arg(long, env = "MCPGW_WORKER_TLS_SERVER_NAME", value_parser = server_name().and(condition::HTTPS),
        value_name = "NAME")]
    pub(crate) worker_tls_server_name: Option<ServerName<'static>>,
}

/// See docs/contract.md#leadership.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
pub(crate) struct ElectionArgs {
    /// Time without a renewal after which another replica may take the Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_parser = seconds(SECOND..=HOUR),
        value_name = "DURATION")]
    pub(crate) leader_elect_lease_duration: Duration,
    /// Time without a renewal after which the leader steps down
    #[arg(long, env = "MCPGW_LEADER_ELECT_RENEW_DEADLINE", default_value = "10s",
        value_parser = duration(Duration::from_millis(100)..=HOUR).and(condition::DEADLINE), value_name = "DURATION")]
    pub(crate) leader_elect_renew_deadline: Duration,
    /// Time between two attempts to renew or acquire the Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_RETRY_PERIOD", default_value = "2s",
        value_parser = duration(Duration::from_millis(50)..=HOUR).and(condition::RETRY), value_name = "DURATION")]
    pub(crate) leader_elect_retry_period: Duration,
    /// Name of the Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAME", default_value = "mcpgateway-operator",
        value_parser = object_name(), value_name = "NAME")]
    pub(crate) leader_elect_resource_name: String,
    /// Namespace of the Lease; by default that of the pod, or of the kubeconfig's context
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAMESPACE", value_parser = namespace(), value_name = "NAMESPACE")]
    pub(crate) leader_elect_resource_namespace: Option<String>,
}
