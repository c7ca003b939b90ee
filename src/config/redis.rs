//! The `--redis-…` flags, and the settings that follow from them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::condition;
use super::bad_setting::BadSetting;
use super::domain_values::{key_prefix, owner_id, redis_url, redis_username, takeover_policy};
use super::unmet;
use super::values::file;
use crate::publish::keys::{Keys, OwnerId};
use crate::publish::{RedisAccess, RedisSettings, RedisUrl, TakeoverPolicy};

/// The `--redis-…` flags for publishing. See docs/contract.md#redis-keys.
#[derive(Debug, Args)]
pub struct RedisArgs {
    /// How to connect to Redis
    #[command(flatten)]
    pub access: RedisAccessArgs,
    /// Name that sets this release apart from others on the same Redis; by default the uid of the namespace
    /// kube-system, and namespace and name of the Lease
    #[arg(long, env = "MCPGW_REDIS_OWNER_ID", value_parser = owner_id(), value_name = "ID")]
    pub redis_owner_id: Option<OwnerId>,
    /// What to do while another program holds the Redis lock: leave it alone, or take it once that program has
    /// published nothing for an interval
    #[arg(long, env = "MCPGW_REDIS_LOCK_TAKEOVER", default_value = "idle", value_parser = takeover_policy(),
        value_name = "POLICY")]
    pub redis_lock_takeover: TakeoverPolicy,
}

/// The `--redis-…` flags for any connection to Redis.
#[derive(Debug, Args)]
pub struct RedisAccessArgs {
    /// URL of the gateways' Redis; without it, only statuses are written and every poll is due
    #[arg(long, env = "MCPGW_REDIS_URL", hide_env_values = true, value_parser = redis_url(), value_name = "URL")]
    pub redis_url: Option<RedisUrl>,
    /// User name for Redis
    #[arg(long, env = "MCPGW_REDIS_USERNAME",
        value_parser = redis_username().and(condition::REDIS).and(condition::PASSWORD), value_name = "NAME")]
    pub redis_username: Option<String>,
    /// File with the password for Redis
    #[arg(long, env = "MCPGW_REDIS_PASSWORD_FILE", value_parser = file().and(condition::REDIS), value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// File with the CA certificates (PEM) to trust for Redis; the system's by default
    #[arg(long, env = "MCPGW_REDIS_CA_FILE", value_parser = file().and(condition::REDIS_TLS), value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,
    /// Prefix of all Redis keys
    #[arg(long, env = "MCPGW_REDIS_KEY_PREFIX", default_value = Keys::DEFAULT_PREFIX, value_parser = key_prefix(),
        value_name = "PREFIX")]
    pub redis_key_prefix: Keys,
}

/// Where to publish, before the owner is known.
#[derive(Clone, Debug)]
pub struct Redis {
    /// How to connect to it.
    pub access: RedisAccess,
    /// What to do about a lock that another program holds.
    pub takeover: TakeoverPolicy,
    /// The owner id, if it was given.
    pub owner: Option<OwnerId>,
}

impl Redis {
    /// The settings of the store, for this owner and these times.
    pub fn settings(&self, owner: OwnerId, interval: Duration, lease_duration: Duration) -> RedisSettings {
        RedisSettings { access: self.access.clone(), owner, takeover: self.takeover, interval, lease_duration }
    }
}

impl RedisArgs {
    /// Where to publish; `None` without `--redis-url`.
    pub(super) fn settings(self) -> Option<Redis> {
        let Self { access, redis_owner_id: owner, redis_lock_takeover: takeover } = self;
        Some(Redis { access: access.settings()?, takeover, owner })
    }
}

impl RedisAccessArgs {
    /// How to connect to Redis; `None` without `--redis-url`.
    pub(super) fn settings(self) -> Option<RedisAccess> {
        let Self {
            redis_url,
            redis_username: username,
            redis_password_file: password_file,
            redis_ca_file: ca_file,
            redis_key_prefix: keys,
        } = self;
        redis_url.map(|url| RedisAccess { url, username, password_file, ca_file, keys })
    }

    /// The conflicts between these flags.
    pub(super) fn conflicts(&self) -> Vec<BadSetting> {
        let has_username = self.redis_username.is_some();
        let (has_password_file, has_ca_file) = (self.redis_password_file.is_some(), self.redis_ca_file.is_some());
        let Some(url) = &self.redis_url else {
            let flags = [
                ("--redis-username", has_username),
                ("--redis-password-file", has_password_file),
                ("--redis-ca-file", has_ca_file),
            ];
            return unmet(condition::REDIS, &flags).collect();
        };
        let mut conflicts: Vec<BadSetting> =
            unmet(condition::REDIS_TLS, &[("--redis-ca-file", has_ca_file && !url.is_tls())]).collect();
        // Without a password the Redis client ignores the user name and silently logs in as the default user.
        if !url.has_password() && !has_password_file {
            let flags = [("--redis-username", has_username), ("--redis-url", !has_username && url.has_username())];
            conflicts.extend(unmet(condition::PASSWORD, &flags));
        }
        conflicts
    }
}
