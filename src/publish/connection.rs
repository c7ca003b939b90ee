//! One connection to Redis, opened when it is needed and dropped when it may be broken.
//!
//! Nothing is sent twice: after a lost answer only the caller can know whether a second try is harmless. The exception
//! is a script that Redis does not know (`NOSCRIPT`), because then nothing has run.
//!
//! A name may lead to another server tomorrow, while the old one still answers: an open connection would stay with the
//! old one for ever. So every connection has a greatest age ([`Freshness`]), and an answer that means "not me" or "not
//! now" ends it earlier. The name is resolved again when the next one is opened.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind, Value,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OnceCell;

use super::error::{Denied, Error};
use super::keys::Keys;
use super::locked;
use super::redis_clock::{self, RedisClock};
use super::redis_error::Refusable;
use super::settings::RedisAccess;
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::model::Monotonic;

/// A connection is used for at least this long, unless it is broken: a busy reader of a Redis that is loading its data
/// must not connect for each call.
const LEAST_AGE: Duration = Duration::from_secs(1);
/// How long a server that refuses a connection may take to say why.
const GREETING_LIMIT: Duration = Duration::from_millis(200);

/// Decides when the connections to one Redis are replaced. The connections of one [`super::Store`] share it, so that
/// none of them stays with a server that another one has left.
#[derive(Debug)]
pub(super) struct Freshness {
    greatest_age: Duration,
    period: Mutex<Period>,
}

/// Connections that were opened in an earlier period are not used any more.
#[derive(Clone, Copy, Debug)]
struct Period {
    number: u64,
    began: Monotonic,
    ends: Monotonic,
}

impl Freshness {
    pub(super) fn new(greatest_age: Duration) -> Arc<Self> {
        let now = clock::monotonic();
        Arc::new(Self { greatest_age, period: Mutex::new(Period { number: 0, began: now, ends: now }) })
    }

    /// The number of the present period.
    fn period(&self) -> u64 {
        let now = clock::monotonic();
        let mut period = locked(&self.period);
        if now >= period.ends {
            *period = Period { number: period.number + 1, began: now, ends: now.after(self.greatest_age) };
        }
        period.number
    }

    /// The name may lead elsewhere by now: the connections are opened again, at most once a second.
    pub(super) fn end(&self) {
        let mut period = locked(&self.period);
        period.ends = period.ends.min(period.began.after(LEAST_AGE));
    }
}

/// A connection that is opened again when it was dropped. All calls may be made at the same time.
#[derive(Debug)]
pub(super) struct Link {
    access: RedisAccess,
    /// Told what Redis' clock shows.
    reference: ReferenceClock,
    freshness: Arc<Freshness>,
    slot: Mutex<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    period: u64,
    /// Replaced by an empty cell to drop the connection. One call at a time connects; the others wait for its result.
    open: Arc<OnceCell<Open>>,
}

/// An open connection to a server that passed the checks.
#[derive(Clone, Debug)]
struct Open {
    connection: MultiplexedConnection,
    /// Per connection, because after a failover the same name may lead to another clock.
    clock: Arc<Mutex<RedisClock>>,
}

impl Link {
    pub(super) fn new(access: RedisAccess, freshness: Arc<Freshness>, reference: ReferenceClock) -> Self {
        Self { access, reference, freshness, slot: Mutex::default() }
    }

    pub(super) const fn keys(&self) -> &Keys {
        &self.access.keys
    }

    pub(super) async fn query<T: FromRedisValue>(&self, limit: Duration, command: &Cmd) -> Result<T, Error> {
        self.bounded(limit, |mut open| async move {
            command
                .query_async(&mut open.connection)
                .await
                .map_err(|error| Error::answer(error, |_| refusable(command)))
        })
        .await
    }

    /// Runs commands in one round trip and returns their answers, or the first error.
    pub(super) async fn query_all<T: FromRedisValue>(&self, limit: Duration, commands: &Pipeline) -> Result<T, Error> {
        self.bounded(limit, |mut open| async move {
            let sent = |place: usize| commands.cmd_iter().nth(place).map(refusable).unwrap_or_default();
            commands.query_async(&mut open.connection).await.map_err(|error| Error::answer(error, sent))
        })
        .await
    }

