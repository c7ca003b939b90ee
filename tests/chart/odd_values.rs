//! Values that tools and people pass without meaning much by them: null, empty sections, numbers as strings, and what
//! a parent chart adds. The chart renders the default or prints a message, never an error of its templates.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use super::helm::{NAMESPACE, RELEASE, Rendered, chart, file, helm, text};
use crate::support::cluster::said;

/// Runs `helm template` with these arguments on the chart, which then has its required value.
fn template(arguments: &[&str]) -> Output {
    let required = file(&json!({"workers": {"services": ["gateways/usage:usage"]}}));
    let mut command = helm();
    command.args(["template", RELEASE, "--namespace", NAMESPACE, "--values"]).arg(required.path());
    command.args(arguments).arg(chart()).output().expect("helm runs")
}

/// The default of every documented value by its path.
fn defaults() -> Value {
    serde_json::from_str(include_str!("../../charts/mcpgateway-operator/files/defaults.json")).expect("JSON")
}

/// Every documented value and every section above one.
fn paths() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for path in defaults().as_object().expect("an object").keys() {
        let keys: Vec<&str> = path.split('.').collect();
        all.extend((1..=keys.len()).map(|length| keys[..length].join(".")));
    }
    all
}

/// `{"a": {"b": value}}` for `a.b`.
fn at(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, key| json!({key: value}))
}

