//! The only room that reads a clock. Adapters and the loop ask here; pure modules are given what was read.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::model::{Monotonic, UnixTime};

/// The wall clock: for people, for timestamps and beside what others wrote with theirs. Never for leadership.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the room")]
pub fn now() -> UnixTime {
    UnixTime::from(jiff::Timestamp::now())
}

/// The clock for leases and silences: `CLOCK_BOOTTIME`, which counts suspension.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the room")]
pub fn monotonic() -> Monotonic {
    let read = clock_gettime(ClockId::Boottime);
    let since_boot = Duration::new(read.tv_sec.try_into().unwrap_or(0), read.tv_nsec.try_into().unwrap_or(0));
    Monotonic::at(since_boot)
}
