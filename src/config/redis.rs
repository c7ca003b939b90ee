//! The `--redis-…` flags, and the settings that follow from them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::together;
use super::parts::{key_prefix, owner_id, redis_url, redis_username};
use super::refusal::BadSetting;
use super::rule::Rule;
use super::values::file;
use crate::publish::keys::{Keys, OwnerId};
use crate::publish::{RedisAccess, RedisSettings, RedisUrl, TakeoverPolicy};

/// The `--redis-…` flags of `run` (`docs/contract.md#command-line`).
#[derive(Debug, Args)]
pub struct RedisArgs {
    /// How to reach Redis
    #[command(flatten)]
    pub access: RedisAccessArgs,
    /// What tells this release from others on the same Redis; without it the uid of kube-system, Lease namespace and name
    #[arg(long, env = "MCPGW_REDIS_OWNER_ID", value_parser = owner_id(), value_name = "ID")]
    pub redis_owner_id: Option<OwnerId>,
    /// What to do about a lock that another program holds: take it once it has published nothing for an interval, or
    /// leave it alone
    #[arg(long, env = "MCPGW_REDIS_LOCK_TAKEOVER", default_value = "idle", value_parser = takeover_policy(), value_name = "POLICY")]
    pub redis_lock_takeover: TakeoverPolicy,
}

/// The `--redis-…` flags of every command that uses Redis.
#[derive(Debug, Args)]
pub struct RedisAccessArgs {
    /// The gateways' Redis; without it only statuses are written, and every poll is due
    #[arg(long, env = "MCPGW_REDIS_URL", hide_env_values = true, value_parser = redis_url(), value_name = "URL")]
    pub redis_url: Option<RedisUrl>,
    /// User name for Redis
    #[arg(long, env = "MCPGW_REDIS_USERNAME", value_parser = redis_username().and(together::REDIS).and(together::PASSWORD), value_name = "NAME")]
    pub redis_username: Option<String>,
    /// File with the password for Redis
    #[arg(long, env = "MCPGW_REDIS_PASSWORD_FILE", value_parser = file().and(together::REDIS), value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// File with the certificates (PEM) that sign Redis'; without it those of the system are trusted
    #[arg(long, env = "MCPGW_REDIS_CA_FILE", value_parser = file().and(together::REDIS_TLS), value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,
    /// Prefix of all keys
    #[arg(long, env = "MCPGW_REDIS_KEY_PREFIX", default_value = Keys::DEFAULT_PREFIX, value_parser = key_prefix(), value_name = "PREFIX")]
    pub redis_key_prefix: Keys,
}

/// What to do about a lock that another program holds.
fn takeover_policy() -> Rule<TakeoverPolicy> {
    Rule::of("never or idle", |text| match text {
        "never" => Ok(TakeoverPolicy::Never),
        "idle" => Ok(TakeoverPolicy::Idle),
        _ => Err(None),
    })
}

/// Where to publish, before the owner is known.
#[derive(Clone, Debug)]
pub struct Redis {
    /// How to reach it.
    pub access: RedisAccess,
    /// What to do about a lock that another program holds.
    pub takeover: TakeoverPolicy,
    /// The owner id, if it was given.
    pub owner: Option<OwnerId>,
}

impl Redis {
    /// The settings of the store, for this owner and these times.
    #[must_use]
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
    /// How to reach Redis; `None` without `--redis-url`.
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

    /// The flags that contradict each other.
    pub(super) fn conflicts(&self) -> Vec<BadSetting> {
        let Self { redis_url, redis_username, redis_password_file, redis_ca_file, redis_key_prefix: _ } = self;
        let mut conflicts = Vec::new();
        let Some(url) = redis_url else {
            let given = [
                ("--redis-username", redis_username.is_some()),
                ("--redis-password-file", redis_password_file.is_some()),
                ("--redis-ca-file", redis_ca_file.is_some()),
            ];
            let given = given.iter().filter(|(_, given)| *given);
            return given.map(|(flag, _)| BadSetting::new(flag, together::REDIS)).collect();
        };
        if redis_ca_file.is_some() && !url.is_tls() {
            conflicts.push(BadSetting::new("--redis-ca-file", together::REDIS_TLS));
        }
        // Without a password the client drops the user name too, and would silently log in as the default user.
        if !url.has_password() && redis_password_file.is_none() {
            if redis_username.is_some() {
                conflicts.push(BadSetting::new("--redis-username", together::PASSWORD));
            } else if url.has_username() {
                conflicts.push(BadSetting::new("--redis-url", together::PASSWORD));
            }
        }
        conflicts
    }
}
