//! Replicas of this release beside replicas of the last one that kept the state of the fleet in a ConfigMap and knows
//! no `McpGatewayFleet`: `dev/tests/upgrade-test`, which builds that release and names it in `OLDER_OPERATOR`.

use std::path::PathBuf;

use mcpgateway_operator::api::v1alpha1::PublicationState;

use crate::support::fleet::{Fleet, used};
use crate::support::{SOON, eventually};

fn older() -> PathBuf {
    std::env::var_os("OLDER_OPERATOR")
        .expect("OLDER_OPERATOR names the older release: run dev/tests/upgrade-test")
        .into()
}

async fn fleet(test: &str) -> Fleet {
    let fleet = Fleet::new(test, 2).await;
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![used("a", 5.0), used("b", 50.0)]);
    fleet
}

async fn term(fleet: &Fleet) -> String {
    fleet.redis_text("leader").await.unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the older release: dev/tests/upgrade-test"]
async fn a_rolling_upgrade_and_a_rollback_keep_tiers_and_lock() {
    let fleet = fleet("upgrade").await;
    let mut old = fleet.operator_of_release(&older());
    let before = fleet.settled().await;
    let mut new = fleet.operator();
    new.ready().await;
    // The older release leads on; the standby of the new one neither creates the fleet object nor writes anything.
    old.cycles(3).await;
    assert!(fleet.fleet_object().await.is_none());
    assert_eq!(fleet.settled().await, before);
    // The upgrade: the older replica stops, the new one takes over, creates the object, and changes no tier.
    assert!(old.stop().await.success());
    eventually("the new release leads", SOON, || async { (fleet.status().await.term? == 2).then_some(()) }).await;
    assert_eq!(fleet.settled().await, before);
    assert!(fleet.condition("Ready").await.starts_with("True/"));
    // A rollback: an older replica beside it, which then takes over.
    let old = fleet.operator_of_release(&older());
    old.ready().await;
    assert!(new.stop().await.success());
    eventually("the older release leads", SOON, || async { (term(&fleet).await == "3").then_some(()) }).await;
    assert_eq!(fleet.settled().await, before);
    // It does not know the fleet object, and leaves it as it was.
    assert_eq!(fleet.status().await.term, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the older release: dev/tests/upgrade-test"]
async fn an_older_leader_ignores_the_brake_and_a_new_one_applies_it() {
    let fleet = fleet("upgrade-suspend").await;
    let mut new = fleet.operator();
    let before = fleet.settled().await;
    eventually("the fleet object", SOON, || async { fleet.status().await.term }).await;
    let mut old = fleet.operator_of_release(&older());
    old.ready().await;
    assert!(new.stop().await.success());
    eventually("the older release leads", SOON, || async { (term(&fleet).await == "2").then_some(()) }).await;
    fleet.suspend(true).await;
    old.cycles(3).await;
    assert_eq!(fleet.settled().await, before, "the older release publishes on");
    let _new = fleet.operator();
    old.kill();
    eventually("the new release applies the brake", SOON, || async {
        let suspended = fleet.status().await.publication.state == PublicationState::Suspended;
        let sets = fleet.sets_if_any().await?;
        (suspended && sets.hot.is_empty() && sets.cold.is_empty()).then_some(())
    })
    .await;
    eventually("no status has a tier", SOON, || async {
        fleet.all().await.iter().all(|object| object.status.as_ref().unwrap().tier.is_none()).then_some(())
    })
    .await;
    fleet.suspend(false).await;
    assert_eq!(fleet.settled().await, before);
}
