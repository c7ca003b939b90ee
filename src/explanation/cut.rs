//! Where the hot ones end, told from the statuses of all objects. Pure.
//!
//! What is compared are the uses in the statuses, not the ranks: a use once written stays true, while ranks of several objects were
//! written at several times.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::{Fleet, reason, written};
use crate::api::conditions::Reason;
use crate::classify::ServerUsage;
use crate::model::{ServerUrl, Tier};
use crate::registry::{Gateway, Registration, RegistrySnapshot};

/// The last hot server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CutOff {
    /// Its object, `namespace/name`; the first if there are several.
    pub object: String,
    /// The server.
    pub url: String,
    /// Its rank, as when last written.
    pub rank: Option<i64>,
    /// When it was last used, as when last written.
    pub last_used: Option<String>,
}

/// The one among the servers that are hot by their own use (not held) that comes last in the order of the ranking.
pub(super) fn last_hot(registry: &RegistrySnapshot) -> Option<CutOff> {
    let above = servers(registry).into_values().filter(|(gateway, _)| reason(gateway) == Reason::AboveCut);
    let last = above.min_by_key(|(gateway, url)| {
        let ServerUsage { last_used, active, use_count, .. } = gateway.record.status.usage.unwrap_or_default();
        (last_used, active, use_count, Reverse(*url))
    });
    last.map(|(gateway, url)| CutOff {
        object: written(&gateway.record.name),
        url: url.expose().to_owned(),
        rank: gateway.record.status.rank,
        last_used: gateway.record.status.usage.and_then(|usage| usage.last_used).map(|time| time.to_string()),
    })
}

/// The fleet by the statuses. How many may be hot stands in none.
pub(super) fn count(registry: &RegistrySnapshot) -> Fleet {
    let servers = servers(registry);
    let such = |is: fn(&Gateway) -> bool| Some(servers.values().filter(|(gateway, _)| is(gateway)).count());
    Fleet {
        servers: Some(servers.len()),
        hot_cap: None,
        hot: such(|gateway| gateway.record.status.tier == Some(Tier::Hot)),
        ever_used: such(|gateway| gateway.record.status.rank.is_some()),
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
