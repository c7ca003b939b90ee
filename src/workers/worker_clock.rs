//! Whether the clock behind an endpoint can be believed (`docs/contract.md#clocks`). Pure.

use std::time::Duration;

use super::request_error::RequestError;
use crate::clock::reference;
use crate::model::clocks::TOLERATED_SKEW_SECONDS;
use crate::model::{Monotonic, UnixTime};

/// A `generatedAt` that is still the same after this time stands still. Less may be a clock of whole seconds.
pub(super) const FROZEN: Duration = Duration::from_secs(2);

/// What the endpoint's clock showed last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WorkerClock {
    /// `generatedAt`, and when it was first seen.
    last: Option<(UnixTime, Monotonic)>,
    /// What it showed in the first report after it was set back. Earlier times are by the clock before that, and would
    /// be dated too late by as much as it was set back.
    set_back: Option<UnixTime>,
}

impl WorkerClock {
    /// Takes in the `generatedAt` of a report. `offset`: the seconds that correct it.
    ///
    /// A clock that is off, or was set, is believed once it has advanced between two reports as our monotonic clock
    /// did. Otherwise an old copy of a report would be dated to now, and so would be its uses.
    ///
    /// # Errors
    /// Why the report cannot be dated.
    pub(super) fn check(
        &mut self,
        generated_at: UnixTime,
        received: Monotonic,
        offset: f64,
    ) -> Result<(), RequestError> {
        if let Some((last, seen)) = self.last
            && last == generated_at
        {
            return if received.since(seen) > FROZEN { Err(RequestError::Frozen) } else { Ok(()) };
        }
        let believed = if let Some((last, seen)) = self.last.replace((generated_at, received)) {
            let expected = last.after(received.since(seen));
            let jump = generated_at.seconds() - expected.seconds();
            if jump < -TOLERATED_SKEW_SECONDS {
                self.set_back = Some(generated_at);
            } else if jump > TOLERATED_SKEW_SECONDS && offset == 0.0 {
                // It was behind and is right now: no time is later than the truth.
                self.set_back = None;
            }
            jump.abs() <= TOLERATED_SKEW_SECONDS
        } else {
            offset == 0.0
        };
        if believed { Ok(()) } else { Err(RequestError::ClockUnconfirmed) }
    }

    /// Uses before this time of the clock are not dated by it; `None` if all are.
    pub(super) const fn set_back(&self) -> Option<UnixTime> {
        self.set_back
    }

    /// The clock minus the monotonic clock, in seconds.
    pub(super) fn offset(&self) -> Option<f64> {
        self.last.map(|(generated_at, received)| reference::offset(generated_at, received))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdicts on reports that are made at these times of the worker's clock, received at these of ours.
    fn verdicts(reports: &[(f64, u32)]) -> Vec<Result<(), RequestError>> {
        let mut clock = WorkerClock::default();
        let check = |&(generated, received): &(f64, u32)| {
            let off = UnixTime::from_seconds(1e9 + generated).unwrap();
            let skew = f64::from(received) - generated;
            let skew = if skew.abs() > TOLERATED_SKEW_SECONDS { skew } else { 0.0 };
            clock.check(off, Monotonic::at(Duration::from_secs(received.into())), skew)
        };
        reports.iter().map(check).collect()
    }

    #[test]
    fn a_clock_that_is_right_is_believed_at_once() {
        assert_eq!(verdicts(&[(0.0, 1), (60.0, 61), (124.0, 121)]), [Ok(()), Ok(()), Ok(())]);
    }

    #[test]
    fn a_clock_that_is_off_is_believed_at_the_second_report() {
        let unconfirmed = Err(RequestError::ClockUnconfirmed);
        assert_eq!(verdicts(&[(3600.0, 0), (3660.0, 60), (3720.0, 120)]), [unconfirmed.clone(), Ok(()), Ok(())]);
        // Set back, and right again.
        assert_eq!(
            verdicts(&[(0.0, 0), (-3540.0, 60), (-3480.0, 120), (180.0, 180), (240.0, 240)]),
            [Ok(()), unconfirmed.clone(), Ok(()), unconfirmed, Ok(())]
        );
    }

    #[test]
    fn it_is_known_when_the_clock_was_set_back() {
        let mut clock = WorkerClock::default();
        let reports = [(3600.0, 0, -3600.0), (60.0, 60, 0.0), (120.0, 120, 0.0), (60.0, 180, 120.0), (240.0, 240, 0.0)];
        let set_back = reports.map(|(generated, received, offset)| {
            let at = Monotonic::at(Duration::from_secs(received));
            let _ = clock.check(UnixTime::from_seconds(generated).unwrap(), at, offset);
            clock.set_back().map(UnixTime::seconds)
        });
        assert_eq!(set_back, [None, Some(60.0), Some(60.0), Some(60.0), None]);
    }

    #[test]
    fn a_report_that_never_changes_is_refused() {
        let frozen = Err(RequestError::Frozen);
        assert_eq!(
            verdicts(&[(0.0, 0), (0.0, 1), (0.0, 60), (0.0, 120)]),
            [Ok(()), Ok(()), frozen.clone(), frozen.clone()]
        );
        // It was already old when it was first seen: then its uses are never dated to now.
        let unconfirmed = Err(RequestError::ClockUnconfirmed);
        assert_eq!(
            verdicts(&[(0.0, 900), (0.0, 960), (0.0, 1020)]),
            [unconfirmed.clone(), frozen.clone(), frozen.clone()]
        );
        // A copy that a cache renews every five minutes counts in the moment when it is new.
        assert_eq!(
            verdicts(&[(0.0, 0), (0.0, 60), (0.0, 240), (299.0, 300)]),
            [Ok(()), frozen.clone(), frozen, Ok(())]
        );
    }
}
