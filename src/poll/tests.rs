use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: f64 = 1_763_800_000.0;

fn at(seconds: f64) -> UnixTime {
    UnixTime::from_seconds(seconds).unwrap()
}

/// The decision for a stamp as Redis holds it.
fn decision(tier: Option<Tier>, stamp: &str) -> PollDecision {
    decide(tier, None, Stamp::read(stamp.as_bytes()), at(NOW), &Intervals::default())
}

/// The reason for a cold server whose stamp is this many seconds old.
fn cold(age: f64) -> PollReason {
    decision(Some(Tier::Cold), &(NOW - age).to_string()).reason
}

#[test]
fn a_server_without_a_tier_is_due_with_any_stamp() {
    for stamp in [Stamp::Absent, Stamp::Unreadable, Stamp::At(at(NOW)), Stamp::At(at(NOW + 1e6))] {
        assert_eq!(decide(None, None, stamp, at(NOW), &Intervals::default()).reason, PollReason::Unclassified);
    }
}

#[test]
fn a_server_that_was_never_polled_is_due() {
    let decision = decide(Some(Tier::Hot), None, Stamp::Absent, at(NOW), &Intervals::default());
    assert_eq!((decision.due, decision.reason), (true, PollReason::NeverPolled));
    assert_eq!((decision.last_poll, decision.next_due), (None, None));
}

#[test]
fn exactly_the_interval_is_due() {
    assert_eq!(cold(899.999), PollReason::NotYetDue);
    assert_eq!(cold(900.0), PollReason::IntervalElapsed);
    assert_eq!(cold(900.001), PollReason::IntervalElapsed);
    let hot = |age: f64| decision(Some(Tier::Hot), &(NOW - age).to_string()).reason;
    assert_eq!((hot(299.999), hot(300.0)), (PollReason::NotYetDue, PollReason::IntervalElapsed));
}

#[test]
fn a_stamp_up_to_a_minute_in_the_future_is_not_due_and_a_later_one_is_bad() {
    assert_eq!(cold(0.0), PollReason::NotYetDue);
    assert_eq!(cold(-0.001), PollReason::NotYetDue);
    assert_eq!(cold(-60.0), PollReason::NotYetDue);
    assert_eq!(cold(-60.001), PollReason::BadStamp);
    assert_eq!(cold(-1e9), PollReason::BadStamp);
}

#[test]
fn a_stamp_that_is_not_a_time_after_1970_is_bad() {
    for stamp in ["0", "-0.0", "-1", "-1e308", "1e308", "1e999", "nan", "NaN", "inf", "-inf"] {
        let decision = decision(Some(Tier::Cold), stamp);
        assert_eq!((decision.reason, decision.due), (PollReason::BadStamp, true), "{stamp}");
        assert_eq!((decision.last_poll, decision.next_due), (None, None), "{stamp}");
    }
    for stamp in ["", " ", "yesterday", "0x10", "1763800000,5", "2025-11-22T08:26:40Z", "1e", "--1", "1 2"] {
        assert_eq!(Stamp::read(stamp.as_bytes()), Stamp::Unreadable, "{stamp:?}");
    }
    assert_eq!(Stamp::read(b"\xff1763800000"), Stamp::Unreadable);
    assert_eq!(Stamp::read("1".repeat(MAX_STAMP_BYTES + 1).as_bytes()), Stamp::Unreadable);
    // Just after 1970 is a time.
    assert_eq!(decision(Some(Tier::Cold), "0.001").reason, PollReason::IntervalElapsed);
}

#[test]
fn stamps_from_python_are_parsed() {
    for stamp in ["1763800000", "1763800000.0", "1763800000.000000", " 1763800000\n", "+1763800000", "1.7638e9"] {
        assert_eq!(Stamp::read(stamp.as_bytes()), Stamp::At(at(NOW)), "{stamp:?}");
    }
    assert_eq!(Stamp::read(b"1763800000.1234567"), Stamp::At(at(1_763_800_000.123_456_7)));
}

