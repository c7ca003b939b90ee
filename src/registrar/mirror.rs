//! Writes the objects of the mirror namespace. IO: the API server; the only writer of mirrored objects.
//!
//! In: a [`LeadershipToken`] and a [`MirrorPlan`]. Out: what became of it. There is no retry in here: the next round
//! plans again, from what the watch then shows. Every write carries the term in an annotation, which the admission
//! policy compares with the Lease; an object gets the term first and is then deleted as the version that has it.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::api::v1alpha1::{McpGateway, MirrorStatus};
use crate::api::{FIELD_MANAGER, MIRRORED, TERM};
use crate::clock;
use crate::kube_error;
use crate::leadership::{LeadershipToken, WritePermit};
use crate::model::{OptionalGauge, Problem, ProblemReason, Term, registered};
use crate::registration::mirror::{Change, MirrorPlan, MirroredObject, MirroredSpec};

/// The longest that one change may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Changes in flight at once.
const CONCURRENCY: usize = 16;
/// How the admission policy refuses a write because of its term.
const FENCE: &str = "mcpgateway.io/term must not be below";

/// `mirror_operations_total{operation,outcome}`, `mirror_objects`, `mirror_not_mirrored`, `mirror_held`. The gauges are
/// those of the leader.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    operations: Family<[(&'static str, &'static str); 2], Counter>,
    objects: OptionalGauge<i64>,
    not_mirrored: OptionalGauge<i64>,
    held: OptionalGauge<i64>,
}

impl Metrics {
    /// Adds them to a registry that carries the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let operations = "Changes of mirrored objects, by operation and by what came of them";
        let held = "Mirrored objects that are kept although ContextForge lists no gateway for them: too many at once";
        Self {
            operations: registered(registry, "mirror_operations", operations),
            objects: registered(registry, "mirror_objects", "Mirrored objects"),
            not_mirrored: registered(registry, "mirror_not_mirrored", "Gateways that cannot be mirrored"),
            held: registered(registry, "mirror_held", held),
        }
    }

    pub(super) fn stand_by(&self) {
        [&self.objects, &self.not_mirrored, &self.held].into_iter().for_each(|gauge| gauge.set(None));
    }
}

/// The outcome of one change. The names are label values.
#[derive(Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
enum Outcome {
    Done,
    /// The object has changed since the plan was made, or is there or gone already.
    Overtaken,
    /// Another replica leads.
    Fenced,
    /// The token ended before the write.
    LeadershipOver,
    /// Refused, or no answer.
    Failed(Problem),
}

/// What became of the changes of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorReport {
    /// Made.
    pub done: usize,
    /// Not made: the object has changed since the plan was made, or is there or gone already.
    pub overtaken: usize,
    /// Failed, or not begun: to be planned again.
    pub left: usize,
    /// Whether the API server refused a change because another replica leads.
    pub fenced: bool,
}

/// The mirror namespace.
pub struct Mirror {
    objects: Api<DynamicObject>,
    resource: ApiResource,
    namespace: String,
    metrics: Metrics,
    problem: Option<Problem>,
    held: bool,
}

impl Mirror {
    /// `client` must not retry on its own, because a write must not be repeated after the token has ended.
    pub fn new(client: Client, namespace: &str, metrics: Metrics) -> Self {
        // Dynamic, because an answer that does not parse would look like a failed write.
        let resource = ApiResource::erase::<McpGateway>(&());
        let objects = Api::namespaced_with(client, namespace, &resource);
        Self { objects, resource, namespace: namespace.to_owned(), metrics, problem: None, held: false }
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Makes changes, some at a time. Stops early when the token ends, another replica leads, or many fail in a row.
    pub async fn apply(&mut self, token: &LeadershipToken, changes: Vec<Change>) -> MirrorReport {
        let planned = changes.len();
        let mut changes = changes.into_iter();
        let (mut report, mut problem, mut failures_in_a_row) = (MirrorReport::default(), None, 0);
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < CONCURRENCY
                && let Some(change) = changes.next()
            {
                running.push(self.change(token, change));
            }
            let Some((operation, outcome)) = running.next().await else { break };
            self.metrics.operations.get_or_create(&[("operation", operation), ("outcome", (&outcome).into())]).inc();
            failures_in_a_row = if matches!(outcome, Outcome::Failed(_)) { failures_in_a_row + 1 } else { 0 };
            let mut stop = failures_in_a_row >= CONCURRENCY;
            match outcome {
                Outcome::Done => report.done += 1,
                Outcome::Overtaken => report.overtaken += 1,
                Outcome::Fenced => (report.fenced, stop) = (true, true),
                Outcome::LeadershipOver => stop = true,
                Outcome::Failed(why) => _ = problem.get_or_insert(why),
            }
            if stop {
                changes = Vec::new().into_iter();
            }
        }
        drop(running);
        report.left = planned - report.done - report.overtaken;
        let namespace = &self.namespace;
        if report.fenced {
            warn!(namespace, term = %token.term(), "changing mirrored objects was refused: another replica leads");
        } else if report.done > 0 {
            info!(namespace, changes = report.done, "mirrored objects changed");
        }
        if problem.is_some() || report.done > 0 {
            self.report_problem(problem);
        }
        report
    }

