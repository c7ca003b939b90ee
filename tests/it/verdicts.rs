//! One corpus of usage reports through the collector of `run`, the probe of `doctor`, and `classify`: one verdict.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mcpgateway_operator::clock::reference::ReferenceClock;
use mcpgateway_operator::http_client::Tls;
use mcpgateway_operator::model::UnixTime;
use mcpgateway_operator::registry::{GatewayRecord, RegistrySnapshot};
use mcpgateway_operator::workers::discovery::Endpoint;
use mcpgateway_operator::workers::{self, CollectorSettings, UsageCollector};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::cluster::{root, said};
use crate::support::operator::binary;

const SERVERS: [(&str, &str, Option<&str>); 2] =
    [("web", "https://web.example.com/mcp", Some("id-web")), ("ledger", "https://ledger.example.com/mcp", None)];

fn spec(url: &str, id: Option<&str>) -> Value {
    id.map_or_else(|| json!({"url": url}), |id| json!({"url": url, "gatewayId": id}))
}

fn registry() -> Arc<RegistrySnapshot> {
    let records = SERVERS.iter().map(|(name, url, id)| {
        let metadata = ObjectMeta { namespace: Some("n".into()), name: Some((*name).into()), ..ObjectMeta::default() };
        let record = GatewayRecord::from_object(&metadata, &json!({"spec": spec(url, *id)})).unwrap();
        (record.name.clone(), Arc::new(record))
    });
    Arc::new(RegistrySnapshot::build(&records.collect::<BTreeMap<_, _>>(), 1))
}

/// The same objects as YAML.
fn manifests() -> String {
    let object = |(name, url, id): &(&str, &str, Option<&str>)| {
        let metadata = json!({"name": name, "namespace": "n"});
        let object = json!({"apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway", "metadata": metadata,
            "spec": spec(url, *id)});
        format!("---\n{object}\n")
    };
    SERVERS.iter().map(object).collect()
}

/// A server with one fixed answer for each path, sent byte for byte.
struct Answers {
    base: String,
    server: JoinHandle<()>,
}

