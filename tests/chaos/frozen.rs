//! docs/contract.md#l1: a leader is frozen at a bad moment, and wakes up after another has taken over.

use std::time::Duration;

use crate::proxy::{Mode, Proxy};
use crate::row::{Row, SETTLED, SETTLED_AFTER_LEASE};
use crate::support::api_proxy::{ApiProxy, Fault};
use crate::support::operator::Operator;
use crate::support::{SOON, eventually};

/// A replica behind proxies of its own, so that its requests can be held.
struct Proxied {
    operator: Operator,
    redis: Proxy,
    api: ApiProxy,
    _kubeconfig: tempfile::NamedTempFile,
}

impl Proxied {
    async fn start(row: &Row) -> Self {
        let redis = Proxy::start(row.fleet.redis.port()).await;
        let api = ApiProxy::start(row.fleet.client.clone()).await;
        let kubeconfig = api.kubeconfig();
        let owner = format!("chaos/{}", row.fleet.namespace);
        let flags = ["--redis-url", &redis.url(), "--redis-owner-id", &owner];
        let operator = row.fleet.operator_as(kubeconfig.path(), &flags);
        operator.ready().await;
        Self { operator, redis, api, _kubeconfig: kubeconfig }
    }

    async fn leads(&self) -> bool {
        self.operator.metric("mcpgateway_operator_leader").await > 0.0
    }
}

/// The leader is frozen with a publication and status writes in flight. They arrive after the other replica has
/// published and written. In each of twenty rounds, both stores refuse everything that was held.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l1_no_write_of_a_frozen_leader_is_accepted_in_twenty_rounds() {
    let row = Row::begin("L1.1", "leader frozen with writes in flight, 20 rounds").await;
    let (one, two) = (Proxied::start(&row).await, Proxied::start(&row).await);
    row.fleet.settled().await;
    let whoami = row.fleet.cluster.kubectl_ok(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]);
    row.fleet.cluster.install_admission_policy(&row.fleet.namespace, Some(whoami.trim()));
    let sets = [["b", "c"], ["d", "e"], ["f", "g"], ["h", "i"]];
    let (mut late_redis, mut late_api) = (0, Vec::new());
    let mut round = 0;
    while round < 20 {
        // Never what is published already.
        let (stale, fresh) = (sets[(2 * round + 1) % 4], sets[(2 * round + 2) % 4]);
        let leader = if one.leads().await { &one } else { &two };
        let term = row.term().await;
        let before = leader.api.late().len();
        // What the leader decides now is sent and held.
        leader.redis.mode(Mode::HoldScripts);
        leader.api.fault_on("/status", Fault::Hold);
        row.use_servers(stale);
        let in_flight = eventually("writes are in flight", SOON, || async {
            let held = leader.redis.held() > 0 && leader.api.held() > 0;
            if held { Some(true) } else { (!leader.leads().await).then_some(false) }
        })
        .await;
        if !in_flight {
            // Under load a leader may miss its deadline by itself: this does not count as a round.
            leader.redis.mode(Mode::Pass);
            leader.api.fault(Fault::None);
            row.fleet.settled().await;
            continue;
        }
        round += 1;
        leader.operator.signal("STOP");
        row.use_servers(fresh);
        row.taken_over(term).await;
        row.shows_hot(fresh, SETTLED_AFTER_LEASE).await;

        let refused = row.observer.refused();
        leader.redis.mode(Mode::Pass);
        leader.api.fault(Fault::None);
        eventually("the held requests have arrived", SOON, || async {
            (leader.api.late().len() > before && leader.redis.held() == 0).then_some(())
        })
        .await;
        leader.operator.signal("CONT");
        eventually("it stands by", SOON, || async { (!leader.leads().await).then_some(()) }).await;
        row.shows_hot(fresh, SETTLED).await;
        late_redis += row.observer.refused() - refused;
        late_api.extend(leader.api.late()[before..].to_vec());
    }
    let accepted = late_api.iter().filter(|code| (200..300).contains(*code)).count();
    assert_eq!(accepted, 0, "stale status writes were accepted: {late_api:?}");
    assert!(late_redis >= 20, "too few stale calls: {late_redis}");
    let held =
        format!("P1, P3: {late_redis} stale calls to Redis and {} to the API server, none accepted", late_api.len());
    row.end(&held).await;
}

/// The leader is frozen while it collects: the worker has the request and has not answered.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fault campaign: make chaos"]
async fn l1_a_leader_frozen_while_collecting_for_twice_and_ten_times_the_lease() {
    let row = Row::begin("L1.2", "leader frozen while collecting, for 2 and 10 times the lease").await;
    let (first, second) = row.two().await;
    for (frozen, awake, leases) in [(&first, &second, 2), (&second, &first, 10)] {
        let term = row.term().await;
        let asked = row.fleet.workers[0].asked();
        row.fleet.workers[0].hold();
        row.fleet.workers[0].requests(asked + 1).await;
        frozen.signal("STOP");
        row.fleet.workers[0].release();
        row.use_servers(["b", "c"]);
        row.taken_over(term).await;
        // The fault itself lasts this long.
        tokio::time::sleep(Duration::from_secs(3) * leases).await;
        frozen.signal("CONT");
        awake.cycles(2).await;
        row.shows_hot(["b", "c"], SETTLED).await;
        assert!(awake.metric("mcpgateway_operator_leader").await > 0.0, "the replica that took over still leads");
    }
    row.end("P1, P3; the other replica kept leading").await;
}
