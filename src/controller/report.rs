//! The last cycle in full, as `/v1/fleet` shows it while this replica leads. Data only.

use serde::Serialize;

use crate::api::v1alpha1::FleetStatus;
use crate::classify::Metadata;
use crate::model::ServerUrl;
use crate::status::writer::WriteReport;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CycleReport {
    /// When it ended, in RFC 3339.
    pub ended_at: String,
    /// From the beginning of the collection to the last status.
    pub duration_seconds: f64,
    /// The label of `cycles_total`.
    pub outcome: &'static str,
    /// Why nothing was classified; `None` if it was.
    pub missing: Option<&'static str>,
    /// Until when the last publication is kept alive; `None` if it is not, or need not be.
    pub kept_until: Option<String>,
    /// Why the fleet object cannot be written; `None` if it can.
    pub fleet_not_written: Option<String>,
    pub endpoints: EndpointsReport,
    pub statuses: WriteReport,
    /// In rank order, the held ones last; empty if nothing is classified.
    pub hot: Vec<ServerUrl>,
    /// In registry order.
    pub cold: Vec<ServerUrl>,
    /// As it stands in Redis, with the same names.
    pub metadata: Option<Metadata>,
    /// The status of the fleet at that time.
    #[serde(skip)]
    pub fleet: FleetStatus,
}

#[derive(Clone, Debug, Serialize)]
pub struct EndpointsReport {
    pub known: usize,
    pub silent: Vec<String>,
}
