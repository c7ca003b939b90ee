//! Reading a stored publication: what a new leader finds of its predecessor's, and a part of one's own in each cycle.
//! IO, reading only.
//!
//! A new leader demotes nothing in the stored hot set until every endpoint has reported, and keeps the publication
//! alive for three intervals from the stored timestamp (`docs/contract.md#when-usage-is-incomplete`).
//!
//! Renewals compare metadata and cardinalities. A member that was swapped for another, or a planned interval that was
//! edited, changes neither; reading back finds it within ten cycles.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::publication::{Publication, ScannedKey};
use super::store::{CALL_LIMIT, MEMBERS_A_CALL, ScanPosition, Store};
use crate::model::{ServerUrl, UnixTime};

/// The limit for all calls that read a predecessor's publication: a slow Redis must not delay the start of a leader.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// More members than any fleet has. A larger set is not ours, and reading it would only cost memory.
const MOST_MEMBERS: usize = 1_000_000;
/// The number of cycles within which everything is read back once, wherever the scan stands.
const CYCLES: usize = 10;

/// The publication that Redis holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredPublication {
    /// When it was made; `None` if there is no timestamp, or if it cannot be parsed.
    pub timestamp: Option<UnixTime>,
    /// The hot servers. Members that are not valid URLs are left out; a key of a wrong type counts as empty.
    pub hot: HashSet<ServerUrl>,
}

/// What reading back has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// All members that were read were published.
    AsPublished,
    /// A member or a planned interval is not as it was published, or a key is of a wrong type. The next publication is
    /// full.
    Different,
    /// There is no publication of these servers that is known to have taken effect: nothing to compare with.
    NoBase,
}

impl Store {
    /// Reads the stored publication, within five seconds.
    ///
    /// # Errors
    /// Why Redis did not answer.
    pub async fn stored(&self) -> Result<StoredPublication, Error> {
        let whole = async {
            let timestamp = self.text(CALL_LIMIT, &self.keys.timestamp, 63).await?;
            let seconds = timestamp.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
            let timestamp = seconds.and_then(UnixTime::from_seconds);
            Ok(StoredPublication { timestamp, hot: self.stored_hot().await? })
        };
        tokio::time::timeout(READ_LIMIT, whole).await.unwrap_or(Err(Error::TimedOut))
    }

    async fn stored_hot(&self) -> Result<HashSet<ServerUrl>, Error> {
        let mut hot = HashSet::new();
        let (mut cursor, mut seen) = (0_u64, 0_usize);
        loop {
            let part = self.main.scan::<Vec<u8>>(CALL_LIMIT, "SSCAN", &self.keys.hot, cursor, MEMBERS_A_CALL).await?;
            let Some((next, members)) = part else { return Ok(HashSet::new()) };
            seen = seen.saturating_add(members.len());
            hot.extend(
                members.iter().filter_map(|bytes| ServerUrl::parse_published(std::str::from_utf8(bytes).ok()?).ok()),
            );
            if next == 0 || seen > MOST_MEMBERS {
                return Ok(hot);
            }
            cursor = next;
        }
    }

    /// Reads the next part of the members and of the plan's fields, and compares: everything within ten cycles.
    /// `servers`: those of the last publication; otherwise there is nothing to compare with. `place_of`: the place of a
    /// URL among them.
    ///
    /// # Errors
    /// Why Redis did not answer.
    pub async fn read_back(
        &self,
        servers: &Arc<[ServerUrl]>,
        place_of: impl Fn(&str) -> Option<u32>,
    ) -> Result<ReadBack, Error> {
        let Some(base) = self.base().filter(|base| Arc::ptr_eq(base.servers(), servers)) else {
            return Ok(ReadBack::NoBase);
        };
        let mut position = self.scan.lock().await;
        // Without a plan there is nothing to scan; renewals find a key that should not exist.
        if base.sizes.planned == 0 && position.key == ScannedKey::Intervals {
            *position = ScanPosition::default();
        }
        let members = base.sizes.hot + base.sizes.cold + base.sizes.planned;
        // The cycle that reaches the end of the last key reads less, so the others read a ninth. At least one, so that
        // two empty sets are read as well.
        let enough = members / (CYCLES - 1) + 1;
        // A plan has no more fields than the sets have members, so that it takes no further round trips.
        let part_size = if base.sizes.planned > 0 { 2 * MEMBERS_A_CALL } else { MEMBERS_A_CALL }.min(enough);
        let mut read = 0;
        while read < enough {
            let ScanPosition { key, .. } = *position;
            let Some((next, part)) = self.scan_part(*position, part_size).await? else {
                return Ok(self.different(&base));
            };
            let is_published = |(member, value): &(Vec<u8>, Vec<u8>)| {
                let place = std::str::from_utf8(member).ok().and_then(&place_of);
                place.is_some_and(|place| base.has(key, place, value))
            };
            if !part.iter().all(is_published) {
                return Ok(self.different(&base));
            }
            read += part.len();
            let following = match key {
                ScannedKey::Hot => ScannedKey::Cold,
                ScannedKey::Cold if base.sizes.planned > 0 => ScannedKey::Intervals,
                ScannedKey::Cold | ScannedKey::Intervals => ScannedKey::Hot,
            };
            *position = ScanPosition { key: if next == 0 { following } else { key }, cursor: next };
            if *position == ScanPosition::default() {
                break;
            }
        }
        Ok(ReadBack::AsPublished)
    }

    /// The members or fields at this position, and the cursor of the next part. `None` if the key is of a wrong type.
    async fn scan_part(
        &self,
        position: ScanPosition,
        count: usize,
    ) -> Result<Option<(u64, Vec<(Vec<u8>, Vec<u8>)>)>, Error> {
        let set = match position.key {
            ScannedKey::Hot => &self.keys.hot,
            ScannedKey::Cold => &self.keys.cold,
            ScannedKey::Intervals => {
                return self.main.scan(CALL_LIMIT, "HSCAN", &self.keys.intervals, position.cursor, count).await;
            }
        };
        let part = self.main.scan::<Vec<u8>>(CALL_LIMIT, "SSCAN", set, position.cursor, count).await?;
        let without_values = |members: Vec<Vec<u8>>| members.into_iter().map(|member| (member, Vec::new())).collect();
        Ok(part.map(|(next, members)| (next, without_values(members))))
    }

    fn different(&self, base: &Arc<Publication>) -> ReadBack {
        tracing::warn!("redis: a member of a set or a planned interval is not as it was published");
        self.forget_base_if(base);
        ReadBack::Different
    }
}
