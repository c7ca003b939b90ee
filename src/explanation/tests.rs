//! One explanation for every state of docs/contract.md#conditions, and for what may surround it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::contextforge::entry::Entry;
use crate::model::{GatewayId, UnixTime};
use crate::poll::{Intervals, Stamp, decide};
use crate::registry::GatewayRecord;

const NOW: &str = "2026-11-25T06:00:00Z";

/// An object `ns/NAME` with this spec; `written`: tier, reason of `Classified` and rank in its status.
fn object(name: &str, age: i64, spec: &Value, written: Option<(Option<&str>, &str, Option<i64>)>) -> GatewayRecord {
    let metadata = json!({
        "namespace": "ns", "name": name, "uid": name, "resourceVersion": "1", "generation": 1,
        "creationTimestamp": jiff::Timestamp::from_second(1_700_000_000 + age).unwrap().to_string(),
    });
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "",
            "observedGeneration": 1, "lastTransitionTime": NOW,
        })
    };
    let status = written.map_or(Value::Null, |(tier, reason, rank)| {
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
            status["usage"] = json!({
                "lastUsedTime": used, "activeSessions": 1, "idleSessions": 2, "useCount": 3, "observedTime": NOW,
            });
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

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "as it says", "lastTransitionTime": NOW})
}

struct Scene {
    objects: Vec<GatewayRecord>,
    observations: Observations,
}

impl Scene {
    fn new(objects: Vec<GatewayRecord>) -> Self {
        let fleet = json!({
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGatewayFleet",
            "metadata": {"name": "mcpgateway-operator", "namespace": "system"}, "spec": {},
            "status": {
                "endpoints": {"known": 3, "answered": 3, "summary": "3/3"}, "publication": {"state": "Published"},
                "conditions": [condition("UsageComplete", "True", "Complete")],
            },
        });
        let observations = Observations {
            now: UnixTime::from_seconds(1_763_800_000.0).unwrap(),
            registry: RegistrySnapshot::default(),
            complete: true,
            leader: Ok(LeaseView::Held("pod_1".to_owned())),
            fleet: serde_json::from_value(fleet).unwrap(),
            redis: RedisAnswer::NotAsked,
            entry: EntryAnswer::NotAsked,
        };
        Self { objects, observations }
    }

    fn status(&mut self) -> &mut FleetStatus {
        self.observations.fleet.as_mut().unwrap().status.as_mut().unwrap()
    }

    fn explain(&mut self, name: &str) -> Explanation {
        self.observations.registry = registry(self.objects.clone());
        explain(&ObjectName::new("ns", name), &self.observations).unwrap()
    }
}

#[test]
fn a_cold_server_has_the_cut_off_as_its_goal() {
    let explanation = Scene::new(fleet_of_five()).explain("below");
    assert_eq!((explanation.tier, explanation.reason, explanation.rank), (Some("Cold"), "BelowCut", Some(3)));
    let cut_off = explanation.cut_off.as_ref().unwrap();
    // The held server is hot too, but not by a use of its own.
    assert_eq!((cut_off.object.as_str(), cut_off.rank), ("ns/last", Some(2)));
    assert!(
        explanation.next.contains("ns/last") && explanation.next.contains(&cut_off.last_used.unwrap().to_string()),
        "{}",
        explanation.next
    );
    let FleetNumbers { servers, hot_cap, hot, ever_used } = explanation.fleet;
    assert_eq!((servers, hot_cap, hot, ever_used), (Some(5), None, Some(3), Some(4)));
    let text = table(&explanation);
    assert!(text.contains("Rank:") && text.contains("3 of 4 ever used; 5 servers; 3 are hot"), "{text}");
    assert!(text.contains("To become hot:") && text.ends_with('\n'), "{text}");
}

