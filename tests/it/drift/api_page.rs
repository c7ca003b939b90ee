//! Writes `docs/api.md` from the schema of the CRD.

use std::fmt::Write;

use mcpgateway_operator::api::conditions::{ConditionType, Reason};
use mcpgateway_operator::api::gateway_crd;
use serde_json::{Value, json};
use strum::VariantArray;

const HEAD: &str = "\
# The fields of an McpGateway

<!-- Written by `make generate` from the schema of the CRD (src/api). Do not edit. -->

`apiVersion: mcpgateway.io/v1alpha1`, `kind: McpGateway`, namespaced: `kubectl get mcpgateways` or `mcpgw`. Fields of v1alpha1 are never
removed or changed, only added. `kubectl explain mcpgateway.spec` prints the same from the cluster. You write `spec`; only the operator
writes `status`. [operations.md](operations.md) says what its conditions mean and what to do about them.
";

/// The page.
#[must_use]
pub(super) fn api_page() -> String {
    let crd = json!(gateway_crd());
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut page = HEAD.to_owned();
    for part in ["spec", "status"] {
        let _ = write!(page, "\n## `{part}`\n\n| field | type | meaning |\n|---|---|---|\n");
        fields(&mut page, &schema["properties"][part], part);
    }
    page.push_str("\n## What the API server refuses\n\n| where | message |\n|---|---|\n");
    rules(&mut page, schema, "");
    let list = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let kinds: Vec<_> = ConditionType::VARIANTS.iter().map(ToString::to_string).collect();
    let reasons: Vec<_> = Reason::VARIANTS.iter().map(ToString::to_string).collect();
    let _ = write!(page, "\n## Conditions\n\nTypes: {}. Reasons: {}.\n", list(&kinds), list(&reasons));
    page.push_str("\n## Columns and field selectors\n\n| column | field | shown |\n|---|---|---|\n");
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let wide = if column["priority"].as_i64().unwrap_or_default() > 0 { "with `-o wide`" } else { "always" };
        let _ = writeln!(page, "| {} | `{}` | {wide} |", text(&column["name"]), cell(text(&column["jsonPath"])));
    }
    let selectable = version["selectableFields"].as_array().into_iter().flatten();
    let selectable: Vec<String> =
        selectable.map(|field| format!("`{}`", text(&field["jsonPath"]).trim_start_matches('.'))).collect();
    let _ = writeln!(page, "\n`--field-selector` takes {}.", selectable.join(", "));
    page
}

/// Adds a row for each field, followed by the fields inside it.
fn fields(page: &mut String, schema: &Value, path: &str) {
    let required = |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let mut meaning = cell(text(&field["description"]));
        if required(name) {
            meaning = format!("Required. {meaning}");
        }
        for (key, template) in
            [("maxLength", "at most {} characters"), ("minimum", "at least {}"), ("default", "default {}")]
        {
            if let Some(value) = field.get(key) {
                // A minimum is a float in the schema.
                let value = value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string());
                let _ = write!(meaning, " ({})", template.replace("{}", &value));
            }
        }
        if let Some(values) = field["enum"].as_array() {
            let values: Vec<String> = values.iter().map(|value| format!("`{}`", text(value))).collect();
            let _ = write!(meaning, " (one of {})", values.join(", "));
        }
        let _ = writeln!(page, "| `{path}` | {} | {meaning} |", kind(field));
        fields(page, field, &path);
        fields(page, &field["items"], &format!("{path}[]"));
    }
}

fn kind(field: &Value) -> String {
    match (text(&field["type"]), text(&field["format"])) {
        ("array", _) => format!("list of {}", text(&field["items"]["type"])),
        ("string", "date-time") => "time".to_owned(),
        (kind, _) => kind.to_owned(),
    }
}

/// Adds a row for each validation rule of the schema, outermost first.
fn rules(page: &mut String, schema: &Value, path: &str) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let place = format!("{path}{}", text(&rule["fieldPath"]));
        let place = place.trim_start_matches('.');
        let _ = writeln!(
            page,
            "| {} | {} |",
            if place.is_empty() { "any update" } else { place },
            cell(text(&rule["message"]))
        );
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        rules(page, field, &format!("{path}.{name}"));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Escapes a text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|").replace('<', "&lt;")
}
