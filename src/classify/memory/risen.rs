//! Rows without a time: the cycle in which their count last rose stands for it (SPEC section 2). Pure.

use std::collections::HashMap;

use crate::classify::{PerServer, ProcessReport, Row};
use crate::model::{ServerUrl, UnixTime};

/// Puts a time into the rows that have none, as far as one can be told from what the same process said `before`.
///
/// A count that is seen for the first time says that there was a use, but not when. Of a process that was not known before it
/// stands for one now only if nothing better is `known` of the server; else a new leader would call everything just used.
pub(super) fn date(process: &mut ProcessReport, before: Option<&ProcessReport>, known: &PerServer<Option<UnixTime>>) {
    let undated = |row: &Row| row.last_used().is_none() && row.use_count() > 0;
    if !process.rows.iter().any(undated) {
        return;
    }
    let mut counted: HashMap<&ServerUrl, (u64, Option<UnixTime>)> = HashMap::new();
    for (server, row) in before.iter().flat_map(|before| before.rows()) {
        let (count, time) = counted.entry(server).or_default();
        *count = count.saturating_add(row.use_count());
        *time = row.last_used().max(*time);
    }
    let known = known.on(&process.servers);
    // One row for each server, as the counts before.
    let mut rows = std::mem::take(&mut process.rows).into_vec();
    Row::fold(&mut rows);
    for row in rows.iter_mut().filter(|row| undated(row)) {
        let Some(server) = process.servers.get(row.server()) else { continue };
        let time = match counted.get(server) {
            Some((count, time)) if row.use_count() <= *count => *time,
            None if before.is_none() && known.get(row.server()).is_some_and(Option::is_some) => None,
            Some(_) | None => Some(process.observed_at),
        };
        *row = row.used_at(time);
    }
    process.rows = rows.into_boxed_slice();
}
