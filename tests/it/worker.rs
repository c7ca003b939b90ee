//! The example worker by itself: how it answers a request with an `ETag`, and many workers in one process.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, IF_NONE_MATCH};
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use crate::support::cluster::root;

/// A client that does not decompress.
fn client() -> Client {
    // The first call in this process counts for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_gzip().build().unwrap()
}

/// The example worker as a process of its own, killed when dropped.
pub struct ExampleWorker {
    child: Child,
    /// The usage reports of all workers in it.
    pub urls: Vec<String>,
    /// The URL for commands to all of them, if that was switched on.
    overseer: Option<String>,
}

impl ExampleWorker {
    /// Starts it with the example fleet and these arguments.
    pub fn start(arguments: &[&str]) -> Self {
        // `cargo test --test …` alone does not build examples. If it is built already, this takes no time.
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--locked", "--quiet", "--example", "worker"]).current_dir(root());
        assert!(build.stdin(Stdio::null()).status().unwrap().success());
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_mcpgateway-operator")).with_file_name("examples/worker");
        let mut command = Command::new(program);
        command.arg("--fleet").arg(root().join("examples/fleet")).args(["--seed", "3"]).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let workers = arguments.iter().position(|argument| *argument == "--workers");
        let workers = workers.map_or(1, |place| arguments[place + 1].parse().unwrap());
        let url = |line: String| line.strip_prefix("listening on ").unwrap().to_owned();
        let urls = lines.by_ref().take(workers).map(url).collect();
        let overseen = arguments.contains(&"--overseer");
        let overseer = overseen.then(|| lines.next().unwrap().strip_prefix("orders at ").unwrap().to_owned());
        Self { child, urls, overseer }
    }

    /// The usage report of the first one.
    pub fn url(&self) -> &str {
        &self.urls[0]
    }

    /// A command to the first one.
    pub async fn order(&self, order: &str) {
        give(self.url().replace("/mcpgateway/usage", &format!("/control/{order}"))).await;
    }

    /// A command to all.
    async fn order_all(&self, order: &str) {
        give(format!("{}/{order}", self.overseer.as_deref().unwrap())).await;
    }

    async fn state(&self) -> Value {
        get(&format!("{}/state", self.overseer.as_deref().unwrap()), &[]).await.json().await.unwrap()
    }
}

impl Drop for ExampleWorker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn give(url: String) {
    let answer = client().post(&url).send().await.unwrap();
    assert!(answer.status().is_success(), "{url}: {}", answer.text().await.unwrap());
}

async fn get(url: &str, headers: &[(reqwest::header::HeaderName, &str)]) -> Response {
    // The body as sent, and no headers but these.
    let client = client();
    let request = headers.iter().fold(client.get(url), |request, (name, value)| request.header(name, *value));
    request.send().await.unwrap()
}

fn tag(answer: &Response) -> String {
    answer.headers()[ETAG].to_str().unwrap().to_owned()
}

async fn rows(answer: Response) -> Value {
    let mut report: Value = answer.json().await.unwrap();
    report["workers"][0]["servers"].take()
}

