//! Pins, bounds and refresh requests on real servers: in the statuses and in Redis.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use mcpgateway_operator::api::v1alpha1::{McpGateway, McpGatewaySpec, PollingStatus};
use mcpgateway_operator::clock;
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::support::cluster::cluster;
use crate::support::fleet::{Fleet, condition, key, used};
use crate::support::{SOON, eventually};

const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

fn url(name: &str) -> String {
    format!("http://{name}.example/mcp")
}

/// The fields in Redis, by the name of the object.
async fn fields(fleet: &Fleet) -> BTreeMap<String, String> {
    let fields: BTreeMap<String, String> = fleet.redis.connection().await.hgetall(key("intervals")).await.unwrap();
    let name = |url: String| url["http://".len()..].split('.').next().unwrap().to_owned();
    fields.into_iter().map(|(url, value)| (name(url), value)).collect()
}

async fn polling(fleet: &Fleet, name: &str) -> PollingStatus {
    fleet.get(name).await.status.and_then(|status| status.polling).unwrap_or_default()
}

async fn request_refresh(fleet: &Fleet, name: &str, value: &str) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"mcpgateway.io/refresh-requested": value}}}));
    fleet.objects.patch(name, &PatchParams::default(), &patch).await.expect("annotated");
}

async fn answered(fleet: &Fleet, name: &str, value: &str) -> PollingStatus {
    eventually("the request is answered", SOON, || async {
        let polling = polling(fleet, name).await;
        (polling.last_handled_refresh_request.as_deref() == Some(value)).then_some(polling)
    })
    .await
}

async fn events(fleet: &Fleet, name: &str) -> BTreeSet<String> {
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let all = events.list(&ListParams::default()).await.unwrap().items;
    let about =
        all.into_iter().filter(|event| event.regarding.as_ref().is_some_and(|it| it.name.as_deref() == Some(name)));
    about.filter_map(|event| event.reason).collect()
}

