//! `doctor`: what is wrong between the operator, Redis and the gateways, one line each. Makes the observations, has
//! [`crate::diagnosis`] judge them, and prints the findings. Writes nothing anywhere.
//!
//! It takes the flags and variables of `run` that say where everything is, so that it can run where the operator runs.

mod observe;

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Output;
use super::cluster::{FleetArgs, with_short_namespace};
use crate::config::domain_values::owner_id;
use crate::config::values::choice;
use crate::config::{
    BadSettings, ContextForgeArgs, ContextForgeRateArgs, PollIntervalArgs, RedisAccessArgs, ScopeArgs, WorkerArgs,
    heading,
};
use crate::diagnosis::{Finding, Level, judge};
use crate::publish::keys::OwnerId;

/// At the end of `doctor --help`.
pub(super) const EXAMPLES: &str = "\
Exits with 0 if the fleet is healthy, and with 1 if there are problems. docs/doctor.md explains each finding.

Example:
  mcpgateway-operator doctor -n mcpgateway-system --redis-url redis://redis.gateways:6379 \\
    --worker-service gateways/contextforge:usage --worker-token-file token --hot-poll-interval 5m";

#[derive(Debug, Args)]
#[command(mut_arg("leader_elect_resource_namespace", with_short_namespace))]
pub(crate) struct DoctorArgs {
    #[command(flatten, next_help_heading = heading::OBJECTS)]
    pub(super) scope: ScopeArgs,
    #[command(flatten, next_help_heading = heading::WORKERS)]
    pub(super) workers: WorkerArgs,
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub(super) redis: RedisAccessArgs,
    /// Id of its release on a shared Redis; without it the uid of kube-system, and the Lease's namespace and name
    #[arg(long, env = "MCPGW_REDIS_OWNER_ID", value_parser = owner_id(), value_name = "ID",
        help_heading = heading::REDIS)]
    pub(super) redis_owner_id: Option<OwnerId>,
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub(super) polls: PollIntervalArgs,
    #[command(flatten, next_help_heading = heading::REGISTRATION)]
    pub(super) contextforge: ContextForgeArgs,
    #[command(flatten, next_help_heading = heading::REGISTRATION)]
    pub(super) contextforge_rate: ContextForgeRateArgs,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    /// How to print
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub(super) output: Output,
}

/// Observes and judges. Returns what to print, and the exit code.
pub(super) fn doctor(args: DoctorArgs) -> anyhow::Result<(String, ExitCode)> {
    let conflicts =
        [args.workers.conflicts(), args.redis.conflicts(), args.polls.conflicts(), args.contextforge.conflicts()];
    BadSettings::check(conflicts.concat())?;
    let output = args.output;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (observations, checked) = runtime.block_on(observe::observe(args))?;
    let findings = judge(&observations);
    let healthy = findings.iter().all(|finding| finding.level == Level::Note);
    let answer = json!({"healthy": healthy, "checked": checked, "findings": findings});
    let code = if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok((output.text(&answer, || table(&findings, &checked, healthy)), code))
}

fn table(findings: &[Finding], checked: &str, healthy: bool) -> String {
    let mut text = String::new();
    let width = findings.iter().map(|finding| finding.finding.len()).max().unwrap_or(0);
    for Finding { level, finding, what, advice } in findings {
        let level = match level {
            Level::Problem => "problem",
            Level::Note => "note",
        };
        let _ = writeln!(text, "{level:<7}  {finding:<width$}  {what}; {advice}");
    }
    let verdict = if healthy { "healthy" } else { "problems found" };
    let _ = writeln!(text, "{verdict}: checked {checked}");
    text
}
