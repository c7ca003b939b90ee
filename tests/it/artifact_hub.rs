//! What `Chart.yaml` says for Artifact Hub is true.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::support::cluster::{cluster, root};
use super::support::operator::binary;

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedImage {
    name: String,
    image: String,
    platforms: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Crd {
    kind: String,
    version: String,
    name: String,
    display_name: String,
    description: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    kind: String,
    description: String,
}

fn yaml<T: DeserializeOwned>(path: &str) -> T {
    serde_saphyr::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

fn chart() -> Value {
    yaml("charts/mcpgateway-operator/Chart.yaml")
}

fn annotation(name: &str) -> String {
    let chart = chart();
    chart["annotations"][format!("artifacthub.io/{name}")].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned()
}

/// An annotation that holds YAML.
fn parsed<T: DeserializeOwned>(name: &str) -> T {
    serde_saphyr::from_str(&annotation(name)).unwrap()
}

#[test]
fn version_licence_and_image_are_those_of_the_program() {
    let chart = chart();
    assert_eq!([&chart["version"], &chart["appVersion"]], [VERSION; 2]);
    assert_eq!(annotation("license"), env!("CARGO_PKG_LICENSE"));
    let values: Value = yaml("charts/mcpgateway-operator/values.yaml");
    let [image] = &parsed::<Vec<ListedImage>>("images")[..] else { panic!("one image") };
    assert_eq!(image.name, "mcpgateway-operator");
    assert_eq!(image.image, format!("{}:{VERSION}", values["image"]["repository"].as_str().unwrap()));
    let builder = std::fs::read_to_string(root().join("dev/lib/programs.sh")).unwrap();
    let built = builder.lines().find_map(|line| line.strip_prefix("ARCHITECTURES=(")?.strip_suffix(')')).unwrap();
    let platforms: Vec<String> = built.split(' ').map(|name| format!("linux/{name}")).collect();
    assert_eq!(image.platforms, platforms);
}

#[test]
fn words_are_those_that_artifact_hub_knows() {
    let levels = ["Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot"];
    assert!(levels.contains(&annotation("operatorCapabilities").as_str()));
    for name in ["operator", "prerelease", "containsSecurityUpdates"] {
        assert!(["true", "false"].contains(&annotation(name).as_str()), "{name}");
    }
    let changes: Vec<Change> = parsed("changes");
    assert!(!changes.is_empty());
    for Change { kind, description } in changes {
        assert!(["added", "changed", "deprecated", "removed", "fixed", "security"].contains(&kind.as_str()), "{kind}");
        assert!(!description.is_empty());
    }
}

#[test]
fn crds_are_those_of_the_program() {
    let output = binary().arg("crd").output().unwrap();
    let printed: Vec<Value> = serde_saphyr::from_multiple(std::str::from_utf8(&output.stdout).unwrap()).unwrap();
    let printed: Vec<_> = printed
        .iter()
        .flat_map(|crd| {
            let versions = crd["spec"]["versions"].as_array().unwrap();
            let [kind, name] = [&crd["spec"]["names"]["kind"], &crd["metadata"]["name"]];
            versions.iter().map(move |version| [kind, &version["name"], name].map(|word| word.as_str().unwrap()))
        })
        .collect();
    let listed: Vec<Crd> = parsed("crds");
    let words: Vec<_> = listed.iter().map(|crd| [&crd.kind, &crd.version, &crd.name].map(String::as_str)).collect();
    assert_eq!(words, printed);
    assert!(listed.iter().all(|crd| !crd.display_name.is_empty() && !crd.description.is_empty()));
}

#[tokio::test]
async fn the_api_server_accepts_the_examples_and_each_kind_has_one() {
    let namespace = cluster().namespace("artifact-hub").await;
    let examples: Vec<Value> = parsed("crdsExamples");
    let kinds: Vec<_> = examples.iter().map(|example| example["kind"].as_str().unwrap()).collect();
    let listed: Vec<Crd> = parsed("crds");
    assert_eq!(kinds, listed.iter().map(|crd| crd.kind.as_str()).collect::<Vec<_>>());
    for mut example in examples {
        // That of the example need not exist.
        example["metadata"]["namespace"] = namespace.clone().into();
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(&file, example.to_string()).unwrap();
        let path = file.path().to_str().unwrap();
        cluster().kubectl_ok(&["create", "--dry-run=server", "--validate=strict", "-f", path]);
    }
}
