//! `status`: the status of a fleet, from the `McpGatewayFleet` object that its leader writes.

use anyhow::Context;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::{StatusArgs, runtime};
use crate::api::conditions::FleetConditionType;
use crate::api::v1alpha1::{FleetStatus, McpGatewayFleet, ObjectCounts, ServerCounts};
use crate::explanation;
use crate::model::polling::PollingState;

/// Reads the status, and returns what to print. Fails unless there is exactly one fleet object with a status.
pub(super) fn status(args: StatusArgs) -> anyhow::Result<String> {
    let StatusArgs { fleet, output } = args;
    let fleet = runtime()?.block_on(async { fleet.connect()?.fleet().await })?;
    let status =
        fleet.status.as_ref().context("the McpGatewayFleet has no status: no replica has led since it was created")?;
    Ok(output.text(status, || table(&fleet, status)))
}

fn table(fleet: &McpGatewayFleet, status: &FleetStatus) -> String {
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
    let mut lines = vec![
        ("Leader", known(leader.as_ref().map(|leader| leader.identity.clone()))),
        ("Leader since", known(leader.as_ref().map(|leader| leader.since.0.to_string()))),
        ("Term", known(term.map(|term| term.to_string()))),
        ("Objects", format!("{total} ({disabled} disabled, {refused} refused)")),
        ("Servers", format!("{unique} ({hot} hot, {cold} cold, {unclassified} unclassified)")),
        ("Usage", condition(FleetConditionType::UsageComplete, "complete")),
        ("Endpoints", endpoints.to_string()),
    ];
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
    ]);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
                "unregistered": ["http://x", "http://y"],
                "identityConflicts": ["gatewayId 1 is registered for http://x, but workers report it for http://z"],
                "gateways": {"reason": "Obeyed", "hotAtFullRate": "Active", "coldHealth": "Unsupported",
                    "healthChecksSkippedPercent": 60,
                    "unsupported": ["http://w: health checks of cold servers: replaced"]},
                "conditions": [
                    condition("Permitted", "False", "PermissionsMissing"),
                    condition("Obeyed", "True", "Obeyed"),
                ],
            },
        });
        let fleet: McpGatewayFleet = serde_json::from_value(fleet).unwrap();
        let text = table(&fleet, fleet.status.as_ref().unwrap());
        for line in [
            "Leader:          pod_1",
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
            "Unsupported:     http://w: health checks of cold servers: replaced",
            "Permissions:     PermissionsMissing: grant it",
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line} is missing in:\n{text}");
        }
        assert!(text.contains("\nSuspended:       yes; resume with kubectl patch mcpfleet f -n n"), "{text}");
    }
}
