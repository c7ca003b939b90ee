//! What Redis refuses, and how that is named; certificates of clients.

use std::path::Path;

use super::*;
use crate::support::relay::Relay;
use mcpgateway_operator::model::GatewayId;
use mcpgateway_operator::poll::{Intervals, Poll, PollType};
use mcpgateway_operator::publish::{PollMetrics, Polls};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// A store that renews, and so resolves the name again, once a second.
fn quick(access: RedisAccess) -> Store {
    let settings = settings("redis://unused");
    Store::new(
        RedisSettings { access, interval: Duration::from_secs(6), ..settings },
        ReferenceClock::default(),
        Metrics::default(),
    )
}

#[tokio::test]
async fn case_05_a_renamed_info_is_no_reason_to_be_never_ready() {
    for arguments in [&["--rename-command", "INFO", "''"][..], &["--rename-command", "INFO", "hidden"]] {
        let server = RedisServer::start(arguments);
        let store = store(&server);
        store.ping().await.unwrap();
        let publication = fleet("a", 10, 0);
        assert_eq!(store.publish(&token(1), &publication, None).await, PUBLISHED);
        assert_published(&mut server.connection().await, &publication, 1).await;
    }
}

#[tokio::test]
async fn commands_that_are_switched_off_are_named() {
    for command in ["TIME", "EVALSHA", "TYPE", "PEXPIREAT", "SADD", "GETRANGE"] {
        let server = RedisServer::start(&["--rename-command", command, "''"]);
        let refused = store(&server).publish(&token(1), &fleet("a", 10, 0), None).await;
        // The first publication is sent as a whole script.
        let expected = NotWritten::Failed(Error::UnknownCommand { command: command.to_owned() });
        assert!(command == "GETRANGE" || refused == Err(expected), "{command}: {refused:?}");
        let text = format!("{refused:?} {:?}", store(&server).ping().await);
        assert!(text.contains(command) || command == "PEXPIREAT", "{text}");
    }
    let server = RedisServer::start(&["--rename-command", "PING", "''"]);
    store(&server).ping().await.unwrap();
}

#[tokio::test]
async fn case_05_a_database_that_does_not_exist_is_named() {
    let server = RedisServer::start(&["--databases", "1"]);
    let store = store_at(&format!("{}?db=2", server.url()));
    let error = store.ping().await.unwrap_err();
    assert_eq!(error, Error::NoSuchDatabase { number: 2 });
    assert!(error.to_string().contains("SELECT 2"), "{error}");
}

