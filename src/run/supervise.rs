//! Supervises the tasks, and the signals that end them.

use std::future::Future;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// The longest that stopping may take: half a second for writes in flight, and the release of the Lease.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What it means when a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It runs as long as the process. Its end is a fault, except after a stop.
    Forever,
    /// It ends when its work is done.
    Once,
    /// Stopping waits for its end, and then only for the drained ones: the election, which releases the Lease.
    Last,
    /// It answers requests: stopping waits a short time for its end, after that of the last one.
    Drained,
    /// Its end ends the process at once: the second signal.
    AtOnce,
}

type Ended = (&'static str, Role, anyhow::Result<()>);

/// How long requests in flight may take when everything else has ended: a call to Redis takes up to one second, one to
/// the API server up to three.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);

/// All tasks of the process. Dropping this value ends them.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<Ended>,
    /// How many tasks are to be drained.
    drained: usize,
}

impl Tasks {
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

    /// Waits until the process has to end: because a task ended, which is a fault, or, after a stop, because the last
    /// one did.
    pub(super) async fn supervise(mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        loop {
            let joined = if stop.is_cancelled() {
                match tokio::time::timeout(STOP_LIMIT, self.running.join_next()).await {
                    Ok(joined) => joined,
                    Err(_) => {
                        bail!("stopping took more than {STOP_LIMIT:?}: the Lease is not released and has to expire")
                    }
                }
            } else {
                tokio::select! {
                    joined = self.running.join_next() => joined,
                    () = stop.cancelled() => continue,
                }
            };
            match joined {
                None => return Ok(()),
                Some(Err(error)) => return Err(anyhow!("a task panicked: {error}")),
                Some(Ok((name, _, Err(error)))) => return Err(error.context(format!("the task {name} failed"))),
                Some(Ok((_, role @ (Role::Last | Role::AtOnce), Ok(())))) if stop.is_cancelled() => {
                    if role == Role::Last {
                        // Requests that take longer are dropped with their connections.
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

    /// Waits until the last drained task has ended, or a second signal has come.
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

/// The first signal stops the process in order; the second ends this task, and with it the process, at once.
pub(super) async fn signals(stop: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for last in [false, true] {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        info!(signal = name, "{}", if last { "second signal: stopping at once" } else { "stopping" });
        stop.cancel();
    }
    Ok(())
}
