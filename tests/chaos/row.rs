//! One row of the campaign: a fleet under observation, and the line that it adds to the table.

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

/// A row under way.
pub struct Row {
    id: &'static str,
    done: &'static str,
    begun: Instant,
    pub fleet: Fleet,
    pub observer: Observer,
}

impl Row {
    /// A fleet of ten servers, one of them in use, under observation. `id` is the row, `done` what is done to it.
    pub async fn begin(id: &'static str, done: &'static str) -> Self {
        let name = id.to_lowercase().replace('.', "-");
        let fleet = Fleet::new(&format!("chaos-{name}"), 1).await;
        for name in NAMES {
            fleet.create(name, &format!("http://{name}.example/mcp")).await;
        }
        fleet.workers[0].report(vec![used("a", 10.0)]);
        Self::begin_with(id, done, fleet).await
    }

    /// The same with a fleet as it is.
    pub async fn begin_with(id: &'static str, done: &'static str, fleet: Fleet) -> Self {
        let observer = Observer::start(&fleet).await;
        Self { id, done, begun: Instant::now(), fleet, observer }
    }

    /// From now on these two servers are the ones in use.
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

    /// `leaseTransitions`.
    pub async fn term(&self) -> i32 {
        let api: Api<Lease> = Api::namespaced(self.fleet.client.clone(), &self.fleet.namespace);
        let lease = api.get_opt("mcpgateway-operator").await.expect("an answer");
        lease.and_then(|lease| lease.spec?.lease_transitions).unwrap_or_default()
    }

    /// Waits until the lock is held at a term above this one, and returns how long that took.
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

    /// Waits until both stores show exactly these servers hot, within the promised time after the last fault (P2).
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

    /// Ends the observation, which fails the row if a promise was broken, and adds the line to the table.
    pub async fn end(self, held: &str) {
        let Seen { samples, writes, refused, statuses } = self.observer.end().await;
        let seen =
            format!("{samples} looks, {writes} writes to Redis, {refused} late ones refused, {statuses} statuses");
        add_to_table(self.id, self.done, held, &seen, self.begun);
    }

    /// The line of a row that is about other things than the two stores, and looks at them by itself.
    pub fn note(id: &str, done: &str, held: &str, begun: Instant) {
        add_to_table(id, done, held, "its own", begun);
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

/// Which of these replicas leads. Under load that may change at any time, and is no fault by itself.
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

/// Waits until these replicas have ended so many further cycles, whoever of them leads.
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

/// Interval and 5 s: when everything is right again after a fault (P2).
pub const SETTLED: Duration = Duration::from_secs(2 + 5);
/// The same when a Lease has to run out first.
pub const SETTLED_AFTER_LEASE: Duration = Duration::from_secs(2 + 5 + 3 + 1);
