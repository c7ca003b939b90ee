use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn fleet(inputs: &[PlanInput]) -> PerServer<PlanInput> {
    let url = |n: usize| ServerUrl::parse(&format!("https://server-{n:05}.example/mcp")).unwrap();
    let mut fleet = PerServer::of(&(0..inputs.len()).map(url).collect());
    fleet.values_mut().copy_from_slice(inputs);
    fleet
}

fn with_tier(tier: Tier, idle: Duration) -> PlanInput {
    PlanInput { tier: Some(tier), idle, ..PlanInput::default() }
}

fn cold(idle: Duration) -> PlanInput {
    with_tier(Tier::Cold, idle)
}

fn hot() -> PlanInput {
    with_tier(Tier::Hot, Duration::ZERO)
}

fn budget(share: f64) -> PlanSettings {
    PlanSettings { budget: Budget::new(share).unwrap(), ..PlanSettings::default() }
}

fn rungs(plan: &Plan) -> Vec<Option<u8>> {
    plan.servers().values().iter().map(|planned| planned.map(|planned| planned.rung.doublings())).collect()
}

/// The interval of each server, all of which are planned.
fn intervals(plan: &Plan) -> Vec<Duration> {
    plan.servers().values().iter().map(|planned| planned.unwrap().interval()).collect()
}

fn changed(one: &Plan, other: &Plan) -> usize {
    rungs(one).iter().zip(rungs(other)).filter(|(one, other)| **one != *other).count()
}

#[test]
fn a_budget_is_a_share_above_nothing() {
    for bad in [0.0, -0.1, 1.000_001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(Budget::new(bad), None, "{bad}");
    }
    assert_eq!(Budget::new(1.0).map(Budget::share), Some(1.0));
    assert!(Budget::new(f64::MIN_POSITIVE).is_some());
}

#[test]
fn intervals_grow_with_the_root_of_the_idle_time_and_meet_the_budget() {
    let mut inputs = vec![hot(); 20];
    inputs.extend((1..=80).map(|n| cold(Duration::from_mins(n * n))));
    let found = plan(&fleet(&inputs), &Plan::default(), &budget(0.33));
    assert_eq!(found.fit, BudgetFit::Kept);
    let share = found.polls_per_hour / found.uniform_polls_per_hour;
    assert!((0.29..=0.33).contains(&share), "{share}");
    assert!((found.uniform_polls_per_hour - 1200.0).abs() < 1e-9);
    assert!(rungs(&found).windows(2).all(|two| two[0] <= two[1]));
    let reference = 300.0 * found.reference().unwrap().multiple();
    for (input, planned) in inputs[20..].iter().zip(&found.servers().values()[20..]) {
        let (exact, interval) = ((input.idle.as_secs_f64() / reference).sqrt() * 300.0, planned.unwrap().interval());
        let rung = 300.0 * f64::from(1 << planned.unwrap().rung.doublings());
        assert!(rung <= exact.max(300.0) && exact < 2.0 * rung, "{exact} {rung}");
        assert!((0.9 * rung - 1e-3..=rung).contains(&interval.as_secs_f64()), "{interval:?}");
    }
}

#[test]
fn the_ladder_ends_with_the_longest_interval_or_the_bound() {
    // 48 I by default: above rung 5.
    let bounds = [None, Some(50), Some(10), Some(7), Some(5), Some(1), Some(0), Some(100_000)];
    let input = |bound: &Option<u64>| PlanInput { bound: bound.map(Duration::from_mins), ..cold(Duration::MAX) };
    let inputs: Vec<PlanInput> = bounds.iter().map(input).collect();
    let found = plan(&fleet(&inputs), &Plan::default(), &budget(1e-9));
    assert_eq!(rungs(&found), [6, 4, 1, 1, 0, 0, 0, 6].map(Some));
    for (interval, longest) in intervals(&found).into_iter().zip([240, 50, 10, 7, 5, 5, 5, 240]) {
        let longest = Duration::from_mins(longest);
        assert!(interval <= longest && interval >= longest.mul_f64(0.9).max(5 * MINUTE), "{interval:?} {longest:?}");
    }
    assert!(matches!(found.fit, BudgetFit::TooSmall { least } if least > 0.4 && least < 0.7), "{:?}", found.fit);
}

