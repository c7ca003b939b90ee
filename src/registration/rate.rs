//! When a request may be sent to `ContextForge`. Pure: times go in.
//!
//! `ContextForge` allows 100 requests a minute, for an address and for a user, and locks both out for 15 minutes at the
//! fifth 429 within 15 minutes. So requests have a constant distance, without bursts. After a 429 none is sent until
//! its Retry-After has passed, and of those that might still be answered with 429 there are never more than four.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Monotonic;

/// Requests in flight, and 429s remembered: one less than what locks out.
const MOST: usize = 4;
/// How long a 429 counts, with a margin for the clocks.
const WINDOW: Duration = Duration::from_secs(15 * 60 + 30);

/// The state of the one queue of requests.
#[derive(Clone, Debug)]
pub struct Rate {
    distance: Duration,
    /// When the next request may begin.
    next: Monotonic,
    in_flight: usize,
    /// When the latest 429s came, oldest first.
    refusals: VecDeque<Monotonic>,
}

/// What a request has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A time.
    Until(Monotonic),
    /// The end of a request in flight.
    Answer,
}

impl Rate {
    /// `per_minute`: `--contextforge-requests-per-minute`.
    pub fn new(per_minute: u32) -> Self {
        let distance = Duration::from_secs(60) / per_minute.max(1);
        Self { distance, next: Monotonic::at(Duration::ZERO), in_flight: 0, refusals: VecDeque::new() }
    }

    /// Begins a request, which [`Self::end`] must follow.
    ///
    /// # Errors
    /// What to wait for before the next try.
    pub fn begin(&mut self, now: Monotonic) -> Result<(), Wait> {
        while self.refusals.front().is_some_and(|time| now.since(*time) >= WINDOW) {
            self.refusals.pop_front();
        }
        match self.refusals.front() {
            _ if now < self.next => Err(Wait::Until(self.next)),
            Some(oldest) if self.refusals.len() >= MOST => Err(Wait::Until(oldest.after(WINDOW))),
            _ if self.in_flight + self.refusals.len() >= MOST => Err(Wait::Answer),
            _ => {
                self.in_flight += 1;
                self.next = now.after(self.distance);
                Ok(())
            }
        }
    }

    /// Ends a request. `limited`: the Retry-After of a 429.
    pub fn end(&mut self, now: Monotonic, limited: Option<Duration>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(retry_after) = limited {
            self.refusals.push_back(now);
            self.next = self.next.max(now.after(retry_after));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: f64) -> Monotonic {
        Monotonic::at(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn requests_have_a_constant_distance_also_after_a_pause() {
        let mut rate = Rate::new(60);
        assert_eq!(rate.begin(at(100.0)), Ok(()));
        assert_eq!(rate.begin(at(100.5)), Err(Wait::Until(at(101.0))));
        assert_eq!(rate.begin(at(101.0)), Ok(()));
        rate.end(at(101.1), None);
        assert_eq!(rate.begin(at(500.0)), Ok(()));
        assert_eq!(rate.begin(at(500.9)), Err(Wait::Until(at(501.0))));
    }

    #[test]
    fn four_are_in_flight_at_most() {
        let mut rate = Rate::new(60);
        for second in 0..4 {
            assert_eq!(rate.begin(at(f64::from(second))), Ok(()));
        }
        assert_eq!(rate.begin(at(9.0)), Err(Wait::Answer));
        rate.end(at(9.0), None);
        assert_eq!(rate.begin(at(9.0)), Ok(()));
    }

    #[test]
    fn a_429_stops_everything_and_a_lockout_too() {
        let mut rate = Rate::new(60);
        assert_eq!(rate.begin(at(0.0)), Ok(()));
        rate.end(at(0.5), Some(Duration::from_secs(60)));
        assert_eq!(rate.begin(at(60.0)), Err(Wait::Until(at(60.5))));
        assert_eq!(rate.begin(at(60.5)), Ok(()));
        rate.end(at(61.0), Some(Duration::from_secs(900)));
        assert_eq!(rate.begin(at(700.0)), Err(Wait::Until(at(961.0))));
    }

    proptest! {
        /// Whatever the answers are: a constant rate, and never a fifth 429 within 15 minutes.
        #[test]
        fn a_fifth_429_never_comes(answers in prop::collection::vec((0_u8..4, 1_u32..120), 1..400)) {
            let mut rate = Rate::new(90);
            let (mut now, mut flying, mut begun) = (0.0, 0_usize, Vec::new());
            let mut refusals: Vec<f64> = Vec::new();
            for (kind, tenths) in answers {
                match rate.begin(at(now)) {
                    Ok(()) => { flying += 1; begun.push(now); }
                    Err(Wait::Until(_)) => {}
                    Err(Wait::Answer) => prop_assert!(flying > 0, "it would wait for ever"),
                }
                now += f64::from(tenths) / 10.0;
                if kind > 0 && flying > 0 {
                    flying -= 1;
                    let limited = kind == 1;
                    if limited { refusals.push(now); }
                    rate.end(at(now), limited.then(|| Duration::from_secs(60)));
                }
                prop_assert!(flying <= MOST);
            }
            for two in begun.windows(2) { prop_assert!(two[1] - two[0] >= 0.66); }
            for five in refusals.windows(5) { prop_assert!(five[4] - five[0] > 900.0, "{five:?}"); }
        }
    }
}
