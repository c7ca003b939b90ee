//! `status`: the status of a fleet, from the `McpGatewayFleet` object that its leader writes. It is compared with the
//! Lease, which shows whether it is old.

use std::fmt;

use anyhow::Context;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use super::{StatusArgs, runtime};
use crate::api::conditions::FleetConditionType;
use crate::api::v1alpha1::{
    FleetStatus, GatewaysStatus, McpGatewayFleet, ObjectCounts, RefreshPlanStatus, ServerCounts,
};
use crate::diagnosis::{Outdated, ReadError};
use crate::explanation;
use crate::leadership::record::{LeaseFacts, LeaseView};
use crate::model::Term;
use crate::model::polling::PollingState;

/// Reads the status, and returns what to print. Fails unless there is exactly one fleet object with a status.
pub(super) fn status(args: StatusArgs) -> anyhow::Result<String> {
    let StatusArgs { fleet, output } = args;
    let (fleet, lease) = runtime()?.block_on(async { fleet.connect()?.fleet_and_lease().await })?;
    let status =
        fleet.status.as_ref().context("the McpGatewayFleet has no status: no replica has led since it was created")?;
    let report = StatusReport::new(&fleet, status, &lease);
    Ok(output.text(&report, || table(&fleet, &report)))
}

/// What is printed as JSON: the status, and how it compares with the Lease.
#[derive(Serialize)]
struct StatusReport<'a> {
    #[serde(flatten)]
    status: &'a FleetStatus,
    lease: LeaseReport,
    /// Why what the status shows is old; empty if it is not, or if the Lease cannot be read.
    outdated: Vec<Outdated>,
}

/// The Lease as JSON. Absent fields are unknown.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct LeaseReport {
    /// `Held`, `Expired`, `Free` or `Missing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<i32>,
    /// In RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    renew_time: Option<String>,
    /// Why the Lease cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl<'a> StatusReport<'a> {
    fn new(fleet: &McpGatewayFleet, status: &'a FleetStatus, lease: &Result<LeaseFacts, ReadError>) -> Self {
        let [namespace, name] = [&fleet.metadata.namespace, &fleet.metadata.name].map(|part| part.as_deref());
        let name = format!("{}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        match lease {
            Ok(facts) => {
                let holder = match &facts.view {
                    LeaseView::Held(holder) | LeaseView::Expired { holder, .. } => Some(holder.clone()),
                    LeaseView::Free | LeaseView::Missing => None,
                };
                let lease = LeaseReport {
                    state: Some((&facts.view).into()),
                    holder,
                    term: facts.term.map(Term::get),
                    renew_time: facts.renewed.map(|renewed| renewed.to_string()),
                    error: None,
                };
                Self { status, lease, outdated: Outdated::of(fleet, &name, facts) }
            }
            Err(error) => {
                let lease = LeaseReport { error: Some(error.to_string()), ..LeaseReport::default() };
                Self { status, lease, outdated: Vec::new() }
            }
        }
    }
}

impl fmt::Display for LeaseReport {
    /// `Held by pod_1 at term 3, renewed TIME`, or why it cannot be read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, holder, term, renew_time, error } = self;
        error.iter().try_for_each(|error| write!(f, "unknown, and so is whether this is old: {error}"))?;
        f.write_str(state.unwrap_or_default())?;
        holder.iter().try_for_each(|holder| write!(f, " by {holder}"))?;
        term.iter().try_for_each(|term| write!(f, " at term {term}"))?;
        renew_time.iter().try_for_each(|time| write!(f, ", renewed {time}"))
    }
}

