//! One connection to Redis, opened when it is needed and dropped when it may be broken.
//!
//! Nothing is sent twice: after a lost answer only the caller can know whether a second try is harmless. The exception
//! is a script that Redis does not know (`NOSCRIPT`), because then nothing has run.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, ServerErrorKind, Value};
use tokio::sync::OnceCell;

use super::error::Error;
use super::keys::Keys;
use super::locked;
use super::redis_clock::RedisClock;
use super::settings::RedisAccess;
use crate::clock;

/// A connection that is opened again when it was dropped. All calls may be made at the same time.
#[derive(Debug)]
pub(super) struct Link {
    access: RedisAccess,
    /// Replaced by an empty cell to drop the connection. One call at a time connects; the others wait for its result.
    open: Mutex<Arc<OnceCell<Open>>>,
}

/// An open connection to a server that passed the checks.
#[derive(Clone, Debug)]
struct Open {
    connection: MultiplexedConnection,
    /// Per connection, because after a failover the same name may lead to another clock.
    clock: Arc<Mutex<RedisClock>>,
}

impl Link {
    pub(super) fn new(access: RedisAccess) -> Self {
        Self { access, open: Mutex::default() }
    }

    pub(super) const fn keys(&self) -> &Keys {
        &self.access.keys
    }

    pub(super) async fn query<T: FromRedisValue>(&self, limit: Duration, command: &Cmd) -> Result<T, Error> {
        self.bounded(limit, |mut open| async move { Ok(command.query_async(&mut open.connection).await?) }).await
    }

    /// Runs commands in one round trip and returns their answers, or the first error.
    pub(super) async fn query_all<T: FromRedisValue>(&self, limit: Duration, commands: &Pipeline) -> Result<T, Error> {
        self.bounded(limit, |mut open| async move { Ok(commands.query_async(&mut open.connection).await?) }).await
    }

    /// A part of a set's members, about as many as requested, and the cursor of the next part; 0 after the last one.
    /// `None` if the key is of a wrong type.
    pub(super) async fn scan(
        &self,
        limit: Duration,
        key: &str,
        cursor: u64,
        count: usize,
    ) -> Result<Option<(u64, Vec<Vec<u8>>)>, Error> {
        match self.query(limit, redis::cmd("SSCAN").arg(key).arg(cursor).arg("COUNT").arg(count)).await {
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
        self.bounded(limit, |mut open| async move {
            let sent = clock::monotonic();
            let not_after = locked(&open.clock).at(deadline);
            let command = |name, script: &str| {
                redis::cmd(name).arg(script).arg(keys.len()).arg(keys).arg(not_after).arg(args).to_owned()
            };
            let by_hash = command("EVALSHA", redis::Script::new(script).get_hash());
            let reply: Vec<Value> = match by_hash.query_async(&mut open.connection).await {
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    command("EVAL", script).query_async(&mut open.connection).await?
                }
                reply => reply?,
            };
            if let [_, Value::Int(time), ..] = *reply {
                locked(&open.clock).update(time, sent, clock::monotonic());
            }
            Ok(reply)
        })
        .await
    }

    /// Connects if necessary, acts, and drops the connection after an error that may have broken it: one that does not
    /// answer would delay every later call, and the answer to an abandoned call may still arrive.
    async fn bounded<T, F>(&self, limit: Duration, act: impl FnOnce(Open) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let cell = Arc::clone(&locked(&self.open));
        let whole = async { act(cell.get_or_try_init(|| Open::connect(&self.access)).await?.clone()).await };
        let result = tokio::time::timeout(limit, whole).await.unwrap_or(Err(Error::TimedOut));
        if let Err(error) = &result
            && cell.initialized()
            && !error.spares_connection()
        {
            let mut open = locked(&self.open);
            // Only this one: another call may have replaced it meanwhile.
            if Arc::ptr_eq(&open, &cell) {
                *open = Arc::default();
            }
        }
        result
    }
}

impl Open {
    async fn connect(access: &RedisAccess) -> Result<Self, Error> {
        let client = access.client().await?;
        // The caller's limit covers everything; the client's own limits would cut it short.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        check_server(&mut connection).await?;
        let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await?;
        let first = RedisClock::measured(seconds.saturating_mul(1_000_000).saturating_add(micros), clock::monotonic());
        Ok(Self { connection, clock: Arc::new(Mutex::new(first)) })
    }
}

/// Refuses servers that cannot work. A user whose ACL does not allow `INFO` passes: later answers (`MOVED`,
/// `CROSSSLOT`) will show the same, only less clearly.
async fn check_server(connection: &mut MultiplexedConnection) -> Result<(), Error> {
    let mut report = String::new();
    for section in ["server", "cluster"] {
        match redis::cmd("INFO").arg(section).query_async::<String>(connection).await.map_err(Error::from) {
            Ok(text) => report.push_str(&text),
            Err(Error::NoPermission) => {}
            Err(error) => return Err(error),
        }
    }
    check_info(&report)
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
