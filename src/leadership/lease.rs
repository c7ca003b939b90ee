//! What to do about the Lease, decided from what was seen of it. Pure.
//!
//! In: the Lease as last seen and since when, what this process holds, the time. Out: one [`Move`]. It must not read a
//! clock, and it must not believe the Lease's own times: two machines' clocks may be an hour apart, and a time in a
//! Lease may be edited by hand (SPEC section 5).

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::record;
use crate::model::{Monotonic, Term};

/// The longest recorded duration that is honoured, so that a number edited by hand cannot keep a dead leader's Lease
/// for years.
pub const LONGEST_RECORDED: Duration = Duration::from_mins(10);

/// The three durations of leader election, checked against each other where the settings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long another's Lease must be seen unchanged before it is taken; 15 s.
    pub lease_duration: Duration,
    /// How long after the sending of its last good renewal a leader believes; 10 s. Less than the lease duration.
    pub renew_deadline: Duration,
    /// Between two renewals, and between two looks at another's Lease; 2 s. Less than the renew deadline.
    pub retry_period: Duration,
}

/// The Lease as last seen, and since when it has been seen like that.
#[derive(Clone, Debug)]
pub struct Observed {
    lease: Option<Lease>,
    since: Monotonic,
}

impl Observed {
    /// The first sight of it; `None` says that there is no Lease.
    #[must_use]
    pub const fn first(lease: Option<Lease>, now: Monotonic) -> Self {
        Self { lease, since: now }
    }

    /// Another sight of it. Says whether it is another one than before: whoever edited it, and whatever was edited,
    /// waiting for its end starts again.
    pub fn see(&mut self, lease: Option<Lease>, now: Monotonic) -> bool {
        let changed = version(self.lease.as_ref()) != version(lease.as_ref());
        if changed {
            self.since = now;
        }
        self.lease = lease;
        changed
    }

    /// The Lease itself, if there is one.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Its holder; `None` if there is no Lease or it was released.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        self.lease.as_ref().and_then(record::holder)
    }

    /// Its `leaseTransitions`, if they are a term.
    #[must_use]
    pub fn term(&self) -> Option<Term> {
        self.lease.as_ref().and_then(record::term)
    }

    /// Whether it names this holder and this term.
    #[must_use]
    pub fn is(&self, identity: &str, term: Term) -> bool {
        self.holder() == Some(identity) && self.term() == Some(term)
    }

    /// When it may be taken from a holder that is someone else.
    ///
    /// client-go waits for the duration that the Lease records: it is the holder that promised it, and replicas may
    /// run with different settings during an upgrade. So does this, but never less than our own setting (a 1 edited
    /// by hand must not take the Lease from a live leader) and never more than [`LONGEST_RECORDED`].
    #[must_use]
    pub fn expires(&self, timing: &Timing) -> Monotonic {
        let recorded = self.lease.as_ref().and_then(record::duration).unwrap_or_default();
        self.since.after(timing.lease_duration.max(recorded.min(LONGEST_RECORDED)))
    }
}

/// What tells one state of the Lease from every other. The uid tells a Lease from a later one of the same name.
fn version(lease: Option<&Lease>) -> Option<(Option<&str>, Option<&str>)> {
    lease.map(|lease| (lease.metadata.uid.as_deref(), lease.metadata.resource_version.as_deref()))
}

/// This process's side of it.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    /// What it writes as `holderIdentity`; new at each start, so that no other process ever writes it.
    pub identity: &'a str,
    /// Until when it believes that it leads; `None` while it does not.
    pub belief: Option<Monotonic>,
    /// Whether an acquisition was sent whose outcome is not known: nothing more is sent before the Lease is read.
    pub unsettled: bool,
    /// The next regular call: a renewal, or a standby's look at the Lease when its watch was silent.
    pub next: Monotonic,
    /// No acquisition before this: the last one failed.
    pub not_before: Monotonic,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing, until this moment or until something is seen.
    Wait {
        /// When to decide again.
        until: Monotonic,
    },
    /// Read the Lease.
    Read,
    /// Take it, at a new term.
    Acquire(Claim),
    /// Write the own term back.
    Renew,
    /// Stop leading.
    StepDown(Lost),
}

