//! What a new leader reads of its predecessor's publication. IO, reading only.
//!
//! Out: [`StoredPublication`]. A new leader demotes nothing in the stored hot set until every endpoint has reported, and
//! keeps the publication alive for three intervals from the stored timestamp
//! (`docs/contract.md#when-usage-is-incomplete`).

use std::collections::HashSet;
use std::time::Duration;

use super::error::Error;
use super::store::{CALL_LIMIT, MEMBERS_A_CALL, Store};
use crate::model::{ServerUrl, UnixTime};

/// The limit for all calls together: a slow Redis must not delay the start of a leader.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// More members than any fleet has. A larger set is not ours, and reading it would only cost memory.
const MOST_MEMBERS: usize = 1_000_000;

/// The publication that Redis holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredPublication {
    /// When it was made; `None` if there is no timestamp, or if it cannot be parsed.
    pub timestamp: Option<UnixTime>,
    /// The hot servers. Members that are not valid URLs are left out; a key of a wrong type counts as empty.
    pub hot: HashSet<ServerUrl>,
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
            hot.extend(members.iter().filter_map(|bytes| ServerUrl::parse(std::str::from_utf8(bytes).ok()?).ok()));
            if next == 0 || seen > MOST_MEMBERS {
                return Ok(hot);
            }
            cursor = next;
        }
    }
}
