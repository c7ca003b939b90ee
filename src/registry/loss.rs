//! Whether most of the registry has gone at once, as after `kubectl delete mcpgw --all` by accident. Pure.
//!
//! In: the number of registered objects, whenever it may have changed. Out: a [`RegistryLoss`], from when it begins
//! until it is over. It is said and nothing is held back: what is published follows the registry
//! (`docs/contract.md#when-most-objects-are-gone`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Monotonic, UnixTime};

/// In a smaller registry, half of it is a few objects: nothing is said.
const SMALLEST: usize = 10;
/// A loss is over after a day, even if nothing has come back: then it was intended.
const LONGEST: Duration = Duration::from_hours(24);

/// More than half of the registered objects have gone within one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryLoss {
    /// How many were registered before.
    pub before: usize,
    /// When they began to go.
    pub since: UnixTime,
}

impl RegistryLoss {
    /// Whether it goes on while so many objects are registered.
    fn lasts(&self, registered: usize, time: UnixTime) -> bool {
        is_most(registered, self.before) && time.since(self.since) < LONGEST
    }
}

/// Whether more than half of `before` have gone.
const fn is_most(registered: usize, before: usize) -> bool {
    registered < before.div_ceil(2)
}

/// What has changed with a look at the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossChange {
    /// It began.
    Began(RegistryLoss),
    /// At least half of the objects are there again.
    Returned,
    /// A day has passed.
    Expired,
}

/// Follows the size of the registry under one leader. It knows no size from before that: the first one is no loss.
#[derive(Debug)]
pub struct LossDetector {
    interval: Duration,
    registered: usize,
    /// Earlier sizes, and when each ended: those that ended within the interval, without those that a later one
    /// reaches. So the first is the largest.
    peaks: VecDeque<(usize, Monotonic)>,
    loss: Option<RegistryLoss>,
}

impl LossDetector {
    /// For a leader that begins with so many registered objects. `inherited`: what the fleet object says, which stands
    /// until it is over.
    pub fn new(interval: Duration, registered: usize, inherited: Option<RegistryLoss>, time: UnixTime) -> Self {
        let loss = inherited.filter(|loss| loss.lasts(registered, time));
        Self { interval, registered, peaks: VecDeque::new(), loss }
    }

    /// The loss that goes on.
    pub const fn loss(&self) -> Option<RegistryLoss> {
        self.loss
    }

