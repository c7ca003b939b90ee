//! Every call on the unmodified release. `integrations/contextforge/dev/registration-try` starts it and runs this test.

use std::time::{Duration, Instant};

use mcpgateway_operator::api::v1alpha1::McpGateway;
use mcpgateway_operator::api::v1alpha1::registration::{RegistrationSpec, Visibility};
use mcpgateway_operator::contextforge::call_error::CallError;
use mcpgateway_operator::contextforge::entry::Entry;
use mcpgateway_operator::contextforge::manifests::{ManifestOptions, manifests};
use mcpgateway_operator::contextforge::{self, Access, ContextForge};
use mcpgateway_operator::http_client::FlagFile;
use mcpgateway_operator::model::{GatewayId, ObjectName, ServerUrl};
use mcpgateway_operator::registration::desired::{Credentials, DesiredGateway, Field, SecretText};
use mcpgateway_operator::registration::ownership::{Creator, OwnerId};
use serde_json::json;

fn env(name: &str) -> String {
    std::env::var(format!("CONTEXTFORGE_{name}")).expect(name)
}

fn access(token: &str) -> Access {
    let url = env("URL").parse().unwrap();
    let token = FlagFile { flag: "--contextforge-token-file", path: env(&format!("{token}_FILE")).into() };
    Access { url, token, ca: None, timeout: Duration::from_secs(30) }
}

async fn open(token: &str) -> ContextForge {
    ContextForge::open(&access(token)).await.unwrap()
}

fn creator() -> Creator {
    Creator {
        owner: OwnerId::parse("gateways/fleet-a").unwrap(),
        object: ObjectName::new("team-a", "github"),
        uid: "6f0a3a0e-7d4b-4f0e-9a55-0d6d2b1f7c11".into(),
    }
}

/// A gateway without credentials at one of the upstream's paths.
fn desired(name: &str, path: &str) -> DesiredGateway {
    let spec = RegistrationSpec {
        name: Some(name.to_owned()),
        description: Some("Plain: \"text\", it's & = 100 %".to_owned()),
        tags: vec!["b:2".to_owned(), "ab".to_owned()],
        ..RegistrationSpec::default()
    };
    let url = ServerUrl::parse(&format!("{}{path}/mcp", env("UPSTREAM"))).unwrap();
    DesiredGateway::new(&spec, &ObjectName::new("team-a", "github"), url, Credentials::None, String::new())
}

fn with(name: &str, path: &str, credentials: Credentials) -> DesiredGateway {
    DesiredGateway { credentials, ..desired(name, path) }
}