#[test]
fn hot_servers_keep_the_interval_and_unclassified_ones_are_not_planned() {
    let new = PlanInput::default();
    let found = plan(&fleet(&[hot(), hot(), new, cold(Duration::MAX)]), &Plan::default(), &budget(0.01));
    assert_eq!(rungs(&found), [Some(0), Some(0), None, Some(6)]);
    assert_eq!(found.servers().values()[1].unwrap().interval(), 5 * MINUTE);
    // Three at the full rate and one at the longest interval.
    let BudgetFit::TooSmall { least } = found.fit else { panic!("{:?}", found.fit) };
    assert!((least - found.polls_per_hour / found.uniform_polls_per_hour).abs() < 1e-9);
    assert!(least > 0.75 && least < 0.76, "{least}");
}

#[test]
fn a_server_with_another_bound_is_planned_again_without_the_others() {
    let inputs: Vec<PlanInput> = (1..100).map(|hours| cold(Duration::from_hours(hours))).chain([hot()]).collect();
    let settings = PlanSettings { budget: Budget::new(0.1).unwrap(), ..PlanSettings::default() };
    let whole = plan(&fleet(&inputs), &Plan::default(), &settings);
    let interval = |plan: &Plan, place: usize| plan.servers().get(place).unwrap().unwrap().interval();
    let mut adjusted = whole.clone();
    adjusted.adjust(90, &PlanInput { bound: Some(10 * MINUTE), ..inputs[90] }, &settings);
    assert!(interval(&whole, 90) > 60 * MINUTE);
    assert!((9 * MINUTE..=10 * MINUTE).contains(&interval(&adjusted, 90)), "{:?}", interval(&adjusted, 90));
    assert!((0..100).filter(|place| *place != 90).all(|place| interval(&adjusted, place) == interval(&whole, place)));
    assert_eq!(adjusted.reference(), whole.reference());
    let polls = |plan: &Plan| 3600.0 / interval(plan, 90).as_secs_f64();
    let more = adjusted.polls_per_hour - whole.polls_per_hour;
    assert!((more - (polls(&adjusted) - polls(&whole))).abs() < 1e-3, "{more}");
    adjusted.adjust(90, &inputs[90], &settings);
    assert!(interval(&adjusted, 90) > 60 * MINUTE, "its bound is gone again");
    // Hot servers have the shortest interval in any case.
    let before = adjusted.clone();
    adjusted.adjust(99, &PlanInput { bound: Some(10 * MINUTE), ..inputs[99] }, &settings);
    assert_eq!(adjusted, before);
}

#[test]
fn a_late_server_without_a_plan_is_planned_by_what_is_known() {
    let late = PlanInput { late: true, ..cold(Duration::from_hours(48)) };
    let found = plan(&fleet(&[hot(), late]), &Plan::default(), &budget(0.9));
    let next = plan(&fleet(&[hot(), cold(Duration::from_hours(48))]), &Plan::default(), &budget(0.9));
    assert_eq!(found, next);
}

#[test]
fn a_server_that_was_never_used_is_idle_since_it_is_observed() {
    let at = |seconds| UnixTime::from_seconds(seconds).unwrap();
    assert_eq!(idle(None, at(100.0), at(160.0)), MINUTE);
    assert_eq!(idle(Some(at(40.0)), at(100.0), at(160.0)), 2 * MINUTE);
    assert_eq!(idle(Some(at(170.0)), at(100.0), at(160.0)), Duration::ZERO);
}

#[test]
fn a_fresh_install_does_not_send_every_server_to_the_longest_interval() {
    let mut inputs = fleet(&[cold(Duration::ZERO); 20]);
    let mut found = Plan::default();
    let mut changes = 0;
    for minute in 0..7 * 24 * 60 {
        inputs.values_mut().iter_mut().for_each(|input| input.idle = minute * MINUTE);
        let next = plan(&inputs, &found, &budget(0.33));
        changes += if minute > 0 { changed(&next, &found) } else { 0 };
        found = next;
        assert!(found.polls_per_hour > 0.25 * found.uniform_polls_per_hour, "{minute}");
    }
    assert_eq!(changes, 0, "servers that are all alike keep the rung that the budget allows");
}

