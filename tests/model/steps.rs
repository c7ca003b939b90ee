//! The possible steps: those of the program, as its own functions decide, and the faults. Their effects are in
//! [`crate::effects`].

use std::time::Duration;

use k8s_openapi::api::coordination::v1 as k8s;
use mcpgateway_operator::leadership::LeaseTiming;
use mcpgateway_operator::leadership::decision::{Action, ObservedLease, ReplicaState, next_action};
use mcpgateway_operator::model::{Monotonic, Term};

use crate::Parts;
use crate::world::{Ask, Lease, Lock, Redis, Replica, World};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Reads the Lease, and settles an attempt with unknown outcome.
    Look(u8),
    /// Takes the Lease. `early`: from a live holder, which was paused for longer than the lease duration.
    /// `blind`: Redis is unreachable and the registry is out of date.
    Acquire {
        by: u8,
        early: bool,
        blind: bool,
    },
    /// A leader's renewal of the Lease.
    Keep(u8),
    /// A leader whose term was refused raises it.
    Raise {
        by: u8,
        blind: bool,
    },
    Publish(u8),
    Renew(u8),
    WriteStatus(u8),
    /// A store executes or refuses a call, and answers.
    Deliver(usize),
    /// A dead process starts again.
    Restart(u8),
    /// The foreign holder's purge is executed.
    Purge,

    /// A call is executed, but its answer is lost.
    LoseAnswer(usize),
    /// A call takes longer than its sender waits. It is still in flight.
    GiveUp(usize),
    /// A leader could not renew in time: it was paused or cut off.
    StopBelieving(u8),
    Crash(u8),
    DeleteLease,
    EmptyLease,
    LowerLease,
    /// Redis loses everything.
    Flush,
    /// Saves the state of Redis that [`Step::FallBack`] restores.
    Save,
    FallBack,
    RaiseRedisTerm,
    DropRedisTerm,
    /// Somebody writes a high term into the status. `far`: so high that it is not counted.
    RaiseStatus {
        far: bool,
    },
    RivalTakes {
        publishes: bool,
    },
    RivalDecidesToPurge,
    /// The lock expires, or somebody deletes it.
    FreeLock,
}

impl Step {
    /// How many faults this step counts as.
    pub fn cost(self) -> u8 {
        match self {
            Self::Acquire { early, blind, .. } => u8::from(early) + u8::from(blind),
            Self::Raise { blind, .. } => u8::from(blind),
            Self::Look(_)
            | Self::Keep(_)
            | Self::Publish(_)
            | Self::Renew(_)
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
    ["replica-0", "replica-1"].get(usize::from(replica)).copied().unwrap_or("somebody")
}

/// The Lease as the program sees it.
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

/// What a replica decides about the Lease. `expired`: it has seen the Lease unchanged for the lease duration.
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

fn is_publish(ask: Ask) -> bool {
    matches!(ask, Ask::Publish { .. })
}

fn is_renew(ask: Ask) -> bool {
    matches!(ask, Ask::Renew { .. })
}

/// The steps that the program can take.
pub fn own_steps(world: &World, parts: Parts) -> Vec<Step> {
    let mut steps = Vec::new();
    for (id, replica) in (0..).zip(&world.replicas) {
        if !replica.up {
            steps.push(Step::Restart(id));
            continue;
        }
        let takes = world.waits(id, |ask| ask == Ask::TakeLease);
        if replica.seen.is_none() || (replica.leading.is_none() && !replica.current) || replica.pending.is_some() {
            steps.push(Step::Look(id));
        }
        let Some(term) = replica.leading else {
            if let Some(seen) = replica.seen.filter(|_| replica.current && !takes) {
                let holder_is_silent = seen.and_then(|lease| lease.holder).is_none_or(|holder| {
                    world.replicas.get(usize::from(holder)).is_none_or(|other| !other.up || other.leading.is_none())
                });
                if matches!(decide(id, replica, seen, holder_is_silent), Action::Acquire(_)) {
                    steps.push(Step::Acquire { by: id, early: false, blind: false });
                }
            }
            continue;
        };
        if world.lease != Some(Lease { holder: Some(id), term: Some(term) }) && !takes && replica.pending.is_none() {
            steps.push(Step::Keep(id));
        }
        if replica.refused && parts.raise && !takes && replica.pending.is_none() {
            steps.push(Step::Raise { by: id, blind: false });
        }
        // The loop makes one call at a time. The keeper of the lock runs beside it.
        let loop_waits = world.waits(id, is_publish) || world.waits(id, |ask| ask == Ask::Status);
        // The first call under a token must end before the second begins (`Store::first_hold`).
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
            steps.push(Step::Renew(id));
        }
        if world.status != Some(term.get()) && !loop_waits {
            steps.push(Step::WriteStatus(id));
        }
    }
    steps.extend((0..world.calls.len()).map(Step::Deliver));
    if world.purge {
        steps.push(Step::Purge);
    }
    steps
}

/// The faults that can happen.
pub fn faults(world: &World) -> Vec<Step> {
    let mut steps = Vec::new();
    for (id, replica) in (0..).zip(&world.replicas).filter(|(_, replica)| replica.up) {
        steps.push(Step::Crash(id));
        if replica.leading.is_some() {
            steps.push(Step::StopBelieving(id));
            if replica.refused && !world.waits(id, |ask| ask == Ask::TakeLease) && replica.pending.is_none() {
                steps.push(Step::Raise { by: id, blind: true });
            }
        } else if let Some(seen) =
            replica.seen.filter(|_| replica.current && !world.waits(id, |ask| ask == Ask::TakeLease))
        {
            let alive = matches!(decide(id, replica, seen, false), Action::Acquire(_));
            let expired = matches!(decide(id, replica, seen, true), Action::Acquire(_));
            if expired {
                steps.push(Step::Acquire { by: id, early: !alive, blind: false });
                steps.push(Step::Acquire { by: id, early: !alive, blind: true });
            }
        }
    }
    for number in 0..world.calls.len() {
        if world.calls[number].awaited {
            steps.extend([Step::LoseAnswer(number), Step::GiveUp(number)]);
        }
    }
    if world.lease.is_some() {
        steps.extend([Step::DeleteLease, Step::EmptyLease, Step::LowerLease]);
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
        steps.extend([Step::RivalTakes { publishes: false }, Step::RivalTakes { publishes: true }]);
    }
    if matches!(world.redis.lock, Lock::ForeignHolder { .. }) && !world.purge {
        steps.push(Step::RivalDecidesToPurge);
    }
    steps
}
