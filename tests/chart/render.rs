//! What the templates render.

mod monitoring;
mod network;
mod pods;
mod roles;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::helm::{FILES, NAMESPACE, Rendered, file, least_and, list, render, render_file, template_as, text};
use crate::support::cluster::root;

/// The CRDs of the chart.
pub const CRDS: [&str; 2] = ["mcpgateways.mcpgateway.io", "mcpgatewayfleets.mcpgateway.io"];

/// Whether the labels match the selector.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().expect("labels");
    !wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value)
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_crds_are_the_committed_ones_except_for_their_metadata() {
    let rendered = render(&json!({"crds": {"annotations": {"a": "b"}}, "commonLabels": {"team": "platform"}}));
    assert_eq!(rendered.all("CustomResourceDefinition").len(), CRDS.len());
    let loose = render(&json!({"crds": {"keep": false}}));
    for name in CRDS {
        let plural = name.split_once('.').unwrap().0;
        let committed = std::fs::read_to_string(root().join(format!("crds/{plural}.yaml"))).unwrap();
        let committed: Value = serde_saphyr::from_str(&committed).unwrap();
        let crd = rendered.named("CustomResourceDefinition", name);
        assert_eq!(crd["spec"], committed["spec"]);
        let fields: BTreeSet<&str> = crd.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, BTreeSet::from(["apiVersion", "kind", "metadata", "spec"]));
        let metadata = &crd["metadata"];
        assert_eq!(metadata["name"], committed["metadata"]["name"]);
        assert_eq!(metadata["annotations"], json!({"a": "b", "helm.sh/resource-policy": "keep"}));
        assert_eq!(metadata["labels"]["team"], "platform");

        assert!(loose.named("CustomResourceDefinition", name)["metadata"].get("annotations").is_none());
    }
    assert!(render(&json!({"crds": {"enabled": false}})).all("CustomResourceDefinition").is_empty());
}

