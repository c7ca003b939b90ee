//! The fields of the Lease object: reading and writing them. Pure.
//!
//! `leaseTransitions` is the term (docs/contract.md#terms). Labels, annotations and owners that others have set are
//! sent back unchanged. An update carries resourceVersion *and* uid: a PUT without the uid re-creates a deleted Lease,
//! so a dead leader's late renewal would bring it back.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use crate::model::{Term, UnixTime};

/// What to assume for a Lease without a duration: the default of client-go, and ours.
const USUAL_DURATION: Duration = Duration::from_secs(15);
/// The annotation of a Lease whose holder cannot write the fleet object: why. Nothing else is certain to be written.
pub const FLEET_NOT_WRITTEN: &str = "mcpgateway.io/fleet-not-written";
/// How far the clocks of this machine and of the holder may differ.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub struct LeaseRecord<'a> {
    pub holder: &'a str,
    pub term: Term,
    /// Rounded up to whole seconds.
    pub duration: Duration,
    pub acquired: UnixTime,
    pub renewed: UnixTime,
    /// Why the holder cannot write the fleet object, if so.
    pub fleet_not_written: Option<&'a str>,
}

pub fn create(namespace: &str, name: &str, record: &LeaseRecord<'_>) -> Lease {
    let (namespace, name) = (Some(namespace.to_owned()), Some(name.to_owned()));
    let metadata = ObjectMeta { namespace, name, ..ObjectMeta::default() };
    update(&Lease { metadata, spec: None }, record)
}

pub fn update(read: &Lease, record: &LeaseRecord<'_>) -> Lease {
    let whole_seconds = record.duration.as_secs() + u64::from(record.duration.subsec_nanos() > 0);
    let mut lease = modified(read, |spec| {
        spec.holder_identity = Some(record.holder.to_owned());
        spec.lease_transitions = Some(record.term.get());
        spec.lease_duration_seconds = Some(i32::try_from(whole_seconds.max(1)).unwrap_or(i32::MAX));
        spec.acquire_time = Some(micro_time(record.acquired));
        spec.renew_time = Some(micro_time(record.renewed));
    });
    let annotations = lease.metadata.annotations.get_or_insert_default();
    match record.fleet_not_written {
        Some(why) => annotations.insert(FLEET_NOT_WRITTEN.to_owned(), why.to_owned()),
        None => annotations.remove(FLEET_NOT_WRITTEN),
    };
    lease.metadata.annotations = lease.metadata.annotations.filter(|annotations| !annotations.is_empty());
    lease
}

/// The Lease that was read, without a holder: another replica may acquire it at once.
pub fn release(read: &Lease, now: UnixTime) -> Lease {
    modified(read, |spec| {
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(micro_time(now));
    })
}

fn modified(read: &Lease, modify: impl FnOnce(&mut LeaseSpec)) -> Lease {
    let mut lease = read.clone();
    // The API server keeps its own copy of these.
    lease.metadata.managed_fields = None;
    modify(lease.spec.get_or_insert_default());
    lease
}

fn micro_time(time: UnixTime) -> MicroTime {
    #[expect(clippy::cast_possible_truncation, reason = "a saturating cast is what is wanted")]
    let micros = (time.seconds() * 1e6).round() as i64;
    MicroTime(Timestamp::from_microsecond(micros).unwrap_or_else(|_| time.timestamp()))
}

/// `holderIdentity`; `None` if it is absent or empty, which means that the Lease has been released.
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// `leaseTransitions`, if it is a valid term.
pub fn term(lease: &Lease) -> Option<Term> {
    lease.spec.as_ref()?.lease_transitions.and_then(|number| Term::new(i64::from(number)))
}

/// Whether `renewTime` is exactly this time: how a leader recognizes its own renewal.
pub fn was_renewed_at(lease: &Lease, time: UnixTime) -> bool {
    lease.spec.as_ref().is_some_and(|spec| spec.renew_time.as_ref() == Some(&micro_time(time)))
}

/// `renewTime`.
fn renewed(lease: &Lease) -> Option<UnixTime> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| UnixTime::from(time.0))
}

/// `leaseDurationSeconds`, if it is positive.
pub fn duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// What a Lease says of its fleet, for `status`, `doctor` and `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseFacts {
    pub view: LeaseView,
    pub term: Option<Term>,
    /// `renewTime`.
    pub renewed: Option<UnixTime>,
    /// Why the holder cannot write the fleet object, if so.
    pub fleet_not_written: Option<String>,
}

impl LeaseFacts {
    /// Reads a Lease, by the wall clock of this machine. `None`: there is none.
    pub fn new(lease: Option<&Lease>, now: UnixTime) -> Self {
        let annotations = lease.and_then(|lease| lease.metadata.annotations.as_ref());
        Self {
            view: LeaseView::new(lease, now),
            term: lease.and_then(term),
            renewed: lease.and_then(renewed),
            fleet_not_written: annotations.and_then(|annotations| annotations.get(FLEET_NOT_WRITTEN).cloned()),
        }
    }
}

/// Whether a replica leads, as `doctor` and `explain` show it, judged by the times in the Lease. The election itself
/// never compares the clock of another replica with its own: see [`super::decision`].
#[derive(Clone, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub enum LeaseView {
    /// There is no Lease.
    Missing,
    /// It was released.
    Free,
    /// This holder renews it.
    Held(String),
    /// Its holder has not renewed it for its duration and 30 s. `renewed`: the `renewTime`, if there is one.
    Expired { holder: String, renewed: Option<UnixTime> },
}

impl LeaseView {
    /// Judges a Lease by the wall clock of this machine. `None`: there is none.
    pub fn new(lease: Option<&Lease>, now: UnixTime) -> Self {
        let Some(lease) = lease else { return Self::Missing };
        let Some(holder) = holder(lease).map(str::to_owned) else { return Self::Free };
        let renewed = renewed(lease);
        let limit = duration(lease).unwrap_or(USUAL_DURATION) + CLOCK_DIFFERENCE;
        if renewed.is_some_and(|renewed| now.since(renewed) <= limit) {
            Self::Held(holder)
        } else {
            Self::Expired { holder, renewed }
        }
    }
}

#[cfg(test)]
mod tests;
