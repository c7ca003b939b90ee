//! Which Event to emit when the reporting endpoints change. Pure.
//!
//! In: the coverage of a turn. Out: a [`FleetEvent`] if the gap or the silent endpoints are others than before. The
//! fleet's status always shows the same; Events are for those who are paged.

use crate::classify::memory::{Coverage, SilentEndpoint, UsageGap};
use crate::fleet::endpoints_text;
use crate::model::{EndpointId, FleetEvent};

/// What was last reported; nothing at first.
#[derive(Debug, Default)]
pub(super) struct UsageEvents(Option<(Option<UsageGap>, Vec<EndpointId>)>);

impl UsageEvents {
    /// The Event for this coverage, if it differs from the last one. A new leader to which every endpoint reports emits
    /// none.
    pub(super) fn next(&mut self, coverage: &Coverage) -> Option<FleetEvent> {
        let silent = coverage.silent.iter().map(|SilentEndpoint { endpoint, .. }| endpoint.clone()).collect();
        let current = (coverage.gap, silent);
        if self.0.as_ref() == Some(&current) {
            return None;
        }
        let first = self.0.replace(current).is_none();
        let endpoints = endpoints_text(coverage.known, &coverage.silent);
        match coverage.gap {
            Some(gap) => {
                let note = format!("{}: {}; {endpoints}", gap.reason(), gap.hint());
                Some(match gap {
                    // Nobody has used anything yet, which is no fault.
                    UsageGap::Use if coverage.silent.is_empty() => FleetEvent::normal("UsageIncomplete", note),
                    _ => FleetEvent::warning("UsageIncomplete", note),
                })
            }
            None if !coverage.silent.is_empty() => Some(FleetEvent::warning("UsagePartial", endpoints)),
            None => (!first).then(|| FleetEvent::normal("UsageComplete", endpoints)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::model::UnixTime;

    fn coverage(missing: Option<UsageGap>, known: usize, names: &[&str]) -> Coverage {
        let silent =
            |name: &&str| SilentEndpoint { endpoint: EndpointId::new(name), reported: true, since: UnixTime::EPOCH };
        Coverage { gap: missing, known, silent: names.iter().map(silent).collect() }
    }

    /// The Events of several turns, one after another: reason, and whether it is a warning.
    fn events(coverages: &[Coverage]) -> Vec<Option<(&'static str, bool)>> {
        let mut events = UsageEvents::default();
        let next = |coverage| events.next(coverage).map(|event: FleetEvent| (event.reason, event.warning));
        coverages.iter().map(next).collect()
    }

    #[test]
    fn each_change_is_one_event_and_a_complete_start_is_none() {
        let coverages = [
            coverage(None, 3, &[]),
            coverage(None, 3, &["a"]),
            coverage(None, 3, &["a"]),
            coverage(None, 4, &["a"]),
            coverage(None, 4, &["a", "b"]),
            coverage(Some(UsageGap::Quorum), 4, &["a", "b", "c"]),
            coverage(None, 4, &[]),
        ];
        let expected = [
            None,
            Some(("UsagePartial", true)),
            None,
            None,
            Some(("UsagePartial", true)),
            Some(("UsageIncomplete", true)),
            Some(("UsageComplete", false)),
        ];
        assert_eq!(events(&coverages), expected);
    }

    #[test]
    fn a_fleet_that_nobody_has_used_yet_is_no_fault() {
        assert_eq!(events(&[coverage(Some(UsageGap::Use), 3, &[])]), [Some(("UsageIncomplete", false))]);
    }
}
