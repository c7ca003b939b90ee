//! The cases that `docs/contract.md#ranking` names, and properties of the classification.
//! (The cases about resolving rows are in [`crate::workers`], the one about restarted workers in [`super::memory`].)

use std::collections::HashSet;
use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

const NOW: f64 = 1_763_800_100.0;

fn at(seconds: f64) -> UnixTime {
    UnixTime::from_seconds(seconds).unwrap()
}

fn url(name: &str) -> ServerUrl {
    ServerUrl::parse(&format!("http://{name}.example:8080/mcp")).unwrap()
}

fn fleet(size: usize) -> Vec<ServerUrl> {
    (0..size).map(|n| url(&format!("server-{n:03}"))).collect()
}

fn row(ago: f64, active: u64, use_count: u64) -> ServerUsage {
    ServerUsage::from(&Row::new(0, Some(at(NOW - ago)), active, 0, use_count))
}

fn inputs(servers: &[ServerUrl], rows: &[(&ServerUrl, ServerUsage)]) -> PerServer<RankingInput> {
    let mut inputs: PerServer<RankingInput> = PerServer::of(&servers.into());
    for (server, row) in rows {
        let place = servers.iter().position(|other| other == *server).unwrap_or(usize::MAX);
        if let Some(input) = inputs.get_mut(place) {
            input.usage.merge(row);
        }
    }
    inputs
}

fn run(servers: &[ServerUrl], rows: &[(&ServerUrl, ServerUsage)]) -> Classification {
    classify(&inputs(servers, rows), at(NOW), &Params::default())
}

fn placement(found: &Classification, server: &ServerUrl) -> Option<Placement> {
    found.placements().iter().find(|(other, _)| *other == server).and_then(|(_, placement)| *placement)
}

fn hot(found: &Classification) -> Vec<ServerUrl> {
    found.hot().cloned().collect()
}

fn cold(found: &Classification) -> Vec<ServerUrl> {
    found.cold().cloned().collect()
}

#[test]
fn the_newest_of_five_servers_is_hot() {
    let servers = fleet(5);
    let rows: Vec<_> = servers.iter().zip([10.0, 20.0, 30.0, 40.0, 50.0]).map(|(s, ago)| (s, row(ago, 0, 1))).collect();
    let found = run(&servers, &rows);
    assert_eq!(hot(&found), [servers[0].clone()]);
    assert_eq!(cold(&found), servers[1..]);
    assert_eq!((found.metadata.hot_cap, found.metadata.hot_actual, found.metadata.eligible_count), (1, 1, 5));
    assert_eq!(found.metadata.underutilized_reason, None);
}

#[test]
fn the_two_newest_of_ten_servers_are_hot() {
    let servers = fleet(10);
    let rows: Vec<_> =
        servers.iter().zip(0_u32..).map(|(s, n)| (s, row(1000.0 - 100.0 * f64::from(n), 0, 1))).collect();
    assert_eq!(hot(&run(&servers, &rows)), [servers[9].clone(), servers[8].clone()]);
}

#[test]
fn at_least_one_server_may_be_pinned_unless_none_may() {
    let cap = |max_pinned, servers| Params { max_pinned, ..Params::default() }.pin_cap(servers);
    assert_eq!([cap(0.1, 1), cap(0.1, 19), cap(0.1, 20), cap(0.1, 1000)], [1, 1, 2, 100]);
    assert_eq!([cap(0.0, 1000), cap(1e-9, 1000), cap(1.0, 1000)], [0, 1, 1000]);
}

#[test]
fn with_equal_times_active_sessions_decide() {
    let servers = fleet(6);
    let active = [1, 3, 2, 0, 0, 0];
    let rows: Vec<_> = servers.iter().zip(active).map(|(s, active)| (s, row(5.0, active, 100 - active))).collect();
    assert_eq!(hot(&run(&servers, &rows)), [servers[1].clone()]);
}

#[test]
fn with_equal_active_sessions_the_use_count_decides() {
    let servers = fleet(6);
    let counts = [50, 100, 75, 30, 20, 10];
    let rows: Vec<_> = servers.iter().zip(counts).map(|(s, count)| (s, row(5.0, 1, count))).collect();
    assert_eq!(hot(&run(&servers, &rows)), [servers[1].clone()]);
}

