//! What one tenant of a fleet can do to another (`docs/security.md`).

use mcpgateway_operator::api::v1alpha1::McpGatewaySpec;

use super::*;
use crate::support::cluster::said;
use crate::support::fleet::spec;
use crate::support::operator::binary;

#[tokio::test]
async fn an_object_with_a_victims_gateway_id_and_another_url_takes_none_of_its_use() {
    let fleet = Fleet::new("squatted-use", 1).await;
    fleet.create("victim", "http://victim.example/mcp").await;
    fleet.edit("victim", json!({"gatewayId": null})).await;
    fleet.create("thief", "http://thief.example/mcp").await;
    for name in ["c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    let row = Row { url: Some("http://victim.example/mcp".to_owned()), ..used("thief", 1.0) };
    fleet.workers[0].report(vec![row]);
    let operator = fleet.operator();
    let tiers = fleet.settled().await;
    assert_eq!(tiers.hot, BTreeSet::from(["http://victim.example/mcp".to_owned()]));
    assert!(tiers.cold.contains("http://thief.example/mcp"));

    // The conflict is counted and named wherever people look.
    let named = "gatewayId id-thief is registered for http://thief.example/mcp, \
                 but workers report it for http://victim.example/mcp";
    let conflicts = eventually("the conflict is in the fleet's status", SOON, || async {
        let conflicts = fleet.status().await.identity_conflicts;
        (!conflicts.is_empty()).then_some(conflicts)
    })
    .await;
    assert_eq!(conflicts, [named]);
    let metric = "mcpgateway_operator_worker_identity_conflicts_total{field=\"gatewayId\"}";
    assert!(operator.metric(metric).await >= 1.0);
    let lines = |log: &str| log.lines().filter(|line| line.contains(named)).count();
    assert_eq!(lines(&operator.log()), 1, "logged when it begins");
    let kubeconfig = fleet.cluster.kubeconfig();
    for command in ["status", "doctor"] {
        let mut program = binary();
        program.args([command, "--leader-elect-resource-namespace", &fleet.namespace]).env("KUBECONFIG", kubeconfig);
        let output = said(&program.output().expect("it runs"));
        assert!(output.contains(named), "{command}: {output}");
    }

    // The object is corrected, and the conflict is over.
    fleet.edit("thief", json!({"gatewayId": null})).await;
    eventually("the conflict is gone", SOON, || async {
        fleet.status().await.identity_conflicts.is_empty().then_some(())
    })
    .await;
    operator.cycles(1).await;
    assert_eq!(lines(&operator.log()), 1, "and not in every cycle");
    assert_eq!(fleet.settled().await, tiers);
}

#[tokio::test]
async fn a_url_with_a_vouched_name_is_published_and_answered_for_and_no_other() {
    let fleet = Fleet::new("vouched", 1).await;
    let url = "http://a.example/mcp?code=de";
    let allowed_query_names = vec!["code".to_owned()];
    let spec = McpGatewaySpec { allowed_query_names, ..spec(url) };
    fleet.objects.create(&PostParams::default(), &McpGateway::new("a", spec)).await.unwrap();
    for name in ["b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.workers[0].report(vec![Row { id: None, url: Some(url.to_owned()), ..used("a", 1.0) }]);
    let redis = fleet.redis.url();
    let operator = fleet.operator_with(&["--redis-url", &redis, "--api-bind-address", "127.0.0.1:0"]);
    assert_eq!(fleet.settled().await.hot, BTreeSet::from([url.to_owned()]));
    let address = operator.address("serving /v1").await;
    for (url, status) in [(url, 200), ("http://a.example/mcp?code=planted", 400)] {
        let url = url.replace('?', "%3F");
        for path in ["classification?", "polls/due?type=health&"] {
            let answer = reqwest::get(format!("http://{address}/v1/{path}url={url}")).await.unwrap();
            assert_eq!(answer.status(), status, "{path} {url}");
            assert!(!answer.text().await.unwrap().contains("planted"));
        }
    }
}