#[tokio::test]
async fn case_04_the_database_in_the_query_is_the_one_that_is_written() {
    let server = RedisServer::start(&[]);
    for (query, protocol) in [("?db=2", 2), ("/2?protocol=3", 3)] {
        let store = store_at(&format!("{}{query}", server.url()));
        let publication = fleet("a", 10, protocol);
        assert_eq!(store.publish(&token(1), &publication, None).await, PUBLISHED);
        store.renew(&token(1), FULL).await.unwrap();
        assert_eq!(store.stored().await.unwrap().hot.len(), publication.sizes.hot);
        let mut redis = server.connection().await;
        let _: () = redis::cmd("SELECT").arg(2).query_async(&mut redis).await.unwrap();
        assert_published(&mut redis, &publication, 1).await;
        let _: () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
        assert_eq!(server.connection().await.keys::<_, Vec<String>>("*").await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn case_05_a_full_redis_is_named_and_an_open_connection_to_it_is_kept() {
    let server = RedisServer::start(&[]);
    let mut other = server.connection().await;
    let _: () = redis::cmd("CONFIG").arg(&["SET", "maxclients", "1"]).query_async(&mut other).await.unwrap();
    let quick = quick(access(&server.url()));
    for url in [server.url(), format!("redis://:planted@127.0.0.1:{}", server.port())] {
        let store = store_at(&url);
        let error = store.ping().await.unwrap_err();
        assert_eq!(error, Error::TooManyClients, "{url}");
        assert!(error.to_string().contains("max number of clients"), "{error}");
    }
    drop(other);
    let connected = async || quick.ping().await.is_ok();
    let began = Instant::now();
    while !connected().await {
        assert!(began.elapsed() < Duration::from_secs(10), "the other one is gone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Longer than a connection is used.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    quick.ping().await.unwrap();
    assert_eq!(store(&server).ping().await, Err(Error::TooManyClients));
    quick.ping().await.unwrap();
}

/// A socket that says this to whoever connects, and hangs up.
async fn saying(line: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(line.as_bytes()).await.ok();
        }
    });
    address.to_string()
}

#[tokio::test]
async fn what_a_server_says_before_it_hangs_up_is_named() {
    let denied = saying("-DENIED Redis is running in protected mode because protected mode is enabled\r\n").await;
    let full = saying("-ERR max number of clients reached\r\n").await;
    let odd = saying("-ERR planted-words\r\n").await;
    for login in ["", ":planted@"] {
        let ping = async |address: &str| store_at(&format!("redis://{login}{address}")).ping().await.unwrap_err();
        assert_eq!(ping(&denied).await, Error::ProtectedMode);
        assert_eq!(ping(&full).await, Error::TooManyClients);
        let error = ping(&odd).await;
        assert!(login.is_empty() || !error.to_string().contains("planted"), "{error}");
    }
}

/// Makes a certificate for 127.0.0.1 that vouches for itself, for server and client.
fn certificate(folder: &Path, name: &str) {
    let request = format!(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -addext subjectAltName=IP:127.0.0.1 -addext \
         basicConstraints=critical,CA:FALSE -keyout {name}.key -out {name}.pem"
    );
    let made = std::process::Command::new("openssl").args(request.split_whitespace()).current_dir(folder).output();
    assert!(made.expect("openssl is installed").status.success());
}

#[tokio::test]
async fn a_client_certificate_is_presented_and_its_files_are_read_again() {
    // The program does this in main.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    for name in ["server", "client", "other"] {
        certificate(folder.path(), name);
    }
    let file = |name: &str| folder.path().join(name);
    let path = |name: &str| file(name).display().to_string();
    let tls_port = support::free_port().to_string();
    // Redis asks for a client certificate by default.
    let server = RedisServer::start(&[
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &path("server.pem"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("client.pem"),
    ]);
    let url = format!("rediss://127.0.0.1:{tls_port}");
    let trusting = RedisAccess { ca_file: Some(file("server.pem")), ..access(&url) };
    let Err(Error::Unreachable(why)) = quick(trusting.clone()).ping().await else {
        panic!("no certificate was needed")
    };
    println!("without a certificate: {why}");

    let identity = Some((file("tls.crt"), file("tls.key")));
    let store = quick(RedisAccess { client_identity: identity, ..trusting });
    assert_eq!(store.ping().await, Err(Error::ClientIdentityUnreadable));
    let write = |cert: &str, key: &str| {
        std::fs::copy(file(cert), file("tls.crt")).unwrap();
        std::fs::copy(file(key), file("tls.key")).unwrap();
    };
    write("client.pem", "client.key");
    store.ping().await.unwrap();
    let publication = fleet("a", 10, 0);
    assert_eq!(store.publish(&token(1), &publication, None).await, PUBLISHED);
    store.renew(&token(1), FULL).await.unwrap();
    let hot: usize = server.connection().await.scard(HOT).await.unwrap();
    assert_eq!(hot, publication.sizes.hot);

    // Each is read by the next connection, at most a second later.
    let next = async || {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        store.ping().await
    };
    write("client.pem", "other.key");
    assert_eq!(next().await, Err(Error::ClientIdentityUnreadable), "the key of another certificate");
    write("other.pem", "other.key");
    assert!(matches!(next().await, Err(Error::Unreachable(_))), "a certificate that Redis does not trust");
    std::fs::write(file("tls.crt"), "no certificate").unwrap();
    assert_eq!(next().await, Err(Error::ClientIdentityUnreadable));
    write("client.pem", "client.key");
    next().await.unwrap();
}

/// What a gateway's library does: it may ask a thousand times a second, and must not connect for each refusal.
#[tokio::test]
async fn polls_follow_a_name_that_moves_and_connect_at_most_once_a_second() {
    let old = RedisServer::start(&["--replicaof", "127.0.0.1", "1"]);
    let new = RedisServer::start(&[]);
    let relay = Relay::to(old.port()).await;
    let polls = Polls::new(Some(access(&relay.url())), Intervals::default(), PollMetrics::default());
    let url = ServerUrl::parse("https://mcp.example.com/a").unwrap();
    let poll = Poll { url, gateway: GatewayId::parse("a"), kind: PollType::Health };
    let connections = async || -> u64 {
        let stats: String = redis::cmd("INFO").arg("stats").query_async(&mut old.connection().await).await.unwrap();
        let line = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
        line.trim().parse().unwrap()
    };
    let (before, began) = (connections().await, Instant::now());
    for _ in 0..200 {
        assert_eq!(polls.completed(&poll).await, Err(Error::ReadOnly));
    }
    let opened = connections().await - before;
    // One of them is that of the statistics.
    assert!(opened <= 3 + began.elapsed().as_secs(), "{opened} connections for 200 refusals");
    relay.move_to(new.port());
    let moved = Instant::now();
    while polls.completed(&poll).await.is_err() {
        assert!(moved.elapsed() < Duration::from_secs(5), "it stays with the old one");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let stamps: Vec<String> = new.connection().await.keys("*last_health").await.unwrap();
    assert_eq!(stamps.len(), 1);
}
