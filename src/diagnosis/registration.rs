//! Findings about the registration of servers in `ContextForge`. Pure.

use std::collections::HashMap;
use std::time::Duration;

use super::{Finding, some};
use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::contextforge::call_error::{CallError, scrubbed};
use crate::contextforge::entry::Entry;
use crate::contextforge::scope::Validity;
use crate::model::{GatewayId, UnixTime};
use crate::registry::{GatewayRecord, RegistrySnapshot};

/// The permissions that registering needs.
const PERMISSIONS: [&str; 4] = ["gateways.read", "gateways.create", "gateways.update", "gateways.delete"];
/// How long before its end a token is worth a note.
const RENEW_BEFORE: Duration = Duration::from_hours(24 * 14);

/// What was read from `ContextForge`.
#[derive(Debug)]
pub enum ContextForgeReading {
    /// `--contextforge-url` was not given.
    NotAsked,
    /// A file cannot be used, and why.
    NoAccess(String),
    /// The answers.
    Asked(ContextForgeObservations),
}

/// The answers of `ContextForge`, and the claims of the token.
#[derive(Debug)]
pub struct ContextForgeObservations {
    /// The entries that the token can see.
    pub entries: Result<Vec<Entry>, CallError>,
    /// The user of the token, if it says so.
    pub user: Option<String>,
    /// How long the token is valid and for what.
    pub validity: Validity,
    /// How many requests in a minute are allowed, if `ContextForge` says so.
    pub allowed_rate: Option<u32>,
    /// How many the operator sends at most.
    pub requests_per_minute: u32,
    /// When this was read.
    pub now: UnixTime,
}

pub(super) fn judge(registry: Option<&RegistrySnapshot>, contextforge: &ContextForgeReading) -> Vec<Finding> {
    let records: Vec<&GatewayRecord> =
        registry.into_iter().flat_map(RegistrySnapshot::gateways).map(|gateway| &*gateway.record).collect();
    let mut findings = judge_objects(&records);
    match contextforge {
        ContextForgeReading::NotAsked => {
            if records.iter().any(|record| record.registration().is_some()) {
                let what = "objects ask to be registered, and ContextForge was not checked";
                let advice = "give doctor the --contextforge-… flags of the operator";
                findings.push(Finding::note("NoContextForgeUrl", what, advice));
            }
        }
        ContextForgeReading::NoAccess(why) => {
            let advice = "correct the file, or the flag that names it";
            findings.push(Finding::problem("TokenRefused", format!("ContextForge was not asked: {why}"), advice));
        }
        ContextForgeReading::Asked(observations) => {
            findings.extend(judge_token(observations));
            match &observations.entries {
                Ok(entries) => findings.extend(judge_entries(&records, entries, observations.user.as_deref())),
                Err(error) => findings.push(judge_answer(error)),
            }
            findings.extend(judge_rate(observations));
        }
    }
    findings
}

/// What the conditions and finalizers of the objects say.
fn judge_objects(records: &[&GatewayRecord]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut failing, mut refused, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        match failed(record) {
            None | Some(Reason::Disabled) => {}
            Some(Reason::Rejected) => refused.push(record.name.to_string()),
            Some(reason) => failing.push(format!("{} ({reason})", record.name)),
        }
        if record.finalizer && failed(record) == Some(Reason::NotConfigured) {
            left.push(record.name.to_string());
        }
    }
    if !failing.is_empty() {
        let advice = "read the message of the condition Registered: kubectl describe mcpgateway";
        findings.push(Finding::problem("RegistrationFailing", format!("not registered: {}", some(&failing)), advice));
    }
    if !refused.is_empty() {
        let advice = "read the message of the condition Registered; a private address needs SSRF_ALLOWED_NETWORKS or \
                      SSRF_ALLOW_PRIVATE_NETWORKS in the environment of ContextForge, a loopback address \
                      SSRF_ALLOW_LOCALHOST, and a name has to resolve there";
        let what = format!("ContextForge refuses to register: {}", some(&refused));
        findings.push(Finding::problem("RegistrationRejected", what, advice));
    }
    if !left.is_empty() {
        let what = format!("the operator has no --contextforge-url, so these cannot be deleted: {}", some(&left));
        let advice = "give the operator its --contextforge-url, or remove the finalizer and keep the entry: kubectl \
                      patch mcpgateway NAME --type=merge -p '{\"metadata\":{\"finalizers\":null}}'";
        findings.push(Finding::problem("FinalizerLeft", what, advice));
    }
    findings
}

