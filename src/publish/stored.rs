//! Reading a stored publication: what a new leader finds of its predecessor's, and a tenth of one's own in each cycle.
//! IO, reading only.
//!
//! A new leader demotes nothing in the stored hot set until every endpoint has reported, and keeps the publication
//! alive for three intervals from the stored timestamp (`docs/contract.md#when-usage-is-incomplete`).
//!
//! Renewals compare metadata and cardinalities. A member that was swapped for another changes neither; reading back
//! finds it within ten cycles.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::error::Error;
use super::publication::Publication;
use super::store::{CALL_LIMIT, MEMBERS_A_CALL, ScanPosition, Store};
use crate::model::{ServerUrl, UnixTime};

/// The limit for all calls that read a predecessor's publication: a slow Redis must not delay the start of a leader.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// More members than any fleet has. A larger set is not ours, and reading it would only cost memory.
const MOST_MEMBERS: usize = 1_000_000;
/// The number of cycles in which everything is read back once.
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
    /// A member is not where it was published, or a key is not a set. The next publication is full.
    Different,
    /// There is no publication that is known to have taken effect, so there is nothing to compare with.
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
            let part = self.main.scan(CALL_LIMIT, &self.keys.hot, cursor, MEMBERS_A_CALL).await?;
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

    /// Reads the next tenth, and compares.
    ///
    /// # Errors
    /// Why Redis did not answer.
    pub async fn read_back(&self) -> Result<ReadBack, Error> {
        let Some(base) = self.base() else { return Ok(ReadBack::NoBase) };
        let mut position = self.scan.lock().await;
        let members = base.hot.len() + base.cold.len();
        // At least one, so that two empty sets are read as well.
        let enough = members.div_ceil(CYCLES).max(1);
        let (mut hot, mut cold) = (HashSet::new(), HashSet::new());
        while hot.len() + cold.len() < enough {
            let (key, read, most) = if position.in_cold {
                (&self.keys.cold, &mut cold, base.cold.len())
            } else {
                (&self.keys.hot, &mut hot, base.hot.len())
            };
            let part = self.main.scan(CALL_LIMIT, key, position.cursor, MEMBERS_A_CALL.min(enough)).await?;
            let Some((next, found)) = part else { return Ok(self.different(&base)) };
            read.extend(found);
            if read.len() > most {
                return Ok(self.different(&base));
            }
            *position = ScanPosition { in_cold: position.in_cold ^ (next == 0), cursor: next };
            if *position == ScanPosition::default() {
                break;
            }
        }
        if are_in(&base.hot, hot) && are_in(&base.cold, cold) {
            return Ok(ReadBack::AsPublished);
        }
        Ok(self.different(&base))
    }

    fn different(&self, base: &Arc<Publication>) -> ReadBack {
        tracing::warn!("redis: a member of a set is not where it was published");
        self.forget_base_if(base);
        ReadBack::Different
    }
}

/// Whether all of these were published.
fn are_in(published: &[ServerUrl], mut read: HashSet<Vec<u8>>) -> bool {
    for server in published {
        read.remove(server.expose().as_bytes());
    }
    read.is_empty()
}