    /// A part of a set's members (`SSCAN`) or of a hash's fields (`HSCAN`), about as many as requested, and the cursor
    /// of the next part; 0 after the last one. `None` if the key is of a wrong type.
    pub(super) async fn scan<T: FromRedisValue>(
        &self,
        limit: Duration,
        command: &str,
        key: &str,
        cursor: u64,
        count: usize,
    ) -> Result<Option<(u64, Vec<T>)>, Error> {
        match self.query(limit, redis::cmd(command).arg(key).arg(cursor).arg("COUNT").arg(count)).await {
            Err(error) if error.is_wrong_type() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Runs a script of [`super::script`], which must do nothing once `limit` has passed by Redis' clock. `args` are
    /// `ARGV[2]` and following.
    pub(super) async fn run(
        &self,
        limit: Duration,
        script: &str,
        keys: &[String],
        args: &[Vec<u8>],
    ) -> Result<Vec<Value>, Error> {
        // Counted from before the connection is opened, as the time-out is.
        let deadline = clock::monotonic().after(limit);
        let reference = self.reference.clone();
        self.bounded(limit, |mut open| async move {
            let sent = clock::monotonic();
            let not_after = locked(&open.clock).at(deadline);
            let command = |name, script: &str| {
                redis::cmd(name).arg(script).arg(keys.len()).arg(keys).arg(not_after).arg(args).to_owned()
            };
            let by_hash = command("EVALSHA", redis::Script::new(script).get_hash());
            let all_keys = || Some(format!("{}:server_classification:*", self.keys().prefix()));
            let named = |command: &str, error: RedisError| {
                Error::answer(error, |_| Refusable { command: command.to_owned(), key: all_keys() })
            };
            let reply: Vec<Value> = match by_hash.query_async(&mut open.connection).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    let whole = command("EVAL", script);
                    whole.query_async(&mut open.connection).await.map_err(|error| named("EVAL", error))?
                }
                reply => reply.map_err(|error| named("EVALSHA", error))?,
            };
            if let [_, Value::Int(time), ..] = *reply {
                let received = clock::monotonic();
                locked(&open.clock).update(time, sent, received);
                reference.read_redis(redis_clock::time(time), received);
            }
            Ok(reply)
        })
        .await
    }

    /// Connects if necessary, acts, and drops the connection after an error that may have broken it: one that does not
    /// answer would delay every later call, and the answer to an abandoned call may still arrive. After an answer that
    /// means "not me" or "not now" the next call connects again, on whatever connection.
    async fn bounded<T, F>(&self, limit: Duration, act: impl FnOnce(Open) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (cell, before) = self.fresh();
        let connect = async || match Open::connect(&self.access, &self.reference).await {
            // The server is full: keep the connection that is open.
            Err(Error::TooManyClients) if let Some(before) = before => Ok(before),
            opened => opened,
        };
        let whole = async { act(cell.get_or_try_init(connect).await?.clone()).await };
        let result = tokio::time::timeout(limit, whole).await.unwrap_or(Err(Error::TimedOut));
        match &result {
            Err(error) if error.spares_connection() => {}
            Err(error) if error.is_answer() => self.freshness.end(),
            Err(_) => {
                let mut slot = locked(&self.slot);
                // Only this one: another call may have replaced it meanwhile.
                if cell.initialized() && Arc::ptr_eq(&slot.open, &cell) {
                    slot.open = Arc::default();
                }
            }
            Ok(_) => {}
        }
        result
    }

    /// The connection of this period, open or not, and the one before it if it is to be replaced now.
    fn fresh(&self) -> (Arc<OnceCell<Open>>, Option<Open>) {
        let period = self.freshness.period();
        let mut slot = locked(&self.slot);
        if slot.period == period {
            return (Arc::clone(&slot.open), None);
        }
        let before = std::mem::replace(&mut *slot, Slot { period, open: Arc::default() });
        (Arc::clone(&slot.open), before.open.get().cloned())
    }
}

/// What an error may show of a command.
fn refusable(command: &Cmd) -> Refusable {
    let mut words = command.args_iter().map(|arg| match arg {
        redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
        _ => String::new(),
    });
    Refusable { command: words.next().unwrap_or_default(), key: words.next() }
}

impl Open {
    async fn connect(access: &RedisAccess, reference: &ReferenceClock) -> Result<Self, Error> {
        let client = access.client().await?;
        let opened = Self::open(&client, access.client_identity.is_some(), reference).await;
        let Err(error @ (Error::Unreachable(_) | Error::LoginRefused | Error::UnexpectedReply)) = opened else {
            return opened;
        };
        // A server that is full or in protected mode says so and hangs up, and sending comes too late.
        Err(greeting(client.get_connection_info().addr()).await.unwrap_or(error))
    }

    async fn open(client: &redis::Client, has_identity: bool, reference: &ReferenceClock) -> Result<Self, Error> {
        // The caller's limit covers everything; the client's own limits would cut it short.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let database = client.get_connection_info().redis_settings().db();
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let connection = connection.map_err(|error| match Error::from(error.clone()) {
            // Only here the client compares the private key with the certificate.
            _ if has_identity && error.kind() == ErrorKind::InvalidClientConfig => Error::ClientIdentityUnreadable,
            // An error that is not about the login is the answer to SELECT.
            Error::Refused { .. } if database != 0 => Error::NoSuchDatabase { number: database },
            Error::NoPermission(_) => Error::NoPermission(Denied { command: "SELECT".to_owned(), key: None }),
            error => error,
        })?;
        let (server, cluster, clock) = tokio::join!(
            info(connection.clone(), "server"),
            info(connection.clone(), "cluster"),
            time(connection.clone(), reference)
        );
        check_info(&format!("{}{}", server?, cluster?))?;
        Ok(Self { connection, clock: Arc::new(Mutex::new(clock?)) })
    }
}

