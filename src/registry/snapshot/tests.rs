use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::*;
use crate::api::conditions::{ConditionStatus, ConditionType, Reason};
use crate::model::Tier;

/// A record of `namespace/name`, created at a second, from the JSON of spec and status.
fn record(name: &str, created: i64, data: &Value) -> Arc<GatewayRecord> {
    let (namespace, name) = name.split_once('/').unwrap();
    let metadata: ObjectMeta = serde_json::from_value(json!({
        "namespace": namespace, "name": name, "uid": format!("uid-{name}"), "resourceVersion": "7", "generation": 2,
        "creationTimestamp": jiff::Timestamp::from_second(created).unwrap().to_string(),
    }))
    .unwrap();
    Arc::new(GatewayRecord::from_object(&metadata, data).unwrap())
}

fn snapshot(records: &[Arc<GatewayRecord>]) -> RegistrySnapshot {
    let objects = records.iter().map(|record| (record.name.clone(), Arc::clone(record))).collect();
    RegistrySnapshot::build(&objects, 1)
}

fn spec(url: &str, id: &str) -> Value {
    json!({"spec": {"url": url, "gatewayId": id}})
}

fn registrations(snapshot: &RegistrySnapshot) -> Vec<&'static str> {
    let text = |gateway: &Gateway| match &gateway.registration {
        Registration::Registered { .. } => "Registered",
        Registration::Disabled => "Disabled",
        Registration::Refused(refusal) => refusal.reason().into(),
    };
    snapshot.gateways().iter().map(text).collect()
}

#[test]
fn servers_are_ordered_by_namespace_and_name_without_repetition() {
    let found = snapshot(&[
        record("b/a", 1, &json!({"spec": {"url": "http://two"}})),
        record("a/z", 1, &json!({"spec": {"url": "http://one"}})),
        record("c/c", 1, &json!({"spec": {"url": "http://one"}})),
        record("a/b", 1, &json!({"spec": {"url": "http://three"}})),
    ]);
    let servers: Vec<_> = found.servers().iter().map(ServerUrl::expose).collect();
    assert_eq!(servers, ["http://three", "http://one", "http://two"]);
    assert_eq!(found.gateways().len(), 4);
}

#[test]
fn disabled_and_refused_objects_are_not_in_the_registry() {
    let found = snapshot(&[
        record("a/credential", 1, &json!({"spec": {"url": "http://h?api_key=planted"}})),
        record("a/disabled", 1, &json!({"spec": {"url": "http://off", "enabled": false, "gatewayId": "off"}})),
        record("a/no-spec", 1, &json!({})),
        record("a/other-shape", 1, &json!({"spec": {"url": 5}})),
        record("a/odd-id", 1, &json!({"spec": {"url": "http://odd", "gatewayId": "a b"}})),
        record("a/plain", 1, &json!({"spec": {"url": "http://plain"}})),
    ]);
    assert_eq!(
        registrations(&found),
        ["CredentialInUrl", "Disabled", "InvalidUrl", "InvalidUrl", "InvalidUrl", "Registered"]
            .map(String::from)
            .to_vec(),
    );
    assert_eq!(found.servers().len(), 1);
    assert_eq!(found.by_id(b"off"), None, "an id of a disabled object is unknown");
    assert!(!format!("{found:?}").contains("planted"));
}

#[test]
fn an_object_that_is_older_than_the_rules_is_judged_by_the_same_list() {
    let with =
        |name, url: &str, names: &[&str]| record(name, 1, &json!({"spec": {"url": url, "allowedQueryNames": names}}));
    let found = snapshot(&[
        with("a/a", "http://h?code=de", &["code"]),
        with("a/b", "http://h?code=planted", &[]),
        with("a/c", "http://h?code=de&token[]=planted", &["code"]),
        with("a/d", "http://h?a=1;token=planted", &["a"]),
        with("a/e", "http://h?%74oken=planted", &["%74oken"]),
        with("a/f", "http://h?sort_key=id", &[]),
    ]);
    let expected = ["Registered", "CredentialInUrl", "CredentialInUrl", "InvalidUrl", "InvalidUrl", "Registered"];
    assert_eq!(registrations(&found), expected);
    assert!(!format!("{found:?}").contains("planted"));
}

#[test]
fn the_oldest_object_keeps_an_id_that_several_urls_have() {
    let mut records = vec![
        record("a/young", 30, &spec("http://young", "id1")),
        record("b/old", 10, &spec("http://old", "id1")),
        record("b/old-twin", 20, &spec("http://old", "id1")),
        record("c/same-age", 10, &spec("http://late-by-name", "id1")),
    ];
    let found = snapshot(&records);
    assert_eq!(registrations(&found), ["DuplicateGatewayId", "Registered", "Registered", "DuplicateGatewayId"]);
    assert_eq!(found.by_id(b"id1").map(|place| found.servers()[place as usize].expose()), Some("http://old"));

    records.remove(1);
    records.remove(2);
    records[1] =
        record("b/old-twin", 20, &json!({"spec": {"url": "http://old", "gatewayId": "id1", "enabled": false}}));
    let freed = snapshot(&records);
    assert_eq!(registrations(&freed), ["Registered", "Disabled"], "it recovers when the id is free");
}

