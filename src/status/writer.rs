//! Writes planned statuses. IO: the API server; the only writer of statuses.
//!
//! In: a [`Mandate`] and the changes of a plan. Out: what became of them. It decides nothing: a write that is refused or
//! lost is planned again by the next turn, from what the watch then shows, so there is no retry in here.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, Patch, PatchParams};
use kube::core::response::Status;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tracing::{debug, warn};

use super::StatusChange;
use crate::api::FIELD_MANAGER;
use crate::api::conditions::ConditionStatus;
use crate::api::v1alpha1::{McpGateway, McpGatewayStatus};
use crate::clock;
use crate::leadership::{Mandate, Write};

/// The longest that one write may take (SPEC section 5).
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes at once. Enough to keep an API server busy, few enough not to need a place in its queue for each.
const CONCURRENCY: usize = 16;

/// How the API server refuses a write because of its term: by the rule of the CRD, and by the admission policy.
const FENCES: [&str; 2] = ["status.term must not fall", "status.term must not be below"];

/// What became of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Stored.
    Written,
    /// The object has moved on since; the next turn sees how.
    Conflict,
    /// The object is gone.
    Gone,
    /// The API server knows of a higher term (the CRD's term rule): somebody else leads.
    Fenced,
    /// The API server refuses what is written, for another reason.
    Refused,
    /// The mandate ended before or during the write.
    MandateOver,
    /// No answer, or an error of the server.
    Failed,
}

impl Outcome {
    /// The label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Fenced => "fenced",
            Self::Refused => "refused",
            Self::MandateOver => "mandate_over",
            Self::Failed => "failed",
        }
    }
}

/// What became of the writes of one turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Stored.
    pub written: usize,
    /// Refused because of a newer version, or gone; the next turn sees to it.
    pub overtaken: usize,
    /// Refused because of a higher term.
    pub fenced: usize,
    /// Lost for another reason.
    pub failed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MoveLabels {
    from: &'static str,
    to: &'static str,
}

/// `status_writes_total{outcome}` and `tier_changes_total{from,to}`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    writes: Family<OutcomeLabel, Counter>,
    moves: Family<MoveLabels, Counter>,
}

impl Metrics {
    /// Adds them to a registry that carries the prefix.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("status_writes", "Status writes by what became of them", metrics.writes.clone());
        registry.register("tier_changes", "Tiers changed in statuses", metrics.moves.clone());
        metrics
    }

    fn count(&self, change: &StatusChange, outcome: Outcome) {
        self.writes.get_or_create(&OutcomeLabel { outcome: outcome.label() }).inc();
        if let (Outcome::Written, Some((from, to))) = (outcome, change.moved) {
            let word = |tier: Option<crate::model::Tier>| match tier {
                Some(crate::model::Tier::Hot) => "hot",
                Some(crate::model::Tier::Cold) => "cold",
                None => "unclassified",
            };
            self.moves.get_or_create(&MoveLabels { from: word(from), to: word(to) }).inc();
        }
    }
}

/// The writer of statuses; see the module's text.
#[derive(Clone)]
pub struct StatusWriter {
    client: Client,
    recorder: Arc<Recorder>,
    metrics: Metrics,
}

impl StatusWriter {
    /// `client` must not retry on its own: a write must not be replayed after the mandate is over.
    #[must_use]
    pub fn new(client: Client, recorder: Arc<Recorder>, metrics: Metrics) -> Self {
        Self { client, recorder, metrics }
    }

    /// Writes the changes, some at a time; stops early when the mandate ends or a higher term is met.
    pub async fn apply(&self, mandate: &Mandate, changes: Vec<StatusChange>) -> WriteReport {
        let mut report = WriteReport::default();
        let mut failure_told = false;
        let mut outcomes =
            stream::iter(changes).map(|change| self.write(mandate, change)).buffer_unordered(CONCURRENCY);
        while let Some((change, outcome, error)) = outcomes.next().await {
            self.metrics.count(&change, outcome);
            match outcome {
                Outcome::Written => report.written += 1,
                Outcome::Conflict | Outcome::Gone => report.overtaken += 1,
                Outcome::Fenced => {
                    warn!(object = %change.name, term = %mandate.term(), error, "the API server refuses our term");
                    report.fenced += 1;
                    break;
                }
                Outcome::MandateOver => break,
                Outcome::Refused | Outcome::Failed => {
                    report.failed += 1;
                    // One line a turn: the cause is most likely the same for all.
                    if !std::mem::replace(&mut failure_told, true) {
                        warn!(object = %change.name, outcome = outcome.label(), error, "writing a status failed");
                    }
                }
            }
        }
        report
    }