/// Panics unless the chart was rendered or refused with a message about the value or what it leads to.
fn assert_rendered_or_explained(output: &Output, values: &Value, path: &str) {
    let message = said(output);
    if output.status.success() {
        assert!(!output.stdout.is_empty(), "{values}: nothing rendered");
        return;
    }
    let pointer = format!("- at '/{}", path.replace('.', "/"));
    let is_explained = message.contains(&pointer) || message.contains("these values contradict each other:\n  - ");
    assert!(is_explained, "{values}: {message}");
    for part in ["error calling", "nil pointer", "runtime error", "wrong type", "can't evaluate", "YAML parse error"] {
        assert!(!message.contains(part), "{values}: {message}");
    }
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn every_value_and_section_may_be_null_empty_or_a_string() {
    let plain = template(&[]).stdout;
    assert!(!plain.is_empty());
    let defaults = defaults();
    let paths = paths();
    assert!(paths.len() > 160, "{}", paths.len());
    for path in &paths {
        let try_value = |value: Value| {
            let values = at(path, value);
            let output = template(&["--values", &file(&values).path().display().to_string()]);
            assert_rendered_or_explained(&output, &values, path);
            output
        };
        let default = defaults.get(path);
        let is_map = default.is_none_or(Value::is_object);
        let null = try_value(Value::Null);
        let is_required = ["workers", "workers.services"].contains(&path.as_str());
        assert!(null.stdout == plain || is_required, "{path}: null is not the default: {}", said(&null));
        let empty = try_value(json!({}));
        assert_eq!(empty.stdout == plain, is_map, "{path}: an empty section is not the default: {}", said(&empty));
        let empty = try_value(json!(""));
        assert!(!empty.status.success() || default.is_some_and(Value::is_string), "{path}: took an empty string");
        if let Some(default) = default.filter(|default| default.is_number()) {
            let as_text = try_value(json!(default.to_string()));
            assert!(as_text.stdout == plain, "{path}: the string {default} is not the number: {}", said(&as_text));
        }
    }
}

/// A comment is no value: the key above it is null.
#[test]
#[ignore = "needs Helm: make chart-test"]
fn a_section_whose_lines_are_comments_is_the_default() {
    let values = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(&values, "podLabels:\n#  team: search\nmetrics:\n  # port: 9000\nimage:\n").unwrap();
    let path = values.path().display().to_string();
    assert!(template(&["--values", &path]).stdout == template(&[]).stdout);
    // Without its required value the chart explains what to set.
    let mut command = helm();
    let output = command.args(["template", RELEASE, "--set", "workers=null"]).arg(chart()).output().unwrap();
    assert!(said(&output).contains("workers.services or workers.endpoints: set at least one"), "{}", said(&output));
    for list in ["workers.endpoints=null", "workers.tls=null", "redis.tls.ca=null", "api.token=null"] {
        assert!(template(&["--set", list]).stdout == template(&[]).stdout, "{list}");
    }
    let output = template(&["--set", "workers.services=null", "--set", "workers.endpoints={http://10.0.0.7:1/}"]);
    assert_eq!(Rendered::of(&output).all("Role").len(), 1);
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn decimals_of_set_and_numbers_as_strings_are_numbers() {
    let rendered = Rendered::of(&template(&["--set", "classification.hotFraction=0.3,workers.quorum=.75"]));
    for argument in ["--hot-fraction=0.3", "--worker-quorum=.75"] {
        assert!(rendered.arguments().contains(&argument.to_owned()), "{argument}: {:?}", rendered.arguments());
    }
    let strings = "replicas=3,metrics.port=9000,health.port=9001,workers.concurrency=8,classification.minHot=1000000,\
        podDisruptionBudget.maxUnavailable=2,revisionHistoryLimit=0,terminationGracePeriodSeconds=20";
    let rendered = Rendered::of(&template(&["--set-string", strings]));
    let deployment = &rendered.one("Deployment")["spec"];
    assert_eq!((&deployment["replicas"], &deployment["revisionHistoryLimit"]), (&json!(3), &json!(0)));
    assert_eq!(rendered.pod()["spec"]["terminationGracePeriodSeconds"], 20);
    assert_eq!(rendered.one("Service")["spec"]["ports"][0]["port"], 9000);
    assert_eq!(rendered.one("PodDisruptionBudget")["spec"]["maxUnavailable"], 2);
    for argument in ["--worker-concurrency=8", "--min-hot=1000000", "--health-probe-bind-address=:9001"] {
        assert!(rendered.arguments().contains(&argument.to_owned()), "{argument}: {:?}", rendered.arguments());
    }
    let ports = "networkPolicy.egress.apiServerPorts[0]=6443,networkPolicy.egress.redisPort=6380";
    let on = "networkPolicy.enabled=true,networkPolicy.egress.enabled=true,redis.url=redis://redis";
    let rendered = Rendered::of(&template(&["--set-string", ports, "--set", on]));
    let egress = &rendered.one("NetworkPolicy")["spec"]["egress"];
    assert_eq!((&egress[1]["ports"][0]["port"], &egress[2]["ports"][0]["port"]), (&json!(6443), &json!(6380)));

    // The limits of a number hold for its string.
    let refused = [
        "classification.hotFraction=1.5",
        "classification.hotFraction=-0.1",
        "classification.hotFraction=30%",
        "workers.quorum=1e-1",
        "replicas=101",
        "replicas=03",
        "metrics.port=0",
        "health.port=65536",
        "workers.concurrency=10001",
        "classification.minHot=1000001",
        "terminationGracePeriodSeconds=3601",
        "flowSchema.matchingPrecedence=0",
        "podDisruptionBudget.maxUnavailable=1.5",
    ];
    for value in refused {
        let output = template(&["--set-string", value]);
        let place = format!("- at '/{}'", value.split('=').next().unwrap().replace('.', "/"));
        assert!(!output.status.success() && said(&output).contains(&place), "{value}: {}", said(&output));
    }
}

/// A parent chart that has this chart as a dependency with a condition, as `helm dependency build` leaves it.
fn umbrella(condition: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let condition = if condition { "\n  condition: mcpgateway-operator.enabled" } else { "" };
    let parent = format!(
        "apiVersion: v2\nname: platform\nversion: 1.0.0\ndependencies:\n- name: mcpgateway-operator\n  \
         version: 0.1.0{condition}\n"
    );
    std::fs::write(folder.path().join("Chart.yaml"), parent).unwrap();
    std::fs::create_dir(folder.path().join("charts")).unwrap();
    let copied = std::process::Command::new("cp").arg("-R").arg(chart()).arg(folder.path().join("charts")).status();
    assert!(copied.unwrap().success());
    folder
}

fn template_umbrella(folder: &Path, values: &Value) -> Output {
    let values = file(values);
    let mut command = helm();
    command.args(["template", "platform", "--namespace", NAMESPACE, "--values"]).arg(values.path()).arg(folder);
    command.output().expect("helm runs")
}

#[test]
#[ignore = "needs Helm: make chart-test"]
fn an_umbrella_chart_switches_the_chart_by_enabled_and_passes_globals() {
    let folder = umbrella(true);
    let render = |global: Value, own: Value| {
        let mut own = own;
        own["workers"] = json!({"services": ["gateways/usage:usage"]});
        template_umbrella(folder.path(), &json!({"global": global, "mcpgateway-operator": own}))
    };
    let global = json!({"imageRegistry": "registry.example", "storageClass": null, "nested": {"a": [1]}});
    let rendered = Rendered::of(&render(global.clone(), json!({"enabled": true})));
    assert_eq!(text(&rendered.one("Deployment")["metadata"]["name"]), "platform-mcpgateway-operator");
    let plain = rendered.text;
    // Sections that the parent's values leave empty.
    let nulls = json!({"enabled": true, "podLabels": null, "metrics": null, "replicas": null, "redis": {"tls": null}});
    for (global, own) in [(json!({}), nulls), (Value::Null, json!({})), (global, json!({"enabled": null}))] {
        assert_eq!(Rendered::of(&render(global, own.clone())).text, plain, "{own}");
    }
    let off = render(json!({}), json!({"enabled": false}));
    assert!(off.status.success() && off.stdout.trim_ascii().is_empty(), "{}", said(&off));
    // Unknown keys are still refused, and so is a string, which Helm does not take as a condition.
    for (own, part) in [(json!({"enable": true}), "'enable' not allowed"), (json!({"enabled": "false"}), "/enabled")] {
        let output = render(json!({}), own);
        assert!(!output.status.success() && said(&output).contains(part), "{}", said(&output));
    }
    // Without a condition nothing would evaluate it, and the chart would be installed all the same.
    let values = json!({"mcpgateway-operator": {"enabled": false, "workers": {"services": ["gateways/usage"]}}});
    let output = template_umbrella(umbrella(false).path(), &values);
    assert!(
        !output.status.success() && said(&output).contains("enabled: only Helm evaluates this"),
        "{}",
        said(&output)
    );
}
