//! The servers of the fleet, read from manifests, and the servers that each worker uses.
//!
//! Input: files and folders of YAML or JSON, as for `kubectl apply -f`. Output: the `McpGateway` objects in them,
//! sorted by namespace, then name. Other kinds are ignored.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::popularity::Popularity;

/// One `McpGateway`, as a gateway worker knows it.
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
    /// `namespace/name`, as in the control endpoints.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// The servers that one worker uses.
pub struct Part {
    /// Sorted by namespace, then name.
    pub servers: Vec<Arc<Server>>,
    /// Their popularity.
    pub popularity: Popularity,
}

impl Part {
    fn new(servers: Vec<Arc<Server>>, seed: u64, exponent: f64) -> Arc<Self> {
        let popularity = Popularity::new(&servers, seed, exponent);
        Arc::new(Self { servers, popularity })
    }
}

/// Assigns servers to workers. Workers with the same servers share them, so that a thousand workers cost little more
/// than one.
pub struct Parts {
    whole: Arc<Part>,
    enabled: Vec<Arc<Server>>,
    /// How many servers each worker uses; the whole fleet if not set.
    rows: Option<usize>,
    seed: u64,
    exponent: f64,
    made: HashMap<usize, Arc<Part>>,
}

impl Parts {
    /// Assigns these servers to workers with this seed and this exponent of popularity.
    pub fn new(servers: Vec<Server>, rows: Option<usize>, seed: u64, exponent: f64) -> Self {
        let servers: Vec<Arc<Server>> = servers.into_iter().map(Arc::new).collect();
        let enabled = servers.iter().filter(|server| server.enabled).cloned().collect();
        Self { whole: Part::new(servers, seed, exponent), enabled, rows, seed, exponent, made: HashMap::new() }
    }

    /// The servers of the worker with this number. With a limit, worker 0 has the first servers, worker 1 the next
    /// ones, and so on, starting again at the end of the fleet.
    pub fn of(&mut self, worker: u64) -> Arc<Part> {
        let count = self.enabled.len();
        let Some(rows) = self.rows.filter(|rows| *rows < count) else { return Arc::clone(&self.whole) };
        let first = usize::try_from(worker).unwrap_or_default().wrapping_mul(rows) % count;
        let part = self.made.entry(first).or_insert_with(|| {
            let servers = self.enabled.iter().cycle().skip(first).take(rows).cloned().collect();
            Part::new(servers, self.seed, self.exponent)
        });
        Arc::clone(part)
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

/// The file itself, or the manifests directly in the folder. Sorted, so that the order is the same on every machine.
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
    // The YAML reader accepts at most 1,024 documents per file. Larger fleets can be a List in JSON.
    if file.extension().is_some_and(|ending| ending == "json") {
        return Ok(vec![serde_json::from_str(&text).with_context(|| format!("{} is not JSON", file.display()))?]);
    }
    serde_saphyr::from_multiple(&text).with_context(|| format!("{} is not YAML", file.display()))
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
