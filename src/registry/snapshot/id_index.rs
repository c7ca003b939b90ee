//! Places by gateway id. Pure. Every row of every report is looked up here, so it has to be fast.
//!
//! Most of a look-up is waiting for memory, and twice as long if the key is stored apart from its entry. So ids of the
//! usual length are part of their entries. The hash is a fast one with a random seed, which is safe: the keys come from
//! objects that the API server has accepted, never from a worker.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::GatewayId;

/// Ids up to this length are stored in the entry; ContextForge's have 32.
const SHORT: usize = 38;

/// The place of the server of each gateway id.
#[derive(Clone, Debug, Default)]
pub(super) struct IdIndex(HashMap<Key, u32, RandomState>);

impl IdIndex {
    /// An empty index with space for so many ids.
    pub fn with_capacity(ids: usize) -> Self {
        Self(HashMap::with_capacity_and_hasher(ids, RandomState::default()))
    }

    /// Sets the place of an id.
    pub fn insert(&mut self, id: &GatewayId, place: u32) {
        self.0.insert(Key::of(id.as_str()), place);
    }

    /// The place of an id.
    pub fn get(&self, id: &[u8]) -> Option<u32> {
        self.0.get(id).copied()
    }
}

#[derive(Clone, Debug)]
enum Key {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Arc<[u8]>),
}

impl Key {
    fn of(id: &str) -> Self {
        let id = id.as_bytes();
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..id.len()), u8::try_from(id.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(id);
                Self::Short { length, bytes }
            }
            _ => Self::Long(id.into()),
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        match self {
            Self::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(id) => id,
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let (own, other): (&[u8], &[u8]) = (self.borrow(), other.borrow());
        own == other
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes: &[u8] = self.borrow();
        bytes.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_length_are_found_and_no_others() {
        let id = |length: usize| "x".repeat(length);
        let mut ids = IdIndex::default();
        for length in 1..=64_usize {
            ids.insert(&GatewayId::parse(&id(length)).unwrap(), u32::try_from(length).unwrap());
        }
        for length in 1..=64_usize {
            assert_eq!(ids.get(id(length).as_bytes()), u32::try_from(length).ok());
        }
        for other in ["", "y", &id(65), &format!("{}\0", id(10))] {
            assert_eq!(ids.get(other.as_bytes()), None);
        }
        assert!(size_of::<Key>() <= 40);
    }
}
