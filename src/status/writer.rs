//! Writes planned statuses. IO: the API server; the only writer of `McpGateway` statuses.
//!
//! In: a [`LeadershipToken`] and a [`StatusPlan`]. Out: a [`WriteReport`], and why writes fail at present, if they
//! do. There is no retry in here: the next turn plans again whatever was refused or lost, from what the watch then
//! shows. How much of a plan is attempted while writes fail is decided in [`write_queue`].

mod metrics;
mod problems;
mod write_queue;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Client, Resource};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{StatusChange, StatusPlan, TargetCondition};
use crate::api::FIELD_MANAGER;
use crate::api::conditions::{ConditionStatus, ConditionType};
use crate::api::v1alpha1::registration::RegistrationStatus;
use crate::api::v1alpha1::{McpGateway, McpGatewayStatus, PollingStatus};
use crate::clock;
use crate::kube_error;
use crate::leadership::{LeadershipToken, WritePermit};
use crate::model::{ObjectName, Problem, ProblemReason};
pub use metrics::Metrics;
use write_queue::{WriteHistory, WriteQueue};

/// The longest that one write may take (`docs/contract.md#status-writes`).
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes in flight at once: enough to keep an API server busy, few enough not to fill its queues.
const CONCURRENCY: usize = 16;

/// How the API server refuses a write because of its term: by the rule of the CRD, and by the admission policy.
const FENCES: [&str; 2] = ["status.term must not fall", "status.term must not be below"];

/// The outcome of one write. The names are labels of `status_writes_total`.
#[derive(Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
enum WriteOutcome {
    Written,
    /// Stored without the term, which the installed CRD does not know.
    TermDropped,
    /// The object has changed since the plan was made; the next turn sees how.
    Conflict,
    /// The object was deleted.
    Gone,
    /// The API server has seen a higher term: another leader has written.
    Fenced,
    /// The API server rejects the write for another reason.
    Refused(Problem),
    /// The token ended before the write.
    #[strum(serialize = "mandate_over")]
    LeadershipOver,
    /// No answer, or an error of the server.
    Failed(Problem),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WriteReport {
    pub written: usize,
    /// Not stored, because the object has changed or is gone.
    pub overtaken: usize,
    /// Refused because of a higher term.
    pub fenced: usize,
    /// Not stored for another reason.
    pub failed: usize,
    /// Not begun: left for a later turn.
    #[serde(skip)]
    pub left: usize,
}

impl WriteReport {
    /// Whether everything was stored that was planned.
    pub const fn is_complete(&self) -> bool {
        let Self { written: _, overtaken, fenced, failed, left } = *self;
        overtaken + fenced + failed + left == 0
    }
}

pub struct StatusWriter {
    client: Client,
    resource: ApiResource,
    interval: Duration,
    recorder: Arc<Recorder>,
    problem: watch::Sender<Option<Problem>>,
    metrics: Metrics,
    history: Mutex<WriteHistory>,
}

impl StatusWriter {
    /// `client` must not retry on its own, because a write must not be repeated after the token has ended. No write is
    /// begun later than `interval` after the start of its turn. `recorder` takes the Events on `McpGateway` objects,
    /// `problem` why statuses cannot be written at present.
    pub fn new(
        client: Client,
        interval: Duration,
        recorder: Arc<Recorder>,
        problem: watch::Sender<Option<Problem>>,
        metrics: Metrics,
    ) -> Self {
        // Dynamic, because the answer is the whole object, and one that does not parse would look like a failed write.
        let resource = ApiResource::erase::<McpGateway>(&());
        Self { client, resource, interval, recorder, problem, metrics, history: Mutex::default() }
    }

    /// Writes the statuses of a plan, some at a time. Stops early when the token ends, a higher term is met or the
    /// interval is over. Once `stop` is cancelled, no further write is begun and those in flight end.
    pub async fn apply(&self, token: &LeadershipToken, plan: StatusPlan, stop: &CancellationToken) -> WriteReport {
        let mut report = WriteReport::default();
        let mut first_problem: Option<(ObjectName, Problem)> = None;
        let mut history = self.history.lock().await;
        let mut queue = WriteQueue::new(&mut history, plan.due(), self.interval, clock::monotonic());
        let mut running = FuturesUnordered::new();
        loop {
            if stop.is_cancelled() {
                queue.clear();
            }
            while running.len() < CONCURRENCY
                && let Some(gateway) = queue.next(clock::monotonic())
            {
                let change = plan.change(gateway);
                running.push(async move { (gateway, self.write(token, change).await) });
            }
            let Some((gateway, outcome)) = running.next().await else { break };
            let name = &gateway.record.name;
            match outcome {
                WriteOutcome::Written => report.written += 1,
                WriteOutcome::TermDropped => {
                    report.written += 1;
                    // The first problem stands for the turn: the cause is most likely the same for all.
                    first_problem.get_or_insert_with(|| (name.clone(), problems::term_dropped()));
                }
                WriteOutcome::Conflict | WriteOutcome::Gone => report.overtaken += 1,
                WriteOutcome::Refused(problem) | WriteOutcome::Failed(problem) => {
                    report.failed += 1;
                    queue.failed(name, problems::failure(&problem), clock::monotonic());
                    first_problem.get_or_insert_with(|| (name.clone(), problem));
                    continue;
                }
                WriteOutcome::Fenced | WriteOutcome::LeadershipOver => {
                    if outcome == WriteOutcome::Fenced {
                        let term = token.term();
                        let object = name;
                        warn!(%object, %term, "a status write was refused: the API server has seen a higher term");
                        report.fenced += 1;
                    }
                    queue.clear();
                    return WriteReport { left: queue.left, ..report };
                }
            }
            queue.accepted(gateway, clock::monotonic());
        }
        report.left = queue.left;
        self.metrics.deferred(queue.left);
        let recovered =
            if self.term_is_dropped() { report.written > 0 } else { queue.has_recovered(clock::monotonic()) };
        if first_problem.is_some() || recovered {
            self.report_problem(first_problem);
        }
        report
    }

