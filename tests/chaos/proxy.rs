//! A TCP proxy between an operator and Redis that can inject faults. Loopback only.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::steps::Steps;

/// What the proxy does to connections and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Connections are closed, and new ones refused.
    Cut,
    /// Requests arrive, answers are dropped.
    LoseAnswers,
    /// Requests arrive; the connection is closed at the answer.
    CutAtAnswer,
    /// Requests are held and arrive late, when the mode changes.
    HoldRequests,
    /// The same for calls of scripts only: a new connection is made, and its first call is held.
    HoldScripts,
    /// Each piece is delayed.
    Slow(Duration),
}

struct Shared {
    mode: watch::Sender<Mode>,
    upstream: watch::Sender<u16>,
    held: AtomicUsize,
    steps: Arc<Steps>,
}

/// A running proxy. It ends when this is dropped.
pub struct Proxy {
    shared: Arc<Shared>,
    port: u16,
    server: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
        self.shared.mode.send_replace(Mode::Cut);
    }
}

impl Proxy {
    pub async fn start(upstream: u16) -> Self {
        Self::counting(upstream, Arc::default()).await
    }

    /// Starts a proxy that counts each piece of a request as a step.
    pub async fn counting(upstream: u16, steps: Arc<Steps>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mode, upstream) = (watch::Sender::new(Mode::Pass), watch::Sender::new(upstream));
        let shared = Arc::new(Shared { mode, upstream, held: AtomicUsize::new(0), steps });
        let serving = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(connection(Arc::clone(&serving), client));
            }
        });
        Self { shared, port, server }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn mode(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Closes all connections. New ones lead to this port.
    pub fn redirect(&self, upstream: u16) {
        self.shared.upstream.send_replace(upstream);
    }

    /// How many pieces of requests are held.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }
}

async fn connection(shared: Arc<Shared>, client: TcpStream) {
    let (mut modes, mut upstreams) = (shared.mode.subscribe(), shared.upstream.subscribe());
    if *modes.borrow() == Mode::Cut {
        return;
    }
    let port = *upstreams.borrow_and_update();
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = requests(Arc::clone(&shared), from_client, to_server);
    let back = answers(Arc::clone(&shared), from_server, to_client);
    tokio::select! {
        // Held requests arrive even after the client has gone, so each direction ends by itself.
        _ = async { tokio::join!(there, back) } => {}
        _ = modes.wait_for(|mode| *mode == Mode::Cut) => {}
        _ = upstreams.changed() => {}
    }
}

async fn requests(
    shared: Arc<Shared>,
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
) {
    let mut buffer = vec![0; 1 << 16];
    let mut modes = shared.mode.subscribe();
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mode = *modes.borrow();
        let is_script = || buffer[..count].windows(4).any(|word| word == b"EVAL");
        if mode == Mode::HoldRequests || (mode == Mode::HoldScripts && is_script()) {
            shared.held.fetch_add(1, Ordering::SeqCst);
            modes.wait_for(|new| *new != mode).await.ok();
            shared.held.fetch_sub(1, Ordering::SeqCst);
        }
        shared.steps.take().await;
        slowly(&shared).await;
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}

async fn answers(
    shared: Arc<Shared>,
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        slowly(&shared).await;
        let mode = *shared.mode.borrow();
        match mode {
            Mode::LoseAnswers => {}
            Mode::CutAtAnswer => return,
            _ => {
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn slowly(shared: &Shared) {
    let mode = *shared.mode.borrow();
    if let Mode::Slow(by) = mode {
        tokio::time::sleep(by).await;
    }
}
