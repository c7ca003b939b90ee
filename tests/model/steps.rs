//! The possible steps: those of the program, as its own functions decide, and the faults. Their effects are in
//! [`crate::effects`].

use std::time::Duration;

use k8s_openapi::api::coordination::v1 as k8s;
use mcpgateway_operator::leadership::LeaseTiming;
use mcpgateway_operator::leadership::decision::{Action, ObservedLease, ReplicaState, next_action};
use mcpgateway_operator::model::{Monotonic, Term};

use crate::Safeguards;
use crate::world::{Lease, Lock, Redis, Replica, RequestKind, World};

/// One step or fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A replica reads the Lease, and settles a pending attempt.
    ReadLease(u8),
    /// A replica acquires the Lease. `early`: from a live holder, which was paused until its Lease expired. `blind`: Redis
    /// cannot be reached and the registry is not up to date.
    Acquire {
        by: u8,
        early: bool,
        blind: bool,
    },
    /// A leader renews the Lease.
    RenewLease(u8),
    /// A leader raises its refused term.
    RaiseTerm {
        by: u8,
        blind: bool,
    },
    Publish(u8),
    RenewLock(u8),
    WriteStatus(u8),
    /// A request is executed or refused, and answered.
    Deliver(usize),
    /// A crashed process starts again.
    Restart(u8),
    /// The foreign holder purges.
    Purge,

    /// A request is executed, but its response is lost.
    LoseResponse(usize),
    /// A request times out for its sender, and is still in flight.
    TimeOut(usize),
    /// A leadership expires before it is renewed: the process is paused or cut off.
    Expire(u8),
    Crash(u8),
    DeleteLease,
    ClearHolder,
    DropLeaseTerm,
    /// Redis loses everything.
    Flush,
    /// Saves the state to which Redis may fall back later.
    Save,
    FallBack,
    RaiseRedisTerm,
    DropRedisTerm,
    /// Someone writes a high term into the status; `far`: so high that it does not count.
    RaiseStatus {
        far: bool,
    },
    ForeignHolderTakesLock {
        publishes: bool,
    },
    ForeignHolderDecidesToPurge,
    /// The lock expires or is deleted.
    FreeLock,
}

impl Step {
    /// The number of faults that this step counts as.
    pub fn cost(self) -> u8 {
        match self {
            Self::Acquire { early, blind, .. } => u8::from(early) + u8::from(blind),
            Self::RaiseTerm { blind, .. } => u8::from(blind),
            Self::ReadLease(_)
            | Self::RenewLease(_)
            | Self::Publish(_)
            | Self::RenewLock(_)
            | Self::WriteStatus(_)
            | Self::Deliver(_)
            | Self::Restart(_)
            | Self::Purge => 0,
            _ => 1,
        }
    }
}

const TIMING: LeaseTiming = LeaseTiming {
    lease_duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};
const NEVER: Monotonic = Monotonic::at(Duration::from_secs(1_000_000));

pub fn name(replica: u8) -> &'static str {
    ["replica-0", "replica-1"].get(usize::from(replica)).copied().unwrap_or("another")
}

/// The Lease as the program observes it.
pub fn observed(lease: Option<Lease>) -> ObservedLease {
    let object = lease.map(|Lease { holder, term }| k8s::Lease {
        spec: Some(k8s::LeaseSpec {
            holder_identity: holder.map(|holder| name(holder).to_owned()),
            lease_transitions: term.map(Term::get),
            ..k8s::LeaseSpec::default()
        }),
        ..k8s::Lease::default()
    });
    ObservedLease::new(object, Monotonic::at(Duration::ZERO))
}

/// What a replica does next about the Lease. `expired`: it has been unchanged for its duration.
pub fn decide(id: u8, replica: &Replica, lease: Option<Lease>, expired: bool) -> Action {
    let state = ReplicaState {
        identity: name(id),
        leads_until: replica.leading.map(|_| NEVER),
        raise_at: None,
        pending: replica.pending.is_some(),
        next_call: if replica.leading.is_some() { Monotonic::at(Duration::ZERO) } else { NEVER },
        acquire_not_before: Monotonic::at(Duration::ZERO),
    };
    let now = Monotonic::at(Duration::from_secs(if expired { 3_600 } else { 1 }));
    next_action(Some(&observed(lease)), &state, now, &TIMING)
}

fn is_publish(kind: RequestKind) -> bool {
    matches!(kind, RequestKind::Publish { .. })
}

fn is_renew(kind: RequestKind) -> bool {
    matches!(kind, RequestKind::RenewLock { .. })
}

