use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::classify::PerServer;
use crate::model::polling::{PollingCounts, PollingState, ProcessPolling, Share};
use crate::model::{EndpointId, ProblemReason, Tier};
use crate::plan::{Budget, PlanInput, PlanSettings, plan};
use crate::poll::compliance::NonComplianceReason;

fn at(seconds: f64) -> UnixTime {
    UnixTime::from_seconds(1e9 + seconds).unwrap()
}

fn silent(count: usize) -> Vec<SilentEndpoint> {
    let endpoint = |n| SilentEndpoint {
        endpoint: EndpointId::new(&format!("http://w{n}")),
        reported: n > 0,
        since: UnixTime::EPOCH,
    };
    (0..count).map(endpoint).collect()
}

/// A healthy fleet, as `change` leaves it.
fn with(change: impl FnOnce(&mut FleetState<'_>)) -> FleetStatus {
    with_problems(&Problems::default(), change)
}

static NO_POLLING: LazyLock<FleetPolling> = LazyLock::new(FleetPolling::default);

fn healthy<'a>(problems: &'a Problems, silent: &'a [SilentEndpoint]) -> FleetState<'a> {
    FleetState {
        generation: Some(3),
        suspend: false,
        identity: "pod_1",
        since: at(0.0),
        term: Term::new(7).unwrap(),
        objects: ObjectCounts { total: 5, disabled: 1, refused: 1 },
        loss: None,
        servers: ServerCounts { total: 3, hot: 1, cold: 2, unclassified: 0 },
        gap: None,
        endpoints: 3,
        silent,
        sole_reporter: None,
        unregistered: &[],
        identity_conflicts: &[],
        polling: &NO_POLLING,
        plan: None,
        intervals: Intervals::default(),
        publication: PublicationStatus { state: PublicationState::Published, reason: None, until: None },
        publication_stalled: false,
        redis_lock: RedisLockStatus { state: RedisLockState::Held, ..RedisLockStatus::default() },
        redis_error: None,
        compliance: Some(Compliance::Yes),
        skewed: Some(&[]),
        problems,
        mirror: None,
    }
}

fn with_problems(problems: &Problems, change: impl FnOnce(&mut FleetState<'_>)) -> FleetStatus {
    let mut state = healthy(problems, &[]);
    change(&mut state);
    state.status(None, at(1.0))
}

fn condition(status: &FleetStatus, kind: FleetConditionType) -> (&str, &str) {
    status.condition(kind).map_or(("", ""), |found| (&found.status, &found.reason))
}

#[test]
fn a_healthy_fleet_has_every_condition_but_stalled() {
    let status = with(|_| {});
    let found: Vec<_> = status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str())).collect();
    let expected = [
        ("Ready", "True"),
        ("UsageComplete", "True"),
        ("Published", "True"),
        ("Obeyed", "True"),
        ("RegistryRead", "True"),
        ("RegistryStable", "True"),
        ("Permitted", "True"),
        ("StatusesWritten", "True"),
        ("ClocksAgree", "True"),
        ("Suspended", "False"),
    ];
    assert_eq!(found, expected);
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
    assert_eq!((status.term, status.endpoints.summary.as_str(), status.servers.total), (Some(7), "3/3", 3));
}

#[test]
fn ready_has_the_reason_of_the_first_failure_on_the_way_to_the_gateways() {
    use FleetConditionType::{Ready, Stalled};
    let not_published = |reason: &str| PublicationStatus {
        state: PublicationState::NotPublished,
        reason: Some(reason.to_owned()),
        until: None,
    };
    let forbidden = Problem::new(ProblemReason::Forbidden, "grant it");
    let timed_out = Problem::new(ProblemReason::TimedOut, "wait");
    let registry = Problems { registry: Some(forbidden.clone()), ..Problems::default() };
    let writes = Problems { status_writes: Some(timed_out), ..Problems::default() };
    let permissions = Problems { permissions: Some(forbidden), ..Problems::default() };

    let unread = with_problems(&registry, |state| state.gap = Some(UsageGap::Quorum));
    assert_eq!(
        [condition(&unread, Ready), condition(&unread, Stalled)],
        [("False", "Forbidden"), ("True", "Forbidden")]
    );
    let quorum = with(|state| state.gap = Some(UsageGap::Quorum));
    assert_eq!([condition(&quorum, Ready), condition(&quorum, Stalled)], [("False", "QuorumMissed"), ("", "")]);
    let lock = with(|state| state.publication = not_published("LockHeldByAnother"));
    assert_eq!([condition(&lock, Ready), condition(&lock, Stalled)], [("False", "LockHeldByAnother"), ("", "")]);
    let login = with(|state| {
        state.publication = not_published("LoginRefused");
        state.publication_stalled = true;
    });
    assert_eq!(
        [condition(&login, Ready), condition(&login, Stalled)],
        [("False", "LoginRefused"), ("True", "LoginRefused")]
    );
    let slow = with_problems(&writes, |_| {});
    assert_eq!([condition(&slow, Ready), condition(&slow, Stalled)], [("False", "TimedOut"), ("", "")]);
    // What only a part of the work waits for does not count, and neither does a fleet that nobody has used yet.
    assert_eq!(condition(&with_problems(&permissions, |_| {}), Ready), ("True", "Ready"));
    assert_eq!(condition(&with(|state| state.gap = Some(UsageGap::Use)), Ready), ("True", "NoUseKnown"));
    let one = silent(1);
    let partial = with_silent(&one);
    assert_eq!(condition(&partial, Ready), ("True", "EndpointsSilent"));
    assert_eq!(condition(&partial, FleetConditionType::UsageComplete), ("False", "EndpointsSilent"));
}