    /// Whether the last reported problem is that the CRD drops the term. Only a write that keeps it proves otherwise.
    fn term_is_dropped(&self) -> bool {
        self.problem.borrow().as_ref().is_some_and(|problem| problem.reason == ProblemReason::TermDropped)
    }

    fn report_problem(&self, problem: Option<(ObjectName, Problem)>) {
        let (object, problem) = problem.unzip();
        let object = object.map(|name| name.to_string()).unwrap_or_default();
        self.problem.send_if_modified(|current| {
            let changed = Problem::replace(current, problem);
            match (changed, &*current) {
                (false, _) => {}
                (true, Some(problem @ Problem { reason, detail, .. })) => {
                    let message = problem.message();
                    warn!(object, %reason, error = detail, "writing a status failed: {message}; will retry");
                }
                (true, None) => info!("writing statuses recovered"),
            }
            changed
        });
    }

    async fn write(&self, token: &LeadershipToken, change: StatusChange) -> WriteOutcome {
        let outcome = match token.begin_write(clock::monotonic()) {
            Some(permit) => self.patch(&change, &permit).await,
            None => WriteOutcome::LeadershipOver,
        };
        self.metrics.count(&change, &outcome);
        outcome
    }

    async fn patch(&self, change: &StatusChange, WritePermit { remaining, .. }: &WritePermit) -> WriteOutcome {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &change.name.namespace, &self.resource);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(body(change));
        let call = api.patch_status(&change.name.name, &params, &patch);
        match tokio::time::timeout(WRITE_TIMEOUT.min(*remaining), call).await {
            Ok(Ok(stored)) => {
                self.publish_events(change, &stored).await;
                let term_kept = stored.data["status"]["term"] == json!(change.status.term);
                if term_kept { WriteOutcome::Written } else { WriteOutcome::TermDropped }
            }
            Ok(Err(kube::Error::Api(status))) => problems::outcome_of(&status),
            Ok(Err(error)) => WriteOutcome::Failed(kube_error::unreachable(&error)),
            Err(_) => WriteOutcome::Failed(kube_error::timed_out(WRITE_TIMEOUT)),
        }
    }

    /// Publishes an Event for each condition that needs one.
    async fn publish_events(&self, change: &StatusChange, stored: &DynamicObject) {
        for TargetCondition { kind, status, reason, message } in &change.announced {
            let (type_, event_reason) = match status {
                ConditionStatus::True => (EventType::Normal, kind.to_string()),
                _ => (EventType::Warning, reason.to_string()),
            };
            let event = Event {
                type_,
                reason: event_reason.clone(),
                note: Some(message.clone().into_owned()),
                action: match kind {
                    ConditionType::Pinned => "Pin",
                    ConditionType::RefreshRequested => "Refresh",
                    ConditionType::Registered => "Register",
                    _ => "Accept",
                }
                .to_owned(),
                secondary: None,
            };
            let object = stored.object_ref(&self.resource);
            let publish = self.recorder.publish(&event, &object);
            if !matches!(tokio::time::timeout(WRITE_TIMEOUT, publish).await, Ok(Ok(()))) {
                debug!(object = %change.name, reason = event_reason, "an Event was not stored");
            }
        }
    }
}

