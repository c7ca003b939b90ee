//! docs/contract.md#k7: no object, a few, ten thousand; huge ones, and ones that do not parse.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use mcpgateway_operator::api::v1alpha1::{McpGateway, McpGatewaySpec};
use serde_json::{Value, json};

use crate::row::{NAMES, Row, SETTLED};
use crate::support::cluster::Cluster;
use crate::support::fleet::{Fleet, Tiers, condition, spec, used};
use crate::support::{SOON, eventually};

fn url(name: &str) -> String {
    format!("http://{name}.example/mcp")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k7_zero_one_four_and_five_objects() {
    let fleet = Fleet::new("chaos-k7-1", 1).await;
    let row = Row::begin_with("K7.1", "a registry of 0, 1, 4, 5 and again 0 objects", fleet).await;
    let fleet = &row.fleet;
    let _operator = fleet.operator();
    for (count, cap) in [(0, 0), (1, 0), (4, 0), (5, 1), (0, 0)] {
        let names = &NAMES[..count];
        let there: Vec<String> = fleet.all().await.into_iter().filter_map(|object| object.metadata.name).collect();
        for name in there.iter().filter(|name| !names.contains(&name.as_str())) {
            fleet.delete(name).await;
        }
        for name in names.iter().filter(|name| !there.iter().any(|other| other == **name)) {
            fleet.create(name, &url(name)).await;
        }
        // All are used; the first one most recently.
        fleet.workers[0].report(names.iter().zip(1_u8..).map(|(name, ago)| used(name, f64::from(ago))).collect());
        let mut wanted = Tiers::default();
        wanted.hot.extend(names[..cap].iter().map(|name| url(name)));
        wanted.cold.extend(names[cap..].iter().map(|name| url(name)));
        let metadata =
            eventually(&format!("{count} objects are ranked as docs/contract.md#ranking says"), SOON, || async {
                let text = fleet.redis_text("metadata").await?;
                let metadata: Value = serde_json::from_str(&text).ok()?;
                let right = metadata["total_servers"] == count
                    && fleet.sets().await == wanted
                    && fleet.statuses().await == wanted;
                right.then_some(metadata)
            })
            .await;
        assert_eq!(metadata["hot_cap"], cap, "{metadata}");
        assert_eq!(metadata["hot_actual"], cap, "{metadata}");
        assert_eq!(metadata["eligible_count"], count, "{metadata}");
        assert_eq!(metadata["underutilized_reason"], Value::Null, "{metadata}");
        if count == 4 {
            assert_eq!(condition(&fleet.get("a").await, "Classified"), "True/CapIsZero");
        }
    }
    row.end("ranked right each time; nothing is hot below five; an empty registry publishes two empty sets").await;
}

const MANY: usize = 10_000;
const MANY_HOT: usize = MANY / 5;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k7_ten_thousand_objects() {
    let fleet = Fleet::new("chaos-k7-2", 1).await;
    let name = |number: usize| format!("s{number:05}");
    let used_ones = (0..MANY_HOT + 500).zip(1_u32..).map(|(number, ago)| used(&name(number), f64::from(ago)));
    fleet.workers[0].report(used_ones.collect());
    let row = Row::begin_with("K7.2", "10,000 objects, created while the operator runs", fleet).await;
    let fleet = &row.fleet;
    let operator = fleet.operator();
    operator.ready().await;
    let begun = Instant::now();
    let made = stream::iter(0..MANY).map(|number| {
        let gateway_id = Some(format!("id-{}", name(number)));
        let spec = McpGatewaySpec { gateway_id, ..spec(&url(&name(number))) };
        let (objects, object) = (fleet.objects.clone(), McpGateway::new(&name(number), spec));
        async move { objects.create(&PostParams::default(), &object).await.map(drop) }
    });
    made.buffer_unordered(24).try_collect::<Vec<()>>().await.unwrap();
    let creating = begun.elapsed();

    // Ends a failed test. The duration depends on the machine.
    let limit = Duration::from_secs(400);
    let tier = |tier: &'static str| {
        let operator = &operator;
        async move { operator.metric(&format!("mcpgateway_operator_servers{{tier=\"{tier}\"}}")).await }
    };
    #[expect(clippy::cast_precision_loss, reason = "ten thousand")]
    let (hot, cold) = (MANY_HOT as f64, (MANY - MANY_HOT) as f64);
    eventually("the operator has classified all", limit, || async {
        (tier("hot").await >= hot && tier("cold").await >= cold).then_some(())
    })
    .await;
    let written = || async { operator.metric("mcpgateway_operator_status_writes_total{outcome=\"written\"}").await };
    // Listing all objects is slow, so the test waits for a cycle without a status write.
    let mut before = -1.0;
    while written().await > before {
        before = written().await;
        operator.cycles(2).await;
        assert!(begun.elapsed() < limit, "the statuses are not written: {before}");
    }
    let took = begun.elapsed();
    let wanted = Tiers {
        hot: (0..MANY_HOT).map(|number| url(&name(number))).collect(),
        cold: (MANY_HOT..MANY).map(|number| url(&name(number))).collect(),
    };
    assert!(fleet.sets().await == wanted, "the sets are not ranked as docs/contract.md#ranking says");
    assert!(fleet.statuses().await == wanted, "the statuses are not ranked as docs/contract.md#ranking says");
    let resident = operator.metric("process_resident_memory_bytes").await / f64::from(1 << 20);
    row.end(&format!(
        "{MANY_HOT} hot; created in {creating:.0?}, all settled after {took:.0?}, {before} status writes; \
         {resident:.0} MiB (debug build)"
    ))
    .await;
}

