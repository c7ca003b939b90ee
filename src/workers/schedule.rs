//! When each request of a collection begins. Pure.

use std::time::Duration;

/// The requests of a collection are spread over this time. The first answers wait for the last, so it adds to the age
/// of what a status says (docs/contract.md#budgets: 250 ms for everything).
const SPREAD: Duration = Duration::from_millis(100);

/// How long after the start of the collection each request starts, in turn. Even a new leader does not ask a thousand
/// workers at one instant, and a single one does not wait.
pub(super) fn starts(requests: usize, interval: Duration) -> impl Iterator<Item = Duration> {
    let spread = SPREAD.min(interval / 10);
    let count = u32::try_from(requests).unwrap_or(u32::MAX).max(1);
    (0..count).map(move |turn| spread * turn / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spread_evenly_and_the_first_does_not_wait() {
        let millis = |requests, interval| {
            starts(requests, Duration::from_millis(interval)).map(|start| start.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(millis(0, 1000), [0]);
        assert_eq!(millis(1, 1000), [0]);
        assert_eq!(millis(4, 60_000), [0, 25, 50, 75]);
        assert_eq!(millis(4, 400), [0, 10, 20, 30]);
        let many = millis(1000, 60_000);
        assert_eq!((many[999], many.windows(2).all(|pair| pair[1] - pair[0] <= 1)), (99, true));
    }
}