impl Answers {
    async fn start(answers: HashMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(answers);
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let answers = Arc::clone(&answers);
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        match stream.read_buf(&mut request).await {
                            Ok(1..) => {}
                            Ok(0) | Err(_) => return,
                        }
                    }
                    let path = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap().to_owned();
                    match answers.get(path.trim_start_matches('/')) {
                        Some(answer) => {
                            let _ = stream.write_all(answer).await;
                            let _ = stream.shutdown().await;
                        }
                        // Accepted and never answered.
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { base, server }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn http(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let head = [&[&*format!("HTTP/1.1 {status}"), "Connection: close"], headers, &["", ""]].concat().join("\r\n");
    [head.as_bytes(), body].concat()
}

const JSON: &str = "Content-Type: application/json";

fn settings() -> CollectorSettings {
    CollectorSettings {
        concurrency: std::num::NonZeroUsize::new(64).unwrap(),
        timeout: Duration::from_secs(20),
        max_report_bytes: 16 << 20,
        token: None,
        tls: Tls::default(),
    }
}

/// A reference clock that shows the time at which a body says that it was made.
fn time_of(body: &[u8]) -> ReferenceClock {
    let clock = ReferenceClock::default();
    let text = String::from_utf8_lossy(body);
    let time = text.split_once("\"generatedAt\"").and_then(|(_, rest)| {
        let rest = rest.trim_start_matches([' ', ':']);
        UnixTime::from_seconds(rest[..rest.find([',', '}'])?].trim().parse().ok()?)
    });
    if let Some(time) = time {
        clock.read_redis(time, mcpgateway_operator::clock::monotonic());
    }
    clock
}

/// What the collector counts: the outcome, and the skipped rows.
async fn collected(endpoint: &Endpoint, settings: CollectorSettings, time: &ReferenceClock) -> (String, u64) {
    let mut scrape = prometheus_client::registry::Registry::default();
    let metrics = workers::Metrics::register(&mut scrape);
    let collector = UsageCollector::new(settings, std::num::NonZeroUsize::MAX, time.clone(), metrics);
    collector.collect(std::slice::from_ref(endpoint), &registry(), Duration::MAX).await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &scrape).unwrap();
    let samples = |name: &str| {
        let samples = text.lines().filter_map(move |line| line.strip_prefix(name)?.split_once("\"} "));
        samples.map(|(label, value)| (label.to_owned(), value.parse::<u64>().unwrap())).collect::<Vec<_>>()
    };
    let outcomes = samples("worker_reports_total{outcome=\"");
    assert_eq!(outcomes.len(), 1, "{text}");
    let skipped = samples("worker_rows_skipped_total{reason=\"");
    (outcomes[0].0.clone(), skipped.iter().map(|(_, rows)| rows).sum())
}

/// The verdict of `doctor`.
async fn probed(endpoint: &Endpoint, settings: &CollectorSettings, time: &ReferenceClock) -> String {
    let endpoints = std::slice::from_ref(endpoint);
    let verdicts = workers::probe(settings, endpoints, &registry(), Duration::MAX, time).await.unwrap();
    verdicts[0].outcome().to_owned()
}

/// The verdict of `classify`: why it refuses the report, or how many rows it skips.
async fn classified(folder: &std::path::Path, body: &[u8]) -> Result<u64, String> {
    let report = folder.join("report.json");
    std::fs::write(&report, body).unwrap();
    let mut command = tokio::process::Command::from(binary());
    command.args(["classify", "-f"]).arg(folder.join("objects.yaml")).arg("--usage").arg(&report);
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let prefix = format!("{}: ", report.display());
    if output.status.success() {
        let skipped = |line: &str| line.split_once(&prefix)?.1.split(' ').next()?.parse::<u64>().ok();
        return Ok(stderr.lines().filter_map(skipped).sum());
    }
    let (_, reason) = stderr.split_once(&prefix).unwrap_or_else(|| panic!("{}", said(&output)));
    Err(reason.split(':').next().unwrap().to_owned())
}

fn report(rows: &str) -> String {
    format!(
        r#"{{"apiVersion":"usage.mcpgateway.io/v1alpha1","kind":"UsageReport","generatedAt":1763800100.5,
            "workers":[{{"id":"w","observedAt":1763800100.25,"servers":[{rows}]}}]}}"#
    )
}

/// The named seeds of the fuzz target. Their first byte is not part of the body.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(root().join("fuzz/corpus/report")).unwrap().map(|file| file.unwrap().path());
    let named = files.filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_owned();
        let found = name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        (!found).then(|| (name, std::fs::read(&path).unwrap()[1..].to_vec()))
    });
    named.collect()
}

