//! Which Redis, as which user, under which keys.
//!
//! A client of the `redis` crate is made anew for each connection, so that a changed password, CA or client
//! certificate takes effect with the next connection. Secrets are read here and go nowhere else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::{Client, ClientTlsConfig, TlsCertificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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
    /// PEM files with the certificate to present to a `rediss://` server that asks for one, and with its private key.
    pub client_identity: Option<(PathBuf, PathBuf)>,
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
        Self { url, username: None, password_file: None, ca_file: None, client_identity: None, keys }
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
        if !self.url.is_tls() || (self.ca_file.is_none() && self.client_identity.is_none()) {
            return Ok(Client::open(info)?);
        }
        let root_cert = match &self.ca_file {
            None => None,
            Some(file) => Some(certificates(file).await.ok_or(Error::CaFileUnreadable)?),
        };
        let client_tls = match &self.client_identity {
            None => None,
            Some((cert, key)) => {
                let client_cert = certificates(cert).await.ok_or(Error::ClientIdentityUnreadable)?;
                let client_key = tokio::fs::read(key).await.map_err(|_| Error::ClientIdentityUnreadable)?;
                PrivateKeyDer::from_pem_slice(&client_key).map_err(|_| Error::ClientIdentityUnreadable)?;
                Some(ClientTlsConfig { client_cert, client_key })
            }
        };
        let unreadable = if client_tls.is_some() { Error::ClientIdentityUnreadable } else { Error::CaFileUnreadable };
        Client::build_with_tls(info, TlsCertificates { client_tls, root_cert }).map_err(|_| unreadable)
    }
}

/// The content of a file with at least one certificate. Without any nothing would be trusted, and the error would blame
/// the server's certificate.
async fn certificates(file: &Path) -> Option<Vec<u8>> {
    let pem = tokio::fs::read(file).await.ok()?;
    CertificateDer::pem_slice_iter(&pem).next().and_then(Result::ok)?;
    Some(pem)
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
