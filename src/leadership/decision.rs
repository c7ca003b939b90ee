//! Decides what this replica does next about the Lease. Pure.
//!
//! Input: the Lease as last observed and since when it has not changed, this replica's own state, and the time. Output:
//! one [`Action`]. The times recorded in the Lease are never used: two machines' clocks may differ by an hour, and
//! anyone may edit the Lease (docs/contract.md#leadership).

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::record;
use crate::model::{Monotonic, Term};

/// The longest recorded lease duration that is respected, so that an edited number cannot protect a dead leader's Lease
/// for years.
const MAX_RECORDED_DURATION: Duration = Duration::from_mins(10);

/// The timing of leader election; the names are those of client-go. The command line checks that `retry_period` is
/// well below `renew_deadline`, and `renew_deadline` below `lease_duration`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTiming {
    /// How long another replica's Lease must stay unchanged before this replica acquires it. Default 15 s.
    pub lease_duration: Duration,
    /// How long a leader keeps leading after it sent its last successful renewal. Default 10 s.
    pub renew_deadline: Duration,
    /// The time between two renewals, or between two reads by a standby. Default 2 s.
    pub retry_period: Duration,
}

/// The Lease as last observed, and since when it has been unchanged.
#[derive(Clone, Debug)]
pub struct ObservedLease {
    lease: Option<Lease>,
    unchanged_since: Monotonic,
}

impl ObservedLease {
    /// The first observation; `None` means that the Lease does not exist.
    pub const fn new(lease: Option<Lease>, now: Monotonic) -> Self {
        Self { lease, unchanged_since: now }
    }

    /// Another observation. Returns whether the Lease has changed, no matter who changed what: any change restarts the
    /// wait for its expiry.
    pub fn update(&mut self, lease: Option<Lease>, now: Monotonic) -> bool {
        let changed = version(self.lease.as_ref()) != version(lease.as_ref());
        if changed {
            self.unchanged_since = now;
        }
        self.lease = lease;
        changed
    }

    /// The Lease; `None` if it does not exist.
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The holder; `None` if the Lease does not exist or has been released.
    pub fn holder(&self) -> Option<&str> {
        self.lease.as_ref().and_then(record::holder)
    }

    /// `leaseTransitions`, if it is a valid term.
    pub fn term(&self) -> Option<Term> {
        self.lease.as_ref().and_then(record::term)
    }

    /// Whether this holder has the Lease at this term.
    pub fn is_held_by(&self, identity: &str, term: Term) -> bool {
        self.holder() == Some(identity) && self.term() == Some(term)
    }

    /// When this replica may acquire the Lease from another holder that does not renew it.
    ///
    /// Like client-go, this respects the duration recorded in the Lease: the holder relies on it, and replicas may have
    /// different settings during an upgrade. The wait is never shorter than our own setting, so that an edited number
    /// cannot take the Lease from a live leader, nor longer than ten minutes.
    pub fn expires(&self, timing: &LeaseTiming) -> Monotonic {
        let recorded = self.lease.as_ref().and_then(record::duration).unwrap_or_default();
        self.unchanged_since.after(timing.lease_duration.max(recorded.min(MAX_RECORDED_DURATION)))
    }
}

/// Identifies one version of the Lease. The uid distinguishes it from a later Lease of the same name.
fn version(lease: Option<&Lease>) -> Option<(Option<&str>, Option<&str>)> {
    lease.map(|lease| (lease.metadata.uid.as_deref(), lease.metadata.resource_version.as_deref()))
}

/// This replica's own state.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaState<'a> {
    /// The identity that it writes as holder; unique to this process.
    pub identity: &'a str,
    /// While it leads: when its leadership expires unless it is renewed.
    pub leads_until: Option<Monotonic>,
    /// While its term is refused by a store: when it may raise it.
    pub raise_at: Option<Monotonic>,
    /// Whether it has sent a write with unknown outcome. A standby then reads the Lease before it writes again.
    pub pending: bool,
    /// When the next renewal, or the next read by a standby, is due.
    pub next_call: Monotonic,
    /// When it may try to acquire the Lease again.
    pub acquire_not_before: Monotonic,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing, until this time or until something is observed.
    Wait {
        /// When to decide again.
        until: Monotonic,
    },
    /// Read the Lease.
    Read,
    /// Write the Lease with a new term.
    Acquire(AcquireReason),
    /// Write the Lease with the present term.
    Renew,
    /// Stop leading.
    StepDown(LossReason),
}

