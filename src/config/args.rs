//! The flags of `run`, as clap reads them: each with its environment variable, its default and its rule. What they mean to each
//! other is checked in [`super`].
//!
//! A new flag is one field here (those of poll decisions: in `polls`) and one row in the table of `tests/it/settings`; help, refusals
//! and `docs/settings.md` follow.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::parts::{endpoint, label_selector, log_filter, path, server_name, service};
use super::polls::{ApiArgs, PollIntervalArgs};
use super::redis::RedisArgs;
use super::values::{
    Listen, bytes, choice, duration, duration_or_zero, file, fraction, listen, namespace, object_name, seconds, whole,
};
use crate::workers::discovery::{EndpointUrl, ServiceSource};

/// The groups of the flags, in `--help` and in `docs/settings.md`.
pub mod heading {
    /// Which objects there are, and what is written to them.
    pub const OBJECTS: &str = "Objects";
    /// Where the workers report.
    pub const WORKERS: &str = "Workers";
    /// Who is hot.
    pub const RANKING: &str = "Ranking";
    /// Where to publish.
    pub const REDIS: &str = "Redis";
    /// When a poll is due.
    pub const POLLS: &str = "Polls";
    /// Who leads.
    pub const LEADERSHIP: &str = "Leadership";
    /// What is served.
    pub const SERVING: &str = "Serving";
    /// What is logged.
    pub const LOGGING: &str = "Logging";
    /// Which cluster is asked.
    pub const CLUSTER: &str = "Cluster";
}

