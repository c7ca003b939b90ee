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

/// What a holder writes into the Lease.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRecord<'a> {
    /// `holderIdentity`.
    pub holder: &'a str,
    /// `leaseTransitions`.
    pub term: Term,
    /// `leaseDurationSeconds`, rounded up to whole seconds.
    pub duration: Duration,
    /// `acquireTime`, for display.
    pub acquired: UnixTime,
    /// `renewTime`, for display.
    pub renewed: UnixTime,
}

/// The Lease to create.
pub fn create(namespace: &str, name: &str, record: &LeaseRecord<'_>) -> Lease {
    let (namespace, name) = (Some(namespace.to_owned()), Some(name.to_owned()));
    let metadata = ObjectMeta { namespace, name, ..ObjectMeta::default() };
    update(&Lease { metadata, spec: None }, record)
}

/// The Lease to replace the one that was read.
pub fn update(read: &Lease, record: &LeaseRecord<'_>) -> Lease {
    let whole_seconds = record.duration.as_secs() + u64::from(record.duration.subsec_nanos() > 0);
    modified(read, |spec| {
        spec.holder_identity = Some(record.holder.to_owned());
        spec.lease_transitions = Some(record.term.get());
        spec.lease_duration_seconds = Some(i32::try_from(whole_seconds.max(1)).unwrap_or(i32::MAX));
        spec.acquire_time = Some(micro_time(record.acquired));
        spec.renew_time = Some(micro_time(record.renewed));
    })
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

/// What to assume for a Lease without a duration: the default of client-go, and ours.
pub const USUAL_DURATION: Duration = Duration::from_secs(15);

/// `renewTime`, for display only: the election never uses another machine's clock.
pub fn renewed(lease: &Lease) -> Option<UnixTime> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| UnixTime::from(time.0))
}

/// `leaseDurationSeconds`, if it is positive.
pub fn duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
