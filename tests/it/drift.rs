//! Generated files match their generators. `BLESS=1` rewrites them.

mod api_page;
mod plugin_archive;
mod settings_page;
mod values;

use mcpgateway_operator::api;

use super::imports::sources;
use super::support::cluster::root;
use super::support::operator::binary;

/// Compares a committed file with what its generator writes.
pub(super) fn same(path: &str, generated: &str) {
    same_bytes(path, generated.as_bytes());
}

pub(super) fn same_bytes(path: &str, generated: &[u8]) {
    let file = root().join(path);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, generated).expect("written");
    }
    let committed = std::fs::read(&file).unwrap_or_default();
    assert!(committed == generated, "{path} is out of date: run `make generate`");
}

#[test]
fn the_committed_crds_are_the_ones_that_the_program_prints() {
    let output = binary().arg("crd").output().expect("it runs");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("text");
    same("crds/mcpgateways.yaml", &api::crd_yaml(&api::gateway_crd()));
    same("crds/mcpgatewayfleets.yaml", &api::crd_yaml(&api::fleet_crd()));
    // Helm reads no files outside of the chart.
    same("charts/mcpgateway-operator/files/crds.yaml", &printed);
}

#[test]
fn the_settings_page_matches_the_flags() {
    same("docs/settings.md", &settings_page::settings_page());
}

#[test]
fn every_test_named_in_the_page_of_faults_exists() {
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| sources(&root().join(folder), &mut files));
    let code: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let page = std::fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let names: Vec<&str> = page.split('`').skip(1).step_by(2).filter(|name| name.contains('_')).collect();
    assert!(names.len() > 60);
    for name in names {
        assert!(code.contains(&format!("fn {name}(")), "docs/faults.md names {name}, which is not a test");
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
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
        assert!(page.contains(&format!("](#{})", name.to_lowercase())), "{name} is missing from the table");
    }
}

#[test]
fn the_api_page_matches_the_crd() {
    same("docs/api.md", &api_page::api_page());
}
