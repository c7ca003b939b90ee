//! The API of both replicas of a running operator: real API server, real Redis, real processes.

use std::path::PathBuf;

use mcpgateway_operator::clock;
use mcpgateway_operator::model::ServerUrl;
use mcpgateway_operator::poll::PollType;
use mcpgateway_operator::publish::keys::Keys;
use redis::AsyncCommands;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::fleet::{Fleet, key, used};
use crate::support::operator::{Operator, binary};
use crate::support::{SOON, eventually};

pub const TOKEN: &str = "planted-token-of-this-test";

/// A fleet of five servers, `a` hot, whose operators require a token.
pub struct Setting {
    pub fleet: Fleet,
    pub token: PathBuf,
    _folder: tempfile::TempDir,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The reason of a problem document. Panics if it is not one.
    pub fn reason(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{self:?}");
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        problem["reason"].as_str().expect("a reason").to_owned()
    }
}

impl Setting {
    pub async fn new(test: &str) -> Self {
        let fleet = Fleet::new(test, 1).await;
        for name in ["a", "b", "c", "d", "e"] {
            fleet.create(name, &url(name)).await;
        }
        fleet.workers[0].report(vec![used("a", 10.0)]);
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        Self { fleet, token, _folder: folder }
    }

    pub fn operator(&self) -> Operator {
        self.operator_as(self.fleet.cluster.kubeconfig())
    }

    pub fn operator_as(&self, kubeconfig: &std::path::Path) -> Operator {
        let (redis, token) = (self.fleet.redis.url(), self.token.to_str().unwrap());
        let mut flags = vec!["--redis-url", &redis, "--api-bind-address", "127.0.0.1:0"];
        flags.extend(["--api-token-file", token]);
        self.fleet.operator_as(kubeconfig, &flags)
    }

    /// The leader and a standby, once the tiers are in Redis.
    pub async fn two(&self) -> (Operator, Operator) {
        let first = self.operator();
        self.fleet.settled().await;
        let second = self.operator();
        second.ready().await;
        (first, second)
    }
}

/// The URL of an object of this name. Its query must appear nowhere except in the member of a set.
pub fn url(name: &str) -> String {
    format!("http://{name}.example/mcp?team=planted-{name}&x=1")
}

/// A value in a query, escaped.
pub fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// A request to a replica, with the token.
pub async fn request(operator: &Operator, method: Method, path: &str) -> RequestBuilder {
    bare(operator, method, path).await.bearer_auth(TOKEN)
}

/// The same without the token.
pub async fn bare(operator: &Operator, method: Method, path: &str) -> RequestBuilder {
    let address = operator.address("serving /v1").await;
    Client::new().request(method, format!("http://{address}{path}"))
}

pub async fn send(request: RequestBuilder) -> Answer {
    let answer = request.send().await.expect("an answer");
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    assert_eq!(headers["cache-control"], "no-store");
    Answer { status, headers, text: answer.text().await.expect("text") }
}

pub async fn get(operator: &Operator, path: &str) -> Answer {
    send(request(operator, Method::GET, path).await).await
}

pub async fn completed(operator: &Operator, body: &Value) -> Answer {
    post(operator, "/v1/polls/completed", body).await
}

pub async fn post(operator: &Operator, path: &str, body: &Value) -> Answer {
    let request = request(operator, Method::POST, path).await;
    send(request.header("content-type", "application/json").body(body.to_string())).await
}

async fn due(operator: &Operator, query: &str) -> Value {
    let answer = get(operator, &format!("/v1/polls/due?{query}")).await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"application/json".parse().unwrap()));
    answer.json()
}

