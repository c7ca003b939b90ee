//! Serves a router on a listener, with bounded memory and file descriptors: see docs/contract.md#listeners. IO.
//!
//! hyper limits the size of a request's head and the time it may take. This module limits the rest: how many
//! connections are open, and how long a request and its answer may take.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How long a connection may be without a request, and how long the head of a request may take.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long after the head of its last request a connection is closed, whatever it is doing: longer than the slowest
/// request (a body of 5 s, and calls to Redis and the API server) and the wait for the next head together.
const REQUEST_LIMIT: Duration = Duration::from_secs(20);
/// The size limit of a head, and of the buffers of a connection. A query of the longest length fits.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// A new connection is not closed for another one within this time, in which the client sends its request.
const GRACE: Duration = Duration::from_millis(10);
/// The shortest time between two warnings that a listener is full.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// The answers that the kernel keeps for a client that reads none. By default it would keep megabytes of them, and a
/// client that sends requests and never reads would have all of them made.
const SEND_BUFFER_BYTES: u32 = 64 * 1024;

/// How many new connections the kernel keeps until they are accepted. When these are full, it drops the next one, which
/// is attempted again a second later. The default of 128 is too few if many clients come at once.
const BACKLOG: u32 = 4096;

/// Opens a listener. `[::]` takes IPv4 too, whatever `net.ipv6.bindv6only` is; on a node without IPv6 it is every IPv4
/// address.
pub(crate) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(v6) => match TcpSocket::new_v6() {
            Err(error)
                if v6.ip().is_unspecified() && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) =>
            {
                return listen((Ipv4Addr::UNSPECIFIED, address.port()).into());
            }
            socket => socket?,
        },
    };
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// An open connection.
struct Connection {
    task: AbortHandle,
    /// When the head of its last request arrived; before the first one, when it was accepted.
    since: watch::Receiver<Instant>,
}

/// [`serve`], on a thread and a runtime of its own: clients that keep a listener busy delay neither the renewal of the
/// Lease and the lock nor the other listeners. `name`: of the thread.
pub(crate) async fn serve_on_thread(
    name: &'static str,
    listener: TcpListener,
    app: Router,
    limit: NonZeroUsize,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listener = listener.into_std()?;
    let (sender, ended) = oneshot::channel();
    let serving = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { serve(TcpListener::from_std(listener)?, app, limit, stop).await })
    };
    // The receiver is gone only if the process is ending.
    std::thread::Builder::new().name(name.to_owned()).spawn(move || drop(sender.send(serving())))?;
    ended.await.with_context(|| format!("the thread {name} has ended"))?
}

/// Serves until `stop`, then finishes the requests in flight. At most `limit` connections are open: a ninth of them
/// less, and those that were closed a moment ago. Without that margin each new connection would wait until the task of
/// a closed one has ended, and on a busy machine all clients in line with it.
///
/// If a new connection is one too many, the one that has been without a new request for the longest time is closed.
/// Clients that send nothing or little therefore keep nobody else out.
pub(crate) async fn serve(
    mut listener: TcpListener,
    app: Router,
    limit: NonZeroUsize,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let mut open: HashMap<Id, Connection> = HashMap::new();
    let mut warned: Option<Instant> = None;
    let most = limit.get() - limit.get() / 9;
    loop {
        let full = open.len() >= most;
        let accept = async {
            // Which one is the oldest changes with each request.
            while let Some((since, _)) = oldest(&open).filter(|(since, _)| full && since.elapsed() < GRACE) {
                sleep_until(since + GRACE).await;
            }
            Listener::accept(&mut listener).await
        };
        let stream = tokio::select! {
            (stream, _) = accept => stream,
            Some(ended) = tasks.join_next_with_id() => {
                open.remove(&id_of(ended));
                continue;
            }
            () = stop.cancelled() => break,
        };
        if let Some(closed) = oldest(&open).filter(|_| full).and_then(|(_, id)| open.remove(&id)) {
            closed.task.abort();
            while tasks.len() >= limit.get()
                && let Some(ended) = tasks.join_next_with_id().await
            {
                open.remove(&id_of(ended));
            }
            if warned.is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL) {
                let address = listener.local_addr()?;
                warn!(%address, limit, "too many connections: closing those without a request for the longest time");
                warned = Some(Instant::now());
            }
        }
        let (sender, since) = watch::channel(Instant::now());
        let task = tasks.spawn(serve_connection(stream, app.clone(), sender, stop.clone()));
        open.insert(task.id(), Connection { task, since });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
    Ok(())
}

/// The connection that has been without a new request for the longest time, and since when.
fn oldest(open: &HashMap<Id, Connection>) -> Option<(Instant, Id)> {
    open.iter().map(|(id, connection)| (*connection.since.borrow(), *id)).min()
}

