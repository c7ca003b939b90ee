//! Publishing against a real Redis: what readers see, what the fence refuses, what failures do.

mod contract;
mod difference;
mod faults;
mod fence;
mod foreign_holder;
mod keeper;
mod list_ttl;
mod plan;
mod planned_polls;
mod reader;
mod reference;
mod refusals;
mod withdraw;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::redis::{self as support, RedisServer};
use mcpgateway_operator::classify::{Params, PerServer, RankingInput, classify};
use mcpgateway_operator::clock;
use mcpgateway_operator::clock::reference::ReferenceClock;
use mcpgateway_operator::leadership::LeadershipToken;
use mcpgateway_operator::model::{PlannedInterval, ServerUrl, TakeoverDecision, Term, UnixTime};
use mcpgateway_operator::publish::foreign_holder::ForeignHolder;
use mcpgateway_operator::publish::keys::{Keys, OwnerId};
use mcpgateway_operator::publish::{
    Denied, Error, LockReports, LockState, Metrics, NotWritten, Publication, Published, ReadBack, RedisAccess,
    RedisSettings, RedisUrl, Retention, Store, TakeoverPolicy, keep,
};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

const HOT: &str = "mcpgateway:server_classification:hot";
const COLD: &str = "mcpgateway:server_classification:cold";
const METADATA: &str = "mcpgateway:server_classification:metadata";
const TIMESTAMP: &str = "mcpgateway:server_classification:timestamp";
const INTERVALS: &str = "mcpgateway:server_classification:intervals";
const LOCK: &str = "mcpgateway:server_classification:leader";
const TERM: &str = "mcpgateway:server_classification:term";
const ALL: [&str; 6] = [HOT, COLD, METADATA, TIMESTAMP, LOCK, TERM];
const OUR_LOCK: &str = "mcpgateway-operator/uid/ns/name/";
const FULL: Option<Duration> = Some(Duration::from_secs(120));
const PUBLISHED: Result<Published, NotWritten> = Ok(Published { displaced: None });

fn access(url: &str) -> RedisAccess {
    RedisAccess::new(RedisUrl::parse(url).unwrap(), Keys::default())
}

fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        access: access(url),
        owner: OwnerId::parse("uid/ns/name").unwrap(),
        takeover: TakeoverPolicy::Idle,
        interval: Duration::from_secs(60),
        lease_duration: Duration::from_secs(15),
    }
}

fn store_at(url: &str) -> Store {
    Store::new(settings(url), ReferenceClock::default(), Metrics::default())
}

fn store(server: &RedisServer) -> Store {
    store_at(&server.url())
}

/// The refusal because another program holds the lock.
fn held_by_program(kind: &str, value: &str) -> NotWritten {
    let holder = ForeignHolder { kind: kind.into(), value: value.into(), publishes: false };
    NotWritten::Foreign(holder)
}

/// The refusal because another release of the operator holds the lock.
fn held_by_release(owner: &str) -> NotWritten {
    NotWritten::OtherRelease(owner.into())
}

/// The refusal because the ACL does not allow this command.
fn no_permission(command: &str, key: &str) -> NotWritten {
    NotWritten::Failed(Error::NoPermission(Denied { command: command.into(), key: Some(key.into()) }))
}

fn term(number: i64) -> Term {
    Term::new(number).unwrap()
}

fn token(number: i64) -> LeadershipToken {
    LeadershipToken::for_tests(term(number), clock::monotonic().after(Duration::from_secs(600)))
}

/// `total` servers named after `name`; number `first_hot` and those after it, a fifth of all, are hot.
fn fleet(name: &str, total: usize, first_hot: usize) -> Arc<Publication> {
    planned_fleet(name, total, first_hot, |_| None)
}

/// The same with a refresh plan: `planned` returns the interval of a server, which counts if the server is cold.
fn planned_fleet(
    name: &str,
    total: usize,
    first_hot: usize,
    planned: impl Fn(usize) -> Option<PlannedInterval>,
) -> Arc<Publication> {
    planned_servers(&servers(name, total), first_hot, planned)
}

/// Reads the next part of a publication back.
async fn read_back(store: &Store, publication: &Publication) -> Result<ReadBack, Error> {
    let places: HashMap<&str, u32> = publication.servers().iter().map(ServerUrl::expose).zip(0..).collect();
    store.read_back(publication.servers(), |url| places.get(url).copied()).await
}

fn servers(name: &str, total: usize) -> Arc<[ServerUrl]> {
    (0..total).map(|n| ServerUrl::parse(&format!("https://mcp-{n}.example.com/{name}")).unwrap()).collect()
}

fn planned_servers(
    servers: &Arc<[ServerUrl]>,
    first_hot: usize,
    planned: impl Fn(usize) -> Option<PlannedInterval>,
) -> Arc<Publication> {
    let mut known: PerServer<RankingInput> = PerServer::of(servers);
    for n in 0..servers.len() / 5 {
        let used = known.get_mut((first_hot + n) % servers.len()).unwrap();
        used.usage.last_used = UnixTime::from_seconds(1_763_800_000.0);
    }
    let now = UnixTime::from_seconds(1_763_800_100.5).unwrap();
    let mut plan = PerServer::of(known.servers());
    plan.values_mut().iter_mut().enumerate().for_each(|(n, interval)| *interval = planned(n));
    Arc::new(Publication::new(&classify(&known, now, &Params::default()), &Arc::new(plan)).unwrap())
}

