//! Observes both stores throughout a row and checks docs/contract.md#promises.
//!
//! In: a fleet. Out: [`Seen`], or a panic that names the broken promise and the time. One task samples Redis every few
//! milliseconds in one transaction (P3, and the lock). One reads the stream of all commands that Redis runs (P1,
//! without a gap). One watches every change of every object (P1 on statuses).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use mcpgateway_operator::api::v1alpha1::McpGateway;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::monitor::{Call, Reader};
use crate::support::fleet::{Fleet, key};

/// Between two samples of Redis.
const PERIOD: Duration = Duration::from_millis(2);

/// What the observer saw, if no promise was broken.
pub struct Seen {
    /// Samples of Redis.
    pub samples: usize,
    /// Calls that wrote to Redis.
    pub writes: usize,
    /// Calls at a term below an accepted one. None of them wrote.
    pub refused: usize,
    /// Changes of statuses.
    pub statuses: usize,
}

#[derive(Default)]
struct Shared {
    begun: Option<Instant>,
    broken: Mutex<Vec<String>>,
    samples: AtomicUsize,
    writes: AtomicUsize,
    refused: AtomicUsize,
    statuses: AtomicUsize,
    /// Whether the lock must be ours, once it was.
    lock_expected: AtomicBool,
    /// How often Redis has lost its memory. Earlier samples do not count after that.
    memory: AtomicUsize,
    /// How often somebody else edited statuses. Earlier terms do not count after that.
    edits: AtomicUsize,
    /// Whether the sets must be consistent. Not while a test edits them.
    sets_expected: AtomicBool,
}

impl Shared {
    fn broken(&self, what: &str) {
        let at = self.begun.map(|begun| begun.elapsed()).unwrap_or_default();
        let mut all = self.broken.lock().unwrap();
        if all.len() < 20 {
            all.push(format!("{at:?}: {what}"));
        }
    }
}

/// The observation of one fleet.
pub struct Observer {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Observer {
    pub async fn start(fleet: &Fleet) -> Self {
        let shared = Arc::new(Shared { begun: Some(Instant::now()), ..Shared::default() });
        shared.lock_expected.store(true, Ordering::SeqCst);
        shared.sets_expected.store(true, Ordering::SeqCst);
        let (url, port) = (fleet.redis.url(), fleet.redis.port());
        let objects: Api<McpGateway> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
        let (ready, monitoring) = tokio::sync::oneshot::channel();
        let tasks = vec![
            tokio::spawn(sample(Arc::clone(&shared), url)),
            tokio::spawn(monitor(Arc::clone(&shared), port, Some(ready))),
            tokio::spawn(watch(Arc::clone(&shared), objects)),
        ];
        monitoring.await.expect("the monitor runs");
        Self { shared, tasks }
    }

    /// Redis loses its memory now: the fence starts again, and P1 counts from here.
    pub fn redis_forgets(&self) {
        self.shared.memory.fetch_add(1, Ordering::SeqCst);
    }

    /// Sets whether the lock must be ours at all times, once it was.
    pub fn expect_lock(&self, expected: bool) {
        self.shared.lock_expected.store(expected, Ordering::SeqCst);
    }

    /// Sets whether the sets must be consistent whenever they exist. Not while a test edits them.
    pub fn expect_sets(&self, expected: bool) {
        self.shared.sets_expected.store(expected, Ordering::SeqCst);
    }

    /// Somebody else writes statuses now: earlier terms do not count.
    pub fn statuses_are_edited(&self) {
        self.shared.edits.fetch_add(1, Ordering::SeqCst);
    }

    /// How many calls at a stale term have arrived. None of them wrote.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    pub async fn end(&self) -> Seen {
        // Leaves time to read everything that Redis has run by now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let broken = self.shared.broken.lock().unwrap().clone();
        assert!(broken.is_empty(), "broken promises:\n{}", broken.join("\n"));
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        let Shared { samples, writes, refused, statuses, .. } = &*self.shared;
        Seen { samples: count(samples), writes: count(writes), refused: count(refused), statuses: count(statuses) }
    }
}

