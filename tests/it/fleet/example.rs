//! The example fleet and the example worker, as the demo and a newcomer use them.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::support::cluster::root;

/// The example worker as a process of its own, ended when dropped.
struct ExampleWorker {
    child: Child,
    url: String,
}

impl ExampleWorker {
    fn start() -> Self {
        // `cargo test --test …` alone does not build examples; when it is there already this takes no time.
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "--quiet", "--example", "worker"]).current_dir(root());
        assert!(build.stdin(Stdio::null()).status().unwrap().success());
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_mcpgateway-operator")).with_file_name("examples/worker");
        let mut command = Command::new(program);
        command.arg("--fleet").arg(root().join("examples/fleet")).args(["--seed", "3", "--rate", "1"]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url }
    }

    async fn order(&self, order: &str) {
        let url = self.url.replace("/mcpgateway/usage", &format!("/control/{order}"));
        let answer = reqwest::Client::new().post(url).send().await.unwrap();
        assert!(answer.status().is_success(), "{order}: {}", answer.text().await.unwrap());
    }
}

impl Drop for ExampleWorker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn the_example_fleet_is_classified_by_what_the_example_worker_reports() {
    let fleet = Fleet::new("example", 0).await;
    fleet.cluster.kubectl_ok(&["apply", "-f", &root().join("examples/fleet").display().to_string()]);
    let worker = ExampleWorker::start();
    worker.order("pause").await;
    let scopes = ["search", "payments", "platform"].map(|namespace| format!("--watch-namespace={namespace}"));
    let redis = fleet.redis.url();
    let mut flags = vec!["--redis-url", &redis, "--worker-endpoint", &worker.url];
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
        (tier(&find("payments", "refunds").await) == Some(TierName::Hot)).then_some(())
    })
    .await;
}
