//! What would change the tier of an object, and what to do where something is in the way. Pure words.

use super::{CutOff, Fleet, Leader, Redis, Signs, keeper, server};
use crate::api::conditions::{ConditionType, Reason};
use crate::model::{ServerUrl, Tier};
use crate::registry::{Gateway, Registration};

/// What would make it hot, or keep it so; or what to do.
pub(super) fn next(
    gateway: &Gateway,
    reason: Reason,
    cut_off: Option<&CutOff>,
    fleet: &Fleet,
    signs: &Signs<'_>,
) -> String {
    let command = |rest: &str| {
        let name = &gateway.record.name;
        format!("kubectl patch mcpgateway {} -n {} --type=merge -p '{rest}'", name.name, name.namespace)
    };
    match reason {
        Reason::AboveCut => "it stays hot until as many servers as may be hot were used after it".to_owned(),
        Reason::Held => {
            let who = fact(signs, "endpoints").map(|fact| format!(" ({fact})")).unwrap_or_default();
            format!(
                "it stays hot for three intervals after the endpoint that knew of its use fell silent{who}; then its rank decides: see why that endpoint does not answer"
            )
        }
        Reason::BelowCut => format!("{}{}", after(cut_off), and_room(fleet)),
        Reason::NeverUsed => format!(
            "its first request that a worker reports{}; if it is in use already, the workers know it by another URL or id: compare spec.url and spec.gatewayId with theirs{}",
            and_room(fleet),
            unregistered(gateway, signs)
        ),
        Reason::CapIsZero => {
            let servers = fleet.servers.map(|n| format!(" ({n} now)")).unwrap_or_default();
            format!(
                "no use of it can, while the share of so few servers{servers} is less than one: set --min-hot to 1 or more, or raise --hot-fraction (0.20 makes one of every five hot)"
            )
        }
        Reason::AwaitingUsage => format!(
            "a collection that began after it appeared has to end, which takes an interval or two{}",
            gaps(signs)
        ),
        Reason::Suspended => {
            "the fleet has to be resumed: set spec.suspend of its McpGatewayFleet to false".to_owned()
        }
        Reason::UsageIncomplete => format!("more workers have to report their use{}", gaps(signs)),
        Reason::Disabled => format!("enable it: {}", command(r#"{"spec":{"enabled":true}}"#)),
        Reason::InvalidUrl => {
            "write a spec.url of http:// or https:// with a host, at most 767 printable characters, no blanks and no #fragment, and a spec.gatewayId of letters, digits, '.', '_' and '-'".to_owned()
        }
        Reason::CredentialInUrl => {
            "take the credential out of spec.url, change it (it has been in the cluster's store), and give the new one to the gateway as its authentication setting".to_owned()
        }
        Reason::DuplicateGatewayId => {
            let other = keeper(gateway, signs.registry).unwrap_or_else(|| "an older object".to_owned());
            format!(
                "{other} is older and keeps this spec.gatewayId: give this object the id that its own server has at the gateways, remove it ({}), or delete or disable the other one",
                command(r#"{"spec":{"gatewayId":null}}"#)
            )
        }
        Reason::Pending | Reason::Valid | Reason::NotAccepted | Reason::Classified | Reason::Registered => {
            pending(signs)
        }
    }
}

fn after(cut_off: Option<&CutOff>) -> String {
    match cut_off {
        Some(CutOff { object, last_used: Some(time), .. }) => {
            format!("a request to it after {time}, when {object}, the last hot one, was last used")
        }
        Some(CutOff { object, .. }) => format!("a request to it after the last use of {object}, the last hot one"),
        None => "a request to it after the last use of the last hot one".to_owned(),
    }
}

fn and_room(fleet: &Fleet) -> String {
    match fleet.hot_cap.or(fleet.hot) {
        Some(cap @ 1..) => format!(", as long as fewer than {cap} others are used after that"),
        _ => String::new(),
    }
}

/// The operator has not said anything of this spec yet.
fn pending(signs: &Signs<'_>) -> String {
    match signs.leader {
        Leader::Leads(_) => {
            let watch = fact(signs, "registryWatch").filter(|fact| *fact != "Fine");
            let watch = watch.map(|fact| format!("; its watch of the registry says: {fact}")).unwrap_or_default();
            format!(
                "the leader has not looked at it yet: if that stays so for an interval, see whether it watches this namespace and these labels (--watch-namespace, --watch-selector) and what it logs{watch}"
            )
        }
        Leader::Late { .. } | Leader::Nobody => {
            "no replica leads, so nothing is classified: start the operator, or see what its pods log".to_owned()
        }
        Leader::Unknown(_) => {
            "the operator has not looked at it yet: see whether one runs and watches this namespace (kubectl mcpgw status -n its namespace)".to_owned()
        }
    }
}

/// Who leads, in a few words.
pub(super) fn leader(leader: &Leader) -> String {
    match leader {
        Leader::Leads(holder) => holder.clone(),
        Leader::Late { holder, renewed } => format!("nobody: {holder} last renewed the Lease at {renewed}"),
        Leader::Nobody => "nobody: the Lease is free, or there is none".to_owned(),
        Leader::Unknown(why) => format!("unknown: {why}"),
    }
}

/// What else is to be known.
pub(super) fn notes(gateway: &Gateway, generation: i64, signs: &Signs<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    let status = &gateway.record.status;
    if status.condition(ConditionType::Accepted).is_some() && status.observed_generation != Some(generation) {
        notes.push("the status speaks of an older spec: the operator has not looked at the last change yet".to_owned());
    }
    if let Leader::Late { .. } | Leader::Nobody = signs.leader {
        notes.push("no replica leads: tiers stand still, and what is published in Redis expires".to_owned());
    }
    if !signs.whole {
        notes.push(
            "not all objects may be listed, so the fleet and its cut-off are left out: ask for list on mcpgateways in all namespaces that the operator watches"
                .to_owned(),
        );
    }
    if let Some(usage @ ("Partial" | "Incomplete")) = fact(signs, "usage").and_then(|fact| fact.split(':').next()) {
        notes.push(format!("the picture of the use is {}{}", usage.to_lowercase(), gaps(signs)));
    }
    match signs.redis {
        Redis::NotAsked => {}
        Redis::Failed(why) => notes.push(format!("Redis did not say what is published and when polls are due: {why}")),
        Redis::Said { published, polls } => {
            let found = polls.first().and_then(|poll| poll.decision.tier);
            notes.extend(differs(gateway, published.is_some(), found, signs));
        }
    }
    notes
}

/// Whether gateways see another tier in Redis than people see in the status.
fn differs(gateway: &Gateway, published: bool, found: Option<Tier>, signs: &Signs<'_>) -> Option<String> {
    if !published {
        let says = fact(signs, "publication").map(|fact| format!(" (publication: {fact})")).unwrap_or_default();
        return Some(format!("nothing is published in Redis, so gateways poll everything at the full rate{says}"));
    }
    let registered = matches!(gateway.registration, Registration::Registered { .. });
    let written = gateway.record.status.tier.filter(|_| registered);
    let word = |tier: Option<Tier>| tier.map_or("no tier", Tier::as_str);
    (written != found && server(gateway).is_some()).then(|| {
        format!(
            "Redis says {} and the status {}: gateways go by Redis; that passes with the next cycle unless publishing or status writes fail (see the fleet's status)",
            word(found),
            word(written)
        )
    })
}

/// Which workers are missing, as a clause to be appended.
fn gaps(signs: &Signs<'_>) -> String {
    let [usage, endpoints] = ["usage", "endpoints"].map(|key| fact(signs, key));
    match (usage, endpoints) {
        (Some(usage), Some(endpoints)) => format!(" (usage: {usage}; endpoints: {endpoints})"),
        _ => " (see the fleet's status)".to_owned(),
    }
}

/// Servers of the same host that workers use and nobody has registered: most likely this one by another spelling.
fn unregistered(gateway: &Gateway, signs: &Signs<'_>) -> String {
    let near = |url: &ServerUrl| {
        let all = fact(signs, "unregistered").unwrap_or_default().split(' ');
        let same: Vec<&str> = all.filter(|used| host(used).is_some() && host(used) == host(url.expose())).collect();
        same.join(" ")
    };
    match server(gateway).map(near).filter(|found| !found.is_empty()) {
        Some(found) => format!(" (used and not registered: {found})"),
        None => String::new(),
    }
}

fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?']).next().map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host))
}

fn fact<'a>(signs: &Signs<'a>, key: &str) -> Option<&'a str> {
    signs.facts?.get(key).map(String::as_str)
}
