use std::collections::BTreeMap;

use super::*;

fn record(holder: &str) -> Record<'_> {
    Record {
        holder,
        term: Term::new(7),
        duration: Duration::from_millis(14_500),
        acquired: UnixTime::from_seconds(1_763_800_000.5),
        renewed: UnixTime::from_seconds(1_763_800_090.125).unwrap(),
    }
}

fn stored() -> Lease {
    let mut lease = create("fleet", "operator", &record("pod_1"));
    lease.metadata.uid = Some("u1".into());
    lease.metadata.resource_version = Some("41".into());
    lease
}

#[test]
fn a_put_carries_resource_version_and_uid() {
    let put = update(&stored(), &record("pod_2"));
    assert_eq!((put.metadata.resource_version.as_deref(), put.metadata.uid.as_deref()), (Some("41"), Some("u1")));
}

#[test]
fn a_post_carries_neither() {
    let post = create("fleet", "operator", &record("pod_1"));
    assert_eq!((post.metadata.resource_version, post.metadata.uid), (None, None));
    assert_eq!(post.metadata.name.as_deref(), Some("operator"));
}

#[test]
fn the_spec_has_all_five_fields_as_kubernetes_spells_them() {
    let json = serde_json::to_value(create("fleet", "operator", &record("pod_1"))).unwrap();
    let expected = serde_json::json!({
        "holderIdentity": "pod_1", "leaseDurationSeconds": 15, "leaseTransitions": 7,
        "acquireTime": "2025-11-22T08:26:40.500000Z", "renewTime": "2025-11-22T08:28:10.125000Z"
    });
    assert_eq!(json["spec"], expected);
}

#[test]
fn other_peoples_labels_and_annotations_are_sent_back() {
    let mut read = stored();
    let theirs = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    read.metadata.labels = Some(theirs.clone());
    read.metadata.annotations = Some(theirs.clone());
    let put = update(&read, &record("pod_2"));
    assert_eq!((put.metadata.labels, put.metadata.annotations), (Some(theirs.clone()), Some(theirs)));
}

#[test]
fn a_release_empties_the_holder_and_keeps_the_term() {
    let empty = Record { holder: "", term: None, acquired: None, ..record("") };
    let put = update(&stored(), &empty);
    assert_eq!(holder(&put), None);
    assert_eq!(put.spec.as_ref().unwrap().holder_identity.as_deref(), Some(""));
    assert_eq!(term(&put), Term::new(7));
}

#[test]
fn a_lease_without_a_spec_is_free_and_can_be_written() {
    let bare = Lease { spec: None, ..stored() };
    assert_eq!((holder(&bare), term(&bare), duration(&bare)), (None, None, None));
    assert_eq!(holder(&update(&bare, &record("pod_2"))), Some("pod_2"));
}

#[test]
fn numbers_outside_the_terms_and_durations_are_absent() {
    let mut lease = stored();
    let spec = lease.spec.as_mut().unwrap();
    spec.lease_transitions = Some(i32::MAX);
    spec.lease_duration_seconds = Some(0);
    assert_eq!((term(&lease), duration(&lease)), (None, None));
}

#[test]
fn a_renewal_is_known_again_by_its_time_after_a_round_trip() {
    let odd = UnixTime::from_seconds(1_763_800_090.123_456_7).unwrap();
    let sent = update(&stored(), &Record { renewed: odd, ..record("pod_1") });
    let back: Lease = serde_json::from_value(serde_json::to_value(sent).unwrap()).unwrap();
    assert!(was_renewed_at(&back, odd));
    assert!(!was_renewed_at(&back, odd.shifted(0.000_01)));
}