fn table(fleet: &McpGatewayFleet, StatusReport { status, lease, outdated }: &StatusReport<'_>) -> String {
    let FleetStatus {
        leader,
        term,
        objects,
        servers,
        endpoints,
        publication,
        redis_lock,
        unregistered,
        identity_conflicts,
        gateways,
        refresh_plan,
        ..
    } = status;
    let ObjectCounts { total, disabled, refused } = objects;
    let ServerCounts { total: unique, hot, cold, unclassified } = servers;
    let known = |value: Option<String>| value.unwrap_or_else(|| "unknown".to_owned());
    // One word for a condition that is true; otherwise its reason and message.
    let condition = |kind, when_true: &str| {
        known(status.condition(kind).map(|Condition { status, reason, message, .. }| match status.as_str() {
            "True" => when_true.to_owned(),
            "False" => format!("{reason}: {message}"),
            _ => format!("unknown ({reason}): {message}"),
        }))
    };
    let not_reported = || "not reported".to_owned();
    let state = |state: Option<PollingState>, active: &str| match state {
        Some(PollingState::Active) => active.to_owned(),
        Some(PollingState::Off) => "as the gateway's release does (off)".to_owned(),
        Some(PollingState::Unsupported) => "as the gateway's release does (unsupported)".to_owned(),
        None => not_reported(),
    };
    let health_checks = match (gateways.cold_health, gateways.health_checks_skipped_percent) {
        (_, Some(percent)) => format!("{percent} % skipped"),
        (Some(PollingState::Active), None) => "too few yet for a percentage".to_owned(),
        (_, None) => not_reported(),
    };
    let calls = match gateways.calls_on_old_lists_percent {
        Some(percent) => format!("about {percent} % of the last hour on lists older than twice the hot interval"),
        None => "fewer than 50 reported within the last hour".to_owned(),
    };
    let mut lines: Vec<_> = outdated.iter().map(|outdated| ("Outdated", outdated.message())).collect();
    lines.extend([
        ("Leader", known(leader.as_ref().map(|leader| leader.identity.clone()))),
        ("Leader since", known(leader.as_ref().map(|leader| leader.since.0.to_string()))),
        ("Term", known(term.map(|term| term.to_string()))),
        ("Lease", lease.to_string()),
        ("Objects", format!("{total} ({disabled} disabled, {refused} refused)")),
        ("Servers", format!("{unique} ({hot} hot, {cold} cold, {unclassified} unclassified)")),
        ("Usage", condition(FleetConditionType::UsageComplete, "complete")),
        ("Endpoints", endpoints.to_string()),
    ]);
    let none = ["none".to_owned()];
    let unregistered = if unregistered.is_empty() { &none[..] } else { unregistered };
    lines.extend(unregistered.iter().map(|url| ("Not registered", url.clone())));
    lines.extend(identity_conflicts.iter().map(|conflict| ("Conflicts", conflict.clone())));
    lines.extend([
        ("Publication", publication.to_string()),
        ("Redis lock", redis_lock.to_string()),
        ("Obeyed", condition(FleetConditionType::Obeyed, "yes")),
        ("Hot servers", state(gateways.hot_at_full_rate, "refreshed at the full rate")),
        ("Cold servers", state(gateways.cold_health, "health checked at their own interval")),
        ("Health checks", health_checks),
        ("Calls", calls),
        ("Refresh plan", refresh_plan.as_ref().map_or_else(|| "none: tiers decide".to_owned(), plan_text)),
    ]);
    if refresh_plan.is_some() {
        lines.push(("Followed by", followed_text(gateways)));
    }
    lines.extend(gateways.unsupported.iter().map(|what| ("Unsupported", what.clone())));
    lines.extend([
        ("Registry", condition(FleetConditionType::RegistryRead, "read")),
        ("Registry size", condition(FleetConditionType::RegistryStable, "stable")),
        ("Permissions", condition(FleetConditionType::Permitted, "complete")),
        ("Status writes", condition(FleetConditionType::StatusesWritten, "working")),
        ("Clocks", condition(FleetConditionType::ClocksAgree, "agree")),
    ]);
    if fleet.is_suspended() {
        lines.push(("Suspended", format!("yes; resume with {}", fleet.resume_command())));
    }
    explanation::aligned(&lines)
}

fn plan_text(plan: &RefreshPlanStatus) -> String {
    let RefreshPlanStatus {
        polls_per_hour,
        tiers_polls_per_hour: tiers,
        uniform_polls_per_hour: uniform,
        budget_kept,
        least_budget_percent,
        hot_interval: _,
        longest_interval: _,
    } = plan;
    let budget = match least_budget_percent {
        _ if *budget_kept => "within the budget".to_owned(),
        Some(least) => format!("above the budget, which would have to be {least} %"),
        None => "above the budget".to_owned(),
    };
    format!("{polls_per_hour} refreshes an hour planned (by tiers {tiers}, at the full rate {uniform}), {budget}")
}

