//! The subcommands and the flags of some of them. Those of `run` are in [`crate::config`].

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use serde_json::json;

use super::cluster::{FleetArgs, with_short_namespace};
use super::doctor::{self, DoctorArgs};
use super::explain::{self, ExplainArgs};
use super::import::{self, ImportArgs};
use super::poll::PollCommand;
use super::record::{self, RecordArgs};
use super::what_if::{self, WhatIfArgs};
use crate::classify::Params;
use crate::config::values::{choice, file};
use crate::config::{RankingArgs, RunArgs, heading};

/// The end of `run --help`.
const RUN_EXAMPLES: &str = "\
Every flag has an environment variable: --redis-url is MCPGW_REDIS_URL. The flag wins if both are given.
Separate several values of a repeatable flag by commas. docs/settings.md describes all settings.

Examples:
  Write statuses only, with the workers of one Service:
    mcpgateway-operator run --worker-service gateways/contextforge:usage

  Publish to Redis too, with TLS everywhere:
    mcpgateway-operator run \\
      --worker-service https://gateways/contextforge:usage \\
      --worker-ca-file /tls/ca.crt --redis-url rediss://redis.gateways:6379 \\
      --redis-ca-file /tls/ca.crt --redis-password-file /secrets/redis

  Watch one namespace, with settings in the environment:
    export MCPGW_WATCH_NAMESPACE=payments
    export MCPGW_WORKER_ENDPOINT=http://10.0.0.7:4444/mcpgateway/usage
    mcpgateway-operator run";

/// Ranks upstream MCP servers by use, so that gateways can poll idle servers less often.
#[derive(Debug, Parser)]
#[command(name = "mcpgateway-operator", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the operator.
    #[command(allow_negative_numbers = true, next_line_help = true, after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Print the custom resource definition (CRD) as YAML.
    Crd,
    /// Classify servers from files, without a cluster.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Classify(ClassifyArgs),
    /// Show what refresh plans would cost and bring, for recorded reports or the live fleet.
    #[command(allow_negative_numbers = true, next_line_help = true, after_help = what_if::EXAMPLES)]
    Plan(Box<WhatIfArgs>),
    /// Record what the workers report, for plan and classify.
    #[command(allow_negative_numbers = true, next_line_help = true, after_help = record::EXAMPLES)]
    Record(Box<RecordArgs>),
    /// Show the status of a fleet.
    #[command(next_line_help = true)]
    Status(StatusArgs),
    /// Explain why an McpGateway has its tier, and what would change it.
    #[command(allow_negative_numbers = true, next_line_help = true, after_help = explain::EXAMPLES)]
    Explain(Box<ExplainArgs>),
    /// Check operator, Redis and gateways for problems. Exits with 1 if there are any.
    #[command(allow_negative_numbers = true, next_line_help = true, after_help = doctor::EXAMPLES)]
    Doctor(Box<DoctorArgs>),
    /// Print McpGateway manifests for the servers registered in ContextForge.
    #[command(next_line_help = true, after_help = import::EXAMPLES)]
    Import(Box<ImportArgs>),
    /// Ask whether a poll is due, or record that one was completed.
    #[command(subcommand)]
    Poll(Box<PollCommand>),
}

/// The format of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Output {
    Table,
    Json,
}

impl Output {
    pub(super) fn text(self, value: &impl Serialize, table: impl FnOnce() -> String) -> String {
        match self {
            Self::Json => format!("{:#}\n", json!(value)),
            Self::Table => table(),
        }
    }
}

#[derive(Debug, Args)]
#[command(mut_arg("recency_resolution", with_exact_recency))]
pub(crate) struct ClassifyArgs {
    /// McpGateway manifests: files, or folders of YAML or JSON files
    #[arg(short, long = "filename", required = true, num_args = 1.., value_parser = file(), value_name = "PATH")]
    pub(super) filename: Vec<PathBuf>,
    /// Saved usage reports: files, or folders of JSON files
    #[arg(long, required = true, num_args = 1.., value_parser = file(), value_name = "PATH")]
    pub(super) usage: Vec<PathBuf>,
    /// Format of the output
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub(super) output: Output,
    #[command(flatten, next_help_heading = heading::RANKING)]
    pub(super) ranking: RankingArgs,
}

impl ClassifyArgs {
    /// The parameters of the ranking. Last-used times are compared exactly by default.
    pub(super) fn ranking_params(&self) -> Params {
        self.ranking.params(Duration::ZERO)
    }
}

/// `classify` has no interval, so the default of `--recency-resolution` is not the one of `run`.
fn with_exact_recency(arg: Arg) -> Arg {
    arg.help("Precision of last-used times, smaller differences do not count; exact by default")
}

#[derive(Debug, Args)]
#[command(mut_arg("leader_elect_resource_namespace", with_short_namespace))]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// Format of the output
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub(super) output: Output,
}
