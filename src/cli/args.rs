//! The subcommands, and the flags of all but `run`, whose flags are settings ([`crate::config`]).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::poll::PollCommand;
use crate::config::{RankingArgs, RunArgs};

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
    #[command(allow_negative_numbers = true)]
    Run(Box<RunArgs>),
    /// Print the custom resource definition (CRD) as YAML.
    Crd,
    /// Classify manifests by saved usage reports; needs no cluster.
    #[command(allow_negative_numbers = true)]
    Classify(ClassifyArgs),
    /// Show the facts of a running fleet.
    Status(StatusArgs),
    /// Say whether a server is to be polled now, or that it was.
    #[command(subcommand)]
    Poll(Box<PollCommand>),
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
    /// Manifests of McpGateways: files or folders of YAML or JSON
    #[arg(short, long = "filename", required = true, num_args = 1.., value_name = "PATH")]
    pub filename: Vec<PathBuf>,
    /// Saved usage reports: files or folders of JSON
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    pub usage: Vec<PathBuf>,
    /// Settings of the ranking
    #[command(flatten)]
    pub ranking: RankingArgs,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
}

/// `status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Name of the fleet's Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAME", default_value = "mcpgateway-operator", value_name = "NAME")]
    pub leader_elect_resource_name: String,
    /// Namespace of the fleet's Lease; default: that of the kubeconfig's context
    #[arg(long, short = 'n', env = "MCPGW_LEADER_ELECT_RESOURCE_NAMESPACE", value_name = "NAMESPACE")]
    pub leader_elect_resource_namespace: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Output,
}
