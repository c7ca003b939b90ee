//! What the endpoints of the workers say: whether they answer, and whether their rows mean our objects. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::cluster::unreadable;
use super::{Finding, Unread, some};
use crate::model::{ServerUrl, UrlError};
use crate::registry::RegistrySnapshot;

/// One endpoint, by its address without query.
#[derive(Debug)]
pub struct Worker {
    /// What was asked.
    pub endpoint: String,
    /// What it reports, or why nothing.
    pub answer: Result<Vec<Reported>, WorkerFault>,
}

/// A row of a report, as far as it says which server it is for. The URL may hold a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reported {
    /// The gateway's id.
    pub gateway_id: Option<String>,
    /// The URL that the worker uses.
    pub url: Option<String>,
}

/// Why an endpoint gave no report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerFault {
    /// Not even a connection, within the time-out.
    NoConnection,
    /// The connection was refused, or there is no such host.
    Refused(String),
    /// An HTTP status other than 200.
    Status(u16),
    /// HTML, or whatever is no JSON.
    NotJson,
    /// What the collector says of anything else; it says what to do.
    Other(String),
}

pub(super) fn judge(
    workers: Option<&[Worker]>,
    services: &[(String, Result<usize, Unread>)],
    registry: &RegistrySnapshot,
) -> Vec<Finding> {
    let Some(workers) = workers else {
        let what = "without --worker-service or --worker-endpoint the workers are not asked";
        return vec![Finding::note("NoWorkers", what, "give doctor the --worker-… flags of the operator")];
    };
    let mut found = Vec::new();
    for (service, addresses) in services {
        let advice = "correct --worker-service, or the Service's selector and port";
        match addresses {
            Ok(0) => {
                found.push(Finding::problem("ServiceEmpty", format!("the Service {service} has no address"), advice));
            }
            Ok(_) => {}
            Err(unread) => found.push(unreadable(unread)),
        }
    }
    // One line for all endpoints that share a fault.
    let mut faults: BTreeMap<(&str, String, &str), Vec<String>> = BTreeMap::new();
    for Worker { endpoint, answer } in workers {
        match answer {
            Ok(rows) => found.extend(of_rows(endpoint, rows, registry)),
            Err(fault) => faults.entry(of_fault(fault)).or_default().push(endpoint.clone()),
        }
    }
    let told = faults.into_iter();
    found.extend(told.map(|((finding, what, advice), endpoints)| {
        let finding = KINDS.iter().find(|kind| **kind == finding).unwrap_or(&"WorkerFailed");
        Finding::problem(finding, format!("{}: {what}", some(&endpoints)), advice)
    }));
    found
}

/// The findings about an endpoint that gave no report.
const KINDS: [&str; 6] =
    ["WorkerNoConnection", "WorkerRefused", "WorkerToken", "WorkerNoAdapter", "WorkerStatus", "WorkerFailed"];

fn of_fault(fault: &WorkerFault) -> (&'static str, String, &'static str) {
    const ADAPTER: &str = "install the usage adapter in the gateway and switch it on (docs/usage-report.md), and correct --worker-path and the port";
    match fault {
        WorkerFault::NoConnection => (
            "WorkerNoConnection",
            "no connection in time".to_owned(),
            "let the operator's pods through the network policy to this port",
        ),
        WorkerFault::Refused(why) => (
            "WorkerRefused",
            format!("no connection ({why})"),
            "see that the worker runs and that the adapter listens on this port",
        ),
        WorkerFault::Status(status @ (401 | 403)) => (
            "WorkerToken",
            format!("HTTP status {status}"),
            "give operator (--worker-token-file) and adapter the same token",
        ),
        WorkerFault::Status(404) => ("WorkerNoAdapter", "HTTP status 404".to_owned(), ADAPTER),
        WorkerFault::NotJson => ("WorkerNoAdapter", "the answer is no JSON".to_owned(), ADAPTER),
        WorkerFault::Status(status) => ("WorkerStatus", format!("HTTP status {status}"), "see the worker's log"),
        WorkerFault::Other(why) => ("WorkerFailed", why.clone(), "see docs/usage-report.md for what a report is"),
    }
}

/// Rows whose id we know, with another URL beyond the query: what the gateway stores is not what is registered.
fn of_rows(endpoint: &str, rows: &[Reported], registry: &RegistrySnapshot) -> Vec<Finding> {
    let mut differing = Vec::new();
    for Reported { gateway_id, url } in rows {
        let (Some(id), Some(url)) = (gateway_id, url) else { continue };
        let Some(place) = registry.by_id(id.as_bytes()) else { continue };
        let Some(ours) = registry.servers().get(place as usize) else { continue };
        if before_query(url) != before_query(ours.expose()) {
            differing.push(format!("{} here, {} there (id {id})", ours, shown(url)));
        }
    }
    differing.sort();
    differing.dedup();
    let what = format!("{endpoint} stores other URLs than are registered: {}", some(&differing));
    let advice = "write spec.url exactly as the gateway stores it; mcpgateway-operator import prints it (ContextForge stores 127.0.0.1 as localhost)";
    if differing.is_empty() { Vec::new() } else { vec![Finding::problem("UrlDiffers", what, advice)] }
}

fn before_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// As much of a reported URL as can hold no secret.
fn shown(url: &str) -> String {
    match ServerUrl::parse(before_query(url)) {
        Ok(url) => url.to_string(),
        Err(UrlError::Credential) => "a URL with a credential".to_owned(),
        Err(UrlError::Invalid) => "no URL".to_owned(),
    }
}

/// The rows of a report; the shape of the rest is the collector's to judge.
#[must_use]
pub fn report_rows(body: &[u8]) -> Option<Vec<Reported>> {
    #[derive(Deserialize)]
    struct Report {
        workers: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        servers: Vec<Reported>,
    }
    let report: Report = serde_json::from_slice(body).ok()?;
    Some(report.workers.into_iter().flat_map(|entry| entry.servers).collect())
}