#[test]
fn an_empty_fleet_and_one_that_was_never_used_are_planned() {
    let none = plan(&fleet(&[]), &Plan::default(), &budget(0.33));
    assert_eq!((none.fit, none.polls_per_hour, none.uniform_polls_per_hour), (BudgetFit::Kept, 0.0, 0.0));
    let uniform = plan(&fleet(&[cold(Duration::MAX); 9]), &none, &budget(1.0));
    assert_eq!(rungs(&uniform), [Some(0); 9], "the budget allows the full rate");
    assert_eq!((uniform.fit, uniform.polls_per_hour), (BudgetFit::Kept, 108.0));
}

#[test]
fn an_interval_is_the_shortest_if_the_longest_is_shorter() {
    let settings = PlanSettings::new(Duration::from_hours(5), MINUTE, Budget::new(0.01).unwrap());
    assert_eq!(settings.longest(), Duration::from_hours(5));
    let found = plan(&fleet(&[cold(Duration::MAX); 3]), &Plan::default(), &settings);
    assert_eq!(intervals(&found), [Duration::from_hours(5); 3]);
    assert_eq!(found.fit, BudgetFit::TooSmall { least: 1.0 });
    assert_eq!(PlanSettings::new(Duration::ZERO, Duration::ZERO, Budget::default()).interval().as_secs(), 1);
}

#[test]
fn a_new_leader_finds_the_rungs_in_the_published_intervals() {
    let inputs: Vec<PlanInput> = (0..200_u64).map(|n| cold(Duration::from_secs(n * n * n))).collect();
    let inputs = fleet(&inputs);
    let before = plan(&inputs, &Plan::default(), &budget(0.33));
    let published = before.servers().map(|planned| planned.map(|planned| planned.interval()));
    let inherited = Plan::inherit(&published, &budget(0.33));
    assert_eq!(rungs(&inherited), rungs(&before));
    assert_eq!(inherited.reference(), None);
    let after = plan(&inputs, &inherited, &budget(0.33));
    assert_eq!(after.fit, BudgetFit::Kept);
    assert!(changed(&after, &before) <= 2, "{}", changed(&after, &before));
}

#[test]
fn servers_of_one_rung_are_spread_over_a_tenth_of_its_interval() {
    let found = plan(&fleet(&vec![cold(Duration::from_hours(1)); 1_000]), &Plan::default(), &budget(0.3));
    let mut seconds: Vec<f64> = intervals(&found).iter().map(Duration::as_secs_f64).collect();
    seconds.sort_by(f64::total_cmp);
    let (least, middle, most) = (seconds[0], seconds[500], seconds[999]);
    assert!(most <= 1200.0 && most > 1199.0 && (1080.0 - 1e-3..1082.0).contains(&least), "{least} {most}");
    assert!((1130.0..1150.0).contains(&middle), "{middle}");
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        6 => (0_u64..2_000_000).prop_map(Duration::from_secs),
        2 => (0_u64..1_000_000).prop_map(Duration::from_millis),
        1 => prop::sample::select(vec![Duration::ZERO, Duration::from_nanos(1), Duration::MAX]),
        1 => any::<Duration>(),
    ]
}

fn any_input() -> impl Strategy<Value = PlanInput> {
    let tier = prop_oneof![1 => Just(None), 2 => Just(Some(Tier::Hot)), 7 => Just(Some(Tier::Cold))];
    let bound = prop_oneof![4 => Just(None), 1 => any_duration().prop_map(Some)];
    (tier, bound, any_duration(), prop::bool::weighted(0.05)).prop_map(|(tier, bound, idle, late)| PlanInput {
        tier,
        bound,
        idle,
        late,
    })
}

fn any_settings() -> impl Strategy<Value = PlanSettings> {
    let budget = prop_oneof![6 => 0.05..1.0, 1 => Just(1.0), 1 => Just(1e-300), 1 => Just(0.33)];
    let usual = (1_u64..600, 600_u64..60_000).prop_map(|(i, longest)| [i, longest].map(Duration::from_secs));
    let any = (any_duration(), any_duration()).prop_map(|(interval, longest)| [interval, longest]);
    (prop_oneof![4 => usual, 1 => any], budget)
        .prop_map(|([interval, longest], budget)| PlanSettings::new(interval, longest, Budget::new(budget).unwrap()))
}

