use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::leadership::record::{LeaseRecord, create};
use crate::model::UnixTime;

const ME: &str = "pod-a_1";
const OTHER: &str = "pod-b_2";
const TIMING: LeaseTiming = LeaseTiming {
    lease_duration: Duration::from_secs(15),
    renew_deadline: Duration::from_secs(10),
    retry_period: Duration::from_secs(2),
};

fn at(seconds: u64) -> Monotonic {
    Monotonic::at(Duration::from_secs(seconds))
}

fn lease(holder: &str, version: &str) -> Lease {
    let (term, duration) = (Term::new(7).unwrap(), TIMING.lease_duration);
    let record = LeaseRecord {
        holder,
        term,
        duration,
        acquired: UnixTime::EPOCH,
        renewed: UnixTime::EPOCH,
        fleet_not_written: None,
    };
    let mut lease = create("fleet", "operator", &record);
    lease.metadata.uid = Some("u1".into());
    lease.metadata.resource_version = Some(version.into());
    lease
}

fn observed(holder: &str) -> ObservedLease {
    ObservedLease::new(Some(lease(holder, "1")), at(100))
}

/// A standby whose next regular read of the Lease is far off.
fn standby() -> ReplicaState<'static> {
    ReplicaState {
        identity: ME,
        leads_until: None,
        raise_at: None,
        pending: false,
        next_call: at(1000),
        acquire_not_before: at(0),
    }
}

fn leader(until: u64, next_call: u64) -> ReplicaState<'static> {
    ReplicaState { leads_until: Some(at(until)), next_call: at(next_call), ..standby() }
}

fn action(observed: &ObservedLease, replica: &ReplicaState<'_>, now: u64) -> Action {
    next_action(Some(observed), replica, at(now), &TIMING)
}

#[test]
fn the_lease_is_read_first() {
    let replica = ReplicaState { next_call: at(5), ..standby() };
    assert_eq!(next_action(None, &replica, at(4), &TIMING), Action::Wait { until: at(5) });
    assert_eq!(next_action(None, &replica, at(5), &TIMING), Action::Read);
}

#[test]
fn another_replicas_lease_is_acquired_once_it_is_unchanged_for_its_duration() {
    let observed = observed(OTHER);
    assert_eq!(action(&observed, &standby(), 114), Action::Wait { until: at(115) });
    assert_eq!(action(&observed, &standby(), 115), Action::Acquire(AcquireReason::Expired));
}

#[test]
fn the_times_in_the_lease_are_ignored() {
    for renewed in [None, Some(Timestamp::MIN), Some(Timestamp::MAX)] {
        let mut object = lease(OTHER, "1");
        object.spec.as_mut().unwrap().renew_time = renewed.map(MicroTime);
        let observed = ObservedLease::new(Some(object), at(100));
        assert_eq!(action(&observed, &standby(), 114), Action::Wait { until: at(115) });
        assert_eq!(action(&observed, &standby(), 115), Action::Acquire(AcquireReason::Expired));
    }
}

#[test]
fn any_change_restarts_the_wait() {
    let mut observed = observed(OTHER);
    assert!(!observed.update(Some(lease(OTHER, "1")), at(110)));
    assert_eq!(observed.expires(&TIMING), at(115));
    assert!(observed.update(Some(lease(OTHER, "2")), at(114)));
    assert_eq!(action(&observed, &standby(), 115), Action::Wait { until: at(129) });
}

#[test]
fn a_recreated_lease_with_the_same_version_has_changed() {
    let mut observed = observed(OTHER);
    let mut recreated = lease(OTHER, "1");
    recreated.metadata.uid = Some("u2".into());
    assert!(observed.update(Some(recreated), at(114)));
    assert_eq!(observed.expires(&TIMING), at(129));
}

#[test]
fn a_longer_recorded_duration_is_respected_up_to_ten_minutes() {
    for (recorded, wait) in [(Some(60), 60), (Some(1), 15), (Some(0), 15), (None, 15), (Some(i32::MAX), 600)] {
        let mut object = lease(OTHER, "1");
        object.spec.as_mut().unwrap().lease_duration_seconds = recorded;
        let observed = ObservedLease::new(Some(object), at(100));
        assert_eq!(observed.expires(&TIMING), at(100 + wait), "{recorded:?}");
    }
}