#[test]
fn servers_are_found_by_id_by_name_and_by_url() {
    let found = snapshot(&[
        record("a/one", 1, &spec("http://one", "id1")),
        record("a/two", 1, &json!({"spec": {"url": "http://two", "enabled": false}})),
        record("b/one", 1, &json!({"spec": {"url": "http://three"}})),
    ]);
    let text = |place: Option<u32>| place.map(|place| found.servers()[place as usize].expose().to_owned());
    assert_eq!(text(found.by_id(b"id1")).as_deref(), Some("http://one"));
    assert_eq!(text(found.by_id(b"id2")), None);
    assert_eq!(text(found.by_name("b/one")).as_deref(), Some("http://three"));
    assert_eq!(text(found.by_name("a/two")), None, "a disabled object has no server in the registry");
    assert_eq!(text(found.by_name("one")), None);
    assert_eq!(text(found.by_url("http://three")).as_deref(), Some("http://three"));
    assert_eq!(text(found.by_url("http://two")), None);
    for (record, place) in found.registered() {
        assert!(matches!(&record.spec, Spec::Enabled { url, .. } if *url == found.servers()[place]), "{}", record.name);
    }
}

#[test]
fn the_highest_term_leaves_out_tampered_ones() {
    let with = |name, term: i64| record(name, 1, &json!({"spec": {"url": "http://h"}, "status": {"term": term}}));
    let found = snapshot(&[with("a/a", 7), with("a/b", 1_500_000), with("a/c", 2_147_483_647), with("a/d", -3)]);
    assert_eq!(found.highest_term(i64::MAX).map(Term::get), Some(1_500_000));
    assert_eq!(found.highest_term(1_000_007).map(Term::get), Some(7));
    assert_eq!(snapshot(&[]).highest_term(i64::MAX), None);
}

#[test]
fn a_status_is_read_into_its_compact_form() {
    let status = json!({
        "observedGeneration": 2, "tier": "Hot", "tierTransitionTime": "2025-11-22T08:28:10Z", "rank": 3, "term": 9,
        "usage": {"lastUsedTime": "2025-11-22T08:28:10Z", "activeSessions": 2, "idleSessions": 1, "useCount": 55},
        "conditions": [
            {"type": "Ready", "status": "True", "reason": "Classified", "message": "", "observedGeneration": 2,
             "lastTransitionTime": "2025-11-22T08:28:11Z"},
            {"type": "Theirs", "status": "True", "reason": "Odd", "message": "",
             "lastTransitionTime": "2025-11-22T08:28:11Z"},
        ],
    });
    let record = record("a/a", 1, &json!({"spec": {"url": "http://h"}, "status": status}));
    let status = &record.status;
    assert_eq!((status.tier, status.rank(), status.term), (Some(Tier::Hot), Some(3), Term::new(9)));
    let ready = status.condition(ConditionType::Ready).unwrap();
    assert_eq!((ready.status, ready.reason), (Some(ConditionStatus::True), Some(Reason::Classified)));
    assert!(status.foreign);
    assert_eq!(record.remembered_use().map(|time| time.to_string()).as_deref(), Some("2025-11-22T08:28:10Z"));
}

#[test]
fn the_use_of_a_former_url_is_not_remembered() {
    let status = json!({"observedGeneration": 1, "usage": {"lastUsedTime": "2025-11-22T08:28:10Z"}});
    let record = record("a/a", 1, &json!({"spec": {"url": "http://h"}, "status": status}));
    assert_eq!(record.remembered_use(), None);
}

#[test]
fn a_status_that_does_not_parse_counts_as_never_written() {
    let record = record("a/a", 1, &json!({"spec": {"url": "http://h"}, "status": {"tier": "Lukewarm"}}));
    assert_eq!(record.status, super::super::ObservedStatus::default());
    assert!(matches!(record.spec, Spec::Enabled { .. }));
}

#[test]
fn only_changes_beyond_the_status_are_changes_of_the_registry() {
    let spec = json!({"spec": {"url": "http://h"}, "status": {"term": 4}});
    let old = record("a/a", 1, &json!({"spec": {"url": "http://h"}}));
    assert!(!record("a/a", 1, &spec).differs_beyond_status(&old));
    assert!(record("a/a", 1, &json!({"spec": {"url": "http://i"}})).differs_beyond_status(&old));
    assert!(record("a/a", 2, &spec).differs_beyond_status(&old), "created again under the same name");
}

/// The servers that are pinned, by the host of their URLs.
fn pinned(snapshot: &RegistrySnapshot, max_pinned: f64) -> Vec<String> {
    let mut inputs: PerServer<RankingInput> = PerServer::of(snapshot.servers());
    snapshot.pin(&mut inputs, &Params { max_pinned, ..Params::default() });
    let pinned = inputs.iter().filter(|(_, input)| input.pinned);
    pinned.map(|(server, _)| server.expose().trim_start_matches("http://").to_owned()).collect()
}

#[test]
fn the_oldest_objects_keep_their_pins() {
    let pin = |url: &str| json!({"spec": {"url": url, "polling": {"tier": "Hot"}}});
    let mut records = vec![
        record("a/late", 9, &pin("http://late")),
        record("b/first", 5, &pin("http://first")),
        record("c/same", 5, &pin("http://same")),
        // Another object for a server takes no place of its own.
        record("a/again", 6, &pin("http://first")),
        record("a/off", 1, &json!({"spec": {"url": "http://off", "enabled": false, "polling": {"tier": "Hot"}}})),
        record("a/plain", 1, &json!({"spec": {"url": "http://plain", "polling": {}}})),
    ];
    for (share, expected) in [
        (0.0, &[][..]),
        (0.01, &["first"]),
        (0.25, &["first"]),
        (0.5, &["first", "same"]),
        (1.0, &["first", "late", "same"]),
    ] {
        for _ in 0..2 {
            let mut found = pinned(&snapshot(&records), share);
            found.sort();
            assert_eq!(found, expected, "{share}");
            records.reverse();
        }
    }
    // A younger object takes no pin from an older one, and gets what that leaves.
    records.retain(|record| &*record.name.name != "first");
    assert_eq!(pinned(&snapshot(&records), 0.25), ["same"]);
}
