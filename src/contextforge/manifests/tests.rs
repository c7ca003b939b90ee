use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn row(id: &str, name: &str, url: &str) -> Row {
    Row { id: id.into(), name: name.into(), url: url.into(), enabled: true, ..Row::default() }
}

fn documents(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

fn names(made: &Manifests) -> Vec<String> {
    documents(&made.yaml).iter().map(|document| document["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn manifests_are_sorted_by_name_and_say_what_contextforge_stores() {
    let mut off = row("1e5", "B on", "http://localhost:8000/mcp/");
    off.enabled = false;
    let made = manifests(&[off, row("0042", "a", "https://h/mcp?x=\"y\\z\"")], Some("gateways"));
    let text = "\
---
apiVersion: mcpgateway.io/v1alpha1
kind: McpGateway
metadata:
  name: \"a\"
  namespace: \"gateways\"
spec:
  url: \"https://h/mcp?x=\\\"y\\\\z\\\"\"
  gatewayId: \"0042\"
---
apiVersion: mcpgateway.io/v1alpha1
kind: McpGateway
metadata:
  name: \"b-on\"
  namespace: \"gateways\"
spec:
  url: \"http://localhost:8000/mcp/\"
  gatewayId: \"1e5\"
  enabled: false
";
    assert_eq!((made.yaml.as_str(), made.count), (text, 2));
    assert_eq!(documents(text)[0]["spec"]["url"], "https://h/mcp?x=\"y\\z\"");
    assert!(!manifests(&[row("a", "a", "http://h")], None).yaml.contains("namespace"));
    assert_eq!(manifests(&[], None), Manifests::default());
}

#[test]
fn of_one_name_the_oldest_keeps_it_plain() {
    let aged = |id: &str, name: &str, created: &str| Row { created: created.into(), ..row(id, name, "http://h") };
    let old = [aged("b", "Git Hub", "2026-01-02"), aged("c", "git-hub", "2026-01-03")];
    let before = names(&manifests(&old, None));
    assert_eq!(before[0], "git-hub");
    let all = [old[1].clone(), aged("d", "GIT_HUB", "2026-01-04"), old[0].clone()];
    let after = names(&manifests(&all, None));
    assert!(before.iter().all(|name| after.contains(name)), "{before:?} {after:?}");
    assert_eq!(after.len(), 3);
}

#[test]
fn what_the_crd_refuses_is_left_out_with_what_to_do_and_without_the_secret() {
    let long = format!("http://h/{}", "x".repeat(800));
    let rows = [
        row("a", "query", "https://u.example/mcp?api_key=planted"),
        row("b", "user", "https://me:planted@u.example/mcp"),
        row("c", "odd@", "https://u.example/a@b?token=planted@x"),
        row("d", "fragment", "https://u.example/#planted"),
        row("e", "long", &long),
        row("f", "none", "planted"),
        row("", "no id", "http://h"),
        row("g", "fine", "http://h"),
        Row { lifecycle: "deleting".into(), ..row("h", "going", "http://h") },
        row("i", "a\nb\u{1b}[2J", "ftp://planted@h"),
    ];
    let made = manifests(&rows, None);
    assert_eq!((made.count, made.left_out.len()), (1, 9));
    for line in &made.left_out {
        assert!(line.starts_with("gateway ") && line.contains(" is left out: "), "{line}");
        assert!(!line.contains("planted") && !line.chars().any(char::is_control), "{line}");
        assert!(line.chars().count() < 500, "{line}");
    }
    for (start, part) in [("query", "https://u.example/mcp?…"), ("user", "…@u.example"), ("long", "longer than 767")]
    {
        let line = made.left_out.iter().find(|line| line.contains(&format!("gateway {start} "))).unwrap();
        assert!(line.contains(part), "{line}");
    }
    assert!(!made.yaml.contains("planted"));
}

#[test]
fn an_at_sign_in_the_path_of_a_warning_is_part_of_the_path() {
    for (url, shown) in [
        ("http://h/users/@me/mcp", "http://h/users/@me/mcp"),
        ("https://h:8080/a@b?token=planted", "https://h:8080/a@b?…"),
        ("http://planted:planted@h/a@b", "http://…@h/a@b"),
        ("http://planted@planted@h/@", "http://…@h/@"),
        ("http://[::1]:80/@x", "http://[::1]:80/@x"),
        ("http://[::1]/@x", "http://[::1]/@x"),
        ("http://h/x#planted@y", "http://h/x?…"),
        ("http://h/x?planted@y", "http://h/x?…"),
        ("http://planted@h\\a@b", "http://…@h\\a@b"),
        ("http://h", "http://h"),
        // The / of a password was not escaped.
        ("http://user:planted/planted@h/", "its URL is not repeated here"),
        ("planted@h/x", "its URL is not repeated here"),
        ("averylongscheme://planted@h", "its URL is not repeated here"),
    ] {
        assert_eq!(redacted(url), shown);
    }
}

proptest! {
    #[test]
    fn names_are_labels_each_once_whatever_the_gateways_are_called(
        called in prop::collection::vec("\\PC{0,80}|[a-c]{1,2}|(x){60,70}|gateway-[0-9a-f]{8}", 0..40),
    ) {
        let rows: Vec<Row> =
            called.iter().enumerate().map(|(number, name)| row(&format!("{number:032x}"), name, "http://h")).collect();
        let made = manifests(&rows, None);
        let names = names(&made);
        prop_assert_eq!(names.len(), rows.len());
        prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), rows.len());
        for name in &names {
            let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            prop_assert!((1..=63).contains(&name.len()) && name.chars().all(inside), "{}", name);
            prop_assert!(!name.starts_with('-') && !name.ends_with('-'), "{}", name);
        }
        let mut reversed = rows;
        reversed.reverse();
        prop_assert_eq!(manifests(&reversed, None), made);
    }
}
