use super::*;

fn owner(text: &str) -> OwnerId {
    OwnerId::parse(text).unwrap()
}

fn holder(value: &str) -> LockHolder {
    LockHolder::parse("string", value.as_bytes(), &owner("uid/ns/name"))
}

#[test]
fn the_keys_are_those_built_into_the_readers() {
    let keys = Keys::new(Keys::DEFAULT_PREFIX).unwrap();
    assert_eq!(keys.hot, "mcpgateway:server_classification:hot");
    assert_eq!(keys.cold, "mcpgateway:server_classification:cold");
    assert_eq!(keys.metadata, "mcpgateway:server_classification:metadata");
    assert_eq!(keys.timestamp, "mcpgateway:server_classification:timestamp");
    assert_eq!(keys.lock, "mcpgateway:server_classification:leader");
    assert_eq!(keys.term, "mcpgateway:server_classification:term");
    assert_eq!(keys.intervals, "mcpgateway:server_classification:intervals");
    let [hot, cold, intervals] = keys.staging(Term::FIRST, "r");
    assert_eq!(intervals, "mcpgateway:server_classification:staging:1:r:intervals");
    assert_eq!(hot, "mcpgateway:server_classification:staging:1:r:hot");
    assert_eq!(cold, "mcpgateway:server_classification:staging:1:r:cold");
    assert!(Keys::new("").is_none() && Keys::new("a b").is_none() && Keys::new(&"p".repeat(201)).is_none());
}

#[test]
fn stamp_keys_match_the_test_vectors() {
    let keys = Keys::new("mcpgateway").unwrap();
    let url = ServerUrl::parse("http://test:8080").unwrap();
    assert_eq!(
        keys.poll_state(&url, None, PollType::Health),
        "mcpgateway:server_poll_state:febf57fe2f3341dea99b19a7aab921af:last_health"
    );
    assert_eq!(
        keys.poll_state(&url, GatewayId::parse("gw-123").as_ref(), PollType::ToolDiscovery),
        "mcpgateway:server_poll_state:498961e7135c32c183676508be3018a9:last_tool_discovery"
    );
    assert_eq!("health".parse(), Ok(PollType::Health));
    assert!("tools".parse::<PollType>().is_err());
}

#[test]
fn the_holder_is_parsed_from_the_lock() {
    let ours = owner("uid/ns/name").lock_prefix() + "41";
    assert_eq!(ours, "mcpgateway-operator/uid/ns/name/41");
    assert_eq!(holder(&ours), LockHolder::Ours { term: Term::new(41) });
    assert_eq!(holder("mcpgateway-operator/uid/ns/name/0x10"), LockHolder::Ours { term: None });
    assert_eq!(holder("mcpgateway-operator/uid/ns/name/2000000000"), LockHolder::Ours { term: None });
    assert_eq!(holder("mcpgateway-operator/uid/ns/other/41"), LockHolder::OtherRelease("uid/ns/other".into()));
    assert_eq!(holder("classifier_140"), LockHolder::Foreign("classifier_140".into()));
    assert_eq!(holder(""), LockHolder::Foreign(String::new()));
}

#[test]
fn an_owner_that_extends_ours_is_another_release() {
    let other = owner("uid/ns/name/5").lock_prefix() + "1";
    assert_eq!(holder(&other), LockHolder::OtherRelease("uid/ns/name/5".into()));
    assert_eq!(holder("mcpgateway-operator/uid/ns"), LockHolder::OtherRelease("uid".into()));
    assert_eq!(holder("mcpgateway-operator/"), LockHolder::OtherRelease(String::new()));
}

#[test]
fn an_absent_lock_and_one_of_a_wrong_type_are_recognized() {
    let owner = owner("o");
    assert_eq!(LockHolder::parse("none", b"", &owner), LockHolder::Nobody);
    assert_eq!(LockHolder::parse("list", b"", &owner), LockHolder::Foreign("a key of type list".into()));
}

#[test]
fn another_programs_value_cannot_forge_a_log_line() {
    assert_eq!(holder("x\n\u{1b}[2J\u{e9}"), LockHolder::Foreign("x??[2J?".into()));
    let LockHolder::Foreign(long) = holder(&"y".repeat(100_000)) else { panic!("not foreign") };
    assert_eq!(long.len(), 120);
}

#[test]
fn only_plain_decimal_numbers_are_terms() {
    assert_eq!(parse_term(b"1"), Some(Term::FIRST));
    assert_eq!(parse_term(b"1999999998"), Term::new(1_999_999_998));
    assert_eq!(parse_term(b"1999999999"), None);
    for bad in
        ["", "0", "01", "+1", "-1", " 1", "1 ", "1.0", "1e3", "0x10", "nan", "inf", "2000000000", "1000000000000000"]
    {
        assert_eq!(parse_term(bad.as_bytes()), None, "{bad:?}");
    }
    assert_eq!(parse_term(b"\xff"), None);
}

#[test]
fn expiries_follow_the_interval() {
    let seconds = Duration::from_secs;
    let minute = Expiries::new(seconds(60), seconds(15));
    assert_eq!(minute.publication, seconds(120));
    assert_eq!(minute.lock, seconds(180));
    assert_eq!(minute.renewal_period, seconds(10));
    assert_eq!(Expiries::new(seconds(600), seconds(15)).renewal_period, seconds(10));
    let short = Expiries::new(seconds(2), seconds(15));
    assert_eq!(short.lock, seconds(25), "a successor must find the lock held for longer than the Lease lasts");
    assert_eq!(short.renewal_period, seconds(1));
    assert_eq!(short.staging, seconds(2));
    assert_eq!(Expiries::new(seconds(30), seconds(15)).renewal_period, seconds(5));
}

#[test]
fn durations_become_whole_milliseconds() {
    assert_eq!(millis(Duration::from_micros(1_999)), 1);
    assert_eq!(millis(Duration::MAX), 100 * 366 * 86_400_000);
}
