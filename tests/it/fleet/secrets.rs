//! Secrets planted wherever one can come in appear nowhere (`docs/contract.md#p8`).

use std::fmt::Write;

use k8s_openapi::api::events::v1::Event;

use super::*;
use crate::support::redis::RedisServer;

const PLANTED: &str = "pl4nted-s3cret";

/// Everything that Redis holds, keys and values.
async fn redis_dump(fleet: &Fleet) -> String {
    let url = fleet.redis.url().replace("//", &format!("//:{PLANTED}@"));
    let mut redis = redis::Client::open(url).expect("a URL").get_multiplexed_async_connection().await.expect("Redis");
    let keys: Vec<String> = redis.keys("*").await.expect("keys");
    let mut dump = String::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut redis).await.expect("a type");
        let value = match kind.as_str() {
            "set" => redis.smembers::<_, Vec<String>>(&key).await.expect("members").join(" "),
            _ => redis.get(&key).await.expect("a string"),
        };
        dump.extend([&key, " ", &value, "\n"]);
    }
    dump
}

/// What the API answers to everything that it can be asked, errors included: status, headers and body of each.
async fn api_answers(operator: &Operator) -> String {
    let address = operator.address("serving /v1").await;
    let client = reqwest::Client::new();
    let mut requests = Vec::new();
    let credential = format!("https%3A%2F%2Fa.example%2Fmcp%3Ftoken%3D{PLANTED}");
    let user = format!("https%3A%2F%2Fu%3A{PLANTED}%40a.example%2Fmcp");
    for url in
        ["http%3A%2F%2Fa.example%2Fmcp%3Fteam%3Dsearch", "http://nobody.example/mcp", &credential, &user, PLANTED, ""]
    {
        for query in [
            format!("/v1/classification?url={url}"),
            format!("/v1/polls/due?url={url}&type=health"),
            format!("/v1/polls/due?url={url}&type={PLANTED}"),
            format!("/v1/polls/due?url={url}&type=health&gatewayId={PLANTED}%2F"),
            format!("/v1/polls/due?url={url}&type=health&{PLANTED}={PLANTED}"),
            format!("/v1/polls/due?url={url}%zz{PLANTED}&type=health"),
        ] {
            requests.push(client.get(format!("http://{address}{query}")).bearer_auth(PLANTED));
        }
    }
    let completed = format!("http://{address}/v1/polls/completed");
    for body in [
        json!({"url": "http://a.example/mcp?team=search", "type": "health"}),
        json!({"url": format!("http://a.example/mcp?token={PLANTED}"), "type": "health"}),
        json!({"url": "http://a.example/mcp", "type": PLANTED}),
        json!({"url": "http://a.example/mcp", "type": "health", PLANTED: PLANTED}),
        json!([PLANTED]),
    ] {
        let request = client.post(&completed).bearer_auth(PLANTED).header("content-type", "application/json");
        requests.push(request.body(body.to_string()));
    }
    requests.push(client.post(&completed).bearer_auth(PLANTED).body(PLANTED));
    for path in
        ["/v1/fleet".to_owned(), format!("/v1/{PLANTED}"), format!("/v1/fleet?{PLANTED}"), "/openapi.json".to_owned()]
    {
        let url = format!("http://{address}{path}");
        requests.push(client.get(&url));
        requests.push(client.get(&url).bearer_auth(format!("{PLANTED}-not")));
        requests.push(client.delete(&url).bearer_auth(PLANTED));
        requests.push(client.get(&url).bearer_auth(PLANTED));
    }
    let mut answers = String::new();
    for request in requests {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("text");
        let _ = writeln!(answers, "{status} {headers:?} {text}");
    }
    answers
}

