//! The reference time, in which uses are dated and ranked (`docs/contract.md#clocks`). Pure but for the lock around it.
//!
//! The wall clock of this machine may be wrong, and a use that is stored at a wrong time stays wrong: the latest one
//! counts, and the next leader inherits it. So the time is that of a majority of three: the API server, Redis, and the
//! workers together. Between two readings it is carried on by the monotonic clock. No majority is needed for two
//! clocks that agree; if two of them differ, the API server is right.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::clocks::{ClockName, ClockSkew};
use crate::model::{EndpointId, Monotonic, UnixTime};

/// A reading that is older does not count: the clock may have been set since.
const FRESH: Duration = Duration::from_mins(10);
/// The reference is not moved by less than this: readings of the API server are in whole seconds.
const STEP_SECONDS: f64 = 1.0;

/// The reference time of this process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ReferenceClock(Arc<Mutex<Readings>>);

/// A clock minus the monotonic clock, in seconds.
type Offset = f64;

#[derive(Debug, Default)]
struct Readings {
    api_server: Option<(Offset, Monotonic)>,
    redis: Option<(Offset, Monotonic)>,
    /// Those of the last collection, and when it ended.
    workers: Option<(Vec<(EndpointId, Offset)>, Monotonic)>,
    /// The reference minus the monotonic clock.
    reference: Option<Offset>,
}

/// What a clock showed, as its difference to the monotonic clock at that moment.
pub fn offset(reading: UnixTime, at: Monotonic) -> f64 {
    reading.seconds() - since_boot(at)
}

impl ReferenceClock {
    /// The `Date` of an answer of the API server, which has whole seconds.
    pub fn read_api_server(&self, date: UnixTime, at: Monotonic) {
        self.with(|readings| {
            readings.api_server = Some((offset(date, at) + 0.5, at));
            readings.begin(at);
        });
    }

    /// Redis' `TIME`.
    pub fn read_redis(&self, time: UnixTime, at: Monotonic) {
        self.with(|readings| {
            readings.redis = Some((offset(time, at), at));
            readings.begin(at);
        });
    }

    /// The clocks of the workers that answered a collection which has just ended, as [`offset`] gives them.
    pub fn read_workers(&self, workers: Vec<(EndpointId, f64)>, at: Monotonic) {
        self.with(|readings| readings.workers = Some((workers, at)));
    }

    /// Moves the reference to where the clocks are now. Between two calls it never jumps.
    pub fn settle(&self, now: Monotonic) {
        self.with(|readings| readings.settle(now));
    }

    /// Sets the reference to where the clocks are now, however little that moves it. For the beginning of a leadership,
    /// when nothing is dated yet.
    pub fn settle_exactly(&self, now: Monotonic) {
        self.with(|readings| readings.reference = readings.agreed(now).or(readings.reference));
    }

    /// The reference time at a moment; `None` before the first reading of any clock.
    pub fn at(&self, moment: Monotonic) -> Option<UnixTime> {
        self.with(|readings| UnixTime::from_seconds(readings.reference? + since_boot(moment)))
    }