fn secret(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

fn every_kind(word: &str) -> [(&'static str, Credentials); 4] {
    let word = || secret(word);
    [
        ("/bearer", Credentials::Bearer(word())),
        ("/basic", Credentials::Basic { username: secret("user"), password: word() }),
        ("/header", Credentials::Headers(vec![("X-Key".into(), word()), ("X-Other".into(), secret("two"))])),
        ("/query", Credentials::QueryParameter { name: "api_key".into(), value: word() }),
    ]
}

async fn create(client: &ContextForge, desired: &DesiredGateway) -> Result<Entry, CallError> {
    let created = client.create(desired, &creator()).await;
    println!("create {}: {created:?}", desired.name);
    created
}

async fn update(client: &ContextForge, id: &GatewayId, desired: &DesiredGateway) -> Result<Entry, CallError> {
    let updated = client.update(id, desired).await;
    println!("update {}: {updated:?}", desired.name);
    updated
}

/// Credentials of each kind: create, keep, change to wrong ones, remove.
async fn credentials_of_each_kind(client: &ContextForge) {
    for (path, credentials) in every_kind("good-word") {
        let mut wanted = with(&format!("Kind {}", &path[1..]), path, credentials);
        let entry = create(client, &wanted).await.unwrap();
        assert_eq!(wanted.differences(&entry), [], "{path}");
        let kept = update(client, &entry.id, &wanted).await.unwrap();
        assert_eq!((wanted.differences(&kept), kept.version), (vec![], entry.version + 1), "{path}");
        let wrong = every_kind("bad-word").into_iter().find(|(kind, _)| *kind == path).unwrap().1;
        let error = update(client, &entry.id, &with(&wanted.name, path, wrong)).await.unwrap_err();
        assert_eq!(error, CallError::UpstreamUnauthorized, "{path}");
        assert_eq!(client.get(&entry.id).await.unwrap().version, kept.version, "{path}: rolled back");
        // An open path accepts the lack of credentials.
        wanted.credentials = Credentials::None;
        wanted.url = desired("x", "/open3").url;
        update(client, &entry.id, &wanted).await.unwrap();
        let removed = update(client, &entry.id, &wanted).await.unwrap();
        assert_eq!(wanted.differences(&removed), [], "{path}");
        client.delete(&entry.id).await.unwrap();
        assert_eq!(client.get(&entry.id).await, Err(CallError::NotFound));
    }
}

/// Gateways of each kind of authentication, registered by hand, as `import --registration` describes them.
async fn imported_as_registered() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let token = std::fs::read_to_string(env("TOKEN_FILE")).unwrap();
    let mut kinds = vec![("/open2", json!({"description": "By \"hand\", it's & = 100 %", "tags": ["b:2", "Two"]}))];
    kinds.extend([
        ("/bearer", json!({"authType": "bearer", "authToken": "good-word"})),
        ("/basic", json!({"authType": "basic", "authUsername": "user", "authPassword": "good-word"})),
        (
            "/query",
            json!({"authType": "query_param", "authQueryParamKey": "api_key", "authQueryParamValue": "good-word"}),
        ),
        (
            "/header",
            json!({"authType": "authheaders", "authHeaders": [
            {"key": "X-Key", "value": "good-word"}, {"key": "X-Other", "value": "two"}]}),
        ),
    ]);
    for (path, mut body) in kinds {
        let content = body.as_object_mut().unwrap();
        content.insert("name".to_owned(), format!("By hand {}", &path[1..]).into());
        content.insert("url".to_owned(), format!("{}{path}/mcp", env("UPSTREAM")).into());
        content.insert("transport".to_owned(), "STREAMABLEHTTP".into());
        let request = reqwest::Client::new().post(format!("{}/v1/gateways", env("URL"))).bearer_auth(token.trim());
        let answer = request.json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let rows = contextforge::gateways(&access("TOKEN")).await.unwrap().rows;
    let yaml = manifests(&rows, ManifestOptions { namespace: None, registration: true }).yaml;
    assert!(!yaml.contains("good-word") && !yaml.contains("***"), "{yaml}");
    let documents: Vec<McpGateway> = serde_saphyr::from_multiple(&yaml).unwrap();
    let by_hand: Vec<_> = rows.iter().filter(|row| row.name.starts_with("By hand ")).collect();
    assert_eq!(by_hand.len(), 5);
    let client = open("TOKEN").await;
    for row in by_hand {
        let mut entry = row.entry.as_deref().unwrap().clone();
        let described = documents.iter().find(|document| document.spec.gateway_id.as_deref() == Some(&row.id)).unwrap();
        let spec = described.spec.registration.as_ref().expect(&row.name);
        let kind = every_kind("good-word").into_iter().find(|(path, _)| row.name.ends_with(&path[1..]));
        assert_eq!(kind.is_some(), spec.auth.is_some(), "{}", row.name);
        let credentials = kind.map(|(_, credentials)| credentials).unwrap_or_default();
        let object = ObjectName::new("team-a", described.metadata.name.as_deref().unwrap());
        let url = ServerUrl::parse(&described.spec.url).unwrap();
        let desired = DesiredGateway::new(spec, &object, url, credentials, String::new());
        // No list was given, and an empty one is set.
        assert_eq!(entry.passthrough_headers.take(), None);
        assert_eq!(desired.differences(&entry), [Field::PassthroughHeaders], "{}", row.name);
        client.delete(&entry.id).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "integrations/contextforge/dev/registration-try starts a release for it"]
async fn every_call_of_the_client() {
    let client = open("TOKEN").await;
    let unknown = GatewayId::parse("0123456789abcdef0123456789abcdef").unwrap();
    assert_eq!(client.list().await.unwrap().entries, []);

    // Create, and read back.
    let open_one = desired("Open one", "/open");
    let entry = create(&client, &open_one).await.unwrap();
    assert_eq!(open_one.differences(&entry), []);
    assert_eq!(Creator::parse(entry.created_user_agent.as_deref().unwrap()), Some(creator()));
    assert_eq!(entry.owner_email.as_deref(), Some("operator@example.com"));
    assert_eq!(entry.created_by, entry.owner_email);
    // Tokens of 1.0.7 have none.
    assert_eq!(entry.team_id, client.team);
    println!("the team of the token: {}", if client.team.is_some() { "given to the entry" } else { "none" });
    assert!(entry.enabled && entry.reachable && entry.created_at.is_some() && entry.version == 1);
    let counted = Entry { tools: Some(1), ..entry.clone() };
    assert_eq!(client.get(&entry.id).await.unwrap(), counted);
    assert_eq!(client.list().await.unwrap().entries, [counted]);
    assert_eq!(client.get(&unknown).await, Err(CallError::NotFound));
    assert_eq!(client.get(&GatewayId::parse("open-one").unwrap()).await, Err(CallError::NotFound), "no names");
    assert_eq!(client.get(&GatewayId::parse("..").unwrap()).await, Err(CallError::NotFound));

    // What is refused.
    assert_eq!(create(&client, &desired("open.one", "/open2")).await, Err(CallError::NameConflict), "the same slug");
    assert_eq!(create(&client, &desired("Other", "/open")).await, Err(CallError::UrlConflict));
    assert_eq!(create(&client, &desired("Asked", "/bearer")).await, Err(CallError::UpstreamUnauthorized));
    let url = |text: &str| ServerUrl::parse(text).unwrap();
    let elsewhere = |text: &str| DesiredGateway { url: url(text), ..desired("Elsewhere", "/open") };
    for (address, unreachable) in [
        ("http://localhost:9/mcp?x=planted", true),
        ("http://10.1.2.3/mcp?x=planted", false),
        ("http://no.such.invalid/mcp?x=planted", false),
    ] {
        let error = create(&client, &elsewhere(address)).await.unwrap_err();
        let kind = (matches!(error, CallError::UpstreamUnreachable(_)), matches!(error, CallError::Rejected(_)));
        assert_eq!(kind, (unreachable, !unreachable), "{address}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("planted"), "{error:?}");
    }
    let private = DesiredGateway { visibility: Visibility::Private, ..desired("Private", "/open2") };
    match create(&client, &private).await {
        Ok(entry) => client.delete(&entry.id).await.unwrap(),
        // 1.0.7, for a token without teams.
        Err(error) => assert!(matches!(error, CallError::Rejected(_)), "{error:?}"),
    }
    let begun = Instant::now();
    let hanging = create(&client, &elsewhere(&env("HANGING"))).await.unwrap_err();
    // 1.1.0 gives up after 30 s, 1.0.7 not within 90 s.
    assert!(matches!(hanging, CallError::UpstreamUnreachable(_) | CallError::TimedOut), "{hanging:?}");
    println!("a server that hangs: {:?}", begun.elapsed());

    credentials_of_each_kind(&client).await;
    imported_as_registered().await;

    // An update that removes tools may lose the rest of itself, and takes effect the second time.
    let moved = DesiredGateway { description: "Moved".into(), ..desired("Open one", "/two") };
    let first = update(&client, &entry.id, &moved).await.unwrap();
    println!("lost by an update that removes tools: {:?}", moved.differences(&first));
    let second = update(&client, &entry.id, &moved).await.unwrap();
    assert_eq!((moved.differences(&second), second.id), (vec![], entry.id.clone()));
    let cleared = DesiredGateway { description: String::new(), tags: vec![], ..moved.clone() };
    assert_eq!(cleared.differences(&update(&client, &entry.id, &cleared).await.unwrap()), []);
    let denied = CallError::Forbidden { owner: false };
    let admin = open("ADMIN_TOKEN").await;
    for (client, missing) in [(&client, denied.clone()), (&admin, CallError::NotFound)] {
        assert_eq!(update(client, &unknown, &moved).await, Err(missing));
        assert_eq!(client.delete(&unknown).await, Err(CallError::NotFound));
        assert_eq!(client.get(&unknown).await, Err(CallError::NotFound));
        let error = client.set_enabled(&unknown, false).await.unwrap_err();
        println!("the state of an unknown one: {error:?}");
        assert!(error == denied || matches!(error, CallError::NotFound | CallError::Rejected(_)), "{error:?}");
    }

    // Off and on. Neither raises the version.
    for enabled in [false, true] {
        let version = client.get(&entry.id).await.unwrap().version;
        client.set_enabled(&entry.id, enabled).await.unwrap();
        let now = client.get(&entry.id).await.unwrap();
        assert_eq!((now.enabled, now.version), (enabled, version));
        assert_eq!(client.list().await.unwrap().entries.len(), 1, "disabled ones are listed");
        let edited = DesiredGateway { description: format!("{enabled}"), ..moved.clone() };
        let edited = update(&client, &entry.id, &edited).await.unwrap();
        assert_eq!(edited.enabled, enabled, "an update keeps it");
    }

    // Others' entries are seen and not changed.
    let theirs = create(&admin, &desired("Theirs", "/open2")).await.unwrap();
    let owner = CallError::Forbidden { owner: true };
    assert_eq!(update(&client, &theirs.id, &desired("Theirs", "/open2")).await, Err(owner.clone()));
    assert_eq!(client.set_enabled(&theirs.id, false).await, Err(owner.clone()));
    assert_eq!(client.delete(&theirs.id).await, Err(owner));
    assert_eq!(client.list().await.unwrap().entries.len(), 2);
    let taken = update(&client, &entry.id, &desired("Open one", "/open2")).await.unwrap_err();
    println!("the URL of another: {taken:?}");
    assert!(matches!(taken, CallError::Server(500) | CallError::UrlConflict), "{taken:?}");
    let taken = update(&client, &entry.id, &desired("Theirs", "/two")).await.unwrap_err();
    println!("the name of another: {taken:?}");
    assert!(matches!(taken, CallError::Server(500) | CallError::NameConflict), "{taken:?}");

    // Permissions and tokens.
    let reader = open("READER_TOKEN").await;
    assert_eq!(reader.list().await.unwrap().entries.len(), 2);
    assert_eq!(create(&reader, &desired("Reader", "/open3")).await, Err(CallError::Forbidden { owner: false }));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "planted").unwrap();
    let token = FlagFile { flag: "--contextforge-token-file", path: file.path().into() };
    let access = Access { token, ..access("TOKEN") };
    assert_eq!(ContextForge::open(&access).await.unwrap().list().await, Err(CallError::Unauthorized));

    // A foreign edit raises the version.
    let before = client.get(&theirs.id).await.unwrap();
    let edited = DesiredGateway { tags: vec!["edited".into()], ..desired("Theirs", "/open2") };
    let after = admin.update(&theirs.id, &edited).await.unwrap();
    assert_eq!(desired("Theirs", "/open2").differences(&after), [Field::Tags]);
    assert_eq!(after.version, before.version + 1);
}
