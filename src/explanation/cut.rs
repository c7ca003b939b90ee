//! The last hot server and the numbers of the fleet, from the statuses of all objects. Pure.
//!
//! Servers are compared by the use in their statuses, and not by rank: a use once written stays true, while ranks were
//! written at different times.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::{FleetNumbers, reason};
use crate::api::conditions::Reason;
use crate::classify::ServerUsage;
use crate::model::{ServerUrl, Tier};
use crate::registry::{Gateway, Registration, RegistrySnapshot};

/// The last hot server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CutOff {
    /// Its object, as `namespace/name`; the first if there are several.
    pub object: String,
    /// Its URL.
    pub url: String,
    /// Its rank, as last written.
    pub rank: Option<i64>,
    /// When it was last used, as last written.
    pub last_used: Option<String>,
}

/// The last in the order of the ranking among the servers that are hot by their own use, and not held.
pub(super) fn last_hot(registry: &RegistrySnapshot) -> Option<CutOff> {
    let above = servers(registry).into_values().filter(|(gateway, _)| reason(gateway) == Reason::AboveCut);
    let last = above.min_by_key(|(gateway, url)| {
        let ServerUsage { last_used, active, use_count, .. } = gateway.record.status.usage.unwrap_or_default();
        (last_used, active, use_count, Reverse(*url))
    });
    last.map(|(gateway, url)| CutOff {
        object: gateway.record.name.to_string(),
        url: url.expose().to_owned(),
        rank: gateway.record.status.rank,
        last_used: gateway.record.status.usage.and_then(|usage| usage.last_used).map(|time| time.to_string()),
    })
}

/// The numbers by the statuses, which do not say how many servers may be hot.
pub(super) fn count(registry: &RegistrySnapshot) -> FleetNumbers {
    let servers = servers(registry);
    let count = |is: fn(&Gateway) -> bool| Some(servers.values().filter(|(gateway, _)| is(gateway)).count());
    FleetNumbers {
        servers: Some(servers.len()),
        hot_cap: None,
        hot: count(|gateway| gateway.record.status.tier == Some(Tier::Hot)),
        ever_used: count(|gateway| gateway.record.status.rank.is_some()),
    }
}

/// Each server of the registry with its first object.
fn servers(registry: &RegistrySnapshot) -> HashMap<&ServerUrl, (&Gateway, &ServerUrl)> {
    let mut found = HashMap::new();
    for gateway in registry.gateways() {
        if let Registration::Registered { url, .. } = &gateway.registration {
            found.entry(url).or_insert((gateway, url));
        }
    }
    found
}
