//! Reading back what was published, a tenth at a time. IO, reading only.
//!
//! In: what was published. Out: whether all members that were read are part of it. Renewals compare metadata and
//! cardinalities; a member that was swapped for another changes neither, and is found here, within ten cycles.

use std::collections::HashSet;
use std::sync::Arc;

use super::error::Error;
use super::publication::Publication;
use super::store::{CALL_LIMIT, MEMBERS_A_CALL, ScanPosition, Store};
use crate::model::ServerUrl;

/// The number of cycles in which everything is read once.
const CYCLES: usize = 10;

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
    /// Reads the next tenth, and compares.
    ///
    /// # Errors
    /// Why Redis did not answer.
    pub async fn read_back(&self) -> Result<ReadBack, Error> {
        let Some(base) = self.base() else { return Ok(ReadBack::NoBase) };
        let mut position = self.scan.lock().await;
        let members = base.hot().len() + base.cold().len();
        // At least one, so that two empty sets are read as well.
        let enough = members.div_ceil(CYCLES).max(1);
        let (mut hot, mut cold) = (HashSet::new(), HashSet::new());
        while hot.len() + cold.len() < enough {
            let (key, read, most) = if position.in_cold {
                (&self.keys.cold, &mut cold, base.cold().len())
            } else {
                (&self.keys.hot, &mut hot, base.hot().len())
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
        if are_in(base.hot(), hot) && are_in(base.cold(), cold) {
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
