//! One row of the campaign: a fleet under observation, and its line of the table.

use std::fs;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;

use crate::observer::{Observer, Seen};
use crate::support::cluster::root;
use crate::support::fleet::{Fleet, key, used};
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};
use redis::AsyncCommands;

/// The names of a fleet's objects, in alphabetical order.
pub const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// A running row.
pub struct Row {
    id: &'static str,
    done: &'static str,
    begun: Instant,
    pub fleet: Fleet,
    pub observer: Observer,
}

impl Row {
    /// Starts a row with ten servers, one of them in use. `id` names the row, `done` describes the fault.
    pub async fn begin(id: &'static str, done: &'static str) -> Self {
        let name = id.to_lowercase().replace('.', "-");
        let fleet = Fleet::new(&format!("chaos-{name}"), 1).await;
        for name in NAMES {
            fleet.create(name, &format!("http://{name}.example/mcp")).await;
        }
        fleet.workers[0].report(vec![used("a", 10.0)]);
        Self::begin_with(id, done, fleet).await
    }

    /// Starts a row with an existing fleet.
    pub async fn begin_with(id: &'static str, done: &'static str, fleet: Fleet) -> Self {
        let observer = Observer::start(&fleet).await;
        Self { id, done, begun: Instant::now(), fleet, observer }
    }

    /// Makes these two servers the ones in use.
    pub fn use_servers(&self, names: [&str; 2]) {
        self.fleet.workers[0].report(names.iter().map(|name| used(name, 1.0)).collect());
    }

    /// Starts two replicas, and waits until the first leads and has published.
    pub async fn two(&self) -> (Operator, Operator) {
        let first = self.fleet.operator();
        self.fleet.settled().await;
        let second = self.fleet.operator();
        second.ready().await;
        (first, second)
    }

    /// The term: `leaseTransitions` of the Lease.
    pub async fn term(&self) -> i32 {
        let api: Api<Lease> = Api::namespaced(self.fleet.client.clone(), &self.fleet.namespace);
        let lease = api.get_opt("mcpgateway-operator").await.expect("an answer");
        lease.and_then(|lease| lease.spec?.lease_transitions).unwrap_or_default()
    }

    /// Waits until the lock is held at a term above this one. Returns how long that took.
    pub async fn taken_over(&self, term: i32) -> Duration {
        let begun = Instant::now();
        let mut connection = self.fleet.redis.connection().await;
        eventually("the lock is held at a higher term", SOON, || {
            let mut connection = connection.clone();
            async move {
                let lock: Option<String> = connection.get(key("leader")).await.ok()?;
                let held: i32 = lock?.rsplit('/').next()?.parse().ok()?;
                (held > term).then_some(())
            }
        })
        .await;
        let _: () = redis::cmd("PING").query_async(&mut connection).await.expect("an answer");
        begun.elapsed()
    }

    /// Waits until both stores show exactly these servers hot. `limit` is the promised time after the last fault
    /// (docs/contract.md#p2).
    pub async fn shows_hot(&self, names: [&str; 2], limit: Duration) -> Duration {
        let begun = Instant::now();
        let wanted: Vec<String> = names.iter().map(|name| format!("http://{name}.example/mcp")).collect();
        eventually(&format!("both stores call {names:?} hot"), limit, || async {
            let (statuses, sets) = (self.fleet.statuses().await, self.fleet.sets_if_any().await?);
            let right = sets.hot.iter().eq(&wanted) && sets.cold.len() == NAMES.len() - wanted.len();
            (right && statuses == sets).then_some(())
        })
        .await;
        begun.elapsed()
    }

    /// Ends the observation and adds the line to the table. Fails the row if a promise was broken.
    pub async fn end(self, held: &str) {
        let Seen { samples, writes, refused, statuses } = self.observer.end().await;
        let seen = format!(
            "{samples} samples, {writes} Redis writes, {refused} late calls refused, {statuses} status changes"
        );
        add_to_table(self.id, self.done, held, &seen, self.begun);
    }

    /// Adds the line of a row that checks the stores itself, without an observer.
    pub fn note(id: &str, done: &str, held: &str, begun: Instant) {
        add_to_table(id, done, held, "checked by the row itself", begun);
    }
}

fn add_to_table(id: &str, done: &str, held: &str, seen: &str, begun: Instant) {
    let took = begun.elapsed().as_secs_f64();
    println!("{id}: {done}: {held} ({seen}; {took:.0} s)");
    let folder = root().join("target/chaos");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(format!("{id}.row")), format!("| {id} | {done} | {held} | {seen} | {took:.0} s |\n"))
        .expect("written");
}

/// Which of these replicas leads. Under load the leader may change at any time; that is not a fault by itself.
pub async fn leader_of(replicas: &[Operator]) -> usize {
    eventually("one of them leads", SOON, || async {
        for (number, replica) in replicas.iter().enumerate() {
            if replica.metric("mcpgateway_operator_leader").await > 0.0 {
                return Some(number);
            }
        }
        None
    })
    .await
}

/// Waits until these replicas have completed `count` further cycles, whichever of them leads.
pub async fn cycles_of(replicas: &[Operator], count: u32) {
    let ended = || async {
        let mut sum = 0.0;
        for replica in replicas {
            sum += replica.metric("mcpgateway_operator_cycle_duration_seconds_count").await;
        }
        sum
    };
    let begun = ended().await;
    let limit = SOON + Duration::from_secs(10) * count;
    eventually("further cycles", limit, || async { (ended().await >= begun + f64::from(count)).then_some(()) }).await;
}

/// One interval and 5 s: the time within which a fleet recovers from a fault (docs/contract.md#p2).
pub const SETTLED: Duration = Duration::from_secs(2 + 5);
/// The same if a Lease must expire first.
pub const SETTLED_AFTER_LEASE: Duration = Duration::from_secs(2 + 5 + 3 + 1);
