//! The command line as a person meets it.

use std::process::Output;

use serde_json::Value;

use crate::support::cluster::{root, said};
use crate::support::operator::binary;

fn classify(more: &[&str]) -> Output {
    let examples = root().join("examples");
    let mut command = binary();
    command.arg("classify").arg("-f").arg(examples.join("fleet")).arg("--usage").arg(examples.join("usage"));
    command.args(more).output().unwrap()
}

#[test]
fn classify_prints_the_tiers_of_the_example_fleet_and_needs_nothing_else() {
    let output = classify(&[]);
    assert!(output.status.success(), "{}", said(&output));
    let table = String::from_utf8(output.stdout).unwrap();
    let mut lines = table.lines();
    let words: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(words, ["RANK", "TIER", "URL", "LAST-USED", "ACTIVE", "REASON"]);
    assert!(lines.next().unwrap().starts_with("1     Hot   https://"), "{table}");
    for reason in ["AboveCut", "BelowCut", "NeverUsed"] {
        assert!(table.contains(reason), "{reason} is missing in:\n{table}");
    }
}

#[test]
fn classify_prints_json_with_hot_cold_and_metadata() {
    let output = classify(&["-o", "json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |name: &str| found[name].as_array().unwrap().len();
    assert_eq!(count("hot") as u64, found["metadata"]["hot_actual"].as_u64().unwrap());
    assert_eq!((count("hot") + count("cold")) as u64, found["metadata"]["total_servers"].as_u64().unwrap());
    assert_eq!(count("hot"), 7, "a fifth of 38");
    let again = classify(&["-o", "json"]);
    assert_eq!(output.stdout, again.stdout);
}

/// PowerShell's `>` writes UTF-16 with a byte order mark.
#[test]
fn classify_reads_a_manifest_and_a_report_in_utf_16_le() {
    let folder = tempfile::tempdir().unwrap();
    let examples = root().join("examples");
    let mut command = binary();
    command.arg("classify");
    for (flag, from) in [("-f", "fleet"), ("--usage", "usage")] {
        for entry in std::fs::read_dir(examples.join(from)).unwrap() {
            let entry = entry.unwrap();
            let text = format!("\u{feff}{}", std::fs::read_to_string(entry.path()).unwrap()).replace('\n', "\r\n");
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let file = folder.path().join(entry.file_name());
            std::fs::write(&file, bytes).unwrap();
            command.arg(flag).arg(file);
        }
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&output), said(&classify(&[])));
}

#[test]
fn classify_ranks_exactly_unless_a_recency_resolution_is_set() {
    let ranked = |more: &[&str]| classify(&[&["-o", "json"], more].concat()).stdout;
    assert_eq!(ranked(&[]), ranked(&["--recency-resolution", "0s"]));
    assert_ne!(ranked(&[]), ranked(&["--recency-resolution", "60s"]));
}

#[test]
fn classify_names_the_file_that_it_cannot_use() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("broken.json");
    std::fs::write(&report, "{\"planted\": ").unwrap();
    let mut command = binary();
    command.arg("classify").arg("-f").arg(root().join("examples/fleet")).arg("--usage").arg(&report);
    let output = command.output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("broken.json") && text.contains("NotJson") && !text.contains("planted"), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
}

#[test]
fn classify_says_what_is_wrong_with_a_spec_of_another_shape() {
    for (spec, problem) in [
        (r#"{"url": "http://a/", "enabled": "false"}"#, r#"invalid type: string "false", expected a boolean"#),
        (r#"{"url": "http://a/", "gatewayId": 7}"#, "invalid type: integer `7`, expected a string"),
        (r#"{"url": ["http://planted:planted@a/"]}"#, "invalid type: sequence, expected a string"),
        (r#"{"URL": "http://a/"}"#, "missing field `url`"),
    ] {
        let manifest = tempfile::NamedTempFile::new().unwrap();
        let object = r#"{"apiVersion":"mcpgateway.io/v1alpha1","kind":"McpGateway","metadata":{"name":"a"},"spec":"#;
        std::fs::write(&manifest, format!("{object}{spec}}}")).unwrap();
        let output = classify(&["-f", manifest.path().to_str().unwrap()]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(&format!("default/a is left out: its spec cannot be read: {problem}")), "{text}");
        assert!(!text.contains("planted"), "{text}");
    }
}

#[test]
fn help_and_version_are_answers() {
    for (arguments, part) in
        [(&["--help"][..], "classify"), (&["--version"], "0.1.0"), (&["run", "--help"], "--redis-url")]
    {
        let output = binary().args(arguments).output().unwrap();
        assert!(output.status.success() && said(&output).contains(part), "{arguments:?}: {}", said(&output));
    }
}
