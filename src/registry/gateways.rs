//! The objects in order of namespace, then name, in pieces that several snapshots share. Pure.
//!
//! A clone shares all pieces; changing an object copies its piece only. So a snapshot after a few status writes costs
//! as much in a large registry as in a small one.

use std::iter::FlatMap;
use std::slice;
use std::sync::Arc;

use super::record::GatewayRecord;
use super::snapshot::{Gateway, Registration};
use crate::model::ObjectName;

/// Objects in a new piece. A piece that has grown to twice as many is split.
const PIECE: usize = 256;

type Piece = Arc<Vec<Gateway>>;

/// Where an object stands until another one is put in or taken out: the number of its piece, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(u32);

impl Position {
    /// The bits of the place in a piece, which has fewer than twice [`PIECE`] objects.
    const BITS: u32 = (2 * PIECE).ilog2();

    fn new(piece: usize, place: usize) -> Self {
        Self(u32::try_from(piece << Self::BITS | place).unwrap_or(u32::MAX))
    }

    const fn piece(self) -> usize {
        (self.0 >> Self::BITS) as usize
    }

    const fn place(self) -> usize {
        (self.0 & ((1 << Self::BITS) - 1)) as usize
    }
}

/// All objects, in order.
#[derive(Clone, Debug, Default)]
pub struct Gateways {
    /// None of them is empty.
    pieces: Vec<Piece>,
    len: usize,
}

impl Gateways {
    /// From records in order of namespace, then name, without repetition. None of them is registered yet.
    pub(super) fn from_sorted(records: impl IntoIterator<Item = Arc<GatewayRecord>>, revision: u64) -> Self {
        let mut records = records.into_iter();
        let mut gateways = Self::default();
        loop {
            let piece = records.by_ref().take(PIECE);
            let piece: Vec<_> =
                piece.map(|record| Gateway { record, registration: Registration::Disabled, revision }).collect();
            if piece.is_empty() {
                return gateways;
            }
            gateways.len += piece.len();
            gateways.pieces.push(Arc::new(piece));
        }
    }

    /// The number of objects.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The objects, in order.
    pub fn iter(&self) -> Iter<'_> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    /// The objects with their positions, in order.
    pub(super) fn positions(&self) -> impl Iterator<Item = (Position, &Gateway)> {
        self.pieces.iter().enumerate().flat_map(|(number, piece)| {
            piece.iter().enumerate().map(move |(place, gateway)| (Position::new(number, place), gateway))
        })
    }

    /// The object at a position.
    pub(super) fn at(&self, position: Position) -> Option<&Gateway> {
        self.pieces.get(position.piece())?.get(position.place())
    }

    /// The pieces of the objects, each with whether another registry shares it. One that it shares has no other object,
    /// and none in another version.
    pub fn pieces_beside<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a [Gateway], bool)> {
        self.pieces.iter().enumerate().map(|(number, piece)| {
            let shared = other.pieces.get(number).is_some_and(|there| Arc::ptr_eq(piece, there));
            (piece.as_slice(), shared)
        })
    }

    /// The object with this namespace and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Gateway> {
        let (piece, at) = self.place(namespace, name);
        Some(&self.pieces.get(piece)?[at.ok()?])
    }

    /// Puts in a version of an object. What is known of its registration stays. `revision`: `None` if nothing but its
    /// status has changed.
    pub(super) fn insert(&mut self, record: Arc<GatewayRecord>, revision: Option<u64>) {
        let ObjectName { namespace, name } = &record.name;
        let (number, at) = self.place(namespace, name);
        let Some(piece) = self.pieces.get_mut(number) else {
            *self = Self::from_sorted([record], revision.unwrap_or_default());
            return;
        };
        let piece = Arc::make_mut(piece);
        match at {
            Ok(at) => {
                let gateway = &mut piece[at];
                if let Registration::Registered { asks, .. } = &mut gateway.registration {
                    *asks = record.asks();
                }
                gateway.record = record;
                gateway.revision = revision.unwrap_or(gateway.revision);
            }
            Err(at) => {
                let registration = Registration::Disabled;
                piece.insert(at, Gateway { record, registration, revision: revision.unwrap_or_default() });
                self.len += 1;
                if piece.len() >= 2 * PIECE {
                    let half = piece.split_off(PIECE);
                    self.pieces.insert(number + 1, Arc::new(half));
                }
            }
        }
    }

    /// Takes an object out. Returns whether it was there.
    pub(super) fn remove(&mut self, name: &ObjectName) -> bool {
        let (number, Ok(at)) = self.place(&name.namespace, &name.name) else { return false };
        let piece = Arc::make_mut(&mut self.pieces[number]);
        piece.remove(at);
        if piece.is_empty() {
            self.pieces.remove(number);
        }
        self.len -= 1;
        true
    }

    /// Takes over the revisions of objects that differ in their status at most.
    pub(super) fn take_over_revisions(&mut self, before: &Self) {
        for gateway in self.pieces.iter_mut().flat_map(Arc::make_mut) {
            let name = &gateway.record.name;
            if let Some(old) = before.get(&name.namespace, &name.name)
                && !gateway.record.differs_beyond_status(&old.record)
            {
                gateway.revision = old.revision;
            }
        }
    }

    /// Sets the registrations, in order. Copies only pieces in which one changes.
    pub(super) fn register(&mut self, registrations: impl IntoIterator<Item = Registration>) {
        let mut registrations = registrations.into_iter();
        for piece in &mut self.pieces {
            let new: Vec<_> = registrations.by_ref().take(piece.len()).collect();
            if piece.iter().map(|gateway| &gateway.registration).ne(&new) {
                let gateways = Arc::make_mut(piece).iter_mut();
                gateways.zip(new).for_each(|(gateway, registration)| gateway.registration = registration);
            }
        }
    }

    /// The number of the piece in which an object is or would be inserted, and its place there.
    fn place(&self, namespace: &str, name: &str) -> (usize, Result<usize, usize>) {
        let order = |gateway: &Gateway| {
            let other = &gateway.record.name;
            (&*other.namespace, &*other.name).cmp(&(namespace, name))
        };
        // The last piece that does not begin after it.
        let after = self.pieces.partition_point(|piece| order(&piece[0]).is_le());
        let number = after.saturating_sub(1);
        (number, self.pieces.get(number).map_or(Err(0), |piece| piece.binary_search_by(order)))
    }
}

