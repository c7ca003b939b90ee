//! Finds the cluster and the fleet for the commands that read them. IO: the kubeconfig and the API server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::api::v1alpha1::McpGatewayFleet;
use crate::clock;
use crate::clock::reference::ReferenceClock;
use crate::cluster_access::ClusterAccess;
use crate::config::values::{context, file, namespace, object_name};
use crate::config::{WorkerArgs, heading};
use crate::diagnosis::ReadError;
use crate::leadership::record::LeaseFacts;
use crate::workers;
use crate::workers::discovery::{self, Endpoint};

/// The longest that a request to the API server waits for a connection, and then for an answer.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The flags that select a cluster.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig; by default $KUBECONFIG, else ~/.kube/config, else the service account of the pod
    #[arg(long, value_parser = file(), value_name = "FILE", help_heading = heading::CLUSTER)]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; the current one by default
    #[arg(long, value_parser = context(), value_name = "NAME", help_heading = heading::CLUSTER)]
    pub(super) context: Option<String>,
}

/// The flags that select a cluster, and the fleet in it by the name of its Lease. `status` and `doctor` add `-n`.
#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// Name of the fleet's Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAME", default_value = "mcpgateway-operator",
        value_parser = object_name(), value_name = "NAME", help_heading = heading::LEADERSHIP)]
    pub(super) leader_elect_resource_name: String,
    /// Namespace of the fleet's Lease; by default that of the kubeconfig's context, or else the only one with a fleet
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAMESPACE", value_parser = namespace(), value_name = "NAMESPACE",
        help_heading = heading::LEADERSHIP)]
    pub(super) leader_elect_resource_namespace: Option<String>,
}

/// `-n` and `--namespace`, for commands that have no other namespace than that of the Lease.
pub(super) fn with_short_namespace(argument: clap::Arg) -> clap::Arg {
    argument.short('n').alias("namespace")
}

/// A connection to the cluster, and where to look for the fleet in it.
pub(super) struct Cluster {
    /// Does not retry on its own.
    pub(super) client: Client,
    /// The time of the API server, from its answers.
    pub(super) time: ReferenceClock,
    /// The namespace of the context.
    pub(super) namespace: String,
    /// The name of the Lease and of the fleet object.
    pub(super) lease: String,
    /// The namespace that was given for both.
    pub(super) given: Option<String>,
}

/// What was read of a fleet.
pub(super) struct FleetReading {
    /// The namespace of the Lease: that of the fleet object, the given one, or that of the context.
    pub(super) namespace: String,
    /// The fleet object; `None` if there is none.
    pub(super) fleet: Result<Option<McpGatewayFleet>, ReadError>,
    /// The Lease.
    pub(super) lease: Result<LeaseFacts, ReadError>,
}

impl ClusterArgs {
    /// Finds the cluster, and sends no request yet. Fails if there is no such file or context. Returns a client that
    /// does not retry on its own, the time of the API server, and the namespace of the context.
    pub(super) fn connect(self) -> anyhow::Result<(Client, ReferenceClock, String)> {
        let access = ClusterAccess::find(self.kubeconfig, self.context.as_deref()).context(
            "no cluster is selected: set KUBECONFIG, --kubeconfig or --context (see kubectl config get-contexts)",
        )?;
        let time = ReferenceClock::default();
        let access = access.read_clock(time.clone());
        Ok((access.client(REQUEST_TIMEOUT, REQUEST_TIMEOUT)?, time, access.namespace().to_owned()))
    }
}

impl FleetArgs {
    /// Finds the cluster, and sends no request yet. Fails if there is no such file or context.
    pub(super) fn connect(self) -> anyhow::Result<Cluster> {
        let (client, time, namespace) = self.cluster.connect()?;
        let (lease, given) = (self.leader_elect_resource_name, self.leader_elect_resource_namespace);
        Ok(Cluster { client, time, namespace, lease, given })
    }
}

impl Cluster {
    /// Reads the fleet object and the Lease beside it.
    pub(super) async fn read_fleet(&self) -> FleetReading {
        let fleet = self.find_fleet().await;
        let (namespace, lease) = self.read_lease(fleet.as_ref().ok().and_then(Option::as_ref)).await;
        FleetReading { namespace, fleet, lease }
    }

