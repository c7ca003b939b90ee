//! What it costs to read usage reports (docs/contract.md#budgets): `cargo bench --bench report`.
//!
//! On one core, the operator's reader and `serde_json` read the same bytes. The reader also resolves each row with a
//! registry of 10,000 servers, and keeps what it needs. `serde_json` reads into structs of borrowed fields, which is
//! the least that a typed reader has to do, into a tree, and into nothing.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a benchmark panics when it fails, prints what it measured, and reads the clock"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mcpgateway_operator::model::UnixTime;
use mcpgateway_operator::registry::{GatewayRecord, RegistrySnapshot};
use mcpgateway_operator::workers::report::{API_VERSION, KIND, Reader, Timing, parse};

const SERVERS: usize = 10_000;
const WORKERS: usize = 8;
const ROWS: usize = 10_000;
const ROUNDS: usize = 9;
const NOW: f64 = 1_763_800_100.5;
/// The usual size of hyper's chunks.
const PIECE: usize = 32 * 1024;

fn registry() -> RegistrySnapshot {
    let record = |n: usize| {
        let metadata =
            ObjectMeta { namespace: Some("bench".into()), name: Some(format!("s{n:05}")), ..ObjectMeta::default() };
        let spec = serde_json::json!({"spec": {"url": url(n), "gatewayId": id(n)}});
        let record = GatewayRecord::from_object(&metadata, &spec).unwrap();
        (record.name.clone(), Arc::new(record))
    };
    RegistrySnapshot::build(&(0..SERVERS).map(record).collect::<BTreeMap<_, _>>(), 1)
}

/// 60 bytes, as in the budgets of memory.
fn url(n: usize) -> String {
    format!("https://server-{n:05}.tools.example.com/teams/search/mcp/v1")
}

fn id(n: usize) -> String {
    format!("{:032x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn body() -> String {
    let mut text = format!(r#"{{"apiVersion":"{API_VERSION}","kind":"{KIND}","generatedAt":{NOW},"workers":["#);
    for worker in 0..WORKERS {
        let comma = if worker == 0 { "" } else { "," };
        write!(text, r#"{comma}{{"id":"5b0e2c0e-3f63-4b0e-9d6a-{worker:012}","observedAt":{NOW},"servers":["#).unwrap();
        for row in 0..ROWS {
            let (n, comma) = ((row * 7919 + worker) % SERVERS, if row == 0 { "" } else { "," });
            let used = NOW - row as f64 * 1.125;
            let (id, url, active) = (id(n), url(n), row % 3);
            write!(text, r#"{comma}{{"gatewayId": "{id}", "url": "{url}", "lastUsed": {used:.3}, "#).unwrap();
            write!(text, r#""active": {active}, "idle": 1, "useCount": {row}}}"#).unwrap();
        }
        text.push_str("]}");
    }
    text.push_str("]}");
    text
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "deserialized and not used")]
struct Report<'a> {
    api_version: &'a str,
    kind: &'a str,
    generated_at: f64,
    #[serde(borrow)]
    workers: Vec<Worker<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "deserialized and not used")]
struct Worker<'a> {
    id: &'a str,
    observed_at: f64,
    #[serde(borrow)]
    servers: Vec<Row<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "deserialized and not used")]
struct Row<'a> {
    gateway_id: Option<&'a str>,
    name: Option<&'a str>,
    url: Option<&'a str>,
    last_used: Option<f64>,
    #[serde(default)]
    active: u64,
    #[serde(default)]
    idle: u64,
    #[serde(default)]
    use_count: u64,
}

fn main() {
    let registry = registry();
    let body = body();
    let bytes = body.as_bytes();
    let timing = Timing { receipt: UnixTime::from_seconds(NOW), offset: 0.0, interval: Duration::from_mins(1) };
    let parsed = parse(bytes, &timing, &registry).unwrap();
    let rows: usize = parsed.report.processes.iter().map(|process| process.rows.len()).sum();
    assert_eq!((rows, parsed.skipped.len()), (WORKERS * ROWS, 0));
    let megabytes = bytes.len() as f64 / 1e6;
    println!("{rows} rows in {megabytes:.1} MB, {SERVERS} registered servers, {ROUNDS} rounds each, one core");
    println!("{:<44} {:>9} {:>9} {:>12}", "", "median", "MB/s", "rows/s");

    let ours = measure("reader: resolved and kept", megabytes, rows, || {
        let mut reader = Reader::new(&registry);
        bytes.chunks(PIECE).for_each(|piece| reader.push(piece).unwrap());
        black_box(reader.finish(&timing).unwrap());
    });
    let typed = measure("serde_json: structs of borrowed fields", megabytes, rows, || {
        black_box(serde_json::from_slice::<Report<'_>>(bytes).unwrap());
    });
    measure("serde_json: a tree", megabytes, rows, || {
        black_box(serde_json::from_slice::<serde_json::Value>(bytes).unwrap());
    });
    measure("serde_json: into nothing", megabytes, rows, || {
        black_box(serde_json::from_slice::<serde::de::IgnoredAny>(bytes).unwrap());
    });
    println!("reader against structs: {:.2} x the speed; budget: at least 0.60 x", typed / ours);
}

/// Runs it [`ROUNDS`] times and prints the line. Returns the median in seconds.
fn measure(name: &str, megabytes: f64, rows: usize, mut once: impl FnMut()) -> f64 {
    once();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            once();
            begun.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let median = times[ROUNDS / 2];
    println!("{name:<44} {:>6.1} ms {:>9.0} {:>12.0}", median * 1e3, megabytes / median, rows as f64 / median);
    median
}
