//! One fleet on real parts: objects, a Redis, workers, and the operators that a test starts.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use mcpgateway_operator::api::v1alpha1::{FleetStatus, McpGateway, McpGatewayFleet, McpGatewaySpec};
use mcpgateway_operator::clock;
use mcpgateway_operator::model::Tier;
use redis::AsyncCommands;
use serde_json::{Value, json};

use super::cluster::{Cluster, cluster};
use super::operator::Operator;
use super::redis::RedisServer;
use super::wall_clock::WallClock;
use super::worker::{Row, Worker};
use super::{SOON, eventually};

/// The name of the Lease and of the fleet object.
const FLEET: &str = "mcpgateway-operator";

/// One fleet: a namespace, a Redis, workers. Operators are started by the test.
pub struct Fleet {
    pub cluster: &'static Cluster,
    pub namespace: String,
    pub objects: Api<McpGateway>,
    pub client: Client,
    pub redis: RedisServer,
    pub workers: Vec<Worker>,
}

/// The tiers of a fleet: hot and cold, by URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tiers {
    pub hot: BTreeSet<String>,
    pub cold: BTreeSet<String>,
}

/// The spec that a manifest has in which only the URL is given.
pub fn spec(url: &str) -> McpGatewaySpec {
    McpGatewaySpec {
        url: url.to_owned(),
        gateway_id: None,
        allowed_query_names: Vec::new(),
        polling: None,
        enabled: true,
        registration: None,
    }
}

impl Fleet {
    pub async fn new(test: &str, workers: usize) -> Self {
        Self::on(cluster(), test, workers).await
    }

    pub async fn on(cluster: &'static Cluster, test: &str, workers: usize) -> Self {
        let namespace = cluster.namespace(test).await;
        let client = cluster.client().await;
        let objects = Api::namespaced(client.clone(), &namespace);
        let mut started = Vec::new();
        for _ in 0..workers {
            started.push(Worker::start().await);
        }
        Self { cluster, namespace, objects, client, redis: RedisServer::start(&[]), workers: started }
    }

    /// Starts a replica with an interval of 2 s and a lease duration of 3 s, which ranks by the exact time of last use.
    pub fn operator(&self) -> Operator {
        self.operator_with(&["--redis-url", &self.redis.url()])
    }

    pub fn operator_with(&self, flags: &[&str]) -> Operator {
        self.operator_as(self.cluster.kubeconfig(), flags)
    }

    /// Starts a replica with a kubeconfig of its own.
    pub fn operator_as(&self, kubeconfig: &Path, flags: &[&str]) -> Operator {
        Operator::start(kubeconfig, &self.namespace, &strs(&self.flags(flags)))
    }

    /// Starts a replica with a wall clock of its own.
    pub fn operator_at(&self, clock: &WallClock, flags: &[&str]) -> Operator {
        Operator::start_at(clock, self.cluster.kubeconfig(), &self.namespace, &strs(&self.flags(flags)))
    }

    /// Starts a replica of another release, which is this program.
    pub fn operator_of_release(&self, program: &Path) -> Operator {
        let flags = self.flags(&["--redis-url", &self.redis.url()]);
        Operator::start_release(program, self.cluster.kubeconfig(), &self.namespace, &strs(&flags))
    }

    /// Starts a replica under limits, see [`Operator::start_limited`].
    pub fn operator_limited(&self, limits: &[&str], flags: &[&str]) -> Operator {
        Operator::start_limited(limits, self.cluster.kubeconfig(), &self.namespace, &strs(&self.flags(flags)))
    }

    fn flags(&self, flags: &[&str]) -> Vec<String> {
        let mut all = vec!["--classification-interval", "2s", "--recency-resolution", "0s"];
        all.extend(["--leader-elect-lease-duration", "3s", "--leader-elect-renew-deadline", "2s"]);
        all.extend(["--leader-elect-retry-period", "400ms"]);
        let urls: Vec<String> = self.workers.iter().map(Worker::url).collect();
        for url in &urls {
            all.extend(["--worker-endpoint", url]);
        }
        all.extend(flags);
        all.into_iter().map(str::to_owned).collect()
    }

    /// Creates an object for a server, with `id-<name>` as its gateway id.
    pub async fn create(&self, name: &str, url: &str) -> McpGateway {
        let gateway_id = Some(format!("id-{name}"));
        let object = McpGateway::new(name, McpGatewaySpec { gateway_id, ..spec(url) });
        self.objects.create(&PostParams::default(), &object).await.expect("created")
    }

    pub async fn get(&self, name: &str) -> McpGateway {
        self.objects.get(name).await.expect("it exists")
    }

