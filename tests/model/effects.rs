//! The effects of a step: on the stores, and on the replicas that are informed of it.

use std::time::Duration;

use mcpgateway_operator::api::term_may_follow;
use mcpgateway_operator::leadership::decision::Action;
use mcpgateway_operator::model::{Monotonic, Term};
use mcpgateway_operator::publish::TakeoverPolicy;
use mcpgateway_operator::publish::fence::{Caller, Passage, Scene, enter};
use mcpgateway_operator::publish::foreign_holder::{ForeignHolder, ForeignHolderHistory, TakeoverDecision};
use mcpgateway_operator::publish::keys::LockHolder;

use crate::Safeguards;
use crate::steps::{Step, decide, name, observed};
use crate::world::{Author, Lease, Lock, Redis, Replica, Request, RequestKind, World};

/// What a replica decides after this many consecutive checks that found an idle foreign holder.
fn takeover_decision(idle: u8) -> TakeoverDecision {
    let period = Duration::from_secs(10);
    let mut history = ForeignHolderHistory::new(TakeoverPolicy::Idle, period, period);
    let holder = ForeignHolder { kind: "string".into(), value: b"classifier_1".to_vec(), publishes: false };
    let checks = (0..idle).map(|check| history.foreign(&holder, Monotonic::at(period * u32::from(check))));
    checks.last().unwrap_or(TakeoverDecision::Wait)
}