#[test]
fn a_released_or_missing_lease_is_acquired_at_once() {
    assert_eq!(action(&observed(""), &standby(), 100), Action::Acquire(AcquireReason::Released));
    assert_eq!(action(&ObservedLease::new(None, at(100)), &standby(), 100), Action::Acquire(AcquireReason::NoLease));
}

#[test]
fn a_standby_acquires_its_own_lease_again_at_once() {
    assert_eq!(action(&observed(ME), &standby(), 100), Action::Acquire(AcquireReason::TakenBack));
}

#[test]
fn a_failed_acquisition_is_retried_after_a_pause() {
    let replica = ReplicaState { acquire_not_before: at(102), ..standby() };
    assert_eq!(action(&observed(""), &replica, 101), Action::Wait { until: at(102) });
    assert_eq!(action(&observed(""), &replica, 102), Action::Acquire(AcquireReason::Released));
}

#[test]
fn after_an_unknown_outcome_the_lease_is_read_before_the_next_acquisition() {
    let replica = ReplicaState { pending: true, next_call: at(102), ..standby() };
    assert_eq!(action(&observed(""), &replica, 101), Action::Wait { until: at(102) });
    assert_eq!(action(&observed(""), &replica, 102), Action::Read);
}

#[test]
fn a_standby_reads_the_lease_regularly() {
    let replica = ReplicaState { next_call: at(103), ..standby() };
    assert_eq!(action(&observed(OTHER), &replica, 102), Action::Wait { until: at(103) });
    assert_eq!(action(&observed(OTHER), &replica, 103), Action::Read);
    assert_eq!(action(&observed(OTHER), &replica, 115), Action::Acquire(AcquireReason::Expired));
}

#[test]
fn a_leader_renews_every_retry_period() {
    assert_eq!(action(&observed(ME), &leader(110, 102), 101), Action::Wait { until: at(102) });
    assert_eq!(action(&observed(ME), &leader(110, 102), 102), Action::Renew);
}

#[test]
fn a_leader_steps_down_at_its_deadline_whatever_the_lease_says() {
    assert_eq!(action(&observed(ME), &leader(101, 102), 100), Action::Wait { until: at(101) });
    assert_eq!(action(&observed(ME), &leader(101, 101), 101), Action::StepDown(LossReason::Deadline));
}

#[test]
fn a_leader_that_does_not_hold_the_lease_steps_down() {
    let replica = leader(110, 102);
    assert_eq!(action(&observed(OTHER), &replica, 101), Action::StepDown(LossReason::Taken));
    assert_eq!(action(&observed(""), &replica, 101), Action::StepDown(LossReason::Emptied));
    assert_eq!(action(&ObservedLease::new(None, at(100)), &replica, 101), Action::StepDown(LossReason::Deleted));
}

#[test]
fn an_edited_term_does_not_end_a_leadership() {
    let mut object = lease(ME, "1");
    object.spec.as_mut().unwrap().lease_transitions = Some(2_147_483_647);
    let observed = ObservedLease::new(Some(object), at(100));
    assert_eq!(action(&observed, &leader(110, 102), 102), Action::Renew);
    assert!(!observed.is_held_by(ME, Term::new(7).unwrap()));
}

#[test]
fn a_refused_term_is_raised_when_allowed_and_no_renewal_is_due() {
    let replica = ReplicaState { raise_at: Some(at(103)), ..leader(110, 104) };
    assert_eq!(action(&observed(ME), &replica, 102), Action::Wait { until: at(103) });
    assert_eq!(action(&observed(ME), &replica, 103), Action::Acquire(AcquireReason::TermRefused));
    assert_eq!(action(&observed(ME), &replica, 104), Action::Renew);
    assert_eq!(action(&observed(OTHER), &replica, 103), Action::StepDown(LossReason::Taken));
}
