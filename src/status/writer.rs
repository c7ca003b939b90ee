//! Writes planned statuses. IO: the API server; the only writer of statuses.
//!
//! In: a [`LeadershipToken`] and the changes of a plan. Out: what became of them, and what is in the way if something is. It decides
//! nothing about statuses: a write that is refused or lost is planned again by the next turn, from what the watch then
//! shows, so there is no retry in here. It does decide how much of a plan is tried while writes fail ([`course`]).

mod cause;
mod course;
mod metrics;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource};
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tracing::{debug, info, warn};

use super::StatusChange;
use crate::api::FIELD_MANAGER;
use crate::api::conditions::ConditionStatus;
use crate::api::v1alpha1::{McpGateway, McpGatewayStatus};
use crate::clock;
use crate::leadership::{LeadershipToken, WritePermit};
use crate::model::{ObjectName, Problem, ProblemReason};
use course::{Backlog, Course};
pub use metrics::Metrics;

/// The longest that one write may take (SPEC section 5).
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes at once. Enough to keep an API server busy, few enough not to need a place in its queue for each.
const CONCURRENCY: usize = 16;

/// How the API server refuses a write because of its term: by the rule of the CRD, and by the admission policy.
const FENCES: [&str; 2] = ["status.term must not fall", "status.term must not be below"];

/// What became of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// Stored.
    Written,
    /// Stored, but for the term, which the CRD does not know.
    TermDropped,
    /// The object has moved on since; the next turn sees how.
    Conflict,
    /// The object is gone.
    Gone,
    /// The API server knows of a higher term (the CRD's term rule): somebody else leads.
    Fenced,
    /// The API server refuses what is written, for another reason.
    Refused,
    /// The token ended before or during the write.
    LeadershipOver,
    /// No answer, or an error of the server.
    Failed,
}

impl WriteOutcome {
    /// The label of metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::TermDropped => "term_dropped",
            Self::Conflict => "conflict",
            Self::Gone => "gone",
            Self::Fenced => "fenced",
            Self::Refused => "refused",
            Self::LeadershipOver => "mandate_over",
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

/// What the writer tells, besides its reports.
#[derive(Clone)]
pub struct Outputs {
    /// Events on gateways.
    pub recorder: Arc<Recorder>,
    /// What keeps statuses from being written at present.
    pub problem: watch::Sender<Option<Problem>>,
}

/// The writer of statuses; see the module's text.
pub struct StatusWriter {
    client: Client,
    resource: ApiResource,
    interval: Duration,
    outputs: Outputs,
    metrics: Metrics,
    backlog: Mutex<Backlog>,
}

impl StatusWriter {
    /// `client` must not retry on its own: a write must not be replayed after the token is over. `interval`: the longest
    /// that the writes of one turn may hold up the next.
    #[must_use]
    pub fn new(client: Client, interval: Duration, outputs: Outputs, metrics: Metrics) -> Self {
        // Dynamic, because the answer holds the whole object, and one that does not parse would look like a failure.
        let resource = ApiResource::erase::<McpGateway>(&());
        Self { client, resource, interval, outputs, metrics, backlog: Mutex::default() }
    }

