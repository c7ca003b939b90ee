//! Generated files are what their generator makes today. `BLESS=1` rewrites them.

mod values;

use super::imports::sources;
use super::support::cluster::root;
use super::support::operator::binary;

/// Holds a committed file against what it should be.
pub(super) fn same(path: &str, made: &str) {
    let file = root().join(path);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, made).expect("written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == made, "{path} is out of date: run `make generate`");
}

#[test]
fn the_committed_crd_is_the_one_that_the_program_prints() {
    let output = binary().arg("crd").output().expect("it runs");
    assert!(output.status.success());
    let made = String::from_utf8(output.stdout).expect("text");
    same("crds/mcpgateways.yaml", &made);
    // Helm reads nothing outside of the chart.
    same("charts/mcpgateway-operator/files/crds.yaml", &made);
}

#[test]
fn the_committed_page_of_settings_is_made_of_the_flags() {
    same("docs/settings.md", &mcpgateway_operator::cli::settings_page());
}

#[test]
fn every_test_that_the_page_of_faults_names_is_there() {
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| sources(&root().join(folder), &mut files));
    let code: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let page = std::fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let names: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|name| name.contains('_')).collect();
    assert!(names.len() > 60);
    for name in names {
        assert!(code.contains(&format!("fn {name}(")), "docs/faults.md names {name}, which is no test");
    }
}

#[test]
fn every_alert_has_its_section_in_the_runbooks_and_every_section_its_alert() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (rules, page) = (read("charts/mcpgateway-operator/files/alerts.yaml"), read("docs/runbooks.md"));
    let after = |text: &str, start: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.trim_start().strip_prefix(start)).map(str::to_owned).collect()
    };
    let alerts = after(&rules, "- alert: ");
    assert!(alerts.len() >= 15);
    assert_eq!(after(&page, "## "), alerts, "in the same order");
    let links: Vec<String> = alerts.iter().map(|name| format!("docs/runbooks.md#{}", name.to_lowercase())).collect();
    assert_eq!(after(&rules, "runbook_url: "), links);
    for name in alerts {
        assert!(page.contains(&format!("](#{})", name.to_lowercase())), "{name} is missing in the table");
    }
}

#[test]
fn the_committed_reference_of_the_api_is_made_of_the_crd() {
    same("docs/api.md", &mcpgateway_operator::api::reference_page());
}