fn texts<'a>(urls: impl Iterator<Item = &'a ServerUrl>) -> BTreeSet<String> {
    urls.map(|url| url.expose().to_owned()).collect()
}

/// Asserts that Redis holds exactly this publication, with the expiries of the contract, and nothing else.
async fn assert_published(redis: &mut MultiplexedConnection, publication: &Publication, term: i64) {
    let hot: BTreeSet<String> = redis.smembers(HOT).await.unwrap();
    let cold: BTreeSet<String> = redis.smembers(COLD).await.unwrap();
    assert_eq!(hot, texts(publication.hot()));
    assert_eq!(cold, texts(publication.cold()));
    let plan: BTreeMap<String, String> = redis.hgetall(INTERVALS).await.unwrap();
    let published = publication.plan().map(|(server, planned)| (server.expose().to_owned(), planned.to_string()));
    assert_eq!(plan, published.collect());
    assert_eq!(redis.get::<_, String>(METADATA).await.unwrap(), publication.metadata);
    assert_eq!(redis.get::<_, String>(TIMESTAMP).await.unwrap(), publication.timestamp);
    assert_eq!(redis.get::<_, String>(LOCK).await.unwrap(), format!("{OUR_LOCK}{term}"));
    assert_eq!(redis.get::<_, String>(TERM).await.unwrap(), term.to_string());
    for (key, expiry, present) in [
        (HOT, 120, !hot.is_empty()),
        (COLD, 120, !cold.is_empty()),
        (METADATA, 120, true),
        (TIMESTAMP, 120, true),
        (INTERVALS, 120, !plan.is_empty()),
        (LOCK, 180, true),
    ] {
        let left: i64 = redis.ttl(key).await.unwrap();
        assert!(if present { (expiry - 60..=expiry).contains(&left) } else { left == -2 }, "{key}: {left}");
    }
    assert_eq!(redis.ttl::<_, i64>(TERM).await.unwrap(), -1);
    let mut ends: BTreeSet<i64> = BTreeSet::new();
    for key in [HOT, COLD, METADATA, TIMESTAMP, INTERVALS] {
        ends.insert(redis::cmd("PEXPIRETIME").arg(key).query_async(redis).await.unwrap());
    }
    ends.remove(&-2);
    assert_eq!(ends.len(), 1, "all of it expires at one moment");
    assert_no_staging(redis).await;
}

/// A store or reader that has the permissions of this user of docs/security.md, as they stand there.
async fn as_user_of_the_page(server: &RedisServer, user: &str) -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/security.md")).unwrap();
    let line =
        page.lines().find_map(|line| line.strip_prefix(&format!("user {user} "))).expect("the user is on the page");
    let rules = line.replace("PASSWORD", "planted-pw");
    let rules: Vec<&str> = rules.split(' ').collect();
    let mut redis = server.connection().await;
    redis::cmd("ACL").arg("SETUSER").arg(user).arg(&rules).exec_async(&mut redis).await.unwrap();
    format!("redis://{user}:planted-pw@127.0.0.1:{}", server.port())
}

async fn assert_no_staging(redis: &mut MultiplexedConnection) {
    let staged: Vec<String> = redis.keys("*staging*").await.unwrap();
    assert_eq!(staged, Vec::<String>::new());
}

/// Everything in Redis, to assert that a refused call changed nothing.
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

/// A store with an interval of six seconds, and so a check every second, and the keeper of its lock.
struct Kept {
    store: Arc<Store>,
    tokens: watch::Sender<Option<LeadershipToken>>,
    retention: watch::Sender<Retention>,
    state: watch::Receiver<LockState>,
    differs: Arc<Notify>,
    keeper: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Kept {
    fn start(server: &RedisServer, takeover: TakeoverPolicy, token: LeadershipToken) -> Self {
        let settings = RedisSettings { interval: Duration::from_secs(6), takeover, ..settings(&server.url()) };
        let store = Arc::new(Store::new(settings, ReferenceClock::default(), Metrics::default()));
        let (tokens, tokens_in) = watch::channel(Some(token));
        let (retention, retention_in) = watch::channel(Retention::All);
        let (state_out, state) = watch::channel(LockState::Off);
        let differs = Arc::new(Notify::new());
        let reports = LockReports { state: state_out, differs: Arc::clone(&differs) };
        let keeper = tokio::spawn(keep(Arc::clone(&store), tokens_in, retention_in, reports));
        Self { store, tokens, retention, state, differs, keeper }
    }

    /// Waits for a state of the lock.
    async fn reaches(&mut self, what: &str, wanted: impl FnMut(&LockState) -> bool) {
        let limit = Duration::from_secs(15);
        let waited = tokio::time::timeout(limit, self.state.wait_for(wanted)).await.map(|_| ());
        assert!(waited.is_ok(), "never {what}, but {:?}", *self.state.borrow());
    }

    async fn is(&mut self, wanted: LockState) {
        self.reaches(&format!("{wanted:?}"), |state| *state == wanted).await;
    }

    async fn decides(&mut self, wanted: TakeoverDecision) {
        let is = |state: &LockState| matches!(state, LockState::Foreign { takeover, .. } if *takeover == wanted);
        self.reaches(&format!("{wanted:?}"), is).await;
    }

    /// Whether the keeper reports within this time that Redis does not hold what it should.
    async fn reports_difference(&self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.differs.notified()).await.is_ok()
    }
}
