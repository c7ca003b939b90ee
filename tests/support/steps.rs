//! Counts the requests of a process and stops it after a given number, so that a test can kill it at a chosen point.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// The steps of one process, over all its proxies.
pub struct Steps {
    taken: AtomicUsize,
    limit: watch::Sender<usize>,
}

impl Default for Steps {
    fn default() -> Self {
        Self { taken: AtomicUsize::new(0), limit: watch::Sender::new(usize::MAX) }
    }
}

impl Steps {
    /// Takes one step. Waits while it is beyond the limit.
    pub async fn take(&self) {
        let number = self.taken.fetch_add(1, Ordering::SeqCst) + 1;
        self.limit.subscribe().wait_for(|limit| number <= *limit).await.ok();
    }

    /// How many steps were begun.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// Allows this many further steps.
    pub fn allow(&self, further: usize) {
        self.limit.send_replace(self.taken() + further);
    }

    /// Whether a step waits at the limit.
    pub fn stuck(&self) -> bool {
        self.taken() > *self.limit.borrow()
    }

    /// Removes the limit.
    pub fn free(&self) {
        self.limit.send_replace(usize::MAX);
    }
}