fn with_silent(silent: &[SilentEndpoint]) -> FleetStatus {
    let problems = Problems::default();
    let state = FleetState {
        endpoints: 30,
        publication: PublicationStatus { state: PublicationState::StatusesOnly, reason: None, until: None },
        compliance: None,
        ..healthy(&problems, silent)
    };
    state.status(None, at(1.0))
}

#[test]
fn a_suspended_fleet_is_ready_once_nothing_is_published() {
    use FleetConditionType::{Published, Ready, Stalled, Suspended};
    let suspended = |state: PublicationState| {
        with(|fleet| {
            fleet.suspend = true;
            fleet.publication_stalled = true;
            fleet.publication = PublicationStatus { state, reason: None, until: None };
        })
    };
    let before = suspended(PublicationState::Suspending);
    assert_eq!(
        [condition(&before, Ready), condition(&before, Suspended)],
        [("False", "Suspending"), ("True", "SuspendedBySpec")]
    );
    let after = suspended(PublicationState::Suspended);
    assert_eq!(condition(&after, Ready), ("True", "Suspended"));
    assert_eq!([condition(&after, Published), condition(&after, Stalled)], [("False", "Suspended"), ("", "")]);
}

#[test]
fn a_fleet_without_redis_has_nothing_to_publish_or_obey() {
    let status = with_silent(&[]);
    assert_eq!(condition(&status, FleetConditionType::Published), ("Unknown", "NoRedis"));
    assert_eq!(condition(&status, FleetConditionType::Obeyed), ("Unknown", "NoRedis"));
    assert_eq!(condition(&status, FleetConditionType::Ready), ("True", "Ready"));
}

#[test]
fn gateways_that_do_not_obey_are_named_and_do_not_make_the_fleet_unready() {
    let status = with(|state| state.compliance = Some(Compliance::No(NonComplianceReason::NoStamps)));
    assert_eq!(condition(&status, FleetConditionType::Obeyed), ("False", "NoStamps"));
    assert_eq!(condition(&status, FleetConditionType::Ready), ("True", "Ready"));
    let early = with(|state| state.compliance = None);
    assert_eq!(condition(&early, FleetConditionType::Obeyed), ("Unknown", "NotCheckedYet"));
}

#[test]
fn silent_endpoints_are_named_up_to_twenty_and_in_messages_up_to_five() {
    let all = silent(25);
    let status = with_silent(&all);
    assert_eq!((status.endpoints.summary.as_str(), status.endpoints.silent.len()), ("5/30", 20));
    assert!(!status.endpoints.silent[0].reported && status.endpoints.silent[1].reported);
    let text = endpoints_text(9, &all[..7]);
    let expected = "2 of 9 endpoints answered; silent: http://w0 never reported, known since 1970-01-01T00:00:00Z, \
        http://w1 since 1970-01-01T00:00:00Z, http://w2 since 1970-01-01T00:00:00Z, \
        http://w3 since 1970-01-01T00:00:00Z, http://w4 since 1970-01-01T00:00:00Z and 2 more";
    assert_eq!(text, expected);
    assert_eq!(endpoints_text(3, &[]), "3 of 3 endpoints answered");
}

#[test]
fn a_transition_time_is_kept_while_the_status_of_the_condition_stays() {
    let first = with(|_| {});
    let ready =
        |status: &FleetStatus| status.condition(FleetConditionType::Ready).unwrap().last_transition_time.clone();
    let later = |suspend: bool| {
        let mut later = None;
        with(|state| {
            state.suspend = suspend;
            if suspend {
                state.publication.state = PublicationState::Suspending;
            }
            later = Some(state.status(Some(&first), at(60.0)));
        });
        later.unwrap()
    };
    assert_eq!(later(false), first, "a calm fleet has nothing to write");
    assert_eq!(ready(&later(true)), time(at(60.0)));
}

