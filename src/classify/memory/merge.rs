//! Merging the rows of all processes into one table. Pure.
//!
//! Rows name their server by its place in a list that nearly all of them share. So they are added up by place, and each server is
//! looked up by its URL once: a million rows cost some milliseconds.

use std::sync::Arc;

use crate::classify::{ProcessReport, Row, ServerUsage, UsageTable};
use crate::model::{ServerUrl, UnixTime};

/// A list, and for each place in it what is said of the server there.
struct Places {
    list: Arc<[ServerUrl]>,
    sums: Vec<Option<ServerUsage>>,
}

/// The sums so far.
#[derive(Default)]
pub(super) struct Merge {
    /// Of processes with the list that the first one brought.
    shared: Option<Places>,
    /// Of processes with another list: those asked when the registry was another one.
    others: UsageTable,
}

impl Merge {
    /// Adds what one process says.
    pub fn add(&mut self, process: &ProcessReport) {
        let new = || Places { list: Arc::clone(&process.servers), sums: vec![None; process.servers.len()] };
        let Places { list, sums } = self.shared.get_or_insert_with(new);
        let shared = Arc::ptr_eq(list, &process.servers);
        for (server, row) in process.rows() {
            let used = usage_of(row);
            match sums.get_mut(row.server()) {
                Some(sum) if shared => sum.get_or_insert_default().merge(&used),
                _ => self.others.add(server, &used),
            }
        }
    }

    /// The whole.
    pub fn into_table(self) -> UsageTable {
        let Self { shared, others: mut table } = self;
        if let Some(Places { list, sums }) = shared {
            for (server, sum) in list.iter().zip(sums) {
                if let Some(sum) = sum {
                    table.add(server, &sum);
                }
            }
        }
        table
    }
}

/// What one row means.
fn usage_of(row: &Row) -> ServerUsage {
    let (active, idle, use_count) = (row.active(), row.idle(), row.use_count());
    match row.last_used() {
        Some(time) => ServerUsage::of_row(time, active, idle, use_count),
        // Used at a time that nobody knows; the remembered one, if any, makes it eligible.
        None if use_count > 0 => ServerUsage { last_used: None, active, idle, use_count },
        None => ServerUsage::of_row(UnixTime::EPOCH, active, idle, use_count),
    }
}
