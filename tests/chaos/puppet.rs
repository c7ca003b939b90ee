//! A worker on a bare socket that answers correctly or in one of many hostile ways.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mcpgateway_operator::clock;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the worker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Well,
    Refused,
    Hangs,
    HangsUp,
    OneByteASecond,
    EndlessBody,
    EndlessHeaders,
    GzipBomb,
    Html,
    Empty,
    RedirectElsewhere,
    Status(u16),
    TooShort,
    CutOff,
    NotUtf8,
    HundredMegabyteString,
    DeepNesting,
    TooManyWorkers,
    OneIdTwice,
    Milliseconds,
    AnotherVersion,
    Partial,
    OldRows,
}

impl Way {
    /// All except [`Way::Well`].
    pub const HOSTILE: [Self; 26] = [
        Self::Refused,
        Self::Hangs,
        Self::HangsUp,
        Self::OneByteASecond,
        Self::EndlessBody,
        Self::EndlessHeaders,
        Self::GzipBomb,
        Self::Html,
        Self::Empty,
        Self::RedirectElsewhere,
        Self::Status(401),
        Self::Status(403),
        Self::Status(404),
        Self::Status(429),
        Self::Status(500),
        Self::TooShort,
        Self::CutOff,
        Self::NotUtf8,
        Self::HundredMegabyteString,
        Self::DeepNesting,
        Self::TooManyWorkers,
        Self::OneIdTwice,
        Self::Milliseconds,
        Self::AnotherVersion,
        Self::Partial,
        Self::OldRows,
    ];
}