/// How many processes refresh by the plan.
fn followed_text(gateways: &GatewaysStatus) -> String {
    match (gateways.refresh_plan_followed_by, gateways.refresh_plan_not_followed_by) {
        (Some(followed_by), Some(0)) => format!("all {followed_by} gateway processes that report it"),
        (Some(followed_by), Some(others)) => {
            format!("{followed_by} gateway processes; {others} refresh by tiers (doctor says which)")
        }
        _ => "not reported".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::UnixTime;

    #[test]
    fn the_table_has_one_line_per_fact_and_shows_the_brake() {
        let since = "2026-01-01T00:00:00Z";
        let condition = |kind: &str, status: &str, reason: &str| {
            let [message, at] = ["grant it", since];
            json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": at})
        };
        let fleet = json!({
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGatewayFleet",
            "metadata": {"name": "f", "namespace": "n"},
            "spec": {"suspend": true},
            "status": {
                "term": 3, "leader": {"identity": "pod_1", "since": since},
                "objects": {"total": 6, "disabled": 1}, "servers": {"total": 5, "hot": 1, "cold": 4},
                "endpoints": {"known": 3, "answered": 3, "summary": "3/3"},
                "publication": {"state": "Suspended"}, "redisLock": {"state": "Held"},
                "refreshPlan": {"pollsPerHour": 31, "tiersPollsPerHour": 28, "uniformPollsPerHour": 60,
                    "budgetKept": false, "leastBudgetPercent": 52},
                "unregistered": ["http://x", "http://y"],
                "identityConflicts": ["gatewayId 1 is registered for http://x, but workers report it for http://z"],
                "gateways": {"reason": "Obeyed", "hotAtFullRate": "Active", "coldHealth": "Unsupported",
                    "refreshPlan": "Off", "refreshPlanFollowedBy": 3, "refreshPlanNotFollowedBy": 1,
                    "callsOnOldListsPercent": 20,
                    "healthChecksSkippedPercent": 60,
                    "unsupported": ["http://w: health checks of cold servers: replaced"]},
                "conditions": [
                    condition("Permitted", "False", "PermissionsMissing"),
                    condition("Obeyed", "True", "Obeyed"),
                ],
            },
        });
        let fleet: McpGatewayFleet = serde_json::from_value(fleet).unwrap();
        let status = fleet.status.as_ref().unwrap();
        let lease = |holder: &str| LeaseFacts {
            view: LeaseView::Held(holder.to_owned()),
            term: Term::new(3),
            renewed: UnixTime::from_seconds(1e9),
            fleet_not_written: None,
        };
        let report = |lease: &Result<LeaseFacts, ReadError>| {
            let report = StatusReport::new(&fleet, status, lease);
            (table(&fleet, &report), json!(report))
        };
        let (text, json) = report(&Ok(lease("pod_1")));
        assert_eq!((&json["outdated"], &json["term"]), (&json!([]), &json!(3)));
        let shown = json!({"state": "Held", "holder": "pod_1", "term": 3, "renewTime": "2001-09-09T01:46:40Z"});
        assert_eq!(json["lease"], shown);
        assert!(!text.contains("Outdated"));
        let (old, json) = report(&Ok(lease("pod_2")));
        assert!(old.starts_with("Outdated:        pod_1 wrote this, and pod_2 holds the Lease"), "{old}");
        assert_eq!(json["outdated"][0]["reason"], "OtherLeader");
        let (unknown, json) = report(&Err(ReadError::Forbidden("get leases -n n".to_owned())));
        assert!(
            unknown.contains("\nLease:           unknown, and so is whether this is old: not allowed to get leases")
        );
        assert!(json["lease"]["error"].is_string() && json["lease"].as_object().unwrap().len() == 1);
        for line in [
            "Leader:          pod_1",
            "Lease:           Held by pod_1 at term 3, renewed 2001-09-09T01:46:40Z",
            "Objects:         6 (1 disabled, 0 refused)",
            "Servers:         5 (1 hot, 4 cold, 0 unclassified)",
            "Usage:           unknown",
            "Endpoints:       3 of 3 reported",
            "                 http://y",
            "Conflicts:       gatewayId 1 is registered for http://x, but workers report it for http://z",
            "Publication:     Suspended",
            "Obeyed:          yes",
            "Hot servers:     refreshed at the full rate",
            "Cold servers:    as the gateway's release does (unsupported)",
            "Health checks:   60 % skipped",
            "Calls:           about 20 % of the last hour on lists older than twice the hot interval",
            "Refresh plan:    31 refreshes an hour planned (by tiers 28, at the full rate 60), above the budget, which \
             would have to be 52 %",
            "Followed by:     3 gateway processes; 1 refresh by tiers (doctor says which)",
            "Unsupported:     http://w: health checks of cold servers: replaced",
            "Permissions:     PermissionsMissing: grant it",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line} is missing in:\n{text}");
        }
        assert!(text.contains("\nSuspended:       yes; resume with kubectl patch mcpfleet f -n n"), "{text}");
    }
}
