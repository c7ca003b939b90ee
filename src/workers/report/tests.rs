#![expect(clippy::float_cmp, reason = "times go through unchanged, or by sums that are exact")]

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::classify::{IdentityField, Row};
use crate::model::{ServerUrl, UrlError};
use crate::registry::GatewayRecord;

mod stream;

const NOW: f64 = 1_763_800_100.5;

fn registry(objects: &[(&str, &str, Value)]) -> RegistrySnapshot {
    let mut records = BTreeMap::new();
    for (namespace, name, spec) in objects {
        let metadata = ObjectMeta {
            namespace: Some((*namespace).to_owned()),
            name: Some((*name).to_owned()),
            ..ObjectMeta::default()
        };
        let record = GatewayRecord::from_object(&metadata, &json!({ "spec": spec })).unwrap();
        records.insert(record.name.clone(), Arc::new(record));
    }
    RegistrySnapshot::build(&records, 1)
}

fn fleet() -> RegistrySnapshot {
    registry(&[
        ("search", "web", json!({"url": "https://web.example.com/mcp", "gatewayId": "id-web"})),
        ("search", "web-again", json!({"url": "https://web.example.com/mcp", "gatewayId": "id-again"})),
        ("pay", "ledger", json!({"url": "https://ledger.example.com/mcp"})),
        ("pay", "off", json!({"url": "https://off.example.com/mcp", "gatewayId": "id-off", "enabled": false})),
    ])
}

fn timing() -> Timing {
    Timing { receipt: UnixTime::from_seconds(NOW), offset: 0.0, interval: Duration::from_mins(1) }
}

fn read(body: &str) -> Result<Parsed, ReportError> {
    parse(body.as_bytes(), &timing(), &fleet())
}

fn body(workers: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": KIND, "generatedAt": NOW, "workers": workers})
}

/// A report of one process with these rows, as JSON text so that it can contain odd numbers.
fn with_rows(rows: &str) -> String {
    format!(
        r#"{{"apiVersion":"{API_VERSION}","kind":"{KIND}","generatedAt":{NOW},
            "workers":[{{"id":"w1","observedAt":{NOW},"servers":[{rows}]}}]}}"#
    )
}

fn only_row(body: &str) -> (String, Row) {
    let parsed = read(body).unwrap();
    assert_eq!(parsed.skipped, Skipped::default());
    let mut rows = parsed.report.processes[0].rows();
    let (Some((server, row)), None) = (rows.next(), rows.next()) else { panic!("one row: {parsed:?}") };
    (server.expose().to_owned(), *row)
}

fn seconds(time: Option<UnixTime>) -> Option<f64> {
    time.map(UnixTime::seconds)
}

#[test]
fn the_example_of_the_contract_is_read() {
    let text = r#"{"apiVersion": "usage.mcpgateway.io/v1alpha1", "kind": "UsageReport",
        "generatedAt": 1763800100.5, "expectedWorkers": 1,
        "workers": [{"id": "5b0e2c0e-0000", "observedAt": 1763800100.25, "servers": [
            {"gatewayId": "id-web", "url": "https://web.example.com/mcp",
             "lastUsed": 1763800090.125, "active": 2, "idle": 1, "useCount": 55}]}]}"#;
    let Parsed { report, generated_at, skipped, .. } = read(text).unwrap();
    assert!(report.complete);
    assert_eq!((generated_at.seconds(), report.offset, skipped), (NOW, 0.0, Skipped::default()));
    let process = &report.processes[0];
    assert_eq!(process.observed_at.seconds(), 1_763_800_100.25);
    let row = Row::new(1, UnixTime::from_seconds(1_763_800_090.125), 2, 1, 55);
    assert_eq!(process.rows[0], row);
}

#[test]
fn absent_and_null_values_are_zero() {
    for row in [r#"{"gatewayId":"id-web"}"#, r#"{"gatewayId":"id-web","active":null,"lastUsed":null,"name":null}"#] {
        let row = only_row(&with_rows(row)).1;
        assert_eq!((row.last_used(), row.active(), row.idle(), row.use_count()), (None, 0, 0, 0));
    }
}

