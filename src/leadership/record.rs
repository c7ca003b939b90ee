//! The Lease object: what is read from it, and what is sent. Pure.
//!
//! `leaseTransitions` is the term (SPEC section 5). What other people put on the object (labels, annotations, owners)
//! is sent back as it was read; what is sent carries resourceVersion *and* uid, because a PUT without the uid makes a
//! deleted Lease anew, and so lets a dead leader's late renewal bring it back.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use crate::model::{Term, UnixTime};

/// What is to stand in the Lease.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// `holderIdentity`; empty releases it.
    pub holder: &'a str,
    /// `leaseTransitions`; `None` leaves what stands there.
    pub term: Option<Term>,
    /// `leaseDurationSeconds`, rounded up to whole seconds.
    pub duration: Duration,
    /// `acquireTime`; for people. `None` leaves what stands there.
    pub acquired: Option<UnixTime>,
    /// `renewTime`; for people.
    pub renewed: UnixTime,
}

/// The object for a PUT on the Lease that was read: its metadata, and the record.
#[must_use]
pub fn update(read: &Lease, record: &Record<'_>) -> Lease {
    let mut lease = read.clone();
    // The server keeps its own; sending them back only costs bytes.
    lease.metadata.managed_fields = None;
    fill(lease.spec.get_or_insert_default(), record);
    lease
}

/// The object for a POST when there is no Lease.
#[must_use]
pub fn create(namespace: &str, name: &str, record: &Record<'_>) -> Lease {
    let metadata =
        ObjectMeta { namespace: Some(namespace.to_owned()), name: Some(name.to_owned()), ..ObjectMeta::default() };
    let mut spec = LeaseSpec::default();
    fill(&mut spec, record);
    Lease { metadata, spec: Some(spec) }
}

fn fill(spec: &mut LeaseSpec, record: &Record<'_>) {
    let whole = record.duration.as_secs() + u64::from(record.duration.subsec_nanos() > 0);
    spec.holder_identity = Some(record.holder.to_owned());
    spec.lease_duration_seconds = Some(i32::try_from(whole.max(1)).unwrap_or(i32::MAX));
    spec.renew_time = Some(micro_time(record.renewed));
    if let Some(acquired) = record.acquired {
        spec.acquire_time = Some(micro_time(acquired));
    }
    if let Some(term) = record.term {
        spec.lease_transitions = Some(term.get());
    }
}

fn micro_time(time: UnixTime) -> MicroTime {
    #[expect(clippy::cast_possible_truncation, reason = "a saturating cast is what is wanted")]
    let micros = (time.seconds() * 1e6).round() as i64;
    MicroTime(Timestamp::from_microsecond(micros).unwrap_or_else(|_| time.timestamp()))
}

/// `holderIdentity`; `None` if it is absent or empty: released.
#[must_use]
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// `leaseTransitions`, if they are a term.
#[must_use]
pub fn term(lease: &Lease) -> Option<Term> {
    lease.spec.as_ref()?.lease_transitions.and_then(|number| Term::new(i64::from(number)))
}

/// Whether `renewTime` is this time: so that a leader knows its own renewal again.
#[must_use]
pub fn was_renewed_at(lease: &Lease, time: UnixTime) -> bool {
    lease.spec.as_ref().is_some_and(|spec| spec.renew_time.as_ref() == Some(&micro_time(time)))
}

/// What a Lease that does not say its duration is taken to mean: the default of client-go, and ours.
pub const USUAL_DURATION: Duration = Duration::from_secs(15);

/// `renewTime`. For people: the election itself never goes by another's clock.
#[must_use]
pub fn renewed(lease: &Lease) -> Option<UnixTime> {
    lease.spec.as_ref()?.renew_time.as_ref().map(|time| UnixTime::from(time.0))
}

/// `leaseDurationSeconds`, if they are a duration.
#[must_use]
pub fn duration(lease: &Lease) -> Option<Duration> {
    let seconds = lease.spec.as_ref()?.lease_duration_seconds?;
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
