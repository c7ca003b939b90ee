//! Publishing and renewing. IO.
//!
//! In: a mandate and what to write. Out: what became of it. Each step is bounded by [`CALL_LIMIT`] and by what is left
//! of the mandate; nothing is tried twice.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use super::connection::Link;
use super::error::Error;
use super::keys::{Expiries, Keys, OwnerId, StagingKeys, millis, parse_term};
use super::metrics::Metrics;
use super::publication::Publication;
use super::script::{Call, Found, Verdict, verdict};
use super::settings::RedisSettings;
use super::{Expiry, Outcome, RenewOutcome};
use crate::clock;
use crate::leadership::Mandate;
use crate::model::{ServerUrl, Term};

/// Every call to Redis (SPEC section 4).
const CALL_LIMIT: Duration = Duration::from_secs(1);
/// Reading the term at an acquisition (SPEC section 5): a slow Redis must not delay the Lease.
const TERM_LIMIT: Duration = Duration::from_millis(300);
/// Members in one SADD: Redis serves nobody else meanwhile.
const MEMBERS_A_CALL: usize = 1_000;
/// SADDs in one round trip: half a megabyte of ordinary URLs, which a slow line carries within [`CALL_LIMIT`].
const CALLS_A_TRIP: usize = 8;

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
    /// The term at which this process last saw the lock in its hands; 0 for none. A process has at most one mandate
    /// at a term, so this says whether "this mandate has held the lock".
    held: AtomicI32,
    /// Held during a call that may be the first to take the lock at a term. Without it two calls of one new mandate
    /// would cross, and the second be fenced by the first.
    first_hold: AsyncMutex<()>,
    /// What the last publication is to be found as; `None` while that is not known.
    expected: Mutex<Option<Arc<Found>>>,
}