/// What the server says about itself; empty where `INFO` is forbidden, renamed or switched off. It is only needed for a
/// clear message: later answers (`MOVED`, `CROSSSLOT`) show the same less clearly.
async fn info(mut connection: MultiplexedConnection, section: &str) -> Result<String, Error> {
    let mut command = redis::cmd("INFO");
    command.arg(section);
    match command.query_async(&mut connection).await.map_err(|error| Error::answer(error, |_| refusable(&command))) {
        Err(error) if error.is_about_the_command() => Ok(String::new()),
        answer => answer,
    }
}

/// The server's clock, which the reference time takes into account.
async fn time(mut connection: MultiplexedConnection, reference: &ReferenceClock) -> Result<RedisClock, Error> {
    let command = redis::cmd("TIME");
    let answer = command.query_async(&mut connection).await;
    let (seconds, micros): (i64, i64) = answer.map_err(|error| Error::answer(error, |_| refusable(&command)))?;
    let (time, received) = (seconds.saturating_mul(1_000_000).saturating_add(micros), clock::monotonic());
    reference.read_redis(redis_clock::time(time), received);
    Ok(RedisClock::measured(time, received))
}

/// What a server says to a new client before it is asked anything: only a refusal. Not over TLS, where it cannot.
async fn greeting(address: &ConnectionAddr) -> Option<Error> {
    let listen = async {
        match address {
            ConnectionAddr::Tcp(host, port) => refusal(TcpStream::connect((host.as_str(), *port)).await.ok()?).await,
            ConnectionAddr::Unix(path) => refusal(UnixStream::connect(path).await.ok()?).await,
            _ => None,
        }
    };
    tokio::time::timeout(GREETING_LIMIT, listen).await.ok().flatten()
}

async fn refusal(mut stream: impl AsyncRead + Unpin) -> Option<Error> {
    let mut line = [0; 128];
    let read = stream.read(&mut line).await.ok()?;
    let text = String::from_utf8_lossy(line.get(..read)?).into_owned();
    let (code, words) = text.strip_prefix('-')?.split_once(' ')?;
    match Error::from_words(code, words) {
        error @ (Error::TooManyClients | Error::ProtectedMode | Error::Loading) => Some(error),
        _ => None,
    }
}

/// Checks the answer of `INFO`. Valkey reports the version of Redis that it is compatible with besides its own.
fn check_info(report: &str) -> Result<(), Error> {
    let field = |name: &str| {
        report.lines().find_map(|line| line.split_once(':').filter(|(key, _)| *key == name).map(|(_, v)| v.trim()))
    };
    let mode = field("redis_mode").or_else(|| field("server_mode"));
    if field("cluster_enabled") == Some("1") || mode == Some("cluster") {
        return Err(Error::ClusterRefused);
    }
    if mode == Some("sentinel") {
        return Err(Error::SentinelRefused);
    }
    let Some(version) = field("redis_version") else { return Ok(()) };
    let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < (6, 2) => {
            let plain = |c: &char| c.is_ascii_digit() || *c == '.';
            Err(Error::TooOld { found: version.chars().filter(plain).take(20).collect() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_cannot_work_are_refused() {
        assert_eq!(check_info("# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n"), Ok(()));
        assert_eq!(check_info("redis_version:6.2.0\r\n"), Ok(()));
        assert_eq!(check_info("redis_version:7.2.4\r\nserver_name:valkey\r\nserver_mode:standalone\r\n"), Ok(()));
        assert_eq!(check_info(""), Ok(()));
        assert_eq!(check_info("redis_version:6.0.16\r\n"), Err(Error::TooOld { found: "6.0.16".into() }));
        assert_eq!(check_info("redis_version:5.0\r\n"), Err(Error::TooOld { found: "5.0".into() }));
        assert_eq!(check_info("redis_version:7.0.0\r\nredis_mode:cluster\r\n"), Err(Error::ClusterRefused));
        assert_eq!(check_info("redis_version:7.2.4\r\n# Cluster\r\ncluster_enabled:1\r\n"), Err(Error::ClusterRefused));
        assert_eq!(check_info("redis_version:7.0.0\r\nredis_mode:sentinel\r\n"), Err(Error::SentinelRefused));
    }
}
