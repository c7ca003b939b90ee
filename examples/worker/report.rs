//! The usage report on the wire: `usage.mcpgateway.io/v1alpha1`. Pure.
//!
//! A program takes part in a fleet by answering with this JSON at its usage endpoint. Nothing else is required.

use std::fmt::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The report of one endpoint, for all its processes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport<'a> {
    pub api_version: &'static str,
    pub kind: &'static str,
    /// The clock of this endpoint at the answer, in Unix seconds.
    pub generated_at: f64,
    /// How many processes there are. If there are fewer entries below, the report is partial.
    pub expected_workers: usize,
    pub workers: Vec<WorkerEntry<'a>>,
}

/// One process.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerEntry<'a> {
    /// New at each start, so that a reader can detect a restart, after which counts begin again.
    pub id: String,
    /// When these rows were correct, in Unix seconds.
    pub observed_at: f64,
    pub servers: Vec<Row<'a>>,
}

/// One server that this process has used.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_id: Option<&'a str>,
    pub url: &'a str,
    /// When the latest request began, in Unix seconds.
    pub last_used: f64,
    /// Sessions with a request in flight.
    pub active: usize,
    /// Open sessions without one.
    pub idle: usize,
    /// Requests since this process started.
    pub use_count: u64,
}

impl<'a> UsageReport<'a> {
    /// The report of these processes.
    pub fn new(generated_at: f64, workers: Vec<WorkerEntry<'a>>) -> Self {
        Self {
            api_version: "usage.mcpgateway.io/v1alpha1",
            kind: "UsageReport",
            generated_at: milliseconds(generated_at),
            expected_workers: workers.len(),
            workers,
        }
    }

    /// Shows all times as a clock that is ahead by so much.
    pub fn shift(&mut self, seconds: f64) {
        self.generated_at += seconds;
        for entry in &mut self.workers {
            entry.observed_at += seconds;
            entry.servers.iter_mut().for_each(|row| row.last_used += seconds);
        }
    }

    /// The entity tag, without quotes: a hash of everything except the two times, so that it changes only with the
    /// rows. Reads each row once and builds no text.
    pub fn tag(&self) -> String {
        let Self { api_version, kind, generated_at: _, expected_workers, workers } = self;
        let mut hash = TagHash(Sha256::new());
        hash.text(api_version);
        hash.text(kind);
        hash.number(*expected_workers as u64);
        hash.number(workers.len() as u64);
        for WorkerEntry { id, observed_at: _, servers } in workers {
            hash.text(id);
            hash.number(servers.len() as u64);
            for Row { gateway_id, url, last_used, active, idle, use_count } in servers {
                hash.number(u64::from(gateway_id.is_some()));
                hash.text(gateway_id.unwrap_or_default());
                hash.text(url);
                for number in [last_used.to_bits(), *active as u64, *idle as u64, *use_count] {
                    hash.number(number);
                }
            }
        }
        let digest = hash.0.finalize();
        digest.iter().take(TAG_BYTES).fold(String::with_capacity(2 * TAG_BYTES), |mut text, byte| {
            // Writing to a string never fails.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// Half of the hash, which is enough to tell the reports of one endpoint apart.
const TAG_BYTES: usize = 16;

/// Hashes values so that different lists give different input: the length precedes each string.
struct TagHash(Sha256);

impl TagHash {
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }
}

/// Rounded to milliseconds: more digits carry no information, and the last ones may differ between machines.
pub fn milliseconds(time: f64) -> f64 {
    (time * 1000.0).round() / 1000.0
}