#[test]
fn with_equal_use_counts_the_bytes_of_the_url_decide() {
    let servers = [url("echo"), url("delta"), url("bravo"), url("alpha"), url("charlie")];
    let rows: Vec<_> = servers.iter().map(|s| (s, row(5.0, 1, 9))).collect();
    let found = run(&servers, &rows);
    assert_eq!(hot(&found), [url("alpha")]);
    assert_eq!(
        cold(&found),
        [url("echo"), url("delta"), url("bravo"), url("charlie")],
        "cold keeps the registry's order"
    );
}

#[test]
fn none_of_three_servers_may_be_hot_and_no_reason_is_given() {
    let servers = fleet(3);
    let found = run(&servers, &[(&servers[0], row(1.0, 1, 1))]);
    assert_eq!((found.metadata.hot_cap, found.hot().len(), found.cold().count()), (0, 0, 3));
    assert_eq!(found.metadata.underutilized_reason, None);
    let reasons: Vec<_> = servers.iter().map(|s| placement(&found, s).unwrap().reason).collect();
    assert_eq!(reasons, [PlacementReason::CapIsZero; 3]);
    assert_eq!(placement(&found, &servers[0]).unwrap().rank, NonZeroU32::new(1));
}

#[test]
fn one_used_server_of_twenty_gives_the_exact_reason() {
    let servers = fleet(20);
    let found = run(&servers, &[(&servers[7], row(1.0, 0, 1))]);
    assert_eq!(found.metadata.hot_cap, 4);
    assert_eq!(hot(&found), [servers[7].clone()]);
    let reason = found.metadata.underutilized_reason.as_deref();
    assert_eq!(reason, Some("Only 1 servers have pooled sessions, below hot_cap=4"));
    assert_eq!(placement(&found, &servers[0]).unwrap().reason, PlacementReason::NeverUsed);
}

#[test]
fn rows_of_one_url_merge_and_recency_beats_any_use_count() {
    let servers = fleet(5);
    let mut rows =
        vec![(&servers[0], row(50.0, 0, 10)), (&servers[0], row(5.0, 1, 15)), (&servers[0], row(20.0, 1, 5))];
    rows.extend(servers[1..].iter().map(|s| (s, row(30.0, 0, 1_000_000))));
    let found = run(&servers, &rows);
    assert_eq!(hot(&found), [servers[0].clone()]);
    let mut merged = ServerUsage::default();
    rows[..3].iter().for_each(|(_, row)| merged.merge(row));
    assert_eq!(merged, ServerUsage { last_used: Some(at(NOW - 5.0)), active: 2, idle: 0, use_count: 30 });
}

#[test]
fn an_active_only_server_with_a_time_is_eligible() {
    let servers = fleet(5);
    assert_eq!(hot(&run(&servers, &[(&servers[3], row(0.0, 1, 0))])), [servers[3].clone()]);
}

#[test]
fn active_sessions_alone_do_not_make_a_server_eligible() {
    let servers = fleet(5);
    let found = run(&servers, &[(&servers[3], ServerUsage { active: 9, ..ServerUsage::default() })]);
    assert_eq!((found.metadata.eligible_count, found.hot().len()), (0, 0));
}

#[test]
fn times_of_zero_or_below_are_not_eligible_and_add_to_active_only() {
    for seconds in [0.0, -0.0, -1.0, -1e300] {
        let row = ServerUsage::from(&Row::new(0, Some(at(seconds)), 2, 3, 4));
        assert_eq!(row, ServerUsage { active: 2, ..ServerUsage::default() });
        let servers = fleet(5);
        assert_eq!(run(&servers, &[(&servers[0], row)]).metadata.eligible_count, 0);
    }
    assert_eq!(UnixTime::from_seconds(f64::NAN), None, "a NaN never becomes a time");
}

#[test]
fn the_use_of_an_unknown_url_is_ignored() {
    let servers = fleet(5);
    let found = run(&servers, &[(&url("stranger"), row(0.0, 9, 9)), (&servers[4], row(60.0, 0, 1))]);
    assert_eq!(hot(&found), [servers[4].clone()]);
    assert_eq!(found.metadata.eligible_count, 1);
    assert_eq!(placement(&found, &url("stranger")), None);
}