fn id_of(ended: Result<(Id, ()), JoinError>) -> Id {
    ended.map_or_else(|error| error.id(), |(id, ())| id)
}

/// Serves one connection until the client closes it or a limit is reached.
async fn serve_connection(stream: TcpStream, app: Router, since: watch::Sender<Instant>, stop: CancellationToken) {
    // A client that has sent nothing costs no buffers.
    tokio::select! {
        first = timeout(HEAD_LIMIT, stream.readable()) => if !matches!(first, Ok(Ok(()))) { return },
        () = stop.cancelled() => return,
    }
    let since = Arc::new(since);
    let app = TowerToHyperService::new(app);
    let service = service_fn({
        let since = Arc::clone(&since);
        move |request| {
            since.send_replace(Instant::now());
            app.call(request)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(MAX_HEAD_BYTES);
    let mut connection = Box::pin(builder.serve_connection(TokioIo::new(stream), service));
    let mut stopping = false;
    loop {
        let deadline = *since.borrow() + REQUEST_LIMIT;
        tokio::select! {
            // An error concerns this client only.
            _ = &mut connection => return,
            () = sleep_until(deadline) => if *since.borrow() + REQUEST_LIMIT <= Instant::now() { return },
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
#[path = "../../tests/support/slow_clients.rs"]
#[expect(dead_code, reason = "shared with the tests on real parts, which use more of it")]
mod slow_clients;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the runtime of a test ends with it")]
mod tests {
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::slow_clients::{Slow, get_once};
    use super::*;

    /// Serves `/`, an answer that no socket buffers take, and a path for bodies.
    fn app() -> Router {
        Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/large", get(|| async { "a".repeat(32 << 20) }))
            .route("/body", post(|body: String| async { body }))
    }

    fn start(limit: usize) -> (String, CancellationToken, JoinHandle<anyhow::Result<()>>) {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, app(), limit.try_into().unwrap(), stop.clone()));
        (address, stop, serving)
    }

    /// Sends a request, and reads the answer up to its body `ok`.
    async fn ask(stream: &mut TcpStream) -> std::io::Result<()> {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await?;
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\nok") {
            let mut bytes = [0; 512];
            let read = stream.read(&mut bytes).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn slow_clients_of_every_kind_are_closed_in_time() {
        let mut listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        for kind in Slow::ALL {
            let path = match kind {
                Slow::AnswerUnread | Slow::ManyAnswersUnread => "/large",
                kind if kind.has_body() => "/body",
                _ => "/",
            };
            let mut client = TcpStream::connect(address).await.unwrap();
            let client = tokio::spawn(async move { kind.hold(&mut client, path).await });
            let (stream, _) = Listener::accept(&mut listener).await;
            let begun = Instant::now();
            let serving = serve_connection(stream, app(), watch::channel(begun).0, CancellationToken::new());
            let ended = tokio::time::timeout(Duration::from_mins(2), serving).await;
            let limit = REQUEST_LIMIT + Duration::from_secs(1);
            assert!(ended.is_ok() && begun.elapsed() <= limit, "{kind:?}: open after {:?}", begun.elapsed());
            client.abort();
        }
    }

    #[tokio::test]
    async fn a_full_listener_closes_the_connection_without_a_request_for_the_longest_time() {
        let (address, ..) = start(2);
        let connect = || TcpStream::connect(&address);
        let mut in_use = connect().await.unwrap();
        ask(&mut in_use).await.unwrap();
        let mut silent = connect().await.unwrap();
        ask(&mut in_use).await.unwrap();
        let mut newest = connect().await.unwrap();
        ask(&mut newest).await.unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0, "it was not closed");
        ask(&mut in_use).await.unwrap();
        ask(&mut newest).await.unwrap();
    }

    #[tokio::test]
    async fn a_head_of_the_longest_query_is_read_and_a_longer_one_refused() {
        let (address, ..) = start(2);
        let longest = get_once(&address, &format!("/?{}", "q".repeat(8 * 1024))).await.unwrap();
        assert!(longest.starts_with("HTTP/1.1 200"), "{longest}");
        let longer = get_once(&address, &format!("/?{}", "q".repeat(MAX_HEAD_BYTES - 10))).await.unwrap();
        assert!(longer.starts_with("HTTP/1.1 4"), "{longer}");
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_within_the_limits_although_clients_are_slow() {
        let (address, stop, serving) = start(8);
        let mut held = Vec::new();
        for _ in 0..4 {
            let mut stream = TcpStream::connect(&address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            held.push(stream);
        }
        ask(&mut TcpStream::connect(&address).await.unwrap()).await.unwrap();
        stop.cancel();
        tokio::time::timeout(REQUEST_LIMIT, serving).await.unwrap().unwrap().unwrap();
    }
}
