//! The metrics of registration (docs/contract.md#metrics). Labels are from fixed lists.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::mirror;
use crate::contextforge::EntryList;
use crate::contextforge::call_error::CallError;
use crate::model::{OptionalGauge, registered};
use crate::registration::outcome::Outcomes;

/// Of the leader; standbys register nothing.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<[(&'static str, &'static str); 2], Counter>,
    registrations: Family<[(&'static str, &'static str); 1], Gauge>,
    drift: Counter,
    entries: OptionalGauge<i64>,
    unreadable: OptionalGauge<i64>,
    pub(super) mirror: mirror::Metrics,
}

impl Metrics {
    /// Adds them to a registry that carries the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let requests = "Requests to ContextForge, by call and by what came of them";
        let registrations = "Objects with spec.registration, by the reason of their condition Registered";
        let drift = "Entries of ContextForge that somebody else had changed, switched off or deleted";
        let entries = "Gateways in the last list of ContextForge";
        let unreadable = "Gateways in that list that cannot be read";
        Self {
            requests: registered(registry, "contextforge_requests", requests),
            registrations: registered(registry, "registrations", registrations),
            drift: registered(registry, "registration_drift", drift),
            entries: registered(registry, "contextforge_gateways", entries),
            unreadable: registered(registry, "contextforge_gateways_unreadable", unreadable),
            mirror: mirror::Metrics::register(registry),
        }
    }

    pub(super) fn request(&self, call: &'static str, error: Option<&CallError>) {
        let outcome = error.map_or("ok", <&str>::from);
        self.requests.get_or_create(&[("call", call), ("outcome", outcome)]).inc();
    }

    pub(super) fn listed(&self, list: &EntryList) {
        let count = |number: usize| Some(i64::try_from(number).unwrap_or(i64::MAX));
        self.entries.set(count(list.entries.len()));
        self.unreadable.set(count(list.unreadable));
    }

    pub(super) fn outcomes(&self, outcomes: &Outcomes) {
        self.registrations.clear();
        for outcome in outcomes.values() {
            self.registrations.get_or_create(&[("reason", outcome.condition.reason.into())]).inc();
        }
    }

    pub(super) fn drift(&self) {
        self.drift.inc();
    }

    pub(super) fn stand_by(&self) {
        self.registrations.clear();
        self.entries.set(None);
        self.unreadable.set(None);
        self.mirror.stand_by();
    }
}
