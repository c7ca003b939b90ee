//! `explain`: why an object has its tier, or none. Makes the observations, and has [`crate::explanation`] explain them.
//! IO: the API server and Redis, reading only.

mod observe;

use clap::Args;
use serde_json::json;

use super::Output;
use super::cluster::{FleetArgs, ScopeArgs};
use crate::config::values::{choice, namespace, object};
use crate::config::{BadSetting, PollIntervalArgs, PollSettings, RedisAccessArgs, heading};
use crate::explanation;

/// At the end of `explain --help`.
pub(super) const EXAMPLES: &str = "\
Examples:
  mcpgateway-operator explain payments/invoices
  mcpgateway-operator explain invoices -n payments -o json

  With what gateways see in Redis, and when they poll next:
    mcpgateway-operator explain payments/invoices \\
      --redis-url redis://redis.gateways:6379 --hot-poll-interval 60s";

/// `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The object
    #[arg(required = true, value_parser = object(), value_name = "NAMESPACE/NAME")]
    pub object: (Option<String>, String),
    /// Namespace of the object, if it is not given with its name; without it that of the kubeconfig's context
    #[arg(long, short = 'n', value_parser = namespace(), value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// How to print
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub output: Output,
    /// Which fleet
    #[command(flatten)]
    pub fleet: FleetArgs,
    /// Which objects
    #[command(flatten, next_help_heading = heading::OBJECTS)]
    pub scope: ScopeArgs,
    /// Where the tiers and the completed polls are stored
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub redis: RedisAccessArgs,
    /// How often gateways poll
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub intervals: PollIntervalArgs,
}

/// Observes and explains. Returns what to print.
///
/// # Errors
/// On bad usage, if there is no such object, and if it cannot be read, with what to do.
pub(super) fn explain(args: ExplainArgs) -> anyhow::Result<String> {
    let ExplainArgs { object: (given, name), namespace, output, fleet, scope, redis, intervals } = args;
    if let (Some(given), Some(namespace)) = (&given, &namespace)
        && given != namespace
    {
        let reason = format!("the object is given with namespace {given}: leave one of them out");
        return Err(BadSetting::new("--namespace", reason).given(namespace).into());
    }
    let settings = PollSettings::new(redis, intervals)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let explanation = runtime.block_on(observe::explain(given.or(namespace), &name, &scope.into(), fleet, settings))?;
    Ok(match output {
        Output::Json => format!("{:#}\n", json!(explanation)),
        Output::Table => explanation::table(&explanation),
    })
}
