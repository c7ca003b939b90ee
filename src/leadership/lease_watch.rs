//! A standby's watch on the Lease, so that it acquires a released Lease at once. IO.
//!
//! The watch is only a hint: the regular reads find whatever it misses. Without the permission to `watch` a standby is
//! slower, but correct.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;

use super::client::{LeaseChange, LeaseClient};
use crate::model::Monotonic;

/// The longest pause between two attempts to watch.
const MAX_PAUSE: Duration = Duration::from_mins(1);

/// A watch that is opened again after a pause, which doubles with every attempt that reports nothing.
pub(super) struct LeaseWatch {
    changes: Option<BoxStream<'static, LeaseChange>>,
    min_pause: Duration,
    pause: Duration,
    not_before: Option<Monotonic>,
}

impl LeaseWatch {
    pub(super) const fn new(min_pause: Duration) -> Self {
        Self { changes: None, min_pause, pause: min_pause, not_before: None }
    }

    /// Opens the watch after this resourceVersion, unless it is open or the pause has not passed. The request is sent
    /// by [`Self::next`].
    pub(super) fn ensure_open(&mut self, client: &LeaseClient, version: &str, now: Monotonic) {
        if self.changes.is_some() || self.not_before.is_some_and(|not_before| now < not_before) {
            return;
        }
        self.changes = Some(client.watch(version));
        self.not_before = Some(now.after(self.pause));
        self.pause = (self.pause * 2).min(MAX_PAUSE);
    }

    pub(super) fn close(&mut self) {
        self.changes = None;
    }

    /// The next change; pending while the watch is closed. `None` or an error means that the watch has ended. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<LeaseChange> {
        let Some(changes) = &mut self.changes else { return std::future::pending().await };
        let change = changes.next().await;
        if matches!(change, Some(Ok(_))) {
            self.pause = self.min_pause;
        } else {
            self.changes = None;
        }
        change
    }
}