#[tokio::test]
async fn pins_bounds_and_refresh_requests_hold_across_leaders_and_suspension() {
    let fleet = Fleet::new("asks", 1).await;
    for name in NAMES {
        fleet.create(name, &url(name)).await;
    }
    fleet.workers[0].report([("a", 100.0), ("b", 200.0), ("c", 300.0)].map(|(name, ago)| used(name, ago)).into());
    let redis = fleet.redis.url();
    // The cold interval is 6 s. One of ten servers may be pinned.
    let flags = ["--redis-url", &redis, "--hot-poll-interval", "2s"];
    let mut first = fleet.operator_with(&flags);
    assert_eq!(fleet.settled().await.hot, BTreeSet::from([url("a"), url("b")]));

    // A server that was never used is pinned, and the hot ones stay hot. A younger pin is refused.
    fleet.edit("i", json!({"polling": {"tier": "Hot"}})).await;
    let three: BTreeSet<String> = ["a", "b", "i"].map(url).into();
    eventually("the pin is published", SOON, || async { (fleet.sets().await.hot == three).then_some(()) }).await;
    fleet.edit("j", json!({"polling": {"tier": "Hot"}})).await;
    eventually("the second pin is refused", SOON, || async {
        (condition(&fleet.get("j").await, "Pinned") == "False/TooManyPinned").then_some(())
    })
    .await;
    assert_eq!(condition(&fleet.get("i").await, "Pinned"), "True/Pinned");
    assert_eq!(condition(&fleet.get("i").await, "Classified"), "True/Pinned");
    assert_eq!(condition(&fleet.get("j").await, "Classified"), "True/NeverUsed");
    eventually("an Event", SOON, || async { events(&fleet, "j").await.contains("TooManyPinned").then_some(()) }).await;
    assert_eq!(fleet.settled().await.hot, three);

    // A bound below the cold interval is published, one above it is not.
    fleet.edit("e", json!({"polling": {"maxInterval": "3500ms"}})).await;
    fleet.edit("f", json!({"polling": {"maxInterval": "1h"}})).await;
    fleet.edit("a", json!({"polling": {"maxInterval": "3s"}})).await;
    eventually("the bound is published and shown", SOON, || async {
        let shown = polling(&fleet, "e").await.interval.map(|interval| std::time::Duration::from(interval).as_secs());
        (fields(&fleet).await == BTreeMap::from([("e".to_owned(), "3".to_owned())]) && shown == Some(3)).then_some(())
    })
    .await;
    for name in ["f", "a"] {
        assert_eq!(polling(&fleet, name).await, PollingStatus::default(), "{name}");
    }

    // A request is published with its time, or with the time of its first sight.
    let now = clock::now().whole_seconds();
    request_refresh(&fleet, "g", "2026-01-31T08:00:00Z").await;
    request_refresh(&fleet, "h", "2120-01-31T08:00:00+01:00").await;
    request_refresh(&fleet, "b", "2026-01-31T08:00:00Z").await;
    request_refresh(&fleet, "d", "as soon as possible").await;
    answered(&fleet, "g", "2026-01-31T08:00:00Z").await;
    answered(&fleet, "h", "2120-01-31T08:00:00+01:00").await;
    answered(&fleet, "b", "2026-01-31T08:00:00Z").await;
    let published = fields(&fleet).await;
    assert_eq!(published["g"], "6,1769846400");
    let before: i64 = published["h"].strip_prefix("6,").expect("a moment").parse().unwrap();
    assert!((now - 5..now + 60).contains(&before), "{before} is not about {now}");
    assert_eq!(published.keys().collect::<Vec<_>>(), ["e", "g", "h"], "b is hot, d asks for nothing");
    eventually("the condition", SOON, || async {
        (condition(&fleet.get("d").await, "RefreshRequested") == "False/InvalidRefreshRequest").then_some(())
    })
    .await;
    eventually("an Event", SOON, || async {
        events(&fleet, "d").await.contains("InvalidRefreshRequest").then_some(())
    })
    .await;
    assert_eq!(polling(&fleet, "d").await, PollingStatus::default());

    // The next leader publishes the same.
    let second = fleet.operator_with(&flags);
    second.ready().await;
    first.kill();
    eventually("the second leads and publishes", SOON, || async {
        fleet.redis_text("leader").await.unwrap_or_default().ends_with("/2").then_some(())
    })
    .await;
    second.cycles(2).await;
    assert_eq!(fields(&fleet).await, published);
    assert_eq!(fleet.settled().await.hot, three);
    let versions = || async {
        let all = fleet.all().await.into_iter();
        all.map(|object| object.metadata.resource_version).collect::<Vec<_>>()
    };
    let calm = versions().await;
    second.cycles(2).await;
    assert_eq!(versions().await, calm, "nothing is written while nobody asks for more");

    // A request to a suspended fleet waits.
    fleet.suspend(true).await;
    eventually("nothing is published", SOON, || async {
        (fields(&fleet).await.is_empty() && fleet.statuses().await.hot.is_empty()).then_some(())
    })
    .await;
    request_refresh(&fleet, "g", "2026-01-31T09:00:00Z").await;
    second.cycles(2).await;
    let waiting = polling(&fleet, "g").await;
    assert_eq!(
        (waiting.interval, waiting.last_handled_refresh_request.as_deref()),
        (None, Some("2026-01-31T08:00:00Z"))
    );
    fleet.suspend(false).await;
    answered(&fleet, "g", "2026-01-31T09:00:00Z").await;
    let mut later = published;
    later.insert("g".into(), "6,1769850000".into());
    assert_eq!(fields(&fleet).await, later);
}

#[tokio::test]
async fn the_api_server_refuses_other_tiers_and_intervals() {
    let namespace = cluster().namespace("asks-rules").await;
    // Dynamic, because the types know no other values.
    let resource = ApiResource::erase::<McpGateway>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster().client().await, &namespace, &resource);
    let create = async |polling: Value| {
        let object = json!({
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "metadata": {"generateName": "asks-"},
            "spec": {"url": "http://a.example/mcp", "polling": polling},
        });
        let created = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await;
        created.map(|created| serde_json::from_value::<McpGatewaySpec>(created.data["spec"].clone()).unwrap())
    };
    for (text, seconds) in [("1s", 1.0), ("1000ms", 1.0), ("1.5s", 1.5), ("1h30m", 5_400.0), ("720h", 2_592_000.0)] {
        let spec = create(json!({"tier": "Hot", "maxInterval": text})).await.unwrap();
        let interval = std::time::Duration::from(spec.polling.unwrap().max_interval.unwrap());
        assert!((interval.as_secs_f64() - seconds).abs() < 1e-9, "{text}");
    }
    assert!(create(json!({})).await.is_ok());
    for bad in ["0s", "999ms", "720h1s", "60", "", "1d", "-5s", "5 s", "1us", "99999999999999999h", "PT1H"] {
        let refused = create(json!({"maxInterval": bad})).await.expect_err(bad).to_string();
        assert!(refused.contains("spec.polling"), "{bad}: {refused}");
    }
    for bad in ["Cold", "hot", ""] {
        assert!(create(json!({"tier": bad})).await.is_err(), "{bad}");
    }
}