#[test]
fn held_servers_stay_hot_above_the_cap_and_come_last() {
    let servers = fleet(10);
    let rows: Vec<_> = servers[..6].iter().zip(0_u32..).map(|(s, n)| (s, row(f64::from(n), 0, 1))).collect();
    let mut inputs = inputs(&servers, &rows);
    for place in [0, 5, 9] {
        inputs.get_mut(place).unwrap().held = true;
    }
    let found = classify(&inputs, at(NOW), &Params::default());
    assert_eq!(hot(&found), [0, 1, 5, 9].map(|n| servers[n].clone()));
    assert_eq!(placement(&found, &servers[0]).unwrap().reason, PlacementReason::AboveCut);
    assert_eq!(placement(&found, &servers[5]).unwrap().reason, PlacementReason::Held);
    assert_eq!(
        placement(&found, &servers[9]),
        Some(Placement { tier: Tier::Hot, reason: PlacementReason::Held, rank: None })
    );
    assert_eq!((found.metadata.hot_cap, found.metadata.hot_actual), (2, 4));
}

#[test]
fn new_servers_are_left_out_and_not_counted() {
    let servers = fleet(10);
    let mut inputs = inputs(&servers, &[(&servers[1], row(1.0, 1, 1)), (&servers[2], row(2.0, 1, 1))]);
    for place in [1, 9] {
        inputs.get_mut(place).unwrap().new = true;
    }
    let found = classify(&inputs, at(NOW), &Params::default());
    assert_eq!((found.metadata.total_servers, found.metadata.hot_cap, found.metadata.eligible_count), (8, 1, 1));
    assert_eq!(hot(&found), [servers[2].clone()]);
    assert_eq!((placement(&found, &servers[1]), placement(&found, &servers[9])), (None, None));
}

#[test]
fn nothing_is_added_to_fill_the_cap() {
    let servers = fleet(50);
    assert_eq!(hot(&run(&servers, &[])), []);
}

#[test]
fn an_empty_registry_gives_two_empty_sets() {
    let found = run(&[], &[(&url("stranger"), row(1.0, 1, 1))]);
    assert_eq!((found.hot().len(), found.cold().count(), found.metadata.total_servers), (0, 0, 0));
}

#[test]
fn the_cap_is_a_fifth_rounded_down_for_every_size() {
    for servers in 0..=100_000 {
        assert_eq!(Params::default().hot_cap(servers), servers / 5);
    }
}

#[test]
fn min_hot_raises_the_cap_to_at_most_the_fleet() {
    let params = Params { min_hot: 3, ..Params::default() };
    assert_eq!([0, 2, 3, 14, 15, 20].map(|n| params.hot_cap(n)), [0, 2, 3, 3, 3, 4]);
    let all = Params { hot_fraction: 1.0, ..Params::default() };
    assert_eq!(all.hot_cap(7), 7);
}

#[test]
fn times_within_the_resolution_count_as_equal() {
    let servers = fleet(5);
    let inputs = inputs(&servers, &[(&servers[0], row(3.0, 0, 1)), (&servers[1], row(9.0, 0, 500))]);
    let with = |seconds| {
        let params = Params { recency_resolution: Duration::from_secs(seconds), ..Params::default() };
        hot(&classify(&inputs, at(NOW), &params))
    };
    assert_eq!(with(0), [servers[0].clone()]);
    assert_eq!(with(10), [servers[1].clone()], "both are within the first ten seconds, so the use count decides");
    assert_eq!(with(4), [servers[0].clone()]);
}

#[test]
fn the_metadata_has_the_keys_and_order_of_the_contract() {
    let servers = fleet(5);
    let found = run(&servers, &[]);
    assert_eq!(
        serde_json::to_string(&found.metadata).unwrap(),
        concat!(
            r#"{"total_servers":5,"hot_cap":1,"hot_actual":0,"eligible_count":0,"timestamp":1763800100.0,"#,
            r#""underutilized_reason":"Only 0 servers have pooled sessions, below hot_cap=1"}"#
        )
    );
}

prop_compose! {
    fn any_rows()(
        rows in prop::collection::vec((0_usize..30, 0_u32..6, 0_u64..3, 0_u64..3), 0..60)
    ) -> Vec<(ServerUrl, ServerUsage)> {
        let row = |(n, ago, active, count)| (url(&format!("server-{n:03}")), row(f64::from(ago), active, count));
        rows.into_iter().map(row).collect()
    }
}

