use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::api::v1alpha1::McpGatewaySpec;
use crate::api::v1alpha1::registration::RegistrationAuth;
use crate::contextforge::entry::Entry;
use crate::model::ObjectName;
use crate::registration::desired::{Credentials, DesiredGateway, Field, SecretText};

fn row(id: &str, name: &str, url: &str) -> Row {
    Row { id: id.into(), name: name.into(), url: url.into(), enabled: true, ..Row::default() }
}

const fn in_namespace() -> ManifestOptions<'static> {
    ManifestOptions { namespace: Some("gateways"), registration: false }
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
    let made = manifests(&[off, row("0042", "a", "https://h/mcp?x=\"y\\z\"")], in_namespace());
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
    assert!(!manifests(&[row("a", "a", "http://h")], ManifestOptions::default()).yaml.contains("namespace"));
    assert_eq!(manifests(&[], ManifestOptions::default()), Manifests::default());
}

#[test]
fn of_one_name_the_oldest_keeps_it_plain() {
    let aged = |id: &str, name: &str, created: &str| Row { created: created.into(), ..row(id, name, "http://h") };
    let old = [aged("b", "Git Hub", "2026-01-02"), aged("c", "git-hub", "2026-01-03")];
    let before = names(&manifests(&old, ManifestOptions::default()));
    assert_eq!(before[0], "git-hub");
    let all = [old[1].clone(), aged("d", "GIT_HUB", "2026-01-04"), old[0].clone()];
    let after = names(&manifests(&all, ManifestOptions::default()));
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
    let made = manifests(&rows, ManifestOptions::default());
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
        let made = manifests(&rows, ManifestOptions::default());
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
        prop_assert_eq!(manifests(&reversed, ManifestOptions::default()), made);
    }
}

fn registered(rows: &[Value]) -> (String, Vec<Value>) {
    let rows: Vec<Row> = rows.iter().map(|value| super::super::row(value).unwrap()).collect();
    let yaml = manifests(&rows, ManifestOptions { namespace: None, registration: true }).yaml;
    let parsed = documents(&yaml);
    (yaml, parsed)
}

/// A gateway of the list, with more or other fields.
fn gateway(more: &Value) -> Value {
    let mut gateway = json!({
        "id": "a1", "name": "Git Hub", "url": "https://h.example/mcp", "enabled": true, "transport": "STREAMABLEHTTP",
        "visibility": "public", "tags": [], "passthroughHeaders": [], "description": null,
    });
    gateway.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    gateway
}

/// What the operator makes of a manifest. The values of the Secret stand for those that `ContextForge` has.
fn desired(document: &Value, ca_certificate: &str) -> DesiredGateway {
    let spec: McpGatewaySpec = serde_json::from_value(document["spec"].clone()).unwrap();
    let registration = spec.registration.unwrap();
    let secret = || SecretText::new("planted".to_owned());
    let credentials = match registration.auth.clone().unwrap_or_default() {
        RegistrationAuth { bearer: Some(_), .. } => Credentials::Bearer(secret()),
        RegistrationAuth { basic: Some(_), .. } => Credentials::Basic { username: secret(), password: secret() },
        RegistrationAuth { headers: Some(headers), .. } => {
            Credentials::Headers(headers.items.into_iter().map(|item| (item.name, secret())).collect())
        }
        RegistrationAuth { query_parameter: Some(parameter), .. } => {
            Credentials::QueryParameter { name: parameter.name, value: secret() }
        }
        RegistrationAuth { oauth_client_credentials: Some(oauth), .. } => Credentials::OauthClientCredentials {
            token_url: oauth.token_url,
            client_id: secret(),
            client_secret: secret(),
            scopes: oauth.scopes,
        },
        _ => Credentials::None,
    };
    let object = ObjectName::new("n", document["metadata"]["name"].as_str().unwrap());
    let url = ServerUrl::parse(&spec.url).unwrap();
    DesiredGateway::new(&registration, &object, url, credentials, ca_certificate.to_owned())
}

