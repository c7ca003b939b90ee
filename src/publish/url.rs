//! The URL of a Redis. Pure.
//!
//! Gateways and operator are given the same URL, so both must read the same database of the same server as the same
//! user. ContextForge's client is redis-py: whatever its `from_url` takes from a URL is obeyed here, or refused with
//! what to do instead. Nothing is ignored.

use std::collections::BTreeMap;
use std::fmt;

use percent_encoding::percent_decode_str;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};
use reqwest::Url;

const DEFAULT_PORT: u16 = 6379;

/// The URL of a Redis: `redis://`, `rediss://` (TLS) or `unix://`. It may hold a user name and a password; printing it
/// shows the address only.
#[derive(Clone)]
pub struct RedisUrl(ConnectionInfo);

/// Why a URL is refused: what to do instead. It repeats nothing of the URL but the name of a known parameter, because
/// any other part may be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RedisUrlError(&'static str);

const NO_URL: RedisUrlError = RedisUrlError(
    "it must begin with redis://, rediss:// or unix:// and have a host, or a path for unix://; write : / ? # @ % in a \
     user name or password as %3A %2F %3F %23 %40 %25",
);
const BAD_DATABASE: RedisUrlError =
    RedisUrlError("the database is one number, as /2 after the port or as ?db=2, and not two different ones");
const TWICE: RedisUrlError = RedisUrlError("user name, password and each query parameter may be given once");
const NOT_TEXT: RedisUrlError = RedisUrlError("a percent-encoded part is not UTF-8, is empty, or is encoded twice");

impl RedisUrl {
    /// Parses a URL without touching the network.
    ///
    /// # Errors
    /// What to do instead.
    pub fn parse(text: &str) -> Result<Self, RedisUrlError> {
        // The parser drops line breaks, and blanks at both ends.
        if !text.contains("://") || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(NO_URL);
        }
        let url = Url::parse(text).map_err(|_| NO_URL)?;
        if url.fragment().is_some() {
            return Err(RedisUrlError("remove # and what follows; a # in a user name or password is written as %23"));
        }
        let parameters = parameters(&url)?;
        let path = decoded(url.path())?;
        let (addr, path_database) = match url.scheme() {
            "redis" | "valkey" => (ConnectionAddr::Tcp(host(&url)?, port(&url)?), &*path),
            "rediss" | "valkeys" => {
                let (host, port) = (host(&url)?, port(&url)?);
                (ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }, &*path)
            }
            "unix" | "redis+unix" | "valkey+unix" => {
                if url.has_host() && url.host_str() != Some("") || path.len() < 2 {
                    return Err(NO_URL);
                }
                (ConnectionAddr::Unix(path.as_str().into()), "")
            }
            _ => return Err(NO_URL),
        };

        let mut login = RedisConnectionInfo::default().set_skip_set_lib_name();
        let in_path = path_database.trim_start_matches('/');
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        let databases = [Some(in_path).filter(|text| !text.is_empty()), parameters.get("db").map(String::as_str)];
        let mut database = None;
        for text in databases.into_iter().flatten() {
            let number = number(text).ok_or(BAD_DATABASE)?;
            if database.replace(number).is_some_and(|other| other != number) {
                return Err(BAD_DATABASE);
            }
        }
        login = login.set_db(database.unwrap_or(0).into());
        let given = |in_url: Option<&str>, name: &str| -> Result<Option<String>, RedisUrlError> {
            let in_url = in_url.filter(|text| !text.is_empty()).map(decoded).transpose()?;
            match (in_url, parameters.get(name)) {
                (Some(_), Some(_)) => Err(TWICE),
                (in_url, in_query) => Ok(in_url.or_else(|| in_query.cloned())),
            }
        };
        if let Some(username) = given(Some(url.username()), "username")? {
            login = login.set_username(username);
        }
        if let Some(password) = given(url.password(), "password")? {
            login = login.set_password(password);
        }
        match parameters.get("protocol").map(String::as_str) {
            None | Some("2") => {}
            Some("3") => login = login.set_protocol(ProtocolVersion::RESP3),
            Some(_) => return Err(RedisUrlError("the query parameter protocol is 2 or 3")),
        }
        let info = addr.into_connection_info().map_err(|_| NO_URL)?;
        Ok(Self(info.set_redis_settings(login)))
    }

    pub(super) const fn info(&self) -> &ConnectionInfo {
        &self.0
    }

    /// Whether connections use TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.0.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// Whether the URL holds a user name.
    pub fn has_username(&self) -> bool {
        self.0.redis_settings().username().is_some()
    }

    /// Whether the URL holds a password.
    pub fn has_password(&self) -> bool {
        self.0.redis_settings().password().is_some()
    }
}

