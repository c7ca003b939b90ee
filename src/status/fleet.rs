//! The facts of the whole fleet, for people: one ConfigMap beside the Lease. The facts are pure; [`FleetWriter`] is IO
//! (the API server). SPEC section 1: *Facts of the whole fleet*.
//!
//! The values are words that stand still while nothing happens: a number that moves would be a write in every cycle.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::api::FIELD_MANAGER;
use crate::classify::memory::SilentEndpoint;
use crate::clock;
use crate::leadership::{LeadershipToken, WritePermit};
use crate::model::{Problem, ProblemReason, ServerUrl};
use crate::status::FleetCounts;

/// The longest that one write may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The most silent endpoints that are named.
const NAMED: usize = 5;

/// The key of the servers that are used and not registered: URLs without query, with blanks between them.
pub const UNREGISTERED: &str = "unregistered";

/// The longest fact: twenty URLs fit.
const LONGEST: usize = 16_000;

/// The name of the ConfigMap that belongs to a Lease.
#[must_use]
pub fn config_map_name(lease: &str) -> String {
    format!("{lease}-status")
}

/// The facts, in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, String>);

/// The keys of the ConfigMap, in the order in which a person wants to read them, with what they are.
pub const KEYS: [(&str, &str); 14] = [
    ("leader", "Leader"),
    ("leaderSince", "Leader since"),
    ("term", "Term"),
    ("registry", "Registry"),
    ("tiers", "Tiers"),
    ("usage", "Usage"),
    ("endpoints", "Endpoints"),
    (UNREGISTERED, "Not registered"),
    ("publication", "Publication"),
    ("redisLock", "Redis lock"),
    ("obeyed", "Compliance"),
    ("registryWatch", "Registry watch"),
    ("permissions", "Permissions"),
    ("statusWrites", "Status writes"),
];

impl Facts {
    /// What stands in a ConfigMap.
    #[must_use]
    pub fn read(data: BTreeMap<String, String>) -> Self {
        Self(data)
    }

    /// Who leads, since when, with which term.
    pub fn leader(&mut self, token: &LeadershipToken) {
        self.set("leader", token.identity());
        self.set("leaderSince", &token.since().to_string());
        self.set("term", &token.term().to_string());
    }

    /// What the registry holds, and how it is classified.
    pub fn registry(&mut self, counts: &FleetCounts) {
        let FleetCounts { objects, disabled, refused, hot, cold, unclassified } = counts;
        let servers = counts.servers();
        self.set("registry", &format!("{objects} objects ({disabled} disabled, {refused} refused), {servers} servers"));
        self.set("tiers", &format!("{hot} hot, {cold} cold, {unclassified} unclassified"));
    }

    /// Whether the picture of the use is complete, and who is missing.
    pub fn usage(&mut self, missing: Option<&str>, known: usize, silent: &[SilentEndpoint]) {
        match missing {
            Some(reason) => self.set("usage", &format!("Incomplete: {reason}")),
            None if silent.is_empty() => self.set("usage", "Complete"),
            None => self.set("usage", "Partial"),
        }
        self.set("endpoints", &endpoints_in_words(known, silent));
    }

    /// Servers that the workers use and nobody has registered.
    pub fn unregistered(&mut self, servers: &[ServerUrl]) {
        let urls: Vec<&str> = servers.iter().map(ServerUrl::expose).collect();
        let text = if urls.is_empty() { "none".to_owned() } else { urls.join(" ") };
        self.set(UNREGISTERED, &text);
    }

    /// What stands in Redis, in a word or two.
    pub fn publication(&mut self, state: &str) {
        self.set("publication", state);
    }

    /// Who holds the Redis lock, in a word or two.
    pub fn redis_lock(&mut self, state: &str) {
        self.set("redisLock", state);
    }

    /// Whether gateways poll by what stands in Redis, in [`crate::poll::compliance`]'s words.
    pub fn obeyed(&mut self, words: &str) {
        self.set("obeyed", words);
    }

    /// A fact by its key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The raw map, as JSON shows it.
    #[must_use]
    pub const fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    fn set(&mut self, key: &str, value: &str) {
        // What others write (a foreign lock's value) may be anything: keep it to one short line.
        let plain: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
        self.0.insert(key.to_owned(), plain);
    }
}

