use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::*;
use crate::api::v1alpha1::RefreshPlanStatus;
use crate::contextforge::call_error::CallError;
use crate::contextforge::entry::Entry;
use crate::contextforge::scope::Validity;
use crate::leadership::record::{LeaseFacts, LeaseView};
use crate::model::polling::ProcessPolling;
use crate::model::{EndpointId, Tier, UnixTime};
use crate::poll::Stamp;
use crate::poll::compliance::{Trace, Traces};
use crate::publish::Denied;
use crate::publish::keys::LockHolder;
use crate::registry::{GatewayRecord, RegistrySnapshot};
use crate::workers::report;
use crate::workers::request_error::RequestError;
use crate::workers::verdict::{EndpointReport, EndpointVerdict};

const NOW: f64 = 1e9;
const OBJECTS: [(&str, &str, &str); 2] = [("a", "1", "http://a/mcp"), ("b", "2", "http://b/mcp")];

fn at(seconds: f64) -> UnixTime {
    UnixTime::from_seconds(seconds).unwrap()
}

fn registry(objects: &[(&str, &str, &str)]) -> RegistrySnapshot {
    let records = objects.iter().map(|(name, id, url)| {
        let (name, namespace) = (Some((*name).to_owned()), Some("n".to_owned()));
        let metadata = ObjectMeta { uid: name.clone(), name, namespace, ..ObjectMeta::default() };
        let record = GatewayRecord::from_object(&metadata, &json!({"spec": {"url": url, "gatewayId": id}})).unwrap();
        (record.name.clone(), Arc::new(record))
    });
    RegistrySnapshot::build(&records.collect::<BTreeMap<_, _>>(), 1)
}

fn facts(view: LeaseView) -> LeaseFacts {
    LeaseFacts { view, term: None, renewed: None, fleet_not_written: None }
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({
        "type": kind, "status": status, "reason": reason, "message": "as it says",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// A healthy fleet object, changed by these fields of its status.
fn fleet(change: &Value) -> Option<McpGatewayFleet> {
    let mut status = json!({
        "publication": {"state": "Published"},
        "redisLock": {"state": "Held"},
        "leader": {"identity": "one", "since": "2026-01-01T00:00:00Z"},
        "endpoints": {"known": 2, "answered": 2, "summary": "2/2"},
        "conditions": [condition("UsageComplete", "True", "Complete")],
    });
    for (field, value) in change.as_object().into_iter().flatten() {
        status[field] = value.clone();
    }
    let object = json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGatewayFleet",
        "metadata": {"name": "l", "namespace": "n"}, "spec": {}, "status": status,
    });
    serde_json::from_value(object).unwrap()
}

/// An endpoint that reports one row, and the registry of these tests.
fn reporting(id: &str, url: &str) -> EndpointVerdict {
    let body = json!({"apiVersion": report::API_VERSION, "kind": report::KIND, "generatedAt": NOW, "workers": [
        {"id": "w", "observedAt": NOW, "servers": [{"gatewayId": id, "url": url}, {"gatewayId": id, "url": url}]}]});
    let registry = registry(&OBJECTS);
    let mut reader = report::Reader::new(&registry).with_different_urls();
    reader.push(body.to_string().as_bytes()).unwrap();
    let parsed = reader.finish(&report::Timing::saved()).unwrap();
    let report = EndpointReport {
        complete: parsed.report.complete,
        different_urls: parsed.different_urls,
        polling: parsed.polling.into_iter().map(|(_, polling)| polling).collect(),
    };
    EndpointVerdict { endpoint: EndpointId::new("http://w/usage"), connects: true, report: Ok(report) }
}

fn healthy() -> Observations {
    let stamp = Stamp::At(at(NOW - 10.0));
    let trace =
        Trace { tier: Some(Tier::Hot), last: stamp.into(), left: Some(Duration::from_secs(590)), planned: None };
    Observations {
        cluster: Ok(ClusterObservations {
            registry: Ok(registry(&OBJECTS)),
            lease_name: "n/l".into(),
            lease: Ok(facts(LeaseView::Held("one".into()))),
            fleet: Ok(fleet(&json!({}))),
            imageless_pods: Ok(Vec::new()),
        }),
        contextforge: ContextForgeReading::NotAsked,
        redis: Some(Ok(RedisObservations {
            lock: LockHolder::Ours { term: None },
            published: true,
            traces: Traces { contextforge: true, traces: vec![trace, trace] },
            names: vec!["n/a".into(), "n/b".into()],
            now: at(NOW),
        })),
        workers: Some(vec![reporting("1", "http://a/mcp?token=planted")]),
        services: vec![("n/s".into(), Ok(1))],
        plugins: Vec::new(),
        intervals: Intervals::default(),
    }
}

/// The findings after this change to a healthy fleet. Each must say what to do and hold no secret.
fn findings_after(change: impl FnOnce(&mut Observations)) -> Vec<&'static str> {
    let mut observations = healthy();
    change(&mut observations);
    let findings = judge(&observations);
    for Finding { what, advice, .. } in &findings {
        assert!(!what.is_empty() && !advice.is_empty() && !format!("{what}{advice}").contains("planted"), "{what}");
        assert!(!what.contains('\n') && !advice.contains('\n'));
    }
    findings.into_iter().map(|finding| finding.finding).collect()
}

