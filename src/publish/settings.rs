//! Which Redis, as whom, under which keys.
//!
//! In: what was given on the command line. Out: a client of the `redis` crate, made anew for each connection, so that
//! a changed password or CA file counts from the next connection on. Secrets are read here and go nowhere else.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::error::Error;
use super::foreign_holder::TakeoverPolicy;
use super::keys::OwnerId;

/// How to get at Redis: all that a reader needs. Printing it shows neither password nor user info.
#[derive(Clone, Default)]
pub struct RedisAccess {
    /// `redis://`, `rediss://` (TLS) or `unix://`; may hold user and password, and must then not be shown.
    pub url: String,
    /// The ACL user; wins over the one in the URL.
    pub username: Option<String>,
    /// A file with the password; wins over the one in the URL. A line break at its end does not count.
    pub password_file: Option<PathBuf>,
    /// PEM certificates to trust for `rediss://` in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// The settings of the Redis room. Printing them shows neither password nor user info.
#[derive(Clone)]
pub struct RedisSettings {
    /// As in [`RedisAccess`].
    pub url: String,
    /// As in [`RedisAccess`].
    pub username: Option<String>,
    /// As in [`RedisAccess`].
    pub password_file: Option<PathBuf>,
    /// As in [`RedisAccess`].
    pub ca_file: Option<PathBuf>,
    /// What all keys start with; ContextForge's workers know `mcpgateway` only.
    pub key_prefix: String,
    /// Our name in the lock.
    pub owner: OwnerId,
    /// What is done about a lock that is another program's.
    pub takeover: TakeoverPolicy,
    /// `--classification-interval`, from which the expiries follow.
    pub interval: Duration,
    /// How long the Lease lasts: the lock must outlive it.
    pub lease_duration: Duration,
}

impl RedisSettings {
    /// How to get at this Redis.
    #[must_use]
    pub fn access(&self) -> RedisAccess {
        let Self { url, username, password_file, ca_file, .. } = self.clone();
        RedisAccess { url, username, password_file, ca_file }
    }

    /// Host and port, or the socket's path: all of the URL that may be shown.
    #[must_use]
    pub fn address(&self) -> String {
        self.access().address()
    }

    /// Checks a URL without touching the network.
    ///
    /// # Errors
    /// [`Error::BadUrl`], which does not repeat it.
    pub fn check_url(url: &str) -> Result<(), Error> {
        connection_info(url).map(|_| ())
    }
}

impl RedisAccess {
    /// Host and port, or the socket's path: all of the URL that may be shown.
    #[must_use]
    pub fn address(&self) -> String {
        self.parsed().map_or_else(|_| "(no Redis URL)".to_owned(), |info| info.addr().to_string())
    }

    pub(super) fn parsed(&self) -> Result<ConnectionInfo, Error> {
        connection_info(&self.url)
    }

    /// A client with the secrets as they are now.
    pub(super) async fn client(&self) -> Result<Client, Error> {
        let info = self.parsed()?;
        let mut login = info.redis_settings().clone();
        if let Some(username) = &self.username {
            login = login.set_username(username);
        }
        if let Some(file) = &self.password_file {
            let text = tokio::fs::read_to_string(file).await.map_err(|error| Error::PasswordFile(error.kind()))?;
            login = login.set_password(text.trim_end_matches(['\r', '\n']));
        }
        let info = info.set_redis_settings(login);
        match (&self.ca_file, info.addr()) {
            (Some(file), ConnectionAddr::TcpTls { .. }) => {
                let pem = tokio::fs::read(file).await.map_err(|_| Error::CaFile)?;
                // A file without any certificate would mean trusting nobody, with a message about the server's.
                if CertificateDer::pem_slice_iter(&pem).next().is_none() {
                    return Err(Error::CaFile);
                }
                let trusted = TlsCertificates { client_tls: None, root_cert: Some(pem) };
                Client::build_with_tls(info, trusted).map_err(|_| Error::CaFile)
            }
            _ => Client::open(info).map_err(|_| Error::BadUrl),
        }
    }
}

fn connection_info(url: &str) -> Result<ConnectionInfo, Error> {
    // The crate's own message may repeat a part of the URL.
    let info = url.into_connection_info().map_err(|_| Error::BadUrl)?;
    match info.addr() {
        // `#insecure` would switch the check of the certificate off.
        ConnectionAddr::TcpTls { insecure: true, .. } => Err(Error::BadUrl),
        _ => Ok(info),
    }
}

impl fmt::Debug for RedisAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, username: _, password_file, ca_file } = self;
        f.debug_struct("RedisAccess")
            .field("address", &self.address())
            .field("password_file", password_file)
            .field("ca_file", ca_file)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, username: _, password_file, ca_file, key_prefix, owner, takeover, interval, lease_duration } =
            self;
        f.debug_struct("RedisSettings")
            .field("address", &self.address())
            .field("password_file", password_file)
            .field("ca_file", ca_file)
            .field("key_prefix", key_prefix)
            .field("owner", owner)
            .field("takeover", takeover)
            .field("interval", interval)
            .field("lease_duration", lease_duration)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> RedisSettings {
        RedisSettings {
            url: url.to_owned(),
            username: Some("planted-user".into()),
            password_file: None,
            ca_file: None,
            key_prefix: "mcpgateway".into(),
            owner: OwnerId::parse("o").unwrap(),
            takeover: TakeoverPolicy::Idle,
            interval: Duration::from_secs(60),
            lease_duration: Duration::from_secs(15),
        }
    }

    #[test]
    fn only_the_address_is_shown() {
        let settings = settings("rediss://planted-user:planted-pw@redis.example.com:7000/2?x=planted-q");
        assert_eq!(settings.address(), "redis.example.com:7000");
        assert!(!format!("{settings:?} {:?}", settings.access()).contains("planted"));
    }

    #[test]
    fn what_is_no_redis_url_is_not_repeated() {
        for url in ["", "http://planted@h", "planted", "redis://", "redis://h/planted", "rediss://h#insecure"] {
            let error = settings(url).access().parsed().err();
            assert_eq!(error, Some(Error::BadUrl), "{url}");
        }
        assert!(!format!("{:?} {}", settings("http://planted@h"), Error::BadUrl).contains("planted"));
    }

    #[tokio::test]
    async fn the_password_file_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let settings = RedisAccess { password_file: Some(file.clone()), ..settings("redis://u:old@h").access() };
        let missing = settings.client().await.err();
        assert_eq!(missing, Some(Error::PasswordFile(std::io::ErrorKind::NotFound)));
        for password in ["first", "second "] {
            std::fs::write(&file, format!("{password}\r\n")).unwrap();
            let client = settings.client().await.unwrap();
            let login = client.get_connection_info().redis_settings();
            assert_eq!((login.username(), login.password()), (Some("planted-user"), Some(password)));
        }
    }
}