/// Within one `--recency-resolution`, a server that was used later may rank lower.
#[test]
fn a_cold_server_that_was_used_as_recently_as_a_hot_one_needs_more_requests() {
    for rank in [1, 2, 3] {
        let mut objects = fleet_of_five();
        // The rank of an object also sets the time of its last use; the last hot one has rank 2.
        objects[2] = object("below", 0, &spec("http://below"), Some((Some("Cold"), "BelowCut", Some(rank))));
        let explanation = Scene::new(objects).explain("below");
        let recency_did_not_decide = explanation.next.contains("--recency-resolution");
        assert_eq!(recency_did_not_decide, rank <= 2, "{}", explanation.next);
        assert!(
            explanation.next.contains("than ns/last, which is hot") || explanation.next.contains("request to it after")
        );
    }
}

#[test]
fn every_state_has_advice() {
    let disabled = json!({"url": "http://off", "enabled": false});
    let credential = json!({"url": "http://u:planted@h/"});
    let mut objects = fleet_of_five();
    objects.extend([
        object("zero", 0, &spec("http://zero"), Some((Some("Cold"), "CapIsZero", None))),
        object("awaiting", 0, &spec("http://awaiting"), Some((None, "AwaitingUsage", None))),
        object("incomplete", 0, &spec("http://incomplete"), Some((None, "UsageIncomplete", None))),
        object("stopped", 0, &spec("http://stopped"), Some((None, "Suspended", None))),
        object("off", 0, &disabled, Some((None, "Disabled", None))),
        object("new", 0, &spec("http://new"), None),
        object("credential", 0, &credential, Some((None, "NotAccepted", None))),
        object("invalid", 0, &spec("ftp://planted"), Some((None, "NotAccepted", None))),
        object("keeper", 0, &json!({"url": "http://one", "gatewayId": "id"}), Some((Some("Cold"), "NeverUsed", None))),
        object("second", 9, &json!({"url": "http://two", "gatewayId": "id"}), Some((None, "NotAccepted", None))),
    ]);
    let mut scene = Scene::new(objects);
    for (name, reason, part) in [
        ("hot", "AboveCut", "stays hot"),
        ("held", "Held", "three intervals"),
        ("below", "BelowCut", "ns/last"),
        ("never", "NeverUsed", "spec.gatewayId"),
        ("zero", "CapIsZero", "--min-hot"),
        ("awaiting", "AwaitingUsage", "3 of 3 reported"),
        ("incomplete", "UsageIncomplete", "more workers"),
        (
            "stopped",
            "Suspended",
            r#"kubectl patch mcpfleet mcpgateway-operator -n system --type=merge -p '{"spec":{"suspend":false}}'"#,
        ),
        ("off", "Disabled", r#"kubectl patch mcpgateway off -n ns --type=merge -p '{"spec":{"enabled":true}}'"#),
        ("new", "Pending", "--watch-namespace"),
        ("credential", "CredentialInUrl", "take the credential out"),
        ("invalid", "InvalidUrl", "767"),
        ("second", "DuplicateGatewayId", "ns/keeper is older"),
    ] {
        let explanation = scene.explain(name);
        assert_eq!(explanation.reason, reason, "{name}");
        assert!(explanation.next.contains(part), "{name}: {}", explanation.next);
        let (text, json) = (table(&explanation), json!(explanation).to_string());
        assert!(!text.contains("planted") && !json.contains("planted"), "{name}: {text}{json}");
    }
    assert_eq!(scene.explain("second").id_kept_by.as_deref(), Some("ns/keeper"));
    assert_eq!(scene.explain("keeper").id_kept_by, None);
}

#[test]
fn objects_of_one_server_name_each_other() {
    let mut objects = fleet_of_five();
    objects.push(object("twin", 0, &spec("http://below"), Some((Some("Cold"), "BelowCut", Some(3)))));
    let mut scene = Scene::new(objects);
    assert_eq!(scene.explain("below").same_server, ["ns/twin"]);
    assert_eq!(scene.explain("twin").same_server, ["ns/below"]);
    assert!(scene.explain("hot").same_server.is_empty());
    assert_eq!(scene.explain("hot").fleet.servers, Some(5));
}

#[test]
fn a_refused_object_shares_no_tier() {
    let mut objects = fleet_of_five();
    objects.push(object("keeper", 0, &json!({"url": "http://one", "gatewayId": "id"}), None));
    objects.push(object("refused", 9, &json!({"url": "http://hot", "gatewayId": "id"}), None));
    let explanation = Scene::new(objects).explain("refused");
    assert_eq!((explanation.reason, explanation.same_server), ("DuplicateGatewayId", Vec::new()));
}

#[test]
fn a_status_of_an_older_spec_does_not_count() {
    let mut objects = fleet_of_five();
    objects[2].generation = 2;
    objects[2].status.outdate();
    let explanation = Scene::new(objects).explain("below");
    assert_eq!(explanation.reason, "Pending");
    assert!(explanation.notes.iter().any(|note| note.contains("older spec")), "{:?}", explanation.notes);
}

#[test]
fn a_missing_leader_is_a_note() {
    let mut scene = Scene::new(fleet_of_five());
    scene.objects.push(object("new", 0, &spec("http://new"), None));
    let renewed = UnixTime::from_seconds(1_763_800_000.0).unwrap();
    let holder = || "pod_1".to_owned();
    for leader in [
        LeaseView::Missing,
        LeaseView::Free,
        LeaseView::Expired { holder: holder(), renewed: Some(renewed) },
        LeaseView::Expired { holder: holder(), renewed: None },
    ] {
        scene.observations.leader = Ok(leader);
        let explanation = scene.explain("new");
        assert!(
            explanation.next.contains("start the operator") && explanation.leader.starts_with("nobody"),
            "{explanation:?}"
        );
        assert!(explanation.notes.iter().any(|note| note.contains("no replica leads")), "{:?}", explanation.notes);
    }
    scene.observations.leader = Err("not allowed".to_owned());
    assert_eq!(scene.explain("new").leader, "unknown: not allowed");
}

#[test]
fn numbers_of_the_fleet_need_all_objects() {
    let mut scene = Scene::new(fleet_of_five());
    scene.observations.complete = false;
    let explanation = scene.explain("below");
    assert_eq!((explanation.cut_off, explanation.fleet), (None, FleetNumbers::default()));
    assert!(explanation.notes.iter().any(|note| note.contains("ask for list")), "{:?}", explanation.notes);
}

#[test]
fn an_unregistered_server_on_the_same_host_is_pointed_out() {
    let mut scene = Scene::new(fleet_of_five());
    scene.status().unregistered = ["http://other/mcp", "http://never:9090/sse"].map(str::to_owned).into();
    let next = scene.explain("never").next;
    assert!(next.contains("http://never:9090/sse") && !next.contains("http://other"), "{next}");
    scene.status().unregistered = Vec::new();
    assert!(!scene.explain("never").next.contains("used but not registered"));
}

#[test]
fn redis_is_compared_with_the_status() {
    let mut scene = Scene::new(fleet_of_five());
    let now = UnixTime::from_seconds(1_763_800_000.0).unwrap();
    let answer = |tier, stamp: &[u8]| RedisAnswer::Answered {
        published: Some(Metadata {
            total_servers: 5,
            hot_cap: 2,
            hot_actual: 3,
            eligible_count: 4,
            timestamp: now,
            underutilized_reason: None,
        }),
        polls: vec![NextPoll {
            kind: "health",
            by_gateway_id: false,
            decision: decide(tier, None, Stamp::read(stamp), now, &Intervals::default()),
        }],
    };
    scene.observations.redis = answer(Some(crate::model::Tier::Cold), b"1763799999");
    let explanation = scene.explain("below");
    assert_eq!((explanation.fleet.hot_cap, explanation.notes.len()), (Some(2), 0), "{:?}", explanation.notes);
    let text = table(&explanation);
    assert!(text.contains("Next health:") && text.contains("2025-11-22T08:41:39Z (NotYetDue"), "{text}");
    assert_eq!(json!(explanation)["polls"][0]["type"], "health");
    assert!(explanation.next.contains("fewer than 2 others"), "{}", explanation.next);

    scene.observations.redis = answer(Some(crate::model::Tier::Hot), b"1763799999");
    assert!(scene.explain("below").notes[0].starts_with("the tier is Hot in Redis and Cold in the status"));
    scene.observations.redis = RedisAnswer::Answered { published: None, polls: Vec::new() };
    assert!(scene.explain("below").notes[0].contains("nothing is published"));
    scene.observations.redis = RedisAnswer::Failed("Unreachable".to_owned());
    assert!(scene.explain("below").notes[0].contains("Unreachable"));
}

#[test]
fn a_suspended_fleet_explains_missing_tiers() {
    let mut scene = Scene::new(fleet_of_five());
    scene.observations.redis = RedisAnswer::Answered { published: None, polls: Vec::new() };
    scene.observations.fleet.as_mut().unwrap().spec.suspend = true;
    let notes = scene.explain("below").notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("the fleet is suspended") && notes[0].contains("kubectl patch mcpfleet"), "{notes:?}");
}