#[test]
fn milliseconds_instead_of_seconds_are_due() {
    assert_eq!(decision(Some(Tier::Cold), "1763800000000").reason, PollReason::BadStamp);
}

#[test]
fn the_intervals_are_five_minutes_and_three_times_the_hot_one() {
    assert_eq!(Intervals::default(), Intervals::new(Duration::from_secs(300), Some(Duration::from_secs(900))));
    let own = Intervals::new(Duration::from_secs(60), None);
    assert_eq!((own.of(Tier::Hot).as_secs(), own.of(Tier::Cold).as_secs()), (60, 180));
    let expiries = [Some(Tier::Hot), Some(Tier::Cold), None].map(|tier| own.expiry(tier, None, None).as_secs());
    assert_eq!(expiries, [120, 360, 360], "an unclassified server's stamp has the expiry of a cold one's");
}

#[test]
fn the_answer_has_the_names_of_the_contract() {
    let decision = decision(Some(Tier::Hot), "1763799900.25");
    assert_eq!(
        json!(decision),
        json!({
            "due": false,
            "reason": "NotYetDue",
            "tier": "hot",
            "intervalSeconds": 300,
            "planned": false,
            "lastPoll": "2025-11-22T08:25:00Z",
            "nextDue": "2025-11-22T08:30:01Z"
        }),
        "the next poll is rounded up"
    );
    let unknown = json!({"due": true, "reason": "NoStore", "tier": null, "intervalSeconds": null, "planned": false,
        "lastPoll": null, "nextDue": null});
    assert_eq!(json!(PollDecision::NO_STORE), unknown);
    assert_eq!(json!(PollDecision::FAILED)["reason"], "Error");
}

/// The decision for a server whose stamp is this many seconds old, under a plan with this value.
fn planned(tier: Option<Tier>, value: &str, age: f64) -> PollDecision {
    let stamp = Stamp::read((NOW - age).to_string().as_bytes());
    decide(tier, PlannedInterval::parse(value.as_bytes()), stamp, at(NOW), &Intervals::default())
}

#[test]
fn the_planned_interval_of_a_cold_server_decides_alone() {
    let cold = Some(Tier::Cold);
    let reason = |value, age| planned(cold, value, age).reason;
    assert_eq!((reason("3600", 3599.9), reason("3600", 3600.0)), (PollReason::NotYetDue, PollReason::IntervalElapsed));
    // Shorter than the cold interval, and the hot interval itself.
    assert_eq!((reason("600", 599.9), reason("600", 600.0)), (PollReason::NotYetDue, PollReason::IntervalElapsed));
    assert_eq!((reason("300", 299.9), reason("300", 300.0)), (PollReason::NotYetDue, PollReason::IntervalElapsed));
    assert_eq!((reason("3600", -60.0), reason("3600", -60.1)), (PollReason::NotYetDue, PollReason::BadStamp));
    let decision = planned(cold, "3600", 100.0);
    assert_eq!((decision.tier, decision.planned), (cold, true));
    assert_eq!(decision.interval, Some(Duration::from_secs(3600)));
    assert_eq!(decision.next_due, Some(at(NOW + 3500.0)));
    let plan = PlannedInterval::parse(b"3600");
    let never = decide(cold, plan, Stamp::Absent, at(NOW), &Intervals::default());
    assert_eq!((never.reason, never.planned), (PollReason::NeverPolled, true));
    let bad = decide(cold, plan, Stamp::Unreadable, at(NOW), &Intervals::default());
    assert_eq!((bad.reason, bad.due), (PollReason::BadStamp, true));
}

#[test]
fn a_planned_interval_counts_for_no_other_server() {
    let hot = planned(Some(Tier::Hot), "3600,9999999999", 299.9);
    assert_eq!((hot.reason, hot.planned, hot.interval), (PollReason::NotYetDue, false, Some(Duration::from_secs(300))));
    assert_eq!(planned(Some(Tier::Hot), "3600", 300.0).reason, PollReason::IntervalElapsed);
    for value in ["3600", "300", "3600,9999999999"] {
        assert_eq!(planned(None, value, 10.0), decision(None, "1763799990"), "{value}");
    }
    assert_eq!(decision(None, "1763799990").reason, PollReason::Unclassified);
}