    /// What the status of the fleet says. `objects`: how many are mirrored. `unreadable`: rows of the list that are no
    /// entries.
    pub fn status(&mut self, plan: &MirrorPlan, objects: usize, unreadable: usize) -> MirrorStatus {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let (objects, not_mirrored) = (count(objects), count(plan.not_mirrored.len() + unreadable));
        self.metrics.objects.set(Some(objects));
        self.metrics.not_mirrored.set(Some(not_mirrored));
        self.metrics.held.set(Some(plan.held.map_or(0, count)));
        let namespace = &self.namespace;
        match (std::mem::replace(&mut self.held, plan.held.is_some()), plan.held) {
            (false, Some(gone)) => warn!(
                namespace,
                gone,
                objects,
                "most mirrored gateways are missing in ContextForge, so their objects stay: delete them if the gateways \
                 are really gone"
            ),
            (true, None) => info!(namespace, "most mirrored gateways are in ContextForge again"),
            _ => {}
        }
        MirrorStatus {
            namespace: namespace.clone(),
            objects,
            not_mirrored,
            examples: plan.examples().collect(),
            held: plan.held.map(count),
            problem: self.problem.as_ref().map(Problem::text),
        }
    }

    fn report_problem(&mut self, problem: Option<Problem>) {
        if !Problem::replace(&mut self.problem, problem) {
            return;
        }
        let namespace = &self.namespace;
        if let Some(problem @ Problem { reason, detail, .. }) = &self.problem {
            let message = problem.message();
            warn!(namespace, %reason, error = detail, "changing a mirrored object failed: {message}; will retry");
        } else {
            info!(namespace, "changing mirrored objects recovered");
        }
    }

    async fn change(&self, token: &LeadershipToken, change: Change) -> (&'static str, Outcome) {
        let operation = match change {
            Change::Create { .. } => "create",
            Change::Update { .. } => "update",
            Change::Delete(_) => "delete",
        };
        let Some(WritePermit { remaining, .. }) = &token.begin_write(clock::monotonic()) else {
            return (operation, Outcome::LeadershipOver);
        };
        let made = tokio::time::timeout(WRITE_TIMEOUT.min(*remaining), self.make(token.term(), &change));
        let outcome = match made.await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(kube::Error::Api(status))) => self.refused(&status, &change),
            Ok(Err(error)) => Outcome::Failed(kube_error::unreachable(&error)),
            Err(_) => Outcome::Failed(kube_error::timed_out(WRITE_TIMEOUT)),
        };
        (operation, outcome)
    }

    async fn make(&self, term: Term, change: &Change) -> Result<(), kube::Error> {
        match change {
            Change::Create { name, spec } => {
                let mut object = DynamicObject::new(name, &self.resource);
                object.metadata.labels = Some([(MIRRORED.to_owned(), "true".to_owned())].into());
                object.metadata.annotations = Some(annotations(term));
                object.data = json!({"spec": fields(spec)});
                let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                self.objects.create(&params, &object).await?;
            }
            Change::Update { object, spec } => {
                let mut fields = fields(spec);
                fields["registration"] = Value::Null;
                self.patch(term, object, json!({"spec": fields})).await?;
            }
            Change::Delete(object) => {
                let latest = self.patch(term, object, json!({})).await?;
                let preconditions = Preconditions {
                    uid: Some(object.uid.to_string()),
                    resource_version: latest.metadata.resource_version,
                };
                self.objects.delete(&object.name, &DeleteParams::default().preconditions(preconditions)).await?;
            }
        }
        Ok(())
    }

    async fn patch(&self, term: Term, object: &MirroredObject, mut body: Value) -> Result<DynamicObject, kube::Error> {
        body["metadata"] = json!({"resourceVersion": object.resource_version, "annotations": annotations(term)});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.objects.patch(&object.name, &params, &Patch::Merge(body)).await
    }

    /// What an error of the API server says about a change.
    fn refused(&self, status: &Status, change: &Change) -> Outcome {
        let creates = matches!(change, Change::Create { .. });
        match status.code {
            409 => Outcome::Overtaken,
            404 if !creates => Outcome::Overtaken,
            404 if status.details.as_ref().is_some_and(|details| details.kind == "namespaces") => Outcome::Failed(
                Problem::new(ProblemReason::NamespaceMissing, "create the namespace of --mirror-namespace")
                    .saying(status.message.clone()),
            ),
            422 if status.message.contains(FENCE) => Outcome::Fenced,
            _ => {
                let permission = format!("create, patch and delete on mcpgateways in namespace {}", self.namespace);
                Outcome::Failed(kube_error::refused(status, "mcpgateways.mcpgateway.io", &permission))
            }
        }
    }
}

fn annotations(term: Term) -> std::collections::BTreeMap<String, String> {
    [(TERM.to_owned(), term.to_string())].into()
}

fn fields(MirroredSpec { url, id, enabled }: &MirroredSpec) -> Value {
    json!({"url": url.expose(), "gatewayId": id.text(), "enabled": enabled})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_says_what_the_mirror_looks_for() {
        let policy = include_str!("../../charts/mcpgateway-operator/files/admission-policy.yaml");
        assert!(policy.contains(FENCE) && policy.contains(TERM) && policy.contains(MIRRORED));
    }
}