/// The merge patch: the whole status, with absent fields as `null`, so that no field of an older status remains. The
/// optional fields of the objects in it are nulled too.
fn body(change: &StatusChange) -> Value {
    let McpGatewayStatus {
        observed_generation,
        tier,
        tier_transition_time,
        polling,
        rank,
        usage,
        registration,
        conditions,
        term,
    } = &change.status;
    let usage = usage.as_ref().map(|usage| {
        let mut fields = json!(usage);
        if usage.last_used_time.is_none() {
            fields["lastUsedTime"] = Value::Null;
        }
        fields
    });
    let polling = polling.as_ref().map(|polling| {
        let PollingStatus { interval, last_handled_refresh_request, last_refresh_request_time } = polling;
        json!({
            "interval": interval,
            "lastHandledRefreshRequest": last_handled_refresh_request,
            "lastRefreshRequestTime": last_refresh_request_time,
        })
    });
    let registration = registration.as_ref().map(|registration| {
        let RegistrationStatus { id, url, version, tools, reachable, last_error, credentials, create_started } =
            registration;
        json!({
            "id": id,
            "url": url,
            "version": version,
            "tools": tools,
            "reachable": reachable,
            "lastError": last_error,
            "credentials": credentials,
            "createStarted": create_started,
        })
    });
    json!({
        "metadata": {"resourceVersion": change.resource_version},
        "status": {
            "observedGeneration": observed_generation,
            "tier": tier,
            "tierTransitionTime": tier_transition_time,
            "polling": polling,
            "rank": rank,
            "usage": usage,
            "registration": registration,
            "conditions": conditions,
            "term": term,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use kube::runtime::events::Reporter;

    use super::*;
    use crate::model::{Term, UnixTime};
    use crate::registry::{GatewayRecord, RegistrySnapshot};
    use crate::status::{PlanContext, Registrations, Tiers};

    fn change(name: &str) -> StatusChange {
        StatusChange {
            name: ObjectName::new("a", name),
            resource_version: "41".into(),
            status: McpGatewayStatus { term: Some(3), ..McpGatewayStatus::default() },
            announced: Vec::new(),
            moved: None,
        }
    }

    /// A plan that writes the first statuses of so many objects.
    fn plan_for_new_objects(count: usize) -> StatusPlan {
        let record = |number: usize| {
            let name = ObjectName::new("a", &format!("s{number}"));
            let metadata = json!({"namespace": "a", "name": &*name.name, "resourceVersion": "41"});
            let metadata = serde_json::from_value(metadata).unwrap();
            let record = GatewayRecord::from_object(&metadata, &json!({"spec": {"url": "http://h"}})).unwrap();
            (name, Arc::new(record))
        };
        let context = PlanContext {
            term: Term::FIRST,
            now: UnixTime::EPOCH,
            usage_interval: Duration::ZERO,
            registrations: Registrations::NotConfigured,
            answered_revision: 1,
        };
        let registry = RegistrySnapshot::build(&(0..count).map(record).collect(), 1);
        crate::status::plan(&registry, Tiers::Kept, context, None)
    }

    #[test]
    fn the_patch_removes_every_field_of_an_older_status() {
        let body = body(&change("b"));
        assert_eq!(body["metadata"], json!({"resourceVersion": "41"}));
        let status = body["status"].as_object().unwrap();
        assert_eq!(status.len(), 9);
        assert!(
            ["tier", "polling", "rank", "usage", "registration", "tierTransitionTime"]
                .iter()
                .all(|field| status[*field].is_null())
        );
    }

    #[tokio::test]
    async fn once_stopped_no_write_is_begun_and_those_in_flight_end() {
        let stop = CancellationToken::new();
        let received = Arc::new(AtomicUsize::new(0));
        let (cancelled, counter) = (stop.clone(), Arc::clone(&received));
        // Stores every status, and stops the writer while the first ones are in flight.
        let api_server = axum::Router::new().fallback(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            cancelled.cancel();
            let object = json!({
                "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "metadata": {"name": "b"},
                "status": {"term": 1},
            });
            async move { ([("content-type", "application/json")], object.to_string()) }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let server = axum::serve(listener, api_server).into_future();
        let client = Client::try_from(kube::Config::new(url)).unwrap();
        let recorder = Arc::new(Recorder::new(client.clone(), Reporter::from("test")));
        let problem = watch::channel(None).0;
        let writer = StatusWriter::new(client, Duration::from_mins(1), recorder, problem, Metrics::default());
        let token = LeadershipToken::for_tests(Term::FIRST, clock::monotonic().after(Duration::from_mins(1)));

        let plan = plan_for_new_objects(100);
        let writes =
            async { [writer.apply(&token, plan.clone(), &stop).await, writer.apply(&token, plan, &stop).await] };
        let [first, second] = tokio::select! {
            reports = writes => reports,
            ended = server => panic!("{ended:?}"),
        };
        assert_eq!(first, WriteReport { written: CONCURRENCY, left: 100 - CONCURRENCY, ..WriteReport::default() });
        assert_eq!(second, WriteReport { left: 100 - CONCURRENCY, ..WriteReport::default() });
        assert_eq!(received.load(Ordering::SeqCst), CONCURRENCY);
        assert_eq!(*writer.problem.borrow(), None);
    }

    #[test]
    fn the_fences_say_what_the_writer_looks_for() {
        let crd = crate::api::crds_yaml();
        let policy = include_str!("../../charts/mcpgateway-operator/files/admission-policy.yaml");
        let [rule, compared] = FENCES;
        assert!(crd.contains(rule) && policy.contains(compared));
    }
}
