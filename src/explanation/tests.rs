//! A word for every row of the table of states in SPEC section 1, and for what stands beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::poll::{Intervals, Stamp, decide};
use crate::registry::GatewayRecord;

const NOW: &str = "2026-11-25T06:00:00Z";

/// An object `ns/NAME` with this spec; `said`: tier, reason of `Classified` and rank.
fn object(name: &str, age: i64, spec: &Value, said: Option<(Option<&str>, &str, Option<i64>)>) -> GatewayRecord {
    let metadata = json!({
        "namespace": "ns", "name": name, "uid": name, "resourceVersion": "1", "generation": 1,
        "creationTimestamp": jiff::Timestamp::from_second(1_700_000_000 + age).unwrap().to_string(),
    });
    let condition = |kind: &str, status: &str, reason: &str| json!({"type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": 1, "lastTransitionTime": NOW});
    let status = said.map_or(Value::Null, |(tier, reason, rank)| {
        let mut status = json!({
            "observedGeneration": 1, "term": 1,
            "conditions": [condition("Accepted", "True", "Valid"), condition("Classified", "True", reason)],
        });
        if let Some(tier) = tier {
            status["tier"] = tier.into();
            status["tierTransitionTime"] = NOW.into();
        }
        if let Some(rank) = rank {
            status["rank"] = rank.into();
            let used = jiff::Timestamp::from_second(1_763_800_000 - rank).unwrap().to_string();
            status["usage"] = json!({"lastUsedTime": used, "activeSessions": 1, "idleSessions": 2, "useCount": 3, "observedTime": NOW});
        }
        status
    });
    GatewayRecord::from_parts(&serde_json::from_value(metadata).unwrap(), spec, &status).unwrap()
}

fn registry(objects: Vec<GatewayRecord>) -> RegistrySnapshot {
    let objects: BTreeMap<_, _> = objects.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect();
    RegistrySnapshot::build(&objects, 1)
}

fn spec(url: &str) -> Value {
    json!({"url": url})
}

/// Five servers: two hot, the rest cold or without a tier.
fn fleet_of_five() -> Vec<GatewayRecord> {
    vec![
        object("hot", 0, &spec("http://hot"), Some((Some("Hot"), "AboveCut", Some(1)))),
        object("last", 0, &spec("http://last"), Some((Some("Hot"), "AboveCut", Some(2)))),
        object("below", 0, &spec("http://below"), Some((Some("Cold"), "BelowCut", Some(3)))),
        object("never", 0, &spec("http://never:8080/mcp"), Some((Some("Cold"), "NeverUsed", None))),
        object("held", 0, &spec("http://held"), Some((Some("Hot"), "Held", Some(4)))),
    ]
}

struct Scene {
    objects: Vec<GatewayRecord>,
    whole: bool,
    leader: Leader,
    facts: BTreeMap<String, String>,
    redis: Redis,
}

impl Scene {
    fn new(objects: Vec<GatewayRecord>) -> Self {
        let fine = [("usage", "Complete"), ("endpoints", "3 of 3 answered"), ("publication", "Published")];
        let facts = fine.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        Self { objects, whole: true, leader: Leader::Leads("pod_1".to_owned()), facts, redis: Redis::NotAsked }
    }

    fn explain(&self, name: &str) -> Explanation {
        let registry = registry(self.objects.clone());
        let Self { whole, leader, facts, redis, .. } = self;
        let signs = Signs { registry: &registry, whole: *whole, leader, facts: Some(facts), redis };
        explain(&ObjectName::new("ns", name), &signs).unwrap()
    }
}

#[test]
fn a_cold_server_is_told_what_it_has_to_beat() {
    let told = Scene::new(fleet_of_five()).explain("below");
    assert_eq!((told.tier, told.reason, told.rank), (Some("Cold"), "BelowCut", Some(3)));
    let cut_off = told.cut_off.as_ref().unwrap();
    // The held one is hot too, but by no use of its own.
    assert_eq!((cut_off.object.as_str(), cut_off.rank), ("ns/last", Some(2)));
    assert!(
        told.next.contains("ns/last") && told.next.contains(cut_off.last_used.as_deref().unwrap()),
        "{}",
        told.next
    );
    let Fleet { servers, hot_cap, hot, ever_used } = told.fleet;
    assert_eq!((servers, hot_cap, hot, ever_used), (Some(5), None, Some(3), Some(4)));
    let text = table(&told);
    assert!(text.contains("Rank:") && text.contains("3 of 4 ever used; 5 servers; 3 are hot"), "{text}");
    assert!(text.contains("To become hot:") && text.ends_with('\n'), "{text}");
}

