//! Findings from the worker endpoints: whether they answer, and whether their rows belong to registered servers. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::cluster::unreadable;
use super::{Finding, ReadError, some};
use crate::model::{ServerUrl, UrlError};
use crate::registry::RegistrySnapshot;

/// One worker endpoint.
#[derive(Debug)]
pub struct Worker {
    /// Its URL, without query.
    pub endpoint: String,
    /// The rows of its report, or why there is none.
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
    /// No connection within the time-out.
    NoConnection,
    /// The connection was refused, or there is no such host.
    Refused(String),
    /// An HTTP status other than 200.
    Status(u16),
    /// The answer is HTML, or something else that is not JSON.
    NotJson,
    /// Any other fault, in the words of the collector, which say what to do.
    Other(String),
}

pub(super) fn judge(
    workers: Option<&[Worker]>,
    services: &[(String, Result<usize, ReadError>)],
    registry: &RegistrySnapshot,
) -> Vec<Finding> {
    let Some(workers) = workers else {
        let what = "without --worker-service or --worker-endpoint doctor cannot ask the workers";
        return vec![Finding::note("NoWorkers", what, "give doctor the --worker-… flags of the operator")];
    };
    let mut findings = Vec::new();
    for (service, addresses) in services {
        let advice = "correct --worker-service, or the Service's selector and port";
        match addresses {
            Ok(0) => {
                findings.push(Finding::problem(
                    "ServiceEmpty",
                    format!("the Service {service} has no address"),
                    advice,
                ));
            }
            Ok(_) => {}
            Err(error) => findings.push(unreadable(error)),
        }
    }
    // Endpoints that share a fault share a finding.
    let mut faults: BTreeMap<(&'static str, String, &str), Vec<String>> = BTreeMap::new();
    for Worker { endpoint, answer } in workers {
        match answer {
            Ok(rows) => findings.extend(judge_rows(endpoint, rows, registry)),
            Err(fault) => faults.entry(describe(fault)).or_default().push(endpoint.clone()),
        }
    }
    findings.extend(faults.into_iter().map(|((finding, what, advice), endpoints)| {
        Finding::problem(finding, format!("{}: {what}", some(&endpoints)), advice)
    }));
    findings
}

/// The finding, what was found, and what to do.
fn describe(fault: &WorkerFault) -> (&'static str, String, &'static str) {
    const ADAPTER: &str = "install the usage adapter in the gateway and switch it on (docs/usage-report.md), and \
                           correct --worker-path and the port";
    match fault {
        WorkerFault::NoConnection => (
            "WorkerNoConnection",
            "no connection in time".to_owned(),
            "allow the operator's pods to connect to this port in the network policy",
        ),
        WorkerFault::Refused(why) => (
            "WorkerRefused",
            format!("no connection ({why})"),
            "check that the worker runs and that the adapter listens on this port",
        ),
        WorkerFault::Status(status @ (401 | 403)) => (
            "WorkerToken",
            format!("HTTP status {status}"),
            "give the operator (--worker-token-file) and the adapter the same token",
        ),
        WorkerFault::Status(404) => ("WorkerNoAdapter", "HTTP status 404".to_owned(), ADAPTER),
        WorkerFault::NotJson => ("WorkerNoAdapter", "the answer is not JSON".to_owned(), ADAPTER),
        WorkerFault::Status(status) => ("WorkerStatus", format!("HTTP status {status}"), "read the worker's log"),
        WorkerFault::Other(why) => ("WorkerFailed", why.clone(), "compare the report with docs/usage-report.md"),
    }
}

/// Finds rows with the id of a registered gateway and another URL, not counting the query.
fn judge_rows(endpoint: &str, rows: &[Reported], registry: &RegistrySnapshot) -> Option<Finding> {
    let mut differing = Vec::new();
    for Reported { gateway_id, url } in rows {
        let (Some(id), Some(url)) = (gateway_id, url) else { continue };
        let Some(place) = registry.by_id(id.as_bytes()) else { continue };
        let Some(ours) = registry.servers().get(place as usize) else { continue };
        if before_query(url) != before_query(ours.expose()) {
            differing.push(format!("{ours} here, {} there (id {id})", without_secrets(url)));
        }
    }
    differing.sort();
    differing.dedup();
    let what = format!("{endpoint} stores other URLs than the registered ones: {}", some(&differing));
    let advice = "write spec.url exactly as the gateway stores it; mcpgateway-operator import prints it (ContextForge \
                  stores 127.0.0.1 as localhost)";
    (!differing.is_empty()).then(|| Finding::problem("UrlDiffers", what, advice))
}

fn before_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// A reported URL without its query; if it holds a credential or is invalid, only that.
fn without_secrets(url: &str) -> String {
    match ServerUrl::parse(before_query(url)) {
        Ok(url) => url.to_string(),
        Err(UrlError::Credential) => "a URL with a credential".to_owned(),
        Err(UrlError::Invalid) => "an invalid URL".to_owned(),
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
