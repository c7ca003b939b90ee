//! Publishing a refresh plan with the sets: in full, as a difference, by another leader, and after other clients have
//! edited it.

use super::difference::Counted;
use super::*;

/// An interval of so many seconds.
fn every(seconds: u64) -> PlannedInterval {
    PlannedInterval::new(Duration::from_secs(seconds))
}

/// The plan that all servers have the same interval.
fn flat(total: usize, first_hot: usize, seconds: u64) -> Arc<Publication> {
    planned_fleet("a", total, first_hot, |_| Some(every(seconds)))
}

/// Another client's edit of one interval, of which [`flat`] with 100 servers has 80.
const EDITED: &str = "https://mcp-50.example.com/a";

/// What another client may do to the plan.
fn edits() -> [Vec<redis::Cmd>; 8] {
    let (stray, string) = ("https://stray.example/", redis::Cmd::set(INTERVALS, "600"));
    [
        vec![redis::Cmd::hset(INTERVALS, EDITED, "601")],
        vec![redis::Cmd::hset(INTERVALS, EDITED, "soon")],
        vec![redis::Cmd::hdel(INTERVALS, EDITED)],
        vec![redis::Cmd::hset(INTERVALS, stray, "600")],
        vec![redis::Cmd::hdel(INTERVALS, EDITED), redis::Cmd::hset(INTERVALS, stray, "600")],
        vec![redis::Cmd::del(INTERVALS)],
        vec![redis::Cmd::del(INTERVALS), string],
        vec![redis::Cmd::del(INTERVALS), redis::Cmd::sadd(INTERVALS, EDITED)],
    ]
}

async fn edit(redis: &mut MultiplexedConnection, commands: &[redis::Cmd]) {
    for command in commands {
        command.exec_async(redis).await.unwrap();
    }
}

#[tokio::test]
async fn a_plan_is_published_in_full_and_by_difference() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    let asked = UnixTime::from_seconds(1_763_800_000.0).unwrap();
    let rounds = [
        flat(100, 0, 600),
        flat(100, 0, 600),
        // Every third server gets another interval, another poll, or none.
        planned_fleet("a", 100, 0, |n| Some(every(600 + 300 * (n as u64 % 3)))),
        planned_fleet("a", 100, 0, |n| {
            Some(if n % 3 == 0 { every(600).due_if_polled_before(asked) } else { every(600) })
        }),
        planned_fleet("a", 100, 0, |n| Some(every(600)).filter(|_| n % 3 > 0)),
        // Servers move between the tiers, come and go.
        flat(100, 7, 600),
        flat(90, 50, 1200),
        flat(120, 3, 900),
        // Off, and on again.
        fleet("a", 120, 3),
        fleet("a", 120, 4),
        flat(120, 4, 900),
        fleet("a", 0, 0),
        flat(3, 0, 300),
    ];
    for (round, publication) in rounds.iter().enumerate() {
        assert_eq!(counted.store.publish(&token, publication, None).await, PUBLISHED, "round {round}");
        assert_published(&mut redis, publication, 1).await;
    }
    let counts = ["full", "difference", "unchanged"].map(|kind| counted.count(kind, "published"));
    assert_eq!(counts, [1, 11, 1]);
}

#[tokio::test]
async fn a_large_change_of_a_plan_is_staged_instead() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    for (publication, kinds) in [
        (flat(12_000, 0, 600), [1, 0]),
        (planned_fleet("a", 12_000, 0, |n| Some(every(if n < 4_900 { 900 } else { 600 }))), [1, 1]),
        (flat(12_000, 0, 1200), [2, 1]),
        (fleet("a", 12_000, 0), [3, 1]),
        (flat(12_000, 0, 600), [4, 1]),
    ] {
        assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED);
        assert_published(&mut redis, &publication, 1).await;
        assert_eq!([counted.count("full", "published"), counted.count("difference", "published")], kinds);
    }
}

/// Whatever was changed, a difference that touches it, or changes the size of the plan, is not applied to it.
#[tokio::test]
async fn a_changed_plan_leads_to_a_full_publication() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    let edits = edits();
    let count = edits.len();
    for commands in edits {
        assert_eq!(counted.store.publish(&token, &flat(100, 0, 600), None).await, PUBLISHED);
        edit(&mut redis, &commands).await;
        let next = flat(100, 2, 900);
        assert_eq!(counted.store.publish(&token, &next, None).await, PUBLISHED);
        assert_published(&mut redis, &next, 1).await;
    }
    assert_eq!([counted.count("difference", "base"), counted.count("full", "published")], [count, 1 + count]);
}

