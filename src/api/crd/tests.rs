use serde_json::{Value, json};

use super::*;

fn schema() -> Value {
    json!(gateway_crd())["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Every object field of the schema, with its path.
fn fields(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        fields(field, &path, found);
        fields(&field["items"], &path, found);
        found.push((path, field.clone()));
    }
}

#[test]
fn nothing_is_nullable() {
    assert!(!json!(gateway_crd()).to_string().contains("nullable"));
    assert_eq!(schema()["properties"]["status"]["properties"]["tier"]["enum"], json!(["Hot", "Cold"]));
}

#[test]
fn every_field_of_spec_and_status_is_described() {
    let mut found = Vec::new();
    fields(&schema(), "", &mut found);
    assert!(found.len() > 15);
    for (path, field) in found {
        let text = field["description"].as_str().unwrap_or_default();
        assert!(text.len() > 10 || path == ".metadata", "{path} has no description");
    }
}

#[test]
fn a_new_object_waits_for_the_operator() {
    let default = &schema()["properties"]["status"]["default"];
    assert_eq!(default["conditions"][0]["reason"], "Pending");
    assert_eq!(default["conditions"][0]["status"], "Unknown");
}

#[test]
fn the_rules_sit_on_spec_and_at_the_root_and_repeat_no_value() {
    let rules = schema()["properties"]["spec"]["x-kubernetes-validations"].clone();
    let rules = rules.as_array().unwrap();
    assert_eq!(rules.len(), 6);
    for (index, rule) in rules.iter().enumerate() {
        assert_eq!(rule["fieldPath"], if index < 5 { ".url" } else { ".gatewayId" });
        assert!(rule.get("messageExpression").is_none());
    }
    assert!(schema()["x-kubernetes-validations"][0]["rule"].as_str().unwrap().contains("oldSelf.status.term"));
    assert_eq!(schema()["properties"]["spec"]["required"], json!(["url"]));
}

#[test]
fn conditions_are_a_map_by_type() {
    let conditions = &schema()["properties"]["status"]["properties"]["conditions"];
    assert_eq!(conditions["x-kubernetes-list-type"], "map");
    assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]));
}

#[test]
fn the_columns_are_what_a_person_wants_to_see() {
    let crd = json!(gateway_crd());
    let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().unwrap();
    let names: Vec<_> = columns.iter().map(|c| c["name"].as_str().unwrap()).collect();
    let wide = ["URL", "Rank", "Active", "Since", "Interval", "Registered", "Tools"];
    assert_eq!(names, [&["Tier", "Ready", "Reason", "Last Used", "Age"][..], &wide].concat());
    assert_eq!(crd["spec"]["names"]["categories"], json!(["mcpgateway"]));
    assert_eq!(crd["spec"]["versions"][0]["selectableFields"].as_array().unwrap().len(), 3);
}
