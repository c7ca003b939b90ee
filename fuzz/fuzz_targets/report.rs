//! The reader of usage reports on arbitrary bytes: it never panics, never holds more than a unit, and says the same however a body
//! is cut.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use libfuzzer_sys::fuzz_target;
use mcpgateway_operator::model::UnixTime;
use mcpgateway_operator::registry::{GatewayRecord, RegistrySnapshot};
use mcpgateway_operator::workers::report::{Reader, Timing, parse};
use serde_json::json;

static REGISTRY: LazyLock<RegistrySnapshot> = LazyLock::new(|| {
    let record = |name: &str, spec: serde_json::Value| {
        let metadata =
            ObjectMeta { namespace: Some("n".into()), name: Some(name.into()), ..ObjectMeta::default() };
        let record = GatewayRecord::from_object(&metadata, &json!({ "spec": spec })).expect("a record");
        (record.name.clone(), Arc::new(record))
    };
    let records = BTreeMap::from([
        record("web", json!({"url": "https://web.example.com/mcp", "gatewayId": "id-web"})),
        record("ledger", json!({"url": "https://ledger.example.com/mcp"})),
    ]);
    RegistrySnapshot::build(&records, 1)
});

fuzz_target!(|input: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((cut, body)) = input.split_first() else { return };
    let timing = Timing {
        receipt: UnixTime::from_seconds(1_763_800_100.5),
        offset: 0.0,
        interval: Duration::from_secs(60),
    };
    let whole = parse(body, &timing, &REGISTRY);
    let mut reader = Reader::new(&REGISTRY);
    let pieces = body
        .chunks(usize::from(*cut).max(1))
        .try_for_each(|piece| reader.push(piece))
        .and_then(|()| reader.finish(&timing));
    // Of several faults the one that is found first is named, and that may depend on the cut.
    assert_eq!(whole.clone().ok(), pieces.ok());
    if let Ok(parsed) = whole {
        for process in &parsed.report.processes {
            for (_, row) in process.rows() {
                assert!(row.last_used().is_none_or(|used| used <= process.observed_at || used.seconds() <= 0.0));
            }
        }
        for server in parsed.unregistered.into_list() {
            let url = server.expose();
            let authority = url.split('/').nth(2).unwrap_or_default();
            assert!(!url.contains(['?', '#']) && !authority.contains('@'));
        }
    }
});