/// Creates an object of the given size. Its owner references are large, because no rule bounds them.
async fn large(objects: &Api<DynamicObject>, name: &str, bytes: usize) -> Result<DynamicObject, kube::Error> {
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "x".repeat(bytes), "uid": "u"});
    let object = json!({
        "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "spec": {"url": url(name), "gatewayId": format!("id-{name}")},
    });
    objects.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await
}

/// Installs the CRD of `McpGateway` without any rule, and no other.
fn install_crd_without_rules(cluster: &Cluster) {
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "mcpgateways.mcpgateway.io"},
        "spec": {
            "group": "mcpgateway.io", "scope": "Namespaced",
            "names": {"plural": "mcpgateways", "singular": "mcpgateway", "kind": "McpGateway"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    std::fs::write(&file, crd.to_string()).unwrap();
    cluster.kubectl_ok(&["apply", "--server-side", "-f", &file.path().display().to_string()]);
    cluster.crds_are_served(&["mcpgateways"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k7_one_huge_or_unreadable_object_stops_nothing() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start("k7")));
    install_crd_without_rules(cluster);
    let odd = cluster.namespace("odd").await;
    let client = cluster.client().await;
    let resource = ApiResource::erase::<McpGateway>(&());
    // In a namespace of their own, because the observer parses its objects with the CRD's types.
    let unreadable: Api<DynamicObject> = Api::namespaced_with(client.clone(), &odd, &resource);
    for (name, spec) in [
        ("number", json!({"url": 5})),
        ("list", json!(["url"])),
        ("enabled", json!({"url": url("x"), "enabled": "yes"})),
    ] {
        let object = json!({
            "apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "metadata": {"name": name}, "spec": spec,
        });
        unreadable.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    }
    cluster.install_crd_over();
    let fleet = Fleet::on(cluster, "k7", 1).await;
    let row = Row::begin_with(
        "K7.3",
        "objects of 1.4 MiB, of the most that etcd accepts, and three that do not parse",
        fleet,
    )
    .await;
    for name in NAMES {
        row.fleet.create(name, &url(name)).await;
    }
    let objects: Api<DynamicObject> = Api::namespaced_with(client, &row.fleet.namespace, &resource);
    large(&objects, "large", 1_468_006).await.expect("1.4 MiB are accepted");
    let redis = row.fleet.redis.url();
    let operator = row.fleet.operator_with(&["--redis-url", &redis, "--watch-namespace", &odd]);
    row.fleet.workers[0].report(vec![used("large", 1.0), used("b", 2.0)]);
    let hot = |names: &[&str]| names.iter().map(|name| url(name)).collect::<BTreeSet<_>>();
    eventually("the large one is hot in both stores", SOON, || async {
        let wanted = hot(&["large", "b"]);
        (row.fleet.sets().await.hot == wanted && row.fleet.statuses().await.hot == wanted).then_some(())
    })
    .await;
    eventually("the three are refused", SOON, || async {
        let refused = operator.metric("mcpgateway_operator_objects{accepted=\"false\"}").await;
        ((refused - 3.0).abs() < 0.1).then_some(())
    })
    .await;
    // With the real CRD, the API server accepts no status for some of them. The log says so once, not at each attempt.
    operator.cycles(5).await;
    let lines = operator.log().lines().filter(|line| line.contains("writing a status failed")).count();
    assert!(lines <= 3, "{lines} times:\n{}", operator.log());

    let condition = row.fleet.condition("StatusesWritten").await;
    assert!(condition.starts_with("False/Invalid"), "{condition}");
    let left = unreadable.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(left.len(), 3);
    for object in left {
        unreadable.delete(&object.metadata.name.unwrap(), &DeleteParams::default()).await.unwrap();
    }

    // So large that its status does not fit.
    let mut bytes = 1_572_800;
    while large(&objects, "brimful", bytes).await.is_err() {
        bytes -= 120;
        assert!(bytes > 1_560_000, "never fits");
    }
    eventually("the fleet's status says why it is not written", SOON, || async {
        row.fleet.condition("StatusesWritten").await.starts_with("False/TooLarge").then_some(())
    })
    .await;
    row.fleet.workers[0].report(vec![used("c", 1.0), used("d", 2.0)]);
    eventually("the other objects are still written", SETTLED, || async {
        let wanted = hot(&["c", "d"]);
        (row.fleet.sets().await.hot == wanted && row.fleet.statuses().await.hot == wanted).then_some(())
    })
    .await;
    assert!(row.fleet.sets().await.cold.contains(&url("brimful")), "it is classified nevertheless");
    operator.cycles(3).await;
    let lines = operator.log().lines().filter(|line| line.contains("TooLarge")).count();
    assert_eq!(lines, 1, "one line in the log");
    row.fleet.delete("brimful").await;
    eventually("status writes have recovered", SOON, || async {
        row.fleet.condition("StatusesWritten").await.starts_with("True/").then_some(())
    })
    .await;
    row.end(&format!(
        "unreadable ones refused one by one; 1.4 MiB like any other; at {bytes} bytes the status does not fit: \
         logged once, the rest continues"
    ))
    .await;
}
