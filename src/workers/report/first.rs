//! A bounded list. Pure.

use std::collections::BTreeSet;

/// The first `N` of what was added, in order, so that the same reports give the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct First<T, const N: usize>(BTreeSet<T>);

impl<T: Ord + Clone, const N: usize> First<T, N> {
    pub(super) fn add(&mut self, item: T) {
        self.0.insert(item);
        if self.0.len() > N {
            self.0.pop_last();
        }
    }

    /// Adds those of another list.
    pub(super) fn extend(&mut self, other: &Self) {
        other.0.iter().for_each(|item| self.add(item.clone()));
    }

    /// The last one, if the list is full: whatever comes after it is not kept.
    pub(super) fn last_of_full(&self) -> Option<&T> {
        self.0.last().filter(|_| self.0.len() >= N)
    }

    pub(super) fn first(&self) -> Option<&T> {
        self.0.first()
    }

    pub(super) fn into_list(self) -> Box<[T]> {
        self.0.into_iter().collect()
    }
}

// Derived, it would ask for a default of the items.
impl<T, const N: usize> Default for First<T, N> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}
