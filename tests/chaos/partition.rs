//! docs/contract.md#l4, docs/contract.md#l5, docs/contract.md#l7, docs/contract.md#l9, docs/contract.md#r5,
//! docs/contract.md#r6: a replica that cannot reach the API server or Redis, or not in time.

use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use redis::AsyncCommands;

use crate::proxy::{Mode, Proxy};
use crate::row::{Row, SETTLED, SETTLED_AFTER_LEASE};
use crate::support::api_proxy::{ApiProxy, Fault};
use crate::support::fleet::key;
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};
use mcpgateway_operator::api::v1alpha1::RedisLockState;

/// A leader that reaches the API server through a proxy, and a standby that reaches it directly.
async fn behind_api_proxy(row: &Row) -> (ApiProxy, Operator, Operator) {
    let api = ApiProxy::start(row.fleet.client.clone()).await;
    let kubeconfig = api.kubeconfig();
    let flags = ["--redis-url", &row.fleet.redis.url()];
    let first = row.fleet.operator_as(kubeconfig.path(), &flags);
    row.fleet.settled().await;
    let second = row.fleet.operator();
    second.ready().await;
    (api, first, second)
}

/// A leader that reaches Redis through a proxy.
async fn behind_redis_proxy(row: &Row) -> (Proxy, Operator) {
    let proxy = Proxy::start(row.fleet.redis.port()).await;
    let operator = row.fleet.operator_with(&["--redis-url", &proxy.url()]);
    row.fleet.settled().await;
    (proxy, operator)
}