#[test]
fn a_registration_block_names_its_secret_and_shows_no_value() {
    let oauth = json!({"grant_type": "client_credentials", "token_url": "https://issuer.example/t?a=1",
        "client_id": "planted", "client_secret": "*****", "scopes": ["one"]});
    let (yaml, parsed) = registered(&[gateway(&json!({
        "description": "Plain: \"text\"\nin two lines", "transport": "SSE", "visibility": "team", "teamId": "t1",
        "tags": [{"id": "bb", "label": "B"}, {"id": "aa", "label": "AA"}], "passthroughHeaders": ["X-T"],
        "authType": "oauth", "oauthConfig": oauth, "caCertificate": "-----BEGIN\nCA\n", "enabled": false,
    }))]);
    let text = "\
---
apiVersion: mcpgateway.io/v1alpha1
kind: McpGateway
metadata:
  name: \"git-hub\"
spec:
  url: \"https://h.example/mcp\"
  gatewayId: \"a1\"
  enabled: false
  # Make the Secret git-hub-credentials with the keys client-id, client-secret, the label
  # mcpgateway.io/registration=true and the annotation
  # mcpgateway.io/allowed-origins=https://h.example:443,https://issuer.example:443
  registration:
    auth:
      oauthClientCredentials:
        clientIdKey: \"client-id\"
        clientSecretKey: \"client-secret\"
        scopes: [\"one\"]
        secretName: \"git-hub-credentials\"
        tokenUrl: \"https://issuer.example/t?a=1\"
    ca:
      configMapName: \"git-hub-ca\"
      key: \"ca.crt\"
    deletionPolicy: \"Retain\"
    description: \"Plain: \\\"text\\\"\\nin two lines\"
    name: \"Git Hub\"
    passthroughHeaders: [\"X-T\"]
    tags: [\"aa\",\"bb\"]
    teamId: \"t1\"
    transport: \"SSE\"
    visibility: \"team\"
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: \"git-hub-ca\"
data:
  ca.crt: \"-----BEGIN\\nCA\\n\"
";
    assert_eq!(yaml, text);
    assert_eq!(parsed[1]["data"]["ca.crt"], "-----BEGIN\nCA\n");
}

#[test]
fn an_entry_that_cannot_be_described_has_no_block_and_says_why() {
    let agent = "mcpgateway-operator/0.1.0 (owner=a/b; object=team-a/github; uid=6f0a3a0e)";
    for (more, why) in [
        (json!({"name": "Ünicode"}), "its name"),
        (json!({"description": "<b>"}), "its description"),
        (json!({"description": "x".repeat(8193)}), "its description"),
        (json!({"transport": "STDIO"}), "its transport"),
        (json!({"visibility": "team"}), "a team"),
        (json!({"visibility": "odd"}), "its visibility"),
        (json!({"tags": ["UPPER"]}), "its tags"),
        (json!({"tags": [{"id": "a", "label": "a"}]}), "its tags"),
        (json!({"passthroughHeaders": ["Host"]}), "passes on"),
        (json!({"passthroughHeaders": ["X_A"]}), "passes on"),
        (json!({"authType": "oauth", "oauthConfig": {"grant_type": "authorization_code"}}), "authorization_code"),
        (json!({"authType": "authheaders", "authHeaders": [{"key": "X A"}]}), "the headers"),
        (json!({"authType": "query_param", "authQueryParamKey": "a[]"}), "query parameter"),
        (json!({"clientCert": "PEM"}), "a client certificate"),
        (json!({"createdUserAgent": agent}), "for McpGateway team-a/github"),
    ] {
        let (yaml, parsed) = registered(&[gateway(&more)]);
        let line = yaml.lines().find(|line| line.starts_with("  # ")).unwrap_or_else(|| panic!("{more}: {yaml}"));
        assert!(line.contains("not registered by the operator: ") && line.contains(why), "{more}: {line}");
        assert_eq!((parsed.len(), parsed[0]["spec"].get("registration")), (1, None));
        assert_eq!(parsed[0]["spec"]["gatewayId"], "a1");
    }
}

fn stored() -> impl Strategy<Value = Value> {
    let text = "[ -~]{0,20}|\\PC{0,10}|(?s).{0,10}|[a-z0-9.]{2,9}";
    let header = "[A-Za-z-]{1,9}|host";
    let auth = prop_oneof![
        Just(json!({})),
        Just(json!({"authType": "bearer"})),
        Just(json!({"authType": "basic"})),
        prop::collection::vec(header, 1..3).prop_map(|names| {
            let headers: Vec<Value> = names.iter().map(|name| json!({"key": name, "value": "*****"})).collect();
            json!({"authType": "authheaders", "authHeaders": headers})
        }),
        header.prop_map(|name| json!({"authType": "query_param", "authQueryParamKey": name})),
        (prop::collection::vec("[a-z:]{1,9}", 0..3), "https?://[a-z.]{1,9}(/[a-z?=]{0,9})?").prop_map(
            |(scopes, url)| {
                let config = json!({"grant_type": "client_credentials", "token_url": url, "scopes": scopes});
                json!({"authType": "oauth", "oauthConfig": config})
            }
        ),
    ];
    let lists =
        (prop::collection::vec("[a-z0-9:.-]{1,5}", 0..4), prop::option::of(prop::collection::vec(header, 0..3)));
    let words = ("[A-Za-z0-9_. -]{1,20}|\\PC{1,9}", text, "SSE|STREAMABLEHTTP", "public|private|team", "-|(?s).{0,9}");
    (words, lists, auth).prop_map(|((name, description, transport, visibility, ca), (tags, passed_on), auth)| {
        let mut gateway = gateway(&json!({
            "name": name, "description": description, "transport": transport, "visibility": visibility, "tags": tags,
            "passthroughHeaders": passed_on, "caCertificate": ca, "teamId": "t1",
        }));
        gateway.as_object_mut().unwrap().extend(auth.as_object().unwrap().clone());
        gateway
    })
}

proptest! {
    /// Applied, a manifest changes nothing, except that headers of the installation's default are no longer passed on.
    #[test]
    fn a_registration_block_makes_the_same_entry(value in stored()) {
        let (yaml, parsed) = registered(std::slice::from_ref(&value));
        let entry = Entry::read(&value).unwrap();
        if parsed[0]["spec"].get("registration").is_some() {
            let ca = parsed.get(1).map_or("", |map| map["data"]["ca.crt"].as_str().unwrap());
            let mut differences = desired(&parsed[0], ca).differences(&entry);
            if entry.passthrough_headers.is_none() {
                differences.retain(|field| *field != Field::PassthroughHeaders);
            }
            prop_assert_eq!(differences, vec![], "{}", yaml);
        } else {
            prop_assert!(yaml.contains("  # It is not registered by the operator: "), "{}", yaml);
        }
    }
}
