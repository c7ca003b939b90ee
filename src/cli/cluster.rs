//! Finds the cluster and the fleet for the commands that read them. IO: the kubeconfig and the API server, reading only.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::api::v1alpha1::McpGatewayFleet;
use crate::clock;
use crate::config::heading;
use crate::config::values::{context, file, namespace, object_name};
use crate::diagnosis::{FleetSearch, ReadError, Request};
use crate::leadership::lease_view::LeaseView;

/// The longest that a request to the API server waits for a connection, and then for an answer.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The flags that select a cluster, and the fleet in it by the name of its Lease. `status` and `doctor` add `-n`.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// Kubeconfig; without it $KUBECONFIG, else ~/.kube/config, else the service account of the pod
    #[arg(long, value_parser = file(), value_name = "FILE", help_heading = heading::CLUSTER)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one
    #[arg(long, value_parser = context(), value_name = "NAME", help_heading = heading::CLUSTER)]
    pub context: Option<String>,
    /// Name of the fleet's Lease
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAME", default_value = "mcpgateway-operator", value_parser = object_name(), value_name = "NAME", help_heading = heading::LEADERSHIP)]
    pub leader_elect_resource_name: String,
    /// Namespace of the fleet's Lease; without it that of the kubeconfig's context, else the only one that has a fleet
    #[arg(long, env = "MCPGW_LEADER_ELECT_RESOURCE_NAMESPACE", value_parser = namespace(), value_name = "NAMESPACE", help_heading = heading::LEADERSHIP)]
    pub leader_elect_resource_namespace: Option<String>,
}

/// `-n` and `--namespace`, for commands that have no other namespace than that of the Lease.
pub(super) fn with_short_namespace(argument: clap::Arg) -> clap::Arg {
    argument.short('n').alias("namespace")
}

/// A connection to the cluster, and where to look for the fleet in it.
pub(super) struct Cluster {
    /// Does not retry on its own.
    pub(super) client: Client,
    /// The namespace of the context.
    pub(super) namespace: String,
    /// The name of the Lease and of the fleet object.
    pub(super) lease: String,
    /// The namespace that was given for both.
    pub(super) given: Option<String>,
}

/// What was read of a fleet.
pub(super) struct FleetReading {
    /// The namespace of the Lease: the given one, that of the fleet object, or that of the context.
    pub(super) namespace: String,
    /// The fleet object.
    pub(super) fleet: Result<FleetSearch, ReadError>,
    /// The Lease.
    pub(super) lease: Result<LeaseView, ReadError>,
}

impl FleetArgs {
    /// Finds the cluster, and sends no request yet.
    ///
    /// # Errors
    /// If there is no such file or context.
    pub(super) async fn connect(self) -> anyhow::Result<Cluster> {
        let Self { kubeconfig, context, leader_elect_resource_name, leader_elect_resource_namespace } = self;
        let mut config = if kubeconfig.is_none() && context.is_none() {
            Config::infer().await.context("no cluster is configured (set KUBECONFIG, or give --kubeconfig)")?
        } else {
            let kubeconfig = match kubeconfig {
                Some(file) => Kubeconfig::read_from(file).context("reading --kubeconfig")?,
                None => Kubeconfig::read().context("reading the kubeconfig (set KUBECONFIG, or give --kubeconfig)")?,
            };
            let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            config.context("finding the cluster (see kubectl config get-contexts)")?
        };
        config.default_retry = false;
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        config.read_timeout = Some(REQUEST_TIMEOUT);
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config)?;
        Ok(Cluster { client, namespace, lease: leader_elect_resource_name, given: leader_elect_resource_namespace })
    }
}

