//! The operator has no other rights: checks the rules that the API server reports, and asks for every verb on every
//! resource of the API server.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview,
    SelfSubjectRulesReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

use super::table::{Places, Right};
use super::with_token;
use crate::support::fleet::Fleet;

/// One permission of a rule: group, resource, name, verb.
type Single = (String, String, Option<String>, String);

/// The permissions of a client's user in a namespace.
async fn rules_in(client: &Client, namespace: &str) -> BTreeSet<Single> {
    let api: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let spec = SelfSubjectRulesReviewSpec { namespace: Some(namespace.to_owned()) };
    let review = SelfSubjectRulesReview { spec, ..SelfSubjectRulesReview::default() };
    let status = api.create(&PostParams::default(), &review).await.unwrap().status.expect("an answer");
    assert!(!status.incomplete, "{:?}", status.evaluation_error);
    let mut all = BTreeSet::new();
    for rule in status.resource_rules {
        let names: Vec<Option<String>> = match rule.resource_names {
            Some(names) if !names.is_empty() => names.into_iter().map(Some).collect(),
            _ => vec![None],
        };
        for group in rule.api_groups.unwrap_or_default() {
            for resource in rule.resources.clone().unwrap_or_default() {
                for (name, verb) in names.iter().flat_map(|name| rule.verbs.iter().map(move |verb| (name, verb))) {
                    all.insert((group.clone(), resource.clone(), name.clone(), verb.clone()));
                }
            }
        }
    }
    all
}

/// What a ServiceAccount without any binding may do.
pub async fn baseline(fleet: &Fleet, places: &Places) -> BTreeSet<Single> {
    fleet.cluster.kubectl_ok(&["-n", &places.other, "create", "serviceaccount", "nobody"]);
    let token = fleet.cluster.kubectl_ok(&["-n", &places.other, "create", "token", "nobody"]);
    let kubeconfig = with_token(fleet.cluster, token.trim());
    let client = Client::try_from(fleet.cluster.config_of(kubeconfig.path()).await).unwrap();
    rules_in(&client, &places.home).await
}

/// Checks that in each namespace the rules are those of the table and of [`baseline`].
pub async fn only_these_rules(client: &Client, places: &Places, rights: &[Right], baseline: &BTreeSet<Single>) {
    for namespace in places.all() {
        let here = rights.iter().filter(|right| right.place.is_none() || right.place.as_ref() == Some(&namespace));
        let mut wanted: BTreeSet<Single> = here
            .map(|right| (right.group.to_owned(), right.resource.to_owned(), right.name.clone(), right.verb.to_owned()))
            .collect();
        wanted.extend(baseline.iter().cloned());
        let found = rules_in(client, &namespace).await;
        let (more, less): (Vec<_>, Vec<_>) = (found.difference(&wanted).collect(), wanted.difference(&found).collect());
        assert!(more.is_empty() && less.is_empty(), "{namespace}: too much {more:?}, missing {less:?}");
    }
}

/// Group, resource with its subresource, whether it is namespaced.
type Resource = (String, String, bool);

/// All resources of the API server, and those that exist only for authorization.
async fn everything(client: &Client) -> Vec<Resource> {
    let mut all = BTreeSet::new();
    let mut versions = vec![(String::new(), client.list_core_api_resources("v1").await.unwrap())];
    for group in client.list_api_groups().await.unwrap().groups {
        for version in &group.versions {
            let list = client.list_api_group_resources(&version.group_version).await.unwrap();
            versions.push((group.name.clone(), list));
        }
    }
    for (group, list) in versions {
        for resource in list.resources {
            all.insert((group.clone(), resource.name, resource.namespaced));
        }
    }
    for virtual_one in ["users", "groups", "serviceaccounts", "userextras/scopes"] {
        all.insert((String::new(), virtual_one.to_owned(), false));
    }
    all.insert((String::new(), "*".to_owned(), false));
    all.insert(("*".to_owned(), "*".to_owned(), false));
    all.into_iter().collect()
}

const VERBS: [&str; 14] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "bind",
    "escalate",
    "approve",
    "use",
    "*",
];

/// Asks for every verb on every resource in every namespace, and by name where the operator has rights by name. Returns
/// the number of questions, and how many were denied.
pub async fn ask_everything(
    client: &Client,
    places: &Places,
    rights: &[Right],
    baseline: &BTreeSet<Single>,
) -> (usize, usize) {
    let mut questions = Vec::new();
    for (group, resource, namespaced) in everything(client).await {
        let mut asked: Vec<Option<String>> = vec![None];
        if namespaced {
            asked.extend(places.all().into_iter().map(Some));
        }
        let by_name = rights.iter().any(|right| right.name.is_some() && resource.starts_with(right.resource));
        let mut names: Vec<Option<String>> = vec![None];
        if by_name {
            let own = ["mcpgateway-operator", "mcpgateway-operator-status", "kube-system", "another"];
            names.extend(own.map(|name| Some(name.to_owned())));
        }
        for place in &asked {
            for name in &names {
                for verb in VERBS {
                    questions.push((place.clone(), group.clone(), resource.clone(), name.clone(), verb));
                }
            }
        }
    }
    let count = questions.len();
    let mut answers = stream::iter(questions)
        .map(|question| async move {
            let allowed = ask(client, &question).await;
            (question, allowed)
        })
        .buffer_unordered(16);
    let mut refused = 0;
    while let Some(((place, group, resource, name, verb), allowed)) = answers.next().await {
        let wanted =
            rights.iter().any(|right| right.covers(place.as_deref(), &group, &resource, name.as_deref(), verb));
        // For example reviews of one's own access.
        let everybody = baseline.contains(&(group.clone(), resource.clone(), None, verb.to_owned()));
        assert_eq!(allowed, wanted || everybody, "{verb} {resource} {group} {name:?} in {place:?}");
        refused += usize::from(!allowed);
    }
    assert!(count > 5000 && refused + 500 > count, "{refused} of {count}");
    (count, refused)
}

/// Namespace, group, resource, name, verb.
type Question = (Option<String>, String, String, Option<String>, &'static str);

async fn ask(client: &Client, (place, group, resource, name, verb): &Question) -> bool {
    let (resource, subresource) = resource.split_once('/').map_or((resource.as_str(), None), |(a, b)| (a, Some(b)));
    let attributes = ResourceAttributes {
        verb: Some((*verb).to_owned()),
        group: Some(group.clone()),
        resource: Some(resource.to_owned()),
        subresource: subresource.map(str::to_owned),
        namespace: place.clone(),
        name: name.clone(),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), non_resource_attributes: None };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    api.create(&PostParams::default(), &review).await.unwrap().status.is_some_and(|status| status.allowed)
}
