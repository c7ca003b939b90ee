//! `import`: manifests of the gateways that a running ContextForge knows, ready for Git. Standard output is the manifests and nothing
//! else; what is missing in them is said on standard error.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::Url;

use super::complain;
use crate::config::parts::base_url;
use crate::config::values::{choice, duration, file, namespace};
use crate::contextforge::manifests::{Manifests, manifests};
use crate::contextforge::{self, Access};

/// At the end of `import --help`.
pub(super) const EXAMPLES: &str = "\
Example:
  mcpgateway-operator import --from contextforge https://contextforge.example.com \\
    --token-file token --namespace gateways >gateways.yaml";

/// `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What kind of program the gateways are taken from
    #[arg(long, required = true, value_parser = choice::<From>(), value_name = "KIND")]
    pub from: From,
    /// Where it is: scheme, host, port, and its root path if it has one
    #[arg(required = true, value_parser = base_url(), value_name = "URL")]
    pub url: Url,
    /// File with a bearer token that may list gateways
    #[arg(long, required = true, value_parser = file(), value_name = "FILE")]
    pub token_file: PathBuf,
    /// File with the certificates (PEM) that sign its own; without it those of the system are trusted
    #[arg(long, value_parser = file(), value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Time for one page of the list, from connecting to its last byte
    #[arg(long, default_value = "30s", value_parser = duration(Duration::from_millis(100)..=Duration::from_mins(5)), value_name = "DURATION")]
    pub timeout: Duration,
    /// Namespace of the manifests; without it that of whoever applies them
    #[arg(long, short = 'n', value_parser = namespace(), value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// What gateways can be imported from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// IBM ContextForge.
    Contextforge,
}

/// Asks, and returns what to print.
///
/// # Errors
/// If not all gateways could be had.
pub(super) fn import(args: ImportArgs) -> anyhow::Result<String> {
    let ImportArgs { from: From::Contextforge, url, token_file, ca_file, timeout, namespace } = args;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listing = runtime.block_on(contextforge::gateways(&Access { url, token_file, ca_file, timeout }))?;
    let Manifests { yaml, count, left_out } = manifests(&listing.rows, namespace.as_deref());
    if let Some(warning) = listing.scope.warning() {
        complain(&format!("warning: {warning}"));
    }
    left_out.iter().for_each(|line| complain(&format!("warning: {line}")));
    let disabled = listing.rows.iter().filter(|row| !row.enabled).count();
    complain(&format!(
        "{count} of {} gateways ({disabled} disabled); those that are private to another user are shown to no token",
        listing.rows.len()
    ));
    Ok(yaml)
}
