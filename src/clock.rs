//! Reads the clocks. Adapters and the loop call it; pure modules get readings as arguments.

pub mod reference;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::model::{Monotonic, UnixTime};

/// The wall clock of this machine: for people only. Uses are dated by the time of [`mod@reference`].
#[expect(clippy::disallowed_methods, reason = "the wall clock is read here only")]
pub fn now() -> UnixTime {
    UnixTime::from(jiff::Timestamp::now())
}

/// The clock for leases and silent endpoints: `CLOCK_BOOTTIME`, which counts suspension.
#[expect(clippy::disallowed_methods, reason = "the monotonic clock is read here only")]
pub fn monotonic() -> Monotonic {
    let read = clock_gettime(ClockId::Boottime);
    let since_boot = Duration::new(read.tv_sec.try_into().unwrap_or(0), read.tv_nsec.try_into().unwrap_or(0));
    Monotonic::at(since_boot)
}
