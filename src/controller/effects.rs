//! What happens to the leader's loop, and what it asks for: the values that pass between the pure [`super::state`] and
//! the [`super::driver`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::report::CycleReport;
use crate::api::v1alpha1::{FleetStatus, MirrorStatus};
use crate::classify::Collection;
use crate::fleet::Problems;
use crate::fleet::object::{FleetObject, FleetWrite};
use crate::leadership::{LeadershipToken, TermRefusal};
use crate::model::clocks::ClockSkew;
use crate::model::{FleetEvent, Monotonic, Problem, ServerUrl, Term, UnixTime};
use crate::poll::Poll;
use crate::poll::compliance::{Compliance, Traces};
use crate::publish::{LockState, NotWritten, Publication, Published, Retention};
use crate::registration::outcome::Outcomes;
use crate::registry::RegistrySnapshot;
use crate::status::StatusPlan;
use crate::status::writer::WriteReport;

/// One moment, by the monotonic clock and as reference time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    /// For waiting and patience.
    pub(super) monotonic: Monotonic,
    /// The reference time, for timestamps and the ages of uses.
    pub(super) time: UnixTime,
}

impl Moment {
    /// The reference time at a later moment.
    pub(super) fn time_at(&self, later: Monotonic) -> UnixTime {
        self.time.after(later.since(self.monotonic))
    }
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The time of [`super::state::LeaderState::deadline`] has come.
    Timer,
    RegistryChanged(Arc<RegistrySnapshot>),
    /// The worker endpoints have been discovered, or others were found.
    EndpointsDiscovered,
    FleetObjectChanged(FleetObject),
    ProblemsChanged(Problems),
    /// Registrations in `ContextForge` have other outcomes.
    RegistrationsChanged(Arc<Outcomes>),
    /// There is something else to say of mirrored objects.
    MirrorChanged(Option<MirrorStatus>),
    /// The Redis lock is in another state.
    LockChanged(LockState),
    /// Redis does not hold what it should.
    StoreDiffers,
    /// A store refused the term, and leadership goes on at a higher one.
    TermRaised(LeadershipToken),
    /// [`Effect::Collect`] ended: what was reported, the servers as they were when it began, and which clocks differ.
    Collected(Collection, Arc<[ServerUrl]>, Vec<ClockSkew>),
    /// [`Effect::Publish`] ended; at which term it was sent, and its result.
    Published(Term, Result<Published, NotWritten>),
    /// [`Effect::Withdraw`] ended, likewise.
    Withdrawn(Term, Result<(), NotWritten>),
    /// [`Effect::WriteStatuses`] ended, likewise.
    StatusesWritten(Term, WriteReport),
    /// [`Effect::WriteFleetStatus`] ended, likewise.
    FleetStatusWritten(Term, FleetWrite),
    /// [`Effect::ReadPollTraces`] ended with an answer.
    PollTracesRead(Traces),
    LeadershipEnded,
}

/// Something to do. Those that take time end with an [`Event`].
#[derive(Debug)]
pub(super) enum Effect {
    Collect,
    /// Publish; at the longest until the given moment.
    Publish(Arc<Publication>, Option<Monotonic>),
    Withdraw,
    /// Have the keeper hold the Redis lock at the present term.
    HoldLock,
    /// Tell the keeper of the Redis lock what to keep alive.
    Retain(Retention),
    /// Compare a part of what is in Redis with what was published for this registry; a difference is
    /// [`Event::StoreDiffers`].
    ReadBack(Arc<RegistrySnapshot>),
    ReadPollTraces(Vec<Poll>),
    WriteStatuses(StatusPlan),
    /// Begin no further status write.
    StopWritingStatuses,
    WriteFleetStatus(Box<FleetStatus>),
    ReportRefusal(TermRefusal),
    Emit(FleetEvent),
    LogPublication(PublicationProgress),
    /// Log, and export as a metric, whether gateways poll by what is published.
    ReportCompliance {
        compliance: Compliance,
        changed: bool,
    },
    /// Log, annotate the Lease and emit an Event if the fleet object cannot be written; or log that it can again.
    ReportFleetWrites(Option<Problem>),
    /// Log which clocks differ now.
    LogClocks(Vec<ClockSkew>),
    /// Export gauges of the fleet, whether its object can be written, and how many servers have which planned interval.
    ReportGauges(Box<FleetStatus>, bool, BTreeMap<Duration, i64>),
    /// Log a turn; count it if it was a cycle.
    ReportTurn {
        cause: Cause,
        outcome: &'static str,
        statuses: WriteReport,
        took: Duration,
    },
    /// Show the last cycle to whoever asks this replica.
    ShowCycle(Box<CycleReport>),
}

/// Where the publication is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum PublicationProgress {
    /// This leader has not tried yet.
    #[default]
    NeverTried,
    /// It was published, but what Redis holds now is unknown: publish in full.
    BaseUnknown,
    /// Redis holds the last classification.
    Published,
    /// Redis did not take it.
    NotPublished(NotWritten),
    /// The fleet is suspended: nothing is in Redis.
    Withdrawn,
    /// The fleet is suspended, but the publication could not be removed.
    NotWithdrawn(NotWritten),
}

/// Why a turn is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The interval: a collection has ended, or there was nothing to ask.
    Cycle,
    /// Something changed: the registry, the fleet object, or what Redis holds.
    Change,
}
