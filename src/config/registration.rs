//! The flags of registration in `ContextForge`. See docs/contract.md#registration-in-contextforge.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::Url;

use super::args::condition;
use super::bad_setting::BadSetting;
use super::domain_values::{base_url, header_name, registration_owner};
use super::values::{duration, file, namespace, whole};
use crate::contextforge::Access;
use crate::http_client::FlagFile;
use crate::registration::objects::Limits;
use crate::registration::ownership::OwnerId;

const MIN_RESYNC: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_hours(24);
/// Time for one list. A thousand entries take less than a second.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);

/// The flags for any connection to `ContextForge`.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
pub(crate) struct ContextForgeArgs {
    /// URL of the ContextForge in which to register the servers of objects with spec.registration; without it, none is
    /// registered
    #[arg(long, env = "MCPGW_CONTEXTFORGE_URL", value_parser = base_url().and(condition::CONTEXTFORGE_TOKEN),
        value_name = "URL")]
    pub(crate) contextforge_url: Option<Url>,
    /// File with the bearer token for ContextForge
    #[arg(long, env = "MCPGW_CONTEXTFORGE_TOKEN_FILE", value_parser = file().and(condition::CONTEXTFORGE),
        value_name = "FILE")]
    pub(crate) contextforge_token_file: Option<PathBuf>,
    /// File with the CA certificates (PEM) to trust for ContextForge; the system's by default
    #[arg(long, env = "MCPGW_CONTEXTFORGE_CA_FILE", value_parser = file().and(condition::CONTEXTFORGE_TLS),
        value_name = "FILE")]
    pub(crate) contextforge_ca_file: Option<PathBuf>,
}

/// The rate of requests.
#[derive(Debug, Args)]
pub(crate) struct ContextForgeRateArgs {
    /// Requests to ContextForge in a minute, at a constant rate
    #[arg(long, env = "MCPGW_CONTEXTFORGE_REQUESTS_PER_MINUTE", default_value = "60",
        value_parser = whole::<u32>(1..=6_000), value_name = "N")]
    pub(crate) contextforge_requests_per_minute: u32,
}

#[derive(Debug, Args)]
pub(crate) struct RegistrationArgs {
    #[command(flatten)]
    pub(crate) contextforge: ContextForgeArgs,
    #[command(flatten)]
    pub(crate) rate: ContextForgeRateArgs,
    /// How often to compare ContextForge with the objects
    #[arg(long, env = "MCPGW_CONTEXTFORGE_RESYNC", default_value = "5m", value_parser = duration(MIN_RESYNC..=DAY),
        value_name = "DURATION")]
    pub(crate) contextforge_resync: Duration,
    /// Name that sets the entries of this release apart in ContextForge; set it to keep them when the cluster is
    /// rebuilt. By default the uid of the namespace kube-system, and namespace and name of the Lease
    #[arg(long, env = "MCPGW_CONTEXTFORGE_OWNER_ID", value_parser = registration_owner(), value_name = "ID")]
    pub(crate) contextforge_owner_id: Option<OwnerId>,
    /// Namespace whose objects may be registered; every watched one by default
    #[arg(long, env = "MCPGW_REGISTRATION_NAMESPACE", value_delimiter = ',', value_parser = namespace(),
        value_name = "NAMESPACE")]
    pub(crate) registration_namespace: Vec<String>,
    /// Header that objects may have passed on to their server; none by default, because users' credentials are in
    /// headers
    #[arg(long, env = "MCPGW_REGISTRATION_ALLOW_HEADER", value_delimiter = ',', value_parser = header_name(),
        value_name = "NAME")]
    pub(crate) registration_allow_header: Vec<String>,
    /// Namespace whose objects may adopt entries that this operator did not create; none by default
    #[arg(long, env = "MCPGW_ADOPTION_NAMESPACE", value_delimiter = ',', value_parser = namespace(),
        value_name = "NAMESPACE")]
    pub(crate) adoption_namespace: Vec<String>,
    /// Namespace in which every gateway of ContextForge that no object speaks for gets one; none by default
    #[arg(long, env = "MCPGW_MIRROR_NAMESPACE",
        value_parser = namespace().and(condition::CONTEXTFORGE).and(condition::MIRROR), value_name = "NAMESPACE")]
    pub(crate) mirror_namespace: Option<String>,
}

impl ContextForgeArgs {
    pub(crate) fn conflicts(&self) -> Vec<BadSetting> {
        let (url, token) = (self.contextforge_url.as_ref(), self.contextforge_token_file.is_some());
        let uses_tls = url.is_some_and(|url| url.scheme() == "https");
        BadSetting::unmet([
            ("--contextforge-url", url.is_some() && !token, condition::CONTEXTFORGE_TOKEN),
            ("--contextforge-token-file", token && url.is_none(), condition::CONTEXTFORGE),
            ("--contextforge-ca-file", self.contextforge_ca_file.is_some() && !uses_tls, condition::CONTEXTFORGE_TLS),
        ])
    }

    /// How to reach `ContextForge`, if servers are to be registered.
    pub(crate) fn access(&self) -> Option<Access> {
        Some(Access {
            url: self.contextforge_url.clone()?,
            token: FlagFile::given("--contextforge-token-file", self.contextforge_token_file.clone())?,
            ca: FlagFile::given("--contextforge-ca-file", self.contextforge_ca_file.clone()),
            timeout: LIST_TIMEOUT,
        })
    }
}

impl RegistrationArgs {
    /// What may be registered.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            namespaces: self.registration_namespace.clone(),
            headers: self.registration_allow_header.iter().map(|name| name.to_ascii_lowercase()).collect(),
            adoption_namespaces: self.adoption_namespace.clone(),
        }
    }
}
