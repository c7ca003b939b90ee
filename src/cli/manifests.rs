//! Reads manifests from files and folders as `kubectl -f` does: YAML with several documents, JSON, and Lists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::print_to_stderr;
use crate::api::v1alpha1::McpGatewaySpec;
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

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("reading {}", file.display()))
}

/// The text of a file. Its byte order mark decides between UTF-8 and UTF-16, which shells on Windows write; without one
/// it is UTF-8.
///
/// # Errors
/// If the file is in another encoding.
fn decode(file: &Path, bytes: &[u8]) -> anyhow::Result<String> {
    let (text, encoding, is_malformed) = encoding_rs::UTF_8.decode(bytes);
    // UTF-16 without a byte order mark, and UTF-32, are full of NUL characters.
    if text.contains('\0') {
        bail!(
            "{} has NUL characters, as in UTF-16 without a byte order mark or in UTF-32: save it as UTF-8",
            file.display()
        );
    }
    if is_malformed {
        bail!("{} is not valid {}: save it as UTF-8", file.display(), encoding.name());
    }
    Ok(text.into_owned())
}

/// A saved report, as a worker would send it. UTF-16 becomes UTF-8; everything else is left to the reader of reports.
pub(super) fn read_report(file: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = read(file)?;
    let marked = encoding_rs::Encoding::for_bom(&bytes);
    let is_utf16 = marked.is_some_and(|(encoding, _)| encoding != encoding_rs::UTF_8);
    if is_utf16 { decode(file, &bytes).map(String::into_bytes) } else { Ok(bytes) }
}

/// The registry made from the `McpGateway` objects in these manifests. Other kinds are ignored. An object whose spec
/// has another shape is left out, with a warning.
///
/// # Errors
/// If a file cannot be read or is not YAML.
pub(super) fn registry(paths: &[PathBuf]) -> anyhow::Result<RegistrySnapshot> {
    let mut objects = BTreeMap::new();
    for file in files(paths, &["yaml", "yml", "json"])? {
        let text = decode(&file, &read(&file)?)?;
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
    let mut metadata = ObjectMeta::deserialize(&document["metadata"]).context("metadata")?;
    metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let record = GatewayRecord::from_object(&metadata, &document).context("an McpGateway needs metadata.name")?;
    let name = record.name.clone();
    // An API server refuses such an object. The error names the type, never a URL: that is text already.
    if let Err(error) = McpGatewaySpec::deserialize(&document["spec"]) {
        print_to_stderr(&format!("warning: {name} is left out: its spec cannot be read: {error}"));
        return Ok(());
    }
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
    fn a_manifest_in_utf_16_is_read_and_another_encoding_named() {
        let text = "apiVersion: mcpgateway.io/v1alpha1\nkind: McpGateway\nmetadata: {name: café}\nspec: {url: http://x}\n\
            ---\napiVersion: mcpgateway.io/v1alpha1\nkind: McpGateway\nmetadata: {name: b}\nspec: {url: http://y}\n";
        let units = |text: &str, bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        let with_mark = format!("\u{feff}{text}");
        let windows = with_mark.replace('\n', "\r\n");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        let read = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            registry(std::slice::from_ref(&file))
        };
        for bytes in [
            text.as_bytes().to_vec(),
            with_mark.as_bytes().to_vec(),
            units(&with_mark, u16::to_le_bytes),
            units(&with_mark, u16::to_be_bytes),
            units(&windows, u16::to_le_bytes),
        ] {
            let found = read(&bytes).unwrap();
            let names: Vec<_> = found.gateways().iter().map(|gateway| gateway.record.name.to_string()).collect();
            assert_eq!(names, ["default/b", "default/café"], "{:?}", &bytes[..8]);
        }
        let utf_32: Vec<u8> = with_mark.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        let mut cut = units(&with_mark, u16::to_le_bytes);
        cut.pop();
        for (bytes, part) in [
            (units(text, u16::to_le_bytes), "UTF-16 without a byte order mark"),
            (units(text, u16::to_be_bytes), "UTF-16 without a byte order mark"),
            (utf_32, "in UTF-32"),
            (cut, "not valid UTF-16LE"),
            (text.replace('é', "\u{0}").into_bytes(), "NUL characters"),
            (b"name: caf\xe9\n".to_vec(), "not valid UTF-8"),
        ] {
            let error = format!("{:#}", read(&bytes).unwrap_err());
            assert!(error.contains("a.yaml") && error.contains(part), "{part}: {error}");
        }
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