impl Cluster {
    /// Reads the fleet object and the Lease beside it.
    pub(super) async fn read_fleet(&self) -> FleetReading {
        let fleet = self.find_fleet().await;
        let found = match &fleet {
            Ok(FleetSearch::Found(fleet)) => fleet.metadata.namespace.clone(),
            _ => self.given.clone(),
        };
        let namespace = found.unwrap_or_else(|| self.namespace.clone());
        let api: Api<Lease> = Api::namespaced(self.client.clone(), &namespace);
        let request =
            Request { verb: "get", resource: "leases.coordination.k8s.io", namespace: Some(namespace.clone()) };
        let lease = read(request, api.get(&self.lease)).await;
        let lease = lease.map(|lease| LeaseView::new(lease.as_ref(), clock::now()));
        FleetReading { namespace, fleet, lease }
    }

    /// Finds the fleet object: in the given namespace, else in that of the context, else the only one in all namespaces.
    pub(super) async fn find_fleet(&self) -> Result<FleetSearch, ReadError> {
        let resource = "mcpgatewayfleets.mcpgateway.io";
        let namespace = self.given.as_ref().unwrap_or(&self.namespace);
        let api: Api<McpGatewayFleet> = Api::namespaced(self.client.clone(), namespace);
        let request = Request { verb: "get", resource, namespace: Some(namespace.clone()) };
        let here = match read(request, api.get(&self.lease)).await {
            Ok(Some(fleet)) => return Ok(FleetSearch::Found(Box::new(fleet))),
            Ok(None) => Ok(FleetSearch::Missing),
            Err(error @ ReadError::Forbidden(_)) => Err(error),
            Err(error) => return Err(error),
        };
        if self.given.is_some() {
            return here;
        }
        let api: Api<McpGatewayFleet> = Api::all(self.client.clone());
        let params = ListParams::default().fields(&format!("metadata.name={}", self.lease));
        let mut fleets = match read(Request { verb: "list", resource, namespace: None }, api.list(&params)).await {
            Ok(list) => list.map(|list| list.items).unwrap_or_default(),
            Err(ReadError::Forbidden(_)) => return here,
            Err(error) => return Err(error),
        };
        match fleets.len() {
            0 => here,
            1 => Ok(FleetSearch::Found(Box::new(fleets.remove(0)))),
            _ => Ok(FleetSearch::Several(fleets.into_iter().filter_map(|fleet| fleet.metadata.namespace).collect())),
        }
    }

    /// The fleet object that was looked for.
    ///
    /// # Errors
    /// If there is not exactly one, or if it could not be read, with what to do.
    pub(super) fn found(&self, search: Result<FleetSearch, ReadError>) -> anyhow::Result<McpGatewayFleet> {
        let namespace = self.given.as_ref().unwrap_or(&self.namespace);
        match search {
            Ok(FleetSearch::Found(fleet)) => Ok(*fleet),
            Ok(FleetSearch::Missing) => bail!(
                "there is no McpGatewayFleet {} in namespace {namespace}: no replica has led there yet (see \
                 --leader-elect-resource-namespace)",
                self.lease
            ),
            Ok(FleetSearch::Several(namespaces)) => bail!(
                "there are several fleets, in the namespaces {}: choose one with --leader-elect-resource-namespace",
                namespaces.join(", ")
            ),
            Err(error @ ReadError::Forbidden(_)) => {
                bail!("{error}, or name the namespace of the operator with --leader-elect-resource-namespace")
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Sends a request that reads. `None`: there is no such object.
pub(super) async fn read<T>(
    request: Request,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>, ReadError> {
    let status = match answer.await {
        Ok(answer) => return Ok(Some(answer)),
        Err(kube::Error::Api(status)) => status,
        Err(error) => return Err(ReadError::Failed(format!("{request}: {error}"))),
    };
    match status.code {
        // Only the answer about an object has its name; otherwise the resource is unknown.
        404 if status.details.as_ref().is_some_and(|details| !details.name.is_empty()) => Ok(None),
        404 => Err(ReadError::NotServed(request.resource)),
        403 => Err(ReadError::Forbidden(request)),
        401 => Err(ReadError::Failed(
            "the API server does not accept these credentials: log in again, or choose another --context".to_owned(),
        )),
        code => Err(ReadError::Failed(format!("{request}: HTTP status {code}: {}", status.message))),
    }
}