/// How many endpoints have answered, and who has not and since when: `3 of 5 endpoints answered; silent: … since …`.
#[must_use]
pub fn endpoints_in_words(known: usize, silent: &[SilentEndpoint]) -> String {
    let mut text = format!("{} of {known} answered", known.saturating_sub(silent.len()));
    for (number, SilentEndpoint { endpoint, reported, since }) in silent.iter().take(NAMED).enumerate() {
        let before = if number == 0 { "; silent: " } else { ", " };
        let when = if *reported { "since" } else { "never heard, known since" };
        let _ = write!(text, "{before}{endpoint} {when} {since}");
    }
    if let Some(more @ 1..) = silent.len().checked_sub(NAMED) {
        let _ = write!(text, " and {more} more");
    }
    text
}
/// A fact that says whether something is in the way, as whoever meets it last knew: its key, and the problem.
pub type Beside = (&'static str, watch::Receiver<Option<Problem>>);

/// What such a fact says when nothing is in the way.
const FINE: &str = "Fine";

/// Writes the ConfigMap when a fact has changed; only for the leader.
pub struct FleetWriter {
    api: Api<ConfigMap>,
    name: String,
    besides: Vec<Beside>,
    written: Option<Facts>,
    /// What was said last of failed writes.
    failing: Option<Problem>,
}

impl FleetWriter {
    /// For the Lease of this name. `client` must not retry on its own. `besides`: facts that go into every write, and make
    /// none of their own.
    #[must_use]
    pub fn new(client: Client, namespace: &str, lease: &str, besides: Vec<Beside>) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: config_map_name(lease), besides, written: None, failing: None }
    }

    /// Forgets what was written: another leader may have written since.
    pub fn forget(&mut self) {
        self.written = None;
    }

    /// Makes the ConfigMap say these facts, if it does not already. A failure is told when it begins, and tried again with
    /// the next turn.
    pub async fn write(&mut self, token: &LeadershipToken, mut facts: Facts) {
        for (key, problem) in &self.besides {
            let fact = problem
                .borrow()
                .as_ref()
                .map_or_else(|| FINE.to_owned(), |problem| format!("{}: {}", problem.reason, problem.message()));
            facts.set(key, &fact);
        }
        if self.written.as_ref() == Some(&facts) {
            return;
        }
        let Some(WritePermit { remaining, .. }) = &token.begin_write(clock::monotonic()) else { return };
        let put = async {
            match self.put(&facts).await {
                // A leader that has just ended may have written in between: look again, under the same token.
                Err(kube::Error::Api(status)) if status.code == 409 => self.put(&facts).await,
                done => done,
            }
        };
        let failure = match tokio::time::timeout(WRITE_TIMEOUT.min(*remaining), put).await {
            Ok(Ok(())) => {
                self.written = Some(facts);
                None
            }
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                let advice = "grant get and update on it, and create on configmaps, to the operator";
                Some(Problem::new(ProblemReason::Forbidden, advice).saying(status.message.clone()))
            }
            Ok(Err(kube::Error::Api(status))) => Some(
                Problem::new(ProblemReason::ServerError, "not taken")
                    .about(status.code.to_string())
                    .saying(status.message.clone()),
            ),
            Ok(Err(error)) => Some(Problem::new(ProblemReason::Unreachable, "no answer").saying(error.to_string())),
            Err(_) => Some(Problem::new(ProblemReason::TimedOut, "no answer in time")),
        };
        if Problem::replace(&mut self.failing, failure) {
            let config_map = &self.name;
            if let Some(Problem { reason, advice, detail, .. }) = &self.failing {
                warn!(config_map, %reason, error = detail, "writing the fleet's status failed: {advice}; trying on");
            } else {
                info!(config_map, "the fleet's status is written again");
            }
        }
    }

    async fn put(&self, facts: &Facts) -> Result<(), kube::Error> {
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match self.api.get_opt(&self.name).await? {
            None => {
                let labels =
                    [("app.kubernetes.io/name", FIELD_MANAGER), ("app.kubernetes.io/managed-by", FIELD_MANAGER)];
                let metadata = ObjectMeta {
                    name: Some(self.name.clone()),
                    labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                    ..ObjectMeta::default()
                };
                let map = ConfigMap { metadata, data: Some(facts.0.clone()), ..ConfigMap::default() };
                self.api.create(&params, &map).await?;
            }
            Some(found) if found.data.as_ref() == Some(&facts.0) => {}
            // The resourceVersion that came with it makes a late write of a former leader fail.
            Some(mut found) => {
                found.data = Some(facts.0.clone());
                self.api.replace(&self.name, &params, &found).await?;
            }
        }
        Ok(())
    }
}

/// Reads the facts; `None` if no leader has written any yet.
///
/// # Errors
/// Whatever the API server answers.
pub async fn read(client: Client, namespace: &str, lease: &str) -> Result<Option<Facts>, kube::Error> {
    let api: Api<ConfigMap> = Api::namespaced(client, namespace);
    let found = api.get_opt(&config_map_name(lease)).await?;
    Ok(found.map(|map| Facts::read(map.data.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EndpointId, UnixTime};

    #[test]
    fn silent_endpoints_are_named_up_to_a_few() {
        let mut facts = Facts::default();
        facts.usage(None, 3, &[]);
        assert_eq!((facts.get("usage"), facts.get("endpoints")), (Some("Complete"), Some("3 of 3 answered")));
        let silent = |n| SilentEndpoint {
            endpoint: EndpointId::new(&format!("http://w{n}")),
            reported: n > 0,
            since: UnixTime::EPOCH,
        };
        let silent: Vec<SilentEndpoint> = (0..7).map(silent).collect();
        facts.usage(Some("QuorumMissed"), 9, &silent);
        assert_eq!(facts.get("usage"), Some("Incomplete: QuorumMissed"));
        let named = "2 of 9 answered; silent: http://w0 never heard, known since 1970-01-01T00:00:00Z, \
            http://w1 since 1970-01-01T00:00:00Z, http://w2 since 1970-01-01T00:00:00Z, \
            http://w3 since 1970-01-01T00:00:00Z, http://w4 since 1970-01-01T00:00:00Z and 2 more";
        assert_eq!(facts.get("endpoints"), Some(named));
    }

    #[test]
    fn what_others_wrote_is_kept_to_one_line() {
        let mut facts = Facts::default();
        facts.redis_lock("HeldByAnother: a\nb");
        assert_eq!(facts.get("redisLock"), Some("HeldByAnother: a b"));
    }
}
