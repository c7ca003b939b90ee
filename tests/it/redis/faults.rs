//! Failures of Redis, and what follows from them.

use super::*;

#[tokio::test]
async fn a_redis_that_lost_its_data_is_filled_again() {
    let mut server = RedisServer::start(&[]);
    let (store, publication, token) = (store(&server), fleet("a", 10, 0), token(3));
    assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
    let _: () = server.connection().await.flushall().await.unwrap();
    store.renew(&token, FULL).await.unwrap();
    assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
    assert_published(&mut server.connection().await, &publication, 3).await;
    server.restart();
    // The broken connection may cost one call.
    let outcome = store.publish(&token, &publication, None).await;
    assert!(matches!(outcome, Ok(_) | Err(NotWritten::Failed(Error::Unreachable(_)))), "{outcome:?}");
    assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
    assert_published(&mut server.connection().await, &publication, 3).await;
}

#[tokio::test]
async fn a_forgotten_script_is_sent_again() {
    let server = RedisServer::start(&[]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(1));
    for n in 0..3 {
        let publication = fleet("a", 10, n);
        assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
        assert_published(&mut redis, &publication, 1).await;
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
        store.renew(&token, FULL).await.unwrap();
        let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut redis).await.unwrap();
    }
}

/// Another client removes staged members during up to two hundred publications: each is whole or absent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_whose_staging_is_lost_stays_invisible() {
    let server = RedisServer::start(&[]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(1));
    let mut thief = server.connection().await;
    let (stop, stopped) = watch::channel(false);
    let theft = tokio::spawn(async move {
        while !*stopped.borrow() {
            let staged: Vec<String> = thief.keys("*staging*").await.unwrap();
            for key in staged {
                let _: () = thief.spop(key).await.unwrap();
            }
        }
    });
    let mut lost = 0;
    let mut last = None;
    for n in 0..200 {
        let publication = fleet("a", 4_000, n);
        match store.publish(&token, &publication, None).await {
            Ok(_) => last = Some(publication),
            Err(NotWritten::Failed(Error::StagingLost)) => lost += 1,
            other => panic!("{other:?}"),
        }
        let hot: usize = redis.scard(HOT).await.unwrap();
        assert!(last.as_ref().is_none_or(|last| last.sizes.hot == hot), "{hot}");
        if lost > 3 && last.is_some() {
            break;
        }
    }
    stop.send(true).unwrap();
    theft.await.unwrap();
    assert!(lost > 0, "the thief was never quick enough");
    assert_no_staging(&mut redis).await;
}

#[tokio::test]
async fn calls_to_a_redis_that_is_down_fail_in_time_and_succeed_after_its_return() {
    let mut server = RedisServer::start(&[]);
    let (store, token) = (store(&server), token(1));
    server.kill();
    let began = Instant::now();
    assert!(matches!(store.ping().await, Err(Error::Unreachable(_))));
    assert!(matches!(store.term().await, Err(Error::Unreachable(_))));
    assert!(matches!(store.stored().await, Err(Error::Unreachable(_))));
    assert!(matches!(
        store.publish(&token, &fleet("a", 10, 0), None).await,
        Err(NotWritten::Failed(Error::Unreachable(_)))
    ));
    assert!(matches!(store.renew(&token, FULL).await, Err(NotWritten::Failed(Error::Unreachable(_)))));
    assert!(began.elapsed() < Duration::from_secs(5));
    server.restart();
    assert_eq!(store.publish(&token, &fleet("a", 10, 0), None).await, PUBLISHED);
}

#[tokio::test]
async fn out_of_memory_leaves_the_last_publication_whole() {
    let server = RedisServer::start(&["--maxmemory-policy", "noeviction"]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(1));
    let first = fleet("first", 100, 0);
    assert_eq!(store.publish(&token, &first, None).await, PUBLISHED);
    let limit = |bytes: &str| redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).to_owned();
    let _: () = limit("1").query_async(&mut redis).await.unwrap();
    let refused = store.publish(&token, &fleet("second", 100, 7), None).await;
    assert_eq!(refused, Err(NotWritten::Failed(Error::OutOfMemory)));
    store.renew(&token, FULL).await.unwrap();
    assert_published(&mut redis, &first, 1).await;
    // The empty publication stages nothing: here the script itself is refused.
    assert_eq!(store.publish(&token, &fleet("third", 0, 0), None).await, Err(NotWritten::Failed(Error::OutOfMemory)));
    assert_published(&mut redis, &first, 1).await;
    // A leader with a new term would have to write it: it is refused, and nothing has changed.
    assert_eq!(store.renew(&super::token(2), FULL).await, Err(NotWritten::Failed(Error::OutOfMemory)));
    assert_published(&mut redis, &first, 1).await;
    let _: () = limit("0").query_async(&mut redis).await.unwrap();
    assert_eq!(store.publish(&token, &fleet("third", 100, 9), None).await, PUBLISHED);
}

#[tokio::test]
async fn a_replica_is_refused_by_name() {
    let server = RedisServer::start(&[]);
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &server.port().to_string()]);
    let store = store(&replica);
    let refused = store.publish(&token(1), &fleet("a", 10, 0), None).await;
    assert_eq!(refused, Err(NotWritten::Failed(Error::ReadOnly)));
    assert_eq!(store.renew(&token(1), FULL).await, Err(NotWritten::Failed(Error::ReadOnly)));
}

