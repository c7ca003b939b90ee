//! Which cluster a person asks, as kubectl finds it, and where the fleet in it keeps its facts. IO: the kubeconfig, the API server.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::api::FIELD_MANAGER;
use crate::config::values::{context, file};
use crate::status::fleet::{self, Facts};

/// The flags by which kubectl finds a cluster.
#[derive(Debug, Default, Args)]
pub struct ClusterArgs {
    /// Kubeconfig; without it $KUBECONFIG, else ~/.kube/config, else the service account of the pod
    #[arg(long, value_parser = file(), value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; without it the current one
    #[arg(long, value_parser = context(), value_name = "NAME")]
    pub context: Option<String>,
}

/// A cluster to be asked.
pub(super) struct Cluster {
    /// Asks it.
    pub(super) client: Client,
    /// The namespace of the context.
    pub(super) namespace: String,
}

impl ClusterArgs {
    /// Finds the cluster. Asks nothing yet.
    ///
    /// # Errors
    /// If there is no such file or context.
    pub(super) async fn connect(&self) -> anyhow::Result<Cluster> {
        let Self { kubeconfig, context } = self;
        let config = match (kubeconfig, context) {
            (None, None) => {
                Config::infer().await.context("finding the cluster (set KUBECONFIG, or give --kubeconfig)")?
            }
            (file, context) => {
                let kubeconfig = match file {
                    Some(file) => Kubeconfig::read_from(file).context("reading --kubeconfig")?,
                    None => {
                        Kubeconfig::read().context("reading the kubeconfig (set KUBECONFIG, or give --kubeconfig)")?
                    }
                };
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                let found = Config::from_custom_kubeconfig(kubeconfig, &options).await;
                found.context("finding the cluster (see kubectl config get-contexts)")?
            }
        };
        let namespace = config.default_namespace.clone();
        Ok(Cluster { client: Client::try_from(config)?, namespace })
    }
}

/// What a leader has written of its fleet, and in which namespace.
pub(super) struct Found {
    /// Of the Lease.
    pub(super) namespace: String,
    /// What is said.
    pub(super) facts: Facts,
}

impl Cluster {
    /// Finds the facts of the fleet with this Lease: in the namespace that was given, else in that of the context, else wherever
    /// there is exactly one.
    ///
    /// # Errors
    /// If there are none, or several, or if they may not be read; with what to do.
    pub(super) async fn facts(&self, given: Option<&str>, lease: &str) -> anyhow::Result<Found> {
        let namespace = given.unwrap_or(&self.namespace);
        let name = fleet::config_map_name(lease);
        let read = fleet::read(self.client.clone(), namespace, lease).await;
        let forbidden = match read {
            Ok(Some(facts)) => return Ok(Found { namespace: namespace.to_owned(), facts }),
            Ok(None) => false,
            Err(kube::Error::Api(status)) if status.is_forbidden() => true,
            Err(error) => return Err(error).context("reading the fleet's status"),
        };
        let elsewhere = if given.is_none() { self.everywhere(&name).await? } else { Vec::new() };
        match elsewhere.as_slice() {
            [(found, facts)] => Ok(Found { namespace: found.clone(), facts: facts.clone() }),
            [] if forbidden => bail!(
                "not allowed to read ConfigMap {name} in namespace {namespace}: ask for get on it (kubectl auth can-i get configmap/{name} -n {namespace}), or say where the operator is with --leader-elect-resource-namespace"
            ),
            [] => bail!(
                "no ConfigMap {name} in namespace {namespace}: no operator has led there yet (see --leader-elect-resource-namespace)"
            ),
            several => {
                let names: Vec<&str> = several.iter().map(|(namespace, _)| namespace.as_str()).collect();
                bail!(
                    "there are several fleets, in the namespaces {}: choose one with --leader-elect-resource-namespace",
                    names.join(", ")
                )
            }
        }
    }

    /// The facts of this name in all namespaces; none where they may not be listed.
    async fn everywhere(&self, name: &str) -> anyhow::Result<Vec<(String, Facts)>> {
        let api: Api<ConfigMap> = Api::all(self.client.clone());
        let labels = format!("app.kubernetes.io/managed-by={FIELD_MANAGER}");
        let params = ListParams::default().labels(&labels).fields(&format!("metadata.name={name}"));
        match api.list(&params).await {
            Ok(list) => {
                let found = list
                    .items
                    .into_iter()
                    .filter_map(|map| Some((map.metadata.namespace?, Facts::read(map.data.unwrap_or_default()))));
                Ok(found.collect())
            }
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Vec::new()),
            Err(error) => Err(error).context("looking for the fleet's status"),
        }
    }
}
