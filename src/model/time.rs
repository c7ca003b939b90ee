//! Points in time on the wall clock and on the monotonic clock. Pure: [`crate::clock`] reads the clocks.

use std::cmp::Ordering;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use jiff::Timestamp;

/// Seconds since 1970-01-01T00:00:00Z, with fractions; always finite, so it has a total order.
///
/// A float, because workers report floats and Redis stores them: two different times stay different, and a time is
/// published exactly as it was reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnixTime {
    /// The inverted bits of the seconds. No finite number has bits that are all set, so an absent time needs no space
    /// of its own, and a large fleet has many times.
    inverted: NonZeroU64,
}

impl UnixTime {
    /// The epoch itself.
    pub const EPOCH: Self = Self { inverted: NonZeroU64::MAX };

    /// The time at this many seconds; `None` for NaN and the infinities.
    pub fn from_seconds(seconds: f64) -> Option<Self> {
        // Adding zero turns -0.0 into 0.0, so that equality and the total order agree.
        let inverted = NonZeroU64::new(!(seconds + 0.0).to_bits())?;
        seconds.is_finite().then_some(Self { inverted })
    }

    /// Seconds since the epoch.
    pub const fn seconds(self) -> f64 {
        f64::from_bits(!self.inverted.get())
    }

    /// Whole seconds since the epoch, rounded down: the resolution of Kubernetes times.
    pub fn whole_seconds(self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, as it should")]
        let whole = self.seconds().floor() as i64;
        whole
    }

    /// This time, rounded up to a whole second. For display: a poll at exactly this time must not come too early.
    pub fn rounded_up(self) -> Self {
        Self::from_seconds(self.seconds().ceil()).unwrap_or(self)
    }

    /// The time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::try_from_secs_f64(self.seconds() - earlier.seconds()).unwrap_or(Duration::ZERO)
    }

    /// This time plus a number of seconds, which may be negative.
    pub fn shifted(self, seconds: f64) -> Self {
        Self::from_seconds(self.seconds() + seconds).unwrap_or(self)
    }

    /// This time plus a duration.
    pub fn after(self, duration: Duration) -> Self {
        self.shifted(duration.as_secs_f64())
    }

    /// The calendar time in whole seconds, as in a status. A time outside of the calendar becomes the nearest one in
    /// it.
    pub fn timestamp(self) -> Timestamp {
        let limit = if self.seconds() < 0.0 { Timestamp::MIN } else { Timestamp::MAX };
        Timestamp::from_second(self.whole_seconds()).unwrap_or(limit)
    }
}

impl From<Timestamp> for UnixTime {
    fn from(timestamp: Timestamp) -> Self {
        Self::from_seconds(timestamp.as_duration().as_secs_f64()).unwrap_or(Self::EPOCH)
    }
}

impl PartialOrd for UnixTime {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for UnixTime {
    fn cmp(&self, other: &Self) -> Ordering {
        self.seconds().total_cmp(&other.seconds())
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UnixTime").field(&self.seconds()).finish()
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.timestamp().fmt(f)
    }
}

/// A reading of a clock that cannot be set and also counts while the machine is suspended. Leases and silent endpoints
/// are judged by it. Read by [`crate::clock::monotonic`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// The reading at a time after the start of the clock.
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// This reading plus a duration.
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// The time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Nanoseconds since the start of the clock, for an atomic.
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Monotonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "+{:?}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> UnixTime {
        UnixTime::from_seconds(seconds).unwrap()
    }

    #[test]
    fn only_finite_numbers_are_times() {
        assert!(UnixTime::from_seconds(f64::NAN).is_none());
        assert!(UnixTime::from_seconds(f64::INFINITY).is_none());
        assert_eq!(at(-0.0).cmp(&at(0.0)), Ordering::Equal);
        for seconds in [0.0, -1.5, 1_763_800_090.875, f64::MAX, f64::MIN, f64::MIN_POSITIVE] {
            assert_eq!(at(seconds).seconds().to_bits(), seconds.to_bits());
        }
        assert_eq!((UnixTime::EPOCH, size_of::<Option<UnixTime>>()), (at(0.0), 8));
    }

    #[test]
    fn times_are_printed_in_whole_seconds() {
        assert_eq!(at(1_763_800_090.875).to_string(), "2025-11-22T08:28:10Z");
        assert_eq!(at(0.0).to_string(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn differences_are_never_negative() {
        assert_eq!(at(10.5).since(at(8.0)), Duration::from_millis(2500));
        assert_eq!(at(8.0).since(at(10.5)), Duration::ZERO);
    }

    #[test]
    fn times_outside_of_the_calendar_become_the_nearest_one() {
        assert_eq!(at(1e300).timestamp(), Timestamp::MAX);
        assert_eq!(at(-1e300).timestamp(), Timestamp::MIN);
    }
}