/// Why there is no verdict.
enum Stop {
    MandateOver,
    Failed(Error),
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
        settings.parsed()?;
        let keys = Keys::new(&settings.key_prefix).ok_or(Error::BadPrefix)?;
        let settings = Arc::new(settings);
        Ok(Self {
            keys,
            owner: settings.owner.clone(),
            expiries: Expiries::new(settings.interval, settings.lease_duration),
            main: Link::new(Arc::clone(&settings)),
            renewal: Link::new(settings),
            metrics,
            held: AtomicI32::new(0),
            first_hold: AsyncMutex::new(()),
            expected: Mutex::new(None),
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

    /// Publishes in full: stages both sets, then makes them visible with metadata, timestamp and expiries at once.
    /// Takes the lock if it is free or our own release's at a lower term.
    pub async fn publish(&self, mandate: &Mandate, publication: &Publication) -> Outcome {
        let outcome = match self.stage_and_swap(mandate, publication).await {
            Ok(Verdict::Published) => Outcome::Published,
            Ok(Verdict::Fenced(by)) => Outcome::Fenced { by },
            Ok(Verdict::NotHeld(holder)) => Outcome::NotHeld { holder },
            Ok(Verdict::TooLate) => Outcome::TooLate,
            Ok(Verdict::StagingLost) => Outcome::Failed(Error::StagingLost),
            Ok(Verdict::Renewed(_)) => Outcome::Failed(Error::UnexpectedReply),
            Err(Stop::MandateOver) => Outcome::MandateOver,
            Err(Stop::Failed(error)) => Outcome::Failed(error),
        };
        self.metrics.tried("full", outcome.label());
        if outcome == Outcome::Published {
            self.metrics.published(clock::now());
        }
        outcome
    }

    async fn stage_and_swap(&self, mandate: &Mandate, publication: &Publication) -> Result<Verdict, Stop> {
        // Stepping down waits for this one before it releases the Lease.
        let _write = mandate.begin_write(clock::monotonic()).ok_or(Stop::MandateOver)?;
        let staging = self.keys.staging(mandate.term(), &Uuid::new_v4().simple().to_string());
        let result = match self.stage(mandate, publication, &staging).await {
            Ok(()) => self.swap(mandate, publication, &staging).await,
            Err(stop) => Err(stop),
        };
        // What is left would expire by itself; when the lock is foreign for hours, that is a copy of the fleet at all
        // times. After a lost answer the connection is gone, and trying again would only wait.
        let refused = match &result {
            Ok(verdict) => *verdict != Verdict::Published,
            Err(Stop::Failed(error)) => error.spares_connection(),
            Err(Stop::MandateOver) => true,
        };
        if refused {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(&staging.hot).arg(&staging.cold);
            // Nothing depends on it.
            let _ = self.main.query::<i64>(CALL_LIMIT, &unlink).await;
        }
        result
    }

    async fn stage(&self, mandate: &Mandate, publication: &Publication, staging: &StagingKeys) -> Result<(), Stop> {
        let expiry = millis(self.expiries.staging).max(1);
        for (key, members) in [(&staging.hot, publication.hot()), (&staging.cold, publication.cold())] {
            for trip in members.chunks(MEMBERS_A_CALL * CALLS_A_TRIP) {
                let mut pipeline = redis::pipe();
                for members in trip.chunks(MEMBERS_A_CALL) {
                    pipeline.cmd("SADD").arg(key).arg(members.iter().map(ServerUrl::expose).collect::<Vec<_>>());
                    pipeline.cmd("PEXPIRE").arg(key).arg(expiry);
                }
                self.main.send(limit(mandate)?, &pipeline).await?;
            }
        }
        Ok(())
    }

    async fn swap(&self, mandate: &Mandate, publication: &Publication, staging: &StagingKeys) -> Result<Verdict, Stop> {
        let keys = vec![staging.hot.clone(), staging.cold.clone()];
        let args = vec![
            millis(self.expiries.publication).max(1).to_string(),
            publication.hot().len().to_string(),
            publication.cold().len().to_string(),
            publication.metadata().to_owned(),
            publication.timestamp().to_owned(),
        ];
        // Unknown from now on until Redis has answered: a renewal that crosses this call must not report a difference.
        let before = self.expected.lock().unwrap_or_else(PoisonError::into_inner).take();
        let verdict = self.ask(&self.main, mandate, Call::publish, keys, args).await?;
        let after = match verdict {
            Verdict::Published => Some(Arc::new(Found::expected(publication))),
            _ => before,
        };
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(verdict)
    }

    /// Renews the lock, and the expiries of what is published if asked to, on a connection of its own. Takes the lock
    /// as [`Store::publish`] does.
    pub async fn renew(&self, mandate: &Mandate, expiry: Expiry) -> RenewOutcome {
        let Some(_write) = mandate.begin_write(clock::monotonic()) else { return RenewOutcome::MandateOver };
        let kept = match expiry {
            Expiry::All(duration) => millis(duration),
            Expiry::LockOnly => 0,
        };
        match self.ask(&self.renewal, mandate, Call::renew, Vec::new(), vec![kept.to_string()]).await {
            Ok(Verdict::Renewed(found)) => RenewOutcome::Renewed(found),
            Ok(Verdict::Fenced(by)) => RenewOutcome::Fenced { by },
            Ok(Verdict::NotHeld(holder)) => RenewOutcome::NotHeld { holder },
            Ok(Verdict::TooLate) => RenewOutcome::TooLate,
            Ok(Verdict::Published | Verdict::StagingLost) => RenewOutcome::Failed(Error::UnexpectedReply),
            Err(Stop::MandateOver) => RenewOutcome::MandateOver,
            Err(Stop::Failed(error)) => RenewOutcome::Failed(error),
        }
    }

    /// What the last publication is to be found as, if it is known to have taken effect.
    pub(super) fn expected(&self) -> Option<Arc<Found>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a script with what `scripts/fence.lua` needs, and remembers if the lock is ours after it.
    async fn ask(
        &self,
        link: &Link,
        mandate: &Mandate,
        script: fn(Vec<String>, Vec<String>) -> Call,
        more_keys: Vec<String>,
        more_args: Vec<String>,
    ) -> Result<Verdict, Stop> {
        let term = mandate.term();
        let has_held = || self.held.load(Ordering::SeqCst) == term.get();
        let _first = if has_held() { None } else { Some(self.first_hold.lock().await) };
        let Keys { hot, cold, metadata, timestamp, lock, term: term_key, .. } = &self.keys;
        let mut keys: Vec<String> = [lock, term_key, hot, cold, metadata, timestamp].map(String::clone).into();
        keys.extend(more_keys);
        let mut args = vec![
            self.owner.lock_prefix(),
            term.to_string(),
            u8::from(has_held()).to_string(),
            millis(self.expiries.lock).max(1).to_string(),
        ];
        args.extend(more_args);

        let reply = link.run(limit(mandate)?, &script(keys, args)).await?;
        let verdict = verdict(&reply, &self.owner)?;
        // A lost answer counts as not held, though it may be: a second leader with our term would else be let in
        // whenever Redis is slow. The price is a refusal, upon which the leader raises its term.
        if matches!(verdict, Verdict::Published | Verdict::Renewed(_)) {
            self.held.store(term.get(), Ordering::SeqCst);
        }
        Ok(verdict)
    }
}

/// How long the next step may take.
fn limit(mandate: &Mandate) -> Result<Duration, Stop> {
    mandate.remaining(clock::monotonic()).map(|left| left.min(CALL_LIMIT)).ok_or(Stop::MandateOver)
}
