//! One Redis as the operator uses it: running its scripts, renewing the lock, withdrawing. IO. Publishing is in
//! [`super::sending`].
//!
//! Each call is bounded by [`CALL_LIMIT`] and by what is left of the token; nothing is retried.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::connection::{Freshness, Link};
use super::displacements::Displacements;
use super::error::Error;
use super::foreign_holder::{ForeignHolder, ForeignHolderHistory};
use super::keys::{Expiries, Keys, OwnerId, millis, parse_term};
use super::metrics::Metrics;
use super::publication::{Publication, ScannedKey};
use super::script::{Answer, RENEW, StoredKeys, WITHDRAW, refused_by_our_owner};
use super::settings::RedisSettings;
use super::{NotWritten, locked};
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::leadership::LeadershipToken;
use crate::model::Term;

/// The longest that a call to Redis may take.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(1);
/// Members of a set, or fields of the plan, to send or to request in one call: Redis serves no other client during a
/// call. It may return a few more.
pub(super) const MEMBERS_A_CALL: usize = 1_000;
/// The longest that reading the term may take: a slow Redis must not delay the acquisition of the Lease.
const TERM_LIMIT: Duration = Duration::from_millis(300);

/// One Redis, as the operator uses it. Shared by the loop and by the keeper of the lock ([`super::keep`]).
#[derive(Debug)]
pub struct Store {
    pub(super) keys: Keys,
    owner: OwnerId,
    pub(super) expiries: Expiries,
    pub(super) main: Link,
    /// The lock has a connection of its own, so that a large publication does not delay its renewal.
    renewal: Link,
    /// Of both connections.
    freshness: Arc<Freshness>,
    pub(super) metrics: Metrics,
    /// The term at which this process last knew the lock to be its own; 0 for none. A process has at most one token at
    /// a term, so this says whether a token has held the lock.
    held: AtomicI32,
    /// Locked during a call that may be the first to take the lock at a term. Without it two calls with one new token
    /// could cross, and the first would fence the second.
    first_hold: AsyncMutex<()>,
    /// What Redis holds as far as this process knows: the base of the next difference, and what renewals and reading
    /// back are compared with. `None` while that is unknown.
    pub(super) base: Mutex<Option<Arc<Publication>>>,
    /// The last two timestamps that this process has sent: finding one of them does not mean that another program
    /// publishes.
    pub(super) timestamps: Mutex<[String; 2]>,
    pub(super) foreign: Mutex<ForeignHolderHistory>,
    displacements: Mutex<Displacements>,
    /// Notified when a call that was sent before may still arrive and undo what was done (a foreign lock was taken, the
    /// publication was withdrawn): the keeper then checks more often for a while.
    pub(super) check_soon: Notify,
    pub(super) scan: AsyncMutex<ScanPosition>,
}

/// How far reading back ([`super::stored`]) has come. A cursor of Redis stays usable when the set is replaced: at worst
/// a part is read twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ScanPosition {
    pub(super) key: ScannedKey,
    pub(super) cursor: u64,
}

impl Store {
    /// Prepares everything and connects to nothing: the operator starts while Redis is down.
    ///
    /// `reference` is told what Redis' clock shows.
    pub fn new(settings: RedisSettings, reference: ReferenceClock, metrics: Metrics) -> Self {
        let RedisSettings { access, owner, takeover, interval, lease_duration } = settings;
        let expiries = Expiries::new(interval, lease_duration);
        let history = ForeignHolderHistory::new(takeover, interval, expiries.renewal_period);
        // Each renewal asks the name anew: until then the store may be one that nobody reads any more.
        let freshness = Freshness::new(expiries.renewal_period);
        Self {
            keys: access.keys.clone(),
            owner,
            expiries,
            main: Link::new(access.clone(), Arc::clone(&freshness), reference.clone()),
            renewal: Link::new(access, Arc::clone(&freshness), reference),
            freshness,
            metrics,
            held: AtomicI32::new(0),
            first_hold: AsyncMutex::new(()),
            base: Mutex::new(None),
            timestamps: Mutex::default(),
            foreign: Mutex::new(history),
            displacements: Mutex::default(),
            check_soon: Notify::new(),
            scan: AsyncMutex::default(),
        }
    }

