use std::sync::{Arc, LazyLock};

use super::*;
use crate::classify::{Params, Row, classify};
use crate::model::WorkerId;

const INTERVAL: Duration = Duration::from_secs(60);
const WALL: f64 = 1_763_800_000.0;

/// Endpoints and servers; times are in seconds from the start of the leader.
struct Fleet {
    memory: UsageMemory,
    registry: Arc<[ServerUrl]>,
}

fn url(n: usize) -> ServerUrl {
    ServerUrl::parse(&format!("http://server-{n}.example/mcp")).unwrap()
}

fn wall(seconds: u64) -> UnixTime {
    UnixTime::from_seconds(WALL + f64::from(u32::try_from(seconds).unwrap())).unwrap()
}

fn at(seconds: u64) -> Monotonic {
    Monotonic::at(Duration::from_secs(1000 + seconds))
}

/// The list that the rows of all reports refer to.
static SERVERS: LazyLock<Arc<[ServerUrl]>> = LazyLock::new(|| (0..20).map(url).collect());

/// A complete report of one process, with rows (server, used at second).
fn report(process: &str, observed: u64, rows: &[(u32, u64)]) -> Answer {
    let rows = rows.iter().map(|(n, used)| Row::new(*n, Some(wall(*used)), 1, 0, 7)).collect();
    with_rows(process, observed, rows)
}

fn with_rows(process: &str, observed: u64, rows: Vec<Row>) -> Answer {
    let id = WorkerId::parse(process).unwrap();
    let (observed_at, servers) = (wall(observed), Arc::clone(&SERVERS));
    let process = ProcessReport { id, observed_at, servers, rows: rows.into() };
    Answer::Report(Report { complete: true, offset: 0.0, processes: vec![process] })
}

/// The contents of statuses: servers with the second of their last use, and hot servers.
fn inheritance(used: &[(usize, u64)], hot: &[usize]) -> Inheritance {
    let (last_used, observed_since) = (PerServer::of(&SERVERS), PerServer::of(&SERVERS));
    let mut inheritance = Inheritance { last_used, hot: PerServer::of(&SERVERS), observed_since };
    for (server, second) in used {
        inheritance.last_used.values_mut()[*server] = Some(wall(*second));
    }
    for server in hot {
        inheritance.hot.values_mut()[*server] = true;
    }
    inheritance
}

fn partial(mut answer: Answer) -> Answer {
    if let Answer::Report(report) = &mut answer {
        report.complete = false;
    }
    answer
}

impl Fleet {
    fn new(servers: usize, inheritance: Inheritance) -> Self {
        let settings = MemorySettings { interval: INTERVAL, quorum: 0.5, window: Duration::ZERO };
        Self { memory: UsageMemory::inherit(settings, inheritance, at(0)), registry: (0..servers).map(url).collect() }
    }

    fn collect<const N: usize>(&mut self, second: u64, answers: [Answer; N]) -> bool {
        self.collect_all(second, answers.into())
    }

    /// Returns whether anything may have changed.
    fn collect_all(&mut self, second: u64, answers: Vec<Answer>) -> bool {
        let answer = |(n, answer)| EndpointAnswer { endpoint: EndpointId::new(&format!("http://worker-{n}")), answer };
        let answers = answers.into_iter().enumerate().map(answer).collect();
        let collection = Collection { answers, ..Collection::default() };
        self.memory.absorb(collection, &self.registry, at(second), wall(second))
    }

    fn silent(&self, second: u64) -> Vec<String> {
        self.view(second).coverage.silent.iter().map(|silent| silent.endpoint.to_string()).collect()
    }

    fn usage(&self, second: u64, n: usize) -> ServerUsage {
        let view = self.view(second);
        let found = view.fleet.iter().find(|(server, _)| **server == url(n));
        found.map(|(_, known)| known.usage).unwrap_or_default()
    }

    fn view(&self, second: u64) -> View {
        self.memory.view(&self.registry, at(second), wall(second))
    }

