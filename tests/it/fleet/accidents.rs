//! What people do by accident (`docs/contract.md#when-most-objects-are-gone`).

use super::*;

const GONE: &str = "mcpgateway_operator_gateways_gone";

fn urls(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| format!("http://{name}.example/mcp")).collect()
}

const TWELVE: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

/// A fleet of twelve servers, of which `c` and `h` are hot.
async fn twelve_servers(test: &str) -> Fleet {
    let fleet = Fleet::new(test, 1).await;
    for name in TWELVE {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("c", 10.0), used("h", 20.0), used("i", 30.0), used("a", 40.0)]);
    fleet
}

fn delete_all(fleet: &Fleet) {
    let deleted = fleet.cluster.kubectl_ok(&["delete", "mcpgw", "--all", "-n", &fleet.namespace, "--wait=false"]);
    assert_eq!(deleted.lines().count(), 12, "{deleted}");
}

#[tokio::test]
async fn k9_most_objects_deleted_at_once_are_said_loudly() {
    let fleet = twelve_servers("accident").await;
    let operator = fleet.operator();
    assert_eq!(fleet.settled().await.hot, urls(&["c", "h"]));
    eventually("the fleet object says that the registry is stable", SOON, || async {
        fleet.condition("RegistryStable").await.starts_with("True/Stable").then_some(())
    })
    .await;
    delete_all(&fleet);
    eventually("the sets are empty, and the fleet says why", SOON, || async {
        let said = fleet.condition("RegistryStable").await;
        let all = "False/MostGatewaysGone: 12 of 12 McpGateway objects have left the registry since ";
        (fleet.sets().await == Tiers::default() && said.starts_with(all)).then_some(())
    })
    .await;
    let loss = fleet.status().await.registry_loss.expect("a loss");
    assert_eq!(loss.before, 12);
    assert!(fleet.condition("Ready").await.starts_with("True"), "nothing is held back");
    eventually("a Warning Event", SOON, || async {
        let events = fleet.cluster.kubectl_ok(&["describe", "mcpfleet", "-n", &fleet.namespace]);
        let event = events.lines().find(|line| line.contains("MostGatewaysGone") && line.contains("Warning"))?;
        event.contains(" of 12 McpGateway objects have left the registry since ").then_some(())
    })
    .await;
    operator.cycles(1).await;
    assert!((operator.metric(GONE).await - 12.0).abs() < 0.5);
    assert!(operator.log().contains("MostGatewaysGone"));
    // A successor goes on saying it.
    drop(operator);
    let operator = fleet.operator();
    operator.cycles(2).await;
    assert_eq!(fleet.status().await.registry_loss, Some(loss));
    for name in &TWELVE[..6] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    eventually("half is back", SOON, || async {
        let said = fleet.condition("RegistryStable").await;
        (said.starts_with("True/Stable") && fleet.status().await.registry_loss.is_none()).then_some(())
    })
    .await;
    operator.cycles(1).await;
    assert!(operator.metric(GONE).await < 0.5);
    assert!(operator.log().contains("GatewaysReturned"));
}

#[tokio::test]
async fn k9_objects_that_come_back_have_their_tiers_with_the_first_publication() {
    let fleet = twelve_servers("return").await;
    let operator = fleet.operator();
    let before = fleet.settled().await;
    delete_all(&fleet);
    eventually("the sets are empty", SOON, || async { (fleet.sets().await == Tiers::default()).then_some(()) }).await;
    // Collections ask about none of them meanwhile, and from now on no worker answers.
    operator.cycles(2).await;
    fleet.workers[0].hold();
    for name in TWELVE {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    let collections = fleet.workers[0].asked();
    assert_eq!(fleet.settled().await, before);
    assert!(fleet.workers[0].asked() <= collections + 2, "without a new report");
    for object in fleet.all().await {
        assert!(condition(&object, "Classified").starts_with("True/"), "{}", condition(&object, "Classified"));
    }
}
