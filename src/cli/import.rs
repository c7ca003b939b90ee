//! `import`: prints McpGateway manifests for the servers registered in a running ContextForge, ready for Git. Standard
//! output holds only the manifests; warnings about what is missing go to standard error.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::Url;

use super::print_to_stderr;
use crate::config::domain_values::base_url;
use crate::config::values::{choice, duration, file, namespace};
use crate::contextforge::call_error::scrubbed;
use crate::contextforge::manifests::{ManifestOptions, Manifests, manifests};
use crate::contextforge::{self, Access, Row};
use crate::http_client::FlagFile;

/// The end of `import --help`.
pub(super) const EXAMPLES: &str = "\
Example:
  mcpgateway-operator import --from contextforge https://contextforge.example.com \\
    --token-file token --namespace gateways >gateways.yaml

  The same, to have the operator register the servers from now on (docs/registration.md):
    mcpgateway-operator import --from contextforge https://contextforge.example.com \\
      --token-file token --namespace gateways --registration >gateways.yaml";

/// The flags of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Program to import from
    #[arg(long, required = true, value_parser = choice::<From>(), value_name = "KIND")]
    pub from: From,
    /// URL of the program, with its root path if it has one
    #[arg(required = true, value_parser = base_url(), value_name = "URL")]
    pub url: Url,
    /// File with a bearer token that can list gateways
    #[arg(long, required = true, value_parser = file(), value_name = "FILE")]
    pub token_file: PathBuf,
    /// File with the CA certificates (PEM) to trust; the system's by default
    #[arg(long, value_parser = file(), value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Time limit for one page of the list, from connecting to the last byte
    #[arg(long, default_value = "30s", value_parser = duration(Duration::from_millis(100)..=Duration::from_mins(5)),
        value_name = "DURATION")]
    pub timeout: Duration,
    /// Namespace to write into the manifests; none by default
    #[arg(long, short = 'n', value_parser = namespace(), value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Also write spec.registration, so that the operator takes over the entries
    #[arg(long)]
    pub registration: bool,
}

/// The values of `--from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum From {
    /// IBM ContextForge.
    Contextforge,
}

/// Returns the manifests as YAML.
///
/// # Errors
/// If ContextForge does not return all gateways.
pub(super) fn import(args: ImportArgs) -> anyhow::Result<String> {
    let ImportArgs { from: From::Contextforge, url, token_file, ca_file, timeout, namespace, registration } = args;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let token = FlagFile { flag: "--token-file", path: token_file };
    let access = Access { url, token, ca: FlagFile::given("--ca-file", ca_file), timeout };
    let listing = runtime.block_on(contextforge::gateways(&access))?;
    let options = ManifestOptions { namespace: namespace.as_deref(), registration };
    let Manifests { yaml, count, left_out } = manifests(&listing.rows, options);
    if let Some(warning) = listing.scope.warning() {
        print_to_stderr(&format!("warning: {warning}"));
    }
    left_out.iter().for_each(|line| print_to_stderr(&format!("warning: {line}")));
    if registration {
        adoption_notes(&listing.rows).iter().for_each(|line| print_to_stderr(&format!("note: {line}")));
    }
    let disabled = listing.rows.iter().filter(|row| !row.enabled).count();
    print_to_stderr(&format!(
        "{count} of {} gateways ({disabled} disabled); ContextForge never lists the private gateways of other users",
        listing.rows.len()
    ));
    Ok(yaml)
}

/// What has to be known before the operator takes over these gateways.
fn adoption_notes(rows: &[Row]) -> Vec<String> {
    let entries = || rows.iter().filter_map(|row| row.entry.as_deref());
    let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
    for owner in entries().filter_map(|entry| entry.owner_email.as_deref()) {
        *owners.entry(owner).or_default() += 1;
    }
    let owners: Vec<String> =
        owners.iter().map(|(owner, count)| format!("{} ({count})", scrubbed(owner, &[]))).collect();
    let unset = entries().filter(|entry| entry.passthrough_headers.is_none()).count();
    let owners = (!owners.is_empty())
        .then(|| format!("the operator changes only what its own user owns; the owners here: {}", owners.join(", ")));
    let unset = (unset > 0).then(|| {
        format!(
            "{unset} gateways pass on the default headers of ContextForge; once registered by the operator, they pass \
             on only those of spec.registration.passthroughHeaders"
        )
    });
    owners.into_iter().chain(unset).collect()
}