    /// Classifies and lists the hot servers by number.
    fn hot(&mut self, second: u64) -> Vec<usize> {
        let view = self.view(second);
        assert_eq!(view.coverage.gap, None);
        let found = classify(&view.fleet, wall(second), &Params::default());
        self.memory.note(&found);
        (0..self.registry.len()).filter(|n| found.hot().any(|hot| *hot == url(*n))).collect()
    }
}

#[test]
fn all_workers_restarted_at_once_demote_no_server() {
    let mut fleet = Fleet::new(10, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(1, 0)]), report("b", 0, &[(2, 0)])]);
    assert_eq!(fleet.hot(0), [1, 2]);
    for cycle in 1..20 {
        fleet.collect(60 * cycle, [report("c", 60 * cycle, &[]), report("d", 60 * cycle, &[])]);
        assert_eq!(fleet.hot(60 * cycle), [1, 2], "cycle {cycle}");
    }
}

#[test]
fn the_counts_of_an_ended_process_are_gone_but_its_uses_stay() {
    let mut fleet = Fleet::new(5, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(1, 0)])]);
    fleet.collect(60, [report("b", 60, &[])]);
    let usage = fleet.usage(60, 1);
    assert_eq!(usage, ServerUsage { last_used: Some(wall(0)), active: 0, idle: 0, use_count: 0 });
}

#[test]
fn one_process_seen_through_two_endpoints_counts_once() {
    let mut fleet = Fleet::new(5, Inheritance::default());
    fleet.collect(60, [report("a", 60, &[(1, 55)]), report("a", 50, &[(1, 44)])]);
    assert_eq!(fleet.usage(60, 1), ServerUsage { last_used: Some(wall(55)), active: 1, idle: 0, use_count: 7 });
}

#[test]
fn a_server_is_left_out_until_a_collection_has_asked_about_it() {
    let mut fleet = Fleet::new(5, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(1, 0)])]);
    fleet.registry = (0..6).map(url).collect();
    let new = |fleet: &Fleet, second| fleet.view(second).fleet.map(|known| known.new);
    assert_eq!(new(&fleet, 1).values(), [false, false, false, false, false, true]);
    fleet.collect(60, [report("a", 60, &[(1, 0)])]);
    assert_eq!(new(&fleet, 60).values(), [false; 6]);
}

#[test]
fn without_discovery_endpoints_quorum_or_any_use_nothing_is_classified() {
    let mut fleet = Fleet::new(5, Inheritance::default());
    assert_eq!(fleet.view(0).coverage.gap, Some(UsageGap::Discovery));
    fleet.collect(0, []);
    assert_eq!(fleet.view(0).coverage.gap, Some(UsageGap::Endpoints));
    fleet.collect(60, [Answer::NoReport, Answer::NoReport, report("a", 60, &[(1, 1)])]);
    assert_eq!(fleet.view(60).coverage.gap, Some(UsageGap::Quorum));
    fleet.collect(120, [report("b", 120, &[]), Answer::NoReport, report("a", 120, &[(1, 1)])]);
    assert_eq!(fleet.view(120).coverage.gap, None, "two of three are enough for one half");

    let mut unused = Fleet::new(5, Inheritance::default());
    unused.collect(0, [report("a", 0, &[])]);
    assert_eq!(unused.view(0).coverage.gap, Some(UsageGap::Use));
}

#[test]
fn a_registry_known_to_be_empty_is_classified_whatever_is_missing() {
    assert_eq!(Fleet::new(0, Inheritance::default()).view(0).coverage.gap, None);
}

#[test]
fn an_endpoint_is_silent_after_two_intervals_without_a_complete_report() {
    let mut fleet = Fleet::new(5, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(1, 0)]), report("b", 0, &[(2, 0)])]);
    fleet.collect(60, [report("a", 60, &[(1, 0)]), partial(report("b", 60, &[(2, 50)]))]);
    assert!(fleet.silent(120).is_empty());
    assert_eq!(fleet.silent(121), ["http://worker-1"]);
    assert_eq!(fleet.view(121).coverage.silent[0].since, wall(0), "its last complete report");
    assert_eq!(fleet.usage(60, 2).last_used, Some(wall(50)), "rows of a partial report count");
}

