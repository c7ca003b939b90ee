//! The last cycle in full, for whoever asks this replica about it while it leads. Pure but for [`Reign::show`], which
//! puts it on a `watch` channel.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::cycle::Decision;
use super::reign::Reign;
use crate::api::v1alpha1::FleetStatus;
use crate::classify::Metadata;
use crate::classify::memory::View;
use crate::clock;
use crate::model::ServerUrl;
use crate::status::writer::WriteReport;

/// What a cycle found and did.
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
    /// Who was asked.
    pub endpoints: EndpointsReport,
    /// What became of the statuses.
    pub statuses: StatusesReport,
    /// In rank order, the held ones last; empty if nothing is classified.
    pub hot: Vec<ServerUrl>,
    /// In registry order.
    pub cold: Vec<ServerUrl>,
    /// As it stands in Redis, with the same names.
    pub metadata: Option<Metadata>,
    /// The status of the fleet after the cycle.
    #[serde(skip)]
    pub fleet: FleetStatus,
}

/// Who was asked.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointsReport {
    /// How many are known.
    pub known: usize,
    /// Those of them that are silent.
    pub silent: Vec<String>,
}

/// What became of the statuses that said something new.
#[derive(Clone, Debug, Serialize)]
pub struct StatusesReport {
    /// As in [`WriteReport`].
    pub written: usize,
    /// As in [`WriteReport`].
    pub overtaken: usize,
    /// As in [`WriteReport`].
    pub fenced: usize,
    /// As in [`WriteReport`].
    pub failed: usize,
}

impl Reign<'_> {
    /// Shows a cycle to whoever looks; nothing is made for nobody.
    pub(super) fn show(
        &self,
        outcome: &'static str,
        decision: Decision,
        view: &View,
        written: WriteReport,
        took: Duration,
    ) {
        let shown = &self.controller.outputs.cycles;
        if shown.is_closed() {
            return;
        }
        let (missing, kept_until) = match decision {
            Decision::Classify => (None, None),
            Decision::KeepAlive { missing, until } => (Some(missing.reason()), Some(until.to_string())),
            Decision::GiveUp { missing } => (Some(missing.reason()), None),
        };
        let WriteReport { written, overtaken, fenced, failed } = written;
        let found = self.classification.as_ref();
        let report = CycleReport {
            ended_at: clock::now().to_string(),
            duration_seconds: took.as_secs_f64(),
            outcome,
            missing,
            kept_until,
            endpoints: EndpointsReport {
                known: view.known,
                silent: view.silent.iter().map(|silent| silent.endpoint.to_string()).collect(),
            },
            statuses: StatusesReport { written, overtaken, fenced, failed },
            hot: found.map(|found| found.hot().cloned().collect()).unwrap_or_default(),
            cold: found.map(|found| found.cold().cloned().collect()).unwrap_or_default(),
            metadata: found.map(|found| found.metadata.clone()),
            fleet: FleetStatus::default(),
        };
        shown.send_replace(Some(Arc::new(report)));
    }
}