/// Why a Lease may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// There is none.
    NoLease,
    /// It has no holder.
    Released,
    /// Its holder has not renewed it for its duration.
    Expired,
    /// It names this process, which does not believe any more.
    TakenBack,
}

/// Why a process stops leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No renewal was confirmed in time.
    Deadline,
    /// The Lease is gone.
    Deleted,
    /// Someone else emptied the holder.
    Emptied,
    /// Someone else holds it.
    Taken,
    /// A store refused the term, and the Lease is not ours at that term.
    Refused,
    /// The process ends.
    Stopping,
}

impl Claim {
    /// A stable word for the log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NoLease => "NoLease",
            Self::Released => "Released",
            Self::Expired => "Expired",
            Self::TakenBack => "TakenBack",
        }
    }

    /// The same for people.
    #[must_use]
    pub fn in_words(reason: &str) -> &'static str {
        match reason {
            "NoLease" => "there was no Lease",
            "Released" => "the Lease was free",
            "Expired" => "its holder had not renewed the Lease in time",
            _ => "it had lost its own Lease and takes it back",
        }
    }
}

impl Lost {
    /// A stable word for the log and for metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Deadline => "Deadline",
            Self::Deleted => "Deleted",
            Self::Emptied => "Emptied",
            Self::Taken => "Taken",
            Self::Refused => "Refused",
            Self::Stopping => "Stopping",
        }
    }

    /// The same for people.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Deadline => "it could not renew the Lease in time",
            Self::Deleted => "the Lease was deleted",
            Self::Emptied => "somebody else emptied the Lease",
            Self::Taken => "somebody else holds the Lease",
            Self::Refused => "a store refused its term, and the Lease is not its own at that term",
            Self::Stopping => "the process was asked to stop",
        }
    }
}

/// Decides. `observed` is `None` until the Lease was read once.
#[must_use]
pub fn evaluate(observed: Option<&Observed>, own: &Own<'_>, now: Monotonic, timing: &Timing) -> Move {
    match own.belief {
        Some(until) => while_leading(observed, own, until, now),
        None => while_standing_by(observed, own, now, timing),
    }
}

fn while_leading(observed: Option<&Observed>, own: &Own<'_>, until: Monotonic, now: Monotonic) -> Move {
    if now >= until {
        return Move::StepDown(Lost::Deadline);
    }
    let Some((observed, _)) = observed.and_then(|seen| Some((seen, seen.lease()?))) else {
        return Move::StepDown(Lost::Deleted);
    };
    match observed.holder() {
        None => Move::StepDown(Lost::Emptied),
        Some(holder) if holder != own.identity => Move::StepDown(Lost::Taken),
        // Also if the number was edited by hand: nobody else writes this identity, so the renewal mends it.
        Some(_) if now >= own.next => Move::Renew,
        Some(_) => Move::Wait { until: own.next.min(until) },
    }
}

fn while_standing_by(observed: Option<&Observed>, own: &Own<'_>, now: Monotonic, timing: &Timing) -> Move {
    let look = if now >= own.next { Move::Read } else { Move::Wait { until: own.next } };
    let Some(observed) = observed.filter(|_| !own.unsettled) else { return look };
    let claim = match observed.holder() {
        None if observed.lease().is_none() => Claim::NoLease,
        None => Claim::Released,
        Some(holder) if holder == own.identity => Claim::TakenBack,
        Some(_) if now >= observed.expires(timing) => Claim::Expired,
        Some(_) => {
            return match look {
                Move::Wait { until } => Move::Wait { until: until.min(observed.expires(timing)) },
                read => read,
            };
        }
    };
    if now >= own.not_before { Move::Acquire(claim) } else { Move::Wait { until: own.not_before } }
}

#[cfg(test)]
mod tests;
