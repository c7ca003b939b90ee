use std::collections::BTreeMap;

use super::*;

fn record(holder: &str) -> LeaseRecord<'_> {
    LeaseRecord {
        holder,
        term: Term::new(7).unwrap(),
        duration: Duration::from_millis(14_500),
        acquired: UnixTime::from_seconds(1_763_800_000.5).unwrap(),
        renewed: UnixTime::from_seconds(1_763_800_090.125).unwrap(),
        fleet_not_written: None,
    }
}

fn stored() -> Lease {
    let mut lease = create("fleet", "operator", &record("pod_1"));
    lease.metadata.uid = Some("u1".into());
    lease.metadata.resource_version = Some("41".into());
    lease
}

#[test]
fn an_update_carries_resource_version_and_uid() {
    let put = update(&stored(), &record("pod_2"));
    assert_eq!((put.metadata.resource_version.as_deref(), put.metadata.uid.as_deref()), (Some("41"), Some("u1")));
}

#[test]
fn a_create_carries_neither() {
    let post = create("fleet", "operator", &record("pod_1"));
    assert_eq!((post.metadata.resource_version, post.metadata.uid), (None, None));
    assert_eq!(post.metadata.name.as_deref(), Some("operator"));
}

#[test]
fn the_spec_has_all_five_fields_of_a_lease() {
    let json = serde_json::to_value(create("fleet", "operator", &record("pod_1"))).unwrap();
    let expected = serde_json::json!({
        "holderIdentity": "pod_1", "leaseDurationSeconds": 15, "leaseTransitions": 7,
        "acquireTime": "2025-11-22T08:26:40.500000Z", "renewTime": "2025-11-22T08:28:10.125000Z"
    });
    assert_eq!(json["spec"], expected);
}

#[test]
fn labels_and_annotations_of_others_are_kept() {
    let mut read = stored();
    let theirs = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    read.metadata.labels = Some(theirs.clone());
    read.metadata.annotations = Some(theirs.clone());
    let put = update(&read, &record("pod_2"));
    assert_eq!((put.metadata.labels, put.metadata.annotations), (Some(theirs.clone()), Some(theirs)));
}

#[test]
fn a_holder_that_cannot_write_the_fleet_object_says_so_until_it_can() {
    let now = UnixTime::from_seconds(1_763_800_091.0).unwrap();
    let said = |lease: &Lease| LeaseFacts::new(Some(lease), now).fleet_not_written;
    let failing = update(&stored(), &LeaseRecord { fleet_not_written: Some("Forbidden: grant it"), ..record("pod_1") });
    assert_eq!(said(&failing).as_deref(), Some("Forbidden: grant it"));
    assert_eq!(said(&release(&failing, now)).as_deref(), Some("Forbidden: grant it"));
    let recovered = update(&failing, &record("pod_2"));
    assert_eq!((said(&recovered), recovered.metadata.annotations), (None, None));
}

#[test]
fn a_release_clears_the_holder_and_keeps_the_term() {
    let put = release(&stored(), UnixTime::EPOCH);
    assert_eq!(holder(&put), None);
    assert_eq!(put.spec.as_ref().unwrap().holder_identity.as_deref(), Some(""));
    assert_eq!(term(&put), Term::new(7));
}

#[test]
fn a_lease_without_a_spec_has_no_holder_and_can_be_written() {
    let bare = Lease { spec: None, ..stored() };
    assert_eq!((holder(&bare), term(&bare), duration(&bare)), (None, None, None));
    assert_eq!(holder(&update(&bare, &record("pod_2"))), Some("pod_2"));
}

#[test]
fn numbers_that_are_not_terms_or_durations_count_as_absent() {
    let mut lease = stored();
    let spec = lease.spec.as_mut().unwrap();
    spec.lease_transitions = Some(i32::MAX);
    spec.lease_duration_seconds = Some(0);
    assert_eq!((term(&lease), duration(&lease)), (None, None));
}

#[test]
fn a_renewal_is_recognized_by_its_time_after_a_round_trip() {
    let odd = UnixTime::from_seconds(1_763_800_090.123_456_7).unwrap();
    let sent = update(&stored(), &LeaseRecord { renewed: odd, ..record("pod_1") });
    let back: Lease = serde_json::from_value(serde_json::to_value(sent).unwrap()).unwrap();
    assert!(was_renewed_at(&back, odd));
    assert!(!was_renewed_at(&back, odd.shifted(0.000_01)));
}

#[test]
fn a_lease_is_expired_after_its_duration_and_half_a_minute() {
    let now = UnixTime::from_seconds(1e9).unwrap();
    let view = |holder: Option<&str>, age: Option<i64>| {
        let renew_time = age.map(|age| MicroTime(Timestamp::from_second(1_000_000_000 - age).unwrap()));
        let holder_identity = holder.map(str::to_owned);
        let spec = LeaseSpec { holder_identity, renew_time, lease_duration_seconds: Some(15), ..LeaseSpec::default() };
        LeaseView::new(Some(&Lease { spec: Some(spec), ..Lease::default() }), now)
    };
    assert_eq!(LeaseView::new(None, now), LeaseView::Missing);
    assert_eq!((view(None, Some(1)), view(Some(""), Some(1))), (LeaseView::Free, LeaseView::Free));
    assert_eq!(view(Some("x"), Some(40)), LeaseView::Held("x".to_owned()), "clocks may differ");
    assert!(matches!(view(Some("x"), Some(60)), LeaseView::Expired { renewed: Some(_), .. }));
    assert!(matches!(view(Some("x"), None), LeaseView::Expired { renewed: None, .. }));
}
