//! Findings from the worker endpoints: whether they report, and whether their URLs are the registered ones. Pure.

use std::collections::BTreeMap;

use super::cluster::unreadable;
use super::{Finding, ReadError, some};
use crate::model::polling::{FleetPolling, PollingChange, PollingState, ProcessPolling};
use crate::model::{EndpointId, UrlError};
use crate::workers::report::DifferentUrl;
use crate::workers::request_error::RequestError;
use crate::workers::verdict::EndpointVerdict;

/// `planned`: whether a refresh plan is in force.
pub(super) fn judge(
    workers: Option<&[EndpointVerdict]>,
    services: &[(String, Result<usize, ReadError>)],
    planned: bool,
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
    // One line for all endpoints with the same error.
    let mut errors: BTreeMap<(&'static str, String, &str), Vec<String>> = BTreeMap::new();
    let mut polling = FleetPolling::default();
    for verdict in workers {
        match &verdict.report {
            Ok(report) => {
                findings.extend(url_differs(&verdict.endpoint, &report.different_urls));
                polling
                    .processes
                    .extend(report.polling.iter().map(|process| (verdict.endpoint.clone(), process.clone())));
            }
            Err(error) => {
                errors.entry(of_error(error, verdict.connects)).or_default().push(verdict.endpoint.to_string());
            }
        }
    }
    findings.extend(errors.into_iter().map(|((finding, what, advice), endpoints)| {
        Finding::problem(finding, format!("{}: {what}", some(&endpoints)), advice)
    }));
    let unsupported = polling.unsupported();
    if !unsupported.is_empty() {
        let what = format!("this release of the gateway does not support what is configured: {}", some(&unsupported));
        let advice = "run a release that the plugin supports (docs/contextforge.md#releases), or update the plugin; \
                      until then these processes poll as the release does";
        findings.push(Finding::problem("PollingUnsupported", what, advice));
    }
    findings.extend(planned.then(|| plan_not_followed(&polling)).flatten());
    findings
}

/// Processes that could refresh by the plan, and do not. Processes that do not report their polling may ask the
/// operator for each poll decision.
fn plan_not_followed(polling: &FleetPolling) -> Option<Finding> {
    let state = |process: &ProcessPolling| process.state(PollingChange::RefreshPlan);
    let others =
        polling.processes.iter().filter(|(_, process)| matches!(state(process), None | Some(PollingState::Off)));
    let mut endpoints: Vec<String> = others.map(|(endpoint, _)| endpoint.to_string()).collect();
    endpoints.dedup();
    let what = format!("gateway processes do not refresh by the refresh plan that is in force: {}", some(&endpoints));
    let advice = "leave the setting refresh_plan of the plugin on, or update the plugin; until then these processes \
                  refresh by tiers";
    (!endpoints.is_empty()).then(|| Finding::problem("PlanNotFollowed", what, advice))
}

/// The finding, what was found, and what to do.
fn of_error(error: &RequestError, connects: bool) -> (&'static str, String, &'static str) {
    const ADAPTER: &str = "install the usage adapter in the gateway and switch it on (docs/usage-report.md), and \
                           correct --worker-path and the port";
    match error {
        RequestError::TimedOut if !connects => (
            "WorkerNoConnection",
            "no connection in time".to_owned(),
            "allow the operator's pods to connect to this port in the network policy",
        ),
        RequestError::Connect(why) if !connects => (
            "WorkerRefused",
            format!("no connection ({why})"),
            "check that the worker runs and that the adapter listens on this port",
        ),
        RequestError::Status(status @ (401 | 403)) => (
            "WorkerToken",
            format!("HTTP status {status}"),
            "give the operator (--worker-token-file) and the adapter the same token",
        ),
        RequestError::Status(404) => ("WorkerNoAdapter", "HTTP status 404".to_owned(), ADAPTER),
        RequestError::ContentType => ("WorkerNoAdapter", "the answer is not JSON".to_owned(), ADAPTER),
        RequestError::Status(status) => ("WorkerStatus", format!("HTTP status {status}"), "read the worker's log"),
        error => (
            "WorkerFailed",
            format!("no usage report ({}): {error}", <&str>::from(error)),
            "compare the report with docs/usage-report.md",
        ),
    }
}

fn url_differs(endpoint: &EndpointId, different: &[DifferentUrl]) -> Option<Finding> {
    let mut urls: Vec<String> = different
        .iter()
        .map(|DifferentUrl { id, registered, reported }| {
            let reported = match reported {
                Ok(url) => url.to_string(),
                Err(UrlError::Credential) => "a URL with a credential".to_owned(),
                Err(UrlError::Invalid) => "an invalid URL".to_owned(),
            };
            format!("{registered} here, {reported} there (id {id})")
        })
        .collect();
    urls.sort();
    let what = format!("{endpoint} stores other URLs than the registered ones: {}", some(&urls));
    let advice = "write spec.url exactly as the gateway stores it; mcpgateway-operator import prints it (ContextForge \
                  stores 127.0.0.1 as localhost)";
    (!urls.is_empty()).then(|| Finding::problem("UrlDiffers", what, advice))
}
