//! What would change the tier of an object, and what else to know about it. Pure text.

use super::{CutOff, FleetNumbers, Observations, RedisAnswer, owner_of_id, server};
use crate::api::conditions::FleetConditionType;
use crate::api::conditions::{ConditionType, Reason};
use crate::api::v1alpha1::McpGatewayFleet;
use crate::leadership::record::LeaseView;
use crate::model::{ServerUrl, Tier};
use crate::registry::{Gateway, Registration};

/// What would make it hot or keep it hot, or what to do.
pub(super) fn next(
    gateway: &Gateway,
    reason: Reason,
    cut_off: Option<&CutOff>,
    numbers: &FleetNumbers,
    observations: &Observations,
) -> String {
    let command = |patch: &str| {
        let name = &gateway.record.name;
        format!("kubectl patch mcpgateway {} -n {} --type=merge -p '{patch}'", name.name, name.namespace)
    };
    match reason {
        Reason::AboveCut => "it stays hot until as many servers as may be hot are used after it".to_owned(),
        Reason::Held => {
            let endpoints = observations.status().map(|status| format!(" ({})", status.endpoints)).unwrap_or_default();
            format!(
                "see why the endpoint that reported its use is silent{endpoints}: after three intervals its rank \
                 decides"
            )
        }
        Reason::Pinned => "it stays hot while spec.polling.tier of one of its objects is Hot".to_owned(),
        Reason::BelowCut => match cut_off.filter(|cut_off| cut_off.is_no_later_than(gateway)) {
            Some(CutOff { object, .. }) => format!(
                "more active sessions or requests than a hot server: it was used no earlier than {object}, which is \
                 hot, and uses within one --recency-resolution count as equally recent"
            ),
            None => format!("{}{}", after(cut_off), unless_overtaken(numbers)),
        },
        Reason::NeverUsed => format!(
            "its first use that a worker reports{}; if it is in use, compare spec.url and spec.gatewayId with the \
             worker's{}",
            unless_overtaken(numbers),
            similar_unregistered(gateway, observations)
        ),
        Reason::CapIsZero => {
            let servers = numbers.servers.map(|n| format!(" ({n} now)")).unwrap_or_default();
            format!("the hot share of so few servers{servers} is less than one: set --min-hot, or raise --hot-fraction")
        }
        Reason::AwaitingUsage => {
            format!("a collection that began after it appeared has to end, in an interval or two{}", gaps(observations))
        }
        Reason::Suspended => format!("resume the fleet: {}", resume_command(observations)),
        Reason::UsageIncomplete => format!("more workers have to report their use{}", gaps(observations)),
        Reason::Disabled => format!("enable it: {}", command(r#"{"spec":{"enabled":true}}"#)),
        Reason::InvalidUrl => INVALID_URL.to_owned(),
        Reason::CredentialInUrl => CREDENTIAL_IN_URL.to_owned(),
        Reason::DuplicateGatewayId => {
            let owner = owner_of_id(gateway, &observations.registry).unwrap_or_else(|| "an older object".to_owned());
            let remove = command(r#"{"spec":{"gatewayId":null}}"#);
            format!("{owner} is older and keeps this spec.gatewayId: correct or remove it here ({remove}), or there")
        }
        Reason::Pending
        | Reason::Valid
        | Reason::NotAccepted
        | Reason::Classified
        | Reason::Registered
        | Reason::TooManyPinned
        | Reason::InvalidRefreshRequest => pending(observations),
        Reason::UpstreamUnreachable
        | Reason::UpstreamUnauthorized
        | Reason::NameConflict
        | Reason::UrlConflict
        | Reason::ToolNameConflict
        | Reason::Rejected
        | Reason::NotOwner
        | Reason::CredentialsInvalid
        | Reason::SecretMissing
        | Reason::UpdateNotApplied
        | Reason::ContextForgeUnreachable
        | Reason::RateLimited
        | Reason::Unauthorized
        | Reason::NotAllowed
        | Reason::NotConfigured => "see the condition Registered".to_owned(),
    }
}

const INVALID_URL: &str = "set spec.url to an http:// or https:// URL with a host, of at most 767 printable \
    characters without blanks and #fragment, with no ; in its query and no % in the name of a parameter, and spec.gatewayId to letters, digits, '.', '_' and '-'";

const CREDENTIAL_IN_URL: &str = "take the credential out of spec.url, replace it (it has been in the cluster's store), \
    and give the new one to the gateway as its authentication setting; if it is none, add the name of the query \
    parameter to spec.allowedQueryNames";

fn after(cut_off: Option<&CutOff>) -> String {
    match cut_off {
        Some(CutOff { object, last_used: Some(time), .. }) => {
            format!("a request to it after {time}, when {object}, the last hot one, was last used")
        }
        Some(CutOff { object, .. }) => format!("a request to it after the last use of {object}, the last hot one"),
        None => "a request to it after the last use of the last hot one".to_owned(),
    }
}

fn unless_overtaken(numbers: &FleetNumbers) -> String {
    match numbers.hot_cap.or(numbers.hot) {
        Some(cap @ 1..) => format!(", as long as fewer than {cap} others are used after that"),
        _ => String::new(),
    }
}

/// The operator has not judged this spec yet.
fn pending(observations: &Observations) -> String {
    match &observations.leader {
        Ok(LeaseView::Held(_)) => {
            let failed = observations.status().and_then(|status| status.failed(FleetConditionType::RegistryRead));
            let problem = failed.map(|it| format!("; it cannot read the objects: {}: {}", it.reason, it.message));
            format!("{LEADER_WAITS}{}", problem.unwrap_or_default())
        }
        Ok(_) => "no replica leads: start the operator, or read the log of its pods".to_owned(),
        Err(_) => "check that an operator runs and watches this namespace (kubectl mcpgw status)".to_owned(),
    }
}

const LEADER_WAITS: &str = "wait for the leader; if it takes more than an interval, check that the leader watches this \
    namespace and these labels (--watch-namespace, --watch-selector), and read its log";

/// The leader, in a few words.
pub(super) fn leader(leader: &Result<LeaseView, String>) -> String {
    match leader {
        Ok(LeaseView::Held(holder)) => holder.clone(),
        Ok(LeaseView::Expired { holder, renewed: Some(renewed) }) => {
            format!("nobody: {holder} last renewed the Lease at {renewed}")
        }
        Ok(LeaseView::Expired { holder, renewed: None }) => format!("nobody: {holder} never renewed the Lease"),
        Ok(LeaseView::Free) => "nobody: the Lease is free".to_owned(),
        Ok(LeaseView::Missing) => "nobody: there is no Lease".to_owned(),
        Err(why) => format!("unknown: {why}"),
    }
}

/// What else to know about the object.
pub(super) fn notes(gateway: &Gateway, reason: Reason, observations: &Observations) -> Vec<String> {
    let mut notes = Vec::new();
    let status = &gateway.record.status;
    if status.condition(ConditionType::Accepted).is_some() && !status.current {
        notes.push("the status is that of an older spec: the operator has not judged the last change yet".to_owned());
    }
    let is_pinned = status.condition(ConditionType::Pinned).and_then(|pinned| pinned.reason);
    if is_pinned == Some(Reason::TooManyPinned) {
        notes.push(
            "spec.polling.tier asks for a pin, but older objects pin as many servers as --max-pinned allows".to_owned(),
        );
    }
    if observations.leader.as_ref().is_ok_and(|lease| !matches!(lease, LeaseView::Held(_))) {
        notes.push("no replica leads: tiers do not change, and what is published in Redis expires".to_owned());
    }
    let suspended = observations.fleet.as_ref().is_some_and(McpGatewayFleet::is_suspended);
    if suspended && reason != Reason::Suspended {
        let resume = resume_command(observations);
        notes.push(format!("the fleet is suspended, so nothing is classified or published; resume it with {resume}"));
    }
    if !observations.complete {
        notes.push("the cut-off is unknown: ask for list on mcpgateways wherever the operator watches".to_owned());
    }
    if observations.status().is_some_and(|status| status.failed(FleetConditionType::UsageComplete).is_some()) {
        notes.push(format!("the operator does not know all usage{}", gaps(observations)));
    }
    match &observations.redis {
        RedisAnswer::NotAsked => {}
        RedisAnswer::Failed(why) => {
            notes.push(format!("the publication and the next polls are unknown: {why}"));
        }
        // Gateways see no tiers then, which the note above explains.
        RedisAnswer::Answered { .. } if suspended => {}
        RedisAnswer::Answered { published: None, .. } => {
            let state = observations.status().map(|status| format!(" (publication: {})", status.publication));
            let state = state.unwrap_or_default();
            notes.push(format!("nothing is published in Redis, so gateways poll every server at the full rate{state}"));
        }
        RedisAnswer::Answered { polls, .. } => {
            notes.extend(tiers_differ(gateway, polls.first().and_then(|poll| poll.decision.tier)));
        }
    }
    notes
}

/// Gateways see another tier in Redis than people see in the status.
fn tiers_differ(gateway: &Gateway, published: Option<Tier>) -> Option<String> {
    let registered = matches!(gateway.registration, Registration::Registered { .. });
    let written = gateway.record.status.tier.filter(|_| registered);
    let word = |tier: Option<Tier>| tier.map_or("no tier", Into::into);
    (written != published && server(gateway).is_some()).then(|| {
        let (redis, status) = (word(published), word(written));
        format!(
            "the tier is {redis} in Redis and {status} in the status: gateways go by Redis; if that lasts for more \
             than a cycle, see kubectl mcpgw status"
        )
    })
}

/// Which reports are missing, as a clause to be appended.
fn gaps(observations: &Observations) -> String {
    let Some(status) = observations.status() else { return " (see kubectl mcpgw status)".to_owned() };
    let usage = status.condition(FleetConditionType::UsageComplete).map_or("unknown", |usage| &usage.reason);
    format!(" (usage: {usage}; endpoints: {})", status.endpoints)
}

fn resume_command(observations: &Observations) -> String {
    let command = observations.fleet.as_ref().map(McpGatewayFleet::resume_command);
    command.unwrap_or_else(|| "set spec.suspend of its McpGatewayFleet to false".to_owned())
}

/// Unregistered servers with the same host that workers use: most likely this one by another spelling.
fn similar_unregistered(gateway: &Gateway, observations: &Observations) -> String {
    let (Some(url), Some(status)) = (server(gateway), observations.status()) else { return String::new() };
    let same_host = |used: &&String| host(used).is_some() && host(used) == host(ServerUrl::expose(url));
    let similar: Vec<&str> = status.unregistered.iter().filter(same_host).map(String::as_str).collect();
    if similar.is_empty() { String::new() } else { format!(" (used but not registered: {})", similar.join(", ")) }
}

fn host(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?']).next().map(|host| host.rsplit_once(':').map_or(host, |(host, _)| host))
}