/// The objects, in order.
pub type Iter<'a> = FlatMap<slice::Iter<'a, Piece>, slice::Iter<'a, Gateway>, fn(&Piece) -> slice::Iter<'_, Gateway>>;

impl<'a> IntoIterator for &'a Gateways {
    type IntoIter = Iter<'a>;
    type Item = &'a Gateway;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn record(name: &ObjectName, version: u32) -> Arc<GatewayRecord> {
        let ObjectName { namespace, name } = name;
        let metadata =
            json!({"namespace": &**namespace, "name": &**name, "resourceVersion": version.to_string(), "uid": "u"});
        let metadata = serde_json::from_value(metadata).unwrap();
        Arc::new(GatewayRecord::from_object(&metadata, &json!({"spec": {"url": "http://h"}})).unwrap())
    }

    /// Like `a-b/c` and `a/c`, whose order is not that of their texts.
    fn name(number: u32) -> ObjectName {
        let (namespace, name) = (number % 3, number / 3);
        ObjectName::new(["a", "a-b", "b"][namespace as usize], &format!("{name:04}"))
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(
            begin in prop::collection::btree_set(0_u32..3_000, 0..2_000),
            changes in prop::collection::vec((0_u32..3_000, prop::bool::ANY), 0..400),
        ) {
            let mut map: BTreeMap<_, _> =
                begin.into_iter().map(|number| (name(number), record(&name(number), 0))).collect();
            let mut gateways = Gateways::from_sorted(map.values().cloned(), 1);
            for (version, (number, insert)) in (1_u32..).zip(changes) {
                let before = gateways.clone();
                let object = name(number);
                let found = gateways.get(&object.namespace, &object.name).map(|gateway| Arc::clone(&gateway.record));
                prop_assert_eq!(found.as_ref(), map.get(&object));
                if insert {
                    gateways.insert(record(&object, version), None);
                    map.insert(object.clone(), record(&object, version));
                } else {
                    prop_assert_eq!(gateways.remove(&object), map.remove(&object).is_some());
                }
                let kept = before.get(&object.namespace, &object.name).map(|gateway| Arc::clone(&gateway.record));
                prop_assert_eq!(kept, found, "a clone does not change");
                prop_assert_eq!(gateways.len(), map.len());
            }
            prop_assert!(gateways.iter().map(|gateway| &gateway.record).eq(map.values()));
            for (position, gateway) in gateways.positions() {
                prop_assert!(gateways.at(position).is_some_and(|there| std::ptr::eq(there, gateway)));
            }
            prop_assert!(gateways.pieces.iter().all(|piece| (1..2 * PIECE).contains(&piece.len())));
        }
    }

    #[test]
    fn a_change_copies_one_piece() {
        let names: Vec<_> = (0..3_000).map(|number| ObjectName::new("a", &format!("{number:04}"))).collect();
        let before = Gateways::from_sorted(names.iter().map(|name| record(name, 1)), 1);
        let mut after = before.clone();
        after.insert(record(&names[1_500], 2), None);
        let shared = before.pieces.iter().zip(&after.pieces).filter(|(old, new)| Arc::ptr_eq(old, new));
        assert_eq!(shared.count(), before.pieces.len() - 1);
        after.register((0..3_000).map(|_| Registration::Disabled));
        let shared = before.pieces.iter().zip(&after.pieces).filter(|(old, new)| Arc::ptr_eq(old, new));
        assert_eq!(shared.count(), before.pieces.len() - 1, "nothing was registered");
    }
}