/// Without a plan, a key that another client has made must not rule any reader.
#[tokio::test]
async fn a_plan_of_another_client_is_removed() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    assert_eq!(counted.store.publish(&token, &fleet("a", 100, 0), None).await, PUBLISHED);
    for planted in [redis::Cmd::hset(INTERVALS, EDITED, "86400"), redis::Cmd::set(INTERVALS, "x")] {
        planted.exec_async(&mut redis).await.unwrap();
        let publication = fleet("a", 100, 2);
        assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED);
        assert_published(&mut redis, &publication, 1).await;
    }
    assert_eq!(counted.count("full", "published"), 3);
}

#[tokio::test]
async fn the_keeper_reports_a_lost_or_planted_plan() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    let token = token(3);
    let mut kept = Kept::start(&server, TakeoverPolicy::Idle, token.clone());
    kept.is(LockState::Held).await;
    let (wrong_type, with_stray) = (edits()[7].clone(), edits()[3].clone());
    for (publication, edit_of) in [
        (flat(100, 0, 600), vec![redis::Cmd::del(INTERVALS)]),
        (flat(100, 0, 600), wrong_type),
        (flat(100, 0, 600), with_stray.clone()),
        (fleet("a", 100, 0), with_stray),
    ] {
        assert_eq!(kept.store.publish(&token, &publication, None).await, PUBLISHED);
        assert!(!kept.reports_difference(Duration::from_millis(1_500)).await, "it is our own");
        edit(&mut redis, &edit_of).await;
        assert!(kept.reports_difference(Duration::from_secs(5)).await);
    }
}

/// Neither the sizes nor the metadata show such an edit; reading back does.
#[tokio::test]
async fn an_edited_interval_is_found_within_ten_cycles() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    for total in [1, 50, 3_000] {
        let publication = flat(total, 0, 600);
        assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED);
        for cycle in 0..25 {
            assert_eq!(
                read_back(&counted.store, &publication).await,
                Ok(ReadBack::AsPublished),
                "{total} servers, {cycle}"
            );
        }
    }
    let publication = flat(3_000, 0, 600);
    assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED);
    for edited in (600..3_000).step_by(173) {
        let member = format!("https://mcp-{edited}.example.com/a");
        let _: () = redis.hset(INTERVALS, &member, "86400").await.unwrap();
        let mut cycles = 0;
        while read_back(&counted.store, &publication).await.unwrap() == ReadBack::AsPublished {
            cycles += 1;
            assert!(cycles < 10, "not found: {member}");
        }
        assert_eq!(counted.store.publish(&token, &publication, None).await, PUBLISHED);
        assert_published(&mut redis, &publication, 1).await;
    }
    // A plan that is switched off in the middle of a scan leaves nothing to scan.
    for first_hot in 0..4 {
        let (on, off) = (flat(3_000, first_hot, 600), fleet("a", 3_000, first_hot));
        assert_eq!(counted.store.publish(&token, &on, None).await, PUBLISHED);
        for _ in 0..9 {
            assert_eq!(read_back(&counted.store, &on).await, Ok(ReadBack::AsPublished));
        }
        assert_eq!(counted.store.publish(&token, &off, None).await, PUBLISHED);
        assert_eq!(read_back(&counted.store, &off).await, Ok(ReadBack::AsPublished));
    }
}

#[tokio::test]
async fn a_plan_is_renewed_and_withdrawn_with_the_sets() {
    let server = RedisServer::start(&[]);
    let (store, mut redis, token) = (store(&server), server.connection().await, token(1));
    let publication = flat(10, 0, 600);
    assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
    let _: () = redis.expire(INTERVALS, 50).await.unwrap();
    let found = store.renew(&token, None).await.unwrap();
    assert_eq!((found.hot, found.cold, found.planned), (Some(2), Some(8), Some(8)));
    assert!(redis.ttl::<_, i64>(INTERVALS).await.unwrap() <= 50);
    store.renew(&token, FULL).await.unwrap();
    assert_published(&mut redis, &publication, 1).await;
    assert_eq!(store.withdraw(&token).await, Ok(()));
    assert!(!redis.exists::<_, bool>(INTERVALS).await.unwrap());
    let _: () = redis.hset(INTERVALS, EDITED, "600").await.unwrap();
    assert!(store.renew(&token, None).await.unwrap().any, "a plan alone is noticed, too");
    assert_eq!(store.withdraw(&token).await, Ok(()));
    assert!(!redis.exists::<_, bool>(INTERVALS).await.unwrap());
}

