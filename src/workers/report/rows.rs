//! Rows that follow each other, read first and then looked up together. Pure.
//!
//! To look a server up is mostly to wait for memory, as long as it takes to read a row. A processor waits for several at a time if
//! they are asked for close together, so a few rows are read before their servers are looked up.

use super::json::{Halt, Scan, Step};
use super::read::LONGEST_UNIT;
use super::row::RawRow;
use crate::registry::RegistrySnapshot;

/// So many rows at a time: more than wait for memory at once, and few enough to stay near.
const AT_ONCE: usize = 16;

/// Some rows of a list of servers.
#[derive(Default)]
pub(super) struct Rows<'a> {
    rows: [RawRow<'a>; AT_ONCE],
    read: usize,
}

/// Why there are no more rows for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// So many are enough.
    Full,
    /// The list ends here, and its bracket is taken.
    List,
    /// The last row that was taken is too long to count. It is none of these.
    Long,
    /// Something else than an object stands here; only the comma before it is taken.
    Other,
    /// The next one cannot be read; nothing of it is taken.
    Halt(Halt),
}

/// What the next item of the list is.
enum Item {
    Row,
    End,
    Other,
}

impl<'a> Rows<'a> {
    /// Reads rows from a place between two of them, or before the `first` one. How many bytes were taken, and why it ended there.
    pub fn read(&mut self, scan: &mut Scan<'a>, first: bool) -> (usize, Ended) {
        while let Some(row) = self.rows.get_mut(self.read) {
            // Blanks between rows are no part of them.
            scan.pass_blanks();
            let begin = scan.at();
            match item(row, scan, first && begin == 0) {
                Ok(Item::Row) if scan.at() - begin > LONGEST_UNIT => return (scan.at(), Ended::Long),
                Ok(Item::Row) => self.read += 1,
                Ok(Item::End) => return (scan.at(), Ended::List),
                Ok(Item::Other) => return (scan.at(), Ended::Other),
                Err(halt) => return (begin, Ended::Halt(halt)),
            }
        }
        (scan.at(), Ended::Full)
    }

    /// The rows, each with the place of its server by its id, if that is one of the registry.
    pub fn looked_up(&self, registry: &RegistrySnapshot) -> impl Iterator<Item = (&RawRow<'a>, Option<u32>)> {
        let rows = &self.rows[..self.read];
        let mut places = [None; AT_ONCE];
        for (place, row) in places.iter_mut().zip(rows) {
            *place = row.place_by_id(registry);
        }
        rows.iter().zip(places)
    }
}

fn item<'a>(row: &mut RawRow<'a>, scan: &mut Scan<'a>, first: bool) -> Step<Item> {
    if !scan.item(first, b']')? {
        return Ok(Item::End);
    }
    if scan.peek()? != b'{' {
        return Ok(Item::Other);
    }
    row.read(scan).map(|()| Item::Row)
}