    async fn write(&self, mandate: &Mandate, change: StatusChange) -> (StatusChange, Outcome, String) {
        let Some(Write { remaining, .. }) = &mandate.begin_write(clock::monotonic()) else {
            return (change, Outcome::MandateOver, String::new());
        };
        let api: Api<McpGateway> = Api::namespaced(self.client.clone(), &change.name.namespace);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(body(&change));
        let call = api.patch_status(&change.name.name, &params, &patch);
        let (outcome, error) = match tokio::time::timeout(WRITE_TIMEOUT.min(*remaining), call).await {
            Ok(Ok(_)) => (Outcome::Written, String::new()),
            Ok(Err(kube::Error::Api(status))) => (outcome_of(&status), advice(&status)),
            Ok(Err(error)) => (Outcome::Failed, error.to_string()),
            Err(_) => (Outcome::Failed, "no answer in time".to_owned()),
        };
        if outcome == Outcome::Written {
            self.tell(&change).await;
        }
        (change, outcome, error)
    }

    /// An Event, if acceptance changed.
    async fn tell(&self, change: &StatusChange) {
        let Some((status, reason)) = change.accepted else { return };
        let event = Event {
            type_: if status == ConditionStatus::True { EventType::Normal } else { EventType::Warning },
            reason: if status == ConditionStatus::True { "Accepted".to_owned() } else { reason.as_str().to_owned() },
            note: Some(reason.message().to_owned()),
            action: "Accept".to_owned(),
            secondary: None,
        };
        let object = ObjectReference {
            api_version: Some(McpGateway::api_version(&()).into_owned()),
            kind: Some(McpGateway::kind(&()).into_owned()),
            namespace: Some(change.name.namespace.to_string()),
            name: Some(change.name.name.to_string()),
            uid: Some(change.uid.to_string()),
            ..ObjectReference::default()
        };
        let publish = self.recorder.publish(&event, &object);
        if !matches!(tokio::time::timeout(WRITE_TIMEOUT, publish).await, Ok(Ok(()))) {
            debug!(object = %change.name, reason = reason.as_str(), "an Event was lost");
        }
    }
}

/// The merge patch: the whole status, absent fields as `null`, so that nothing of an older one stays behind. Only the
/// usage is an object below it; its one optional field is nulled too.
fn body(change: &StatusChange) -> Value {
    let McpGatewayStatus { observed_generation, tier, tier_transition_time, rank, usage, conditions, term } =
        &change.status;
    let usage = usage.as_ref().map(|usage| {
        let mut fields = json!(usage);
        if usage.last_used_time.is_none() {
            fields["lastUsedTime"] = Value::Null;
        }
        fields
    });
    json!({
        "metadata": {"resourceVersion": change.resource_version},
        "status": {
            "observedGeneration": observed_generation,
            "tier": tier,
            "tierTransitionTime": tier_transition_time,
            "rank": rank,
            "usage": usage,
            "conditions": conditions,
            "term": term,
        },
    })
}

fn outcome_of(status: &Status) -> Outcome {
    match status.code {
        404 => Outcome::Gone,
        409 => Outcome::Conflict,
        422 if FENCES.iter().any(|words| status.message.contains(words)) => Outcome::Fenced,
        400..=428 => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

fn advice(status: &Status) -> String {
    if status.is_forbidden() {
        return format!(
            "forbidden: grant patch on mcpgateways/status.mcpgateway.io to the operator ({})",
            status.message
        );
    }
    format!("{} {}", status.code, status.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u16, message: &str) -> Status {
        Status { code, message: message.to_owned(), ..Status::default() }
    }

    #[test]
    fn answers_are_told_apart() {
        let fenced =
            "McpGateway.mcpgateway.io \"a\" is invalid: <nil>: Invalid value: status.term must not fall or be dropped";
        let cases = [
            (refusal(409, "the object has been modified"), Outcome::Conflict),
            (refusal(404, ""), Outcome::Gone),
            (refusal(422, fenced), Outcome::Fenced),
            (refusal(422, "denied request: status.term must not be below leaseTransitions"), Outcome::Fenced),
            (refusal(422, "status.rank: Invalid value"), Outcome::Refused),
            (refusal(403, ""), Outcome::Refused),
            (refusal(429, ""), Outcome::Failed),
            (refusal(503, ""), Outcome::Failed),
        ];
        for (status, outcome) in cases {
            assert_eq!(outcome_of(&status), outcome, "{}", status.code);
        }
    }

    #[test]
    fn the_patch_leaves_nothing_of_an_older_status_behind() {
        let change = StatusChange {
            name: crate::model::ObjectName::new("a", "b"),
            uid: "u".into(),
            resource_version: "41".into(),
            status: McpGatewayStatus { term: Some(3), ..McpGatewayStatus::default() },
            accepted: None,
            moved: None,
        };
        let body = body(&change);
        assert_eq!(body["metadata"], json!({"resourceVersion": "41"}));
        let status = body["status"].as_object().unwrap();
        assert_eq!(status.len(), 7);
        assert!(["tier", "rank", "usage", "tierTransitionTime"].iter().all(|field| status[*field].is_null()));
    }

    #[test]
    fn the_fences_say_what_the_writer_looks_for() {
        let crd = crate::api::crd_yaml();
        let policy = include_str!("../../charts/mcpgateway-operator/files/admission-policy.yaml");
        let [rule, compared] = FENCES;
        assert!(crd.contains(rule) && policy.contains(compared));
    }
}
