//! The metrics of the leader loop (`docs/contract.md#metrics`). Standbys export no gauges about the fleet: they become
//! absent when leadership ends.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::conditions::FleetConditionType;
use crate::api::v1alpha1::FleetStatus;
use crate::model::clocks::ClockSkew;
use crate::model::{OptionalGauge, UnixTime, registered};

/// The name and the value of the only label.
type Label = [(&'static str, &'static str); 1];

#[derive(Clone, Debug)]
pub struct Metrics {
    servers: Family<Label, Gauge>,
    objects: Family<Label, Gauge>,
    endpoints: Family<Label, Gauge>,
    cycles: Family<Label, Counter>,
    duration: Histogram,
    last_successful: OptionalGauge<i64>,
    gateways_gone: OptionalGauge<i64>,
    fleet_written: OptionalGauge<i64>,
    obeyed: OptionalGauge<i64>,
    refreshes_per_hour: Family<Label, Gauge>,
    refresh_budget_kept: OptionalGauge<i64>,
    planned_servers: Family<[(&'static str, String); 1], Gauge>,
    plan_processes: Family<Label, Gauge>,
    suspended: OptionalGauge<i64>,
    clock_skew: Family<Label, Gauge<f64, AtomicU64>>,
}

impl Metrics {
    pub fn register(registry: &mut Registry) -> Self {
        let duration = Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]);
        let help = "Duration of a cycle, collection included";
        registry.register("cycle_duration_seconds", help, duration.clone());
        let last_successful = "When the last cycle ended that classified and wrote without a failure";
        let obeyed = "Whether gateways poll by what is published: 1 or 0, absent while that is not known";
        let gateways_gone =
            "Objects that have left the registry, if more than half of it went within an interval; otherwise 0";
        let fleet_written = "Whether the status of the McpGatewayFleet can be written: 1 or 0";
        let clock_skew =
            "How far a clock is ahead of the reference time; of the clocks of workers, the one that is farthest off";
        let refreshes = "Refreshes an hour of one gateway process: by the refresh plan, by tiers, at the full rate";
        let budget_kept = "Whether the refresh plan keeps its budget: 1 or 0, absent without a plan";
        let planned =
            "Servers of the refresh plan, by the interval of their rung; a server's own is up to a tenth shorter";
        let processes = "Gateway processes by whether they refresh by the refresh plan, as they report";
        let suspended = "Whether spec.suspend of the McpGatewayFleet is set: 1 or 0";
        Self {
            servers: registered(registry, "servers", "Registered servers by tier"),
            objects: registered(registry, "objects", "McpGateway objects by whether they are accepted"),
            endpoints: registered(registry, "endpoints", "Worker endpoints by whether they are heard"),
            cycles: registered(registry, "cycles", "Cycles by outcome"),
            duration,
            last_successful: registered(registry, "last_successful_cycle_timestamp_seconds", last_successful),
            gateways_gone: registered(registry, "gateways_gone", gateways_gone),
            fleet_written: registered(registry, "fleet_status_written", fleet_written),
            obeyed: registered(registry, "obeyed", obeyed),
            refreshes_per_hour: registered(registry, "planned_refreshes_per_hour", refreshes),
            refresh_budget_kept: registered(registry, "refresh_budget_kept", budget_kept),
            planned_servers: registered(registry, "planned_servers", planned),
            plan_processes: registered(registry, "refresh_plan_processes", processes),
            suspended: registered(registry, "fleet_suspended", suspended),
            clock_skew: registered(registry, "clock_skew_seconds", clock_skew),
        }
    }

    pub(super) fn fleet(&self, status: &FleetStatus, written: bool, rungs: &BTreeMap<Duration, i64>) {
        let FleetStatus { objects, servers, endpoints, .. } = status;
        self.objects.get_or_create(&[("accepted", "true")]).set(objects.total - objects.refused);
        self.objects.get_or_create(&[("accepted", "false")]).set(objects.refused);
        self.servers.get_or_create(&[("tier", "hot")]).set(servers.hot);
        self.servers.get_or_create(&[("tier", "cold")]).set(servers.cold);
        self.servers.get_or_create(&[("tier", "unclassified")]).set(servers.unclassified);
        self.endpoints.get_or_create(&[("state", "heard")]).set(endpoints.answered);
        self.endpoints.get_or_create(&[("state", "silent")]).set(endpoints.known - endpoints.answered);
        let gone = status.registry_loss.as_ref().map_or(0, |loss| loss.before - objects.registered());
        self.gateways_gone.set(Some(gone));
        match &status.refresh_plan {
            Some(plan) => {
                for (by, polls) in [
                    ("plan", plan.polls_per_hour),
                    ("tiers", plan.tiers_polls_per_hour),
                    ("uniform", plan.uniform_polls_per_hour),
                ] {
                    self.refreshes_per_hour.get_or_create(&[("by", by)]).set(polls);
                }
            }
            None => self.refreshes_per_hour.clear(),
        }
        self.refresh_budget_kept.set(status.refresh_plan.map(|plan| i64::from(plan.budget_kept)));
        self.planned_servers.clear();
        for (interval, servers) in rungs {
            self.planned_servers.get_or_create(&[("interval", format!("{}s", interval.as_secs()))]).set(*servers);
        }
        self.plan_processes.clear();
        let gateways = &status.gateways;
        for (followed, processes) in
            [("true", gateways.refresh_plan_followed_by), ("false", gateways.refresh_plan_not_followed_by)]
        {
            processes.map(|processes| self.plan_processes.get_or_create(&[("followed", followed)]).set(processes));
        }
        self.fleet_written.set(Some(i64::from(written)));
        self.suspended.set(Some(i64::from(status.is_true(FleetConditionType::Suspended))));
    }

    pub(super) fn cycle(&self, outcome: &'static str, took: Duration, successful_at: Option<UnixTime>) {
        self.cycles.get_or_create(&[("outcome", outcome)]).inc();
        self.duration.observe(took.as_secs_f64());
        if let Some(time) = successful_at {
            self.last_successful.set(Some(time.whole_seconds()));
        }
    }

    pub(super) fn obeyed(&self, value: Option<i64>) {
        self.obeyed.set(value);
    }

    pub(super) fn clocks(&self, skews: &[ClockSkew]) {
        self.clock_skew.clear();
        for ClockSkew { clock, seconds } in skews {
            let gauge = self.clock_skew.get_or_create(&[("clock", clock.label())]);
            if seconds.abs() > gauge.get().abs() {
                gauge.set(*seconds);
            }
        }
    }

    pub(super) fn stand_by(&self) {
        self.clock_skew.clear();
        self.servers.clear();
        self.objects.clear();
        self.endpoints.clear();
        self.last_successful.set(None);
        self.gateways_gone.set(None);
        self.fleet_written.set(None);
        self.obeyed.set(None);
        self.suspended.set(None);
        self.refreshes_per_hour.clear();
        self.refresh_budget_kept.set(None);
        self.planned_servers.clear();
        self.plan_processes.clear();
    }
}
