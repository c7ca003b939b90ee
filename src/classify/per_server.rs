//! One value for each server of a list. Pure.
//!
//! A fleet has a hundred thousand servers, each cycle asks several things of each of them, and a URL that is looked up costs more than
//! all that is decided about it. So what is known of servers lies in the order of the registry, and they are compared by their
//! places there. A registry that changes makes a new list, to which the values are moved ([`PerServer::on`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::model::ServerUrl;

/// Values by the place of their server in a list, which may be shared with other values.
#[derive(Clone, Debug, PartialEq)]
pub struct PerServer<T> {
    servers: Arc<[ServerUrl]>,
    values: Vec<T>,
}

impl<T> Default for PerServer<T> {
    /// Of no server.
    fn default() -> Self {
        Self { servers: Arc::default(), values: Vec::new() }
    }
}

impl<T: Clone + Default> PerServer<T> {
    /// The same value, the default one, for each server of the list, in which each stands once (as in
    /// [`crate::registry::RegistrySnapshot::servers`]).
    #[must_use]
    pub fn of(servers: &Arc<[ServerUrl]>) -> Self {
        Self { servers: Arc::clone(servers), values: vec![T::default(); servers.len()] }
    }

    /// The same values for the servers of another list; the default value for those that were not in the old one.
    #[must_use]
    pub fn on(&self, servers: &Arc<[ServerUrl]>) -> Cow<'_, Self> {
        if Arc::ptr_eq(&self.servers, servers) {
            return Cow::Borrowed(self);
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
    #[must_use]
    pub const fn servers(&self) -> &Arc<[ServerUrl]> {
        &self.servers
    }

    /// The values, in the order of the servers.
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// The value of the server at a place; `None` behind the end of the list.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&T> {
        self.values.get(place)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.values.get_mut(place)
    }

    /// The servers with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerUrl, &T)> {
        self.servers.iter().zip(&self.values)
    }

    /// Other values for the same servers.
    #[must_use]
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
