//! What a new leader takes over from the statuses that its predecessor wrote. Pure.

use std::time::Duration;

use crate::api::v1alpha1::FleetStatus;
use crate::classify::PerServer;
use crate::classify::memory::Inheritance;
use crate::model::clocks::TOLERATED_SKEW_SECONDS;
use crate::model::{Tier, UnixTime};
use crate::plan::{Plan, PlanSettings};
use crate::registry::RegistrySnapshot;
use crate::registry::loss::RegistryLoss;

/// The loss of objects that the last leader reported.
pub(super) fn stated_loss(status: &FleetStatus) -> Option<RegistryLoss> {
    let loss = status.registry_loss.as_ref()?;
    Some(RegistryLoss { before: usize::try_from(loss.before).ok()?, since: loss.since.0.into() })
}

/// The plan that the statuses show. Of several objects for one server the shortest interval counts.
pub(super) fn inherited_plan(registry: &RegistrySnapshot, settings: &PlanSettings) -> Plan {
    let mut intervals: PerServer<Option<Duration>> = PerServer::of(registry.servers());
    for (record, place) in registry.registered() {
        let Some(interval) = intervals.get_mut(place) else { continue };
        let stated = record.status.interval().filter(|_| record.status_is_current());
        *interval = [*interval, stated].into_iter().flatten().min();
    }
    Plan::inherit(&intervals, settings)
}

/// What the statuses remember: uses, and which servers were hot. A use later than `now` is unknown: the clock of
/// the process that wrote it was ahead.
pub(crate) fn inherited(registry: &RegistrySnapshot, now: UnixTime) -> Inheritance {
    let latest = now.shifted(TOLERATED_SKEW_SECONDS);
    let servers = registry.servers();
    let (mut last_used, mut hot) = (PerServer::of(servers), PerServer::of(servers));
    let mut observed_since: PerServer<Option<UnixTime>> = PerServer::of(servers);
    for (record, place) in registry.registered() {
        let (Some(last_used), Some(hot)) = (last_used.get_mut(place), hot.get_mut(place)) else { continue };
        *last_used = record.remembered_use().filter(|used| *used <= latest).max(*last_used);
        *hot |= record.status.tier == Some(Tier::Hot) && record.status_is_current();
        if let Some(since) = observed_since.get_mut(place) {
            let stated = record.tier_since().filter(|since| *since <= latest);
            *since = [*since, stated].into_iter().flatten().min();
        }
    }
    Inheritance { last_used, hot, observed_since }
}
