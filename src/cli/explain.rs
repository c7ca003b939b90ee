//! `explain`: why an object has its tier, or none, and how its registration stands. Makes the observations, and has
//! [`crate::explanation`] explain them. IO: the API server, Redis and `ContextForge`, reading only.

mod observe;

use clap::Args;

use super::cluster::FleetArgs;
use super::{Output, runtime};
use crate::config::values::{choice, namespace, object};
use crate::config::{
    BadSetting, BadSettings, ContextForgeArgs, LongestIntervalArgs, PollIntervalArgs, RedisAccessArgs, ScopeArgs,
    heading,
};
use crate::explanation;

/// At the end of `explain --help`.
pub(super) const EXAMPLES: &str = "\
Examples:
  mcpgateway-operator explain payments/invoices
  mcpgateway-operator explain invoices -n payments -o json

  With what gateways see in Redis, and when they poll next:
    mcpgateway-operator explain payments/invoices \\
      --redis-url redis://redis.gateways:6379 --hot-poll-interval 60s

  With what ContextForge has, beside spec.registration:
    mcpgateway-operator explain payments/invoices \\
      --contextforge-url https://contextforge.example.com --contextforge-token-file token";

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The object
    #[arg(required = true, value_parser = object(), value_name = "NAMESPACE/NAME")]
    pub(super) object: (Option<String>, String),
    /// Namespace of the object, if it is not given with its name; without it that of the kubeconfig's context
    #[arg(long, short = 'n', value_parser = namespace(), value_name = "NAMESPACE")]
    pub(super) namespace: Option<String>,
    /// How to print
    #[arg(short, long, default_value = "table", value_parser = choice::<Output>(), value_name = "FORMAT")]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) fleet: FleetArgs,
    #[command(flatten, next_help_heading = heading::OBJECTS)]
    pub(super) scope: ScopeArgs,
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub(super) redis: RedisAccessArgs,
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub(super) intervals: PollIntervalArgs,
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub(super) longest: LongestIntervalArgs,
    #[command(flatten, next_help_heading = heading::REGISTRATION)]
    pub(super) contextforge: ContextForgeArgs,
}

/// Observes and explains. Returns what to print. Fails if the object cannot be read, with what to do.
pub(super) fn explain(mut args: ExplainArgs) -> anyhow::Result<String> {
    if let (Some(given), Some(namespace)) = (&args.object.0, &args.namespace)
        && given != namespace
    {
        let reason = format!("the object is given with namespace {given}: leave one of them out");
        return Err(BadSettings(vec![BadSetting::new("--namespace", reason).given(namespace)]).into());
    }
    args.namespace = args.object.0.take().or(args.namespace);
    let conflicts = [args.redis.conflicts(), args.intervals.conflicts(), args.contextforge.conflicts()];
    BadSettings::check(conflicts.concat())?;
    let output = args.output;
    let explanation = runtime()?.block_on(observe::explain(args))?;
    Ok(output.text(&explanation, || explanation::table(&explanation)))
}