#[test]
fn a_poll_before_the_requested_moment_does_not_count() {
    // NOW is a whole second.
    let value = format!("3600,{}", NOW - 100.0);
    let asked = |age| planned(Some(Tier::Cold), &value, age);
    assert_eq!((asked(100.1).reason, asked(100.1).due), (PollReason::RefreshRequested, true));
    assert_eq!(asked(100.1).next_due, None);
    assert_eq!(asked(100.0).reason, PollReason::NotYetDue);
    assert_eq!(asked(3600.0).reason, PollReason::IntervalElapsed);
}

#[test]
fn a_value_that_does_not_count_leaves_the_answer_as_without_a_plan() {
    for value in ["299", "1", "299,9999999999", "0", "3600,", "3600,0", "soon", "-3600", " 3600"] {
        for (tier, age) in [(Some(Tier::Cold), 899.0), (Some(Tier::Cold), 900.0), (Some(Tier::Hot), 10.0), (None, 10.0)]
        {
            let without = decision(tier, &(NOW - age).to_string());
            assert_eq!(planned(tier, value, age), without, "{value}");
        }
    }
}

#[test]
fn a_stamp_outlives_a_planned_interval() {
    let intervals = Intervals::default();
    let expiry = |tier, value: &str| intervals.expiry(tier, PlannedInterval::parse(value.as_bytes()), None).as_secs();
    assert_eq!(expiry(Some(Tier::Cold), "14400"), 28_800);
    assert_eq!(expiry(None, "14400"), 1_800);
    assert_eq!(expiry(Some(Tier::Cold), "600"), 1_800, "as long as without a plan, which may end");
    assert_eq!(expiry(Some(Tier::Cold), "299"), 1_800);
    assert_eq!(expiry(Some(Tier::Hot), "14400"), 600);
}

#[test]
fn two_reasons_are_not_due() {
    let not_due: Vec<PollReason> = PollReason::VARIANTS.iter().copied().filter(|reason| !reason.is_due()).collect();
    assert_eq!(not_due, [PollReason::NotYetDue, PollReason::ListStillValid]);
}

/// The decision for a server that was polled this many seconds ago, and whose list is valid for so many.
fn listed(tier: Option<Tier>, plan: &str, age: f64, ttl: u64) -> PollDecision {
    let stamp = (NOW - age).to_string();
    let last = LastPoll::read(stamp.as_bytes(), format!("{ttl},{stamp}").as_bytes());
    decide(tier, PlannedInterval::parse(plan.as_bytes()), last, at(NOW), &Intervals::default())
}

#[test]
fn a_list_that_is_valid_for_longer_than_the_interval_is_not_polled_before() {
    let (hot, cold) = (Some(Tier::Hot), Some(Tier::Cold));
    for (tier, plan) in [(hot, ""), (hot, "1800"), (cold, ""), (cold, "1800"), (cold, "299")] {
        let decision = listed(tier, plan, 3_599.9, 3_600);
        assert_eq!((decision.due, decision.reason), (false, PollReason::ListStillValid), "{tier:?} {plan}");
        assert_eq!((decision.tier, decision.planned), (tier, false), "{tier:?} {plan}");
        assert_eq!(decision.interval, Some(Duration::from_secs(3_600)), "{tier:?} {plan}");
        assert_eq!(decision.next_due, Some(at(NOW + 0.1)), "{tier:?} {plan}");
        assert_eq!(listed(tier, plan, 0.0, 3_600).reason, PollReason::ListStillValid, "{tier:?} {plan}");
        assert_eq!(listed(tier, plan, 3_600.0, 3_600).reason, PollReason::IntervalElapsed, "{tier:?} {plan}");
    }
    // Absent beats wrong.
    assert_eq!(listed(None, "", 10.0, 3_600), PollDecision::without_interval(PollReason::Unclassified));
}

