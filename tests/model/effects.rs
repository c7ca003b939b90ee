//! The effects of a step: on the stores, and on the replica that receives the answer.

use std::time::Duration;

use mcpgateway_operator::api::term_may_follow;
use mcpgateway_operator::leadership::decision::Action;
use mcpgateway_operator::model::{Monotonic, TakeoverDecision, Term};
use mcpgateway_operator::publish::TakeoverPolicy;
use mcpgateway_operator::publish::foreign_holder::{ForeignHolder, ForeignHolderHistory};
use mcpgateway_operator::publish::keys::LockHolder;

use crate::Parts;
use crate::fence::{Caller, FenceState, Verdict, check};
use crate::steps::{Step, decide, name, observed};
use crate::world::{Ask, Author, Call, Lease, Lock, Redis, Replica, World};

/// What a replica decides about a foreign holder after `idle` consecutive checks that found it idle.
fn takeover_decision(idle: u8) -> TakeoverDecision {
    let period = Duration::from_secs(10);
    let mut history = ForeignHolderHistory::new(TakeoverPolicy::Idle, period, period);
    let rival = ForeignHolder { kind: "string".into(), value: b"classifier_1".to_vec(), publishes: false };
    let checks = (0..idle).map(|check| history.foreign(&rival, Monotonic::at(period * u32::from(check))));
    checks.last().unwrap_or(TakeoverDecision::Wait)
}

impl World {
    /// The state after a step; `None` if the step changes nothing.
    pub fn after(&self, step: Step, parts: Parts) -> Option<Self> {
        let mut world = self.clone();
        world.faults = world.faults.checked_sub(step.cost())?;
        match step {
            Step::Look(id) => world.look(id),
            Step::Acquire { by, blind, .. } => {
                let term = world.next_term(by, blind, parts);
                world.send(by, term, Ask::TakeLease);
            }
            Step::Keep(id) => world.keep(id),
            Step::Raise { by, blind } => world.raise(by, blind, parts),
            Step::Publish(id) => world.publish(id),
            Step::Renew(id) => {
                let replica = &world.replicas[usize::from(id)];
                let (term, held) = (replica.leading?, replica.held);
                world.send(id, term, Ask::Renew { has_held: held == Some(term) });
            }
            Step::WriteStatus(id) => {
                let term = world.replicas[usize::from(id)].leading?;
                world.send(id, term, Ask::Status);
            }
            Step::Deliver(number) => {
                let call = world.calls.remove(number);
                world.deliver(call, parts);
            }
            Step::LoseAnswer(number) => {
                let call = world.calls.remove(number);
                world.deliver(Call { awaited: false, ..call }, parts);
                world.unknown(call);
            }
            Step::GiveUp(number) => {
                let call = world.calls.remove(number);
                world.calls.push(Call { awaited: false, fresh: false, ..call });
                world.calls.sort_unstable();
                world.unknown(call);
            }
            Step::Restart(id) => {
                let start = 1 - world.replicas[usize::from(id)].start;
                world.replicas[usize::from(id)] = Replica { start, ..Replica::new() };
            }
            Step::Crash(id) | Step::StopBelieving(id) => {
                let replica = &mut world.replicas[usize::from(id)];
                replica.stop_leading();
                replica.up = step == Step::StopBelieving(id);
                replica.pending = None;
                let sent = world.calls.iter_mut().filter(|call| call.from == id);
                sent.for_each(|call| call.awaited = false);
                world.calls.sort_unstable();
            }
            Step::DeleteLease => (world.lease, ()) = (None, world.lease_changed()),
            Step::EmptyLease => {
                world.lease = world.lease.map(|lease| Lease { holder: None, ..lease });
                world.lease_changed();
            }
            Step::LowerLease => {
                world.lease = world.lease.map(|lease| Lease { term: None, ..lease });
                world.lease_changed();
            }
            Step::Purge => {
                world.purge = false;
                (world.redis.hot, world.redis.cold) = (None, None);
            }
            Step::Flush => world.redis = Redis { forgot: true, ..Redis::EMPTY },
            Step::Save => world.snapshot = Some(Redis { accepted: None, newest: None, forgot: true, ..world.redis }),
            Step::FallBack => world.redis = world.snapshot.take()?,
            Step::RaiseRedisTerm => world.redis.term = Some(Term::after([highest(self)])),
            Step::DropRedisTerm => {
                world.redis.term = None;
                (world.redis.accepted, world.redis.newest, world.redis.forgot) = (None, None, true);
            }
            Step::RaiseStatus { far } => {
                let near = Term::after([highest(self)]).get();
                (world.status, world.status_accepted) = (Some(if far { 3_000_000 } else { near }), None);
                world.status_changed();
            }
            Step::RivalTakes { publishes } => {
                world.redis.lock = Lock::ForeignHolder { publishes };
                (world.redis.hot, world.redis.cold) = (None, None);
            }
            Step::RivalDecidesToPurge => world.purge = true,
            Step::FreeLock => world.redis.lock = Lock::Free,
        }
        (world != *self).then_some(world)
    }