#[tokio::test]
async fn leader_and_standby_give_the_same_answers() {
    let setting = Setting::new("api-two").await;
    let (leader, follower) = setting.two().await;
    let (a, b) = (url("a"), url("b"));
    for replica in [&leader, &follower] {
        for (server, tier) in [(&a, "hot"), (&b, "cold")] {
            let answer = get(replica, &format!("/v1/classification?url={}", escaped(server))).await.json();
            assert_eq!(answer, json!({"url": server, "tier": tier, "registered": true}));
        }
        let unknown = get(replica, "/v1/classification?url=http://unknown.example/mcp").await.json();
        assert_eq!(unknown, json!({"url": "http://unknown.example/mcp", "tier": null, "registered": false}));
        let answer = due(replica, "url=http://unknown.example/mcp&type=health").await;
        assert_eq!(
            answer,
            json!({"due": true, "reason": "Unclassified", "tier": null, "intervalSeconds": null, "planned": false,
                "lastPoll": null, "nextDue": null})
        );
    }
    // A poll completed at one replica is known to the other.
    let query = format!("url={}&type=tool_discovery&gatewayId=id-a", escaped(&a));
    assert_eq!(due(&leader, &query).await["reason"], "NeverPolled");
    let poll = json!({"url": a, "type": "tool_discovery", "gatewayId": "id-a"});
    let stored = completed(&follower, &poll).await;
    assert_eq!((stored.status, stored.text.as_str()), (204, ""));
    let answer = due(&leader, &query).await;
    assert_eq!(
        (&answer["due"], &answer["reason"], &answer["tier"]),
        (&json!(false), &json!("NotYetDue"), &json!("hot"))
    );
    assert_eq!((&answer["intervalSeconds"], &answer["planned"]), (&json!(300), &json!(false)));
    let time = |name: &str| answer[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert!((clock::now().whole_seconds() - time("lastPoll")).abs() < 60);
    assert!((300..=301).contains(&(time("nextDue") - time("lastPoll"))), "{answer}");
    assert_eq!(due(&leader, &query.replace("id-a", "id-b")).await["reason"], "NeverPolled", "another gateway");

    // So is how long a list is valid, until the server signals a change.
    let listed = json!({"url": a, "type": "tool_discovery", "gatewayId": "id-a", "ttlSeconds": 1e9});
    assert_eq!(completed(&follower, &listed).await.status, 204);
    let answer = due(&leader, &query).await;
    assert_eq!((&answer["due"], &answer["reason"]), (&json!(false), &json!("ListStillValid")));
    assert_eq!(answer["intervalSeconds"], 14_400);
    for change in [json!({"url": a}), json!({"url": a, "gatewayId": "id-b"})] {
        assert_eq!(post(&leader, "/v1/polls/changed", &change).await.status, 204);
        assert_eq!(due(&follower, &query).await["reason"], "ListStillValid", "another gateway's lists");
    }
    let changed = post(&leader, "/v1/polls/changed", &json!({"url": a, "gatewayId": "id-a"})).await;
    assert_eq!((changed.status, changed.text.as_str()), (204, ""));
    assert_eq!(due(&follower, &query).await["reason"], "NeverPolled");
    for (ttl, kind) in [(json!("60"), "tool_discovery"), (json!(60), "health")] {
        let refused = completed(&leader, &json!({"url": a, "type": kind, "ttlSeconds": ttl})).await;
        assert_eq!((refused.status, refused.reason().as_str()), (400, "InvalidTtl"));
    }

    for (reason, count) in [("NeverPolled", "2"), ("NotYetDue", "1"), ("ListStillValid", "1")] {
        let labels = format!("{{type=\"tool_discovery\",decision=\"{reason}\"}}");
        let metric = leader.metric(&format!("mcpgateway_operator_poll_decisions_total{labels}")).await;
        assert_eq!(metric.to_string(), count, "{reason}");
    }
}

#[tokio::test]
async fn both_replicas_answer_for_the_fleet_and_the_leader_adds_the_last_cycle() {
    let setting = Setting::new("api-fleet").await;
    let (leader, mut follower) = setting.two().await;
    eventually("both show the status of the fleet object", SOON, || async {
        let fleet = setting.fleet.status().await;
        let classified = (fleet.servers.hot, fleet.servers.cold, fleet.servers.unclassified) == (1, 4, 0);
        let (one, other) = (get(&leader, "/v1/fleet").await.json(), get(&follower, "/v1/fleet").await.json());
        (classified && one["fleet"] == json!(fleet) && other["fleet"] == json!(fleet)).then_some(())
    })
    .await;
    assert_eq!(get(&follower, "/v1/fleet").await.json()["lastCycle"], Value::Null);
    let cycle = eventually("the leader has classified", SOON, || async {
        let cycle = get(&leader, "/v1/fleet").await.json()["lastCycle"].clone();
        (cycle["outcome"] == "classified").then_some(cycle)
    })
    .await;
    assert_eq!(cycle["hot"], json!([url("a")]), "{cycle}");
    assert_eq!(cycle["cold"], json!(["b", "c", "d", "e"].map(url)));
    assert_eq!((&cycle["metadata"]["hot_cap"], &cycle["endpoints"]["known"]), (&json!(1), &json!(1)));
    drop(leader);
    eventually("the standby leads, and has completed a cycle", SOON, || async {
        get(&follower, "/v1/fleet").await.json()["lastCycle"].is_object().then_some(())
    })
    .await;
    assert!(follower.stop().await.success());
}

/// The stamp of the tool discovery of a server that no object registers.
fn key_of_unknown() -> String {
    let url = ServerUrl::parse("http://unknown.example/mcp").unwrap();
    Keys::default().poll_state(&url, None, PollType::ToolDiscovery)
}

#[tokio::test]
async fn nothing_is_written_for_a_server_that_is_not_registered() {
    let setting = Setting::new("api-unknown").await;
    let (leader, _follower) = setting.two().await;
    let mut redis = setting.fleet.redis.connection().await;
    let strange = json!({"url": "http://unknown.example/mcp", "type": "health"});
    assert_eq!(completed(&leader, &strange).await.status, 204);
    let listed = json!({"url": "http://unknown.example/mcp", "type": "tool_discovery", "ttlSeconds": 60});
    assert_eq!(completed(&leader, &listed).await.status, 204);
    // Another program's stamp of such a server is left alone.
    let foreign = key_of_unknown();
    let (): () = redis.set(&foreign, "1").await.unwrap();
    assert_eq!(post(&leader, "/v1/polls/changed", &json!({"url": "http://unknown.example/mcp"})).await.status, 204);
    assert_eq!(redis.del::<_, i64>(&foreign).await.unwrap(), 1);
    assert_eq!(redis.keys::<_, Vec<String>>("*poll*").await.unwrap(), Vec::<String>::new());
    // A disabled object's server is not registered any more.
    setting.fleet.edit("e", json!({"enabled": false})).await;
    eventually("the server is out of the registry", SOON, || async {
        let answer = get(&leader, &format!("/v1/classification?url={}", escaped(&url("e")))).await;
        (answer.json()["registered"] == json!(false)).then_some(())
    })
    .await;
    assert_eq!(completed(&leader, &json!({"url": url("e"), "type": "health"})).await.status, 204);
    assert_eq!(redis.keys::<_, Vec<String>>("*poll*").await.unwrap(), Vec::<String>::new());
    assert_eq!(completed(&leader, &json!({"url": url("d"), "type": "health"})).await.status, 204);
    assert_eq!(
        redis.keys::<_, Vec<String>>("*poll*").await.unwrap().len(),
        1,
        "a stamp of a registered server is written"
    );
}

#[tokio::test]
async fn requests_need_the_token_that_is_in_the_file_now() {
    let setting = Setting::new("api-token").await;
    let operator = setting.operator();
    operator.ready().await;
    let paths =
        ["/v1/classification", "/v1/polls/due", "/v1/fleet", "/v1/polls/completed", "/v1/polls/changed", "/", "/v2"];
    for path in paths {
        let answer = send(bare(&operator, Method::GET, path).await).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "TokenMissing"), "{path}");
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer "), "{path}");
        let answer = send(bare(&operator, Method::GET, path).await.bearer_auth("planted-guess")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "TokenWrong"), "{path}");
    }
    assert_eq!(send(bare(&operator, Method::GET, "/openapi.json").await).await.status, 200);
    let answer = send(bare(&operator, Method::GET, "/v1/fleet").await.basic_auth("u", Some(TOKEN))).await;
    assert_eq!(answer.reason(), "TokenMissing");
    assert_eq!(get(&operator, "/v1/fleet").await.status, 200);
    std::fs::write(&setting.token, "planted-successor").unwrap();
    assert_eq!(get(&operator, "/v1/fleet").await.reason(), "TokenWrong");
    let new = bare(&operator, Method::GET, "/v1/fleet").await.bearer_auth("planted-successor");
    assert_eq!(send(new).await.status, 200);
    assert!(!operator.log().contains("planted"), "no token in the log");
}