/// Why this replica acquires a new term. The names appear in the log, the texts in Events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum AcquireReason {
    /// The Lease does not exist.
    #[strum(to_string = "there was no Lease")]
    NoLease,
    /// The Lease has no holder.
    #[strum(to_string = "the Lease was free")]
    Released,
    /// The holder has not renewed the Lease for its duration.
    #[strum(to_string = "its holder had not renewed the Lease in time")]
    Expired,
    /// The Lease names this process, which has stopped leading.
    #[strum(to_string = "the Lease still named this process")]
    TakenBack,
    /// This process leads, and a store refuses its term: it raises the term and keeps leading.
    #[strum(to_string = "a store refused its term")]
    TermRefused,
}

/// Why this replica stops leading. The names appear in the log and as label values of a metric, the texts in Events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::Display)]
pub enum LossReason {
    /// No renewal succeeded in time.
    #[strum(to_string = "it could not renew the Lease in time")]
    Deadline,
    /// The Lease has been deleted.
    #[strum(to_string = "the Lease was deleted")]
    Deleted,
    /// Another client cleared the holder.
    #[strum(to_string = "another client cleared the holder of the Lease")]
    Emptied,
    /// The Lease has another holder.
    #[strum(to_string = "the Lease has another holder")]
    Taken,
    /// A store refused the term, and the Lease is not held by this process at that term.
    #[strum(to_string = "a store refused its term, and it no longer holds the Lease at that term")]
    Refused,
    /// The process is stopping.
    #[strum(to_string = "the process was asked to stop")]
    Stopping,
}

/// Decides what to do next. `observed` is `None` until the Lease has been read once.
pub fn next_action(
    observed: Option<&ObservedLease>,
    replica: &ReplicaState<'_>,
    now: Monotonic,
    timing: &LeaseTiming,
) -> Action {
    match replica.leads_until {
        Some(until) => leader_action(observed.and_then(ObservedLease::lease), replica, until, now),
        None => standby_action(observed, replica, now, timing),
    }
}

fn leader_action(lease: Option<&Lease>, replica: &ReplicaState<'_>, until: Monotonic, now: Monotonic) -> Action {
    if now >= until {
        return Action::StepDown(LossReason::Deadline);
    }
    let Some(lease) = lease else { return Action::StepDown(LossReason::Deleted) };
    match record::holder(lease) {
        None => Action::StepDown(LossReason::Emptied),
        Some(holder) if holder != replica.identity => Action::StepDown(LossReason::Taken),
        // The term in the Lease does not matter here. No other process writes our identity, so a different term was
        // edited by hand, and the renewal restores ours.
        Some(_) if now >= replica.next_call => Action::Renew,
        Some(_) => match replica.raise_at {
            Some(raise_at) if now >= raise_at => Action::Acquire(AcquireReason::TermRefused),
            raise_at => Action::Wait { until: replica.next_call.min(until).min(raise_at.unwrap_or(until)) },
        },
    }
}

fn standby_action(
    observed: Option<&ObservedLease>,
    replica: &ReplicaState<'_>,
    now: Monotonic,
    timing: &LeaseTiming,
) -> Action {
    let read_or_wait = |until| if now >= replica.next_call { Action::Read } else { Action::Wait { until } };
    let Some(observed) = observed.filter(|_| !replica.pending) else { return read_or_wait(replica.next_call) };
    let reason = match observed.holder() {
        None if observed.lease().is_none() => AcquireReason::NoLease,
        None => AcquireReason::Released,
        Some(holder) if holder == replica.identity => AcquireReason::TakenBack,
        Some(_) if now >= observed.expires(timing) => AcquireReason::Expired,
        Some(_) => return read_or_wait(replica.next_call.min(observed.expires(timing))),
    };
    if now >= replica.acquire_not_before {
        Action::Acquire(reason)
    } else {
        Action::Wait { until: replica.acquire_not_before }
    }
}

#[cfg(test)]
mod tests;
