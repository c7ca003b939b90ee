//! The subcommands, and the flags of all but `run`, whose flags are settings ([`crate::config`]).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::cluster::{FleetArgs, with_short_namespace};
use super::doctor::{self, DoctorArgs};
use super::explain::{self, ExplainArgs};
use super::import::{self, ImportArgs};
use super::poll::PollCommand;
use crate::config::values::{choice, file};
use crate::config::{RankingArgs, RunArgs, heading};

/// At the end of `run --help`.
const RUN_EXAMPLES: &str = "\
Every flag has an environment variable: MCPGW_REDIS_URL is --redis-url; the flag counts if both are given.
Repeatable flags take several values with commas between them, too. docs/settings.md says more.

Examples:
  Statuses only, from the workers behind one Service:
    mcpgateway-operator run --worker-service gateways/contextforge:usage

  Into Redis too, with TLS everywhere:
    mcpgateway-operator run \\
      --worker-service https://gateways/contextforge:usage \\
      --worker-ca-file /tls/ca.crt --redis-url rediss://redis.gateways:6379 \\
      --redis-ca-file /tls/ca.crt --redis-password-file /secrets/redis

  A fleet of one namespace, in the environment:
    export MCPGW_WATCH_NAMESPACE=payments
    export MCPGW_WORKER_ENDPOINT=http://10.0.0.7:4444/mcpgateway/usage
    mcpgateway-operator run";

/// Ranks upstream MCP servers by what a gateway fleet really uses, and tells the gateways which to poll less.
#[derive(Debug, Parser)]
#[command(name = "mcpgateway-operator", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator: watch, collect, classify, publish.
    #[command(allow_negative_numbers = true, next_line_help = true, after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Print the custom resource definition (CRD) as YAML.
    Crd,
    /// Classify manifests by saved usage reports; needs no cluster.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Classify(ClassifyArgs),
    /// Show the status of a running fleet.
    #[command(next_line_help = true)]
    Status(StatusArgs),
    /// Explain why an object has its tier, or none, and what would change that.
    #[command(allow_negative_numbers = true, next_line_help = true, after_help = explain::EXAMPLES)]
    Explain(Box<ExplainArgs>),
    /// Report each problem between the operator, Redis and the gateways in one line. Exits with 1 if there is one.
    #[command(allow_negative_numbers = true, next_line_help = true, after_help = doctor::EXAMPLES)]
    Doctor(Box<DoctorArgs>),
    /// Print manifests of the gateways that a running ContextForge knows.
    #[command(next_line_help = true, after_help = import::EXAMPLES)]
    Import(Box<ImportArgs>),
    /// Say whether a server is to be polled now, or that it was.
    #[command(subcommand)]
    Poll(Box<PollCommand>),
}

/// The kubectl plugin: this program by the name `kubectl-mcpgw`, with what a person at a cluster asks for.
#[derive(Debug, Parser)]
#[command(name = "kubectl-mcpgw", bin_name = "kubectl mcpgw", display_name = "kubectl mcpgw")]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
#[command(about = "Shows what the operator of an MCP gateway fleet says of it, and why.")]
pub struct Plugin {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// The subcommands of the plugin: some of [`Command`]'s, by the same names.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Show the status of a running fleet.
    #[command(next_line_help = true)]
    Status(StatusArgs),
    /// Explain why an object has its tier, or none, and what would change that.
    #[command(allow_negative_numbers = true, next_line_help = true)]
    Explain(Box<ExplainArgs>),
}

impl From<PluginCommand> for Command {
    fn from(command: PluginCommand) -> Self {
        match command {
            PluginCommand::Status(args) => Self::Status(args),
            PluginCommand::Explain(args) => Self::Explain(args),
        }
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// `classify`.
#[derive(Debug, Args)]
pub struct ClassifyArgs {
    /// Manifests of McpGateways, in files or folders of YAML or JSON
    #[arg(short, long = "filename", required = true, num_args = 1.., value_parser = file(), value_name = "PATH")]
    pub filename: Vec<PathBuf>,
    /// Saved usage reports, in files or folders of JSON
    #[arg(long, required = true, num_args = 1.., value_parser = file(), value_name = "PATH")]
    pub usage: Vec<PathBuf>,
    /// How to print
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub output: Output,
    /// Settings of the ranking
    #[command(flatten, next_help_heading = heading::RANKING)]
    pub ranking: RankingArgs,
}

/// `status`.
#[derive(Debug, Args)]
#[command(mut_arg("leader_elect_resource_namespace", with_short_namespace))]
pub struct StatusArgs {
    /// Which fleet
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// How to print
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub output: Output,
}
