use k8s_openapi::jiff::Timestamp;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::*;
use crate::leadership::record::{Record, create};
use crate::model::UnixTime;

const ME: &str = "pod-a_1";
const OTHER: &str = "pod-b_2";
const TIMING: Timing = Timing {
    lease_duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};

fn at(seconds: u64) -> Monotonic {
    Monotonic::at(Duration::from_secs(seconds))
}

fn lease(holder: &str, version: &str) -> Lease {
    let duration = TIMING.lease_duration;
    let record = Record { holder, term: Term::new(7), duration, acquired: None, renewed: UnixTime::EPOCH };
    let mut lease = create("fleet", "operator", &record);
    lease.metadata.uid = Some("u1".into());
    lease.metadata.resource_version = Some(version.into());
    lease
}

fn seen(holder: &str) -> Observed {
    Observed::first(Some(lease(holder, "1")), at(100))
}

/// A standby whose regular look at the Lease is a long way off.
fn standby() -> Own<'static> {
    Own { identity: ME, belief: None, unsettled: false, next: at(1000), not_before: at(0) }
}

fn leader(until: u64, next: u64) -> Own<'static> {
    Own { belief: Some(at(until)), next: at(next), ..standby() }
}

fn moved(observed: &Observed, own: &Own<'_>, now: u64) -> Move {
    evaluate(Some(observed), own, at(now), &TIMING)
}

#[test]
fn nothing_is_done_before_the_lease_was_read() {
    let own = Own { next: at(5), ..standby() };
    assert_eq!(evaluate(None, &own, at(4), &TIMING), Move::Wait { until: at(5) });
    assert_eq!(evaluate(None, &own, at(5), &TIMING), Move::Read);
}

#[test]
fn anothers_lease_is_taken_when_we_have_seen_it_unchanged_for_its_duration() {
    let observed = seen(OTHER);
    assert_eq!(moved(&observed, &standby(), 114), Move::Wait { until: at(115) });
    assert_eq!(moved(&observed, &standby(), 115), Move::Acquire(Claim::Expired));
}

#[test]
fn its_times_say_nothing_whether_future_past_or_absent() {
    for renewed in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
        let mut object = lease(OTHER, "1");
        object.spec.as_mut().unwrap().renew_time = renewed.map(MicroTime);
        let observed = Observed::first(Some(object), at(100));
        assert_eq!(moved(&observed, &standby(), 114), Move::Wait { until: at(115) });
        assert_eq!(moved(&observed, &standby(), 115), Move::Acquire(Claim::Expired));
    }
}

#[test]
fn any_change_starts_the_wait_again() {
    let mut observed = seen(OTHER);
    assert!(!observed.see(Some(lease(OTHER, "1")), at(110)));
    assert_eq!(observed.expires(&TIMING), at(115));
    assert!(observed.see(Some(lease(OTHER, "2")), at(114)));
    assert_eq!(moved(&observed, &standby(), 115), Move::Wait { until: at(129) });
}

#[test]
fn a_lease_made_anew_with_the_same_version_is_a_change_too() {
    let mut observed = seen(OTHER);
    let mut anew = lease(OTHER, "1");
    anew.metadata.uid = Some("u2".into());
    assert!(observed.see(Some(anew), at(114)));
    assert_eq!(observed.expires(&TIMING), at(129));
}

#[test]
fn a_longer_recorded_duration_is_waited_for_a_shorter_or_absurd_one_is_not() {
    for (recorded, wait) in [(Some(60), 60), (Some(1), 15), (Some(0), 15), (None, 15), (Some(i32::MAX), 600)] {
        let mut object = lease(OTHER, "1");
        object.spec.as_mut().unwrap().lease_duration_seconds = recorded;
        let observed = Observed::first(Some(object), at(100));
        assert_eq!(observed.expires(&TIMING), at(100 + wait), "{recorded:?}");
    }
}

#[test]
fn a_released_lease_and_none_at_all_are_taken_at_once() {
    assert_eq!(moved(&seen(""), &standby(), 100), Move::Acquire(Claim::Released));
    assert_eq!(moved(&Observed::first(None, at(100)), &standby(), 100), Move::Acquire(Claim::NoLease));
}

#[test]
fn ones_own_lease_after_belief_is_acquired_anew_at_once() {
    assert_eq!(moved(&seen(ME), &standby(), 100), Move::Acquire(Claim::TakenBack));
}

#[test]
fn an_acquisition_that_failed_is_not_repeated_before_its_time() {
    let own = Own { not_before: at(102), ..standby() };
    assert_eq!(moved(&seen(""), &own, 101), Move::Wait { until: at(102) });
    assert_eq!(moved(&seen(""), &own, 102), Move::Acquire(Claim::Released));
}

#[test]
fn an_acquisition_in_doubt_is_looked_at_before_anything_else_is_sent() {
    let own = Own { unsettled: true, next: at(102), ..standby() };
    assert_eq!(moved(&seen(""), &own, 101), Move::Wait { until: at(102) });
    assert_eq!(moved(&seen(""), &own, 102), Move::Read);
}

#[test]
fn a_standby_looks_when_its_watch_was_silent() {
    let own = Own { next: at(103), ..standby() };
    assert_eq!(moved(&seen(OTHER), &own, 102), Move::Wait { until: at(103) });
    assert_eq!(moved(&seen(OTHER), &own, 103), Move::Read);
    assert_eq!(moved(&seen(OTHER), &own, 115), Move::Acquire(Claim::Expired));
}

#[test]
fn a_leader_renews_in_its_rhythm() {
    assert_eq!(moved(&seen(ME), &leader(110, 102), 101), Move::Wait { until: at(102) });
    assert_eq!(moved(&seen(ME), &leader(110, 102), 102), Move::Renew);
}

#[test]
fn a_leader_wakes_at_its_deadline_and_steps_down_whatever_the_lease_says() {
    assert_eq!(moved(&seen(ME), &leader(101, 102), 100), Move::Wait { until: at(101) });
    assert_eq!(moved(&seen(ME), &leader(101, 101), 101), Move::StepDown(Lost::Deadline));
}

#[test]
fn a_leader_steps_down_when_the_lease_is_not_its_own_any_more() {
    let own = leader(110, 102);
    assert_eq!(moved(&seen(OTHER), &own, 101), Move::StepDown(Lost::Taken));
    assert_eq!(moved(&seen(""), &own, 101), Move::StepDown(Lost::Emptied));
    assert_eq!(moved(&Observed::first(None, at(100)), &own, 101), Move::StepDown(Lost::Deleted));
}

#[test]
fn a_number_edited_by_hand_does_not_depose_a_leader() {
    let mut object = lease(ME, "1");
    object.spec.as_mut().unwrap().lease_transitions = Some(2_147_483_647);
    let observed = Observed::first(Some(object), at(100));
    assert_eq!(moved(&observed, &leader(110, 102), 102), Move::Renew);
    assert!(!observed.is(ME, Term::new(7).unwrap()));
}