/// What a good report contains: server names, and how many seconds before the answer each was used.
type Uses = Vec<(&'static str, f64)>;

struct Shared {
    id: String,
    uses: Uses,
    way: watch::Sender<Way>,
    asked: Mutex<Vec<Instant>>,
    /// Where redirects lead.
    elsewhere: Option<SocketAddr>,
}

/// The worker. It serves until this is dropped.
pub struct Puppet {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Puppet {
    pub async fn start(uses: &[(&'static str, f64)], elsewhere: Option<&Self>) -> Self {
        let shared = Arc::new(Shared {
            id: uuid::Uuid::new_v4().to_string(),
            uses: uses.to_vec(),
            way: watch::Sender::new(Way::Well),
            asked: Mutex::default(),
            elsewhere: elsewhere.map(|puppet| puppet.address),
        });
        let listener = TcpListener::bind((own_address(), 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let server = tokio::spawn(serve(listener, address, Arc::clone(&shared)));
        Self { shared, address, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcpgateway/usage", self.address)
    }

    /// Sets how it answers.
    pub fn answer(&self, way: Way) {
        self.shared.way.send_replace(way);
    }

    /// When requests came in.
    pub fn asked(&self) -> Vec<Instant> {
        self.shared.asked.lock().expect("times").clone()
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A loopback address for this worker alone: while it does not listen, no other connection takes its port.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let [.., process] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 + process / 2, high, low | 1)
}

/// Listens, except while connections are to be refused.
async fn serve(mut listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut way = shared.way.subscribe();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, Arc::clone(&shared)));
                }
            }
            () = is(&mut way, |way| way == Way::Refused) => {
                drop(listener);
                // Kept-alive connections end too.
                connections.abort_all();
                is(&mut way, |way| way != Way::Refused).await;
                listener = TcpListener::bind(address).await.expect("the same port");
            }
        }
    }
}

/// Waits for a matching way to answer.
async fn is(way: &mut watch::Receiver<Way>, such: impl Fn(Way) -> bool) {
    way.wait_for(|way| such(*way)).await.expect("a way");
}

/// Answers requests on one connection until an answer ends it.
async fn converse(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut head = Vec::new();
    loop {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => head.extend_from_slice(&piece[..length]),
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            head.clear();
            shared.asked.lock().expect("times").push(Instant::now());
            let way = *shared.way.borrow();
            if answer(&mut stream, way, &shared).await.is_err() || way != Way::Well {
                return;
            }
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each way")]
async fn answer(stream: &mut TcpStream, way: Way, shared: &Shared) -> std::io::Result<()> {
    let report = report(shared);
    match way {
        Way::Well => send(stream, "200 OK", "application/json", report.as_bytes()).await,
        Way::Refused | Way::HangsUp => Ok(()),
        Way::Hangs => std::future::pending().await,
        Way::OneByteASecond => {
            begin(stream, "content-type: application/json\r\n").await?;
            for byte in report.bytes() {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        Way::EndlessBody => {
            begin(stream, "content-type: application/json\r\n").await?;
            let rows = r#"{"gatewayId":"id-s00","lastUsed":1,"useCount":1},"#.repeat(1000);
            stream.write_all(report.split_at(report.find('[').unwrap_or(0) + 1).0.as_bytes()).await?;
            stream.write_all(format!(r#"{{"id":"x","observedAt":1,"servers":[{rows}"#).as_bytes()).await?;
            loop {
                stream.write_all(rows.as_bytes()).await?;
            }
        }
        Way::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(format!("x-more: {}\r\n", "y".repeat(1000)).as_bytes()).await?;
            }
        }
        Way::GzipBomb => {
            begin(stream, "content-type: application/json\r\ncontent-encoding: gzip\r\n").await?;
            stream.write_all(&bomb()).await
        }
        Way::Html => send(stream, "200 OK", "text/html", b"<html>It works!</html>").await,
        Way::Empty => send(stream, "200 OK", "application/json", b"").await,
        Way::RedirectElsewhere => {
            let elsewhere = shared.elsewhere.expect("a redirect target");
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/mcpgateway/usage\r\ncontent-length: 0\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await
        }
        Way::Status(status) => {
            let head = format!("HTTP/1.1 {status} No\r\nretry-after: 3600\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await
        }
        Way::TooShort => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(report.as_bytes()).await
        }
        Way::CutOff => send(stream, "200 OK", "application/json", &report.as_bytes()[..report.len() / 2]).await,
        Way::NotUtf8 => {
            let mut bytes = report.into_bytes();
            let middle = bytes.len() / 2;
            bytes[middle] = 0xff;
            send(stream, "200 OK", "application/json", &bytes).await
        }
        Way::HundredMegabyteString => {
            begin(stream, "content-type: application/json\r\n").await?;
            stream.write_all(report.split_at(report.len() - 1).0.as_bytes()).await?;
            stream.write_all(br#","kind":"#).await?;
            let part = "x".repeat(1 << 20);
            stream.write_all(b"\"").await?;
            for _ in 0..100 {
                stream.write_all(part.as_bytes()).await?;
            }
            stream.write_all(b"\"}").await
        }
        Way::DeepNesting => {
            begin(stream, "content-type: application/json\r\n").await?;
            stream.write_all(b"{\"deep\":").await?;
            let part = "[".repeat(1 << 16);
            for _ in 0..160 {
                stream.write_all(part.as_bytes()).await?;
            }
            Ok(())
        }
        Way::TooManyWorkers => {
            let worker = |n: usize| json!({"id": format!("w{n}"), "observedAt": now(), "servers": []});
            let mut many = body(shared);
            many["workers"] = (0..20_000).map(worker).collect();
            send(stream, "200 OK", "application/json", many.to_string().as_bytes()).await
        }
        Way::OneIdTwice => {
            let mut twice = body(shared);
            let workers = twice["workers"].as_array_mut().expect("workers");
            workers.push(workers[0].clone());
            send(stream, "200 OK", "application/json", twice.to_string().as_bytes()).await
        }
        Way::Milliseconds => {
            let mut odd = body(shared);
            odd["generatedAt"] = (now() * 1000.0).into();
            send(stream, "200 OK", "application/json", odd.to_string().as_bytes()).await
        }
        Way::AnotherVersion => {
            let other = report.replace("v1alpha1", "v9");
            send(stream, "200 OK", "application/json", other.as_bytes()).await
        }
        Way::Partial => {
            let mut partial = body(shared);
            partial["expectedWorkers"] = 2.into();
            partial["workers"] = json!([]);
            send(stream, "200 OK", "application/json", partial.to_string().as_bytes()).await
        }
        Way::OldRows => {
            let mut old = body(shared);
            old["workers"][0]["observedAt"] = (now() - 3600.0).into();
            old["workers"][0]["servers"] = json!([]);
            send(stream, "200 OK", "application/json", old.to_string().as_bytes()).await
        }
    }
}

/// Sends an answer of known length.
async fn send(stream: &mut TcpStream, status: &str, kind: &str, body: &[u8]) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await
}

/// Begins an answer that ends with the connection.
async fn begin(stream: &mut TcpStream, headers: &str) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\n{headers}connection: close\r\n\r\n").as_bytes()).await
}

fn now() -> f64 {
    clock::now().seconds()
}

fn body(shared: &Shared) -> serde_json::Value {
    let now = now();
    let uses = shared.uses.clone();
    let row = |(name, ago): (&str, f64)| json!({"gatewayId": format!("id-{name}"), "lastUsed": now - ago, "active": 1, "useCount": 5});
    json!({
        "workers": [{"id": shared.id, "observedAt": now, "servers": uses.into_iter().map(row).collect::<Vec<_>>()}],
        "apiVersion": "usage.mcpgateway.io/v1alpha1", "kind": "UsageReport", "generatedAt": now,
    })
}

fn report(shared: &Shared) -> String {
    body(shared).to_string()
}

/// A gigabyte of blanks in a megabyte: a thousand gzip members of one MiB each.
fn bomb() -> Vec<u8> {
    use std::io::Write;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&vec![b' '; 1 << 20]).expect("memory");
    packed.finish().expect("memory").repeat(1000)
}
