//! One Redis as the operator uses it: asking its scripts, and renewing the lock. IO. Publishing is in [`super::sending`].
//!
//! In: a token and what to write. Out: what became of it. Each step is bounded by [`CALL_LIMIT`] and by what is left
//! of the token; nothing is tried twice.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::connection::Link;
use super::error::Error;
use super::foreign_holder::{ForeignHolder, ForeignHolderHistory, OtherHolder, TakeoverDecision};
use super::keys::{Expiries, Keys, LockHolder, OwnerId, millis, parse_term};
use super::metrics::Metrics;
use super::publication::Publication;
use super::script::{Call, Verdict, verdict};
use super::settings::RedisSettings;
use super::{Expiry, NotWritten, RenewOutcome};
use crate::clock;
use crate::leadership::LeadershipToken;
use crate::model::Term;

/// Every call to Redis (SPEC section 4).
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(1);
/// Reading the term at an acquisition (SPEC section 5): a slow Redis must not delay the Lease.
const TERM_LIMIT: Duration = Duration::from_millis(300);

/// One Redis, as the operator uses it. Shared by the loop and by the keeper of the lock ([`super::keep`]).
#[derive(Debug)]
pub struct Store {
    pub(super) keys: Keys,
    owner: OwnerId,
    expiries: Expiries,
    pub(super) main: Link,
    /// The lock has a connection of its own, so that a large publication does not delay its renewal.
    renewal: Link,
    pub(super) metrics: Metrics,
    /// The term at which this process last saw the lock in its hands; 0 for none. A process has at most one token
    /// at a term, so this says whether "this token has held the lock".
    held: AtomicI32,
    /// Held during a call that may be the first to take the lock at a term. Without it two calls of one new token
    /// would cross, and the second be fenced by the first.
    first_hold: AsyncMutex<()>,
    /// What stands in Redis as far as this process knows: the base of the next difference, and what renewals and
    /// reading back are held against. `None` while it is not known.
    pub(super) base: Mutex<Option<Arc<Publication>>>,
    /// The timestamps that this process has sent, the last and the one before: they are no sign of a rival.
    pub(super) stamps: Mutex<[String; 2]>,
    pub(super) rivals: Mutex<ForeignHolders>,
    /// Notified when calls that were sent before may still arrive and undo what was done (a foreign lock was taken, the
    /// publication was withdrawn): the keeper then checks more often for a while.
    pub(super) check_soon: Notify,
    pub(super) sweep: AsyncMutex<Sweep>,
}

/// How far reading back ([`super::readback`]) has come. Redis' cursors stand for places in a set, so one is good for a set that was replaced
/// in the meantime, too: at worst a part of it is read twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sweep {
    /// Hot is read first, then cold.
    pub(super) in_cold: bool,
    pub(super) cursor: u64,
}

/// What is known of foreign holders of the lock.
#[derive(Debug)]
pub(super) struct ForeignHolders {
    pub(super) rivalry: ForeignHolderHistory,
    /// The one that may be displaced now, by the last check.
    pub(super) displaceable: Option<ForeignHolder>,
}

/// What is asked of Redis beside what every script is given.
pub(super) struct Question<'a> {
    pub(super) script: fn(Vec<String>, Vec<Vec<u8>>) -> Call,
    pub(super) keys: Vec<String>,
    pub(super) args: Vec<Vec<u8>>,
    /// The foreign holder that may be displaced.
    pub(super) rival: Option<&'a ForeignHolder>,
}

/// Why there is no verdict.
pub(super) enum Stop {
    LeadershipOver,
    Failed(Error),
}