    /// Whether Redis answers and can be used: no Cluster, no Sentinel, 6.2 or later. It needs no permission that the
    /// other calls do not need.
    ///
    /// # Errors
    /// Why not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.text(CALL_LIMIT, &self.keys.term, 10).await.map(|_| ())
    }

    /// The highest term that has held the lock, for an acquisition of the Lease; bounded by 300 ms. A value that is not
    /// a term counts as absent.
    ///
    /// # Errors
    /// Why Redis did not answer; the acquisition goes on without it (`docs/contract.md#terms`).
    pub async fn term(&self) -> Result<Option<Term>, Error> {
        Ok(self.text(TERM_LIMIT, &self.keys.term, 10).await?.and_then(|text| parse_term(&text)))
    }

    /// The start of a string key, up to and including the byte at `last`; `None` if it is absent or of another type.
    pub(super) async fn text(&self, limit: Duration, key: &str, last: usize) -> Result<Option<Vec<u8>>, Error> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(key).arg(0).arg(last);
        match self.main.query::<Vec<u8>>(limit, &command).await {
            Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            Err(error) if error.is_wrong_type() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews the lock on a connection of its own. Takes the lock if it is free or our own release's at a lower term; a
    /// foreign one is only ever taken with a publication. `publication` is the new expiry of hot, cold, metadata,
    /// timestamp and intervals; `None` leaves them to expire.
    ///
    /// # Errors
    /// Why nothing was renewed; after a failure it may have been.
    pub async fn renew(
        &self,
        token: &LeadershipToken,
        publication: Option<Duration>,
    ) -> Result<StoredKeys, NotWritten> {
        let _write = token.begin_write(clock::monotonic()).ok_or(NotWritten::LeadershipOver)?;
        let expiry = publication.map_or(0, millis).to_string();
        match self.run(&self.renewal, token, RENEW, &[], vec![expiry.into()], None).await? {
            Answer::Renewed(found) => Ok(found),
            _ => Err(Error::UnexpectedReply.into()),
        }
    }

    /// Takes the publication out of Redis: hot, cold, metadata, timestamp and intervals in one step, so that a reader
    /// finds a whole publication or none. The lock is kept, or taken as by [`Store::renew`]; a foreign holder is not
    /// displaced, and then nothing is deleted. The next publication is full. See `docs/contract.md#suspending-a-fleet`.
    ///
    /// # Errors
    /// Why nothing was withdrawn; after a failure it may have been.
    pub async fn withdraw(&self, token: &LeadershipToken) -> Result<(), NotWritten> {
        let _write = token.begin_write(clock::monotonic()).ok_or(NotWritten::LeadershipOver)?;
        *locked(&self.base) = None;
        let Answer::Withdrawn = self.run(&self.main, token, WITHDRAW, &[], Vec::new(), None).await? else {
            return Err(Error::UnexpectedReply.into());
        };
        self.check_soon.notify_one();
        Ok(())
    }

    pub(super) fn base(&self) -> Option<Arc<Publication>> {
        locked(&self.base).clone()
    }

    /// Redis does not hold this publication: the next one is full. Another one may have been sent meanwhile. What does
    /// not hold it may be another server than the one that was published to, so both connections are opened again.
    pub(super) fn forget_base_if(&self, publication: &Arc<Publication>) {
        self.freshness.end();
        locked(&self.base).take_if(|base| Arc::ptr_eq(base, publication));
    }

    /// Runs a script with what `scripts/fence.lua` needs, and remembers whether the lock is ours after it. `keys` and
    /// `args` are those of the script itself; `displaceable` is the foreign holder that may lose the lock.
    pub(super) async fn run(
        &self,
        link: &Link,
        token: &LeadershipToken,
        script: &str,
        keys: &[String],
        args: Vec<Vec<u8>>,
        displaceable: Option<&ForeignHolder>,
    ) -> Result<Answer, NotWritten> {
        if locked(&self.displacements).yields(token) {
            return Err(NotWritten::Yielded(self.owner.clone()));
        }
        let term = token.term();
        let has_held = || self.held.load(Ordering::SeqCst) == term.get();
        let _first = if has_held() { None } else { Some(self.first_hold.lock().await) };
        let Keys { hot, cold, metadata, timestamp, intervals, lock, term: term_key, .. } = &self.keys;
        let fence_keys = [lock, term_key, hot, cold, metadata, timestamp, intervals].map(String::clone);
        let mut all_args: Vec<Vec<u8>> = vec![
            self.owner.lock_prefix().into(),
            term.to_string().into(),
            u8::from(has_held()).to_string().into(),
            millis(self.expiries.lock).max(1).to_string().into(),
        ];
        all_args.extend(locked(&self.timestamps).iter().map(|timestamp| timestamp.clone().into()));
        all_args.extend(displaceable.map_or_else(<[Vec<u8>; 2]>::default, |ForeignHolder { kind, value, .. }| {
            [kind.clone().into(), value.clone()]
        }));
        all_args.extend(args);

        let reply = link.run(limit(token)?, script, &[&fence_keys, keys].concat(), &all_args).await?;
        if has_held() && refused_by_our_owner(&reply) && token.remaining(clock::monotonic()).is_some() {
            locked(&self.displacements).suspect(token);
        }
        let answer = Answer::read(&reply, &self.owner)?;
        let held = !matches!(answer, Answer::OtherBase);
        // A lost answer counts as not held, though it may be: otherwise a second leader with our term would be let in
        // whenever Redis is slow. The price is a refusal, after which the leader raises its term.
        // An answer that outlives its token says nothing about the present one.
        if held && token.remaining(clock::monotonic()).is_some() {
            self.held.store(term.get(), Ordering::SeqCst);
        }
        Ok(answer)
    }
}

/// How long the next call may take.
pub(super) fn limit(token: &LeadershipToken) -> Result<Duration, NotWritten> {
    token.remaining(clock::monotonic()).map(|left| left.min(CALL_LIMIT)).ok_or(NotWritten::LeadershipOver)
}
