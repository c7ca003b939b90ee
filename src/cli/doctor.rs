//! `doctor`: what is wrong between operator, Redis and gateways, one line each. Gathers the signs side by side, has them judged by
//! [`crate::diagnosis`], and prints. Writes nothing anywhere.
//!
//! It takes the flags (and variables) of `run` that say where everything is, so that it can be run as the operator is: in its pod, or
//! beside it.

mod gather;

use std::fmt::Write;

use clap::Args;
use serde_json::json;

use super::Output;
use crate::config::domain_values::{label_selector, owner_id};
use crate::config::values::{choice, namespace, object_name};
use crate::config::{DoctorSettings, PollIntervalArgs, RedisAccessArgs, WorkerArgs, heading};
use crate::diagnosis::{Finding, Level, judge};
use crate::publish::keys::OwnerId;

/// At the end of `doctor --help`.
pub(super) const EXAMPLES: &str = "\
Exits with 0 if nothing is wrong, and with 1 if something is, or cannot be told. docs/doctor.md explains each finding.

Example:
  mcpgateway-operator doctor -n mcpgateway-system --redis-url redis://redis.gateways:6379 \\
    --worker-service gateways/contextforge:usage --worker-token-file token --hot-poll-interval 5m";

/// `doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Namespace that the operator watches; all if none is given
    #[arg(long, env = "MCPGW_WATCH_NAMESPACE", value_delimiter = ',', value_parser = namespace(), value_name = "NAMESPACE", help_heading = heading::OBJECTS)]
    pub watch_namespace: Vec<String>,
    /// Label selector of the objects that it watches
    #[arg(long, env = "MCPGW_WATCH_SELECTOR", value_parser = label_selector(), value_name = "SELECTOR", help_heading = heading::OBJECTS)]
    pub watch_selector: Option<String>,
    /// Where the workers report; without an endpoint or Service they are not asked
    #[command(flatten, next_help_heading = heading::WORKERS)]
    pub workers: WorkerArgs,
    /// Where it publishes
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub redis: RedisAccessArgs,
    /// What tells its release from others on the same Redis; without it the uid of kube-system, Lease namespace and name
    #[arg(long, env = "MCPGW_REDIS_OWNER_ID", value_parser = owner_id(), value_name = "ID", help_heading = heading::REDIS)]
    pub redis_owner_id: Option<OwnerId>,
    /// How often gateways should poll
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub polls: PollIntervalArgs,
    /// Name of the fleet's Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAME", default_value = "mcpgateway-operator", value_parser = object_name(), value_name = "NAME", help_heading = heading::LEADERSHIP)]
    pub leader_elect_resource_name: String,
    /// Namespace of the fleet's Lease; without it that of the kubeconfig's context
    #[arg(long, short = 'n', env = "MCPGW_LEADER_ELECT_RESOURCE_NAMESPACE", value_parser = namespace(), value_name = "NAMESPACE", help_heading = heading::LEADERSHIP)]
    pub leader_elect_resource_namespace: Option<String>,
    /// How to print
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub output: Output,
}

/// Looks and judges; what to print, and whether nothing is wrong.
///
/// # Errors
/// On bad usage.
pub(super) fn doctor(args: DoctorArgs) -> anyhow::Result<(String, bool)> {
    let DoctorArgs {
        watch_namespace,
        watch_selector,
        workers,
        redis,
        redis_owner_id,
        polls,
        leader_elect_resource_name: lease,
        leader_elect_resource_namespace: namespace,
        output,
    } = args;
    let settings = DoctorSettings::new(workers, redis, polls)?;
    let scope = crate::registry::Scope::new(watch_namespace, watch_selector);
    let place = gather::Place { scope, lease, namespace, owner: redis_owner_id };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (signs, summary) = runtime.block_on(gather::gather(settings, place))?;
    let findings = judge(&signs);
    let content = findings.iter().all(|finding| finding.level == Level::Note);
    let text = match output {
        Output::Json => format!("{:#}\n", json!({"content": content, "looked": summary, "findings": findings})),
        Output::Table => table(&findings, &summary, content),
    };
    Ok((text, content))
}

fn table(findings: &[Finding], summary: &str, content: bool) -> String {
    let mut text = String::new();
    let width = findings.iter().map(|finding| finding.finding.len()).max().unwrap_or(0);
    for Finding { level, finding, what, advice } in findings {
        let level = match level {
            Level::Problem => "problem",
            Level::Note => "note",
        };
        let _ = writeln!(text, "{level:<7}  {finding:<width$}  {what}; {advice}");
    }
    let verdict = if content { "content" } else { "not content" };
    let _ = writeln!(text, "{verdict}: {summary}");
    text
}