#[test]
fn a_list_that_is_valid_for_no_longer_than_the_interval_changes_nothing() {
    for (tier, plan, ttl) in [
        (Some(Tier::Hot), "", 300),
        (Some(Tier::Hot), "7200", 1),
        (Some(Tier::Cold), "", 900),
        (Some(Tier::Cold), "7200", 7_200),
    ] {
        for age in [-60.1, -60.0, 0.0, 299.9, 300.0, 900.0, 7_199.9, 7_200.0] {
            assert_eq!(listed(tier, plan, age, ttl), planned(tier, plan, age), "{tier:?} {plan} {ttl} {age}");
        }
    }
}

#[test]
fn a_list_counts_as_valid_for_the_longest_interval_at_most() {
    assert_eq!(listed(Some(Tier::Hot), "", 14_399.9, 2_592_000).reason, PollReason::ListStillValid);
    assert_eq!(listed(Some(Tier::Hot), "", 14_400.0, 2_592_000).reason, PollReason::IntervalElapsed);
    let intervals = Intervals { longest: Duration::from_millis(60_500), ..Intervals::default() };
    for (seconds, expected) in [
        (0.0, None),
        (-0.0, None),
        (0.999, None),
        (-1.0, None),
        (f64::MIN, None),
        (f64::NAN, None),
        (f64::NEG_INFINITY, None),
        (1.0, Some(1)),
        (1.999, Some(1)),
        (60.0, Some(60)),
        (60.4, Some(60)),
        (1e300, Some(60)),
        (f64::INFINITY, Some(60)),
    ] {
        assert_eq!(intervals.ttl(seconds), expected.map(Duration::from_secs), "{seconds}");
    }
}

#[test]
fn a_requested_refresh_does_not_wait_for_the_list() {
    let value = format!("600,{}", NOW - 100.0);
    let asked = listed(Some(Tier::Cold), &value, 100.1, 3_600);
    assert_eq!((asked.due, asked.reason), (true, PollReason::RefreshRequested));
    assert_eq!(listed(Some(Tier::Cold), &value, 100.0, 3_600).reason, PollReason::ListStillValid);
    // There are no requests for a hot server in a plan: it is polled at the hot interval.
    assert_eq!(listed(Some(Tier::Hot), &value, 100.1, 3_600).reason, PollReason::ListStillValid);
}

#[test]
fn a_ttl_counts_only_with_the_stamp_that_it_names() {
    let ttl =
        |stamp: &str, value: &str| LastPoll::read(stamp.as_bytes(), value.as_bytes()).ttl.map(|ttl| ttl.as_secs());
    assert_eq!(ttl("1763800000.25", "3600,1763800000.25"), Some(3_600));
    let written = LastPoll::write_ttl(Duration::from_secs(14_400), "1763800000.25");
    assert_eq!((written.as_str(), ttl("1763800000.25", &written)), ("14400,1763800000.25", Some(14_400)));
    for bad in [
        "",
        ",",
        "3600",
        "3600,",
        "3600,1763800000",
        "3600,1763800000.2",
        "3600,1763800000.250",
        "3600,1763800000.25 ",
        "3600, 1763800000.25",
        "3600,1763800000.25,1763800000.25",
        ",1763800000.25",
        "0,1763800000.25",
        "-3600,1763800000.25",
        "3600.0,1763800000.25",
        "03600,1763800000.25",
        "2592001,1763800000.25",
    ] {
        assert_eq!(ttl("1763800000.25", bad), None, "{bad}");
    }
    assert_eq!(ttl("", "3600,"), None);
    let longest = format!("2592000,{}", "1".repeat(MAX_STAMP_BYTES));
    assert!(longest.len() <= MAX_TTL_BYTES);
}

#[test]
fn a_stamp_outlives_its_list() {
    let expiry = |tier, plan: &str, ttl| {
        Intervals::default()
            .expiry(tier, PlannedInterval::parse(plan.as_bytes()), Some(Duration::from_secs(ttl)))
            .as_secs()
    };
    assert_eq!((expiry(Some(Tier::Hot), "", 14_400), expiry(None, "", 14_400)), (28_800, 28_800));
    assert_eq!((expiry(Some(Tier::Hot), "", 299), expiry(Some(Tier::Cold), "", 899)), (600, 1_800));
    assert_eq!(expiry(Some(Tier::Cold), "7200", 3_600), 14_400);
}

