//! The time on Redis' clock, as far as this process can know it. Pure.
//!
//! It makes the not-after moment of a script. Redis compares that with its own clock, so it must be expressed on that
//! clock: otherwise a publication that was delayed on its way could arrive after a newer one of the same term, and undo
//! it.

use std::time::Duration;

use crate::model::{Monotonic, UnixTime};

/// After this time a newer estimate replaces a better one: two clocks drift apart by up to 100 µs a second.
const TRUSTED: Duration = Duration::from_mins(1);

/// Redis' clock minus ours, never more than the true difference when an answer was last received.
///
/// Redis read its clock at some moment between sending and receipt. Assuming the moment of receipt gives the *lowest*
/// possible difference, and so a not-after moment that is never later than intended: the error can make Redis refuse a
/// call that was in time (it is sent again), but never accept a late one. The error is at most the duration of the call
/// that was measured, so the quickest call of the last minute is kept, unless a newer one proves that Redis' clock was
/// set back since.
#[derive(Clone, Copy, Debug)]
pub(super) struct RedisClock {
    /// Redis' microseconds since the epoch minus our monotonic microseconds.
    difference: i64,
    taken: Monotonic,
}

impl RedisClock {
    /// The first measurement on a connection.
    pub(super) fn measured(redis_micros: i64, received: Monotonic) -> Self {
        Self { difference: redis_micros.saturating_sub(micros(received)), taken: received }
    }

    pub(super) fn update(&mut self, redis_micros: i64, sent: Monotonic, received: Monotonic) {
        let newer = Self::measured(redis_micros, received);
        let highest_possible = redis_micros.saturating_sub(micros(sent));
        let set_back = self.difference > highest_possible;
        if newer.difference >= self.difference || set_back || received.since(self.taken) > TRUSTED {
            *self = newer;
        }
    }

    /// A moment of our clock, in microseconds of Redis' clock.
    pub(super) fn at(&self, moment: Monotonic) -> i64 {
        self.difference.saturating_add(micros(moment))
    }
}

/// The time that Redis showed.
pub(super) fn time(redis_micros: i64) -> UnixTime {
    UnixTime::EPOCH.after(Duration::from_micros(redis_micros.max(0).unsigned_abs()))
}

fn micros(moment: Monotonic) -> i64 {
    i64::try_from(moment.nanos() / 1_000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(number: u64) -> Monotonic {
        Monotonic::at(Duration::from_millis(number))
    }

    /// Redis' clock is 1,000,000 ms ahead of ours in these tests.
    fn redis(our_ms: i64) -> i64 {
        (our_ms + 1_000_000) * 1_000
    }

    #[test]
    fn the_estimate_is_never_later_than_the_truth() {
        // Sent at 10, read by Redis at 12, received at 30: the truth is somewhere in between.
        let clock = RedisClock::measured(redis(12), ms(30));
        assert!(clock.at(ms(100)) <= redis(100));
        assert_eq!(clock.at(ms(100)), redis(100 - 18));
    }

    #[test]
    fn the_quickest_answer_is_kept() {
        let mut clock = RedisClock::measured(redis(12), ms(30));
        clock.update(redis(41), ms(40), ms(42));
        assert_eq!(clock.at(ms(100)), redis(99));
        clock.update(redis(55), ms(50), ms(500));
        assert_eq!(clock.at(ms(600)), redis(599), "a slow answer changes nothing");
    }

    #[test]
    fn a_change_of_redis_clock_is_followed() {
        let mut back = RedisClock::measured(redis(10), ms(10));
        back.update(redis(20) - 5_000_000, ms(19), ms(21));
        assert!(back.at(ms(30)) <= redis(30) - 5_000_000);
        let mut forward = RedisClock::measured(redis(10), ms(10));
        forward.update(redis(20) + 5_000_000, ms(20), ms(20));
        assert_eq!(forward.at(ms(30)), redis(30) + 5_000_000);
    }

    #[test]
    fn an_old_estimate_is_replaced() {
        let mut clock = RedisClock::measured(redis(10), ms(10));
        clock.update(redis(70_000), ms(69_999), ms(70_020));
        assert_eq!(clock.at(ms(80_000)), redis(79_980));
    }
}