/// Locks; what another thread left behind in a panic is still a whole value.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Store {
    /// Prepares the room. Connects to nothing: the operator starts while Redis is down.
    ///
    /// # Errors
    /// [`Error::BadUrl`] or [`Error::BadPrefix`].
    pub fn open(settings: RedisSettings, metrics: Metrics) -> Result<Self, Error> {
        settings.access().parsed()?;
        let keys = Keys::new(&settings.key_prefix).ok_or(Error::BadPrefix)?;
        let expiries = Expiries::new(settings.interval, settings.lease_duration);
        let rivalry = ForeignHolderHistory::new(settings.takeover, settings.interval, expiries.renewal_period);
        Ok(Self {
            keys,
            expiries,
            main: Link::new(settings.access()),
            renewal: Link::new(settings.access()),
            owner: settings.owner,
            metrics,
            held: AtomicI32::new(0),
            first_hold: AsyncMutex::new(()),
            base: Mutex::new(None),
            stamps: Mutex::default(),
            rivals: Mutex::new(ForeignHolders { rivalry, displaceable: None }),
            check_soon: Notify::new(),
            sweep: AsyncMutex::default(),
        })
    }

    /// The expiries and the renewal period in use.
    #[must_use]
    pub const fn expiries(&self) -> &Expiries {
        &self.expiries
    }

    /// Whether Redis answers and is one that can be used: no Cluster, no Sentinel, 6.2 or later.
    ///
    /// # Errors
    /// Why not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.main.query(CALL_LIMIT, &redis::cmd("PING")).await
    }

    /// The highest term that has held the lock, for an acquisition of the Lease; bounded by 300 ms. What is no term
    /// is absent.
    ///
    /// # Errors
    /// Why Redis did not say; the acquisition goes on without (SPEC section 5).
    pub async fn term(&self) -> Result<Option<Term>, Error> {
        Ok(self.text(TERM_LIMIT, &self.keys.term, 10).await?.and_then(|text| parse_term(&text)))
    }

    /// The start of a string key, up to and with the byte at `last`; `None` if it is absent or of another type.
    pub(super) async fn text(&self, limit: Duration, key: &str, last: usize) -> Result<Option<Vec<u8>>, Error> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(key).arg(0).arg(last);
        match self.main.query::<Vec<u8>>(limit, &command).await {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_wrong_type() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Renews the lock, and the expiries of what is published if asked to, on a connection of its own. Takes the lock
    /// as [`Store::publish`] does.
    pub async fn renew(&self, token: &LeadershipToken, expiry: Expiry) -> RenewOutcome {
        let Some(_write) = token.begin_write(clock::monotonic()) else { return RenewOutcome::LeadershipOver };
        let kept = match expiry {
            Expiry::All(duration) => millis(duration),
            Expiry::LockOnly => 0,
        };
        // A foreign lock is taken with a publication in hand, or not at all.
        let args = vec![kept.to_string().into()];
        let question = Question { script: Call::renew, keys: Vec::new(), args, rival: None };
        match self.ask(&self.renewal, token, question).await {
            Ok(Verdict::Renewed(found)) => RenewOutcome::Renewed(found),
            Ok(Verdict::Fenced(by)) => RenewOutcome::Fenced { by },
            Ok(Verdict::NotHeld(holder, rival)) => RenewOutcome::NotHeld { holder, rival },
            Ok(Verdict::TooLate) => RenewOutcome::TooLate,
            Ok(Verdict::Published { .. } | Verdict::Withdrawn | Verdict::StagingLost | Verdict::Base) => {
                RenewOutcome::Failed(Error::UnexpectedReply)
            }
            Err(Stop::LeadershipOver) => RenewOutcome::LeadershipOver,
            Err(Stop::Failed(error)) => RenewOutcome::Failed(error),
        }
    }

    /// Takes the publication out of Redis: hot, cold, metadata and timestamp in one step, so that a reader finds a whole
    /// publication or none. The lock is kept, or taken if it is free or our own release's at a lower term; a foreign
    /// holder is not displaced, and then nothing is deleted. The next publication is full.
    ///
    /// A publication that was sent before may still arrive. With [`super::Retention::Withdrawn`] the keeper notices it.
    ///
    /// # Errors
    /// Why nothing was withdrawn; after a failure it may have been.
    pub async fn withdraw(&self, token: &LeadershipToken) -> Result<(), NotWritten> {
        let Some(_write) = token.begin_write(clock::monotonic()) else { return Err(NotWritten::LeadershipOver) };
        *locked(&self.base) = None;
        let question = Question { script: Call::withdraw, keys: Vec::new(), args: Vec::new(), rival: None };
        match self.ask(&self.main, token, question).await {
            Ok(Verdict::Withdrawn) => {
                self.check_soon.notify_one();
                Ok(())
            }
            Ok(Verdict::Fenced(Some(by))) => Err(NotWritten::Fenced { by }),
            Ok(Verdict::NotHeld(LockHolder::OtherRelease(owner), _)) => {
                Err(NotWritten::NotHeld(OtherHolder::Release(owner)))
            }
            Ok(Verdict::NotHeld(_, foreign)) => Err(NotWritten::NotHeld(OtherHolder::Program(foreign))),
            Ok(Verdict::TooLate) => Err(NotWritten::TooLate),
            Ok(_) => Err(NotWritten::Failed(Error::UnexpectedReply)),
            Err(Stop::LeadershipOver) => Err(NotWritten::LeadershipOver),
            Err(Stop::Failed(error)) => Err(NotWritten::Failed(error)),
        }
    }

    /// What a check of the lock says of its holder, for [`ForeignHolderHistory`]; the stance towards a foreign one.
    pub(super) fn judge(&self, outcome: &RenewOutcome) -> TakeoverDecision {
        let rivals = &mut *locked(&self.rivals);
        rivals.displaceable = None;
        match outcome {
            RenewOutcome::Renewed(_) => rivals.rivalry.ours(),
            RenewOutcome::NotHeld { holder: LockHolder::Foreign(_), rival } => {
                let stance = rivals.rivalry.foreign(rival, clock::monotonic());
                if stance == TakeoverDecision::Take {
                    rivals.displaceable = Some(rival.clone());
                }
                return stance;
            }
            _ => rivals.rivalry.unseen(),
        }
        TakeoverDecision::Wait
    }

    /// What the last publication is to be found as, if it is known to have taken effect.
    pub(super) fn base(&self) -> Option<Arc<Publication>> {
        locked(&self.base).clone()
    }

    /// What stands in Redis is not this publication: the next one is full. Another one may have gone out meanwhile.
    pub(super) fn forget_base_if(&self, publication: &Arc<Publication>) {
        locked(&self.base).take_if(|base| Arc::ptr_eq(base, publication));
    }

    /// Sends a script with what `scripts/fence.lua` needs, and remembers if the lock is ours after it.
    pub(super) async fn ask(
        &self,
        link: &Link,
        token: &LeadershipToken,
        question: Question<'_>,
    ) -> Result<Verdict, Stop> {
        let Question { script, keys: more_keys, args: more_args, rival } = question;
        let term = token.term();
        let has_held = || self.held.load(Ordering::SeqCst) == term.get();
        let _first = if has_held() { None } else { Some(self.first_hold.lock().await) };
        let Keys { hot, cold, metadata, timestamp, lock, term: term_key, .. } = &self.keys;
        let mut keys: Vec<String> = [lock, term_key, hot, cold, metadata, timestamp].map(String::clone).into();
        keys.extend(more_keys);
        let mut args: Vec<Vec<u8>> = vec![
            self.owner.lock_prefix().into(),
            term.to_string().into(),
            u8::from(has_held()).to_string().into(),
            millis(self.expiries.lock).max(1).to_string().into(),
        ];
        args.extend(locked(&self.stamps).iter().map(|stamp| stamp.clone().into()));
        args.extend(match rival {
            Some(ForeignHolder { kind, value, publishes: _ }) => [kind.clone().into_bytes(), value.clone()],
            None => [Vec::new(), Vec::new()],
        });
        args.extend(more_args);

        let reply = link.run(limit(token)?, &script(keys, args)).await?;
        let verdict = verdict(&reply, &self.owner)?;
        // A lost answer counts as not held, though it may be: a second leader with our term would else be let in
        // whenever Redis is slow. The price is a refusal, upon which the leader raises its term.
        let held = matches!(verdict, Verdict::Published { .. } | Verdict::Renewed(_) | Verdict::Withdrawn);
        // An answer that outlives its token says nothing of the present one.
        if held && token.remaining(clock::monotonic()).is_some() {
            self.held.store(term.get(), Ordering::SeqCst);
        }
        Ok(verdict)
    }
}

/// How long the next step may take.
pub(super) fn limit(token: &LeadershipToken) -> Result<Duration, Stop> {
    token.remaining(clock::monotonic()).map(|left| left.min(CALL_LIMIT)).ok_or(Stop::LeadershipOver)
}
