//! Merging the rows of all processes into one column. Pure.
//!
//! Rows name their server by its place in a list that nearly all of them share. So they are added up by place, list by list, and what
//! stands in an older list is moved to the present one at the end: a million rows cost some milliseconds.

use std::sync::Arc;

use crate::classify::{PerServer, ProcessReport, Row, ServerUsage};
use crate::model::{ServerUrl, UnixTime};

/// Values of rows by the list that the rows name places in; there are as many lists as the registry has had since the oldest report.
pub(super) struct ByList<T>(Vec<PerServer<T>>);

impl<T: Clone + Default> ByList<T> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether no process was taken in.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in the rows of a process: `add` changes the value of the server of each.
    pub fn add(&mut self, process: &ProcessReport, mut add: impl FnMut(&mut T, &Row)) {
        let its = |column: &PerServer<T>| Arc::ptr_eq(column.servers(), &process.servers);
        let index = self.0.iter().position(its).unwrap_or_else(|| {
            self.0.push(PerServer::of(&process.servers));
            self.0.len() - 1
        });
        for row in &process.rows {
            if let Some(value) = self.0[index].get_mut(row.server()) {
                add(value, row);
            }
        }
    }

    /// The values of all of them together, on one list.
    pub fn merged(&self, servers: &Arc<[ServerUrl]>, mut merge: impl FnMut(&mut T, &T)) -> PerServer<T> {
        let mut merged = PerServer::of(servers);
        for column in &self.0 {
            let moved = column.on(servers);
            merged.values_mut().iter_mut().zip(moved.values()).for_each(|(value, other)| merge(value, other));
        }
        merged
    }
}

/// What one row means.
pub(super) fn usage_of(row: &Row) -> ServerUsage {
    let (active, idle, use_count) = (row.active(), row.idle(), row.use_count());
    match row.last_used() {
        Some(time) => ServerUsage::of_row(time, active, idle, use_count),
        // Used at a time that nobody knows; the remembered one, if any, makes it eligible.
        None if use_count > 0 => ServerUsage { last_used: None, active, idle, use_count },
        None => ServerUsage::of_row(UnixTime::EPOCH, active, idle, use_count),
    }
}
