//! Publishing: what changed, if Redis provably holds the base of the difference, else everything. IO.
//!
//! A difference is sent on a base that the script verifies (`scripts/change.lua`); if Redis holds anything else,
//! nothing is written and everything is sent at once. A full publication is first staged in keys that nobody reads, and
//! made visible in one step that costs the same for ten servers and for a hundred thousand (`scripts/publish.lua`).

use std::sync::Arc;

use uuid::Uuid;

use super::error::Error;
use super::foreign_holder::ForeignHolder;
use super::keys::millis;
use super::publication::{Difference, Publication};
use super::script::{Answer, CHANGE, PUBLISH};
use super::store::{CALL_LIMIT, MEMBERS_A_CALL, Store, limit};
use super::{NotWritten, Published, locked};
use crate::clock;
use crate::leadership::LeadershipToken;
use crate::model::{Monotonic, PlannedInterval, ServerUrl};

/// SADDs or HSETs in one round trip: half a megabyte of ordinary URLs, which a slow network carries within
/// [`CALL_LIMIT`].
const CALLS_A_TRIP: usize = 8;
/// Above this number of servers and planned intervals in a difference, everything is staged instead: a difference is
/// applied in one step.
const MOST_MOVED: usize = 2_500;

struct Sending<'a> {
    store: &'a Store,
    token: &'a LeadershipToken,
    publication: &'a Publication,
    /// Of the publication, in ms.
    expiry: String,
    /// The foreign holder that may lose the lock.
    displaceable: Option<ForeignHolder>,
}

impl Store {
    /// Publishes. Takes the lock as [`Store::renew`] does, and from a foreign holder that may be displaced by the last
    /// check of the keeper ([`super::foreign_holder`]). `until` makes the publication expire earlier than usual: Redis
    /// has lost it while it was only kept alive.
    ///
    /// # Errors
    /// Why nothing was published; after a failure it may have been, and the next publication is full.
    pub async fn publish(
        &self,
        token: &LeadershipToken,
        publication: &Arc<Publication>,
        until: Option<Monotonic>,
    ) -> Result<Published, NotWritten> {
        let full = self.expiries.publication;
        let expiry = until.map_or(full, |until| until.since(clock::monotonic()).min(full));
        // Stepping down waits for this one before it releases the Lease.
        let _write = token.begin_write(clock::monotonic()).ok_or(NotWritten::LeadershipOver)?;
        let displaceable = locked(&self.foreign).displaceable.clone();
        let expiry = millis(expiry).max(1).to_string();
        let sending = Sending { store: self, token, publication, expiry, displaceable };
        if let [last, before] = &mut *locked(&self.timestamps)
            && *last != publication.timestamp
        {
            *before = std::mem::replace(last, publication.timestamp.clone());
        }
        // Unknown until Redis has answered: a renewal that crosses this call must not report a difference.
        let base = locked(&self.base).take();

        let result = match sending.difference(base.as_deref()).await {
            Some(result) => result,
            None => sending.counted("full", sending.stage_and_swap().await),
        };
        *locked(&self.base) = match &result {
            Ok(_) => Some(Arc::clone(publication)),
            Err(NotWritten::Failed(_)) => None,
            // Refused: Redis holds what it held, or else the script will find out.
            Err(_) => base,
        };
        if !result? {
            return Ok(Published::default());
        }
        let displaced = sending.displaceable.map(|holder| {
            locked(&self.foreign).displaced(&holder, clock::monotonic());
            self.metrics.takeovers.inc();
            self.check_soon.notify_one();
            holder.to_string()
        });
        Ok(Published { displaced })
    }
}