    /// Reads the Lease beside the fleet object, or where it would be. Returns also the namespace.
    async fn read_lease(&self, fleet: Option<&McpGatewayFleet>) -> (String, Result<LeaseFacts, ReadError>) {
        let found = fleet.and_then(|fleet| fleet.metadata.namespace.as_ref());
        let namespace = found.or(self.given.as_ref()).unwrap_or(&self.namespace).clone();
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &namespace);
        let lease = read("get", "leases.coordination.k8s.io", Some(&namespace), api.get(&self.lease)).await;
        (namespace, lease.map(|lease| LeaseFacts::new(lease.as_ref(), clock::now())))
    }

    /// Finds the fleet object: in the given namespace, else in that of the context, else the only one in the cluster.
    async fn find_fleet(&self) -> Result<Option<McpGatewayFleet>, ReadError> {
        let resource = "mcpgatewayfleets.mcpgateway.io";
        let namespace = self.given.as_ref().unwrap_or(&self.namespace);
        let api: Api<McpGatewayFleet> = Api::namespaced(self.client.clone(), namespace);
        let here = read("get", resource, Some(namespace), api.get(&self.lease)).await;
        if self.given.is_some() || !matches!(here, Ok(None) | Err(ReadError::Forbidden(_))) {
            return here;
        }
        let api: Api<McpGatewayFleet> = Api::all(self.client.clone());
        let params = ListParams::default().fields(&format!("metadata.name={}", self.lease));
        let mut fleets = match read("list", resource, None, api.list(&params)).await {
            Err(ReadError::Forbidden(_)) => return here,
            list => list?.map(|list| list.items).unwrap_or_default(),
        };
        if fleets.len() > 1 {
            let namespaces: Vec<String> = fleets.into_iter().filter_map(|fleet| fleet.metadata.namespace).collect();
            return Err(ReadError::SeveralFleets(namespaces.join(", ")));
        }
        fleets.pop().map_or(here, |fleet| Ok(Some(fleet)))
    }

    /// The fleet object and the Lease. If there is no such object or more than one, or if it cannot be read, the error
    /// says what to do.
    pub(super) async fn fleet_and_lease(&self) -> anyhow::Result<(McpGatewayFleet, Result<LeaseFacts, ReadError>)> {
        let namespace = self.given.as_ref().unwrap_or(&self.namespace);
        let fleet = self.find_fleet().await?.with_context(|| {
            format!(
                "there is no McpGatewayFleet {} in namespace {namespace}: no replica has led there yet (see \
                 --leader-elect-resource-namespace)",
                self.lease
            )
        })?;
        let (_, lease) = self.read_lease(Some(&fleet)).await;
        Ok((fleet, lease))
    }
}

/// The endpoints as the operator discovers them; `None` if that takes too long.
pub(super) async fn discover(client: Client, workers: &WorkerArgs) -> Option<Vec<Endpoint>> {
    let (sender, mut endpoints) = watch::channel(None);
    let metrics = workers::Metrics::register(&mut prometheus_client::registry::Registry::default());
    let discovery = discovery::run(client, workers.sources(), workers.worker_path.clone(), sender, metrics);
    tokio::select! {
        discovered = timeout(REQUEST_TIMEOUT, endpoints.wait_for(Option::is_some)) => {
            discovered.ok()?.ok()?.as_ref().map(|all| all.to_vec())
        }
        () = discovery => None,
    }
}

/// Sends a request that reads; `namespace` is `None` for all namespaces. Returns `None` if there is no such object.
pub(super) async fn read<T>(
    verb: &str,
    resource: &'static str,
    namespace: Option<&str>,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>, ReadError> {
    let scope = namespace.map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    let request = format!("{verb} {resource}{scope}");
    let status = match answer.await {
        Ok(answer) => return Ok(Some(answer)),
        Err(kube::Error::Api(status)) => status,
        Err(error) => return Err(ReadError::Failed(format!("{request}: {error}"))),
    };
    match status.code {
        // Only the answer about an object has its name; otherwise the resource is unknown.
        404 if status.details.as_ref().is_some_and(|details| !details.name.is_empty()) => Ok(None),
        404 => Err(ReadError::NotServed(resource)),
        403 => Err(ReadError::Forbidden(request)),
        401 => Err(ReadError::Failed(format!("{request}: log in again, or choose another --context"))),
        code => Err(ReadError::Failed(format!("{request}: HTTP status {code}: {}", status.message))),
    }
}
