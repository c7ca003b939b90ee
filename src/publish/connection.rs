//! One connection to Redis, opened when it is needed and dropped when it may be broken.
//!
//! In: a command, and how long it may take, connecting included. Out: the answer or an [`Error`]. Nothing is sent
//! twice: after a lost answer only the caller can know whether a second try is harmless. The exception is a script that
//! Redis does not know (`NOSCRIPT`), because then nothing has run.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, ServerErrorKind, Value};
use tokio::sync::Mutex as AsyncMutex;

use super::error::Error;
use super::keys::Keys;
use super::locked;
use super::redis_clock::RedisClock;
use super::script::{self, Call};
use super::settings::RedisAccess;
use crate::clock;
use crate::model::Monotonic;

/// A connection that is opened again when it was dropped. All calls may be made at the same time.
#[derive(Debug)]
pub(super) struct Link {
    access: RedisAccess,
    open: Mutex<Option<Open>>,
    /// One call at a time connects; the others wait for its result.
    connecting: AsyncMutex<()>,
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
        Self { access, open: Mutex::new(None), connecting: AsyncMutex::new(()) }
    }

    /// The keys to use at this Redis.
    pub(super) const fn keys(&self) -> &Keys {
        &self.access.keys
    }

    /// Runs one command.
    pub(super) async fn query<T: FromRedisValue>(&self, limit: Duration, command: &Cmd) -> Result<T, Error> {
        self.bounded(limit, |mut open| async move { Ok(command.query_async(&mut open.connection).await?) }).await
    }

    /// A part of a set's members, about as many as requested, and the cursor of the next part; 0 after the last one. `None`
    /// if the key is of a wrong type.
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

    /// Runs commands in one round trip, not atomically. Returns the first error, and no answers.
    pub(super) async fn send(&self, limit: Duration, pipeline: &Pipeline) -> Result<(), Error> {
        self.bounded(limit, |mut open| async move { Ok(pipeline.exec_async(&mut open.connection).await?) }).await
    }

    /// Runs commands in one transaction and returns their answers, or the first error.
    pub(super) async fn view<T: FromRedisValue>(&self, limit: Duration, commands: &Pipeline) -> Result<T, Error> {
        self.bounded(limit, |mut open| async move { Ok(commands.query_async(&mut open.connection).await?) }).await
    }

    /// Runs a script, which must do nothing once `limit` has passed by Redis' clock.
    pub(super) async fn run(&self, limit: Duration, call: &Call) -> Result<Vec<Value>, Error> {
        // Counted from before the connection is opened, as the time-out is.
        let deadline = clock::monotonic().after(limit);
        self.bounded(limit, |mut open| async move { open.run(call, deadline).await }).await
    }

    /// Connects if necessary, acts, and drops the connection after an error that may have broken it: one that does not
    /// answer would delay every later call, and the answer to an abandoned call may still arrive.
    async fn bounded<T, F>(&self, limit: Duration, act: impl FnOnce(Open) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut used = None;
        let whole = async {
            let open = self.connected().await?;
            used = Some(Arc::clone(&open.clock));
            act(open).await
        };
        let result = tokio::time::timeout(limit, whole).await.unwrap_or(Err(Error::TimedOut));
        if let (Err(error), Some(used)) = (&result, used)
            && !error.spares_connection()
        {
            // Only this one: another call may have replaced it meanwhile.
            locked(&self.open).take_if(|open| Arc::ptr_eq(&open.clock, &used));
        }
        result
    }

    async fn connected(&self) -> Result<Open, Error> {
        if let Some(open) = self.current() {
            return Ok(open);
        }
        let _turn = self.connecting.lock().await;
        if let Some(open) = self.current() {
            return Ok(open);
        }
        let open = Open::connect(&self.access).await?;
        *locked(&self.open) = Some(open.clone());
        Ok(open)
    }

    fn current(&self) -> Option<Open> {
        locked(&self.open).clone()
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

    async fn run(&mut self, call: &Call, deadline: Monotonic) -> Result<Vec<Value>, Error> {
        let sent = clock::monotonic();
        let not_after = locked(&self.clock).at(deadline);
        let by_hash: Result<Vec<Value>, RedisError> =
            call.command(true, not_after).query_async(&mut self.connection).await;
        let reply = match by_hash {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                call.command(false, not_after).query_async(&mut self.connection).await?
            }
            other => other?,
        };
        let received = clock::monotonic();
        if let Some(time) = script::time_of(&reply) {
            locked(&self.clock).update(time, sent, received);
        }
        Ok(reply)
    }
}

/// Refuses servers that cannot work. A user whose ACL does not allow `INFO` passes: later answers (`MOVED`, `CROSSSLOT`)
/// will show the same, only less clearly.
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