    pub async fn delete(&self, name: &str) {
        self.objects.delete(name, &DeleteParams::default()).await.expect("deleted");
    }

    pub async fn edit(&self, name: &str, spec: Value) {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.objects.patch(name, &PatchParams::default(), &patch).await.expect("edited");
    }

    pub async fn all(&self) -> Vec<McpGateway> {
        self.objects.list(&ListParams::default()).await.expect("a list").items
    }

    /// The tiers in the statuses.
    pub async fn statuses(&self) -> Tiers {
        let mut tiers = Tiers::default();
        for object in self.all().await {
            match object.status.and_then(|status| status.tier) {
                Some(Tier::Hot) => tiers.hot.insert(object.spec.url),
                Some(Tier::Cold) => tiers.cold.insert(object.spec.url),
                None => false,
            };
        }
        tiers
    }

    /// The tiers in Redis, read in one transaction.
    pub async fn sets(&self) -> Tiers {
        let mut connection = self.redis.connection().await;
        let (hot, cold) = redis::pipe()
            .atomic()
            .smembers(key("hot"))
            .smembers(key("cold"))
            .query_async(&mut connection)
            .await
            .expect("two sets");
        Tiers { hot, cold }
    }

    /// The tiers in Redis; `None` while Redis does not answer or the keys are of another type.
    pub async fn sets_if_any(&self) -> Option<Tiers> {
        let client = redis::Client::open(self.redis.url()).ok()?;
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let mut transaction = redis::pipe();
        transaction.atomic().smembers(key("hot")).smembers(key("cold"));
        let (hot, cold) = transaction.query_async(&mut connection).await.ok()?;
        Some(Tiers { hot, cold })
    }

    /// A string key of Redis.
    pub async fn redis_text(&self, name: &str) -> Option<String> {
        self.redis.connection().await.get(key(name)).await.expect("a string")
    }

    /// Waits until every object has a tier, and Redis has the same tiers.
    pub async fn settled(&self) -> Tiers {
        eventually("statuses and sets agree on every object", SOON, || async {
            let (statuses, sets) = (self.statuses().await, self.sets().await);
            let urls: BTreeSet<String> = self.all().await.into_iter().map(|object| object.spec.url).collect();
            let all: BTreeSet<String> = statuses.hot.union(&statuses.cold).cloned().collect();
            (statuses == sets && all == urls).then_some(sets)
        })
        .await
    }

    /// The fleet object, once a leader has created it.
    pub async fn fleet_object(&self) -> Option<McpGatewayFleet> {
        self.fleet_objects().get_opt(FLEET).await.expect("an answer")
    }

    pub fn fleet_objects(&self) -> Api<McpGatewayFleet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The status of the fleet object; empty before a leader has written one.
    pub async fn status(&self) -> FleetStatus {
        self.fleet_object().await.and_then(|fleet| fleet.status).unwrap_or_default()
    }

    /// A condition of the fleet object as `Status/Reason: message`.
    pub async fn condition(&self, kind: &str) -> String {
        let status = self.status().await;
        let found = status.conditions.iter().find(|condition| condition.type_ == kind);
        found.map(|found| format!("{}/{}: {}", found.status, found.reason, found.message)).unwrap_or_default()
    }

    /// Pulls or releases the emergency brake, once the first leader has created the object.
    pub async fn suspend(&self, suspend: bool) {
        eventually("the fleet object", SOON, || self.fleet_object()).await;
        let patch = Patch::Merge(json!({"spec": {"suspend": suspend}}));
        self.fleet_objects().patch(FLEET, &PatchParams::default(), &patch).await.expect("patched");
    }
}

fn strs(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

/// The name of a classification key.
pub fn key(name: &str) -> String {
    format!("mcpgateway:server_classification:{name}")
}

/// A row for the object of this name, last used `ago` seconds ago.
pub fn used(name: &str, ago: f64) -> Row {
    Row { id: Some(format!("id-{name}")), url: None, last_used: clock::now().seconds() - ago, active: 1, use_count: 5 }
}

/// A row of a server that was used a second ago, under this id and URL.
pub fn used_as(id: Option<&str>, url: String) -> Row {
    let last_used = clock::now().seconds() - 1.0;
    Row { id: id.map(str::to_owned), url: Some(url), last_used, active: 1, use_count: 3 }
}

/// Status and reason of a condition, as `True/Valid`.
pub fn condition(object: &McpGateway, kind: &str) -> String {
    let conditions = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let found = conditions.iter().find(|condition: &&Condition| condition.type_ == kind);
    found.map_or_else(|| "absent".to_owned(), |condition| format!("{}/{}", condition.status, condition.reason))
}
