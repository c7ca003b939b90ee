//! `plan`: refresh plans for recorded reports, as a person and a CI job meet it.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::cluster::{root, said};
use crate::support::operator::binary;

const PLANTED: &str = "planted";

fn run(words: &[&str]) -> Output {
    binary().current_dir(root()).args(words).output().unwrap()
}

fn plan(more: &[&str]) -> Output {
    run(&[&["plan", "-f", "examples/fleet", "--usage", "examples/recording"], more].concat())
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A plan of one budget and one longest interval, as JSON in a file.
fn saved(folder: &Path, more: &[&str]) -> String {
    let output = plan(&[&["-o", "json"], more].concat());
    assert!(output.status.success(), "{}", said(&output));
    let file = folder.join("earlier.json");
    std::fs::write(&file, output.stdout).unwrap();
    file.display().to_string()
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/what-if.md")).unwrap()
}

#[test]
fn a_recording_without_any_report_is_a_failure() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/mcpgateway/usage", unused.local_addr().unwrap());
    drop(unused);
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().display().to_string();
    let output = run(&["record", "-f", "examples/fleet", "--worker-endpoint", &endpoint, "--output", &output]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("no worker has reported, so the recording is empty"), "{}", said(&output));
}

#[test]
fn the_page_shows_what_plan_prints() {
    let page = page();
    let (_, block) = page.split_once("```console\n$ mcpgateway-operator ").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let (command, shown) = block.split_once('\n').unwrap();
    let output = run(&command.split_whitespace().collect::<Vec<_>>());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), shown);
}

#[test]
fn the_page_lists_the_fields_of_the_json() {
    let folder = tempfile::tempdir().unwrap();
    let one = ["--refresh-budget", "0.2", "--longest-refresh-interval", "4h"];
    let earlier = saved(folder.path(), &one);
    let found = json(&plan(&[&one[..], &["-o", "json", "--compare", &earlier]].concat()));
    let page = page();
    let (_, table) = page.split_once("## JSON").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap_or((table, ""));
    let named = |name: &str| table.contains(&format!("`{name}`")) || table.contains(&format!("[].{name}`"));
    let plan = &found["plans"][0];
    for object in [&found, &found["tiers"], plan, &plan["rungs"][0]] {
        for name in object.as_object().unwrap().keys() {
            assert!(named(name), "{name} is not in the page");
        }
    }
    assert_eq!(plan["intervals"].as_object().unwrap().len(), 38);
    assert_eq!(plan["leastBudget"], 0.21);
    assert!(json(&self::plan(&["-o", "json"]))["plans"][7]["intervals"].is_null());
}

#[test]
fn the_figures_are_of_the_budgets_and_intervals_that_are_asked_for() {
    let flags = ["--refresh-budget", "0.3,1", "--longest-refresh-interval", "2h", "--hot-poll-interval", "10m"];
    let found = json(&plan(&[&flags[..], &["-o", "json"]].concat()));
    let plans = found["plans"].as_array().unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    assert_eq!(plans.len(), 2);
    let full = 38.0 * 6.0;
    assert_eq!(found["uniform"]["refreshesPerHour"], full);
    // A list at the full rate is half an interval old.
    assert_eq!(found["uniform"]["meanAgeSeconds"], 300.0);
    for (plan, budget) in plans.iter().zip([0.3, 1.0]) {
        assert_eq!(plan["budget"], budget);
        let refreshes = number(&plan["refreshesPerHour"]);
        assert!(refreshes <= budget * full, "{plan}");
        assert!((refreshes / full - number(&plan["share"])).abs() < 1e-3, "{plan}");
        let servers = plan["rungs"].as_array().unwrap().iter().map(|rung| rung["servers"].as_u64().unwrap());
        assert_eq!(servers.sum::<u64>(), 38);
    }
}