proptest! {
    #[test]
    fn order_and_split_of_the_rows_do_not_matter(
        rows in any_rows(), size in 0_usize..28, cut in 0_usize..60, turn in 0_usize..60,
    ) {
        let servers = fleet(size);
        let whole: Vec<_> = rows.iter().map(|(s, r)| (s, *r)).collect();
        let mut other = whole.clone();
        other.rotate_left(turn.min(whole.len()));
        // Two workers, each merged on its own, then merged with each other.
        let (left, right) = other.split_at(cut.min(other.len()));
        let mut merged = inputs(&servers, right);
        let own = inputs(&servers, left);
        merged.values_mut().iter_mut().zip(own.values()).for_each(|(input, other)| input.usage.merge(&other.usage));
        let split = classify(&merged, at(NOW), &Params::default());
        prop_assert_eq!(run(&servers, &whole), split);
    }

    #[test]
    fn hot_and_cold_are_disjoint_complete_and_within_the_cap_except_for_held_servers(
        rows in any_rows(), size in 0_usize..28, held in prop::collection::hash_set(0_usize..40, 0..4),
        hot_fraction in 0.0_f64..=1.0, min_hot in 0_usize..5, resolution in 0_u64..4,
    ) {
        let servers = fleet(size);
        let rows: Vec<_> = rows.iter().map(|(s, r)| (s, *r)).collect();
        let mut inputs = inputs(&servers, &rows);
        let held: HashSet<_> = held.into_iter().filter(|n| *n < size).map(|n| {
            inputs.get_mut(n).unwrap().held = true;
            servers[n].clone()
        }).collect();
        let recency_resolution = Duration::from_secs(resolution);
        let params = Params { hot_fraction, min_hot, recency_resolution, ..Params::default() };
        let found = classify(&inputs, at(NOW), &params);
        let (hot_servers, cold_servers) = (hot(&found), cold(&found));

        let mut union: Vec<_> = hot_servers.iter().chain(&cold_servers).cloned().collect();
        union.sort();
        prop_assert_eq!(&union, &servers, "disjoint and complete");
        let is_above_cut = |s: &&ServerUrl| placement(&found, s).unwrap().reason == PlacementReason::AboveCut;
        let above_cut = hot_servers.iter().filter(is_above_cut).count();
        prop_assert_eq!(above_cut, found.metadata.hot_cap.min(found.metadata.eligible_count));
        prop_assert!(hot_servers.len() <= found.metadata.hot_cap + held.len());
        for server in &servers {
            let hot = hot_servers.contains(server);
            prop_assert_eq!(placement(&found, server).unwrap().tier == Tier::Hot, hot);
            prop_assert!(hot || !held.contains(server), "a held server is never cold");
        }
    }

    #[test]
    fn pinned_servers_are_hot_beside_the_cap_and_the_others_are_ranked_as_if_those_were_not_used(
        rows in any_rows(), size in 0_usize..28, pinned in prop::collection::hash_set(0_usize..40, 0..6),
        hot_fraction in 0.0_f64..=1.0, min_hot in 0_usize..5,
    ) {
        let servers = fleet(size);
        let rows: Vec<_> = rows.iter().map(|(s, r)| (s, *r)).collect();
        let params = Params { hot_fraction, min_hot, ..Params::default() };
        let mut unused = inputs(&servers, &rows);
        let mut inputs = inputs(&servers, &rows);
        for &place in pinned.iter().filter(|place| **place < size) {
            inputs.get_mut(place).unwrap().pinned = true;
            unused.get_mut(place).unwrap().usage = ServerUsage::default();
        }
        let (found, others) = (classify(&inputs, at(NOW), &params), classify(&unused, at(NOW), &params));
        prop_assert_eq!(found.metadata.hot_cap, others.metadata.hot_cap);
        let placements = found.placements().values().iter().zip(others.placements().values());
        for (place, (placement, other)) in placements.enumerate() {
            let (placement, other) = (placement.unwrap(), other.unwrap());
            if pinned.contains(&place) {
                prop_assert_eq!((placement.tier, placement.reason), (Tier::Hot, PlacementReason::Pinned));
            } else {
                prop_assert_eq!((placement.tier, placement.reason), (other.tier, other.reason));
            }
        }
        // Ranks are those of the use, pinned or not.
        let unpinned = inputs.map(|input| RankingInput { pinned: false, ..*input });
        let ranks = |found: &Classification| found.placements().map(|it| it.map(|it| it.rank));
        prop_assert_eq!(ranks(&found), ranks(&classify(&unpinned, at(NOW), &params)));
    }
}
