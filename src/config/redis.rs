//! The `--redis-…` flags. See docs/contract.md#redis-keys.

use std::path::PathBuf;

use clap::Args;

use super::args::condition;
use super::bad_setting::BadSetting;
use super::domain_values::{key_prefix, owner_id, redis_url, redis_username, takeover_policy};
use super::values::file;
use crate::publish::keys::{Keys, OwnerId};
use crate::publish::{RedisAccess, RedisUrl, TakeoverPolicy};

/// The flags for publishing.
#[derive(Debug, Args)]
pub(crate) struct RedisArgs {
    #[command(flatten)]
    pub(crate) access: RedisAccessArgs,
    /// Name that sets this release apart from others on the same Redis; by default the uid of the namespace
    /// kube-system, and namespace and name of the Lease
    #[arg(long, env = "MCPGW_REDIS_OWNER_ID", value_parser = owner_id(), value_name = "ID")]
    pub(crate) redis_owner_id: Option<OwnerId>,
    /// What to do while another program holds the Redis lock: leave it alone, or take it once that program has
    /// published nothing for an interval
    #[arg(long, env = "MCPGW_REDIS_LOCK_TAKEOVER", default_value = "idle", value_parser = takeover_policy(),
        value_name = "POLICY")]
    pub(crate) redis_lock_takeover: TakeoverPolicy,
}

/// The flags for any connection to Redis.
#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the names of the flags")]
pub(crate) struct RedisAccessArgs {
    /// URL of the gateways' Redis; without it, only statuses are written and every poll is due
    #[arg(long, env = "MCPGW_REDIS_URL", hide_env_values = true, value_parser = redis_url(), value_name = "URL")]
    pub(crate) redis_url: Option<RedisUrl>,
    /// User name for Redis
    #[arg(long, env = "MCPGW_REDIS_USERNAME",
        value_parser = redis_username().and(condition::REDIS).and(condition::PASSWORD), value_name = "NAME")]
    pub(crate) redis_username: Option<String>,
    /// File with the password for Redis
    #[arg(long, env = "MCPGW_REDIS_PASSWORD_FILE", value_parser = file().and(condition::REDIS), value_name = "FILE")]
    pub(crate) redis_password_file: Option<PathBuf>,
    /// File with the CA certificates (PEM) to trust for Redis; the system's by default
    #[arg(long, env = "MCPGW_REDIS_CA_FILE", value_parser = file().and(condition::REDIS_TLS), value_name = "FILE")]
    pub(crate) redis_ca_file: Option<PathBuf>,
    /// File with the client certificate (PEM) to present to Redis
    #[arg(long, env = "MCPGW_REDIS_CLIENT_CERT_FILE",
        value_parser = file().and(condition::REDIS_KEY).and(condition::REDIS_TLS), value_name = "FILE")]
    pub(crate) redis_client_cert_file: Option<PathBuf>,
    /// File with the private key (PEM) of the client certificate for Redis
    #[arg(long, env = "MCPGW_REDIS_CLIENT_KEY_FILE",
        value_parser = file().and(condition::REDIS_CERT).and(condition::REDIS_TLS), value_name = "FILE")]
    pub(crate) redis_client_key_file: Option<PathBuf>,
    /// Prefix of all Redis keys
    #[arg(long, env = "MCPGW_REDIS_KEY_PREFIX", default_value = Keys::DEFAULT_PREFIX, value_parser = key_prefix(),
        value_name = "PREFIX")]
    pub(crate) redis_key_prefix: Keys,
}

impl RedisAccessArgs {
    /// How to connect to Redis; `None` without `--redis-url`.
    pub(crate) fn access(&self) -> Option<RedisAccess> {
        Some(RedisAccess {
            url: self.redis_url.clone()?,
            username: self.redis_username.clone(),
            password_file: self.redis_password_file.clone(),
            ca_file: self.redis_ca_file.clone(),
            client_identity: self.redis_client_cert_file.clone().zip(self.redis_client_key_file.clone()),
            keys: self.redis_key_prefix.clone(),
        })
    }

    pub(crate) fn conflicts(&self) -> Vec<BadSetting> {
        let (username, ca_file) = (self.redis_username.is_some(), self.redis_ca_file.is_some());
        let password_file = self.redis_password_file.is_some();
        let (cert, key) = (self.redis_client_cert_file.is_some(), self.redis_client_key_file.is_some());
        let Some(url) = &self.redis_url else {
            return BadSetting::unmet([
                ("--redis-username", username, condition::REDIS),
                ("--redis-password-file", password_file, condition::REDIS),
                ("--redis-ca-file", ca_file, condition::REDIS),
                ("--redis-client-cert-file", cert, condition::REDIS),
                ("--redis-client-key-file", key, condition::REDIS),
            ]);
        };
        // Without a password the Redis client ignores the user name and silently logs in as the default user.
        let no_password = !url.has_password() && !password_file;
        BadSetting::unmet([
            ("--redis-ca-file", ca_file && !url.is_tls(), condition::REDIS_TLS),
            ("--redis-client-cert-file", cert && !key, condition::REDIS_KEY),
            ("--redis-client-key-file", key && !cert, condition::REDIS_CERT),
            ("--redis-client-cert-file", cert && !url.is_tls(), condition::REDIS_TLS),
            ("--redis-username", no_password && username, condition::PASSWORD),
            ("--redis-url", no_password && !username && url.has_username(), condition::PASSWORD),
        ])
    }
}