#[test]
fn a_partial_report_does_not_end_other_processes() {
    let mut fleet = Fleet::new(5, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(1, 0)])]);
    fleet.collect(60, [partial(report("b", 60, &[(1, 10)]))]);
    assert_eq!(fleet.usage(60, 1).active, 2);
}

#[test]
fn an_older_row_in_a_partial_report_replaces_nothing() {
    let mut fleet = Fleet::new(10, Inheritance::default());
    fleet.collect(60, [report("a", 60, &[(1, 55)]), report("b", 60, &[(2, 50), (3, 49)])]);
    assert_eq!(fleet.hot(60), [1, 2]);
    let second = 120;
    fleet.collect(second, [partial(report("a", 10, &[])), report("b", second, &[(2, 119), (3, 118)])]);
    assert_eq!(fleet.hot(second), [1, 2, 3], "the servers that it named are held");
    fleet.collect(180, [partial(report("a", 170, &[])), report("b", 180, &[(2, 179), (3, 178)])]);
    assert_eq!(fleet.hot(180), [2, 3], "the process itself has reported later that it uses nothing");
}

#[test]
fn hot_servers_of_an_endpoint_that_fails_are_held_above_the_cap_until_three_intervals_after_it_is_silent() {
    let mut fleet = Fleet::new(10, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(0, 0), (3, 0)]), report("b", 0, &[(1, 5), (2, 4)])]);
    assert_eq!(fleet.hot(0), [1, 2]);
    for cycle in 1..=5 {
        let second = 60 * cycle;
        fleet.collect(second, [report("a", second, &[(0, second - 1), (3, second - 1)]), Answer::NoReport]);
        // Reported at 0: silent from 120 on, so held until 300.
        let expected: &[usize] = &[0, 1, 2, 3];
        assert_eq!(fleet.hot(second), expected, "second {second}");
    }
    assert_eq!(fleet.hot(301), [0, 3]);
}

#[test]
fn servers_that_a_failing_endpoint_did_not_name_are_demoted() {
    let mut fleet = Fleet::new(10, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(0, 9), (3, 8)]), report("b", 0, &[(1, 5), (2, 4)])]);
    assert_eq!(fleet.hot(10), [0, 3]);
    fleet.collect(60, [report("a", 60, &[(0, 9), (3, 8), (4, 59), (5, 58)]), Answer::NoReport]);
    assert_eq!(fleet.hot(60), [4, 5], "the failing endpoint did not name 0 and 3");
}

#[test]
fn servers_that_a_failing_endpoint_named_are_late_and_all_are_until_each_has_reported_to_a_new_leader() {
    let late = |fleet: &Fleet, second| {
        let late = fleet.view(second).fleet.map(|input| input.late);
        late.values().iter().enumerate().filter(|(_, late)| **late).map(|(at, _)| at).collect::<Vec<_>>()
    };
    let mut fleet = Fleet::new(5, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(0, 9)]), Answer::NoReport]);
    assert_eq!(late(&fleet, 0), [0, 1, 2, 3, 4]);
    fleet.collect(60, [report("a", 60, &[(0, 9)]), report("b", 60, &[(1, 5), (2, 4)])]);
    assert_eq!(late(&fleet, 60), [0; 0]);
    fleet.collect(120, [report("a", 120, &[(0, 9)]), Answer::NoReport]);
    assert_eq!(late(&fleet, 120), [1, 2], "hot or not");
    fleet.collect(180, [report("a", 180, &[(0, 9)]), report("b", 180, &[(1, 170)])]);
    assert_eq!(late(&fleet, 180), [0; 0]);
}