#[tokio::test]
async fn without_a_token_file_only_loopback_is_served() {
    let setting = Setting::new("api-open").await;
    let operator = setting.fleet.operator_with(&["--api-bind-address", "127.0.0.1:0"]);
    operator.ready().await;
    let answer = send(bare(&operator, Method::GET, "/v1/polls/due?url=http://a.example&type=health").await).await;
    assert_eq!(answer.json()["reason"], "NoStore");
    let answer = eventually("there is a tier", SOON, || async {
        let path = format!("/v1/classification?url={}", escaped(&url("a")));
        let answer = send(bare(&operator, Method::GET, &path).await).await;
        (answer.status == 200 && answer.json()["tier"] != Value::Null).then(|| answer.json())
    })
    .await;
    assert_eq!(answer["tier"], "hot", "without Redis it is the tier in the status");
    let stored = bare(&operator, Method::POST, "/v1/polls/completed").await.header("content-type", "application/json");
    assert_eq!(send(stored.body(json!({"url": url("a"), "type": "health"}).to_string())).await.status, 204);

    for address in [":0", "0.0.0.0:8082", "192.0.2.1:8082"] {
        let mut command = binary();
        command.env("KUBECONFIG", "/nonexistent").args(["run", "--worker-endpoint", "http://127.0.0.1:9/usage"]);
        let output = command.args(["--api-bind-address", address]).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.trim_end().lines().count()), (Some(2), 1), "{text}");
        assert!(text.contains("--api-bind-address") && text.contains("--api-token-file"), "{text}");
    }
}