impl World {
    /// The state after a step; `None` if nothing changes.
    pub fn after(&self, step: Step, safeguards: Safeguards) -> Option<Self> {
        let mut world = self.clone();
        world.faults = world.faults.checked_sub(step.cost())?;
        match step {
            Step::ReadLease(id) => world.read_lease(id),
            Step::Acquire { by, blind, .. } => {
                let term = world.next_term(by, blind, safeguards);
                world.send(by, term, RequestKind::WriteLease);
            }
            Step::RenewLease(id) => world.renew_lease(id),
            Step::RaiseTerm { by, blind } => world.raise(by, blind, safeguards),
            Step::Publish(id) => world.publish(id),
            Step::RenewLock(id) => {
                let replica = &world.replicas[usize::from(id)];
                let (term, held) = (replica.leading?, replica.held);
                world.send(id, term, RequestKind::RenewLock { has_held: held == Some(term) });
            }
            Step::WriteStatus(id) => {
                let term = world.replicas[usize::from(id)].leading?;
                world.send(id, term, RequestKind::Status);
            }
            Step::Deliver(number) => {
                let request = world.requests.remove(number);
                world.deliver(request, safeguards);
            }
            Step::LoseResponse(number) => {
                let request = world.requests.remove(number);
                world.deliver(Request { awaited: false, ..request }, safeguards);
                world.unknown(request);
            }
            Step::TimeOut(number) => {
                let request = world.requests.remove(number);
                world.requests.push(Request { awaited: false, fresh: false, ..request });
                world.requests.sort_unstable();
                world.unknown(request);
            }
            Step::Restart(id) => {
                let start = 1 - world.replicas[usize::from(id)].start;
                world.replicas[usize::from(id)] = Replica { start, ..Replica::new() };
            }
            Step::Crash(id) | Step::Expire(id) => {
                let replica = &mut world.replicas[usize::from(id)];
                replica.stop_leading();
                replica.up = step == Step::Expire(id);
                replica.pending = None;
                let sent = world.requests.iter_mut().filter(|request| request.from == id);
                sent.for_each(|request| request.awaited = false);
                world.requests.sort_unstable();
            }
            Step::DeleteLease => (world.lease, ()) = (None, world.lease_changed()),
            Step::ClearHolder => {
                world.lease = world.lease.map(|lease| Lease { holder: None, ..lease });
                world.lease_changed();
            }
            Step::DropLeaseTerm => {
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
            Step::ForeignHolderTakesLock { publishes } => {
                world.redis.lock = Lock::ForeignHolder { publishes };
                (world.redis.hot, world.redis.cold) = (None, None);
            }
            Step::ForeignHolderDecidesToPurge => world.purge = true,
            Step::FreeLock => world.redis.lock = Lock::Free,
        }
        (world != *self).then_some(world)
    }

    fn read_lease(&mut self, id: u8) {
        let lease = self.lease;
        let replica = &mut self.replicas[usize::from(id)];
        (replica.observed_lease, replica.current) = (Some(lease), true);
        replica.seen_terms.0.observe_lease(lease.and_then(|lease| lease.term));
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
        replica.seen_terms.0.observe_lease(Some(term));
    }

    fn next_term(&self, id: u8, blind: bool, safeguards: Safeguards) -> Term {
        let redis = self.redis.term.filter(|_| !blind);
        let status = self.status.filter(|_| !blind && safeguards.statuses);
        let statuses = |limit| status.filter(|term| i64::from(*term) <= limit).and_then(|term| Term::new(term.into()));
        self.replicas[usize::from(id)].seen_terms.0.next_term(redis, statuses)
    }

    /// A leader renews, and finds that the Lease has changed.
    fn renew_lease(&mut self, id: u8) {
        let lease = self.lease;
        let replica = &mut self.replicas[usize::from(id)];
        replica.seen_terms.0.observe_lease(lease.and_then(|lease| lease.term));
        match decide(id, replica, lease, false) {
            Action::Renew => {
                let term = replica.leading;
                self.lease = Some(Lease { holder: Some(id), term });
                self.lease_changed();
            }
            Action::StepDown(_) => replica.stop_leading(),
            other => unreachable!("a leader whose renewal is due: {other:?}"),
        }
    }

    fn raise(&mut self, id: u8, blind: bool, safeguards: Safeguards) {
        let lease = self.lease;
        let replica = &mut self.replicas[usize::from(id)];
        replica.seen_terms.0.observe_lease(lease.and_then(|lease| lease.term));
        let Some(term) = replica.leading else { return };
        if observed(lease).is_held_by(name(id), term) {
            let next = self.next_term(id, blind, safeguards);
            self.send(id, next, RequestKind::WriteLease);
        } else {
            replica.stop_leading();
        }
    }

    fn publish(&mut self, id: u8) {
        let replica = &mut self.replicas[usize::from(id)];
        let Some(term) = replica.leading else { return };
        // Each publication is newer than the last; two numbers are enough to distinguish their order.
        replica.sent = (replica.sent + 1).min(2);
        replica.base = None;
        let (number, has_held) = (replica.sent, replica.held == Some(term));
        let displaces = takeover_decision(replica.idle) == TakeoverDecision::Take;
        self.send(id, term, RequestKind::Publish { number, has_held, displaces });
    }

    /// The sender of a request does not know its outcome.
    fn unknown(&mut self, request: Request) {
        let replica = &mut self.replicas[usize::from(request.from)];
        if request.kind == RequestKind::WriteLease {
            replica.pending = Some(request.term);
            replica.seen_terms.0.observe_lease(Some(request.term));
        }
    }

    /// A store executes or refuses a request, and informs the sender if it still waits.
    fn deliver(&mut self, request: Request, safeguards: Safeguards) {
        match request.kind {
            RequestKind::WriteLease => self.write_lease(request),
            RequestKind::Status => self.write_status(request, safeguards),
            RequestKind::Publish { has_held, displaces, .. } => {
                self.write_redis(request, has_held, displaces, safeguards)
            }
            RequestKind::RenewLock { has_held } => self.write_redis(request, has_held, false, safeguards),
        }
    }

    fn write_lease(&mut self, request: Request) {
        let Request { from, term, current, awaited, .. } = request;
        let replica = &mut self.replicas[usize::from(from)];
        if !current {
            if awaited {
                // The conflict may be with our own earlier request, so the Lease is read again.
                (replica.pending, replica.current) = (Some(term), false);
            }
            return;
        }
        self.lease = Some(Lease { holder: Some(from), term: Some(term) });
        self.lease_changed();
        if awaited {
            let lease = self.lease;
            let replica = &mut self.replicas[usize::from(from)];
            (replica.observed_lease, replica.current) = (Some(lease), true);
            self.lead(from, term);
        }
    }

    fn write_status(&mut self, request: Request, safeguards: Safeguards) {
        let Request { from, term, current, awaited, .. } = request;
        if !current {
            return;
        }
        if safeguards.fence && !term_may_follow(self.status, Some(term.get())) {
            let replica = &mut self.replicas[usize::from(from)];
            if awaited && replica.leading == Some(term) {
                replica.refused = true;
                // The program reports the term that it knows from the registry.
                let by = self.status.and_then(|by| Term::new(by.into())).filter(|by| *by > term);
                replica.seen_terms.0.observe_refusal(by);
            }
            return;
        }
        if self.status_accepted.is_some_and(|highest| highest > term) {
            self.violation = self.violation.or(Some("P1: a status of a lower term was accepted after a higher one"));
        }
        (self.status, self.status_accepted) = (Some(term.get()), Some(term));
        self.status_changed();
    }

    fn write_redis(&mut self, request: Request, has_held: bool, displaces: bool, safeguards: Safeguards) {
        let Request { from, start, term, kind, awaited, fresh, .. } = request;
        let lock = match self.redis.lock {
            Lock::Free => LockHolder::Nobody,
            Lock::Ours(term) => LockHolder::Ours { term: Some(term).filter(|_| safeguards.fence) },
            Lock::ForeignHolder { .. } => LockHolder::Foreign("classifier_1".into()),
        };
        let foreign_publishes = self.redis.lock == Lock::ForeignHolder { publishes: true };
        let scene = Scene {
            now: if fresh || !safeguards.not_after { 0 } else { 2 },
            lock,
            term: self.redis.term.filter(|_| safeguards.fence),
            displaceable: displaces && !foreign_publishes,
        };
        let passage = enter(&scene, &Caller { not_after: 1, term, has_held: has_held || !safeguards.claim });
        let replica = &mut self.replicas[usize::from(from)];
        let informed = awaited && replica.start == start;
        match passage {
            Passage::Granted { displaces } => {
                if displaces && foreign_publishes {
                    self.violation = self.violation.or(Some("a foreign holder that publishes was displaced"));
                }
                if informed {
                    (replica.held, replica.idle) = (Some(term), 0);
                }
                self.accept(term, (from, start), kind);
                let replica = &mut self.replicas[usize::from(from)];
                match kind {
                    RequestKind::Publish { number, .. }
                        if informed && replica.leading == Some(term) && number == replica.sent =>
                    {
                        replica.base = Some((term, number));
                    }
                    // Redis does not hold what was published, so it is published again.
                    RequestKind::RenewLock { .. }
                        if informed && (self.redis.hot != replica.base || self.redis.cold != replica.base) =>
                    {
                        replica.base = None;
                    }
                    _ => {}
                }
            }
            Passage::Fenced(by) if informed => {
                replica.seen_terms.0.observe_refusal(Some(by));
                replica.refused |= replica.leading == Some(term);
            }
            Passage::NotHeld if informed && matches!(kind, RequestKind::RenewLock { .. }) => {
                replica.idle = if foreign_publishes { 0 } else { (replica.idle + 1).min(2) };
                replica.base = None;
            }
            Passage::Fenced(_) | Passage::NotHeld | Passage::TooLate => {}
        }
    }

    /// A script writes. Violations are detected here, independently of the fence.
    fn accept(&mut self, term: Term, author: Author, kind: RequestKind) {
        let redis = &mut self.redis;
        let violation = match redis.accepted {
            Some((highest, _)) if highest > term => Some("P1: a lower term was accepted after a higher one"),
            Some((same, other)) if same == term && other != author && !redis.forgot => {
                Some("P1: two leaders wrote at one term")
            }
            _ => None,
        };
        (redis.lock, redis.term, redis.accepted) = (Lock::Ours(term), Some(term), Some((term, author)));
        self.violation = self.violation.or(violation);
        if let RequestKind::Publish { number, .. } = kind {
            if redis
                .newest
                .is_some_and(|((newest_term, newest), by)| newest_term == term && by == author && newest > number)
            {
                self.violation =
                    self.violation.or(Some("P1: an older publication of a term was accepted after a newer one"));
            }
            let published = (term, number);
            (redis.hot, redis.cold, redis.newest) = (Some(published), Some(published), Some((published, author)));
        }
    }
}

/// The highest term in use, so that a planted term can be higher.
fn highest(world: &World) -> Option<Term> {
    let leading = world.replicas.iter().map(|replica| replica.leading);
    leading.chain([world.redis.term, world.lease.and_then(|lease| lease.term)]).flatten().max()
}
