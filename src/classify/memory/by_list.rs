//! Merging the rows of all processes into one column. Pure.
//!
//! Rows refer to their server by its place in a list, which nearly all of them share. So they are added up by place,
//! list by list, and the values of older lists are moved to the present one at the end: a million rows take some
//! milliseconds.

use std::sync::Arc;

use crate::classify::{PerServer, ProcessReport, Row};
use crate::model::ServerUrl;

/// Sums of rows, one for each list of servers that the rows refer to: the lists of the registry since the oldest
/// report.
pub(super) struct ByList<T>(Vec<PerServer<T>>);

impl<T: Clone + Default> ByList<T> {
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Whether no process was added.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the rows of a process: `add` is called for each, with the value of its server.
    pub fn add(&mut self, process: &ProcessReport, mut add: impl FnMut(&mut T, &Row)) {
        let same_list = |column: &PerServer<T>| Arc::ptr_eq(column.servers(), &process.servers);
        let index = self.0.iter().position(same_list).unwrap_or_else(|| {
            self.0.push(PerServer::of(&process.servers));
            self.0.len() - 1
        });
        for row in &process.rows {
            if let Some(value) = self.0[index].get_mut(row.server()) {
                add(value, row);
            }
        }
    }

    /// All values merged, for one list of servers.
    pub fn merged(&self, servers: &Arc<[ServerUrl]>, mut merge: impl FnMut(&mut T, &T)) -> PerServer<T> {
        let mut merged = PerServer::of(servers);
        for column in &self.0 {
            let moved = column.on(servers);
            merged.values_mut().iter_mut().zip(moved.values()).for_each(|(value, other)| merge(value, other));
        }
        merged
    }
}