    fn look(&mut self, id: u8) {
        let lease = self.lease;
        let replica = &mut self.replicas[usize::from(id)];
        (replica.seen, replica.current) = (Some(lease), true);
        replica.known.0.observe_lease(lease.and_then(|lease| lease.term));
        if let Some(term) = replica.pending.take()
            && observed(lease).is_held_by(name(id), term)
        {
            self.lead(id, term);
        }
    }

    fn lead(&mut self, id: u8, term: Term) {
        let replica = &mut self.replicas[usize::from(id)];
        if replica.leading.is_none() {
            (replica.sent, replica.base) = (0, None);
        }
        (replica.leading, replica.refused, replica.pending) = (Some(term), false, None);
        replica.known.0.observe_lease(Some(term));
    }

    fn next_term(&self, id: u8, blind: bool, parts: Parts) -> Term {
        let redis = self.redis.term.filter(|_| !blind);
        let status = self.status.filter(|_| !blind && parts.statuses);
        let statuses = |limit| status.filter(|term| i64::from(*term) <= limit).and_then(|term| Term::new(term.into()));
        self.replicas[usize::from(id)].known.0.next_term(redis, statuses)
    }

    /// A leader finds its Lease changed when it renews.
    fn keep(&mut self, id: u8) {
        let lease = self.lease;
        let replica = &mut self.replicas[usize::from(id)];
        replica.known.0.observe_lease(lease.and_then(|lease| lease.term));
        match decide(id, replica, lease, false) {
            Action::Renew => {
                let term = replica.leading;
                self.lease = Some(Lease { holder: Some(id), term });
                self.lease_changed();
            }
            Action::StepDown(_) => replica.stop_leading(),
            other => unreachable!("a leader that is due to renew: {other:?}"),
        }
    }

    fn raise(&mut self, id: u8, blind: bool, parts: Parts) {
        let lease = self.lease;
        let replica = &mut self.replicas[usize::from(id)];
        replica.known.0.observe_lease(lease.and_then(|lease| lease.term));
        let Some(term) = replica.leading else { return };
        if observed(lease).is_held_by(name(id), term) {
            let next = self.next_term(id, blind, parts);
            self.send(id, next, Ask::TakeLease);
        } else {
            replica.stop_leading();
        }
    }

    fn publish(&mut self, id: u8) {
        let replica = &mut self.replicas[usize::from(id)];
        let Some(term) = replica.leading else { return };
        // Two publications are enough to have an order.
        replica.sent = (replica.sent + 1).min(2);
        replica.base = None;
        let (number, has_held) = (replica.sent, replica.held == Some(term));
        let displaces = takeover_decision(replica.idle) == TakeoverDecision::Take;
        self.send(id, term, Ask::Publish { number, has_held, displaces });
    }

    /// The sender of a call does not know its outcome.
    fn unknown(&mut self, call: Call) {
        let replica = &mut self.replicas[usize::from(call.from)];
        if call.ask == Ask::TakeLease {
            replica.pending = Some(call.term);
            replica.known.0.observe_lease(Some(call.term));
        }
    }

    /// A store executes or refuses a call. The sender receives the answer if it still waits.
    fn deliver(&mut self, call: Call, parts: Parts) {
        match call.ask {
            Ask::TakeLease => self.take_lease(call),
            Ask::Status => self.write_status(call, parts),
            Ask::Publish { has_held, displaces, .. } => self.ask_redis(call, has_held, displaces, parts),
            Ask::Renew { has_held } => self.ask_redis(call, has_held, false, parts),
        }
    }

    fn take_lease(&mut self, call: Call) {
        let Call { from, term, current, awaited, .. } = call;
        let replica = &mut self.replicas[usize::from(from)];
        if !current {
            if awaited {
                // The conflict may come from our own earlier request: the Lease is read again.
                (replica.pending, replica.current) = (Some(term), false);
            }
            return;
        }
        self.lease = Some(Lease { holder: Some(from), term: Some(term) });
        self.lease_changed();
        if awaited {
            let lease = self.lease;
            let replica = &mut self.replicas[usize::from(from)];
            (replica.seen, replica.current) = (Some(lease), true);
            self.lead(from, term);
        }
    }

