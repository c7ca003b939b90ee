//! The verdict about one request to one endpoint, for `doctor`. Pure.

use super::report::DifferentUrl;
use super::request_error::RequestError;
use crate::model::EndpointId;
use crate::model::polling::ProcessPolling;

/// The answer of one endpoint to one request, judged as the collector judges it.
#[derive(Debug)]
pub struct EndpointVerdict {
    /// Its URL without query.
    pub endpoint: EndpointId,
    /// It accepted a connection in time.
    pub connects: bool,
    /// Its report, or why there is none.
    pub report: Result<EndpointReport, RequestError>,
}

/// A usable report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointReport {
    /// It covers all processes of the endpoint, and is recent.
    pub complete: bool,
    /// Registered servers with another URL in the report.
    pub different_urls: Vec<DifferentUrl>,
    /// What its processes say of their polling.
    pub polling: Vec<ProcessPolling>,
}

impl EndpointVerdict {
    /// The label that the collector would count in `worker_reports_total`.
    pub fn outcome(&self) -> &'static str {
        match &self.report {
            Ok(report) if report.complete => "Complete",
            Ok(_) => "Partial",
            Err(error) => error.into(),
        }
    }
}