#[test]
fn every_state_says_what_to_do_or_what_comes_next() {
    let disabled = json!({"url": "http://off", "enabled": false});
    let credential = json!({"url": "http://u:planted@h/"});
    let mut objects = fleet_of_five();
    objects.extend([
        object("zero", 0, &spec("http://zero"), Some((Some("Cold"), "CapIsZero", None))),
        object("awaiting", 0, &spec("http://awaiting"), Some((None, "AwaitingUsage", None))),
        object("incomplete", 0, &spec("http://incomplete"), Some((None, "UsageIncomplete", None))),
        object("off", 0, &disabled, Some((None, "Disabled", None))),
        object("new", 0, &spec("http://new"), None),
        object("credential", 0, &credential, Some((None, "NotAccepted", None))),
        object("invalid", 0, &spec("ftp://planted"), Some((None, "NotAccepted", None))),
        object("keeper", 0, &json!({"url": "http://one", "gatewayId": "id"}), Some((Some("Cold"), "NeverUsed", None))),
        object("second", 9, &json!({"url": "http://two", "gatewayId": "id"}), Some((None, "NotAccepted", None))),
    ]);
    let scene = Scene::new(objects);
    for (name, reason, part) in [
        ("hot", "AboveCut", "stays hot"),
        ("held", "Held", "three intervals"),
        ("below", "BelowCut", "ns/last"),
        ("never", "NeverUsed", "spec.gatewayId"),
        ("zero", "CapIsZero", "--min-hot"),
        ("awaiting", "AwaitingUsage", "3 of 3 answered"),
        ("incomplete", "UsageIncomplete", "more workers"),
        ("off", "Disabled", r#"kubectl patch mcpgateway off -n ns --type=merge -p '{"spec":{"enabled":true}}'"#),
        ("new", "Pending", "--watch-namespace"),
        ("credential", "CredentialInUrl", "take the credential out"),
        ("invalid", "InvalidUrl", "767"),
        ("second", "DuplicateGatewayId", "ns/keeper is older"),
    ] {
        let told = scene.explain(name);
        assert_eq!(told.reason, reason, "{name}");
        assert!(told.next.contains(part), "{name}: {}", told.next);
        let (text, json) = (table(&told), json!(told).to_string());
        assert!(!text.contains("planted") && !json.contains("planted"), "{name}: {text}{json}");
    }
    assert_eq!(scene.explain("second").id_kept_by.as_deref(), Some("ns/keeper"));
    assert_eq!(scene.explain("keeper").id_kept_by, None);
}

#[test]
fn objects_of_one_server_name_each_other() {
    let mut objects = fleet_of_five();
    objects.push(object("twin", 0, &spec("http://below"), Some((Some("Cold"), "BelowCut", Some(3)))));
    let scene = Scene::new(objects);
    assert_eq!(scene.explain("below").same_server, ["ns/twin"]);
    assert_eq!(scene.explain("twin").same_server, ["ns/below"]);
    assert!(scene.explain("hot").same_server.is_empty());
    assert_eq!(scene.explain("hot").fleet.servers, Some(5));
}

#[test]
fn a_status_of_an_older_spec_is_not_believed() {
    let mut objects = fleet_of_five();
    objects[2].generation = 2;
    let told = Scene::new(objects).explain("below");
    assert_eq!(told.reason, "Pending");
    assert!(told.notes.iter().any(|note| note.contains("older spec")), "{:?}", told.notes);
}

#[test]
fn without_a_leader_that_is_said() {
    let mut scene = Scene::new(fleet_of_five());
    scene.objects.push(object("new", 0, &spec("http://new"), None));
    let renewed = UnixTime::from_seconds(1_763_800_000.0).unwrap();
    for leader in [Leader::Nobody, Leader::Late { holder: "pod_1".to_owned(), renewed }] {
        scene.leader = leader;
        let told = scene.explain("new");
        assert!(told.next.contains("start the operator") && told.leader.starts_with("nobody"), "{told:?}");
        assert!(told.notes.iter().any(|note| note.contains("no replica leads")), "{:?}", told.notes);
    }
    scene.leader = Leader::Unknown("not allowed".to_owned());
    assert_eq!(scene.explain("new").leader, "unknown: not allowed");
}

#[test]
fn what_may_not_be_listed_is_left_out() {
    let mut scene = Scene::new(fleet_of_five());
    scene.whole = false;
    let told = scene.explain("below");
    assert_eq!((told.cut_off, told.fleet), (None, Fleet::default()));
    assert!(told.notes.iter().any(|note| note.contains("ask for list")), "{:?}", told.notes);
}

#[test]
fn a_use_under_another_url_is_pointed_out() {
    let mut scene = Scene::new(fleet_of_five());
    scene.facts.insert("unregistered".to_owned(), "http://other/mcp http://never:9090/sse".to_owned());
    let next = scene.explain("never").next;
    assert!(next.contains("http://never:9090/sse") && !next.contains("http://other"), "{next}");
    scene.facts.insert("unregistered".to_owned(), "none".to_owned());
    assert!(!scene.explain("never").next.contains("not registered"));
}

#[test]
fn what_redis_says_is_told_beside_the_status() {
    let mut scene = Scene::new(fleet_of_five());
    let now = UnixTime::from_seconds(1_763_800_000.0).unwrap();
    let said = |tier, stamp: &[u8]| Redis::Said {
        published: Some(Metadata {
            total_servers: 5,
            hot_cap: 2,
            hot_actual: 3,
            eligible_count: 4,
            timestamp: now,
            underutilized_reason: None,
        }),
        polls: vec![Poll {
            kind: PollType::Health,
            by_gateway_id: false,
            decision: decide(tier, Stamp::read(stamp), now, &Intervals::default()),
        }],
    };
    scene.redis = said(Some(Tier::Cold), b"1763799999");
    let told = scene.explain("below");
    assert_eq!((told.fleet.hot_cap, told.notes.len()), (Some(2), 0), "{:?}", told.notes);
    let text = table(&told);
    assert!(text.contains("Next health:") && text.contains("2025-11-22T08:41:39Z (NotYetDue"), "{text}");
    assert_eq!(json!(told)["polls"][0]["type"], "health");
    assert!(told.next.contains("fewer than 2 others"), "{}", told.next);

    scene.redis = said(Some(Tier::Hot), b"1763799999");
    assert!(scene.explain("below").notes[0].starts_with("Redis says Hot and the status Cold"));
    scene.redis = Redis::Said { published: None, polls: Vec::new() };
    assert!(scene.explain("below").notes[0].contains("nothing is published"));
    scene.redis = Redis::Failed("Unreachable".to_owned());
    assert!(scene.explain("below").notes[0].contains("Unreachable"));
}
