//! Counts of requests, concurrent requests and bytes between the workers of this process and their clients.
//!
//! Input: every connection and every request. Output: [`Meter::figures`]. Bytes are counted at the sockets, including
//! headers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::serve::Listener;
use futures::stream;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// The counts since the start. Each is exact, but they are not read at the same instant.
#[derive(Default)]
pub struct Meter {
    requests: AtomicU64,
    not_modified: AtomicU64,
    now: AtomicU64,
    at_once: AtomicU64,
    connections: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Meter {
    /// All counts, as JSON.
    pub fn figures(&self) -> Value {
        let Self { requests, not_modified, now, at_once, connections, received, sent } = self;
        json!({
            "requests": requests.load(Relaxed),
            "notModified": not_modified.load(Relaxed),
            "inFlight": now.load(Relaxed),
            "mostAtOnce": at_once.load(Relaxed),
            "connections": connections.load(Relaxed),
            "bytesReceived": received.load(Relaxed),
            "bytesSent": sent.load(Relaxed),
        })
    }

    /// Counts a request for a report. It is in flight while the returned value lives.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Relaxed);
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.at_once.fetch_max(now, Relaxed);
        InFlight(Arc::clone(self))
    }
}

/// A request that has not been answered completely.
pub struct InFlight(Arc<Meter>);

impl InFlight {
    /// Counts an answer without changes (304).
    pub fn not_modified(&self) {
        self.0.not_modified.fetch_add(1, Relaxed);
    }

    /// A body that keeps the request in flight until it is sent. The caller sets its length.
    pub fn body(self, bytes: Vec<u8>) -> Body {
        let state = (Some(Bytes::from(bytes)), self);
        Body::from_stream(stream::unfold(state, |(bytes, in_flight)| async {
            bytes.map(|bytes| (Ok::<_, Infallible>(bytes), (None, in_flight)))
        }))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

/// A listener whose connections are counted.
pub struct Metered {
    pub listener: TcpListener,
    pub meter: Arc<Meter>,
}

impl Listener for Metered {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        self.meter.connections.fetch_add(1, Relaxed);
        (Connection { stream, meter: Arc::clone(&self.meter) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection whose bytes are counted.
pub struct Connection {
    stream: TcpStream,
    meter: Arc<Meter>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.meter.connections.fetch_sub(1, Relaxed);
    }
}

impl Connection {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.meter.sent.fetch_add(*bytes as u64, Relaxed);
        }
        written
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.meter.received.fetch_add((buffer.filled().len() - before) as u64, Relaxed);
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