/// Bodies that a broken or hostile worker may send.
fn bodies() -> Vec<(String, Vec<u8>)> {
    let good = report(r#"{"gatewayId":"id-web","lastUsed":1763800000,"active":1,"useCount":5}"#);
    let field = |field: &str| report(&format!(r#"{{"gatewayId":"id-web",{field}}},{{"name":"n/ledger","active":2}}"#));
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = "x".repeat(2_000_000);
    let twice = good.replace(r#""workers":["#, r#""workers":[{"id":"w","observedAt":1},"#);
    [
        ("good", good.clone()),
        ("go-escapes", field(r#""url":"https://web.example.com/mcp?a=1\u0026b=2","name":"n\/web""#)),
        ("truncated", good[..good.len() - 3].to_owned()),
        ("nan", field(r#""lastUsed":NaN"#)),
        ("infinite", field(r#""lastUsed":1e999"#)),
        ("negative", field(r#""active":-1"#)),
        ("too-large", field(r#""useCount":9223372036854775808"#)),
        ("repeated-field", field(r#""active":1,"active":1"#)),
        ("nested-row", field(&format!(r#""x":{nested}"#))),
        ("nested-field", good.replacen('{', &format!(r#"{{"x":{nested},"#), 1)),
        ("long-row", field(&format!(r#""x":"{long}""#))),
        ("long-field", good.replacen('{', &format!(r#"{{"x":"{long}","#), 1)),
        ("long-id", good.replace(r#""id":"w""#, &format!(r#""id":"{long}""#))),
        ("milliseconds", field(r#""lastUsed":1763800000000"#)),
        ("missing-time", good.replace("observedAt", "observed")),
        ("wrong-workers", good.replace(r#""workers":["#, r#""workers":[7,"#)),
        ("same-id-twice", twice),
        ("fewer-than-expected", good.replace(r#""workers""#, r#""expectedWorkers":2,"workers""#)),
        ("bom", format!("\u{feff}{good}")),
        ("version-behind-another-shape", r#"{"workers":7,"apiVersion":"usage.mcpgateway.io/v2"}"#.to_owned()),
        ("html", "<html></html>".to_owned()),
        ("empty", String::new()),
    ]
    .map(|(name, body)| (name.to_owned(), body.into_bytes()))
    .into_iter()
    .chain([("not-utf8".to_owned(), [&good.as_bytes()[..40], b"\xff", &good.as_bytes()[40..]].concat())])
    .collect()
}

#[tokio::test]
async fn run_doctor_and_classify_come_to_one_verdict_about_a_report() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("objects.yaml"), manifests()).unwrap();
    let cases: Vec<_> =
        seeds().into_iter().map(|(name, body)| (format!("seed-{name}"), body)).chain(bodies()).collect();
    assert!(cases.len() > 50);
    let length = |body: &[u8]| format!("Content-Length: {}", body.len());
    let answers = cases.iter().map(|(name, body)| (name.clone(), http("200 OK", &[JSON, &length(body)], body)));
    let server = Answers::start(answers.collect()).await;
    let mut verdicts = BTreeMap::new();
    for (name, body) in &cases {
        let endpoint = Endpoint::new(format!("{}/{name}", server.base).parse().unwrap());
        let time = time_of(body);
        let (outcome, skipped) = collected(&endpoint, settings(), &time).await;
        assert_eq!(probed(&endpoint, &settings(), &time).await, outcome, "{name}");
        let usable = matches!(&*outcome, "Complete" | "Partial");
        let expected = if usable { Ok(skipped) } else { Err(outcome.clone()) };
        assert_eq!(classified(folder.path(), body).await, expected, "{name}");
        verdicts.insert(name.as_str(), outcome);
    }
    for (name, outcome) in [
        ("good", "Complete"),
        ("go-escapes", "Complete"),
        ("infinite", "Complete"),
        ("long-row", "Complete"),
        ("fewer-than-expected", "Partial"),
        ("nan", "NotJson"),
        ("not-utf8", "NotJson"),
        ("missing-time", "Shape"),
        ("same-id-twice", "DuplicateWorkerId"),
        ("milliseconds", "TimesInMilliseconds"),
        ("version-behind-another-shape", "UnknownVersion"),
        ("seed-example", "Complete"),
    ] {
        assert_eq!(verdicts[name], outcome, "{name}");
    }
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Ways of HTTP to send a report, with the expected verdict.
fn ways() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let text = report(r#"{"gatewayId":"id-web","active":1}"#);
    let body = text.as_bytes();
    let ok = |headers: &[&str], body: &[u8]| http("200 OK", headers, body);
    let (gzip, encoded) = (gzipped(body), |encoding: &'static str| format!("Content-Encoding: {encoding}"));
    let (first, second) = body.split_at(body.len() / 2);
    let members = [gzipped(first), gzipped(second)].concat();
    let chunked = [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat();
    let bomb = gzipped(&vec![b' '; 20 << 20]);
    vec![
        ("plain", "Complete", ok(&[JSON], body)),
        ("always-gzip", "Complete", ok(&[JSON, &encoded("gzip")], &gzip)),
        ("upper-case-gzip", "Complete", ok(&[JSON, &encoded("GZIP")], &gzip)),
        ("two-gzip-members", "Complete", ok(&[JSON, &encoded("gzip")], &members)),
        ("cut-off-gzip", "Body", ok(&[JSON, &encoded("gzip")], &gzip[..gzip.len() - 9])),
        ("not-gzip", "Body", ok(&[JSON, &encoded("gzip")], body)),
        ("gzip-bomb", "TooLarge", ok(&[JSON, &encoded("gzip")], &bomb)),
        ("deflate", "Encoding", ok(&[JSON, &encoded("deflate")], body)),
        ("two-encodings", "Encoding", ok(&[JSON, &encoded("identity, gzip")], &gzip)),
        ("identity", "Complete", ok(&[JSON, &encoded("identity")], body)),
        ("chunked", "Complete", ok(&[JSON, "Transfer-Encoding: chunked"], &chunked)),
        ("cut-off", "Body", ok(&[JSON, "Content-Length: 100000"], body)),
        ("charset", "Complete", ok(&["Content-Type: application/json; charset=utf-8"], body)),
        ("other-type", "NotJson", ok(&["Content-Type: application/vnd.mcpgateway.usage+json"], body)),
        ("no-type", "NotJson", ok(&[], body)),
        ("html", "NotJson", ok(&["Content-Type: text/html"], b"<html>")),
        ("early-hints", "Complete", [&b"HTTP/1.1 103 Early Hints\r\n\r\n"[..], &ok(&[JSON], body)].concat()),
        ("http-1.0", "Complete", [&b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"[..], body].concat()),
        ("not-http", "Body", b"planted\r\n\r\n".to_vec()),
        ("no-content", "Status", http("204 No Content", &[JSON], b"")),
        ("not-modified", "Status", http("304 Not Modified", &[JSON], b"")),
        ("redirect", "Status", http("302 Found", &["Location: http://127.0.0.1:9/"], b"")),
        ("unauthorized", "Status", http("401 Unauthorized", &[JSON], body)),
        ("unavailable", "Status", http("503 Service Unavailable", &[JSON], body)),
    ]
}

#[tokio::test]
async fn run_and_doctor_come_to_one_verdict_about_an_answer() {
    let ways = ways();
    let server =
        Answers::start(ways.iter().map(|(name, _, answer)| ((*name).to_owned(), answer.clone())).collect()).await;
    let now = || time_of(report("").as_bytes());
    for (name, expected, _) in &ways {
        let endpoint = Endpoint::new(format!("{}/{name}", server.base).parse().unwrap());
        assert_eq!(collected(&endpoint, settings(), &now()).await.0, *expected, "{name}");
        assert_eq!(probed(&endpoint, &settings(), &now()).await, *expected, "{name}");
    }
    let nothing = format!("http://127.0.0.1:{}/", crate::support::redis::free_port());
    let quick = CollectorSettings { timeout: Duration::from_millis(300), ..settings() };
    for (url, expected) in [(format!("{}/never", server.base), "Timeout"), (nothing, "Connect")] {
        let endpoint = Endpoint::new(url.parse().unwrap());
        assert_eq!(collected(&endpoint, quick.clone(), &now()).await.0, expected);
        assert_eq!(probed(&endpoint, &quick, &now()).await, expected);
    }
}

/// The case "a report that never changes", and a worker whose clock is off.
#[tokio::test]
async fn doctor_asks_an_endpoint_whose_clock_is_off_a_second_time() {
    let body = report("");
    let answer = http("200 OK", &[JSON], body.as_bytes());
    let server = Answers::start(HashMap::from([("static".to_owned(), answer)])).await;
    let endpoint = Endpoint::new(format!("{}/static", server.base).parse().unwrap());
    let an_hour_later = ReferenceClock::default();
    let time = UnixTime::from_seconds(1_763_803_700.5).unwrap();
    an_hour_later.read_redis(time, mcpgateway_operator::clock::monotonic());
    assert_eq!(probed(&endpoint, &settings(), &an_hour_later).await, "Frozen");
}
