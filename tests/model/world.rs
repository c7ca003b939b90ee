//! What a state of the model is: the stores, the replicas, the calls on their way.

use mcpgateway_operator::leadership::terms::SeenTerms;
use mcpgateway_operator::model::Term;

/// One publication: the term that made it, and its number under that term.
pub type Publication = (Term, u8);

/// Who made a write: a replica, and which of its starts.
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

/// What stands in Redis, and what has been accepted there since it last lost its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Redis {
    pub lock: Lock,
    pub term: Option<Term>,
    /// Hot and cold, each of the publication that wrote it.
    pub hot: Option<Publication>,
    pub cold: Option<Publication>,
    /// The last accepted write.
    pub accepted: Option<(Term, Author)>,
    /// The last accepted publication.
    pub newest: Option<(Publication, Author)>,
    /// It has lost its memory once: what a token has held before is no sign any more.
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
    /// Tells its starts apart.
    pub start: u8,
    pub known: KnownTerms,
    /// The Lease as last read; the outer `None` before the first time.
    pub seen: Option<Option<Lease>>,
    /// Whether that is how it is still: its resourceVersion and uid.
    pub current: bool,
    pub leading: Option<Term>,
    /// An acquisition or a raise whose outcome is not known.
    pub unsettled: Option<Term>,
    /// The present term was refused by a store.
    pub refused: bool,
    /// The term at which it saw the Redis lock in its hands.
    pub held: Option<Term>,
    /// The number of its last publication under the present leadership.
    pub sent: u8,
    /// What it takes to stand in Redis.
    pub base: Option<Publication>,
    /// Checks in a row that have found a rival that publishes nothing.
    pub idle: u8,
}

/// [`SeenTerms`] has no order of its own; states are sorted by what it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KnownTerms(pub SeenTerms);

impl PartialOrd for KnownTerms {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KnownTerms {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let term = |known: &Self| known.0.next(None, |_| None);
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
            unsettled: None,
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

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    /// PUT or POST of the Lease with our identity and this term.
    TakeLease,
    /// A publication: its number, whether the caller has held the lock, whether it may displace an idle rival.
    Publish { number: u8, has_held: bool, displaces: bool },
    /// A renewal of the Redis lock.
    Renew { has_held: bool },
    /// A status with this term.
    Status,
}

/// A call that was sent and has not been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    pub from: u8,
    pub start: u8,
    pub term: Term,
    pub ask: Ask,
    /// Whether the sender still waits for it.
    pub awaited: bool,
    /// Whether its not-after moment has not passed.
    pub fresh: bool,
    /// Whether the object is still as the sender has read it.
    pub current: bool,
}

/// A state of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub lease: Option<Lease>,
    pub redis: Redis,
    /// An older state of Redis, which a failover or a restart may bring back.
    pub snapshot: Option<Redis>,
    /// `status.term` of the one object, and the highest that a replica has written there since others meddled with it.
    pub status: Option<i32>,
    pub status_accepted: Option<Term>,
    pub replicas: [Replica; 2],
    /// In order, so that two ways to one state meet.
    pub calls: Vec<Call>,
    /// A rival has decided to purge, and not done it yet.
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

    /// Whether a replica waits for an answer to a call like this.
    pub fn waits(&self, from: u8, like: fn(Ask) -> bool) -> bool {
        self.calls.iter().any(|call| call.from == from && call.awaited && like(call.ask))
    }

    /// The Lease is another one now: what was read of it before does not hold.
    pub fn lease_changed(&mut self) {
        self.replicas.iter_mut().for_each(|replica| replica.current = false);
        self.calls.iter_mut().filter(|call| call.ask == Ask::TakeLease).for_each(|call| call.current = false);
        self.calls.sort_unstable();
    }

    /// The same for the object's status.
    pub fn status_changed(&mut self) {
        self.calls.iter_mut().filter(|call| call.ask == Ask::Status).for_each(|call| call.current = false);
        self.calls.sort_unstable();
    }

    /// Whether everything is as it should be: one leader, and both stores say what it says; or a rival that publishes has
    /// the Redis lock, and is waited for.
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