fn host(url: &Url) -> Result<String, RedisUrlError> {
    let host = decoded(url.host_str().unwrap_or_default())?.to_lowercase();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    if host.is_empty() { Err(NO_URL) } else { Ok(host.to_owned()) }
}

fn port(url: &Url) -> Result<u16, RedisUrlError> {
    match url.port() {
        Some(0) => Err(RedisUrlError("the port is a number from 1 to 65535")),
        port => Ok(port.unwrap_or(DEFAULT_PORT)),
    }
}

/// Percent-decoded.
fn decoded(text: &str) -> Result<String, RedisUrlError> {
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| NOT_TEXT)
}

/// The query parameters that are obeyed.
fn parameters(url: &Url) -> Result<BTreeMap<String, String>, RedisUrlError> {
    let mut parameters = BTreeMap::new();
    for pair in url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        // As in a form: some releases of redis-py decode a second time, so a value with a % after the first is refused.
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let [name, value] = [name, value].map(|text| decoded(&text.replace('+', " ")));
        let (name, value) = (name?, value?);
        if let Some(instead) = refused(&name) {
            return Err(RedisUrlError(instead));
        }
        if value.is_empty() || value.contains(['%', '\u{fffd}']) {
            return Err(NOT_TEXT);
        }
        if parameters.insert(name, value).is_some() {
            return Err(TWICE);
        }
    }
    Ok(parameters)
}

/// What to do instead of giving this query parameter; `None` if it is obeyed.
fn refused(name: &str) -> Option<&'static str> {
    Some(match name {
        "db" | "username" | "password" | "protocol" => return None,
        "ssl_ca_certs" | "ssl_ca_path" | "ssl_ca_data" => {
            "remove ssl_ca_certs, ssl_ca_path and ssl_ca_data, and use --redis-ca-file"
        }
        "ssl_certfile" | "ssl_keyfile" => {
            "remove ssl_certfile and ssl_keyfile, and use --redis-client-cert-file and --redis-client-key-file"
        }
        "ssl_cert_reqs" | "ssl_check_hostname" => {
            "remove ssl_cert_reqs and ssl_check_hostname: the certificate is always verified, against --redis-ca-file \
             if that is set"
        }
        "ssl" => "remove ssl, and begin the URL with rediss://",
        name if name.starts_with("ssl_") => {
            "remove the query parameters that begin with ssl_: there is no such setting"
        }
        "host" | "port" | "path" => "write host, port and path before the ?, not as query parameters",
        "socket_timeout"
        | "socket_connect_timeout"
        | "timeout"
        | "health_check_interval"
        | "retry_on_timeout"
        | "retry_on_error" => {
            "remove time-outs, retries and health checks from the query: each call takes at most a second, and the \
             next one is the retry"
        }
        "max_connections" | "socket_keepalive" | "socket_read_size" | "client_name" | "decode_responses"
        | "encoding" => "remove the query parameters about connections and encodings: they belong to the other client",
        _ => "remove the query parameters other than db, username, password and protocol",
    })
}

