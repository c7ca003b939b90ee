//! Workers whose reports are wrong: they do not change, or claim uses that did not happen.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::support::fleet::{Fleet, used};
use crate::support::{SOON, eventually};

/// A fleet of ten servers and two workers: two servers are hot.
async fn fleet(test: &str) -> Fleet {
    let fleet = Fleet::new(test, 2).await;
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet
}

async fn is_hot(fleet: &Fleet, names: [&str; 2]) {
    let wanted: BTreeSet<String> = names.iter().map(|name| format!("http://{name}.example/mcp")).collect();
    eventually(&format!("{names:?} are hot"), SOON, || async { (fleet.sets().await.hot == wanted).then_some(()) })
        .await;
}

/// A static 200 body: its endpoint becomes silent, and its servers do not look just used.
#[tokio::test]
async fn case_a_report_that_never_changes_is_not_fresh() {
    let fleet = fleet("frozen").await;
    fleet.workers[0].report(vec![used("a", 1.0), used("b", 1.0)]);
    fleet.workers[1].report(vec![used("c", 30.0), used("d", 30.0)]);
    let operator = fleet.operator();
    is_hot(&fleet, ["a", "b"]).await;

    fleet.workers[0].freeze(true);
    eventually("its endpoint is silent", SOON, || async {
        let silent = fleet.status().await.endpoints.silent;
        (silent.len() == 1 && silent[0].endpoint == fleet.workers[0].url()).then_some(())
    })
    .await;
    assert!(operator.metric("mcpgateway_operator_worker_reports_total{outcome=\"Frozen\"}").await > 0.0);
    assert!(operator.log().contains("generatedAt stands still"), "{}", operator.log());
    // Other uses overtake, once its servers are not held any more.
    fleet.workers[1].report(vec![used("c", 0.0), used("d", 0.0)]);
    is_hot(&fleet, ["c", "d"]).await;

    fleet.workers[0].freeze(false);
    eventually("both report", SOON, || async { (fleet.status().await.endpoints.summary == "2/2").then_some(()) }).await;
    is_hot(&fleet, ["c", "d"]).await;
}

/// It decides the whole ranking, so it is named.
#[tokio::test]
async fn a_worker_that_claims_every_server_as_used_is_named() {
    let fleet = fleet("lying").await;
    let all = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let (liar, honest) = (&fleet.workers[0], &fleet.workers[1]);
    liar.report(vec![used("a", 1.0)]);
    honest.report(vec![used("b", 1.0)]);
    let _operator = fleet.operator();
    is_hot(&fleet, ["a", "b"]).await;
    assert_eq!(fleet.status().await.endpoints.sole_reporter, None);

    let named = async {
        eventually("the liar is named", SOON, || async {
            liar.report(all.map(|name| used(name, 0.0)).into());
            let sole = fleet.status().await.endpoints.sole_reporter?;
            (sole.endpoint == liar.url() && sole.hot_percent == 100).then_some(())
        })
        .await;
    };
    // The honest worker is idle meanwhile.
    tokio::time::timeout(Duration::from_secs(60), named).await.unwrap();
    liar.report(Vec::new());
    honest.report(vec![used("a", 0.0), used("b", 0.0)]);
    eventually("nobody is named", SOON, || async {
        honest.report(vec![used("b", 0.0), used("a", 0.0)]);
        liar.report(vec![used("a", 0.0), used("b", 0.0)]);
        fleet.status().await.endpoints.sole_reporter.is_none().then_some(())
    })
    .await;
}