#[tokio::test]
async fn a_planted_secret_comes_out_nowhere() {
    let mut fleet = Fleet::new("secrets", 2).await;
    fleet.redis = RedisServer::start(&["--requirepass", PLANTED]);
    for name in ["a", "b", "c", "d", "e"] {
        fleet.create(name, &format!("http://{name}.example/mcp?team=search")).await;
    }
    // In the query of a row that is known by its id, of one that nobody registered, and of a user name.
    fleet.workers[0].report(vec![
        used_as(Some("id-a"), format!("http://a.example/mcp?team=search&token={PLANTED}")),
        used_as(None, format!("http://nobody.example/mcp?token={PLANTED}")),
        used_as(None, format!("http://user:{PLANTED}@somebody.example/mcp")),
        used_as(None, format!("{PLANTED} no URL")),
    ]);
    // In the token file, in the query of an endpoint (one that answers and one that does not), and in the password
    // file.
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, PLANTED).expect("written");
        path.display().to_string()
    };
    let (token, password) = (file("token"), file("password"));
    let asked_with_a_query = fleet.workers.pop().expect("a worker");
    let endpoint = format!("{}?key={PLANTED}", asked_with_a_query.url());
    let dead = format!("http://127.0.0.1:1/usage?key={PLANTED}");
    let url = fleet.redis.url();
    let operator = fleet.operator_with(&[
        "--worker-endpoint",
        &endpoint,
        "--worker-endpoint",
        &dead,
        "--worker-token-file",
        &token,
        "--redis-url",
        &url,
        "--redis-password-file",
        &password,
        "--api-bind-address",
        "127.0.0.1:0",
        "--api-token-file",
        &token,
        "--log-level",
        "debug",
    ]);
    let told = eventually("the unregistered server is told of", SOON, || async {
        let status = fleet.status().await;
        status.unregistered.iter().any(|url| url.contains("nobody")).then_some(status)
    })
    .await;
    assert_eq!(told.unregistered, ["http://nobody.example/mcp"]);
    eventually("the server is hot", SOON, || async {
        let hot = fleet.statuses().await.hot;
        (hot.len() == 1 && hot.contains("http://a.example/mcp?team=search")).then_some(())
    })
    .await;
    operator.cycles(2).await;
    // Redis goes away for a while, so that its errors are told, too.
    let answers = api_answers(&operator).await;
    fleet.redis.suspend();
    operator.cycles(1).await;
    let address = operator.address("serving /v1").await;
    let path = format!("http://{address}/v1/classification?url=http://nobody.example/mcp");
    let faulty = reqwest::Client::new().get(path).bearer_auth(PLANTED).send().await.expect("an answer");
    let faulty = faulty.text().await.expect("text");
    fleet.redis.resume();
    operator.cycles(1).await;
    // All kinds of answers are among them, and the last cycle, which names the endpoint that was asked with a query.
    assert!(faulty.contains("StoreUnavailable"), "{faulty}");
    for part in
        ["\"lastCycle\":{", "127.0.0.1:1/usage", "\"tier\":\"hot\"", "204 ", "UnknownParameter", "CredentialInUrl"]
    {
        assert!(answers.contains(part), "{part} is missing: {answers}");
    }
    for status in ["400 ", "401 ", "404 ", "405 ", "415 "] {
        assert!(answers.lines().any(|line| line.starts_with(status)), "{status}: {answers}");
    }

    let (status, metrics) = operator.get("/metrics").await;
    assert_eq!(status, 200);
    let events: Api<Event> = Api::namespaced(fleet.client.clone(), &fleet.namespace);
    let events = events.list(&ListParams::default()).await.expect("events").items;
    assert!(events.iter().any(|event| event.reason.as_deref() == Some("UsagePartial")), "{events:?}");
    let fleets = fleet.fleet_objects().list(&ListParams::default()).await.expect("fleet objects").items;
    let objects = fleet.all().await;
    let (redis, log) = (redis_dump(&fleet).await, operator.log());
    assert!(log.contains("127.0.0.1:1/usage") && redis.contains("a.example"), "{log}");
    for (place, text) in [
        ("metrics", metrics),
        ("events", json!(events).to_string()),
        ("fleet objects", json!(fleets).to_string()),
        ("objects", json!(objects).to_string()),
        ("Redis", redis),
        ("the API", answers),
        ("the API without Redis", faulty),
        ("the log", log),
    ] {
        assert!(!text.contains(PLANTED), "the secret is in {place}: {text}");
    }
}
