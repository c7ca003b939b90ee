//! `docs/operations.md` names every reason, field, condition and metric that people on call may see, and no others.

use std::collections::BTreeSet;

use mcpgateway_operator::api::conditions::Reason;
use mcpgateway_operator::api::fleet_conditions::FleetConditionType;
use mcpgateway_operator::api::v1alpha1::FleetStatus;

use crate::imports::sources;
use crate::support::cluster::root;
use crate::support::fleet::Fleet;

/// The names in backticks at the start of each row of the table below a heading; of a metric without its labels.
fn rows(heading: &str) -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let section = rest.split("\n## ").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    let all: Vec<String> = names.map(str::to_owned).collect();
    let unique: BTreeSet<String> = all.iter().cloned().collect();
    assert_eq!(unique.len(), all.len(), "a row of {heading} stands there twice");
    unique
}

fn set<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_page_of_operations_names_every_reason_and_no_other() {
    assert_eq!(rows("Conditions of an object"), set(Reason::ALL.iter().map(|reason| reason.as_str())));
}

#[test]
fn the_page_of_operations_names_every_field_and_condition_of_a_fleet_and_no_other() {
    let schema = serde_json::to_value(schemars::schema_for!(FleetStatus)).unwrap();
    let mut names: BTreeSet<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
    assert!(names.len() > 8, "{names:?}");
    names.extend(FleetConditionType::ALL.map(|kind| kind.as_str().to_owned()));
    assert_eq!(rows("The fleet object"), names);
}

#[tokio::test]
async fn the_page_of_operations_names_every_metric_that_is_served() {
    let fleet = Fleet::new("operations", 1).await;
    fleet.create("a", "http://a.example/mcp").await;
    fleet.workers[0].report(vec![crate::support::fleet::used("a", 5.0)]);
    let operator = fleet.operator();
    fleet.settled().await;
    let (_, text) = operator.get("/metrics").await;
    let documented = rows("Metrics");
    // Named as it is asked for: what the description calls a counter ends with _total, and an info with _info.
    let served = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let suffix = match kind {
            "counter" if !name.ends_with("_total") => "_total",
            "info" if !name.ends_with("_info") => "_info",
            _ => "",
        };
        let name = name.strip_prefix("mcpgateway_operator_").unwrap_or(name);
        Some(format!("{name}{suffix}"))
    });
    let served: BTreeSet<String> = served.collect();
    assert!(served.len() > 15, "{served:?}");
    let missing: Vec<&String> = served.difference(&documented).collect();
    assert!(missing.is_empty(), "served, and not in docs/operations.md: {missing:?}");
}

/// What has no value yet is not served, so the names are read in the code as well.
#[test]
fn the_page_of_operations_names_every_metric_that_is_registered_and_no_other() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    let read = |file| std::fs::read_to_string(file).unwrap();
    let code: String =
        files.iter().map(read).map(|text| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()).collect();
    let documented = rows("Metrics");
    let registered: BTreeSet<&str> = code
        .split(".register(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .collect();
    assert!(registered.len() > 20, "{registered:?}");
    let known = |name: &&str| ["", "_total", "_info"].iter().any(|end| documented.contains(&format!("{name}{end}")));
    let missing: Vec<&&str> = registered.iter().filter(|name| !known(name)).collect();
    assert!(missing.is_empty(), "registered, and not in docs/operations.md: {missing:?}");
    let ends = ["", "_total", "_info", "_seconds_total", "_seconds", "_bytes"];
    let in_code = |name: &str| {
        ends.iter().filter_map(|end| name.strip_suffix(end)).any(|stem| code.contains(&format!("\"{stem}\"")))
    };
    let strange: Vec<&String> = documented.iter().filter(|name| !in_code(name)).collect();
    assert!(strange.is_empty(), "in docs/operations.md, and not in the code: {strange:?}");
}
