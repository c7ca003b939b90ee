//! What readers and a new leader find.

use super::*;

#[tokio::test]
async fn a_publication_is_read_back_whole() {
    let server = RedisServer::start(&[]);
    let (store, mut redis) = (store(&server), server.connection().await);
    store.ping().await.unwrap();
    let first = fleet("a", 10, 0);
    assert_eq!(store.publish(&token(4), &first, None).await, PUBLISHED);
    assert_published(&mut redis, &first, 4).await;
    let second = fleet("b", 5, 2);
    assert_eq!(store.publish(&token(4), &second, None).await, PUBLISHED);
    assert_published(&mut redis, &second, 4).await;
}

#[tokio::test]
async fn empty_sets_have_no_key() {
    let server = RedisServer::start(&[]);
    let (store, mut redis) = (store(&server), server.connection().await);
    let token = token(1);
    for publication in [fleet("a", 10, 0), fleet("a", 3, 0), fleet("a", 0, 0)] {
        assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
        assert_published(&mut redis, &publication, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_parts_of_two_publications() {
    let server = RedisServer::start(&[]);
    let store = Arc::new(store(&server));
    let token = token(1);
    let total = 500;
    let union = |p: &Publication| &texts(p.hot()) | &texts(p.cold());
    let known = union(&fleet("a", total, 0));
    assert_eq!(store.publish(&token, &fleet("a", total, 0), None).await, PUBLISHED);
    let mut redis = server.connection().await;
    let (stop, stopped) = watch::channel(false);
    let reader = tokio::spawn(async move {
        let mut reads = 0_usize;
        while !*stopped.borrow() {
            let (hot, cold, metadata): (BTreeSet<String>, BTreeSet<String>, String) = redis::pipe()
                .atomic()
                .smembers(HOT)
                .smembers(COLD)
                .get(METADATA)
                .query_async(&mut redis)
                .await
                .unwrap();
            assert!(hot.is_disjoint(&cold));
            assert_eq!(hot.len(), total / 5);
            assert_eq!(&hot | &cold, known);
            assert!(!metadata.is_empty());
            reads += 1;
        }
        reads
    });
    for n in 0..300 {
        assert_eq!(store.publish(&token, &fleet("a", total, n), None).await, PUBLISHED);
    }
    stop.send(true).unwrap();
    let reads = reader.await.unwrap();
    assert!(reads > 20, "the reader hardly ran: {reads}");
}

#[tokio::test]
async fn keys_of_a_wrong_type_are_replaced() {
    let server = RedisServer::start(&[]);
    let (store, mut redis) = (store(&server), server.connection().await);
    for key in [HOT, COLD, METADATA, TIMESTAMP, INTERVALS, TERM] {
        let _: () = redis.rpush(key, "planted").await.unwrap();
    }
    assert_eq!(store.term().await, Ok(None));
    assert_eq!(store.stored().await, Ok(mcpgateway_operator::publish::StoredPublication::default()));
    let token = token(3);
    let Ok(found) = store.renew(&token, FULL).await else { panic!("not renewed") };
    assert_eq!((found.metadata, found.timestamp, found.hot, found.cold), (None, None, None, None));
    assert_eq!(found.planned, None);
    assert_eq!(store.term().await, Ok(Some(term(3))));
    let publication = fleet("a", 10, 0);
    assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
    assert_published(&mut redis, &publication, 3).await;
    let Ok(found) = store.renew(&token, FULL).await else { panic!("not renewed") };
    assert_eq!((found.hot, found.cold, found.planned), (Some(2), Some(8), Some(0)));
    assert_eq!(found.metadata.as_deref(), Some(publication.metadata.as_bytes()));
    assert_eq!(found.timestamp.as_deref(), Some(publication.timestamp.as_bytes()));
}

#[tokio::test]
async fn a_renewal_extends_the_publication_only_if_asked_to() {
    let server = RedisServer::start(&[]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(1));
    assert_eq!(store.publish(&token, &fleet("a", 10, 0), None).await, PUBLISHED);
    for key in [HOT, COLD, METADATA, TIMESTAMP] {
        let _: () = redis.expire(key, 50).await.unwrap();
    }
    store.renew(&token, None).await.unwrap();
    assert!(redis.ttl::<_, i64>(HOT).await.unwrap() <= 50);
    store.renew(&token, Some(Duration::from_secs(90))).await.unwrap();
    for key in [HOT, COLD, METADATA, TIMESTAMP] {
        assert!((60..=90).contains(&redis.ttl::<_, i64>(key).await.unwrap()));
    }
}

#[tokio::test]
async fn a_new_leader_finds_the_stored_hot_set() {
    let server = RedisServer::start(&[]);
    let (store, mut redis) = (store(&server), server.connection().await);
    assert_eq!(store.stored().await.unwrap().timestamp, None);
    let publication = fleet("a", 20_000, 0);
    assert_eq!(store.publish(&token(1), &publication, None).await, PUBLISHED);
    let _: () = redis.sadd(HOT, &["no url", "https://user:planted@h/"]).await.unwrap();
    let stored = store.stored().await.unwrap();
    assert_eq!(stored.timestamp, UnixTime::from_seconds(1_763_800_100.5));
    assert_eq!(stored.hot, publication.hot().cloned().collect());
    let _: () = redis.set(TIMESTAMP, "nan").await.unwrap();
    assert_eq!(store.stored().await.unwrap().timestamp, None);
}

/// Prints times, which are shown with `--nocapture`.
#[tokio::test]
async fn a_hundred_thousand_servers_are_published_and_read_back() {
    let server = RedisServer::start(&[]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(1));
    for round in 0..2 {
        let publication = fleet("large", 100_000, round);
        let began = Instant::now();
        assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
        println!("100,000 servers published in {:?}", began.elapsed());
        assert_published(&mut redis, &publication, 1).await;
    }
    let began = Instant::now();
    assert_eq!(store.stored().await.unwrap().hot.len(), 20_000);
    println!("20,000 hot servers read back in {:?}", began.elapsed());
    for key in ALL {
        assert!(redis.exists::<_, bool>(key).await.unwrap(), "{key}");
    }
}
