//! The values of the chart are documented in values.yaml, listed in its README and in files/defaults.json, and described
//! by its schema.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::{root, same};

const BEGIN: &str = "<!-- values: written by `make generate` from the comments in values.yaml -->\n";
const END: &str = "<!-- end of values -->\n";

/// A documented value.
struct Row {
    path: String,
    default: Value,
    meaning: String,
}

/// Reads the comments that begin with `# --`, each with the key below it. A documented key covers the keys inside it;
/// any other key needs a comment, or keys inside it.
fn rows(text: &str) -> Vec<Row> {
    let values: Value = serde_saphyr::from_str(text).expect("YAML");
    let mut rows = Vec::new();
    // The enclosing keys: indentation, path, whether they are documented.
    let mut above: Vec<(usize, String, bool)> = Vec::new();
    let mut comment: Option<String> = None;
    for line in text.lines() {
        let content = line.trim_start();
        let indent = line.len() - content.len();
        if let Some(begun) = content.strip_prefix("# -- ") {
            comment = Some(begun.to_owned());
        } else if let Some(more) = content.strip_prefix("# ") {
            if let Some(comment) = &mut comment {
                let _ = write!(comment, " {more}");
            }
        } else if let Some((key, value)) = content.split_once(':').filter(|(key, _)| !key.starts_with(['#', '-'])) {
            while above.last().is_some_and(|(left, ..)| *left >= indent) {
                above.pop();
            }
            let below = above.last();
            let path = below.map_or_else(|| key.to_owned(), |(_, path, _)| format!("{path}.{key}"));
            let part = below.is_some_and(|(.., documented)| *documented);
            let documented = comment.is_some() || part;
            if let Some(meaning) = comment.take() {
                let default = values.pointer(&format!("/{}", path.replace('.', "/"))).expect("a value").clone();
                rows.push(Row { path: path.clone(), default, meaning });
            } else {
                assert!(part || value.trim().is_empty(), "values.yaml: {path} has no comment that begins with # --");
            }
            above.push((indent, path, documented));
        }
    }
    rows
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join("charts/mcpgateway-operator").join(path)).expect("a file of the chart")
}

#[test]
fn the_readme_of_the_chart_lists_every_value() {
    let mut table = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    for Row { path, default, meaning } in rows(&read("values.yaml")) {
        let default = default.to_string().replace('|', "\\|");
        let _ = writeln!(table, "| `{path}` | `{default}` | {} |", meaning.replace('|', "\\|"));
    }
    let readme = read("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("the mark before the values");
    let (_, after) = rest.split_once(END).expect("the mark after the values");
    same("charts/mcpgateway-operator/README.md", &format!("{before}{BEGIN}{table}{END}{after}"));
}

/// Helm drops a value that is null, and does not show values.yaml to templates. The chart takes the default from this
/// list.
#[test]
fn the_chart_knows_the_default_of_every_value() {
    let defaults: BTreeMap<String, Value> =
        rows(&read("values.yaml")).into_iter().map(|row| (row.path, row.default)).collect();
    let text = format!("{:#}\n", serde_json::json!(defaults));
    same("charts/mcpgateway-operator/files/defaults.json", &text);
}

#[test]
fn the_schema_of_the_chart_describes_the_values_and_no_others() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).expect("JSON");
    let rows = rows(&read("values.yaml"));
    assert!(rows.len() > 120);
    let mut known = Vec::new();
    collect(&schema, &schema, "", &|path| rows.iter().any(|row| row.path == path), &mut known);
    known.sort();
    let mut listed: Vec<&str> = rows.iter().map(|row| row.path.as_str()).collect();
    // A parent chart passes these down.
    listed.extend(["global", "enabled"]);
    listed.sort_unstable();
    assert_eq!(known, listed);
}

/// The paths in a schema, down to those that are documented or have no properties.
fn collect(root: &Value, schema: &Value, path: &str, documented: &dyn Fn(&str) -> bool, found: &mut Vec<String>) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).expect("a definition"),
        None => schema,
    };
    match schema["properties"].as_object() {
        Some(properties) if !documented(path) => {
            for (key, value) in properties {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(root, value, &path, documented, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}