#[tokio::test]
async fn a_new_leader_replaces_the_plan_and_a_stale_one_does_not() {
    let server = RedisServer::start(&[]);
    let (old, new, mut redis) = (store(&server), store(&server), server.connection().await);
    assert_eq!(old.publish(&token(4), &flat(100, 0, 600), None).await, PUBLISHED);
    let next = planned_fleet("a", 100, 3, |n| Some(every(900)).filter(|_| n % 2 == 0));
    assert_eq!(new.publish(&token(5), &next, None).await, PUBLISHED);
    assert_published(&mut redis, &next, 5).await;
    let fenced = Err(NotWritten::Fenced { by: term(5) });
    assert_eq!(old.publish(&token(4), &flat(100, 0, 300), None).await, fenced);
    assert_published(&mut redis, &next, 5).await;
    // The new leader makes no plan: that of its predecessor is gone.
    let without = fleet("a", 100, 3);
    assert_eq!(old.publish(&token(6), &without, None).await, PUBLISHED);
    assert_published(&mut redis, &without, 6).await;
}

/// The hot servers of a publication that does not fit to the plan would have an interval.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_sets_and_plan_of_two_publications() {
    let server = RedisServer::start(&[]);
    let (store, token) = (store(&server), token(1));
    // Publication n has the interval n + 1, and begins its hot servers with number n.
    let publication = |n: usize| flat(500, n % 400, n as u64 % 400 + 1);
    assert_eq!(store.publish(&token, &publication(0), None).await, PUBLISHED);
    let (mut redis, mut other) = (server.connection().await, server.connection().await);
    let (stop, stopped) = watch::channel(false);
    let reader = tokio::spawn(async move {
        let mut reads = 0_usize;
        while !*stopped.borrow() {
            let (hot, cold, plan): (BTreeSet<String>, BTreeSet<String>, BTreeMap<String, String>) = redis::pipe()
                .atomic()
                .smembers(HOT)
                .smembers(COLD)
                .hgetall(INTERVALS)
                .query_async(&mut redis)
                .await
                .unwrap();
            assert_eq!(plan.keys().cloned().collect::<BTreeSet<_>>(), cold);
            let intervals: BTreeSet<&String> = plan.values().collect();
            assert_eq!(intervals.len(), 1, "{intervals:?}");
            let first: usize = intervals.first().unwrap().parse().unwrap();
            assert!(hot.contains(&format!("https://mcp-{}.example.com/a", first - 1)));
            assert_eq!(hot.len(), 100);
            reads += 1;
        }
        reads
    });
    for n in 0..200 {
        // Every tenth is staged, because the base does not hold.
        if n % 10 == 0 {
            let _: () = other.set(METADATA, "{}").await.unwrap();
        }
        assert_eq!(store.publish(&token, &publication(n), None).await, PUBLISHED);
    }
    stop.send(true).unwrap();
    let reads = reader.await.unwrap();
    assert!(reads > 20, "the reader hardly ran: {reads}");
}

/// Publishing no plan needs no permission for hashes; publishing one without them leaves nothing half done.
#[tokio::test]
async fn a_user_without_a_command_for_hashes_publishes_no_plan() {
    let server = RedisServer::start(&[]);
    let mut redis = server.connection().await;
    for (missing, key) in [("-hset", "staging"), ("-hlen", "staging"), ("-hmget", INTERVALS), ("-hdel", INTERVALS)] {
        let user = &missing[1..];
        let rules = ["on", ">planted-pw", "~mcpgateway:*", "+@all", missing];
        let _: () = redis::cmd("ACL").arg("SETUSER").arg(user).arg(&rules).query_async(&mut redis).await.unwrap();
        let store = store_at(&format!("redis://{user}:planted-pw@127.0.0.1:{}", server.port()));
        let _: () = redis.flushall().await.unwrap();
        let mut before = fleet("a", 10, 0);
        assert_eq!(store.publish(&token(1), &before, None).await, PUBLISHED);
        if key == INTERVALS {
            // Enough to publish in full, but not by difference.
            before = flat(4_000, 0, 600);
            assert_eq!(store.publish(&token(1), &before, None).await, PUBLISHED);
        }
        assert_published(&mut redis, &before, 1).await;
        let next = flat(if key == INTERVALS { 4_000 } else { 4_001 }, 3, 600);
        let refused = store.publish(&token(1), &next, None).await;
        let Err(NotWritten::Failed(Error::NoPermission(denied))) = refused else { panic!("{missing}: {refused:?}") };
        assert_eq!(denied.command.to_lowercase(), missing[1..], "named");
        assert!(denied.key.as_ref().is_none_or(|found| found.contains(key)), "{denied}");
        assert_published(&mut redis, &before, 1).await;
    }
}