#[test]
fn unknown_fields_are_ignored_at_every_level() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let row = format!(r#"{{"gatewayId":"id-web","active":1,"x":{deep},"y":1e999}}"#);
    let text = with_rows(&row).replacen('{', r#"{"z":{"a":[1e999]},"#, 1).replace(r#"{"id""#, r#"{"more":-1,"id""#);
    assert_eq!(only_row(&text).1.active(), 1);
}

#[test]
fn what_a_process_says_of_its_polling_is_read_and_a_bad_object_says_nothing() {
    let with = |polling: &str| with_rows("").replace(r#"{"id""#, &format!(r#"{{"polling":{polling},"id""#));
    let polling = |text: &str| read(&with(text)).unwrap().polling;
    let [(id, process)] = &polling(r#"{"coldHealth":"Active","healthChecksSkipped":7}"#)[..] else { panic!("one") };
    assert_eq!(*id, read(&with_rows("")).unwrap().report.processes[0].id);
    assert_eq!(process.counts().health_checks_skipped.part, 7);
    for bad in ["null", "1e999", r#"{"coldHealth":"?"}"#, r#"{"healthChecksRun":1e30}"#] {
        assert_eq!(polling(bad), [], "{bad}");
    }
    assert_eq!(read(&with_rows("")).unwrap().polling, []);
}

#[test]
fn a_bad_value_costs_only_its_row() {
    let cases = [
        (r#""active":-1"#, BadRow::Negative),
        (r#""idle":1.5"#, BadRow::NotInteger),
        (r#""useCount":9007199254740993"#, BadRow::TooLarge),
        (r#""useCount":9223372036854775808"#, BadRow::TooLarge),
        (r#""useCount":1e30"#, BadRow::TooLarge),
        (r#""useCount":1e999"#, BadRow::NotFinite),
        (r#""lastUsed":1e999"#, BadRow::NotFinite),
        (r#""lastUsed":-1e999"#, BadRow::NotFinite),
        (r#""lastUsed":"x""#, BadRow::WrongType),
        (r#""lastUsed":"NaN""#, BadRow::WrongType),
        (r#""lastUsed":{"a":1}"#, BadRow::WrongType),
        (r#""active":"1""#, BadRow::WrongType),
        (r#""active":true"#, BadRow::WrongType),
        (r#""active":[]"#, BadRow::WrongType),
        (r#""name":7"#, BadRow::WrongType),
        (r#""url":"\ud800""#, BadRow::WrongType),
        (r#""active":1,"active":1"#, BadRow::RepeatedField),
    ];
    for (field, reason) in cases {
        let good = r#"{"gatewayId":"id-web","active":3}"#;
        let parsed = read(&with_rows(&format!(r#"{{"gatewayId":"id-web",{field}}},{good}"#))).unwrap();
        assert_eq!(parsed.skipped, Skipped::from([(reason, 1)]), "{field}");
        assert!(parsed.report.complete, "{field}");
        assert_eq!(parsed.report.processes[0].rows.len(), 1, "{field}");
    }
}

#[test]
fn integers_may_be_written_as_floats() {
    for (text, count) in [("55.0", 55), ("1e3", 1000), ("-0", 0), ("-0.0", 0), ("9007199254740992", 1 << 53)] {
        let row = only_row(&with_rows(&format!(r#"{{"gatewayId":"id-web","useCount":{text}}}"#))).1;
        assert_eq!(row.use_count(), count, "{text}");
    }
}

#[test]
fn what_is_no_json_fails_the_report() {
    let good = with_rows(r#"{"gatewayId":"id-web"}"#);
    let nan = with_rows(r#"{"gatewayId":"id-web","lastUsed":NaN}"#);
    let bom = format!("\u{feff}{good}");
    let cut = &good[..good.len() - 2];
    let trailing = format!("{good} x");
    for text in ["", "  ", "<html>", "{", &nan, &bom, cut, &trailing] {
        assert_eq!(<&str>::from(read(text).unwrap_err()), "NotJson", "{text}");
    }
    let not_utf8 = parse(b"{\"a\":\"\xff\"}", &timing(), &fleet());
    assert_eq!(not_utf8, Err(ReportError::NotJson { at: 0 }));
}

#[test]
fn another_shape_fails_the_report() {
    let good = body(&json!([{"id": "w", "observedAt": NOW, "servers": []}]));
    assert!(read(&good.to_string()).is_ok());
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let faults = [
        good.to_string().replace("[]", &deep),
        json!([]).to_string(),
        json!(null).to_string(),
        body(&json!(null)).to_string(),
        body(&json!({})).to_string(),
        body(&json!([null])).to_string(),
        body(&json!([[]])).to_string(),
        body(&json!([{"observedAt": NOW}])).to_string(),
        body(&json!([{"id": 7, "observedAt": NOW}])).to_string(),
        body(&json!([{"id": "", "observedAt": NOW}])).to_string(),
        body(&json!([{"id": "w"}])).to_string(),
        body(&json!([{"id": "w", "observedAt": "now"}])).to_string(),
        body(&json!([{"id": "w", "observedAt": NOW, "servers": 1}])).to_string(),
        body(&json!([{"id": "w", "observedAt": NOW, "servers": [7]}])).to_string(),
        good.to_string().replace("\"generatedAt\"", "\"generated\""),
        good.to_string().replace("\"generatedAt\":1763800100.5", "\"generatedAt\":1e999"),
        good.to_string().replace("\"workers\"", "\"expectedWorkers\":-1,\"workers\""),
        good.to_string().replace("\"workers\"", "\"workers\":[],\"workers\""),
        good.to_string().replace("\"kind\"", "\"kind\":\"x\",\"kind\""),
    ];
    for text in faults {
        let reason = <&str>::from(read(&text).unwrap_err());
        assert!(reason == "Shape", "{reason}: {}", &text[..text.len().min(200)]);
    }
}

#[test]
fn a_missing_list_of_rows_is_an_empty_one() {
    for entry in [json!({"id": "w", "observedAt": NOW}), json!({"id": "w", "observedAt": NOW, "servers": null})] {
        let parsed = read(&body(&json!([entry])).to_string()).unwrap();
        assert!(parsed.report.complete && parsed.report.processes[0].rows.is_empty());
    }
}

#[test]
fn an_unknown_version_or_kind_fails_the_report() {
    let good = body(&json!([]));
    for (field, value) in
        [("apiVersion", json!("usage.mcpgateway.io/v2")), ("kind", json!("Usage")), ("kind", json!(1))]
    {
        let mut other = good.clone();
        other[field] = value;
        assert_eq!(read(&other.to_string()), Err(ReportError::UnknownVersion));
        // Also when the shape is wrong too, and the version comes after that.
        other["workers"] = json!("elsewhere");
        other["generatedAt"] = json!("2025-11-22T08:28:20Z");
        assert_eq!(read(&other.to_string()), Err(ReportError::UnknownVersion));
    }
    assert_eq!(read("{}"), Err(ReportError::UnknownVersion));
}

#[test]
fn one_id_twice_fails_the_report() {
    let entry = json!({"id": "w", "observedAt": NOW, "servers": []});
    assert_eq!(read(&body(&json!([entry, entry])).to_string()), Err(ReportError::DuplicateWorkerId));
}

#[test]
fn times_in_milliseconds_fail_the_report() {
    let row = with_rows(r#"{"gatewayId":"id-web","lastUsed":1763800090125}"#);
    let unknown = with_rows(r#"{"gatewayId":"nobody","lastUsed":1763800090125}"#);
    let observed = row.replace("1763800090125", "0").replace(r#""observedAt":1763800100.5"#, r#""observedAt":1.8e12"#);
    let generated =
        row.replace("1763800090125", "0").replace(r#""generatedAt":1763800100.5"#, r#""generatedAt":1.8e12"#);
    for text in [row, unknown, observed, generated] {
        assert_eq!(read(&text), Err(ReportError::TimesInMilliseconds), "{text}");
    }
    assert!(read(&with_rows(r#"{"gatewayId":"id-web","lastUsed":1e11}"#)).is_ok());
}

#[test]
fn a_use_shortly_after_the_observation_is_taken_as_then_and_a_later_one_is_unknown() {
    for (ahead, used) in [(0.5, Some(NOW)), (5.0, Some(NOW)), (5.5, None), (3600.0, None), (1e10, None)] {
        let row = only_row(&with_rows(&format!(r#"{{"gatewayId":"id-web","lastUsed":{}}}"#, NOW + ahead))).1;
        assert_eq!(seconds(row.last_used()), used, "{ahead}");
    }
}

#[test]
fn an_observation_after_the_answer_is_taken_as_then() {
    let servers = json!([{"gatewayId": "id-web", "lastUsed": NOW + 2.0}]);
    let text = body(&json!([{"id": "w", "observedAt": 9e10, "servers": servers}])).to_string();
    let parsed = read(&text).unwrap();
    assert_eq!(parsed.report.processes[0].observed_at.seconds(), NOW);
    assert_eq!(seconds(parsed.report.processes[0].rows[0].last_used()), Some(NOW));
}

#[test]
fn fewer_entries_than_expected_make_it_partial() {
    let entry = json!({"id": "w", "observedAt": NOW, "servers": [{"gatewayId": "id-web"}]});
    for (expected, complete) in [(json!(0), true), (json!(1), true), (json!(2), false), (json!(null), true)] {
        let mut text = body(&json!([entry]));
        text["expectedWorkers"] = expected;
        let parsed = read(&text.to_string()).unwrap();
        assert_eq!(parsed.report.complete, complete, "{text}");
        assert_eq!(parsed.report.processes[0].rows.len(), 1, "rows of a partial report still count");
    }
}

#[test]
fn an_entry_older_than_two_intervals_makes_it_partial() {
    for (age, complete) in [(0.0, true), (120.0, true), (120.5, false)] {
        let text = body(&json!([{"id": "w", "observedAt": NOW - age, "servers": []}])).to_string();
        assert_eq!(read(&text).unwrap().report.complete, complete, "{age}");
        let saved = parse(text.as_bytes(), &Timing::saved(), &fleet()).unwrap();
        assert!(saved.report.complete, "a saved report is never too old");
    }
}

fn at_skew(skew: f64, offset: f64) -> Parsed {
    let rows = with_rows(&format!(
        r#"{{"gatewayId":"id-web","lastUsed":{}}},{{"name":"pay/ledger","lastUsed":0,"active":1}}"#,
        NOW - 10.0
    ));
    let timing = Timing { receipt: UnixTime::from_seconds(NOW + skew), offset, ..timing() };
    parse(rows.as_bytes(), &timing, &fleet()).unwrap()
}

#[test]
fn clocks_are_corrected_only_beyond_five_seconds() {
    for (skew, offset) in [(0.0, 0.0), (5.0, 0.0), (-5.0, 0.0), (5.5, 5.5), (3600.0, 3600.0), (-3600.0, -3600.0)] {
        let Parsed { report, generated_at, .. } = at_skew(skew, 0.0);
        assert_eq!(report.offset, offset);
        assert_eq!(generated_at.seconds(), NOW, "by the endpoint's clock");
        assert_eq!(report.processes[0].observed_at.seconds(), NOW + offset);
        assert_eq!(seconds(report.processes[0].rows[0].last_used()), Some(NOW - 10.0 + offset));
        assert!(report.complete, "the age of an entry is judged by one clock, the endpoint's");
    }
}

#[test]
fn an_idle_servers_time_stands_still_while_the_skew_wavers() {
    assert_eq!(at_skew(3600.2, 3600.0).report.offset, 3600.0);
    assert_eq!(at_skew(3596.0, 3600.0).report.offset, 3600.0);
    assert_eq!(at_skew(3606.0, 3600.0).report.offset, 3606.0, "off by more than five seconds");
    assert_eq!(at_skew(0.3, 3600.0).report.offset, 0.0, "the clock was corrected");
    assert_eq!(at_skew(-0.3, 0.0).report.offset, 0.0);
}

#[test]
fn never_used_stays_never_used_whatever_the_clocks_say() {
    let parsed = at_skew(3600.0, 0.0);
    assert_eq!(seconds(parsed.report.processes[0].rows[1].last_used()), Some(0.0));
}

#[test]
fn a_saved_report_keeps_its_times() {
    let text = with_rows(&format!(r#"{{"gatewayId":"id-web","lastUsed":{}}}"#, NOW - 10.0));
    let parsed = parse(text.as_bytes(), &Timing::saved(), &fleet()).unwrap();
    assert_eq!(seconds(parsed.report.processes[0].rows[0].last_used()), Some(NOW - 10.0));
}

#[test]
fn rows_are_resolved_by_id_then_name_then_url() {
    let (web, ledger) = ("https://web.example.com/mcp", "https://ledger.example.com/mcp");
    let cases = [
        (r#""gatewayId":"id-web","url":"https://web.example.com/mcp?token=planted""#, Some(web)),
        (r#""gatewayId":"id-again""#, Some(web)),
        (r#""gatewayId":"id-web","name":"pay/ledger","url":"https://web.example.com/mcp?x""#, Some(ledger)),
        (r#""gatewayId":"id-web","name":"pay/ledger","url":"https://ledger.example.com/mcp""#, Some(ledger)),
        (r#""name":"pay/ledger","url":"https://web.example.com/mcp""#, Some(web)),
        (r#""gatewayId":"nobody","name":"pay/ledger""#, Some(ledger)),
        (r#""gatewayId":"nobody","url":"https://ledger.example.com/mcp""#, Some(ledger)),
        (r#""url":"https:\/\/ledger.example.com\/mcp""#, Some(ledger)),
        (r#""url":"https://ledger.example.com/mcp/""#, None),
        (r#""url":"https://ledger.example.com/mcp?token=planted""#, None),
        (r#""gatewayId":"nobody""#, None),
        (r#""gatewayId":"id-off","url":"https://off.example.com/mcp""#, None),
        (r#""gatewayId":"id-off","url":"https://web.example.com/mcp""#, Some(web)),
        (r#""name":"pay/off""#, None),
        (r#""name":"ledger""#, None),
        (r#""active":1"#, None),
    ];
    for (fields, server) in cases {
        let parsed = read(&with_rows(&format!("{{{fields}}}"))).unwrap();
        let found = parsed.report.processes[0].rows().next().map(|(found, _)| found.expose());
        assert_eq!(found, server, "{fields}");
        assert_eq!(parsed.skipped.get(&BadRow::UnknownServer), server.is_none().then_some(&1), "{fields}");
        assert!(!format!("{parsed:?}").contains("planted"));
    }
}

#[test]
fn an_object_with_the_id_of_a_victim_and_another_url_takes_none_of_its_use() {
    let registry = registry(&[
        ("attacker", "thief", json!({"url": "https://thief.example.com/mcp?x=planted", "gatewayId": "id-victim"})),
        ("shop", "victim", json!({"url": "https://victim.example.com/mcp"})),
        ("shop", "off", json!({"url": "https://off.example.com/mcp", "enabled": false})),
        ("shop", "own", json!({"url": "https://own.example.com/mcp", "gatewayId": "id-own"})),
    ]);
    let (thief, victim, own) = ("thief.example.com", "victim.example.com", "own.example.com");
    let id = |value: &str, named: &str, counted: &str| conflict("gatewayId", value, named, counted);
    let name = |named: &str, counted: &str| conflict("name", "shop/own", named, counted);
    let stolen = || id("id-victim", "thief.example.com/mcp?…", victim);
    // The fields, the server that the row counts for, the conflicts.
    let cases = [
        (r#""gatewayId":"id-victim","url":"https://victim.example.com/mcp""#, victim, vec![stolen()]),
        (r#""gatewayId":"id-victim","name":"shop/victim""#, victim, vec![stolen()]),
        (
            r#""gatewayId":"id-victim","name":"shop/victim","url":"https://victim.example.com/mcp?k=planted""#,
            victim,
            vec![stolen()],
        ),
        (
            r#""gatewayId":"id-victim","name":"shop/own","url":"https://victim.example.com/mcp""#,
            victim,
            vec![stolen(), name(own, victim)],
        ),
        (
            r#""gatewayId":"id-own","name":"shop/own","url":"https://victim.example.com/mcp""#,
            victim,
            vec![id("id-own", own, victim), name(own, victim)],
        ),
        (r#""name":"shop/own","url":"https://victim.example.com/mcp""#, victim, vec![name(own, victim)]),
        (
            r#""gatewayId":"nobody","name":"shop/own","url":"https://victim.example.com/mcp""#,
            victim,
            vec![name(own, victim)],
        ),
        (r#""gatewayId":"id-own","name":"shop/own","url":"https://own.example.com/mcp""#, own, vec![]),
        (r#""gatewayId":"id-own","url":"https://own.example.com/mcp?k=planted""#, own, vec![]),
        // Neither of these names two registered servers.
        (r#""gatewayId":"id-own","name":"shop/off","url":"https://off.example.com/mcp""#, own, vec![]),
        (r#""gatewayId":"id-victim","url":"https://elsewhere.example.com/mcp""#, thief, vec![]),
    ];
    for (fields, server, conflicts) in cases {
        let row = format!(r#"{{{fields},"active":1}}"#);
        let parsed = parse(with_rows(&format!("{row},{row}")).as_bytes(), &timing(), &registry).unwrap();
        let servers: Vec<_> = parsed.report.processes[0].rows().map(|(server, _)| server.to_string()).collect();
        assert!(servers.iter().all(|found| found.contains(&format!("//{server}/"))), "{fields}: {servers:?}");
        let counts: u64 = parsed.identity_conflicts.counts().map(|(_, count)| count).sum();
        assert_eq!(counts, 2 * conflicts.len() as u64, "{fields}");
        let shown: Vec<_> = parsed.identity_conflicts.into_list().iter().map(ToString::to_string).collect();
        assert_eq!(shown, conflicts, "{fields}");
        assert!(!format!("{shown:?}").contains("planted"));
    }
}

fn conflict(field: &str, value: &str, named: &str, counted: &str) -> String {
    let named = if named.contains('/') { named.to_owned() } else { format!("{named}/mcp") };
    format!("{field} {value} is registered for https://{named}, but workers report it for https://{counted}/mcp")
}

#[test]
fn twenty_conflicts_are_named_and_all_are_counted() {
    let ids = |n: usize| json!({"url": format!("https://h{n}.example.com/mcp"), "gatewayId": format!("id{n:02}")});
    let names: Vec<String> = (0..50).map(|n| format!("o{n}")).collect();
    let objects: Vec<_> = names.iter().enumerate().map(|(n, name)| ("n", &**name, ids(n))).collect();
    let rows: Vec<String> =
        (0..50).rev().map(|n| format!(r#"{{"gatewayId":"id{n:02}","url":"https://h0.example.com/mcp"}}"#)).collect();
    let parsed = parse(with_rows(&rows.join(",")).as_bytes(), &timing(), &registry(&objects)).unwrap();
    assert_eq!(parsed.identity_conflicts.counts().collect::<Vec<_>>(), [(IdentityField::GatewayId, 49)]);
    let list = parsed.identity_conflicts.into_list();
    assert_eq!((list.len(), &*list[0].value, &*list[19].value), (20, "id01", "id20"));
}

#[test]
fn escapes_in_ids_names_and_urls_are_decoded() {
    // Go's encoding/json writes `&`, `<` and `>` as escapes.
    let registry = registry(&[
        ("n", "amp", json!({"url": "https://amp.example.com/mcp?a=1&b=2", "gatewayId": "id-amp"})),
        ("n", "other", json!({"url": "https://other.example.com/mcp"})),
    ]);
    let (amp, other) = ("https://amp.example.com/mcp?a=1&b=2", "https://other.example.com/mcp");
    let cases = [
        (r#""url":"https://amp.example.com/mcp?a=1\u0026b=2""#, Some(amp)),
        (r#""url":"https:\/\/amp.example.com\/mcp?a=1&b=2""#, Some(amp)),
        (r#""gatewayId":"id\u002damp","url":"https://other.example.com/mcp""#, Some(other)),
        (r#""gatewayId":"id\u002damp","url":"https://unknown.example.com/mcp""#, Some(amp)),
        (r#""gatewayId":"\u0069d-amp""#, Some(amp)),
        (r#""name":"n\/other""#, Some(other)),
        (r#""\u0075rl":"https://other.example.com/mcp""#, Some(other)),
        (r#""url":"https://amp.example.com/mcp?a=1\\u0026b=2""#, None),
        (r#""gatewayId":"id-amp\ud83d\ude00""#, None),
    ];
    for (fields, server) in cases {
        let parsed = parse(with_rows(&format!("{{{fields}}}")).as_bytes(), &timing(), &registry).unwrap();
        let found = parsed.report.processes[0].rows().next().map(|(found, _)| found.expose().to_owned());
        assert_eq!(found.as_deref(), server, "{fields}");
    }
}

#[test]
fn a_repeated_field_costs_only_its_row_unless_its_last_time_is_in_milliseconds() {
    let repeated = |rows: &str| read(&with_rows(&format!(r#"{{"gatewayId":"id-web",{rows}}}"#)));
    for rows in [r#""idle":null,"idle":1"#, r#""url":"a","\u0075rl":"b""#, r#""lastUsed":1763800000000,"lastUsed":1"#] {
        let parsed = repeated(rows).unwrap();
        assert_eq!(parsed.skipped, Skipped::from([(BadRow::RepeatedField, 1)]), "{rows}");
    }
    assert_eq!(repeated(r#""lastUsed":1,"lastUsed":1763800000000"#), Err(ReportError::TimesInMilliseconds));
    let infinite = repeated(r#""lastUsed":1,"lastUsed":1e999"#).unwrap();
    assert_eq!(infinite.skipped, Skipped::from([(BadRow::NotFinite, 1)]));
    assert!(repeated(r#""x":1,"x":2,"\ud800":3"#).unwrap().skipped.is_empty(), "unknown fields are ignored");
}

#[test]
fn urls_that_differ_from_the_registered_ones_are_collected_when_asked_for() {
    let row = |url: &str| format!(r#"{{"gatewayId":"id-web","url":"{url}"}}"#);
    for (url, reported) in [
        ("https://web.example.com/mcp?token=planted", None),
        ("https://web.example.com/mcp/?token=planted", Some(ServerUrl::parse("https://web.example.com/mcp/"))),
        ("https://u:planted@web.example.com/mcp", Some(Err(UrlError::Credential))),
        ("planted", Some(Err(UrlError::Invalid))),
    ] {
        let body = with_rows(&format!("{},{}", row(url), row(url)));
        let fleet = fleet();
        let mut reader = Reader::new(&fleet).with_different_urls();
        reader.push(body.as_bytes()).unwrap();
        let different = reader.finish(&timing()).unwrap().different_urls;
        let found: Vec<_> = different.iter().map(|different| different.reported.clone()).collect();
        assert_eq!(found, reported.into_iter().collect::<Vec<_>>(), "{url}");
        assert!(!format!("{different:?}").contains("planted"));
        assert!(read(&body).unwrap().different_urls.is_empty());
    }
}

#[test]
fn no_message_repeats_the_body() {
    let planted = [
        r#"{"apiVersion":"planted"}"#.to_owned(),
        r#"{"planted":planted"#.to_owned(),
        body(&json!("planted")).to_string(),
        body(&json!([{"id": "planted planted", "observedAt": "planted"}])).to_string(),
        body(&json!([{"id": "w", "observedAt": 1, "servers": ["planted"]}])).to_string(),
    ];
    for text in planted {
        let error = read(&text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("planted"), "{error}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes, &timing(), &fleet());
    }

    #[test]
    fn mutated_reports_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
    ) {
        let row = r#"{"gatewayId":"id-web","url":"https://web.example.com/mcp","lastUsed":1763800090.125,"active":2}"#;
        let mut bytes = with_rows(&format!("{row},{row}")).into_bytes();
        for (place, byte, kind) in edits {
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => bytes[at] = b"-e9[{\"\\}],:0"[usize::from(byte) % 12],
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok(parsed) = parse(&bytes, &timing(), &fleet()) {
            for process in &parsed.report.processes {
                let latest = parsed.generated_at.seconds() + parsed.report.offset + 1e-3;
                prop_assert!(process.observed_at.seconds() <= latest);
                for row in &process.rows {
                    let used = row.last_used();
                    prop_assert!(used.is_none_or(|used| used <= process.observed_at || used.seconds() <= 0.0));
                }
            }
        }
    }

    #[test]
    fn numbers_are_taken_as_they_are_or_skipped(number in any::<f64>(), count in any::<i64>()) {
        prop_assume!(number.is_finite() && number <= 1e11);
        let text = with_rows(&format!(r#"{{"gatewayId":"id-web","lastUsed":{number:e},"useCount":{count}}}"#));
        let parsed = read(&text).unwrap();
        match parsed.report.processes[0].rows.first() {
            Some(row) => {
                prop_assert_eq!(i64::try_from(row.use_count()).unwrap(), count);
                prop_assert_eq!(seconds(row.last_used()), Some(number.min(NOW)));
            }
            None => prop_assert!(!(0..=1 << 53).contains(&count)),
        }
    }
}