/// Why the server of the present spec is not registered.
fn failed(record: &GatewayRecord) -> Option<Reason> {
    let condition = record.status.condition(ConditionType::Registered)?;
    condition.reason.filter(|_| condition.current && condition.status == Some(ConditionStatus::False))
}

fn judge_token(observations: &ContextForgeObservations) -> Vec<Finding> {
    let ContextForgeObservations { validity: Validity { expires, permissions }, now, .. } = observations;
    let renew = "make a new one for the file of --contextforge-token-file (docs/registration.md); a token cannot renew \
                 itself";
    let mut findings = Vec::new();
    if let Some(expires) = expires {
        if expires <= now {
            findings.push(Finding::problem("TokenExpired", format!("the token expired at {expires}"), renew));
        } else if expires.since(*now) < RENEW_BEFORE {
            findings.push(Finding::note("TokenExpires", format!("the token expires at {expires}"), renew));
        }
    }
    let is_missing = |name: &&str| !permissions.iter().any(|given| given == name || given == "*");
    let missing: Vec<&str> = PERMISSIONS.into_iter().filter(is_missing).collect();
    if !permissions.is_empty() && !missing.is_empty() {
        let what = format!("the token is not for {}", missing.join(", "));
        let advice = "make one whose scope.permissions has all four (docs/registration.md)";
        findings.push(Finding::problem("PermissionLacking", what, advice));
    }
    findings
}

fn judge_answer(error: &CallError) -> Finding {
    let (finding, advice) = match error {
        CallError::Unauthorized => (
            "TokenRefused",
            "make a new token (docs/registration.md): it may have expired or been revoked, or its user may be gone",
        ),
        CallError::Forbidden { .. } => (
            "PermissionLacking",
            "give its user a role with gateways.read, gateways.create, gateways.update and gateways.delete",
        ),
        CallError::RateLimited { .. } => (
            "RateTooHigh",
            "lower --contextforge-requests-per-minute, and use the account of the operator for nothing else",
        ),
        _ => (
            "ContextForgeUnreachable",
            "check --contextforge-url, --contextforge-ca-file, the network policy, and the log of ContextForge",
        ),
    };
    Finding::problem(finding, format!("the entries of ContextForge cannot be listed: {error}"), advice)
}

/// Whether the token may change the registered entries.
fn judge_entries(records: &[&GatewayRecord], entries: &[Entry], user: Option<&str>) -> Vec<Finding> {
    let by_id: HashMap<&GatewayId, &Entry> = entries.iter().map(|entry| (&entry.id, entry)).collect();
    let (mut unseen, mut foreign) = (Vec::new(), Vec::new());
    for record in records {
        let Some(id) = record.entry_id() else { continue };
        match by_id.get(&id).map(|entry| entry.owner_email.as_deref()) {
            None => unseen.push(format!("{} (id {id})", record.name)),
            Some(Some(owner)) if user.is_some_and(|user| user != owner) => {
                foreign.push(format!("{} ({})", record.name, scrubbed(owner, &[])));
            }
            Some(_) => {}
        }
    }
    let mut findings = Vec::new();
    if !unseen.is_empty() {
        let what = format!("the token does not see the entries of {}", some(&unseen));
        let advice = "they were deleted, or they are private to another user, or visible to a team that the account is \
                      not a member of; correct spec.gatewayId, or have them transferred (docs/registration.md)";
        findings.push(Finding::problem("EntryNotSeen", what, advice));
    }
    if !foreign.is_empty() {
        let what = format!("entries belong to another user: {}", some(&foreign));
        let advice = "have an administrator transfer them to the account of the operator (docs/registration.md)";
        findings.push(Finding::problem("EntryOfAnother", what, advice));
    }
    findings
}

fn judge_rate(observations: &ContextForgeObservations) -> Option<Finding> {
    let ContextForgeObservations { allowed_rate, requests_per_minute, .. } = observations;
    let allowed = allowed_rate.filter(|allowed| requests_per_minute > allowed)?;
    let what = format!("--contextforge-requests-per-minute is {requests_per_minute}; ContextForge allows {allowed}");
    let advice = "lower it: after five refusals within a quarter of an hour ContextForge locks the account out";
    Some(Finding::problem("RateTooHigh", what, advice))
}
