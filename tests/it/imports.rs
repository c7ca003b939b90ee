//! The dependency rule of the crate docs, held against the `crate::` paths of every file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::support::cluster::root;

/// Where a module stands. A file belongs to the longest of these prefixes.
const LAYERS: &[(&str, Layer)] = &[
    ("model", Layer::Pure),
    ("api", Layer::Pure),
    ("classify", Layer::Pure),
    ("poll", Layer::Pure),
    ("diagnosis", Layer::Pure),
    ("explanation", Layer::Pure),
    ("registry::record", Layer::Pure),
    ("registry::snapshot", Layer::Pure),
    ("status", Layer::Pure),
    ("status::conditions", Layer::Pure),
    ("publish::fence", Layer::Pure),
    ("publish::keys", Layer::Pure),
    ("publish::foreign_holder", Layer::Pure),
    ("publish::publication", Layer::Pure),
    ("workers::report", Layer::Pure),
    ("workers::request_error", Layer::Pure),
    ("workers::verdict", Layer::Pure),
    ("leadership::token", Layer::Pure),
    ("leadership::lease", Layer::Pure),
    ("leadership::record", Layer::Pure),
    ("leadership::terms", Layer::Pure),
    ("contextforge::manifests", Layer::Pure),
    ("contextforge::page", Layer::Pure),
    ("contextforge::scope", Layer::Pure),
    ("clock", Layer::Adapter),
    ("http_client", Layer::Adapter),
    ("contextforge", Layer::Adapter),
    ("events", Layer::Adapter),
    ("permissions", Layer::Adapter),
    ("registry", Layer::Adapter),
    ("workers", Layer::Adapter),
    ("publish", Layer::Adapter),
    ("leadership", Layer::Adapter),
    ("status::writer", Layer::Adapter),
    ("status::fleet", Layer::Adapter),
    ("controller", Layer::Loop),
    ("controller::cycle", Layer::Pure),
    ("controller::words", Layer::Loop),
    ("cli", Layer::Shell),
    ("config", Layer::Shell),
    ("run", Layer::Shell),
    ("server", Layer::Shell),
    ("telemetry", Layer::Shell),
    ("main", Layer::Shell),
];

/// Names that one room offers from a pure file inside it.
const PURE_NAMES: &[&str] = &[
    "registry::GatewayRecord",
    "registry::Gateway",
    "registry::ObservedStatus",
    "registry::ObservedUsage",
    "registry::Refusal",
    "registry::RegistrySnapshot",
    "registry::Spec",
    "registry::Registration",
    "leadership::LeadershipToken",
    "leadership::Write",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Pure,
    Adapter,
    Loop,
    Shell,
}

/// The layer of a module, and the room that it belongs to.
fn place(module: &str) -> (Layer, &str) {
    let inside = |prefix: &str| module == prefix || module.starts_with(&format!("{prefix}::"));
    let found = LAYERS.iter().filter(|(prefix, _)| inside(prefix)).max_by_key(|(prefix, _)| prefix.len());
    let (prefix, layer) = found.unwrap_or_else(|| panic!("{module} has no layer: add it to the crate docs and here"));
    (*layer, prefix.split("::").next().unwrap_or(prefix))
}

fn allowed(from: &str, to: &str) -> bool {
    let ((own, own_room), (other, other_room)) = (place(from), place(to));
    // Rooms of one adapter may use each other; two of `status` are adapters of their own.
    let same_room = own_room == other_room && own != Layer::Pure;
    let pure = other == Layer::Pure || PURE_NAMES.iter().any(|name| to.starts_with(name));
    match own {
        Layer::Pure => pure,
        Layer::Adapter => pure || same_room || to.starts_with("clock") || to.starts_with("http_client"),
        Layer::Loop => other <= Layer::Loop,
        Layer::Shell => true,
    }
}

/// The Rust files of a folder and of those in it.
pub fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Every `crate::…` path of a text, outside of comments and of its tests: braces of one `use` are spread out.
fn paths(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    let joined: String = lines.flat_map(|line| [line.trim(), " "]).collect();
    let mut found = BTreeSet::new();
    for (at, _) in joined.match_indices("crate::") {
        let rest = &joined[at + "crate::".len()..];
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        let head = rest[..end].trim_end_matches(':');
        match rest[end..].strip_prefix('{').filter(|_| rest[..end].ends_with("::") || head.is_empty()) {
            Some(group) => {
                let group = &group[..group.find('}').unwrap_or(group.len())];
                let names =
                    group.split(',').map(|name| name.trim().trim_start_matches("self").trim_start_matches("::"));
                let full = |name: &str| if head.is_empty() { name.to_owned() } else { format!("{head}::{name}") };
                found.extend(names.filter(|name| !name.is_empty()).map(full));
            }
            None => {
                found.insert(head.to_owned());
            }
        }
    }
    found
}

#[test]
fn every_file_imports_only_what_its_layer_may() {
    let source = root().join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    assert!(files.len() > 40);
    let mut wrong = Vec::new();
    for file in &files {
        let relative = file.strip_prefix(&source).expect("inside").with_extension("");
        let module = relative.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("::");
        if module == "lib" || module.ends_with("tests") {
            continue;
        }
        for path in paths(&std::fs::read_to_string(file).expect("text")) {
            if !allowed(&module, &path) {
                wrong.push(format!("{module} imports crate::{path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "against the dependency rule of the crate docs:\n{}", wrong.join("\n"));
}

#[test]
fn pure_files_know_no_clients_no_async_and_no_clock() {
    let source = root().join("src");
    let mut files = Vec::new();
    sources(&source, &mut files);
    for file in &files {
        let relative = file.strip_prefix(&source).expect("inside").with_extension("");
        let module = relative.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("::");
        if module == "lib" || module.ends_with("tests") || place(&module).0 != Layer::Pure {
            continue;
        }
        let text = std::fs::read_to_string(file).expect("text");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for foreign in
            ["async ", ".await", "tokio::", "reqwest::", "redis::", "kube::Client", "tracing::", "std::env", "std::fs"]
        {
            let used = code.lines().any(|line| line.split("//").next().unwrap_or_default().contains(foreign));
            assert!(!used, "{module} is pure and must not use {foreign}");
        }
    }
}

#[test]
fn the_rule_can_be_broken() {
    assert!(!allowed("classify::rank", "clock"));
    assert!(!allowed("workers::request", "publish::Store"));
    assert!(!allowed("publish::store", "controller::ControllerSettings"));
    assert!(!allowed("status", "status::writer::StatusWriter"));
    assert!(allowed("publish::store", "leadership::LeadershipToken"));
    assert!(!allowed("publish::store", "leadership::Elector"));
    let text = "use crate::{a, b::{c}};\nuse crate::model::{X, Y}; // crate::no\nlet z = crate::clock::now();";
    assert!(paths(text).is_superset(&["a", "model::X", "model::Y", "clock::now"].map(str::to_owned).into()));
}
