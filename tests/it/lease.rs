//! Leader election on a real kube-apiserver.

mod bench;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bench::{Bench, Fault, Redis, TIMING};
use mcpgateway_operator::leadership::{LeaseTiming, TermRefusal};
use mcpgateway_operator::model::Term;
use serde_json::json;

const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(8);

#[tokio::test]
async fn exactly_one_of_several_simultaneous_candidates_leads() {
    let bench = Bench::new("race").await;
    let mut last = 0;
    for round in 0..100 {
        let mut all = Vec::new();
        for n in 0..4 {
            all.push(bench.candidate(&format!("c{n}")));
        }
        let leader = bench::one_leads(&mut all, LATER).await;
        let term = all[leader].term().unwrap();
        assert!(term > last, "round {round}: term {term} after {last}");
        last = term;
        let identity = all[leader].identity.clone();
        for other in all.iter_mut().filter(|other| other.identity != identity) {
            other.follows(&identity, LATER).await;
        }
        assert_eq!(all.iter().filter(|c| c.term().is_some()).count(), 1);
        for candidate in all {
            candidate.stop().await;
        }
        // Start both with a released Lease and without a Lease.
        if round % 2 == 0 {
            bench.delete().await;
            last = 0;
        }
    }
}

#[tokio::test]
async fn a_released_lease_is_acquired_at_once() {
    let bench = Bench::new("released").await;
    // So slow that only the watch can report the release in time.
    let slow = LeaseTiming { retry_period: Duration::from_millis(1900), ..TIMING };
    let mut first = bench.candidate_with("first", slow, Redis::Absent);
    first.leads(LATER).await;
    let mut second = bench.candidate_with("second", slow, Redis::Absent);
    second.follows(&first.identity, LATER).await;
    let before = first.term().unwrap();
    first.stop().await;
    second.leads(SOON).await;
    assert!(second.term().unwrap() > before);
}

#[tokio::test]
async fn a_killed_leaders_lease_is_acquired_when_it_expires_and_not_before() {
    let bench = Bench::new("killed").await;
    let mut first = bench.candidate("first");
    first.leads(LATER).await;
    let mut second = bench.candidate("second");
    second.follows(&first.identity, LATER).await;
    let before = first.term().unwrap();
    first.kill();
    let begun = Instant::now();
    second.leads(LATER).await;
    let took = begun.elapsed();
    // The last renewal may be one retry period old when the leader is killed.
    assert!(took + TIMING.retry_period + Duration::from_millis(100) >= TIMING.lease_duration, "{took:?}");
    assert!(took <= TIMING.lease_duration + SOON, "{took:?}");
    assert_eq!(second.term().unwrap(), before + 1);
}

#[tokio::test]
async fn the_term_rises_after_the_lease_was_deleted() {
    let bench = Bench::new("deleted").await;
    let mut one = bench.candidate("one");
    one.leads(LATER).await;
    let (before, token) = (one.term().unwrap(), one.token().unwrap());
    bench.delete().await;
    one.leads_above(before, LATER).await;
    assert!(token.remaining(mcpgateway_operator::clock::monotonic()).is_none());
    one.stop().await;
    assert_eq!(bench.spec().await["holderIdentity"], "");
}

#[tokio::test]
async fn a_late_renewal_of_a_dead_leader_does_not_recreate_a_deleted_lease() {
    let bench = Bench::new("late-renewal").await;
    let mut one = bench.candidate("one");
    one.leads(LATER).await;
    one.stop().await;
    let late = bench.object().await;
    bench.delete().await;
    assert_eq!(bench.put(&late).await, 409);
    bench.candidate("two").leads(LATER).await;
    assert_eq!(bench.put(&late).await, 409);
}

#[tokio::test]
async fn the_term_in_redis_counts_and_a_hanging_redis_does_not_block_an_acquisition() {
    let bench = Bench::new("redis").await;
    let mut one = bench.candidate_with("one", TIMING, Redis::Holds(41));
    one.leads(LATER).await;
    assert_eq!(one.term(), Some(42));
    one.stop().await;
    let mut two = bench.candidate_with("two", TIMING, Redis::Hangs);
    two.leads(LATER).await;
    assert_eq!(two.term(), Some(43));
}

#[tokio::test]
async fn manual_edits_are_repaired_and_labels_kept() {
    let bench = Bench::new("edited").await;
    let mut one = bench.candidate("one");
    one.leads(LATER).await;
    let before = one.term().unwrap();
    for number in [0, 2_147_483_647] {
        bench
            .patch(
                json!({"metadata": {"labels": {"team": "a"}}, "spec": {"leaseTransitions": number, "renewTime": null}}),
            )
            .await;
        bench.until(LATER, |lease| lease["spec"]["leaseTransitions"] == before).await;
        assert_eq!(one.term(), Some(before));
    }
    assert_eq!(bench.lease().await["metadata"]["labels"]["team"], "a");
    bench.patch(json!({"spec": {"holderIdentity": ""}})).await;
    one.leads_above(before, LATER).await;
    let before = one.term().unwrap();
    bench.patch(json!({"spec": {"holderIdentity": "someone", "renewTime": "2999-01-01T00:00:00.000000Z"}})).await;
    one.follows("someone", LATER).await;
    one.leads_above(before, LATER).await;
}

