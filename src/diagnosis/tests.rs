use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::*;
use crate::model::{EndpointId, Tier, UnixTime};
use crate::poll::Stamp;
use crate::poll::compliance::{Trace, Traces};
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
        let record = GatewayRecord::project(&metadata, &json!({"spec": {"url": url, "gatewayId": id}})).unwrap();
        (record.name.clone(), Arc::new(record))
    });
    RegistrySnapshot::build(&records.collect::<BTreeMap<_, _>>(), 1)
}

fn facts(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let well = [("publication", "Published"), ("redisLock", "Held"), ("usage", "Complete"), ("unregistered", "none")];
    let fine = ["registryWatch", "permissions", "statusWrites"].map(|name| (name, "Fine"));
    well.iter().chain(&fine).chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// An endpoint that reports one row, and the registry of these tests.
fn reporting(id: &str, url: &str) -> EndpointVerdict {
    let body = json!({"apiVersion": report::API_VERSION, "kind": report::KIND, "generatedAt": NOW, "workers": [
        {"id": "w", "observedAt": NOW, "servers": [{"gatewayId": id, "url": url}, {"gatewayId": id, "url": url}]}]});
    let registry = registry(&OBJECTS);
    let mut reader = report::Reader::new(&registry).with_different_urls();
    reader.push(body.to_string().as_bytes()).unwrap();
    let parsed = reader.finish(&report::Timing::saved()).unwrap();
    let report = EndpointReport { complete: parsed.report.complete, different_urls: parsed.different_urls };
    EndpointVerdict { endpoint: EndpointId::new("http://w/usage"), connects: true, report: Ok(report) }
}

fn well() -> Signs {
    let stamp = Stamp::At(at(NOW - 10.0));
    let trace = Trace { tier: Some(Tier::Hot), stamp, left: Some(Duration::from_secs(590)) };
    let duration = Duration::from_secs(15);
    let seat = Seat { holder: Some("one".into()), renewed: Some(at(NOW - 5.0)), duration };
    Signs {
        cluster: Cluster {
            registry: Ok(registry(&OBJECTS)),
            lease_name: "n/l".into(),
            lease: Ok(Some(seat)),
            facts: Ok(Some(facts(&[]))),
            now: at(NOW),
        },
        redis: Some(Redis::Seen {
            holder: Holder::Ours,
            published: true,
            traces: Traces { service_leader: true, traces: vec![trace, trace] },
            names: vec!["n/a".into(), "n/b".into()],
            now: at(NOW),
        }),
        workers: Some(vec![reporting("1", "http://a/mcp?token=planted")]),
        services: vec![("n/s".into(), Ok(1))],
        intervals: Intervals::default(),
    }
}

/// What is found once this is changed; each line says what to do and holds no secret.
fn found(change: impl FnOnce(&mut Signs)) -> Vec<&'static str> {
    let mut signs = well();
    change(&mut signs);
    let findings = judge(&signs);
    for Finding { what, advice, .. } in &findings {
        assert!(!what.is_empty() && !advice.is_empty() && !format!("{what}{advice}").contains("planted"), "{what}");
        assert!(!what.contains('\n') && !advice.contains('\n'));
    }
    findings.into_iter().map(|finding| finding.finding).collect()
}

#[test]
fn a_fleet_that_is_well_has_no_findings() {
    assert_eq!(found(|_| ()), Vec::<&str>::new());
}

#[test]
fn what_the_leader_itself_says_is_passed_on_with_what_to_do() {
    for (fact, value, finding) in [
        ("permissions", "Forbidden: grant get leases", "PermissionMissing"),
        ("registryWatch", "CrdMissing: apply it", "RegistryNotRead"),
        ("statusWrites", "Denied by w: let it through", "StatusesNotWritten"),
        ("usage", "Incomplete: QuorumMissed", "UsageIncomplete"),
        ("usage", "Partial", "EndpointsSilent"),
        ("unregistered", "http://x http://y", "NotRegistered"),
        ("publication", "GivenUp: QuorumMissed", "NotPublished"),
        ("publication", "KeptAlive: NoUsage, until then", "NotPublished"),
        ("publication", "StatusesOnly: no Redis is configured", "NotPublished"),
        ("publication", "NotPublished: Unreachable", "NotPublished"),
    ] {
        let changed = |signs: &mut Signs| signs.cluster.facts = Ok(Some(facts(&[(fact, value)])));
        assert_eq!(found(changed), [finding], "{fact}");
    }
    let mut alone = well();
    alone.cluster.facts = Ok(Some(facts(&[("publication", "StatusesOnly: no Redis is configured")])));
    alone.redis = None;
    let findings = judge(&alone);
    assert_eq!((findings.len(), findings[0].finding, findings[0].level), (1, "NoRedis", Level::Note));
}