fn any_inputs() -> impl Strategy<Value = Vec<PlanInput>> {
    prop::collection::vec(any_input(), 0..40)
}

/// A plan for the fleet that was made from something else.
fn any_previous() -> impl Strategy<Value = Plan> {
    prop_oneof![
        Just(Plan::default()),
        (any_inputs(), any_settings()).prop_map(|(inputs, settings)| plan(
            &fleet(&inputs),
            &Plan::default(),
            &settings
        )),
    ]
}

proptest! {
    #[test]
    fn every_plan_keeps_its_bounds_and_its_budget(
        inputs in any_inputs(), previous in any_previous(), settings in any_settings(),
    ) {
        let found = plan(&fleet(&inputs), &previous, &settings);
        let (mut polls, mut rounding) = (0.0, 0.0);
        for (input, planned) in inputs.iter().zip(found.servers().values()) {
            prop_assert_eq!(planned.is_some(), input.tier.is_some());
            let interval = planned.map_or(settings.interval(), |planned| planned.interval());
            let share = settings.interval().as_secs_f64() / interval.as_secs_f64();
            polls += share;
            // Intervals are kept to a millisecond.
            rounding += share * 0.001 / interval.as_secs_f64();
            let longest = input.bound.unwrap_or(settings.longest).min(settings.longest);
            prop_assert!(interval >= settings.interval());
            prop_assert!(interval <= longest.max(settings.interval()), "{interval:?} {longest:?}");
            if input.tier == Some(Tier::Hot) {
                prop_assert_eq!(interval, settings.interval());
            }
        }
        let per_hour = 3600.0 / settings.interval().as_secs_f64();
        let differ = (found.polls_per_hour - polls * per_hour).abs();
        prop_assert!(differ <= 1e-6 * found.polls_per_hour + 2.0 * rounding * per_hour);
        let share = found.polls_per_hour / found.uniform_polls_per_hour.max(1e-300);
        match found.fit {
            _ if inputs.iter().any(|input| input.late) => {}
            BudgetFit::Kept => prop_assert!(share <= settings.budget.share() * (1.0 + 1e-9), "{share}"),
            BudgetFit::TooSmall { least } => {
                prop_assert!(least > settings.budget.share() * (1.0 - 1e-9) && least <= 1.0 + 1e-9);
                prop_assert!((share - least).abs() < 1e-9, "{share} {least}");
            }
        }
        prop_assert!(found.reference().unwrap().multiple().is_normal());
    }

    #[test]
    fn intervals_of_late_servers_do_not_become_longer_and_others_do_not_depend_on_them(
        inputs in any_inputs(), previous in any_previous(), settings in any_settings(),
    ) {
        let previous = plan(&fleet(&inputs), &previous, &settings);
        let later = |late: bool| {
            let later = |input: &PlanInput| {
                PlanInput { idle: input.idle.saturating_mul(50), late: late && input.late, ..*input }
            };
            fleet(&inputs.iter().map(later).collect::<Vec<_>>())
        };
        let (with, without) = (plan(&later(true), &previous, &settings), plan(&later(false), &previous, &settings));
        prop_assert_eq!(with.reference(), without.reference());
        for (((input, before), with), without) in
            inputs.iter().zip(rungs(&previous)).zip(rungs(&with)).zip(rungs(&without))
        {
            prop_assert_eq!(with, if input.late { without.min(before) } else { without });
        }
    }

    #[test]
    fn a_server_that_is_idle_for_longer_is_not_polled_more_often(
        inputs in any_inputs(), settings in any_settings(), more in any_duration(), at in any::<prop::sample::Index>(),
    ) {
        let cold: Vec<PlanInput> = inputs.iter().filter(|input| input.tier.is_some()).copied().collect();
        let first = plan(&fleet(&cold), &Plan::default(), &settings);
        let mut alike: Vec<_> = cold.iter().zip(first.servers().values()).collect();
        alike.retain(|(input, _)| input.tier == Some(Tier::Cold) && input.bound.is_none());
        alike.sort_by_key(|(input, _)| input.idle);
        prop_assert!(alike.windows(2).all(|two| two[0].1.unwrap().rung <= two[1].1.unwrap().rung));
        // The same with hysteresis, as long as the reference stays.
        if !cold.is_empty() {
            let at = at.index(cold.len());
            let mut longer = cold.clone();
            longer[at].idle = longer[at].idle.saturating_add(more);
            let second = plan(&fleet(&longer), &first, &settings);
            if second.reference() == first.reference() {
                prop_assert!(second.servers().values()[at].unwrap().rung >= first.servers().values()[at].unwrap().rung);
            }
        }
    }

    #[test]
    fn a_small_change_changes_nothing(
        inputs in any_inputs(), previous in any_previous(), settings in any_settings(), more in 0.0..0.44,
    ) {
        // The same input again: hysteresis may leave something for the reference to take up, but soon the plan rests.
        let mut settled = plan(&fleet(&inputs), &previous, &settings);
        for _ in 0..20 {
            let again = plan(&fleet(&inputs), &settled, &settings);
            prop_assert!(again.reference() >= settled.reference());
            settled = again;
        }
        prop_assert_eq!(&plan(&fleet(&inputs), &settled, &settings), &settled);
        // Idle times that grow by less than 1.44 after an exact plan: nothing moves while the reference stays.
        let exact = plan(&fleet(&inputs), &Plan::default(), &settings);
        let mut longer = inputs.clone();
        longer.iter_mut().for_each(|input| {
            let grown = input.idle.as_secs_f64() * (1.0 + more);
            input.idle = Duration::try_from_secs_f64(grown).unwrap_or(Duration::MAX);
        });
        let later = plan(&fleet(&longer), &exact, &settings);
        if later.reference() == exact.reference() {
            prop_assert_eq!(changed(&later, &exact), 0);
        }
    }

    #[test]
    fn a_server_that_comes_and_goes_does_not_move_the_others_each_time(
        inputs in prop::collection::vec((0_u64..200_000).prop_map(|idle| cold(Duration::from_secs(idle))), 200..300),
        another in (0_u64..200_000).prop_map(Duration::from_secs),
    ) {
        let mut more = inputs.clone();
        more.push(cold(another));
        let fleets = [fleet(&more), fleet(&inputs)];
        let mut before = plan(&fleets[1], &Plan::default(), &budget(0.33));
        for round in 0..12 {
            let next = plan(&fleets[round % 2], &before, &budget(0.33));
            let moved = (0..inputs.len()).filter(|n| rungs(&next)[*n] != rungs(&before)[*n]).count();
            prop_assert!(round < 4 || moved == 0, "{moved} in round {round}");
            before = next;
        }
    }

    #[test]
    fn in_a_calm_fleet_the_reference_never_falls_and_rungs_change_seldom(
        ages in prop::collection::vec(3_600_u64..2_000_000, 1..60), hot_ones in 0_usize..20,
        share in 0.05..1.0, cycles in 1_usize..200, cycle in 60_u64..7_200,
    ) {
        let settings = budget(share);
        let mut inputs = vec![hot(); hot_ones];
        inputs.extend(ages.iter().map(|age| cold(Duration::from_secs(*age))));
        let mut inputs = fleet(&inputs);
        let first = plan(&inputs, &Plan::default(), &settings);
        let (mut before, mut changes) = (first, vec![0_u32; ages.len()]);
        for _ in 0..cycles {
            inputs.values_mut()[hot_ones..].iter_mut().for_each(|input| input.idle += Duration::from_secs(cycle));
            let next = plan(&inputs, &before, &settings);
            prop_assert!(next.reference() >= before.reference());
            let (old, new) = (rungs(&before), rungs(&next));
            for (count, (old, new)) in changes.iter_mut().zip(old.iter().zip(&new).skip(hot_ones)) {
                *count += u32::from(old != new);
            }
            before = next;
        }
        let youngest = *ages.iter().min().unwrap();
        let later = Duration::from_secs(youngest + cycles as u64 * cycle);
        let most = later.div_duration_f64(Duration::from_secs(youngest));
        for changes in changes {
            let bound = 2.24 + 2.0 * most.ln() / 1.2_f64.powi(4).ln();
            prop_assert!(f64::from(changes) <= bound, "{changes} {bound}");
        }
    }
}
