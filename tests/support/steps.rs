//! Counts what a process does to the outside, and lets it go so far and no further: to kill it at a chosen point.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// The steps of one process, over all proxies that it goes through.
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
    /// One step; waits while it is beyond the limit.
    pub async fn take(&self) {
        let number = self.taken.fetch_add(1, Ordering::SeqCst) + 1;
        self.limit.subscribe().wait_for(|limit| number <= *limit).await.ok();
    }

    /// How many were begun.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// So many more, and no further.
    pub fn allow(&self, further: usize) {
        self.limit.send_replace(self.taken() + further);
    }

    /// Whether one waits at the limit.
    pub fn stuck(&self) -> bool {
        self.taken() > *self.limit.borrow()
    }

    /// No limit any more.
    pub fn free(&self) {
        self.limit.send_replace(usize::MAX);
    }
}