    fn write_status(&mut self, call: Call, parts: Parts) {
        let Call { from, term, current, awaited, .. } = call;
        if !current {
            return;
        }
        if parts.fence && !term_may_follow(self.status, Some(term.get())) {
            let replica = &mut self.replicas[usize::from(from)];
            if awaited && replica.leading == Some(term) {
                replica.refused = true;
                // The program reports the refusing term as the registry shows it.
                let by = self.status.and_then(|by| Term::new(by.into())).filter(|by| *by > term);
                replica.known.0.observe_refusal(by);
            }
            return;
        }
        if self.status_accepted.is_some_and(|highest| highest > term) {
            self.broken = self.broken.or(Some("P1: a status of a lower term was accepted after a higher one"));
        }
        (self.status, self.status_accepted) = (Some(term.get()), Some(term));
        self.status_changed();
    }

    fn ask_redis(&mut self, call: Call, has_held: bool, displaces: bool, parts: Parts) {
        let Call { from, start, term, ask, awaited, fresh, .. } = call;
        let lock = match self.redis.lock {
            Lock::Free => LockHolder::Nobody,
            Lock::Ours(term) => LockHolder::Ours { term: Some(term).filter(|_| parts.fence) },
            Lock::ForeignHolder { .. } => LockHolder::Foreign("classifier_1".into()),
        };
        let rival_publishes = self.redis.lock == Lock::ForeignHolder { publishes: true };
        let state = FenceState {
            now: if fresh || !parts.not_after { 0 } else { 2 },
            lock,
            term: self.redis.term.filter(|_| parts.fence),
            displaceable: displaces && !rival_publishes,
        };
        let passage = check(&state, &Caller { not_after: 1, term, has_held: has_held || !parts.claim });
        let replica = &mut self.replicas[usize::from(from)];
        let receives = awaited && replica.start == start;
        match passage {
            Verdict::Passed { displaces } => {
                if displaces && rival_publishes {
                    self.broken = self.broken.or(Some("a rival that publishes was displaced"));
                }
                if receives {
                    (replica.held, replica.idle) = (Some(term), 0);
                }
                self.accept(term, (from, start), ask);
                let replica = &mut self.replicas[usize::from(from)];
                match ask {
                    Ask::Publish { number, .. }
                        if receives && replica.leading == Some(term) && number == replica.sent =>
                    {
                        replica.base = Some((term, number));
                    }
                    // Redis holds something else than was published: publish again.
                    Ask::Renew { .. }
                        if receives && (self.redis.hot != replica.base || self.redis.cold != replica.base) =>
                    {
                        replica.base = None;
                    }
                    _ => {}
                }
            }
            Verdict::Fenced(by) if receives => {
                replica.known.0.observe_refusal(Some(by));
                replica.refused |= replica.leading == Some(term);
            }
            Verdict::NotHeld if receives && matches!(ask, Ask::Renew { .. }) => {
                replica.idle = if rival_publishes { 0 } else { (replica.idle + 1).min(2) };
                replica.base = None;
            }
            Verdict::Fenced(_) | Verdict::NotHeld | Verdict::TooLate => {}
        }
    }

    /// A script writes. This checks P1, whatever let the write through.
    fn accept(&mut self, term: Term, author: Author, ask: Ask) {
        let redis = &mut self.redis;
        let broken = match redis.accepted {
            Some((highest, _)) if highest > term => Some("P1: a lower term was accepted after a higher one"),
            Some((same, other)) if same == term && other != author && !redis.forgot => {
                Some("P1: two leaders wrote at one term")
            }
            _ => None,
        };
        (redis.lock, redis.term, redis.accepted) = (Lock::Ours(term), Some(term), Some((term, author)));
        self.broken = self.broken.or(broken);
        if let Ask::Publish { number, .. } = ask {
            if redis.newest.is_some_and(|((of, newer), by)| of == term && by == author && newer > number) {
                self.broken = self.broken.or(Some("P1: an older publication of a term was accepted after a newer one"));
            }
            let published = (term, number);
            (redis.hot, redis.cold, redis.newest) = (Some(published), Some(published), Some((published, author)));
        }
    }
}

/// The highest term in use. Planted terms are higher.
fn highest(world: &World) -> Option<Term> {
    let leading = world.replicas.iter().map(|replica| replica.leading);
    leading.chain([world.redis.term, world.lease.and_then(|lease| lease.term)]).flatten().max()
}