/// Each answer says whether a foreign holder has lost the lock.
impl Sending<'_> {
    /// Sends what changed since the base; `None` if that is too much, or if Redis holds something else.
    async fn difference(&self, base: Option<&Publication>) -> Option<Result<bool, NotWritten>> {
        let base = base?;
        let difference = self.publication.since(base, MOST_MOVED)?;
        let kind = if difference.is_empty() { "unchanged" } else { "difference" };
        let Some(result) = self.change(base, &difference).await.transpose() else {
            self.store.metrics.publish_tried(kind, "base");
            tracing::warn!("redis: what is stored is not what was published; publishing in full");
            return None;
        };
        Some(self.counted(kind, result))
    }

    fn counted(&self, kind: &'static str, result: Result<bool, NotWritten>) -> Result<bool, NotWritten> {
        let metrics = &self.store.metrics;
        metrics.publish_tried(kind, result.as_ref().map_or_else(NotWritten::label, |_| "published"));
        if result.is_ok() {
            metrics.last_publication.set(Some(clock::now().seconds()));
        }
        result
    }

    async fn change(&self, base: &Publication, difference: &Difference<'_>) -> Result<Option<bool>, NotWritten> {
        let mut args: Vec<Vec<u8>> = vec![
            self.expiry.clone().into(),
            base.metadata.clone().into(),
            base.sizes.hot.to_string().into(),
            base.sizes.cold.to_string().into(),
            base.sizes.planned.to_string().into(),
            self.publication.metadata.clone().into(),
            self.publication.timestamp.clone().into(),
        ];
        args.extend(difference.moves.iter().map(|servers| servers.len().to_string().into()));
        let Difference { moves, fields } = difference;
        args.push(fields.len().to_string().into());
        let value = |planned: Option<PlannedInterval>| planned.map(|planned| planned.to_string()).unwrap_or_default();
        args.extend(moves.iter().flatten().map(|server| server.expose().into()));
        args.extend(fields.iter().map(|field| field.server.expose().into()));
        // One argument for each value would make a large difference an eighth longer.
        let values = fields.iter().map(|field| format!("{}>{};", value(field.before), value(field.now)));
        args.push(values.collect::<String>().into());
        self.run(CHANGE, &[], args).await
    }

    async fn stage_and_swap(&self) -> Result<bool, NotWritten> {
        let staging = self.store.keys.staging(self.token.term(), &Uuid::new_v4().simple().to_string());
        let result = match self.stage(&staging).await {
            Ok(()) => self.swap(&staging).await,
            Err(error) => Err(error),
        };
        // Staged keys expire by themselves, but while the lock is foreign for hours there would always be a copy of the
        // fleet. Without an answer trying again would only wait.
        let refused = match &result {
            Ok(_) => false,
            Err(NotWritten::Failed(error)) => error.is_answer(),
            Err(_) => true,
        };
        if refused {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(&staging);
            // Nothing depends on it.
            let _ = self.store.main.query::<i64>(CALL_LIMIT, &unlink).await;
        }
        result
    }

    async fn stage(&self, [hot, cold, intervals]: &[String; 3]) -> Result<(), NotWritten> {
        const TRIP: usize = MEMBERS_A_CALL * CALLS_A_TRIP;
        let publication = &self.publication;
        let sets: [(_, Vec<&ServerUrl>); 2] =
            [(hot, publication.hot().collect()), (cold, publication.cold().collect())];
        for (key, members) in sets {
            for trip in members.chunks(TRIP) {
                self.stage_trip("SADD", key, trip, |server| [server.expose()]).await?;
            }
        }
        let plan: Vec<(&str, String)> =
            publication.plan().map(|(server, planned)| (server.expose(), planned.to_string())).collect();
        for trip in plan.chunks(TRIP) {
            self.stage_trip("HSET", intervals, trip, |(server, planned)| [*server, planned]).await?;
        }
        Ok(())
    }

    /// Adds members of a set, or fields and values of a hash, to a staged key in one round trip.
    async fn stage_trip<T, const N: usize>(
        &self,
        command: &str,
        key: &str,
        items: &[T],
        words: impl Fn(&T) -> [&str; N],
    ) -> Result<(), NotWritten> {
        let expiry = millis(self.store.expiries.staging).max(1);
        let mut pipeline = redis::pipe();
        for items in items.chunks(MEMBERS_A_CALL) {
            pipeline.cmd(command).arg(key).arg(items.iter().flat_map(&words).collect::<Vec<_>>());
            pipeline.cmd("PEXPIRE").arg(key).arg(expiry);
        }
        Ok(self.store.main.query_all(limit(self.token)?, &pipeline).await?)
    }

    async fn swap(&self, staging: &[String; 3]) -> Result<bool, NotWritten> {
        let args = vec![
            self.expiry.clone().into(),
            self.publication.sizes.hot.to_string().into(),
            self.publication.sizes.cold.to_string().into(),
            self.publication.sizes.planned.to_string().into(),
            self.publication.metadata.clone().into(),
            self.publication.timestamp.clone().into(),
        ];
        Ok(self.run(PUBLISH, staging, args).await?.ok_or(Error::UnexpectedReply)?)
    }

    /// `None` if Redis holds another base.
    async fn run(&self, script: &str, keys: &[String], args: Vec<Vec<u8>>) -> Result<Option<bool>, NotWritten> {
        let Self { store, token, displaceable, .. } = self;
        match store.run(&store.main, token, script, keys, args, displaceable.as_ref()).await? {
            Answer::Published { displaced } => Ok(Some(displaced)),
            Answer::OtherBase => Ok(None),
            Answer::Renewed(_) | Answer::Withdrawn => Err(Error::UnexpectedReply.into()),
        }
    }
}
