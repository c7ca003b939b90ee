//! `record` on real workers, and what `plan` makes of a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Output;

use super::*;
use crate::support::cluster::said;
use crate::support::operator::binary;

const PLANTED: &str = "pl4nted-s3cret";

/// Runs the program beside the workers, which are served by this runtime.
async fn run(fleet: &Fleet, words: &[&str]) -> Output {
    let mut command = binary();
    command.args(words).env("KUBECONFIG", fleet.cluster.kubeconfig());
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends")
}

/// The flags that name the objects and the workers.
fn live(fleet: &Fleet) -> Vec<String> {
    let mut words = vec!["--watch-namespace".to_owned(), fleet.namespace.clone()];
    for worker in &fleet.workers {
        words.extend(["--worker-endpoint".to_owned(), worker.url()]);
    }
    words
}

async fn record(fleet: &Fleet, output: &Path, more: &[&str]) -> Output {
    let (live, output) = (live(fleet), output.display().to_string());
    let live: Vec<&str> = live.iter().map(String::as_str).collect();
    run(fleet, &[&["record", "--output", &output], &live[..], more].concat()).await
}

/// The texts of a recording in order.
fn texts(folder: &Path) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).expect("text")).collect()
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The dump of the objects, for `-f`.
fn dump(fleet: &Fleet, folder: &Path) -> String {
    let list = fleet.cluster.kubectl_ok(&["get", "mcpgateways", "-n", &fleet.namespace, "-o", "json"]);
    let file = folder.join("fleet.json");
    std::fs::write(&file, list).expect("written");
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_gives_the_plan_that_the_leader_made() {
    const PLAN: [&str; 6] =
        ["--hot-poll-interval", "60s", "--longest-refresh-interval", "16m", "--refresh-budget", "0.5"];
    let fleet = Fleet::new("recording", 2).await;
    let ages = [("a", 5.0), ("b", 200.0), ("c", 1000.0), ("d", 4e3), ("e", 3e4), ("f", 1e6), ("g", 3e6)];
    for (name, _) in ages {
        fleet.create(name, &format!("http://{name}.example/mcp")).await;
    }
    fleet.create("never", "http://never.example/mcp").await;
    for (worker, rows) in fleet.workers.iter().zip([&ages[..4], &ages[3..]]) {
        worker.report(rows.iter().map(|(name, ago)| used(name, *ago)).collect());
    }
    let redis = fleet.redis.url();
    let leader = fleet.operator_with(&[&["--redis-url", &redis, "--refresh-plan", "usage"], &PLAN[..]].concat());
    fleet.settled().await;
    leader.cycles(2).await;

    let folder = tempfile::tempdir().expect("a folder");
    let recording = folder.path().join("recording");
    let output = record(&fleet, &recording, &["--cycles", "2", "--interval", "1s"]).await;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(texts(&recording).len(), 2);

    let (objects, recording) = (dump(&fleet, folder.path()), recording.display().to_string());
    let common = [&PLAN[..], &["--recency-resolution", "0s", "-o", "json"]].concat();
    let live = live(&fleet);
    let live: Vec<&str> = live.iter().map(String::as_str).collect();
    for source in [&["-f", &objects, "--usage", &recording][..], &[&["--from", "cluster"], &live[..]].concat()] {
        let output = run(&fleet, &[&["plan"], source, &common].concat()).await;
        assert!(output.status.success(), "{output:?}");
        let found = read(&String::from_utf8(output.stdout).unwrap());
        let plan = &found["plans"][0];
        let published: BTreeMap<String, u64> =
            fleet.redis.connection().await.hgetall(key("intervals")).await.expect("a hash");
        let hot = fleet.sets().await.hot;
        let mut replayed: BTreeMap<String, u64> = serde_json::from_value(plan["intervals"].clone()).unwrap();
        assert!(hot.iter().all(|url| replayed.remove(url) == Some(60)), "{hot:?} {found}");
        assert_eq!(replayed, published, "{found}");
        assert!(published.values().collect::<BTreeSet<_>>().len() >= 4, "{published:?}");
        let status = fleet.status().await.refresh_plan.expect("a plan");
        let refreshes = plan["refreshesPerHour"].as_f64().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let stated = status.polls_per_hour as f64;
        assert!((refreshes / stated - 1.0).abs() < 0.05, "two digits: {refreshes}, {stated}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_has_no_planted_secret_and_classifies_as_the_reports_did() {
    let mut fleet = Fleet::new("recording-secrets", 1).await;
    fleet.create("a", "http://a.example/mcp?team=search").await;
    fleet.create("b", "http://b.example/mcp").await;
    fleet.workers[0].report(vec![
        used_as(Some("id-a"), format!("http://a.example/mcp?team=search&token={PLANTED}")),
        used_as(None, format!("http://nobody.example/mcp?token={PLANTED}")),
        used_as(None, format!("http://user:{PLANTED}@somebody.example/mcp")),
        used_as(Some(PLANTED), "http://b.example/mcp".to_owned()),
    ]);
    fleet.workers[0].call_itself(PLANTED);
    let worker = fleet.workers.pop().expect("a worker");
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, PLANTED).expect("written");
    let asked = format!("{}?key={PLANTED}", worker.url());
    let dead = format!("http://127.0.0.1:1/usage?key={PLANTED}");
    let recording = folder.path().join("recording");
    let flags = ["--worker-endpoint", &asked, "--worker-endpoint", &dead];
    let more = [&flags[..], &["--worker-token-file", token.to_str().unwrap()]].concat();
    let output = record(&fleet, &recording, &more).await;
    assert!(output.status.success(), "{output:?}");
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("no complete report from http://127.0.0.1:1/usage"), "{warning}");
    let texts = texts(&recording);
    let [text] = &texts[..] else { panic!("one file: {texts:?}") };
    assert!(!text.contains(PLANTED) && !warning.contains(PLANTED), "{text} {warning}");

    let report = read(text);
    let rows = report["workers"][0]["servers"].as_array().unwrap();
    let urls: Vec<&str> = rows.iter().map(|row| row["url"].as_str().unwrap()).collect();
    assert_eq!(urls, ["http://a.example/mcp?team=search", "http://b.example/mcp"]);
    assert_eq!(rows[0]["name"], format!("{}/a", fleet.namespace));
    assert_eq!(report["expectedWorkers"], 2, "partial, because an endpoint is missing");
    let recording = recording.display().to_string();
    let objects = dump(&fleet, folder.path());
    let words = ["classify", "-f", &objects, "--usage", &recording, "--hot-fraction", "1", "-o", "json"];
    let output = run(&fleet, &words).await;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(read(&String::from_utf8(output.stdout).unwrap())["hot"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cluster_a_recording_goes_to_standard_output_and_ends_at_its_limit() {
    let fleet = Fleet::new("recording-lines", 1).await;
    let folder = tempfile::tempdir().expect("a folder");
    let manifest = folder.path().join("a.json");
    let object = json!({"apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "metadata": {"name": "a"},
        "spec": {"url": "http://a.example/mcp", "gatewayId": "id-a"}});
    std::fs::write(&manifest, object.to_string()).expect("written");
    fleet.workers[0].report(vec![used("a", 5.0)]);
    let url = fleet.workers[0].url();
    let manifest = manifest.display().to_string();
    let words = ["record", "-f", &manifest, "--worker-endpoint", &url, "--interval", "1s"];
    let record = async |more: &[&str]| {
        let mut command = binary();
        command.args([&words[..], more].concat()).env("KUBECONFIG", "/nonexistent");
        tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends")
    };
    let output = record(&["--output", "-", "--cycles", "3"]).await;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let reports: Vec<Value> = text.lines().map(read).collect();
    assert_eq!(reports.len(), 3, "{text}");
    assert!(reports.iter().all(|report| report["workers"][0]["servers"][0]["name"] == "default/a"), "{text}");
    let times: Vec<f64> = reports.iter().map(|report| report["generatedAt"].as_f64().unwrap()).collect();
    assert!(times.is_sorted_by(|one, next| next - one > 0.5), "{times:?}");

    let recording = folder.path().join("recording");
    let output = record(&["--max-bytes", "1Ki", "--cycles", "9", "--output", recording.to_str().unwrap()]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("larger than --max-bytes"), "{output:?}");
    let texts = texts(&recording);
    assert!(!texts.is_empty() && texts.concat().len() <= 1024, "{texts:?}");
}