type Sample = (Option<String>, Option<String>, Option<String>, BTreeSet<String>, BTreeSet<String>, Plan);
/// The fields of a refresh plan; empty without one.
type Plan = BTreeMap<String, String>;

/// Checks P3 and the lock, in one transaction as a reader would.
async fn sample(shared: Arc<Shared>, url: String) {
    let client = redis::Client::open(url).unwrap();
    let (mut ours, mut lock_term, mut newest, mut memory) = (false, 0, 0.0, 0);
    let mut last = None;
    loop {
        let patient = redis::AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let Ok(mut connection) = client.get_multiplexed_async_connection_with_config(&patient).await else {
            tokio::time::sleep(PERIOD).await;
            continue;
        };
        let mut transaction = redis::pipe();
        transaction.atomic().get(key("leader")).get(key("metadata")).get(key("timestamp"));
        transaction.smembers(key("hot")).smembers(key("cold")).hgetall(key("intervals"));
        loop {
            let before = shared.memory.load(Ordering::SeqCst);
            let found: Result<Sample, _> = transaction.query_async(&mut connection).await;
            let (lock, metadata, timestamp, hot, cold, plan) = match found {
                Ok(found) => found,
                // Some rows plant keys of a wrong type. Any other error is a lost connection.
                Err(error) if error.code() == Some("WRONGTYPE") => {
                    tokio::time::sleep(PERIOD).await;
                    continue;
                }
                Err(_) => break,
            };
            shared.samples.fetch_add(1, Ordering::SeqCst);
            if memory != before || before != shared.memory.load(Ordering::SeqCst) {
                (ours, lock_term, newest, memory) = (false, 0, 0.0, shared.memory.load(Ordering::SeqCst));
            }
            if memory != before {
                // The sample may be of the memory before.
                tokio::time::sleep(PERIOD).await;
                continue;
            }
            let holder = lock.as_deref().unwrap_or("nobody");
            let is_ours = holder.starts_with("mcpgateway-operator/");
            if !is_ours && ours && shared.lock_expected.load(Ordering::SeqCst) {
                shared.broken(&format!("the lock is not ours but held by {holder}"));
            }
            ours |= is_ours;
            if let Some(term) = holder.rsplit('/').next().and_then(|term| term.parse::<i64>().ok()).filter(|_| is_ours)
            {
                if term < lock_term {
                    shared.broken(&format!("P1: the lock's term fell from {lock_term} to {term}"));
                }
                lock_term = term;
            }
            if shared.sets_expected.load(Ordering::SeqCst) {
                check_sets(&shared, metadata.as_deref(), timestamp.as_deref(), &hot, &cold);
                check_plan(&shared, &plan, &cold);
                if let Some(text) = timestamp
                    && let Ok(seconds) = text.parse::<f64>()
                {
                    if seconds < newest {
                        shared.broken(&format!("P1: the timestamp went back from {newest} to {seconds}"));
                    }
                    newest = seconds;
                    let publication = (text, hot, cold, plan);
                    let other = last.replace(publication.clone()).filter(|other| *other != publication);
                    if other.is_some_and(|(at, ..)| at == publication.0) && !publication.3.is_empty() {
                        shared.broken(&format!("P3: a part of a publication has changed: {publication:?}"));
                    }
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }
}

fn check_sets(
    shared: &Shared,
    metadata: Option<&str>,
    timestamp: Option<&str>,
    hot: &BTreeSet<String>,
    cold: &BTreeSet<String>,
) {
    // An empty registry has no members, and its metadata say so.
    let empty = metadata.is_some_and(|text| text.contains("\"total_servers\":0,"));
    let present = [metadata.is_some(), timestamp.is_some(), empty || !(hot.is_empty() && cold.is_empty())];
    if present.iter().any(|is| *is != present[0]) {
        shared.broken(&format!("P3: half a publication: metadata, timestamp, members: {present:?}"));
    }
    if !hot.is_disjoint(cold) {
        shared.broken(&format!("P3: in both sets: {:?}", hot.intersection(cold).collect::<Vec<_>>()));
    }
    let Some(facts) = metadata.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok()) else { return };
    let stated = (facts["total_servers"].as_u64(), facts["hot_actual"].as_u64());
    if stated != (Some((hot.len() + cold.len()) as u64), Some(hot.len() as u64)) {
        shared.broken(&format!("P3: {} hot and {} cold, but the metadata say {facts}", hot.len(), cold.len()));
    }
}

/// Checks that a plan is that of the sets: each cold server has a field, and no other one.
fn check_plan(shared: &Shared, plan: &Plan, cold: &BTreeSet<String>) {
    if !plan.is_empty() && !plan.keys().eq(cold) {
        shared.broken(&format!("P3: a plan of other servers than {cold:?}: {plan:?}"));
    }
}

/// Checks P1 without a gap: of two calls that wrote, the later one never has the lower term; and within one term, no
/// publication follows a newer one.
async fn monitor(shared: Arc<Shared>, port: u16, mut ready: Option<tokio::sync::oneshot::Sender<()>>) {
    let (mut highest, mut newest, mut memory) = (0, (0, 0.0), 0);
    loop {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else {
            tokio::time::sleep(PERIOD).await;
            continue;
        };
        if stream.write_all(b"MONITOR\r\n").await.is_err() {
            continue;
        }
        let mut lines = BufReader::new(stream).lines();
        let mut reader = Reader::default();
        while let Ok(Some(line)) = lines.next_line().await {
            ready.take().map(|ready| ready.send(()));
            let Some(Call { term, wrote, published }) = reader.line(&line) else { continue };
            let now = shared.memory.load(Ordering::SeqCst);
            if memory != now {
                (highest, newest, memory) = (0, (0, 0.0), now);
            }
            if !wrote {
                shared.refused.fetch_add(usize::from(term < highest), Ordering::SeqCst);
                continue;
            }
            shared.writes.fetch_add(1, Ordering::SeqCst);
            if term < highest {
                shared.broken(&format!("P1: Redis accepted a write of term {term} after one of {highest}"));
            }
            highest = term;
            if let Some(seconds) = published.and_then(|text| text.parse::<f64>().ok()) {
                if newest.0 == term && seconds < newest.1 {
                    shared.broken(&format!("P1: Redis accepted a publication of {seconds} after one of {}", newest.1));
                }
                newest = (term, seconds);
            }
        }
    }
}

/// Checks P1 on statuses: the term of an object never falls.
async fn watch(shared: Arc<Shared>, objects: Api<McpGateway>) {
    let mut terms: BTreeMap<String, i32> = BTreeMap::new();
    let mut edits = 0;
    let mut version = objects.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    loop {
        let Ok(stream) = objects.watch(&WatchParams::default().timeout(290), &version).await else {
            tokio::time::sleep(PERIOD).await;
            continue;
        };
        let mut stream = stream.boxed();
        while let Ok(Some(event)) = stream.try_next().await {
            if let WatchEvent::Error(_) = event {
                // The version has expired: changes since then are missed.
                if let Ok(list) = objects.list(&ListParams::default()).await {
                    version = list.metadata.resource_version.unwrap_or(version);
                }
                break;
            }
            let (WatchEvent::Added(object) | WatchEvent::Modified(object)) = event else { continue };
            version = object.metadata.resource_version.clone().unwrap_or(version);
            let Some(term) = object.status.as_ref().and_then(|status| status.term) else { continue };
            shared.statuses.fetch_add(1, Ordering::SeqCst);
            let now = shared.edits.load(Ordering::SeqCst);
            if edits != now {
                (terms, edits) = (BTreeMap::new(), now);
            }
            let uid = object.metadata.uid.unwrap_or_default();
            // A fall by more than a million repairs a planted term: the rule allows it.
            let fell = |before: &i32| *before > term && i64::from(*before) - i64::from(term) <= 1_000_000;
            if let Some(before) = terms.insert(uid, term).filter(fell) {
                shared.broken(&format!("P1: a status fell from term {before} to {term}"));
            }
        }
    }
}
