//! The flags of `run`, as clap reads them. What they mean to each other is checked in [`super`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::polls::{ApiArgs, PollIntervalArgs};
use super::values::{Listen, bytes, duration, fraction, listen};
use crate::publish::Takeover;

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
    #[arg(long, env = "MCPGW_HOT_FRACTION", default_value = "0.20", value_parser = fraction, value_name = "0..1")]
    pub hot_fraction: f64,
    /// At least so many may be hot, if there are so many
    #[arg(long, env = "MCPGW_MIN_HOT", default_value_t = 0, value_name = "N")]
    pub min_hot: usize,
    /// Last uses that differ by less count as equal; 0s is exact
    #[arg(long, env = "MCPGW_RECENCY_RESOLUTION", default_value = "0s", value_parser = duration, value_name = "DURATION")]
    pub recency_resolution: Duration,
}

/// `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Namespaces to watch (repeatable); default: all
    #[arg(long, env = "MCPGW_WATCH_NAMESPACE", value_delimiter = ',', value_name = "NAMESPACE")]
    pub watch_namespace: Vec<String>,
    /// Label selector of the objects to watch
    #[arg(long, env = "MCPGW_WATCH_SELECTOR", value_name = "SELECTOR")]
    pub watch_selector: Option<String>,
    /// How often to collect and classify
    #[arg(long, env = "MCPGW_CLASSIFICATION_INTERVAL", default_value = "60s", value_parser = duration, value_name = "DURATION")]
    pub classification_interval: Duration,
    /// Settings of the ranking
    #[command(flatten)]
    pub ranking: RankingArgs,
    /// Forget uses that are older; 0s is never
    #[arg(long, env = "MCPGW_USAGE_WINDOW", default_value = "0s", value_parser = duration, value_name = "DURATION")]
    pub usage_window: Duration,
    /// Refresh the usage in a status at most so often when nothing else changes; 0s is never
    #[arg(long, env = "MCPGW_STATUS_USAGE_INTERVAL", default_value = "10m", value_parser = duration, value_name = "DURATION")]
    pub status_usage_interval: Duration,
    /// Where the workers report
    #[command(flatten)]
    pub workers: WorkerArgs,
    /// Where to publish
    #[command(flatten)]
    pub redis: RedisArgs,
    /// How often gateways poll
    #[command(flatten)]
    pub polls: PollIntervalArgs,
    /// Election of the leader
    #[command(flatten)]
    pub election: ElectionArgs,
    /// Where to serve metrics; 0 is nowhere
    #[arg(long, env = "MCPGW_METRICS_BIND_ADDRESS", default_value = ":8080", value_parser = listen, value_name = "ADDRESS")]
    pub metrics_bind_address: Listen,
    /// Where to serve /livez and /readyz; 0 is nowhere
    #[arg(long, env = "MCPGW_HEALTH_PROBE_BIND_ADDRESS", default_value = ":8081", value_parser = listen, value_name = "ADDRESS")]
    pub health_probe_bind_address: Listen,
    /// What gateways may ask over HTTP
    #[command(flatten)]
    pub api: ApiArgs,
    /// How to log
    #[arg(long, env = "MCPGW_LOG_FORMAT", value_enum, default_value_t, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// What to log: error, warn, info, debug or trace, or filter directives
    #[arg(long, env = "MCPGW_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
}