async fn id(url: &str) -> String {
    let report: Value = get(url, &[]).await.json().await.unwrap();
    report["workers"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_report_that_has_not_changed_is_not_sent_again() {
    let worker = ExampleWorker::start(&["--rate", "0"]);
    let url = worker.url();
    let first = get(url, &[]).await;
    let known = tag(&first);
    let before = rows(first).await;

    let lists = [known.clone(), format!("\"x\", {known}"), format!("W/{known}"), "*".to_owned()];
    for list in &lists {
        let again = get(url, &[(IF_NONE_MATCH, list)]).await;
        assert_eq!((again.status(), tag(&again)), (StatusCode::NOT_MODIFIED, known.clone()), "{list}");
        assert_eq!(again.bytes().await.unwrap().len(), 0);
    }
    for list in ["\"x\"", known.trim_matches('"')] {
        assert_eq!(get(url, &[(IF_NONE_MATCH, list)]).await.status(), StatusCode::OK, "{list}");
    }

    let name = "search/wiki";
    worker.order(&format!("use?name={name}&ago=1&count=77")).await;
    let changed = get(url, &[(IF_NONE_MATCH, &known)]).await;
    assert_eq!(changed.status(), StatusCode::OK);
    assert_ne!(tag(&changed), known);
    assert_ne!(rows(changed).await, before);

    // Always in use: each report differs from the one before.
    worker.order(&format!("pin?name={name}")).await;
    let pinned = tag(&get(url, &[]).await);
    assert_eq!(get(url, &[(IF_NONE_MATCH, &pinned)]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn gzip_is_another_representation_with_the_same_rows() {
    let worker = ExampleWorker::start(&["--rate", "0", "--rows", "5"]);
    let plain = get(worker.url(), &[(ACCEPT_ENCODING, "identity")]).await;
    let packed = get(worker.url(), &[(ACCEPT_ENCODING, "gzip")]).await;
    assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
    let (plain_tag, packed_tag) = (tag(&plain), tag(&packed));
    assert_ne!(plain_tag, packed_tag);
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*packed.bytes().await.unwrap()).read_to_string(&mut text).unwrap();
    let unpacked: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(unpacked["workers"][0]["servers"], rows(plain).await);
    let again = get(worker.url(), &[(ACCEPT_ENCODING, "gzip"), (IF_NONE_MATCH, &packed_tag)]).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);

    let worker = ExampleWorker::start(&["--rate", "0", "--no-etag", "--no-gzip"]);
    let answer = get(worker.url(), &[(ACCEPT_ENCODING, "gzip"), (IF_NONE_MATCH, "*")]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(!answer.headers().contains_key(ETAG) && !answer.headers().contains_key(CONTENT_ENCODING));
}

#[tokio::test]
async fn workers_in_one_process_leave_and_come_back() {
    let arguments = ["--workers", "5", "--rows", "7", "--rate", "0", "--listen", "127.83.0.1:0"];
    let worker = ExampleWorker::start(&[&arguments[..], &["--overseer", "127.0.0.1:0"]].concat());
    let mut ids = Vec::new();
    let mut reported = Vec::new();
    for url in &worker.urls {
        ids.push(id(url).await);
        reported.push(rows(get(url, &[]).await).await);
        assert_eq!(reported.last().unwrap().as_array().unwrap().len(), 7);
    }
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 5);
    assert_ne!(reported[0], reported[1], "each worker has its own servers");

    worker.order_all("leave?first=1&count=2").await;
    for (place, url) in worker.urls.iter().enumerate() {
        // The listener is closed a moment after the command was answered.
        let what = "those that left refuse connections, the others answer";
        crate::support::eventually(what, crate::support::SOON, || async {
            let answer = client().get(url).send().await;
            (answer.is_err_and(|error| error.is_connect()) == [1, 2].contains(&place)).then_some(())
        })
        .await;
    }
    assert_eq!(worker.state().await["listening"], 3);

    worker.order_all("come?first=0&count=5").await;
    for (place, url) in worker.urls.iter().enumerate() {
        assert_eq!(id(url).await == ids[place], ![1, 2].contains(&place), "a new process where one had left");
        assert_eq!(rows(get(url, &[]).await).await, reported[place]);
    }
    let state = worker.state().await;
    assert_eq!((&state["workers"], &state["listening"], &state["inFlight"]), (&5.into(), &5.into(), &0.into()));
    assert!(state["requests"].as_u64() >= Some(20) && state["bytesSent"].as_u64() > Some(20 * 500), "{state}");
    let many = client().post(format!("{}/leave?first=4&count=2", worker.overseer.as_deref().unwrap()));
    assert_eq!(many.send().await.unwrap().status(), StatusCode::NOT_FOUND);
}
