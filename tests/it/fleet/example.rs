//! The example fleet and the example worker, as the demo and a newcomer use them.

use super::*;
use crate::support::cluster::root;
use crate::worker::ExampleWorker;

#[tokio::test]
async fn the_example_fleet_is_classified_by_what_the_example_worker_reports() {
    let fleet = Fleet::new("example", 0).await;
    fleet.cluster.kubectl_ok(&["apply", "-f", &root().join("examples/fleet").display().to_string()]);
    let worker = ExampleWorker::start(&["--rate", "1"]);
    worker.order("pause").await;
    let scopes = ["search", "payments", "platform"].map(|namespace| format!("--watch-namespace={namespace}"));
    let redis = fleet.redis.url();
    let mut flags = vec!["--redis-url", &redis, "--worker-endpoint", worker.url()];
    flags.extend(scopes.iter().map(String::as_str));
    let _operator = fleet.operator_with(&flags);

    let find = |namespace: &'static str, name: &'static str| {
        let objects: Api<McpGateway> = Api::namespaced(fleet.client.clone(), namespace);
        async move { objects.get(name).await.unwrap() }
    };
    let tier = |object: &McpGateway| object.status.as_ref().and_then(|status| status.tier);
    eventually("39 of 40 objects have a tier", SOON, || async {
        let mut classified = 0;
        for namespace in ["search", "payments", "platform"] {
            let objects: Api<McpGateway> = Api::namespaced(fleet.client.clone(), namespace);
            classified +=
                objects.list(&ListParams::default()).await.unwrap().iter().filter(|o| tier(o).is_some()).count();
        }
        (classified == 39).then_some(())
    })
    .await;
    assert_eq!(fleet.sets().await.hot.len(), 7, "a fifth of 38 servers");
    assert_eq!(condition(&find("payments", "sandbox").await, "Classified"), "False/Disabled");
    let twins = (find("search", "wiki").await, find("platform", "wiki").await);
    assert_eq!((twins.0.spec.url, tier(&find("search", "wiki").await)), (twins.1.spec.url.clone(), tier(&twins.1)));

    worker.order("pin?name=payments/refunds").await;
    eventually("a server that is used all the time is hot", SOON, || async {
        (tier(&find("payments", "refunds").await) == Some(Tier::Hot)).then_some(())
    })
    .await;
}