/// The same for a change to what was read from the cluster.
fn cluster_findings(change: impl FnOnce(&mut ClusterObservations)) -> Vec<&'static str> {
    findings_after(|observations| change(observations.cluster.as_mut().unwrap()))
}

#[test]
fn a_healthy_fleet_has_no_findings() {
    assert_eq!(findings_after(|_| ()), Vec::<&str>::new());
}

#[test]
fn failed_conditions_of_the_fleet_are_findings() {
    let failed = |kind, reason| json!({"conditions": [condition(kind, "False", reason)]});
    let publication = |state: &str| json!({"publication": {"state": state, "reason": "QuorumMissed"}});
    for (change, finding) in [
        (failed("Permitted", "PermissionsMissing"), "PermissionMissing"),
        (failed("RegistryRead", "CrdMissing"), "RegistryNotRead"),
        (failed("RegistryStable", "MostGatewaysGone"), "MostGatewaysGone"),
        (failed("StatusesWritten", "WebhookDenied"), "StatusesNotWritten"),
        (failed("UsageComplete", "QuorumMissed"), "UsageIncomplete"),
        (failed("UsageComplete", "EndpointsSilent"), "EndpointsSilent"),
        (json!({"unregistered": ["http://x", "http://y"]}), "NotRegistered"),
        (json!({"identityConflicts": ["gatewayId 1 is registered for http://x"]}), "IdentityConflict"),
        (publication("GivenUp"), "NotPublished"),
        (publication("KeptAlive"), "NotPublished"),
        (publication("StatusesOnly"), "NotPublished"),
        (publication("NotPublished"), "NotPublished"),
        (publication("Pending"), "NotPublished"),
    ] {
        assert_eq!(cluster_findings(|cluster| cluster.fleet = Ok(fleet(&change))), [finding], "{change}");
    }
    let mut without_redis = healthy();
    without_redis.cluster.as_mut().unwrap().fleet = Ok(fleet(&publication("StatusesOnly")));
    without_redis.redis = None;
    let findings = judge(&without_redis);
    assert_eq!((findings.len(), findings[0].finding, findings[0].level), (1, "NoRedis", Level::Note));
}

#[test]
fn a_fleet_without_any_use_needs_a_first_use() {
    let change = json!({
        "conditions": [condition("UsageComplete", "False", "NoUseKnown")],
        "publication": {"state": "KeptAlive", "reason": "NoUseKnown"},
    });
    let mut observations = healthy();
    observations.cluster.as_mut().unwrap().fleet = Ok(fleet(&change));
    let findings = judge(&observations);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.advice.starts_with("use a registered server")), "{findings:?}");
}