    /// Writes the changes, some at a time; stops early when the token ends, a higher term is met, or the time is over.
    pub async fn apply(&self, token: &LeadershipToken, changes: Vec<StatusChange>) -> WriteReport {
        let mut report = WriteReport::default();
        let mut met: Option<(ObjectName, Problem)> = None;
        let mut backlog = self.backlog.lock().await;
        let mut course = Course::new(&mut backlog, changes, self.interval, clock::monotonic());
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < CONCURRENCY
                && let Some(change) = course.next(clock::monotonic())
            {
                running.push(self.write(token, change));
            }
            let Some((change, outcome, problem)) = running.next().await else { break };
            self.metrics.count(&change, outcome);
            match outcome {
                WriteOutcome::Written | WriteOutcome::TermDropped => report.written += 1,
                WriteOutcome::Conflict | WriteOutcome::Gone => report.overtaken += 1,
                WriteOutcome::Fenced => {
                    let error = problem.map(|problem| problem.advice).unwrap_or_default();
                    warn!(object = %change.name, term = %token.term(), error, "the API server refuses our term");
                    report.fenced += 1;
                    return report;
                }
                WriteOutcome::LeadershipOver => return report,
                WriteOutcome::Refused | WriteOutcome::Failed => report.failed += 1,
            }
            if matches!(outcome, WriteOutcome::Refused | WriteOutcome::Failed) {
                course.failed(&change.name, clock::monotonic());
            } else {
                course.taken(&change.name);
            }
            if let (None, Some(problem)) = (&met, problem) {
                // The first one speaks for the turn: the cause is most likely the same for all.
                met = Some((change.name, problem));
            }
        }
        self.metrics.deferred(course.left);
        let over = if self.term_is_dropped() { report.written > 0 } else { course.is_over(clock::monotonic()) };
        if met.is_some() || over {
            self.tell_problem(met);
        }
        report
    }

    /// Whether the last that was heard is that the CRD drops the term. Only a write that keeps it says otherwise.
    fn term_is_dropped(&self) -> bool {
        self.outputs.problem.borrow().as_ref() == Some(&cause::term_dropped())
    }

    fn tell_problem(&self, met: Option<(ObjectName, Problem)>) {
        let (object, now) = met.unzip();
        let object = object.map(|name| name.to_string()).unwrap_or_default();
        self.outputs.problem.send_if_modified(|before| {
            let news = Problem::replace(before, now);
            match (news, &*before) {
                (false, _) => {}
                (true, Some(problem @ Problem { reason, detail, .. })) => {
                    let advice = problem.message();
                    warn!(object, %reason, error = detail, "writing a status failed: {advice}; trying on");
                }
                (true, None) => info!("nothing is in the way of status writes any more"),
            }
            news
        });
    }

    async fn write(
        &self,
        token: &LeadershipToken,
        change: StatusChange,
    ) -> (StatusChange, WriteOutcome, Option<Problem>) {
        let Some(WritePermit { remaining, .. }) = &token.begin_write(clock::monotonic()) else {
            return (change, WriteOutcome::LeadershipOver, None);
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &change.name.namespace, &self.resource);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(body(&change));
        let call = api.patch_status(&change.name.name, &params, &patch);
        let (outcome, problem) = match tokio::time::timeout(WRITE_TIMEOUT.min(*remaining), call).await {
            Ok(Ok(stored)) if stored.data["status"]["term"] == json!(change.status.term) => {
                (WriteOutcome::Written, None)
            }
            Ok(Ok(_)) => (WriteOutcome::TermDropped, Some(cause::term_dropped())),
            Ok(Err(kube::Error::Api(status))) => match cause::outcome_of(&status) {
                overtaken @ (WriteOutcome::Conflict | WriteOutcome::Gone) => (overtaken, None),
                other => (other, Some(cause::problem(&status))),
            },
            Ok(Err(error)) => (
                WriteOutcome::Failed,
                Some(
                    Problem::new(ProblemReason::Unreachable, "the API server does not answer")
                        .saying(error.to_string()),
                ),
            ),
            Err(_) => (WriteOutcome::Failed, Some(cause::timed_out())),
        };
        if matches!(outcome, WriteOutcome::Written | WriteOutcome::TermDropped) {
            self.tell(&change).await;
        }
        (change, outcome, problem)
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
        let publish = self.outputs.recorder.publish(&event, &object);
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let crd = crate::api::crds_yaml();
        let policy = include_str!("../../charts/mcpgateway-operator/files/admission-policy.yaml");
        let [rule, compared] = FENCES;
        assert!(crd.contains(rule) && policy.contains(compared));
    }
}
