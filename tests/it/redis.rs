//! The Redis room against a real Redis: what readers see, what the fence refuses, what a fault does.

mod contract;
mod difference;
mod faults;
mod fence;
mod keeper;
mod reader;
mod reference;
mod rival;
mod withdraw;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::redis::{self as support, RedisServer};
use mcpgateway_operator::classify::{Params, PerServer, RankingInput, classify};
use mcpgateway_operator::clock;
use mcpgateway_operator::leadership::LeadershipToken;
use mcpgateway_operator::model::{ServerUrl, Term, UnixTime};
use mcpgateway_operator::publish::foreign_holder::{ForeignHolder, TakeoverDecision};
use mcpgateway_operator::publish::keys::{LockHolder, OwnerId};
use mcpgateway_operator::publish::{
    Error, Expiry, LockReports, LockState, Metrics, Publication, PublishOutcome, RedisSettings, RenewOutcome,
    Retention, Store, TakeoverPolicy, keep,
};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};

const HOT: &str = "mcpgateway:server_classification:hot";
const COLD: &str = "mcpgateway:server_classification:cold";
const METADATA: &str = "mcpgateway:server_classification:metadata";
const TIMESTAMP: &str = "mcpgateway:server_classification:timestamp";
const LOCK: &str = "mcpgateway:server_classification:leader";
const TERM: &str = "mcpgateway:server_classification:term";
const ALL: [&str; 6] = [HOT, COLD, METADATA, TIMESTAMP, LOCK, TERM];
const OUR_LOCK: &str = "mcpgateway-operator/uid/ns/name/";
const FULL: Expiry = Expiry::All(Duration::from_secs(120));

fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        url: url.to_owned(),
        username: None,
        password_file: None,
        ca_file: None,
        key_prefix: "mcpgateway".into(),
        owner: OwnerId::parse("uid/ns/name").unwrap(),
        takeover: TakeoverPolicy::Idle,
        interval: Duration::from_secs(60),
        lease_duration: Duration::from_secs(15),
    }
}

fn store_at(url: &str) -> Store {
    Store::open(settings(url), Metrics::default()).unwrap()
}

fn store(server: &RedisServer) -> Store {
    store_at(&server.url())
}

fn term(number: i64) -> Term {
    Term::new(number).unwrap()
}

fn token(number: i64) -> LeadershipToken {
    LeadershipToken::for_tests(term(number), clock::monotonic().after(Duration::from_secs(600)))
}

/// `total` servers named after `name`; number `first_hot` and those after it, a fifth of all, are hot.
fn fleet(name: &str, total: usize, first_hot: usize) -> Arc<Publication> {
    let url = |n| ServerUrl::parse(&format!("https://mcp-{n}.example.com/{name}")).unwrap();
    let mut known: PerServer<RankingInput> = PerServer::of(&(0..total).map(url).collect());
    for n in 0..total / 5 {
        let used = known.get_mut((first_hot + n) % total).unwrap();
        used.usage.last_used = UnixTime::from_seconds(1_763_800_000.0);
    }
    let now = UnixTime::from_seconds(1_763_800_100.5).unwrap();
    Arc::new(Publication::new(&classify(&known, now, &Params::default())).unwrap())
}

fn texts(urls: &[ServerUrl]) -> BTreeSet<String> {
    urls.iter().map(|url| url.expose().to_owned()).collect()
}

/// Asserts that exactly this publication is there, with the expiries of the contract, and nothing else is.
async fn assert_published(redis: &mut MultiplexedConnection, publication: &Publication, term: i64) {
    let hot: BTreeSet<String> = redis.smembers(HOT).await.unwrap();
    let cold: BTreeSet<String> = redis.smembers(COLD).await.unwrap();
    assert_eq!(hot, texts(publication.hot()));
    assert_eq!(cold, texts(publication.cold()));
    assert_eq!(redis.get::<_, String>(METADATA).await.unwrap(), publication.metadata());
    assert_eq!(redis.get::<_, String>(TIMESTAMP).await.unwrap(), publication.timestamp());
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), format!("{OUR_LOCK}{term}"));
    assert_eq!(redis.get::<_, String>(TERM).await.unwrap(), term.to_string());
    for (key, expiry, present) in [
        (HOT, 120, !hot.is_empty()),
        (COLD, 120, !cold.is_empty()),
        (METADATA, 120, true),
        (TIMESTAMP, 120, true),
        (LOCK, 180, true),
    ] {
        let left: i64 = redis.ttl(key).await.unwrap();
        assert!(if present { (expiry - 60..=expiry).contains(&left) } else { left == -2 }, "{key}: {left}");
    }
    assert_eq!(redis.ttl::<_, i64>(TERM).await.unwrap(), -1);
    let mut ends: BTreeSet<i64> = BTreeSet::new();
    for key in [HOT, COLD, METADATA, TIMESTAMP] {
        ends.insert(redis::cmd("PEXPIRETIME").arg(key).query_async(redis).await.unwrap());
    }
    ends.remove(&-2);
    assert_eq!(ends.len(), 1, "all of it ends at one moment");
    assert_no_staging(redis).await;
}

async fn assert_no_staging(redis: &mut MultiplexedConnection) {
    let staged: Vec<String> = redis.keys("*staging*").await.unwrap();
    assert_eq!(staged, Vec::<String>::new());
}

/// Everything in Redis, to show that a refused call changed nothing.
async fn dump(redis: &mut MultiplexedConnection) -> Vec<(String, Option<Vec<u8>>)> {
    let mut keys: Vec<String> = redis.keys("*").await.unwrap();
    keys.sort();
    let mut all = Vec::new();
    for key in keys {
        let value = redis::cmd("DUMP").arg(&key).query_async(redis).await.unwrap();
        all.push((key, value));
    }
    all
}