#[test]
fn failed_conditions_of_the_fleet_are_notes_or_advice() {
    let mut scene = Scene::new(fleet_of_five());
    scene.objects.push(object("new", 0, &spec("http://new"), None));
    scene.status().conditions = [("UsageComplete", "EndpointsSilent"), ("RegistryRead", "CrdMissing")]
        .map(|(kind, reason)| serde_json::from_value(condition(kind, "False", reason)).unwrap())
        .into();
    let explanation = scene.explain("new");
    assert!(
        explanation.notes[0].contains("EndpointsSilent") && explanation.notes[0].contains("3 of 3"),
        "{explanation:?}"
    );
    assert!(explanation.next.contains("CrdMissing: as it says"), "{}", explanation.next);
}

#[test]
fn the_planned_refresh_has_its_rung_and_its_reason() {
    let planned = |name: &str, written, interval: &str| {
        let mut object = object(name, 0, &spec(&format!("http://{name}")), Some(written));
        object.status.planned_at(interval.parse::<kube::core::Duration>().unwrap().into());
        object
    };
    let bound = json!({"url": "http://bounded", "polling": {"maxInterval": "20m"}});
    let mut bounded = object("bounded", 0, &bound, Some((Some("Cold"), "BelowCut", Some(864_000))));
    bounded.status.planned_at(Duration::from_secs(1_150));
    let mut scene = Scene::new(vec![
        planned("hot", (Some("Hot"), "AboveCut", Some(1)), "300s"),
        planned("held", (Some("Hot"), "Held", Some(5)), "300s"),
        planned("used", (Some("Cold"), "BelowCut", Some(7_200)), "2300s"),
        planned("never", (Some("Cold"), "NeverUsed", None), "560s"),
        planned("long", (Some("Cold"), "BelowCut", Some(864_000)), "13000s"),
        planned("pinned", (Some("Hot"), "Pinned", None), "300s"),
        bounded,
        object("none", 0, &spec("http://none"), Some((Some("Cold"), "NeverUsed", None))),
    ]);
    let plan = json!({"hotInterval": "300s", "longestInterval": "14400s", "budgetKept": true});
    scene.status().refresh_plan = serde_json::from_value(plan).unwrap();
    let mut found = |name| {
        let refresh = scene.explain(name).refresh.unwrap();
        let refresh::Place { rung, last_rung } = refresh.place.unwrap();
        assert_eq!(last_rung, 6);
        (<&'static str>::from(refresh.reason), rung, refresh.idle_seconds)
    };
    let reason = |reason: &'static str, rung, idle| (reason, rung, Some(idle));
    assert_eq!(found("hot"), reason("Hot", 0, 1));
    assert_eq!(found("held"), reason("Held", 0, 5));
    assert_eq!(found("pinned").0, "Hot");
    assert_eq!(found("bounded"), reason("Bounded", 2, 864_000));
    assert_eq!(found("used"), reason("LastUse", 3, 7_200));
    // The status says since when the server has its tier, and that is in the future here.
    assert_eq!(found("never"), reason("NeverUsed", 1, 0));
    assert_eq!(found("long"), reason("LongestInterval", 6, 864_000));
    assert_eq!(scene.explain("none").refresh, None);
    assert!(table(&scene.explain("pinned")).contains("To stay hot: "));
    let text = table(&scene.explain("used"));
    let line = "every 38m 20s, rung 3 of 6 (LastUse: by the time since its last use, as the budget allows)";
    assert!(text.contains(line) && text.contains("Idle: ") && text.contains("  2h\n"), "{text}");
    assert_eq!(serde_json::to_value(scene.explain("used")).unwrap()["refresh"]["lastRung"], 6);

    scene.status().refresh_plan.as_mut().unwrap().budget_kept = false;
    assert_eq!(scene.explain("used").refresh.unwrap().reason, refresh::RefreshReason::BudgetTooSmall);
    // Without the fleet object, the rungs are unknown.
    scene.observations.fleet = None;
    let alone = scene.explain("long").refresh.unwrap();
    assert_eq!((alone.place, alone.reason), (None, refresh::RefreshReason::LastUse));
    assert!(table(&scene.explain("long")).contains("every 3h 36m 40s (LastUse"));
}

/// An object that asks to be registered, whose status names the entry `a1`.
fn registering(spec: &Value) -> GatewayRecord {
    let metadata = serde_json::from_value(json!({"namespace": "ns", "name": "x"})).unwrap();
    let status =
        json!({"registration": {"id": "a1", "version": 3, "tools": 7, "reachable": false, "lastError": "refused"}});
    GatewayRecord::from_parts(&metadata, spec, &status).unwrap()
}

#[test]
fn a_registration_is_shown_beside_the_entry_and_differences_are_marked() {
    let spec = json!({"url": "http://127.0.0.1:9/mcp?x=planted", "registration": {
        "description": "Wanted", "tags": ["bb", "aa"], "auth": {"bearer": {"secretName": "s"}}}});
    let mut scene = Scene::new(vec![registering(&spec)]);
    let explanation = scene.explain("x");
    let text = table(&explanation);
    assert!(
        text.contains("Registration:")
            && text.contains("Pending: entry a1, version 3, 7 tools, not reachable (refused)"),
        "{text}"
    );
    assert!(explanation.registration.unwrap().fields.is_empty());

    let entry = json!({
        "id": "a1", "name": "ns-x", "url": "http://localhost:9/mcp?x=planted", "enabled": true, "version": 5, "toolCount": 2,
        "description": "By hand\n\u{1b}[2J", "transport": "STREAMABLEHTTP", "tags": ["aa", "bb"], "visibility": "public",
        "passthroughHeaders": null, "authType": "basic", "authUsername": "planted",
    });
    scene.observations.entry = EntryAnswer::Found(Box::new(Entry::read(&entry).unwrap()));
    let explanation = scene.explain("x");
    let text = table(&explanation);
    let registration = explanation.registration.as_ref().unwrap();
    let differing: Vec<&str> =
        registration.fields.iter().filter(|field| field.differs).map(|field| field.field).collect();
    assert_eq!(differing, ["description", "passthroughHeaders", "authType"]);
    assert!(text.contains("entry a1, version 5, 2 tools (refused)"), "{text}");
    let line = |start: &str| text.lines().map(str::trim_start).find(|line| line.starts_with(start)).map(str::to_owned);
    let words = |start: &str| line(start).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(words("! description").as_deref(), Some("! description Wanted By hand [2J"));
    assert_eq!(words("! authType").as_deref(), Some("! authType bearer basic"));
    assert_eq!(words("! passthroughHeaders").as_deref(), Some("! passthroughHeaders none the default"));
    assert_eq!(words("url").as_deref(), Some("url http://localhost:9/mcp?… http://localhost:9/mcp?…"));
    let shown = serde_json::to_string(&explanation.registration).unwrap();
    assert!(!shown.contains("planted"), "{shown}");

    scene.observations.entry = EntryAnswer::Missing(GatewayId::parse("a1").unwrap());
    assert!(
        table(&scene.explain("x")).contains("ContextForge was not compared: the token sees no entry with the id a1")
    );
    let mut scene = Scene::new(vec![object("x", 0, &json!({"url": "http://h"}), None)]);
    assert_eq!(scene.explain("x").registration, None);
}