    /// How far each clock is off, those of workers last. `own`: the wall clock at that moment.
    pub fn skews(&self, own: UnixTime, now: Monotonic) -> Vec<ClockSkew> {
        self.with(|readings| readings.skews(offset(own, now), now))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Readings) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Readings {
    /// The first reading is the reference until the first [`Self::settle`].
    fn begin(&mut self, now: Monotonic) {
        if self.reference.is_none() {
            self.settle(now);
        }
    }

    fn settle(&mut self, now: Monotonic) {
        if let Some(agreed) = self.agreed(now)
            && self.reference.is_none_or(|reference| (agreed - reference).abs() > STEP_SECONDS)
        {
            self.reference = Some(agreed);
        }
    }

    /// The median of three; of two the API server's. A clock that agrees with the API server, which has whole seconds
    /// only, is the exact one.
    fn agreed(&self, now: Monotonic) -> Option<Offset> {
        let (api_server, redis) = (fresh(self.api_server, now), fresh(self.redis, now));
        let workers = self.workers_together(now);
        let mut votes: Vec<Offset> = [api_server, redis, workers].into_iter().flatten().collect();
        votes.sort_by(f64::total_cmp);
        let agreed = match *votes {
            [_, middle, _] => middle,
            [only] => only,
            _ => api_server.or_else(|| votes.first().copied())?,
        };
        let exact = redis.or(workers);
        Some(exact.filter(|exact| (exact - agreed).abs() <= STEP_SECONDS).unwrap_or(agreed))
    }

    /// The median of the workers: one of them alone decides nothing.
    fn workers_together(&self, now: Monotonic) -> Option<Offset> {
        let mut offsets: Vec<Offset> = self.workers(now).iter().map(|(_, offset)| *offset).collect();
        let middle = offsets.len().checked_sub(1)? / 2;
        Some(*offsets.select_nth_unstable_by(middle, f64::total_cmp).1)
    }

    fn workers(&self, now: Monotonic) -> &[(EndpointId, Offset)] {
        self.workers.as_ref().filter(|(_, taken)| now.since(*taken) <= FRESH).map_or(&[], |(workers, _)| workers)
    }

    fn skews(&self, own: Offset, now: Monotonic) -> Vec<ClockSkew> {
        let Some(reference) = self.reference else { return Vec::new() };
        let servers = [
            (ClockName::Operator, Some(own)),
            (ClockName::ApiServer, fresh(self.api_server, now)),
            (ClockName::Redis, fresh(self.redis, now)),
        ];
        let servers = servers.into_iter().filter_map(|(clock, offset)| Some((clock, offset?)));
        let workers = self.workers(now).iter().map(|(endpoint, offset)| (ClockName::Worker(endpoint.clone()), *offset));
        servers.chain(workers).map(|(clock, offset)| ClockSkew { clock, seconds: offset - reference }).collect()
    }
}

fn fresh(reading: Option<(Offset, Monotonic)>, now: Monotonic) -> Option<Offset> {
    reading.filter(|(_, taken)| now.since(*taken) <= FRESH).map(|(offset, _)| offset)
}

fn since_boot(moment: Monotonic) -> f64 {
    moment.since(Monotonic::at(Duration::ZERO)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: f64 = 3600.0;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::at(Duration::from_secs(seconds))
    }

    /// What a clock shows that is off by so much, `seconds` after the boot at 1,000,000.
    fn shown(seconds: u64, off: f64) -> UnixTime {
        UnixTime::from_seconds(1_000_000.0 + at(seconds).since(at(0)).as_secs_f64() + off).unwrap()
    }

    fn clock(api_server: Option<f64>, redis: Option<f64>, workers: &[f64]) -> ReferenceClock {
        let clock = ReferenceClock::default();
        set(&clock, 10, api_server, redis, workers);
        clock
    }

    fn set(clock: &ReferenceClock, now: u64, api_server: Option<f64>, redis: Option<f64>, workers: &[f64]) {
        if let Some(off) = api_server {
            // Whole seconds: half a second earlier in the mean.
            clock.read_api_server(shown(now, off - 0.5), at(now));
        }
        if let Some(off) = redis {
            clock.read_redis(shown(now, off), at(now));
        }
        let named = workers.iter().enumerate();
        clock.read_workers(
            named
                .map(|(n, off)| (EndpointId::new(&format!("http://{n}/")), offset(shown(now, *off), at(now))))
                .collect(),
            at(now),
        );
        clock.settle(at(now));
    }

    /// How many seconds the reference is off at that moment.
    #[expect(clippy::cast_possible_truncation, reason = "an hour at the most")]
    fn off(clock: &ReferenceClock, now: u64) -> i64 {
        (clock.at(at(now)).unwrap().seconds() - shown(now, 0.0).seconds()).round() as i64
    }

    #[test]
    fn one_wrong_clock_of_three_moves_nothing() {
        for wrong in [HOUR, -HOUR, 120.0, -120.0] {
            assert_eq!(off(&clock(Some(wrong), Some(0.0), &[0.0]), 10), 0);
            assert_eq!(off(&clock(Some(0.0), Some(wrong), &[0.0]), 10), 0);
            assert_eq!(off(&clock(Some(0.0), Some(0.0), &[wrong]), 10), 0);
            assert_eq!(off(&clock(Some(0.0), Some(0.0), &[wrong, wrong, wrong]), 10), 0);
            assert_eq!(off(&clock(Some(0.0), None, &[wrong, 0.0, 0.0]), 10), 0);
        }
    }

    #[test]
    fn of_two_clocks_that_differ_the_api_server_is_right() {
        assert_eq!(off(&clock(Some(0.0), Some(HOUR), &[]), 10), 0);
        assert_eq!(off(&clock(Some(0.0), None, &[-HOUR]), 10), 0);
    }

    #[test]
    fn a_clock_that_agrees_with_the_whole_seconds_of_the_api_server_is_the_exact_one() {
        let seconds = |clock: &ReferenceClock| clock.at(at(20)).unwrap().seconds() - shown(20, 0.0).seconds();
        let clock = clock(Some(0.4), None, &[]);
        clock.read_redis(shown(20, -0.2), at(20));
        clock.settle(at(20));
        assert!((seconds(&clock) - 0.4).abs() < 0.001, "uses are dated by it already");
        clock.settle_exactly(at(20));
        assert!((seconds(&clock) + 0.2).abs() < 0.001);
        clock.read_redis(shown(20, HOUR), at(20));
        clock.settle_exactly(at(20));
        assert!((seconds(&clock) - 0.4).abs() < 0.001);
    }

    #[test]
    fn the_monotonic_clock_carries_the_reference_on() {
        let clock = clock(Some(0.0), None, &[]);
        assert_eq!(off(&clock, 100_000), 0);
        // Readings move it only when it settles, and not by the second that a `Date` is rounded to.
        clock.read_api_server(shown(20, HOUR), at(20));
        assert_eq!(off(&clock, 20), 0);
        set(&clock, 30, Some(0.9), None, &[]);
        assert_eq!(off(&clock, 30), 0);
        set(&clock, 40, Some(HOUR), None, &[]);
        assert_eq!(off(&clock, 40), 3600);
    }

    #[test]
    fn an_old_reading_does_not_count() {
        let clock = clock(None, Some(HOUR), &[]);
        set(&clock, 1_000, Some(0.0), None, &[]);
        assert_eq!(off(&clock, 1_000), 0);
        // Those of the workers neither: this replica led long ago.
        set(&clock, 2_000, None, None, &[HOUR]);
        clock.read_api_server(shown(2_900, -0.5), at(2_900));
        clock.read_redis(shown(2_900, -120.0), at(2_900));
        clock.settle(at(2_900));
        assert_eq!(off(&clock, 2_900), 0);
        let skews = clock.skews(shown(2_900, 0.0), at(2_900));
        assert_eq!(skews.iter().filter(|skew| skew.is_too_much()).count(), 1);
    }

    #[test]
    fn without_a_reading_there_is_no_reference() {
        let clock = ReferenceClock::default();
        clock.settle(at(5));
        assert_eq!(clock.at(at(5)), None);
        assert_eq!(clock.skews(shown(5, 0.0), at(5)), []);
    }

    #[test]
    fn clocks_that_differ_are_named() {
        let clock = clock(Some(0.0), Some(-120.0), &[0.0, HOUR, 4.0]);
        let skews = clock.skews(shown(10, 30.0), at(10));
        let skewed = skews.iter().filter(|skew| skew.is_too_much());
        let named: Vec<_> = skewed.map(|skew| (skew.clock.to_string(), skew.seconds)).collect();
        assert_eq!(
            named,
            [("operator".to_owned(), 30.0), ("redis".to_owned(), -120.0), ("worker http://1/".to_owned(), HOUR)]
        );
    }
}