fn tiers() -> impl Strategy<Value = Option<Tier>> {
    prop_oneof![Just(None), Just(Some(Tier::Hot)), Just(Some(Tier::Cold))]
}

/// Times around now, around the edges, and anywhere.
fn seconds() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-2000.0..200.0_f64).prop_map(|offset| NOW + offset),
        (-2000_i32..200).prop_map(|offset| NOW + f64::from(offset)),
        any::<f64>(),
    ]
}

/// Anything that Redis may hold.
fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        seconds().prop_map(|seconds| seconds.to_string().into_bytes()),
        any::<Vec<u8>>(),
        ".*".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn only_a_server_that_was_polled_within_its_interval_is_skipped(
        tier in tiers(),
        value in values(),
        now in seconds(),
    ) {
        let Some(now) = UnixTime::from_seconds(now) else { return Ok(()) };
        let intervals = Intervals::default();
        let decision = decide(tier, None, Stamp::read(&value), now, &intervals);
        prop_assert_eq!(decision.due, decision.reason.is_due());
        if !decision.due {
            let tier = tier.expect("only a classified server is skipped");
            let last = decision.last_poll.expect("only a server with a recorded poll is skipped").seconds();
            prop_assert!(last > 0.0 && last <= now.seconds() + 60.0);
            prop_assert!(now.seconds() - last < intervals.of(tier).as_secs_f64());
        }
    }

    #[test]
    fn the_reason_is_that_of_the_contract(tier in tiers(), last in seconds(), now in -2000.0..200.0_f64) {
        let now = NOW + now;
        // The rule of the contract, for every number that is a time.
        let expected = match tier {
            None => PollReason::Unclassified,
            Some(_) if !last.is_finite() || last <= 0.0 || last > now + 60.0 => PollReason::BadStamp,
            Some(Tier::Hot) if now - last >= 300.0 => PollReason::IntervalElapsed,
            Some(Tier::Cold) if now - last >= 900.0 => PollReason::IntervalElapsed,
            Some(_) => PollReason::NotYetDue,
        };
        let stamp = UnixTime::from_seconds(last).map_or(Stamp::Unreadable, Stamp::At);
        prop_assert_eq!(decide(tier, None, stamp, at(now), &Intervals::default()).reason, expected);
    }

    #[test]
    fn the_reason_under_a_plan_is_that_of_the_contract(
        tier in tiers(),
        plan in proptest::option::of((1_u64..4000, proptest::option::of(-2000_i32..2000))),
        last in seconds(),
    ) {
        let value = plan.map(|(seconds, before)| {
            let value = PlannedInterval::new(Duration::from_secs(seconds));
            before.map_or(value, |before| value.due_if_polled_before(at(NOW + f64::from(before))))
        });
        let stamp = UnixTime::from_seconds(last).map_or(Stamp::Unreadable, Stamp::At);
        let found = decide(tier, value, stamp, at(NOW), &Intervals::default());
        let plan = plan.filter(|(seconds, _)| *seconds >= 300 && tier == Some(Tier::Cold));
        let Some((seconds, before)) = plan else {
            prop_assert_eq!(found, decide(tier, None, stamp, at(NOW), &Intervals::default()));
            return Ok(());
        };
        let is_time = last.is_finite() && last > 0.0 && last <= NOW + 60.0;
        let elapsed = NOW - last >= Duration::from_secs(seconds).as_secs_f64();
        let asked = before.is_some_and(|before| last < NOW + f64::from(before));
        prop_assert_eq!(found.due, !is_time || elapsed || asked);
        prop_assert!(found.planned);
    }

    #[test]
    fn a_hot_server_is_due_whenever_a_cold_one_is(value in values(), now in seconds()) {
        let Some(now) = UnixTime::from_seconds(now) else { return Ok(()) };
        let due = |tier| decide(Some(tier), None, Stamp::read(&value), now, &Intervals::default()).due;
        prop_assert!(!due(Tier::Cold) || due(Tier::Hot));
    }

    #[test]
    fn a_server_becomes_due_by_waiting_and_stays_due(age in -60.0..2000.0_f64, wait in 0.0..2000.0_f64) {
        let stamp = Stamp::At(at(NOW - age));
        let due = |now: f64| decide(Some(Tier::Cold), None, stamp, at(now), &Intervals::default()).due;
        prop_assert!(!due(NOW) || due(NOW + wait));
        prop_assert!(due(NOW + 960.0), "at the latest after an interval and the minute");
    }

    #[test]
    fn a_stamp_is_parsed_as_it_was_written(seconds in seconds()) {
        prop_assume!(seconds.abs() < 1e15);
        let time = at(seconds);
        prop_assume!(time.seconds() == 0.0 || time.seconds().abs() > 1e-3);
        prop_assert_eq!(Stamp::read(Stamp::write(time).as_bytes()), Stamp::At(time));
    }
}