#[tokio::test]
async fn a_refused_term_is_raised_in_place_once_in_ten_seconds() {
    let bench = Bench::new("refused").await;
    let mut one = bench.candidate("one");
    one.leads(LATER).await;
    let first = one.token().unwrap();
    one.refuse(TermRefusal { of: first.term(), by: Term::new(5_000_000) });
    one.leads_above(5_000_000, SOON).await;
    assert_eq!(one.term(), Some(5_000_001));
    assert_eq!(bench.spec().await["leaseTransitions"], 5_000_001);
    assert!(first.remaining(mcpgateway_operator::clock::monotonic()).is_none());
    assert!(one.token().unwrap().is_same_leadership(&first));
    // A refusal of the old term has no effect; one of the new term has to wait.
    one.refuse(TermRefusal { of: first.term(), by: None });
    let begun = Instant::now();
    one.refuse(TermRefusal { of: Term::new(5_000_001).unwrap(), by: None });
    one.leads_above(5_000_001, Duration::from_secs(12)).await;
    assert_eq!(one.term(), Some(5_000_002));
    assert!(begun.elapsed() > Duration::from_millis(9_500));
}

#[tokio::test]
async fn a_refused_leader_that_lost_the_lease_steps_down() {
    let bench = Bench::new("refused-lost").await;
    let mut one = bench.candidate("one");
    one.leads(LATER).await;
    let token = one.token().unwrap();
    bench.patch(json!({"spec": {"holderIdentity": "someone"}})).await;
    one.refuse(TermRefusal { of: token.term(), by: None });
    one.follows("someone", SOON).await;
    assert!(token.begin_write(mcpgateway_operator::clock::monotonic()).is_none());
}

#[tokio::test]
async fn an_acquisition_with_a_lost_response_succeeds_at_its_term() {
    let bench = Bench::new("lost-reply").await;
    let mut one = bench.candidate("one");
    bench.fault(Fault::DoneBut504);
    bench.until(LATER, |lease| lease["spec"]["holderIdentity"] == "one").await;
    bench.fault(Fault::None);
    one.leads(LATER).await;
    assert_eq!(one.term(), Some(1));
}

#[tokio::test]
async fn renewals_with_lost_responses_count_once_they_are_read() {
    let bench = Bench::new("lost-renewals").await;
    let mut one = bench.candidate("one");
    one.leads(LATER).await;
    let token = one.token().unwrap();
    bench.fault(Fault::DoneBut504);
    one.keeps_leading(&token, TIMING.renew_deadline * 3).await;
    bench.fault(Fault::None);
    one.keeps_leading(&token, TIMING.renew_deadline).await;
}

#[tokio::test]
async fn a_cut_off_leader_steps_down_before_another_replica_may_lead() {
    for fault in [Fault::Hang, Fault::Throttled, Fault::Refused] {
        let bench = Bench::new("cut-off").await;
        let mut one = bench.candidate("one");
        one.leads(LATER).await;
        let (token, term) = (one.token().unwrap(), one.term().unwrap());
        let mut two = bench.candidate_direct("two");
        two.follows("one", LATER).await;
        bench.fault(fault);
        let before = bench.requests.load(Ordering::SeqCst);
        let begun = Instant::now();
        one.stands_by(TIMING.renew_deadline + SOON).await;
        assert!(begun.elapsed() <= TIMING.renew_deadline + Duration::from_millis(200));
        assert!(token.remaining(mcpgateway_operator::clock::monotonic()).is_none());
        let rate = bench.requests.load(Ordering::SeqCst) - before;
        assert!(rate <= 7, "{rate}");
        two.leads(LATER * 2).await;
        assert!(two.term().unwrap() > term);
    }
}

#[tokio::test]
async fn the_lease_is_released_after_writes_in_flight_or_half_a_second() {
    let bench = Bench::new("drain").await;
    let mut one = bench.candidate("one");
    one.leads(LATER).await;
    let token = one.token().unwrap();
    let write = token.begin_write(mcpgateway_operator::clock::monotonic()).unwrap();
    let begun = Instant::now();
    let stopped = tokio::spawn(one.stop());
    bench::wait(SOON, || token.remaining(mcpgateway_operator::clock::monotonic()).is_none()).await;
    assert_eq!(bench.spec().await["holderIdentity"], "one", "released while a write was in flight");
    stopped.await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(490) && begun.elapsed() < SOON, "{:?}", begun.elapsed());
    drop(write);
    assert_eq!(bench.spec().await["holderIdentity"], "");
}
