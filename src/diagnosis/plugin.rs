//! Findings about the pods behind the Service that the chart creates for the plugin of `ContextForge`: whether they
//! have the plugin, and if not, why. Pure.

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

use super::{Finding, ReadError, some};
use crate::workers::verdict::EndpointVerdict;

/// A label of the chart's Service and its EndpointSlices. Its value is the end of the name of the plugin's ConfigMap.
pub const HASH_LABEL: &str = "mcpgateway.io/usage-plugin-hash";
/// The volume with the plugin, in the chart's patch and admission policy.
const VOLUME: &str = "mcpgateway-usage-plugin";
const PLUGINS_FILE: &str = "PLUGINS_CONFIG_FILE";

/// The pods behind one Service.
#[derive(Debug)]
pub struct PluginObservations {
    /// The port of the plugin.
    pub port: i32,
    pub pods: Result<Vec<PluginPod>, ReadError>,
    /// The `ConfigMaps`, as `namespace/name`, that set a plugins file for a pod whose own variable overrides it.
    pub hidden_files: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct PluginPod {
    /// As `namespace/name`.
    pub name: String,
    pub ip: Option<String>,
    pub state: PluginState,
    /// The `ConfigMaps` whose keys become variables of the containers with the plugin.
    pub config_maps: Vec<String>,
}

/// Whether a pod has the plugin, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PluginState {
    Current,
    /// It mounts another `ConfigMap` than the one that the label of the Service names.
    Outdated,
    /// It does not have the plugin, and sets a plugins file of its own.
    OtherPluginsFile,
    /// It does not have the plugin, and its `PYTHONPATH` comes from a reference.
    PythonPathReference,
    Missing,
}

impl PluginPod {
    /// `hash`: the value of the Service's label [`HASH_LABEL`].
    pub fn of(pod: &Pod, hash: &str) -> Self {
        let metadata = &pod.metadata;
        let name = |part: &Option<String>| part.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let volumes = spec.and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
        let mounted = volumes.iter().find(|volume| volume.name == VOLUME);
        let mounted = mounted.and_then(|volume| volume.config_map.as_ref());
        let containers = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
        let sets = |wanted: &dyn Fn(&EnvVar) -> bool| {
            containers.iter().flat_map(|container| container.env.iter().flatten()).any(wanted)
        };
        let state = match mounted {
            Some(config_map) if config_map.name.ends_with(&format!("-{hash}")) => PluginState::Current,
            Some(_) => PluginState::Outdated,
            None if sets(&|variable| variable.name == PLUGINS_FILE) => PluginState::OtherPluginsFile,
            None if sets(&|variable| variable.name == "PYTHONPATH" && variable.value_from.is_some()) => {
                PluginState::PythonPathReference
            }
            None => PluginState::Missing,
        };
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
        let with_plugin = containers.iter().filter(|container| mounts(container));
        let sources = with_plugin.flat_map(|container| container.env_from.iter().flatten());
        let config_maps = sources.filter_map(|source| Some(source.config_map_ref.as_ref()?.name.clone())).collect();
        Self { name: format!("{}/{}", name(&metadata.namespace), name(&metadata.name)), ip, state, config_maps }
    }

    /// Whether its address answers with a report. A pod can have the plugin in its image.
    fn reports(&self, workers: &[EndpointVerdict]) -> bool {
        let Some(ip) = &self.ip else { return false };
        let hosts = [format!("//{ip}:"), format!("//[{ip}]:")];
        workers.iter().filter(|worker| worker.report.is_ok()).any(|worker| {
            let endpoint = worker.endpoint.to_string();
            hosts.iter().any(|host| endpoint.contains(host))
        })
    }
}

fn mounts(container: &Container) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| mount.name == VOLUME)
}

/// Whether the keys of a ConfigMap include the variable that names a plugins file.
pub fn sets_plugins_file(data: impl IntoIterator<Item = impl AsRef<str>>) -> bool {
    data.into_iter().any(|key| key.as_ref() == PLUGINS_FILE)
}

pub(super) fn judge(plugins: &[PluginObservations], workers: &[EndpointVerdict]) -> Vec<Finding> {
    plugins.iter().flat_map(|service| judge_service(service, workers)).collect()
}

fn judge_service(service: &PluginObservations, workers: &[EndpointVerdict]) -> Vec<Finding> {
    let pods = match &service.pods {
        Ok(pods) => pods,
        Err(error) => {
            let what = format!("whether ContextForge's pods have the plugin was not checked: {error}");
            let advice = "run doctor as a user who may list the pods of that namespace";
            return vec![Finding::note("PodsNotChecked", what, advice)];
        }
    };
    let named = |state: PluginState| {
        let pods = pods.iter().filter(|pod| pod.state == state);
        // A pod that reports has the plugin in its image.
        let pods = pods.filter(|pod| state == PluginState::Outdated || !pod.reports(workers));
        let names: Vec<String> = pods.map(|pod| pod.name.clone()).collect();
        (!names.is_empty()).then(|| some(&names))
    };
    let mut findings = Vec::new();
    if let Some(names) = named(PluginState::Missing) {
        let what = format!("without the plugin: {names}");
        let advice = "patch their Deployment with the ConfigMap …-usage-patch of the chart, or, with \
                      contextForge.plugin.injection.enabled, restart them; check containerName and the label";
        findings.push(Finding::problem("PluginMissing", what, advice));
    }
    if let Some(names) = named(PluginState::OtherPluginsFile) {
        let what = format!("without the plugin, because {PLUGINS_FILE} is set already: {names}");
        let advice = format!(
            "pass that file to the chart (contextForge.plugin.pluginsFile) and remove the variable, or add to the \
             file's plugins, and to the pod what the chart's patch has besides: {{name: Usage, kind: \
             mcpgateway_usage.plugin.UsagePlugin, hooks: [tool_pre_invoke, prompt_post_fetch, resource_post_fetch], \
             mode: audit, on_error: ignore, priority: 1000, config: {{port: {}, token_file: \
             /var/run/secrets/mcpgateway-usage/token}}}}",
            service.port
        );
        findings.push(Finding::problem("PluginMissing", what, advice));
    }
    if let Some(names) = named(PluginState::PythonPathReference) {
        let what = format!("without the plugin, because PYTHONPATH comes from a reference: {names}");
        let advice = "give the variable a value, then restart them";
        findings.push(Finding::problem("PluginMissing", what, advice));
    }
    if let Some(names) = named(PluginState::Outdated) {
        let what = format!("with another version of the plugin or of its plugins file than the chart's: {names}");
        let advice = "restart them; a patched Deployment needs the current ConfigMap …-usage-patch first";
        findings.push(Finding::note("PluginOutdated", what, advice));
    }
    if !service.hidden_files.is_empty() {
        let what = format!(
            "{PLUGINS_FILE} of these ConfigMaps is overridden in the pods with the plugin: {}",
            some(&service.hidden_files)
        );
        let advice = "check that contextForge.plugin.pluginsFile has the plugins of that file";
        findings.push(Finding::note("PluginsFileHidden", what, advice));
    }
    findings
}
