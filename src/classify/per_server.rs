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
        if self.servers.is_empty() {
            return Cow::Owned(Self::of(servers));
        }
        let values = if self.servers == *servers {
            self.values.clone()
        } else {
            let old: HashMap<&ServerUrl, &T, RandomState> = self.iter().collect();
            servers.iter().map(|server| old.get(server).map(|value| (*value).clone()).unwrap_or_default()).collect()
        };
        Cow::Owned(Self { servers: Arc::clone(servers), values })
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

#[cfg(test)]
mod tests {
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
}
