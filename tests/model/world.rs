//! A state of the model: the stores, the replicas, and the requests in flight.

use mcpgateway_operator::leadership::terms::SeenTerms;
use mcpgateway_operator::model::Term;

/// One publication: its term, and its number within that term.
pub type Publication = (Term, u8);

/// The author of a write: a replica, and which of its processes.
pub type Author = (u8, u8);

/// The Kubernetes Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    pub holder: Option<u8>,
    pub term: Option<Term>,
}

/// The Redis lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lock {
    Free,
    Ours(Term),
    /// A `ContextForge` worker's.
    ForeignHolder {
        publishes: bool,
    },
}

/// The contents of Redis, and what it has accepted since it last lost its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Redis {
    pub lock: Lock,
    pub term: Option<Term>,
    /// The publication that wrote the hot set and the cold set.
    pub hot: Option<Publication>,
    pub cold: Option<Publication>,
    /// The last accepted write.
    pub accepted: Option<(Term, Author)>,
    /// The last accepted publication.
    pub newest: Option<(Publication, Author)>,
    /// Redis has lost its memory: that a token has held the lock proves nothing any more.
    pub forgot: bool,
}

impl Redis {
    pub const EMPTY: Self =
        Self { lock: Lock::Free, term: None, hot: None, cold: None, accepted: None, newest: None, forgot: false };
}

/// One operator process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    pub up: bool,
    /// Distinguishes the processes of this replica.
    pub start: u8,
    pub seen_terms: OrderedTerms,
    /// The Lease as last read; `None` before the first read.
    pub observed_lease: Option<Option<Lease>>,
    /// Whether the Lease has not changed since: its resourceVersion and uid still match.
    pub current: bool,
    pub leading: Option<Term>,
    /// A new term that was sent with unknown outcome.
    pub pending: Option<Term>,
    /// A store refuses the present term.
    pub refused: bool,
    /// The term at which it has held the Redis lock.
    pub held: Option<Term>,
    /// The number of its last publication in the present leadership.
    pub sent: u8,
    /// The publication that it assumes to be in Redis.
    pub base: Option<Publication>,
    /// The number of consecutive checks that found an idle foreign holder.
    pub idle: u8,
}

/// [`SeenTerms`] with an order, by which states are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct OrderedTerms(pub SeenTerms);

impl PartialOrd for OrderedTerms {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedTerms {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let term = |seen_terms: &Self| seen_terms.0.next_term(None, |_| None);
        term(self).cmp(&term(other))
    }
}

impl Replica {
    pub fn new() -> Self {
        Self {
            up: true,
            start: 0,
            seen_terms: OrderedTerms::default(),
            observed_lease: None,
            current: false,
            leading: None,
            pending: None,
            refused: false,
            held: None,
            sent: 0,
            base: None,
            idle: 0,
        }
    }

    pub fn stop_leading(&mut self) {
        (self.leading, self.refused, self.sent, self.base, self.idle) = (None, false, 0, None, 0);
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RequestKind {
    /// PUT or POST of the Lease with our identity and this term.
    WriteLease,
    /// A publication: its number, whether the sender has held the lock, and whether it may displace an idle foreign holder.
    Publish { number: u8, has_held: bool, displaces: bool },
    /// A renewal of the Redis lock.
    RenewLock { has_held: bool },
    /// A status with this term.
    Status,
}

/// A request that was sent and not executed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Request {
    pub from: u8,
    pub start: u8,
    pub term: Term,
    pub kind: RequestKind,
    /// Whether the sender still waits for the response.
    pub awaited: bool,
    /// Whether its not-after moment is in the future.
    pub fresh: bool,
    /// Whether the object has not changed since the sender read it.
    pub current: bool,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub lease: Option<Lease>,
    pub redis: Redis,
    /// An older state of Redis, to which a failover or restart may fall back.
    pub snapshot: Option<Redis>,
    /// `status.term` of the one object, and the highest one written by a replica since others last edited it.
    pub status: Option<i32>,
    pub status_accepted: Option<Term>,
    pub replicas: [Replica; 2],
    /// Sorted, so that different paths to one state converge.
    pub requests: Vec<Request>,
    /// A foreign holder has decided to purge, and not done so yet.
    pub purge: bool,
    /// The number of faults that may still happen.
    pub faults: u8,
    /// The first violation of a promise.
    pub violation: Option<&'static str>,
}

impl World {
    pub fn new(faults: u8) -> Self {
        Self {
            lease: None,
            redis: Redis::EMPTY,
            snapshot: None,
            status: None,
            status_accepted: None,
            replicas: [Replica::new(); 2],
            requests: Vec::new(),
            purge: false,
            faults,
            violation: None,
        }
    }

    pub fn send(&mut self, from: u8, term: Term, kind: RequestKind) {
        let start = self.replicas[usize::from(from)].start;
        self.requests.push(Request { from, start, term, kind, awaited: true, fresh: true, current: true });
        self.requests.sort_unstable();
    }

    /// Whether a replica waits for a response to such a request.
    pub fn waits(&self, from: u8, like: fn(RequestKind) -> bool) -> bool {
        self.requests.iter().any(|request| request.from == from && request.awaited && like(request.kind))
    }

    /// Marks every earlier read of the Lease as outdated.
    pub fn lease_changed(&mut self) {
        self.replicas.iter_mut().for_each(|replica| replica.current = false);
        self.requests
            .iter_mut()
            .filter(|request| request.kind == RequestKind::WriteLease)
            .for_each(|request| request.current = false);
        self.requests.sort_unstable();
    }

    /// Marks every earlier read of the object's status as outdated.
    pub fn status_changed(&mut self) {
        self.requests
            .iter_mut()
            .filter(|request| request.kind == RequestKind::Status)
            .for_each(|request| request.current = false);
        self.requests.sort_unstable();
    }

    /// Whether the state is good: there is one leader, and both stores hold what it wrote. A foreign holder that publishes
    /// may have the Redis lock; then the leader waits.
    pub fn is_good(&self) -> bool {
        (0..).zip(&self.replicas).any(|(id, replica)| {
            let Some(term) = replica.leading.filter(|_| replica.up) else { return false };
            let leads =
                self.lease == Some(Lease { holder: Some(id), term: Some(term) }) && self.status == Some(term.get());
            let publishes = self.redis.lock == Lock::Ours(term)
                && self.redis.term == Some(term)
                && replica.base.is_some()
                && self.redis.hot == replica.base
                && self.redis.cold == replica.base;
            leads && (publishes || self.redis.lock == Lock::ForeignHolder { publishes: true })
        })
    }
}