/// What settings ask for together: said with the rule of one of them, and in the refusal.
pub(super) mod together {
    pub(crate) const ENDPOINTS: &str = "at least one of --worker-service and --worker-endpoint is needed";
    pub(crate) const DISTINCT: &str = "two that differ in their query alone cannot be told apart";
    pub(crate) const WINDOW: &str = "not less than --classification-interval";
    pub(crate) const KEY: &str = "goes together with --worker-client-key-file";
    pub(crate) const CERT: &str = "goes together with --worker-client-cert-file";
    pub(crate) const HTTPS: &str = "needs an https:// endpoint or Service";
    pub(crate) const REDIS: &str = "needs --redis-url";
    pub(crate) const REDIS_TLS: &str = "needs a --redis-url that begins with rediss://";
    pub(crate) const PASSWORD: &str = "a user name needs a password: --redis-password-file, or one in the URL";
    pub(crate) const COLD: &str = "not less than --hot-poll-interval";
    pub(crate) const DEADLINE: &str = "less than --leader-elect-lease-duration";
    pub(crate) const RETRY: &str = "less than 1/1.2 of --leader-elect-renew-deadline";
    pub(crate) const PORT: &str = "each listener has an address of its own";
    pub(crate) const TOKEN: &str = "without --api-token-file a loopback address, like 127.0.0.1:8082";
    pub(crate) const API: &str = "needs --api-bind-address";
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(24 * 365);

/// How to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line of text for each event.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}

/// Settings of the ranking (SPEC section 3).
#[derive(Clone, Copy, Debug, Args)]
pub struct RankingArgs {
    /// Share of the servers that may be hot
    #[arg(long, env = "MCPGW_HOT_FRACTION", default_value = "0.20", value_parser = fraction(), value_name = "0..1")]
    pub hot_fraction: f64,
    /// At least so many may be hot, if there are so many
    #[arg(long, env = "MCPGW_MIN_HOT", default_value = "0", value_parser = whole::<usize>(0..=1_000_000), value_name = "N")]
    pub min_hot: usize,
    /// Last uses that differ by less count as equal
    #[arg(long, env = "MCPGW_RECENCY_RESOLUTION", default_value = "0s", value_parser = duration_or_zero("exact", Duration::from_millis(1)..=DAY), value_name = "DURATION")]
    pub recency_resolution: Duration,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Namespace to watch; all if none is given
    #[arg(long, env = "MCPGW_WATCH_NAMESPACE", value_delimiter = ',', value_parser = namespace(), value_name = "NAMESPACE", help_heading = heading::OBJECTS)]
    pub watch_namespace: Vec<String>,
    /// Label selector of the objects to watch
    #[arg(long, env = "MCPGW_WATCH_SELECTOR", value_parser = label_selector(), value_name = "SELECTOR", help_heading = heading::OBJECTS)]
    pub watch_selector: Option<String>,
    /// How often to collect and classify
    #[arg(long, env = "MCPGW_CLASSIFICATION_INTERVAL", default_value = "60s", value_parser = duration(SECOND..=DAY), value_name = "DURATION", help_heading = heading::RANKING)]
    pub classification_interval: Duration,
    /// Settings of the ranking
    #[command(flatten, next_help_heading = heading::RANKING)]
    pub ranking: RankingArgs,
    /// Forget uses that are older
    #[arg(long, env = "MCPGW_USAGE_WINDOW", default_value = "0s", value_parser = duration_or_zero("never", SECOND..=YEAR).and(together::WINDOW), value_name = "DURATION", help_heading = heading::RANKING)]
    pub usage_window: Duration,
    /// Refresh the usage in a status at most so often when nothing else changes
    #[arg(long, env = "MCPGW_STATUS_USAGE_INTERVAL", default_value = "10m", value_parser = duration_or_zero("never", SECOND..=YEAR), value_name = "DURATION", help_heading = heading::OBJECTS)]
    pub status_usage_interval: Duration,
    /// Where the workers report
    #[command(flatten, next_help_heading = heading::WORKERS)]
    pub workers: WorkerArgs,
    /// Where to publish
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub redis: RedisArgs,
    /// How often gateways poll
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub polls: PollIntervalArgs,
    /// Election of the leader
    #[command(flatten, next_help_heading = heading::LEADERSHIP)]
    pub election: ElectionArgs,
    /// Where to serve /metrics
    #[arg(long, env = "MCPGW_METRICS_BIND_ADDRESS", default_value = ":8080", value_parser = listen(), value_name = "ADDRESS", help_heading = heading::SERVING)]
    pub metrics_bind_address: Listen,
    /// Where to serve /livez and /readyz
    #[arg(long, env = "MCPGW_HEALTH_PROBE_BIND_ADDRESS", default_value = ":8081", value_parser = listen().and(together::PORT), value_name = "ADDRESS", help_heading = heading::SERVING)]
    pub health_probe_bind_address: Listen,
    /// What gateways may ask over HTTP
    #[command(flatten, next_help_heading = heading::SERVING)]
    pub api: ApiArgs,
    /// How to log
    #[arg(long, env = "MCPGW_LOG_FORMAT", default_value = "text", value_parser = choice::<LogFormat>(), value_name = "FORMAT", help_heading = heading::LOGGING)]
    pub log_format: LogFormat,
    /// What to log
    #[arg(long, env = "MCPGW_LOG_LEVEL", default_value = "info", value_parser = log_filter(), value_name = "LEVEL", help_heading = heading::LOGGING)]
    pub log_level: String,
}

/// The `--worker-…` flags (SPEC section 2).
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// URL of a usage report
    #[arg(long, env = "MCPGW_WORKER_ENDPOINT", value_delimiter = ',', value_parser = endpoint().and(together::DISTINCT), value_name = "URL")]
    pub worker_endpoint: Vec<EndpointUrl>,
    /// Service whose addresses report usage
    #[arg(long, env = "MCPGW_WORKER_SERVICE", value_delimiter = ',', value_parser = service().and(together::ENDPOINTS), value_name = "SERVICE")]
    pub worker_service: Vec<ServiceSource>,
    /// Path of the report at the addresses of a Service
    #[arg(long, env = "MCPGW_WORKER_PATH", default_value = "/mcpgateway/usage", value_parser = path(), value_name = "PATH")]
    pub worker_path: String,
    /// Time for one report, from connecting to its last byte
    #[arg(long, env = "MCPGW_WORKER_TIMEOUT", default_value = "5s", value_parser = duration(Duration::from_millis(1)..=Duration::from_mins(10)), value_name = "DURATION")]
    pub worker_timeout: Duration,
    /// Reports fetched at once
    #[arg(long, env = "MCPGW_WORKER_CONCURRENCY", default_value = "64", value_parser = whole::<NonZeroUsize>(1..=10_000), value_name = "N")]
    pub worker_concurrency: NonZeroUsize,
    /// Share of the known endpoints that must be heard for a classification
    #[arg(long, env = "MCPGW_WORKER_QUORUM", default_value = "0.5", value_parser = fraction(), value_name = "0..1")]
    pub worker_quorum: f64,
    /// Largest report, decompressed
    #[arg(long, env = "MCPGW_MAX_REPORT_BYTES", default_value = "128Mi", value_parser = bytes(), value_name = "BYTES")]
    pub max_report_bytes: usize,
    /// File with the bearer token for the workers
    #[arg(long, env = "MCPGW_WORKER_TOKEN_FILE", value_parser = file(), value_name = "FILE")]
    pub worker_token_file: Option<PathBuf>,
    /// File with the certificates (PEM) that sign the workers'; without it those of the system are trusted
    #[arg(long, env = "MCPGW_WORKER_CA_FILE", value_parser = file().and(together::HTTPS), value_name = "FILE")]
    pub worker_ca_file: Option<PathBuf>,
    /// File with our certificate (PEM) for the workers
    #[arg(long, env = "MCPGW_WORKER_CLIENT_CERT_FILE", value_parser = file().and(together::KEY).and(together::HTTPS), value_name = "FILE")]
    pub worker_client_cert_file: Option<PathBuf>,
    /// File with its key (PEM)
    #[arg(long, env = "MCPGW_WORKER_CLIENT_KEY_FILE", value_parser = file().and(together::CERT).and(together::HTTPS), value_name = "FILE")]
    pub worker_client_key_file: Option<PathBuf>,
    /// Name to check in the workers' certificates, instead of their address
    #[arg(long, env = "MCPGW_WORKER_TLS_SERVER_NAME", value_parser = server_name().and(together::HTTPS), value_name = "NAME")]
    pub worker_tls_server_name: Option<String>,
}

/// The `--leader-elect-…` flags (SPEC section 5).
#[derive(Debug, Args)]
pub struct ElectionArgs {
    /// How long others wait for a silent leader
    #[arg(long, env = "MCPGW_LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_parser = seconds(SECOND..=HOUR), value_name = "DURATION")]
    pub leader_elect_lease_duration: Duration,
    /// How long a leader believes without a renewal
    #[arg(long, env = "MCPGW_LEADER_ELECT_RENEW_DEADLINE", default_value = "10s", value_parser = duration(Duration::from_millis(100)..=HOUR).and(together::DEADLINE), value_name = "DURATION")]
    pub leader_elect_renew_deadline: Duration,
    /// How often to renew, or to look
    #[arg(long, env = "MCPGW_LEADER_ELECT_RETRY_PERIOD", default_value = "2s", value_parser = duration(Duration::from_millis(50)..=HOUR).and(together::RETRY), value_name = "DURATION")]
    pub leader_elect_retry_period: Duration,
    /// Name of the Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAME", default_value = "mcpgateway-operator", value_parser = object_name(), value_name = "NAME")]
    pub leader_elect_resource_name: String,
    /// Namespace of the Lease; without it that of the pod, or of the kubeconfig's context
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAMESPACE", value_parser = namespace(), value_name = "NAMESPACE")]
    pub leader_elect_resource_namespace: Option<String>,
}
