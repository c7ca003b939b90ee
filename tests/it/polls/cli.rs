//! `poll due` and `poll completed`, as a shell script uses them.

use std::process::Output;

use mcpgateway_operator::clock;
use redis::AsyncCommands;
use serde_json::Value;

use crate::support::cluster::said;
use crate::support::operator::binary;
use crate::support::redis::RedisServer;

const URL: &str = "http://test:8080";
const COLD: &str = "mcpgateway:server_classification:cold";
const HOT: &str = "mcpgateway:server_classification:hot";

fn poll(what: &str, redis: Option<&RedisServer>, more: &[&str]) -> Output {
    let mut command = binary();
    command.args(["poll", what]);
    if let Some(redis) = redis {
        command.args(["--redis-url", &redis.url()]);
    }
    command.args(more).output().unwrap()
}

fn asked<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["--url", URL, "--type", "tool_discovery", "--gateway-id", "gw-123"][..], more].concat()
}

/// Exit code and answer of `due`.
fn due(redis: &RedisServer, more: &[&str]) -> (i32, Value) {
    let output = poll("due", Some(redis), &asked(&[&["-o", "json"][..], more].concat()));
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test]
async fn the_exit_code_says_whether_to_poll() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    assert_eq!(due(&server, &[]).0, 0);
    let (): () = redis.sadd(COLD, URL).await.unwrap();
    let (code, answer) = due(&server, &[]);
    assert_eq!((code, answer["reason"].as_str(), answer["tier"].as_str()), (0, Some("NeverPolled"), Some("cold")));

    let stored = poll("completed", Some(&server), &asked(&["-o", "json"]));
    assert!(stored.status.success(), "{}", said(&stored));
    let stored: Value = serde_json::from_slice(&stored.stdout).unwrap();
    let expected = serde_json::json!({"stored": true, "tier": "cold", "expirySeconds": 1800, "ttlSeconds": null});
    assert_eq!(stored, expected);
    let (code, answer) = due(&server, &[]);
    assert_eq!((code, answer["due"].as_bool(), answer["reason"].as_str()), (1, Some(false), Some("NotYetDue")));

    let table = poll("due", Some(&server), &asked(&[]));
    let text = String::from_utf8(table.stdout).unwrap();
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["DUE", "REASON", "TIER", "INTERVAL", "LAST-POLL", "NEXT-DUE"]);
    assert_eq!((words[1].len(), &words[1][..4]), (6, &["no", "NotYetDue", "cold", "900s"][..]), "{text}");
    assert_eq!((table.status.code(), table.stderr.len()), (Some(1), 0));

    let (): () = redis.hset("mcpgateway:server_classification:intervals", URL, "3600,9999999999").await.unwrap();
    let (code, answer) = due(&server, &[]);
    assert_eq!((code, answer["reason"].as_str()), (0, Some("RefreshRequested")));
    assert_eq!((answer["intervalSeconds"].as_u64(), answer["planned"].as_bool()), (Some(3_600), Some(true)));
}

#[tokio::test]
async fn a_valid_list_is_not_polled_until_a_change_is_signalled() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let (): () = redis.sadd(HOT, URL).await.unwrap();
    let completed = |more: &[&str]| {
        let output = poll("completed", Some(&server), &asked(&[&["-o", "json", "--ttl-seconds"][..], more].concat()));
        assert!(output.status.success(), "{}", said(&output));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let kept = |answer: Value| (answer["expirySeconds"].as_u64(), answer["ttlSeconds"].as_u64());
    for none in ["0", "-5", "0.5"] {
        assert_eq!(kept(completed(&[none])), (Some(600), None), "{none}");
        assert_eq!(due(&server, &[]).1["reason"], "NotYetDue", "{none}");
    }
    assert_eq!(kept(completed(&["1e300"])), (Some(28_800), Some(14_400)));
    let longer = completed(&["86400", "--longest-refresh-interval", "24h"]);
    assert_eq!(kept(longer), (Some(172_800), Some(86_400)));
    let (code, answer) = due(&server, &["--longest-refresh-interval", "24h"]);
    assert_eq!((code, answer["reason"].as_str()), (1, Some("ListStillValid")));
    assert_eq!((answer["intervalSeconds"].as_u64(), answer["planned"].as_bool()), (Some(86_400), Some(false)));
    assert_eq!(due(&server, &[]).1["intervalSeconds"], 14_400, "the caller's longest interval counts, too");
    assert_eq!(due(&server, &["--longest-refresh-interval", "60s"]).1["reason"], "NotYetDue");
    let table = poll("completed", Some(&server), &asked(&["--ttl-seconds", "3600"]));
    let words: Vec<String> = String::from_utf8(table.stdout).unwrap().split_whitespace().map(str::to_owned).collect();
    assert_eq!(words, ["STORED", "TIER", "EXPIRES-IN", "VALID-FOR", "yes", "hot", "7200s", "3600s"]);

    let server_flags = ["--url", URL, "--gateway-id", "gw-123"];
    let changed = poll("changed", Some(&server), &[&server_flags[..], &["-o", "json"]].concat());
    let answer: Value = serde_json::from_slice(&changed.stdout).unwrap();
    assert_eq!((changed.status.code(), answer), (Some(0), serde_json::json!({"stored": true})));
    assert_eq!(due(&server, &[]).1["reason"], "NeverPolled");
    let table = poll("changed", None, &server_flags);
    assert_eq!((table.status.code(), table.stdout.as_slice()), (Some(0), &b"STORED\nno\n"[..]));
    assert!(said(&table).contains("nothing is stored"), "{}", said(&table));
}