#[test]
fn the_holder_of_the_lock_is_named_while_nothing_is_published() {
    let lock = json!({"state": "HeldByAnother", "holder": "classifier_1", "takeover": "WhenIdle"});
    let mut observations = healthy();
    for state in ["NotPublished", "Pending"] {
        let change = json!({"publication": {"state": state}, "redisLock": lock});
        observations.cluster.as_mut().unwrap().fleet = Ok(fleet(&change));
        let findings = judge(&observations);
        assert_eq!((findings.len(), findings[0].finding), (1, "NotPublished"));
        assert!(findings[0].what.contains("classifier_1"), "{findings:?}");
    }
}

#[test]
fn a_fleet_object_that_is_old_is_a_finding() {
    let another = || facts(LeaseView::Held("two".into()));
    assert_eq!(cluster_findings(|c| c.lease = Ok(another())), ["FleetOutdated"]);
    let said = || Some("Forbidden: grant it".to_owned());
    let not_written = LeaseFacts { fleet_not_written: said(), ..facts(LeaseView::Held("one".into())) };
    assert_eq!(cluster_findings(|c| c.lease = Ok(not_written)), ["FleetNotWritten"]);
    let both = LeaseFacts { fleet_not_written: said(), ..another() };
    assert_eq!(cluster_findings(|c| c.lease = Ok(both)), ["FleetOutdated", "FleetNotWritten"]);
}

#[test]
fn a_suspended_fleet_is_a_note_that_says_how_to_resume() {
    for state in ["Suspending", "Suspended"] {
        let mut observations = healthy();
        let conditions = [condition("Suspended", "True", "SuspendedBySpec")];
        let change = json!({"publication": {"state": state}, "conditions": conditions});
        observations.cluster.as_mut().unwrap().fleet = Ok(fleet(&change));
        observations.redis.as_mut().unwrap().as_mut().unwrap().published = false;
        let findings = judge(&observations);
        assert_eq!((findings.len(), findings[0].finding, findings[0].level), (1, "Suspended", Level::Note));
        assert!(findings[0].advice.contains("kubectl patch mcpfleet l -n n"), "{findings:?}");
    }
}

#[test]
fn what_cannot_be_read_is_a_finding_and_nothing_is_concluded_from_it() {
    let forbidden = |verb| ReadError::Forbidden(format!("{verb} leases"));
    assert_eq!(
        cluster_findings(|c| c.registry = Err(ReadError::NotServed("mcpgateways.mcpgateway.io"))),
        ["CrdMissing"]
    );
    assert_eq!(
        cluster_findings(|c| c.fleet = Err(ReadError::NotServed("mcpgatewayfleets.mcpgateway.io"))),
        ["CrdMissing"]
    );
    assert_eq!(cluster_findings(|c| c.lease = Err(ReadError::NotServed("leases.coordination.k8s.io"))), ["NotServed"]);
    assert_eq!(cluster_findings(|c| c.registry = Err(forbidden("list"))), ["MayNotLook"]);
    assert_eq!(cluster_findings(|c| c.lease = Err(forbidden("get"))), ["MayNotLook"]);
    assert_eq!(cluster_findings(|c| c.fleet = Ok(None)), ["NoFleet"]);
    assert_eq!(cluster_findings(|c| c.fleet = Err(ReadError::SeveralFleets("a, b".into()))), ["NoFleet"]);
    let without_status = |cluster: &mut ClusterObservations| {
        cluster.fleet.as_mut().unwrap().as_mut().unwrap().status = None;
    };
    assert_eq!(cluster_findings(without_status), ["NoFleet"]);
    let missing = (Ok(facts(LeaseView::Missing)), Ok(None));
    assert_eq!(cluster_findings(|c| (c.lease, c.fleet) = missing), ["NoLeader"]);
    assert_eq!(cluster_findings(|c| c.lease = Ok(facts(LeaseView::Free))), ["NoLeader"]);
    let expired = |renewed| Ok(facts(LeaseView::Expired { holder: "x".into(), renewed }));
    assert_eq!(cluster_findings(|c| c.lease = expired(Some(at(NOW - 60.0)))), ["NoLeader"]);
    assert_eq!(cluster_findings(|c| c.lease = expired(None)), ["NoLeader"]);
    // Whether pods wait for their image is a question only while nobody leads.
    let unread = || Err(ReadError::Forbidden("list pods".to_owned()));
    assert!(cluster_findings(|c| c.imageless_pods = unread()).is_empty());
    let free = Ok(facts(LeaseView::Free));
    assert_eq!(cluster_findings(|c| (c.lease, c.imageless_pods) = (free, unread())), ["NoLeader", "MayNotLook"]);
    assert_eq!(cluster_findings(|c| c.registry = Err(ReadError::Failed("no answer".into()))), ["NoCluster"]);
    assert_eq!(findings_after(|o| o.cluster = Err("no kubeconfig".into())), ["NoCluster"]);
    for (error, finding) in [
        (Error::TimedOut, "RedisUnreachable"),
        (Error::Unreachable("refused".into()), "RedisUnreachable"),
        (Error::NoPermission(Denied::default()), "RedisDenied"),
        (Error::NoSuchDatabase { number: 2 }, "RedisRefused"),
        (Error::TooManyClients, "RedisRefused"),
    ] {
        assert_eq!(findings_after(|o| o.redis = Some(Err(error))), [finding]);
    }
    assert_eq!(findings_after(|o| o.workers = None), ["NoWorkers"]);
    assert_eq!(findings_after(|o| o.services[0].1 = Err(forbidden("list"))), ["MayNotLook"]);
}

