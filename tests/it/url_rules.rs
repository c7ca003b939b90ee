//! The rules of `spec.url` on a real API server, and in the program: both give the same verdict on every URL.

use kube::Api;
use kube::api::PostParams;
use mcpgateway_operator::api::v1alpha1::{McpGateway, McpGatewaySpec};
use mcpgateway_operator::model::{ServerUrl, UrlError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::support::cluster::cluster;
use super::support::fleet::spec;

/// Generated URLs. Each costs a request.
const CASES: usize = 1_500;

/// How an API server answers a create of an object that is not stored.
async fn verdict(objects: &Api<McpGateway>, url: &str, vouched: &[String]) -> Result<(), UrlError> {
    let allowed_query_names = vouched.to_vec();
    let spec = McpGatewaySpec { allowed_query_names, ..spec(url) };
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    match objects.create(&dry_run, &McpGateway::new("x", spec)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => {
            assert_eq!(status.code, 422, "{status:?}");
            assert!(!status.message.contains("planted"), "{}", status.message);
            let credential = status.message.contains("take the ");
            Err(if credential { UrlError::Credential } else { UrlError::Invalid })
        }
        Err(error) => panic!("{error}"),
    }
}

async fn objects(test: &str) -> Api<McpGateway> {
    let namespace = cluster().namespace(test).await;
    Api::namespaced(cluster().client().await, &namespace)
}

#[tokio::test]
async fn the_function_key_of_azure_and_other_credentials_are_refused_and_harmless_names_are_not() {
    let objects = objects("credential-names").await;
    let vouched = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let credential = Err(UrlError::Credential);
    for (url, names, expected) in [
        ("https://fn.example.com/runtime/webhooks/mcp/sse?code=planted==", &[][..], credential),
        ("https://fn.example.com/mcp?code=de", &["code"], Ok(())),
        ("https://fn.example.com/mcp?code=de&key=planted", &["code"], credential),
        ("https://fn.example.com/mcp?Code=planted", &["code"], credential),
        ("https://h/?token[]=planted", &[], credential),
        ("https://h/?token[]=x", &["token[]"], Ok(())),
        ("https://h/?apitoken=planted", &[], credential),
        ("https://h/?clientsecret=planted", &[], credential),
        ("https://h/?pass=planted", &[], credential),
        ("https://h/?a=1&pat=planted", &[], credential),
        ("https://h/?bearer=planted", &[], credential),
        ("https://h/?sort_key&token=planted", &["sort_key"], credential),
        ("https://h/?a=b?token=planted", &[], credential),
        ("https://h/?a=1;b=2", &[], Err(UrlError::Invalid)),
        ("https://h/?a=1;token=planted", &["a"], Err(UrlError::Invalid)),
        ("https://h/?to%6ben=planted", &["to%6ben", "token"], Err(UrlError::Invalid)),
        ("https://h/?%61=1", &[], Err(UrlError::Invalid)),
        ("https://h/a;b/R&D%20x?y=%20&z=a%3Bb", &[], Ok(())),
        ("https://h/?sort_key=a&max_token=5&primaryKey=id&page_token=x", &[], Ok(())),
        ("https://user:planted@h/?code=1", &["code"], credential),
    ] {
        let names = vouched(names);
        assert_eq!(verdict(&objects, url, &names).await, expected, "API server: {url}");
        assert_eq!(ServerUrl::parse_vouched(url, &names).map(|_| ()), expected, "program: {url}");
    }
}

#[tokio::test]
async fn eight_names_of_64_characters_may_be_vouched_for() {
    let objects = objects("vouched-names").await;
    let names = |count: usize, length: usize| -> Vec<String> {
        (0..count).map(|n| format!("{n}{}", "k".repeat(length - 1))).collect()
    };
    let url = format!("https://h/?a={}", "&key=x".repeat(120));
    for (names, accepted) in
        [(names(8, 64), true), (names(9, 64), false), (names(1, 65), false), (vec![String::new()], false)]
    {
        assert_eq!(verdict(&objects, "https://h/", &names).await.is_ok(), accepted, "{names:?}");
    }
    // The longest URLs stay within the budget of the API server.
    let mut all = names(7, 64);
    all.push("key".to_owned());
    assert!(url.len() > 700);
    assert_eq!(verdict(&objects, &url, &all).await, Ok(()));
    assert_eq!(verdict(&objects, &url, &names(8, 64)).await, Err(UrlError::Credential));
}

/// Names of parameters, most of them close to a rule.
fn name() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "key", "Key", "KEY", "token", "Token", "tokens", "secret", "pass", "Pass", "pat", "sig", "auth", "Auth",
        "code", "api", "app", "client", "sort", "max", "page", "end", "back", "mon", "session", "id", "pwd", "jwt",
        "bearer", "user", "x",
    ];
    const BETWEEN: &[&str] = &["", "", "_", "-", ".", "[", "/", "%", ";", "1", " "];
    const AFTER: &[&str] = &["", "", "", "[]", "[0]", "2", "_", "s", "%5B", "~"];
    let part = (prop::sample::select(BETWEEN), prop::sample::select(WORDS));
    let first = prop::sample::select(WORDS);
    (first, prop::collection::vec(part, 0..3), prop::sample::select(AFTER)).prop_map(|(first, parts, after)| {
        parts.into_iter().fold(first.to_owned(), |name, (between, word)| name + between + word) + after
    })
}

/// A URL, and names that are vouched for: some of its own, some of others.
fn url() -> impl Strategy<Value = (String, Vec<String>)> {
    let start = prop::sample::select(
        &["http://h", "https://h:8443/a/b", "https://h/R&D%20", "https://u:p@h/", "https://h/x;y"][..],
    );
    let separator = prop::sample::select(&["?", "?", "&", "&", "&&", ";", "#"][..]);
    let value = prop::sample::select(&["", "=", "=1", "=a%20b", "=a=b", "=token", "=é", "==&"][..]);
    let parameter = (separator, name(), value);
    let own = prop::sample::subsequence((0..6).collect::<Vec<usize>>(), 0..3);
    (start, prop::collection::vec(parameter, 0..6), own, prop::collection::vec(name(), 0..2)).prop_map(
        |(start, parameters, own, mut vouched)| {
            vouched.extend(own.into_iter().filter_map(|n| parameters.get(n)).map(|(_, name, _)| name.clone()));
            let query = parameters.iter().enumerate().map(|(n, (separator, name, value))| {
                // Most URLs have one query.
                let separator = if n == 0 && *separator == "&" { "?" } else { separator };
                format!("{separator}{name}{value}")
            });
            (start.to_owned() + &query.collect::<String>(), vouched)
        },
    )
}

#[tokio::test]
async fn the_api_server_and_the_program_give_the_same_verdict_on_every_url() {
    let objects = objects("same-verdicts").await;
    let mut runner = TestRunner::deterministic();
    let mut seen = [0_usize; 3];
    for _ in 0..CASES {
        let (url, vouched) = url().new_tree(&mut runner).expect("a URL").current();
        let program = ServerUrl::parse_vouched(&url, &vouched).map(|_| ());
        assert_eq!(verdict(&objects, &url, &vouched).await, program, "{url} {vouched:?}");
        seen[match program {
            Ok(()) => 0,
            Err(UrlError::Credential) => 1,
            Err(UrlError::Invalid) => 2,
        }] += 1;
    }
    println!("accepted, credential, invalid: {seen:?}");
    assert!(seen.iter().all(|count| *count > CASES / 20), "every verdict is tried: {seen:?}");
}
