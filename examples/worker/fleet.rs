//! The servers of the fleet, read from manifests.
//!
//! In: files and folders of YAML or JSON, as `kubectl apply -f` takes them. Out: the `McpGateway` objects in them, in
//! order of namespace, then name. Other kinds are passed over.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One `McpGateway`, as a gateway worker would know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.url`.
    pub url: String,
    /// `spec.gatewayId`.
    pub gateway_id: Option<String>,
    /// `spec.enabled`, true by default.
    pub enabled: bool,
}

impl Server {
    /// `namespace/name`: how the control endpoints call it.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// Reads all manifests under these paths.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Server>> {
    let mut servers = Vec::new();
    for path in paths {
        for file in files(path)? {
            for document in documents(&file)? {
                collect(&document, &mut servers).with_context(|| format!("in {}", file.display()))?;
            }
        }
    }
    servers.sort();
    servers.dedup_by(|one, other| one.namespace == other.namespace && one.name == other.name);
    ensure!(!servers.is_empty(), "--fleet: no McpGateway manifest in the given files and folders");
    Ok(servers)
}

/// The file itself, or the manifests right in the folder, sorted so that every machine reads them in one order.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let is_manifest = |file: &PathBuf| {
        file.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("--fleet: cannot list {}", path.display()))? {
        files.push(entry?.path());
    }
    files.retain(is_manifest);
    files.sort();
    Ok(files)
}

fn documents(file: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(file).with_context(|| format!("--fleet: cannot read {}", file.display()))?;
    // The YAML reader takes at most 1,024 documents a file; for larger fleets there is a List as JSON.
    if file.extension().is_some_and(|ending| ending == "json") {
        return Ok(vec![serde_json::from_str(&text).with_context(|| format!("{} is no JSON", file.display()))?]);
    }
    serde_saphyr::from_multiple(&text).with_context(|| format!("{} is no YAML", file.display()))
}

fn collect(document: &Value, servers: &mut Vec<Server>) -> Result<()> {
    if let Some(items) = document["items"].as_array() {
        return items.iter().try_for_each(|item| collect(item, servers));
    }
    if document["kind"] == "McpGateway" {
        servers.push(server(document)?);
    }
    Ok(())
}

fn server(document: &Value) -> Result<Server> {
    let (metadata, spec) = (&document["metadata"], &document["spec"]);
    let name = metadata["name"].as_str().context("an McpGateway without metadata.name")?;
    let url = spec["url"].as_str().with_context(|| format!("McpGateway {name} without spec.url"))?;
    Ok(Server {
        namespace: metadata["namespace"].as_str().unwrap_or("default").to_owned(),
        name: name.to_owned(),
        url: url.to_owned(),
        gateway_id: spec["gatewayId"].as_str().map(str::to_owned),
        enabled: spec["enabled"].as_bool().unwrap_or(true),
    })
}
