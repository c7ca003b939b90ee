//! The rendered roles. `rights` tests their effect.

use serde_json::{Value, json};

use super::rules;
use crate::helm::{FILES, Rendered, render, render_file, text};

/// All roles as `namespace/name`, except those for people.
fn roles(rendered: &Rendered) -> Vec<String> {
    let all = rendered.all("Role").into_iter().chain(rendered.all("ClusterRole"));
    let own = all.filter(|role| !is_for_people(role));
    let name = |role: &Value| {
        let metadata = &role["metadata"];
        format!("{}/{}", metadata["namespace"].as_str().unwrap_or("*"), text(&metadata["name"]))
    };
    let mut names: Vec<String> = own.map(name).collect();
    names.sort();
    names
}

fn is_for_people(role: &Value) -> bool {
    let labels = role["metadata"]["labels"].as_object().unwrap();
    labels.keys().any(|key| key.contains("/aggregate-to-"))
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn with_listed_namespaces_there_is_no_cluster_role() {
    let rendered = render_file("ci/namespaces-values.yaml");
    assert!(rendered.all("ClusterRole").is_empty() && rendered.all("ClusterRoleBinding").is_empty());
    let name = "mcpgateway-system-mcpgateway-operator";
    let wanted = [
        format!("gateways/{name}-workers"),
        "mcpgateway-system/mcpgateway-operator".to_owned(),
        format!("team-a/{name}-registration"),
        format!("team-a/{name}-registry"),
        format!("team-a/{name}-workers"),
        format!("team-b/{name}-mirror"),
        format!("team-b/{name}-registration"),
        format!("team-b/{name}-registry"),
    ];
    assert_eq!(roles(&rendered), wanted);

    // Only reading the uid of kube-system needs one.
    let rendered = render(&json!({"watch": {"namespaces": ["team-a"]}}));
    let of_cluster: Vec<String> = roles(&rendered).into_iter().filter(|role| role.starts_with("*/")).collect();
    assert_eq!(of_cluster, [format!("*/{name}-cluster-id")]);
    let rendered = render(&json!({"redis": {"url": ""}}));
    assert!(!roles(&rendered).contains(&format!("*/{name}-cluster-id")));
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn every_role_is_bound_only_to_the_service_account() {
    for file in FILES {
        let rendered = render_file(file);
        let account = text(&rendered.pod()["spec"]["serviceAccountName"]).to_owned();
        let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": "mcpgateway-system"});
        let bindings: Vec<&Value> =
            rendered.all("RoleBinding").into_iter().chain(rendered.all("ClusterRoleBinding")).collect();
        let bound = |binding: &&Value| {
            assert_eq!(binding["subjects"], json!([subject]));
            let (metadata, reference) = (&binding["metadata"], &binding["roleRef"]);
            // A binding has the name and the namespace of its role.
            assert_eq!(metadata["name"], reference["name"]);
            format!("{}/{}", metadata["namespace"].as_str().unwrap_or("*"), text(&reference["name"]))
        };
        let mut bound: Vec<String> = bindings.iter().map(bound).collect();
        bound.sort();
        assert_eq!(bound, roles(&rendered), "{file}");
    }
    let none = render(&json!({"rbac": {"create": false}}));
    assert!(roles(&none).is_empty() && none.all("RoleBinding").is_empty() && none.all("ClusterRoleBinding").is_empty());
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn no_rule_has_a_wildcard_and_secrets_are_read_only_in_listed_namespaces() {
    for file in FILES {
        let rendered = render_file(file);
        for role in rendered.all("Role").into_iter().chain(rendered.all("ClusterRole")) {
            for (group, resource, names, verbs) in rules(role) {
                assert!(![&group, &resource].contains(&&"*".to_owned()) && !verbs.contains(&"*".to_owned()));
                if ["secrets", "configmaps"].contains(&resource.as_str()) {
                    assert_eq!((file, &*verbs), ("ci/everything-values.yaml", &["get".to_owned()][..]));
                    assert_eq!((&role["kind"], &role["metadata"]["namespace"]), (&json!("Role"), &json!("team-a")));
                }
                let own = ["leases", "mcpgatewayfleets", "mcpgatewayfleets/status", "namespaces"];
                let named = own.contains(&resource.as_str()) && !is_for_people(role);
                assert!(!named || !names.is_empty() || verbs == ["create"], "{file}: {resource} {verbs:?}");
            }
        }
    }
}

/// The roles of registration: `namespace/kind`, and what they allow beside reading McpGateways.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn registration_adds_rights_only_where_objects_may_be_registered() {
    let found = |watched: &[&str], registration: Value| {
        let access = json!({"url": "http://h", "tokenSecret": {"name": "a"}, "registration": registration});
        let rendered = render(&json!({"watch": {"namespaces": watched}, "contextForge": access}));
        let all = rendered.all("ClusterRole").into_iter().chain(rendered.all("Role"));
        let added = all.filter(|role| text(&role["metadata"]["name"]).contains("-registration")).flat_map(|role| {
            let namespace = role["metadata"]["namespace"].as_str().unwrap_or("*");
            rules(role).into_iter().map(move |(_, resource, _, verbs)| format!("{namespace} {resource} {verbs:?}"))
        });
        let mut added: Vec<String> = added.collect();
        added.sort();
        added
    };
    let patch = |namespace: &str| format!("{namespace} mcpgateways [\"patch\"]");
    assert_eq!(found(&[], json!({})), [patch("*")]);
    assert_eq!(found(&["a", "b"], json!({})), [patch("a"), patch("b")]);
    let get = |resource: &str| format!("a {resource} [\"get\"]");
    let wanted = [get("configmaps"), patch("a"), get("secrets")];
    assert_eq!(found(&["a", "b"], json!({"namespaces": ["a"], "secretNamespaces": ["a"]})), wanted);
    // The uid of the cluster is read unless both owner ids are given.
    let access = json!({"url": "http://h", "tokenSecret": {"name": "a"}});
    for (own, asks) in [(json!({}), true), (json!({"ownerId": "a"}), false)] {
        let mut access = access.clone();
        access["ownerId"] = own["ownerId"].as_str().unwrap_or_default().into();
        let rendered = render(&json!({"redis": {"ownerId": "a"}, "contextForge": access}));
        assert_eq!(roles(&rendered).iter().any(|role| role.ends_with("-cluster-id")), asks, "{own}");
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn people_may_edit_objects_and_never_a_status() {
    let rendered = render(&json!({}));
    let people: Vec<&Value> = rendered.all("ClusterRole").into_iter().filter(|role| is_for_people(role)).collect();
    assert_eq!(people.len(), 2);
    for role in people {
        let labels = &role["metadata"]["labels"];
        let to = |name: &str| labels[format!("rbac.authorization.k8s.io/aggregate-to-{name}")] == "true";
        let rules = rules(role);
        let found: Vec<(&str, &str, String)> =
            rules.iter().map(|(group, resource, _, verbs)| (&**group, &**resource, verbs.join(" "))).collect();
        // Viewers write nothing, and editors may suspend a fleet but not create or delete one.
        let wanted = if to("view") {
            vec![
                ("mcpgateway.io", "mcpgateways", "get list watch"),
                ("mcpgateway.io", "mcpgatewayfleets", "get list watch"),
                ("mcpgateway.io", "mcpgatewayfleets/status", "get"),
                ("coordination.k8s.io", "leases", "get"),
            ]
        } else {
            vec![
                ("mcpgateway.io", "mcpgateways", "create update patch delete deletecollection"),
                ("mcpgateway.io", "mcpgatewayfleets", "update patch"),
            ]
        };
        let wanted: Vec<_> = wanted.into_iter().map(|(group, one, verbs)| (group, one, verbs.to_owned())).collect();
        assert_eq!(found, wanted);
        // No other Lease than the one of this release, with which `status` compares the fleet.
        for (_, resource, names, _) in &rules {
            assert_eq!(names.is_empty(), resource != "leases", "{resource} {names:?}");
        }
        assert!(to("edit") && to("admin"));
    }
    let quiet = render(&json!({"rbac": {"aggregate": false}}));
    assert!(quiet.all("ClusterRole").into_iter().all(|role| !is_for_people(role)));
}

/// For installations without cluster-wide rights: no cluster-wide object is rendered.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn a_release_works_without_cluster_wide_objects() {
    let rendered = render(&json!({
        "watch": {"namespaces": ["team-a"]}, "redis": {"ownerId": "production"}, "rbac": {"aggregate": false},
        "crds": {"enabled": false}, "admissionPolicy": {"enabled": false},
    }));
    for object in &rendered.objects {
        assert!(object["metadata"]["namespace"].is_string(), "{} {}", object["kind"], object["metadata"]["name"]);
    }
}