async fn leads(operator: &Operator, wanted: bool) {
    let name = "mcpgateway_operator_leader";
    eventually(&format!("leads: {wanted}"), SOON, || async {
        ((operator.metric(name).await > 0.0) == wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l4_late_or_wrong_answers_to_renewals_make_the_leader_step_down_by_its_own_clock() {
    let row =
        Row::begin("L4", "Lease calls answered late, with 504 though executed, 409, 429 with Retry-After 60").await;
    let (api, first, second) = behind_api_proxy(&row).await;
    // Late or wrong answers before the deadline: the leader keeps leading.
    let term = row.term().await;
    for fault in [Fault::Late(Duration::from_millis(700)), Fault::DoneBut504, Fault::Conflict] {
        let spell = if matches!(fault, Fault::Conflict) { Duration::from_secs(1) } else { Duration::from_secs(5) };
        api.fault_on("/leases", fault);
        tokio::time::sleep(spell).await;
        api.fault(Fault::None);
        first.cycles(1).await;
        assert_eq!(row.term().await, term, "it never stopped leading");
    }
    // Answers after the deadline, or none: the standby takes over within the lease duration.
    let mut leader = &first;
    for fault in [Fault::Late(Duration::from_secs(3)), Fault::Throttled, Fault::Refused] {
        let term = row.term().await;
        api.fault_on("/leases", fault);
        row.taken_over(term).await;
        leads(leader, false).await;
        row.use_servers(["d", "e"]);
        row.shows_hot(["d", "e"], SETTLED).await;
        api.fault(Fault::None);
        // Returns leadership to the replica behind the proxy, for the next fault.
        second.signal("STOP");
        row.taken_over(row.term().await).await;
        second.signal("CONT");
        leads(&second, false).await;
        leader = &first;
        row.use_servers(["b", "c"]);
        row.shows_hot(["b", "c"], SETTLED).await;
    }
    row.end("P1, P3; it kept leading when it could, and stepped down by its own clock when it could not").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l5_a_leader_cut_off_from_the_api_server_is_replaced_without_a_gap_in_the_lock() {
    let row = Row::begin("L5.1", "leader cut off from the API server; then only the answers are lost").await;
    let (api, first, second) = behind_api_proxy(&row).await;
    let term = row.term().await;
    api.fault(Fault::Hang);
    let took = row.taken_over(term).await;
    row.use_servers(["b", "c"]);
    row.shows_hot(["b", "c"], SETTLED).await;
    api.fault(Fault::None);
    leads(&first, false).await;
    second.signal("STOP");
    row.taken_over(row.term().await).await;
    second.signal("CONT");
    leads(&second, false).await;
    // One direction: its requests are executed, and it receives no answer.
    let term = row.term().await;
    api.fault(Fault::Late(Duration::from_secs(3_600)));
    let one_way = row.taken_over(term).await;
    row.use_servers(["d", "e"]);
    row.shows_hot(["d", "e"], SETTLED).await;
    api.fault(Fault::None);
    row.end(&format!("P1, P3, P5: takeover after {took:.1?} and {one_way:.1?}, lock never free")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l5_a_leader_cut_off_from_redis_keeps_leading_and_writes_statuses() {
    let row = Row::begin("L5.2", "leader cut off from Redis: both directions, then only the answers").await;
    let (proxy, operator) = behind_redis_proxy(&row).await;
    let term = row.term().await;
    for (mode, names) in [(Mode::Cut, ["b", "c"]), (Mode::LoseAnswers, ["d", "e"])] {
        proxy.mode(mode);
        row.use_servers(names);
        eventually("statuses are still written", SOON, || async {
            let hot = row.fleet.statuses().await.hot;
            hot.contains(&format!("http://{}.example/mcp", names[0])).then_some(())
        })
        .await;
        operator.cycles(1).await;
        let lock = row.fleet.status().await.redis_lock;
        assert_eq!(lock.state, RedisLockState::Unreachable, "{lock:?}");
        proxy.mode(Mode::Pass);
        row.shows_hot(names, SETTLED).await;
    }
    assert_eq!(row.term().await, term, "the Lease was kept at its term");
    row.end("P1, P3; Lease and statuses continued, the sets came back, the status showed Unreachable").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l7_sigterm_during_a_publication_hands_over_within_a_second_and_exits_cleanly() {
    let row = Row::begin("L7", "SIGTERM while a publication is held; a second SIGTERM").await;
    let (proxy, mut first) = behind_redis_proxy(&row).await;
    let mut second = row.fleet.operator();
    second.ready().await;
    proxy.mode(Mode::HoldRequests);
    row.use_servers(["b", "c"]);
    eventually("a publication is in flight", SOON, || async { (proxy.held() > 0).then_some(()) }).await;
    let term = row.term().await;
    let begun = Instant::now();
    let (ended, _) = tokio::join!(first.stop(), row.taken_over(term));
    let took = begun.elapsed();
    assert!(ended.success(), "{ended}");
    assert!(took < Duration::from_secs(1), "handover after {took:?}");
    proxy.mode(Mode::Pass);
    row.shows_hot(["b", "c"], SETTLED).await;
    // Two signals at once end the process, whatever it is doing.
    second.signal("TERM");
    let begun = Instant::now();
    let ended = second.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    row.end(&format!("P1, P3, P5: handover after {took:.2?}, exit 0; after a second signal {ended}")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l9_a_term_computed_too_low_is_raised() {
    let row = Row::begin(
        "L9",
        "Redis unreachable at the acquisition while it holds a higher term; a status with a higher term",
    )
    .await;
    let (proxy, mut operator) = behind_redis_proxy(&row).await;
    operator.stop().await;
    let mut redis = row.fleet.redis.connection().await;
    for (round, planted) in [50, 1_500_000_000].into_iter().enumerate() {
        proxy.mode(Mode::Cut);
        let _: () = redis.set(key("term"), planted).await.unwrap();
        operator = row.fleet.operator_with(&["--redis-url", &proxy.url()]);
        // Without Redis the replica is not ready, but it leads.
        leads(&operator, true).await;
        let low = row.term().await;
        assert!(low < planted, "{low}");
        let names = [["b", "c"], ["d", "e"]][round];
        row.use_servers(names);
        proxy.mode(Mode::Pass);
        row.shows_hot(names, SETTLED + Duration::from_secs(2)).await;
        assert!(row.term().await > planted, "raised");
        operator.stop().await;
    }
    // A status gets a higher term than Lease and Redis while a leader runs.
    operator = row.fleet.operator();
    row.fleet.settled().await;
    let term = row.term().await;
    let higher = serde_json::json!({"status": {"term": term + 7}});
    let patch = Patch::Merge(higher);
    row.fleet.objects.patch_status("a", &PatchParams::default(), &patch).await.unwrap();
    row.use_servers(["a", "b"]);
    row.shows_hot(["a", "b"], SETTLED + Duration::from_secs(2)).await;
    assert!(row.term().await > term + 7, "raised above the term of the status");
    drop(operator);
    row.end("P1; raised each time, never stuck").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r5_a_lost_answer_is_harmless_and_a_late_publication_is_refused() {
    let row =
        Row::begin("R5", "connection cut between script and answer; a publication that timed out arrives late").await;
    let (proxy, operator) = behind_redis_proxy(&row).await;
    for names in [["b", "c"], ["d", "e"], ["f", "g"]] {
        proxy.mode(Mode::CutAtAnswer);
        row.use_servers(names);
        operator.cycles(1).await;
        proxy.mode(Mode::Pass);
        row.shows_hot(names, SETTLED).await;
    }
    // Held until newer publications of the same term are stored, then delivered.
    for names in [["b", "c"], ["d", "e"], ["f", "g"]] {
        proxy.mode(Mode::HoldRequests);
        row.use_servers(names);
        eventually("calls are in flight", SOON, || async { (proxy.held() >= 2).then_some(()) }).await;
        // Longer than any call may take: held calls are past their not-after moment.
        operator.cycles(1).await;
        proxy.mode(Mode::Pass);
        row.shows_hot(names, SETTLED).await;
    }
    row.end("P1, P3: no publication was accepted after a newer one of its term").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn r6_a_slow_or_hanging_redis_does_not_delay_the_lease() {
    let row = Row::begin("R6", "Redis takes 2 s per command; then hangs for ever").await;
    let (proxy, operator) = behind_redis_proxy(&row).await;
    let term = row.term().await;
    proxy.mode(Mode::Slow(Duration::from_secs(2)));
    row.use_servers(["b", "c"]);
    operator.cycles(3).await;
    let lock = row.fleet.status().await.redis_lock;
    assert_eq!((lock.state, lock.reason.as_deref()), (RedisLockState::Unreachable, Some("TimedOut")));
    proxy.mode(Mode::Pass);
    row.shows_hot(["b", "c"], SETTLED).await;
    row.fleet.redis.suspend();
    row.use_servers(["d", "e"]);
    operator.cycles(3).await;
    assert!(row.fleet.statuses().await.hot.contains("http://d.example/mcp"), "statuses are still written");
    row.fleet.redis.resume();
    row.shows_hot(["d", "e"], SETTLED_AFTER_LEASE).await;
    assert_eq!(row.term().await, term, "the Lease was kept at its term");
    row.end("P1, P3; calls timed out; Lease and statuses continued").await;
}