#[test]
fn an_endpoint_that_is_gone_is_not_silent() {
    let mut fleet = Fleet::new(10, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(0, 0)]), report("b", 0, &[(1, 5), (2, 4)])]);
    assert_eq!(fleet.hot(0), [1, 2]);
    fleet.collect(200, [report("a", 200, &[(0, 190), (3, 190)])]);
    assert!(fleet.silent(200).is_empty());
    assert_eq!(fleet.hot(200), [0, 3]);
}

#[test]
fn a_new_leader_starts_from_its_inheritance() {
    let inheritance = inheritance(&[(4, 0)], &[4, 6]);
    let mut fleet = Fleet::new(10, inheritance);
    fleet.collect(1, [report("a", 1, &[(1, 1), (2, 1), (3, 1)]), Answer::NoReport]);
    assert_eq!(fleet.hot(1), [1, 2, 4, 6], "nothing inherited is demoted while an endpoint has not reported");
    fleet.collect(61, [report("a", 61, &[(1, 1), (2, 1), (3, 1)]), report("b", 61, &[])]);
    assert_eq!(fleet.hot(61), [1, 2], "every endpoint has reported");
    assert_eq!(fleet.usage(61, 4).last_used, Some(wall(0)));
}

#[test]
fn a_new_leader_sees_by_the_statuses_that_a_clock_was_set_back_after_a_use() {
    let mut fleet = Fleet::new(10, inheritance(&[(1, 5), (2, 8)], &[]));
    // The use at 5.5 that the status has as 5, and uses that no status has yet. Corrected by 120 seconds.
    let row = |server, used: f64| Row::new(server, UnixTime::from_seconds(WALL + used + 120.0), 0, 0, 7);
    for second in [300, 360] {
        let mut answer = with_rows("a", second, vec![row(1, 5.5), row(2, 100.0), row(3, 50.0)]);
        let Answer::Report(report) = &mut answer else { panic!("a report") };
        report.offset = 120.0;
        fleet.collect(second, [answer]);
        let used = [1, 2, 3].map(|server| fleet.usage(second, server).last_used);
        assert_eq!(used, [Some(wall(5)), Some(wall(220)), Some(wall(170))]);
    }
}

#[test]
fn a_worker_that_claims_every_server_as_used_in_every_cycle_is_named() {
    let mut fleet = Fleet::new(20, Inheritance::default());
    // Four are hot, and each of two honest workers uses two of them.
    let honest = |second| {
        [report("a", second, &[(0, second), (1, second)]), report("b", second, &[(1, second), (2, second - 1)])]
    };
    let mut sole = None;
    let mut next = |fleet: &mut Fleet, second, answers: Vec<Answer>| {
        fleet.collect_all(second, answers);
        let found = classify(&fleet.view(second).fleet, wall(second), &Params::default());
        sole = fleet.memory.sole_reporter(&found, sole.as_ref(), at(second));
        sole.as_ref().map(|sole| (sole.endpoint.to_string(), sole.percent))
    };
    assert_eq!(next(&mut fleet, 60, honest(60).to_vec()), None);
    let liar = report("c", 120, &(3..20).map(|server| (server, 120)).collect::<Vec<_>>());
    let named = next(&mut fleet, 120, honest(120).into_iter().chain([liar]).collect());
    assert_eq!(named, None, "as many uses by others");
    for second in [180, 240] {
        let a = report("a", second, &[(0, second)]);
        let liar = report("c", second, &(0..20).map(|server| (server, second)).collect::<Vec<_>>());
        let named = next(&mut fleet, second, vec![a, report("b", second, &[]), liar]);
        assert_eq!(named, Some(("http://worker-2".to_owned(), 70)));
    }
    assert_eq!(next(&mut fleet, 300, vec![honest(300)[0].clone()]), None, "one endpoint cannot be compared");
}

#[test]
fn a_new_leader_waits_for_at_most_two_intervals() {
    let inheritance = inheritance(&[], &[6]);
    let mut fleet = Fleet::new(10, inheritance);
    fleet.collect(119, [report("a", 119, &[(1, 1), (2, 1)]), Answer::NoReport]);
    assert_eq!(fleet.hot(119), [1, 2, 6]);
    assert_eq!(fleet.hot(120), [1, 2]);
}

