//! Publishing: what changed if what stands there can be proven, else everything. IO.
//!
//! In: a token and a [`Publication`]. Out: an [`PublishOutcome`]. A difference is sent on a base that the script proves
//! (`scripts/change.lua`); when it does not hold, nothing was written and the whole is sent in the same breath. The
//! whole is staged first, in keys that nobody reads, and made visible in one step that costs the same for ten servers
//! and for a hundred thousand (`scripts/publish.lua`).

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::error::Error;
use super::foreign_holder::ForeignHolder;
use super::keys::{LockHolder, StagingKeys, millis};
use super::publication::{Difference, Publication};
use super::script::{Call, Verdict};
use super::store::{CALL_LIMIT, Question, Stop, Store, limit, locked};
use super::{Kind, PublishOutcome};
use crate::clock;
use crate::leadership::LeadershipToken;
use crate::model::{ServerUrl, UnixTime};

/// Members in one SADD: Redis serves nobody else meanwhile.
const MEMBERS_A_CALL: usize = 1_000;
/// SADDs in one round trip: half a megabyte of ordinary URLs, which a slow line carries within [`CALL_LIMIT`].
const CALLS_A_TRIP: usize = 8;
/// Servers in a difference, above which everything is staged instead: a difference is applied in one go.
const MOST_MOVED: usize = 2_500;

impl Store {
    /// Publishes. Takes the lock if it is free, our own release's at a lower term, or a foreign one that may be
    /// displaced by the last check of the keeper ([`super::rivalry`]).
    pub async fn publish(&self, token: &LeadershipToken, publication: &Arc<Publication>) -> PublishOutcome {
        self.send(token, publication, self.expiries().publication).await
    }

    /// Publishes what Redis has lost while it is only kept alive: it ends when it would have ended.
    pub async fn publish_again(
        &self,
        token: &LeadershipToken,
        publication: &Arc<Publication>,
        until: UnixTime,
    ) -> PublishOutcome {
        let left = until.since(clock::now());
        self.send(token, publication, left.min(self.expiries().publication)).await
    }

    async fn send(&self, token: &LeadershipToken, publication: &Arc<Publication>, expiry: Duration) -> PublishOutcome {
        let expiry = millis(expiry).max(1).to_string();
        // Stepping down waits for this one before it releases the Lease.
        let Some(_write) = token.begin_write(clock::monotonic()) else { return PublishOutcome::LeadershipOver };
        let rival = locked(&self.rivals).displaceable.clone();
        self.remember_stamp(publication.timestamp());
        // Unknown from now on until Redis has answered: a renewal that crosses this call must not report a difference.
        let base = locked(&self.base).take();

        let difference = base.as_ref().and_then(|base| publication.since(base, MOST_MOVED).map(|moved| (base, moved)));
        let mut result = Ok(Verdict::Base);
        let mut kind = Kind::Full;
        if let Some((base, difference)) = &difference {
            kind = if difference.is_empty() { Kind::Unchanged } else { Kind::Difference };
            result = self.change(token, publication, &expiry, (base, difference), rival.as_ref()).await;
        }
        if matches!(result, Ok(Verdict::Base)) {
            if difference.is_some() {
                self.metrics.tried(kind.label(), "base");
                tracing::warn!("redis: what is stored is not what was published; publishing in full");
            }
            kind = Kind::Full;
            result = self.stage_and_swap(token, publication, &expiry, rival.as_ref()).await;
        }

        let after = match &result {
            Ok(Verdict::Published { .. }) => Some(Arc::clone(publication)),
            // Refused: what stood there stands there still, or else the script finds out.
            Ok(_) => base,
            Err(_) => None,
        };
        *locked(&self.base) = after;
        let outcome = self.outcome(result, rival.as_ref());
        self.metrics.tried(kind.label(), outcome.label());
        if matches!(outcome, PublishOutcome::Published { .. }) {
            self.metrics.published(clock::now());
        }
        outcome
    }