#[tokio::test]
async fn the_acl_on_the_page_is_enough_to_publish_a_plan() {
    let server = RedisServer::start(&[]);
    let url = as_user_of_the_page(&server, "mcpgateway-operator").await;
    let (store, mut redis, token) = (store_at(&url), server.connection().await, token(1));
    for publication in [flat(100, 0, 600), flat(100, 2, 900), fleet("a", 100, 2), flat(100, 2, 900)] {
        assert_eq!(store.publish(&token, &publication, None).await, PUBLISHED);
        assert_published(&mut redis, &publication, 1).await;
        for _ in 0..11 {
            assert_eq!(read_back(&store, &publication).await, Ok(ReadBack::AsPublished));
        }
        store.renew(&token, FULL).await.unwrap();
    }
    assert_eq!(store.withdraw(&token).await, Ok(()));
    let log: Vec<redis::Value> = redis::cmd("ACL").arg("LOG").query_async(&mut redis).await.unwrap();
    assert!(log.is_empty(), "{log:?}");
}

/// What Redis has read from its sockets so far, without the `INFO` that asks for it.
#[derive(Clone, Copy, Debug)]
struct Traffic {
    bytes: usize,
    /// Requests of up to 16 KiB are read at once, so each is a round trip.
    reads: usize,
}

impl Traffic {
    async fn of(redis: &mut MultiplexedConnection, what: impl AsyncFnOnce()) -> Self {
        let (_, before) = (Self::so_far(redis).await, Self::so_far(redis).await);
        let asking = Self::so_far(redis).await;
        what().await;
        let after = Self::so_far(redis).await;
        let cost = |of: fn(Self) -> usize| (of(after) - of(asking)) - (of(asking) - of(before));
        Self { bytes: cost(|traffic| traffic.bytes), reads: cost(|traffic| traffic.reads) }
    }

    async fn so_far(redis: &mut MultiplexedConnection) -> Self {
        let text: String = redis::cmd("INFO").arg("stats").query_async(redis).await.unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap();
        Self { bytes: field("total_net_input_bytes:"), reads: field("total_reads_processed:") }
    }
}

/// The budgets of a plan (`docs/contract.md#budgets`): a quiet cycle costs nothing, a change what it changes.
#[tokio::test]
async fn a_plan_of_100_000_servers_adds_nothing_to_quiet_cycles_and_a_change_costs_what_it_changes() {
    let server = RedisServer::start(&[]);
    let (counted, mut redis, token) = (Counted::at(&server), server.connection().await, token(1));
    let servers = servers("some-longer-path-as-servers-have-it", 100_000);
    let store = &counted.store;
    let publish = async |publication: &Arc<Publication>| {
        assert_eq!(store.publish(&token, publication, None).await, PUBLISHED);
    };
    let mut quiet = Vec::new();
    for publication in [planned_servers(&servers, 0, |_| None), planned_servers(&servers, 0, |_| Some(every(14_400)))] {
        // The second call of a script does not send its text.
        publish(&publication).await;
        publish(&publication).await;
        store.renew(&token, FULL).await.unwrap();
        let cycles = async || {
            for _ in 0..10 {
                publish(&publication).await;
                store.renew(&token, FULL).await.unwrap();
                assert_eq!(read_back(store, &publication).await, Ok(ReadBack::AsPublished));
            }
        };
        let publishing = Traffic::of(&mut redis, async || publish(&publication).await).await;
        quiet.push((publishing, Traffic::of(&mut redis, cycles).await));
    }
    let [(without, cycles_without), (with, cycles)] = quiet[..] else { panic!("{quiet:?}") };

    // Each to an interval of its own.
    let interval = |n: usize| if n > 98_999 { every(7_200 - n as u64 % 720) } else { every(14_400) };
    let changed = planned_servers(&servers, 0, |n| Some(interval(n)));
    publish(&planned_servers(&servers, 0, |n| Some(every(14_400 - u64::from(n == 50_000))))).await;
    let change = Traffic::of(&mut redis, async || publish(&changed).await).await;
    assert_published(&mut redis, &changed, 1).await;
    println!(
        "a quiet publication: {without:?}, with a plan {with:?}; ten quiet cycles: {cycles_without:?}, with a plan \
         {cycles:?}; 1,000 intervals changed: {} bytes",
        change.bytes
    );
    assert_eq!((without.reads, with.reads), (1, 1));
    assert!(with.bytes <= 1_024 && with.bytes <= without.bytes + 8);
    assert!(cycles.reads <= cycles_without.reads, "{cycles:?} {cycles_without:?}");
    assert!(cycles.bytes <= cycles_without.bytes + 10 * 1_024);
    assert!(change.bytes <= 100_000, "{change:?}");
}
