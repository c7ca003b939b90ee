//! Clients that hold connections of an HTTP listener and never finish. Each connects again when it is closed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What a slow client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// It sends nothing.
    Silent,
    /// It sends half a head.
    HalfHead,
    /// It sends a head that is longer than the listener reads.
    EndlessHead,
    /// It sends a head byte by byte.
    HeadByteByByte,
    /// It announces a body and sends none.
    NoBody,
    /// It waits to be asked for its body, and sends none.
    NoBodyAfterContinue,
    /// It sends a body byte by byte.
    BodyByteByByte,
    /// It begins a chunk and does not end it.
    HalfChunk,
    /// It sends a request and does not read the answer.
    AnswerUnread,
    /// It sends several requests and reads none of the answers.
    ManyAnswersUnread,
    /// It reads the answer, and keeps the connection without another request.
    Idle,
    /// It speaks TLS: the start of a handshake.
    TlsHandshake,
}

impl Slow {
    pub const ALL: [Self; 12] = [
        Self::Silent,
        Self::HalfHead,
        Self::EndlessHead,
        Self::HeadByteByByte,
        Self::NoBody,
        Self::NoBodyAfterContinue,
        Self::BodyByteByByte,
        Self::HalfChunk,
        Self::AnswerUnread,
        Self::ManyAnswersUnread,
        Self::Idle,
        Self::TlsHandshake,
    ];

    /// Whether it sends a request with a body.
    pub fn has_body(self) -> bool {
        matches!(self, Self::NoBody | Self::NoBodyAfterContinue | Self::BodyByteByByte | Self::HalfChunk)
    }

    /// Does it on a connection for as long as the server allows.
    pub async fn hold(self, stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
        let get = format!("GET {path} HTTP/1.1\r\nHost: x\r\n");
        let post = |header: &str| {
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{header}\r\n\r\n")
        };
        match self {
            Self::Silent => {}
            // Just below what listeners read.
            Self::HalfHead => stream.write_all(format!("{get}X: {}", "a".repeat(16_000)).as_bytes()).await?,
            Self::EndlessHead => stream.write_all(format!("{get}X: {}", "a".repeat(400_000)).as_bytes()).await?,
            Self::HeadByteByByte => byte_by_byte(stream, &get).await?,
            Self::NoBody => stream.write_all(post("Content-Length: 8000").as_bytes()).await?,
            Self::NoBodyAfterContinue => {
                stream.write_all(post("Content-Length: 8000\r\nExpect: 100-continue").as_bytes()).await?;
            }
            Self::BodyByteByByte => {
                stream.write_all(post("Content-Length: 8000").as_bytes()).await?;
                byte_by_byte(stream, "").await?;
            }
            Self::HalfChunk => stream.write_all((post("Transfer-Encoding: chunked") + "1f40\r\n{").as_bytes()).await?,
            Self::AnswerUnread => {
                stream.write_all(format!("{get}\r\n").as_bytes()).await?;
                return unread(stream).await;
            }
            Self::ManyAnswersUnread => {
                stream.write_all(format!("{get}\r\n").repeat(8).as_bytes()).await?;
                return unread(stream).await;
            }
            Self::Idle => stream.write_all(format!("{get}\r\n").as_bytes()).await?,
            // A record of 512 bytes that begins a handshake.
            Self::TlsHandshake => stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await?,
        }
        let mut answer = [0; 4096];
        while stream.read(&mut answer).await? > 0 {}
        Ok(())
    }
}

/// Sends a text, and then one byte more twice a second.
async fn byte_by_byte(stream: &mut TcpStream, text: &str) -> std::io::Result<()> {
    let rest = std::iter::repeat(b'a');
    for byte in text.bytes().chain(rest) {
        stream.write_all(&[byte]).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// Waits until the server has closed the connection, without reading what it sent.
async fn unread(stream: &mut TcpStream) -> std::io::Result<()> {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // It fails once the server has reset the connection.
        stream.write_all(b"\r\n").await?;
    }
}

/// Slow clients at work. They end when this value is dropped.
pub struct SlowClients {
    _clients: JoinSet<()>,
    opened: Arc<AtomicUsize>,
}

impl SlowClients {
    /// Starts `count` clients that do the same.
    pub fn start(kind: Slow, count: usize, address: &str, path: &'static str) -> Self {
        let opened = Arc::new(AtomicUsize::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..count {
            let (address, opened) = (address.to_owned(), Arc::clone(&opened));
            clients.spawn(async move {
                loop {
                    if let Ok(mut stream) = TcpStream::connect(&address).await {
                        opened.fetch_add(1, Ordering::Relaxed);
                        let _ = kind.hold(&mut stream, path).await;
                    }
                    tokio::time::sleep(Duration::from_millis(fastrand::u64(1000..3000))).await;
                }
            });
        }
        Self { _clients: clients, opened }
    }

    /// How many connections they have opened.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }
}

/// Sends `GET path` on a new connection and reads the whole answer. Returns its head.
pub async fn get_once(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
