//! The time of use for rows without one: the cycle in which their count last rose
//! (`docs/contract.md#the-usage-report`). Pure.

use std::collections::HashMap;

use crate::classify::{PerServer, ProcessReport, Row};
use crate::model::{ServerUrl, UnixTime};

/// Removes the times that only a clock which was set since can have made: those that are the remembered use before they
/// are corrected by `offset` seconds. A new leader does not know what the clock showed before. Statuses have whole
/// seconds.
pub(super) fn undate(process: &mut ProcessReport, offset: f64, remembered: &PerServer<Option<UnixTime>>) {
    let remembered = remembered.on(&process.servers);
    for row in &mut process.rows {
        let known = remembered.get(row.server()).copied().flatten();
        if let (Some(used), Some(known)) = (row.last_used(), known)
            && used > UnixTime::EPOCH
            && used.seconds() - offset - known.seconds() < 1.0
            && known.seconds() - (used.seconds() - offset) < 0.001
        {
            *row = row.used_at(None);
        }
    }
}

/// Dates the rows that have no time, as far as the last report of the same process (`before`) allows it.
///
/// A count that is seen for the first time shows that there was a use, but not when. If the process was not known
/// before, or if the collection before had not `asked` about the server, it counts as a use now only where no use of
/// the server is `remembered`: otherwise a new leader would take every server for just used, and any leader those that
/// come back to the registry.
pub(super) fn date(
    process: &mut ProcessReport,
    before: Option<&ProcessReport>,
    asked: &PerServer<bool>,
    remembered: &PerServer<Option<UnixTime>>,
) {
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
    let (asked, remembered) = (asked.on(&process.servers), remembered.on(&process.servers));
    // One row for each server, like the counts before.
    let mut rows = std::mem::take(&mut process.rows).into_vec();
    Row::fold(&mut rows);
    for row in rows.iter_mut().filter(|row| undated(row)) {
        let Some(server) = process.servers.get(row.server()) else { continue };
        let time = match counted.get(server) {
            Some((count, time)) if row.use_count() <= *count => *time,
            None if (before.is_none() || asked.get(row.server()) != Some(&true))
                && remembered.get(row.server()).is_some_and(Option::is_some) =>
            {
                None
            }
            Some(_) | None => Some(process.observed_at),
        };
        *row = row.used_at(time);
    }
    process.rows = rows.into_boxed_slice();
}
