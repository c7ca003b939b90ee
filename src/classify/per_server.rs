//! One value for each server of a list. Pure.
//!
//! A fleet may have a hundred thousand servers, and looking up a URL costs more than deciding about its server. So
//! values are stored in the order of the registry, and servers are identified by their places there. When the registry
//! changes, its new list of servers takes the values over ([`PerServer::on`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::ServerUrl;

/// A list of servers, which other columns may share, and one value for each of them.
#[derive(Clone, Debug, PartialEq)]
pub struct PerServer<T> {
    servers: Arc<[ServerUrl]>,
    values: Vec<T>,
}

impl<T> Default for PerServer<T> {
    /// For no servers.
    fn default() -> Self {
        Self { servers: Arc::default(), values: Vec::new() }
    }
}

impl<T: Clone + Default> PerServer<T> {
    /// The default value for each server of the list, which must not repeat any (like
    /// [`crate::registry::RegistrySnapshot::servers`]).
    pub fn of(servers: &Arc<[ServerUrl]>) -> Self {
        Self { servers: Arc::clone(servers), values: vec![T::default(); servers.len()] }
    }

    /// The values of the servers of another list; the default value for those that are not in this one.
    pub fn on(&self, servers: &Arc<[ServerUrl]>) -> Cow<'_, Self> {
        if Arc::ptr_eq(&self.servers, servers) {
            return Cow::Borrowed(self);
        }
        let mut moved = Self::of(servers);
        for (before, now) in common(&self.servers, servers) {
            moved.values[now].clone_from(&self.values[before]);
        }
        Cow::Owned(moved)
    }
}

impl<T> PerServer<T> {
    /// The servers, in order.
    pub const fn servers(&self) -> &Arc<[ServerUrl]> {
        &self.servers
    }

    /// The values, in the order of the servers.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The values, mutably.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// The value of the server at a place; `None` past the end of the list.
    pub fn get(&self, place: usize) -> Option<&T> {
        self.values.get(place)
    }

    /// The value of the server at a place, mutably.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.values.get_mut(place)
    }

    /// The servers with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerUrl, &T)> {
        self.servers.iter().zip(&self.values)
    }

    /// Other values for the same servers.
    pub fn map<U>(&self, value: impl FnMut(&T) -> U) -> PerServer<U> {
        PerServer { servers: Arc::clone(&self.servers), values: self.values.iter().map(value).collect() }
    }
}

/// How far to look in one list for a server of the other.
const WINDOW: usize = 16;

/// The places in both lists of the servers that they have in common. Neither list repeats any.
///
/// Two lists of one registry mostly differ in few servers, and have the others in the same order. So both are walked
/// side by side, and only what is left over is looked up.
fn common(one: &[ServerUrl], other: &[ServerUrl]) -> Vec<(usize, usize)> {
    let mut places = Vec::with_capacity(one.len().min(other.len()));
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (mut at, mut there) = (0, 0);
    // Lists that have nothing to do with each other are not searched again and again.
    let mut searches = 1_000 + one.len() / WINDOW;
    while at < one.len() && there < other.len() && searches > 0 {
        if one[at] == other[there] {
            places.push((at, there));
            (at, there) = (at + 1, there + 1);
            continue;
        }
        searches -= 1;
        let missing = |ahead: &usize| one.get(at + ahead) == Some(&other[there]);
        let added = |ahead: &usize| other.get(there + ahead) == Some(&one[at]);
        let (skip, skip_there) = match ((1..WINDOW).find(missing), (1..WINDOW).find(added)) {
            (Some(missing), None) => (missing, 0),
            (None, Some(added)) => (0, added),
            _ => (1, 1),
        };
        left.extend(at..at + skip);
        right.extend(there..there + skip_there);
        (at, there) = (at + skip, there + skip_there);
    }
    left.extend(at..one.len());
    right.extend(there..other.len());
    let left: HashMap<&ServerUrl, usize, RandomState> = left.into_iter().map(|place| (&one[place], place)).collect();
    places.extend(right.into_iter().filter_map(|place| Some((*left.get(&other[place])?, place))));
    places
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(names: &[&str]) -> Arc<[ServerUrl]> {
        names.iter().map(|name| ServerUrl::parse(&format!("http://{name}/")).unwrap()).collect()
    }

    #[test]
    fn values_move_with_their_servers_to_another_list() {
        let old = list(&["a", "b", "c"]);
        let mut values = PerServer::of(&old);
        values.values_mut().copy_from_slice(&[1, 2, 3]);
        assert!(matches!(values.on(&old), Cow::Borrowed(_)));
        assert_eq!(values.on(&list(&["c", "new", "a"])).values(), [3, 0, 1]);
        assert_eq!(values.on(&list(&["a", "b", "c"])).values(), [1, 2, 3]);
        assert!(values.on(&list(&[])).values().is_empty());
        assert_eq!((values.get(2), values.get(3)), (Some(&3), None));
        assert_eq!(values.map(|n| n * 2).values(), [2, 4, 6]);
    }

    proptest! {
        #[test]
        fn what_two_lists_have_in_common_is_found(
            one in prop::collection::vec(0_u32..120, 0..100),
            other in prop::collection::vec(0_u32..120, 0..100),
            edits in prop::collection::vec((0_usize..100, prop::option::of(0_u32..150)), 0..12),
            related in prop::bool::ANY,
        ) {
            // The second list is another one, or the first one after some edits: each removes or inserts a server.
            let unique = |list: Vec<u32>| {
                let mut seen = std::collections::HashSet::new();
                list.into_iter().filter(|number| seen.insert(*number)).collect::<Vec<_>>()
            };
            let one = unique(one);
            let mut other = if related { one.clone() } else { other };
            for (place, insert) in edits {
                let place = place.min(other.len());
                match insert {
                    Some(number) => other.insert(place, number),
                    None if place < other.len() => {
                        other.remove(place);
                    }
                    None => {}
                }
            }
            let other = unique(other);
            let urls = |list: &[u32]| -> Vec<ServerUrl> {
                list.iter().map(|number| ServerUrl::parse(&format!("http://s{number}")).unwrap()).collect()
            };
            let mut found = common(&urls(&one), &urls(&other));
            found.sort_unstable();
            let place = |(at, number): (usize, &u32)| Some((at, other.iter().position(|there| there == number)?));
            prop_assert_eq!(found, one.iter().enumerate().filter_map(place).collect::<Vec<_>>());
        }
    }
}
