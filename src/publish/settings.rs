//! Which Redis, as which user, under which keys.
//!
//! A client of the `redis` crate is made anew for each connection, so that a changed password or CA file takes effect
//! with the next connection. Secrets are read here and go nowhere else.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::{Client, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::Error;
use super::foreign_holder::TakeoverPolicy;
use super::keys::{Keys, OwnerId};
use super::url::RedisUrl;

/// How to reach Redis, and the keys in it: all that a reader needs. Printing it shows neither user name nor password.
#[derive(Clone)]
pub struct RedisAccess {
    /// Where it is.
    pub url: RedisUrl,
    /// The ACL user; overrides the one in the URL.
    pub username: Option<String>,
    /// A file with the password; overrides the one in the URL. A line break at its end is ignored.
    pub password_file: Option<PathBuf>,
    /// PEM certificates to trust for `rediss://`, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The keys, by their prefix.
    pub keys: Keys,
}

/// What a [`super::Store`] needs to know.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// How to reach Redis.
    pub access: RedisAccess,
    /// Our name in the lock.
    pub owner: OwnerId,
    /// What to do about a lock that another program holds.
    pub takeover: TakeoverPolicy,
    /// `--classification-interval`, from which the expiries follow.
    pub interval: Duration,
    /// The duration of the Lease: the lock must outlive it.
    pub lease_duration: Duration,
}

impl RedisAccess {
    /// Access with nothing but what the URL holds.
    pub const fn new(url: RedisUrl, keys: Keys) -> Self {
        Self { url, username: None, password_file: None, ca_file: None, keys }
    }

    /// A client with the secrets as they are now.
    pub(super) async fn client(&self) -> Result<Client, Error> {
        let info = self.url.info().clone();
        let mut login = info.redis_settings().clone();
        if let Some(username) = &self.username {
            login = login.set_username(username);
        }
        if let Some(file) = &self.password_file {
            let text =
                tokio::fs::read_to_string(file).await.map_err(|error| Error::PasswordFileUnreadable(error.kind()))?;
            login = login.set_password(text.trim_end_matches(['\r', '\n']));
        }
        let info = info.set_redis_settings(login);
        match &self.ca_file {
            Some(file) if self.url.is_tls() => {
                let pem = tokio::fs::read(file).await.map_err(|_| Error::CaFileUnreadable)?;
                // Without any certificate nothing would be trusted, and the error would blame the server's certificate.
                if CertificateDer::pem_slice_iter(&pem).next().is_none() {
                    return Err(Error::CaFileUnreadable);
                }
                let trusted = TlsCertificates { client_tls: None, root_cert: Some(pem) };
                Client::build_with_tls(info, trusted).map_err(|_| Error::CaFileUnreadable)
            }
            _ => Ok(Client::open(info)?),
        }
    }
}

impl fmt::Debug for RedisAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisAccess").field("url", &self.url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(url: &str) -> RedisAccess {
        let access = RedisAccess::new(RedisUrl::parse(url).unwrap(), Keys::default());
        RedisAccess { username: Some("planted-user".into()), ..access }
    }

    #[test]
    fn only_the_address_is_shown() {
        let access = access("rediss://planted-user:planted-pw@redis.example.com:7000?db=2&protocol=3");
        assert_eq!(access.url.to_string(), "redis.example.com:7000");
        assert!(access.url.is_tls() && access.url.has_username() && access.url.has_password());
        let settings = RedisSettings {
            access,
            owner: OwnerId::parse("o").unwrap(),
            takeover: TakeoverPolicy::Idle,
            interval: Duration::from_secs(60),
            lease_duration: Duration::from_secs(15),
        };
        assert!(!format!("{settings:?}").contains("planted"));
    }

    #[tokio::test]
    async fn the_password_file_is_read_for_each_client() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let access = RedisAccess { password_file: Some(file.clone()), ..access("redis://u:old@h") };
        let missing = access.client().await.err();
        assert_eq!(missing, Some(Error::PasswordFileUnreadable(std::io::ErrorKind::NotFound)));
        for password in ["first", "second "] {
            std::fs::write(&file, format!("{password}\r\n")).unwrap();
            let client = access.client().await.unwrap();
            let login = client.get_connection_info().redis_settings();
            assert_eq!((login.username(), login.password()), (Some("planted-user"), Some(password)));
        }
    }
}
