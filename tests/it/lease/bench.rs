//! Candidates for leadership on a real API server, behind a proxy that injects faults.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use mcpgateway_operator::leadership::{
    ElectionSettings, ElectorDependencies, LeaderElector, Leadership, LeadershipToken, LeaseTiming, Metrics,
    TermRefusal,
};
use mcpgateway_operator::model::Term;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use crate::support::api_proxy::Fault;

use crate::support::api_proxy::ApiProxy;
use crate::support::cluster::cluster;

pub const TIMING: LeaseTiming = LeaseTiming {
    lease_duration: Duration::from_secs(3),
    renew_deadline: Duration::from_secs(2),
    retry_period: Duration::from_millis(400),
};

/// The term stored in Redis.
#[derive(Clone, Copy, Debug)]
pub enum Redis {
    Absent,
    Hangs,
    Holds(i64),
}

impl Redis {
    async fn term(self) -> Option<Term> {
        match self {
            Self::Absent => None,
            Self::Hangs => std::future::pending().await,
            Self::Holds(number) => Term::new(number),
        }
    }
}

pub struct Bench {
    direct: Client,
    proxied: Client,
    proxy: ApiProxy,
    pub requests: Arc<AtomicUsize>,
    namespace: String,
}

impl Bench {
    pub async fn new(name: &str) -> Self {
        let direct = cluster().client().await;
        let namespace = cluster().namespace(&format!("lease-{name}")).await;
        let proxy = ApiProxy::start(direct.clone()).await;
        let (uri, requests) = (proxy.url().parse().unwrap(), proxy.requests());
        let mut config = Config::new(uri);
        config.default_retry = false;
        Self { direct, proxied: Client::try_from(config).unwrap(), proxy, requests, namespace }
    }

    pub fn fault(&self, fault: Fault) {
        self.proxy.fault(fault);
    }

    pub fn candidate(&self, identity: &str) -> Candidate {
        self.candidate_with(identity, TIMING, Redis::Absent)
    }

    pub fn candidate_with(&self, identity: &str, timing: LeaseTiming, redis: Redis) -> Candidate {
        Candidate::start(self.proxied.clone(), &self.namespace, identity, timing, redis)
    }

    /// A candidate that does not go through the proxy.
    pub fn candidate_direct(&self, identity: &str) -> Candidate {
        Candidate::start(self.direct.clone(), &self.namespace, identity, TIMING, Redis::Absent)
    }

    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.direct.clone(), &self.namespace)
    }

    pub async fn delete(&self) {
        self.api().delete("operator", &DeleteParams::default()).await.unwrap();
    }

    pub async fn patch(&self, patch: Value) {
        self.api().patch("operator", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn object(&self) -> Lease {
        self.api().get("operator").await.unwrap()
    }

    /// Sends a PUT. Returns the status code that it is refused with, or 0 if it succeeds.
    pub async fn put(&self, lease: &Lease) -> u16 {
        match self.api().replace("operator", &PostParams::default(), lease).await {
            Err(kube::Error::Api(status)) => status.code,
            other => other.map(|_| 0).unwrap(),
        }
    }

    pub async fn lease(&self) -> Value {
        serde_json::to_value(self.api().get_opt("operator").await.unwrap()).unwrap()
    }

    pub async fn spec(&self) -> Value {
        self.lease().await["spec"].take()
    }

    pub async fn until(&self, limit: Duration, holds: impl Fn(&Value) -> bool) {
        let poll = async {
            while !holds(&self.lease().await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(limit, poll).await.expect("the Lease did not reach the expected state");
    }
}

pub struct Candidate {
    pub identity: String,
    leadership: watch::Receiver<Leadership>,
    refusals: mpsc::Sender<TermRefusal>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _registry: watch::Sender<Option<Arc<mcpgateway_operator::registry::RegistrySnapshot>>>,
}

impl Drop for Candidate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Candidate {
    fn start(client: Client, namespace: &str, identity: &str, timing: LeaseTiming, redis: Redis) -> Self {
        let settings = ElectionSettings {
            identity: identity.into(),
            namespace: namespace.into(),
            name: "operator".into(),
            timing,
        };
        let (refusals, received) = mpsc::channel(4);
        let (sender, registry) = watch::channel(None);
        let stop = CancellationToken::new();
        let dependencies = ElectorDependencies {
            client,
            redis_term: Box::new(move || redis.term().boxed()),
            registry,
            refusals: received,
            fleet_problem: watch::channel(None).1,
            events: mpsc::channel(1).0,
            stop: stop.clone(),
        };
        let metrics = Metrics::register(&mut Registry::default());
        let (elector, leadership) = LeaderElector::new(settings, dependencies, metrics);
        let task = tokio::spawn(elector.run());
        Self { identity: identity.into(), leadership, refusals, stop, task, _registry: sender }
    }

    pub fn token(&self) -> Option<LeadershipToken> {
        match &*self.leadership.borrow() {
            Leadership::Leading(token) => Some(token.clone()),
            Leadership::Standby { .. } => None,
        }
    }

    pub fn term(&self) -> Option<i32> {
        self.token().map(|token| token.term().get())
    }

    pub fn refuse(&self, refusal: TermRefusal) {
        self.refusals.try_send(refusal).unwrap();
    }

    pub fn kill(&self) {
        self.task.abort();
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }

    async fn becomes(&mut self, limit: Duration, holds: impl FnMut(&Leadership) -> bool) {
        let waited = matches!(tokio::time::timeout(limit, self.leadership.wait_for(holds)).await, Ok(Ok(_)));
        assert!(waited, "{} is {:?}", self.identity, &*self.leadership.borrow());
    }

    pub async fn leads(&mut self, limit: Duration) {
        self.leads_above(0, limit).await;
    }

    pub async fn leads_above(&mut self, term: i32, limit: Duration) {
        self.becomes(limit, |now| matches!(now, Leadership::Leading(token) if token.term().get() > term)).await;
    }

    pub async fn follows(&mut self, identity: &str, limit: Duration) {
        let follows =
            |now: &Leadership| matches!(now, Leadership::Standby { leader } if leader.as_deref() == Some(identity));
        self.becomes(limit, follows).await;
    }

    /// Nothing new is published for this long, and the token stays valid.
    pub async fn keeps_leading(&mut self, token: &LeadershipToken, long: Duration) {
        self.leadership.mark_unchanged();
        assert!(tokio::time::timeout(long, self.leadership.changed()).await.is_err(), "leadership has changed");
        assert!(token.remaining(mcpgateway_operator::clock::monotonic()).is_some());
    }

    pub async fn stands_by(&mut self, limit: Duration) {
        self.becomes(limit, |now| matches!(now, Leadership::Standby { .. })).await;
    }
}

pub async fn one_leads(all: &mut [Candidate], limit: Duration) -> usize {
    let waits = all.iter_mut().map(|candidate| Box::pin(candidate.leads(limit)));
    futures::future::select_all(waits).await.1
}

pub async fn wait(limit: Duration, holds: impl Fn() -> bool) {
    let poll = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(limit, poll).await.expect("the condition was not met in time");
}