#[test]
fn an_empty_list_of_endpoints_does_not_end_the_wait_of_a_new_leader() {
    let inheritance = inheritance(&[], &[6]);
    let mut fleet = Fleet::new(10, inheritance);
    fleet.collect(1, []);
    fleet.collect(61, [report("a", 61, &[(1, 1), (2, 1)]), Answer::NoReport]);
    assert_eq!(fleet.hot(61), [1, 2, 6]);
}

#[test]
fn uses_before_the_window_are_forgotten() {
    let mut fleet = Fleet::new(5, Inheritance::default());
    fleet.memory.settings.window = Duration::from_secs(600);
    fleet.collect(0, [report("a", 0, &[(1, 0)])]);
    assert_eq!(fleet.usage(600, 1).last_used, Some(wall(0)));
    fleet.collect(601, [report("a", 601, &[(1, 0)])]);
    let usage = fleet.usage(601, 1);
    assert_eq!((usage.last_used, usage.active), (None, 1));
}

#[test]
fn a_count_that_rises_is_a_use_in_that_cycle() {
    let counted = |observed, count| with_rows("a", observed, vec![Row::new(1, None, 0, 0, count)]);
    let mut fleet = Fleet::new(5, Inheritance::default());
    let used = |fleet: &Fleet| fleet.usage(300, 1).last_used;
    fleet.collect(0, [counted(0, 0)]);
    assert_eq!(used(&fleet), None);
    fleet.collect(60, [counted(60, 3)]);
    fleet.collect(120, [counted(120, 3)]);
    assert_eq!(used(&fleet), Some(wall(60)));
    fleet.collect(180, [counted(180, 4)]);
    assert_eq!(used(&fleet), Some(wall(180)));

    let inherited = inheritance(&[(1, 0)], &[]);
    let mut later = Fleet::new(5, inherited);
    later.collect(240, [counted(240, 4)]);
    assert_eq!(used(&later), Some(wall(0)), "a new leader does not take an old count for a new use");
}

/// A fleet of ten servers, all of which have left the registry after second 60. Servers 1 and 2 were used, 2 by more.
fn departed(window: u64) -> Fleet {
    let mut fleet = Fleet::new(10, Inheritance::default());
    fleet.memory.settings.window = Duration::from_secs(window);
    let rows = || with_rows("a", 0, [(1, 7), (2, 9)].map(|(n, count)| Row::new(n, Some(wall(0)), 1, 0, count)).into());
    fleet.collect(0, [rows()]);
    fleet.collect(60, [rows()]);
    assert_eq!(fleet.hot(60), [1, 2]);
    fleet.registry = Arc::default();
    fleet.collect(120, [report("a", 120, &[])]);
    assert!(fleet.hot(120).is_empty());
    fleet
}

#[test]
fn servers_that_come_back_to_the_registry_are_ranked_at_once_as_when_they_left() {
    let mut fleet = departed(0);
    let later = 120 + 23 * 3600;
    fleet.collect(later, [report("b", later, &[])]);
    fleet.memory.shift(3600.0);
    fleet.memory.shift(-3600.0);
    fleet.registry = (0..5).map(url).collect();
    let view = fleet.view(later + 1);
    assert!(view.fleet.values().iter().all(|input| !input.new), "those without a use count, too");
    assert_eq!(fleet.hot(later + 1), [2], "one of five, and the use count decides");
    assert_eq!(fleet.usage(later + 1, 2), ServerUsage { last_used: Some(wall(0)), active: 1, idle: 0, use_count: 9 });
    // From the next collection on, the counts are those of the reports, and the uses stay.
    fleet.collect(later + 60, [report("b", later + 60, &[])]);
    assert_eq!(fleet.usage(later + 60, 2), ServerUsage { last_used: Some(wall(0)), ..ServerUsage::default() });
    // The others can come back still.
    fleet.registry = (0..10).map(url).collect();
    assert!(fleet.view(later + 61).fleet.values().iter().all(|input| !input.new));
    fleet.registry = (0..11).map(url).collect();
    assert!(fleet.view(later + 62).fleet.get(10).is_some_and(|input| input.new), "never asked about");
}

