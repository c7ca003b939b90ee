//! What a new leader wants to know of what its predecessor published. IO, reading only.
//!
//! In: nothing. Out: [`Stored`]. It demotes nothing that the stored hot set calls hot until every endpoint has
//! answered it, and counts the life of the publication from the stored timestamp (SPEC section 5).

use std::collections::HashSet;
use std::time::Duration;

use super::error::Error;
use super::store::Store;
use crate::model::{ServerUrl, UnixTime};

/// All of it together; the start of a leader must not hang on it.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Each call.
const CALL_LIMIT: Duration = Duration::from_secs(1);
/// What a call is asked for; Redis may give a few more.
const MEMBERS_A_CALL: usize = 1_000;
/// More members than any fleet has: beyond this the set is not ours, and reading on would only cost memory.
const MOST_MEMBERS: usize = 1_000_000;

/// The publication as it stands in Redis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// When it was decided; `None` if there is none or it is no time.
    pub timestamp: Option<UnixTime>,
    /// The servers it calls hot; members that are no server's URL are left out, a key of a wrong type is empty.
    pub hot: HashSet<ServerUrl>,
}

impl Store {
    /// Reads it, within five seconds.
    ///
    /// # Errors
    /// Why Redis did not say.
    pub async fn stored(&self) -> Result<Stored, Error> {
        let whole = async {
            let timestamp = self.text(CALL_LIMIT, &self.keys.timestamp, 63).await?;
            let seconds = timestamp.and_then(|text| String::from_utf8(text).ok()?.parse().ok());
            Ok(Stored { timestamp: seconds.and_then(UnixTime::from_seconds), hot: self.stored_hot().await? })
        };
        tokio::time::timeout(READ_LIMIT, whole).await.unwrap_or(Err(Error::TimedOut))
    }

    async fn stored_hot(&self) -> Result<HashSet<ServerUrl>, Error> {
        let mut hot = HashSet::new();
        let (mut cursor, mut seen) = (0_u64, 0_usize);
        loop {
            let mut scan = redis::cmd("SSCAN");
            scan.arg(&self.keys.hot).arg(cursor).arg("COUNT").arg(MEMBERS_A_CALL);
            let (next, members): (u64, Vec<Vec<u8>>) = match self.main.query(CALL_LIMIT, &scan).await {
                Err(error) if error.is_wrong_type() => return Ok(HashSet::new()),
                other => other?,
            };
            seen = seen.saturating_add(members.len());
            hot.extend(members.iter().filter_map(|bytes| ServerUrl::parse(std::str::from_utf8(bytes).ok()?).ok()));
            if next == 0 || seen > MOST_MEMBERS {
                return Ok(hot);
            }
            cursor = next;
        }
    }
}
