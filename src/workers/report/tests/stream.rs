//! Reports as they arrive: cut anywhere, with units that are too long, and with too many rows.

use super::*;

/// Reads a body in pieces of these sizes, in turn.
fn in_pieces(body: &[u8], sizes: &[usize]) -> Result<Parsed, ReportError> {
    let fleet = fleet();
    let mut reader = Reader::new(&fleet);
    let (mut rest, mut sizes) = (body, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        reader.push(piece)?;
        rest = left;
    }
    reader.finish(&timing())
}

fn sample(rows: usize) -> String {
    let row = |n: usize| {
        let time = NOW - f64::from(u32::try_from(n).unwrap());
        match n % 5 {
            0 => format!(r#"{{"gatewayId":"id-web","lastUsed":{time},"active":{n},"useCount":1}}"#),
            1 => {
                format!(r#"{{ "url" : "https:\/\/ledger.example.com\/mcp", "note": {{"a":[1,"ü\"]"]}}, "idle":{n} }}"#)
            }
            2 => r#"{"url":"https://nobody.example.com/mcp?team=planted","active":1}"#.to_owned(),
            3 => r#"{"name":"pay/ledger","lastUsed":1e999}"#.to_owned(),
            _ => format!("\n\t{{\"\\u006eame\":\"pay/ledger\",\"useCount\":{n}.0}}"),
        }
    };
    let rows: Vec<String> = (0..rows).map(row).collect();
    let header = format!(r#"{{"more":{{"ä":[null,-1.5e-3,true]}},"apiVersion":"{API_VERSION}","workers":["#);
    let entry = |id: &str| format!(r#"{{"servers":[{}],"id":"{id}","observedAt":{NOW}}}"#, rows.join(","));
    format!(r#"{header}{},{}],"generatedAt":{NOW},"kind":"{KIND}"}}  "#, entry("a"), entry("b"))
}

#[test]
fn order_of_fields_blanks_and_escapes_do_not_matter() {
    let parsed = read(&sample(10)).unwrap();
    assert!(parsed.report.complete);
    let rows: Vec<_> = parsed.report.processes[1]
        .rows()
        .map(|(server, row)| (server.expose().len(), row.active(), row.idle(), row.use_count()))
        .collect();
    let (web, ledger) = ("https://web.example.com/mcp".len(), "https://ledger.example.com/mcp".len());
    let expected =
        [(web, 0, 0, 1), (ledger, 0, 1, 0), (ledger, 0, 0, 4), (web, 5, 0, 1), (ledger, 0, 6, 0), (ledger, 0, 0, 9)];
    assert_eq!(rows, expected);
    assert_eq!(parsed.skipped, Skipped::from([(BadRow::NotFinite, 4), (BadRow::UnknownServer, 4)]));
    let unregistered = parsed.unregistered.into_list();
    assert_eq!(unregistered.iter().map(ServerUrl::expose).collect::<Vec<_>>(), ["https://nobody.example.com/mcp"]);
}

#[test]
fn what_nobody_asked_for_may_be_of_any_length() {
    let long = "x".repeat(3 * reader::LONGEST_UNIT);
    let good = with_rows(r#"{"gatewayId":"id-web","active":1}"#);
    for text in [
        good.replacen('{', &format!(r#"{{"note":"{long}","list":[{}1],"#, "1,".repeat(100_000)), 1),
        good.replacen(r#""id""#, &format!(r#""note":"{long}","id""#), 1),
        good.replacen('{', &format!("{{{}", " ".repeat(100_000)), 1),
        format!("{good}{}", "\n".repeat(100_000)),
    ] {
        assert_eq!(in_pieces(text.as_bytes(), &[1000]), read(&good), "{}", &text[..40]);
        assert_eq!(read(&text), read(&good));
    }
}

#[test]
fn a_row_that_is_too_long_costs_only_itself() {
    let long = "x".repeat(5 * reader::LONGEST_UNIT);
    let (before, after) = (r#"{"gatewayId":"id-web","active":1}"#, r#"{"name":"pay/ledger","active":2}"#);
    for row in [
        format!(r#"{{"gatewayId":"id-web","url":"{long}"}}"#),
        format!(r#"{{"gatewayId":"id-web","useCount":1{}}}"#, "0".repeat(5 * reader::LONGEST_UNIT)),
        format!(r#"{{"gatewayId":"id-web",{}"active":1}}"#, r#""a":1,"#.repeat(reader::LONGEST_UNIT)),
    ] {
        for rows in
            [format!("{row},{before},{after}"), format!("{before},{row} , {after}"), format!("{before},{after},{row}")]
        {
            for sizes in [&[777][..], &[1 << 20], &[5, 100_000]] {
                let parsed = in_pieces(with_rows(&rows).as_bytes(), sizes).unwrap();
                assert_eq!(parsed.skipped, Skipped::from([(BadRow::TooLong, 1)]));
                assert_eq!(parsed.report.processes[0].rows.iter().map(Row::active).collect::<Vec<_>>(), [1, 2]);
            }
        }
    }
}

#[test]
fn a_field_of_the_report_that_is_too_long_fails_it() {
    let long = "x".repeat(2 * reader::LONGEST_UNIT);
    for text in [
        with_rows("").replace(r#""id":"w1""#, &format!(r#""id":"{long}""#)),
        with_rows("").replace(r#""observedAt""#, &format!(r#""{long}":1,"observedAt""#)),
        with_rows("").replace(r#""generatedAt""#, &format!(r#""expectedWorkers":"{long}","generatedAt""#)),
    ] {
        assert_eq!(<&str>::from(in_pieces(text.as_bytes(), &[4096]).unwrap_err()), "Shape");
    }
}

#[test]
fn no_more_is_held_than_is_kept() {
    // Six megabytes of rows for two servers.
    let fleet = fleet();
    let mut reader = Reader::new(&fleet);
    let (head, tail) = with_rows("?").split_once('?').map(|(head, tail)| (head.to_owned(), tail.to_owned())).unwrap();
    reader.push(head.as_bytes()).unwrap();
    let row = r#"{"gatewayId":"id-web","lastUsed":1763800000,"active":1,"useCount":1},{"name":"pay/ledger","idle":1}"#;
    for n in 0..60_000 {
        reader.push(if n == 0 { "" } else { "," }.as_bytes()).unwrap();
        reader.push(row.as_bytes()).unwrap();
        assert!(reader.unread.len() <= 2 * row.len());
    }
    reader.push(tail.as_bytes()).unwrap();
    let parsed = reader.finish(&timing()).unwrap();
    let rows = &parsed.report.processes[0].rows;
    assert!(rows.len() < 40_000, "{}", rows.len());
    let sum = |count: fn(&Row) -> u64| rows.iter().map(count).sum::<u64>();
    assert_eq!((sum(Row::active), sum(Row::idle), sum(Row::use_count)), (60_000, 60_000, 60_000));
}

#[test]
fn too_many_rows_or_workers_fail_the_report() {
    let entry = |n: usize| format!(r#"{{"id":"w{n}","observedAt":1}}"#);
    let workers = |count| {
        let entries: Vec<String> = (0..count).map(entry).collect();
        body(&json!([])).to_string().replace("\"workers\":[]", &format!("\"workers\":[{}]", entries.join(",")))
    };
    assert!(read(&workers(reader::MOST_WORKERS)).is_ok());
    assert_eq!(read(&workers(reader::MOST_WORKERS + 1)), Err(ReportError::TooManyWorkers));

    let rows = r#"{"gatewayId":"id-web"},"#.repeat(3000) + r#"{"gatewayId":"id-web"}"#;
    let entry = |n: usize| format!(r#"{{"id":"w{n}","observedAt":1,"servers":[{rows}]}}"#);
    let entries: Vec<String> = (0..100).map(entry).collect();
    let text = body(&json!([])).to_string().replace("\"workers\":[]", &format!("\"workers\":[{}]", entries.join(",")));
    assert_eq!(read(&text), Err(ReportError::TooManyRows));
}

proptest! {
    #[test]
    fn it_does_not_matter_where_a_report_is_cut(
        sizes in proptest::collection::vec(1_usize..200, 1..6),
        edit in any::<Option<(prop::sample::Index, u8)>>(),
    ) {
        let mut bytes = sample(6).into_bytes();
        if let Some((place, byte)) = edit {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        let whole = parse(&bytes, &timing(), &fleet());
        let pieces = in_pieces(&bytes, &sizes);
        // The position in the error depends on the pieces.
        let judged = |read: &Result<Parsed, ReportError>| read.clone().map_err(<&str>::from);
        prop_assert_eq!(judged(&whole), judged(&pieces));
    }
}