#[test]
fn endpoints_with_one_fault_share_a_line() {
    let failing = |endpoint: &str, connects, error| {
        let endpoint = EndpointId::new(endpoint);
        EndpointVerdict { endpoint, connects, report: Err(error) }
    };
    let findings = findings_after(|observations| {
        observations.workers = Some(vec![
            failing("http://1", false, RequestError::TimedOut),
            failing("http://2", true, RequestError::Status(401)),
            failing("http://3", false, RequestError::TimedOut),
            failing("http://4", true, RequestError::ContentType),
            failing("http://5", true, RequestError::Status(404)),
            failing("http://6", false, RequestError::Connect("refused".into())),
            failing("http://7", true, RequestError::Connect("bad certificate".into())),
            failing("http://8", true, RequestError::TimedOut),
            failing("http://9", true, report::ReportError::DuplicateWorkerId.into()),
        ]);
        observations.services = vec![("n/s".into(), Ok(0))];
    });
    let kinds = [
        "ServiceEmpty",
        "WorkerFailed",
        "WorkerFailed",
        "WorkerFailed",
        "WorkerNoAdapter",
        "WorkerNoAdapter",
        "WorkerNoConnection",
        "WorkerRefused",
        "WorkerToken",
    ];
    assert_eq!(findings, kinds);
}

#[test]
fn polling_that_the_release_does_not_support_is_one_finding() {
    let polling = r#"{"hotAtFullRate": "Unsupported", "hotAtFullRateReason": "replaced", "coldHealth": "Off"}"#;
    let polling = vec![ProcessPolling::parse(polling).unwrap(); 2];
    let verdict = |polling| {
        let report = EndpointReport { complete: true, polling, ..EndpointReport::default() };
        EndpointVerdict { endpoint: EndpointId::new("http://w/usage"), connects: true, report: Ok(report) }
    };
    let workers = |polling| Some(vec![verdict(polling), verdict(Vec::new())]);
    assert_eq!(findings_after(|observations| observations.workers = workers(polling)), ["PollingUnsupported"]);
    assert_eq!(findings_after(|observations| observations.workers = workers(Vec::new())).len(), 0);
}

