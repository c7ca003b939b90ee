//! docs/contract.md#k6: each RBAC verb of the operator is taken away in turn, and given back.

use std::time::Instant;

use k8s_openapi::api::rbac::v1::{ClusterRole, Role};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::row::{Row, SETTLED, SETTLED_AFTER_LEASE};
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};

/// What a leader without a verb does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// It leads, publishes and writes statuses.
    GoesOn,
    /// It leads and publishes.
    WritesNoStatus,
    /// It cannot lead.
    StandsBy,
}

/// What a replica does if it is started without the verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// It is not ready and reports why.
    Waits,
    /// It is ready and reports what is missing.
    Works,
    /// It ends with exit code 2 and one line.
    Refuses,
    /// Not tried, because another row covers it.
    Untried,
}

/// Group, resource, verb.
type Verb = (&'static str, &'static str, &'static str);

const VERBS: [(Verb, Then, Start); 19] = [
    (("mcpgateway.io", "mcpgateways", "list"), Then::GoesOn, Start::Waits),
    (("mcpgateway.io", "mcpgateways", "watch"), Then::GoesOn, Start::Waits),
    (("mcpgateway.io", "mcpgateways/status", "patch"), Then::WritesNoStatus, Start::Untried),
    (("coordination.k8s.io", "leases", "get"), Then::GoesOn, Start::Untried),
    (("coordination.k8s.io", "leases", "create"), Then::GoesOn, Start::Untried),
    (("coordination.k8s.io", "leases", "update"), Then::StandsBy, Start::Untried),
    (("coordination.k8s.io", "leases", "watch"), Then::GoesOn, Start::Untried),
    (("mcpgateway.io", "mcpgatewayfleets", "get"), Then::GoesOn, Start::Untried),
    (("mcpgateway.io", "mcpgatewayfleets", "create"), Then::GoesOn, Start::Untried),
    (("mcpgateway.io", "mcpgatewayfleets", "list"), Then::GoesOn, Start::Untried),
    (("mcpgateway.io", "mcpgatewayfleets", "watch"), Then::GoesOn, Start::Untried),
    (("mcpgateway.io", "mcpgatewayfleets/status", "update"), Then::GoesOn, Start::Untried),
    (("events.k8s.io", "events", "create"), Then::GoesOn, Start::Works),
    (("events.k8s.io", "events", "patch"), Then::GoesOn, Start::Untried),
    (("discovery.k8s.io", "endpointslices", "list"), Then::GoesOn, Start::Waits),
    (("discovery.k8s.io", "endpointslices", "watch"), Then::GoesOn, Start::Untried),
    (("", "namespaces", "get"), Then::GoesOn, Start::Refuses),
    // All verbs at once, as if a role were deleted.
    (("mcpgateway.io", "*", "*"), Then::WritesNoStatus, Start::Untried),
    (("events.k8s.io", "*", "*"), Then::GoesOn, Start::Untried),
];

/// The user of this row and its roles.
struct User {
    roles: Api<Role>,
    cluster_roles: Api<ClusterRole>,
    name: String,
}

/// All verbs except one, as rules.
fn rules(without: Option<Verb>, cluster: bool) -> Value {
    let kept = |(group, resource, verb): Verb| {
        without.is_none_or(|(other, resources, verbs)| {
            other != group || (resources != "*" && resources != resource) || (verbs != "*" && verbs != verb)
        })
    };
    let all = VERBS.iter().map(|(verb, ..)| *verb).filter(|(_, resource, verb)| *verb != "*" && *resource != "*");
    let mine = all.filter(|(_, resource, _)| (*resource == "namespaces") == cluster).filter(|verb| kept(*verb));
    mine.map(|(group, resource, verb)| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]}))
        .collect()
}

impl User {
    async fn make(row: &Row) -> Self {
        let (client, namespace) = (row.fleet.client.clone(), &row.fleet.namespace);
        let (roles, cluster_roles) = (Api::namespaced(client.clone(), namespace), Api::all(client));
        let user = Self { roles, cluster_roles, name: namespace.clone() };
        let role = json!({"metadata": {"name": user.name}, "rules": rules(None, false)});
        user.roles.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
        let role = json!({"metadata": {"name": user.name}, "rules": rules(None, true)});
        user.cluster_roles.create(&PostParams::default(), &serde_json::from_value(role).unwrap()).await.unwrap();
        let (role, of) = (format!("--role={}", user.name), format!("--user={}", user.name));
        row.fleet.cluster.kubectl_ok(&["-n", namespace, "create", "rolebinding", &user.name, &role, &of]);
        let role = format!("--clusterrole={}", user.name);
        row.fleet.cluster.kubectl_ok(&["create", "clusterrolebinding", &user.name, &role, &of]);
        user
    }

    async fn lacks(&self, without: Option<Verb>) {
        let params = PatchParams::default();
        let patch = Patch::Merge(json!({"rules": rules(without, false)}));
        self.roles.patch(&self.name, &params, &patch).await.unwrap();
        let patch = Patch::Merge(json!({"rules": rules(without, true)}));
        self.cluster_roles.patch(&self.name, &params, &patch).await.unwrap();
    }
}

/// The warnings and errors of a log.
fn warnings(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" WARN ") || line.contains("ERROR")).collect()
}

