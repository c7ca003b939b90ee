//! The state of the model: the stores, the replicas, and the calls in flight.

use mcpgateway_operator::leadership::terms::SeenTerms;
use mcpgateway_operator::model::Term;

/// One publication: its term, and its number under that term.
pub type Publication = (Term, u8);

/// The author of a write: a replica, and which of its starts.
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

/// What Redis holds, and what it has accepted since it last lost its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Redis {
    pub lock: Lock,
    pub term: Option<Term>,
    /// The publication that wrote the hot and the cold set.
    pub hot: Option<Publication>,
    pub cold: Option<Publication>,
    /// The last accepted write.
    pub accepted: Option<(Term, Author)>,
    /// The last accepted publication.
    pub newest: Option<(Publication, Author)>,
    /// Redis has lost its memory once: what a leadership held before proves nothing any more.
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
    /// Distinguishes its starts.
    pub start: u8,
    pub known: KnownTerms,
    /// The Lease as last read; the outer `None` before the first read.
    pub seen: Option<Option<Lease>>,
    /// Whether the Lease is unchanged since then (resourceVersion and uid).
    pub current: bool,
    pub leading: Option<Term>,
    /// An acquisition or a raise with unknown outcome.
    pub pending: Option<Term>,
    /// A store refused the current term.
    pub refused: bool,
    /// The term at which it last held the Redis lock.
    pub held: Option<Term>,
    /// The number of its last publication under the current leadership.
    pub sent: u8,
    /// What it believes Redis holds.
    pub base: Option<Publication>,
    /// Consecutive checks that found a foreign holder that publishes nothing.
    pub idle: u8,
}

/// [`SeenTerms`] has no order of its own, and states must be sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KnownTerms(pub SeenTerms);

impl PartialOrd for KnownTerms {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KnownTerms {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let term = |known: &Self| known.0.next_term(None, |_| None);
        term(self).cmp(&term(other))
    }
}

impl Replica {
    pub fn new() -> Self {
        Self {
            up: true,
            start: 0,
            known: KnownTerms::default(),
            seen: None,
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

/// The content of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// PUT or POST of the Lease with the sender's identity and term.
    TakeLease,
    /// A publication: its number, whether the sender has held the lock, and whether it may displace an idle holder.
    Publish { number: u8, has_held: bool, displaces: bool },
    /// A renewal of the Redis lock.
    Renew { has_held: bool },
    /// A status with the sender's term.
    Status,
}

/// A call that was sent and not executed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    pub from: u8,
    pub start: u8,
    pub term: Term,
    pub ask: Ask,
    /// Whether the sender still waits for the answer.
    pub awaited: bool,
    /// Whether its not-after moment is still ahead.
    pub fresh: bool,
    /// Whether the object is unchanged since the sender read it.
    pub current: bool,
}

/// One state of the whole system.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub lease: Option<Lease>,
    pub redis: Redis,
    /// An older state of Redis that a failover or a restart may restore.
    pub snapshot: Option<Redis>,
    /// `status.term` of the one object, and the highest term that a replica wrote there since somebody else edited it.
    pub status: Option<i32>,
    pub status_accepted: Option<Term>,
    pub replicas: [Replica; 2],
    /// Sorted, so that equal states compare as equal.
    pub calls: Vec<Call>,
    /// A foreign holder has decided to purge and has not done it yet.
    pub purge: bool,
    /// Faults that may still happen.
    pub faults: u8,
    /// The first promise that was broken.
    pub broken: Option<&'static str>,
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
            calls: Vec::new(),
            purge: false,
            faults,
            broken: None,
        }
    }

    pub fn send(&mut self, from: u8, term: Term, ask: Ask) {
        let start = self.replicas[usize::from(from)].start;
        self.calls.push(Call { from, start, term, ask, awaited: true, fresh: true, current: true });
        self.calls.sort_unstable();
    }

    /// Whether a replica waits for the answer to such a call.
    pub fn waits(&self, from: u8, like: fn(Ask) -> bool) -> bool {
        self.calls.iter().any(|call| call.from == from && call.awaited && like(call.ask))
    }

    /// The Lease has changed: earlier reads of it are stale.
    pub fn lease_changed(&mut self) {
        self.replicas.iter_mut().for_each(|replica| replica.current = false);
        self.calls.iter_mut().filter(|call| call.ask == Ask::TakeLease).for_each(|call| call.current = false);
        self.calls.sort_unstable();
    }

    /// The status has changed: earlier reads of it are stale.
    pub fn status_changed(&mut self) {
        self.calls.iter_mut().filter(|call| call.ask == Ask::Status).for_each(|call| call.current = false);
        self.calls.sort_unstable();
    }

    /// Whether the system has settled: there is one leader, and both stores hold what it wrote. If a foreign holder
    /// that publishes has the Redis lock, the leader waits for it, and Redis is exempt.
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
