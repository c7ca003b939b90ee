//! The usage report on the wire: `usage.mcpgateway.io/v1alpha1`. Pure.
//!
//! Any program that answers with this JSON at its usage endpoint takes part in a fleet; nothing else is asked of it.

use serde::Serialize;

/// What one endpoint says of all the processes that it speaks for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport<'a> {
    pub api_version: &'static str,
    pub kind: &'static str,
    /// The clock of this endpoint at the answer, in Unix seconds.
    pub generated_at: f64,
    /// How many processes there are; more than entries below makes the report partial.
    pub expected_workers: usize,
    pub workers: Vec<WorkerEntry<'a>>,
}

/// One process.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerEntry<'a> {
    /// New at each start, so that a reader tells a restart (counts begin again) from an odd count.
    pub id: String,
    /// When these rows were true, in Unix seconds.
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
    /// Of these processes.
    pub fn new(generated_at: f64, workers: Vec<WorkerEntry<'a>>) -> Self {
        Self {
            api_version: "usage.mcpgateway.io/v1alpha1",
            kind: "UsageReport",
            generated_at: milliseconds(generated_at),
            expected_workers: workers.len(),
            workers,
        }
    }
}

/// Rounded to milliseconds: more digits would say nothing, and the last ones may differ between machines.
pub fn milliseconds(time: f64) -> f64 {
    (time * 1000.0).round() / 1000.0
}