/// Starts a replica without the verb.
async fn start(row: &Row, kubeconfig: &std::path::Path, flags: &[&str], (_, resource, verb): Verb, start: Start) {
    if start == Start::Untried {
        return;
    }
    let mut late = row.fleet.operator_as(kubeconfig, flags);
    let what = format!("started without {verb} {resource}");
    let named = |text: &str| text.lines().any(|line| line.contains(verb) && line.contains(resource));
    match start {
        Start::Waits => {
            eventually(&format!("{what}: /readyz names it"), SOON, || async {
                let (code, text) = late.get("/readyz").await;
                (code == 503 && named(&text)).then_some(())
            })
            .await;
        }
        Start::Works => late.ready().await,
        Start::Refuses => {
            eventually(&format!("{what}: it ends"), SOON, || std::future::ready(late.has_ended().then_some(()))).await;
            assert!(late.log().contains("--redis-owner-id"), "{}", late.log());
        }
        Start::Untried => {}
    }
    eventually(&format!("{what}: the log names it"), SOON, || async { named(&late.log()).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn k6_each_missing_verb_is_reported_and_stops_only_what_needs_it() {
    let row = Row::begin("K6", "each RBAC verb taken away and given back, from a leader and at a start").await;
    let user = User::make(&row).await;
    let kubeconfig = row.fleet.cluster.kubeconfig_as(&user.name);
    let (redis, service) = (row.fleet.redis.url(), format!("{}/workers:80", row.fleet.namespace));
    let flags = ["--redis-url", redis.as_str(), "--worker-service", service.as_str()];
    let operator: Operator = row.fleet.operator_as(kubeconfig.path(), &flags);
    operator.ready().await;
    row.fleet.settled().await;
    let pairs = [["a", "b"], ["c", "d"], ["e", "f"]];
    let mut worst = 0;
    for (round, (verb, then, started)) in VERBS.into_iter().enumerate() {
        let (group, resource, name) = verb;
        let what = format!("without {name} {resource} {group}");
        let begun = Instant::now();
        let log = operator.log().len();
        let since = || operator.log()[log..].to_owned();
        // Never what is published already.
        let (before, after) = (pairs[(2 * round + 1) % 3], pairs[(2 * round + 2) % 3]);
        user.lacks(Some(verb)).await;
        // docs/contract.md#p10: the log names verb and resource.
        eventually(&format!("{what}: it is named"), SOON, || async {
            let said = since();
            let named = said.lines().any(|line| {
                let (name, resource) =
                    (if name == "*" { "" } else { name }, if resource == "*" { "" } else { resource });
                line.contains("permission denied")
                    && line.contains(name)
                    && line.contains(resource)
                    && line.contains(group)
            });
            named.then_some(())
        })
        .await;
        assert!(operator.metric("mcpgateway_operator_permissions_missing").await > 0.0, "{what}");
        // The rest continues.
        row.use_servers(before);
        let wanted: Vec<String> = before.iter().map(|name| format!("http://{name}.example/mcp")).collect();
        match then {
            Then::GoesOn => _ = row.shows_hot(before, SETTLED).await,
            Then::WritesNoStatus => {
                eventually(&format!("{what}: it publishes"), SETTLED, || async {
                    row.fleet.sets().await.hot.iter().eq(&wanted).then_some(())
                })
                .await;
                let (fleet, operator) = (&row.fleet, &operator);
                eventually(&format!("{what}: it is reported"), SOON, || async {
                    let in_status = fleet.condition("StatusesWritten").await.starts_with("False/Forbidden")
                        && fleet.condition("Permitted").await.contains("patch mcpgateways/status");
                    // Without any right on the group, the fleet's status cannot be written either.
                    let in_metrics = resource == "*"
                        && operator.metric("mcpgateway_operator_permissions_missing").await > 0.0
                        && operator.metric("mcpgateway_operator_status_writes_total{outcome=\"refused\"}").await > 0.0;
                    (in_status || in_metrics).then_some(())
                })
                .await;
            }
            Then::StandsBy => {
                eventually(&format!("{what}: it stands by"), SOON, || async {
                    (operator.metric("mcpgateway_operator_leader").await < 1.0).then_some(())
                })
                .await;
            }
        }
        start(&row, kubeconfig.path(), &flags, verb, started).await;
        let (said, missing) = (since(), operator.metric("mcpgateway_operator_permissions_missing").await);
        let lines = warnings(&said);
        worst = worst.max(lines.len());
        // One line for each missing verb, and one for each kind of call that fails: not one for each attempt.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some verbs")]
        let most = 4 + missing as usize;
        assert!(lines.len() <= most, "{what}: {} lines in {:?}:\n{}", lines.len(), begun.elapsed(), lines.join("\n"));

        user.lacks(None).await;
        eventually(&format!("{what}: it is allowed again"), SOON, || async {
            since().contains("permission granted").then_some(())
        })
        .await;
        row.use_servers(after);
        row.shows_hot(after, if then == Then::StandsBy { SETTLED_AFTER_LEASE } else { SETTLED }).await;
    }
    user.cluster_roles.delete(&user.name, &DeleteParams::default()).await.unwrap();
    let count = VERBS.len();
    row.end(&format!(
        "verb and resource named in each of {count} cases, in at most {worst} lines; the rest continued; \
         recovered without a restart"
    ))
    .await;
}