/// Host and port, or the path of the socket: all of the URL that may be shown.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.addr().fmt(f)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Address, database, user name and password.
    fn read(text: &str) -> (String, i64, Option<String>, Option<String>) {
        let url = RedisUrl::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
        let login = url.0.redis_settings();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        (url.to_string(), login.db(), owned(login.username()), owned(login.password()))
    }

    /// What redis-py's `from_url` makes of the same URLs.
    #[test]
    fn case_04_the_database_in_the_query_is_obeyed_and_so_is_all_else_that_redis_py_takes() {
        for (text, address, database, username, password) in [
            ("redis://127.0.0.1:6379?db=2", "127.0.0.1:6379", 2, None, None),
            ("redis://h", "h:6379", 0, None, None),
            ("redis://h/", "h:6379", 0, None, None),
            ("redis://h/2", "h:6379", 2, None, None),
            ("redis://h/%32", "h:6379", 2, None, None),
            ("redis://h/02", "h:6379", 2, None, None),
            ("redis://h/2?db=2", "h:6379", 2, None, None),
            ("redis://h/?db=%33", "h:6379", 3, None, None),
            ("redis://H.Example:7000?protocol=2&db=0", "h.example:7000", 0, None, None),
            ("redis://[::1]:7000/1", "::1:7000", 1, None, None),
            ("rediss://:p%40ss%2F%23%3F@h/1", "h:6379", 1, None, Some("p@ss/#?")),
            ("redis://u%20v:p%25q@h", "h:6379", 0, Some("u v"), Some("p%q")),
            ("redis://u:a@b@h", "h:6379", 0, Some("u"), Some("a@b")),
            ("redis://u:a:b@h", "h:6379", 0, Some("u"), Some("a:b")),
            ("redis://:a+b@h", "h:6379", 0, None, Some("a+b")),
            ("redis://:@h?password=a%2Bb&username=u", "h:6379", 0, Some("u"), Some("a+b")),
            ("redis://h?password=a+b&db=1", "h:6379", 1, None, Some("a b")),
            ("redis://u@h?password=p", "h:6379", 0, Some("u"), Some("p")),
            ("redis://h?&db=1&", "h:6379", 1, None, None),
            ("unix:///run/redis%20a.sock?db=3&password=p", "/run/redis a.sock", 3, None, Some("p")),
            ("unix:///run/redis.sock", "/run/redis.sock", 0, None, None),
            ("valkey://h/1", "h:6379", 1, None, None),
        ] {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            assert_eq!(read(text), (address.into(), database, owned(username), owned(password)), "{text}");
        }
        let three = RedisUrl::parse("redis://h?protocol=3").unwrap();
        assert_eq!(three.0.redis_settings().protocol(), ProtocolVersion::RESP3);
    }

    #[test]
    fn what_is_not_obeyed_is_refused_and_nothing_of_it_is_repeated() {
        for (text, said) in [
            ("redis://h?ssl_ca_certs=/planted", "--redis-ca-file"),
            ("rediss://h?ssl_certfile=/planted", "--redis-client-cert-file"),
            ("rediss://h?ssl_keyfile=/planted", "--redis-client-key-file"),
            ("rediss://h?ssl_cert_reqs=none", "always verified"),
            ("rediss://h?ssl_check_hostname=false", "always verified"),
            ("rediss://h?ssl_min_version=771", "ssl_"),
            ("redis://h?ssl=true", "rediss://"),
            ("redis://h?socket_timeout=5", "at most a second"),
            ("redis://h?health_check_interval=30&db=2", "at most a second"),
            ("redis://h?db=2&max_connections=5", "other client"),
            ("redis://h?decode_responses=true", "other client"),
            ("redis://h?host=planted", "before the ?"),
            ("redis://h?planted=1", "other than db"),
            ("redis://h?DB=2", "other than db"),
            ("redis://h?db=2;planted=1", "the database is"),
            ("redis://h?db=", "empty"),
            ("redis://h?db", "empty"),
            ("redis://h?db=planted", "the database is"),
            ("redis://h?db=-1", "the database is"),
            ("redis://h?db=+2", "the database is"),
            ("redis://h?db=2.0", "the database is"),
            ("redis://h?db=99999999999", "the database is"),
            ("redis://h?db=1&db=2", "once"),
            ("redis://h/1?db=2", "two different"),
            ("redis://h/planted", "the database is"),
            ("redis://h/1/2", "the database is"),
            ("redis://h/1/", "the database is"),
            ("redis://u:p@h?username=planted", "once"),
            ("redis://:p@h?password=planted", "once"),
            ("redis://h?password=%2525", "encoded twice"),
            ("redis://:%FF@h", "UTF-8"),
            ("redis://h?protocol=4", "2 or 3"),
            ("redis://h#planted", "%23"),
            ("rediss://h#insecure", "%23"),
            ("redis://:a#planted@h", "%2"),
            ("redis://:pa/planted@h", "%2F"),
            ("redis://:pa?planted@h", "%"),
            ("redis://h:0", "65535"),
            ("redis://h:planted", "redis://"),
            ("redis://h\n", "redis://"),
            (" redis://h", "redis://"),
            ("redis://", "redis://"),
            ("redis:///2", "redis://"),
            ("unix://planted/run/redis.sock", "redis://"),
            ("unix://", "redis://"),
            ("http://planted@h", "redis://"),
            ("planted", "redis://"),
            ("", "redis://"),
        ] {
            let Err(why) = RedisUrl::parse(text) else { panic!("{text:?} is taken") };
            let why = why.to_string();
            assert!(why.contains(said) && !why.contains("planted"), "{text:?}: {why}");
        }
    }
}
