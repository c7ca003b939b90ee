//! The metrics of a running operator, read by the parsers of Prometheus.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::support::cluster::{root, said};
use crate::support::fleet::{Fleet, used};
use crate::support::operator::Operator;

/// `promtool`, built if necessary.
fn promtool() -> Command {
    let output = Command::new(root().join("dev/tools")).arg("promtool").output().expect("dev/tools runs");
    assert!(output.status.success(), "dev/tools promtool: {}", said(&output));
    let folder = PathBuf::from(String::from_utf8(output.stdout).expect("text").trim());
    Command::new(folder.join("promtool"))
}

/// Gets the metrics with this `Accept`.
async fn metrics(operator: &Operator, accept: &str) -> String {
    let url = format!("http://{}/metrics", operator.address("serving /metrics").await);
    reqwest::Client::new().get(url).header("accept", accept).send().await.unwrap().text().await.unwrap()
}

/// Parses the text format 0.0.4 with expfmt, and lints the names.
fn check(text: &str) -> Output {
    let mut child = promtool();
    let child = child.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("promtool runs");
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    child.wait_with_output().expect("its output")
}

/// Parses `OpenMetrics` with the parser of a scrape, by importing it, for which each sample needs a time.
fn import(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let with_time = |line: &str| if line.starts_with('#') { line.to_owned() } else { format!("{line} 1700000000") };
    let text: String = text.lines().map(|line| with_time(line) + "\n").collect();
    std::fs::write(folder.path().join("metrics"), text).unwrap();
    let mut command = promtool();
    command.args(["tsdb", "create-blocks-from", "openmetrics", "metrics", "blocks"]).current_dir(folder.path());
    command.output().expect("promtool runs")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs promtool: make chart-test"]
async fn the_parsers_of_prometheus_read_both_formats() {
    let fleet = Fleet::new("formats", 1).await;
    fleet.create("a", "http://a.example/mcp").await;
    fleet.workers[0].report(vec![used("a", 5.0), used("unknown", 5.0)]);
    let operator = fleet.operator();
    fleet.settled().await;
    operator.cycles(1).await;
    let text = metrics(&operator, "text/plain;version=0.0.4").await;
    let output = check(&text);
    assert!(output.status.success(), "{}\n{text}", said(&output));
    let open_metrics = metrics(&operator, "application/openmetrics-text;version=1.0.0").await;
    let output = import(&open_metrics);
    assert!(output.status.success(), "{}\n{open_metrics}", said(&output));
    // Each parser refuses the other format, so it does parse.
    assert!(said(&check(&open_metrics)).contains("unknown metric type"), "{}", said(&check(&open_metrics)));
    assert!(!import(&text).status.success());
}