#[test]
fn servers_that_have_left_the_registry_are_forgotten_after_a_day_or_the_window() {
    for (window, forgotten) in [(0, 24 * 3600), (600, 600), (7 * 24 * 3600, 7 * 24 * 3600)] {
        for (second, back) in [(120 + forgotten, true), (121 + forgotten, false)] {
            let mut fleet = departed(window);
            fleet.collect(second, [report("b", second, &[])]);
            fleet.registry = (0..10).map(url).collect();
            let view = fleet.view(second);
            assert_eq!(view.fleet.values().iter().all(|input| !input.new), back, "{window} {second}");
        }
    }
}

#[test]
fn a_count_of_a_server_that_comes_back_has_not_risen() {
    let mut fleet = Fleet::new(5, Inheritance::default());
    let counted = |second| with_rows("a", second, vec![Row::new(1, None, 0, 0, 7)]);
    fleet.collect(0, [counted(0)]);
    fleet.registry = Arc::default();
    fleet.collect(60, [with_rows("a", 60, Vec::new())]);
    fleet.registry = (0..5).map(url).collect();
    fleet.collect(120, [counted(120)]);
    assert_eq!(fleet.usage(120, 1).last_used, Some(wall(0)));
    fleet.collect(180, [with_rows("a", 180, vec![Row::new(1, None, 0, 0, 8)])]);
    assert_eq!(fleet.usage(180, 1).last_used, Some(wall(180)));
}

#[test]
fn a_first_count_of_a_known_process_has_risen() {
    let inherited = inheritance(&[(1, 0)], &[]);
    let mut fleet = Fleet::new(5, inherited);
    fleet.collect(60, [with_rows("a", 60, Vec::new())]);
    fleet.collect(120, [with_rows("a", 120, vec![Row::new(1, None, 0, 0, 2), Row::new(1, None, 0, 0, 1)])]);
    assert_eq!(fleet.usage(120, 1).last_used, Some(wall(120)));
    fleet.collect(180, [Answer::NoReport, with_rows("a", 180, vec![Row::new(1, None, 0, 0, 3)])]);
    assert_eq!(
        fleet.usage(180, 1).last_used,
        Some(wall(120)),
        "the process has moved to another endpoint; its count has not risen"
    );
}

#[test]
fn an_unchanged_report_is_complete_and_its_times_advance() {
    let mut fleet = Fleet::new(10, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(1, 0)]), partial(report("b", 0, &[(2, 0)]))]);
    for cycle in 1..10 {
        let unchanged = || Answer::Unchanged(Duration::from_secs(60));
        fleet.collect(60 * cycle, [unchanged(), unchanged()]);
    }
    assert_eq!(fleet.silent(540), ["http://worker-1"], "a partial report stays partial");
    let usage = fleet.usage(540, 1);
    assert_eq!(usage, ServerUsage { last_used: Some(wall(0)), active: 1, idle: 0, use_count: 7 });
    // An older report of the same process by another endpoint does not replace it.
    fleet.collect(600, [Answer::Unchanged(Duration::from_secs(60)), report("a", 590, &[(1, 580)])]);
    assert_eq!(fleet.usage(600, 1).last_used, Some(wall(580)), "the use in the older report counts");
    assert_eq!(fleet.memory.endpoints().flat_map(|(_, e)| &e.processes).count(), 2);
}

