//! Which Event to emit when the reporting endpoints change. Pure.
//!
//! In: the view of a turn. Out: a [`FleetEvent`] if the gap or the silent endpoints are others than before. The fleet's
//! status always shows the same; Events are for those who are paged.

use crate::classify::memory::{SilentEndpoint, UsageGap, View};
use crate::fleet::endpoints_text;
use crate::model::{EndpointId, FleetEvent};

/// What was last reported; nothing at first.
#[derive(Debug, Default)]
pub(super) struct UsageEvents(Option<(Option<UsageGap>, Vec<EndpointId>)>);

impl UsageEvents {
    /// The Event for this view, if it differs from the last one. A new leader to which every endpoint reports emits
    /// none.
    pub(super) fn next(&mut self, view: &View) -> Option<FleetEvent> {
        let silent = view.silent.iter().map(|SilentEndpoint { endpoint, .. }| endpoint.clone()).collect();
        let current = (view.gap, silent);
        if self.0.as_ref() == Some(&current) {
            return None;
        }
        let first = self.0.replace(current).is_none();
        let endpoints = endpoints_text(view.known, &view.silent);
        match view.gap {
            Some(gap) => {
                let note = format!("{}: {}; {endpoints}", gap.reason(), gap.hint());
                Some(match gap {
                    // Nobody has used anything yet, which is no fault.
                    UsageGap::Use if view.silent.is_empty() => FleetEvent::normal("UsageIncomplete", note),
                    _ => FleetEvent::warning("UsageIncomplete", note),
                })
            }
            None if !view.silent.is_empty() => Some(FleetEvent::warning("UsagePartial", endpoints)),
            None => (!first).then(|| FleetEvent::normal("UsageComplete", endpoints)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use crate::model::UnixTime;

    fn view(missing: Option<UsageGap>, known: usize, names: &[&str]) -> View {
        let silent =
            |name: &&str| SilentEndpoint { endpoint: EndpointId::new(name), reported: true, since: UnixTime::EPOCH };
        View { fleet: Arc::default(), gap: missing, known, silent: names.iter().map(silent).collect() }
    }

    /// The Events of one view after another: reason, and whether it is a warning.
    fn events(views: &[View]) -> Vec<Option<(&'static str, bool)>> {
        let mut events = UsageEvents::default();
        let next = |view| events.next(view).map(|event: FleetEvent| (event.reason, event.warning));
        views.iter().map(next).collect()
    }

    #[test]
    fn each_change_is_one_event_and_a_complete_start_is_none() {
        let views = [
            view(None, 3, &[]),
            view(None, 3, &["a"]),
            view(None, 3, &["a"]),
            view(None, 4, &["a"]),
            view(None, 4, &["a", "b"]),
            view(Some(UsageGap::Quorum), 4, &["a", "b", "c"]),
            view(None, 4, &[]),
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
        assert_eq!(events(&views), expected);
    }

    #[test]
    fn a_fleet_that_nobody_has_used_yet_is_no_fault() {
        assert_eq!(events(&[view(Some(UsageGap::Use), 3, &[])]), [Some(("UsageIncomplete", false))]);
    }
}