/// A rendered fleet would take back its `spec.suspend` with every upgrade.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn no_fleet_and_no_gateway_is_rendered() {
    for file in FILES {
        let rendered = render_file(file);
        assert!(rendered.all("McpGatewayFleet").is_empty() && rendered.all("McpGateway").is_empty(), "{file}");
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn the_admission_policy_is_the_file_with_the_names_of_the_release() {
    let committed = include_str!("../../charts/mcpgateway-operator/files/admission-policy.yaml");
    let options = serde_saphyr::options! { budget: None };
    let committed: Vec<Value> = serde_saphyr::from_multiple_with_options(committed, options).unwrap();
    // The committed file has the names of a release of this name in this namespace.
    let rendered = render(&json!({}));
    let policy = rendered.one("ValidatingAdmissionPolicy");
    assert_eq!(policy["spec"], committed[0]["spec"]);
    let guarded = &policy["spec"]["matchConstraints"]["resourceRules"][0]["resources"];
    assert_eq!(*guarded, json!(["mcpgateways/status", "mcpgatewayfleets/status"]));
    let binding = rendered.one("ValidatingAdmissionPolicyBinding");
    let mut spec = committed[1]["spec"].clone();
    spec["policyName"] = policy["metadata"]["name"].clone();
    assert_eq!(binding["spec"], spec);

    let values = least_and(&json!({"serviceAccount": {"name": "tiers"}, "leaderElection": {"leaseName": "fleet"}}));
    let rendered = Rendered::of(&template_as("other", "ops", file(&values).path()));
    let param = &rendered.one("ValidatingAdmissionPolicyBinding")["spec"]["paramRef"];
    assert_eq!(*param, json!({"namespace": "ops", "name": "fleet", "parameterNotFoundAction": "Allow"}));
    let arguments = rendered.arguments();
    for argument in ["--leader-elect-resource-name=fleet", "--leader-elect-resource-namespace=ops"] {
        assert!(arguments.contains(&argument.to_owned()), "{arguments:?}");
    }
    assert!(!render(&json!({"admissionPolicy": {"enabled": false}})).text.contains("ValidatingAdmissionPolicy"));
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn two_releases_share_no_name() {
    let values = file(&least_and(&json!({"flowSchema": {"enabled": true}})));
    let names = |release, namespace| {
        let rendered = Rendered::of(&template_as(release, namespace, values.path()));
        let own = rendered.objects.iter().filter(|object| object["kind"] != "CustomResourceDefinition");
        own.map(|object| {
            let metadata = &object["metadata"];
            (text(&object["kind"]).to_owned(), metadata["namespace"].to_string(), text(&metadata["name"]).to_owned())
        })
        .collect::<BTreeSet<_>>()
    };
    let one = names("tiers", "ops");
    assert!(one.len() > 12);
    // The same name in another namespace, another name in the same namespace, and truncated names.
    for (release, namespace) in [("tiers", "ops-2"), ("tiers-2", "ops")] {
        assert_eq!(one.intersection(&names(release, namespace)).collect::<Vec<_>>(), Vec::<&_>::new());
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn names_follow_the_values_and_stay_within_63_characters() {
    let name = |release: &str, values: Value| {
        let rendered = Rendered::of(&template_as(release, NAMESPACE, file(&least_and(&values)).path()));
        text(&rendered.one("Deployment")["metadata"]["name"]).to_owned()
    };
    assert_eq!(name("prod", json!({})), "prod-mcpgateway-operator");
    assert_eq!(name("my-mcpgateway-operator", json!({})), "my-mcpgateway-operator");
    assert_eq!(name("prod", json!({"nameOverride": "tiers"})), "prod-tiers");
    assert_eq!(name("prod", json!({"fullnameOverride": "tiers"})), "tiers");
    let long = name(&"a".repeat(53), json!({}));
    assert!(long.len() <= 63 && !long.ends_with('-'), "{long}");
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn every_object_has_the_common_labels_and_annotations() {
    let rendered = render_file("ci/everything-values.yaml");
    assert!(rendered.objects.len() > 20, "{:?}", rendered.kinds());
    for object in &rendered.objects {
        let metadata = &object["metadata"];
        let labels = &metadata["labels"];
        for (key, value) in [
            ("app.kubernetes.io/name", "tiers"),
            ("app.kubernetes.io/instance", "mcpgateway-operator"),
            ("app.kubernetes.io/managed-by", "Helm"),
            ("team", "platform"),
        ] {
            assert_eq!(labels[key], value, "{metadata}");
        }
        assert_eq!(metadata["annotations"]["example.com/contact"], "platform", "{metadata}");
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn every_object_is_in_the_right_namespace() {
    let cluster_wide = [
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "FlowSchema",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    for file in FILES {
        for object in &render_file(file).objects {
            let (kind, namespace) = (text(&object["kind"]), &object["metadata"]["namespace"]);
            assert_eq!(cluster_wide.contains(&kind), namespace.is_null(), "{file}: {kind} in {namespace}");
        }
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn with_everything_off_only_the_pods_are_left() {
    let off = json!({"enabled": false});
    let rendered = render(&json!({
        "crds": off, "admissionPolicy": off, "podDisruptionBudget": off, "service": off, "metrics": off,
        "serviceAccount": {"create": false, "name": "mine"}, "rbac": {"create": false, "aggregate": false},
    }));
    assert_eq!(rendered.kinds(), ["Deployment/mcpgateway-operator", "Pod/mcpgateway-operator-doctor"]);
    assert_eq!(rendered.pod()["spec"]["serviceAccountName"], "mine");
    assert!(rendered.arguments().contains(&"--metrics-bind-address=0".to_owned()));
}

/// Registration is off by default, and then leaves no trace except in the CRD, the alerts and the dashboard.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn without_its_url_nothing_about_contextforge_is_rendered() {
    let egress = json!({"enabled": true, "contextForgeTo": [{"podSelector": {}}], "contextForgePort": 4445});
    let rendered = render(&json!({
        "crds": {"enabled": false}, "contextForge": {"resync": "1m", "requestsPerMinute": 80},
        "networkPolicy": {"enabled": true, "egress": egress},
    }));
    for word in ["contextforge", "-registration", "adoption", "mirror-namespace", "secrets", "444"] {
        assert!(!rendered.text.to_lowercase().contains(word), "{word}");
    }
}

/// The rules of a role: group, resource, names, verbs.
fn rules(role: &Value) -> Vec<(String, String, Vec<String>, Vec<String>)> {
    let mut all = Vec::new();
    for rule in list(&role["rules"]) {
        for (group, resource) in list(&rule["apiGroups"]).iter().flat_map(|group| {
            list(&rule["resources"]).iter().map(move |resource| (text(group).to_owned(), text(resource).to_owned()))
        }) {
            let names = super::helm::strings(&rule["resourceNames"]);
            all.push((group, resource, names, super::helm::strings(&rule["verbs"])));
        }
    }
    all
}