/// All possible steps of the program.
pub fn own_steps(world: &World, safeguards: Safeguards) -> Vec<Step> {
    let mut steps = Vec::new();
    for (id, replica) in (0..).zip(&world.replicas) {
        if !replica.up {
            steps.push(Step::Restart(id));
            continue;
        }
        let takes = world.waits(id, |kind| kind == RequestKind::WriteLease);
        if replica.observed_lease.is_none()
            || (replica.leading.is_none() && !replica.current)
            || replica.pending.is_some()
        {
            steps.push(Step::ReadLease(id));
        }
        let Some(term) = replica.leading else {
            if let Some(observed_lease) = replica.observed_lease.filter(|_| replica.current && !takes) {
                let holder_is_silent = observed_lease.and_then(|lease| lease.holder).is_none_or(|holder| {
                    world.replicas.get(usize::from(holder)).is_none_or(|other| !other.up || other.leading.is_none())
                });
                if matches!(decide(id, replica, observed_lease, holder_is_silent), Action::Acquire(_)) {
                    steps.push(Step::Acquire { by: id, early: false, blind: false });
                }
            }
            continue;
        };
        if world.lease != Some(Lease { holder: Some(id), term: Some(term) }) && !takes && replica.pending.is_none() {
            steps.push(Step::RenewLease(id));
        }
        if replica.refused && safeguards.raise && !takes && replica.pending.is_none() {
            steps.push(Step::RaiseTerm { by: id, blind: false });
        }
        // The controller loop does one thing at a time; the task that keeps the lock is independent of it.
        let loop_waits = world.waits(id, is_publish) || world.waits(id, |kind| kind == RequestKind::Status);
        // Only one request at a time may be the first of a token (`Store::first_hold`).
        let first = replica.held != Some(term);
        let publishes_first = first && world.waits(id, is_renew);
        if (replica.base.is_none() || replica.sent < 2) && !loop_waits && !publishes_first {
            steps.push(Step::Publish(id));
        }
        let as_expected = world.redis.lock == Lock::Ours(term)
            && world.redis.term == Some(term)
            && (replica.base.is_none() || (world.redis.hot == replica.base && world.redis.cold == replica.base));
        let renews_first = first && world.waits(id, is_publish);
        if !as_expected
            && !renews_first
            && !world.waits(id, is_renew)
            && world.redis.lock != (Lock::ForeignHolder { publishes: true })
        {
            steps.push(Step::RenewLock(id));
        }
        if world.status != Some(term.get()) && !loop_waits {
            steps.push(Step::WriteStatus(id));
        }
    }
    steps.extend((0..world.requests.len()).map(Step::Deliver));
    if world.purge {
        steps.push(Step::Purge);
    }
    steps
}

/// All possible faults.
pub fn faults(world: &World) -> Vec<Step> {
    let mut steps = Vec::new();
    for (id, replica) in (0..).zip(&world.replicas).filter(|(_, replica)| replica.up) {
        steps.push(Step::Crash(id));
        if replica.leading.is_some() {
            steps.push(Step::Expire(id));
            if replica.refused && !world.waits(id, |kind| kind == RequestKind::WriteLease) && replica.pending.is_none()
            {
                steps.push(Step::RaiseTerm { by: id, blind: true });
            }
        } else if let Some(observed_lease) = replica
            .observed_lease
            .filter(|_| replica.current && !world.waits(id, |kind| kind == RequestKind::WriteLease))
        {
            let alive = matches!(decide(id, replica, observed_lease, false), Action::Acquire(_));
            let expired = matches!(decide(id, replica, observed_lease, true), Action::Acquire(_));
            if expired {
                steps.push(Step::Acquire { by: id, early: !alive, blind: false });
                steps.push(Step::Acquire { by: id, early: !alive, blind: true });
            }
        }
    }
    for number in 0..world.requests.len() {
        if world.requests[number].awaited {
            steps.extend([Step::LoseResponse(number), Step::TimeOut(number)]);
        }
    }
    if world.lease.is_some() {
        steps.extend([Step::DeleteLease, Step::ClearHolder, Step::DropLeaseTerm]);
    }
    if world.redis != Redis::EMPTY {
        steps.extend([Step::Flush, Step::FreeLock]);
        if world.snapshot.is_none() {
            steps.push(Step::Save);
        }
    }
    if world.snapshot.is_some() {
        steps.push(Step::FallBack);
    }
    steps.extend([Step::RaiseRedisTerm, Step::DropRedisTerm]);
    steps.extend([Step::RaiseStatus { far: false }, Step::RaiseStatus { far: true }]);
    if world.redis.lock == Lock::Free {
        steps.extend([
            Step::ForeignHolderTakesLock { publishes: false },
            Step::ForeignHolderTakesLock { publishes: true },
        ]);
    }
    if matches!(world.redis.lock, Lock::ForeignHolder { .. }) && !world.purge {
        steps.push(Step::ForeignHolderDecidesToPurge);
    }
    steps
}
