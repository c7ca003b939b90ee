//! The longest refresh intervals that objects ask for (`docs/contract.md#bounds`). Pure.

use std::time::Duration;

use crate::registry::RegistrySnapshot;

/// The shortest bound of each server that has one, by its place in the registry, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds(Vec<(usize, Duration)>);

impl Bounds {
    /// Those of a registry.
    pub(crate) fn of(registry: &RegistrySnapshot) -> Self {
        let asked = registry.asking().filter_map(|(record, place)| Some((place, record.max_interval()?)));
        let mut bounds: Vec<_> = asked.collect();
        // The shortest one of a server comes first.
        bounds.sort_unstable();
        bounds.dedup_by_key(|(place, _)| *place);
        Self(bounds)
    }

    /// The bound of the server at a place.
    pub(super) fn get(&self, place: usize) -> Option<Duration> {
        let found = self.0.binary_search_by_key(&place, |(place, _)| *place);
        found.ok().map(|at| self.0[at].1)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Duration)> {
        self.0.iter().copied()
    }

    /// The places of the servers whose bounds are not those of another registry with the same servers.
    pub(super) fn changed_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = usize> + 'a {
        let new = self.iter().filter(|(place, bound)| before.get(*place) != Some(*bound));
        let gone = before.iter().filter(|(place, _)| self.get(*place).is_none());
        new.chain(gone).map(|(place, _)| place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::registry::GatewayRecord;

    #[test]
    fn the_shortest_bound_of_the_objects_of_a_server_counts() {
        let objects = [("a", "http://one", None), ("b", "http://two", Some("20m")), ("c", "http://two", Some("10m"))];
        let record = |(name, url, bound): (&str, &str, Option<&str>)| {
            let metadata = serde_json::from_value(json!({"namespace": "n", "name": name})).unwrap();
            let spec = json!({"url": url, "polling": {"maxInterval": bound}});
            Arc::new(GatewayRecord::from_object(&metadata, &json!({"spec": spec})).unwrap())
        };
        let records: BTreeMap<_, _> =
            objects.map(record).into_iter().map(|record| (record.name.clone(), record)).collect();
        let bounds = Bounds::of(&RegistrySnapshot::build(&records, 1));
        assert_eq!(bounds.iter().collect::<Vec<_>>(), [(1, Duration::from_mins(10))]);
    }

    #[test]
    fn a_bound_that_is_new_another_or_gone_is_a_change() {
        let bounds = |bounds: &[(usize, u64)]| {
            Bounds(bounds.iter().map(|(place, seconds)| (*place, Duration::from_secs(*seconds))).collect())
        };
        let (before, now) = (bounds(&[(1, 60), (3, 60), (5, 60)]), bounds(&[(1, 60), (2, 60), (5, 90)]));
        assert_eq!(now.changed_since(&before).collect::<Vec<_>>(), [2, 5, 3]);
        assert_eq!(now.changed_since(&now).count(), 0);
        assert_eq!((now.get(5), now.get(3)), (Some(Duration::from_secs(90)), None));
    }
}