    /// Takes in the present size. `now` and `time` are one moment.
    pub fn observe(&mut self, registered: usize, now: Monotonic, time: UnixTime) -> Option<LossChange> {
        let before = std::mem::replace(&mut self.registered, registered);
        if before > registered {
            while self.peaks.pop_back_if(|(size, _)| *size <= before).is_some() {}
            self.peaks.push_back((before, now));
        }
        while self.peaks.pop_front_if(|(_, ended)| now.since(*ended) > self.interval).is_some() {}
        if let Some(loss) = self.loss {
            self.loss = Some(loss).filter(|loss| loss.lasts(registered, time));
            let over = if is_most(registered, loss.before) { LossChange::Expired } else { LossChange::Returned };
            return self.loss.is_none().then_some(over);
        }
        let (before, ended) = *self.peaks.front()?;
        if before < SMALLEST || !is_most(registered, before) {
            return None;
        }
        let loss = RegistryLoss { before, since: time.shifted(-now.since(ended).as_secs_f64()) };
        self.loss = Some(loss);
        Some(LossChange::Began(loss))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: u64 = 60;
    const DAY: u64 = 24 * 3600;

    fn time(second: u64) -> UnixTime {
        UnixTime::EPOCH.after(Duration::from_secs(1_000_000_000 + second))
    }

    fn detector(registered: usize) -> LossDetector {
        LossDetector::new(Duration::from_secs(INTERVAL), registered, None, time(0))
    }

    fn observe(detector: &mut LossDetector, second: u64, registered: usize) -> Option<LossChange> {
        detector.observe(registered, Monotonic::at(Duration::from_secs(second)), time(second))
    }

    /// The changes of sizes at these seconds, from the first size on.
    fn changes(first: usize, sizes: &[(u64, usize)]) -> Vec<Option<LossChange>> {
        let mut detector = detector(first);
        sizes.iter().map(|(second, size)| observe(&mut detector, *second, *size)).collect()
    }

    const fn began(before: usize, since: UnixTime) -> LossChange {
        LossChange::Began(RegistryLoss { before, since })
    }

    #[test]
    fn more_than_half_of_ten_within_an_interval_is_a_loss() {
        assert_eq!(changes(12, &[(100, 0)]), [Some(began(12, time(100)))]);
        assert_eq!(changes(10, &[(100, 5), (101, 4)]), [None, Some(began(10, time(100)))], "half is not most");
        assert_eq!(changes(11, &[(100, 6), (101, 5)]), [None, Some(began(11, time(100)))]);
        assert_eq!(changes(9, &[(100, 0)]), [None], "nine are too few");
        assert_eq!(changes(0, &[(1, 12), (2, 0)]), [None, Some(began(12, time(2)))], "counted from the peak");
    }

    #[test]
    fn the_window_is_one_interval() {
        assert_eq!(changes(12, &[(100, 6), (160, 5)]), [None, Some(began(12, time(100)))]);
        assert_eq!(changes(12, &[(100, 6), (161, 5)]), [None, None], "from 6 to 5 within an interval");
        let slow: Vec<_> = (0..12).map(|n| (100 + 30 * n, 30 - usize::try_from(n).unwrap())).collect();
        assert!(changes(31, &slow).iter().all(Option::is_none));
    }

    #[test]
    fn a_loss_ends_when_half_is_back_or_after_a_day() {
        let ends = changes(12, &[(100, 0), (200, 5), (300, 6), (400, 12)]);
        assert_eq!(ends, [Some(began(12, time(100))), None, Some(LossChange::Returned), None]);
        let ends = changes(12, &[(100, 2), (99 + DAY, 2), (100 + DAY, 2), (101 + DAY, 2)]);
        assert_eq!(ends, [Some(began(12, time(100))), None, Some(LossChange::Expired), None]);
    }

    #[test]
    fn the_first_size_of_a_leader_is_no_loss_and_an_inherited_loss_goes_on() {
        assert_eq!(detector(0).loss(), None);
        let loss = RegistryLoss { before: 12, since: time(0) };
        let inherit = |registered, second| {
            LossDetector::new(Duration::from_secs(INTERVAL), registered, Some(loss), time(second)).loss()
        };
        assert_eq!(inherit(0, 100), Some(loss));
        assert_eq!((inherit(6, 100), inherit(0, DAY)), (None, None));
    }

    proptest! {
        /// Against every size that was in force within the interval.
        #[test]
        fn a_loss_begins_exactly_when_the_peak_of_the_interval_is_more_than_twice_the_size(
            first in 0_usize..40,
            steps in prop::collection::vec((1_u64..50, 0_usize..40), 1..40),
        ) {
            let mut detector = detector(first);
            // Each size with the second at which it ended.
            let (mut ended, mut size, mut second) = (Vec::new(), first, 1_000);
            for (wait, next) in steps {
                second += wait;
                ended.push((size, second));
                size = next;
                let recent = ended.iter().filter(|(_, end)| second - end <= INTERVAL);
                let peak = recent.map(|(size, _)| *size).max().unwrap_or_default();
                let before = detector.loss();
                let change = observe(&mut detector, second, size);
                let changes = before.map_or(peak >= 10 && size * 2 < peak, |loss| size * 2 >= loss.before);
                prop_assert_eq!(change.is_some(), changes);
                prop_assert_eq!(detector.loss().is_some(), before.is_some() != change.is_some());
                if let Some(LossChange::Began(loss)) = change {
                    prop_assert_eq!(loss.before, peak);
                }
                prop_assert!(detector.peaks.iter().is_sorted_by(|a, b| a.0 > b.0), "bounded by the sizes");
            }
        }
    }
}
