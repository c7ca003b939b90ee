//! Generated files are what their generator makes today. `BLESS=1` rewrites them.

use super::support::cluster::root;
use super::support::operator::binary;

#[test]
fn the_committed_crd_is_the_one_that_the_program_prints() {
    let output = binary().arg("crd").output().expect("it runs");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("text");
    let file = root().join("crds/mcpgateways.yaml");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &printed).expect("written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == printed, "crds/mcpgateways.yaml is out of date: run `make generate`");
}

#[test]
fn the_committed_description_of_the_api_is_the_one_that_is_served() {
    let served = mcpgateway_operator::server::api::openapi_page();
    let file = root().join("docs/openapi.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &served).expect("written");
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == served, "docs/openapi.json is out of date: run `make generate`");
}
