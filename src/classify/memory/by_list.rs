//! Merging the rows of all processes into one column. Pure.
//!
//! Rows refer to their server by its place in a list, which nearly all of them share. So they are added up by place,
//! list by list, and the values of older lists are moved to the present one at the end: a million rows take some
//! milliseconds.

use std::sync::Arc;

use crate::classify::{PerServer, ProcessReport, Row};

/// Sums of rows, one column for each list of servers that the rows refer to: the lists of the registry since the oldest
/// report. The first column is for the present list.
pub(super) struct ByList<T>(Vec<PerServer<T>>);

impl<T: Clone + Default> ByList<T> {
    /// Adds to the values of this column.
    pub fn onto(column: PerServer<T>) -> Self {
        Self(vec![column])
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

    /// All values merged, for the present list of servers.
    pub fn merged(self, mut merge: impl FnMut(&mut T, &T)) -> PerServer<T> {
        let mut columns = self.0.into_iter();
        let mut merged = columns.next().unwrap_or_default();
        for column in columns {
            let moved = column.on(merged.servers()).into_owned();
            merged.values_mut().iter_mut().zip(moved.values()).for_each(|(value, other)| merge(value, other));
        }
        merged
    }
}