    fn outcome(&self, result: Result<Verdict, Stop>, rival: Option<&ForeignHolder>) -> PublishOutcome {
        match result {
            Ok(Verdict::Published { displaced: true }) => {
                let rival = rival.cloned().unwrap_or(ForeignHolder {
                    kind: String::new(),
                    value: Vec::new(),
                    publishes: false,
                });
                locked(&self.rivals).rivalry.displaced(&rival, clock::monotonic());
                self.metrics.took_over();
                self.check_soon.notify_one();
                let displaced = Some(LockHolder::shown(&rival.kind, &rival.value));
                PublishOutcome::Published { displaced }
            }
            Ok(Verdict::Published { displaced: false }) => PublishOutcome::PUBLISHED,
            Ok(Verdict::Fenced(by)) => PublishOutcome::Fenced { by },
            Ok(Verdict::NotHeld(holder, _)) => PublishOutcome::NotHeld { holder },
            Ok(Verdict::TooLate) => PublishOutcome::TooLate,
            Ok(Verdict::StagingLost) => PublishOutcome::Failed(Error::StagingLost),
            Ok(Verdict::Renewed(_) | Verdict::Withdrawn | Verdict::Base) => {
                PublishOutcome::Failed(Error::UnexpectedReply)
            }
            Err(Stop::LeadershipOver) => PublishOutcome::LeadershipOver,
            Err(Stop::Failed(error)) => PublishOutcome::Failed(error),
        }
    }

    fn remember_stamp(&self, stamp: &str) {
        let [last, before] = &mut *locked(&self.stamps);
        if last != stamp {
            *before = std::mem::replace(last, stamp.to_owned());
        }
    }

    async fn change(
        &self,
        token: &LeadershipToken,
        publication: &Publication,
        expiry: &str,
        (base, difference): (&Arc<Publication>, &Difference<'_>),
        rival: Option<&ForeignHolder>,
    ) -> Result<Verdict, Stop> {
        let mut args: Vec<Vec<u8>> = vec![
            expiry.into(),
            base.metadata().into(),
            base.hot().len().to_string().into(),
            base.cold().len().to_string().into(),
            publication.metadata().into(),
            publication.timestamp().into(),
        ];
        args.extend(difference.moves().map(|servers| servers.len().to_string().into()));
        args.extend(difference.moves().into_iter().flatten().map(|server| server.expose().into()));
        self.ask(&self.main, token, Question { script: Call::change, keys: Vec::new(), args, rival }).await
    }

    async fn stage_and_swap(
        &self,
        token: &LeadershipToken,
        publication: &Publication,
        expiry: &str,
        rival: Option<&ForeignHolder>,
    ) -> Result<Verdict, Stop> {
        let staging = self.keys.staging(token.term(), &Uuid::new_v4().simple().to_string());
        let result = match self.stage(token, publication, &staging).await {
            Ok(()) => self.swap(token, publication, expiry, &staging, rival).await,
            Err(stop) => Err(stop),
        };
        // What is left would expire by itself; when the lock is foreign for hours, that is a copy of the fleet at all
        // times. After a lost answer the connection is gone, and trying again would only wait.
        let refused = match &result {
            Ok(verdict) => !matches!(verdict, Verdict::Published { .. }),
            Err(Stop::Failed(error)) => error.spares_connection(),
            Err(Stop::LeadershipOver) => true,
        };
        if refused {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(&staging.hot).arg(&staging.cold);
            // Nothing depends on it.
            let _ = self.main.query::<i64>(CALL_LIMIT, &unlink).await;
        }
        result
    }

    async fn stage(
        &self,
        token: &LeadershipToken,
        publication: &Publication,
        staging: &StagingKeys,
    ) -> Result<(), Stop> {
        let expiry = millis(self.expiries().staging).max(1);
        for (key, members) in [(&staging.hot, publication.hot()), (&staging.cold, publication.cold())] {
            for trip in members.chunks(MEMBERS_A_CALL * CALLS_A_TRIP) {
                let mut pipeline = redis::pipe();
                for members in trip.chunks(MEMBERS_A_CALL) {
                    pipeline.cmd("SADD").arg(key).arg(members.iter().map(ServerUrl::expose).collect::<Vec<_>>());
                    pipeline.cmd("PEXPIRE").arg(key).arg(expiry);
                }
                self.main.send(limit(token)?, &pipeline).await?;
            }
        }
        Ok(())
    }

    async fn swap(
        &self,
        token: &LeadershipToken,
        publication: &Publication,
        expiry: &str,
        staging: &StagingKeys,
        rival: Option<&ForeignHolder>,
    ) -> Result<Verdict, Stop> {
        let keys = vec![staging.hot.clone(), staging.cold.clone()];
        let args = vec![
            expiry.into(),
            publication.hot().len().to_string().into(),
            publication.cold().len().to_string().into(),
            publication.metadata().into(),
            publication.timestamp().into(),
        ];
        self.ask(&self.main, token, Question { script: Call::publish, keys, args, rival }).await
    }
}