#[test]
fn what_cannot_be_read_is_a_finding_and_nothing_is_guessed_from_it() {
    let forbidden = |what: &str| Unread::Forbidden(what.to_owned());
    assert_eq!(found(|s| s.cluster.registry = Err(Unread::NotFound)), ["CrdMissing"]);
    assert_eq!(found(|s| s.cluster.registry = Err(forbidden("list"))), ["MayNotLook"]);
    assert_eq!(found(|s| s.cluster.lease = Err(forbidden("get"))), ["MayNotLook"]);
    assert_eq!(found(|s| s.cluster.facts = Ok(None)), ["NoFacts"]);
    assert_eq!(found(|s| (s.cluster.lease, s.cluster.facts) = (Ok(None), Ok(None))), ["NoLeader"]);
    let lease = |holder: Option<&str>, ago: f64| {
        let (holder, renewed) = (holder.map(str::to_owned), Some(at(NOW - ago)));
        Ok(Some(Seat { holder, renewed, duration: Duration::from_secs(15) }))
    };
    assert_eq!(found(|s| s.cluster.lease = lease(None, 1.0)), ["NoLeader"]);
    assert_eq!(found(|s| s.cluster.lease = lease(Some("x"), 60.0)), ["NoLeader"]);
    assert_eq!(found(|s| s.cluster.lease = lease(Some("x"), 40.0)), Vec::<&str>::new(), "clocks differ");
    assert_eq!(found(|s| s.cluster.registry = Err(Unread::Failed("no answer".into()))), ["NoCluster"]);
    let unread = Redis::Unread("TimedOut", "Redis did not answer in time".into());
    assert_eq!(found(|s| s.redis = Some(unread)), ["RedisUnreachable"]);
    assert_eq!(found(|s| s.workers = None), ["NoWorkers"]);
    assert_eq!(found(|s| s.services[0].1 = Err(forbidden("list endpointslices"))), ["MayNotLook"]);
}

#[test]
fn endpoints_with_one_fault_share_a_line() {
    let failing = |endpoint: &str, connects, error| {
        let endpoint = EndpointId::new(endpoint);
        EndpointVerdict { endpoint, connects, report: Err(error) }
    };
    let found = found(|signs| {
        signs.workers = Some(vec![
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
        signs.services = vec![("n/s".into(), Ok(0))];
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
    assert_eq!(found, kinds);
}

#[test]
fn a_row_whose_url_differs_beyond_its_query_is_told_by_its_id() {
    let rows = |url: &str| vec![reporting("1", url)];
    for url in ["http://a/mcp/", "http://127.0.0.1/mcp?x=planted", "planted", "http://me:planted@a/mcp"] {
        assert_eq!(found(|signs| signs.workers = Some(rows(url))), ["UrlDiffers"], "{url}");
    }
    assert_eq!(found(|signs| signs.workers = Some(rows("http://a/mcp?y=planted"))), Vec::<&str>::new());
}

fn absent(trace: &mut Trace) {
    (trace.stamp, trace.left) = (Stamp::Absent, None);
}

#[test]
fn the_lock_and_the_traces_have_their_findings() {
    let redis = |change: fn(&mut Holder, &mut bool, &mut Traces)| {
        found(move |signs| {
            let Some(Redis::Seen { holder, published, traces, .. }) = &mut signs.redis else { panic!("it was seen") };
            change(holder, published, traces);
        })
    };
    assert_eq!(redis(|holder, _, _| *holder = Holder::Nobody), ["LockFree"]);
    assert_eq!(redis(|holder, _, _| *holder = Holder::Foreign("c".into())), ["LockHeldByAnother"]);
    assert_eq!(redis(|holder, _, _| *holder = Holder::OtherRelease("o".into())), ["LockHeldByAnotherRelease"]);
    assert_eq!(redis(|_, published, _| *published = false), ["NothingPublished"]);
    assert_eq!(redis(|_, _, traces| absent(&mut traces.traces[1])), ["NotPolled"]);
    let all = redis(|_, _, traces| traces.traces.iter_mut().for_each(absent));
    assert_eq!(all, ["NoStamps"]);
    let none = redis(|_, _, traces| {
        traces.service_leader = false;
        traces.traces.iter_mut().for_each(absent);
    });
    assert_eq!(none, ["NoContextForge"]);
}
