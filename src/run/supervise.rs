//! Watches over the tasks, and over the signals that end them.

use std::future::Future;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The longest that stopping may take: the election's half second for writes in flight, and its release of the Lease.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What the end of a task means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It runs as long as the process: its end is a fault, but after a stop.
    Forever,
    /// It has something to do and then ends.
    Once,
    /// Stopping waits for its end, and is done then but for what is drained: the election, which releases the Lease.
    Last,
    /// Stopping waits for its end as well, after that of the last one and not for long: it answers requests.
    Drained,
    /// Its end is the end at once: the second signal.
    AtOnce,
}

type Ended = (&'static str, Role, anyhow::Result<()>);

/// How long requests that have begun may take when everything else is done: a call to Redis takes one second, one to the
/// API server three.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// All tasks of the process. Dropping it ends them.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<Ended>,
    /// How many there are to be drained.
    drained: usize,
}

impl Tasks {
    /// Starts a task.
    pub(super) fn add(&mut self, name: &'static str, role: Role, task: impl Future<Output = ()> + Send + 'static) {
        self.add_fallible(name, role, task.map(Ok));
    }

    /// Starts a task that may fail.
    pub(super) fn add_fallible<F>(&mut self, name: &'static str, role: Role, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.drained += usize::from(role == Role::Drained);
        self.running.spawn(task.map(move |done| (name, role, done)));
    }

    /// Waits for the end of the process: of a task, which is a fault, or, after a stop, of the last one.
    pub(super) async fn supervise(mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        loop {
            let joined = if stop.is_cancelled() {
                match tokio::time::timeout(STOP_LIMIT, self.running.join_next()).await {
                    Ok(joined) => joined,
                    Err(_) => bail!("stopping took more than {STOP_LIMIT:?}; the Lease may have to expire"),
                }
            } else {
                tokio::select! {
                    joined = self.running.join_next() => joined,
                    () = stop.cancelled() => continue,
                }
            };
            match joined {
                None => return Ok(()),
                Some(Err(error)) => return Err(anyhow!("a task died: {error}")),
                Some(Ok((name, _, Err(error)))) => return Err(error.context(format!("the task {name} failed"))),
                Some(Ok((_, role @ (Role::Last | Role::AtOnce), Ok(())))) if stop.is_cancelled() => {
                    if role == Role::Last {
                        // What takes longer is dropped with its connection.
                        let _ = tokio::time::timeout(DRAIN_LIMIT, self.drain()).await;
                    }
                    info!("stopped");
                    return Ok(());
                }
                Some(Ok((_, Role::Drained, Ok(())))) if stop.is_cancelled() => self.drained -= 1,
                Some(Ok((_, role, Ok(())))) if role == Role::Once || stop.is_cancelled() => {}
                Some(Ok((name, _, Ok(())))) => bail!("the task {name} ended; the process ends with it"),
            }
        }
    }
}

impl Tasks {
    /// Until the last of those that answer requests has ended, or a second signal has come.
    async fn drain(&mut self) {
        while self.drained > 0 {
            match self.running.join_next().await {
                Some(Ok((_, Role::Drained, _))) => self.drained -= 1,
                Some(Ok((_, Role::AtOnce, _))) | None => return,
                Some(_) => {}
            }
        }
    }
}

/// The first signal stops; after the second this ends, and with it the process.
pub(super) async fn signals(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for last in [false, true] {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "{}", if last { "again: not waiting" } else { "stopping" });
        stop.cancel();
    }
    Ok(())
}