/// What may happen to a server between two poll decisions.
#[derive(Clone, Debug)]
enum Event {
    /// The sets are published with the server in one of them, or they expire.
    Sets(Option<Tier>),
    /// The field of the plan changes, or expires. Any text.
    Field(Option<String>),
    /// The stamp is lost: evicted, or a change was signalled.
    StampLost,
    /// The stamp is overwritten with something.
    StampBad(String),
    /// Redis fails for this many poll decisions.
    RedisFails(u8),
}

/// A poll decision of one of the gateways.
#[derive(Clone, Debug)]
struct Tick {
    /// The time since the previous decision.
    after: Duration,
    /// How far this gateway's clock is ahead of the slowest.
    ahead: Duration,
    /// The ttl of the list, in seconds, that the server reports if it is polled now.
    ttl: f64,
    events: Vec<Event>,
}

fn fields_of_a_plan() -> impl Strategy<Value = String> {
    let before = proptest::option::of(0_u64..100_000);
    let field = (1_u64..40_000, before).prop_map(|(seconds, before)| {
        let value = PlannedInterval::new(Duration::from_secs(seconds));
        let moment = |before| UnixTime::EPOCH.after(Duration::from_secs(before));
        before.map_or(value, |before| value.due_if_polled_before(moment(before))).to_string()
    });
    prop_oneof![8 => field, 1 => ".*"]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        tiers().prop_map(Event::Sets),
        proptest::option::weighted(0.8, fields_of_a_plan()).prop_map(Event::Field),
        Just(Event::StampLost),
        ".*".prop_map(Event::StampBad),
        (1_u8..4).prop_map(Event::RedisFails),
    ]
}

/// The longest time between two poll decisions of any gateways, in seconds.
const TICK: u64 = 300;

fn ticks() -> impl Strategy<Value = Vec<Tick>> {
    let ttl = prop_oneof![Just(0.0), 1.0..20_000.0_f64, Just(-1.0), Just(1e300)];
    let events = prop_oneof![9 => Just(Vec::new()), 2 => proptest::collection::vec(events(), 1..4)];
    // In nanoseconds: with equal stamps, the time for which a list is valid would belong to both polls.
    let ahead = 0_u64..60_000_000_000;
    let tick = (1_u64..=TICK, ahead, ttl, events).prop_map(|(after, ahead, ttl, events)| Tick {
        after: Duration::from_secs(after),
        ahead: Duration::from_nanos(ahead),
        ttl,
        events,
    });
    proptest::collection::vec(tick, 1..400)
}

/// The keys of one server in Redis, with the moments at which they expire.
#[derive(Default)]
struct Keys {
    tier: Option<Tier>,
    field: Option<String>,
    stamp: Option<(String, UnixTime)>,
    ttl: Option<(String, UnixTime)>,
    failures: u8,
}