#[test]
fn only_a_collection_in_which_all_is_confirmed_changes_nothing() {
    let mut fleet = Fleet::new(10, Inheritance::default());
    let unchanged = || Answer::Unchanged(Duration::from_secs(60));
    assert!(fleet.collect(0, [report("a", 0, &[(1, 0)]), report("b", 0, &[(2, 0)])]));
    assert!(!fleet.collect(60, [unchanged(), unchanged()]));
    let before = fleet.view(60).fleet;
    assert!(!fleet.collect(120, [unchanged(), unchanged()]));
    assert_eq!(fleet.view(120).fleet, before);
    assert!(fleet.collect(180, [unchanged(), Answer::NoReport]), "its servers are held");
    assert!(fleet.collect(240, [unchanged(), unchanged()]), "and are not any more");
    assert!(!fleet.collect(300, [unchanged(), unchanged()]));
    assert!(fleet.collect(360, [unchanged(), report("b", 360, &[(2, 0)])]));
    assert!(fleet.collect(420, [unchanged()]), "an endpoint is gone");
    assert!(fleet.collect(480, [unchanged(), unchanged()]), "and another one is there, which said nothing yet");
    assert!(fleet.collect(500, []), "all of them are gone");
    fleet.collect(520, [report("a", 520, &[(1, 0)]), report("b", 520, &[])]);
    assert!(!fleet.collect(540, [unchanged(), unchanged()]));
    fleet.registry = (0..11).map(url).collect();
    assert!(fleet.collect(600, [unchanged(), unchanged()]), "a new server was asked about");
    assert!(!fleet.collect(660, [unchanged(), unchanged()]));
    fleet.memory.settings.window = Duration::from_hours(1);
    assert!(fleet.collect(720, [unchanged(), unchanged()]), "uses are forgotten with time");
}

#[test]
fn a_new_leader_that_waits_for_reports_looks_at_all_in_each_cycle() {
    let mut fleet = Fleet::new(10, Inheritance::default());
    fleet.collect(0, [report("a", 0, &[(1, 0)]), Answer::NoReport]);
    assert!(fleet.memory.inherited_until.is_some());
    assert!(fleet.collect(60, [Answer::Unchanged(Duration::from_secs(60))]));
    assert!(fleet.memory.inherited_until.is_none());
    assert!(!fleet.collect(120, [Answer::Unchanged(Duration::from_secs(60))]));
}

#[test]
fn a_report_from_before_the_registry_changed_still_counts() {
    let mut fleet = Fleet::new(5, Inheritance::default());
    let Answer::Report(mut old) = report("a", 0, &[(1, 0)]) else { unreachable!() };
    old.processes[0].servers = [url(9), url(3)].into();
    fleet.collect(0, [Answer::Report(old), report("b", 0, &[(3, 1)])]);
    let usage = fleet.usage(0, 3);
    assert_eq!(usage, ServerUsage { last_used: Some(wall(1)), active: 2, idle: 0, use_count: 14 });
}

#[test]
fn a_server_is_observed_since_its_status_has_a_tier_or_since_it_was_first_asked_about() {
    let mut inheritance = inheritance(&[], &[]);
    inheritance.observed_since.values_mut()[1] = Some(wall(5));
    let mut fleet = Fleet::new(2, inheritance);
    let since = |fleet: &Fleet| fleet.memory.observed_since(&fleet.registry).values().to_vec();
    assert_eq!(since(&fleet), [None, Some(wall(5))]);
    fleet.collect(60, [report("a", 60, &[])]);
    fleet.collect(120, [report("a", 120, &[])]);
    assert_eq!(since(&fleet), [Some(wall(60)), Some(wall(5))]);
    fleet.memory.shift(10.0);
    assert_eq!(since(&fleet), [Some(wall(70)), Some(wall(15))]);
    // One that leaves and comes back is observed anew.
    fleet.registry = [url(0)].into();
    fleet.collect(180, [report("a", 180, &[])]);
    fleet.registry = [url(0), url(1)].into();
    fleet.collect(240, [report("a", 240, &[])]);
    assert_eq!(since(&fleet), [Some(wall(70)), Some(wall(240))]);
    fleet.memory.observation_failed();
    fleet.collect(300, [report("a", 300, &[])]);
    assert_eq!(since(&fleet), [Some(wall(300)); 2]);
}
