use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::*;
use crate::model::{Tier, UnixTime};
use crate::poll::Stamp;
use crate::poll::compliance::{Trace, Traces};
use crate::registry::GatewayRecord;

const NOW: f64 = 1e9;

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

fn facts(more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let well = [("publication", "Published"), ("redisLock", "Held"), ("usage", "Complete"), ("unregistered", "none")];
    let fine = ["registryWatch", "permissions", "statusWrites"].map(|name| (name, "Fine"));
    well.iter().chain(&fine).chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn well() -> Signs {
    let stamp = Stamp::At(at(NOW - 10.0));
    let trace = Trace { tier: Some(Tier::Hot), stamp, left: Some(Duration::from_secs(590)) };
    let row = Reported { gateway_id: Some("1".into()), url: Some("http://a/mcp?token=planted".into()) };
    let duration = Duration::from_secs(15);
    let seat = Seat { holder: Some("one".into()), renewed: Some(at(NOW - 5.0)), duration };
    Signs {
        cluster: Cluster {
            registry: Ok(registry(&[("a", "1", "http://a/mcp"), ("b", "2", "http://b/mcp")])),
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
        workers: Some(vec![Worker { endpoint: "http://w/usage".into(), answer: Ok(vec![row]) }]),
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
    let failing = |endpoint: &str, fault| Worker { endpoint: endpoint.into(), answer: Err(fault) };
    let found = found(|signs| {
        signs.workers = Some(vec![
            failing("http://1", WorkerFault::NoConnection),
            failing("http://2", WorkerFault::Status(401)),
            failing("http://3", WorkerFault::NoConnection),
            failing("http://4", WorkerFault::NotJson),
            failing("http://5", WorkerFault::Status(404)),
            failing("http://6", WorkerFault::Refused("refused".into())),
        ]);
        signs.services = vec![("n/s".into(), Ok(0))];
    });
    let kinds =
        ["ServiceEmpty", "WorkerNoAdapter", "WorkerNoAdapter", "WorkerNoConnection", "WorkerRefused", "WorkerToken"];
    assert_eq!(found, kinds);
}

#[test]
fn a_row_whose_url_differs_beyond_its_query_is_told_by_its_id() {
    let rows = |url: &str| {
        let row = Reported { gateway_id: Some("1".into()), url: Some(url.into()) };
        vec![Worker { endpoint: "http://w".into(), answer: Ok(vec![row.clone(), row]) }]
    };
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

#[test]
fn reports_are_read_for_ids_and_urls_alone() {
    let body =
        br#"{"kind":"UsageReport","workers":[{"id":"x","servers":[{"gatewayId":"1","url":"u","active":"?"}]},{}]}"#;
    let row = Reported { gateway_id: Some("1".into()), url: Some("u".into()) };
    assert_eq!(report_rows(body), Some(vec![row]));
    assert_eq!((report_rows(b"{}"), report_rows(b"<html>")), (None, None));
}
