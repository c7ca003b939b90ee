//! Reads manifests from files and folders as `kubectl -f` does: YAML with several documents, JSON, and Lists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::model::ObjectName;
use crate::registry::{GatewayRecord, RegistrySnapshot};

/// The files at these paths. A folder stands for its files with one of these extensions, sorted by name.
///
/// # Errors
/// If a path cannot be read, or a folder has no such file.
pub(super) fn files(paths: &[PathBuf], endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let fits = |file: &Path| file.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e));
        let entries = std::fs::read_dir(path).with_context(|| format!("reading folder {}", path.display()))?;
        let mut inside: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|file| fits(file)).collect();
        if inside.is_empty() {
            bail!("{} has no file that ends in .{}", path.display(), endings.join(", ."));
        }
        inside.sort();
        files.append(&mut inside);
    }
    Ok(files)
}

/// The registry made from the `McpGateway` objects in these manifests. Other kinds are ignored.
///
/// # Errors
/// If a file cannot be read or is not YAML.
pub(super) fn registry(paths: &[PathBuf]) -> anyhow::Result<RegistrySnapshot> {
    let mut objects = BTreeMap::new();
    for file in files(paths, &["yaml", "yml", "json"])? {
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        // The parser's limits would refuse a dump of a few thousand objects. The file is the user's own.
        let unlimited = serde_saphyr::options! { budget: None };
        let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, unlimited)
            .with_context(|| format!("{} is not YAML or JSON", file.display()))?;
        for document in documents {
            add(&mut objects, document).with_context(|| file.display().to_string())?;
        }
    }
    Ok(RegistrySnapshot::build(&objects, 1))
}

fn add(objects: &mut BTreeMap<ObjectName, Arc<GatewayRecord>>, mut document: Value) -> anyhow::Result<()> {
    if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) {
        let items = document["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        return items.into_iter().try_for_each(|item| add(objects, item));
    }
    let is_ours = document["apiVersion"].as_str().is_some_and(|version| version.starts_with("mcpgateway.io/"));
    if document["kind"] != "McpGateway" || !is_ours {
        return Ok(());
    }
    let mut metadata: ObjectMeta = serde::Deserialize::deserialize(&document["metadata"]).context("metadata")?;
    metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let record = GatewayRecord::from_object(&metadata, &document).context("an McpGateway needs metadata.name")?;
    let name = record.name.clone();
    if objects.insert(name.clone(), Arc::new(record)).is_some() {
        bail!("McpGateway {name} is given twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<RegistrySnapshot> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), text).unwrap();
        registry(&[folder.path().to_owned()])
    }

    #[test]
    fn documents_and_lists_are_read_and_other_kinds_ignored() {
        let text = r#"
apiVersion: v1
kind: Namespace
metadata: {name: a}
---
apiVersion: mcpgateway.io/v1alpha1
kind: McpGateway
metadata: {name: one, namespace: a}
spec: {url: "http://one"}
---
apiVersion: v1
kind: List
items:
- apiVersion: mcpgateway.io/v1alpha1
  kind: McpGateway
  metadata: {name: two}
  spec: {url: "http://two"}
"#;
        let found = read(text).unwrap();
        let names: Vec<_> = found.gateways().iter().map(|gateway| gateway.record.name.to_string()).collect();
        assert_eq!(names, ["a/one", "default/two"]);
    }

    #[test]
    fn an_error_names_the_file() {
        let error = format!("{:#}", read("a: [").unwrap_err());
        assert!(error.contains("a.yaml"), "{error}");
        let twice =
            "apiVersion: mcpgateway.io/v1alpha1\nkind: McpGateway\nmetadata: {name: x}\nspec: {url: http://x}\n";
        let error = format!("{:#}", read(&format!("{twice}---\n{twice}")).unwrap_err());
        assert!(error.contains("default/x is given twice"), "{error}");
        assert!(registry(&["/no/such/path".into()]).is_err());
    }
}