/// The `--worker-…` flags (SPEC section 2).
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// URL of a usage report (repeatable)
    #[arg(long, env = "MCPGW_WORKER_ENDPOINT", value_delimiter = ',', value_name = "URL")]
    pub worker_endpoint: Vec<String>,
    /// Service whose addresses report, as `[http://|https://]NAMESPACE/NAME[:PORT]` (repeatable)
    #[arg(long, env = "MCPGW_WORKER_SERVICE", value_delimiter = ',', value_name = "SERVICE")]
    pub worker_service: Vec<String>,
    /// Path of the report at the addresses of a Service
    #[arg(long, env = "MCPGW_WORKER_PATH", default_value = "/mcpgateway/usage", value_name = "PATH")]
    pub worker_path: String,
    /// Time for one report, from connecting to its last byte
    #[arg(long, env = "MCPGW_WORKER_TIMEOUT", default_value = "5s", value_parser = duration, value_name = "DURATION")]
    pub worker_timeout: Duration,
    /// Reports fetched at once
    #[arg(long, env = "MCPGW_WORKER_CONCURRENCY", default_value_t = 64, value_name = "N")]
    pub worker_concurrency: usize,
    /// Share of the known endpoints that must be heard for a classification
    #[arg(long, env = "MCPGW_WORKER_QUORUM", default_value = "0.5", value_parser = fraction, value_name = "0..1")]
    pub worker_quorum: f64,
    /// Largest report, decompressed
    #[arg(long, env = "MCPGW_MAX_REPORT_BYTES", default_value = "128Mi", value_parser = bytes, value_name = "BYTES")]
    pub max_report_bytes: usize,
    /// File with the bearer token for the workers; read again when it changes
    #[arg(long, env = "MCPGW_WORKER_TOKEN_FILE", value_name = "FILE")]
    pub worker_token_file: Option<PathBuf>,
    /// File with the certificates (PEM) that sign the workers'; default: those of the system
    #[arg(long, env = "MCPGW_WORKER_CA_FILE", value_name = "FILE")]
    pub worker_ca_file: Option<PathBuf>,
    /// File with our certificate (PEM) for the workers
    #[arg(long, env = "MCPGW_WORKER_CLIENT_CERT_FILE", value_name = "FILE")]
    pub worker_client_cert_file: Option<PathBuf>,
    /// File with its key (PEM)
    #[arg(long, env = "MCPGW_WORKER_CLIENT_KEY_FILE", value_name = "FILE")]
    pub worker_client_key_file: Option<PathBuf>,
    /// Name to check in the workers' certificates, instead of their address
    #[arg(long, env = "MCPGW_WORKER_TLS_SERVER_NAME", value_name = "NAME")]
    pub worker_tls_server_name: Option<String>,
}

/// The `--redis-…` flags of whoever publishes (SPEC section 4).
#[derive(Debug, Args)]
pub struct RedisArgs {
    /// How to get at Redis
    #[command(flatten)]
    pub access: RedisAccessArgs,
    /// What tells this release from others on the same Redis; default: uid of kube-system, Lease namespace and name
    #[arg(long, env = "MCPGW_REDIS_OWNER_ID", value_name = "ID")]
    pub redis_owner_id: Option<String>,
    /// What to do about a lock that another program holds: take it once it has published nothing for an interval, or
    /// leave it alone
    #[arg(long, env = "MCPGW_REDIS_LOCK_TAKEOVER", default_value = "idle", value_enum, value_name = "POLICY")]
    pub redis_lock_takeover: LockTakeover,
}

/// The `--redis-…` flags of whoever asks Redis at all.
#[derive(Debug, Args)]
pub struct RedisAccessArgs {
    /// redis:// or rediss:// URL of the gateways' Redis; without it only statuses are written
    #[arg(long, env = "MCPGW_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<String>,
    /// User name for Redis
    #[arg(long, env = "MCPGW_REDIS_USERNAME", value_name = "NAME")]
    pub redis_username: Option<String>,
    /// File with the password for Redis
    #[arg(long, env = "MCPGW_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// File with the certificates (PEM) that sign Redis'; default: those of the system
    #[arg(long, env = "MCPGW_REDIS_CA_FILE", value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,
    /// Prefix of all keys
    #[arg(long, env = "MCPGW_REDIS_KEY_PREFIX", default_value = "mcpgateway", value_name = "PREFIX")]
    pub redis_key_prefix: String,
}

/// The values of `--redis-lock-takeover`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LockTakeover {
    /// A foreign lock is never taken.
    Never,
    /// It is taken from a holder that publishes nothing.
    Idle,
}

impl From<LockTakeover> for Takeover {
    fn from(policy: LockTakeover) -> Self {
        match policy {
            LockTakeover::Never => Self::Never,
            LockTakeover::Idle => Self::Idle,
        }
    }
}

/// The `--leader-elect-…` flags (SPEC section 5).
#[derive(Debug, Args)]
pub struct ElectionArgs {
    /// How long others wait for a silent leader
    #[arg(long, env = "MCPGW_LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_parser = duration, value_name = "DURATION")]
    pub leader_elect_lease_duration: Duration,
    /// How long a leader believes without a renewal; below the lease duration
    #[arg(long, env = "MCPGW_LEADER_ELECT_RENEW_DEADLINE", default_value = "10s", value_parser = duration, value_name = "DURATION")]
    pub leader_elect_renew_deadline: Duration,
    /// How often to renew, or to look; below the renew deadline
    #[arg(long, env = "MCPGW_LEADER_ELECT_RETRY_PERIOD", default_value = "2s", value_parser = duration, value_name = "DURATION")]
    pub leader_elect_retry_period: Duration,
    /// Name of the Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAME", default_value = "mcpgateway-operator", value_name = "NAME")]
    pub leader_elect_resource_name: String,
    /// Namespace of the Lease; default: that of the pod, or of the kubeconfig's context
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAMESPACE", value_name = "NAMESPACE")]
    pub leader_elect_resource_namespace: Option<String>,
}