impl Keys {
    fn happen(&mut self, event: Event, now: UnixTime, intervals: &Intervals) {
        match event {
            Event::Sets(tier) => self.tier = tier,
            Event::Field(field) => self.field = field,
            Event::StampLost => self.stamp = None,
            Event::StampBad(value) => self.stamp = Some((value, now.after(intervals.expiry(None, None, None)))),
            Event::RedisFails(questions) => self.failures = questions,
        }
    }

    fn planned(&self) -> Option<PlannedInterval> {
        PlannedInterval::parse(self.field.as_deref()?.as_bytes())
    }

    /// The decision of a reader at this moment. It extends the expiry of a stamp that a planned interval needs.
    fn ask(&mut self, now: UnixTime, clock: UnixTime, intervals: &Intervals) -> PollDecision {
        self.stamp.take_if(|(_, end)| *end <= now);
        self.ttl.take_if(|(_, end)| *end <= now);
        let ttl = self.ttl.as_ref().map_or("", |(value, _)| value);
        let last = self
            .stamp
            .as_ref()
            .map_or_else(|| Stamp::Absent.into(), |(value, _)| LastPoll::read(value.as_bytes(), ttl.as_bytes()));
        let decision = decide(self.tier, self.planned(), last, clock, intervals);
        if let (false, true, Some(interval), Some((_, end))) =
            (decision.due, decision.planned, decision.interval, &mut self.stamp)
        {
            *end = (*end).max(now.after(interval.saturating_mul(2)));
        }
        decision
    }

    fn completed(&mut self, now: UnixTime, clock: UnixTime, seconds: f64, intervals: &Intervals) {
        let (stamp, ttl) = (Stamp::write(clock), intervals.ttl(seconds));
        let end = now.after(intervals.expiry(self.tier, self.planned(), ttl));
        if let Some(ttl) = ttl {
            self.ttl = Some((LastPoll::write_ttl(ttl, &stamp), end));
        }
        self.stamp = Some((stamp, end));
    }

    /// The interval by which the server may stay unpolled, by the contract and not by `decide`.
    fn in_force(&self, ttl: f64, intervals: &Intervals) -> Duration {
        let seconds = |interval: Duration| interval.as_secs_f64();
        let by_tier = match (self.tier, self.planned()) {
            (None, _) => return Duration::ZERO,
            (Some(Tier::Cold), Some(planned)) if planned.interval() >= intervals.hot => seconds(planned.interval()),
            (Some(tier), _) => seconds(intervals.of(tier)),
        };
        Duration::from_secs_f64(by_tier.max(ttl.clamp(0.0, seconds(intervals.longest))))
    }
}

proptest! {
    /// As long as any gateway asks at least every [`TICK`] seconds and polls when a poll is due, the time between two
    /// polls exceeds the longest interval in force meanwhile by no more than three hot intervals and a tick.
    #[test]
    fn no_server_stays_unpolled_for_longer_than_its_interval_and_three_more(ticks in ticks()) {
        let intervals = Intervals::default();
        let (mut keys, mut now) = (Keys::default(), at(10_000.0));
        let (mut polled, mut longest, mut said) = (now, Duration::ZERO, 0.0);
        for Tick { after, ahead, ttl, events } in ticks {
            now = now.after(after);
            for event in events {
                keys.happen(event, now, &intervals);
                longest = longest.max(keys.in_force(said, &intervals));
            }
            let clock = now.after(ahead);
            let fails = keys.failures > 0;
            keys.failures = keys.failures.saturating_sub(1);
            let decision = if fails { PollDecision::FAILED } else { keys.ask(now, clock, &intervals) };
            let most = longest + 3 * intervals.hot + Duration::from_secs(TICK);
            let unpolled = now.since(polled);
            prop_assert!(unpolled <= most, "{unpolled:?} > {most:?}: {decision:?}");
            if decision.due {
                polled = now;
                // A poll that cannot be stored leaves the keys as they were.
                if !fails {
                    keys.completed(now, clock, ttl, &intervals);
                    said = ttl;
                }
                longest = keys.in_force(said, &intervals);
            }
        }
    }
}
