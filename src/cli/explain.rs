//! `explain`: why an object has its tier, or none. Gathers the signs, and has them explained by [`crate::explanation`]. IO: the API
//! server and Redis, reading only.

mod gather;

use clap::Args;
use serde_json::json;

use super::{ClusterArgs, Output};
use crate::config::domain_values::label_selector;
use crate::config::values::{choice, namespace, object, object_name};
use crate::config::{PollIntervalArgs, PollSettings, RedisAccessArgs, heading};
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
    /// Which cluster to ask
    #[command(flatten, next_help_heading = heading::CLUSTER)]
    pub cluster: ClusterArgs,
    /// Namespace that the operator watches; all if none is given
    #[arg(long, env = "MCPGW_WATCH_NAMESPACE", value_delimiter = ',', value_parser = namespace(), value_name = "NAMESPACE", help_heading = heading::OBJECTS)]
    pub watch_namespace: Vec<String>,
    /// Label selector of the objects that it watches
    #[arg(long, env = "MCPGW_WATCH_SELECTOR", value_parser = label_selector(), value_name = "SELECTOR", help_heading = heading::OBJECTS)]
    pub watch_selector: Option<String>,
    /// Where the tiers and the completed polls stand
    #[command(flatten, next_help_heading = heading::REDIS)]
    pub redis: RedisAccessArgs,
    /// How often gateways poll
    #[command(flatten, next_help_heading = heading::POLLS)]
    pub intervals: PollIntervalArgs,
    /// Name of the fleet's Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAME", default_value = "mcpgateway-operator", value_parser = object_name(), value_name = "NAME", help_heading = heading::LEADERSHIP)]
    pub leader_elect_resource_name: String,
    /// Namespace of the fleet's Lease; without it that of the kubeconfig's context, else the one that has a fleet
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAMESPACE", value_parser = namespace(), value_name = "NAMESPACE", help_heading = heading::LEADERSHIP)]
    pub leader_elect_resource_namespace: Option<String>,
}

/// Looks and explains; what to print.
///
/// # Errors
/// On bad usage, if there is no such object, and if the API server does not show it; with what to do.
pub(super) fn explain(args: ExplainArgs) -> anyhow::Result<String> {
    let ExplainArgs {
        object: (given, name),
        namespace,
        output,
        cluster,
        watch_namespace,
        watch_selector,
        redis,
        intervals,
        leader_elect_resource_name: lease,
        leader_elect_resource_namespace: lease_namespace,
    } = args;
    if let (Some(given), Some(namespace)) = (&given, &namespace)
        && given != namespace
    {
        return Err(crate::config::BadSetting::new(
            "--namespace",
            format!("the object is given with namespace {given}: leave one of them out"),
        )
        .given(namespace)
        .into());
    }
    let settings = PollSettings::new(redis, intervals)?;
    let scope = crate::registry::Scope::new(watch_namespace, watch_selector);
    let asked = gather::Asked { namespace: given.or(namespace), name, scope, lease, lease_namespace };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let explanation = runtime.block_on(gather::gather(asked, &cluster, settings))?;
    Ok(match output {
        Output::Json => format!("{:#}\n", json!(explanation)),
        Output::Table => explanation::table(&explanation),
    })
}
