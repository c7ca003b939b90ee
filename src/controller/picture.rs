//! How complete the picture of the fleet's use is, in words, when that changes. Pure.
//!
//! In: the view of a turn. Out: a [`FleetEvent`] if it says something else than the last one. The facts of the fleet say the same at
//! any time ([`crate::status::fleet`]); this is for those who are called when something happens.

use crate::classify::memory::{SilentEndpoint, UsageGap, View};
use crate::model::{EndpointId, FleetEvent};
use crate::status::fleet::endpoints_in_words;

/// What was said last; nothing at first.
#[derive(Debug, Default)]
pub(super) struct Picture(Option<(Option<UsageGap>, Vec<EndpointId>)>);

impl Picture {
    /// What is to be said now, if anything. A new leader that hears everybody says nothing.
    pub(super) fn changed(&mut self, view: &View) -> Option<FleetEvent> {
        let silent = view.silent.iter().map(|SilentEndpoint { endpoint, .. }| endpoint.clone()).collect();
        let now = (view.gap, silent);
        if self.0.as_ref() == Some(&now) {
            return None;
        }
        let first = self.0.replace(now).is_none();
        let endpoints = endpoints_in_words(view.known, &view.silent);
        match view.gap {
            Some(missing) => {
                let note = format!("{}: {}; {endpoints}", missing.reason(), missing.hint());
                Some(match missing {
                    // Nobody has used anything yet: that is no fault.
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
    use crate::classify::PerServer;
    use crate::model::UnixTime;

    fn view(missing: Option<UsageGap>, known: usize, names: &[&str]) -> View {
        let silent =
            |name: &&str| SilentEndpoint { endpoint: EndpointId::new(name), reported: true, since: UnixTime::EPOCH };
        View { fleet: PerServer::default(), gap: missing, known, silent: names.iter().map(silent).collect() }
    }

    /// What is said of one view after another.
    fn said(views: &[View]) -> Vec<Option<(&'static str, bool)>> {
        let mut picture = Picture::default();
        let say = |view| picture.changed(view).map(|notice: FleetEvent| (notice.reason, notice.warning));
        views.iter().map(say).collect()
    }

    #[test]
    fn each_change_is_said_once_and_a_whole_picture_at_the_start_is_no_news() {
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
        assert_eq!(said(&views), expected);
    }

    #[test]
    fn a_fleet_that_nobody_has_used_yet_is_no_fault() {
        assert_eq!(said(&[view(Some(UsageGap::Use), 3, &[])]), [Some(("UsageIncomplete", false))]);
    }
}