#[test]
fn a_change_above_the_limit_has_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let one = ["--refresh-budget", "0.33", "--longest-refresh-interval", "4h"];
    let earlier = saved(folder.path(), &one);
    let compared = |more: &[&str]| plan(&[&one[..2], &["--compare", &earlier], more].concat());
    let same = compared(&["--longest-refresh-interval", "4h", "--fail-above", "0"]);
    assert!(same.status.success() && said(&same).contains("+0.0 %"), "{}", said(&same));

    // An interval of 4 minutes instead of 5 is a quarter more.
    let more = ["--longest-refresh-interval", "4h", "--hot-poll-interval", "4m"];
    let found = json(&compared(&[&more[..], &["-o", "json"]].concat()));
    assert_eq!(found["uniform"]["changePercent"], 25.0);
    let change = found["plans"][0]["changePercent"].as_f64().unwrap();
    assert!((5.0..60.0).contains(&change), "{change}");
    let above = compared(&[&more[..], &["--fail-above", &format!("{}", change - 0.1)]].concat());
    assert_eq!(above.status.code(), Some(3), "{}", said(&above));
    let warning = String::from_utf8(above.stderr.clone()).unwrap();
    assert!(warning.contains("raises refreshes by") && warning.lines().count() == 1, "{warning}");
    assert!(String::from_utf8(above.stdout).unwrap().contains("CHANGE"));
    assert!(compared(&[&more[..], &["--fail-above", &format!("{}", change + 0.1)]].concat()).status.success());

    // A single plan is compared with a single one; of several, with those of the same settings.
    assert!(compared(&["--longest-refresh-interval", "1h"]).status.success());
    let other = compared(&["--longest-refresh-interval", "1h,2h"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(said(&other).contains("earlier.json has no plan with"), "{}", said(&other));
    // With a limit, each plan needs one to compare it with.
    let partly = ["--longest-refresh-interval", "4h,2h"];
    assert!(compared(&partly).status.success());
    let limited = compared(&[&partly[..], &["--fail-above", "10"]].concat());
    assert_eq!(limited.status.code(), Some(1));
    assert!(
        said(&limited).contains("no plan with the budget 0.33 and the longest interval 7200s"),
        "{}",
        said(&limited)
    );
    let text = std::fs::read_to_string(&earlier).unwrap();
    let mut zero: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (number, message) in
        [(Value::from(0), "a number above 0"), (Value::from(-5), "a number above 0"), (Value::from(PLANTED), "line")]
    {
        zero["uniform"]["refreshesPerHour"] = number;
        std::fs::write(&earlier, zero.to_string()).unwrap();
        let broken = compared(&["--longest-refresh-interval", "1h"]);
        assert_eq!(broken.status.code(), Some(1));
        assert!(said(&broken).contains(message) && !said(&broken).contains(PLANTED), "{}", said(&broken));
    }
    std::fs::write(&earlier, "{}").unwrap();
    let broken = compared(&["--longest-refresh-interval", "1h"]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(said(&broken).contains("earlier.json is not what plan -o json prints"), "{}", said(&broken));
}

#[test]
fn what_cannot_be_planned_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let nothing = file("namespace.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n");
    let head = r#"{"apiVersion": "usage.mcpgateway.io/v1alpha1", "kind": "UsageReport", "generatedAt": 1763800000"#;
    let idle = file("idle.json", &format!("{head}, \"workers\": []}}"));
    let cut = file("cut.json", head);
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.display().to_string();
    for (manifests, usage, part) in [
        (&nothing[..], "examples/usage", "--filename: there is no McpGateway that is enabled and accepted"),
        ("examples/fleet", &idle[..], "no report shows a use of these servers"),
        ("examples/fleet", &cut[..], "cut.json: NotJson"),
        ("examples/fleet", &nothing[..], "namespace.yaml: NotJson"),
        ("examples/fleet", &empty[..], "empty has no file that ends in .json"),
        ("no/such/folder", "examples/usage", "no/such/folder"),
    ] {
        let output = run(&["plan", "-f", manifests, "--usage", usage]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(part) && text.lines().count() == 1, "{part}: {text}");
    }
}

#[test]
fn plan_reads_the_reports_that_classify_reads() {
    let found = json(&run(&["plan", "-f", "examples/fleet", "--usage", "examples/usage", "-o", "json"]));
    assert_eq!((&found["callsFrom"], &found["cycles"], &found["everUsed"]), (&"counts".into(), &1.into(), &23.into()));
}