#[test]
fn a_refresh_plan_that_processes_do_not_follow_is_one_finding() {
    let found = |polling: &[&str], planned: bool| {
        let polling = polling.iter().map(|json| ProcessPolling::parse(json).unwrap()).collect();
        let report = EndpointReport { complete: true, polling, ..EndpointReport::default() };
        let endpoint = EndpointId::new("http://w/usage");
        let verdict = EndpointVerdict { endpoint, connects: true, report: Ok(report) };
        findings_after(move |observations| {
            observations.workers = Some(vec![verdict]);
            let fleet = observations.cluster.as_mut().unwrap().fleet.as_mut().unwrap().as_mut().unwrap();
            fleet.status.as_mut().unwrap().refresh_plan = planned.then(RefreshPlanStatus::default);
        })
    };
    let [active, off, older] =
        [r#"{"refreshPlan": "Active"}"#, r#"{"refreshPlan": "Off"}"#, r#"{"hotAtFullRate": "Active"}"#];
    assert_eq!(found(&[active, off, off], true), ["PlanNotFollowed"]);
    assert_eq!(found(&[active, older], true), ["PlanNotFollowed"]);
    assert_eq!(found(&[active, off, older], false), Vec::<&str>::new());
    assert_eq!(found(&[active], true), Vec::<&str>::new());
    // Processes that do not report their polling may ask the operator for each poll decision.
    assert_eq!(found(&[], true), Vec::<&str>::new());
    assert_eq!(found(&[r#"{"refreshPlan": "Unsupported"}"#], true), ["PollingUnsupported"]);
}

#[test]
fn a_row_whose_url_differs_beyond_its_query_is_told_by_its_id() {
    let rows = |url: &str| vec![reporting("1", url)];
    for url in ["http://a/mcp/", "http://127.0.0.1/mcp?x=planted", "planted", "http://me:planted@a/mcp"] {
        assert_eq!(findings_after(|observations| observations.workers = Some(rows(url))), ["UrlDiffers"], "{url}");
    }
    assert_eq!(
        findings_after(|observations| observations.workers = Some(rows("http://a/mcp?y=planted"))),
        Vec::<&str>::new()
    );
}

fn absent(trace: &mut Trace) {
    (trace.last.stamp, trace.left) = (Stamp::Absent, None);
}

#[test]
fn lock_publication_and_traces_have_their_findings() {
    let redis = |change: fn(&mut RedisObservations)| {
        findings_after(move |observations| change(observations.redis.as_mut().unwrap().as_mut().unwrap()))
    };
    assert_eq!(redis(|redis| redis.lock = LockHolder::Nobody), ["LockFree"]);
    assert_eq!(redis(|redis| redis.lock = LockHolder::Foreign("c".into())), ["LockHeldByAnother"]);
    assert_eq!(redis(|redis| redis.lock = LockHolder::OtherRelease("o".into())), ["LockHeldByAnotherRelease"]);
    assert_eq!(redis(|redis| redis.published = false), ["NothingPublished"]);
    assert_eq!(redis(|redis| absent(&mut redis.traces.traces[1])), ["NotPolled"]);
    let all = redis(|redis| redis.traces.traces.iter_mut().for_each(absent));
    assert_eq!(all, ["NoStamps"]);
    let none = redis(|redis| {
        redis.traces.contextforge = false;
        redis.traces.traces.iter_mut().for_each(absent);
    });
    assert_eq!(none, ["NoContextForge"]);
}

/// An object that asks to be registered, with the condition `Registered` and the id of its entry.
fn registering(name: &str, status: &str, reason: &str, finalizer: bool) -> GatewayRecord {
    let metadata = json!({
        "name": name, "namespace": "n", "uid": name, "generation": 1,
        "finalizers": if finalizer { vec!["mcpgateway.io/registration"] } else { Vec::new() },
    });
    let mut registered = condition("Registered", status, reason);
    registered["observedGeneration"] = json!(1);
    let data = json!({
        "spec": {"url": format!("http://{name}/mcp"), "registration": {}},
        "status": {"registration": {"id": format!("id-{name}")}, "conditions": [registered]},
    });
    GatewayRecord::from_object(&serde_json::from_value(metadata).unwrap(), &data).unwrap()
}

fn register(observations: &mut Observations, records: Vec<GatewayRecord>) {
    let records = records.into_iter().map(|record| (record.name.clone(), Arc::new(record)));
    let registry = RegistrySnapshot::build(&records.collect::<BTreeMap<_, _>>(), 1);
    observations.cluster.as_mut().unwrap().registry = Ok(registry);
}

fn entry(id: &str, owner: &str) -> Entry {
    let value = json!({"id": id, "name": "n", "url": "http://h/?x=planted", "enabled": true, "ownerEmail": owner});
    Entry::read(&value).unwrap()
}

fn contextforge(entries: Result<Vec<Entry>, CallError>) -> ContextForgeObservations {
    ContextForgeObservations {
        entries,
        user: Some("op@example.com".to_owned()),
        validity: Validity { expires: Some(at(NOW + 1e7)), permissions: Vec::new() },
        allowed_rate: Some(100),
        requests_per_minute: 60,
        now: at(NOW),
    }
}

#[test]
fn registrations_that_fail_are_named_with_their_reason() {
    let asked = |records: Vec<GatewayRecord>| findings_after(|observations| register(observations, records));
    let note = "NoContextForgeUrl";
    assert_eq!(asked(vec![registering("a", "True", "Registered", true)]), [note]);
    assert_eq!(asked(vec![registering("a", "False", "Disabled", false)]), [note]);
    assert_eq!(asked(vec![registering("a", "Unknown", "ContextForgeUnreachable", false)]), [note]);
    assert_eq!(asked(vec![registering("a", "False", "NotOwner", false)]), ["RegistrationFailing", note]);
    assert_eq!(asked(vec![registering("a", "False", "Rejected", false)]), ["RegistrationRejected", note]);
    let left = ["RegistrationFailing", "FinalizerLeft", note];
    assert_eq!(asked(vec![registering("a", "False", "NotConfigured", true)]), left);
    assert_eq!(asked(vec![registering("a", "False", "NotConfigured", false)]), ["RegistrationFailing", note]);
}

#[test]
fn the_token_its_entries_and_its_rate_are_checked() {
    let asked = |change: &dyn Fn(&mut ContextForgeObservations)| {
        findings_after(|observations| {
            let both = ["a", "b"].map(|name| registering(name, "True", "Registered", false));
            register(observations, both.to_vec());
            let mut seen =
                contextforge(Ok(["a", "b"].map(|name| entry(&format!("id-{name}"), "op@example.com")).to_vec()));
            change(&mut seen);
            observations.contextforge = ContextForgeReading::Asked(seen);
        })
    };
    assert!(asked(&|_| ()).is_empty());
    assert_eq!(asked(&|seen| seen.validity.expires = Some(at(NOW))), ["TokenExpired"]);
    assert_eq!(asked(&|seen| seen.validity.expires = Some(at(NOW + 86_400.0))), ["TokenExpires"]);
    assert!(asked(&|seen| seen.validity.expires = None).is_empty());
    let all = ["gateways.read", "gateways.create", "gateways.update", "gateways.delete"].map(str::to_owned);
    assert!(asked(&|seen| seen.validity.permissions = all.to_vec()).is_empty());
    assert!(asked(&|seen| seen.validity.permissions = vec!["*".to_owned()]).is_empty());
    assert_eq!(asked(&|seen| seen.validity.permissions = all[..3].to_vec()), ["PermissionLacking"]);
    for (error, finding) in [
        (CallError::Unauthorized, "TokenRefused"),
        (CallError::Forbidden { owner: false }, "PermissionLacking"),
        (CallError::RateLimited { retry_after: Duration::from_secs(60) }, "RateTooHigh"),
        (CallError::TimedOut, "ContextForgeUnreachable"),
    ] {
        assert_eq!(asked(&|seen| seen.entries = Err(error.clone())), [finding]);
    }
    assert_eq!(asked(&|seen| seen.entries.as_mut().unwrap().truncate(1)), ["EntryNotSeen"]);
    let foreign = |seen: &mut ContextForgeObservations| {
        seen.entries.as_mut().unwrap()[0] = entry("id-a", "hand@example.com");
    };
    assert_eq!(asked(&foreign), ["EntryOfAnother"]);
    let nameless = |seen: &mut ContextForgeObservations| {
        foreign(seen);
        seen.user = None;
    };
    assert!(asked(&nameless).is_empty(), "whose token it is is not known");
    assert_eq!(asked(&|seen| seen.allowed_rate = Some(59)), ["RateTooHigh"]);
    assert!(asked(&|seen| seen.allowed_rate = None).is_empty());
    let no_file = |observations: &mut Observations| {
        observations.contextforge = ContextForgeReading::NoAccess("--contextforge-token-file: …".to_owned());
    };
    assert_eq!(findings_after(no_file), ["TokenRefused"]);
}

/// A pod whose container has these variables, and which mounts the plugin of this hash, if any.
fn plugin_pod(ip: &str, env: &Value, hash: Option<&str>) -> PluginPod {
    let volumes: Vec<Value> = hash
        .map(|hash| json!({"name": "mcpgateway-usage-plugin", "configMap": {"name": format!("o-usage-plugin-{hash}")}}))
        .into_iter()
        .collect();
    let mounts = hash.map(|_| json!([{"name": "mcpgateway-usage-plugin", "mountPath": "/opt"}]));
    let container = json!({"name": "c", "env": env, "volumeMounts": mounts.unwrap_or_else(|| json!([])),
        "envFrom": [{"configMapRef": {"name": "config"}}, {"secretRef": {"name": "secret"}}]});
    let pod = json!({"metadata": {"namespace": "n", "name": "p"}, "status": {"podIP": ip},
        "spec": {"containers": [{"name": "side"}, container], "volumes": volumes}});
    PluginPod::of(&serde_json::from_value(pod).unwrap(), "abc")
}

#[test]
fn pods_without_the_plugin_or_with_an_old_one_are_findings() {
    let pods = |pods: Vec<PluginPod>| PluginObservations { port: 9180, pods: Ok(pods), hidden_files: Vec::new() };
    let findings = |service: PluginObservations| findings_after(|observations| observations.plugins = vec![service]);
    let reference = json!([{"name": "PYTHONPATH", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}]);
    let other_file = json!([{"name": "PLUGINS_CONFIG_FILE", "value": "plugins/config.yaml"}]);
    let ours = json!([{"name": "PLUGINS_CONFIG_FILE", "value": "/opt/mcpgateway-usage/plugins.yaml"}]);
    for (env, hash, found) in [
        (&json!([]), Some("abc"), vec![]),
        (&ours, Some("abc"), vec![]),
        (&ours, Some("abd"), vec!["PluginOutdated"]),
        (&json!([]), None, vec!["PluginMissing"]),
        (&json!([{"name": "PYTHONPATH", "value": "/app"}]), None, vec!["PluginMissing"]),
        (&reference, None, vec!["PluginMissing"]),
        (&other_file, None, vec!["PluginMissing"]),
    ] {
        assert_eq!(findings(pods(vec![plugin_pod("10.0.0.7", env, hash)])), found, "{env} {hash:?}");
    }
    // The cause decides what to do, and the entry for the plugins file is in the line.
    let mut observations = healthy();
    let all = [&json!([]), &reference, &other_file].map(|env| plugin_pod("10.0.0.7", env, None));
    observations.plugins = vec![pods(all.into())];
    let lines = judge(&observations);
    let parts = ["injection", "mcpgateway_usage.plugin.UsagePlugin", "give the variable a value"];
    assert!(lines.len() == 3 && lines.iter().zip(parts).all(|(line, part)| line.advice.contains(part)), "{lines:?}");
    assert!(lines[1].advice.contains("port: 9180") && lines[1].what.contains("n/p"), "{lines:?}");

    // A pod that reports has it in its image.
    for (ip, endpoint) in [("10.0.0.7", "http://10.0.0.7:9180/usage"), ("fd00::7", "http://[fd00::7]:9180/usage")] {
        let mut observations = healthy();
        observations.plugins = vec![pods(vec![plugin_pod(ip, &other_file, None)])];
        assert_eq!(judge(&observations).len(), 1);
        observations.workers.as_mut().unwrap()[0].endpoint = EndpointId::new(endpoint);
        assert_eq!(judge(&observations), []);
    }

    let mut hidden = pods(vec![plugin_pod("10.0.0.7", &ours, Some("abc"))]);
    assert_eq!(hidden.pods.as_ref().unwrap()[0].config_maps, ["config"]);
    hidden.hidden_files = vec!["n/config".to_owned()];
    assert_eq!(findings(hidden), ["PluginsFileHidden"]);
    let denied = Err(ReadError::Forbidden("list pods -n gateways".to_owned()));
    let denied = PluginObservations { port: 9180, pods: denied, hidden_files: Vec::new() };
    assert_eq!(findings(denied), ["PodsNotChecked"]);
}