#[test]
fn what_other_programs_wrote_is_kept_to_one_line() {
    let status = with(|state| {
        state.redis_lock.state = RedisLockState::HeldByAnother;
        state.redis_lock.holder = Some("a\nb\u{7}".to_owned());
        state.publication.state = PublicationState::NotPublished;
        state.publication.reason = Some("LockHeldByAnother".to_owned());
    });
    assert_eq!(status.redis_lock.holder.as_deref(), Some("a b "));
    let published = status.condition(FleetConditionType::Published).unwrap();
    assert!(published.message.starts_with("a b ") && !published.message.contains('\n'), "{}", published.message);
}

#[test]
fn the_status_says_how_gateways_poll_and_names_what_they_do_not_support() {
    let status = with(|_| {});
    assert_eq!(
        status.gateways,
        GatewaysStatus { obeyed: Some(true), reason: "Obeyed".to_owned(), ..Default::default() }
    );

    let bad = r#"{"hotAtFullRate": "Unsupported", "hotAtFullRateReason": "replaced", "coldHealth": "Off",
        "refreshPlan": "Off"}"#;
    let good = r#"{"hotAtFullRate": "Active", "coldHealth": "Active", "refreshPlan": "Active"}"#;
    let process = |endpoint: usize, json| {
        (EndpointId::new(&format!("http://{endpoint:02}")), ProcessPolling::parse(json).unwrap())
    };
    let processes = (0..30).map(|endpoint| process(endpoint, bad)).chain([process(30, good)]).collect();
    let counts = PollingCounts {
        health_checks_skipped: Share { part: 620, all: 1000 },
        calls_on_old_lists: Share { part: 9, all: 60 },
        refreshes_skipped: 7,
    };
    let mut polling = FleetPolling { processes, counts };
    let problems = Problems::default();
    let status = |polling: &FleetPolling, previous: Option<&FleetStatus>| {
        FleetState { polling, ..healthy(&problems, &[]) }.status(previous, at(1.0))
    };
    let first = status(&polling, None);
    let expected = GatewaysStatus {
        obeyed: Some(true),
        reason: "Obeyed".to_owned(),
        hot_at_full_rate: Some(PollingState::Unsupported),
        refresh_plan: Some(PollingState::Off),
        refresh_plan_followed_by: Some(1),
        refresh_plan_not_followed_by: Some(30),
        calls_on_old_lists_percent: Some(20),
        cold_health: Some(PollingState::Off),
        health_checks_skipped_percent: Some(60),
        unsupported: (0..20).map(|n| format!("http://{n:02}: hot servers at the full rate: replaced")).collect(),
    };
    assert_eq!(first.gateways, expected);
    // A percentage that was shown stays until it is ten points off.
    polling.counts.calls_on_old_lists.part = 8;
    assert_eq!(status(&polling, Some(&first)).gateways, expected);
    assert_eq!(status(&polling, None).gateways.calls_on_old_lists_percent, Some(10));
}

#[test]
fn a_refresh_plan_shows_in_figures_of_two_digits() {
    let cold = |hours| PlanInput { tier: Some(Tier::Cold), idle: Duration::from_hours(hours), ..PlanInput::default() };
    let url = |n: usize| ServerUrl::parse(&format!("http://s{n}")).unwrap();
    let mut inputs = PerServer::of(&(0..1000).map(url).collect());
    for (n, input) in (0_u64..).zip(inputs.values_mut()) {
        *input = if n < 200 { PlanInput { tier: Some(Tier::Hot), ..PlanInput::default() } } else { cold(n) };
    }
    let shown = |budget: f64| {
        let (hot, longest) = (Duration::from_mins(5), Duration::from_hours(4));
        let settings = PlanSettings::new(hot, longest, Budget::new(budget).unwrap());
        let planned = plan(&inputs, &Plan::default(), &settings);
        let servers = ServerCounts { total: 1000, hot: 200, cold: 800, unclassified: 0 };
        let problems = Problems::default();
        let state = FleetState { plan: Some((&planned, settings)), servers, ..healthy(&problems, &[]) };
        state.status(None, at(1.0)).refresh_plan.unwrap()
    };
    let kept = shown(0.33);
    let shown_as = serde_json::to_value(kept).unwrap();
    assert_eq!((&shown_as["hotInterval"], &shown_as["longestInterval"]), (&json!("300s"), &json!("14400s")));
    assert!((3500..=3960).contains(&kept.polls_per_hour) && kept.polls_per_hour % 100 == 0, "{kept:?}");
    assert_eq!((kept.tiers_polls_per_hour, kept.uniform_polls_per_hour), (5600, 12000));
    assert_eq!((kept.budget_kept, kept.least_budget_percent), (true, None));
    let not_kept = shown(0.1);
    assert_eq!((not_kept.budget_kept, not_kept.least_budget_percent), (false, Some(22)), "{not_kept:?}");
    assert_eq!([0.4, 9.6, 99.6, 1234.0].map(two_digits), [0, 10, 100, 1200]);
}