#[test]
fn a_ttl_is_a_number_and_only_for_a_completed_tool_discovery() {
    let health = ["--url", URL, "--type", "health", "--ttl-seconds", "60"];
    let discovery = |value| ["--url", URL, "--type", "tool_discovery", "--ttl-seconds", value];
    for (what, flags, named) in [
        ("completed", &health[..], "tool_discovery"),
        ("completed", &discovery("nan"), "a number of seconds"),
        ("completed", &discovery("60s"), "a number of seconds"),
        ("completed", &discovery(""), "a number of seconds"),
        ("due", &discovery("60"), "--ttl-seconds"),
        ("changed", &health[..4], "--type"),
        ("changed", &[], "--url"),
    ] {
        let output = poll(what, None, flags);
        let text = said(&output);
        assert_eq!((output.status.code(), text.trim_end().lines().count()), (Some(2), 1), "{what} {flags:?}: {text}");
        assert!(text.contains(named), "{what} {flags:?}: {text}");
    }
}

#[tokio::test]
async fn the_flags_set_the_intervals() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let key = "mcpgateway:server_poll_state:498961e7135c32c183676508be3018a9:last_tool_discovery";
    let ago = |seconds: f64| (clock::now().seconds() - seconds).to_string();
    let (): () = redis.sadd(HOT, URL).await.unwrap();
    let (): () = redis.set(key, ago(100.0)).await.unwrap();
    assert_eq!(due(&server, &[]).0, 1, "the default is five minutes");
    assert_eq!(due(&server, &["--hot-poll-interval", "60s"]).0, 0);
    let (): () = redis.smove(HOT, COLD, URL).await.unwrap();
    assert_eq!(due(&server, &["--hot-poll-interval", "60s"]).0, 1, "three times as long");
    assert_eq!(due(&server, &["--hot-poll-interval", "60s", "--cold-poll-interval", "90s"]).0, 0);
}

#[test]
fn after_a_failure_of_redis_a_poll_is_due_with_a_warning_and_a_completed_one_fails() {
    let mut server = RedisServer::start(&[]);
    server.kill();
    let output = poll("due", Some(&server), &asked(&["-o", "json"]));
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.starts_with("warning: due") && warning.lines().count() == 1, "{warning}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((answer["due"].as_bool(), answer["reason"].as_str()), (Some(true), Some("Error")));
    let output = poll("completed", Some(&server), &asked(&[]));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", said(&output));
    assert_eq!(said(&output).trim_end().lines().count(), 1);
    let output = poll("changed", Some(&server), &["--url", URL]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", said(&output));
}

#[test]
fn without_redis_every_poll_is_due_with_a_warning() {
    let output = poll("due", None, &asked(&[]));
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("NoStore") && said(&output).contains("--redis-url"), "{}", said(&output));
    let output = poll("completed", None, &asked(&[]));
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("nothing is stored"), "{}", said(&output));
}

#[test]
fn bad_usage_exits_with_two_and_one_line_without_the_url() {
    let url = ["--url", URL, "--type", "health"];
    let cases: &[(&[&str], &str)] = &[
        (&["--url", "https://user:planted@h/mcp", "--type", "health"], "--url"),
        (&["--url", "https://h/mcp?token=planted", "--type", "health"], "--url"),
        (&["--url", "planted", "--type", "health"], "--url"),
        (&["--url", "", "--type", "health"], "--url"),
        (&["--url", URL], "--type"),
        (&["--type", "health"], "--url"),
        (&["--url", URL, "--type", "tools"], "--type"),
        (&["--url", URL, "--type", "Health"], "--type"),
        (&[&url[..], &["--gateway-id", "a/b"]].concat(), "--gateway-id"),
        (&[&url[..], &["--hot-poll-interval", "60"]].concat(), "did you mean 60s?"),
        (&[&url[..], &["--hot-poll-interval", "0s"]].concat(), "--hot-poll-interval"),
        (&[&url[..], &["--cold-poll-interval", "1s"]].concat(), "--cold-poll-interval"),
        (&[&url[..], &["--redis-url", "http://:planted@h"]].concat(), "--redis-url"),
        (&[&url[..], &["--redis-url", "redis://h", "--redis-key-prefix", "a b"]].concat(), "--redis-key-prefix"),
        (&[&url[..], &["--redis-username", "u"]].concat(), "--redis-username"),
        (&[&url[..], &["-o", "xml"]].concat(), "table or json"),
    ];
    for (flags, named) in cases {
        for what in ["due", "completed"] {
            let output = poll(what, None, flags);
            let text = said(&output);
            assert_eq!(output.status.code(), Some(2), "{what} {flags:?}: {text}");
            assert_eq!(text.trim_end().lines().count(), 1, "{what} {flags:?}: {text}");
            assert!(text.contains(named) && !text.contains("planted"), "{what} {flags:?}: {text}");
        }
    }
}