#[tokio::test]
async fn a_request_in_progress_is_answered_while_the_operator_stops() {
    let setting = Setting::new("api-stop").await;
    let (_leader, mut follower) = setting.two().await;
    let address = follower.address("serving /v1").await;
    let body = json!({"url": url("a"), "type": "health"}).to_string();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /v1/polls/completed HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read = [0; 1024];
    let length = stream.read(&mut read).await.unwrap();
    assert!(read[..length].starts_with(b"HTTP/1.1 100"), "it waits for the body");
    follower.signal("TERM");
    eventually("it is stopping", SOON, || async { follower.log().contains("stopping").then_some(()) }).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let length = stream.read(&mut read).await.unwrap();
    assert!(read[..length].starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&read[..length]));
    assert!(follower.stop().await.success());
    assert!(setting.fleet.redis.connection().await.keys::<_, Vec<String>>("*poll*").await.unwrap().len() == 1);
    assert!(TcpStream::connect(&address).await.is_err(), "nobody is let in any more");
}

#[tokio::test]
async fn no_part_of_a_query_appears_in_a_key_the_log_a_metric_or_an_error() {
    let setting = Setting::new("api-secret").await;
    let (leader, follower) = setting.two().await;
    let mut redis = setting.fleet.redis.connection().await;
    let registered = url("a");
    let refused = [
        "http://a.example/mcp?token=planted-q",
        "http://planted-u:planted-p@a.example/mcp",
        "http://a.example/mcp#planted",
        "planted",
    ];
    for replica in [&leader, &follower] {
        let mut problems = Vec::new();
        for url in refused {
            problems.push(get(replica, &format!("/v1/polls/due?url={}&type=health", escaped(url))).await);
            problems.push(get(replica, &format!("/v1/classification?url={}", escaped(url))).await);
            problems.push(completed(replica, &json!({"url": url, "type": "health"})).await);
            problems.push(post(replica, "/v1/polls/changed", &json!({"url": url})).await);
        }
        for query in [
            // Not escaped, so that a part of it becomes a parameter of its own.
            format!("url={registered}&type=health"),
            "url=http://a.example&type=planted".to_owned(),
            "url=http://a.example&type=health&gatewayId=planted/1".to_owned(),
            "url=http://a.example&type=health&planted=1".to_owned(),
            "url=http://a.example/planted%zz&type=health".to_owned(),
        ] {
            problems.push(get(replica, &format!("/v1/polls/due?{query}")).await);
        }
        problems.push(completed(replica, &json!({"url": registered, "type": "planted"})).await);
        problems.push(completed(replica, &json!({"url": registered, "type": "health", "planted": "planted"})).await);
        problems.push(completed(replica, &json!(["planted"])).await);
        problems.push(get(replica, "/planted?planted").await);
        for problem in problems {
            assert!((400..500).contains(&problem.status), "{problem:?}");
            problem.reason();
            assert!(!problem.text.contains("planted"), "{problem:?}");
        }
        // Nor is a query repeated after success.
        due(replica, &format!("url={}&type=health&gatewayId=id-a", escaped(&registered))).await;
        assert_eq!(
            completed(replica, &json!({"url": registered, "type": "health", "gatewayId": "id-a"})).await.status,
            204
        );
        due(replica, &format!("url={}&type=health", escaped("http://unknown.example/?team=planted"))).await;
        let (_, metrics) = replica.get("/metrics").await;
        assert!(metrics.contains("poll_decisions_total") && !metrics.contains("planted"), "{metrics}");
        let log = replica.log();
        assert!(log.contains("path=\"/v1/polls/due\"") && log.contains("DEBUG"), "{log}");
        assert!(!log.contains("planted"), "{log}");
    }
    let keys: Vec<String> = redis.keys("*").await.unwrap();
    assert!(
        keys.iter().any(|key| key.contains("server_poll_state")) && !keys.iter().any(|key| key.contains("planted"))
    );
    let members: Vec<String> = redis.smembers(key("hot")).await.unwrap();
    assert_eq!(members, [registered], "only in the sets, where gateways look for the exact URL");
    let fleet = setting.fleet.fleet_object().await;
    assert!(!format!("{fleet:?}").contains("planted"));
}