#[tokio::test]
async fn a_cluster_is_refused_at_every_call() {
    let server = RedisServer::start(&["--cluster-enabled", "yes"]);
    let store = store(&server);
    assert_eq!(store.ping().await, Err(Error::ClusterRefused));
    assert_eq!(
        store.publish(&token(1), &fleet("a", 10, 0), None).await,
        Err(NotWritten::Failed(Error::ClusterRefused))
    );
    assert_eq!(store.renew(&token(1), FULL).await, Err(NotWritten::Failed(Error::ClusterRefused)));
}

#[tokio::test]
async fn a_user_without_a_permission_leaves_nothing_half_done() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let first = fleet("first", 10, 0);
    assert_eq!(store(&server).publish(&token(1), &first, None).await, PUBLISHED);
    for (user, missing, key) in [
        ("a", "-rename", "staging"),
        ("b", "-unlink", HOT),
        ("c", "-pexpireat", HOT),
        ("d", "-persist", TERM),
        ("f", "-type", LOCK),
        ("g", "-getrange", LOCK),
        ("e", "-info", ""),
    ] {
        let rules = ["on", ">planted-pw", "~mcpgateway:*", "+@all", missing];
        let _: () = redis::cmd("ACL").arg("SETUSER").arg(user).arg(&rules).query_async(&mut redis).await.unwrap();
        let limited = store_at(&format!("redis://{user}:planted-pw@127.0.0.1:{}", server.port()));
        assert!(limited.ping().await.is_ok() || missing == "-getrange");
        let outcome = limited.publish(&token(2), &fleet("second", 10, 3), None).await;
        if missing == "-info" {
            assert_eq!(outcome, PUBLISHED, "INFO serves a clear message only");
            break;
        }
        let Err(NotWritten::Failed(Error::NoPermission(denied))) = outcome else { panic!("{missing}: {outcome:?}") };
        assert_eq!(denied.command.to_lowercase(), missing[1..], "named");
        assert!(denied.key.as_ref().is_some_and(|found| found.contains(key)), "{denied}");
        // Without UNLINK, staged sets are left to expire.
        let staged: Vec<String> = redis.keys("*staging*").await.unwrap();
        assert_eq!(staged.is_empty(), missing != "-unlink");
        let _: () = redis.unlink([&staged[..], &["none".to_owned()]].concat()).await.unwrap();
        assert_published(&mut redis, &first, 1).await;
    }
}

#[tokio::test]
async fn a_new_password_is_used_and_no_password_is_shown() {
    let server = RedisServer::start(&["--requirepass", "planted-one"]);
    let file = server.folder().join("password");
    std::fs::write(&file, "planted-two\n").unwrap();
    let settings = with(RedisAccess { password_file: Some(file.clone()), ..access(&server.url()) });
    let store = Store::new(settings, ReferenceClock::default(), Metrics::default());
    assert_eq!(store.ping().await, Err(Error::LoginRefused));
    std::fs::write(&file, "planted-one\n").unwrap();
    store.ping().await.unwrap();
    let in_url = format!("redis://:planted-three@127.0.0.1:{}", server.port());
    let wrong = store_at(&in_url);
    let error = wrong.ping().await.unwrap_err();
    let none = store_at(&server.url()).ping().await.unwrap_err();
    assert_eq!((&error, &none), (&Error::LoginRefused, &Error::LoginRefused));
    let shown = format!("{store:?} {wrong:?} {error:?} {error} {none:?} {:?}", super::settings(&in_url));
    assert!(!shown.contains("planted"), "{shown}");
}

fn with(access: RedisAccess) -> RedisSettings {
    RedisSettings { access, ..settings("redis://unused") }
}

/// A certificate authority and a server certificate for 127.0.0.1, made for this test by `openssl`.
fn certificates(folder: &std::path::Path) {
    let request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
                   -addext basicConstraints=critical,CA:FALSE -keyout key.pem -out cert.pem";
    let made = std::process::Command::new("openssl").args(request.split_whitespace()).current_dir(folder).output();
    assert!(made.expect("openssl is installed").status.success());
}

#[tokio::test]
async fn tls_needs_a_trusted_certificate() {
    // The program does this in main.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let (key, cert) = (file("key.pem").display().to_string(), file("cert.pem").display().to_string());
    let tls_port = support::free_port();
    let arguments = ["--tls-port", &tls_port.to_string(), "--tls-cert-file", &cert, "--tls-key-file", &key];
    let server =
        RedisServer::start(&[&arguments[..], &["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"]].concat());
    let url = format!("rediss://127.0.0.1:{tls_port}");

    let trusting = with(RedisAccess { ca_file: Some(file("cert.pem")), ..access(&url) });
    let store = Store::new(trusting, ReferenceClock::default(), Metrics::default());
    store.ping().await.unwrap();
    let publication = fleet("a", 10, 0);
    assert_eq!(store.publish(&token(1), &publication, None).await, PUBLISHED);
    assert_published(&mut server.connection().await, &publication, 1).await;

    let Err(Error::Unreachable(why)) = store_at(&url).ping().await else { panic!("an unknown authority was trusted") };
    assert!(why.contains("certificate"), "{why}");
    std::fs::write(file("cert.pem"), "no certificate").unwrap();
    let broken = with(RedisAccess { ca_file: Some(file("cert.pem")), ..access(&url) });
    assert_eq!(
        Store::new(broken, ReferenceClock::default(), Metrics::default()).ping().await,
        Err(Error::CaFileUnreadable)
    );
}
